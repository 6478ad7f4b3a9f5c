"""What a weight does to lengths, as a picture."""

import matplotlib.pyplot as plt
import numpy as np

from norms.plots.style import AXIS, INK, NORM_STYLES, WIDTH

__all__ = ["circle_and_ellipses"]


def circle_and_ellipses(weights):
    """Draw what weights of two inputs and two outputs make of the circle of length 1.

    Two arrows lead to the point of the circle that is lengthened most, and to what becomes of it.

    Args:
        weights: dictionary from a title to ``(kind, weight)``: a key of NORM_STYLES and an array
            (2, 2). Each panel has a scale of its own.
    """
    _, axes = plt.subplots(1, len(weights), figsize=(WIDTH, 2.7), squeeze=False)
    turn = np.linspace(0, 2 * np.pi, 200)
    circle = np.array([np.cos(turn), np.sin(turn)])
    for ax, (title, (kind, weight)) in zip(axes[0], weights.items(), strict=True):
        ax.plot(*circle, "--", color=AXIS, lw=1)
        ax.plot(*(weight @ circle), color=NORM_STYLES[kind]["color"], lw=2)
        _, (length, _), ((x, y), _) = np.linalg.svd(weight)
        v = np.array([x, y]) * np.sign(x + y)  # of two ends the upper right one
        for text, end in (("v", v), ("σu", weight @ v)):
            look = {"arrowstyle": "-|>", "color": INK, "lw": 1.5, "shrinkA": 0, "shrinkB": 0}
            ax.annotate("", end, (0, 0), arrowprops=look)
            beside = {"textcoords": "offset points", "fontstyle": "italic"}
            ax.annotate(text, end, (4, 3), **beside)
        half = 1.25 * max(length, 1)
        ax.set(xlim=(-half, half), ylim=(-half, half), aspect="equal")
        ax.set_title(title, fontsize=9, color=AXIS)
        ax.grid(visible=False)
