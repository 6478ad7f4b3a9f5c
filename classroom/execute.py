"""Run a submission: its own cells in the sandbox, the locked checks out here.

It takes the place of nbgrader's `Execute`: the outputs land in the notebook, and nbgrader reads the
points from them by its own rule.
"""

import ast
import builtins
import contextlib
import hashlib
import hmac
import io
import json
import traceback

from nbformat.notebooknode import from_dict

from .content import is_check
from .remote import Kernel, KernelDied, Names, StudentError


def seed(secret, *names):
    """Numbers that only the holder of the secret knows, the same at every regrade."""
    digest = hmac.new(secret, "\0".join(names).encode(), hashlib.sha256).digest()
    return [int.from_bytes(digest[k : k + 4], "big") for k in range(0, 16, 4)]


def run(notebook, assignment, student, secret, kind, limits=None, slot=0, order=(), nursery=None):
    """Execute a notebook in place.

    Args:
        notebook: with its locked cells restored
        assignment: whose checks are run
        student: whose submission it is; with `secret` and the notebook it draws the numbers of the
            hidden checks
        kind: of sandbox
        order: the ids of the assignment's cells as they were handed out; a check that a student has
            moved before its part is run last
        nursery: a `remote.Nursery` to fork from, for notebooks of our own

    Returns:
        list of str: what was odd, for the report
    """
    odd = []
    modules = assignment.modules()
    files = [*assignment.files()]
    # Numbers that a student could have seen in an earlier feedback are not drawn for another notebook.
    student = f"{student} {fingerprint(notebook)}"
    with Kernel(kind, files, limits, slot, nursery) as kernel:
        checks = []
        early = moved_up(notebook, order)
        for number, cell in enumerate(notebook.cells):
            if cell.cell_type != "code":
                continue
            cell.execution_count = None
            if is_check(cell):
                if _id(cell) in early:
                    checks.append(cell)
                else:
                    judge(cell, kernel, modules, assignment, student, secret, odd)
            else:
                cell.outputs = _run(kernel, cell.source, number, odd)
        for cell in checks:
            judge(cell, kernel, modules, assignment, student, secret, odd)
    if early:
        odd.append(f"cells in another order: {', '.join(sorted(early))} checked at the end")
    return odd


def fingerprint(notebook):
    """Of what is executed: kinds, sources and marks of the cells."""
    told = [(c.cell_type, c.source, c.metadata.get("nbgrader", {})) for c in notebook.cells]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def moved_up(notebook, order):
    """The checks that now stand before a solution which they followed when they were handed out."""
    place = {name: k for k, name in enumerate(order)}
    early, later = set(), set()
    for cell in reversed(notebook.cells):
        name = _id(cell)
        if is_check(cell) and any(place[s] < place.get(name, 0) for s in later):
            early.add(name)
        elif name in place and cell.metadata.nbgrader.get("solution"):
            later.add(name)
    return early


def _id(cell):
    return cell.metadata.get("nbgrader", {}).get("grade_id")


def _run(kernel, source, number, odd):
    if not source.strip():
        return []
    try:
        return from_dict(kernel.run(source))
    except KernelDied as death:
        odd.append(f"cell {number + 1}: {death}")
        return [_error("KernelDied", str(death))]


def judge(cell, kernel, modules, assignment, student, secret, odd):
    """Run a locked check out here; only stand-ins of the student's things reach it."""
    name = _id(cell)
    import checking  # on the path since the modules were loaded

    checking.reseed(*seed(secret, student, assignment.name, name))
    said = io.StringIO()
    cell.outputs = []
    try:
        with contextlib.redirect_stdout(said):
            value = _evaluate(cell.source, Names(kernel, **modules))
    except checking.CheckFailed as failure:
        cell.outputs.append(_error("CheckFailed", str(failure)))
    except StudentError as error:
        cell.outputs.append(_error("CheckFailed", f"your code raised an error\n  came: {error}"))
    except KernelDied as death:
        odd.append(f"check {name}: {death}")
        cell.outputs.append(_error("KernelDied", str(death)))
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{frame.filename.rpartition('/')[2]}:{frame.lineno}"
        odd.append(
            f"check {name} broke down ({type(error).__name__}: {error}, {place}): look at it by hand"
        )
        cell.outputs.append(_error("CheckFailed", "what came could not be judged"))
    else:
        if said.getvalue():
            cell.outputs.append(
                {"output_type": "stream", "name": "stdout", "text": said.getvalue()}
            )
        if isinstance(value, int | float) and not isinstance(value, bool):
            data = {"text/plain": repr(float(value))}
            cell.outputs.append(
                {
                    "output_type": "execute_result",
                    "data": data,
                    "metadata": {},
                    "execution_count": None,
                }
            )
    cell.outputs = from_dict(cell.outputs)


def _evaluate(source, names):
    """Execute a cell as a notebook does; return the value of its last line if that is an expression."""
    tree = ast.parse(source)
    last = tree.body.pop() if tree.body and isinstance(tree.body[-1], ast.Expr) else None
    scope = {"__builtins__": builtins}
    exec(compile(tree, "<check>", "exec"), scope, names)
    if last is None:
        return None
    return eval(compile(ast.Expression(last.value), "<check>", "eval"), scope, names)


def _error(name, text):
    return {"output_type": "error", "ename": name, "evalue": text, "traceback": text.split("\n")}
