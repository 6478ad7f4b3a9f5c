"""The verdicts on claims: computed, shown as a box, and kept in the notebook's own outputs.

A record is an output of the type :data:`MIME`; :func:`collect` reads it back. Whatever is measured
is in that output; a second one has the verdict word alone, which must come out the same on every
machine.
"""

import html
import json
from dataclasses import asdict
from pathlib import Path

from IPython.display import Markdown, display

from norms.experiments.claims import verdict
from norms.experiments.evidence import Interval
from norms.experiments.grids import CLAIMS, FINDINGS
from norms.experiments.repeats import stored

__all__ = ["MIME", "collect", "finding", "judge", "verdict_table"]

MIME = "application/vnd.norms.evidence+json"


def judge(cell, **measured):
    """Show the verdict on a claim as a box, and keep it in the notebook's outputs.

    The verdict follows from the bounds that stand beside the claim in
    :mod:`norms.experiments.grids`.

    Args:
        cell: of the summary table, such as "BN-1".
        **measured: each quantity of the claim: an :class:`Interval`, or a number.

    Raises:
        KeyError: there is no such claim.
        ValueError: other quantities, or another number of seeds, than the claim names.
    """
    if cell not in CLAIMS:
        raise KeyError(f"there is no claim {cell!r}; there are: {', '.join(CLAIMS)}")
    claim = CLAIMS[cell]
    word, looked = _looked_at(cell, claim, measured)
    effect = measured[claim.effect]
    entry = {
        "id": cell,
        "claim": claim.statement,
        "verdict": word,
        "effect": asdict(effect) if isinstance(effect, Interval) else float(effect),
        "unit": claim.unit,
        "n": claim.seeds or None,
        "of": claim.of,
        "arms": list(claim.arms),
        "also_on": _also_on(cell, word),
        "condition": claim.condition.get(word, "").format(**measured),
        "paper_for": claim.paper_for,
        "paper_against": claim.paper_against,
        "bounds": [
            f"{claim.quantities[name]}: {bound}, measured {_short(measured[name])}"
            + ("" if holds else " (does not hold)")
            for name, bound, holds in looked
        ],
        "beside": [
            f"{text}: {_short(measured[name])}"
            for name, text in claim.quantities.items()
            if name not in {name for name, *_ in looked}
        ],
    }
    _made[cell] = entry
    display({MIME: entry, "text/html": _box(entry, effect)}, raw=True)
    display({"text/plain": f"{cell}: {word}"}, raw=True)


def finding(name, **measured):
    """Assert what a page finds: every bound that was stated for it holds.

    Args:
        name: a key of ``FINDINGS`` in :mod:`norms.experiments.grids`.
        **measured: each quantity of the finding: an :class:`Interval`, or a number.

    Raises:
        AssertionError: a bound does not hold.
        KeyError: there is no such finding.
        ValueError: other quantities, or another number of seeds, than the finding names.
    """
    if name not in FINDINGS:
        raise KeyError(f"there is no finding {name!r}; there are: {', '.join(FINDINGS)}")
    word, looked = _looked_at(name, FINDINGS[name], measured)
    outside = [
        f"{q} is {_short(measured[q])}, not {bound}" for q, bound, holds in looked if not holds
    ]
    assert word == "holds", f"{name}: {'; '.join(outside)}"


def collect(path):
    """Read the records out of a notebook's stored outputs, in their order.

    Args:
        path: of an ``.ipynb`` file.

    Returns:
        List of dictionaries: id, claim, verdict, effect, unit, n, arms, also_on, condition,
        papers, bounds, and what was measured beside them.
    """
    notebook = json.loads(Path(path).read_text(encoding="utf-8"))
    outputs = [o for cell in notebook["cells"] for o in cell.get("outputs", [])]
    return [o["data"][MIME] for o in outputs if MIME in o.get("data", {})]


def verdict_table(*paths):
    """Show the verdicts of this notebook so far, and those stored in others, as a table.

    Args:
        *paths: of ``.ipynb`` files; an id in the first column links to its page.
    """
    rows = {cell: (cell, entry) for cell, entry in _made.items()}
    for path in paths:
        rows |= {e["id"]: (f"[{e['id']}]({path})", e) for e in collect(path)}
    lines = ["| | claim | verdict |", "|---|---|---|"]
    for cell in sorted(rows, key=lambda cell: (cell[:-2], "-" in cell, cell)):
        shown, entry = rows[cell]
        stop = " " if entry["verdict"] == "holds if" else ". "
        condition = stop + entry["condition"] if entry["condition"] else ""
        lines.append(f"| {shown} | {entry['claim']} | **{entry['verdict']}**{condition} |")
    display(Markdown("\n".join(lines)))


_made = {}  # the records of this kernel, by cell


def _looked_at(name, claim, measured):
    """The verdict, and the bounds that decided; of as many seeds as were claimed."""
    word, looked = verdict(claim, measured)
    effect = measured[claim.effect]
    n = effect.n if isinstance(effect, Interval) else 0
    if n != claim.seeds:
        raise ValueError(f"{name} is claimed for {claim.seeds} seeds and measured with {n}")
    return word, looked


def _also_on(cell, word):
    """The effect on the second data set, and whether the bound on it is met that decided."""
    found = stored(cell)
    if found is None:
        return None
    data, effect = found
    bound = CLAIMS[cell].bounds.get(word, {}).get(CLAIMS[cell].effect)
    return {
        "data": data,
        "effect": asdict(effect),
        "n": effect.n,
        "bound": str(bound) if bound else None,
        "holds": bound.holds(effect) if bound else None,
        "shown": f"{data}: {_short(effect)}"
        + (f"; {bound}: {'yes' if bound.holds(effect) else 'no'}" if bound else ""),
    }


def _box(entry, effect):
    """A quiet box that reads well without any style sheet; ``.norms-evidence`` is its hook."""
    shown = _short(effect)
    runs = f"{entry['n']} {entry['of']}" if entry["n"] else ""
    lines = {
        "Measured": ", ".join(part for part in (f"{shown} {entry['unit']}".strip(), runs) if part),
        "Also on": (entry["also_on"] or {}).get("shown", ""),
        "Condition": entry["condition"],
        "For": entry["paper_for"],
        "Against": entry["paper_against"],
    }
    rows = "".join(
        f"<br><span><b>{label}:</b> {html.escape(text)}</span>"
        for label, text in lines.items()
        if text
    )
    beside = [f"{measured} (beside the bounds)" for measured in entry["beside"]]
    listed = [*entry["bounds"], *beside]
    bounds = "".join(f"<li>{html.escape(line)}</li>" for line in listed)
    return (
        '<div class="norms-evidence" style="border-left: 3px solid #5b616b; padding: 4px 12px">'
        f"<b>{html.escape(entry['id'])}</b> · {html.escape(entry['claim'])}<br>"
        f"<b>Verdict: {entry['verdict']}</b>{rows}"
        "<details><summary>Arms and bounds, committed before the run</summary>"
        f"<p>{html.escape('; '.join(entry['arms']))}</p><ul>{bounds}</ul></details></div>"
    )


def _short(measured):
    return f"{measured:.3g}"
