"""The entropy of an attention, beside one that is computed head by head."""

import math

import torch
from small_nets import shaken, transformer
from torch.testing import assert_close

from norms.experiments.probes.attention import attention_entropy

TOKENS = torch.randint(5, (3, 6), generator=torch.Generator().manual_seed(0))


def test_the_entropy_is_that_of_each_row_of_the_softmax():
    model = shaken(transformer(norm="layer", placement="pre", seeds=[1, 2]))
    kept = []
    hook = model.stream[2].branch.reads.register_forward_hook(lambda _m, _i, y: kept.append(y))
    found = attention_entropy(model, TOKENS)
    hook.remove()
    assert model.training
    assert found.shape == (2, 2)
    query, key, _ = kept[0][1].view(3, 6, 3, 2, 4).unbind(2)  # second copy; (N, T, heads, 4)
    entropies = []
    for n in range(3):
        for head in range(2):
            for t in range(6):
                row = key[n, : t + 1, head] @ query[n, t, head] / 2
                share = row.softmax(0)
                entropies.append(-(share * share.log()).sum())
    assert_close(found[1, 1], torch.stack(entropies).mean().detach())


def test_an_attention_to_all_alike_has_the_largest_entropy():
    model = transformer(norm="none", placement="none", seeds=[1])
    for residual in model.stream[::2]:
        torch.nn.init.zeros_(residual.branch.reads.weight)
    expected = sum(math.log(t) for t in range(1, 7)) / 6
    assert_close(attention_entropy(model, TOKENS), torch.full((2, 1), expected).double())
