"""Statistics over some axes, and standardisation: against the formulas and against autograd."""

import itertools

import numpy as np
import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

from norms.moments import (
    StandardizeAffine,
    at_least_float32,
    last_axes,
    moments,
    standardize,
    standardize_backward,
)

EPS = 1e-5
SHAPE = (4, 3, 5, 6)
AXES = [(0,), (1,), (-1,), (0, 2, 3), (1, 2, 3), (2, 3), (-2, -1), (0, 1, 2, 3)]
every_axes = pytest.mark.parametrize("axes", AXES, ids=str)
with_and_without_mean = pytest.mark.parametrize(
    "centre", [True, False], ids=["centred", "not centred"]
)


@pytest.fixture
def x(rng):
    return 2.0 + 3.0 * rng.normal(size=SHAPE)


@every_axes
def test_moments_are_numpys_mean_and_biased_variance(x, axes):
    mu, var = moments(x, axes)
    np.testing.assert_allclose(mu, x.mean(axis=axes, keepdims=True), rtol=1e-12)
    np.testing.assert_allclose(var, x.var(axis=axes, keepdims=True), rtol=1e-12)


@every_axes
def test_standardize_leaves_mean_zero_and_variance_short_of_one_by_eps(x, axes):
    x_hat, mu, var, rstd = standardize(
        1e-3 * x, axes, EPS
    )  # a variance near eps shows where eps is
    np.testing.assert_allclose(x_hat.mean(axis=axes), 0.0, atol=1e-13)
    np.testing.assert_allclose(x_hat.var(axis=axes, keepdims=True), var / (var + EPS), rtol=1e-12)
    np.testing.assert_allclose(rstd, 1 / np.sqrt(var + EPS), rtol=1e-15)
    np.testing.assert_allclose(x_hat, (1e-3 * x - mu) * rstd, rtol=1e-15)


@every_axes
def test_without_centring_the_mean_stays_and_the_mean_square_is_short_of_one_by_eps(x, axes):
    x = 1e-3 * x
    x_hat, mu, square, rstd = standardize(x, axes, EPS, centre=False)
    assert not mu.any()
    assert mu.shape == square.shape == rstd.shape
    np.testing.assert_allclose(square, (x * x).mean(axis=axes, keepdims=True), rtol=1e-12)
    # The mean is 2/3 of the deviation: it is a third of the mean square, and not left out.
    mean, var = moments(x, axes)
    np.testing.assert_allclose(square, mean**2 + var, rtol=1e-12)
    np.testing.assert_allclose(rstd, 1 / np.sqrt(square + EPS), rtol=1e-15)
    np.testing.assert_allclose(x_hat, x * rstd, rtol=1e-15)


@with_and_without_mean
def test_nothing_given_is_overwritten(x, centre, rng):
    """Neither by NumPy nor by torch, and ``x_hat`` and ``rstd`` serve again."""
    dx_hat = rng.normal(size=SHAPE)
    for library in (np.asarray, torch.from_numpy):
        given = [library(array.copy()) for array in (x, dx_hat)]
        x_hat, _, _, rstd = standardize(given[0], (0,), EPS, centre)
        first = standardize_backward(given[1], x_hat, rstd, (0,), centre)
        again = standardize_backward(given[1], x_hat, rstd, (0,), centre)
        np.testing.assert_array_equal(given[0], x)
        np.testing.assert_array_equal(given[1], dx_hat)
        for one, other in zip(first, again, strict=True):
            np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("rank", [1, 3])
def test_last_axes_are_counted_from_the_end(rank):
    assert np.zeros((5, 4, 3)).sum(axis=last_axes(rank)).shape == (5, 4, 3)[: 3 - rank]


@every_axes
@with_and_without_mean
def test_numpy_and_torch_agree_to_the_last_digits(x, axes, centre):
    arrays = standardize(x, axes, EPS, centre)
    tensors = standardize(torch.from_numpy(x), axes, EPS, centre)
    for array, tensor in zip(arrays, tensors, strict=True):
        assert array.shape == tuple(tensor.shape)
        # The two libraries add 360 numbers in another order: some units in the last place (2e-16).
        np.testing.assert_allclose(tensor.numpy(), array, rtol=4e-15, atol=4e-15)


def test_variance_survives_a_large_mean(rng):
    spread = rng.normal(size=1000)
    _, var = moments(1e8 + spread, (0,))
    # Storing 1e8 + spread rounds at 1.5e-8; E[x^2] - E[x]^2 would be off by 1e16 * 1e-16, all of it.
    np.testing.assert_allclose(var, spread.var(), rtol=1e-6)


@pytest.mark.parametrize(("shape", "axes"), [((0, 3), (0,)), ((4, 3, 0), (0, 2))])
@with_and_without_mean
def test_an_empty_set_has_mean_and_variance_zero(shape, axes, centre):
    for x in (np.zeros(shape), torch.zeros(shape)):
        x_hat, mu, var, _ = standardize(x, axes, EPS, centre)
        assert tuple(x_hat.shape) == shape
        assert not mu.any()
        assert not var.any()
        dx, _, _ = standardize_backward(x_hat, x_hat, var, axes, centre)
        assert tuple(dx.shape) == shape


def test_a_set_of_one_value_is_its_own_mean(rng):
    x = rng.normal(size=(1, 3))
    x_hat, mu, var, rstd = standardize(x, (0,), EPS)
    np.testing.assert_array_equal(mu, x)
    assert not var.any()
    assert not x_hat.any()
    dx, _, _ = standardize_backward(x, x_hat, rstd, (0,))
    assert not dx.any()  # the output is constant


def test_a_set_of_one_value_without_centring_is_its_sign(rng):
    x = rng.normal(size=(1, 3))
    x_hat, _, _, rstd = standardize(x, (0,), 1e-14, centre=False)
    np.testing.assert_allclose(x_hat, np.sign(x), rtol=1e-10)
    dx, _, _ = standardize_backward(x, x_hat, rstd, (0,), centre=False)
    np.testing.assert_allclose(dx, 0.0, atol=1e-10)  # constant up to its sign


@pytest.mark.parametrize(
    ("given", "kept"),
    [("float16", "float32"), ("float32", "float32"), ("float64", "float64")],
)
def test_half_precision_is_computed_in_float32(given, kept):
    assert at_least_float32(np.ones(2, dtype=given)).dtype == kept
    assert at_least_float32(torch.ones(2, dtype=getattr(torch, given))).dtype == getattr(
        torch, kept
    )
    assert at_least_float32(torch.ones(2, dtype=torch.bfloat16)).dtype == torch.float32


@every_axes
@with_and_without_mean
def test_backward_equals_autograd(x, axes, centre, rng):
    dx_hat = rng.normal(size=SHAPE)
    leaf = torch.from_numpy(x).requires_grad_()
    standardize(leaf, axes, EPS, centre)[0].backward(torch.from_numpy(dx_hat))
    x_hat, _, _, rstd = standardize(x, axes, EPS, centre)
    dx, dot, total = standardize_backward(dx_hat, x_hat, rstd, axes, centre)
    np.testing.assert_allclose(dx, leaf.grad.numpy(), rtol=1e-11, atol=1e-14)
    np.testing.assert_allclose(dot, (dx_hat * x_hat).sum(axis=axes, keepdims=True))
    np.testing.assert_allclose(total, dx_hat.sum(axis=axes, keepdims=True))


@every_axes
@with_and_without_mean
def test_backward_removes_the_directions_that_the_forward_removed(x, axes, centre, rng):
    x_hat, _, _, rstd = standardize(x, axes, EPS, centre)
    dx_hat = rng.normal(size=SHAPE)
    dx, dot, _ = standardize_backward(dx_hat, x_hat, rstd, axes, centre)
    if centre:
        np.testing.assert_allclose(dx.sum(axis=axes), 0.0, atol=1e-12)
    # <x_hat, dx> is zero up to eps: what is left is exactly r^3 eps <dx_hat, x_hat>.
    left = (x_hat * dx).sum(axis=axes, keepdims=True)
    np.testing.assert_allclose(left, rstd**3 * EPS * dot, atol=1e-12)


@every_axes
@with_and_without_mean
def test_backward_lets_every_other_direction_pass(x, axes, centre, rng):
    """Without centring the constant direction is one of them: only x_hat is removed."""
    x_hat, _, _, rstd = standardize(x, axes, EPS, centre)
    dx_hat = 5 + rng.normal(size=SHAPE)
    if centre:
        dx_hat = dx_hat - dx_hat.mean(axis=axes, keepdims=True)
    square = (x_hat * x_hat).sum(axis=axes, keepdims=True)
    dx_hat = dx_hat - x_hat * (dx_hat * x_hat).sum(axis=axes, keepdims=True) / square
    dx, _, _ = standardize_backward(dx_hat, x_hat, rstd, axes, centre)
    np.testing.assert_allclose(dx, rstd * dx_hat, rtol=1e-11, atol=1e-13)


def test_a_gain_constant_over_each_set_may_ride_on_the_deviation(x, rng):
    axes, gamma, dy = (0, 2, 3), rng.normal(size=(1, 3, 1, 1)), rng.normal(size=SHAPE)
    x_hat, _, _, rstd = standardize(x, axes, EPS)
    after, _, _ = standardize_backward(dy, x_hat, gamma * rstd, axes)
    before, _, _ = standardize_backward(dy * gamma, x_hat, rstd, axes)
    np.testing.assert_allclose(after, before, rtol=1e-12, atol=1e-15)


def test_a_gain_constant_along_space_may_wait_until_space_is_summed(x, rng):
    """Group norm: of the sums over space, weighed with the gain, come those over the set."""
    axes, gamma, dy = (1, 2, 3), rng.normal(size=(3, 1, 1)), rng.normal(size=SHAPE)
    x_hat, _, _, rstd = standardize(x, axes, EPS)
    over_space = [array.sum(axis=(2, 3), keepdims=True) for array in (dy * x_hat, dy)]
    sums = [(gamma * each).sum(axis=axes, keepdims=True) for each in over_space]
    after = standardize_backward(dy * gamma, x_hat, rstd, axes, sums=sums)
    for got, expected in zip(
        after, standardize_backward(dy * gamma, x_hat, rstd, axes), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-11, atol=1e-13)


# StandardizeAffine: the one autograd node of the layers. The axes and the gain's shape say which norm.
NODES = {
    "batch": ((0, 2), (1, 3, 1), (1, 3, 1)),
    "instance": ((2,), (1, 3, 1), (1, 3, 1)),
    "group": ((1, 2), (3, 1), (3, 1)),
    "layer": ((1, 2), (3, 4), (3, 4)),
    "layer, last axis": ((-1,), (4,), (4,)),
    "gain of lower rank varies on axis 1": ((1,), (3, 1), (3, 1)),
    "gain on every axis": ((0, 2), (2, 3, 4), (2, 3, 4)),
    "gain of two values, varying": ((0,), (2, 1, 1), (2, 1, 1)),
    "gain varies on one axis of two": ((0, 2), (1, 3, 4), (1, 3, 4)),
    "no gain": ((0, 2), None, (1, 3, 1)),
    "no shift": ((0, 2), (1, 3, 1), None),
    "gain inside the set, no shift": ((1, 2), (3, 4), None),
    "neither": ((1, 2), None, None),
}
every_node = pytest.mark.parametrize(("axes", "gain", "shift"), NODES.values(), ids=NODES)


def draw(shape):
    return None if shape is None else torch.randn(shape, dtype=torch.float64, requires_grad=True)


def composed(x, gamma, beta, axes, centre):
    """Say the same with ordinary operations, for autograd to differentiate."""
    x = x - x.mean(axes, keepdim=True) if centre else x
    y = x / (x.square().mean(axes, keepdim=True) + EPS).sqrt()
    y = y if gamma is None else y * gamma
    return y if beta is None else y + beta


@every_node
@with_and_without_mean
def test_node_equals_the_same_operations_under_autograd(axes, gain, shift, centre):
    x, gamma, beta = draw((2, 3, 4)), draw(gain), draw(shift)
    y, mu, var = StandardizeAffine.apply(x, gamma, beta, axes, EPS, centre)
    expected = composed(x, gamma, beta, axes, centre)
    torch.testing.assert_close(y, expected, rtol=1e-12, atol=1e-14)
    mean = x.mean(axes, keepdim=True).detach() if centre else torch.zeros_like(mu)
    torch.testing.assert_close(mu, mean)
    torch.testing.assert_close(var, (x.detach() - mean).square().mean(axes, keepdim=True))
    leaves = [leaf for leaf in (x, gamma, beta) if leaf is not None]
    dy = torch.randn_like(y)
    for ours, theirs in zip(
        torch.autograd.grad(y, leaves, dy), torch.autograd.grad(expected, leaves, dy), strict=True
    ):
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-13)


@every_node
@with_and_without_mean
def test_gradients_of_gradients_equal_those_of_the_same_operations(axes, gain, shift, centre):
    """gradgradcheck alone passes a backward that is another function when it builds a graph."""
    arrays = draw((2, 3, 4)), draw(gain), draw(shift)
    leaves = [leaf for leaf in arrays if leaf is not None]
    dy = draw((2, 3, 4))
    directions = [torch.randn_like(leaf) for leaf in leaves]
    found = []
    for y in (
        StandardizeAffine.apply(*arrays, axes, EPS, centre)[0],
        composed(*arrays, axes, centre),
    ):
        first = torch.autograd.grad(y, leaves, dy, create_graph=True)
        again = sum((d * g).sum() for d, g in zip(directions, first, strict=True))
        found.append((*first, *torch.autograd.grad(again, (*leaves, dy), allow_unused=True)))
    for ours, theirs in zip(*found, strict=True):
        # What a gradient does not depend on has none, or one of zero.
        ours, theirs = (torch.zeros(()) if g is None else g for g in (ours, theirs))
        torch.testing.assert_close(*torch.broadcast_tensors(ours, theirs), rtol=1e-9, atol=1e-11)


@every_node
@with_and_without_mean
def test_node_has_first_and_second_derivatives(axes, gain, shift, centre):
    arrays = (draw((2, 3, 4)), draw(gain), draw(shift))

    def node(*arrays):
        return StandardizeAffine.apply(*arrays, axes, EPS, centre)[0]

    assert gradcheck(node, arrays)
    assert gradgradcheck(node, arrays)


@every_node
@with_and_without_mean
def test_node_overwrites_nothing_that_was_given(axes, gain, shift, centre):
    """Its input is kept by reference, and the upstream gradient is somebody else's too."""
    given = [draw((2, 3, 4)), draw(gain), draw(shift), draw((2, 3, 4))]
    before = [None if tensor is None else tensor.detach().clone() for tensor in given]
    *arrays, dy = given
    leaves = [leaf for leaf in arrays if leaf is not None]
    for create_graph in (False, True):
        y, _, _ = StandardizeAffine.apply(*arrays, axes, EPS, centre)
        torch.autograd.grad(y, leaves, dy, create_graph=create_graph)
    for tensor, kept in zip(given, before, strict=True):
        assert tensor is kept is None or torch.equal(tensor, kept)


@every_node
@with_and_without_mean
def test_node_maps_over_each_of_its_arguments(axes, gain, shift, centre):
    """Input, gain, shift and upstream gradient, each mapped over or shared, forward and back."""
    shapes = [shape for shape in ((2, 3, 4), gain, shift) if shape is not None]
    stacks = [torch.randn(3, *shape, dtype=torch.float64) for shape in (*shapes, (2, 3, 4))]

    def forward_and_back(*arrays):
        *arrays, dy = arrays
        y, back = torch.func.vjp(lambda *a: apply(StandardizeAffine.apply, a), *arrays)
        _, expected = torch.func.vjp(lambda *a: apply(composed_node, a), *arrays)
        return y, *back(dy), *expected(dy)

    def apply(function, arrays):
        x, *rest = arrays
        gamma = None if gain is None else rest.pop(0)
        beta = rest.pop(0) if rest else None
        return function(x, gamma, beta, axes, EPS, centre)[0]

    def composed_node(x, gamma, beta, axes, _eps, centre):
        return (composed(x, gamma, beta, axes, centre),)

    for own in itertools.product((True, False), repeat=len(stacks)):
        if not any(own):
            continue
        arrays = [stack if mine else stack[0] for stack, mine in zip(stacks, own, strict=True)]
        dims = tuple(0 if mine else None for mine in own)
        y, *gradients = torch.func.vmap(forward_and_back, dims)(*arrays)
        ours, theirs = gradients[: len(shapes)], gradients[len(shapes) :]
        torch.testing.assert_close(ours, theirs, rtol=1e-10, atol=1e-12)
        for i in range(3):
            member = [a[i] if mine else a for a, mine in zip(arrays, own, strict=True)]
            torch.testing.assert_close(y[i], apply(composed_node, member[:-1]))


@with_and_without_mean
def test_statistics_of_the_node_carry_no_graph(centre):
    x = draw((4, 3))
    y, mu, var = StandardizeAffine.apply(x, None, None, (0,), EPS, centre)
    assert y.requires_grad
    assert not mu.requires_grad
    assert not var.requires_grad


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@with_and_without_mean
def test_node_keeps_the_dtypes_of_its_arguments(dtype, centre):
    x = torch.randn(8, 3, dtype=dtype, requires_grad=True)
    gamma = torch.randn(1, 3, requires_grad=True)
    beta = torch.randn(1, 3, requires_grad=True)
    y, mu, var = StandardizeAffine.apply(x, gamma, beta, (0,), EPS, centre)
    y.backward(torch.ones_like(y))
    assert y.dtype == x.grad.dtype == dtype
    assert mu.dtype == var.dtype == gamma.grad.dtype == beta.grad.dtype == torch.float32
