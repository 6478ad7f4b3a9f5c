"""Grade a folder of submissions: in phase 1 all are run, several at once; in phase 2 nbgrader books them.

What is done is stored submission by submission, by renaming a finished file. So the command can be
killed at any point, and the same command goes on.
"""

import concurrent.futures
import hashlib
import json
import multiprocessing
import os
import signal
import time
import traceback
import warnings
from pathlib import Path

import nbformat
from tqdm import tqdm

from . import collect, content, execute, preprocessors, sandbox
from .course import Course, told


def grade(root, name, folder, **options):
    """Collect, run, book, report.

    Args:
        root: Path of the course's folder
        name: of the assignment, released there
        folder: Path of what was handed in
        options: jobs, scheduler, unsafe, due, again, seconds (that a cell may take)

    Returns:
        list of dict: a line for each submission, as `report` shows it
    """
    course = Course(root)
    assignment = course.assignment(name)
    if folder.is_relative_to(root / "submitted"):
        raise content.Failed(
            f"{folder} is where the grader keeps its own copies. Let what was handed in lie elsewhere; "
            "nbgrader collects into another folder by --CourseDirectory.submitted_directory=collected"
        )
    if not folder.is_dir():
        raise content.Missing(f"{folder} is no folder: name the one with what was handed in")
    kind = sandbox.find(unsafe=options.get("unsafe", False))
    course.prepare()
    released = nbformat.read(root / "release" / name / f"{name}.ipynb", as_version=4)
    marks = {c.metadata.get("nbgrader", {}).get("grade_id") for c in released.cells} - {None}
    stamped = folder.is_relative_to(root)  # by nbgrader, see the page on running a class
    all_of_them, nobody = collect.collect(folder, name, marks, stamped)
    version = content_version(assignment)
    waiting, rows = [], []
    for handed in all_of_them:
        row = {"student": handed.student, "source": handed.source, "odd": list(handed.odd)}
        row["when"] = handed.when
        rows.append(row)
        if handed.notebook is not None:
            try:
                collect.store(course, name, handed)
            except (OSError, ValueError) as error:
                row["odd"].append(f"could not be stored ({error})")
                continue
            row["version"] = f"{version} {handed.digest[:16]}"
            if options.get("again") or not done(course, name, row):
                waiting.append(row)
    run_all(course, name, waiting, kind, options)
    book_all(course, name, rows, kind, options)
    return rows, nobody


def content_version(assignment):
    """Of what decides the points: if it changes, submissions are run again."""
    digest = hashlib.sha256()
    here = Path(__file__).resolve().parent
    engine = [here / f"{n}.py" for n in ("encoding", "execute", "remote", "servant")]
    paths = [assignment.notebook, *assignment.files(), *assignment.hidden_files(), *engine]
    for path in [*paths, *sorted(content.HANDED_OUT.glob("*.py"))]:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def done(course, name, row):
    kept = read(course.result(row["student"], name))
    return kept.get("version") == row["version"]


def read(path):
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}


def run_all(course, name, waiting, kind, options):
    """Phase 1: run what is waiting, on all cores or on a Dask cluster."""
    bar = tqdm(total=len(waiting), desc="run", unit="", disable=not waiting)
    seconds = options.get("seconds") or sandbox.Limits.cell
    told = (kind, seconds)
    orders = [(str(course.root), name, row["student"], row["version"], *told) for row in waiting]
    with bar:
        if options.get("scheduler"):
            for _ in _by_dask(options["scheduler"], orders):
                bar.update()
        else:
            for _ in _by_processes(options.get("jobs") or os.cpu_count() or 1, orders):
                bar.update()


def _by_processes(jobs, orders):
    """Run the orders in worker processes; one that is lost (killed from outside) is started anew."""
    left = list(orders)
    for _ in range(3):
        broken = []
        pool = concurrent.futures.ProcessPoolExecutor(jobs, initializer=_mortal)
        try:
            running = {pool.submit(run_one, *order): order for order in left}
            for future in concurrent.futures.as_completed(running):
                if isinstance(future.exception(), concurrent.futures.process.BrokenProcessPool):
                    broken.append(running[future])
                else:
                    yield future.result()
        except BaseException:  # Ctrl-C above all: what runs is begun anew next time
            pool.shutdown(wait=False, cancel_futures=True)
            for child in multiprocessing.active_children():
                child.kill()
            raise
        pool.shutdown()
        left = broken
        if not left:
            return
    raise RuntimeError("the workers were ended again and again: is the machine out of memory?")


def _mortal():
    """Let a worker end with its parent, however that ends (Linux), and leave Ctrl-C to it."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        import ctypes

        ctypes.CDLL(None).prctl(1, signal.SIGKILL)
    except (OSError, AttributeError):
        pass


def _by_dask(address, orders):
    from dask.distributed import Client, as_completed

    with Client(address) as client:
        running = [client.submit(run_one, *order, pure=False) for order in orders]
        for future in as_completed(running):
            yield future.result()


def run_one(root, name, student, version, kind, seconds=60):
    """Phase 1 of one submission; its result is stored whatever happens to it."""
    course = Course(Path(root))
    began = time.monotonic()
    kept = {"version": version, "odd": [], "cells": "", "outputs": []}
    try:
        notebook, odd = sanitized(course, name, student)
        assignment = course.assignment(name)
        order = [c.metadata["nbgrader"]["grade_id"] for c in notebook_cells(assignment)]
        slot = os.getpid() % 4000
        limits = sandbox.Limits(cell=seconds)
        secret = course.secret
        ran = execute.run(notebook, assignment, student, secret, kind, limits, slot, order)
        kept["odd"] = odd + ran
        kept["cells"] = execute.fingerprint(notebook)
        kept["outputs"] = [c.get("outputs", []) for c in notebook.cells]
    except Exception as error:  # a submission must not end the others' grading
        last = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(last.filename).name}:{last.lineno}"
        kept["odd"].append(f"could not be run ({type(error).__name__}: {error}, {place})")
        kept["failed"] = True
    kept["seconds"] = round(time.monotonic() - began, 1)
    write(course.result(student, name), kept)
    return student


def notebook_cells(assignment):
    return [c for c in assignment.read().cells if c.metadata.get("nbgrader", {}).get("grade_id")]


def write(path, kept):
    path.parent.mkdir(parents=True, exist_ok=True)
    new = path.with_name(f"{path.name}.{os.getpid()}.new")
    new.write_text(json.dumps(kept), encoding="utf-8")
    os.replace(new, path)


def sanitized(course, name, student):
    """A submission as nbgrader's own preprocessors leave it before it is executed."""
    from nbgrader import preprocessors as theirs

    from .course import configuration

    config = configuration(course.root)
    notebook = nbformat.read(course.submitted(student, name), as_version=4)
    database = f"sqlite:///{(course.root / 'gradebook.db').resolve()}"
    resources = {"odd": [], "nbgrader": {"notebook": name, "assignment": name}}
    resources["nbgrader"] |= {"student": student, "db_url": database}
    for full in config.Autograde.sanitize_preprocessors:
        last = full.rpartition(".")[2]
        made = getattr(preprocessors, last, None) or getattr(theirs, last)
        notebook, resources = made(config=config).preprocess(notebook, resources)
    return notebook, resources["odd"]


def book_all(course, name, rows, kind, options):
    """Phase 2: nbgrader enters each result into the one gradebook, one after the other."""
    warnings.filterwarnings("ignore", module="nbgrader")  # of its database layer, harmless
    nbgrader = course.nbgrader(kind)
    due = options.get("due")
    if due:
        with nbgrader.gradebook as gradebook:
            gradebook.update_or_create_assignment(name, duedate=due)
    entered = read(course.root / "results" / name / ".entered")
    for row in tqdm(rows, desc="book", unit="", disable=not rows):
        if "version" not in row:
            row["status"] = "not graded"
            continue
        kept = read(course.result(row["student"], name))
        row["odd"] += kept.get("odd", [])
        row["seconds"] = kept.get("seconds")
        if kept.get("failed"):
            row["status"] = "not graded"
            continue
        row["status"] = "graded"
        if entered.get(row["student"]) != _of(kept) or not _autograded(
            course, row["student"], name
        ):
            try:
                told(nbgrader.autograde(name, row["student"], force=True), f"book {row['student']}")
            except Exception as error:  # it must not keep the others from being booked
                row["status"] = "not graded"
                row["odd"].append(f"could not be booked: {str(error).strip().splitlines()[-1]}")
                continue
            entered[row["student"]] = _of(kept)
            write(course.root / "results" / name / ".entered", entered)
    _read_points(course, name, rows)


def _of(kept):
    return hashlib.sha256(json.dumps([kept["version"], kept["outputs"]]).encode()).hexdigest()[:16]


def _autograded(course, student, name):
    return (course.root / "autograded" / student / name / f"{name}.ipynb").exists()


def _read_points(course, name, rows):
    """What the gradebook now says of each, and what the failed checks said."""
    with course.gradebook() as gradebook:
        for row in rows:
            if row["status"] != "graded":
                continue
            submission = gradebook.find_submission(name, row["student"])
            grades = [g for n in submission.notebooks for g in n.grades]
            row["points"] = {g.name: g.score for g in grades}
            row["max"] = {g.name: g.max_score for g in grades}
            row["by_hand"] = [g.name for g in grades if g.needs_manual_grade]
            row["score"], row["late"] = submission.score, submission.total_seconds_late
            if row["late"]:
                row["odd"].append(f"late by {row['late'] / 3600:.1f} hours")
            row["failed"] = _failed(course, name, row["student"])


def _failed(course, name, student):
    """{check: first line of what it said} for the checks that failed."""
    notebook = nbformat.read(
        course.root / "autograded" / student / name / f"{name}.ipynb", as_version=4
    )
    said = {}
    for cell in notebook.cells:
        if content.is_check(cell):
            for output in cell.outputs:
                if output.output_type == "error":
                    said[cell.metadata.nbgrader["grade_id"]] = output.evalue.split("\n")[0]
    return said
