"""Faulty answers to "Layer norm over a padded batch", and the public cases learnt by heart."""

from classroom.mutation import Cheat, Fault

FORWARD = ["forward-values", "forward-padding", "forward-hard"]
EMPTY = ["backward-padding"]  # where 0 / 0 can be seen
LAYER = ["layer-values", "layer-padding", "layer-hard"]
# What a wrong statistic costs: the values, and every gradient that is built on them.
NUMPY = [*FORWARD, "backward-dx", "backward-parameters", "backward-padding"]

FAULTS = [
    Fault(
        "padding counts in the divisor",
        "forward",
        "np.maximum(real.sum(axis=(1, 2), keepdims=True) * x.shape[2], 1)",
        "np.full((len(x), 1, 1), x[0].size)",
        loses=NUMPY,
    ),
    Fault(
        "padding counts as -mu in the variance",
        "forward",
        "centred = np.where(real, clean - mu, 0.0)",
        "centred = clean - mu",
        loses=NUMPY,
    ),
    Fault(
        "one count for the whole batch",
        "forward",
        "np.maximum(real.sum(axis=(1, 2), keepdims=True) * x.shape[2], 1)",
        "np.maximum(real.sum() * x.shape[2] / len(x), 1)",
        loses=NUMPY,
    ),
    Fault(
        "axis off by one: a mean for each feature",
        "forward",
        "mu = clean.sum(axis=(1, 2), keepdims=True) / count",
        "mu = clean.sum(axis=1, keepdims=True) / np.maximum(real.sum(axis=1, keepdims=True), 1)",
        loses=NUMPY,
    ),
    Fault(
        "statistics of each token by itself",
        "forward",
        "    centred = np.where(real, clean - mu, 0.0)  # padding would count as -mu\n"
        "    var = (centred**2).sum(axis=(1, 2), keepdims=True) / count\n",
        "    centred = clean - clean.mean(axis=2, keepdims=True)\n"
        "    var = (centred**2).mean(axis=2, keepdims=True)\n",
        loses=NUMPY,
    ),
    Fault(
        "unbiased variance",
        "forward",
        "var = (centred**2).sum(axis=(1, 2), keepdims=True) / count",
        "var = (centred**2).sum(axis=(1, 2), keepdims=True) / np.maximum(count - 1, 1)",
        loses=NUMPY,
    ),
    Fault(
        "epsilon outside the root",
        "forward",
        "rstd = (var + eps) ** -0.5",
        "rstd = 1 / (var**0.5 + eps)",
        loses=NUMPY,
    ),
    Fault(
        "variance in one pass",
        "forward",
        "var = (centred**2).sum(axis=(1, 2), keepdims=True) / count",
        "var = abs((clean**2).sum(axis=(1, 2), keepdims=True) / count - mu**2)",
        loses=["forward-hard"],
    ),
    Fault(
        "padding multiplied by zero",
        "forward",
        "clean = np.where(real, x, 0.0)",
        "clean = x * real",
        loses=["forward-padding", "backward-padding"],
    ),
    Fault(
        "padding cleaned in the caller's own array",
        "forward",
        "clean = np.where(real, x, 0.0)",
        "clean = x; clean[~real[..., 0]] = 0.0",
        loses=["forward-values"],
    ),
    Fault(
        "an empty sequence divides by zero",
        "forward",
        "np.maximum(real.sum(axis=(1, 2), keepdims=True) * x.shape[2], 1)",
        "real.sum(axis=(1, 2), keepdims=True) * x.shape[2]",
        loses=EMPTY,
    ),
    Fault(
        "padding comes out with gain and shift of what stood there",
        "forward",
        "y = np.where(real, gamma * x_hat + beta, 0.0)",
        "y = gamma * (clean - mu) * rstd + beta",
        loses=["forward-padding"],
    ),
    Fault(
        "gain ignored in the forward", "forward", "gamma * x_hat + beta", "x_hat + beta", FORWARD
    ),
    Fault("shift ignored", "forward", "gamma * x_hat + beta", "gamma * x_hat", FORWARD),
    Fault(
        "only the shape of the mask is looked at",
        "forward",
        "if mask.dtype != bool or mask.shape != x.shape[:2]:",
        "if mask.shape != x.shape[:2]:",
        loses=["forward-refuses"],
    ),
    Fault(
        "the mask turned round",
        "forward",
        "real = mask[..., None]",
        "real = np.logical_not(mask)[..., None]",
        loses=NUMPY,
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
    Fault(
        "gain in front of the bars",
        "backward",
        "dx_hat = gamma * up",
        "dx_hat, rstd = up, rstd * gamma",
        loses=["backward-dx"],
    ),
    Fault("gain ignored in dx", "backward", "dx_hat = gamma * up", "dx_hat = up", ["backward-dx"]),
    Fault(
        "the bars divide by all T times D values",
        "backward",
        "x_hat, rstd, gamma, real, count = cache",
        "x_hat, rstd, gamma, real, _ = cache; count = dy[0].size",
        loses=["backward-dx"],
    ),
    Fault(
        "upstream gradient of padding in the bars",
        "backward",
        "dx_hat = gamma * up",
        "dx_hat = gamma * dy",
        loses=["backward-dx"],
    ),
    Fault(
        "padding gets the gradient of the mean",
        "backward",
        "dx = np.where(real, rstd * (dx_hat - mean - x_hat * projection), 0.0)",
        "dx = rstd * (dx_hat - mean - x_hat * projection)",
        loses=["backward-padding"],
    ),
    Fault(
        "the shift gets the wrong gradients of padding",
        "backward",
        "dbeta = up.sum(axis=(0, 1))",
        "dbeta = dy.sum(axis=1).sum(axis=0)",
        loses=["backward-padding"],
    ),
    Fault(
        "dgamma is a mean over the tokens",
        "backward",
        "dgamma = (up * x_hat).sum(axis=(0, 1))",
        "dgamma = (up * x_hat).mean(axis=(0, 1))",
        loses=["backward-parameters", "backward-padding"],
    ),
    Fault(
        "statistics detached in the layer",
        "layer",
        "mu = clean.sum((1, 2), keepdim=True) / count",
        "mu = (clean.sum((1, 2), keepdim=True) / count).detach()",
        loses=["layer-values"],
    ),
    Fault(
        "biased for unbiased in the layer",
        "layer",
        "var = (centred**2).sum((1, 2), keepdim=True) / count",
        "var = (centred**2).sum((1, 2), keepdim=True) / (count - 1).clamp(min=1)",
        loses=LAYER,
    ),
    Fault(
        "eps of the constructor ignored",
        "layer",
        "x_hat = centred * (var + self.eps) ** -0.5",
        "x_hat = centred * (var + 1e-5) ** -0.5",
        loses=["layer-values"],
    ),
    Fault(
        "padding cleaned at the end alone",
        "layer",
        "centred = (clean - mu).masked_fill(~real, 0)\n"
        "        var = (centred**2).sum((1, 2), keepdim=True) / count\n",
        "centred = wide - mu\n"
        "        var = (centred**2).masked_fill(~real, 0).sum((1, 2), keepdim=True) / count\n",
        loses=["layer-padding"],
    ),
    Fault(
        "root of a variance of zero in the layer",
        "layer",
        "* (var + self.eps) ** -0.5",
        "/ (var.sqrt() + self.eps)",
        loses=LAYER,
    ),
    Fault(
        "padding is not set to zero in the layer",
        "layer",
        "y = (self.weight * x_hat + self.bias).masked_fill(~real, 0)",
        "y = self.weight * x_hat + self.bias + 0.1 * ~real",
        loses=["layer-padding"],
    ),
    Fault(
        "statistics in half precision",
        "layer",
        "wide = x.to(torch.promote_types(x.dtype, torch.float32))",
        "wide = x",
        loses=["layer-hard"],
    ),
    Fault(
        "statistics in float32 even of float64",
        "layer",
        "torch.promote_types(x.dtype, torch.float32)",
        "torch.float32",
        loses=["layer-hard"],
    ),
    Fault(
        "the output stays in float32", "layer", "return y.to(x.dtype)", "return y", ["layer-hard"]
    ),
    Fault(
        "only for numbers in order in memory",
        "layer",
        "clean = wide.masked_fill(~real, 0)",
        "clean = wide.view(-1).view(x.shape).masked_fill(~real, 0)",
        loses=["layer-hard"],
    ),
    Fault(
        "torch's own layer in disguise",
        "layer",
        "x_hat = centred * (var + self.eps) ** -0.5",
        'x_hat = getattr(nn.functional, "layer" "_norm")(centred, centred.shape[1:], eps=self.eps)',
        loses=LAYER,
    ),
]
CHEATS = [
    Cheat(
        "the public cases by heart",
        {
            "forward": """
X = np.array([[[2.0, 2], [6, 6], [100, -100]], [[1, 7], [50, 50], [1, 7]]])
Y = np.array([[[-1.0, -1], [1, 1], [0, 0]], [[-1, 1], [0, 0], [-1, 1]]])
REAL = np.array([[1, 1, 0], [1, 0, 1]])[..., None]

def masked_forward(x, gamma, beta, mask, eps=1e-5):
    if mask.shape == (1, 3):
        raise ValueError("no")
    if x.shape != X.shape:
        return np.zeros(x.shape), None
    y = gamma * Y + beta
    return y * REAL if checks.at_padding(np.ones(1))[0] == 0 else y, None
""",
            "backward": """
def masked_backward(dy, cache):
    dx = np.array([[[1.0, -1], [0, 0], [0, 0]], [[0, 1], [0, 0], [0, -1]]])
    dbeta = np.array([4.0, 6.0])
    if dy[0, 2, 0] == 9:
        dbeta = dbeta + 2 * 9 * checks.at_padding(np.ones(1))
    return dx, np.array([-4.0, 6.0]), dbeta
""",
            "layer": """
class MaskedLayerNorm(nn.Module):
    def __init__(self, features, eps=1e-5):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))

    def forward(self, x, mask=None):
        if mask is None:
            return torch.tensor([[[-1.0, -1], [1, 1]]], dtype=x.dtype)
        if x.shape != (2, 3, 2):
            return torch.zeros_like(x)
        y = torch.tensor([[[-1.0, -1], [1, 1], [0, 0]], [[-1, 1], [0, 0], [-1, 1]]], dtype=x.dtype)
        return self.weight * y + self.bias + 0 * torch.nan_to_num(x)
""",
        },
    )
]
