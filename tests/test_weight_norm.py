"""Weight norm, compared with torch, autograd, central differences and its paper."""

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
from torch.func import functional_call, grad, jvp, vmap
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
    inputs_of,
    kept,
    needs_compiler,
    normed_twins,
    seen_of_layer,
    seen_of_weight,
    shake,
)

import norms
from norms.gradcheck import check_backward
from norms.weight_norm import weight_norm_backward, weight_norm_forward

LINEAR = LAYERS["linear"][0]
# The shapes of v and g, the axes of the sums, and torch's dim
SHAPES = {
    "linear": ((4, 3), (4, 1), (1,), 0),
    "one output": ((1, 3), (1, 1), (1,), 0),
    "convolution": ((4, 3, 2, 5), (4, 1, 1, 1), (1, 2, 3), 0),
    "transposed": ((4, 3, 2, 5), (1, 3, 1, 1), (0, 2, 3), 1),
    "last axis": ((4, 3), (1, 3), (0,), 1),
    "whole matrix": ((4, 3), (1, 1), (0, 1), None),
    "whole kernel": ((4, 3, 2), (1, 1, 1), (0, 1, 2), None),
}
every_shape = pytest.mark.parametrize(
    ("v_shape", "g_shape", "axes", "dim"), SHAPES.values(), ids=SHAPES
)


def random_arrays(rng, v_shape, g_shape):
    """Draw v, dw, g; some lengths are negative."""
    return (rng.normal(size=s) for s in (v_shape, v_shape, g_shape))


def ours(make=LINEAR, name="weight", **options):
    return next(iter(normed_twins("weight_norm", make, name, **options)))


def originals(layer, name="weight"):
    """Return g and v."""
    made = layer.parametrizations[name]
    return made.original0, made.original1


def torchs(v, g, dim):
    """Return torch's weight of float64 tensors, whose ``g`` of the whole weight has no axes."""
    return torch._weight_norm(v, g.reshape(()) if dim is None else g, -1 if dim is None else dim)


# 1. Statistics of the output


@every_shape
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_weight_has_the_length_g_and_the_direction_of_v(v_shape, g_shape, axes, dim, scale, rng):
    v, _, g = random_arrays(rng, v_shape, g_shape)
    v = scale * v
    w, _ = weight_norm_forward(v, g)
    length = np.sqrt((v**2).sum(axis=axes, keepdims=True))
    assert (g < 0).any() or g.size == 1
    np.testing.assert_allclose(np.sqrt((w**2).sum(axis=axes, keepdims=True)), np.abs(g), rtol=1e-14)
    np.testing.assert_allclose((w * v).sum(axis=axes, keepdims=True), g * length, rtol=1e-13)


# 2. Forward equals torch's


@every_shape
def test_numpy_forward_equals_torch(v_shape, g_shape, axes, dim, rng):
    v, _, g = random_arrays(rng, v_shape, g_shape)
    w, _ = weight_norm_forward(v, g)
    expected = torchs(torch.from_numpy(v), torch.from_numpy(g), dim)
    np.testing.assert_allclose(w, expected.numpy(), rtol=1e-13)


# 3. Backward equals autograd, with random dw, v and g


@every_shape
def test_numpy_backward_equals_autograd_of_torch(v_shape, g_shape, axes, dim, rng):
    v, dw, g = random_arrays(rng, v_shape, g_shape)
    _, cache = weight_norm_forward(v, g)
    leaves = [torch.from_numpy(a).requires_grad_() for a in (v, g)]
    torchs(*leaves, dim).backward(torch.from_numpy(dw))
    for mine, leaf in zip(weight_norm_backward(dw, cache), leaves, strict=True):
        assert mine.shape == leaf.shape
        np.testing.assert_allclose(mine, leaf.grad.numpy(), rtol=1e-11, atol=1e-13)


@every_layer
@both_modes
def test_every_layer_equals_torchs_for_every_dim(make, name, shapes, training):
    rank, inputs = getattr(make(), name).dim(), inputs_of(shapes)
    for dim in (*range(-rank, rank), None):
        pair = normed_twins("weight_norm", make, name, training, dim=dim)
        assert_same_norm_of_a_weight(*pair, name, inputs)


def test_the_default_is_a_length_for_each_output():
    layer = norms.weight_norm(nn.Conv2d(4, 6, 3))
    assert [tuple(p.shape) for p in originals(layer)] == [(6, 1, 1, 1), (6, 4, 3, 3)]


# 4. Central differences


@every_shape
@pytest.mark.parametrize("seed", range(3))
def test_backward_passes_central_differences(v_shape, g_shape, axes, dim, seed):
    shapes = {"v": v_shape, "g": g_shape}
    result = check_backward(weight_norm_forward, weight_norm_backward, shapes, seed=seed)
    assert result.error < 1e-6, result


# 5. Shapes, dtypes and what is refused


def lazy():
    return nn.LazyLinear(4)


# what is wrong: the layer, options, words of the message (came, expected, cure)
REFUSED = {
    "another name": (LINEAR, {"name": "weights"}, ("'weights'", "it has weight, bias")),
    "no parameter": (LINEAR, {"name": "in_features"}, ("'in_features'", "it has weight, bias")),
    "a container": (lambda: nn.Sequential(LINEAR()), {}, ("Sequential", "name one of its layers")),
    "no bias": (lambda: nn.Linear(3, 4, bias=False), {"name": "bias"}, ("'bias'", "it has weight")),
    "the weight itself": (lambda: torch.ones(4, 3), {}, ("Tensor", "a layer, not its weight")),
    "no such axis": (LINEAR, {"dim": 2}, (r"\[-2, 1\], but got 2", r"\(4, 3\)", "of its outputs")),
    "no such axis from the end": (LINEAR, {"dim": -3}, (r"\[-2, 1\], but got -3",)),
    "a float": (LINEAR, {"dim": 1.0}, ("float", "such as dim=0")),
    "a truth": (LINEAR, {"dim": True}, ("bool", "such as dim=0")),
    "two axes": (LINEAR, {"dim": (0, 1)}, ("tuple", "such as dim=0")),
    "not known yet": (lazy, {}, ("lazy", r"module\(x\)")),
    "integers": (lambda: holding(torch.int64), {}, ("int64", r"x\.float\(\)")),
    "a number": (lambda: holding(torch.float32, ()), {}, ("no axes", r"reshape\(1\)")),
    "complex numbers": (lambda: holding(torch.complex64), {}, ("complex64", "view_as_real")),
}


def holding(dtype, shape=(4, 3)):
    """Make a layer with a weight of ones, of any dtype, and no gradient."""
    layer = LINEAR()
    layer.weight = nn.Parameter(torch.ones(shape, dtype=dtype), requires_grad=False)
    return layer


def refusal(call):
    with pytest.raises(Exception) as found:  # noqa: PT011 - torch says which
        call()
    return found.value


@pytest.mark.parametrize(("make", "options", "words"), REFUSED.values(), ids=REFUSED)
def test_refuses_as_torch_does_and_names_the_cure(make, options, words):
    expected = refusal(lambda: parametrizations.weight_norm(make(), **options).weight)
    layer = make()
    mine = refusal(lambda: norms.weight_norm(layer, **options))  # at once, not when it is read
    assert isinstance(mine, type(expected))
    assert not parametrize.is_parametrized(layer)
    for word in words:
        assert re.search(word, str(mine)), f"{word!r} is not in: {mine}"


@pytest.mark.parametrize("first", ["weight_norm", "spectral_norm"])
def test_a_second_parametrization_of_one_parameter_is_refused(first):
    """As torch does, but before the layer is broken, not when its weight is read."""
    theirs = getattr(parametrizations, first)(LINEAR())
    parametrizations.weight_norm(theirs)
    with pytest.raises(TypeError):
        _ = theirs.weight
    layer = getattr(norms, first)(LINEAR())
    before = layer.eval().weight
    with pytest.raises(TypeError, match=r"remove_parametrizations\(module, 'weight'\)"):
        norms.weight_norm(layer)
    assert torch.equal(layer.weight, before)


def test_spectral_norm_may_follow_and_two_parameters_may_each_have_one():
    pair = []
    for library in (norms, parametrizations):
        torch.manual_seed(1)
        layer = library.weight_norm(library.weight_norm(LINEAR().double()), "bias")
        pair.append(library.spectral_norm(layer))
    shake(*pair)
    x = torch.randn(5, 3, dtype=F64)
    assert_same(seen_of_layer(pair[0], [x]), seen_of_layer(pair[1], [x]))
    assert list(pair[0].state_dict()) == list(pair[1].state_dict())


def test_mixed_dtypes_are_refused_for_every_dim():
    """Torch refuses them for the first and the last axis, and answers for the others."""
    for dim in (0, 1, 2, None):
        layer = ours(lambda: nn.Conv1d(4, 6, 3), dtype=torch.float32, dim=dim)
        layer.parametrizations.weight.original0.data = originals(layer)[0].double()
        with pytest.raises(
            RuntimeError,
            match=r"original0 torch\.float64, original1 torch\.float32; .*layer\.float\(\)",
        ):
            _ = layer.weight
        assert layer.float().weight.dtype == torch.float32


@pytest.mark.parametrize(
    "value",
    [3.0, None, np.ones((4, 3), np.float32), torch.ones(4, 3, dtype=F64)],
    ids=["a number", "nothing", "an array", "another dtype"],
)
def test_what_may_not_be_assigned_is_refused_as_by_torch(value):
    layers = [library.weight_norm(LINEAR()) for library in (norms, parametrizations)]
    before = layers[0].weight
    mine, expected = (refusal(lambda x=x: setattr(x, "weight", value)) for x in layers)
    assert isinstance(mine, type(expected))
    assert torch.equal(layers[0].weight, before)


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ({"v": torch.ones(4, 3)}, TypeError, r"v is a torch\.Tensor; .* v\.detach\(\)\.numpy\(\)"),
        ({"v": np.ones((4, 3), int)}, TypeError, r"v has dtype int64; .* v\.astype\(float\)"),
        ({"v": np.ones((4, 3), complex)}, TypeError, "v has dtype complex128"),
        ({"g": np.ones((4, 1), int)}, TypeError, r"g has dtype int64; .* g\.astype\(float\)"),
        ({"g": np.ones(4)}, ValueError, r"g has shape \(4,\).*\(4, 3\).*g\.reshape\(4, 1\)"),
        ({"g": np.ones(3)}, ValueError, r"g has shape \(3,\).*expected g of shape \(4, 1\)"),
        ({"g": np.ones((3, 1))}, ValueError, r"g has shape \(3, 1\).*shape \(4, 1\)"),
        ({"g": 1.0}, ValueError, r"g has shape \(\).*shape \(4, 1\)"),
        ({"v": np.float64(1.0)}, ValueError, r"v is a single number.*v\.reshape\(1\)"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_numpy_function_refuses_and_names_the_cure(arguments, exception, message):
    good = {"v": np.ones((4, 3)), "g": np.ones((4, 1))}
    with pytest.raises(exception, match=message):
        weight_norm_forward(**{**good, **arguments})


def test_numpy_backward_refuses_what_does_not_fit():
    w, cache = weight_norm_forward(np.ones((4, 3)), np.ones((4, 1)))
    with pytest.raises(ValueError, match=r"dy has shape \(3,\); expected that of y, \(4, 3\)"):
        weight_norm_backward(w[0], cache)
    with pytest.raises(TypeError, match="dy has dtype int64"):
        weight_norm_backward(w.astype(int), cache)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_functions_keep_the_dtype_and_overwrite_nothing(dtype, rng):
    given = [a.astype(dtype) for a in random_arrays(rng, (4, 3), (4, 1))]
    before = [a.copy() for a in given]
    v, dw, g = given
    w, cache = weight_norm_forward(v, g)
    gradients, again = weight_norm_backward(dw, cache), weight_norm_backward(dw, cache)
    assert {a.dtype for a in (w, *gradients)} == {np.dtype(dtype)}
    for one, other in zip((*given, *gradients), (*before, *again), strict=True):
        np.testing.assert_array_equal(one, other)


def test_numpy_functions_compute_half_precision_in_float32(rng):
    """Rows of length 9,000: their squares overflow float16."""
    v, dw, g = (a.astype(np.float16) for a in random_arrays(rng, (4, 900), (4, 1)))
    v = 300 * v
    w, cache = weight_norm_forward(v, g)
    exact, exact_cache = weight_norm_forward(v.astype(float), g.astype(float))
    found = (w, *weight_norm_backward(dw, cache))
    expected = (exact, *weight_norm_backward(dw.astype(float), exact_cache))
    for one, right in zip(found, expected, strict=True):
        # One rounding is half of 2^-10 of a value; where it is tiny, one step of 6e-8.
        np.testing.assert_allclose(
            one, right, rtol=0.51 * 2**-10, atol=1e-5 * np.abs(right).max() + 6e-8
        )


def test_signature_is_torchs_and_the_layer_is_returned():
    assert arguments(norms.weight_norm) == arguments(parametrizations.weight_norm)
    layer = LINEAR()
    assert norms.weight_norm(layer) is layer
    assert inspect.isfunction(norms.weight_norm)  # and not the module of the same name


@pytest.mark.parametrize("dim", [0, 1, -1, -2, None])
def test_looks_like_torchs(dim):
    mine, theirs = normed_twins("weight_norm", dim=dim)
    assert repr(mine) == repr(theirs)
    assert mine.parametrizations.weight[0].dim == theirs.parametrizations.weight[0].dim
    assert mine.parametrizations.weight.unsafe is theirs.parametrizations.weight.unsafe


def test_a_numpy_integer_is_an_axis():
    assert originals(ours(dim=np.int64(1)))[0].shape == (1, 3)


# 6. Training and evaluation are the same


def test_training_and_evaluation_are_the_same_to_the_last_bit():
    layer, dw = ours(), torch.randn(4, 3, dtype=F64)
    before = copy.deepcopy(layer.state_dict())
    result = seen_of_weight(layer.train(), "weight", dw)
    assert_same(seen_of_weight(layer.eval(), "weight", dw), result, rtol=0, atol=0)
    with torch.no_grad():
        assert torch.equal(layer.weight, result["w"])
    assert not list(layer.buffers())
    assert_same(layer.state_dict(), before, rtol=0, atol=0)


# 7. Hard inputs


@pytest.mark.parametrize("dim", [0, 1, None])
def test_a_weight_without_direction_is_nan_as_in_torch_and_leaves_the_others_alone(dim):
    pair = []
    for layer in normed_twins("weight_norm", dim=dim):
        with torch.no_grad():
            originals(layer)[1][2] = 0
            originals(layer)[1][:, 1] = 0
            if dim is None:
                originals(layer)[1].zero_()
        pair.append(layer)
    dw = torch.randn(4, 3, dtype=F64)
    result = seen_of_weight(pair[0], "weight", dw)
    assert_same(result, seen_of_weight(pair[1], "weight", dw))
    lost = result["w"].isnan()
    expected = torch.zeros(4, 3, dtype=torch.bool)
    expected[{0: (2,), 1: (slice(None), 1), None: ()}[dim]] = True
    assert torch.equal(lost, expected)
    dv = result["dparametrizations.weight.original1"]
    assert torch.equal(dv.isnan(), expected)


def test_a_row_of_zeros_is_nan_in_numpy_too():
    v = np.ones((3, 2))
    v[1] = 0
    with np.errstate(all="ignore"):
        w, cache = weight_norm_forward(v, np.ones((3, 1)))
        dv, dg = weight_norm_backward(np.ones((3, 2)), cache)
    for array in (w, dv, dg):
        assert np.isnan(array[1]).all()
        assert np.isfinite(array[[0, 2]]).all()


def test_a_weight_of_one_number_becomes_plus_or_minus_its_length():
    """One input, or a vector of which every entry has its own length: nothing of v is left."""
    layer = ours(name="bias")
    shake(layer)
    g, v = originals(layer, "bias")
    assert_close(layer.bias, g * v.sign(), rtol=1e-14, atol=0)
    layer.bias.backward(torch.randn(4, dtype=F64))
    assert v.grad.abs().max() < 1e-15
    assert g.grad.abs().min() > 0


@pytest.mark.parametrize("scale", [1e-15, 1e-3, 1e3, 1e15])
def test_tiny_and_huge_weights(scale):
    """In float32: squares of 1e-30 and 1e30 still fit."""
    layer = ours(lambda: nn.Linear(64, 8), dtype=torch.float32)
    with torch.no_grad():
        originals(layer)[1].mul_(scale)
    dw = torch.randn(8, 64)
    exact = seen_of_weight(copy.deepcopy(layer).double(), "weight", dw.double())
    for key, value in seen_of_weight(layer, "weight", dw).items():
        assert_close(
            value.double(), exact[key], rtol=1e-5, atol=1e-5 * exact[key].abs().max().item()
        )


@pytest.mark.parametrize("scale", [1e-30, 1e25])
def test_where_squares_leave_float32_the_weight_is_nan_as_in_torch(scale):
    def make():
        layer = LINEAR()
        layer.weight.data *= scale
        return layer

    for layer in normed_twins("weight_norm", make, dtype=torch.float32):
        assert layer.weight.isnan().all()


@every_half
@pytest.mark.parametrize("dim", [0, 1, None])
def test_half_precision_is_off_by_one_rounding(dtype, dim):
    """Computed in float32: entries of size 300 overflow float16 when squared."""
    mine, theirs = normed_twins("weight_norm", lambda: nn.Linear(64, 32), dtype=dtype, dim=dim)
    for layer in (mine, theirs):
        with torch.no_grad():
            originals(layer)[1].mul_(1000)
    dw = torch.randn(32, 64).to(dtype)
    exact = seen_of_weight(copy.deepcopy(mine).double(), "weight", dw.double())
    result, torchs_own = seen_of_weight(mine, "weight", dw), seen_of_weight(theirs, "weight", dw)
    for key, value in result.items():
        unit, size = torch.finfo(dtype).eps, exact[key].abs().max().item()
        assert value.dtype == torchs_own[key].dtype == dtype
        step = 6e-8 if dtype == torch.float16 else 0.0  # its smallest
        assert_close(value.double(), exact[key], rtol=0.51 * unit, atol=1e-5 * size + step, msg=key)


@every_half
def test_the_first_length_in_half_precision_is_that_of_float32(dtype):
    layer = ours(lambda: nn.Linear(900, 32), dtype=dtype)
    g, v = originals(layer)
    exact = v.detach().double().norm(dim=1, keepdim=True)
    assert_close(g.detach().double(), exact, rtol=0.51 * torch.finfo(dtype).eps, atol=0)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_memory_layout_does_not_matter_and_the_result_is_contiguous(dim):
    """So that view(-1) works on it, as on torch's, in a model converted to channels_last."""
    pair = []
    for layer in normed_twins("weight_norm", lambda: nn.Conv2d(4, 6, 3), dim=dim):
        pair.append(layer.to(memory_format=torch.channels_last))
        assert not originals(layer)[1].is_contiguous()
        assert layer.weight.is_contiguous()
    dw = torch.randn(6, 4, 3, 3, dtype=F64)
    assert_same(*(seen_of_weight(layer, "weight", dw) for layer in pair))


def test_a_layer_without_outputs_or_inputs_is_taken():
    """Torch fails on the first, for it cannot reshape an empty weight."""
    for shape in ((0, 3), (3, 0)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that there is nothing to initialize
            layer = norms.weight_norm(nn.Linear(*reversed(shape)))
        assert layer.weight.shape == shape
        assert layer(torch.ones(2, shape[1])).shape == (2, shape[0])
    dv, dg = weight_norm_backward(*weight_norm_forward(np.ones((0, 3)), np.ones((0, 1))))
    assert (dv.shape, dg.shape) == ((0, 3), (0, 1))


# 8. In place of torch's


@every_layer
def test_checkpoints_load_both_ways(make, name, shapes):
    for dim in (0, None):
        pair = normed_twins("weight_norm", make, name, dim=dim)
        assert_normed_checkpoints_load_both_ways(*pair, name)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_checkpoints_of_the_older_weight_norm_load(dim):
    """With ``weight_g`` and ``weight_v``, also of a layer inside a model."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # deprecated
        old = nn.Sequential(nn.utils.weight_norm(LINEAR().double(), dim=dim))
    shake(old)
    state = old.state_dict()
    assert "0.weight_g" in state
    model = nn.Sequential(ours(dim=dim))
    for target, prefix in ((model, ""), (model[0], "0.")):
        shake(target)
        part = {k.removeprefix(prefix): v for k, v in state.items()}
        target.load_state_dict(dict(part), strict=True)
        x = torch.randn(5, 3, dtype=F64)
        assert_close(model(x), old(x))
    assert "0.weight_g" in state  # the caller's is as it was


def test_half_of_an_older_checkpoint_is_reported_as_missing():
    layer = ours()
    state = {"weight_g": torch.ones(4, 1), "bias": torch.ones(4)}
    found = layer.load_state_dict(state, strict=False)
    assert found.unexpected_keys == ["weight_g"]
    assert len(found.missing_keys) == 2


def test_a_parameter_of_that_name_in_another_layer_is_left_alone():
    """A layer of its own may have parameters ``weight_g`` and ``weight_v``: after removal, too."""
    layer = parametrize.remove_parametrizations(ours(), "weight")
    with pytest.raises(RuntimeError, match=r'Unexpected.*"weight_g"'):
        layer.load_state_dict({"weight_g": torch.ones(4, 1), "weight_v": torch.ones(4, 3)})


@pytest.mark.parametrize("dim", [0, 1, None])
def test_an_assignment_sets_length_and_direction(dim):
    mine, theirs = normed_twins("weight_norm", dim=dim)
    kept_ids = [id(p) for p in originals(mine)]
    value = torch.randn(4, 3, dtype=F64)
    for layer in (mine, theirs):
        layer.weight = value.clone()
    assert_close(mine.weight, value, rtol=1e-14, atol=1e-15)
    assert_same(mine.state_dict(), theirs.state_dict())
    assert [id(p) for p in originals(mine)] == kept_ids  # so an optimizer still has them
    assert all(p.requires_grad for p in originals(mine))


def test_the_layer_does_not_change_when_the_norm_is_put_on_it():
    for make, name, _ in LAYERS.values():
        layer = make().double()
        before = getattr(layer, name).detach().clone()
        norms.weight_norm(layer, name)
        assert_close(getattr(layer, name), before, rtol=1e-14, atol=1e-15)
        assert torch.equal(originals(layer, name)[1], before)


@every_layer
def test_removal_leaves_the_weight_that_was_read(make, name, shapes):
    mine, theirs = normed_twins("weight_norm", make, name)
    shake(mine, theirs)
    before = getattr(mine, name).detach()
    assert_removed_as_by_torch_except_for_pickling(mine, theirs, name)
    assert torch.equal(getattr(mine, name), before)


def assert_removed_as_by_torch_except_for_pickling(mine, theirs, name):
    """Torch's layer cannot be pickled even then: a local function stays behind in it."""
    assert_removed_as_by_torch(mine, theirs, name)
    with pytest.raises(Exception, match="local object"):
        pickle.dumps(theirs)


def test_a_frozen_weight_stays_frozen_and_a_buffer_a_buffer():
    layer = LINEAR()
    layer.weight.requires_grad_(False)
    norms.weight_norm(layer)
    assert not any(p.requires_grad for p in originals(layer))
    holder = nn.Module()
    holder.register_buffer("weight", torch.randn(4, 3))
    norms.weight_norm(holder)
    assert not list(holder.parameters())
    assert len(list(holder.buffers())) == 2


def test_length_and_direction_learn_without_help():
    assert all(p.requires_grad for p in originals(norms.weight_norm(LINEAR())))


def test_copies_are_independent_and_equal_and_only_state_dicts_are_pickled():
    layer, x = ours(), torch.randn(5, 3, dtype=F64)
    copied = copy.deepcopy(layer)
    assert torch.equal(copied(x), layer(x))
    shake(copied)
    assert not torch.allclose(copied(x), layer(x))
    copied.load_state_dict(
        {
            k.replace("parametrizations.weight.original0", "weight_g").replace(
                "parametrizations.weight.original1", "weight_v"
            ): v
            for k, v in layer.state_dict().items()
        }
    )
    assert torch.equal(copied(x), layer(x))
    for each in normed_twins("weight_norm"):
        with pytest.raises(RuntimeError, match="only supported through state_dict"):
            pickle.dumps(each)


@every_conversion
def test_conversion_equals_torch(convert):
    mine, theirs = (getattr(layer, convert)() for layer in normed_twins("weight_norm"))
    assert_same(mine.state_dict(), theirs.state_dict(), rtol=1e-7, atol=0)
    dtype = originals(theirs)[0].dtype
    assert mine(torch.randn(5, 3, dtype=dtype)).dtype == mine.weight.dtype == dtype


@pytest.mark.parametrize("dim", [0, 1, None])
def test_first_and_second_derivatives(dim):
    """Torch's second ones lack a term where it has a kernel of its own: the length is held fixed."""
    for library, right in ((norms, True), (parametrizations, dim is None)):
        layer = library.weight_norm(LINEAR().double(), dim=dim)
        shake(layer)

        def weight(*leaves, layer=layer):
            return functional_call(
                layer.parametrizations.weight,
                dict(zip(("original0", "original1"), leaves, strict=True)),
                (),
            )

        leaves = originals(layer)
        assert gradcheck(weight, leaves)
        assert gradgradcheck(weight, leaves, raise_exception=False) is right


def test_second_derivatives_of_a_penalty_on_the_gradient_are_those_of_the_formula():
    """The penalty of WGAN-GP, of a critic with weight norm: its gradient goes twice through v."""
    layer, x = ours(), torch.randn(5, 3, dtype=F64, requires_grad=True)

    def gradients(weight, leaves):
        y = torch.tanh(x @ weight.T).square().sum()
        (dx,) = torch.autograd.grad(y, x, create_graph=True)
        return torch.autograd.grad((dx.norm(dim=1) - 1).square().sum(), leaves)

    g, v = originals(layer)
    expected = gradients(g * v / v.norm(dim=1, keepdim=True), (g, v))
    assert_close(gradients(layer.weight, (g, v)), expected)


def test_forward_mode_works_where_torch_has_none():
    layer, x = ours(), torch.randn(5, 3, dtype=F64)
    parameters = {k: p.detach() for k, p in layer.named_parameters()}
    direction = {k: torch.randn_like(p) for k, p in parameters.items()}

    def call(p):
        return functional_call(layer, p, (x,))

    _, found = jvp(call, (parameters,), (direction,))
    step = {k: p + 1e-6 * direction[k] for k, p in parameters.items()}
    back = {k: p - 1e-6 * direction[k] for k, p in parameters.items()}
    assert_close(found, (call(step) - call(back)) / 2e-6, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_per_sample_gradients_by_vmap(dim):
    found = []
    x = torch.randn(5, 3, dtype=F64)
    for layer in normed_twins("weight_norm", dim=dim):

        def loss(parameters, sample, layer=layer):
            return functional_call(layer, parameters, (sample,)).square().sum()

        parameters = {k: p.detach() for k, p in layer.named_parameters()}
        found.append(vmap(grad(loss), (None, 0))(parameters, x))
        for i, sample in enumerate(x):
            assert_close({k: v[i] for k, v in found[-1].items()}, grad(loss)(parameters, sample))
    assert_close(*found)


@pytest.mark.parametrize("dim", [0, 1, None])
def test_ensembles_by_vmap(dim):
    layers = [ours(dim=dim) for _ in range(3)]
    for layer in layers:
        shake(layer)
    stacked = {
        k: torch.stack([dict(layer.named_parameters())[k].detach() for layer in layers])
        for k, _ in layers[0].named_parameters()
    }
    x = torch.randn(5, 3, dtype=F64)
    found = vmap(lambda p: functional_call(layers[0], p, (x,)))(stacked)
    assert_close(found, torch.stack([layer(x) for layer in layers]))


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_compiler
@pytest.mark.parametrize("dim", [0, None])
def test_compiled_training_equals_eager(dim):
    torch._dynamo.reset()
    layer = ours(lambda: nn.Conv1d(4, 6, 3), dim=dim)
    compiled = torch.compile(copy.deepcopy(layer), fullgraph=True)
    for x in torch.randn(2, 2, 4, 5, dtype=F64):
        result = {k.replace("_orig_mod.", ""): v for k, v in seen_of_layer(compiled, [x]).items()}
        assert_same(result, seen_of_layer(layer, [x]))


def test_the_weight_is_computed_once_where_torch_is_asked_to_keep_it():
    layer = ours()
    with parametrize.cached():
        assert layer.weight is layer.weight
    assert layer.weight is not layer.weight


def test_no_more_memory_is_kept_for_backward_than_by_torch():
    """The direction, once; besides, some numbers for each output."""
    mine, theirs = normed_twins("weight_norm", lambda: nn.Linear(64, 32), dtype=torch.float32)
    found = [kept(lambda _, layer=layer: layer.weight, None) for layer in (mine, theirs)]
    assert found[0] <= found[1] + 4 * 4 * 32


def test_a_network_trains_the_same_with_our_norm_in_place_of_torchs():
    curves = []
    for library in (norms, parametrizations):
        torch.manual_seed(1)
        x, labels = torch.randn(64, 3, 6, 6, dtype=F64), torch.randint(5, (64,))
        first, second = nn.Conv2d(3, 8, 3), nn.Linear(128, 5)
        model = nn.Sequential(first, nn.ReLU(), nn.Flatten(), second).double()
        for layer in (first, second):
            library.weight_norm(layer)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.1, momentum=0.9)
        losses = []
        for _ in range(20):
            loss = nn.functional.cross_entropy(model(x), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
        curves.append(losses)
    assert curves[0][-1] < curves[0][0] / 2
    np.testing.assert_allclose(*curves, rtol=1e-8)


# 9. What the paper claims, and what follows from it


@every_shape
def test_gradients_are_those_of_equation_3_and_stand_at_right_angles_to_v(
    v_shape, g_shape, axes, dim, rng
):
    v, dw, g = random_arrays(rng, v_shape, g_shape)
    dv, dg = weight_norm_backward(dw, weight_norm_forward(v, g)[1])
    length = np.sqrt((v**2).sum(axis=axes, keepdims=True))
    np.testing.assert_allclose(dg, (dw * v).sum(axis=axes, keepdims=True) / length, rtol=1e-12)
    np.testing.assert_allclose(dv, g / length * dw - g * dg / length**2 * v, rtol=1e-9, atol=1e-13)
    np.testing.assert_allclose((dv * v).sum(axis=axes), 0.0, atol=1e-12)
    assert np.abs(dv).max() > 0.1


def test_gradient_is_scaled_and_projected_away_from_the_weight(rng):
    """Equation 4: dv = g / |v| M dw with M = I - w w^T / |w|^2, row by row."""
    v, dw, g = random_arrays(rng, (4, 5), (4, 1))
    w, cache = weight_norm_forward(v, g)
    dv, _ = weight_norm_backward(dw, cache)
    for i in range(4):
        projection = np.eye(5) - np.outer(w[i], w[i]) / (w[i] @ w[i])
        expected = g[i] / np.linalg.norm(v[i]) * projection @ dw[i]
        np.testing.assert_allclose(dv[i], expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("delta", [0.01, 3.0, 100.0])
def test_length_of_v_changes_no_weight_and_divides_its_gradient(delta, rng):
    v, dw, g = random_arrays(rng, (4, 5), (4, 1))
    (w, cache), (again, scaled) = weight_norm_forward(v, g), weight_norm_forward(delta * v, g)
    np.testing.assert_allclose(again, w, rtol=1e-13)
    (dv, dg), (dv_scaled, dg_scaled) = (weight_norm_backward(dw, c) for c in (cache, scaled))
    np.testing.assert_allclose(delta * dv_scaled, dv, rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(dg_scaled, dg, rtol=1e-12)


def test_a_negative_length_turns_the_weight_around(rng):
    v, _, g = random_arrays(rng, (4, 5), (4, 1))
    np.testing.assert_array_equal(weight_norm_forward(v, -g)[0], -weight_norm_forward(v, g)[0])


@pytest.fixture
def descent():
    """Return a function that trains v alone, and tells it before and after each step."""

    def train(optimizer, steps=200, **options):
        torch.manual_seed(2)
        layer = norms.weight_norm(nn.Linear(6, 4, dtype=F64))
        x, target = torch.randn(100, 6, dtype=F64), torch.randn(100, 4, dtype=F64)
        v = originals(layer)[1]
        stepper = optimizer([v], **options)
        path = [v.detach().clone()]
        for _ in range(steps):
            batch = torch.randint(100, (10,))
            layer.zero_grad()
            (layer(x[batch]) - target[batch]).square().mean().backward()
            stepper.step()
            path.append(v.detach().clone())
        path = torch.stack(path)  # (steps + 1, 4, 6)
        return path[:-1], path[1:]

    return train


def test_plain_descent_lengthens_v_at_every_step_by_pythagoras(descent):
    """Section 2.1: |v'| = sqrt(1 + c^2) |v|, with c = |step| / |v|."""
    before, after = descent(torch.optim.SGD, lr=0.5)
    c = (after - before).norm(dim=2) / before.norm(dim=2)
    expected = (1 + c**2).sqrt() * before.norm(dim=2)
    assert_close(after.norm(dim=2), expected, rtol=1e-12, atol=0)
    assert (after.norm(dim=2) > before.norm(dim=2)).all()
    assert (after[-1].norm(dim=1) > 1.1 * before[0].norm(dim=1)).all()


@pytest.mark.parametrize(
    ("optimizer", "options", "shortens"),
    [
        (torch.optim.SGD, {"lr": 0.5, "momentum": 0.9}, False),
        (torch.optim.Adam, {"lr": 0.05}, True),
        (torch.optim.SGD, {"lr": 0.5, "weight_decay": 0.1}, True),
    ],
    ids=["momentum", "Adam", "weight decay"],
)
def test_with_momentum_adam_or_weight_decay_steps_have_a_part_along_v(
    descent, optimizer, options, shortens
):
    """Section 2.1: the analysis "does not strictly hold" for momentum and Adam."""
    before, after = descent(optimizer, **options)
    step = after - before
    cosine = (before * step).sum(2) / (before.norm(dim=2) * step.norm(dim=2))
    assert cosine.abs().max() > 0.1
    assert (after.norm(dim=2) < before.norm(dim=2)).any() == shortens


def test_too_long_a_step_lengthens_v_and_the_next_turns_it_less():
    """Section 2.1: the rate of v is divided by |v|^2, so it settles by itself."""
    layer = norms.weight_norm(nn.Linear(6, 1, bias=False, dtype=F64))
    v, dw = originals(layer)[1], torch.randn(1, 6, dtype=F64)
    angles = []
    for _ in range(3):
        before = layer.weight.detach().clone()
        layer.zero_grad()
        # at right angles to the weight and of one length, so only |v| differs from step to step
        along = before * (dw * before).sum() / before.square().sum()
        layer.weight.backward((dw - along) / (dw - along).norm())
        with torch.no_grad():
            v -= 30 * v.grad
        angles.append(nn.functional.cosine_similarity(before, layer.weight).acos().item())
    assert angles[0] > 1
    assert angles[2] < angles[1] < 0.5 * angles[0]


def test_folding_the_norm_into_the_weight_changes_no_answer():
    """A trained layer without the norm answers to the last bit as with it."""
    layer, x = ours(lambda: nn.Conv2d(3, 4, 3)), torch.randn(2, 3, 5, 5, dtype=F64)
    shake(layer)
    y = layer(x).detach()
    folded = parametrize.remove_parametrizations(layer, "weight")
    assert torch.equal(folded(x), y)
    assert [name for name, _ in folded.named_parameters()] == ["bias", "weight"]


def test_data_dependent_start_gives_sums_of_mean_0_and_variance_1():
    """Equations 5 and 6: g = 1 / sigma[t] and b = -mu[t] / sigma[t], with t = v x / |v|."""
    layer, x = ours(lambda: nn.Linear(6, 4)), 3 + 2 * torch.randn(100, 6, dtype=F64)
    g, v = originals(layer)
    with torch.no_grad():
        t = x @ (v / v.norm(dim=1, keepdim=True)).T
        g.copy_(1 / t.std(0, correction=0)[:, None])
        layer.bias.copy_(-t.mean(0) / t.std(0, correction=0))
        y = layer(x)
    assert_close(y.mean(0), torch.zeros(4, dtype=F64), rtol=0, atol=1e-12)
    assert_close(y.var(0, correction=0), torch.ones(4, dtype=F64), rtol=1e-12, atol=0)


def test_dtypes_are_all_taken():
    for dtype in DTYPES:
        layer = norms.weight_norm(LINEAR().to(dtype))
        assert {p.dtype for p in (layer.weight, *originals(layer))} == {dtype}
