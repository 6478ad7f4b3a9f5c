"""A claim on a second data set: ``python -m norms.experiments.repeats BN+3``.

Two arms are trained anew on other data, with the seeds that the claim's page has, and what came out
is stored, one line a seed. The page shows the effect beside its own.
"""

import argparse
import csv
import os
from functools import partial
from pathlib import Path

from norms.experiments import evidence, grids, sweep
from norms.experiments.training import run_arms, train

__all__ = ["main", "run", "stale", "stored"]

COLUMNS = ("seed", "first", "second")


def run(cell, folder=sweep.RESULTS):
    """Measure a claim on its second data set, and store the table.

    Args:
        cell: of the summary table, a key of ``grids.REPEATS``.
        folder: for the table.

    Returns:
        Path of the table.
    """
    repeat, seeds = grids.REPEATS[cell], list(range(grids.CLAIMS[cell].seeds))
    options = _options(repeat)
    runs = run_arms(
        {
            name: partial(train, **(arm | options[name]), parts=["test"], seeds=seeds)
            for name, arm in repeat.arms().items()
        }
    )
    values = [repeat.statistic(history).tolist() for history in runs.values()]
    path, new = _path(cell, folder), _path(cell, folder).with_suffix(".new")
    path.parent.mkdir(parents=True, exist_ok=True)
    with new.open("w", encoding="utf-8", newline="") as file:
        file.write(
            sweep.header_lines(f"python -m norms.experiments.repeats {cell}", _mark(cell), seeds)
        )
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(COLUMNS)
        writer.writerows(
            [seed, *(f"{value:.6g}" for value in pair)]
            for seed, *pair in zip(seeds, *values, strict=True)
        )
    os.replace(new, path)
    return path


def stored(cell, folder=sweep.RESULTS):
    """Read the effect of a claim on its second data set.

    Returns:
        ``(data, effect)``: the name of the data set and an
        :class:`~norms.experiments.evidence.Interval`; None for a claim that has none.

    Raises:
        MissingResults: it was not run.
    """
    if cell not in grids.REPEATS:
        return None
    path, repeat = _path(cell, folder), grids.REPEATS[cell]
    if not path.exists():
        raise sweep.MissingResults(
            f"no results of {cell} on {repeat.data} ({path}): run it with "
            f"`python -m norms.experiments.repeats {cell}`"
        )
    with path.open(encoding="utf-8") as file:
        rows = list(csv.DictReader(line for line in file if line[:1] != "#"))
    first, second = ([float(row[name]) for row in rows] for name in COLUMNS[1:])
    return repeat.data, getattr(evidence, repeat.combine)(first, second)


def stale(cell):
    """Tell whether the stored table was made with other arms, seeds or code than there are now."""
    return sweep.mark_of(_path(cell, sweep.RESULTS)) != _mark(cell)


def _path(cell, folder):
    return Path(folder) / f"{cell}.csv"  # so that a page that judges the cell is known to read it


def _options(repeat):
    """What is given to ``train`` besides the arm, by the arm's name."""
    if not repeat.grid:
        return dict.fromkeys(repeat.arms(), repeat.options)
    rates = sweep.chosen(repeat.grid)
    return {name: {"learning_rates": [rates[name]]} | repeat.options for name in repeat.arms()}


def _mark(cell):
    repeat = grids.REPEATS[cell]
    arms = repeat.arms() | {"": [repeat.statistic, _options(repeat)]}
    return sweep.fingerprint(arms, range(grids.CLAIMS[cell].seeds))


def main(arguments=None):
    """Serve the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m norms.experiments.repeats", description=__doc__
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("cell", choices=list(grids.REPEATS))
    cell = parser.parse_args(arguments).cell
    print(run(cell))
    data, effect = stored(cell)
    print(f"{cell} on {data}: {effect:.3g} {grids.CLAIMS[cell].unit}")


if __name__ == "__main__":
    main()
