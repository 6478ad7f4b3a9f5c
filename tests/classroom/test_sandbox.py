"""What a submission can reach. Where no sandbox runs, these tests fail and name the cure."""

import subprocess

import pytest

from classroom import sandbox

PROBES = {
    "network": "import socket; socket.create_connection(('1.1.1.1', 53), timeout=2)",
    "loopback": "import socket; socket.create_connection(('127.0.0.1', 22), timeout=2)",
    "a file of the course": f"open({__file__!r})",
    "passwords": "open('/etc/passwd')",
    "write beside Python": "import sys; open(sys.prefix + '/x', 'w')",
    "write the grader": "open('/servant/servant.py', 'a')",
    "write the root": "open('/x', 'w')",
    "become root": "import os; os.setuid(0); open('/proc/sys/kernel/hostname', 'w').write('x')",
    "the package": "import norms",
    "the checks": "import hidden",
    "mount": "import ctypes; r = ctypes.CDLL(None).mount(b'none', b'/scratch', b'tmpfs', 0, None); assert r == 0",
    "another program's memory": "open('/proc/1/mem', 'rb')",
}


@pytest.mark.parametrize("probe", PROBES)
def test_it_cannot_be_reached(kernel, probe):
    outputs = kernel.run(PROBES[probe])
    assert [o["output_type"] for o in outputs] == ["error"], outputs


def test_it_sees_its_own_processes_alone_and_nothing_of_the_course(kernel):
    (output,) = kernel.run(
        "import os\nprint([p for p in os.listdir('/proc') if p.isdigit()].__len__() < 6,"
        " os.getuid() != 0, sorted(os.listdir('/scratch')), sorted(os.listdir('/servant')))"
    )
    assert output["text"].startswith("True True")
    assert "hidden" not in output["text"]


def test_memory_processes_disk_and_output_are_bounded(kernel):
    for code, told in (
        ("x = bytearray(10**11)", "MemoryError"),
        ("f = open('big', 'wb')\nfor _ in range(10**4): f.write(bytes(2**20))", "OSError"),
        ("for k in range(10**4): open(f'b{k}', 'wb').write(bytes(2**24))", "OSError"),
        ("files = [open('/dev/null') for _ in range(10**4)]", "OSError"),
    ):
        assert kernel.run(code)[-1]["ename"] == told
    (output,) = kernel.run("print('x' * 10**8)")
    assert len(output["text"]) < 30_100


def test_a_refusal_names_the_cure(monkeypatch):
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: None)
    with pytest.raises(sandbox.NoSandbox) as refusal:
        sandbox.find()
    for words in ("apt install bubblewrap", "podman build", "--unsafe", "not installed"):
        assert words in str(refusal.value)
    assert sandbox.find(unsafe=True) == "unsafe"


def test_an_installed_bubblewrap_that_is_forbidden_counts_as_none(monkeypatch):
    failed = subprocess.CompletedProcess([], 1, "", "bwrap: No permissions to create new namespace")
    monkeypatch.setattr(sandbox.subprocess, "run", lambda *a, **k: failed)
    monkeypatch.setattr(sandbox.shutil, "which", lambda name: f"/usr/bin/{name}")
    with pytest.raises(sandbox.NoSandbox, match="No permissions to create new namespace"):
        sandbox.find()


def test_the_containers_command_is_as_tight():
    command = sandbox.container(["/a/checks.py"], sandbox.Limits())
    for words in ("--network none", "--read-only", "--cap-drop ALL", "no-new-privileges"):
        assert words in " ".join(map(str, command))
