"""Which learning rates of a grid work."""

import numpy as np
import pytest

from norms.experiments import probes

RATES = [0.001, 0.01, 0.1, 1]


@pytest.mark.parametrize(
    ("losses", "ends"),
    [
        ([3, 1, 1, 3], (0.01, 0.1)),
        ([1, 3, 1, 3], (0.001, 0.1)),  # a gap inside does not count
        ([3, 3, 1, 3], (0.1, 0.1)),
        ([2, 3, 1, 2], (0.1, 0.1)),  # at the limit is not below it
        ([float("nan"), 1, 1, float("nan")], (0.01, 0.1)),
        ([3, 3, 3, 3], None),
    ],
)
def test_working_rates_are_the_ends_of_what_lies_below_the_limit(losses, ends):
    assert probes.working_rates(RATES, losses, 2) == ends


def test_each_seed_has_its_own_decades():
    losses = np.array([[3, 1, 3, 3], [1, 1, 3, 3], [1, 1, 1, 3], [3, 1, 3, 3]])
    assert probes.working_decades(RATES, losses, 2) == pytest.approx([1, 3, 0, 0])


def test_every_rate_has_its_loss():
    with pytest.raises(ValueError, match="shorter"):
        probes.working_rates(RATES, [1, 2], 2)
