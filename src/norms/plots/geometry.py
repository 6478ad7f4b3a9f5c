"""Drawings in the plane: two values of a set, and where a norm takes them."""

import matplotlib.pyplot as plt
import numpy as np

from norms.plots.style import ACCENT, AXIS, INK, NORM_STYLES, PAPER, WIDTH

__all__ = ["circle_of_norms", "mean_projection"]


def circle_of_norms(tokens):
    """Draw tokens of two features, and where RMS norm and layer norm take them.

    Args:
        tokens: array (N, 2).
    """
    _, ax = plt.subplots(figsize=(WIDTH, 4.2))
    rms, layer = NORM_STYLES["rms"], NORM_STYLES["layer"]
    turn = np.linspace(0, 2 * np.pi, 200)
    ax.plot(2**0.5 * np.cos(turn), 2**0.5 * np.sin(turn), color=rms["color"], lw=1.2)
    ax.plot((-2.4, 2.4), (2.4, -2.4), color=AXIS, lw=1, ls="--")
    ax.annotate("mean 0", (-2.35, 2.35), (6, 2), textcoords="offset points")
    on_circle = tokens / np.sqrt((tokens**2).mean(1, keepdims=True))
    for token, end in zip(tokens, on_circle, strict=True):
        _arrow(ax, token, end, rms["color"], lw=1)
        ax.plot(*np.array([token, token - token.mean()]).T, ":", color=layer["color"], lw=1)
    ax.plot(*tokens.T, "o", color=INK, ms=5, ls="")
    ax.plot(*on_circle.T, marker="s", color=rms["color"], mfc=PAPER, ms=7, ls="")
    for x in (-1, 1):
        ax.plot(x, -x, marker="s", color=layer["color"], ms=9)
    beside = {"textcoords": "offset points", "va": "center"}
    ax.annotate("layer norm", (1, -1), (10, 0), **beside)
    ax.annotate("RMS norm", on_circle[1], (12, -4), **beside)
    ax.set(xlim=(-2.6, 2.9), ylim=(-2.4, 2.8), aspect="equal")
    ax.set(xlabel="first feature", ylabel="second feature")
    ax.grid(visible=False)


def mean_projection():
    """Draw how subtracting the mean moves two values, and what it leaves of a gradient."""
    _, ax = plt.subplots(figsize=(WIDTH, 3.9))
    ends = np.array([-2.6, 2.6])
    ax.plot(ends, -ends, color=INK, lw=1.2)
    ax.annotate("mean 0", (-2.45, 2.45), (5, 4), textcoords="offset points")
    y = np.array([-1.0, 1.0])
    ax.plot(*zip(y - 1.1, y + 2.9, strict=True), "--", color=AXIS, lw=1)
    ax.annotate("the direction (1, 1)", y + 2.9, (-8, 0), textcoords="offset points", ha="right",
                va="center", color=AXIS)  # fmt: skip
    for shift in (2.3, 1.4):
        ax.plot(*(y + shift), "o", mfc=PAPER, color=INK, ms=7)
        _arrow(ax, y + shift - 0.12, y + shift - 0.62, INK)
    ax.annotate("x", y + 1.4, (-12, 2), textcoords="offset points", fontstyle="italic")
    ax.annotate("x + 0.9", y + 2.3, (-50, 2), textcoords="offset points", fontstyle="italic")
    ax.plot(*y, "o", color=INK, ms=7)
    ax.annotate("y", y, (-6, -16), textcoords="offset points", fontstyle="italic")
    dy = np.array([2.3, 0.1])
    dx = dy - dy.mean()
    _arrow(ax, y, y + dy, ACCENT)
    _arrow(ax, y, y + dx, ACCENT, lw=3)
    ax.plot(*zip(y + dx, y + dy, strict=True), ":", color=ACCENT, lw=1.5)
    ax.annotate("dy", y + dy, (5, 0), textcoords="offset points", va="center")
    ax.annotate("dx", y + dx, (-4, -14), textcoords="offset points", ha="right")
    ax.set(xlim=(-2.7, 3), ylim=(-1.4, 4.1), aspect="equal", xlabel="first value")
    ax.set_ylabel("second value")
    ax.grid(visible=False)


def _arrow(ax, start, end, color, lw=1.5):
    look = {"arrowstyle": "-|>", "color": color, "lw": lw, "shrinkA": 0, "shrinkB": 0}
    ax.annotate("", end, start, arrowprops=look)
