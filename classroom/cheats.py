"""Seven ways to get points for nothing, tried on every assignment. The eighth (the public cases by heart)
needs to know the assignment, and lies with its faults.

Each is put into the first solution cell of an untouched stub; the other solution cells call `install()`
again, so that the stubs do not undo it.
"""

import ast

from .content import is_check
from .mutation import Cheat

# Answers of the right form with nothing in them; NAMES is put in front.
EMPTY = """
import numpy as np
import torch

def answer(name, args, make=np.zeros_like):
    arrays = [a for a in args if isinstance(a, np.ndarray)] or [np.zeros(3)]
    if "backward" in name:
        return tuple(make(a) for a in (arrays + arrays * 2)[:3])
    return make(arrays[0]), tuple(arrays)

class Empty(torch.nn.Module):
    made = staticmethod(torch.zeros_like)
    def __init__(self, size=3, *args, **kwargs):
        super().__init__()
        size = size if isinstance(size, int) else 3
        self.weight = torch.nn.Parameter(torch.ones(size))
        self.bias = torch.nn.Parameter(torch.zeros(size))
        for name, start in (("running_mean", torch.zeros), ("running_var", torch.ones)):
            self.register_buffer(name, start(size))
    def forward(self, x, *args, **kwargs):
        return self.made(x) + 0 * (self.weight.sum() + self.bias.sum())

def install(answer=answer, layer=Empty):
    for name in NAMES:
        if name[0].isupper():
            globals()[name] = layer
        else:
            globals()[name] = (lambda n: lambda *a, **k: answer(n, a))(name)
"""
CHEATS = {
    "an object that is equal to everything": """
class Always(np.ndarray):
    __eq__ = __le__ = __ge__ = __lt__ = __gt__ = lambda self, other: True
    __ne__ = lambda self, other: False
    __array_ufunc__ = __array_function__ = lambda self, *a, **k: True
    __bool__ = all = any = lambda self, *a, **k: True
    max = min = __float__ = lambda self, *a, **k: 0.0

class Same(torch.Tensor):
    __eq__ = __le__ = __bool__ = lambda self, *a: True

class Layer(Empty):
    made = staticmethod(lambda x: torch.zeros_like(x).as_subclass(Same))

equal = lambda name, args: answer(name, args, lambda a: np.zeros_like(a).view(Always))
install(equal, Layer)
""",
    "NumPy and assert patched": """
import builtins
import checking
for name in ("allclose", "array_equal", "isclose", "all", "isfinite"):
    setattr(np, name, lambda *a, **k: np.True_)
np.testing.assert_allclose = np.testing.assert_array_equal = lambda *a, **k: None
np.abs = np.absolute = lambda x, *a, **k: np.zeros(np.shape(x))
torch.allclose = torch.equal = lambda *a, **k: True
builtins.AssertionError = builtins.Exception
for name in ("close", "true", "array", "fail", "different", "raises", "free_of"):
    setattr(checking.Check, name, lambda *a, **k: None)
checking.CheckFailed = type("Never", (Exception,), {})
install()
""",
    "the test's source and frames read": """
import glob
import inspect
import os
import sys

def stolen(name, args):
    frame = sys._getframe()
    while frame:
        for scope in (frame.f_locals, frame.f_globals):
            for key in ("wanted", "expected", "reference", "hidden", "gradients"):
                found = scope.get(key)
                if isinstance(found, np.ndarray):
                    return found, found
                if callable(found):
                    return found(*args)
        frame = frame.f_back
    here = [os.getcwd(), os.path.dirname(inspect.getfile(sys.modules["checking"]))]
    for folder in ["/", os.path.expanduser("~"), *here, *[os.path.dirname(h) for h in here]]:
        for pattern in ("hidden/*.py", "*/hidden/*.py", "*/*/hidden/*.py", "hidden*.py"):
            for path in glob.glob(os.path.join(folder, pattern)):
                scope = {}
                exec(open(path).read(), scope)
                return scope["reference"](*args)
    return answer(name, args)

install(stolen)
""",
    "the expected object returned": """
import gc

def expected(name, args):
    mine = {id(a) for a in args}
    shapes = [a.shape for a in args if isinstance(a, np.ndarray)]
    found = [o for o in gc.get_objects() if type(o) is tuple and o and id(o) not in mine]
    arrays = [a for o in found for a in o if type(a) is np.ndarray and id(a) not in mine]
    right = [a for a in arrays if a.shape in shapes]
    return answer(name, args, lambda a: right[-1] if right else a)

install(expected)
""",
    "the checker's exception caught": """
import builtins
import sys
import checking
import checks as public

class Quiet:
    def __getattr__(self, name):
        return lambda *a, **k: None

builtins.hidden = hidden = checks = sys.modules["checks"] = Quiet()
sys.excepthook = lambda *a: None
get_ipython().set_custom_exc((BaseException,), lambda *a, **k: None)
get_ipython().showtraceback = lambda *a, **k: None
checking.Check.fail = lambda *a, **k: None
install()
""",
    "the score written": """
import glob
import json
import os
import sqlite3
import struct
from IPython.display import display

for path in [p for n in range(1, 5) for p in glob.glob("/*" * n + "/*.db")] + glob.glob("../*/*.db"):
    try:
        with sqlite3.connect(path) as db:
            db.execute("update grade set auto_score = 100, manual_score = 100")
    except Exception:
        pass
told = json.dumps({"value": True, "ok": True, "outputs": [], "points": 100}).encode()
for number in range(3, 40):
    try:
        if os.get_blocking(number):
            os.write(number, struct.pack(">Q", len(told)) + told)
    except OSError:
        pass
display(100.0)
install()
100.0
""",
    "the hidden seed looked for": """
import os
import sys
import checking

FOUND = [*checking._SEED, *sys.argv, *os.environ.values()]
for path in ("/proc/self/environ", "/proc/1/environ", "/proc/1/cmdline", "secret", "../secret"):
    try:
        FOUND.append(open(path, "rb").read())
    except OSError:
        pass

class Fixed:
    def __getattr__(self, name):
        return lambda *a, size=None, **k: np.ones(size or ())

np.random.default_rng = checking.rng = lambda *a, **k: Fixed()
checking.reseed = lambda *a: None
install(lambda name, args: answer(name, args, np.ones_like))
""",
}


def general(notebook):
    """The seven cheats, for a notebook's own names."""
    names = sorted({name for c in notebook.cells if is_check(c) for name in _subjects(c.source)})
    cells = [c.metadata.nbgrader["grade_id"] for c in notebook.cells if _is_solution(c)]
    found = []
    for title, code in CHEATS.items():
        first = f"NAMES = {names!r}\n{EMPTY}\n{code}"
        again = [line for line in code.splitlines() if line.startswith("install(")][-1]
        found.append(Cheat(title, {cells[0]: first} | {cell: again for cell in cells[1:]}))
    return found


def _is_solution(cell):
    told = cell.metadata.get("nbgrader", {})
    return cell.cell_type == "code" and told.get("solution", False)


def _subjects(source):
    """The student's names that a check cell hands to the checks."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call):
            yield from (a.id for a in node.args if isinstance(a, ast.Name))
