"""The arms whose learning rates are tuned: for each grid, a name and the arguments of ``train``.

An arm is everything that :func:`norms.experiments.training.train` needs but the learning rates
and the seeds. The chapters run the same arms with the chosen rate and fresh seeds.
"""

from functools import partial

from norms.experiments.data import digits, fashion
from norms.experiments.models import CNN, MLP, noisy_norm
from norms.experiments.training import sorted_by_class

__all__ = ["GRIDS", "arms"]


def batch_size():
    """BN-1: statistics of m = N·H·W values, for four networks; the update sees 32 images.

    The last maps of "CNN 1x1" have that size, those of "CNN 4x4" too; "pooled" ends in their mean.
    """
    shared = {"data": fashion(), "steps": 300, "batch_size": 32}
    large = partial(CNN, channels=(16, 16), strides=(2, 2))
    small = partial(CNN, channels=(8, 16, 16, 32), strides=(2, 2, 2, 2))
    nets = {
        "MLP": (partial(MLP, depth=3, width=64, inputs=196), (2, 4, 8, 32)),
        "CNN 1x1": (small, (2, 4, 8, 32)),
        "CNN 4x4": (large, (1, 2, 8, 32)),
        "CNN 4x4 pooled": (partial(large, head="pool"), (1, 32)),
    }
    grid = {}
    for name, (net, sizes) in nets.items():
        grid[f"{name}, none"] = {"build": partial(_seeded, net, "none"), **shared}
        for n in sizes:
            build = partial(_seeded, net, "batch", micro_batch=n)
            grid[f"{name}, batch, N={n}"] = {"build": build, **shared}
    return grid


def figure_1():
    """BN+3: the set-up of the paper's Fig. 1 on digits, tuned for speed.

    The noise is that of Santurkar et al.; "more" has four times its largest mean.
    """
    shared = {"data": digits(), "steps": 600, "batch_size": 60, "every": 20}
    net = partial(MLP, depth=3, width=100, activation="sigmoid")
    norms = {"none": "none", "batch": "batch", "batch, noise": noisy_norm}
    norms["batch, more noise"] = partial(noisy_norm, mean=2.0)
    return {name: {"build": partial(_seeded, net, norm), **shared} for name, norm in norms.items()}


def batch_order():
    """Training batches of 32 shuffled, or sorted by class: statistics of 4 images, equal updates."""
    shared = {"data": fashion(), "steps": 300, "batch_size": 32}
    net = partial(MLP, depth=3, width=64, inputs=196)
    builds = {
        "none": partial(_seeded, net, "none"),
        "batch": partial(_seeded, net, "batch", micro_batch=4),
    }
    orders = {"shuffled": None, "sorted": sorted_by_class}
    return {
        f"{norm}, {order}": {"build": build, "batches": batches, **shared}
        for norm, build in builds.items()
        for order, batches in orders.items()
    }


GRIDS = {"batch-size": batch_size, "batch-order": batch_order, "figure-1": figure_1}


def arms(id):
    """Return the arms of a grid: a dictionary from the name to arguments of ``train``.

    Raises:
        KeyError: no such grid.
    """
    if id not in GRIDS:
        raise KeyError(f"there is no grid {id!r}; there are: {', '.join(GRIDS)}")
    return GRIDS[id]()


def _seeded(net, norm, seeds, **options):
    return net(norm=norm, seeds=seeds, **options)
