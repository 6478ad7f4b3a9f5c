"""What every page needs and no setting offers."""

from pathlib import Path


def add_vendored(app):
    # Not in `_static`: Jupyter Book would load every style sheet in there on every page.
    app.config.html_static_path.append(str(Path(app.srcdir, "site", "vendor")))


def drop_thebe(app, pagename, templatename, context, doctree):
    # Jupyter Book always loads Thebe, twice, which is an error in the console and an address on a CDN.
    for kind in ("script_files", "css_files"):
        context[kind] = [file for file in context.get(kind, []) if not _is_thebe(file)]


def _is_thebe(file) -> bool:
    body = getattr(file, "attributes", {}).get("body") or ""
    return "thebe" in f"{getattr(file, 'filename', '')}{body}".lower()


def setup(app):
    app.connect("builder-inited", add_vendored)
    app.connect("html-page-context", drop_thebe, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
