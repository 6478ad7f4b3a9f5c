"""One norm is another in disguise: the identities between norms, and with their neighbours."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval
from torch.testing import assert_close

import norms

F64 = torch.float64


def trained(layer, x):
    """Give a batch norm random gain and shift and running statistics, then switch to evaluation."""
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    for _ in range(3):
        layer(3 + 2 * torch.randn_like(x))
    return layer.eval()


@pytest.mark.parametrize("shape", [(1, 3, 7), (1, 3, 5, 6), (1, 3, 2, 3, 4)], ids=str)
def test_batch_norm_of_one_sample_is_instance_norm(shape):
    layer = getattr(norms, f"BatchNorm{len(shape) - 2}d")(3, dtype=F64)
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    x, dy = torch.randn(shape, dtype=F64, requires_grad=True), torch.randn(shape, dtype=F64)
    expected = F.instance_norm(x, weight=layer.weight, bias=layer.bias, eps=layer.eps)
    y = layer(x)
    assert_close(y, expected, rtol=1e-11, atol=1e-12)
    leaves = (x, layer.weight, layer.bias)
    for ours, theirs in zip(
        torch.autograd.grad(y, leaves, dy), torch.autograd.grad(expected, leaves, dy), strict=True
    ):
        assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def test_batch_norm_in_evaluation_folds_into_the_linear_before_it():
    """W' = gamma W / sqrt(var + eps), b' = gamma (b - mean) / sqrt(var + eps) + beta."""
    x = torch.randn(6, 4, dtype=F64)
    linear = nn.Linear(4, 3, dtype=F64)
    layer = trained(norms.BatchNorm1d(3, dtype=F64), linear(x))
    scale = layer.weight / (layer.running_var + layer.eps).sqrt()
    bias = scale * (linear.bias - layer.running_mean) + layer.bias
    assert_close(F.linear(x, scale[:, None] * linear.weight, bias), layer(linear(x)))
    assert_close(fuse_linear_bn_eval(linear.eval(), layer)(x), layer(linear(x)))


def test_batch_norm_in_evaluation_folds_into_the_convolution_before_it():
    x = torch.randn(2, 4, 6, 6, dtype=F64)
    convolution = nn.Conv2d(4, 3, 3, bias=False, dtype=F64)
    layer = trained(norms.BatchNorm2d(3, dtype=F64), convolution(x))
    scale = layer.weight / (layer.running_var + layer.eps).sqrt()
    folded = F.conv2d(
        x, scale[:, None, None, None] * convolution.weight, layer.bias - scale * layer.running_mean
    )
    assert_close(folded, layer(convolution(x)))
    assert_close(fuse_conv_bn_eval(convolution.eval(), layer)(x), layer(convolution(x)))
