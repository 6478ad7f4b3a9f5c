"""Batch norm, held against torch, autograd, central differences and its paper."""

import copy
import inspect
import itertools
import os
import pickle
import re
import shutil

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd import gradcheck, gradgradcheck
from torch.func import functional_call, grad, vmap
from torch.nn import functional as F
from torch.testing import assert_close

import norms
from norms.batch_norm import batch_norm_backward, batch_norm_forward, batch_norm_inference
from norms.gradcheck import check_backward

EPS = 1e-5
F64 = torch.float64
DTYPES = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
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
both_modes = pytest.mark.parametrize("training", [True, False], ids=["train", "eval"])


def twins(name, channels=3, training=True, dtype=F64, **options):
    """Return our layer and torch's with the same random gain, shift and running statistics."""
    ours, theirs = (
        getattr(library, name)(channels, dtype=dtype, **options).train(training)
        for library in (norms, nn)
    )
    with torch.no_grad():
        for tensor in (theirs.weight, theirs.bias, theirs.running_mean):
            if tensor is not None:
                tensor.normal_()
        if theirs.running_var is not None:
            theirs.running_var.uniform_(0.5, 2.0)
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


def seen(layer, x, dy):
    """Go forward and back; return all that a caller can see of it."""
    x = x.detach().clone().requires_grad_()
    y = layer(x)
    y.backward(dy)
    gradients = {f"d{name}": p.grad for name, p in layer.named_parameters()}
    return {"y": y, "dx": x.grad, **gradients, **dict(layer.named_buffers())}


def assert_same(ours, theirs, rtol=1e-10, atol=1e-12):
    """Compare two results of ``seen``: names, values (NaN equals NaN), dtypes."""
    assert ours.keys() == theirs.keys()
    for key in ours:
        assert_close(
            ours[key],
            theirs[key],
            rtol=rtol,
            atol=atol,
            equal_nan=True,
            msg=lambda m, key=key: f"{key}: {m}",
        )


def random_arrays(rng, shape):
    """Draw x, dy, gamma, beta."""
    channels = (shape[1],)
    return (rng.normal(size=s) for s in (shape, shape, channels, channels))


def per_channel(vector, x):
    return vector.reshape(1, -1, *[1] * (x.ndim - 2))


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
    ours, theirs = twins(name, training=training, eps=1e-3, **options)
    x, dy = torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
    assert_same(seen(ours, x, dy), seen(theirs, x, dy))


def test_frozen_parameters_get_no_gradient():
    ours, _ = twins("BatchNorm1d")
    ours.weight.requires_grad_(False)
    x = torch.randn(4, 3, dtype=F64, requires_grad=True)
    ours(x).square().sum().backward()
    assert ours.weight.grad is None
    assert x.grad is not None
    assert ours.bias.grad is not None


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
    "4 dimensions in 3d": (
        "3d",
        {},
        torch.ones(2, 3, 4, 4),
        "te",
        ("4D", "5D", r"\(N, C, D, H, W\)"),
    ),
    "channels": ("1d", {}, torch.ones(4, 5), "te", (r"\(4, 5\)", "5 channels", "built for 3")),
    "one channel": ("1d", {}, torch.ones(4, 1), "te", (r"\(4, 1\)", "1 channels", "built for 3")),
    "channels, no gain": (
        "1d",
        {"affine": False},
        torch.ones(4, 5),
        "te",
        ("running_mean", "5", "3"),
    ),
    "channels, no statistics": (
        "1d",
        {"track_running_stats": False},
        torch.ones(4, 5),
        "te",
        ("weight", "5", "3"),
    ),
    "integers": (
        "1d",
        {},
        torch.ones(4, 3, dtype=torch.int64),
        "te",
        ("int64", "floating", "float()"),
    ),
    "booleans": (
        "1d",
        {},
        torch.ones(4, 3, dtype=torch.bool),
        "te",
        ("bool", "floating", "float()"),
    ),
    "complex": ("1d", {}, torch.ones(4, 3, dtype=torch.complex64), "te", ("complex64", "floating")),
    "one value": ("1d", {}, torch.ones(1, 3), "t", (r"\(1, 3\)", "more than 1 value", "drop_last")),
    "one pixel": (
        "2d",
        {},
        torch.ones(1, 3, 1, 1),
        "t",
        (r"1, 1\)", "more than 1 value", "eval()"),
    ),
    "one value, no statistics": (
        "1d",
        {"track_running_stats": False},
        torch.ones(1, 3),
        "t",
        (r"\(1, 3\)", "more than 1 value", "larger batch"),
    ),
    "eps of zero": ("1d", {"eps": 0.0}, torch.ones(4, 3), "t", ("eps", "0.0", "1e-5")),
    "eps of zero, no statistics": (
        "1d",
        {"eps": 0.0, "track_running_stats": False},
        torch.ones(4, 3),
        "te",
        ("eps", "positive", "1e-5"),
    ),
    "negative eps": ("1d", {"eps": -1e-5}, torch.ones(4, 3), "te", ("eps", "-1e-05", "1e-5")),
    "mixed dtypes": (
        "1d",
        {},
        torch.ones(4, 3, dtype=F64),
        "te",
        ("float64", "weight torch.float32"),
    ),
}


@pytest.mark.parametrize(
    ("kind", "options", "x", "mode", "words"),
    [(*case[:3], mode, case[4]) for case in REFUSED.values() for mode in case[3]],
    ids=[f"{key}, {mode}" for key, case in REFUSED.items() for mode in case[3]],
)
def test_refuses_as_torch_does_and_names_the_cure(kind, options, x, mode, words):
    ours, theirs = twins(f"BatchNorm{kind}", training=mode == "t", dtype=torch.float32, **options)
    before = copy.deepcopy(ours.state_dict())
    with pytest.raises(Exception) as expected:  # noqa: PT011 - torch says which
        theirs(x)
    with pytest.raises(expected.type) as refusal:
        ours(x)
    assert refusal.type is expected.type
    for word in words:
        assert re.search(word, str(refusal.value)), f"{word!r} is not in: {refusal.value}"
    assert_same(before, ours.state_dict(), rtol=0, atol=0)


def test_eps_of_zero_is_fine_where_nothing_can_vanish():
    ours, theirs = twins("BatchNorm1d", training=False, eps=0.0)
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

    def dtype_or_refusal(library, x_dtype, parameter_dtype, buffer_dtype):
        layer = library.BatchNorm1d(3, **options).train(training)
        for parameter in layer.parameters():
            parameter.data = parameter.data.to(parameter_dtype)
        if layer.running_mean is not None:
            layer.running_mean = layer.running_mean.to(buffer_dtype)
            layer.running_var = layer.running_var.to(buffer_dtype)
        try:
            return layer(torch.randn(4, 3).to(x_dtype)).dtype
        except RuntimeError as refusal:
            return type(refusal)

    for dtypes in itertools.product(DTYPES, repeat=3):
        assert dtype_or_refusal(norms, *dtypes) == dtype_or_refusal(nn, *dtypes), dtypes


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
    ours, theirs = twins("BatchNorm2d", training=training)
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
    ours, theirs = twins(name, training=training, momentum=momentum, **options)
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
    y, cache = batch_norm_forward(np.zeros(shape), np.ones(3), np.ones(3))
    dx, dgamma, dbeta = batch_norm_backward(y, cache)
    assert y.shape == dx.shape == shape
    assert not dgamma.any()
    assert not dbeta.any()


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ({"x": torch.ones(4, 3)}, TypeError, r"x is a torch\.Tensor; .* x\.numpy\(\)"),
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
    y, cache = batch_norm_forward(x, gamma, beta)
    assert y.dtype == dtype
    assert batch_norm_backward(dy, cache)[0].dtype == dtype
    assert batch_norm_inference(x, gamma, beta, gamma, gamma**2).dtype == dtype


@pytest.mark.parametrize("name", ["BatchNorm1d", "BatchNorm2d", "BatchNorm3d"])
def test_constructor_is_torchs(name):
    def arguments(layer):
        return [(p.name, p.kind, p.default) for p in inspect.signature(layer).parameters.values()]

    ours, theirs = getattr(norms, name), getattr(nn, name)
    assert arguments(ours) == arguments(theirs)
    for options in (*OPTIONS, {"eps": 1e-3, "momentum": None}):
        assert repr(ours(5, **options)) == repr(theirs(5, **options))
        assert_same(ours(5, **options).state_dict(), theirs(5, **options).state_dict())
        for attribute in ("num_features", "eps", "momentum", "affine", "track_running_stats"):
            assert getattr(ours(5, **options), attribute) == getattr(
                theirs(5, **options), attribute
            )
    meta = ours(5, device="meta", dtype=F64).state_dict()
    assert {tensor.device.type for tensor in meta.values()} == {"meta"}
    assert [t.dtype for t in meta.values()] == [F64] * 4 + [torch.long]


# 6. Training, evaluation and running statistics


@pytest.mark.parametrize("momentum", [0.1, 0.3, None, 0.0, 1.0])
@every_option
@every_kind
def test_three_steps_of_training_then_evaluation_equal_torch(name, shape, momentum, options):
    # Four values per channel tell m/(m-1) from 1; one step would not tell momentum from 1 - momentum.
    shape = (4, *shape[1:2], *[1] * len(shape[2:]))
    ours, theirs = twins(name, momentum=momentum, **options)
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
    ours, theirs = twins("BatchNorm1d", training=False)
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
    def graph_size(node):
        seen, stack = set(), [node]
        while stack:
            node = stack.pop()
            if node is not None and node not in seen:
                seen.add(node)
                stack.extend(parent for parent, _ in node.next_functions)
        return len(seen)

    layer = norms.BatchNorm1d(3)
    buffers = dict(layer.named_buffers())
    sizes = []
    for _ in range(3):
        y = layer(torch.randn(4, 3, requires_grad=True) * 2)
        sizes.append(graph_size(y.grad_fn))
        for buffer in layer.buffers():
            assert not buffer.requires_grad
            assert buffer.grad_fn is None
    assert sizes[0] == sizes[1] == sizes[2]
    # Updated in place: whoever holds a buffer (an optimizer's average, a compiled graph) sees it.
    assert all(buffer is buffers[name] for name, buffer in layer.named_buffers())


def stop_tracking(layer):
    layer.track_running_stats = False


def drop_statistics(layer):  # as torch.func.replace_all_batch_norm_modules_ does
    layer.track_running_stats = False
    layer.running_mean = layer.running_var = layer.num_batches_tracked = None


def drop_buffers(layer):
    layer.running_mean = layer.running_var = None


def drop_count(layer):
    layer.num_batches_tracked = None


@both_modes
@pytest.mark.parametrize("change", [stop_tracking, drop_statistics, drop_buffers, drop_count])
def test_statistics_switched_off_later_are_off_as_in_torch(change, training):
    ours, theirs = twins("BatchNorm1d", training=training)
    x, dy = torch.randn(4, 3, dtype=F64), torch.randn(4, 3, dtype=F64)
    for layer in (ours, theirs):
        change(layer)
    assert_same(seen(ours, x, dy), seen(theirs, x, dy))


@every_option
def test_resets_equal_torch(options):
    for reset in ("reset_running_stats", "reset_parameters"):
        ours, theirs = twins("BatchNorm1d", **options)
        x = torch.randn(4, 3, dtype=F64)
        for layer in (ours, theirs):
            layer(x)
            getattr(layer, reset)()
        assert_same(ours.state_dict(), theirs.state_dict())


# 7. Hard inputs


def float64_reference(layer, x, dy):
    return seen(copy.deepcopy(layer).double(), x.double(), dy.double())


@pytest.mark.parametrize("offset", [3e3, 1e4, -1e4])
def test_training_keeps_its_digits_far_from_zero(offset):
    ours, _ = twins("BatchNorm2d", dtype=torch.float32)
    x, dy = offset + torch.randn(16, 3, 8, 8), torch.randn(16, 3, 8, 8)
    expected = float64_reference(ours, x, dy)
    result = seen(ours, x, dy)
    # The mean of 1024 values is right to a few roundings of size offset * 2^-24, and y moves with
    # it (torch's as much). E[x^2] - E[x]^2 is off by offset^2 * 2^-24: 0.5 and 6, for a variance of 1.
    tolerance = abs(offset) * 2**-20
    for key in ("y", "dx", "running_mean", "running_var"):
        assert_close(result[key].double(), expected[key], rtol=0, atol=tolerance)


@pytest.mark.parametrize("offset", [3e3, 1e4, -1e4])
def test_inference_keeps_its_digits_far_from_zero(offset):
    ours, _ = twins("BatchNorm2d", dtype=torch.float32, training=False)
    ours.running_mean.add_(offset)
    x, dy = offset + torch.randn(16, 3, 8, 8), torch.randn(16, 3, 8, 8)
    # The difference of two close numbers is exact. With the mean folded into the shift
    # y would be rounded at offset * 2^-24: 2e-4 and more.
    expected = float64_reference(ours, x, dy)["y"]
    assert_close(seen(ours, x, dy)["y"].double(), expected, rtol=1e-6, atol=1e-6)
    arrays = [
        t.detach().numpy() for t in (x, ours.weight, ours.bias, ours.running_mean, ours.running_var)
    ]
    np.testing.assert_allclose(
        batch_norm_inference(*arrays), expected.detach(), rtol=1e-6, atol=1e-6
    )


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.0])
def test_a_constant_channel_gives_the_shift(constant):
    ours, theirs = twins("BatchNorm2d")
    x, dy = torch.randn(4, 3, 5, 5, dtype=F64), torch.randn(4, 3, 5, 5, dtype=F64)
    x[:, 1] = constant
    result = seen(ours, x, dy)
    # Rounding of the mean, 2e-16 of it, is multiplied by eps^-1/2 = 316.
    assert_close(result["y"][:, 1], ours.bias[1].expand(4, 5, 5), rtol=0, atol=1e-12)
    assert_same(result, seen(theirs, x, dy))


@pytest.mark.parametrize("scale", [1e-20, 1e-10, 1e-3, 1e3, 1e10, 1e18])
def test_tiny_and_huge_inputs(scale):
    """In float32: 1e18 squared still fits; 1e-20 squared is lost beside eps, in float64 too."""
    ours, _ = twins("BatchNorm2d", dtype=torch.float32)
    x, dy = scale * torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5)
    expected = float64_reference(ours, x, dy)
    for key, value in seen(ours, x, dy).items():
        size = expected[key].abs().max().item()
        assert_close(value.double(), expected[key].double(), rtol=1e-5, atol=1e-5 * size, msg=key)


@both_modes
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(
    "parameter_dtype", [None, torch.float32], ids=["half layer", "float layer"]
)
def test_half_precision_is_off_by_one_rounding(dtype, parameter_dtype, training):
    """Statistics in float32: x of size 300 overflows float16 when squared, as does its sum."""
    ours, theirs = twins("BatchNorm2d", training=training, dtype=parameter_dtype or dtype)
    x, dy = (50 + 300 * torch.randn(32, 3, 8, 8)).to(dtype), torch.randn(32, 3, 8, 8).to(dtype)
    exact = float64_reference(ours, x, dy)
    result, torchs = seen(ours, x, dy), seen(theirs, x, dy)
    assert {k: v.dtype for k, v in result.items()} == {k: v.dtype for k, v in torchs.items()}
    for key, value in result.items():
        # Half a unit in the last place, and a hair for float32 on the way.
        unit = torch.finfo(value.dtype).eps if value.is_floating_point() else 0.0
        unit = max(unit, 1e-5)
        size = exact[key].abs().max().item()
        assert_close(
            value.double(), exact[key].double(), rtol=0.51 * unit, atol=1e-5 * size, msg=key
        )


LAYOUTS = {
    "transposed": lambda x: x.transpose(2, 3),
    "every other row": lambda x: x[:, :, ::2],
    "part of a batch": lambda x: x[1:3],
    "channels moved last": lambda x: x.permute(0, 2, 3, 1).contiguous().permute(0, 3, 1, 2),
    "one row repeated": lambda x: x[:, :, :1].expand(-1, -1, 5, -1),
}


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
@both_modes
def test_memory_layout_does_not_matter(layout, training):
    ours, theirs = twins("BatchNorm2d", training=training)
    x = layout(torch.randn(4, 3, 5, 5, dtype=F64))
    dy = torch.randn(x.shape, dtype=F64)
    assert not x.is_contiguous() or x.shape[0] == 2
    leaf = x.detach().requires_grad_()  # keeps the strides, unlike a clone
    y = ours(leaf)
    (dx,) = torch.autograd.grad(y, leaf, dy)
    expected = seen(theirs, x.contiguous(), dy)
    assert_close(y, expected["y"])
    assert_close(dx, expected["dx"])


@pytest.mark.parametrize(
    ("name", "layout"),
    [("BatchNorm2d", torch.channels_last), ("BatchNorm3d", torch.channels_last_3d)],
)
@both_modes
@every_option
def test_channels_last_stays_channels_last(name, layout, options, training):
    ours, theirs = twins(name, training=training, **options)
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
    x = torch.randn(shape)
    theirs(x)
    assert ours.load_state_dict(theirs.state_dict(), strict=True)
    assert_same(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)
    ours(x)
    theirs.load_state_dict(ours.state_dict(), strict=True)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    assert ours.state_dict()._metadata == theirs.state_dict()._metadata
    assert_same(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)


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
    layer, _ = twins("BatchNorm1d", channels=2, training=training, **options)
    buffers = {name: b.clone() for name, b in layer.named_buffers()}
    names = [name for name, _ in layer.named_parameters()]

    def function(x, *parameters):  # running statistics are given anew, so that calls do not differ
        state = {k: b.clone() for k, b in buffers.items()}
        return functional_call(layer, {**state, **dict(zip(names, parameters, strict=True))}, (x,))

    x = torch.randn(4, 2, 3, dtype=F64, requires_grad=True)
    leaves = (x, *layer.parameters())
    assert gradcheck(function, leaves)
    assert gradgradcheck(function, leaves)


@pytest.mark.parametrize("options", [{"track_running_stats": False}, {}], ids=["batch", "running"])
def test_per_sample_gradients_by_vmap(options):
    # A sample's own pixels are its statistics, or the running ones are.
    ours, theirs = twins("BatchNorm2d", training=bool(options), **options)
    x, weights = torch.randn(5, 3, 4, 4, dtype=F64), torch.randn(3, 4, 4, dtype=F64)

    def per_sample(layer):
        def loss(parameters, sample):
            y = functional_call(layer, parameters, (sample.unsqueeze(0),))
            return (weights * y).square().sum()

        parameters = {k: p.detach() for k, p in layer.named_parameters()}
        mapped = vmap(grad(loss, argnums=(0, 1)), in_dims=(None, 0))(parameters, x)
        looped = [grad(loss, argnums=(0, 1))(parameters, sample) for sample in x]
        return mapped, looped

    (dp, dx), looped = per_sample(ours)
    for i, (dp_i, dx_i) in enumerate(looped):
        assert_close({k: v[i] for k, v in dp.items()}, dp_i)
        assert_close(dx[i], dx_i)
    assert_close((dp, dx), per_sample(theirs)[0])


def test_vmap_refuses_running_statistics_that_samples_would_fight_over():
    x = torch.randn(2, 4, 3, dtype=F64)
    for layer in twins("BatchNorm1d"):
        before = layer.running_mean.clone(), layer.running_var.clone()
        with pytest.raises(RuntimeError):
            vmap(layer)(x)
        assert_close((layer.running_mean, layer.running_var), before, rtol=0, atol=0)


def has_compiler():
    return any(
        shutil.which(name) for name in (os.environ.get("CXX", "c++"), "g++", "clang++", "cl")
    )


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.skipif(
    not has_compiler(), reason="torch.compile needs a C++ compiler, and none is on PATH"
)
def test_compiled_training_equals_eager():
    torch._dynamo.reset()
    ours, _ = twins("BatchNorm2d")
    compiled = torch.compile(copy.deepcopy(ours), fullgraph=True)
    for _ in range(2):
        x, dy = torch.randn(4, 3, 5, 5, dtype=F64), torch.randn(4, 3, 5, 5, dtype=F64)
        expected = seen(ours, x, dy)
        result = {key.replace("_orig_mod.", ""): v for key, v in seen(compiled, x, dy).items()}
        assert_same(result, expected)
    ours.eval()
    compiled.eval()
    assert_close(compiled(x), ours(x))


def test_copies_are_independent_and_equal():
    ours, _ = twins("BatchNorm1d")
    x, dy = torch.randn(4, 3, dtype=F64), torch.randn(4, 3, dtype=F64)
    copies = [copy.deepcopy(ours), pickle.loads(pickle.dumps(ours))]
    state = copy.deepcopy(ours.state_dict())
    results = [seen(layer, x, dy) for layer in copies]
    assert_same(ours.state_dict(), state, rtol=0, atol=0)
    for result in results:
        assert_same(result, seen(copy.deepcopy(ours), x, dy), rtol=0, atol=0)


@pytest.mark.parametrize("convert", ["half", "bfloat16", "float", "double"])
def test_conversion_equals_torch(convert):
    converted = [getattr(layer, convert)() for layer in twins("BatchNorm1d")]
    states = [layer.state_dict() for layer in converted]
    assert_same(*states, rtol=0, atol=0)
    dtype = states[0]["weight"].dtype
    assert converted[0](torch.randn(4, 3, dtype=dtype)).dtype == dtype


def small_network(library):
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        library.BatchNorm2d(8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2),
        library.BatchNorm2d(8, momentum=None),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(72, 16),
        library.BatchNorm1d(16, affine=False),
        nn.Linear(16, 5),
    ).double()


def test_a_network_trains_the_same_with_our_layers_in_place_of_torchs():
    x, labels = torch.randn(64, 3, 10, 10, dtype=F64), torch.randint(5, (64,))
    ours, theirs = small_network(norms), small_network(nn)
    ours.load_state_dict(theirs.state_dict(), strict=True)
    curves = []
    for network in (ours, theirs):
        optimizer = torch.optim.SGD(network.parameters(), lr=0.1, momentum=0.9)
        curve = []
        for step in range(20):
            batch = slice(16 * (step % 4), 16 * (step % 4) + 16)
            loss = F.cross_entropy(network(x[batch]), labels[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            curve.append(loss.item())
        curves.append(curve)
    assert curves[0][-1] < curves[0][0] / 2  # it learns, so the comparison means something
    np.testing.assert_allclose(*curves, rtol=1e-8)
    assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize("options", OPTIONS[:3], ids=str)
@pytest.mark.parametrize(
    ("training", "dtype"), [(True, torch.float32), (True, torch.bfloat16), (False, torch.float32)]
)
def test_no_more_memory_is_kept_for_backward_than_by_torch(options, training, dtype):
    def kept(layer):
        sizes = {}

        def remember(tensor):
            storage = tensor.untyped_storage()
            sizes[storage.data_ptr()] = storage.nbytes()
            return tensor

        x = torch.randn(4, 3, 16, 16, dtype=dtype, requires_grad=True)
        with torch.autograd.graph.saved_tensors_hooks(remember, lambda tensor: tensor):
            y = layer(x)
        y.backward(y.detach())  # alive until here, so no address is used twice
        return sum(sizes.values())

    ours, theirs = twins("BatchNorm2d", training=training, dtype=torch.float32, **options)
    assert kept(ours) <= kept(theirs)


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
    layer, _ = twins("BatchNorm1d", training=False)
    x = torch.randn(4, 3, dtype=F64)
    alone = torch.cat([layer(sample) for sample in x.split(1)])
    assert_close(alone, layer(x), rtol=0, atol=0)
    assert_close(layer(2 * x) - layer(x), layer(3 * x) - layer(2 * x), rtol=1e-10, atol=1e-12)
