"""What takes part in nbgrader's autograding: cells put right, and execution in the sandbox."""

import copy
import json
from pathlib import Path

import nbformat
from nbformat.notebooknode import from_dict
from nbgrader.preprocessors import NbGraderPreprocessor
from traitlets import Unicode

from . import content, execute, sandbox
from .course import Course


class Mend(NbGraderPreprocessor):
    """Give the cells of the assignment back what marks them, and put back the checks that are gone."""

    course = Unicode(help="the course's folder").tag(config=True)

    def preprocess(self, nb, resources):
        name = resources["nbgrader"]["assignment"]
        released = nbformat.read(Path(self.course, "release", name, f"{name}.ipynb"), as_version=4)
        resources.setdefault("odd", []).extend(mend(nb, released))
        return nb, resources


class Sandboxed(NbGraderPreprocessor):
    """In the place of nbgrader's Execute: recall what phase 1 has stored, or run it now."""

    course = Unicode(help="the course's folder").tag(config=True)
    kind = Unicode(help="of sandbox; empty: the one that runs here").tag(config=True)

    def preprocess(self, nb, resources):
        told = resources["nbgrader"]
        course = Course(Path(self.course))
        path = course.result(told["student"], told["assignment"])
        kept = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
        if kept.get("cells") == execute.fingerprint(nb):
            for cell, outputs in zip(nb.cells, kept["outputs"], strict=True):
                if cell.cell_type == "code":
                    cell.outputs = from_dict(outputs)
            return nb, resources
        assignment = course.assignment(told["assignment"])
        order = [n for n in map(_id, assignment.read().cells) if n]
        kind = self.kind or sandbox.find()
        execute.run(nb, assignment, told["student"], course.secret, kind, order=order)
        return nb, resources


def mend(notebook, released):
    """Bring a submission's marked cells in line with those handed out; return what was odd."""
    wanted = {_id(c): c for c in released.cells if _id(c)}
    odd, last = [], {}
    for number, cell in enumerate(notebook.cells):
        name = _id(cell)
        if name not in wanted:
            cell.metadata.pop("nbgrader", None)
            continue
        if name in last:
            odd.append(f"cell {name} is there twice: the last counts")
            if not content.is_check(wanted[name]):
                notebook.cells[last[name]].metadata.pop("nbgrader", None)
            else:  # an extra copy of a check is not the student's code: it is not run
                notebook.cells[last[name]] = nbformat.v4.new_raw_cell("")
        last[name] = number
    for name, original in wanted.items():
        if name in last:
            cell = notebook.cells[last[name]]
            if content.is_check(original) and cell.source.strip() != original.source.strip():
                odd.append(f"check {name} was edited: restored")
            _as(cell, original)
    odd += _put_back(notebook, wanted)
    return odd


def _as(cell, original):
    """Make a cell the same kind, with the same marks."""
    if cell.cell_type != original.cell_type:
        cell.cell_type = original.cell_type
        for key in ("outputs", "execution_count"):
            cell.pop(key, None)
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    cell.metadata["nbgrader"] = copy.deepcopy(original.metadata["nbgrader"])


def _put_back(notebook, wanted):
    """Insert each cell that is gone after the one that stood before it."""
    odd, before = [], None
    for name, original in wanted.items():
        place = {_id(c): k for k, c in enumerate(notebook.cells) if _id(c)}
        if name not in place:
            cell = copy.deepcopy(original)
            notebook.cells.insert(place[before] + 1 if before in place else 0, cell)
            odd.append(f"cell {name} was gone: put back")
        before = name
    return odd


def _id(cell):
    told = cell.metadata.get("nbgrader", {})
    return told.get("grade_id") if isinstance(told, dict) else None
