"""The tools, most of them as a process in a small checkout; nothing is installed for real."""

import sys

import pytest
from checkouts import TOOLS, Checkout

sys.path.insert(0, str(TOOLS))


@pytest.fixture
def checkout(tmp_path):
    root = tmp_path / "l'été à côté" / "seven norms"
    root.mkdir(parents=True)
    return Checkout(root)
