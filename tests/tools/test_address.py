"""The repository's address is one setting, `make address` sets it, and every place agrees."""

import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
TEXT = {".md", ".yml", ".yaml", ".toml", ".cff", ".ipynb", ".py", ".html"}
PLACES = ["README.md", "CITATION.cff", "pyproject.toml", "_config.yml"]
# In two parts, so that `make address` leaves it as it is: what a fork must no longer name.
FIRST = "/".join(["seven-norms", "seven-norms"])


def address() -> str:
    return yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))["repository"]["url"]


def disagreeing(text: str, current: str) -> list[str]:
    """Return what is named in `text` as this repository and is not `current`."""
    slug = "/".join(current.split("/")[-2:])
    installed = re.findall(r"git\+https://[\w.-]+/([\w.-]+/[\w-]+)", text)
    named = re.findall(rf"[\w.-]+/{re.escape(slug.split('/')[1])}(?=[\s\"'/)#@.]|$)", text)
    first = [FIRST] * (slug != FIRST and FIRST in text)
    hosted = re.findall(
        rf"github\.com/({'|'.join(map(re.escape, {*named, FIRST}))})(?![\w-])", text
    )
    return sorted({found for found in [*installed, *hosted, *first] if found != slug})


def tracked():
    names = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True
    ).stdout.split("\n")
    paths = [ROOT / name for name in names if name]
    here = Path(__file__).resolve()  # the examples below disagree on purpose
    return [path for path in paths if path.suffix in TEXT and path.exists() and path != here]


def test_every_place_agrees():
    files = tracked() or [ROOT / name for name in PLACES]
    faults = {
        str(path.relative_to(ROOT)): found
        for path in files
        if (found := disagreeing(path.read_text(encoding="utf-8"), address()))
    }
    assert faults == {}


@pytest.mark.parametrize("place", PLACES)
def test_the_address_is_named(place):
    assert address() in (ROOT / place).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("text", "agrees"),
    [
        ("https://github.com/me/course", True),
        ("https://github.com/other/course", False),
        ("see https://github.com/pytorch/pytorch", True),
        ('%pip install "git+https://github.com/me/course.git"', True),
        ('%pip install "git+https://github.com/you/thing.git"', False),
        (f"https://github.com/{FIRST}", False),
        (f"gh/{FIRST}/main", False),
    ],
)
def test_a_place_that_disagrees_is_found(text, agrees):
    assert (disagreeing(text, "https://github.com/me/course") == []) is agrees


@pytest.fixture
def clone(checkout):
    checkout.write("_config.yml", "repository:\n  url: https://github.com/me/course\n")
    checkout.write("README.md", "pip install git+https://github.com/me/course, or me/course-2\n")
    checkout.write(
        "chapters/à.ipynb", '["https://github.com/me/course.git", "gh/me/course/main"]\n'
    )
    checkout.write("results.csv", "me/course\n")
    checkout.write("left.md", "https://github.com/me/course\n")
    for command in ("init -q", "add _config.yml README.md chapters results.csv"):
        subprocess.run(["git", *command.split()], cwd=checkout.root, check=True)
    return checkout


def contents(clone):
    names = ("_config.yml", "README.md", "chapters/à.ipynb", "results.csv", "left.md")
    return [(clone.root / name).read_text(encoding="utf-8") for name in names]


def test_setting_it_changes_every_text_that_git_knows(clone):
    code, said = clone.run("tools/address.py", "https://git.example/you/fork/")
    assert code == 0
    assert "3 files now name https://git.example/you/fork\n" in said
    assert contents(clone) == [
        "repository:\n  url: https://git.example/you/fork\n",
        "pip install git+https://git.example/you/fork, or me/course-2\n",
        '["https://git.example/you/fork.git", "gh/you/fork/main"]\n',
        "me/course\n",
        "https://github.com/me/course\n",
    ]


@pytest.mark.parametrize(
    ("address", "answer"),
    [
        ("", "The address is https://github.com/me/course\n"),
        ("github.com/you/fork", "is not a repository's address; expected https://"),
        ("https://github.com/you", "is not a repository's address; expected https://"),
    ],
)
def test_without_an_address_it_says_the_one_that_is(clone, address, answer):
    before = contents(clone)
    code, said = clone.run("tools/address.py", address)
    assert code == 1
    assert answer in said
    assert contents(clone) == before


def test_outside_of_a_clone_it_says_so(checkout):
    checkout.write("_config.yml", "repository:\n  url: https://github.com/me/course\n")
    code, said = checkout.run("tools/address.py", "https://github.com/you/fork")
    assert code == 1
    assert "run it in a clone" in said
    assert "Traceback" not in said
