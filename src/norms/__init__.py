"""Seven norms, each derived, built and tested: stand-ins for PyTorch's own layers."""

from norms.batch_norm import BatchNorm1d, BatchNorm2d, BatchNorm3d
from norms.group_norm import GroupNorm
from norms.instance_norm import InstanceNorm1d, InstanceNorm2d, InstanceNorm3d
from norms.layer_norm import LayerNorm
from norms.rms_norm import RMSNorm
from norms.spectral_norm import spectral_norm
from norms.weight_norm import weight_norm

__all__ = [
    "BatchNorm1d",
    "BatchNorm2d",
    "BatchNorm3d",
    "GroupNorm",
    "InstanceNorm1d",
    "InstanceNorm2d",
    "InstanceNorm3d",
    "LayerNorm",
    "RMSNorm",
    "spectral_norm",
    "weight_norm",
]
