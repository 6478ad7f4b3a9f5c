"""What readability costs: our layers against torch's own, one thread, on this machine.

Run ``python -m norms.experiments.timing``. The layers take turns, so that a machine that
slows down slows all of them; a ratio is the median of the ratios turn by turn. With ``--store``
it measures layer and RMS norm over widths instead, and keeps the table for the RMS norm chapter.
"""

import argparse
import copy
import csv
import os
import platform
import statistics
import sys
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import torch
from torch import nn

import norms

__all__ = ["PAIRS", "Timing", "cost_by_width", "measure", "race", "store_costs"]

COSTS = Path(__file__).with_name("results") / "cost-by-width.csv"

# name: (torch's layer, ours, the axis whose size they are built for, shapes small and large)
PAIRS = {
    "batch norm": (nn.BatchNorm2d, norms.BatchNorm2d, 1, [(32, 16, 8, 8), (32, 64, 32, 32)]),
    "layer norm": (nn.LayerNorm, norms.LayerNorm, -1, [(1024, 64), (4096, 1024)]),
    "RMS norm": (nn.RMSNorm, norms.RMSNorm, -1, [(1024, 64), (4096, 1024)]),
}


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

    HEADER = (
        f"{'layer':26s}{'shape':>18s}{'forward ms':>12s}{'ratio':>7s}{'+backward ms':>14s}"
        f"{'ratio':>7s}{'kept MiB':>10s}{'error at 3000':>15s}"
    )

    def __str__(self):
        return (
            f"{self.layer:26s}{'x'.join(map(str, self.shape)):>18s}{self.forward:12.3f}"
            f"{self.forward_ratio:7.2f}{self.both:14.3f}{self.both_ratio:7.2f}{self.kept:10.2f}"
            f"{self.offset_error:15.1e}"
        )


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


def race(layers, shape, turns=100):
    """Let layers take turns, so that a machine that slows down slows all of them.

    Args:
        layers: dictionary from a name to a module.
        shape: of their input.
        turns: how many times each one is timed.

    Returns:
        ``forward, both``: dictionaries from the name to the seconds of each turn, for a pass
        without gradients, and for a pass forward and back.
    """
    x, dy = torch.randn(shape, requires_grad=True), torch.randn(shape)

    def forward(layer):
        with torch.no_grad():
            layer(x)

    def both(layer):
        x.grad = None
        layer(x).backward(dy)

    times = []
    for action in (forward, both):
        seconds = {name: [] for name in layers}
        for turn in range(turns + 5):
            for name, layer in layers.items():
                start = time.perf_counter()
                action(layer)
                if turn >= 5:  # the first turns warm up (and compile)
                    seconds[name].append(time.perf_counter() - start)
        times.append(seconds)
    return tuple(times)


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


def store_costs(widths=(64, 256, 1024, 4096), rows=1024, repeats=5, turns=40, path=COSTS):
    """Time layer and RMS norm over widths: torch's, ours, and ours compiled; store the table.

    Args:
        widths: numbers of features.
        rows: number of tokens.
        repeats: how many medians are taken.
        turns: of each median.
        path: of the table.
    """
    lines = []
    for width in widths:
        layers = {}
        for name in ("layer", "rms"):
            torchs, ours, *_ = PAIRS[{"layer": "layer norm", "rms": "RMS norm"}[name]]
            layers[name, "torch"], layers[name, "ours"] = torchs(width), ours(width)
            layers[name, "ours compiled"] = torch.compile(ours(width), dynamic=False)
        for repeat in range(repeats):
            times = race(layers, (rows, width), turns)
            for key in layers:
                medians = (f"{1e6 * statistics.median(seconds[key]):.4g}" for seconds in times)
                lines.append([*key, width, repeat, *medians])
    with path.open("w", encoding="utf-8", newline="") as file:
        file.write(
            "# python -m norms.experiments.timing --store\n"
            f"# python {platform.python_version()}, torch {torch.__version__}, "
            f"{platform.machine()}, {torch.backends.cpu.get_cpu_capability()}, 1 thread\n"
            f"# {datetime.now(UTC):%Y-%m-%d}, {rows} tokens, microseconds, median of {turns}\n"
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["norm", "variant", "width", "repeat", "forward", "both"])
        writer.writerows(lines)


def cost_by_width(path=COSTS):
    """Read the stored times of layer and RMS norm.

    Returns:
        ``widths, times``: W widths, and a dictionary from a norm ("layer" or "rms") and a variant
        ("torch", "ours" or "ours compiled") to microseconds of a pass forward and back, (W, repeats).
    """
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if line[:1] != "#"))
    widths = sorted({int(row["width"]) for row in rows})
    times = {}
    for key in dict.fromkeys((row["norm"], row["variant"]) for row in rows):
        mine = [row for row in rows if (row["norm"], row["variant"]) == key]
        times[key] = np.array(
            [[float(row["both"]) for row in mine if int(row["width"]) == w] for w in widths]
        )
    return widths, times


def main():
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-compile", action="store_true", help="leave out torch.compile")
    parser.add_argument("--store", action="store_true", help="measure over widths, and store")
    parser.add_argument("--turns", type=int, default=100)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    # glibc hands large blocks back to the system after each use; fetching them anew would be
    # a third of the time. The allocator reads this when it starts, so start once more.
    if sys.platform == "linux" and "MALLOC_MMAP_THRESHOLD_" not in os.environ:
        os.environ.update(MALLOC_MMAP_THRESHOLD_="4294967296", MALLOC_TRIM_THRESHOLD_="17179869184")
        os.execv(sys.executable, [sys.executable, "-m", "norms.experiments.timing", *sys.argv[1:]])
    if arguments.store:
        store_costs()
        print(COSTS)
        return
    print(
        f"torch {torch.__version__}, 1 thread, median of {arguments.turns} turns\n{Timing.HEADER}"
    )
    for name, (*_, shapes) in PAIRS.items():
        for shape in shapes:
            for timing in measure(name, shape, arguments.turns, not arguments.no_compile):
                print(timing, flush=True)


if __name__ == "__main__":
    main()
