"""What comparisons show: every mark and whisker stands at its number, in the row of its name."""

import numpy as np
import pytest
from figures import assert_apart, assert_inside, boxes, drawn, lines_of, names_of
from matplotlib import pyplot as plt
from matplotlib.colors import same_color

from norms import plots
from norms.experiments.evidence import interval
from norms.plots import NORM_STYLES
from norms.plots.style import ACCENT, INK, PAPER

pytestmark = pytest.mark.filterwarnings("error")


def test_categories_show_seeds_a_mean_and_its_interval():
    rows = {"first": ("none", [1.0, 2.0, 4.0]), "second": ("rms", [3.0, 3.5, 3.0])}
    plots.categories(rows, "error")
    ax = drawn()
    assert names_of(ax.yaxis) == ["first", "second"]
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


@pytest.mark.parametrize("kind", NORM_STYLES)
def test_a_category_has_the_look_of_its_norm(kind):
    plots.categories({"one": (kind, [1.0, 2.0])}, "error")
    *_, mean = drawn().lines
    assert mean.get_marker() == NORM_STYLES[kind]["marker"]
    assert mean.get_color() == NORM_STYLES[kind]["color"]
    assert same_color(mean.get_mfc(), NORM_STYLES[kind].get("mfc", mean.get_color()))


def test_categories_of_several_series_have_a_legend_and_places_of_their_own():
    rows = {"light": {"frozen": [1.0, 2.0], "no norm": [3.0, 4.0]}}
    rows["noise"] = {"frozen": [5.0, 6.0], "no norm": [7.0, 9.0]}
    plots.categories(rows, "error", kinds={"no norm": "none"})
    ax = drawn()
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["frozen", "no norm"]
    legend = ax.get_legend().get_window_extent()
    assert legend.y0 >= ax.get_window_extent().y1 - 1
    assert_inside({"legend": legend}, ax.figure.bbox)
    means = [line for line in ax.lines if len(line.get_xdata()) == 1]
    assert [line.get_xdata()[0] for line in means] == [1.5, 3.5, 5.5, 8]
    heights = [line.get_ydata()[0] for line in means]
    assert len(set(heights)) == 4
    assert [round(height) for height in heights] == [0, 0, 1, 1]
    whiskers = [line for line in ax.lines if line.get_marker() == "None"]
    effects = [interval(values) for row in rows.values() for values in row.values()]
    assert [tuple(w.get_xdata()) for w in whiskers] == [(e.low, e.high) for e in effects]
    assert [w.get_ydata()[0] for w in whiskers] == heights
    colors = [NORM_STYLES[kind]["color"] for kind in ("batch", "none")]
    assert [line.get_color() for line in means] == 2 * colors
    shown = [handle.get_color() for handle in ax.get_legend().legend_handles]
    assert shown == colors
    marks = [handle.get_marker() for handle in ax.get_legend().legend_handles]
    assert marks == ["o", "s"]
    assert [line.get_marker() for line in means] == 2 * marks


def test_errors_of_checks_stand_on_the_side_of_the_tolerance_they_are_on():
    errors = {
        "right": {"y.sum()": 0.0, "random": 1e-10},
        "no mean term": {"y.sum()": 0.3, "random": 0.5},
        "r forgotten": {"y.sum()": 1e-16, "random": 0.9},
    }
    plots.gradcheck_bars(errors, tolerance=1e-6, kind="layer")
    ax = drawn()
    marks = lines_of(ax, NORM_STYLES["layer"]["color"])
    found = [(*line.get_xydata()[0], line.get_marker()) for line in marks]
    wanted = [(1e-13, 0, "o"), (1e-10, 0, "s"), (0.3, 1, "o"), (0.5, 1, "s")]
    assert found == [*wanted, (1e-13, 2, "o"), (0.9, 2, "s")]
    hollow = [same_color(line.get_mfc(), PAPER) for line in marks]
    assert hollow == 3 * [True, False]
    assert names_of(ax.yaxis) == list(errors)
    assert ax.get_ylim()[0] > ax.get_ylim()[1]  # the first is at the top
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "relative error")
    (tolerance,) = (line for line in ax.lines if line.get_color() == INK)
    assert list(tolerance.get_xdata()) == [1e-6, 1e-6]
    place = boxes(ax)["caught →"]
    assert ax.transData.transform((1e-6, 0))[0] < place.x0
    assert_inside({"caught →": place}, ax.get_window_extent())
    legend = ax.get_legend()
    assert [text.get_text() for text in legend.get_texts()] == ["y.sum()", "random"]
    assert [handle.get_marker() for handle in legend.legend_handles] == ["o", "s"]
    assert_apart({"legend": legend.get_window_extent(), "caught →": place})
    assert_inside({"legend": legend.get_window_extent()}, ax.figure.bbox)


def test_pairs_are_joined_and_intervals_stand_below():
    arms = {"rate 0.05": np.array([90.0, 92, 91]), "rate 0.1": np.array([93.0, 94, 96])}
    intervals = {"paired": (2.0, 4.0), "not paired": (0.5, 6.0)}
    plots.paired_and_not(arms, intervals, "accuracy (%)", "difference")
    top, low = plt.gcf().axes
    drawn(top)
    joined = [line.get_xydata().tolist() for line in top.lines]
    assert joined == [[[0, 90], [1, 93]], [[0, 92], [1, 94]], [[0, 91], [1, 96]]]
    assert names_of(top.xaxis) == list(arms)
    assert (top.get_ylabel(), low.get_xlabel()) == ("accuracy (%)", "difference")
    bars = [line for line in lines_of(low, ACCENT) if line.get_marker() == "None"]
    middles = [line for line in lines_of(low, ACCENT) if line.get_marker() == "o"]
    assert [line.get_xydata().tolist() for line in bars] == [
        [[2, 0], [4, 0]],
        [[0.5, 1], [6, 1]],
    ]
    assert [line.get_xydata().tolist() for line in middles] == [[[3, 0]], [[3.25, 1]]]
    assert names_of(low.yaxis) == list(intervals)
    assert low.get_ylim()[0] > low.get_ylim()[1]  # the first is at the top
    assert low.get_xlim()[0] == 0
    assert top.get_window_extent().y0 > low.get_window_extent().y1
