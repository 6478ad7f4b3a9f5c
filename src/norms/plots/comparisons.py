"""Values side by side: categories, pairs of runs, errors of checks."""

import matplotlib.pyplot as plt
import numpy as np

from norms.experiments.evidence import interval
from norms.plots.style import ACCENT, INK, NORM_STYLES, PAPER, WIDTH

__all__ = ["categories", "gradcheck_bars", "paired_and_not"]

MARKERS = ("o", "s", "D", "^", "v")


def categories(rows, xlabel, kind="batch", kinds=None):
    """Draw values by category: a row each, a marker a series, whiskers of 95 %, faint seeds.

    Args:
        rows: dictionary from a category to a dictionary from a series to S values; or, without
            series, to a key of NORM_STYLES and S values.
        xlabel: of the values.
        kind: a key of NORM_STYLES, for the series.
        kinds: dictionary from a series to a kind of its own.
    """
    named = isinstance(next(iter(rows.values())), dict)
    _, ax = plt.subplots(figsize=(WIDTH, 0.5 + (0.75 if named else 0.42) * len(rows)))
    for place, row in enumerate(rows.values()):
        row = row if named else {row[0]: row[1]}
        for k, (name, values) in enumerate(row.items()):
            style = NORM_STYLES[(kinds or {}).get(name, kind) if named else name]
            color, y = style["color"], place + 0.22 * (k - (len(row) - 1) / 2)
            effect = interval(values)
            ax.plot(values, [y] * len(values), ".", color=color, alpha=0.25, ms=3)
            ax.plot([effect.low, effect.high], [y, y], color=color, lw=1.5)
            look = {"marker": MARKERS[k], "mfc": color if k == 0 else PAPER}
            if not named:
                look = {"marker": style["marker"], "mfc": style.get("mfc", color)}
            label = name if place == 0 else None
            ax.plot(effect.mean, y, ls="", color=color, ms=6, label=label, **look)
    ax.set(xlabel=xlabel, ylim=(len(rows) - 0.5, -0.5), xlim=(0, None))
    _rows(ax, rows)
    if named:
        place = {"loc": "lower center", "bbox_to_anchor": (0.35, 1)}
        ax.legend(ncols=len(row), handletextpad=0.1, **place)


def gradcheck_bars(errors, tolerance, kind="batch"):
    """Draw relative errors of backwards on a log axis, grouped by how they were checked.

    Args:
        errors: dictionary from a backward to a dictionary from each of two checks to an error;
            below 1e-13 it is drawn there.
        tolerance: errors right of it are caught.
        kind: a key of NORM_STYLES.
    """
    _, ax = plt.subplots(figsize=(WIDTH, 2.9))
    color = NORM_STYLES[kind]["color"]
    for y, row in enumerate(errors.values()):
        for (check, error), marker, fill in zip(row.items(), "os", (PAPER, color), strict=True):
            label = check if y == 0 else None
            ax.plot(max(error, 1e-13), y, marker, mfc=fill, color=color, ms=8, label=label, ls="")
    ax.axvline(tolerance, color=INK, lw=1, ls="--")
    ax.annotate("caught →", (tolerance, -0.55), (4, 0), textcoords="offset points", va="center")
    ax.set(xscale="log", xlabel="relative error", ylim=(len(errors) - 0.5, -0.9))
    _rows(ax, errors)
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, 1.2), ncols=2, handletextpad=0.2)


def paired_and_not(arms, intervals, ylabel, xlabel):
    """Draw what two arms reached, seed by seed, and intervals of their difference.

    Args:
        arms: dictionary from two names to arrays (S,), in the same order of seeds.
        intervals: dictionary from a name to the ends of an interval.
        ylabel: of the arms.
        xlabel: of the intervals.
    """
    _, (top, low) = plt.subplots(2, 1, figsize=(WIDTH, 4.4), height_ratios=(3, 1))
    for pair in zip(*arms.values(), strict=True):
        top.plot((0, 1), pair, "o-", color=NORM_STYLES["none"]["color"], lw=0.9, ms=4, alpha=0.75)
    top.set(xlim=(-0.35, 1.35), ylabel=ylabel)
    top.set_xticks((0, 1), list(arms))
    for place, ends in enumerate(intervals.values()):
        low.plot(ends, (place, place), color=ACCENT, lw=2.5, solid_capstyle="butt")
        low.plot(np.mean(ends), place, "o", color=ACCENT, ms=7)
    low.set(ylim=(len(intervals) - 0.4, -0.6), xlim=(0, None), xlabel=xlabel)
    _rows(low, intervals)


def _rows(ax, names):
    """Name the rows, from above, and lay the grid for values that go to the right."""
    ax.set_yticks(range(len(names)), list(names))
    ax.grid(axis="x")
    ax.grid(visible=False, axis="y")
