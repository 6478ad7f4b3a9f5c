"""Instruments. None of them changes what it looks at: modes, buffers, random numbers."""

from norms.experiments.probes.layers import (
    jacobian_blocks,
    norms_after_linear,
    rotations,
    rounding_error,
    weight_gradient_cosine,
)
from norms.experiments.probes.rates import working_decades, working_rates
from norms.experiments.probes.sequences import (
    Stream,
    constant_share,
    loss_by_place,
    state_sizes,
    stream,
)
from norms.experiments.probes.signals import (
    Signals,
    dead,
    rms,
    saturated,
    signals,
    squared_growth,
    update_ratios,
)
from norms.experiments.probes.statistics import (
    DriftMeter,
    answers_changed_by_batch,
    jitter,
    shifted_errors,
    three_statistics,
)

__all__ = [
    "DriftMeter",
    "Signals",
    "Stream",
    "answers_changed_by_batch",
    "constant_share",
    "dead",
    "jacobian_blocks",
    "jitter",
    "loss_by_place",
    "norms_after_linear",
    "rms",
    "rotations",
    "rounding_error",
    "saturated",
    "shifted_errors",
    "signals",
    "squared_growth",
    "state_sizes",
    "stream",
    "three_statistics",
    "update_ratios",
    "weight_gradient_cosine",
    "working_decades",
    "working_rates",
]
