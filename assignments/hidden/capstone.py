"""The hidden checks of "A run that is sick for two reasons": they decide. Never handed out.

Beside it lies capstone.txt: 497 digits that no student sees, in the form of digits.txt.
"""

from pathlib import Path

import checks
import numpy as np
from checking import Check, Layer, rng

HERE = Path(__file__)
DIGITS = HERE.parents[1] / "source" / HERE.stem / "digits.txt"
# The illness of this patient, as in patient.py; `vary` draws another.
FIRST, GAIN = 3, 30.0
TRAINING = "gain too large"
PREDICTION = "one set of statistics for both scanners"
SIZES = [(30, 0), (50, 1)]  # rows and scanner of what the instruments are held to


# The network in NumPy, with its gradients.
def normalized(x, eps=1e-5):
    rstd = (x.var(0) + eps) ** -0.5
    return (x - x.mean(0)) * rstd, rstd


def forward(state, x):
    """Of the eight layers: x̂, rstd and what leaves the tanh; and the logits. In training mode."""
    kept = []
    for k in range(8):
        x_hat, rstd = normalized(x @ state[f"weights.{k}"])
        x = np.tanh(state[f"norms.{k}.weight"] * x_hat + state[f"norms.{k}.bias"])
        kept.append((x_hat, rstd, x))
    return kept, x @ state["weights.8"] + state["shift"]


def rms(x):
    return float(np.sqrt(np.mean(np.square(x))))


def gradient_by_depth(state, x, labels):
    """Root mean square of the mean loss's gradient at what enters each tanh."""
    kept, logits = forward(state, x)
    chances = np.exp(logits - logits.max(1, keepdims=True))
    chances /= chances.sum(1, keepdims=True)
    up = (chances - np.eye(10)[labels]) / len(x) @ state["weights.8"].T
    sizes = []
    for k in range(7, -1, -1):
        x_hat, rstd, post = kept[k]
        up = up * (1 - post**2)
        sizes.insert(0, rms(up))
        d = up * state[f"norms.{k}.weight"]
        d = rstd * (d - d.mean(0) - x_hat * (d * x_hat).mean(0))
        up = d @ state[f"weights.{k}"].T
    return np.array(sizes)


def evaluated(state, x, source):
    """Post-activations and logits by the running statistics of a scanner."""
    posts = []
    for k in range(8):
        mean, var = (state[f"norms.{k}.running_{name}"][source] for name in ("mean", "var"))
        x_hat = (x @ state[f"weights.{k}"] - mean) * (var + 1e-5) ** -0.5
        x = np.tanh(state[f"norms.{k}.weight"] * x_hat + state[f"norms.{k}.bias"])
        posts.append(x)
    return posts, x @ state["weights.8"] + state["shift"]


def drawn():
    """A state with random gains, shifts and statistics; images and labels."""
    random = rng()
    for rows, source in SIZES:
        gains = random.uniform(0.3, 3, size=8)
        state = checks.parameters(int(random.integers(2**31)), gains)
        for k in range(8):
            state[f"norms.{k}.bias"] = 0.3 * random.normal(size=64)
            state[f"norms.{k}.running_mean"] = 0.3 * random.normal(size=(2, 64))
            state[f"norms.{k}.running_var"] = random.uniform(0.1, 1, size=(2, 64))
        images = random.uniform(size=(rows, 64)) + source
        yield state, images, source, random.integers(10, size=rows)


def one_row(state, source):
    """Both scanners get the statistics of one: for what must not depend on which row is used."""
    for k in range(8):
        for name in ("mean", "var"):
            buffer = state[f"norms.{k}.running_{name}"]
            buffer[1 - source] = buffer[source]


def close(check, shown, wanted, what):
    """Equal layer by layer, each to a thousandth of itself."""
    shown = check.array(shown, wanted.shape, what)
    check.close(shown / wanted, np.ones(8), f"{what}, each divided by the right one", 1e-3)


def signals(signal_sizes):
    check = Check(checks.TOOLS, secret=True)
    for state, images, source, _ in drawn():
        shown, kept = checks.instrument(signal_sizes, state, images, source)
        wanted = np.array([rms(post) for _, _, post in forward(state, images)[0]])
        close(check, shown, wanted, "sizes of the signals in training mode")
        check.true(kept is True, "the model after the reading", "as it was", "changed")
        one_row(state, source)
        shown, kept = checks.instrument(signal_sizes, state, images, source, None, True)
        wanted = np.array([rms(post) for post in evaluated(state, images, source)[0]])
        close(check, shown, wanted, "sizes of the signals, asked one by one")
        check.true(kept is True, "the model after the reading", "as it was", "changed")


def gradients(gradient_sizes):
    check = Check(checks.TOOLS, secret=True)
    for state, images, source, labels in drawn():
        shown, kept = checks.instrument(gradient_sizes, state, images, source, labels)
        close(check, shown, gradient_by_depth(state, images, labels), "sizes of the gradients")
        check.true(kept is True, "the model after the reading", "as it was", "changed")


def updates(update_ratios):
    check, random = Check(checks.TOOLS, secret=True), rng()
    before = [random.normal(size=shape) for shape in ((5, 7), (7, 3), (3, 3), (1, 4))]
    after = [w + 10.0**-k * random.normal(size=w.shape) for k, w in enumerate(before)]
    pairs = list(zip(before, after, strict=True))
    wanted = np.array([np.linalg.norm(a - b) / np.linalg.norm(b) for b, a in pairs])
    shown = check.array(update_ratios(before, after), (4,), "the ratios of four matrices")
    check.close(shown / wanted, np.ones(4), "the ratios, each divided by the right one")


# The patient, before it has learned anything.
def admitted():
    """Its state, and its images as the scanners wrote them: a function of numbers and scanner."""
    images, labels = checks.digits(DIGITS)
    random = np.random.default_rng(0)
    state = {f"weights.{k}": random.normal(size=(64, 64)) / 8 for k in range(8)}
    state |= {"weights.8": random.normal(size=(64, 10)) / 8, "shift": np.zeros(10)}
    for k in range(8):
        state[f"norms.{k}.weight"] = np.full(64, GAIN if k + 1 >= FIRST else 1.0)
        state[f"norms.{k}.bias"] = np.zeros(64)

    def scanned(index, source):
        return images[index] if source == 0 else 1.5 + images[index] / 2

    return state, scanned, labels


def judge_diagnosis(check, said, cause, layer, number):
    check.true(said[0] == cause, "the cause", "the cause that the instruments show", "another")
    check.true(said[1] == layer, "the layer", "the first that is ill", "another")
    ratio = np.log((said[2] + 1e-9 * (number == 0)) / (number or 1e-9))
    check.true(bool(abs(ratio) < 0.05), "the number", "right to 5 %", "another")


def diagnosis_training(diagnosis):
    check = Check(checks.TOOLS, secret=True)
    said = checks.diagnosis_form(diagnosis, "training")
    state, scanned, labels = admitted()
    sizes = gradient_by_depth(state, scanned(slice(0, 100), 0), labels[:100])
    judge_diagnosis(check, said, TRAINING, FIRST, sizes[0] / sizes[-1])


def diagnosis_prediction(diagnosis):
    check = Check(checks.GAP, secret=True)
    said = checks.diagnosis_form(diagnosis, "prediction")
    state, scanned, _ = admitted()
    rows = scanned(slice(500, 600), 1) @ state["weights.0"]
    in_training = rms(np.tanh(normalized(rows)[0]))
    # By itself and with batch statistics an image is its own mean, and nothing is left.
    served = 0.0
    if PREDICTION != "batch statistics at prediction":
        mean, var = running(state, scanned)
        served = rms(np.tanh((rows - mean) * (var + 1e-5) ** -0.5))
    judge_diagnosis(check, said, PREDICTION, 1, served / in_training)


def running(state, scanned):
    """What layer 1 believes of scanner 1 after the 60 batches."""
    shared = PREDICTION == "one set of statistics for both scanners"
    pace = 0.1 if shared else 0.001
    random, mean, var = np.random.default_rng(0), np.zeros(64), np.ones(64)
    for step in range(60):
        source = step % 2
        index = source * 500 + random.choice(500, 50, replace=False)
        if shared or source == 1:
            rows = scanned(index, source) @ state["weights.0"]
            mean, var = (
                mean + pace * (rows.mean(0) - mean),
                var + pace * (rows.var(0, ddof=1) - var),
            )
    return mean, var


def norm(Norm):
    check, random = Check(checks.NORM, secret=True), rng()
    check.free_of(Norm, "norms")
    layer, pace = Layer(Norm, 5, momentum=0.3), 0.3
    gain, shift = random.normal(size=(2, 5))
    layer.load(weight=gain, bias=shift)
    mean, var = np.zeros((2, 5)), np.ones((2, 5))
    for source in (0, 1, 1, 0, 1):
        x = random.normal(size=(7, 5)) * random.uniform(0.5, 3, size=5) + 2 * source
        dy = random.normal(size=x.shape)
        found = layer.gradient(dy, x, source)
        x_hat, rstd = normalized(x)
        check.close(found["y"], gain * x_hat + shift, "the output in training")
        d = gain * dy
        dx = rstd * (d - d.mean(0) - x_hat * (d * x_hat).mean(0))
        check.close(found["dx"][0], dx, "the gradient of x in training")
        mean[source] += pace * (x.mean(0) - mean[source])
        var[source] += pace * (x.var(0, ddof=1) - var[source])
    check.close(layer.get("running_mean"), mean, "running_mean after five batches")
    check.close(layer.get("running_var"), var, "running_var after five batches")
    layer.eval()
    for source in (0, 1):
        wanted = gain * (x - mean[source]) * (var[source] + 1e-5) ** -0.5 + shift
        check.close(layer.forward(x, source), wanted, "the output in evaluation")
        check.close(layer.forward(x[:1], source), wanted[:1], "one row in evaluation")
    check.close(layer.get("running_mean"), mean, "running_mean after evaluation")


def alone(Net, predict):
    check = Check(checks.GAP, secret=True)
    for state, images, source, _ in drawn():
        one_row(state, source)
        batch, single, kept = checks.served(Net, predict, state, images[:9], source)
        wanted = evaluated(state, images[:9], source)[1]
        check.close(batch, wanted, "logits of nine images in a batch")
        check.close(single, wanted, "logits of nine images, each by itself")
        check.true(
            kept is True, "the model after predict (mode, statistics)", "as it was", "changed"
        )


def accuracy(Net, make_optimizer, predict):
    check, random = Check(checks.GAP, secret=True), rng()
    images, labels = checks.digits(HERE.with_suffix(".txt"))
    order = random.permutation(len(images))[:300].reshape(2, 150)
    seed = int(random.integers(2, 10**6))
    sets = [images[index] for index in order]
    model = checks.trained(Net, make_optimizer, seed, 160)
    answers = [checks.asked(predict, model, sets[source], source) for source in (0, 1)]
    checks.judge_accuracy(check, answers, [labels[index] for index in order], "unseen images")
    # It must be the network that is right, not something else that knows digits.
    state = checks.numbers(model)
    for source, logits in enumerate(answers):
        wanted = evaluated(state, sets[source] if source == 0 else 1.5 + sets[1] / 2, source)[1]
        check.close(
            logits, wanted, "the logits, against those of the trained network's own numbers"
        )


# Student's t, 0.975, for 1 to 30 degrees of freedom, as in the notebook.
T975 = (
    12.7062,
    4.3027,
    3.1824,
    2.7764,
    2.5706,
    2.4469,
    2.3646,
    2.306,
    2.2622,
    2.2281,
    2.201,
    2.1788,
)


def interval(interval):
    check, random = Check(checks.PAIRS, secret=True), rng()
    for n in (2, 5, 12):
        values = random.normal(size=n) * random.uniform(1, 5) + random.normal()
        half = T975[n - 2] * np.sqrt(((values - values.mean()) ** 2).sum() / (n - 1) / n)
        shown = check.parts(interval(values), "mean", "low", "high")
        wanted = values.mean() + half * np.array([0, -1, 1])
        check.close(np.array(shown), wanted, f"mean, low and high of {n} values", 1e-3)
    check.raises(ValueError, interval, values[:1], what="an interval of one value")
    values[1] = np.nan
    check.raises(ValueError, interval, values, what="an interval with a run that has failed (nan)")


def paired(paired_differences):
    check, random = Check(checks.PAIRS, secret=True), rng()
    for n in (5, 8):
        seeds = [int(s) for s in random.choice(1000, n, replace=False)]
        salt = float(random.uniform(1, 2))
        found = checks.pairs(paired_differences, ["new", "old"], seeds, salt)
        differences, calls = check.parts(found, "result", "calls")
        checks.judge_pairs(check, differences, calls, seeds, salt)


def verdict(verdict):
    check, random = Check(checks.PAIRS, secret=True), rng()
    for bound in random.uniform(-3, 3, size=4):
        cases = [
            (bound + 1, bound + 2),
            (bound - 2, bound - 0.1),
            (bound - 1, bound + 4),
            (bound - 4, bound + 1),
        ]
        said = [verdict(low, high, bound) for low, high in np.array(cases).tolist()]
        checks.judge_verdicts(check, said, ["holds", "does not hold", "not seen", "not seen"])
