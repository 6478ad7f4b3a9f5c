"""The grader's tests run in its own environment: .venv-classroom, without `norms`."""

import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT), str(ROOT / "classroom" / "handed_out"), str(ROOT / "tools")]

from classroom import content, sandbox  # noqa: E402


@pytest.fixture(scope="session")
def box():
    """The sandbox that runs here. Where none does, these tests fail and name the cure."""
    return sandbox.find()


@pytest.fixture
def kernel(box):
    from classroom.remote import Kernel

    limits = sandbox.Limits(cell=8, call=4, total=60)
    with Kernel(box, [], limits, slot=1 + hash(box) % 3000) as made:
        yield made


@pytest.fixture
def ghost():
    """The assignment that the tests use."""
    return content.Assignment("batch_norm")


@pytest.fixture(scope="session")
def released(tmp_path_factory):
    """A course's folder with one assignment released."""
    from classroom.course import Course, release

    course = Course(tmp_path_factory.mktemp("a course") / "été")
    release(course, ["batch_norm"])
    return course
