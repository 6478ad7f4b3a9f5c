"""Every figure of the book: one style, one colour, marker and line a norm.

A figure function draws and returns nothing; the notebook cell ends in ``plt.show()``.
"""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from norms.experiments.evidence import interval

__all__ = [
    "NORM_STYLES",
    "categories",
    "curves_by_rate",
    "estimates_by_size",
    "gradcheck_bars",
    "index_sheet",
    "lines_by_size",
    "seed_curves",
    "use_style",
]

PAPER, INK, AXIS, GRID, REST = "#FCFBF8", "#222832", "#5B616B", "#E6E4DE", "#E9E7E1"
WIDTH, HEIGHT, STACKED = 4.8, 3.2, 5.6

NORM_STYLES = {
    "none": {"color": "#63676C", "marker": "o", "linestyle": "-", "linewidth": 1.2, "mfc": PAPER},
    "batch": {"color": "#3E64B0", "marker": "o", "linestyle": "-"},
    "layer": {"color": "#885C27", "marker": "s", "linestyle": "-"},
    "rms": {"color": "#C479AC", "marker": "s", "linestyle": "--", "mfc": PAPER},
    "instance": {"color": "#929105", "marker": "^", "linestyle": ":"},
    "group": {"color": "#489A7A", "marker": "D", "linestyle": "-"},
    "weight": {"color": "#9379FD", "marker": "v", "linestyle": "--"},
    "spectral": {"color": "#C55E59", "marker": "x", "linestyle": "-."},
}


def use_style():
    """Set matplotlib to the style of the book."""
    mpl.rcParams.update(
        {
            "figure.figsize": (WIDTH, HEIGHT),
            "figure.dpi": 160,
            "figure.facecolor": PAPER,
            "figure.constrained_layout.use": True,
            "axes.facecolor": PAPER,
            "savefig.facecolor": PAPER,
            "font.size": 10,
            "font.family": "sans-serif",
            "text.color": INK,
            "axes.labelcolor": AXIS,
            "axes.edgecolor": AXIS,
            "axes.linewidth": 0.8,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.grid": True,
            "axes.grid.axis": "y",
            "axes.axisbelow": True,
            "grid.color": GRID,
            "xtick.color": AXIS,
            "ytick.color": AXIS,
            "lines.linewidth": 2,
            "lines.markersize": 5,
            "legend.frameon": False,
        }
    )


def index_sheet(shared, element=(1, 2), color=NORM_STYLES["batch"]["color"], ax=None):
    """Draw the sheet of look.md: rows N, columns C, a 3x3 map in each cell.

    Args:
        shared: ``shared(n, c)`` says whether cell (n, c) shares statistics with ``element``.
        element: the cell whose middle value is outlined.
        color: of the shared cells.
        ax: axes to draw in; a new figure without it.
    """
    rows, columns, size, gap = 4, 6, 3, 0.7
    if ax is None:
        _, ax = plt.subplots(figsize=(WIDTH, 3.3))
    for n in range(rows):
        for c in range(columns):
            x, y = c * (size + gap), n * (size + gap)
            fill, alpha = (color, 0.35) if shared(n, c) else (REST, 1.0)
            for h in range(size):
                for w in range(size):
                    ax.add_patch(Rectangle((x + w, y + h), 0.92, 0.92, fc=fill, alpha=alpha, lw=0))
            if (n, c) == tuple(element):
                ax.add_patch(
                    Rectangle((x + 0.98, y + 0.98), 0.96, 0.96, fill=False, ec=INK, lw=1.8)
                )
    width, height = columns * (size + gap) - gap, rows * (size + gap) - gap
    for n in range(rows):
        ax.text(-0.6, n * (size + gap) + 1.5, f"n = {n}", ha="right", va="center", color=AXIS)
    for c in range(columns):
        ax.text(c * (size + gap) + 1.5, -0.5, f"c = {c}", ha="center", va="bottom", color=AXIS)
    for c in range(columns):  # gain and shift, one of each a channel
        for k, name in enumerate("γβ"):
            x, y = c * (size + gap), height + 1.0 + 1.3 * k
            mine = c == element[1]
            ax.add_patch(
                Rectangle(
                    (x, y),
                    size - 0.08,
                    0.95,
                    fc=color if mine else REST,
                    alpha=0.35 if mine else 1,
                    lw=0,
                )
            )
            if c == 0:
                ax.text(
                    -0.6, y + 0.5, name, ha="right", va="center", color=AXIS, fontstyle="italic"
                )
    ax.set(xlim=(-3.4, width + 0.1), ylim=(height + 3.4, -1.8), aspect="equal")
    ax.axis("off")


def seed_curves(steps, arms, ylabel, chance=None):
    """Draw one curve an arm over training: the mean over seeds, and every seed as faint dots.

    Args:
        steps: T steps.
        arms: dictionary from the text beside the curve to ``(kind, values)``: a key of
            NORM_STYLES, and an array (T, S). A second arm of one kind is dashed.
        ylabel: what is measured.
        chance: the level of guessing, drawn as a dashed line.
    """
    _, ax = plt.subplots()
    seen = set()
    for label, (kind, values) in arms.items():
        values, style = np.asarray(values), dict(NORM_STYLES[kind])
        if kind in seen:
            style["linestyle"] = "--"
        seen.add(kind)
        ax.plot(steps, values, ".", color=style["color"], alpha=0.3, ms=3)
        ax.plot(steps, values.mean(1), markevery=max(len(steps) // 8, 1), **style)
        _label_at_end(ax, steps[-1], values[-1].mean(), label)
    if chance is not None:
        ax.axhline(chance, color=INK, lw=1, ls="--")
        ax.annotate("chance", (steps[0], chance), (0, -3), textcoords="offset points", va="top")
    ax.set(xlabel="step", ylabel=ylabel, ylim=(0, None))


def _label_at_end(ax, x, y, text):
    ax.annotate(
        text, (x, y), (7, 0), textcoords="offset points", va="center", annotation_clip=False
    )


def gradcheck_bars(errors, tolerance):
    """Draw relative errors of backwards on a log axis, grouped by how they were checked.

    Args:
        errors: dictionary from a backward to a dictionary from a check to an error.
        tolerance: errors right of it are caught.
    """
    _, ax = plt.subplots(figsize=(WIDTH, 2.9))
    checks = list(next(iter(errors.values())))
    markers, fills = ["o", "s"], [PAPER, NORM_STYLES["batch"]["color"]]
    for y, row in enumerate(errors.values()):
        for k, check in enumerate(checks):
            ax.plot(
                max(row[check], 1e-13),
                y,
                markers[k],
                mfc=fills[k],
                color=NORM_STYLES["batch"]["color"],
                ms=8,
                label=check if y == 0 else None,
            )
    ax.axvline(tolerance, color=INK, lw=1, ls="--")
    ax.annotate("caught →", (tolerance, -0.55), (4, 0), textcoords="offset points", va="center")
    ax.set(xscale="log", xlabel="relative error", ylim=(len(errors) - 0.5, -0.9))
    ax.set_yticks(range(len(errors)), list(errors))
    ax.grid(axis="x")
    ax.grid(visible=False, axis="y")
    ax.legend(loc="upper center", bbox_to_anchor=(0.4, 1.2), ncols=2, handletextpad=0.2)


def estimates_by_size(sizes, estimates, curves, xlabel, ylabel):
    """Draw estimates against the size of the sample, with the theory as dashed lines.

    Args:
        sizes: K sizes, drawn on a log axis.
        estimates: dictionary from a label to an array (K, S), one dot a seed.
        curves: dictionary from the same labels to the K values that theory gives.
        xlabel: of the sizes.
        ylabel: of the estimates.
    """
    _, ax = plt.subplots()
    color = NORM_STYLES["batch"]["color"]
    for (label, values), fill in zip(estimates.items(), (color, PAPER), strict=True):
        values = np.asarray(values)
        ax.plot(sizes, values, ".", color=color, alpha=0.25, ms=4)
        ax.plot(sizes, values.mean(1), "o", color=color, mfc=fill)
        ax.plot(sizes, curves[label], "--", color=INK, lw=1)
        ax.annotate(
            label, (sizes[1], values[1].mean()), (0, -6), textcoords="offset points", va="top"
        )
    ax.set(xscale="log", xlabel=xlabel, ylabel=ylabel, ylim=(0, None))
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()


MARKERS = ("o", "s", "D", "^")


def lines_by_size(lines, xlabel, ylabel, kind="batch"):
    """Draw one line an entry over sizes on a log axis, all in one norm's colour.

    Args:
        lines: dictionary from a label to ``(sizes, values)``: K sizes, and (K, S) with a dot
            a seed. A label's marker is filled but for the last, which is the exception.
        xlabel: of the sizes.
        ylabel: of the values.
        kind: a key of NORM_STYLES.
    """
    _, ax = plt.subplots(figsize=(WIDTH, 3.6))
    color = NORM_STYLES[kind]["color"]
    ax.axhline(0, color=INK, lw=1, ls="--")
    for (label, (sizes, values)), marker in zip(lines.items(), MARKERS, strict=False):
        values, last = np.asarray(values), label == list(lines)[-1]
        ax.plot(sizes, values, ".", color=color, alpha=0.25, ms=3)
        line = {"marker": marker, "color": color, "mfc": PAPER if last else color}
        ax.plot(sizes, values.mean(1), ls=":" if last else "-", **line)
        place = {"textcoords": "offset points", "ha": "right", "va": "bottom"}
        ax.annotate(label, (sizes[0], values[0].mean()), (-6, 0), **place)
    ticks = sorted({size for sizes, _ in lines.values() for size in sizes})
    ax.set(xscale="log", xlabel=xlabel, ylabel=ylabel, xlim=(ticks[0] / 2.6, None))
    ax.set_xticks(ticks, [str(tick) for tick in ticks])
    ax.minorticks_off()


def categories(rows, xlabel, kind="batch"):
    """Draw values by category: a row each, a marker a series, whiskers of 95 %, faint seeds.

    Args:
        rows: dictionary from a category to a dictionary from a series to S values.
        xlabel: of the values.
        kind: a key of NORM_STYLES.
    """
    series = list(next(iter(rows.values())))
    _, ax = plt.subplots(figsize=(WIDTH, 0.5 + 0.75 * len(rows)))
    color = NORM_STYLES[kind]["color"]
    for place, row in enumerate(rows.values()):
        for k, (name, values) in enumerate(row.items()):
            y = place + 0.22 * (k - (len(series) - 1) / 2)
            effect = interval(values)
            ax.plot(values, [y] * len(values), ".", color=color, alpha=0.25, ms=3)
            ax.plot([effect.low, effect.high], [y, y], color=color, lw=1.5)
            fill = color if k == 0 else PAPER
            label = name if place == 0 else None
            ax.plot(effect.mean, y, MARKERS[k], ls="", color=color, mfc=fill, ms=6, label=label)
    ax.set(xlabel=xlabel, ylim=(len(rows) - 0.5, -0.5), xlim=(0, None))
    ax.set_yticks(range(len(rows)), list(rows))
    ax.grid(axis="x")
    ax.grid(visible=False, axis="y")
    ax.legend(loc="lower center", bbox_to_anchor=(0.35, 1), ncols=len(series), handletextpad=0.1)


def curves_by_rate(rates, arms, ylabel, chance=None):
    """Draw accuracy over learning rates, one curve an arm.

    Args:
        rates: L learning rates, drawn on a log axis.
        arms: dictionary from a label to ``(kind, values)``: a key of NORM_STYLES and (L, S).
        ylabel: of the values.
        chance: the level of guessing, drawn as a dashed line.
    """
    _, ax = plt.subplots()
    for label, (kind, values) in arms.items():
        values, style = np.asarray(values), NORM_STYLES[kind]
        ax.plot(rates, values, ".", color=style["color"], alpha=0.25, ms=4)
        ax.plot(rates, values.mean(1), **style)
        middle = int(np.argmin(np.abs(values.mean(1) - values.mean(1).max() * 0.6)))
        place = (rates[middle], values[middle].mean())
        ax.annotate(label, place, (9, 4), textcoords="offset points", va="center")
    if chance is not None:
        ax.axhline(chance, color=INK, lw=1, ls="--")
        ax.annotate("chance", (rates[0], chance), (0, 4), textcoords="offset points")
    ax.set(xscale="log", xlabel="learning rate", ylabel=ylabel, ylim=(0, 102))
