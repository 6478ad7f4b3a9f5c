"""A source notebook as a text that is pleasant to write and to compare, and back.

# %% [markdown]
# Text of a markdown cell.
# %%
code = "of an ordinary cell"
# %% solution forward
def forward(x):
    ### BEGIN SOLUTION
    ...
    ### END SOLUTION
# %% check forward-values 3
checks.forward(forward)
### BEGIN HIDDEN TESTS
hidden.forward(forward)
### END HIDDEN TESTS
# %% [markdown] answer why 6
# ### BEGIN SOLUTION ... the model answer ... ### END SOLUTION
"""

import re

from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

HEAD = re.compile(
    r"^# %%(?: (?P<markdown>\[markdown\]))?(?: (?P<role>solution|check|answer) (?P<id>[\w-]+))?(?: (?P<points>[\d.]+))?\s*$"
)
KERNEL = {"name": "python3", "display_name": "Python 3", "language": "python"}


def to_notebook(text):
    """Make the source notebook from its text.

    Raises:
        ValueError: a line begins with `# %%` and is not one of the heads above
    """
    cells, lines = [], []
    head = None
    for line in [*text.splitlines(), "# %%"]:
        if line.startswith("# %%"):
            found = HEAD.match(line)
            if not found:
                raise ValueError(f"not the head of a cell: {line}")
            if head is not None:
                cells.append(_cell(head, lines, len(cells)))
            head, lines = found, []
        else:
            lines.append(line)
    metadata = {"kernelspec": KERNEL, "language_info": {"name": "python"}}
    return new_notebook(cells=cells, metadata=metadata)


def _cell(head, lines, number):
    role, name = head["role"], head["id"] or f"cell-{number}"
    if head["markdown"]:
        lines = [re.sub(r"^# ?", "", line) for line in lines]
    source = "\n".join(lines).strip("\n")
    cell = (new_markdown_cell if head["markdown"] else new_code_cell)(source, id=name)
    if role:
        told = {"schema_version": 3, "grade_id": name, "task": False}
        told |= {
            "solution": role != "check",
            "grade": role != "solution",
            "locked": role == "check",
        }
        if role != "solution":
            told["points"] = float(head["points"])
        cell.metadata["nbgrader"] = told
    return cell


def to_text(notebook):
    """The text of a source notebook; `to_notebook` makes the same notebook from it."""
    blocks = []
    for cell in notebook.cells:
        told = cell.metadata.get("nbgrader", {})
        head = "# %%" + (" [markdown]" if cell.cell_type == "markdown" else "")
        if told:
            role = ("answer" if told["grade"] else "solution") if told["solution"] else "check"
            head += f" {role} {told['grade_id']}"
            head += f" {told['points']:g}" if told["grade"] else ""
        source = cell.source
        if cell.cell_type == "markdown":
            source = "\n".join(("# " + line).rstrip() for line in source.split("\n"))
        blocks.append(f"{head}\n{source}\n")
    return "\n".join(blocks)
