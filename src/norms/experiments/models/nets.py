"""Classifiers of R copies: fully connected, convolutional and recurrent."""

import torch
from torch import nn
from torch.nn.utils import parametrize

from norms.experiments.models.copies import (
    ACTIVATIONS,
    WEIGHT_SCALES,
    Conv,
    Linear,
    generators_of,
    look_up,
)
from norms.experiments.models.seats import behind_layer, on_weight

__all__ = ["CNN", "MLP", "RNN"]


class MLP(nn.Module):
    """R fully connected classifiers at once: ``depth`` hidden layers of one width.

    Args:
        norm: a key of :data:`NORMS` or a function, see :func:`behind_layer`; between each hidden
            layer and its activation, or on the hidden layers' weights.
        depth: number of hidden layers.
        width: their size.
        seeds: one integer a copy: the seed of its initial weights.
        activation: a key of :data:`ACTIVATIONS`.
        inputs: size of the flattened image.
        weight_scale: factor on the initial weights of the hidden layers, on top of
            ``sqrt(2 / inputs)`` for relu and ``sqrt(1 / inputs)`` otherwise.
        weight_offset: added to every initial weight of the hidden layers.
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
        weight_scale=1.0,
        weight_offset=0.0,
        classes=10,
        **options,
    ):
        super().__init__()
        generators = generators_of(seeds)
        self.copies = len(generators)
        self.activation = ACTIVATIONS[activation]
        weight_scale *= WEIGHT_SCALES[activation]
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        for fan_in in [inputs] + [width] * (depth - 1):
            layer = Linear(fan_in, width, generators, weight_scale, weight_offset)
            self.layers.append(on_weight(norm, layer, **options))
            self.norms.append(behind_layer(norm, self.copies, width, **options))
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
        norm: a key of :data:`NORMS` or a function, see :func:`behind_layer`; between each
            convolution and its activation, or on their weights.
        channels: of each convolution.
        strides: of each convolution; they decide how large the last maps are.
        seeds: one integer a copy: the seed of its initial weights.
        head: "flatten" gives the last linear layer every position, "pool" their mean.
        activation: a key of :data:`ACTIVATIONS`.
        size: height and width of the image.
        weight_scale: factor on the initial weights of the convolutions, as in :class:`MLP`.
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
        weight_scale=1.0,
        classes=10,
        **options,
    ):
        super().__init__()
        if head not in ("flatten", "pool"):
            raise ValueError(f"head is {head!r}; expected 'flatten' or 'pool'")
        generators = generators_of(seeds)
        self.copies, self.pool = len(generators), head == "pool"
        self.activation = ACTIVATIONS[activation]
        weight_scale *= WEIGHT_SCALES[activation]
        self.layers, self.norms, self.sizes = nn.ModuleList(), nn.ModuleList(), []
        inputs = 1
        for outputs, stride in zip(channels, strides, strict=True):
            layer = Conv(inputs, outputs, generators, weight_scale, stride)
            self.layers.append(on_weight(norm, layer, **options))
            self.norms.append(behind_layer(norm, self.copies, outputs, "maps", **options))
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


class RNN(nn.Module):
    r"""R recurrent networks at once, with a norm of the summed inputs at every step.

    .. math:: h_t = f\big(\mathrm{norm}(W_{hh} h_{t-1} + W_{xh} x_t + b)\big)

    One norm, with one gain and one shift, serves all steps.

    Args:
        norm: a key of :data:`NORMS` or a function, see :func:`behind_layer`; of the summed
            inputs, or on the weights of state and input.
        width: size of the state h.
        seeds: one integer a copy: the seed of its initial weights.
        inputs: size of a step's input: an image is cut into so many pixels a step. For a text
            the number of characters, each a one-hot input.
        every_step: False reads the whole sequence and then decides; True gives logits at every
            step.
        activation: a key of :data:`ACTIVATIONS`.
        weight_scale: factor on the initial :math:`W_{hh}`, on top of ``sqrt(1 / width)``.
        weight_offset: added to each initial entry of :math:`W_{hh}` and :math:`W_{xh}`.
        classes: number of outputs.
        **options: passed to the norm.

    References:
        Ba, Kiros and Hinton 2016, arXiv:1607.06450, equation 4.
    """

    def __init__(
        self,
        norm,
        width,
        seeds,
        inputs,
        every_step=False,
        activation="tanh",
        weight_scale=1.0,
        weight_offset=0.0,
        classes=10,
        **options,
    ):
        super().__init__()
        generators = generators_of(seeds)
        self.copies, self.every_step = len(generators), every_step
        self.activation = ACTIVATIONS[activation]
        self.inputs = Linear(inputs, width, generators, weight_offset=weight_offset)
        self.state = Linear(width, width, generators, weight_scale, weight_offset)
        for layer in (self.inputs, self.state):
            on_weight(norm, layer, **options)
        self.norm = behind_layer(norm, self.copies, width, **options)
        self.head = Linear(width, classes, generators)

    def summed_inputs(self, x):
        """Return what each step adds: (R, N, T, width) of images (R, N, 1, H, W) or tokens (R, N, T)."""
        if x.is_floating_point():
            steps = x.flatten(2).unflatten(2, (-1, self.inputs.weight.shape[1]))
            return self.inputs(steps.flatten(1, 2)).unflatten(1, steps.shape[1:3])
        return look_up(self.inputs.weight, x) + self.inputs.bias[:, :, None]

    @parametrize.cached()  # a norm on the weights acts once, not at every step
    def _state_after_each_step(self, x):
        states = []
        for step in self.summed_inputs(x).unbind(2):
            before = states[-1] if states else torch.zeros_like(step)
            states.append(self.activation(self.norm(self.state(before) + step)))
        return states

    def states(self, x):
        """Return the states after each step, (R, N, T, width)."""
        return torch.stack(self._state_after_each_step(x), 2)

    def forward(self, x):
        """Map images or tokens to logits, (R, N, classes) or (R, N, T, classes)."""
        if not self.every_step:
            return self.head(self._state_after_each_step(x)[-1])
        states = self.states(x)
        return self.head(states.flatten(1, 2)).unflatten(1, states.shape[1:3])
