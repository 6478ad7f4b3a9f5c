"""Real data, bundled and offline, in a training, a validation and a test part.

Learning rates are chosen on the validation part; the test part is looked at once.
"""

from dataclasses import dataclass

import numpy as np
import torch

__all__ = ["Dataset", "digits"]


@dataclass(frozen=True)
class Dataset:
    """Images (N, 1, H, W) standardised by the training part's mean and deviation."""

    name: str
    train: tuple[torch.Tensor, torch.Tensor]
    validation: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]
    classes: int = 10

    @property
    def chance(self):
        """Accuracy of guessing, in percent."""
        return 100 / self.classes

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
    return _split("digits", bunch.images[:, None], bunch.target, train=1000, validation=297)


def _split(name, images, labels, train, validation):
    order = np.random.default_rng(0).permutation(len(labels))
    images = torch.tensor(images[order], dtype=torch.float32)
    labels = torch.tensor(labels[order], dtype=torch.long)
    images = (images - images[:train].mean()) / images[:train].std()
    parts = [slice(0, train), slice(train, train + validation), slice(train + validation, None)]
    return Dataset(name, *[(images[part], labels[part]) for part in parts])
