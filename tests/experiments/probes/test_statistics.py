"""What depends on a batch's statistics: drift, lag, the other samples, shifted images."""

import copy
from functools import partial

import pytest
import torch
from small_nets import build, cnn, mlp
from torch.testing import assert_close

from norms.experiments import probes
from norms.experiments.data import SHIFTS
from norms.experiments.evaluation import evaluate, predict, reestimate
from norms.experiments.models import noisy_norm
from norms.experiments.training import train


@pytest.fixture(scope="module")
def runs(images):
    """Train two copies without a norm and with batch norm for 60 steps."""
    return {
        norm: train(
            build(mlp, norm), images, learning_rates=[0.1], seeds=[0, 1], steps=60, batch_size=32
        )
        for norm in ("none", "batch")
    }


# --- drift


@pytest.mark.parametrize("net", [mlp, cnn], ids=["mlp", "cnn"])
def test_drift_is_the_change_of_means_in_deviations(net, images):
    model, x = net(norm="batch", seeds=[3, 5]), images.train[0][:64]
    y = images.train[1][:64]
    meter, both = probes.DriftMeter(x, 1), probes.DriftMeter(x, [0, 1])
    before = probes.signals(model, x, y).pre
    assert meter(0, model, None) is None
    assert both(0, model, None) is None
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
    after = probes.signals(model, x, y).pre
    expected = []
    for old, new in zip(before, after, strict=True):
        moved = (new.mean(1) - old.mean(1)).abs() / new.std(1).clamp_min(1e-6)
        expected.append(moved.flatten(1).mean(1))
    assert_close(meter(1, model, None), expected[1])
    assert_close(both(1, model, None), torch.stack(expected))
    assert_close(meter(2, model, None), torch.zeros(2), atol=1e-6, rtol=0)  # from one to the next


def test_noise_behind_a_norm_makes_its_output_drift_again(images):
    drifts = []
    for norm, layer in ((noisy_norm, 0), ("batch", [0, 1])):
        run = train(
            build(mlp, norm), images, learning_rates=[0.1], seeds=[0, 1], steps=5, batch_size=32,
            watch=probes.DriftMeter(images.train[0][:64], layer),
        )  # fmt: skip
        drifts.append(torch.stack(run.watched))
    assert drifts[0].shape == (4, 2)
    assert drifts[1].shape == (4, 2, 2)  # steps, layers, copies
    assert drifts[0].mean() > 0.1 > drifts[1].mean()


# --- the other samples


def test_answers_without_batch_norm_do_not_depend_on_the_others(runs, images):
    ask = partial(probes.answers_changed_by_batch, images=images.test[0], sizes=(2, 100), count=200)
    alone, among = (ask(runs[norm].model) for norm in ("none", "batch"))
    assert all((share == 0).all() for share in alone.values())
    assert among[2].shape == (2,)
    assert among[2].min() > among[100].max() > 0


def test_changed_answers_are_counted_image_by_image(runs, images):
    """In the batches of both draws, each asked by itself; what is left out is not counted."""
    model, x = runs["batch"].model, images.test[0]
    found = probes.answers_changed_by_batch(model, x, sizes=(8,), count=50)[8]
    answers = []
    for draw in (0, 1):
        order = torch.randperm(50, generator=torch.Generator().manual_seed(draw))
        given = {}
        for batch in order[:48].split(8):
            for image, answer in zip(
                batch.tolist(), predict(model, x[batch], "batch").argmax(-1).T.tolist(), strict=True
            ):
                given[image] = answer
        answers.append(given)
    both = answers[0].keys() & answers[1].keys()
    for number in (0, 1):
        differ = sum(answers[0][image][number] != answers[1][image][number] for image in both)
        assert found[number] == pytest.approx(100 * differ / len(both))
    assert found.min() > 0


def test_jitter_follows_the_curve_of_large_batches(images):
    near = (0, 2)
    seen = probes.jitter(images.train[0], 64, 0, near, draws=200)
    for value, jitter in zip(near, seen, strict=True):
        assert jitter == pytest.approx(((1 + value**2 / 2) / 64) ** 0.5, rel=0.15)


def test_jitter_can_be_repeated_and_shrinks_with_the_batch(images):
    ask = partial(probes.jitter, images.train[0][:200], near=(0,), units=20, draws=50)
    assert ask(8, 0) == ask(8, 0) != ask(8, 1)
    assert ask(8, 0)[0] > 2 * ask(64, 0)[0]


# --- which statistics


def test_three_statistics_are_three_evaluations(runs, images):
    model, (x, y) = runs["batch"].model, images.test
    errors = probes.three_statistics(model, images, batch_size=100, images=500)
    assert list(errors) == ["running", "batch", "re-estimated"]
    assert errors["running"] == pytest.approx(100 - runs["batch"].test[-1, 0].numpy())
    batch = evaluate(model, x, y, statistics="batch", batch_size=100)
    assert errors["batch"] == pytest.approx(100 - batch.numpy())
    mended = evaluate(reestimate(copy.deepcopy(model), images.train[0][:500], 100), x, y)
    assert errors["re-estimated"] == pytest.approx(100 - mended.numpy())


def test_statistics_of_shifted_images_mend_a_change_of_contrast(runs, images):
    models = [runs[norm].model for norm in ("batch", "none")]
    found = probes.shifted_errors(SHIFTS["contrast ¼"], images, *models)
    assert list(found) == ["frozen", "16 images", "64 images", "no norm"]
    assert (found["64 images"] < found["frozen"] - 5).all()
    same = probes.shifted_errors(SHIFTS["as trained"], images, *models)
    assert torch.equal(same["frozen"], 100 - evaluate(models[0], *images.test))


def test_each_copy_sees_shifted_validation_images_of_its_own(runs, images):
    model, shift = runs["batch"].model, SHIFTS["contrast ¼"]
    found = probes.shifted_errors(shift, images, model, model, counts=(3,))["3 images"]
    pool = images.shifted(images.validation[0][:6], shift)
    for number, own in enumerate(pool.split(3)):
        renewed = reestimate(copy.deepcopy(model), own)
        accuracy = evaluate(renewed, images.shifted(images.test[0], shift), images.test[1])
        assert found[number] == 100 - accuracy[number]
