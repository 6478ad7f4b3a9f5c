"""Instance norm, compared with torch, autograd, central differences and its paper."""

import copy
import itertools
import warnings

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
    assert_nothing_else_moves,
    assert_nothing_is_overwritten,
    assert_numpy_backward_is_computed_in_float32,
    assert_numpy_functions_keep_the_dtype,
    assert_numpy_functions_overwrite_nothing,
    assert_numpy_functions_take_an_empty_batch,
    assert_off_by_one_rounding,
    assert_per_sample_gradients,
    assert_same,
    assert_same_constructor,
    assert_training_is_evaluation,
    assert_trains_the_same,
    both_modes,
    both_refuse,
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
    train,
    twins,
    with_ours,
)

import norms
from norms.gradcheck import check_backward
from norms.instance_norm import instance_norm_backward, instance_norm_forward

EPS = 1e-5
NUMPY = (instance_norm_forward, instance_norm_backward)
KINDS = {
    "1d": ("InstanceNorm1d", (4, 3, 5)),
    "2d": ("InstanceNorm2d", (4, 3, 5, 6)),
    "3d": ("InstanceNorm3d", (2, 3, 4, 3, 2)),
    "2d, batch of one": ("InstanceNorm2d", (1, 3, 5, 6)),
    "1d, one sample": ("InstanceNorm1d", (3, 5)),
    "2d, one sample": ("InstanceNorm2d", (3, 5, 6)),
    "3d, one sample": ("InstanceNorm3d", (3, 4, 3, 2)),
}
every_kind = pytest.mark.parametrize(("name", "shape"), KINDS.values(), ids=KINDS)
every_shape = pytest.mark.parametrize("shape", [(4, 3, 5), (4, 3, 5, 6), (2, 3, 4, 3, 2)], ids=str)
GAIN, TRACK = {"affine": True}, {"track_running_stats": True}
OPTIONS = ({}, GAIN, {**GAIN, "bias": False}, TRACK, {**GAIN, **TRACK})
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


def random_arrays(rng, shape):
    """Draw x, dy, gamma, beta."""
    channels = (shape[1],)
    return (rng.normal(size=s) for s in (shape, shape, channels, channels))


def space(x):
    return tuple(range(2, x.ndim))


# 1. Statistics of the output


@every_shape
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_every_map_has_mean_beta_and_the_variance_that_eps_leaves(shape, scale, rng):
    x, _, gamma, beta = random_arrays(rng, shape)
    x = scale * x + 2.0
    y, _ = instance_norm_forward(x, gamma, beta, EPS)
    var, all_samples = x.var(axis=space(x)), np.ones((len(x), 1))
    np.testing.assert_allclose(y.mean(axis=space(x)), all_samples * beta, rtol=1e-10, atol=1e-11)
    np.testing.assert_allclose(y.var(axis=space(x)), gamma**2 * var / (var + EPS), rtol=1e-9)


# 2. Forward equals torch's


@every_shape
def test_numpy_forward_equals_torch(shape, rng):
    x, _, gamma, beta = random_arrays(rng, shape)
    y, _ = instance_norm_forward(x, gamma, beta, 1e-3)
    x, gamma, beta = map(torch.from_numpy, (x, gamma, beta))
    expected = F.instance_norm(x, weight=gamma, bias=beta, eps=1e-3)
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-12, atol=1e-13)


def test_default_eps_of_the_numpy_functions_is_torchs(rng):
    x, _, gamma, beta = random_arrays(rng, (4, 3, 5))
    y, _ = instance_norm_forward(1e-3 * x, gamma, beta)
    expected, _ = instance_norm_forward(1e-3 * x, gamma, beta, nn.InstanceNorm1d(3).eps)
    np.testing.assert_array_equal(y, expected)


# 3. Backward equals autograd, with random dy, gamma and beta


@every_shape
def test_numpy_backward_equals_autograd_of_torch(shape, rng):
    x, dy, gamma, beta = random_arrays(rng, shape)
    _, cache = instance_norm_forward(x, gamma, beta, EPS)
    leaves = [torch.from_numpy(a).requires_grad_() for a in (x, gamma, beta)]
    F.instance_norm(leaves[0], weight=leaves[1], bias=leaves[2], eps=EPS).backward(
        torch.from_numpy(dy)
    )
    for ours, leaf in zip(instance_norm_backward(dy, cache), leaves, strict=True):
        np.testing.assert_allclose(ours, leaf.grad.numpy(), rtol=1e-10, atol=1e-12)


@every_kind
@every_option
@both_modes
def test_layer_equals_torch_forward_and_back(name, shape, options, training):
    ours, theirs = twins(name, 3, training=training, eps=1e-3, **options)
    x, dy = torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
    assert_same(seen(ours, x, dy), seen(theirs, x, dy))


def test_a_frozen_gain_gets_no_gradient():
    layer, _ = twins("InstanceNorm1d", 3, affine=True)
    assert_a_frozen_gain_gets_no_gradient(layer, torch.randn(4, 3, 5, dtype=F64))


# 4. Central differences


@pytest.mark.parametrize("shape", [(4, 3, 5), (1, 3, 4), (2, 3, 2, 2), (2, 2, 2, 1, 3)], ids=str)
@pytest.mark.parametrize("seed", range(3))
def test_backward_passes_central_differences(shape, seed):
    shapes = {"x": shape, "gamma": shape[1:2], "beta": shape[1:2]}
    result = check_backward(
        instance_norm_forward, instance_norm_backward, shapes, seed=seed, eps=EPS
    )
    assert result.error < 1e-6, result


# 5. Shapes, dtypes and what is refused

# what is wrong: layer, its options, the input, modes, words of the message (came, expected, cure)
REFUSED = {
    "0 dimensions": ("1d", {}, torch.ones(()), "te", ("0D", "2D or 3D", "give it")),
    "1 dimension": ("1d", {}, torch.ones(3), "te", ("1D", r"\(3,\)", r"\(C, L\) or \(N, C, L\)")),
    "4 dimensions in 1d": ("1d", {}, torch.ones(2, 3, 4, 4), "te", ("4D", "2D or 3D", "give it")),
    "2 dimensions in 2d": ("2d", {}, torch.ones(3, 4), "te", ("2D", r"\(C, H, W\) or \(N, C, H, W\)")),
    "5 dimensions in 2d": ("2d", {}, torch.ones(2, 3, 4, 4, 4), "te", ("5D", "3D or 4D", "give it")),
    "3 dimensions in 3d": ("3d", {}, torch.ones(3, 4, 4), "te", ("3D", r"\(C, D, H, W\) or \(N, C, D, H, W\)")),
    "a batch without space": ("1d", GAIN, torch.ones(4, 3), "te", (r"dim=0", r"num_features \(3\), but got: 4", r"is \(C, L\)")),
    "channels": ("2d", GAIN, torch.ones(2, 5, 4, 4), "te", (r"dim=1", "got: 5", r"\(N, C, H, W\)", "num_features=5")),
    "one channel": ("2d", GAIN, torch.ones(2, 1, 4, 4), "te", (r"dim=1", "got: 1", "num_features=1")),
    "channels of one sample": ("2d", GAIN, torch.ones(5, 4, 4), "te", (r"dim=0", "got: 5", r"\(C, H, W\)")),
    "channels, statistics alone": ("2d", TRACK, torch.ones(2, 5, 4, 4), "te", ("running_mean", "5", "3")),
    "one channel, statistics alone": ("2d", TRACK, torch.ones(2, 1, 4, 4), "te", ("running_mean", "1", "3")),
    "integers": ("1d", {}, torch.ones(4, 3, 5, dtype=torch.int64), "te", ("int64", "floating", "float()")),
    "booleans": ("1d", GAIN, torch.ones(4, 3, 5, dtype=torch.bool), "te", ("bool", "floating", "float()")),
    "complex": ("1d", {}, torch.ones(4, 3, 5, dtype=torch.complex64), "te", ("complex64", "real numbers")),
    "one place": ("1d", {}, torch.ones(4, 3, 1), "te", (r"\(4, 3, 1\)", "more than 1 spatial", "GroupNorm")),
    "one pixel": ("2d", GAIN, torch.ones(2, 3, 1, 1), "te", (r"1, 1\)", "more than 1 spatial", "larger maps")),
    "one pixel, statistics": ("2d", TRACK, torch.ones(2, 3, 1, 1), "t", (r"1, 1\)", "more than 1 spatial")),
    "one pixel of one sample": ("2d", {}, torch.ones(3, 1, 1), "te", (r"\(1, 3, 1, 1\)", "more than 1 spatial")),
    "one pixel of no samples": ("2d", {}, torch.ones(0, 3, 1, 1), "te", (r"\(0, 3, 1, 1\)", "more than 1 spatial")),
    "mixed dtypes": ("1d", GAIN, torch.ones(4, 3, 5, dtype=F64), "te", ("float64", "weight torch.float32")),
}  # fmt: skip


@pytest.mark.parametrize(
    ("kind", "options", "x", "mode", "words"),
    [(*case[:3], mode, case[4]) for case in REFUSED.values() for mode in case[3]],
    ids=[f"{key}, {mode}" for key, case in REFUSED.items() for mode in case[3]],
)
@pytest.mark.filterwarnings("ignore:input's size at dim=1 does not match num_features")
def test_refuses_as_torch_does_and_names_the_cure(kind, options, x, mode, words):
    options = {"training": mode == "t", "dtype": torch.float32, **options}
    ours, theirs = twins(f"InstanceNorm{kind}", 3, **options)
    before = copy.deepcopy(ours.state_dict())
    refusal, expected = both_refuse(ours, theirs, x, words)
    assert refusal is expected
    assert_same(before, ours.state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize(
    ("kind", "shape", "dim"),
    [("1d", (4, 5), 0), ("1d", (2, 4, 5), 1), ("2d", (2, 1, 4, 4), 1), ("3d", (5, 2, 4, 4), 0)],
)
@both_modes
def test_other_channels_pass_with_a_warning_where_nothing_belongs_to_them(
    kind, shape, dim, training
):
    layers = twins(f"InstanceNorm{kind}", 3, training=training)
    x, dy = torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
    results = []
    for layer in layers:
        words = rf"^input's size at dim={dim} does not match num_features\."
        with pytest.warns(UserWarning, match=words) as given:
            results.append(seen(layer, x, dy))
        assert len(given) == 1
    assert_same(*results)
    cure = rf"\({'C' if dim == 0 else 'N, C'}, .*num_features={shape[dim]}$"
    with pytest.warns(UserWarning, match=cure):
        layers[0](x)


@every_kind
@every_option
def test_the_channels_it_was_built_for_pass_without_a_warning(name, shape, options):
    ours, _ = twins(name, 3, **options)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ours(torch.randn(shape, dtype=F64))


def test_running_statistics_normalize_a_single_place():
    ours, theirs = twins("InstanceNorm2d", 3, training=False, **GAIN, **TRACK)
    for shape in ((4, 3, 1, 1), (3, 1, 1)):
        x, dy = torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
        assert_same(seen(ours, x, dy), seen(theirs, x, dy))


@every_option
@both_modes
def test_eps_of_zero_is_fine_where_nothing_vanishes(options, training):
    ours, theirs = twins("InstanceNorm1d", 3, training=training, eps=0.0, **options)
    x, dy = torch.randn(4, 3, 5, dtype=F64), torch.randn(4, 3, 5, dtype=F64)
    assert_same(seen(ours, x, dy), seen(theirs, x, dy))


@both_modes
def test_a_negative_eps_is_refused(training):
    # torch takes it, and gives NaN where the variance is smaller.
    ours, _ = twins("InstanceNorm1d", 3, training=training, eps=-1e-5, **TRACK)
    with pytest.raises(ValueError, match=r"eps is -1e-05.*such as 1e-5"):
        ours(torch.ones(4, 3, 5, dtype=F64))


@pytest.mark.parametrize(
    "x", [np.ones((4, 3, 5), np.float32), [[[1.0, 2.0]] * 3]], ids=["array", "list"]
)
def test_layer_wants_a_tensor(x):
    # torch lets an AttributeError escape; ours says what to do.
    with pytest.raises(TypeError, match=r"input is a (ndarray|list).*torch\.as_tensor\(x\)"):
        norms.InstanceNorm1d(3)(x)


@both_modes
@every_option
def test_mixed_dtypes_are_accepted_exactly_where_torch_accepts_them(training, options):
    """The table over the dtypes of input, parameters and buffers, against torch itself."""

    def outcome(library, x_dtype, parameter_dtype, buffer_dtype):
        layer = library.InstanceNorm1d(3, **options).train(training)
        for parameter in layer.parameters():
            parameter.data = parameter.data.to(parameter_dtype)
        if layer.running_mean is not None:
            layer.running_mean = layer.running_mean.to(buffer_dtype)
            layer.running_var = layer.running_var.to(buffer_dtype)
        return dtype_or_refusal(layer, torch.randn(4, 3, 5).to(x_dtype))

    for dtypes in itertools.product(DTYPES, repeat=3):
        assert outcome(norms, *dtypes) == outcome(nn, *dtypes), dtypes


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_running_statistics_may_have_any_dtype(dtype):
    """The input decides about the dtype of the output, they keep their own: as in torch."""
    ours, exact = twins("InstanceNorm1d", 3, momentum=0.3, **TRACK)
    ours.to(dtype)
    for training in (True, True, False):
        x = 2 + torch.randn(4, 3, 5)
        y, expected = (
            layer.train(training)(x.to(t)) for layer, t in ((ours, x.dtype), (exact, F64))
        )
        unit = torch.finfo(dtype).eps
        assert y.dtype == x.dtype
        assert_close(y.double(), expected, rtol=2 * unit, atol=2 * unit + 1e-6)
        for buffer in (ours.running_mean, ours.running_var):
            assert buffer.dtype == dtype


@both_modes
def test_every_parameter_and_buffer_takes_part_in_the_checks(training):
    for name in ("weight", "bias", "running_mean", "running_var"):
        layer = norms.InstanceNorm1d(3, **GAIN, **TRACK).train(training)
        tensor = getattr(layer, name)
        if name in ("weight", "bias"):
            tensor.data = tensor.data.double()
            with pytest.raises(RuntimeError, match=rf"mixed dtype.*float32.*{name} torch\.float64"):
                layer(torch.ones(4, 3, 5))
        tensor.data = torch.ones(1)
        with pytest.raises(RuntimeError, match=rf"{name} should contain 3 elements not 1"):
            layer(torch.ones(4, 3, 5))


@both_modes
@every_option
@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_go_where_they_go_in_torch(value, options, training):
    """Into their map, and what is shared by the channel; from running statistics they come alone."""
    ours, theirs = twins("InstanceNorm2d", 3, training=training, **options)
    x, dy = torch.randn(4, 3, 2, 2, dtype=F64), torch.randn(4, 3, 2, 2, dtype=F64)
    x[1, 1, 0, 1] = value
    result = seen(ours, x, dy)
    assert_same(result, seen(theirs, x, dy))
    assert_same(seen(ours, dy, dy), seen(theirs, dy, dy))  # and stay there
    finite = result["y"].isfinite().all(-1).all(-1)
    assert finite.sum() == 11
    assert not finite[1, 1]


EMPTY = {
    "no samples": ("InstanceNorm1d", (0, 3, 5)),
    "no length": ("InstanceNorm1d", (4, 3, 0)),
    "no images": ("InstanceNorm2d", (0, 3, 4, 4)),
    "no width": ("InstanceNorm2d", (4, 3, 4, 0)),
    "no width beside one": ("InstanceNorm2d", (4, 3, 1, 0)),
    "no volumes": ("InstanceNorm3d", (0, 3, 2, 2, 2)),
    "one sample without a length": ("InstanceNorm1d", (3, 0)),
}


@pytest.mark.parametrize(("name", "shape"), EMPTY.values(), ids=EMPTY)
@every_option
@both_modes
def test_an_empty_batch_changes_nothing(name, shape, options, training):
    ours, theirs = twins(name, 3, training=training, **options)
    before = copy.deepcopy(ours.state_dict())
    x = torch.randn(shape, dtype=F64)
    result = seen(ours, x, x)
    assert result["y"].shape == result["dx"].shape == shape
    assert_same(ours.state_dict(), before, rtol=0, atol=0)
    for parameter in ours.parameters():
        assert not parameter.grad.any()
    # Without samples torch finds no gain to multiply with, and a mean over nothing is NaN.
    if shape[0] != 0 or not options:
        assert_same(result, seen(theirs, x, x))
    elif ours.affine:
        with pytest.raises(IndexError):
            theirs(x)
    else:
        theirs(x)
        assert theirs.running_mean.isnan().all() == training


@pytest.mark.parametrize("shape", [(0, 3, 5), (4, 3, 0), (4, 3, 2, 0)], ids=str)
def test_numpy_functions_take_an_empty_batch(shape):
    assert_numpy_functions_take_an_empty_batch(*NUMPY, shape, *np.ones((2, 3)))


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        (
            {"x": torch.ones(4, 3, 5)},
            TypeError,
            r"x is a torch\.Tensor; .* x\.detach\(\)\.numpy\(\)",
        ),
        ({"x": np.ones((4, 3, 5), int)}, TypeError, r"x has dtype int64; .* x\.astype\(float\)"),
        ({"gamma": np.ones(3, int)}, TypeError, r"gamma has dtype int64; .* gamma\.astype"),
        ({"x": np.ones(3)}, ValueError, r"x has shape \(3,\); expected \(N, C\).*x\[None\]"),
        ({"x": np.ones((4, 3))}, ValueError, r"x has shape \(4, 3\).*\(N, C, \*\).*x\[None\]"),
        ({"gamma": np.ones(4)}, ValueError, r"gamma has shape \(4,\).*C = 3.*shape \(3,\)"),
        ({"gamma": np.ones((4, 3))}, ValueError, r"gamma has shape \(4, 3\).*C = 3.*shape \(3,\)"),
        ({"beta": np.ones((1, 3))}, ValueError, r"beta has shape \(1, 3\).*C = 3.*shape \(3,\)"),
        ({"eps": 0.0}, ValueError, r"eps is 0\.0; expected a positive number, such as 1e-5"),
        ({"eps": -1e-5}, ValueError, r"eps is -1e-05; expected a positive number"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_numpy_functions_refuse_and_name_the_cure(arguments, exception, message):
    good = {"x": np.ones((4, 3, 5)), "gamma": np.ones(3), "beta": np.zeros(3)}
    with pytest.raises(exception, match=message):
        instance_norm_forward(**{**good, **arguments})


def test_numpy_backward_checks_the_upstream_gradient():
    y, cache = instance_norm_forward(np.ones((4, 3, 5)), np.ones(3), np.zeros(3))
    with pytest.raises(ValueError, match=r"dy has shape \(3, 5\); expected that of y, \(4, 3, 5\)"):
        instance_norm_backward(y[0], cache)
    with pytest.raises(TypeError, match="dy has dtype int64"):
        instance_norm_backward(y.astype(int), cache)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_functions_keep_the_dtype(dtype, rng):
    x, dy, gamma, beta = (a.astype(dtype) for a in random_arrays(rng, (4, 3, 5)))
    assert_numpy_functions_keep_the_dtype(*NUMPY, x, dy, gamma, beta)


def test_numpy_backward_computes_half_precision_in_float32(rng):
    """A gain of 300 times a gradient of size 300 does not fit float16, nor does a sum of 1,000."""
    x, dy = 300 * rng.normal(size=(2, 4, 8, 1000)).astype(np.float16)
    parameters = np.full(8, 300, np.float32), np.ones(8, np.float32)
    assert_numpy_backward_is_computed_in_float32(*NUMPY, x, dy, *parameters)


@both_modes
@every_option
def test_nothing_given_is_overwritten(options, training, rng):
    ours, _ = twins("InstanceNorm1d", 3, training=training, dtype=torch.float32, **options)
    assert_nothing_is_overwritten(ours, *torch.randn(2, 4, 3, 5))
    assert_nothing_is_overwritten(ours, *torch.randn(2, 3, 5))
    assert_numpy_functions_overwrite_nothing(*NUMPY, *random_arrays(rng, (4, 3, 5)))


@pytest.mark.parametrize("name", ["InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d"])
def test_constructor_is_torchs(name):
    options = (*OPTIONS, {"bias": False}, {"eps": 1e-3, "momentum": None, **TRACK})
    attributes = ("num_features", "eps", "momentum", "affine", "track_running_stats")
    assert_same_constructor(name, 5, options, attributes)
    meta = getattr(norms, name)(5, device="meta", dtype=F64, **GAIN, **TRACK).state_dict()
    assert {tensor.device.type for tensor in meta.values()} == {"meta"}
    assert [t.dtype for t in meta.values()] == [F64] * 4 + [torch.long]


# 6. Training, evaluation and running statistics


@every_kind
@pytest.mark.parametrize("options", OPTIONS[:3], ids=str)
def test_without_running_statistics_training_is_evaluation(name, shape, options):
    ours, _ = twins(name, 3, **options)
    assert_training_is_evaluation(
        ours, torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
    )


@pytest.mark.parametrize("changed", [(1,), (1, 2)], ids=["a sample", "a map"])
@pytest.mark.parametrize("options", OPTIONS[:3], ids=str)
def test_samples_do_not_meet_and_channels_do_not_meet(changed, options):
    ours, _ = twins("InstanceNorm2d", 3, **options)
    x, dy = torch.randn(4, 3, 5, 2, dtype=F64), torch.randn(4, 3, 5, 2, dtype=F64)
    assert_nothing_else_moves(ours, x, dy, changed)


@pytest.mark.parametrize("momentum", [0.1, 0.3, None, 0.0, 1.0])
@pytest.mark.parametrize("options", [TRACK, {**GAIN, **TRACK}], ids=str)
@every_kind
def test_three_steps_of_training_then_evaluation_equal_torch(name, shape, momentum, options):
    # Four places tell m/(m-1) from 1, three samples the mean of their variances from the variance
    # of all; one step would not tell momentum from 1 - momentum.
    axes = len(KINDS[f"{name[-2:]}"][1]) - 2
    shape = (*(3, 3)[: len(shape) - axes], 4, *[1] * (axes - 1))
    ours, theirs = twins(name, 3, momentum=momentum, **options)
    for _ in range(3):
        x, dy = 2 + 3 * torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
        assert_same(seen(ours, x, dy), seen(theirs, x, dy))
    ours.eval()
    theirs.eval()
    assert_same(seen(ours, x, dy), seen(theirs, x, dy))


def test_running_statistics_are_means_over_samples_of_the_unbiased_variance():
    layer = norms.InstanceNorm1d(1, momentum=0.25, dtype=F64, **TRACK)
    layer(torch.tensor([[[1.0, 3.0]], [[6.0, 10.0]]], dtype=F64))  # means 2, 8; variances 2, 8
    assert layer.running_mean.item() == pytest.approx(0.75 * 0 + 0.25 * 5)
    assert layer.running_var.item() == pytest.approx(0.75 * 1 + 0.25 * 5)
    assert layer.num_batches_tracked == 0  # torch does not count either


def test_mode_is_module_training_and_not_gradient_mode():
    ours, theirs = twins("InstanceNorm1d", 3, training=False, **TRACK)
    before = copy.deepcopy(ours.state_dict())
    x = torch.randn(4, 3, 5, dtype=F64)
    with torch.enable_grad():  # evaluating with gradients on uses and keeps the running statistics
        assert_close(ours(x), theirs(x))
    assert_same(ours.state_dict(), before, rtol=0, atol=0)
    ours.train()
    theirs.train()
    with torch.no_grad():  # training without gradients uses the map's own, and tracks
        assert_close(ours(x), theirs(x))
    assert_same(ours.state_dict(), theirs.state_dict())


def test_running_statistics_carry_no_graph():
    layer = norms.InstanceNorm1d(3, **GAIN, **TRACK)
    buffers = dict(layer.named_buffers())
    sizes = []
    for _ in range(3):
        y = layer(torch.randn(4, 3, 5, requires_grad=True) * 2)
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
def test_statistics_switched_off_later_do_what_they_do_in_torch(changes, training):
    """With tracking off, torch normalizes each map by itself, and moves the buffers it still has."""
    ours, theirs = twins("InstanceNorm1d", 3, training=training, **TRACK)
    x, dy = torch.randn(4, 3, 5, dtype=F64), torch.randn(4, 3, 5, dtype=F64)
    for layer in (ours, theirs):
        for name, value in changes.items():
            setattr(layer, name, value)
    if changes is DROPPED and not training:
        words = ("running_mean and running_var", "track_running_stats=True")
        refusal, expected = both_refuse(ours, theirs, x, words)
        assert refusal is expected is RuntimeError
    else:
        assert_same(seen(ours, x, dy), seen(theirs, x, dy))


@every_option
def test_resets_equal_torch(options):
    for reset in ("reset_running_stats", "reset_parameters"):
        ours, theirs = twins("InstanceNorm1d", 3, **options)
        x = torch.randn(4, 3, 5, dtype=F64)
        for layer in (ours, theirs):
            layer(x)
            getattr(layer, reset)()
        assert_same(ours.state_dict(), theirs.state_dict())


# 7. Hard inputs


@pytest.mark.parametrize("offset", [3e3, 1e4, -1e4])
def test_training_keeps_its_digits_far_from_zero(offset):
    ours, _ = twins("InstanceNorm2d", 3, dtype=torch.float32, **GAIN, **TRACK)
    x, dy = offset + torch.randn(16, 3, 8, 8), torch.randn(16, 3, 8, 8)
    keys = ("y", "dx", "running_mean", "running_var")
    expected, tolerance = assert_digits_are_kept_far_from_zero(ours, x, dy, keys)
    y, _ = instance_norm_forward(*(t.detach().numpy() for t in (x, ours.weight, ours.bias)))
    np.testing.assert_allclose(y, expected["y"].detach(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("offset", [3e3, 1e4, -1e4])
def test_inference_keeps_its_digits_far_from_zero(offset):
    ours, _ = twins("InstanceNorm2d", 3, dtype=torch.float32, training=False, **GAIN, **TRACK)
    ours.running_mean.add_(offset)
    x, dy = offset + torch.randn(16, 3, 8, 8), torch.randn(16, 3, 8, 8)
    # The difference of two close numbers is exact. With the mean folded into the shift
    # y would be rounded at offset * 2^-24: 2e-4 and more.
    expected = float64_reference(ours, x, dy)["y"]
    assert_close(seen(ours, x, dy)["y"].double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.0])
def test_a_constant_map_gives_the_shift(constant):
    ours, theirs = twins("InstanceNorm2d", 3, **GAIN, **TRACK)
    x, dy = torch.randn(4, 3, 5, 5, dtype=F64), torch.randn(4, 3, 5, 5, dtype=F64)
    x[2, 1] = constant
    result = seen(ours, x, dy)
    # Rounding of the mean, 2e-16 of it, is multiplied by eps^-1/2 = 316.
    assert_close(result["y"][2, 1], ours.bias[1].expand(5, 5), rtol=0, atol=1e-12)
    assert_same(result, seen(theirs, x, dy))


def test_a_map_of_one_place_is_the_shift_in_numpy(rng):
    """The layer refuses it. A variance of 1/(m-1) would be 0/0: a network full of NaN."""
    x, dy, gamma, beta = random_arrays(rng, (4, 3, 1, 1))
    y, cache = instance_norm_forward(x, gamma, beta)
    np.testing.assert_array_equal(y, np.ones((4, 1, 1, 1)) * beta.reshape(1, 3, 1, 1))
    dx, dgamma, dbeta = instance_norm_backward(dy, cache)
    assert not dx.any()
    assert not dgamma.any()
    np.testing.assert_allclose(dbeta, dy.sum(axis=(0, 2, 3)))


@pytest.mark.parametrize("scale", [1e-20, 1e-10, 1e-3, 1e3, 1e10, 1e18])
def test_tiny_and_huge_inputs(scale):
    """In float32: 1e18 squared still fits; 1e-20 squared is lost beside eps, in float64 too."""
    ours, _ = twins("InstanceNorm2d", 3, dtype=torch.float32, **GAIN, **TRACK)
    x, dy = scale * torch.randn(4, 3, 5, 5), torch.randn(4, 3, 5, 5)
    assert_near_float64(ours, x, dy)


@both_modes
@every_half
@pytest.mark.parametrize(
    "parameter_dtype", [None, torch.float32], ids=["half layer", "float layer"]
)
def test_half_precision_is_off_by_one_rounding(dtype, parameter_dtype, training):
    """Statistics in float32: x of size 300 overflows float16 when squared, as does its sum."""
    options = {**GAIN, **TRACK, "training": training, "dtype": parameter_dtype or dtype}
    ours, theirs = twins("InstanceNorm2d", 3, **options)
    x, dy = (50 + 300 * torch.randn(8, 3, 16, 16)).to(dtype), torch.randn(8, 3, 16, 16).to(dtype)
    assert_off_by_one_rounding(ours, theirs, x, dy)


@every_layout
@both_modes
@pytest.mark.parametrize("options", [{}, {**GAIN, **TRACK}], ids=str)
def test_memory_layout_does_not_matter(layout, options, training):
    ours, theirs = twins("InstanceNorm2d", 3, training=training, **options)
    assert_layout_does_not_matter(ours, theirs, layout)


@pytest.mark.parametrize(
    ("name", "layout"),
    [("InstanceNorm2d", torch.channels_last), ("InstanceNorm3d", torch.channels_last_3d)],
)
@both_modes
@every_option
def test_channels_last_comes_out_contiguous_as_from_torch(name, layout, options, training):
    ours, theirs = twins(name, 3, training=training, **options)
    shape = (2, 3, 4, 5, 6)[: 4 if name == "InstanceNorm2d" else 5]
    x = torch.randn(shape, dtype=F64).to(memory_format=layout)
    dy = torch.randn(shape, dtype=F64).to(memory_format=layout)
    result, expected = seen(ours, x, dy), seen(theirs, x, dy)
    assert_same(result, expected)
    for key in ("y", "dx"):
        assert result[key].stride() == expected[key].stride()
    assert result["y"].is_contiguous()


# 8. In place of torch's layer


@every_kind
@every_option
def test_checkpoints_load_both_ways(name, shape, options):
    ours, theirs = getattr(norms, name)(3, **options), getattr(nn, name)(3, **options)
    assert_checkpoints_load_both_ways(ours, theirs, torch.randn(shape))


OLD = {  # what is saved, what loads it, and the words of torch's refusal of each version
    "no count, tracking": (TRACK, TRACK, {2: "Missing key.*num_batches_tracked"}),
    "statistics, not tracking": (
        TRACK,
        {},
        dict.fromkeys((1, 2), "Unexpected key.*running_mean")
        | {None: 'running stats buffer.*running_mean.* and .*running_var.* for InstanceNorm1d with '
        "track_running_stats=False.*0.4.0.*track_running_stats=True"},
    ),
    "one statistic, not tracking": ({}, {}, {
        **dict.fromkeys((1, 2), "Unexpected key.*running_var"),
        None: r"running stats buffer\(s\) \S*running_var\S* for InstanceNorm1d",
    }),
    "nothing, not tracking": ({}, {}, {}),
    "nothing, tracking": ({}, TRACK, dict.fromkeys((None, 1, 2), "Missing key.*running_mean")),
}  # fmt: skip


@pytest.mark.parametrize("version", [None, 1, 2])
@pytest.mark.parametrize("case", OLD)
def test_old_checkpoints_load_and_are_refused_as_by_torch(case, version):
    saved, loaded, refusals = OLD[case]

    def load(library):
        state = nn.Sequential(nn.InstanceNorm1d(3, **saved)).state_dict()
        state.pop("0.num_batches_tracked", None)
        if case == "one statistic, not tracking":
            state["0.running_var"] = torch.ones(3)
        if "0.running_mean" in state:
            state["0.running_mean"] = torch.tensor([1.0, 2.0, 3.0])
        state._metadata["0"] = {} if version is None else {"version": version}
        model = nn.Sequential(library.InstanceNorm1d(3, **loaded))
        model.load_state_dict(state)
        return model.state_dict()

    if version in refusals:
        for library in (nn, norms):
            with pytest.raises(RuntimeError, match=f"(?s){refusals[version]}"):
                load(library)
    else:
        assert_same(load(norms), load(nn), rtol=0, atol=0)


@both_modes
@every_option
@pytest.mark.parametrize("shape", [(4, 2, 3), (2, 3)], ids=["batch", "one sample"])
def test_first_and_second_derivatives(training, options, shape):
    layer, _ = twins("InstanceNorm1d", 2, training=training, **options)
    assert differentiable(layer, torch.randn(shape, dtype=F64))


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_per_sample_gradients_by_vmap(options):
    # A sample's own pixels are its statistics, or the running ones are.
    training = "track_running_stats" not in options
    ours, theirs = twins("InstanceNorm2d", 3, training=training, **options)
    assert_per_sample_gradients(ours, theirs, torch.randn(5, 3, 4, 4, dtype=F64))


@both_modes
@every_option
def test_ensembles_by_vmap(options, training):
    """Of parameters and buffers stacked by ``torch.func.stack_module_state``."""
    pairs = [twins("InstanceNorm2d", 3, training=training, **options) for _ in range(4)]
    assert_ensembles_by_vmap(pairs, *torch.randn(2, 4, 5, 3, 2, 2, dtype=F64))


@pytest.mark.parametrize("options", OPTIONS[:3], ids=str)
def test_a_batch_is_one_sample_after_another(options):
    layer, _ = twins("InstanceNorm2d", 3, **options)
    x = torch.randn(5, 3, 4, 4, dtype=F64)
    assert_close(vmap(layer)(x), layer(x), rtol=1e-12, atol=1e-13)
    assert_close(torch.stack([layer(sample) for sample in x]), layer(x), rtol=0, atol=0)


def test_vmap_refuses_running_statistics_that_samples_would_fight_over():
    x = torch.randn(2, 4, 3, 5, dtype=F64)
    for layer in twins("InstanceNorm1d", 3, **TRACK):
        before = layer.running_mean.clone(), layer.running_var.clone()
        with pytest.raises(RuntimeError):
            vmap(layer)(x)
        assert_close((layer.running_mean, layer.running_var), before, rtol=0, atol=0)


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_compiler
@pytest.mark.parametrize(
    "shape", [(2, 2, 4, 3, 5, 5), (2, 2, 3, 5, 5)], ids=["batch", "one sample"]
)
def test_compiled_training_equals_eager(shape):
    layer, _ = twins("InstanceNorm2d", 3, **GAIN, **TRACK)
    assert_compiled_equals_eager(layer, torch.randn(shape, dtype=F64))


def test_copies_are_independent_and_equal():
    ours, _ = twins("InstanceNorm1d", 3, **GAIN, **TRACK)
    x, dy = torch.randn(4, 3, 5, dtype=F64), torch.randn(4, 3, 5, dtype=F64)
    assert_copies_are_independent_and_equal(ours, x, dy)


@every_conversion
def test_conversion_equals_torch(convert):
    assert_conversion_equals_torch(*twins("InstanceNorm1d", 3, **GAIN, **TRACK), convert, (4, 3, 5))


def network(library):
    """Make a small network with the instance norms of ``norms`` or of ``torch.nn``."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        library.InstanceNorm2d(8, affine=True),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2),
        library.InstanceNorm2d(8, **GAIN, **TRACK),
        nn.ReLU(),
        nn.Flatten(2),
        library.InstanceNorm1d(8),
        nn.Flatten(),
        nn.Linear(72, 5),
    ).double()


def test_a_network_trains_the_same_with_our_layers_in_place_of_torchs():
    x, labels = torch.randn(64, 3, 10, 10, dtype=F64), torch.randint(5, (64,))
    assert_trains_the_same(*map(network, (norms, nn)), x, labels, lr=0.1)


@both_modes
def test_a_trained_network_keeps_its_logits_with_our_layers(training):
    x, labels = torch.randn(64, 3, 10, 10, dtype=F64), torch.randint(5, (64,))
    theirs = network(nn)
    losses = train(theirs, x, labels, lr=0.1)
    assert losses[-1] < losses[0] / 2
    ours = with_ours(with_ours(theirs.train(training), "InstanceNorm2d"), "InstanceNorm1d")
    assert {type(layer).__module__ for layer in ours if "Norm" in repr(layer)} == {
        "norms.instance_norm"
    }
    assert_close(ours(x), theirs(x), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "dtype"),
    [*((o, torch.float32) for o in OPTIONS), (GAIN, torch.bfloat16)],
    ids=str,
)
@both_modes
def test_no_more_memory_is_kept_for_backward_than_by_torch(options, training, dtype):
    # In bfloat16 without a float32 gain, torch keeps the statistics in bfloat16: two bytes less
    # for each, and their digits.
    x = torch.randn(4, 3, 16, 16, dtype=dtype, requires_grad=True)
    ours, theirs = twins("InstanceNorm2d", 3, training=training, dtype=torch.float32, **options)
    assert kept(ours, x) <= kept(theirs, x)


# 9. What the paper claims, and what follows from it

EXACT = 1e-14  # the claims are exact without eps; this is as near as it goes


def test_contrast_and_brightness_of_a_map_vanish():
    """IN(a x + b) = IN(x) for a > 0, one a and b a map; its gradient is 1/a of the other."""
    layer, _ = twins("InstanceNorm2d", 3, eps=EXACT, **GAIN)
    x, dy = torch.randn(4, 3, 5, 6, dtype=F64), torch.randn(4, 3, 5, 6, dtype=F64)
    a, b = 0.1 + 5 * torch.rand(4, 3, 1, 1, dtype=F64), 3 * torch.randn(4, 3, 1, 1, dtype=F64)
    plain, changed = seen(layer, x, dy), seen(layer, a * x + b, dy)
    assert_close(changed["y"], plain["y"], rtol=1e-9, atol=1e-10)
    assert_close(a * changed["dx"], plain["dx"], rtol=1e-8, atol=1e-9)
    layer.bias.data.zero_()
    assert_close(layer(-x), -layer(x), rtol=1e-12, atol=1e-13)  # a negative: the sign is left


@pytest.mark.parametrize("padding", [0, 1], ids=["no padding", "zero padding"])
def test_behind_a_convolution_the_contrast_of_an_image_vanishes_and_brightness_but_at_its_border(
    padding,
):
    """One gain for all colours, and any offset of each; but zeros at the border are not offset."""
    layer = norms.InstanceNorm2d(4, eps=EXACT)
    convolution = nn.Conv2d(3, 4, 3, padding=padding, dtype=F64)
    x = torch.randn(2, 3, 8, 8, dtype=F64)
    offset, gains = torch.tensor([[1.0, -2.0, 5.0], [1.0, 2.0, 0.5]], dtype=F64).view(2, 3, 1, 1)

    def change(image):
        return (layer(convolution(image)) - layer(convolution(x))).abs().max()

    assert change(3 * x) < 1e-10
    assert (change(x + offset) < 1e-10) == (padding == 0)
    assert change(gains * x) > 0.1  # a gain for each colour stays


def test_batch_norm_leaves_the_contrast_between_images():
    """Why the paper replaced it: of two images, one with a tenth of the contrast of the other."""
    x = torch.randn(1, 3, 16, 16, dtype=F64)
    pair = torch.cat([x, 0.1 * x])
    contrast = {
        name: getattr(norms, name)(3, eps=EXACT, dtype=F64)(pair).std((2, 3)).squeeze()
        for name in ("InstanceNorm2d", "BatchNorm2d")
    }
    high, low = contrast["InstanceNorm2d"]
    assert_close(low, high, rtol=1e-10, atol=0)
    high, low = contrast["BatchNorm2d"]
    assert_close(low, high / 10, rtol=1e-10, atol=0)


def test_the_mean_of_every_map_is_the_shift_so_pooling_sees_no_image():
    """norm, then average over space, then a classifier: the same answer for every image (fastai)."""
    layer, _ = twins("InstanceNorm2d", 3, **GAIN)
    x = (2 + torch.randn(5, 3, 4, 4, dtype=F64)).requires_grad_()
    pooled = layer(x).mean((2, 3))
    assert_close(pooled, layer.bias.expand(5, 3), rtol=1e-12, atol=1e-13)
    (dx,) = torch.autograd.grad(pooled, x, torch.randn(5, 3, dtype=F64))
    assert_close(dx, torch.zeros_like(dx), rtol=0, atol=1e-14)


def test_gain_and_shift_of_another_image_give_its_contrast_and_brightness(rng):
    """Adaptive instance norm: content standardised, mean and deviation of the style."""
    content, style = rng.normal(size=(2, 1, 3, 5, 6)) * [[[[[1]]]], [[[[4]]]]] + 2
    mean, deviation = style.mean(axis=(0, 2, 3)), style.std(axis=(0, 2, 3))
    y, _ = instance_norm_forward(content, deviation, mean, EXACT)
    np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), mean, rtol=1e-12)
    np.testing.assert_allclose(y.std(axis=(0, 2, 3)), deviation, rtol=1e-12)
    own = content.std(axis=(0, 2, 3)), content.mean(axis=(0, 2, 3))
    np.testing.assert_allclose(instance_norm_forward(content, *own, EXACT)[0], content, rtol=1e-10)


def test_input_gradient_has_no_constant_part_and_eps_of_the_standardised_one(rng):
    x, dy, gamma, beta = random_arrays(rng, (6, 3, 4))
    _, cache = instance_norm_forward(x, gamma, beta, EPS)
    dx, _, _ = instance_norm_backward(dy, cache)
    x_hat, rstd, _ = cache
    np.testing.assert_allclose(dx.sum(axis=2), 0.0, atol=1e-13)
    left = gamma * rstd[..., 0] ** 3 * EPS * (dy * x_hat).sum(axis=2)  # exactly, for any eps
    np.testing.assert_allclose((x_hat * dx).sum(axis=2), left, atol=1e-13)


def test_two_places_become_plus_and_minus_one_whatever_they_are(rng):
    x, dy = 5 * rng.normal(size=(2, 4, 3, 2))
    y, cache = instance_norm_forward(x, np.ones(3), np.zeros(3), EXACT)
    np.testing.assert_allclose(y, np.sign(x - x.mean(2, keepdims=True)), rtol=1e-9)
    dx, _, _ = instance_norm_backward(dy, cache)
    np.testing.assert_allclose(dx, 0.0, atol=1e-9)  # two of two directions are gone


@pytest.mark.parametrize("a", [0.01, 3.0, 100.0])
def test_a_convolution_before_it_needs_no_bias_and_its_length_is_free(a):
    """IN(aWx + b) = IN(Wx): no gradient for b, 1/a of it for aW, and none along a filter."""
    layer, _ = twins("InstanceNorm2d", 4, eps=EXACT, **GAIN)
    x, dy = torch.randn(2, 3, 6, 6, dtype=F64), torch.randn(2, 4, 4, 4, dtype=F64)
    weight, bias = (torch.randn(s, dtype=F64) for s in ((4, 3, 3, 3), (4,)))

    def derivatives(*leaves):
        leaves = [leaf.requires_grad_() for leaf in leaves]
        y = layer(F.conv2d(x, *leaves))
        return y, *torch.autograd.grad(y, leaves, dy)

    y, dw, db = derivatives(weight.clone(), bias)
    scaled, dw_scaled, _ = derivatives(a * weight, torch.zeros(4, dtype=F64))
    assert_close(scaled, y, rtol=1e-8, atol=1e-9)
    assert_close(a * dw_scaled, dw, rtol=1e-8, atol=1e-9)
    assert_close(db, torch.zeros(4, dtype=F64), rtol=0, atol=1e-12)
    assert_close((weight * dw).sum((1, 2, 3)), torch.zeros(4, dtype=F64), rtol=0, atol=1e-9)
