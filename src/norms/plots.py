"""Every figure of the book: one style, one colour, marker and line a norm.

A figure function draws and returns nothing; the notebook cell ends in ``plt.show()``.
"""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import FancyArrowPatch, Rectangle

__all__ = [
    "NORM_STYLES",
    "computation_graph",
    "estimates_by_size",
    "gradcheck_bars",
    "index_sheet",
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


def computation_graph(nodes, edges, size=(WIDTH, 3.4)):
    """Draw a computation graph: the forward in ink, the gradients in the accent colour below.

    Args:
        nodes: dictionary from a label to its place (x, y).
        edges: pairs of labels, in the direction of the forward pass.
        size: of the figure in inches.
    """
    _, ax = plt.subplots(figsize=size)
    for start, end in edges:
        ax.add_patch(
            FancyArrowPatch(
                nodes[start],
                nodes[end],
                arrowstyle="-|>",
                mutation_scale=9,
                shrinkA=16,
                shrinkB=16,
                color=AXIS,
                lw=1,
            )
        )
    for label, place in nodes.items():
        ax.text(
            *place,
            label,
            ha="center",
            va="center",
            fontsize=11,
            bbox={"boxstyle": "round,pad=0.35", "fc": "white", "ec": GRID},
        )
    xs, ys = zip(*nodes.values(), strict=True)
    ax.set(xlim=(min(xs) - 0.6, max(xs) + 0.6), ylim=(min(ys) - 0.6, max(ys) + 0.6))
    ax.axis("off")


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
        ax.annotate(label, (sizes[1], values[1].mean()), (0, -6), textcoords="offset points", va="top")
    ax.set(xscale="log", xlabel=xlabel, ylabel=ylabel, ylim=(0, None))
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.minorticks_off()
