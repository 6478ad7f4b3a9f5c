"""What the figures show: every line, mark and label stands where its number says."""

from itertools import combinations

import matplotlib as mpl
import numpy as np
import pytest
from matplotlib import pyplot as plt
from matplotlib.colors import same_color, to_rgb

from norms import plots
from norms.experiments.evidence import interval
from norms.plots import NORM_STYLES, PAPER, REST

mpl.use("Agg")
pytestmark = pytest.mark.filterwarnings("error")


@pytest.fixture(autouse=True)
def _style():
    with mpl.rc_context():
        plots.use_style()
        yield
    plt.close("all")


def drawn(ax=None):
    """Draw the figure, as it is stored; return its axes."""
    ax = ax or plt.gca()
    ax.figure.canvas.draw()
    return ax


def lines_of(ax, color):
    """Return the lines of one colour that are no dots."""
    return [line for line in ax.lines if line.get_marker() != "." and line.get_color() == color]


def boxes(ax):
    """Return the texts in the axes (but for the title) and where they stand, in pixels."""
    texts = {text.get_text(): text for text in ax.texts if text.get_text()}
    return {name: text.get_window_extent() for name, text in texts.items()}


def assert_readable(ax, names):
    """No label covers another, each stands at the height of the axes; return them from above."""
    drawn(ax)
    places, inside = {name: boxes(ax)[name] for name in names}, ax.get_window_extent()
    for first, second in combinations(names, 2):
        assert not places[first].overlaps(places[second]), (first, second)
    for name, place in places.items():
        assert inside.y0 - 1 <= (place.y0 + place.y1) / 2 <= inside.y1 + 1, name
        assert place.x0 > inside.x1, name
        assert place.x1 <= ax.figure.bbox.x1, name
    return sorted(names, key=lambda name: -places[name].y0)


# --- curves


def test_curves_are_the_means_over_seeds_and_seeds_are_dots():
    x, values = [1, 2, 3], np.array([[1.0, 3.0], [2.0, 8.0], [4.0, 4.0]])
    arms = {"none": ("none", values), "layer norm": ("layer", values[:, 0])}
    ax = drawn(plots.curves(x, arms, "step", "loss", title="above"))
    (mean,), (one,) = (lines_of(ax, NORM_STYLES[kind]["color"]) for kind in ("none", "layer"))
    assert np.array_equal(mean.get_xydata(), [[1, 2], [2, 5], [3, 4]])
    assert np.array_equal(one.get_ydata(), [1, 2, 4])
    dots = [line for line in ax.lines if line.get_marker() == "."]
    assert [dot.get_ydata().tolist() for dot in dots] == values.T.tolist()  # none of one seed
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss")
    assert ax.get_ylim()[0] == 0
    assert boxes(ax)["above"].y0 >= ax.get_window_extent().y1


def test_on_a_log_axis_the_mean_is_geometric():
    ax = plots.curves([1, 10], {"a": ("rms", [[1, 100], [0.1, 10]])}, "", "", logx=True, logy=True)
    (mean,) = lines_of(drawn(ax), NORM_STYLES["rms"]["color"])
    assert mean.get_ydata() == pytest.approx([10, 1])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert [label.get_text() for label in ax.get_xticklabels()] == ["1", "10"]
    assert ax.get_ylim()[0] > 0


def test_an_arm_that_lacks_places_is_drawn_where_it_is_and_labelled_at_its_end():
    lost = np.full(2, np.nan)
    arms = {"early": ("batch", [[4, 4], [1, 1], lost]), "late": ("layer", [lost, [2, 2], [3, 3]])}
    ax = plots.curves([1, 2, 4], arms, "", "", ylim=(0, 4))
    assert assert_readable(ax, list(arms)) == ["late", "early"]
    (early,), (late,) = (lines_of(ax, NORM_STYLES[kind]["color"]) for kind in ("batch", "layer"))
    assert early.get_xydata().tolist() == [[1, 4], [2, 1]]
    assert late.get_xydata().tolist() == [[2, 2], [4, 3]]
    middle = {name: (box.y0 + box.y1) / 2 for name, box in boxes(ax).items()}
    height = ax.transData.transform([(0, 1), (0, 3)])[:, 1]
    assert [middle["early"], middle["late"]] == pytest.approx(height, abs=3)


def test_arms_of_one_kind_have_lines_of_their_own():
    arms = {f"arm {k}": ("layer", [1, 2 + k]) for k in range(4)} | {"rms": ("rms", [1, 9])}
    ax = drawn(plots.curves([0, 1], arms, "", ""))
    mine = lines_of(ax, NORM_STYLES["layer"]["color"])
    assert len({line.get_linestyle() for line in mine}) == 4
    assert mine[0].get_linestyle() == NORM_STYLES["layer"]["linestyle"]
    assert [same_color(line.get_mfc(), PAPER) for line in mine] == [False, True, True, True]
    (rms,) = lines_of(ax, NORM_STYLES["rms"]["color"])
    assert rms.get_linestyle() == NORM_STYLES["rms"]["linestyle"]


CROWDS = {  # the last values of curves, and the axis of values
    "at the top": ([99.8, 99.9, 100, 100], {"ylim": (0, 100)}),
    "at the bottom": ([0, 0.1, 0, 0.2, 0.3, 0.1], {"ylim": (0, 100)}),
    "in the middle": ([50, 51, 50.5, 10, 52, 90], {}),
    "beyond the axis": ([5, 1e3, 1e4, -50, -60], {"ylim": (0, 10)}),
    "on a log axis": ([1e-3, 1.1e-3, 1e4, 0.9e4], {"logy": True}),
    "in the order of the arms": ([1, 2, 3, 4], {"ylim": (0, 100)}),
}


@pytest.mark.parametrize("count", [1, 2], ids=["one panel", "two panels"])
@pytest.mark.parametrize(("ends", "how"), CROWDS.values(), ids=CROWDS)
def test_labels_stand_beside_the_axes_in_order_and_apart(ends, how, count):
    kinds = list(NORM_STYLES)
    arms = {f"label {k}": (kinds[k], [1, end]) for k, end in enumerate(ends)}
    for ax in np.atleast_1d(plots.panels(count)):
        plots.curves([1, 2], arms, "step", "value", ax=ax, **how)
    for ax in plt.gcf().axes:
        names = assert_readable(ax, list(arms))
        assert [arms[name][1][1] for name in names] == sorted(ends, reverse=True)


def test_a_level_and_a_theory_are_dashed_at_their_values():
    arms = {"a": ("batch", [1, 2, 4]), "b": ("layer", [3, 3, 3])}
    theory, level = {"b": [3, 2, 1]}, (2.5, "chance")
    ax = drawn(plots.curves([1, 2, 3], arms, "", "", level=level, theory=theory))
    dashed = [line for line in ax.lines if line.get_color() == plots.INK]
    assert [line.get_linestyle() for line in dashed] == ["--", "--"]
    assert [list(line.get_ydata()) for line in dashed] == [[3, 2, 1], [2.5, 2.5]]
    box, height = boxes(ax)["chance"], ax.transData.transform((0, 2.5))[1]
    assert height - 30 < box.y1 < height
    assert box.x1 <= ax.get_window_extent().x1 + 1


# --- sheets, maps and tables


def cells(ax):
    """Return the filled patches: (column, row) of their lower corner, colour, opacity."""
    patches = [patch for patch in ax.patches if patch.get_fill()]
    return [
        (patch.get_xy(), patch.get_facecolor()[:3], patch.get_facecolor()[3]) for patch in patches
    ]


@pytest.mark.parametrize(("size", "strips"), [(3, "γβ"), (1, "γ")])
def test_an_index_sheet_fills_what_shares_statistics(size, strips):
    color = NORM_STYLES["layer"]["color"]
    plots.index_sheet(
        lambda n, c: n == 1 and c < 3, (1, 2), color, size, rows="t", columns="d", strips=strips
    )
    ax, step = drawn(), size + 0.7 * size / 3
    filled, learned = set(), []
    for (x, y), look, opacity in cells(ax):
        place = (int((y + 0.01) // step), int((x + 0.01) // step))
        if same_color(look, color):
            assert opacity == 0.35
            filled.add(place) if place[0] < 4 else learned.append(place)
        else:
            assert same_color(look, to_rgb(REST))
    assert filled == {(1, 0), (1, 1), (1, 2)}
    assert [column for _, column in learned] == len(strips) * [2]  # those of the element
    assert len(cells(ax)) == 4 * 6 * size**2 + 6 * len(strips)
    low, high = ax.get_ylim()
    assert all(
        high <= patch.get_y() <= patch.get_y() + patch.get_height() <= low for patch in ax.patches
    )  # the last strip whole
    (outline,) = (patch for patch in ax.patches if not patch.get_fill())
    middle = [2 * step + size / 2, step + size / 2]  # (c, n) = (2, 1)
    assert outline.get_center() == pytest.approx(middle, abs=0.02 * size)
    columns = [f"d = {c}" for c in range(6)]
    rows = [f"t = {n}" for n in range(4)]
    places = boxes(ax)
    assert list(places) == [name for name in places if name in {*columns, *rows, *strips}]
    assert sorted(places) == sorted([*columns, *rows, *strips])
    assert sorted(columns, key=lambda name: places[name].x0) == columns
    assert sorted([*rows, *strips], key=lambda name: -places[name].y0) == [*rows, *strips]
    for first, second in combinations(places, 2):
        assert not places[first].overlaps(places[second])


def test_an_index_sheet_may_share_one_place_of_each_map():
    color = NORM_STYLES["layer"]["color"]
    plots.index_sheet(lambda n, c: n == 1, color=color, strips="", place=(1, 2))
    filled = [xy for xy, look, _ in cells(drawn()) if same_color(look, color)]
    assert np.array(filled) == pytest.approx(np.array([(c * 3.7 + 2, 3.7 + 1) for c in range(6)]))


def test_a_jacobian_leaves_zeros_empty_and_fills_large_values_darker():
    full = np.array([[4.0, 1.0], [1e-9, 2.0]])
    maps = {"batch norm": ("batch", full), "layer norm": ("layer", np.diag([1.0, 1.0]))}
    plots.jacobian_maps(maps, ["a0", "a1"], "output", "input")
    left, right = plt.gcf().axes
    drawn()
    for ax, (title, (kind, values)) in zip((left, right), maps.items(), strict=True):
        assert ax.get_title() == title
        assert ax.get_ylim() == (2, 0)  # the first output is at the top
        opacity = {}
        for (x, y), look, alpha in cells(ax):
            place = int(y), int(x)  # output, input
            empty = values[place] == 0
            assert same_color(look, to_rgb(REST) if empty else NORM_STYLES[kind]["color"])
            opacity[place] = alpha
        assert len(opacity) == 4
        if kind == "batch":
            order = sorted(opacity, key=opacity.get)
            assert order == [(1, 0), (0, 1), (1, 1), (0, 0)]
            assert opacity[0, 0] == 1
            assert opacity[1, 0] >= 0.25  # little is not nothing
    assert (left.get_ylabel(), right.get_ylabel()) == ("output", "")
    assert [ax.get_xlabel() for ax in (left, right)] == ["input", "input"]
    assert [label.get_text() for label in left.get_yticklabels()] == ["a0", "a1"]


def test_an_invariance_table_says_what_stays_the_same():
    changes = {"batch": ("batch", [1e-12, 2.34]), "layer": ("layer", [1e-8, 0.0])}
    plots.invariance_table(changes, ["matrix\nscaled", "data\nshifted"])
    ax = drawn()
    shown = {
        (int(y), int(x)): text.get_text() for text in ax.texts for x, y in [text.get_position()]
    }
    assert shown == {(0, 0): "same", (0, 1): "2.3", (1, 0): "0.0", (1, 1): "same"}
    looks = {(int(y), int(x)): look for (x, y), look, _ in cells(ax)}
    colors = [NORM_STYLES[kind]["color"] for kind in ("batch", "layer")]
    assert same_color(looks[0, 0], colors[0])
    assert same_color(looks[1, 1], colors[1])
    assert same_color(looks[0, 1], PAPER)
    assert same_color(looks[1, 0], PAPER)
    assert ax.get_ylim() == (2, 0)  # the first row is at the top
    assert [label.get_text() for label in ax.get_yticklabels()] == ["batch", "layer"]
    assert [label.get_text() for label in ax.get_xticklabels()] == [
        "matrix\nscaled",
        "data\nshifted",
    ]


# --- categories


def test_categories_show_seeds_a_mean_and_its_interval():
    rows = {"first": ("none", [1.0, 2.0, 4.0]), "second": ("rms", [3.0, 3.5, 3.0])}
    plots.categories(rows, "error")
    ax = drawn()
    assert [label.get_text() for label in ax.get_yticklabels()] == ["first", "second"]
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first is at the top
    for place, (kind, values) in enumerate(rows.values()):
        style, effect = NORM_STYLES[kind], interval(values)
        dots, whisker, mean = (line for line in ax.lines if line.get_color() == style["color"])
        assert list(dots.get_xdata()) == values
        assert list(whisker.get_xdata()) == [effect.low, effect.high]
        assert list(mean.get_xdata()) == [effect.mean]
        assert mean.get_marker() == style["marker"]
        for line in (dots, whisker, mean):
            assert np.allclose(line.get_ydata(), place)
    assert ax.get_xlabel() == "error"
    assert ax.get_xlim()[0] == 0
    assert ax.get_legend() is None


def test_categories_of_several_series_have_a_legend_and_places_of_their_own():
    series = {"frozen": [1.0, 2.0], "no norm": [3.0, 4.0]}
    plots.categories({"light": series, "noise": series}, "error", kinds={"no norm": "none"})
    ax = drawn()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == list(series)
    assert ax.get_legend().get_window_extent().y0 >= ax.get_window_extent().y1 - 1
    means = [line for line in ax.lines if len(line.get_xdata()) == 1]
    heights = [line.get_ydata()[0] for line in means]
    assert len(set(heights)) == 4
    assert [round(height) for height in heights] == [0, 0, 1, 1]
    colors = [NORM_STYLES[kind]["color"] for kind in ("batch", "none")]
    assert [line.get_color() for line in means] == 2 * colors


# --- the circle


def test_rms_norm_goes_to_the_circle_and_layer_norm_to_two_points():
    tokens = np.array([[2.0, 0.3], [0.3, 0.5], [-1.2, -2.0], [1.0, -2.0]])
    plots.circle_of_norms(tokens)
    ax = drawn()
    rms, layer = (NORM_STYLES[kind]["color"] for kind in ("rms", "layer"))
    circle, squares = lines_of(ax, rms)
    assert np.allclose(np.linalg.norm(circle.get_xydata(), axis=1), 2**0.5)
    lengths = np.linalg.norm(tokens, axis=1, keepdims=True)
    assert np.allclose(squares.get_xydata(), 2**0.5 * tokens / lengths)
    *ways, first, second = (line.get_xydata() for line in lines_of(ax, layer))
    assert np.allclose([way[0] for way in ways], tokens)
    assert np.allclose([way[1] for way in ways], tokens - tokens.mean(1, keepdims=True))
    assert [*first.tolist(), *second.tolist()] == [[-1, 1], [1, -1]]  # mean 0, variance 1
    places, inside = boxes(ax), ax.get_window_extent()
    assert sorted(places) == ["RMS norm", "layer norm", "mean 0"]
    for first, second in combinations(places, 2):
        assert not places[first].overlaps(places[second])
    for name, place in places.items():
        assert inside.y0 <= place.y0 <= place.y1 <= inside.y1, name
        assert inside.x0 <= place.x0 <= place.x1 <= inside.x1, name
    arrows = [text for text in ax.texts if not text.get_text()]
    ends = [(*arrow.xyann, *arrow.xy) for arrow in arrows]  # from each token to its square
    assert np.allclose(ends, np.hstack([tokens, squares.get_xydata()]))
