"""`tools/stages.py`: what `make test` and `make check` run, in which order, and how they stop."""

import re
import shlex
import subprocess
import sys

import pytest
import stages
from checkouts import ROOT

SCRIPT = """import sys, time
from pathlib import Path
open("ran", "a").write({name!r} + " " + " ".join(sys.argv[1:]) + "\\n")
sys.exit(Path("fails").exists() and {name!r} == Path("fails").read_text())
"""


def test_the_readme_gives_the_commands_of_make_test():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    plain = re.findall(
        r"^\.venv(?:-classroom)?/bin/(?:python -m )?(pytest|jupyter-book) ([^#\n]*)", text, re.M
    )
    given = [shlex.split(words) for name, words in plain if name == "pytest"]
    run = [command[2:] for _, command in stages.stages("test") if command[:2] == ["-m", "pytest"]]
    assert given == run
    import book

    assert [words.split() for name, words in plain if name == "jupyter-book"] == [
        [*book.OPTIONS, "."]
    ]


def test_ci_tests_the_classroom_whole():
    assert "make test CLASSROOM=all" in (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    *most, (_, last) = stages.stages("test", "all")
    assert last == stages.CLASSROOM
    assert most == list(stages.stages("test"))[:-1]


def test_every_target_is_in_the_help():
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.search(r"^\.PHONY: (.*)", text, re.M).group(1).split())
    assert targets == set(re.findall(r"^([a-z-]+):", text, re.M))
    assert targets - {"help"} == set(re.findall(r'echo "make ([a-z-]+)', text))


@pytest.fixture
def clone(checkout):
    """A clone whose pages are text, with one that is stale by what run_chapters says."""
    for name in ("01_a", "02_b", "03_c"):
        checkout.write(f"chapters/{name}.ipynb", "{}")
    checkout.write("tools/run_chapters.py", "print('02_b')")
    identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
    for command in (["init", "-q"], ["add", "."], [*identity, "commit", "-q", "-m", "first"]):
        subprocess.run(["git", *command], cwd=checkout.root, check=True)
    return checkout


@pytest.fixture
def changed(clone, monkeypatch):
    monkeypatch.setattr(stages, "ROOT", clone.root)
    return lambda: [path.removeprefix("chapters/") for path in stages.changed_pages()]


def test_changed_pages_are_those_that_differ_or_are_not_fresh(clone, changed):
    assert changed() == ["02_b.ipynb"]
    clone.write("chapters/03_c.ipynb", "{ }")
    clone.write("chapters/04_new.ipynb", "{}")
    (clone.root / "chapters" / "01_a.ipynb").unlink()
    assert changed() == ["02_b.ipynb", "03_c.ipynb", "04_new.ipynb"]


def test_a_check_that_cannot_tell_does_not_pass(clone, changed):
    clone.write("tools/run_chapters.py", "raise SystemExit('broken')")
    with pytest.raises(SystemExit, match=r"run_chapters.py --stale failed:\nbroken"):
        changed()


def test_check_runs_the_changed_pages_only(clone, changed):
    commands = [command for _, command in stages.stages("check")]
    (pages,) = [command for command in commands if "--nbval" in command]
    assert [word for word in pages if word.startswith("chapters")] == ["chapters/02_b.ipynb"]
    clone.write("tools/run_chapters.py", "")
    assert not [1 for _, command in stages.stages("check") if "--nbval" in command]


@pytest.fixture
def short(clone):
    """The same clone, with stages that write down that they ran."""
    for name in ("one", "two", "three"):
        clone.write(f"tools/{name}.py", SCRIPT.format(name=name))
    text = (clone.root / "tools" / "stages.py").read_text(encoding="utf-8")
    start, end = text.index("def stages("), text.index("def changed_pages(")
    fake = "def stages(kind):\n    for name in ('one', 'two', 'three'):\n"
    fake += "        yield name, [f'tools/{name}.py', kind]\n\n\n"
    clone.write("tools/stages.py", text[:start] + fake + text[end:])
    return clone


def test_each_stage_is_told_with_its_time(short):
    code, said = short.run("tools/stages.py", "test")
    assert code == 0
    assert re.findall(r"== (\w+)\n== \d+ s\n", said) == ["one", "two", "three"]
    assert re.search(r"All is well, after \d+ s\.$", said.strip())
    assert (short.root / "ran").read_text() == "one test\ntwo test\nthree test\n"


def test_a_stage_that_fails_ends_the_run(short):
    short.write("fails", "two")
    code, said = short.run("tools/stages.py", "test")
    assert code == 1
    assert re.search(r"== failed after \d+ s: two$", said.strip())
    assert (short.root / "ran").read_text() == "one test\ntwo test\n"


def test_the_stages_run_on_one_thread_each(monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    seen = []
    monkeypatch.setattr(stages, "stages", lambda kind: [("one", ["x"])])
    done = subprocess.CompletedProcess([], 0)
    monkeypatch.setattr(stages.subprocess, "run", lambda *a, **o: seen.append((a, o)) or done)
    stages.main("test")
    ((command,), options) = seen[0]
    assert command == [sys.executable, "x"]
    assert options["env"]["OMP_NUM_THREADS"] == "1"
