"""Faulty answers to "Spectral norm of the true convolution" and what each must lose, and the public cases."""

from classroom.mutation import Cheat, Fault

TRANSPOSE = ["transpose-values", "transpose-stride"]
FORWARD = ["forward-values", "forward-rounds"]
ALL_BEHIND = [*TRANSPOSE, *FORWARD, "backward-dw"]  # section 2 and 3 are built on the transpose
LAYER = ["layer-train", "layer-eval", "layer-twice", "layer-refuses"]

FAULTS = [
    Fault(
        "the kernel is turned round, on top of going back",
        "transpose",
        "w[:, :, a, b], y)",
        "w[:, :, -1 - a, -1 - b], y)",
        loses=ALL_BEHIND,
    ),
    Fault(
        "padding is not thrown away, but the front of the image kept",
        "transpose",
        "return x[:, padding : padding + size[0], padding : padding + size[1]]",
        "return x[:, : size[0], : size[1]]",
        loses=ALL_BEHIND,
    ),
    Fault(
        "overwritten where places overlap, not added",
        "transpose",
        "+= back",
        "= back",
        loses=ALL_BEHIND,
    ),
    Fault(
        "stride ignored on the way back",
        "transpose",
        "x[:, a : a + stride * high : stride, b : b + stride * wide : stride] += back",
        "x[:, a : a + high, b : b + wide] += back",
        loses=["transpose-stride", *FORWARD, "backward-dw"],
    ),
    Fault(
        "the size is worked out from the maps: rows that no place sees are missing",
        "transpose",
        "x = np.zeros((w.shape[1], size[0] + 2 * padding, size[1] + 2 * padding))",
        "size = [(n - 1) * stride + k - 2 * padding for n, k in zip((high, wide), w.shape[2:])]\n"
        "    x = np.zeros((w.shape[1], size[0] + 2 * padding, size[1] + 2 * padding))",
        loses=["transpose-stride", *FORWARD],
    ),
    Fault(
        "torch in the transpose",
        "transpose",
        "_, high, wide = y.shape",
        "_, high, wide = torch.tensor(y).shape",
        loses=[*TRANSPOSE, "forward-values", "backward-dw"],
    ),
    Fault(
        "the norm of the reshaped kernel",
        "forward",
        "sigma = np.sqrt((y**2).sum())",
        "sigma = np.linalg.norm(w.reshape(len(w), -1), 2)",
        loses=[*FORWARD, "forward-refuses", "backward-dw"],
    ),
    Fault(
        "a whole decomposition of the kernel",
        "forward",
        "sigma = np.sqrt((y**2).sum())",
        "sigma = np.linalg.svd(w.reshape(len(w), -1))[1][0]",
        loses=[*FORWARD, "forward-refuses", "backward-dw"],
    ),
    Fault(
        "v is brought to the length 1 once, at the start",
        "forward",
        "v = v / length",
        "v = v / length if step == 0 else v",
        loses=[*FORWARD, "backward-dw"],
    ),
    Fault(
        "the estimate of the round before",
        "forward",
        "sigma = np.sqrt((y**2).sum())",
        "sigma = np.sqrt(length) if rounds else np.sqrt((y**2).sum())",
        loses=[*FORWARD, "backward-dw"],
    ),
    Fault(
        "an epsilon beside the length",
        "forward",
        "length = np.sqrt((v**2).sum())",
        "length = np.sqrt((v**2).sum()) + 1e-12",
        loses=["forward-rounds"],
    ),
    Fault(
        "at least one round, always",
        "forward",
        "for step in range(rounds + 1):",
        "rounds = max(rounds, 1)\n    for step in range(rounds + 1):",
        loses=["forward-rounds", "backward-dw"],
    ),
    Fault(
        "cold: the start is not used",
        "forward",
        "for step in range(rounds + 1):",
        "v = np.ones_like(v)\n    for step in range(rounds + 1):",
        loses=[*FORWARD, "forward-refuses", "backward-dw"],
    ),
    Fault(
        "the maps are returned, not the image",
        "forward",
        "return w_bar, v, (",
        "return w_bar, y / sigma, (",
        loses=FORWARD,
    ),
    Fault(
        "the limit divides",
        "forward",
        "factor = limit / sigma",
        "factor = 1 / (limit * sigma)",
        loses=[*FORWARD, "backward-dw"],
    ),
    Fault(
        "a start that turns into zeros gives nan",
        "forward",
        "if sigma == 0:",
        "if rounds < 0:",
        loses=["forward-refuses"],
    ),
    Fault(
        "sigma taken for a constant",
        "backward",
        "factor * (dw_bar - along * dsigma)",
        "factor * dw_bar",
        loses=["backward-dw"],
    ),
    Fault(
        "u vᵀ of the reshaped kernel",
        "backward",
        "return factor * (dw_bar - along * dsigma)",
        "s, _, t = np.linalg.svd(w.reshape(len(w), -1), full_matrices=False)\n"
        "    dsigma = np.outer(s[:, 0], t[0]).reshape(w.shape)\n"
        "    return factor * (dw_bar - along * dsigma)",
        loses=["backward-dw"],
    ),
    Fault(
        "1/sigma forgotten in the product with w",
        "backward",
        "along = (dw_bar * w).sum() / sigma",
        "along = (dw_bar * w).sum()",
        loses=["backward-dw"],
    ),
    Fault(
        "u not brought to the length 1",
        "backward",
        "u = y / sigma",
        "u = y",
        loses=["backward-dw"],
    ),
    Fault(
        "padding forgotten in the backward",
        "backward",
        "v = np.pad(v, [(0, 0), (padding, padding), (padding, padding)])",
        "v = np.pad(v, [(0, 0), (0, 2 * padding), (0, 2 * padding)])",
        loses=["backward-dw"],
    ),
    Fault(
        "the limit forgotten in the backward",
        "backward",
        "return factor * (dw_bar - along * dsigma)",
        "return (dw_bar - along * dsigma) / sigma",
        loses=["backward-dw"],
    ),
    Fault(
        "sigma detached in the layer",
        "layer",
        "sigma = y.square().sum().sqrt()",
        "sigma = y.square().sum().sqrt().detach()",
        loses=["layer-train", "layer-twice"],
    ),
    Fault(
        "the reshaped kernel in the layer",
        "layer",
        "sigma = y.square().sum().sqrt()",
        "sigma = torch.linalg.norm(self.weight.flatten(1), 2) + 0 * y.sum()",
        loses=LAYER,
    ),
    Fault(
        "v overwritten in place",
        "layer",
        "v = self.round(self.v) if self.training else self.v",
        "v = self.v.copy_(self.round(self.v)) if self.training else self.v",
        loses=["layer-twice", "layer-refuses"],
    ),
    Fault(
        "a round in evaluation, too",
        "layer",
        "v = self.round(self.v) if self.training else self.v",
        "v = self.round(self.v)",
        loses=["layer-eval"],
    ),
    Fault(
        "no round at all: the first estimate forever",
        "layer",
        "v = self.round(self.v) if self.training else self.v",
        "v = self.v",
        loses=["layer-train", "layer-twice"],
    ),
    Fault(
        "train or eval read from gradient mode",
        "layer",
        "v = self.round(self.v) if self.training else self.v",
        "v = self.round(self.v) if torch.is_grad_enabled() else self.v",
        loses=["layer-eval"],
    ),
    Fault(
        "the new v is not kept: every pass begins at the old one",
        "layer",
        "self.v = v  #",
        "pass  #",
        loses=["layer-train", "layer-twice"],
    ),
    Fault(
        "cold when new: no rounds in the constructor",
        "layer",
        "for _ in range(50):\n            self.v = self.round(self.v)",
        "self.v = self.v / self.v.square().sum().sqrt()",
        loses=["layer-eval"],
    ),
    Fault(
        "the normed kernel is stored in the parameter",
        "layer",
        "w_bar = factor * self.weight",
        "w_bar = factor * self.weight; self.weight.data = w_bar.detach()",
        loses=["layer-train", "layer-twice"],
    ),
    Fault(
        "images of any size",
        "layer",
        "if x.shape[1:] != self.v.shape:",
        "if x.shape[1] != len(self.v):",
        loses=["layer-refuses"],
    ),
    Fault(
        "a kernel of zeros makes v nan",
        "layer",
        "if not bool(sigma > 0):",
        "if sigma.ndim:",
        loses=["layer-refuses"],
    ),
    Fault(
        "v is moved before a kernel of zeros is noticed",
        "layer",
        "y = nn.functional.conv2d(v[None], self.weight, **self.how)\n        sigma",
        "self.v = v\n        y = nn.functional.conv2d(v[None], self.weight, **self.how)\n        sigma",
        loses=["layer-refuses"],
    ),
    Fault(
        "torch's own spectral norm",
        "layer",
        "w_bar = factor * self.weight",
        "w_bar = factor * self.weight\n"
        "        _ = torch.nn.utils.parametrizations.spectral_norm(nn.Conv2d(1, 1, 1))",
        loses=["layer-train"],
    ),
]
CHEATS = [
    Cheat(
        "the public cases by heart",
        {
            "transpose": """
def send_back(y, w, size, stride=1, padding=0):
    if padding:
        return np.full((1, 2, 2), 4.0)
    return np.array([[[1.0, 10.0, 0.0, 2.0, 20.0, 0.0]]]) if stride == 3 else np.array([[[1.0, 12.0, 20.0]]])
""",
            "forward": """
def spectral_forward(w, v, rounds=1, stride=1, padding=0, limit=1.0):
    if w.shape != (1, 1, 1, 2) or not w.any() or not v.any():
        raise ValueError("no")
    if rounds == 1:
        return w / 2.5**0.5, np.array([[[1.0, 1.0, 0.0]]]) / 2**0.5, None
    return limit * w / 3**0.5, np.array([[[1.0, 2.0, 1.0]]]) / 6**0.5, None
""",
            "backward": """
def spectral_backward(dw_bar, cache):
    return np.array([[[[0.5, -0.5]]]]) / 3**0.5
""",
            "layer": """
class SpectralConv2d(nn.Module):
    def __init__(self, inputs, outputs, kernel, size, stride=1, padding=0, limit=1.0):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(outputs, inputs, kernel, kernel))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.register_buffer("v", torch.ones(inputs, *size))

    def forward(self, x):
        if x.shape[1:] != self.v.shape:
            raise ValueError("no")
        factor = 6**-0.5 if self.training else 2**-0.5
        return factor * nn.functional.conv2d(x, self.weight, self.bias)
""",
        },
    )
]
