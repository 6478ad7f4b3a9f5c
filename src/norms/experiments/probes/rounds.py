"""Power iteration cold and warm, a gradient without sigma, and what is left behind linear layers."""

import numpy as np
import torch

from norms.spectral_norm import spectral_norm_forward

__all__ = ["cold_and_warm", "settle", "signal_behind"]


def cold_and_warm(seeds, rounds=100, size=64, change=0.01):
    """Measure how far power iteration falls short of the largest singular value, round by round.

    Args:
        seeds: S integers, each of a random weight, a random start and the changes.
        rounds: K.
        size: of the square weight.
        change: added to the weight after each round of the warm iteration, as a share of its size.

    Returns:
        Two arrays (K, S) of what the estimate lacks, in percent: all rounds on one weight; and one
        round on each of K weights, with the vector kept.
    """
    found = [_one(np.random.default_rng(seed), rounds, size, change) for seed in seeds]
    return tuple(np.array(way).T for way in zip(*found, strict=True))


def _one(rng, rounds, size, change):
    weight, start = rng.normal(size=(size, size)), rng.normal(size=size)
    changes = change * rng.normal(size=(rounds, size, size))
    moving = weight + np.concatenate([np.zeros_like(changes[:1]), changes[:-1].cumsum(0)])
    return [_lacking(weights, start) for weights in (np.stack([weight] * rounds), moving)]


def _lacking(weights, u):
    estimates = []
    for weight in weights:
        _, (_, u, _, sigma) = spectral_norm_forward(weight, u)
        estimates.append(sigma)
    return 100 * (1 - estimates / np.linalg.norm(weights, 2, axis=(1, 2)))


def settle(backward, scale, seeds, steps=400, rate=0.1, size=8):
    r"""Let a weight with spectral norm learn a rotation times a scale, by plain descent.

    The loss is :math:`\lVert \bar W - c\, Q \rVert^2 / 2`.

    Args:
        backward: maps the gradient by the normed weight, and the cache of
            :func:`norms.spectral_norm.spectral_norm_forward`, to that by the weight.
        scale: c.
        seeds: S integers, each of a rotation Q and a first weight.
        steps: of the descent.
        rate: of learning.
        size: of the square weight.

    Returns:
        Three arrays (S,): the squared error and sigma, means of the last eighth of the steps, and the
        largest sigma of these over the smallest.
    """
    ends = []
    for seed in seeds:
        rng = np.random.default_rng(seed)
        target = scale * np.linalg.qr(rng.normal(size=(size, size)))[0]
        w, u, seen = rng.normal(size=(size, size)) / size**0.5, np.ones(size), []
        for _ in range(steps):
            w_bar, cache = spectral_norm_forward(w, u)
            u, gradient = cache[1], w_bar - target
            seen.append(((gradient**2).sum(), cache[3]))
            w = w - rate * backward(gradient, cache)
        late = np.array(seen[-steps // 8 :])
        ends.append([*late.mean(0), late[:, 1].max() / late[:, 1].min()])
    return tuple(np.array(ends).T)


def signal_behind(seeds, gain=1.0, even=False, depth=10, size=64):
    """Return how much of a random signal is left behind linear layers with spectral norm, (S,).

    Args:
        seeds: S integers, each of a signal and of the weights.
        gain: by which every normed weight is multiplied.
        even: whether the weights are orthonormal, so that all singular values are equal; else they
            are normal numbers.
        depth: number of the layers.
        size: of the square weights.
    """
    left = []
    for seed in seeds:
        generator = torch.Generator().manual_seed(seed)
        x = torch.randn(size, 500, generator=generator)
        for _ in range(depth):
            w = torch.randn(size, size, generator=generator)
            w = torch.linalg.qr(w)[0] if even else w
            x = gain * w / torch.linalg.matrix_norm(w, 2) @ x
        left.append(x.square().mean().sqrt().item())
    return np.array(left)
