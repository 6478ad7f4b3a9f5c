"""The arms whose learning rates are tuned, and the claims that they decide: one file a norm.

An arm is everything that :func:`norms.experiments.training.train` needs except the learning rates
and the seeds. The chapters run the same arms with the chosen rate and fresh seeds. A claim stands
beside them with its bounds, which are older than the run.

A norm's file has some of these dictionaries, and is found here by being there:

- ``GRIDS``, from a grid's name to a function that returns its arms;
- ``RATES``, from a grid's name to the range of learning rates that all its arms get, where the
  width of what works is the question;
- ``CLAIMS``, from the cell of the summary table to its claim;
- ``FINDINGS``, from a name to a claim that a page makes beside those cells;
- ``REPEATS``, from a cell to how its claim is measured on a second data set.
"""

import pkgutil
from importlib import import_module

__all__ = ["CLAIMS", "FINDINGS", "GRIDS", "RATES", "REPEATS", "arms"]


def _gathered(name):
    found = {}
    for module in pkgutil.iter_modules(__path__, f"{__name__}."):
        for key, value in getattr(import_module(module.name), name, {}).items():
            if key in found:
                raise ValueError(f"{name} has {key!r} twice, the second time in {module.name}")
            found[key] = value
    return found


GRIDS = _gathered("GRIDS")
RATES = _gathered("RATES")
CLAIMS = _gathered("CLAIMS")
FINDINGS = _gathered("FINDINGS")
REPEATS = _gathered("REPEATS")


def arms(grid):
    """Return the arms of a grid: a dictionary from the name to arguments of ``train``.

    Raises:
        KeyError: no such grid.
    """
    if grid not in GRIDS:
        raise KeyError(f"there is no grid {grid!r}; there are: {', '.join(GRIDS)}")
    return GRIDS[grid]()
