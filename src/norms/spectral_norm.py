r"""Spectral normalization: a weight is divided by its largest singular value.

Takeru Miyato, Toshiki Kataoka, Masanori Koyama and Yuichi Yoshida, *Spectral Normalization for
Generative Adversarial Networks*, ICLR 2018, arXiv:1802.05957.
"""

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrize

from norms import checks
from norms.moments import at_least_float32

__all__ = ["spectral_norm", "spectral_norm_backward", "spectral_norm_forward"]

_WARM_UP = 15  # iterations, when the norm is put on a weight


def spectral_norm_forward(w, u, n_power_iterations=1, eps=1e-12):
    r"""Divide a weight matrix by an estimate of its largest singular value.

    .. math::
        \bar w = \frac{w}{\sigma}, \qquad \sigma = u^\top w\, v, \qquad
        v \leftarrow \frac{w^\top u}{\lVert w^\top u \rVert}, \quad
        u \leftarrow \frac{w v}{\lVert w v \rVert}

    Args:
        w: weight, array of shape (out, \*), floating point, taken as a matrix of ``out`` rows.
        u: first guess of the left singular vector, shape (out,): that of the step before, or
            random numbers.
        n_power_iterations: how often ``v`` and ``u`` are computed in turn, at least once.
        eps: positive, the least length by which they are divided.

    Returns:
        ``w_bar, cache``: ``w_bar`` in the shape of ``w``; ``cache`` is ``w_bar, u, v, sigma`` with
        the new vectors, for :func:`spectral_norm_backward`.

    Raises:
        TypeError: an argument is not a NumPy array of floating point, or ``n_power_iterations`` no
            integer.
        ValueError: a shape does not fit, or a number is not positive.

    Note:
        :math:`\sigma` is at most the largest singular value, and approaches it from below: the
        largest one of the result is at least 1. A weight of zeros has none: NaN. Half precision is
        computed in float32.

    References:
        Miyato et al. 2018, arXiv:1802.05957, equation 8 and algorithm 1.
    """
    w = checks.floating_array(w, "w")
    u = checks.row_vector(u, w, "u")
    checks.require_positive_count(n_power_iterations, "n_power_iterations")
    checks.require_positive_eps(eps)
    matrix, u = at_least_float32(w).reshape(len(w), -1), at_least_float32(u)
    for _ in range(n_power_iterations):
        v = _unit(matrix.T @ u, eps)  # as many as a row has
        u = _unit(matrix @ v, eps)  # (out,)
    sigma = u @ matrix @ v
    w_bar = (matrix / sigma).reshape(w.shape)
    return w_bar.astype(w.dtype), (w_bar, u, v, sigma)


def spectral_norm_backward(dy, cache):
    r"""Differentiate :func:`spectral_norm_forward`; :math:`\sigma` depends on ``w``, ``u, v`` do not.

    .. math::
        \mathrm{d}w = \frac{1}{\sigma} \Big( \mathrm{d}\bar w - \lambda\, u v^\top \Big), \qquad
        \lambda = \sum \mathrm{d}\bar w \odot \bar w

    At the singular vectors :math:`\sigma` does not move when ``u, v`` do, so to take them for
    constants is exact there. The paper's :math:`\lambda` is this sum, for a loss over a batch.

    Args:
        dy: gradient of the loss with respect to the result, :math:`\mathrm{d}\bar w`, in its shape.
        cache: from :func:`spectral_norm_forward`.

    Returns:
        ``dw`` in the shape (out, \*).

    Raises:
        ValueError: ``dy`` does not have the shape of the weight.

    References:
        Miyato et al. 2018, arXiv:1802.05957, equations 9 to 12.
    """
    w_bar, u, v, sigma = cache
    dy = checks.upstream(dy, w_bar)
    wide = at_least_float32(dy)
    along = (wide * w_bar).sum() * np.outer(u, v)  # (out, as many as a row has)
    return ((wide - along.reshape(dy.shape)) / sigma).astype(dy.dtype)


def _unit(x, eps):
    return x / max(np.linalg.norm(x), eps)


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    r"""Divide the weight of a layer by its largest singular value: as torch's ``spectral_norm``.

    .. math:: \bar w = \frac{w}{\sigma}, \qquad \sigma = u^\top w\, v

    ``module.weight`` is computed from the parameter ``module.parametrizations.weight.original``
    (:math:`w`) whenever it is read. In training each reading improves the guess of the singular
    vectors, ``module.parametrizations.weight[0]._u`` and ``._v``; in evaluation they stay, and
    two readings are equal. They start with 15 iterations from random vectors. An assignment,
    ``module.weight = w``, sets what is divided, and leaves the vectors, which then need some
    readings in training. A vector is divided by its length. A stand-in for
    ``torch.nn.utils.parametrizations.spectral_norm``.

    Args:
        module: the layer; it is changed.
        name: of the parameter.
        n_power_iterations: at each reading in training.
        eps: the least length by which the vectors are divided.
        dim: the axis that has the rows of the matrix; all others together are its columns. None
            for that of the outputs: 1 for transposed convolutions, 0 for the rest.

    Returns:
        The same ``module``.

    Raises:
        ValueError: there is no parameter or buffer of that name, ``n_power_iterations`` is not
            positive, or ``eps`` is negative.
        TypeError: ``dim`` or ``n_power_iterations`` is no integer, or ``eps`` no number.
        IndexError: the parameter does not have the axis.
        RuntimeError: the layer is lazy.
        NotImplementedError: a parameter of integers.

    Note:
        :math:`u` and :math:`v` are constants for the gradient, which goes through :math:`w` alone.
        The layer iterates in torch's order, first :math:`u`, then :math:`v`: half an iteration
        before the paper's and :func:`spectral_norm_forward`'s. The singular value is that of the
        reshaped kernel: a convolution can lengthen its input by more. Weights of zeros are NaN, as
        in torch. Half precision is computed in float32, and the vectors are stored in it. To read
        the weight several times and iterate once: ``torch.nn.utils.parametrize.cached()``. Removed
        in training mode, the norm iterates once more, as in torch.

    References:
        Miyato et al. 2018, arXiv:1802.05957, equation 8 and algorithm 1.
    """
    checks.require_parameter(module, name, ValueError)
    if dim is None:
        transposed = (nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d)
        dim = 1 if isinstance(module, transposed) else 0
    norm = _SpectralNorm(getattr(module, name), n_power_iterations, dim, eps)
    return parametrize.register_parametrization(module, name, norm)


class _SpectralNorm(nn.Module):
    def __init__(self, weight, n_power_iterations, dim, eps):
        super().__init__()
        checks.require_axis(weight, dim)
        checks.require_positive_count(n_power_iterations, "n_power_iterations")
        checks.require_not_negative_eps(eps)
        self.dim = dim % weight.dim()
        self.eps = eps
        self.n_power_iterations = n_power_iterations
        if not weight.is_complex():  # they have singular values, too
            checks.require_floating_point(weight)
        if weight.dim() > 1:
            matrix = self._matrix(weight)
            for name, size in zip(("_u", "_v"), matrix.shape, strict=True):
                guess = matrix.new_empty(size).normal_()
                self.register_buffer(name, F.normalize(guess, dim=0, eps=eps))
            self._iterate(matrix, _WARM_UP)

    def forward(self, weight):
        wide = at_least_float32(weight)
        if weight.dim() == 1:
            return F.normalize(wide, dim=0, eps=self.eps).to(weight.dtype)
        matrix = self._matrix(wide)
        if self.training:
            self._iterate(matrix, self.n_power_iterations)
        # Copies, since the next iteration overwrites the vectors before a backward may need these.
        u, v = (at_least_float32(vector.clone()) for vector in (self._u, self._v))
        sigma = torch.vdot(u, torch.mv(matrix, v))
        return (wide / sigma).to(weight.dtype)

    def right_inverse(self, weight):
        return weight

    def _matrix(self, weight):
        return weight.movedim(self.dim, 0).flatten(1)

    @torch.no_grad()
    def _iterate(self, matrix, times):
        matrix = at_least_float32(matrix)
        for _ in range(times):
            # In place, for the replicas of torch.nn.DataParallel share their memory with this module.
            for new, m, old in ((self._u, matrix, self._v), (self._v, matrix.H, self._u)):
                F.normalize(torch.mv(m, at_least_float32(old)), dim=0, eps=self.eps, out=new)
