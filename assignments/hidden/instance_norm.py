"""The hidden checks of "Adaptive instance norm": they decide. Never handed out, never in the sandbox."""

import checks
import numpy as np
from checking import Check, Layer, guarded, rng, watched

# Sizes: (images, channels, height and width of the content, of the style). `vary` draws others.
SIZES = [(2, 3, (2, 3), (3, 3)), (3, 2, (4, 2), (1, 5)), (1, 4, (3, 3), (2, 2))]
# (images, styles)
SHARED = [(6, 2), (6, 3), (4, 1)]


def spread(v, images):
    """What each style has, for each image."""
    each = images // len(v)
    return np.repeat(v, each, axis=0)


def moments(maps, eps):
    mean = maps.mean((2, 3), keepdims=True)
    return mean, (((maps - mean) ** 2).mean((2, 3), keepdims=True) + eps) ** 0.5


def reference(x, style, strength, eps=1e-5):
    """y; x (N, C, H, W), style (M, C, H', W'), strength (C,)."""
    mean, deviation = moments(x, eps)
    shift, gain = (spread(v, len(x)) for v in moments(style, eps))
    a = strength[:, None, None]
    return a * (gain * (x - mean) / deviation + shift) + (1 - a) * x


def gradients(x, style, strength, dy, eps=1e-5):
    """dx, dstyle and dstrength."""
    (mean, deviation), (shift, gain) = moments(x, eps), moments(style, eps)
    x_hat, a, gains = (x - mean) / deviation, strength[:, None, None], spread(gain, len(x))
    up = a * dy
    inner = up - up.mean((2, 3), keepdims=True) - x_hat * (up * x_hat).mean((2, 3), keepdims=True)
    dx = gains / deviation * inner + (1 - a) * dy
    owner = spread(np.arange(len(style)).reshape(-1, 1, 1, 1), len(x))
    dstyle = np.zeros(style.shape)
    for n, s in enumerate(owner.ravel()):
        dgain, dshift = ((up[n] * v).sum((1, 2), keepdims=True) for v in (x_hat[n], 1))
        dstyle[s] += (dshift + dgain * (style[s] - shift[s]) / gain[s]) / style[0, 0].size
    dstrength = (dy * (gains * x_hat + spread(shift, len(x)) - x)).sum((0, 2, 3))
    return dx, dstyle, dstrength


def drawn(random, images, styles, channels, size, style_size):
    """Content, style, strength and upstream gradient; every map has a mean and a deviation of its own."""
    made = []
    for count, places in ((images, size), (styles, style_size)):
        maps = random.normal(size=(count, channels, *places))
        maps *= random.uniform(0.5, 2, size=(count, channels, 1, 1))
        made.append(maps + random.normal(size=(count, channels, 1, 1)))
    return *made, random.uniform(0.2, 1.5, channels), random.normal(size=made[0].shape)


def cases():
    """One style for each image."""
    random = rng(1)
    for images, channels, size, style_size in SIZES:
        yield drawn(random, images, images, channels, size, style_size)


def shared():
    """Fewer styles than images."""
    random = rng(2)
    for (images, styles), (_, *sizes) in zip(SHARED, SIZES, strict=True):
        yield drawn(random, images, styles, *sizes)


def same(check, value, wanted, what, tolerance=1e-6):
    """Equal up to a tolerance times the largest entry, small or large."""
    size = np.abs(wanted).max()
    check.close(check.array(value, wanted.shape, what) / size, wanted / size, what, tolerance)


def forward_values(adain_forward):
    check, forward = Check(checks.NUMPY, secret=True), guarded(adain_forward, "torch")
    check.free_of(adain_forward, "torch")
    for x, style, strength, _ in cases():
        called = watched(forward, x, style, strength)
        result, after = check.parts(called, "result", "arguments")
        y, _ = check.parts(result, "y", "cache")
        size = f"a content {x.shape} and a style {style.shape}"
        check.close(y, reference(x, style, strength), f"y of {size}")
        for k, (given, name) in enumerate(((x, "x"), (style, "style"), (strength, "strength"))):
            check.close(after[k], given, f"{name} after the call (it must not be changed)", 0)


def forward_shared(adain_forward):
    check, forward = Check(checks.NUMPY, secret=True), guarded(adain_forward, "torch")
    for x, style, strength, _ in shared():
        y, _ = check.parts(forward(x, style, strength), "y", "cache")
        what = f"y of {len(x)} images and {len(style)} styles"
        check.close(y, reference(x, style, strength), what)


def forward_hard(adain_forward):
    check, forward = Check(checks.NUMPY, secret=True), guarded(adain_forward, "torch")
    x, style, strength, _ = next(cases())
    flat, plain = (np.broadcast_to(v[..., :1, :1], v.shape).copy() for v in (x, style))
    hard = {
        "a content far from zero": (x + 1e7, style, 1 + 0 * strength, 1e-5),
        "a style far from zero": (x, style + 1e7, strength, 1e-5),
        "a tiny content": (1e-3 * x, style, strength, 1e-5),
        "a tiny style": (x, 1e-3 * style, 1 + 0 * strength, 1e-5),
        "a constant content": (flat, style, strength, 1e-5),
        "a constant style": (x, plain, strength, 1e-5),
        "a style of one place": (x, style[..., :1, :1], strength, 1e-5),
        "a content of two places": (x[..., :1, :2], style, strength, 1e-5),
        "a large eps": (x, style, strength, 0.3),
    }
    for name, (content, look, part, eps) in hard.items():
        y, _ = check.parts(forward(content, look, part, eps), "y", "cache")
        wanted = reference(content, look, part, eps)
        mean = wanted.mean((2, 3), keepdims=True)
        y = check.array(y, wanted.shape, f"y of {name}")
        check.close(y - mean, wanted - mean, f"y of {name}", tolerance=1e-5)


def forward_refuses(adain_forward):
    check = Check(checks.NUMPY, secret=True)
    x, style, strength, _ = next(shared())
    wrong = {
        "images that cannot be shared out to the styles": (x[:-1], style),
        "more styles than images": (x[:1], style),
        "a style of one channel": (x, style[:, :1]),
        "a content of one channel": (x[:, :1], style),
        "a content of one place": (x[..., :1, :1], style),
    }
    for what, arrays in wrong.items():
        check.raises(ValueError, adain_forward, *arrays, strength, what=what)
    for style_maps in (style, style[..., :1, :1]):
        y = check.parts(adain_forward(x, style_maps, strength), "y", "cache")[0]
        check.array(y, x.shape, "y of what does fit")


def backward_content(adain_forward, adain_backward):
    check = Check(checks.BACK, secret=True)
    for x, style, strength, dy in cases():
        found = checks.backward_of(check, adain_forward, adain_backward, x, style, strength, dy)
        same(check, found[0], gradients(x, style, strength, dy)[0], f"dx of a content {x.shape}")


def backward_style(adain_forward, adain_backward):
    check = Check(checks.BACK, secret=True)
    for x, style, strength, dy in cases():
        found = checks.backward_of(check, adain_forward, adain_backward, x, style, strength, dy)
        wanted = gradients(x, style, strength, dy)[1]
        same(check, found[1], wanted, f"dstyle of a style {style.shape}")


def backward_shared(adain_forward, adain_backward):
    check = Check(checks.BACK, secret=True)
    for x, style, strength, dy in shared():
        found = checks.backward_of(check, adain_forward, adain_backward, x, style, strength, dy)
        what = f"dstyle of {len(style)} styles for {len(x)} images"
        same(check, found[1], gradients(x, style, strength, dy)[1], what)


def backward_strength(adain_forward, adain_backward):
    check = Check(checks.BACK, secret=True)
    for x, style, strength, dy in cases():
        found = checks.backward_of(check, adain_forward, adain_backward, x, style, strength, dy)
        same(check, found[2], gradients(x, style, strength, dy)[2], "dstrength")


def layer_values(AdaptiveInstanceNorm):
    check = Check(checks.LAYER, secret=True)
    check.free_of(AdaptiveInstanceNorm, "norms")
    for x, style, strength, dy in (*cases(), *shared()):
        layer = Layer(AdaptiveInstanceNorm, x.shape[1])
        layer.load(strength=strength)
        for mode in (True, False):
            layer.train(mode)
            found = layer.gradient(dy, x, style)
            where = "in training" if mode else "in evaluation"
            check.close(found["y"], reference(x, style, strength), f"the output {where}")
            values = (*found["dx"], found["strength"])
            for value, wanted, name in zip(
                values,
                gradients(x, style, strength, dy),
                ("the content", "the style", "strength"),
                strict=True,
            ):
                same(check, value, wanted, f"the gradient of {name} {where}")


def layer_hard(AdaptiveInstanceNorm):
    check = Check(checks.LAYER, secret=True)
    x, style, strength, _ = next(cases())
    layer = Layer(AdaptiveInstanceNorm, x.shape[1])
    layer.load(strength=strength)
    wanted = reference(x, style, strength)
    y = checks.of_channels_last(layer, x, style)
    check.close(y, wanted, "the output with the channels last in memory")
    for axes, name in (((-1,), "sound (N, C, L)"), ((1, *x.shape[2:]), "video (N, C, D, H, W)")):
        content = x.reshape(*x.shape[:2], *axes)
        look = style.reshape(*style.shape[:2], *[1] * (len(axes) - 1), -1)
        y = check.array(layer.forward(content, look), content.shape, f"the output of {name}")
        check.close(y.reshape(x.shape), wanted, f"the output of {name}")
    far = reference(x + 1e5, style, 1 + 0 * strength)
    layer.load(strength=1 + 0 * strength)
    check.close(layer.forward(x + 1e5, style), far, "the output in float64, far from zero")
    half = Layer(AdaptiveInstanceNorm, x.shape[1], dtype="float16")
    half.load(strength=np.ones(x.shape[1]))
    for scale, style_scale in ((600, 1), (1, 600), (0.002, 1)):
        given = [np.float16(v) for v in (scale * x, style_scale * style)]
        wanted = reference(*(v.astype(float) for v in given), np.ones(x.shape[1]))
        y = check.array(half.forward(*given), x.shape, "the output in half precision")
        same(check, y.astype(float), wanted, "the output in half precision", tolerance=3e-3)
        kind = str(y.dtype)
        check.true(kind == "float16", "the type of the output in half precision", "float16", kind)
