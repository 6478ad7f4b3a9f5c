"""What depends on the statistics of a batch: drift, lag, the other samples, shifted images."""

import copy

import torch

from norms.experiments.evaluation import batch_statistics, evaluate, predict, reestimate
from norms.experiments.probes.signals import by_copy

__all__ = [
    "DriftMeter",
    "answers_changed_by_batch",
    "jitter",
    "shifted_errors",
    "three_statistics",
]


class DriftMeter:
    """Measure how far the input of a layer moves from one update to the next.

    As ``watch`` of ``train`` it sends a fixed batch through the network after each update and
    takes the mean of every unit of one layer, as the next layer sees it (norm and noise
    included); the drift is the mean over the units of the change in these means, each in
    standard deviations of the unit: internal covariate shift, as the word says.

    Args:
        images: (N, 1, H, W), the fixed batch.
        layer: index of the hidden layer, or a list of indices.

    Returns:
        Called after an update: tensor (R,), or (layers, R) for a list; None the first time.
    """

    def __init__(self, images, layer):
        self.images, self.layer, self.last = images, layer, None

    def __call__(self, _step, model, _updates):
        kept, layers = [], self.layer if isinstance(self.layer, list) else [self.layer]
        hooks = [
            model.norms[i].register_forward_hook(lambda _m, _i, out: kept.append(out))
            for i in layers
        ]
        try:
            with torch.no_grad(), batch_statistics(model):
                model.norms.train()  # noise too; it is drawn from a copy of the random numbers
                model(self.images.expand(model.copies, *self.images.shape))
        finally:
            for hook in hooks:
                hook.remove()
        inputs = [by_copy(x, model.copies) for x in kept]
        now, before = [x.mean(1) for x in inputs], self.last
        self.last = now
        if before is None:
            return None
        drifts = []
        for mean, old, x in zip(now, before, inputs, strict=True):
            squares = (x - mean[:, None]).square().sum(1)  # x.std(1) takes eight times as long
            deviation = (squares / (x.shape[1] - 1)).sqrt().clamp_min(1e-6)
            drifts.append(((mean - old).abs() / deviation).flatten(1).mean(1))
        return torch.stack(drifts) if isinstance(self.layer, list) else drifts[0]


def three_statistics(model, data, batch_size=32, images=1024):
    """Return the test errors of a model under three sorts of batch norm's statistics.

    Args:
        model: R copies.
        data: a :class:`norms.experiments.data.Dataset`.
        batch_size: of the batches for "batch" and for re-estimation.
        images: number of training images that re-estimation sees.

    Returns:
        Dictionary from "running", "batch" and "re-estimated" to R errors in percent.
    """
    renewed = reestimate(copy.deepcopy(model), data.train[0][:images], batch_size)
    accuracies = {
        "running": evaluate(model, *data.test),
        "batch": evaluate(model, *data.test, statistics="batch", batch_size=batch_size),
        "re-estimated": evaluate(renewed, *data.test),
    }
    return {name: 100 - accuracy.double().numpy() for name, accuracy in accuracies.items()}


def answers_changed_by_batch(model, images, sizes=(2, 4, 8, 32, 125), count=500):
    """Ask twice, in batches of other images, with the batch's statistics: how many answers change?

    Args:
        model: R copies.
        images: (N, 1, H, W), of which the first ``count`` are asked.
        sizes: of the batches; those that do not divide ``count`` leave a rest out.
        count: number of images.

    Returns:
        Dictionary from a size to R shares in percent.
    """
    changed = {}
    for size in sizes:
        answers = torch.full((2, model.copies, count), -1)
        for draw in (0, 1):
            order = torch.randperm(count, generator=torch.Generator().manual_seed(draw))
            order = order[: count // size * size]
            answers[draw][:, order] = predict(model, images[order], "batch", size).argmax(-1)
        both = (answers >= 0).all(0).all(0)
        differ = answers[0][:, both] != answers[1][:, both]
        changed[size] = 100 * differ.double().mean(1).numpy()
    return changed


def shifted_errors(shift, data, model, plain, counts=(16, 64)):
    """Return the test errors under a shift of the images, with and without new statistics.

    Args:
        shift: of pixels in [0, 1], such as those of ``data.SHIFTS``.
        data: a :class:`norms.experiments.data.Dataset`.
        model: R copies with batch norm.
        plain: copies of the same network without.
        counts: the statistics are re-estimated from so many shifted validation images, without
            their labels; each copy has images of its own.

    Returns:
        Dictionary from "frozen", "16 images", ... and "no norm" to percent, (R,).
    """
    images, labels = data.shifted(data.test[0], shift), data.test[1]
    pool = data.shifted(data.validation[0], shift)
    nets = {"frozen": model}
    for n in counts:
        own = pool[: model.copies * n].unflatten(0, (model.copies, n))
        nets[f"{n} images"] = reestimate(copy.deepcopy(model), own)
    nets["no norm"] = plain
    return {name: 100 - evaluate(net, images, labels) for name, net in nets.items()}


def jitter(images, m, seed, near, units=200, asked=50, draws=400):
    """Measure how a sample's normalized value varies with the rest of its batch.

    The values are random projections of the images, each of mean 0 and variance 1.

    Args:
        images: (N, 1, H, W); the first ``asked`` are asked, the rest is drawn from the others.
        m: size of the batch, the asked sample included.
        seed: of the projections and of the draws.
        near: values; a sample counts for one if its normalized size is within 0.25 of it.
        units: number of projections.
        asked: number of samples.
        draws: how often the rest changes.

    Returns:
        List of the deviations of the output over the draws, root mean square over the samples
        and units near each value.
    """
    generator = torch.Generator().manual_seed(seed)
    pixels = images.flatten(1).double()
    x = pixels @ torch.randn(pixels.shape[1], units, generator=generator).double()
    x = (x - x.mean(0)) / x.std(0)
    samples, others, outputs = x[:asked], x[asked:], []
    for _ in range(draws):
        mates = others[torch.randint(len(others), (m - 1,), generator=generator)]
        mean = (samples + mates.sum(0)) / m
        var = (samples**2 + (mates**2).sum(0)) / m - mean**2
        outputs.append((samples - mean) * (var + 1e-5) ** -0.5)
    spread = torch.stack(outputs).var(0)
    return [spread[(samples.abs() - value).abs() < 0.25].mean().sqrt().item() for value in near]
