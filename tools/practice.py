"""Make the practice version of every page: `practice/`, from the chapters' own cells.

Solutions become stubs, outputs are cleared, and what a prediction seals is folded one cell at a time,
for Jupyter has no fold over several. Checks stay. nbgrader and nbconvert do the clearing; Colab, Binder
and the site's download open these notebooks.
"""

import argparse
import sys
from pathlib import Path

import nbformat
from nbconvert.preprocessors import ClearOutputPreprocessor
from nbgrader.preprocessors import ClearSolutions
from traitlets.config import Config

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS, PRACTICE = ROOT / "chapters", ROOT / "practice"
STUB = (
    'raise NotImplementedError("This part is yours: write it, run the cell, then the check below.")'
)
OPENED, CLOSED = '<details class="fold sealed">', "</details>"
TOLD = """\
> **Practice version.** The outputs are cleared, and where the page has a solution there is a stub: write it, run the cell, then the check below. Predict before you open a fold. The solutions are in [the page itself](../chapters/{name})."""
HIDDEN = {"hide-input", "hide-output", "hide-cell"}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say which are out of step")
    check = parser.parse_args(arguments).check
    old = out_of_step()
    if check and old:
        sys.exit(f"Out of step: {', '.join(old)}. Run `make practice`.")
    PRACTICE.mkdir(exist_ok=True)
    for name in old:
        write(PRACTICE / name)
        print(f"practice/{name}")
    if not old:
        print("The practice versions are in step with the chapters.")


def out_of_step(chapters=CHAPTERS, practice=PRACTICE):
    """Names of the practice notebooks that are missing, old or no longer anyone's."""
    wanted = {path.name: text_of(path) for path in sorted(chapters.glob("*.ipynb"))}
    found = {path.name: path.read_text("utf-8") for path in practice.glob("*.ipynb")}
    return [name for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name)]


def write(path, chapters=CHAPTERS):
    source = chapters / path.name
    if source.exists():
        path.write_text(text_of(source), "utf-8")
    else:
        path.unlink()


def text_of(path):
    notebook = practice(nbformat.read(path, as_version=4))
    told = nbformat.v4.new_markdown_cell(TOLD.format(name=path.name), id="practice")
    notebook.cells.insert(1, told)
    return nbformat.writes(notebook) + "\n"


def practice(notebook):
    """Clear outputs and solutions, and fold in each cell by itself what a prediction seals."""
    config = Config()
    config.ClearSolutions.code_stub = {"python": STUB}
    config.ClearSolutions.enforce_metadata = False
    config.ClearSolutions.begin_solution_delimeter = "### BEGIN SOLUTION"
    config.ClearSolutions.end_solution_delimeter = "### END SOLUTION"
    for preprocessor in (ClearOutputPreprocessor(), ClearSolutions(config=config)):
        notebook, _ = preprocessor.preprocess(notebook, {})
    sealed = ""
    for cell in notebook.cells:
        cell.metadata.pop("nbgrader", None)
        if cell.cell_type == "markdown":
            cell.source, sealed = fold_alone(cell.source, sealed)
        elif sealed or HIDDEN & {*cell.metadata.get("tags", [])}:
            cell.metadata["jupyter"] = {"source_hidden": True}
            cell.metadata["cellView"] = "form"  # the same on Colab
    notebook.metadata.pop("norms", None)
    return notebook


def fold_alone(source, sealed):
    """Let a fold that spans several cells end with each; return its summary while it is open."""
    before, opening, after = source.partition(OPENED)
    if opening:
        summary = after.partition("</summary>")[0].removeprefix("<summary>")
        return before.rstrip(), summary
    if not sealed:
        return source, ""
    inside, closing, rest = source.partition(f"{CLOSED}<!-- sealed -->")
    if inside.strip():
        fold = (
            f'<details class="fold"><summary>{sealed}</summary>\n\n{inside.strip()}\n\n</details>'
        )
        inside = fold + "\n\n"
    return (inside + rest.strip()).rstrip(), "" if closing else sealed


if __name__ == "__main__":
    main()
