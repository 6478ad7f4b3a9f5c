"""The suite proves itself: every faulty version of the package fails at least one test."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import mutants
import pytest
from mutants import Mutant, judge

MUTANTS = mutants.load()
ALL_TESTS = tuple(sorted({test for mutant in MUTANTS for test in mutant.tests}))
slow_run = [pytest.mark.mutants, pytest.mark.timeout(600)]


class Verdicts:
    """Judges the selected mutants, two at a time, and prints who killed whom."""

    def __init__(self, selected):
        self.pool = ThreadPoolExecutor(2)
        self.futures = {}
        for test in selected:
            mutant = test.callspec.params["mutant"]
            self.futures[mutant.name] = self.pool.submit(judge, mutant)

    def __getitem__(self, name):
        return self.futures[name].result()

    def pytest_terminal_summary(self, terminalreporter):
        terminalreporter.section("mutants and the test that killed them")
        for name, future in self.futures.items():
            if future.done() and future.exception() is None:
                verdict = future.result()
                killer = ", ".join(verdict.failed) or "NONE"
                terminalreporter.line(f"{name:58} {verdict.seconds:5.1f} s  {killer}")


@pytest.fixture(scope="module")
def verdicts(request):
    selected = [
        item for item in request.session.items if "mutant" in getattr(item, "fixturenames", ())
    ]
    verdicts = Verdicts(selected)
    request.config.pluginmanager.register(verdicts)
    yield verdicts
    verdicts.pool.shutdown(cancel_futures=True)


def complaint(mutant, verdict):
    """Say why a verdict is no kill, or return nothing."""
    if verdict.broken:
        return f"mutant {mutant.name} was not judged, the run broke:\n{verdict.broken}"
    if not verdict.failed:
        return (
            f"mutant {mutant.name} SURVIVED: {verdict.passed} tests passed with this defect in "
            f"{mutant.file} (seen: {mutant.seen}).\n- {mutant.old}\n+ {mutant.new}\n"
            f"Write a test in {mutant.tests[0]} that fails with it and passes without it."
        )
    return ""


@pytest.mark.parametrize(
    "mutant", [pytest.param(mutant, id=mutant.name, marks=slow_run) for mutant in MUTANTS]
)
def test_killed(mutant, verdicts):
    message = complaint(mutant, verdicts[mutant.name])
    assert not message, message


# The runner itself. A suite that fails whatever it is given would kill every mutant, too.

NO_CHANGE = Mutant(
    "no_change", "checks.py", "import torch\n", "import torch\n", "", ("test_checks.py",)
)


@pytest.mark.mutants
@pytest.mark.timeout(600)
@pytest.mark.parametrize("slow", [False, True], ids=["quick", "slow"])
def test_without_a_defect_every_test_passes(slow):
    verdict = judge(replace(NO_CHANGE, tests=ALL_TESTS, slow=slow), timeout=500)
    assert not verdict.broken
    assert not verdict.failed
    assert verdict.passed >= (3 if slow else 1000)


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
