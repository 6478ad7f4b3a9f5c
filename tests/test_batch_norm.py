"""Batch norm, compared with torch, autograd, central differences and its paper."""

import copy
import itertools

import numpy as np
import pytest
import torch
from torch import nn
from torch.func import vmap
from torch.nn import functional as F
from torch.testing import assert_close
from twins import (
    DTYPES,
    F64,
    assert_a_frozen_gain_gets_no_gradient,
    assert_checkpoints_load_both_ways,
    assert_compiled_equals_eager,
    assert_conversion_equals_torch,
    assert_copies_are_independent_and_equal,
    assert_digits_are_kept_far_from_zero,
    assert_ensembles_by_vmap,
    assert_layout_does_not_matter,
    assert_near_float64,
    assert_nothing_is_overwritten,
    assert_numpy_backward_is_computed_in_float32,
    assert_numpy_functions_keep_the_dtype,
    assert_numpy_functions_overwrite_nothing,
    assert_numpy_functions_take_an_empty_batch,
    assert_off_by_one_rounding,
    assert_per_sample_gradients,
    assert_same,
    assert_same_constructor,
    assert_trains_the_same,
    both_modes,
    both_refuse,
    convolutional_network,
    differentiable,
    dtype_or_refusal,
    every_conversion,
    every_half,
    every_layout,
    float64_reference,
    graph_size,
    kept,
    needs_compiler,
    seen,
    twins,
)

import norms
from norms.batch_norm import batch_norm_backward, batch_norm_forward, batch_norm_inference
from norms.gradcheck import check_backward

EPS = 1e-5
NUMPY = (batch_norm_forward, batch_norm_backward)
KINDS = {
    "1d": ("BatchNorm1d", (4, 3)),
    "1d, with length": ("BatchNorm1d", (4, 3, 5)),
    "2d": ("BatchNorm2d", (4, 3, 5, 6)),
    "3d": ("BatchNorm3d", (2, 3, 4, 3, 2)),
}
every_kind = pytest.mark.parametrize(("name", "shape"), KINDS.values(), ids=KINDS)
every_shape = pytest.mark.parametrize("shape", [shape for _, shape in KINDS.values()], ids=str)
OPTIONS = ({}, {"bias": False}, {"affine": False}, {"track_running_stats": False})
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


def random_arrays(rng, shape):
    """Draw x, dy, gamma, beta."""
    channels = (shape[1],)
    return (rng.normal(size=s) for s in (shape, shape, channels, channels))


def space(x):
    return (0, *range(2, x.ndim))


# 1. Statistics of the output


@every_shape
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_output_has_mean_beta_and_the_variance_that_eps_leaves(shape, scale, rng):
    x, _, gamma, beta = random_arrays(rng, shape)
    x = scale * x + 2.0
    y, _ = batch_norm_forward(x, gamma, beta, EPS)
    var = x.var(axis=space(x))
    np.testing.assert_allclose(y.mean(axis=space(x)), beta, rtol=1e-11, atol=1e-11)
    np.testing.assert_allclose(y.var(axis=space(x)), gamma**2 * var / (var + EPS), rtol=1e-9)


# 2. Forward equals torch's


@every_shape
def test_numpy_forward_equals_torch(shape, rng):
    x, _, gamma, beta = random_arrays(rng, shape)
    y, _ = batch_norm_forward(x, gamma, beta, 1e-3)
    x, gamma, beta = map(torch.from_numpy, (x, gamma, beta))
    expected = F.batch_norm(x, None, None, gamma, beta, training=True, eps=1e-3)
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-12, atol=1e-13)


@every_shape
def test_numpy_inference_equals_torch(shape, rng):
    x, _, gamma, beta = random_arrays(rng, shape)
    mean, var = rng.normal(size=3), rng.uniform(0.1, 2.0, size=3)
    y = batch_norm_inference(x, gamma, beta, mean, var, 1e-3)
    expected = F.batch_norm(*map(torch.from_numpy, (x, mean, var, gamma, beta)), eps=1e-3)
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-12, atol=1e-13)


def test_default_eps_of_the_numpy_functions_is_torchs(rng):
    x, _, gamma, beta = random_arrays(rng, (4, 3))
    arrays = (1e-3 * x, gamma, beta)
    statistics = (np.zeros(3), np.full(3, 1e-6))
    eps = nn.BatchNorm1d(3).eps
    np.testing.assert_array_equal(
        batch_norm_forward(*arrays)[0], batch_norm_forward(*arrays, eps)[0]
    )
    np.testing.assert_array_equal(
        batch_norm_inference(*arrays, *statistics), batch_norm_inference(*arrays, *statistics, eps)
    )


# 3. Backward equals autograd, with random dy, gamma and beta


@every_shape
def test_numpy_backward_equals_autograd_of_torch(shape, rng):
    x, dy, gamma, beta = random_arrays(rng, shape)
    _, cache = batch_norm_forward(x, gamma, beta, EPS)
    leaves = [torch.from_numpy(a).requires_grad_() for a in (x, gamma, beta)]
    F.batch_norm(leaves[0], None, None, *leaves[1:], training=True, eps=EPS).backward(
        torch.from_numpy(dy)
    )
    for ours, leaf in zip(batch_norm_backward(dy, cache), leaves, strict=True):
        np.testing.assert_allclose(ours, leaf.grad.numpy(), rtol=1e-10, atol=1e-12)


@every_kind
@every_option
@both_modes
def test_layer_equals_torch_forward_and_back(name, shape, options, training):
    ours, theirs = twins(name, 3, training=training, eps=1e-3, **options)
    x, dy = torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
    assert_same(seen(ours, x, dy), seen(theirs, x, dy))


def test_a_frozen_gain_gets_no_gradient():
    assert_a_frozen_gain_gets_no_gradient(twins("BatchNorm1d", 3)[0], torch.randn(4, 3, dtype=F64))


# 4. Central differences


@pytest.mark.parametrize("shape", [(4, 3), (3, 2, 4), (2, 3, 2, 2), (2, 2, 2, 1, 3)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_backward_passes_central_differences(shape, seed):
    shapes = {"x": shape, "gamma": shape[1:2], "beta": shape[1:2]}
    result = check_backward(batch_norm_forward, batch_norm_backward, shapes, seed=seed, eps=EPS)
    assert result.error < 1e-6, result


# 5. Shapes, dtypes and what is refused

# what is wrong: layer, its options, the input, modes, words of the message (came, expected, cure)
REFUSED = {
    "0 dimensions": ("1d", {}, torch.ones(()), "te", ("0D", "2D or 3D", "give it")),
    "1 dimension": ("1d", {}, torch.ones(3), "te", ("1D", r"\(3,\)", r"\(N, C\) or \(N, C, L\)")),
    "4 dimensions in 1d": ("1d", {}, torch.ones(2, 3, 4, 4), "te", ("4D", "2D or 3D", "give it")),
    "3 dimensions in 2d": ("2d", {}, torch.ones(2, 3, 4), "te", ("3D", "4D", r"\(N, C, H, W\)")),
    "4 dimensions in 3d": ("3d", {}, torch.ones(2, 3, 4, 4), "te", ("4D", "5D", r"\(N, C, D, H, W\)")),
    "channels": ("1d", {}, torch.ones(4, 5), "te", (r"\(4, 5\)", "5 channels", "built for 3")),
    "one channel": ("1d", {}, torch.ones(4, 1), "te", (r"\(4, 1\)", "1 channels", "built for 3")),
    "channels, no gain": ("1d", {"affine": False}, torch.ones(4, 5), "te", ("running_mean", "5", "3")),
    "channels, no statistics": ("1d", {"track_running_stats": False}, torch.ones(4, 5), "te", ("weight", "5", "3")),
    "integers": ("1d", {}, torch.ones(4, 3, dtype=torch.int64), "te", ("int64", "floating", "float()")),
    "booleans": ("1d", {}, torch.ones(4, 3, dtype=torch.bool), "te", ("bool", "floating", "float()")),
    "complex": ("1d", {}, torch.ones(4, 3, dtype=torch.complex64), "te", ("complex64", "real numbers")),
    "one value": ("1d", {}, torch.ones(1, 3), "t", (r"\(1, 3\)", "more than 1 value", "drop_last")),
    "one pixel": ("2d", {}, torch.ones(1, 3, 1, 1), "t", (r"1, 1\)", "more than 1 value", "eval()")),
    "one value, no statistics": ("1d", {"track_running_stats": False}, torch.ones(1, 3), "t", (r"\(1, 3\)", "more than 1 value", "larger batch")),
    "eps of zero": ("1d", {"eps": 0.0}, torch.ones(4, 3), "t", ("eps", "0.0", "1e-5")),
    "eps of zero, no statistics": ("1d", {"eps": 0.0, "track_running_stats": False}, torch.ones(4, 3), "te", ("eps", "positive", "1e-5")),
    "negative eps": ("1d", {"eps": -1e-5}, torch.ones(4, 3), "te", ("eps", "-1e-05", "1e-5")),
    "mixed dtypes": ("1d", {}, torch.ones(4, 3, dtype=F64), "te", ("float64", "weight torch.float32")),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "options", "x", "mode", "words"),
    [(*case[:3], mode, case[4]) for case in REFUSED.values() for mode in case[3]],
    ids=[f"{key}, {mode}" for key, case in REFUSED.items() for mode in case[3]],
)
def test_refuses_as_torch_does_and_names_the_cure(kind, options, x, mode, words):
    options = {"training": mode == "t", "dtype": torch.float32, **options}
    ours, theirs = twins(f"BatchNorm{kind}", 3, **options)
    before = copy.deepcopy(ours.state_dict())
    refusal, expected = both_refuse(ours, theirs, x, words)
    assert refusal is expected
    assert_same(before, ours.state_dict(), rtol=0, atol=0)


def test_eps_of_zero_is_fine_where_nothing_can_vanish():
    ours, theirs = twins("BatchNorm1d", 3, training=False, eps=0.0)
    x = torch.randn(4, 3, dtype=F64)
    assert_close(ours(x), theirs(x))


@pytest.mark.parametrize(
    "x", [np.ones((4, 3), np.float32), [[1.0, 2.0, 3.0]] * 4], ids=["array", "list"]
)
def test_layer_wants_a_tensor(x):
    # torch lets an AttributeError escape; ours says what to do.
    with pytest.raises(TypeError, match=r"input is a (ndarray|list).*torch\.as_tensor\(x\)"):
        norms.BatchNorm1d(3)(x)


@both_modes
@every_option
def test_mixed_dtypes_are_accepted_exactly_where_torch_accepts_them(training, options):
    """The table over the dtypes of input, parameters and buffers, against torch itself."""

    def outcome(library, x_dtype, parameter_dtype, buffer_dtype):
        layer = library.BatchNorm1d(3, **options).train(training)
        for parameter in layer.parameters():
            parameter.data = parameter.data.to(parameter_dtype)
        if layer.running_mean is not None:
            layer.running_mean = layer.running_mean.to(buffer_dtype)
            layer.running_var = layer.running_var.to(buffer_dtype)
        return dtype_or_refusal(layer, torch.randn(4, 3).to(x_dtype))

    for dtypes in itertools.product(DTYPES, repeat=3):
        assert outcome(norms, *dtypes) == outcome(nn, *dtypes), dtypes


@both_modes
def test_every_parameter_and_buffer_takes_part_in_the_dtype_check(training):
    for name in ("weight", "bias", "running_mean", "running_var"):
        layer = norms.BatchNorm1d(3).train(training)
        getattr(layer, name).data = getattr(layer, name).data.double()
        with pytest.raises(RuntimeError, match=rf"mixed dtype.*float32.*{name} torch\.float64"):
            layer(torch.ones(4, 3))


@both_modes
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_go_where_they_go_in_torch(value, training):
    """Into their channel, its gradients and its running statistics, and nowhere else."""
    ours, theirs = twins("BatchNorm2d", 3, training=training)
    x, dy = torch.randn(4, 3, 2, 2, dtype=F64), torch.randn(4, 3, 2, 2, dtype=F64)
    x[1, 1, 0, 1] = value
    result = seen(ours, x, dy)
    assert_same(result, seen(theirs, x, dy))
    assert not result["y"][:, 1].isfinite().all()
    assert result["y"][:, (0, 2)].isfinite().all()


EMPTY = {
    "no samples": ("BatchNorm1d", (0, 3)),
    "no length": ("BatchNorm1d", (4, 3, 0)),
    "no images": ("BatchNorm2d", (0, 3, 4, 4)),
    "no width": ("BatchNorm2d", (4, 3, 4, 0)),
    "no volumes": ("BatchNorm3d", (0, 3, 2, 2, 2)),
}


@pytest.mark.parametrize(("name", "shape"), EMPTY.values(), ids=EMPTY)
@pytest.mark.parametrize("momentum", [0.1, None])
@every_option
@both_modes
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_an_empty_batch_is_counted_and_changes_nothing(name, shape, momentum, options, training):
    ours, theirs = twins(name, 3, training=training, momentum=momentum, **options)
    before = copy.deepcopy(ours.state_dict())
    x = torch.randn(shape, dtype=F64)
    result = seen(ours, x, x)
    assert_same(result, seen(theirs, x, x))
    for key, buffer in ours.named_buffers():
        if key == "num_batches_tracked":
            assert buffer == before[key] + training
        else:
            assert_close(buffer, before[key], rtol=0, atol=0)
    for parameter in ours.parameters():
        assert not parameter.grad.any()


@pytest.mark.parametrize("shape", [(0, 3), (4, 3, 0)], ids=str)
def test_numpy_functions_take_an_empty_batch(shape):
    assert_numpy_functions_take_an_empty_batch(*NUMPY, shape, *np.ones((2, 3)))


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ({"x": torch.ones(4, 3)}, TypeError, r"x is a torch\.Tensor; .* x\.detach\(\)\.numpy\(\)"),
        ({"x": np.ones((4, 3), int)}, TypeError, r"x has dtype int64; .* x\.astype\(float\)"),
        ({"gamma": np.ones(3, int)}, TypeError, r"gamma has dtype int64; .* gamma\.astype"),
        ({"x": np.ones(3)}, ValueError, r"x has shape \(3,\); expected \(N, C\).*x\[None\]"),
        ({"gamma": np.ones(4)}, ValueError, r"gamma has shape \(4,\).*C = 3.*shape \(3,\)"),
        ({"beta": np.ones((1, 3))}, ValueError, r"beta has shape \(1, 3\).*C = 3.*shape \(3,\)"),
        ({"eps": 0.0}, ValueError, r"eps is 0\.0; expected a positive number, such as 1e-5"),
        ({"eps": -1e-5}, ValueError, r"eps is -1e-05; expected a positive number"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_numpy_functions_refuse_and_name_the_cure(arguments, exception, message):
    good = {"x": np.ones((4, 3)), "gamma": np.ones(3), "beta": np.zeros(3)}
    with pytest.raises(exception, match=message):
        batch_norm_forward(**{**good, **arguments})
    statistics = {"running_mean": np.zeros(3), "running_var": np.ones(3)}
    with pytest.raises(exception, match=message):
        batch_norm_inference(**{**good, **statistics, **arguments})


def test_numpy_functions_check_every_argument():
    good = {"x": np.ones((4, 3)), "gamma": np.ones(3), "beta": np.zeros(3)}
    for name in ("running_mean", "running_var"):
        statistics = {"running_mean": np.zeros(3), "running_var": np.ones(3), name: np.ones(1)}
        with pytest.raises(ValueError, match=rf"{name} has shape \(1,\)"):
            batch_norm_inference(**good, **statistics)
    y, cache = batch_norm_forward(**good)
    with pytest.raises(ValueError, match=r"dy has shape \(3,\); expected that of y, \(4, 3\)"):
        batch_norm_backward(y[0], cache)
    with pytest.raises(TypeError, match="dy has dtype int64"):
        batch_norm_backward(y.astype(int), cache)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_functions_keep_the_dtype(dtype, rng):
    x, dy, gamma, beta = (a.astype(dtype) for a in random_arrays(rng, (4, 3, 5)))
    assert_numpy_functions_keep_the_dtype(*NUMPY, x, dy, gamma, beta)
    assert batch_norm_inference(x, gamma, beta, gamma, gamma**2).dtype == dtype


def test_numpy_backward_computes_half_precision_in_float32(rng):
    """A gain of 300 times a gradient of size 300 does not fit float16, nor does a sum over 1,000 rows."""
    x, dy = 300 * rng.normal(size=(2, 1000, 8)).astype(np.float16)
    parameters = np.full(8, 300, np.float32), np.ones(8, np.float32)
    assert_numpy_backward_is_computed_in_float32(*NUMPY, x, dy, *parameters)


@both_modes
@every_option
def test_nothing_given_is_overwritten(options, training, rng):
    ours, _ = twins("BatchNorm1d", 3, training=training, dtype=torch.float32, **options)
    assert_nothing_is_overwritten(ours, *torch.randn(2, 4, 3))
    assert_numpy_functions_overwrite_nothing(*NUMPY, *random_arrays(rng, (4, 3)))


@pytest.mark.parametrize("name", ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"])
def test_constructor_is_torchs(name):
    options = (*OPTIONS, {"eps": 1e-3, "momentum": None})
    attributes = ("num_features", "eps", "momentum", "affine", "track_running_stats")
    assert_same_constructor(name, 5, options, attributes)
    meta = getattr(norms, name)(5, device="meta", dtype=F64).state_dict()
    assert {tensor.device.type for tensor in meta.values()} == {"meta"}
    assert [t.dtype for t in meta.values()] == [F64] * 4 + [torch.long]


# 6. Training, evaluation and running statistics


@pytest.mark.parametrize("momentum", [0.1, 0.3, None, 0.0, 1.0])
@every_option
@every_kind
def test_three_steps_of_training_then_evaluation_equal_torch(name, shape, momentum, options):
    # Four values per channel tell m/(m-1) from 1; one step would not tell momentum from 1 - momentum.
    shape = (4, *shape[1:2], *[1] * len(shape[2:]))
    ours, theirs = twins(name, 3, momentum=momentum, **options)
    for _ in range(3):
        x, dy = 2 + 3 * torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
        assert_same(seen(ours, x, dy), seen(theirs, x, dy))
    ours.eval()
    theirs.eval()
    assert_same(seen(ours, x, dy), seen(theirs, x, dy))


def test_running_variance_is_unbiased_and_momentum_weighs_the_new_value():
    layer = norms.BatchNorm1d(1, momentum=0.25, dtype=F64)
    layer(torch.tensor([[1.0], [2.0], [3.0], [6.0]], dtype=F64))
    assert layer.running_mean.item() == pytest.approx(0.75 * 0 + 0.25 * 3)
    assert layer.running_var.item() == pytest.approx(0.75 * 1 + 0.25 * 14 / 3)


def test_mode_is_module_training_and_not_gradient_mode():
    ours, theirs = twins("BatchNorm1d", 3, training=False)
    before = copy.deepcopy(ours.state_dict())
    x = torch.randn(4, 3, dtype=F64)
    with torch.enable_grad():  # evaluating with gradients on uses and keeps the running statistics
        assert_close(ours(x), theirs(x))
    assert_same(ours.state_dict(), before, rtol=0, atol=0)
    ours.train()
    theirs.train()
    with torch.no_grad():  # training without gradients uses the batch's, and tracks
        assert_close(ours(x), theirs(x))
    assert_same(ours.state_dict(), theirs.state_dict())


def test_running_statistics_carry_no_graph():
    layer = norms.BatchNorm1d(3)
    buffers = dict(layer.named_buffers())
    sizes = []
    for _ in range(3):
        y = layer(torch.randn(4, 3, requires_grad=True) * 2)
        sizes.append(graph_size(y))
        for buffer in layer.buffers():
            assert not buffer.requires_grad
            assert buffer.grad_fn is None
    assert sizes[0] == sizes[1] == sizes[2]
    # Updated in place: whoever holds a buffer (an optimizer's average, a compiled graph) sees it.
    assert all(buffer is buffers[name] for name, buffer in layer.named_buffers())


DROPPED = dict.fromkeys(("running_mean", "running_var"))
SWITCHED_OFF = {
    "tracking": {"track_running_stats": False},
    "buffers": DROPPED,
    "count": {"num_batches_tracked": None},
    # as torch.func.replace_all_batch_norm_modules_ does
    "all": {"track_running_stats": False, "num_batches_tracked": None, **DROPPED},
}


@both_modes
@pytest.mark.parametrize("changes", SWITCHED_OFF.values(), ids=SWITCHED_OFF)
def test_statistics_switched_off_later_are_off_as_in_torch(changes, training):
    ours, theirs = twins("BatchNorm1d", 3, training=training)
    x, dy = torch.randn(4, 3, dtype=F64), torch.randn(4, 3, dtype=F64)
    for layer in (ours, theirs):
        for name, value in changes.items():
            setattr(layer, name, value)
    assert_same(seen(ours, x, dy), seen(theirs, x, dy))


@every_option
def test_resets_equal_torch(options):
    for reset in ("reset_running_stats", "reset_parameters"):
        ours, theirs = twins("BatchNorm1d", 3, **options)
        x = torch.randn(4, 3, dtype=F64)
        for layer in (ours, theirs):
            layer(x)
            getattr(layer, reset)()
        assert_same(ours.state_dict(), theirs.state_dict())


# 7. Hard inputs


@pytest.mark.parametrize("offset", [3e3, 1e4, -1e4])
def test_training_keeps_its_digits_far_from_zero(offset):
    ours, _ = twins("BatchNorm2d", 3, dtype=torch.float32)
    x, dy = offset + torch.randn(16, 3, 8, 8), torch.randn(16, 3, 8, 8)
    keys = ("y", "dx", "running_mean", "running_var")
    assert_digits_are_kept_far_from_zero(ours, x, dy, keys)


@pytest.mark.parametrize("offset", [3e3, 1e4, -1e4])
def test_inference_keeps_its_digits_far_from_zero(offset):
    ours, _ = twins("BatchNorm2d", 3, dtype=torch.float32, training=False)
    ours.running_mean.add_(offset)
    x, dy = offset + torch.randn(16, 3, 8, 8), torch.randn(16, 3, 8, 8)
    # The difference of two close numbers is exact. With the mean folded into the shift
    # y would be rounded at offset * 2^-24: 2e-4 and more.
    expected = float64_reference(ours, x, dy)["y"]
    assert_close(seen(ours, x, dy)["y"].double(), expected, rtol=1e-6, atol=1e-6)
    tensors = (x, ours.weight, ours.bias, ours.running_mean, ours.running_var)
    y = batch_norm_inference(*(tensor.detach().numpy() for tensor in tensors))
    np.testing.assert_allclose(y, expected.detach(), rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.0])
def test_a_constant_channel_gives_the_shift(constant):
    ours, theirs = twins("BatchNorm2d", 3)
    x, dy = torch.randn(4, 3, 5, 5, dtype=F64), torch.randn(4, 3, 5, 5, dtype=F64)
    x[:, 1] = constant
    result = seen(ours, x, dy)
    # Rounding of the mean, 2e-16 of it, is multiplied by eps^-1/2 = 316.
    assert_close(result["y"][:, 1], ours.bias[1].expand(4, 5, 5), rtol=0, atol=1e-12)
    assert_same(result, seen(theirs, x, dy))


@pytest.mark.parametrize("scale", [1e-20, 1e-10, 1e-3, 1e3, 1e10, 1e18])
def test_tiny_and_huge_inputs(scale):
    """In float32: 1e18 squared still fits; 1e-20 squared is lost beside eps, in float64 too."""
    ours, _ = twins("BatchNorm2d", 3, dtype=torch.float32)
    x, dy = scale * torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5)
    assert_near_float64(ours, x, dy)


@both_modes
@every_half
@pytest.mark.parametrize(
    "parameter_dtype", [None, torch.float32], ids=["half layer", "float layer"]
)
def test_half_precision_is_off_by_one_rounding(dtype, parameter_dtype, training):
    """Statistics in float32: x of size 300 overflows float16 when squared, as does its sum."""
    ours, theirs = twins("BatchNorm2d", 3, training=training, dtype=parameter_dtype or dtype)
    x, dy = (50 + 300 * torch.randn(32, 3, 8, 8)).to(dtype), torch.randn(32, 3, 8, 8).to(dtype)
    assert_off_by_one_rounding(ours, theirs, x, dy)


@every_layout
@both_modes
def test_memory_layout_does_not_matter(layout, training):
    ours, theirs = twins("BatchNorm2d", 3, training=training)
    assert_layout_does_not_matter(ours, theirs, layout)


@pytest.mark.parametrize(
    ("name", "layout"),
    [("BatchNorm2d", torch.channels_last), ("BatchNorm3d", torch.channels_last_3d)],
)
@both_modes
@every_option
def test_channels_last_stays_channels_last(name, layout, options, training):
    ours, theirs = twins(name, 3, training=training, **options)
    shape = (2, 3, 4, 5, 6)[: 4 if name == "BatchNorm2d" else 5]
    x = torch.randn(shape, dtype=F64).to(memory_format=layout)
    dy = torch.randn(shape, dtype=F64).to(memory_format=layout)
    result, expected = seen(ours, x, dy), seen(theirs, x, dy)
    assert_same(result, expected)
    for key in ("y", "dx"):
        assert result[key].stride() == expected[key].stride()
        assert result[key].is_contiguous(memory_format=layout)


# 8. In place of torch's layer


@every_kind
@every_option
def test_checkpoints_load_both_ways(name, shape, options):
    ours, theirs = getattr(norms, name)(3, **options), getattr(nn, name)(3, **options)
    assert_checkpoints_load_both_ways(ours, theirs, torch.randn(shape))


@pytest.mark.parametrize("version", [None, 1, 2])
def test_a_checkpoint_without_the_count_loads_only_if_it_is_old(version):
    def load(library):
        model = nn.Sequential(library.BatchNorm1d(3))
        state = model.state_dict()
        del state["0.num_batches_tracked"]
        state["0.running_mean"] = torch.tensor([1.0, 2.0, 3.0])
        state._metadata["0"] = {} if version is None else {"version": version}
        return model, model.load_state_dict(state)

    if version == 2:
        for library in (nn, norms):
            with pytest.raises(RuntimeError, match=r"Missing key.*0\.num_batches_tracked"):
                load(library)
    else:
        (theirs, _), (ours, _) = load(nn), load(norms)
        assert_same(ours.state_dict(), theirs.state_dict())
        assert ours[0].running_mean.tolist() == [1.0, 2.0, 3.0]


@both_modes
@every_option
def test_first_and_second_derivatives(training, options):
    layer, _ = twins("BatchNorm1d", 2, training=training, **options)
    assert differentiable(layer, torch.randn(4, 2, 3, dtype=F64))


@pytest.mark.parametrize("options", [{"track_running_stats": False}, {}], ids=["batch", "running"])
def test_per_sample_gradients_by_vmap(options):
    # A sample's own pixels are its statistics, or the running ones are.
    ours, theirs = twins("BatchNorm2d", 3, training=bool(options), **options)
    assert_per_sample_gradients(ours, theirs, torch.randn(5, 3, 4, 4, dtype=F64))


@both_modes
@every_option
def test_ensembles_by_vmap(options, training):
    """Of parameters and buffers stacked by ``torch.func.stack_module_state``."""
    pairs = [twins("BatchNorm2d", 3, training=training, **options) for _ in range(4)]
    assert_ensembles_by_vmap(pairs, *torch.randn(2, 4, 5, 3, 2, 2, dtype=F64))


def test_vmap_refuses_running_statistics_that_samples_would_fight_over():
    x = torch.randn(2, 4, 3, dtype=F64)
    for layer in twins("BatchNorm1d", 3):
        before = layer.running_mean.clone(), layer.running_var.clone()
        with pytest.raises(RuntimeError):
            vmap(layer)(x)
        assert_close((layer.running_mean, layer.running_var), before, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_compiler
def test_compiled_training_equals_eager():
    layer, _ = twins("BatchNorm2d", 3)
    assert_compiled_equals_eager(layer, torch.randn(2, 2, 4, 3, 5, 5, dtype=F64))


def test_copies_are_independent_and_equal():
    ours, _ = twins("BatchNorm1d", 3)
    x, dy = torch.randn(4, 3, dtype=F64), torch.randn(4, 3, dtype=F64)
    assert_copies_are_independent_and_equal(ours, x, dy)


@every_conversion
def test_conversion_equals_torch(convert):
    assert_conversion_equals_torch(*twins("BatchNorm1d", 3), convert, (4, 3))


def test_a_network_trains_the_same_with_our_layers_in_place_of_torchs():
    x, labels = torch.randn(64, 3, 10, 10, dtype=F64), torch.randint(5, (64,))
    assert_trains_the_same(*map(convolutional_network, (norms, nn)), x, labels, lr=0.1)


@pytest.mark.parametrize("options", OPTIONS[:3], ids=str)
@pytest.mark.parametrize(
    ("training", "dtype"), [(True, torch.float32), (True, torch.bfloat16), (False, torch.float32)]
)
def test_no_more_memory_is_kept_for_backward_than_by_torch(options, training, dtype):
    x = torch.randn(4, 3, 16, 16, dtype=dtype, requires_grad=True)
    ours, theirs = twins("BatchNorm2d", 3, training=training, dtype=torch.float32, **options)
    assert kept(ours, x) <= kept(theirs, x)


# 9. What the paper claims, and what follows from it


@pytest.fixture
def before_bn(rng):
    """Draw inputs u, a weight W, and the gain, shift and upstream gradient behind it."""
    u, weight = torch.randn(8, 5, dtype=F64), torch.randn(3, 5, dtype=F64, requires_grad=True)
    gamma, beta, dy = (torch.randn(s, dtype=F64) for s in (3, 3, (8, 3)))

    def loss(w, inputs, eps=1e-14):  # the claims are exact without eps; this is as near as it goes
        layer = norms.BatchNorm1d(3, eps=eps, dtype=F64)
        layer.weight.data, layer.bias.data = gamma, beta
        return (dy * layer(inputs @ w.T)).sum()

    return u, weight, loss


@pytest.mark.parametrize("a", [0.01, 3.0, 100.0])
def test_scaling_a_weight_changes_neither_output_nor_jacobian_and_divides_its_gradient(
    before_bn, a
):
    """Section 3.3: BN((aW)u) = BN(Wu), so does d/du, and d/d(aW) is 1/a of d/dW."""
    u, weight, loss = before_bn
    u.requires_grad_()
    plain, scaled = loss(weight, u), loss(a * weight, u)
    assert_close(scaled, plain, rtol=1e-9, atol=1e-9)
    (du,), (du_scaled,) = (torch.autograd.grad(v, u, retain_graph=True) for v in (plain, scaled))
    assert_close(du_scaled, du, rtol=1e-8, atol=1e-9)
    (dw,) = torch.autograd.grad(plain, weight)
    (dw_scaled,) = torch.autograd.grad(
        loss(leaf := (a * weight).detach().requires_grad_(), u), leaf
    )
    assert_close(a * dw_scaled, dw, rtol=1e-8, atol=1e-9)


def test_gradient_is_orthogonal_to_the_weight_and_steps_only_lengthen_it(before_bn):
    """Each row w of W: <w, dw> = 0, so after a step ||w'||^2 = ||w||^2 + lr^2 ||dw||^2."""
    u, weight, loss = before_bn
    (dw,) = torch.autograd.grad(loss(weight, u), weight)
    assert dw.norm() > 0.1
    assert_close((weight * dw).sum(1), torch.zeros(3, dtype=F64), rtol=0, atol=1e-10)
    stepped = weight - 0.5 * dw
    lengths = weight.square().sum(1) + 0.5**2 * dw.square().sum(1)
    assert_close(stepped.square().sum(1), lengths, rtol=1e-11, atol=0)


def test_input_gradient_has_no_constant_part_and_eps_of_the_standardised_one(rng):
    x, dy, gamma, beta = random_arrays(rng, (6, 3, 4))
    _, cache = batch_norm_forward(x, gamma, beta, EPS)
    dx, dgamma, _ = batch_norm_backward(dy, cache)
    x_hat, rstd, _ = cache
    np.testing.assert_allclose(dx.sum(axis=(0, 2)), 0.0, atol=1e-13)
    left = gamma * rstd.ravel() ** 3 * EPS * dgamma  # exactly, for any eps
    np.testing.assert_allclose((x_hat * dx).sum(axis=(0, 2)), left, atol=1e-13)


def test_two_values_become_plus_and_minus_one_whatever_they_are(rng):
    x, dy = 5 * rng.normal(size=(2, 7)), rng.normal(size=(2, 7))
    y, cache = batch_norm_forward(x, np.ones(7), np.zeros(7), 1e-14)
    np.testing.assert_allclose(y, np.sign(x - x.mean(0)), rtol=1e-10)
    dx, _, _ = batch_norm_backward(dy, cache)
    np.testing.assert_allclose(dx, 0.0, atol=1e-10)  # two of two directions are gone


def test_gain_and_shift_can_undo_it(rng):
    """Section 3: gamma = sqrt(var + eps), beta = mean recover the identity."""
    x = 3 + 2 * rng.normal(size=(6, 3, 4))
    gamma, beta = np.sqrt(x.var(axis=(0, 2)) + EPS), x.mean(axis=(0, 2))
    np.testing.assert_allclose(batch_norm_forward(x, gamma, beta, EPS)[0], x, rtol=1e-12)


def test_inference_is_linear_in_its_input_and_samples_do_not_meet(rng):
    layer, _ = twins("BatchNorm1d", 3, training=False)
    x = torch.randn(4, 3, dtype=F64)
    alone = torch.cat([layer(sample) for sample in x.split(1)])
    assert_close(alone, layer(x), rtol=0, atol=0)
    assert_close(layer(2 * x) - layer(x), layer(3 * x) - layer(2 * x), rtol=1e-10, atol=1e-12)
