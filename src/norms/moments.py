r"""Statistics over some axes, then standardisation: the one idea, forward and backward.

Batch, layer, instance and group norm differ in the axes that share a mean and a
variance; RMS norm leaves the mean where it is. Everything else about their mathematics
is here, once, and the same lines serve NumPy arrays and PyTorch tensors.

A comment behind a line gives the shape where it changes: ``X`` is the shape of the input,
``S`` that of the statistics, which have 1 in every place of ``axes``. For batch norm of maps
X is (N, C, H, W) and S is (1, C, 1, 1); for layer norm of tokens (N, T, D) and (N, T, 1).
Arrays of shape X are what costs time: a new one, which nobody else holds, is changed in place.
"""

import math

import numpy as np
import torch

__all__ = [
    "StandardizeAffine",
    "at_least_float32",
    "last_axes",
    "moments",
    "standardize",
    "standardize_backward",
]


def at_least_float32(x):
    """Return ``x`` as it is, or in float32 if it has half precision (array or tensor)."""
    if isinstance(x, torch.Tensor):
        return x.to(torch.promote_types(x.dtype, torch.float32))
    return x.astype(np.promote_types(x.dtype, np.float32), copy=False)


def last_axes(count):
    """Return the last ``count`` axes, as a tuple that fits an array of any rank."""
    return tuple(range(-count, 0))


def moments(x, axes):
    r"""Take the mean and the variance over ``axes``.

    .. math:: \mu = \frac1m \sum x, \qquad \sigma^2 = \frac1m \sum (x - \mu)^2

    Args:
        x: array or tensor of any shape, floating point.
        axes: tuple of the axes that share one mean and one variance; ``m`` is the
            number of values along them.

    Returns:
        ``mu, var``, both in the shape of ``x`` with 1 in every place of ``axes``.

    Note:
        The variance is biased (:math:`1/m`) and takes two passes: the mean is
        subtracted before squaring: with :math:`E[x^2] - E[x]^2` all significant digits
        are lost when the mean is large. An empty set has mean 0 and variance 0.
    """
    _, mu, var = _centre(x, axes)
    return mu, var


def standardize(x, axes, eps, centre=True):
    r"""Subtract the mean over ``axes`` and divide by the deviation over ``axes``.

    .. math:: \hat x = (x - \mu)\, r, \qquad r = (\sigma^2 + \epsilon)^{-1/2}

    Args:
        x: array or tensor of any shape, floating point.
        axes: tuple of the axes that share one mean and one variance.
        eps: added to the variance, inside the root.
        centre: subtract the mean. Without it (RMS norm) :math:`\mu` is 0 and
            :math:`\sigma^2` is the mean square.

    Returns:
        ``x_hat, mu, var, rstd``: the first in the shape of ``x``, the others with 1 in
        every place of ``axes``.

    Note:
        The variance of ``x_hat`` is :math:`\sigma^2 / (\sigma^2 + \epsilon)`, not 1.
    """
    centred, mu, var = _centre(x, axes, centre)
    rstd = (var + eps) ** -0.5
    return centred * rstd, mu, var, rstd


def standardize_backward(dx_hat, x_hat, scale, axes, centre=True, sums=None):
    r"""Send a gradient back through :func:`standardize`, statistics included.

    .. math::
        \mathrm{d}x = r \Big( \mathrm{d}\hat x - \frac1m \sum \mathrm{d}\hat x
        - \hat x \, \frac1m \sum \mathrm{d}\hat x \, \hat x \Big)

    The result is orthogonal to the constant direction and (up to :math:`\epsilon`) to
    :math:`\hat x`: the two directions that the forward pass removed. Without ``centre``
    the forward removed one, and the term :math:`\frac1m \sum \mathrm{d}\hat x` is absent.

    Args:
        dx_hat: gradient of the loss with respect to ``x_hat``, in its shape.
        x_hat: the standardised values.
        scale: the inverse deviation :math:`r`, times the gain where the gain is constant over
            each set and ``dy`` is passed for ``dx_hat``.
        axes: the axes of the forward pass.
        centre: as in the forward pass.
        sums: ``dot, total``, where they are known already.

    Returns:
        ``dx, dot, total``: the gradient of ``x``, and the two sums over ``axes`` that it
        needs, :math:`\sum \mathrm{d}\hat x\,\hat x` and :math:`\sum \mathrm{d}\hat x`,
        with kept dimensions. When ``dy`` is passed for ``dx_hat`` they are the gradients of
        gain and shift.

    References:
        Ioffe and Szegedy 2015, arXiv:1502.03167, section 3, in closed form.
    """
    m = max(_size(x_hat, axes), 1)
    if sums is None:
        sums = _sum(dx_hat * x_hat, axes), _sum(dx_hat, axes)  # S both
    dot, total = sums
    mean, projection = total / m, dot / m
    # dx = scale * (dx_hat - mean - x_hat * projection), term by term in one new array
    dx = x_hat * -projection  # X
    dx += dx_hat
    if centre:
        dx -= mean
    return dx * scale, dot, total


class StandardizeAffine(torch.autograd.Function):
    r"""Standardise over ``axes``, then scale and shift: one node of PyTorch's graph.

    .. math:: y = \gamma \hat x + \beta

    It keeps only its input and the statistics, and goes back by
    :func:`standardize_backward`. ``apply(x, gamma, beta, axes, eps, centre)`` returns
    ``y, mu, var``. ``gamma`` and ``beta`` are None or broadcast against ``x``; the
    statistics carry no gradient and are meant for running averages.

    Note:
        Half-precision inputs are computed in float32, and ``y`` has the dtype of ``x``.
    """

    generate_vmap_rule = True  # per-sample gradients: torch.func.vmap(grad(...))

    @staticmethod
    def forward(x, gamma, beta, axes, eps, centre):
        """Return ``y, mu, var``."""
        centred, mu, var = _centre(at_least_float32(x), axes, centre)
        scale = (var + eps) ** -0.5  # S
        if gamma is not None and _constant_along(gamma, x, axes):
            scale = gamma * scale  # S; (N, G, C/G, 1, 1) for group norm of maps
        elif gamma is not None:  # the product of gain and deviation would have shape X
            centred, scale = _scaled(centred, scale, own=centre), gamma
        y = centred * scale if beta is None else torch.addcmul(beta, centred, scale)
        return y.to(x.dtype), mu, var

    @staticmethod
    def setup_context(ctx, inputs, output):
        """Keep the input, gain and shift, and the statistics."""
        x, gamma, beta, ctx.axes, ctx.eps, ctx.centre = inputs
        _, mu, var = output
        ctx.mark_non_differentiable(mu, var)
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(x, gamma, beta, mu if ctx.centre else None, var)

    @staticmethod
    def backward(ctx, dy, _dmu, _dvar):
        """Return the gradients of ``x``, ``gamma`` and ``beta``."""
        if dy is None:
            return None, None, None, None, None, None
        x, gamma, beta, mu, var = ctx.saved_tensors
        x_dtype, x, dy = x.dtype, at_least_float32(x), at_least_float32(dy)
        if torch.is_grad_enabled():
            # A second derivative is being built, and the statistics depend on x:
            # the saved ones carry no graph, and would be constants to it.
            _, mu, var = _centre(x, ctx.axes, ctx.centre)
        rstd = (var + ctx.eps) ** -0.5  # S
        x_hat = _scaled(x - mu if ctx.centre else x, rstd, own=ctx.centre)  # X
        # Along these axes of the set the gain does not vary. There it may wait until after the sums,
        # which are the gradients of gain and shift, too, and need not be taken twice.
        inside = ctx.axes if gamma is None else _constant_along(gamma, x, ctx.axes)
        if inside == ctx.axes:  # one number per set: it waits to the end
            scale = rstd if gamma is None else gamma * rstd
            dx, dgamma, dbeta = standardize_backward(dy, x_hat, scale, ctx.axes, ctx.centre)
        else:
            # It stands under the means. What it weighs is small where space has been summed, such as
            # (N, G, C/G, 1, 1) for group norm of maps; for layer norm it still has shape X.
            dgamma, dbeta = _sum(dy * x_hat, inside), _sum(dy, inside)
            sums = [_sum(gamma * each, ctx.axes) for each in (dgamma, dbeta)] if inside else None
            dx, _, _ = standardize_backward(dy * gamma, x_hat, rstd, ctx.axes, ctx.centre, sums)
        dgamma = None if gamma is None else dgamma.sum_to_size(gamma.shape).to(gamma.dtype)
        dbeta = None if beta is None else dbeta.sum_to_size(beta.shape).to(beta.dtype)
        return dx.to(x_dtype), dgamma, dbeta, None, None, None


def _centre(x, axes, centre=True):
    """Return ``x - mu, mu, var``: the two passes, or the second alone with ``mu`` zero.

    The first is new with ``centre``, and without it is ``x`` itself.
    """
    m = max(_size(x, axes), 1)
    if centre:
        mu = x.sum(axis=axes, keepdims=True) / m  # S
        x = x - mu  # X
    var = (x * x).sum(axis=axes, keepdims=True) / m  # S
    if not centre:
        mu = (torch if isinstance(x, torch.Tensor) else np).zeros_like(var)
    return x, mu, var


def _scaled(x, scale, own):
    """Return ``x * scale``, in place if ``x`` is new and our own."""
    if not own:
        return x * scale
    x *= scale
    return x


def _size(x, axes):
    return math.prod([x.shape[axis] for axis in axes])  # a list: the compiler takes no generator


def _sum(x, axes):
    return x.sum(axis=axes, keepdims=True) if axes else x  # over no axes torch would take all


def _constant_along(gamma, x, axes):
    """Return those of ``axes`` along which ``gamma``, broadcast against ``x``, does not vary."""
    shape = (1,) * (x.dim() - gamma.dim()) + tuple(gamma.shape)  # broadcasting aligns on the right
    return tuple([axis for axis in axes if shape[axis] == 1])
