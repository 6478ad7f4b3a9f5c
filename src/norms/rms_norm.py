r"""Root mean square layer normalization: layer norm that leaves the mean where it is.

Biao Zhang and Rico Sennrich, *Root Mean Square Layer Normalization*, NeurIPS 2019,
arXiv:1910.07467.
"""

import numbers

import numpy as np
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

__all__ = ["RMSNorm", "rms_norm_backward", "rms_norm_forward"]


def rms_norm_forward(x, gamma, eps=None):
    r"""Divide every sample by its root mean square over the last axes, then scale each feature.

    .. math:: y = \gamma \odot \hat x, \qquad \hat x = \frac{x}{\sqrt{\mathbb{E}_{D}[x^2] + \epsilon}}

    Args:
        x: array of shape (\*, D), floating point; \* is any number of axes, such as (N, T).
        gamma: gain, shape (D,); or more axes, and then as many last axes of ``x`` share
            their statistics.
        eps: positive, added to the mean square inside the root. None for the machine epsilon
            of the computation: 1.2e-7 in float32, 2.2e-16 in float64.

    Returns:
        ``y, cache``: ``y`` in the shape of ``x``; ``cache`` for :func:`rms_norm_backward`.

    Raises:
        TypeError: an argument is not a NumPy array of floating point.
        ValueError: a shape does not fit, or ``eps`` is not positive.

    Note:
        The mean square is over :math:`D` values. Half precision is computed in float32, and so
        is its default ``eps``.

    References:
        Zhang and Sennrich 2019, arXiv:1910.07467, equation 4.
    """
    x = checks.floating_array(x)
    gamma = checks.trailing_parameter(gamma, x, "gamma")
    wide = at_least_float32(x)
    eps = np.finfo(wide.dtype).eps if eps is None else eps
    checks.require_positive_eps(eps)
    x_hat, _, _, rstd = standardize(wide, last_axes(gamma.ndim), eps, centre=False)
    # x_hat (*, D), rstd (*, 1)
    return (gamma * x_hat).astype(x.dtype), (x_hat, rstd, gamma)


def rms_norm_backward(dy, cache):
    r"""Differentiate :func:`rms_norm_forward`; the root mean square depends on ``x``.

    .. math::
        \mathrm{d}x = r \Big( \mathrm{d}\hat x - \hat x\, \mathbb{E}_{D}[\mathrm{d}\hat x\, \hat x] \Big),
        \quad \mathrm{d}\hat x = \gamma \odot \mathrm{d}y, \qquad
        \mathrm{d}\gamma = \sum_{*} \mathrm{d}y\, \hat x

    Layer norm's, without the term of the mean.

    Args:
        dy: gradient of the loss with respect to ``y``, in its shape.
        cache: from :func:`rms_norm_forward`.

    Returns:
        ``dx, dgamma`` of shapes (\*, D), (D,).

    Raises:
        ValueError: ``dy`` does not have the shape of ``y``.

    References:
        Zhang and Sennrich 2019, arXiv:1910.07467, equations 8 and 9.
    """
    x_hat, rstd, gamma = cache
    dy = checks.upstream(dy, x_hat)
    wide = at_least_float32(dy)
    samples = tuple(range(dy.ndim - gamma.ndim))  # the axes *
    dx, _, _ = standardize_backward(wide * gamma, x_hat, rstd, last_axes(gamma.ndim), centre=False)
    dgamma = (wide * x_hat).sum(axis=samples)  # (D,)
    return dx.astype(dy.dtype), dgamma.astype(gamma.dtype)


class RMSNorm(nn.Module):
    r"""Divide every sample by its root mean square: a stand-in for ``torch.nn.RMSNorm``.

    .. math:: y = \gamma \odot \frac{x}{\sqrt{\mathbb{E}_{D}[x^2] + \epsilon}}

    Training and evaluation are the same function, and no sample sees another.

    Args:
        normalized_shape: the sizes of the last axes, which share their root mean square:
            ``D`` for tokens (N, T, D), each by itself. An integer stands for one axis.
        eps: added to the mean square, inside the root. None for the machine epsilon of the
            computation: 1.2e-7 for float32 and for half precision, 2.2e-16 for float64.
        elementwise_affine: learn ``weight`` (:math:`\gamma`), in ``normalized_shape``.
        device: of the parameter.
        dtype: of the parameter.

    Shape:
        (\*, *normalized_shape*) in, the same out.

    Raises:
        RuntimeError: the last axes are others.
        NotImplementedError: an input that is not floating point; complex numbers too, whose
            squares torch adds up without conjugating them.
        ValueError: a negative ``eps``, or an input with fewer axes than ``normalized_shape``.

    Note:
        Half precision is computed in float32. The output has the dtype of the input, whatever
        that of ``weight``, as in torch. TorchScript, ``torch.fx`` and forward-mode
        differentiation are not supported. It is no ``torch.nn.RMSNorm`` to ``isinstance``: where
        a program lists the layers whose gain must not decay, list this one.

    References:
        Zhang and Sennrich 2019, arXiv:1910.07467, equation 4.
    """

    def __init__(
        self, normalized_shape, eps=None, elementwise_affine=True, device=None, dtype=None
    ):
        super().__init__()
        if isinstance(normalized_shape, numbers.Integral):
            normalized_shape = (normalized_shape,)
        self.normalized_shape = tuple(normalized_shape)
        self.eps = eps
        self.elementwise_affine = elementwise_affine
        value = torch.empty(self.normalized_shape, device=device, dtype=dtype)
        self.register_parameter("weight", nn.Parameter(value) if elementwise_affine else None)
        self.reset_parameters()

    def reset_parameters(self):
        """Set gain 1."""
        if self.weight is not None:
            nn.init.ones_(self.weight)

    def forward(self, x):
        """Normalize with the sample's own root mean square, in training and in evaluation."""
        checks.require_axes(x, self.normalized_shape)
        checks.require_trailing_shape(x, self.normalized_shape)
        checks.require_floating_point(x)
        eps = self.eps
        if eps is None:
            eps = torch.finfo(torch.promote_types(x.dtype, torch.float32)).eps
        checks.require_not_negative_eps(eps)
        axes = last_axes(len(self.normalized_shape))
        x = x.contiguous()  # and so is the result, so that view(-1) works behind it
        return StandardizeAffine.apply(x, self.weight, None, axes, eps, False)[0]

    def extra_repr(self):
        return (
            f"{self.normalized_shape}, eps={self.eps}, elementwise_affine={self.elementwise_affine}"
        )
