"""The public checks of "A run that is sick for two reasons". They help; hidden checks decide.

Run them all with `python checks.py` in the folder of the notebook.
"""

import ast
import math
from pathlib import Path

import numpy as np
from checking import Check, Layer, beside, main
from guards import Guard

TOOLS = "this course, chapter 01, section 3 (The instruments)"
NORM = "this course, chapter 02, section 5 (As a layer)"
GAP = "this course, chapter 02, section 6 (Training is not inference)"
PAIRS = "this course, chapter 01, section 5 (How to read a paired interval)"
CURED = 70  # percent, for each scanner
KEYS = ["cause", "layer", "number"]


def digits(path):
    """Images (N, 64) between 0 and 1 and labels (N,) of a file; a line is a label and 64 pixels."""
    lines = path.read_text(encoding="ascii").split()
    labels, images = lines[::2], [[int(pixel, 17) / 16 for pixel in line] for line in lines[1::2]]
    return np.array(images), np.array(labels, dtype=int)


# Helpers that run beside the student's code. What they return is judged in the checks.
def plain(model):
    """What an instrument must leave alone."""
    buffers = [b.detach().numpy().copy() for b in model.buffers()]
    gradients = sum(p.grad is not None for p in model.parameters())
    modes = [m.training for m in model.modules()]
    return buffers, gradients, modes


def untouched(model, before):
    after = plain(model)
    same = all(np.array_equal(a, b) for a, b in zip(before[0], after[0], strict=True))
    return same and before[1:] == after[1:]


@beside
def network(Net, state, training=True):
    """A network with these arrays as its parameters and buffers (None: the given network, as it starts)."""
    import patient
    import torch

    model = (Net or patient.Net)(0)
    if state:
        tensors = {k: torch.as_tensor(v) for k, v in state.items()}
        missing = model.load_state_dict(tensors, strict=False).unexpected_keys
        if missing:
            raise KeyError(
                f"the network has no {', '.join(missing[:3])}: keep the names of patient.Net"
            )
    return model.double().train(training)


@beside
def instrument(tool, state, images, source, labels=None, alone=False):
    """What an instrument shows of the given network with this state, and whether it left it alone."""
    import torch

    model, images = network(None, state), torch.as_tensor(images)
    before = plain(model)
    if labels is not None:
        shown = tool(model, images, source, torch.as_tensor(labels))
    elif alone:
        shown = tool(model, images, source, by_itself)
    else:
        shown = tool(model, images, source)
    return shown, untouched(model, before)


def by_itself(model, images, source):
    import torch

    model.eval()
    with torch.no_grad():
        return model(images, source)


@beside
def served(Net, predict, state, images, source):
    """Logits of images in one batch, and each by itself, of a network in training mode; and was it changed?"""
    import torch

    model, images = network(Net, state), torch.as_tensor(images)
    before = plain(model)
    with Guard(("norms",)):
        batch = predict(model, images, source).detach()
        single = [predict(model, image[None], source).detach() for image in images]
    return batch.numpy(), torch.cat(single).numpy(), untouched(model, before)


@beside
def trained(Net, make_optimizer, seed, steps):
    """A network of the student's, trained: where it is, it stays."""
    import patient

    model = Net(seed).double()
    patient.train(model, make_optimizer(model), steps, seed + 1)
    return model


@beside
def asked(predict, model, images, source):
    """Logits for images of a scanner, asked one by one."""
    import patient
    import torch

    rows = patient.scan(torch.as_tensor(images), source)
    return torch.cat([predict(model, row[None], source).detach() for row in rows]).numpy()


@beside
def numbers(model):
    """The state of a network, as arrays."""
    return {name: value.detach().numpy() for name, value in model.state_dict().items()}


@beside
def pairs(paired_differences, arms, seeds, salt):
    """Call it with a `run` whose luck is known; return its result and what was asked of `run`."""
    calls = []

    def run(arm, start, order):
        calls.append([arms.index(arm), int(start), int(order)])
        return luck(calls[-1], salt)

    return paired_differences(run, *arms, seeds), calls


def luck(call, salt):
    """A made-up accuracy: the arm, the weights (also together with the arm), and the batches."""
    arm, start, order = call
    shared = math.sin(salt * start) + math.cos(salt * order + 1)
    return 80 + 9 * shared + 2 * arm + math.sin(salt * start + 3) * arm


def parameters(seed=0, gains=(1.0, 1.0, 1.0, 1.0, 2.0, 1.0, 1.0, 0.5)):
    """A state of the network for the instruments: random matrices, and gains as given."""
    random = np.random.default_rng(seed)
    state = {f"weights.{k}": random.normal(size=(64, 64)) / 8 for k in range(8)}
    state |= {"weights.8": random.normal(size=(64, 10)) / 8, "shift": random.normal(size=10)}
    for k, gain in enumerate(gains):
        state[f"norms.{k}.weight"] = np.full(64, gain)
        state[f"norms.{k}.bias"] = np.zeros(64)
        state[f"norms.{k}.running_mean"] = np.zeros((2, 64))
        state[f"norms.{k}.running_var"] = np.ones((2, 64))
    return state


def some_images(rows=40, seed=1):
    return np.random.default_rng(seed).uniform(size=(rows, 64))


def signals(signal_sizes):
    check = Check(TOOLS)
    shown, kept = instrument(signal_sizes, parameters(), some_images(), 0)
    shown = check.array(shown, (8,), "the sizes of the signals")
    # Normalized values of any network have mean square 1; their tanh is what gain 1, 2 and ½ make of it.
    check.close(shown[[0, 4, 7]], [0.63, 0.80, 0.41], "layers 1, 5 and 8 (gains 1, 2, ½)", 0.03)
    check.true(kept is True, "the model after the reading", "as it was", "changed")
    print("signals: a network with gains 1, 2 and ½ is read right")


def gradients(gradient_sizes):
    check, labels = Check(TOOLS), np.arange(40) % 10
    state = parameters()
    state["weights.8"] = 0 * state["weights.8"]
    shown, kept = instrument(gradient_sizes, state, some_images(), 0, labels)
    check.close(shown, np.zeros(8), "gradients below a last matrix of zeros", 1e-12)
    check.true(kept is True, "the model after the reading", "as it was", "changed")
    shown, _ = instrument(gradient_sizes, parameters(), some_images(), 0, labels)
    shown = check.array(shown, (8,), "the sizes of the gradients")
    check.true(bool((shown > 0).all()), "gradients of a network", "all above zero", "some are not")
    print("gradients: none below a last matrix of zeros, some elsewhere")


def updates(update_ratios):
    check = Check(TOOLS)
    before = [np.array([[3.0, 0.0], [0.0, 4.0]]), np.array([[0.0, 2.0]])]
    after = [np.array([[3.0, 0.3], [0.4, 4.0]]), np.array([[0.0, 1.0]])]
    check.close(update_ratios(before, after), [0.1, 0.5], "the ratios of two matrices")
    print("updates: the ratios of two matrices are right")


def diagnosis_form(diagnosis, part):
    """A part of the diagnosis, with the right keys and kinds of values."""
    check, found = Check(TOOLS), diagnosis()
    right = type(found) is dict and type(found.get(part)) is dict and sorted(found[part]) == KEYS
    check.true(right, f"diagnosis()['{part}']", f"a dict with the keys {KEYS}", "something else")
    tree = ast.parse(Path(__file__).with_name("patient.py").read_text(encoding="utf-8"))
    named = [
        n
        for n in tree.body
        if isinstance(n, ast.Assign) and n.targets[0].__dict__.get("id") == "CAUSES"
    ]
    causes, said = ast.literal_eval(named[0].value), found[part]
    check.true(said["cause"] in causes, "the cause", "one of patient.CAUSES", "another text")
    layer = said["layer"]
    whole = isinstance(layer, int | np.integer) and not isinstance(layer, bool)
    came = f"a {type(layer).__name__}" if not whole else int(layer)
    check.true(whole and 1 <= layer <= 8, "the layer", "an int from 1 to 8", came)
    number = check.array(said["number"], (), "the number")
    check.true(
        bool(np.isfinite(number)) and number >= 0,
        "the number",
        "finite, not negative",
        "something else",
    )
    return said["cause"], said["layer"], float(number)


def diagnosis_training(diagnosis):
    diagnosis_form(diagnosis, "training")
    print("diagnosis-training: it has the right form. Whether it is right, the hidden check says")


def diagnosis_prediction(diagnosis):
    diagnosis_form(diagnosis, "prediction")
    print("diagnosis-prediction: it has the right form. Whether it is right, the hidden check says")


def norm(Norm):
    check = Check(NORM)
    check.free_of(Norm, "norms")
    layer = Layer(Norm, 1)
    y = layer.forward(np.array([[2.0], [6.0]]), 0)
    check.close(y, [[-1.0], [1.0]], "two rows of scanner 0, in training", 1e-4)
    layer.forward(np.array([[10.0], [30.0]]), 1)
    # A tenth of the way from 0 to the means 4 and 20.
    check.close(
        layer.get("running_mean"), [[0.4], [2.0]], "running_mean after a batch of each scanner"
    )
    layer.load(running_mean=[[1.0], [5.0]], running_var=[[4.0], [9.0]])
    layer.eval()
    check.close(
        layer.forward(np.array([[3.0]]), 0), [[1.0]], "one row of scanner 0, in evaluation", 1e-4
    )
    check.close(
        layer.forward(np.array([[8.0]]), 1), [[1.0]], "one row of scanner 1, in evaluation", 1e-4
    )
    print("norm: the examples by hand are right")


def alone(Net, predict):
    check = Check(GAP)
    for source in (0, 1):
        batch, single, kept = served(Net, predict, None, some_images(5), source)
        check.array(batch, (5, 10), "the logits of five images")
        check.close(single, batch, "the logits of each image by itself, against those in the batch")
        check.true(
            kept is True, "the model after predict (mode, statistics)", "as it was", "changed"
        )
    print("alone: an image gets the same answer by itself and in a batch")


def accuracy(Net, make_optimizer, predict):
    check = Check(GAP)
    images, labels = digits(Path(__file__).with_name("digits.txt"))
    images, labels = images[1000:1150], labels[1000:1150]
    model = trained(Net, make_optimizer, 1, 160)
    answers = [asked(predict, model, images, source) for source in (0, 1)]
    judge_accuracy(check, answers, [labels, labels], "the validation images")
    print(f"accuracy: at least {CURED} % of the validation images of both scanners are right")


def judge_accuracy(check, answers, labels, what):
    for source, logits in enumerate(check.parts(answers, "scanner 0", "scanner 1")):
        logits = check.array(
            logits, (len(labels[source]), 10), f"logits of {what}, scanner {source}"
        )
        check.true(bool(np.isfinite(logits).all()), "the logits", "finite", "nan or infinity")
        right = 100 * float((logits.argmax(1) == labels[source]).mean())
        came = f"{right:.0f} %"
        check.true(
            right >= CURED, f"right of {what}, scanner {source}", f"at least {CURED} %", came
        )


def interval(interval):
    check = Check(PAIRS)
    shown = check.parts(interval(np.array([1.0, 2.0, 6.0])), "mean", "low", "high")
    # The deviation is √7, the standard error √(7/3), and t of two degrees of freedom is 4.3027.
    check.close(np.array(shown), [3.0, -3.5725, 9.5725], "mean, low and high of 1, 2, 6", 1e-4)
    check.raises(ValueError, interval, np.array([1.0]), what="an interval of one value")
    print("interval: that of 1, 2, 6 is right, and one value is refused")


def paired(paired_differences):
    check, seeds = Check(PAIRS), [3, 4, 5]
    differences, calls = check.parts(
        pairs(paired_differences, ["a", "b"], seeds, 1.0), "result", "calls"
    )
    judge_pairs(check, differences, calls, seeds, 1.0)
    print("paired: both arms start from the same weights and see the same batches")


def judge_pairs(check, differences, calls, seeds, salt):
    """Both arms had the same luck, each seed its own, and the result is first less second."""
    check.true(len(calls) == 2 * len(seeds), "calls of run", f"{2 * len(seeds)}", f"{len(calls)}")
    drawn = [[tuple(c[1:]) for c in calls if c[0] == arm] for arm in (0, 1)]
    check.true(
        sorted(drawn[0]) == sorted(drawn[1]), "start and order", "the same in both arms", "others"
    )
    for k, what in enumerate(("initial weights", "batches")):
        several = len({d[k] for d in drawn[0]})
        check.true(
            several == len(seeds), f"{what} of {len(seeds)} seeds", "all different", f"{several}"
        )
    wanted = [luck([0, *d], salt) - luck([1, *d], salt) for d in drawn[0]]
    check.close(differences, wanted, "the differences, first less second, one a seed")


def verdict(verdict):
    check = Check(PAIRS)
    said = [verdict(3.0, 5.0, 2.0), verdict(0.0, 1.0, 2.0), verdict(1.0, 3.0, 2.0)]
    judge_verdicts(check, said, ["holds", "does not hold", "not seen"])
    print("verdict: three intervals against the bound 2 are read right")


def judge_verdicts(check, said, wanted):
    for came, right in zip(said, wanted, strict=True):
        shown = repr(came)[:40] if type(came) is str else "no text"
        expected = "one of three texts" if check.secret else right
        check.true(
            type(came) is str and came == right, "the verdict on an interval", expected, shown
        )


if __name__ == "__main__":
    main()
