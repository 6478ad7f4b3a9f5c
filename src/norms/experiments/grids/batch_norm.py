"""Batch norm: what its experiments train, and what is claimed, with the bounds."""

from functools import partial

import torch

from norms.experiments.claims import Claim, Repeat, above, below, between, null
from norms.experiments.data import digits, fashion
from norms.experiments.models import CNN, MLP, noisy_norm
from norms.experiments.training import seeded, sorted_by_class

__all__ = ["CLAIMS", "FINDINGS", "GRIDS", "REPEATS"]


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
    norms = {"none": "none", "batch": "batch", "batch, noise": noisy_norm}
    norms["batch, more noise"] = partial(noisy_norm, mean=2.0)
    return _sigmoid_race(digits(), norms)


def figure_1_on_fashion():
    """BN+3 on its second data set: the race of "figure-1" on Fashion-MNIST, without the noise."""
    return _sigmoid_race(fashion(), {"none": "none", "batch": "batch"})


def _sigmoid_race(dataset, norms):
    shared = {"data": dataset, "steps": 600, "batch_size": 60, "every": 20}
    net = partial(MLP, depth=3, width=100, activation="sigmoid", inputs=dataset.inputs)
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


def small_data():
    """BN+4 and LN-1: 500 images, learned by heart; statistics of 8, 16 or all 64 images of a batch."""
    shared = {"data": fashion(500), "steps": 600, "batch_size": 64}
    net = partial(MLP, depth=3, width=64, inputs=196)
    arms = {name: {"norm": name} for name in ("none", "layer")}
    arms |= {f"batch, N={n}": {"norm": "batch", "micro_batch": n} for n in (64, 16, 8)}
    return {name: {"build": partial(seeded, net, **arm), **shared} for name, arm in arms.items()}


def learning_rates_on_fashion():
    """The arms of BN+2 on its second data set."""
    shared = {"data": fashion(), "steps": 200, "batch_size": 32}
    net = partial(MLP, depth=8, width=64, inputs=196)
    return {
        name: {"build": partial(seeded, net, norm=name), **shared} for name in ("batch", "none")
    }


def _largest_rate(history):
    """Decades: the largest learning rate that ends at 65 % or more; the smallest one if none does."""
    rates = torch.tensor(history.learning_rates).log10()[:, None]  # (L, 1)
    return torch.where(history.test[-1] >= 65, rates, rates[0]).amax(0)


def _steps_to_70(history):
    return history.steps_to(70)[0].clamp(max=600)


GRIDS = {
    "batch-size": batch_size,
    "batch-order": batch_order,
    "figure-1": figure_1,
    "figure-1-fashion": figure_1_on_fashion,
    "small-data": small_data,
}

REPEATS = {
    "BN+2": Repeat(
        "Fashion-MNIST",
        learning_rates_on_fashion,
        _largest_rate,
        options={"learning_rates": [0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0]},
    ),
    "BN+3": Repeat(
        "Fashion-MNIST",
        figure_1_on_fashion,
        _steps_to_70,
        combine="ratio",
        grid="figure-1-fashion",
        options={"every": 10},
    ),
}

CLAIMS = {
    "BN+1": Claim(
        "Batch norm holds the scale of the signals, at any depth",
        arms=("none, weights × 2", "batch", "batch, trained"),
        seeds=5,
        effect="kept",
        unit="is the largest departure of a layer's size from 1, after training",
        quantities={
            "grown": "growth of the signals in a plain net at twice the weights (decades)",
            "kept": "largest departure of a layer's size from 1 after training",
            "moved": "standard deviation of the gains after training",
            "squares": "growth of the squared gradient a layer, less π/(π − 1)",
            "few": "the same in a batch of 8",
        },
        bounds={
            "holds if": {
                "grown": above(3),
                "kept": below(0.5),
                "moved": above(0.1),
                "squares": null(0.04),
                "few": above(0.1),
            },
            "holds": {
                "grown": above(3),
                "kept": below(0.5),
                "moved": above(0.1),
                "squares": below(-0.04),
            },
            "contradicted": {"kept": above(1)},
        },
        condition={
            "holds if": "one looks forward; backward, gradients grow in ReLU nets at the start"
        },
        paper_for="Ioffe and Szegedy 2015, section 4.1",
        paper_against="Yang et al. 2019, Theorem 8, on gradients",
    ),
    "BN+2": Claim(
        "Batch norm allows larger learning rates",
        arms=("batch", "none"),
        seeds=10,
        effect="decades",
        unit="decades more of learning rate at the upper end, on a grid of half decades",
        quantities={
            "decades": "largest usable rate over that without a norm (decades)",
            "wider": "width of the window of usable rates, less that without a norm (decades)",
        },
        bounds={
            "holds": {"decades": above(0.5), "wider": above(0)},
            "holds if": {"decades": above(0.5)},
            "contradicted": {"decades": below(0)},
        },
        condition={
            "holds if": "the whole window moves up; it is {wider:.2f} decades wider than without.",
            "holds": "In nets of eight ReLU layers, by plain descent. What sets the upper end was "
            "not found.",
        },
        paper_for="Ioffe and Szegedy 2015; Bjorck et al. 2018; Arora et al. 2019",
    ),
    "BN+3": Claim(
        "Batch norm reaches a target in fewer steps",
        arms=("none", "batch", "batch, noise", "batch, more noise"),
        seeds=10,
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
        "Batch norm regularizes by the noise of its batches",
        arms=("batch, N=8", "batch, N=64", "none", "layer", "batch, N=16"),
        seeds=20,
        effect="test",
        unit="points of test error less with statistics of 8 images than of 64",
        quantities={
            "fit": "loss on the training images, in evaluation mode, with statistics of 8 images, "
            "less that with 64 (nats)",
            "test": "test error with statistics of 64 images, less that with 8 (points; the mean of "
            "ten records over the last 200 steps)",
            "same_rate": "the same with one rate for both, the mean over six rates, ten seeds",
            "over_none": "test error without a norm, less that with 64 (points)",
        },
        bounds={
            "holds": {"fit": above(0.01), "test": above(0.5)},
            "contradicted": {"test": below(-0.5), "same_rate": below(0)},
            "half-true": {"fit": above(0.01), "test": null(2)},
        },
        condition={
            "half-true": "The noise makes the training images harder to fit. New images gained "
            "nothing from it, in a fully connected net on 500 pictures.",
            "contradicted": "The noise makes the training images harder to fit. But more of it "
            "raised the error on new images, with the rate that suits each and on average over "
            "common rates, in a fully connected net on 500 pictures.",
        },
        paper_for="Ioffe and Szegedy 2015, section 3.4; Teye et al. 2018",
        paper_against="Bjorck et al. 2018: the larger rates regularize",
    ),
    "BN-1": Claim(
        "Batch norm is unsuited to small batches",
        arms=("MLP", "CNN 1x1", "CNN 4x4", "CNN 4x4 pooled"),
        seeds=10,
        effect="few",
        unit="points of error more with 2 images a statistic than with 32, fully connected",
        quantities={
            "few": "error at N=2 over that of batch norm at N=32, fully connected (points)",
            "four": "the same at N=4",
            "last": "the same at N=2, last maps of 1×1",
            "large": "the same at N=2, last maps of 4×4",
            "alone": "the same at N=1, last maps of 4×4",
            "few_none": "error at N=2 over that without a norm, fully connected (points)",
            "mismatch": "error at inference over that with each image's own statistics, pooled net",
        },
        bounds={
            "holds": {"few": above(10), "last": above(10), "large": above(2)},
            "holds if": {
                "few": above(10),
                "four": above(1),
                "last": above(10),
                "large": below(2),
                "alone": above(0),
                "few_none": above(10),
                "mismatch": above(10),
            },
            "contradicted": {"few": below(1), "last": below(1)},
        },
        condition={
            "holds if": "few values make a statistic: against itself at 32 images it loses "
            "{few.mean:.0f} points at 2 values, {four.mean:.1f} at 4, and {large.mean:.1f} at 2 "
            "images with maps of 4×4. These are shallow nets after 300 steps; ResNet-50 loses 11 "
            "points at 2 images (Wu and He 2018)."
        },
        paper_for="Ioffe 2017; Wu and He 2018, Table 2",
    ),
    "BN-2": Claim(
        "Batch norm suffers when the images shift",
        arms=("CNN 4x4, batch, N=32", "CNN 4x4, none"),
        seeds=10,
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
            "holds if": "the contrast is low and the statistics stay frozen; those of 16 new "
            "images repair it. At half the contrast and under a little light it loses too; "
            "under more light ten seeds do not settle it; under noise and inversion the two are "
            "alike."
        },
        paper_for="Wu and Johnson 2021",
        paper_against="Li et al. 2017, Schneider et al. 2020: they are the cure",
    ),
}

FINDINGS = {
    "deep sigmoids": Claim(
        "Eight sigmoid layers learn with batch norm, and stay near chance without",
        arms=("batch norm", "none"),
        seeds=5,
        effect="gained",
        unit="points of accuracy",
        quantities={
            "gained": "accuracy with batch norm less that without (points)",
            "plain": "best mean accuracy without a norm at any rate, on validation (%)",
        },
        bounds={"holds": {"gained": above(60), "plain": below(20)}},
    ),
    "lag and order": Claim(
        "New statistics repair a lag, and not a training on sorted batches",
        arms=("momentum 0.001", "batch, sorted", "batch, shuffled"),
        seeds=10,
        effect="lag",
        unit="points of error that new statistics take off",
        quantities={
            "lag": "error that new statistics take off lagging averages (points)",
            "left": "error after sorted batches over that after shuffled ones, both with new "
            "statistics (points)",
        },
        bounds={"holds": {"lag": above(5), "left": above(10)}},
    ),
    "changed answers": Claim(
        "In training mode the answer to an image depends on its batch, in small ones above all",
        arms=("momentum 0.1",),
        seeds=10,
        effect="two",
        unit="% of the answers change, in batches of 2",
        quantities={
            "two": "answers that change in batches of 2 (%)",
            "many": "answers that change in batches of 125 (%)",
        },
        bounds={"holds": {"two": above(40), "many": below(15)}},
    ),
    "two lines on the scale": Claim(
        "The gradient stands at a right angle to the weights, and shrinks as they grow",
        arms=("batch norm",),
        effect="angle",
        quantities={
            "angle": "largest cosine between a unit's weights and their gradient",
            "shrinks": "gradient at three times the weights, less a third",
        },
        bounds={"holds": {"angle": below(1e-3), "shrinks": null(1e-3)}},
    ),
    "weight scales": Claim(
        "Smaller initial weights move the lower end of the usable rates, and the upper end less",
        arms=("batch norm, weights × ⅓", "batch norm, weights × 3"),
        seeds=10,
        effect="lower",
        unit="decades from a third of the weights to three times",
        quantities={
            "lower": "smallest usable rate at weights × 3 over that at × 1/3 (decades); "
            "if the initial scale alone decides: log10(81) = 1.91",
            "further": "the same less that of the largest usable rate (decades)",
            "behind": "accuracy behind no norm at the rate 0.003, usual weights (points)",
        },
        bounds={"holds": {"lower": between(1.2, 2.6), "further": above(0.5), "behind": above(3)}},
    ),
    "detached batch statistics": Claim(
        "Without gradients through the statistics training is slower, and biases grow",
        arms=("detached", "right"),
        seeds=10,
        effect="slow",
        unit="nats of training loss more, at rate 0.1",
        quantities={
            "slow": "training loss more with detached statistics (nats)",
            "right": "largest length of a bias with the right layer",
            "detached": "smallest length of a bias with detached statistics",
        },
        bounds={"holds": {"slow": above(0.05), "right": below(1e-5), "detached": above(0.2)}},
    ),
    "shift in one step": Claim(
        "More noise shifts the inputs of every layer further than plain training does",
        arms=("batch, more noise", "none"),
        seeds=10,
        effect="first",
        unit="deviations a step more, first hidden layer",
        quantities={
            name: f"shift more in a step, {name} hidden layer (deviations)"
            for name in ("first", "second", "third")
        },
        bounds={"holds": {name: above(0.03) for name in ("first", "second", "third")}},
    ),
    "jitter": Claim(
        "The noise of a batch shrinks as 1/√m where m is large",
        arms=("m = 64", "m = 4"),
        seeds=5,
        effect="far",
        unit="of the predicted jitter, two deviations away, at m = 64",
        quantities={
            "far": "jitter over its prediction two deviations from the mean, m = 64",
            "near": "the same near the mean",
            "far_of_4": "the same two deviations away, m = 4",
            "near_of_4": "the same near the mean, m = 4",
        },
        bounds={
            "holds": {
                "far": between(0.88, 1.12),
                "near": between(0.88, 1.12),
                "far_of_4": below(0.6),
                "near_of_4": above(1.2),
            }
        },
    ),
    "leak through the batch": Claim(
        "A net with batch norm reads from its batch what the sample does not hold",
        arms=("batch norm", "no norm"),
        seeds=10,
        effect="over",
        unit="points more than without a norm, in training mode",
        quantities={
            "over": "bits told in training mode, over those without a norm (points)",
            "plain": "bits told without a norm, less 50 %",
            "inference": "bits told in evaluation mode, less 50 %",
        },
        bounds={"holds": {"over": above(20), "plain": null(3), "inference": null(3)}},
    ),
    "new batches": Claim(
        "Batches drawn anew help a net with batch norm, and more than one without",
        arms=("batch, shuffled", "batch, cut once", "none, shuffled", "none, cut once"),
        seeds=20,
        effect="batch",
        unit="points of accuracy gained with batch norm",
        quantities={
            "batch": "accuracy gained with batch norm (points)",
            "none": "accuracy gained without (points)",
            "apart": "the first less the second (points)",
        },
        bounds={"holds": {"batch": above(0.3), "none": null(1), "apart": above(0)}},
    ),
    "weight decay": Claim(
        "With weight decay the lengths settle, and a step then turns the weights by √(2ηλ)",
        arms=("η = 1, λ = 0.005", "η = 0.25, λ = 0.02", "η = 1, λ = 0.02"),
        seeds=5,
        effect="large_rate",
        unit="of the predicted angle, η = 1 and λ = 0.005",
        quantities={
            "large_rate": "angle of a step over √(2ηλ), η = 1 and λ = 0.005",
            "small_rate": "the same, η = 0.25 and λ = 0.02",
            "strong": "the same, η = 1 and λ = 0.02",
            "lengths": "length of the weights in the first over that in the second; "
            "predicted: the fourth root of the ratios of η/λ, 2",
        },
        bounds={
            "holds": {
                "large_rate": between(0.9, 1.1),
                "small_rate": between(0.9, 1.1),
                "strong": between(0.9, 1.1),
                "lengths": between(1.7, 2.3),
            }
        },
    ),
    "frozen weights": Claim(
        "Fine-tuning a head in training mode moves the frozen layers' statistics, and the old "
        "images pay",
        arms=("training mode", "norms in evaluation mode"),
        seeds=5,
        effect="forgot",
        unit="points of error more on the old images, all parameters put back",
        quantities={
            "forgot": "error on the old images with the old head put back, over that before (points)",
            "old": "error on the old images in training mode over that with frozen norms (points)",
        },
        bounds={"holds": {"forgot": above(5), "old": above(10)}},
    ),
}
