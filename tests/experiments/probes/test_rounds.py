"""The probes of power iteration do what the paper's algorithm does, on weights that are known."""

import numpy as np
import pytest

from norms.experiments.probes.rounds import cold_and_warm, settle, signal_behind
from norms.spectral_norm import spectral_norm_backward


def test_the_first_weight_is_the_same_and_a_weight_that_stays_is_as_a_cold_start():
    cold, warm = cold_and_warm(range(3), rounds=5, size=6)
    assert cold.shape == warm.shape == (5, 3)
    np.testing.assert_array_equal(cold[0], warm[0])
    assert (cold[1:] != warm[1:]).all()
    still, same = cold_and_warm(range(3), rounds=5, size=6, change=0)
    np.testing.assert_array_equal(still, same)
    np.testing.assert_array_equal(still, cold)


def test_it_falls_short_by_what_one_iteration_of_algorithm_1_lacks():
    cold, warm = cold_and_warm([4], rounds=2, size=6)
    rng = np.random.default_rng(4)
    weight, u = rng.normal(size=(6, 6)), rng.normal(size=6)
    change = 0.01 * rng.normal(size=(2, 6, 6))[0]
    v = weight.T @ u / np.linalg.norm(weight.T @ u)
    estimate = np.linalg.norm(weight @ v)
    assert cold[0, 0] == pytest.approx(100 * (1 - estimate / np.linalg.svd(weight)[1][0]))
    weight, u = weight + change, weight @ v
    v = weight.T @ u / np.linalg.norm(weight.T @ u)
    estimate = np.linalg.norm(weight @ v)
    assert warm[1, 0] == pytest.approx(100 * (1 - estimate / np.linalg.svd(weight)[1][0]))


def test_a_cold_start_reaches_the_goal_and_a_moving_goal_is_followed():
    cold, warm = cold_and_warm(range(4), rounds=400, size=8, change=0.003)
    assert (cold > -1e-10).all()
    assert (np.diff(cold, axis=0) < 1e-10).all()
    assert cold[-1].max() < 1e-4
    assert 0 < warm[200:].mean() < 0.1


def test_the_gradient_settles_where_one_singular_value_stays_1():
    """Targets of singular values 1/2: all can be reached but one, which costs (1 - 1/2)^2."""
    errors, sizes, swings = settle(spectral_norm_backward, 0.5, range(3))
    assert errors == pytest.approx(0.25, rel=1e-3)
    assert swings == pytest.approx(1, abs=1e-3)
    assert ((sizes > 0.5) & (sizes < 5)).all()


def test_a_weight_that_is_not_moved_stays():
    errors, sizes, swings = settle(lambda dy, _: 0 * dy, 2, [7], steps=400)
    rng = np.random.default_rng(7)
    target = 2 * np.linalg.qr(rng.normal(size=(8, 8)))[0]
    w = rng.normal(size=(8, 8)) / 8**0.5
    largest = np.linalg.norm(w, 2)
    assert sizes == pytest.approx(largest)
    assert swings == pytest.approx(1)
    assert errors == pytest.approx(((w / largest - target) ** 2).sum())
    assert target @ target.T == pytest.approx(4 * np.eye(8))


def test_the_late_steps_count_and_the_rate_is_that_of_a_step():
    def moved(gradient, cache):
        seen.append(cache[3])
        return gradient

    seen = []
    _, sizes, swings = settle(moved, 1, [2], steps=16, rate=0.2, size=4)
    assert len(seen) == 16
    assert sizes[0] == pytest.approx(np.mean(seen[-2:]))
    assert swings[0] == pytest.approx(max(seen[-2:]) / min(seen[-2:]))
    again = []
    settle(lambda dy, cache: again.append(cache[3]) or dy, 1, [2], steps=16, rate=0.1, size=4)
    assert again[0] == seen[0]
    assert again[1] != seen[1]


def test_orthonormal_weights_keep_a_signal_and_a_gain_multiplies_it():
    kept = signal_behind(range(3), even=True, depth=4, size=16)
    assert kept == pytest.approx(1, abs=0.05)  # the size of 16 * 500 normal numbers
    assert len(set(kept)) == 3
    assert signal_behind(range(3), gain=3, even=True, depth=4, size=16) == pytest.approx(81 * kept)


def test_a_random_square_weight_of_norm_1_keeps_about_half():
    """The semicircle: squares of singular values are a quarter of the first one's on average."""
    one, two = (signal_behind(range(4), depth=depth, size=200) for depth in (1, 2))
    assert one == pytest.approx(0.5, abs=0.05)
    assert two == pytest.approx(0.25, abs=0.05)
