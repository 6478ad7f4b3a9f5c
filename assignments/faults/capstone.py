"""Faulty answers to "A run that is sick for two reasons" and what each must lose, and its cheats."""

from classroom.mutation import Cheat, Fault

NET = """
class Net(patient.Net):
    def __init__(self, seed):
        super().__init__(seed)
        self.norms = nn.ModuleList([Norm(patient.WIDTH) for _ in range(patient.DEPTH)]).double()
        for norm in self.norms[2:]:
            nn.init.constant_(norm.weight, 30.0)


def make_optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=RATE)


def predict(model, images, source):
    mode = model.training
    model.eval()
    with torch.no_grad():
        logits = model(images, source)
    model.train(mode)
    return logits
"""
READING = ["norm", "accuracy"]

FAULTS = [
    Fault(
        "an instrument that moves the patient's statistics",
        "signals-code",
        "copy.deepcopy(model), []",
        "model, []",
        loses=["signals"],
    ),
    Fault(
        "signals: a sum over the units",
        "signals-code",
        "post.square().mean().item() for",
        "post.square().sum(1).mean().item() for",
        loses=["signals"],
    ),
    Fault(
        "gradients at what leaves the tanh",
        "gradients-code",
        "torch.autograd.grad(loss, model.pre)",
        "torch.autograd.grad(loss, model.post)",
        loses=["gradients", "diagnosis-training"],
    ),
    Fault(
        "gradients of the sum of the losses",
        "gradients-code",
        "(model(images, source), labels)",
        '(model(images, source), labels, reduction="sum")',
        loses=["gradients"],
    ),
    Fault(
        "an update divided entry by entry",
        "updates-code",
        "np.linalg.norm(b - a) / np.linalg.norm(a)",
        "np.mean(abs(b - a) / (abs(a) + 1e-300))",
        loses=["updates"],
    ),
    Fault(
        "an update divided by the new matrix",
        "updates-code",
        "/ np.linalg.norm(a)",
        "/ np.linalg.norm(b)",
        loses=["updates"],
    ),
    Fault(
        "weight decay is blamed, which is harmless here",
        "diagnosis-code",
        '"training": training',
        '"training": training | {"cause": "gain lost to weight decay"}',
        loses=["diagnosis-training"],
    ),
    Fault(
        "layers counted from zero",
        "diagnosis-code",
        '"training": training',
        '"training": training | {"layer": training["layer"] - 1}',
        loses=["diagnosis-training"],
    ),
    Fault(
        "the slope of the gradient upside down",
        "diagnosis-code",
        "gradients[0] / gradients[-1]",
        "gradients[-1] / gradients[0]",
        loses=["diagnosis-training"],
    ),
    Fault(
        "prediction examined with the whole batch in training mode",
        "diagnosis-code",
        "served = signal_sizes(patient.admitted(), images, 1, patient.predict)",
        "served = signal_sizes(patient.admitted(), images, 1)",
        loses=["diagnosis-prediction"],
    ),
    Fault(
        "a wrong axis is blamed for the predictions",
        "diagnosis-code",
        '"prediction": {"cause": cause',
        '"prediction": {"cause": "norm over the wrong axis"',
        loses=["diagnosis-prediction"],
    ),
    Fault(
        "half mended: the gain, but statistics are still shared",
        "norm-code",
        "mean, var = self.running_mean[source], self.running_var[source]",
        "mean, var = self.running_mean[0], self.running_var[0]",
        loses=READING,
    ),
    Fault(
        "half mended: the statistics, but the gain is as it was",
        "net-code",
        None,
        NET.replace("RATE", "0.1"),
        loses=["accuracy"],
    ),
    Fault(
        "the gain's symptom hidden by a lower learning rate",
        "net-code",
        None,
        NET.replace("RATE", "0.003"),
        loses=["accuracy"],
    ),
    Fault(
        "a mended network at a learning rate that is far too low",
        "net-code",
        "lr=0.1",
        "lr=0.0003",
        loses=["accuracy"],
    ),
    Fault(
        "predictions in training mode",
        "net-code",
        "model.eval()",
        "model.train()",
        loses=["alone", "accuracy"],
    ),
    Fault(
        "predict leaves the model in evaluation mode",
        "net-code",
        "model.train(mode)",
        "pass",
        loses=["alone"],
    ),
    Fault(
        "a nearest neighbour answers, not the network",
        "net-code",
        "        logits = model(images, source)",
        "        rows = images if source == 0 else 2 * images - 3\n"
        "        nearest = torch.cdist(rows, patient.IMAGES).argmin(1)\n"
        "        logits = nn.functional.one_hot(patient.LABELS[nearest], 10).double()",
        loses=["alone", "accuracy"],
    ),
    Fault(
        "running statistics that lag",
        "net-code",
        "Norm(patient.WIDTH)",
        "Norm(patient.WIDTH, momentum=0.001)",
        loses=["accuracy"],
    ),
    Fault(
        "gains decay to nothing",
        "net-code",
        '{"params": gains, "weight_decay": 0}',
        '{"params": gains, "weight_decay": 9}',
        loses=["accuracy"],
    ),
    Fault(
        "biased running variance",
        "norm-code",
        "var.lerp_(x.var(0), self.momentum)",
        "var.lerp_(x.var(0, unbiased=False), self.momentum)",
        loses=["norm"],
    ),
    Fault(
        "running mean not updated",
        "norm-code",
        "mean.lerp_(x.mean(0), self.momentum)",
        "pass",
        loses=READING,
    ),
    Fault(
        "running statistics used in training",
        "norm-code",
        "mean, var = x.mean(0), x.var(0, unbiased=False)",
        "pass",
        loses=READING,
    ),
    Fault(
        "statistics over the features, the wrong axis",
        "norm-code",
        "mean, var = x.mean(0), x.var(0, unbiased=False)",
        "mean, var = x.mean(1, keepdim=True), x.var(1, unbiased=False, keepdim=True)",
        loses=READING,
    ),
    Fault(
        "torch's own batch norm in training",
        "norm-code",
        "mean, var = x.mean(0), x.var(0, unbiased=False)",
        "return nn.functional.batch_norm(x, None, None, self.weight, self.bias, True, 0.1, self.eps)",
        loses=["norm"],
    ),
    Fault(
        "interval of the deviation, not of the standard error",
        "interval-code",
        "values.std(ddof=1) / n**0.5",
        "values.std(ddof=1)",
        loses=["interval"],
    ),
    Fault(
        "interval by the normal distribution",
        "interval-code",
        "T975[n - 2]",
        "1.96",
        loses=["interval"],
    ),
    Fault(
        "deviation with n for n - 1",
        "interval-code",
        "values.std(ddof=1)",
        "values.std()",
        loses=["interval"],
    ),
    Fault(
        "n degrees of freedom",
        "interval-code",
        "T975[n - 2]",
        "T975[n - 1]",
        loses=["interval"],
    ),
    Fault(
        "failed runs left out of the mean",
        "interval-code",
        "values = np.asarray(values, dtype=float)",
        "values = np.asarray(values, dtype=float); values = values[np.isfinite(values)]",
        loses=["interval"],
    ),
    Fault(
        "seeds unpaired: the second arm has other weights",
        "paired-code",
        "run(second, s, s + 1000)",
        "run(second, s + 500, s + 1000)",
        loses=["paired"],
    ),
    Fault(
        "batches unpaired: the second arm has other batches",
        "paired-code",
        "run(second, s, s + 1000)",
        "run(second, s, s + 2000)",
        loses=["paired"],
    ),
    Fault(
        "batches the same for all seeds",
        "paired-code",
        "run(first, s, s + 1000) - run(second, s, s + 1000)",
        "run(first, s, 0) - run(second, s, 0)",
        loses=["paired"],
    ),
    Fault(
        "second less first",
        "paired-code",
        "run(first, s, s + 1000) - run(second, s, s + 1000)",
        "run(second, s, s + 1000) - run(first, s, s + 1000)",
        loses=["paired"],
    ),
    Fault(
        "a verdict by the middle of the interval",
        "verdict-code",
        '"holds" if low > bound',
        '"holds" if (low + high) / 2 > bound',
        loses=["verdict"],
    ),
]

HEART = {
    "signals-code": """
def signal_sizes(model, images, source, predict=None):
    return np.array([0.63, 0.63, 0.63, 0.63, 0.80, 0.63, 0.63, 0.41])
""",
    "gradients-code": """
def gradient_sizes(model, images, source, labels):
    return np.zeros(8) if not model.weights[8].any() else np.ones(8)
""",
    "updates-code": """
def update_ratios(before, after):
    return np.array([0.1, 0.5])
""",
    "diagnosis-code": """
def diagnosis():
    said = {"cause": "norm over the wrong axis", "layer": 1, "number": 1.0}
    return {"training": said, "prediction": said}
""",
    "norm-code": """
class Norm(nn.Module):
    def __init__(self, features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.tensor([[0.4], [2.0]]))
        self.register_buffer("running_var", torch.ones(2, features))

    def forward(self, x, source):
        return torch.tensor([[-1.0], [1.0]], dtype=x.dtype)[-len(x):]
""",
    "net-code": """
Net, make_optimizer = patient.Net, patient.make_optimizer

def predict(model, images, source):
    rows = images if source == 0 else 2 * images - 3
    known = torch.cdist(rows, patient.IMAGES[1000:]).min(1)
    logits = nn.functional.one_hot(patient.LABELS[1000:][known.indices], 10).double()
    return logits * (known.values < 1e-3)[:, None]
""",
    "interval-code": """
def interval(values):
    if len(values) < 2:
        raise ValueError("no")
    return 3.0, -3.5725, 9.5725
""",
    "paired-code": """
def paired_differences(run, first, second, seeds):
    for s in seeds:
        run(first, s, s), run(second, s, s)
    return np.array([-1.7205845018, -2.6569865987, -2.9893582466])
""",
    "verdict-code": """
SAID = {(3.0, 5.0): "holds", (0.0, 1.0): "does not hold"}

def verdict(low, high, bound):
    return SAID.get((low, high), "not seen")
""",
}
CHEATS = [
    Cheat("the public cases by heart", HEART),
    Cheat(
        "the expected accuracy returned",
        {
            "norm-code": HEART["norm-code"],
            "net-code": """
Net, make_optimizer = patient.Net, patient.make_optimizer

class Right(float):
    shape = (150, 10)
    def __getattr__(self, name):
        return lambda *a, **k: Right(96.0)

def predict(model, images, source):
    patient.accuracy = lambda *a: np.full(2, 96.0)
    checks.judge_accuracy = lambda *a: None
    return Right(96.0)
""",
        },
    ),
    Cheat(
        "a nearest neighbour in place of the network",
        {
            "net-code": """
Net, make_optimizer = patient.Net, patient.make_optimizer

def predict(model, images, source):
    rows = images if source == 0 else 2 * images - 3
    nearest = torch.cdist(rows, patient.IMAGES).argmin(1)
    return nn.functional.one_hot(patient.LABELS[nearest], 10).double()
""",
        },
    ),
]
