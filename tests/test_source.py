"""The subject is written here: no norm calls torch's own, not even by another name."""

import ast
import re
from pathlib import Path

import pytest

import norms

NORM = re.compile(r"(batch|layer|instance|group|rms|weight|spectral)_?norm|parametrizations", re.I)
PACKAGE = Path(norms.__file__).parent
SOURCES = [path.relative_to(PACKAGE).as_posix() for path in sorted(PACKAGE.rglob("*.py"))]

# Where torch's own norms are wanted: file -> what it names, and why.
WANTED = {
    "experiments/timing.py": {
        "nn.BatchNorm2d": "what ours is compared with",
        "nn.GroupNorm": "what ours is compared with",
        "nn.InstanceNorm2d": "what ours is compared with",
        "nn.LayerNorm": "what ours is compared with",
        "nn.RMSNorm": "what ours is compared with",
        "parametrize.remove_parametrizations": "folds ours away, as a user does",
    },
    "experiments/training.py": {"nn.LayerNorm": "a model of torch, in which layers are exchanged"},
}


def borrowed(source):
    """List the places where ``source`` names a norm that belongs to torch."""
    tree = ast.parse(source)
    torchs = {"torch"}  # names that lead into torch
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "torch":
            torchs |= {alias.asname or alias.name for alias in node.names}
            found += [
                f"{node.module}.{a.name}"
                for a in node.names
                if NORM.search(f"{node.module}.{a.name}")
            ]
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.split(".")[0] == "torch":
                    torchs.add(alias.asname or "torch")
                    found += [alias.name] if NORM.search(alias.name) else []
    for node in ast.walk(tree):
        text = ast.unparse(node) if isinstance(node, (ast.Attribute, ast.Call)) else ""
        reached = isinstance(node, ast.Attribute) and text.split(".")[0] in torchs
        if (reached or text.startswith("getattr(")) and NORM.search(text):
            found.append(text)
    return found


@pytest.mark.parametrize("name", SOURCES)
def test_no_norm_is_borrowed_from_torch(name):
    found = {text.partition("(")[0] for text in borrowed((PACKAGE / name).read_text("utf-8"))}
    wanted = set(WANTED.get(name, {}))
    assert found - wanted == set(), "write it here, or say in WANTED why not"
    assert wanted - found == set(), "no longer used: take it out of WANTED"


def test_every_file_is_looked_at():
    assert {"moments.py", "experiments/models/seats.py", *WANTED} <= set(SOURCES)


@pytest.mark.parametrize(
    "line",
    [
        "import torch.nn.functional as F\ny = F.batch_norm(x)",
        "from torch.nn import functional\ny = functional.layer_norm(x, shape)",
        "from torch.nn.functional import group_norm",
        "import torch\ny = torch.native_batch_norm(x)",
        "import torch\ny = torch.ops.aten.native_layer_norm(x)",
        "from torch import nn\nclass BatchNorm2d(nn.BatchNorm2d): pass",
        "from torch.nn.utils.parametrizations import spectral_norm",
        "import torch.nn.utils.parametrizations as p",
        "import torch\ny = getattr(torch, 'rms_norm')(x)",
    ],
)
def test_a_borrowed_norm_would_be_found(line):
    assert borrowed(line)


@pytest.mark.parametrize(
    "line",
    [
        "from norms.batch_norm import batch_norm_forward",
        "from torch.nn.utils import parametrize",
        "x.norm()",
    ],
)
def test_what_is_ours_may_be_named(line):
    assert borrowed(line) == []
