"""Stylization, for instance norm: what its experiments train."""

from functools import partial

from norms.experiments.stylization import (
    STYLES,
    Generator,
    contents,
    equal_contrast,
    training_of,
)
from norms.experiments.training import seeded

__all__ = ["GRIDS"]


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


GRIDS = {"style": style, "style-contrast": style_contrast, "style-alone": style_alone}
