"""Make the practice version of every page: `practice/`, from the chapters' own cells.

Solutions become stubs, outputs are cleared, and what a prediction seals is folded one cell at a time,
for Jupyter has no fold over several. Checks stay. nbgrader and nbconvert do the clearing; Colab, Binder
and the site's download open these notebooks. `--copy` puts what is missing into `my/`, where readers
work: it never touches what is there.
"""

import argparse
import hashlib
import re
import shutil
import sys
from pathlib import Path

import nbformat
from nbconvert.preprocessors import ClearOutputPreprocessor
from nbgrader.preprocessors import ClearSolutions

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS, PRACTICE, MY = ROOT / "chapters", ROOT / "practice", ROOT / "my"
STUB = (
    'raise NotImplementedError("This part is yours: write it, run the cell, then the check below.")'
)
BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"
OPENED = '<details class="fold sealed"><summary>[^\n]+</summary>'
CLOSED = "</details><!-- sealed -->"
FOLD = '<details class="fold"><summary>{}</summary>\n\n{}\n\n</details>'
TOLD = """\
> **Practice version.** The outputs are cleared, and where the page has a solution there is a stub: write it, run the cell, then the check below. Write each prediction down before you run the cells below it, so no *Run All*. The solutions are in [the page itself](../chapters/{name})."""
CAPTION = "*The figure: {}*"
ELSEWHERE = (
    r'verdict_table\("[\w.]+"\)'  # what other pages have found; here their outputs are cleared
)
STOP = r"^```\{admonition\} (.+)\n((?:.*\n)+?)```$"
CLEAR = ClearSolutions(
    code_stub={"python": STUB},
    begin_solution_delimeter=BEGIN,
    end_solution_delimeter=END,
    enforce_metadata=False,
)
HIDDEN = {"hide-input", "hide-output", "hide-cell"}


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only say which are out of step")
    parser.add_argument("--copy", action="store_true", help="copy what my/ lacks into my/")
    options = parser.parse_args(arguments)
    if options.copy:
        copy()
        return
    old = out_of_step()
    if options.check and old:
        sys.exit(f"Out of step: {', '.join(old)}. Run `make practice`.")
    worked = [n for n in old if (PRACTICE / n).exists() and not is_ours(PRACTICE / n)]
    if worked:
        sys.exit(
            f"Somebody has worked in practice/{worked[0]}: move it to my/, where `make lab` opens it, "
            "or delete it. Nothing was changed."
        )
    PRACTICE.mkdir(exist_ok=True)
    for name in old:
        write(PRACTICE / name)
        print(f"practice/{name}")
    if not old:
        print("The practice versions are in step with the chapters.")


def copy():
    MY.mkdir(exist_ok=True)
    for path in sorted(PRACTICE.glob("*.ipynb")):
        if not (MY / path.name).exists():
            shutil.copyfile(path, MY / path.name)
            print(f"my/{path.name}")
    print(
        "Work in my/: it is yours, and nothing here overwrites it. Delete a file to start it again."
    )


def is_ours(path):
    """Tell whether a practice version is as it was made: then it may be made anew or removed."""
    notebook = nbformat.read(path, as_version=4)
    return notebook.metadata.pop("made", None) == fingerprint(notebook)


def fingerprint(notebook):
    return hashlib.sha256(nbformat.writes(notebook).encode()).hexdigest()[:16]


def out_of_step():
    """Names of the practice notebooks that are missing, old, or left over."""
    wanted = {path.name: text_of(path) for path in CHAPTERS.glob("*.ipynb")}
    found = {path.name: path.read_text("utf-8") for path in PRACTICE.glob("*.ipynb")}
    return [name for name in sorted({*wanted, *found}) if wanted.get(name) != found.get(name)]


def write(path):
    source = CHAPTERS / path.name
    if source.exists():
        path.write_text(text_of(source), "utf-8")
    else:
        path.unlink()


def text_of(path):
    notebook = practice(nbformat.read(path, as_version=4))
    told = nbformat.v4.new_markdown_cell(TOLD.format(name=path.name), id="practice")
    notebook.cells.insert(1, told)
    notebook.metadata["made"] = fingerprint(notebook)
    return nbformat.writes(notebook) + "\n"


def practice(notebook):
    """Clear outputs and solutions, and fold in each cell by itself what a prediction seals."""
    for preprocessor in (ClearOutputPreprocessor(), CLEAR):
        notebook, _ = preprocessor.preprocess(notebook, {})
    sealed, cells = "", []
    for cell in notebook.cells:
        cells.append(cell)
        cell.metadata.pop("nbgrader", None)
        figure = cell.metadata.pop("mystnb", {}).get("figure", {})  # the text for the blind tells
        if cell.cell_type == "markdown":
            text = re.sub(STOP, quoted, cell.source, flags=re.M)
            cell.source, sealed = fold_alone(text, sealed)
        else:
            cell.source = re.sub(
                ELSEWHERE, "verdict_table()  # the others: on the site", cell.source
            )
        hidden = sealed or HIDDEN & {*cell.metadata.get("tags", [])}
        if cell.cell_type == "code" and hidden:
            cell.metadata["jupyter"] = {"source_hidden": True}
            cell.metadata["cellView"] = "form"  # the same on Colab
        if caption := CAPTION.format(figure["caption"]) if figure else "":
            told = FOLD.format("What the figure shows", caption) if sealed else caption
            cells.append(nbformat.v4.new_markdown_cell(told, id=f"{cell.id}-caption"))
    notebook.cells = cells
    notebook.metadata.pop("norms", None)
    return notebook


def stubbed(source):
    """The code of a cell with its solutions replaced by stubs."""
    cell = nbformat.v4.new_code_cell(source)
    return CLEAR.preprocess_cell(cell, {"language": "python"}, 0)[0].source


def quoted(found):
    """An admonition as a quotation, which Jupyter shows with its title."""
    lines = [f"**{found[1].rstrip('.')}.** {found[2].strip()}"]
    return "\n".join(f"> {line}" for line in "\n".join(lines).split("\n"))


def fold_alone(source, sealed):
    """Let a fold that spans several cells end with each; return its summary while it is open."""
    parts = []
    for part in re.split(f"({OPENED}|{CLOSED})", source):
        if re.fullmatch(OPENED, part):
            sealed = part.partition("<summary>")[2].removesuffix("</summary>")
        elif re.fullmatch(CLOSED, part):
            sealed = ""
        elif part.strip():
            parts.append(FOLD.format(sealed, part.strip()) if sealed else part.strip())
    return "\n\n".join(parts), sealed


if __name__ == "__main__":
    main()
