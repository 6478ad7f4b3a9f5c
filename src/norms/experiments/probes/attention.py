"""How an attention looks: the entropy of what a token attends to."""

import math

import torch

from norms.experiments.evaluation import for_every_copy, undisturbed

__all__ = ["attention_entropy"]


def attention_entropy(model, tokens):
    """Return the entropy of the attention in each block, in nats.

    It is 0 where every token attends to a single one, and largest where it attends to all that it
    sees alike.

    Args:
        model: R copies of a ``Transformer``, in evaluation mode for the time.
        tokens: (N, T), the same for every copy.

    Returns:
        Tensor (blocks, R): means over samples, heads and tokens.
    """
    read, blocks = [], [residual.branch for residual in model.stream[::2]]
    hooks = [
        block.reads.register_forward_hook(lambda _module, _inputs, y: read.append(y))
        for block in blocks
    ]
    try:
        with undisturbed(model), torch.no_grad():
            model.eval()
            model(for_every_copy(model, tokens))
    finally:
        for hook in hooks:
            hook.remove()
    return torch.stack(
        [_entropy(y, b.heads, *tokens.shape) for y, b in zip(read, blocks, strict=True)]
    )


def _entropy(read, heads, samples, length):
    """Of queries and keys (R, N*T, 3*C)."""
    query, key, _ = (
        read.double().view(len(read), samples, length, 3, heads, -1).permute(3, 0, 1, 4, 2, 5)
    )
    likeness = query @ key.mT / math.sqrt(query.shape[-1])  # (R, N, heads, T, T)
    later = torch.ones(length, length, dtype=torch.bool).triu(1)
    share = likeness.masked_fill(later, -torch.inf).softmax(-1)
    return torch.special.entr(share).sum(-1).mean((1, 2, 3))
