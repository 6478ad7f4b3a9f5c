"""Sequences and residual streams: sizes, means, gradients and losses by place."""

from functools import partial
from itertools import product

import pytest
import torch
from small_nets import SEATS, build, rnn, shaken, transformer
from torch.nn import functional as F
from torch.testing import assert_close

from norms.experiments import probes

reader = partial(rnn, every_step=True)


@pytest.mark.parametrize("placement", ["pre", "post", "peri", "none"])
def test_the_stream_is_that_of_the_network(placement):
    model = shaken(transformer("layer", placement, seeds=[0, 1])).float()
    tokens, following = torch.randint(5, (2, 3, 6))
    stream = probes.stream(model, tokens, following)
    x, after, given = (model.characters[:, tokens] + model.places[:, None]).flatten(1, 2), [], []
    for residual in model.stream:
        given.append(residual.before(x))
        after.append(residual(x, 6))
        x = after[-1]
        x.retain_grad()
    logits = model.head(model.last(x))
    losses = [F.cross_entropy(logits[copy], following.flatten()) for copy in (0, 1)]
    sum(losses).backward()

    def size(tensor):
        return (tensor**2).mean() ** 0.5

    for copy, place in product((0, 1), range(4)):
        x, put_in = after[place][copy], given[place][copy]
        assert_close(stream.size[place, copy], size(x))
        assert_close(stream.mean[place, copy], size(x.mean(1)) / size(x))
        assert_close(stream.inputs[place, copy], size(put_in.mean(1)) / size(put_in))
        assert_close(stream.gradient[place, copy], size(after[place].grad[copy]))
        last = model.stream[2 * (place // 2) + 1].branch.writes.weight.grad[copy]
        assert_close(stream.weights[place // 2, copy], (last**2).sum() ** 0.5)
    assert_close(stream.loss, torch.stack(losses))


@pytest.mark.parametrize("norm", ["none", "layer", "rms"])
def test_state_sizes_are_those_after_each_character(norm, text):
    model, tokens = build(reader, norm)([0, 1]), text.test[0]
    sizes = probes.state_sizes(model, tokens)
    assert sizes.shape == (6, 2)
    for copy, seed in enumerate([0, 1]):
        alone = build(reader, norm)([seed])
        for step in range(6):  # the state behind a text is that of its beginning
            state = alone.states(tokens[None, :, : step + 1])[0, :, -1].double()
            assert_close(sizes[step, copy], (state**2).mean() ** 0.5, rtol=1e-5, atol=0)


@pytest.mark.parametrize(
    "net", [reader, partial(transformer, placement="pre")], ids=["rnn", "transformer"]
)
@pytest.mark.parametrize("norm", ["none", "layer", "rms"])
def test_loss_by_place_is_each_characters_own(norm, net, text):
    model, (tokens, targets) = build(net, norm)([0, 1]), text.test
    loss = probes.loss_by_place(model, tokens, targets)
    assert loss.shape == (6, 2)
    for copy, seed in enumerate([0, 1]):
        logits = build(net, norm)([seed])(tokens[None])[0]
        for place in range(6):
            alone = F.cross_entropy(logits[:, place], targets[:, place]).double()
            assert_close(loss[place, copy], alone, rtol=1e-5, atol=1e-7)


def test_the_stream_of_a_net_with_normed_weights_has_the_gradient_of_the_parameter_behind(text):
    model = build(transformer, SEATS["weight"], placement="none")([3, 5]).double()
    tokens, targets = (part[:4] for part in text.test)
    seen = probes.stream(model, tokens, targets)
    logits = model(tokens.expand(2, *tokens.shape))
    losses = F.cross_entropy(logits.flatten(0, 2), targets.expand(2, -1, -1).flatten())
    last = model.stream[1].branch.writes.parametrizations.weight.original
    gradient = torch.autograd.grad(2 * losses, last)[0]  # each copy's own mean
    assert_close(seen.weights[0], gradient.flatten(1).norm(dim=1))


def test_a_norm_on_the_weights_of_a_recurrent_net_acts_once(text):
    model = build(rnn, SEATS["weight"])([3, 5])
    calls = []
    for layer in (model.inputs, model.state):
        layer.parametrizations.weight[0].register_forward_hook(lambda *_: calls.append(1))
    model.states(text.test[0].expand(2, -1, -1))
    assert len(calls) == 2


def test_the_share_of_the_mean_in_a_change_is_that_of_all_matrices_as_one():
    """Two copies: the first changes by means alone, the second by (3, 0, 0, ...) in one row each."""
    model, start = (transformer("layer", "pre", seeds=[0, 1]) for _ in range(2))
    for residual in model.stream:
        weight = residual.branch.writes.weight
        with torch.no_grad():
            weight[0] += torch.arange(1.0, weight.shape[1] + 1)[:, None]
            weight[1, 0, 0] += 3
    width = model.stream[0].branch.writes.weight.shape[-1]
    assert_close(probes.constant_share(model, start), torch.tensor([1, width**-0.5]).double())
    with torch.no_grad():  # a large change without a mean in one matrix: it counts by its size
        model.stream[1].branch.writes.weight[0, 0, :2] += torch.tensor([1e4, -1e4])
    assert probes.constant_share(model, start)[0] < 0.1


def test_plain_gradients_write_no_mean_behind_a_layer_norm_and_some_behind_rms_norm():
    tokens = torch.randint(5, (2, 3, 6), generator=torch.Generator().manual_seed(0))
    for norm, low, high in (("layer", 0, 1e-6), ("rms", 0.05, 1)):
        model, start = (transformer(norm, "pre", seeds=[0, 1]) for _ in range(2))
        parameters = list(model.parameters())
        loss = F.cross_entropy(
            model(tokens[:1].expand(2, -1, -1)).flatten(0, 2),
            tokens[1:].expand(2, -1, -1).flatten(),
        )
        with torch.no_grad():
            for p, g in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
                p -= g
        share = probes.constant_share(model, start)
        assert low <= share.min()
        assert share.max() < high
