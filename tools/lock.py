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

ROOT = Path(__file__).resolve().parent.parent
TORCH = "torch==2.13.0"
CUDA = re.compile(r"(nvidia|cuda)-[\w-]+|triton")


def main():
    if not shutil.which("uv"):
        sys.exit("make lock needs uv: pip install uv")
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    tests = [line for line in extras["tests"] if not line.startswith("seven-norms")]
    everything = compiled([TORCH, "numpy", *extras["experiments"], *extras["book"], *tests])
    everything = [line for line in everything if not CUDA.match(line)]
    write(ROOT / "requirements.txt", everything)
    write(ROOT / "site" / "requirements.txt", compiled(extras["book"], constraints=everything))


def compiled(requirements, constraints=()):
    with tempfile.NamedTemporaryFile("w", suffix=".txt") as file:
        file.write("\n".join(constraints))
        file.flush()
        command = ["uv", "pip", "compile", "--universal", "--fork-strategy", "fewest"]
        command += ["--python-version", "3.11", "--no-annotate", "--no-header", "--quiet"]
        text = "\n".join(requirements)
        result = subprocess.run(
            [*command, "-c", file.name, "-"], input=text, text=True, capture_output=True
        )
    if result.returncode:
        sys.exit(result.stderr)
    return result.stdout.splitlines()


def write(path, lines):
    old = path.read_text().splitlines() if path.exists() else []
    header = [line for line in old if line.startswith("#")]
    path.write_text("\n".join([*header, *lines]) + "\n")


if __name__ == "__main__":
    main()
