"""One norm is another in disguise: the identities between norms, and with their neighbours."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import fuse_conv_bn_eval, fuse_linear_bn_eval, parametrize
from torch.testing import assert_close
from twins import F64, shake, twins

import norms

every_batch_of_maps = pytest.mark.parametrize(
    "shape", [(4, 3, 5), (4, 3, 5, 6), (2, 3, 4, 5, 2)], ids=str
)


def assert_equal_forward_and_back(y, expected, leaves):
    """Compare two outputs and, with a random upstream gradient, those of all leaves."""
    assert_close(y, expected, rtol=1e-11, atol=1e-12)
    dy = torch.randn_like(y)
    for ours, theirs in zip(
        torch.autograd.grad(y, leaves, dy), torch.autograd.grad(expected, leaves, dy), strict=True
    ):
        assert_close(ours, theirs, rtol=1e-10, atol=1e-12)


def trained(layer, x):
    """Give a batch norm random gain and shift and running statistics, then switch to evaluation."""
    nn.init.normal_(layer.weight)
    nn.init.normal_(layer.bias)
    for _ in range(3):
        layer(3 + 2 * torch.randn_like(x))
    return layer.eval()


def instance_norm(like, shape):
    """Make the instance norm of inputs of this shape that shares gain, shift and eps with a layer."""
    layer = getattr(norms, f"InstanceNorm{len(shape) - 2}d")(3, like.eps, affine=True, dtype=F64)
    layer.weight, layer.bias = like.weight, like.bias
    return layer


@pytest.mark.parametrize("shape", [(1, 3, 7), (1, 3, 5, 6), (1, 3, 2, 3, 4)], ids=str)
def test_batch_norm_of_one_sample_is_instance_norm(shape):
    layer, _ = twins(f"BatchNorm{len(shape) - 2}d", 3)
    x = torch.randn(shape, dtype=F64, requires_grad=True)
    leaves = (x, layer.weight, layer.bias)
    instance = instance_norm(layer, shape)
    assert_equal_forward_and_back(layer(x), instance(x), leaves)
    assert_equal_forward_and_back(layer(x)[0], instance(x[0]), leaves)


@every_batch_of_maps
def test_instance_norm_is_batch_norm_in_which_every_sample_has_its_own_channels(shape):
    """(N, C, *) taken for one sample of N * C channels: so torch computes it."""
    instance, _ = twins(f"InstanceNorm{len(shape) - 2}d", 3, affine=True)
    batch = getattr(norms, f"BatchNorm{len(shape) - 2}d")(shape[0] * 3, dtype=F64)
    x = torch.randn(shape, dtype=F64, requires_grad=True)
    repeated = {name: p.repeat(shape[0]) for name, p in instance.named_parameters()}
    y = torch.func.functional_call(batch, repeated, (x.reshape(1, -1, *shape[2:]),))
    leaves = (x, instance.weight, instance.bias)
    assert_equal_forward_and_back(instance(x), y.view(shape), leaves)


@every_batch_of_maps
def test_instance_norm_is_layer_norm_of_every_map(shape):
    """Without gain and shift, which belong to channels in one and to places in the other."""
    instance = getattr(norms, f"InstanceNorm{len(shape) - 2}d")(3)
    layer = norms.LayerNorm(shape[2:], elementwise_affine=False)
    x = torch.randn(shape, dtype=F64, requires_grad=True)
    assert_equal_forward_and_back(instance(x), layer(x), (x,))


@every_batch_of_maps
def test_instance_norm_is_group_norm_with_one_channel_a_group(shape):
    group, _ = twins("GroupNorm", 3, 3)
    x = torch.randn(shape, dtype=F64, requires_grad=True)
    leaves = (x, group.weight, group.bias)
    assert_equal_forward_and_back(group(x), instance_norm(group, shape)(x), leaves)


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


@pytest.mark.parametrize(("features", "shape"), [(6, (4, 3, 6)), ((3, 6), (4, 3, 6))], ids=str)
def test_layer_norm_is_rms_norm_of_the_centred_input(features, shape):
    layer, _ = twins("LayerNorm", features, bias=False)
    rms = norms.RMSNorm(features, eps=layer.eps, dtype=F64)
    rms.weight = layer.weight
    x = (2 + torch.randn(shape, dtype=F64)).requires_grad_()
    axes = tuple(range(-layer.weight.dim(), 0))
    centred = x - x.mean(axes, keepdim=True)
    assert_equal_forward_and_back(layer(x), rms(centred), (x, layer.weight))


def test_layer_norm_behind_weights_is_rms_norm_behind_centred_weights():
    """LN(Wx) = RMSNorm(CWx), C = I - 1 1^T / D: a network can have its centring in its weights."""
    layer, _ = twins("LayerNorm", 6, bias=False)
    rms = norms.RMSNorm(6, eps=layer.eps, dtype=F64)
    rms.weight = layer.weight
    x, weight = (torch.randn(s, dtype=F64, requires_grad=True) for s in ((8, 5), (6, 5)))
    centring = torch.eye(6, dtype=F64) - 1 / 6
    leaves = (x, weight, layer.weight)
    assert_equal_forward_and_back(layer(x @ weight.T), rms(x @ (centring @ weight).T), leaves)


def test_rms_norm_is_half_the_layer_norm_of_the_input_beside_its_mirror_image():
    """Of (x, -x) the mean is zero and the variance the mean square of x."""
    rms, _ = twins("RMSNorm", 6, eps=1e-5)
    layer = norms.LayerNorm(12, elementwise_affine=False)
    x = (2 + torch.randn(4, 6, dtype=F64)).requires_grad_()
    expected = rms.weight * layer(torch.cat([x, -x], 1))[:, :6]
    assert_equal_forward_and_back(rms(x), expected, (x, rms.weight))


def test_rms_norm_is_the_unit_vector_times_root_d():
    rms, _ = twins("RMSNorm", 6, eps=0.0)
    x = torch.randn(4, 6, dtype=F64, requires_grad=True)
    assert_equal_forward_and_back(
        rms(x), rms.weight * 6**0.5 * F.normalize(x, eps=0.0), (x, rms.weight)
    )


@every_batch_of_maps
def test_layer_norm_of_whole_images_is_group_norm_with_one_group(shape):
    """Where gain and shift do not change from place to place: group norm has one a channel."""
    group, _ = twins("GroupNorm", 1, 3)
    ones = (3, *[1] * len(shape[2:]))
    layer = norms.LayerNorm(shape[1:], dtype=F64)
    gain, shift = (p.view(ones).expand(shape[1:]) for p in (group.weight, group.bias))
    x = torch.randn(shape, dtype=F64, requires_grad=True)
    y = torch.func.functional_call(layer, {"weight": gain, "bias": shift}, (x,))
    assert_equal_forward_and_back(y, group(x), (x, group.weight, group.bias))


def test_layer_norm_of_vectors_is_group_norm_with_one_group():
    """Of samples (N, C), gain and shift included; of tokens (N, T, D) one by one: (N * T, D)."""
    group, _ = twins("GroupNorm", 1, 6)
    layer = norms.LayerNorm(6, dtype=F64)
    layer.weight, layer.bias = group.weight, group.bias
    for shape in ((4, 6), (4, 3, 6)):
        x = torch.randn(shape, dtype=F64, requires_grad=True)
        leaves = (x, group.weight, group.bias)
        assert_equal_forward_and_back(layer(x), group(x.view(-1, 6)).view(shape), leaves)


def test_one_group_is_not_the_layer_norm_of_every_place():
    """Transformers, and ConvNeXt, normalize over the channels alone, place by place."""
    group, layer = norms.GroupNorm(1, 6, dtype=F64), norms.LayerNorm(6, dtype=F64)
    x = torch.randn(4, 6, 5, dtype=F64)
    assert (group(x) - layer(x.transpose(1, 2)).transpose(1, 2)).norm() > 1


@pytest.mark.parametrize("groups", [1, 2, 3, 6])
@pytest.mark.parametrize("shape", [(4, 6, 5), (4, 6, 5, 2), (2, 6, 2, 3, 2)], ids=str)
def test_group_norm_is_any_norm_of_its_groups(groups, shape):
    """Its sets laid side by side, (N, G, m): three norms see them, none of which has its gain."""
    group, x = norms.GroupNorm(groups, 6, affine=False), torch.randn(shape, dtype=F64)
    x.requires_grad_()
    sets = x.view(shape[0], groups, -1)
    count = shape[0] * groups
    batch = norms.BatchNorm1d(count, affine=False, track_running_stats=False)
    for y in (
        norms.LayerNorm(sets.shape[2], elementwise_affine=False)(sets),
        norms.InstanceNorm1d(groups)(sets),
        batch(sets.view(1, count, -1)),
    ):
        assert_equal_forward_and_back(group(x), y.reshape(shape), (x,))


@pytest.mark.parametrize("shape", [(4, 6), (4, 6, 5), (4, 6, 5, 2)], ids=str)
def test_group_norm_is_group_norms_side_by_side(shape):
    """Each group by itself, with one group, and its own part of gain and shift."""
    group, _ = twins("GroupNorm", 3, 6)
    x = torch.randn(shape, dtype=F64, requires_grad=True)
    alone = norms.GroupNorm(1, 2, dtype=F64)
    parts = zip(
        *(t.split(2, d) for t, d in ((x, 1), (group.weight, 0), (group.bias, 0))), strict=True
    )
    y = [
        torch.func.functional_call(alone, {"weight": gain, "bias": shift}, (part,))
        for part, gain, shift in parts
    ]
    assert_equal_forward_and_back(group(x), torch.cat(y, 1), (x, group.weight, group.bias))


def test_layer_norm_is_batch_norm_of_the_transposed_matrix():
    """Samples and features trade places; gain and shift belong to features, so both do without."""
    layer = norms.LayerNorm(6, elementwise_affine=False)
    batch = norms.BatchNorm1d(4, affine=False, track_running_stats=False)
    x = torch.randn(4, 6, dtype=F64, requires_grad=True)
    assert_equal_forward_and_back(layer(x), batch(x.T).T, (x,))


@pytest.mark.parametrize("name", ["LayerNorm", "RMSNorm"])
def test_tokens_are_samples(name):
    """A batch (N, T, D) is one of N * T samples: sequences are nothing to these norms."""
    layer, _ = twins(name, 6)
    x = torch.randn(4, 3, 6, dtype=F64, requires_grad=True)
    leaves = (x, *layer.parameters())
    assert_equal_forward_and_back(layer(x), layer(x.view(12, 6)).view(4, 3, 6), leaves)


def on_weight(norm, layer, **options):
    """Put a norm on the weight of a layer; return the layer and its parameters, the bias first."""
    layer = norm(layer.double(), **options)
    shake(layer)
    return layer, list(layer.parameters())


def whitened(x):
    """Shift and turn a batch so that its mean is 0 and its covariance the identity."""
    x = x - x.mean(0)
    values, turn = torch.linalg.eigh(x.T @ x / len(x))
    return x @ turn / values.sqrt()


def test_weight_norm_is_batch_norm_where_the_inputs_are_white():
    """Of one layer: then mu[t] = 0 and sigma[t] = |v|, whatever v, so the gradients agree as well."""
    layer, (bias, g, v) = on_weight(norms.weight_norm, nn.Linear(5, 6))
    batch = norms.BatchNorm1d(6, eps=1e-14, dtype=F64)
    x = 3 + torch.randn(40, 5, dtype=F64) @ torch.randn(5, 5, dtype=F64)

    def of_batch(x):
        return torch.func.functional_call(batch, {"weight": g[:, 0], "bias": bias}, (x @ v.T,))

    assert (layer(x) - of_batch(x)).norm() > 1
    x = whitened(x)
    assert_equal_forward_and_back(layer(x), of_batch(x), (v, g, bias))


def test_weight_norm_is_rms_norm_of_the_weights_of_each_output():
    layer, (_, g, v) = on_weight(norms.weight_norm, nn.Conv2d(3, 6, 2))
    rms = norms.RMSNorm((3, 2, 2), eps=0.0, elementwise_affine=False)
    assert_equal_forward_and_back(layer.weight, g * rms(v) / 12**0.5, (v, g))


def test_weight_norm_of_rows_is_weight_norm_of_the_columns_of_the_transposed_matrix():
    layer, (_, g, v) = on_weight(norms.weight_norm, nn.Linear(5, 6))
    other, _ = on_weight(norms.weight_norm, nn.Linear(6, 5), dim=1)
    state = {"original0": g.T, "original1": v.T}
    w = torch.func.functional_call(other.parametrizations.weight, state, ())
    assert_equal_forward_and_back(layer.weight, w.T, (v, g))


@pytest.mark.parametrize("norm", ["weight_norm", "spectral_norm"])
def test_batch_norm_undoes_the_norm_of_the_weight_before_it(norm):
    """It does not see the length of a weight: the matrix learns as it would alone."""
    layer, _ = on_weight(getattr(norms, norm), nn.Linear(5, 6))
    _ = layer.weight  # the vectors are now those of this matrix
    layer.eval()
    batch = norms.BatchNorm1d(6, eps=1e-14, dtype=F64)
    x = torch.randn(40, 5, dtype=F64)
    stored = layer.parametrizations.weight
    if norm == "weight_norm":
        stored.original0.data.abs_()  # a negative length would turn the sign of what follows
        matrix = stored.original1
    else:
        matrix = stored.original
    assert_equal_forward_and_back(batch(layer(x)), batch(x @ matrix.T), (matrix,))


def test_spectral_norm_of_one_output_is_weight_norm_of_length_1():
    spectral, (_, w) = on_weight(norms.spectral_norm, nn.Conv1d(3, 1, 2))
    weight, _ = on_weight(norms.weight_norm, nn.Conv1d(3, 1, 2))
    state = {"original0": torch.ones(1, 1, 1, dtype=F64), "original1": w}
    other = torch.func.functional_call(weight.parametrizations.weight, state, ())
    assert_equal_forward_and_back(spectral.weight, other, (w,))


def test_spectral_norm_of_a_vector_is_that_of_a_matrix_of_one_column():
    of_vector, (_, bias) = on_weight(norms.spectral_norm, nn.Linear(3, 4), name="bias")
    of_matrix, _ = on_weight(norms.spectral_norm, nn.Linear(1, 4))
    state = {"original": bias[:, None], **dict(of_matrix.parametrizations.weight.named_buffers())}
    w = torch.func.functional_call(of_matrix.parametrizations.weight, state, ())
    assert_equal_forward_and_back(of_vector.bias, w[:, 0], (bias,))


def test_at_rank_one_spectral_norm_is_weight_norm_of_the_whole_matrix():
    """The largest singular value is then the length of all weights, and moves as it does."""
    spectral, (_, w) = on_weight(norms.spectral_norm, nn.Linear(5, 6))
    whole, _ = on_weight(norms.weight_norm, nn.Linear(5, 6), dim=None)
    with torch.no_grad():
        w.copy_(torch.outer(torch.randn(6, dtype=F64), torch.randn(5, dtype=F64)))
    state = {"original0": torch.ones((), dtype=F64), "original1": w}
    other = torch.func.functional_call(whole.parametrizations.weight, state, ())
    assert_equal_forward_and_back(spectral.weight, other, (w,))


def test_a_norm_on_the_weight_folds_into_the_layer():
    """As batch norm in evaluation does, and here nothing else is needed, such as a batch."""
    for norm in (norms.weight_norm, norms.spectral_norm):
        layer, _ = on_weight(norm, nn.Conv2d(3, 4, 3))
        x = torch.randn(2, 3, 5, 5, dtype=F64)
        y = layer.eval()(x)
        folded = parametrize.remove_parametrizations(layer, "weight")
        assert type(folded) is nn.Conv2d
        assert torch.equal(folded(x), y)
