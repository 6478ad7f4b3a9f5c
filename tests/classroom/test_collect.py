"""`collect` and `preprocessors.mend`: whatever is handed in becomes clean notebooks or lines of a report."""

import copy
import json
import zipfile

import hostile
import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from classroom import collect, content, preprocessors

MARK = {"grade_id": "forward", "grade": True, "points": 3, "locked": True, "solution": False}


@pytest.fixture
def notebook():
    cell = new_code_cell("checks.f(f)", id="c")
    cell.metadata["nbgrader"] = dict(MARK)
    metadata = {"kernelspec": {"name": "python3", "display_name": "Python 3"}}
    return new_notebook(cells=[new_markdown_cell("text"), cell], metadata=metadata)


def put(path, notebook):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(nbformat.writes(notebook), encoding="utf-8")


def test_the_three_forms_of_a_folder(tmp_path, notebook):
    put(tmp_path / "ann" / "hw.ipynb", notebook)
    put(tmp_path / "bo b_hw.ipynb", notebook)
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("cy/hw.ipynb", nbformat.writes(notebook))
        archive.writestr("dee/hw.ipynb", nbformat.writes(notebook))
    with zipfile.ZipFile(tmp_path / "eve_hw.zip", "w") as archive:
        archive.writestr("hw.ipynb", nbformat.writes(notebook))
    found, nobody = collect.collect(tmp_path, "hw", {"forward"})
    assert [h.student for h in found] == ["ann", "bo b", "cy", "dee", "eve"]
    assert all(h.notebook for h in found)
    assert not nobody


@pytest.mark.parametrize(
    "name", ["Zoë Müller", "李雷", "o'neill", "a/b", "x*[?]", "..", "  spaced . "], ids=repr
)
def test_a_students_name_is_a_safe_folder(name):
    if name == "..":
        with pytest.raises(collect.Odd):
            collect.student_id(name)
        return
    kept = collect.student_id(name)
    assert not set(kept) & set("/\\*?[]'\"")
    assert kept == kept.strip(" .")
    assert collect.student_id(kept) == kept


@pytest.mark.parametrize(
    "text",
    ["", "{", "[]", "3", '{"cells": 3}', "[" * 10**5, '{"cells": {}}', "\x00"],
    ids=lambda t: repr(t[:9]),
)
def test_what_is_no_notebook_is_said_to_be_none(text):
    with pytest.raises(collect.Odd, match="not a notebook"):
        collect.rebuilt(text, [])


def test_rubbish_in_a_notebook_does_no_harm():
    cells = [
        3,
        {"cell_type": "code"},
        {"cell_type": "code", "source": 3, "metadata": []},
        {"cell_type": "markdown", "source": ["a", 3, "b"], "metadata": {"nbgrader": "no"}},
        {"cell_type": "evil", "source": "x"},
        {"cell_type": "code", "source": "\ud800", "metadata": {"nbgrader": {"grade_id": 3}}},
        {"cell_type": "code", "source": "1", "outputs": 7, "metadata": {"nbgrader": MARK}},
    ]
    odd = []
    made = collect.rebuilt(json.dumps({"cells": cells, "metadata": 3}), odd)
    assert [c.cell_type for c in made.cells] == ["code", "code", "markdown", "code", "code"]
    assert made.cells[2].source == "ab"
    assert made.cells[-1].metadata == {"nbgrader": {"grade_id": "forward"}}
    nbformat.validate(made)
    assert odd == ["its kernel is 'None': run with the course's"]


def test_the_last_that_can_be_read_counts(tmp_path, notebook):
    import os

    for k, name in enumerate(("ann_hw.ipynb", "ann/hw.ipynb")):
        put(tmp_path / name, notebook)
        os.utime(tmp_path / name, (1000 + k, 1000 + k))
    (tmp_path / "ann-hw.ipynb").write_text("torn")
    (one,), _ = collect.collect(tmp_path, "hw", {"forward"})
    assert one.source == "ann/hw.ipynb"
    assert "also handed in, not graded: ann_hw.ipynb" in one.odd
    assert "not a notebook (it is not JSON)" in one.odd


@pytest.fixture
def made(released, tmp_path):
    return hostile.Class(tmp_path / "handed in", released)


def marks(notebook):
    return [hostile.c_id(c) for c in notebook.cells if hostile.c_id(c)]


def test_a_right_submission_is_left_alone(made):
    notebook = made.solved()
    before = copy.deepcopy(notebook)
    assert preprocessors.mend(notebook, made.released) == []
    assert notebook == before


def test_each_check_comes_back_to_its_place(made):
    for k, name in enumerate(made.checks):
        notebook = made.solved()
        notebook.cells = [c for c in notebook.cells if hostile.c_id(c) != name]
        assert preprocessors.mend(notebook, made.released) == [f"cell {name} was gone: put back"]
        assert marks(notebook) == marks(made.released), k
    empty = new_notebook()
    preprocessors.mend(empty, made.released)
    assert marks(empty) == marks(made.released)


def test_marks_are_those_handed_out_whatever_a_student_made_of_them(made):
    notebook = made.solved()
    for cell in notebook.cells:
        if hostile.c_id(cell):
            cell.metadata.nbgrader |= {"points": 1000, "solution": True, "grade": True}
    notebook.cells.append(new_code_cell("x"))
    notebook.cells[-1].metadata["nbgrader"] = {"grade_id": "mine", "points": 99, "grade": True}
    preprocessors.mend(notebook, made.released)
    assert content.parts(notebook) == content.parts(made.released)
