"""Instance norm: what its experiments train, and what is claimed, with the bounds."""

from functools import partial

from norms.experiments.claims import Claim
from norms.experiments.contrasts import by_contrast, on_black
from norms.experiments.data import digits, fashion
from norms.experiments.models import CNN
from norms.experiments.models.variants.instance_norm import (
    CNNWithStatistics,
    half_instance_half_batch,
    instance_norm_of_any_map,
    without_biases,
    without_last_norm,
)
from norms.experiments.training import seeded

__all__ = ["CLAIMS", "GRIDS"]


def _on_digits(arms, data, **options):
    net = {"channels": (8, 16, 16), "strides": (1, 2, 2), "size": 8, "classes": data.classes}
    return {
        name: {
            "build": partial(seeded, kind, norm=norm, **net, **options),
            "data": data,
            "steps": 300,
            "batch_size": 32,
        }
        for name, (kind, norm) in arms.items()
    }


NORMS = {name: (CNN, name) for name in ("none", "batch", "layer", "group", "instance")}
CURES = {
    "instance, told": (CNNWithStatistics, "instance"),
    "instance and batch": (CNN, half_instance_half_batch),
}


def contrasts():
    """IN-1: digits on black at one contrast, for tests at others."""
    plain = {"none, no biases": (partial(without_biases, CNN), "none")}
    return _on_digits(NORMS | plain | CURES, on_black(digits()))


def contrast_classes():
    """IN-1: the class is the contrast of a digit: 1/4, 1/2, 1 or 2.

    Instance norm is at chance there at every rate, so that no rate can be chosen.
    """
    arms = {name: arm for name, arm in (NORMS | CURES).items() if name != "instance"}
    return _on_digits(arms, by_contrast(on_black(digits())))


def pooled():
    """IN-1: the digits again, where the head gets the mean of each map."""
    arms = {name: NORMS[name] for name in ("none", "batch", "group", "instance")}
    arms["instance, last left out"] = (partial(without_last_norm, CNN), "instance")
    return _on_digits(arms, on_black(digits()), head="pool")


def small_maps():
    """IN+1, IN-1 and IN-2: Fashion-MNIST, in nets whose last maps are 7x7, 4x4, 2x2 and 1x1."""
    shared = {"data": fashion(), "steps": 300, "batch_size": 32}
    norms = {name: name for name in ("none", "batch", "group", "instance")}
    grid = {}
    for size, count in {7: 1, 4: 2, 2: 3, 1: 4}.items():
        net = partial(CNN, channels=(8, 8, 16, 16), strides=(2,) * count + (1,) * (4 - count))
        if size == 1:
            norms = norms | {"instance": instance_norm_of_any_map}
        for name, norm in norms.items():
            grid[f"{size}×{size}, {name}"] = {"build": partial(seeded, net, norm=norm), **shared}
            if size == 4:
                build = partial(seeded, net, norm=norm, head="pool")
                grid[f"pooled, {name}"] = {"build": build, **shared}
    del grid["1×1, instance"]  # at chance at every rate
    return grid


GRIDS = {
    "contrasts": contrasts,
    "contrast-classes": contrast_classes,
    "pooled": pooled,
    "small-maps": small_maps,
}

CLAIMS = {
    "IN+1": Claim("Instance norm does not depend on the size of the batch"),
    "IN+2": Claim("Instance norm strips a picture's style and speeds stylization up"),
    "IN-1": Claim("Instance norm discards contrast, which classification needs"),
    "IN-2": Claim("Instance norm lacks the regularization of the batch"),
}
