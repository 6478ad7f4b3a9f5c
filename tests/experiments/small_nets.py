"""Small networks of copies, and a copy of each once more, out of torch's own layers."""

import math
from functools import partial

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations, parametrize
from torch.testing import assert_close

import norms
from norms.experiments.models import (
    CNN,
    MLP,
    NORMS,
    RNN,
    Conv,
    GainPerCopy,
    Linear,
    MapsOfOneSample,
    Transformer,
)

F64 = torch.float64

mlp = partial(MLP, depth=2, width=16)
cnn = partial(CNN, channels=(4, 6), strides=(2, 2), size=8)
rnn = partial(RNN, width=8, inputs=5, classes=5)
transformer = partial(Transformer, depth=2, width=8, heads=2, context=6, classes=5)


def build(net, norm, **options):
    """Make an arm: a function of the seeds."""
    return lambda seeds: net(norm=norm, seeds=seeds, **options)


class OfLength(nn.Module):
    """A weight norm of R copies: v becomes g v / |v|, with a g for each unit and |v| at first."""

    def __init__(self, layer):
        super().__init__()
        self.axes = (1,) if isinstance(layer, Linear) else (1, 2, 3)
        self.g = nn.Parameter(self.length(layer.weight.detach()))

    def length(self, v):
        return v.square().sum(self.axes, keepdim=True).sqrt()

    def forward(self, v):
        return self.g * v / self.length(v)


# Norms in each seat: behind a layer, on its weight, and both.
SEATS = {
    "none": "none",
    "batch": "batch",
    "layer": "layer",
    "rms": "rms",
    "weight": {"weight": OfLength},
    "both": {**NORMS["layer"], "weight": OfLength},
    "function": GainPerCopy(norms.LayerNorm),
}


def normed_weights(model):
    """Name the layers whose weight has a norm."""
    return {name for name, module in model.named_modules() if parametrize.is_parametrized(module)}


def shaken(model):
    """Give every parameter, gains and shifts too, random values of its own, in float64."""
    model.double()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    return model


def part(tensor, number, copies):
    """Cut out what belongs to one copy, without the axis of copies."""
    return tensor.reshape(copies, -1)[number] if tensor.dim() else tensor


# --- one copy, out of torch's layers


class RMSOfMaps(nn.Module):
    """Torch's RMS norm over C, H, W, with a gain a channel, which it does not have."""

    def __init__(self, channels, eps, dtype):
        super().__init__()
        self.weight, self.eps = nn.Parameter(torch.ones(channels, dtype=dtype)), eps

    def forward(self, x):
        return F.rms_norm(x, x.shape[1:], eps=self.eps) * self.weight[:, None, None]


def torchs_norm(layer, number, copies):
    """Return torch's own norm with the parameters and statistics of one copy."""
    if isinstance(layer, nn.Identity):
        return nn.Identity()
    state = {name: part(value, number, copies) for name, value in layer.state_dict().items()}
    channels, like = len(state["weight"]), {"eps": layer.eps, "dtype": layer.weight.dtype}
    if isinstance(layer, MapsOfOneSample):
        maps = partial(nn.GroupNorm, 1) if layer.centre else RMSOfMaps
        theirs = maps(channels, **like)
    elif isinstance(layer, norms.BatchNorm2d):
        theirs = nn.BatchNorm2d(channels, **like)
    elif isinstance(layer, norms.BatchNorm1d):
        theirs = nn.BatchNorm1d(channels, **like)
    elif isinstance(layer, norms.InstanceNorm2d):
        theirs = nn.InstanceNorm2d(channels, affine=True, **like)
    elif isinstance(layer, norms.GroupNorm):
        theirs = nn.GroupNorm(layer.num_groups // copies, channels, **like)
    elif isinstance(layer, norms.LayerNorm):
        theirs = nn.LayerNorm(channels, bias=layer.bias is not None, **like)
    else:
        theirs = nn.RMSNorm(channels, **like)
    theirs.load_state_dict(state)
    return theirs.train(layer.training)


def torchs_layer(layer, number):
    """Return torch's own linear layer or convolution with the parameters of one copy."""
    if isinstance(layer, Conv):
        outputs = len(layer.bias) // layer.copies
        mine = slice(number * outputs, (number + 1) * outputs)
        theirs = nn.Conv2d(layer.weight.shape[1], outputs, 3, layer.stride, 1)
    else:
        mine = number
        theirs = nn.Linear(*layer.weight.shape[1:])
    theirs = theirs.to(layer.bias.dtype)
    on_weight = parametrize.is_parametrized(layer)
    weight = layer.parametrizations.weight.original if on_weight else layer.weight
    with torch.no_grad():
        theirs.weight.copy_(weight[mine] if isinstance(layer, Conv) else weight[mine].T)
        theirs.bias.copy_(layer.bias[mine].flatten())
        if on_weight:
            parametrizations.weight_norm(theirs)
            g = theirs.parametrizations.weight.original0
            g.copy_(layer.parametrizations.weight[0].g[mine].reshape(g.shape))
    return theirs


class Activation(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, x):
        return self.function(x)


class TorchsRNN(nn.Module):
    """One copy of an RNN, step by step."""

    def __init__(self, model, number):
        super().__init__()
        self.inputs, self.state, self.head = (
            torchs_layer(layer, number) for layer in (model.inputs, model.state, model.head)
        )
        self.norm = torchs_norm(model.norm, number, model.copies)
        self.activation, self.every_step = model.activation, model.every_step

    def states(self, x):
        size = self.inputs.in_features
        steps = x.flatten(1).unflatten(1, (-1, size)) if x.dim() == 4 else F.one_hot(x, size)
        h, states = self.inputs.bias.new_zeros(len(x), self.state.in_features), []
        for step in steps.to(h.dtype).unbind(1):
            h = self.activation(self.norm(self.state(h) + self.inputs(step)))
            states.append(h)
        return torch.stack(states, 1)

    def forward(self, x):
        states = self.states(x)
        return self.head(states if self.every_step else states[:, -1])


class TorchsTransformer(nn.Module):
    """One copy of a Transformer, with the attention written by hand."""

    def __init__(self, model, number, placement):
        super().__init__()

        def normed(layer, *places):
            if placement not in places:
                return nn.Identity()
            return torchs_norm(layer, number, model.copies)

        tables = [t[number].detach().clone() for t in (model.characters, model.places)]
        self.characters, self.places = (nn.Embedding.from_pretrained(t, False) for t in tables)
        self.residuals, self.placement = nn.ModuleList(), placement
        for ours in model.stream:
            branch = [torchs_layer(ours.branch.reads, number)]
            branch += [torchs_layer(ours.branch.writes, number)]
            branch += [normed(ours.before, "pre", "peri"), normed(ours.after, "peri")]
            self.residuals.append(nn.ModuleList([*branch, normed(ours.outer, "post")]))
        self.last = normed(model.last, "pre", "peri")
        self.head = torchs_layer(model.head, number)

    def attention(self, x):
        query, key, value = (y.unflatten(2, (2, -1)).transpose(1, 2) for y in x.chunk(3, -1))
        likeness = query @ key.transpose(2, 3) / math.sqrt(query.shape[-1])  # (N, heads, T, T)
        later = torch.ones(likeness.shape[2:], dtype=torch.bool).triu(1)
        seen = likeness.masked_fill(later, -torch.inf).softmax(-1) @ value
        return seen.transpose(1, 2).flatten(2)

    def forward(self, tokens):
        x = self.characters(tokens) + self.places.weight[: tokens.shape[1]]
        for k, (reads, writes, before, after, outer) in enumerate(self.residuals):
            between = torch.relu if k % 2 else self.attention
            if self.placement == "post":
                x = outer(x + writes(between(reads(x))))
            elif self.placement == "pre":
                x = x + writes(between(reads(before(x))))
            elif self.placement == "peri":
                x = x + after(writes(between(reads(before(x)))))
            else:
                x = x + writes(between(reads(x)))
        return self.head(self.last(x))


def twin_of(model, number, placement=None):
    """Return one copy as a network of torch's layers: without the axis of copies, in and out."""
    if isinstance(model, RNN):
        return TorchsRNN(model, number)
    if isinstance(model, Transformer):
        return TorchsTransformer(model, number, placement)
    layers = [nn.Flatten()] if isinstance(model, MLP) else []
    for layer, norm in zip(model.layers, model.norms, strict=True):
        layers += [torchs_layer(layer, number), torchs_norm(norm, number, model.copies)]
        layers += [Activation(model.activation)]
    if isinstance(model, CNN):
        layers += [nn.AdaptiveAvgPool2d(1)] if model.pool else []
        layers += [nn.Flatten()]
    return nn.Sequential(*layers, torchs_layer(model.head, number))


def descend(twin, descent, data, batches, loss=F.cross_entropy):
    """Train one network as torch's manual does; return the loss of each step."""
    losses = []
    for batch in batches:
        descent.zero_grad()
        outputs, labels = twin(data.train[0][batch]), data.train[1][batch]
        if loss is F.cross_entropy:
            outputs, labels = outputs.flatten(0, -2), labels.flatten()
        value = loss(outputs, labels)
        value.backward()
        descent.step()
        losses.append(value.item())
    return torch.tensor(losses)


def assert_copies_never_mix(model, x):
    """Differentiate the answers of the first of two copies: the second has no part in them."""
    gradients = torch.autograd.grad(model(x)[0].square().sum(), list(model.parameters()))
    assert any(part(gradient, 0, 2).any() for gradient in gradients)
    assert not any(part(gradient, 1, 2).any() for gradient in gradients)


def assert_starts_from_the_same_weights(net, norm):
    """Hold the copies of seeds 3 and 5 to those of the plain network, and 5 to itself alone."""
    plain, model, alone = (
        net(norm=norm, seeds=seeds)
        for norm, seeds in (("none", [3, 5]), (norm, [3, 5]), (norm, [5]))
    )
    weights, found = dict(plain.named_parameters()), dict(model.named_parameters())
    ours = {name.replace("parametrizations.weight.original", "weight"): name for name in found}
    assert weights.keys() <= ours.keys()
    for name, value in weights.items():
        assert torch.equal(found[ours[name]], value), name
    for name in ours.keys() - weights.keys():  # of a norm
        if not name.endswith(".g"):
            assert (found[name] == name.endswith("weight")).all(), name
    for name, value in found.items():
        assert torch.equal(part(value, 1, 2), part(alone.get_parameter(name), 0, 1)), name
    assert not torch.equal(*plain.head.weight)
    for mine, theirs in zip(_weights(model), _weights(plain), strict=True):
        assert_close(mine, theirs)  # as the layers see them


def _weights(model):
    return [m.weight for m in model.modules() if isinstance(m, Linear | Conv)]
