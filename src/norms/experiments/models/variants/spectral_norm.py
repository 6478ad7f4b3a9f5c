"""Spectral norm on the weights of R copies, and what else holds their singular values."""

import torch
from torch import nn
from torch.nn import functional as F

from norms.experiments.models.copies import Conv
from norms.experiments.models.travelling import travelling

__all__ = ["ClippedWeight", "NearlyOrthonormal", "OfSingularValue", "as_matrices"]

WARM_UP = 15  # iterations, as in norms.spectral_norm


class OfSingularValue(nn.Module):
    r"""Divide the weight of each copy by its largest singular value: a norm on a weight.

    .. math:: \bar w = \frac{g\, w}{\sigma}, \qquad \sigma = u^\top w\, v

    In training each reading improves the singular vectors; in evaluation they stay. They begin
    with the same random numbers in every copy.

    Args:
        layer: of R copies, linear or a convolution.
        gain: g, one number for all layers and copies.
        learned: whether each copy learns the g of each layer, from there.
        n_power_iterations: at each reading in training.
        warm_up: iterations at the start; 0 for a cold one.
        in_evaluation: iterate in evaluation, too: a fault.
        through_sigma: False takes :math:`\sigma` for a constant to the gradient: a fault.

    References:
        Miyato et al. 2018, arXiv:1802.05957, equation 8, algorithm 1 and appendix E.
    """

    def __init__(
        self,
        layer,
        gain=1.0,
        learned=False,
        n_power_iterations=1,
        warm_up=WARM_UP,
        in_evaluation=False,
        through_sigma=True,
    ):
        super().__init__()
        travelling(layer)
        self.copies, self.linear = layer.copies, not isinstance(layer, Conv)
        self.n_power_iterations, self.in_evaluation = n_power_iterations, in_evaluation
        self.through_sigma = through_sigma
        matrices = self._matrices(layer.weight.detach())
        each = matrices.new_full((layer.copies, 1, 1), gain)
        self.gain = nn.Parameter(each) if learned else gain
        generator = torch.Generator().manual_seed(0)
        for name, size in zip("uv", matrices.shape[1:], strict=True):
            guess = torch.randn(size, 1, generator=generator).to(matrices)
            self.register_buffer(
                name, F.normalize(guess, dim=0).expand(self.copies, -1, -1).clone()
            )
        self._iterate(matrices, warm_up)

    def forward(self, weight):
        matrices = self._matrices(weight)
        if self.training or self.in_evaluation:
            self._iterate(matrices.detach(), self.n_power_iterations)
        # Copies, since the next iteration overwrites the vectors before a backward needs these.
        sigma = self.u.mT.clone() @ matrices @ self.v.clone()  # (R, 1, 1)
        normed = matrices * (self.gain / (sigma if self.through_sigma else sigma.detach()))
        return normed.mT if self.linear else normed.view(weight.shape)

    def _matrices(self, weight):
        return as_matrices(weight, self.copies, self.linear)

    @torch.no_grad()
    def _iterate(self, matrices, times):
        for _ in range(times):
            self.u.copy_(F.normalize(matrices @ self.v, dim=1))
            self.v.copy_(F.normalize(matrices.mT @ self.u, dim=1))


class ClippedWeight(nn.Module):
    """Keep every entry of a weight within limits, after each update: a norm's rival on a weight.

    Args:
        layer: of R copies.
        limit: the largest size of an entry.

    References:
        Arjovsky, Chintala and Bottou 2017, arXiv:1701.07875, algorithm 1.
    """

    def __init__(self, layer, limit=0.1):
        super().__init__()
        travelling(layer)
        self.limit = limit

    def forward(self, weight):
        if not self.training:
            return weight.clamp(-self.limit, self.limit)
        with torch.no_grad():  # the update before this reading went too far
            weight.clamp_(-self.limit, self.limit)
        return weight.clone()


class NearlyOrthonormal(nn.Module):
    r"""Add the gradient of a penalty that draws all singular values of a weight to 1.

    .. math:: \beta\, \lVert W^\top W - I \rVert_F^2

    The smaller of the two products is computed: both have the same gradient, since their values
    differ by a constant. The loss itself does not show the penalty.

    Args:
        layer: of R copies.
        strength: :math:`\beta`.

    References:
        Brock et al. 2017, arXiv:1609.07093, equation 3. Miyato et al. 2018, arXiv:1802.05957,
        equation 24 has it for weights whose rows may be more than their columns.
    """

    def __init__(self, layer, strength=0.01):
        super().__init__()
        travelling(layer)
        self.copies, self.linear = layer.copies, not isinstance(layer, Conv)
        self.strength = strength

    def forward(self, weight):
        return _WithPenalty.apply(weight, self.copies, self.linear, self.strength)


class _WithPenalty(torch.autograd.Function):
    @staticmethod
    def forward(ctx, weight, copies, linear, strength):
        ctx.save_for_backward(weight)
        ctx.settings = copies, linear, strength
        return weight.clone()

    @staticmethod
    def backward(ctx, dy):
        (weight,) = ctx.saved_tensors
        copies, linear, strength = ctx.settings
        with torch.enable_grad():
            weight = weight.detach().requires_grad_()
            m = as_matrices(weight, copies, linear)
            gram = m @ m.mT if m.shape[1] <= m.shape[2] else m.mT @ m
            penalty = strength * (gram - torch.eye(gram.shape[-1]).to(gram)).square().sum()
            return dy + torch.autograd.grad(penalty, weight)[0], None, None, None


def as_matrices(weight, copies, linear):
    """Return the weight of a layer of R copies as matrices (R, outputs, all else).

    Args:
        weight: of a ``Linear``, (R, inputs, outputs), or of a ``Conv``, (R*outputs, inputs, 3, 3).
        copies: R.
        linear: which of the two.
    """
    return weight.mT if linear else weight.view(copies, -1, weight[0].numel())
