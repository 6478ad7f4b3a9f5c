"""How long the directions of weight norm are, and what an update does to them."""

import torch

from norms.experiments.models.seats import stored_weight
from norms.experiments.probes.signals import changes

__all__ = ["growth_by_pythagoras", "lengths"]

ROUNDING = 1e-6  # of a length in float32


def lengths(_step, model, updates):
    """Look at the directions of the hidden layers after an update; to be given to ``train``.

    Args:
        model: R copies of an MLP, after the update.
        updates: changes of its parameters.

    Returns:
        Tensor (3, R): the squared length of all directions together, that of their change, and
        the share of the units whose direction became shorter, by more than rounding.
    """
    weights = [stored_weight(layer) for layer in model.layers]
    squares, moved, shorter = 0, 0, []
    for weight, change in zip(weights, changes(model, updates, weights), strict=True):
        new = weight.detach().double()  # (R, inputs, units)
        square = new.square().sum(1)
        squares = squares + square.sum(1)
        moved = moved + change.square().sum((1, 2))
        shorter.append(square < (new - change).square().sum(1) * (1 - 2 * ROUNDING))
    return torch.stack([squares, moved, torch.cat(shorter, 1).double().mean(1)])


def growth_by_pythagoras(seen):
    """Return the growth of the squared length over the sum of the squared changes, step by step.

    It is 1 if every change is at right angles to the direction that it changes.

    Args:
        seen: what :func:`lengths` returned, stacked, (T, 3, R).

    Returns:
        Tensor (T - 1, R), since the first of T steps.
    """
    squares, moved = seen[:, 0], seen[:, 1]
    return (squares[1:] - squares[0]) / moved[1:].cumsum(0)
