"""From runs to statements: intervals, claims that are asserted, and records of verdicts.

A record is shown as a box and kept in the notebook's own outputs, as an output of the type
:data:`MIME`; :func:`collect` reads it back. Whatever is measured is in that output; a second one
has the verdict word alone, which must come out the same on every machine.
"""

import html
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from IPython.display import Markdown, display
from scipy import stats

__all__ = [
    "MIME",
    "VERDICTS",
    "Interval",
    "assert_above",
    "assert_below",
    "assert_within",
    "collect",
    "interval",
    "paired",
    "ratio",
    "record",
    "say",
    "verdict_table",
    "within",
]

MIME = "application/vnd.norms.evidence+json"

VERDICTS = (
    "proved",
    "holds",
    "holds if",
    "half-true",
    "not seen here",
    "contradicted",
    "cannot be tested here",
)


@dataclass(frozen=True)
class Interval:
    """A mean with its 95 % interval over n seeds."""

    mean: float
    low: float
    high: float
    n: int

    def __format__(self, spec):
        spec = spec or ".1f"
        return f"{self.mean:{spec}} (95 % interval {self.low:{spec}} to {self.high:{spec}})"

    def __str__(self):
        return f"{self:.1f}"


def interval(values):
    """Return the mean of ``values`` and the 95 % interval of Student's t.

    It covers the draw of the seeds (initial weights and order of the batches), not the
    choice of the data.

    Args:
        values: one number a seed.

    Raises:
        ValueError: fewer than two values, or one that is not finite.
    """
    values = np.asarray(values, dtype=float)
    if values.ndim != 1 or len(values) < 2:
        raise ValueError(f"values has shape {values.shape}; an interval needs at least two seeds")
    if not np.isfinite(values).all():
        raise ValueError(f"values are {values}: say what a run that is not finite counts as")
    mean = float(values.mean())
    if np.ptp(values) == 0:
        return Interval(mean, mean, mean, len(values))
    low, high = stats.ttest_1samp(values, 0.0).confidence_interval(0.95)
    return Interval(mean, float(low), float(high), len(values))


def paired(a, b):
    """Return the interval of ``a - b``, seed by seed."""
    a, b = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if a.shape != b.shape:
        raise ValueError(f"a has shape {a.shape} and b {b.shape}: pairs need the same seeds")
    return interval(a - b)


def ratio(a, b):
    """Return the interval of ``a / b``, seed by seed: geometric mean, and limits on a log scale."""
    logs = paired(np.log(np.asarray(a, dtype=float)), np.log(np.asarray(b, dtype=float)))
    return Interval(*(float(np.exp(v)) for v in (logs.mean, logs.low, logs.high)), logs.n)


def within(effect, bound):
    """Tell whether a null is shown: the whole interval lies inside ±``bound``.

    Args:
        effect: an :class:`Interval`.
        bound: positive, stated before the run: what is too small to matter.

    Note:
        An interval that sticks out shows nothing: neither an effect nor its absence.
    """
    if not bound > 0:
        raise ValueError(f"bound is {bound}; expected a positive number, stated before the run")
    return -bound < effect.low and effect.high < bound


def assert_above(effect, margin, what="the effect"):
    """Assert that the whole interval lies above ``margin``."""
    assert effect.low > margin, f"{what} is {effect:.3g}, not above the margin {margin:g}"


def assert_below(effect, margin, what="the effect"):
    """Assert that the whole interval lies below ``margin``."""
    assert effect.high < margin, f"{what} is {effect:.3g}, not below the margin {margin:g}"


def assert_within(effect, bound, what="the effect"):
    """Assert that the whole interval lies inside ±``bound``: a null."""
    assert within(effect, bound), f"{what} is {effect:.3g}, not within the bound ±{bound:g}"


def say(sentence):
    """Show a sentence with measured numbers as Markdown."""
    display(Markdown(sentence))


def record(
    id, claim, verdict, effect, *, n=None, condition="", paper_for="", paper_against="", unit=""
):
    """Show a verdict as a box, and keep it in the notebook's outputs.

    Args:
        id: of the cell of the summary table, such as "BN-1".
        claim: in our own words.
        verdict: one of :data:`VERDICTS`.
        effect: an :class:`Interval`, a number, or a sentence where no number serves.
        n: number of seeds; default that of the interval.
        condition: under which the verdict stands: completes "holds if".
        paper_for: who says so, such as "Ioffe and Szegedy 2015".
        paper_against: who says otherwise.
        unit: of the effect, such as "points of test error".

    Raises:
        ValueError: another verdict, or "holds if" without its condition.
    """
    if verdict not in VERDICTS:
        raise ValueError(f"verdict is {verdict!r}; expected one of: {', '.join(VERDICTS)}")
    if verdict == "holds if" and not condition:
        raise ValueError("verdict 'holds if' needs its condition: condition='...'")
    if isinstance(effect, Interval):
        n = effect.n if n is None else n
        measured = asdict(effect)
    else:
        measured = effect if isinstance(effect, str) else float(effect)
    entry = {
        "id": id,
        "claim": claim,
        "verdict": verdict,
        "effect": measured,
        "unit": unit,
        "n": n,
        "condition": condition,
        "paper_for": paper_for,
        "paper_against": paper_against,
    }
    _made[id] = entry
    display({MIME: entry, "text/html": _box(entry, effect)}, raw=True)
    display({"text/plain": f"{id}: {verdict}"}, raw=True)


def collect(path):
    """Read the records out of a notebook's stored outputs, in their order.

    Args:
        path: of an ``.ipynb`` file.

    Returns:
        List of dictionaries with the arguments of :func:`record`.
    """
    notebook = json.loads(Path(path).read_text(encoding="utf-8"))
    outputs = [o for cell in notebook["cells"] for o in cell.get("outputs", [])]
    return [o["data"][MIME] for o in outputs if MIME in o.get("data", {})]


def verdict_table(*paths):
    """Show the verdicts of this notebook so far, and those stored in others, as a table.

    Args:
        *paths: of ``.ipynb`` files; an id in the first column links to its page.
    """
    rows = {id: (id, entry) for id, entry in _made.items()}
    for path in paths:
        rows |= {e["id"]: (f"[{e['id']}]({path})", e) for e in collect(path)}
    lines = ["| | claim | verdict |", "|---|---|---|"]
    for id in sorted(rows, key=lambda id: (id[:-2], "-" in id, id)):
        shown, entry = rows[id]
        condition = f" {entry['condition']}" if entry["verdict"] == "holds if" else ""
        lines.append(f"| {shown} | {entry['claim']} | **{entry['verdict']}**{condition} |")
    display(Markdown("\n".join(lines)))


_made = {}  # the records of this kernel, by id


def _box(entry, effect):
    """A quiet box that reads well without any style sheet; ``.norms-evidence`` is its hook."""
    shown = f"{effect:.3g}" if isinstance(effect, int | float | Interval) else effect
    runs = f"{entry['n']} paired seeds" if entry["n"] else ""
    lines = {
        "Measured": ", ".join(part for part in (f"{shown} {entry['unit']}".strip(), runs) if part),
        "Condition": entry["condition"],
        "For": entry["paper_for"],
        "Against": entry["paper_against"],
    }
    rows = "".join(
        f"<br><span><b>{label}:</b> {html.escape(text)}</span>"
        for label, text in lines.items()
        if text
    )
    return (
        '<div class="norms-evidence" style="border-left: 3px solid #5b616b; padding: 4px 12px">'
        f"<b>{html.escape(entry['id'])}</b> · {html.escape(entry['claim'])}<br>"
        f"<b>Verdict: {entry['verdict']}</b>{rows}</div>"
    )
