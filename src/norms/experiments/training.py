"""One training loop for every experiment: many seeds and learning rates at once."""

import os
from dataclasses import dataclass

import joblib
import torch
from torch.nn import functional as F
from tqdm.auto import tqdm

__all__ = ["History", "evaluate", "run_arms", "seeds", "train"]


def seeds(count):
    """Return ``count`` seeds.

    They start at 0, or at the environment's ``NORMS_SEED_BASE``: a claim of this book must
    hold on other seeds too, and that is how it is tried.
    """
    base = int(os.environ.get("NORMS_SEED_BASE", "0"))
    return list(range(base, base + count))


@dataclass(frozen=True)
class History:
    """What a training run left: tensors with the axes (learning rate, seed) last.

    Attributes:
        steps: the steps at which the accuracies were taken.
        loss: training loss of every step, (steps, L, S).
        validation: accuracy in percent, (len(steps), L, S).
        test: the same on the test part.
        learning_rates: the L learning rates.
    """

    steps: list[int]
    loss: torch.Tensor
    validation: torch.Tensor
    test: torch.Tensor
    learning_rates: list[float]

    @property
    def best(self):
        """Index of the learning rate with the best mean validation accuracy at the end."""
        return int(self.validation[-1].mean(-1).argmax())


def train(build, data, *, learning_rates, seeds, steps, batch_size, momentum=0.0, every=None):
    """Train one network for each learning rate and seed by stochastic gradient descent.

    Copies with the same seed see the same batches in the same order, whatever the learning
    rate and whatever ``build`` makes: arms of an experiment are paired by seed.

    Args:
        build: ``build(seeds)`` returns a module of ``len(seeds)`` copies, such as
            :class:`norms.experiments.models.MLP`.
        data: a :class:`norms.experiments.data.Dataset`.
        learning_rates: L numbers, constant over the run.
        seeds: S integers, of the initial weights and of the batches.
        steps: number of updates.
        batch_size: images in a batch; an epoch's last, incomplete batch is dropped.
        momentum: of the descent.
        every: take the accuracies each so many steps (and at the end); default at the end.

    Returns:
        A :class:`History`. A copy whose logits are not finite has diverged and counts as
        chance.
    """
    copies = [seed for _ in learning_rates for seed in seeds]
    shape = (len(learning_rates), len(seeds))
    model = build(copies)
    rates = torch.tensor(learning_rates).repeat_interleave(len(seeds))[:, None]
    parameters = list(model.parameters())
    velocities = [torch.zeros_like(p) for p in parameters]
    images, labels = data.train
    batches = [_batches(len(labels), batch_size, steps, seed) for seed in seeds]
    record, losses, validation, test = [], [], [], []
    for step in range(steps):
        index = torch.stack([b[step] for b in batches]).repeat(len(learning_rates), 1)  # (R, B)
        logits = model(images[index])
        loss = F.cross_entropy(logits.flatten(0, 1), labels[index].flatten(), reduction="none")
        loss = loss.view(len(copies), -1).mean(1)  # (R,)
        gradients = torch.autograd.grad(loss.sum(), parameters)
        with torch.no_grad():
            for p, g, v in zip(parameters, gradients, velocities, strict=True):
                v.mul_(momentum).add_(g)
                # R is the leading factor of every parameter's size: one rate a copy.
                p.view(len(copies), -1).sub_(rates * v.view(len(copies), -1))
        losses.append(loss.detach().view(shape))
        if step + 1 == steps or (every and (step + 1) % every == 0):
            record.append(step + 1)
            validation.append(evaluate(model, *data.validation, len(copies)).view(shape))
            test.append(evaluate(model, *data.test, len(copies)).view(shape))
    stacked = [torch.stack(values) for values in (losses, validation, test)]
    return History(record, *stacked, list(learning_rates))


@torch.no_grad()
def evaluate(model, images, labels, copies):
    """Return the accuracy of each copy in percent, in evaluation mode; diverged is chance."""
    was_training = model.training
    model.eval()
    logits = model(images.expand(copies, *images.shape))  # (R, N, classes)
    model.train(was_training)
    accuracy = 100 * (logits.argmax(-1) == labels).float().mean(1)
    finite = logits.isfinite().flatten(1).all(1)
    return torch.where(finite, accuracy, 100 / logits.shape[-1])


def run_arms(arms, processes=2):
    """Run the arms of an experiment side by side, one thread each.

    Args:
        arms: dictionary from a name to a function without arguments.
        processes: how many at a time.

    Returns:
        Dictionary from the name to what its function returned.
    """
    # One thread a process: sums are then taken in the same order on every run, and a
    # machine repeats its results exactly. NORMS_THREADS tries the book on other counts.
    threads = int(os.environ.get("NORMS_THREADS", "1"))
    jobs = (joblib.delayed(_with_threads)(threads, function) for function in arms.values())
    results = joblib.Parallel(n_jobs=min(processes, len(arms)), return_as="generator")(jobs)
    bar = tqdm(results, total=len(arms), desc="arms", leave=False, disable=_silent())
    return dict(zip(arms, bar, strict=True))


def _with_threads(threads, function):
    torch.set_num_threads(threads)
    return function()


def _batches(n, batch_size, steps, seed):
    """Indices (steps, B): one permutation an epoch."""
    generator = torch.Generator().manual_seed(seed)
    per_epoch = n // batch_size
    epochs = -(-steps // per_epoch)
    orders = [torch.randperm(n, generator=generator)[: per_epoch * batch_size] for _ in range(epochs)]
    return torch.cat(orders).view(-1, batch_size)[:steps]


def _silent():
    """No bar while a notebook is executed for storing or testing."""
    return bool(os.environ.get("NORMS_SILENT"))
