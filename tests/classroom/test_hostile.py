"""A class of 60 is graded: every honest mark right, every other a line in the report, and nothing leaks."""

import csv
import datetime
import os
import signal
import subprocess
import sys
import time

import hostile
import pytest
from conftest import ROOT

from classroom import course, grade, report

pytestmark = [pytest.mark.slow, pytest.mark.timeout(2400)]


@pytest.fixture(scope="module")
def graded(released, tmp_path_factory, box):
    made = hostile.build(tmp_path_factory.mktemp("handed in") / "all", released)
    before = sorted(p.name for p in (made.folder.parent).iterdir())
    due = datetime.datetime.fromtimestamp(hostile.LATE - 3600, datetime.UTC).replace(tzinfo=None)
    began = time.monotonic()
    rows, nobody = grade.grade(released.root, made.name, made.folder, due=due, seconds=10)
    took = time.monotonic() - began
    print(f"\n{len(rows)} submissions in {took:.0f} s: {60 * len(rows) / took:.1f} a minute")
    pages = report.write(released, made.name, rows, nobody)
    assert sorted(p.name for p in made.folder.parent.iterdir()) == before
    return made, {row["student"]: row for row in rows}, nobody, pages


def test_there_are_60(graded):
    made, rows, _, _ = graded
    assert len(made.wanted) >= 60
    assert {*rows} == {*made.wanted}


def test_every_mark_is_right(graded):
    made, rows, _, _ = graded
    wrong = {}
    for student, wanted in made.wanted.items():
        row = rows[student]
        if wanted.loses is None:
            if row["status"] != "not graded":
                wrong[student] = f"graded: {row.get('score')}"
            continue
        lost = {c for c in made.checks if row.get("points", {}).get(c) != row.get("max", {}).get(c)}
        if row["status"] != "graded" or lost != {*wanted.loses}:
            wrong[student] = (row["status"], sorted(lost), row["odd"])
    assert not wrong


def test_every_oddity_has_its_line(graded):
    made, rows, nobody, pages = graded
    silent = {s for s, w in made.wanted.items() if w.remark not in "; ".join(rows[s]["odd"])}
    assert not silent
    for text in made.nobody:
        assert any(line.startswith(text) for line in nobody)
    html = pages[1].read_text(encoding="utf-8")
    assert "<script" not in html
    with pages[0].open(encoding="utf-8", newline="") as file:
        assert len(list(csv.DictReader(file))) == len(rows)


def test_nothing_leaks(graded, released):
    made, _, _, _ = graded
    text = (released.root / "autograded" / "spy" / made.name / f"{made.name}.ipynb").read_text(
        "utf-8"
    )
    assert "SPY []" in text
    pages = course.feedback(released, made.name)
    assert len(pages) >= 50
    hidden = (released.root / "hidden" / f"{made.name}.py").read_text(encoding="utf-8").splitlines()
    lines = {ln.strip() for ln in hidden if len(ln.strip()) > 30}
    public = (released.root / "source" / made.name / "checks.py").read_text(encoding="utf-8")
    lines = {ln for ln in lines if ln not in public}
    for page in pages:
        shown = page.read_text(encoding="utf-8")
        assert "hidden." not in shown.replace("hidden.}", ""), page
        assert not [ln for ln in lines if ln in shown], page


def test_it_is_not_graded_twice_and_goes_on_after_a_kill(graded, released, box):
    made, _, _, _ = graded
    stamps = {
        p: p.stat().st_mtime_ns for p in (released.root / "results" / made.name).glob("*.json")
    }
    for student in ("ada", "emmy", "blank", "moved"):
        released.result(student, made.name).unlink()
    command = [sys.executable, "-m", "classroom", "grade", str(released.root), made.name]
    command += [str(made.folder), "--jobs", "1", "--seconds", "10"]
    options = {"cwd": ROOT, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    process = subprocess.Popen(command, start_new_session=True, **options)
    end = time.monotonic() + 200
    while not any(
        released.result(s, made.name).exists() for s in ("ada", "emmy", "blank", "moved")
    ):
        assert time.monotonic() < end
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    options["stderr"] = subprocess.PIPE
    interrupted = subprocess.Popen(command, start_new_session=True, **options)
    said = b""
    while b"run:" not in said:  # the bar: it has begun, and three are left
        said += interrupted.stderr.read(1)
    os.killpg(interrupted.pid, signal.SIGINT)  # Ctrl-C
    assert interrupted.wait(timeout=20) != 0
    options["stderr"] = subprocess.DEVNULL
    assert subprocess.run(command, timeout=900, **options).returncode == 0
    again = {p: p.stat().st_mtime_ns for p in stamps}
    changed = {p.stem for p in stamps if stamps[p] != again[p]}
    assert changed == {"ada", "emmy", "blank", "moved"}
    with (released.root / "report" / f"{made.name}.csv").open(encoding="utf-8", newline="") as file:
        scores = {line["student"]: line["score"] for line in csv.DictReader(file)}
    assert (scores["ada"], scores["blank"], scores["moved"]) == ("20.0", "0.0", "20.0")
