"""The public checks of "Ghost batch norm". They help; hidden checks of the same parts decide.

Run them all with `python checks.py` in the folder of the notebook.
"""

import numpy as np
from checking import Check, Layer, guarded, main

NUMPY = "this course, chapter 02, section 3 (Forward, in NumPy)"
BACK = "this course, chapter 02, section 4 (Backward)"
LAYER = "this course, chapter 02, section 5 (As a layer)"

# Two ghosts of two rows: the first holds 2 and 6, the second 10 and 30. Then a feature that is constant.
X = np.array([[2.0, 5.0], [6.0, 5.0], [10.0, 5.0], [30.0, 5.0]])
Y = np.array([[-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])


def forward_values(ghost_forward):
    check, forward = Check(NUMPY), guarded(ghost_forward, "torch")
    check.free_of(ghost_forward, "torch")
    one, zero = np.ones(2), np.zeros(2)
    y, _ = check.parts(forward(X, one, zero, 2), "y", "cache")
    check.close(y, Y, "y, with gain 1 and shift 0", tolerance=1e-4)
    y, _ = check.parts(forward(X, 3 * one, one, 2), "y", "cache")
    check.close(y, 3 * Y + 1, "y, with gain 3 and shift 1", tolerance=1e-4)
    print("forward-values: the example by hand is right")


def forward_hard(ghost_forward):
    check, forward = Check(NUMPY), guarded(ghost_forward, "torch")
    y, _ = check.parts(forward(X + 1e8, np.ones(2), np.zeros(2), 2), "y", "cache")
    check.close(y, Y, "y of numbers far from zero", tolerance=1e-3)
    print("forward-hard: numbers far from zero are right")


def forward_refuses(ghost_forward):
    check = Check(NUMPY)
    check.raises(
        *(ValueError, ghost_forward, X, np.ones(2), np.zeros(2), 3),
        what="a batch of 4 rows in 3 ghosts",
    )
    print("forward-refuses: a batch that cannot be shared out is refused")


def fits(check, forward, backward, *names):
    """Two ghosts of three rows, with gains, against central differences."""
    x = np.array([[2.0, 5.0], [6.0, 1.0], [1.0, 4.0], [10.0, 0.0], [30.0, 3.0], [5.0, 2.0]])
    arrays = x, np.array([3.0, -2.0]), np.array([1.0, 0.5])
    check.fits(forward, backward, arrays, (2,), ("dx", "dgamma", "dbeta"), names)


def backward_dx(ghost_forward, ghost_backward):
    check = Check(BACK)
    forward, backward = check.derived(ghost_forward, ghost_backward, "torch")
    _, cache = check.parts(forward(X, np.ones(2), np.zeros(2), 2), "y", "cache")
    dy = np.array([[1.0, 1.0], [2.0, 1.0], [3.0, 1.0], [5.0, 1.0]])
    dx, _, _ = check.parts(backward(dy, cache), "dx", "dgamma", "dbeta")
    # Two rows a ghost: only their order survives the norm, so no gradient does.
    check.close(dx, np.zeros((4, 2)), "dx of ghosts of two rows", tolerance=1e-4)
    fits(check, forward, backward, "dx")
    print("backward-dx: a ghost of two rows passes no gradient, as it should")


def backward_parameters(ghost_forward, ghost_backward):
    check = Check(BACK)
    forward, backward = check.derived(ghost_forward, ghost_backward, "torch")
    _, cache = check.parts(forward(X, np.ones(2), np.zeros(2), 2), "y", "cache")
    dy = np.array([[1.0, 1.0], [2.0, 1.0], [3.0, 1.0], [5.0, 1.0]])
    _, dgamma, dbeta = check.parts(backward(dy, cache), "dx", "dgamma", "dbeta")
    check.close(dgamma, [3.0, 0.0], "dgamma", tolerance=1e-3)
    check.close(dbeta, [11.0, 4.0], "dbeta", tolerance=1e-6)
    fits(check, forward, backward, "dgamma", "dbeta")
    print("backward-parameters: dgamma and dbeta of the example are right")


def layer_train(GhostBatchNorm):
    check = Check(LAYER)
    check.free_of(GhostBatchNorm, "norms")
    layer = Layer(GhostBatchNorm, 2, 2)
    named = sorted(layer.parameters()), sorted(layer.buffers())
    wanted = ["bias", "weight"], ["running_mean", "running_var"]
    check.true(named == wanted, "parameters and buffers", wanted, named)
    check.close(layer.forward(X), Y, "the output in training", tolerance=1e-4)
    print("layer-train: the example by hand is right")


def layer_running(GhostBatchNorm):
    check, layer = Check(LAYER), Layer(GhostBatchNorm, 2, 2)
    layer.forward(X)
    # The means of the ghosts are 4 and 20, their average is 12, and a tenth of the way from 0 is 1.2.
    check.close(layer.get("running_mean"), [1.2, 0.5], "running_mean after one step", 1e-6)
    print("layer-running: the running mean of the example is right")


def layer_eval(GhostBatchNorm):
    check, layer = Check(LAYER), Layer(GhostBatchNorm, 2, 2)
    layer.load(running_mean=[1.0, 2.0], running_var=[4.0, 9.0])
    layer.eval()
    y = layer.forward(np.array([[3.0, 5.0]]))
    check.close(y, [[1.0, 1.0]], "the output of one row in evaluation", tolerance=1e-4)
    print("layer-eval: one row by itself is right")


if __name__ == "__main__":
    main()
