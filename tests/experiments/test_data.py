"""The data sets: their parts, the cutting of the text, the shifts of images."""

import math
from itertools import pairwise

import pytest
import torch

from norms.experiments import bundles
from norms.experiments.data import (
    SHIFTS,
    Text,
    brightness,
    contrast,
    digits,
    fashion,
    gaussian_noise,
    inversion,
    sonnets,
)


def test_parts_have_their_sizes_and_do_not_overlap():
    for data, sizes in ((digits(), (1000, 297, 500)), (fashion(), (4000, 1000, 2000))):
        parts = (data.train, data.validation, data.test)
        assert tuple(len(labels) for _, labels in parts) == sizes
        assert all(len(images) == len(labels) for images, labels in parts)
        assert float(data.train[0].mean()) == pytest.approx(0, abs=1e-5)
        assert float(data.train[0].std()) == pytest.approx(1, abs=1e-5)
        assert all(set(labels.tolist()) == set(range(10)) for _, labels in parts)
        assert data.inputs == data.train[0][0].numel()
        assert (data.chance, data.measure) == (10, "accuracy")
    train, validation, test = ({x.numpy().tobytes() for x in p[0]} for p in (
        fashion().train, fashion().validation, fashion().test))  # fmt: skip
    assert len(train & validation) + len(train & test) + len(validation & test) == 0


@pytest.mark.parametrize("count", [500, 1])
def test_fewer_training_images_are_the_first_of_the_same(count):
    whole, few = fashion(), fashion(count)
    for mine, theirs in zip(few.train, whole.train, strict=True):
        assert torch.equal(mine, theirs[:count])
    for part in ("validation", "test"):
        for mine, theirs in zip(getattr(few, part), getattr(whole, part), strict=True):
            assert torch.equal(mine, theirs)
    assert (few.mean, few.deviation) == (whole.mean, whole.deviation)  # those of all 4,000
    assert str(few) == f"Fashion-MNIST: 14x14, {count} train, 1000 validation, 2000 test"


def test_images_keep_their_labels():
    """Each part's images and labels are those of the files, in one order."""
    from sklearn.datasets import load_digits

    bunch, data = load_digits(), digits()
    label_of = {
        image.tobytes(): label for image, label in zip(bunch.images, bunch.target, strict=True)
    }
    for images, labels in (data.train, data.validation, data.test):
        pixels = (16 * (images * data.deviation + data.mean)).round().double().numpy()
        assert [label_of[image.tobytes()] for image in pixels[:, 0]] == labels.tolist()
    images, labels = bundles.read_fashion()
    data = fashion()
    parts = (data.train, data.validation, data.test)
    assert torch.cat([part[1] for part in parts]).tolist() == labels.tolist()
    pixels = 255 * (torch.cat([part[0] for part in parts]) * data.deviation + data.mean)
    assert (pixels[:, 0] - torch.tensor(images)).abs().max() < 0.01


def test_a_data_set_says_what_it_is():
    assert str(digits()) == "digits: 8x8, 1000 train, 297 validation, 500 test"
    assert str(sonnets()).endswith(
        "61 characters, windows of 32: 75690 train, 295 validation, 295 test"
    )


# --- the text


def test_sonnets_are_cut_into_windows_and_what_follows():
    text, whole = sonnets(8), bundles.SONNETS.read_text(encoding="ascii")
    assert len(whole.split("\n\n")) == 154
    assert text.characters == "".join(sorted(set(whole)))
    windows, following = text.train  # a window at every character
    for start in (0, 1, 2, len(windows) - 1):
        assert text.read(windows[start]) == whole[start : start + 8]
        assert text.read(following[start]) == whole[start + 1 : start + 9]
    ends = [int(share * len(whole)) for share in (0.8, 0.9, 1)]
    assert len(windows) + 8 == ends[0]  # the last character that follows is the part's last
    for part, (start, end) in zip((text.validation, text.test), pairwise(ends), strict=True):
        for tokens, first in zip(part, (start, start + 1), strict=True):
            joined = text.read(tokens.flatten())
            assert joined == whole[first : first + len(joined)]  # each character once, in order
            assert end - 8 <= first + len(joined) <= end  # to the end of the part, not beyond
    assert [len(tokens) for tokens, _ in (text.train, text.validation, text.test)] == [
        len(windows), 1183, 1183
    ]  # fmt: skip


def test_guessing_a_character_costs_the_logarithm(text):
    assert (text.classes, text.measure) == (5, "loss")
    assert text.chance == pytest.approx(math.log(5))
    assert text.by_frequency < text.chance
    part = (torch.tensor([[0, 0], [0, 0]]), torch.tensor([[0, 1], [1, 1]]))  # no c follows
    short = Text("short", part, part, part, "abc")
    assert short.by_frequency == pytest.approx(math.log(4) / 4 + 3 * math.log(4 / 3) / 4)


# --- shifts


def test_contrast_keeps_the_mean_of_each_image():
    x = torch.rand(5, 1, 8, 8) * 0.5 + 0.25
    mean = x.mean((1, 2, 3))
    assert torch.allclose(contrast(x, 0.5).mean((1, 2, 3)), mean, atol=1e-6)
    assert torch.allclose(contrast(x, 0.5).std((1, 2, 3)), 0.5 * x.std((1, 2, 3)), atol=1e-6)


def test_light_and_inversion_change_every_pixel_alike():
    x = torch.rand(5, 1, 8, 8) * 0.5 + 0.25
    assert torch.allclose(brightness(x, 0.2), x + 0.2)
    assert torch.allclose(inversion(x), 1 - x)


def test_noise_has_its_deviation_and_can_be_repeated():
    gray = torch.full((50, 1, 8, 8), 0.5)
    assert torch.equal(gaussian_noise(gray, 0.1), gaussian_noise(gray, 0.1))
    assert not torch.equal(gaussian_noise(gray, 0.1), gaussian_noise(gray, 0.1, seed=1))
    assert float((gaussian_noise(gray, 0.1) - 0.5).std()) == pytest.approx(0.1, rel=0.05)


@pytest.mark.parametrize(
    "shift",
    [
        lambda x: contrast(x, 9),
        lambda x: brightness(x, 0.9),
        lambda x: brightness(x, -0.9),
        lambda x: gaussian_noise(x, 2),
        *SHIFTS.values(),
    ],
)
def test_shifted_pixels_stay_between_black_and_white(shift):
    shifted = shift(torch.rand(5, 1, 8, 8))
    assert shifted.shape == (5, 1, 8, 8)
    assert shifted.min() >= 0
    assert shifted.max() <= 1


def test_shifted_images_are_standardised_as_before(images):
    test = images.test[0]
    assert torch.allclose(images.shifted(test, SHIFTS["as trained"]), test, atol=1e-5)
    dark = images.shifted(test, lambda p: 0 * p)
    assert float(dark.mean()) == pytest.approx(-images.mean / images.deviation, rel=1e-5)
