"""What the reader writes: a stub makes its checks fail and says so, a solution makes them pass.

The cells run in a kernel, in the order of the page, without those that train.
"""

import re
from pathlib import Path

import nbformat
import pytest
from chapter_checks import BEGIN, END, asserts, practice, shown, syntax, tagged
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_notebook

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = ROOT / "chapters"

PAGES = sorted(CHAPTERS.glob("*.ipynb"))
TRAINS = r"(training|sweep|repeats|verdicts|data)\."


def written(notebook):
    return [cell for _, cell in shown(notebook) if BEGIN in cell.source]


def names_defined(cell):
    return {node.name for node in syntax(cell).body if hasattr(node, "name")}


def uses(cell, names):
    return any(re.search(rf"\b{name}\b", cell.source) for name in names)


def plan(notebook):
    """Yield (source, what is expected of it): nothing, ``stub`` to fail, ``solved`` to pass."""
    rest = [cell for _, cell in shown(notebook) if not tagged(cell, "hide", "remove")]
    rest = [cell for cell in rest if cell is rest[0] or not re.search(TRAINS, cell.source)]
    while rest:
        cell, *rest = rest
        if BEGIN not in cell.source:
            yield cell.source, ""
            continue
        names = names_defined(cell)
        until = [i for i, c in enumerate(rest) if BEGIN in c.source]
        checks = [c for c in rest[: (until or [len(rest)])[0]] if uses(c, names)]
        checks = [c for c in checks if asserts(syntax(c))]
        assert checks, f"no check for {names}"
        yield practice.stubbed(cell.source), "quiet"
        yield checks[0].source, "stub"
        yield cell.source, "solved"
        yield checks[0].source, "solved"


def run(cells):
    notebook = new_notebook(cells=[new_code_cell(source) for source, _ in cells])
    NotebookClient(
        notebook, timeout=240, allow_errors=True, resources={"metadata": {"path": str(CHAPTERS)}}
    ).execute()
    errors = [[o for o in c.outputs if o.output_type == "error"] for c in notebook.cells]
    return [(e[0].ename, e[0].evalue) if e else None for e in errors]


def faults(notebook):
    cells = list(plan(notebook))
    found = []
    for (source, expected), error in zip(cells, run(cells), strict=True):
        first = source.split("\n")[0]
        if expected == "stub" and (error or ("", ""))[0] != "NotImplementedError":
            found.append(f"{first!r} does not notice the stub: {error}")
        if expected == "stub" and error and "yours" not in error[1]:
            found.append(f"{first!r} says {error[1]!r}")
        if expected in ("solved", "quiet") and error:
            found.append(f"{first!r} fails: {error}")
    return found


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [p for p in PAGES if written(nbformat.read(p, 4))], ids=lambda path: path.stem
)
def test_stubs_fail_their_checks_and_solutions_pass_them(path):
    assert faults(nbformat.read(path, 4)) == []


ASKED = f"def double(x):\n    {BEGIN}\n    return 2 * x\n    {END}"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("sources", "fault"),
    [
        (["assert double(1) == 2"], None),
        (["assert double"], "does not notice the stub"),
        (["try:\n    double(1)\nexcept Exception:\n    pass\nassert True"], "does not notice"),
        (["assert double(1) == 3"], "fails: ('AssertionError'"),
    ],
)
def test_a_check_that_cannot_fail_is_found(sources, fault):
    page = new_notebook(cells=[new_code_cell(source) for source in [ASKED, *sources]])
    found = faults(page)
    assert bool(found) == bool(fault)
    assert not fault or fault in found[0]


def blocks(notebook):
    """The code in the folds of solutions."""
    for cell in notebook.cells:
        if cell.cell_type == "markdown":
            folds = r"<summary>[^<]*[Ss]olution[^<]*</summary>(.*?)</details>"
            for fold in re.findall(folds, cell.source, re.S):
                yield from re.findall(r"^```python\n(.*?)^```", fold, re.M | re.S)


@pytest.mark.slow
@pytest.mark.parametrize(
    "path", [p for p in PAGES if [*blocks(nbformat.read(p, 4))]], ids=lambda path: path.stem
)
def test_the_code_of_solutions_runs_behind_the_set_up(path):
    notebook = nbformat.read(path, 4)
    first = shown(notebook)[0][1].source
    cells = [(first, "solved"), *((source, "solved") for source in blocks(notebook))]
    errors = run(cells)
    failed = [
        (source[:60], error) for (source, _), error in zip(cells, errors, strict=True) if error
    ]
    assert failed == []
    assert all(re.search(r"\b(assert\w*|print|say)\b", source) for source, _ in cells[1:])
