"""Set up .venv for the site alone (`site`) or for everything (`all`), once.

`classroom` is the grader's own, .venv-classroom: what students send must not find `norms` there.

Only the standard library, and syntax that an old Python can read: this is the first file
that runs on a new machine.
"""

import contextlib
import errno
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
CLASSROOM = ROOT / ".venv-classroom"
LOCK = ROOT / ".make.lock"
REQUIREMENTS = {
    "site": ROOT / "site" / "requirements.txt",
    "all": ROOT / "requirements.txt",
    "classroom": ROOT / "assignments" / "requirements.txt",
}
WHAT = {"site": "the site's packages", "all": "all packages", "classroom": "the grader's packages"}
GIGABYTES = {"site": 0.6, "all": 2.5, "classroom": 2.0}
CPU_TORCH = "https://download.pytorch.org/whl/cpu"
ADVICE = {
    errno.ENOSPC: "The disk is full: free some room",
    errno.EACCES: "No permission to write there: copy the course to a folder of your own",
    errno.EROFS: "The folder is read-only: copy the course to a folder of your own",
}
INTERRUPTED = 130  # as a shell counts Ctrl-C
PATIENCE = 5  # seconds


def main(kind):
    if sys.version_info < (3, 11):
        sys.exit(
            "This is Python %d.%d (%s); the course needs 3.11 or newer.\n"
            "Install one (apt install python3.11, brew install python@3.13, or python.org) and\n"
            "name it: make book PYTHON=python3.11"
            % (sys.version_info[0], sys.version_info[1], sys.executable)
        )
    if installed(kind):
        return
    check_room(kind)
    with alone():
        if not installed(kind):  # by the one that we waited for
            install(kind)


def installed(kind):
    if not python(kind).exists() or not stamp(kind).exists():
        return False
    return stamp(kind).read_text() == fingerprint(kind)


def folder(kind):
    return CLASSROOM if kind == "classroom" else VENV


def python(kind):
    return folder(kind) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def install(kind):
    wanted = fingerprint(kind)
    if not python(kind).exists() or not works(python(kind)):
        create(kind)
    print("Installing", WHAT[kind], "into", folder(kind).name, "…", flush=True)
    requirements = REQUIREMENTS[kind]
    if kind != "site" and sys.platform == "linux" and not has_torch(kind):
        # PyPI's Linux torch brings several GB of CUDA; PyTorch's CPU index does not. If it
        # cannot be reached, the next step takes the other one.
        torch = pinned("torch", requirements)
        wanted_from = ["--extra-index-url", CPU_TORCH, torch]
        pip(kind, "--retries", "1", "--no-deps", *wanted_from, check=False)
    pip(kind, "-r", str(requirements))
    if kind == "all":
        pip(kind, "--no-deps", "--no-build-isolation", "-e", str(ROOT))
    stamp(kind).write_text(wanted)


def stamp(kind):
    return folder(kind) / (".installed-" + kind)


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


def create(kind):
    place = folder(kind)
    print("Creating", place.name, "with Python %d.%d …" % sys.version_info[:2], flush=True)
    shutil.rmtree(str(place), ignore_errors=True)
    code, said = called([sys.executable, "-m", "venv", str(place)])
    if code:
        shutil.rmtree(str(place), ignore_errors=True)
        sys.exit(
            said + "\nPython could not create a virtual environment (above).\n"
            "On Debian and Ubuntu: apt install python%d.%d-venv, then run the command again."
            % sys.version_info[:2]
        )


def works(python):
    return called([str(python), "-m", "pip", "--version"])[0] == 0


def has_torch(kind):
    return called([str(python(kind)), "-m", "pip", "show", "-q", "torch"])[0] == 0


def pinned(package, requirements):
    for line in requirements.read_text().splitlines():
        if line.startswith(package + "=="):
            return line.split(";")[0].strip()
    sys.exit("%s does not pin %s" % (requirements, package))


def pip(kind, *arguments, check=True):
    command = [str(python(kind)), "-m", "pip", "install", "--disable-pip-version-check", "-q"]
    code, said = called(command + list(arguments))
    if code and check:
        sys.exit(
            said + "\npip could not install the packages (its own message is above).\n"
            "No network: connect and run the same command again; what was fetched is kept.\n"
            "'No space left on device': the packages need %.1f GB.\n"
            "A broken environment: delete the folder %s and run the command again."
            % (GIGABYTES[kind], folder(kind).name)
        )


def called(command, output=None, **options):
    """Run a command and return its exit code and what it said, unless that goes to `output`."""
    with contextlib.ExitStack() as stack:
        log = output or stack.enter_context(tempfile.TemporaryFile())
        child = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, **options
        )
        try:
            child.wait()
        except BaseException:
            # Ctrl-C reached the child as well: let it tidy up, but not for long.
            with contextlib.suppress(subprocess.TimeoutExpired):
                child.wait(PATIENCE)
            child.kill()
            child.wait()
            raise
        if output:
            return child.returncode, ""
        log.seek(0)
        return child.returncode, log.read().decode("utf-8", "replace")


@contextlib.contextmanager
def alone():
    """Wait until no other command installs or builds in this checkout.

    The system gives the lock back when its holder ends, however it ends.
    """
    with LOCK.open("ab") as file:
        waited = False
        while not locked(file):
            if not waited:
                print("Another make is running here; waiting for it …", flush=True)
            waited = True
            time.sleep(0.2)
        yield


def locked(file):
    """Try to take the lock. It goes with the file: closing gives it back."""
    try:
        if os.name == "nt":
            import msvcrt

            file.seek(0)
            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return False
    except OSError:
        pass  # a disk that knows no locks: as good as alone
    return True


def plainly(command, *arguments, kept="What was fetched is kept"):
    """Run a command; on Ctrl-C, or when the disk refuses, say so in a line and no traceback."""
    try:
        command(*arguments)
    except KeyboardInterrupt:
        print("\nStopped. %s: run the command again to go on." % kept, file=sys.stderr)
        sys.exit(INTERRUPTED)
    except OSError as error:
        if error.errno not in ADVICE:
            raise
        sys.exit("%s\n%s and run the command again. %s." % (error, ADVICE[error.errno], kept))


if __name__ == "__main__":
    plainly(main, sys.argv[1])
