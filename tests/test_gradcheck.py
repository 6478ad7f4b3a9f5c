"""The checker itself: it passes what is right, and names what is wrong."""

import re

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from norms.batch_norm import batch_norm_backward, batch_norm_forward
from norms.gradcheck import assert_same_layer, check_backward, numerical_gradient

SHAPES = {"x": (4, 3), "gamma": (3,), "beta": (3,)}


def check(backward, **options):
    return check_backward(batch_norm_forward, backward, SHAPES, **options)


def broken(change):
    """Return batch norm's backward with its three gradients passed through ``change``."""
    return lambda dy, cache: change(*(g.copy() for g in batch_norm_backward(dy, cache)))


def without_projection(dy, cache):
    """Lack the term that comes from the variance: a common slip."""
    x_hat, rstd, gamma = cache
    dx = gamma * rstd * (dy - dy.mean(axis=0))
    return dx, (dy * x_hat).sum(axis=0), dy.sum(axis=0)


def spoil(array, index, value):
    array[index] = value
    return array


def test_numerical_gradient_of_a_known_function_leaves_its_argument_as_it_was(rng):
    x = rng.normal(size=(2, 3))
    before = x.copy()
    gradient = numerical_gradient(lambda: float((x**3).sum()), x)
    np.testing.assert_allclose(
        gradient, 3 * before**2, rtol=1e-7, atol=1e-9
    )  # h^2 = 1e-10, exactly
    np.testing.assert_array_equal(x, before)


def test_numerical_gradient_wants_float64():
    with pytest.raises(TypeError, match=r"dtype float32; .*float64: x\.astype\(float\)"):
        numerical_gradient(lambda: 0.0, np.ones(2, np.float32))


def test_a_right_backward_passes():
    result = check(batch_norm_backward, eps=1e-3)
    assert result
    assert 0 < result.error < 1e-6
    assert [w.argument for w in result.worst] == ["x", "gamma", "beta"]
    assert "WRONG" not in str(result)


@pytest.mark.parametrize("seed", range(3))
def test_point_and_upstream_gradient_are_random_and_the_seeds_own(seed):
    drawn = []

    def forward(x, gamma, beta):
        drawn.append([a.copy() for a in (x, gamma, beta)])
        return batch_norm_forward(x, gamma, beta)

    def backward(dy, cache):
        drawn[0].append(dy)
        return batch_norm_backward(dy, cache)

    assert check_backward(forward, backward, SHAPES, seed=seed)
    for array in drawn[0]:  # dy, gain and shift too: nothing is 1, nothing 0, no two alike
        assert len(np.unique(array)) == array.size
        assert not np.isin(array, (0.0, 1.0)).any()
    other = np.random.default_rng(seed).normal(size=(4, 3))
    np.testing.assert_array_equal(drawn[0][0], other)


@pytest.mark.parametrize(
    ("argument", "index", "change"),
    [
        ("x", (2, 1), lambda dx, dg, db: (spoil(dx, (2, 1), dx[2, 1] + 1e-4), dg, db)),
        ("gamma", (2,), lambda dx, dg, db: (dx, spoil(dg, 2, -dg[2]), db)),
        ("beta", (0,), lambda dx, dg, db: (dx, dg, spoil(db, 0, 2 * db[0]))),
    ],
)
def test_a_wrong_entry_fails_and_is_named(argument, index, change):
    result = check(broken(change))
    assert not result
    wrong = [w for w in result.worst if not w.error < 1e-6]
    assert [(w.argument, w.index) for w in wrong] == [(argument, index)]
    assert result.error == wrong[0].error
    (line,) = [line for line in str(result).splitlines() if line.startswith("WRONG")]
    assert re.search(rf"\bd{argument}\b", line)
    assert str(index) in line
    assert f"{wrong[0].error:.1e}" in line


@pytest.mark.parametrize(
    "change",
    [
        lambda dy: np.multiply(dy, 0, out=dy),
        lambda dy: np.divide(dy, len(dy), out=dy),
        lambda dy: np.clip(dy, -1, 1, out=dy),
    ],
    ids=["zero", "averaged", "clipped"],
)
def test_a_backward_that_changes_the_upstream_gradient_in_place_fails(change):
    assert not check(lambda dy, cache: batch_norm_backward(change(dy), cache))


def test_a_forward_that_works_in_place_is_compared_with_what_it_was_given():
    def forward(x, w):
        given = x.copy()
        x *= w
        return x, (given, w)

    def backward(dy, cache):
        x, w = cache
        return dy * w, (dy * x).sum(axis=0)

    assert check_backward(forward, backward, {"x": (4, 3), "w": (3,)})


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_entry_that_is_not_finite_fails(value):
    result = check(broken(lambda dx, dg, db: (spoil(dx, (1, 2), value), dg, db)))
    assert not result
    assert not result.error < 1e-6
    assert (result.worst[0].argument, result.worst[0].index) == ("x", (1, 2))
    assert re.search(r"WRONG +dx\b", str(result))


def test_a_loss_of_sum_y_would_miss_the_dropped_term():
    x = np.random.default_rng(0).normal(size=(4, 3))
    y, cache = batch_norm_forward(x, np.ones(3), np.zeros(3))
    # With dy = 1 both gradients are zero: sum(y) does not depend on x, and x_hat sums to zero.
    for backward in (batch_norm_backward, without_projection):
        np.testing.assert_allclose(backward(np.ones_like(y), cache)[0], 0.0, atol=1e-12)
    result = check(without_projection)
    assert not result
    assert result.worst[0].argument == "x"
    assert result.error > 0.1


def test_an_error_is_relative_to_the_largest_gradient_and_zero_may_pass():
    def forward(x, z):
        return 1e6 * x + 0.0 * z, z

    def backward(dy, z):
        return 1e6 * dy * (1 + 1e-8), np.zeros_like(z)

    assert check_backward(forward, backward, {"x": (3,), "z": (3,)})
    far = check_backward(forward, lambda dy, z: (1.1e6 * dy, 1e-6 + z * 0), {"x": (3,), "z": (3,)})
    assert [w.error for w in far.worst] == pytest.approx([0.1, 1e-3], rel=1e-3)


def test_one_gradient_may_come_without_a_tuple_and_tolerance_decides():
    def backward(dy, cache):
        return 2 * dy * (1 + 1e-4)

    options = {"forward": lambda x: (2 * x, None), "backward": backward, "shapes": {"x": (1,)}}
    assert check_backward(**options, tolerance=1e-3)
    assert not check_backward(**options, tolerance=1e-5)


def test_an_empty_argument_has_nothing_to_check():
    shapes = {"x": (0, 3), "gamma": (3,), "beta": (3,)}
    result = check_backward(batch_norm_forward, batch_norm_backward, shapes)
    assert result
    assert [w.argument for w in result.worst] == ["gamma", "beta"]


def test_a_wrong_number_or_shape_of_gradients_is_refused():
    with pytest.raises(ValueError, match="2 gradients for 3 arrays: expected dx, dgamma, dbeta"):
        check(broken(lambda dx, dg, db: (dx, dg)))
    with pytest.raises(ValueError, match=r"dgamma has shape \(1, 3\); expected .*gamma, \(3,\)"):
        check(broken(lambda dx, dg, db: (dx, dg[None], db)))


# --- two layers


class Slips(nn.Module):
    """Torch's layer norm with a slip, or without."""

    def __init__(self, slip=None):
        super().__init__()
        self.slip = slip
        self.weight, self.bias = nn.Parameter(torch.ones(5)), nn.Parameter(torch.zeros(5))

    def forward(self, x):
        weight = self.weight.detach() if self.slip == "dweight" else self.weight
        weight = weight + 0 * self.weight
        bias = self.bias * self.weight if self.slip == "shift before gain" else self.bias
        y = F.layer_norm(x, (5,), weight, bias)
        if self.slip == "y":
            return y + 0.01
        if self.slip == "dx, if dy varies":
            nothing = x - x.detach()
            return y + nothing - nothing.mean(-1, keepdim=True)
        if self.slip == "dx":
            return y + 0.1 * (x - x.detach())
        return y + (self.bias - self.bias.detach()) if self.slip == "dbias" else y


def test_two_layers_that_are_the_same_pass_and_stay_as_they_are():
    layer = Slips()
    assert_same_layer(layer, nn.LayerNorm(5), (4, 3, 5))
    assert layer.weight.tolist() == [1.0] * 5


@pytest.mark.parametrize("slip", ["y", "dx", "dweight", "dbias"])
def test_a_layer_with_a_slip_is_found_and_named(slip):
    with pytest.raises(AssertionError, match=f"^{slip}: "):
        assert_same_layer(Slips(slip), nn.LayerNorm(5), (4, 3, 5))


def test_a_slip_that_hides_at_gain_1_and_shift_0_is_found():
    layer, reference, x = Slips("shift before gain"), nn.LayerNorm(5), torch.randn(4, 5)
    torch.testing.assert_close(layer(x), reference(x))
    with pytest.raises(AssertionError, match=r"^y: "):
        assert_same_layer(layer, reference, (4, 5))


def test_a_slip_that_a_gradient_of_ones_would_hide_is_found():
    with pytest.raises(AssertionError, match=r"^dx: "):
        assert_same_layer(Slips("dx, if dy varies"), nn.LayerNorm(5), (4, 3, 5))


def test_layers_without_parameters_are_compared_too():
    plain = nn.LayerNorm(5, elementwise_affine=False)
    assert_same_layer(plain, nn.LayerNorm(5, elementwise_affine=False), (4, 5))
    with pytest.raises(AssertionError, match=r"^y: "):
        assert_same_layer(nn.Identity(), plain, (4, 5))


def test_a_layer_with_other_parameters_is_refused():
    with pytest.raises(RuntimeError, match=r"Unexpected key.*weight"):
        assert_same_layer(nn.LayerNorm(5, elementwise_affine=False), nn.LayerNorm(5), (4, 5))
