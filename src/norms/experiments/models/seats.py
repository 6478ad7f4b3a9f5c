"""Where a norm sits in a network of R copies: behind a layer, or on the layer's weight."""

import torch
from torch import nn
from torch.nn.utils import parametrize

from norms import BatchNorm2d, GroupNorm, InstanceNorm2d, LayerNorm, RMSNorm
from norms.experiments.models.variants.batch_norm import (
    FeatureBatchNorm,
    MicroBatchNorm1d,
    MicroBatchNorm2d,
    over_the_batch,
)
from norms.experiments.models.variants.spectral_norm import OfSingularValue
from norms.experiments.models.variants.weight_norm import weight_norm_of_copies
from norms.moments import StandardizeAffine

__all__ = [
    "NORMS",
    "GainPerCopy",
    "MapsOfOneSample",
    "behind_layer",
    "on_weight",
    "stored_weight",
]


class GainPerCopy:
    """Make a norm of (..., C) that learns a gain (and a shift) for each copy, on (R, N, C).

    Args:
        layer: the norm, called with C and the options.
    """

    def __init__(self, layer):
        self.layer = layer

    def __call__(self, copies, channels, **options):
        """Return the norm of R copies."""
        norm = self.layer(channels, **options)
        for name, parameter in list(norm.named_parameters()):
            each = parameter.detach().expand(copies, 1, channels).clone()
            setattr(norm, name, nn.Parameter(each))
        return norm


class MapsOfOneSample(nn.Module):
    """Normalize the maps of each sample of each copy over C, H, W, with a gain a channel.

    Layer norm of images, which is group norm with one group; without ``centre`` RMS norm.

    Args:
        copies: R.
        channels: C; the input is (N, R*C, H, W).
        eps: added to the variance, inside the root.
        centre: subtract the mean and learn a shift.
    """

    def __init__(self, copies, channels, eps=1e-5, centre=True):
        super().__init__()
        self.shape, self.eps, self.centre = (copies, channels), eps, centre
        self.weight = nn.Parameter(torch.ones(copies, channels, 1, 1))
        self.bias = nn.Parameter(torch.zeros(copies, channels, 1, 1)) if centre else None

    def forward(self, x):
        maps = x.unflatten(1, self.shape)  # (N, R, C, H, W)
        axes = (2, 3, 4)
        y = StandardizeAffine.apply(maps, self.weight, self.bias, axes, self.eps, self.centre)[0]
        return y.flatten(1, 2)


def _rms_of_maps(copies, channels, eps=None):
    eps = torch.finfo(torch.float32).eps if eps is None else eps  # as RMSNorm's
    return MapsOfOneSample(copies, channels, eps, centre=False)


def _maps_by_themselves(copies, channels, affine=True, **options):
    return InstanceNorm2d(copies * channels, affine=affine, **options)


def _groups_of_maps(copies, channels, num_groups=4, **options):
    return GroupNorm(copies * num_groups, copies * channels, **options)  # no group has two copies


# The seats that each norm takes, and what makes it there. Behind a layer: "features" (R, N, C) and
# "maps" (N, R*C, H, W), each called with R, C and the options. On a layer's weight: "weight",
# called with the layer and the options; it returns a parametrization of torch. The keys are those
# of norms.names.
NORMS = {
    "none": {},
    "batch": {
        "features": over_the_batch(FeatureBatchNorm, MicroBatchNorm1d),
        "maps": over_the_batch(BatchNorm2d, MicroBatchNorm2d),
    },
    "layer": {"features": GainPerCopy(LayerNorm), "maps": MapsOfOneSample},
    "rms": {"features": GainPerCopy(RMSNorm), "maps": _rms_of_maps},
    "instance": {"maps": _maps_by_themselves},
    "group": {"maps": _groups_of_maps},
    "weight": {"weight": weight_norm_of_copies},
    "spectral": {"weight": OfSingularValue},
}


def behind_layer(norm, copies, channels, kind="features", **options):
    """Make the norm that stands between a layer of R copies and its activation.

    Args:
        norm: a key of :data:`NORMS`; or a dictionary like its entries; or a function like those
            of "features", for a layer of your own: ``norm(copies, channels, **options)``.
        copies: R.
        channels: C, of one copy.
        kind: "features" for (R, N, C), "maps" for (N, R*C, H, W); in and out.
        **options: passed to the norm.

    Returns:
        A module; ``nn.Identity`` for a norm that does not stand here.

    Raises:
        ValueError: there is no such norm, or it does not serve that kind.
    """
    seats = _seats(norm)
    if kind in seats or callable(norm):
        return (seats.get(kind) or norm)(copies, channels, **options)
    if seats.keys() & {"features", "maps"}:
        raise ValueError(f"norm {norm!r} has no form for {kind}; it has {', '.join(seats)}")
    return nn.Identity()


def on_weight(norm, layer, **options):
    """Let a norm act on the weight of a layer of R copies, if that is where it sits.

    Args:
        norm: as for :func:`behind_layer`.
        layer: a module with a parameter ``weight``.
        **options: passed to the norm.

    Returns:
        The layer.
    """
    make = _seats(norm).get("weight")
    if make is not None:
        parametrize.register_parametrization(layer, "weight", make(layer, **options))
    return layer


def stored_weight(layer):
    """Return the parameter behind a layer's weight: the one that the optimizer moves.

    That is the weight itself without a norm on it, and v where the weight is made of a length g
    and a direction v.
    """
    if not parametrize.is_parametrized(layer, "weight"):
        return layer.weight
    originals = dict(layer.parametrizations.weight.named_parameters(recurse=False))
    return originals.get("original", originals.get("original1"))  # g is original0


def _seats(norm):
    if isinstance(norm, dict):
        return norm
    if callable(norm):
        return {}
    if norm not in NORMS:
        raise ValueError(f"there is no norm {norm!r}; NORMS has {', '.join(NORMS)}")
    return NORMS[norm]
