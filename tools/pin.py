"""Pin the requirements anew from pyproject.toml, for Python 3.11 to 3.13 on every system.

Needs uv (`pip install uv`). torch is pinned here by hand, and the CUDA packages of its Linux
wheels are left out: the course needs a CPU only.
"""

import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from environment import plainly

ROOT = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"
CUDA = re.compile(r"(nvidia|cuda)-[\w-]+|triton")
COMPILE = "uv pip compile --universal --fork-strategy fewest --python-version 3.11 --no-annotate --no-header --quiet"


def main():
    if not shutil.which("uv"):
        sys.exit("make lock needs uv: pip install uv")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    tests = [line for line in extras["tests"] if not line.startswith("seven-norms")]
    everything = compiled([TORCH, "numpy", *extras["experiments"], *extras["book"], *tests])
    everything = [line for line in everything if not CUDA.match(line)]
    site = compiled(extras["book"], constraints=everything)
    grader = [TORCH, "numpy", *extras["classroom"]]
    grader = [line for line in compiled(grader, constraints=everything) if not CUDA.match(line)]
    write(ROOT / "requirements.txt", everything)
    write(ROOT / "assignments" / "requirements.txt", grader)
    write(ROOT / "site" / "requirements.txt", site)


def compiled(requirements, constraints=()):
    """Return the pinned lines of the requirements and all that they need."""
    # A named folder: on Windows a named temporary file cannot be opened a second time.
    with tempfile.TemporaryDirectory() as folder:
        wanted, limits = Path(folder, "wanted.in"), Path(folder, "limits.txt")
        wanted.write_text("\n".join(requirements), encoding="utf-8")
        limits.write_text("\n".join(constraints), encoding="utf-8")
        result = subprocess.run(
            [*COMPILE.split(), "-c", str(limits), str(wanted)], capture_output=True, text=True
        )
    if result.returncode:
        sys.exit(result.stderr)
    return result.stdout.splitlines()


def write(path, lines):
    """Write the lines below the comment that the file begins with."""
    old = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    header = [line for line in old if line.startswith("#")]
    path.write_text("\n".join([*header, *lines]) + "\n", encoding="utf-8", newline="\n")


if __name__ == "__main__":
    plainly(main, kept="A file is written only when all pins are known")
