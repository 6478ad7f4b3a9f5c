"""Images on black, which a change of contrast multiplies, and classes that are such factors."""

from dataclasses import replace

import torch

__all__ = ["by_contrast", "on_black"]


def on_black(dataset):
    """Return a data set whose images are their pixels over the deviation: black is exactly 0.

    Then ``c * images`` are the same images at ``c`` times the contrast, and the zeros that a
    convolution pads with are black, too.

    Args:
        dataset: a :class:`norms.experiments.data.Dataset`.

    Returns:
        A data set with the same labels; its ``mean`` is 0.
    """

    def pixels(images):  # of 8 bits or of digits, which have 16 levels: multiples of 1/4080
        exact = ((images.double() * dataset.deviation + dataset.mean) * 4080).round() / 4080
        return (exact / dataset.deviation).float()

    parts = {
        name: (pixels(images), labels)
        for name in ("train", "validation", "test")
        for images, labels in [getattr(dataset, name)]
    }
    return replace(dataset, name=f"{dataset.name} on black", mean=0.0, **parts)


def by_contrast(dataset, levels=(0.25, 0.5, 1.0, 2.0)):
    """Return a data set in which the class is the contrast: each image stands there at each level.

    Args:
        dataset: images on black, see :func:`on_black`.
        levels: K factors; the place of one is its label.

    Returns:
        A data set of K times as many images, K classes, the levels of an image side by side.
    """
    factors = torch.tensor(levels)[:, None, None, None]  # (K, 1, 1, 1)

    def graded(images):
        each = (images[:, None] * factors).flatten(0, 1)  # (N*K, 1, H, W)
        return each, torch.arange(len(levels)).repeat(len(images))

    parts = {name: graded(getattr(dataset, name)[0]) for name in ("train", "validation", "test")}
    return replace(dataset, name=f"{dataset.name} by contrast", classes=len(levels), **parts)
