"""Instance norm in stylization: what its experiments train, and what is claimed, with the bounds."""

from functools import partial

from norms.experiments.claims import Claim, above, below
from norms.experiments.stylization import (
    STYLES,
    Generator,
    contents,
    equal_contrast,
    training_of,
)
from norms.experiments.training import seeded

__all__ = ["CLAIMS", "FINDINGS", "GRIDS"]


def style():
    """IN+2: generators for three styles, with each norm; 100 updates of 4 photographs."""
    data = contents()
    return {
        f"{name}, {norm}": {"build": partial(seeded, Generator, norm=norm)}
        | training_of(name, data)
        for name in STYLES
        for norm in ("none", "batch", "layer", "group", "instance")
    }


def style_contrast():
    """The same for one style, on photographs that all have the same contrast."""
    return _gravel(contents(equal_contrast, name="equal contrast"))


def style_alone():
    """The same for one style, with 200 updates of one photograph."""
    return _gravel(contents(), steps=200, batch_size=1)


def _gravel(data, **options):
    return {
        norm: {"build": partial(seeded, Generator, norm=norm)}
        | training_of("gravel", data, **options)
        for norm in ("batch", "instance")
    }


GRIDS = {"three-styles": style, "style-contrast": style_contrast, "style-alone": style_alone}

CLAIMS = {
    "IN+2": Claim(
        "Instance norm strips a picture's style and speeds stylization up",
        arms=("none", "batch", "layer", "group", "instance"),
        # Judged three times. The first claim also had bounds on layer and group norm; on seeds 0 to
        # 19 both were missed, and it was not decided. The second, on seeds 40 to 59, divided all 100
        # updates of batch norm by those that instance norm needs to get to batch norm's last loss. But
        # batch norm itself is first there earlier. With the same count for both, the same seeds give
        # 3.0 for gravel, 1.4 for tissue, 1.1 for stars and 1.7 over all, and the bound of stars, 1.2,
        # is missed. So now only gravel and the mean are claimed, on seeds that are new: 60 to 69.
        seeds=10,
        effect="speed",
        unit="times fewer updates than batch norm needs, over three styles",
        quantities={
            "strip": "largest difference that contrast, brightness or an added cast makes behind a "
            "convolution without padding, in deviations",
            "cast": "the same for a multiplied cast",
            "gravel": "updates until batch norm is at its own last training loss, over those of "
            "instance norm, for gravel",
            "speed": "the same ratio, mean over gravel, tissue and stars",
            "tissue": "the same ratio, for tissue alone",
            "stars": "the same ratio, for stars alone",
            "rival": "loss on new photographs of the better of layer and group norm, less that of "
            "instance norm, for gravel",
            "others": "loss of layer norm less that of instance norm, mean of tissue and stars",
        },
        bounds={
            "holds if": {
                "strip": below(1e-6),
                "cast": above(0.1),
                "gravel": above(1.5),
                "speed": above(1.2),
            },
            "contradicted": {"speed": below(1)},
        },
        condition={
            "holds if": "the rival is batch norm, and by how much depends on the style: {gravel:.1f} "
            "times for gravel, {tissue:.1f} for tissue, {stars:.1f} for stars. Against layer and group norm, which also look at "
            "one photograph alone, nothing is claimed: on new photographs the better of them is "
            "{rival.mean:.2f} behind for gravel (95 % interval {rival.low:.2f} to "
            "{rival.high:.2f}), and layer norm {others.mean:.3f} for the other two styles "
            "({others.low:.3f} to {others.high:.3f}; below 0 it is ahead). A cast that multiplies the colours is not "
            "stripped behind a convolution. Small generators, 100 updates, random features.",
        },
        paper_for="Ulyanov, Vedaldi and Lempitsky 2016, Fig. 5 (pictures, no number)",
        paper_against="Huang and Belongie 2017: it is style, and more than contrast",
    ),
}

FINDINGS = {
    "equal style": Claim(
        "Equal contrast leaves a part of batch norm's lag, equal style leaves less",
        arms=("batch", "instance"),
        seeds=10,
        effect="contrast",
        unit="of training loss behind instance norm, on photographs of equal contrast",
        quantities={
            "plain": "median of the last training loss with batch norm less that with instance norm",
            "contrast": "the same, on photographs of equal contrast",
            "closed": "median of the lag on plain photographs less that on photographs of equal style",
            "turn": "median of the lag on equal contrast less that on equal style",
        },
        # First it was judged by means, on seeds 40 to 49. On another ten seeds one net failed with
        # both norms, and the means said nothing. So now by medians, on seeds 70 to 79. A bound of
        # ±0.06 on the lag that equal style leaves held on the first seeds alone, and is withdrawn.
        bounds={
            "holds": {
                "plain": above(0.1),
                "contrast": above(0.06),
                "closed": above(0.08),
                "turn": above(0),
            }
        },
    ),
    "one photograph": Claim(
        "Trained on one photograph at a time, batch norm falls apart in evaluation",
        arms=("batch", "instance"),
        seeds=10,
        effect="apart",
        unit="times the loss of instance norm, in evaluation",
        quantities={
            "apart": "loss on new photographs with batch norm, in evaluation, over that with "
            "instance norm",
            "alone": "the same with the statistics of each photograph",
        },
        bounds={"holds": {"apart": above(2), "alone": below(1.5)}},
    ),
}
