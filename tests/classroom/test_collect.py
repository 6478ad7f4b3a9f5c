"""`collect` and `preprocessors.mend`: whatever is handed in becomes clean notebooks or lines of a report."""

import copy
import json
import os
import re
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
    with zipfile.ZipFile(tmp_path / "eve_hw.zip", "w") as archive:
        archive.writestr("hw.ipynb", nbformat.writes(notebook))
    found, nobody = collect.collect(tmp_path, "hw", {"forward"})
    assert [h.student for h in found] == ["ann", "bo b", "eve"]
    assert all(h.notebook for h in found)
    assert not nobody


def test_the_zip_of_a_platform_holds_many_students_if_it_lies_alone(tmp_path, notebook):
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        archive.writestr("cy/hw.ipynb", nbformat.writes(notebook))
        archive.writestr("dee/hw.ipynb", nbformat.writes(notebook))
        archive.writestr("_hw.ipynb", nbformat.writes(notebook))  # of nobody
    found, _ = collect.collect(tmp_path, "hw", {"forward"})
    assert [h.student for h in found if h.notebook] == ["cy", "dee"]
    assert "no student's name" in found[0].odd[0]


def test_a_students_zip_does_not_speak_for_another(tmp_path, notebook):
    put(tmp_path / "dee" / "hw.ipynb", notebook)
    other = copy.deepcopy(notebook)
    other.cells[0].source = "not dee's"
    with zipfile.ZipFile(tmp_path / "mallory.zip", "w") as archive:
        archive.writestr("mallory/hw.ipynb", nbformat.writes(notebook))
        entry = zipfile.ZipInfo("dee/hw.ipynb", (2107, 1, 1, 0, 0, 0))
        archive.writestr(entry, nbformat.writes(other))
    found, _ = collect.collect(tmp_path, "hw", {"forward"})
    assert [h.student for h in found] == ["dee", "mallory"]
    assert found[0].notebook.cells[0].source == "text"
    assert found[0].odd == []


def test_two_names_that_become_one_are_two_people(tmp_path, notebook):
    put(tmp_path / "x?" / "hw.ipynb", notebook)
    put(tmp_path / "x*" / "hw.ipynb", notebook)
    put(tmp_path / "Jose\u0301" / "hw.ipynb", notebook)
    put(tmp_path / "José_hw.ipynb", notebook)
    found, _ = collect.collect(tmp_path, "hw", {"forward"})
    graded = {h.student: h.notebook is not None for h in found}
    assert graded == {"José": True, "x_": False}


def test_what_cannot_be_read_ends_nothing(tmp_path, notebook):
    """Torn zips, impossible dates and names, a link that leads to itself."""
    put(tmp_path / "ann" / "hw.ipynb", notebook)
    put(tmp_path / ("李" * 83) / "hw.ipynb", notebook)
    (tmp_path / "ann" / "loop").symlink_to(tmp_path / "ann" / "loop")
    (tmp_path / os.fsdecode(b"\xff.txt")).write_text("x")
    with zipfile.ZipFile(tmp_path / "bea.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("hw.ipynb", nbformat.writes(notebook))
    whole = (tmp_path / "bea.zip").read_bytes()
    (tmp_path / "cut.zip").write_bytes(whole[:60] + b"\xff" * 20 + whole[80:])
    (tmp_path / "month.zip").write_bytes(whole.replace(b"\x21\x00", b"\x00\x00"))
    found, nobody = collect.collect(tmp_path, "hw", {"forward"})
    graded = {h.student for h in found if h.notebook}
    assert {"ann", "bea"} <= graded
    assert len(graded) >= 3
    assert all(len(f"{h.student}.json.12345.new".encode()) < 255 for h in found)
    json.dumps([h.odd for h in found] + nobody).encode("utf-8")


def test_a_students_markdown_cannot_act():
    text = "<script>x()</script> <img src=x onerror=x()> [j](javascript:x()) [k]\n\n[k]: javascript:x()"
    shown = nbconvert_html(collect.harmless(text))
    assert not re.search(r"<(script|img|a)\b|href=", shown)
    assert collect.harmless("$a<b$, a <= b, x<3") == "$a< b$, a <= b, x<3"


def nbconvert_html(text):
    from nbconvert.filters.markdown import markdown2html

    return markdown2html(text)


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
