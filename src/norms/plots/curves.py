"""Curves: the mean over seeds, every seed a faint dot, and a label beside each."""

import matplotlib as mpl
import matplotlib.pyplot as plt
import numpy as np

from norms.plots.style import ACCENT, AXIS, HEIGHT, INK, NORM_STYLES, PAPER, SHADES, WIDTH

__all__ = ["curves", "curves_by_rate", "instruments", "panels", "signals_by_depth"]

SEEDS = {"ls": "", "marker": ".", "alpha": 0.3, "ms": 3}  # a faint dot each
BESIDE = {"textcoords": "offset points", "va": "center", "annotation_clip": False}


def panels(count, sharex=False):
    """Return the axes of a figure of so many panels under one another.

    Args:
        count: of the panels.
        sharex: whether the places stand on one axis for all, with numbers below the last.

    Returns:
        Array (count,) of axes, from above; for one panel its axes alone.
    """
    height = HEIGHT if count == 1 else 1.9 * count + 1.8
    return plt.subplots(count, 1, figsize=(WIDTH, height), sharex=sharex)[1]


def curves(
    x, arms, xlabel, ylabel, *, kind=None, level=None, place=None, theory=None, labels="end",
    logx=False, logy=False, ylim=None, title="", ax=None,
):  # fmt: skip
    """Draw one curve an arm: the mean over seeds, and every seed a faint dot.

    Args:
        x: K places.
        arms: dictionary from the text beside the curve to ``(kind, values)``: a key of
            NORM_STYLES, and an array (K, S) or (K,), not a number where the arm lacks a place; or
            to values alone. Further arms of one kind, three at most, are hollow, with other lines.
        xlabel: of the places.
        ylabel: of the values.
        kind: of the arms that are values alone; without it they have shades, three at most, as
            where no norm is the subject.
        level: a value and its text, drawn as a dashed line: chance, a target.
        place: a place and its text, drawn as a thin upright line.
        theory: dictionary from a text to K values, drawn dashed, with the text above the line.
            If it is the label of an arm, it stands there alone, and the arm has marks and no line.
        labels: where they stand: at the "end", right of the axes; at the "start", left of a
            curve's first value; or at the "fall", where a curve that falls to half of its
            highest value does so.
        logx: whether the places stand on a log axis.
        logy: whether the values do; the mean is then that of the logarithms.
        ylim: ends of the axis of values; default from 0, or what a log axis needs.
        title: a text above the panel.
        ax: axes to draw in; a new figure without it.

    Returns:
        The axes.
    """
    ax = ax or plt.subplots()[1]
    x, means, theory = np.asarray(x), {}, theory or {}
    few = max(len(x) // 20, 1)
    for label, style, values in _styled(arms, kind):
        values = np.asarray(values, dtype=float).reshape(len(x), -1)
        if label in theory:
            style["linestyle"] = ""
        if values.shape[1] > 1:
            ax.plot(x[::few], values[::few], color=style["color"], **SEEDS)
        mean = _mean(values, logy)
        there = np.isfinite(mean)
        means[label] = x[there], mean[there]
        ax.plot(*means[label], markevery=1 if len(x) <= 20 else len(x) // 8, **style)
    for text, values in theory.items():
        ax.plot(x, values, "--", color=INK, lw=1)
        above, k = {"textcoords": "offset points"}, len(x) // 5
        ax.annotate("" if text in arms else text, (x[k], values[k]), (0, 7), **above)
    if level is not None:
        ax.axhline(level[0], color=INK, lw=1, ls="--")
        below = {"textcoords": "offset points", "ha": "right", "va": "top"}
        ax.annotate(level[1], (x[-1], level[0]), (0, -3), **below)
    if place is not None:
        ax.axvline(place[0], color=AXIS, lw=0.8)
        top = ("data", "axes fraction")
        ax.annotate(place[1], (place[0], 1), (4, 0), top, textcoords="offset points", va="top")
    ax.set(xlabel=xlabel, ylabel=ylabel)
    if logx:
        ax.set_xscale("log")
    if logy:
        ax.set_yscale("log")
    ax.set_ylim(*ylim or ((None, None) if logy else (0, None)))
    ax.annotate(title, (0, 1), (0, 6), "axes fraction", textcoords="offset points", color=AXIS)
    if labels == "start":
        _label_starts(ax, means)
    else:
        _label_ends(ax, _label_falls(ax, means) if labels == "fall" else means)
    _plain_ticks(ax, x)
    return ax


def _styled(arms, kind):
    """Yield label, look and values of each arm; those of one kind differ in their looks."""
    seen = []
    for label, arm in arms.items():
        own, values = _kind_and_values(arm, kind)
        style, nth = dict(NORM_STYLES[own] if own else SHADES[seen.count(None)]), seen.count(own)
        if own and nth:
            others = [line for line in ("--", ":", "-.", "-") if line != style["linestyle"]]
            style |= {"linestyle": others[nth - 1], "mfc": PAPER}
        seen.append(own)
        yield label, style, values


def _kind_and_values(arm, kind=None):
    return arm if isinstance(arm[0], str) else (kind, arm)


def _mean(values, log):
    """The mean over seeds, of the logarithms where the axis is one."""
    return np.exp(np.log(values).mean(1)) if log else values.mean(1)


def _plain_ticks(ax, x):
    """Write numbers as people do: the places themselves if they are few, 0.2 and not 2×10⁻¹."""
    low, high = ax.get_ylim()
    if ax.get_yscale() == "log" and high / low < 100:
        ax.yaxis.set_major_locator(mpl.ticker.LogLocator(subs=(1, 2, 5)))
        ax.yaxis.set_major_formatter("{x:g}")
        ax.yaxis.set_minor_locator(mpl.ticker.NullLocator())
    if ax.get_xscale() == "log" and len(x) <= 8:
        ax.set_xticks(x, [f"{place:g}" for place in x])
        ax.xaxis.set_minor_locator(mpl.ticker.NullLocator())
    elif ax.get_xscale() != "log" and np.allclose(x, np.round(x)):
        ticks = mpl.ticker.MaxNLocator(6, integer=True).tick_values(x.min(), x.max())
        ax.set_xticks([tick for tick in ticks if x.min() <= tick <= x.max()])


def _label_ends(ax, means):
    """Write a text at the right of the axes beside each curve's last value."""
    right = ax.get_xlim()[1]
    ends = [(text, (right, mean[-1])) for text, (_, mean) in means.items()]
    for text, height in _apart(ax, ends):
        ax.annotate(text, (1, height), (6, 0), "axes fraction", **BESIDE)


def _label_starts(ax, means):
    """Write a text left of each curve's first value, and make room for it."""
    starts, written = {}, []
    for text, (x, mean) in means.items():
        starts.setdefault(x[0], []).append((text, (x[0], mean[0])))
    for place, points in starts.items():
        for text, height in _apart(ax, points):
            at = (place, height), (-7, 0), ("data", "axes fraction")
            written.append((place, ax.annotate(text, *at, ha="right", **BESIDE)))
    ax.figure.draw_without_rendering()  # then the layout is known
    left, right = ax.get_xlim()
    there, back = _scale(ax)
    for place, text in written:
        share = (text.get_window_extent().width + 24) / ax.get_window_extent().width
        span = there(right) - there(place)
        left = min(left, back(there(place) - share / (1 - share) * span))
    ax.set_xlim(left, right)


def _label_falls(ax, means):
    """Write a text where a curve falls to half of its top; return the curves that do not."""
    left, (there, back) = {}, _scale(ax)
    for text, (x, mean) in means.items():
        top = mean.argmax()
        half, low = mean[top] / 2, top + (mean[top:] < mean[top] / 2).argmax()
        if low == top:
            left[text] = x, mean
            continue
        place = np.interp(half, mean[[low, low - 1]], there(x[[low, low - 1]]))
        ax.annotate(text, (back(place), half), (7, 0), **BESIDE)
    return left


def _scale(ax):
    """From places to what their axis shows in equal steps, and back."""
    return (np.log, np.exp) if ax.get_xscale() == "log" else (np.asarray, np.asarray)


def _apart(ax, points):
    """Return texts and heights in the axes, in order and far enough apart to be read.

    Args:
        ax: with its limits set.
        points: list of texts and their places (x, y) in data.
    """
    figure = ax.figure
    share = ax.get_position().height if len(figure.axes) == 1 else 0.8 / len(figure.axes)
    gap = 12 / (72 * figure.get_size_inches()[1] * share)  # a line of text, in axes heights
    to_axes = ax.transData + ax.transAxes.inverted()
    found = sorted((to_axes.transform(place)[1], text) for text, place in points)
    heights = [min(max(height, 0), 1) for height, _ in found]
    for _ in range(50 * bool(found)):  # push neighbours apart, both a little, and stay inside
        for k in range(len(heights) - 1):
            lack = gap - (heights[k + 1] - heights[k])
            if lack > 0:
                heights[k] -= lack / 2
                heights[k + 1] += lack / 2
        heights[0], heights[-1] = max(heights[0], 0), min(heights[-1], 1)
    return [(text, height) for (_, text), height in zip(found, heights, strict=True)]


def curves_by_rate(rates, arms, ylabel, chance):
    """Draw accuracy over learning rates: which rates an arm survives.

    Args:
        rates: L learning rates, drawn on a log axis.
        arms: as for :func:`curves`, with values (L, S) in percent; the label stands where the
            curve falls.
        ylabel: of the values.
        chance: the level of guessing.

    Returns:
        The axes.
    """
    how = {"level": (chance, "chance"), "labels": "fall", "logx": True, "ylim": (0, 102)}
    return curves(rates, arms, "learning rate", ylabel, **how)


def signals_by_depth(arms, theory=({}, {})):
    """Draw the size of signals by layer on log axes: forward above, backward below.

    Args:
        arms: as for :func:`curves`, with pairs of values (D, S): forward and backward. The
            backward ones have their labels at the first layer, where they end.
        theory: for each panel, as for :func:`curves`, with D values.
    """
    for way, ax in enumerate(panels(2, sharex=True)):
        one = {}
        for label, arm in arms.items():
            kind, pair = _kind_and_values(arm)
            one[label] = (kind, pair[way]) if kind else pair[way]
        layers = np.arange(1, len(pair[way]) + 1)
        how = {"theory": theory[way], "labels": ("end", "start")[way], "logy": True, "ax": ax}
        ylabel = ("size of the signal", "size of its gradient")[way]
        curves(layers, one, ("", "layer")[way], ylabel, **how)


def instruments(networks, ratios, layers=(1, 4, 8)):
    """Draw three instruments, one row a network: histograms, gradients, update ratios.

    Args:
        networks: dictionary from a name to the :class:`norms.experiments.probes.Signals` of a
            tanh network with D layers: ``post`` and ``gradients`` are D arrays (S, N, C).
        ratios: dictionary from the same names to the arrays (D, S) of update ratios; the dashed
            line is at one in a thousand.
        layers: whose histograms are drawn, each as high as its fullest bin.
    """
    _, axes = plt.subplots(
        len(networks), 3, figsize=(WIDTH, 1.45 * len(networks) + 0.5), sharex="col", sharey="col",
        squeeze=False,
    )  # fmt: skip
    for row, (name, seen) in zip(axes, networks.items(), strict=True):
        sizes = [np.sqrt(np.square(np.asarray(g)).mean((1, 2))) for g in seen.gradients]
        for place, layer in enumerate(layers):
            heights, edges = np.histogram(np.asarray(seen.post[layer - 1]).ravel(), 41, (-1, 1))
            middles, base = (edges[1:] + edges[:-1]) / 2, place * 1.15
            shape = base + heights / heights.max()
            row[0].fill_between(middles, base, shape, step="mid", color=ACCENT, alpha=0.45, lw=0)
            row[0].plot(middles, shape, color=ACCENT, lw=0.8, drawstyle="steps-mid")
        for ax, values in zip(row[1:], (np.array(sizes), np.asarray(ratios[name])), strict=True):
            depth = np.arange(1, len(values) + 1)
            ax.plot(depth, values, color=ACCENT, **SEEDS)
            ax.plot(depth, _mean(values, True), "o-", color=ACCENT, ms=3.5, lw=1.5)
            ax.set(yscale="log", xticks=layers)
        row[2].axhline(1e-3, color=INK, lw=1, ls="--")
        row[0].set(xticks=[-1, 0, 1], yticks=[1.15 * k + 0.4 for k in range(len(layers))])
        row[0].set_yticklabels([str(layer) for layer in layers])
        row[0].grid(visible=False)
        row[0].annotate(
            name, (0, 1), (-14, 5), "axes fraction", textcoords="offset points", weight="bold"
        )
    for ax in axes.flat:
        ax.minorticks_off()
        ax.tick_params(labelsize=8)
    for ax, label in zip(axes[-1], ("output", "layer", "layer"), strict=True):
        ax.set_xlabel(label)
    above = {"textcoords": "offset points", "ha": "center", "color": AXIS}
    for ax, label in zip(axes[0], ("outputs of layer", "gradient", "update / weight"), strict=True):
        ax.annotate(label, (0.5, 1), (0, 20), "axes fraction", **above)
