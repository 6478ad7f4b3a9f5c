"""From runs to statements: paired differences and their intervals, and sentences that say them."""

from dataclasses import dataclass

import numpy as np
from IPython.display import Markdown, display
from scipy import stats

__all__ = ["Interval", "interval", "median", "paired", "ratio", "say"]


@dataclass(frozen=True)
class Interval:
    """A mean, or a median, with its 95 % interval over n seeds."""

    mean: float
    low: float
    high: float
    n: int

    def __format__(self, spec):
        spec = spec or ".1f"
        if self.low == self.high:  # values on a grid: an interval would claim too much
            return f"{self.mean:{spec}} (the same in all {self.n})"
        return f"{self.mean:{spec}} (95 % interval {self.low:{spec}} to {self.high:{spec}})"

    def __str__(self):
        return f"{self:.1f}"


def interval(values):
    """Return the mean of ``values`` and the 95 % interval of Student's t.

    It covers the draw of the seeds (initial weights and order of the batches), not the
    choice of the data.

    Args:
        values: one number a seed.

    Raises:
        ValueError: fewer than two values, or one that is not finite.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values has shape {values.shape}; an interval needs at least two seeds")
    if not np.isfinite(values).all():
        raise ValueError(f"values are {values}: say what a run that is not finite counts as")
    mean = float(values.mean())
    if np.ptp(values) == 0:
        return Interval(mean, mean, mean, len(values))
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    return Interval(mean, float(low), float(high), len(values))


def median(values):
    """Return the median of ``values`` and its interval of 95 % or more, from the sorted values.

    For an experiment in which now and then a seed fails in all arms: a mean over ten seeds would
    say little but that. Of ten values the interval leaves out the smallest and the largest.

    Args:
        values: one number a seed.

    Raises:
        ValueError: as :func:`interval`, and for fewer than six values: no two of them enclose the
            median with 95 %.
    """
    interval(values)  # what it refuses is refused here
    if len(values) < 6:
        raise ValueError(f"a median of {len(values)} values has no 95 % interval: take six or more")
    values = np.asarray(values, dtype=float)
    low, high = stats.quantile_test(values, p=0.5).confidence_interval(confidence_level=0.95)
    return Interval(float(np.median(values)), float(low), float(high), len(values))


def paired(a, b):
    """Return the interval of ``a - b``, seed by seed."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"a has shape {a.shape} and b {b.shape}: pairs need the same seeds")
    return interval(a - b)


def ratio(a, b):
    """Return the interval of ``a / b``, seed by seed: geometric mean, and limits on a log scale."""
    logs = paired(np.log(np.asarray(a, dtype=float)), np.log(np.asarray(b, dtype=float)))
    return Interval(*(float(np.exp(v)) for v in (logs.mean, logs.low, logs.high)), logs.n)


def say(sentence):
    """Show a sentence with measured numbers as Markdown."""
    display(Markdown(sentence))
