"""Instruments: signals and gradients by depth, update ratios, dead units, Jacobians."""

import copy
from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import parametrizations

import norms
from norms.experiments.training import batch_statistics, evaluate, predict, reestimate

__all__ = [
    "DriftMeter",
    "Signals",
    "Stream",
    "behind_a_matrix",
    "changed_by_company",
    "dead",
    "input_gradients",
    "jacobian_blocks",
    "jitter",
    "loss_by_place",
    "right_angles",
    "rms",
    "rounding_error",
    "saturated",
    "shifted_errors",
    "signals",
    "squared_growth",
    "state_sizes",
    "stream",
    "three_statistics",
    "update_ratios",
]


@dataclass(frozen=True)
class Signals:
    """One batch on its way through R networks; a list has one entry a hidden layer.

    Attributes:
        linear: what the layer puts out, before the norm; each (R, N, ...).
        pre: what enters the activation, after the norm.
        post: what the activation puts out.
        gradients: of the batch's mean loss, with respect to ``pre``.
        loss: (R,).
    """

    linear: list[torch.Tensor]
    pre: list[torch.Tensor]
    post: list[torch.Tensor]
    gradients: list[torch.Tensor]
    loss: torch.Tensor


def signals(model, images, labels):
    """Send a batch forward and its gradient back, and keep what passes each hidden layer.

    Batch norm takes the statistics of this batch; the model does not change.

    Args:
        model: R copies, an ``MLP`` or a ``CNN``.
        images: (N, 1, H, W), the same for every copy.
        labels: (N,).

    Returns:
        :class:`Signals`.
    """
    linear, pre = [], []
    hooks = [
        module.register_forward_hook(
            lambda _module, _inputs, output, kept=kept: kept.append(output)
        )
        for modules, kept in ((model.layers, linear), (model.norms, pre))
        for module in modules
    ]
    try:
        with batch_statistics(model):
            logits = model(images.expand(model.copies, *images.shape))
    finally:
        for hook in hooks:
            hook.remove()
    target = labels.expand(model.copies, -1)
    loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="none")
    loss = loss.view(target.shape).mean(1)
    gradients = torch.autograd.grad(loss.sum(), pre)
    post = [model.activation(x) for x in pre]
    shaped = [
        [_by_copy(x.detach(), model.copies) for x in xs] for xs in (linear, pre, post, gradients)
    ]
    return Signals(*shaped, loss.detach())


@dataclass(frozen=True)
class Stream:
    """One batch on its way through the residual stream of R Transformers.

    Attributes:
        size: root mean square of the stream after each branch, (2L, R) for L blocks.
        mean: that of the tokens' means over their features, as a share of ``size``, (2L, R).
        inputs: the same share in what each branch is given, after its norm, (2L, R).
        gradient: root mean square of the gradient with respect to the stream, (2L, R).
        weights: length of the gradient of each block's last matrix, (L, R).
        loss: mean loss of the batch, in nats, (R,).
    """

    size: torch.Tensor
    mean: torch.Tensor
    inputs: torch.Tensor
    gradient: torch.Tensor
    weights: torch.Tensor
    loss: torch.Tensor


def stream(model, tokens, targets):
    """Send a batch through R Transformers and its gradient back, and look at the stream.

    Args:
        model: R copies, a ``Transformer``.
        tokens: (N, T), the same for every copy.
        targets: what follows each token, (N, T).

    Returns:
        :class:`Stream`.
    """
    after, inputs = [], []
    hooks = [
        module.register_forward_hook(
            lambda _module, _inputs, output, kept=kept: kept.append(output)
        )
        for residual in model.stream
        for module, kept in ((residual, after), (residual.before, inputs))
    ]
    try:
        logits = model(tokens.expand(model.copies, *tokens.shape))
    finally:
        for hook in hooks:
            hook.remove()
    target = targets.expand(logits.shape[:-1])
    losses = F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none")
    loss = losses.view(model.copies, -1).mean(1)
    last = [block.branch.writes.weight for block in model.stream[1::2]]
    gradients = torch.autograd.grad(loss.sum(), [*after, *last])
    after, inputs = ([x.detach() for x in xs] for xs in (after, inputs))
    return Stream(
        size=rms(after),
        mean=rms([x.mean(-1) for x in after]) / rms(after),
        inputs=rms([x.mean(-1) for x in inputs]) / rms(inputs),
        gradient=rms(gradients[: len(after)]),
        weights=torch.stack([g.flatten(1).norm(dim=1) for g in gradients[len(after) :]]),
        loss=loss.detach(),
    )


def rms(layers):
    """Return the root mean square of each layer and copy.

    Args:
        layers: D tensors (R, N, ...).

    Returns:
        Tensor (D, R).
    """
    return torch.stack([x.flatten(1).square().mean(1).sqrt() for x in layers])


def saturated(layers, limit=0.97, low=0.0, high=1.0):
    """Return the fraction of activations near an end of their range.

    Args:
        layers: D tensors (R, N, ...), after a sigmoid, or a tanh with ``low=-1``.
        limit: how near: beyond this fraction of the way from the middle to an end.
        low: the range's lower end.
        high: the range's upper end.

    Returns:
        Tensor (D, R).
    """
    middle, half = (low + high) / 2, (high - low) / 2
    return torch.stack(
        [((x - middle).abs() > limit * half).flatten(1).float().mean(1) for x in layers]
    )


def dead(layers):
    """Return the fraction of units that are zero for every image of the batch.

    Args:
        layers: D tensors (R, N, ...) after a relu; the unit is the last axis of features,
            each place of each channel of maps.

    Returns:
        Tensor (D, R).
    """
    return torch.stack([(x == 0).all(1).flatten(1).float().mean(1) for x in layers])


def update_ratios(model, updates):
    """Return the size of an update relative to the weights, layer by layer.

    Args:
        model: R copies.
        updates: changes of its parameters, as ``train`` gives them to ``watch``.

    Returns:
        Tensor (D + 1, R) of the ratio of root mean squares for the hidden layers' weights and
        the head's; about 10^-3 is healthy.
    """
    weights = [layer.weight for layer in (*model.layers, model.head)]
    change = {id(p): u for p, u in zip(model.parameters(), updates, strict=True)}
    sizes = [[t.detach().reshape(model.copies, -1).norm(dim=1) for t in pair]
             for pair in ((change[id(w)], w) for w in weights)]  # fmt: skip
    return torch.stack([update / weight.clamp_min(1e-30) for update, weight in sizes])


def input_gradients(model, images, labels):
    """Return the gradient of the batch's mean loss with respect to the images.

    Batch norm takes the statistics of this batch; the model does not change.

    Args:
        model: R copies.
        images: (N, 1, H, W), the same for every copy.
        labels: (N,).

    Returns:
        Tensor (R, N, 1, H, W).
    """
    x = images.expand(model.copies, *images.shape).clone().requires_grad_()
    with batch_statistics(model):
        logits = model(x)
    target = labels.expand(model.copies, -1)
    loss = F.cross_entropy(logits.flatten(0, 1), target.flatten(), reduction="sum") / len(labels)
    return torch.autograd.grad(loss, x)[0]


def jacobian_blocks(function, x):
    r"""Return how much each sample's output depends on each sample's input.

    .. math:: J_{n n'} = \Big\| \frac{\partial y_n}{\partial x_{n'}} \Big\|_F

    Args:
        function: maps (N, ...) to (N, ...).
        x: tensor (N, ...), of a few samples.

    Returns:
        Tensor (N, N); off the diagonal it is zero where samples do not mix.
    """
    n = len(x)
    full = torch.autograd.functional.jacobian(function, x)
    return full.reshape(n, -1, n, x[0].numel()).square().sum((1, 3)).sqrt()


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
                for module in model.norms.modules():
                    module.train()  # noise too
                model(self.images.expand(model.copies, *self.images.shape))
        finally:
            for hook in hooks:
                hook.remove()
        inputs = [_by_copy(x, model.copies) for x in kept]
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


def _by_copy(x, copies):
    """Features (R, N, C) as they are; maps (N, R*C, H, W) as (R, N, C, H, W)."""
    if x.dim() == 3:
        return x
    return x.unflatten(1, (copies, -1)).transpose(0, 1)


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
    mended = reestimate(copy.deepcopy(model), data.train[0][:images], batch_size)
    accuracies = {
        "running": evaluate(model, *data.test),
        "batch": evaluate(model, *data.test, statistics="batch", batch_size=batch_size),
        "re-estimated": evaluate(mended, *data.test),
    }
    return {name: 100 - accuracy.double().numpy() for name, accuracy in accuracies.items()}


def changed_by_company(model, images, sizes=(2, 4, 8, 32, 125), count=500):
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


def right_angles(model, images, labels, layer=3, factor=3.0):
    """Measure how the gradient of a layer's weights stands to the weights.

    Args:
        model: R copies of an MLP; taken in float64.
        images: (N, 1, H, W).
        labels: (N,).
        layer: index of the layer.
        factor: by which the weights are scaled for the second measurement.

    Returns:
        ``cosine, ratio``: the largest absolute cosine between the incoming weights of a unit
        and their gradient, and the length of the gradient at ``factor`` times the weights,
        divided by that at the weights, averaged over copies.
    """
    model = copy.deepcopy(model).double()
    weight = model.layers[layer].weight  # (R, inputs, units)

    def gradient():
        logits = model(images.double().expand(model.copies, *images.shape))
        target = labels.repeat(model.copies)
        loss = F.cross_entropy(logits.flatten(0, 1), target, reduction="sum") / len(labels)
        return torch.autograd.grad(loss, weight)[0]

    first = gradient()
    lengths = weight.norm(dim=1) * first.norm(dim=1)
    cosine = ((weight * first).sum(1) / lengths.clamp_min(1e-300)).abs().max().item()
    with torch.no_grad():
        weight.mul_(factor)
    return cosine, (gradient().norm(dim=(1, 2)) / first.norm(dim=(1, 2))).mean().item()


def squared_growth(model, images, labels, skip=5):
    """Return by what factor the squared gradient grows in a layer on its way down, (R,).

    The geometric mean over the layers but for ``skip`` at each end. Arguments as for
    :func:`signals`.
    """
    squares = rms(signals(model, images, labels).gradients).square()
    first, last = skip, len(squares) - 1 - skip
    return (squares[first] / squares[last]) ** (1 / (last - first))


def jitter(images, m, seed, near, units=200, asked=50, draws=400):
    """Measure how a sample's normalized value varies with the company in its batch.

    The values are random projections of the images, each of mean 0 and variance 1.

    Args:
        images: (N, 1, H, W); the first ``asked`` are asked, the company is drawn from the others.
        m: size of the batch, the asked sample included.
        seed: of the projections and of the draws.
        near: values; a sample counts for one if its normalized size is within 0.25 of it.
        units: number of projections.
        asked: number of samples.
        draws: how often the company changes.

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


def behind_a_matrix(x, weight):
    """Return the outputs of five norms behind a linear layer, without gain, shift and epsilon.

    Weight and spectral norm are torch's own parametrizations.

    Args:
        x: inputs (N, D), in float64.
        weight: W, (H, D).

    Returns:
        Dictionary from "batch", "layer", "rms", "weight" and "spectral" to tensors (N, H).
    """
    like = {"dtype": x.dtype}
    sums, units = x @ weight.T, len(weight)
    linear = [nn.Linear(x.shape[1], units, bias=False, **like) for _ in range(2)]
    for layer in linear:
        layer.weight.data = weight.clone()
    by_length = parametrizations.weight_norm(linear[0])
    by_length.parametrizations.weight.original0.data.fill_(1)  # g
    by_singular_value = parametrizations.spectral_norm(linear[1], n_power_iterations=500)
    with torch.no_grad():
        return {
            "batch": norms.BatchNorm1d(units, eps=1e-14, **like)(sums),
            "layer": norms.LayerNorm(units, eps=0, **like)(sums),
            "rms": norms.RMSNorm(units, eps=0, **like)(sums),
            "weight": by_length(x),
            "spectral": by_singular_value(x),
        }


def state_sizes(model, tokens):
    """Return the size of a recurrent net's state after each token.

    Args:
        model: R copies, an ``RNN``.
        tokens: (N, T), the same for every copy.

    Returns:
        Tensor (T, R) of root mean squares over samples and units.
    """
    with torch.no_grad():
        states = model.states(tokens.expand(model.copies, *tokens.shape))  # (R, N, T, width)
    return states.double().square().mean((1, 3)).sqrt().T


def loss_by_place(model, tokens, targets):
    """Return the loss at each place of a sequence.

    Args:
        model: R copies of a net over sequences.
        tokens: (N, T), the same for every copy.
        targets: what follows each token, (N, T).

    Returns:
        Tensor (T, R) of means over samples, in nats.
    """
    with torch.no_grad():
        logits = model(tokens.expand(model.copies, *tokens.shape)).double()  # (R, N, T, K)
    target = targets.expand(logits.shape[:-1])
    losses = F.cross_entropy(logits.flatten(0, -2), target.flatten(), reduction="none")
    return losses.view(target.shape).mean(1).T


def rounding_error(function, exact, seed, *, features=64, offset=0, size=1, dtype=torch.float32):
    """Return the largest error of a norm on normal numbers, over 200 tokens.

    Args:
        function: from a tensor of ``dtype`` to its normalized values.
        exact: the same in float64, given the same rounded numbers.
        seed: of the draw.
        features: of a token.
        offset: added to the numbers.
        size: their deviation.
        dtype: to which they are rounded first.
    """
    x = torch.randn((200, features), generator=torch.Generator().manual_seed(seed))
    x = (size * x + offset).to(dtype)
    with torch.no_grad():
        return (function(x).double() - exact(x.double())).abs().max().item()
