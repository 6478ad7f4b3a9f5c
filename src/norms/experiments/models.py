"""Small networks that train many copies at once: one copy a seed and learning rate.

A copy is an independent network. The copies of a layer share one tensor with a leading axis
R, so that one matrix product trains all of them; their weights, batches and statistics never
mix. Copies with the same seed start from the same weights in every arm of an experiment.
"""

import math

import torch
from torch import nn

from norms import BatchNorm1d, BatchNorm2d

__all__ = ["ACTIVATIONS", "MLP", "NORMS", "Linear", "Norm"]

# What stands between a layer and its activation. The same keys name the colours of the book.
NORMS = {
    "none": None,
    "batch": {"features": BatchNorm1d, "maps": BatchNorm2d},
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


class Norm(nn.Module):
    """One norm for R copies: to it their features are R times as many channels."""

    def __init__(self, kind, copies, features, **options):
        super().__init__()
        self.copies = copies
        self.layer = NORMS[kind]["features"](copies * features, **options)

    def forward(self, x):
        copies, n, features = x.shape
        flat = x.transpose(0, 1).reshape(n, copies * features)
        return self.layer(flat).view(n, copies, features).transpose(0, 1)


class MLP(nn.Module):
    """R fully connected classifiers at once: ``depth`` hidden layers of one width.

    Args:
        norm: a key of :data:`NORMS`, placed between each hidden layer and its activation.
        depth: number of hidden layers.
        width: their size.
        seeds: one integer a copy: the seed of its initial weights.
        activation: a key of :data:`ACTIVATIONS`.
        inputs: size of the flattened image.
        gain: factor on the initial weights of the hidden layers, on top of
            ``sqrt(2 / inputs)`` for relu and ``sqrt(1 / inputs)`` otherwise.
        **options: passed to the norm.
    """

    def __init__(
        self, norm, depth, width, seeds, activation="relu", inputs=64, gain=1.0, classes=10, **options
    ):
        super().__init__()
        generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self.activation = ACTIVATIONS[activation]
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        for fan_in in [inputs] + [width] * (depth - 1):
            self.layers.append(Linear(fan_in, width, generators, gain * GAINS[activation]))
            plain = NORMS[norm] is None
            self.norms.append(nn.Identity() if plain else Norm(norm, len(generators), width, **options))
        self.head = Linear(width, classes, generators)

    def forward(self, x):
        """Map images (R, N, 1, H, W) to logits (R, N, classes)."""
        x = x.flatten(2)
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = self.activation(norm(layer(x)))
        return self.head(x)
