"""Singular values, Jacobians, the search of steep pairs, convolutions as matrices, radii."""

import math
from itertools import pairwise

import pytest
import torch
from small_nets import F64, cnn, mlp, shaken
from torch.nn import functional as F
from torch.testing import assert_close

from norms.experiments.evaluation import predict
from norms.experiments.models.variants.normed_nets import NormedMLP
from norms.experiments.probes import spectra

IMAGES = torch.randn(5, 1, 8, 8, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("net", [mlp, cnn])
def test_spectra_are_those_of_the_weights_in_use(net):
    model = shaken(net(norm="spectral", seeds=[1, 2]))
    before = {k: v.clone() for k, v in model.state_dict().items()}
    found = spectra.spectra(model)
    assert model.training
    assert all(torch.equal(v, before[k]) for k, v in model.state_dict().items())
    model.eval()
    layers = [*model.layers, model.head]
    assert len(found) == len(layers)
    for values, layer in zip(found, layers, strict=True):
        for number in range(2):
            weight = layer.weight
            mine = weight[number] if weight.dim() == 3 else weight.chunk(2)[number].flatten(1)
            assert_close(values[number], torch.linalg.svdvals(mine.detach()))
    (second,) = spectra.spectra(model, [model.layers[1]])
    assert torch.equal(second, found[1])
    assert_close(spectra.norm_product(model), torch.stack([v[:, 0] for v in found]).prod(0))


def test_a_copy_that_has_diverged_has_no_spectrum():
    model = mlp(norm="none", seeds=[1, 2])
    with torch.no_grad():
        model.head.weight[1, 0, 0] = math.inf
    first, *_, last = spectra.spectra(model)
    assert first.isfinite().all()
    assert last[0].isfinite().all()
    assert last[1].isnan().all()
    norms = spectra.jacobian_norms(model, IMAGES)
    assert norms[0].isfinite().all()


def test_stable_rank_counts_directions():
    assert_close(spectra.stable_rank(torch.tensor([[2.0, 2, 2, 0]])), torch.tensor([3.0]))
    assert_close(spectra.stable_rank(torch.tensor([3.0, 1.5])), torch.tensor(1.25))


def test_the_meter_looks_when_it_is_told():
    model = mlp(norm="spectral", seeds=[1, 2])
    meter = spectra.SpectrumMeter([2, 5], lambda m: m.layers[1:])
    seen = [meter(step, model, None) for step in range(1, 7)]
    assert [step for step, value in enumerate(seen, 1) if value is not None] == [2, 5]
    assert len(seen[1]) == 1
    assert len(spectra.SpectrumMeter([1])(1, model, None)) == 3


def test_jacobians_are_those_of_autograd():
    model = shaken(mlp(norm="spectral", seeds=[1, 2])).eval()
    images = IMAGES.double()
    found = spectra.jacobian_norms(model.train(), images)
    assert model.training
    model.eval()
    for number in range(2):
        for n, image in enumerate(images):

            def logits(x, number=number):
                return model(x.expand(2, 1, 1, 8, 8))[number, 0]

            jacobian = torch.autograd.functional.jacobian(logits, image).flatten(1)
            assert_close(found[number, n], torch.linalg.svdvals(jacobian)[0])


def test_steep_pairs_find_the_norm_of_a_linear_net():
    model = mlp(norm="none", seeds=[1, 2]).double()
    model.activation = torch.nn.Identity()
    matrices = model.layers[0].weight @ model.layers[1].weight @ model.head.weight
    largest = torch.linalg.svdvals(matrices.detach())[:, 0]
    found = spectra.steepest_pairs(model, IMAGES.double(), steps=300)
    assert (found <= largest * (1 + 1e-9)).all()
    assert (found > 0.97 * largest).all()
    assert (spectra.jacobian_norms(model, IMAGES.double())[:, 0] - largest).abs().max() < 1e-9


def test_steep_pairs_lie_below_the_product():
    model = shaken(NormedMLP("spectral", 3, 16, [1, 2])).eval()
    images = IMAGES.double()
    found = spectra.steepest_pairs(model, images)
    assert (found > spectra.jacobian_norms(model, images).amax(1) * 0.8).all()
    assert (found < spectra.norm_product(model)).all()
    assert not any(p.grad is not None for p in model.parameters())


def test_estimates_rise_to_the_largest_singular_value():
    matrix = torch.randn(6, 9, dtype=F64)
    u = torch.randn(6, dtype=F64)
    found = spectra.estimates(matrix, 300, u)
    assert len(found) == 300
    assert all(a <= b + 1e-12 for a, b in pairwise(found))
    assert found[-1] == pytest.approx(torch.linalg.svdvals(matrix)[0].item())
    v = F.normalize(matrix.T @ u, dim=0)
    assert found[0] == pytest.approx((matrix @ v).norm().item())


def dense(kernel, size, mode):
    """The matrix of a convolution, column by column."""
    shape = (kernel.shape[1], size, size)
    units = torch.eye(math.prod(shape), dtype=kernel.dtype).view(-1, *shape)
    pad = [kernel.shape[-1] // 2] * 4
    padded = F.pad(units, pad, mode="circular" if mode == "ring" else "constant")
    return F.conv2d(padded, kernel).flatten(1).T


@pytest.mark.parametrize("shape", [(3, 2, 3, 3), (2, 3, 5, 5)])
def test_convolutions_are_the_matrices_that_they_are(shape):
    kernel = torch.randn(shape, dtype=F64)
    values = torch.linalg.svdvals(dense(kernel, 6, "zeros"))
    assert spectra.convolution_norm(kernel, 6, steps=2000) == pytest.approx(values[0].item())
    ring = torch.linalg.svdvals(dense(kernel, 6, "ring"))
    found = spectra.convolution_spectrum(kernel, 6).flatten().sort(descending=True).values
    assert_close(found, ring)


def test_a_radius_is_the_margin_over_what_two_logits_can_move():
    model = shaken(NormedMLP("none", 2, 16, [1, 2]))
    logits = predict(model, IMAGES.double())
    labels = torch.tensor([0, 1, 2, 3, 4])
    found = spectra.certified_radii(logits, labels, torch.tensor([2.0, 3.0], dtype=F64))
    for number, constant in enumerate((2, 3)):
        for n, label in enumerate(labels):
            others = [z for k, z in enumerate(logits[number, n]) if k != label]
            margin = logits[number, n, label] - max(others)
            assert_close(found[number, n], margin / (2**0.5 * constant))


def test_an_attack_stays_within_its_radius_and_keeps_the_best():
    model = shaken(NormedMLP("none", 2, 16, [1, 2])).eval()
    images, labels = IMAGES.double(), torch.tensor([0, 1, 2, 3, 4])
    attacked = spectra.attacked(model, images, labels, 0.7, steps=10)
    assert attacked.shape == (2, 5, 1, 8, 8)
    moved = (attacked - images).flatten(2).norm(dim=2)
    assert (moved < 0.7 + 1e-9).all()
    constant = torch.ones(2, dtype=F64)
    margins = [
        spectra.certified_radii(logits, labels, constant)
        for logits in (predict(model, images), predict(model, attacked))
    ]
    assert (margins[1] < margins[0]).all()
    assert torch.equal(
        spectra.attacked(model, images, labels, 0.0, steps=3), images.expand(2, -1, -1, -1, -1)
    )
