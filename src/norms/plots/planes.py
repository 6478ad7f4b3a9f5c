"""Points in small planes, over what a network says of every place."""

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.colors import LinearSegmentedColormap

from norms.plots.style import ACCENT, AXIS, INK, PAPER, WIDTH

__all__ = ["point_planes"]


def point_planes(rows, names, half=3.0):
    """Draw rows of planes with points in them, all of one size.

    Args:
        rows: lists of ``(title, points, field)``: points (N, 2); a field (G, G) in [0, 1] over
            the plane, the lowest row of the plane first, the darker the larger, or None.
        names: one a row, at its left.
        half: the planes reach from ``-half`` to ``half``.
    """
    columns = max(len(row) for row in rows)
    side = WIDTH / (columns + 0.75)
    size = (WIDTH, len(rows) * side + 0.25)
    _, grid = plt.subplots(len(rows), columns, figsize=size, squeeze=False)
    shades = LinearSegmentedColormap.from_list("field", (PAPER, ACCENT))
    for name, axes, row in zip(names, grid, rows, strict=True):
        for ax, (title, points, field) in zip(axes, row, strict=True):
            ends = (-half, half)
            if field is not None:
                look = {"cmap": shades, "vmin": 0, "vmax": 1, "origin": "lower"}
                ax.imshow(np.asarray(field), extent=ends * 2, alpha=0.8, **look)
            ax.plot(*np.asarray(points).T, ".", color=INK, ms=1.2, alpha=0.5)
            ax.set(xlim=ends, ylim=ends, xticks=[], yticks=[], aspect="equal")
            ax.grid(visible=False)
            ax.spines[:].set(visible=True, linewidth=0.5)
            ax.set_title(title, fontsize=8, color=AXIS, pad=3)
        axes[0].set_ylabel(name, fontsize=8, rotation=0, ha="right", va="center")
