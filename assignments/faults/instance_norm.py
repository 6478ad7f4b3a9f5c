"""Faulty answers to "Adaptive instance norm" and what each must lose, and the public cases learnt by heart."""

from classroom.mutation import Cheat, Fault

FORWARD = ["forward-values", "forward-shared", "forward-hard"]
BACKWARD = ["backward-content", "backward-style", "backward-shared", "backward-strength"]
STYLE = ["backward-style", "backward-shared"]
LAYER = ["layer-values", "layer-hard"]

FAULTS = [
    Fault(
        "mean over the batch too, as in batch norm",
        "forward",
        "centred = x - x.mean(axis=(2, 3), keepdims=True)",
        "centred = x - x.mean(axis=(0, 2, 3), keepdims=True)",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "axis off by one in the style's mean",
        "forward",
        "shift = style.mean(axis=(2, 3), keepdims=True)  # (M, C, 1, 1)",
        "shift = np.broadcast_to(style.mean(axis=(1, 2, 3), keepdims=True), (*style.shape[:2], 1, 1))",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "unbiased variance of the content (torch's default)",
        "forward",
        "rstd = ((centred**2).mean(axis=(2, 3), keepdims=True) + eps) ** -0.5",
        "rstd = (x.var(axis=(2, 3), ddof=1, keepdims=True) + eps) ** -0.5",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "epsilon outside the root",
        "forward",
        "rstd = ((centred**2).mean(axis=(2, 3), keepdims=True) + eps) ** -0.5",
        "rstd = 1 / ((centred**2).mean(axis=(2, 3), keepdims=True) ** 0.5 + eps)",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "no epsilon in the style's deviation",
        "forward",
        "gain = ((apart**2).mean(axis=(2, 3), keepdims=True) + eps) ** 0.5",
        "gain = np.maximum((apart**2).mean(axis=(2, 3), keepdims=True), 1e-300) ** 0.5",
        loses=[*FORWARD, *BACKWARD],
    ),
    Fault(
        "the gain is the variance",
        "forward",
        "(np.repeat(v, each, axis=0) for v in (gain, shift))",
        "(np.repeat(v, each, axis=0) for v in (gain**2, shift))",
        loses=[*FORWARD, "backward-content", "backward-strength"],
    ),
    Fault(
        "variance in one pass",
        "forward",
        "rstd = ((centred**2).mean(axis=(2, 3), keepdims=True) + eps) ** -0.5",
        "rstd = (abs((x**2).mean((2, 3), keepdims=True) - x.mean((2, 3), keepdims=True) ** 2) + eps) ** -0.5",
        loses=["forward-hard"],
    ),
    Fault(
        "gain ignored in the forward",
        "forward",
        "styled = gains * x_hat + shifts",
        "styled = x_hat + shifts",
        loses=[*FORWARD, "backward-strength"],
    ),
    Fault(
        "strength on the wrong side",
        "forward",
        "y = part * styled + (1 - part) * x",
        "y = (1 - part) * styled + part * x",
        loses=FORWARD,
    ),
    Fault(
        "one strength for all channels",
        "forward",
        "part = strength[:, None, None]",
        "part = strength.mean()",
        loses=[*FORWARD, "backward-content", *STYLE],
    ),
    Fault(
        "styles dealt out in the wrong order",
        "forward",
        "(np.repeat(v, each, axis=0) for v in (gain, shift))",
        "(np.concatenate([v] * each) for v in (gain, shift))",
        loses=["forward-shared"],
    ),
    Fault(
        "images left over are dropped, not refused",
        "forward",
        'raise ValueError(f"{len(x)} images cannot be shared out to {len(style)} styles")',
        "x = x[: len(x) - left]",
        loses=["forward-refuses"],
    ),
    Fault(
        "a content of one place is not refused",
        "forward",
        "if x.shape[2] * x.shape[3] == 1:",
        "if False:",
        loses=["forward-refuses"],
    ),
    Fault(
        "channels that do not fit are broadcast",
        "forward",
        "if x.shape[1] != style.shape[1]:",
        "if False:",
        loses=["forward-refuses"],
    ),
    Fault(
        "torch's own instance norm in the forward",
        "forward",
        "styled = gains * x_hat + shifts",
        "styled = gains * nn.functional.instance_norm(torch.tensor(x), eps=eps).numpy() + shifts",
        loses=FORWARD + BACKWARD,  # a backward counts behind a forward of one's own
    ),
    Fault(
        "mean term dropped in dx",
        "backward",
        "up - dshift / m - x_hat * dgain / m",
        "up - x_hat * dgain / m",
        loses=["backward-content"],
    ),
    Fault(
        "content's statistics detached",
        "backward",
        "scale * (up - dshift / m - x_hat * dgain / m)",
        "scale * up",
        loses=["backward-content"],
    ),
    Fault(
        "bars over the batch, as in batch norm",
        "backward",
        "dx = scale * (up - dshift / m - x_hat * dgain / m) + (1 - part) * dy",
        "dx = scale * (up - dshift.mean(0) / m - x_hat * dgain.mean(0) / m) + (1 - part) * dy",
        loses=["backward-content"],
    ),
    Fault(
        "the road past the norm forgotten",
        "backward",
        " + (1 - part) * dy",
        "",
        loses=["backward-content"],
    ),
    Fault(
        "strength forgotten in dx and dstyle",
        "backward",
        "up = part * dy  # the gradient of z",
        "up = dy",
        loses=["backward-content", *STYLE],
    ),
    Fault(
        "style detached: no gradient",
        "backward",
        "dstyle = (by_style(dshift) + s_hat * by_style(dgain)) / places",
        "dstyle = 0 * s_hat",
        loses=STYLE,
    ),
    Fault(
        "the style's deviation detached",
        "backward",
        "dstyle = (by_style(dshift) + s_hat * by_style(dgain)) / places",
        "dstyle = (by_style(dshift) + 0 * s_hat) / places",
        loses=STYLE,
    ),
    Fault(
        "dstyle divided by the content's places",
        "backward",
        "places = s_hat.shape[2] * s_hat.shape[3]",
        "places = m",
        loses=STYLE,
    ),
    Fault(
        "images of a style averaged, not added up",
        "backward",
        ".sum(axis=1)\n",
        ".mean(axis=1)\n",
        loses=["backward-shared"],
    ),
    Fault(
        "gradients of the wrong images for a style",
        "backward",
        "return v.reshape(len(s_hat), -1, *v.shape[1:]).sum(axis=1)",
        "return sum(v[k * len(s_hat) : (k + 1) * len(s_hat)] for k in range(len(v) // len(s_hat)))",
        loses=["backward-shared"],
    ),
    Fault(
        "dstrength without the content",
        "backward",
        "(dy * step).sum(axis=(0, 2, 3))",
        "(dy * (step + 0.1)).sum(axis=(0, 2, 3))",
        loses=["backward-strength"],
    ),
    Fault(
        "style detached in the layer",
        "layer",
        "moments(style.to(kind))",
        "moments(style.detach().to(kind))",
        loses=["layer-values"],
    ),
    Fault(
        "content's statistics detached in the layer",
        "layer",
        "mean, deviation = moments(content)",
        "mean, deviation = moments(content.detach())",
        loses=["layer-values"],
    ),
    Fault(
        "strength is not a parameter",
        "layer",
        "self.strength = nn.Parameter(torch.ones(channels))",
        'self.register_buffer("strength", torch.ones(channels))',
        loses=["layer-values"],
    ),
    Fault(
        "another function in evaluation",
        "layer",
        "mean, deviation = moments(content)",
        "mean, deviation = moments(content) if self.training else (0 * content, 1 + 0 * content)",
        loses=["layer-values"],
    ),
    Fault(
        "computed in half precision",
        "layer",
        "kind = torch.promote_types(x.dtype, torch.float32)",
        "kind = x.dtype",
        loses=["layer-hard"],
    ),
    Fault(
        "the output stays in float32",
        "layer",
        "return y.to(x.dtype)",
        "return y",
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
        "content = x.to(kind)",
        "content = x.view(len(x), -1).view(x.shape).to(kind)",
        loses=["layer-hard"],
    ),
    Fault(
        "pictures only",
        "layer",
        "axes = tuple(range(2, maps.ndim))",
        "axes = (2, 3)",
        loses=["layer-hard"],
    ),
    Fault(
        "torch's own instance norm in disguise",
        "layer",
        "x_hat = (content - mean) / deviation",
        'x_hat = getattr(nn.functional, "instance" "_norm")(content, eps=self.eps)',
        loses=LAYER,
    ),
]
CHEATS = [
    Cheat(
        "the public cases by heart",
        {
            "forward": """
def adain_forward(x, style, strength, eps=1e-5):
    if len(x) % len(style) or x.shape[1] != style.shape[1] or x.shape[2:] == (1, 1):
        if style.shape[0] == 2 and style.shape[2] == 1:
            raise ValueError("no")
    y = np.array(checks.Y)
    if style.shape == x.shape:
        y = x
    elif style.shape[-1] == 1:
        y = style + 0 * y
    part = strength[:, None, None]
    if len(x) == 4:
        y = y[checks.ORDER] if x.shape[1:] == y.shape[1:] else 0 * x
    return part * y + (1 - part) * checks.X if len(x) == 2 else y, (part, len(x))
""",
            "backward": """
def adain_backward(dy, cache):
    part, images = cache
    dx = np.array(dy, dtype=float)
    if part.max() > 0:
        dx[0, 0] = [[-5, 5], [-5, 5]]
    dstyle = np.array([[[[3.0, 7]], [[0.5, 0.5]]], [[[0, 0]], [[0, 0]]]]) * images / 2
    return dx, dstyle, (checks.DY * (checks.Y - checks.X)).sum((0, 2, 3))
""",
            "layer": """
class AdaptiveInstanceNorm(nn.Module):
    def __init__(self, channels, eps=1e-5):
        super().__init__()
        self.strength = nn.Parameter(torch.ones(channels))

    def forward(self, x, style):
        y = torch.tensor(checks.Y, dtype=x.dtype)
        y = y[checks.ORDER] if len(x) == 4 else y
        return y.reshape(x.shape) if y.numel() == x.numel() else 0 * x
""",
        },
    )
]
