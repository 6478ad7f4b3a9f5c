"""What trained copies say, and how well: predictions, measures, and batch norm's statistics."""

import contextlib
import math

import torch
from torch.nn import functional as F

__all__ = [
    "batch_statistics",
    "cross_entropy",
    "evaluate",
    "for_every_copy",
    "predict",
    "reestimate",
    "squared_error",
    "undisturbed",
]


def cross_entropy(logits, target):
    """Return the loss of each answer in nats.

    Args:
        logits: (..., K).
        target: (...), one of K classes each, or fewer leading axes for all copies alike; -100
            leaves an answer out, its loss is 0.

    Returns:
        Tensor (...).
    """
    target = target.expand(logits.shape[:-1])
    losses = F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none")
    return losses.view(target.shape)


def squared_error(outputs, target):
    """Return half the squared distance of each answer, summed over its last axis.

    Args:
        outputs: (..., K).
        target: (..., K).

    Returns:
        Tensor (...).
    """
    return (outputs - target).square().sum(-1) / 2


def predict(model, images, statistics="running", batch_size=500):
    """Return the logits (R, N, classes), or (R, N, T, classes) for tokens.

    Args:
        model: R copies.
        images: (N, 1, H, W), or (R, N, 1, H, W) if each copy has its own; or tokens (N, T), or
            (R, N, T).
        statistics: "running" for evaluation mode; "batch" lets batch norm take the statistics
            of each batch of ``batch_size`` images, in their order. Neither changes the model.
        batch_size: number of images at a time.
    """
    if statistics not in ("running", "batch"):
        raise ValueError(f"statistics is {statistics!r}; expected 'running' or 'batch'")
    images = for_every_copy(model, images)
    with batch_statistics(model, statistics == "batch"), torch.no_grad():
        return torch.cat([model(part) for part in images.split(batch_size, dim=1)], dim=1)


def evaluate(
    model,
    images,
    labels,
    statistics="running",
    batch_size=500,
    measure="accuracy",
    loss=cross_entropy,
):
    """Return the accuracy of each copy in percent, or its mean loss, (R,).

    A copy that has diverged counts as guessing.

    Args:
        model: R copies.
        images: (N, 1, H, W) or tokens (N, T); with R in front if each copy has its own.
        labels: (N,), or (N, T) for tokens; with R in front or not.
        statistics: "running" or "batch", see :func:`predict`.
        batch_size: number of images at a time.
        measure: "accuracy" or "loss".
        loss: of answers and labels. What guessing costs is known of :func:`cross_entropy` alone;
            by another, a copy that has diverged has an infinite loss.
    """
    logits = predict(model, images, statistics, batch_size)
    if measure == "accuracy":
        each, guess = 100 * (logits.argmax(-1) == labels).float(), 100 / logits.shape[-1]
    else:
        each = loss(logits, labels)
        guess = math.log(logits.shape[-1]) if loss is cross_entropy else math.inf
    finite = logits.isfinite().flatten(1).all(1)
    return torch.where(finite, each.flatten(1).mean(1), guess)


def reestimate(model, images, batch_size=None):
    """Replace the running statistics by those of other images; labels are not needed.

    The new ones are the plain average of the batches' means and unbiased variances, as in the
    paper's Algorithm 2. Nothing else in the model changes.

    Args:
        model: R copies.
        images: (N, 1, H, W), or (R, N, 1, H, W) if each copy has its own.
        batch_size: of the batches whose statistics are averaged; an incomplete one is dropped.
            Default: one batch of all.

    Returns:
        The model.

    References:
        Ioffe and Szegedy 2015, arXiv:1502.03167, Algorithm 2. Li et al. 2017, arXiv:1603.04779
        (AdaBN). Wu and Johnson 2021, arXiv:2105.07576 (precise statistics).
    """
    images = for_every_copy(model, images)
    batch_size = batch_size or images.shape[1]
    with batch_statistics(model) as layers, torch.no_grad():
        buffers = [buffer for layer in layers for buffer in layer.buffers()]
        momenta = [layer.momentum for layer in layers]
        try:
            for layer in layers:
                layer.reset_running_stats()
                layer.momentum = None  # the plain average
            for start in range(0, images.shape[1] - batch_size + 1, batch_size):
                model(images[:, start : start + batch_size])
            found = [buffer.clone() for buffer in buffers]
        finally:
            for layer, momentum in zip(layers, momenta, strict=True):
                layer.momentum = momentum
    for buffer, value in zip(buffers, found, strict=True):  # only now, when all went well
        buffer.copy_(value)
    return model


@contextlib.contextmanager
def batch_statistics(model, by_batch=True):
    """Evaluate, but let batch norm take the statistics of the batch, and forget them at the end.

    Args:
        model: R copies.
        by_batch: False for plain evaluation.

    Yields:
        The layers that take the statistics of the batch.
    """
    layers = [m for m in model.modules() if getattr(m, "running_mean", None) is not None]
    with undisturbed(model):
        model.eval()
        for layer in layers if by_batch else ():
            layer.train()
        yield layers


@contextlib.contextmanager
def undisturbed(model):
    """Give the model back as it was, whatever happens: modes, buffers and torch's random numbers."""
    modes = {module: module.training for module in model.modules()}
    kept = [(buffer, buffer.clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=[]):
        try:
            yield model
        finally:
            for module, training in modes.items():
                module.training = training
            with torch.no_grad():
                for buffer, value in kept:
                    buffer.copy_(value)


def for_every_copy(model, images):
    """Give each copy the images (N, 1, H, W) or tokens (N, T), if it has none of its own."""
    return images if images.dim() in (3, 5) else images.expand(model.copies, *images.shape)
