"""Every figure is drawn in the style of the book, without a screen."""

import matplotlib as mpl
import pytest
from matplotlib import pyplot as plt

from norms import plots

mpl.use("Agg")
pytest.register_assert_rewrite("figures")  # its asserts then show their values, as a test's do


@pytest.fixture(autouse=True)
def _style():
    with mpl.rc_context():
        plots.use_style()
        yield
    plt.close("all")
