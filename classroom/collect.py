"""Bring a folder of whatever was handed in into the course's folder, safely.

Known forms: STUDENT/NAME.ipynb, STUDENT_NAME.ipynb, STUDENT.zip with a notebook in it, and a zip of an
LMS that holds any of these, if it lies there alone: a student's zip must not name another student. Nothing outside the folder is read, and no file is written but a notebook
that has been rebuilt cell by cell.
"""

import datetime
import hashlib
import json
import os
import re
import stat
import unicodedata
import zipfile
from dataclasses import dataclass, field
from pathlib import Path

import nbformat
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_raw_cell

LARGEST = 20_000_000  # bytes of a notebook
MOST_CELLS = 2000
MOST_FILES = 2000  # notebooks in a zip
LONGEST_NAME = 150  # bytes; file systems allow 255, endings included
MADE = {"code": new_code_cell, "markdown": new_markdown_cell, "raw": new_raw_cell}


class Odd(ValueError):
    """Something handed in cannot be graded; the message is the line of the report."""


@dataclass
class Handed:
    """One thing handed in."""

    student: str
    source: str
    raw: str = ""  # the student's name as it was written
    body: bytes = b""
    when: float = 0.0
    odd: list = field(default_factory=list)
    notebook: object = None

    @property
    def digest(self):
        return hashlib.sha256(self.body).hexdigest()


def collect(folder, name, released=frozenset(), stamped=False):
    """Read all that was handed in.

    Args:
        folder: Path of the submissions
        name: of the assignment
        released: ids of the assignment's cells
        stamped: nbgrader has collected them, so its timestamp.txt can be believed

    Returns:
        list of Handed, one a student (`notebook` is None where nothing can be graded), and a list of
        lines about what belongs to nobody
    """
    found, odd = [], []
    paths = sorted((p for p in folder.iterdir() if p.name[:1] != "."), key=lambda p: p.name)
    for path in paths:
        try:
            found += list(_entries(path, name, len(paths) == 1, stamped))
        except Odd as error:
            odd.append(f"{shown(path.name)}: {error}")
        except Exception as error:  # whatever it is, it must not end the others' grading
            odd.append(f"{shown(path.name)}: cannot be read ({type(error).__name__}: {error})")
    for handed in found:
        if handed.body and not handed.notebook:
            _read(handed, released)
    students = {}
    for handed in found:
        students.setdefault(handed.student, []).append(handed)
    one_each = [_chosen(several) for several in students.values()]
    for several in students.values():
        _tell_apart(several)
    _note_copies(one_each)
    return sorted(one_each, key=lambda h: h.student), odd


def student_id(text):
    """A student's name as a folder's name: letters and digits of any script, and . _ - @ blank."""
    text = unicodedata.normalize("NFC", shown(text))
    kept = "".join(ch if ch.isalnum() or ch in " ._-@" else "_" for ch in text).strip(" .")
    kept = kept.encode("utf-8")[:LONGEST_NAME].decode("utf-8", "ignore").strip(" .")
    if not kept:
        raise Odd(f"no student's name in {text!r}")
    return kept


def shown(text):
    """A file's name as text that can be stored, also where it is no text."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _entries(path, name, alone, stamped):
    if path.is_symlink():
        raise Odd("a symbolic link: not followed")
    if path.is_dir():
        yield from _folder(path, name, stamped)
    elif path.suffix.lower() == ".zip":
        yield from _zip(path, name, alone)
    elif path.is_file():
        student, raw = _from_file(path.name, name)
        when = path.stat().st_mtime
        yield Handed(student, shown(path.name), raw, *_bytes(path), when=when)


def _folder(path, name, stamped):
    student, files, odd = student_id(path.name), [], []
    for child in sorted(path.rglob("*")):
        where = shown(child.relative_to(path).as_posix())
        if child.is_symlink() or not child.resolve().is_relative_to(path.resolve()):
            odd.append(f"{where} is a symbolic link: not followed")
        elif child.is_file() and not any(
            part.startswith(".") for part in child.relative_to(path).parts
        ):
            files.append(child)
    notebooks = [f for f in files if f.suffix == ".ipynb"]
    right = [f for f in notebooks if f.stem == name] or notebooks
    if not right:
        there = shown(", ".join(f.name for f in files[:3])) or "nothing"
        more = [*odd, f"no notebook (there: {there})"]
        yield Handed(student, shown(path.name), path.name, odd=more)
    for file in right:
        more = [] if file.stem == name else [f"the file is named {shown(file.name)}"]
        when = _timestamp(file, stamped)
        source = shown(f"{path.name}/{file.relative_to(path).as_posix()}")
        yield Handed(student, source, path.name, *_bytes(file), when=when, odd=[*odd, *more])


def _timestamp(file, stamped):
    """When the file was last changed; if nbgrader collected it, what its timestamp.txt says."""
    beside = file.parent / "timestamp.txt"
    if stamped and beside.is_file() and not beside.is_symlink():
        try:
            from nbgrader.utils import parse_utc

            told = parse_utc(beside.read_text(encoding="utf-8")[:100].strip())
            return told.replace(tzinfo=datetime.UTC).timestamp()
        except Exception:
            pass
    return file.stat().st_mtime


def _bytes(path):
    if path.stat().st_size > LARGEST:
        raise Odd(f"{path.stat().st_size} bytes: too large for a notebook")
    return (path.read_bytes(),)


def _from_file(filename, name):
    stem = filename.rpartition(".")[0] or filename
    student = re.sub(rf"[ _-]*{re.escape(name)}$", "", stem)
    return student_id(student), student


def _zip(path, name, alone):
    """The notebooks of a zip: read in memory, nothing is unpacked."""
    student, raw = _from_file(path.name, name)
    try:
        with zipfile.ZipFile(path) as archive:
            found = list(_members(archive, path, name, alone))
    except Exception as error:  # a torn zip fails in many ways
        found = [
            Handed(student, shown(path.name), raw, odd=[f"not a zip that can be read ({error})"])
        ]
    yield from found


def _members(archive, path, name, alone):
    entries, odd = [], []
    for info in archive.infolist():
        parts = info.filename.replace("\\", "/").split("/")
        if info.is_dir() or parts[0] == "__MACOSX":
            continue
        if ".." in parts or info.filename.startswith(("/", "\\")) or ":" in parts[0]:
            odd.append(f"{path.name} holds {info.filename!r}, which points out of it: left out")
        elif stat.S_ISLNK(info.external_attr >> 16):
            odd.append(f"{path.name} holds a symbolic link ({info.filename}): left out")
        elif parts[-1].endswith(".ipynb") and len(entries) < MOST_FILES:
            entries.append((info, parts))
    folders = {parts[0] for _, parts in entries if len(parts) > 1}
    of_a_class = alone and (len(folders) > 1 or (len(entries) > 1 and not folders))
    mine = [e for e in entries if e[1][-1] == f"{name}.ipynb"] or entries
    for info, parts in entries if of_a_class else mine:
        when = path.stat().st_mtime
        student, raw = _from_file(path.name, name)
        if of_a_class:
            when = _date(info) or when
            try:
                inside = len(parts) > 1
                student, raw = (
                    (student_id(parts[0]), parts[0]) if inside else _from_file(parts[-1], name)
                )
            except Odd as error:
                yield Handed(
                    f"({path.stem})", shown(f"{path.name}:{info.filename}"), odd=[str(error)]
                )
                continue
        source = shown(f"{path.name}:{info.filename}")
        handed = Handed(student, source, raw, when=when, odd=list(odd))
        if info.file_size > LARGEST:
            handed.odd.append(f"{info.file_size} bytes: too large for a notebook")
        else:
            with archive.open(info) as file:
                handed.body = file.read(LARGEST + 1)[:LARGEST]
        yield handed
    if not entries:
        student, raw = _from_file(path.name, name)
        yield Handed(student, shown(path.name), raw, odd=[*odd, "no notebook in the zip"])


def _date(info):
    try:
        return datetime.datetime(*info.date_time).timestamp()
    except ValueError:
        return None


def _chosen(several):
    """A student's last submission that can be read; the others are named."""
    several.sort(key=lambda h: (h.notebook is not None, h.when, h.source))
    chosen = several[-1]
    for other in several[:-1]:
        chosen.odd.append(f"also handed in, not graded: {other.source}")
        chosen.odd += other.odd if other.notebook is None else []
    return chosen


def _tell_apart(several):
    """Two names that become one folder's name are two people, as far as one can tell: none is graded."""
    names = {unicodedata.normalize("NFC", shown(h.raw)).strip(" ") for h in several}
    if len(names) > 1:
        for handed in several:
            handed.notebook = None
            told = ", ".join(sorted(map(repr, names)))
            handed.odd.append(f"the names {told} become one here: rename one, and grade again")


def _note_copies(all_of_them):
    first = {}
    for handed in all_of_them:
        if handed.notebook is not None:
            other = first.setdefault(handed.digest, handed)
            if other is not handed:
                handed.odd.append(f"the same file as {other.student}'s")


def _read(handed, released):
    try:
        handed.notebook = rebuilt(text_of(handed.body, handed.odd), handed.odd)
        marks = [c.metadata.get("nbgrader", {}).get("grade_id") for c in handed.notebook.cells]
        if released and not {*marks} & {*released}:
            handed.notebook = None
            raise Odd("no cell of this assignment is in it: another notebook?")
    except Odd as error:
        handed.odd.append(str(error))


def text_of(body, odd):
    """The text of a notebook, whatever its encoding."""
    if body.startswith((b"\xff\xfe", b"\xfe\xff")):
        odd.append("saved as UTF-16: read all the same")
        return body.decode("utf-16", "replace")
    try:
        return body.decode("utf-8-sig")
    except UnicodeDecodeError:
        odd.append("saved in a Windows encoding: read all the same")
        return body.decode("cp1252", "replace")


def rebuilt(text, odd):
    """A clean notebook with the cells of this text: kinds, sources and marks, and nothing else.

    Raises:
        Odd: the text is no notebook
    """
    try:
        told = json.loads(text)
    except (ValueError, RecursionError):
        raise Odd("not a notebook (it is not JSON)") from None
    if isinstance(told, dict) and isinstance(told.get("worksheets"), list):
        try:
            told = json.loads(nbformat.writes(nbformat.reads(text, as_version=4)))
            odd.append("an old notebook format: converted")
        except Exception:
            raise Odd("not a notebook (an old format that cannot be converted)") from None
    cells = told.get("cells") if isinstance(told, dict) else None
    if not isinstance(cells, list):
        raise Odd("not a notebook (it has no cells)")
    if len(cells) > MOST_CELLS:
        raise Odd(f"{len(cells)} cells, more than {MOST_CELLS}")
    metadata = told.get("metadata") if isinstance(told.get("metadata"), dict) else {}
    kernel = metadata.get("kernelspec")
    named = kernel.get("name") if isinstance(kernel, dict) else None
    if named != "python3":
        odd.append(f"its kernel is {str(named)[:40]!r}: run with the course's")
    return new_notebook(cells=[c for k, c in enumerate(map(_cell, cells, range(len(cells)))) if c])


def _cell(told, number):
    if not isinstance(told, dict) or told.get("cell_type") not in MADE:
        return None
    source = told.get("source", "")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    source = source if isinstance(source, str) else ""
    source = source.encode("utf-8", "replace").decode("utf-8").replace("\r\n", "\n")
    if told["cell_type"] != "code":
        source = harmless(source)
    cell = MADE[told["cell_type"]](source, id=f"cell-{number}")
    metadata = told.get("metadata") if isinstance(told.get("metadata"), dict) else {}
    marks = metadata.get("nbgrader")
    if isinstance(marks, dict) and isinstance(marks.get("grade_id"), str):
        cell.metadata["nbgrader"] = {"grade_id": shown(marks["grade_id"])}
    return cell


def harmless(text):
    """Markdown without HTML and links: a marker's browser must not run what a student wrote.

    A blank is all it takes, and formulas and code do not mind it.
    """
    return re.sub(r"\](?=[(\[:])", "] ", re.sub(r"<(?=[^\s=\d])", "< ", text))


def store(course, name, handed):
    """Write what was handed in to `submitted/`; unchanged files stay as they are."""
    path = course.submitted(handed.student, name)
    path.parent.mkdir(parents=True, exist_ok=True)
    when = datetime.datetime.fromtimestamp(handed.when, datetime.UTC)
    stamp = when.strftime("%Y-%m-%d %H:%M:%S.%f UTC")
    for target, text in (
        (path, nbformat.writes(handed.notebook) + "\n"),
        (path.parent / "timestamp.txt", stamp),
    ):
        if not target.exists() or target.read_text(encoding="utf-8") != text:
            new = target.with_name(target.name + ".new")
            new.write_text(text, encoding="utf-8", newline="\n")
            os.replace(new, target)
    return Path(path)
