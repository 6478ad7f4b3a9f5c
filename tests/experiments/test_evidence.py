"""From runs to intervals: of the right thing, by Student's t, seed by seed."""

import numpy as np
import pytest
from scipy import stats

from norms.experiments import evidence
from norms.experiments.evidence import Interval, interval, median, paired, ratio


@pytest.fixture
def effect():
    return Interval(2.0, 1.0, 3.0, 10)


def ends(found):
    return found.low, found.high


def test_an_interval_is_students_at_95_percent(rng):
    values = rng.normal(size=10)
    expected = stats.t.interval(0.95, 9, values.mean(), values.std(ddof=1) / 10**0.5)
    found = interval(values)
    assert ends(found) == pytest.approx(expected)
    assert (found.mean, found.n) == (pytest.approx(values.mean()), 10)
    assert interval([1.0, 3.0]).high == pytest.approx(2 + 12.706, abs=1e-3)  # from a table


def test_a_difference_is_taken_seed_by_seed(rng):
    luck = rng.normal(size=10)
    a, b = 10 * luck + rng.normal(size=10), 10 * luck
    found = paired(a, b)
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    assert ends(found) == pytest.approx(tuple(expected))
    assert found.mean == pytest.approx((a - b).mean())
    assert found.n == 10
    unpaired = stats.ttest_ind(a, b).confidence_interval(0.95)
    assert found.high - found.low < (unpaired.high - unpaired.low) / 3


def test_a_ratio_is_the_geometric_mean_of_pairs(rng):
    found = ratio([2.0, 8.0, 4.0], [1.0, 1.0, 1.0])
    assert found.mean == pytest.approx(4)
    assert found.mean**2 == pytest.approx(found.low * found.high)
    assert found.n == 3
    a, b = np.exp(rng.normal(size=(2, 8)))
    logs = interval(np.log(a / b))
    assert ends(ratio(a, b)) == pytest.approx((np.exp(logs.low), np.exp(logs.high)))
    assert ratio(b, a).low == pytest.approx(1 / ratio(a, b).high)


def test_a_median_does_not_feel_one_seed_that_fails(rng):
    values = rng.permutation([1.0, 2, 3, 4, 5, 6, 7, 8, 9, 10])
    found = median(values)
    assert (found.mean, *ends(found), found.n) == (5.5, 2, 9, 10)  # covers 97.9 %; 3 to 8 only 89 %
    values[values == 10] = 1e6
    assert median(values) == found


def test_the_interval_of_a_median_covers_it(rng):
    draws = rng.exponential(size=(400, 10))  # a skewed law, its median log 2
    inside = [low <= np.log(2) <= high for low, high in (ends(median(row)) for row in draws)]
    assert np.mean(inside) > 0.95


@pytest.mark.parametrize("values", [[1.0, 2, 3, 4, 5], [1.0] * 6 + [np.nan]])
def test_what_has_no_median_interval_is_refused(values):
    with pytest.raises(ValueError, match=r"six or more|not finite"):
        median(values)


def test_equal_values_have_an_interval_of_length_0():
    assert interval([2, 2, 2]) == Interval(2, 2, 2, 3)
    assert paired([1, 2], [0, 1]) == Interval(1, 1, 1, 2)


@pytest.mark.parametrize("values", [[1.0], [[1.0, 2.0]], [1.0, np.inf], [1.0, 2.0, np.nan], []])
def test_what_has_no_interval_is_refused(values):
    with pytest.raises(ValueError, match="values"):
        interval(values)


def test_pairs_need_the_same_seeds():
    with pytest.raises(ValueError, match="same seeds"):
        paired([1, 2], [1, 2, 3])
    with pytest.raises(ValueError, match="same seeds"):
        paired([1, 2], 1)


def test_an_interval_is_written_with_its_ends(effect):
    assert f"{effect:.2f}" == "2.00 (95 % interval 1.00 to 3.00)"
    assert f"{effect}" == str(effect) == "2.0 (95 % interval 1.0 to 3.0)"


def test_of_equal_values_no_interval_is_claimed():
    """They sit on a grid: that they agree says nothing about what lies between its points."""
    assert f"{interval([2, 2, 2]):.1f}" == "2.0 (the same in all 3)"
    assert f"{paired([1, 2], [0, 1])}" == str(interval([1, 1])) == "1.0 (the same in all 2)"
    assert f"{Interval(2.0, 1.999, 2.001, 5):.1f}" == "2.0 (95 % interval 2.0 to 2.0)"


def test_a_sentence_is_shown_as_markdown(monkeypatch):
    shown = []
    monkeypatch.setattr(evidence, "display", shown.append)
    evidence.say("It gains *2*.")
    assert [s._repr_markdown_() for s in shown] == ["It gains *2*."]
