"""Names of the package in the code of a page link to their place in the reference.

sphinx-codeautolink would have to import the package, and the site is built without torch. Here the page's own
import lines say what a word stands for, and Sphinx's list of objects says where that is described.
"""

import ast
import json
import re
from pathlib import Path

NAME = re.compile(
    r'<span class="n">(?P<module>\w+)</span><span class="o">\.</span><span class="n">(?P<member>\w+)</span>'
    r'|(?<!<span class="o">\.</span>)<span class="n">(?P<word>\w+)</span>(?!<span class="o">=</span>)'
)


def imports(path):
    """What the words of a notebook stand for: from a word to a dotted name of the package."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    found = {}
    for cell in cells:
        try:
            tree = ast.parse("".join(cell["source"]) if cell["cell_type"] == "code" else "")
        except SyntaxError:  # a line for IPython
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "norms":
                found |= {n.asname or n.name: f"{node.module}.{n.name}" for n in node.names}
    return found


def places(objects):
    """From a module and a member to the places in the reference where it may be described."""
    found = {}
    for name, entry in objects.items():
        *modules, member = name.split(".")
        if entry.objtype == "module":
            continue
        for end in range(1, len(modules) + 1):  # a package has the names of its modules
            found.setdefault((".".join(modules[:end]), member), {})[name] = entry
    return found


def link(app, pagename, templatename, context, doctree):
    path = Path(app.srcdir, f"{pagename}.ipynb")
    if doctree is None or not path.exists():
        return
    known, words = places(app.env.domains["py"].objects), imports(path)

    def linked(match):
        dotted = words.get(match["module"] or match["word"], "")
        if match["word"]:
            module, _, member = dotted.rpartition(".")
        else:
            module, member = dotted, match["member"]
        found = known.get((module, member), {})
        if len(found) != 1:
            return match[0]
        ((name, entry),) = found.items()
        address = app.builder.get_relative_uri(pagename, entry.docname)
        return (
            f'<a class="code-link" href="{address}#{entry.node_id}" title="{name}">{match[0]}</a>'
        )

    context["body"] = re.sub(
        r"<pre>.*?</pre>", lambda block: NAME.sub(linked, block[0]), context["body"], flags=re.S
    )


def setup(app):
    app.connect("html-page-context", link)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
