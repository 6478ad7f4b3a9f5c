"""Group norm, compared with torch, autograd, central differences and its paper."""

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
    every_conversion,
    every_half,
    every_layout,
    kept,
    needs_compiler,
    seen,
    train,
    twins,
    with_ours,
)

import norms
from norms.gradcheck import check_backward
from norms.group_norm import group_norm_backward, group_norm_forward

EPS = 1e-5
KINDS = {  # the number of groups, and the shape of the input
    "samples": (3, (4, 6)),
    "with length": (2, (4, 6, 5)),
    "maps": (3, (4, 6, 5, 4)),
    "volumes": (2, (2, 6, 4, 3, 2)),
    "six axes": (3, (2, 6, 2, 1, 3, 2)),
    "one sample": (2, (1, 6, 5, 4)),
    "one group": (1, (4, 6, 5, 4)),
    "groups of one channel": (6, (4, 6, 5, 4)),
}
every_kind = pytest.mark.parametrize(("groups", "shape"), KINDS.values(), ids=KINDS)
OPTIONS = ({}, {"bias": False}, {"affine": False})
every_option = pytest.mark.parametrize("options", OPTIONS, ids=str)


def random_arrays(rng, shape):
    """Draw x, dy, gamma, beta."""
    channels = (shape[1],)
    return (rng.normal(size=s) for s in (shape, shape, channels, channels))


def sets(array, groups):
    """Flatten each group of each sample: (N, G, m). Torch's order is that of the memory."""
    return array.reshape(array.shape[0], groups, -1)


def per_channel(vector, array):
    return vector.reshape(1, -1, *[1] * (array.ndim - 2))


# 1. Statistics of the output


@every_kind
@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3])
def test_output_has_mean_zero_and_the_variance_that_eps_leaves(groups, shape, scale, rng):
    """Without gain and shift: they differ from channel to channel, and move both."""
    x, _, gamma, beta = random_arrays(rng, shape)
    x = scale * x + 2.0
    y, _ = group_norm_forward(x, gamma, beta, groups, EPS)
    x_hat = sets((y - per_channel(beta, y)) / per_channel(gamma, y), groups)
    var = sets(x, groups).var(axis=2)
    np.testing.assert_allclose(x_hat.mean(axis=2), 0.0, atol=1e-11)
    np.testing.assert_allclose(x_hat.var(axis=2), var / (var + EPS), rtol=1e-9)


# 2. Forward equals torch's


@every_kind
def test_numpy_forward_equals_torch(groups, shape, rng):
    x, _, gamma, beta = random_arrays(rng, shape)
    y, _ = group_norm_forward(x, gamma, beta, groups, 1e-3)
    x, gamma, beta = map(torch.from_numpy, (x, gamma, beta))
    expected = F.group_norm(x, groups, gamma, beta, eps=1e-3)
    np.testing.assert_allclose(y, expected.numpy(), rtol=1e-11, atol=1e-13)


def test_default_eps_is_torchs(rng):
    assert norms.GroupNorm(2, 6).eps == nn.GroupNorm(2, 6).eps
    x, _, gamma, beta = random_arrays(rng, (4, 6))
    arrays = (1e-3 * x, gamma, beta, 2)  # a variance of 1e-6, where eps is what counts
    np.testing.assert_array_equal(
        group_norm_forward(*arrays)[0], group_norm_forward(*arrays, nn.GroupNorm(2, 6).eps)[0]
    )


# 3. Backward equals autograd, with random dy, gamma and beta


@every_kind
def test_numpy_backward_equals_autograd_of_torch(groups, shape, rng):
    x, dy, gamma, beta = random_arrays(rng, shape)
    _, cache = group_norm_forward(x, gamma, beta, groups, EPS)
    leaves = [torch.from_numpy(a).requires_grad_() for a in (x, gamma, beta)]
    F.group_norm(leaves[0], groups, *leaves[1:], eps=EPS).backward(torch.from_numpy(dy))
    for ours, leaf in zip(group_norm_backward(dy, cache), leaves, strict=True):
        assert ours.shape == leaf.shape
        np.testing.assert_allclose(ours, leaf.grad.numpy(), rtol=1e-10, atol=1e-12)


@every_kind
@every_option
def test_layer_equals_torch_forward_and_back(groups, shape, options):
    ours, theirs = twins("GroupNorm", groups, 6, eps=1e-3, **options)
    x, dy = torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
    assert_same(seen(ours, x, dy), seen(theirs, x, dy))


def test_a_frozen_gain_gets_no_gradient():
    layer, _ = twins("GroupNorm", 2, 6)
    assert_a_frozen_gain_gets_no_gradient(layer, torch.randn(4, 6, dtype=F64))


# 4. Central differences


@pytest.mark.parametrize(
    ("groups", "shape"),
    [(2, (3, 6)), (2, (2, 4, 3)), (1, (2, 4, 2, 2)), (4, (2, 4, 2, 2)), (2, (2, 4, 2, 1, 2))],
    ids=str,
)
@pytest.mark.parametrize("seed", range(3))
def test_backward_passes_central_differences(groups, shape, seed):
    shapes = {"x": shape, "gamma": shape[1:2], "beta": shape[1:2]}
    forward = partial(group_norm_forward, num_groups=groups, eps=EPS)
    result = check_backward(forward, group_norm_backward, shapes, seed=seed)
    assert result.error < 1e-6, result


# 5. Shapes, dtypes and what is refused

NO_GAIN = {"affine": False}
# what is wrong: groups of 6 channels, options, the input, words of the message (came, expected, cure)
REFUSED = {
    "0 dimensions": (2, {}, torch.ones(()), ("at least 2", r"shape \(\)", r"\(N, C\)")),
    "1 dimension": (2, {}, torch.ones(6), (r"shape \(6,\)", r"\(N, C, \*\)", r"unsqueeze\(0\)")),
    "channels": (2, {}, torch.ones(4, 8), (r"\(4, 8\)", "8 channels", "built for 6")),
    "one channel": (2, {}, torch.ones(4, 1), (r"\(4, 1\)", "1 channels", "built for 6")),
    "channels, no gain": (2, NO_GAIN, torch.ones(4, 5), ("5 channels", "num_groups=2", "from 1, 5")),
    "integers, no gain": (2, NO_GAIN, torch.ones(4, 6, dtype=torch.int64), ("int64", r"x\.float\(\)")),
    "complex, no gain": (2, NO_GAIN, torch.ones(4, 6, dtype=torch.complex64), ("complex64", "real numbers")),
    "mixed dtypes": (2, {}, torch.ones(4, 6, dtype=F64), ("input is .*64", "weight .*32", "to")),
    "one value": (6, {}, torch.ones(1, 6), (r"\(1, 6\)", "6 groups", "fewer groups")),
    "one pixel": (6, {}, torch.ones(1, 6, 1, 1), (r"1, 1\)", "6 groups", "larger maps")),
    "one value, no gain": (6, NO_GAIN, torch.ones(1, 6), (r"\(1, 6\)", "6 groups", "fewer groups")),
    "one value, not divisible": (2, NO_GAIN, torch.ones(1, 3), (r"\(1, 3\)", "2 groups")),
    "eps in words": (2, {"eps": "1e-5"}, torch.ones(4, 6), ("eps is a str", r"float\('1e-5'\)")),
}  # fmt: skip


@pytest.mark.parametrize(
    ("groups", "options", "x", "words"), list(REFUSED.values()), ids=list(REFUSED)
)
@both_modes
def test_refuses_as_torch_does_and_names_the_cure(groups, options, x, words, training):
    ours, theirs = twins("GroupNorm", groups, 6, training=training, dtype=torch.float32, **options)
    refusal, expected = both_refuse(ours, theirs, x, words)
    assert refusal is expected


@pytest.mark.parametrize("dtype", [torch.int64, torch.bool, torch.complex64], ids=str)
def test_what_is_not_floating_point_is_refused_for_that_reason(dtype):
    """Beside a gain torch complains of mixed dtypes: RuntimeError; ours is one of these."""
    ours, theirs = twins("GroupNorm", 2, 6, dtype=torch.float32)
    words = (str(dtype).removeprefix("torch."), "not implemented", "give")
    refusal, _ = both_refuse(ours, theirs, torch.ones(4, 6, dtype=dtype), words)
    assert refusal is NotImplementedError


@pytest.mark.parametrize("groups", [4, 5, 12])
def test_groups_that_do_not_fit_are_refused_when_the_layer_is_built(groups):
    for library in (nn, norms):
        with pytest.raises(ValueError, match="divi") as refusal:
            library.GroupNorm(groups, 6)
    assert str(refusal.value).endswith(f"num_groups={groups} groups of the same size: take "
                                       "num_groups from 1, 2, 3, 6")  # fmt: skip


@pytest.mark.parametrize(("groups", "exception"), [(0, ValueError), (-2, ValueError), (2.0, TypeError)])  # fmt: skip
def test_a_number_of_groups_that_is_none_is_refused_when_the_layer_is_built(groups, exception):
    """Torch divides by zero, or builds a layer that fails at its first input."""
    with pytest.raises((ZeroDivisionError, RuntimeError, TypeError)):
        nn.GroupNorm(groups, 6)(torch.ones(4, 6))
    with pytest.raises(exception, match=r"num_groups.*(1, 2, 3, 6|expected an integer)"):
        norms.GroupNorm(groups, 6)


@pytest.mark.parametrize("x", [np.ones((4, 6), np.float32), [[1.0] * 6] * 4], ids=["array", "list"])
def test_layer_wants_a_tensor(x):
    # torch lets an AttributeError escape; ours says what to do.
    with pytest.raises(TypeError, match=r"input is a (ndarray|list).*torch\.as_tensor\(x\)"):
        norms.GroupNorm(2, 6)(x)


def test_without_gain_other_channels_are_taken_as_torch_takes_them():
    ours, theirs = twins("GroupNorm", 2, 6, affine=False)
    x, dy = torch.randn(4, 8, dtype=F64), torch.randn(4, 8, dtype=F64)
    assert_same(seen(ours, x, dy), seen(theirs, x, dy))


def test_negative_eps_is_refused_where_torch_makes_nan_of_a_constant_group():
    ours, theirs = twins("GroupNorm", 2, 6, eps=-1e-5)
    assert theirs(torch.ones(2, 6, dtype=F64)).isnan().all()
    for x in (torch.ones(2, 6, dtype=F64), torch.randn(4, 6, dtype=F64)):
        with pytest.raises(ValueError, match=r"eps is -1e-05; .*such as 1e-5"):
            ours(x)


def test_eps_of_zero_is_taken_as_torch_takes_it():
    ours, theirs = twins("GroupNorm", 2, 6, eps=0.0)
    x, dy = torch.randn(4, 6, dtype=F64), torch.randn(4, 6, dtype=F64)
    x[1, :3] = 2.0  # constant: 0/0 in both
    result = seen(ours, x, dy)
    assert_same(result, seen(theirs, x, dy))
    assert result["y"][1, 3:].isfinite().all()


@every_option
def test_mixed_dtypes_are_accepted_exactly_where_torch_accepts_them(options):
    """The table over the dtypes of input, gain and shift, against torch itself."""

    def outcome(library, x_dtype, weight_dtype, bias_dtype):
        layer = library.GroupNorm(2, 6, **options)
        for parameter, dtype in ((layer.weight, weight_dtype), (layer.bias, bias_dtype)):
            if parameter is not None:
                parameter.data = parameter.data.to(dtype)
        return dtype_or_refusal(layer, torch.randn(4, 6).to(x_dtype))

    for dtypes in itertools.product(DTYPES, repeat=3):
        assert outcome(norms, *dtypes) == outcome(nn, *dtypes), dtypes


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_nan_and_infinity_go_into_their_own_group_only(value):
    ours, theirs = twins("GroupNorm", 3, 6)
    x, dy = torch.randn(4, 6, 2, 2, dtype=F64), torch.randn(4, 6, 2, 2, dtype=F64)
    x[1, 2, 0, 1] = value
    result = seen(ours, x, dy)
    assert_same(result, seen(theirs, x, dy))
    for key in ("y", "dx"):
        assert not result[key][1, 2:4].isfinite().any()
        result[key].data[1, 2:4] = 0.0
        assert result[key].isfinite().all()


EMPTY = {
    "no samples": (2, (0, 6)),
    "no samples, groups of one": (6, (0, 6)),
    "no images": (2, (0, 6, 4, 4)),
    "no volumes": (2, (0, 6, 2, 2, 2)),
    "no channels": (2, (4, 0, 3)),
}


@pytest.mark.parametrize(("groups", "shape"), EMPTY.values(), ids=EMPTY)
@every_option
@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
def test_an_empty_batch_is_taken_and_teaches_nothing(groups, shape, options):
    ours, theirs = twins("GroupNorm", groups, shape[1], **options)
    assert_an_empty_batch_teaches_nothing(ours, theirs, shape)


@pytest.mark.parametrize("shape", [(4, 6, 0), (4, 6, 4, 0)], ids=str)
def test_maps_without_places_teach_nothing_where_torch_spoils_the_gain(shape):
    ours, theirs = twins("GroupNorm", 2, 6)
    x = torch.randn(shape, dtype=F64)
    result, torchs = seen(ours, x, x), seen(theirs, x, x)
    assert torchs.pop("dweight").isnan().all()
    assert not result.pop("dweight").any()
    assert_same(result, torchs)


@pytest.mark.parametrize("shape", [(0, 6), (4, 6, 0), (4, 0)], ids=str)
def test_numpy_functions_take_an_empty_batch(shape):
    forward, parameters = partial(group_norm_forward, num_groups=2), np.ones((2, shape[1]))
    assert_numpy_functions_take_an_empty_batch(forward, group_norm_backward, shape, *parameters)


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ({"x": torch.ones(4, 6)}, TypeError, r"x is a torch\.Tensor; .* x\.detach\(\)\.numpy\(\)"),
        ({"x": np.ones((4, 6), int)}, TypeError, r"x has dtype int64; .* x\.astype\(float\)"),
        ({"gamma": np.ones(6, int)}, TypeError, r"gamma has dtype int64; .* gamma\.astype"),
        ({"x": np.ones(6)}, ValueError, r"x has shape \(6,\); expected \(N, C\).*x\[None\]"),
        ({"gamma": np.ones(2)}, ValueError, r"gamma has shape \(2,\).*C = 6.*shape \(6,\)"),
        ({"beta": np.ones((1, 6))}, ValueError, r"beta has shape \(1, 6\).*C = 6.*shape \(6,\)"),
        ({"num_groups": 4}, ValueError, r"6 channels .*num_groups=4 .* from 1, 2, 3, 6$"),
        ({"num_groups": 0}, ValueError, r"6 channels .*num_groups=0 .* from 1, 2, 3, 6$"),
        ({"num_groups": -2}, ValueError, r"6 channels .*num_groups=-2 .* from 1, 2, 3, 6$"),
        ({"num_groups": 2.0}, TypeError, r"num_groups is a float; expected an integer"),
        ({"eps": 0.0}, ValueError, r"eps is 0\.0; expected a positive number, such as 1e-5"),
        ({"eps": -1e-5}, ValueError, r"eps is -1e-05; expected a positive number"),
    ],
    ids=lambda value: str(next(iter(value))) if isinstance(value, dict) else "",
)
def test_numpy_function_refuses_and_names_the_cure(arguments, exception, message):
    good = {"x": np.ones((4, 6)), "gamma": np.ones(6), "beta": np.zeros(6), "num_groups": 2}
    with pytest.raises(exception, match=message):
        group_norm_forward(**{**good, **arguments})


def test_numpy_backward_refuses_what_does_not_fit():
    y, cache = group_norm_forward(np.ones((4, 6)), np.ones(6), np.zeros(6), 2)
    with pytest.raises(ValueError, match=r"dy has shape \(6,\); expected that of y, \(4, 6\)"):
        group_norm_backward(y[0], cache)
    with pytest.raises(TypeError, match="dy has dtype int64"):
        group_norm_backward(y.astype(int), cache)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_numpy_functions_keep_the_dtype(dtype, rng):
    arrays = (a.astype(dtype) for a in random_arrays(rng, (4, 6, 5)))
    forward = partial(group_norm_forward, num_groups=2)
    assert_numpy_functions_keep_the_dtype(forward, group_norm_backward, *arrays)


def test_numpy_function_computes_half_precision_in_float32(rng):
    """Values of size 300: their squares, and the sum of these, overflow float16."""
    x, _, gamma, beta = (a.astype(np.float16) for a in random_arrays(rng, (4, 6, 64)))
    x = 300 * x
    y, _ = group_norm_forward(x, gamma, beta, 2)
    exact, _ = group_norm_forward(*(a.astype(float) for a in (x, gamma, beta)), 2)
    # One rounding is half of 2^-10 of a value; the rest is float32's, of values of size 1.
    np.testing.assert_allclose(y, exact, rtol=0.51 * 2**-10, atol=1e-5)


def test_numpy_backward_computes_half_precision_in_float32(rng):
    """A gain of 300 times a gradient of size 300 does not fit float16, nor does a sum over 1,000 rows."""
    x, dy = 300 * rng.normal(size=(2, 1000, 8)).astype(np.float16)
    parameters = np.full(8, 300, np.float32), np.ones(8, np.float32)
    forward = partial(group_norm_forward, num_groups=2)
    assert_numpy_backward_is_computed_in_float32(forward, group_norm_backward, x, dy, *parameters)


def test_constructor_is_torchs():
    options = [{"num_channels": 6, **chosen} for chosen in (*OPTIONS, {"eps": 1e-3})]
    attributes = ("num_groups", "num_channels", "eps", "affine")
    for groups in (3, np.int64(3), 1, 6):
        assert_same_constructor("GroupNorm", groups, options, attributes)
    meta = norms.GroupNorm(3, 6, device="meta", dtype=torch.float16).state_dict()
    assert {(t.device.type, t.dtype) for t in meta.values()} == {("meta", torch.float16)}


def test_parameters_learn_without_help():
    assert all(parameter.requires_grad for parameter in norms.GroupNorm(2, 6).parameters())


@every_option
def test_reset_equals_torch(options):
    ours, theirs = twins("GroupNorm", 2, 6, **options)
    for layer in (ours, theirs):
        layer.reset_parameters()
    assert_same(ours.state_dict(), theirs.state_dict(), rtol=0, atol=0)


@every_option
def test_nothing_given_is_overwritten(options, rng):
    ours, _ = twins("GroupNorm", 2, 6, dtype=torch.float32, **options)
    assert_nothing_is_overwritten(ours, *torch.randn(2, 4, 6, 5))
    forward = partial(group_norm_forward, num_groups=2)
    arrays = random_arrays(rng, (4, 6, 5))
    assert_numpy_functions_overwrite_nothing(forward, group_norm_backward, *arrays)


# 6. Training and evaluation are the same, and neither samples nor groups meet


@every_option
def test_training_and_evaluation_are_the_same_to_the_last_bit(options):
    ours, _ = twins("GroupNorm", 2, 6, **options)
    x, dy = torch.randn(4, 6, 5, dtype=F64), torch.randn(4, 6, 5, dtype=F64)
    assert_training_is_evaluation(ours, x, dy)


CHANGES = {  # and the index of what is changed; groups are channels that stand side by side
    "a sample": (3, (4, 6), (1,)),
    "an image": (3, (4, 6, 5, 2), (2,)),
    "the first group": (3, (4, 6, 5, 2), (1, slice(0, 2))),
    "the second group": (3, (4, 6, 5, 2), (1, slice(2, 4))),
    "the last of two groups": (2, (4, 6, 5, 2), (1, slice(3, 6))),
    "a group of samples": (3, (4, 6), (slice(1, 3), slice(4, 6))),
}


@pytest.mark.parametrize(("groups", "shape", "changed"), CHANGES.values(), ids=CHANGES)
def test_neither_samples_nor_groups_meet(groups, shape, changed):
    ours, _ = twins("GroupNorm", groups, 6)
    x, dy = torch.randn(shape, dtype=F64), torch.randn(shape, dtype=F64)
    assert_nothing_else_moves(ours, x, dy, changed)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_equation_7_says_which_channels_share_their_statistics(groups):
    """Channels i and k do if floor(i / (C/G)) = floor(k / (C/G)): neighbours, in their order."""
    ours, _ = twins("GroupNorm", groups, 6)
    found = jacobian(ours, torch.randn(1, 6, 3, dtype=F64)).squeeze()  # (channel, place) of y and x
    meets = found.ne(0).any(3).any(1)
    for i, k in itertools.product(range(6), repeat=2):
        assert meets[i, k] == (i // (6 // groups) == k // (6 // groups))


# 7. Hard inputs


@pytest.mark.parametrize("offset", [3e3, 1e4, -1e4])
def test_digits_are_kept_far_from_zero(offset):
    ours, _ = twins("GroupNorm", 2, 6, dtype=torch.float32)
    x, dy = offset + torch.randn(16, 6, 8, 8), torch.randn(16, 6, 8, 8)
    expected, tolerance = assert_digits_are_kept_far_from_zero(ours, x, dy, ("y", "dx"))
    arrays = [t.detach().numpy() for t in (x, ours.weight, ours.bias)]
    y, _ = group_norm_forward(*arrays, 2)
    np.testing.assert_allclose(y, expected["y"].detach(), rtol=0, atol=tolerance)


@pytest.mark.parametrize("constant", [0.0, 0.1, -7.0])
def test_a_constant_group_gives_the_shift(constant):
    ours, theirs = twins("GroupNorm", 2, 6)
    x, dy = torch.randn(4, 6, 5, 5, dtype=F64), torch.randn(4, 6, 5, 5, dtype=F64)
    x[1, :3] = constant
    result = seen(ours, x, dy)
    # Rounding of the mean, 2e-16 of it, is multiplied by eps^-1/2 = 316.
    shift = ours.bias[:3, None, None].expand(3, 5, 5)
    assert_close(result["y"][1, :3], shift, rtol=0, atol=1e-12)
    assert_same(result, seen(theirs, x, dy))


@pytest.mark.parametrize("shape", [(2, 6), (4, 6, 1, 1)], ids=str)
def test_one_value_a_group_gives_the_shift_and_no_gradient_and_no_complaint(shape):
    """Of several samples; where there is but one, torch complains, in evaluation too."""
    ours, theirs = twins("GroupNorm", 6, 6, dtype=torch.float32)
    x, dy = torch.randn(shape), torch.randn(shape)
    result, torchs = seen(ours, x, dy), seen(theirs, x, dy)
    # In torch rounding leaves a little of it, and gives the gain a gradient.
    for key in ("y", "dx", "dbias"):
        assert_close(result[key], torchs[key], rtol=1e-4, atol=1e-4)
    x = 1e6 * x
    assert torch.equal(ours(x), per_channel(ours.bias, x).expand(shape))
    assert not seen(ours, x, dy)["dx"].any()
    assert not seen(ours, x, dy)["dweight"].any()


def test_two_values_become_plus_and_minus_one_whatever_they_are(rng):
    x, dy = 5 * rng.normal(size=(2, 7, 6))
    gamma, beta = rng.normal(size=(2, 6))
    y, cache = group_norm_forward(x, gamma, beta, 3, 1e-14)
    pairs = x.reshape(7, 3, 2)
    sign = np.sign(pairs - pairs.mean(2, keepdims=True)).reshape(7, 6)
    np.testing.assert_allclose(y, gamma * sign + beta, rtol=1e-9)
    dx, dgamma, _ = group_norm_backward(dy, cache)
    np.testing.assert_allclose(dx, 0.0, atol=1e-9)  # two of two directions are gone
    np.testing.assert_allclose(dgamma, (dy * sign).sum(0), rtol=1e-9)


@pytest.mark.parametrize("scale", [1e-20, 1e-10, 1e-3, 1e3, 1e10, 1e18])
def test_tiny_and_huge_inputs(scale):
    """In float32: 1e18 squared still fits; 1e-20 squared is lost beside eps, in float64 too."""
    ours, _ = twins("GroupNorm", 2, 6, dtype=torch.float32)
    assert_near_float64(ours, scale * torch.randn(4, 6, 5, 5), torch.randn(4, 6, 5, 5))


@every_half
@pytest.mark.parametrize(
    "parameter_dtype", [None, torch.float32], ids=["half layer", "float layer"]
)
def test_half_precision_is_off_by_one_rounding(dtype, parameter_dtype):
    """Statistics in float32: x of size 300 overflows float16 when squared, as does its sum."""
    ours, theirs = twins("GroupNorm", 2, 6, dtype=parameter_dtype or dtype)
    x, dy = (50 + 300 * torch.randn(16, 6, 8, 8)).to(dtype), torch.randn(16, 6, 8, 8).to(dtype)
    assert_off_by_one_rounding(ours, theirs, x, dy)


@every_layout
@every_option
@pytest.mark.parametrize("groups", [1, 3])
def test_memory_layout_does_not_matter(layout, options, groups):
    ours, theirs = twins("GroupNorm", groups, 3, **options)
    assert_layout_does_not_matter(ours, theirs, layout)


@pytest.mark.parametrize("shape", [(2, 6, 4, 5), (2, 6, 4, 5, 3)], ids=str)
@every_option
def test_channels_last_stays_channels_last(shape, options):
    ours, theirs = twins("GroupNorm", 2, 6, **options)
    layout = torch.channels_last if len(shape) == 4 else torch.channels_last_3d
    x = torch.randn(shape, dtype=F64).to(memory_format=layout)
    dy = torch.randn(shape, dtype=F64).to(memory_format=layout)
    result, expected = seen(ours, x, dy), seen(theirs, x, dy)
    assert_same(result, expected)
    for key in ("y", "dx"):
        assert result[key].stride() == expected[key].stride()
        assert result[key].is_contiguous(memory_format=layout)


PERMUTED = {
    "tokens": lambda x: x.flatten(2).transpose(1, 2).contiguous().transpose(1, 2),
    "samples": lambda x: x[:, :, 0, 0].T.contiguous().T,
    "maps on their side": lambda x: x.transpose(2, 3),
    "part of maps with channels last": lambda x: x.to(memory_format=torch.channels_last)[:, :, ::2],
}


@pytest.mark.parametrize("permute", PERMUTED.values(), ids=PERMUTED)
def test_the_result_is_in_the_order_of_torchs(permute):
    """So that view(-1) works behind it, as behind torch's."""
    x = permute(torch.randn(2, 6, 4, 5, dtype=F64))
    assert not x.is_contiguous()
    ours, theirs = twins("GroupNorm", 2, 6)
    assert ours(x).stride() == theirs(x).stride()


# 8. In place of torch's layer


@every_kind
@every_option
def test_checkpoints_load_both_ways(groups, shape, options):
    ours, theirs = (library.GroupNorm(groups, 6, **options) for library in (norms, nn))
    assert_checkpoints_load_both_ways(ours, theirs, torch.randn(shape))


@pytest.mark.parametrize(("groups", "shape"), [(2, (3, 6)), (2, (2, 4, 2)), (1, (2, 2, 2, 2))])
@every_option
def test_first_and_second_derivatives(groups, shape, options):
    layer, _ = twins("GroupNorm", groups, shape[1], **options)
    assert differentiable(layer, torch.randn(shape, dtype=F64))


@every_option
def test_per_sample_gradients_by_vmap(options):
    ours, theirs = twins("GroupNorm", 2, 6, **options)
    assert_per_sample_gradients(ours, theirs, torch.randn(5, 6, 3, 2, dtype=F64))


@pytest.mark.parametrize("groups", [1, 2, 6])
@every_option
def test_ensembles_by_vmap(groups, options):
    """Of parameters stacked by ``torch.func.stack_module_state``."""
    pairs = [twins("GroupNorm", groups, 6, eps=1e-3, **options) for _ in range(3)]
    assert_ensembles_by_vmap(pairs, *torch.randn(2, 3, 5, 6, 2, 2, dtype=F64))


@pytest.mark.slow
@pytest.mark.timeout(300)
@needs_compiler
def test_compiled_training_equals_eager():
    layer, _ = twins("GroupNorm", 2, 6)
    assert_compiled_equals_eager(layer, torch.randn(2, 2, 4, 6, 5, 5, dtype=F64))


def test_copies_are_independent_and_equal():
    ours, _ = twins("GroupNorm", 2, 6)
    x, dy = torch.randn(4, 6, dtype=F64), torch.randn(4, 6, dtype=F64)
    assert_copies_are_independent_and_equal(ours, x, dy)


@every_conversion
def test_conversion_equals_torch(convert):
    assert_conversion_equals_torch(*twins("GroupNorm", 2, 6), convert, (4, 6))


def convolutional_network(library):
    """Make a small network with the group norms of ``norms`` or of ``torch.nn``."""
    torch.manual_seed(1)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, bias=False),
        library.GroupNorm(4, 8),
        nn.ReLU(),
        nn.Conv2d(8, 8, 3, stride=2),
        library.GroupNorm(1, 8, eps=1e-3, bias=False),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(72, 16),
        library.GroupNorm(2, 16, affine=False),
        nn.Linear(16, 5),
    ).double()


def test_a_network_trains_the_same_with_our_layers_in_place_of_torchs():
    x, labels = torch.randn(64, 3, 10, 10, dtype=F64), torch.randint(5, (64,))
    assert_trains_the_same(*map(convolutional_network, (norms, nn)), x, labels, lr=0.1)


def test_a_trained_network_keeps_its_logits_with_our_layers():
    x, labels = torch.randn(64, 3, 10, 10, dtype=F64), torch.randint(5, (64,))
    theirs = convolutional_network(nn)
    train(theirs, x, labels, lr=0.1)
    ours = with_ours(theirs, "GroupNorm")
    assert_close(ours(x), theirs(x), rtol=1e-11, atol=1e-12)
    assert_close(ours.eval()(x), theirs.eval()(x), rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize(
    ("options", "dtype"), [*((o, torch.float32) for o in OPTIONS), ({}, torch.bfloat16)], ids=str
)
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last], ids=str)
def test_no_more_memory_is_kept_for_backward_than_by_torch(options, dtype, layout):
    ours, theirs = twins("GroupNorm", 2, 6, dtype=torch.float32, **options)
    x = torch.randn(4, 6, 16, 16, dtype=dtype).to(memory_format=layout).requires_grad_()
    # Of the shift torch keeps nothing; we keep the parameter itself, which is there anyway.
    shift = 0 if ours.bias is None else ours.bias.nbytes
    assert kept(ours, x) <= kept(theirs, x) + shift


# 9. What the paper claims, and what follows from it


def figure_3(x, gamma, beta, groups, eps=1e-5):
    """Say in NumPy what the paper's Figure 3 says in TensorFlow."""
    n, c, h, w = x.shape
    x = np.reshape(x, [n, groups, c // groups, h, w])
    mean, var = x.mean((2, 3, 4), keepdims=True), x.var((2, 3, 4), keepdims=True)
    x = (x - mean) / np.sqrt(var + eps)
    return np.reshape(x, [n, c, h, w]) * gamma + beta


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_figure_3_of_the_paper(groups, rng):
    x, _, gamma, beta = random_arrays(rng, (4, 6, 5, 4))
    expected = figure_3(x, per_channel(gamma, x), per_channel(beta, x), groups)
    np.testing.assert_allclose(group_norm_forward(x, gamma, beta, groups)[0], expected, rtol=1e-12, atol=1e-14)  # fmt: skip


def test_no_sample_of_any_batch_makes_a_difference():
    """What the paper is about: batches of 32 or of 1, the output is the same."""
    ours, _ = twins("GroupNorm", 2, 6)
    x = torch.randn(32, 6, 5, 4, dtype=F64)
    alone = torch.cat([ours(sample) for sample in x.split(1)])
    assert_close(ours(x), alone, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
def test_contrast_and_brightness_of_every_group_by_itself_change_nothing(groups):
    """GN(a x + b) = GN(x) with an a > 0 and a b for each sample and group."""
    ours, _ = twins("GroupNorm", groups, 6, eps=1e-14)  # the claims are exact without eps
    x = torch.randn(4, 6, 5, 4, dtype=F64)
    a, b = torch.rand(4, groups, dtype=F64) + 0.1, torch.randn(4, groups, dtype=F64)
    a, b = (each.repeat_interleave(6 // groups, 1)[..., None, None] for each in (a, b))
    assert_close(ours(a * x + b), ours(x), rtol=1e-9, atol=1e-9)


def test_contrast_of_one_channel_of_a_group_is_no_invariance():
    """Instance norm has it, and so loses how strong channels are beside each other."""
    x = torch.randn(4, 6, 5, 4, dtype=F64)
    moved = x.clone()
    moved[:, 2] *= 3
    for groups in (1, 2, 3, 6):
        ours = norms.GroupNorm(groups, 6, eps=1e-14, dtype=F64)
        change = (ours(moved) - ours(x)).norm()
        assert change < 1e-6 if groups == 6 else change > 1


@pytest.fixture
def before_gn():
    """Draw images, filters of a convolution, and a group norm behind it with any gain and shift."""
    layer, _ = twins("GroupNorm", 3, 6, eps=1e-14)
    x, weight = torch.randn(4, 2, 6, 6, dtype=F64), torch.randn(6, 2, 3, 3, dtype=F64)
    dy = torch.randn(4, 6, 4, 4, dtype=F64)

    def gradient(w):
        leaf = w.detach().requires_grad_()
        (dw,) = torch.autograd.grad(layer(F.conv2d(x, leaf)), leaf, dy)
        return dw

    return x, weight, layer, gradient


def test_rescaling_the_filters_of_each_group_changes_nothing_and_divides_their_gradient(before_gn):
    x, weight, layer, gradient = before_gn
    delta = torch.tensor([0.1, 3.0, 10.0], dtype=F64).repeat_interleave(2)[:, None, None, None]
    scaled = delta * weight
    y = layer(F.conv2d(x, weight))
    assert_close(layer(F.conv2d(x, scaled)), y, rtol=1e-9, atol=1e-9)
    assert_close(delta * gradient(scaled), gradient(weight), rtol=1e-8, atol=1e-9)
    one = weight.clone()
    one[2] *= 3  # one filter of two, as batch norm would take it
    assert (layer(F.conv2d(x, one)) - y).norm() > 1


def test_gradient_is_orthogonal_to_the_filters_of_each_group(before_gn):
    """And not to a filter alone; so a step only lengthens what a group has."""
    _, weight, _, gradient = before_gn
    dw = gradient(weight)
    product = (weight * dw).flatten(1).sum(1)  # of each filter
    assert product.abs().min() > 1e-3
    assert_close(product.view(3, 2).sum(1), torch.zeros(3, dtype=F64), rtol=0, atol=1e-9)
    stepped, groups = weight - 0.5 * dw, (3, -1)
    lengths = weight.view(groups).square().sum(1) + 0.25 * dw.view(groups).square().sum(1)
    assert_close(stepped.view(groups).square().sum(1), lengths, rtol=1e-11, atol=0)


def test_groups_may_trade_places():
    """With their gains and shifts: the groups are alike to it. Channels of two groups may not."""
    ours, _ = twins("GroupNorm", 3, 6)
    moved = norms.GroupNorm(3, 6, dtype=F64)
    x = torch.randn(4, 6, 5, 4, dtype=F64)
    for order, same in (([4, 5, 0, 1, 2, 3], True), ([1, 0, 3, 2, 5, 4], True), ([0, 2, 1, 3, 4, 5], False)):  # fmt: skip
        moved.load_state_dict({k: p[order] for k, p in ours.state_dict().items()})
        assert torch.allclose(moved(x[:, order]), ours(x)[:, order], atol=1e-12) == same


@every_kind
def test_input_gradient_has_no_constant_part_and_eps_of_the_standardised_one(groups, shape, rng):
    x, dy, gamma, beta = random_arrays(rng, shape)
    x = 1e-2 * x  # a variance of 1e-4, so that eps is seen
    _, cache = group_norm_forward(x, gamma, beta, groups, EPS)
    dx, _, _ = group_norm_backward(dy, cache)
    x_hat, rstd, _ = cache
    np.testing.assert_allclose(sets(dx, groups).sum(2), 0.0, atol=1e-11)
    # Exactly, for any eps and any gain: <x_hat, dx> = r^3 eps <gamma dy, x_hat>.
    left = (
        rstd.reshape(-1, groups) ** 3
        * EPS
        * sets(per_channel(gamma, x) * dy * x_hat, groups).sum(2)
    )
    np.testing.assert_allclose(sets(x_hat * dx, groups).sum(2), left, rtol=1e-9, atol=1e-11)
    assert np.abs(left).max() > 1e-3


@pytest.mark.parametrize("groups", [1, 2, 3])
def test_jacobian_of_a_sample_loses_two_directions_a_group(groups):
    """The constant and the standardised one of each; of twelve values 12 - 2G are left."""
    layer, _ = twins("GroupNorm", groups, 6, eps=1e-14)
    x = torch.randn(1, 6, 2, dtype=F64)
    found = jacobian(layer, x).reshape(12, 12)
    assert torch.linalg.matrix_rank(found, atol=1e-9) == 12 - 2 * groups
