"""The hidden checks of "Group norm with unequal groups". Never handed out, never in the sandbox."""

import checks
import numpy as np
from checking import Check, Layer, guarded, rng, watched

# (images, sizes of the groups, height and width). `vary` draws others.
SIZES = [(2, [4, 1, 2], (2, 3)), (3, [1, 3], (4, 2)), (1, [2, 5, 3], (3, 3))]
CHANNELS = [(11, 4), (7, 7), (64, 5), (3, 2)]


def members(sizes):
    """For each channel, the number of its group."""
    return np.repeat(np.arange(len(sizes)), sizes)


def x_hat_of(x, sizes, eps=1e-5):
    """x_hat and the inverse deviation (N, C, 1, 1) of each channel's group."""
    x_hat, rstd, member = np.zeros(x.shape), np.zeros((*x.shape[:2], 1, 1)), members(sizes)
    for g in range(len(sizes)):
        group = x[:, member == g]
        centred = group - group.mean((1, 2, 3), keepdims=True)
        inverse = ((centred**2).mean((1, 2, 3), keepdims=True) + eps) ** -0.5
        x_hat[:, member == g], rstd[:, member == g] = centred * inverse, inverse
    return x_hat, rstd


def reference(x, gamma, beta, sizes, eps=1e-5):
    """y; x (N, C, H, W)."""
    return gamma[:, None, None] * x_hat_of(x, sizes, eps)[0] + beta[:, None, None]


def gradients(x, gamma, dy, sizes, eps=1e-5):
    """dx, dgamma and dbeta."""
    (x_hat, rstd), member = x_hat_of(x, sizes, eps), members(sizes)
    d, dx = gamma[:, None, None] * dy, np.zeros(x.shape)
    for g in range(len(sizes)):
        mine = member == g
        a, h = d[:, mine], x_hat[:, mine]
        mean, dot = (v.mean((1, 2, 3), keepdims=True) for v in (a, a * h))
        dx[:, mine] = rstd[:, mine] * (a - mean - h * dot)
    return dx, (dy * x_hat).sum((0, 2, 3)), dy.sum((0, 2, 3))


def cases():
    """Random images: every channel has a mean and a deviation of its own."""
    random = rng(1)
    for images, sizes, places in SIZES:
        channels = sum(sizes)
        x = random.normal(size=(images, channels, *places))
        x = x * random.uniform(0.5, 2, (images, channels, 1, 1))
        x = x + random.normal(size=(images, channels, 1, 1))
        gamma, beta = random.normal(size=(2, channels)) + 0.2
        yield x, gamma, beta, sizes, random.normal(size=x.shape)


def same(check, value, wanted, what, tolerance=1e-6):
    """Equal up to a tolerance times the largest entry, small or large."""
    size = np.abs(wanted).max()
    check.close(check.array(value, wanted.shape, what) / size, wanted / size, what, tolerance)


def sizes_values(group_sizes):
    check = Check(checks.SIZES, secret=True)
    for channels, groups in CHANNELS:
        width, left = divmod(channels, groups)
        wanted = [width + (g < left) for g in range(groups)]
        came = group_sizes(channels, groups)
        right = type(came) is list and all(type(n) is int for n in came) and came == wanted
        what = "the sizes of a number of channels"
        check.true(right, what, "sizes that add up, in the order asked for", "other sizes")
    for wrong in ((2, 3), (4, 0), (0, 0), (3, -1)):
        check.raises(ValueError, group_sizes, *wrong, what="groups that cannot be made")


def forward_values(uneven_forward):
    check, forward = Check(checks.NUMPY, secret=True), guarded(uneven_forward, "torch")
    check.free_of(uneven_forward, "torch")
    for x, gamma, beta, sizes, _ in cases():
        called = watched(forward, x, gamma, beta, sizes)
        result, after = check.parts(called, "result", "arguments")
        y, _ = check.parts(result, "y", "cache")
        what = f"y of {len(sizes)} groups, {x.shape[1]} channels"
        check.close(y, reference(x, gamma, beta, sizes), what)
        check.close(after[0], x, "x after the call (it must not be changed)", 0)
        unchanged = type(after[3]) is list and after[3] == sizes
        check.true(unchanged, "the list of sizes after the call", "as before", "changed")


def forward_hard(uneven_forward):
    check, forward = Check(checks.NUMPY, secret=True), guarded(uneven_forward, "torch")
    x, gamma, beta, sizes, _ = next(cases())
    channels = x.shape[1]
    flat = np.broadcast_to(x[:, :, :1, :1], x.shape).copy()
    hard = {
        "numbers far from zero": (x + 1e7, sizes, 1e-5),
        "tiny numbers": (1e-3 * x, sizes, 1e-5),
        "constant maps": (flat, sizes, 1e-5),
        "one constant for all": (0 * x + 3, sizes, 1e-5),
        "a group of one channel each": (x, [1] * channels, 1e-5),
        "one group": (x, [channels], 1e-5),
        "maps of one place": (x[..., :1, :1], [2, channels - 2], 1e-5),
        "one image": (x[:1], sizes, 1e-5),
        "a large eps": (x, sizes, 0.3),
    }
    for name, (maps, groups, eps) in hard.items():
        y, _ = check.parts(forward(maps, gamma, beta, groups, eps), "y", "cache")
        wanted = reference(maps, gamma, beta, groups, eps)
        check.close(y, wanted, f"y of {name}", tolerance=1e-5)


def forward_refuses(uneven_forward):
    check = Check(checks.NUMPY, secret=True)
    x, gamma, beta, sizes, _ = next(cases())
    channels = x.shape[1]
    wrong = {
        "sizes that make too few channels": (x, sizes[:-1]),
        "sizes that make too many channels": (x, [*sizes, 1]),
        "no sizes": (x, []),
        "a size of 0": (x, [*sizes, 0]),
        "a negative size": (x, [channels + 1, -1]),
        "a group of a single value": (x[..., :1, :1], [channels - 1, 1]),
    }
    for what, (maps, groups) in wrong.items():
        check.raises(ValueError, uneven_forward, maps, gamma, beta, groups, what=what)
    for maps, groups in ((x, sizes), (x, [1] * channels), (x[..., :1, :1], [2, channels - 2])):
        y = check.parts(uneven_forward(maps, gamma, beta, groups), "y", "cache")[0]
        check.array(y, maps.shape, "y of sizes that fit")


def backward_dx(uneven_forward, uneven_backward):
    check = Check(checks.BACK, secret=True)
    for x, gamma, beta, sizes, dy in cases():
        for groups in (sizes, sizes[::-1]):
            given = x, gamma, beta, groups, dy
            dx, _, _ = checks.backward_of(check, uneven_forward, uneven_backward, *given)
            wanted = gradients(x, gamma, dy, groups)[0]
            same(check, dx, wanted, f"dx of {len(groups)} groups (random gain and dy)")


def backward_parameters(uneven_forward, uneven_backward):
    check = Check(checks.BACK, secret=True)
    for x, gamma, beta, sizes, dy in cases():
        given = x, gamma, beta, sizes, dy
        _, *found = checks.backward_of(check, uneven_forward, uneven_backward, *given)
        _, *wanted = gradients(x, gamma, dy, sizes)
        for value, right, name in zip(found, wanted, ("dgamma", "dbeta"), strict=True):
            same(check, value, right, name)


def layer_values(UnevenGroupNorm):
    check = Check(checks.LAYER, secret=True)
    check.free_of(UnevenGroupNorm, "norms")
    for x, gamma, beta, sizes, dy in cases():
        layer = Layer(UnevenGroupNorm, sizes)
        layer.load(weight=gamma, bias=beta)
        for mode in (True, False):
            layer.train(mode)
            found = layer.gradient(dy, x)
            where = "in training" if mode else "in evaluation"
            check.close(found["y"], reference(x, gamma, beta, sizes), f"the output {where}")
            values = found["dx"][0], found["weight"], found["bias"]
            wanted = gradients(x, gamma, dy, sizes)
            for value, right, name in zip(values, wanted, ("x", "weight", "bias"), strict=True):
                same(check, value, right, f"the gradient of {name} {where}")


def layer_hard(UnevenGroupNorm):
    check = Check(checks.LAYER, secret=True)
    x, gamma, beta, sizes, _ = next(cases())
    layer = Layer(UnevenGroupNorm, sizes)
    layer.load(weight=gamma, bias=beta)
    wanted = reference(x, gamma, beta, sizes)
    y = checks.of_channels_last(layer, x)
    check.close(y, wanted, "the output with the channels last in memory")
    for axes, name in (((-1,), "sound (N, C, L)"), ((1, *x.shape[2:]), "video (N, C, D, H, W)")):
        maps = x.reshape(*x.shape[:2], *axes)
        y = check.array(layer.forward(maps), maps.shape, f"the output of {name}")
        check.close(y.reshape(x.shape), wanted, f"the output of {name}")
    rows = x[:, :, 0, 0]
    pair = Layer(UnevenGroupNorm, [2, x.shape[1] - 2])
    one, zero = np.ones(x.shape[1]), np.zeros(x.shape[1])
    right = reference(rows[:, :, None, None], one, zero, [2, x.shape[1] - 2])[:, :, 0, 0]
    check.close(pair.forward(rows), right, "the output of rows (N, C)")
    far = reference(x + 1e5, gamma, beta, sizes)
    check.close(layer.forward(x + 1e5), far, "the output in float64, far from zero")
    half = Layer(UnevenGroupNorm, sizes, dtype="float16")
    for scale in (600, 0.002):
        given = np.float16(scale * x)
        wanted = reference(given.astype(float), one, zero, sizes)
        y = check.array(half.forward(given), x.shape, "the output in half precision")
        same(check, y.astype(float), wanted, "the output in half precision", tolerance=3e-3)
        kind = str(y.dtype)
        check.true(kind == "float16", "the type of the output in half precision", "float16", kind)


def convert_keeps(from_batch_norm):
    check, random = Check(checks.CONVERT, secret=True), rng(2)
    for (x, gamma, beta, sizes, _), frozen in zip(cases(), (False, True, False), strict=True):
        eps, values = random.uniform(0.01, 0.1), {"weight": gamma, "bias": beta}
        found = checks.converted(from_batch_norm, sizes, values, x, eps, frozen)
        check.true(type(found) is dict, "the new layer", "an UnevenGroupNorm", "something else")
        names = sorted(found["state"])
        check.true(names == ["bias", "weight"], "what the new layer holds", "weight, bias", names)
        # Exactly: float64 values that went through float32 are other values.
        check.close(found["state"]["weight"], gamma, "the new weight", tolerance=1e-12)
        check.close(found["state"]["bias"], beta, "the new bias", tolerance=1e-12)
        trained = ["weight"] if frozen else ["bias", "weight"]
        came = found["trains"]
        check.true(came == trained, "the parameters that take a gradient", trained, came)
        wanted = reference(x, gamma, beta, sizes, eps)
        check.close(found["y"], wanted, "the new layer's output (gain, shift, epsilon)")
        bare = checks.converted(from_batch_norm, sizes, None, x, eps)
        held = sorted(bare["state"])
        check.true(held == [], "what is held, from a layer without gain and shift", "nothing", held)
        wanted = reference(x, 1 + 0 * gamma, 0 * beta, sizes, eps)
        check.close(bare["y"], wanted, "the output, from a layer without gain and shift")


def convert_apart(from_batch_norm):
    check, random = Check(checks.CONVERT, secret=True), rng(3)
    for x, gamma, beta, sizes, _ in cases():
        values, move = {"weight": gamma, "bias": beta}, random.uniform(0.5, 1)
        found = checks.converted(from_batch_norm, sizes, values, x, move=move)
        check.close(found["moved"]["weight"], gamma + move, "the new weight after a step")
        check.close(found["moved"]["bias"], beta + move, "the new bias after a step")
        stays = found["old stays"]
        check.true(stays is checks.STAYS, checks.OLD, *checks.STORY)
        for wrong in (sizes[:-1], [*sizes, 1], [*sizes, 0]):
            what = "sizes that do not fit the old layer"
            check.raises(ValueError, checks.converted, from_batch_norm, wrong, values, x, what=what)
