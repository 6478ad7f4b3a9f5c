"""A character Transformer of R copies, its norm in one of four places."""

import math
from functools import partial

from torch import nn
from torch.nn import functional as F

from norms.experiments.models.copies import Linear, generators_of, look_up, normal
from norms.experiments.models.seats import behind_layer, on_weight

__all__ = ["PLACEMENTS", "Attention", "FeedForward", "Residual", "Transformer"]

# Where the norm of a residual branch stands: before the branch, after the branch and inside the
# stream's bypass, or on the stream itself, after the sum.
PLACEMENTS = {
    "none": (),
    "pre": ("before",),
    "post": ("on the stream",),
    "peri": ("before", "after"),
}


class Residual(nn.Module):
    r"""A branch beside the residual stream, with its norms: pre, post, peri or none.

    .. math::
        \text{pre: } x + f(\mathrm{norm}(x)) \qquad
        \text{post: } \mathrm{norm}(x + f(x)) \qquad
        \text{peri: } x + \mathrm{norm}(f(\mathrm{norm}(x)))

    Args:
        branch: f, a module on (R, N*T, C) and the number of tokens T.
        placement: a key of :data:`PLACEMENTS`.
        make: makes a norm, without arguments.

    References:
        Xiong et al. 2020, arXiv:2002.04745 (pre and post). Kim et al. 2025, arXiv:2502.02732 (peri).
    """

    def __init__(self, branch, placement, make):
        super().__init__()
        places = PLACEMENTS[placement]
        self.branch = branch
        self.before = make() if "before" in places else nn.Identity()
        self.after = make() if "after" in places else nn.Identity()
        self.outer = make() if "on the stream" in places else nn.Identity()

    def forward(self, x, tokens):
        return self.outer(x + self.after(self.branch(self.before(x), tokens)))


class Attention(nn.Module):
    """Causal self-attention of R copies: (R, N*T, C) in and out.

    Args:
        width: C.
        heads: their number; divides C.
        generators: one ``torch.Generator`` a copy, of the initial weights (Xavier's scale).
        scale: factor on the initial weights that write to the stream.
    """

    def __init__(self, width, heads, generators, scale=1.0):
        super().__init__()
        self.heads = heads
        self.reads = Linear(width, 3 * width, generators)  # to query, key and value
        self.writes = Linear(width, width, generators, scale)

    def forward(self, x, tokens):
        shape = (-1, tokens, 3, self.heads, x.shape[-1] // self.heads)
        query, key, value = self.reads(x).view(shape).permute(2, 0, 3, 1, 4)  # (R*N, heads, T, C')
        seen = F.scaled_dot_product_attention(query, key, value, is_causal=True)
        return self.writes(seen.transpose(1, 2).reshape(x.shape))


class FeedForward(nn.Module):
    """Two linear layers with a ReLU between, four times as wide inside: (R, N*T, C) in and out.

    Args:
        width: C.
        generators: one ``torch.Generator`` a copy, of the initial weights (Xavier's scale).
        scale: factor on the initial weights that write to the stream.
    """

    def __init__(self, width, generators, scale=1.0):
        super().__init__()
        self.reads = Linear(width, 4 * width, generators, math.sqrt(2 / 5))
        self.writes = Linear(4 * width, width, generators, scale * math.sqrt(8 / 5))

    def forward(self, x, tokens):
        return self.writes(self.reads(x).relu())


class Transformer(nn.Module):
    """R character Transformers at once: each block attention and feed-forward, each with its norm.

    Args:
        norm: a key of :data:`NORMS` or a function, see :func:`behind_layer`.
        placement: a key of :data:`PLACEMENTS`. "pre" and "peri" have a last norm before the head.
        depth: number of blocks.
        width: C.
        seeds: one integer a copy: the seed of its initial weights.
        heads: of the attention.
        context: largest number of tokens.
        classes: number of characters.
        branch_scale: factor on the initial weights with which each branch writes to the stream:
            "plain" for 1, "scaled" for the inverse root of the number of branches, "zero" for 0.
            The last two are how a residual net is started that has no norm.
        **options: passed to the norm.

    Attributes:
        stream: the residual branches in their order, two a block.

    References:
        Radford et al. 2019, Language Models are Unsupervised Multitask Learners, section 2.3
        (scaled). Zhang, Dauphin and Ma 2019, arXiv:1901.09321 (zero).
    """

    def __init__(
        self,
        norm,
        placement,
        depth,
        width,
        seeds,
        heads=4,
        context=32,
        classes=61,
        branch_scale="plain",
        **options,
    ):
        super().__init__()
        scales = {"plain": 1.0, "scaled": (2 * depth) ** -0.5, "zero": 0.0}
        if branch_scale not in scales:
            raise ValueError(f"branch_scale is {branch_scale!r}; expected {', '.join(scales)}")
        scale, generators = scales[branch_scale], generators_of(seeds)
        self.copies = len(generators)
        make = partial(behind_layer, norm, self.copies, width, **options)
        self.characters = nn.Parameter(normal(generators, classes, width) * math.sqrt(1 / 2))
        self.places = nn.Parameter(normal(generators, context, width) * math.sqrt(1 / 2))
        self.stream = nn.ModuleList()
        for _ in range(depth):
            for branch in (
                Attention(width, heads, generators, scale),
                FeedForward(width, generators, scale),
            ):
                for layer in (branch.reads, branch.writes):
                    on_weight(norm, layer, **options)
                self.stream.append(Residual(branch, placement, make))
        self.last = make() if placement in ("pre", "peri") else nn.Identity()
        self.head = Linear(width, classes, generators)

    def forward(self, tokens):
        """Map tokens (R, N, T) to logits (R, N, T, classes)."""
        length = tokens.shape[2]
        x = (look_up(self.characters, tokens) + self.places[:, None, :length]).flatten(1, 2)
        for residual in self.stream:
            x = residual(x, length)
        return self.head(self.last(x)).unflatten(1, tokens.shape[1:])
