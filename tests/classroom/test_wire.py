"""`encoding`, `remote` and the servant: plain data alone crosses the line."""

import time

import numpy as np
import pytest

from classroom import sandbox
from classroom.encoding import Refused, clean, decode, encode, pack, unpack
from classroom.execute import seed
from classroom.remote import KernelDied, StudentError, _outputs

VALUES = [
    None,
    True,
    3,
    2.5,
    float("inf"),
    "grün",
    [1, "a", [None]],
    (1, (2, 3)),
    {"a": [1.0], 3: "b"},
    np.float32(1.5),
    np.arange(6, dtype=np.int16).reshape(2, 3),
    np.zeros((0, 4)),
    np.array(1 + 2j),
    np.arange(12.0).reshape(3, 4)[::-1, ::2],
]


@pytest.mark.parametrize("value", VALUES, ids=repr)
def test_plain_data_comes_back_as_it_went(value):
    back = decode(unpack(pack({"value": encode(value)})[8:])["value"])
    assert type(back) is type(value)
    if isinstance(value, np.ndarray):
        assert back.dtype == value.dtype
        np.testing.assert_array_equal(back, value)
    else:
        assert back == value


class Liar(np.ndarray):
    def __eq__(self, other):
        return True

    def tobytes(self, *a):
        return b"lies"


def test_a_subclass_leaves_its_methods_behind():
    back = decode(encode(np.zeros(3).view(Liar)))
    assert type(back) is np.ndarray
    assert not (back == 1).any()


@pytest.mark.parametrize("value", [object(), np.array([object()]), {1, 2}, b"x", np.array(["a"])])
def test_anything_else_is_refused(value):
    with pytest.raises(Refused, match="not plain data"):
        encode(value)


@pytest.mark.parametrize(
    "told",
    [
        {"array": ["|O", [1], ""]},
        {"array": ["<f8", [2], "AAAA"]},
        {"array": ["<f8", [-1], ""]},
        {"array": ["<f8", [10**12], ""]},
        {"array": ["V8", [1], "AAAAAAAAAAA="]},
        {"handle": 1},
        {"list": 3},
        [1],
        {"a": 1, "b": 2},
    ],
    ids=repr,
)
def test_a_malformed_message_is_an_error_and_no_more(told):
    with pytest.raises((Refused, ValueError, TypeError)):
        decode(told)


def test_depth_and_size_are_bounded():
    deep = []
    for _ in range(50):
        deep = [deep]
    with pytest.raises(Refused, match="deep"):
        encode(deep)
    with pytest.raises(Refused, match="100"):
        pack({"value": "x" * 200}, 100)


def test_half_characters_and_control_characters_do_not_come_through():
    assert clean("a\ud800b\x1b[31m\x00\n\tü") == "a?b[31m\n\tü"
    assert decode("\ud800") == "?"
    (output,) = _outputs({"outputs": [{"output_type": "stream", "text": "\ud800"}]})
    assert output["text"] == "?"
    assert str(StudentError({"said": "\ud800"})) == "Exception: ?"


def test_a_picture_that_is_none_costs_no_time():
    began = time.monotonic()
    for text in (" " * 1_900_000 + "!", "A" * 1_900_000 + "!"):
        (shown,) = _outputs(
            {"outputs": [{"output_type": "display_data", "data": {"image/png": text}}]}
        )
        assert shown["data"] == {}
    assert time.monotonic() - began < 2


def test_a_notebook_keeps_a_bounded_amount_of_output(kernel):
    kernel.run("import base64\nfrom IPython.display import display\ntext = 'A' * 1_900_000")
    for _ in range(4):
        outputs = kernel.run("for _ in range(3): display({'image/png': text}, raw=True)")
    assert "left out" in outputs[0]["text"]


def test_stopped_children_and_ended_ones_do_not_buy_time(box):
    from classroom.remote import Kernel

    for code in (
        "pid = os.fork()\nif pid == 0: time.sleep(99)\nos.kill(pid, signal.SIGSTOP); time.sleep(40)",
        "while True:\n    pid = os.fork()\n    if pid == 0:\n        sum(range(10**6)); os._exit(0)\n"
        "    os.waitpid(pid, 0)",
    ):
        with Kernel(box, [], sandbox.Limits(cell=2, total=60), slot=7) as kernel:
            kernel.run("import os, signal, time")
            began = time.monotonic()
            with pytest.raises(KernelDied, match="longer"):
                kernel.run(code)
            assert time.monotonic() - began < 25


def test_shared_memory_counts(box):
    from classroom.remote import Kernel

    for code in (
        "import mmap; m = mmap.mmap(-1, 700 << 20); m[:] = bytes(700 << 20)",
        "import os; fds = [os.memfd_create(str(k)) for k in range(7)]\n"
        "for fd in fds: os.write(fd, bytes(100 << 20))",
    ):
        limits = sandbox.Limits(cell=20, memory=600 << 20)
        with Kernel(box, [], limits, slot=8) as kernel, pytest.raises(KernelDied, match="memory"):
            kernel.run(code + "\nimport time; time.sleep(15)")


def test_outputs_are_rebuilt_and_bring_no_markup():
    told = [
        {"output_type": "display_data", "data": {"text/html": "<script>", "text/plain": "ok"}},
        {"output_type": "display_data", "data": {"image/png": '"><script>'}},
        {"output_type": "stream", "name": "other", "text": ["x"]},
        {"output_type": "error", "ename": 3, "evalue": None, "traceback": "no list"},
        {"output_type": "unknown"},
        "rubbish",
    ]
    outputs = _outputs({"outputs": told})
    assert [o["output_type"] for o in outputs] == [
        "display_data",
        "display_data",
        "stream",
        "error",
    ]
    assert outputs[0]["data"] == {"text/plain": "ok"}
    assert outputs[1]["data"] == {}
    assert _outputs({"outputs": 3}) == []


def test_a_seed_repeats_and_differs_between_students_and_secrets():
    first = seed(b"s", "ann", "batch_norm", "forward")
    assert first == seed(b"s", "ann", "batch_norm", "forward")
    others = [
        seed(b"s", "bob", "batch_norm", "forward"),
        seed(b"t", "ann", "batch_norm", "forward"),
    ]
    assert first not in others
    assert seed(b"s", "ab", "c") != seed(b"s", "a", "bc")


def test_cells_run_and_functions_are_called(kernel):
    outputs = kernel.run(
        "def f(x):\n    print('hi')\n    return x + 1, {'k': object()}\nprint('said')\n3 * 4"
    )
    assert outputs[0] == {"output_type": "stream", "name": "stdout", "text": "said\n"}
    assert outputs[1]["data"] == {"text/plain": "12"}
    value, more = kernel.call({"name": "f"}, (np.arange(3),), {})
    np.testing.assert_array_equal(value, [1, 2, 3])
    assert more["k"]._kind == "object"
    kernel.run("def g(o): return type(o).__name__")
    assert kernel.call({"name": "g"}, (more["k"],), {}) == "object"


def test_an_error_comes_as_data(kernel):
    kernel.run("def f(x):\n    raise KeyError('lost')")
    with pytest.raises(StudentError, match="KeyError: 'lost'") as error:
        kernel.call({"name": "f"}, (1,), {})
    assert "LookupError" in error.value.bases_there
    with pytest.raises(StudentError, match="NameError"):
        kernel.call({"name": "nothing"}, (), {})
    (output,) = kernel.run("1 / 0")
    assert output["ename"] == "ZeroDivisionError"


@pytest.mark.parametrize(
    ("code", "reason"),
    [
        ("while True: pass", "time"),
        ("import time; time.sleep(99)", "time"),
        ("import os; os._exit(0)", "died"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "died"),
    ],
)
def test_a_call_that_kills_costs_itself_alone(kernel, code, reason):
    kernel.run(f"def bad():\n    {code}\ndef good(): return 7")
    with pytest.raises(KernelDied) as death:
        kernel.call({"name": "bad"}, (), {})
    assert death.value.reason == reason
    assert kernel.call({"name": "good"}, (), {}) == 7


def test_a_fork_answers_nothing_and_leaves_nothing(kernel):
    kernel.run(
        "import os, time\nchildren = [os.fork() for _ in range(3)]\nx = 7\ndef f(): return x"
    )
    kernel.run("if 0 in children: x = 8")
    assert kernel.call({"name": "f"}, (), {}) == 7
    time.sleep(0.5)
    kernel.run("y = 1")
    count = "len([p for p in os.listdir('/proc') if p.isdigit()])"
    (output,) = kernel.run(f"print({count})")
    assert int(output["text"]) <= 3


def test_a_kernel_is_not_revived_for_ever(box):
    from classroom.remote import Kernel

    with Kernel(box, [], sandbox.Limits(revivals=1)) as kernel:
        kernel.run("import os")
        for _ in range(2):
            with pytest.raises(KernelDied, match="Python itself ended"):
                kernel.run("os._exit(1)")
        with pytest.raises(KernelDied, match="earlier cells or calls"):
            kernel.run("1")
