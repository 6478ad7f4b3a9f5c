"""The public checks of "Group norm with unequal groups". They help; hidden checks decide.

Run them all with `python checks.py` in the folder of the notebook.
"""

import numpy as np
from checking import Check, Layer, beside, guarded, main

SIZES = "this course, chapter 06, section 6 (Groups that do not fit)"
NUMPY = "this course, chapter 06, section 3 (Forward, in NumPy)"
BACK = "this course, chapter 06, section 4 (Backward: what changes?)"
LAYER = "this course, chapter 06, section 5 (As a layer)"
CONVERT = "this course, chapter 06, exercise 3 (Exchange the norms of a net)"

# One image of four channels of 1 x 2 places: a group of three channels and one of one.
GROUPS = [3, 1]
X = np.array([[2.0, 2], [4, 4], [6, 6], [10, 30]]).reshape(1, 4, 1, 2)
STEP = 1.224745  # two steps apart with variance 8/3
Y = np.array([[-STEP, -STEP], [0, 0], [STEP, STEP], [-1, 1]]).reshape(1, 4, 1, 2)
DY = np.array([[1.0, 2], [3, 4], [5, 0], [7, 1]]).reshape(1, 4, 1, 2)
ONE, ZERO = np.ones(4), np.zeros(4)
# What becomes of the old layer when the new one is trained: expected, and what a failed check says.
STAYS, STORY = True, ("as before", "changed")
OLD = "the old layer's parameters after a step of the new one"
GAIN, SHIFT = np.array([1.0, 2, 3, 4]), np.array([0.0, 1, 0, -1])
for _array in (X, Y, DY, ONE, ZERO, GAIN, SHIFT):
    _array.flags.writeable = False  # a function that writes into its inputs is told so


def sizes_values(group_sizes):
    check = Check(SIZES)
    for channels, groups, wanted in ((10, 4, [3, 3, 2, 2]), (6, 3, [2, 2, 2]), (5, 1, [5])):
        came = group_sizes(channels, groups)
        right = type(came) is list and came == wanted
        check.true(right, f"the sizes of {channels} channels in {groups} groups", wanted, came)
    check.raises(ValueError, group_sizes, 3, 4, what="3 channels in 4 groups")
    print("sizes-values: sizes of the examples are right")


def forward_values(uneven_forward):
    check, forward = Check(NUMPY), guarded(uneven_forward, "torch")
    check.free_of(uneven_forward, "torch")
    y, _ = check.parts(forward(X, ONE, ZERO, GROUPS), "y", "cache")
    check.close(y, Y, "y, with gain 1 and shift 0", tolerance=1e-4)
    two = np.concatenate([X, 3 * X + 1])
    y, _ = check.parts(forward(two, ONE, ZERO, GROUPS), "y", "cache")
    check.close(y, np.concatenate([Y, Y]), "y of two images", tolerance=1e-4)
    y, _ = check.parts(forward(X, GAIN, SHIFT, GROUPS), "y", "cache")
    wanted = GAIN[:, None, None] * Y + SHIFT[:, None, None]
    check.close(y, wanted, "y, with gains 1 to 4 and shifts", tolerance=1e-4)
    print("forward-values: the example by hand is right")


def forward_hard(uneven_forward):
    check, forward = Check(NUMPY), guarded(uneven_forward, "torch")
    y, _ = check.parts(forward(X + 1e8, ONE, ZERO, GROUPS), "y", "cache")
    check.close(y, Y, "y of numbers far from zero", tolerance=1e-3)
    y, _ = check.parts(forward(X[..., :1], ONE, ZERO, [2, 2]), "y", "cache")
    wanted = np.array([-1.0, 1, -1, 1]).reshape(1, 4, 1, 1)
    check.close(y, wanted, "y of maps of one place, two channels a group", tolerance=1e-4)
    print("forward-hard: numbers far from zero and maps of one place are right")


def forward_refuses(uneven_forward):
    check = Check(NUMPY)
    check.raises(ValueError, uneven_forward, X, ONE, ZERO, [2, 1], what="sizes [2, 1], 4 channels")
    what = "a group of no channel: sizes [4, 0]"
    check.raises(ValueError, uneven_forward, X, ONE, ZERO, [4, 0], what=what)
    what = "maps of one place and a group of one channel"
    check.raises(ValueError, uneven_forward, X[..., :1], ONE, ZERO, GROUPS, what=what)
    print("forward-refuses: sizes that do not fit are refused")


def backward_of(check, uneven_forward, uneven_backward, x, gamma, beta, sizes, dy):
    """dx, dgamma and dbeta of the student's functions."""
    forward, backward = check.derived(uneven_forward, uneven_backward, "torch")
    _, cache = check.parts(forward(x, gamma, beta, sizes), "y", "cache")
    return check.parts(backward(dy, cache), "dx", "dgamma", "dbeta")


def fits(check, uneven_forward, uneven_backward, *names):
    """Two images, with gains, against central differences."""
    x = np.random.default_rng(1).normal(size=(2, 4, 1, 2))
    names = ("dx", "dgamma", "dbeta"), names
    check.fits(uneven_forward, uneven_backward, (x, GAIN, SHIFT), (GROUPS,), *names)


def backward_dx(uneven_forward, uneven_backward):
    check, both = Check(BACK), (uneven_forward, uneven_backward)
    dx, _, _ = backward_of(check, *both, X, ONE, ZERO, GROUPS, DY)
    dx = check.array(dx, X.shape, "dx")
    # The last channel is a group of two values: only their order survives the norm.
    check.close(dx[:, 3], np.zeros((1, 1, 2)), "dx of a group of two values", tolerance=1e-4)
    # The mean of dy is 15/6, and that of dy * x_hat is 2 * STEP / 6.
    wanted = np.array([[-1.0, 0], [0.5, 1.5], [2, -3]]) * 0.612372
    check.close(dx[0, :3, 0], wanted, "dx of the group of three channels", tolerance=1e-4)
    fits(check, *both, "dx")
    print("backward-dx: both groups of the example are right")


def backward_parameters(uneven_forward, uneven_backward):
    check, both = Check(BACK), (uneven_forward, uneven_backward)
    _, dgamma, dbeta = backward_of(check, *both, X, GAIN, SHIFT, GROUPS, DY)
    check.close(dgamma, [-3 * STEP, 0, 5 * STEP, -6], "dgamma", tolerance=1e-4)
    check.close(dbeta, [3, 7, 5, 8], "dbeta")
    fits(check, *both, "dgamma", "dbeta")
    print("backward-parameters: dgamma and dbeta of the example are right")


def layer_values(UnevenGroupNorm):
    check = Check(LAYER)
    check.free_of(UnevenGroupNorm, "norms")
    layer = Layer(UnevenGroupNorm, GROUPS)
    named = sorted(layer.parameters()), layer.buffers()
    check.true(named == (["bias", "weight"], []), "parameters, buffers", ["bias", "weight"], named)
    check.close(layer.get("weight"), ONE, "weight at the start")
    check.close(layer.get("bias"), ZERO, "bias at the start")
    check.close(layer.forward(X), Y, "the output", tolerance=1e-4)
    plain = Layer(UnevenGroupNorm, GROUPS, affine=False)
    check.true(plain.parameters() == [], "parameters with affine=False", "none", plain.parameters())
    check.close(plain.forward(X), Y, "the output with affine=False", tolerance=1e-4)
    print("layer-values: the example by hand is right")


@beside
def of_channels_last(layer, x):
    """The output for the same numbers, which lie in memory with the channels last."""
    return layer.forward(np.moveaxis(np.ascontiguousarray(np.moveaxis(x, 1, -1)), -1, 1))


def layer_hard(UnevenGroupNorm):
    check, layer = Check(LAYER), Layer(UnevenGroupNorm, GROUPS)
    y = of_channels_last(layer, X)
    check.close(y, Y, "the output with the channels last in memory", tolerance=1e-4)
    y = layer.forward(X.reshape(1, 4, 2))
    check.close(y, Y.reshape(1, 4, 2), "the output of sound (N, C, L)", tolerance=1e-4)
    half = Layer(UnevenGroupNorm, GROUPS, dtype="float16")
    y = half.forward(200 * X)
    check.close(y, Y, "the output in half precision", tolerance=5e-3)
    kind = str(y.dtype)
    check.true(kind == "float16", "the type of the output in half precision", "float16", kind)
    print("layer-hard: other memory, other axes and half precision are right")


@beside
def converted(from_batch_norm, sizes, values, x, eps=1e-3, frozen=False, move=0.0):
    """Convert a batch norm that has seen data; say what the new layer and the old one hold.

    Args:
        sizes: of the groups
        values: {"weight": array, "bias": array} in float64, or None for a layer without them
        x: an input (N, C, H, W) for the new layer
        frozen: whether the old layer's bias takes no gradient
        move: is added to the new layer's parameters, to see whether the old one moves with them
    """
    import torch

    old = torch.nn.BatchNorm2d(x.shape[1], eps=eps, affine=values is not None, dtype=torch.float64)
    old(torch.from_numpy(3 * x + 5))  # moves the running statistics
    if values is not None:
        with torch.no_grad():
            for name, value in values.items():
                getattr(old, name).copy_(torch.tensor(value))
        old.bias.requires_grad_(not frozen)
    before = {name: value.clone() for name, value in old.state_dict().items()}
    new = from_batch_norm(old, sizes)
    found = {"state": _arrays(new.state_dict())}
    found["trains"] = sorted(n for n, p in new.named_parameters() if p.requires_grad)
    layer = Layer(lambda: new)  # torch's own norms are forbidden while it runs
    found["y"] = layer.forward(x)
    with torch.no_grad():
        for parameter in new.parameters():
            parameter += move
    found["moved"] = _arrays({k: v for k, v in new.state_dict().items() if k in ("weight", "bias")})
    same = [torch.equal(value, before[name]) for name, value in old.state_dict().items()]
    return found | {"old stays": all(same)}


def _arrays(state):
    return {name: value.detach().numpy().copy() for name, value in state.items()}


def convert_keeps(from_batch_norm):
    check = Check(CONVERT)
    found = converted(from_batch_norm, GROUPS, {"weight": GAIN, "bias": SHIFT}, X)
    names = sorted(found["state"])
    check.true(names == ["bias", "weight"], "what the new layer holds", ["bias", "weight"], names)
    check.close(found["state"]["weight"], GAIN, "the new weight")
    check.close(found["state"]["bias"], SHIFT, "the new bias")
    wanted = GAIN[:, None, None] * Y + SHIFT[:, None, None]
    check.close(found["y"], wanted, "the new layer's output", tolerance=1e-3)
    bare = converted(from_batch_norm, GROUPS, None, X)
    held = sorted(bare["state"])
    check.true(held == [], "what is held, from a layer without gain and shift", "nothing", held)
    print("convert-keeps: gain and shift are kept")


def convert_apart(from_batch_norm):
    check = Check(CONVERT)
    found = converted(from_batch_norm, GROUPS, {"weight": GAIN, "bias": SHIFT}, X, move=1.0)
    check.close(found["moved"]["weight"], GAIN + 1, "the new weight after a step")
    stays = found["old stays"]
    check.true(stays is STAYS, OLD, *STORY)
    what = "sizes that do not fit the old layer"
    values = {"weight": GAIN, "bias": SHIFT}
    check.raises(ValueError, converted, from_batch_norm, [3, 2], values, X, what=what)
    print("convert-apart: the new layer is trained by itself")


if __name__ == "__main__":
    main()
