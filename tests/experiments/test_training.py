"""The training loop: pairing by seed, the descent of each copy, what is measured, and when."""

from functools import partial
from itertools import pairwise, product

import pytest
import torch
from small_nets import SEATS, build, cnn, descend, mlp, rnn, transformer, twin_of
from torch import nn
from torch.nn import functional as F
from torch.nn.utils.parametrize import is_parametrized
from torch.testing import assert_close

from norms.experiments import probes, training
from norms.experiments.data import Dataset, sonnets
from norms.experiments.evaluation import evaluate, predict, squared_error
from norms.experiments.models import Conv, Linear, noisy_norm
from norms.experiments.training import (
    GridError,
    History,
    best_rate,
    compare,
    cut_once,
    few_threads,
    run_arms,
    seeded,
    seeds,
    shuffled,
    sorted_by_class,
    torch_encoder,
    train,
)

both_nets = pytest.mark.parametrize("net", [mlp, cnn], ids=["mlp", "cnn"])


class Numbers(Dataset):
    """Images that stand for three numbers each."""

    measure = "loss"


@pytest.fixture
def numbers():
    """Draw 40, 12 and 12 images 8x8, and three numbers for each."""
    parts = [(torch.randn(n, 1, 8, 8), torch.randn(n, 3)) for n in (40, 12, 12)]
    return Numbers("numbers", *parts)


def half_squared_distance(outputs, target):
    """Torch's mean over three numbers, as half of their sum; averaged over the images."""
    return 3 / 2 * F.mse_loss(outputs, target)


# --- seeds, batches, pairs


def test_seeds_follow_the_environment(monkeypatch):
    monkeypatch.delenv("NORMS_SEED_BASE", raising=False)
    assert seeds(3) == [0, 1, 2]
    monkeypatch.setenv("NORMS_SEED_BASE", "1000")
    assert seeds(3) == [1000, 1001, 1002]


def test_an_epoch_is_a_permutation_of_the_images():
    labels = torch.arange(100) % 10
    index = shuffled(labels, 20, 12, 7)
    assert index.shape == (12, 20)
    for epoch in (index[:5], index[5:10]):
        assert sorted(epoch.flatten().tolist()) == list(range(100))
    assert not torch.equal(index[:5], index[5:10])
    assert torch.equal(index, shuffled(labels, 20, 12, 7))
    assert not torch.equal(index, shuffled(labels, 20, 12, 8))
    rest = shuffled(labels, 30, 3, 7).flatten().tolist()  # the last, incomplete batch is dropped
    assert len(set(rest)) == 90


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
    assert not torch.equal(index[:4], index[4:8])


@both_nets
def test_a_seed_trains_alike_alone_and_among_other_seeds_and_rates(net, images):
    run = partial(train, build(net, "batch"), images, steps=8, batch_size=16)
    alone = run(learning_rates=[0.1], seeds=[4])
    among = run(learning_rates=[0.03, 0.1], seeds=[1, 4, 9])
    assert torch.allclose(alone.loss[:, 0, 0], among.loss[:, 1, 1], atol=1e-5)
    assert alone.model.copies == 1
    assert among.test.shape == (1, 2, 3)


class Looker(nn.Module):
    """Keeps what it is given; all its copies answer with one number a class."""

    def __init__(self, copies):
        super().__init__()
        self.copies, self.given = copies, []
        self.bias = nn.Parameter(torch.zeros(copies, 1, 10))

    def forward(self, x):
        if self.training:
            self.given.append(x)
        return self.bias.expand(-1, x.shape[1], -1)


def test_every_copy_is_given_the_batches_of_its_seed_and_their_labels(images):
    """Whatever the rate and whatever is built; the labels are seen in the gradient of the bias."""
    history = train(
        lambda copies: Looker(len(copies)), images, learning_rates=[0.03, 0.1, 0.3],
        seeds=[9, 4], steps=3, batch_size=16,
    )  # fmt: skip
    for copy, (_rate, seed) in enumerate(product(range(3), (9, 4))):
        batches = shuffled(images.train[1], 16, 3, seed)
        for step, batch in enumerate(batches):
            assert torch.equal(history.model.given[step][copy], images.train[0][batch])
    once = train(
        lambda copies: Looker(len(copies)), images, learning_rates=[1.0], seeds=[9, 4], steps=1,
        batch_size=16,
    )  # fmt: skip
    for copy, seed in enumerate((9, 4)):
        labels = images.train[1][shuffled(images.train[1], 16, 1, seed)[0]]
        share = torch.bincount(labels, minlength=10) / 16
        assert_close(once.model.bias[copy, 0], share - 1 / 10)


def test_labels_of_ones_own_leave_images_out(images):
    def half(labels, batch_size, steps, seed):
        index = shuffled(labels, batch_size, steps, seed)
        target = labels[index].clone()
        target[:, ::2] = -100
        return index, target

    history = train(
        build(mlp, "none"), images, learning_rates=[0.1], seeds=[0], steps=1, batch_size=8,
        batches=half,
    )  # fmt: skip
    index, model = shuffled(images.train[1], 8, 1, 0)[0][1::2], build(mlp, "none")([0])
    expected = F.cross_entropy(model(images.train[0][None, index])[0], images.train[1][index])
    assert float(history.loss) == pytest.approx(expected.item(), abs=1e-6)


# --- the descent


@pytest.mark.parametrize("warmup", [0, 4])
@pytest.mark.parametrize(
    ("optimizer", "torchs"),
    [({"optimizer": "adam"}, torch.optim.Adam),
     ({}, torch.optim.SGD),
     ({"momentum": 0.9}, partial(torch.optim.SGD, momentum=0.9))],
    ids=["adam", "plain", "momentum"],
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


# What is decayed in torch's network: weights, and v where a weight is made of a length and v.
DECAYED = ("weight", "parametrizations.weight.original1")


def torchs_groups(twin, decay):
    """Parameters of a network of torch's layers, as torch's manual has them for weight decay."""
    weights = [
        layer.get_parameter(name)
        for layer in twin.modules()
        if isinstance(layer, nn.Linear | nn.Conv2d)
        for name in DECAYED
        if name in dict(layer.named_parameters())
    ]
    rest = [p for p in twin.parameters() if p.requires_grad and all(p is not w for w in weights)]
    assert weights
    assert rest
    return [{"params": weights, "weight_decay": decay}, {"params": rest, "weight_decay": 0.0}]


@pytest.mark.parametrize(
    ("optimizer", "torchs", "rates"),
    [({"optimizer": "adam"}, torch.optim.Adam, (0.003, 0.01)),
     ({}, torch.optim.SGD, (0.03, 0.1)),
     ({"momentum": 0.9}, partial(torch.optim.SGD, momentum=0.9), (0.01, 0.03))],
    ids=["adam", "plain", "momentum"],
)  # fmt: skip
@pytest.mark.parametrize(
    ("net", "seat"),
    [(mlp, "none"), (mlp, "both"), (cnn, "layer"), (partial(rnn, inputs=4, classes=10), "layer")],
    ids=["mlp", "both seats", "cnn", "rnn"],
)
def test_weights_decay_as_with_torchs_optimizer(net, seat, optimizer, torchs, rates, images):
    make = build(net, SEATS[seat])
    run = partial(train, make, images, learning_rates=list(rates), seeds=[3, 5], steps=5,
                  batch_size=16, **optimizer)  # fmt: skip
    history, without = run(weight_decay=0.2), run()
    for copy, (rate, seed) in enumerate(product(rates, (3, 5))):
        twin = twin_of(make([seed]), 0)
        descent = torchs(torchs_groups(twin, 0.2), rate)
        losses = descend(twin, descent, images, shuffled(images.train[1], 16, 5, seed))
        assert_close(history.loss.flatten(1)[:, copy], losses, atol=1e-4, rtol=0)
        found = twin_of(history.model, copy).state_dict()
        for name, value in twin.state_dict().items():
            assert_close(found[name], value, atol=1e-4, rtol=1e-4)
    assert not torch.allclose(history.loss[-1], without.loss[-1], atol=1e-3)


@pytest.mark.parametrize(
    ("net", "seat"),
    [(mlp, "both"), (cnn, "batch"), (partial(rnn, inputs=4), "layer"),
     (partial(transformer, placement="pre"), "both")],
    ids=["mlp", "cnn", "rnn", "transformer"],
)  # fmt: skip
def test_biases_gains_and_tables_do_not_decay(net, seat, images, text):
    """One step with and without it, from the same start: only weights differ, by their decay."""
    data, make = (text if "placement" in net.keywords else images), build(net, SEATS[seat])
    if net.func is rnn.func:
        make = build(net, SEATS[seat], classes=10)
    run = partial(train, make, data, learning_rates=[0.1, 0.2], seeds=[3, 5], steps=1,
                  batch_size=8)  # fmt: skip
    start, decayed, plain = make([3, 5, 3, 5]), run(weight_decay=0.5).model, run().model
    found = []
    for (name, before), with_it, without in zip(
        start.named_parameters(), decayed.parameters(), plain.parameters(), strict=True
    ):
        if torch.equal(with_it, without):
            continue
        found.append(name)
        rates = torch.tensor([0.1, 0.1, 0.2, 0.2]).repeat_interleave(len(before) // 4)
        rates = rates.view(-1, *[1] * (before.dim() - 1))
        assert_close(with_it, without - 0.5 * rates * before, atol=1e-6, rtol=1e-5)
    behind = "parametrizations.weight.original"
    layers = {n: m for n, m in start.named_modules() if isinstance(m, Linear | Conv)}
    weights = {f"{n}.{behind if is_parametrized(m) else 'weight'}" for n, m in layers.items()}
    assert set(found) == weights
    assert len(list(start.parameters())) > len(weights)


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
def test_what_needs_no_gradient_stays_and_the_rest_descends_as_with_torch(optimizer, images):
    still = ("layers.0.weight", "norms.1.weight", "head.bias")

    def make(seeds):
        model = mlp(norm="layer", seeds=seeds)
        for name in still:
            model.get_parameter(name).requires_grad_(False)
        return model

    updates = []
    history = train(
        make, images, learning_rates=[0.03, 0.1], seeds=[3, 5], steps=4, batch_size=16,
        optimizer=optimizer, weight_decay=0.1, watch=lambda _s, _m, u: updates.append(u),
    )  # fmt: skip
    start = make([3, 5, 3, 5])
    for name, parameter in history.model.named_parameters():
        assert torch.equal(parameter, start.get_parameter(name)) == (name in still), name
        assert parameter.requires_grad == (name not in still)
    moving = [p for n, p in start.named_parameters() if n not in still]
    for step in updates:
        assert [u.shape for u in step] == [p.shape for p in moving]
    torchs = {"sgd": torch.optim.SGD, "adam": torch.optim.Adam}[optimizer]
    for copy, (rate, seed) in enumerate(product((0.03, 0.1), (3, 5))):
        twin = twin_of(make([seed]), 0)
        _, first, first_norm, _, second, second_norm, _, head = twin
        for parameter in (first.weight, second_norm.weight, head.bias):
            parameter.requires_grad_(False)
        groups = [
            {"params": [second.weight, head.weight], "weight_decay": 0.1},
            {"params": [first.bias, *first_norm.parameters(), second.bias, second_norm.bias]},
        ]
        losses = descend(twin, torchs(groups, rate), images,
                         shuffled(images.train[1], 16, 4, seed))  # fmt: skip
        assert_close(history.loss.flatten(1)[:, copy], losses, atol=1e-4, rtol=0)


def test_an_unknown_optimizer_is_refused(images):
    with pytest.raises(ValueError, match="optimizer is 'lion'; expected 'sgd' or 'adam'"):
        train(build(mlp, "none"), images, learning_rates=[0.1], seeds=[0], steps=1, batch_size=8,
              optimizer="lion")  # fmt: skip


@both_nets
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


@pytest.mark.parametrize("norm", ["none", "batch"])
@both_nets
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


# --- losses


@pytest.mark.parametrize("micro_batch", [None, 2])
@pytest.mark.parametrize("net", [partial(rnn, every_step=True), partial(transformer, placement="pre")],
                         ids=["rnn", "transformer"])  # fmt: skip
def test_the_loss_of_a_text_is_that_of_every_character(net, text, micro_batch):
    history = train(
        build(net, "layer"), text, learning_rates=[0.1], seeds=[3, 5], steps=1, batch_size=4,
        micro_batch=micro_batch,
    )  # fmt: skip
    for copy, seed in enumerate([3, 5]):
        windows, following = (part[shuffled(text.train[1], 4, 1, seed)[0]] for part in text.train)
        logits = build(net, "layer")([seed])(windows[None])[0]
        expected = F.cross_entropy(logits.flatten(0, 1), following.flatten())
        assert history.loss[0, 0, copy].item() == pytest.approx(expected.item(), abs=1e-6)


@pytest.mark.parametrize("micro_batch", [None, 4], ids=["whole", "parts"])
@pytest.mark.parametrize("seat", ["none", "layer", "weight"])
def test_numbers_are_learned_by_their_squared_error(seat, micro_batch, numbers):
    make = build(mlp, SEATS[seat], classes=3)
    history = train(
        make, numbers, learning_rates=[0.03, 0.1], seeds=[3, 5], steps=5, batch_size=16,
        momentum=0.9, micro_batch=micro_batch, loss=squared_error, every=2,
    )  # fmt: skip
    for copy, (rate, seed) in enumerate(product((0.03, 0.1), (3, 5))):
        twin = twin_of(make([seed]), 0)
        descent = torch.optim.SGD(twin.parameters(), rate, momentum=0.9)
        losses = descend(twin, descent, numbers, shuffled(numbers.train[1], 16, 5, seed),
                         loss=half_squared_distance)  # fmt: skip
        assert_close(history.loss.flatten(1)[:, copy], losses, atol=1e-5, rtol=1e-5)
        found = predict(history.model, numbers.test[0])[copy]
        assert_close(found, twin(numbers.test[0]), atol=1e-5, rtol=1e-4)
        expected = half_squared_distance(twin(numbers.test[0]), numbers.test[1])
        assert_close(history.test.flatten(1)[-1, copy], expected, atol=1e-5, rtol=1e-4)
    assert history.measure == "loss"
    assert history.steps == [2, 4, 5]


def test_a_diverged_copy_has_an_infinite_squared_error(numbers):
    run = partial(train, build(mlp, "none", classes=3), numbers, seeds=[0, 1], steps=20,
                  batch_size=16, loss=squared_error)  # fmt: skip
    history, calm = run(learning_rates=[0.01, 1e30]), run(learning_rates=[0.01, 0.01])
    assert torch.equal(history.test[-1, 0], calm.test[-1, 0])
    assert (history.test[-1, 1] == torch.inf).all()
    assert history.best == 0


# --- what is measured


def test_each_part_is_measured_on_itself(images, text):
    for data, net in ((images, mlp), (text, partial(rnn, every_step=True))):
        history = train(
            build(net, "batch"), data, learning_rates=[0.1], seeds=[0, 1], steps=20, batch_size=16
        )
        for part in ("validation", "test"):
            expected = evaluate(history.model, *getattr(data, part), measure=data.measure)
            assert torch.equal(getattr(history, part)[-1, 0], expected), part
        assert not torch.equal(history.validation, history.test)


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


def test_steps_to_a_target():
    accuracies = torch.tensor([[[10.0, 70]], [[60, 50]], [[80, 90]]])  # 3 records, 1 rate, 2 seeds
    history = History([20, 40, 60], None, accuracies - 10, accuracies, [0.1])
    assert history.steps_to(60).tolist() == [[40, 20]]
    assert history.steps_to(60, "validation").tolist() == [[60, 20]]
    assert history.steps_to(85).tolist() == [[torch.inf, 60]]


def test_the_end_of_a_grid_is_refused():
    assert best_rate([0.1, 0.3, 1], [[1, 2], [5, 4], [3, 3]]) == 0.3
    assert best_rate([0.1, 0.3, 1, 3], [[1], [5], [5], [3]]) == 0.3  # the smaller of equals
    for rows, end in (([[9, 9], [1, 1]], "smallest"), ([[1, 1], [9, 9]], "largest")):
        with pytest.raises(GridError, match=f"{end} of the grid: extend"):
            best_rate([0.1, 0.3], rows)


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


def test_the_best_is_chosen_on_the_validation_part():
    good, bad = torch.tensor([[[90.0], [10.0]]]), torch.tensor([[[10.0], [90.0]]])
    assert History([1], None, good, bad, [0.1, 0.3]).best == 0


# --- watching


def meddle(_step, model, _updates):
    """Do all that an instrument must not do, except to the parameters."""
    model.eval()
    torch.rand(7)
    for buffer in model.buffers():
        buffer.zero_()


WATCHES = {
    "drift": lambda images: probes.DriftMeter(images.train[0][:64], [0, 1]),
    "updates": lambda images: lambda _s, model, updates: probes.update_ratios(model, updates),
    "meddler": lambda images: meddle,
}
NETS = {
    "batch": build(mlp, "batch"),
    "noisy": build(mlp, noisy_norm),
    "micro-batches": build(mlp, "batch", micro_batch=4),
    "cnn": build(cnn, "batch"),
}


@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("watch", WATCHES)
def test_a_watched_run_is_the_unwatched_one_bit_by_bit(watch, net, images):
    run = partial(train, NETS[net], images, learning_rates=[0.1], seeds=[0, 1], steps=6,
                  batch_size=32, every=2)  # fmt: skip
    plain, watched = run(), run(watch=WATCHES[watch](images))
    assert torch.equal(watched.loss, plain.loss)
    assert torch.equal(watched.test, plain.test)
    for name, value in plain.model.state_dict().items():
        assert torch.equal(watched.model.state_dict()[name], value), name
    assert len(watched.watched) == {"drift": 5, "updates": 6, "meddler": 0}[watch]


def test_a_watch_is_given_the_step_the_model_and_its_changes(images):
    seen = []

    def watch(step, model, updates):
        seen.append((step, [p.detach().clone() for p in model.parameters()], updates))
        return None if step == 2 else step

    history = train(build(mlp, "batch"), images, learning_rates=[0.1, 0.2], seeds=[0], steps=3,
                    batch_size=16, watch=watch)  # fmt: skip
    assert history.watched == [1, 3]
    assert [step for step, _, _ in seen] == [1, 2, 3]
    for (_, before, _), (_, after, updates) in pairwise(seen):
        for old, new, update in zip(before, after, updates, strict=True):
            assert_close(new, old + update)


@pytest.mark.parametrize("fails", [False, True])
def test_training_leaves_torchs_random_numbers_and_threads_alone(fails, images):
    class Failure(Exception):
        pass

    def watch(*_):
        torch.rand(3)
        if fails:
            raise Failure

    torch.set_num_threads(2)
    before = torch.random.get_rng_state()
    try:
        train(build(mlp, noisy_norm), images, learning_rates=[0.1], seeds=[0], steps=2,
              batch_size=16, watch=watch)  # fmt: skip
        assert not fails
    except Failure:
        assert fails
    finally:
        threads = torch.get_num_threads()
        torch.set_num_threads(1)
    assert threads == 2
    assert torch.equal(torch.random.get_rng_state(), before)


def test_noise_in_training_is_that_of_the_first_seed(images):
    run = partial(
        train, build(mlp, noisy_norm), images, learning_rates=[0.1], steps=3, batch_size=16
    )
    first = run(seeds=[3]).loss
    torch.rand(5)
    assert torch.equal(run(seeds=[3]).loss, first)
    drawn = []

    class Noise(Looker):
        def forward(self, x):
            if self.training:
                drawn.append(torch.rand(2))
            return super().forward(x)

    train(lambda copies: Noise(len(copies)), images, learning_rates=[0.1], seeds=[7, 8], steps=1,
          batch_size=16)  # fmt: skip
    torch.manual_seed(7)
    assert torch.equal(drawn[0], torch.rand(2))


# --- threads


@pytest.fixture
def three_threads(monkeypatch):
    monkeypatch.delenv("NORMS_THREADS", raising=False)
    torch.set_num_threads(3)
    yield
    torch.set_num_threads(1)


@pytest.mark.parametrize("asked", [None, "2"])
def test_few_threads_gives_torchs_own_number_back(asked, three_threads, monkeypatch):
    if asked:
        monkeypatch.setenv("NORMS_THREADS", asked)
    with few_threads():
        assert torch.get_num_threads() == int(asked or 1)
    assert torch.get_num_threads() == 3
    with pytest.raises(KeyError), few_threads():
        raise KeyError
    assert torch.get_num_threads() == 3
    assert training.on_few_threads(torch.get_num_threads) == int(asked or 1)
    assert torch.get_num_threads() == 3


# --- arms


def test_arms_keep_their_names():
    arms = {"a": lambda: (1, torch.get_num_threads()), "b": lambda: (2, torch.get_num_threads())}
    assert run_arms(arms, processes=1) == {"a": (1, 1), "b": (2, 1)}
    assert list(run_arms(arms, processes=1)) == ["a", "b"]


def test_an_arm_is_what_its_net_is_given():
    make = partial(seeded, mlp, norm="layer", depth=3)
    assert torch.equal(make([4]).layers[0].weight, mlp(norm="none", seeds=[4]).layers[0].weight)
    assert len(make([4, 5]).norms) == 3
    assert make([4, 5]).copies == 2


@pytest.mark.slow
def test_arms_run_in_processes(monkeypatch, images):
    monkeypatch.setenv("NORMS_SILENT", "1")
    options = {"learning_rates": [0.1], "seeds": [0, 1], "steps": 5, "batch_size": 32}
    together = compare(
        mlp, {"none": {"norm": "none"}, "own": {"norm": noisy_norm}}, images, **options
    )
    assert list(together) == ["none", "own"]
    for name, norm in (("none", "none"), ("own", noisy_norm)):
        assert torch.equal(together[name].loss, train(build(mlp, norm), images, **options).loss)


@pytest.mark.slow
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
