"""The hidden checks of "Weight norm with mean-only batch norm". Never handed out, never in the sandbox."""

import checks
import numpy as np
from checking import Check, Layer, guarded, rng, watched

# Sizes: (rows, inputs, outputs). `vary` draws others.
SIZES = [(7, 4, 3), (5, 6, 5), (12, 3, 4)]
STEPS = 3


def weights(v, g):
    """w (C, D) and the directions; a row of zeros in v stays zero."""
    length = np.sqrt((v**2).sum(1, keepdims=True))
    unit = v / np.where(length > 0, length, 1)
    return g[:, None] * unit, unit, length


def reference(x, v, g, b):
    """y; x (N, D), v (C, D)."""
    centred = x - x.mean(0)
    return centred @ weights(v, g)[0].T + b


def gradients(x, v, g, dy):
    """dx, dv, dg, db, from the centred inputs."""
    w, unit, length = weights(v, g)
    dw = dy.T @ (x - x.mean(0))
    dg = (dw * unit).sum(1)
    scale = np.where(length > 0, g[:, None] / np.where(length > 0, length, 1), 0)
    return (dy - dy.mean(0)) @ w, scale * (dw - unit * dg[:, None]), dg, dy.sum(0)


def kept(x, w):
    """What the buffer averages: the batch's mean of t."""
    return (x @ w.T).mean(0)


def taken_out(mean, w):
    """What evaluation takes out of t, if the buffer holds `mean`."""
    return mean


def cases():
    """Random batches with lengths of both signs; directions of very unequal length."""
    random = rng()
    for (rows, inputs, outputs), scale in zip(SIZES, (1.0, 30.0, 1.0), strict=True):
        x = scale * random.normal(size=(rows, inputs)) + 2 * random.normal(size=inputs)
        v = random.normal(size=(outputs, inputs)) * random.uniform(0.3, 3, size=(outputs, 1))
        sign = np.where(np.arange(outputs) % 2, -1.0, 1.0)
        g = sign * random.uniform(0.5, 2, size=outputs)
        yield x, v, g, random.normal(size=outputs), random.normal(size=(rows, outputs)) + 0.5


def hard_cases():
    """Zero rows, very short and very long rows, batches of one: (x, v, g, b, dy, what it is)."""
    for number, (x, v, g, b, dy) in enumerate(cases()):
        yield x, v * np.eye(1, len(v), number)[0][:, None], g, b, dy, "rows of zeros in v"
        for size, told in ((1e-9, "very short"), (1e12, "very long")):
            yield x, size * v, g, b, dy, f"directions that are {told}"
        yield x[:1], v, g, b, dy[:1], "a batch of one"


def forward_values(mean_only_forward):
    check, forward = Check(checks.FORWARD, secret=True), guarded(mean_only_forward, "torch")
    check.free_of(mean_only_forward, "torch")
    for x, v, g, b, _ in cases():
        (y, _), after = check.parts(watched(forward, x, v, g, b), "result", "arguments")
        check.close(y, reference(x, v, g, b), f"y of {len(x)} rows and {len(v)} units")
        for now, was, name in zip(after, (x, v, g, b), "xvgb", strict=True):
            check.close(now, was, f"{name} after the call (it must not be changed)")


def forward_hard(mean_only_forward):
    check, forward = Check(checks.ZERO, secret=True), guarded(mean_only_forward, "torch")
    for x, v, g, b, _, told in hard_cases():
        y = check.parts(forward(x, v, g, b), "y", "cache")[0]
        check.close(y, reference(x, v, g, b), f"y with {told}")
    x, v, g, b, _ = next(cases())
    check.raises(ValueError, mean_only_forward, x[:0], v, g, b, what="a batch without rows")


def _gradients(check, forward, backward, case):
    x, v, g, b, dy = case[:5]
    forward, backward = check.derived(forward, backward, "torch")
    cache = check.parts(forward(x, v, g, b), "y", "cache")[1]
    found = check.parts(backward(dy, cache), "dx", "dv", "dg", "db")
    return dict(
        zip(("dx", "dv", "dg", "db"), zip(found, gradients(x, v, g, dy), strict=True), strict=True)
    )


def _compare(check, found, names, told):
    for name in names:
        value, wanted = found[name]
        size = np.abs(wanted).max(initial=0) or 1.0
        value = check.array(value, wanted.shape, f"{name} {told}")
        check.close(value / size, wanted / size, f"{name} {told}")


def _backward(forward, backward, *names):
    check = Check(checks.BACK, secret=True)
    for case in cases():
        found = _gradients(check, forward, backward, case)
        _compare(check, found, names, "under a random dy")


def backward_dx(mean_only_forward, mean_only_backward):
    _backward(mean_only_forward, mean_only_backward, "dx")


def backward_dv(mean_only_forward, mean_only_backward):
    _backward(mean_only_forward, mean_only_backward, "dv")


def backward_dg_db(mean_only_forward, mean_only_backward):
    _backward(mean_only_forward, mean_only_backward, "dg", "db")


def backward_hard(mean_only_forward, mean_only_backward):
    check = Check(checks.ZERO, secret=True)
    for case in hard_cases():
        found = _gradients(check, mean_only_forward, mean_only_backward, case)
        _compare(check, found, ("dx", "dv", "dg"), f"with {case[5]}")


def made(MeanOnlyLinear, v, g, b, **more):
    layer = Layer(MeanOnlyLinear, v.shape[1], len(v), **more)
    layer.load(v=v, g=g, b=b)
    return layer


def layer_train(MeanOnlyLinear):
    check = Check(checks.LAYER, secret=True)
    check.free_of(MeanOnlyLinear, "norms")
    for x, v, g, b, dy in cases():
        found = made(MeanOnlyLinear, v, g, b).gradient(dy, x)
        check.close(found["y"], reference(x, v, g, b), "the output in training")
        values = (found["dx"][0], found["v"], found["g"], found["b"])
        pairs = dict(zip("xvgb", zip(values, gradients(x, v, g, dy), strict=True), strict=True))
        _compare(check, pairs, "xvgb", "(its gradient in training)")


def layer_zero(MeanOnlyLinear):
    check = Check(checks.ZERO, secret=True)
    for number, (x, v, g, b, dy) in enumerate(cases()):
        v[number] = 0
        layer = made(MeanOnlyLinear, v, g, b)
        found = layer.gradient(dy, x)
        check.close(found["y"], reference(x, v, g, b), "the output with a row of zeros in v")
        _, dv, dg, _ = gradients(x, v, g, dy)
        pairs = {"v": (found["v"], dv), "g": (found["g"], dg)}
        _compare(check, pairs, "vg", "(its gradient with a row of zeros in v)")
        check.close(layer.call("unit"), weights(v, g)[1], "unit() with a row of zeros in v")


def layer_running(MeanOnlyLinear):
    check = Check(checks.LAYER, secret=True)
    for x, v, g, b, dy in cases():
        layer, w = made(MeanOnlyLinear, v, g, b, momentum=0.3), weights(v, g)[0]
        mean = np.zeros_like(kept(x, w))
        for step in range(STEPS):
            layer.gradient(dy, x * (step + 1))
            mean = 0.7 * mean + 0.3 * kept(x * (step + 1), w)
        check.close(layer.get("running_mean"), mean, f"running_mean after {STEPS} steps")
        graph = layer.carries_graph("running_mean")
        check.true(graph is False, "the buffer carries the graph of a batch", "no graph", "a graph")
        check.raises(ValueError, layer.forward, x[:0], what="a batch without rows in training")
        check.close(layer.get("running_mean"), mean, "running_mean after a batch without rows")
        layer.eval()
        layer.forward(x)
        check.close(layer.get("running_mean"), mean, "running_mean after a batch in evaluation")


def layer_eval(MeanOnlyLinear):
    check, random = Check(checks.LAYER, secret=True), rng()
    for x, v, g, b, _ in cases():
        layer, w = made(MeanOnlyLinear, v, g, b), weights(v, g)[0]
        mean = random.normal(size=kept(x, w).shape)
        layer.load(running_mean=mean)
        layer.eval()
        wanted = x @ w.T - taken_out(mean, w) + b
        y = layer.gradient(wanted, x)[
            "y"
        ]  # evaluation is a mode of the layer, not the absence of gradients
        check.close(y, wanted, "the output in evaluation, with gradients on")
        for rows in (x, x[:1], x[:0]):
            y = layer.forward(rows)
            check.close(y, wanted[: len(rows)], f"the output of {len(rows)} rows in evaluation")


def layer_start(MeanOnlyLinear):
    check = Check(checks.START, secret=True)
    for (x, v, g, b, _), scale in zip(cases(), (1.0, 0.5, 2.0), strict=True):
        layer, unit = made(MeanOnlyLinear, v, g, b), weights(v, g)[1]
        length = scale / checks.deviation(x @ unit.T)
        wanted = reference(x, v, length, 0 * b)
        y = layer.call("start", x, scale)
        _started(check, layer, x, v, length, y, wanted)
        state = layer.state()
        check.raises(ValueError, layer.call, "start", x[:1], what="a start by a batch of one row")
        for name, now in layer.state().items():
            check.close(now, state[name], f"{name} after a start that was refused")
    v[1] = 0
    layer = made(MeanOnlyLinear, v, g, b)
    check.raises(ValueError, layer.call, "start", x, what="a start with a row of zeros in v")
    check.close(layer.get("g"), g, "g after a start that was refused")
    moved = checks.moved_by_old_optimizer(MeanOnlyLinear, x)
    told = "an optimizer made before start still moves v, g and b"
    good = (
        type(moved) is list
        and len(moved) == 3
        and all(type(m) is float and m > 1e-4 for m in moved)
    )
    check.true(good, told, "all three move", "one of them stays")


def _started(check, layer, x, v, length, y, wanted):
    """Everything that start sets, and what the layer gives with it."""
    check.close(y, wanted, "what start returns")
    check.close(layer.get("v"), v, "v after start (it must stay)")
    check.close(
        layer.get("g") / length, np.ones_like(length), "g after start, by what it should be"
    )
    check.close(layer.get("b"), np.zeros_like(length), "b after start")
    mean = kept(x, weights(v, length)[0])
    check.close(layer.get("running_mean"), mean, "running_mean after start")
    layer.eval()
    check.close(layer.forward(x), wanted, "the output in evaluation, after start,")
    check.close(
        layer.forward(x[:2]), wanted[:2], "the output of two rows in evaluation, after start,"
    )
    layer.train()
    check.close(layer.forward(x), wanted, "the output in training, after start,")
