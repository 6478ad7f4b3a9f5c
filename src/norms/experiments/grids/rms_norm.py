"""RMS norm: what its experiments train, and what is claimed, with the bounds."""

from functools import partial

from norms.experiments.claims import Claim, above, below, between, exactly, null
from norms.experiments.data import digits, sonnets
from norms.experiments.models import MLP, RNN, PartialRMSNorm, Transformer, centred_rms_norm
from norms.experiments.training import seeded

__all__ = ["CLAIMS", "FINDINGS", "GRIDS"]

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
    """RMS norm, its partial form and layer norm in place of one another, in a pre-norm Transformer.

    The partial form measures 16 of 48 features. Without a norm there are three nets, as in the grid
    "placement".
    """
    shared = {
        "data": sonnets(), "steps": 200, "batch_size": 8, "optimizer": "adam", "warmup": 20
    }  # fmt: skip
    net = partial(Transformer, depth=4, width=48)
    pre, without = {"placement": "pre"}, {"norm": "none", "placement": "none"}
    kinds = {name: {"norm": name, **pre} for name in ("layer", "rms")}
    kinds["partial rms"] = {"norm": PartialRMSNorm, "share": 1 / 3, **pre}
    kinds["none"] = without
    kinds |= {f"none, {scale}": without | {"branch_scale": scale} for scale in ("scaled", "zero")}
    return {name: {"build": partial(seeded, net, **kind), **shared} for name, kind in kinds.items()}


GRIDS = {
    "weight-offset": weight_offset,
    "recurrent-offset": recurrent_offset,
    "parity": parity,
}

CLAIMS = {
    "RMS+1": Claim(
        "RMS norm is cheaper than layer norm",
        arms=("torch", "ours", "ours compiled", "ours compiled, on a GPU", "torch, on a GPU"),
        seeds=5,
        effect="compiled",
        unit="of layer norm's time, both compiled, mean over four widths",
        of="repeats on one thread of one CPU",
        quantities={
            "count": "operations a value, over layer norm's",
            "compiled": "share of layer norm's time, mean over the widths, both compiled",
            "by_line": "the same, ours line by line",
            "torch": "the same, PyTorch's own two",
            "gpu": "the same as compiled, bfloat16 on one GPU",
            "gpu_torch": "the same, PyTorch's own two, on the GPU",
        },
        bounds={
            "holds": {
                "compiled": below(0.9),
                "by_line": below(0.9),
                "torch": below(0.9),
                "gpu": below(0.9),
                "gpu_torch": below(0.9),
            },
            "holds if": {
                "count": below(1),
                "compiled": below(1),
                "by_line": below(1),
                "torch": above(1),
                "gpu": below(1),
            },
            "contradicted": {"compiled": above(1), "by_line": above(1)},
        },
        condition={
            "holds if": "both are written alike, and then by little: on one CPU thread "
            "{compiled.mean:.2f} of layer norm's time compiled, on one H100 {gpu.mean:.2f}. "
            "PyTorch's own RMS norm was the slower one on the CPU, where it is not fused."
        },
        paper_for="Zhang and Sennrich 2019, Tables 2 to 10",
    ),
    "RMS+2": Claim(
        "RMS norm is stable in mixed precision",
        arms=("float16", "bfloat16", "float16 by way of float32"),
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
        arms=("rms, pre", "layer, pre", "rms, post", "none", "none, scaled", "none, zero"),
        seeds=5,
        effect="apart",
        unit="times layer norm's growth of the gradient over 64 branches",
        quantities={
            "apart": "growth of the gradient over 64 branches, over layer norm's",
            "rival": "growth with scaled branches and no norm, over RMS norm's",
            "rival_growth": "that growth itself",
        },
        bounds={
            "holds": {"apart": below(0.75), "rival": above(1)},
            "half-true": {
                "apart": between(0.75, 1.33),
                "rival": below(1),
                "rival_growth": between(0.5, 2),
            },
            "contradicted": {"apart": above(1.33)},
        },
        condition={
            "half-true": "The path is the residual stream. Layer norm keeps it in the same "
            "measure, and branches that start scaled keep it level without a norm. Before "
            "training, in nets of 32 blocks.",
        },
        paper_against="Jiang et al. 2023: the same network; Zhang, Dauphin and Ma 2019: no norm",
    ),
    "RMS-1": Claim(
        "Under RMS norm the mean is not zeroed and may drift",
        arms=("rms", "layer"),
        seeds=5,
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
        arms=("rms", "layer", "centred rms", "none"),
        seeds=20,
        effect="lost",
        unit="points of accuracy behind layer norm, fully connected",
        quantities={
            "lost": "late accuracy behind layer norm, weights with an offset, fully connected (points)",
            "centred": "late accuracy behind layer norm with the mean taken out by hand (points)",
            "kept": "late accuracy that the offset costs layer norm (points)",
            "earlier": "late accuracy of no norm behind RMS norm at half the offset (points)",
            "blind": "loss that the offset costs layer norm in a recurrent net (nats)",
            "behind": "loss of RMS norm over layer norm there, each at its best rate (nats)",
        },
        bounds={
            "holds": {"lost": above(50), "earlier": below(4), "behind": above(0.1)},
            "half-true": {
                "lost": above(50),
                "centred": null(4),
                "kept": null(4),
                "blind": null(0.05),
            },
            "contradicted": {"lost": below(1), "behind": below(0)},
        },
        condition={
            "half-true": "What ruins it is an offset of all weights, larger than their deviation, "
            "where the norm stands behind the matrix; layer norm does not see it. A recurrent net "
            "mostly learns it away at a good rate, and pre-norm Transformers were not tried."
        },
        paper_for="Zhang and Sennrich 2019, Table 1",
        paper_against="Zhang and Sennrich 2019, Fig. 4",
    ),
    "RMS-3": Claim(
        "A trained net's layer norms cannot be exchanged for RMS norms",
        arms=("layer", "exchanged", "folded"),
        seeds=5,
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

FINDINGS = {
    "three starts": Claim(
        "Without a norm a good start ends as low, at the best rate; a norm tolerates a larger one",
        arms=tuple(
            f"{arm}, warm-up 0" for arm in ("none", "none, scaled", "none, zero", "pre", "pre, rms")
        ),
        seeds=5,
        effect="plain",
        unit="nats above RMS norm with unscaled branches",
        quantities={
            "plain": "loss with unscaled branches less that with RMS norm (nats)",
            "scaled": "the same with scaled branches",
            "zero": "the same with branches that write nothing at first",
            "swap": "loss with RMS norm less that with layer norm (nats)",
            "window": "decades of rates that end below 2.8 nats with RMS norm, less those of the "
            "best of the three nets without",
        },
        bounds={
            "holds": {
                "plain": above(0.2),
                "scaled": null(0.1),
                "zero": null(0.1),
                "swap": null(0.1),
                "window": above(0.25),
            }
        },
    ),
    "three features": Claim(
        "Measuring 3 of 48 features, pRMSNorm lets the gradient explode in a deep stack",
        arms=("pRMSNorm, pre",),
        seeds=5,
        effect="growth",
        unit="times as large at the first of 64 branches as at the last",
        quantities={"growth": "growth of the gradient over 64 branches"},
        bounds={"holds": {"growth": above(100)}},
    ),
    "constant direction": Claim(
        "Plain descent changes no weight along the constant direction with layer norm in pre",
        arms=("layer", "rms"),
        seeds=5,
        effect="rms",
        unit="of the change's length along the constant direction, RMS norm",
        quantities={
            "layer": "share of the change of the matrices that write to the stream, layer norm",
            "rms": "the same with RMS norm; by chance the root of 1/48",
        },
        bounds={"holds": {"layer": below(1e-3), "rms": above(0.03)}},
    ),
    "parity": Claim(
        "Trained from scratch, RMS norm ends as low as layer norm",
        arms=("layer", "rms"),
        seeds=5,
        effect="rms",
        unit="nats above layer norm",
        quantities={"rms": "loss with RMS norm less that with layer norm (nats)"},
        bounds={"holds": {"rms": null(0.05)}},
    ),
    "parity of a part": Claim(
        "Measuring 16 of 48 features, pRMSNorm ends as low, too",
        arms=("layer", "partial rms"),
        seeds=5,
        effect="partial",
        unit="nats above layer norm",
        quantities={"partial": "loss with pRMSNorm less that with layer norm (nats)"},
        bounds={"holds": {"partial": null(0.05)}},
    ),
    "parity without a norm": Claim(
        "So does a net without a norm that starts at zero, and one that starts as usual does not",
        arms=("layer", "none", "none, zero"),
        seeds=5,
        effect="plain",
        unit="nats above layer norm",
        quantities={
            "plain": "loss with unscaled branches less that with layer norm (nats)",
            "zero": "the same with branches that write nothing at first",
        },
        bounds={"holds": {"plain": above(0.05), "zero": null(0.05)}},
    ),
    "slow recovery": Claim(
        "In a recurrent net an offset of the weights costs RMS norm at a small rate",
        arms=("rms, offset 0.2", "layer, offset 0.2"),
        seeds=5,
        effect="slow",
        unit="nats above layer norm at rate 0.003",
        quantities={"slow": "loss of RMS norm over layer norm at rate 0.003 (nats)"},
        bounds={"holds": {"slow": above(0.3)}},
    ),
    "cast and gain": Claim(
        "To cast before the gain rounds twice: about a quarter of the outputs differ, by one unit",
        arms=("gain, then cast", "cast, then gain", "1 + w in float32", "1 + w in bfloat16"),
        seeds=5,
        effect="differ",
        unit="of the outputs differ in bfloat16",
        of="draws",
        quantities={
            "differ": "share of outputs that differ between the two orders; theory: about 1/4",
            "units": "largest difference, in units in the last place",
            "ones": "share that differ where all gains are 1",
            "layers": "share in which torch's layer or ours differs from gain, then cast",
            "plus": "share that differ if 1 + w is stored in bfloat16",
        },
        bounds={
            "holds": {
                "differ": between(0.2, 0.3),
                "units": exactly(1),
                "ones": exactly(0),
                "layers": below(1e-3),
                "plus": between(0.15, 0.35),
            }
        },
    ),
}
