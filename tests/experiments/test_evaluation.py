"""Answers of copies and their measures; batch norm's statistics, taken anew and given back."""

import contextlib
import math
from functools import partial

import pytest
import torch
from small_nets import SEATS, build, cnn, mlp, rnn, transformer
from torch.nn import functional as F
from torch.testing import assert_close

from norms.experiments.evaluation import (
    batch_statistics,
    cross_entropy,
    evaluate,
    for_every_copy,
    predict,
    reestimate,
    squared_error,
    undisturbed,
)
from norms.experiments.models import noisy_norm
from norms.experiments.training import train

reader = partial(rnn, every_step=True)
NETS = {
    "mlp": build(mlp, "batch"),
    "cnn": build(cnn, "batch"),
    "noisy": build(mlp, noisy_norm),
    "micro-batches": build(mlp, "batch", micro_batch=4),
    "micro-batches of maps": build(cnn, "batch", micro_batch=4),
}
every_net = pytest.mark.parametrize("net", NETS)


class Failure(Exception):
    pass


def fails(*_):
    raise Failure


@pytest.fixture
def trained(images):
    """Make networks of two copies whose running statistics are not those of one batch."""

    def make(net):
        run = train(NETS[net], images, learning_rates=[0.1], seeds=[0, 1], steps=10, batch_size=32)
        run.model.norms[0].eval()  # modes differ, and must do so afterwards
        return run.model

    return make


def state(model):
    """List all that must not change: modes, momenta, parameters, buffers, random numbers, hooks."""
    modules = [
        (m.training, getattr(m, "momentum", None), len(m._forward_hooks)) for m in model.modules()
    ]
    tensors = {name: value.clone() for name, value in model.state_dict().items()}
    gradients = [parameter.grad for parameter in model.parameters()]
    return modules, gradients, {**tensors, "random": torch.random.get_rng_state()}


def assert_unchanged(model, before, except_for=()):
    modules, gradients, tensors = state(model)
    assert modules == before[0]
    assert gradients == before[1]
    assert tensors.keys() == before[2].keys()
    changed = {name for name in tensors if not torch.equal(tensors[name], before[2][name])}
    assert {name for name in changed if name.split(".")[-1] not in except_for} == set()


# --- losses


def test_cross_entropy_is_torchs_for_each_answer():
    logits, target = torch.randn(2, 3, 4, 5), torch.randint(5, (2, 3, 4))
    target[0, 1, 2] = -100
    found = cross_entropy(logits, target)
    assert found.shape == (2, 3, 4)
    for place in torch.cartesian_prod(*(torch.arange(n) for n in (2, 3, 4))).tolist():
        place = tuple(place)
        if target[place] == -100:
            assert found[place] == 0
        else:
            assert_close(found[place], F.cross_entropy(logits[place], target[place]))
    shared = cross_entropy(logits, target[0])  # for all copies alike
    assert_close(shared[1], cross_entropy(logits[1], target[0]))


def test_squared_error_is_half_the_squared_distance():
    outputs = torch.tensor([[[1.0, 2, 2], [0, 0, 0]]] * 2)
    target = torch.tensor([[0.0, 0, 0], [0, 3, 4]])
    assert squared_error(outputs, target).tolist() == [[4.5, 12.5]] * 2


# --- answers


def test_images_are_for_every_copy_or_each_has_its_own(images, text):
    model, x = build(mlp, "none")([0, 1]), images.test[0][:6]
    assert torch.equal(for_every_copy(model, x), torch.stack([x, x]))
    own = torch.stack([x, x.flip(0)])
    assert for_every_copy(model, own) is own
    assert_close(predict(model, own)[1], predict(model, x)[1].flip(0))
    model, tokens = build(reader, "none")([0, 1]), text.test[0]
    own = torch.stack([tokens, tokens.flip(0)])
    assert for_every_copy(model, own) is own
    assert_close(predict(model, own)[1], predict(model, tokens)[1].flip(0))


@every_net
def test_answers_do_not_depend_on_the_size_of_the_parts(net, trained, images):
    model, x = trained(net), images.test[0][:100]
    assert_close(predict(model, x, batch_size=7), predict(model, x), atol=1e-5, rtol=1e-5)
    with torch.no_grad():
        assert_close(predict(model, x), model.eval()(for_every_copy(model, x)))


def test_answers_by_batch_take_the_statistics_of_each_batch_in_order(images):
    model, x = build(mlp, "batch")([0, 1]), images.test[0][:100]
    found = predict(model, x, "batch", 20)
    for start in range(0, 100, 20):
        alone = predict(model, x[start : start + 20], "batch")
        assert_close(found[:, start : start + 20], alone)
    assert not torch.allclose(found, predict(model, x, "batch", 100), atol=1e-2)


def test_noise_is_absent_from_answers_by_batch(images):
    model, plain = (build(mlp, norm)([0, 1]) for norm in (noisy_norm, "batch"))
    found, expected = (predict(m, images.test[0][:50], "batch") for m in (model, plain))
    assert_close(found, expected)


def test_other_statistics_are_refused(images):
    with pytest.raises(ValueError, match="statistics is 'own'; expected 'running' or 'batch'"):
        predict(build(mlp, "batch")([0]), images.test[0], "own")


def test_accuracy_and_loss_are_those_of_the_answers(images):
    model, (x, y) = build(mlp, "batch")([0, 1]), images.test
    logits = predict(model, x)
    for copy in (0, 1):
        right = 100 * (logits[copy].argmax(1) == y).float().mean()
        assert_close(evaluate(model, x, y)[copy], right)
        expected = F.cross_entropy(logits[copy], y)
        assert_close(evaluate(model, x, y, measure="loss")[copy], expected)
    by_batch = predict(model, x, "batch", 100)
    expected = 100 * (by_batch.argmax(-1) == y).float().mean(1)
    assert_close(evaluate(model, x, y, "batch", 100), expected)


def test_another_loss_may_be_the_measure(images):
    model, x, target = build(mlp, "none", classes=3)([0, 1]), images.test[0], torch.randn(500, 3)
    found = evaluate(model, x, target, measure="loss", loss=squared_error)
    logits = predict(model, x)
    for copy in (0, 1):
        assert_close(found[copy], 3 / 2 * F.mse_loss(logits[copy], target))  # a mean over three


def test_a_text_is_measured_by_the_mean_loss_of_its_characters(text):
    model, (windows, following) = build(reader, "batch")([0, 1, 2, 3]), text.test
    logits = predict(model, windows)
    assert logits.shape == (4, 12, 6, 5)
    found = evaluate(model, windows, following, measure="loss")
    for copy in range(4):
        expected = F.cross_entropy(logits[copy].flatten(0, 1), following.flatten())
        assert_close(found[copy], expected)
    asked = partial(evaluate, model, windows, following)
    assert_close(asked(measure="loss", batch_size=5), found)
    assert_close(asked(), 100 * (logits.argmax(-1) == following).float().mean((1, 2)))
    own = evaluate(model, windows.expand(4, 12, 6), following.expand(4, 12, 6), measure="loss")
    assert torch.equal(own, found)


@pytest.mark.parametrize(
    ("options", "guess"),
    [
        ({}, 100 / 5),
        ({"measure": "loss"}, math.log(5)),
        ({"measure": "loss", "loss": lambda logits, target: logits[..., 0]}, math.inf),
    ],
    ids=["accuracy", "loss", "another loss"],
)
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_copy_that_has_diverged_counts_as_guessing(options, guess, value, text):
    model = build(reader, "none")([0, 1, 2])
    before = evaluate(model, *text.test, **options)
    with torch.no_grad():
        model.head.bias[1, 0, 3] = value  # one answer of five is enough
    after = evaluate(model, *text.test, **options)
    assert after[1].item() == pytest.approx(guess)
    assert torch.equal(after[::2], before[::2])


# --- batch norm's statistics


@every_net
def test_under_batch_statistics_the_layers_with_running_ones_train(net, trained):
    model = trained(net)
    with batch_statistics(model) as layers:
        assert len(layers) == 2
        assert all(layer.training for layer in layers)
        training = {module for module in model.modules() if module.training}
        assert training == set(layers)
    with batch_statistics(model, by_batch=False):
        assert not any(module.training for module in model.modules())


@pytest.mark.parametrize("net", ["mlp", "cnn"])
def test_reestimated_statistics_answer_as_the_batch_itself(net, trained, images):
    model, x = trained(net), images.test[0][:100]
    batch = predict(model, x, "batch", 100)
    assert reestimate(model, x) is model
    # Biased and unbiased variances differ by a hundredth, and that is all.
    assert torch.allclose(predict(model, x), batch, atol=0.2)
    assert not torch.equal(predict(model, x), batch)


def test_reestimated_statistics_are_the_plain_average_over_whole_batches(images):
    model = build(mlp, "batch")([0, 1])
    own = torch.stack([images.test[0][:40], images.test[0][40:80]])
    reestimate(model, own, batch_size=16)  # 8 of 40 are left out
    with torch.no_grad():
        sums = model.layers[0](own.flatten(2))[:, :32].unflatten(1, (2, 16))  # (R, batches, 16, C)
    first = model.norms[0]
    assert_close(first.running_mean, sums.mean((1, 2)).flatten())
    assert_close(first.running_var, sums.var(2).mean(1).flatten())
    assert first.num_batches_tracked == 2
    assert first.momentum == 0.1


# --- nothing else changes


USES = {
    "predict": predict,
    "predict by batch": lambda model, x: predict(model, x, "batch", 32),
    "evaluate": lambda model, x: evaluate(model, x, torch.zeros(len(x), dtype=torch.long)),
    "reestimate": lambda model, x: reestimate(model, x, 32),
}
STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


@every_net
@pytest.mark.parametrize("use", USES)
def test_a_use_leaves_the_model_as_it_was(use, net, trained, images):
    model = trained(net)
    before = state(model)
    USES[use](model, images.test[0][:64])
    assert_unchanged(model, before, except_for=STATISTICS if use == "reestimate" else ())


@every_net
@pytest.mark.parametrize("use", USES)
def test_a_use_that_fails_leaves_the_model_as_it_was(use, net, trained, images):
    """It fails in the second batch, behind all norms."""
    model = trained(net)
    calls = []
    model.head.register_forward_pre_hook(
        lambda *_: (
            fails() if len(calls) == (use not in ("predict", "evaluate")) else calls.append(1)
        )
    )
    before = state(model)
    with pytest.raises(Failure):
        USES[use](model, images.test[0][:64])
    assert_unchanged(model, before)


@every_net
@pytest.mark.parametrize("fail", [False, True])
@pytest.mark.parametrize("context", [batch_statistics, undisturbed])
def test_a_context_gives_all_back_whatever_its_body_does(context, fail, net, trained, images):
    model = trained(net)
    before = state(model)
    with pytest.raises(Failure) if fail else contextlib.nullcontext(), context(model):
        model.train()
        model(for_every_copy(model, images.test[0][:64]))
        torch.rand(3)
        for buffer in model.buffers():
            buffer.zero_()
        if fail:
            raise Failure
    assert_unchanged(model, before)


def test_a_net_without_running_statistics_is_only_put_into_evaluation():
    for make in (build(mlp, SEATS["both"]), build(transformer, "rms", placement="pre")):
        model = make([0, 1])
        with batch_statistics(model) as layers:
            assert layers == []
            assert not any(module.training for module in model.modules())
        assert all(module.training for module in model.modules())
