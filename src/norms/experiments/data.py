"""Real data, bundled and offline, in a training, a validation and a test part.

Learning rates are chosen on the validation part; the test part is looked at once.

``python -m norms.experiments.data make-fashion`` makes the bundled Fashion-MNIST subset anew,
byte for byte, from Debian's package ``dataset-fashion-mnist``.
"""

import argparse
import gzip
import hashlib
import zlib
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import torch

__all__ = [
    "SHIFTS",
    "DataError",
    "Dataset",
    "brightness",
    "contrast",
    "digits",
    "fashion",
    "gaussian_noise",
    "inversion",
    "make_fashion",
]

FASHION = Path(__file__).with_name("fashion_mnist_14x14.npz")
FASHION_SHA256 = "c30d7d3277b9eb8c65bc5a0edc0c1781cbfcb6daae6d9dddbc71170215de3172"  # of the arrays, not of their compression
FASHION_CLASSES = (
    "T-shirt", "trouser", "pullover", "dress", "coat",
    "sandal", "shirt", "sneaker", "bag", "ankle boot",
)  # fmt: skip


class DataError(RuntimeError):
    """A bundled data file is missing or damaged; the message names the cure."""


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


def fashion():
    """Load 7,000 pictures of clothes, 14x14: 4,000 train, 1,000 validation, 2,000 test.

    They are the first 5,000 training and the first 2,000 test images of Fashion-MNIST, each
    pixel the mean of 2x2; the split is fixed.

    Raises:
        DataError: the bundled file is missing or damaged.

    References:
        Xiao, Rasul and Vollgraf 2017, arXiv:1708.07747 (MIT licence, Zalando SE).
    """
    images, labels = _read_fashion(FASHION)
    return _split("Fashion-MNIST", images[:, None] / 255, labels, train=4000, validation=1000)


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


def make_fashion(source="/usr/share/datasets/fashion-mnist", target=FASHION):
    """Make the bundled subset from the full Fashion-MNIST of Debian's package.

    Args:
        source: folder of the package's four ``.gz`` files.
        target: the ``.npz`` file to write.

    Raises:
        DataError: the package is not installed there.
    """
    arrays = {}
    for part, name, count in (("train", "train", 5000), ("test", "t10k", 2000)):
        images = _idx(Path(source) / f"{name}-images-idx3-ubyte.gz", 16)[: count * 784]
        means = images.reshape(count, 14, 2, 14, 2).mean(axis=(2, 4))
        arrays[f"{part}_images"] = np.floor(means + 0.5).astype(np.uint8)
        arrays[f"{part}_labels"] = _idx(Path(source) / f"{name}-labels-idx1-ubyte.gz", 8)[:count]
    np.savez_compressed(target, **arrays)
    return _digest(arrays)


def _idx(path, header):
    try:
        return np.frombuffer(gzip.decompress(path.read_bytes()), np.uint8, offset=header)
    except FileNotFoundError as error:
        raise DataError(
            f"{path} is missing: apt install dataset-fashion-mnist (Debian, Ubuntu), or name "
            "the folder of Fashion-MNIST's four .gz files with --source"
        ) from error


def _read_fashion(path):
    cure = (
        f"restore it with `git checkout -- {path.name}` in its folder, or make it anew with "
        "`python -m norms.experiments.data make-fashion`"
    )
    try:
        with np.load(path) as file:
            arrays = {name: file[name] for name in sorted(file.files)}
    except FileNotFoundError as error:
        raise DataError(f"the bundled data {path} is missing: {cure}") from error
    except (OSError, ValueError, EOFError, BadZipFile, zlib.error) as error:
        raise DataError(f"the bundled data {path} cannot be read ({error}): {cure}") from error
    if _digest(arrays) != FASHION_SHA256:
        raise DataError(f"the bundled data {path} has been changed: {cure}")
    images = np.concatenate([arrays["train_images"], arrays["test_images"]])
    return images, np.concatenate([arrays["train_labels"], arrays["test_labels"]])


def _digest(arrays):
    digest = hashlib.sha256()
    for name in sorted(arrays):
        digest.update(name.encode())
        digest.update(np.ascontiguousarray(arrays[name]).tobytes())
    return digest.hexdigest()


def _split(name, pixels, labels, train, validation):
    pixels = torch.tensor(pixels, dtype=torch.float32)
    labels = torch.tensor(labels, dtype=torch.long)
    mean, deviation = pixels[:train].mean(), pixels[:train].std()
    images = (pixels - mean) / deviation
    ends = [slice(0, train), slice(train, train + validation), slice(train + validation, None)]
    parts = [(images[part], labels[part]) for part in ends]
    return Dataset(name, *parts, mean=float(mean), deviation=float(deviation))


def main():
    """Serve the command line."""
    parser = argparse.ArgumentParser(prog="python -m norms.experiments.data")
    parser.add_argument("command", choices=["make-fashion"])
    parser.add_argument("--source", default="/usr/share/datasets/fashion-mnist")
    arguments = parser.parse_args()
    try:
        digest = make_fashion(arguments.source)
    except DataError as error:
        raise SystemExit(str(error)) from None
    print(f"{FASHION}\n{FASHION.stat().st_size:,} bytes, sha256 of the arrays {digest}")


if __name__ == "__main__":
    main()
