r"""Batch normalization: statistics over the batch (and space), one set per channel.

Sergey Ioffe and Christian Szegedy, *Batch Normalization: Accelerating Deep Network
Training by Reducing Internal Covariate Shift*, ICML 2015, arXiv:1502.03167.
"""

import torch
from torch import nn

from norms import checks
from norms.moments import StandardizeAffine, at_least_float32, standardize, standardize_backward

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "batch_norm_backward",
    "batch_norm_forward",
    "batch_norm_inference",
]


def batch_norm_forward(x, gamma, beta, eps=1e-5):
    r"""Standardise every channel over the batch and space axes, then scale and shift.

    .. math::
        y = \gamma \hat x + \beta, \qquad
        \hat x = \frac{x - \mathbb{E}_{N,*}[x]}{\sqrt{\mathrm{Var}_{N,*}[x] + \epsilon}}

    Args:
        x: array of shape (N, C) or (N, C, \*), floating point.
        gamma: gain, shape (C,).
        beta: shift, shape (C,).
        eps: positive, added to the variance inside the root.

    Returns:
        ``y, cache``: ``y`` in the shape of ``x``; ``cache`` for :func:`batch_norm_backward`.

    Raises:
        TypeError: an argument is not a NumPy array of floating point.
        ValueError: a shape does not fit, or ``eps`` is not positive.

    Note:
        The variance is biased, :math:`1/m` with :math:`m = N \cdot H \cdot W`. Half
        precision is computed in float32.

    References:
        Ioffe and Szegedy 2015, arXiv:1502.03167, Algorithm 1.
    """
    x = checks.floating_array(x)
    gamma = checks.channel_vector(gamma, x, "gamma")  # (1, C, 1, 1) for maps
    beta = checks.channel_vector(beta, x, "beta")  # the same
    checks.require_positive_eps(eps)
    axes = _all_but_channels(x)
    x_hat, _, _, rstd = standardize(at_least_float32(x), axes, eps)
    # x_hat (N, C, *), rstd as gamma
    return (gamma * x_hat + beta).astype(x.dtype), (x_hat, rstd, gamma)


def batch_norm_backward(dy, cache):
    r"""Differentiate :func:`batch_norm_forward`; the statistics depend on ``x``.

    .. math::
        \mathrm{d}x = \gamma\, r \Big( \mathrm{d}y - \mathbb{E}_{N,*}[\mathrm{d}y]
        - \hat x\, \mathbb{E}_{N,*}[\mathrm{d}y\, \hat x] \Big), \qquad
        \mathrm{d}\gamma = \sum_{N,*} \mathrm{d}y\, \hat x, \qquad
        \mathrm{d}\beta = \sum_{N,*} \mathrm{d}y

    Args:
        dy: gradient of the loss with respect to ``y``, in its shape.
        cache: from :func:`batch_norm_forward`.

    Returns:
        ``dx, dgamma, dbeta`` of shapes (N, C, \*), (C,), (C,).

    Raises:
        ValueError: ``dy`` does not have the shape of ``y``.

    References:
        Ioffe and Szegedy 2015, arXiv:1502.03167, section 3, in closed form.
    """
    x_hat, rstd, gamma = cache
    dy = checks.upstream(dy, x_hat)
    axes = _all_but_channels(dy)
    wide = at_least_float32(dy)
    dx, _, _ = standardize_backward(wide * gamma, x_hat, rstd, axes)
    dgamma, dbeta = (wide * x_hat).sum(axis=axes), wide.sum(axis=axes)  # (C,) both
    return dx.astype(dy.dtype), dgamma.astype(gamma.dtype), dbeta.astype(gamma.dtype)


def batch_norm_inference(x, gamma, beta, running_mean, running_var, eps=1e-5):
    r"""Apply batch norm with stored statistics: an affine map, one per channel.

    .. math:: y = \gamma\, \frac{x - \mu_{run}}{\sqrt{\sigma^2_{run} + \epsilon}} + \beta

    Args:
        x: array of shape (N, C) or (N, C, \*), floating point.
        gamma: gain, shape (C,).
        beta: shift, shape (C,).
        running_mean: shape (C,).
        running_var: shape (C,), the unbiased estimate.
        eps: positive, added to the variance inside the root.

    Returns:
        ``y`` in the shape of ``x``.

    Raises:
        TypeError: an argument is not a NumPy array of floating point.
        ValueError: a shape does not fit, or ``eps`` is not positive.

    References:
        Ioffe and Szegedy 2015, arXiv:1502.03167, Algorithm 2.
    """
    x = checks.floating_array(x)
    named = {"gamma": gamma, "beta": beta, "running_mean": running_mean, "running_var": running_var}
    gamma, beta, mean, var = (checks.channel_vector(v, x, name) for name, v in named.items())
    # (1, C, 1, 1) each, for maps
    checks.require_positive_eps(eps)
    y = gamma * (at_least_float32(x) - mean) * (var + eps) ** -0.5 + beta
    return y.astype(x.dtype)


class _BatchNorm(nn.Module):
    _ranks: tuple[int, ...]  # accepted numbers of dimensions
    _version = 2  # of the state_dict, as in torch: 2 has num_batches_tracked

    def __init__(
        self,
        num_features,
        eps=1e-5,
        momentum=0.1,
        affine=True,
        track_running_stats=True,
        device=None,
        dtype=None,
        *,
        bias=True,
    ):
        super().__init__()
        self.num_features = num_features
        self.eps = eps
        self.momentum = momentum
        self.affine = affine
        self.track_running_stats = track_running_stats
        like = {"device": device, "dtype": dtype}
        for name, learned in {"weight": affine, "bias": affine and bias}.items():
            value = nn.Parameter(torch.empty(num_features, **like)) if learned else None
            self.register_parameter(name, value)
        for name in ("running_mean", "running_var"):
            value = torch.empty(num_features, **like) if track_running_stats else None
            self.register_buffer(name, value)
        count = torch.tensor(0, dtype=torch.long, device=device) if track_running_stats else None
        self.register_buffer("num_batches_tracked", count)
        self.reset_parameters()

    def reset_running_stats(self):
        """Set the running mean to 0, the running variance to 1 and the count to 0."""
        if self.track_running_stats:
            self.running_mean.zero_()
            self.running_var.fill_(1)
            self.num_batches_tracked.zero_()

    def reset_parameters(self):
        """Set gain 1, shift 0, and the running statistics to their start."""
        self.reset_running_stats()
        if self.weight is not None:
            nn.init.ones_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, input):
        """Normalize with the batch's statistics in training, the running ones in evaluation."""
        x = input
        by_batch = self.training or self.running_mean is None
        self._check(x, by_batch)
        shape = (1, -1, *[1] * (x.dim() - 2))  # (1, C, 1, 1) for maps
        weight = None if self.weight is None else self.weight.view(shape)
        bias = None if self.bias is None else self.bias.view(shape)
        if not by_batch:
            return self._inference(x, weight, bias, shape)
        y, mu, var = StandardizeAffine.apply(x, weight, bias, _all_but_channels(x), self.eps, True)
        if self.training and self.track_running_stats:
            self._track(mu.flatten(), var.flatten(), x.numel() // max(x.shape[1], 1))
        return y

    def _inference(self, x, weight, bias, shape):
        mean, var = (at_least_float32(s).view(shape) for s in (self.running_mean, self.running_var))
        scale = (var + self.eps) ** -0.5
        scale = scale if weight is None else scale * weight
        # The mean is subtracted first: folded into the shift it would cost the digits of
        # an input far from zero.
        y = (at_least_float32(x) - mean) * scale
        return (y if bias is None else y + bias).to(x.dtype)

    @torch.no_grad()
    def _track(self, mu, var, m):
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
        if m == 0 or self.running_mean is None:  # nothing to say, or nobody to tell
            return
        momentum = self.momentum
        if momentum is None:  # the plain average over all batches so far
            momentum = 1 / self.num_batches_tracked.to(mu.dtype)
        for running, new in ((self.running_mean, mu), (self.running_var, var * (m / (m - 1)))):
            running.copy_(torch.lerp(running.to(new.dtype), new, momentum))

    def _check(self, x, by_batch):
        checks.require_rank(x, self._ranks)
        if by_batch:
            checks.require_more_than_one_value(x, _all_but_channels(x))
        checks.require_number(self.eps)
        if self.eps < 0 or (by_batch and self.eps == 0):
            raise ValueError(
                f"batch_norm eps must be {'positive' if by_batch else 'non-negative'}, but got "
                f"{self.eps}: 1e-5 is the usual value"
            )
        tensors = {
            "running_mean": self.running_mean,
            "running_var": self.running_var,
            "weight": self.weight,
            "bias": self.bias,
        }
        checks.require_channels(x, tensors)
        checks.require_same_dtype(x, tensors)

    def extra_repr(self):
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        # Checkpoints from before torch 0.4.1 have no count; torch fills it in, and so do we.
        if (local_metadata.get("version") or 1) < 2 and self.track_running_stats:
            state_dict.setdefault(prefix + "num_batches_tracked", self.num_batches_tracked)
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


class BatchNorm1d(_BatchNorm):
    r"""Normalize every channel over N (and L): a stand-in for ``torch.nn.BatchNorm1d``.

    .. math::
        y = \gamma\, \frac{x - \mathbb{E}_{N,L}[x]}{\sqrt{\mathrm{Var}_{N,L}[x] + \epsilon}} + \beta

    In evaluation mode the running statistics take the place of the batch's.

    Args:
        num_features: the number of channels C.
        eps: added to the variance, inside the root; positive.
        momentum: the weight of the new batch in the running statistics; None for the
            plain average over all batches.
        affine: learn ``weight`` (:math:`\gamma`) and ``bias`` (:math:`\beta`), both (C,).
        track_running_stats: keep ``running_mean``, ``running_var`` and
            ``num_batches_tracked``; without them the batch's statistics serve in
            evaluation too.
        device: of parameters and buffers.
        dtype: of parameters and buffers.
        bias: learn the shift (only with ``affine``).

    Shape:
        (N, C) or (N, C, L) in, the same out.

    Raises:
        ValueError: another number of dimensions, one value per channel in training, or a
            bad ``eps``.
        RuntimeError: another number of channels, or mixed dtypes.
        NotImplementedError: an input that is not floating point.

    Note:
        The batch is normalized with the biased variance, :math:`1/m`; the running variance
        is unbiased, :math:`1/(m-1)`. Half precision is computed in float32. Tools of torch
        that look for its own class, such as ``convert_sync_batchnorm`` and
        ``swa_utils.update_bn``, pass this layer by; TorchScript and forward-mode
        differentiation are not supported.

    References:
        Ioffe and Szegedy 2015, arXiv:1502.03167, Algorithms 1 and 2.
    """

    _ranks = (2, 3)


class BatchNorm2d(_BatchNorm):
    r"""Normalize every channel over N, H, W: a stand-in for ``torch.nn.BatchNorm2d``.

    .. math::
        y = \gamma\, \frac{x - \mathbb{E}_{N,H,W}[x]}{\sqrt{\mathrm{Var}_{N,H,W}[x] + \epsilon}} + \beta

    Arguments, refusals and estimators are those of :class:`BatchNorm1d`.

    Shape:
        (N, C, H, W) in, the same out.

    References:
        Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.2.
    """

    _ranks = (4,)


class BatchNorm3d(_BatchNorm):
    r"""Normalize every channel over N, D, H, W: a stand-in for ``torch.nn.BatchNorm3d``.

    .. math::
        y = \gamma\, \frac{x - \mathbb{E}_{N,D,H,W}[x]}{\sqrt{\mathrm{Var}_{N,D,H,W}[x] + \epsilon}} + \beta

    Arguments, refusals and estimators are those of :class:`BatchNorm1d`.

    Shape:
        (N, C, D, H, W) in, the same out.

    References:
        Ioffe and Szegedy 2015, arXiv:1502.03167, section 3.2.
    """

    _ranks = (5,)


def _all_but_channels(x):
    return (0, *range(2, x.ndim))
