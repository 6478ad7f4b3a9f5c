"""Build the site into _build/html, strictly, if anything it is made from has changed.

Always from nothing: what Sphinx keeps between builds saves half of the time and has to be
told what depends on what. The build happens beside the site that is there, and takes its
place only when it has succeeded: a warning, a full disk or Ctrl-C never leaves half a site.
"""

import errno
import hashlib
import os
import re
import shutil
import sys
import time
from pathlib import Path

from environment import alone, called, plainly

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "_build" / "work"
SITE = ROOT / "_build" / "html"
STAMP = ROOT / "_build" / "inputs.sha256"
LOG = ROOT / "_build" / "build.log"
INPUTS = [
    "_config.yml",
    "_toc.yml",
    "intro.md",
    "references.bib",
    "chapters",
    "practice",
    "site",
    "src/norms",
]
OPTIONS = ["build", "-W", "-n", "--keep-going"]


def main():
    if fresh():
        print("The site is up to date.")
    else:
        if not os.access(ROOT, os.W_OK):
            raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(ROOT))
        with alone():
            if not fresh():  # by the one that we waited for
                build()
    print(
        f"Open {(SITE / 'index.html').as_uri()}\nor run `make serve` and open http://localhost:8000"
    )


def fresh():
    return SITE.exists() and STAMP.exists() and STAMP.read_text() == fingerprint()


def build():
    started, inputs = time.monotonic(), fingerprint()
    executable = shutil.which("jupyter-book", path=str(Path(sys.executable).parent))
    if executable is None:
        sys.exit(
            "jupyter-book is not installed beside this Python: run `make book`, "
            "or pip install -r site/requirements.txt"
        )
    print("Building the site, strictly …", flush=True)
    new, old = SITE.with_name("html.new"), SITE.with_name("html.old")
    if not SITE.exists() and old.exists():
        old.rename(SITE)  # killed between two renames
    for leftover in (WORK, new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    WORK.mkdir(parents=True)
    with LOG.open("w") as log:
        command = [executable, *OPTIONS, "--path-output", str(WORK), "."]
        code, _ = called(command, output=log, cwd=ROOT)
    if code:
        message = complaints()
        shutil.rmtree(WORK, ignore_errors=True)
        sys.exit(message)
    (WORK / "_build" / "html").rename(new)
    (new / ".buildinfo").unlink(missing_ok=True)  # Sphinx's own, for the next build
    if SITE.exists():
        SITE.rename(old)
    new.rename(SITE)
    for done in (WORK, old):
        shutil.rmtree(done, ignore_errors=True)
    STAMP.write_text(inputs)
    print(f"Built in {time.monotonic() - started:.0f} s.")


def complaints():
    """Say why the build failed: the warnings and errors of its log, and the disk if it is full."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", LOG.read_text(errors="replace"))
    told = [line for line in text.splitlines() if re.search(r"WARNING|ERROR|Error:|error:", line)]
    free = shutil.disk_usage(ROOT).free / 1e6
    return "\n".join(
        [
            *(told or text.splitlines()[-20:]),
            f"\nThe build failed (warnings count as errors). All it said is in {LOG.relative_to(ROOT).as_posix()}.",
            *([f"Only {free:.0f} MB are free on this disk: free some room."] if free < 200 else []),
            *(["The site built before is still in _build/html."] if SITE.exists() else []),
        ]
    )


def fingerprint():
    digest = hashlib.sha256()
    for name in INPUTS:
        path = ROOT / name
        for file in sorted(
            p for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file()
        ):
            if "__pycache__" not in file.parts and ".ipynb_checkpoints" not in file.parts:
                digest.update(file.relative_to(ROOT).as_posix().encode() + b"\0")
                digest.update(file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    plainly(main, kept="What is in _build/html is as it was")
