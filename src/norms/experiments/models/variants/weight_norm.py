"""Weight norm of R copies, batch norm of the mean alone, and a start that looks at data."""

import torch
from torch import nn
from torch.nn.utils import parametrize

from norms.experiments.models.copies import Conv, Linear
from norms.experiments.models.travelling import travelling

__all__ = [
    "MeanOnlyBatchNorm",
    "RatedWeight",
    "WeightNormOfCopies",
    "data_dependent",
    "mean_only_of_features",
    "mean_only_of_maps",
    "rated_weight_of_copies",
    "weight_norm_of_copies",
]


class WeightNormOfCopies(nn.Module):
    r"""Give each unit of each copy a length and a direction: a parametrization of its weight.

    .. math:: w = \frac{g}{\lVert v \rVert}\, v

    At the start :math:`g = \lVert w \rVert`, and :math:`v` is a multiple of :math:`w`.

    Args:
        layer: of R copies, linear or a convolution.
        direction_scale: that multiple; it does not change the weight.
        direction_rate: factor on the gradient of v, and so on its learning rate in plain descent.
        length_rate: the same for g.

    References:
        Salimans and Kingma 2016, arXiv:1602.07868, equation 2.
    """

    def __init__(
        self, layer, direction_scale=1.0, direction_rate=1.0, length_rate=1.0, **_of_the_norm_behind
    ):
        super().__init__()
        self.axes, self.scale = _summed(layer), direction_scale
        self.rates = length_rate, direction_rate

    def forward(self, g, v):
        g, v = (_Rated.apply(p, rate) for p, rate in zip((g, v), self.rates, strict=True))
        return v * (g / _length(v, self.axes))

    def right_inverse(self, weight):
        return _length(weight, self.axes), self.scale * weight


class RatedWeight(nn.Module):
    """Leave a weight as it is, and give it a learning rate of its own in plain descent.

    Args:
        layer: of R copies.
        direction_rate: factor on the gradient, named as that of v in :class:`WeightNormOfCopies`.
    """

    def __init__(self, layer, direction_rate=1.0):
        super().__init__()
        self.rate = direction_rate

    def forward(self, weight):
        return _Rated.apply(weight, self.rate)


def weight_norm_of_copies(layer, **options):
    """Make weight norm for a layer of R copies, which can be pickled then: an entry of ``NORMS``."""
    return WeightNormOfCopies(travelling(layer), **options)


def rated_weight_of_copies(layer, **options):
    """Make a :class:`RatedWeight` for a layer of R copies, which can be pickled then."""
    return RatedWeight(travelling(layer), **options)


class MeanOnlyBatchNorm(nn.Module):
    r"""Subtract from each channel its mean over the batch, and add a shift; divide by nothing.

    .. math:: y = x - \mu_B + b

    In evaluation mode the mean is a running one.

    Args:
        shape: of the shift, with 1 in the place of every axis that the mean is over.
        momentum: weight of the newest mean in the running one; None for the plain average.

    References:
        Salimans and Kingma 2016, arXiv:1602.07868, equations 7 and 8.
    """

    def __init__(self, shape, momentum=0.1):
        super().__init__()
        self.axes, self.momentum = [axis for axis, n in enumerate(shape) if n == 1], momentum
        self.bias = nn.Parameter(torch.zeros(shape))
        self.register_buffer("running_mean", torch.zeros(shape))
        self.register_buffer("num_batches_tracked", torch.tensor(0))

    def reset_running_stats(self):
        """Forget the running mean."""
        self.running_mean.zero_()
        self.num_batches_tracked.zero_()

    def forward(self, x):
        if not self.training:
            return x - self.running_mean + self.bias
        mean = x.mean(self.axes, keepdim=True)
        with torch.no_grad():
            self.num_batches_tracked += 1
            newest = 1 / self.num_batches_tracked if self.momentum is None else self.momentum
            self.running_mean += newest * (mean - self.running_mean)
        return x - mean + self.bias


def mean_only_of_features(copies, channels, momentum=0.1):
    """Make a :class:`MeanOnlyBatchNorm` of (R, N, C)."""
    return MeanOnlyBatchNorm((copies, 1, channels), momentum)


def mean_only_of_maps(copies, channels, momentum=0.1):
    """Make a :class:`MeanOnlyBatchNorm` of (N, R*C, H, W)."""
    return MeanOnlyBatchNorm((1, copies * channels, 1, 1), momentum)


def data_dependent(net, images, seeds, **arm):
    r"""Build a network and start it by what one batch does in it, layer after layer.

    .. math:: w \leftarrow \frac{w}{\sigma[t]}, \qquad b \leftarrow -\frac{\mu[t]}{\sigma[t]}

    where t are the weighted sums of the batch: then they have mean 0 and variance 1 in every hidden
    unit. Weight norm takes the factor into g, and v stays; without a norm the weight takes it.

    Args:
        net: called with ``seeds`` and the arm, an ``MLP`` or a ``CNN``.
        images: the batch (N, 1, H, W), the same for every copy.
        seeds: one a copy.
        **arm: ``norm`` and its options.

    References:
        Salimans and Kingma 2016, arXiv:1602.07868, equations 5 and 6.
    """
    model = net(seeds=seeds, **arm)
    hooks = [layer.register_forward_hook(_start) for layer in model.layers]
    with torch.no_grad():
        model(images.expand(model.copies, *images.shape))
    for hook in hooks:
        hook.remove()
    return model


def _start(layer, _inputs, t):
    """Give the weighted sums of a layer the mean 0 and the variance 1, and hand on what they are."""
    axes, shape = ((1,), (-1, 1, t.shape[-1])) if isinstance(layer, Linear) else ((0, 2, 3), (-1,))
    mean, deviation = t.mean(axes, keepdim=True), t.std(axes, correction=0, keepdim=True)
    scaled = layer.weight
    if parametrize.is_parametrized(layer, "weight"):
        originals = layer.parametrizations.weight
        scaled = getattr(originals, "original0", None)
        scaled = originals.original if scaled is None else scaled
    scaled /= deviation.reshape(-1, *[1] * 3) if isinstance(layer, Conv) else deviation
    layer.bias.copy_((layer.bias - mean.reshape(shape)) / deviation.reshape(shape))
    return (t - mean) / deviation


class _Rated(torch.autograd.Function):
    """Hand on a parameter, and a multiple of its gradient."""

    @staticmethod
    def forward(ctx, parameter, rate):
        ctx.rate = rate
        return parameter.view_as(parameter)

    @staticmethod
    def backward(ctx, gradient):
        return gradient * ctx.rate, None


def _summed(layer):
    """The axes of a layer's weight that one unit sums over: (R, in, out), or (R*out, in, kH, kW)."""
    return (1, 2, 3) if isinstance(layer, Conv) else (1,)


def _length(v, axes):
    return v.square().sum(axes, keepdim=True).sqrt()
