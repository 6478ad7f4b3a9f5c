"""`{verdicts}`: the claims judged so far, read from the chapters' stored outputs when the site is built."""

import json
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

# As in norms.experiments.verdicts, which the site cannot import: it is built without torch.
MIME = "application/vnd.norms.evidence+json"


class Verdicts(SphinxDirective):
    """A table: claim, verdict, what was measured. A claim links to the page that tested it."""

    def run(self):
        chapters = Path(self.env.srcdir, "chapters")
        lines = ["| claim | verdict | measured |", "|---|---|---|"]
        for path in sorted(chapters.glob("*.ipynb")):
            page = f"chapters/{path.stem}"
            if page not in self.env.found_docs:
                continue
            self.env.note_dependency(str(path))
            lines += [self.row(entry, path.name) for entry in records(path)]
        parent = nodes.Element()
        self.state.nested_parse(StringList(lines, source="verdicts"), 0, parent)
        return parent.children

    def row(self, entry, name):
        stop = " " if entry["verdict"] == "holds if" else ". "
        condition = stop + entry["condition"] if entry["condition"] else ""
        effect, unit = entry["effect"], entry["unit"]
        if isinstance(effect, dict):
            effect = f"{effect['mean']:.3g} [{effect['low']:.3g}, {effect['high']:.3g}]"
        elif isinstance(effect, float):
            effect = f"{effect:.3g}"
        claim = f"[{entry['claim']}](/chapters/{name})"
        return f"| {claim} | **{entry['verdict']}**{condition} | {effect} {unit} |".replace(
            "\n", " "
        )


def records(path):
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        for output in cell.get("outputs", []):
            if MIME in output.get("data", {}):
                yield output["data"][MIME]


def setup(app):
    app.add_directive("verdicts", Verdicts)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
