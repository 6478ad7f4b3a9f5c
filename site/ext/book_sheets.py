"""`{sheets}`: the index sets of the seven norms, drawn in the page itself.

One flat sheet for all norms: 4 samples by 6 channels, each cell a map of 3 by 3. What shares statistics is tinted
in the norm's colour, and the same element is outlined every time. For the two norms of the weights, the sheet is W.
"""

import runpy
from dataclasses import dataclass
from pathlib import Path

from book_times import told
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.util.docutils import SphinxDirective

ROWS, COLUMNS, MAP = 4, 6, 3
PIXEL, STEP = 6, 21  # one element; from one map to the next
ROW, COLUMN, CENTRE = 1, 2, 1  # the outlined element, in the row's and column's map
REST, INK = "#E9E7E1", "#222832"


# The package cannot be imported here: the site is built without torch.
SOURCE = Path(__file__).parents[2] / "src" / "norms" / "names.py"
READ = runpy.run_path(SOURCE)


@dataclass(frozen=True)
class Norm:
    key: str  # in norms.names

    @property
    def title(self):
        return READ["NAMES"][self.key]["title"]

    @property
    def word(self):
        """The module's name, and the chapter's."""
        return self.title.lower().replace(" ", "_")

    @property
    def colour(self):
        return READ["NAMES"][self.key]["color"]

    @property
    def sheet(self):
        return READ["SHEETS"][self.key]

    def shares(self, row, column):
        """Tell whether a place shares statistics with the outlined element."""
        places = ((row, ROW, self.sheet["rows"]), (column, COLUMN, self.sheet["columns"]))
        return all(
            place == own if how == "one" else how == "all" or place < how
            for place, own, how in places
        )


NORMS = tuple(Norm(key) for key in READ["SHEETS"])


def drawing(norm: Norm) -> str:
    """Return the sheet as SVG. Every length is a whole number, so the edges stay sharp."""
    parts = []
    for row in range(ROWS):
        for column in range(COLUMNS):
            paint = (
                f'fill="{norm.colour}" fill-opacity=".35"'
                if norm.shares(row, column)
                else f'fill="{REST}"'
            )
            x, y = column * STEP, row * STEP
            path = "".join(
                f"M{x + j * PIXEL} {y + i * PIXEL}h{PIXEL - 1}v{PIXEL - 1}h-{PIXEL - 1}z"
                for i in range(MAP)
                for j in range(MAP)
            )
            parts.append(f'<path d="{path}" {paint}/>')
    x, y = COLUMN * STEP + CENTRE * PIXEL, ROW * STEP + CENTRE * PIXEL
    parts.append(
        f'<rect x="{x - 0.5}" y="{y - 0.5}" width="{PIXEL}" height="{PIXEL}" fill="none" stroke="{INK}" stroke-width="1.5"/>'
    )
    parts.extend(strip(norm))
    width, height = COLUMNS * STEP + 11, ROWS * STEP + 11
    what, over = norm.sheet.get("of", "activations"), norm.sheet["over"]
    name = f"{norm.title}: on a sheet of {what}, what shares statistics is {over}."
    return f'<svg viewBox="-1 -1 {width} {height}" role="img" aria-label="{name}">{"".join(parts)}</svg>'


def strip(norm: Norm):
    """Yield the parameters' cells, beside the axis along which they are learned."""
    side = MAP * PIXEL - 1
    count = {"columns": COLUMNS, "rows": ROWS}.get(norm.sheet["parameters"], 0)
    for k in range(count):
        mine = k == (COLUMN if norm.sheet["parameters"] == "columns" else ROW)
        paint = f'fill="{norm.colour}"' if mine else f'fill="{REST}"'
        x, y, w, h = (
            (k * STEP, ROWS * STEP + 2, side, 5)
            if norm.sheet["parameters"] == "columns"
            else (COLUMNS * STEP + 2, k * STEP, 5, side)
        )
        yield f'<rect x="{x}" y="{y}" width="{w}" height="{h}" {paint}/>'


class Sheets(SphinxDirective):
    """Seven cards. A card links to its chapter and tells its times; until then it says "To come"."""

    def run(self) -> list[nodes.Node]:
        self.env.note_dependency(str(SOURCE))
        chapters = {name.split("_", 1)[1]: name for name in self.chapters()}
        box = nodes.container(classes=["sheets"])
        for norm in NORMS:
            box += self.card(norm, chapters.get(norm.word))
        return [box]

    def chapters(self) -> list[str]:
        docs = (
            name.removeprefix("chapters/")
            for name in self.env.found_docs
            if name.startswith("chapters/")
        )
        return [name for name in docs if "_" in name]

    def times(self, chapter: str) -> str:
        path = Path(self.env.srcdir, "chapters", f"{chapter}.ipynb")
        self.env.note_dependency(str(path))
        _, times = told(path)
        return f"Read {times['read']} minutes, do {times['do']}, run {times['run']}."

    def card(self, norm: Norm, chapter: str | None) -> nodes.Node:
        card = nodes.container(classes=["sheet", "written" if chapter else "to-come"])
        card += nodes.raw("", drawing(norm), format="html")
        name = nodes.paragraph(classes=["sheet-name"])
        if chapter:
            where = {
                "refdomain": "std",
                "reftype": "doc",
                "reftarget": f"/chapters/{chapter}",
                "refexplicit": True,
            }
            name += pending_xref(
                "", nodes.inline("", norm.title), refdoc=self.env.docname, refwarn=True, **where
            )
        else:
            name += nodes.Text(norm.title)
        card += name
        over = norm.sheet["over"]
        card += nodes.paragraph("", over[0].upper() + over[1:] + ".", classes=["sheet-over"])
        known = self.times(chapter) if chapter else "To come."
        card += nodes.paragraph("", known, classes=["sheet-known"])
        return card


def setup(app):
    app.add_directive("sheets", Sheets)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
