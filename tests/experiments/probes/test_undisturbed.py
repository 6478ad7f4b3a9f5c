"""No instrument changes what it looks at, nor torch's random numbers, even if it fails."""

import copy
from functools import partial

import pytest
import torch
from small_nets import build, cnn, mlp, rnn, transformer
from torch import nn

from norms.experiments import probes
from norms.experiments.data import SHIFTS
from norms.experiments.models import DriftingNoise, MicroBatchNorm1d, noisy_norm


class Failure(Exception):
    pass


def noisy_parts(copies, channels):
    return nn.Sequential(MicroBatchNorm1d(copies * channels, 2), DriftingNoise())


NORMS = {
    "batch": {"norm": "batch"},
    "micro-batches": {"norm": "batch", "micro_batch": 2},
    "noisy": {"norm": noisy_norm},
    "noisy micro-batches": {"norm": noisy_parts},
}
NETS = {
    "mlp": mlp,
    "cnn": cnn,
    "rnn": partial(rnn, every_step=True),
    "transformer": partial(transformer, placement="pre"),
}
# What a probe of networks does, given a network, images and a text; and the nets it looks at.
PROBES = {
    "DriftMeter": ("mlp cnn", lambda model, x, y, *_: probes.DriftMeter(x, [0, 1])(1, model, None)),
    "answers_changed_by_batch": (
        "mlp cnn",
        lambda model, x, *_: probes.answers_changed_by_batch(model, x, sizes=(4,), count=16),
    ),
    "constant_share": (
        "transformer",
        lambda model, *_: probes.constant_share(model, copy.deepcopy(model)),
    ),
    "loss_by_place": (
        "rnn transformer",
        lambda model, _x, _y, _images, text: probes.loss_by_place(model, *text.test),
    ),
    "rotations": (
        "mlp",
        lambda model, *_: probes.rotations(model, list(model.parameters())),
    ),
    "shifted_errors": (
        "mlp cnn",
        lambda model, _x, _y, images, _text: probes.shifted_errors(
            SHIFTS["contrast ¼"], images, model, model, counts=(4,)
        ),
    ),
    "signals": ("mlp cnn", lambda model, x, y, *_: probes.signals(model, x, y)),
    "squared_growth": (
        "mlp cnn",
        lambda model, x, y, *_: probes.squared_growth(model, x, y, skip=0),
    ),
    "state_sizes": (
        "rnn",
        lambda model, _x, _y, _images, text: probes.state_sizes(model, text.test[0]),
    ),
    "stream": (
        "transformer",
        lambda model, _x, _y, _images, text: probes.stream(model, *text.test),
    ),
    "three_statistics": (
        "mlp cnn",
        lambda model, _x, _y, images, _text: probes.three_statistics(model, images, 32, 64),
    ),
    "update_ratios": (
        "mlp cnn",
        lambda model, *_: probes.update_ratios(model, list(model.parameters())),
    ),
    "weight_gradient_cosine": (
        "mlp",
        lambda model, x, y, *_: probes.weight_gradient_cosine(model, x, y, layer=1),
    ),
}
# Those that look at no network.
ALONE = {
    "dead": lambda images: probes.dead([images.train[0]]),
    "jacobian_blocks": lambda images: probes.jacobian_blocks(torch.tanh, torch.ones(3, 2)),
    "jitter": lambda images: probes.jitter(images.train[0][:60], 4, 0, (0,), units=5, draws=3),
    "norms_after_linear": lambda images: probes.norms_after_linear(
        torch.ones(3, 2).double(), torch.eye(2).double()
    ),
    "rms": lambda images: probes.rms([images.train[0]]),
    "rounding_error": lambda images: probes.rounding_error(torch.tanh, torch.tanh, 0),
    "saturated": lambda images: probes.saturated([images.train[0]]),
    "working_decades": lambda images: probes.working_decades([1, 10], images.train[0][:2, 0, 0], 1),
    "working_rates": lambda images: probes.working_rates([1, 10], images.train[0][:2, 0, 0, 0], 1),
}


def every_case(*left_out):
    """Give a test each probe with each of its nets and norms."""
    found = [
        (probe, net, norm)
        for probe, (nets, _) in PROBES.items()
        for net in nets.split()
        for norm in NORMS
        if probe not in left_out and (net != "cnn" or "noisy" not in norm)  # noise is for features
    ]
    return pytest.mark.parametrize(("probe", "net", "norm"), found)


def state(model):
    """List all that must not change; parameters and buffers are also the same tensors."""
    modules = [
        (m.training, getattr(m, "momentum", None), len(m._forward_hooks)) for m in model.modules()
    ]
    parameters = [(id(p), p.grad, p.requires_grad) for p in model.parameters()]
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    return (*modules, *parameters), {**tensors, "random": torch.random.get_rng_state()}


def assert_unchanged(model, before):
    things, tensors = state(model)
    assert things == before[0]
    assert [name for name in tensors if not torch.equal(tensors[name], before[1][name])] == []


def network(net, norm):
    """Return two copies in training mode, but for one layer, after a batch and before the next."""
    model = build(NETS[net], **NORMS[norm])([0, 1])
    tokens, images = torch.randint(5, (2, 8, 6)), torch.randn(2, 8, 1, 8, 8)
    with torch.no_grad():
        model(tokens if net in ("rnn", "transformer") else images)
    model.head.eval()
    return model


@every_case()
def test_a_probe_leaves_the_network_as_it_was(probe, net, norm, images, text):
    model, (x, y) = network(net, norm), (part[:16] for part in images.train)
    before = state(model)
    PROBES[probe][1](model, x, y, images, text)
    assert_unchanged(model, before)
    model.eval()
    before = state(model)
    PROBES[probe][1](model, x, y, images, text)
    assert_unchanged(model, before)


@every_case("update_ratios", "rotations", "constant_share")  # they send nothing through the network
def test_a_probe_that_fails_leaves_the_network_as_it_was(probe, net, norm, images, text):
    """It fails in the head, behind all norms; or in a later step, where the head is not used."""
    model, (x, y) = network(net, norm), (part[:16] for part in images.train)
    steps = []

    def fail(*_):
        steps.append(None)
        if probe != "state_sizes" or len(steps) == 3:
            raise Failure

    (model.state if probe == "state_sizes" else model.head).register_forward_pre_hook(fail)
    before = state(model)
    with pytest.raises(Failure):
        PROBES[probe][1](model, x, y, images, text)
    assert_unchanged(model, before)


@pytest.mark.parametrize("probe", ALONE)
def test_a_probe_of_no_network_leaves_random_numbers_and_data_alone(probe, images):
    before, x = torch.random.get_rng_state(), images.train[0].clone()
    ALONE[probe](images)
    assert torch.equal(torch.random.get_rng_state(), before)
    assert torch.equal(images.train[0], x)


def test_no_probe_is_left_out():
    assert {*PROBES, *ALONE, "Signals", "Stream"} == set(probes.__all__)
