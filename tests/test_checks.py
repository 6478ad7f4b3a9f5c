"""What the norms refuse, one check at a time; each norm's own test compares it with torch."""

import re

import numpy as np
import pytest
import torch
from torch import fx, nn

import norms
from norms import checks

ACCEPTED = {
    "floating_array": [(np.ones(2, np.float16),), (1.5,), ([1.0, 2.0],)],
    "upstream": [(np.ones((4, 3), np.float16), np.ones((4, 3))), ([1.0, 2.0], np.ones(2))],
    "channel_vector": [
        (np.ones(3), np.ones((4, 3)), "gamma"),
        (np.ones(3), np.ones((4, 3, 5)), "g"),
    ],
    "trailing_parameter": [
        (np.ones(3), np.ones(3), "gamma"),
        (np.ones(3), np.ones((4, 5, 3)), "gamma"),
        (np.ones((5, 3)), np.ones((4, 5, 3)), "gamma"),
        (np.ones((4, 5, 3)), np.ones((4, 5, 3)), "gamma"),
        ([1.0, 2.0, 3.0], np.ones((4, 3)), "gamma"),
    ],
    "lengths": [
        (np.ones((4, 1)), np.ones((4, 3))),
        (np.ones((1, 3)), np.ones((4, 3))),
        (np.ones((1, 1)), np.ones((4, 3))),
        (np.ones((4, 1, 1)), np.ones((4, 3, 5))),
        (np.ones(4), np.ones(4)),
        ([[1.0], [2.0]], np.ones((2, 3))),
    ],
    "row_vector": [
        (np.ones(4), np.ones((4, 3)), "u"),
        (np.ones(4), np.ones(4), "u"),
        ([1.0, 2.0], np.ones((2, 3, 5)), "u"),
    ],
    "require_positive_count": [(1, "n"), (np.int64(2), "n")],
    "require_parameter": [
        (nn.Linear(3, 4), "weight", ValueError),
        (nn.BatchNorm1d(3), "running_mean", ValueError),
    ],
    "require_axis": [
        *((torch.ones(4, 3), dim) for dim in (-2, -1, 0, 1, np.int64(1))),
        (torch.ones(3), 0),
    ],
    "require_one_dtype": [({"g": torch.ones(2), "v": torch.zeros(3)},), ({},)],
    "require_tensor": [(torch.ones(()),), (torch.nn.Parameter(torch.ones(2)),)],
    "require_axes": [(torch.ones(1), (1,)), (torch.ones(0, 3), (3,)), (torch.ones(2, 3), (2, 3))],
    "require_trailing_shape": [
        (torch.ones(3), (3,)),
        (torch.ones(4, 5, 3), (3,)),
        (torch.ones(4, 5, 3), (5, 3)),
        (torch.ones(4, 5, 3), (4, 5, 3)),
        (torch.ones(0, 3), (3,)),
    ],
    "require_not_negative_eps": [(0,), (1e-5,), (np.float32(1e-5),)],
    "require_positive_eps": [(1e-5,), (1e-300,)],
    "require_rank": [(torch.ones(4, 3), (2, 3)), (torch.ones(4, 3, 5), (2, 3))],
    "require_dimensions": [(torch.ones(3, 5), "CL", "NCL"), (torch.ones(4, 3, 5), "CL", "NCL")],
    "require_space": [(np.ones((4, 3, 5)),), (np.ones((4, 3, 1, 1)),), (np.ones((0, 3, 5)),)],
    "require_more_than_one_place": [
        (torch.ones(2, 3, 2),),
        (torch.ones(2, 3, 1, 2),),
        (torch.ones(2, 3, 2, 1),),
        (torch.ones(2, 3, 1, 0),),
        (torch.ones(0, 3, 2),),
    ],
    "require_more_than_one_value": [
        (torch.ones(2, 3), (0,)),
        (torch.ones(1, 3, 2), (0, 2)),
        (torch.ones(0, 3), (0,)),
    ],
    "require_batch_and_channels": [
        (torch.ones(4, 3),),
        (torch.ones(0, 3),),
        (torch.ones(2, 3, 1, 1, 1, 1),),
    ],
    "require_more_than_one_value_per_group": [
        (torch.ones(1, 6), 3),
        (torch.ones(2, 6), 6),
        (torch.ones(1, 6, 2), 6),
        (torch.ones(1, 6, 1, 2), 6),
        (torch.ones(0, 6), 6),
        (torch.ones(1, 6, 0), 6),
    ],
    "require_divisor": [
        *((groups, 6, ValueError) for groups in (1, 2, 3, 6, np.int64(2))),
        (2, 0, ValueError),
    ],
    "require_channels": [(torch.ones(4, 3), {"weight": torch.ones(3), "bias": None})],
    "require_floating_point": [
        (torch.ones(2, dtype=dtype),)
        for dtype in (torch.float16, torch.bfloat16, torch.float32, torch.float64)
    ],
    "require_same_dtype": [
        (torch.ones(2), {"weight": torch.ones(2), "bias": None}),
        (torch.ones(2).half(), {"weight": torch.ones(2)}),
        (torch.ones(2).bfloat16(), {"weight": torch.ones(2).bfloat16()}),
        (torch.ones(2).double(), {}),
    ],
}
REFUSED = {
    "floating_array": [
        ((torch.ones(2), "dy"), TypeError, r"dy\.detach\(\)\.numpy\(\)"),
        ((np.ones(2, int), "dy"), TypeError, r"dy has dtype int64.*dy\.astype\(float\)"),
        ((np.ones(2, complex), "dy"), TypeError, r"complex128; expected real numbers: dy\.real"),
        ((None, "beta"), TypeError, r"beta is None.*np\.zeros"),
    ],
    "upstream": [
        ((np.ones(3), np.ones((4, 3))), ValueError, r"dy has shape \(3,\).*that of y, \(4, 3\)"),
        ((np.ones((4, 3), int), np.ones((4, 3))), TypeError, r"dy has dtype int64.*dy\.astype"),
        ((torch.ones(4, 3), np.ones((4, 3))), TypeError, r"dy\.detach\(\)\.numpy\(\)"),
    ],
    "channel_vector": [
        ((np.ones(3), np.ones(3), "gamma"), ValueError, r"x has shape \(3,\)"),
        ((np.ones(1), np.ones((4, 3)), "gamma"), ValueError, r"gamma has shape \(1,\).*\(3,\)"),
        ((np.ones((3, 1)), np.ones((4, 3)), "beta"), ValueError, r"beta has shape \(3, 1\)"),
    ],
    "trailing_parameter": [
        ((np.ones(3, int), np.ones((4, 3)), "beta"), TypeError, r"beta has dtype int64"),
        ((torch.ones(3), np.ones((4, 3)), "beta"), TypeError, r"beta\.detach\(\)\.numpy\(\)"),
        ((1.5, np.ones((4, 3)), "gamma"), ValueError, r"gamma is a single number.*\(3,\), 1\.5"),
        (
            (np.ones(1), np.ones((4, 3)), "gamma"),
            ValueError,
            r"gamma has shape \(1,\), but x has shape \(4, 3\).*last axes of x, such as \(3,\)$",
        ),
        ((np.ones((1, 3)), np.ones((4, 3)), "gamma"), ValueError, r"\(1, 3\).*\(4, 3\)"),
        ((np.ones((4, 3)), np.ones(3), "gamma"), ValueError, r"\(4, 3\), but x has shape \(3,\)"),
        ((np.ones(1), np.ones(()), "gamma"), ValueError, r"x is a single number.*x\.reshape\(1\)"),
        ((np.ones((3, 5)), np.ones((4, 5, 3)), "gamma"), ValueError, r"such as \(3,\)$"),
        (
            (np.ones(5), np.ones((4, 5, 3)), "gamma"),
            ValueError,
            r"Axis 1 has size 5: np\.moveaxis\(x, 1, -1\)",
        ),
    ],
    "lengths": [
        ((np.ones((4, 1), int), np.ones((4, 3))), TypeError, r"g has dtype int64"),
        ((torch.ones(4, 1), np.ones((4, 3))), TypeError, r"g\.detach\(\)\.numpy\(\)"),
        ((np.ones(()), np.ones(())), ValueError, r"v is a single number.*v\.reshape\(1\)"),
        (
            (np.ones(4), np.ones((4, 3))),
            ValueError,
            r"\(4,\), but v.*\(4, 3\).*g\.reshape\(4, 1\)$",
        ),
        ((np.ones(3), np.ones((4, 3))), ValueError, r"shape \(4, 1\), a length for each output$"),
        ((np.ones((3, 1)), np.ones((4, 3))), ValueError, r"g has shape \(3, 1\)"),
        ((np.ones((4, 1)), np.ones((4, 3, 5))), ValueError, r"g\.reshape\(4, 1, 1\)$"),
    ],
    "row_vector": [
        ((np.ones(4, int), np.ones((4, 3)), "u"), TypeError, r"u has dtype int64"),
        ((np.ones(4), np.ones(()), "u"), ValueError, r"w is a single number.*w\.reshape\(1\)"),
        ((np.ones(3), np.ones((4, 3)), "u"), ValueError, r"\(3,\).*4 rows.*\(4,\).*size=4\)$"),
        ((np.ones((4, 1)), np.ones((4, 3)), "u"), ValueError, r"u has shape \(4, 1\)"),
    ],
    "require_positive_count": [
        ((0, "n"), ValueError, r"n to be positive.*n=0: take at least n=1"),
        ((-1, "n"), ValueError, "n=-1"),
        ((1.0, "n"), TypeError, "n is a float; expected an integer, such as n=1"),
        ((None, "n"), TypeError, "n is a NoneType"),
    ],
    "require_parameter": [
        (
            (torch.ones(2), "weight", KeyError),
            KeyError,
            r"Tensor.*'weight'.*a layer, not its weight",
        ),
        ((nn.Linear(3, 4), "w", KeyError), ValueError, r"Linear has no.*'w'; it has weight, bias"),
        ((nn.Linear(3, 4), "forward", KeyError), ValueError, r"Linear has no.*'forward'"),
        ((nn.Linear(3, 4, False), "bias", KeyError), KeyError, r"'bias'; it has weight"),
        ((nn.ReLU(), "weight", KeyError), ValueError, r"ReLU has no.*name one of its layers"),
        ((nn.LazyLinear(4), "weight", KeyError), RuntimeError, r"'weight'.*lazy.*module\(x\)"),
    ],
    "require_axis": [
        ((torch.ones(4, 3), 1.0), TypeError, "dim is a float; expected an integer, such as dim=0"),
        ((torch.ones(4, 3), True), TypeError, "dim is a bool"),
        ((torch.ones(4, 3), None), TypeError, "dim is a NoneType"),
        ((torch.ones(()), 0), IndexError, r"no axes, and no dim.*reshape\(1\)"),
        ((torch.ones(4, 3), 2), IndexError, r"\[-2, 1\], but got 2\): .*\(4, 3\).*of its outputs"),
        ((torch.ones(4, 3), -3), IndexError, r"but got -3"),
    ],
    "require_one_dtype": [
        (
            ({"g": torch.ones(2).double(), "v": torch.ones(2)},),
            RuntimeError,
            r"g torch\.float64, v torch\.float32; convert all, such as layer\.float\(\)",
        ),
    ],
    "require_tensor": [
        ((np.ones(2),), TypeError, r"input is a ndarray.*torch\.as_tensor\(x\)"),
        ((1.0,), TypeError, r"input is a float.*torch\.as_tensor\(x\)"),
        (
            (torch.nested.as_nested_tensor([torch.ones(2), torch.ones(3)]),),
            NotImplementedError,
            r"nested tensor.*x\.to_padded_tensor\(0\.0\)",
        ),
    ],
    "require_axes": [
        (([1.0], (1,)), TypeError, r"input is a list"),
        ((torch.ones(()), (6,)), ValueError, r"has 0 axes.*at least 1.*x\.unsqueeze\(0\)"),
        ((torch.ones(6), (3, 6)), ValueError, r"shape \(6,\) has 1 axes.*at least 2.*\(3, 6\)"),
    ],
    "require_trailing_shape": [
        ((np.ones(3), (3,)), TypeError, r"input is a ndarray"),
        ((torch.ones(3), ()), RuntimeError, r"normalized_shape is empty.*such as 512"),
        # As far as the comma these are torch's own words; what follows is the cure.
        (
            (torch.ones(4, 3), (5,)),
            RuntimeError,
            r"^Given normalized_shape=\[5\], expected input with shape \[\*, 5\], "
            r"but got input of size \[4, 3\]$",
        ),
        ((torch.ones(4, 1), (3,)), RuntimeError, r"\[\*, 3\].*\[4, 1\]$"),
        ((torch.ones(()), (3,)), RuntimeError, r"\[\*, 3\].*\[\]$"),
        ((torch.ones(3), (5, 3)), RuntimeError, r"\[\*, 5, 3\].*\[3\]$"),
        ((torch.ones(4, 3, 5), (5, 3)), RuntimeError, r"\[\*, 5, 3\].*\[4, 3, 5\]$"),
        # One axis of several is found in front: to move it would be no cure.
        ((torch.ones(5, 4, 3), (5, 3)), RuntimeError, r"\[\*, 5, 3\].*\[5, 4, 3\]$"),
        (
            (torch.ones(4, 5, 3), (5,)),
            RuntimeError,
            r"\[4, 5, 3\]\. Axis 1 has size 5: x\.movedim\(1, -1\)",
        ),
    ],
    "require_not_negative_eps": [
        ((-1e-5,), ValueError, r"eps is -1e-05;.*such as 1e-5"),
        ((float("-inf"),), ValueError, "eps is -inf"),
        (("1e-5",), TypeError, r"eps is a str; expected a number: float\('1e-5'\)"),
        ((None,), TypeError, "eps is a NoneType; expected a number: such as 1e-5"),
    ],
    "require_positive_eps": [
        ((0,), ValueError, "eps is 0;"),
        ((-1,), ValueError, "eps is -1;"),
        ((float("nan"),), ValueError, "nan"),
        ((np.zeros(3),), TypeError, "eps is a ndarray"),
    ],
    "require_rank": [
        ((np.ones(2), (2,)), TypeError, r"ndarray.*torch\.as_tensor"),
        ((torch.ones(2), (2, 3)), ValueError, r"2D or 3D.*1D.*\(2,\).*\(N, C\) or \(N, C, L\)"),
    ],
    "require_dimensions": [
        ((np.ones(2), "CL"), TypeError, r"ndarray.*torch\.as_tensor"),
        (
            (torch.ones(2), "CL", "NCL"),
            ValueError,
            r"2D or 3D.*1D.*\(2,\)\): give it \(C, L\) or \(N, C, L\)$",
        ),
        ((torch.ones(1, 2, 3, 4), "CL", "NCL"), ValueError, r"4D.*\(1, 2, 3, 4\)"),
        ((torch.ones(1, 2, 3, 4), "CL", "NCDHW"), ValueError, r"2D or 5D.*4D"),
    ],
    "require_space": [
        ((np.ones((4, 3)),), ValueError, r"shape \(4, 3\).*\(N, C, \*\).*x\[None\]"),
        ((np.ones(3),), ValueError, r"shape \(3,\)"),
    ],
    "require_more_than_one_place": [
        ((torch.ones(2, 3, 1),), ValueError, r"\(2, 3, 1\): normalize larger maps.*GroupNorm"),
        ((torch.ones(2, 3, 1, 1),), ValueError, r"\(2, 3, 1, 1\)"),
        ((torch.ones(2, 3),), ValueError, r"\(2, 3\)"),
    ],
    "require_batch_and_channels": [
        (([1.0],), TypeError, r"input is a list"),
        ((torch.ones(()),), RuntimeError, r"at least 2 .* received 0, shape \(\): .*\(N, C, \*\)"),
        ((torch.ones(3),), RuntimeError, r"received 1, shape \(3,\): .*x\.unsqueeze\(0\)"),
    ],
    "require_more_than_one_value_per_group": [
        ((torch.ones(1, 6), 6), ValueError, r"size \(1, 6\) and 6 groups: .*larger maps.*fewer"),
        ((torch.ones(1, 6, 1, 1), 6), ValueError, r"size \(1, 6, 1, 1\)"),
        ((torch.ones(1, 1, 1), 1), ValueError, r"size \(1, 1, 1\) and 1 groups"),
    ],
    "require_divisor": [
        ((4, 6, ValueError), ValueError, r"6 channels .*num_groups=4 .* from 1, 2, 3, 6$"),
        ((4, 6, RuntimeError), RuntimeError, r"num_groups=4"),
        ((12, 6, ValueError), ValueError, r"num_groups=12 .* from 1, 2, 3, 6$"),
        ((0, 6, ValueError), ValueError, r"num_groups=0 .* from 1, 2, 3, 6$"),
        ((-2, 6, ValueError), ValueError, r"num_groups=-2"),
        ((2, 7, ValueError), ValueError, r"num_groups=2 .* from 1, 7$"),
        ((2.0, 6, ValueError), TypeError, r"num_groups is a float; expected an integer"),
        (("2", 6, ValueError), TypeError, r"num_groups is a str; expected an integer"),
    ],
    "require_more_than_one_value": [
        ((torch.ones(1, 3), (0,)), ValueError, r"\(1, 3\).*drop_last=True.*eval\(\)"),
        ((torch.ones(1, 3, 1), (0, 2)), ValueError, r"\(1, 3, 1\)"),
    ],
    "require_channels": [
        ((torch.ones(4, 3), {"bias": torch.ones(2)}), RuntimeError, r"bias.*3 elements not 2"),
        ((torch.ones(4, 3), {"bias": torch.ones(1)}), RuntimeError, r"bias.*3 elements not 1"),
    ],
    "require_floating_point": [
        ((torch.ones(2, dtype=torch.int64),), NotImplementedError, r"int64.*x\.float\(\)"),
        ((torch.ones(2, dtype=torch.bool),), NotImplementedError, "bool"),
        ((torch.ones(2, dtype=torch.complex64),), NotImplementedError, "complex64"),
    ],
    "require_same_dtype": [
        ((torch.ones(2, dtype=torch.int32), {}), NotImplementedError, r"int32.*x\.float\(\)"),
        (
            (torch.ones(2), {"weight": torch.ones(2).half()}),
            RuntimeError,
            r"float32.*weight torch\.float16.*x\.to\(layer\.weight\.dtype\)",
        ),
        ((torch.ones(2).half(), {"weight": torch.ones(2).double()}), RuntimeError, "float64"),
        (
            (torch.ones(2).half(), {"w": torch.ones(2), "b": torch.ones(2).half()}),
            RuntimeError,
            "mixed",
        ),
    ],
}


@pytest.mark.parametrize(
    ("name", "arguments"), [(name, args) for name, cases in ACCEPTED.items() for args in cases]
)
def test_accepts(name, arguments):
    getattr(checks, name)(*arguments)


@pytest.mark.parametrize(
    ("name", "arguments", "exception", "message"),
    [(name, *case) for name, cases in REFUSED.items() for case in cases],
)
def test_refuses(name, arguments, exception, message):
    with pytest.raises(exception, match=message):
        getattr(checks, name)(*arguments)


def test_channel_vector_lies_along_axis_one():
    vector = checks.channel_vector(np.arange(3.0), np.ones((4, 3, 5, 6)), "gamma")
    assert vector.shape == (1, 3, 1, 1)


def test_lengths_and_vectors_come_back_as_arrays_in_their_own_shape():
    for values in ([[1.0], [2.0]], np.array([[1.0], [2.0]], np.float16)):
        array = checks.lengths(values, np.ones((2, 3)))
        assert isinstance(array, np.ndarray)
        np.testing.assert_array_equal(array, [[1.0], [2.0]])
    vector = checks.row_vector([1.0, 2.0], np.ones((2, 3)), "u")
    assert isinstance(vector, np.ndarray)
    np.testing.assert_array_equal(vector, [1.0, 2.0])


def test_the_cure_for_lengths_and_vectors_is_one():
    v = np.ones((4, 3, 5))
    with pytest.raises(ValueError, match=r"g\.reshape\(4, 1, 1\)$"):
        checks.lengths(np.ones(4), v)
    checks.lengths(np.ones(4).reshape(4, 1, 1), v)
    with pytest.raises(ValueError, match=r"np\.random\.default_rng\(0\)\.normal\(size=4\)$"):
        checks.row_vector(np.ones(3), v, "u")
    checks.row_vector(np.random.default_rng(0).normal(size=4), v, "u")


def test_the_cure_for_a_lazy_layer_is_one():
    module = nn.LazyLinear(4)
    with pytest.raises(RuntimeError, match=r"module\(x\)$"):
        checks.require_parameter(module, "weight", ValueError)
    module(torch.ones(2, 3))
    checks.require_parameter(module, "weight", ValueError)


def test_parameters_and_upstream_gradients_come_back_as_arrays_in_their_own_shape():
    for values in ([1.0, 2.0], np.array([1.0, 2.0], np.float16)):
        for array in (
            checks.trailing_parameter(values, np.ones((3, 2)), "gamma"),
            checks.upstream(values, np.ones(2)),
        ):
            assert isinstance(array, np.ndarray)
            assert array.dtype == np.asarray(values).dtype
            np.testing.assert_array_equal(array, [1.0, 2.0])


# A check, an argument that it refuses for a reason that the message can fix, and the others.
CURES = {
    "an array": (checks.require_tensor, np.ones(3), ()),
    "a single number": (checks.require_axes, torch.ones(()), ((6,),)),
    "a single sample": (checks.require_batch_and_channels, torch.ones(3), ()),
    "a nested tensor": (
        checks.require_tensor,
        torch.nested.as_nested_tensor([torch.ones(2), torch.ones(3)]),
        (),
    ),
    "complex numbers": (checks.require_floating_point, torch.ones(3, dtype=torch.complex64), ()),
    "integers": (checks.require_floating_point, torch.ones(3, dtype=torch.int64), ()),
    "features on axis 0": (checks.require_trailing_shape, torch.ones(5, 4, 3), ((5,),)),
    "features on axis 1": (checks.require_trailing_shape, torch.ones(4, 5, 3), ((5,),)),
    "features on two axes": (checks.require_trailing_shape, torch.ones(4, 5, 5, 3), ((5,),)),
}


@pytest.mark.parametrize(("check", "x", "others"), CURES.values(), ids=CURES)
def test_the_cure_in_the_message_is_one(check, x, others):
    with pytest.raises(Exception) as refusal:  # noqa: PT011 - test_refuses says which
        check(x, *others)
    cure = re.search(r"(x|torch)\.\w+\([^()]*\)", str(refusal.value).rpartition(": ")[2]).group()
    check(eval(cure, {"x": x, "torch": torch}), *others)


def test_the_cure_for_a_symbolic_trace_is_one():
    model = nn.Sequential(norms.LayerNorm(3))
    with pytest.raises(TypeError, match=r"torch\.fx\.Tracer whose is_leaf_module returns True"):
        fx.symbolic_trace(model)

    class Tracer(fx.Tracer):
        def is_leaf_module(self, module, name):
            return isinstance(module, norms.LayerNorm) or super().is_leaf_module(module, name)

    x = torch.randn(4, 3)
    assert torch.equal(fx.GraphModule(model, Tracer().trace(model))(x), model(x))


def test_the_cure_for_an_array_is_one():
    gamma, x = np.ones(5), np.ones((4, 5, 3))
    with pytest.raises(ValueError, match=r"np\.moveaxis\(x, 1, -1\) moves it to the end"):
        checks.trailing_parameter(gamma, x, "gamma")
    assert checks.trailing_parameter(gamma, np.moveaxis(x, 1, -1), "gamma") is gamma
    with pytest.raises(ValueError, match=r"np\.full\(\(3,\), 1\.5\)"):
        checks.trailing_parameter(1.5, x, "gamma")
    checks.trailing_parameter(np.full((3,), 1.5), x, "gamma")
