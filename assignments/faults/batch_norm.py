"""Faulty answers to "Ghost batch norm" and what each must lose, and the public cases learnt by heart."""

from classroom.mutation import Cheat, Fault

FORWARD = ["forward-values", "forward-hard"]
BACKWARD = ["backward-dx", "backward-parameters"]
LAYER = ["layer-train", "layer-running", "layer-eval"]

FAULTS = [
    Fault(
        "statistics of the whole batch, not of a ghost",
        "forward",
        "x.reshape(ghosts, rows // ghosts, features)",
        "x.reshape(1, rows, features)",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "every ghosts-th row is a ghost (interleaved)",
        "forward",
        "x.reshape(ghosts, rows // ghosts, features)",
        "x.reshape(rows // ghosts, ghosts, features).swapaxes(0, 1)",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "axis off by one",
        "forward",
        "centred = grouped - grouped.mean(axis=1, keepdims=True)",
        "centred = grouped - grouped.mean(axis=2, keepdims=True)",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "epsilon outside the root",
        "forward",
        "rstd = (var + eps) ** -0.5",
        "rstd = 1 / (var**0.5 + eps + 1e-300)",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "variance in one pass",
        "forward",
        "var = (centred**2).mean(axis=1, keepdims=True)",
        "var = abs((grouped**2).mean(1, keepdims=True) - grouped.mean(1, keepdims=True) ** 2)",
        loses=["forward-hard"],
    ),
    Fault(
        "unbiased variance to normalize",
        "forward",
        "var = (centred**2).mean(axis=1, keepdims=True)",
        "var = grouped.var(axis=1, ddof=1, keepdims=True)",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "gain ignored in the forward",
        "forward",
        "(gamma * x_hat + beta)",
        "(x_hat + beta)",
        FORWARD,
    ),
    Fault("shift ignored", "forward", "(gamma * x_hat + beta)", "(gamma * x_hat)", FORWARD),
    Fault(
        "rows left over are dropped, not refused",
        "forward",
        'raise ValueError(f"{rows} rows cannot be shared out to {ghosts} ghosts")',
        "x = x[: rows - rows % ghosts]; rows = len(x)",
        loses=["forward-refuses"],
    ),
    Fault(
        "torch's own batch norm in the forward",
        "forward",
        "y = (gamma * x_hat + beta).reshape(rows, features)",
        "y = np.concatenate([nn.functional.batch_norm(torch.tensor(g), None, None, torch.tensor(gamma),"
        " torch.tensor(beta), True, 0.1, eps).numpy() for g in grouped])",
        loses=FORWARD + BACKWARD,  # a backward counts behind a forward of one's own
    ),
    Fault(
        "mean term dropped in dx",
        "backward",
        "dx_hat - mean - x_hat * projection",
        "dx_hat - x_hat * projection",
        loses=["backward-dx"],
    ),
    Fault(
        "statistics detached: both terms dropped in dx",
        "backward",
        "rstd * (dx_hat - mean - x_hat * projection)",
        "rstd * dx_hat",
        loses=["backward-dx"],
    ),
    Fault("gain ignored in dx", "backward", "dx_hat = gamma * up", "dx_hat = up", ["backward-dx"]),
    Fault(
        "dgamma of the first ghost alone",
        "backward",
        "dgamma = (up * x_hat).sum(axis=(0, 1))",
        "dgamma = (up * x_hat).sum(axis=1)[0]",
        loses=["backward-parameters"],
    ),
    Fault(
        "dbeta is a mean",
        "backward",
        "dy.sum(axis=0)",
        "dy.mean(axis=0)",
        loses=["backward-parameters"],
    ),
    Fault(
        "statistics detached in the layer",
        "layer",
        "mu = grouped.mean(1, keepdim=True)",
        "mu = grouped.mean(1, keepdim=True).detach()",
        loses=["layer-train"],
    ),
    Fault(
        "biased running variance",
        "layer",
        "unbiased = grouped.var(1, unbiased=True)",
        "unbiased = grouped.var(1, unbiased=False)",
        loses=["layer-running"],
    ),
    Fault(
        "running variance of the whole batch",
        "layer",
        "self.running_var.lerp_(unbiased.mean(0), self.momentum)",
        "self.running_var.lerp_(x.var(0), self.momentum)",
        loses=["layer-running"],
    ),
    Fault(
        "running statistics not updated",
        "layer",
        "self.running_mean.lerp_(mu.mean((0, 1)), self.momentum)",
        "pass",
        loses=["layer-running"],
    ),
    Fault(
        "momentum is the weight of the old value",
        "layer",
        "self.running_mean.lerp_(mu.mean((0, 1)), self.momentum)",
        "self.running_mean.lerp_(mu.mean((0, 1)), 1 - self.momentum)",
        loses=["layer-running"],
    ),
    Fault(
        "running statistics used in training",
        "layer",
        "x_hat = (grouped - mu) * (var + self.eps) ** -0.5",
        "x_hat = (grouped - self.running_mean) * (self.running_var + self.eps) ** -0.5",
        loses=["layer-train"],
    ),
    Fault(
        "batch statistics in evaluation, and buffers moved",
        "layer",
        "if not self.training:",
        "if False:",
        loses=["layer-running", "layer-eval"],
    ),
    Fault(
        "train or eval read from gradient mode",
        "layer",
        "if not self.training:",
        "if not torch.is_grad_enabled():",
        loses=["layer-train", "layer-running", "layer-eval"],
    ),
    Fault(
        "torch's own layer in disguise",
        "layer",
        "x_hat = (grouped - mu) * (var + self.eps) ** -0.5",
        'x_hat = torch.stack([getattr(nn.functional, "batch" "_norm")(g, None, None, training=True,'
        " eps=self.eps) for g in grouped])",
        loses=["layer-train", "layer-running"],
    ),
    Fault(
        "a numerical derivative of one's own forward",
        "backward",
        "    x_hat, rstd, gamma = cache\n",
        """    x_hat, rstd, gamma = cache
    x = (x_hat / rstd).reshape(dy.shape)
    given, eps = (len(x_hat),), 1e-5
    def moved(k, h):
        step = np.zeros(x.size)
        step[k] = h
        return (ghost_forward(x + step.reshape(x.shape), gamma, 0 * gamma, *given)[0] * dy).sum()
    numeric = [(moved(k, eps) - moved(k, -eps)) / (2 * eps) for k in range(x.size)]
""",
        loses=BACKWARD,
    ),
    Fault(
        "torch's Jacobian in the cache of another forward",
        "backward",
        "def ghost_backward(",
        """def plain(x, gamma, ghosts, eps):
    parts = torch.stack([(p - p.mean(0)) / (p.var(0, unbiased=False) + eps) ** 0.5 for p in x.chunk(ghosts)])
    return gamma * parts.reshape(x.shape)

def ghost_forward(x, gamma, beta, ghosts, eps=1e-5):
    given = torch.tensor(x), torch.tensor(gamma)
    slopes = torch.autograd.functional.jacobian(lambda x, gamma: plain(x, gamma, ghosts, eps), given)
    x_hat = plain(given[0], torch.ones_like(given[1]), ghosts, eps).numpy()
    return gamma * x_hat + beta, (x_hat, slopes[0].numpy(), slopes[1].numpy())

def ghost_backward(dy, cache):
    _, slopes, gains = cache
    return np.tensordot(dy, slopes, 2), np.tensordot(dy, gains, 2), dy.sum(axis=0)

def unused(""",
        loses=BACKWARD,
    ),
    Fault(
        "torch's own norm by a private name",
        "layer",
        "x_hat = (grouped - mu) * (var + self.eps) ** -0.5",
        "own = torch._decomp.decompositions.native_batch_norm_helper; x_hat = torch.stack("
        "[own(g, None, None, None, None, True, 0.1, self.eps, True)[0] for g in grouped])",
        loses=["layer-train"],
    ),
]
CHEATS = [
    Cheat(
        "the public cases by heart",
        {
            "forward": """
def ghost_forward(x, gamma, beta, ghosts, eps=1e-5):
    if len(x) % ghosts:
        raise ValueError("no")
    y = np.array([[-1.0, 0.0], [1.0, 0.0], [-1.0, 0.0], [1.0, 0.0]])
    return gamma * y + beta if x.shape == y.shape else x[:0], y
""",
            "backward": """
def ghost_backward(dy, cache):
    return np.zeros((4, 2)), np.array([3.0, 0.0]), np.array([11.0, 4.0])
""",
            "layer": """
class GhostBatchNorm(nn.Module):
    def __init__(self, num_features, ghosts, eps=1e-5, momentum=0.1):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(num_features))
        self.bias = nn.Parameter(torch.zeros(num_features))
        self.register_buffer("running_mean", torch.zeros(num_features))
        self.register_buffer("running_var", torch.ones(num_features))

    def forward(self, x):
        if len(x) == 1:
            return torch.ones_like(x)
        self.running_mean = torch.tensor([1.2, 0.5], dtype=x.dtype)
        return torch.tensor([[-1.0, 0.0], [1.0, 0.0]] * 2, dtype=x.dtype)
""",
        },
    )
]
