"""Weight norm: what a start on the wrong scale does, and one that looks at data."""

from norms.experiments.claims import Claim, above, between, null

__all__ = ["FINDINGS"]

FINDINGS = {
    "wrong starts": Claim(
        "Weight norm does not repair initial weights of a wrong scale; a start by data does",
        arms=tuple(
            f"{norm}{start}, × {scale}"
            for norm in ("none", "weight")
            for start in ("", ", data")
            for scale in ("1", "0.1", "10")
        ),
        seeds=10,
        effect="small",
        unit="points lost by weights of a tenth, without a norm",
        quantities={
            "small": "accuracy without a norm, usual weights less a tenth of them (points)",
            "large": "the same, usual weights less ten times them",
            "small_weight": "with a tenth, accuracy with weight norm less that without (points)",
            "large_weight": "the same with ten times the weights",
            "data": "started by data without a norm, accuracy at × 1 less that at × 0.1 (points)",
            "short": "started by data with weight norm, accuracy at × 1 less that at × 0.1 (points)",
            "long": "started by data with weight norm, accuracy at × 1 less that at × 10 (points)",
        },
        bounds={
            "holds": {
                "small": above(40),
                "large": above(25),
                "small_weight": null(15),
                "large_weight": null(15),
                "data": null(3),
                "short": null(6),
                "long": above(8),
            }
        },
    ),
    "start by one batch": Claim(
        "Started by one batch, a deep net has the gradients of batch norm",
        arms=("weight", "weight, data"),
        seeds=10,
        effect="data",
        unit="times as large for each layer that a gradient goes back",
        quantities={
            "usual": "growth of the gradient a layer, with usual lengths, 20 layers",
            "data": "the same with lengths and biases chosen by a batch",
        },
        bounds={"holds": {"usual": between(0.95, 1.05), "data": between(1.18, 1.24)}},
    ),
}
