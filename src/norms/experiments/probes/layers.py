"""What a single layer does: Jacobians, invariances, gradients of its weights, rounding."""

import copy

import torch
from torch import nn

import norms
from norms.experiments.evaluation import cross_entropy
from norms.experiments.models.seats import stored_weight
from norms.experiments.probes.signals import changes

__all__ = [
    "jacobian_blocks",
    "norms_after_linear",
    "rotations",
    "rounding_error",
    "weight_gradient_cosine",
]


@torch.random.fork_rng(devices=[])  # for layers that draw
def weight_gradient_cosine(model, images, labels, layer=3, factor=3.0):
    """Measure how the gradient of a layer's weights stands to the weights.

    Args:
        model: R copies of an MLP; taken in float64.
        images: (N, 1, H, W).
        labels: (N,).
        layer: index of the layer.
        factor: by which the weights are scaled for the second measurement.

    Returns:
        ``cosine, ratio``: the largest absolute cosine between the incoming weights of a unit
        and their gradient, and the length of the gradient at ``factor`` times the weights,
        divided by that at the weights, averaged over copies.
    """
    model = copy.deepcopy(model).double()
    weight = stored_weight(model.layers[layer])  # (R, inputs, units)

    def gradient():
        logits = model(images.double().expand(model.copies, *images.shape))
        return torch.autograd.grad(cross_entropy(logits, labels).mean(1).sum(), weight)[0]

    first = gradient()
    lengths = weight.norm(dim=1) * first.norm(dim=1)
    cosine = ((weight * first).sum(1) / lengths.clamp_min(1e-300)).abs().max().item()
    with torch.no_grad():
        weight.mul_(factor)
    return cosine, (gradient().norm(dim=(1, 2)) / first.norm(dim=(1, 2))).mean().item()


def rotations(model, updates):
    """Return the angle by which an update turned the incoming weights of a unit, layer by layer.

    Args:
        model: R copies of an MLP, after the update.
        updates: changes of its parameters, as ``train`` gives them to ``watch``.

    Returns:
        Tensor (D, R) of root mean squares over the units of the hidden layers, in radians.
    """
    weights, angles = [stored_weight(layer) for layer in model.layers], []
    for weight, change in zip(weights, changes(model, updates, weights), strict=True):
        new = weight.detach().double()  # (R, inputs, units)
        before = new - change
        pair = [w / w.norm(dim=1, keepdim=True) for w in (new, before)]
        half = (pair[0] - pair[1]).norm(dim=1) / 2  # the sine of half the angle, exact if small
        angles.append((2 * half.clamp(max=1).asin()).square().mean(1).sqrt())
    return torch.stack(angles)


@torch.random.fork_rng(devices=[])  # for the initial weights
def norms_after_linear(x, weight):
    """Return the outputs of five norms behind a linear layer, without gain, shift and epsilon.

    Args:
        x: inputs (N, D), in float64.
        weight: W, (H, D).

    Returns:
        Dictionary from "batch", "layer", "rms", "weight" and "spectral" to tensors (N, H).
    """
    like = {"dtype": x.dtype}
    sums, units = x @ weight.T, len(weight)
    linear = [nn.Linear(x.shape[1], units, bias=False, **like) for _ in range(2)]
    for layer in linear:
        layer.weight.data = weight.clone()
    by_length = norms.weight_norm(linear[0])
    by_length.parametrizations.weight.original0.data.fill_(1)  # g
    by_singular_value = norms.spectral_norm(linear[1], n_power_iterations=500)
    with torch.no_grad():
        return {
            "batch": norms.BatchNorm1d(units, eps=1e-14, **like)(sums),
            "layer": norms.LayerNorm(units, eps=0, **like)(sums),
            "rms": norms.RMSNorm(units, eps=0, **like)(sums),
            "weight": by_length(x),
            "spectral": by_singular_value(x),
        }


def jacobian_blocks(function, x):
    r"""Return how much each sample's output depends on each sample's input.

    .. math:: J_{n n'} = \Big\| \frac{\partial y_n}{\partial x_{n'}} \Big\|_F

    Args:
        function: maps (N, ...) to (N, ...).
        x: tensor (N, ...), of a few samples.

    Returns:
        Tensor (N, N); off the diagonal it is zero where samples do not mix.
    """
    n = len(x)
    full = torch.autograd.functional.jacobian(function, x)
    return full.reshape(n, -1, n, x[0].numel()).square().sum((1, 3)).sqrt()


def rounding_error(function, exact, seed, *, features=64, offset=0, size=1, dtype=torch.float32):
    """Return the largest error of a norm on normal numbers, over 200 tokens.

    Args:
        function: from a tensor of ``dtype`` to its normalized values.
        exact: the same in float64, given the same rounded numbers.
        seed: of the draw.
        features: of a token.
        offset: added to the numbers.
        size: their deviation.
        dtype: to which they are rounded first.
    """
    x = torch.randn((200, features), generator=torch.Generator().manual_seed(seed))
    x = (size * x + offset).to(dtype)
    with torch.no_grad():
        return (function(x).double() - exact(x.double())).abs().max().item()
