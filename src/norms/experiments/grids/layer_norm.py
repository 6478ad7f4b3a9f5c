"""Layer norm: what its experiments train, and what is claimed, with the bounds."""

from functools import partial

from norms.experiments.claims import Claim, above, below, between, exactly
from norms.experiments.data import digits, fashion, sonnets
from norms.experiments.models import MLP, RNN, Transformer
from norms.experiments.training import seeded

__all__ = ["CLAIMS", "GRIDS"]


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
    """LN+4: where the norm of a Transformer stands, with and without warm-up."""
    shared = {"data": sonnets(), "steps": 150, "batch_size": 8, "optimizer": "adam"}
    net = partial(Transformer, depth=6, width=32)
    places = {"none": ("none", "none"), "post": ("layer", "post"), "pre": ("layer", "pre")}
    places |= {"peri": ("layer", "peri"), "post, rms": ("rms", "post"), "pre, rms": ("rms", "pre")}
    return {
        f"{name}, warm-up {warmup}": {
            "build": partial(seeded, net, norm=norm, placement=place),
            "warmup": warmup,
            **shared,
        }
        for warmup in (0, 75)
        for name, (norm, place) in places.items()
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

CLAIMS = {
    "LN+1": Claim(
        "Layer norm does not depend on the size of the batch",
        effect="leak",
        unit="is the largest entry of the Jacobian between samples, exactly",
        quantities={"leak": "largest entry of the Jacobian between samples"},
        bounds={"proved": {"leak": exactly(0)}, "contradicted": {"leak": above(0)}},
        condition={"proved": "As a function. The noise of the gradient still depends on it."},
        paper_for="Ba, Kiros and Hinton 2016, equation 3",
    ),
    "LN+2": Claim(
        "Layer norm computes the same in training and at inference",
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
        effect="growth",
        unit="times the size of the state at character 640, against 32, at scale 3",
        quantities={
            "growth": "size of the state at character 640 over 32, layer norm, scale 3",
            "growth_usual": "the same at scale 1",
            "growth_plain": "the same without a norm at scale 1",
            "later": "loss behind character 32 less that before, layer norm, scale 3 (nats)",
            "later_usual": "the same at scale 1",
            "later_plain": "the same without a norm at scale 1",
            "lost": "least loss without a norm at scale 3, less guessing (nats)",
        },
        bounds={
            "holds": {
                "growth": between(0.5, 2),
                "growth_usual": between(0.5, 2),
                "growth_plain": between(0.5, 2),
                "later": below(0.05),
                "later_usual": below(0.05),
                "later_plain": below(0.05),
                "lost": above(0),
            },
            "contradicted": {"later": above(0.2)},
        },
        condition={"holds": "A plain net whose weights have the right size is as stable."},
        paper_for="Ba, Kiros and Hinton 2016, section 3.1",
    ),
    "LN+4": Claim(
        "Layer norm improves the flow of gradients in Transformers",
        effect="gained",
        unit="nats gained over no norm, in pre",
        quantities={
            "gained": "loss of no norm less that of pre, no warm-up (nats)",
            "cold": "loss of post less that of pre, no warm-up (nats)",
            "warm": "the same with warm-up",
            "share": "share of pre's gain that post loses",
        },
        bounds={
            "holds if": {"gained": above(0.2), "cold": above(0.1), "share": above(0.1)},
            "holds": {"gained": above(0.2), "cold": below(0.1)},
            "contradicted": {"gained": below(0)},
        },
        condition={
            "holds if": "it stands inside the branch. On the stream itself {share:.1f} of the gain "
            "is lost."
        },
        paper_for="Xiong et al. 2020",
        paper_against="Shleifer et al. 2021: pre has a skew of its own",
    ),
    "LN-1": Claim("Layer norm regularizes less than batch norm"),
    "LN-2": Claim(
        "Layer norm uses nothing of the other samples",
        effect="leak",
        unit="is the same largest entry",
        quantities={"leak": "largest entry of the Jacobian between samples"},
        bounds={"proved": {"leak": exactly(0)}, "contradicted": {"leak": above(0)}},
        condition={"proved": "A lack where they hold something useful, else a guard."},
        paper_for="by definition",
    ),
}
