"""Feed-forward stylization: generators that give every photograph the style of one picture.

A style is what the Gram matrices of a fixed network's features say about a picture, a content what
its features are. The network has random weights: nothing is downloaded. R generators are trained
at once by :func:`norms.experiments.training.train`.
"""

from dataclasses import dataclass
from functools import cache, cached_property, partial
from itertools import pairwise

import torch
from torch import nn
from torch.nn import functional as F

from norms.experiments.bundles import read_pictures
from norms.experiments.evaluation import predict
from norms.experiments.models import Conv, behind_layer
from norms.experiments.models.copies import generators_of
from norms.experiments.training import few_threads, train

__all__ = [
    "STYLES",
    "Contents",
    "Generator",
    "contents",
    "equal_contrast",
    "features",
    "gram",
    "losses",
    "picture",
    "restyled",
    "stylization_loss",
    "training_of",
    "updates_to",
]

PHOTOGRAPHS = ("astronaut", "chelsea", "coffee", "rocket")
STYLES = {"tissue": "ihc", "gravel": "gravel", "stars": "hubble_deep_field"}  # and their pictures
CONTENT_WEIGHT = 0.3  # of the content in the loss, beside the style
SIZE = 24  # of a crop: its height and width


@dataclass(frozen=True)
class Contents:
    """Crops of photographs (N, 3, H, W) in [0, 1], and their numbers (N,).

    Attributes:
        name: of the set.
        train: crops and their numbers in the whole set.
        validation: the same from other places, for choosing learning rates.
        test: the same, for the number that is reported.
    """

    name: str
    train: tuple[torch.Tensor, torch.Tensor]
    validation: tuple[torch.Tensor, torch.Tensor]
    test: tuple[torch.Tensor, torch.Tensor]

    measure = "loss"  # of :func:`stylization_loss`

    @cached_property
    def features(self):
        """Return the content of all crops, (N, K); the loss compares with it."""
        crops = torch.cat([part[0] for part in (self.train, self.validation, self.test)])
        return _content(features(crops))

    @cached_property
    def scale(self):
        """Return the mean square of the features."""
        return self.features.square().mean()

    def __str__(self):
        sizes = [len(part[1]) for part in (self.train, self.validation, self.test)]
        return f"{self.name}: {sizes[0]} train, {sizes[1]} validation, {sizes[2]} test"


class Generator(nn.Module):
    """R networks from photographs to pictures: down, one residual block, and up again.

    Every convolution but the last has a norm behind it, and reflects the picture at its border.

    Args:
        norm: a key of :data:`norms.experiments.models.NORMS` or a function, see
            :func:`norms.experiments.models.behind_layer`.
        seeds: one integer a copy: the seed of its initial weights.
        width: channels of the first convolution; the middle has twice as many.
        **options: passed to the norm.

    References:
        Johnson, Alahi and Fei-Fei 2016, arXiv:1603.08155. Ulyanov, Vedaldi and Lempitsky 2016,
        arXiv:1607.08022.
    """

    def __init__(self, norm, seeds, width=8, **options):
        super().__init__()
        generators = generators_of(seeds)
        self.copies = len(generators)
        sizes = [3, width, 2 * width, 2 * width, 2 * width, width, 3]
        self.layers, self.norms = nn.ModuleList(), nn.ModuleList()
        for place, (inputs, outputs) in enumerate(pairwise(sizes)):
            self.layers.append(
                _ReflectConv(inputs, outputs, generators, 2**0.5, 2 if place == 1 else 1)
            )
            if place < 5:
                self.norms.append(behind_layer(norm, self.copies, outputs, "maps", **options))

    def forward(self, x):
        """Map photographs (R, N, 3, H, W) to pictures of that shape, all in [0, 1]."""
        x = (x.transpose(0, 1).flatten(1, 2) - 0.45) / 0.25
        conv, norm = self.layers, self.norms
        x = norm[0](conv[0](x)).relu()
        x = norm[1](conv[1](x)).relu()
        x = x + norm[3](conv[3](norm[2](conv[2](x)).relu()))
        x = F.interpolate(x, scale_factor=2.0)
        x = norm[4](conv[4](x)).relu()
        return conv[5](x).sigmoid().unflatten(1, (self.copies, 3)).transpose(0, 1)


class _ReflectConv(Conv):
    def forward(self, x):
        x = F.pad(x, (1, 1, 1, 1), mode="reflect")
        return F.conv2d(x, self.weight, self.bias, self.stride, groups=self.copies)


def picture(name):
    """Return a bundled picture (3, H, W) in [0, 1]."""
    return torch.tensor(read_pictures()[name]).movedim(-1, 0) / 255


def contents(change=None, train=400, name="photographs"):
    """Cut crops out of four photographs.

    Those to train on come from the left three fifths, those for validation from the upper half of
    the rest, and those of the test from its lower half.

    Args:
        change: function from crops (N, 3, H, W) in [0, 1] to others, which take their place, as
            input and as content; such as :func:`equal_contrast`.
        train: number of crops to train on; 48 are for validation and 48 for the test.
        name: of the set.
    """
    generator, parts, first = torch.Generator().manual_seed(0), [], 0
    wholes = [picture(name) for name in PHOTOGRAPHS]
    places = {"left": train, "upper right": 48, "lower right": 48}
    for place, count in places.items():
        crops = [_crop(wholes[i % 4], place, generator) for i in range(count)]
        crops = torch.stack(crops)
        crops = crops if change is None else change(crops)
        parts.append((crops, torch.arange(first, first + count)))
        first += count
    return Contents(name, *parts)


def _crop(whole, place, generator):
    _, height, width = whole.shape
    cut, middle = int(0.6 * width), height // 2
    part = {
        "left": whole[:, :, :cut],
        "upper right": whole[:, :middle, cut:],
        "lower right": whole[:, middle:, cut:],
    }[place]
    top, left = (int(torch.randint(n - SIZE + 1, (), generator=generator)) for n in part.shape[1:])
    return part[:, top : top + SIZE, left : left + SIZE]


def equal_contrast(crops):
    """Give every crop the same mean and the same standard deviation over its pixels and colours.

    The result is cut off at 0 and 1 and rounded to 255 steps, as pictures are.
    """
    x = crops.double()
    mean, deviation = x.mean((1, 2, 3), keepdim=True), x.flatten(1).std(1).view(-1, 1, 1, 1)
    scaled = 0.45 + 0.22 * (x - mean) / deviation.clamp_min(1e-3)
    return ((scaled.clamp(0, 1) * 255).round() / 255).float()


@cache
def _network():
    generator = torch.Generator().manual_seed(0)
    weights = []
    for inputs, outputs, size in ((3, 16, 5), (16, 32, 3), (32, 32, 3)):
        draw = torch.randn(outputs, inputs, size, size, generator=generator)
        weights.append(draw * (2 / (inputs * size * size)) ** 0.5)
    return weights


def features(images):
    """Return the features of images (N, 3, H, W) in three layers of a fixed random network.

    References:
        Ustyuzhaninov et al. 2016, arXiv:1606.00021, on random weights.
    """
    x, found = (images - 0.45) / 0.25, []
    for weight in _network():
        x = F.avg_pool2d(x, 2) if found else x
        x = F.conv2d(x, weight, padding=weight.shape[-1] // 2).relu()
        found.append(x)
    return found


def gram(x):
    """Return the means over the places of all products of two channels, (N, C, C)."""
    flat = x.flatten(2)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


@cache
def _style(name):
    image = picture(STYLES[name])[None, :, :128, :128]
    return [gram(x) for x in features(image)]


def _content(found):
    return found[1].flatten(1)


def losses(outputs, numbers, style, of):
    """Return how far pictures are from the style, and from the content, (R, N) each.

    Args:
        outputs: (R, N, 3, H, W).
        numbers: of the crops that they were made from, (N,) or (R, N).
        style: a key of :data:`STYLES`.
        of: the :class:`Contents`.
    """
    found = features(outputs.flatten(0, 1))
    pairs = zip(found, _style(style), strict=True)
    of_style = sum((gram(x) - g).square().sum((1, 2)) / g.square().sum() for x, g in pairs)
    distance = _content(found).view(*outputs.shape[:2], -1) - of.features[numbers]
    of_content = distance.square().mean(-1) / of.scale
    return of_style.view(outputs.shape[:2]), of_content


def stylization_loss(outputs, numbers, style, of):
    """Return the loss of each picture, (R, N): its style's and 0.3 of its content's."""
    of_style, of_content = losses(outputs, numbers, style, of)
    return of_style + CONTENT_WEIGHT * of_content


@few_threads()
def restyled(crops, style="tissue", steps=300, seed=7000):
    """Give all crops one style, by a generator with instance norm that is trained for it.

    Args:
        crops: (N, 3, H, W) in [0, 1].
        style: a key of :data:`STYLES`.
        steps: number of updates of the generator.
        seed: of its weights and batches.

    Returns:
        Crops in the same shape, for :func:`contents`.
    """
    return predict(_trained(style, steps, seed), crops)[0]


@cache
def _trained(style, steps, seed):
    how = training_of(style, contents(), steps)
    net = partial(Generator, "instance")
    return train(net, learning_rates=[3e-3], seeds=[seed], parts=[], **how).model


def updates_to(losses, level, window=10):
    """Return after how many updates a loss is below a level, each seed's its own.

    Args:
        losses: of every update, (steps, S).
        level: (S,).
        window: the mean of so many losses counts.

    Returns:
        Tensor (S,) of the last update in the first such window; all steps if there is none.
    """
    below = losses.unfold(0, window, 1).mean(-1) < level
    first = below.int().argmax(0) + window
    return torch.where(below.any(0), first, len(losses)).double()


def training_of(style, data, steps=100, batch_size=4):
    """Return how a generator is trained for a style: arguments of ``train``."""
    return {
        "data": data,
        "steps": steps,
        "batch_size": batch_size,
        "optimizer": "adam",
        "loss": partial(stylization_loss, style=style, of=data),
    }
