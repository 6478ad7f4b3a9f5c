"""RMS norm, compared with torch, autograd, central differences and its paper."""

import itertools
from functools import partial

import numpy as np
import pytest
import torch
from torch import nn
from torch.autograd.functional import jacobian
from torch.nn import functional as F
from torch.testing import assert_close
from twins import (
    DTYPES,
    F64,
    NO_GAIN,
    REFUSED,
    Transformer,
    assert_a_frozen_gain_gets_no_gradient,
    assert_an_empty_batch_teaches_nothing,
    assert_checkpoints_load_both_ways,
    assert_compiled_equals_eager,
    assert_conversion_equals_torch,
    assert_copies_are_independent_and_equal,
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
    every_change,
    every_conversion,
    every_empty_batch,
    every_half,
    every_kind,
    every_layout,
    kept,
    needs_compiler,
    next_tokens,
    seen,
    train,
    twins,
    with_ours,
)

import norms
from norms.gradcheck import check_backward
from norms.moments import last_axes
from norms.rms_norm import rms_norm_backward, rms_norm_forward

EPS = 1e-5
OPTIONS = ({}, NO_GAIN)
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)
# torch says once that it is slower where the dtypes of input and gain differ
pytestmark = pytest.mark.filterwarnings("ignore:Mismatch dtype between input and weight")


def random_arrays(rng, features, shape):
    """Draw x, dy, gamma."""
    return (rng.normal(size=s) for s in (shape, shape, features))


# 1. Statistics of the output


@every_kind
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_output_has_the_mean_square_that_eps_leaves_and_keeps_its_mean(features, shape, scale, rng):
    x, _, gamma = random_arrays(rng, features, shape)
    x = scale * (x + 2.0)
    y, _ = rms_norm_forward(x, gamma, EPS)
    x_hat, axes = y / gamma, last_axes(len(features))
    square = (x * x).mean(axis=axes)
    np.testing.assert_allclose((x_hat**2).mean(axis=axes), square / (square + EPS), rtol=1e-11)
    mean = x.mean(axis=axes) / np.sqrt(square + EPS)
    np.testing.assert_allclose(x_hat.mean(axis=axes), mean, rtol=1e-11)


# 2. Forward equals torch's


@every_kind
def test_numpy_forward_equals_torch(features, shape, rng):
    x, _, gamma = random_arrays(rng, features, shape)
    y, _ = rms_norm_forward(x, gamma, 1e-3)
    expected = F.rms_norm(torch.from_numpy(x), features, torch.from_numpy(gamma), eps=1e-3)
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_default_eps_of_the_numpy_function_is_that_of_the_layer(dtype, rng):
    x, _, gamma = (a.astype(dtype) for a in random_arrays(rng, (6,), (4, 6)))
    x = dtype(1e-4) * x
    eps = 2.0**-52 if dtype == np.float64 else 2.0**-23
    np.testing.assert_array_equal(rms_norm_forward(x, gamma)[0], rms_norm_forward(x, gamma, eps)[0])


# 3. Backward equals autograd, with random dy and gamma


@every_kind
def test_numpy_backward_equals_autograd_of_torch(features, shape, rng):
    x, dy, gamma = random_arrays(rng, features, shape)
    _, cache = rms_norm_forward(x, gamma, EPS)
    leaves = [torch.from_numpy(a).requires_grad_() for a in (x, gamma)]
    F.rms_norm(leaves[0], features, leaves[1], eps=EPS).backward(torch.from_numpy(dy))
    for ours, leaf in zip(rms_norm_backward(dy, cache), leaves, strict=True):
        assert ours.shape == leaf.shape
        np.testing.assert_allclose(ours, leaf.grad.numpy(), rtol=1e-10, atol=1e-12)


@every_kind
@every_option
@pytest.mark.parametrize("eps", [1e-3, None])
def test_layer_equals_torch_forward_and_back(features, shape, options, eps):
    ours, theirs = twins("RMSNorm", features, eps=eps, **options)
    x, dy = torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
    assert_same(seen(ours, x, dy), seen(theirs, x, dy))


def test_a_frozen_gain_gets_no_gradient():
    assert_a_frozen_gain_gets_no_gradient(twins("RMSNorm", 6)[0], torch.randn(4, 6, dtype=F64))


# 4. Central differences


@pytest.mark.parametrize(
    ("features", "shape"),
    [((5,), (5,)), ((4,), (3, 4)), ((4,), (2, 3, 4)), ((2, 3, 2), (2, 2, 3, 2)), ((2,), (3, 2))],
    ids=str,
)
@pytest.mark.parametrize("seed", range(3))
def test_backward_passes_central_differences(features, shape, seed):
    shapes = {"x": shape, "gamma": features}
    result = check_backward(rms_norm_forward, rms_norm_backward, shapes, seed=seed, eps=EPS)
    assert result.error < 1e-6, result


# 5. Shapes, dtypes and what is refused

# what is wrong: normalized_shape, options, the input, words of the message (came, expected, cure)
ALSO_REFUSED = {
    "0 dimensions": (6, {}, torch.ones(()), ("0 axes", "at least 1", r"x\.unsqueeze\(0\)")),
    "too few axes": ((3, 6), {}, torch.ones(6), ("1 axes", "at least 2", r"\(3, 6\)")),
}


@pytest.mark.parametrize(
    ("features", "options", "x", "words"),
    [*REFUSED.values(), *ALSO_REFUSED.values()],
    ids=[*REFUSED, *ALSO_REFUSED],
)
@both_modes
def test_refuses_as_torch_does_and_names_the_cure(features, options, x, words, training):
    ours, theirs = twins("RMSNorm", features, training=training, dtype=torch.float32, **options)
    refusal, expected = both_refuse(ours, theirs, x, words)
    assert refusal is expected


def test_complex_numbers_are_refused_where_torch_adds_up_their_squares():
    """Squares, not moduli: (1, i) has mean square zero in torch, and its size is infinite."""
    ours, theirs = twins("RMSNorm", 2, eps=0.0, dtype=torch.float32)
    x = torch.tensor([1.0, 1.0j])
    assert not theirs(x).isfinite().any()
    with pytest.raises(NotImplementedError, match="complex64"):
        ours(x)


def test_negative_eps_is_refused_where_torch_makes_nan_of_a_small_sample():
    ours, theirs = twins("RMSNorm", 6, eps=-1e-5)
    assert theirs(torch.full((1, 6), 1e-3, dtype=F64)).isnan().all()
    for x in (torch.zeros(1, 6, dtype=F64), torch.randn(4, 6, dtype=F64)):
        with pytest.raises(ValueError, match=r"eps is -1e-05; .*such as 1e-5"):
            ours(x)


def test_eps_of_zero_is_taken_as_torch_takes_it():
    """And is not taken for none at all."""
    ours, theirs = twins("RMSNorm", 6, eps=0.0)
    x, dy = 1e-9 * torch.randn(4, 6, dtype=F64), torch.randn(4, 6, dtype=F64)
    x[1] = 0.0  # 0/0 in both
    result = seen(ours, x, dy)
    assert_same(result, seen(theirs, x, dy))
    assert result["y"][[0, 2, 3]].isfinite().all()
    square = (result["y"] / ours.weight)[[0, 2, 3]].square().mean(1)
    assert_close(square, torch.ones(3, dtype=F64), rtol=1e-12, atol=0)


@pytest.mark.parametrize("parameter_dtype", [*DTYPES, None], ids=str)
@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_eps_of_none_is_the_machine_epsilon_of_the_computation(dtype, parameter_dtype):
    """Float32's for half precision: its own, 1e-3 and 8e-3, would leave nothing of x (#155527)."""
    options = NO_GAIN if parameter_dtype is None else {}
    ours, theirs = twins("RMSNorm", 64, dtype=parameter_dtype or dtype, **options)
    eps = 2.0**-52 if dtype == F64 else 2.0**-23
    x = (1e-4 * torch.randn(8, 64)).to(dtype)  # squares of 1e-8, a tenth of float32's epsilon
    gain = 1.0 if ours.weight is None else ours.weight.double()
    exact = gain * x.double() * (x.double().square().mean(1, keepdim=True) + eps) ** -0.5
    # One rounding to the dtype of x, and in float32 and above those on the way; where y is near
    # zero, one step of 6e-8 of float16.
    rtol = max(0.51 * torch.finfo(dtype).eps, 1e-12 if dtype == F64 else 1e-6)
    for layer in (theirs, ours):
        assert_close(layer(x).double(), exact, rtol=rtol, atol=1e-7)


@every_option
def test_dtypes_are_those_of_torch_whatever_is_mixed(options):
    """The table over the dtypes of input and gain, against torch itself: nothing is refused."""
    for x_dtype, weight_dtype in itertools.product(DTYPES, repeat=2):
        ours, theirs = twins("RMSNorm", 6, dtype=weight_dtype, eps=1e-3, **options)
        x, dy = torch.randn(4, 6).to(x_dtype), torch.randn(4, 6).to(x_dtype)
        result, torchs = seen(ours, x, dy), seen(theirs, x, dy)
        assert {k: v.dtype for k, v in result.items()} == {k: v.dtype for k, v in torchs.items()}
        assert result["y"].dtype == x_dtype
        for key, value in result.items():
            # Torch and we round once each, to what is seen; float32 is what half is computed in.
            computed_in = torch.promote_types(x_dtype, torch.float32)
            unit = max(torch.finfo(d).eps for d in (value.dtype, computed_in))
            assert_close(value, torchs[key], rtol=2 * unit, atol=2 * unit, msg=key)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_go_into_their_own_sample_only(value):
    ours, theirs = twins("RMSNorm", 6)
    x, dy = torch.randn(4, 6, dtype=F64), torch.randn(4, 6, dtype=F64)
    x[1, 2] = value
    result = seen(ours, x, dy)
    assert_same(result, seen(theirs, x, dy))
    assert result["y"][1, 2].isnan()
    assert result["dx"][1].isnan().all()
    for key in ("y", "dx"):
        assert result[key][[0, 2, 3]].isfinite().all()


@every_empty_batch
@every_option
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_an_empty_batch_is_taken_and_teaches_nothing(features, shape, options):
    ours, theirs = twins("RMSNorm", features, **options)
    assert_an_empty_batch_teaches_nothing(ours, theirs, shape)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0, 3), (4, 0)], ids=str)
def test_numpy_functions_take_an_empty_batch(shape):
    parameters = np.ones((1, shape[-1]))
    assert_numpy_functions_take_an_empty_batch(
        rms_norm_forward, rms_norm_backward, shape, *parameters
    )


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ({"x": torch.ones(4, 3)}, TypeError, r"x is a torch\.Tensor; .* x\.detach\(\)\.numpy\(\)"),
        ({"x": np.ones((4, 3), int)}, TypeError, r"x has dtype int64; .* x\.astype\(float\)"),
        ({"x": np.ones((4, 3), complex)}, TypeError, r"x has dtype complex128"),
        ({"gamma": np.ones(3, int)}, TypeError, r"gamma has dtype int64; .* gamma\.astype"),
        ({"gamma": np.ones(4)}, ValueError, r"gamma has shape \(4,\).*Axis 0 .*np\.moveaxis"),
        ({"gamma": np.ones(1)}, ValueError, r"gamma has shape \(1,\).*such as \(3,\)"),
        ({"gamma": 1.0}, ValueError, r"gamma is a single number; .*np\.full\(\(3,\), 1\.0\)"),
        ({"eps": 0.0}, ValueError, r"eps is 0\.0; expected a positive number, such as 1e-5"),
        ({"eps": -1e-5}, ValueError, r"eps is -1e-05; expected a positive number"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_numpy_function_refuses_and_names_the_cure(arguments, exception, message):
    good = {"x": np.ones((4, 3)), "gamma": np.ones(3)}
    with pytest.raises(exception, match=message):
        rms_norm_forward(**{**good, **arguments})


def test_numpy_backward_refuses_what_does_not_fit():
    y, cache = rms_norm_forward(np.ones((4, 3)), np.ones(3))
    with pytest.raises(ValueError, match=r"dy has shape \(3,\); expected that of y, \(4, 3\)"):
        rms_norm_backward(y[0], cache)
    with pytest.raises(TypeError, match="dy has dtype int64"):
        rms_norm_backward(y.astype(int), cache)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_functions_keep_the_dtype(dtype, rng):
    arrays = (a.astype(dtype) for a in random_arrays(rng, (6,), (4, 6)))
    assert_numpy_functions_keep_the_dtype(rms_norm_forward, rms_norm_backward, *arrays)


def test_numpy_function_computes_half_precision_in_float32(rng):
    """Values of size 300: their squares, and the sum of these, overflow float16."""
    x, _, gamma = (a.astype(np.float16) for a in random_arrays(rng, (64,), (4, 64)))
    x = 300 * x
    y, _ = rms_norm_forward(x, gamma)
    exact, _ = rms_norm_forward(x.astype(float), gamma.astype(float))
    # One rounding is half of 2^-10 of a value; the rest is float32's, of values of size 1.
    np.testing.assert_allclose(y, exact, rtol=0.51 * 2**-10, atol=1e-5)


def test_numpy_backward_computes_half_precision_in_float32(rng):
    """A gain of 300 times a gradient of size 300 does not fit float16, nor does a sum over 1,000 rows."""
    x, dy = 300 * rng.normal(size=(2, 1000, 8)).astype(np.float16)
    parameters = (np.full(8, 300, np.float32),)
    forward = partial(rms_norm_forward, eps=EPS)
    assert_numpy_backward_is_computed_in_float32(forward, rms_norm_backward, x, dy, *parameters)


def test_constructor_is_torchs():
    attributes = ("normalized_shape", "eps", "elementwise_affine")
    assert_same_constructor("RMSNorm", 5, (*OPTIONS, {"eps": 1e-3}), attributes)
    for features in (5, np.int64(5), [3, 5], (3, 5), torch.Size([3, 5])):
        assert_same_constructor("RMSNorm", features, [{}], attributes)
    meta = norms.RMSNorm((3, 5), device="meta", dtype=torch.float16).state_dict()
    assert {(t.device.type, t.dtype) for t in meta.values()} == {("meta", torch.float16)}


def test_the_gain_learns_without_help():
    assert norms.RMSNorm(6).weight.requires_grad


def test_reset_gives_gain_one_again():
    ours, _ = twins("RMSNorm", 6)
    ours.reset_parameters()
    assert ours.weight.tolist() == [1.0] * 6


@every_option
def test_nothing_given_is_overwritten(options, rng):
    """nano-vllm #170: x.float() is x itself in float32, and the residual stream was overwritten."""
    ours, _ = twins("RMSNorm", 6, dtype=torch.float32, **options)
    assert_nothing_is_overwritten(ours, *torch.randn(2, 4, 6))
    arrays = random_arrays(rng, (6,), (4, 6))
    assert_numpy_functions_overwrite_nothing(rms_norm_forward, rms_norm_backward, *arrays)


# 6. Training and evaluation are the same, and samples do not meet


@every_option
def test_training_and_evaluation_are_the_same_to_the_last_bit(options):
    ours, _ = twins("RMSNorm", 6, **options)
    x, dy = torch.randn(4, 3, 6, dtype=F64), torch.randn(4, 3, 6, dtype=F64)
    assert_training_is_evaluation(ours, x, dy)


@every_change
def test_samples_do_not_meet_and_no_token_sees_a_later_one(features, shape, changed):
    ours, _ = twins("RMSNorm", features)
    x, dy = torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
    assert_nothing_else_moves(ours, x, dy, changed)


# 7. Hard inputs


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.0])
def test_a_constant_sample_gives_its_sign_times_the_gain(constant):
    ours, theirs = twins("RMSNorm", 6)
    x, dy = torch.randn(4, 6, dtype=F64), torch.randn(4, 6, dtype=F64)
    x[1] = constant
    result = seen(ours, x, dy)
    # The machine epsilon of float64 beside 0.01 is 2e-14 of it, and half of that after the root.
    assert_close(result["y"][1], np.sign(constant) * ours.weight, rtol=1e-13, atol=0)
    assert_same(result, seen(theirs, x, dy))


def test_one_feature_becomes_its_sign_with_no_gradient(rng):
    x, dy, gamma = 5 * rng.normal(size=(7, 1)), rng.normal(size=(7, 1)), rng.normal(size=1)
    y, cache = rms_norm_forward(x, gamma, 1e-14)
    np.testing.assert_allclose(y, gamma * np.sign(x), rtol=1e-10)
    dx, dgamma = rms_norm_backward(dy, cache)
    np.testing.assert_allclose(dx, 0.0, atol=1e-10)  # one of one direction is gone
    np.testing.assert_allclose(dgamma, (dy * np.sign(x)).sum(0), rtol=1e-10)


def test_two_features_keep_their_angle_and_lose_their_length(rng):
    x = 5 * rng.normal(size=(7, 2))
    y, _ = rms_norm_forward(x, np.ones(2), 1e-14)
    np.testing.assert_allclose(np.arctan2(*y.T), np.arctan2(*x.T), rtol=1e-10)
    np.testing.assert_allclose((y**2).sum(1), 2.0, rtol=1e-10)


@pytest.mark.parametrize("scale", [1e-20, 1e-10, 1e-3, 1e3, 1e10, 1e18])
def test_tiny_and_huge_inputs(scale):
    """In float32: 1e18 squared still fits; 1e-20 squared is lost beside eps, in float64 too.

    At 1e18 torch's own gradient lacks its second term: the cube of 1e-18 is zero in float32.
    """
    ours, _ = twins("RMSNorm", 64, eps=EPS, dtype=torch.float32)
    assert_near_float64(ours, scale * torch.randn(8, 64), torch.randn(8, 64))


@pytest.mark.parametrize("scale", [1e20, 1e30])
@every_option
def test_where_squares_overflow_the_output_is_zero_as_in_torch(scale, options):
    ours, theirs = twins("RMSNorm", 64, dtype=torch.float32, **options)
    x, dy = scale * (1 + torch.rand(8, 64)), torch.randn(8, 64)
    result = seen(ours, x, dy)
    assert_same(result, seen(theirs, x, dy), rtol=0, atol=0)
    for value in result.values():
        assert not value.any()


@every_half
@pytest.mark.parametrize(
    "parameter_dtype", [None, torch.float32], ids=["half layer", "float layer"]
)
def test_half_precision_is_off_by_one_rounding(dtype, parameter_dtype):
    """Statistics in float32: x of size 300 overflows float16 when squared, as does its sum."""
    ours, theirs = twins("RMSNorm", 64, eps=EPS, dtype=parameter_dtype or dtype)
    x, dy = (50 + 300 * torch.randn(32, 64)).to(dtype), torch.randn(32, 64).to(dtype)
    assert_off_by_one_rounding(ours, theirs, x, dy)


@every_layout
@every_option
def test_memory_layout_does_not_matter(layout, options):
    ours, theirs = twins("RMSNorm", 5, **options)
    assert_layout_does_not_matter(ours, theirs, layout)


def test_the_result_is_contiguous_whatever_the_input():
    """So that view(-1) works behind it, as behind torch's."""
    x = torch.randn(2, 6, 5, dtype=F64).transpose(1, 2)
    for layer in twins("RMSNorm", 6):
        assert layer(x).is_contiguous()


def test_channels_last_images_are_taken():
    """Whole images, and the channels alone: permuted, and contiguous as they are."""
    x = torch.randn(2, 3, 4, 5, dtype=F64).to(memory_format=torch.channels_last)
    dy = torch.randn(2, 3, 4, 5, dtype=F64)
    ours, theirs = twins("RMSNorm", (3, 4, 5))
    assert_same(seen(ours, x, dy), seen(theirs, x.contiguous(), dy))
    ours, theirs = twins("RMSNorm", 3)
    x, dy = x.permute(0, 2, 3, 1), dy.permute(0, 2, 3, 1)
    assert x.is_contiguous()
    assert ours(x).stride() == theirs(x).stride()
    assert_same(seen(ours, x, dy), seen(theirs, x, dy))


# 8. In place of torch's layer


@every_kind
@every_option
def test_checkpoints_load_both_ways(features, shape, options):
    ours, theirs = norms.RMSNorm(features, **options), nn.RMSNorm(features, **options)
    assert_checkpoints_load_both_ways(ours, theirs, torch.randn(shape))


@pytest.mark.parametrize(("features", "shape"), [(3, (2, 2, 3)), ((2, 3), (2, 2, 3))], ids=str)
@every_option
def test_first_and_second_derivatives(features, shape, options):
    layer, _ = twins("RMSNorm", features, **options)
    assert differentiable(layer, torch.randn(shape, dtype=F64))


@every_option
def test_per_sample_gradients_by_vmap(options):
    ours, theirs = twins("RMSNorm", 4, **options)
    assert_per_sample_gradients(ours, theirs, torch.randn(5, 3, 4, dtype=F64))


@pytest.mark.parametrize("features", [4, 2, (3, 4)], ids=str)
@every_option
def test_ensembles_by_vmap(features, options):
    """Of parameters stacked by ``torch.func.stack_module_state``; two features as of any number."""
    pairs = [twins("RMSNorm", features, eps=1e-3, **options) for _ in range(3)]
    shape = (5, 3, 4) if features != 2 else (5, 3, 2)
    assert_ensembles_by_vmap(pairs, *torch.randn(2, 3, *shape, dtype=F64))


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_compiler
def test_compiled_training_equals_eager():
    layer, _ = twins("RMSNorm", 6)
    assert_compiled_equals_eager(layer, torch.randn(2, 2, 4, 3, 6, dtype=F64))


def test_copies_are_independent_and_equal():
    ours, _ = twins("RMSNorm", 6)
    x, dy = torch.randn(4, 6, dtype=F64), torch.randn(4, 6, dtype=F64)
    assert_copies_are_independent_and_equal(ours, x, dy)


@every_conversion
def test_conversion_equals_torch(convert):
    assert_conversion_equals_torch(*twins("RMSNorm", 6), convert, (4, 6))


def test_a_transformer_trains_the_same_with_our_layers_in_place_of_torchs():
    ours, theirs = (Transformer(library.RMSNorm).double() for library in (norms, nn))
    assert_trains_the_same(ours, theirs, *next_tokens(), lr=0.1)


def test_a_trained_transformer_keeps_its_logits_with_our_layers():
    tokens, labels = next_tokens()
    theirs = Transformer(nn.RMSNorm).double()
    train(theirs, tokens, labels, lr=0.1)
    ours = with_ours(theirs, "RMSNorm")
    assert_close(ours(tokens), theirs(tokens), rtol=1e-11, atol=1e-12)
    assert_close(ours.eval()(tokens), theirs.eval()(tokens), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_no_more_memory_is_kept_for_backward_than_by_torch(dtype):
    ours, theirs = twins("RMSNorm", 64, dtype=torch.float32)
    x = torch.randn(8, 16, 64, dtype=dtype, requires_grad=True)
    assert kept(ours, x) <= kept(theirs, x)


def test_without_gain_memory_is_kept_for_the_input_and_one_number_a_set():
    ours, _ = twins("RMSNorm", 64, dtype=torch.float32, **NO_GAIN)
    x = torch.randn(8, 16, 64, requires_grad=True)
    assert kept(ours, x) <= 4 * (x.numel() + 8 * 16)


# 9. What the paper claims, and what follows from it

scales = pytest.mark.parametrize("delta", [0.01, 3.0, 100.0])


@pytest.fixture
def before_rms():
    """Draw inputs x, a weight W, and an RMS norm behind it with random gain."""
    layer, _ = twins("RMSNorm", 6, eps=1e-14)  # the claims are exact without eps
    x, weight = torch.randn(8, 5, dtype=F64), torch.randn(6, 5, dtype=F64)
    dy = torch.randn(8, 6, dtype=F64)

    def gradients(w, inputs):
        leaf = w.detach().requires_grad_()
        return torch.autograd.grad(layer(inputs @ leaf.T), (leaf, layer.weight), dy)

    return x, weight, dy, layer, gradients


def test_output_lies_on_a_sphere_of_radius_root_d(rng):
    """Section 3: without gain ||y||^2 = D."""
    x = 3 + 5 * rng.normal(size=(7, 12))
    y, _ = rms_norm_forward(x, np.ones(12), 1e-14)
    np.testing.assert_allclose((y**2).sum(1), 12.0, rtol=1e-11)


def test_root_mean_square_is_deviation_and_mean_together(rng):
    """RMS^2 = sigma^2 + mu^2: it equals the deviation, and RMS norm layer norm, where mu = 0."""
    x = 3 + 5 * rng.normal(size=(7, 12))
    y, _ = rms_norm_forward(x, np.ones(12), 1e-14)
    size = np.sqrt(x.var(1, keepdims=True) + x.mean(1, keepdims=True) ** 2)
    np.testing.assert_allclose(y, x / size, rtol=1e-11)


@scales
def test_rescaling_the_weight_matrix_or_the_inputs_changes_no_output(before_rms, delta):
    """Equations 6 and 7: RMS(a x) = a RMS(x) for a > 0."""
    x, weight, _, layer, _ = before_rms
    y = layer(x @ weight.T)
    assert_close(layer(x @ (delta * weight).T), y, rtol=1e-9, atol=1e-9)
    assert_close(layer((delta * x) @ weight.T), y, rtol=1e-9, atol=1e-9)
    each = torch.logspace(-2, 2, 8, dtype=F64)[:, None]  # another delta for every sample
    assert_close(layer((each * x) @ weight.T), y, rtol=1e-9, atol=1e-9)


def test_a_negative_factor_is_no_invariance(before_rms):
    x, weight, _, layer, _ = before_rms
    y = layer(x @ weight.T)
    assert_close(layer(-x @ weight.T), -y, rtol=1e-9, atol=1e-9)
    assert y.norm() > 1


def test_recentring_or_rescaling_one_weight_vector_is_no_invariance(before_rms):
    """Table 1: "no" three times. Layer norm is invariant to the first."""
    x, weight, _, layer, _ = before_rms
    y, one = layer(x @ weight.T), weight.clone()
    one[2] *= 3
    common = weight + torch.randn(1, 5, dtype=F64)  # one row, added to every row
    shift = torch.randn(5, dtype=F64)
    for inputs, w in ((x, common), (x, one), (x + shift, weight)):
        assert (layer(inputs @ w.T) - y).norm() > 1
    centred = norms.LayerNorm(6, eps=1e-14, dtype=F64)
    assert_close(centred(x @ common.T), centred(x @ weight.T), rtol=1e-9, atol=1e-9)


@scales
def test_gradient_of_the_gain_does_not_see_the_scale_of_weights_and_inputs(before_rms, delta):
    """Equation 8: dL/dg = dL/dv Wx / RMS(Wx), summed over the samples."""
    x, weight, dy, _, gradients = before_rms
    a = x @ weight.T
    expected = (dy * a / a.square().mean(1, keepdim=True).sqrt()).sum(0)
    for w, inputs in ((weight, x), (delta * weight, x), (weight, delta * x)):
        assert_close(gradients(w, inputs)[1], expected, rtol=1e-9, atol=1e-9)


@scales
def test_gradient_of_the_weights_is_inverse_to_their_scale_and_blind_to_that_of_inputs(
    before_rms, delta
):
    """Equations 9 and 10: the gradient is R (g dL/dv) x^T, and delta divides R."""
    x, weight, dy, layer, gradients = before_rms
    dw, _ = gradients(weight, x)
    expected = torch.zeros_like(dw)
    for sample, upstream in zip(x, dy, strict=True):
        a = weight @ sample
        square = a.square().mean()
        r = (torch.eye(6, dtype=F64) - torch.outer(a, a) / (6 * square)) / square.sqrt()
        expected += torch.outer(r @ (layer.weight * upstream), sample)
    assert_close(dw, expected.detach(), rtol=1e-9, atol=1e-9)
    assert_close(delta * gradients(delta * weight, x)[0], dw, rtol=1e-8, atol=1e-9)
    assert_close(gradients(weight, delta * x)[0], dw, rtol=1e-8, atol=1e-9)


def test_gradient_is_orthogonal_to_the_whole_matrix_but_not_to_a_common_row(before_rms):
    """W + t W leaves the output, W + 1 gamma^T does not: layer norm's second direction is kept."""
    x, weight, _, _, gradients = before_rms
    dw, _ = gradients(weight, x)
    assert dw.norm() > 0.1
    assert abs((weight * dw).sum()) < 1e-10
    assert dw.sum(0).abs().min() > 1e-3
    stepped = weight - 0.5 * dw  # so a step only lengthens the matrix
    length = weight.square().sum() + 0.5**2 * dw.square().sum()
    assert_close(stepped.square().sum(), length, rtol=1e-11, atol=0)


@every_kind
def test_input_gradient_keeps_its_constant_part_and_eps_of_the_standardised_one(
    features, shape, rng
):
    x, dy, gamma = random_arrays(rng, features, shape)
    x, axes = 1e-2 * x, last_axes(len(features))  # a square of 1e-4, so that eps is seen
    _, cache = rms_norm_forward(x, gamma, EPS)
    dx, _ = rms_norm_backward(dy, cache)
    x_hat, rstd, _ = cache
    # Exactly, for any eps and any gain: <x_hat, dx> = r^3 eps <gamma dy, x_hat>.
    left = rstd**3 * EPS * (gamma * dy * x_hat).sum(axis=axes, keepdims=True)
    np.testing.assert_allclose((x_hat * dx).sum(axis=axes, keepdims=True), left, rtol=1e-10)
    assert np.abs(left).min() > 1e-3
    assert np.abs(dx.sum(axis=axes)).min() > 1e-3


def test_jacobian_projects_away_the_sample_itself():
    """Equation 9: J = diag(g) R, R = (I - a a^T / (D RMS^2)) / RMS, of rank D - 1."""
    layer, _ = twins("RMSNorm", 12, eps=1e-14)
    a = torch.randn(12, dtype=F64)
    square = a.square().mean()
    r = (torch.eye(12, dtype=F64) - torch.outer(a, a) / (12 * square)) / square.sqrt()
    found = jacobian(layer, a)
    assert_close(found, layer.weight[:, None] * r)
    assert torch.linalg.matrix_rank(found, atol=1e-9) == 11


def test_jacobian_over_samples_is_block_diagonal():
    layer, _ = twins("RMSNorm", 3)
    found = jacobian(layer, torch.randn(4, 3, dtype=F64))  # (sample, feature, sample, feature)
    for i, j in itertools.product(range(4), repeat=2):
        assert found[i, :, j].any() == (i == j)
