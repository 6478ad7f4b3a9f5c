"""Every figure of the book: one style, one colour, marker and line a norm.

A figure function draws; the notebook cell ends in ``plt.show()``.
"""

from norms.plots.comparisons import categories, gradcheck_bars, paired_and_not
from norms.plots.curves import curves, curves_by_rate, instruments, panels, signals_by_depth
from norms.plots.drawings import (
    circle_of_norms,
    index_sheet,
    index_sheets,
    invariance_table,
    jacobian_maps,
    mean_projection,
    picture_rows,
    step_at_right_angles,
    weight_sheet,
)
from norms.plots.planes import point_planes
from norms.plots.spectra import circle_and_ellipses
from norms.plots.style import NORM_STYLES, use_style

__all__ = [
    "NORM_STYLES",
    "categories",
    "circle_and_ellipses",
    "circle_of_norms",
    "curves",
    "curves_by_rate",
    "gradcheck_bars",
    "index_sheet",
    "index_sheets",
    "instruments",
    "invariance_table",
    "jacobian_maps",
    "mean_projection",
    "paired_and_not",
    "panels",
    "picture_rows",
    "point_planes",
    "signals_by_depth",
    "step_at_right_angles",
    "use_style",
    "weight_sheet",
]
