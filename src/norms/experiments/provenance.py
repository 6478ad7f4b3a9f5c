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
from functools import cache
from importlib.metadata import version
from pathlib import Path

from norms.experiments import syntax

__all__ = ["changed_parts", "of_code", "of_functions", "of_page", "pages_read"]

PACKAGE = Path(__file__).resolve().parent.parent  # src/norms
NAME = PACKAGE.name
WORD = r"[\w-]+"
PAGE = ""  # the module that the code in question is

# Not data: what Python and an interrupted sweep leave.
NO_DATA = (".py", ".pyc", ".part", ".new", ".tmp")


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
    code = _hash(
        [[syntax.canonical(syntax.parsed(source)), syntax.magics(source)] for source in cells]
    )
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
        statements = [s for tree in trees for s in tree.body if not syntax.is_docstring(s)]
        for statement in statements:
            for bound in syntax.bound(statement):
                self.defined.setdefault(bound, []).append(statement)
            for node in syntax.run_at_import(statement):
                self.imports += [node] * syntax.imports(node)
                self.stars += [node] * (syntax.imports(node) and node.names[0].name == "*")
        imported = {name for s in self.imports for name in syntax.bound(s)}
        self.effects = [s for s in statements if not syntax.defines_alone(s, imported)]

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
        size, known, compared = None, set(), set()  # composed strings are compared once
        while size != (size := (len(self.reached), len(self.strings))):
            composed = set(self.composed)
            fresh = composed - compared
            for module in _modules():
                if module in self.strings or any(syntax.fits(c, module) for c in fresh):
                    self.attribute(module, ())
            said = "\0".join(self.strings)
            words = {*re.findall(WORD, said)}
            for key in [key for key in self.entries if key not in self.reached]:
                new = fresh if key in known else composed
                known.add(key)
                if self._named(key, said, words, new):
                    module, name, entry = key
                    self.reached.add(key)
                    text = syntax.canonical(self.entries[key])
                    self.found.setdefault(module, {})[f"{name}[{entry!r}]"] = [text]
                    self.follow(module, self.entries[key])
            compared = composed
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
                lines = content.splitlines()
                if path.suffix == ".csv":  # when and by what code a table was made is told above it
                    lines = [line for line in lines if not line.startswith(b"#")]
                content = b"\n".join(lines)
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
            or any(syntax.fits(c, path.name, path.stem) for c in self.composed)
        ]

    def _foreign(self):
        """The modules that the page imports from elsewhere."""
        for statement in self.page.imports:
            if isinstance(statement, ast.ImportFrom):
                yield statement.module or ""
            else:
                yield from (alias.name for alias in statement.names)

    def _named(self, key, said, words, composed):
        _, name, entry = key
        return (
            syntax.BY_ENTRY[name] in self.whole
            or (name in ("NAMES", "NORMS") and entry in self.keywords)
            or _stands_in(entry, said, words)
            or any(syntax.fits(c, entry) for c in composed)
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
            if syntax.imports(statement):
                self._imported(source, statement, name, ())
            elif name in syntax.BY_ENTRY and isinstance(
                getattr(statement, "value", None), ast.Dict
            ):
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
            texts.append(syntax.text(statement))
        self.follow(module, statement)

    def follow(self, module, tree):
        """Reach whatever the names in a tree stand for."""
        source, said = self._module(module), syntax.said(tree)
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
            for statement in filter(syntax.imports, defined):
                self._imported(source, statement, root, chain)
            if not defined or not all(map(syntax.imports, defined)):
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
            for name in syntax.BY_ENTRY:
                self.reach(f"{package}.{path.stem}", name)

    def _module(self, name):
        return self.page if name == PAGE else _read(name)


def _stands_in(entry, said, words):
    """Whether a key stands in the strings; most keys are one word, and these are looked up."""
    if re.fullmatch(WORD, entry):
        return entry in words
    return entry in said and re.search(rf"(?<![\w-]){re.escape(entry)}(?![\w-])", said)


def _traced(cells, chapters, own):
    trees = [syntax.parsed(source) for source in cells]
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
    tree = _tree(path.read_text(encoding="utf-8"))
    return _Module(name, [tree], package=path.name == "__init__.py")


@cache
def _tree(text):
    """By the text, so that all that is remembered of a tree serves each file with this text."""
    return ast.parse(text)


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


def _hash(value):
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
