"""RMS norm's forms for experiments: of part of the features, and behind a centring."""

import pytest
import torch
from small_nets import F64, shaken
from torch.nn import functional as F
from torch.testing import assert_close

from norms.experiments.models import Centred, PartialRMSNorm, centred_rms_norm


@pytest.mark.parametrize(("channels", "share", "measured"), [(20, 1 / 16, 2), (8, 0.5, 4)])
def test_partial_rms_norm_measures_the_first_features_alone(channels, share, measured):
    layer, x = shaken(PartialRMSNorm(2, channels, share)), torch.randn(2, 5, channels, dtype=F64)
    square = sum(x[..., k : k + 1] ** 2 for k in range(measured)) / measured  # 20 / 16: 2
    assert_close(layer(x), layer.weight * x / (square + 1e-8).sqrt())


def test_a_sixteenth_is_measured_if_nothing_is_said():
    x = torch.randn(2, 5, 32)
    assert_close(PartialRMSNorm(2, 32)(x), PartialRMSNorm(2, 32, 1 / 16)(x))


def test_rms_norm_behind_a_centring_is_layer_norm_without_shift():
    layer = shaken(centred_rms_norm(2, 6, eps=1e-5))
    assert isinstance(layer, Centred)
    x = torch.randn(2, 5, 6, dtype=F64) + 3
    for number in range(2):
        expected = F.layer_norm(x[number], (6,), layer.layer.weight[number, 0])
        assert_close(layer(x)[number], expected)
