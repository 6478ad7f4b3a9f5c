"""`guards`: what a part forbids is found in the source and while it runs."""

import numpy as np
import pytest
import torch
from guards import Forbidden, Guard, forbidden_in

IMPORTS = (
    "import numpy as np\nimport torch\nimport torch.nn.functional as F\nfrom torch import nn\n"
)


@pytest.mark.parametrize(
    ("body", "forbidden"),
    [
        ("return torch.tensor(x)", "torch"),
        ("return F.batch_norm(x)", "norms"),
        ("return nn.BatchNorm1d(3)(x)", "norms"),
        ("from torch.nn import LayerNorm as other\n    return other(3)(x)", "norms"),
        ("return helper(x)", "norms"),
        ("return alias(x)", "norms"),
        ("return np.linalg.svd(x)", "np.linalg.svd"),
        ("return torch.linalg.svd(x)", "svd"),
        ("return eval('tor' + 'ch')", "torch"),
        ("return __import__('torch')", "torch"),
        ("return np.more.tensor(x)", "torch"),
        ("return np.most.tensor(x)", "torch"),
        ("return timed(x)", "torch"),
        ("from concurrent.futures import ThreadPoolExecutor\n    return x", "torch"),
        ("return torch._decomp.decompositions.native_batch_norm_helper(x)", "norms"),
        ("return F.__dict__['batch_norm'](x)", "norms"),
        ("return kept(x)", "torch"),
        ("def g():\n        helper = 1\n    return helper(x)", "norms"),
        ("[helper for helper in ()]\n    return helper(x)", "norms"),
        ("def inner(helper=helper):\n        return helper(x)\n    return inner()", "norms"),
        ("return other(x)", "def other"),
    ],
)
def test_the_source_is_read(body, forbidden):
    more = "def helper(x):\n    return nn.functional.layer_norm(x, (3,))\nalias = F.group_norm\n"
    cells = [
        IMPORTS,
        "%matplotlib inline\n" + more,
        "np.more = torch",
        "v = !true\nsetattr(np, 'most', torch)",
        "%time timed = torch.tensor",
        "def early(x):\n    return torch.tensor(x)\nkept = early",
        "def early(x):\n    return x\ndef other(x):\n    return x",
        f"def f(x):\n    {body}\n",
        "this is no Python (",
    ]
    assert forbidden_in(cells, "f", [forbidden])


@pytest.mark.parametrize(
    "body",
    [
        "return np.mean(x)",
        "return other(x)",
        "norms = x.batch_norm\n    return norms",
        "return weight_norm(x)",
        "t = x + 1\n    return [k for k in t]",  # both are other things in another cell
        "return again(x)",
    ],
)
def test_what_is_allowed_passes(body):
    more = "def other(x):\n    return np.linalg.norm(x)\ndef weight_norm(v):\n    return v\n"
    unused = "def unused(x):\n    return nn.BatchNorm1d(3)(x)\n"
    tried = "x = t = nn.BatchNorm1d(3)(x)\nfor k in range(2):\n    print(nn.BatchNorm1d)\n"
    first = "def again(x):\n    return nn.BatchNorm1d(3)(x)\ndef f(x):\n    return again(x)\n"
    mended = "def again(x):\n    return x\n"
    cells = [IMPORTS, more, unused, first, tried, mended, f"def f(x):\n    {body}\n"]
    assert not forbidden_in(cells, "f", ["norms"])


@pytest.mark.parametrize(
    "cell", ["import checking", "from checks import Guard", "checks.checking.Guard = None"]
)
def test_the_checks_own_helpers_are_not_touched(cell):
    assert forbidden_in([cell, "def f(x):\n    return x"], "f", ["torch"])


def test_a_name_that_no_cell_binds_is_not_taken_on_trust():
    assert forbidden_in(["%%bash\nf", "x = 1"], "f", ["torch"])
    assert not forbidden_in(["%%time\ndef f(x):\n    return x"], "f", ["torch"])


X = torch.randn(4, 3, 2)
ROADS = {
    "F.batch_norm": lambda: torch.nn.functional.batch_norm(X, None, None, training=True),
    "getattr": lambda: getattr(torch, "layer" + "_norm")(X, (2,)),
    "nn.GroupNorm": lambda: torch.nn.GroupNorm(1, 3)(X),
    "nn.InstanceNorm1d": lambda: torch.nn.InstanceNorm1d(3)(X),
    "nn.RMSNorm": lambda: torch.nn.RMSNorm(2)(X),
    "aten": lambda: torch.ops.aten.native_layer_norm(X, [2], None, None, 1e-5),
    "weight_norm": lambda: torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 2))(X),
}


@pytest.mark.parametrize("road", ROADS)
def test_torchs_norms_are_stopped_by_whatever_road(road):
    with pytest.raises(Forbidden), Guard(["norms"]):
        ROADS[road]()
    with Guard(["svd"]):
        ROADS[road]()


def test_other_doors_shut_and_open_again():
    with Guard(["torch"]), pytest.raises(Forbidden):
        torch.zeros(3) + 1
    with Guard(["np.linalg.svd"]), pytest.raises(Forbidden):
        np.linalg.svd(np.eye(2))
    with Guard(["svd"]), pytest.raises(Forbidden):
        torch.linalg.svd(torch.eye(2))
    with Guard(["norms"]):
        assert torch.linalg.norm(torch.ones(4)) == 2
    np.linalg.svd(np.eye(2))
    torch.zeros(3) + 1
