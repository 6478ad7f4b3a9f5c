"""Prove the course in stages, each with its time: `test` is everything, `check` what a commit needs,
`classroom` all of the grader.

The stages of `test` are the plain commands of README.md.
"""

import os
import subprocess
import sys
import time
from pathlib import Path

from environment import plainly

ROOT = Path(__file__).resolve().parent.parent
PYTEST = ["-m", "pytest", "-n", "2"]
UNITS = [*PYTEST, "--dist", "worksteal", "tests", "--ignore=tests/site", "--ignore=tests/classroom"]
SITE = [*PYTEST, "--dist", "worksteal", "tests/site"]
CLASSROOM = [*PYTEST, "--dist", "worksteal", "tests/classroom"]
# The grader is tested in its own environment, in which `norms` is not.
GRADER = ROOT / ".venv-classroom" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
# A page's cells share one kernel, so a worker takes a whole page. A cell may have to wait for
# the page beside it.
PAGES = [
    *PYTEST,
    *["--dist", "loadfile", "--nbval", "--nbval-current-env", "--nbval-cell-timeout=240"],
    "--nbval-sanitize-with=tests/nbval_sanitize.cfg",
]


def stages(kind, classroom="quick"):
    """Yield the title and the commands of each stage; `classroom` is how much of the grader `test` tests."""
    build = ["tools/book.py"]
    if kind == "test":
        yield "unit tests, and the mutants that they must kill", UNITS
        yield "every notebook, executed and compared with its stored outputs", [*PAGES, "chapters"]
        yield "the site, built strictly", build
        yield "the site, page by page and in a browser", SITE
        if classroom == "quick":
            yield "the classroom, its quick part", [*CLASSROOM, "-m", "not slow"]
        else:
            yield "the classroom", CLASSROOM
    elif kind == "classroom":
        yield "the classroom", CLASSROOM
    else:
        yield "style", ["-m", "ruff", "check"]
        yield "format", ["-m", "ruff", "format", "--check"]
        yield "quick unit tests", [*UNITS, "-m", "not slow and not mutants"]
        pages = changed_pages()
        if pages:
            yield f"changed notebooks ({len(pages)})", [*PAGES, *pages]
        yield "the site, built strictly", build
        yield "the site, page by page", [*SITE, "--ignore=tests/site/test_visits.py"]


def changed_pages():
    """Name the notebooks that differ from the last commit, or whose stored run is not fresh."""
    commands = [
        ["git", "diff", "--name-only", "HEAD", "--", "chapters/*.ipynb"],
        ["git", "ls-files", "--others", "--exclude-standard", "--", "chapters/*.ipynb"],
        [sys.executable, "tools/run_chapters.py", "--stale"],
    ]
    stems = set()
    for command in commands:
        result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
        if result.returncode:
            sys.exit(f"{' '.join(command)} failed:\n{result.stderr}")
        stems |= {Path(line).stem for line in result.stdout.splitlines()}
    paths = [f"chapters/{stem}.ipynb" for stem in sorted(stems)]
    return [path for path in paths if (ROOT / path).exists()]


def main(*asked):
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # two workers, two processors
    began = time.monotonic()
    for title, command in stages(*asked):
        print(f"== {title}", flush=True)
        started = time.monotonic()
        python = GRADER if "tests/classroom" in command else sys.executable
        code = subprocess.run([str(python), *command], cwd=ROOT, env=environment).returncode
        seconds = time.monotonic() - started
        if code:
            sys.exit(f"== failed after {seconds:.0f} s: {title}")
        print(f"== {seconds:.0f} s\n", flush=True)
    print(f"All is well, after {time.monotonic() - began:.0f} s.")


if __name__ == "__main__":
    plainly(main, *sys.argv[1:], kept="Nothing was changed")
