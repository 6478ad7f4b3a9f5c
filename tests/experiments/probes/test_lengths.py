"""The lengths of directions, by a second way: weights kept before and after each update."""

from functools import partial

import pytest
import torch
from small_nets import mlp
from torch.testing import assert_close

from norms.experiments.models import stored_weight
from norms.experiments.probes.lengths import growth_by_pythagoras, lengths
from norms.experiments.training import seeded, train

HOW = {"learning_rates": [0.1, 0.3], "seeds": [0, 1], "steps": 6, "batch_size": 16, "parts": []}


def watched(images, norm="weight", **options):
    kept = []

    def both(step, model, updates):
        kept.append([stored_weight(layer).detach().double() for layer in model.layers])
        return lengths(step, model, updates)

    history = train(partial(seeded, mlp, norm=norm), images, watch=both, **HOW | options)
    return torch.stack(history.watched), kept


@pytest.mark.parametrize("norm", ["weight", "none"])
def test_lengths_and_changes_are_those_of_the_weights(images, norm):
    seen, kept = watched(images, norm, weight_decay=0.1)
    assert seen.shape == (6, 3, 4)
    for now, before, row in zip(kept[1:], kept, seen[1:], strict=False):
        square = sum(w.square().sum((1, 2)) for w in now)
        moved = sum((w - b).square().sum((1, 2)) for w, b in zip(now, before, strict=True))
        shorter = torch.cat(
            [w.norm(dim=1) < b.norm(dim=1) * (1 - 1e-6) for w, b in zip(now, before, strict=True)],
            1,
        )
        assert_close(row[0], square)
        assert_close(row[1], moved, rtol=1e-3, atol=0)
        assert_close(row[2], shorter.double().mean(1), atol=0.05, rtol=0)
        assert shorter.any()


def test_plain_descent_grows_by_pythagoras_and_momentum_faster(images):
    seen, _ = watched(images)
    growth = growth_by_pythagoras(seen)
    assert growth.shape == (5, 4)
    assert_close(growth, torch.ones_like(growth), atol=0.01, rtol=0)
    assert not seen[:, 2].any()
    seen, kept = watched(images, momentum=0.9)
    growth = growth_by_pythagoras(seen)
    assert (growth[-1] > 2).all()
    squares = [sum(w.square().sum((1, 2)) for w in now) for now in (kept[0], kept[-1])]
    moved = sum(row[1] for row in seen[1:])
    assert_close(growth[-1], (squares[1] - squares[0]) / moved, rtol=1e-3, atol=0)


def test_decay_shortens(images):
    seen, _ = watched(images, weight_decay=0.1)
    assert seen[1:, 2].mean() > 0.5
