"""The Transformer: each copy is a network of torch's own layers, with its norm in each place."""

import copy
from itertools import product

import pytest
import torch
from small_nets import (
    SEATS,
    assert_copies_never_mix,
    assert_starts_from_the_same_weights,
    build,
    descend,
    normed_weights,
    shaken,
    transformer,
    twin_of,
)
from torch.testing import assert_close

from norms import LayerNorm
from norms.experiments.evaluation import predict
from norms.experiments.models import PLACEMENTS, Attention, FeedForward, Transformer
from norms.experiments.models.copies import generators_of
from norms.experiments.training import shuffled, train

# seat and placement
PLACED = [
    ("none", "none"),
    ("weight", "none"),
    ("both", "pre"),
    *product(("layer", "rms"), ("pre", "post", "peri")),
]
every_placement = pytest.mark.parametrize(("seat", "placement"), PLACED)


def net(seat, placement, **options):
    return transformer(SEATS[seat], placement, seeds=[3, 5], **options)


# --- where the norms are


@pytest.mark.parametrize(
    ("placement", "behind"), [("none", 0), ("pre", 4 + 1), ("post", 4), ("peri", 8 + 1)]
)
def test_a_norm_reaches_every_branch_and_not_the_head(placement, behind):
    model = net("both", placement)
    assert sum(isinstance(module, LayerNorm) for module in model.modules()) == behind
    branches = product(range(4), ("reads", "writes"))
    assert normed_weights(model) == {f"stream.{k}.branch.{name}" for k, name in branches}
    assert isinstance(model.last, LayerNorm) == (placement in ("pre", "peri"))


# --- one copy


@every_placement
def test_a_copy_is_a_network_of_torchs_layers(seat, placement):
    model = shaken(net(seat, placement))
    tokens = torch.randint(5, (2, 3, 4))  # fewer than there are places
    for number in range(2):
        twin = twin_of(model, number, placement)
        assert_close(model(tokens)[number], twin(tokens[number]))


@every_placement
def test_a_copy_trains_as_a_network_of_torchs_layers(seat, placement, text):
    make = build(transformer, SEATS[seat], placement=placement)
    history = train(
        make, text, learning_rates=[0.03, 0.1], seeds=[3, 5], steps=4, batch_size=6, momentum=0.9
    )
    twin = twin_of(make([3, 5]), 1, placement)
    start = twin(text.test[0]).detach()
    descent = torch.optim.SGD(twin.parameters(), 0.1, momentum=0.9)
    losses = descend(twin, descent, text, shuffled(text.train[1], 6, 4, 5))
    assert_close(history.loss[:, 1, 1], losses, atol=1e-4, rtol=0)
    logits = predict(history.model, text.test[0])[3]
    assert_close(logits, twin(text.test[0]), atol=1e-4, rtol=0)
    assert (logits - start).abs().max() > 0.1


@pytest.mark.parametrize(("seat", "placement"), [*PLACED, ("batch", "pre")])
def test_copies_never_mix(seat, placement):
    assert_copies_never_mix(shaken(net(seat, placement)), torch.randint(5, (2, 3, 5)))


# --- the start


@pytest.mark.parametrize("placement", PLACEMENTS)
@pytest.mark.parametrize("seat", SEATS)
def test_arms_of_a_seed_start_from_the_same_weights_alone_and_among_others(seat, placement):
    assert_starts_from_the_same_weights(
        lambda norm, seeds: transformer(norm, placement, seeds=seeds), SEATS[seat]
    )


def test_weights_have_their_scale():
    model = Transformer("none", "none", 1, 64, [0, 1])
    attention, feed = (make(generators_of([0, 1])) for make in (
        lambda g: Attention(64, 4, g), lambda g: FeedForward(64, g)))  # fmt: skip
    xavier = (2 / (64 + 256)) ** 0.5
    for weight, deviation in (
        (model.characters, 0.5**0.5), (model.places, 0.5**0.5),  # the sum has size 1
        (attention.reads.weight, 1 / 8), (attention.writes.weight, 1 / 8),
        (feed.reads.weight, xavier), (feed.writes.weight, xavier),
    ):  # fmt: skip
        assert weight.std().item() == pytest.approx(deviation, rel=0.1)


def is_written(name):
    return name.endswith("branch.writes.weight")


FACTORS = [("plain", 2, 1), ("scaled", 2, 1 / 2), ("scaled", 8, 1 / 4), ("scaled", 3, 6**-0.5)]
FACTORS = [*product(("none", "layer", "both"), FACTORS), ("none", ("zero", 2, 0))]


@pytest.mark.parametrize(("seat", "factor"), FACTORS)
def test_the_scale_of_branches_is_a_factor_on_what_they_write(seat, factor):
    """And on nothing else: nets with and without it are paired, draw by draw."""
    scale, depth, factor = factor
    given, plain = (
        net(seat, "pre" if seat != "none" else "none", depth=depth, **options)
        for options in ({"branch_scale": scale}, {})
    )
    found = dict(given.named_parameters())
    behind = ".parametrizations.weight.original"
    written = [n for n in found if is_written(n.replace(behind, ".weight"))]
    assert len(written) == 2 * depth
    for name, parameter in plain.named_parameters():
        if name in written:
            assert_close(found[name], factor * parameter, rtol=1e-6, atol=0)
            assert factor == 6**-0.5 or torch.equal(found[name], factor * parameter)
        elif not name.endswith(".g"):  # the length of a weight follows from it
            assert torch.equal(found[name], parameter), name


def test_branches_that_write_nothing_leave_the_stream_as_it_is():
    model = net("none", "none", branch_scale="zero", depth=3)
    tokens = torch.randint(5, (2, 4, 6))
    logits = model(tokens)
    for number in range(2):
        x = model.characters[number][tokens[number]] + model.places[number]
        expected = x @ model.head.weight[number] + model.head.bias[number]
        assert_close(logits[number], expected)
    logits.square().sum().backward()
    moved = {name for name, p in model.named_parameters() if p.grad is not None and p.grad.any()}
    branches = {f"stream.{k}.branch.writes.{name}" for k in range(6) for name in ("weight", "bias")}
    assert moved == branches | {"characters", "places", "head.weight", "head.bias"}


@pytest.mark.parametrize("scale", ["zero", "scaled"])
def test_branches_learn_to_write(scale, text):
    make = build(transformer, "none", placement="none", branch_scale=scale)
    history = train(make, text, learning_rates=[0.1], seeds=[3, 5], steps=3, batch_size=6)
    start = make([3, 5])
    for name, parameter in history.model.named_parameters():
        for mine, before in zip(parameter, start.get_parameter(name), strict=True):
            assert not torch.equal(mine, before), name


@pytest.mark.parametrize("scale", ["fixup", "", None, 0.5])
def test_an_unknown_scale_of_branches_is_refused(scale):
    with pytest.raises(ValueError, match=r"branch_scale is .*; expected plain, scaled, zero"):
        net("none", "none", branch_scale=scale)


# --- who sees whom


def moved_by_the_last_token(model):
    """Return which logits a change of the last of five tokens moves, (T,)."""
    tokens = torch.randint(5, (2, 3, 5))
    other = torch.cat([tokens[..., :4], (tokens[..., 4:] + 1) % 5], 2)
    model(tokens)  # batch norm remembers something
    before, after = (copy.deepcopy(model)(t) for t in (tokens, other))
    return ((before - after).abs().amax((0, 1, 3)) > 1e-12).tolist()


@every_placement
def test_no_token_sees_a_later_one(seat, placement):
    assert moved_by_the_last_token(shaken(net(seat, placement))) == 4 * [False] + [True]


def test_with_batch_norm_every_token_sees_later_ones_in_training():
    model = shaken(net("batch", "pre"))
    assert moved_by_the_last_token(model) == 5 * [True]
    assert moved_by_the_last_token(model.eval()) == 4 * [False] + [True]


# --- one norm is another


def test_a_pre_norm_transformer_with_layer_norm_folds_into_one_with_rms_norm():
    """Centre what is written to the stream, and let what reads a norm add its shift."""
    model = shaken(net("layer", "pre"))
    folded = net("rms", "pre", eps=1e-5).double()
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
    tokens = torch.randint(5, (2, 3, 5))
    assert_close(folded(tokens), model(tokens))
