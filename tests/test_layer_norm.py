"""Layer norm, compared with torch, autograd, central differences and its paper."""

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
from norms.layer_norm import layer_norm_backward, layer_norm_forward
from norms.moments import last_axes

EPS = 1e-5
OPTIONS = ({}, {"bias": False}, NO_GAIN)
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


def random_arrays(rng, features, shape):
    """Draw x, dy, gamma, beta."""
    return (rng.normal(size=s) for s in (shape, shape, features, features))


# 1. Statistics of the output


@every_kind
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_output_has_mean_zero_and_the_variance_that_eps_leaves(features, shape, scale, rng):
    """Without gain and shift: they differ from feature to feature, and move both."""
    x, _, gamma, beta = random_arrays(rng, features, shape)
    x = scale * x + 2.0
    y, _ = layer_norm_forward(x, gamma, beta, EPS)
    x_hat, axes = (y - beta) / gamma, last_axes(len(features))
    var = x.var(axis=axes)
    np.testing.assert_allclose(x_hat.mean(axis=axes), 0.0, atol=1e-11)
    np.testing.assert_allclose(x_hat.var(axis=axes), var / (var + EPS), rtol=1e-9)


# 2. Forward equals torch's


@every_kind
def test_numpy_forward_equals_torch(features, shape, rng):
    x, _, gamma, beta = random_arrays(rng, features, shape)
    y, _ = layer_norm_forward(x, gamma, beta, 1e-3)
    expected = F.layer_norm(
        torch.from_numpy(x), features, *map(torch.from_numpy, (gamma, beta)), eps=1e-3
    )
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-12, atol=1e-13)


def test_default_eps_is_torchs(rng):
    assert norms.LayerNorm(6).eps == nn.LayerNorm(6).eps
    x, _, gamma, beta = random_arrays(rng, (6,), (4, 6))
    arrays = (1e-3 * x, gamma, beta)  # a variance of 1e-6, where eps is what counts
    np.testing.assert_array_equal(
        layer_norm_forward(*arrays)[0], layer_norm_forward(*arrays, nn.LayerNorm(6).eps)[0]
    )


# 3. Backward equals autograd, with random dy, gamma and beta


@every_kind
def test_numpy_backward_equals_autograd_of_torch(features, shape, rng):
    x, dy, gamma, beta = random_arrays(rng, features, shape)
    _, cache = layer_norm_forward(x, gamma, beta, EPS)
    leaves = [torch.from_numpy(a).requires_grad_() for a in (x, gamma, beta)]
    F.layer_norm(leaves[0], features, *leaves[1:], eps=EPS).backward(torch.from_numpy(dy))
    for ours, leaf in zip(layer_norm_backward(dy, cache), leaves, strict=True):
        assert ours.shape == leaf.shape
        np.testing.assert_allclose(ours, leaf.grad.numpy(), rtol=1e-10, atol=1e-12)


@every_kind
@every_option
def test_layer_equals_torch_forward_and_back(features, shape, options):
    ours, theirs = twins("LayerNorm", features, eps=1e-3, **options)
    x, dy = torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
    assert_same(seen(ours, x, dy), seen(theirs, x, dy))


def test_a_frozen_gain_gets_no_gradient():
    assert_a_frozen_gain_gets_no_gradient(twins("LayerNorm", 6)[0], torch.randn(4, 6, dtype=F64))


# 4. Central differences


@pytest.mark.parametrize(
    ("features", "shape"),
    [((5,), (5,)), ((4,), (3, 4)), ((4,), (2, 3, 4)), ((2, 3, 2), (2, 2, 3, 2)), ((2,), (3, 2))],
    ids=str,
)
@pytest.mark.parametrize("seed", range(3))
def test_backward_passes_central_differences(features, shape, seed):
    shapes = {"x": shape, "gamma": features, "beta": features}
    result = check_backward(layer_norm_forward, layer_norm_backward, shapes, seed=seed, eps=EPS)
    assert result.error < 1e-6, result


# 5. Shapes, dtypes and what is refused

# what is wrong: normalized_shape, options, the input, words of the message (came, expected, cure)
ALSO_REFUSED = {
    "0 dimensions": (6, {}, torch.ones(()), (r"\[\*, 6\]", r"size \[\]")),
    "too few axes": ((3, 6), {}, torch.ones(6), (r"\[\*, 3, 6\]", r"size \[6\]")),
    "complex": (6, {}, torch.ones(4, 6, dtype=torch.complex64), ("complex64", "real numbers")),
    "mixed dtypes": (6, {}, torch.ones(4, 6, dtype=F64), ("input is .*64", "weight .*32", "to")),
}


@pytest.mark.parametrize(
    ("features", "options", "x", "words"),
    [*REFUSED.values(), *ALSO_REFUSED.values()],
    ids=[*REFUSED, *ALSO_REFUSED],
)
@both_modes
def test_refuses_as_torch_does_and_names_the_cure(features, options, x, words, training):
    ours, theirs = twins("LayerNorm", features, training=training, dtype=torch.float32, **options)
    refusal, expected = both_refuse(ours, theirs, x, words)
    # Where torch finds integers beside its gain it says RuntimeError; ours is one of these.
    assert refusal in (expected, NotImplementedError)


def test_negative_eps_is_refused_where_torch_makes_nan_of_a_constant_sample():
    ours, theirs = twins("LayerNorm", 6, eps=-1e-5)
    assert theirs(torch.ones(1, 6, dtype=F64)).isnan().all()
    for x in (torch.ones(1, 6, dtype=F64), torch.randn(4, 6, dtype=F64)):
        with pytest.raises(ValueError, match=r"eps is -1e-05; .*such as 1e-5"):
            ours(x)


def test_eps_of_zero_is_taken_as_torch_takes_it():
    ours, theirs = twins("LayerNorm", 6, eps=0.0)
    x, dy = torch.randn(4, 6, dtype=F64), torch.randn(4, 6, dtype=F64)
    x[1] = 2.0  # constant: 0/0 in both
    result = seen(ours, x, dy)
    assert_same(result, seen(theirs, x, dy))
    assert result["y"][[0, 2, 3]].isfinite().all()


@every_option
def test_mixed_dtypes_are_accepted_exactly_where_torch_accepts_them(options):
    """The table over the dtypes of input, gain and shift, against torch itself."""

    def outcome(library, x_dtype, weight_dtype, bias_dtype):
        layer = library.LayerNorm(6, **options)
        for parameter, dtype in ((layer.weight, weight_dtype), (layer.bias, bias_dtype)):
            if parameter is not None:
                parameter.data = parameter.data.to(dtype)
        return dtype_or_refusal(layer, torch.randn(4, 6).to(x_dtype))

    for dtypes in itertools.product(DTYPES, repeat=3):
        assert outcome(norms, *dtypes) == outcome(nn, *dtypes), dtypes


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_go_into_their_own_sample_only(value):
    ours, theirs = twins("LayerNorm", 6)
    x, dy = torch.randn(4, 6, dtype=F64), torch.randn(4, 6, dtype=F64)
    x[1, 2] = value
    result = seen(ours, x, dy)
    assert_same(result, seen(theirs, x, dy))
    for key in ("y", "dx"):
        assert result[key][1].isnan().all()
        assert result[key][[0, 2, 3]].isfinite().all()


@every_empty_batch
@every_option
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_an_empty_batch_is_taken_and_teaches_nothing(features, shape, options):
    ours, theirs = twins("LayerNorm", features, **options)
    assert_an_empty_batch_teaches_nothing(ours, theirs, shape)


@pytest.mark.parametrize("shape", [(0, 3), (4, 0, 3), (4, 0)], ids=str)
def test_numpy_functions_take_an_empty_batch(shape):
    parameters = np.ones((2, shape[-1]))
    assert_numpy_functions_take_an_empty_batch(
        layer_norm_forward, layer_norm_backward, shape, *parameters
    )


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ({"x": torch.ones(4, 3)}, TypeError, r"x is a torch\.Tensor; .* x\.detach\(\)\.numpy\(\)"),
        ({"x": np.ones((4, 3), int)}, TypeError, r"x has dtype int64; .* x\.astype\(float\)"),
        ({"gamma": np.ones(3, int)}, TypeError, r"gamma has dtype int64; .* gamma\.astype"),
        ({"gamma": np.ones(4)}, ValueError, r"gamma has shape \(4,\).*Axis 0 .*np\.moveaxis"),
        ({"gamma": np.ones(1)}, ValueError, r"gamma has shape \(1,\).*such as \(3,\)"),
        ({"gamma": 1.0}, ValueError, r"gamma is a single number; .*np\.full\(\(3,\), 1\.0\)"),
        ({"beta": np.zeros(1)}, ValueError, r"beta has shape \(1,\).*such as \(3,\)"),
        ({"beta": np.zeros((4, 3))}, ValueError, r"beta has shape \(4, 3\); .*gamma, \(3,\)"),
        ({"eps": 0.0}, ValueError, r"eps is 0\.0; expected a positive number, such as 1e-5"),
        ({"eps": -1e-5}, ValueError, r"eps is -1e-05; expected a positive number"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_numpy_function_refuses_and_names_the_cure(arguments, exception, message):
    good = {"x": np.ones((4, 3)), "gamma": np.ones(3), "beta": np.zeros(3)}
    with pytest.raises(exception, match=message):
        layer_norm_forward(**{**good, **arguments})


def test_numpy_backward_refuses_what_does_not_fit():
    y, cache = layer_norm_forward(np.ones((4, 3)), np.ones(3), np.zeros(3))
    with pytest.raises(ValueError, match=r"dy has shape \(3,\); expected that of y, \(4, 3\)"):
        layer_norm_backward(y[0], cache)
    with pytest.raises(TypeError, match="dy has dtype int64"):
        layer_norm_backward(y.astype(int), cache)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_functions_keep_the_dtype(dtype, rng):
    arrays = (a.astype(dtype) for a in random_arrays(rng, (6,), (4, 6)))
    assert_numpy_functions_keep_the_dtype(layer_norm_forward, layer_norm_backward, *arrays)


def test_numpy_function_computes_half_precision_in_float32(rng):
    """Values of size 300: their squares, and the sum of these, overflow float16."""
    x, _, gamma, beta = (a.astype(np.float16) for a in random_arrays(rng, (64,), (4, 64)))
    x = 300 * x
    y, _ = layer_norm_forward(x, gamma, beta)
    exact, _ = layer_norm_forward(*(a.astype(float) for a in (x, gamma, beta)))
    # One rounding is half of 2^-10 of a value; the rest is float32's, of values of size 1.
    np.testing.assert_allclose(y, exact, rtol=0.51 * 2**-10, atol=1e-5)


def test_numpy_backward_computes_half_precision_in_float32(rng):
    """A gain of 300 times a gradient of size 300 does not fit float16, nor does a sum over 1,000 rows."""
    x, dy = 300 * rng.normal(size=(2, 1000, 8)).astype(np.float16)
    parameters = (np.full(8, 300, np.float32), np.ones(8, np.float32))
    forward = partial(layer_norm_forward, eps=EPS)
    assert_numpy_backward_is_computed_in_float32(forward, layer_norm_backward, x, dy, *parameters)


def test_constructor_is_torchs():
    attributes = ("normalized_shape", "eps", "elementwise_affine")
    assert_same_constructor("LayerNorm", 5, (*OPTIONS, {"eps": 1e-3}), attributes)
    for features in (5, np.int64(5), [3, 5], (3, 5), torch.Size([3, 5])):
        assert_same_constructor("LayerNorm", features, [{}], attributes)
    meta = norms.LayerNorm((3, 5), device="meta", dtype=torch.float16).state_dict()
    assert {(t.device.type, t.dtype) for t in meta.values()} == {("meta", torch.float16)}


def test_parameters_learn_without_help():
    """TinyTorch #1504: gain and shift had no gradient, and the test had switched it on itself."""
    assert all(parameter.requires_grad for parameter in norms.LayerNorm(6).parameters())


def test_reset_gives_gain_one_and_shift_zero_again():
    """The paper's supplement says zeros for the gain and ones for the shift: they are swapped."""
    ours, _ = twins("LayerNorm", 6)
    ours.reset_parameters()
    assert ours.weight.tolist() == [1.0] * 6
    assert ours.bias.tolist() == [0.0] * 6


@every_option
def test_nothing_given_is_overwritten(options, rng):
    ours, _ = twins("LayerNorm", 6, dtype=torch.float32, **options)
    assert_nothing_is_overwritten(ours, *torch.randn(2, 4, 6))
    arrays = random_arrays(rng, (6,), (4, 6))
    assert_numpy_functions_overwrite_nothing(layer_norm_forward, layer_norm_backward, *arrays)


# 6. Training and evaluation are the same, and samples do not meet


@every_option
def test_training_and_evaluation_are_the_same_to_the_last_bit(options):
    ours, _ = twins("LayerNorm", 6, **options)
    x, dy = torch.randn(4, 3, 6, dtype=F64), torch.randn(4, 3, 6, dtype=F64)
    assert_training_is_evaluation(ours, x, dy)


@every_change
def test_samples_do_not_meet_and_no_token_sees_a_later_one(features, shape, changed):
    ours, _ = twins("LayerNorm", features)
    x, dy = torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
    assert_nothing_else_moves(ours, x, dy, changed)


# 7. Hard inputs


@pytest.mark.parametrize("offset", [3e3, 1e4, -1e4])
def test_digits_are_kept_far_from_zero(offset):
    ours, _ = twins("LayerNorm", 64, dtype=torch.float32)
    x, dy = offset + torch.randn(16, 64), torch.randn(16, 64)
    expected, tolerance = assert_digits_are_kept_far_from_zero(ours, x, dy, ("y", "dx"))
    arrays = [t.detach().numpy() for t in (x, ours.weight, ours.bias)]
    y, _ = layer_norm_forward(*arrays)
    np.testing.assert_allclose(y, expected["y"].detach(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.0])
def test_a_constant_sample_gives_the_shift(constant):
    ours, theirs = twins("LayerNorm", 6)
    x, dy = torch.randn(4, 6, dtype=F64), torch.randn(4, 6, dtype=F64)
    x[1] = constant
    result = seen(ours, x, dy)
    # Rounding of the mean, 2e-16 of it, is multiplied by eps^-1/2 = 316.
    assert_close(result["y"][1], ours.bias, rtol=0, atol=1e-12)
    assert_same(result, seen(theirs, x, dy))


def test_one_feature_gives_the_shift_and_no_gradient_and_no_complaint():
    ours, theirs = twins("LayerNorm", 1, dtype=torch.float32)
    x, dy = torch.randn(4, 1), torch.randn(4, 1)
    result, torchs = seen(ours, x, dy), seen(theirs, x, dy)
    for key in ("y", "dx", "dbias"):
        assert_close(result[key], torchs[key])
    # Exactly. In torch rounding gives the gain a gradient, as large as x (pytorch #188372).
    x = 1e6 * x
    assert torch.equal(ours(x), ours.bias.expand(4, 1))
    assert not seen(ours, x, dy)["dx"].any()
    assert not seen(ours, x, dy)["dweight"].any()


def test_two_features_become_plus_and_minus_one_whatever_they_are(rng):
    x, dy = 5 * rng.normal(size=(7, 2)), rng.normal(size=(7, 2))
    gamma, beta = rng.normal(size=2), rng.normal(size=2)
    y, cache = layer_norm_forward(x, gamma, beta, 1e-14)
    sign = np.sign(x - x.mean(1, keepdims=True))
    np.testing.assert_allclose(y, gamma * sign + beta, rtol=1e-10)
    dx, dgamma, _ = layer_norm_backward(dy, cache)
    np.testing.assert_allclose(dx, 0.0, atol=1e-10)  # two of two directions are gone
    np.testing.assert_allclose(dgamma, (dy * sign).sum(0), rtol=1e-10)


@pytest.mark.parametrize("scale", [1e-20, 1e-10, 1e-3, 1e3, 1e10, 1e18])
def test_tiny_and_huge_inputs(scale):
    """In float32: 1e18 squared still fits; 1e-20 squared is lost beside eps, in float64 too."""
    ours, _ = twins("LayerNorm", 64, dtype=torch.float32)
    assert_near_float64(ours, scale * torch.randn(8, 64), torch.randn(8, 64))


@every_half
@pytest.mark.parametrize(
    "parameter_dtype", [None, torch.float32], ids=["half layer", "float layer"]
)
def test_half_precision_is_off_by_one_rounding(dtype, parameter_dtype):
    """Statistics in float32: x of size 300 overflows float16 when squared, as does its sum."""
    ours, theirs = twins("LayerNorm", 64, dtype=parameter_dtype or dtype)
    x, dy = (50 + 300 * torch.randn(32, 64)).to(dtype), torch.randn(32, 64).to(dtype)
    assert_off_by_one_rounding(ours, theirs, x, dy)


@every_layout
@every_option
def test_memory_layout_does_not_matter(layout, options):
    ours, theirs = twins("LayerNorm", 5, **options)
    assert_layout_does_not_matter(ours, theirs, layout)


def test_the_result_is_contiguous_whatever_the_input():
    """So that view(-1) works behind it, as behind torch's."""
    x = torch.randn(2, 6, 5, dtype=F64).transpose(1, 2)
    for layer in twins("LayerNorm", 6):
        assert layer(x).is_contiguous()


def test_channels_last_images_are_taken():
    """Whole images, and the channels alone as in ConvNeXt: permuted, and contiguous as they are."""
    x = torch.randn(2, 3, 4, 5, dtype=F64).to(memory_format=torch.channels_last)
    dy = torch.randn(2, 3, 4, 5, dtype=F64)
    ours, theirs = twins("LayerNorm", (3, 4, 5))
    assert_same(seen(ours, x, dy), seen(theirs, x.contiguous(), dy))
    ours, theirs = twins("LayerNorm", 3)
    x, dy = x.permute(0, 2, 3, 1), dy.permute(0, 2, 3, 1)
    assert x.is_contiguous()
    assert ours(x).stride() == theirs(x).stride()
    assert_same(seen(ours, x, dy), seen(theirs, x, dy))


# 8. In place of torch's layer


@every_kind
@every_option
def test_checkpoints_load_both_ways(features, shape, options):
    ours, theirs = norms.LayerNorm(features, **options), nn.LayerNorm(features, **options)
    assert_checkpoints_load_both_ways(ours, theirs, torch.randn(shape))


@pytest.mark.parametrize(("features", "shape"), [(3, (2, 2, 3)), ((2, 3), (2, 2, 3))], ids=str)
@every_option
def test_first_and_second_derivatives(features, shape, options):
    layer, _ = twins("LayerNorm", features, **options)
    assert differentiable(layer, torch.randn(shape, dtype=F64))


def test_the_third_derivative_is_that_of_plain_operations():
    """Torch 2.13's own is not: off by as much as it is large."""
    x, *directions = torch.randn(4, 3, 5, dtype=F64)

    def plain(x):
        centred = x - x.mean(-1, keepdim=True)
        return centred * ((centred**2).mean(-1, keepdim=True) + 1e-5) ** -0.5

    def third(function):
        leaf = x.clone().requires_grad_()
        gradient = function(leaf)
        for direction in directions:
            gradient = torch.autograd.grad(gradient, leaf, direction, create_graph=True)[0]
        return gradient

    ours, _ = twins("LayerNorm", 5, elementwise_affine=False)
    assert_close(third(ours), third(plain), rtol=1e-10, atol=1e-12)


@every_option
def test_per_sample_gradients_by_vmap(options):
    ours, theirs = twins("LayerNorm", 4, **options)
    assert_per_sample_gradients(ours, theirs, torch.randn(5, 3, 4, dtype=F64))


@pytest.mark.parametrize("features", [4, 2, (3, 4)], ids=str)
@every_option
def test_ensembles_by_vmap(features, options):
    """Of parameters stacked by ``torch.func.stack_module_state``; two features as of any number."""
    pairs = [twins("LayerNorm", features, eps=1e-3, **options) for _ in range(3)]
    shape = (5, 3, 4) if features != 2 else (5, 3, 2)
    assert_ensembles_by_vmap(pairs, *torch.randn(2, 3, *shape, dtype=F64))


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_compiler
def test_compiled_training_equals_eager():
    layer, _ = twins("LayerNorm", 6)
    assert_compiled_equals_eager(layer, torch.randn(2, 2, 4, 3, 6, dtype=F64))


def test_copies_are_independent_and_equal():
    ours, _ = twins("LayerNorm", 6)
    x, dy = torch.randn(4, 6, dtype=F64), torch.randn(4, 6, dtype=F64)
    assert_copies_are_independent_and_equal(ours, x, dy)


@every_conversion
def test_conversion_equals_torch(convert):
    assert_conversion_equals_torch(*twins("LayerNorm", 6), convert, (4, 6))


def test_a_transformer_trains_the_same_with_our_layers_in_place_of_torchs():
    ours, theirs = (Transformer(library.LayerNorm).double() for library in (norms, nn))
    assert_trains_the_same(ours, theirs, *next_tokens(), lr=0.1)


def test_a_trained_transformer_keeps_its_logits_with_our_layers():
    tokens, labels = next_tokens()
    theirs = Transformer(nn.LayerNorm).double()
    train(theirs, tokens, labels, lr=0.1)
    ours = with_ours(theirs, "LayerNorm")
    assert_close(ours(tokens), theirs(tokens), rtol=1e-11, atol=1e-12)
    assert_close(ours.eval()(tokens), theirs.eval()(tokens), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("norm_first", [True, False], ids=["pre-norm", "post-norm"])
@pytest.mark.parametrize("gradients", [True, False], ids=["gradients", "no gradients"])
@both_modes
def test_torchs_own_encoder_takes_our_layers(norm_first, gradients, training):
    """Without gradients torch evaluates by one fused call, which reads their weight, bias and eps."""
    layer = nn.TransformerEncoderLayer(
        8, 2, 16, dropout=0.0, layer_norm_eps=1e-2, batch_first=True, norm_first=norm_first
    )
    theirs = nn.TransformerEncoder(layer, 2, nn.LayerNorm(8), enable_nested_tensor=False).double()
    for parameter in theirs.parameters():
        nn.init.normal_(parameter)
    ours = with_ours(theirs, "LayerNorm").train(training)
    theirs.train(training)
    x = torch.randn(3, 5, 8, dtype=F64)
    with torch.set_grad_enabled(gradients):
        assert_close(ours(x), theirs(x), rtol=1e-10, atol=1e-11)


@pytest.mark.parametrize(
    ("options", "dtype"), [*((o, torch.float32) for o in OPTIONS), ({}, torch.bfloat16)], ids=str
)
def test_no_more_memory_is_kept_for_backward_than_by_torch(options, dtype):
    # In bfloat16 without a float32 gain, torch keeps the statistics in bfloat16: two bytes less
    # for each, and their digits.
    ours, theirs = twins("LayerNorm", 64, dtype=torch.float32, **options)
    x = torch.randn(8, 16, 64, dtype=dtype, requires_grad=True)
    assert kept(ours, x) <= kept(theirs, x)


# 9. What the paper claims, and what follows from it

scales = pytest.mark.parametrize("delta", [0.01, 3.0, 100.0])


@pytest.fixture
def before_ln():
    """Draw inputs x, a weight W, and a layer norm behind it with random gain and shift."""
    layer, _ = twins("LayerNorm", 6, eps=1e-14)  # the claims are exact without eps
    x, weight = torch.randn(8, 5, dtype=F64), torch.randn(6, 5, dtype=F64)
    dy = torch.randn(8, 6, dtype=F64)

    def gradient(w):
        leaf = w.detach().requires_grad_()
        (dw,) = torch.autograd.grad(layer(x @ leaf.T), leaf, dy)
        return dw

    return x, weight, layer, gradient


@scales
def test_rescaling_and_recentring_the_weight_matrix_changes_nothing(before_ln, delta):
    """Equation 6: LN(W'x) = LN(Wx) for W' = delta W + 1 gamma^T, and d/dW' is 1/delta of d/dW."""
    x, weight, layer, gradient = before_ln
    moved = delta * weight + torch.randn(1, 5, dtype=F64)  # one row, added to every row
    assert_close(layer(x @ moved.T), layer(x @ weight.T), rtol=1e-9, atol=1e-9)
    assert_close(delta * gradient(moved), gradient(weight), rtol=1e-8, atol=1e-9)


def test_rescaling_each_sample_by_itself_changes_nothing(before_ln):
    """Section 5.1: x' = delta x, with another delta for every sample."""
    x, weight, layer, _ = before_ln
    delta = torch.logspace(-2, 2, 8, dtype=F64)[:, None]
    assert_close(layer(delta * x @ weight.T), layer(x @ weight.T), rtol=1e-9, atol=1e-9)


def test_a_negative_factor_is_no_invariance(before_ln):
    """Some say "any factor"; LN(-x) - beta is -(LN(x) - beta)."""
    x, weight, layer, _ = before_ln
    y, negative = layer(x @ weight.T), layer(-x @ weight.T)
    assert_close(negative - layer.bias, layer.bias - y, rtol=1e-9, atol=1e-9)
    assert (negative - y).norm() > 1


def test_rescaling_one_weight_vector_or_shifting_the_inputs_is_no_invariance(before_ln):
    """Table 1: "no" twice. Batch norm is invariant to both."""
    x, weight, layer, _ = before_ln
    y, one = layer(x @ weight.T), weight.clone()
    one[2] *= 3
    shift = torch.randn(5, dtype=F64)
    batch = norms.BatchNorm1d(6, eps=1e-14, dtype=F64)
    for inputs, w in ((x, one), (x + shift, weight)):
        assert (layer(inputs @ w.T) - y).norm() > 1
        assert_close(batch(inputs @ w.T), batch(x @ weight.T), rtol=1e-9, atol=1e-9)


def test_gradient_is_orthogonal_to_the_whole_matrix_and_to_a_common_row(before_ln):
    """W + t W and W + 1 gamma^T leave the output; a single row w of W has no <w, dw> = 0."""
    _, weight, _, gradient = before_ln
    dw = gradient(weight)
    assert dw.norm() > 0.1
    assert abs((weight * dw).sum()) < 1e-10
    assert_close(dw.sum(0), torch.zeros(5, dtype=F64), rtol=0, atol=1e-10)
    assert (weight * dw).sum(1).abs().max() > 0.1
    stepped = weight - 0.5 * dw  # so a step only lengthens the matrix
    length = weight.square().sum() + 0.5**2 * dw.square().sum()
    assert_close(stepped.square().sum(), length, rtol=1e-11, atol=0)


@every_kind
def test_input_gradient_has_no_constant_part_and_eps_of_the_standardised_one(features, shape, rng):
    x, dy, gamma, beta = random_arrays(rng, features, shape)
    x, axes = 1e-2 * x, last_axes(len(features))  # a variance of 1e-4, so that eps is seen
    _, cache = layer_norm_forward(x, gamma, beta, EPS)
    dx, _, _ = layer_norm_backward(dy, cache)
    x_hat, rstd, _ = cache
    np.testing.assert_allclose(dx.sum(axis=axes), 0.0, atol=1e-11)
    # Exactly, for any eps and any gain: <x_hat, dx> = r^3 eps <gamma dy, x_hat>.
    left = rstd**3 * EPS * (gamma * dy * x_hat).sum(axis=axes, keepdims=True)
    np.testing.assert_allclose((x_hat * dx).sum(axis=axes, keepdims=True), left, rtol=1e-10)
    assert np.abs(left).min() > 1e-3


def test_jacobian_projects_away_the_constant_direction_and_the_sample_itself():
    """J = r diag(gamma) (I - 1 1^T / D - x_hat x_hat^T / D), of rank D - 2."""
    layer, _ = twins("LayerNorm", 12, eps=1e-14)
    x, one = torch.randn(12, dtype=F64), torch.ones(12, dtype=F64)
    rstd = x.var(correction=0) ** -0.5
    x_hat = rstd * (x - x.mean())
    removed = (torch.outer(one, one) + torch.outer(x_hat, x_hat)) / 12
    found = jacobian(layer, x)
    assert_close(found, rstd * layer.weight[:, None] * (torch.eye(12, dtype=F64) - removed))
    assert torch.linalg.matrix_rank(found, atol=1e-9) == 10


def test_jacobian_over_samples_is_block_diagonal():
    layer, _ = twins("LayerNorm", 3)
    found = jacobian(layer, torch.randn(4, 3, dtype=F64))  # (sample, feature, sample, feature)
    for i, j in itertools.product(range(4), repeat=2):
        assert found[i, :, j].any() == (i == j)
