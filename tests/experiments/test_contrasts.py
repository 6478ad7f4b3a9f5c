"""Images on black, and classes that are contrasts."""

import pytest
import torch
from torch.testing import assert_close

from norms.experiments.contrasts import by_contrast, on_black
from norms.experiments.data import digits, fashion

PARTS = ("train", "validation", "test")


@pytest.mark.parametrize(("data", "levels"), [(digits(), 16), (fashion(), 255)])
def test_on_black_the_pixels_are_exact_multiples_and_black_is_zero(data, levels):
    black = on_black(data)
    assert (black.mean, black.deviation, black.chance) == (0.0, data.deviation, 10)
    for part in PARTS:
        images, labels = getattr(black, part)
        before, same = getattr(data, part)
        assert torch.equal(labels, same)
        assert images.dtype == torch.float32
        assert images.shape == before.shape
        assert images.min() == 0
        steps = images.double() * data.deviation * levels
        assert_close(steps, steps.round(), atol=1e-4, rtol=0)
        assert_close(images - data.mean / data.deviation, before, atol=1e-5, rtol=0)


def test_a_factor_is_a_contrast():
    black = on_black(digits())
    images = black.test[0]
    assert_close(black.shifted(images, lambda pixels: 0.5 * pixels), 0.5 * images)


def test_by_contrast_each_image_stands_there_once_at_each_level():
    black = on_black(digits())
    graded = by_contrast(black, levels=(0.5, 1.0, 3.0))
    assert (graded.classes, graded.mean, graded.deviation) == (3, 0.0, black.deviation)
    for part in PARTS:
        (images, labels), (each, classes) = getattr(black, part), getattr(graded, part)
        assert torch.equal(
            classes, torch.tensor([0, 1, 2]).repeat(len(labels))
        )  # lists would be told whole
        for k, level in enumerate((0.5, 1.0, 3.0)):
            assert torch.equal(each[k::3], level * images)


def test_the_contrasts_of_the_book_are_a_quarter_to_two():
    graded = by_contrast(on_black(digits()))
    assert graded.classes == 4
    sizes = graded.test[0][:4].flatten(1).norm(dim=1)
    assert_close(sizes / sizes[2], torch.tensor([0.25, 0.5, 1.0, 2.0]))
