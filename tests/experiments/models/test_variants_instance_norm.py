"""Instance norm's forms for experiments: told statistics, a mix with batch norm, norms left out."""

import pytest
import torch
from small_nets import F64, shaken
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

from norms.experiments.models import CNN
from norms.experiments.models.variants.instance_norm import (
    CNNWithStatistics,
    HalfInstanceHalfBatch,
    InstanceNormOfAnyMap,
    half_instance_half_batch,
    instance_norm_of_any_map,
    without_biases,
    without_last_norm,
)

NET = {"channels": (4, 6), "strides": (1, 2), "size": 6}


def test_half_the_channels_of_each_copy_are_normalized_by_themselves():
    layer = shaken(half_instance_half_batch(2, 6))
    assert isinstance(layer, HalfInstanceHalfBatch)
    x = torch.randn(5, 12, 3, 4, dtype=F64) * 2 + 1
    y = layer(x).unflatten(1, (2, 2, 3))  # (N, R, half, C/2, H, W)
    maps = x.unflatten(1, (2, 2, 3))
    for copy in range(2):
        own = slice(3 * copy, 3 * copy + 3)
        alone, batch = layer.instance, layer.batch
        first = F.instance_norm(maps[:, copy, 0], None, None, alone.weight[own], alone.bias[own])
        assert_close(y[:, copy, 0], first)
        mean, var = torch.zeros(3, dtype=F64), torch.ones(3, dtype=F64)
        second = F.batch_norm(
            maps[:, copy, 1], mean, var, batch.weight[own], batch.bias[own], training=True
        )
        assert_close(y[:, copy, 1], second)
        assert_close(batch.running_mean[own], 0.1 * maps[:, copy, 1].mean((0, 2, 3)))


def test_an_odd_number_of_channels_has_no_halves():
    with pytest.raises(ValueError, match="channels is 5; expected an even number"):
        half_instance_half_batch(2, 5)


@pytest.mark.parametrize("head", ["flatten", "pool"])
def test_the_head_is_told_mean_and_deviation_of_every_map_before_its_norm(head):
    model = shaken(CNNWithStatistics("instance", seeds=[3, 4], head=head, **NET))
    plain = CNN("instance", seeds=[3, 4], head=head, **NET).double()
    plain.load_state_dict({k: v for k, v in model.state_dict().items() if "statistics" not in k})
    images = torch.randn(2, 5, 1, 6, 6, dtype=F64)
    added = model(images) - plain(images)  # (R, N, classes)
    x, told = images.squeeze(2).transpose(0, 1), []
    for layer, norm in zip(plain.layers, plain.norms, strict=True):
        x = layer(x)
        maps = x.unflatten(1, (2, -1)).flatten(3)  # (N, R, C, H*W)
        told += [maps.mean(-1), (maps.var(-1, unbiased=False) + 1e-5).sqrt()]
        x = norm(x).relu()
    told = torch.cat(told, -1)
    for copy in range(2):
        expected = told[:, copy] @ model.statistics.weight[copy] + model.statistics.bias[copy]
        assert_close(added[copy], expected)
    assert not model.statistics.bias.requires_grad


def test_a_net_with_statistics_starts_from_the_weights_of_the_plain_one_and_its_own():
    told = CNNWithStatistics("instance", seeds=[3, 4], **NET)
    for name, value in CNN("instance", seeds=[3, 4], **NET).state_dict().items():
        assert_close(told.state_dict()[name], value)
    alone = CNNWithStatistics("instance", seeds=[4], **NET)
    assert_close(alone.statistics.weight[0], told.statistics.weight[1])
    assert (told.statistics.weight[0] != told.statistics.weight[1]).all()
    assert told.statistics.weight.std().item() == pytest.approx(20**-0.5, rel=0.15)


def test_without_biases_a_plain_net_is_homogeneous_and_learns_its_other_weights():
    model = without_biases(CNN, seeds=[0, 1], norm="none", **NET).double()
    images = torch.randn(2, 5, 1, 6, 6, dtype=F64)
    assert_close(model(3 * images), 3 * model(images))
    learned = {name for name, p in model.named_parameters() if p.requires_grad}
    assert learned == {"layers.0.weight", "layers.1.weight", "head.weight"}


def test_the_last_norm_alone_is_left_out():
    model = without_last_norm(CNN, seeds=[0], norm="instance", **NET)
    assert [type(norm).__name__ for norm in model.norms] == ["InstanceNorm2d", "Identity"]
    whole = CNN(seeds=[0], norm="instance", **NET)
    assert isinstance(whole.norms[-1], nn.Module)
    assert_close(model.head.weight, whole.head.weight)


def test_instance_norm_of_any_map_is_torchs_and_gives_the_shift_for_one_place():
    layer = shaken(instance_norm_of_any_map(2, 3))
    assert isinstance(layer, InstanceNormOfAnyMap)
    x = torch.randn(5, 6, 3, 4, dtype=F64)
    weight, bias = layer.weight.flatten(), layer.bias.flatten()
    assert_close(layer(x), F.instance_norm(x, None, None, weight, bias))
    assert_close(layer(x[..., :1, :1]), layer.bias.expand(5, 6, 1, 1))
