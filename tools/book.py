"""Build the site into _build/html, strictly, if anything it is made from has changed.

The build happens beside the site that is there, and takes its place only when it has
succeeded: a warning, a full disk or Ctrl-C never leaves half a site.
"""

import errno
import hashlib
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
WORK = ROOT / "_build" / "work"
SITE = ROOT / "_build" / "html"
STAMP = ROOT / "_build" / "inputs.sha256"
INPUTS = [
    "_config.yml",
    "_toc.yml",
    "intro.md",
    "references.bib",
    "chapters",
    "site",
    "_static",
    "src/norms",
]
COMMAND = [
    "jupyter-book",
    "build",
    "-W",
    "-n",
    "--keep-going",
    "--quiet",
    "--path-output",
    str(WORK),
    ".",
]


def main():
    wanted = fingerprint()
    if SITE.exists() and STAMP.exists() and STAMP.read_text() == wanted:
        print("The site is up to date.")
    else:
        build()
        STAMP.write_text(wanted)
    print(
        f"Open {(SITE / 'index.html').as_uri()}\nor run `make serve` and open http://localhost:8000"
    )


def build():
    started = time.monotonic()
    print("Building the site …", flush=True)
    WORK.mkdir(parents=True, exist_ok=True)
    command = [str(Path(sys.executable).with_name(COMMAND[0])), *COMMAND[1:]]
    if not shutil.which(command[0]):
        sys.exit(
            "jupyter-book is not installed beside this Python: run `make book`, or pip install -r site/requirements.txt"
        )
    if subprocess.run(command, cwd=ROOT).returncode:
        free = shutil.disk_usage(ROOT).free / 1e6
        hint = f" Only {free:.0f} MB are free on this disk: that may be why." if free < 200 else ""
        kept = " The site built before is still in _build/html." if SITE.exists() else ""
        sys.exit(f"\nThe build failed (warnings count as errors; they are above).{hint}{kept}")
    new, old = SITE.with_name("html.new"), SITE.with_name("html.old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    shutil.copytree(
        WORK / "_build" / "html", new, ignore=shutil.ignore_patterns(".doctrees", ".buildinfo")
    )
    if SITE.exists():
        SITE.rename(old)
    new.rename(SITE)
    shutil.rmtree(old, ignore_errors=True)
    print(f"Built in {time.monotonic() - started:.0f} s.")


def fingerprint():
    digest = hashlib.sha256()
    for name in INPUTS:
        path = ROOT / name
        for file in sorted(
            p for p in ([path] if path.is_file() else path.rglob("*")) if p.is_file()
        ):
            if "__pycache__" not in file.parts and ".ipynb_checkpoints" not in file.parts:
                digest.update(str(file.relative_to(ROOT)).encode() + b"\0" + file.read_bytes())
    return digest.hexdigest()


if __name__ == "__main__":
    try:
        main()
    except OSError as error:
        advice = {
            errno.ENOSPC: "The disk is full: free some room",
            errno.EACCES: "No permission to write there: copy the course to a folder of your own",
            errno.EROFS: "The folder is read-only: copy the course to a folder of your own",
        }.get(error.errno)
        if advice is None:
            raise
        sys.exit(
            f"{error}\n{advice} and run the command again. The site built before is untouched."
        )
