"""Planes: points where they are, fields the right way up and on one scale."""

import numpy as np
import pytest
from figures import assert_inside, drawn
from matplotlib import pyplot as plt

from norms import plots

pytestmark = pytest.mark.filterwarnings("error")


def test_planes_hold_points_and_fields():
    points, more = np.array([[0.5, -1], [2, 2]]), np.array([[9.0, 0]])
    field = np.array([[0.2, 0.2, 0.2], [0.2, 0.2, 0.2], [0.2, 0.2, 1.0]])  # high at the upper right
    rows = [[("early", points, None), ("late", points, field)], [("", more, None)] * 2]
    plots.point_planes(rows, ["one", "a longer name"], half=2.5)
    grid = np.reshape(plt.gcf().axes, (2, 2))
    drawn(grid[0, 0])
    for ax, (title, shown, _) in zip(grid.flat, [*rows[0], *rows[1]], strict=True):
        (line,) = ax.lines
        assert line.get_xydata() == pytest.approx(shown)
        assert ax.get_title() == title
        assert ax.get_xlim() == ax.get_ylim() == (-2.5, 2.5)
    assert [len(ax.images) for ax in grid.flat] == [0, 1, 0, 0]
    (image,) = grid[0, 1].images
    assert image.get_extent() == [-2.5, 2.5, -2.5, 2.5]
    assert image.origin == "lower"
    assert image.get_array()[2, 2] == 1
    low, high = (image.to_rgba(np.array([[v]]))[0, 0, :3].sum() for v in (0.2, 1.0))
    assert low > high
    assert image.get_clim() == (0, 1)  # 0.2 is not stretched
    assert [ax.get_ylabel() for ax in grid[:, 0]] == ["one", "a longer name"]
    names = {ax.get_ylabel(): ax.yaxis.label.get_window_extent() for ax in grid[:, 0]}
    assert_inside(names, grid[0, 0].figure.bbox)
    for ax, box in zip(grid[:, 0], names.values(), strict=True):
        assert box.x1 <= ax.get_window_extent().x0


def test_every_plane_has_its_row():
    with pytest.raises(ValueError, match="zip"):
        plots.point_planes([[("", np.zeros((1, 2)), None)]], ["one", "two"])
