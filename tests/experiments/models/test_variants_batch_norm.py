"""Batch norm's forms for experiments: of parts of a batch, with noise, with detached statistics."""

import pytest
import torch
from small_nets import F64, shaken
from torch.nn import functional as F
from torch.testing import assert_close
from twins import seen

from norms.experiments.models import (
    DetachedNorm,
    DriftingNoise,
    FeatureBatchNorm,
    MicroBatchNorm1d,
    MicroBatchNorm2d,
    behind_layer,
    noisy_norm,
)

KINDS = {"features": (MicroBatchNorm1d, (2, 8, 3)), "maps": (MicroBatchNorm2d, (8, 6, 4, 3))}
both_kinds = pytest.mark.parametrize("kind", KINDS)


def parts_of(x, kind):
    """Cut 8 samples into parts of 4, along the axis of samples."""
    return x.split(4, 1 if kind == "features" else 0)


# --- over parts of a batch


@both_kinds
def test_micro_batches_have_their_own_statistics(kind):
    layer, whole = (
        behind_layer("batch", 2, 3, kind, **options).double()
        for options in ({"micro_batch": 4}, {})
    )
    assert isinstance(layer, KINDS[kind][0])
    shaken(layer)
    whole.load_state_dict(layer.state_dict())
    shape = KINDS[kind][1]
    x, dy = 2 + torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
    found = seen(layer, x, dy)
    alone = [
        seen(whole, part, other)
        for part, other in zip(parts_of(x, kind), parts_of(dy, kind), strict=True)
    ]
    axis = 1 if kind == "features" else 0
    for key in ("y", "dx"):
        assert_close(found[key], torch.cat([a[key] for a in alone], axis))
    for key in ("dweight", "dbias"):  # what accumulation adds up
        assert_close(found[key], alone[0][key] + alone[1][key])


@both_kinds
def test_running_statistics_move_to_the_mean_of_the_parts_once_a_batch(kind):
    layer = KINDS[kind][0](6, 4).double()
    x = 2 + torch.randn(KINDS[kind][1], dtype=F64)
    layer(x)
    values = [
        part.transpose(1, 2).flatten(0, 1)
        if kind == "features"
        else part.transpose(0, 1).flatten(1)
        for part in parts_of(x, kind)
    ]  # (6, number of values) each
    assert_close(layer.running_mean, 0.1 * torch.stack([v.mean(1) for v in values]).mean(0))
    unbiased = torch.stack([v.var(1) for v in values]).mean(0)
    assert_close(layer.running_var, 0.9 + 0.1 * unbiased)
    assert layer.num_batches_tracked == 1


@both_kinds
def test_evaluation_and_reestimation_do_not_know_of_micro_batches(kind):
    layer = shaken(KINDS[kind][0](6, 4))
    whole = behind_layer("batch", 2, 3, kind).double()
    x = 2 + torch.randn(KINDS[kind][1], dtype=F64)
    layer(x)
    for momentum, training in ((0.1, False), (None, True)):
        whole.load_state_dict(layer.state_dict())
        for each in (layer, whole):
            each.momentum = momentum
            each.train(training)
        assert_close(layer(x), whole(x))
        for name, value in whole.state_dict().items():
            assert_close(layer.state_dict()[name], value)


@both_kinds
def test_a_batch_that_cannot_be_cut_is_refused(kind):
    shape = {"features": (2, 6, 3), "maps": (6, 6, 4, 3)}[kind]
    with pytest.raises(ValueError, match="batch of 6 cannot be cut into micro-batches of 4"):
        KINDS[kind][0](6, 4)(torch.randn(shape))
    assert KINDS[kind][0](6, 4).eval()(torch.randn(shape)).shape == shape


def test_a_micro_batch_of_a_single_value_is_refused():
    with pytest.raises(ValueError, match="more than 1 value"):
        MicroBatchNorm1d(6, 1)(torch.randn(2, 8, 3))


# --- noise


def test_every_feature_of_every_copy_drifts_by_itself():
    layer = noisy_norm(2, 3, mean=0.5, scale=1.25, spread=0.1)
    zero = layer[1](torch.zeros(2, 400, 3))  # nothing but the means
    assert len(zero.mean(1).unique()) == 6
    assert zero.mean(1).abs().max() < 0.52
    assert 0.1 < (zero - zero.mean(1, keepdim=True)).abs().max() < 0.21
    normed = layer[0](torch.randn(2, 400, 3))  # the copies' own statistics
    assert_close(normed.mean(1), torch.zeros(2, 3), atol=1e-5, rtol=0)
    scales = DriftingNoise(mean=0, scale=3, spread=0)(torch.ones(2, 400, 3))
    assert (scales == scales[:, :1]).all()
    assert len(scales.unique()) == 6
    assert 1 <= scales.min() < scales.max() <= 3


def test_noise_changes_with_each_call_in_training_and_is_absent_in_evaluation():
    noise, x = DriftingNoise(mean=0.5, scale=1.25, spread=0.1), torch.randn(4000, 6)
    first, second = noise(x), noise(x)
    assert (first.mean(0) - second.mean(0)).abs().max() > 0.05
    assert first.mean(0).abs().max() < 0.55
    assert torch.equal(noise.eval()(x), x)
    assert isinstance(noisy_norm(2, 3)[0], FeatureBatchNorm)


# --- a fault


def test_detached_norm_is_batch_norm_with_a_gradient_that_misses_the_statistics():
    layer = shaken(DetachedNorm(2, 6))
    x, dy = (torch.randn(2, 5, 6, dtype=F64) for _ in range(2))
    result = seen(layer, x, dy)
    for number in range(2):
        gain, shift = layer.weight[number, 0], layer.bias[number, 0]
        expected = F.batch_norm(x[number], None, None, gain, shift, training=True)
        assert_close(result["y"][number], expected)
        deviation = (x[number].var(0, correction=0) + 1e-5).sqrt()
        assert_close(result["dx"][number], dy[number] * gain / deviation)
