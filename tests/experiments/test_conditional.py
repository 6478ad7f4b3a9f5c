"""One generator for several styles: a gain and a shift for each of them, given in turn."""

import torch
from small_nets import F64, shaken
from torch.nn import functional as F
from torch.testing import assert_close

from norms.experiments.conditional import (
    ConditionalGenerator,
    ConditionalInstanceNorm2d,
    conditional_instance_norm,
    every_style,
    in_turn,
)
from norms.experiments.stylization import STYLES, contents, stylization_loss


def test_each_image_gets_the_gain_and_the_shift_of_its_style():
    layer = shaken(conditional_instance_norm(2, 3, styles=4))
    assert isinstance(layer, ConditionalInstanceNorm2d)
    layer.style = torch.tensor([3, 0, 3, 1, 2])
    x = torch.randn(5, 6, 4, 3, dtype=F64)
    y = layer(x)
    for n, style in enumerate(layer.style):
        gain, shift = layer.gain[:, style], layer.shift[:, style]
        assert_close(y[n : n + 1], F.instance_norm(x[n : n + 1], None, None, gain, shift))


def test_it_starts_as_instance_norm_and_its_parameters_belong_to_copies():
    layer = conditional_instance_norm(2, 3, styles=4)
    layer.style = in_turn(5)
    x = torch.randn(5, 6, 4, 3)
    assert_close(layer(x), F.instance_norm(x))
    assert [(n, tuple(p.shape)) for n, p in layer.named_parameters()] == [
        ("gain", (6, 4)),  # the copies in front: one learning rate each
        ("shift", (6, 4)),
    ]


def test_a_generator_gives_the_styles_in_turn_or_one_to_all():
    assert in_turn(7).tolist() == [0, 1, 2, 0, 1, 2, 0]
    model = shaken(ConditionalGenerator([0, 1]))
    x = torch.rand(2, 6, 3, 8, 8, dtype=F64)
    mixed, alone = model(x), [model(x, k) for k in range(3)]
    for k in range(3):
        assert_close(mixed[:, k::3], alone[k][:, k::3])
    assert (alone[0] - alone[1]).abs().max() > 0.01


def test_each_picture_is_judged_by_the_style_that_it_got():
    crops = contents(train=8)
    pictures, numbers = torch.rand(2, 7, 3, 24, 24), torch.tensor([[5, 1, 3, 2, 0, 7, 4]] * 2)
    loss = every_style(pictures, numbers, crops)
    for k, style in enumerate(STYLES):
        assert_close(loss[:, k::3], stylization_loss(pictures, numbers, style, crops)[:, k::3])
    assert_close(every_style(pictures, numbers[0], crops), loss)
