"""The practice versions: made from the chapters, in step with them, and without a solution."""

import json

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

import practice

SEALED = '<details class="fold sealed"><summary>Show</summary>'
PAGE = [
    new_markdown_cell("# Title", id="a"),
    new_markdown_cell(f"**Predict.** How much?\n\n{SEALED}", id="b"),
    new_code_cell(
        "say('4.2')",
        outputs=[new_output("stream", text="4.2")],
        id="c",
        metadata={
            "mystnb": {"figure": {"caption": "A rise."}, "image": {"alt": "It rises to 4.2."}}
        },
    ),
    new_markdown_cell("It is 4.2.", id="d"),
    new_markdown_cell("So much.\n\n</details><!-- sealed -->\n\nGo on.", id="e"),
    new_code_cell(
        "def f(x):\n    ### BEGIN SOLUTION\n    return 2 * x\n    ### END SOLUTION",
        id="f",
        execution_count=2,
    ),
    new_code_cell("assert f(1) == 2", id="g"),
    new_markdown_cell("```{admonition} You can stop here\nYou know it.\nGo.\n```", id="i"),
    new_code_cell("say('Two.')", id="h", metadata={"tags": ["hide-input"]}),
]


@pytest.fixture
def folders(tmp_path, monkeypatch):
    chapters, made = tmp_path / "chapters", tmp_path / "practice"
    chapters.mkdir()
    nbformat.write(new_notebook(cells=PAGE), chapters / "page.ipynb")
    monkeypatch.setattr(practice, "CHAPTERS", chapters)
    monkeypatch.setattr(practice, "PRACTICE", made)
    monkeypatch.setattr(practice, "MY", tmp_path / "my")
    return chapters, made


def cells(folder):
    notebook = nbformat.read(folder / "page.ipynb", as_version=4)
    return {cell.id: cell for cell in notebook.cells}


def test_every_practice_version_is_in_step():
    assert practice.out_of_step() == [], "run `make practice`"


def test_a_solution_becomes_a_stub_and_its_check_stays(folders):
    practice.main([])
    made = cells(folders[1])
    assert made["f"].source == f"def f(x):\n    {practice.STUB}"
    assert made["g"].source == "assert f(1) == 2"
    with pytest.raises(NotImplementedError, match="yours"):
        exec(f"{made['f'].source}\n{made['g'].source}", {})


def test_nothing_tells_the_answer_before_it_is_opened(folders):
    practice.main([])
    made = cells(folders[1])
    assert not any(cell.get("outputs") or cell.get("execution_count") for cell in made.values())
    assert made["b"].source == "**Predict.** How much?"
    fold = '<details class="fold"><summary>Show</summary>\n\n{}\n\n</details>'
    assert made["d"].source == fold.format("It is 4.2.")
    assert made["e"].source == fold.format("So much.") + "\n\nGo on."
    for hidden in "ch":
        assert made[hidden].metadata["jupyter"] == {"source_hidden": True}
        assert made[hidden].metadata["cellView"] == "form"
    assert "jupyter" not in made["g"].metadata


def test_a_cell_may_close_one_fold_and_open_the_next():
    text, sealed = practice.fold_alone(f"So.\n\n{practice.CLOSED}\n\nAsk.\n\n{SEALED}", "First")
    assert text == practice.FOLD.format("First", "So.") + "\n\nAsk."
    assert sealed == "Show"


def test_it_reads_well_in_jupyter(folders):
    practice.main([])
    made = cells(folders[1])
    assert made["i"].source == "> **You can stop here.** You know it.\n> Go."
    assert "*The figure: A rise.*" in made["c-caption"].source
    assert made["c-caption"].source.startswith("<details")  # it may tell what is to be predicted
    assert "mystnb" not in made["c"].metadata


def test_what_somebody_has_written_is_never_lost(folders, capsys):
    chapters, _ = folders
    practice.main([])
    practice.main(["--copy"])
    mine = chapters.parent / "my" / "page.ipynb"
    mine.write_text("mine", "utf-8")
    practice.main(["--copy"])
    assert mine.read_text("utf-8") == "mine"


@pytest.mark.parametrize("name", ["page.ipynb", "own.ipynb"])
def test_a_practice_version_that_somebody_has_changed_stays(folders, name):
    """Cells were written and never run, or the notebook is the reader's own."""
    _, made = folders
    practice.main([])
    notebook = nbformat.read(made / "page.ipynb", as_version=4)
    next(c for c in notebook.cells if c.id == "f").update(source="def f(x):\n    return x + x")
    nbformat.write(notebook, made / name)
    before = (made / name).read_text("utf-8")
    with pytest.raises(SystemExit, match="move it to my/"):
        practice.main([])
    assert (made / name).read_text("utf-8") == before


def test_it_says_that_it_is_one_and_where_the_solutions_are(folders):
    practice.main([])
    assert "(../chapters/page.ipynb)" in cells(folders[1])["practice"].source


@pytest.mark.parametrize("how", ["changed", "missing", "left over"])
def test_what_is_out_of_step_is_named_and_made_anew(folders, how, capsys):
    chapters, made = folders
    practice.main([])
    if how == "changed":
        text = json.loads((chapters / "page.ipynb").read_text("utf-8"))
        text["cells"][0]["source"] = "# Another title"
        (chapters / "page.ipynb").write_text(json.dumps(text), "utf-8")
    elif how == "missing":
        (made / "page.ipynb").unlink()
    else:
        (chapters / "page.ipynb").rename(chapters / "other.ipynb")
    with pytest.raises(SystemExit, match=r"page\.ipynb.*make practice"):
        practice.main(["--check"])
    practice.main([])
    assert {p.name for p in made.iterdir()} == {p.name for p in chapters.iterdir()}
    capsys.readouterr()
    practice.main(["--check"])
    assert "in step" in capsys.readouterr().out
