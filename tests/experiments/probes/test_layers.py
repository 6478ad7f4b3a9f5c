"""What a single layer does: Jacobians, invariances, gradients of its weights, rounding."""

import copy

import pytest
import torch
from small_nets import SEATS, build, mlp, twin_of
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import norms
from norms.experiments import probes
from norms.experiments.training import train


@pytest.mark.parametrize("norm", ["none", "batch"])
def test_the_gradient_of_weights_is_that_of_torchs_network(norm, images):
    model = build(mlp, norm)([3, 5])
    x, y = images.test[0][:50], images.test[1][:50]
    cosine, ratio = probes.weight_gradient_cosine(model, x, y, layer=1, factor=2.0)
    cosines, ratios = [], []
    for number in range(2):
        twin = twin_of(copy.deepcopy(model).double(), number)
        layer, lengths = twin[4], []  # flatten, (layer, norm, activation) twice
        for factor in (1, 2.0):
            with torch.no_grad():
                layer.weight.mul_(factor)
            twin.zero_grad()
            F.cross_entropy(twin(x.double()), y).backward()
            if factor == 1:
                cosines.append(F.cosine_similarity(layer.weight, layer.weight.grad).abs())
            lengths.append(layer.weight.grad.norm().item())
        ratios.append(lengths[1] / lengths[0])
    assert cosine == pytest.approx(torch.stack(cosines).max().item(), rel=1e-5, abs=1e-9)
    assert ratio == pytest.approx(sum(ratios) / 2)


def test_behind_batch_norm_the_gradient_stands_at_a_right_angle_to_the_weights(images):
    x, y = images.test[0][:50], images.test[1][:50]
    cosine, ratio = probes.weight_gradient_cosine(build(mlp, "batch")([0, 1]), x, y, layer=1)
    assert cosine < 1e-3
    assert ratio == pytest.approx(1 / 3, rel=1e-3)
    assert probes.weight_gradient_cosine(build(mlp, "none")([0, 1]), x, y, layer=1)[0] > 0.01


def test_under_weight_norm_the_gradient_of_v_stands_at_a_right_angle_to_v(images):
    model = build(mlp, SEATS["weight"])([3, 5])
    x, y = images.test[0][:50], images.test[1][:50]
    cosine, ratio = probes.weight_gradient_cosine(model, x, y, layer=1, factor=2.0)
    assert cosine < 1e-12
    assert ratio == pytest.approx(1 / 2)  # twice the length, half the gradient


def test_a_rotation_is_the_angle_between_the_weights_before_and_after(images):
    """By hand in two copies, of units that turn by 0, by a right angle, by 1e-4 and by 0.3."""
    model = build(mlp, "batch")([3, 5])
    model.layers[0].bias.requires_grad_(False)  # then it has no update
    parameters = [p for p in model.parameters() if p.requires_grad]
    updates = [torch.zeros_like(p) for p in parameters]
    place = [id(p) for p in parameters].index(id(model.layers[1].weight))
    angles = torch.tensor([0, torch.pi / 2, 1e-4, 0.3], dtype=torch.float64)
    units = model.layers[1].weight.shape[2]
    turned = angles.repeat(2, -(-units // 4))[:, :units].flip(1)  # (R, units)
    turned[1] *= 0.5  # the second copy by half of it
    old = torch.zeros_like(model.layers[1].weight).double()
    old[:, 0] = 2
    new = torch.zeros_like(old)
    new[:, 0], new[:, 1] = 5 * turned.cos(), 5 * turned.sin()  # longer as well
    with torch.no_grad():
        model.layers[1].weight.copy_(new)
    updates[place] = (new - old).float()
    found = probes.rotations(model, updates)
    assert found.shape == (2, 2)  # layers, copies
    assert (found[0] == 0).all()
    assert_close(found[1], turned.square().mean(1).sqrt(), rtol=1e-5, atol=0)


def test_behind_batch_norm_weight_decay_settles_how_far_a_step_turns(images):
    """By the root of 2 · rate · decay, whatever the first weights; without a norm it does not."""
    late = {}
    for norm in ("batch", "none"):
        run = train(
            build(mlp, norm), images, learning_rates=[0.5], seeds=[0, 1], steps=300, batch_size=10,
            weight_decay=0.03, watch=lambda _step, model, updates: probes.rotations(model, updates),
        )  # fmt: skip
        late[norm] = torch.stack(run.watched)[200:].square().mean(0).sqrt()  # (D, R)
    assert_close(late["batch"] / 0.03**0.5, torch.ones(2, 2).double(), rtol=0.1, atol=0)
    assert not (late["none"] / 0.03**0.5 - 1).abs().max() < 0.1


@pytest.mark.parametrize("offset", [0, 1, 30])
@pytest.mark.parametrize("units", [2, 4])
def test_five_norms_after_a_linear_layer_are_their_formulas(units, offset):
    x, weight = torch.randn(9, 5).double() + offset, torch.randn(units, 5).double()
    sums = x @ weight.T
    expected = {
        "batch": (sums - sums.mean(0)) / sums.std(0, correction=0),
        "layer": (sums - sums.mean(1, keepdim=True)) / sums.std(1, correction=0, keepdim=True),
        "rms": sums / (sums**2).mean(1, keepdim=True).sqrt(),
        "weight": sums / weight.norm(dim=1),
        "spectral": sums / torch.linalg.svdvals(weight)[0],
    }
    found = probes.norms_after_linear(x, weight)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert_close(found[name], value, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


def test_blocks_of_a_jacobian_say_which_sample_depends_on_which():
    mixing = probes.jacobian_blocks(lambda x: x - x.mean(0), torch.randn(3, 2))
    expected = torch.full((3, 3), 2**0.5 / 3)
    assert_close(mixing, expected.fill_diagonal_(2 / 3 * 2**0.5))
    matrix = torch.randn(4, 2)
    alone = probes.jacobian_blocks(lambda x: x @ matrix.T, torch.randn(3, 2))
    assert_close(alone, matrix.norm() * torch.eye(3))
    first = probes.jacobian_blocks(lambda x: x[:1].expand(3, 2), torch.randn(3, 2))
    assert_close(first, 2**0.5 * torch.tensor([[1.0, 0, 0]] * 3))  # rows are outputs


def test_rounding_errors_are_the_largest_of_200_tokens():
    exact, given = nn.LayerNorm(64, dtype=torch.float64), []

    def off(x):  # in one place
        given.append(x)
        y = exact(x.double())
        y[-1, -1] -= 0.25
        return y

    def one_pass(x):
        mean = x.mean(1, keepdim=True)
        return (x - mean) / ((x**2).mean(1, keepdim=True) - mean**2 + 1e-5).clamp_min(1e-5) ** 0.5

    error = probes.rounding_error
    assert error(off, exact, 0, offset=3, size=0.5) == pytest.approx(0.25)
    assert given[0].shape == (200, 64)
    assert given[0].mean().item() == pytest.approx(3, abs=0.02)
    assert given[0].std().item() == pytest.approx(0.5, rel=0.02)
    assert error(lambda x: exact(x.double()), exact, 0) == 0
    assert error(lambda x: x, lambda x: x, 0, dtype=torch.bfloat16) == 0  # both see the rounded
    assert error(one_pass, exact, 0, offset=3000) > 0.1
    assert error(norms.LayerNorm(64), exact, 0, offset=3000) < 5e-3
