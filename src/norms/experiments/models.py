"""Small networks that train many copies at once: one copy a seed and learning rate.

A copy is an independent network. The copies of a layer share one tensor with a leading factor
R, so that one matrix product or one grouped convolution trains all of them; their weights,
batches and statistics never mix. Copies with the same seed start from the same weights in
every arm of an experiment.
"""

import math

import torch
from torch import nn
from torch.nn import functional as F

from norms import BatchNorm1d, BatchNorm2d
from norms.moments import StandardizeAffine, moments

__all__ = [
    "ACTIVATIONS",
    "CNN",
    "MLP",
    "NORMS",
    "Conv",
    "DetachedNorm",
    "DriftingNoise",
    "Linear",
    "MicroBatchNorm1d",
    "MicroBatchNorm2d",
    "Norm",
    "noisy_norm",
]


class _MicroBatchNorm:
    """Take the statistics of a training batch over parts of it, of so many samples each.

    One pass over a batch then equals one pass for each part and adding up their gradients, as
    when memory is short or when the parts are on different machines; it is only faster. The
    running statistics move towards the mean of the parts' statistics, once a batch. Statistics
    that are re-estimated (``momentum=None``) are those of the whole batch.
    """

    def __init__(self, num_features, micro_batch, **options):
        super().__init__(num_features, **options)
        self.micro_batch = micro_batch

    def forward(self, x):
        if not self.training or self.momentum is None:
            return super().forward(x)
        if len(x) % self.micro_batch:
            raise ValueError(
                f"a batch of {len(x)} cannot be cut into micro-batches of {self.micro_batch}: "
                "choose a batch size that is a multiple"
            )
        parts = x.view(-1, self.micro_batch, *x.shape[1:])  # (K, m, C, *)
        self._check(parts[0], True)
        axes = (1, *range(3, parts.dim()))
        gain, shift = (p.view(-1, *[1] * (x.dim() - 2)) for p in (self.weight, self.bias))
        y, mu, var = StandardizeAffine.apply(parts, gain, shift, axes, self.eps)
        count = parts[0].numel() // self.num_features
        with torch.no_grad():
            self.running_mean.lerp_(mu.mean(0).flatten(), self.momentum)
            self.running_var.lerp_(var.mean(0).flatten() * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        return y.view(x.shape)


class MicroBatchNorm1d(_MicroBatchNorm, BatchNorm1d):
    """Batch norm of (N, C) with statistics over ``micro_batch`` samples each."""


class MicroBatchNorm2d(_MicroBatchNorm, BatchNorm2d):
    """Batch norm of (N, C, H, W) with statistics over ``micro_batch`` samples each."""


def _batch_norm(whole, parts):
    def make(copies, channels, micro_batch=None, **options):
        if micro_batch is None:
            return whole(copies * channels, **options)
        return parts(copies * channels, micro_batch, **options)

    return make


# What stands between a layer and its activation. The same keys name the colours of the book.
# Each entry makes the norm of R copies with C channels, which sees them as R * C channels:
# "features" of shape (N, R*C), "maps" of shape (N, R*C, H, W). Batch norm's option
# ``micro_batch`` takes the statistics over parts of the batch.
NORMS = {
    "none": None,
    "batch": {
        "features": _batch_norm(BatchNorm1d, MicroBatchNorm1d),
        "maps": _batch_norm(BatchNorm2d, MicroBatchNorm2d),
    },
}

ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}
GAINS = {"relu": math.sqrt(2), "sigmoid": 1.0, "tanh": 1.0}


class Linear(nn.Module):
    """R linear layers at once: (R, N, inputs) to (R, N, outputs).

    Args:
        inputs: size of the input features.
        outputs: size of the output features.
        generators: one ``torch.Generator`` a copy; the weights are drawn from it with
            standard deviation ``gain / sqrt(inputs)``, the bias is zero.
        gain: the factor of the initial weights.
    """

    def __init__(self, inputs, outputs, generators, gain=1.0):
        super().__init__()
        draws = [torch.randn(inputs, outputs, generator=g) for g in generators]
        self.weight = nn.Parameter(torch.stack(draws) * gain / math.sqrt(inputs))
        self.bias = nn.Parameter(torch.zeros(len(draws), 1, outputs))

    def forward(self, x):
        return torch.baddbmm(self.bias, x, self.weight)


class Conv(nn.Module):
    """R convolutions 3x3 at once: (N, R*inputs, H, W) to (N, R*outputs, H/stride, W/stride).

    Args:
        inputs: channels of a copy's input.
        outputs: channels of a copy's output.
        generators: one ``torch.Generator`` a copy; the weights are drawn from it with
            standard deviation ``gain / sqrt(9 * inputs)``, the bias is zero.
        gain: the factor of the initial weights.
        stride: of the convolution; sizes that do not divide are rounded up.
    """

    def __init__(self, inputs, outputs, generators, gain=1.0, stride=1):
        super().__init__()
        draws = [torch.randn(outputs, inputs, 3, 3, generator=g) for g in generators]
        self.copies, self.stride = len(draws), stride
        self.weight = nn.Parameter(torch.cat(draws) * gain / math.sqrt(9 * inputs))
        self.bias = nn.Parameter(torch.zeros(len(draws) * outputs))

    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, self.stride, padding=1, groups=self.copies)


class Norm(nn.Module):
    """One norm for R copies: to it their channels are R times as many channels.

    Args:
        norm: a key of :data:`NORMS`, or a function like its entries, for a layer of your own:
            ``norm(copies, channels, **options)`` returns a module on (N, R*C, \\*).
        copies: R.
        channels: C, of one copy.
        maps: False for features (R, N, C), True for maps (N, R*C, H, W); in and out.
        **options: passed to the norm.
    """

    def __init__(self, norm, copies, channels, maps=False, **options):
        super().__init__()
        make = norm if callable(norm) else NORMS[norm]["maps" if maps else "features"]
        self.layer, self.maps = make(copies, channels, **options), maps

    def forward(self, x):
        if self.maps:
            return self.layer(x)
        copies, n, channels = x.shape
        flat = x.transpose(0, 1).reshape(n, copies * channels)
        return self.layer(flat).view(n, copies, channels).transpose(0, 1)


class MLP(nn.Module):
    """R fully connected classifiers at once: ``depth`` hidden layers of one width.

    Args:
        norm: a key of :data:`NORMS` or a function, see :class:`Norm`; placed between each
            hidden layer and its activation.
        depth: number of hidden layers.
        width: their size.
        seeds: one integer a copy: the seed of its initial weights.
        activation: a key of :data:`ACTIVATIONS`.
        inputs: size of the flattened image.
        gain: factor on the initial weights of the hidden layers, on top of
            ``sqrt(2 / inputs)`` for relu and ``sqrt(1 / inputs)`` otherwise.
        classes: number of outputs.
        **options: passed to the norm.
    """

    def __init__(
        self,
        norm,
        depth,
        width,
        seeds,
        activation="relu",
        inputs=64,
        gain=1.0,
        classes=10,
        **options,
    ):
        super().__init__()
        generators = _generators(seeds)
        self.copies = len(generators)
        self.activation = ACTIVATIONS[activation]
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        for fan_in in [inputs] + [width] * (depth - 1):
            self.layers.append(Linear(fan_in, width, generators, gain * GAINS[activation]))
            plain = norm == "none"
            self.norms.append(nn.Identity() if plain else Norm(norm, self.copies, width, **options))
        self.head = Linear(width, classes, generators)

    def forward(self, x):
        """Map images (R, N, 1, H, W) to logits (R, N, classes)."""
        x = x.flatten(2)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.activation(norm(layer(x)))
        return self.head(x)


class CNN(nn.Module):
    """R convolutional classifiers at once: 3x3 convolutions, each with norm and activation.

    Args:
        norm: a key of :data:`NORMS` or a function, see :class:`Norm`; placed between each
            convolution and its activation.
        channels: of each convolution.
        strides: of each convolution; they decide how large the last maps are.
        seeds: one integer a copy: the seed of its initial weights.
        head: "flatten" gives the last linear layer every position, "pool" their mean.
        activation: a key of :data:`ACTIVATIONS`.
        size: height and width of the image.
        gain: factor on the initial weights of the convolutions, as in :class:`MLP`.
        classes: number of outputs.
        **options: passed to the norm.

    Attributes:
        sizes: height (and width) of the maps after each convolution; a statistic over a batch
            of N is made of ``N * size**2`` values.
    """

    def __init__(
        self,
        norm,
        channels,
        strides,
        seeds,
        head="flatten",
        activation="relu",
        size=14,
        gain=1.0,
        classes=10,
        **options,
    ):
        super().__init__()
        if head not in ("flatten", "pool"):
            raise ValueError(f"head is {head!r}; expected 'flatten' or 'pool'")
        generators = _generators(seeds)
        self.copies, self.pool = len(generators), head == "pool"
        self.activation = ACTIVATIONS[activation]
        self.layers, self.norms, self.sizes = nn.ModuleList(), nn.ModuleList(), []
        inputs = 1
        for outputs, stride in zip(channels, strides, strict=True):
            gain_here = gain * GAINS[activation]
            self.layers.append(Conv(inputs, outputs, generators, gain_here, stride))
            plain = norm == "none"
            self.norms.append(
                nn.Identity() if plain else Norm(norm, self.copies, outputs, True, **options)
            )
            inputs, size = outputs, -(-size // stride)
            self.sizes.append(size)
        self.head = Linear(inputs * (1 if self.pool else size**2), classes, generators)

    def forward(self, x):
        """Map images (R, N, 1, H, W) to logits (R, N, classes)."""
        x = x.squeeze(2).transpose(0, 1)  # (N, R, H, W): a copy is a group of channels
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.activation(norm(layer(x)))
        if self.pool:
            x = x.mean((2, 3), keepdim=True)
        return self.head(x.reshape(len(x), self.copies, -1).transpose(0, 1))


class DriftingNoise(nn.Module):
    """Give every unit a random mean and scale that change with each step of training.

    A unit's mean is drawn from U(-mean, mean) and its scale from U(1, scale) at every call in
    training mode; a sample's own differ from them by at most ``spread``. In evaluation mode
    nothing is added. Every channel of (N, C) gets its own noise, from torch's global generator,
    which ``train`` seeds. After a norm it makes the distribution of the norm's output drift again.

    Args:
        mean: largest absolute mean.
        scale: largest scale, at least 1.
        spread: of the samples around the unit's mean (uniform) and scale (standard deviation).

    References:
        Santurkar et al. 2018, arXiv:1805.11604, appendix A ("noisy" batch norm).
    """

    def __init__(self, mean=0.5, scale=1.25, spread=0.1):
        super().__init__()
        self.mean, self.scale, self.spread = mean, scale, spread

    def forward(self, x):
        if not self.training:
            return x
        unit = torch.rand(2, 1, x.shape[1])
        mean = (2 * unit[0] - 1) * self.mean + (2 * torch.rand(x.shape) - 1) * self.spread
        scale = 1 + unit[1] * (self.scale - 1) + torch.randn(x.shape) * self.spread
        return x * scale + mean


class DetachedNorm(nn.Module):
    """Batch norm with a fault of real code: the gradient does not see the statistics.

    Args:
        copies: R.
        channels: C; the input is (N, R*C).
    """

    def __init__(self, copies, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(copies * channels))
        self.bias = nn.Parameter(torch.zeros(copies * channels))

    def forward(self, x):
        with torch.no_grad():
            mu, var = moments(x, (0,))
        return self.weight * (x - mu) * (var + 1e-5) ** -0.5 + self.bias


def noisy_norm(copies, channels, **options):
    """Make a batch norm of features followed by :class:`DriftingNoise`: an arm's ``norm``."""
    return nn.Sequential(BatchNorm1d(copies * channels), DriftingNoise(**options))


def _generators(seeds):
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]
