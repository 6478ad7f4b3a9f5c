"""The hidden checks of "Layer norm over a padded batch": they decide. Never handed out, never in the sandbox."""

import checks
import numpy as np
from checking import Check, Layer, guarded, rng, watched

# Sizes: (sequences, tokens, features), two sequences or more. `vary` draws others.
SIZES = [(3, 5, 4), (4, 3, 2), (2, 6, 3)]
JUNK = (np.nan, np.inf, -np.inf, 1e30, -1e200)  # what padding may hold


def reference(x, gamma, beta, real, eps=1e-5):
    """y and x_hat, sequence by sequence; x (N, T, D), real (N, T)."""
    x_hat = np.zeros(x.shape)
    for n, seen in enumerate(real):
        if seen.any():
            values = x[n, seen]  # (real tokens, D)
            x_hat[n, seen] = (values - values.mean()) / np.sqrt(values.var() + eps)
    y = np.where(real[..., None], gamma * x_hat + beta, checks.at_padding(beta))
    return y, x_hat


def gradients(x, gamma, dy, real, eps=1e-5):
    """dx, dgamma, dbeta."""
    x_hat = reference(x, gamma, 0 * gamma, real, eps)[1]
    dx = np.zeros(x.shape)
    for n, seen in enumerate(real):
        if seen.any():
            r = (x[n, seen].var() + eps) ** -0.5
            d, h = gamma * dy[n, seen], x_hat[n, seen]
            dx[n, seen] = r * (d - d.mean() - h * (d * h).mean())
    return dx, (dy * x_hat).sum((0, 1)), shift_gradient(dy, real)


def shift_gradient(dy, real):
    """The gradient of the shift; what padding sends depends on what comes out there."""
    return dy[real].sum(0)


def cases():
    """Random sequences with random masks (one without padding, one with padding in front), gain, shift."""
    random = rng()
    for (samples, tokens, features), scale in zip(SIZES, (1.0, 30.0, 0.4), strict=True):
        shape = samples, tokens, features
        x = random.normal(size=shape) + random.normal(size=(samples, 1, features)) + 0.5
        x = scale * random.uniform(0.7, 2, size=(samples, 1, 1)) * x
        real = random.random(shape[:2]) < 0.6
        real[np.arange(samples), random.integers(tokens, size=samples)] = True
        real[0], real[1, 0], real[1, -1] = True, False, True
        gamma = random.uniform(0.4, 2, size=features) * random.choice([-1, 1], size=features)
        beta = random.uniform(0.4, 2, size=features)
        yield x, gamma, beta, real, random.normal(size=shape) + 0.5


def with_empty(x, real, dy):
    """The same batch with junk in its padding, and a last sequence that is padding alone."""
    real = np.concatenate([real, np.zeros((1, real.shape[1]), bool)])
    x, dy = (np.concatenate([a, a[:1] + 1]) for a in (x, dy))
    clean, x = x, x.copy()
    x[~real] = rng(1).choice(JUNK, size=x[~real].shape)
    x[1, 0, :2] = np.nan, np.inf  # a place that is always padding
    return clean, x, real, dy


def forward_values(masked_forward):
    check, forward = Check(checks.NUMPY, secret=True), guarded(masked_forward, "torch")
    check.free_of(masked_forward, "torch")
    for x, gamma, beta, real, _ in cases():
        result = watched(forward, x.copy(), gamma, beta, checks.marked(real))
        (y, _), after = check.parts(result, "result", "arguments")
        y = check.array(y, x.shape, "y")
        wanted = reference(x, gamma, beta, real)[0]
        check.close(y[real], wanted[real], f"y of the real tokens in a batch {x.shape}")
        check.close(after[0], x, "x after the call (it must not be changed)")


def forward_padding(masked_forward):
    check, forward = Check(checks.SEES, secret=True), guarded(masked_forward, "torch")
    for x, gamma, beta, real, dy in cases():
        clean, x, real, _ = with_empty(x, real, dy)
        y = check.parts(forward(x.copy(), gamma, beta, checks.marked(real)), "y", "cache")[0]
        y, wanted = check.array(y, x.shape, "y"), reference(clean, gamma, beta, real)[0]
        check.close(
            y[real], wanted[real], "y of the real tokens, with nan and infinity in the padding"
        )
        check.close(
            y[~real], wanted[~real], "y at padding, and of a sequence that is padding alone"
        )


def forward_hard(masked_forward):
    check, forward = Check(checks.NUMPY, secret=True), guarded(masked_forward, "torch")
    x, gamma, beta, real, _ = next(cases())
    hard = ((1e-3, 0, 1e-5, "tiny numbers"), (1, 1e7, 1e-5, "numbers far from zero"))
    for scale, offset, eps, told in (*hard, (0.3, 0, 0.1, "a large eps")):
        moved = scale * x + offset
        y = check.parts(forward(moved, gamma, beta, checks.marked(real), eps), "y", "cache")[0]
        y = check.array(y, x.shape, "y")
        wanted = reference(moved, gamma, beta, real, eps)[0]
        check.close(y[real], wanted[real], f"y of the real tokens, {told}", tolerance=1e-5)


def forward_refuses(masked_forward):
    check = Check(checks.NUMPY, secret=True)
    for x, gamma, beta, real, _ in cases():
        mask = checks.marked(real)
        wrong = {
            "a mask with a row for all sequences": mask[:1],
            "a mask without an axis of sequences": mask[0],
            "a mask with a third axis": mask[..., None],
            "a mask of integers": mask.astype(int),
            "a mask of floats": mask.astype(float),
        }
        for what, other in wrong.items():
            check.raises(ValueError, masked_forward, x.copy(), gamma, beta, other, what=what)
        y = check.parts(masked_forward(x.copy(), gamma, beta, mask), "y", "cache")[0]
        check.array(y, x.shape, "y of a mask that fits")


def found(check, masked_forward, masked_backward, x, gamma, beta, real, dy):
    """dx, dgamma and dbeta as the submission has them."""
    forward, backward = check.derived(masked_forward, masked_backward, "torch")
    result = forward(x.copy(), gamma, beta, checks.marked(real))
    cache = check.parts(result, "y", "cache")[1]
    return check.parts(backward(dy, cache), "dx", "dgamma", "dbeta")


def backward_dx(masked_forward, masked_backward):
    check = Check(checks.BACK, secret=True)
    for x, gamma, beta, real, dy in cases():
        dx = found(check, masked_forward, masked_backward, x, gamma, beta, real, dy)[0]
        dx, wanted = check.array(dx, x.shape, "dx"), gradients(x, gamma, dy, real)[0]
        most = np.abs(wanted).max()
        check.close(
            dx[real] / most, wanted[real] / most, "dx of the real tokens (random dy, padding too)"
        )


def backward_parameters(masked_forward, masked_backward):
    check = Check(checks.BACK, secret=True)
    for x, gamma, beta, real, dy in cases():
        dy = np.where(real[..., None], dy, 0.0)
        given = x, gamma, beta, real, dy
        _, dgamma, dbeta = found(check, masked_forward, masked_backward, *given)
        _, wanted_gamma, wanted_beta = gradients(x, gamma, dy, real)
        check.close(dgamma, wanted_gamma, "dgamma")
        check.close(dbeta, wanted_beta, "dbeta")


def backward_padding(masked_forward, masked_backward):
    check = Check(checks.BACK, secret=True)
    for x, gamma, beta, real, dy in cases():
        clean, x, real, dy = with_empty(x, real, dy)
        given = x, gamma, beta, real, dy
        dx, dgamma, dbeta = found(check, masked_forward, masked_backward, *given)
        _, wanted_gamma, wanted_beta = gradients(clean, gamma, dy, real)
        told = "with nan and infinity in the padding of x, and an upstream gradient there"
        dx = check.array(dx, x.shape, "dx")
        check.true(np.isfinite(dx).all(), f"dx, {told}", "finite numbers", "nan or infinity")
        check.close(dx[~real], np.zeros(dx[~real].shape), f"dx at padding, {told}")
        check.close(dgamma, wanted_gamma, f"dgamma, {told}")
        check.close(dbeta, wanted_beta, f"dbeta, {told}")


def made(MaskedLayerNorm, gamma, beta, **how):
    layer = Layer(MaskedLayerNorm, len(gamma), **how)
    layer.load(weight=gamma, bias=beta)
    return layer


def layer_values(MaskedLayerNorm):
    check = Check(checks.LAYER, secret=True)
    check.free_of(MaskedLayerNorm, "norms")
    for (x, gamma, beta, real, dy), eps in zip(cases(), (1e-5, 1e-5, 0.1), strict=True):
        layer = made(MaskedLayerNorm, gamma, beta, eps=eps)
        for seen, mask in ((real, [checks.marked(real)]), (np.ones_like(real), [])):
            up = np.where(seen[..., None], dy, 0.0)
            got, told = layer.gradient(up, x, *mask), "with" if mask else "without"
            y, dx = (check.array(a, x.shape, told) for a in (got["y"], got["dx"][0]))
            wanted = gradients(x, gamma, up, seen, eps)
            right = reference(x, gamma, beta, seen, eps)[0]
            check.close(y[seen], right[seen], f"the output at the real tokens, {told} a mask")
            values = (
                (dx[seen], wanted[0][seen]),
                (got["weight"], wanted[1]),
                (got["bias"], wanted[2]),
            )
            for (value, right), name in zip(values, ("x", "weight", "bias"), strict=True):
                check.close(value, right, f"the gradient of {name}, {told} a mask", tolerance=1e-5)


def layer_padding(MaskedLayerNorm):
    check = Check(checks.SEES, secret=True)
    for x, gamma, beta, real, dy in cases():
        clean, x, real, dy = with_empty(x, real, dy)
        got = made(MaskedLayerNorm, gamma, beta).gradient(dy, x, checks.marked(real))
        y, dx = (check.array(a, x.shape, "output or gradient") for a in (got["y"], got["dx"][0]))
        told = "with nan and infinity in the padding"
        check.close(y, reference(clean, gamma, beta, real)[0], f"the output, {told}")
        check.true(
            np.isfinite(dx).all(), f"the gradient of x, {told}", "finite numbers", "nan or infinity"
        )
        check.close(dx[~real], np.zeros(dx[~real].shape), "the gradient of x at padding")
        _, wanted_gamma, wanted_beta = gradients(clean, gamma, dy, real)
        check.close(got["weight"], wanted_gamma, f"the gradient of weight, {told}", tolerance=1e-5)
        check.close(got["bias"], wanted_beta, f"the gradient of bias, {told}", tolerance=1e-5)


def layer_hard(MaskedLayerNorm):
    check = Check(checks.HALF, secret=True)
    for x, gamma, beta, real, _ in cases():
        x = x / np.abs(x).max()
        mask, layer = checks.marked(real), made(MaskedLayerNorm, gamma, beta, dtype="float16")
        halves = gamma.astype("float16").astype(float), beta.astype("float16").astype(float)
        for scale, offset, told in (
            (9000, 0, "large"),
            (500, 15000, "far from zero"),
            (0.01, 0, "small"),
        ):
            given = (scale * x + offset).astype("float16")
            y = check.array(layer.forward(given, mask), x.shape, "the output in half precision")
            check.true(y.dtype == np.float16, "the type of the output", "float16", str(y.dtype))
            wanted = reference(given.astype(float), *halves, real)[0]
            check.close(
                y[real], wanted[real], f"the output of {told} numbers in half precision", 2e-3
            )
        layer = made(MaskedLayerNorm, gamma, beta)
        far = x + 1e6
        y = check.array(layer.forward(far, mask), x.shape, "the output in double precision")
        wanted = reference(far, gamma, beta, real)[0]
        check.close(
            y[real], wanted[real], "the output of numbers far from zero in double precision", 1e-5
        )
        y = check.array(checks.of_view(layer, x, mask), x.shape, "the output of a view")
        wanted = reference(x, gamma, beta, real)[0]
        check.close(
            y[real], wanted[real], "the output of a view whose numbers are not in order in memory"
        )
