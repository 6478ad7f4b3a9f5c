"""What a part of an assignment forbids, found twice: in the source, and while it runs."""

import ast
import contextlib
import importlib
import sys

NORMS = {
    *("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm", "local_response_norm"),
    *("BatchNorm1d", "BatchNorm2d", "BatchNorm3d", "LazyBatchNorm1d", "LazyBatchNorm2d"),
    *("LazyBatchNorm3d", "SyncBatchNorm", "LayerNorm", "GroupNorm", "RMSNorm", "LocalResponseNorm"),
    *("InstanceNorm1d", "InstanceNorm2d", "InstanceNorm3d", "LazyInstanceNorm1d"),
    *("LazyInstanceNorm2d", "LazyInstanceNorm3d", "CrossMapLRN2d", "_BatchNorm", "_InstanceNorm"),
    *("weight_norm", "spectral_norm", "_weight_norm", "norm_except_dim", "WeightNorm"),
    *("SpectralNorm", "_WeightNorm", "_SpectralNorm", "_NormBase", "_LazyNormBase"),
}
# Operators that do a norm's work, by whatever road they are reached.
OPERATORS = (
    *("batch_norm", "layer_norm", "group_norm", "instance_norm", "rms_norm"),
    *("_weight_norm", "local_response_norm"),
)
DODGES = {"eval", "exec", "compile", "__import__", "importlib", "ctypes", "globals", "__builtins__"}
DODGES |= {"builtins", "inspect", "gc", "sys", "subprocess", "runpy", "pickle", "marshal", "vars"}
# Guards hold in one thread of one process.
DODGES |= {"threading", "_thread", "concurrent", "multiprocessing", "joblib", "asyncio"}
# Nobody needs to touch the checks' own helpers.
OURS = {"checking", "guards", "Guard", "CheckFailed"}


class Forbidden(RuntimeError):
    """Something that the part asks to be written was called instead."""


class Guard:
    """While it is open, what is forbidden raises `Forbidden`. See `checking.guarded`."""

    def __init__(self, forbidden):
        self.forbidden = tuple(forbidden)
        self.stack = contextlib.ExitStack()

    def __enter__(self):
        names = {f for f in self.forbidden if "." not in f and f != "torch"}
        if "torch" in self.forbidden:
            self._without_torch()
        elif names and "torch" in sys.modules:
            for mode in _modes(names):
                self.stack.enter_context(mode)
        for dotted in self.forbidden:
            if "." in dotted:
                self._patch(dotted)
        return self

    def __exit__(self, *reason):
        return self.stack.__exit__(*reason)

    def _patch(self, dotted):
        module, _, name = dotted.replace("np.", "numpy.", 1).rpartition(".")
        module = importlib.import_module(module)
        kept = getattr(module, name)

        def refuse(*args, **kwargs):
            raise Forbidden(f"{dotted} was called; this part asks you to write it")

        setattr(module, name, refuse)
        self.stack.callback(setattr, module, name, kept)

    def _without_torch(self):
        hidden = {} if "torch" in sys.modules else {"torch": None}
        sys.modules.update(hidden)
        self.stack.callback(lambda: [sys.modules.pop(name) for name in hidden])
        if not hidden:
            for mode in _modes(None):
                self.stack.enter_context(mode)


def _modes(names):
    """torch's two doors, each with a doorkeeper; `names` None shuts them for all."""
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    extra = None if names is None else names - {"norms"}

    def refused(name):
        if names is None:
            return True
        if "norms" in names and (name in NORMS or any(part in name for part in OPERATORS)):
            return True
        return name.strip("_") in extra or name.removeprefix("linalg_") in extra

    def refuse(name):
        raise Forbidden(f"torch's {name} was called; this part asks you to write it without")

    class Calls(TorchFunctionMode):
        def __torch_function__(self, function, types, args=(), kwargs=None):
            name = getattr(function, "__name__", "")
            if refused(name):
                refuse(name)
            return function(*args, **(kwargs or {}))

    class Operators(TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = function._schema.name.partition("::")[2]
            if refused(name):
                refuse(name)
            return function(*args, **(kwargs or {}))

    return Calls(), Operators()


def forbidden_in(sources, name, forbidden):
    """What of the forbidden things the definition of `name` reaches in these cells, or "".

    It follows every name that is bound at the top level of a cell (a function, a class, an alias, an
    import), so a helper of the student's own is read too.
    """
    trees = [tree for source in sources for tree in _trees(source)]
    for tree in trees:
        for node in ast.walk(tree):
            if found := _names_of(node) & OURS:
                return f"{found.pop()}, which belongs to the checks"
    found = _Cells(trees)
    if not found.known(name):
        return f"a {name} that is bound in no cell by its name"
    last = len(trees)
    seen, queue = set(), [(name, last)]
    while queue:
        here = queue.pop()
        if here in seen:
            continue
        seen.add(here)
        for place, node in found.behind(*here):
            for dotted in _dotted(node, found.imported):
                if _is_forbidden(dotted, forbidden):
                    return dotted if here[0] == name else f"{dotted}, through {here[0]}"
                root = dotted.partition(".")[0]
                queue += [(root, last), (root, place)]
    return ""


def _is_forbidden(dotted, forbidden):
    root, *rest = dotted.split(".")
    last = dotted.rpartition(".")[2]
    if root in DODGES or "__dict__" in rest:
        return True
    if root == "torch" and any(part[:1] == "_" for part in rest):
        return True  # what is private does a norm's work under another name
    for what in forbidden:
        if what == "torch" and root in ("torch", "jax", "tensorflow", "autograd", "keras"):
            return True
        if what == "norms" and root == "torch" and last in NORMS:
            return True
        full = what.replace("np.", "numpy.", 1) if what.startswith("np.") else what
        if "." in what and (dotted == full or dotted.startswith(full + ".")):
            return True
        if "." not in what and root == "torch" and last == what and what not in ("torch", "norms"):
            return True
        if what == f"def {dotted}":  # of the student's own, such as the forward in the backward
            return True
    return False


def _trees(source):
    """The syntax trees of a cell: as IPython reads it, and of what its magics run."""
    try:
        from IPython.core.inputtransformer2 import TransformerManager

        source = TransformerManager().transform_cell(source)
    except ImportError:  # `python checks.py` without Jupyter
        lines = source.split("\n")
        source = "\n".join("pass" if ln.lstrip()[:1] in ("%", "!", "?") else ln for ln in lines)
    except SyntaxError:
        return
    try:
        tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return  # it cannot be run either
    yield tree
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _names_of(node.func) & {
            "run_line_magic",
            "run_cell_magic",
        }:
            for word in node.args[1:]:
                if isinstance(word, ast.Constant) and isinstance(word.value, str):
                    yield from _trees(word.value)


def _names_of(node):
    """The names that a node itself says."""
    if isinstance(node, ast.Name):
        return {node.id}
    if isinstance(node, ast.Attribute):
        return {node.attr}
    if isinstance(node, ast.Import | ast.ImportFrom):
        said = {getattr(node, "module", None), *(alias.name for alias in node.names)}
        return {part for name in said if name for part in name.split(".")}
    return set()


class _Cells:
    """What stands behind the names at the top level of the cells that were run, in their order.

    The last definition of a name counts: that of the end, and that of the place where the name was used.
    What is put into an object (`np.more = ...`, setattr) stays, so all of it counts.
    """

    def __init__(self, trees):
        self.bound, self.filled, self.imported = {}, {}, {}
        for place, tree in enumerate(trees):
            for node in ast.walk(tree):
                if isinstance(node, ast.Import):
                    for alias in node.names:
                        kept = alias.name if alias.asname else alias.name.partition(".")[0]
                        self.imported[alias.asname or kept] = kept
                elif isinstance(node, ast.ImportFrom):
                    for alias in node.names:
                        self.imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
            for node in tree.body:
                names, filled = _names_bound(node)
                for name in names:
                    self.bound.setdefault(name, []).append((place, node))
                for name in filled:
                    self.filled.setdefault(name, []).append((place, node))

    def known(self, name):
        return name in self.bound or name in self.imported

    def behind(self, name, place):
        """The nodes behind a name that is used at a place, each with its own."""
        before = [entry for entry in self.bound.get(name, []) if entry[0] <= place]
        here = [entry for entry in before if entry[0] == before[-1][0]]  # a cell may bind it twice
        return here + self.filled.get(name, [])


def _names_bound(node):
    """The names that a statement binds, and those of the objects that it puts something into."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}, set()
    names, filled = set(), set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            names.add(part.id)
        elif isinstance(part, ast.Attribute | ast.Subscript) and isinstance(part.ctx, ast.Store):
            while isinstance(part, ast.Attribute | ast.Subscript):
                part = part.value
            filled |= {n.id for n in ast.walk(part) if isinstance(n, ast.Name)}
        elif isinstance(part, ast.FunctionDef | ast.ClassDef):
            names.add(part.name)
        elif isinstance(part, ast.Call) and _names_of(part.func) & {"setattr", "__setattr__"}:
            filled |= {arg.id for arg in part.args[:1] if isinstance(arg, ast.Name)}
    return names, filled


SCOPES = ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda | ast.ClassDef
SCOPES |= ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp


def _own(function):
    """The names that are a function's own: its arguments, and what it binds outside of inner scopes."""
    own = {a.arg for a in ast.walk(function.args) if isinstance(a, ast.arg)}
    queue = list(function.body) if isinstance(function.body, list) else [function.body]
    arguments = frozenset(own)
    while queue:
        part = queue.pop()
        if isinstance(part, ast.Global | ast.Nonlocal):
            return arguments
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            own.add(part.id)
        if not isinstance(part, SCOPES):
            queue += ast.iter_child_nodes(part)
    return own


def _dotted(node, imported, own=frozenset()):
    """The dotted names in a node, with what was imported spelled out; not those that are a function's own."""
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for part in [*getattr(node, "decorator_list", ()), *ast.iter_child_nodes(node.args)]:
            yield from _dotted(part, imported, own)
        own = own | _own(node)
        for part in node.body if isinstance(node.body, list) else [node.body]:
            yield from _dotted(part, imported, own)
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        yield from (f"{node.module}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.ListComp | ast.SetComp | ast.DictComp | ast.GeneratorExp):
        targets = [n for g in node.generators for n in ast.walk(g.target)]
        own = own | {n.id for n in targets if isinstance(n, ast.Name)}
    chain, root = [], node
    while isinstance(root, ast.Attribute):
        chain.append(root.attr)
        root = root.value
    if isinstance(root, ast.Name):
        if root.id not in own:
            if chain:
                yield ".".join([imported.get(root.id, root.id), *reversed(chain)])
            yield imported.get(root.id, root.id)
            yield root.id
        elif "__dict__" in chain:
            yield "vars"
        return
    for part in ast.iter_child_nodes(root):
        yield from _dotted(part, imported, own)
