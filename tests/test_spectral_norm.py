"""Spectral norm, compared with torch, autograd, central differences and its paper."""

import copy
import inspect
import pickle
import re
import warnings

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, vmap
from torch.nn.utils import parametrizations, parametrize
from torch.testing import assert_close
from twins import (
    DTYPES,
    F64,
    LAYERS,
    arguments,
    assert_normed_checkpoints_load_both_ways,
    assert_removed_as_by_torch,
    assert_same,
    assert_same_norm_of_a_weight,
    both_modes,
    every_conversion,
    every_half,
    every_layer,
    graph_size,
    inputs_of,
    kept,
    needs_compiler,
    normed_twins,
    seen_of_layer,
    seen_of_weight,
    shake,
)

import norms
from norms.gradcheck import check_backward, numerical_gradient
from norms.spectral_norm import spectral_norm_backward, spectral_norm_forward

LINEAR = LAYERS["linear"][0]
SHAPES = [(4, 3), (3, 4), (4, 1), (1, 3), (4, 3, 2, 5), (5,)]
every_shape = pytest.mark.parametrize("shape", SHAPES, ids=str)
MANY = 400  # iterations, which is to say: the singular vectors themselves


def random_arrays(rng, shape):
    """Draw w, dw_bar, u."""
    return (rng.normal(size=s) for s in (shape, shape, shape[:1]))


def ours(make=LINEAR, name="weight", **options):
    return next(iter(normed_twins("spectral_norm", make, name, **options)))


def vectors(layer, name="weight"):
    """Return u and v of a layer."""
    norm = layer.parametrizations[name][0]
    return norm._u, norm._v


def original(layer, name="weight"):
    return layer.parametrizations[name].original


def singular_values(w):
    """Return the singular values of a weight, taken as a matrix of its outputs."""
    return np.linalg.svd(w.reshape(len(w), -1), compute_uv=False)


# 1. Statistics of the output


@every_shape
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_largest_singular_value_is_1_and_all_are_divided_by_the_same(shape, scale, rng):
    w, _, u = random_arrays(rng, shape)
    w = scale * w
    w_bar, (_, u, v, sigma) = spectral_norm_forward(w, u, MANY)
    values = singular_values(w)
    np.testing.assert_allclose(sigma, values[0], rtol=1e-12)
    np.testing.assert_allclose(singular_values(w_bar), values / values[0], rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose([np.linalg.norm(u), np.linalg.norm(v)], 1.0, rtol=1e-14)


# 2. Forward equals the paper's algorithm, and torch's


@every_shape
@pytest.mark.parametrize("count", [1, 2, 5])
def test_numpy_forward_is_algorithm_1(shape, count, rng):
    w, _, u = random_arrays(rng, shape)
    w_bar, cache = spectral_norm_forward(w, u, count)
    matrix = w.reshape(shape[0], -1)
    for _ in range(count):
        v = matrix.T @ u / np.linalg.norm(matrix.T @ u)
        u = matrix @ v / np.linalg.norm(matrix @ v)
    for found, expected in zip(cache, (w_bar, u, v, u @ matrix @ v), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-13, atol=1e-15)
    np.testing.assert_allclose(w_bar, w / (u @ matrix @ v), rtol=1e-13)


@pytest.mark.parametrize("count", [1, 3])
def test_torch_begins_half_an_iteration_later(count):
    """With u from v, then v from u: of the transposed matrix it is the paper's order."""
    layer = ours(n_power_iterations=count)
    shake(layer)
    _, v = (vector.numpy().copy() for vector in vectors(layer))
    w = original(layer).detach().numpy()
    w_bar, (_, new_v, new_u, _) = spectral_norm_forward(w.T, v, count)
    np.testing.assert_allclose(layer.weight.detach().numpy(), w_bar.T, rtol=1e-13)
    for found, expected in zip(vectors(layer), (new_u, new_v), strict=True):
        np.testing.assert_allclose(found.numpy(), expected, rtol=1e-13, atol=1e-15)


# 3. Backward equals autograd, with random dw_bar and w


@every_shape
@pytest.mark.parametrize("count", [1, MANY])
def test_numpy_backward_equals_autograd_with_constant_vectors(shape, count, rng):
    w, dw_bar, u = random_arrays(rng, shape)
    _, cache = spectral_norm_forward(w, u, count)
    leaf = torch.from_numpy(w).requires_grad_()
    u, v = (torch.from_numpy(vector) for vector in cache[1:3])
    y = leaf / (u @ leaf.reshape(shape[0], -1) @ v)
    y.backward(torch.from_numpy(dw_bar))
    dw = spectral_norm_backward(dw_bar, cache)
    np.testing.assert_allclose(dw, leaf.grad.numpy(), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("shape", SHAPES[:-1], ids=str)
def test_at_the_singular_vectors_the_gradient_is_that_of_the_largest_singular_value(shape, rng):
    w, dw_bar, u = random_arrays(rng, shape)
    leaf = torch.from_numpy(w).requires_grad_()
    y = leaf / torch.linalg.matrix_norm(leaf.reshape(shape[0], -1), 2)
    y.backward(torch.from_numpy(dw_bar))
    dw = spectral_norm_backward(dw_bar, spectral_norm_forward(w, u, 4 * MANY)[1])
    np.testing.assert_allclose(dw, leaf.grad.numpy(), rtol=1e-9, atol=1e-9)


@every_layer
@both_modes
def test_every_layer_equals_torchs_for_every_dim(make, name, shapes, training):
    """Values, gradients and vectors, over readings and changes of the weight."""
    rank, inputs = getattr(make(), name).dim(), inputs_of(shapes)
    for dim in (*range(-rank, rank), None):
        pair = normed_twins("spectral_norm", make, name, training, dim=dim)
        assert_same_norm_of_a_weight(*pair, name, inputs)


def test_the_default_has_the_outputs_in_rows_also_where_they_are_on_axis_1():
    rows = {
        nn.Linear(3, 4): 4,
        nn.Conv2d(4, 6, 3, groups=2): 6,
        nn.ConvTranspose1d(4, 5, 3): 5,
        nn.ConvTranspose2d(4, 5, 3): 5,
        nn.ConvTranspose3d(4, 5, 3): 5,
    }
    for layer, count in rows.items():
        assert len(vectors(norms.spectral_norm(layer))[0]) == count
    assert len(vectors(norms.spectral_norm(nn.ConvTranspose1d(4, 5, 3), dim=0))[0]) == 4


# 4. Central differences


@every_shape
@pytest.mark.parametrize("seed", range(3))
def test_backward_passes_central_differences_at_the_singular_vectors(shape, seed):
    u = np.random.default_rng(seed + 100).normal(size=shape[0])

    def forward(w):
        return spectral_norm_forward(w, u, MANY)

    result = check_backward(forward, spectral_norm_backward, {"w": shape}, seed=seed)
    assert result.error < 1e-6, result


@every_shape
def test_backward_passes_central_differences_with_both_vectors_frozen(shape, rng):
    """After one iteration, where u and v are far from the singular vectors."""
    w, dw_bar, u = random_arrays(rng, shape)
    _, cache = spectral_norm_forward(w, u)
    _, u, v, _ = cache

    def loss():
        return float((dw_bar * w / (u @ w.reshape(shape[0], -1) @ v)).sum())

    expected = numerical_gradient(loss, w)
    dw = spectral_norm_backward(dw_bar, cache)
    assert np.abs(dw - expected).max() < 1e-6 * np.abs(expected).max()


# 5. Shapes, dtypes and what is refused


def holding(dtype, shape=(4, 3)):
    """Make a layer with a weight of ones, of any dtype, and no gradient."""
    layer = LINEAR()
    layer.weight = nn.Parameter(torch.ones(shape, dtype=dtype), requires_grad=False)
    return layer


# what is wrong: the layer, options, words of the message (came, expected, cure)
REFUSED = {
    "another name": (LINEAR, {"name": "weights"}, ("'weights'", "it has weight, bias")),
    "no parameter": (LINEAR, {"name": "in_features"}, ("'in_features'", "it has weight, bias")),
    "a container": (lambda: nn.Sequential(LINEAR()), {}, ("Sequential", "name one of its layers")),
    "no bias": (lambda: nn.Linear(3, 4, bias=False), {"name": "bias"}, ("'bias'", "it has weight")),
    "the weight itself": (lambda: torch.ones(4, 3), {}, ("Tensor", "a layer, not its weight")),
    "no such axis": (LINEAR, {"dim": 2}, (r"\[-2, 1\], but got 2", r"\(4, 3\)", "of its outputs")),
    "no such axis from the end": (LINEAR, {"dim": -3}, (r"\[-2, 1\], but got -3",)),
    "a float": (LINEAR, {"dim": 1.0}, ("dim is a float", "such as dim=0")),
    "a truth": (LINEAR, {"dim": True}, ("dim is a bool", "such as dim=0")),
    "no iteration": (LINEAR, {"n_power_iterations": 0}, ("n_power_iterations=0", "at least")),
    "fewer": (LINEAR, {"n_power_iterations": -2}, ("n_power_iterations=-2", "at least")),
    "half of one": (LINEAR, {"n_power_iterations": 1.5}, ("is a float", "n_power_iterations=1")),
    "a word": (LINEAR, {"n_power_iterations": "1"}, ("is a str", "n_power_iterations=1")),
    "eps of a file": (LINEAR, {"eps": "1e-12"}, ("eps is a str", r"float\('1e-12'\)")),
    "no eps": (LINEAR, {"eps": None}, ("eps is a NoneType",)),
    "not known yet": (lambda: nn.LazyLinear(4), {}, ("lazy", r"module\(x\)")),
    "integers": (lambda: holding(torch.int64), {}, ("int64", r"x\.float\(\)")),
    "a number": (lambda: holding(torch.float32, ()), {}, ("no axes", r"reshape\(1\)")),
}


def refusal(call):
    with pytest.raises(Exception) as found:  # noqa: PT011 - torch says which
        call()
    return found.value


@pytest.mark.parametrize(("make", "options", "words"), REFUSED.values(), ids=REFUSED)
def test_refuses_as_torch_does_and_names_the_cure(make, options, words):
    expected = refusal(lambda: parametrizations.spectral_norm(make(), **options))
    layer = make()
    mine = refusal(lambda: norms.spectral_norm(layer, **options))
    assert isinstance(mine, type(expected))
    assert not parametrize.is_parametrized(layer)
    for word in words:
        assert re.search(word, str(mine)), f"{word!r} is not in: {mine}"


def test_negative_eps_is_refused_where_torch_takes_it():
    parametrizations.spectral_norm(LINEAR(), eps=-1e-12)
    with pytest.raises(ValueError, match=r"eps is -1e-12"):
        norms.spectral_norm(LINEAR(), eps=-1e-12)


@pytest.mark.parametrize(
    "value",
    [3.0, None, np.ones((4, 3), np.float32), torch.ones(4, 3, dtype=F64)],
    ids=["a number", "nothing", "an array", "another dtype"],
)
def test_what_may_not_be_assigned_is_refused_as_by_torch(value):
    layers = [library.spectral_norm(LINEAR()).eval() for library in (norms, parametrizations)]
    before = layers[0].weight
    mine, expected = (refusal(lambda x=x: setattr(x, "weight", value)) for x in layers)
    assert isinstance(mine, type(expected))
    assert torch.equal(layers[0].weight, before)


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ({"w": torch.ones(4, 3)}, TypeError, r"w is a torch\.Tensor; .* w\.detach\(\)\.numpy\(\)"),
        ({"w": np.ones((4, 3), int)}, TypeError, r"w has dtype int64; .* w\.astype\(float\)"),
        ({"w": np.ones((4, 3), complex)}, TypeError, "w has dtype complex128"),
        ({"w": np.float64(1.0)}, ValueError, r"w is a single number.*w\.reshape\(1\)"),
        ({"u": np.ones(4, int)}, TypeError, r"u has dtype int64; .* u\.astype\(float\)"),
        ({"u": np.ones(3)}, ValueError, r"u has shape \(3,\).*4 rows.*normal\(size=4\)"),
        ({"u": np.ones((4, 1))}, ValueError, r"u has shape \(4, 1\).*of shape \(4,\)"),
        ({"n_power_iterations": 0}, ValueError, r"n_power_iterations=0: take at least"),
        ({"n_power_iterations": 1.5}, TypeError, r"n_power_iterations is a float"),
        ({"eps": 0.0}, ValueError, r"eps is 0\.0; expected a positive number"),
        ({"eps": "1e-12"}, TypeError, r"float\('1e-12'\)"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_numpy_function_refuses_and_names_the_cure(arguments, exception, message):
    good = {"w": np.ones((4, 3)), "u": np.ones(4)}
    with pytest.raises(exception, match=message):
        spectral_norm_forward(**{**good, **arguments})


def test_numpy_backward_refuses_what_does_not_fit():
    _, cache = spectral_norm_forward(np.ones((4, 3, 2)), np.ones(4))
    with pytest.raises(ValueError, match=r"dy has shape \(4, 6\); expected that of y, \(4, 3, 2\)"):
        spectral_norm_backward(np.ones((4, 6)), cache)
    with pytest.raises(TypeError, match="dy has dtype int64"):
        spectral_norm_backward(np.ones((4, 3, 2), int), cache)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_functions_keep_the_dtype_and_overwrite_nothing(dtype, rng):
    given = [a.astype(dtype) for a in random_arrays(rng, (4, 3, 2))]
    before = [a.copy() for a in given]
    w, dw_bar, u = given
    w_bar, cache = spectral_norm_forward(w, u)
    dw, again = spectral_norm_backward(dw_bar, cache), spectral_norm_backward(dw_bar, cache)
    assert w_bar.dtype == dw.dtype == dtype
    for one, other in zip((*given, dw), (*before, again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_numpy_functions_compute_half_precision_in_float32(rng):
    """Sums of squares of size 300 overflow float16."""
    w, dw_bar, u = (a.astype(np.float16) for a in random_arrays(rng, (64, 64)))
    w = 300 * w
    w_bar, cache = spectral_norm_forward(w, u)
    exact, exact_cache = spectral_norm_forward(w.astype(float), u.astype(float))
    found = (w_bar, spectral_norm_backward(dw_bar, cache))
    expected = (exact, spectral_norm_backward(dw_bar.astype(float), exact_cache))
    for one, right in zip(found, expected, strict=True):
        # One rounding is half of 2^-10 of a value; where it is tiny, one step of 6e-8.
        tolerance = 1e-5 * np.abs(right).max() + 6e-8
        np.testing.assert_allclose(one, right, rtol=0.51 * 2**-10, atol=tolerance)


def test_signature_is_torchs_and_the_layer_is_returned():
    assert arguments(norms.spectral_norm) == arguments(parametrizations.spectral_norm)
    layer = LINEAR()
    assert norms.spectral_norm(layer) is layer
    assert inspect.isfunction(norms.spectral_norm)  # and not the module of the same name


@pytest.mark.parametrize(
    "options", [{}, {"dim": -1}, {"n_power_iterations": 3, "eps": 1e-6}], ids=str
)
def test_looks_like_torchs(options):
    mine, theirs = normed_twins("spectral_norm", **options)
    assert repr(mine) == repr(theirs)
    for attribute in ("dim", "eps", "n_power_iterations"):
        found = [getattr(x.parametrizations.weight[0], attribute) for x in (mine, theirs)]
        assert found[0] == found[1]


def test_numpy_integers_are_taken():
    layer = ours(dim=np.int64(1), n_power_iterations=np.int64(2))
    assert [len(vector) for vector in vectors(layer)] == [3, 4]
    assert layer.weight.shape == (4, 3)


# 6. Training, evaluation, and what is remembered


def test_the_start_is_torchs_under_the_same_random_state_in_every_layer_and_mode():
    """Two draws, 15 iterations, and one more in training, when the norm has been put there."""
    for training in (True, False):
        for make, name, _ in LAYERS.values():
            pair = normed_twins("spectral_norm", make, name, training)
            assert_same(*(layer.state_dict() for layer in pair))
    states = []
    for _ in normed_twins("spectral_norm"):
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


def test_the_start_has_15_iterations_and_training_one_more():
    for training, count in ((True, 16), (False, 15)):
        torch.manual_seed(3)
        layer = LINEAR().double().train(training)
        torch.manual_seed(4)
        _, v = (nn.functional.normalize(torch.randn(n, dtype=F64), dim=0) for n in (4, 3))
        w = layer.weight.detach().clone()
        torch.manual_seed(4)
        norms.spectral_norm(layer)
        for _ in range(count):
            u = nn.functional.normalize(w @ v, dim=0)
            v = nn.functional.normalize(w.T @ u, dim=0)
        for found, expected in zip(vectors(layer), (u, v), strict=True):
            assert_close(found, expected, rtol=1e-13, atol=1e-14)


def test_evaluation_changes_nothing_and_two_readings_are_equal():
    """pytorch #8208: the power iteration went on in evaluation, and the function with it."""
    layer = ours().eval()
    shake(layer)
    before = copy.deepcopy(layer.state_dict())
    x = torch.randn(5, 3, dtype=F64)
    assert torch.equal(layer(x), layer(x))
    assert_same(layer.state_dict(), before, rtol=0, atol=0)


@both_modes
def test_a_gradient_reaches_the_weight_through_sigma(training):
    """pytorch #12737: not in evaluation. In the direction of w itself there is none, in both."""
    layer = ours(training=training)
    shake(layer)
    layer.weight.backward(torch.randn(4, 3, dtype=F64))
    w = original(layer)
    assert w.grad.norm() > 0.1
    assert abs((w.grad * w).sum()) < 1e-12


@pytest.mark.parametrize("count", [1, 3])
def test_every_reading_in_training_iterates_as_often_as_asked(count):
    once, often = ours(), ours(n_power_iterations=count, training=False).train()
    for layer in (once, often):
        with torch.no_grad():
            original(layer).copy_(torch.arange(12.0).reshape(4, 3) ** 2)
            vectors(layer)[1].copy_(torch.tensor([1.0, 0.0, 0.0]))
    for _ in range(count):
        _ = once.weight
    _ = often.weight
    for one, other in zip(vectors(once), vectors(often), strict=True):
        assert_close(one, other, rtol=1e-13, atol=1e-14)


def test_readings_without_gradient_iterate_too():
    """Training is the mode of the module, not whether gradients are recorded."""
    layer = ours()
    shake(layer)
    before = vectors(layer)[0].clone()
    with torch.no_grad():
        _ = layer.weight
    assert not torch.equal(vectors(layer)[0], before)


def test_the_weight_is_iterated_once_where_torch_is_asked_to_keep_it():
    layer = ours()
    shake(layer)
    with parametrize.cached():
        first = layer.weight
        before = vectors(layer)[0].clone()
        assert layer.weight is first
        assert torch.equal(vectors(layer)[0], before)


def test_vectors_are_buffers_without_a_graph_and_the_graph_does_not_grow():
    layer, sizes = ours(), []
    for _ in range(3):
        w = layer.weight
        sizes.append(graph_size(w))
    assert sizes[0] == sizes[1] == sizes[2]
    assert [name for name, _ in layer.named_buffers()] == [
        "parametrizations.weight.0._u",
        "parametrizations.weight.0._v",
    ]
    assert [name for name, _ in layer.named_parameters()] == [
        "bias",
        "parametrizations.weight.original",
    ]
    assert not any(vector.requires_grad for vector in vectors(layer))


def test_vectors_change_in_place():
    """The replicas of ``DataParallel`` share their memory, and would lose what is only assigned."""
    layer = ours()
    before = [(id(vector), vector.data_ptr()) for vector in vectors(layer)]
    shake(layer)
    _ = layer.weight
    assert [(id(vector), vector.data_ptr()) for vector in vectors(layer)] == before


def test_two_forward_passes_and_then_back():
    """pytorch #13350: the loss of a critic, D(real) - D(fake), whose second pass moves the vectors."""
    real, fake = torch.randn(2, 5, 3, dtype=F64)
    gradients = []
    for layer in normed_twins("spectral_norm"):
        shake_from_here(layer)
        loss = layer(real).tanh().sum() - layer(fake).tanh().sum()
        loss.backward()
        gradients.append(original(layer).grad)
    assert_close(*gradients)


def shake_from_here(layer):
    torch.manual_seed(5)
    shake(layer)


# 7. Hard inputs


def test_a_weight_of_zeros_is_nan_as_in_torch_and_a_vector_of_zeros_zero():
    for layer in normed_twins("spectral_norm"):
        with torch.no_grad():
            original(layer).zero_()
        assert layer.weight.isnan().all()
    with np.errstate(all="ignore"):
        assert np.isnan(spectral_norm_forward(np.zeros((4, 3)), np.ones(4))[0]).all()
    for layer in normed_twins("spectral_norm", name="bias"):
        with torch.no_grad():
            original(layer, "bias").zero_()
        assert not layer.bias.any()


def test_a_row_of_zeros_is_a_row_of_zeros():
    layer = ours()
    with torch.no_grad():
        original(layer)[2] = 0
    assert not layer.weight[2].any()
    assert layer.weight.isfinite().all()


def test_a_matrix_of_rank_one_is_right_after_one_iteration(rng):
    w, u = np.outer(rng.normal(size=4), rng.normal(size=3)), rng.normal(size=4)
    w_bar, (*_, sigma) = spectral_norm_forward(w, u)
    np.testing.assert_allclose(sigma, np.linalg.norm(w), rtol=1e-13)
    np.testing.assert_allclose(np.linalg.norm(w_bar), 1.0, rtol=1e-13)


def test_an_orthogonal_matrix_comes_out_as_it_is(rng):
    """All its singular values are 1, so any vector is a singular vector."""
    w, _ = np.linalg.qr(rng.normal(size=(4, 4)))
    w_bar, _ = spectral_norm_forward(3 * w, rng.normal(size=4))
    np.testing.assert_allclose(w_bar, w, rtol=1e-12, atol=1e-14)


def test_a_guess_that_hits_nothing_gives_no_length_below_eps():
    """Where w^T u is zero the vectors are, too: 0/eps, and not 0/0."""
    w, u = np.array([[1.0, 2.0], [0.0, 0.0]]), np.array([0.0, 1.0])
    with np.errstate(all="ignore"):
        _, (_, u, v, sigma) = spectral_norm_forward(w, u)
    assert not u.any()
    assert not v.any()
    assert sigma == 0
    layer = ours(lambda: nn.Linear(2, 2))
    with torch.no_grad():
        original(layer).copy_(torch.from_numpy(w))
        vectors(layer)[1].copy_(torch.tensor([2.0, -1.0]))
    _ = layer.weight
    assert all(vector.isfinite().all() for vector in vectors(layer))


@pytest.mark.parametrize("eps", [1e-12, 10.0])
def test_eps_is_the_least_length_as_in_torch(eps, rng):
    """With 10 nothing is shortened: the vectors shrink to zero, and sigma with them."""
    pair = list(normed_twins("spectral_norm", eps=eps))
    assert_same(*(layer.state_dict() for layer in pair))
    assert_close(*(layer.weight for layer in pair))
    w, _, u = random_arrays(rng, (4, 3))
    _, (_, u_new, v, _) = spectral_norm_forward(w, u, eps=eps)
    expected = w.T @ u / max(np.linalg.norm(w.T @ u), eps)
    np.testing.assert_allclose(v, expected, rtol=1e-13)
    np.testing.assert_allclose(u_new, w @ v / max(np.linalg.norm(w @ v), eps), rtol=1e-13)


@pytest.mark.parametrize("scale", [1e-10, 1e-3, 1e3, 1e18])
def test_tiny_and_huge_weights(scale):
    """In float32; at 1e-18 a length is below eps and no longer divided away, in torch as well."""
    layer = ours(lambda: nn.Linear(64, 8), dtype=torch.float32)
    with torch.no_grad():
        original(layer).mul_(scale)
    dw = torch.randn(8, 64)
    exact = seen_of_weight(copy.deepcopy(layer).double(), "weight", dw.double())
    for key, value in seen_of_weight(layer, "weight", dw).items():
        size = exact[key].abs().max().item()
        assert_close(value.double(), exact[key], rtol=1e-5, atol=1e-5 * size, msg=key)


@every_half
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_half_precision_is_computed_in_float32(dtype, name):
    """Entries of size 300 overflow float16 when squared. The vectors are rounded before their use."""
    mine, theirs = normed_twins("spectral_norm", lambda: nn.Linear(64, 32), name, dtype=dtype)
    for layer in (mine, theirs):
        with torch.no_grad():
            original(layer, name).mul_(3000)
    dw = torch.randn(getattr(mine, name).shape).to(dtype)
    unit = torch.finfo(dtype).eps
    wide = copy.deepcopy(mine).double()
    result, other = seen_of_weight(mine, name, dw), seen_of_weight(theirs, name, dw)
    assert {k: v.dtype for k, v in result.items()} == {k: v.dtype for k, v in other.items()}
    assert set(v.dtype for v in result.values()) == {dtype}
    wide.load_state_dict(mine.state_dict())  # with the rounded vectors that were used
    exact = seen_of_weight(wide.eval(), name, dw.double())
    for key in result.keys() - {f"parametrizations.{name}.0._{x}" for x in "uv"}:
        size = exact[key].abs().max().item()
        step = 6e-8 if dtype == torch.float16 else 0.0  # its smallest
        found = result[key].double()
        assert_close(found, exact[key], rtol=0.51 * unit, atol=1e-5 * size + step, msg=key)


@every_half
def test_vectors_in_half_precision_are_off_by_one_rounding(dtype):
    layer = ours(lambda: nn.Linear(64, 32), dtype=dtype)
    w, v = original(layer).detach().double(), vectors(layer)[1].double()
    _ = layer.weight
    u = nn.functional.normalize(w @ v, dim=0)
    assert_close(vectors(layer)[0].double(), u, rtol=0.51 * torch.finfo(dtype).eps, atol=1e-6)


def test_singular_value_is_exact_in_a_region_of_half_precision():
    """``torch.autocast`` takes none of it into bfloat16, as in torch's."""
    layer = ours(lambda: nn.Linear(64, 32), dtype=torch.float32).eval()
    with torch.autocast("cpu", torch.bfloat16):
        w = layer.weight
    assert torch.equal(w, layer.weight)


@pytest.mark.parametrize("dim", [0, 1, 3])
def test_memory_layout_does_not_matter(dim):
    pair = []
    for layer in normed_twins("spectral_norm", lambda: nn.Conv2d(4, 6, 3), dim=dim):
        pair.append(layer.to(memory_format=torch.channels_last))
        assert not original(layer).is_contiguous()
    assert pair[0].weight.stride() == pair[1].weight.stride()
    dw = torch.randn(6, 4, 3, 3, dtype=F64)
    assert_same(*(seen_of_weight(layer, "weight", dw) for layer in pair))


def test_complex_weights_have_singular_values_too():
    pair = list(normed_twins("spectral_norm", lambda: holding(torch.complex128), dtype=None))
    for layer in pair:
        with torch.no_grad():
            torch.manual_seed(5)
            original(layer).copy_(torch.randn(4, 3, dtype=torch.complex128))
            for _ in range(100):
                _ = layer.weight
    assert_close(pair[0].weight, pair[1].weight)
    assert_close(torch.linalg.matrix_norm(pair[0].weight, 2).item(), 1.0)


@pytest.mark.parametrize("shape", [(0, 3), (3, 0)], ids=str)
def test_a_layer_without_outputs_or_inputs_is_taken(shape):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that there is nothing to initialize
        layer = norms.spectral_norm(nn.Linear(*reversed(shape)))
    assert layer.weight.shape == shape


# 8. In place of torch's


@every_layer
def test_checkpoints_load_both_ways(make, name, shapes):
    assert_normed_checkpoints_load_both_ways(*normed_twins("spectral_norm", make, name), name)


def test_a_loaded_layer_answers_as_the_one_that_was_stored():
    """The vectors are part of the checkpoint: without them evaluation would divide by another number."""
    stored, fresh = ours(), norms.spectral_norm(LINEAR().double())
    shake(stored)
    _ = stored.weight
    fresh.load_state_dict(stored.state_dict())
    assert torch.equal(fresh.eval().weight, stored.eval().weight)


def test_an_assignment_sets_what_is_divided():
    value = torch.randn(4, 3, dtype=F64)
    pair = list(normed_twins("spectral_norm"))
    for layer in pair:
        before = id(original(layer))
        layer.weight = value.clone()
        assert id(original(layer)) == before
        assert torch.equal(original(layer), value)
    assert_close(pair[0].weight, pair[1].weight)


def test_vectors_of_another_weight_are_no_guess_of_its_own():
    """In evaluation they stay, as in torch: sigma is then any number below the right one, and below 0."""
    pair = list(normed_twins("spectral_norm", training=False))
    for layer in pair:
        layer.weight = -original(layer).detach()
    assert_close(pair[0].weight, pair[1].weight)
    assert_close(pair[0].weight, pair[0].train().weight * -1, rtol=0.01, atol=0.01)


@every_layer
@both_modes
def test_removal_leaves_the_weight_divided(make, name, shapes, training):
    """In training after one more iteration, as in torch; in evaluation as it was read."""
    pair = list(normed_twins("spectral_norm", make, name, training))
    for layer in pair:
        shake_from_here(layer)
    before = getattr(pair[0].eval(), name).detach().clone()
    pair[0].train(training)
    assert_removed_as_by_torch(*pair, name)
    if not training:
        assert torch.equal(getattr(pair[0], name), before)


def test_removal_may_give_back_what_was_divided():
    layer = ours()
    before = original(layer).detach().clone()
    parametrize.remove_parametrizations(layer, "weight", leave_parametrized=False)
    assert torch.equal(layer.weight, before)


def test_a_frozen_weight_stays_frozen_and_a_buffer_a_buffer():
    layer = LINEAR()
    layer.weight.requires_grad_(False)
    assert not norms.spectral_norm(layer).weight.requires_grad
    holder = nn.Module()
    holder.register_buffer("weight", torch.randn(4, 3))
    norms.spectral_norm(holder)
    assert not list(holder.parameters())
    assert len(list(holder.buffers())) == 3


def test_a_second_norm_divides_what_the_first_gives():
    pair = []
    for library in (norms, parametrizations):
        torch.manual_seed(1)
        layer = library.spectral_norm(library.spectral_norm(LINEAR().double()), dim=1)
        pair.append(layer)
    x = torch.randn(5, 3, dtype=F64)
    assert_same(seen_of_layer(pair[0], [x]), seen_of_layer(pair[1], [x]))


def test_copies_are_independent_and_equal_and_only_state_dicts_are_pickled():
    layer, x = ours(), torch.randn(5, 3, dtype=F64)
    copied = copy.deepcopy(layer)
    before = copy.deepcopy(layer.state_dict())
    shake(copied)
    _ = copied.weight
    assert_same(layer.state_dict(), before, rtol=0, atol=0)
    copied.load_state_dict(before)
    assert torch.equal(copied(x), layer(x))
    with pytest.raises(RuntimeError, match="only supported through state_dict"):
        pickle.dumps(layer)


@every_conversion
def test_conversion_equals_torch(convert):
    mine, theirs = (getattr(layer, convert)() for layer in normed_twins("spectral_norm"))
    assert_same(mine.state_dict(), theirs.state_dict(), rtol=1e-7, atol=1e-8)
    dtype = original(theirs).dtype
    assert mine(torch.randn(5, 3, dtype=dtype)).dtype == mine.weight.dtype == dtype


def test_dtypes_are_all_taken():
    for dtype in DTYPES:
        layer = norms.spectral_norm(LINEAR().to(dtype))
        assert {t.dtype for t in (layer.weight, *layer.state_dict().values())} == {dtype}


@pytest.mark.parametrize("name", ["weight", "bias"])
def test_first_and_second_derivatives(name):
    """In evaluation, where u and v stay: then the function is w / (u^T w v)."""
    layer = ours(name=name).eval()
    shake(layer)

    def weight(w):
        return functional_call(layer.parametrizations[name], {"original": w}, ())

    assert gradcheck(weight, (original(layer, name),))
    assert gradgradcheck(weight, (original(layer, name),))


@both_modes
def test_per_sample_gradients_by_vmap(training):
    found = []
    x = torch.randn(5, 3, dtype=F64)
    for layer in normed_twins("spectral_norm", training=training):

        def loss(parameters, sample, layer=layer):
            return functional_call(layer, parameters, (sample,)).square().sum()

        parameters = {k: p.detach() for k, p in layer.named_parameters()}
        found.append(vmap(grad(loss), (None, 0))(parameters, x))
        found.append({k: b.clone() for k, b in layer.named_buffers()})
    assert_close(*found[::2])
    assert_close(*found[1::2])


def test_ensembles_by_vmap():
    """In evaluation, as torch's: in training each member would write its own vectors."""
    layers = [ours().eval() for _ in range(3)]
    for layer in layers:
        shake(layer)
    stacked = {
        key: torch.stack([layer.state_dict()[key] for layer in layers])
        for key in layers[0].state_dict()
    }
    x = torch.randn(5, 3, dtype=F64)
    found = vmap(lambda state: functional_call(layers[0], state, (x,)))(stacked)
    assert_close(found, torch.stack([layer(x) for layer in layers]))


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_compiler
@pytest.mark.parametrize("name", ["weight", "bias"])
def test_compiled_training_equals_eager(name):
    torch._dynamo.reset()
    layer = ours(lambda: nn.Conv1d(4, 6, 3), name)
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True)
    for x in torch.randn(2, 2, 4, 5, dtype=F64):
        result = {k.replace("_orig_mod.", ""): v for k, v in seen_of_layer(compiled, [x]).items()}
        assert_same(result, seen_of_layer(layer, [x]))
    assert_close(compiled.eval()(x), layer.eval()(x))


def test_no_more_memory_is_kept_for_backward_than_by_torch():
    mine, theirs = normed_twins("spectral_norm", lambda: nn.Linear(64, 32), dtype=torch.float32)
    found = [kept(lambda _, layer=layer: layer.weight, None) for layer in (mine, theirs)]
    assert found[0] <= found[1]


def test_a_critic_trains_the_same_with_our_norm_in_place_of_torchs():
    curves = []
    for library in (norms, parametrizations):
        torch.manual_seed(1)
        real, fake = torch.randn(64, 3, 6, 6, dtype=F64), 1 + torch.randn(64, 3, 6, 6, dtype=F64)
        first, second = nn.Conv2d(3, 8, 3), nn.Linear(128, 1)
        model = nn.Sequential(first, nn.LeakyReLU(0.1), nn.Flatten(), second).double()
        for layer in (first, second):
            library.spectral_norm(layer)
        optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
        losses = []
        for _ in range(20):
            loss = (1 - model(real)).relu().mean() + (1 + model(fake)).relu().mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(losses)
    assert curves[0][-1] < curves[0][0] - 0.2
    np.testing.assert_allclose(*curves, rtol=1e-8)


# 9. What the paper claims, and what follows from it


def test_gradient_is_that_of_equation_9_entry_by_entry(rng):
    """d w_bar / d w_ij = (E_ij - [u v^T]_ij w_bar) / sigma."""
    w, dw_bar, u = random_arrays(rng, (4, 3))
    w_bar, cache = spectral_norm_forward(w, u)
    dw = spectral_norm_backward(dw_bar, cache)
    _, u, v, sigma = cache
    for i, j in np.ndindex(w.shape):
        unit = np.zeros_like(w)
        unit[i, j] = 1
        expected = (dw_bar * (unit - u[i] * v[j] * w_bar)).sum() / sigma
        np.testing.assert_allclose(dw[i, j], expected, rtol=1e-10, atol=1e-13)


def test_gradient_over_a_batch_is_that_of_equation_12(rng):
    """(E[delta h^T] - lambda u v^T) / sigma, with lambda = E[delta^T (w_bar h)]."""
    w, _, u = random_arrays(rng, (4, 3))
    h, delta = rng.normal(size=(7, 3)), rng.normal(size=(7, 4))  # inputs, upstream gradients
    w_bar, cache = spectral_norm_forward(w, u)
    dw = spectral_norm_backward(delta.T @ h / 7, cache)
    _, u, v, sigma = cache
    weight = (delta * (h @ w_bar.T)).sum(1).mean()
    expected = (delta.T @ h / 7 - weight * np.outer(u, v)) / sigma
    np.testing.assert_allclose(dw, expected, rtol=1e-11, atol=1e-13)


def test_where_the_gradient_is_a_multiple_of_the_first_pair_nothing_moves(rng):
    """Section 2.1: stationary for E[delta h^T] = k u v^T."""
    w, _, u = random_arrays(rng, (4, 3))
    _, cache = spectral_norm_forward(w, u, MANY)
    _, u, v, _ = cache
    np.testing.assert_allclose(spectral_norm_backward(-5 * np.outer(u, v), cache), 0.0, atol=1e-12)


@pytest.mark.parametrize("delta", [0.01, 3.0, 100.0])
@every_shape
def test_scale_of_w_changes_no_weight_and_divides_its_gradient(shape, delta, rng):
    """And the gradient stands at a right angle to w, converged or not."""
    w, dw_bar, u = random_arrays(rng, shape)
    (w_bar, cache), (again, scaled) = (spectral_norm_forward(a, u) for a in (w, delta * w))
    np.testing.assert_allclose(again, w_bar, rtol=1e-12)
    dw, dw_scaled = (spectral_norm_backward(dw_bar, c) for c in (cache, scaled))
    np.testing.assert_allclose(delta * dw_scaled, dw, rtol=1e-9, atol=1e-12)
    assert abs((dw * w).sum()) < 1e-11
    assert np.abs(dw).max() > 1e-3


def test_estimate_grows_to_the_largest_singular_value_from_below(rng):
    """So the largest one of the result is at least 1, and falls to it."""
    w, _, u = random_arrays(rng, (64, 64))
    counts = (1, 2, 5, 20, 100)
    estimates = [spectral_norm_forward(w, u, count)[1][3] for count in counts]
    largest = singular_values(w)[0]
    assert estimates == sorted(estimates)
    assert 0.5 * largest < estimates[0] < 0.95 * largest
    assert 0.99 * largest < estimates[-1] <= largest * (1 + 1e-14)
    left = [singular_values(spectral_norm_forward(w, u, count)[0])[0] for count in counts]
    np.testing.assert_allclose(left, largest / np.array(estimates), rtol=1e-10)


def test_one_iteration_is_enough_for_who_remembers(rng):
    """Algorithm 1: after a small step of w the old u is nearly right, a new guess is not."""
    w, _, u = random_arrays(rng, (64, 64))
    _, (_, u, _, _) = spectral_norm_forward(w, u, 10 * MANY)
    warm, cold = [], []
    for _ in range(20):
        w = w + 0.01 * rng.normal(size=w.shape)
        largest = singular_values(w)[0]
        _, (_, u, _, sigma) = spectral_norm_forward(w, u)
        warm.append(1 - sigma / largest)
        cold.append(1 - spectral_norm_forward(w, rng.normal(size=64))[1][3] / largest)
    assert max(warm) < 1e-3
    assert min(cold) > 0.05


def test_a_network_of_such_layers_is_1_lipschitz():
    """Equations 7 and 8: no two answers are further apart than the inputs."""
    layers = [nn.Linear(6, 20), nn.Linear(20, 20), nn.Linear(20, 4)]
    plain = nn.Sequential(layers[0], nn.ReLU(), layers[1], nn.LeakyReLU(0.1), layers[2]).double()
    for layer in layers:
        with torch.no_grad():
            layer.weight.mul_(5)
    x, other = torch.randn(2, 500, 6, dtype=F64)

    def steepest(model):
        return ((model(x) - model(other)).norm(dim=1) / (x - other).norm(dim=1)).max()

    assert steepest(plain) > 5
    for layer in layers:
        norms.spectral_norm(layer, n_power_iterations=MANY)
    assert 0.1 < steepest(plain) <= 1


def test_a_convolution_of_norm_1_may_lengthen_its_input():
    """Footnote of section 2.1: the matrix is the reshaped kernel, whose norm bounds nothing alone."""
    layer = nn.Conv2d(1, 1, 3, padding=1, padding_mode="circular", bias=False, dtype=F64)
    with torch.no_grad():
        layer.weight.fill_(1.0)
    norms.spectral_norm(layer)
    assert_close(layer.weight.norm().item(), 1.0)
    x = torch.ones(1, 1, 6, 6, dtype=F64)  # summed over nine places of 1/3
    assert_close((layer(x).norm() / x.norm()).item(), 3.0)  # the root of 9, the most there can be


def test_weight_norm_bounds_the_sum_of_squared_singular_values_instead(rng):
    """Equation 13: with g = 1 they add up to the number of outputs, and rank one takes all."""
    v, _, _ = random_arrays(rng, (4, 6))
    w = v / np.linalg.norm(v, axis=1, keepdims=True)
    np.testing.assert_allclose((singular_values(w) ** 2).sum(), 4.0, rtol=1e-13)
    assert 1 < singular_values(w)[0] < 2
    alike = np.outer(np.ones(4), w[0])
    np.testing.assert_allclose(singular_values(alike), [2, 0, 0, 0], rtol=1e-12, atol=1e-12)
    only_the_first, _ = spectral_norm_forward(v, rng.normal(size=4), MANY)
    assert singular_values(only_the_first)[1] > 0.1
