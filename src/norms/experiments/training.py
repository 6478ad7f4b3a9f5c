"""One training loop for every experiment: many seeds and learning rates at once."""

import contextlib
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial

import joblib
import torch
from torch import nn
from torch.nn import functional as F
from tqdm.auto import tqdm

from norms.experiments.data import sonnets
from norms.experiments.evaluation import cross_entropy, evaluate, undisturbed
from norms.experiments.models import Conv, Linear, stored_weight

__all__ = [
    "GridError",
    "History",
    "best_rate",
    "compare",
    "cut_once",
    "few_threads",
    "on_few_threads",
    "run_arms",
    "seeded",
    "seeds",
    "shuffled",
    "sorted_by_class",
    "torch_encoder",
    "train",
]


class GridError(ValueError):
    """The best learning rate stands at an end of its grid: the grid must be longer."""


def seeds(count):
    """Return ``count`` seeds.

    They start at 0, or at the environment's ``NORMS_SEED_BASE``: a claim of this book must
    hold on other seeds too, and that is how it is tried.
    """
    base = int(os.environ.get("NORMS_SEED_BASE", "0"))
    return list(range(base, base + count))


@contextlib.contextmanager
def few_threads():
    """Compute on one thread, or ``NORMS_THREADS``, and give torch its own number back.

    Sums are then taken in the same order on every run, so a machine repeats its results exactly,
    and many small operations are faster so.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(int(os.environ.get("NORMS_THREADS", "1")))
    try:
        yield
    finally:
        torch.set_num_threads(before)


def on_few_threads(function):
    """Call a function without arguments under :func:`few_threads`; for worker processes."""
    with few_threads():
        return function()


@dataclass(frozen=True)
class History:
    """What a training run left: tensors with the axes (learning rate, seed) last.

    Attributes:
        steps: the steps at which the measure was taken.
        loss: training loss of every step, (steps, L, S).
        validation: the data's measure, (len(steps), L, S): accuracy in percent, or loss in nats;
            (0, L, S) if it was not taken.
        test: the same on the test part.
        learning_rates: the L learning rates.
        model: the trained networks, L * S copies, the learning rate the slower index.
        watched: what ``watch`` returned, step by step.
        measure: "accuracy" in percent, or "loss", of which less is better.
    """

    steps: list[int]
    loss: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor
    learning_rates: list[float]
    model: nn.Module | None = None
    watched: list = field(default_factory=list)
    measure: str = "accuracy"

    @property
    def best(self):
        """Index of the learning rate with the best mean on the validation part at the end."""
        means = self.validation[-1].mean(-1)
        return int(means.argmin() if self.measure == "loss" else means.argmax())

    def steps_to(self, target, part="test"):
        """Return the first recorded step with at least ``target`` percent; inf for never.

        Args:
            target: accuracy in percent.
            part: "test" or "validation".

        Returns:
            Tensor (L, S) of steps; their resolution is ``every`` of :func:`train`.
        """
        reached = getattr(self, part) >= target  # (len(steps), L, S)
        first = torch.tensor(self.steps, dtype=torch.float64)[reached.int().argmax(0)]
        return torch.where(reached.any(0), first, torch.inf)


def train(
    build: Callable[[list[int]], nn.Module],
    data,
    *,
    learning_rates,
    seeds,
    steps,
    batch_size,
    micro_batch=None,
    momentum=0.0,
    optimizer="sgd",
    warmup=0,
    weight_decay=0.0,
    batches=None,
    every=None,
    parts=("validation", "test"),
    watch=None,
    loss=cross_entropy,
):
    """Train one network for each learning rate and seed by stochastic gradient descent.

    Copies with the same seed see the same batches in the same order, whatever the learning
    rate and whatever ``build`` makes: arms of an experiment are paired by seed.

    Args:
        build: ``build(seeds)`` returns a module of ``len(seeds)`` copies, such as
            :class:`norms.experiments.models.MLP`.
        data: a :class:`norms.experiments.data.Dataset`, or a
            :class:`norms.experiments.data.Text`, whose windows are the images then.
        learning_rates: L numbers, constant over the run but for ``warmup``.
        seeds: S integers, of the initial weights and of the batches.
        steps: number of updates.
        batch_size: images in a batch; an epoch's last, incomplete batch is dropped.
        micro_batch: size of the parts in which a batch goes through the network; their
            gradients are added up before the update. Statistics over a batch are then taken
            over a part, while the update still sees ``batch_size`` images. Default: the batch.
        momentum: of the descent.
        optimizer: "sgd", or "adam" with decay rates 0.9 and 0.999.
        warmup: number of steps in which the learning rate rises linearly from 0.
        weight_decay: L2: this times a weight is added to its gradient. Biases, gains, shifts
            and tables of an embedding are left out.
        batches: which images make the batches, a function like :func:`shuffled` (the default).
            It may return a second tensor of labels (steps, batch_size), to be predicted instead
            of the data's own; -100 leaves an image out of the loss.
        every: take the measure each so many steps (and at the end); default at the end.
        parts: of the data, on which it is taken.
        watch: ``watch(step, model, updates)`` is called after each update with its number, the
            networks and the changes of the parameters that are trained; results other than None
            are kept. What it does to modes, buffers and random numbers is undone.
        loss: of outputs (R, B, ...) and targets, one number an answer, such as
            :func:`norms.experiments.evaluation.cross_entropy`.

    A parameter with ``requires_grad=False`` is left as it is.

    Returns:
        A :class:`History`. A copy whose logits are not finite has diverged and counts as
        chance.
    """
    copies = [seed for _ in learning_rates for seed in seeds]
    shape = (len(learning_rates), len(seeds))
    model = build(copies)
    parameters = [p for p in model.parameters() if p.requires_grad]
    decayed = {id(stored_weight(m)) for m in model.modules() if isinstance(m, Linear | Conv)}
    update = _Update(parameters, learning_rates, shape, momentum, optimizer)
    images, labels = data.train
    plan = [_plan(batches or shuffled, labels, batch_size, steps, seed) for seed in seeds]
    record, losses, watched = [], [], []
    measured = {"validation": [], "test": []}
    with few_threads(), torch.random.fork_rng(devices=[]):
        torch.manual_seed(seeds[0])  # for layers that draw in training
        for step in range(steps):
            index, target = (
                torch.stack([p[i][step] for p in plan] * len(learning_rates)) for i in (0, 1)
            )  # (R, B) and (R, B), or (R, B, T) of a text
            value, gradients = _gradients(
                model, loss, parameters, images, index, target, micro_batch
            )
            if weight_decay:
                pairs = zip(parameters, gradients, strict=True)
                gradients = [
                    g.add(p.detach(), alpha=weight_decay) if id(p) in decayed else g
                    for p, g in pairs
                ]
            updates = update(gradients, min(1, (step + 1) / warmup) if warmup else 1)
            losses.append(value.view(shape))
            if watch:
                with undisturbed(model):
                    seen = watch(step + 1, model, updates)
                watched += [] if seen is None else [seen]
            if step + 1 == steps or (every and (step + 1) % every == 0):
                record.append(step + 1)
                for part in parts:
                    values = evaluate(model, *getattr(data, part), measure=data.measure, loss=loss)
                    measured[part].append(values.view(shape))
    stacked = [
        torch.stack(values) if values else torch.empty(0, *shape)
        for values in (losses, *measured.values())
    ]
    return History(record, *stacked, list(learning_rates), model, watched, data.measure)


def compare(net, arms, data, **options):
    """Train arms that differ in what ``net`` is given, side by side.

    Args:
        net: :class:`norms.experiments.models.MLP` or ``CNN`` with what all arms share, such as
            ``partial(MLP, depth=8, width=64)``.
        arms: dictionary from a name to the rest: at least ``{"norm": ...}``.
        data: a :class:`norms.experiments.data.Dataset`.
        **options: of :func:`train`.

    Returns:
        Dictionary from the name to a :class:`History`.
    """
    return run_arms(
        {
            name: partial(train, partial(seeded, net, **arm), data, **options)
            for name, arm in arms.items()
        }
    )


def seeded(net, seeds, **arm):
    """Build a net: ``partial(seeded, net, norm="batch")`` is a function of the seeds alone."""
    return net(seeds=seeds, **arm)


def shuffled(labels, batch_size, steps, seed):
    """Choose the batches: each epoch is a permutation of the images, cut into batches.

    Args:
        labels: (N,), of the training images.
        batch_size: B.
        steps: number of batches.
        seed: of the permutations.

    Returns:
        Indices (steps, B) of images.
    """
    generator = torch.Generator().manual_seed(seed)
    per_epoch = len(labels) // batch_size
    epochs = -(-steps // per_epoch)
    orders = [torch.randperm(len(labels), generator=generator) for _ in range(epochs)]
    cut = torch.cat([order[: per_epoch * batch_size] for order in orders])
    return cut.view(-1, batch_size)[:steps]


def sorted_by_class(labels, batch_size, steps, seed):
    """Choose the batches of :func:`shuffled`, each sorted by label inside.

    The update sees the same images, but small micro-batches now hold one class or two. Arguments
    and result as there; every second batch runs from the last class to the first, so that the
    running statistics do not end on the same class each time.
    """
    index = shuffled(labels, batch_size, steps, seed)
    order = labels[index].argsort(dim=1, stable=True)
    order[1::2] = order[1::2].flip(1)
    return index.gather(1, order)


def cut_once(labels, batch_size, steps, seed):
    """Choose the batches of the first epoch of :func:`shuffled` again in each epoch, in new order.

    An image then always meets the same company. Arguments and result as there.
    """
    count, generator = len(labels) // batch_size, torch.Generator().manual_seed(seed)
    cut = shuffled(labels, batch_size, count, seed)
    orders = [torch.randperm(count, generator=generator) for _ in range(-(-steps // count))]
    return cut[torch.cat(orders)[:steps]]


def best_rate(learning_rates, values, measure="accuracy"):
    """Return the learning rate with the best mean, the smaller one of equals.

    Args:
        learning_rates: L numbers in rising order.
        values: (L, S) on the validation part: accuracies in percent, or losses in nats.
        measure: "accuracy" or "loss": whether more or less is better.

    Raises:
        GridError: the best one is the first or the last.
    """
    means = torch.as_tensor(values, dtype=torch.float64).mean(-1)
    best = int(means.argmin() if measure == "loss" else means.argmax())
    if best in (0, len(learning_rates) - 1):
        raise GridError(
            f"the best learning rate {learning_rates[best]:g} ({measure} {means[best]:.4g}) is the "
            f"{'smallest' if best == 0 else 'largest'} of the grid: extend the grid there"
        )
    return learning_rates[best]


def run_arms(arms, processes=2):
    """Run the arms of an experiment side by side, one thread each.

    Args:
        arms: dictionary from a name to a function without arguments.
        processes: how many at a time.

    Returns:
        Dictionary from the name to what its function returned.
    """
    jobs = (joblib.delayed(on_few_threads)(function) for function in arms.values())
    results = joblib.Parallel(n_jobs=min(processes, len(arms)), return_as="generator")(jobs)
    bar = tqdm(results, total=len(arms), desc="arms", leave=False, disable=_silent())
    return dict(zip(arms, bar, strict=True))


@few_threads()
def torch_encoder(steps=30, seed=0):
    """Train PyTorch's own Transformer encoder a little, a model in which to exchange layers.

    It guesses the character behind 16 characters of a sonnet.

    Args:
        steps: number of updates.
        seed: of the initial weights and of the batches.

    Returns:
        ``model, tokens``: a module from tokens (N, 16) to logits (N, classes), in evaluation
        mode, and 64 windows that it has not seen.
    """
    text = sonnets(16)
    windows, following = text.train
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        block = nn.TransformerEncoderLayer(32, 4, 64, norm_first=True, batch_first=True)
        encoder = nn.TransformerEncoder(block, 2, nn.LayerNorm(32), enable_nested_tensor=False)
        head = [nn.Flatten(), nn.Linear(32 * windows.shape[1], text.classes)]
        model = nn.Sequential(nn.Embedding(text.classes, 32), encoder, *head)
        descent = torch.optim.Adam(model.parameters(), 3e-3)
        for chosen in shuffled(following, 32, steps, seed):
            loss = F.cross_entropy(model(windows[chosen]), following[chosen, -1])
            descent.zero_grad()
            loss.backward()
            descent.step()
    return model.eval(), text.test[0][:64]


class _Update:
    """One step of the descent, with a learning rate for each copy."""

    def __init__(self, parameters, learning_rates, shape, momentum, optimizer):
        if optimizer not in ("sgd", "adam"):
            raise ValueError(f"optimizer is {optimizer!r}; expected 'sgd' or 'adam'")
        self.parameters, self.momentum, self.adam = parameters, momentum, optimizer == "adam"
        # R is the leading factor of every parameter's size: one rate a copy. All parameters of a
        # copy stand in one row: a few operations on long rows, not many on short ones.
        self.rates = torch.tensor(learning_rates).repeat_interleave(shape[1])[:, None]
        self.sizes = [p.numel() // len(self.rates) for p in parameters]
        self.first = torch.zeros(len(self.rates), sum(self.sizes))
        self.second = torch.zeros_like(self.first) if self.adam else None
        self.count = 0

    @torch.no_grad()
    def __call__(self, gradients, factor=1):
        self.count += 1
        g = torch.cat([g.reshape(len(self.rates), -1) for g in gradients], 1)
        direction = self._adam(g) if self.adam else self.first.mul_(self.momentum).add_(g)
        updates = []
        for p, update in zip(
            self.parameters, (-factor * self.rates * direction).split(self.sizes, 1), strict=True
        ):
            updates.append(update.reshape(p.shape))
            p.add_(updates[-1])
        return updates

    def _adam(self, g):
        self.first.lerp_(g, 0.1)
        self.second.lerp_(g * g, 0.001)
        first, second = 1 - 0.9**self.count, 1 - 0.999**self.count
        return self.first / first / ((self.second / second).sqrt() + 1e-8)


def _plan(batches, labels, batch_size, steps, seed):
    """Indices and labels, (steps, B) each."""
    chosen = batches(labels, batch_size, steps, seed)
    return chosen if isinstance(chosen, tuple) else (chosen, labels[chosen])


def _gradients(model, loss, parameters, images, index, target, micro_batch):
    """Mean loss (R,) of a batch and its gradients, taken part by part."""
    answers = target[..., 0] if target.is_floating_point() else target  # numbers, or classes
    counted = (answers != -100).flatten(1).sum(1)  # (R,)
    total, gradients = 0, None
    for i, t in zip(
        *(a.split(micro_batch or index.shape[1], 1) for a in (index, target)), strict=True
    ):
        value = loss(model(images[i]), t).flatten(1).sum(1) / counted  # (R,)
        part = torch.autograd.grad(value.sum(), parameters)
        total = total + value.detach()
        gradients = (
            part if gradients is None else [a + b for a, b in zip(gradients, part, strict=True)]
        )
    return total, gradients


def _silent():
    """No bar while a notebook is executed for storing or testing."""
    return bool(os.environ.get("NORMS_SILENT"))
