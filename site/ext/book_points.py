"""`{points}`: what each fault and cheat lost when the grader was last tried, from its stored tables."""

import json
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective


class Points(SphinxDirective):
    """A fold for each assignment: solution, empty answer, faults and cheats, and the points of each."""

    def run(self):
        lines = []
        for path in sorted(Path(self.env.srcdir, "assignments", "faults").glob("*.json")):
            self.env.note_dependency(str(path))
            lines += table(path.stem, json.loads(path.read_text(encoding="utf-8"))["rows"])
        parent = nodes.Element()
        self.state.nested_parse(StringList(lines, source="points"), 0, parent)
        return parent.children


def table(name, rows):
    """The lines of one fold."""
    kinds = [row["kind"] for row in rows]
    title = f"{name}: {kinds.count('fault')} faults, {kinds.count('cheat')} cheats"
    lines = [f"```{{dropdown}} {title}", "| what was handed in | points | loses |", "|---|---|---|"]
    for row in rows:
        lost = ", ".join(row["loses"]) or "nothing"
        lost = "everything" if row["got"] == 0 else lost
        what = f"{row['kind']}: {row['name']}".replace("|", "\\|")
        lines.append(f"| {what} | {row['got']:g} of {row['of']:g} | {lost} |")
    return [*lines, "```", ""]


def setup(app):
    app.add_directive("points", Points)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
