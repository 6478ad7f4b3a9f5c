"""Fully connected nets with a norm on every weight, the last one too, and a start of one's choice."""

import torch

from norms.experiments.models.copies import generators_of, normal
from norms.experiments.models.nets import MLP
from norms.experiments.models.seats import on_weight, stored_weight

__all__ = ["NormedMLP"]


class NormedMLP(MLP):
    """R fully connected classifiers whose head carries the norm on its weight, as all layers do.

    Args:
        norm: as for :class:`norms.experiments.models.MLP`.
        depth: number of hidden layers.
        width: their size.
        seeds: one integer a copy.
        start: "normal" for the weights of ``MLP``; "orthonormal" for weights whose singular
            values are all 1, the head's too.
        **options: of ``MLP``.
    """

    def __init__(self, norm, depth, width, seeds, start="normal", **options):
        if start not in ("normal", "orthonormal"):
            raise ValueError(f"start is {start!r}; expected 'normal' or 'orthonormal'")
        super().__init__(norm, depth, width, seeds, **options)
        on_weight(norm, self.head)
        if start == "orthonormal":
            generators = generators_of(seeds)
            for layer in (*self.layers, self.head):
                weight = stored_weight(layer)  # (R, inputs, outputs)
                draws = normal(generators, *weight.shape[1:])
                with torch.no_grad():
                    weight.copy_(_orthonormal(draws))


def _orthonormal(draws):
    """The factor Q of each matrix, with as many orthonormal rows or columns as there can be."""
    if draws.shape[1] < draws.shape[2]:
        return _orthonormal(draws.mT).mT
    q, r = torch.linalg.qr(draws)
    return q * r.diagonal(dim1=1, dim2=2).sign()[:, None]  # else Q would not be drawn uniformly
