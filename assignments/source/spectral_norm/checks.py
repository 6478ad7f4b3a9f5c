"""The public checks of "Spectral norm of the true convolution". They help; hidden checks decide.

Run them all with `python checks.py` in the folder of the notebook.
"""

import numpy as np
from checking import Check, Layer, beside, guarded, main, watched

CONV = "this course, chapter 08, section 6 (The kernel is not the convolution)"
NUMPY = "this course, chapter 08, section 3 (Forward: power iteration), and section 6"
BACK = "this course, chapter 08, section 4 (Backward)"
LAYER = "this course, chapter 08, section 5 (As a layer)"
MODE = "this course, chapter 08, section 6 (When does the iteration run?)"
WHOLE = ("np.linalg.svd", "np.linalg.eigh", "np.linalg.eigvalsh")
TORCHS = ("norms", "svd", "svdvals", "linalg_svd", "matrix_norm")

# An image of three numbers under a kernel of two: y0 = x0 + x1, y1 = x1 + x2. As a matrix this is
# K = (1 1 0; 0 1 1), with the singular values √3 and 1; the first one belongs to v = (1, 2, 1) / √6.
W = np.ones((1, 1, 1, 2))
TOP = np.array([[[1.0, 2.0, 1.0]]]) / 6**0.5
START = np.array([[[1.0, 0.0, 0.0]]])

# The same in two rows: 2×3 images under a kernel of 2×2, with the first singular value √6.
SQUARE = np.ones((1, 1, 2, 2))
TOP_SQUARE = np.array([[[1.0, 2.0, 1.0], [1.0, 2.0, 1.0]]]) / 12**0.5


def transpose_values(send_back):
    check, back = Check(CONV), guarded(send_back, "torch")
    check.free_of(send_back, "torch")
    w, y = np.array([[[[1.0, 10.0]]]]), np.array([[[1.0, 2.0]]])
    check.close(back(y.copy(), w, (1, 3)), [[[1.0, 12.0, 20.0]]], "two numbers sent back")
    x = back(np.ones((1, 2, 2)), np.ones((1, 1, 3, 3)), (2, 2), 1, 1)
    check.close(x, np.full((1, 2, 2), 4.0), "four ones sent back by a 3×3 kernel, with padding")
    print("transpose-values: the examples by hand are right")


def transpose_stride(send_back):
    check, back = Check(CONV), guarded(send_back, "torch")
    w, y = np.array([[[[1.0, 10.0]]]]), np.array([[[1.0, 2.0]]])
    wanted = [[[1.0, 10.0, 0.0, 2.0, 20.0, 0.0]]]
    check.close(back(y, w, (1, 6), 3), wanted, "two numbers sent back with stride 3")
    print("transpose-stride: what no place sees stays zero")


def forward_values(spectral_forward):
    check, forward = Check(NUMPY), guarded(spectral_forward, "torch", *WHOLE)
    check.free_of(spectral_forward, "torch", *WHOLE)
    w_bar, v, _ = check.parts(forward(W.copy(), START.copy()), "w_bar", "v", "cache")
    # K v = (1, 0), and back it is (1, 1, 0). Of length 1 that gives K v = (2, 1) / √2, of length √2.5.
    check.close(v, np.array([[[1.0, 1.0, 0.0]]]) / 2**0.5, "v after one round")
    check.close(w_bar, W / 2.5**0.5, "w_bar after one round")
    w_bar, _, _ = check.parts(forward(W.copy(), START.copy(), rounds=50), "w_bar", "v", "cache")
    check.close(w_bar, W / 3**0.5, "w_bar after fifty rounds")
    w_bar, _, _ = check.parts(forward(W.copy(), START.copy(), 50, limit=0.5), "w_bar", "v", "cache")
    check.close(w_bar, 0.5 * W / 3**0.5, "w_bar after fifty rounds, with the limit 0.5")
    print("forward-values: the example by hand is right")


def forward_rounds(spectral_forward):
    check = Check(NUMPY)
    result, after = watched(spectral_forward, W.copy(), 5 * TOP, rounds=0)
    w_bar, v, _ = check.parts(result, "w_bar", "v", "cache")
    check.close(after[1], 5 * TOP, "the start after the call (it must not be changed)")
    check.close(v, TOP, "v without a round")
    check.close(w_bar, W / 3**0.5, "w_bar without a round, from the right v")
    print("forward-rounds: no round, from the right v, is right")


def forward_refuses(spectral_forward):
    check = Check(NUMPY)
    check.raises(ValueError, spectral_forward, 0 * W, START.copy(), what="a kernel of zeros")
    check.raises(ValueError, spectral_forward, W.copy(), 0 * START, what="a start of zeros")
    print("forward-refuses: zeros are refused")


def backward_dw(spectral_forward, spectral_backward):
    check = Check(BACK)
    both = spectral_forward, spectral_backward
    forward, backward = check.derived(*both, "torch", *WHOLE)
    _, _, cache = check.parts(forward(W.copy(), TOP.copy(), 0), "w_bar", "v", "cache")
    dw_bar = np.array([[[[1.0, 0.0]]]])
    # u = (1, 1) / √2, so dσ is u0 v0 + u1 v1 and u0 v1 + u1 v2: (√3 / 2, √3 / 2).
    dw = backward(dw_bar, cache)
    check.close(dw, np.array([[[[0.5, -0.5]]]]) / 3**0.5, "dw of the example")
    print("backward-dw: dw of the example is right")


def layer_train(SpectralConv2d):
    check = Check(LAYER)
    check.free_of(SpectralConv2d, *TORCHS)
    layer = Layer(SpectralConv2d, 1, 1, 2, (2, 3), forbid=TORCHS)
    named = sorted(layer.parameters()), sorted(layer.buffers())
    wanted = ["bias", "weight"], ["v"]
    check.true(named == wanted, "parameters and buffers", wanted, named)
    layer.load(weight=SQUARE, v=TOP_SQUARE)
    y = layer.forward(np.ones((1, 1, 2, 3)))
    check.close(y, np.full((1, 1, 1, 2), 4 / 6**0.5), "the output in training")
    check.close(layer.get("weight"), SQUARE, "the weight after the pass (it must stay)")
    print("layer-train: the example by hand is right")


def layer_eval(SpectralConv2d):
    check, layer = Check(MODE), Layer(SpectralConv2d, 1, 1, 2, (2, 3), forbid=TORCHS)
    v = np.array([[[1.0, 0.0, 0.0], [1.0, 0.0, 0.0]]]) / 2**0.5
    layer.load(weight=SQUARE, v=v)
    layer.eval()
    # K v = (√2, 0): the estimate is √2, though the norm is √6.
    for time in ("first", "second"):
        y = layer.forward(np.ones((1, 1, 2, 3)))
        check.close(y, np.full((1, 1, 1, 2), 4 / 2**0.5), f"the {time} output in evaluation")
    check.close(layer.get("v"), v, "v after evaluation")
    print("layer-eval: v stays, and so do the answers")


def layer_twice(SpectralConv2d):
    check = Check(MODE)
    x = np.ones((1, 1, 2, 3))
    found = two_passes(SpectralConv2d, (1, 1, 2, (2, 3)), {"weight": SQUARE}, (x, 2 * x), None)
    check.true(type(found) is list, "two passes before one backward", "gradients", found)
    print("layer-twice: two passes before one backward are possible")


def layer_refuses(SpectralConv2d):
    check, layer = Check(CONV), Layer(SpectralConv2d, 1, 1, 2, (2, 3), forbid=TORCHS)
    check.raises(ValueError, layer.forward, np.ones((1, 1, 3, 3)), what="an image of another size")
    print("layer-refuses: an image of another size is refused")


@beside
def two_passes(SpectralConv2d, arguments, values, images, upstream):
    """Two passes in training, then one backward.

    Returns:
        [y of the first, y of the second, gradient of the weight, v]; or a text: what went wrong
    """
    layer = Layer(SpectralConv2d, *arguments, forbid=TORCHS)
    layer.load(**values)
    torch, module = layer.torch, layer.module
    module.train()
    ys = [module(torch.from_numpy(x)) for x in images]
    dys = [torch.ones_like(y) for y in ys] if upstream is None else map(torch.from_numpy, upstream)
    try:
        sum((y * dy).sum() for y, dy in zip(ys, dys, strict=True)).backward()
    except RuntimeError as error:
        return str(error).partition("\n")[0][:200]
    found = [*ys, module.weight.grad, module.state_dict()["v"]]
    return [value.detach().numpy().copy() for value in found]


if __name__ == "__main__":
    main()
