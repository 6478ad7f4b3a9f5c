"""The arms whose learning rates are tuned: for each grid, a name and the arguments of ``train``.

An arm is everything that :func:`norms.experiments.training.train` needs but the learning rates
and the seeds. The chapters run the same arms with the chosen rate and fresh seeds.
"""

from functools import partial

from norms.experiments.data import digits, fashion, sonnets
from norms.experiments.models import (
    CNN,
    MLP,
    RNN,
    PartialRMSNorm,
    Transformer,
    centred_rms_norm,
    noisy_norm,
)
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


def recurrent_gain():
    """LN+3: a recurrent net reads a digit, four pixels a step; its recurrent weights grow."""
    shared = {"data": digits(), "steps": 200, "batch_size": 32, "optimizer": "adam"}
    net = partial(RNN, width=64, inputs=4, activation="relu")
    return {
        f"{norm}, gain {gain}": {"build": partial(_seeded, net, norm, gain=gain), **shared}
        for norm in ("none", "layer")
        for gain in (1, 1.5, 2, 3)
    }


def long_text():
    """LN+3: recurrent nets that learn sonnets in windows of 32 characters, to be read on without end."""
    shared = {"data": sonnets(), "steps": 300, "batch_size": 16, "optimizer": "adam"}
    net = partial(RNN, width=64, inputs=61, classes=61, every_step=True, activation="relu")
    return {
        f"{norm}, gain {gain}": {"build": partial(_seeded, net, norm, gain=gain), **shared}
        for norm in ("none", "layer")
        for gain in (1, 3)
    }


def placement():
    """LN+4: where the norm of a Transformer stands, with and without warm-up."""
    shared = {"data": sonnets(), "steps": 150, "batch_size": 8, "optimizer": "adam"}
    net = partial(Transformer, depth=6, width=32)
    places = {"none": ("none", "none"), "post": ("layer", "post"), "pre": ("layer", "pre")}
    places |= {"peri": ("layer", "peri"), "post, rms": ("rms", "post"), "pre, rms": ("rms", "pre")}
    return {
        f"{name}, warm-up {warmup}": {
            "build": partial(_seeded, net, norm, placement=place),
            "warmup": warmup,
            **shared,
        }
        for warmup in (0, 75)
        for name, (norm, place) in places.items()
    }


def online():
    """LN against batch norm, 4,000 images in batches of 1 to 128, as in the paper's Fig. 6."""
    shared = {"data": fashion(), "optimizer": "adam"}
    net = partial(MLP, depth=3, width=64, inputs=196)
    return {
        f"{norm}, N={n}": {
            "build": partial(_seeded, net, norm),
            "batch_size": n,
            "steps": 4000 // n,
            **shared,
        }
        for norm, smallest in (("none", 1), ("layer", 1), ("batch", 2))
        for n in (smallest, 4, 32, 128)
    }


def recurrent_speed():
    """LN: easy tasks for a recurrent net, digits in eight rows, tuned for speed."""
    shared = {"data": digits(), "steps": 200, "batch_size": 32, "every": 10, "optimizer": "adam"}
    arms = {}
    for activation in ("relu", "tanh"):
        net = partial(RNN, width=64, inputs=8, activation=activation)
        for norm in ("none", "layer"):
            arms[f"{activation}, {norm}"] = {"build": partial(_seeded, net, norm), **shared}
    return arms


def shifted_weights():
    """RMS-2: a fully connected net whose initial weights do not have mean 0."""
    shared = {"data": digits(), "steps": 300, "batch_size": 32}
    net = partial(MLP, depth=4, width=64)
    norms = {"none": "none", "layer": "layer", "rms": "rms", "centred rms": centred_rms_norm}
    return {
        f"{name}, shift {shift}": {"build": partial(_seeded, net, norm, shift=shift), **shared}
        for name, norm in norms.items()
        for shift in (0, 0.05, 0.1, 0.2)
    }


def shifted_recurrent():
    """RMS-2: the same for a recurrent net, where the paper reports that RMS norm is the sturdier."""
    shared = {"data": sonnets(), "steps": 200, "batch_size": 16, "optimizer": "adam"}
    net = partial(RNN, width=64, inputs=61, classes=61, every_step=True)
    return {
        f"{norm}, shift {shift}": {"build": partial(_seeded, net, norm, shift=shift), **shared}
        for norm in ("none", "layer", "rms")
        for shift in (0, 0.1, 0.2)
    }


def parity():
    """RMS norm, its partial form and layer norm in place of one another, in a pre-norm Transformer."""
    shared = {
        "data": sonnets(), "steps": 200, "batch_size": 8, "optimizer": "adam", "warmup": 20
    }  # fmt: skip
    net = partial(Transformer, depth=4, width=48)
    norms = {"layer": "layer", "rms": "rms", "partial rms": PartialRMSNorm}
    arms = {
        name: {"build": partial(_seeded, net, norm, placement="pre"), **shared}
        for name, norm in norms.items()
    }
    return arms | {"none": {"build": partial(_seeded, net, "none", placement="none"), **shared}}


GRIDS = {
    "batch-size": batch_size,
    "batch-order": batch_order,
    "figure-1": figure_1,
    "recurrent-gain": recurrent_gain,
    "long-text": long_text,
    "placement": placement,
    "online": online,
    "recurrent-speed": recurrent_speed,
    "shifted-weights": shifted_weights,
    "shifted-recurrent": shifted_recurrent,
    "parity": parity,
}


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
