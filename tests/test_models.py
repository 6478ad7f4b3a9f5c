"""Networks of many copies: each copy is a network of torch's own layers, and no copy sees another."""

import copy
import math
from functools import partial
from itertools import product

import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close
from twins import F64, assert_same, seen

from norms.experiments.data import Text
from norms.experiments.models import (
    CNN,
    MLP,
    RNN,
    Attention,
    Centred,
    DetachedNorm,
    DriftingNoise,
    FeedForward,
    PartialRMSNorm,
    Transformer,
    centred_rms_norm,
    noisy_norm,
    norm_layer,
)
from norms.experiments.training import predict, shuffled, train

TORCHS = {"batch": nn.BatchNorm1d, "layer": nn.LayerNorm, "rms": nn.RMSNorm}
NORMS = ("none", *TORCHS)

rnn = partial(RNN, width=6, inputs=7, classes=7)
transformer = partial(Transformer, depth=2, width=8, heads=2, context=5, classes=7)

# norm and placement of a Transformer
PLACED = [("none", "none"), *product(("layer", "rms"), ("pre", "post", "peri"))]
every_placement = pytest.mark.parametrize(("norm", "placement"), PLACED)
every_norm = pytest.mark.parametrize("norm", NORMS)
NETS = {
    **{f"rnn, {norm}": partial(rnn, norm, every_step=True) for norm in NORMS},
    **{
        f"transformer, {', '.join(kind)}": partial(transformer, *kind)
        for kind in [*PLACED, ("batch", "pre")]
    },
}
every_net = pytest.mark.parametrize("net", NETS.values(), ids=NETS)


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


def torchs_norm(norm, layer, number, copies, **options):
    """Return torch's own layer with the parameters and statistics of one copy."""
    state = {name: part(value, number, copies) for name, value in layer.state_dict().items()}
    theirs = TORCHS[norm](len(state["weight"]), dtype=state["weight"].dtype, **options)
    theirs.load_state_dict(state)
    return theirs


def torchs_linear(layer, number):
    weight, bias = layer.weight[number].T, layer.bias[number, 0]
    theirs = nn.Linear(*weight.shape[::-1], dtype=weight.dtype)
    theirs.load_state_dict({"weight": weight, "bias": bias})
    return theirs


# --- norms of copies


@pytest.mark.parametrize(
    ("norm", "options"),
    [("batch", {}), ("layer", {}), ("layer", {"eps": 0.5, "bias": False}), ("rms", {}),
     ("rms", {"eps": 0.5})],
    ids=str,
)  # fmt: skip
def test_a_copy_of_a_norm_is_torchs_layer_with_its_own_parameters(norm, options):
    layer = shaken(norm_layer(norm, 3, 6, **options))
    theirs = [torchs_norm(norm, layer, number, 3, **options) for number in range(3)]
    x, dy = 2 + torch.randn(3, 5, 6, dtype=F64), torch.randn(3, 5, 6, dtype=F64)
    for _training in (True, False):  # and from the statistics that were remembered
        whole = seen(layer, x, dy)
        for number, their in enumerate(theirs):
            mine = {
                key: value[number] if key in ("y", "dx") else part(value, number, 3)
                for key, value in whole.items()
            }
            assert_same(mine, seen(their, x[number], dy[number]))
            their.eval()
        layer.eval()


def test_a_norm_that_does_not_serve_maps_is_refused_and_named():
    for norm in ("layer", "rms"):
        with pytest.raises(ValueError, match=f"no norm '{norm}' of maps; it has features"):
            norm_layer(norm, 2, 4, "maps")
        with pytest.raises(ValueError, match="of maps"):
            CNN(norm, (4,), (2,), [0])


def test_partial_rms_norm_measures_the_first_features_alone():
    layer, x = shaken(PartialRMSNorm(2, 20)), torch.randn(2, 5, 20, dtype=F64)  # 20 / 16 of them: 2
    first, second = x[..., :1], x[..., 1:2]
    expected = layer.weight * x / ((first**2 + second**2) / 2 + 1e-8).sqrt()
    assert_close(layer(x), expected)


def test_rms_norm_behind_a_centring_is_layer_norm_without_shift():
    layer = shaken(centred_rms_norm(2, 6, eps=1e-5))
    assert isinstance(layer, Centred)
    x = torch.randn(2, 5, 6, dtype=F64) + 3
    for number in range(2):
        expected = F.layer_norm(x[number], (6,), layer.layer.weight[number, 0])
        assert_close(layer(x)[number], expected)


def test_detached_norm_is_batch_norm_with_a_gradient_that_misses_the_statistics():
    layer = shaken(DetachedNorm(2, 6))
    x, dy = (torch.randn(2, 5, 6, dtype=F64) for _ in range(2))
    result = seen(layer, x, dy)
    for number in range(2):
        gain, shift = layer.weight[number, 0], layer.bias[number, 0]
        expected = F.batch_norm(x[number], None, None, gain, shift, training=True)
        assert_close(result["y"][number], expected)
        deviation = (x[number].var(0, correction=0) + 1e-5).sqrt()
        assert_close(result["dx"][number], dy[number] * gain / deviation)


def test_every_feature_of_every_copy_drifts_by_itself():
    layer = noisy_norm(2, 3, mean=0.5, scale=1.25, spread=0.1)
    zero = layer[1](torch.zeros(2, 400, 3))  # nothing but the means
    assert len(zero.mean(1).unique()) == 6
    assert 0.1 < (zero - zero.mean(1, keepdim=True)).abs().max() < 0.21
    normed = layer[0](torch.randn(2, 400, 3))  # the copies' own statistics
    assert_close(normed.mean(1), torch.zeros(2, 3), atol=1e-5, rtol=0)
    scales = DriftingNoise(mean=0, scale=3, spread=0)(torch.ones(2, 400, 3))
    assert (scales == scales[:, :1]).all()
    assert len(scales.unique()) == 6
    assert 1 <= scales.min() < scales.max() <= 3


# --- the start


@every_net
def test_arms_of_a_seed_start_from_the_same_weights_alone_and_among_others(net):
    model, alone = net(seeds=[3, 5]), net(seeds=[5])
    kind = "rnn, none" if isinstance(model, RNN) else "transformer, none, none"
    plain = NETS[kind](seeds=[3, 5])
    weights = dict(plain.named_parameters())
    assert set(weights) <= {name for name, _ in model.named_parameters()}
    for name, value in model.named_parameters():
        if name in weights:
            assert torch.equal(value, weights[name]), name
        else:  # of a norm
            assert (value == name.endswith("weight")).all(), name
        assert torch.equal(part(value, 1, 2), part(alone.get_parameter(name), 0, 1)), name
    assert not torch.equal(*plain.head.weight)


def test_gain_and_shift_are_those_of_the_hidden_weights():
    plain, changed = (
        MLP("none", 2, 16, [0, 1], **options) for options in ({}, {"gain": 3, "shift": 0.5})
    )
    for before, after in zip(plain.layers, changed.layers, strict=True):
        assert_close(after.weight, 3 * before.weight + 0.5)
    assert torch.equal(plain.head.weight, changed.head.weight)
    plain, changed = (rnn("none", seeds=[0, 1], **o) for o in ({}, {"gain": 3, "shift": 0.5}))
    assert_close(changed.state.weight, 3 * plain.state.weight + 0.5)
    assert_close(changed.inputs.weight, plain.inputs.weight + 0.5)  # the gain is the state's
    assert torch.equal(plain.head.weight, changed.head.weight)


def test_weights_of_transformers_and_recurrent_nets_have_their_scale():
    generators = [torch.Generator().manual_seed(seed) for seed in (0, 1)]
    model, state = Transformer("none", "none", 1, 64, [0, 1]), RNN("none", 64, [0, 1], 4)
    attention, feed = Attention(64, 4, generators), FeedForward(64, generators)
    xavier = (2 / (64 + 256)) ** 0.5
    for weight, deviation in (
        (model.characters, 0.5**0.5), (model.places, 0.5**0.5),  # the sum has size 1
        (attention.reads.weight, 1 / 8), (attention.writes.weight, 1 / 8),
        (feed.reads.weight, xavier), (feed.writes.weight, xavier),
        (state.state.weight, 1 / 8), (state.inputs.weight, 1 / 2),
    ):  # fmt: skip
        assert weight.std().item() == pytest.approx(deviation, rel=0.1)


# --- copies


@every_net
def test_copies_never_mix(net):
    model = shaken(net(seeds=[3, 5]))
    logits = model(torch.randint(7, (2, 3, 5)))
    gradients = torch.autograd.grad(logits[0].square().sum(), list(model.parameters()))
    assert any(part(gradient, 0, 2).any() for gradient in gradients)
    assert not any(part(gradient, 1, 2).any() for gradient in gradients)


# --- recurrent nets


def recurrent(model, number, norm, x):
    """Run one copy step by step with torch's layers; return its states, (N, T, width)."""
    inputs, state = (torchs_linear(layer, number) for layer in (model.inputs, model.state))
    between = nn.Identity() if norm == "none" else torchs_norm(norm, model.norm, number, 2)
    between.train(model.training)
    h, states = torch.zeros(len(x), 6, dtype=F64), []
    for step in x.unbind(1):
        h = torch.tanh(between(state(h) + inputs(step)))
        states.append(h)
    return torch.stack(states, 1)


@every_norm
@pytest.mark.parametrize("every_step", [False, True])
def test_a_copy_of_a_recurrent_net_is_a_loop_of_torchs_layers(norm, every_step):
    model = shaken(rnn(norm, seeds=[3, 5], every_step=every_step))
    images, tokens = torch.randn(2, 4, 1, 3, 14, dtype=F64), torch.randint(7, (2, 4, 5))
    steps = images.view(2, 4, 6, 7), F.one_hot(tokens, 7).double()
    for x, each in zip((images, tokens), steps, strict=True):
        for number in range(2):
            expected = recurrent(model, number, norm, each[number])
            assert_close(copy.deepcopy(model).states(x)[number], expected)
            head = torchs_linear(model.head, number)
            expected = head(expected if every_step else expected[:, -1])
            assert_close(copy.deepcopy(model)(x)[number], expected)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_without_a_norm_it_is_torchs_own_recurrent_net(activation):
    model, x = shaken(rnn("none", seeds=[3, 5], activation=activation)), torch.randn(2, 4, 1, 3, 14)
    for number in range(2):
        theirs = nn.RNN(7, 6, nonlinearity=activation, batch_first=True, dtype=F64)
        inputs, state = (torchs_linear(layer, number) for layer in (model.inputs, model.state))
        theirs.load_state_dict({
            "weight_ih_l0": inputs.weight, "bias_ih_l0": inputs.bias,
            "weight_hh_l0": state.weight, "bias_hh_l0": state.bias,
        })  # fmt: skip
        expected, _ = theirs(x[number].double().view(4, 6, 7))
        assert_close(model.states(x.double())[number], expected)


# --- Transformers


class Twin(nn.Module):
    """One copy of a Transformer, out of torch's own layers, with the attention written by hand."""

    def __init__(self, model, number, norm, placement):
        super().__init__()

        def normed(layer, *places):
            if placement not in places:
                return nn.Identity()
            return torchs_norm(norm, layer, number, model.copies)

        tables = [t[number].detach().clone() for t in (model.characters, model.places)]
        self.characters, self.places = (nn.Embedding.from_pretrained(t, False) for t in tables)
        self.residuals, self.placement = nn.ModuleList(), placement
        for ours in model.stream:
            branch = [torchs_linear(ours.branch.reads, number)]
            branch += [torchs_linear(ours.branch.writes, number)]
            branch += [normed(ours.before, "pre", "peri"), normed(ours.after, "peri")]
            self.residuals.append(nn.ModuleList([*branch, normed(ours.outer, "post")]))
        self.last = normed(model.last, "pre", "peri")
        self.head = torchs_linear(model.head, number)

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


@every_placement
def test_a_copy_of_a_transformer_is_a_network_of_torchs_layers(norm, placement):
    model = shaken(transformer(norm, placement, seeds=[3, 5]))
    tokens = torch.randint(7, (2, 3, 4))  # fewer than there are places
    for number in range(2):
        twin = Twin(model, number, norm, placement)
        assert_close(model(tokens)[number], twin(tokens[number]))


@every_placement
def test_a_transformer_trains_as_one_of_torchs_layers(norm, placement):
    following = torch.randint(7, (30, 5))
    text = Text("", *[(torch.randint(7, (30, 5)), following)] * 3, "abcdefg")
    build = partial(transformer, norm, placement)
    history = train(
        lambda seeds: build(seeds=seeds), text, learning_rates=[0.03, 0.1], seeds=[3, 5], steps=4,
        batch_size=6, momentum=0.9,
    )  # fmt: skip
    twin = Twin(build(seeds=[3, 5]), 1, norm, placement)
    start = twin(text.test[0]).detach()
    descent = torch.optim.SGD(twin.parameters(), 0.1, momentum=0.9)
    for batch in shuffled(following, 6, 4, 5):
        descent.zero_grad()
        F.cross_entropy(twin(text.train[0][batch]).transpose(1, 2), following[batch]).backward()
        descent.step()
    logits = predict(history.model, text.test[0])[3]
    assert_close(logits, twin(text.test[0]), atol=1e-4, rtol=0)
    assert (logits - start).abs().max() > 0.1


def moved_by_the_last_token(model):
    """Return which logits a change of the last of five tokens moves, (T,)."""
    tokens = torch.randint(7, (2, 3, 5))
    other = torch.cat([tokens[..., :4], (tokens[..., 4:] + 1) % 7], 2)
    model(tokens)  # batch norm remembers something
    before, after = (copy.deepcopy(model)(t) for t in (tokens, other))
    return ((before - after).abs().amax((0, 1, 3)) > 1e-12).tolist()


@every_placement
def test_no_token_sees_a_later_one(norm, placement):
    model = shaken(transformer(norm, placement, seeds=[3, 5]))
    assert moved_by_the_last_token(model) == 4 * [False] + [True]


def test_with_batch_norm_every_token_sees_later_ones_in_training():
    model = shaken(transformer("batch", "pre", seeds=[3, 5]))
    assert moved_by_the_last_token(model) == 5 * [True]
    assert moved_by_the_last_token(model.eval()) == 4 * [False] + [True]


def test_a_pre_norm_transformer_with_layer_norm_folds_into_one_with_rms_norm():
    """Centre what is written to the stream, and let what reads a norm add its shift."""
    model = shaken(transformer("layer", "pre", seeds=[3, 5]))
    folded = transformer("rms", "pre", seeds=[3, 5], eps=1e-5).double()
    missing, unused = folded.load_state_dict(model.state_dict(), strict=False)
    assert not missing
    norms = [*(residual.before for residual in model.stream), model.last]
    assert len(unused) == len(norms) == 5  # the shifts
    branches = [residual.branch for residual in folded.stream]
    written = [p for branch in branches for p in branch.writes.parameters()]
    readers = [*(branch.reads for branch in branches), folded.head]
    with torch.no_grad():
        for table in (folded.characters, folded.places, *written):
            table.sub_(table.mean(-1, keepdim=True))
        for reader, norm in zip(readers, norms, strict=True):
            reader.bias.add_(norm.bias @ reader.weight)
    tokens = torch.randint(7, (2, 3, 5))
    assert_close(folded(tokens), model(tokens))
