"""What a piece of code says, read from its syntax tree: names, strings, what a statement does.

For :mod:`norms.experiments.provenance`, which follows the names.
"""

import ast
import re
from dataclasses import dataclass, field
from functools import cache

__all__ = [
    "BY_ENTRY",
    "DEFINITIONS",
    "Said",
    "bound",
    "canonical",
    "defines_alone",
    "fits",
    "imports",
    "is_docstring",
    "magics",
    "parsed",
    "run_at_import",
    "said",
    "text",
]

DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

# Dictionaries with one entry a norm, a grid, a claim or a finding. An entry counts if its key
# stands in a string of the code; so a new norm does not make the results of the others stale. Whoever looks at
# all of them (a loop, a copy) uses them all. A name stands for the dictionary that it is made of.
TABLES = ("NAMES", "NORMS", "GRIDS", "CLAIMS", "FINDINGS", "REPEATS")
BY_ENTRY = {name: name for name in TABLES} | {"NORM_STYLES": "NAMES"}


@dataclass
class Said:
    """What a tree says: strings, names with their attributes, and imports that are not on top."""

    strings: set = field(default_factory=set)
    keywords: set = field(default_factory=set)
    composed: set = field(default_factory=set)  # strings that are put together
    whole: set = field(default_factory=set)  # dictionaries by entry of which all is looked at
    names: dict = field(default_factory=dict)  # in their order
    imports: list = field(default_factory=list)


@cache
def said(tree):
    found, inner, parents, docstrings = Said(), set(), {}, set()
    top = tree.body if isinstance(tree, ast.Module) else ()
    for node in ast.walk(tree):
        parents.update((child, node) for child in ast.iter_child_nodes(node))
        match node:
            case ast.Constant(value=str(text)) if node not in docstrings:
                found.strings.add(text)
            case ast.keyword(arg=str(name)):  # f(batch=1), where f may have **norms
                found.keywords.add(name)
            case ast.Call(func=ast.Name(id="dict")):
                found.strings.update(keyword.arg for keyword in node.keywords if keyword.arg)
            case ast.Import() | ast.ImportFrom() if node not in top:
                found.imports.append(node)
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                if _has_docstring(node):
                    docstrings.add(node.body[0].value)
            case ast.Name() | ast.Attribute() if node not in inner:
                root, chain = node, []
                while isinstance(root, ast.Attribute):
                    chain.insert(0, root.attr)
                    root = root.value
                    inner.add(root)  # a part of a longer chain
                if isinstance(root, ast.Name):
                    names = (root.id, *chain)
                    found.names[names] = None
                    tables = [name for name in names if name in BY_ENTRY]
                    if tables and _all(node, parents):
                        found.whole.update(BY_ENTRY[name] for name in tables)
        if (pieces := _composed(node)) and _says_a_name(pieces):
            found.composed.add(pieces)
    return found


# A line for IPython: %magic, !command, name = !command, name?
IPYTHON = r"^([ \t]*)((?:[\w, ]+=[ \t]*)?[%!].*|.*\?[ \t]*)$"


@cache
def parsed(source):
    """The tree of a cell; its lines for IPython become ``pass``, and a broken cell empty."""
    for text in (source, re.sub(IPYTHON, r"\1pass", source, flags=re.M)):
        try:
            return ast.parse(text)
        except SyntaxError:
            pass
    return ast.Module([], [])


def magics(source):
    """A cell's lines for IPython, without those that install: they count by their text."""
    try:
        ast.parse(source)
    except SyntaxError:
        found = [match[2].strip() for match in re.finditer(IPYTHON, source, re.M)]
        broken = [] if parsed(source).body else [source]
        return [line for line in found if not line.startswith("%pip")] + broken
    return []


def bound(statement):
    """The names that a top-level statement binds."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [statement.name]
        case ast.Import():
            return [alias.asname or alias.name.split(".")[0] for alias in statement.names]
        case ast.ImportFrom():
            return [alias.asname or alias.name for alias in statement.names]
        case ast.Name():
            return [statement.id] if isinstance(statement.ctx, ast.Store) else []
        case ast.ExceptHandler() | ast.MatchAs() | ast.MatchStar() if statement.name:
            inner = [name for n in ast.iter_child_nodes(statement) for name in bound(n)]
            return [statement.name, *inner]
    return [name for node in ast.iter_child_nodes(statement) for name in bound(node)]


def run_at_import(statement):
    """The nodes of a top-level statement outside functions."""
    yield statement
    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for node in ast.iter_child_nodes(statement):
            yield from run_at_import(node)


def defines_alone(statement, imported):
    """Tell whether a top-level statement does nothing but bind names of its own."""
    if isinstance(statement, DEFINITIONS | ast.Import | ast.ImportFrom | ast.Pass):
        return True
    if isinstance(statement, ast.AugAssign):  # in place, and so perhaps another module's
        return isinstance(statement.target, ast.Name) and statement.target.id not in imported
    if isinstance(statement, ast.Assign | ast.AnnAssign):
        targets = getattr(statement, "targets", [getattr(statement, "target", None)])
        nodes = (node for target in targets for node in ast.walk(target))
        return not any(isinstance(node, ast.Attribute | ast.Subscript) for node in nodes)
    return _is_main(statement)


def _all(node, parents):
    """Tell whether a dictionary by entry is looked at as a whole, not by a key."""
    parent = parents.get(node)
    if isinstance(node.ctx, ast.Store | ast.Del):
        return False
    if isinstance(parent, ast.Subscript) and parent.value is node:
        return False
    if isinstance(parent, ast.Compare) and all(
        isinstance(op, ast.In | ast.NotIn) for op in parent.ops
    ):
        return parent.left is node
    if isinstance(node, ast.Attribute) and node.attr == "get":
        return False
    if isinstance(node, ast.Attribute) and node.attr == "items" and _by_key(parents, parent):
        return False
    while parent is not None:  # what an error message lists is no result
        if isinstance(parent, ast.Raise):
            return False
        parent = parents.get(parent)
    return True


def _by_key(parents, call):
    """Tell whether ``….items()`` makes another dictionary with the same keys."""
    loop = parents.get(call)
    made = parents.get(loop)
    if not isinstance(loop, ast.comprehension) or not isinstance(made, ast.DictComp):
        return False
    first = loop.target.elts[0] if isinstance(loop.target, ast.Tuple) else None
    return isinstance(made.key, ast.Name) and getattr(first, "id", None) == made.key.id


def _composed(node):
    """What a string is put together from: its fixed pieces, and None for the others."""
    match node:
        case ast.JoinedStr():
            values = node.values
        case ast.BinOp(op=ast.Add()):
            values, rest = [], [node]
            while rest:
                value = rest.pop()
                if isinstance(value, ast.BinOp) and isinstance(value.op, ast.Add):
                    rest += [value.left, value.right]
                else:
                    values.insert(0, value)
            if not any(map(_is_string, values)):
                return None
        case ast.BinOp(op=ast.Mod(), left=ast.Constant(value=str(text))):
            return _pieces(re.split(r"(%[-+ #\d.*]*[a-zA-Z])", text))
        case ast.Call(func=ast.Attribute(attr="format", value=ast.Constant(value=str(text)))):
            return _pieces(re.split(r"(\{[^{}]*\})", text))
        case ast.Call(func=ast.Attribute(attr="join", value=ast.Constant(value=str(text)))):
            return (None, text, None)
        case _:
            return None
    return tuple(value.value if _is_string(value) else None for value in values)


def _pieces(parts):
    """Those of ``re.split`` with a group: every second one is a place to fill."""
    return tuple(None if i % 2 else part for i, part in enumerate(parts))


def _is_string(node):
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


@cache
def _pattern(pieces):
    return re.compile("".join(".*" if p is None else re.escape(p) for p in pieces), re.S)


def fits(pieces, *names):
    return any(_pattern(pieces).fullmatch(name) for name in names)


def _says_a_name(pieces):
    """Not with nothing fixed, or the ending alone: the name in f"{grid}.csv" stands elsewhere."""
    fixed = "".join(re.sub(r"(\.\w+)+$", "", piece) for piece in pieces if piece)
    return len(re.findall(r"\w", fixed)) > 1


def imports(statement):
    return isinstance(statement, ast.ImportFrom | ast.Import)


def is_docstring(statement):
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _has_docstring(node):
    return isinstance(node, DEFINITIONS) and is_docstring(node.body[0])


def _is_main(statement):
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


@cache
def text(tree):
    return canonical(tree)


def canonical(node):
    """A tree as text, without docstrings and places, the same for every version of Python."""
    if isinstance(node, ast.AST):
        fields = []
        for name, value in ast.iter_fields(node):
            if name == "body" and _has_docstring(node):
                value = value[1:]
            if isinstance(node, ast.JoinedStr):
                value = _joined(value)
            if name not in ("ctx", "kind", "type_comment", "type_ignores") and value not in (
                None,
                [],
            ):
                fields.append(f"{name}={canonical(value)}")
        return f"{type(node).__name__}({', '.join(fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(canonical, node))}]"
    return repr(node)


def _joined(values):
    """The fixed pieces of an f-string in one: Python 3.12 cuts some of them in two."""
    found = []
    for value in values:
        if _is_string(value) and found and isinstance(found[-1], str):
            found[-1] += value.value
        else:
            found.append(value.value if _is_string(value) else value)
    return [value for value in found if value != ""]
