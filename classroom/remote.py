"""The trusted side's view of a student's kernel: stand-ins for names, and calls that carry plain data."""

import base64
import builtins
import json
import os
import select
import struct
import time

from . import sandbox
from .encoding import LARGEST_ANSWER, Refused, clean, decode, encode, pack, unpack

MOST_SHOWN = 10 * 2**20  # bytes of outputs that a notebook keeps
DIED = {
    "memory": "it used more memory than it may",
    "processes": "it started more processes than it may",
    "time": "it ran longer than it may",
    "total": "the notebook has used up all its time",
    "closed": "it had been closed",
    "died": "Python itself ended (a crash, or a call such as os._exit)",
    "garbled": "it broke the line to the grader",
}


class KernelDied(RuntimeError):
    """The kernel was ended, or ended itself; `reason` is a key of DIED."""

    def __init__(self, reason, what):
        super().__init__(f"{what} stopped the kernel: {DIED[reason]}")
        self.reason = reason


class StudentError(Exception):
    """An exception that the student's code raised, as data."""

    def __init__(self, told):
        self.name_there = clean(told.get("name", "Exception"))[:100]
        bases = told.get("bases")
        self.bases_there = [clean(b) for b in bases[:50]] if isinstance(bases, list) else []
        self.said, self.where = (
            clean(told.get("said", ""))[:1000],
            clean(told.get("where", ""))[:200],
        )
        place = f" ({self.where})" if self.where else ""
        super().__init__(f"{self.name_there}: {self.said}{place}")


PATIENT = 3  # times the seconds of a submission that it may be waited for in all


class Kernel:
    """A student's kernel: cells are run in it, and what they define is called.

    If a call kills it, the next one finds a new kernel in which the harmless cells have been run again, so
    an endless loop in one part costs that part alone.
    """

    def __init__(self, kind, files, limits=None, slot=0, nursery=None):
        self.kind, self.files, self.slot, self.nursery = kind, list(files), slot, nursery
        self.limits = limits or sandbox.Limits()
        self.process, self.buffer, self.generation, self.deaths = None, bytearray(), 0, []
        self.sources, self.done = [], []
        self.used, self.waited, self.shown = 0.0, 0.0, 0
        if nursery:
            self.process, self.generation = nursery.process, 1
            self._exchange({"op": "branch"}, self.limits.start, "starting")
            self.used = -self.process.processor_time()[0]

    def __enter__(self):
        return self

    def __exit__(self, *reason):
        self.close()

    def close(self):
        if self.process and not self._left():
            self.used += self.process.processor_time()[0]
            self.process.close()
        self.process = None

    def _left(self):
        """Give a process of a nursery back, if it is well."""
        if not self.nursery or self.process is not self.nursery.process or self.process.ended:
            return False
        try:
            end = Patience(self.process, 5)
            self._send(pack({"op": "leave"}), end, "the end")
            return self._receive(end, "the end") == {"left": True}
        except KernelDied:
            return False

    def run(self, source):
        """Run a cell; return its outputs. A cell that kills the kernel is not run again.

        Raises:
            KernelDied: the cell took too long, too much, or ended Python
        """
        self.sources.append(source)
        answer = self._ask({"op": "run", "source": source}, self.limits.cell, "this cell")
        self.done.append(source)
        outputs = _outputs(answer)
        self.shown += len(json.dumps(outputs))
        if self.shown > MOST_SHOWN:
            text = f"[left out: this notebook shows more than {MOST_SHOWN} bytes]\n"
            outputs = [{"output_type": "stream", "name": "stdout", "text": text}]
        return outputs

    def call(self, target, args, kwargs, forbid=(), what="the call"):
        order = {"op": "call", "target": target, "forbid": list(forbid)}
        order["args"] = encode(tuple(args), self._name)
        order["kwargs"] = encode(dict(kwargs), self._name)
        answer = self._ask(order, self.limits.call, what)
        if isinstance(answer.get("error"), dict):
            raise StudentError(answer["error"])
        try:
            return decode(answer.get("value"), self._object)
        except (TypeError, ValueError, KeyError) as error:
            raise StudentError({"name": "ValueError", "said": "no plain data came back"}) from error

    def helper(self, name, args, kwargs):
        """Run one of the checks' own helpers beside the student's code."""
        return self.call({"helper": name}, args, kwargs, what=f"a call ({name.partition(':')[2]})")

    def _name(self, value):
        if not isinstance(value, Remote):
            raise Refused(f"a {type(value).__name__} cannot be sent to the student's code")
        if "handle" in value._target and value._generation != self.generation:
            raise KernelDied("closed", "an earlier call")
        return value._target

    def _object(self, data):
        return Remote(self, {"handle": int(data["handle"])}, str(data.get("kind", "object"))[:80])

    def _start(self):
        if len(self.deaths) > self.limits.revivals:
            raise KernelDied("closed", f"{len(self.deaths)} earlier cells or calls")
        self.close()
        self.buffer = bytearray()
        self.generation += 1
        self.process = sandbox.Process(self.kind, self.files, self.limits, self.slot)
        try:
            self._receive(Patience(self.process, self.limits.start), "starting")
        except KernelDied as death:
            self.deaths.append(("starting", death.reason))
            self.close()
            raise
        for source in self.done:
            self._exchange({"op": "run", "source": source}, self.limits.cell, "an earlier cell")

    def _ask(self, order, seconds, what):
        used = self.used + (self.process.processor_time()[0] if self.process else 0)
        if used > self.limits.total or self.waited > PATIENT * self.limits.total:
            self.close()
            raise KernelDied("total", what)
        if self.process is None:
            self._start()
        return self._exchange(order, seconds, what)

    def _exchange(self, order, seconds, what):
        end = Patience(self.process, seconds)
        try:
            self._send(pack(order), end, what)
            return self._receive(end, what)
        except KernelDied as death:
            self.deaths.append((what, death.reason))
            self.close()
            raise
        finally:
            self.waited += end.waited

    def _send(self, body, end, what):
        pipe = self.process.popen.stdin.fileno()
        while body:
            if not select.select([], [pipe], [], end.left())[1]:
                end.check(what)
                continue
            try:
                body = body[os.write(pipe, body) :]
            except OSError:
                raise KernelDied(self.process.ended or "died", what) from None

    def _receive(self, end, what):
        (length,) = struct.unpack(">Q", self._read(8, end, what))
        if length > LARGEST_ANSWER:
            raise KernelDied("garbled", what)
        try:
            return unpack(self._read(length, end, what))
        except Refused:
            raise KernelDied("garbled", what) from None

    def _read(self, length, end, what):
        pipe = self.process.popen.stdout.fileno()
        while len(self.buffer) < length:
            ready = select.select([pipe], [], [], end.left())[0]
            end.check(what)
            if not ready:
                continue
            chunk = os.read(pipe, 2**20)
            if not chunk:
                raise KernelDied(self.process.ended or "died", what)
            self.buffer += chunk
        body = bytes(self.buffer[:length])
        del self.buffer[:length]
        return body


class Nursery:
    """A process that has imported what is slow and forks for one notebook after the other.

    For notebooks of our own alone (the tables of faults): they share the sandbox.
    """

    def __init__(self, kind, files, limits, slot):
        with Kernel(kind, files, limits, slot) as kernel:
            kernel.run("import checking, torch\nwith checking.Guard(['norms']): torch.ones(2) * 2")
            self.process, kernel.process = kernel.process, None

    def well(self):
        return self.process.popen.poll() is None and not self.process.ended


class Patience:
    """How long to wait. On a busy machine a program gets its seconds of the processor all the same: time is
    up when it has used them, or does nothing, or after LONGEST times as long. Time in which the grader
    itself was stopped (a lid closed, Ctrl-Z) does not count.
    """

    LONGEST = 10
    LOOKS = 5
    STEP = 0.5  # seconds between two looks

    def __init__(self, process, seconds):
        self.process, self.seconds, self.waited = process, seconds, 0.0
        self.last, self.used = time.monotonic(), process.processor_time()[0]

    def left(self):
        """Seconds until the next look."""
        self.last = time.monotonic()
        return max(0.05, min(self.STEP, self.seconds - self.waited))

    def check(self, what):
        """Count the time since `left`; raise KernelDied if time is up."""
        self.waited += min(time.monotonic() - self.last, 2 * self.STEP)
        if self.waited < self.seconds:
            return
        used, busy = self.process.processor_time()
        for _ in range(self.LOOKS):
            time.sleep(0.1)
            more, at_work = self.process.processor_time()
            busy |= at_work or more > used
        self.waited += 0.1 * self.LOOKS
        most = self.LONGEST * self.seconds
        if not busy or more - self.used > 0.8 * self.seconds or self.waited > most:
            raise KernelDied("time", what)


class Remote:
    """Stands for something in the student's kernel. Calling it calls there; nothing else is believed."""

    _is_remote = True

    def __init__(self, kernel, target, kind="object", forbid=()):
        self._kernel, self._target, self._kind = kernel, target, kind
        self._forbid, self._generation = tuple(forbid), kernel.generation

    @property
    def __name__(self):
        return self._target.get("name", self._kind)

    def __call__(self, *args, **kwargs):
        return self._kernel.call(
            self._target, args, kwargs, self._forbid, f"a call of {self.__name__}"
        )

    def __getattr__(self, name):
        if name.startswith("_"):
            raise AttributeError(name)
        target = {**self._target, "method": name}
        if "name" in self._target:
            raise AttributeError(f"ask {self.__name__} for {name} through a helper")
        return Remote(self._kernel, target, name, self._forbid)

    def _guarded(self, forbidden):
        return Remote(self._kernel, self._target, self._kind, (*self._forbid, *forbidden))


class Names(dict):
    """The names that a locked cell sees: the checks, and stand-ins for everything of the student's."""

    def __init__(self, kernel, **modules):
        super().__init__(modules)
        self.kernel = kernel

    def __missing__(self, name):
        if hasattr(builtins, name):
            raise KeyError(name)
        return Remote(self.kernel, {"name": name}, name)


def _outputs(answer):
    """A cell's outputs as the kernel tells them: rebuilt field by field, so that they are well formed."""
    found = []
    told = answer.get("outputs")
    for output in (told if isinstance(told, list) else [])[:100]:
        kind = output.get("output_type") if isinstance(output, dict) else None
        if kind == "stream":
            name = "stderr" if output.get("name") == "stderr" else "stdout"
            found.append(
                {"output_type": kind, "name": name, "text": clean(output.get("text"))[:30_000]}
            )
        elif kind in ("display_data", "execute_result"):
            found.append(_shown(kind, output.get("data")))
        elif kind == "error":
            lines = output.get("traceback")
            lines = [clean(line)[:4000] for line in lines[:80]] if isinstance(lines, list) else []
            texts = {key: clean(output.get(key))[:2000] for key in ("ename", "evalue")}
            found.append({"output_type": kind, **texts, "traceback": lines})
    return found


def _is_base64(text):
    try:
        return bool(base64.b64decode("".join(text.split()), validate=True))
    except ValueError:
        return False


def _shown(kind, data):
    """Text and pictures alone: no markup of a student's reaches a marker's browser."""
    data = data if isinstance(data, dict) else {}
    kept = {}
    if isinstance(data.get("text/plain"), str):
        kept["text/plain"] = clean(data["text/plain"][:30_000])
    picture = data.get("image/png")
    if isinstance(picture, str) and len(picture) < 2_500_000 and _is_base64(picture):
        kept["image/png"] = picture
    shown = {"output_type": kind, "data": kept, "metadata": {}}
    return shown | ({"execution_count": None} if kind == "execute_result" else {})
