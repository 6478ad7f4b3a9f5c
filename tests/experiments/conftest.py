"""Data for the tests of the experiments: real digits, and a text of five letters."""

import pytest
import torch

from norms.experiments.data import Text, digits

pytest.register_assert_rewrite("small_nets")


@pytest.fixture(scope="session")
def images():
    return digits()


@pytest.fixture
def text():
    """Draw 40, 12 and 12 windows of 6 characters of 5, and what follows: the same, one later."""
    windows = [torch.randint(5, (count, 7)) for count in (40, 12, 12)]
    return Text("letters", *((w[:, :-1], w[:, 1:]) for w in windows), characters="abcde")
