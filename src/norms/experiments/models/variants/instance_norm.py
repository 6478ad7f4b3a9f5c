"""Around instance norm: what it takes away handed on, and a mix with batch norm."""

import torch
from torch import nn

from norms import BatchNorm2d, InstanceNorm2d
from norms.experiments.models.copies import Linear, generators_of
from norms.experiments.models.nets import CNN
from norms.moments import StandardizeAffine, moments

__all__ = [
    "CNNWithStatistics",
    "HalfInstanceHalfBatch",
    "InstanceNormOfAnyMap",
    "half_instance_half_batch",
    "instance_norm_of_any_map",
    "without_biases",
    "without_last_norm",
]


class HalfInstanceHalfBatch(nn.Module):
    """Instance norm of the first half of each copy's channels, batch norm of the second.

    Args:
        copies: R.
        channels: C, even; the input is (N, R*C, H, W).

    References:
        Pan et al. 2018, arXiv:1807.09441 (IBN-a).
    """

    def __init__(self, copies, channels):
        super().__init__()
        if channels % 2:
            raise ValueError(f"channels is {channels}; expected an even number, for two halves")
        self.shape = (copies, 2, channels // 2)
        self.instance = InstanceNorm2d(copies * channels // 2, affine=True)
        self.batch = BatchNorm2d(copies * channels // 2)

    def forward(self, x):
        halves = x.unflatten(1, self.shape)  # (N, R, 2, C/2, H, W)
        first, second = (halves[:, :, k].flatten(1, 2) for k in (0, 1))
        normed = [
            y.unflatten(1, self.shape[::2]) for y in (self.instance(first), self.batch(second))
        ]
        return torch.stack(normed, 2).flatten(1, 3)


def half_instance_half_batch(copies, channels, **options):
    """Make a :class:`HalfInstanceHalfBatch`: an arm's ``norm``."""
    return HalfInstanceHalfBatch(copies, channels, **options)


class CNNWithStatistics(CNN):
    """A CNN whose head also gets what its norms take away: mean and deviation of every map.

    Those of the maps behind each convolution, before the norm.

    Args:
        norm: as for :class:`norms.experiments.models.CNN`.
        channels: of each convolution.
        strides: of each convolution.
        seeds: one integer a copy.
        **options: of ``CNN``; the flattened maps or their means go to the head as there.
    """

    def __init__(self, norm, channels, strides, seeds, **options):
        super().__init__(norm, channels, strides, seeds, **options)
        classes = self.head.weight.shape[-1]
        generators = generators_of(seed + 10_000 for seed in seeds)  # of the added weights
        self.statistics = Linear(2 * sum(channels), classes, generators)
        self.statistics.bias.requires_grad_(False)  # the head has one

    def forward(self, x):
        """Map images (R, N, 1, H, W) to logits (R, N, classes)."""
        x = x.squeeze(2).transpose(0, 1)  # (N, R, H, W)
        told = []
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = layer(x)
            mean, var = moments(x, (2, 3))  # (N, R*C, 1, 1)
            told += [s.reshape(len(x), self.copies, -1) for s in (mean, (var + 1e-5) ** 0.5)]
            x = self.activation(norm(x))
        if self.pool:
            x = x.mean((2, 3), keepdim=True)
        maps = x.reshape(len(x), self.copies, -1).transpose(0, 1)
        return self.head(maps) + self.statistics(torch.cat(told, 2).transpose(0, 1))


def without_biases(net, seeds, **options):
    """Build a net whose biases stay 0; without a norm it is then homogeneous in its images."""
    model = net(seeds=seeds, **options)
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            parameter.requires_grad_(False)
    return model


def without_last_norm(net, seeds, **options):
    """Build a CNN whose last convolution has no norm behind it."""
    model = net(seeds=seeds, **options)
    model.norms[-1] = nn.Identity()
    return model


class InstanceNormOfAnyMap(nn.Module):
    """Instance norm of (N, R*C, H, W) that does not refuse maps of one place: it gives the shift.

    Args:
        copies: R.
        channels: C.
    """

    def __init__(self, copies, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(copies * channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(copies * channels, 1, 1))

    def forward(self, x):
        return StandardizeAffine.apply(x, self.weight, self.bias, (2, 3), 1e-5, True)[0]


def instance_norm_of_any_map(copies, channels, **options):
    """Make an :class:`InstanceNormOfAnyMap`: an arm's ``norm``."""
    return InstanceNormOfAnyMap(copies, channels, **options)
