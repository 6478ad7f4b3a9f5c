r"""Group normalization: statistics over a group of channels (and space) of one sample.

Yuxin Wu and Kaiming He, *Group Normalization*, ECCV 2018, arXiv:1803.08494.
"""

import torch
from torch import nn

from norms import checks
from norms.moments import (
    StandardizeAffine,
    at_least_float32,
    last_axes,
    standardize,
    standardize_backward,
)

__all__ = ["GroupNorm", "group_norm_backward", "group_norm_forward"]


def group_norm_forward(x, gamma, beta, num_groups, eps=1e-5):
    r"""Standardise every group of channels of every sample, then scale and shift each channel.

    .. math::
        y = \gamma \hat x + \beta, \qquad
        \hat x = \frac{x - \mathbb{E}_{C/G,*}[x]}{\sqrt{\mathrm{Var}_{C/G,*}[x] + \epsilon}}

    Args:
        x: array of shape (N, C) or (N, C, \*), floating point.
        gamma: gain, shape (C,): one a channel, not one a group.
        beta: shift, shape (C,).
        num_groups: G, a divisor of C. Group 0 is the first C/G channels, group 1 the next.
        eps: positive, added to the variance inside the root.

    Returns:
        ``y, cache``: ``y`` in the shape of ``x``; ``cache`` for :func:`group_norm_backward`.

    Raises:
        TypeError: an argument is not a NumPy array of floating point, or ``num_groups`` no integer.
        ValueError: a shape does not fit, G does not divide C, or ``eps`` is not positive.

    Note:
        The variance is biased, :math:`1/m` with :math:`m = C/G \cdot H \cdot W`. Half
        precision is computed in float32.

    References:
        Wu and He 2018, arXiv:1803.08494, equations 1 to 3, 6 and 7.
    """
    x = checks.floating_array(x)
    gamma = checks.channel_vector(gamma, x, "gamma")  # (1, C, 1, 1) for maps
    beta = checks.channel_vector(beta, x, "beta")  # the same
    checks.require_divisor(num_groups, x.shape[1], ValueError)
    checks.require_positive_eps(eps)
    x_hat, _, _, rstd = standardize(_grouped(at_least_float32(x), num_groups), _set(x), eps)
    x_hat = x_hat.reshape(x.shape)  # (N, C, *), and rstd (N, G, 1, 1, 1) for maps
    return (gamma * x_hat + beta).astype(x.dtype), (x_hat, rstd, gamma)


def group_norm_backward(dy, cache):
    r"""Differentiate :func:`group_norm_forward`; the statistics depend on ``x``.

    .. math::
        \mathrm{d}x = r \Big( \mathrm{d}\hat x - \mathbb{E}_{C/G,*}[\mathrm{d}\hat x]
        - \hat x\, \mathbb{E}_{C/G,*}[\mathrm{d}\hat x\, \hat x] \Big), \quad
        \mathrm{d}\hat x = \gamma\, \mathrm{d}y, \qquad
        \mathrm{d}\gamma = \sum_{N,*} \mathrm{d}y\, \hat x, \qquad
        \mathrm{d}\beta = \sum_{N,*} \mathrm{d}y

    The gain varies from channel to channel inside a group, so it stands under the mean.

    Args:
        dy: gradient of the loss with respect to ``y``, in its shape.
        cache: from :func:`group_norm_forward`.

    Returns:
        ``dx, dgamma, dbeta`` of shapes (N, C, \*), (C,), (C,).

    Raises:
        ValueError: ``dy`` does not have the shape of ``y``.

    References:
        Wu and He 2018, arXiv:1803.08494, differentiated in closed form.
    """
    x_hat, rstd, gamma = cache
    dy = checks.upstream(dy, x_hat)
    wide, num_groups = at_least_float32(dy), rstd.shape[1]
    grouped = (_grouped(array, num_groups) for array in (wide * gamma, x_hat))
    dx, _, _ = standardize_backward(*grouped, rstd, _set(dy))
    axes = (0, *range(2, dy.ndim))  # all but channels
    dgamma, dbeta = (wide * x_hat).sum(axis=axes), wide.sum(axis=axes)  # (C,) both
    dx = dx.reshape(dy.shape)
    return dx.astype(dy.dtype), dgamma.astype(gamma.dtype), dbeta.astype(gamma.dtype)


class GroupNorm(nn.Module):
    r"""Normalize groups of channels of every sample: a stand-in for ``torch.nn.GroupNorm``.

    .. math::
        y = \gamma\, \frac{x - \mathbb{E}_{C/G,*}[x]}{\sqrt{\mathrm{Var}_{C/G,*}[x] + \epsilon}} + \beta

    Training and evaluation are the same function, and no sample sees another.

    Args:
        num_groups: the number of groups G; channels that stand side by side form a group.
        num_channels: the number of channels C, a multiple of G.
        eps: added to the variance, inside the root.
        affine: learn ``weight`` (:math:`\gamma`) and ``bias`` (:math:`\beta`), both (C,).
        device: of the parameters.
        dtype: of the parameters.
        bias: learn the shift (only with ``affine``).

    Shape:
        (N, C) or (N, C, \*) in, the same out; \* is any number of axes, such as (H, W).

    Raises:
        TypeError: ``num_groups`` is no integer.
        ValueError: G does not divide C, a negative ``eps``, or one sample with one value a group
            (of several samples every one may have but one value a group, and comes out as
            :math:`\beta`, as in torch).
        RuntimeError: no axis of channels, another number of them, or mixed dtypes.
        NotImplementedError: an input that is not floating point.

    Note:
        The variance is biased, :math:`1/m` with :math:`m = C/G \cdot H \cdot W`. Half precision
        is computed in float32. TorchScript, ``torch.fx`` and forward-mode differentiation are
        not supported. It is no ``torch.nn.GroupNorm`` to ``isinstance``.

    References:
        Wu and He 2018, arXiv:1803.08494, section 3.
    """

    def __init__(
        self,
        num_groups,
        num_channels,
        eps=1e-5,
        affine=True,
        device=None,
        dtype=None,
        *,
        bias=True,
    ):
        super().__init__()
        checks.require_divisor(num_groups, num_channels, ValueError)
        self.num_groups = num_groups
        self.num_channels = num_channels
        self.eps = eps
        self.affine = affine
        for name, learned in {"weight": affine, "bias": affine and bias}.items():
            value = torch.empty(num_channels, device=device, dtype=dtype)
            self.register_parameter(name, nn.Parameter(value) if learned else None)
        self.reset_parameters()

    def reset_parameters(self):
        """Set gain 1 and shift 0."""
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input):
        """Normalize with the sample's own statistics, in training and in evaluation."""
        x = input
        self._check(x)
        shape = (self.num_groups, -1, *[1] * (x.dim() - 2))  # (G, C/G, 1, 1) for maps
        weight = None if self.weight is None else self.weight.view(shape)
        bias = None if self.bias is None else self.bias.view(shape)
        grouped = x.unflatten(1, (self.num_groups, x.shape[1] // self.num_groups))
        y, _, _ = StandardizeAffine.apply(grouped, weight, bias, _set(x), self.eps, True)
        y = y.flatten(1, 2)
        # Of images and volumes the channels may stay last in memory; all else is made contiguous,
        # as by torch, whatever the layout of the input.
        return y if x.dim() in (4, 5) and y.stride(1) == 1 else y.contiguous()

    def _check(self, x):
        checks.require_batch_and_channels(x)
        checks.require_not_negative_eps(self.eps)
        checks.require_more_than_one_value_per_group(x, self.num_groups)
        tensors = {"weight": self.weight, "bias": self.bias}
        checks.require_channels(x, tensors)
        checks.require_divisor(self.num_groups, x.shape[1], RuntimeError)
        checks.require_same_dtype(x, tensors)

    def extra_repr(self):
        return (
            f"{self.num_groups}, {self.num_channels}, eps={self.eps}, "
            f"affine={self.affine}, bias={self.bias is not None}"
        )


def _grouped(x, num_groups):
    return x.reshape(x.shape[0], num_groups, x.shape[1] // num_groups, *x.shape[2:])


def _set(x):  # for x (N, C, *), the last axes of (N, G, C/G, *): a group's channels, and space
    return last_axes(x.ndim - 1)
