"""`{assignments}`: what a student takes home. A row for each assignment, with its zip and its Colab button.

The zips are made with the site, from `assignments/release` and the files that lie beside each notebook.
"""

import re
import zipfile
from pathlib import Path

from docutils import nodes
from docutils.statemachine import StringList
from sphinx.util.docutils import SphinxDirective

EPOCH = (2026, 1, 1, 0, 0, 0)  # of the files in a zip, so that the same content is the same file
FOLDER = "assignments"  # on the site
HEAD = re.compile(r"\*\*Time:\*\* (\d+) minutes[^*]*\*\*Points:\*\* (\d+)")


class Assignments(SphinxDirective):
    """A line of the content is `NAME: what is built, what it follows`, in Markdown."""

    has_content = True

    def run(self):
        launch = self.config.html_theme_options["launch_buttons"]["colab_url"]
        slug = "/".join(self.config.html_theme_options["repository_url"].split("/")[-2:])
        up = "../" * self.env.docname.count("/")  # the zips are on the site alone
        lines = ["| assignment | minutes | points |", "|---|---|---|"]
        for line in self.content:
            name, _, told = line.partition(": ")
            path = Path(self.env.srcdir, "assignments", "release", f"{name}.ipynb")
            self.env.note_dependency(str(path))
            minutes, points = HEAD.search(path.read_text(encoding="utf-8")).groups()
            colab = f"{launch}/github/{slug}/blob/main/assignments/release/{name}.ipynb"
            zipped = f'<a href="{up}{FOLDER}/{name}.zip" download>{name}.zip</a>'
            take = f"{zipped}, [open in Colab]({colab})"
            lines.append(f"| {told}.<br>{take} | {minutes} | {points} |")
        parent = nodes.Element()
        self.state.nested_parse(StringList(lines, source="assignments"), 0, parent)
        return parent.children


def zip_all(app, exception):
    if exception is None:
        root = Path(app.srcdir)
        target = Path(app.outdir, FOLDER)
        target.mkdir(exist_ok=True)
        for notebook in sorted((root / "assignments" / "release").glob("*.ipynb")):
            zip_one(root, notebook, target / f"{notebook.stem}.zip")


def zip_one(root, notebook, target):
    """A folder with the notebook, its checks and its data, as `python -m classroom release` makes it."""
    beside = (root / "assignments" / "source" / notebook.stem).iterdir()
    files = [notebook, *(p for p in beside if p.is_file() and p.suffix != ".ipynb")]
    files += (root / "classroom" / "handed_out").glob("*.py")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted(files, key=lambda p: p.name):
            entry = zipfile.ZipInfo(f"{notebook.stem}/{file.name}", EPOCH)
            archive.writestr(entry, file.read_bytes(), zipfile.ZIP_DEFLATED)


def setup(app):
    app.add_directive("assignments", Assignments)
    app.connect("build-finished", zip_all)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
