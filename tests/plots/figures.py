"""How the tests read a figure: its lines by colour, its texts by place."""

from itertools import combinations

from matplotlib import pyplot as plt


def drawn(ax=None):
    """Draw the figure, as it is stored; return its axes."""
    ax = ax or plt.gca()
    ax.figure.canvas.draw()
    return ax


def lines_of(ax, color):
    """Return the lines of one colour that are no dots."""
    return [line for line in ax.lines if line.get_marker() != "." and line.get_color() == color]


def dots_of(ax):
    """Return the values of the faint dots, one list for each seed."""
    return [line.get_ydata().tolist() for line in ax.lines if line.get_marker() == "."]


def boxes(ax):
    """Return the texts in the axes (but for the title) and where they stand, in pixels."""
    texts = {text.get_text(): text for text in ax.texts if text.get_text()}
    return {name: text.get_window_extent() for name, text in texts.items()}


def cells(ax):
    """Return the filled patches: (column, row) of their lower corner, colour, opacity."""
    patches = [patch for patch in ax.patches if patch.get_fill()]
    return [
        (patch.get_xy(), patch.get_facecolor()[:3], patch.get_facecolor()[3]) for patch in patches
    ]


def names_of(axis):
    """Return the texts beside an axis."""
    return [label.get_text() for label in axis.get_ticklabels()]


def arrows(ax):
    """Return where each arrow starts and ends: (x, y, x, y)."""
    return [(*text.xyann, *text.xy) for text in ax.texts if not text.get_text()]


def assert_apart(places):
    """No text covers another."""
    for first, second in combinations(places, 2):
        assert not places[first].overlaps(places[second]), (first, second)


def assert_inside(places, frame):
    """Each text stands whole in the frame."""
    for name, place in places.items():
        assert frame.x0 <= place.x0 <= place.x1 <= frame.x1, name
        assert frame.y0 <= place.y0 <= place.y1 <= frame.y1, name


def assert_readable(ax, names):
    """The labels at the ends stand apart, each at the height of the axes; return them from above."""
    drawn(ax)
    places, inside = {name: boxes(ax)[name] for name in names}, ax.get_window_extent()
    assert_apart(places)
    for name, place in places.items():
        assert inside.y0 - 1 <= (place.y0 + place.y1) / 2 <= inside.y1 + 1, name
        assert place.x0 > inside.x1, name
        assert place.x1 <= ax.figure.bbox.x1, name
    return sorted(names, key=lambda name: -places[name].y0)
