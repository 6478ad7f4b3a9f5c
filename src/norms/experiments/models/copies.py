"""Layers of R copies with seeded weights: one matrix product, or one grouped convolution, for all."""

import math

import torch
from torch import nn
from torch.nn import functional as F

__all__ = ["ACTIVATIONS", "WEIGHT_SCALES", "Conv", "Linear", "generators_of", "look_up", "normal"]

ACTIVATIONS = {"relu": torch.relu, "sigmoid": torch.sigmoid, "tanh": torch.tanh}
WEIGHT_SCALES = {"relu": math.sqrt(2), "sigmoid": 1.0, "tanh": 1.0}  # keep the size of the signal


class Linear(nn.Module):
    """R linear layers at once: (R, N, inputs) to (R, N, outputs).

    Args:
        inputs: size of the input features.
        outputs: size of the output features.
        generators: one ``torch.Generator`` a copy; the weights are drawn from it with
            standard deviation ``weight_scale / sqrt(inputs)``, the bias is zero.
        weight_scale: the factor of the initial weights.
        weight_offset: added to each of them.

    Attributes:
        weight: (R, inputs, outputs).
        bias: (R, 1, outputs).
    """

    def __init__(self, inputs, outputs, generators, weight_scale=1.0, weight_offset=0.0):
        super().__init__()
        draws = normal(generators, inputs, outputs)
        self.copies = len(draws)
        self.weight = nn.Parameter(draws * weight_scale / math.sqrt(inputs) + weight_offset)
        self.bias = nn.Parameter(torch.zeros(self.copies, 1, outputs))

    def forward(self, x):
        return torch.baddbmm(self.bias, x, self.weight)


class Conv(nn.Module):
    """R convolutions 3x3 at once: (N, R*inputs, H, W) to (N, R*outputs, H/stride, W/stride).

    Args:
        inputs: channels of a copy's input.
        outputs: channels of a copy's output.
        generators: one ``torch.Generator`` a copy; the weights are drawn from it with
            standard deviation ``weight_scale / sqrt(9 * inputs)``, the bias is zero.
        weight_scale: the factor of the initial weights.
        stride: of the convolution; sizes that do not divide are rounded up.

    Attributes:
        weight: (R*outputs, inputs, 3, 3).
        bias: (R*outputs,).
    """

    def __init__(self, inputs, outputs, generators, weight_scale=1.0, stride=1):
        super().__init__()
        draws = [torch.randn(outputs, inputs, 3, 3, generator=g) for g in generators]
        self.copies, self.stride = len(draws), stride
        self.weight = nn.Parameter(torch.cat(draws) * weight_scale / math.sqrt(9 * inputs))
        self.bias = nn.Parameter(torch.zeros(self.copies * outputs))

    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, self.stride, padding=1, groups=self.copies)


def generators_of(seeds):
    """Return one generator a seed."""
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]


def normal(generators, *shape):
    """Draw ``(R, *shape)``, each copy's from its own generator."""
    return torch.stack([torch.randn(shape, generator=g) for g in generators])


def look_up(table, tokens):
    """Look up tokens (R, N, T) in the tables (R, V, C) of their copies: (R, N, T, C)."""
    copies = torch.arange(len(table))[:, None, None]
    return table[copies, tokens]
