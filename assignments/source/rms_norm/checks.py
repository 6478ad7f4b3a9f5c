"""The public checks of "Partial RMS norm, and attention that uses it". They help; hidden ones decide.

Run them all with `python checks.py` in the folder of the notebook.
"""

import numpy as np
from checking import Check, Layer, beside, guarded, main, watched

NUMPY = "this course, chapter 04, section 3 (Forward, in NumPy)"
BACK = "this course, chapter 04, section 4 (Backward: what changes?)"
LAYER = "this course, chapter 04, section 5 (As a layer)"
HALF = "this course, chapter 04, section 6 (Break it: sixteen bits)"
AXES = "this course, chapter 04, section 6 (Break it: over the wrong axes)"

# Two of four features are measured; RMS is what they say of each token.
X = np.array([[1.0, 7, 10, 70], [-3, 3, 6, -6]])
RMS = np.array([[5.0], [3.0]])
GAMMA = np.array([1.0, 2.0, -1.0, 0.5])
DX = np.array([1.5, -0.5, 1.0, 0.0])
DGAMMA = np.array([-2.0, 3.0, 10.0, 0.0])


def forward_values(partial_forward):
    check, forward = Check(NUMPY), guarded(partial_forward, "torch")
    check.free_of(partial_forward, "torch")
    for gamma in (np.ones(4), GAMMA):
        result, after = watched(forward, X.copy(), gamma, 2)
        y, _ = check.parts(result, "y", "cache")
        check.close(y, gamma * X / RMS, f"y of two measured features, with gain {gamma}", 1e-4)
        check.close(after[0], X, "x after the call (it must not be changed)")
    y, _ = check.parts(forward(np.array([1.0, 1, 7, 7]), np.ones(4), 4), "y", "cache")
    check.close(y, [0.2, 0.2, 1.4, 1.4], "y of one token, all its features measured", 1e-4)
    print("forward-values: the examples by hand are right")


def forward_hard(partial_forward):
    check, forward = Check(NUMPY), guarded(partial_forward, "torch")
    y, _ = check.parts(forward(0.001 * X, np.ones(4), 2, 1e-12), "y", "cache")
    check.close(y, X / RMS, "y of numbers a thousand times smaller (eps 1e-12)", tolerance=1e-4)
    print("forward-hard: the size of the numbers does not matter")


def forward_half(partial_forward):
    check, forward = Check(HALF), guarded(partial_forward, "torch")
    y, _ = check.parts(forward((200 * X).astype("float16"), np.ones(4), 2), "y", "cache")
    y = check.array(y, X.shape, "y")
    check.close(y, X / RMS, "y of large numbers in half precision", tolerance=2e-3)
    check.true(y.dtype == np.float16, "the type of y", "float16", str(y.dtype))
    print("forward-half: large numbers in half precision are right")


def forward_refuses(partial_forward):
    check = Check(NUMPY)
    check.raises(ValueError, partial_forward, X.copy(), GAMMA, 5, what="5 measured features of 4")
    print("forward-refuses: more features than there are cannot be measured")


def fits(check, forward, backward, *names):
    """Three tokens, two of whose four features are measured, against central differences."""
    arrays = np.array([[1.0, 7, 10, 70], [-3, 3, 6, -6], [2, -1, 0.5, 4]]), GAMMA
    check.fits(forward, backward, arrays, (2,), ("dx", "dgamma"), names)


def backward_dx(partial_forward, partial_backward):
    check = Check(BACK)
    forward, backward = check.derived(partial_forward, partial_backward, "torch")
    cache = check.parts(forward(X[1].copy(), np.ones(4), 2), "y", "cache")[1]
    dy = np.array([3.0, 0.0, 3.0, 0.0])
    dx, _ = check.parts(backward(dy, cache), "dx", "dgamma")
    check.close(dx, DX, "dx of the token (-3, 3, 6, -6)", tolerance=1e-4)
    fits(check, forward, backward, "dx")
    print("backward-dx: dx of the example is right")


def backward_gain(partial_forward, partial_backward):
    check = Check(BACK)
    forward, backward = check.derived(partial_forward, partial_backward, "torch")
    cache = check.parts(forward(X.copy(), GAMMA, 2), "y", "cache")[1]
    dy = np.array([[5.0, 0.0, 5.0, 0.0], [3.0, 3.0, 0.0, 0.0]])
    _, dgamma = check.parts(backward(dy, cache), "dx", "dgamma")
    check.close(dgamma, DGAMMA, "dgamma", tolerance=1e-4)
    fits(check, forward, backward, "dgamma")
    print("backward-gain: dgamma of the example is right")


# One head of two features, both measured: a query along (1, 0), keys along (1, 0) and (0, 1).
Q, K = np.array([[[5.0, 0.0]]]), np.array([[[0.2, 0.0], [0.0, 30.0]]])
V = np.array([[[1.0, 0.0], [0.0, 1.0]]])
SCALE = 2**0.5
# Normalized, the query is (root 2, 0), so its scores are 2 and 0, divided by the scale.
FIRST = 1 / (1 + np.exp(-2 / SCALE))


def layer_values(QKNormAttention):
    check = Check(LAYER)
    check.free_of(QKNormAttention, "norms")
    layer = Layer(QKNormAttention, 2, 1, 2)
    named = sorted(layer.parameters())
    check.true(named == ["k_weight", "q_weight"], "parameters", "q_weight and k_weight", named)
    y = layer.forward(Q, K, V)
    check.close(y, [[[FIRST, 1 - FIRST]]], "the output of one query and two keys", tolerance=1e-4)
    print("layer-values: the example by hand is right")


def layer_gradient(QKNormAttention):
    check, layer = Check(BACK), Layer(QKNormAttention, 2, 1, 2)
    found = layer.gradient(np.array([[[1.0, 0.0]]]), Q, K, V)
    slope = FIRST * (1 - FIRST) * 2 / SCALE  # of the softmax, by the score that is not zero
    check.close(found["q_weight"], [slope, 0.0], "the gradient of q_weight", tolerance=1e-4)
    check.close(found["k_weight"], [slope, 0.0], "the gradient of k_weight", tolerance=1e-4)
    check.close(
        found["dx"][2], [[[FIRST, 0.0], [1 - FIRST, 0.0]]], "the gradient of v", tolerance=1e-4
    )
    print("layer-gradient: the gradients of the example are right")


def layer_causal(QKNormAttention):
    check, layer = Check(AXES), Layer(QKNormAttention, 2, 1, 2, causal=True)
    y = layer.forward(np.concatenate([Q, Q], 1), K, V)
    wanted = [[[1.0, 0.0], [FIRST, 1 - FIRST]]]
    check.close(y, wanted, "the output of two queries that do not see later keys", tolerance=1e-4)
    print("layer-causal: the first query sees the first key alone")


def layer_hard(QKNormAttention):
    check, layer = Check(HALF), Layer(QKNormAttention, 2, 1, 2, dtype="float16")
    y = layer.forward(10_000 * Q, 1000 * K, V)
    check.close(y, [[[FIRST, 1 - FIRST]]], "the output of large queries in half precision", 2e-3)
    print("layer-hard: large queries and keys in half precision are right")


@beside
def of_views(layer, *inputs):
    """The layer's output of views: features lie first in memory."""
    return layer.forward(*(np.ascontiguousarray(x.swapaxes(0, 2)).swapaxes(0, 2) for x in inputs))


if __name__ == "__main__":
    main()
