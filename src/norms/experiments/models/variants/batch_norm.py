"""Batch norm of R copies; over parts of a batch; with noise behind it; with detached statistics."""

import torch
from torch import nn

from norms import BatchNorm1d, BatchNorm2d
from norms.moments import StandardizeAffine, moments

__all__ = [
    "DetachedNorm",
    "DriftingNoise",
    "FeatureBatchNorm",
    "MicroBatchNorm1d",
    "MicroBatchNorm2d",
    "noisy_norm",
    "over_the_batch",
]


class FeatureBatchNorm(BatchNorm1d):
    """Batch norm of (R, N, C), which it sees as (N, R*C): each copy has channels of its own."""

    def forward(self, x):
        copies, n, channels = x.shape
        flat = x.transpose(0, 1).reshape(n, copies * channels)
        return super().forward(flat).view(n, copies, channels).transpose(0, 1)


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
        y, mu, var = StandardizeAffine.apply(parts, gain, shift, axes, self.eps, True)
        count = parts[0].numel() // self.num_features
        with torch.no_grad():
            self.running_mean.lerp_(mu.mean(0).flatten(), self.momentum)
            self.running_var.lerp_(var.mean(0).flatten() * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        return y.view(x.shape)


class MicroBatchNorm1d(FeatureBatchNorm, _MicroBatchNorm, BatchNorm1d):
    """Batch norm of (R, N, C) with statistics over ``micro_batch`` samples each."""


class MicroBatchNorm2d(_MicroBatchNorm, BatchNorm2d):
    """Batch norm of (N, R*C, H, W) with statistics over ``micro_batch`` samples each."""


def over_the_batch(whole, parts):
    """Make ``whole``, or ``parts`` if the option ``micro_batch`` is given; both on R*C channels."""

    def make(copies, channels, micro_batch=None, **options):
        if micro_batch is None:
            return whole(copies * channels, **options)
        return parts(copies * channels, micro_batch, **options)

    return make


class DriftingNoise(nn.Module):
    """Give every unit a random mean and scale that change with each step of training.

    A unit's mean is drawn from U(-mean, mean) and its scale from U(1, scale) at every call in
    training mode; a sample's own differ from them by at most ``spread``. In evaluation mode
    nothing is added. Every feature of (R, N, C) gets its own noise, from torch's global
    generator, which ``train`` seeds. After a norm it makes the distribution of the norm's output
    drift again.

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
        unit = torch.rand(2, *x.shape[:-2], 1, x.shape[-1])
        mean = (2 * unit[0] - 1) * self.mean + (2 * torch.rand(x.shape) - 1) * self.spread
        scale = 1 + unit[1] * (self.scale - 1) + torch.randn(x.shape) * self.spread
        return x * scale + mean


class DetachedNorm(nn.Module):
    """Batch norm with a fault of real code: the gradient does not see the statistics.

    Args:
        copies: R.
        channels: C; the input is (R, N, C).
    """

    def __init__(self, copies, channels):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(copies, 1, channels))
        self.bias = nn.Parameter(torch.zeros(copies, 1, channels))

    def forward(self, x):
        with torch.no_grad():
            mu, var = moments(x, (1,))
        return self.weight * (x - mu) * (var + 1e-5) ** -0.5 + self.bias


def noisy_norm(copies, channels, **options):
    """Make a batch norm of features followed by :class:`DriftingNoise`: an arm's ``norm``."""
    return nn.Sequential(FeatureBatchNorm(copies * channels), DriftingNoise(**options))
