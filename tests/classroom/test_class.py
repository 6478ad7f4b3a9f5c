"""A small class from release to feedback: by the commands, by Dask, and without a sandbox."""

import ast
import csv
import json
import os
import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
from pathlib import Path

import hostile
import pytest
from conftest import ROOT

from classroom import content, course, grade, mutation, vary

WORDS = {"ada": "all", "bob": "none"}


def command(*words, **options):
    done = subprocess.run(
        [sys.executable, "-m", "classroom", *map(str, words)],
        **{"cwd": ROOT, "capture_output": True, "text": True, "timeout": 280, **options},
    )
    return done.returncode, done.stdout + done.stderr


@pytest.fixture
def class_of_two(released, tmp_path):
    made = hostile.Class(tmp_path / "handed in", released)
    made.add("ada", made.solved())
    made.add("bob", made.stub())
    return made


def points(rows):
    return {row["student"]: row["points"] for row in rows}


@pytest.mark.timeout(600)
def test_from_release_to_export(tmp_path, class_of_two, box):
    root = tmp_path / "course"
    assert command("release", root, "batch_norm")[0] == 0
    code, said = command("grade", root, "batch_norm", class_of_two.folder, "--jobs", 1)
    assert (code, "2 of 2 graded" in said) == (0, True), said
    said = command("feedback", root, "batch_norm")[1]
    assert said.startswith("2 pages")
    assert "1 answers in words are not marked yet" in said
    code, said = command("export", root, tmp_path / "grades.csv")
    assert code == 0, said
    lines = (tmp_path / "grades.csv").read_text(encoding="utf-8").splitlines()
    assert lines == ["student_id,batch_norm (of 25)", "ada,20.0", "bob,0.0"]
    command("export", root, tmp_path / "long.csv", "--long")
    lines = (tmp_path / "long.csv").read_text(encoding="utf-8").splitlines()
    assert [line.split(",")[3] for line in lines[1:]] == ["ada", "bob"]
    code, said = command("release", root, "batch_norm", "--root", varied(tmp_path))
    assert code == 1
    assert "--force" in said


def varied(folder):
    assert command("vary", "batch_norm", "--seed", "7", "--to", folder / "varied")[0] == 0
    return folder / "varied"


@pytest.mark.parametrize(
    ("words", "cure"),
    [
        (["export", "COURSE", "x.csv"], "Nothing is graded"),
        (["export", "COURSE", "x.csv", "batchnorm"], "Nothing of batchnorm is graded"),
        (["feedback", "COURSE", "batch_norm"], "Nothing of batch_norm is graded"),
        (["mark", "COURSE"], "is no course's folder"),
        (["grade", "COURSE", "batch_norm", ".", "--due", "1.12.2026"], "write it as '2026-12-01"),
        (["check", "batch_norm", "-k", "no such"], "nothing was tried"),
        (["vary", "batch_norm", "--seed", "1", "--to", "assignments"], "exists"),
        (["release", "COURSE", "batchnorm"], "is not there"),
    ],
    ids=lambda words: words[0] if isinstance(words, list) else "",
)
def test_a_wrong_request_is_answered_in_words(tmp_path, words, cure):
    root = tmp_path / "course"
    code, said = command(*(root if word == "COURSE" else word for word in words))
    assert code == 1
    assert cure in said
    assert "Traceback" not in said
    assert not root.exists()


def test_a_variant_is_never_what_is_published(tmp_path):
    for name in content.NAMES:
        for seed in range(5):
            drawn = vary.vary(name, seed, tmp_path / f"{name}{seed}")
            published = vary.published(name)
            assert any(drawn[twist] != label for twist, label in published.items())


def test_the_zip_is_what_a_student_needs_and_no_more(released, tmp_path):
    with zipfile.ZipFile(released.root / "zips" / "batch_norm.zip") as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "batch_norm"
    assert sorted(p.name for p in folder.iterdir()) == [
        *("batch_norm.ipynb", "checking.py", "checks.py", "guards.py"),
    ]
    text = (folder / "batch_norm.ipynb").read_text(encoding="utf-8")
    assert "hidden." not in text
    assert "SOLUTION" not in text
    assert "NotImplementedError" in text
    options = {"cwd": folder, "env": {**os.environ, "PYTHONPATH": ""}}
    done = subprocess.run([sys.executable, "checks.py"], capture_output=True, text=True, **options)
    assert done.stdout.rstrip().endswith(
        "0 of 20 points by the public checks; hidden checks decide."
    )


def test_the_site_hands_out_what_is_released(tmp_path):
    """But for a cell that fetches on Colab what lies beside the notebook."""
    folder = tmp_path / "release"
    course.handout(folder)
    stored = content.ASSIGNMENTS / "release"
    cure = "run `.venv-classroom/bin/python -m classroom handout` and commit assignments/release"
    assert sorted(p.name for p in folder.iterdir()) == sorted(p.name for p in stored.iterdir())
    for path in folder.iterdir():
        assert path.read_text("utf-8") == (stored / path.name).read_text("utf-8"), cure


@pytest.mark.parametrize("name", content.NAMES)
def test_colab_is_sent_to_files_that_are_there(name):
    files = ast.literal_eval(
        re.search(r"files = (\[.*?\])", course.colab(content.Assignment(name)), re.S)[1]
    )
    assert {"checks.py", "checking.py", "guards.py"} <= {Path(f).name for f in files}
    assert all((ROOT / file).is_file() for file in files)
    slug = re.search(r"url: https://github.com/(\S+)", (ROOT / "_config.yml").read_text("utf-8"))[1]
    assert f"/{slug}/main/" in course.COLAB


def test_a_student_with_the_solution_sees_all_points(released, tmp_path, class_of_two):
    with zipfile.ZipFile(released.root / "zips" / "batch_norm.zip") as archive:
        archive.extractall(tmp_path)
    folder = tmp_path / "batch_norm"
    text = (class_of_two.folder / "ada" / "batch_norm.ipynb").read_bytes()
    (folder / "batch_norm.ipynb").write_bytes(text)
    done = subprocess.run([sys.executable, "checks.py"], cwd=folder, capture_output=True, text=True)
    assert "20 of 20 points" in done.stdout, done.stdout + done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_dask_says_the_same(tmp_path, class_of_two, box):
    from dask.distributed import LocalCluster

    rows = []
    os.environ["PYTHONPATH"] = str(ROOT)
    for number, kind in enumerate(("processes", "dask")):
        here = course.Course(tmp_path / f"course{number}")
        course.release(here, ["batch_norm"])
        (here.root / "secret").write_bytes(b"the same for both")
        if kind == "dask":
            with LocalCluster(n_workers=2, threads_per_worker=1, dashboard_address=None) as cluster:
                address = cluster.scheduler_address
                found, _ = grade.grade(
                    here.root, "batch_norm", class_of_two.folder, scheduler=address
                )
        else:
            found, _ = grade.grade(here.root, "batch_norm", class_of_two.folder, jobs=2)
        rows.append(points(found))
    assert rows[0] == rows[1]


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_solution_of_every_assignment_gets_all_points(tmp_path, box):
    """By the whole road: release, hand in, grade. So all that the hidden checks read has come along."""
    here = course.Course(tmp_path / "course")
    course.release(here, content.NAMES)
    for name in content.NAMES:
        made = hostile.Class(tmp_path / name, here, name)
        made.add("ada", made.solved())
        (row,), _ = grade.grade(here.root, name, made.folder, jobs=1)
        by_hand = {*row["max"]} - {*made.checks}
        lost = {p for p, most in row["max"].items() if row["points"][p] != most} - by_hand
        assert (lost, row["odd"]) == (set(), [])


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_what_nbgraders_exchange_collects_is_graded(tmp_path, box):
    """As the instructor's page has it for a hub with a shared disk."""
    root, student, exchange = (tmp_path / n for n in ("class", "student", "exchange"))
    for folder in (student, exchange):
        folder.mkdir()
    exchange.chmod(0o777)
    told = f'c.Exchange.root = "{exchange}"\n'
    (student / "nbgrader_config.py").write_text(
        f'c = get_config()\nc.CourseDirectory.course_id = "norms"\n{told}', encoding="utf-8"
    )
    assert command("release", root, "batch_norm")[0] == 0
    with (root / "nbgrader_config.py").open("a", encoding="utf-8") as file:
        file.write(told)
    elsewhere = ["--CourseDirectory.submitted_directory=collected"]
    for folder, words in (
        (root, ["release_assignment", "batch_norm"]),
        (student, ["fetch_assignment", "batch_norm"]),
        (student, ["submit", "batch_norm"]),
        (root, ["collect", "batch_norm", *elsewhere]),
    ):
        run = [str(Path(sys.executable).parent / "nbgrader"), *words]
        options = {"cwd": folder, "env": {**os.environ, "PYTHONPATH": str(ROOT)}, "text": True}
        done = subprocess.run(run, capture_output=True, timeout=120, **options)
        assert done.returncode == 0, done.stderr
    code, said = command("grade", root, "batch_norm", root / "collected")
    assert (code, "1 of 1 graded" in said) == (0, True), said


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_what_is_marked_by_hand_stays_when_graded_again(tmp_path, class_of_two, box):
    """In nbgrader's Formgrader, by the requests that its page makes."""
    root = tmp_path / "course"
    command("release", root, "batch_norm")
    command("grade", root, "batch_norm", class_of_two.folder)
    alone = ["--allow-root", "--no-browser", "--IdentityProvider.token=", "--port=8877"]
    alone += ["--ServerApp.disable_check_xsrf=True"]
    words, settings = course.formgrader(course.Course(root), *alone)
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    server = subprocess.Popen(words, start_new_session=True, **settings, **quiet)
    try:
        (ada,) = (s for s in _asked("submissions/batch_norm") if s["student"] == "ada")
        assert ada["needs_manual_grade"]
        notebooks = _asked("submitted_notebooks/batch_norm/batch_norm")
        (notebook,) = (n for n in notebooks if n["student"] == "ada")
        grades = _asked(f"grades?submission_id={notebook['id']}")
        (grade_id,) = (g["id"] for g in grades if g["name"] == "why")
        _asked(f"grade/{grade_id}", {"manual_score": 3.5})
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.wait()
    code, said = command("grade", root, "batch_norm", class_of_two.folder)
    assert code == 0, said
    with (root / "report" / "batch_norm.csv").open(encoding="utf-8", newline="") as file:
        scores = {line["student"]: line["score"] for line in csv.DictReader(file)}
    assert scores == {"ada": "23.5", "bob": "0.0"}


def _asked(what, told=None):
    """What the Formgrader answers; it is waited for."""
    data = json.dumps(told).encode() if told else None
    address = f"http://127.0.0.1:8877/formgrader/api/{what}"
    end = time.monotonic() + 60
    while True:
        try:
            request = urllib.request.Request(address, data, method="PUT" if told else "GET")
            with urllib.request.urlopen(request, timeout=20) as answer:
                return json.loads(answer.read())
        except urllib.error.URLError as error:
            if isinstance(error, urllib.error.HTTPError) or time.monotonic() > end:
                raise
            time.sleep(0.5)


def test_unsafe_is_said_aloud_and_grades_the_same(tmp_path, class_of_two):
    root = tmp_path / "course"
    command("release", root, "batch_norm")
    code, said = command("grade", root, "batch_norm", class_of_two.folder, "--unsafe", "--jobs", 1)
    assert code == 0, said
    assert "UNSAFE" in said
    assert "2 of 2 graded" in said


def test_without_a_sandbox_grading_refuses(released, class_of_two):
    without = {"PATH": os.path.dirname(sys.executable), "HOME": str(class_of_two.folder)}
    code, said = command("grade", released.root, "batch_norm", class_of_two.folder, env=without)
    assert code == 1
    assert "apt install bubblewrap" in said
    assert "Traceback" not in said


def test_an_assignment_that_is_not_there_is_named(tmp_path):
    code, said = command("grade", tmp_path, "batch_norm", tmp_path)
    assert code == 1
    assert "is not released" in said
    assert "Traceback" not in said


def test_a_folder_that_cannot_be_graded_is_refused_in_words(released, tmp_path):
    for folder, cure in ((released.root / "submitted", "collected"), (tmp_path / "x", "no folder")):
        code, said = command("grade", released.root, "batch_norm", folder)
        assert code == 1
        assert cure in said
        assert "Traceback" not in said


def test_norms_is_not_in_the_graders_environment():
    done = subprocess.run([sys.executable, "-c", "import norms"], cwd="/", capture_output=True)
    assert done.returncode == 1


def test_a_record_holds_no_hidden_number(ghost):
    rows = json.loads(mutation.record(ghost).read_text(encoding="utf-8"))["rows"]
    assert all("array([" not in row["said"] for row in rows)
