"""Singular values of weights, and how much a net can stretch: from below, on data, and from above."""

import math

import torch
from torch.nn import functional as F

from norms.experiments.evaluation import for_every_copy, undisturbed
from norms.experiments.models.copies import Conv, Linear
from norms.experiments.models.variants.spectral_norm import as_matrices

__all__ = [
    "SpectrumMeter",
    "attacked",
    "certified_radii",
    "convolution_norm",
    "convolution_spectrum",
    "estimates",
    "jacobian_norms",
    "norm_product",
    "spectra",
    "stable_rank",
    "steepest_pairs",
]


def spectra(model, layers=None):
    """Return the singular values of the weights that the layers of a model use.

    Args:
        model: R copies. It is read in evaluation mode.
        layers: modules of it; default all that are linear, or a convolution taken as a matrix,
            in their order.

    Returns:
        List of tensors (R, K), the largest first; NaN for a copy that has diverged.
    """
    layers = layers or [m for m in model.modules() if isinstance(m, Linear | Conv)]
    with undisturbed(model), torch.no_grad():
        model.eval()
        return [
            _finite_only(
                torch.linalg.svdvals,
                as_matrices(layer.weight, layer.copies, not isinstance(layer, Conv)),
            )
            for layer in layers
        ]


def stable_rank(values):
    r"""Return :math:`\sum_k \sigma_k^2 / \sigma_1^2`: how many directions are about as long as the first.

    Args:
        values: (..., K) singular values, the largest first.

    Returns:
        Tensor (...), from 1 to K.
    """
    return values.square().sum(-1) / values[..., 0].square()


class SpectrumMeter:
    """Look at the singular values of a model's layers in training: a ``watch`` of ``train``.

    Args:
        steps: after which updates.
        layers: function from the model to the layers to look at; default all.

    Returns:
        Called after an update: a list of tensors (R, K); None at other steps.
    """

    def __init__(self, steps, layers=None):
        self.steps, self.layers = set(steps), layers

    def __call__(self, step, model, _updates):
        if step in self.steps:
            return spectra(model, self.layers and self.layers(model))


def norm_product(model, layers=None):
    """Return the product of the largest singular values of the layers, (R,).

    No input pair is stretched by more, if the activations between stretch nothing. Arguments as for
    :func:`spectra`.
    """
    return torch.stack([values[:, 0] for values in spectra(model, layers)]).prod(0)


def jacobian_norms(model, images):
    """Return how much a model stretches the neighbourhood of each image, at most.

    Args:
        model: R copies, in evaluation mode for the time.
        images: (N, 1, H, W), the same for every copy.

    Returns:
        Tensor (R, N): the largest singular value of the derivatives of the logits by the pixels.
    """
    with undisturbed(model):
        model.eval()
        x = for_every_copy(model, images).clone().requires_grad_()
        logits = model(x)
        rows = [
            torch.autograd.grad(logits[..., k].sum(), x, retain_graph=True)[0].flatten(2)
            for k in range(logits.shape[-1])
        ]
    jacobian = torch.stack(rows, 2).double()  # (R, N, classes, pixels)
    squares = _finite_only(torch.linalg.eigvalsh, jacobian @ jacobian.mT)  # in rising order
    return squares[..., -1].clamp_min(0).sqrt()


def steepest_pairs(model, images, steps=100, distance=0.3, rate=0.05):
    """Search pairs of inputs that a model takes far apart, by gradient ascent from images.

    Each pair starts at an image, with a small random step to the other one. Both move so as to
    raise the distance of their logits over their own.

    Args:
        model: R copies, in evaluation mode for the time.
        images: (N, 1, H, W), the starts.
        steps: of the ascent.
        distance: of a pair at the start.
        rate: length of a step, in the units of the pixels.

    Returns:
        Tensor (R,): the largest ratio found. A lower bound of the Lipschitz constant.
    """
    with undisturbed(model):
        model.eval()
        starts = for_every_copy(model, images)
        generator = torch.Generator().manual_seed(0)
        step = torch.randn(images.shape, generator=generator).to(starts)
        step = step / step.flatten(1).norm(dim=1).view(-1, 1, 1, 1)
        pair = torch.cat([starts, starts + distance * step], 1)  # (R, 2N, 1, H, W)
        best = pair.new_zeros(len(pair))
        for _ in range(steps):
            pair.requires_grad_()
            logits = model(pair)
            apart = [
                (a - b).flatten(2).norm(dim=2) for t in (logits, pair) for a, b in [t.chunk(2, 1)]
            ]
            ratio = apart[0].clamp_min(1e-12).log() - apart[1].log()  # (R, N)
            best = torch.maximum(best, ratio.detach().amax(1).exp())
            (slope,) = torch.autograd.grad(ratio.sum(), pair)
            pair = pair.detach() + rate * _unit(slope)
    return best


def estimates(matrix, steps, u):
    r"""Return what power iteration takes for the largest singular value, step by step.

    Args:
        matrix: (out, in).
        steps: number of iterations.
        u: first guess of the left singular vector, (out,).

    Returns:
        List of :math:`u^\top W v` after each iteration; they rise to the largest singular value.
    """
    found = []
    for _ in range(steps):
        v = F.normalize(matrix.T @ u, dim=0)
        u = F.normalize(matrix @ v, dim=0)
        found.append((u @ matrix @ v).item())
    return found


def convolution_norm(kernel, size, steps=200):
    """Return by how much a convolution can lengthen a map: padded with zeros, the size kept.

    Power iteration with the convolution and its transpose, which is its matrix's.

    Args:
        kernel: (out, in, k, k), k odd.
        size: height and width of the maps.
        steps: number of iterations.
    """
    pad = kernel.shape[-1] // 2
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(1, kernel.shape[1], size, size, generator=generator).to(kernel)
    for _ in range(steps):
        x = x / x.norm()
        y = F.conv2d(x, kernel, padding=pad)
        x = F.conv_transpose2d(y, kernel, padding=pad)
    return y.norm().item()


def convolution_spectrum(kernel, size):
    """Return all singular values of a convolution whose maps are closed to a ring, by FFT.

    There every frequency is a matrix of its own, (out, in).

    Args:
        kernel: (out, in, k, k).
        size: height and width of the maps.

    Returns:
        Tensor (size, size, min(out, in)).

    References:
        Sedghi, Gupta and Long 2019, arXiv:1805.10408, theorem 6.
    """
    transfer = torch.fft.fft2(kernel, s=(size, size)).permute(2, 3, 0, 1)
    return torch.linalg.svdvals(transfer)


def certified_radii(logits, labels, constant):
    r"""Return the radius around each input in which the answer cannot change.

    .. math:: \frac{z_y - \max_{k \neq y} z_k}{\sqrt 2\, L}

    Args:
        logits: (R, N, classes).
        labels: (N,).
        constant: (R,), L: an upper bound of the nets' Lipschitz constants.

    Returns:
        Tensor (R, N), negative where the answer is wrong.

    References:
        Tsuzuku, Sato and Sugiyama 2018, arXiv:1802.04034, proposition 1.
    """
    labels = labels.expand(logits.shape[:-1])[..., None]
    right = logits.gather(-1, labels)[..., 0]
    rival = logits.scatter(-1, labels, -math.inf).amax(-1)
    return (right - rival) / (math.sqrt(2) * constant[:, None])


def attacked(model, images, labels, radius, steps=20):
    """Return the images after an attack by gradient: each moves within a ball so as to be mistaken.

    Args:
        model: R copies, in evaluation mode for the time.
        images: (N, 1, H, W), the same for every copy.
        labels: (N,).
        radius: of the ball, in the units of the pixels.
        steps: of the ascent, each a fifth of the radius long.

    Returns:
        Tensor (R, N, 1, H, W).

    References:
        Madry et al. 2018, arXiv:1706.06083, in the Euclidean norm.
    """
    with undisturbed(model):
        model.eval()
        start = for_every_copy(model, images)
        moved = torch.zeros_like(start)
        for _ in range(steps):
            moved.requires_grad_()
            margin = certified_radii(model(start + moved), labels, start.new_ones(len(start)))
            (slope,) = torch.autograd.grad(margin.sum(), moved)
            moved = moved.detach() - radius / 5 * _unit(slope)
            length = moved.flatten(2).norm(dim=2)[..., None, None, None]
            moved = moved * (radius / length.clamp_min(1e-12)).clamp(max=1)
    return start + moved


def _unit(x):
    """Each image of x (R, N, 1, H, W) over its length."""
    return x / x.flatten(2).norm(dim=2).clamp_min(1e-12)[..., None, None, None]


def _finite_only(function, matrices):
    """Apply a function of torch.linalg, which raises where a number is not finite: NaN there."""
    finite = matrices.isfinite().flatten(-2).all(-1)
    values = function(torch.where(finite[..., None, None], matrices, 0.0))
    return torch.where(finite[..., None], values, torch.nan)
