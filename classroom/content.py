"""Where an assignment's parts lie, and its checks as modules on the trusted side."""

import importlib.util
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import nbformat

ROOT = Path(__file__).resolve().parent.parent
ASSIGNMENTS = Path(os.environ.get("CLASSROOM_ASSIGNMENTS") or ROOT / "assignments")
HANDED_OUT = Path(__file__).resolve().parent / "handed_out"
NAMES = [
    *("batch_norm", "layer_norm", "rms_norm", "instance_norm", "group_norm"),
    *("weight_norm", "spectral_norm", "capstone"),
]


class Missing(FileNotFoundError):
    """An assignment, or a part of it, is not there; the message says which and what to do."""


class Failed(RuntimeError):
    """nbgrader could not do something; the message is its own log."""


@dataclass(frozen=True)
class Assignment:
    """One assignment of a folder laid out as `assignments/` is."""

    name: str
    root: Path = ASSIGNMENTS

    @property
    def folder(self):
        return self.root / "source" / self.name

    @property
    def notebook(self):
        return self.folder / f"{self.name}.ipynb"

    @property
    def hidden(self):
        return self.root / "hidden" / f"{self.name}.py"

    def hidden_files(self):
        """The hidden checks, and the data that they read."""
        return sorted(self.hidden.parent.glob(f"{self.name}.*"))

    @property
    def faults(self):
        return self.root / "faults" / f"{self.name}.py"

    @property
    def rubric(self):
        return self.root / "rubrics" / f"{self.name}.md"

    @property
    def variants(self):
        return self.root / "variants" / f"{self.name}.toml"

    def read(self):
        if not self.notebook.exists():
            raise Missing(f"{self.notebook} is not there; the assignments are {', '.join(NAMES)}")
        return nbformat.read(self.notebook, as_version=4)

    def files(self):
        """The files that lie beside the notebook when it is handed out, without the shared ones."""
        found = (p for p in self.folder.iterdir() if p.is_file() and p.suffix != ".ipynb")
        return sorted(p for p in found if p.name not in {h.name for h in HANDED_OUT.glob("*.py")})

    def modules(self):
        """Load the public and the hidden checks afresh: {"checks": module, "hidden": module}."""
        if str(HANDED_OUT) not in sys.path:
            sys.path.insert(0, str(HANDED_OUT))
        paths = {"checks": self.folder / "checks.py", "hidden": self.hidden}
        return {name: load(name, path) for name, path in paths.items()}


def load(name, path):
    """Import a file under a name; what it imports under that name later is this file."""
    if not path.exists():
        raise Missing(f"{path} is not there")
    if str(HANDED_OUT) not in sys.path:
        sys.path.insert(0, str(HANDED_OUT))
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


def available(root=ASSIGNMENTS):
    """The assignments that are there, in the book's order."""
    there = {p.parent.name for p in (root / "source").glob("*/*.ipynb") if p.stem == p.parent.name}
    return [n for n in NAMES if n in there] + sorted(there - {*NAMES})


def parts(notebook):
    """The graded cells: {grade id: points}, in order; those marked by hand too."""
    cells = (c.metadata.get("nbgrader", {}) for c in notebook.cells)
    return {m["grade_id"]: float(m["points"]) for m in cells if m.get("grade")}


def is_check(cell):
    """Whether a cell is a locked test, which the grader itself runs."""
    told = cell.metadata.get("nbgrader", {})
    return cell.cell_type == "code" and bool(told.get("grade")) and not told.get("solution")
