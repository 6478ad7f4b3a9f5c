"""A small checkout to run the tools in, each as a process of its own."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOOLS = ROOT / "tools"


def _hear_ctrl_c():
    """A shell lets what runs in the background ignore Ctrl-C, and children inherit that."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


class Checkout:
    """A folder with the tools and the few files that they read."""

    def __init__(self, root):
        self.root = root
        shutil.copytree(TOOLS, root / "tools", ignore=shutil.ignore_patterns("__pycache__"))

    def write(self, name, text, executable=False):
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        if executable:
            path.chmod(0o755)
        return path

    def start(self, *command, python=None, **environment):
        return subprocess.Popen(
            [python or sys.executable, *command],
            cwd=self.root,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            start_new_session=True,  # so that Ctrl-C meets the tool and its children alone
            preexec_fn=_hear_ctrl_c if os.name == "posix" else None,
        )

    def run(self, *command, **options):
        """Return the exit code and all that was said."""
        process = self.start(*command, **options)
        said = process.communicate(timeout=60)[0]
        return process.returncode, said

    def has(self, name, seconds=20):
        """Wait for a file."""
        end = time.monotonic() + seconds
        while not (self.root / name).exists():
            assert time.monotonic() < end, f"no {name} after {seconds} s"
            time.sleep(0.02)
        return True


def press_ctrl_c(process):
    """Interrupt a process and its children, as a terminal does; return its code and words."""
    os.killpg(process.pid, signal.SIGINT)
    said = process.communicate(timeout=20)[0]
    return process.returncode, said


needs_signals = pytest.mark.skipif(os.name == "nt", reason="no process groups to interrupt")
