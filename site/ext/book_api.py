"""The API pages: one section a public module, found in the source, so a new norm needs no line here."""

from pathlib import Path

# The layers and their mathematics have a page of their own; what experiments need is long.
PAGES = {"site/pages/api": False, "site/pages/api_experiments": True}
MARK = "<!-- modules -->"


def package(app) -> Path:
    return Path(app.srcdir, "src", "norms")


def modules(app, experiments: bool) -> list[str]:
    """Name the public modules of a page, in the order `__init__`, then by path."""
    root = package(app)
    names = []
    for path in sorted(root.rglob("*.py"), key=lambda p: (len(p.parent.parts), p)):
        parts = path.relative_to(root.parent).with_suffix("").parts
        parts = parts[:-1] if parts[-1] == "__init__" else parts
        of_experiments = parts[1:2] in (("experiments",), ("plots",))
        if of_experiments == experiments and not any(part.startswith("_") for part in parts):
            names.append(".".join(parts))
    return names


def modules_keep_their_names(app):
    """Find a module under its name, though its package hands on a function that has the same."""
    found = app.env.autoapi_all_objects
    for name, module in app.env.autoapi_objects.items():
        found[name] = module
        if parent := found.get(name.rpartition(".")[0]):
            parent.children = [child for child in parent.children if child.id != name]


def section(app, name: str) -> str:
    # A package's own page text is its docstring: its names are documented in the module they come from.
    is_package = Path(package(app).parent, *name.split(".")).is_dir()
    members = "" if is_package else "   :members:\n"
    return f"## `{name}`\n\n```{{eval-rst}}\n.. autoapimodule:: {name}\n{members}```\n"


def fill(app, docname, source):
    if docname in PAGES:
        sections = [section(app, name) for name in modules(app, PAGES[docname])]
        source[0] = source[0].replace(MARK, "\n".join(sections))


def skip(app, what, name, obj, skipped, options):
    """Show what a module's `__all__` names, else what it defines; of a class what has a docstring."""
    documented = bool(getattr(obj, "docstring", ""))  # autodoc cannot tell for autoapi's objects
    if what != "apimodule":
        return skipped or not documented
    module = app.env.autoapi_objects.get(obj.id.rpartition(".")[0])
    named = module.obj["all"] if module else None
    if obj.imported:
        return True  # it has its place in the module that defines it
    return name not in named if named is not None else skipped or not documented


def resolve(app, env, node, contnode):
    """Find a name where it is defined, though the text names a package that hands it on, or none."""
    if node.get("refdomain") != "py" or "reftype" not in node:
        return None
    domain, name = env.domains["py"], node["reftarget"].rpartition(".")[2]
    found = {
        full
        for full, entry in domain.objects.items()
        if full.rpartition(".")[2] == name and not entry.aliased
    }
    if len(found) != 1:
        return None
    node["reftarget"] = found.pop()
    return domain.resolve_xref(
        env, node["refdoc"], app.builder, node["reftype"], node["reftarget"], node, contnode
    )


def setup(app):
    app.connect("builder-inited", modules_keep_their_names, priority=900)  # after autoapi's own
    app.connect("source-read", fill)
    app.connect("autodoc-skip-member", skip)
    app.connect("missing-reference", resolve)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
