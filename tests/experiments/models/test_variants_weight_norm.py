"""Weight norm of copies: each copy is torch's, it travels, it has rates of its own, it looks at data."""

import copy
import pickle
from functools import partial

import pytest
import torch
from small_nets import F64, assert_copies_never_mix, cnn, mlp, part, rnn, shaken
from torch import nn
from torch.nn.utils import parametrizations, parametrize
from torch.testing import assert_close

from norms.experiments import evaluation
from norms.experiments.models import NORMS, Conv, Linear, on_weight, stored_weight
from norms.experiments.models.copies import generators_of
from norms.experiments.models.travelling import travelling
from norms.experiments.models.variants.weight_norm import (
    MeanOnlyBatchNorm,
    data_dependent,
    mean_only_of_features,
    mean_only_of_maps,
    rated_weight_of_copies,
    weight_norm_of_copies,
)
from norms.experiments.training import seeded, train

SEEDS = [3, 5]
MEAN_ONLY = {"features": mean_only_of_features, "maps": mean_only_of_maps}
IMAGES = {mlp: torch.randn(2, 7, 1, 8, 8), cnn: torch.randn(2, 7, 1, 8, 8)}
every_net = pytest.mark.parametrize("net", IMAGES, ids=["mlp", "cnn"])


def layer_of(kind, **options):
    """A layer of two copies with weight norm, all of its numbers at random."""
    layer = (
        Linear(4, 3, generators_of(SEEDS)) if kind is Linear else Conv(4, 3, generators_of(SEEDS))
    )
    return on_weight("weight", layer, **options)


def torchs(layer, number):
    """The same copy as torch's own layer with torch's weight norm."""
    g, v = layer.parametrizations.weight.original0, layer.parametrizations.weight.original1
    if isinstance(layer, Linear):
        theirs, v, g = nn.Linear(4, 3, dtype=F64), v[number].T, g[number].T
    else:
        theirs = nn.Conv2d(4, 3, 3, padding=1, dtype=F64)
        v, g = (p.unflatten(0, (2, 3))[number] for p in (v, g))
    parametrizations.weight_norm(theirs)
    theirs.load_state_dict(
        {
            "bias": part(layer.bias, number, 2),
            "parametrizations.weight.original0": g,
            "parametrizations.weight.original1": v,
        }
    )
    return theirs


@pytest.mark.parametrize("kind", [Linear, Conv])
def test_each_copy_is_torchs_weight_norm(kind):
    layer = shaken(layer_of(kind))
    x = torch.randn((2, 5, 4) if kind is Linear else (5, 8, 6, 6), dtype=F64)
    for number in range(2):
        theirs = torchs(layer, number)
        mine = x[number] if kind is Linear else x.unflatten(1, (2, 4))[:, number]
        y = layer(x)
        ours = y[number] if kind is Linear else y.unflatten(1, (2, 3))[:, number]
        expected = theirs(mine)
        assert_close(ours, expected)
        gradients = [
            dict(zip(names, torch.autograd.grad(out.square().sum(), of), strict=True))
            for out, names, of in (
                (ours, *zip(*layer.named_parameters(), strict=True)),
                (expected, *zip(*theirs.named_parameters(), strict=True)),
            )
        ]
        for name, gradient in gradients[1].items():
            found = part(gradients[0][name], number, 2)
            shape = gradient.T.shape if kind is Linear and gradient.dim() == 2 else gradient.shape
            found = found.view(shape)
            assert_close(found.T if kind is Linear and gradient.dim() == 2 else found, gradient)


@every_net
def test_the_net_starts_as_without_a_norm_whatever_the_scale_of_v(net):
    plain = net(norm="none", seeds=SEEDS)
    for scale in (1.0, 0.1, 10.0):
        model = net(norm="weight", seeds=SEEDS, direction_scale=scale)
        assert_close(model(IMAGES[net]), plain(IMAGES[net]))
        assert_close(stored_weight(model.layers[0]), scale * plain.layers[0].weight)


def test_copies_do_not_mix():
    for net, x in IMAGES.items():
        assert_copies_never_mix(shaken(net(norm="weight", seeds=SEEDS)), x.double())


@pytest.mark.parametrize(
    "norm", ["none", "layer", {**NORMS["batch"], "weight": weight_norm_of_copies}]
)
def test_the_first_step_is_that_of_the_plain_net_up_to_the_second_order(norm):
    """Where g = |v| at the start."""
    both = norm if isinstance(norm, dict) else {**NORMS[norm], "weight": weight_norm_of_copies}
    behind = {k: v for k, v in both.items() if k != "weight"}
    change = {}
    for rate in (1e-3, 1e-4):
        ends = []
        for arm in (both, behind):
            model = mlp(norm=arm, seeds=SEEDS).double()
            before = model.layers[1].weight.detach().clone()
            parameters = list(model.parameters())
            x = IMAGES[mlp].double()
            gradients = torch.autograd.grad(model(x).square().mean(), parameters)
            with torch.no_grad():
                for p, g in zip(parameters, gradients, strict=True):
                    p -= rate * g
            ends.append(model.layers[1].weight.detach() - before)
        change[rate] = ((ends[0] - ends[1]).norm() / ends[1].norm()).item()
    assert change[1e-3] < 1e-2
    assert change[1e-4] == pytest.approx(change[1e-3] / 10, rel=0.1)


@pytest.mark.parametrize("net", [mlp, cnn, rnn])
@pytest.mark.parametrize("norm", ["weight", {"weight": rated_weight_of_copies}])
def test_a_model_travels_between_processes_bit_by_bit(net, norm):
    model = net(norm=norm, seeds=SEEDS)
    with torch.no_grad():
        for p in model.parameters():
            p.add_(torch.randn_like(p))
    frozen = next(p for name, p in model.named_parameters() if "original" in name)
    frozen.requires_grad_(False)
    model.eval()
    for there in (pickle.loads(pickle.dumps(model)), copy.deepcopy(model)):
        again = pickle.loads(pickle.dumps(there))
        for arrived in (there, again):
            assert not arrived.training
            assert dict(arrived.named_modules()).keys() == dict(model.named_modules()).keys()
            assert arrived.state_dict().keys() == model.state_dict().keys()
            for name, p in model.named_parameters():
                other = arrived.get_parameter(name)
                assert torch.equal(other, p)
                assert other is not p
                assert other.requires_grad == p.requires_grad
            x = torch.randn(2, 7, 1, 8, 10 if net is rnn else 8)
            assert torch.equal(arrived(x), model(x))


def test_a_layer_without_a_norm_travels_as_it_is():
    layer = travelling(Linear(4, 3, generators_of(SEEDS)))
    there = pickle.loads(pickle.dumps(layer))
    assert isinstance(there, Linear)
    assert not parametrize.is_parametrized(there)
    assert torch.equal(there.weight, layer.weight)


def test_a_layer_of_torch_is_left_as_it_is():
    layer = nn.Linear(3, 2)
    assert type(travelling(layer)) is nn.Linear


def test_trained_copies_come_back_from_another_process_as_they_were(images):
    build = partial(seeded, mlp, norm="weight")
    run = train(build, images, learning_rates=[0.1], seeds=[0, 1], steps=3, batch_size=8)
    back = pickle.loads(pickle.dumps(run)).model  # what the pool does
    weights = [stored_weight(model.layers[0]) for model in (run.model, back)]
    assert torch.equal(*weights)


# --- rates of their own


@pytest.mark.parametrize(("option", "name"), [("direction_rate", "1"), ("length_rate", "0")])
def test_the_rate_of_v_and_that_of_g_are_their_own(option, name):
    moved = {}
    for rate in (1.0, 3.0):
        model = mlp(norm="weight", seeds=SEEDS, **{option: rate}).double()
        out = model(IMAGES[mlp].double()).square().sum()
        names, parameters = zip(*model.named_parameters(), strict=True)
        moved[rate] = dict(zip(names, torch.autograd.grad(out, parameters), strict=True))
    for key, gradient in moved[1.0].items():
        assert_close(moved[3.0][key], gradient * (3 if key.endswith(f"original{name}") else 1))


def test_a_plain_weight_has_a_rate_of_its_own():
    norm = {"weight": rated_weight_of_copies}
    models = [mlp(norm=norm, seeds=SEEDS, direction_rate=rate) for rate in (1.0, 3.0)]
    models.append(mlp(norm="none", seeds=SEEDS))
    first, rated, plain = (
        torch.autograd.grad(
            m(IMAGES[mlp]).square().sum(), [stored_weight(m.layers[1]), m.head.weight]
        )
        for m in models
    )
    assert_close(rated[0], 3 * plain[0])
    assert_close(first[0], plain[0])
    assert_close(rated[1], plain[1])
    assert torch.equal(models[0](IMAGES[mlp]), models[2](IMAGES[mlp]))


# --- batch norm of the mean alone


@pytest.mark.parametrize(
    ("make", "shape", "axes"),
    [(mean_only_of_features, (2, 5, 3), (1,)), (mean_only_of_maps, (5, 6, 4, 4), (0, 2, 3))],
)
def test_the_mean_alone_is_taken_over_the_batch(make, shape, axes):
    layer, x = shaken(make(2, 3)), 2 + torch.randn(shape, dtype=F64)
    start = layer.running_mean.clone()
    mean = x.mean(axes, keepdim=True)
    assert_close(layer(x), x - mean + layer.bias)
    assert_close(layer.running_mean, 0.9 * start + 0.1 * mean)
    layer.eval()
    assert_close(layer(x), x - layer.running_mean + layer.bias)
    gradient = torch.autograd.grad((layer.train()(x) * x).sum(), layer.bias)[0]
    assert_close(gradient, x.sum(axes, keepdim=True))


def test_the_gradient_of_the_mean_is_not_forgotten():
    layer, x = shaken(mean_only_of_features(2, 3)), torch.randn(2, 5, 3, dtype=F64)
    assert torch.autograd.gradcheck(layer, x.requires_grad_())
    upstream = torch.randn_like(x)
    dx = torch.autograd.grad(layer(x), x, upstream)[0]
    assert_close(dx, upstream - upstream.mean(1, keepdim=True))


@every_net
def test_the_running_mean_is_read_and_put_back_like_batch_norms(net):
    model = net(norm=MEAN_ONLY, seeds=SEEDS)
    images = torch.randn(12, 1, 8, 8) + 1
    evaluation.predict(model, images, "batch", 6)
    assert not any(norm.running_mean.any() for norm in model.norms)
    evaluation.reestimate(model, images, 4)
    first = model.norms[0]
    sums = model.layers[0](images.expand(2, 12, 1, 8, 8).flatten(2)) if net is mlp else (
        model.layers[0](images.expand(2, 12, 1, 8, 8).squeeze(2).transpose(0, 1))
    )  # fmt: skip
    assert_close(first.running_mean, sums.mean(first.axes, keepdim=True))
    assert first.momentum == 0.1
    first.reset_running_stats()
    assert not first.running_mean.any()
    assert first.num_batches_tracked == 0
    assert isinstance(first, MeanOnlyBatchNorm)


# --- the start that looks at data


def sums_of(model, images):
    """The weighted sums of each hidden layer."""
    found = []
    hooks = [layer.register_forward_hook(lambda *a: found.append(a[2])) for layer in model.layers]
    model(images.expand(model.copies, *images.shape))
    for hook in hooks:
        hook.remove()
    return found


@every_net
@pytest.mark.parametrize("norm", ["none", "weight", {"weight": rated_weight_of_copies}])
def test_the_sums_of_the_batch_have_mean_0_and_variance_1(net, norm):
    images = 1 + torch.randn(40, 1, 8, 8)
    model = data_dependent(net, images, SEEDS, norm=norm)
    for t in sums_of(model, images):
        axes = (1,) if net is mlp else (0, 2, 3)
        assert_close(t.mean(axes), torch.zeros_like(t.mean(axes)), atol=1e-5, rtol=0)
        deviation = t.std(axes, correction=0)
        assert_close(deviation, torch.ones_like(deviation))
    assert not model.layers[0]._forward_hooks


@every_net
def test_weight_norm_takes_the_factor_into_g_alone(net):
    images = 1 + torch.randn(40, 1, 8, 8)
    start, model = (
        net(norm="weight", seeds=SEEDS, direction_scale=0.5),
        data_dependent(net, images, SEEDS, norm="weight", direction_scale=0.5),
    )
    plain = data_dependent(net, images, SEEDS, norm="none")
    for before, after, other in zip(start.layers, model.layers, plain.layers, strict=True):
        assert torch.equal(stored_weight(before), stored_weight(after))
        assert_close(after.weight, other.weight)  # so the two nets start as one function
        assert_close(after.bias, other.bias)
