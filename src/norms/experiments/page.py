"""How every page begins."""

import os

import torch

from norms.experiments.training import seeds
from norms.plots import use_style

__all__ = ["begin"]


def begin():
    """Set the style of the figures, the seed of torch's random numbers, and one thread.

    Sums are then taken in the same order on every run, so a machine repeats a page exactly, and
    many small operations are faster so. ``NORMS_THREADS`` and ``NORMS_SEED_BASE`` try a page on
    other threads and other seeds.
    """
    use_style()
    torch.manual_seed(seeds(1)[0])
    torch.set_num_threads(int(os.environ.get("NORMS_THREADS", "1")))
