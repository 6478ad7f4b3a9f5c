"""Small GANs: the games and their scores, what arms do to critics, the turns, the stored tables."""

import csv
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.linalg import sqrtm
from torch.nn import functional as F
from torch.testing import assert_close

from norms.experiments import gans, sweep
from norms.experiments.gans import (
    ARMS,
    GAMES,
    Critic,
    Digits,
    Perceptron,
    Ring,
    Setting,
    chosen,
    frechet,
    play,
    rerun,
    results,
    singular_values,
    slopes,
    store,
    table,
)
from norms.experiments.models.copies import generators_of
from norms.experiments.training import GridError
from norms.spectral_norm import spectral_norm_backward
from norms.weight_norm import weight_norm_forward


class SmallRing(Ring):
    """The ring, for a moment."""

    width, batch_size, steps, rates = 12, 16, 40, (1e-3, 1e-2, 3e-2)

    def score(self, samples, part="test"):
        """Tell the parts apart."""
        return super().score(samples) + (part == "validation")


@pytest.fixture(scope="module")
def real_digits():
    return Digits()


def critic(arm="none", strength=1.0, seeds=(0, 1, 2), sizes=(2, 6, 5, 1)):
    return Critic(sizes, generators_of(seeds), arm, [strength] * len(seeds))


# --- The games


def test_the_ring_has_eight_modes_of_equal_share():
    points = Ring().draw(torch.Generator().manual_seed(0), 4, 5000)
    assert points.shape == (4, 5000, 2)
    turn = torch.atan2(points[..., 1], points[..., 0]) / (math.pi / 4)
    mode = turn.round()
    counts = torch.bincount((mode.long() % 8).flatten(), minlength=8)
    assert_close(counts / 20000, torch.full((8,), 0.125), atol=0.01, rtol=0)
    middles = 2 * torch.stack([(mode * math.pi / 4).cos(), (mode * math.pi / 4).sin()], -1)
    assert_close((points - middles).std(), torch.tensor(0.05), atol=0.002, rtol=0)
    assert_close(points.norm(dim=-1).mean(), torch.tensor(2.0), atol=0.01, rtol=0)


def test_the_score_of_the_ring_is_the_share_that_is_covered():
    ring = Ring()
    points = ring.draw(torch.Generator().manual_seed(0), 1000)
    east, north = torch.tensor([2.0, 0]), torch.tensor([0, 2.0])
    strays = [east * 0.89, east * 1.11]  # 0.22 from the mode
    near = [east * 0.91, east * 1.09]  # 0.18
    samples = torch.stack(
        [
            points,
            torch.zeros(1000, 2),
            east.expand(1000, 2),
            torch.stack([east, north]).repeat(500, 1),
            torch.stack([*strays, *near]).repeat(250, 1),
            torch.cat([east.expand(100, 2), north.expand(900, 2)]),
        ]
    )
    scores = ring.score(samples).tolist()
    assert 94 < scores[0] < 100
    assert scores[1:] == pytest.approx([0, 12.5, 25, 12.5, 22.5])
    assert ring.found(samples).tolist() == [8, 0, 1, 2, 1, 2]
    rare = torch.cat([east.expand(991, 2), north.expand(9, 2)])[None]
    assert ring.found(rare).tolist() == [1]


def test_digits_are_scaled_and_no_part_has_one_of_another(real_digits):
    sizes = {name: len(part) for name, part in real_digits.real.items()}
    assert sizes == {"train": 1000, "validation": 297, "test": 500}
    whole = torch.cat(list(real_digits.real.values()))
    assert whole.shape == (1797, 64)
    assert_close(whole.min(), torch.tensor(-1.0))
    assert_close(whole.max(), torch.tensor(1.0))
    drawn = real_digits.draw(torch.Generator().manual_seed(0), 3, 7)
    assert drawn.shape == (3, 7, 64)
    known = {tuple(x) for x in real_digits.real["train"].tolist()}
    assert {tuple(x) for x in drawn.flatten(0, 1).tolist()} <= known


def test_real_digits_are_near_and_noise_is_far(real_digits):
    train = real_digits.real["train"]
    one_class = train[real_digits.classifier(train).argmax(-1) == 3]
    samples = torch.stack([train[:60], torch.rand(60, 64) * 2 - 1, one_class[:60]])
    near, noise, threes = real_digits.score(samples).tolist()
    assert near < 20 < 100 < min(threes, noise)
    assert_close(real_digits.score(real_digits.real["test"][None]).item(), 0.0, atol=1e-6, rtol=0)
    assert real_digits.score(samples, "validation")[0] != near
    assert real_digits.found(train[None]).tolist() == [10]
    assert real_digits.found(one_class[None]).tolist() == [1]


def test_the_distance_between_gaussians_is_that_of_the_formula():
    x, real = (
        torch.randn(2, 40, 5).double(),
        torch.randn(30, 5).double() @ torch.randn(5, 5).double(),
    )
    x[1] = 2 * x[1] + 3
    found = frechet(x, real)
    for r in range(2):
        a, b = x[r].numpy(), real.numpy()
        ca, cb = np.cov(a.T), np.cov(b.T)
        expected = np.square(a.mean(0) - b.mean(0)).sum()
        expected += np.trace(ca + cb - 2 * sqrtm(ca @ cb).real)
        assert found[r].item() == pytest.approx(expected, rel=1e-6)
    assert_close(frechet(real[None], real), torch.zeros(1).double(), atol=1e-6, rtol=0)
    assert frechet(torch.zeros(1, 9, 5), real).isfinite().all()


# --- The critic


@pytest.mark.parametrize("arm", ARMS)
def test_copies_are_so_many_critics(arm):
    x = torch.randn(3, 7, 2)
    strengths = [0.2, 0.3, 0.4]
    whole = Critic((2, 6, 5, 1), generators_of([0, 1, 2]), arm, strengths)
    whole.clip()
    for r, seed in enumerate((0, 1, 2)):
        alone = Critic((2, 6, 5, 1), generators_of([seed]), arm, strengths[r : r + 1])
        alone.clip()
        assert_close(whole(x)[r : r + 1], alone(x[r : r + 1]))


def test_a_perceptron_is_layers_with_activations_between():
    net = Perceptron((2, 6, 5, 1), generators_of([0, 1]), slope=0.1)
    x = torch.randn(2, 7, 2)
    expected = x
    for k, layer in enumerate(net.layers):
        expected = expected @ layer.weight + layer.bias
        expected = torch.where(expected > 0, expected, 0.1 * expected) if k < 2 else expected
    assert_close(net(x), expected)
    bounded = Perceptron((2, 6, 5, 1), generators_of([0, 1]), slope=0.1, bounded=True)
    assert_close(bounded(x), expected.tanh())
    other = [2 * layer.weight for layer in net.layers]
    assert not torch.allclose(net(x, other), net(x))


def test_what_spectral_norm_makes_of_a_weight():
    net = critic("spectral", 3.0)
    for _ in range(200):
        net.weights(iterate=True)
    for k, weight in enumerate(net.weights()):
        values = torch.linalg.svdvals(weight)
        assert_close(values[:, 0], torch.full((3,), 3.0), atol=1e-4, rtol=0)
        raw = net.layers[k].weight
        assert_close(weight * (raw[:, :1, :1] / weight[:, :1, :1]), raw)  # a multiple of it
    assert_close(singular_values(net), torch.linalg.svdvals(net.weights()[1]))


def test_the_gradient_of_spectral_norm_has_the_term_of_its_singular_vectors():
    net = critic("spectral", 2.0, seeds=(4,))
    weight = net.layers[1].weight
    w_bar = net.weights()[1]
    upstream = torch.randn_like(w_bar)
    (found,) = torch.autograd.grad((w_bar * upstream).sum(), weight)
    w, u = weight[0].detach().double().numpy(), net.u1[0, :, 0].double().numpy()
    v = w @ u / np.linalg.norm(w @ u)
    sigma = v @ w @ u
    cache = (w.T / sigma, u, v, sigma)
    expected = spectral_norm_backward(2 * upstream[0].T.double().numpy(), cache).T
    assert_close(found[0].double(), torch.tensor(expected), rtol=1e-3, atol=1e-5)


def test_the_singular_vectors_move_on_demand_alone():
    net = critic("spectral")
    with torch.no_grad():
        for layer in net.layers:
            layer.weight.copy_(torch.randn_like(layer.weight))
    before = [w.clone() for w in net.weights()]
    net(torch.randn(3, 4, 2))
    assert_close(net.weights(), before, rtol=0, atol=0)
    errors = []
    for _ in range(3):
        errors.append(torch.linalg.svdvals(net.weights()[1])[:, 0].max().item() - 1)
        net.weights(iterate=True)
    assert errors[0] > errors[1] > errors[2] > 0


def test_what_weight_norm_makes_of_a_weight():
    net = critic("weight", 0.7)
    for layer, weight in zip(net.layers, net.weights(), strict=True):
        v = layer.weight.detach().mT  # rows are outputs
        for r in range(3):
            g = np.full((v.shape[1], 1), 0.7, dtype=np.float32)
            expected = weight_norm_forward(v[r].numpy(), g)[0]
            assert_close(weight[r].detach().mT, torch.tensor(expected))


@pytest.mark.parametrize("arm", ["none", "clipping", "penalty", "orthonormal"])
def test_other_arms_compute_with_the_stored_weights(arm):
    net = critic(arm)
    for layer, weight in zip(net.layers, net.weights(iterate=True), strict=True):
        assert weight is layer.weight


def test_clipping_cuts_weights_and_biases_off_and_no_other_arm_does():
    for arm in ARMS:
        net = critic(arm, 0.2)
        with torch.no_grad():
            for layer in net.layers:
                layer.bias.fill_(-5)
        before = [p.clone() for p in net.parameters()]
        net.clip()
        if arm == "clipping":
            for p, b in zip(net.parameters(), before, strict=True):
                assert_close(p.detach(), b.clamp(-0.2, 0.2))
        else:
            assert_close(list(net.parameters()), before, rtol=0, atol=0)


def test_the_gradient_penalty_is_that_of_the_formula():
    net = critic("penalty", 10.0).double()
    real, fake, mix = (torch.rand(3, 4, size).double() for size in (2, 2, 1))
    found, expected, step = net.extra(real, fake, mix), torch.zeros(3).double(), 1e-6
    with torch.no_grad():  # central differences
        for n in range(4):
            point = mix[:, n] * real[:, n] + (1 - mix[:, n]) * fake[:, n]
            slope = torch.stack(
                [
                    (net((point + d)[:, None]) - net((point - d)[:, None]))[:, 0, 0] / (2 * step)
                    for d in step * torch.eye(2).double()
                ]
            )
            expected += 10 * (slope.norm(dim=0) - 1).square() / 4
    assert_close(found, expected, rtol=1e-5, atol=1e-6)
    found.sum().backward()
    assert net.layers[0].weight.grad.abs().sum() > 0  # it is trained through


def test_the_orthonormal_arm_adds_nothing_where_all_singular_values_are_the_strength():
    net = critic("orthonormal", 3.0, sizes=(2, 6, 5, 1))
    with torch.no_grad():
        for layer in net.layers:
            u, _, vh = torch.linalg.svd(layer.weight, full_matrices=False)
            layer.weight.copy_(3 * u @ vh)
    assert_close(net.extra(None, None, None), torch.zeros(3), atol=1e-8, rtol=0)
    with torch.no_grad():  # 9/9 - 1 becomes 4·9/9 - 1 = 3 for each of the 2 + 5 + 1
        for layer in net.layers:
            layer.weight.mul_(2)
    assert_close(net.extra(None, None, None), torch.full((3,), 9.0 * 8), rtol=1e-4, atol=0)


@pytest.mark.parametrize("arm", ["none", "spectral", "weight", "clipping"])
def test_the_other_arms_add_nothing_to_the_loss(arm):
    assert critic(arm).extra(None, None, None) == 0


def test_an_unknown_arm_is_refused():
    with pytest.raises(ValueError, match=r"no arm 'x'; there are: none, spectral"):
        critic("x")


def test_slopes_are_the_lengths_of_gradients():
    net = critic("weight").double()
    points, step = torch.randn(3, 4, 2).double(), 1e-6
    found = slopes(net, points)
    assert found.shape == (3, 4)
    ways = step * torch.eye(2).double()
    parts = [(net(points + d) - net(points - d))[..., 0] / (2 * step) for d in ways]
    assert_close(found, torch.stack(parts).norm(dim=0), rtol=1e-5, atol=1e-6)
    assert not points.requires_grad


def test_a_field_is_what_the_critic_says_of_every_place():
    net = critic("spectral")
    found = gans.field(net, half=2.0, size=5)
    assert found.shape == (3, 5, 5)
    for row, column, place in ((0, 0, (-2, -2)), (0, 4, (2, -2)), (3, 1, (-1, 1))):
        said = net(torch.tensor(place).float().expand(3, 1, 2)).sigmoid()[:, 0, 0]
        assert_close(found[:, row, column], said)


# --- The turns


def test_adam_is_torchs_with_a_rate_and_a_momentum_for_each_copy():
    start, goal = torch.randn(3, 4, 2), torch.randn(3, 4, 2)
    rates, momenta = torch.tensor([0.1, 0.01, 0.03]), torch.tensor([0.0, 0.9, 0.5])
    ours = [start.clone().requires_grad_(), start[:, 0].clone().requires_grad_()]
    update = gans._Adam(ours, rates, momenta)
    for _ in range(5):
        loss = (ours[0] - goal).square().sum() + ours[1].square().sum()
        update(torch.autograd.grad(loss, ours))
    for r in range(3):
        theirs = [start[r].clone().requires_grad_(), start[r, 0].clone().requires_grad_()]
        descent = torch.optim.Adam(theirs, rates[r].item(), betas=(momenta[r].item(), 0.9))
        for _ in range(5):
            descent.zero_grad()
            ((theirs[0] - goal[r]).square().sum() + theirs[1].square().sum()).backward()
            descent.step()
        for mine, other in zip(ours, theirs, strict=True):
            assert_close(mine[r], other)


@pytest.mark.parametrize("arm", ARMS)
def test_settings_and_seeds_do_not_mix(arm):
    settings = [Setting(1e-3, 0.0, 0.3), Setting(1e-2, 0.9, 0.5)]
    whole = play(SmallRing(), arm, settings, [3, 4], steps=6, keep=[2], count=20)
    assert whole.scores.shape == (6, 2, 2)
    assert whole.samples[2].shape == (2, 2, 20, 2)
    for k, setting in enumerate(settings):
        for s, seed in enumerate((3, 4)):
            alone = play(SmallRing(), arm, [setting], [seed], steps=6, keep=[2], count=20)
            for step in (2, 6):
                found, expected = whole.samples[step][k, s], alone.samples[step][0, 0]
                assert_close(found, expected, rtol=1e-3, atol=1e-4)


def test_a_run_is_by_turns_and_by_the_two_losses():
    """A second way: torch's own layers and optimizers, one GAN, written out."""
    ring, setting, seed = SmallRing(), Setting(1e-2, 0.5), 3
    run = play(ring, "none", [setting], [seed], steps=4, count=20)
    source = generators_of([seed])
    start = [
        Perceptron([ring.noise, 12, 12, 2], source),
        Critic([2, 12, 12, 1], source, "none", [1.0]),
    ]
    generator, judge = start
    descents = [torch.optim.Adam(net.parameters(), setting.rate, betas=(0.5, 0.9)) for net in start]
    one = torch.ones(())
    for real, noise, _ in gans._draws(ring, [seed], 4):
        for k in range(ring.critic_steps):
            of_real, of_fake = judge(real[k]), judge(generator(noise[k]).detach())
            loss = F.binary_cross_entropy_with_logits(of_real, one.expand_as(of_real))
            loss = loss + F.binary_cross_entropy_with_logits(of_fake, 0 * of_fake)
            descents[1].zero_grad()
            loss.backward()
            descents[1].step()
        of_fake = judge(generator(noise[ring.critic_steps]))
        loss = F.binary_cross_entropy_with_logits(of_fake, one.expand_as(of_fake))
        descents[0].zero_grad()
        loss.backward()
        descents[0].step()
    for net, other in ((run.generator, generator), (run.critic, judge)):
        for p, q in zip(net.parameters(), other.parameters(), strict=True):
            assert_close(p, q.detach(), rtol=1e-4, atol=1e-5)
    made = generator(gans._noise_to_judge(ring, [seed], 20)).detach()
    assert_close(run.last[0], made, rtol=1e-4, atol=1e-5)


def test_the_singular_vectors_take_one_step_an_update_of_the_critic(monkeypatch):
    steps, weights = [], Critic.weights

    def counted(self, iterate=False):
        steps.append(iterate)
        return weights(self, iterate)

    monkeypatch.setattr(Critic, "weights", counted)
    play(SmallRing(), "spectral", [Setting(1e-2)], [0], steps=3, count=20)
    assert sum(steps) == 20 + 3 * SmallRing.critic_steps


def test_real_samples_and_noise_are_fresh_and_those_of_the_seed():
    ring = SmallRing()
    steps = gans.CHUNK + 5
    drawn = [torch.stack(parts) for parts in zip(*gans._draws(ring, [3, 4], steps), strict=True)]
    assert drawn[0].shape == (steps, 2, 2, 16, 2)
    assert drawn[1].shape == (steps, 3, 2, 16, ring.noise)
    assert drawn[2].shape == (steps, 2, 2, 16, 1)
    assert 0 <= drawn[2].min() < drawn[2].max() < 1
    for x in drawn:
        assert len(x.flatten(3).flatten(0, 2).unique(dim=0)) == x[..., 0, 0].numel()
    other = [torch.stack(parts) for parts in zip(*gans._draws(ring, [4], steps), strict=True)]
    for x, y in zip(drawn, other, strict=True):
        assert_close(x[:, :, 1:], y, rtol=0, atol=0)
    assert len(list(gans._draws(ring, [3], 7))) == 7


def test_scores_are_recorded_twenty_times_and_the_last_five_count():
    run = play(SmallRing(), "none", [Setting(1e-2)], [0, 1], steps=40, count=50)
    assert run.steps == list(range(2, 41, 2))
    assert_close(run.score, run.scores[-5:].double().mean(0))
    assert list(run.samples) == [40]
    assert_close(run.last, run.samples[40])
    assert not any(p.requires_grad for p in run.critic.parameters())
    ring = SmallRing()
    assert_close(run.scores[-1], ring.score(run.last.flatten(0, 1)).view(1, 2))


def test_a_part_of_the_data_is_compared_with(real_digits, monkeypatch):
    monkeypatch.setattr(Digits, "width", 8)
    runs = [
        play(real_digits, "none", [Setting(1e-3)], [0], steps=2, part=part, count=40)
        for part in ("test", "validation")
    ]
    assert_close(runs[0].last, runs[1].last)
    for run, part in zip(runs, ("test", "validation"), strict=True):
        expected = real_digits.score(run.last.flatten(0, 1), part)
        assert_close(run.scores[-1, 0], expected)
    assert runs[0].last.abs().max() < 1


def test_samples_that_are_no_numbers_are_judged_all_the_same(real_digits, monkeypatch):
    monkeypatch.setattr(Digits, "width", 8)
    wild = Setting(1e30)
    assert play(SmallRing(), "none", [wild], [0], steps=5, count=20).score.item() == 0
    run = play(real_digits, "none", [wild], [0], steps=5, count=40)
    assert run.score.isfinite().all()
    assert run.score.item() > 100


def test_a_gan_learns_the_ring():
    game = Ring()
    run = play(game, "weight", [Setting(1e-2)], [0, 1], steps=300, keep=[1])
    first, last = (
        torch.cdist(run.samples[step][0], game.modes.expand(2, -1, -1)).amin(-1).median(1).values
        for step in (1, 300)
    )
    assert (last < 0.75 * first).all()


# --- The tables


@pytest.fixture
def small(monkeypatch, tmp_path):
    """A game of a moment with two arms, run and stored: its folder."""
    monkeypatch.setitem(GAMES, "small", SmallRing)
    monkeypatch.setattr(SmallRing, "strengths", {"none": 1.0, "clipping": 0.3})
    monkeypatch.setattr(SmallRing, "momenta", (0.0, 0.5))
    store("small", seeds=[100, 101], folder=tmp_path, processes=1)
    return tmp_path


def test_a_table_has_every_setting_of_every_arm(small):
    found = results("small", small)
    assert list(found) == ["none", "clipping"]
    assert [len(scores) for scores in found.values()] == [2 * 3, 2 * 3]
    assert all(len(values) == 2 for scores in found.values() for values in scores.values())
    setting = Setting(1e-2, 0.5, 0.3)
    run = play(SmallRing(), "clipping", [setting], [100, 101], part="validation")
    assert found["clipping"][setting] == pytest.approx(run.score[0].tolist(), rel=1e-3, abs=1e-6)
    assert [path.name for path in small.iterdir()] == ["small.csv"]


def test_a_table_goes_on_where_it_was_interrupted(small, monkeypatch):
    path = small / "small.csv"
    whole, tried, rows = path.read_text().splitlines(True), [], gans._rows
    assert len(whole) == 4 + 4 * 3 * 2

    def counted(name, *task):
        tried.append(task[:2])
        return rows(name, *task)

    mark = gans._mark("small", [100, 101])
    monkeypatch.setattr(gans, "_rows", counted)
    monkeypatch.setattr(gans, "_mark", lambda name, seeds: mark)  # that function is part of it
    (small / "small.csv.part").write_text("".join(whole[:4] + whole[4:19]))  # two tasks and a half
    path.unlink()
    store("small", seeds=[100, 101], folder=small, processes=1)
    assert tried == [("clipping", 0.0), ("clipping", 0.5)]
    assert path.read_text().splitlines(True) == whole
    (small / "small.csv.part").write_text("".join(whole[:4]).replace("arms ", "arms x"))
    store("small", seeds=[100, 101], folder=small, processes=1)
    assert len(tried) == 6


def test_a_table_says_what_it_was_made_from(small):
    path = small / "small.csv"
    assert sweep.mark_of(path) == gans._mark("small", [100, 101])
    assert sweep.mark_of(path) != gans._mark("small", [100])
    assert gans._mark("small", [100]) != gans._mark("gan-ring", [100])
    with path.open() as file:
        assert next(file) == "# python -m norms.experiments.gans small\n"


def test_a_missing_table_names_its_command(tmp_path):
    with pytest.raises(sweep.MissingResults, match=r"python -m norms\.experiments\.gans gan-ring"):
        results("gan-ring", tmp_path)


def written(folder, name, scores):
    """Write a table of one arm "none": dictionary from a setting to scores."""
    with (folder / f"{name}.csv").open("w", newline="") as file:
        file.write("# a\n# b\n# c\n")
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(gans.COLUMNS)
        for s, values in scores.items():
            for seed, value in enumerate(values):
                writer.writerow(["none", s.strength, s.momentum, s.rate, 100 + seed, value])


RATES = {0.0: {1e-3: 1, 1e-2: 4, 1e-1: 2}, 0.9: {1e-3: 3, 1e-2: 8, 1e-1: 5}}
SCORES = {Setting(r, m): [s - 1, s + 1] for m, row in RATES.items() for r, s in row.items()}


def test_the_best_setting_is_chosen_by_what_counts_as_better(tmp_path, monkeypatch):
    monkeypatch.setitem(GAMES, "most", SmallRing)
    monkeypatch.setitem(GAMES, "least", type("Least", (SmallRing,), {"better": min}))
    written(tmp_path, "most", SCORES)
    assert chosen("most", folder=tmp_path) == {"none": Setting(1e-2, 0.9)}
    assert chosen("most", 0.0, tmp_path) == {"none": Setting(1e-2, 0.0)}
    written(tmp_path, "least", {s: [-v for v in values] for s, values in SCORES.items()})
    assert chosen("least", folder=tmp_path) == {"none": Setting(1e-2, 0.9)}
    written(tmp_path, "least", SCORES)
    with pytest.raises(GridError, match=r"none: the best learning rate is 0\.001, an end"):
        chosen("least", folder=tmp_path)


def test_scores_by_rate_are_those_of_the_best_strength(tmp_path, monkeypatch):
    monkeypatch.setitem(GAMES, "most", type("Most", (SmallRing,), {"rates": (1e-3, 1e-2, 1e-1)}))
    weak = {replace(s, strength=0.5): [v - 0.5 for v in values] for s, values in SCORES.items()}
    written(tmp_path, "most", weak | SCORES)
    for momentum, row in RATES.items():
        rates, scores = gans.by_rate("most", momentum, tmp_path)
        assert rates == tuple(row)
        assert scores["none"].tolist() == [[s - 1, s + 1] for s in row.values()]


def test_the_table_shows_every_setting_and_the_best_in_bold(tmp_path, monkeypatch):
    monkeypatch.setitem(GAMES, "most", SmallRing)
    written(tmp_path, "most", SCORES)
    assert table("most", tmp_path).splitlines() == [
        "| arm | strength | momentum | 0.001 | 0.01 | 0.1 |",
        "|---|---|---|---|---|---|",
        "| none | 1 | 0 | 1.0 | 4.0 | 2.0 |",
        "| none | 1 | 0.9 | 3.0 | **8.0** | 5.0 |",
    ]


def test_the_best_settings_are_trained_again(tmp_path, monkeypatch):
    monkeypatch.setitem(GAMES, "most", SmallRing)
    monkeypatch.setattr(gans, "chosen", lambda name, momentum: {"none": Setting(1e-2, momentum)})
    runs = rerun("most", [0, 1], momentum=0.9, count=30)
    assert list(runs) == ["none"]
    assert runs["none"].settings == [Setting(1e-2, 0.9)]
    expected = play(SmallRing(), "none", [Setting(1e-2, 0.9)], [0, 1], count=30)
    assert_close(runs["none"].last, expected.last)
