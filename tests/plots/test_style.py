"""The style: one look a norm, what the figures need, and a test for each of them."""

import ast
from itertools import combinations
from pathlib import Path

import matplotlib as mpl
import pytest
from matplotlib.colors import to_rgb

from norms import plots
from norms.names import NAMES
from norms.plots import NORM_STYLES
from norms.plots.style import INK, PAPER, SHADES

HERE = Path(__file__).parent
SOURCES = sorted(Path(plots.__file__).parent.glob("*.py"))


def contrast(first, second):
    """Return the contrast of two colours, 1 to 21, as WCAG has it."""

    def luminance(color):
        parts = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(color)]
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), parts, strict=True))

    low, high = sorted(map(luminance, (first, second)))
    return (high + 0.05) / (low + 0.05)


def test_each_norm_has_the_look_that_its_name_has():
    assert list(NORM_STYLES) == list(NAMES)
    for kind, style in NORM_STYLES.items():
        for key in ("color", "marker", "linestyle"):
            assert style[key] == NAMES[kind][key]
        assert (style.get("mfc") == PAPER) == NAMES[kind].get("hollow", False)
    assert [kind for kind in NORM_STYLES if "linewidth" in NORM_STYLES[kind]] == ["none"]


def test_looks_differ_by_more_than_colour():
    for looks in (NORM_STYLES.values(), SHADES):
        for first, second in combinations(looks, 2):
            assert first["color"] != second["color"]
            keys = ("marker", "linestyle", "linewidth", "mfc")
            assert [first.get(k) for k in keys] != [second.get(k) for k in keys]


@pytest.mark.parametrize("kind", NORM_STYLES)
def test_each_norm_stands_out_on_paper_and_on_the_dark_page(kind):
    color = NORM_STYLES[kind]["color"]
    assert min(contrast(color, PAPER), contrast(color, "#14181E")) >= 3
    tint = [0.35 * c + 0.65 * p for c, p in zip(to_rgb(color), to_rgb(PAPER), strict=True)]
    assert contrast(INK, tint) >= 7  # ink on a filled cell


def test_the_style_is_set():
    plots.use_style()
    assert mpl.rcParams["figure.figsize"] == [4.8, 3.2]
    assert mpl.rcParams["savefig.facecolor"] == mpl.rcParams["axes.facecolor"] == PAPER
    assert mpl.rcParams["text.color"] == INK


def test_figures_need_only_numpy_matplotlib_and_intervals():
    allowed = {"numpy", "matplotlib", "norms.names", "norms.experiments.evidence"}
    for path in SOURCES:
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name in allowed or name.startswith(("matplotlib.", "norms.plots.")), name


def test_every_public_name_has_a_test():
    used = set()
    for path in HERE.glob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                used |= {n.attr for n in ast.walk(node) if isinstance(n, ast.Attribute)}
                used |= {n.id for n in ast.walk(node) if isinstance(n, ast.Name)}
    assert set(plots.__all__) <= used
