"""Runs inside the sandbox: executes a student's cells, and calls what they define when asked.

Orders come on standard input and answers go to standard output, as `encoding` packs them. Nothing that
is said here is believed outside: an answer is data to be judged.
"""

import contextlib
import io
import json
import os
import resource
import shutil
import struct
import sys
import traceback

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import checking
from encoding import LARGEST, LARGEST_ANSWER, Refused, decode, encode, pack
from IPython.core.displayhook import DisplayHook
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from traitlets import Type

sys.path.insert(0, os.getcwd())  # the files that were handed out
TEXT = 20_000  # characters of output that a cell keeps
MEDIA = 2_000_000


class Stream(io.TextIOBase):
    """Keeps the first part of what is printed and drops the rest."""

    def __init__(self):
        self.kept, self.room = [], TEXT

    def write(self, text):
        if self.room > 0:
            self.kept.append(text[: self.room])
            self.room -= len(text)
            if self.room <= 0:
                self.kept.append(f"\n[output cut after {TEXT} characters]\n")
        return len(text)

    def writable(self):
        return True

    def text(self):
        return "".join(self.kept)


class Hook(DisplayHook):
    """Keeps the value of a cell's last line instead of printing it."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.kept = []

    def write_output_prompt(self):
        pass

    def write_format_data(self, format_dict, md_dict=None):
        self.kept.append({"data": format_dict})


class Publisher(CapturingDisplayPublisher):
    is_publishing = False

    def clear_output(self, wait=False):
        self.outputs.clear()


class Shell(InteractiveShell):
    displayhook_class = Type(Hook)
    display_pub_class = Type(Publisher)


class Servant:
    def __init__(self):
        self.shell = Shell.instance(colors="nocolor")
        if self.shell.history_manager:
            self.shell.history_manager.enabled = False
        self.shell._showtraceback = self._remember
        self.handles, self.errors = {}, []

    def _remember(self, etype, evalue, stb):
        said = str(evalue)[:2000]
        lines = [line[:2000] for line in stb[:60]]
        self.errors.append(
            {"output_type": "error", "ename": etype.__name__, "evalue": said, "traceback": lines}
        )

    def run(self, source):
        """Execute a cell; return its outputs as a notebook stores them."""
        out, err = Stream(), Stream()
        self.errors, shown, values = [], self.shell.display_pub.outputs, self.shell.displayhook.kept
        shown.clear()
        values.clear()
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            self.shell.run_cell(source, store_history=True)
        outputs = [
            {"output_type": "stream", "name": name, "text": stream.text()}
            for name, stream in (("stdout", out), ("stderr", err))
            if stream.kept
        ]
        outputs += [self._shown("display_data", o) for o in shown[:20]]
        outputs += [self._shown("execute_result", o) for o in values[-1:]]
        return {"outputs": outputs + self.errors, "ok": not self.errors}

    def _shown(self, kind, output):
        data = {
            str(k): v
            for k, v in output["data"].items()
            if isinstance(v, str) and len(v) < (TEXT if k.startswith("text/plain") else MEDIA)
        }
        shown = {"output_type": kind, "data": data, "metadata": {}}
        if kind == "execute_result":
            shown["execution_count"] = self.shell.execution_count
        return shown

    def call(self, order):
        target = self._target(order["target"])
        args = decode(order["args"], self._fetch)
        kwargs = decode(order["kwargs"], self._fetch)
        with (
            contextlib.redirect_stdout(Stream()),
            contextlib.redirect_stderr(Stream()),
            checking.Guard(order["forbid"]),
        ):
            value = target(*args, **kwargs)
        return {"value": encode(value, self._keep)}

    def _target(self, target):
        if "helper" in target:
            module, _, name = target["helper"].partition(":")
            found = getattr(sys.modules.get(module) or __import__(module), name)
            return getattr(found, "_beside", found)
        found = self._fetch(target)
        return getattr(found, target["method"]) if "method" in target else found

    def _fetch(self, data):
        if "handle" in data:
            return self.handles[data["handle"]]
        if data["name"] not in self.shell.user_ns:
            raise NameError(f"name '{data['name']}' is not defined: has its cell run?")
        return self.shell.user_ns[data["name"]]

    def _keep(self, value):
        number = len(self.handles)
        self.handles[number] = value
        return {"handle": number, "kind": type(value).__name__}

    def answer(self, order):
        try:
            if order["op"] == "run":
                return self.run(order["source"])
            return self.call(order)
        except BaseException as error:
            return {"error": _told(error)}


def _told(error):
    """An exception of the student's code, as data."""
    frames = traceback.extract_tb(error.__traceback__)
    there = [f"line {f.lineno} of {f.name}" for f in frames if "ipython" in f.filename.lower()]
    try:
        said = str(error)[:1000]
    except Exception:
        said = ""
    bases = [c.__name__ for c in type(error).__mro__]
    where = there[-1] if there else ""
    return {"name": type(error).__name__, "bases": bases, "said": said, "where": where}


def limit(limits):
    """Take away what the submission may not have: first the user's rights, then room and time."""
    if os.getuid() == 0 and limits.get("uid"):
        os.setgroups([])
        os.setgid(limits["uid"])
        os.setuid(limits["uid"])
    for name in ("AS", "FSIZE", "NPROC", "NOFILE", "CPU"):
        if limits.get(name):
            number = getattr(resource, f"RLIMIT_{name}")
            most = resource.getrlimit(number)[1]
            wanted = limits[name] if most < 0 else min(limits[name], most)
            resource.setrlimit(number, (wanted, wanted))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def make_room():
    """Empty a scratch folder in memory that a cell has filled: later cells need some of it."""
    for place in (os.getcwd(), "/dev/shm"):
        with contextlib.suppress(OSError):
            disk = shutil.disk_usage(place)
            if disk.total > 2**30 or disk.free > disk.total / 20:
                continue  # a real disk, or room enough
            for entry in os.scandir(place):
                with contextlib.suppress(OSError):
                    shutil.rmtree(entry) if entry.is_dir() else os.unlink(entry)


def reap():
    """Take leave of children that have ended: they count as processes until then."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass


def main():
    orders, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDWR)
    for number in (0, 1, 2):
        os.dup2(nothing, number)
    limit(json.loads(sys.argv[1]))
    servant, first = Servant(), os.getpid()
    with contextlib.suppress(BrokenPipeError):
        answers.write(pack({"ready": True}))
        answers.flush()
        while head := orders.read(8):
            (length,) = struct.unpack(">Q", head)
            if length > LARGEST:
                break
            order = json.loads(orders.read(length))
            if order["op"] == "leave":
                os._exit(0)
            if order["op"] == "branch":
                # The fork goes on with the orders that follow; this process waits until it has left.
                if child := os.fork():
                    if os.waitpid(child, 0)[1]:
                        break
                    answer = {"left": True}
                else:
                    first, answer = os.getpid(), {"ready": True}
            else:
                answer = servant.answer(order)
            if os.getpid() != first:
                os._exit(0)  # a child that the student's code has forked answers nothing
            reap()
            make_room()
            try:
                body = pack(answer, LARGEST_ANSWER)
            except (Refused, TypeError, ValueError) as error:
                body = pack({"error": _told(error)})
            answers.write(body)
            answers.flush()


if __name__ == "__main__":
    main()
