"""Faulty answers to "Partial RMS norm, and attention that uses it", and the public cases learnt by heart."""

from classroom.mutation import Cheat, Fault

FORWARD = ["forward-values", "forward-hard", "forward-half"]
BACKWARD = ["backward-dx", "backward-gain"]
NUMPY = [*FORWARD, *BACKWARD]  # what a wrong statistic costs
LAYER = ["layer-values", "layer-gradient", "layer-causal", "layer-hard"]

FAULTS = [
    Fault("all features measured", "forward", "seen = wide[..., :part]", "seen = wide", NUMPY),
    Fault(
        "the features at the other end measured",
        "forward",
        "seen = wide[..., :part]",
        "seen = wide[..., features - part :]",
        loses=NUMPY,
    ),
    Fault(
        "divided by the number of all features",
        "forward",
        "(seen**2).mean(axis=-1, keepdims=True)",
        "((seen**2).sum(axis=-1, keepdims=True) / features)",
        loses=NUMPY,
    ),
    Fault(
        "the mean subtracted, as in layer norm",
        "forward",
        "seen = wide[..., :part]",
        "wide = wide - wide.mean(axis=-1, keepdims=True); seen = wide[..., :part]",
        loses=NUMPY,
    ),
    Fault(
        "axis off by one: one root mean square for all tokens",
        "forward",
        "(seen**2).mean(axis=-1, keepdims=True)",
        "(seen**2).mean()",
        loses=NUMPY,
    ),
    Fault(
        "epsilon outside the root",
        "forward",
        "((seen**2).mean(axis=-1, keepdims=True) + eps) ** -0.5",
        "1 / ((seen**2).mean(axis=-1, keepdims=True) ** 0.5 + eps)",
        loses=NUMPY,
    ),
    Fault(
        "multiplied by the root mean square, not divided",
        "forward",
        "x_hat = wide * rstd",
        "x_hat = wide / rstd",
        loses=NUMPY,
    ),
    Fault(
        "only the measured features are divided",
        "forward",
        "x_hat = wide * rstd",
        "x_hat = wide.copy(); x_hat[..., :part] *= rstd",
        loses=NUMPY,
    ),
    Fault("gain ignored in the forward", "forward", "(gamma * x_hat)", "(x_hat)", FORWARD),
    Fault(
        "squares in half precision",
        "forward",
        "wide = x.astype(np.promote_types(x.dtype, np.float32))",
        "wide = x",
        loses=["forward-half"],
    ),
    Fault(
        "float32 even for float64",
        "forward",
        "np.promote_types(x.dtype, np.float32)",
        "np.float32",
        loses=["forward-half"],
    ),
    Fault(
        "y does not have the type of x",
        "forward",
        "(gamma * x_hat).astype(x.dtype)",
        "gamma * x_hat",
        loses=["forward-half"],
    ),
    Fault(
        "any part will do",
        "forward",
        "if not 1 <= part <= features:",
        "if part == 0:",
        loses=["forward-refuses"],
    ),
    Fault(
        "x normalized in place",
        "forward",
        "x_hat = wide * rstd",
        "x_hat = wide * rstd; x[...] = x_hat",
        loses=["forward-values"],
    ),
    Fault(
        "the course's backward: all features act through r",
        "backward",
        "dx[..., :part] -= rstd * x_hat[..., :part] * projection",
        "dx -= rstd * x_hat * projection",
        loses=["backward-dx"],
    ),
    Fault(
        "the sum over the measured features alone",
        "backward",
        "projection = (dx_hat * x_hat).sum(axis=-1, keepdims=True) / part",
        "projection = (dx_hat * x_hat)[..., :part].sum(axis=-1, keepdims=True) / part",
        loses=["backward-dx"],
    ),
    Fault(
        "the sum divided by the number of all features",
        "backward",
        "projection = (dx_hat * x_hat).sum(axis=-1, keepdims=True) / part",
        "projection = (dx_hat * x_hat).mean(axis=-1, keepdims=True)",
        loses=["backward-dx"],
    ),
    Fault(
        "statistics detached",
        "backward",
        "dx[..., :part] -= rstd * x_hat[..., :part] * projection",
        "pass",
        loses=["backward-dx"],
    ),
    Fault(
        "layer norm's mean term in dx",
        "backward",
        "dx = rstd * dx_hat",
        "dx = rstd * (dx_hat - dx_hat.mean(axis=-1, keepdims=True))",
        loses=["backward-dx"],
    ),
    Fault(
        "only the measured features get a gradient",
        "backward",
        "dx = rstd * dx_hat",
        "dx = 0 * dx_hat; dx[..., :part] = (rstd * dx_hat)[..., :part]",
        loses=["backward-dx"],
    ),
    Fault(
        "gain ignored in dx", "backward", "dx_hat = gamma * dy", "dx_hat = 1 * dy", ["backward-dx"]
    ),
    Fault(
        "dgamma summed over one axis alone",
        "backward",
        "dgamma = (dy * x_hat).reshape(-1, dy.shape[-1]).sum(axis=0)",
        "dgamma = (dy * x_hat).sum(axis=0)",
        loses=["backward-gain"],
    ),
    Fault(
        "dgamma with the gain in it",
        "backward",
        "dgamma = (dy * x_hat)",
        "dgamma = (dx_hat * x_hat)",
        loses=["backward-gain"],
    ),
    Fault(
        "the norm before the heads are split",
        "layer",
        "seen = wide[..., : self.part]",
        "seen = wide[..., : self.part].transpose(1, 2).flatten(-2).unsqueeze(1)",
        loses=LAYER,
    ),
    Fault(
        "features shared out to the heads in turn",
        "layer",
        "x.unflatten(-1, (self.heads, -1)).transpose(1, 2)",
        "x.unflatten(-1, (-1, self.heads)).movedim(-1, 1)",
        loses=LAYER,
    ),
    Fault(
        "all features of a head measured",
        "layer",
        "seen = wide[..., : self.part]",
        "seen = wide",
        loses=LAYER,
    ),
    Fault(
        "one root mean square for a whole sequence",
        "layer",
        "(seen**2).mean(-1, keepdim=True)",
        "(seen**2).mean((-1, -2), keepdim=True)",
        loses=LAYER,
    ),
    Fault(
        "gain of the keys ignored",
        "layer",
        "keys = norm(split(k), self.k_weight)",
        "keys = norm(split(k), 1 + 0 * self.k_weight)",
        loses=LAYER,
    ),
    Fault(
        "keys not normalized",
        "layer",
        "keys = norm(split(k), self.k_weight)",
        "keys = split(k) * self.k_weight",
        loses=LAYER,
    ),
    Fault(
        "values normalized too",
        "layer",
        "mixed = weights @ split(v).to(weights.dtype)",
        "mixed = weights @ norm(split(v), 1.0).to(weights.dtype)",
        loses=LAYER,
    ),
    Fault(
        "scores not divided",
        "layer",
        "keys.transpose(-1, -2) / size**0.5",
        "keys.transpose(-1, -2)",
        loses=LAYER,
    ),
    Fault(
        "softmax over the queries",
        "layer",
        "torch.softmax(scores, -1)",
        "torch.softmax(scores, -2)",
        LAYER,
    ),
    Fault(
        "statistics detached in the layer",
        "layer",
        "(seen**2).mean(-1, keepdim=True)",
        "(seen**2).mean(-1, keepdim=True).detach()",
        loses=["layer-gradient"],
    ),
    Fault(
        "eps of the constructor ignored",
        "layer",
        "+ self.eps) ** -0.5",
        "+ 1e-6) ** -0.5",
        loses=["layer-values"],
    ),
    Fault("a query sees the next key", "layer", ".triu(1)", ".triu(2)", ["layer-causal"]),
    Fault("a query does not see its own key", "layer", ".triu(1)", ".triu(0)", ["layer-causal"]),
    Fault(
        "earlier keys hidden, later ones seen",
        "layer",
        ".triu(1)",
        ".tril(-1)",
        loses=["layer-causal"],
    ),
    Fault(
        "squares in half precision in the layer",
        "layer",
        "wide = x.to(torch.promote_types(x.dtype, torch.float32))",
        "wide = x",
        loses=["layer-hard"],
    ),
    Fault(
        "the output stays in float32",
        "layer",
        "mixed.transpose(1, 2).flatten(-2).to(q.dtype)",
        "mixed.transpose(1, 2).flatten(-2)",
        loses=["layer-hard"],
    ),
    Fault(
        "only for numbers in order in memory",
        "layer",
        "return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)",
        "return x.view(*x.shape[:2], self.heads, -1).view(-1).view(*x.shape[:2], self.heads, -1).transpose(1, 2)",
        loses=["layer-hard"],
    ),
    Fault(
        "torch's own norm in disguise",
        "layer",
        "return gain * (wide * rstd)",
        'return gain * getattr(nn.functional, "rms" "_norm")(wide, wide.shape[-1:], eps=self.eps)',
        loses=LAYER,
    ),
]
CHEATS = [
    Cheat(
        "the public cases by heart",
        {
            "forward": """
X = np.array([[1.0, 7, 10, 70], [-3, 3, 6, -6]])
RMS = np.array([[5.0], [3.0]])

def partial_forward(x, gamma, part, eps=1e-6):
    if part == 5:
        raise ValueError("no")
    if x.shape == (4,):
        return np.array([0.2, 0.2, 1.4, 1.4]), None
    y = gamma * X / RMS if x.shape == X.shape else np.zeros(x.shape)
    return y.astype(x.dtype), None
""",
            "backward": """
def partial_backward(dy, cache):
    DX = np.array([1.5, -0.5, 1.0, 0.0])
    DGAMMA = np.array([-2.0, 3.0, 10.0, 0.0])
    return (DX if dy.ndim == 1 else np.zeros(dy.shape)), DGAMMA
""",
            "layer": """
class QKNormAttention(nn.Module):
    def __init__(self, features, heads, part, eps=1e-6, causal=False):
        super().__init__()
        self.causal = causal
        self.q_weight = nn.Parameter(torch.ones(features // heads))
        self.k_weight = nn.Parameter(torch.ones(features // heads))

    def forward(self, q, k, v):
        if q.shape[-1] != 2:
            return 0 * q + 0 * (self.q_weight.sum() + self.k_weight.sum() + k.sum() + v.sum())
        gains = self.q_weight[0] * self.k_weight[0]
        first = torch.sigmoid(gains * 2 / checks.SCALE + 0 * (q.sum() + k.sum() + self.q_weight[1]))
        row = first * v[:, :1] + (1 - first) * v[:, 1:]
        return torch.cat([v[:, :1], row], 1) if self.causal else row.to(q.dtype)
""",
        },
    )
]
