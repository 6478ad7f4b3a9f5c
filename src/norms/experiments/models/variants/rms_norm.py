"""RMS norm of part of the features, and behind an explicit centring."""

import math

import torch
from torch import nn

from norms.experiments.models.seats import behind_layer

__all__ = ["Centred", "PartialRMSNorm", "centred_rms_norm"]


class PartialRMSNorm(nn.Module):
    """pRMSNorm: the root mean square of the first features alone divides all of them.

    Args:
        copies: R.
        channels: C; the input is (R, N, C).
        share: of the features that are measured, rounded up.

    References:
        Zhang and Sennrich 2019, arXiv:1910.07467, section 5.
    """

    def __init__(self, copies, channels, share=1 / 16):
        super().__init__()
        self.measured = math.ceil(channels * share)
        self.weight = nn.Parameter(torch.ones(copies, 1, channels))

    def forward(self, x):
        square = (x[..., : self.measured] ** 2).mean(-1, keepdim=True)
        return self.weight * x * (square + 1e-8) ** -0.5


class Centred(nn.Module):
    """Subtract from each sample the mean of its features, and then normalize.

    Args:
        layer: the norm, of (R, N, C).
    """

    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def forward(self, x):
        return self.layer(x - x.mean(-1, keepdim=True))


def centred_rms_norm(copies, channels, **options):
    """Make an RMS norm behind an explicit centring: an arm's ``norm``."""
    return Centred(behind_layer("rms", copies, channels, **options))
