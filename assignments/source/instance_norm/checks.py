"""The public checks of "Adaptive instance norm". They help; hidden checks of the same parts decide.

Run them all with `python checks.py` in the folder of the notebook.
"""

import numpy as np
from checking import Check, Layer, beside, guarded, main

NUMPY = "this course, chapter 05, section 3 (Forward, in NumPy)"
BACK = "this course, chapter 05, section 4 (Backward: what changes?)"
LAYER = "this course, chapter 05, section 5 (As a layer)"

# Two images of two channels; each row is a map of 2 x 2 places. The second map is constant.
X = np.array([[1.0, 1, 3, 3], [5, 5, 5, 5], [10, 10, 30, 30], [0, 0, 0, 8]]).reshape(2, 2, 2, 2)
# Two styles with maps of 1 x 2 places: means 20, 4, 1, 0 and deviations 10, 0, 1, 2.
STYLE = np.array([[10.0, 30], [4, 4], [0, 2], [-2, 2]]).reshape(2, 2, 1, 2)
LAST = [-1.1547, -1.1547, -1.1547, 3.4641]
Y = np.array([[10.0, 10, 30, 30], [4, 4, 4, 4], [0, 0, 2, 2], LAST]).reshape(2, 2, 2, 2)
ORDER = [0, 0, 1, 1]  # the styles of four images
DY = np.array([[1.0, 2, 3, 4], [1, 0, 0, 0], [0, 1, 0, -1], [2, 0, 1, 0]]).reshape(2, 2, 2, 2)
ALL, HALF = np.ones(2), np.full(2, 0.5)
for _array in (X, STYLE, Y, DY, ALL, HALF):
    _array.flags.writeable = False  # a function that writes into its inputs is told so


def forward_values(adain_forward):
    check, forward = Check(NUMPY), guarded(adain_forward, "torch")
    check.free_of(adain_forward, "torch")
    y, _ = check.parts(forward(X, STYLE, ALL), "y", "cache")
    check.close(y, Y, "y, at strength 1", tolerance=1e-4)
    y, _ = check.parts(forward(X, STYLE, np.array([0.5, 0.0])), "y", "cache")
    wanted = np.stack([(X + Y)[:, 0] / 2, X[:, 1]], 1)
    check.close(y, wanted, "y, at strength 0.5 and 0", tolerance=1e-4)
    y, _ = check.parts(forward(X, X, ALL), "y", "cache")
    check.close(y, X, "y of a content that is its own style")
    print("forward-values: the example by hand is right")


def forward_shared(adain_forward):
    check, forward = Check(NUMPY), guarded(adain_forward, "torch")
    y, _ = check.parts(forward(X[ORDER], STYLE, ALL), "y", "cache")
    check.close(y, Y[ORDER], "y of four images and two styles", tolerance=1e-4)
    print("forward-shared: four images get the right styles")


def forward_hard(adain_forward):
    check, forward = Check(NUMPY), guarded(adain_forward, "torch")
    y, _ = check.parts(forward(X + 1e8, STYLE, ALL), "y", "cache")
    check.close(y, Y, "y of a content far from zero", tolerance=1e-3)
    y, _ = check.parts(forward(X, STYLE[..., :1], ALL), "y", "cache")
    wanted = np.broadcast_to(STYLE[..., :1], X.shape)
    check.close(y, wanted, "y of a style of one place", tolerance=1e-2)
    print("forward-hard: numbers far from zero and a style of one place are right")


def forward_refuses(adain_forward):
    check = Check(NUMPY)
    what = "three images for two styles"
    check.raises(ValueError, adain_forward, X[[0, 1, 1]], STYLE, ALL, what=what)
    what = "a style of one channel for a content of two"
    check.raises(ValueError, adain_forward, X, STYLE[:, :1], ALL, what=what)
    what = "a content with maps of one place"
    check.raises(ValueError, adain_forward, X[:, :, :1, :1], STYLE, ALL, what=what)
    print("forward-refuses: what does not fit is refused")


def backward_of(check, adain_forward, adain_backward, x, style, strength, dy):
    """dx, dstyle and dstrength of the student's functions."""
    forward, backward = check.derived(adain_forward, adain_backward, "torch")
    _, cache = check.parts(forward(x, style, strength), "y", "cache")
    return check.parts(backward(dy, cache), "dx", "dstyle", "dstrength")


def fits(check, adain_forward, adain_backward, *names):
    """Two images, two styles, strengths of 0.3 and 0.8, against central differences."""
    random = np.random.default_rng(1)
    arrays = (
        random.normal(size=(2, 2, 2, 2)),
        random.normal(size=(2, 2, 1, 3)),
        np.array([0.3, 0.8]),
    )
    check.fits(adain_forward, adain_backward, arrays, (), ("dx", "dstyle", "dstrength"), names)


def backward_content(adain_forward, adain_backward):
    check, both = Check(BACK), (adain_forward, adain_backward)
    dx, _, _ = backward_of(check, *both, X, STYLE, np.zeros(2), DY)
    check.close(dx, DY, "dx at strength 0")
    dx, _, _ = backward_of(check, *both, X, STYLE, ALL, DY)
    first = np.array([[-5.0, 5.0], [-5.0, 5.0]])  # scale 10, and (dy - 2.5 - x_hat)
    check.close(check.array(dx, X.shape, "dx")[0, 0], first, "dx of the first map", 1e-3)
    fits(check, *both, "dx")
    print("backward-content: dx of the first map, and at strength 0, is right")


def backward_style(adain_forward, adain_backward):
    check, both = Check(BACK), (adain_forward, adain_backward)
    _, dstyle, _ = backward_of(check, *both, X, STYLE, ALL, DY)
    # The first style: 5 for the mean (10, shared by 2 places), and 2 for the deviation (4, by 2).
    wanted = np.array([[[3.0, 7.0]], [[0.5, 0.5]]])
    dstyle = check.array(dstyle, STYLE.shape, "dstyle")
    check.close(dstyle[0], wanted, "dstyle of the first style", tolerance=1e-4)
    fits(check, *both, "dstyle")
    print("backward-style: the gradient of the first style is right")


def backward_shared(adain_forward, adain_backward):
    check, both = Check(BACK), (adain_forward, adain_backward)
    _, one, _ = backward_of(check, *both, X, STYLE, ALL, DY)
    _, four, _ = backward_of(check, *both, X[ORDER], STYLE, ALL, DY[ORDER])
    one, four = (check.array(v, STYLE.shape, "dstyle") for v in (one, four))
    check.close(four, 2 * one, "dstyle when each image comes twice (twice that of one)")
    print("backward-shared: images that share a style add up")


def backward_strength(adain_forward, adain_backward):
    check, both = Check(BACK), (adain_forward, adain_backward)
    _, _, dstrength = backward_of(check, *both, X, STYLE, HALF, DY)
    wanted = (DY * (Y - X)).sum((0, 2, 3))
    check.close(dstrength, wanted, "dstrength", tolerance=1e-4)
    fits(check, *both, "dstrength")
    print("backward-strength: dstrength of the example is right")


def layer_values(AdaptiveInstanceNorm):
    check = Check(LAYER)
    check.free_of(AdaptiveInstanceNorm, "norms")
    layer = Layer(AdaptiveInstanceNorm, 2)
    named = layer.parameters(), layer.buffers()
    check.true(named == (["strength"], []), "parameters and buffers", (["strength"], []), named)
    check.close(layer.get("strength"), ALL, "strength at the start")
    check.close(layer.forward(X, STYLE), Y, "the output", tolerance=1e-4)
    check.close(layer.forward(X[ORDER], STYLE), Y[ORDER], "the output of four images", 1e-4)
    print("layer-values: the example by hand is right")


@beside
def of_channels_last(layer, x, style):
    """The output for the same numbers, which lie in memory with the channels last."""

    def turned(array):
        return np.moveaxis(np.ascontiguousarray(np.moveaxis(array, 1, -1)), -1, 1)

    return layer.forward(turned(x), turned(style))


def layer_hard(AdaptiveInstanceNorm):
    check, layer = Check(LAYER), Layer(AdaptiveInstanceNorm, 2)
    y = of_channels_last(layer, X, STYLE)
    check.close(y, Y, "the output with the channels last in memory", tolerance=1e-4)
    flat = X.reshape(2, 2, 4), STYLE.reshape(2, 2, 2)
    check.close(layer.forward(*flat), Y.reshape(2, 2, 4), "the output of sound (N, C, L)", 1e-4)
    half = Layer(AdaptiveInstanceNorm, 2, dtype="float16")
    y = half.forward(100 * X, STYLE)
    check.close(y, Y, "the output in half precision", tolerance=5e-3)
    kind = str(y.dtype)
    check.true(kind == "float16", "the type of the output in half precision", "float16", kind)
    print("layer-hard: other memory, other axes and half precision are right")


if __name__ == "__main__":
    main()
