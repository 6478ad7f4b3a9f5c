"""How costs are measured, stored and read: no test here looks at how long anything takes."""

import os
import statistics

import numpy as np
import pytest
import torch
from torch import nn

import norms
from norms.experiments import grids, timing, training


class Witness(nn.Linear):
    """Remembers by whom and how it was called."""

    def __init__(self, name, calls):
        super().__init__(3, 3)
        self.name, self.calls = name, calls

    def forward(self, x):
        self.calls.append((self.name, torch.is_grad_enabled(), tuple(x.shape)))
        return super().forward(x)


class FakeGPU:
    """A GPU that remembers what stands in line, and is at work as soon as it has waited."""

    def __init__(self, waits=()):
        self.calls, self.waits = [], list(waits)  # of `waits`: does it still wait when asked?

    def synchronize(self):
        self.calls.append("synchronize")

    def _sleep(self, cycles):
        self.calls.append(cycles)

    def get_device_name(self):
        return "Fake 100"

    def is_available(self):
        return False

    def Event(self, enable_timing):
        assert enable_timing
        return FakeEvent(self)


class FakeEvent:
    def __init__(self, gpu):
        self.gpu = gpu

    def record(self):
        self.gpu.calls.append("record")

    def query(self):
        return not self.gpu.waits.pop(0) if self.gpu.waits else False

    def elapsed_time(self, end):
        return 250.0 * (end is not self)  # milliseconds


def test_layers_take_turns_without_gradients_and_then_forward_and_back():
    calls = []
    layers = {name: Witness(name, calls) for name in "abc"}
    forward, both = timing.race(layers, (2, 3), turns=4)
    for seconds in (forward, both):
        assert list(seconds) == ["a", "b", "c"]
        assert all(len(times) == 4 and min(times) > 0 for times in seconds.values())
    turns = 4 + 5  # five to warm up
    called = 2 * turns * 3  # once before it is timed, and once in time
    assert [call[1:] for call in calls] == [
        (gradients, (2, 3)) for gradients in (False, True) for _ in range(called)
    ]
    names = [call[0] for call in calls]
    assert names[::2] == names[1::2]
    orders = {tuple(names[k : k + 6 : 2]) for k in range(0, len(names), 6)}
    assert {tuple(sorted(order)) for order in orders} == {("a", "b", "c")}
    assert len(orders) > 1  # of 18 turns
    assert all(layer.weight.grad.any() for layer in layers.values())


def test_a_ratio_is_the_median_of_the_ratios_turn_by_turn():
    # A machine that slows down tenfold between turns changes no ratio.
    assert timing._median_and_ratio([0.002, 0.02, 0.2], [0.001, 0.01, 0.1]) == pytest.approx(
        (20, 2)
    )


def test_on_a_gpu_its_work_is_timed_and_not_how_fast_it_is_told(monkeypatch):
    gpu = FakeGPU()
    monkeypatch.setattr(torch, "cuda", gpu)
    seconds = timing._seconds_of_kernels(lambda layer: gpu.calls.append(layer), "layer", 100)
    assert seconds == 0.25
    assert gpu.calls == ["synchronize", 100, "record", "layer", "record", "synchronize"]


def test_a_turn_on_a_gpu_that_did_not_wait_long_enough_is_taken_again(monkeypatch):
    gpu = FakeGPU(waits=[False, False, True])
    monkeypatch.setattr(torch, "cuda", gpu)
    timing._seconds_of_kernels(lambda layer: None, "layer", 100)
    assert [call for call in gpu.calls if call not in ("record", "synchronize")] == [100, 200, 400]


def test_what_the_gpu_does_is_timed_with_inputs_that_are_there(monkeypatch):
    made, real = [], torch.randn

    def randn(shape, device, dtype):
        made.append((shape, device, dtype))
        return real(shape, dtype=dtype)

    monkeypatch.setattr(torch, "randn", randn)
    monkeypatch.setattr(timing, "_seconds_of_kernels", lambda action, layer: action(layer) or 7.0)
    layer = nn.LayerNorm(3, dtype=torch.bfloat16)
    times = timing.race({"a": layer}, (2, 3), 2, "cuda", torch.bfloat16)
    assert made == 2 * [((2, 3), "cuda", torch.bfloat16)]
    assert times == ({"a": [7.0, 7.0]}, {"a": [7.0, 7.0]})
    assert layer.weight.grad.dtype == torch.bfloat16


# The allocator


@pytest.fixture
def as_started(monkeypatch):
    """Take away what may have been set for the process that runs the tests."""
    for name in timing._allocator_variables():
        monkeypatch.delenv(name)


@pytest.mark.usefixtures("as_started")
def test_the_allocator_is_measured_at_its_defaults_and_keeping_memory(monkeypatch):
    monkeypatch.setattr(timing.platform, "libc_ver", lambda: ("glibc", "2.36"))
    kept = {"MALLOC_MMAP_THRESHOLD_": "4294967296", "MALLOC_TRIM_THRESHOLD_": "17179869184"}
    assert list(timing.allocators().values()) == [{}, kept]
    monkeypatch.setattr(timing.platform, "libc_ver", lambda: ("", ""))
    assert timing.allocators() == {"allocator's defaults": {}}


@pytest.mark.usefixtures("as_started")
@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("MALLOC_TRIM_THRESHOLD_", "1000"),
        ("MALLOC_ARENA_MAX", "1"),
        ("GLIBC_TUNABLES", "glibc.malloc.trim_threshold=1000"),
        ("LD_PRELOAD", "/usr/lib/libjemalloc.so"),
    ],
)
def test_an_allocator_that_is_set_stays_as_it_is(monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    assert timing.allocators() == {f"as set: {variable}": {}}


@pytest.mark.usefixtures("as_started")
def test_other_variables_set_no_allocator(monkeypatch):
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.rtld.optional_static_tls=2000")
    monkeypatch.setenv("LD_PRELOAD", "")
    assert not timing._allocator_variables()


def test_a_new_process_has_the_variables_and_one_thread_and_this_one_stays_as_it_was(monkeypatch):
    monkeypatch.setenv("NORMS_SET", "mine")
    monkeypatch.delenv("NORMS_NOT_SET", raising=False)
    variables = {"NORMS_SET": "3", "NORMS_NOT_SET": "4"}
    before = dict(os.environ)
    seen = "dict(__import__('os').environ), __import__('torch').get_num_threads()"
    environment, threads = timing.in_new_process(variables, eval, seen)
    assert environment.items() >= variables.items()
    assert threads == 1
    with pytest.raises(ZeroDivisionError):
        timing.in_new_process(variables, divmod, 1, 0)
    assert os.environ == before


# The table of the command line


@pytest.mark.parametrize("name", timing.PAIRS)
def test_torchs_layer_is_measured_beside_ours(name):
    torchs, ours, _axis, shapes = timing.PAIRS[name]
    pair = [getattr(make, "func", make) for make in (torchs, ours)]  # of a partial, its class
    assert pair[1] is getattr(norms, pair[0].__name__)
    shape = (3, 8, 2, 2)[: len(shapes[0])]
    results = timing.measure(name, shape, turns=1, compiled=False)
    assert [(t.layer, t.shape) for t in results] == [
        (f"{name}, {whose}", shape) for whose in ("torch", "ours")
    ]
    assert (results[0].forward_ratio, results[0].both_ratio) == (1, 1)
    for result in results:
        assert result.kept >= 4 * np.prod(shape) / 2**20  # at least the input, in MiB
        assert 0 < result.offset_error < 0.1


def one_timing(label, ratio):
    return timing.Timing(label, (4, 3), 0.5, ratio, 1.5, ratio + 1, 8.0, 1e-4)


def test_the_table_has_times_and_ratios_for_each_allocator(monkeypatch, capsys):
    settings = {"defaults": {}, "kept": {"MALLOC_X": "1"}}
    calls = []

    def in_new_process(environment, function, name, shape, turns, compiled):
        calls.append((environment, function, name, shape, turns, compiled))
        ratio = 6 if environment else 3
        return [one_timing(f"{name}, torch", 1), one_timing(f"{name}, ours", ratio)]

    monkeypatch.setattr(timing, "allocators", lambda: settings)
    monkeypatch.setattr(timing, "in_new_process", in_new_process)
    monkeypatch.setattr("sys.argv", ["timing", "--turns", "7", "--no-compile"])
    timing.main()
    assert calls == [
        (environment, timing.measure, name, shape, 7, False)
        for name, (*_, shapes) in timing.PAIRS.items()
        for shape in shapes
        for environment in settings.values()
    ]
    _, groups, columns, *rows = capsys.readouterr().out.splitlines()
    assert groups.split() == ["|", "defaults", "|", "kept"]
    assert columns.count("ratio") == 4
    assert len(rows) == 2 * 10
    for i, line in enumerate((groups, columns, *rows)):
        assert [at for at, c in enumerate(line) if c == "|"] == [43, 83], i
    assert len(rows[1]) == len(columns)
    assert rows[1].split("|")[0].split() == ["batch", "norm,", "ours", "4x3"]
    assert rows[1].split("|")[1].split() == ["0.500", "3.00", "1.500", "4.00"]
    assert rows[1].split("|")[2].split() == ["0.500", "6.00", "1.500", "7.00", "8.00", "1.0e-04"]


# The stored tables


@pytest.mark.parametrize("alone", [False, True])
def test_the_tables_are_stored_with_memory_kept(monkeypatch, capsys, alone):
    calls = []
    monkeypatch.setattr(timing, "allocators", lambda: {"defaults": {}, "kept": {"MALLOC_X": "1"}})
    monkeypatch.setattr(timing, "in_new_process", lambda *call: calls.append(call))
    monkeypatch.setattr("sys.argv", ["timing", "--store", *["--weights"] * alone])
    timing.main()
    stored = {
        timing.store_step_costs: timing.STEP_COSTS,
        timing.store_costs: timing.COSTS,
        timing.store_weight_costs: timing.WEIGHT_COSTS,
    }
    stored = dict(list(stored.items())[-1:]) if alone else stored
    assert calls == [({"MALLOC_X": "1"}, store) for store in stored]
    assert capsys.readouterr().out.splitlines() == [str(path) for path in stored.values()]


def test_the_table_of_a_gpu_is_stored_alone(monkeypatch, capsys):
    calls = []
    monkeypatch.setattr(timing, "in_new_process", lambda *call: calls.append(call))
    monkeypatch.setattr("sys.argv", ["timing", "--store", "--device", "cuda"])
    timing.main()
    assert calls == [({}, timing.store_gpu_costs)]
    assert capsys.readouterr().out.splitlines() == [str(timing.GPU_COSTS)]
    monkeypatch.setattr("sys.argv", ["timing", "--device", "cuda"])
    with pytest.raises(SystemExit):
        timing.main()
    assert "--device cuda goes with --store" in capsys.readouterr().err


def test_a_gpu_has_wide_tokens_in_sixteen_bits(monkeypatch):
    calls = []
    monkeypatch.setattr(timing, "store_costs", lambda *args, **kwargs: calls.append((args, kwargs)))
    timing.store_gpu_costs()
    (((widths, rows), options),) = calls
    assert (widths, rows) == ((256, 1024, 4096, 8192), 16_384)
    assert options == {"path": timing.GPU_COSTS, "device": "cuda", "dtype": torch.bfloat16}


def test_a_table_that_is_not_there_is_reported_with_the_command(tmp_path):
    none, command = tmp_path / "none.csv", r"`python -m norms\.experiments\.timing --store{}`"
    for read in (
        timing.cost_by_width,
        lambda device, path: timing.step_cost("batch", path),
        lambda device, path: timing.weight_costs(path),
    ):
        with pytest.raises(timing.MissingCosts, match=command.format("")):
            read("cpu", none)
    with pytest.raises(timing.MissingCosts, match=command.format(" --device cuda")):
        timing.cost_by_width("cuda", none)


def test_stored_costs_are_the_medians_and_are_read_back(tmp_path, monkeypatch):
    real, raced = timing.race, []

    def race(layers, shape, turns, device, dtype):
        assert (device, dtype) == ("cpu", torch.float32)
        raced.append((layers, shape, turns, real(layers, shape, turns)))
        return raced[-1][-1]

    compiled = []
    monkeypatch.setattr(torch, "compile", lambda layer, **_: compiled.append(layer) or layer)
    monkeypatch.setattr(timing, "race", race)
    monkeypatch.setattr(timing.platform, "libc_ver", lambda: ("glibc", "2.36"))
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "1000")
    path = tmp_path / "costs.csv"
    timing.store_costs(widths=(4, 16), rows=3, repeats=2, turns=3, path=path)
    widths, times = timing.cost_by_width(path=path)
    assert widths == [4, 16]
    assert [(shape, turns) for _, shape, turns, _ in raced] == 2 * [((3, 4), 3)] + 2 * [
        ((3, 16), 3)
    ]
    classes = {
        ("layer", "torch"): nn.LayerNorm, ("layer", "ours"): norms.LayerNorm,
        ("layer", "ours compiled"): norms.LayerNorm, ("rms", "torch"): nn.RMSNorm,
        ("rms", "ours"): norms.RMSNorm, ("rms", "ours compiled"): norms.RMSNorm,
    }  # fmt: skip
    assert list(times) == list(classes)
    for key, made in classes.items():
        layers = [layers[key] for layers, *_ in raced]
        assert all(type(layer) is made for layer in layers)
        assert all((layer in compiled) == (key[1] == "ours compiled") for layer in layers)
        medians = [1e6 * statistics.median(both[key]) for *_, (_, both) in raced]
        np.testing.assert_allclose(times[key], np.reshape(medians, (2, 2)), rtol=1e-3)
    lines = path.read_text(encoding="utf-8").splitlines()
    forward = [1e6 * statistics.median(forward["layer", "torch"]) for *_, (forward, _) in raced]
    stored = [float(line.split(",")[4]) for line in lines if line.startswith("layer,torch")]
    np.testing.assert_allclose(stored, forward, rtol=1e-3)
    assert lines[0] == "# python -m norms.experiments.timing --store"
    assert lines[2].startswith("# glibc 2.36 allocator: ")
    assert "MALLOC_TRIM_THRESHOLD_=1000" in lines[2]
    assert lines[3].endswith("3 tokens, float32, microseconds, median of 3")
    assert lines[4] == "norm,variant,width,repeat,forward,both"


def test_costs_of_a_gpu_are_stored_under_its_name(tmp_path, monkeypatch):
    """The layers are made for the device, which here is one that only remembers shapes."""
    raced = []

    def race(layers, shape, turns, device, dtype):
        raced.append((list(layers), shape, turns, device, dtype))
        parameters = [p for layer in layers.values() for p in layer.parameters()]
        assert {(p.device.type, p.dtype) for p in parameters} == {("meta", torch.bfloat16)}
        return [{key: [1e-6, 3e-6, 2e-6] for key in layers} for _ in range(2)]

    def on_meta(layer):
        return lambda width, device, dtype: layer(width, device="meta", dtype=dtype)

    pairs = {
        name: (on_meta(torchs), on_meta(ours)) for name, (torchs, ours, *_) in timing.PAIRS.items()
    }
    monkeypatch.setattr(timing, "PAIRS", pairs)
    monkeypatch.setattr(timing, "race", race)
    monkeypatch.setattr(torch, "compile", lambda layer, **_: layer)
    monkeypatch.setattr(torch, "cuda", FakeGPU())
    path = tmp_path / "gpu.csv"
    monkeypatch.setattr(timing, "GPU_COSTS", path)
    monkeypatch.setattr(timing, "COSTS", tmp_path / "none.csv")
    timing.store_costs((4, 16), 3, 2, 5, path, "cuda", torch.bfloat16)
    assert [call[1:] for call in raced] == [
        ((3, width), 5, "cuda", torch.bfloat16) for width in (4, 4, 16, 16)
    ]
    widths, times = timing.cost_by_width("cuda")
    assert widths == [4, 16]
    assert len(times) == 6
    assert all((microseconds == np.full((2, 2), 2)).all() for microseconds in times.values())
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[0] == "# python -m norms.experiments.timing --store --device cuda"
    assert lines[1].endswith("Fake 100")
    assert "allocator: " not in lines[2]
    assert lines[3].endswith("3 tokens, bfloat16, microseconds, median of 5")
    assert lines[4] == "norm,variant,width,repeat,forward,both"


def test_sixteen_bits_can_be_raced(tmp_path):
    path = tmp_path / "short.csv"
    timing.store_costs((4,), 3, 1, 1, path, dtype=torch.bfloat16)
    assert {v.shape for v in timing.cost_by_width(path=path)[1].values()} == {(1, 1)}


@pytest.mark.usefixtures("as_started")
def test_stored_step_costs_are_ratios_turn_by_turn(tmp_path, monkeypatch):
    """A clock that runs three times as fast in each turn changes no ratio."""
    now, trained = 0.0, []

    def train(build, data, *, learning_rates, seeds, steps, parts, every, **_):
        nonlocal now
        trained.append((build, steps, list(parts), every, len(seeds), len(learning_rates)))
        turn, second = divmod(len(trained) - 1, 2)
        now += steps * 3.0**turn * (2.5 if second else 1.0)

    shared = {"data": "digits", "steps": 600, "every": 20}
    arms = {name: {"build": f"{name} net", **shared} for name in ("none", "more", "batch")}
    monkeypatch.setattr(grids, "arms", {"figure-1": arms}.get)
    monkeypatch.setattr(training, "train", train)
    monkeypatch.setattr(timing.time, "process_time", lambda: now)
    path = tmp_path / "steps.csv"
    timing.store_step_costs(steps=8, repeats=3, path=path)
    turn = [(f"{name} net", 8, [], None, 10, 1) for name in ("none", "batch")]
    assert trained == (1 + 3) * turn
    np.testing.assert_array_equal(timing.step_cost("batch", path), [2.5] * 3)
    np.testing.assert_array_equal(timing.step_cost("none", path), [1.0] * 3)
    with pytest.raises(KeyError, match="no arm 'layer'"):
        timing.step_cost("layer", path)
    lines = path.read_text(encoding="utf-8").splitlines()
    assert lines[2].endswith("allocator: defaults")
    assert lines[3].endswith("10 nets, milliseconds a step, mean of 8, processor time")
    # The first turn warms up: the second is three times as slow, and the first one stored.
    assert lines[4:7] == ["arm,repeat,step,ratio", "none,0,3000,1", "batch,0,7500,2.5"]


def test_step_costs_can_be_measured(tmp_path):
    path = tmp_path / "steps.csv"
    timing.store_step_costs(steps=2, repeats=1, path=path)
    assert timing.step_cost("batch", path).shape == (1,)
    assert timing.step_cost("batch", path) > 0


@pytest.mark.parametrize(
    ("device", "all_widths"), [("cpu", [64, 256, 1024, 4096]), ("cuda", [256, 1024, 4096, 8192])]
)
def test_the_stored_table_has_all_arms_at_all_widths(device, all_widths):
    widths, times = timing.cost_by_width(device)
    assert widths == all_widths
    variants = ("torch", "ours", "ours compiled")
    assert list(times) == [(norm, variant) for norm in ("layer", "rms") for variant in variants]
    for key, microseconds in times.items():
        assert microseconds.shape == (4, 5), key
        assert (microseconds > 0).all(), key
        assert np.isfinite(microseconds).all(), key


def test_the_stored_step_costs_have_both_arms():
    assert timing.step_cost("none").tolist() == [1.0] * 5
    assert timing.step_cost("batch").shape == (5,)
    assert (timing.step_cost("batch") > 0).all()


def test_the_costs_of_norms_on_weights_are_ratios_and_are_read_back(tmp_path, monkeypatch):
    raced = []

    def race(layers, shape, turns):
        """The k-th layer takes k + 1 times as long, back twice that, in the r-th race r more."""
        extra = len(raced)
        raced.append((layers, shape, turns))
        forward = {name: [1e-3 * (k + 1 + extra * (k > 0))] * 3 for k, name in enumerate(layers)}
        return forward, {name: [2 * t for t in times] for name, times in forward.items()}

    monkeypatch.setattr(timing, "race", race)
    path = tmp_path / "weights.csv"
    timing.store_weight_costs((4, 6), (1, 3), repeats=2, turns=7, path=path)
    cases = [(b, w) for w in (4, 6) for b in (1, 3) for _ in range(2)]
    assert [(shape, turns) for _, shape, turns in raced] == [(case, 7) for case in cases]
    for layers, (_, width), _ in raced:
        assert list(layers) == ["none", "weight", "spectral", "folded", "evaluation", "again"]
        assert {layer.weight.shape for layer in layers.values()} == {(width, width)}
        kinds = [type(p[0]).__name__ for p in map(on_weight, layers.values()) if p is not None]
        assert kinds == ["_WeightNorm", "_SpectralNorm", "_SpectralNorm"]
        assert [name for name, layer in layers.items() if not layer.training] == ["evaluation"]
    widths, batches, ratios = timing.weight_costs(path)
    assert (widths, batches) == ([4, 6], [1, 3])
    names = ["none", "weight", "spectral", "folded", "evaluation", "again"]
    assert list(ratios) == names
    for forward, both in ratios.values():
        np.testing.assert_array_equal(forward, both)
    assert (ratios["none"][0] == 1).all()  # it takes as long for a batch of 3
    expected = 3.0 + np.arange(8).reshape(2, 2, 2)
    np.testing.assert_array_equal(ratios["spectral"][0], expected)
    assert path.read_text("utf-8").splitlines()[5].split(",")[4:] == ["1", "1", "2", "1"]


def on_weight(layer):
    return getattr(layer, "parametrizations", {"weight": None})["weight"]


def test_the_stored_costs_of_norms_on_weights_are_complete():
    widths, batches, ratios = timing.weight_costs()
    assert (widths, batches) == ([64, 256, 1024], [1, 8, 64, 512])
    for norm in ("none", "weight", "spectral", "folded", "evaluation", "again"):
        for values in ratios[norm]:
            assert values.shape == (3, 4, 5)
            assert (values > 0).all()
