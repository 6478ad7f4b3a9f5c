"""Real data, bundled and offline, in a training, a validation and a test part.

Learning rates are chosen on the validation part; the test part is looked at once.
"""

import math
from dataclasses import dataclass, replace
from functools import partial
from itertools import pairwise

import numpy as np
import torch

from norms.experiments.bundles import read_fashion, read_sonnets

__all__ = [
    "SHIFTS",
    "Dataset",
    "Text",
    "brightness",
    "contrast",
    "digits",
    "fashion",
    "gaussian_noise",
    "inversion",
    "sonnets",
]


@dataclass(frozen=True)
class Dataset:
    """Images (N, 1, H, W) standardised by the training part's mean and deviation.

    Attributes:
        name: of the data set.
        train: images and labels.
        validation: the same, for choosing learning rates.
        test: the same, for the number that is reported.
        mean: of the training part's pixels, on the scale from 0 (black) to 1 (white).
        deviation: their standard deviation, on that scale.
        classes: the number of labels.
    """

    name: str
    train: tuple[torch.Tensor, torch.Tensor]
    validation: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]
    mean: float = 0.0
    deviation: float = 1.0
    classes: int = 10

    measure = "accuracy"  # of the right label, in percent

    @property
    def chance(self):
        """Accuracy of guessing, in percent."""
        return 100 / self.classes

    @property
    def inputs(self):
        """Number of pixels of an image."""
        return self.train[0][0].numel()

    def shifted(self, images, shift):
        """Apply a shift such as ``lambda x: contrast(x, 0.25)`` to the pixels of images.

        Args:
            images: (N, 1, H, W), standardised, as in the parts of this data set.
            shift: function from pixels in [0, 1] to pixels in [0, 1], (N, 1, H, W) both.

        Returns:
            The shifted images, (N, 1, H, W), standardised by the *training* part's mean and
            deviation as before: the network is not told of the shift.
        """
        pixels = (images * self.deviation + self.mean).clamp(0, 1)
        return (shift(pixels) - self.mean) / self.deviation

    def __str__(self):
        sizes = [len(part[1]) for part in (self.train, self.validation, self.test)]
        shape = "x".join(str(n) for n in self.train[0].shape[2:])
        return f"{self.name}: {shape}, {sizes[0]} train, {sizes[1]} validation, {sizes[2]} test"


@dataclass(frozen=True)
class Text:
    """Windows of a text, as numbers of characters (N, T), each with the characters that follow.

    Attributes:
        name: of the text.
        train: windows and what follows each character, (N, T) both; a window begins at every
            character.
        validation: the same of another part of the text, for choosing learning rates; windows do
            not overlap.
        test: the same, for the number that is reported.
        characters: those of the text; the place of one is its number.
    """

    name: str
    train: tuple[torch.Tensor, torch.Tensor]
    validation: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]
    characters: str

    measure = "loss"  # of the next character, in nats

    @property
    def classes(self):
        """Number of different characters."""
        return len(self.characters)

    @property
    def chance(self):
        """Loss of guessing, in nats."""
        return math.log(self.classes)

    @property
    def by_frequency(self):
        """Loss of guessing by the frequency of the characters, in nats."""
        counts = torch.bincount(self.train[1].flatten(), minlength=self.classes).double()
        share = counts / counts.sum()
        return -float((share * share.clamp_min(1e-12).log()).sum())

    def read(self, window):
        """Return the text of a window (T,)."""
        return "".join(self.characters[i] for i in window.tolist())

    def __str__(self):
        sizes = [len(part[1]) for part in (self.train, self.validation, self.test)]
        return (
            f"{self.name}: {self.classes} characters, windows of {self.train[0].shape[1]}: "
            f"{sizes[0]} train, {sizes[1]} validation, {sizes[2]} test"
        )


def digits():
    """Load scikit-learn's 1,797 handwritten digits, 8x8: 1,000 train, 297 validation, 500 test.

    The split is fixed; the test part is small, and an accuracy on it moves in steps of 0.2 points.

    References:
        Alpaydin and Kaynak 1998, Optical Recognition of Handwritten Digits, UCI (CC BY 4.0).
    """
    from sklearn.datasets import load_digits

    bunch = load_digits()
    order = np.random.default_rng(0).permutation(len(bunch.target))
    pixels, labels = bunch.images[order, None] / 16, bunch.target[order]
    return _split("digits", pixels, labels, train=1000, validation=297)


def fashion(train=4000):
    """Load 7,000 pictures of clothes, 14x14: 4,000 train, 1,000 validation, 2,000 test.

    They are the first 5,000 training and the first 2,000 test images of Fashion-MNIST, each
    pixel the mean of 2x2; the split is fixed.

    Args:
        train: keep only so many of the training images, the first ones.

    Raises:
        DataError: the bundled file is missing or damaged.

    References:
        Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747 (MIT licence, Zalando SE).
    """
    images, labels = read_fashion()
    whole = _split("Fashion-MNIST", images[:, None] / 255, labels, train=4000, validation=1000)
    return replace(whole, train=tuple(part[:train] for part in whole.train))


def sonnets(length=32):
    """Load Shakespeare's 154 sonnets, cut into windows: 80 % train, 10 % validation, 10 % test.

    The parts follow one another in the text.

    Args:
        length: T, characters in a window.

    Raises:
        DataError: the bundled file is missing or damaged.

    References:
        William Shakespeare 1609 (public domain).
    """
    text = read_sonnets()
    characters = "".join(sorted(set(text)))
    number = {character: i for i, character in enumerate(characters)}
    tokens = torch.tensor([number[character] for character in text])
    ends = [0, len(text) * 8 // 10, len(text) * 9 // 10, len(text)]
    parts = []
    for part, step in zip(pairwise(ends), (1, length, length), strict=True):
        windows = tokens[slice(*part)].unfold(0, length + 1, step)
        parts.append((windows[:, :-1], windows[:, 1:]))
    return Text("Sonnets", *parts, characters=characters)


def contrast(pixels, factor):
    """Multiply each image's deviation from its own mean; its mean brightness stays.

    Args:
        pixels: (N, 1, H, W) on the scale from 0 (black) to 1 (white).
        factor: below 1 makes flat, 1 changes nothing, above 1 makes hard.

    Returns:
        Pixels in the same shape and on the same scale, cut off at 0 and 1.
    """
    mean = pixels.mean((1, 2, 3), keepdim=True)
    return (mean + factor * (pixels - mean)).clamp(0, 1)


def brightness(pixels, offset):
    """Add the same light to every pixel.

    Args:
        pixels: (N, 1, H, W) on the scale from 0 (black) to 1 (white).
        offset: on that scale; negative darkens.

    Returns:
        Pixels in the same shape and on the same scale, cut off at 0 and 1.
    """
    return (pixels + offset).clamp(0, 1)


def gaussian_noise(pixels, deviation, seed=0):
    """Add independent Gaussian noise to every pixel.

    Args:
        pixels: (N, 1, H, W) on the scale from 0 (black) to 1 (white).
        deviation: of the noise, on that scale.
        seed: of its draw.

    Returns:
        Pixels in the same shape and on the same scale, cut off at 0 and 1.
    """
    generator = torch.Generator().manual_seed(seed)
    return (pixels + deviation * torch.randn(pixels.shape, generator=generator)).clamp(0, 1)


def inversion(pixels):
    """Exchange black and white.

    Args:
        pixels: (N, 1, H, W) on the scale from 0 (black) to 1 (white).

    Returns:
        ``1 - pixels``.
    """
    return 1 - pixels


# The same strength for every norm of the book.
SHIFTS = {
    "as trained": partial(contrast, factor=1),
    "contrast ½": partial(contrast, factor=0.5),
    "contrast ¼": partial(contrast, factor=0.25),
    "light": partial(brightness, offset=0.2),
    "more light": partial(brightness, offset=0.4),
    "noise": partial(gaussian_noise, deviation=0.2),
    "inversion": inversion,
}


def _split(name, pixels, labels, train, validation):
    pixels = torch.tensor(pixels, dtype=torch.float32)
    labels = torch.tensor(labels, dtype=torch.long)
    mean, deviation = pixels[:train].mean(), pixels[:train].std()
    images = (pixels - mean) / deviation
    ends = [slice(0, train), slice(train, train + validation), slice(train + validation, None)]
    parts = [(images[part], labels[part]) for part in ends]
    return Dataset(name, *parts, mean=float(mean), deviation=float(deviation))
