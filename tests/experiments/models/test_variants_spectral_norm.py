"""Spectral norm on the weights of copies, its rivals, and nets with a norm on every weight."""

import copy
import pickle
from functools import partial

import pytest
import torch
from small_nets import F64, assert_copies_never_mix, cnn, mlp
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize
from torch.testing import assert_close

from norms.experiments.data import digits
from norms.experiments.evaluation import predict
from norms.experiments.models import NORMS, Conv, Linear
from norms.experiments.models.copies import generators_of
from norms.experiments.models.seats import on_weight, stored_weight
from norms.experiments.models.variants.normed_nets import NormedMLP
from norms.experiments.models.variants.spectral_norm import (
    ClippedWeight,
    NearlyOrthonormal,
    OfSingularValue,
    as_matrices,
)
from norms.experiments.training import seeded, train

LAYERS = {
    "linear": lambda: Linear(6, 4, generators_of([1, 2])),
    "conv": lambda: Conv(3, 4, generators_of([1, 2])),
}


def normed(kind, norm=OfSingularValue, **options):
    """A layer of two copies in float64 with a norm on its weight."""
    return on_weight({"weight": norm}, LAYERS[kind]().double(), **options)


def of(layer):
    return layer.parametrizations.weight[0]


def twins(kind, layer):
    """Each copy as torch's own layer with torch's spectral norm and the copy's vectors."""
    matrices = as_matrices(stored_weight(layer).detach(), 2, kind == "linear")
    for number in range(2):
        twin = nn.Linear(*matrices.shape[:0:-1], bias=False, dtype=F64)
        twin.weight.data = matrices[number].clone()
        parametrizations.spectral_norm(twin)
        theirs = twin.parametrizations.weight[0]
        theirs._u.copy_(of(layer).u[number, :, 0])
        theirs._v.copy_(of(layer).v[number, :, 0])
        yield twin


@pytest.mark.parametrize("kind", LAYERS)
def test_each_copy_is_torchs_spectral_norm(kind):
    layer = normed(kind)
    stored_weight(layer).data.mul_(1.7).add_(0.1)  # the vectors now lag behind
    pairs = list(twins(kind, layer))
    for _ in range(3):  # readings in training
        ours = as_matrices(layer.weight, 2, kind == "linear")
        theirs = torch.stack([twin.weight for twin in pairs])
        assert_close(ours, theirs)
    dy = torch.randn_like(ours)
    (found,) = torch.autograd.grad(ours, stored_weight(layer), dy)
    expected = [
        torch.autograd.grad(t, twin.parametrizations.weight.original, d)[0]
        for t, twin, d in zip(theirs, pairs, dy, strict=True)
    ]
    assert_close(as_matrices(found, 2, kind == "linear"), torch.stack(expected))
    layer.eval()
    assert torch.equal(layer.weight, layer.weight)
    theirs = torch.stack([twin.eval().weight for twin in pairs])
    assert_close(as_matrices(layer.weight, 2, kind == "linear"), theirs)


@pytest.mark.parametrize("kind", LAYERS)
def test_many_iterations_give_the_largest_singular_value_one(kind):
    layer = normed(kind, n_power_iterations=200)
    values = torch.linalg.svdvals(as_matrices(layer.weight, 2, kind == "linear"))
    assert_close(values[:, 0], torch.ones(2, dtype=F64))


def test_the_vectors_are_found_at_the_start_and_alike_in_every_copy():
    # Registering reads the weight, once in training mode: a first iteration.
    cold, warm = (normed("linear", warm_up=warm_up).eval() for warm_up in (0, 15))
    errors = [(torch.linalg.svdvals(layer.weight)[:, 0] - 1).abs() for layer in (cold, warm)]
    assert errors[1].max() < 1e-3 < errors[0].min()
    guessed = OfSingularValue(LAYERS["linear"](), warm_up=0)
    assert torch.equal(*guessed.u)
    assert torch.equal(*guessed.v)
    assert_close(guessed.u.norm(dim=1), torch.ones(2, 1))


def test_a_gain_multiplies_and_can_be_learned():
    plain, fixed, learned = (
        normed("linear", **o) for o in ({}, {"gain": 3}, {"gain": 3.0, "learned": True})
    )
    assert_close(fixed.weight, 3 * plain.weight)
    assert_close(learned.weight, fixed.weight)
    assert len(list(fixed.parameters())) == len(list(plain.parameters())) == 2
    assert of(learned).gain.shape == (2, 1, 1)
    dy = torch.randn(2, 6, 4, dtype=F64)
    (dgain,) = torch.autograd.grad(learned.eval().weight, of(learned).gain, dy)
    assert_close(dgain[:, 0, 0], (dy * plain.eval().weight).sum((1, 2)))


def test_the_gradient_goes_through_sigma_unless_it_shall_not():
    dy = torch.randn(2, 6, 4, dtype=F64)
    through, without = (
        torch.autograd.grad(layer.eval().weight, stored_weight(layer), dy)[0]
        for layer in (normed("linear"), normed("linear", through_sigma=False))
    )
    weight = stored_weight(normed("linear")).detach()
    sides = ((weight * g).sum((1, 2)).abs() for g in (through, without))
    assert next(sides).max() < 1e-12  # the weight's own length has no gradient
    assert next(sides).min() > 1e-3


def test_evaluation_iterates_if_it_is_told_to():
    for on, expected in ((True, False), (False, True)):
        layer = normed("linear", in_evaluation=on).eval()
        stored_weight(layer).data.add_(0.3 * torch.randn(2, 6, 4, dtype=F64))
        assert torch.equal(layer.weight, layer.weight) == expected


def test_spectral_norm_is_a_norm_of_the_nets():
    assert NORMS["spectral"] == {"weight": OfSingularValue}
    for model in (mlp(norm="spectral", seeds=[1, 2]), cnn(norm="spectral", seeds=[1, 2])):
        images = torch.randn(2, 3, 1, 8, 8)
        assert_copies_never_mix(model, images)
        kept = copy.deepcopy(model).eval()
        sent = pickle.loads(pickle.dumps(model)).eval()
        assert torch.equal(kept(images), model.eval()(images))
        assert torch.equal(sent(images), model(images))
        again = pickle.loads(pickle.dumps(sent))
        assert torch.equal(again(images), model(images))
        assert all(parametrize.is_parametrized(layer) for layer in again.layers)


def test_a_layer_travels_before_a_norm_sits_on_it():
    layer = LAYERS["linear"]()
    OfSingularValue(layer)
    sent = pickle.loads(pickle.dumps(layer))
    assert torch.equal(sent.weight, layer.weight)
    assert not parametrize.is_parametrized(sent)


def test_trained_copies_come_back_from_another_process_as_they_were():
    data, build = digits(), partial(seeded, mlp, norm="spectral")
    run = train(build, data, learning_rates=[0.1], seeds=[1, 2], steps=3, batch_size=8)
    back = pickle.loads(pickle.dumps(run)).model  # what the pool does
    assert torch.equal(*(predict(model, data.test[0][:20]) for model in (run.model, back)))
    for ours, theirs in zip(run.model.buffers(), back.buffers(), strict=True):
        assert torch.equal(ours, theirs)


# --- rivals


def test_clipping_comes_after_the_update_and_lets_the_gradient_pass():
    layer = normed("linear", ClippedWeight, limit=0.2)
    stored_weight(layer).data[0, 0, :2] = torch.tensor([5.0, -5.0])
    weight = layer.weight
    assert weight.abs().max() == 0.2
    assert torch.equal(stored_weight(layer), weight)
    assert_close(weight[0, 0, :2], torch.tensor([0.2, -0.2], dtype=F64))
    dy = torch.randn_like(weight)
    assert torch.equal(torch.autograd.grad(weight, stored_weight(layer), dy)[0], dy)
    layer.eval()
    stored_weight(layer).data[0, 0, 0] = 5
    assert layer.weight[0, 0, 0] == 0.2
    assert stored_weight(layer)[0, 0, 0] == 5


@pytest.mark.parametrize("kind", LAYERS)
def test_the_penalty_is_that_of_the_smaller_product(kind):
    layer = normed(kind, NearlyOrthonormal, strength=0.3)
    w = stored_weight(layer)
    assert torch.equal(layer.weight, w)
    dy = torch.randn_like(w)
    (found,) = torch.autograd.grad(layer.weight, w, dy)
    m = as_matrices(w, 2, kind == "linear")  # (2, 4, 6) or (2, 4, 27)
    penalty = 0.3 * (m @ m.mT - torch.eye(4, dtype=F64)).square().sum()
    assert_close(found, dy + torch.autograd.grad(penalty, w)[0])


def test_the_penalty_of_a_tall_matrix_is_that_of_its_columns():
    layer = on_weight(
        {"weight": NearlyOrthonormal}, Linear(3, 7, generators_of([1])).double(), strength=0.5
    )
    w = stored_weight(layer)
    (found,) = torch.autograd.grad(layer.weight, w, torch.zeros_like(w))
    penalty = 0.5 * (w[0] @ w[0].T - torch.eye(3, dtype=F64)).square().sum()
    assert_close(found, torch.autograd.grad(penalty, w)[0])


def test_matrices_have_a_row_for_each_output():
    for kind, shape in {"linear": (2, 4, 6), "conv": (2, 4, 27)}.items():
        weight = LAYERS[kind]().weight
        matrices = as_matrices(weight, 2, kind == "linear")
        assert matrices.shape == shape
        second = weight[1].T if kind == "linear" else weight[4:].flatten(1)
        assert torch.equal(matrices[1], second)


# --- nets with a norm on every weight


def test_the_head_has_the_norm_too():
    model = NormedMLP("spectral", 2, 8, [1, 2])
    assert all(parametrize.is_parametrized(layer) for layer in (*model.layers, model.head))
    plain = NormedMLP("none", 2, 8, [1, 2])
    assert not any(parametrize.is_parametrized(layer) for layer in plain.modules())


@pytest.mark.parametrize("norm", ["none", "spectral"])
def test_an_orthonormal_start_has_singular_values_of_one(norm):
    model = NormedMLP(norm, 2, 16, [1, 2], start="orthonormal").double()
    for layer in (*model.layers, model.head):
        values = torch.linalg.svdvals(layer.weight)
        assert_close(values, torch.ones_like(values), atol=1e-6, rtol=0)
        assert not torch.equal(*layer.weight)
    alone = NormedMLP(norm, 2, 16, [2], start="orthonormal")
    assert_close(alone.head.weight[0], model.head.weight[1].float())


def test_another_start_is_refused():
    with pytest.raises(ValueError, match="'Xavier'; expected 'normal' or 'orthonormal'"):
        NormedMLP("none", 2, 8, [1], start="Xavier")


def test_an_orthonormal_matrix_is_drawn_evenly():
    """Half of the first entries are negative: QR alone has signs of its own."""
    model = NormedMLP("none", 1, 4, list(range(200)), start="orthonormal", inputs=4)
    assert 60 < (model.layers[0].weight[:, 0, 0] < 0).sum() < 140
    assert F.relu(model.layers[0].weight).any()
