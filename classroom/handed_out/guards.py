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
DODGES |= {"builtins", "inspect", "gc", "sys", "subprocess", "runpy", "pickle", "marshal"}


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
    bound, imported = _bindings(sources)
    seen, queue = set(), [name]
    while queue:
        here = queue.pop()
        if here in seen:
            continue
        seen.add(here)
        for node in bound.get(here, []):
            for dotted in _dotted(node, imported):
                if _is_forbidden(dotted, forbidden):
                    return dotted
                queue.append(dotted.partition(".")[0])
    return ""


def _is_forbidden(dotted, forbidden):
    root, last = dotted.partition(".")[0], dotted.rpartition(".")[2]
    if root in DODGES:
        return True
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
    return False


def _bindings(sources):
    """Which nodes bind each top-level name, and what each imported name stands for."""
    bound, imported = {}, {}
    for source in sources:
        lines = [
            ("pass" if ln.lstrip()[:1] in ("%", "!", "?") else ln) for ln in source.split("\n")
        ]
        try:
            tree = ast.parse("\n".join(lines))
        except (SyntaxError, ValueError, RecursionError):
            continue
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                for alias in node.names:
                    kept = alias.name if alias.asname else alias.name.partition(".")[0]
                    imported[alias.asname or kept] = kept
            elif isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    imported[alias.asname or alias.name] = f"{node.module}.{alias.name}"
        for node in tree.body:
            for name in _names_bound(node):
                bound.setdefault(name, []).append(node)
    return bound, imported


def _names_bound(node):
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
        return {node.name}
    names = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store):
            names.add(part.id)
        elif isinstance(part, ast.Attribute | ast.Subscript) and isinstance(part.ctx, ast.Store):
            while isinstance(part, ast.Attribute | ast.Subscript):
                part = part.value
            if isinstance(part, ast.Name):
                names.add(part.id)
        elif isinstance(part, ast.FunctionDef | ast.ClassDef):
            names.add(part.name)
    return names


def _dotted(node, imported):
    """The dotted names in a node, with what was imported spelled out."""
    inner = set()
    for part in ast.walk(node):
        if isinstance(part, ast.Import):
            yield from (alias.name for alias in part.names)
        elif isinstance(part, ast.ImportFrom):
            yield from (f"{part.module}.{alias.name}" for alias in part.names)
        elif isinstance(part, ast.Attribute) and id(part) not in inner:
            chain, root = [], part
            while isinstance(root, ast.Attribute):
                inner.add(id(root))
                chain.append(root.attr)
                root = root.value
            if isinstance(root, ast.Name):
                yield ".".join([imported.get(root.id, root.id), *reversed(chain)])
                yield root.id
        elif isinstance(part, ast.Name):
            yield imported.get(part.id, part.id)
            yield part.id
