"""The public checks of "Layer norm over a padded batch". They help; hidden checks of the same parts decide.

Run them all with `python checks.py` in the folder of the notebook.
"""

import numpy as np
from checking import Check, Layer, beside, guarded, main, watched

NUMPY = "this course, chapter 03, section 3 (Forward, in NumPy)"
BACK = "this course, chapter 03, section 4 (Backward)"
LAYER = "this course, chapter 03, section 5 (As a layer)"
SEES = "this course, chapter 03, section 6 (Break it: who sees whom)"
HALF = "this course, chapter 04, section 6 (Break it: sixteen bits)"

# Two sequences of three tokens of two features. The real values of the first are 2, 2, 6, 6 (mean 4,
# deviation 2), those of the second 1, 7, 1, 7 (mean 4, deviation 3). The rest is padding.
X = np.array([[[2.0, 2], [6, 6], [100, -100]], [[1, 7], [50, 50], [1, 7]]])
REAL = np.array([[True, True, False], [True, False, True]])
Y = np.array([[-1.0, -1], [1, 1], [-1, 1], [-1, 1]])  # of the four real tokens
DY = np.array([[[4.0, 0], [0, 0], [9, 9]], [[0, 6], [9, 9], [0, 0]]])
GAMMA, BETA = np.array([3.0, 2.0]), np.array([1.0, -1.0])


def marked(real):
    """The mask of the real tokens, as this assignment writes it."""
    return real


def at_padding(beta):
    """What comes out at padding, for each feature."""
    return np.zeros(beta.shape)


def forward_values(masked_forward):
    check, forward = Check(NUMPY), guarded(masked_forward, "torch")
    check.free_of(masked_forward, "torch")
    for gamma, beta in ((np.ones(2), np.zeros(2)), (GAMMA, BETA)):
        result, after = watched(forward, X.copy(), gamma, beta, marked(REAL))
        y, _ = check.parts(result, "y", "cache")
        y = check.array(y, X.shape, "y")
        told = f"y of the real tokens, with gain {gamma} and shift {beta}"
        check.close(y[REAL], gamma * Y + beta, told, tolerance=1e-4)
        check.close(after[0], X, "x after the call (it must not be changed)")
    print("forward-values: the example by hand is right")


def forward_padding(masked_forward):
    check, forward = Check(SEES), guarded(masked_forward, "torch")
    x = np.where(REAL[..., None], X, np.nan)
    y, _ = check.parts(forward(x, GAMMA, BETA, marked(REAL)), "y", "cache")
    y = check.array(y, X.shape, "y")
    check.close(y[REAL], GAMMA * Y + BETA, "y of the real tokens, with nan in the padding", 1e-4)
    check.close(y[~REAL], [at_padding(BETA)] * 2, "y at padding")
    print("forward-padding: nan in the padding does not leak in the example")


def forward_hard(masked_forward):
    check, forward = Check(NUMPY), guarded(masked_forward, "torch")
    y, _ = check.parts(forward(X + 1e8, np.ones(2), np.zeros(2), marked(REAL)), "y", "cache")
    y = check.array(y, X.shape, "y")
    check.close(y[REAL], Y, "y of numbers far from zero", tolerance=1e-3)
    print("forward-hard: numbers far from zero are right")


def forward_refuses(masked_forward):
    check, stretched = Check(NUMPY), marked(REAL)[:1]
    what = "a mask of shape (1, 3) for 2 sequences of 3 tokens"
    check.raises(ValueError, masked_forward, X.copy(), GAMMA, BETA, stretched, what=what)
    print("forward-refuses: a mask that NumPy would stretch is refused")


def example(check, masked_forward, masked_backward, dy):
    """dx, dgamma and dbeta of the example, with gain 1."""
    forward, backward = check.derived(masked_forward, masked_backward, "torch")
    y_and_cache = forward(X.copy(), np.ones(2), np.zeros(2), marked(REAL))
    cache = check.parts(y_and_cache, "y", "cache")[1]
    return check.parts(backward(dy, cache), "dx", "dgamma", "dbeta")


def fits(check, masked_forward, masked_backward, *names):
    """Three features and gains, against central differences."""
    x = np.array([[[2.0, 3, 7], [6, 6, 1], [9, 0, 0]], [[1, 7, 2], [50, 50, 1], [1, 9, 7]]])
    arrays = x, np.array([3.0, -2.0, 0.5]), np.array([1.0, 0.5, 0.0])
    names = ("dx", "dgamma", "dbeta"), names
    check.fits(masked_forward, masked_backward, arrays, (marked(REAL),), *names)


def backward_dx(masked_forward, masked_backward):
    check = Check(BACK)
    dx = check.array(example(check, masked_forward, masked_backward, DY)[0], X.shape, "dx")
    wanted = [[1.0, -1.0], [0.0, 0.0], [0.0, 1.0], [0.0, -1.0]]
    check.close(dx[REAL], wanted, "dx of the real tokens", tolerance=1e-4)
    fits(check, masked_forward, masked_backward, "dx")
    print("backward-dx: dx of the example is right")


def backward_parameters(masked_forward, masked_backward):
    check, dy = Check(BACK), np.where(REAL[..., None], DY, 0.0)
    _, dgamma, dbeta = example(check, masked_forward, masked_backward, dy)
    check.close(dgamma, [-4.0, 6.0], "dgamma", tolerance=1e-4)
    check.close(dbeta, [4.0, 6.0], "dbeta", tolerance=1e-6)
    fits(check, masked_forward, masked_backward, "dgamma", "dbeta")
    print("backward-parameters: dgamma and dbeta of the example are right")


def backward_padding(masked_forward, masked_backward):
    check = Check(BACK)
    dx, dgamma, dbeta = example(check, masked_forward, masked_backward, DY)
    dx = check.array(dx, X.shape, "dx")
    check.close(dx[~REAL], np.zeros((2, 2)), "dx at padding")
    check.close(dgamma, [-4.0, 6.0], "dgamma, with an upstream gradient at padding", tolerance=1e-4)
    check.close(dbeta, [4.0, 6.0], "dbeta, with an upstream gradient at padding")
    print("backward-padding: an upstream gradient at padding goes where it should in the example")


def layer_values(MaskedLayerNorm):
    check = Check(LAYER)
    check.free_of(MaskedLayerNorm, "norms")
    layer = Layer(MaskedLayerNorm, 2)
    names = sorted(layer.parameters())
    check.true(names == ["bias", "weight"], "the parameters", "weight and bias", names)
    y = check.array(layer.forward(X, marked(REAL)), X.shape, "the output")
    check.close(y[REAL], Y, "the output at the real tokens", tolerance=1e-4)
    y = layer.forward(np.array([[[2.0, 2.0], [6.0, 6.0]]]))
    check.close(y, [[[-1.0, -1.0], [1.0, 1.0]]], "the output without a mask", tolerance=1e-4)
    print("layer-values: the example by hand is right")


def layer_padding(MaskedLayerNorm):
    check, layer = Check(SEES), Layer(MaskedLayerNorm, 2)
    x = np.where(REAL[..., None], X, np.nan)
    found = layer.gradient(np.where(REAL[..., None], DY, 0.0), x, marked(REAL))
    y = check.array(found["y"], X.shape, "the output")
    check.close(y[REAL], Y, "the output at the real tokens, with nan in the padding", 1e-4)
    check.close(
        found["weight"], [-4.0, 6.0], "the gradient of weight, with nan in the padding", 1e-4
    )
    dx = check.array(found["dx"][0], X.shape, "the gradient of x")
    check.true(
        np.isfinite(dx).all(), "the gradient of x, with nan in the padding", "finite", "nan or inf"
    )
    print("layer-padding: nan in the padding does not leak in the example")


def layer_hard(MaskedLayerNorm):
    check, layer = Check(HALF), Layer(MaskedLayerNorm, 2, dtype="float16")
    y = check.array(layer.forward(300 * X, marked(REAL)), X.shape, "the output")
    check.close(y[REAL], Y, "the output of large numbers in half precision", tolerance=2e-3)
    print("layer-hard: large numbers in half precision are right")


@beside
def of_view(layer, x, mask):
    """The layer's output of a view: tokens lie first in memory, not sequences."""
    swapped = [np.ascontiguousarray(a.swapaxes(0, 1)).swapaxes(0, 1) for a in (x, mask)]
    return layer.forward(*swapped)


if __name__ == "__main__":
    main()
