"""Drawings that are no curves: sheets of cells, tables, small pictures, points in the plane."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.patches import Rectangle

from norms.names import NAMES, SHEETS
from norms.plots.style import ACCENT, AXIS, INK, NORM_STYLES, PAPER, REST, WIDTH

__all__ = [
    "circle_of_norms",
    "index_sheet",
    "index_sheets",
    "invariance_table",
    "jacobian_maps",
    "mean_projection",
    "picture_rows",
    "step_at_right_angles",
    "weight_sheet",
]


def index_sheet(
    shared, kind="batch", element=(1, 2), size=3, rows="n", columns="c", strips="γβ", place=None,
    ax=None,
):  # fmt: skip
    """Draw which values share statistics: 4 rows N, 6 columns C, a 3x3 map in each cell.

    Args:
        shared: ``shared(n, c)`` says whether cell (n, c) shares statistics with ``element``.
        kind: a key of NORM_STYLES, for the shared cells.
        element: the cell (n, c) whose middle value is outlined.
        size: of a cell's map; 1 where a cell is one value, as for tokens or weights.
        rows: letter of the rows.
        columns: letter of the columns.
        strips: letters of the parameters that are learned for each column.
        place: the one (h, w) of each map that shares; default all of them.
        ax: axes to draw in; a new figure without it.
    """
    count_rows, count_columns, gap = 4, 6, 0.7 * size / 3
    step, unit = size + gap, size / 3
    if ax is None:
        _, ax = plt.subplots(figsize=(WIDTH, 3.3))

    def cell(x, y, width, height, mine):
        look = _tint(kind) if mine else {"fc": REST, "lw": 0}
        ax.add_patch(Rectangle((x, y), width - 0.08 * unit, height - 0.08 * unit, **look))

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


def index_sheets(kinds):
    """Draw the sheets of several norms of images, two side by side, each with its name.

    Args:
        kinds: keys of ``SHEETS`` in ``norms.names``; the sets are those that it says.
    """
    rows, element = -(-len(kinds) // 2), (1, 2)
    _, grid = plt.subplots(rows, 2, figsize=(WIDTH, 2 * rows), squeeze=False)
    for ax in grid.flat[len(kinds) :]:
        ax.axis("off")
    for ax, kind in zip(grid.flat, kinds, strict=False):
        wide = [SHEETS[kind][axis] for axis in ("rows", "columns")]
        wide = [{"one": 1, "all": 6}.get(width, width) for width in wide]

        def shared(*cell, wide=wide):  # in the same block of so many rows and columns
            parts = zip(cell, element, wide, strict=True)
            return all(place // width == of // width for place, of, width in parts)

        index_sheet(shared, kind, element, ax=ax)
        for text in ax.texts:
            text.set_fontsize(7)
        ax.set_title(NAMES[kind]["title"], fontsize=9, color=AXIS, pad=2)


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
    _, axes = plt.subplots(
        1, count, figsize=(WIDTH, 0.55 + WIDTH / count), sharey=True, squeeze=False
    )
    for ax, (title, (kind, values)) in zip(axes[0], maps.items(), strict=True):
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
        ax.tick_params(pad=2)
        _bare(ax)
        ax.set_title(title, fontsize=9, color=AXIS, pad=5)
    axes[0, 0].set_ylabel(ylabel)


def invariance_table(changes, columns):
    """Draw which changes of weights and inputs a norm undoes: a filled cell leaves its output alone.

    Args:
        changes: dictionary from a row's text to ``(kind, values)``: a key of NORM_STYLES and the
            largest change of the output for each of K columns; below 1e-9 counts as none.
        columns: K texts, in two lines each.
    """
    _, ax = plt.subplots(figsize=(WIDTH, 0.95 + 0.42 * len(changes)))
    for y, (kind, values) in enumerate(changes.values()):
        for x, value in enumerate(values):
            same = value < 1e-9
            look = _tint(kind) if same else {"fc": PAPER, "ec": REST, "lw": 1.2}
            ax.add_patch(Rectangle((x + 0.05, y + 0.08), 0.9, 0.84, **look))
            text, ink = ("same", INK) if same else (f"{value:.1f}", AXIS)
            ax.text(x + 0.5, y + 0.5, text, ha="center", va="center", color=ink, fontsize=8)
    ax.set(xlim=(0, len(columns)), ylim=(len(changes), 0))
    ax.set_yticks(np.arange(len(changes)) + 0.5, list(changes))
    ax.set_xticks(np.arange(len(columns)) + 0.5, columns, fontsize=8)
    ax.xaxis.tick_top()
    _bare(ax)


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
    ax.set(xlim=(-2.7, 3), ylim=(-1.4, 4.1), aspect="equal", xlabel="first value")
    ax.set_ylabel("second value")
    ax.grid(visible=False)


def weight_sheet(kind, strip=""):
    """Draw a weight matrix, 4 outputs by 6 inputs, and which of its weights share a statistic.

    Args:
        kind: a key of SHEETS in ``norms.names``; the set is the one that it says.
        strip: letter of the parameter that each row has; without it there is none.
    """
    step, element = 1 + 0.7 / 3, (1, 2)
    _, ax = plt.subplots(figsize=(WIDTH, 2.9))

    def shared(*cell):
        parts = zip(cell, element, (SHEETS[kind]["rows"], SHEETS[kind]["columns"]), strict=True)
        return all(width == "all" or place == of for place, of, width in parts)

    index_sheet(shared, kind, element, size=1, rows="o", columns="i", strips="", ax=ax)
    if strip:
        left = 6 * step + 0.3
        for o in range(4):
            look = _tint(kind) if o == element[0] else {"fc": REST, "lw": 0}
            ax.add_patch(Rectangle((left, o * step), 0.97, 0.97, **look))
        ax.text(left + 0.5, -1 / 6, strip, ha="center", va="bottom", color=AXIS, fontstyle="italic")
        ax.set_xlim(right=left + 1.1)


def step_at_right_angles():
    """Draw a step of the direction v of a weight: against dw, its part across v, and the longer v."""
    _, ax = plt.subplots(figsize=(WIDTH, 3.4))
    v, across, along = np.array([2.0, 0.0]), np.array([0.0, 1.35]), np.array([-0.9, 0.0])
    turn, end = np.linspace(-0.35, 0.95, 100), v + across
    for radius, color in ((2.0, AXIS), (1.0, NORM_STYLES["weight"]["color"])):
        ax.plot(radius * np.cos(turn), radius * np.sin(turn), "--", color=color, lw=1)
    for arrow in (v, end):
        _arrow(ax, (0, 0), arrow, INK)
        ax.plot(*arrow / np.linalg.norm(arrow), "v", color=NORM_STYLES["weight"]["color"], ms=8)
    _arrow(ax, v, v + across + along, ACCENT)
    _arrow(ax, v, end, ACCENT, lw=3)
    ax.plot(*zip(end, end + along, strict=True), ":", color=ACCENT, lw=1.5)
    for text, place, offset, side in (
        ("v", v, (6, -9), "left"),
        ("new v", end, (6, 4), "left"),
        ("−dv", v + across / 2, (8, 0), "left"),
        ("−dw", v + (across + along) / 2, (-9, -4), "right"),
        ("w", v / 2, (-4, -13), "right"),
        ("new w", end / np.linalg.norm(end), (-8, 8), "right"),
    ):
        beside = {"textcoords": "offset points", "va": "center", "ha": side}
        ax.annotate(text, place, offset, **beside)
    ax.set(xlim=(-0.2, 3.2), ylim=(-0.7, 1.75), aspect="equal")
    _bare(ax)
    ax.set(xticks=[], yticks=[])


def _tint(kind):
    """A norm's colour, light enough for ink on it."""
    return {"fc": NORM_STYLES[kind]["color"], "alpha": 0.35, "lw": 0}


def _bare(ax):
    """Leave the names of rows and columns and nothing else of the axes."""
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    ax.grid(visible=False)


def _arrow(ax, start, end, color, lw=1.5):
    look = {"arrowstyle": "-|>", "color": color, "lw": lw, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=look)
