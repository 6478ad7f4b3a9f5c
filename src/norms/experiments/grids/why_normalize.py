"""The first chapter: what it finds in networks without a norm, with the bounds."""

from norms.experiments.claims import Claim, above, between

__all__ = ["FINDINGS"]

FINDINGS = {
    "idle units": Claim(
        "Deep ReLU units die at any scale, and large weights saturate sigmoids",
        arms=("ReLU, any scale", "sigmoid, × 8"),
        seeds=5,
        effect="dead",
        unit="of the units in layer 20",
        quantities={
            "dead": "share of dead ReLUs in layer 20",
            "stuck": "share of saturated sigmoids there, weights × 8",
        },
        bounds={"holds": {"dead": above(0.1), "stuck": above(0.1)}},
    ),
    "bad inputs": Claim(
        "A factor on the inputs costs learning rate, and an offset accuracy besides",
        arms=("as is", "× 8", "+ 4"),
        seeds=5,
        effect="cost",
        unit="points of accuracy at the best rate, for the offset",
        quantities={
            "factor": "halvings of the largest rate that survives, inputs × 8",
            "offset": "the same, inputs + 4",
            "cost": "accuracy that the offset costs at the best rate (points)",
        },
        bounds={"holds": {"factor": between(1.5, 5), "offset": above(1.5), "cost": above(5)}},
    ),
    "patients": Claim(
        "What the instruments show after 20 steps costs accuracy after 200",
        arms=("healthy", "A", "B", "C"),
        seeds=5,
        effect="A",
        unit="points of accuracy",
        quantities={name: f"accuracy of the healthy net less that of {name}" for name in "ABC"},
        bounds={"holds": {name: above(15) for name in "ABC"}},
    ),
    "pairing": Claim(
        "Pairing narrows the interval of a difference",
        arms=("rate 0.05", "rate 0.1"),
        seeds=20,
        effect="gained",
        unit="points of accuracy",
        quantities={
            "gained": "accuracy at the larger rate less that at the smaller (points)",
            "widths": "width of the unpaired interval over that of the paired one",
        },
        bounds={"holds": {"gained": above(0), "widths": above(1.2)}},
    ),
}
