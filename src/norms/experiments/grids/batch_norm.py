"""Batch norm: what its experiments train, and what is claimed, with the bounds."""

from functools import partial

from norms.experiments.claims import Claim, above, below, between, null
from norms.experiments.data import digits, fashion
from norms.experiments.models import CNN, MLP, noisy_norm
from norms.experiments.training import seeded, sorted_by_class

__all__ = ["CLAIMS", "GRIDS"]


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
        grid[f"{name}, none"] = {"build": partial(seeded, net, norm="none"), **shared}
        for n in sizes:
            build = partial(seeded, net, norm="batch", micro_batch=n)
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
    return {
        name: {"build": partial(seeded, net, norm=norm), **shared} for name, norm in norms.items()
    }


def batch_order():
    """Training batches of 32 shuffled, or sorted by class: statistics of 4 images, equal updates."""
    shared = {"data": fashion(), "steps": 300, "batch_size": 32}
    net = partial(MLP, depth=3, width=64, inputs=196)
    builds = {
        "none": partial(seeded, net, norm="none"),
        "batch": partial(seeded, net, norm="batch", micro_batch=4),
    }
    orders = {"shuffled": None, "sorted": sorted_by_class}
    return {
        f"{norm}, {order}": {"build": build, "batches": batches, **shared}
        for norm, build in builds.items()
        for order, batches in orders.items()
    }


GRIDS = {"batch-size": batch_size, "batch-order": batch_order, "figure-1": figure_1}

CLAIMS = {
    "BN+1": Claim(
        "Batch norm holds the scale of the signals, at any depth",
        effect="grown",
        unit="decades of growth without it, in 20 layers at twice the weights",
        quantities={
            "grown": "growth of the signals in a plain net at twice the weights (decades)",
            "kept": "largest departure of a layer's size from 1 with batch norm",
            "squares": "growth of the squared gradient a layer, less π/(π − 1)",
            "few": "the same in a batch of 8",
        },
        bounds={
            "holds if": {
                "grown": above(3),
                "kept": below(0.2),
                "squares": null(0.04),
                "few": above(0.1),
            },
            "holds": {"grown": above(3), "kept": below(0.2), "squares": below(-0.04)},
            "contradicted": {"kept": above(1)},
        },
        condition={"holds if": "one looks forward; backward, gradients grow in ReLU nets"},
        paper_for="Ioffe and Szegedy 2015, section 4.1",
        paper_against="Yang et al. 2019, Theorem 8, on gradients",
    ),
    "BN+2": Claim(
        "Batch norm allows larger learning rates",
        effect="decades",
        unit="decades of learning rate, on a grid of half decades",
        quantities={
            "decades": "largest usable rate over that without a norm (decades)",
            "behind": "accuracy behind no norm at the smallest rate (points)",
            "angle": "largest cosine between a unit's weights and their gradient",
            "shrinks": "gradient at three times the weights, less a third",
        },
        bounds={
            "holds": {
                "decades": above(0.5),
                "behind": above(3),
                "angle": below(1e-3),
                "shrinks": null(1e-3),
            },
            "contradicted": {"decades": below(0)},
        },
        condition={"holds": "for weights that a batch norm follows"},
        paper_for="Ioffe and Szegedy 2015; Bjorck et al. 2018; Arora et al. 2019",
    ),
    "BN+3": Claim(
        "Batch norm reaches a target in fewer steps",
        effect="speed",
        unit="times fewer steps, with sigmoid units",
        quantities={
            "speed": "steps of the plain net over those of batch norm, sigmoid units",
            "noise": "the same with the published noise behind batch norm",
            "more": "the same with four times its largest mean",
            "easy": "the same with ReLU units, without noise",
            "harm": "accuracy that more noise costs a deep narrow net (points)",
            "price": "time of a step with batch norm, over one without",
        },
        bounds={
            "holds if": {
                "speed": above(3),
                "noise": above(3),
                "more": above(3),
                "easy": above(1.2),
                "harm": above(3),
            },
            "contradicted": {"speed": below(1)},
        },
        condition={
            "holds if": "one counts steps. With ReLU units the factor is {easy:.1f}, and in nets "
            "this small a step takes {price:.1f} times as long."
        },
        paper_for="Ioffe and Szegedy 2015, Fig. 1",
    ),
    "BN+4": Claim(
        "Batch norm adds noise in training, which shrinks as 1/√m",
        effect="far",
        unit="of the predicted jitter, two deviations away, at m = 64",
        quantities={
            "far": "jitter over its prediction two deviations from the mean, m = 64",
            "near": "the same near the mean",
            "far_of_4": "the same two deviations away, m = 4",
            "near_of_4": "the same near the mean, m = 4",
        },
        bounds={
            "holds if": {
                "far": between(0.88, 1.12),
                "near": between(0.88, 1.12),
                "far_of_4": below(0.6),
                "near_of_4": above(1.2),
            },
            "holds": {
                "far": between(0.88, 1.12),
                "near": between(0.88, 1.12),
                "far_of_4": between(0.88, 1.12),
                "near_of_4": between(0.88, 1.12),
            },
        },
        condition={
            "holds if": "m is large, 64 and more. Only the noise is tested here; whether it "
            "regularizes waits for a comparison of all norms."
        },
        paper_for="Ioffe and Szegedy 2015, section 3.4; Teye et al. 2018",
    ),
    "BN-1": Claim(
        "Batch norm is unsuited to small batches",
        effect="few",
        unit="points of error at m = 2, fully connected",
        quantities={
            "few": "error over no norm at m = 2, fully connected (points)",
            "four": "the same at m = 4",
            "last": "the same at m = 2, last maps of 1×1",
            "large": "the same with two images a part, last maps of 4×4",
            "better": "error below no norm with 32 images, fully connected (points)",
            "mismatch": "error at inference over that with each image's own statistics, pooled net",
        },
        bounds={
            "holds if": {
                "few": above(10),
                "four": above(0),
                "last": above(10),
                "large": below(3),
                "better": above(0),
                "mismatch": above(10),
            },
            "holds": {"few": above(10), "last": above(10), "large": above(10)},
            "contradicted": {"few": below(1), "last": below(1)},
        },
        condition={"holds if": "a statistic has 2 values (4 if fully connected)"},
        paper_for="Ioffe 2017; Wu and He 2018",
    ),
    "BN-2": Claim(
        "Batch norm suffers when the images shift",
        effect="worse",
        unit="points of error at a quarter of the contrast, over no norm",
        quantities={
            "worse": "error of frozen statistics over no norm at a quarter of the contrast (points)",
            "flat": "error that statistics of 16 new images take off there (points)",
            "light": "the same under more light",
            "hopeless": "error on inverted images with new statistics (%)",
        },
        bounds={
            "holds if": {
                "worse": above(8),
                "flat": above(10),
                "light": above(10),
                "hopeless": above(80),
            },
            "holds": {"worse": above(8), "flat": below(2), "light": below(2)},
            "contradicted": {"worse": below(0)},
        },
        condition={
            "holds if": "the statistics stay frozen; those of 16 new images repair it. Under more "
            "light, a net without a norm fares badly too."
        },
        paper_for="Wu and Johnson 2021",
        paper_against="Li et al. 2017, Schneider et al. 2020: they are the cure",
    ),
}
