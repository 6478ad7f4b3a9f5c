"""Weight norm: what its experiments train, and what is claimed, with the bounds."""

from functools import partial

from norms.experiments.claims import Claim, above, below, between, exactly, null
from norms.experiments.data import fashion, sonnets
from norms.experiments.models import CNN, MLP, NORMS, Transformer
from norms.experiments.models.variants.weight_norm import (
    data_dependent,
    mean_only_of_maps,
    weight_norm_of_copies,
)
from norms.experiments.training import seeded

__all__ = ["CLAIMS", "FINDINGS", "GRIDS", "RATES"]


def weight_descent():
    """WN-1, WN-2: with weight norm or without, started by data or not, by descent and with momentum."""
    return _starts({"descent": {"momentum": 0.0}, "momentum": {"momentum": 0.9}})


def weight_adam():
    """WN-2: the same four nets with Adam."""
    return _starts({"adam": {"optimizer": "adam"}})


def _starts(descents):
    """Nets that start as usual, or by what 500 images do in them; tuned for speed."""
    data, net = fashion(), partial(MLP, depth=3, width=64, inputs=196)
    shared = {"data": data, "steps": 300, "batch_size": 32, "every": 15}
    images = data.train[0][:500]
    return {
        f"{name}, {norm}{start}": {"build": build, **descent, **shared}
        for name, descent in descents.items()
        for norm in ("none", "weight")
        for start, build in {
            "": partial(seeded, net, norm=norm),
            ", data": partial(data_dependent, net, images, norm=norm),
        }.items()
    }


def beside_other_norms():
    """WN+3: weight norm with none, mean-only batch norm, batch norm and layer norm behind the layer."""
    data, net = fashion(), partial(CNN, channels=(16, 16), strides=(2, 2))
    shared = {"data": data, "steps": 200, "batch_size": 32}
    behind = {"none": {}, "mean-only": {"maps": mean_only_of_maps}}
    behind |= {name: {"maps": NORMS[name]["maps"]} for name in ("batch", "layer")}
    grid = {}
    for name, norm in behind.items():
        both = norm | {"weight": weight_norm_of_copies}
        together = "weight" if name == "none" else f"weight + {name}"
        for arm, on in {name: norm, together: both}.items():
            grid[arm] = {"build": partial(seeded, net, norm=on), **shared}
            if arm in ("none", "weight", "weight + mean-only"):
                by_data = partial(data_dependent, net, data.train[0][:500], norm=on)
                grid[f"{arm}, data"] = {"build": by_data, **shared}
    return grid


def stream():
    """WN+2: 4,000 images, one at a time."""
    shared = {"data": fashion(), "steps": 4000, "batch_size": 1, "optimizer": "adam"}
    net = partial(MLP, depth=3, width=64, inputs=196)
    return {
        norm: {"build": partial(seeded, net, norm=norm), **shared}
        for norm in ("none", "weight", "layer")
    }


def deep_transformer():
    """WN-3: twelve blocks with no norm, weight norm or layer norm, branches scaled or not."""
    shared = {"data": sonnets(), "steps": 100, "batch_size": 8, "optimizer": "adam"}
    net = partial(Transformer, depth=12, width=32)
    kinds = {"layer": {"norm": "layer", "placement": "pre"}}
    for norm in ("none", "weight"):
        kinds[norm] = {"norm": norm, "placement": "none"}
        kinds[f"{norm}, scaled"] = kinds[norm] | {"branch_scale": "scaled"}
    return {name: {"build": partial(seeded, net, **kind), **shared} for name, kind in kinds.items()}


GRIDS = {
    "weight-descent": weight_descent,
    "weight-adam": weight_adam,
    "beside-other-norms": beside_other_norms,
    "stream": stream,
    "deep-transformer": deep_transformer,
}

RATES = {
    "beside-other-norms": range(-3, 1),  # 0.03 to 1
    "deep-transformer": range(-8, -1),  # 1e-4 to 0.1: the upper end of each window is inside
}

CLAIMS = {
    "WN+1": Claim("Weight norm costs nothing at inference"),
    "WN+2": Claim("Weight norm works on streams and in reinforcement learning"),
    "WN+3": Claim("Weight norm complements other norms"),
    "WN-1": Claim(
        "The scale of the weights may drift, and the learning rate must follow",
        arms=("w, no norm", "v", "g", "v and g", "descent, weight", "descent, none"),
        seeds=10,
        effect="wider",
        unit="decades more of rates that work for v than for the weights of a plain net",
        quantities={
            "wider": "decades of rates that work for v, less those for the weights of a plain net; "
            "a rate works if half of the test images are right at the end, up to 300 times 0.1",
            "length": "decades of rates that work for g, less those for v",
            "both": "decades of rates that work for v and g together, less those for plain weights",
            "together": "the same where one rate is for all parameters, up to 1",
            "best": "accuracy at the best rate for all, less that of the plain net at its own (points)",
        },
        bounds={
            "holds": {"wider": below(0), "best": below(-1)},
            "half-true": {
                "wider": above(1),
                "length": below(-0.1),
                "both": null(0.75),
                "together": null(0.5),
                "best": null(1),
            },
            "contradicted": {"wider": above(1), "length": above(0), "together": above(0.5)},
        },
        condition={
            "half-true": "The length of v does drift, and that makes v's learning rate easy: it works "
            "over {wider.mean:.1f} decades more than that of plain weights. It is g that no drift "
            "protects. With one rate for all parameters, by plain descent, the range of rates and "
            "the best accuracy are those of a net without a norm. Fully connected, three layers, "
            "300 updates at most.",
        },
        paper_for="Salimans and Kingma 2016, section 2.1: robust to the learning rate",
    ),
    "WN-2": Claim("Adaptive optimizers make weight norm's benefit vanish"),
    "WN-3": Claim("Weight norm helps less in very deep Transformers"),
}

FINDINGS = {
    "growth of v": Claim(
        "Plain descent makes v longer by Pythagoras, momentum by more; Adam and decay also shorten it",
        arms=("descent", "momentum", "Adam", "decay"),
        seeds=10,
        effect="momentum",
        unit="times the sum of the squared steps",
        quantities={
            "descent": "growth of the squared length of v over the sum of the squared steps, descent",
            "momentum": "the same with momentum 0.9; theory: 19",
            "shorter": "share of updates that shorten the v of a unit, descent and momentum",
            "adam": "the same with Adam",
            "decay": "the same with descent and weight decay",
        },
        bounds={
            "holds": {
                "descent": between(0.99, 1.01),
                "momentum": between(17, 20),
                "shorter": exactly(0),
                "adam": above(0.1),
                "decay": above(0.9),
            }
        },
    ),
}
