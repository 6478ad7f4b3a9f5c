"""The grader tested by mutation: the solution, the stub, faulty answers and cheats, and what each earns."""

import concurrent.futures
import copy
import dataclasses
import hashlib
import json
import os
import sys
import time
from pathlib import Path

from . import content, execute, remote, sandbox

STUB = (
    'raise NotImplementedError("This part is yours: write it, run the cell, then the check below.")'
)
HEAD = ("", "who", "must get", "gets", "loses", "what the first failed check said")


class Wrong(ValueError):
    """A list of faults does not fit its notebook."""


@dataclasses.dataclass(frozen=True)
class Fault:
    """A wrong answer: in solution cell `cell`, `old` (None: all of it) becomes `new`."""

    name: str
    cell: str
    old: str | None
    new: str
    loses: list

    def applied(self, notebook):
        cell = solution(notebook, self.cell, self.name)
        if self.old is None:
            cell.source = self.new
        elif cell.source.count(self.old) != 1:
            found = cell.source.count(self.old)
            raise Wrong(f"{self.name}: {self.old!r} occurs {found} times in {self.cell}, not once")
        else:
            cell.source = cell.source.replace(self.old, self.new)
        return notebook


@dataclasses.dataclass(frozen=True)
class Cheat:
    """Code that solves nothing, put into solution cells of the untouched stub; it may earn `earns`."""

    name: str
    cells: dict
    earns: list = dataclasses.field(default_factory=list)

    def applied(self, notebook):
        for name, source in self.cells.items():
            solution(notebook, name, self.name).source = source
        return notebook


def solution(notebook, name, who=""):
    for cell in notebook.cells:
        told = cell.metadata.get("nbgrader", {})
        if told.get("grade_id") == name and told.get("solution") and cell.cell_type == "code":
            return cell
    raise Wrong(f"{who}: the notebook has no solution cell {name}")


def stubbed(notebook):
    """What a student gets, but for the hidden lines, which the gradebook puts back."""
    from nbgrader.preprocessors import ClearSolutions

    clear = ClearSolutions(code_stub={"python": STUB}, enforce_metadata=False)
    return clear.preprocess(copy.deepcopy(notebook), {"language": "python"})[0]


def lines(assignment):
    """All that is tried on an assignment: a list of (kind, name, notebook, ids that must be earned)."""
    from . import cheats

    notebook = assignment.read()
    checks = [c.metadata.nbgrader["grade_id"] for c in notebook.cells if content.is_check(c)]
    module = content.load("faults", assignment.faults)
    tried = [("solution", "solution", notebook, checks), ("stub", "stub", stubbed(notebook), [])]
    for fault in module.FAULTS:
        unknown = {*fault.loses} - {*checks}
        if unknown or not fault.loses:
            raise Wrong(f"{fault.name}: `loses` must name checks, not {sorted(unknown)}")
        kept = [c for c in checks if c not in fault.loses]
        tried.append(("fault", fault.name, fault.applied(copy.deepcopy(notebook)), kept))
    for cheat in [*module.CHEATS, *cheats.general(notebook)]:
        tried.append(("cheat", cheat.name, cheat.applied(stubbed(notebook)), cheat.earns))
    return tried


def judged(assignment, kind, name, notebook, wanted, box):
    """Run one line: what it earns, and whether that is right."""
    began = time.monotonic()
    told = f"mutation {name}", b"mutation", box, _limits(), _slot()
    odd = execute.run(notebook, assignment, *told, nursery=_nursery(assignment, box))
    points, earned, said = {}, {}, ""
    for cell in notebook.cells:
        if content.is_check(cell):
            told = cell.metadata.nbgrader
            points[told["grade_id"]] = float(told["points"])
            earned[told["grade_id"]] = _points(cell)
            said = said or next((o.evalue for o in cell.outputs if o.output_type == "error"), "")
    right = earned == {name: (most if name in wanted else 0.0) for name, most in points.items()}
    return {
        **{"kind": kind, "name": name, "must": sum(points[w] for w in wanted)},
        **{"got": sum(earned.values()), "of": sum(points.values())},
        "loses": [n for n in points if earned[n] < points[n]],
        "wanted": list(wanted),
        **{"said": said.replace("\n", ";")[:160], "odd": odd, "right": right},
        "seconds": round(time.monotonic() - began, 1),
    }


_NURSERIES = {}  # of this process: for one assignment at a time


def _nursery(assignment, box):
    key = assignment, box
    if key not in _NURSERIES or not _NURSERIES[key].well():
        for old in _NURSERIES.values():
            old.process.close()
        _NURSERIES.clear()
        limits = _limits()
        _NURSERIES[key] = remote.Nursery(box, assignment.files(), limits, _slot())
    return _NURSERIES[key]


def _limits():
    return sandbox.Limits(cell=20, call=5, total=60)


def _slot():
    return os.getpid() % 4000


def _points(cell):
    from nbgrader.utils import determine_grade

    return float(determine_grade(cell)[0])


def table(assignment, only="", jobs=1, box=None, kinds=("solution", "stub", "fault", "cheat")):
    """Try all lines, several at once; yield a row for each, in order."""
    box = box or sandbox.find()
    tried = [ln for ln in lines(assignment) if ln[0] in kinds and only.lower() in ln[1].lower()]
    with concurrent.futures.ProcessPoolExecutor(jobs) as pool:
        running = [pool.submit(judged, assignment, *line, box) for line in tried]
        for future in running:
            yield future.result()


def fingerprint(assignment):
    """Of what the table is about: the assignment, its faults, the cheats, the checks' helpers.

    The engine is left out: it is tested by one assignment run here and now, and by all of them in
    `make test-classroom`.
    """
    digest = hashlib.sha256()
    paths = [
        Path(__file__).resolve().parent / "cheats.py",
        *sorted(content.HANDED_OUT.glob("*.py")),
    ]
    paths += [assignment.notebook, *assignment.files(), *assignment.hidden_files()]
    paths.append(assignment.faults)
    for path in paths:
        digest.update(path.name.encode() + b"\0" + path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()[:16]


def record(assignment):
    """Where the last full table is kept: {"made": fingerprint, "rows": [...]}."""
    return assignment.faults.with_suffix(".json")


def store(assignment, rows):
    kept = [{k: v for k, v in row.items() if k not in ("seconds", "odd")} for row in rows]
    text = json.dumps({"made": fingerprint(assignment), "rows": kept}, indent=1, ensure_ascii=False)
    record(assignment).write_text(text + "\n", encoding="utf-8", newline="\n")


def stored(assignment):
    """The rows of the last full table, or None if something has changed since."""
    path = record(assignment)
    if not path.exists():
        return None
    kept = json.loads(path.read_text(encoding="utf-8"))
    return kept["rows"] if kept["made"] == fingerprint(assignment) else None


def shown(row):
    mark = "ok" if row["right"] else "WRONG"
    lost = ", ".join(row["loses"]) or "nothing"
    return f"{mark:5} {row['kind']:8} {row['name']:44} {row['got']:>4g}/{row['of']:g}  loses {lost}"


def markdown(name, rows):
    """The table as the instructor's page shows it."""
    text = [f"**{name}**: {rows[0]['of']:g} points by checks", ""]
    text += ["| | points | loses |", "|---|---|---|"]
    for row in rows:
        lost = ", ".join(f"`{part}`" for part in row["loses"]) or "nothing"
        lost = "everything" if row["got"] == 0 else lost
        text.append(f"| {row['kind']}: {row['name']} | {row['got']:g} | {lost} |")
    return "\n".join(text)


def check(names, root, only="", jobs=1, keep=True):
    """`python -m classroom check`: print the table of each assignment; return whether all is right."""
    good = True
    for name in names:
        assignment = content.Assignment(name, root)
        print(f"== {name}", flush=True)
        rows = []
        for row in table(assignment, only, jobs):
            rows.append(row)
            print(f"{shown(row)}  ({row['seconds']:.1f} s)", flush=True)
            if not row["right"]:
                print(
                    f"      must earn: {', '.join(row['wanted']) or 'nothing'}; said: {row['said']}"
                )
            for line in row["odd"] if not row["right"] else ():
                print(f"      odd: {line}")
        if not rows:
            raise Wrong(f"no line of {name} has the word {only!r} in its name: nothing was tried")
        faults = sum(r["kind"] == "fault" for r in rows), sum(r["kind"] == "cheat" for r in rows)
        enough = bool(only) or (faults[0] >= 12 and faults[1] >= 8)
        good &= enough and all(row["right"] for row in rows)
        print(f"{name}: {faults[0]} faults, {faults[1]} cheats" + ("" if enough else ": too few"))
        if keep and not only and all(row["right"] for row in rows):
            store(assignment, rows)
    if not good:
        print("Something is wrong (above).", file=sys.stderr)
    return good
