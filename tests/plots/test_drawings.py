"""What the drawings show: cells are filled as their numbers say, points lie where a norm takes them."""

import numpy as np
import pytest
from figures import arrows, assert_apart, assert_inside, boxes, cells, drawn, lines_of, names_of
from matplotlib import pyplot as plt
from matplotlib.colors import same_color, to_rgb

from norms import plots
from norms.plots import NORM_STYLES
from norms.plots.style import ACCENT, AXIS, INK, PAPER, REST

pytestmark = pytest.mark.filterwarnings("error")

# --- cells


@pytest.mark.parametrize(("size", "strips"), [(3, "γβ"), (1, "γ"), (1, "")])
def test_an_index_sheet_fills_what_shares_statistics(size, strips):
    plots.index_sheet(
        lambda n, c: n == 1 and c < 3, "layer", (1, 2), size, rows="t", columns="d", strips=strips
    )
    ax, step, color = drawn(), size + 0.7 * size / 3, NORM_STYLES["layer"]["color"]
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
    assert sorted(places) == sorted([*columns, *rows, *strips])
    assert sorted(columns, key=lambda name: places[name].x0) == columns
    assert sorted([*rows, *strips], key=lambda name: -places[name].y0) == [*rows, *strips]
    assert_apart(places)
    assert_inside(places, ax.figure.bbox)


def test_an_index_sheet_may_share_one_place_of_each_map():
    plots.index_sheet(lambda n, c: n == 1, "rms", strips="", place=(1, 2))
    color = NORM_STYLES["rms"]["color"]
    filled = [xy for xy, look, _ in cells(drawn()) if same_color(look, color)]
    assert np.array(filled) == pytest.approx(np.array([(c * 3.7 + 2, 3.7 + 1) for c in range(6)]))


def test_sheets_may_stand_under_one_another():
    top, low = plots.panels(2)
    plots.index_sheet(lambda n, c: c == 2, ax=top)
    plots.index_sheet(lambda n, c: n == 1 and c // 3 == 0, "group", ax=low)
    drawn(top)
    for ax, kind, count in ((top, "batch", 4), (low, "group", 3)):
        filled = [look for _, look, _ in cells(ax) if same_color(look, NORM_STYLES[kind]["color"])]
        assert len(filled) == 9 * count + 2


def test_the_sheets_of_several_norms_fill_what_each_one_shares():
    shared = {
        "batch": {(n, 2) for n in range(4)},
        "layer": {(1, c) for c in range(6)},
        "instance": {(1, 2)},
        "group": {(1, 0), (1, 1), (1, 2)},
    }
    plots.index_sheets(list(shared))
    axes = plt.gcf().axes
    drawn(axes[0])
    titles = [ax.get_title() for ax in axes]
    assert titles == ["Batch norm", "Layer norm", "Instance norm", "Group norm"]
    for ax, (kind, cells_shared) in zip(axes, shared.items(), strict=True):
        color = NORM_STYLES[kind]["color"]
        places = [xy for xy, look, _ in cells(ax) if same_color(look, color)]
        filled = {(int((y + 0.01) // 3.7), int((x + 0.01) // 3.7)) for x, y in places}
        assert {place for place in filled if place[0] < 4} == cells_shared
        assert {place for place in filled if place[0] >= 4} == {(4, 2)}  # gain and shift
        assert_apart(boxes(ax))
        assert_inside(boxes(ax), ax.figure.bbox)
    left, right, low, _ = (ax.get_window_extent() for ax in axes)
    assert left.x1 <= right.x0
    assert low.y1 <= left.y0


def test_a_sheet_too_few_leaves_its_place_empty():
    plots.index_sheets(["batch", "layer", "group"])
    axes = plt.gcf().axes
    assert [ax.axison for ax in axes] == [False] * 4
    assert [bool(ax.patches) for ax in axes] == [True, True, True, False]


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
    assert names_of(left.yaxis) == ["a0", "a1"]
    assert names_of(right.xaxis) == ["a0", "a1"]


@pytest.mark.parametrize("count", [1, 4])
def test_jacobians_of_any_number_of_norms_stand_side_by_side(count):
    kinds = list(NORM_STYLES)[1 : count + 1]
    maps = {f"{kind} norm": (kind, np.eye(6)) for kind in kinds}
    plots.jacobian_maps(maps, ["a0", "a1", "a2", "b0", "b1", "b2"], "output", "input")
    axes = plt.gcf().axes
    drawn(axes[0])
    titles = {ax.get_title(): ax.title.get_window_extent() for ax in axes}
    assert list(titles) == list(maps)
    assert_apart(titles)
    assert_inside(titles, axes[0].figure.bbox)


def test_an_invariance_table_says_what_stays_the_same():
    changes = {"batch": ("batch", [1e-12, 2.34]), "layer": ("layer", [1e-8, 0.0])}
    plots.invariance_table(changes, ["matrix\nscaled", "data\nshifted"])
    ax = drawn()
    shown = {
        (int(y), int(x)): text.get_text() for text in ax.texts for x, y in [text.get_position()]
    }
    assert shown == {(0, 0): "same", (0, 1): "2.3", (1, 0): "0.0", (1, 1): "same"}
    looks = {(int(y), int(x)): (look, opacity) for (x, y), look, opacity in cells(ax)}
    for place, kind in (((0, 0), "batch"), ((1, 1), "layer")):
        assert same_color(looks[place][0], NORM_STYLES[kind]["color"])
        assert looks[place][1] == 0.35  # so that ink can be read on it
    assert same_color(looks[0, 1][0], PAPER)
    assert same_color(looks[1, 0][0], PAPER)
    assert {text.get_color() for text in ax.texts if text.get_text() == "same"} == {INK}
    assert ax.get_ylim() == (2, 0)  # the first row is at the top
    assert names_of(ax.yaxis) == ["batch", "layer"]
    assert names_of(ax.xaxis) == ["matrix\nscaled", "data\nshifted"]


def test_an_invariance_table_of_all_norms_can_be_read():
    kinds = list(NORM_STYLES)[1:]
    changes = {kind: (kind, [1e-12, 1.0, 12.3, 0.0, 2.0, 3.0]) for kind in kinds}
    columns = ["matrix\nscaled", "vector\nadded", "rows\nscaled", "data\nscaled", "data\nshifted"]
    plots.invariance_table(changes, [*columns, "samples\nscaled"])
    ax = drawn()
    texts = {k: text.get_window_extent() for k, text in enumerate(ax.texts)}
    assert len(texts) == 7 * 6
    assert_apart(texts)
    for axis in (ax.xaxis, ax.yaxis):
        names = {label.get_text(): label.get_window_extent() for label in axis.get_ticklabels()}
        assert_apart(names)
        assert_inside(names, ax.figure.bbox)


def test_pictures_stand_in_rows_with_names_and_titles():
    dark, light = np.zeros((4, 4)), np.ones((4, 4))
    ramp = np.linspace(0, 1, 16).reshape(4, 4)
    rows = [[("asked", ramp), ("", None), ("mate", light)], [("asked", dark)]]
    plots.picture_rows(rows, names=["bit 0", "bit 1"])
    grid = np.reshape(plt.gcf().axes, (2, 3))
    drawn(grid[0, 0])
    shown = [[[*image.get_array().flat] for image in ax.images] for ax in grid.flat]
    assert shown == [[[*ramp.flat]], [], [[*light.flat]], [[*dark.flat]], [], []]
    assert [ax.get_title() for ax in grid.flat] == ["asked", "", "mate", "asked", "", ""]
    assert not any(ax.axison for ax in grid.flat)
    names = {name: box for ax in grid[:, 0] for name, box in boxes(ax).items()}
    assert list(names) == ["bit 0", "bit 1"]
    assert_inside(names, grid[0, 0].figure.bbox)
    for ax, (name, box) in zip(grid[:, 0], names.items(), strict=True):
        frame = ax.get_window_extent()
        assert box.x1 < frame.x0, name
        assert frame.y0 < (box.y0 + box.y1) / 2 < frame.y1, name


@pytest.mark.parametrize("ink", [True, False])
def test_ink_is_dark_and_light_is_light(ink):
    plots.picture_rows([[("a", np.full((2, 2), 0.2))]], ink=ink)
    (image,) = drawn(plt.gcf().axes[0]).images
    values = image.to_rgba(np.array([[0.0, 0.2, 1.0]]))[0, :, 0]
    assert sorted(values, reverse=ink) == list(values)  # on a fixed scale: 0.2 is not stretched
    assert values == pytest.approx([1, 0.8, 0] if ink else [0, 0.2, 1], abs=0.01)


@pytest.mark.parametrize(
    ("kind", "strip", "rows"), [("weight", "g", [1]), ("spectral", "", range(4))]
)
def test_a_weight_sheet_fills_what_shares_a_statistic_and_has_a_parameter_a_row(kind, strip, rows):
    plots.weight_sheet(kind, *[strip] * bool(strip))
    ax, step, color = drawn(), 1 + 0.7 / 3, NORM_STYLES[kind]["color"]
    filled = [xy for xy, look, opacity in cells(ax) if same_color(look, color) and opacity == 0.35]
    places = [(round(y / step), round((x - 0.01) / step)) for x, y in filled]
    of_rows = [(o, i) for o in rows for i in range(6 + len(strip))]
    assert sorted(places) == of_rows
    assert len(cells(ax)) == 4 * (6 + len(strip))
    left, right = ax.get_xlim()
    assert all(left <= p.get_x() <= p.get_x() + p.get_width() <= right for p in ax.patches)
    (outline,) = (patch for patch in ax.patches if not patch.get_fill())
    assert outline.get_center() == pytest.approx([2 * step + 0.5, step + 0.5], abs=0.02)
    texts = boxes(ax)
    columns, names = [f"i = {i}" for i in range(6)], [f"o = {o}" for o in range(4)]
    assert sorted(texts) == sorted([*columns, *names, *strip])
    assert sorted([*columns, *strip], key=lambda name: texts[name].x0) == [*columns, *strip]
    assert_apart(texts)
    assert_inside(texts, ax.figure.bbox)


# --- the plane


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
    places = boxes(ax)
    assert sorted(places) == ["RMS norm", "layer norm", "mean 0"]
    assert_apart(places)
    assert_inside(places, ax.get_window_extent())
    # arrows go from each token to its square
    assert np.allclose(arrows(ax), np.hstack([tokens, squares.get_xydata()]))


def test_the_mean_is_taken_out_of_values_and_of_the_gradient():
    plots.mean_projection()
    ax = drawn()
    mean_zero, *shifted, y = lines_of(ax, INK)
    assert np.allclose(mean_zero.get_xydata().sum(1), 0)
    (y,) = y.get_xydata()
    assert y.sum() == 0
    for point in shifted:  # they differ from y by one number
        ((first, second),) = point.get_xydata() - y
        assert first == second
    high, low = (point.get_xydata()[0, 0] for point in shifted)
    assert high - low == pytest.approx(0.9)  # as its label says
    (direction,) = lines_of(ax, AXIS)
    assert np.ptp(direction.get_xydata() - y, axis=1) == pytest.approx(0)
    *moves, dy, dx = np.array(arrows(ax))
    for move, point in zip(moves, shifted, strict=True):  # along (1, 1), towards y
        assert move[2] - move[0] == pytest.approx(move[3] - move[1])
        assert y[0] < move[2] < move[0] < point.get_xdata()[0]
    gradient, kept = dy[2:] - dy[:2], dx[2:] - dx[:2]
    assert np.allclose([dy[:2], dx[:2]], y)
    assert kept == pytest.approx(gradient - gradient.mean())
    assert kept.sum() == pytest.approx(0)
    (lost,) = lines_of(ax, ACCENT)
    assert np.allclose(lost.get_xydata(), [dx[2:], dy[2:]])
    places, pixels = boxes(ax), ax.transData.transform
    assert sorted(places) == ["dx", "dy", "mean 0", "the direction (1, 1)", "x", "x + 0.9", "y"]
    assert_apart(places)
    assert_inside(places, ax.get_window_extent())
    ends = {"x + 0.9": y + high - y[0], "x": y + low - y[0], "y": y, "dy": dy[2:], "dx": dx[2:]}
    for name in ends:
        box = places[name]
        middle = np.array([(box.x0 + box.x1) / 2, (box.y0 + box.y1) / 2])
        nearest = min(ends, key=lambda other: np.linalg.norm(pixels(ends[other]) - middle))
        assert nearest == name


def test_a_step_at_right_angles_makes_v_longer_and_leaves_the_length_of_w():
    plots.step_at_right_angles()
    ax, color = drawn(), NORM_STYLES["weight"]["color"]
    v, new, raw, across = np.array(arrows(ax))
    (old_length, new_length), step = np.hypot(*np.array([v, new])[:, 2:].T), across[2:] - across[:2]
    assert np.allclose([v[:2], new[:2], raw[:2], across[:2]], [[0, 0], [0, 0], v[2:], v[2:]])
    assert np.allclose(across[2:], new[2:])
    assert step @ v[2:] == pytest.approx(0)
    assert new_length**2 == pytest.approx(old_length**2 + step @ step)
    along = raw[2:] - across[2:]  # what the projection takes out lies along v
    assert np.linalg.det([along, v[2:]]) == pytest.approx(0)
    (lost,) = lines_of(ax, ACCENT)
    assert np.allclose(lost.get_xydata(), [across[2:], raw[2:]])
    (circle,), (of_w, w, new_w) = lines_of(ax, AXIS), lines_of(ax, color)
    assert np.linalg.norm(circle.get_xydata(), axis=1) == pytest.approx(old_length)
    assert np.linalg.norm(of_w.get_xydata(), axis=1) == pytest.approx(1)
    for point, arrow in ((w, v), (new_w, new)):  # w has the direction of v and a length of its own
        ((x, y),) = point.get_xydata()
        assert [x, y] == pytest.approx(arrow[2:] / np.hypot(*arrow[2:]))
    places = boxes(ax)
    assert sorted(places) == sorted(["v", "new v", "−dv", "−dw", "w", "new w"])
    assert_apart(places)
    assert_inside(places, ax.get_window_extent())
