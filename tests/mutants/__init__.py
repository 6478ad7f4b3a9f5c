"""Faulty versions of the package, one for every bug known from the field, and how they are judged.

Each ``.toml`` file beside this one holds mutants as data: an exact text of ``src/norms`` and the
text that takes its place. A suite that passes one of them would have passed the bug.
"""

import contextlib
import functools
import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from pathlib import Path

KILLERS = Path(__file__).with_name("killers.json")
TESTS = Path(__file__).resolve().parent.parent
PACKAGE = TESTS.parent / "src" / "norms"


@dataclass(frozen=True)
class Mutant:
    """A defect: in ``file``, ``old`` becomes ``new``."""

    name: str
    file: str  # below src/norms, such as "moments.py" or "experiments/sweep.py"
    old: str
    new: str
    seen: str  # where the field had it
    tests: tuple[str, ...]  # the test files below tests/ that must find it, in the order tried
    slow: bool = False  # only a slow test can find it

    def patched(self, source):
        """Return ``source`` with the defect; its text must be there exactly once."""
        count = source.count(self.old)
        if count != 1:
            raise ValueError(
                f"mutant {self.name}: its old text occurs {count} times in {self.file}, not once. "
                f"The source has moved on: write the same defect for the new text.\n{self.old}"
            )
        return source.replace(self.old, self.new)


@dataclass(frozen=True)
class Verdict:
    """What the suite made of one mutant."""

    failed: tuple[str, ...] = ()  # tests that failed in their call
    passed: int = 0
    broken: str = ""  # why this run proves nothing: an import error, a crash, a timeout
    seconds: float = 0.0
    cached: bool = False  # judged in an earlier run, and nothing has changed since

    @property
    def killed(self):
        return bool(self.failed) and not self.broken


def load():
    """Read all mutants, in order of file and place."""
    mutants = []
    for path in sorted(Path(__file__).parent.glob("*.toml")):
        content = tomllib.loads(path.read_text(encoding="utf-8"))
        for entry in content["mutant"]:
            mutants.append(Mutant(**entry, tests=tuple(content["tests"])))
    return mutants


def remembered(mutant, memory):
    """Judge a mutant, or recall its kill if neither its file nor its tests have changed.

    Only kills are kept, one file each in the folder ``memory``, and for all machines in
    ``killers.json``. In CI all are judged.
    """
    file = memory / f"{mutant.name}.json"
    key = fingerprint(mutant)
    here = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
    for kept in (here, killers().get(mutant.name)) if not os.environ.get("CI") else ():
        if kept and kept["key"] == key:
            return Verdict(tuple(kept["failed"]), seconds=kept["seconds"], cached=True)
    file.unlink(missing_ok=True)
    verdict = judge(mutant)
    if verdict.killed:
        kept = {"key": key, "failed": verdict.failed, "seconds": verdict.seconds}
        file.write_text(json.dumps(kept), encoding="utf-8")
    return verdict


@functools.cache
def killers():
    """What `keep` has stored: {mutant: {"key": fingerprint, "failed": tests, "seconds": of them}}."""
    return json.loads(KILLERS.read_text(encoding="utf-8"))


def keep(memory, table=KILLERS):
    """Store the kills in the folder ``memory`` in the table; those of mutants that are gone go too.

    Returns:
        list of the mutants whose kill has not been seen since they changed
    """
    known, kept, unseen = killers(), {}, []
    for mutant in sorted(load(), key=lambda mutant: mutant.name):
        file = memory / f"{mutant.name}.json"
        here = json.loads(file.read_text(encoding="utf-8")) if file.exists() else None
        key = fingerprint(mutant)
        current = [
            entry for entry in (here, known.get(mutant.name)) if entry and entry["key"] == key
        ]
        entry = current[0] if current else known.get(mutant.name)
        unseen += [] if current else [mutant.name]
        if entry:
            kept[mutant.name] = {**entry, "seconds": round(entry["seconds"], 1)}
    text = json.dumps(kept, indent=0, ensure_ascii=False) + "\n"
    table.write_text(text, encoding="utf-8", newline="\n")
    return unseen


def fingerprint(mutant):
    """Hash the patch, the file it changes, its tests, and what all tests share."""
    digest = hashlib.sha256(repr(mutant).encode())
    tests = [TESTS / test for test in mutant.tests]
    folders = {folder for test in tests for folder in test.parents if folder.is_relative_to(TESTS)}
    found = sorted(path for folder in {*folders, TESTS / "mutants"} for path in folder.glob("*.py"))
    shared = [path for path in found if not path.name.startswith("test_")]
    for path in [PACKAGE / mutant.file, *tests, *shared]:
        digest.update(path.relative_to(TESTS.parent).as_posix().encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def judge(mutant, timeout=120):
    """Run the mutant's tests against a copy of the package that has the defect.

    The test that killed it last time, if there is one in ``killers.json``, is tried first: here it is
    a hint that saves time and decides nothing.
    """
    with tempfile.TemporaryDirectory(prefix="mutant-") as folder:
        folder = Path(folder).resolve()  # as Python names the modules it imports from it
        copy = folder / "norms"
        shutil.copytree(PACKAGE, copy, ignore=shutil.ignore_patterns("__pycache__"))
        file = copy / mutant.file
        file.write_text(mutant.patched(file.read_text(encoding="utf-8")), encoding="utf-8")
        report = folder / "report.json"
        speed = "slow" if mutant.slow else "not slow"
        child = _context().Process(target=_run, args=(str(folder), report, mutant, speed))
        child.start()
        child.join(timeout)
        if child.exitcode is None:
            child.kill()
            child.join()
            return Verdict(broken=f"no end after {timeout} s")
        if not report.exists():
            return Verdict(
                broken=f"the child ended with exit code {child.exitcode}, without a report"
            )
        return Verdict(**json.loads(report.read_text(encoding="utf-8")))


def _context():
    """Start children from a process that has imported what is slow, where the platform can."""
    if "forkserver" not in multiprocessing.get_all_start_methods():
        return multiprocessing.get_context("spawn")
    context = multiprocessing.get_context("forkserver")
    slow_to_import = (
        "matplotlib.pyplot pytest scipy.stats sklearn.datasets torch torch.func tqdm.auto"
    )
    context.set_forkserver_preload(slow_to_import.split())
    return context


def _run(folder, report, mutant, speed):
    """In the child: put the copy before the package, run pytest, write what happened."""
    sys.path.insert(0, folder)
    os.environ["PYTHONPATH"] = folder  # for the processes that a test starts
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"  # half of a second, each time
    import pytest

    recorder = _Recorder(folder)
    options = "-x -q -p no:cacheprovider -p pytest_timeout -o addopts= -o pythonpath="
    codes = {5}  # no test was there
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        hint = killers().get(mutant.name, {"failed": ()})["failed"][:1]
        if hint:
            pytest.main([*options.split(), "-m", speed, f"{TESTS.parent}/{hint[0]}"], [recorder])
        if not recorder.failed:
            recorder = _Recorder(folder)  # what a hint says is worth nothing until it kills
        for test in mutant.tests:  # none is even collected once the defect has been found
            if not recorder.failed:
                command = [*options.split(), "-m", speed, str(TESTS / test)]
                codes.add(int(pytest.main(command, [recorder])))
    code = 1 if recorder.failed else max(codes - {5}, default=5)
    report.write_text(json.dumps(recorder.verdict(code)), encoding="utf-8")


class _Recorder:
    """A pytest plugin that notes which tests failed, and why a run proves nothing."""

    def __init__(self, folder):
        self.folder = folder
        self.failed, self.errors, self.passed, self.seconds = [], [], 0, 0.0

    def pytest_collectreport(self, report):
        if report.failed:
            self.errors.append(f"{report.nodeid} could not be collected: {report.longrepr}")

    def pytest_runtest_logreport(self, report):
        self.seconds += report.duration
        if report.failed and report.when == "call":
            self.failed.append(report.nodeid)
        elif report.failed:
            self.errors.append(f"{report.nodeid} failed in its {report.when}: {report.longrepr}")
        self.passed += report.passed and report.when == "call"

    def verdict(self, code):
        norms = sys.modules.get("norms")
        if norms is None or not norms.__file__.startswith(self.folder):
            self.errors.append(f"the tests imported {norms}, not the copy in {self.folder}")
        if code not in (0, 1):
            self.errors.append(f"pytest ended with {code!r}")
        return {
            "failed": self.failed,
            "passed": self.passed,
            "broken": "\n".join(self.errors),
            "seconds": self.seconds,
        }
