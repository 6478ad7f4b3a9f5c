"""Every test starts from the same seed, on one thread."""

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
