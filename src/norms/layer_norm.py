r"""Layer normalization: statistics over the features of one sample (or of one token).

Jimmy Lei Ba, Jamie Ryan Kiros and Geoffrey E. Hinton, *Layer Normalization*, 2016,
arXiv:1607.06450.
"""

import numbers

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

__all__ = ["LayerNorm", "layer_norm_backward", "layer_norm_forward"]


def layer_norm_forward(x, gamma, beta, eps=1e-5):
    r"""Standardise every sample over its last axes, then scale and shift each feature.

    .. math::
        y = \gamma \odot \hat x + \beta, \qquad
        \hat x = \frac{x - \mathbb{E}_{D}[x]}{\sqrt{\mathrm{Var}_{D}[x] + \epsilon}}

    Args:
        x: array of shape (\*, D), floating point; \* is any number of axes, such as (N, T).
        gamma: gain, shape (D,); or more axes, and then as many last axes of ``x`` share
            their statistics: (C, H, W) for whole images.
        beta: shift, in the shape of ``gamma``.
        eps: positive, added to the variance inside the root.

    Returns:
        ``y, cache``: ``y`` in the shape of ``x``; ``cache`` for :func:`layer_norm_backward`.

    Raises:
        TypeError: an argument is not a NumPy array of floating point.
        ValueError: a shape does not fit, or ``eps`` is not positive.

    Note:
        The variance is biased, :math:`1/D`. Half precision is computed in float32.

    References:
        Ba, Kiros and Hinton 2016, arXiv:1607.06450, equation 3.
    """
    x = checks.floating_array(x)
    gamma = checks.trailing_parameter(gamma, x, "gamma")
    beta = checks.trailing_parameter(beta, x, "beta")
    if beta.shape != gamma.shape:
        raise ValueError(f"beta has shape {beta.shape}; expected that of gamma, {gamma.shape}")
    checks.require_positive_eps(eps)
    x_hat, _, _, rstd = standardize(at_least_float32(x), last_axes(gamma.ndim), eps)
    # x_hat (*, D), rstd (*, 1)
    return (gamma * x_hat + beta).astype(x.dtype), (x_hat, rstd, gamma)


def layer_norm_backward(dy, cache):
    r"""Differentiate :func:`layer_norm_forward`; the statistics depend on ``x``.

    .. math::
        \mathrm{d}x = r \Big( \mathrm{d}\hat x - \mathbb{E}_{D}[\mathrm{d}\hat x]
        - \hat x\, \mathbb{E}_{D}[\mathrm{d}\hat x\, \hat x] \Big), \quad
        \mathrm{d}\hat x = \gamma \odot \mathrm{d}y, \qquad
        \mathrm{d}\gamma = \sum_{*} \mathrm{d}y\, \hat x, \qquad
        \mathrm{d}\beta = \sum_{*} \mathrm{d}y

    The gain varies inside a set, so it stands under the mean.

    Args:
        dy: gradient of the loss with respect to ``y``, in its shape.
        cache: from :func:`layer_norm_forward`.

    Returns:
        ``dx, dgamma, dbeta`` of shapes (\*, D), (D,), (D,).

    Raises:
        ValueError: ``dy`` does not have the shape of ``y``.

    References:
        Ba, Kiros and Hinton 2016, arXiv:1607.06450, differentiated in closed form.
    """
    x_hat, rstd, gamma = cache
    dy = checks.upstream(dy, x_hat)
    wide = at_least_float32(dy)
    samples = tuple(range(dy.ndim - gamma.ndim))  # the axes *
    dx, _, _ = standardize_backward(wide * gamma, x_hat, rstd, last_axes(gamma.ndim))
    dgamma, dbeta = (wide * x_hat).sum(axis=samples), wide.sum(axis=samples)  # (D,) both
    return dx.astype(dy.dtype), dgamma.astype(gamma.dtype), dbeta.astype(gamma.dtype)


class LayerNorm(nn.Module):
    r"""Normalize every sample over its last axes: a stand-in for ``torch.nn.LayerNorm``.

    .. math::
        y = \gamma \odot \frac{x - \mathbb{E}_{D}[x]}{\sqrt{\mathrm{Var}_{D}[x] + \epsilon}} + \beta

    Training and evaluation are the same function, and no sample sees another.

    Args:
        normalized_shape: the sizes of the last axes, which share their statistics: ``D`` for
            tokens (N, T, D), each by itself; ``(C, H, W)`` for whole images. An integer
            stands for one axis.
        eps: added to the variance, inside the root.
        elementwise_affine: learn ``weight`` (:math:`\gamma`) and ``bias`` (:math:`\beta`),
            both in ``normalized_shape``.
        bias: learn the shift (only with ``elementwise_affine``).
        device: of the parameters.
        dtype: of the parameters.

    Shape:
        (\*, *normalized_shape*) in, the same out.

    Raises:
        RuntimeError: the last axes are others, or dtypes are mixed.
        NotImplementedError: an input that is not floating point.
        ValueError: a negative ``eps``.

    Note:
        The variance is biased, :math:`1/D`. Half precision is computed in float32. A sample
        with a single feature comes out as :math:`\beta`, with no gradient and no complaint,
        as in torch. Padding may be anything but a nested tensor. TorchScript, ``torch.fx`` and
        forward-mode differentiation are not supported. It is no ``torch.nn.LayerNorm`` to
        ``isinstance``: where a program lists the layers whose gain must not decay, list this one.

    References:
        Ba, Kiros and Hinton 2016, arXiv:1607.06450, equation 3.
    """

    def __init__(
        self,
        normalized_shape,
        eps=1e-5,
        elementwise_affine=True,
        bias=True,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if isinstance(normalized_shape, numbers.Integral):
            normalized_shape = (normalized_shape,)
        self.normalized_shape = tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        for name, learned in {
            "weight": elementwise_affine,
            "bias": elementwise_affine and bias,
        }.items():
            value = torch.empty(self.normalized_shape, device=device, dtype=dtype)
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
        checks.require_trailing_shape(input, self.normalized_shape)
        checks.require_not_negative_eps(self.eps)
        checks.require_same_dtype(input, {"weight": self.weight, "bias": self.bias})
        axes = last_axes(len(self.normalized_shape))
        x = input.contiguous()  # and so is the result, as torch's, whatever the layout of the input
        return StandardizeAffine.apply(x, self.weight, self.bias, axes, self.eps, True)[0]

    def extra_repr(self):
        return (
            f"{self.normalized_shape}, eps={self.eps}, "
            f"elementwise_affine={self.elementwise_affine}, bias={self.bias is not None}"
        )
