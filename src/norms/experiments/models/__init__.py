"""Small networks that train many copies at once: one copy a seed and learning rate.

A copy is an independent network. The copies of a layer share one tensor with a leading factor
R, so that one matrix product or one grouped convolution trains all of them; their weights,
batches and statistics never mix. Copies with the same seed start from the same weights in
every arm of an experiment.

Features of R copies are (R, N, C), and their maps (N, R*C, H, W). A sequence of T tokens is T
rows of features: (R, N*T, C).

A norm has two seats in a network: behind a layer, where it gets the layer's output, and on the
layer's weight. :data:`NORMS` says which of them each norm takes.
"""

from norms.experiments.models.copies import ACTIVATIONS, Conv, Linear
from norms.experiments.models.nets import CNN, MLP, RNN
from norms.experiments.models.seats import (
    NORMS,
    GainPerCopy,
    MapsOfOneSample,
    behind_layer,
    on_weight,
    stored_weight,
)
from norms.experiments.models.transformer import (
    PLACEMENTS,
    Attention,
    FeedForward,
    Residual,
    Transformer,
)
from norms.experiments.models.variants.batch_norm import (
    DetachedNorm,
    DriftingNoise,
    FeatureBatchNorm,
    MicroBatchNorm1d,
    MicroBatchNorm2d,
    noisy_norm,
)
from norms.experiments.models.variants.rms_norm import Centred, PartialRMSNorm, centred_rms_norm

__all__ = [
    "ACTIVATIONS",
    "CNN",
    "MLP",
    "NORMS",
    "PLACEMENTS",
    "RNN",
    "Attention",
    "Centred",
    "Conv",
    "DetachedNorm",
    "DriftingNoise",
    "FeatureBatchNorm",
    "FeedForward",
    "GainPerCopy",
    "Linear",
    "MapsOfOneSample",
    "MicroBatchNorm1d",
    "MicroBatchNorm2d",
    "PartialRMSNorm",
    "Residual",
    "Transformer",
    "behind_layer",
    "centred_rms_norm",
    "noisy_norm",
    "on_weight",
    "stored_weight",
]
