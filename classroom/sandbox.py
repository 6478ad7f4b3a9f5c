"""Where a submission runs: bubblewrap, or a container, or (only when told so) nothing at all.

A sandbox sees the Python that grades, the files that were handed out, and an empty folder in memory. It
has no network, no home, no other submission, no gradebook and no hidden check.
"""

import contextlib
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

HERE = Path(__file__).resolve().parent
INSIDE = [HERE / "servant.py", HERE / "encoding.py"]
HANDED_OUT = sorted((HERE / "handed_out").glob("*.py"))
CURE = """\
No sandbox can run here, so nothing is graded: a submission is a stranger's program.
  bubblewrap: {bubblewrap}
  container:  {container}
What helps:
  apt install bubblewrap      (Fedora: dnf install bubblewrap), or
  podman build -t {image} -f assignments/Containerfile .      (or docker)
Bubblewrap forbidden (Ubuntu 24.04 and later): sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0
On Windows and macOS use the container. To run what students send with no protection at all, add --unsafe."""
IMAGE = "classroom-sandbox"
COUNT = itertools.count()
FIRST_UID = 61000  # when root grades, a sandbox's processes are nobody's


class NoSandbox(RuntimeError):
    """Neither bubblewrap nor a container runs; the message holds the cure."""


@dataclass(frozen=True)
class Limits:
    """What a submission may use."""

    start: float = 60  # seconds until the kernel is ready
    cell: float = 60  # seconds a cell
    call: float = 10  # seconds a call from a check
    total: float = 300  # seconds in all
    cpu: int = 280  # seconds of processor time a process
    memory: int = 2 * 2**30  # bytes, all processes together
    address: int = (
        6 * 2**30
    )  # bytes of address space a process (torch maps much that it never touches)
    processes: int = 64  # processes and threads
    disk: int = 256 * 2**20  # bytes of scratch, which lies in memory
    file: int = 128 * 2**20  # bytes a file
    files: int = 256  # open at once
    revivals: int = 4  # kernels started anew after one died

    def inside(self, uid):
        names = {"AS": self.address, "FSIZE": self.file, "NPROC": self.processes}
        return names | {"NOFILE": self.files, "CPU": self.cpu, "uid": uid}


def find(unsafe=False, prefer=None):
    """The kind of sandbox that runs here: "bubblewrap", "container" or, only if asked, "unsafe".

    Raises:
        NoSandbox: neither runs, and `unsafe` was not asked for
    """
    if unsafe:
        return "unsafe"
    found = {}
    for kind in ("bubblewrap", "container") if prefer is None else (prefer,):
        found[kind] = why_not(kind)
        if not found[kind]:
            return kind
    told = {"bubblewrap": "not asked for", "container": "not asked for"} | found
    raise NoSandbox(CURE.format(image=IMAGE, **told))


def why_not(kind):
    """Why a kind of sandbox cannot run here, or "" if it can. It is tried, not guessed."""
    program = "bwrap" if kind == "bubblewrap" else engine()
    if not program or not shutil.which(program):
        return f"not installed ({program or 'podman or docker'} is not on the path)"
    if kind == "bubblewrap":
        command = [*bubblewrap([], Limits()), sys.executable, "-c", "print('ready')"]
    else:
        command = [program, "image", "inspect", IMAGE]
    try:
        tried = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired) as error:
        return str(error)
    if tried.returncode:
        said = (tried.stderr.strip() or "it failed").splitlines()[-1]
        return f"installed, but it cannot run here: {said}"
    return ""


def engine():
    return next((name for name in ("podman", "docker") if shutil.which(name)), None)


def command(kind, files, limits, slot=0, name="classroom"):
    """The command that starts a servant with `files` in its folder; `name` is a container's."""
    uid = FIRST_UID + slot if hasattr(os, "getuid") and os.getuid() == 0 else 0
    if kind == "bubblewrap":
        order = json.dumps(limits.inside(uid))
        return [
            *bubblewrap(files, limits),
            sys.executable,
            "-s",
            "-B",
            "/servant/servant.py",
            order,
        ]
    if kind == "container":
        order = json.dumps(limits.inside(0) | {"NPROC": 0})  # the container counts processes
        return [*container(files, limits, name), order]
    return [sys.executable, "-s", "-B", str(HERE / "servant.py"), json.dumps(limits.inside(0))]


def bubblewrap(files, limits):
    seen = _python()
    arguments = ["bwrap", "--unshare-ipc", "--unshare-pid", "--unshare-net", "--unshare-uts"]
    arguments += ["--unshare-cgroup-try", "--die-with-parent", "--new-session", "--clearenv"]
    root = os.getuid() == 0
    if root:  # the servant gives up root itself, once Python is found
        arguments += ["--cap-drop", "ALL", "--cap-add", "CAP_SETUID", "--cap-add", "CAP_SETGID"]
    else:
        arguments += ["--unshare-user", "--disable-userns"]
    arguments += ["--ro-bind", "/usr", "/usr"]
    for name in ("bin", "lib", "lib64", "sbin"):
        place = Path("/", name)
        if place.is_symlink():
            arguments += ["--symlink", os.readlink(place), str(place)]
        elif place.is_dir():
            arguments += ["--ro-bind", str(place), str(place)]
    for place in ("/etc/ld.so.cache", "/etc/localtime", "/etc/fonts", "/etc/alternatives"):
        arguments += ["--ro-bind-try", place, place]
    for folder in _parents([*seen, Path("/servant/x"), Path("/scratch/x")]):
        arguments += ["--perms", "0755", "--dir", str(folder)]
    for place in seen:
        arguments += ["--ro-bind", str(place), str(place)]
    for source in [*INSIDE, *HANDED_OUT]:
        arguments += ["--ro-bind", str(source), f"/servant/{source.name}"]
    arguments += ["--proc", "/proc", "--dev", "/dev"]
    for place, size in (("/dev/shm", limits.disk // 4), ("/scratch", limits.disk)):
        arguments += ["--perms", "1777", "--size", str(size), "--tmpfs", place]
    for source in files:
        arguments += ["--ro-bind", str(source), f"/scratch/{Path(source).name}"]
    arguments += ["--remount-ro", "/dev", "--remount-ro", "/"]
    for name, value in _environment("/scratch").items():
        arguments += ["--setenv", name, value]
    return [*arguments, "--chdir", "/scratch"]


def container(files, limits, name="classroom"):
    arguments = [engine(), "run", "--rm", "--interactive", "--network", "none", "--read-only"]
    arguments += ["--name", name]
    arguments += ["--cap-drop", "ALL", "--security-opt", "no-new-privileges"]
    arguments += ["--pids-limit", str(limits.processes), "--memory", str(limits.memory)]
    arguments += ["--memory-swap", str(limits.memory), "--user", "61000:61000"]
    arguments += ["--tmpfs", f"/scratch:rw,size={limits.disk},mode=1777", "--workdir", "/scratch"]
    for source in [*INSIDE, *HANDED_OUT]:
        arguments += ["--volume", f"{source}:/servant/{source.name}:ro"]
    for source in files:
        arguments += ["--volume", f"{Path(source).resolve()}:/scratch/{Path(source).name}:ro"]
    for name, value in _environment("/scratch").items():
        arguments += ["--env", f"{name}={value}"] if name != "PATH" else []  # the image has its own
    return [*arguments, IMAGE, "python", "-s", "-B", "/servant/servant.py"]


def _environment(scratch):
    path = {"PATH": "/usr/bin:/bin", "HOME": scratch, "TMPDIR": scratch, "LANG": "C.UTF-8"}
    threads = {f"{name}_NUM_THREADS": "1" for name in ("OMP", "MKL", "OPENBLAS")}
    shown = {"MPLBACKEND": "module://matplotlib_inline.backend_inline", "MPLCONFIGDIR": scratch}
    quiet = {"PYTHONWARNINGS": "ignore", "IPYTHONDIR": scratch, "PYTHONNOUSERSITE": "1"}
    return path | threads | shown | quiet


def _python():
    """The folders of the Python that runs this, without those that /usr holds anyway."""
    places = [
        Path(sys.prefix),
        Path(sys.base_prefix),
        Path(os.path.realpath(sys.executable)).parents[1],
    ]
    kept = []
    for place in dict.fromkeys(places):
        if not place.is_relative_to("/usr") and not any(place.is_relative_to(k) for k in kept):
            kept.append(place)
    return kept


def _parents(places):
    folders = {parent for place in places for parent in place.parents}
    return sorted(folders - {Path("/")}, key=lambda p: len(p.parts))


class Process:
    """A servant in its sandbox, watched: too much memory or too many processes, and it is ended."""

    def __init__(self, kind, files, limits, slot=0):
        self.limits, self.ended, self.folder, self.used = limits, "", None, 0.0
        self.name = f"classroom-{os.getpid()}-{next(COUNT)}" if kind == "container" else ""
        options = {"cwd": "/", "env": {"PATH": os.environ.get("PATH", "/usr/bin")}}
        if kind == "container":
            del options["env"]  # the client may need its own
        if kind == "unsafe":
            self.folder = tempfile.mkdtemp(prefix="unsafe-")
            for source in files:
                shutil.copy(source, self.folder)
            options = {"cwd": self.folder, "start_new_session": True}
            options["env"] = _environment(self.folder) | {
                "PATH": os.environ.get("PATH", ""),
                "PYTHONPATH": str(HERE / "handed_out"),
            }
        self.popen = subprocess.Popen(
            command(kind, files, limits, slot, self.name),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            bufsize=0,
            **options,
        )
        os.set_blocking(self.popen.stdin.fileno(), False)
        threading.Thread(target=self._watch, daemon=True).start()

    def _watch(self):
        try:
            top = psutil.Process(self.popen.pid)
            while self.popen.poll() is None:
                memory, count = _use(top)
                if memory > self.limits.memory:
                    return self.kill("memory")
                if count > self.limits.processes:
                    return self.kill("processes")
                time.sleep(0.1)
        except psutil.Error:
            pass

    def processor_time(self):
        """Seconds of processor time that all of it has used, and whether something wants more just now."""
        busy, used = False, 0.0
        for process in _children(self.popen.pid):
            try:
                times, status = process.cpu_times(), process.status()
            except psutil.Error:
                continue
            used += times.user + times.system  # and of children that have ended
            used += getattr(times, "children_user", 0) + getattr(times, "children_system", 0)
            busy |= status in (
                psutil.STATUS_RUNNING,
                psutil.STATUS_WAKING,
                psutil.STATUS_DISK_SLEEP,
            )
        self.used = max(self.used, used)
        return self.used, busy

    def kill(self, reason):
        """End all of it, and remember why (the first reason counts)."""
        self.ended = self.ended or reason
        if self.folder:
            for child in _children(self.popen.pid):
                child.kill()
        if self.name:  # the end of the client is not the end of the container
            quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            subprocess.run([engine(), "kill", self.name], **quiet)
        self.popen.kill()

    def close(self):
        self.kill("closed")
        self.popen.wait()
        self.popen.stdin.close()
        self.popen.stdout.close()
        if self.folder:
            shutil.rmtree(self.folder, ignore_errors=True)


def _children(pid):
    try:
        top = psutil.Process(pid)
        return [top, *top.children(recursive=True)]
    except psutil.Error:
        return []


def _use(top):
    """Bytes and processes of a tree. Files that are mapped (Python, torch) are not counted."""
    memory, count = 0, 0
    for process in _children(top.pid):
        memory += _own_memory(process.pid)
        count += 1
    return memory, count


def _own_memory(pid):
    """Bytes of a process that no file holds: its own, shared memory, and files in memory."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        told = dict(line.split(":", 1) for line in lines if ":" in line)
        memory = sum(int(told.get(key, "0 kB").split()[0]) for key in ("RssAnon", "RssShmem"))
    except (OSError, ValueError):
        return 0
    memory *= 1024
    with contextlib.suppress(OSError):
        for entry in os.scandir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                if os.readlink(entry.path).startswith("/memfd:"):
                    memory += os.stat(entry.path).st_blocks * 512
    return memory
