"""`tools/pin.py`: what is pinned, what is left out, and what stays when it fails."""

import sys

import pytest
from checkouts import needs_signals

# Stands in for uv: pins what it is asked for, with torch's CUDA, under the limits that it is given.
UV = """#!{python}
import sys
from pathlib import Path
wanted = Path(sys.argv[-1]).read_text().split("\\n")
limits = Path(sys.argv[sys.argv.index("-c") + 1]).read_text().split("\\n")
if "broken" in wanted:
    sys.exit("No solution found")
pins = dict(line.split("==") for line in limits if line)
for name in wanted:
    name = name.split("==")[0]
    print(name + "==" + pins.get(name, "1"))
if any(name.startswith("torch") for name in wanted):
    print("nvidia-cublas==13 ; sys_platform == 'linux'\\ntriton==3\\nsphinx==7")
"""
PROJECT = """[project]
name = "x"
[project.optional-dependencies]
experiments = ["joblib"]
book = ["sphinx"]
classroom = ["pytest"]
tests = ["seven-norms[experiments,book]", "pytest"{more}]
"""

pytestmark = needs_signals  # uv is a script here


@pytest.fixture
def project(checkout):
    checkout.write("pyproject.toml", PROJECT.format(more=""))
    checkout.write("requirements.txt", "# All of it.\nold==1\n")
    checkout.write("site/requirements.txt", "# The site.\nold==1\n")
    checkout.write("assignments/requirements.txt", "# The grader.\nold==1\n")
    checkout.write("bin/uv", UV.format(python=sys.executable), executable=True)
    checkout.path = {"PATH": str(checkout.root / "bin")}
    return checkout


def test_everything_is_pinned_without_cuda_and_the_site_alike(project):
    assert project.run("tools/pin.py", **project.path) == (0, "")
    everything = (project.root / "requirements.txt").read_text().splitlines()
    assert everything == [
        "# All of it.",
        *["torch==1", "numpy==1", "joblib==1", "sphinx==1", "pytest==1", "sphinx==7"],
    ]
    site = (project.root / "site" / "requirements.txt").read_text().splitlines()
    assert site == ["# The site.", "sphinx==7"]
    grader = (project.root / "assignments" / "requirements.txt").read_text().splitlines()
    assert grader == ["# The grader.", "torch==1", "numpy==1", "pytest==1", "sphinx==7"]


def test_when_there_is_no_solution_nothing_is_written(project):
    project.write("pyproject.toml", PROJECT.format(more=', "broken"'))
    code, said = project.run("tools/pin.py", **project.path)
    assert code == 1
    assert said == "No solution found\n\n"
    assert "old==1" in (project.root / "requirements.txt").read_text()


def test_without_uv_it_says_how_to_get_it(project):
    (project.root / "bin" / "uv").unlink()
    code, said = project.run("tools/pin.py", **project.path)
    assert (code, said) == (1, "make lock needs uv: pip install uv\n")


def test_torch_is_pinned_as_in_the_requirements():
    import pin

    lines = (pin.ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if line.startswith("torch==")] == [pin.TORCH]
    assert not [line for line in lines if pin.CUDA.match(line)]
