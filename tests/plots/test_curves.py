"""What the curves show: every line, mark and label stands where its number says."""

from types import SimpleNamespace

import numpy as np
import pytest
from figures import (
    assert_apart,
    assert_inside,
    assert_readable,
    boxes,
    dots_of,
    drawn,
    lines_of,
    names_of,
)
from matplotlib import pyplot as plt
from matplotlib.colors import same_color

from norms import plots
from norms.plots import NORM_STYLES
from norms.plots.style import ACCENT, AXIS, INK, PAPER, SHADES

pytestmark = pytest.mark.filterwarnings("error")


def color_of(kind):
    return NORM_STYLES[kind]["color"]


def middle(box):
    return (box.y0 + box.y1) / 2


# --- curves


def test_curves_are_the_means_over_seeds_and_seeds_are_dots():
    x, values = [1, 2, 3], np.array([[1.0, 3.0], [2.0, 8.0], [4.0, 4.0]])
    arms = {"none": ("none", values), "layer norm": ("layer", values[:, 0])}
    ax = drawn(plots.curves(x, arms, "step", "loss", title="above"))
    (mean,), (one,) = (lines_of(ax, color_of(kind)) for kind in ("none", "layer"))
    assert np.array_equal(mean.get_xydata(), [[1, 2], [2, 5], [3, 4]])
    assert np.array_equal(one.get_ydata(), [1, 2, 4])
    assert dots_of(ax) == values.T.tolist()  # none of one seed
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("step", "loss")
    assert ax.get_ylim()[0] == 0
    assert boxes(ax)["above"].y0 >= ax.get_window_extent().y1


def test_the_mean_is_that_of_all_seeds_and_not_the_middle_one():
    ax = plots.curves([1, 2], {"a": ("batch", [[0, 1, 8], [0, 0, 3]])}, "", "")
    (mean,) = lines_of(drawn(ax), color_of("batch"))
    assert list(mean.get_ydata()) == [3, 1]


def test_on_a_log_axis_the_mean_is_geometric():
    ax = plots.curves([1, 10], {"a": ("rms", [[1, 100], [0.1, 10]])}, "", "", logx=True, logy=True)
    (mean,) = lines_of(drawn(ax), color_of("rms"))
    assert mean.get_ydata() == pytest.approx([10, 1])
    assert (ax.get_xscale(), ax.get_yscale()) == ("log", "log")
    assert names_of(ax.xaxis) == ["1", "10"]
    assert ax.get_ylim()[0] > 0


@pytest.mark.parametrize(("count", "marks", "dots"), [(20, 20, 20), (40, 8, 20), (640, 8, 20)])
def test_of_many_places_some_have_marks_and_dots(count, marks, dots):
    x = np.arange(count)
    ax = drawn(plots.curves(x, {"a": ("batch", np.stack([x, x], 1))}, "", ""))
    (mean,) = lines_of(ax, color_of("batch"))
    assert list(mean.get_ydata()) == list(x)  # the line has them all
    assert len(x[:: mean.get_markevery()]) == marks
    assert [len(seed) for seed in dots_of(ax)] == [dots, dots]


def test_numbers_below_are_places_of_the_curve():
    ax = drawn(plots.curves([20, 200, 390], {"a": ("batch", [1, 2, 3])}, "", ""))
    ticks = ax.get_xticks()
    assert [float(name) for name in names_of(ax.xaxis)] == list(ticks)
    assert 4 <= len(ticks) <= 7
    assert 20 <= min(ticks) < max(ticks) <= 390


def test_an_arm_that_lacks_places_is_drawn_where_it_is_and_labelled_at_its_end():
    lost = np.full(2, np.nan)
    arms = {"early": ("batch", [[4, 4], [1, 1], lost]), "late": ("layer", [lost, [2, 2], [3, 3]])}
    ax = plots.curves([1, 2, 4], arms, "", "", ylim=(0, 4))
    assert assert_readable(ax, list(arms)) == ["late", "early"]
    (early,), (late,) = (lines_of(ax, color_of(kind)) for kind in ("batch", "layer"))
    assert early.get_xydata().tolist() == [[1, 4], [2, 1]]
    assert late.get_xydata().tolist() == [[2, 2], [4, 3]]
    height = ax.transData.transform([(0, 1), (0, 3)])[:, 1]
    places = boxes(ax)
    assert [middle(places["early"]), middle(places["late"])] == pytest.approx(height, abs=3)


def test_arms_of_one_kind_have_lines_of_their_own():
    arms = {f"arm {k}": ("layer", [1, 2 + k]) for k in range(4)} | {"rms": ("rms", [1, 9])}
    ax = drawn(plots.curves([0, 1], arms, "", ""))
    mine = lines_of(ax, color_of("layer"))
    assert len({line.get_linestyle() for line in mine}) == 4
    assert mine[0].get_linestyle() == NORM_STYLES["layer"]["linestyle"]
    assert [same_color(line.get_mfc(), PAPER) for line in mine] == [False, True, True, True]
    (rms,) = lines_of(ax, color_of("rms"))
    assert rms.get_linestyle() == NORM_STYLES["rms"]["linestyle"]


def test_values_alone_have_shades_or_the_kind_of_all():
    arms = {"a": [1, 2], "b": np.array([2, 3]), "c": [[3], [4]]}
    ax = drawn(plots.curves([0, 1], arms, "", ""))
    assert [line.get_color() for line in ax.lines] == [shade["color"] for shade in SHADES]
    assert [line.get_marker() for line in ax.lines] == [shade["marker"] for shade in SHADES]
    assert [list(line.get_ydata()) for line in ax.lines] == [[1, 2], [2, 3], [3, 4]]
    ax = drawn(plots.curves([0, 1], arms, "", "", kind="group"))
    assert {line.get_color() for line in ax.lines} == {color_of("group")}
    assert len({line.get_linestyle() for line in ax.lines}) == 3


CROWDS = {  # the last values of curves, and the axis of values
    "at the top": ([99.8, 99.9, 100, 100], {"ylim": (0, 100)}),
    "at the bottom": ([0, 0.1, 0, 0.2, 0.3, 0.1], {"ylim": (0, 100)}),
    "in the middle": ([50, 51, 50.5, 10, 52, 90], {}),
    "beyond the axis": ([5, 1e3, 1e4, -50, -60], {"ylim": (0, 10)}),
    "on a log axis": ([1e-3, 1.1e-3, 1e4, 0.9e4], {"logy": True}),
    "in the order of the arms": ([1, 2, 3, 4], {"ylim": (0, 100)}),
    "all norms at once": ([90, 91, 92, 93, 94, 95, 96, 97], {"ylim": (0, 100)}),
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


STARTS = {  # places, and what they are drawn on
    "on a plain axis": ([1, 2, 20], {}),
    "on a log axis": ([2, 4, 512], {"logx": True}),
    "all on log axes": ([1, 10, 100], {"logx": True, "logy": True}),
}


@pytest.mark.parametrize(("x", "how"), STARTS.values(), ids=STARTS)
def test_labels_at_the_start_stand_left_of_the_first_value(x, how):
    arms = {"a rather long label": [9, 5, 5], "short": [3, 5, 5], "close": [3.1, 5, 5]}
    arms["later"] = [np.nan, 8, 5]
    ax = drawn(plots.curves(x, arms, "", "", kind="batch", labels="start", **how))
    places = boxes(ax)
    assert sorted(places) == sorted(arms)
    assert_apart(places)
    assert_inside(places, ax.get_window_extent())  # and so they cover no number of an axis
    for name, values in arms.items():
        first = next((place, y) for place, y in zip(x, values, strict=True) if y == y)
        right, height = ax.transData.transform(first)
        assert right - 30 < places[name].x1 < right
        near = 3 if name not in ("short", "close") else 30
        assert middle(places[name]) == pytest.approx(height, abs=near)
    assert middle(places["short"]) < middle(places["close"])
    assert min(ax.get_xticks()) >= x[0]  # the room for labels has no numbers


def test_labels_at_the_fall_stand_where_half_of_the_top_is_left():
    rates = [1, 2, 4, 8]
    arms = {
        "falls": ("batch", [[60, 70], [90, 110], [80, 80], [20, 20]]),  # 50 halfway from 4 to 8
        "falls soon": ("none", [[80, 80], [20, 20], [10, 10], [10, 10]]),
        "stays": ("layer", [[50, 50], [60, 60], [80, 80], [60, 60]]),
    }
    for logx, half in ((False, 6), (True, 32**0.5)):
        ax = drawn(plots.curves(rates, arms, "", "", labels="fall", logx=logx, ylim=(0, 100)))
        places, pixels = boxes(ax), ax.transData.transform
        assert_apart(places)
        for name, place in (("falls", (half, 50)), ("falls soon", (None, 40))):
            assert middle(places[name]) == pytest.approx(pixels((1, place[1]))[1], abs=3)
        left = places["falls"].x0 - pixels((half, 50))[0]
        assert 5 < left < 25
        assert pixels((1, 0))[0] < places["falls soon"].x0 < pixels((2, 0))[0] + 25
        assert places["stays"].x0 > ax.get_window_extent().x1
        assert middle(places["stays"]) == pytest.approx(pixels((1, 60))[1], abs=3)


def test_levels_and_places_are_drawn_at_their_values():
    arms = {"a": ("batch", [1, 2, 4])}
    how = {"level": (2.5, "chance"), "place": (2, "trained to here")}
    ax = drawn(plots.curves([1, 2, 3], arms, "", "", **how))
    level, upright = ax.lines[-2:]
    assert list(level.get_ydata()) == [2.5, 2.5]
    assert (level.get_color(), level.get_linestyle()) == (INK, "--")
    assert list(upright.get_xdata()) == [2, 2]
    assert (upright.get_color(), upright.get_linestyle()) == (AXIS, "-")
    places, (right, height) = boxes(ax), ax.transData.transform((2, 2.5))
    assert height - 30 < places["chance"].y1 < height
    assert places["chance"].x1 <= ax.get_window_extent().x1 + 1
    assert right < places["trained to here"].x0 < right + 30
    del places["a"]  # beside the axes
    assert_inside(places, ax.get_window_extent())
    assert_apart(places)


def test_a_theory_of_an_arm_replaces_its_line_and_any_other_is_named():
    arms = {"a": ("batch", [1, 2, 4]), "b": ("layer", [3, 3, 3])}
    theory = {"b": [3, 2, 1], "as it should": [1, 2, 3]}
    ax = drawn(plots.curves([1, 2, 3], arms, "", "", theory=theory))
    dashed = [line for line in ax.lines if line.get_color() == INK]
    assert [line.get_linestyle() for line in dashed] == ["--", "--"]
    assert [list(line.get_ydata()) for line in dashed] == [[3, 2, 1], [1, 2, 3]]
    (a,), (b,) = (lines_of(ax, color_of(kind)) for kind in ("batch", "layer"))
    assert (a.get_linestyle(), b.get_linestyle()) == ("-", "None")
    assert list(b.get_ydata()) == [3, 3, 3]
    assert b.get_marker() == NORM_STYLES["layer"]["marker"]
    texts = [text.get_text() for text in ax.texts if text.get_text()]
    assert sorted(texts) == ["a", "as it should", "b"]  # once each
    box, height = boxes(ax)["as it should"], ax.transData.transform((1, 1))[1]
    assert height < box.y0 < height + 30


def test_panels_stand_under_one_another_and_may_share_the_axis_of_places():
    one = plots.panels(1)
    assert tuple(one.figure.get_size_inches()) == (4.8, 3.2)
    top, low = plots.panels(2)
    drawn(top)
    assert tuple(top.figure.get_size_inches()) == pytest.approx((4.8, 5.6))
    assert top.get_window_extent().y0 > low.get_window_extent().y1
    for sharex in (False, True):
        top, low = plots.panels(2, sharex=sharex)
        plots.curves([1, 2], {"a": [1, 2]}, "", "", ax=top)
        plots.curves([1, 9], {"a": [1, 2]}, "step", "", ax=low)
        assert (top.get_xlim() == low.get_xlim()) == sharex


# --- what builds on them


def test_curves_by_rate_name_chance_and_each_fall():
    rates = [0.01, 0.1, 1.0, 10.0]
    arms = {
        "batch norm": ("batch", [[70, 74], [95, 97], [90, 94], [10, 10]]),
        "none": ("none", [[80, 84], [90, 94], [10, 10], [10, 10]]),
    }
    ax = drawn(plots.curves_by_rate(rates, arms, "accuracy (%)", 10))
    for kind, values in arms.values():
        (mean,) = lines_of(ax, color_of(kind))
        assert mean.get_xydata().tolist() == np.stack([rates, np.mean(values, 1)], 1).tolist()
    assert len(dots_of(ax)) == 4
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("learning rate", "accuracy (%)")
    assert (ax.get_xscale(), ax.get_ylim()) == ("log", (0, 102))
    assert names_of(ax.xaxis) == ["0.01", "0.1", "1", "10"]
    (chance,) = (line for line in ax.lines if line.get_color() == INK)
    assert list(chance.get_ydata()) == [10, 10]
    places = boxes(ax)
    assert sorted(places) == ["batch norm", "chance", "none"]
    assert_apart(places)
    assert_inside(places, ax.figure.bbox)
    left = ax.transData.transform([(0.1, 0), (1, 0), (10, 0)])[:, 0]
    assert left[0] < places["none"].x0 < left[1] < places["batch norm"].x0 < left[2]


def test_signals_by_depth_go_forward_above_and_backward_below():
    rise = 2.0 ** np.arange(20)[:, None] * [1, 4]  # (layers, seeds), geometric mean 2 * 2**layer
    level = np.ones((20, 2))
    arms = {"× 2": ("none", (rise, rise[::-1])), "batch norm": ("batch", (level, 3 * level))}
    plots.signals_by_depth(arms, ({}, {"theory": 3 * np.ones(20)}))
    top, low = plt.gcf().axes
    drawn(top)
    for ax, ways in ((top, (rise, level)), (low, (rise[::-1], 3 * level))):
        assert (ax.get_yscale(), ax.get_xscale()) == ("log", "linear")
        for kind, values in zip(("none", "batch"), ways, strict=True):
            (mean,) = lines_of(ax, color_of(kind))
            assert mean.get_ydata() == pytest.approx(np.sqrt(values.prod(1)))
            assert list(mean.get_xdata()) == list(range(1, 21))
        assert len(dots_of(ax)) == 4
    assert (top.get_ylabel(), low.get_ylabel()) == ("size of the signal", "size of its gradient")
    assert (top.get_xlabel(), low.get_xlabel()) == ("", "layer")
    assert assert_readable(top, list(arms)) == ["× 2", "batch norm"]
    places = boxes(low)
    assert sorted(places) == ["batch norm", "theory", "× 2"]
    assert_apart(places)
    assert_inside(places, low.get_window_extent())
    assert places["× 2"].x1 < low.transData.transform((1, 1))[0]
    assert [line.get_color() for line in top.lines].count(INK) == 0
    (theory,) = (line for line in low.lines if line.get_color() == INK)
    assert list(theory.get_ydata()) == 20 * [3]


def test_signals_by_depth_of_no_norm_have_shades():
    plots.signals_by_depth({"a": (np.ones((3, 2)), 2 * np.ones((3, 2)))})
    for ax, height in zip(plt.gcf().axes, (1, 2), strict=True):
        (mean,) = lines_of(drawn(ax), SHADES[0]["color"])
        assert list(mean.get_ydata()) == 3 * [height]


def test_instruments_show_outputs_gradients_and_ratios_of_each_network():
    rng = np.random.default_rng(0)
    networks, ratios = {}, {}
    for k, name in enumerate(("healthy", "ill")):
        post = [np.clip(rng.normal(0, 0.1 + 0.1 * k, (2, 50, 4)), -1, 1) for _ in range(8)]
        sizes = 10.0 ** (-np.arange(8) - k)
        networks[name] = SimpleNamespace(
            post=post, gradients=[np.full((2, 50, 4), s) for s in sizes]
        )
        ratios[name] = np.stack([1e-3 * np.arange(1, 9), 4e-3 * np.arange(1, 9)], 1) / (k + 1)
    plots.instruments(networks, ratios)
    axes = np.reshape(plt.gcf().axes, (2, 3))
    drawn(axes[0, 0])
    for (outputs, gradient, ratio), (name, seen) in zip(axes, networks.items(), strict=True):
        assert "outputs of layer" in boxes(axes[0, 0])
        assert name in boxes(outputs)
        assert len(outputs.lines) == 3
        for place, (line, layer) in enumerate(zip(outputs.lines, (1, 4, 8), strict=True)):
            heights, _ = np.histogram(seen.post[layer - 1], 41, (-1, 1))
            shape = line.get_ydata() - 1.15 * place
            assert shape == pytest.approx(heights / heights.max())
            assert line.get_xdata()[20] == pytest.approx(0)
        assert names_of(outputs.yaxis) == ["1", "4", "8"]
        (mean,) = (line for line in gradient.lines if line.get_marker() == "o")
        assert mean.get_ydata() == pytest.approx([g.flat[0] for g in seen.gradients])
        assert list(mean.get_xdata()) == list(range(1, 9))
        (mean,) = (line for line in ratio.lines if line.get_marker() == "o")
        assert mean.get_ydata() == pytest.approx(np.sqrt(ratios[name].prod(1)))
        assert pytest.approx(ratios[name]) == np.array(dots_of(ratio)).T
        (level,) = (line for line in ratio.lines if line.get_color() == INK)
        assert list(level.get_ydata()) == [1e-3, 1e-3]
        assert (gradient.get_yscale(), ratio.get_yscale()) == ("log", "log")
        assert mean.get_color() == ACCENT
    for ax, label in zip(axes[0], ("outputs of layer", "gradient", "update / weight"), strict=True):
        box = boxes(ax)[label]
        assert box.y0 > ax.get_window_extent().y1
        assert_inside({label: box}, ax.figure.bbox)
    assert [ax.get_xlabel() for ax in axes[1]] == ["output", "layer", "layer"]
    titles = {text: box for ax in axes[0] for text, box in boxes(ax).items()}
    assert_apart(titles)
