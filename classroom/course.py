"""The instructor's folder: nbgrader's own layout, with the results of phase 1 and a secret beside it."""

import contextlib
import csv
import io
import logging
import os
import secrets
import shutil
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell
from nbgrader.apps.api import NbGraderAPI
from nbgrader.coursedir import CourseDirectory
from traitlets.config import Config

from . import content
from .mutation import STUB

CONFIG = '''\
"""nbgrader's configuration of this course; `python -m classroom` and nbgrader itself both read it."""

from pathlib import Path

from classroom.course import configuration

c = get_config()  # noqa: F821
c.merge(configuration(Path(__file__).resolve().parent))
'''
# nbgrader calls `alembic` by name; it lies beside the Python that runs this.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
COLAB = """\
# On Colab this fetches the files that lie beside the notebook; elsewhere it does nothing.
import sys
from urllib.request import urlretrieve

course = "https://raw.githubusercontent.com/seven-norms/seven-norms/main/"
files = [
FILES
]
if "google.colab" in sys.modules:
    for file in files:
        urlretrieve(course + file, file.rpartition("/")[2])"""
EPOCH = (2026, 1, 1, 0, 0, 0)  # of the files in a zip, so that the same content is the same file


def configuration(root, kind=""):
    """nbgrader's configuration, with the sandbox in the place of its own execution."""
    c = Config()
    c.CourseDirectory.root = str(root)
    c.CourseDirectory.course_id = "norms"
    c.ClearSolutions.code_stub = {"python": STUB}
    c.ClearSolutions.text_stub = "Your answer."
    ours = "classroom.preprocessors."
    theirs = "nbgrader.preprocessors."
    c.Autograde.sanitize_preprocessors = [
        theirs + "ClearOutput",
        ours + "Mend",
        *(theirs + n for n in ("DeduplicateIds", "OverwriteKernelspec", "OverwriteCells")),
        theirs + "CheckCellMetadata",
    ]
    c.Autograde.autograde_preprocessors = [
        ours + "Sandboxed",
        *(theirs + n for n in ("IgnorePattern", "LimitOutput", "SaveAutoGrades")),
        *(theirs + n for n in ("AssignLatePenalties", "CheckCellMetadata")),
    ]
    c.GenerateFeedback.preprocessors = [
        theirs + "GetGrades",
        theirs + "ClearHiddenTests",  # not even the call of a hidden check goes back
        "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
    ]
    c.ClearHiddenTests.enforce_metadata = False
    c.Mend.course = c.Sandboxed.course = str(root)
    c.Sandboxed.kind = kind
    return c


@dataclass(frozen=True)
class Course:
    """A course's folder."""

    root: Path

    def assignment(self, name):
        """The assignment as it was released here (it may be a variant)."""
        if not (self.root / "release" / name / f"{name}.ipynb").exists():
            there = sorted(p.name for p in (self.root / "release").glob("*"))
            raise content.Missing(
                f"{name} is not released in {self.root} (released: {', '.join(there) or 'none'}).\n"
                f"First: python -m classroom release {self.root} {name}"
            )
        return content.Assignment(name, self.root)

    def submitted(self, student, name):
        return self.root / "submitted" / student / name / f"{name}.ipynb"

    def result(self, student, name):
        return self.root / "results" / name / f"{student}.json"

    @property
    def secret(self):
        """The secret from which hidden numbers are drawn; made at the first use, for its owner alone."""
        path = self.root / "secret"
        if not path.exists():
            self.root.mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(FileExistsError):
                number = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
                with os.fdopen(number, "wb") as file:
                    file.write(secrets.token_bytes(32))
        return path.read_bytes()

    def prepare(self):
        self.root.mkdir(parents=True, exist_ok=True)
        path = self.root / "nbgrader_config.py"
        if not path.exists():
            path.write_text(CONFIG, encoding="utf-8", newline="\n")
        return self.secret

    def nbgrader(self, kind=""):
        config = configuration(self.root, kind)
        log = logging.getLogger("classroom.nbgrader")
        log.propagate, log.handlers = False, [logging.NullHandler()]
        directory = CourseDirectory(config=config, log=log)
        return NbGraderAPI(coursedir=directory, config=config, log=log)

    def gradebook(self):
        return self.nbgrader().gradebook


def told(result, what):
    """Raise what nbgrader says when it has failed."""
    if not result["success"]:
        raise content.Failed(
            f"nbgrader could not {what}:\n{result.get('log', '')}{result.get('error', '')}"
        )
    return result


def release(course, names, root=content.ASSIGNMENTS, force=False):
    """Make the students' versions, and a zip of each; return the zips.

    Raises:
        content.Failed: submissions to another version have been graded here, and `force` is not given
    """
    for name in names:
        assignment = content.Assignment(name, root)
        assignment.read()
        if not force and (course.root / "results" / name).exists() and _differs(course, assignment):
            raise content.Failed(
                f"{name} has been graded in {course.root} in another version; all of it would be run "
                "anew. Choose another folder, or say --force."
            )
    course.prepare()
    zips = []
    for name in names:
        assignment = content.Assignment(name, root)
        if assignment.root != course.root:
            target = course.root / "source" / name
            shutil.rmtree(target, ignore_errors=True)
            target.mkdir(parents=True)
            for path in [assignment.notebook, *assignment.files()]:
                shutil.copy(path, target)
            for path in sorted(content.HANDED_OUT.glob("*.py")):
                shutil.copy(path, target)
            for part in ("hidden", "rubrics"):
                (course.root / part).mkdir(exist_ok=True)
            for path in assignment.hidden_files():
                shutil.copy(path, course.root / "hidden")
            if assignment.rubric.exists():
                shutil.copy(assignment.rubric, course.root / "rubrics")
        told(course.nbgrader().generate_assignment(name, force=True), f"release {name}")
        zips.append(zipped(course.root / "release" / name, course.root / "zips" / f"{name}.zip"))
    return zips


def _differs(course, assignment):
    """Whether an assignment is another than the one that was released."""
    old = content.Assignment(assignment.name, course.root)
    pairs = [(assignment.notebook, old.notebook)]
    pairs += [(path, old.hidden.parent / path.name) for path in assignment.hidden_files()]
    pairs += [(path, old.folder / path.name) for path in assignment.files()]
    return any(not old.exists() or new.read_bytes() != old.read_bytes() for new, old in pairs)


def handout(folder=content.ASSIGNMENTS / "release"):
    """Write the students' notebooks that the site and Colab hand out; return those that changed."""
    changed = []
    folder.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        course = Course(Path(place))
        names = content.available()
        release(course, names)
        for name in names:
            made = nbformat.read(course.root / "release" / name / f"{name}.ipynb", as_version=4)
            made.cells.insert(1, new_code_cell(colab(content.Assignment(name)), id="colab"))
            text, target = nbformat.writes(made) + "\n", folder / f"{name}.ipynb"
            if not target.exists() or target.read_text(encoding="utf-8") != text:
                target.write_text(text, encoding="utf-8", newline="\n")
                changed.append(target)
    return changed


def colab(assignment):
    """The cell that fetches on Colab what lies beside a notebook."""
    files = [*assignment.files(), *sorted(content.HANDED_OUT.glob("*.py"))]
    lines = [f'    "{path.relative_to(content.ROOT).as_posix()}",' for path in files]
    return COLAB.replace("FILES", "\n".join(lines))


def zipped(folder, path):
    """A zip of a folder, the same bytes for the same content."""
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_suffix(".new")
    with zipfile.ZipFile(new, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(p for p in folder.rglob("*") if p.is_file()):
            name = f"{folder.name}/{file.relative_to(folder).as_posix()}"
            archive.writestr(zipfile.ZipInfo(name, EPOCH), file.read_bytes(), zipfile.ZIP_DEFLATED)
    os.replace(new, path)
    return path


def formgrader(course, *more):
    """The command that opens nbgrader's Formgrader on a course, and how it is to be run."""
    if not (course.root / "nbgrader_config.py").exists():
        raise content.Missing(f"{course.root} is no course's folder: release an assignment first")
    words = [sys.executable, "-m", "jupyterlab", "--LabApp.default_url=/formgrader", *more]
    path = os.pathsep.join(filter(None, [str(content.ROOT), os.environ.get("PYTHONPATH")]))
    return words, {"cwd": course.root, "env": {**os.environ, "PYTHONPATH": path}}


def feedback(course, name):
    """Make the pages that go back; return them."""
    there(course, name)
    told(course.nbgrader().generate_feedback(name, force=True), f"make feedback for {name}")
    return sorted((course.root / "feedback").glob(f"*/{name}/*.html"))


def there(course, name):
    """Complain if nothing of an assignment has been graded."""
    if not any((course.root / "autograded").glob(f"*/{name}/{name}.ipynb")):
        raise content.Missing(
            f"Nothing of {name} is graded in {course.root}.\n"
            f"First: python -m classroom grade {course.root} {name} FOLDER"
        )


def graded(course):
    """The assignments of which something has been graded."""
    return sorted({path.stem for path in (course.root / "autograded").glob("*/*/*.ipynb")})


def to_mark(course, name):
    """How many submissions wait for a mark by hand."""
    with course.gradebook() as gradebook:
        return sum(s.needs_manual_grade for s in gradebook.assignment_submissions(name))


def export(course, path, names=(), long=False):
    """Write the grades: a row a student, or, if `long`, nbgrader's own CSV, a row a submission."""
    from nbgrader.plugins.export import CsvExportPlugin

    for name in names:
        there(course, name)
    names = list(names) or graded(course)
    if not names:
        raise content.Missing(
            f"Nothing is graded in {course.root}. First: python -m classroom grade"
        )
    plugin = CsvExportPlugin()
    plugin.assignment = names
    with tempfile.TemporaryDirectory() as place:
        plugin.to = str(Path(place, "long.csv"))
        with course.gradebook() as gradebook:
            plugin.export(gradebook)
        text = Path(plugin.to).read_text(encoding="utf-8")
    rows = list(csv.DictReader(io.StringIO(text, newline="")))
    new = Path(f"{path}.new")
    new.write_text(text if long else _wide(rows, names), encoding="utf-8", newline="")
    os.replace(new, path)
    return path


def _wide(rows, names):
    """A row a student, a column an assignment; empty where nothing was handed in."""
    scores, most = {}, {}
    for row in rows:
        most[row["assignment"]] = row["max_score"]
        handed_in = row["score"] if row["timestamp"] else ""
        scores.setdefault(row["student_id"], {})[row["assignment"]] = handed_in
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(
        ["student_id", *(f"{name} (of {float(most.get(name, 0)):g})" for name in names)]
    )
    for student in sorted(scores):
        safe = "'" + student if student[:1] in ("=", "+", "-", "@") else student
        writer.writerow([safe, *(scores[student].get(name, "") for name in names)])
    return file.getvalue()
