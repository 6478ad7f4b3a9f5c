"""Set up .venv for the site alone (`site`) or for everything (`all`), once.

Only the standard library, and syntax that an old Python can read: this is the first file
that runs on a new machine.
"""

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
REQUIREMENTS = {"site": ROOT / "site" / "requirements.txt", "all": ROOT / "requirements.txt"}
GIGABYTES = {"site": 0.6, "all": 2.5}
CPU_TORCH = "https://download.pytorch.org/whl/cpu"


def main(kind):
    if sys.version_info < (3, 11):
        sys.exit(
            "This is Python %d.%d (%s); the course needs 3.11 or newer.\n"
            "Install one (apt install python3.11, brew install python@3.13, or python.org) and\n"
            "name it: make book PYTHON=python3.11" % (*sys.version_info[:2], sys.executable)
        )
    stamp = VENV / (".installed-" + kind)
    wanted = fingerprint(kind)
    if PYTHON.exists() and stamp.exists() and stamp.read_text() == wanted:
        return
    check_room(kind)
    if not PYTHON.exists() or not works(PYTHON):
        create()
    print(
        "Installing",
        "the site's packages" if kind == "site" else "all packages",
        "into .venv …",
        flush=True,
    )
    requirements = REQUIREMENTS[kind]
    if kind == "all" and sys.platform == "linux" and not has_torch():
        # PyPI's Linux torch brings several GB of CUDA; PyTorch's CPU index does not. If it
        # cannot be reached, the next step takes the other one.
        pip(
            "--retries",
            "1",
            "--no-deps",
            "--extra-index-url",
            CPU_TORCH,
            pinned("torch", requirements),
            check=False,
        )
    pip("-r", str(requirements))
    if kind == "all":
        pip("--no-deps", "--no-build-isolation", "-e", str(ROOT))
    stamp.write_text(wanted)


def fingerprint(kind):
    digest = hashlib.sha256(sys.version.encode())
    digest.update(str(ROOT).encode())
    for path in [REQUIREMENTS[kind]] + ([ROOT / "pyproject.toml"] if kind == "all" else []):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def check_room(kind):
    if not os.access(str(ROOT), os.W_OK):
        sys.exit(
            "%s is read-only: copy the course to a folder of your own and run the command there."
            % ROOT
        )
    free = shutil.disk_usage(str(ROOT)).free / 1e9
    if free < GIGABYTES[kind]:
        sys.exit(
            "Only %.1f GB free on the disk of %s; the packages need %.1f GB.\n"
            "Free some room and run the command again: nothing was changed."
            % (free, ROOT, GIGABYTES[kind])
        )


def create():
    print("Creating .venv with Python %d.%d …" % sys.version_info[:2], flush=True)
    shutil.rmtree(str(VENV), ignore_errors=True)
    result = subprocess.run(
        [sys.executable, "-m", "venv", str(VENV)], capture_output=True, text=True
    )
    if result.returncode:
        shutil.rmtree(str(VENV), ignore_errors=True)
        sys.exit(
            result.stdout
            + result.stderr
            + "\nPython could not create a virtual environment (above).\n"
            "On Debian and Ubuntu: apt install python%d.%d-venv, then run the command again."
            % sys.version_info[:2]
        )


def works(python):
    return (
        subprocess.run([str(python), "-m", "pip", "--version"], capture_output=True).returncode == 0
    )


def has_torch():
    return (
        subprocess.run(
            [str(PYTHON), "-m", "pip", "show", "-q", "torch"], capture_output=True
        ).returncode
        == 0
    )


def pinned(package, requirements):
    for line in requirements.read_text().splitlines():
        if line.startswith(package + "=="):
            return line.split(";")[0].strip()
    sys.exit("%s does not pin %s" % (requirements, package))


def pip(*arguments, check=True):
    command = [str(PYTHON), "-m", "pip", "install", "--disable-pip-version-check", "-q", *arguments]
    if subprocess.run(command).returncode and check:
        sys.exit(
            "\npip could not install the packages (its own message is above).\n"
            "No network: connect and run the same command again; what was fetched is kept.\n"
            "'No space left on device': the packages need %.1f GB.\n"
            "A broken environment: delete the folder .venv and run the command again."
            % GIGABYTES["all"]
        )


if __name__ == "__main__":
    main(sys.argv[1])
