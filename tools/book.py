"""Build the site into _build/html, strictly, if anything it is made from has changed.

The build happens beside the site that is there, and takes its place only when it has
succeeded: a warning, a full disk or Ctrl-C never leaves half a site.
"""

import errno
import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

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
    "site",
    "_static",
    "src/norms",
]
FRAME = ["_config.yml", "_toc.yml", "site/ext", "site/templates"]
COMMAND = [
    "jupyter-book",
    "build",
    "-W",
    "-n",
    "--keep-going",
    "--path-output",
    str(WORK),
    ".",
]


def main():
    frame, whole = fingerprint(FRAME), fingerprint(INPUTS)
    kept = STAMP.read_text().split() if SITE.exists() and STAMP.exists() else ["", ""]
    if kept == [frame, whole]:
        print("The site is up to date.")
    else:
        if kept[0] != frame:
            # Every page shows the contents, but Sphinx writes again only pages that changed.
            shutil.rmtree(WORK, ignore_errors=True)
        build()
        STAMP.write_text(f"{frame}\n{whole}\n")
    print(
        f"Open {(SITE / 'index.html').as_uri()}\nor run `make serve` and open http://localhost:8000"
    )


def build():
    started = time.monotonic()
    executable = shutil.which(COMMAND[0], path=str(Path(sys.executable).parent))
    if executable is None:
        sys.exit(
            "jupyter-book is not installed beside this Python: run `make book`, "
            "or pip install -r site/requirements.txt"
        )
    if not os.access(ROOT, os.W_OK):
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(ROOT))
    print("Building the site, strictly …", flush=True)
    WORK.mkdir(parents=True, exist_ok=True)
    with LOG.open("w") as log:
        result = subprocess.run([executable, *COMMAND[1:]], cwd=ROOT, stdout=log, stderr=log)
    if result.returncode:
        # What was read once is not read again, and its warnings would not be heard again.
        shutil.rmtree(WORK, ignore_errors=True)
        sys.exit(complaints())
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


def complaints():
    """Say why the build failed: the warnings and errors of its log, and the disk if it is full."""
    text = re.sub(r"\x1b\[[0-9;]*m", "", LOG.read_text(errors="replace"))
    told = [line for line in text.splitlines() if re.search(r"WARNING|ERROR|Error:|error:", line)]
    free = shutil.disk_usage(ROOT).free / 1e6
    return "\n".join(
        [
            *(told or text.splitlines()[-20:]),
            f"\nThe build failed (warnings count as errors). All it said is in {LOG.relative_to(ROOT)}.",
            *([f"Only {free:.0f} MB are free on this disk: free some room."] if free < 200 else []),
            *(["The site built before is still in _build/html."] if SITE.exists() else []),
        ]
    )


def fingerprint(names):
    digest = hashlib.sha256()
    for name in names:
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
