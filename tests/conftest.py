"""Every test starts from the same seed, on one thread, in each of pytest's workers."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy and torch read it

import numpy as np
import pytest
import torch

pytest.register_assert_rewrite("twins")  # its asserts then show their values, as a test's do
torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def pytest_terminal_summary(terminalreporter):
    """Print the table of mutants, whichever process has judged them."""
    reports = [
        report for kind in ("passed", "failed") for report in terminalreporter.getreports(kind)
    ]
    lines = [
        line for report in reports for name, line in report.user_properties if name == "mutant"
    ]
    if lines:
        terminalreporter.section("mutants and the test that killed them")
        for line in sorted(lines):
            terminalreporter.line(line)
