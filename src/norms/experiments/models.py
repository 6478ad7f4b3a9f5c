"""Small networks that train many copies at once: one copy a seed and learning rate.

A copy is an independent network. The copies of a layer share one tensor with a leading factor
R, so that one matrix product or one grouped convolution trains all of them; their weights,
batches and statistics never mix. Copies with the same seed start from the same weights in
every arm of an experiment.

Features of R copies are (R, N, C), and their maps (N, R*C, H, W). A sequence of T tokens is T
rows of features: (R, N*T, C).
"""

import math
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F

from norms import BatchNorm1d, BatchNorm2d, LayerNorm, RMSNorm
from norms.moments import StandardizeAffine, moments

__all__ = [
    "ACTIVATIONS",
    "CNN",
    "MLP",
    "NORMS",
    "PLACEMENTS",
    "RNN",
    "Attention",
    "Centred",
    "Conv",
    "DetachedNorm",
    "DriftingNoise",
    "FeatureBatchNorm",
    "FeedForward",
    "Linear",
    "MicroBatchNorm1d",
    "MicroBatchNorm2d",
    "PartialRMSNorm",
    "Residual",
    "Transformer",
    "centred_rms_norm",
    "noisy_norm",
    "norm_layer",
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


def _batch_norm(whole, parts):
    def make(copies, channels, micro_batch=None, **options):
        if micro_batch is None:
            return whole(copies * channels, **options)
        return parts(copies * channels, micro_batch, **options)

    return make


def _of_one_sample(norm):
    """Let a norm of (..., C) learn a gain (and a shift) for each copy, on (R, N, C)."""

    def make(copies, channels, **options):
        layer = norm(channels, **options)
        for name, parameter in list(layer.named_parameters()):
            each = parameter.detach().expand(copies, 1, channels).clone()
            setattr(layer, name, nn.Parameter(each))
        return layer

    return make


# What stands between a layer and its activation. The same keys name the colours of the book.
# Each entry makes the norm of R copies with C channels, on "features" (R, N, C) or on "maps"
# (N, R*C, H, W). Batch norm's option ``micro_batch`` takes the statistics over parts of the batch.
NORMS = {
    "none": None,
    "batch": {
        "features": _batch_norm(FeatureBatchNorm, MicroBatchNorm1d),
        "maps": _batch_norm(BatchNorm2d, MicroBatchNorm2d),
    },
    "layer": {"features": _of_one_sample(LayerNorm)},
    "rms": {"features": _of_one_sample(RMSNorm)},
}


def norm_layer(norm, copies, channels, kind="features", **options):
    """Make one norm for R copies.

    Args:
        norm: a key of :data:`NORMS`, or a function like its entries, for a layer of your own:
            ``norm(copies, channels, **options)`` returns a module on (R, N, C), or on maps.
        copies: R.
        channels: C, of one copy.
        kind: "features" for (R, N, C), "maps" for (N, R*C, H, W); in and out.
        **options: passed to the norm.

    Raises:
        ValueError: this norm does not serve that kind.
    """
    if norm == "none":
        return nn.Identity()
    make = norm if callable(norm) else NORMS[norm].get(kind)
    if make is None:
        raise ValueError(f"NORMS has no norm {norm!r} of {kind}; it has {', '.join(NORMS[norm])}")
    return make(copies, channels, **options)


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
        shift: added to each of them.
    """

    def __init__(self, inputs, outputs, generators, gain=1.0, shift=0.0):
        super().__init__()
        draws = _normal(generators, inputs, outputs)
        self.weight = nn.Parameter(draws * gain / math.sqrt(inputs) + shift)
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


class MLP(nn.Module):
    """R fully connected classifiers at once: ``depth`` hidden layers of one width.

    Args:
        norm: a key of :data:`NORMS` or a function, see :func:`norm_layer`; placed between each
            hidden layer and its activation.
        depth: number of hidden layers.
        width: their size.
        seeds: one integer a copy: the seed of its initial weights.
        activation: a key of :data:`ACTIVATIONS`.
        inputs: size of the flattened image.
        gain: factor on the initial weights of the hidden layers, on top of
            ``sqrt(2 / inputs)`` for relu and ``sqrt(1 / inputs)`` otherwise.
        shift: added to every initial weight of the hidden layers.
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
        shift=0.0,
        classes=10,
        **options,
    ):
        super().__init__()
        generators = _generators(seeds)
        self.copies = len(generators)
        self.activation = ACTIVATIONS[activation]
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        for fan_in in [inputs] + [width] * (depth - 1):
            self.layers.append(Linear(fan_in, width, generators, gain * GAINS[activation], shift))
            self.norms.append(norm_layer(norm, self.copies, width, **options))
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
        norm: a key of :data:`NORMS` or a function, see :func:`norm_layer`; placed between each
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
            self.norms.append(norm_layer(norm, self.copies, outputs, "maps", **options))
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
        norm: a key of :data:`NORMS` or a function, see :func:`norm_layer`.
        width: size of the state h.
        seeds: one integer a copy: the seed of its initial weights.
        inputs: size of a step's input: an image is cut into so many pixels a step. For a text
            the number of characters, each a one-hot input.
        every_step: False reads the whole sequence and then decides; True gives logits at every
            step.
        activation: a key of :data:`ACTIVATIONS`.
        gain: factor on the initial :math:`W_{hh}`, on top of ``sqrt(1 / width)``.
        shift: added to each initial entry of :math:`W_{hh}` and :math:`W_{xh}`.
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
        gain=1.0,
        shift=0.0,
        classes=10,
        **options,
    ):
        super().__init__()
        generators = _generators(seeds)
        self.copies, self.every_step = len(generators), every_step
        self.activation = ACTIVATIONS[activation]
        self.inputs = Linear(inputs, width, generators, shift=shift)
        self.state = Linear(width, width, generators, gain, shift)
        self.norm = norm_layer(norm, self.copies, width, **options)
        self.head = Linear(width, classes, generators)

    def summed_inputs(self, x):
        """Return what each step adds: (R, N, T, width) of images (R, N, 1, H, W) or tokens (R, N, T)."""
        if x.is_floating_point():
            steps = x.flatten(2).unflatten(2, (-1, self.inputs.weight.shape[1]))
            return self.inputs(steps.flatten(1, 2)).unflatten(1, steps.shape[1:3])
        return _rows(self.inputs.weight, x) + self.inputs.bias[:, :, None]

    def _each_state(self, x):
        states = []
        for step in self.summed_inputs(x).unbind(2):
            before = states[-1] if states else torch.zeros_like(step)
            states.append(self.activation(self.norm(self.state(before) + step)))
        return states

    def states(self, x):
        """Return the states after each step, (R, N, T, width)."""
        return torch.stack(self._each_state(x), 2)

    def forward(self, x):
        """Map images or tokens to logits, (R, N, classes) or (R, N, T, classes)."""
        if not self.every_step:
            return self.head(self._each_state(x)[-1])
        states = self.states(x)
        return self.head(states.flatten(1, 2)).unflatten(1, states.shape[1:3])


# Where the norm of a residual branch stands: before the branch, after the branch and inside the
# stream's bypass, or on the stream itself, after the sum.
PLACEMENTS = {
    "none": (),
    "pre": ("before",),
    "post": ("on the stream",),
    "peri": ("before", "after"),
}


class Residual(nn.Module):
    r"""A branch beside the residual stream, with its norms: pre, post, peri or none.

    .. math::
        \text{pre: } x + f(\mathrm{norm}(x)) \qquad
        \text{post: } \mathrm{norm}(x + f(x)) \qquad
        \text{peri: } x + \mathrm{norm}(f(\mathrm{norm}(x)))

    Args:
        branch: f, a module on (R, N*T, C) and the number of tokens T.
        placement: a key of :data:`PLACEMENTS`.
        make: makes a norm, without arguments.

    References:
        Xiong et al. 2020, arXiv:2002.04745 (pre and post). Kim et al. 2025, arXiv:2502.02732 (peri).
    """

    def __init__(self, branch, placement, make):
        super().__init__()
        places = PLACEMENTS[placement]
        self.branch = branch
        self.before = make() if "before" in places else nn.Identity()
        self.after = make() if "after" in places else nn.Identity()
        self.outer = make() if "on the stream" in places else nn.Identity()

    def forward(self, x, tokens):
        return self.outer(x + self.after(self.branch(self.before(x), tokens)))


class Attention(nn.Module):
    """Causal self-attention of R copies: (R, N*T, C) in and out.

    Args:
        width: C.
        heads: their number; divides C.
        generators: one ``torch.Generator`` a copy, of the initial weights (Xavier's scale).
    """

    def __init__(self, width, heads, generators):
        super().__init__()
        self.heads = heads
        self.reads = Linear(width, 3 * width, generators)  # to query, key and value
        self.writes = Linear(width, width, generators)

    def forward(self, x, tokens):
        shape = (-1, tokens, 3, self.heads, x.shape[-1] // self.heads)
        query, key, value = self.reads(x).view(shape).permute(2, 0, 3, 1, 4)  # (R*N, heads, T, C')
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.writes(seen.transpose(1, 2).reshape(x.shape))


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between, four times as wide inside: (R, N*T, C) in and out.

    Args:
        width: C.
        generators: one ``torch.Generator`` a copy, of the initial weights (Xavier's scale).
    """

    def __init__(self, width, generators):
        super().__init__()
        self.reads = Linear(width, 4 * width, generators, math.sqrt(2 / 5))
        self.writes = Linear(4 * width, width, generators, math.sqrt(8 / 5))

    def forward(self, x, tokens):
        return self.writes(self.reads(x).relu())


class Transformer(nn.Module):
    """R character Transformers at once: each block attention and feed-forward, each with its norm.

    Args:
        norm: a key of :data:`NORMS` or a function, see :func:`norm_layer`.
        placement: a key of :data:`PLACEMENTS`. "pre" and "peri" have a last norm before the head.
        depth: number of blocks.
        width: C.
        seeds: one integer a copy: the seed of its initial weights.
        heads: of the attention.
        context: largest number of tokens.
        classes: number of characters.
        **options: passed to the norm.

    Attributes:
        stream: the residual branches in their order, two a block.
    """

    def __init__(
        self, norm, placement, depth, width, seeds, heads=4, context=32, classes=61, **options
    ):
        super().__init__()
        generators = _generators(seeds)
        self.copies = len(generators)
        make = partial(norm_layer, norm, self.copies, width, **options)
        self.characters = nn.Parameter(_normal(generators, classes, width) * math.sqrt(1 / 2))
        self.places = nn.Parameter(_normal(generators, context, width) * math.sqrt(1 / 2))
        self.stream = nn.ModuleList()
        for _ in range(depth):
            for branch in (Attention(width, heads, generators), FeedForward(width, generators)):
                self.stream.append(Residual(branch, placement, make))
        self.last = make() if placement in ("pre", "peri") else nn.Identity()
        self.head = Linear(width, classes, generators)

    def forward(self, tokens):
        """Map tokens (R, N, T) to logits (R, N, T, classes)."""
        length = tokens.shape[2]
        x = (_rows(self.characters, tokens) + self.places[:, None, :length]).flatten(1, 2)
        for residual in self.stream:
            x = residual(x, length)
        return self.head(self.last(x)).unflatten(1, tokens.shape[1:])


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
    return Centred(norm_layer("rms", copies, channels, **options))


def noisy_norm(copies, channels, **options):
    """Make a batch norm of features followed by :class:`DriftingNoise`: an arm's ``norm``."""
    return nn.Sequential(FeatureBatchNorm(copies * channels), DriftingNoise(**options))


def _normal(generators, *shape):
    return torch.stack([torch.randn(shape, generator=g) for g in generators])


def _rows(table, tokens):
    """Look up tokens (R, N, T) in the tables (R, V, C) of their copies: (R, N, T, C)."""
    copies = torch.arange(len(table))[:, None, None]
    return table[copies, tokens]


def _generators(seeds):
    return [torch.Generator().manual_seed(int(seed)) for seed in seeds]
