"""The hidden checks of "Ghost batch norm": they decide. Never handed out, never in the sandbox."""

import checks
import numpy as np
from checking import Check, Layer, guarded, rng, watched

# Sizes: (rows of a ghost, ghosts, features). `vary` draws others.
SIZES = [(5, 3, 4), (8, 2, 3), (3, 4, 5)]
STEPS = 3


def reference(x, gamma, beta, ghosts, eps=1e-5):
    """y, x_hat and rstd; x (N, C)."""
    grouped = x.reshape(ghosts, -1, x.shape[1])
    centred = grouped - grouped.mean(1, keepdims=True)
    rstd = ((centred**2).mean(1, keepdims=True) + eps) ** -0.5
    x_hat = centred * rstd
    return (gamma * x_hat + beta).reshape(x.shape), x_hat, rstd


def gradients(x, gamma, dy, ghosts, eps=1e-5):
    _, x_hat, rstd = reference(x, gamma, 0 * gamma, ghosts, eps)
    up = dy.reshape(x_hat.shape)
    d = up * gamma
    dx = rstd * (d - d.mean(1, keepdims=True) - x_hat * (d * x_hat).mean(1, keepdims=True))
    return dx.reshape(x.shape), (up * x_hat).sum((0, 1)), dy.sum(0)


def cases():
    """Random batches with random gain and shift, each size once, at different scales."""
    random = rng()
    for (rows, ghosts, features), scale in zip(SIZES, (1.0, 30.0, 1.0), strict=True):
        x = scale * random.normal(size=(rows * ghosts, features)) + random.normal(size=features)
        x = x * random.uniform(0.5, 2, size=(rows * ghosts, 1))
        gamma, beta = random.normal(size=(2, features)) + 0.2
        yield x, gamma, beta, ghosts, random.normal(size=x.shape)


def forward_values(ghost_forward):
    check, forward = Check(checks.NUMPY, secret=True), guarded(ghost_forward, "torch")
    check.free_of(ghost_forward, "torch")
    for x, gamma, beta, ghosts, _ in cases():
        (y, _), after = check.parts(watched(forward, x, gamma, beta, ghosts), "result", "arguments")
        size = f"{len(x)} rows in {ghosts} ghosts"
        check.close(y, reference(x, gamma, beta, ghosts)[0], f"y of {size}")
        check.close(after[0], x, "x after the call (it must not be changed)")


def forward_hard(ghost_forward):
    check, forward = Check(checks.NUMPY, secret=True), guarded(ghost_forward, "torch")
    x, gamma, beta, ghosts, _ = next(cases())
    for scale, shift, told in ((1e-3, 0, "tiny numbers"), (1, 1e7, "numbers far from zero")):
        y = forward(scale * x + shift, gamma, beta, ghosts)[0]
        wanted = reference(scale * x + shift, gamma, beta, ghosts)[0]
        check.close(y, wanted, f"y of {told}", tolerance=1e-5)
    y = forward(0.1 * x, gamma, beta, ghosts, 0.1)[0]
    check.close(y, reference(0.1 * x, gamma, beta, ghosts, 0.1)[0], "y with a large eps")


def forward_refuses(ghost_forward):
    check = Check(checks.NUMPY, secret=True)
    x, gamma, beta, ghosts, _ = next(cases())
    what = "a batch whose rows cannot be shared out equally"
    check.raises(ValueError, ghost_forward, x[:-1], gamma, beta, ghosts, what=what)
    y = check.parts(ghost_forward(x, gamma, beta, ghosts), "y", "cache")[0]
    check.array(y, x.shape, "y of a batch that can be")


def backward_dx(ghost_forward, ghost_backward):
    check = Check(checks.BACK, secret=True)
    forward, backward = check.derived(ghost_forward, ghost_backward, "torch")
    for x, gamma, beta, ghosts, dy in cases():
        cache = check.parts(forward(x, gamma, beta, ghosts), "y", "cache")[1]
        dx = check.parts(backward(dy, cache), "dx", "dgamma", "dbeta")[0]
        wanted = gradients(x, gamma, dy, ghosts)[0]
        check.close(dx / np.abs(wanted).max(), wanted / np.abs(wanted).max(), "dx (random dy)")


def backward_parameters(ghost_forward, ghost_backward):
    check = Check(checks.BACK, secret=True)
    forward, backward = check.derived(ghost_forward, ghost_backward, "torch")
    for x, gamma, beta, ghosts, dy in cases():
        cache = check.parts(forward(x, gamma, beta, ghosts), "y", "cache")[1]
        _, dgamma, dbeta = check.parts(backward(dy, cache), "dx", "dgamma", "dbeta")
        _, wanted_gamma, wanted_beta = gradients(x, gamma, dy, ghosts)
        check.close(dgamma, wanted_gamma, "dgamma")
        check.close(dbeta, wanted_beta, "dbeta")


def layer_train(GhostBatchNorm):
    check = Check(checks.LAYER, secret=True)
    check.free_of(GhostBatchNorm, "norms")
    for x, gamma, beta, ghosts, dy in cases():
        layer = Layer(GhostBatchNorm, x.shape[1], ghosts)
        layer.load(weight=gamma, bias=beta)
        found = layer.gradient(dy, x)
        check.close(found["y"], reference(x, gamma, beta, ghosts)[0], "the output in training")
        wanted = gradients(x, gamma, dy, ghosts)
        named = (found["dx"][0], found["weight"], found["bias"])
        for value, right, name in zip(named, wanted, ("x", "weight", "bias"), strict=True):
            check.close(value, right, f"the gradient of {name} in training", tolerance=1e-5)


def layer_running(GhostBatchNorm):
    check = Check(checks.LAYER, secret=True)
    for x, _, _, ghosts, dy in cases():
        layer = Layer(GhostBatchNorm, x.shape[1], ghosts, momentum=0.3)
        mean, var = np.zeros(x.shape[1]), np.ones(x.shape[1])
        for step in range(STEPS):
            batch = x * (step + 1)
            layer.gradient(dy, batch)
            grouped = batch.reshape(ghosts, -1, x.shape[1])
            mean = 0.7 * mean + 0.3 * grouped.mean(1).mean(0)
            var = 0.7 * var + 0.3 * grouped.var(1, ddof=1).mean(0)
        check.close(layer.get("running_mean"), mean, f"running_mean after {STEPS} steps")
        check.close(layer.get("running_var"), var, f"running_var after {STEPS} steps")
        graph = layer.carries_graph("running_mean") or layer.carries_graph("running_var")
        check.true(graph is False, "a buffer carries the graph of a batch", "no graph", "a graph")
        layer.eval()
        layer.forward(x)
        check.close(layer.get("running_mean"), mean, "running_mean after a batch in evaluation")


def layer_eval(GhostBatchNorm):
    check, random = Check(checks.LAYER, secret=True), rng()
    for x, gamma, beta, ghosts, _ in cases():
        layer = Layer(GhostBatchNorm, x.shape[1], ghosts)
        mean, var = random.normal(size=x.shape[1]), random.uniform(0.5, 2, size=x.shape[1])
        layer.load(weight=gamma, bias=beta, running_mean=mean, running_var=var)
        layer.eval()
        wanted = gamma * (x - mean) / np.sqrt(var + 1e-5) + beta
        # One row more than the ghosts can share out: in evaluation that does not matter.
        y = layer.gradient(x, x)[
            "y"
        ]  # evaluation is a mode of the layer, not the absence of gradients
        check.close(y, wanted, "the output in evaluation, with gradients on")
        for rows in (x, x[: len(x) - 1], x[:1]):
            check.close(
                layer.forward(rows),
                wanted[: len(rows)],
                f"the output of {len(rows)} rows in evaluation",
            )
