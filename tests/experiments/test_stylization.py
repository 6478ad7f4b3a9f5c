"""Stylization: the crops, the losses, the generators, and that copies do not mix."""

import pytest
import torch
from torch.testing import assert_close

from norms.experiments import stylization
from norms.experiments.stylization import (
    Generator,
    contents,
    equal_contrast,
    features,
    gram,
    losses,
    picture,
    restyled,
    stylization_loss,
    training_of,
    updates_to,
)
from norms.experiments.training import train


@pytest.fixture(scope="module")
def few():
    return contents(train=8, name="few")


def test_crops_come_from_three_places_and_are_numbered(few):
    assert str(few) == "few: 8 train, 48 validation, 48 test"
    numbers = torch.cat([part[1] for part in (few.train, few.validation, few.test)])
    assert numbers.tolist() == list(range(104))
    for crops, _ in (few.train, few.validation, few.test):
        assert crops.shape[1:] == (3, 24, 24)
        assert crops.min() >= 0
        assert crops.max() <= 1
    assert_close(contents(train=8).test[0], few.test[0])  # the same places each time


def test_no_crop_of_one_part_has_a_pixel_of_another(monkeypatch):
    """Each pixel tells where it is: left, or right and above, or right and below."""

    def signposts(name):
        where = torch.zeros(3, 75, 112)
        where[0, :, 67:] = 1
        where[1, 37:] = 1
        return where

    monkeypatch.setattr(stylization, "picture", signposts)
    data = contents(train=40)
    right, below = 0, 1
    assert data.train[0][:, right].max() == 0
    assert data.validation[0][:, right].min() == data.test[0][:, right].min() == 1
    assert data.validation[0][:, below].max() == 0
    assert data.test[0][:, below].min() == 1


def test_crops_of_equal_contrast_have_one_mean_and_one_deviation(few):
    crops = equal_contrast(few.train[0])
    assert_close(crops * 255, (crops * 255).round(), atol=1e-4, rtol=0)
    inside = crops[((crops > 0) & (crops < 1)).flatten(1).all(1)]  # nothing was cut off
    assert len(inside) >= 2
    assert_close(inside.mean((1, 2, 3)), torch.full((len(inside),), 0.45), atol=1e-3, rtol=0)
    assert_close(inside.flatten(1).std(1), torch.full((len(inside),), 0.22), atol=1e-3, rtol=0)
    given = few.train[0].flatten(1)
    assert given.std(1).std() > 0.02


def test_the_gram_matrix_is_the_mean_of_products_over_the_places():
    x = torch.randn(2, 3, 4, 5)
    expected = torch.einsum("nchw,ndhw->ncd", x, x) / 20
    assert_close(gram(x), expected)


def test_a_picture_has_no_distance_from_its_own_style_and_content(few, monkeypatch):
    own = few.test[0][:1]
    monkeypatch.setattr(stylization, "_style", lambda name: [gram(x) for x in features(own)])
    of_style, of_content = losses(own[None], few.test[1][:1], "tissue", few)
    assert_close(of_style, torch.zeros(1, 1))
    assert_close(of_content, torch.zeros(1, 1))
    other = few.test[0][None, 1:2]
    of_style, of_content = losses(other, few.test[1][:1], "tissue", few)
    assert of_style > 0.01
    assert of_content > 0.01


def test_the_loss_is_that_of_the_style_and_a_share_of_the_contents(few):
    outputs = torch.rand(2, 5, 3, 24, 24)
    numbers = few.train[1][:5]
    of_style, of_content = losses(outputs, numbers, "gravel", few)
    expected = torch.zeros(2, 5)
    for r in range(2):  # written out, picture by picture
        for n in range(5):
            mine, theirs = features(outputs[r, n : n + 1]), features(few.train[0][n : n + 1])
            style = features(picture("gravel")[None, :, :128, :128])
            for x, s in zip(mine, style, strict=True):
                expected[r, n] += (gram(x) - gram(s)).square().sum() / gram(s).square().sum()
            content = (mine[1] - theirs[1]).square().mean() / few.features.square().mean()
            expected[r, n] += 0.3 * content
    assert_close(of_style + 0.3 * of_content, expected, rtol=1e-4, atol=1e-5)
    assert_close(stylization_loss(outputs, numbers, "gravel", few), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("norm", ["none", "batch", "layer", "group", "instance"])
def test_a_generator_of_copies_is_so_many_generators(norm):
    x = torch.rand(3, 2, 3, 24, 24)
    whole = Generator(norm, [5, 6, 7])(x)
    assert whole.shape == x.shape
    assert whole.min() > 0
    assert whole.max() < 1
    for number, seed in enumerate((5, 6, 7)):
        alone = Generator(norm, [seed])(x[number : number + 1])
        assert_close(whole[number : number + 1], alone, rtol=1e-4, atol=1e-5)


def test_a_generator_takes_pictures_of_any_even_size():
    assert Generator("instance", [0])(torch.rand(1, 1, 3, 40, 30)).shape == (1, 1, 3, 40, 30)


def test_a_generator_learns_its_style_and_copies_keep_apart(few):
    how = training_of("gravel", few, steps=12)
    rates = {"learning_rates": [0.01], "parts": ["test"]}
    both = train(lambda seeds: Generator("instance", seeds), seeds=[3, 4], **rates, **how)
    one = train(lambda seeds: Generator("instance", seeds), seeds=[4], **rates, **how)
    assert both.loss[-3:].mean() < 0.7 * both.loss[:1].mean()
    assert_close(both.loss[:, 0, 1], one.loss[:, 0, 0], rtol=1e-3, atol=1e-4)


def test_restyled_crops_share_a_style(few):
    def spread(crops):
        styles = gram(features(crops)[0]).flatten(1)
        return (
            (styles - styles.mean(0)).square().sum(1).mean() / styles.square().sum(1).mean()
        ).item()

    crops = few.train[0]
    changed = restyled(crops, steps=60)
    assert changed.shape == crops.shape
    assert spread(changed) < 0.5 * spread(crops)


def test_updates_are_counted_to_the_end_of_the_first_window_below_the_level():
    losses = torch.tensor([[4.0, 4, 2, 2, 1, 1], [4, 4, 4, 4, 4, 4], [0, 9, 9, 1, 1, 1]]).T
    level = torch.tensor([2.5, 3.0, 5.0])
    assert updates_to(losses, level, window=2).tolist() == [4, 6, 2]
    assert updates_to(losses, level, window=1).tolist() == [3, 6, 1]
