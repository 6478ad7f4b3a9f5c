"""What every page needs and no setting offers: icons without a script, sound HTML, a front page."""

import re
import shutil
from pathlib import Path
from urllib.parse import quote

from sphinx_design.icons import get_octicon_data

# The theme names its icons after Font Awesome and draws them with 1.5 MB of script. The few that it uses are
# drawn here by a style sheet, from the Octicons that sphinx-design brings along.
ICONS = {
    "angle-left": "chevron-left",
    "angle-right": "chevron-right",
    "arrow-up": "arrow-up",
    "bars": "three-bars",
    "chevron-down": "chevron-down",
    "circle-half-stroke": "circle",
    "code": "code",
    "download": "download",
    "file": "file",
    "file-lines": "file",
    "file-pdf": "file",
    "github": "mark-github",
    "lightbulb": "light-bulb",
    "list": "list-unordered",
    "magnifying-glass": "search",
    "moon": "moon",
    "outdent": "sidebar-expand",
    "pencil": "pencil",
    "pencil-alt": "pencil",
    "rocket": "rocket",
    "sun": "sun",
    "xmark": "x",
}
MASK = """.fa-solid, .fas, .fab {
  display: inline-block; width: 1em; height: 1em; background: currentColor;
  -webkit-mask: var(--icon) center / contain no-repeat; mask: var(--icon) center / contain no-repeat;
}
@media (forced-colors: active) { .fa-solid, .fas, .fab { background: ButtonText; } }
"""


def icon_rules():
    data = get_octicon_data()
    for name, octicon in ICONS.items():
        height, drawn = max(data[octicon]["heights"].items(), key=lambda item: int(item[0]))
        path = re.sub(r'\s*fill="[^"]*"', "", drawn["path"])
        if name == "circle-half-stroke":
            path = f'{path}<path d="M12 2v20a10 10 0 0 0 0-20z"/>'
        svg = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {drawn["width"]} {height}">{path}</svg>'
        yield f'.fa-{name} {{ --icon: url("data:image/svg+xml,{quote(svg)}"); }}'


def draw_icons(app):
    static = Path(app.outdir, "_static")
    static.mkdir(parents=True, exist_ok=True)
    (static / "icons.css").write_text(MASK + "\n".join(icon_rules()) + "\n", encoding="utf-8")


def mend(app, pagename, templatename, context, doctree):
    """Small faults of the HTML that screen readers stumble over."""
    body = context.get("body", "")
    # An empty head cell names no column.
    body = re.sub(r"<th([^>]*)>((?:<p></p>|\s)*)</th>", r"<td\1>\2</td>", body)
    # docutils marks references with a role that has been withdrawn, in a list without items.
    context["body"] = re.sub(r' role="(?:doc-biblioentry|list)"(?=[^>]*>)', "", body)


def front_page(app, exception):
    # The page as it is: else `index.html` is a redirect, which has neither title nor language.
    if exception is None:
        out = Path(app.outdir)
        shutil.copyfile(out / f"{app.config.master_doc}.html", out / "index.html")


def setup(app):
    # Jupyter Book sets an option of sphinx_comments, which we do not load.
    app.add_config_value("comments_config", {}, "")
    app.connect("builder-inited", draw_icons)
    app.connect("html-page-context", mend)
    app.connect("build-finished", front_page)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
