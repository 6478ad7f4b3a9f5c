"""Signals and gradients by depth, dead and saturated units, update ratios."""

from dataclasses import dataclass

import torch

from norms.experiments.evaluation import batch_statistics, cross_entropy
from norms.experiments.models.seats import stored_weight

__all__ = [
    "Signals",
    "by_copy",
    "dead",
    "rms",
    "saturated",
    "signals",
    "squared_growth",
    "update_ratios",
]


@dataclass(frozen=True)
class Signals:
    """One batch on its way through R networks; a list has one entry a hidden layer.

    Attributes:
        linear: what the layer puts out, before the norm; each (R, N, ...).
        pre: what enters the activation, after the norm.
        post: what the activation puts out.
        gradients: of the batch's mean loss, with respect to ``pre``.
        loss: (R,).
    """

    linear: list[torch.Tensor]
    pre: list[torch.Tensor]
    post: list[torch.Tensor]
    gradients: list[torch.Tensor]
    loss: torch.Tensor


def signals(model, images, labels):
    """Send a batch forward and its gradient back, and keep what passes each hidden layer.

    Batch norm takes the statistics of this batch; the model does not change.

    Args:
        model: R copies, an ``MLP`` or a ``CNN``.
        images: (N, 1, H, W), the same for every copy.
        labels: (N,).

    Returns:
        :class:`Signals`.
    """
    linear, pre = [], []
    hooks = [
        module.register_forward_hook(
            lambda _module, _inputs, output, kept=kept: kept.append(output)
        )
        for modules, kept in ((model.layers, linear), (model.norms, pre))
        for module in modules
    ]
    try:
        with batch_statistics(model):
            logits = model(images.expand(model.copies, *images.shape))
    finally:
        for hook in hooks:
            hook.remove()
    loss = cross_entropy(logits, labels).mean(1)  # (R,)
    gradients = torch.autograd.grad(loss.sum(), pre)
    post = [model.activation(x) for x in pre]
    shaped = [
        [by_copy(x.detach(), model.copies) for x in xs] for xs in (linear, pre, post, gradients)
    ]
    return Signals(*shaped, loss.detach())


def rms(layers):
    """Return the root mean square of each layer and copy.

    Args:
        layers: D tensors (R, N, ...).

    Returns:
        Tensor (D, R).
    """
    return torch.stack([x.flatten(1).square().mean(1).sqrt() for x in layers])


def saturated(layers, limit=0.97, low=0.0, high=1.0):
    """Return the fraction of activations near an end of their range.

    Args:
        layers: D tensors (R, N, ...), after a sigmoid, or a tanh with ``low=-1``.
        limit: how near: beyond this fraction of the way from the middle to an end.
        low: the range's lower end.
        high: the range's upper end.

    Returns:
        Tensor (D, R).
    """
    middle, half = (low + high) / 2, (high - low) / 2
    return torch.stack(
        [((x - middle).abs() > limit * half).flatten(1).float().mean(1) for x in layers]
    )


def dead(layers):
    """Return the fraction of units that are zero for every image of the batch.

    Args:
        layers: D tensors (R, N, ...) after a relu; the unit is the last axis of features,
            each place of each channel of maps.

    Returns:
        Tensor (D, R).
    """
    return torch.stack([(x == 0).all(1).flatten(1).float().mean(1) for x in layers])


def update_ratios(model, updates):
    """Return the size of an update relative to the weights, layer by layer.

    Args:
        model: R copies.
        updates: changes of its parameters, as ``train`` gives them to ``watch``.

    Returns:
        Tensor (D + 1, R) of the ratio of root mean squares for the hidden layers' weights and
        the head's; about 10^-3 is healthy. Of a weight that carries a norm, the parameter behind
        it counts; a weight that is not trained has 0.
    """
    weights = [stored_weight(layer) for layer in (*model.layers, model.head)]
    pairs = zip(changes(model, updates, weights), weights, strict=True)
    sizes = [[t.detach().reshape(model.copies, -1).norm(dim=1) for t in pair] for pair in pairs]
    return torch.stack([update / weight.clamp_min(1e-30) for update, weight in sizes])


def changes(model, updates, weights):
    """Return the change of each of these weights by an update; 0 for one that is not trained.

    Args:
        model: R copies.
        updates: as ``train`` gives them to ``watch``, one for each parameter that is trained.
        weights: parameters of the model.
    """
    trained = [id(p) for p in model.parameters() if p.requires_grad]
    change = dict(zip(trained, updates, strict=True))
    return [change.get(id(weight), torch.zeros_like(weight)) for weight in weights]


def squared_growth(model, images, labels, skip=5):
    """Return by what factor the squared gradient grows in a layer on its way down, (R,).

    The geometric mean over the layers, without ``skip`` at each end. Arguments as for
    :func:`signals`.
    """
    squares = rms(signals(model, images, labels).gradients).square()
    first, last = skip, len(squares) - 1 - skip
    return (squares[first] / squares[last]) ** (1 / (last - first))


def by_copy(x, copies):
    """Features (R, N, C) as they are; maps (N, R*C, H, W) as (R, N, C, H, W)."""
    if x.dim() == 3:
        return x
    return x.unflatten(1, (copies, -1)).transpose(0, 1)
