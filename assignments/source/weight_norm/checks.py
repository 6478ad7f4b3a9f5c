"""The public checks of "Weight norm with mean-only batch norm". They help; hidden checks decide.

Run them all with `python checks.py` in the folder of the notebook.
"""

import numpy as np
from checking import Check, Layer, beside, guarded, main, watched

FORWARD = (
    "this course, chapter 07, section 3 (Forward, in NumPy), and section 7 (Half of batch norm)"
)
BACK = "this course, chapter 07, section 4 (Backward), and section 7 (Half of batch norm)"
ZERO = "this course, chapter 07, section 6 (Nothing to divide by)"
LAYER = "this course, chapter 07, section 5 (As a layer), and section 7 (Half of batch norm)"
START = "this course, chapter 07, section 6 (One batch chooses the start)"

# Two units. The first direction has length 5, the second 2, so the weights are (6, 8) and (0, 3).
X = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 2.0]])
V, G, B = np.array([[3.0, 4.0], [0.0, -2.0]]), np.array([10.0, -3.0]), np.array([1.0, 0.0])
# t is (6, 0), (8, 3), (28, 6), with the mean (14, 3).
Y = np.array([[-7.0, -3.0], [-5.0, 0.0], [15.0, 3.0]])
DY = np.array([[3.0, 0.0], [0.0, 0.0], [0.0, 3.0]])


def example():
    """x, v, g, b afresh, so that a function that changes them harms nobody."""
    return X.copy(), V.copy(), G.copy(), B.copy()


def _gradients(forward, backward):
    check = Check(BACK)
    forward, backward = check.derived(forward, backward, "torch")
    _, cache = check.parts(forward(*example()), "y", "cache")
    return check, check.parts(backward(DY.copy(), cache), "dx", "dv", "dg", "db")


def forward_values(mean_only_forward):
    check, forward = Check(FORWARD), guarded(mean_only_forward, "torch")
    check.free_of(mean_only_forward, "torch")
    (y, _), after = check.parts(watched(forward, *example()), "result", "arguments")
    check.close(y, Y, "y of the example by hand")
    for now, was, name in zip(after, example(), "xvgb", strict=True):
        check.close(now, was, f"{name} after the call (it must not be changed)")
    x, v, g, b = example()
    y, _ = check.parts(forward(x, 10 * v, g, b), "y", "cache")
    check.close(y, Y, "y with directions ten times as long (it must stay)")
    print("forward-values: the example by hand is right")


def forward_hard(mean_only_forward):
    check, forward = Check(ZERO), guarded(mean_only_forward, "torch")
    x, v, g, b = example()
    y, _ = check.parts(forward(x, np.array([[0.0, 0.0], [0.0, -2.0]]), g, b), "y", "cache")
    check.close(y[:, 0], np.ones(3), "y of a unit whose direction is zero")
    y, _ = check.parts(forward(X[:1].copy(), v, g, b), "y", "cache")
    check.close(y, B[None], "y of a batch of one")
    check.raises(ValueError, mean_only_forward, X[:0], v, g, b, what="a batch without rows")
    print("forward-hard: a row of zeros and a batch of one are right, no rows are refused")


def fits(check, forward, backward, *names):
    """Four rows, three outputs of two inputs, against central differences."""
    random = np.random.default_rng(1)
    arrays = [random.normal(size=size) for size in ((4, 2), (3, 2), (3,), (3,))]
    check.fits(forward, backward, arrays, (), ("dx", "dv", "dg", "db"), names)


def backward_dx(mean_only_forward, mean_only_backward):
    check, (dx, *_) = _gradients(mean_only_forward, mean_only_backward)
    # dt is (2, -1), (-1, -1), (-1, 2).
    check.close(dx, [[12.0, 13.0], [-6.0, -11.0], [-6.0, -2.0]], "dx of the example")
    fits(check, mean_only_forward, mean_only_backward, "dx")
    print("backward-dx: dx of the example is right")


def backward_dv(mean_only_forward, mean_only_backward):
    check, (_, dv, *_) = _gradients(mean_only_forward, mean_only_backward)
    # dw is (0, -3) and (3, 3).
    check.close(dv, [[2.88, -2.16], [-4.5, 0.0]], "dv of the example")
    fits(check, mean_only_forward, mean_only_backward, "dv")
    print("backward-dv: dv of the example is right")


def backward_dg_db(mean_only_forward, mean_only_backward):
    check, (_, _, dg, db) = _gradients(mean_only_forward, mean_only_backward)
    check.close(dg, [-2.4, -3.0], "dg of the example")
    check.close(db, [3.0, 3.0], "db of the example")
    fits(check, mean_only_forward, mean_only_backward, "dg", "db")
    print("backward-dg-db: dg and db of the example are right")


def backward_hard(mean_only_forward, mean_only_backward):
    check = Check(ZERO)
    forward, backward = check.derived(mean_only_forward, mean_only_backward, "torch")
    x, _, g, b = example()
    v = np.array([[3.0, 4.0], [0.0, 0.0]])
    _, cache = check.parts(forward(x, v, g, b), "y", "cache")
    dx, dv, dg, _ = check.parts(backward(DY.copy(), cache), "dx", "dv", "dg", "db")
    told = "where one direction is zero"
    check.close(dx, [[12.0, 16.0], [-6.0, -8.0], [-6.0, -8.0]], f"dx {told}")
    check.close(dv, [[2.88, -2.16], [0.0, 0.0]], f"dv {told}")
    check.close(dg, [-2.4, 0.0], f"dg {told}")
    print("backward-hard: a row of zeros passes no gradient, the other row is right")


def example_layer(MeanOnlyLinear, **more):
    layer = Layer(MeanOnlyLinear, 2, 2, **more)
    layer.load(v=V, g=G, b=B)
    return layer


def layer_train(MeanOnlyLinear):
    check = Check(LAYER)
    check.free_of(MeanOnlyLinear, "norms")
    layer = Layer(MeanOnlyLinear, 2, 2)
    named = sorted(layer.parameters()), sorted(layer.buffers())
    wanted = ["b", "g", "v"], ["running_mean"]
    check.true(named == wanted, "parameters and buffers", wanted, named)
    check.close(layer.get("g"), np.ones(2), "g of a new layer")
    layer = example_layer(MeanOnlyLinear)
    check.close(layer.forward(X), Y, "the output in training")
    print("layer-train: the example by hand is right")


def layer_zero(MeanOnlyLinear):
    check, layer = Check(ZERO), example_layer(MeanOnlyLinear)
    layer.load(v=np.array([[3.0, 4.0], [0.0, 0.0]]))
    found = layer.gradient(DY, X)
    check.close(found["y"][:, 1], np.zeros(3), "the output of a unit whose direction is zero")
    check.close(found["v"], [[2.88, -2.16], [0.0, 0.0]], "the gradient of v, one row zero")
    print("layer-zero: a row of zeros gives zeros, and no nan")


def layer_running(MeanOnlyLinear):
    check, layer = Check(LAYER), example_layer(MeanOnlyLinear)
    layer.forward(X)
    # A tenth of the way from 0 to the mean of t, which is (14, 3).
    check.close(layer.get("running_mean"), [1.4, 0.3], "running_mean after one step")
    print("layer-running: the running mean of the example is right")


def layer_eval(MeanOnlyLinear):
    check, layer = Check(LAYER), example_layer(MeanOnlyLinear)
    layer.load(running_mean=[1.0, 2.0])
    layer.eval()
    # t is (14, 3); what the buffer takes out is (1, 2).
    check.close(layer.forward(np.ones((1, 2))), [[14.0, 1.0]], "one row in evaluation")
    print("layer-eval: one row by itself is right")


def layer_start(MeanOnlyLinear):
    check, layer = Check(START), example_layer(MeanOnlyLinear)
    y = layer.call("start", X)
    y = check.array(y, (3, 2), "what start returns")
    check.close(y.mean(0), np.zeros(2), "the mean over the batch that started the layer")
    check.close(deviation(y), np.ones(2), "the deviation over that batch")
    check.close(layer.forward(X), y, "the output in training, after start,")
    check.raises(ValueError, layer.call, "start", X[:1], what="a start by a batch of one row")
    print("layer-start: mean 0 and deviation 1, and a batch of one is refused")


def deviation(t):
    """Of each column, as `start` takes it."""
    return t.std(0)


@beside
def moved_by_old_optimizer(MeanOnlyLinear, x):
    """Make an optimizer, then start the layer, then step: how far did v, g, b move, and with them y?"""
    import torch

    torch.manual_seed(0)
    layer = MeanOnlyLinear(x.shape[1], 3).double()
    optimizer = torch.optim.SGD(layer.parameters(), lr=0.1)
    layer.start(torch.from_numpy(x))
    before = [p.detach().clone() for p in (layer.v, layer.g, layer.b)]
    (layer(torch.from_numpy(x)) ** 3).sum().backward()
    optimizer.step()
    after = [p.detach() for p in (layer.v, layer.g, layer.b)]
    return [float((a - b).abs().max()) for a, b in zip(after, before, strict=True)]


if __name__ == "__main__":
    main()
