"""The two seats of a norm: behind a layer, and on its weight."""

import pytest
import torch
from small_nets import F64, SEATS, OfLength, RMSOfMaps, part, shaken, torchs_norm
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize
from torch.testing import assert_close
from twins import assert_same, seen

from norms.experiments.models import (
    CNN,
    MLP,
    NORMS,
    RNN,
    Conv,
    Linear,
    MapsOfOneSample,
    Transformer,
    behind_layer,
    on_weight,
    stored_weight,
)
from norms.experiments.models.copies import generators_of
from norms.names import NAMES


def copies_of(tensor, kind):
    """Cut features (R, N, C) or maps (N, R*C, H, W) of three copies apart."""
    return tensor if kind == "features" else tensor.unflatten(1, (3, -1)).transpose(0, 1)


# --- behind a layer


@pytest.mark.parametrize(
    ("norm", "kind", "options"),
    [("batch", "features", {}), ("batch", "maps", {"eps": 0.5}),
     ("layer", "features", {}), ("layer", "features", {"eps": 0.5, "bias": False}),
     ("layer", "maps", {}), ("layer", "maps", {"eps": 0.5}),
     ("rms", "features", {}), ("rms", "features", {"eps": 0.5}),
     ("rms", "maps", {}), ("rms", "maps", {"eps": 0.5}),
     ("instance", "maps", {}), ("instance", "maps", {"eps": 0.5}),
     ("group", "maps", {"num_groups": 3}), ("group", "maps", {"num_groups": 2, "eps": 0.5})],
    ids=str,
)  # fmt: skip
def test_a_copy_of_a_norm_is_torchs_layer_with_its_own_parameters(norm, kind, options):
    layer = shaken(behind_layer(norm, 3, 6, kind, **options))
    theirs = [torchs_norm(layer, number, 3) for number in range(3)]
    if "eps" in options:
        assert all(their.eps == options["eps"] for their in theirs)
    shape = (3, 5, 6) if kind == "features" else (5, 3 * 6, 4, 2)
    x, dy = 2 + torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
    for _training in (True, False):  # and from the statistics that were remembered
        whole = seen(layer, x, dy)
        for number, their in enumerate(theirs):
            mine = {
                key: copies_of(value, kind)[number]
                if key in ("y", "dx")
                else part(value, number, 3)
                for key, value in whole.items()
            }
            assert_same(mine, seen(their, *(copies_of(t, kind)[number] for t in (x, dy))))
            their.eval()
        layer.eval()


@pytest.mark.parametrize("centre", [True, False])
def test_maps_of_one_sample_are_layer_or_rms_norm_over_channels_and_places(centre):
    """Also written out over (C, H, W), with the gain of a channel at all its places."""
    layer = shaken(MapsOfOneSample(3, 6, eps=1e-3, centre=centre))
    x = 2 + torch.randn(5, 18, 4, 2, dtype=F64)
    for number, maps in enumerate(copies_of(x, "maps")):
        gain = layer.weight[number].expand(6, 4, 2)
        if centre:
            shift = layer.bias[number].expand(6, 4, 2)
            expected = F.layer_norm(maps, (6, 4, 2), gain, shift, 1e-3)
            flat = [layer.weight[number].flatten(), layer.bias[number].flatten()]
            assert_close(F.group_norm(maps, 1, *flat, eps=1e-3), expected)
        else:
            expected = F.rms_norm(maps, (6, 4, 2), gain, 1e-3)
        assert_close(copies_of(layer(x), "maps")[number], expected)


def test_each_norm_has_torchs_epsilon_where_none_is_given():
    for kind in ("features", "maps"):
        assert behind_layer("layer", 2, 4, kind).eps == nn.LayerNorm(4).eps
        assert behind_layer("batch", 2, 4, kind).eps == nn.BatchNorm1d(4).eps
    assert behind_layer("instance", 2, 4, "maps").eps == nn.InstanceNorm2d(4).eps
    assert behind_layer("group", 2, 4, "maps").eps == nn.GroupNorm(4, 4).eps
    x = torch.full((1, 4, 2, 2), 1e-4)  # so small that epsilon counts
    expected = F.rms_norm(x, (4, 2, 2))
    assert_close(behind_layer("rms", 1, 4, "maps")(x), expected)
    assert not torch.allclose(RMSOfMaps(4, 1e-5, torch.float32)(x), expected, rtol=0.1)


def test_a_norm_may_be_a_name_a_dictionary_or_a_function():
    def make(copies, channels, **options):
        return (copies, channels, options)

    for norm in (make, {"features": make}):
        assert behind_layer(norm, 2, 4, eps=0.5) == (2, 4, {"eps": 0.5})
    assert behind_layer(make, 2, 4, "maps") == (2, 4, {})
    assert isinstance(behind_layer("none", 2, 4), nn.Identity)
    assert isinstance(behind_layer({"weight": OfLength}, 2, 4, "maps"), nn.Identity)


def test_every_norm_of_the_models_has_a_name_in_the_book():
    assert set(NORMS) <= set(NAMES)
    assert all(set(seats) <= {"features", "maps", "weight"} for seats in NORMS.values())


@pytest.mark.parametrize(
    ("has", "lacks"), [("features", "maps"), ("maps", "features")], ids=["maps", "features"]
)
def test_a_norm_that_does_not_serve_a_kind_is_refused_and_named(has, lacks):
    norm = {has: lambda copies, channels: nn.Identity(), "weight": OfLength}
    with pytest.raises(ValueError, match=rf"has no form for {lacks}; it has {has}"):
        behind_layer(norm, 2, 4, lacks)
    net = (CNN, (4,), (2,)) if lacks == "maps" else (MLP, 1, 8)
    with pytest.raises(ValueError, match=f"no form for {lacks}"):
        net[0](norm, *net[1:], seeds=[0])


def test_a_refusal_names_the_norm(monkeypatch):
    monkeypatch.setitem(NORMS, "flat", {"features": lambda copies, channels: nn.Identity()})
    with pytest.raises(ValueError, match="norm 'flat' has no form for maps; it has features"):
        behind_layer("flat", 2, 4, "maps")


def test_an_unknown_norm_is_refused_and_the_known_are_named():
    calls = {
        "behind": lambda: behind_layer("bach", 2, 4),
        "on": lambda: on_weight("bach", Linear(2, 2, generators_of([0]))),
        "mlp": lambda: MLP("bach", 1, 4, [0]),
        "cnn": lambda: CNN("bach", (4,), (2,), [0]),
        "rnn": lambda: RNN("bach", 4, [0], 2),
        "transformer": lambda: Transformer("bach", "pre", 1, 8, [0]),
    }
    for call in calls.values():
        with pytest.raises(ValueError, match="no norm 'bach'; NORMS has none, batch, layer, rms"):
            call()


# --- on the weight


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "rms", "function"])
def test_a_norm_that_sits_behind_the_layer_leaves_its_weight_alone(norm):
    layer = Linear(4, 3, generators_of([3, 5]))
    assert on_weight(SEATS[norm], layer, eps=0.5) is layer
    assert not parametrize.is_parametrized(layer)


@pytest.mark.parametrize("layer", [Linear, Conv])
def test_a_norm_on_the_weight_makes_it_from_the_old_one(layer):
    given = []

    def make(of, scale=1):
        given.append((of, scale))
        return OfLength(of)

    plain, normed = (layer(4, 3, generators_of([3, 5])) for _ in range(2))
    assert on_weight({"weight": make}, normed, scale=2) is normed
    assert given == [(normed, 2)]
    assert_close(normed.weight, plain.weight)  # g is |v| at first
    weights = normed.parametrizations.weight
    with torch.no_grad():
        weights[0].g.fill_(2)
        weights.original.mul_(3)  # the length of v does not matter
    assert_close(normed.weight, 2 * plain.weight / weights[0].length(plain.weight))


def test_the_stored_weight_is_what_the_optimizer_moves():
    plain, length = nn.Linear(3, 2), parametrizations.weight_norm(nn.Linear(3, 2))
    normed = on_weight({"weight": OfLength}, Linear(4, 3, generators_of([3, 5])))
    assert stored_weight(plain) is plain.weight
    assert stored_weight(normed) is normed.parametrizations.weight.original
    assert stored_weight(length) is length.parametrizations.weight.original1  # v, not g
    assert stored_weight(length).shape == (2, 3)
