"""What a result was made from: the code that it uses, the data it reads, and nothing else.

A stored result is fresh if all this is as it was when it was made. Code counts by its syntax tree,
without comments and docstrings, definition by definition: from the names in a piece of code to
the definitions in this package that they stand for, and on to the names in these. A definition
that is not reached does not count, and neither does a module that is imported without being used.

It errs on the safe side: a local name that is also a name of its module counts as that, and a
module that is handed on as a whole counts whole.
"""

import ast
import hashlib
import json
import re
from functools import cache
from importlib.metadata import version
from pathlib import Path

__all__ = ["changed_parts", "of_code", "of_functions", "of_page", "pages_read"]

PACKAGE = Path(__file__).resolve().parent.parent  # src/norms
NAME = PACKAGE.name
PAGE = ""  # the module that the code in question is

# Dictionaries with one entry a norm, a grid or a claim. An entry counts if its key stands in a
# string of the code; so a new norm does not make the results of the others stale.
BY_ENTRY = ("NAMES", "NORMS", "GRIDS", "CLAIMS")


def of_code(cells, chapters=None):
    """Return what the outputs of code depend on.

    Args:
        cells: list of sources, such as the code cells of a page.
        chapters: folder of the pages whose stored verdicts the code may read.

    Returns:
        Dictionary from a part (the code, a module, a file, the verdicts of a page) to a short hash.
    """
    trees = [_parsed(source) for source in cells]
    trace = _Trace(_Module(PAGE, trees, package=False), chapters)
    for tree in trees:
        trace.follow(PAGE, tree)
    parts = trace.parts()
    code = _hash([_canonical(tree) for tree in trees])
    return {"code": code, **{part: digest for part, digest in parts.items() if part != PAGE}}


def of_page(path):
    """Return what the outputs of a page depend on, the version of torch included.

    Args:
        path: of an ``.ipynb`` file; the pages whose verdicts it may read are beside it.

    Returns:
        As :func:`of_code`.
    """
    parts = of_code(_code_cells(path), Path(path).parent)
    return {**parts, "torch": version("torch").partition("+")[0]}


def pages_read(path):
    """Return the names of the pages beside a page whose stored verdicts it reads."""
    path = Path(path)
    nodes = (node for source in _code_cells(path) for node in ast.walk(_parsed(source)))
    strings = {n.value for n in nodes if isinstance(n, ast.Constant)}
    return [p.name for p in sorted(path.parent.glob("*.ipynb")) if p.name in strings and p != path]


def of_functions(functions, strings=()):
    """Return what a call of functions depends on; those outside this package count by name alone.

    Args:
        functions: functions or classes.
        strings: among their arguments.

    Returns:
        As :func:`of_code`.
    """
    trace = _Trace(_Module(PAGE, [], package=False), None)
    trace.strings.update(strings)
    for function in functions:
        module, name = function.__module__, function.__qualname__.split(".")[0]
        if module.split(".")[0] == NAME:
            trace.reach(module, name)
        else:
            trace.found.setdefault(module, {})[function.__qualname__] = ""
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
        self.defined, self.effects = {}, []
        for statement in (s for tree in trees for s in tree.body):
            names = _bound(statement)
            for bound in names:
                self.defined.setdefault(bound, []).append(statement)
            if not names and not _is_docstring(statement) and not _is_main(statement):
                self.effects.append(statement)

    def absolute(self, statement):
        """The module that a ``from … import`` names."""
        if not statement.level:
            return statement.module
        parts = self.name.split(".")
        parts = parts[: len(parts) - statement.level + self.package]
        return ".".join([*parts, *filter(None, [statement.module])])


class _Trace:
    def __init__(self, page, chapters):
        self.page, self.chapters = page, chapters
        self.found = {}  # module -> {name: canonical text}
        self.strings, self.entries, self.reached = set(), {}, set()

    def parts(self):
        """Take the entries and files that the strings name, until nothing new is found."""
        while new := [key for key in self.entries if key not in self.reached and self._named(key)]:
            for module, name, entry in new:
                self.reached.add((module, name, entry))
                value = self.entries[module, name, entry]
                self.found.setdefault(module, {})[f"{name}[{entry!r}]"] = _canonical(value)
                self.follow(module, value)
        parts = {module: _hash(sorted(names.items())) for module, names in self.found.items()}
        files = {string: path for string, path in _data_files().items() if string in self.strings}
        for path in sorted(set(files.values())):
            content = path.read_bytes().replace(b"\r\n", b"\n")
            parts[path.relative_to(PACKAGE).as_posix()] = hashlib.sha256(content).hexdigest()[:12]
        for path in sorted(self.chapters.glob("*.ipynb") if self.chapters else ()):
            if path.name in self.strings:
                parts[f"the verdicts of {path.stem}"] = _hash(_records(path))
        return dict(sorted(parts.items()))

    def _named(self, key):
        word = re.compile(rf"(?<![\w-]){re.escape(key[2])}(?![\w-])")
        return any(word.search(string) for string in self.strings)

    def reach(self, module, name):
        """Count a definition, and all that it uses."""
        if (module, name) in self.reached:
            return
        self.reached.add((module, name))
        source = self._module(module)
        if source is None:
            return
        for statement in source.effects:
            self._count(module, "", statement)
        for statement in source.defined.get(name, ()):
            if _imports(statement):
                self._imported(source, statement, name, ())
            elif name in BY_ENTRY and isinstance(getattr(statement, "value", None), ast.Dict):
                for key, value in zip(statement.value.keys, statement.value.values, strict=True):
                    self.entries[module, name, ast.literal_eval(key)] = value
            else:
                self._count(module, name, statement)

    def _count(self, module, name, statement):
        if module != PAGE:
            names = self.found.setdefault(module, {})
            text = _canonical(statement)
            if text in names.get(name, ""):
                return
            names[name] = names.get(name, "") + text
        self.follow(module, statement)

    def follow(self, module, tree):
        """Reach whatever the names in a tree stand for."""
        source = self._module(module)
        inner = set()  # parts of a longer chain
        for node in ast.walk(tree):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                self.strings.add(node.value)
            if node in inner or not isinstance(node, ast.Name | ast.Attribute):
                continue
            root, chain = node, []
            while isinstance(root, ast.Attribute):
                chain.insert(0, root.attr)
                root = root.value
                inner.add(root)
            if not isinstance(root, ast.Name):
                continue
            if root.id == "__path__":  # a package that looks at what is in its folder
                self._neighbours(module)
            imports = [s for s in source.defined.get(root.id, ()) if _imports(s)]
            for statement in imports:
                self._imported(source, statement, root.id, chain)
            if not imports:
                self.reach(module, root.id)

    def _imported(self, source, statement, name, chain):
        """Reach what an imported name stands for, with the attributes taken from it."""
        for alias in statement.names:
            if isinstance(statement, ast.ImportFrom):
                if (alias.asname or alias.name) != name:
                    continue
                module = source.absolute(statement)
                self._attribute(module, (alias.name, *chain))
            elif alias.asname == name:
                self._attribute(alias.name, tuple(chain))
            elif not alias.asname and alias.name.split(".")[0] == name:
                self._attribute(name, tuple(chain))

    def _attribute(self, module, chain):
        if module.split(".")[0] != NAME:
            return
        while chain and _path(f"{module}.{chain[0]}"):
            if chain[0] in getattr(self._module(module), "defined", ()):
                break
            module, chain = f"{module}.{chain[0]}", chain[1:]
        for name in chain[:1] or getattr(self._module(module), "defined", ()):
            self.reach(module, name)

    def _neighbours(self, package):
        for path in sorted(_path(package).parent.glob("[!_]*.py")):
            for name in BY_ENTRY:
                self.reach(f"{package}.{path.stem}", name)

    def _module(self, name):
        return self.page if name == PAGE else _read(name)


@cache
def _read(name):
    path = _path(name)
    if path is None:
        return None
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return _Module(name, [tree], package=path.name == "__init__.py")


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
def _data_files():
    """From the name of a data file of this package to its path; tables of results without .csv too."""
    files = [p for p in PACKAGE.rglob("*") if p.is_file() and p.suffix in (".csv", ".npz", ".txt")]
    names = {path.name: path for path in files}
    return names | {path.stem: path for path in files if path.parent.name == "results"}


def _code_cells(path):
    cells = json.loads(Path(path).read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]


def _records(path):
    from norms.experiments.verdicts import collect

    return collect(path)


def _parsed(source):
    """The tree of a cell; its lines for IPython become ``pass``."""
    return ast.parse(re.sub(r"^(\s*)[%!].*", r"\1pass", source, flags=re.M))


def _bound(statement):
    """The names that a top-level statement binds."""
    match statement:
        case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
            return [statement.name]
        case ast.Import():
            return [alias.asname or alias.name.split(".")[0] for alias in statement.names]
        case ast.ImportFrom():
            return [alias.asname or alias.name for alias in statement.names]
    names = (n for n in ast.walk(statement) if isinstance(n, ast.Name))
    stored = [n.id for n in names if isinstance(n.ctx, ast.Store)]
    inner = [s for s in ast.iter_child_nodes(statement) if isinstance(s, ast.stmt)]
    return stored + [name for s in inner for name in _bound(s)]


def _imports(statement):
    return isinstance(statement, ast.ImportFrom | ast.Import)


def _is_docstring(statement):
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )


def _is_main(statement):
    return isinstance(statement, ast.If) and "__main__" in ast.unparse(statement.test)


def _canonical(node):
    """A tree as text, without docstrings and places, the same for every version of Python."""
    if isinstance(node, ast.AST):
        fields = []
        for name, value in ast.iter_fields(node):
            if name == "body" and isinstance(value, list) and value and _is_docstring(value[0]):
                value = value[1:]
            if name not in ("ctx", "kind", "type_comment", "type_ignores") and value not in (
                None,
                [],
            ):
                fields.append(f"{name}={_canonical(value)}")
        return f"{type(node).__name__}({', '.join(fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_canonical, node))}]"
    return repr(node)


def _hash(value):
    text = json.dumps(value, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()[:12]
