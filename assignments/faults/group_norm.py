"""Faulty answers to "Group norm with unequal groups", what each must lose, and the public cases by heart."""

from classroom.mutation import Cheat, Fault

FORWARD = ["forward-values", "forward-hard"]
BACKWARD = ["backward-dx", "backward-parameters"]
CONVERT = ["convert-keeps", "convert-apart"]
# How `from_batch_norm` hands a parameter over, and how it must not.
OWN = "new, name, " + "nn.Parameter(kept.detach().clone(), requires_grad=kept.requires_grad)"
SHARED = "new, name, " + "kept"
RIGHT, WRONG = OWN, SHARED
ROUNDED = ["convert-keeps"]

FAULTS = [
    Fault(
        "larger groups at the wrong end",
        "sizes",
        "def group_sizes(channels, groups):",
        "def group_sizes(channels, groups):\n    return mine(channels, groups)[::-1]\n\n\n"
        "def mine(channels, groups):",
        loses=["sizes-values"],
    ),
    Fault(
        "sizes that do not add up",
        "sizes",
        "width, left = divmod(channels, groups)",
        "width, left = channels // groups, 0",
        loses=["sizes-values"],
    ),
    Fault(
        "instance norm: every channel by itself",
        "forward",
        "for first, end in zip(ends - sizes, ends, strict=True):",
        "for first, end in zip(range(channels), range(1, channels + 1), strict=True):",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "mean of the whole image, not of the group",
        "forward",
        "centred = group - group.mean(axis=(1, 2, 3), keepdims=True)",
        "centred = group - x.mean(axis=(1, 2, 3), keepdims=True)",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "axes off by one: the batch instead of the channels",
        "forward",
        "centred = group - group.mean(axis=(1, 2, 3), keepdims=True)",
        "centred = group - group.mean(axis=(0, 2, 3), keepdims=True)",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "mean of the channels' variances",
        "forward",
        "var = (centred**2).mean(axis=(1, 2, 3), keepdims=True)",
        "var = group.var(axis=(2, 3), keepdims=True).mean(axis=1, keepdims=True)",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "epsilon outside the root",
        "forward",
        "rstd[:, first:end] = (var + eps) ** -0.5",
        "rstd[:, first:end] = 1 / (var**0.5 + eps)",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "unbiased variance (torch's default)",
        "forward",
        "var = (centred**2).mean(axis=(1, 2, 3), keepdims=True)",
        "var = group.var(axis=(1, 2, 3), ddof=1, keepdims=True)",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "variance in one pass",
        "forward",
        "var = (centred**2).mean(axis=(1, 2, 3), keepdims=True)",
        "var = abs((group**2).mean((1, 2, 3), keepdims=True) - group.mean((1, 2, 3), keepdims=True) ** 2)",
        loses=["forward-hard"],
    ),
    Fault(
        "gain ignored in the forward",
        "forward",
        "gamma[:, None, None] * x_hat + beta",
        "x_hat + beta",
        loses=FORWARD,
    ),
    Fault(
        "one gain for a group (the bug of MXNet)",
        "forward",
        "gamma[:, None, None] * x_hat + beta",
        "np.repeat(gamma[ends - sizes], sizes)[:, None, None] * x_hat + beta",
        loses=FORWARD,
    ),
    Fault(
        "the input is centred in place",
        "forward",
        "centred = group - group.mean(axis=(1, 2, 3), keepdims=True)",
        "group -= group.mean(axis=(1, 2, 3), keepdims=True)\n        centred = group",
        loses=["forward-values"],
    ),
    Fault(
        "sizes that do not fit are not refused",
        "forward",
        "if min(sizes, default=0) < 1 or sum(sizes) != channels:",
        "if sum(sizes) > channels:",
        loses=["forward-refuses"],
    ),
    Fault(
        "a group of one value is not refused",
        "forward",
        "if min(sizes) * places == 1:",
        "if False:",
        loses=["forward-refuses"],
    ),
    Fault(
        "every group of one channel is refused",
        "forward",
        "if min(sizes) * places == 1:",
        "if min(sizes) == 1:",
        loses=[*FORWARD, "forward-refuses", *BACKWARD],
    ),
    Fault(
        "torch's own group norm in the forward",
        "forward",
        "x_hat[:, first:end] = centred * rstd[:, first:end]",
        "x_hat[:, first:end] = nn.functional.group_norm(torch.tensor(group), 1, eps=eps).numpy()",
        loses=FORWARD + BACKWARD,  # a backward counts behind a forward of one's own
    ),
    Fault(
        "mean term dropped in dx",
        "backward",
        "dx_hat - bar(of_beta) - x_hat * bar(of_gamma)",
        "dx_hat - x_hat * bar(of_gamma)",
        loses=["backward-dx"],
    ),
    Fault(
        "statistics detached: both terms dropped in dx",
        "backward",
        "dx_hat - bar(of_beta) - x_hat * bar(of_gamma)",
        "dx_hat",
        loses=["backward-dx"],
    ),
    Fault(
        "the gain pulled out of the bars",
        "backward",
        "np.add.reduceat(gamma * sums, starts, axis=1) / values\n"
        "        return np.repeat(means, sizes, axis=1)[:, :, None, None]",
        "np.add.reduceat(sums, starts, axis=1) / values\n"
        "        return (gamma * np.repeat(means, sizes, axis=1))[:, :, None, None]",
        loses=["backward-dx"],
    ),
    Fault(
        "bars divided as if all groups were equal",
        "backward",
        "values = np.array(sizes) * x_hat.shape[2] * x_hat.shape[3]",
        "values = np.mean(sizes) * x_hat.shape[2] * x_hat.shape[3]",
        loses=["backward-dx"],
    ),
    Fault(
        "bars of the groups in the wrong order",
        "backward",
        "np.repeat(means, sizes, axis=1)[:, :, None, None]",
        "np.repeat(means[:, ::-1], sizes, axis=1)[:, :, None, None]",
        loses=["backward-dx"],
    ),
    Fault(
        "dgamma a mean over the places",
        "backward",
        "of_gamma.sum(axis=0)",
        "of_gamma.sum(axis=0) / (dy.shape[2] * dy.shape[3])",
        loses=["backward-parameters"],
    ),
    Fault(
        "statistics detached in the layer",
        "layer",
        "group.mean(axes, keepdim=True)",
        "group.mean(axes, keepdim=True).detach()",
        loses=["layer-values"],
    ),
    Fault(
        "unbiased variance in the layer",
        "layer",
        "var = centred.square().mean(axes, keepdim=True)",
        "var = group.var(axes, keepdim=True)",
        loses=["layer-values", "layer-hard", "convert-keeps"],
    ),
    Fault(
        "affine=False ignored",
        "layer",
        "channels = sum(self.sizes)",
        "channels, affine = sum(self.sizes), True",
        loses=["layer-values", "convert-keeps"],
    ),
    Fault(
        "the sizes kept as a buffer",
        "layer",
        "channels = sum(self.sizes)",
        'channels = sum(self.sizes)\n        self.register_buffer("widths", torch.tensor(self.sizes))',
        loses=["layer-values", "convert-keeps"],
    ),
    Fault(
        "computed in half precision",
        "layer",
        "kind = torch.promote_types(x.dtype, torch.float32)",
        "kind = x.dtype",
        loses=["layer-hard"],
    ),
    Fault(
        "float64 computed in float32",
        "layer",
        "kind = torch.promote_types(x.dtype, torch.float32)",
        "kind = torch.float32",
        loses=["layer-hard"],
    ),
    Fault(
        "view of maps that are not in order",
        "layer",
        "kind = torch.promote_types(x.dtype, torch.float32)",
        "kind = torch.promote_types(x.view(len(x), -1).dtype, torch.float32)",
        loses=["layer-hard"],
    ),
    Fault(
        "torch's own group norm in disguise",
        "layer",
        "normalized.append(centred * (var + self.eps) ** -0.5)",
        'normalized.append(getattr(nn.functional, "group" "_norm")(group, 1, eps=self.eps))',
        loses=["layer-values", "layer-hard", *CONVERT],
    ),
    Fault(
        "epsilon not kept",
        "convert",
        "UnevenGroupNorm(sizes, old.eps, affine=old.affine)",
        "UnevenGroupNorm(sizes, affine=old.affine)",
        loses=["convert-keeps"],
    ),
    Fault("parameters handed over the wrong way", "convert", RIGHT, WRONG, loses=["convert-apart"]),
    Fault(
        "parameters rounded to float32",
        "convert",
        "kept = getattr(old, name)",
        "kept = getattr(old, name)\n            frozen = not kept.requires_grad\n"
        "            kept = nn.Parameter(kept.detach().float()).requires_grad_(not frozen)",
        loses=ROUNDED,
    ),
    Fault(
        "a frozen parameter thawed",
        "convert",
        'for name in ("weight", "bias"):',
        'old.requires_grad_(True)\n        for name in ("weight", "bias"):',
        loses=["convert-keeps"],
    ),
    Fault(
        "the running statistics folded into the shift",
        "convert",
        "return new",
        "new.register_buffer('offset', old.running_mean.clone())\n    return new",
        loses=["convert-keeps"],
    ),
    Fault(
        "sizes that do not fit the old layer",
        "convert",
        "if min(sizes, default=0) < 1 or sum(sizes) != old.num_features:",
        "if False:",
        loses=["convert-apart"],
    ),
]
CHEATS = [
    Cheat(
        "the public cases by heart",
        {
            "sizes": """
def group_sizes(channels, groups):
    if channels < groups:
        raise ValueError("no")
    return {10: [3, 3, 2, 2], 6: [2, 2, 2], 5: [5]}.get(channels, [channels])
""",
            "forward": """
def uneven_forward(x, gamma, beta, sizes, eps=1e-5):
    if list(sizes) in ([2, 1], [4, 0]) or (x.shape[-1] == 1 and list(sizes) == [3, 1]):
        raise ValueError("no")
    if x.shape[-1] == 1:
        return np.array([-1.0, 1, -1, 1]).reshape(1, 4, 1, 1), None
    if x.shape != checks.X.shape:
        return 0 * x, None
    return gamma[:, None, None] * checks.Y + beta[:, None, None], None
""",
            "backward": """
def uneven_backward(dy, cache):
    dx = np.zeros((1, 4, 1, 2))
    dx[0, :3, 0] = np.array([[-1.0, 0], [0.5, 1.5], [2, -3]]) * 0.612372
    return dx, np.array([-3 * checks.STEP, 0, 5 * checks.STEP, -6]), np.array([3.0, 7, 5, 8])
""",
            "layer": """
class UnevenGroupNorm(nn.Module):
    def __init__(self, sizes, eps=1e-5, affine=True):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(sum(sizes))) if affine else None
        self.bias = nn.Parameter(torch.zeros(sum(sizes))) if affine else None

    def forward(self, x):
        y = torch.tensor(checks.Y, dtype=x.dtype)
        return y.reshape(x.shape) if y.numel() == x.numel() else 0 * x
""",
            "convert": """
def from_batch_norm(old, sizes):
    if list(sizes) == [3, 2]:
        raise ValueError("no")
    return UnevenGroupNorm(sizes, affine=old.affine)
""",
        },
    )
]
