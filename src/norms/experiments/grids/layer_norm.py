"""Layer norm: what its experiments train, and what is claimed, with the bounds."""

from functools import partial

from norms.experiments.claims import Claim, above, below, between, exactly, null
from norms.experiments.data import digits, fashion, sonnets
from norms.experiments.models import MLP, RNN, Transformer
from norms.experiments.training import seeded

__all__ = ["CLAIMS", "FINDINGS", "GRIDS", "RATES"]


def recurrent_scale():
    """LN+3: a recurrent net reads a digit, four pixels a step; its recurrent weights grow."""
    shared = {"data": digits(), "steps": 200, "batch_size": 32, "optimizer": "adam"}
    net = partial(RNN, width=64, inputs=4, activation="relu")
    return {
        f"{norm}, scale {scale}": {
            "build": partial(seeded, net, norm=norm, weight_scale=scale),
            **shared,
        }
        for norm in ("none", "layer")
        for scale in (1, 1.5, 2, 3)
    }


def long_text():
    """LN+3: recurrent nets that learn sonnets in windows of 32 characters, to be read on without end."""
    shared = {"data": sonnets(), "steps": 300, "batch_size": 16, "optimizer": "adam"}
    net = partial(RNN, width=64, inputs=61, classes=61, every_step=True, activation="relu")
    return {
        f"{norm}, scale {scale}": {
            "build": partial(seeded, net, norm=norm, weight_scale=scale),
            **shared,
        }
        for norm in ("none", "layer")
        for scale in (1, 3)
    }


def placement():
    """LN+4: where the norm of a Transformer stands, with and without warm-up; and three without.

    A net without a norm starts with branches as they are, or scaled by the inverse root of their
    number, or with branches that write nothing.
    """
    shared = {"data": sonnets(), "steps": 150, "batch_size": 8, "optimizer": "adam"}
    net = partial(Transformer, depth=6, width=32)
    without = {"norm": "none", "placement": "none"}
    kinds = {"none": without}
    kinds |= {f"none, {scale}": without | {"branch_scale": scale} for scale in ("scaled", "zero")}
    kinds |= {place: {"norm": "layer", "placement": place} for place in ("post", "pre", "peri")}
    kinds |= {f"{place}, rms": {"norm": "rms", "placement": place} for place in ("post", "pre")}
    return {
        f"{name}, warm-up {warmup}": {
            "build": partial(seeded, net, **kind),
            "warmup": warmup,
            **shared,
        }
        for warmup in (0, 75)
        for name, kind in kinds.items()
    }


def online():
    """LN against batch norm, 4,000 images in batches of 1 to 128, as in the paper's Fig. 6."""
    shared = {"data": fashion(), "optimizer": "adam"}
    net = partial(MLP, depth=3, width=64, inputs=196)
    return {
        f"{norm}, N={n}": {
            "build": partial(seeded, net, norm=norm),
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
            arms[f"{activation}, {norm}"] = {"build": partial(seeded, net, norm=norm), **shared}
    return arms


GRIDS = {
    "recurrent-scale": recurrent_scale,
    "long-text": long_text,
    "placement": placement,
    "online": online,
    "recurrent-speed": recurrent_speed,
}
RATES = {"placement": range(-8, 1)}  # 1e-4 to 1: both ends of each window are inside

CLAIMS = {
    "LN+1": Claim(
        "Layer norm does not depend on the size of the batch",
        arms=("layer", "batch"),
        effect="leak",
        unit="is the largest entry of the Jacobian between samples, exactly",
        quantities={"leak": "largest entry of the Jacobian between samples"},
        bounds={"proved": {"leak": exactly(0)}, "contradicted": {"leak": above(0)}},
        condition={"proved": "As a function. The noise of the gradient still depends on it."},
        paper_for="Ba, Kiros and Hinton 2016, equation 3",
    ),
    "LN+2": Claim(
        "Layer norm computes the same in training and at inference",
        arms=("layer", "batch"),
        effect="gap",
        unit="is the largest change of a logit between the modes, exactly",
        quantities={
            "gap": "largest change of a logit between the modes with layer norm",
            "batch": "the same with batch norm",
        },
        bounds={
            "proved": {"gap": exactly(0), "batch": above(0.1)},
            "contradicted": {"gap": above(0)},
        },
        condition={"proved": "Of each token; then padding changes nothing either."},
    ),
    "LN+3": Claim(
        "Layer norm is stable on sequences of any length",
        arms=("layer, scale 3", "layer, scale 1", "none, scale 1", "none, scale 3"),
        seeds=5,
        effect="later",
        unit="nats more behind character 32 than before it, at scale 3",
        quantities={
            "later": "loss behind character 32 less that before, layer norm, scale 3 (nats)",
            "later_usual": "the same at scale 1",
            "later_plain": "the same without a norm at scale 1",
            "lost": "least loss without a norm at scale 3, less guessing (nats)",
        },
        bounds={
            "holds": {
                "later": below(0.05),
                "later_usual": below(0.05),
                "later_plain": below(0.05),
                "lost": above(0),
            },
            "contradicted": {"later": above(0.2)},
        },
        condition={
            "holds": "That the state is bounded is proved; measured is that late characters are "
            "guessed as well as early ones, up to 20 times the length trained on. A plain net "
            "whose weights have the right size does the same."
        },
        paper_for="Ba, Kiros and Hinton 2016, section 3.1",
    ),
    "LN+4": Claim(
        "Layer norm improves the flow of gradients in Transformers",
        arms=("pre", "post", "none", "none, scaled", "none, zero"),
        seeds=10,
        effect="rival",
        unit="nats gained by pre over the best net without a norm, no warm-up",
        quantities={
            "rival": "loss of the best net without a norm less that of pre, no warm-up (nats)",
            "plain": "loss of the net with unscaled branches less that of pre (nats)",
            "window": "decades of rates that end below 2.8 nats in pre, less those of the rival",
            "cold": "loss of post less that of pre, no warm-up (nats)",
            "warm": "the same with warm-up",
            "post": "loss of post less that of the rival, no warm-up (nats)",
        },
        bounds={
            "holds": {"rival": above(0.1), "cold": below(0.1)},
            "holds if": {"rival": above(0.1), "cold": above(0.1)},
            "half-true": {
                "rival": null(0.1),
                "plain": above(0.2),
                "window": above(0.25),
                "cold": above(0.1),
            },
            "contradicted": {"rival": below(-0.1)},
        },
        condition={
            "holds if": "it stands inside the branch",
            "half-true": "Inside the branches it repairs a net that was started badly. A net whose "
            "branches start scaled or at zero ends as low without a norm; what the norm adds is "
            "tolerance: it learns at a larger rate, where they diverge. ({window:.1f} decades more of rates end below 2.8 nats; with "
            "a stricter limit there are no more.) On the stream itself it does harm, after 150 "
            "steps, which favour what tolerates large rates.",
        },
        paper_for="Xiong et al. 2020",
        paper_against="Zhang, Dauphin and Ma 2019: without a norm; Shleifer et al. 2021: pre has a "
        "skew of its own",
    ),
    "LN-1": Claim(
        "Layer norm regularizes less than batch norm",
        arms=("layer", "batch, N=16", "batch, N=64", "none"),
        seeds=20,
        effect="behind",
        unit="points of test error more than batch norm with statistics of 16 images",
        quantities={
            "noise": "loss of batch norm on the training images, in evaluation mode, less that of "
            "layer norm (nats)",
            "behind": "test error of layer norm less that of batch norm (points; the mean of ten "
            "records over the last 200 steps)",
            "whole": "the same against batch norm with statistics of all 64 images",
            "plain": "the same against a net without a norm",
        },
        bounds={
            "holds": {"noise": above(0.003), "behind": above(0.5)},
            "contradicted": {"behind": below(-0.5)},
            "half-true": {"noise": above(0.003), "behind": null(2)},
        },
        condition={
            "half-true": "It lacks the noise, and fits the training images more closely. On new "
            "images the two came out alike, in a fully connected net on 500 pictures.",
            "contradicted": "On new images it was the better one, in a fully connected net on 500 "
            "pictures. Its error less that of batch norm of all 64 images is {whole.mean:.1f} "
            "points, and less that of no norm {plain.mean:.1f}: noise is not all that tells them "
            "apart.",
        },
        paper_for="Wu and He 2018, Table 1",
    ),
    "LN-2": Claim(
        "Layer norm uses nothing of the other samples",
        arms=("layer", "batch"),
        effect="leak",
        unit="is the same largest entry",
        quantities={"leak": "largest entry of the Jacobian between samples"},
        bounds={"proved": {"leak": exactly(0)}, "contradicted": {"leak": above(0)}},
        condition={"proved": "A lack where they hold something useful, else a guard."},
        paper_for="by definition",
    ),
}

FINDINGS = {
    "recurrent scale": Claim(
        "Layer norm repairs a recurrent net whose weights are too large, and no healthy one",
        arms=("layer, scale 3", "none, scale 3", "layer, scale 1", "none, scale 1"),
        seeds=5,
        effect="large",
        unit="points of accuracy gained at scale 3",
        quantities={
            "large": "accuracy with layer norm less that without, scale 3 (points)",
            "usual": "the same at scale 1",
        },
        bounds={"holds": {"large": above(40), "usual": below(6)}},
    ),
    "slopes by depth": Claim(
        "The last block's gradient falls with the root of the depth in pre, with either norm",
        arms=("pre", "post", "peri", "pre, rms", "post, rms", "peri, rms"),
        seeds=20,
        effect="pre",
        unit="is the slope on log axes, depth 4 to 32",
        quantities={
            "pre": "slope in pre, where the theory says -1/2",
            "swap_pre": "slope in pre with RMS norm, less that with layer norm",
            "swap_post": "the same in post",
            "swap_peri": "the same in peri",
        },
        bounds={
            "holds": {
                "pre": between(-0.62, -0.38),
                "swap_pre": null(0.1),
                "swap_post": null(0.1),
                "swap_peri": null(0.1),
            }
        },
    ),
    "post is level": Claim(
        "The slope of the last block's gradient over the depth lies within ±0.15 in post",
        arms=("post",),
        seeds=20,
        effect="post",
        unit="is the slope on log axes, depth 4 to 32",
        quantities={"post": "slope in post, where the theory says 0"},
        bounds={"holds": {"post": null(0.15)}},
    ),
    "growth by depth": Claim(
        "The first block's gradient grows with the depth if branches start unscaled, without a norm",
        arms=("none", "none, scaled", "none, zero", "pre"),
        seeds=20,
        effect="plain",
        unit="times as long at depth 16 as at depth 2",
        quantities={
            "plain": "gradient of the first block at depth 16 over that at 2, unscaled branches",
            "scaled": "the same with scaled branches",
            "zero": "the same with branches that write nothing",
            "pre": "the same with layer norm in pre",
        },
        bounds={
            "holds": {
                "plain": above(100),
                "scaled": between(0.5, 2),
                "zero": between(0.5, 2),
                "pre": between(0.5, 2),
            }
        },
    ),
    "small batches": Claim(
        "Small batches cost batch norm accuracy, and layer norm none",
        arms=("layer, N=1", "layer, N=4", "layer, N=32", "batch, N=2", "batch, N=4"),
        seeds=5,
        effect="two",
        unit="points of error more with batch norm at 2 than with layer norm at 1",
        quantities={
            "two": "error of batch norm at 2 less that of layer norm at 1 (points)",
            "four": "error of batch norm less that of layer norm, both at 4 (points)",
            "alone": "error of layer norm at 1 less its error at 32 (points)",
        },
        bounds={"holds": {"two": above(15), "four": above(1), "alone": null(6)}},
    ),
    "easy recurrent tasks": Claim(
        "Layer norm saves no steps where nothing is wrong",
        arms=("relu, none", "relu, layer", "tanh, none", "tanh, layer"),
        seeds=10,
        effect="relu",
        unit="times the steps of layer norm",
        quantities={
            "relu": "steps to 85 % without a norm over those with layer norm, ReLU",
            "tanh": "the same, tanh",
        },
        bounds={"holds": {"relu": between(2 / 3, 3 / 2), "tanh": between(2 / 3, 3 / 2)}},
    ),
    "detached statistics": Claim(
        "A normalized forward whose backward ignores mean and deviation is worse than layer norm",
        arms=("layer norm", "mean", "deviation", "both"),
        seeds=20,
        effect="both",
        unit="points of accuracy lost with both detached, eight layers",
        quantities={
            "both": "late accuracy lost with both detached, eight layers (points)",
            "apart": "late accuracy lost with deviation detached, less that with mean (points)",
            "mean": "late accuracy lost with the mean detached (points)",
        },
        bounds={"holds": {"both": above(4), "apart": above(0), "mean": null(4)}},
    ),
}
