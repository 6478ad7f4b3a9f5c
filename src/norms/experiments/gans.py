"""Small GANs, many at once: what is done to a critic, over learning rates and momenta.

A generator and a critic are two perceptrons. A game says what the generator must imitate and how
its samples are judged; an arm, what is done to the critic. Every copy has its own learning rate,
momentum, strength and seed.

``python -m norms.experiments.gans NAME`` trains every arm of a game at every setting, with seeds
that no chapter uses, and stores the table. The chapters train the best settings again with fresh
seeds (:func:`rerun`).
"""

import argparse
import csv
import hashlib
import math
import os
from dataclasses import dataclass, field
from functools import cache, partial
from itertools import pairwise, product
from pathlib import Path

import joblib
import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from norms.experiments import provenance, sweep
from norms.experiments.data import digits
from norms.experiments.models import Linear
from norms.experiments.models.copies import generators_of, normal
from norms.experiments.training import GridError, few_threads, on_few_threads, run_arms

__all__ = [
    "ARMS",
    "GAMES",
    "Critic",
    "Digits",
    "Perceptron",
    "Ring",
    "Run",
    "Setting",
    "by_rate",
    "chosen",
    "field",
    "frechet",
    "main",
    "play",
    "rerun",
    "results",
    "singular_values",
    "slopes",
    "stale",
    "store",
    "table",
]

# What is done to the critic, and what its strength means.
ARMS = {
    "none": "nothing",
    "spectral": "the largest singular value of each weight",
    "weight": "the length of each row of a weight",
    "clipping": "the largest entry of weights and biases",
    "penalty": "the factor of the gradient penalty",
    "orthonormal": "the singular value that a regularizer pulls all others to",
}
# The best of some for each arm, in pilots with other seeds.
RING_STRENGTHS = {
    "none": 1.0,
    "spectral": 2.0,  # of 1, 2, 4
    "weight": 1.0,  # of 0.5, 1, 2
    "clipping": 0.3,  # of 0.03, 0.1, 0.3
    "penalty": 0.1,  # of 0.1, 1, 10
    "orthonormal": 2.0,  # of 1, 2, 4
}
DIGITS_STRENGTHS = {
    "none": 1.0,
    "spectral": 2.0,  # of 1, 2
    "weight": 1.0,  # of 0.5, 1
    "clipping": 0.1,
    "penalty": 1.0,
}
DECAY = 0.9  # Adam's second decay rate
SLOPE = 0.1  # of the critic's leaky ReLU
LAST = 5  # a score is the mean of so many records
CHUNK = 50  # steps for which random numbers are drawn at once
COLUMNS = ("arm", "strength", "momentum", "learning_rate", "seed", "score")


@dataclass(frozen=True, order=True)
class Setting:
    """What is tuned: Adam's learning rate and first decay rate, and the strength of the arm."""

    rate: float
    momentum: float = 0.0
    strength: float = 1.0


class Ring:
    """Eight Gaussians on a circle of radius 2, each of deviation 0.05.

    The score is the share of the ring that is covered, in percent: the sum over the modes of the
    share of samples within four deviations of it, where no mode counts for more than its eighth.
    """

    name, dim, bounded, better = "ring", 2, False, max
    noise, width, batch_size, steps, critic_steps = 8, 48, 64, 1500, 2
    deviation = 0.05
    rates, momenta = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1), (0.0, 0.9)
    strengths = RING_STRENGTHS

    def __init__(self):
        turn = torch.arange(8) * (math.pi / 4)
        self.modes = 2 * torch.stack([turn.cos(), turn.sin()], -1)

    def draw(self, generator, *shape):
        """Draw points, of shape (..., 2)."""
        middle = self.modes[torch.randint(8, shape, generator=generator)]
        return middle + self.deviation * torch.randn(middle.shape, generator=generator)

    def shares(self, samples):
        """Return the share of samples (R, N, 2) within four deviations of each mode, (R, 8)."""
        near = torch.cdist(samples, self.modes.expand(len(samples), -1, -1)) < 4 * self.deviation
        return near.double().mean(1)

    def found(self, samples):
        """Return how many modes have at least one sample in a hundred, (R,)."""
        return (self.shares(samples) >= 0.01).sum(1)

    def score(self, samples, part="test"):
        """Return how much of the ring is covered, in percent, (R,)."""
        return 100 * self.shares(samples).clamp(max=1 / 8).sum(1)


class Digits:
    """The digits of 8x8 pixels, in [-1, 1].

    The score is the Fréchet distance between samples and real digits of another part, in the 32
    features of a small classifier.
    """

    name, dim, bounded, better = "digits", 64, True, min
    noise, width, batch_size, steps, critic_steps = 16, 48, 64, 1500, 1
    rates, momenta = (3e-4, 1e-3, 3e-3, 1e-2, 3e-2), (0.0,)  # 0.9 was far behind in pilots
    strengths = DIGITS_STRENGTHS

    def __init__(self):
        data = digits()
        parts = (data.train, data.validation, data.test)
        self.real = {
            name: (2 * (images * data.deviation + data.mean) - 1).flatten(1)
            for name, (images, _) in zip(("train", "validation", "test"), parts, strict=True)
        }
        self.classifier = _classifier(self.real["train"], data.train[1])

    def draw(self, generator, *shape):
        """Draw real digits, of shape (..., 64)."""
        train = self.real["train"]
        return train[torch.randint(len(train), shape, generator=generator)]

    def features(self, samples):
        """Return what the classifier's last layer reads of samples (..., 64): (..., 32)."""
        with torch.no_grad():
            return self.classifier[:-1](samples)

    def found(self, samples):
        """Return how many classes have at least two samples in a hundred, (R,)."""
        with torch.no_grad():
            guessed = self.classifier(samples).argmax(-1)
        shares = F.one_hot(guessed, 10).double().mean(1)
        return (shares >= 0.02).sum(1)

    def score(self, samples, part="test"):
        """Return the Fréchet distance of samples (R, N, 64) from the digits of a part, (R,)."""
        return frechet(self.features(samples), self.features(self.real[part]))


GAMES = {"gan-ring": cache(Ring), "gan-digits": cache(Digits)}


def _classifier(images, labels, steps=400):
    with few_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        layers = [nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 32), nn.ReLU(), nn.Linear(32, 10)]
        model = nn.Sequential(*layers)
        descent = torch.optim.Adam(model.parameters(), 3e-3)
        for _ in range(steps):
            chosen = torch.randint(len(images), (64,))
            noisy = images[chosen] + 0.1 * torch.randn(64, 64)
            descent.zero_grad()
            F.cross_entropy(model(noisy), labels[chosen]).backward()
            descent.step()
    return model.requires_grad_(False)


def frechet(samples, real):
    """Return the Fréchet distance between two sets, taken for Gaussians.

    ``|m - m'|^2 + trace(C + C' - 2 (C C')^(1/2))`` of their means and covariances.

    Args:
        samples: (R, N, K), R sets.
        real: (M, K), the other set.

    Returns:
        Tensor (R,).

    References:
        Heusel et al. 2017, arXiv:1706.08500.
    """
    a, b = samples.double(), real.double()[None]
    means = [x.mean(1, keepdim=True) for x in (a, b)]
    covariances = [
        (x - m).mT @ (x - m) / (x.shape[1] - 1) for x, m in zip((a, b), means, strict=True)
    ]
    values, vectors = torch.linalg.eigh(covariances[1])
    root = (vectors * values.clamp_min(0).sqrt()[:, None]) @ vectors.mT
    both = torch.linalg.eigvalsh(root @ covariances[0] @ root).clamp_min(0).sqrt().sum(-1)
    traces = [c.diagonal(dim1=1, dim2=2).sum(-1) for c in covariances]
    apart = (means[0] - means[1]).square().sum((1, 2))
    return apart + traces[0] + traces[1] - 2 * both


class Perceptron(nn.Module):
    """R perceptrons: (R, N, inputs) to (R, N, outputs).

    Args:
        sizes: of the input, the hidden layers and the output.
        generators: one ``torch.Generator`` a copy, for the weights.
        slope: of the leaky ReLU behind each layer but the last.
        bounded: end in a tanh.
    """

    def __init__(self, sizes, generators, slope=0.0, bounded=False):
        super().__init__()
        self.slope, self.bounded = slope, bounded
        layers = [Linear(i, o, generators, 2**0.5) for i, o in pairwise(sizes)]
        self.layers = nn.ModuleList(layers)

    def forward(self, x, weights=None):
        """Map x, with other weights than the stored ones if there are any."""
        weights = weights or [layer.weight for layer in self.layers]
        for layer, weight in zip(self.layers, weights, strict=True):
            x = torch.baddbmm(layer.bias, x, weight)
            if layer is not self.layers[-1]:
                x = F.leaky_relu(x, self.slope)
        return x.tanh() if self.bounded else x


class Critic(Perceptron):
    """R critics: (R, N, inputs) to (R, N, 1), to whose weights an arm is applied.

    Args:
        sizes: as for :class:`Perceptron`.
        generators: one ``torch.Generator`` a copy.
        arm: a key of :data:`ARMS`.
        strengths: R numbers, what they mean is said there.
    """

    def __init__(self, sizes, generators, arm, strengths):
        super().__init__(sizes, generators, SLOPE)
        if arm not in ARMS:
            raise ValueError(f"there is no arm {arm!r}; there are: {', '.join(ARMS)}")
        self.arm = arm
        self.register_buffer("strength", torch.tensor(strengths)[:, None, None])
        if arm == "spectral":
            for k, size in enumerate(sizes[1:]):
                start = F.normalize(normal(generators, size, 1), dim=1)
                self.register_buffer(f"u{k}", start)
            for _ in range(20):
                self.weights(iterate=True)

    def weights(self, iterate=False):
        """Return what the layers compute with; by ``iterate`` take a step of power iteration."""
        stored = [layer.weight for layer in self.layers]
        if self.arm == "spectral":
            return [self._of_norm_one(k, w, iterate) * self.strength for k, w in enumerate(stored)]
        if self.arm == "weight":
            return [self.strength * w / w.norm(dim=1, keepdim=True) for w in stored]
        return stored

    def _of_norm_one(self, k, weight, iterate):
        u = getattr(self, f"u{k}")
        with torch.no_grad():
            v = F.normalize(weight @ u, dim=1)
            if iterate:
                u = F.normalize(weight.mT @ v, dim=1)
                setattr(self, f"u{k}", u)
        return weight / (v.mT @ weight @ u)

    def forward(self, x, weights=None):
        return super().forward(x, weights or self.weights())

    def extra(self, real, fake, mix):
        """Return what the arm adds to the critic's loss, (R,); 0 for most.

        Args:
            real: (R, N, inputs).
            fake: the same.
            mix: (R, N, 1) in [0, 1]: where between the two a gradient is looked at.
        """
        strength = self.strength[:, 0, 0]
        if self.arm == "penalty":
            between = (mix * real + (1 - mix) * fake).requires_grad_()
            slope = torch.autograd.grad(self(between).sum(), between, create_graph=True)[0]
            return strength * (slope.norm(dim=-1) - 1).square().mean(1)
        if self.arm == "orthonormal":
            return sum(_far_from_orthonormal(layer.weight, strength) for layer in self.layers)
        return 0.0

    @torch.no_grad()
    def clip(self):
        """Cut the entries off at the strength, if that is the arm."""
        if self.arm == "clipping":
            for p in self.parameters():
                p.copy_(p.clamp(-self.strength, self.strength))


def _far_from_orthonormal(weight, scale):
    """Squared distance of ``W^T W / scale^2`` from the identity, or of ``W W^T`` if that is smaller."""
    weight = weight / scale[:, None, None]
    gram = weight.mT @ weight if weight.shape[1] > weight.shape[2] else weight @ weight.mT
    return (gram - torch.eye(gram.shape[1])).square().sum((1, 2))


@dataclass(frozen=True)
class Run:
    """What GANs of one arm left; L settings and S seeds are the last axes.

    Attributes:
        settings: the L settings.
        steps: at which the samples were judged.
        scores: of the game, (len(steps), L, S).
        samples: dictionary from a step that was kept to the samples (L, S, N, dim).
        generator: L * S copies, the setting the slower index.
        critic: the same.
    """

    settings: list[Setting]
    steps: list[int]
    scores: torch.Tensor
    samples: dict[int, torch.Tensor] = field(default_factory=dict)
    generator: nn.Module | None = None
    critic: nn.Module | None = None

    @property
    def score(self):
        """The mean of the last records, (L, S)."""
        return self.scores[-LAST:].double().mean(0)

    @property
    def last(self):
        """The samples at the end, (L, S, N, dim)."""
        return self.samples[self.steps[-1]]


class _Adam:
    """Adam with a learning rate and a first decay rate for each copy."""

    def __init__(self, parameters, rates, momenta):
        self.parameters, self.rates, self.momenta = parameters, rates[:, None], momenta[:, None]
        self.sizes = [p[0].numel() for p in parameters]
        self.first = torch.zeros(len(rates), sum(self.sizes))
        self.second, self.count = torch.zeros_like(self.first), 0

    @torch.no_grad()
    def __call__(self, gradients):
        self.count += 1
        g = torch.cat([g.flatten(1) for g in gradients], 1)
        self.first.mul_(self.momenta).add_((1 - self.momenta) * g)
        self.second.lerp_(g * g, 1 - DECAY)
        first = self.first * (self.rates / (1 - self.momenta**self.count))
        update = first / ((self.second / (1 - DECAY**self.count)).sqrt_() + 1e-8)
        for p, change in zip(self.parameters, update.split(self.sizes, 1), strict=True):
            p.sub_(change.view(p.shape))


@few_threads()
def play(game, arm, settings, seeds, *, steps=None, keep=(), part="test", count=1000):
    """Train GANs by turns: some steps of the critic, and one of the generator.

    The loss is the non-saturating one: the critic tells real from fake by cross-entropy, and the
    generator is judged by the cross-entropy of its samples being taken for real.
    Copies with the same seed see the same real samples and noise, whatever the setting.

    Args:
        game: a :class:`Ring`, or something like it.
        arm: a key of :data:`ARMS`.
        settings: list of :class:`Setting`.
        seeds: S integers, of the initial weights, the real samples and the noise.
        steps: updates of the generator; default those of the game.
        keep: steps after which samples are kept, besides the last.
        part: of the game's data, with which samples are compared.
        count: of the samples that are judged.

    Returns:
        A :class:`Run`. Samples that are not numbers are judged as zeros.
    """
    steps, copies = steps or game.steps, [seed for _ in settings for seed in seeds]
    values = {
        name: [getattr(s, name) for s in settings for _ in seeds]
        for name in ("rate", "momentum", "strength")
    }
    hidden, generators = [game.width] * 2, generators_of(copies)
    generator = Perceptron([game.noise, *hidden, game.dim], generators, bounded=game.bounded)
    critic = Critic([game.dim, *hidden, 1], generators, arm, values["strength"])
    rates = torch.tensor(values["rate"]), torch.tensor(values["momentum"])
    updates = [_Adam(list(net.parameters()), *rates) for net in (critic, generator)]
    test_noise = _noise_to_judge(game, seeds, count).repeat(len(settings), 1, 1)
    record, scores, samples = [], [], {}
    every = max(steps // 20, 1)
    for step, (real, noise, mix) in enumerate(_draws(game, seeds, steps), start=1):
        for k in range(game.critic_steps):
            drawn = [x[k].repeat(len(settings), 1, 1) for x in (real, noise, mix)]
            _update_critic(critic, generator, updates[0], *drawn)
        _update_generator(critic, generator, updates[1], noise[-1].repeat(len(settings), 1, 1))
        judged = step % every == 0 or step == steps
        if judged or step in keep:
            with torch.no_grad():
                made = generator(test_noise).nan_to_num(0, 1e3, -1e3)
            if judged:
                record.append(step)
                scores.append(game.score(made, part).view(len(settings), len(seeds)))
            if step in keep or step == steps:
                samples[step] = made.unflatten(0, (len(settings), len(seeds)))
    nets = [net.requires_grad_(False) for net in (generator, critic)]
    return Run(list(settings), record, torch.stack(scores), samples, *nets)


def _noise_to_judge(game, seeds, count):
    return normal(generators_of([7_000_000 + seed for seed in seeds]), count, game.noise)


def _draws(game, seeds, steps):
    """Yield what a step needs: real samples (K, S, B, dim), noise (K + 1, S, B, noise), mixtures."""
    sources = generators_of([8_000_000 + seed for seed in seeds])
    turns, size = game.critic_steps, game.batch_size
    for start in range(0, steps, CHUNK):
        count = min(CHUNK, steps - start)
        drawn = [
            (
                game.draw(source, count, turns, size),
                torch.randn(count, turns + 1, size, game.noise, generator=source),
                torch.rand(count, turns, size, 1, generator=source),
            )
            for source in sources
        ]
        stacked = [torch.stack(parts, 2) for parts in zip(*drawn, strict=True)]
        yield from zip(*stacked, strict=True)


def _update_critic(critic, generator, update, real, noise, mix):
    with torch.no_grad():
        fake = generator(noise)
    verdict = critic(torch.cat([real, fake], 1), critic.weights(iterate=True))[..., 0]
    of_real, of_fake = verdict.split(real.shape[1], 1)
    loss = F.softplus(-of_real).mean(1) + F.softplus(of_fake).mean(1)
    loss = loss + critic.extra(real, fake, mix)
    update(torch.autograd.grad(loss.sum(), update.parameters))
    critic.clip()


def _update_generator(critic, generator, update, noise):
    with torch.no_grad():
        weights = critic.weights()
    loss = F.softplus(-critic(generator(noise), weights)).mean((1, 2))
    update(torch.autograd.grad(loss.sum(), update.parameters))


def singular_values(critic, layer=1):
    """Return the singular values of the weights that a layer computes with, (R, K), falling."""
    with torch.no_grad():
        return torch.linalg.svdvals(critic.weights()[layer].nan_to_num(0))


def slopes(critic, points):
    """Return the length of the critic's gradient at points (R, N, inputs): (R, N)."""
    points = points.clone().requires_grad_()
    return torch.autograd.grad(critic(points).sum(), points)[0].norm(dim=-1)


def field(critic, half=3.0, size=60):
    """Return how surely a critic takes each place of the plane for real: (R, size, size) in [0, 1].

    Args:
        critic: of two inputs.
        half: the plane reaches from ``-half`` to ``half``; the first row is its lowest.
        size: places in each direction.
    """
    line = torch.linspace(-half, half, size)
    places = torch.stack(torch.meshgrid(line, line, indexing="xy"), -1).flatten(0, 1)
    with torch.no_grad():
        taken = critic(places.expand(len(critic.strength), -1, -1)).sigmoid()
    return taken[..., 0].unflatten(1, (size, size))


# --- The stored tables


def store(name, *, seeds=sweep.SEEDS, folder=sweep.RESULTS, processes=None):
    """Train every arm of a game at every setting, and store the scores on the validation part.

    What is done is on the disk, in ``NAME.csv.part``; the same command goes on there.

    Args:
        name: of the game.
        seeds: of the runs.
        folder: for the table.
        processes: of one thread each; default one a core.

    Returns:
        Path of the table.
    """
    game, mark = GAMES[name](), _mark(name, seeds)
    path, part = Path(folder) / f"{name}.csv", Path(folder) / f"{name}.csv.part"
    if not part.exists() or sweep.mark_of(part) != mark:
        header = sweep.header_lines(f"python -m norms.experiments.gans {name}", mark, seeds)
        part.write_text(f"{header}{','.join(COLUMNS)}\n", encoding="utf-8")
    lines, size = part.read_text(encoding="utf-8").splitlines(True), len(game.rates) * len(seeds)
    done = (len(lines) - 4) // size  # the tasks are written in their order
    part.write_text("".join(lines[: 4 + done * size]), encoding="utf-8")
    jobs = [
        joblib.delayed(on_few_threads)(partial(_rows, name, arm, momentum, seeds))
        for arm, momentum in list(product(game.strengths, game.momenta))[done:]
    ]
    pool = joblib.Parallel(n_jobs=processes or os.cpu_count(), return_as="generator", verbose=5)
    for rows in pool(jobs):
        with part.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file, lineterminator="\n").writerows(rows)
    os.replace(part, path)
    return path


def _rows(name, arm, momentum, seeds):
    game = GAMES[name]()
    settings = [Setting(rate, momentum, game.strengths[arm]) for rate in game.rates]
    score = play(game, arm, settings, seeds, part="validation").score
    return [
        (arm, f"{s.strength:g}", f"{s.momentum:g}", f"{s.rate:g}", seed, f"{value:.4g}")
        for s, values in zip(settings, score.tolist(), strict=True)
        for seed, value in zip(seeds, values, strict=True)
    ]


def results(name, folder=sweep.RESULTS):
    """Read the table of a game.

    Returns:
        Dictionary from an arm to a dictionary from each :class:`Setting` to S scores.

    Raises:
        MissingResults: it has not been run.
    """
    path = Path(folder) / f"{name}.csv"
    if not path.exists():
        raise sweep.MissingResults(
            f"no results of the game {name!r} ({path}): run it with "
            f"`python -m norms.experiments.gans {name}`"
        )
    found = {}
    with path.open(encoding="utf-8") as file:
        for row in csv.DictReader(line for line in file if line[:1] != "#"):
            setting = Setting(*(float(row[c]) for c in ("learning_rate", "momentum", "strength")))
            found.setdefault(row["arm"], {}).setdefault(setting, []).append(float(row["score"]))
    return found


def chosen(name, momentum=None, folder=sweep.RESULTS):
    """Return the best setting of each arm, by the mean over the seeds of the table.

    Args:
        name: of the game.
        momentum: look at the settings with that one alone.
        folder: of the table.

    Raises:
        MissingResults: the game has not been run.
        GridError: a best learning rate is at an end of the grid.
    """
    better, best = GAMES[name]().better, {}
    for arm, scores in results(name, folder).items():
        means = {
            setting: sum(values) / len(values)
            for setting, values in scores.items()
            if momentum in (None, setting.momentum)
        }
        best[arm] = better(means, key=means.get)
        rates = sorted({setting.rate for setting in means})
        if best[arm].rate in (rates[0], rates[-1]):
            raise GridError(f"{arm}: the best learning rate is {best[arm].rate:g}, an end")
    return best


def by_rate(name, momentum=0.0, folder=sweep.RESULTS):
    """Return the stored scores over the learning rates, of each arm at its best strength.

    Args:
        name: of the game.
        momentum: of the settings.
        folder: of the table.

    Returns:
        ``rates, scores``: L learning rates, and a dictionary from an arm to an array (L, S).
    """
    rates, scores = GAMES[name]().rates, {}
    for arm, best in chosen(name, momentum, folder).items():
        of_arm = results(name, folder)[arm]
        scores[arm] = np.array([of_arm[Setting(r, momentum, best.strength)] for r in rates])
    return rates, scores


def rerun(name, seeds, arms=None, momentum=None, **options):
    """Train the arms of a game at their best settings, side by side.

    Args:
        name: of the game.
        seeds: of the runs, not those of the table.
        arms: which; default all.
        momentum: the best of the settings with that one, in the place of the best of all.
        **options: of :func:`play`.

    Returns:
        Dictionary from the arm to a :class:`Run` with one setting.
    """
    settings = chosen(name, momentum)
    jobs = {
        arm: partial(_rerun, name, arm, settings[arm], seeds, options) for arm in arms or settings
    }
    return run_arms(jobs)


def _rerun(name, arm, setting, seeds, options):
    return play(GAMES[name](), arm, [setting], seeds, **options)


def table(name, folder=sweep.RESULTS):
    """Return a Markdown table of mean scores, a line for each arm, strength and momentum.

    The best score of an arm is in bold.
    """
    found = results(name, folder)
    rates = sorted({setting.rate for scores in found.values() for setting in scores})
    lines = ["| arm | strength | momentum | " + " | ".join(f"{r:g}" for r in rates) + " |"]
    lines.append("|---" * (len(rates) + 3) + "|")
    for arm, scores in found.items():
        means = {setting: sum(values) / len(values) for setting, values in scores.items()}
        best = GAMES[name]().better(means, key=means.get)
        for strength, momentum in dict.fromkeys((s.strength, s.momentum) for s in scores):
            settings = [Setting(rate, momentum, strength) for rate in rates]
            cells = [f"{means[s]:.1f}" for s in settings]
            cells = [f"**{c}**" if s == best else c for s, c in zip(settings, cells, strict=True)]
            lines.append(f"| {arm} | {strength:g} | {momentum:g} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def stale(name):
    """Tell whether a stored table was made with other settings, seeds or code than there are now."""
    return sweep.mark_of(sweep.RESULTS / f"{name}.csv") != _mark(name, sweep.SEEDS)


def _mark(name, seeds):
    code = provenance.of_functions([_rows, play, Ring, Digits], [name])
    code = {part: digest for part, digest in code.items() if "/results/" not in part}  # no circle
    return hashlib.sha256(str((name, list(seeds), code)).encode()).hexdigest()[:12]


def main(arguments=None):
    """Serve the command line."""
    parser = argparse.ArgumentParser(prog="python -m norms.experiments.gans", description=__doc__)
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.add_argument("name", choices=list(GAMES))
    parser.add_argument("--processes", type=int, help="of one thread each; default one a core")
    options = parser.parse_args(arguments)
    print(store(options.name, processes=options.processes))
    print(table(options.name))


if __name__ == "__main__":
    from norms.experiments import gans  # where worker processes find the games

    gans.main()
