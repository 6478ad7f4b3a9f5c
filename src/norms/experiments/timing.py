"""What readability costs: our layers against torch's own, one thread, on this machine.

Run ``python -m norms.experiments.timing``. The layers take turns, so that a machine that
slows down slows all of them; a ratio is the median of the ratios turn by turn.

On Linux the ratios depend on the allocator: by default the C library gives large blocks back to
the system after each use, and fetching them anew can take longer than the arithmetic, in torch's
layers and in ours. The table has both: the allocator's defaults, and memory kept for reuse.

With ``--store`` it measures, with memory kept, layer and RMS norm over widths, the price of a
training step with batch norm, and that of norms on a weight over widths and batches, and keeps the
three tables for the chapters. ``--store --weights`` measures the last alone. With ``--store --device
cuda`` it measures layer and RMS norm over widths on a GPU, in bfloat16, and keeps that table.
"""

import argparse
import copy
import csv
import multiprocessing
import os
import platform
import random
import statistics
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn.utils import parametrize

import norms

__all__ = [
    "PAIRS",
    "MissingCosts",
    "Timing",
    "allocators",
    "cost_by_width",
    "in_new_process",
    "measure",
    "race",
    "step_cost",
    "store_costs",
    "store_gpu_costs",
    "store_step_costs",
    "store_weight_costs",
    "weight_costs",
]

COSTS = Path(__file__).with_name("results") / "cost-by-width.csv"
GPU_COSTS = COSTS.with_name("cost-by-width-cuda.csv")
STEP_COSTS = COSTS.with_name("step-costs.csv")
WEIGHT_COSTS = COSTS.with_name("weight-costs.csv")

# What glibc reads when a process starts: no block is too large to be kept, and nothing is given back.
KEPT = {"MALLOC_MMAP_THRESHOLD_": str(4 * 2**30), "MALLOC_TRIM_THRESHOLD_": str(16 * 2**30)}

MAPS = [(32, 16, 8, 8), (32, 64, 32, 32)]

# name: (torch's layer, ours, the axis whose size they are built for, shapes small and large)
PAIRS = {
    "batch norm": (nn.BatchNorm2d, norms.BatchNorm2d, 1, MAPS),
    "instance norm": (nn.InstanceNorm2d, norms.InstanceNorm2d, 1, MAPS),
    "group norm": (partial(nn.GroupNorm, 8), partial(norms.GroupNorm, 8), 1, MAPS),
    "layer norm": (nn.LayerNorm, norms.LayerNorm, -1, [(1024, 64), (4096, 1024)]),
    "RMS norm": (nn.RMSNorm, norms.RMSNorm, -1, [(1024, 64), (4096, 1024)]),
}

TIMES = f"|{'forward ms':>11s}{'ratio':>7s}{'+backward ms':>14s}{'ratio':>7s}"  # of the table


class MissingCosts(FileNotFoundError):
    """Costs have not been measured; the message names the command."""


@dataclass(frozen=True)
class Timing:
    """One layer at one shape: milliseconds, ratios to torch's eager layer, MiB, and an error."""

    layer: str
    shape: tuple[int, ...]
    forward: float
    forward_ratio: float
    both: float
    both_ratio: float
    kept: float
    offset_error: float


def header(names):
    """Return the two lines above the table: one group of times for each allocator of ``names``."""
    groups = "".join(f"{f'| {name}':<{len(TIMES)}}" for name in names)
    return (
        f"{'':43s}{groups}\n"
        f"{'layer':26s}{'shape':>17s}{TIMES * len(names)}{'kept MiB':>10s}{'error at 3000':>15s}"
    )


def row(timings):
    """Return a line of the table: one layer at one shape, measured with each allocator."""
    first = timings[0]
    times = "".join(
        f"|{t.forward:11.3f}{t.forward_ratio:7.2f}{t.both:14.3f}{t.both_ratio:7.2f}"
        for t in timings
    )
    return (
        f"{first.layer:26s}{'x'.join(map(str, first.shape)):>17s}{times}"
        f"{first.kept:10.2f}{first.offset_error:15.1e}"
    )


def allocators():
    """Return the settings of the C library's allocator to measure with.

    Returns:
        Dictionary from a name to environment variables. Linux with glibc has two entries, unless
        the allocator is set already: then it stays as it is. Elsewhere there is no setting.
    """
    if _allocator_variables():
        return {f"as set: {', '.join(_allocator_variables())}": {}}
    if platform.libc_ver()[0] != "glibc":
        return {"allocator's defaults": {}}
    return {"allocator's defaults": {}, "memory kept for reuse": KEPT}


def _allocator_variables():
    """Name the variables of this process that set its allocator, or put another in its place."""
    return sorted(
        name
        for name, value in os.environ.items()
        if name.startswith("MALLOC_")
        or (name == "GLIBC_TUNABLES" and "malloc" in value)
        or (name == "LD_PRELOAD" and value)
    )


def in_new_process(environment, function, *arguments):
    """Call a function in a process that starts with these variables added, on one thread.

    Args:
        environment: dictionary from a name to a string.
        function: of a module.
        *arguments: of the function.

    Returns:
        What it returns.
    """
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)
    try:
        context = multiprocessing.get_context("spawn")
        with ProcessPoolExecutor(1, context, torch.set_num_threads, (1,)) as pool:
            return pool.submit(function, *arguments).result()
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value


def measure(name, shape, turns=100, compiled=True):
    """Time one pair of layers at one shape.

    Args:
        name: a key of :data:`PAIRS`.
        shape: of the input.
        turns: how many times each layer is timed.
        compiled: also time ours under ``torch.compile`` (needs a C++ compiler).

    Returns:
        A list of :class:`Timing`: torch, ours, and ours compiled.
    """
    reference, ours, axis, _ = PAIRS[name]
    size = shape[axis]
    layers = {f"{name}, torch": reference(size), f"{name}, ours": ours(size)}
    if compiled:
        layers[f"{name}, ours compiled"] = torch.compile(ours(size))
    forward, both = race(layers, shape, turns)
    first = next(iter(layers))
    return [
        Timing(
            label,
            shape,
            *_median_and_ratio(forward[label], forward[first]),
            *_median_and_ratio(both[label], both[first]),
            _kept(layer, torch.randn(shape, requires_grad=True)),
            _offset_error(layer, shape),
        )
        for label, layer in layers.items()
    ]


def race(layers, shape, turns=100, device="cpu", dtype=torch.float32):
    """Let layers take turns, so that a machine that slows down slows all of them.

    Each turn has another order, and each layer is called once before it is timed. What runs behind
    a layer of many operations finds less of its own code and numbers in the caches: without this
    one plain linear layer of width 64 took a fifth longer than another.

    Args:
        layers: dictionary from a name to a module.
        shape: of their input.
        turns: how many times each one is timed.
        device: of the input, "cpu" or "cuda".
        dtype: of the input.

    Returns:
        ``forward, both``: dictionaries from the name to the seconds of each turn, for a pass
        without gradients, and for a pass forward and back.
    """
    x, dy = (torch.randn(shape, device=device, dtype=dtype) for _ in range(2))
    x.requires_grad_()
    clock = _seconds_of_kernels if device == "cuda" else _seconds

    def forward(layer):
        with torch.no_grad():
            layer(x)

    def both(layer):
        x.grad = None
        layer(x).backward(dy)

    times, shuffled = [], random.Random()
    for action in (forward, both):
        seconds = {name: [] for name in layers}
        for turn in range(turns + 5):
            for name, layer in shuffled.sample(list(layers.items()), len(layers)):
                action(layer)
                taken = clock(action, layer)
                if turn >= 5:  # the first turns warm up (and compile)
                    seconds[name].append(taken)
        times.append(seconds)
    return tuple(times)


def _seconds(action, layer):
    start = time.perf_counter()
    action(layer)
    return time.perf_counter() - start


def _seconds_of_kernels(action, layer, cycles=4_000_000):
    """Time what the GPU does, and not how fast Python tells it what to do.

    The GPU first waits (for milliseconds), while all its work is lined up behind. If it comes to
    the work before the last of it stands in line, the turn does not count, and it waits longer.
    """
    while True:
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        torch.cuda.synchronize()
        torch.cuda._sleep(cycles)
        begin.record()
        action(layer)
        end.record()
        waited = not begin.query()
        torch.cuda.synchronize()
        if waited:
            return begin.elapsed_time(end) / 1e3
        cycles *= 2


def _median_and_ratio(seconds, reference):
    ratio = statistics.median(s / r for s, r in zip(seconds, reference, strict=True))
    return 1e3 * statistics.median(seconds), ratio


def _kept(layer, x):
    """MiB that autograd keeps between forward and backward: distinct storages."""
    sizes = {}

    def pack(tensor):
        storage = tensor.untyped_storage()
        sizes[storage.data_ptr()] = storage.nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        layer(x)
    return sum(sizes.values()) / 2**20


def _offset_error(layer, shape):
    """Largest error of the output for an input around 3000, against float64."""
    x = torch.randn(shape) + 3000
    exact = copy.deepcopy(getattr(layer, "_orig_mod", layer)).double()
    return (layer(x).double() - exact(x.double())).abs().max().item()


def store_costs(
    widths=(64, 256, 1024, 4096),
    rows=1024,
    repeats=5,
    turns=40,
    path=COSTS,
    device="cpu",
    dtype=torch.float32,
):
    """Time layer and RMS norm over widths: torch's, ours, and ours compiled; store the table.

    Args:
        widths: numbers of features.
        rows: number of tokens.
        repeats: how many medians are taken.
        turns: of each median.
        path: of the table.
        device: "cpu" or "cuda".
        dtype: of the inputs and the parameters.
    """
    lines = []
    for width in widths:
        torch.compiler.reset()  # else a width too many is not compiled any more
        layers = {}
        for name in ("layer", "rms"):
            torchs, ours, *_ = PAIRS[{"layer": "layer norm", "rms": "RMS norm"}[name]]
            made = (layer(width, device=device, dtype=dtype) for layer in (torchs, ours, ours))
            layers[name, "torch"], layers[name, "ours"], last = made
            layers[name, "ours compiled"] = torch.compile(last, dynamic=False)
        for repeat in range(repeats):
            times = race(layers, (rows, width), turns, device, dtype)
            for key in layers:
                medians = (f"{1e6 * statistics.median(seconds[key]):.4g}" for seconds in times)
                lines.append([*key, width, repeat, *medians])
    columns = ["norm", "variant", "width", "repeat", "forward", "both"]
    kind = str(dtype).removeprefix("torch.")
    what = f"{rows} tokens, {kind}, microseconds, median of {turns}"
    _store(path, what, columns, lines, device)


def store_gpu_costs():
    """Time the same on a GPU, as large language models have it: bfloat16, wide, many tokens."""
    wide = (256, 1024, 4096, 8192)
    store_costs(wide, 16_384, path=GPU_COSTS, device="cuda", dtype=torch.bfloat16)


def cost_by_width(device="cpu", path=None):
    """Read the stored times of layer and RMS norm.

    Args:
        device: "cpu", or "cuda" for those on a GPU in bfloat16.
        path: of another table.

    Returns:
        ``widths, times``: W widths, and a dictionary from a norm ("layer" or "rms") and a variant
        ("torch", "ours" or "ours compiled") to microseconds of a pass forward and back, (W, repeats).

    Raises:
        MissingCosts: there is no table.
    """
    rows = _read(path or {"cpu": COSTS, "cuda": GPU_COSTS}[device], device)
    widths = sorted({int(row["width"]) for row in rows})
    times = {}
    for key in dict.fromkeys((row["norm"], row["variant"]) for row in rows):
        mine = [row for row in rows if (row["norm"], row["variant"]) == key]
        times[key] = np.array(
            [[float(row["both"]) for row in mine if int(row["width"]) == w] for w in widths]
        )
    return widths, times


def store_step_costs(steps=40, repeats=5, path=STEP_COSTS):
    """Time the training steps of two arms of the grid "figure-1": no norm, and batch norm; store.

    The arms take turns. Their times are processor time, so that other programs count little.

    Args:
        steps: of a training, of ten nets side by side, without evaluation.
        repeats: how many turns.
        path: of the table.
    """
    from norms.experiments import grids, training  # here: the layers' table needs no experiment

    arms = grids.arms("figure-1")

    def train(name, steps):
        options = arms[name] | {"steps": steps, "every": None, "parts": []}
        start = time.process_time()
        training.train(**options, learning_rates=[0.1], seeds=list(range(10)))
        return 1e3 * (time.process_time() - start) / steps

    lines = []
    for repeat in range(-1, repeats):
        turn = {name: train(name, steps) for name in ("none", "batch")}
        if repeat >= 0:  # the first turn warms up
            lines += [
                [name, repeat, f"{cost:.4g}", f"{cost / turn['none']:.4g}"]
                for name, cost in turn.items()
            ]
    what = f"grid figure-1, 10 nets, milliseconds a step, mean of {steps}, processor time"
    _store(path, what, ["arm", "repeat", "step", "ratio"], lines)


def step_cost(name, path=STEP_COSTS):
    """Read how many times as long as without a norm a training step takes.

    Args:
        name: of the arm of the grid "figure-1", such as "batch".
        path: of the table.

    Returns:
        Array (repeats,) of ratios, one a turn; a page prints their median.

    Raises:
        MissingCosts: there is no table.
        KeyError: it has no such arm.
    """
    ratios = [float(row["ratio"]) for row in _read(path) if row["arm"] == name]
    if not ratios:
        raise KeyError(f"no arm {name!r} in {path}")
    return np.array(ratios)


def store_weight_costs(
    widths=(64, 256, 1024), batches=(1, 8, 64, 512), repeats=5, turns=20, path=WEIGHT_COSTS
):
    """Time a square linear layer: plain, with weight norm, with spectral norm, and folded; store.

    Forward and back, the gradients of input and weight included. "evaluation" is spectral norm in
    that mode. "again" is a second plain layer: what its ratios differ from 1 is no norm's doing.

    Args:
        widths: numbers of features.
        batches: numbers of samples.
        repeats: how many medians are taken.
        turns: of each median.
        path: of the table.
    """
    lines = []
    for width in widths:
        for batch in batches:
            layers = {
                "none": nn.Linear(width, width),
                "weight": norms.weight_norm(nn.Linear(width, width)),
                "spectral": norms.spectral_norm(nn.Linear(width, width)),
                "folded": norms.spectral_norm(nn.Linear(width, width)),
                "evaluation": norms.spectral_norm(nn.Linear(width, width)).eval(),
                "again": nn.Linear(width, width),
            }
            parametrize.remove_parametrizations(layers["folded"], "weight")
            for repeat in range(repeats):
                forward, both = race(layers, (batch, width), turns)
                for name in layers:
                    pair = (forward, both)
                    measured = [_median_and_ratio(t[name], t["none"]) for t in pair]
                    cells = [f"{value:.4g}" for pair in measured for value in pair]
                    lines.append([name, width, batch, repeat, *cells])
    columns = ["norm", "width", "batch", "repeat", "forward", "forward_ratio", "both", "both_ratio"]
    what = f"square linear layers, milliseconds, median of {turns}, and ratios to no norm"
    _store(path, what, columns, lines)


def weight_costs(path=WEIGHT_COSTS):
    """Read how many times as long a linear layer takes with a norm on its weight.

    Returns:
        ``widths, batches, ratios``: W widths, B batches, and a dictionary from "weight",
        "spectral", "folded", "evaluation" (spectral norm in that mode) or "again" (a second plain
        layer) to a pair of arrays (W, B, repeats): of the forward without gradients, and of forward
        and back. All but "evaluation" are in training mode. "none" has the plain layer's own times,
        over those at its smallest batch.

    Raises:
        MissingCosts: there is no table.
    """
    rows = _read(path)
    sizes = [sorted({int(row[name]) for row in rows}) for name in ("width", "batch")]
    ratios = {}
    for norm in dict.fromkeys(row["norm"] for row in rows):
        pair = []
        for column in ("forward", "both"):
            column += "_ratio" * (norm != "none")
            values = [float(row[column]) for row in rows if row["norm"] == norm]
            values = np.array(values).reshape(*map(len, sizes), -1)
            pair.append(values / values[:, :1] if norm == "none" else values)
        ratios[norm] = tuple(pair)
    return *sizes, ratios


def _command(device):
    return "python -m norms.experiments.timing --store" + " --device cuda" * (device == "cuda")


def _store(path, what, columns, lines, device="cpu"):
    settings = [f"{name}={os.environ[name]}" for name in _allocator_variables()] or ["defaults"]
    allocator = " ".join([*filter(None, platform.libc_ver()), "allocator:", *settings])
    machine = f"{torch.backends.cpu.get_cpu_capability()}, 1 thread"
    if device == "cuda":
        machine = f"CUDA {torch.version.cuda}, {torch.cuda.get_device_name()}"
        allocator = "torch's own allocator; times of the kernels, without their launch"
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(
            f"# {_command(device)}\n"
            f"# python {platform.python_version()}, torch {torch.__version__}, "
            f"{platform.machine()}, {machine}\n"
            f"# {allocator}\n"
            f"# {datetime.now(UTC):%Y-%m-%d}, {what}\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(columns)
        writer.writerows(lines)


def _read(path, device="cpu"):
    if not path.exists():
        raise MissingCosts(f"no costs in {path}: run `{_command(device)}`")
    with path.open(encoding="utf-8") as file:
        return list(csv.DictReader(line for line in file if line[:1] != "#"))


def main():
    """Print the table, or store those of the chapters."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--store", action="store_true", help="measure for the chapters, and store")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="of --store")
    parser.add_argument("--weights", action="store_true", help="of --store: norms on weights alone")
    parser.add_argument("--turns", type=int, default=100)
    arguments = parser.parse_args()
    if arguments.device == "cuda" and not arguments.store:
        parser.error("--device cuda goes with --store: the printed table is of a CPU")
    settings = allocators()
    if arguments.device == "cuda":
        in_new_process({}, store_gpu_costs)
        print(GPU_COSTS)
        return
    if arguments.store:
        *_, environment = settings.values()  # the last: memory is kept, where that can be set
        tables = [] if arguments.weights else [(store_step_costs, STEP_COSTS), (store_costs, COSTS)]
        tables.append((store_weight_costs, WEIGHT_COSTS))
        for store, path in tables:
            in_new_process(environment, store)
            print(path)
        return
    print(f"torch {torch.__version__}, 1 thread, median of {arguments.turns} turns")
    print(header(settings))
    for name, (*_, shapes) in PAIRS.items():
        for shape in shapes:
            measured = [
                in_new_process(e, measure, name, shape, arguments.turns, not arguments.no_compile)
                for e in settings.values()
            ]
            for timings in zip(*measured, strict=True):
                print(row(timings), flush=True)


if __name__ == "__main__":
    main()
