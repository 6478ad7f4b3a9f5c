"""Around group norm: its groups drawn at random, its rivals, and standardised weights."""

import copy

import torch
from torch import nn

from norms import BatchNorm2d, GroupNorm
from norms.experiments.evaluation import reestimate
from norms.experiments.models.copies import Linear
from norms.experiments.models.seats import behind_layer
from norms.experiments.models.variants.batch_norm import MicroBatchNorm2d
from norms.moments import StandardizeAffine

__all__ = [
    "MicroBatchRenorm2d",
    "Reestimated",
    "ScatteredGroupNorm",
    "StandardizedWeight",
    "batch_renorm",
    "frozen_norms",
    "permuted_channels",
    "scattered_group_norm",
    "to_group_norm",
]


class MicroBatchRenorm2d(MicroBatchNorm2d):
    r"""Batch renorm of (N, R*C, H, W): train with statistics near those of inference.

    .. math::
        \hat x = \frac{x - \mu_B}{\sigma_B}\, r + d, \qquad
        r = \Big[\frac{\sigma_B}{\sigma}\Big]_{1/r_\text{max}}^{r_\text{max}}, \qquad
        d = \Big[\frac{\mu_B - \mu}{\sigma}\Big]_{-d_\text{max}}^{d_\text{max}}

    :math:`\mu_B` and :math:`\sigma_B` are those of a part of the batch, :math:`\mu` and
    :math:`\sigma` the running ones; ``r`` and ``d`` are constants to the gradient.

    Args:
        num_features: R*C.
        micro_batch: size of a part.
        r_max: largest factor, at least 1.
        d_max: largest offset.
        warmup: number of batches in which it is batch norm: ``r`` is 1 and ``d`` is 0.
        **options: of batch norm.

    References:
        Ioffe 2017, arXiv:1702.03275, Algorithm 1.
    """

    def __init__(self, num_features, micro_batch, r_max=3.0, d_max=5.0, warmup=50, **options):
        super().__init__(num_features, micro_batch, **options)
        self.r_max, self.d_max, self.warmup = r_max, d_max, warmup

    def forward(self, x):
        batch_norm = not self.training or self.num_batches_tracked < self.warmup
        if batch_norm or self.momentum is None or len(x) % self.micro_batch:
            return super().forward(x)  # which refuses the last
        parts = x.view(-1, self.micro_batch, *x.shape[1:])  # (K, m, R*C, H, W)
        self._check(parts[0], True)
        x_hat, mu, var = StandardizeAffine.apply(parts, None, None, (1, 3, 4), self.eps, True)
        shape, count = (-1, 1, 1), parts[0].numel() // self.num_features
        with torch.no_grad():
            mean = self.running_mean.view(shape)
            rstd = (self.running_var.view(shape) + self.eps) ** -0.5
            r = ((var + self.eps).sqrt() * rstd).clamp(1 / self.r_max, self.r_max)
            d = ((mu - mean) * rstd).clamp(-self.d_max, self.d_max)
            self.running_mean.lerp_(mu.mean(0).flatten(), self.momentum)
            self.running_var.lerp_(var.mean(0).flatten() * (count / (count - 1)), self.momentum)
            self.num_batches_tracked += 1
        gain, shift = self.weight.view(shape), self.bias.view(shape)
        return torch.addcmul(gain * d + shift, x_hat, gain * r).view(x.shape)


def batch_renorm(copies, channels, micro_batch, **options):
    """Make a batch renorm of maps: an arm's ``norm``."""
    return MicroBatchRenorm2d(copies * channels, micro_batch, **options)


class ScatteredGroupNorm(GroupNorm):
    """Group norm of (N, R*C, H, W) whose groups are drawn at random, for each copy by itself.

    Args:
        copies: R.
        channels: C.
        num_groups: G, a divisor of C.
        seed: of the draw.
    """

    def __init__(self, copies, channels, num_groups=4, seed=0):
        super().__init__(copies * num_groups, copies * channels)
        generator = torch.Generator().manual_seed(seed)
        order = torch.cat(
            [torch.randperm(channels, generator=generator) + r * channels for r in range(copies)]
        )
        self.register_buffer("order", order, persistent=False)
        self.register_buffer("back", order.argsort(), persistent=False)

    def forward(self, x):
        shape = (self.num_groups, -1, 1, 1)
        gain, shift = (p[self.order].view(shape) for p in (self.weight, self.bias))
        groups = x[:, self.order].unflatten(1, shape[:2])  # (N, R*G, C/G, H, W)
        y = StandardizeAffine.apply(groups, gain, shift, (2, 3, 4), self.eps, True)[0]
        return y.flatten(1, 2)[:, self.back]


def scattered_group_norm(copies, channels, **options):
    """Make a :class:`ScatteredGroupNorm`: an arm's ``norm``."""
    return ScatteredGroupNorm(copies, channels, **options)


class StandardizedWeight(nn.Module):
    r"""Give the incoming weights of every unit the mean 0 and the variance 1: a norm on a weight.

    .. math:: \hat w = \frac{w - \mathbb{E}[w]}{\sqrt{\mathrm{Var}[w] + \epsilon}}

    Args:
        layer: of R copies, linear or a convolution.
        eps: added to the variance, inside the root.

    References:
        Qiao et al. 2019, arXiv:1903.10520, equations 5 to 7.
    """

    def __init__(self, layer, eps=1e-5, **_of_the_norm_behind):
        super().__init__()
        self.axes, self.eps = (1,) if isinstance(layer, Linear) else (1, 2, 3), eps

    def forward(self, weight):
        return StandardizeAffine.apply(weight, None, None, self.axes, self.eps, True)[0]


class Reestimated(nn.Module):
    """A network whose statistics are taken anew, from training images, whenever it is evaluated.

    It trains as it is. Entering evaluation mode replaces the running statistics, and
    :func:`~norms.experiments.evaluation.evaluate` puts them back afterwards.

    Args:
        net: called with ``seeds`` and the options, such as ``CNN``.
        data: a :class:`norms.experiments.data.Dataset`.
        seeds: one a copy.
        images: number of training images, the first ones.
        batch_size: of the batches whose statistics are averaged.
        **options: of the network.
    """

    def __init__(self, net, data, seeds, images=512, batch_size=128, **options):
        super().__init__()
        self.net, self.batch_size = net(seeds=seeds, **options), batch_size
        self.images = data.train[0][:images]
        self.copies = self.net.copies

    def train(self, mode=True):
        super().train(mode)
        if not mode:
            reestimate(self.net, self.images, self.batch_size)
        return self

    def forward(self, x):
        return self.net(x)


def to_group_norm(model, num_groups=4):
    """Return a copy of a CNN with group norms in the place of its batch norms, gains and shifts kept.

    Args:
        model: R copies.
        num_groups: of each layer of a copy.
    """
    model = copy.deepcopy(model)
    for k, norm in enumerate(model.norms):
        if not isinstance(norm, BatchNorm2d):
            raise TypeError(f"norm {k} is {type(norm).__name__}; expected batch norm of maps")
        channels = norm.num_features // model.copies
        group = behind_layer("group", model.copies, channels, "maps", num_groups=num_groups)
        group.to(norm.weight.dtype).load_state_dict({"weight": norm.weight, "bias": norm.bias})
        model.norms[k] = group
    return model


def frozen_norms(model):
    """Return a copy of a CNN with its norms in evaluation mode: running statistics stay as they are.

    Gains and shifts still learn. ``train`` of the copy would thaw it; the loop of this book does
    not call it.
    """
    model = copy.deepcopy(model)
    for norm in model.norms:
        norm.eval()
    return model


def permuted_channels(model, layer, order):
    """Return a copy of a CNN in which the channels behind one convolution stand in another order.

    The convolution's outputs, gain and shift, running statistics and the inputs of the next
    convolution move together: a network without a norm, or with batch norm, answers as before.

    Args:
        model: R copies.
        layer: index of the convolution; not the last one.
        order: permutation of the C channels, the same in every copy.
    """
    model = copy.deepcopy(model)
    places = torch.arange(model.copies)[:, None] * len(order) + torch.as_tensor(order)
    places = places.flatten()  # of all copies
    this, following, norm = model.layers[layer], model.layers[layer + 1], model.norms[layer]
    with torch.no_grad():
        for parameter in (this.weight, this.bias):
            parameter.copy_(parameter[places].clone())
        following.weight.copy_(following.weight[:, order].clone())
        for tensor in (*norm.parameters(), *norm.buffers()):
            if tensor.dim():
                tensor.copy_(tensor[places].clone())
    return model
