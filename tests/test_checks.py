"""What the norms refuse, one check at a time; each norm's own test holds it against torch."""

import numpy as np
import pytest
import torch

from norms import checks

ACCEPTED = {
    "floating_array": [(np.ones(2, np.float16),), (1.5,), ([1.0, 2.0],)],
    "channel_vector": [
        (np.ones(3), np.ones((4, 3)), "gamma"),
        (np.ones(3), np.ones((4, 3, 5)), "g"),
    ],
    "positive_eps": [(1e-5,), (1e-300,)],
    "input_rank": [(torch.ones(4, 3), (2, 3)), (torch.ones(4, 3, 5), (2, 3))],
    "more_than_one_value": [
        (torch.ones(2, 3), (0,)),
        (torch.ones(1, 3, 2), (0, 2)),
        (torch.ones(0, 3), (0,)),
    ],
    "channel_count": [(torch.ones(4, 3), {"weight": torch.ones(3), "bias": None})],
    "same_dtype": [
        (torch.ones(2), {"weight": torch.ones(2), "bias": None}),
        (torch.ones(2).half(), {"weight": torch.ones(2)}),
        (torch.ones(2).bfloat16(), {"weight": torch.ones(2).bfloat16()}),
        (torch.ones(2).double(), {}),
    ],
}
REFUSED = {
    "floating_array": [
        ((torch.ones(2), "dy"), TypeError, r"dy\.numpy\(\)"),
        ((np.ones(2, int), "dy"), TypeError, r"dy has dtype int64.*dy\.astype\(float\)"),
        ((np.ones(2, complex), "dy"), TypeError, r"complex128"),
    ],
    "channel_vector": [
        ((np.ones(3), np.ones(3), "gamma"), ValueError, r"x has shape \(3,\)"),
        ((np.ones(1), np.ones((4, 3)), "gamma"), ValueError, r"gamma has shape \(1,\).*\(3,\)"),
        ((np.ones((3, 1)), np.ones((4, 3)), "beta"), ValueError, r"beta has shape \(3, 1\)"),
    ],
    "positive_eps": [
        ((0,), ValueError, "eps is 0;"),
        ((-1,), ValueError, "eps is -1;"),
        ((float("nan"),), ValueError, "nan"),
    ],
    "input_rank": [
        ((np.ones(2), (2,)), TypeError, r"ndarray.*torch\.as_tensor"),
        ((torch.ones(2), (2, 3)), ValueError, r"2D or 3D.*1D.*\(2,\).*\(N, C\) or \(N, C, L\)"),
    ],
    "more_than_one_value": [
        ((torch.ones(1, 3), (0,)), ValueError, r"\(1, 3\).*drop_last=True.*eval\(\)"),
        ((torch.ones(1, 3, 1), (0, 2)), ValueError, r"\(1, 3, 1\)"),
    ],
    "channel_count": [
        ((torch.ones(4, 3), {"bias": torch.ones(2)}), RuntimeError, r"bias.*3 elements not 2"),
        ((torch.ones(4, 3), {"bias": torch.ones(1)}), RuntimeError, r"bias.*3 elements not 1"),
    ],
    "same_dtype": [
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
