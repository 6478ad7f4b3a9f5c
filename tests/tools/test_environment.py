"""`tools/environment.py`: what it installs, when, and what it says when it cannot."""

import ast
import errno
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import environment
import pytest
from checkouts import TOOLS, needs_signals, press_ctrl_c

# A venv whose pip writes down what it is asked for.
PIP = """#!{python}
import os, sys, time
from pathlib import Path
here = Path({root!r})
if "install" in sys.argv:
    with open(here / "asked", "a") as file:
        file.write(" ".join(sys.argv[3:]) + "\\n")
    (here / "busy").touch()
    while (here / "slow").exists():
        time.sleep(0.05)
    if (here / "broken").exists():
        print("no such network", file=sys.stderr)
        sys.exit(1)
"""


@pytest.fixture
def pip(checkout):
    root = checkout.root
    checkout.write(".venv/bin/python", PIP.format(python=sys.executable, root=str(root)), True)
    checkout.write("requirements.txt", "numpy==2.0\ntorch==2.13.0 ; python_version > '3'\n")
    checkout.write("site/requirements.txt", "sphinx==7.4.7\n")
    checkout.write("pyproject.toml", "[project]\n")
    return lambda: (root / "asked").read_text().splitlines() if (root / "asked").exists() else []


pytestmark = needs_signals  # the venv above is a script


def test_an_old_python_can_read_it():
    source = (TOOLS / "environment.py").read_text(encoding="utf-8")
    tree = ast.parse(source, feature_version=(3, 4))
    # What that option lets pass: f-strings (3.6), and stars inside of a tuple or list (3.5).
    assert not [n for n in ast.walk(tree) if isinstance(n, ast.JoinedStr)]
    displays = [n for n in ast.walk(tree) if isinstance(n, ast.Tuple | ast.List | ast.Set)]
    assert not [n for d in displays for n in d.elts if isinstance(n, ast.Starred)]
    modules = {n.names[0].name for n in ast.walk(tree) if isinstance(n, ast.Import)}
    modules |= {n.module for n in ast.walk(tree) if isinstance(n, ast.ImportFrom)}
    assert modules <= sys.stdlib_module_names


@pytest.mark.parametrize("version", [(3, 4, 10), (3, 10, 14)])
def test_an_old_python_is_told_what_to_do(monkeypatch, version):
    monkeypatch.setattr(sys, "version_info", version)
    with pytest.raises(SystemExit) as stop:
        environment.main("site")
    assert stop.value.code.startswith(f"This is Python {version[0]}.{version[1]} ")
    assert "make book PYTHON=python3.11" in stop.value.code


def test_the_site_needs_no_torch_and_nothing_is_done_twice(checkout, pip):
    assert checkout.run("tools/environment.py", "site") == (
        0,
        "Installing the site's packages into .venv …\n",
    )
    (asked,) = pip()
    assert asked.endswith("site/requirements.txt")
    assert checkout.run("tools/environment.py", "site") == (0, "")
    assert len(pip()) == 1
    checkout.write("site/requirements.txt", "sphinx==8.0\n")
    assert checkout.run("tools/environment.py", "site")[0] == 0
    assert len(pip()) == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only there PyPI's torch brings CUDA")
def test_all_takes_the_small_torch_first_and_the_package_last(checkout, pip):
    environment = checkout.root / ".venv/bin/python"
    text = environment.read_text()
    environment.write_text(text + "sys.exit('show' in sys.argv)\n")  # torch is not there
    assert checkout.run("tools/environment.py", "all")[0] == 0
    torch, everything, package = pip()
    assert "--no-deps --extra-index-url https://download.pytorch.org/whl/cpu torch==2.13.0" in torch
    assert everything.endswith("requirements.txt")
    assert "--no-deps --no-build-isolation -e" in package


def test_the_grader_has_an_environment_of_its_own_without_the_package(checkout, pip):
    script = checkout.root / ".venv/bin/python"
    checkout.write(".venv-classroom/bin/python", script.read_text(), True)
    checkout.write("assignments/requirements.txt", "nbgrader==0.9.6\ntorch==2.13.0\n")
    said = "Installing the grader's packages into .venv-classroom …\n"
    assert checkout.run("tools/environment.py", "classroom") == (0, said)
    assert pip()[-1].endswith("assignments/requirements.txt")
    assert not any("-e" in line.split() for line in pip())
    assert not list((checkout.root / ".venv").glob(".installed-*"))


def test_a_failure_says_what_pip_said_and_the_next_call_goes_on(checkout, pip):
    broken = checkout.write("broken", "")
    code, said = checkout.run("tools/environment.py", "site")
    assert code == 1
    assert "no such network" in said
    assert "connect and run the same command again" in said
    assert "Traceback" not in said
    broken.unlink()
    assert checkout.run("tools/environment.py", "site")[0] == 0


def test_ctrl_c_is_one_line_and_the_next_call_goes_on(checkout, pip):
    slow = checkout.write("slow", "")
    process = checkout.start("tools/environment.py", "site")
    checkout.has("busy")
    code, said = press_ctrl_c(process)
    assert code == 130
    assert said == (
        "Installing the site's packages into .venv …\n"
        "\nStopped. What was fetched is kept: run the command again to go on.\n"
    )
    slow.unlink()
    assert checkout.run("tools/environment.py", "site")[0] == 0
    assert len(pip()) == 2


@pytest.mark.parametrize(
    ("child", "patience", "tidied"),
    [
        ("signal.signal(signal.SIGINT, signal.SIG_IGN); begin(); time.sleep(2); end()", 0.1, False),
        ("try: begin(); time.sleep(9)\nexcept KeyboardInterrupt: time.sleep(0.5); end()", 5, True),
    ],
    ids=["deaf", "tidy"],
)
def test_at_ctrl_c_a_child_may_tidy_up_but_not_for_long(checkout, child, patience, tidied):
    child = (
        "import signal, time\ndef begin(): open('began', 'w')\ndef end(): open('ended', 'w')\n"
        + child
    )
    tool = "import sys; sys.path.insert(0, 'tools'); import environment as e\n"
    tool += f"e.PATIENCE = {patience}; e.plainly(e.called, [sys.executable, '-c', {child!r}])"
    process = checkout.start("-c", tool)
    checkout.has("began")
    assert press_ctrl_c(process)[0] == 130
    time.sleep(0 if tidied else 2.1)
    assert (checkout.root / "ended").exists() is tidied


def test_the_second_waits_for_the_first_and_finds_its_work_done(checkout, pip):
    slow = checkout.write("slow", "")
    first = checkout.start("tools/environment.py", "site")
    checkout.has("busy")
    second = checkout.start("tools/environment.py", "site")
    assert second.stdout.readline() == "Another make is running here; waiting for it …\n"
    slow.unlink()
    assert first.wait(20) == 0
    assert second.communicate(timeout=20)[0] == ""
    assert second.returncode == 0
    assert len(pip()) == 1


def test_a_killed_holder_gives_the_lock_back(checkout, pip):
    slow = checkout.write("slow", "")
    first = checkout.start("tools/environment.py", "site")
    checkout.has("busy")
    first.kill()
    first.communicate()
    slow.unlink()
    code, said = checkout.run("tools/environment.py", "site")
    assert code == 0
    assert "Another make" not in said


def test_a_broken_venv_is_made_anew(checkout, pip, monkeypatch):
    monkeypatch.setattr(environment, "VENV", checkout.root / ".venv")
    calls = []
    monkeypatch.setattr(environment, "called", lambda c: calls.append(c) or (1, "no ensurepip"))
    monkeypatch.setattr(environment, "fingerprint", lambda kind: "new")
    with pytest.raises(SystemExit, match=r"no ensurepip(.|\n)*apt install python3\.\d+-venv"):
        environment.install("site")
    assert [command[1:3] for command in calls] == [["-m", "pip"], ["-m", "venv"]]
    assert not (checkout.root / ".venv").exists()


def test_a_small_disk_is_refused_before_anything_is_changed(monkeypatch):
    free = type("usage", (), {"free": 0.3e9})
    monkeypatch.setattr(environment.shutil, "disk_usage", lambda path: free)
    with pytest.raises(SystemExit, match=r"Only 0\.3 GB free(.|\n)*nothing was changed"):
        environment.check_room("site")


def test_a_read_only_checkout_is_refused(monkeypatch):
    monkeypatch.setattr(environment.os, "access", lambda path, mode: False)
    with pytest.raises(SystemExit, match="is read-only: copy the course"):
        environment.check_room("site")


@pytest.mark.parametrize("number", sorted(environment.ADVICE))
def test_a_disk_that_refuses_gets_advice_and_no_traceback(number):
    def refuse():
        raise OSError(number, os.strerror(number), "/somewhere")

    with pytest.raises(SystemExit) as stop:
        environment.plainly(refuse, kept="Nothing was lost")
    assert os.strerror(number) in stop.value.code
    assert stop.value.code.endswith("and run the command again. Nothing was lost.")


def test_another_error_is_not_hidden():
    def fail():
        raise OSError(errno.ENOENT, "gone")

    with pytest.raises(OSError, match="gone"):
        environment.plainly(fail)


@pytest.mark.slow
def test_a_real_venv_in_a_path_with_spaces_and_accents(checkout):
    """Everything but the packages: an empty list of requirements needs no network."""
    checkout.write("site/requirements.txt", "")
    code, said = checkout.run("tools/environment.py", "site")
    assert (code, re.sub(r"3\.\d+", "3", said)) == (
        0,
        "Creating .venv with Python 3 …\nInstalling the site's packages into .venv …\n",
    )
    python = Path(checkout.root, ".venv", "bin", "python")
    prefix = subprocess.run([python, "-c", "import sys; print(sys.prefix)"], capture_output=True)
    assert Path(prefix.stdout.decode().strip()) == checkout.root / ".venv"
