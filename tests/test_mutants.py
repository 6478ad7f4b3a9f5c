"""The suite proves itself: every faulty version of the package fails at least one test."""

import json
import os
from dataclasses import replace

import mutants
import pytest
from mutants import Mutant, Verdict, judge

MUTANTS = mutants.load()
ALL_TESTS = sorted({test for mutant in MUTANTS for test in mutant.tests})
SLOW_TESTS = tuple(sorted({test for mutant in MUTANTS if mutant.slow for test in mutant.tests}))
slow_run = [pytest.mark.mutants, pytest.mark.timeout(600)]


@pytest.fixture
def memory(request):
    return request.config.cache.mkdir("mutants")


def complaint(mutant, verdict):
    """Say why a verdict is no kill, or return nothing."""
    if verdict.broken:
        return f"mutant {mutant.name} was not judged, the run broke:\n{verdict.broken}"
    if not verdict.failed:
        return (
            f"mutant {mutant.name} SURVIVED: {verdict.passed} tests passed with this defect in "
            f"{mutant.file} (seen: {mutant.seen}).\n- {mutant.old}\n+ {mutant.new}\n"
            f"Write a test in {' or '.join(mutant.tests)} that fails with it and passes without it."
        )
    return ""


@pytest.mark.parametrize(
    "mutant", [pytest.param(mutant, id=mutant.name, marks=slow_run) for mutant in MUTANTS]
)
def test_killed(mutant, memory, record_property):
    verdict = mutants.remembered(mutant, memory)
    killer = ", ".join(verdict.failed) or "NONE"
    when = "cached  " if verdict.cached else f"{verdict.seconds:5.1f} s "
    record_property("mutant", f"{mutant.name:58} {when} {killer}")  # for the table at the end
    message = complaint(mutant, verdict)
    assert not message, message


# The runner itself. A suite that fails whatever it is given would kill every mutant, too.

NO_CHANGE = Mutant(
    "no_change", "checks.py", "import torch\n", "import torch\n", "", ("test_checks.py",)
)


def judged_anew(tests):
    """Whether some mutant of a test file has changed since its kill was stored."""
    known = mutants.killers()
    judged = [mutant for mutant in MUTANTS if tests in mutant.tests]
    return any(known.get(m.name, {}).get("key") != mutants.fingerprint(m) for m in judged)


@pytest.mark.mutants
@pytest.mark.timeout(600)
@pytest.mark.parametrize("tests", ALL_TESTS)
def test_without_a_defect_every_test_passes(tests):
    if not os.environ.get("CI") and not judged_anew(tests):
        pytest.skip("every kill by these tests is remembered, so none of them is run on a copy")
    verdict = judge(replace(NO_CHANGE, tests=(tests,)), timeout=500)
    assert not verdict.broken
    assert not verdict.failed
    assert verdict.passed


@pytest.mark.mutants
@pytest.mark.timeout(600)
def test_without_a_defect_every_slow_test_passes():
    verdict = judge(replace(NO_CHANGE, tests=SLOW_TESTS, slow=True), timeout=500)
    assert not verdict.broken
    assert not verdict.failed
    assert verdict.passed >= 1


@pytest.mark.mutants
def test_a_survivor_is_reported_with_its_patch_and_the_cure():
    message = complaint(NO_CHANGE, judge(NO_CHANGE))
    assert message.startswith("mutant no_change SURVIVED")
    assert "- import torch" in message
    assert "Write a test in test_checks.py" in message


@pytest.mark.mutants
@pytest.mark.parametrize(
    ("new", "timeout", "reason"),
    [
        ("raise ImportError('gone')\n", 120, "could not be collected"),
        ("import os; os._exit(3)\n", 120, "exit code 3"),
        ("import time; time.sleep(600)\n", 3, "no end after 3 s"),
    ],
    ids=["import error", "crash", "hang"],
)
def test_a_run_that_breaks_is_no_kill(new, timeout, reason):
    mutant = replace(NO_CHANGE, new=new)
    message = complaint(mutant, judge(mutant, timeout=timeout))
    assert "was not judged" in message
    assert reason in message


def test_every_patch_still_fits_the_source():
    assert len({mutant.name for mutant in MUTANTS}) == len(MUTANTS)
    for mutant in MUTANTS:
        source = (mutants.PACKAGE / mutant.file).read_text(encoding="utf-8")
        assert mutant.patched(source) != source


def test_a_patch_that_does_not_fit_once_is_refused():
    for source in ("", "import torch\nimport torch\n"):
        with pytest.raises(ValueError, match=r"occurs [02] times in checks\.py, not once"):
            NO_CHANGE.patched(source)


@pytest.fixture
def judged(monkeypatch):
    """Count the runs instead of running; each is a kill, unless the list of answers says otherwise."""
    monkeypatch.delenv("CI", raising=False)
    runs = []
    answers = [Verdict(failed=("test_x.py::test_y",), seconds=2.0)]
    monkeypatch.setattr(mutants, "judge", lambda mutant: runs.append(mutant) or answers[-1])
    return runs, answers


def test_a_kill_is_remembered_until_the_patch_changes(judged, tmp_path):
    runs, answers = judged
    assert mutants.remembered(NO_CHANGE, tmp_path) == answers[0]
    again = mutants.remembered(NO_CHANGE, tmp_path)
    assert (again.killed, again.cached, len(runs)) == (True, True, 1)
    assert not mutants.remembered(replace(NO_CHANGE, new="import torch  \n"), tmp_path).cached
    assert len(runs) == 2


@pytest.mark.parametrize(
    "changed",
    ["src/norms/sub/file.py", "tests/a/b/test_file.py", "tests/twins.py", "tests/a/checks.py"],
)
def test_a_kill_is_forgotten_when_a_file_behind_it_changes(judged, tmp_path, monkeypatch, changed):
    runs, _ = judged
    for name in ("src/norms/sub/file.py", "tests/a/b/test_file.py", "tests/twins.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("a")
    monkeypatch.setattr(mutants, "PACKAGE", tmp_path / "src" / "norms")
    monkeypatch.setattr(mutants, "TESTS", tmp_path / "tests")
    mutant = replace(NO_CHANGE, file="sub/file.py", tests=("a/b/test_file.py",))
    for _ in range(2):
        mutants.remembered(mutant, tmp_path)
    assert len(runs) == 1
    (tmp_path / changed).write_text("b")
    assert not mutants.remembered(mutant, tmp_path).cached
    (tmp_path / "tests" / "test_other.py").write_text("b")
    assert mutants.remembered(mutant, tmp_path).cached


def test_what_is_stored_for_all_machines_is_remembered_too(judged, tmp_path, monkeypatch):
    runs, _ = judged
    monkeypatch.setattr(mutants, "load", lambda: [NO_CHANGE])
    monkeypatch.setattr(mutants, "killers", lambda: stored)
    stored, table, elsewhere = {}, tmp_path / "killers.json", tmp_path / "elsewhere"
    assert mutants.keep(tmp_path, table) == ["no_change"]
    mutants.remembered(NO_CHANGE, tmp_path)
    assert mutants.keep(tmp_path, table) == []
    stored |= json.loads(table.read_text(encoding="utf-8"))
    elsewhere.mkdir()
    assert mutants.remembered(NO_CHANGE, elsewhere).failed == ("test_x.py::test_y",)
    assert len(runs) == 1
    assert not mutants.remembered(replace(NO_CHANGE, new="import torch  \n"), elsewhere).cached
    monkeypatch.setenv("CI", "true")
    assert not mutants.remembered(NO_CHANGE, elsewhere).cached


@pytest.mark.parametrize("answer", [Verdict(passed=3), Verdict(failed=("t",), broken="a crash")])
def test_only_kills_are_remembered(judged, tmp_path, answer):
    runs, answers = judged
    answers.append(answer)
    for _ in range(2):
        assert mutants.remembered(NO_CHANGE, tmp_path) == answer
    assert len(runs) == 2


def test_in_ci_all_are_judged(judged, tmp_path, monkeypatch):
    runs, _ = judged
    mutants.remembered(NO_CHANGE, tmp_path)
    monkeypatch.setenv("CI", "true")
    assert not mutants.remembered(NO_CHANGE, tmp_path).cached
    assert len(runs) == 2


@pytest.mark.mutants
def test_the_copy_is_tested_in_folders_and_in_other_processes(tmp_path, monkeypatch):
    """A defect below experiments/ is seen by a test below a folder, and by what that test starts."""
    test = tmp_path / "sub" / "test_copy.py"
    test.parent.mkdir()
    test.write_text(
        "import subprocess, sys\n"
        "from norms.experiments import timing\n"
        "def test_here():\n"
        "    assert hasattr(timing, 'DEFECT')\n"
        "def test_elsewhere():\n"
        "    code = 'from norms.experiments import timing; timing.DEFECT'\n"
        "    subprocess.run([sys.executable, '-c', code], check=True)\n"
    )
    source = (mutants.PACKAGE / "experiments" / "timing.py").read_text(encoding="utf-8")
    mutant = replace(
        NO_CHANGE,
        file="experiments/timing.py",
        old=source,
        new=source + "DEFECT = True\n",
        tests=(str(test),),
    )
    verdict = judge(mutant)
    assert (verdict.failed, verdict.broken, verdict.passed) == ([], "", 2)
