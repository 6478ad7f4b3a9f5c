"""Tuning grids: ``python -m norms.experiments.sweep NAME``, and how the chapters read them.

Each arm of a grid is trained at each learning rate of 1, 3, 10, 30, ... times a power of ten,
and judged on the validation part, with seeds that no chapter uses: by its accuracy (or, of texts,
its loss) at the end, or, if the arm is recorded ``every`` so many steps, by the mean of the
records, which rewards speed. An arm whose best rate is the first or the last gets one more at that end, until the best
is inside.

Every finished row is on the disk before the next begins, in ``NAME.csv.part``. After a crash, a
full disk or Ctrl-C the same command goes on where it stopped; the complete table replaces
``NAME.csv`` in one step.
"""

import argparse
import csv
import hashlib
import io
import os
import platform
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

import joblib
import numpy as np
import torch
from tqdm.auto import tqdm

from norms.experiments import grids, provenance
from norms.experiments.training import best_rate, on_few_threads, run_arms, train

__all__ = [
    "MissingResults",
    "chosen",
    "confirm",
    "fingerprint",
    "header_lines",
    "main",
    "mark_of",
    "rate",
    "rerun",
    "results",
    "run",
    "stale",
    "table",
]

RESULTS = Path(__file__).with_name("results")
SEEDS = tuple(range(100, 105))  # the chapters start at 0
START = {"sgd": range(-4, 2), "adam": range(-7, -2)}  # 0.01 to 3, and 3e-4 to 0.03
LIMIT = range(-12, 7)  # 1e-6 to 1000
COLUMNS = ("arm", "learning_rate", "seed")
MEASURES = {"accuracy": "validation", "loss": "validation loss"}  # the last column


class MissingResults(FileNotFoundError):
    """A grid has not been run, or not since it was changed; the message names the command."""


def rate(k):
    """Return the k-th learning rate of the one grid: ..., 0.1, 0.3, 1 (k = 0), 3, 10, ..."""
    return float(f"{3 if k % 2 else 1}e{k // 2}")


def run(grid, arms=None, *, seeds=SEEDS, start=None, folder=RESULTS, processes=None, again=False):
    """Run a grid, or the rest of it, and store its table.

    Args:
        grid: name of the grid and of its file.
        arms: dictionary from a name to arguments of ``train``; default those of
            :mod:`norms.experiments.grids`.
        seeds: of the tuning runs.
        start: range of k, see :func:`rate`, before any extension; default the grid's own in
            ``grids.RATES``, or by the arm's optimizer.
        folder: for the table.
        processes: of one thread each; default one a core.
        again: run although the table is up to date.

    Returns:
        Path of the table.

    Raises:
        OSError: the disk is full; what was done is kept.
        RuntimeError: no end of the grid is in sight: the best rate lies beyond 1e-6 or 1000.
    """
    arms = grids.arms(grid) if arms is None else arms
    start = start or grids.RATES.get(grid)
    mark = fingerprint(arms, seeds)
    final, part = Path(folder) / f"{grid}.csv", Path(folder) / f"{grid}.csv.part"
    final.parent.mkdir(parents=True, exist_ok=True)
    if final.exists() and not again and mark_of(final) == mark:
        return final
    (measure,) = {getattr(arm.get("data"), "measure", "accuracy") for arm in arms.values()}
    header = _header(grid, mark, seeds, measure)
    done = _resume(part, header, mark, seeds)
    bar = tqdm(desc=grid, unit="run")
    while tasks := _pending(arms, done, start, measure):
        bar.total = len(done) + len(tasks)
        bar.update(len(done) - bar.n)
        jobs = [
            joblib.delayed(on_few_threads)(partial(_tune, name, arms[name], k, seeds))
            for name, k in tasks
        ]
        pool = joblib.Parallel(n_jobs=processes or os.cpu_count(), return_as="generator_unordered")
        for name, k, values in pool(jobs):
            _append(part, _rows(name, k, seeds, values))
            done[name, k] = values
            bar.update()
    bar.close()
    ordered = sorted(done, key=lambda key: (list(arms).index(key[0]), key[1]))
    _replace(final, header, {key: done[key] for key in ordered}, seeds)
    part.unlink()
    return final


def confirm(grid, arms=None, *, seeds=SEEDS, folder=RESULTS, processes=None):
    """Train every arm again at its chosen rate, and mark a table whose values all come out equal.

    For a change of the code that should change no result: it takes a sixth of the time of a run.

    Args:
        grid: its name.
        arms: as for :func:`run`.
        seeds: of the tuning runs.
        folder: of the table.
        processes: of one thread each; default one a core.

    Returns:
        The names of the arms that come out differently, on which the table is left as it is.

    Raises:
        MissingResults: there is no complete table.
    """
    arms = grids.arms(grid) if arms is None else arms
    path = Path(folder) / f"{grid}.csv"
    rates, done = chosen(grid, folder), _read(path) if path.exists() else {}
    if list(rates) != list(arms):
        return list(arms)
    jobs = [
        joblib.delayed(on_few_threads)(partial(_tune, name, arms[name], k, seeds))
        for name, k in done
        if rate(k) == rates[name]
    ]
    pool = joblib.Parallel(n_jobs=processes or os.cpu_count(), return_as="generator_unordered")
    bar = tqdm(pool(jobs), total=len(jobs), desc=grid, unit="run")
    again = {(name, k): values for name, k, values in bar}
    different = [key[0] for key in again if _written(again[key]) != _written(done[key])]
    if not different:
        header = _header(grid, fingerprint(arms, seeds), seeds, _measure(path)).splitlines(True)
        header.insert(3, "# confirmed: every arm was trained again at its chosen rate\n")
        _replace(path, "".join(header), done, seeds)
    return different


def results(grid, folder=RESULTS):
    """Read the table of a grid.

    Returns:
        Dictionary from the arm's name to ``(learning_rates, values)``: L numbers in rising
        order and an array (L, S) of what was measured on the validation part: accuracies in
        percent, or losses in nats.

    Raises:
        MissingResults: there is no complete table.
    """
    final = Path(folder) / f"{grid}.csv"
    if not final.exists():
        part = final.with_name(final.name + ".part").exists()
        raise MissingResults(
            f"no results of the grid {grid!r} ({final}): "
            f"{'its run was interrupted; go on' if part else 'run it'} with "
            f"`python -m norms.experiments.sweep {grid}`"
        )
    done, found = _read(final), {}
    for name in dict.fromkeys(name for name, _ in done):  # the order of the arms
        ks = sorted(k for arm, k in done if arm == name)
        found[name] = [rate(k) for k in ks], np.array([done[name, k] for k in ks])
    return found


def chosen(grid, folder=RESULTS):
    """Return the learning rate of each arm with the best mean on the validation part.

    Raises:
        MissingResults: the grid has not been run.
        GridError: a best one is at an end of its grid.
    """
    found = results(grid, folder)
    measure = _measure(Path(folder) / f"{grid}.csv")
    return {name: best_rate(rates, values, measure) for name, (rates, values) in found.items()}


def rerun(grid, seeds, names=None, **options):
    """Train the arms of a grid at their chosen learning rates, side by side.

    Args:
        grid: its name.
        seeds: of the runs, not those of the grid.
        names: which arms; default all.
        **options: of ``train``, in the place of the grid's own.

    Returns:
        Dictionary from the name to a :class:`norms.experiments.training.History`.
    """
    arms, rates = grids.arms(grid), chosen(grid)
    return run_arms(
        {
            name: partial(
                train,
                **(arms[name] | {"learning_rates": [rates[name]], "parts": ["test"]} | options),
                seeds=seeds,
            )
            for name in names or arms
        }
    )


def table(grid, folder=RESULTS):
    """Return a Markdown table of means on the validation part, the chosen ones in bold."""
    found, measure = results(grid, folder), _measure(Path(folder) / f"{grid}.csv")
    digits = {"accuracy": 1, "loss": 2}[measure]
    rates = sorted({value for arm_rates, _ in found.values() for value in arm_rates})
    lines = ["| arm | " + " | ".join(f"{value:g}" for value in rates) + " |"]
    lines.append("|---" * (len(rates) + 1) + "|")
    for name, (arm_rates, values) in found.items():
        means = dict(zip(arm_rates, values.mean(1), strict=True))
        best = best_rate(arm_rates, values, measure)
        cells = [f"{means[value]:.{digits}f}" if value in means else "" for value in rates]
        cells = [f"**{c}**" if value == best else c for value, c in zip(rates, cells, strict=True)]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def stale(grid):
    """Tell whether a stored table was made with other arms, seeds or code than there are now."""
    return mark_of(RESULTS / f"{grid}.csv") != fingerprint(grids.arms(grid), SEEDS)


def fingerprint(arms, seeds):
    """Return a short hash of what a table is made from: the arms, their seeds, the code that runs."""
    lines = [f"{name}: {_describe(arm)}" for name, arm in arms.items()]
    functions = [_tune, _pending, *_functions(list(arms.values()))]
    code = provenance.of_functions(functions, lines)
    code = {part: digest for part, digest in code.items() if "/results/" not in part}  # no circle
    text = "\n".join([*lines, f"seeds {list(seeds)}", str(code)])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _functions(value):
    """The functions and classes in an arm, those of its data included."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, partial):
        value = [value.func, *value.args, *value.keywords.values()]
    if isinstance(value, list | tuple):
        return [function for v in value for function in _functions(v)]
    if callable(value):
        return [value]
    return [type(value)] if hasattr(value, "train") else []


def _describe(value):
    if isinstance(value, dict):
        return {key: _describe(v) for key, v in value.items()}
    if isinstance(value, list | tuple):
        return [_describe(v) for v in value]
    if isinstance(value, partial):
        return [_describe(v) for v in (value.func, value.args, value.keywords)]
    if callable(value):
        return value.__qualname__
    if hasattr(value, "train"):  # data: the parts that a table is made from
        tensors = [_whole_numbers(t, value) for t in (*value.train, *value.validation)]
        return str(value), [hashlib.sha256(t.numpy().tobytes()).hexdigest() for t in tensors]
    return str(value)


def _whole_numbers(tensor, data):
    """Pixels as they were before they were standardised; the last bits of that differ by processor."""
    if not tensor.is_floating_point():
        return tensor
    pixels = tensor.double() * getattr(data, "deviation", 1.0) + getattr(data, "mean", 0.0)
    return (pixels * 10_000).round().long()


def _tune(name, arm, k, seeds):
    history = train(**arm, learning_rates=[rate(k)], seeds=list(seeds), parts=["validation"])
    return name, k, history.validation[:, 0].mean(0).tolist()


def _pending(arms, done, start, measure):
    """Runs that are missing: those of the start, then the ends that must be extended."""
    sign = -1 if measure == "loss" else 1
    tasks = [
        (name, k)
        for name, arm in arms.items()
        for k in start or START[arm.get("optimizer", "sgd")]
        if (name, k) not in done
    ]
    for name in arms if not tasks else ():
        tried = sorted(k for arm, k in done if arm == name)
        best = max(tried, key=lambda k: (sign * np.mean(done[name, k]), -k))
        beyond = {tried[0]: tried[0] - 1, tried[-1]: tried[-1] + 1}.get(best)
        if beyond is not None and beyond not in LIMIT:
            raise RuntimeError(f"{name}: the best learning rate lies beyond {rate(best):g}")
        if beyond is not None:
            tasks.append((name, beyond))
    return tasks


def header_lines(command, mark, seeds):
    """Return what stands above a stored table: the command, the versions and what it is made from."""
    return (
        f"# {command}\n"
        f"# python {platform.python_version()}, torch {torch.__version__}, "
        f"numpy {np.__version__}, {platform.machine()}\n"
        f"# {datetime.now(UTC):%Y-%m-%d}, arms {mark}, seeds {' '.join(map(str, seeds))}\n"
    )


def _header(grid, mark, seeds, measure):
    lines = header_lines(f"python -m norms.experiments.sweep {grid}", mark, seeds)
    return lines + ",".join((*COLUMNS, MEASURES[measure])) + "\n"


def mark_of(path):
    """Return the fingerprint in a stored table."""
    with path.open(encoding="utf-8") as file:
        line = [next(file, "") for _ in range(3)][-1]
    return line.partition("arms ")[2].partition(",")[0]


def _measure(path):
    with path.open(encoding="utf-8") as file:
        column = next(line for line in file if line[:1] != "#").strip().split(",")[-1]
    return {column: measure for measure, column in MEASURES.items()}[column]


def _rows(name, k, seeds, values):
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    for seed, value in zip(seeds, _written(values), strict=True):
        writer.writerow([name, f"{rate(k):g}", seed, value])
    return text.getvalue()


def _written(values):
    return [f"{value:.4g}" for value in values]


def _read(path):
    """Dictionary from (arm, k) to the values, in the order of the seeds; whole lines only."""
    text = path.read_text(encoding="utf-8")
    rows = [line for line in text[: text.rfind("\n") + 1].splitlines() if line[:1] != "#"]
    k_of = {f"{rate(k):g}": k for k in LIMIT}
    done = {}
    for arm, value, _seed, measured in list(csv.reader(rows))[1:]:
        done.setdefault((arm, k_of[value]), []).append(float(measured))
    return done


def _resume(part, header, mark, seeds):
    """Read what an interrupted run has left, without a last, broken run; or begin the file."""
    found = _read(part) if part.exists() and mark_of(part) == mark else {}
    done = {key: values for key, values in found.items() if len(values) == len(seeds)}
    _replace(part, header, done, seeds)
    return done


def _replace(path, header, done, seeds):
    """Write a whole table in one step: the old one stands until the new one does."""
    new = path.with_name(path.name + ".new")
    rows = [_rows(name, k, seeds, accuracies) for (name, k), accuracies in done.items()]
    new.write_text("".join([header, *rows]), encoding="utf-8")
    os.replace(new, path)


def _append(path, text):
    """Write a run's rows to the disk at once; on failure leave the file as it was."""
    size = path.stat().st_size
    try:
        with path.open("ab") as file:
            file.write(text.encode())
            file.flush()
            os.fsync(file.fileno())
    except OSError:
        os.truncate(path, size)
        raise


def main(arguments=None):
    """Serve the command line."""
    parser = argparse.ArgumentParser(prog="python -m norms.experiments.sweep", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("grid", nargs="?", choices=list(grids.GRIDS))
    parser.add_argument("--list", action="store_true", help="list the grids")
    parser.add_argument("--stale", action="store_true", help="run all that are not up to date")
    parser.add_argument(
        "--confirm", action="store_true", help="only train the chosen rates, and mark equal tables"
    )
    parser.add_argument("--again", action="store_true", help="run although the table is up to date")
    parser.add_argument("--processes", type=int, help="of one thread each; default one a core")
    options = parser.parse_args(arguments)
    states = {grid: _state(grid) for grid in grids.GRIDS}
    if options.stale:
        rest = ("up to date", "not run") if options.confirm else ("up to date",)
        wanted = [grid for grid, state in states.items() if state not in rest]
    elif options.grid and not options.list:
        wanted = [options.grid]
    else:
        for grid, make in grids.GRIDS.items():
            print(f"{grid:18} {states[grid]:11} {make.__doc__.splitlines()[0]}")
        return
    for grid in wanted:
        try:
            if options.confirm:
                different = confirm(grid, processes=options.processes)
                told = (
                    f"not as stored: {', '.join(different)}; run it anew"
                    if different
                    else "as stored"
                )
                print(f"{grid}: {told}")
                continue
            path = run(grid, processes=options.processes, again=options.again)
        except OSError as error:
            raise SystemExit(f"{error}: what was done is kept; the same command goes on") from None
        except KeyboardInterrupt:
            raise SystemExit("\nStopped: what was done is kept; the same command goes on") from None
        print(path)
        print(table(grid))


def _state(grid):
    if not (RESULTS / f"{grid}.csv").exists():
        return "not run"
    return "stale" if stale(grid) else "up to date"


if __name__ == "__main__":
    main()
