"""Spectral norm: what its experiments train, and what is claimed, with the bounds."""

from functools import partial

from norms.experiments.claims import Claim, above, below, between, null
from norms.experiments.data import digits, sonnets
from norms.experiments.models import MLP, Transformer
from norms.experiments.models.variants.normed_nets import NormedMLP
from norms.experiments.models.variants.spectral_norm import (
    ClippedWeight,
    NearlyOrthonormal,
    OfSingularValue,
)
from norms.experiments.training import seeded

__all__ = ["CLAIMS", "FINDINGS", "GRIDS"]

ROOT_2 = 2**0.5  # with weights of singular values 1, it keeps the size of the signal behind a ReLU


def _on_weights(norm, **options):
    return {"weight": partial(norm, **options)}


def lipschitz():
    """SN+1: ten layers of width 64, each with the norm on its weight, from two starts."""
    shared = {"data": digits(), "steps": 300, "batch_size": 32, "optimizer": "adam"}
    net = partial(NormedMLP, depth=9, width=64)
    even = {"start": "orthonormal"}
    nets = {
        "none": {"norm": "none"},
        "none, orthonormal": {"norm": "none", **even},
        "spectral": {"norm": "spectral"},
        "spectral, orthonormal": {"norm": "spectral", **even},
        "spectral, gain": {"norm": _on_weights(OfSingularValue, gain=ROOT_2), **even},
    }
    return {name: {"build": partial(seeded, net, **arm), **shared} for name, arm in nets.items()}


def held_spectra():
    """SN-2: what holds the singular values of three hidden layers, and what leaves them free."""
    shared = {"data": digits(), "steps": 300, "batch_size": 32, "optimizer": "adam"}
    net = partial(MLP, depth=3, width=64)
    norms = {
        "none": "none",
        "weight": "weight",
        "spectral": "spectral",
        "spectral, gain 2": _on_weights(OfSingularValue, gain=2.0),
        "clipped, 0.05": _on_weights(ClippedWeight, limit=0.05),
        "clipped, 0.1": _on_weights(ClippedWeight, limit=0.1),
        "penalty": _on_weights(NearlyOrthonormal, strength=0.01),
    }
    return {
        name: {"build": partial(seeded, net, norm=norm), **shared} for name, norm in norms.items()
    }


def constant_sigma():
    """The nets of "held-spectra", with a gradient that takes sigma for a constant."""
    shared = {"data": digits(), "steps": 300, "batch_size": 32, "optimizer": "adam"}
    net = partial(MLP, depth=3, width=64)
    constant = partial(_on_weights, OfSingularValue, through_sigma=False)
    return {
        f"constant, gain {gain}": {
            "build": partial(seeded, net, norm=constant(gain=float(gain))),
            **shared,
        }
        for gain in (1, 2)
    }


def certified():
    """Nets whose answers come with a radius: four layers, each with the norm on its weight."""
    shared = {"data": digits(), "steps": 600, "batch_size": 32, "optimizer": "adam"}
    net = partial(NormedMLP, depth=3, width=64)
    norms = {
        "none": "none",
        "weight": "weight",
        "spectral": "spectral",
        "spectral, gain 2": _on_weights(OfSingularValue, gain=2.0),
        "penalty": _on_weights(NearlyOrthonormal, strength=0.1),
    }
    return {
        name: {"build": partial(seeded, net, norm=norm), **shared} for name, norm in norms.items()
    }


def sigma_reparam():
    """Transformers of four blocks: without a norm, with layer norm, with a learned gain over sigma."""
    shared = {
        "data": sonnets(), "steps": 200, "batch_size": 8, "optimizer": "adam", "warmup": 20
    }  # fmt: skip
    net = partial(Transformer, depth=4, width=48)
    without = {"placement": "none"}
    learned = _on_weights(OfSingularValue, learned=True)
    nets = {
        "none": {"norm": "none", **without},
        "none, scaled": {"norm": "none", "branch_scale": "scaled", **without},
        "layer, pre": {"norm": "layer", "placement": "pre"},
        "spectral, learned": {"norm": learned, **without},
    }
    return {name: {"build": partial(seeded, net, **arm), **shared} for name, arm in nets.items()}


GRIDS = {
    "lipschitz": lipschitz,
    "held-spectra": held_spectra,
    "constant-sigma": constant_sigma,
    "certified": certified,
    "sigma-reparam": sigma_reparam,
}

# SN-2 was first judged with each arm at its own best learning rate, and took the rate for the limit:
# spectral norm's was ten times that of no norm and of weight norm. The bounds below are for equal rates.
# They were stated after a pilot on seeds 0 to 9, and are judged on 20 to 29. So is the attack in "a
# radius", whose bound was ±15: no run of this card could have missed it.
CLAIMS = {
    "SN+1": Claim(
        "Spectral norm makes each layer about 1-Lipschitz",
        arms=("spectral, gain", "spectral, orthonormal", "none"),
        seeds=10,
        effect="sigma",
        unit="is the largest singular value of a weight in use over its gain, mean of ten layers",
        quantities={
            "sigma": "largest singular value over the gain, mean over layers and late updates",
            "worst": "the same in the worst of the ten layers",
            "plain": "largest singular value without a norm, mean over layers",
            "conv": "largest stretch by a drawn 3x3 convolution whose reshaped kernel has norm 1",
            "tight": "accuracy that a gain of 1 costs against the root of 2 (points)",
        },
        bounds={
            "holds if": {
                "sigma": between(1, 1.1),
                "worst": between(1, 1.25),
                "plain": above(2),
                "conv": between(1.3, 3),
                "tight": above(5),
            },
            "holds": {"sigma": between(1, 1.1), "conv": below(1.05)},
            "contradicted": {"sigma": above(1.2)},
        },
        condition={
            "holds if": "the layer uses its weight as a matrix. Even then the estimate lags: the "
            "largest singular value was {sigma.mean:.2f} on average, and {worst.mean:.2f} in the "
            "worst of ten layers. A 3×3 convolution stretched by {conv.mean:.1f} after its kernel "
            "had been divided as a matrix, and a residual block may stretch by 2. In ten layers and "
            "300 updates a gain of 1 cost {tight.mean:.0f} points."
        },
        paper_for="Miyato et al. 2018, equations 7 and 8, Fig. 9",
        paper_against="Sedghi, Gupta and Long 2019, on convolutions",
    ),
    "SN-1": Claim(
        "Spectral norm costs extra in every step",
        arms=("none", "weight", "spectral", "folded"),
        seeds=5,
        effect="small",
        unit="times as long as a plain linear layer, forward and back, at batches of 8",
        of="repeats on one thread of one CPU",
        quantities={
            "small": "time over that of a plain layer at batches of 8, mean over three widths",
            "large": "the same at width 1024 and batches of 512",
            "weight": "time over weight norm's, mean over all widths and batches",
            "estimate": "extra time over the estimate 2/N at width 1024 and batches of 64",
            "folded": "forward of the folded layer over a plain one's, mean over all",
        },
        bounds={
            "holds if": {
                "small": above(1.4),
                "large": between(0.9, 1.6),
                "weight": between(1, 1.6),
                "estimate": above(2),
                "folded": between(0.85, 1.25),
            },
            "holds": {"small": above(1.4), "large": above(1.4)},
            "contradicted": {"small": below(1.05)},
        },
        condition={
            "holds if": "the batch or the layer is small: {small.mean:.1f} times as long at 8 samples, "
            "{large.mean:.2f} at 512 of width 1024, on one CPU thread. Only in training: "
            "folded into the weight it costs nothing."
        },
        paper_for="Miyato et al. 2018, Fig. 10",
        paper_against="the same: next to nothing on larger images",
    ),
    "SN-2": Claim(
        "Spectral norm holds only the largest singular value",
        arms=("spectral", "spectral, gain 2", "none", "weight", "penalty"),
        seeds=10,
        effect="fall",
        unit="of the stable rank of a gain of 2 is left by a gain of 1, at the same learning rate",
        quantities={
            "fall": "stable rank at the end with a gain of 1 over that with 2, both at the rate 0.01",
            "like": "the same without a norm over that with weight norm",
            "held": "the same with the penalty over that with a gain of 2",
            "top": "largest singular value at the end, gain 1",
            "vanish": "size of a signal behind ten linear layers, usual start, gain 1",
        },
        bounds={
            "holds if": {
                "fall": below(0.8),
                "like": between(0.85, 1.15),
                "held": above(1.8),
                "top": between(1, 1.2),
                "vanish": below(0.01),
            },
            "half-true": {"fall": between(0.8, 1.25), "top": between(1, 1.2)},
            "contradicted": {"fall": above(1.25)},
        },
        condition={
            "holds if": "the limit is tight. The claim says that the others are free, and none can "
            "exceed the first: at the learning rate 0.01 a gain of 1 kept {fall.mean:.2f} of the "
            "stable rank of a gain of 2, and a signal shrank to {vanish.mean:.4f} in ten linear "
            "layers. A higher rate lowers the rank as much. No norm and weight norm were alike "
            "at that rate; a penalty holds all."
        },
        paper_for="Miyato et al. 2018, section 3, which counts it as the merit",
    ),
}

FINDINGS = {
    "stretch": Claim(
        "Spectral norm bounds what a net of ten layers stretches, and the net learns as well",
        arms=("spectral, gain", "none", "none, orthonormal"),
        seeds=10,
        effect="found",
        unit="times as much stretch found without a norm",
        quantities={
            "found": "largest stretch found without a norm, over that with a gain of the root of 2",
            "even": "the same without a norm from the orthonormal start",
            "bound": "product of the layers without a norm, over that with the gain",
            "learned": "accuracy without a norm, orthonormal start, less that with the gain (points)",
        },
        bounds={
            "holds": {
                "found": above(1.5),
                "even": above(1.1),
                "bound": above(50),
                "learned": null(3),
            }
        },
    ),
    "ten linear layers": Claim(
        "In ten linear layers a largest singular value of 1 loses the signal, and two starts keep it",
        arms=("gain 1", "gain 2", "orthonormal"),
        seeds=10,
        effect="plain",
        unit="of the signal's size is left behind ten layers with the usual start",
        of="draws",
        quantities={
            "plain": "size of the signal behind ten layers, usual start, gain 1",
            "gain": "the same, gain 2",
            "even": "the same, orthonormal start, gain 1",
        },
        bounds={
            "holds": {
                "plain": between(0.0004, 0.004),
                "gain": between(0.6, 2.5),
                "even": between(0.97, 1.03),
            }
        },
    ),
    "few directions": Claim(
        "A gradient that takes sigma for a constant leaves a weight with fewer directions",
        arms=("spectral", "constant, gain 1", "spectral, gain 2", "constant, gain 2"),
        seeds=20,
        effect="rank",
        unit="of the stable rank is left, gain 1",
        quantities={
            "rank": "stable rank with a constant sigma over that with the gradient, gain 1",
            "loose": "the same, gain 2",
            "cost": "accuracy with the gradient less that with a constant sigma, gain 1 (points)",
        },
        bounds={"holds": {"rank": below(0.65), "loose": below(0.8), "cost": above(0.5)}},
    ),
    "a radius": Claim(
        "A small product of the layers proves much more of a net, and changes little under attack",
        arms=("none", "weight", "spectral", "spectral, gain 2", "penalty"),
        seeds=5,
        effect="certified",
        unit="% of the test images certified within 0.5, spectral norm with gain 1",
        quantities={
            "certified": "test images that are right and certified within 0.5, gain 1 (%)",
            "none": "the same without a norm (%)",
            "rival": "the same with the penalty, less that with spectral norm (points)",
            "lost": "accuracy without a norm less that with spectral norm, gain 1 (points)",
            "attack": "accuracy under attack within 1 with spectral norm, gain 1, less that "
            "without a norm (points)",
        },
        bounds={
            "holds": {
                "certified": above(50),
                "none": below(5),
                "rival": above(0),
                "lost": above(3),
                "attack": null(10),
            }
        },
    ),
    "learned gain": Claim(
        "In a small Transformer a learned gain over sigma ends near layer norm, with a flatter attention",
        arms=("none", "none, scaled", "layer, pre", "spectral, learned"),
        seeds=5,
        effect="layer",
        unit="nats above layer norm",
        quantities={
            "plain": "loss without a norm less that with the learned gain (nats)",
            "scaled": "loss with the learned gain less that with scaled branches (nats)",
            "layer": "the same less that with layer norm (nats)",
            "large": "loss with scaled branches less that with the learned gain at the rate 0.03 "
            "of the stored grid (nats)",
            "entropy": "entropy of the attention with the learned gain less that with layer norm "
            "(nats)",
        },
        bounds={
            "holds": {
                "plain": above(0),
                "scaled": null(0.1),
                "layer": null(0.1),
                "large": above(0.5),
                "entropy": above(0.3),
            }
        },
    ),
}
