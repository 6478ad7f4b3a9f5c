"""What a result was made from: the code that it uses, the data it reads, and nothing else.

A stored result is fresh if all this is as it was when it was made. Code counts by its syntax tree,
without comments and docstrings, definition by definition: from the names in a piece of code to
the definitions in this package that they stand for, and on to the names in these. A definition
that is not reached does not count, and neither does a module that is imported without being used.

It errs on the safe side: a local name that is also a name of its module counts as that; a module
that is handed on as a whole counts whole; what a module does at import besides defining counts
wherever it is imported; and a name that is put together counts as all that its fixed parts fit.
Parts without two letters fit nothing: the tests see to it that pages name what they use.
"""

import ast
import fnmatch
import hashlib
import json
import re
import sys
from dataclasses import dataclass, field
from functools import cache
from importlib.metadata import version
from pathlib import Path

__all__ = ["changed_parts", "of_code", "of_functions", "of_page", "pages_read"]

PACKAGE = Path(__file__).resolve().parent.parent  # src/norms
NAME = PACKAGE.name
PAGE = ""  # the module that the code in question is

# Dictionaries with one entry a norm, a grid or a claim. An entry counts if its key stands in a
# string of the code; so a new norm does not make the results of the others stale. Whoever looks at
# all of them (a loop, a copy) uses them all. A name stands for the dictionary that it is made of.
BY_ENTRY = {name: name for name in ("NAMES", "NORMS", "GRIDS", "CLAIMS")} | {"NORM_STYLES": "NAMES"}

# Not data: what Python and an interrupted sweep leave.
NO_DATA = (".py", ".pyc", ".part", ".new", ".tmp")

DEFINITIONS = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def of_code(cells, chapters=None, page=None):
    """Return what the outputs of code depend on.

    Args:
        cells: list of sources, such as the code cells of a page.
        chapters: folder of the pages whose stored verdicts the code may read.
        page: the name of the page whose code it is; its own verdicts do not count.

    Returns:
        Dictionary from a part (the code, a module, a file, the verdicts of a page) to a short hash.
    """
    trace = _traced(cells, chapters, page)
    parts = trace.parts()
    code = _hash([[_canonical(_parsed(source)), _magics(source)] for source in cells])
    return {"code": code, **{part: digest for part, digest in parts.items() if part != PAGE}}


def of_page(path):
    """Return what the outputs of a page depend on, the version of torch included.

    Args:
        path: of an ``.ipynb`` file; the pages whose verdicts it may read are beside it.

    Returns:
        As :func:`of_code`.
    """
    parts = of_code(_code_cells(path), Path(path).parent, Path(path).name)
    return {**parts, "torch": version("torch").partition("+")[0]}


def pages_read(path):
    """Return the names of the pages beside a page whose stored verdicts it reads."""
    trace = _traced(_code_cells(path), Path(path).parent, Path(path).name)
    trace.parts()
    return [other.name for other in trace.pages()]


def of_functions(functions, strings=()):
    """Return what a call of functions depends on; those outside this package count by name alone.

    Args:
        functions: functions or classes.
        strings: among their arguments.

    Returns:
        As :func:`of_code`.
    """
    trace = _Trace(_Module(PAGE, [], package=False), None, None)
    trace.strings.update(strings)
    for function in functions:
        module, name = function.__module__, function.__qualname__.split(".")[0]
        if module == "__main__" and (spec := getattr(sys.modules[module], "__spec__", None)):
            module = spec.name  # as after `python -m`
        if module.split(".")[0] != NAME:
            trace.found.setdefault(module, {})[function.__qualname__] = []
        elif name in getattr(_read(module), "defined", ()):
            trace.reach(module, name)
        else:  # a lambda, say
            trace.attribute(module, ())
    return trace.parts()


def changed_parts(before, now):
    """Return the parts that differ, in words.

    Args:
        before: what a result was made from, or None if that is not known.
        now: what it would be made from now.
    """
    if not before:
        return ["it was never run"]
    words = [f"{part} is new" for part in now if part not in before]
    words += [f"{part} is no longer used" for part in before if part not in now]
    return words + [
        f"{part} has changed" for part in now if before.get(part, now[part]) != now[part]
    ]


class _Module:
    """A module's top-level definitions by name, and what it does besides defining."""

    def __init__(self, name, trees, package):
        self.name, self.package = name, package
        self.defined, self.effects, self.imports, self.stars = {}, [], [], []
        statements = [s for tree in trees for s in tree.body if not _is_docstring(s)]
        for statement in statements:
            for bound in _bound(statement):
                self.defined.setdefault(bound, []).append(statement)
            for node in _run_at_import(statement):
                self.imports += [node] * _imports(node)
                self.stars += [node] * (_imports(node) and node.names[0].name == "*")
        imported = {name for s in self.imports for name in _bound(s)}
        self.effects = [s for s in statements if not _defines_alone(s, imported)]

    def absolute(self, statement):
        """The module that a ``from … import`` names."""
        if not statement.level:
            return statement.module
        parts = self.name.split(".")
        parts = parts[: len(parts) - statement.level + self.package]
        return ".".join([*parts, *filter(None, [statement.module])])


class _Trace:
    def __init__(self, page, chapters, own):
        self.page, self.chapters, self.own = page, chapters, own
        self.found = {}  # module -> {name: canonical texts}
        self.strings, self.keywords, self.composed, self.whole = set(), set(), set(), set()
        self.entries, self.reached, self.loaded = {}, set(), set()

    def parts(self):
        """Take the entries, modules and files that the strings name, until nothing new is found."""
        size = None
        while size != (size := (len(self.reached), len(self.strings))):
            for module in _modules():
                if module in self.strings or any(_fits(c, module) for c in self.composed):
                    self.attribute(module, ())
            said = "\0".join(self.strings)
            for key in [key for key in self.entries if key not in self.reached]:
                if self._named(key, said):
                    module, name, entry = key
                    self.reached.add(key)
                    text = _canonical(self.entries[key])
                    self.found.setdefault(module, {})[f"{name}[{entry!r}]"] = [text]
                    self.follow(module, self.entries[key])
        parts = {module: _hash(sorted(names.items())) for module, names in self.found.items()}
        files = {path.relative_to(PACKAGE).as_posix(): path for path in self._files(_data_files())}
        if self.chapters:
            beside = [p for p in self.chapters.iterdir() if p.is_file() and p.suffix != ".ipynb"]
            modules = {f"{alias.split('.')[0]}.py" for alias in self._foreign()}
            found = [*self._files(beside), *(p for p in beside if p.name in modules)]
            files |= {path.name: path for path in found}
        for part, path in files.items():
            content = path.read_bytes()
            if b"\0" not in content:  # a text
                content = content.replace(b"\r\n", b"\n")
            parts[part] = hashlib.sha256(content).hexdigest()[:12]
        for path in self.pages():
            parts[f"the verdicts of {path.stem}"] = _hash(_records(path))
        return dict(sorted(parts.items()))

    def pages(self):
        """The pages, beside the one in question, that the strings name."""
        paths = sorted(self.chapters.glob("*.ipynb")) if self.chapters else ()
        return self._files(path for path in paths if path.name != self.own)

    def _files(self, paths):
        last = {re.split(r"[/\\]", string)[-1] for string in self.strings}
        globs = [name for name in last if "*" in name and re.search(r"\w", name)]
        return [
            path
            for path in paths
            if last & {path.name, path.stem}
            or any(fnmatch.fnmatch(path.name, pattern) for pattern in globs)
            or any(_fits(c, path.name, path.stem) for c in self.composed)
        ]

    def _foreign(self):
        """The modules that the page imports from elsewhere."""
        for statement in self.page.imports:
            if isinstance(statement, ast.ImportFrom):
                yield statement.module or ""
            else:
                yield from (alias.name for alias in statement.names)

    def _named(self, key, said):
        _, name, entry = key
        return (
            BY_ENTRY[name] in self.whole
            or (name in ("NAMES", "NORMS") and entry in self.keywords)
            or re.search(rf"(?<![\w-]){re.escape(entry)}(?![\w-])", said)
            or any(_fits(c, entry) for c in self.composed)
        )

    def load(self, module):
        """Count what happens when a module is imported: what it does besides defining."""
        source = self._module(module)
        if module in self.loaded or source is None:
            return
        self.loaded.add(module)
        self.load(module.rpartition(".")[0])
        for statement in source.imports:
            self._load_imported(source, statement)
        for statement in source.effects if module != PAGE else ():
            self._count(module, "", statement)

    def _load_imported(self, source, statement):
        if isinstance(statement, ast.Import):
            for alias in statement.names:
                self.load(alias.name)
            return
        module = source.absolute(statement)
        self.load(module)
        for alias in statement.names:
            self.load(f"{module}.{alias.name}")

    def reach(self, module, name):
        """Count a definition, and all that it uses."""
        if (module, name) in self.reached:
            return
        self.reached.add((module, name))
        source = self._module(module)
        if source is None:
            return
        self.load(module)
        if name not in source.defined:
            for star in source.stars:
                self.attribute(source.absolute(star), (name,))
            if "__getattr__" in source.defined:
                self.reach(module, "__getattr__")
        for statement in source.defined.get(name, ()):
            if _imports(statement):
                self._imported(source, statement, name, ())
            elif name in BY_ENTRY and isinstance(getattr(statement, "value", None), ast.Dict):
                self._entries(module, name, statement.value)
            else:
                self._count(module, name, statement)

    def _entries(self, module, name, table):
        for key, value in zip(table.keys, table.values, strict=True):
            if isinstance(key, ast.Constant) and isinstance(key.value, str):
                self.entries[module, name, key.value] = value
            else:  # **another, or a key that is computed
                self._count(module, name, ast.Expr(ast.Dict([key], [value])))

    def _count(self, module, name, statement):
        if module != PAGE:
            texts = self.found.setdefault(module, {}).setdefault(name, [])
            texts.append(_text(statement))
        self.follow(module, statement)

    def follow(self, module, tree):
        """Reach whatever the names in a tree stand for."""
        source, said = self._module(module), _said(tree)
        self.strings |= said.strings
        self.keywords |= said.keywords
        self.composed |= said.composed
        self.whole |= said.whole
        for statement in said.imports:
            self._imported_here(source, statement)
        for root, *chain in said.names:
            if root == "__path__":  # a package that looks at what is in its folder
                self._neighbours(module)
            if root in ("globals", "eval", "exec") or (root, *chain[:1]) == ("sys", "modules"):
                self.attribute(module, ())
            defined = source.defined.get(root, ())
            for statement in filter(_imports, defined):
                self._imported(source, statement, root, chain)
            if not defined or not all(map(_imports, defined)):
                self.reach(module, root)

    def _imported(self, source, statement, name, chain):
        """Reach what an imported name stands for, with the attributes taken from it."""
        for alias in statement.names:
            if isinstance(statement, ast.ImportFrom):
                if (alias.asname or alias.name) != name:
                    continue
                star = alias.name == "*"
                taken = () if star else (alias.name, *chain)
                self.attribute(source.absolute(statement), taken)
            elif alias.asname == name:
                self.attribute(alias.name, tuple(chain))
            elif not alias.asname and alias.name.split(".")[0] == name:
                self.attribute(name, tuple(chain))

    def _imported_here(self, source, statement):
        """An import in a function or under a condition: all that it brings."""
        self._load_imported(source, statement)
        for alias in statement.names:
            if isinstance(statement, ast.Import):
                self.attribute(alias.name, ())
            else:
                taken = () if alias.name == "*" else (alias.name,)
                self.attribute(source.absolute(statement), taken)

    def attribute(self, module, chain):
        """Reach an attribute of a module, or all of it, the modules in its folder included."""
        if not module or module.split(".")[0] != NAME:
            return
        while chain and _path(f"{module}.{chain[0]}"):
            if chain[0] in getattr(self._module(module), "defined", ()):
                break
            module, chain = f"{module}.{chain[0]}", chain[1:]
        self.load(module)
        if chain:
            self.reach(module, chain[0])
        elif (module, None) not in self.reached:
            self.reached.add((module, None))
            for name in getattr(self._module(module), "defined", ()):
                self.reach(module, name)
            for inside in _modules():
                if inside.startswith(f"{module}."):
                    self.attribute(inside, ())

    def _neighbours(self, package):
        for path in sorted(_path(package).parent.glob("[!_]*.py")):
            for name in BY_ENTRY:
                self.reach(f"{package}.{path.stem}", name)

    def _module(self, name):
        return self.page if name == PAGE else _read(name)


@dataclass
class _Said:
    """What a tree says: strings, names with their attributes, and imports that are not on top."""

    strings: set = field(default_factory=set)
    keywords: set = field(default_factory=set)
    composed: set = field(default_factory=set)  # strings that are put together
    whole: set = field(default_factory=set)  # dictionaries by entry of which all is looked at
    names: dict = field(default_factory=dict)  # in their order
    imports: list = field(default_factory=list)


@cache
def _said(tree):
    said, inner, parents, docstrings = _Said(), set(), {}, set()
    top = tree.body if isinstance(tree, ast.Module) else ()
    for node in ast.walk(tree):
        parents.update((child, node) for child in ast.iter_child_nodes(node))
        match node:
            case ast.Constant(value=str(text)) if node not in docstrings:
                said.strings.add(text)
            case ast.keyword(arg=str(name)):  # f(batch=1), where f may have **norms
                said.keywords.add(name)
            case ast.Call(func=ast.Name(id="dict")):
                said.strings.update(keyword.arg for keyword in node.keywords if keyword.arg)
            case ast.Import() | ast.ImportFrom() if node not in top:
                said.imports.append(node)
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
                    said.names[names] = None
                    tables = [name for name in names if name in BY_ENTRY]
                    if tables and _all(node, parents):
                        said.whole.update(BY_ENTRY[name] for name in tables)
        if (pieces := _composed(node)) and _says_a_name(pieces):
            said.composed.add(pieces)
    return said


def _traced(cells, chapters, own):
    trees = [_parsed(source) for source in cells]
    trace = _Trace(_Module(PAGE, trees, package=False), chapters, own)
    trace.load(PAGE)
    for tree in trees:
        trace.follow(PAGE, tree)
    return trace


@cache
def _read(name):
    path = _path(name)
    if path is None:
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return _Module(name, [tree], package=path.name == "__init__.py")


@cache
def _path(name):
    first, *rest = name.split(".")
    if first != NAME:
        return None
    place = PACKAGE.joinpath(*rest)
    for path in (place / "__init__.py", place.with_suffix(".py") if rest else place):
        if path.is_file():
            return path
    return None


@cache
def _modules():
    """The names of the modules of this package, without its own."""
    places = (path.relative_to(PACKAGE).with_suffix("") for path in sorted(PACKAGE.rglob("*.py")))
    parts = [place.parts[:-1] if place.name == "__init__" else place.parts for place in places]
    return [".".join([NAME, *names]) for names in parts if names]


@cache
def _data_files():
    """The files of this package that are no code."""
    files = [path for path in sorted(PACKAGE.rglob("*")) if path.is_file()]
    return [path for path in files if path.suffix not in NO_DATA]


def _code_cells(path):
    cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def _records(path):
    from norms.experiments.verdicts import collect

    return collect(path)


# A line for IPython: %magic, !command, name = !command, name?
IPYTHON = r"^([ \t]*)((?:[\w, ]+=[ \t]*)?[%!].*|.*\?[ \t]*)$"


@cache
def _parsed(source):
    """The tree of a cell; its lines for IPython become ``pass``, and a broken cell empty."""
    for text in (source, re.sub(IPYTHON, r"\1pass", source, flags=re.M)):
        try:
            return ast.parse(text)
        except SyntaxError:
            pass
    return ast.Module([], [])


def _magics(source):
    """A cell's lines for IPython, without those that install: they count by their text."""
    try:
        ast.parse(source)
    except SyntaxError:
        found = [match[2].strip() for match in re.finditer(IPYTHON, source, re.M)]
        broken = [] if _parsed(source).body else [source]
        return [line for line in found if not line.startswith("%pip")] + broken
    return []


def _bound(statement):
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
            inner = [name for n in ast.iter_child_nodes(statement) for name in _bound(n)]
            return [statement.name, *inner]
    return [name for node in ast.iter_child_nodes(statement) for name in _bound(node)]


def _run_at_import(statement):
    """The nodes of a top-level statement outside functions."""
    yield statement
    if not isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for node in ast.iter_child_nodes(statement):
            yield from _run_at_import(node)


def _defines_alone(statement, imported):
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


def _fits(pieces, *names):
    return any(_pattern(pieces).fullmatch(name) for name in names)


def _says_a_name(pieces):
    """Not with nothing fixed, or the ending alone: the name in f"{grid}.csv" stands elsewhere."""
    fixed = "".join(re.sub(r"(\.\w+)+$", "", piece) for piece in pieces if piece)
    return len(re.findall(r"\w", fixed)) > 1


def _imports(statement):
    return isinstance(statement, ast.ImportFrom | ast.Import)


def _is_docstring(statement):
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _has_docstring(node):
    return isinstance(node, DEFINITIONS) and _is_docstring(node.body[0])


def _is_main(statement):
    return isinstance(statement, ast.If) and ast.unparse(statement.test) == "__name__ == '__main__'"


@cache
def _text(tree):
    return _canonical(tree)


def _canonical(node):
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
                fields.append(f"{name}={_canonical(value)}")
        return f"{type(node).__name__}({', '.join(fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_canonical, node))}]"
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


def _hash(value):
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
