"""Recurrent nets and residual streams: sizes, means and gradients by place."""

from dataclasses import dataclass

import torch

from norms.experiments.evaluation import cross_entropy, undisturbed
from norms.experiments.models.seats import stored_weight
from norms.experiments.probes.signals import rms

__all__ = ["Stream", "constant_share", "loss_by_place", "state_sizes", "stream"]


@dataclass(frozen=True)
class Stream:
    """One batch on its way through the residual stream of R Transformers.

    Attributes:
        size: root mean square of the stream after each branch, (2L, R) for L blocks.
        mean: that of the tokens' means over their features, as a share of ``size``, (2L, R).
        inputs: the same share in what each branch is given, after its norm, (2L, R).
        gradient: root mean square of the gradient with respect to the stream, (2L, R).
        weights: length of the gradient of each block's last matrix, (L, R).
        loss: mean loss of the batch, in nats, (R,).
    """

    size: torch.Tensor
    mean: torch.Tensor
    inputs: torch.Tensor
    gradient: torch.Tensor
    weights: torch.Tensor
    loss: torch.Tensor


def stream(model, tokens, targets):
    """Send a batch through R Transformers and its gradient back, and look at the stream.

    Args:
        model: R copies, a ``Transformer``.
        tokens: (N, T), the same for every copy.
        targets: what follows each token, (N, T).

    Returns:
        :class:`Stream`.
    """
    after, inputs = [], []
    hooks = [
        module.register_forward_hook(
            lambda _module, _inputs, output, kept=kept: kept.append(output)
        )
        for residual in model.stream
        for module, kept in ((residual, after), (residual.before, inputs))
    ]
    last = [stored_weight(block.branch.writes) for block in model.stream[1::2]]
    try:
        with undisturbed(model):
            logits = model(tokens.expand(model.copies, *tokens.shape))
            loss = cross_entropy(logits, targets).mean((1, 2))  # (R,)
            gradients = torch.autograd.grad(loss.sum(), [*after, *last])
    finally:
        for hook in hooks:
            hook.remove()
    after, inputs = ([x.detach() for x in xs] for xs in (after, inputs))
    return Stream(
        size=rms(after),
        mean=rms([x.mean(-1) for x in after]) / rms(after),
        inputs=rms([x.mean(-1) for x in inputs]) / rms(inputs),
        gradient=rms(gradients[: len(after)]),
        weights=torch.stack([g.flatten(1).norm(dim=1) for g in gradients[len(after) :]]),
        loss=loss.detach(),
    )


def constant_share(model, start):
    """Return which share of the change of the matrices that write to the stream is a mean.

    It is the length of the part of the change along the constant direction, by the length of the
    change, all matrices taken as one; by chance the inverse root of the width.

    Args:
        model: R copies, a ``Transformer``, trained.
        start: the same before training.

    Returns:
        Tensor (R,).
    """
    means, lengths = 0, 0
    for new, old in zip(model.stream, start.stream, strict=True):
        weights = (stored_weight(residual.branch.writes) for residual in (new, old))
        change = torch.sub(*weights).detach().double()  # (R, inputs, width)
        means = means + change.shape[-1] * change.mean(-1).square().sum(1)
        lengths = lengths + change.square().sum((1, 2))
    return (means / lengths).sqrt()


def state_sizes(model, tokens):
    """Return the size of a recurrent net's state after each token.

    Args:
        model: R copies, an ``RNN``.
        tokens: (N, T), the same for every copy.

    Returns:
        Tensor (T, R) of root mean squares over samples and units.
    """
    with undisturbed(model), torch.no_grad():
        states = model.states(tokens.expand(model.copies, *tokens.shape))  # (R, N, T, width)
    return states.double().square().mean((1, 3)).sqrt().T


def loss_by_place(model, tokens, targets):
    """Return the loss at each place of a sequence.

    Args:
        model: R copies of a net over sequences.
        tokens: (N, T), the same for every copy.
        targets: what follows each token, (N, T).

    Returns:
        Tensor (T, R) of means over samples, in nats.
    """
    with undisturbed(model), torch.no_grad():
        logits = model(tokens.expand(model.copies, *tokens.shape)).double()  # (R, N, T, K)
    return cross_entropy(logits, targets).mean(1).T
