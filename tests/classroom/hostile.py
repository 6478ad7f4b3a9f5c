"""A class of 60, of which most mean no good: made from the released notebook, with what each must get."""

import copy
import json
import os
import zipfile
from dataclasses import dataclass

import nbformat
from nbformat.v4 import new_code_cell

from classroom import content, mutation

LATE = 1_900_000_000
FORWARD = ("forward-values", "forward-hard", "forward-refuses")
BACKWARD = ("backward-dx", "backward-parameters")


@dataclass
class Wanted:
    """What must become of a submission: the checks it loses (None: it is not graded), and a remark."""

    loses: tuple | None = ()
    remark: str = ""


class Class:
    """Writes submissions into a folder, and keeps what is wanted of each."""

    def __init__(self, folder, course, name="batch_norm"):
        self.folder, self.name, self.wanted = folder, name, {}
        self.nobody = []
        path = course.root / "release" / name / f"{name}.ipynb"
        self.released = nbformat.read(path, as_version=4)
        self.source = content.Assignment(name, course.root).read()
        self.checks = [
            c.metadata.nbgrader.grade_id for c in self.released.cells if content.is_check(c)
        ]
        folder.mkdir(parents=True, exist_ok=True)

    def stub(self):
        return copy.deepcopy(self.released)

    def solved(self, **other):
        """The released notebook with the solutions in it, or others."""
        notebook = self.stub()
        for cell, original in ((c, o) for c in notebook.cells for o in self.source.cells):
            told, mark = c_id(cell), c_id(original)
            if told and told == mark and not content.is_check(original):
                cell.source = other.get(told, original.source)
        return notebook

    def spoiled(self, code):
        """A right solution, and a cell of the student's own after the imports."""
        notebook = self.solved()
        notebook.cells.insert(2, new_code_cell(code))
        return notebook

    def add(self, student, notebook, loses=(), remark="", text=None, where=None):
        path = self.folder / (where or f"{student}/{self.name}.ipynb")
        path.parent.mkdir(parents=True, exist_ok=True)
        body = text if text is not None else nbformat.writes(notebook)
        path.write_bytes(body if isinstance(body, bytes) else body.encode("utf-8"))
        if isinstance(loses, str):
            loses = tuple(self.checks)
        self.wanted[student] = Wanted(loses, remark)
        return path


def c_id(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def build(folder, course):
    made = Class(folder, course)
    for part in (honest, programs, cells, files, cheats):
        part(made)
    return made


def honest(made):
    """Right ones, the untouched stub, and slips."""
    for student in ("ada", "emmy", "Zoë van der Müller", "李雷"):
        made.add(student, made.solved(why=f"The statistics are noisier, says {student}."))
    made.add("blank", made.stub(), loses="all")
    faults = content.load("faults", content.ASSIGNMENTS / "faults" / f"{made.name}.py").FAULTS
    for number, fault in enumerate(faults[:16:2]):
        notebook = fault.applied(made.solved())
        made.add(f"slip{number}", notebook, loses=tuple(fault.loses))


BACKWARD_CODE = "def ghost_backward(dy, cache):\n    {}\n"
OWN_CELL = {
    "loop": ("while True: pass", "ran longer"),
    "sleeper": ("import time; time.sleep(10**6)", "ran longer"),
    "exit": ("import os; os._exit(0)", "Python itself ended"),
    "memory": ("hog = [bytearray(2**26) for _ in range(10**4)]", ""),
    "fork": ("import os\nwhile True: os.fork()", ""),
    "threads": (
        "import threading, time\nwhile True: threading.Thread(target=time.sleep, args=(99,)).start()",
        "",
    ),
    "output": ("for _ in range(1024): print('x' * 2**20)", ""),
    "disk": ("for k in range(10**6): open(f'{k}', 'wb').write(bytes(2**24))", ""),
    "shared": ("for k in range(10**6): open(f'/dev/shm/{k}', 'wb').write(bytes(2**24))", ""),
    "killer": ("import os; os.kill(-1, 9)", ""),
    "closer": ("import os; os.closerange(0, 256)", ""),
    "garbler": (
        "import os\nfor fd in range(3, 20):\n    try: os.write(fd, b'x' * 4096)\n    except OSError: pass",
        "",
    ),
    "deep": ("import sys; sys.setrecursionlimit(10**8)\ndef f(): f()\nf()", ""),
}


def programs(made):
    """Cells and functions that take what they can. The rest of the notebook is right."""
    for name, (code, remark) in OWN_CELL.items():
        made.add(f"own {name}", made.spoiled(code), remark=remark)
    for name, code in (
        ("loop", "while True: pass"),
        ("exit", "import os; os._exit(1)"),
        ("memory", "return [bytearray(2**26) for _ in range(10**4)]"),
    ):
        notebook = made.solved(backward=BACKWARD_CODE.format(code))
        made.add(f"call {name}", notebook, loses=BACKWARD, remark="stopped the kernel")
    spy = made.stub()
    spy.cells.insert(2, new_code_cell(SPY))
    made.add("spy", spy, loses="all")


SPY = """
import os, socket, sys
found, python = [], (sys.prefix, sys.base_prefix, "/proc", "/sys", "/usr", "/lib", "/bin", "/sbin")
for folder, folders, files in os.walk("/"):
    folders[:] = [f for f in folders if not os.path.join(folder, f).startswith(python)]
    paths = [os.path.join(folder, name) for name in (*folders, *files)]
    found += [p for p in paths if any(w in p for w in ("gradebook", "secret", "hidden", "submitted", ".ssh"))]
try:
    socket.create_connection(("1.1.1.1", 80), timeout=2); found.append("network")
except OSError:
    pass
for path in ("/etc/passwd", "/etc/shadow", "/etc/hostname"):
    if os.path.exists(path): found.append(path)
print("SPY", found)
"""


def cells(made):
    """Check cells deleted, doubled, moved, edited."""
    notebook = made.solved()
    notebook.cells = [c for c in notebook.cells if not content.is_check(c)]
    made.add("deleted", notebook, remark="was gone: put back")
    notebook = made.solved()
    notebook.cells += [copy.deepcopy(c) for c in notebook.cells if content.is_check(c)]
    made.add("doubled", notebook, remark="is there twice")
    notebook = made.solved()
    notebook.cells.sort(key=lambda c: not content.is_check(c))
    made.add("moved", notebook, remark="another order")
    for student, start, loses in (
        ("edited", made.solved(), ()),
        ("edited stub", made.stub(), "all"),
    ):
        for cell in filter(content.is_check, start.cells):
            cell.source, cell.metadata.nbgrader["points"] = "pass", 100
        made.add(student, start, loses, remark="was edited: restored")
    notebook = made.stub()
    for cell in notebook.cells:
        if c_id(cell) == "forward":
            cell.metadata.nbgrader |= {"grade": True, "points": 100}
        elif content.is_check(cell):
            cell.metadata.nbgrader |= {"solution": True, "grade": False, "locked": False}
    made.add("relabelled", notebook, loses="all")


def files(made):
    """What is no notebook, or not this one; encodings, names, links, zips, times."""
    right = nbformat.writes(made.solved())
    made.add("picture", None, None, "not a notebook", text=b"\x89PNG\r\n\x1a\n" + bytes(range(256)))
    made.add("empty", None, None, "no notebook", text="", where="empty/notes.txt")
    made.add("nested", None, None, "not a notebook", text="[" * 200_000)
    other = nbformat.v4.new_notebook(cells=[new_code_cell("print('another course')")])
    made.add("other", other, None, "another notebook")
    many = made.solved()
    many.cells += [new_code_cell("1") for _ in range(3000)]
    made.add("many", many, None, "more than")
    notebook = made.solved()
    notebook.metadata["kernelspec"] = {"name": "ir", "display_name": "R", "language": "R"}
    made.add("no kernel", notebook, remark="its kernel is 'ir'")
    words = json.dumps(json.loads(nbformat.writes(made.solved(why="größer"))), ensure_ascii=False)
    made.add("windows", None, remark="Windows encoding", text=words.encode("cp1252", "replace"))
    made.add("utf16", None, remark="UTF-16", text=words.encode("utf-16"))
    made.add("flat", None, text=right, where=f"flat_{made.name}.ipynb")
    links(made)
    zips(made, right)
    path = made.add("twice", made.stub())
    os.utime(path, (LATE - 9000, LATE - 9000))
    path = made.add(
        "twice", made.solved(), remark="also handed in", where=f"twice_{made.name}.ipynb"
    )
    os.utime(path, (LATE - 8000, LATE - 8000))
    path = made.add("late", made.solved(), remark="late by")
    os.utime(path, (LATE, LATE))


def links(made):
    outside = made.folder.parent / "outside.ipynb"
    outside.write_text(nbformat.writes(made.solved()), encoding="utf-8")
    (made.folder / "link").mkdir()
    (made.folder / "link" / f"{made.name}.ipynb").symlink_to(outside)
    made.wanted["link"] = Wanted(None, "symbolic link")
    (made.folder / "linked folder").symlink_to("/etc")
    made.nobody.append("linked folder: a symbolic link")


def zips(made, right):
    for student, members, wanted in (
        ("zip", {f"{made.name}.ipynb": right}, Wanted()),
        (
            "slip zip",
            {f"{made.name}.ipynb": right, "../evil.py": "x"},
            Wanted((), "points out of it"),
        ),
        ("only slip", {"../evil.ipynb": right}, Wanted(None, "points out of it")),
        ("bomb", {f"{made.name}.ipynb": b"0" * 300_000_000}, Wanted(None, "too large")),
    ):
        with zipfile.ZipFile(made.folder / f"{student}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            for name, body in members.items():
                archive.writestr(name, body)
        made.wanted[student] = wanted
    made.add("torn", None, None, "not a zip", text=b"PK\x03\x04torn", where="torn.zip")


def cheats(made):
    """The eight cheats, as a student would hand them in."""
    from classroom.cheats import general

    module = content.load("faults", content.ASSIGNMENTS / "faults" / f"{made.name}.py")
    for number, cheat in enumerate([*module.CHEATS, *general(made.source)]):
        notebook = cheat.applied(mutation.stubbed(made.stub()))
        made.add(f"cheat {number}", notebook, loses="all")
