"""Folds as native `<details>`, made at build time.

The usual way, sphinx-togglebutton, shows every answer until its script has run, shows them all without
JavaScript, and stops at the first `{prf:proof}` it meets. The browser's own element needs no script.
"""

import re
from html import escape

from docutils import nodes
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx.transforms.post_transforms import SphinxPostTransform

# Jupyter's words for what is hidden, in the reader's. A cell's own `mystnb.code_prompt_show` stays as it is.
PROMPTS = {
    "content": "Show the code and its output",
    "source": "Show the code",
    "output": "Show the output",
    "outputs": "Show the output",
}


class fold(nodes.Element):
    """An admonition, solution or proof with `:class: dropdown`."""


class fold_title(nodes.TextElement):
    """What one clicks on."""


class FoldDesignDropdowns(SphinxPostTransform):
    """`{dropdown}` of sphinx-design: the same fold, so that the book has one."""

    default_priority = 190  # before sphinx-design makes its own of them
    formats = ("html",)

    def run(self, **kwargs):
        for node in list(self.document.findall(nodes.container)):
            if node.get("design_component") == "dropdown":
                children = list(node.children)
                words = children.pop(0).children if node["has_title"] else [nodes.Text("More")]
                new = fold(
                    "", fold_title("", "", *words), *children, ids=node["ids"], classes=["fold"]
                )
                new["opened"] = node["opened"]
                node.parent.replace(node, new)


class FoldDropdowns(SphinxPostTransform):
    default_priority = 900  # after sphinx-exercise has made its titles
    formats = ("html",)

    def run(self, **kwargs):
        for node in list(self.document.findall(nodes.Admonition)):
            if "dropdown" in node["classes"]:
                # Not `replace_self`, which would copy the class, and so the fold's name, back.
                node.parent.replace(node, self.folded(node))

    def folded(self, node: nodes.Element) -> fold:
        children = list(node.children)
        kind = node.get("realtype") or node.tagname.removesuffix("_node")
        words = (
            children.pop(0).astext() if isinstance(children[0], nodes.title) else kind.capitalize()
        )
        classes = [name for name in node["classes"] if name != "dropdown"]
        # Plain words: a link in a summary would be a button in a button.
        title = fold_title("", "", nodes.Text(words))
        return fold("", title, *children, ids=node["ids"], classes=["fold", *classes])


SOLUTION = re.compile(
    r"^([ \t]*)### BEGIN SOLUTION\n(.*?)^[ \t]*### END SOLUTION[ \t]*(?:\n|\Z)", re.M | re.S
)


class FoldSolutions(SphinxPostTransform):
    """What a reader is asked to write: its signature stands open, the solution in a fold below it."""

    default_priority = 100  # before the code is coloured
    formats = ("html",)

    def run(self, **kwargs):
        for node in list(self.document.findall(nodes.literal_block)):
            whole = node.astext()
            if SOLUTION.search(whole):
                asked = self.copy_of(node, SOLUTION.sub(r"\1...  # yours\n", whole))
                solved = self.copy_of(node, SOLUTION.sub(r"\2", whole))
                title = fold_title("", "", nodes.Text("I have written it: show a solution"))
                node.parent.replace(
                    node, [asked, fold("", title, solved, classes=["fold", "solution"])]
                )

    def copy_of(self, node, text):
        text = text.rstrip("\n")
        new = nodes.literal_block(text, text, **node.attributes)
        new.line, new.source = node.line, node.source
        return new


def visit_fold(self, node):
    attributes = {"open": "open"} if node.get("opened") else {}
    self.body.append(self.starttag(node, "details", **attributes))


def depart_fold(self, node):
    self.body.append("</details>\n")


def visit_title(self, node):
    self.body.append(self.starttag(node, "summary", ""))


def depart_title(self, node):
    self.body.append("</summary>\n")


def visit_hidden_cell(self, node):
    # MyST-NB's own summary carries an aria-label that contradicts its text.
    has_output = any(child.get("nb_element") == "cell_code_output" for child in node.children)
    words = node["prompt_show"] if has_output or node["prompt_show"] != "content" else "source"
    self.body.append(
        f'<details class="fold fold-code">\n<summary>{escape(PROMPTS.get(words, words))}</summary>\n'
    )


def setup(app):
    app.add_node(fold, html=(visit_fold, depart_fold))
    app.add_node(fold_title, html=(visit_title, depart_title))
    app.add_node(HideCodeCellNode, override=True, html=(visit_hidden_cell, depart_fold))
    app.add_post_transform(FoldDesignDropdowns)
    app.add_post_transform(FoldDropdowns)
    app.add_post_transform(FoldSolutions)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
