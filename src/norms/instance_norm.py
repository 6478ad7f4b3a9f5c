r"""Instance normalization: statistics over the space of one map, one set per sample and channel.

Dmitry Ulyanov, Andrea Vedaldi and Victor Lempitsky, *Instance Normalization: The Missing
Ingredient for Fast Stylization*, 2016, arXiv:1607.08022.
"""

import warnings

import torch
from torch import nn

from norms import checks
from norms.moments import StandardizeAffine, at_least_float32, standardize, standardize_backward

__all__ = [
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "instance_norm_backward",
    "instance_norm_forward",
]


def instance_norm_forward(x, gamma, beta, eps=1e-5):
    r"""Standardise every channel of every sample over its space axes, then scale and shift.

    .. math::
        y = \gamma \hat x + \beta, \qquad
        \hat x = \frac{x - \mathbb{E}_{*}[x]}{\sqrt{\mathrm{Var}_{*}[x] + \epsilon}}

    Args:
        x: array of shape (N, C, \*), floating point; \* is one or more axes of space.
        gamma: gain, shape (C,): all samples share it.
        beta: shift, shape (C,).
        eps: positive, added to the variance inside the root.

    Returns:
        ``y, cache``: ``y`` in the shape of ``x``; ``cache`` for :func:`instance_norm_backward`.

    Raises:
        TypeError: an argument is not a NumPy array of floating point.
        ValueError: a shape does not fit, or ``eps`` is not positive.

    Note:
        The variance is biased, :math:`1/m` with :math:`m = H \cdot W`. A map of one place comes
        out as :math:`\beta`. Half precision is computed in float32. The paper has no gain and no
        shift; its code has both.

    References:
        Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022, equation 3.
    """
    x = checks.floating_array(x)
    gamma = checks.channel_vector(gamma, x, "gamma")  # (1, C, 1, 1) for maps
    beta = checks.channel_vector(beta, x, "beta")  # the same
    checks.require_space(x)
    checks.require_positive_eps(eps)
    x_hat, _, _, rstd = standardize(at_least_float32(x), _space_axes(x), eps)
    # x_hat (N, C, *), rstd (N, C, 1, 1)
    return (gamma * x_hat + beta).astype(x.dtype), (x_hat, rstd, gamma)


def instance_norm_backward(dy, cache):
    r"""Differentiate :func:`instance_norm_forward`; the statistics depend on ``x``.

    .. math::
        \mathrm{d}x = \gamma\, r \Big( \mathrm{d}y - \mathbb{E}_{*}[\mathrm{d}y]
        - \hat x\, \mathbb{E}_{*}[\mathrm{d}y\, \hat x] \Big), \qquad
        \mathrm{d}\gamma = \sum_{N,*} \mathrm{d}y\, \hat x, \qquad
        \mathrm{d}\beta = \sum_{N,*} \mathrm{d}y

    The means are those of one map; gain and shift belong to all samples, and so do their sums.

    Args:
        dy: gradient of the loss with respect to ``y``, in its shape.
        cache: from :func:`instance_norm_forward`.

    Returns:
        ``dx, dgamma, dbeta`` of shapes (N, C, \*), (C,), (C,).

    Raises:
        ValueError: ``dy`` does not have the shape of ``y``.

    References:
        Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022, differentiated in closed form.
    """
    x_hat, rstd, gamma = cache
    dy = checks.upstream(dy, x_hat)
    wide = at_least_float32(dy)
    dx, _, _ = standardize_backward(wide * gamma, x_hat, rstd, _space_axes(dy))
    shared = (0, *_space_axes(dy))  # the axes along which gain and shift are the same
    dgamma, dbeta = (wide * x_hat).sum(axis=shared), wide.sum(axis=shared)  # (C,) both
    return dx.astype(dy.dtype), dgamma.astype(gamma.dtype), dbeta.astype(gamma.dtype)


class _InstanceNorm(nn.Module):
    _space: str  # a letter for each axis that shares statistics
    _version = 2  # of the state_dict, as in torch: 2 has num_batches_tracked

    def __init__(
        self,
        num_features,
        eps=1e-5,
        momentum=0.1,
        affine=False,
        track_running_stats=False,
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
        self.register_buffer("num_batches_tracked", count)  # torch keeps it, and never counts
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
        """Normalize with each map's own statistics, or with the running ones in evaluation."""
        by_map = self.training or not self.track_running_stats
        one_sample = self._check(input)
        x = input.unsqueeze(0) if one_sample else input
        self._check_batch(x, by_map)
        y = self._normalize(x.contiguous(), by_map)  # contiguous, and so is the result, as torch's
        return y.squeeze(0) if one_sample else y

    def _normalize(self, x, by_map):
        shape = (1, -1, *[1] * (x.dim() - 2))  # (1, C, 1, 1) for maps
        weight = None if self.weight is None else self.weight.view(shape)
        bias = None if self.bias is None else self.bias.view(shape)
        if not by_map:
            return self._inference(x, weight, bias, shape)
        y, mu, var = StandardizeAffine.apply(x, weight, bias, _space_axes(x), self.eps, True)
        if self.running_mean is not None:
            self._track(mu.flatten(1), var.flatten(1), x.numel() // max(mu.numel(), 1))
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
        if m == 0:  # nothing to say
            return
        momentum = self.momentum or 0.0  # None is 0 here, and not the average over all batches
        for running, new in ((self.running_mean, mu), (self.running_var, var * (m / (m - 1)))):
            new = new.mean(0)  # of the samples: (N, C) to (C,)
            old = running.to(torch.promote_types(running.dtype, new.dtype))
            running.copy_((1 - momentum) * old + momentum * new)

    def _check(self, x):
        """Say whether ``x`` is one sample without the axis of the batch; refuse other shapes."""
        one, batch = "C" + self._space, "NC" + self._space
        checks.require_dimensions(x, one, batch)
        axis = x.dim() - len(one)  # of the channels
        size = x.shape[axis]
        if size != self.num_features:
            cure = (
                f"An input of {x.dim()} axes is ({', '.join(batch if axis else one)}): give it that "
                f"shape, or build the layer with num_features={size}"
            )
            if self.affine:
                raise ValueError(
                    f"expected input's size at dim={axis} to match num_features "
                    f"({self.num_features}), but got: {size}. {cure}"
                )
            warnings.warn(
                f"input's size at dim={axis} does not match num_features. It is {size}, and not "
                f"{self.num_features}, which a layer without affine does not use. {cure}",
                stacklevel=2,
            )
        return axis == 0

    def _check_batch(self, x, by_map):
        if by_map:
            checks.require_more_than_one_place(x)
        elif self.running_mean is None or self.running_var is None:
            raise RuntimeError(
                "Expected running_mean and running_var to be defined in evaluation with "
                "track_running_stats: build the layer with track_running_stats=True"
            )
        checks.require_not_negative_eps(self.eps)
        learned = {"weight": self.weight, "bias": self.bias}
        remembered = {"running_mean": self.running_mean, "running_var": self.running_var}
        checks.require_channels(x, {**remembered, **learned})
        checks.require_same_dtype(x, learned)  # running statistics may have any, as in torch

    def extra_repr(self):
        return (
            f"{self.num_features}, eps={self.eps}, momentum={self.momentum}, "
            f"affine={self.affine}, bias={self.bias is not None}, "
            f"track_running_stats={self.track_running_stats}"
        )

    def _load_from_state_dict(self, state_dict, prefix, local_metadata, *args):
        # Before torch 0.4.0 the layer tracked by default, and before 0.4.1 it had no count:
        # torch refuses the first, which would now evaluate otherwise, and fills in the second.
        version = local_metadata.get("version")
        if self.track_running_stats and (version or 1) < 2:
            state_dict.setdefault(prefix + "num_batches_tracked", self.num_batches_tracked)
        elif version is None:
            found = [k for k in ("running_mean", "running_var") if prefix + k in state_dict]
            for name in found:
                del state_dict[prefix + name]
            if found:
                args[-1].append(
                    f"Unexpected running stats buffer(s) {' and '.join(found)} for "
                    f"{type(self).__name__} with track_running_stats=False: the checkpoint is "
                    "from before torch 0.4.0. Remove these keys from it, or build the layer with "
                    "track_running_stats=True if they are needed"
                )
        super()._load_from_state_dict(state_dict, prefix, local_metadata, *args)


class InstanceNorm1d(_InstanceNorm):
    r"""Normalize every channel of every sample over L: a stand-in for ``torch.nn.InstanceNorm1d``.

    .. math::
        y = \gamma\, \frac{x - \mathbb{E}_{L}[x]}{\sqrt{\mathrm{Var}_{L}[x] + \epsilon}} + \beta

    Training and evaluation are the same function, unless running statistics are tracked.

    Args:
        num_features: the number of channels C.
        eps: added to the variance, inside the root.
        momentum: the weight of the new batch in the running statistics; None is 0.
        affine: learn ``weight`` (:math:`\gamma`) and ``bias`` (:math:`\beta`), both (C,).
        track_running_stats: keep ``running_mean`` and ``running_var``, averaged over the samples,
            and use them in evaluation. ``num_batches_tracked`` is kept for the checkpoints and
            never counts, as in torch.
        device: of parameters and buffers.
        dtype: of parameters and buffers.
        bias: learn the shift (only with ``affine``).

    Shape:
        (N, C, L) or one sample (C, L) in, the same out.

    Raises:
        ValueError: another number of dimensions, another number of channels with ``affine``,
            maps of one place, or a negative ``eps``.
        RuntimeError: another number of channels than running statistics, or mixed dtypes.
        NotImplementedError: an input that is not floating point.

    Note:
        An input of two axes is one sample, never a batch (N, C). Maps are normalized with the
        biased variance, :math:`1/m`; the running variance is unbiased, :math:`1/(m-1)`. Half
        precision is computed in float32. An empty batch comes out empty and teaches nothing; torch
        fails on it, or fills its running statistics with NaN. With ``eps=0`` a constant map is
        0/0, and NaN here; torch's layer gives the shift on a CPU. TorchScript, ``torch.fx`` and
        forward-mode differentiation are not supported.

    References:
        Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022, equation 3.
    """

    _space = "L"


class InstanceNorm2d(_InstanceNorm):
    r"""Normalize every map of every sample over H, W: a stand-in for ``torch.nn.InstanceNorm2d``.

    .. math::
        y = \gamma\, \frac{x - \mathbb{E}_{H,W}[x]}{\sqrt{\mathrm{Var}_{H,W}[x] + \epsilon}} + \beta

    Arguments, refusals and estimators are those of :class:`InstanceNorm1d`.

    Shape:
        (N, C, H, W) or one sample (C, H, W) in, the same out.

    References:
        Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022, equation 3.
    """

    _space = "HW"


class InstanceNorm3d(_InstanceNorm):
    r"""Normalize every channel of every sample over D, H, W: a stand-in for ``torch.nn.InstanceNorm3d``.

    .. math::
        y = \gamma\, \frac{x - \mathbb{E}_{D,H,W}[x]}{\sqrt{\mathrm{Var}_{D,H,W}[x] + \epsilon}} + \beta

    Arguments, refusals and estimators are those of :class:`InstanceNorm1d`.

    Shape:
        (N, C, D, H, W) or one sample (C, D, H, W) in, the same out.

    References:
        Ulyanov, Vedaldi and Lempitsky 2016, arXiv:1607.08022, equation 3.
    """

    _space = "DHW"


def _space_axes(x):
    return tuple(range(2, x.ndim))
