"""What a grid of learning rates says beside its best one: which of them work."""

import numpy as np

__all__ = ["working_decades", "working_rates"]


def working_rates(rates, losses, limit):
    """Return the smallest and the largest learning rate whose loss is below a limit.

    Args:
        rates: L learning rates in rising order.
        losses: L numbers, lower ones better; NaN does not work.
        limit: what works lies below it.

    Returns:
        ``smallest, largest``, or None if no rate works.
    """
    good = [rate for rate, loss in zip(rates, losses, strict=True) if loss < limit]
    return (good[0], good[-1]) if good else None


def working_decades(rates, losses, limit):
    """Return how many decades of learning rates work, seed by seed.

    Args:
        rates: L learning rates in rising order.
        losses: (L, S).
        limit: what works lies below it.

    Returns:
        Array (S,) of the decades between the smallest and the largest rate that works, 0 where
        one does or none. The distance of the rates is its resolution.
    """
    ends = [working_rates(rates, seed, limit) or (1, 1) for seed in np.asarray(losses).T]
    return np.array([np.log10(largest / smallest) for smallest, largest in ends])
