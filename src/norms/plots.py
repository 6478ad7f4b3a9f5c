"""Every figure of the book: one style, one colour, marker and line a norm.

A figure function draws and returns nothing; the notebook cell ends in ``plt.show()``.
"""

from itertools import pairwise

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from norms.experiments.evidence import interval

__all__ = [
    "NORM_STYLES",
    "categories",
    "circle_of_norms",
    "curves",
    "curves_by_rate",
    "estimates_by_size",
    "gradcheck_bars",
    "index_sheet",
    "instruments",
    "invariance_table",
    "jacobian_maps",
    "jitter_by_size",
    "lines_by_size",
    "mean_projection",
    "paired_and_not",
    "panels",
    "picture_rows",
    "rate_windows",
    "scale_by_depth",
    "speed_and_drift",
    "stacked_curves",
    "use_style",
]

PAPER, INK, AXIS, GRID, REST = "#FCFBF8", "#222832", "#5B616B", "#E6E4DE", "#E9E7E1"
ACCENT = "#12607A"
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

# Three arms where no norm is the subject: marker and shade differ.
SHADES = (
    {"color": "#63676C", "marker": "o", "mfc": PAPER},
    {"color": ACCENT, "marker": "s"},
    {"color": INK, "marker": "^"},
)


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


def index_sheet(
    shared, element=(1, 2), color=NORM_STYLES["batch"]["color"], size=3, rows="n", columns="c",
    strips="γβ", place=None, ax=None,
):  # fmt: skip
    """Draw the sheet of look.md: rows N, columns C, a 3x3 map in each cell.

    Args:
        shared: ``shared(n, c)`` says whether cell (n, c) shares statistics with ``element``.
        element: the cell whose middle value is outlined.
        color: of the shared cells.
        size: of a cell's map; 1 where a cell is one value, as for tokens.
        rows: letter of the rows.
        columns: letter of the columns.
        strips: the parameters that are learned for each column.
        place: the one (h, w) of each map that shares; default all of them.
        ax: axes to draw in; a new figure without it.
    """
    count_rows, count_columns, gap = 4, 6, 0.7 * size / 3
    step, unit = size + gap, size / 3
    if ax is None:
        _, ax = plt.subplots(figsize=(WIDTH, 3.3))

    def cell(x, y, width, height, mine):
        look = {"fc": color, "alpha": 0.35} if mine else {"fc": REST}
        ax.add_patch(Rectangle((x, y), width - 0.08 * unit, height - 0.08 * unit, lw=0, **look))

    label = {"color": AXIS, "ha": "right", "va": "center"}
    for n in range(count_rows):
        ax.text(-0.6 * unit, n * step + size / 2, f"{rows} = {n}", **label)
        for c in range(count_columns):
            for h in range(size):
                for w in range(size):
                    mine = shared(n, c) and place in (None, (h, w))
                    cell(c * step + w, n * step + h, 1, 1, mine)
    n, c = element
    x, y, line = c * step + size // 2, n * step + size // 2, 0.02 * unit
    outline = Rectangle((x - line, y - line), 1 - line, 1 - line, fill=False, ec=INK, lw=1.8)
    ax.add_patch(outline)
    width, height = count_columns * step - gap, count_rows * step - gap
    for c in range(count_columns):  # gain and shift, one of each a column
        ax.text(c * step + size / 2, -0.5 * unit, f"{columns} = {c}", ha="center", va="bottom",
                color=AXIS)  # fmt: skip
        for k in range(len(strips)):
            cell(c * step, height + (1 + 1.3 * k) * unit, size, unit, c == element[1])
    for k, name in enumerate(strips):
        ax.text(-0.6 * unit, height + (1.5 + 1.3 * k) * unit, name, fontstyle="italic", **label)
    low = height + (0.8 + 1.3 * len(strips)) * unit
    ax.set(xlim=(-3.4 * unit, width + 0.1), ylim=(low, -1.8 * unit))
    ax.set_aspect("equal")
    ax.axis("off")


def panels(count):
    """Return the axes of a figure of so many panels under one another."""
    height = HEIGHT if count == 1 else 1.9 * count + 1.8
    return plt.subplots(count, 1, figsize=(WIDTH, height))[1]


def curves(
    x, arms, xlabel, ylabel, *, level=None, theory=None, logx=False, logy=False, ylim=None,
    title="", ax=None,
):  # fmt: skip
    """Draw one curve an arm: the mean over seeds, and every seed a faint dot.

    Args:
        x: K places.
        arms: dictionary from the text beside the curve to ``(kind, values)``: a key of
            NORM_STYLES, and an array (K, S) or (K,). Further arms of one kind are hollow, with
            other lines.
        xlabel: of the places.
        ylabel: of the values.
        level: a value and its text, drawn as a dashed line: chance, a target.
        theory: dictionary from the label of an arm to K values of the theory, drawn dashed.
        logx: whether the places stand on a log axis.
        logy: whether the values do; the mean is then that of the logarithms.
        ylim: ends of the axis of values; default from 0, or what a log axis needs.
        title: a text above the panel.
        ax: axes to draw in; a new figure without it.
    """
    ax = ax or plt.subplots()[1]
    x, seen, ends, few = np.asarray(x), [], {}, max(len(x) // 20, 1)
    for label, (kind, values) in arms.items():
        values, style = np.asarray(values, dtype=float).reshape(len(x), -1), dict(NORM_STYLES[kind])
        if nth := seen.count(kind):
            others = [line for line in ("--", ":", "-.", "-") if line != style["linestyle"]]
            style |= {"linestyle": others[nth - 1], "mfc": PAPER}
        seen.append(kind)
        mean = _mean(values, logy)
        if values.shape[1] > 1:
            ax.plot(x[::few], values[::few], ".", color=style["color"], alpha=0.3, ms=3)
        there = np.isfinite(mean)  # an arm may lack a place
        ax.plot(x[there], mean[there], markevery=max(len(x) // 8, 1), **style)
        if theory and label in theory:
            ax.plot(x, theory[label], "--", color=INK, lw=1)
        ends[label] = mean[there][-1]
    if level is not None:
        ax.axhline(level[0], color=INK, lw=1, ls="--")
        place = {"textcoords": "offset points", "ha": "right", "va": "top"}
        ax.annotate(level[1], (x[-1], level[0]), (0, -3), **place)
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if logx:
        ax.set_xscale("log")
    if logy:
        ax.set_yscale("log")
    ax.set_ylim(*ylim or ((None, None) if logy else (0, None)))
    _plain_ticks(ax, x)
    ax.annotate(title, (0, 1), (0, 6), "axes fraction", textcoords="offset points", color=AXIS)
    _label_ends(ax, ends)
    return ax


def _plain_ticks(ax, x):
    """Write numbers as people do: the places themselves if they are few, 0.2 and not 2×10⁻¹."""
    low, high = ax.get_ylim()
    if ax.get_yscale() == "log" and high / low < 100:
        ax.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    if ax.get_xscale() == "log" and len(x) <= 6:
        ax.set_xticks(x, [f"{place:g}" for place in x])
        ax.minorticks_off()
    elif ax.get_xscale() != "log" and np.allclose(x, np.round(x)):
        ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(7, integer=True))


def _label_ends(ax, ends):
    """Write a text at the right of the axes beside each curve's last value, moved apart."""
    figure = ax.figure
    share = ax.get_position().height if len(figure.axes) == 1 else 0.8 / len(figure.axes)
    gap = 12 / (72 * figure.get_size_inches()[1] * share)  # a line of text, in axes heights
    to_axes = ax.transData + ax.transAxes.inverted()
    places = sorted((to_axes.transform((ax.get_xlim()[1], y))[1], text) for text, y in ends.items())
    heights = [min(max(height, 0), 1) for height, _ in places]
    for _ in range(50):  # push neighbours apart, a little from both sides, and stay inside
        for k in range(len(heights) - 1):
            lack = gap - (heights[k + 1] - heights[k])
            if lack > 0:
                heights[k] -= lack / 2
                heights[k + 1] += lack / 2
        heights[0], heights[-1] = max(heights[0], 0), min(heights[-1], 1)
    for (_, text), height in zip(places, heights, strict=True):
        ax.annotate(text, (1, height), (6, 0), "axes fraction", textcoords="offset points",
                    va="center", annotation_clip=False)  # fmt: skip


def _label_at_end(ax, x, y, text):
    ax.annotate(
        text, (x, y), (7, 0), textcoords="offset points", va="center", annotation_clip=False
    )


def jacobian_maps(maps, names, ylabel, xlabel):
    """Draw how much each output depends on each input, one square a norm, side by side.

    Args:
        maps: dictionary from a title to ``(kind, values)``: a key of NORM_STYLES and an array
            (M, M), outputs by inputs. A cell that is exactly 0 stays empty; others are filled,
            the darker the larger.
        names: M names of inputs and outputs.
        ylabel: of the outputs.
        xlabel: of the inputs.
    """
    count = len(maps)
    _, axes = plt.subplots(1, count, figsize=(WIDTH, 0.55 + WIDTH / count), sharey=True)
    for ax, (title, (kind, values)) in zip(axes, maps.items(), strict=True):
        values = np.asarray(values)
        color = NORM_STYLES[kind]["color"]
        for (i, j), value in np.ndenumerate(values):
            strength = 0.25 + 0.75 * (value / values.max()) ** 0.5 if value else 0
            look = {"fc": color, "alpha": strength} if value else {"fc": REST, "alpha": 0.6}
            ax.add_patch(Rectangle((j + 0.04, i + 0.04), 0.92, 0.92, lw=0, **look))
        places = np.arange(len(values)) + 0.5
        ax.set(xlim=(0, len(values)), ylim=(len(values), 0), aspect="equal", xlabel=xlabel)
        ax.set_xticks(places, names, fontsize=7)
        ax.set_yticks(places, names, fontsize=7)
        ax.tick_params(length=0, pad=2)
        ax.spines[:].set_visible(False)
        ax.grid(visible=False)
        ax.set_title(title, fontsize=9, color=AXIS, pad=5)
    axes[0].set_ylabel(ylabel)


def invariance_table(changes, columns):
    """Draw which changes of weights and inputs a norm undoes: a filled cell leaves its output alone.

    Args:
        changes: dictionary from a row's text to ``(kind, values)``: a key of NORM_STYLES and the
            largest change of the output for each column; below 1e-9 counts as none.
        columns: texts of the columns, in two lines each.
    """
    _, ax = plt.subplots(figsize=(WIDTH, 0.95 + 0.42 * len(changes)))
    for y, (kind, values) in enumerate(changes.values()):
        for x, value in enumerate(values):
            same = value < 1e-9
            look = {"fc": NORM_STYLES[kind]["color"]} if same else {"fc": PAPER, "ec": REST}
            ax.add_patch(Rectangle((x + 0.05, y + 0.08), 0.9, 0.84, lw=1.2, **look))
            text, ink = ("same", PAPER) if same else (f"{value:.1f}", AXIS)
            ax.text(x + 0.5, y + 0.5, text, ha="center", va="center", color=ink, fontsize=8)
    ax.set(xlim=(0, len(columns)), ylim=(len(changes), 0))
    ax.set_yticks(np.arange(len(changes)) + 0.5, list(changes))
    ax.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=8)
    ax.xaxis.tick_top()
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)


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


def categories(rows, xlabel, kind="batch", kinds=None):
    """Draw values by category: a row each, a marker a series, whiskers of 95 %, faint seeds.

    Args:
        rows: dictionary from a category to a dictionary from a series to S values; or, without
            series, to a key of NORM_STYLES and S values.
        xlabel: of the values.
        kind: a key of NORM_STYLES.
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
    ax.set_yticks(range(len(rows)), list(rows))
    ax.grid(axis="x")
    ax.grid(visible=False, axis="y")
    if named:
        place = {"loc": "lower center", "bbox_to_anchor": (0.35, 1)}
        ax.legend(ncols=len(row), handletextpad=0.1, **place)


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


def scale_by_depth(plain, normed, theory):
    """Draw the size of signals by layer in two panels: forward above, backward below.

    Args:
        plain: dictionary from the text beside a line to ``(forward, backward)``, root mean
            squares (D, S) each.
        normed: the same with batch norm; its lines have one label.
        theory: growth of the squared gradient in a layer, and its text; drawn backwards from
            the last layer.
    """
    _, panels = plt.subplots(2, sharex=True, figsize=(WIDTH, STACKED))
    for way, ax in enumerate(panels):
        lines = [("none", label, pair[way]) for label, pair in plain.items()]
        lines += [("batch", "", pair[way]) for pair in normed.values()]
        for kind, label, values in lines:
            values, style = np.asarray(values), NORM_STYLES[kind]
            layers = np.arange(1, len(values) + 1)
            ax.plot(layers, values, ".", color=style["color"], alpha=0.25, ms=3)
            ax.plot(layers, values.mean(1), markevery=3, **style)
            end, side, shift = ((-1, "left", 8), (0, "right", -8))[way]
            place = (layers[end], values[end].mean())
            offset = {"textcoords": "offset points", "va": "center", "ha": side}
            ax.annotate(label, place, (shift, 5 if way == 0 and kind == "none" else 0), **offset)
        ax.annotate("batch norm", place, (shift, (-7, 5)[way]), **offset)
        ax.set(yscale="log")
    growth, text = theory
    steps = (len(values) - layers) / 2
    predicted = values[-1].mean() * growth**steps
    panels[1].plot(layers, predicted, "--", color=INK, lw=1)
    panels[1].annotate(text, (layers[3], predicted[3]), (0, 7), textcoords="offset points")
    panels[0].set(ylabel="size of the activation's input", xlim=(-7.2, len(values) + 7.6))
    panels[1].set(xlabel="layer", ylabel="size of its gradient")
    panels[1].set_xticks([1, 5, 10, 15, 20])


def speed_and_drift(runs, labels, target):
    """Draw test accuracy over the steps, and below it how far a layer's input moves in a step.

    Args:
        runs: dictionary from a name to a ``History`` whose ``watched`` are those of a
            ``DriftMeter`` of several layers; the name up to a comma is a key of NORM_STYLES.
            A second arm of one kind is dashed, a third dotted.
        labels: one a run, beside its line.
        target: accuracy, drawn as a dashed line.
    """
    _, panels = plt.subplots(2, sharex=True, figsize=(WIDTH, STACKED))
    seen = []
    for label, (name, run) in zip(labels, runs.items(), strict=True):
        kind = name.split(",")[0]
        style = dict(NORM_STYLES[kind])
        if kind in seen:
            style |= {"linestyle": ("--", ":")[seen.count(kind) - 1], "mfc": PAPER}
        seen.append(kind)
        steps = np.array(run.steps)
        each = np.stack([np.asarray(drift).mean(0) for drift in run.watched])  # from step 2 on
        between = [each[a - 1 : b - 1].mean(0) for a, b in pairwise(steps)]
        for ax, shown in zip(panels, (run.test[1:, 0], between), strict=True):
            shown = np.asarray(shown)
            ax.plot(steps[1:], shown, ".", color=style["color"], alpha=0.2, ms=3)
            ax.plot(steps[1:], shown.mean(1), markevery=5, **style)
        _label_at_end(panels[1], steps[-1], shown[-1].mean(), label)
    panels[0].axhline(target, color=INK, lw=1, ls="--")
    offset = {"textcoords": "offset points", "ha": "right", "va": "top"}
    panels[0].annotate("target", (steps[-1], target), (0, -4), **offset)
    panels[0].set(ylabel="test accuracy (%)", ylim=(0, 102))
    panels[1].set(xlabel="step", ylabel="shift in one step (deviations)", ylim=(-0.03, None))


def jitter_by_size(sizes, jitter, curves):
    """Draw the spread of one sample's output against the batch size, both on log axes.

    Args:
        sizes: K batch sizes.
        jitter: dictionary from a label to (K, S), one dot a seed.
        curves: dictionary from the same labels to the K predicted values, dashed.
    """
    _, ax = plt.subplots()
    color = NORM_STYLES["batch"]["color"]
    for (label, values), fill in zip(jitter.items(), (color, PAPER), strict=True):
        values = np.asarray(values)
        ax.plot(sizes, curves[label], "--", color=INK, lw=1)
        ax.plot(sizes, values, ".", color=color, alpha=0.25, ms=4)
        ax.plot(sizes, values.mean(1), "o", color=color, mfc=fill, ls="-", lw=1)
        _label_at_end(ax, sizes[-1], values[-1].mean(), label)
    ax.annotate("predicted", (sizes[0], curves[label][0]), (8, 4), textcoords="offset points")
    ax.set(xscale="log", yscale="log", xlabel="batch size m", ylabel="jitter of the output")
    ax.set_xticks(sizes, [str(size) for size in sizes])
    ax.set_yticks([0.1, 0.3, 1], ["0.1", "0.3", "1"])
    ax.minorticks_off()


def picture_rows(rows, names=None, ink=True):
    """Draw rows of small grey pictures.

    Args:
        rows: lists of ``(title, picture)``; a picture is (H, W) in [0, 1], or None for a gap.
        names: one a row, at its left.
        ink: draw 1 dark, as ink on paper; else 1 is light, as on a screen.
    """
    columns = max(len(row) for row in rows)
    side = WIDTH / (columns + 0.6 * bool(names))
    size = (WIDTH, len(rows) * (side + 0.12))
    _, grid = plt.subplots(len(rows), columns, figsize=size, squeeze=False)
    for n, (axes, row) in enumerate(zip(grid, rows, strict=True)):
        for ax in axes:
            ax.set_axis_off()
        for ax, (title, picture) in zip(axes, row, strict=False):
            if picture is not None:
                ax.imshow(np.asarray(picture), cmap="gray_r" if ink else "gray", vmin=0, vmax=1)
            ax.set_title(title, fontsize=9, color=AXIS, pad=3)
        if names:
            place = {"ha": "right", "va": "center", "transform": axes[0].transAxes}
            axes[0].text(-0.2, 0.5, names[n], **place)


def stacked_curves(x, panels, xlabel, slopes=None, log=False):
    """Draw panels under one another: curves with the mean over seeds, every seed a faint dot.

    Args:
        x: K places, such as layers or steps.
        panels: dictionary from the text above a panel to its curves, a dictionary from the
            text beside a curve to an array (K, S).
        xlabel: of the places.
        slopes: for each panel and curve K values of the theory, known but for a common factor:
            they are drawn dashed and go through the curves' smallest common place.
        log: whether the values stand on a log axis; otherwise they start at 0.
    """
    _, axes = plt.subplots(len(panels), 1, figsize=(WIDTH, STACKED), sharex=True)
    few = slice(None, None, max(len(x) // 20, 1))
    for k, (ax, (name, curves)) in enumerate(zip(axes, panels.items(), strict=True)):
        curves = {label: np.asarray(values) for label, values in curves.items()}
        means = [_mean(values, log) for values in curves.values()]
        spread = np.ptp(np.log(means) if log else means, axis=0)
        for i, (style, (label, values)) in enumerate(zip(SHADES, curves.items(), strict=False)):
            mean, style = means[i], dict(style)
            ax.plot(x[few], values[few], ".", color=style["color"], alpha=0.3, ms=3)
            if slopes is not None:
                theory = np.asarray(slopes[k][i])
                anchor = np.abs(np.log(theory)).argmin()
                ax.plot(x, theory * mean[anchor] / theory[anchor], "--", color=INK, lw=1)
                style["linestyle"] = ""
            ax.plot(x, mean, markevery=few, **style)
            if spread[-1] >= spread[0] / 2:
                place, offset, align = ("axes fraction", "data"), (5, 0), "center"
                start = (1, mean[-1])
            else:  # the curves part at their left ends: label them there
                falls = mean[0] >= mean[-1]
                place, offset = "data", (9, 6 if falls else -6)
                start, align = (x[0], mean[0]), "bottom" if falls else "top"
            ax.annotate(label, start, offset, place, textcoords="offset points", va=align)
        if log:
            ax.set_yscale("log")
            ax.margins(y=0.12)
        else:
            ax.set_ylim(0, 1.1 * max(values.max() for values in curves.values()))
        ax.annotate(name, (0, 1), (0, 6), "axes fraction", textcoords="offset points", color=AXIS)
    ax.xaxis.set_major_locator(mpl.ticker.MaxNLocator(6, integer=True))
    ax.set(xlabel=xlabel)


def rate_windows(rates, arms, chance, ylabel):
    """Draw accuracy against the learning rate: which rates an arm survives.

    Args:
        rates: L learning rates, powers of two.
        arms: dictionary from the text beside a curve to an array (L, S) in percent.
        chance: the level of guessing, drawn as a dashed line.
        ylabel: what is measured.
    """
    _, ax = plt.subplots()
    for style, (label, values) in zip(SHADES, arms.items(), strict=False):
        values = np.asarray(values)
        ax.plot(rates, values, ".", color=style["color"], alpha=0.3, ms=3)
        ax.plot(rates, values.mean(1), **style)
        mean = values.mean(1)
        best = mean.argmax()
        down = best + int((mean[best:] < mean[best] / 2).argmax())  # the first below half
        share = (mean[best] / 2 - mean[down - 1]) / (mean[down] - mean[down - 1])
        rate = rates[down - 1] * (rates[down] / rates[down - 1]) ** share
        ax.annotate(label, (rate, mean[best] / 2), (5, 0), textcoords="offset points", va="center")
    ax.axhline(chance, color=INK, lw=1, ls="--")
    ax.annotate("chance", (rates[-1], chance), (0, -5), textcoords="offset points", ha="right",
                va="top")  # fmt: skip
    ax.set(xscale="log", xlabel="learning rate", ylabel=ylabel, ylim=(0, 100))
    ticks = rates[::4]
    ax.set_xticks(ticks, [f"{r:g}" if r >= 1 else f"1/{1 / r:,.0f}" for r in ticks])
    ax.set_yticks(range(0, 101, 20))
    ax.minorticks_off()


def instruments(networks, ratios, layers=(1, 4, 8)):
    """Draw three instruments, one row a network: histograms, gradients, update ratios.

    Args:
        networks: dictionary from a name to the :class:`norms.experiments.probes.Signals` of a
            tanh network with D layers.
        ratios: dictionary from the same names to the arrays (D, S) of update ratios.
        layers: whose histograms are drawn, each as high as its fullest bin.
    """
    _, axes = plt.subplots(
        len(networks), 3, figsize=(WIDTH, 1.45 * len(networks) + 0.5), sharex="col", sharey="col"
    )
    for row, (name, seen) in zip(axes, networks.items(), strict=True):
        sizes = [g.square().mean((1, 2)).sqrt().numpy() for g in seen.gradients]
        for place, layer in enumerate(layers):
            heights, edges = np.histogram(np.asarray(seen.post[layer - 1]).ravel(), 41, (-1, 1))
            middles, base = (edges[1:] + edges[:-1]) / 2, place * 1.15
            shape = base + heights / heights.max()
            row[0].fill_between(middles, base, shape, step="mid", color=ACCENT, alpha=0.45, lw=0)
            row[0].plot(middles, shape, color=ACCENT, lw=0.8, drawstyle="steps-mid")
        for ax, values in zip(row[1:], (sizes, ratios[name]), strict=True):
            depth = np.arange(1, len(values) + 1)
            ax.plot(depth, values, ".", color=ACCENT, alpha=0.3, ms=3)
            ax.plot(depth, _mean(np.asarray(values), True), "o-", color=ACCENT, ms=3.5, lw=1.5)
            ax.set(yscale="log", xticks=[1, 4, 8])
        row[2].axhline(1e-3, color=INK, lw=1, ls="--")
        row[0].set(xticks=[-1, 0, 1], yticks=[1.15 * k + 0.4 for k in range(len(layers))])
        row[0].set_yticklabels([str(layer) for layer in layers])
        row[0].grid(visible=False)
        row[0].annotate(
            name, (0, 1), (-14, 5), "axes fraction", textcoords="offset points", weight="bold"
        )
    for ax in axes.flat:
        ax.minorticks_off()
        ax.tick_params(labelsize=8)
    for ax, label in zip(axes[-1], ("output", "layer", "layer"), strict=True):
        ax.set_xlabel(label)
    for ax, label in zip(axes[0], ("outputs of layer", "gradient", "update / weight"), strict=True):
        ax.annotate(
            label, (0.5, 1), (0, 20), "axes fraction", textcoords="offset points", ha="center",
            color=AXIS,
        )  # fmt: skip


def circle_of_norms(tokens):
    """Draw tokens of two features, and where RMS norm and layer norm take them.

    Args:
        tokens: array (N, 2).
    """
    _, ax = plt.subplots(figsize=(WIDTH, 4.2))
    rms, layer = NORM_STYLES["rms"], NORM_STYLES["layer"]
    turn = np.linspace(0, 2 * np.pi, 200)
    ax.plot(2**0.5 * np.cos(turn), 2**0.5 * np.sin(turn), color=rms["color"], lw=1.2)
    ax.plot((-2.4, 2.4), (2.4, -2.4), color=AXIS, lw=1, ls="--")
    ax.annotate("mean 0", (-2.35, 2.35), (6, 2), textcoords="offset points")
    on_circle = tokens / np.sqrt((tokens**2).mean(1, keepdims=True))
    for token, end in zip(tokens, on_circle, strict=True):
        _arrow(ax, token, end, rms["color"], lw=1)
        ax.plot(*np.array([token, token - token.mean()]).T, ":", color=layer["color"], lw=1)
    ax.plot(*tokens.T, "o", color=INK, ms=5, ls="")
    ax.plot(*on_circle.T, marker="s", color=rms["color"], mfc=PAPER, ms=7, ls="")
    for x in (-1, 1):
        ax.plot(x, -x, marker="s", color=layer["color"], ms=9)
    beside = {"textcoords": "offset points", "va": "center"}
    ax.annotate("layer norm", (1, -1), (10, 0), **beside)
    ax.annotate("RMS norm", on_circle[1], (12, -4), **beside)
    ax.set(xlim=(-2.6, 2.9), ylim=(-2.4, 2.8), aspect="equal")
    ax.set(xlabel="first feature", ylabel="second feature")
    ax.grid(visible=False)


def mean_projection():
    """Draw how subtracting the mean moves two values, and what it leaves of a gradient."""
    _, ax = plt.subplots(figsize=(WIDTH, 3.9))
    ends = np.array([-2.6, 2.6])
    ax.plot(ends, -ends, color=INK, lw=1.2)
    ax.annotate("mean 0", (-2.45, 2.45), (5, 4), textcoords="offset points")
    y = np.array([-1.0, 1.0])
    ax.plot(*zip(y - 1.1, y + 2.9, strict=True), "--", color=AXIS, lw=1)
    ax.annotate("the direction (1, 1)", y + 2.9, (-8, 0), textcoords="offset points", ha="right",
                va="center", color=AXIS)  # fmt: skip
    for shift in (2.3, 1.4):
        ax.plot(*(y + shift), "o", mfc=PAPER, color=INK, ms=7)
        _arrow(ax, y + shift - 0.12, y + shift - 0.62, INK)
    ax.annotate("x", y + 1.4, (-12, 2), textcoords="offset points", fontstyle="italic")
    ax.annotate("x + 0.9", y + 2.3, (-50, 2), textcoords="offset points", fontstyle="italic")
    ax.plot(*y, "o", color=INK, ms=7)
    ax.annotate("y", y, (-6, -16), textcoords="offset points", fontstyle="italic")
    dy = np.array([2.3, 0.1])
    dx = dy - dy.mean()
    _arrow(ax, y, y + dy, ACCENT)
    _arrow(ax, y, y + dx, ACCENT, lw=3)
    ax.plot(*zip(y + dx, y + dy, strict=True), ":", color=ACCENT, lw=1.5)
    ax.annotate("dy", y + dy, (5, 0), textcoords="offset points", va="center")
    ax.annotate("dx", y + dx, (-4, -14), textcoords="offset points", ha="right")
    ax.set(xlim=(-2.7, 3), ylim=(-1.4, 4), aspect="equal", xlabel="first value")
    ax.set_ylabel("second value")
    ax.grid(visible=False)


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
        low.plot(sum(ends) / 2, place, "o", color=ACCENT, ms=7)
    low.set(ylim=(len(intervals) - 0.4, -0.6), xlim=(0, None), xlabel=xlabel)
    low.set_yticks(range(len(intervals)), list(intervals))
    low.grid(axis="x")
    low.grid(visible=False, axis="y")


def _mean(values, log):
    """The mean over seeds, of the logarithms where the axis is one."""
    return np.exp(np.log(values).mean(1)) if log else values.mean(1)


def _arrow(ax, start, end, color, lw=1.5):
    ax.annotate(
        "",
        end,
        start,
        arrowprops={"arrowstyle": "-|>", "color": color, "lw": lw, "shrinkA": 0, "shrinkB": 0},
    )
