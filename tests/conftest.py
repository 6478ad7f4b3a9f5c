"""Every test starts from the same seed, on one thread."""

import numpy as np
import pytest
import torch


def pytest_configure(config):
    torch.set_num_threads(1)
    config.addinivalue_line("markers", "slow: takes seconds, such as compiling")
    config.addinivalue_line(
        "markers", "mutants: runs the suite against faulty versions of the package"
    )


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


@pytest.fixture
def rng():
    return np.random.default_rng(0)
