"""What a weight makes of the circle: the ellipse and its arrows lie where the weight takes them."""

import numpy as np
import pytest
from figures import arrows, boxes, drawn, lines_of
from matplotlib import pyplot as plt

from norms import plots
from norms.plots import NORM_STYLES
from norms.plots.style import AXIS

pytestmark = pytest.mark.filterwarnings("error")


def test_a_weight_makes_an_ellipse_of_the_circle():
    weight = np.array([[3.0, 0], [4, 5]])
    largest = 45**0.5
    plots.circle_and_ellipses({"W": ("none", weight), "it": ("spectral", weight / largest)})
    titles = {}
    for ax, kind, w in zip(
        plt.gcf().axes, ("none", "spectral"), (weight, weight / largest), strict=True
    ):
        titles[drawn(ax).get_title()] = kind
        (circle,), (ellipse,) = lines_of(ax, AXIS), lines_of(ax, NORM_STYLES[kind]["color"])
        assert np.linalg.norm(circle.get_xydata(), axis=1) == pytest.approx(1)
        assert ellipse.get_xydata() == pytest.approx(circle.get_xydata() @ w.T)
        longest = np.linalg.norm(ellipse.get_xydata(), axis=1).max()
        v, end = (np.array(arrow[2:]) for arrow in arrows(ax))
        assert v == pytest.approx([0.5**0.5] * 2)  # the direction that is lengthened most
        assert end == pytest.approx(w @ v)
        assert np.linalg.norm(end) == pytest.approx(longest, rel=1e-3)
        assert set(boxes(ax)) == {"v", "σu"}
        low, high = ax.get_xlim()
        assert -low == high > max(longest, 1)
    assert titles == {"W": "none", "it": "spectral"}


def test_the_arrow_leads_to_the_upper_right_end_also_where_the_decomposition_has_the_other_sign():
    for weight in (np.diag([1.0, 3]), -np.diag([1.0, 3]), np.array([[0, 2.0], [1, 0]])):
        plots.circle_and_ellipses({"": ("weight", weight)})
        (*_, x, y), _ = arrows(drawn(plt.gcf().axes[0]))
        assert x + y > 0
        assert np.linalg.norm(weight @ [x, y]) == pytest.approx(np.linalg.norm(weight, 2))
        plt.close()
