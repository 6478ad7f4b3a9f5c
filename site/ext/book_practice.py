"""The buttons of a chapter open its practice version, in which the reader writes what the page shows.

`tools/practice.py` makes these notebooks from the chapters. The theme knows only the page's own path.
"""

import shutil
from pathlib import Path


def launch_practice(app, pagename, templatename, context, doctree):
    launch = app.config.html_theme_options["launch_buttons"]
    hosts = (launch["binderhub_url"], launch["colab_url"])
    for group in context.get("header_buttons", ()):
        for button in group.get("buttons", ()):
            if button.get("url", "").startswith(hosts):
                button["url"] = button["url"].replace("/chapters/", "/practice/")


def download_practice(app, exception):
    if exception is None:
        for notebook in Path(app.srcdir, "practice").glob("*.ipynb"):
            shutil.copyfile(notebook, Path(app.outdir, "_sources", "chapters", notebook.name))


def setup(app):
    app.connect("html-page-context", launch_practice, priority=502)  # behind the theme's own
    app.connect("build-finished", download_practice)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
