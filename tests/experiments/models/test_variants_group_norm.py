"""Around group norm: batch renorm, scattered groups, standardised weights, converted and frozen nets."""

import pytest
import torch
from small_nets import F64, assert_copies_never_mix, cnn, mlp, shaken
from torch.nn import functional as F
from torch.testing import assert_close
from twins import seen

import norms
from norms.experiments.data import digits
from norms.experiments.evaluation import evaluate, reestimate
from norms.experiments.models import NORMS, MicroBatchNorm2d
from norms.experiments.models.variants.group_norm import (
    MicroBatchRenorm2d,
    Reestimated,
    ScatteredGroupNorm,
    StandardizedWeight,
    batch_renorm,
    frozen_norms,
    permuted_channels,
    scattered_group_norm,
    to_group_norm,
)

IMAGES = torch.randn(2, 5, 1, 8, 8, dtype=F64, generator=torch.Generator().manual_seed(3))


def trained(norm, seeds=(1, 2), **options):
    """A CNN of two copies with parameters and running statistics of its own."""
    model = shaken(cnn(norm=norm, seeds=list(seeds), **options))
    for layer in model.norms:
        if hasattr(layer, "running_mean"):
            layer.running_mean.normal_()
            layer.running_var.uniform_(0.5, 2)
    return model.eval()


# --- batch renorm


def renorm(**options):
    """Two copies of three channels in parts of 4, with parameters and statistics of their own."""
    layer = shaken(batch_renorm(2, 3, 4, **options))
    layer.running_mean.normal_(0, 0.3)
    layer.running_var.uniform_(0.5, 2)
    return layer


@pytest.mark.parametrize(("r_max", "d_max"), [(1.2, 0.2), (100, 100)])
def test_batch_renorm_is_the_papers(r_max, d_max):
    layer = renorm(r_max=r_max, d_max=d_max, warmup=0)
    x, dy = (torch.randn(8, 6, 4, 3, dtype=F64) for _ in range(2))
    mean, deviation = layer.running_mean.clone(), (layer.running_var + layer.eps).sqrt()
    found = seen(layer, x, dy)
    x = x.requires_grad_()
    outputs = []
    for part in x.split(4):
        mu, var = part.mean((0, 2, 3)), part.var((0, 2, 3), correction=0)
        sigma = (var + layer.eps).sqrt()
        r = (sigma / deviation).detach().clamp(1 / r_max, r_max)
        d = ((mu - mean) / deviation).detach().clamp(-d_max, d_max)
        each = [t[:, None, None] for t in (mu, sigma, r, d, layer.weight, layer.bias)]
        mu, sigma, r, d, gain, shift = each
        outputs.append(gain * ((part - mu) / sigma * r + d) + shift)
    y = torch.cat(outputs)
    assert_close(found["y"], y.detach())
    assert_close(found["dx"], torch.autograd.grad(y, x, dy, retain_graph=True)[0])
    for key, parameter in {"dweight": layer.weight, "dbias": layer.bias}.items():
        assert_close(found[key], torch.autograd.grad(y, parameter, dy, retain_graph=True)[0])


def test_batch_renorm_without_limits_trains_with_the_statistics_of_inference():
    layer = renorm(r_max=1e6, d_max=1e6, warmup=0)
    x = torch.randn(8, 6, 4, 3, dtype=F64)
    expected = layer.eval()(x)
    assert_close(layer.train()(x), expected)


def test_batch_renorm_keeps_the_statistics_of_batch_norm():
    layer, plain = renorm(warmup=0), MicroBatchNorm2d(6, 4).double()
    plain.load_state_dict(layer.state_dict())
    for x in torch.randn(3, 8, 6, 4, 3, dtype=F64):
        layer(x), plain(x)
    for name, value in plain.state_dict().items():
        assert_close(layer.state_dict()[name], value)


def test_batch_renorm_warms_up_as_batch_norm():
    layer, plain = renorm(warmup=2), MicroBatchNorm2d(6, 4).double()
    plain.load_state_dict(layer.state_dict())
    same = [torch.allclose(layer(x), plain(x)) for x in torch.randn(3, 8, 6, 4, 3, dtype=F64)]
    assert same == [True, True, False]


def test_batch_renorm_evaluates_and_reestimates_as_batch_norm():
    model, plain = trained(batch_renorm, micro_batch=5), trained("batch", micro_batch=5)
    plain.load_state_dict(model.state_dict())
    assert_close(model(IMAGES), plain(IMAGES))
    for each in (model, plain):
        reestimate(each, IMAGES)
    for name, value in plain.state_dict().items():
        assert_close(model.state_dict()[name], value)


def test_batch_renorm_refuses_what_batch_norm_refuses():
    with pytest.raises(ValueError, match="more than 1 value"):
        MicroBatchRenorm2d(6, 1, warmup=0)(torch.randn(8, 6, 1, 1))
    with pytest.raises(ValueError, match="batch of 6 cannot be cut"):
        MicroBatchRenorm2d(6, 4)(torch.randn(6, 6, 2, 2))


# --- scattered groups


def test_scattered_groups_are_group_norm_of_permuted_channels():
    layer = shaken(ScatteredGroupNorm(2, 6, num_groups=3, seed=1))
    x = torch.randn(4, 12, 3, 2, dtype=F64)
    orders, y = layer.order.view(2, 6) - torch.tensor([[0], [6]]), layer(x)
    assert sorted(orders[0].tolist()) == sorted(orders[1].tolist()) == list(range(6))
    assert len({tuple(o) for o in [*orders.tolist(), list(range(6))]}) == 3
    for copy, order in enumerate(orders):
        mine = slice(6 * copy, 6 * copy + 6)
        mixed = F.group_norm(x[:, mine][:, order], 3)
        gain, shift = (p[mine][:, None, None] for p in (layer.weight, layer.bias))
        expected = torch.empty_like(mixed)
        expected[:, order] = mixed * gain[order] + shift[order]
        assert_close(y[:, mine], expected)


def test_scattered_groups_depend_on_the_seed_alone():
    first, again, other = (ScatteredGroupNorm(1, 16, seed=s).order.tolist() for s in (0, 0, 1))
    assert first == again != other


def test_a_gain_stays_with_its_channel():
    layer = scattered_group_norm(1, 8, seed=1)
    assert layer.order[3] != 3
    with torch.no_grad():
        layer.weight[3] = 0
        layer.bias[3] = 7
    y = layer(torch.randn(2, 8, 3, 3))
    assert (y[:, 3] == 7).all()
    assert (y[:, [0, 1, 2, 4, 5, 6, 7]] != 7).all()


# --- standardised weights


@pytest.mark.parametrize(("net", "axes"), [(mlp, (1,)), (cnn, (1, 2, 3))])
def test_every_unit_has_standardised_weights(net, axes):
    model = net(norm={"weight": StandardizedWeight}, seeds=[1, 2])
    for layer in model.layers:
        stored = layer.parametrizations.weight.original
        mean, var = stored.mean(axes, keepdim=True), stored.var(axes, correction=0, keepdim=True)
        assert_close(layer.weight, (stored - mean) / (var + 1e-5).sqrt())
    assert not hasattr(model.head, "parametrizations")


def test_standardised_weights_stand_with_a_group_norm_and_take_its_options():
    seats = {**NORMS["group"], "weight": StandardizedWeight}
    model = cnn(norm=seats, seeds=[1, 2], channels=(4, 8), num_groups=2)
    assert all(isinstance(norm, norms.GroupNorm) for norm in model.norms)
    assert [norm.num_groups for norm in model.norms] == [4, 4]  # of two copies
    assert_copies_never_mix(model, IMAGES.float())


# --- re-estimated in evaluation


def test_evaluation_mode_reestimates_and_training_does_not():
    data, options = digits(), {"norm": "batch", "seeds": [1, 2], "micro_batch": 4}
    model = Reestimated(cnn, data, images=64, batch_size=32, **options).train()
    plain = cnn(**options)
    batch = data.train[0][:8].expand(2, 8, 1, 8, 8)
    assert_close(model(batch), plain(batch))
    assert_close(model.state_dict()["net.norms.0.running_mean"], plain.norms[0].running_mean)
    expected = evaluate(reestimate(plain, data.train[0][:64], 32), *data.test)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    assert_close(evaluate(model, *data.test), expected)
    assert model.training
    assert model.net.norms[0].training
    assert not torch.equal(before["net.norms.0.running_var"], plain.norms[0].running_var)
    for name, value in before.items():  # training goes on as if nobody had looked
        assert_close(model.state_dict()[name], value)


# --- of a trained net


def test_conversion_keeps_gains_and_shifts_and_leaves_the_model_alone():
    model = trained("batch", channels=(4, 8))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    group = to_group_norm(model, num_groups=2)
    assert [norm.num_groups for norm in group.norms] == [4, 4]
    expected = cnn(norm="group", seeds=[1, 2], channels=(4, 8), num_groups=2).double()
    state = {name: value for name, value in before.items() if name in expected.state_dict()}
    expected.load_state_dict(state)
    assert_close(group(IMAGES), expected(IMAGES))
    for name, value in before.items():
        assert torch.equal(model.state_dict()[name], value)
    assert {p.requires_grad for p in group.parameters()} == {True}


def test_conversion_is_of_batch_norm():
    with pytest.raises(TypeError, match="norm 0 is Identity; expected batch norm"):
        to_group_norm(cnn(norm="none", seeds=[1]))


def test_frozen_norms_use_and_keep_the_running_statistics():
    model = trained("batch", channels=(4, 8))
    expected = model(IMAGES)
    model.train()
    frozen = frozen_norms(model)
    before = frozen.norms[0].running_mean.clone()
    assert_close(frozen(IMAGES), expected)
    assert torch.equal(frozen.norms[0].running_mean, before)
    assert model.norms[0].training
    frozen(IMAGES).square().sum().backward()
    assert frozen.norms[0].weight.grad.any()


@pytest.mark.parametrize("norm", ["none", "batch", "group"])
def test_a_permutation_changes_group_norm_alone(norm):
    model = trained(norm, channels=(8, 6) if norm != "group" else (8, 8))
    order = torch.tensor([3, 0, 6, 1, 7, 2, 5, 4])
    moved, back = permuted_channels(model, 0, order), order.argsort()
    assert not torch.equal(moved.layers[0].weight, model.layers[0].weight)
    same = torch.allclose(moved(IMAGES), model(IMAGES))
    assert same == (norm != "group")
    assert_close(permuted_channels(moved, 0, back)(IMAGES), model(IMAGES))


def test_a_permutation_inside_groups_changes_nothing():
    model = trained("group", channels=(8, 8))
    inside = torch.tensor([1, 0, 3, 2, 5, 4, 7, 6])  # groups of 2
    whole = torch.tensor([6, 7, 0, 1, 4, 5, 2, 3])
    for order in (inside, whole):
        assert_close(permuted_channels(model, 0, order)(IMAGES), model(IMAGES))


# --- statistics of all parts together


def test_synchronised_statistics_of_parts_are_those_of_the_batch():
    """Batch norm at N = 32 of 32 is synchronised batch norm, which has no arm of its own."""
    x, dy = (torch.randn(8, 6, 4, 3, dtype=F64) for _ in range(2))
    layer, whole = MicroBatchNorm2d(6, 8).double(), norms.BatchNorm2d(6).double()
    parts = x.split(2)  # what each machine knows, and what all of them add up to
    mean = torch.stack([part.mean((0, 2, 3)) for part in parts]).mean(0)
    square = torch.stack([part.square().mean((0, 2, 3)) for part in parts]).mean(0)
    mean, deviation = mean[:, None, None], (square - mean**2 + layer.eps).sqrt()[:, None, None]
    found, expected = seen(layer, x, dy), seen(whole, x, dy)
    assert_close(found["y"], (x - mean) / deviation)
    for key, value in expected.items():
        assert_close(found[key], value)
