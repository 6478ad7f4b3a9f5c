"""The run that is sick, as it was handed over. Read it, use it, leave it as it is.

Digits of 8×8 pixels come from two scanners. Scanner 0 writes a pixel as a number from 0 (paper) to 1 (ink),
scanner 1 in another unit: 1.5 for paper, 2 for ink. Each training batch comes from one scanner, and the
scanners take turns. After training, the network serves requests: each is one image, with its scanner.
"""

import itertools
import pathlib

import numpy as np
import torch
from torch import nn

HERE = pathlib.Path(__file__).parent
DEPTH, WIDTH, EACH = 8, 64, 500  # hidden layers, units of a layer, training images of a scanner
FIRST, GAIN = 3, 30.0
CAUSES = (
    "gain too large",
    "gain too small",
    "gain lost to weight decay",
    "norm over the wrong axis",
    "norm on the last layer",
    "one set of statistics for both scanners",
    "batch statistics at prediction",
    "running statistics that lag",
)


def digits():
    """Images (1300, 64) between 0 and 1, and labels (1300,): 500 + 500 to train with, 300 to validate.

    A line of the file is a label and 64 pixels; `g`, the darkest, is 16.
    """
    lines = (HERE / "digits.txt").read_text(encoding="ascii").split("\n")[:1300]
    images = [[int(pixel, 17) / 16 for pixel in line[2:]] for line in lines]
    return np.array(images), np.array([int(line[0]) for line in lines])


IMAGES, LABELS = (torch.from_numpy(array) for array in digits())


def scan(images, source):
    """What a scanner makes of images."""
    return images if source == 0 else 1.5 + images / 2


def batches(steps, seed):
    """For each step the scanner and the numbers (50,) of its images."""
    random = np.random.default_rng(seed)
    for step in range(steps):
        source = step % 2
        yield source, torch.from_numpy(source * EACH + random.choice(EACH, 50, replace=False))


class Norm(nn.Module):
    """Batch norm for features (N, C) of one of two scanners."""

    def __init__(self, features, eps=1e-5, momentum=0.1):
        super().__init__()
        self.eps, self.momentum = eps, momentum
        self.weight = nn.Parameter(torch.ones(features))
        self.bias = nn.Parameter(torch.zeros(features))
        self.register_buffer("running_mean", torch.zeros(2, features))
        self.register_buffer("running_var", torch.ones(2, features))

    def forward(self, x, source):
        row = 0  # whose statistics
        mean, var = self.running_mean[row], self.running_var[row]
        if self.training:
            if len(x) > 1:
                with torch.no_grad():
                    self.running_mean[row].lerp_(x.mean(0), self.momentum)
                    self.running_var[row].lerp_(x.var(0), self.momentum)
            mean, var = x.mean(0), x.var(0, unbiased=False)
        return self.weight * (x - mean) * (var + self.eps) ** -0.5 + self.bias


class Net(nn.Module):
    """Eight layers of a matrix, a norm and a tanh, and a last matrix without a norm.

    After a pass, `pre` holds what entered each tanh and `post` what came out, eight tensors (N, 64) each.
    """

    def __init__(self, seed):
        super().__init__()
        random, sizes = np.random.default_rng(seed), [64] + DEPTH * [WIDTH] + [10]
        shapes = itertools.pairwise(sizes)
        drawn = [random.normal(size=(m, n)) / m**0.5 for m, n in shapes]
        self.weights = nn.ParameterList([torch.from_numpy(w) for w in drawn])
        self.shift = nn.Parameter(torch.zeros(10))
        self.norms = nn.ModuleList([Norm(WIDTH, momentum=0.1) for _ in range(DEPTH)])
        for norm in self.norms[FIRST - 1 :]:
            nn.init.constant_(norm.weight, GAIN)
        self.double()

    def forward(self, x, source):  # (N, 64) to logits (N, 10)
        self.pre, self.post = [], []
        for weight, norm in zip(self.weights, self.norms, strict=False):
            self.pre.append(norm(x @ weight, source))
            x = self.pre[-1].tanh()
            self.post.append(x)
        return x @ self.weights[DEPTH] + self.shift


def make_optimizer(model):
    return torch.optim.SGD(model.parameters(), lr=0.1, weight_decay=1e-4)


def predict(model, images, source):
    """Logits of a request: images (N, 64) as a scanner wrote them; N is mostly 1."""
    model.train(False)
    with torch.no_grad():
        return model(images, source)


def train(model, optimizer, steps=160, seed=0):
    """Train in place; return the loss of each step."""
    losses = []
    model.train()
    for source, index in batches(steps, seed):
        logits = model(scan(IMAGES[index], source), source)
        loss = nn.functional.cross_entropy(logits, LABELS[index])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def accuracy(model, predict, at_once=1):
    """Percent right on 150 validation images for each scanner, in requests of so many: an array (2,)."""
    right = np.zeros(2)
    for source in (0, 1):
        index = torch.arange(2 * EACH + source, len(IMAGES), 2)
        for part in index.split(at_once):
            answers = predict(model, scan(IMAGES[part], source), source).argmax(1)
            right[source] += 100 * float((answers == LABELS[part]).sum()) / len(index)
    return right


def admitted():
    """The patient as it is to be examined: not trained, but in training mode it has been shown 60 batches."""
    model = Net(0).train()
    with torch.no_grad():
        for source, index in batches(60, 0):
            model(scan(IMAGES[index], source), source)
    return model


def probe(source):
    """The first 100 training images of a scanner, as it wrote them, and their labels."""
    index = slice(source * EACH, source * EACH + 100)
    return scan(IMAGES[index], source), LABELS[index]
