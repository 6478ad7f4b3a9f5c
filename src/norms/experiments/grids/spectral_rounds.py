"""Spectral norm, what is found of its iteration: a cold start, a warm one, and a constant sigma."""

from norms.experiments.claims import Claim, above, below, between, null

__all__ = ["FINDINGS"]

FINDINGS = {
    "one warm round": Claim(
        "One round of power iteration is far off from a random start, and enough from the last one",
        arms=("cold", "warm"),
        seeds=10,
        effect="cold",
        unit="percent that the estimate falls short after one cold round",
        of="random weights of 64 outputs and 64 inputs",
        quantities={
            "cold": "what the estimate lacks after one round from a random start (%)",
            "later": "the same after ten rounds (%)",
            "warm": "the same with one round for each change of the weight by 1 %, mean of changes "
            "51 to 100 (%)",
        },
        bounds={
            "holds": {"cold": between(15, 42), "later": below(8), "warm": below(1)},
        },
    ),
    "constant sigma": Claim(
        "With sigma taken for a constant, a layer that should be shorter than 1 does not settle",
        arms=("gradient", "constant sigma"),
        seeds=10,
        effect="shorter",
        unit="times the loss",
        of="random tasks",
        quantities={
            "shorter": "loss with a constant sigma over that with the gradient, where the layer "
            "should halve its inputs",
            "longer": "the same difference, where the layer should double them (squared error)",
            "size": "sigma of the stored weight over that with the gradient, where it should "
            "double them",
        },
        bounds={
            "holds": {"shorter": above(2.5), "longer": null(0.5), "size": above(2)},
        },
    ),
}
