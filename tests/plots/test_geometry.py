"""What the drawings in the plane show: points and arrows lie where the norm takes them."""

import numpy as np
import pytest
from figures import arrows, assert_apart, assert_inside, boxes, drawn, lines_of

from norms import plots
from norms.plots import NORM_STYLES
from norms.plots.style import ACCENT, AXIS, INK

pytestmark = pytest.mark.filterwarnings("error")


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
