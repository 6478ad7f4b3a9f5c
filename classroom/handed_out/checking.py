"""What the checks of an assignment are written with. It is handed out beside the notebook.

The same check runs in two places. On a student's machine it gets the student's functions themselves. When
a submission is graded it gets stand-ins: a call goes into the sandbox as plain data and plain data comes
back. So a check calls, compares and complains, and never touches an object of the student's own.
"""

import functools
import sys

import numpy as np
from guards import Forbidden, Guard, forbidden_in  # noqa: F401

__all__ = [
    "Check",
    "CheckFailed",
    "Layer",
    "beside",
    "guarded",
    "main",
    "numeric_gradient",
    "rng",
    "watched",
]
_SEED = [0]


class CheckFailed(AssertionError):
    """A check did not pass; the message is for the student."""


def rng(*more):
    """A random generator: fixed on a student's machine, drawn anew for each submission when graded."""
    return np.random.default_rng([*_SEED, *more])


def reseed(*numbers):
    """For the grader: what `rng` starts from. The numbers never enter the sandbox."""
    _SEED[:] = [int(n) for n in numbers]


def is_remote(value):
    return getattr(type(value), "_is_remote", False)


def beside(function):
    """Let a helper run where the student's code lives when it gets something of the student's.

    It may then use the objects themselves (a torch module, say), but it is as little to be trusted as
    they are: let it return plain data, and judge that in the check.
    """
    name = f"{function.__module__.rpartition('.')[2]}:{function.__name__}"

    @functools.wraps(function, updated=())
    def wrapper(*args, **kwargs):
        for value in (*args, *kwargs.values()):
            if is_remote(value):
                return value._kernel.helper(name, args, kwargs)
        return function(*args, **kwargs)

    wrapper._beside = function
    return wrapper


def guarded(subject, *forbidden):
    """The same function, which fails if it uses what is forbidden while it runs.

    Args:
        subject: the student's function
        forbidden: "torch" (nothing of torch at all), "norms" (torch's own norms), "np.linalg.svd" (a
            function of NumPy), or the name of one of torch's functions, such as "svd"
    """
    if is_remote(subject):
        return subject._guarded(forbidden)

    @functools.wraps(subject)
    def in_place(*args, **kwargs):
        with Guard(forbidden):
            return subject(*args, **kwargs)

    @functools.wraps(subject)
    def wrapper(*args, **kwargs):
        kwargs = {name: copied(value) for name, value in kwargs.items()}
        return in_place(*map(copied, args), **kwargs)

    wrapper.in_place = in_place
    return wrapper


def copied(value):
    """Arrays and lists anew: a function that writes into its arguments must not spoil the checks' own."""
    if isinstance(value, np.ndarray):
        new = value.copy()
        new.flags.writeable = value.flags.writeable
        return new
    if type(value) in (list, tuple):
        return type(value)(map(copied, value))
    return value


@beside
def watched(function, *args, **kwargs):
    """Call a function; return its result and its arguments as they are afterwards."""
    return getattr(function, "in_place", function)(*args, **kwargs), list(args)


@beside
class Layer:
    """A student's `nn.Module`, spoken to in arrays.

    `layer(GhostBatchNorm, 6, groups=2)` makes one. Arrays go in and come out as NumPy's; the layer is
    made of the given dtype. torch's own norms are forbidden while it runs, and what else is named.
    """

    def __init__(self, cls, *args, dtype="float64", forbid=("norms",), **kwargs):
        import torch

        self.torch, self.forbid = torch, tuple(forbid)
        self.dtype = getattr(torch, dtype)
        with Guard(self.forbid):
            self.module = cls(*args, **kwargs)
        if not isinstance(self.module, torch.nn.Module):
            raise TypeError(f"{cls.__name__} is not a torch.nn.Module")
        self.module.to(self.dtype)

    def _tensor(self, value, grad=False):
        if not isinstance(value, np.ndarray | np.generic):
            return value
        tensor = self.torch.from_numpy(np.array(value))
        return tensor.to(self.dtype).requires_grad_(grad) if tensor.is_floating_point() else tensor

    def _array(self, value):
        if isinstance(value, self.torch.Tensor):
            return value.detach().cpu().to_dense().numpy().copy()
        if isinstance(value, list | tuple):
            return tuple(self._array(v) for v in value)
        return value

    def forward(self, *inputs, **more):
        """The output for these inputs, without gradients."""
        with self.torch.no_grad(), Guard(self.forbid):
            return self._array(self.module(*map(self._tensor, inputs), **more))

    def gradient(self, dy, *inputs, **more):
        """Output and gradients under the upstream gradient `dy`.

        Returns:
            dict: "y"; "dx" (a list: one for each input, None for integers); and one array for each
            parameter, by its name (None where no gradient arrives)
        """
        given = [self._tensor(x, grad=True) for x in inputs]
        leaves = [x for x in given if getattr(x, "requires_grad", False)]
        named = dict(self.module.named_parameters())
        with self.torch.enable_grad(), Guard(self.forbid):
            y = self.module(*given, **more)
            every = [*leaves, *named.values()]
            grads = self.torch.autograd.grad(y, every, self._tensor(dy), allow_unused=True)
        found = [self._array(g) for g in grads]
        dx = iter(found[: len(leaves)])
        result = {"y": self._array(y)}
        result["dx"] = [next(dx) if any(x is v for v in leaves) else None for x in given]
        return result | dict(zip(named, found[len(leaves) :], strict=True))

    def train(self, mode=True):
        self.module.train(mode)

    def eval(self):
        self.module.eval()

    def state(self):
        """All parameters and buffers, by name."""
        return {name: self._array(value) for name, value in self.module.state_dict().items()}

    def load(self, **values):
        """Set parameters and buffers; those not named keep their values."""
        state = self.module.state_dict()
        unknown = sorted({*values} - {*state})
        if unknown:
            raise KeyError(f"the layer has no {', '.join(unknown)}; it has {', '.join(state)}")
        with self.torch.no_grad():
            for name, value in values.items():
                state[name].copy_(self.torch.as_tensor(value))

    def parameters(self):
        """The names of what an optimizer would train."""
        return [name for name, _ in self.module.named_parameters()]

    def buffers(self):
        return [name for name, _ in self.module.named_buffers()]

    def carries_graph(self, name):
        """Whether a buffer hangs on to the graph of a batch (it must not)."""
        value = dict(self.module.named_buffers())[name]
        return bool(value.requires_grad or value.grad_fn is not None)

    def get(self, name):
        """An attribute, as plain data."""
        return self._array(getattr(self.module, name))

    def call(self, method, *args):
        """A method of the module, such as "extra_repr"."""
        with Guard(self.forbid):
            return self._array(getattr(self.module, method)(*map(self._tensor, args)))


def numeric_gradient(function, dy, *arrays, step=1e-6):
    """Central differences of sum(function(*arrays) * dy), for each array. Only for your own reference."""
    results = []
    for k, array in enumerate(arrays):
        grad = np.zeros(array.shape)
        for index in np.ndindex(array.shape):
            ends = []
            for sign in (1, -1):
                moved = [np.array(a, dtype=float) for a in arrays]
                moved[k][index] += sign * step
                ends.append((function(*moved) * dy).sum())
            grad[index] = (ends[0] - ends[1]) / (2 * step)
        results.append(grad)
    return results


class Check:
    """The checks of one part: they compare, and say what was expected, what came, and what to read.

    Args:
        read: the section to read again, such as "chapter 02, section 4 (Backward)"
        secret: for hidden checks: shapes and sizes of an error are told, numbers are not
    """

    def __init__(self, read, secret=False):
        self.read, self.secret = read, secret

    def fail(self, what, expected, came):
        raise CheckFailed(
            f"{what}\n  expected: {expected}\n  came:     {came}\n  read:     {self.read}"
        )

    def true(self, condition, what, expected, came):
        """Fail unless `condition` is true. The texts are shown, so in a hidden check give no numbers away."""
        if condition is not True and not (type(condition) is np.bool_ and condition):
            self.fail(what, expected, came)

    def parts(self, value, *names):
        """Unpack a result into as many parts as there are names."""
        what = ", ".join(names)
        if type(value) not in (tuple, list):
            self.fail(f"the result is not a tuple ({what})", f"{len(names)} values", kind_of(value))
        if len(value) != len(names):
            self.fail(f"the result is not ({what})", f"{len(names)} values", f"{len(value)} values")
        return tuple(value)

    def array(self, value, shape, what):
        """A numeric array of this shape, or a failure; a number counts as an array of shape ()."""
        if type(value) in (int, float):
            value = np.array(value)
        if not isinstance(value, np.ndarray | np.generic) or value.dtype.kind not in "iufb":
            self.fail(
                f"{what} is not a NumPy array of numbers", f"an array {shape}", kind_of(value)
            )
        if value.shape != tuple(shape):
            self.fail(f"{what} has the wrong shape", tuple(shape), value.shape)
        return np.asarray(value)

    def close(self, value, wanted, what, tolerance=1e-6):
        """The array `wanted`, up to `tolerance` times its largest entry (or 1, if that is larger)."""
        wanted = np.asarray(wanted)
        value = self.array(value, wanted.shape, what)
        scale = max(1.0, float(np.abs(wanted).max(initial=0)))
        with np.errstate(all="ignore"):
            error = np.abs(value.astype(np.float64) - wanted)
        if not np.isfinite(value).all() and np.isfinite(wanted).all():
            self.fail(
                f"{what} holds nan or infinity", "finite numbers", self._shown(value, "nan or inf")
            )
        if not bool((error <= tolerance * scale).all()):
            size = f"largest difference {error.max():.2g}"
            self.fail(
                f"{what} is not right",
                self._shown(wanted, f"an array {wanted.shape}, right to {tolerance:g}"),
                f"{self._shown(value, 'other numbers')}; {size}",
            )

    def _shown(self, array, otherwise):
        if self.secret or array.size > 24:
            return otherwise
        return np.array2string(array, precision=4, suppress_small=True, separator=", ").replace(
            "\n", ""
        )

    def different(self, value, other, what, tolerance=1e-3):
        """The contrary of `close`: for a value that must have moved."""
        value = self.array(value, np.shape(other), what)
        if bool(np.abs(value - np.asarray(other)).max(initial=0) <= tolerance):
            self.fail(f"{what} has not changed", "other numbers than before", "the same")

    def raises(self, kind, function, *args, what="a wrong call", **kwargs):
        """The call must raise `kind` (a builtin exception). Returns the message."""
        try:
            function(*map(copied, args), **kwargs)
        except (CheckFailed, NotImplementedError):
            raise
        except Exception as error:
            name = getattr(error, "name_there", type(error).__name__)
            bases = getattr(error, "bases_there", [c.__name__ for c in type(error).__mro__])
            if kind.__name__ not in bases or name == "NotImplementedError":
                self.fail(f"{what} raises the wrong error", kind.__name__, name)
            return str(error)
        self.fail(f"{what} must be refused", f"a {kind.__name__}", "no error")

    def free_of(self, subject, *forbidden):
        """Read the student's own source: neither `subject` nor what it calls may use these.

        Args:
            subject: the student's function or class
            forbidden: "torch", "norms", dotted names such as "numpy.linalg.svd", or "def NAME" for
                another of the student's functions, such as the forward in the backward
        """
        sources = subject._kernel.sources if is_remote(subject) else _cells(subject)
        found = forbidden_in(sources, subject.__name__, forbidden)
        if found:
            self.fail(
                f"{subject.__name__} uses what this part asks you to write", "your own lines", found
            )

    def derived(self, forward, backward, *forbidden):
        """The student's two functions, guarded: neither uses what is forbidden, the backward not the forward.

        So a backward cannot be a numerical derivative of the forward, nor come out of its cache by torch.
        """
        self.free_of(forward, *forbidden)
        self.free_of(backward, *forbidden, f"def {forward.__name__}")
        return guarded(forward, *forbidden), guarded(backward, *forbidden)

    def fits(self, forward, backward, arrays, rest, names, only):
        """On a student's machine: the backward against central differences of the student's own forward.

        Args:
            arrays: what the forward differentiates; it is called as forward(*arrays, *rest) and returns
                the output first and the cache last
            names: of the gradients that come back, one for each array
            only: those that are looked at
        """
        if is_remote(forward):
            return  # graded by a reference, whatever the forward is worth
        *most, cache = forward(*arrays, *rest)
        y = self.array(most[0], np.shape(most[0]), "the forward's output")
        dy = np.random.default_rng(0).normal(size=y.shape)
        found = self.parts(backward(dy, cache), *names)
        wanted = numeric_gradient(lambda *moved: forward(*moved, *rest)[0], dy, *arrays)
        for value, right, name in zip(found, wanted, names, strict=True):
            if name not in only:
                continue
            told = f"{name} against central differences of your own forward"
            scale = np.abs(right).max() or 1.0
            value = self.array(value, right.shape, told)
            self.close(value / scale, right / scale, told, tolerance=1e-4)


def kind_of(value):
    """What a value is, in a word or two, for a message."""
    name = getattr(value, "_kind", None) if is_remote(value) else type(value).__name__
    return "nothing (is there a return?)" if value is None else f"a {name}"


def _cells(subject):
    """The cells of the running notebook, or the source of the function alone."""
    main = sys.modules.get("__main__")
    cells = getattr(main, "In", None)
    if cells:
        return list(cells)
    import inspect

    try:
        return [inspect.getsource(subject)]
    except (OSError, TypeError):
        return []


def main():
    """`python checks.py`: run the notebook beside it and its checks, and count the points."""
    import json
    from pathlib import Path

    here = Path(sys.argv[1] if len(sys.argv) > 1 else ".")
    found = [here] if here.is_file() else sorted(here.glob("*.ipynb"))
    if len(found) != 1:
        sys.exit("name the notebook: python checks.py NOTEBOOK.ipynb")
    try:
        cells = json.loads(found[0].read_text("utf-8"))["cells"]
    except (ValueError, KeyError, TypeError):
        sys.exit(f"{found[0]} is not a notebook")
    got, most = score(cells)
    print(f"\n{got:g} of {most:g} points by the public checks; hidden checks decide.")


def score(cells):
    """Run the code cells in order; print a line for each check; return the points got and possible."""
    sys.modules.setdefault("checks", sys.modules["__main__"])
    scope, got, most, failed = {"__name__": "__notebook__"}, 0.0, 0.0, False
    ran = scope["In"] = []
    sys.modules["__main__"].In = ran
    for cell in cells:
        if cell.get("cell_type") != "code":
            continue
        told = cell.get("metadata", {}).get("nbgrader", {})
        lines = "".join(cell["source"]).split("\n")
        source = "\n".join("" if ln.lstrip()[:1] in ("%", "!") else ln for ln in lines)
        ran.append(source)
        points = float(told.get("points", 0)) if told.get("grade") else 0.0
        most += points
        try:
            exec(compile(source, "<cell>", "exec"), scope)
            got += points
        except KeyboardInterrupt:
            print(f"{told.get('grade_id', 'a cell')}: interrupted{_where()}")
        except Exception as error:
            name = told.get("grade_id", "a cell")
            failed |= told.get("solution", False) and not told.get("grade", False)
            hint = " (a cell above failed)" if failed and isinstance(error, NameError) else ""
            print(f"{name}: {type(error).__name__}: {error}{hint}")
    return got, most


def _where():
    """In which line of the notebook the program was when it was interrupted."""
    import traceback

    frames = traceback.extract_tb(sys.exc_info()[2])
    there = [f for f in frames if f.filename == "<cell>"]
    return f" in line {there[-1].lineno} of {there[-1].name}" if there else ""
