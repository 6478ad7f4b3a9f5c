"""Claims with the bounds that were stated before the run, and the verdict that follows from them.

A claim names its quantities and, for each verdict that it can get, bounds on them. The first
verdict all of whose bounds hold is the claim's; if none does, it is "not seen here". Nobody types
a verdict.

A claim may be measured anew on a second data set; :class:`Repeat` says how.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field

__all__ = [
    "VERDICTS",
    "Bound",
    "Claim",
    "Repeat",
    "above",
    "below",
    "between",
    "exactly",
    "null",
    "verdict",
]

VERDICTS = (
    "proved",
    "holds",
    "holds if",
    "half-true",
    "not seen here",
    "contradicted",
    "cannot be tested here",
)


@dataclass(frozen=True)
class Bound:
    """An open interval, in which the whole interval of a quantity must lie; or a single value."""

    low: float
    high: float

    def holds(self, measured):
        """Tell whether a measured interval (with ``low`` and ``high``), or a number, lies inside."""
        low, high = (float(getattr(measured, end, measured)) for end in ("low", "high"))
        if self.low == self.high:
            return low == high == self.low
        return self.low < low and high < self.high  # False for NaN

    def __str__(self):
        if self.low == self.high:
            return f"exactly {self.low:g}"
        if math.isinf(self.high):
            return f"above {self.low:g}"
        if math.isinf(self.low):
            return f"below {self.high:g}"
        if self.low == -self.high:
            return f"within ±{self.high:g}"
        return f"between {self.low:g} and {self.high:g}"


def above(value):
    """The whole interval lies above ``value``."""
    return Bound(value, math.inf)


def below(value):
    """The whole interval lies below ``value``."""
    return Bound(-math.inf, value)


def between(low, high):
    """The whole interval lies between ``low`` and ``high``."""
    if not low < high:
        raise ValueError(f"no number lies between {low} and {high}: give the smaller one first")
    return Bound(low, high)


def null(value):
    """The whole interval lies within ±``value``: an effect, if any, is too small to matter."""
    if not value > 0:
        raise ValueError(f"bound is {value}; expected a positive number, stated before the run")
    return Bound(-value, value)


def exactly(value):
    """The measured value is this number and no other."""
    return Bound(value, value)


@dataclass(frozen=True)
class Claim:
    """A statement with the bounds that decide on it.

    It is a cell of the summary table, said for a norm (``RMS+1``) or against it (``RMS-1``), or a
    finding of a page. Without bounds it has not been judged yet.

    Attributes:
        statement: the claim in our own words.
        arms: what is compared; names of a grid's arms where it has some.
        seeds: how many; 0 for what is exact or has no seeds.
        effect: the quantity that is shown as the effect.
        unit: what completes the number of the effect.
        of: what an interval of the effect runs over.
        quantities: dictionary from a name to what is measured and in which unit.
        bounds: dictionary from a verdict to a dictionary from a quantity to a :class:`Bound`; in
            the order in which they are tried.
        condition: dictionary from a verdict to the sentence that completes it; ``{name}`` and
            ``{name:.1f}`` stand for the measured quantities.
        paper_for: who says so.
        paper_against: who says otherwise.
    """

    statement: str
    arms: tuple[str, ...] = ()
    seeds: int = 0
    effect: str = ""
    unit: str = ""
    of: str = "paired seeds"
    quantities: dict[str, str] = field(default_factory=dict)
    bounds: dict[str, dict[str, Bound]] = field(default_factory=dict)
    condition: dict[str, str] = field(default_factory=dict)
    paper_for: str = ""
    paper_against: str = ""

    def __post_init__(self):
        for name, bounds in self.bounds.items():
            if name not in VERDICTS:
                raise ValueError(
                    f"verdict is {name!r}; expected one of: {', '.join(VERDICTS)} "
                    f"({self.statement})"
                )
            if not bounds:
                raise ValueError(f"{self.statement}: {name!r} has no bound: it could not fail")
            if unknown := set(bounds) - set(self.quantities):
                raise ValueError(f"{self.statement}: no quantity {', '.join(sorted(unknown))}")
        if "holds if" in self.bounds and "holds if" not in self.condition:
            raise ValueError(f"{self.statement}: verdict 'holds if' needs its condition")
        if self.bounds and self.effect not in self.quantities:
            raise ValueError(f"{self.statement}: the effect {self.effect!r} is no quantity")


@dataclass(frozen=True)
class Repeat:
    """How the effect of a claim is measured anew on a second data set.

    Attributes:
        data: its name.
        arms: function that returns two arms, the one that is compared first; see
            :mod:`norms.experiments.grids`.
        statistic: function from an arm's :class:`~norms.experiments.training.History` to one
            number a seed.
        combine: "paired" for the difference of the two arms, or "ratio".
        grid: the name of the grid that chose the learning rates; none if ``options`` has them.
        options: of :func:`~norms.experiments.training.train`.
    """

    data: str
    arms: Callable
    statistic: Callable
    combine: str = "paired"
    grid: str = ""
    options: dict = field(default_factory=dict)


def verdict(claim, measured):
    """Return the verdict that follows from what was measured.

    Args:
        claim: a :class:`Claim`.
        measured: dictionary from each of its quantities to an interval with ``low`` and ``high``,
            or a number.

    Returns:
        One of :data:`VERDICTS`, and the bounds that decided, or all if none did: a list of
        (quantity, bound, holds).

    Raises:
        ValueError: other quantities, or a claim without bounds.
    """
    if not claim.bounds:
        raise ValueError(f"no bounds were stated for: {claim.statement}")
    if set(measured) != set(claim.quantities):
        raise ValueError(
            f"measured {', '.join(sorted(measured)) or 'nothing'}; expected "
            f"{', '.join(sorted(claim.quantities))} ({claim.statement})"
        )
    tried = []
    for name, bounds in claim.bounds.items():
        looked = [(q, bound, bound.holds(measured[q])) for q, bound in bounds.items()]
        if all(holds for *_, holds in looked):
            return name, looked
        tried += looked
    return "not seen here", tried
