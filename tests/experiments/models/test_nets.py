"""MLP, CNN and RNN: each copy is a network of torch's own layers, with a norm in either seat."""

import copy
from functools import partial
from itertools import product

import pytest
import torch
from small_nets import (
    F64,
    SEATS,
    assert_copies_never_mix,
    assert_starts_from_the_same_weights,
    build,
    cnn,
    descend,
    mlp,
    normed_weights,
    rnn,
    shaken,
    torchs_layer,
    twin_of,
)
from torch import nn
from torch.testing import assert_close

from norms.experiments.evaluation import predict
from norms.experiments.models import RNN
from norms.experiments.training import shuffled, train

NETS = {
    "mlp": mlp,
    "mlp, sigmoid": partial(mlp, activation="sigmoid"),
    "cnn": cnn,
    "cnn, pool": partial(cnn, head="pool"),
    "rnn": partial(rnn, inputs=8, classes=10),
    "rnn, every step": partial(rnn, inputs=8, classes=10, every_step=True),
}
every_net = pytest.mark.parametrize("net", NETS.values(), ids=NETS)
classifiers = pytest.mark.parametrize("name", [name for name in NETS if name != "rnn, every step"])
every_seat = pytest.mark.parametrize("seat", [seat for seat in SEATS if seat != "function"])


# --- where the norms are


@every_net
def test_a_norm_reaches_every_hidden_layer_and_not_the_head(net):
    recurrent = net.func is RNN
    hidden = {"inputs", "state"} if recurrent else {"layers.0", "layers.1"}
    assert normed_weights(net(norm=SEATS["weight"], seeds=[0])) == hidden
    assert normed_weights(net(norm=SEATS["both"], seeds=[0])) == hidden
    for seat in ("batch", "layer", "rms", "both"):
        model = net(norm=SEATS[seat], seeds=[0])
        norms = [model.norm] if recurrent else [*model.norms]
        assert len(norms) == (1 if recurrent else 2)
        assert not any(isinstance(norm, nn.Identity) for norm in norms), seat


# --- one copy


@every_net
@every_seat
def test_a_copy_is_a_network_of_torchs_layers(net, seat):
    model = shaken(net(norm=SEATS[seat], seeds=[3, 5]))
    twins = [twin_of(model, number) for number in range(2)]
    for _training in (True, False):  # and from the statistics that were remembered
        x = torch.randn(2, 6, 1, 8, 8, dtype=F64)
        found = model(x)
        for number, twin in enumerate(twins):
            assert_close(found[number], twin(x[number]))
            twin.eval()
        model.eval()


@classifiers
@every_seat
def test_a_copy_trains_as_a_network_of_torchs_layers(name, seat, images):
    make = build(NETS[name], SEATS[seat])
    history = train(
        make, images, learning_rates=[0.03, 0.1], seeds=[3, 5], steps=5, batch_size=16, momentum=0.9
    )
    twin = twin_of(make([3, 5]), 1)
    start = copy.deepcopy(twin)(images.test[0]).detach()
    descent = torch.optim.SGD(twin.parameters(), 0.1, momentum=0.9)
    losses = descend(twin, descent, images, shuffled(images.train[1], 16, 5, 5))
    assert_close(history.loss[:, 1, 1], losses, atol=1e-4, rtol=0)
    with torch.no_grad():
        expected = twin.eval()(images.test[0])
    found = predict(history.model, images.test[0])[3]
    assert_close(found, expected, atol=1e-3, rtol=0)
    assert (found - start).abs().max() > 0.02


@every_net
@every_seat
def test_copies_never_mix(net, seat):
    assert_copies_never_mix(shaken(net(norm=SEATS[seat], seeds=[3, 5])),
                            torch.randn(2, 6, 1, 8, 8, dtype=F64))  # fmt: skip


# --- the start


@pytest.mark.parametrize(
    ("name", "seat"),  # a function is a norm of features
    [
        (name, seat)
        for name, seat in product(NETS, SEATS)
        if name[:3] != "cnn" or seat != "function"
    ],
)
def test_arms_of_a_seed_start_from_the_same_weights_alone_and_among_others(name, seat):
    assert_starts_from_the_same_weights(NETS[name], SEATS[seat])


def test_weight_scale_and_offset_are_those_of_the_hidden_weights():
    changes = ({}, {"weight_scale": 3, "weight_offset": 0.5})
    plain, changed = (mlp(norm="none", seeds=[0, 1], **options) for options in changes)
    for before, after in zip(plain.layers, changed.layers, strict=True):
        assert_close(after.weight, 3 * before.weight + 0.5)
    assert torch.equal(plain.head.weight, changed.head.weight)
    plain, changed = (rnn(norm="none", seeds=[0, 1], **options) for options in changes)
    assert_close(changed.state.weight, 3 * plain.state.weight + 0.5)
    assert_close(changed.inputs.weight, plain.inputs.weight + 0.5)  # the scale is the state's
    assert torch.equal(plain.head.weight, changed.head.weight)
    plain, changed = (cnn(norm="none", seeds=[0, 1], **o) for o in ({}, {"weight_scale": 3}))
    for before, after in zip(plain.layers, changed.layers, strict=True):
        assert_close(after.weight, 3 * before.weight)
    assert torch.equal(plain.head.weight, changed.head.weight)


@pytest.mark.parametrize(("activation", "square"), [("relu", 2), ("sigmoid", 1), ("tanh", 1)])
def test_hidden_weights_keep_the_size_of_the_signal(activation, square):
    for model, fan_in in (
        (mlp(norm="none", seeds=[0, 1], width=64, activation=activation), 64),
        (cnn(norm="none", seeds=[0, 1], channels=(20, 40), activation=activation), 9 * 20),
    ):
        deviation = (square / fan_in) ** 0.5
        assert model.layers[1].weight.std().item() == pytest.approx(deviation, rel=0.05)


def test_weights_of_a_recurrent_net_have_their_scale():
    model = RNN("none", 64, [0, 1], 4)
    assert model.state.weight.std().item() == pytest.approx(1 / 8, rel=0.1)
    assert model.inputs.weight.std().item() == pytest.approx(1 / 2, rel=0.1)


# --- what is particular to each


def test_maps_have_the_sizes_that_are_stated():
    model = cnn(norm="none", seeds=[0], channels=(4, 6, 5), strides=(1, 2, 2), size=7)
    seen = []
    for norm in model.norms:
        norm.register_forward_hook(lambda _module, _inputs, out: seen.append(out.shape[-1]))
    model(torch.randn(1, 2, 1, 7, 7))
    assert model.sizes == seen == [7, 4, 2]


def test_a_head_of_another_kind_is_refused():
    with pytest.raises(ValueError, match="head is 'mean'; expected 'flatten' or 'pool'"):
        cnn(norm="none", seeds=[0], head="mean")


@every_seat
@pytest.mark.parametrize("every_step", [False, True])
def test_a_recurrent_net_reads_pixels_and_characters(seat, every_step):
    model = shaken(rnn(norm=SEATS[seat], seeds=[3, 5], inputs=7, every_step=every_step))
    twins = [twin_of(model, number) for number in range(2)]
    images, tokens = torch.randn(2, 4, 1, 3, 14, dtype=F64), torch.randint(7, (2, 4, 5))
    for x in (images, tokens):
        states, logits = (copy.deepcopy(model).states(x), copy.deepcopy(model)(x))
        for number, twin in enumerate(twins):
            expected = copy.deepcopy(twin).states(x[number])
            assert_close(states[number], expected)
            expected = twin.head(expected if every_step else expected[:, -1])
            assert_close(logits[number], expected)


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_without_a_norm_it_is_torchs_own_recurrent_net(activation):
    model = shaken(rnn(norm="none", seeds=[3, 5], inputs=7, activation=activation))
    x = torch.randn(2, 4, 1, 3, 14, dtype=F64)
    for number in range(2):
        theirs = nn.RNN(7, 8, nonlinearity=activation, batch_first=True, dtype=F64)
        inputs, state = (torchs_layer(layer, number) for layer in (model.inputs, model.state))
        theirs.load_state_dict({
            "weight_ih_l0": inputs.weight, "bias_ih_l0": inputs.bias,
            "weight_hh_l0": state.weight, "bias_hh_l0": state.bias,
        })  # fmt: skip
        expected, _ = theirs(x[number].view(4, 6, 7))
        assert_close(model.states(x)[number], expected)
