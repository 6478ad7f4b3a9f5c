"""`{pages}`: the pages with the times that each of them tells, read from the notebooks at build time."""

import json
import re
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

# tests/chapter_checks.py compares what it says with the page.
LINE = re.compile(
    r"^\*\*Time\.\*\* Read (?P<read>\d+) minutes, do (?P<do>\d+), "
    r"run (?P<run>half a minute|1 minute|[\d.]+ minutes)\."
    r"(?: The exercises take (?P<exercises>\d+) more\.)?"
    r"(?: Sections 1 to 5 stand on their own: read (?P<part_read>\d+), do (?P<part_do>\d+)\.)?$",
    re.M,
)


def told(path):
    """Return the title of a page and the times of its line."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    text = "".join(cells[0]["source"])
    line = LINE.search(text)
    if line is None:
        raise ValueError(f"{path.name} does not tell its times in its first cell")
    return text.partition("\n")[0].removeprefix("# "), line.groupdict(default="")


class Pages(SphinxDirective):
    """A table of pages, times in minutes; *more* are the exercises.

    The content says what each gives: `02_batch_norm: derived, built, broken`.
    """

    has_content = True

    def run(self):
        lines = [
            "| page | what it gives | read | do | run | more |",
            "|---|---|---|---|---|---|",
        ]
        for line in self.content:
            name, _, gives = line.partition(":")
            path = Path(self.env.srcdir, "chapters", f"{name.strip()}.ipynb")
            self.env.note_dependency(str(path))
            title, times = told(path)
            run = times["run"].replace("half a", "½").split()[0]
            lines.append(
                f"| [{title}](/chapters/{path.name}) | {gives.strip()} | {times['read']} "
                f"| {times['do']} | {run} | {times['exercises']} |"
            )
        parent = nodes.Element()
        self.state.nested_parse(StringList(lines, source="pages"), 0, parent)
        return parent.children


def setup(app):
    app.add_directive("pages", Pages)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
