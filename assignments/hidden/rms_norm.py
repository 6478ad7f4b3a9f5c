"""The hidden checks of "Partial RMS norm, and attention": they decide. Never handed out, never in the sandbox."""

import checks
import numpy as np
from checking import Check, Layer, guarded, numeric_gradient, rng, watched

# Sizes: the shape of x, and how many of its last axis are measured. `vary` draws others.
SIZES = [((6,), 2), ((4, 5), 3), ((2, 3, 4), 4), ((2, 1, 3, 3), 1)]
# Sizes: (samples, queries, keys, heads, features of a head, measured of these).
LAYER_SIZES = [(2, 3, 4, 2, 3, 2), (1, 4, 2, 3, 2, 1), (2, 2, 5, 1, 4, 4)]
EPS = 1e-6, 0.05  # the second so large that its place can be seen


def measured(x, part):
    return x[..., :part]


def scale(d):
    """What scores are divided by."""
    return d**0.5


def reference(x, gamma, part, eps=1e-6):
    """y, x_hat and r; x (..., D)."""
    r = 1 / np.sqrt((measured(x, part) ** 2).sum(-1, keepdims=True) / part + eps)
    return gamma * x * r, x * r, r


def gradients(x, gamma, dy, part, eps=1e-6):
    """dx and dgamma."""
    _, x_hat, r = reference(x, gamma, part, eps)
    acts = np.zeros(x.shape[-1])  # 1 for a feature that acts through r
    acts[measured(np.arange(x.shape[-1]), part)] = 1
    d = gamma * dy
    dx = r * (d - acts * x_hat * (d * x_hat).sum(-1, keepdims=True) / part)
    return dx, (dy * x_hat).reshape(-1, x.shape[-1]).sum(0)


def attention(q, k, v, q_weight, k_weight, part, eps=1e-6, causal=False):
    """The output, head by head; q (N, T, F), k and v (N, S, F), weights (d,)."""
    size, y = len(q_weight), np.zeros(q.shape)
    for start in range(0, q.shape[-1], size):
        head = slice(start, start + size)
        queries = reference(q[..., head], q_weight, part, eps)[0]
        keys = reference(k[..., head], k_weight, part, eps)[0]
        scores = np.einsum("ntd,nsd->nts", queries, keys) / scale(size)
        if causal:
            scores[:, ~np.tri(*scores.shape[1:], dtype=bool)] = -np.inf
        weights = np.exp(scores - scores.max(-1, keepdims=True))
        weights /= weights.sum(-1, keepdims=True)
        y[..., head] = weights @ v[..., head]
    return y


def cases():
    """Random tokens off zero, of different sizes; no gain is near 0 or the same for all features."""
    random = rng()
    for (shape, part), size in zip(SIZES, (1.0, 20.0, 0.3, 1.0), strict=True):
        features = shape[-1]
        x = random.uniform(0.4, 2, size=shape) * random.choice([-1, 1, 1], size=shape)
        x = size * x * random.uniform(0.5, 2, size=(*shape[:-1], 1))
        gamma = random.uniform(0.4, 2, size=features) * random.choice([-1, 1], size=features)
        gamma[0] = 2.5
        yield x, gamma, part, random.normal(size=shape) + 0.5


def layer_cases():
    random = rng(1)
    for samples, queries, keys, heads, size, part in LAYER_SIZES:
        q, k, v = (
            random.normal(size=(samples, length, heads * size)) + 0.5
            for length in (queries, keys, keys)
        )
        weights = random.uniform(0.6, 1.6, size=(2, size))
        weights[:, 0] += 0.5
        yield (q, k, v), weights, (heads * size, heads, part), random.normal(size=q.shape)


def forward_values(partial_forward):
    check, forward = Check(checks.NUMPY, secret=True), guarded(partial_forward, "torch")
    check.free_of(partial_forward, "torch")
    for x, gamma, part, _ in cases():
        for eps in EPS:
            result = watched(forward, x.copy(), gamma, part, eps)
            (y, _), after = check.parts(result, "result", "arguments")
            told = f"y of tokens {x.shape} of which {part} features are measured"
            check.close(y, reference(x, gamma, part, eps)[0], told)
            check.close(after[0], x, "x after the call (it must not be changed)")


def forward_hard(partial_forward):
    check, forward = Check(checks.NUMPY, secret=True), guarded(partial_forward, "torch")
    for x, gamma, part, _ in cases():
        unseen = x.copy()
        measured(unseen, part)[...] = 0
        hard = (
            ("tiny numbers", 1e-4 * x, 1e-6),
            ("a large eps", 0.3 * x, 0.1),
            ("a token of zeros", 0 * x, 1e-6),
            ("a token whose measured features are zero", unseen, 1e-6),
        )
        for told, given, eps in hard:
            y = check.parts(forward(given.copy(), gamma, part, eps), "y", "cache")[0]
            check.close(y, reference(given, gamma, part, eps)[0], f"y of {told}")


def forward_half(partial_forward):
    check, forward = Check(checks.HALF, secret=True), guarded(partial_forward, "torch")
    for x, gamma, part, _ in cases():
        x = x / np.abs(x).max()
        kinds = (
            ("float16", 30_000, 2e-3),
            ("float16", 300, 2e-3),
            ("float32", 1, 1e-5),
            ("float64", 1, 1e-11),
        )
        for kind, size, tolerance in kinds:
            given = (size * x).astype(kind)
            y = check.parts(forward(given.copy(), gamma, part), "y", "cache")[0]
            y = check.array(y, x.shape, f"y of {kind}")
            check.true(y.dtype == kind, f"the type of y for an x of {kind}", kind, str(y.dtype))
            wanted = reference(given.astype(float), gamma, part)[0]
            check.close(y, wanted, f"y of {kind}, of size {size:,}", tolerance)


def forward_refuses(partial_forward):
    check = Check(checks.NUMPY, secret=True)
    for x, gamma, part, _ in cases():
        for wrong, told in ((0, "none"), (-1, "-1"), (len(gamma) + 1, "one more than there are")):
            what = f"{told} of {len(gamma)} features measured"
            check.raises(ValueError, partial_forward, x.copy(), gamma, wrong, what=what)
        for right in (1, part, len(gamma)):
            y = check.parts(partial_forward(x.copy(), gamma, right), "y", "cache")[0]
            check.array(y, x.shape, f"y with {right} of {len(gamma)} features measured")


def backward_dx(partial_forward, partial_backward):
    check = Check(checks.BACK, secret=True)
    forward, backward = check.derived(partial_forward, partial_backward, "torch")
    for x, gamma, part, dy in cases():
        for size, eps in ((1, 1e-6), (0.3, 0.1)):
            cache = check.parts(forward(size * x, gamma, part, eps), "y", "cache")[1]
            result, after = watched(backward, dy.copy(), cache)
            dx = check.parts(result, "dx", "dgamma")[0]
            wanted = gradients(size * x, gamma, dy, part, eps)[0]
            most, told = np.abs(wanted).max(), f"of {x.shape[-1]} features, {part} measured"
            dx = check.array(dx, x.shape, "dx")
            check.close(dx / most, wanted / most, f"dx {told} (random dy)")
            check.close(after[0], dy, "dy after the call (it must not be changed)")


def backward_gain(partial_forward, partial_backward):
    check = Check(checks.BACK, secret=True)
    forward, backward = check.derived(partial_forward, partial_backward, "torch")
    for x, gamma, part, dy in cases():
        for eps in EPS:
            cache = check.parts(forward(x.copy(), gamma, part, eps), "y", "cache")[1]
            dgamma = check.parts(backward(dy, cache), "dx", "dgamma")[1]
            wanted = gradients(x, gamma, dy, part, eps)[1]
            check.close(dgamma, wanted, f"dgamma of tokens {x.shape}")


def made(QKNormAttention, weights, arguments, **how):
    layer = Layer(QKNormAttention, *arguments, **how)
    layer.load(q_weight=weights[0], k_weight=weights[1])
    return layer


def layer_values(QKNormAttention):
    check = Check(checks.LAYER, secret=True)
    check.free_of(QKNormAttention, "norms")
    for eps in (1e-6, 0.3):
        for inputs, weights, arguments, _ in layer_cases():
            layer = made(QKNormAttention, weights, arguments, eps=eps)
            wanted = attention(*inputs, *weights, arguments[2], eps)
            told = "the output of {} features in {} heads, {} of a head measured".format(*arguments)
            check.close(layer.forward(*inputs), wanted, told)


def layer_gradient(QKNormAttention):
    check = Check(checks.BACK, secret=True)
    for inputs, weights, arguments, dy in layer_cases():
        found = made(QKNormAttention, weights, arguments).gradient(dy, *inputs)

        def right(*arrays, part=arguments[2]):
            return attention(*arrays, part=part)

        wanted = numeric_gradient(right, dy, *inputs, *weights)
        values = *found["dx"], found["q_weight"], found["k_weight"]
        names = "q", "k", "v", "q_weight", "k_weight"
        for value, numbers, name in zip(values, wanted, names, strict=True):
            check.close(value, numbers, f"the gradient of {name}", tolerance=1e-5)


def layer_causal(QKNormAttention):
    check = Check(checks.AXES, secret=True)
    for inputs, weights, arguments, _ in layer_cases():
        length = min(len(inputs[0][0]), len(inputs[1][0]))
        inputs = [x[:, :length] for x in inputs]
        layer = made(QKNormAttention, weights, arguments, causal=True)
        for later in (1, 100):  # whatever the last token is, earlier outputs stay
            moved = [np.concatenate([x[:, :-1], later * x[:, -1:]], 1) for x in inputs]
            wanted = attention(*moved, *weights, arguments[2], causal=True)
            check.close(layer.forward(*moved), wanted, "the output with causal=True")


def layer_hard(QKNormAttention):
    check = Check(checks.HALF, secret=True)
    for inputs, weights, arguments, _ in layer_cases():
        layer = made(QKNormAttention, weights, arguments, dtype="float16")
        sizes = (30_000, 20_000, 1)
        given = [
            (size * x / np.abs(x).max()).astype("float16")
            for size, x in zip(sizes, inputs, strict=True)
        ]
        y = check.array(layer.forward(*given), inputs[0].shape, "the output in half precision")
        check.true(y.dtype == np.float16, "the type of the output", "float16", str(y.dtype))
        wanted = attention(*(x.astype(float) for x in given), *weights, arguments[2])
        check.close(y, wanted, "the output of large queries and keys in half precision", 1e-2)
        layer = made(QKNormAttention, weights, arguments)
        wanted = attention(*inputs, *weights, arguments[2])
        y = checks.of_views(layer, *inputs)
        check.close(y, wanted, "the output of views whose numbers are not in order in memory")
        check.close(layer.forward(*inputs), wanted, "the output in double precision", 1e-11)
