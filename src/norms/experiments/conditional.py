"""One generator for several styles: instance norm with a gain and a shift for each of them."""

from functools import partial

import torch
from torch import nn

from norms import InstanceNorm2d
from norms.experiments.stylization import STYLES, Generator, stylization_loss

__all__ = [
    "ConditionalGenerator",
    "ConditionalInstanceNorm2d",
    "conditional_instance_norm",
    "every_style",
    "in_turn",
]


class ConditionalInstanceNorm2d(InstanceNorm2d):
    r"""Instance norm with a gain and a shift for each style, chosen image by image.

    .. math:: y_n = \gamma_{s_n} \hat x_n + \beta_{s_n}

    Args:
        num_features: C.
        styles: K.

    Attributes:
        style: the styles of a batch, (N,): set it before each call.

    References:
        Dumoulin, Shlens and Kudlur 2017, arXiv:1610.07629, equation 5.
    """

    def __init__(self, num_features, styles):
        super().__init__(num_features)
        self.gain = nn.Parameter(torch.ones(num_features, styles))
        self.shift = nn.Parameter(torch.zeros(num_features, styles))
        self.style = None

    def forward(self, x):
        gain, shift = (p[:, self.style].T[:, :, None, None] for p in (self.gain, self.shift))
        return gain * super().forward(x) + shift  # (N, C, 1, 1) both, on (N, C, H, W)


def conditional_instance_norm(copies, channels, **options):
    """Make a :class:`ConditionalInstanceNorm2d`: an arm's ``norm``."""
    return ConditionalInstanceNorm2d(copies * channels, **options)


def in_turn(count):
    """Return the styles of a batch of so many: 0, 1, 2, 0, 1, 2, ..."""
    return torch.arange(count) % len(STYLES)


class ConditionalGenerator(Generator):
    """R generators that all know every style: a batch of photographs gets them in turn.

    Args:
        seeds: one integer a copy.
    """

    def __init__(self, seeds):
        super().__init__(conditional_instance_norm, seeds, styles=len(STYLES))

    def forward(self, x, style=None):
        """Map photographs (R, N, 3, H, W) to pictures; ``style`` is the number of one for all."""
        count = x.shape[1]
        styles = in_turn(count) if style is None else torch.full((count,), style)
        for norm in self.norms:
            norm.style = styles
        return super().forward(x)


def every_style(outputs, numbers, of):
    """Return the loss of each picture, (R, N), by the style that it got in turn.

    Args:
        outputs: (R, N, 3, H, W).
        numbers: of the photographs, (N,) or (R, N).
        of: the :class:`~norms.experiments.stylization.Contents`.
    """
    found = torch.zeros(outputs.shape[:2])
    for k, style in enumerate(STYLES):
        loss = partial(stylization_loss, style=style, of=of)
        found[:, k :: len(STYLES)] = loss(
            outputs[:, k :: len(STYLES)], numbers[..., k :: len(STYLES)]
        )
    return found
