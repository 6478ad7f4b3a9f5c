"""RMS norm: what its experiments train, and what is claimed, with the bounds."""

from functools import partial

from norms.experiments.claims import Claim, above, below, between, null
from norms.experiments.data import digits, sonnets
from norms.experiments.models import MLP, RNN, PartialRMSNorm, Transformer, centred_rms_norm
from norms.experiments.training import seeded

__all__ = ["CLAIMS", "GRIDS"]

CHANCE = 48**-0.5  # the share that the mean of 48 random numbers has of their size


def weight_offset():
    """RMS-2: a fully connected net whose initial weights do not have mean 0."""
    shared = {"data": digits(), "steps": 300, "batch_size": 32}
    net = partial(MLP, depth=4, width=64)
    norms = {"none": "none", "layer": "layer", "rms": "rms", "centred rms": centred_rms_norm}
    return {
        f"{name}, offset {offset}": {
            "build": partial(seeded, net, norm=norm, weight_offset=offset),
            **shared,
        }
        for name, norm in norms.items()
        for offset in (0, 0.05, 0.1, 0.2)
    }


def recurrent_offset():
    """RMS-2: the same for a recurrent net, where the paper reports that RMS norm is the sturdier."""
    shared = {"data": sonnets(), "steps": 200, "batch_size": 16, "optimizer": "adam"}
    net = partial(RNN, width=64, inputs=61, classes=61, every_step=True)
    return {
        f"{norm}, offset {offset}": {
            "build": partial(seeded, net, norm=norm, weight_offset=offset),
            **shared,
        }
        for norm in ("none", "layer", "rms")
        for offset in (0, 0.1, 0.2)
    }


def parity():
    """RMS norm, its partial form and layer norm in place of one another, in a pre-norm Transformer."""
    shared = {
        "data": sonnets(), "steps": 200, "batch_size": 8, "optimizer": "adam", "warmup": 20
    }  # fmt: skip
    net = partial(Transformer, depth=4, width=48)
    norms = {"layer": "layer", "rms": "rms", "partial rms": PartialRMSNorm}
    arms = {
        name: {"build": partial(seeded, net, norm=norm, placement="pre"), **shared}
        for name, norm in norms.items()
    }
    return arms | {"none": {"build": partial(seeded, net, norm="none", placement="none"), **shared}}


GRIDS = {
    "weight-offset": weight_offset,
    "recurrent-offset": recurrent_offset,
    "parity": parity,
}

CLAIMS = {
    "RMS+1": Claim(
        "RMS norm is cheaper than layer norm",
        effect="compiled",
        unit="of layer norm's time, both compiled, mean over four widths",
        of="repeats on one thread of one CPU",
        quantities={
            "count": "operations a value, over layer norm's",
            "compiled": "share of layer norm's time, mean over the widths, both compiled",
            "by_line": "the same, ours line by line",
            "torch": "the same, PyTorch's own two",
        },
        bounds={
            "holds if": {
                "count": below(1),
                "compiled": below(1),
                "by_line": below(1),
                "torch": above(1),
            },
            "holds": {"count": below(1), "compiled": below(1), "by_line": below(1)},
            "contradicted": {"compiled": above(1), "by_line": above(1)},
        },
        condition={
            "holds if": "both are written alike. PyTorch's own RMS norm is the slower one: on a "
            "CPU its layer norm is one fused loop, its RMS norm is not."
        },
        paper_for="Zhang and Sennrich 2019, Tables 2 to 10",
    ),
    "RMS+2": Claim(
        "RMS norm is stable in mixed precision",
        effect="worst",
        unit="is the largest error by way of float32, for outputs of size 1",
        quantities={
            "worst": "largest error by way of float32",
            "layer": "the same for layer norm",
            "large": "least error of both ways in float16 at size 1,000",
            "small": "least error of both ways in float16 at size 0.0001",
        },
        bounds={
            "half-true": {
                "worst": below(3e-3),
                "layer": below(3e-3),
                "large": above(0.5),
                "small": above(0.5),
            },
            "holds": {"worst": below(3e-3), "large": below(0.01), "small": below(0.01)},
        },
        condition={
            "half-true": "The float32 statistics are what is stable, and layer norm takes them too."
        },
    ),
    "RMS+3": Claim(
        "RMS norm keeps a strong path for gradients in very deep stacks",
        effect="apart",
        unit="times layer norm's growth of the gradient over 64 branches",
        quantities={
            "apart": "growth of the gradient over 64 branches, over layer norm's",
            "partial": "growth of the gradient with pRMSNorm",
        },
        bounds={
            "half-true": {"apart": between(0.75, 1.33), "partial": above(100)},
            "holds": {"apart": below(0.75)},
            "contradicted": {"apart": above(1.33)},
        },
        condition={
            "half-true": "So does layer norm, in the same measure. Without a norm there is no path "
            "at this depth."
        },
        paper_against="Jiang et al. 2023: the same network",
    ),
    "RMS-1": Claim(
        "Under RMS norm the mean is not zeroed and may drift",
        effect="kept",
        unit="of a token's size, over the trained stream",
        quantities={
            "kept": "share of the mean in the stream after training",
            "drift": "its change by training",
            "apart": "the share, less layer norm's",
        },
        bounds={
            "half-true": {
                "kept": below(2 * CHANCE),
                "drift": below(0.5 * CHANCE),
                "apart": above(0.01),
            },
            "holds": {"drift": above(0.5 * CHANCE)},
            "contradicted": {"kept": below(0.01)},
        },
        condition={
            "half-true": "Not zeroed, by definition. It grows with the stream, but its share of it "
            "does not grow, on average, over 200 steps."
        },
        paper_against="Zhang and Sennrich 2019, Table 5; Gupta et al. 2024",
    ),
    "RMS-2": Claim(
        "RMS norm needs careful initial weights",
        effect="lost",
        unit="points of accuracy behind layer norm, fully connected",
        quantities={
            "lost": "accuracy behind layer norm, weights with an offset, fully connected (points)",
            "regained": "accuracy that taking the mean out by hand gives back (points)",
            "kept": "accuracy that the offset costs layer norm (points)",
            "blind": "loss that the offset costs layer norm in a recurrent net (nats)",
            "slow": "loss of RMS norm over layer norm there at a small rate (nats)",
        },
        bounds={
            "holds if": {
                "lost": above(50),
                "regained": above(50),
                "kept": below(4),
                "blind": null(0.05),
                "slow": above(0.3),
            },
            "contradicted": {"lost": below(1), "slow": below(0)},
        },
        condition={
            "holds if": "the weights share an offset. In a recurrent net a large learning rate "
            "mostly makes up for it."
        },
        paper_for="Zhang and Sennrich 2019, Table 1",
        paper_against="Zhang and Sennrich 2019, Fig. 4",
    ),
    "RMS-3": Claim(
        "A trained net's layer norms cannot be exchanged for RMS norms",
        effect="exchanged",
        unit="nats by which a plain exchange raises the loss",
        quantities={
            "folded": "largest change of a logit with the norms folded",
            "exchanged": "loss that a plain exchange adds (nats)",
            "with_mean": "the same with 8 added to the embeddings",
        },
        bounds={
            "half-true": {
                "folded": below(1e-3),
                "exchanged": null(0.1),
                "with_mean": above(0.3),
            },
            "holds": {"folded": above(0.1), "exchanged": above(0.1)},
            "contradicted": {"exchanged": null(0.1), "with_mean": null(0.1)},
        },
        condition={
            "half-true": "A plain exchange costs what the mean of the stream weighs, and nothing "
            "fixes that weight. Folded, the two are equal."
        },
        paper_against="Jiang et al. 2023",
    ),
}
