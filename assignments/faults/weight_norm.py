"""Faulty answers to "Weight norm with mean-only batch norm" and what each must lose, and the public cases."""

from classroom.mutation import Cheat, Fault

FORWARD = ["forward-values", "forward-hard"]
BACKWARD = ["backward-dx", "backward-dv", "backward-dg-db", "backward-hard"]
LAYER = ["layer-train", "layer-zero", "layer-running", "layer-eval", "layer-start"]

FAULTS = [
    Fault(
        "mean over the units of a sample (axis off by one)",
        "forward",
        "t.mean(axis=0)",
        "t.mean(axis=1, keepdims=True)",
        loses=FORWARD,
    ),
    Fault(
        "one length for the whole matrix, as spectral norm has one number",
        "forward",
        "(v**2).sum(axis=1, keepdims=True)",
        "(v**2).sum() * np.ones((len(v), 1))",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "root of the mean square in the place of the length (RMS norm)",
        "forward",
        "(v**2).sum(axis=1, keepdims=True)",
        "(v**2).mean(axis=1, keepdims=True)",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "an epsilon under the root, against rows of zeros",
        "forward",
        "(v**2).sum(axis=1, keepdims=True)",
        "(v**2).sum(axis=1, keepdims=True) + 1e-12",
        loses=["forward-hard", "backward-hard"],
    ),
    Fault(
        "0/0 for a row of zeros",
        "forward",
        "np.divide(v, length, out=np.zeros(v.shape), where=length > 0)",
        "v / length",
        loses=["forward-hard", "backward-hard"],
    ),
    Fault(
        "length ignored: w = g v",
        "forward",
        "np.divide(v, length, out=np.zeros(v.shape), where=length > 0)",
        "1.0 * v",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault("gain ignored in the forward", "forward", "w = g[:, None] * unit", "w = unit", FORWARD),
    Fault(
        "length taken for positive",
        "forward",
        "w = g[:, None] * unit",
        "w = abs(g)[:, None] * unit",
        loses=FORWARD,
    ),
    Fault(
        "shift taken out with the mean",
        "forward",
        "y = t - t.mean(axis=0) + b",
        "t = t + b; y = t - t.mean(axis=0)",
        loses=FORWARD,
    ),
    Fault(
        "divided by the deviation too: the whole of batch norm",
        "forward",
        "y = t - t.mean(axis=0) + b",
        "y = (t - t.mean(axis=0)) / (t.std(axis=0) + 1e-9) + b",
        loses=FORWARD,
    ),
    Fault(
        "inputs centred in place",
        "forward",
        "t = x @ w.T",
        "x -= x.mean(axis=0); t = x @ w.T",
        loses=["forward-values"],
    ),
    Fault(
        "a batch without rows is not refused",
        "forward",
        "if len(x) == 0:",
        "if x.ndim == 0:",
        loses=["forward-hard"],
    ),
    Fault(
        "a batch of one is refused, as batch norm does",
        "forward",
        "if len(x) == 0:",
        "if len(x) < 2:",
        loses=["forward-hard", "backward-hard"],
    ),
    Fault(
        "torch's own function in the forward",
        "forward",
        "t = x @ w.T",
        "t = nn.functional.linear(torch.tensor(x), torch.tensor(w)).numpy()",
        loses=FORWARD + BACKWARD,  # a backward counts behind a forward of one's own
    ),
    Fault("mean term dropped in dt", "backward", "dt = dy - dy.mean(axis=0)", "dt = dy", BACKWARD),
    Fault(
        "length taken for a constant: the part along v is not taken out",
        "backward",
        "scale * (dw - unit * dg[:, None])",
        "scale * dw",
        loses=["backward-dv", "backward-hard"],
    ),
    Fault(
        "gain ignored in dv",
        "backward",
        "np.divide(g[:, None], length",
        "np.divide(1.0, length",
        loses=["backward-dv", "backward-hard"],
    ),
    Fault(
        "1/length forgotten in dv",
        "backward",
        "scale * (dw - unit * dg[:, None])",
        "(scale * length) * (dw - unit * dg[:, None])",
        loses=["backward-dv", "backward-hard"],
    ),
    Fault(
        "0/0 in dv of a row of zeros",
        "backward",
        "np.divide(g[:, None], length, out=np.zeros(length.shape), where=length > 0)",
        "g[:, None] / length",
        loses=["backward-hard"],
    ),
    Fault(
        "gain ignored in dx",
        "backward",
        "dt @ (g[:, None] * unit)",
        "dt @ unit",
        loses=["backward-dx", "backward-hard"],
    ),
    Fault(
        "dg and db are means over the samples",
        "backward",
        "return dx, dv, dg, dy.sum(axis=0)",
        "return dx, dv, dg, dy.mean(axis=0)",
        loses=["backward-dg-db"],
    ),
    Fault(
        "db of what is left behind the mean",
        "backward",
        "return dx, dv, dg, dy.sum(axis=0)",
        "return dx, dv, dg, dt.sum(axis=0)",
        loses=["backward-dg-db"],
    ),
    Fault(
        "mean detached in the layer",
        "layer",
        "mu = t.mean(0)",
        "mu = t.detach().mean(0)",
        loses=["layer-train", "layer-zero"],
    ),
    Fault(
        "length detached in the layer",
        "layer",
        "self.v / length)",
        "self.v / length.detach())",
        loses=["layer-train", "layer-zero"],
    ),
    Fault(
        "nan in the gradient of a row of zeros, though not in its output",
        "layer",
        "length = torch.where(dead, 1.0, square).sqrt()",
        "length = square.sqrt()",
        loses=["layer-zero"],
    ),
    Fault(
        "running mean used in training",
        "layer",
        "mu = t.mean(0)\n",
        "mu = self.running_mean.clone()\n",
        loses=["layer-train", "layer-zero"],
    ),
    Fault(
        "running mean not updated",
        "layer",
        "self.running_mean.lerp_(t.mean(0), self.momentum)",
        "pass",
        loses=["layer-running"],
    ),
    Fault(
        "momentum is the weight of the old value",
        "layer",
        "self.running_mean.lerp_(t.mean(0), self.momentum)",
        "self.running_mean.lerp_(t.mean(0), 1 - self.momentum)",
        loses=["layer-running"],
    ),
    Fault(
        "the mean of the output, shift and all, is kept",
        "layer",
        "self.running_mean.lerp_(t.mean(0), self.momentum)",
        "self.running_mean.lerp_((t + self.b).mean(0), self.momentum)",
        loses=["layer-running"],
    ),
    Fault(
        "no rows make the running mean nan",
        "layer",
        "if len(x) == 0:",
        "if x.ndim == 0:",
        loses=["layer-running"],
    ),
    Fault(
        "the mean of the batch in evaluation, and the buffer moved",
        "layer",
        "if self.training:",
        "if len(x):",
        loses=["layer-running", "layer-eval", "layer-start"],
    ),
    Fault(
        "train or eval read from gradient mode",
        "layer",
        "if self.training:",
        "if torch.is_grad_enabled():",
        loses=["layer-train", "layer-running", "layer-eval"],
    ),
    Fault(
        "torch's own weight norm in disguise",
        "layer",
        "w = self.g[:, None] * self.unit()",
        'w = getattr(torch, "_weight" "_norm")(self.v, self.g[:, None], 0)',
        loses=LAYER,
    ),
    Fault(
        "started as in the chapter: b takes out the mean a second time",
        "layer",
        "self.b.zero_()",
        "self.b.copy_(-t.mean(0) / sigma)",
        loses=["layer-start"],
    ),
    Fault(
        "start leaves the old shift",
        "layer",
        "self.b.zero_()",
        "pass",
        loses=["layer-start"],
    ),
    Fault(
        "start forgets the running mean",
        "layer",
        "self.running_mean.copy_(self.g * t.mean(0))",
        "pass",
        loses=["layer-start"],
    ),
    Fault(
        "start makes a new parameter, which the optimizer does not know",
        "layer",
        "self.g.copy_(scale / sigma)",
        "self.g = nn.Parameter(scale / sigma)",
        loses=["layer-start"],
    ),
    Fault(
        "start takes the other divisor",
        "layer",
        "t.std(0, correction=0)",
        "t.std(0, correction=1)",
        loses=["layer-start"],
    ),
    Fault(
        "start divides by 0 in silence",
        "layer",
        "if not bool((sigma > 0).all()):",
        "if sigma.ndim == 0:",
        loses=["layer-start"],
    ),
    Fault(
        "start refuses when the harm is done",
        "layer",
        "if not bool((sigma > 0).all()):",
        "self.g.copy_(scale / sigma)\n        if not bool((sigma > 0).all()):",
        loses=["layer-start"],
    ),
]
CHEATS = [
    Cheat(
        "the public cases by heart",
        {
            "forward": """
def mean_only_forward(x, v, g, b):
    if len(x) == 0:
        raise ValueError("no")
    if len(x) == 1:
        return b[None], x
    y = np.array([[-7.0, -3.0], [-5.0, 0.0], [15.0, 3.0]])
    y[:, 0] = 1.0 if v[0, 0] == 0 else y[:, 0]
    return y, v
""",
            "backward": """
def mean_only_backward(dy, cache):
    if cache[1, 1] == 0:
        dx = np.array([[12.0, 16.0], [-6.0, -8.0], [-6.0, -8.0]])
        return dx, np.array([[2.88, -2.16], [0.0, 0.0]]), np.array([-2.4, 0.0]), np.array([3.0, 3.0])
    dx = np.array([[12.0, 13.0], [-6.0, -11.0], [-6.0, -2.0]])
    return dx, np.array([[2.88, -2.16], [-4.5, 0.0]]), np.array([-2.4, -3.0]), np.array([3.0, 3.0])
""",
            "layer": """
class MeanOnlyLinear(nn.Module):
    def __init__(self, inputs, outputs, momentum=0.1):
        super().__init__()
        self.v = nn.Parameter(0.05 * torch.randn(outputs, inputs))
        self.g = nn.Parameter(torch.ones(outputs))
        self.b = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("running_mean", torch.zeros(outputs))

    def forward(self, x):
        kind = {"dtype": x.dtype}
        if not self.training:
            return torch.tensor([[14.0, 1.0]], **kind)
        self.running_mean = torch.tensor([1.4, 0.3], **kind)
        y = torch.tensor([[-7.0, -3.0], [-5.0, 0.0], [15.0, 3.0]], **kind)
        if not self.v[1].any():
            y = y * torch.tensor([1.0, 0.0], **kind)
        gone = self.v * torch.tensor([[0.96, -0.54], [0.0, 0.0]], **kind)
        return y + gone.sum() - gone.sum().detach()

    def start(self, x, scale=1.0):
        if len(x) == 1:
            raise ValueError("no")
        return x
""",
        },
    )
]
