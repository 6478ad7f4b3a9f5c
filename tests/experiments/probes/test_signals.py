"""Signals and gradients by depth: what the instruments read is what passes in the network."""

from functools import partial

import numpy as np
import pytest
import torch
from small_nets import F64, SEATS, build, cnn, mlp, shaken, twin_of
from torch.nn import functional as F
from torch.testing import assert_close

from norms.experiments import probes
from norms.experiments.models import MLP
from norms.experiments.training import train


@pytest.mark.parametrize("norm", ["none", "batch", "layer"])
@pytest.mark.parametrize("net", [mlp, cnn], ids=["mlp", "cnn"])
def test_signals_are_those_of_torchs_network(net, norm):
    model = shaken(net(norm=norm, seeds=[3, 5]))
    twins = [twin_of(model, number) for number in range(2)]
    x, y = torch.randn(20, 1, 8, 8, dtype=F64), torch.randint(10, (20,))
    seen = probes.signals(model, x, y)
    for number, twin in enumerate(twins):
        kept = {}

        def keep(layer, _inputs, out, kept=kept):
            out.retain_grad()
            kept[layer] = out

        layers = list(twin)
        layers = layers[type(layers[0]) is torch.nn.Flatten :]  # of an MLP
        for layer in layers:
            layer.register_forward_hook(keep)
        loss = F.cross_entropy(twin(x), y)
        loss.backward()
        for k in range(2):
            linear, pre, post = (kept[layer] for layer in layers[3 * k : 3 * k + 3])
            assert_close(seen.linear[k][number], linear)
            assert_close(seen.pre[k][number], pre)
            assert_close(seen.post[k][number], post)
            assert_close(seen.gradients[k][number], pre.grad)
        assert_close(seen.loss[number], loss)


def test_batch_norm_makes_signals_of_size_one(images):
    model, (x, y) = build(mlp, "batch")([0, 1]), (part[:50] for part in images.train)
    seen = probes.signals(model, x, y)
    assert seen.pre[1].shape == (2, 50, 16)
    assert_close(probes.rms(seen.pre), torch.ones(2, 2), atol=1e-3, rtol=0)
    again = probes.signals(model.eval(), x, y)  # the statistics are the batch's, in each mode
    assert torch.equal(again.pre[1], seen.pre[1])
    maps = probes.signals(build(cnn, "batch")([0, 1]), x, y)
    assert maps.pre[0].shape == (2, 50, 4, 4, 4)


def test_sizes_are_root_mean_squares_of_each_layer_and_copy():
    layers = [torch.randn(2, 5, 3), 3 * torch.randn(2, 5, 2, 4, 4)]
    found = probes.rms(layers)
    for k, copy in ((0, 0), (0, 1), (1, 0), (1, 1)):
        values = layers[k][copy].flatten().double().numpy()
        assert found[k, copy].item() == pytest.approx(np.sqrt(np.mean(values**2)), rel=1e-5)


def test_saturated_are_those_near_an_end_of_the_range():
    half = torch.tensor([[[0.0, 0.5], [1.0, 0.0]]])  # (1, 2 images, 2 units)
    assert probes.saturated([half]).item() == 0.75
    assert probes.saturated([half], low=-1).item() == 0.25
    near = torch.tensor([[[0.98, 0.99], [0.02, 0.01]]])  # 0.97 of the way from 0.5: 0.985, 0.015
    assert probes.saturated([near]).item() == 0.5
    assert probes.saturated([near], limit=0.95).item() == 1


def test_dead_are_the_units_that_are_zero_for_every_image():
    x = torch.tensor([[[0.0, 0.5, 0], [1.0, 0.0, 0]]])  # (1, 2 images, 3 units)
    assert probes.dead([x]).item() == pytest.approx(1 / 3)
    maps = torch.zeros(1, 2, 2, 2, 2)
    maps[0, 1, 0, 0, 1] = 1  # one place of one channel, of one image
    assert probes.dead([maps]).item() == 7 / 8


def test_updates_are_relative_to_the_weights_of_each_layer_and_copy():
    model = mlp(norm="batch", seeds=[3, 5])
    updates = [torch.randn_like(parameter) for parameter in model.parameters()]
    found = probes.update_ratios(model, updates)
    change = dict(zip((name for name, _ in model.named_parameters()), updates, strict=True))
    names = ["layers.0.weight", "layers.1.weight", "head.weight"]
    for k, name in enumerate(names):
        for copy in range(2):
            weight = model.get_parameter(name)[copy]
            assert_close(found[k, copy], change[name][copy].norm() / weight.detach().norm())


def test_of_a_weight_with_a_norm_the_parameter_behind_it_counts():
    model = mlp(norm=SEATS["weight"], seeds=[3, 5])
    updates = [torch.zeros_like(parameter) for parameter in model.parameters()]
    names = [name for name, _ in model.named_parameters()]
    behind = names.index("layers.1.parametrizations.weight.original")
    updates[behind][1] = 0.01 * list(model.parameters())[behind][1].detach()
    ratios = probes.update_ratios(model, updates)
    expected = torch.zeros_like(ratios)
    expected[1, 1] = 0.01
    assert_close(ratios, expected)


def frozen(*names):
    """An MLP's copies of which parameters with these names are not trained."""

    def make(seeds):
        model = mlp(norm="layer", seeds=seeds)
        for name in names:
            model.get_parameter(name).requires_grad_(False)
        return model

    return make


def test_what_is_not_trained_shifts_nothing_and_has_the_ratio_0(images):
    def ratios(make):
        watch = lambda _step, model, updates: probes.update_ratios(model, updates)  # noqa: E731
        return train(make, images, learning_rates=[0.1], seeds=[3, 5], steps=1, batch_size=16,
                     watch=watch).watched[0]  # fmt: skip

    whole = ratios(frozen())
    assert (whole > 0).all()
    assert torch.equal(ratios(frozen("layers.0.bias", "norms.1.weight")), whole)
    part = ratios(frozen("layers.0.bias", "layers.1.weight"))
    assert torch.equal(part[[0, 2]], whole[[0, 2]])
    assert torch.equal(part[1], torch.zeros(2))


def test_updates_of_descent_are_as_large_as_its_rate(images):
    ratios = train(
        build(mlp, "none"), images, learning_rates=[0.1, 0.2], seeds=[0], steps=1, batch_size=16,
        watch=lambda _step, model, updates: probes.update_ratios(model, updates),
    ).watched[0]  # fmt: skip
    assert ratios.shape == (3, 2)
    assert torch.allclose(ratios[:, 1] / ratios[:, 0], torch.tensor(2.0), rtol=0.05)


def test_squared_gradients_grow_in_relu_networks(images):
    x, y = (part[:128] for part in images.train)
    grown = {
        norm: probes.squared_growth(MLP(norm, 16, 128, [0, 1]), x, y) for norm in ("none", "batch")
    }
    assert grown["batch"].shape == (2,)
    assert (grown["batch"] - np.pi / (np.pi - 1)).abs().max() < 0.15
    assert (grown["none"] - 1).abs().max() < 0.15


def test_growth_is_the_geometric_mean_without_the_ends(images):
    model, (x, y) = partial(MLP, "none", 6, 16)([0]), (part[:50] for part in images.train)
    squares = probes.rms(probes.signals(model, x, y).gradients).square()
    for skip in (0, 1, 2):
        steps = [squares[k] / squares[k + 1] for k in range(skip, 5 - skip)]
        expected = torch.stack(steps).log().mean(0).exp()
        assert_close(probes.squared_growth(model, x, y, skip), expected)
