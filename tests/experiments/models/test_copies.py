"""Layers of copies: each copy is torch's own layer, and draws its weights from its own seed."""

import pytest
import torch
from small_nets import F64, part, shaken, torchs_layer
from torch.nn import functional as F
from torch.testing import assert_close
from twins import assert_same, seen

from norms.experiments.models.copies import Conv, Linear, generators_of, look_up, normal


def test_a_copy_of_a_linear_layer_is_torchs():
    layer = shaken(Linear(4, 3, generators_of([3, 5])))
    x, dy = torch.randn(2, 7, 4, dtype=F64), torch.randn(2, 7, 3, dtype=F64)
    whole = seen(layer, x, dy)
    for number in range(2):
        theirs = seen(torchs_layer(layer, number), x[number], dy[number])
        theirs["dweight"], theirs["dbias"] = theirs["dweight"].T, theirs["dbias"][None]
        assert_same({name: value[number] for name, value in whole.items()}, theirs)


@pytest.mark.parametrize("stride", [1, 2])
def test_a_copy_of_a_convolution_is_torchs(stride):
    layer = shaken(Conv(2, 3, generators_of([3, 5]), stride=stride))
    size = {1: 5, 2: 3}[stride]  # rounded up
    x, dy = torch.randn(4, 2 * 2, 5, 5, dtype=F64), torch.randn(4, 2 * 3, size, size, dtype=F64)
    whole = seen(layer, x, dy)
    for number in range(2):
        mine = {}
        for name, value in whole.items():
            axis = 1 if name in ("y", "dx") else 0  # of R copies' channels
            mine[name] = value.unflatten(axis, (2, -1)).select(axis, number)
        theirs = seen(
            torchs_layer(layer, number), *(t.unflatten(1, (2, -1))[:, number] for t in (x, dy))
        )
        assert_same(mine, theirs)


@pytest.mark.parametrize(
    ("layer", "fan_in"), [(Linear, 50), (Conv, 9 * 50)], ids=["linear", "convolution"]
)
def test_weights_have_their_scale_and_offset(layer, fan_in):
    weight = layer(50, 64, generators_of([0, 1])).weight
    assert weight.std().item() == pytest.approx(fan_in**-0.5, rel=0.05)
    larger = layer(50, 64, generators_of([0, 1]), weight_scale=3.0).weight
    assert_close(larger, 3 * weight)
    if layer is Linear:
        moved = layer(50, 64, generators_of([0, 1]), weight_scale=3.0, weight_offset=0.5).weight
        assert_close(moved, 3 * weight + 0.5)


@pytest.mark.parametrize("layer", [Linear, Conv])
def test_biases_are_zero_at_first(layer):
    made = layer(50, 64, generators_of([0, 1]))
    assert made.bias.numel() == 2 * 64
    assert not made.bias.any()


@pytest.mark.parametrize("layer", [Linear, Conv])
def test_each_copy_draws_from_its_own_seed(layer):
    both, alone = (layer(4, 6, generators_of(seeds)) for seeds in ([3, 5], [5]))
    assert torch.equal(part(both.weight, 1, 2), part(alone.weight, 0, 1))
    assert not torch.equal(part(both.weight, 0, 2), part(both.weight, 1, 2))
    assert (both.copies, alone.copies) == (2, 1)


def test_draws_are_torchs_of_each_generator():
    drawn = normal(generators_of([3, 5]), 2, 4)
    for number, seed in enumerate([3, 5]):
        expected = torch.randn(2, 4, generator=torch.Generator().manual_seed(seed))
        assert torch.equal(drawn[number], expected)


def test_a_character_is_looked_up_in_the_table_of_its_copy():
    tables, tokens = torch.randn(2, 5, 3), torch.randint(5, (2, 4, 6))
    found = look_up(tables, tokens)
    assert found.shape == (2, 4, 6, 3)
    for number in range(2):
        assert torch.equal(found[number], F.embedding(tokens[number], tables[number]))
