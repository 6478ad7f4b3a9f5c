"""One style for the book: a colour, marker and line a norm."""

import matplotlib as mpl

from norms.names import NAMES

__all__ = ["ACCENT", "AXIS", "GRID", "INK", "NORM_STYLES", "PAPER", "REST", "SHADES", "use_style"]

PAPER, INK, AXIS, GRID, REST = "#FCFBF8", "#222832", "#5B616B", "#E6E4DE", "#E9E7E1"
ACCENT = "#12607A"
WIDTH, HEIGHT = 4.8, 3.2  # of a figure with one panel, in inches

NORM_STYLES = {
    kind: {key: name[key] for key in ("color", "marker", "linestyle", "linewidth") if key in name}
    | ({"mfc": PAPER} if name.get("hollow") else {})
    for kind, name in NAMES.items()
}

# Arms where no norm is the subject: marker and shade differ.
SHADES = (
    {"color": NAMES["none"]["color"], "marker": "o", "linestyle": "-", "mfc": PAPER},
    {"color": ACCENT, "marker": "s", "linestyle": "-"},
    {"color": INK, "marker": "^", "linestyle": "-"},
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
