r"""Central differences for a hand-written backward, with everything random.

A normalizer hides a wrong backward from a careless check: with ``y.sum()`` as the loss,
gain 1 and shift 0, the loss does not depend on ``x`` at all, so a backward that lacks a
term passes. Here the upstream gradient and every array, gain and shift included, are
drawn at random; a caller gives shapes, never values.
"""

import copy
from dataclasses import dataclass

import numpy as np
import torch

__all__ = [
    "ArgumentError",
    "GradcheckResult",
    "assert_same_layer",
    "check_backward",
    "numerical_gradient",
]


@dataclass(frozen=True)
class ArgumentError:
    """The worst entry of one argument's gradient."""

    argument: str
    index: tuple[int, ...]
    analytic: float
    numeric: float
    error: float


@dataclass(frozen=True)
class GradcheckResult:
    """What :func:`check_backward` found; true when every error is below ``tolerance``."""

    worst: tuple[ArgumentError, ...]
    tolerance: float

    @property
    def error(self):
        """The largest relative error over all arguments."""
        return float(np.max([w.error for w in self.worst], initial=0.0))

    def __bool__(self):
        return all(w.error < self.tolerance for w in self.worst)  # False for NaN too

    def __str__(self):
        lines = [
            f"{'ok' if w.error < self.tolerance else 'WRONG':6s}d{w.argument:6s}{w.error:8.1e} at "
            f"{w.index!s:10s} backward {w.analytic:+.5f}, difference {w.numeric:+.5f}"
            for w in self.worst
        ]
        return "\n".join(lines)


def numerical_gradient(loss, x, step=1e-5):
    r"""Differentiate ``loss`` at ``x`` by central differences, one entry at a time.

    .. math:: \frac{\partial L}{\partial x_i} \approx \frac{L(x + h e_i) - L(x - h e_i)}{2h}

    Args:
        loss: function without arguments that returns a number and reads ``x``.
        x: float64 array; each entry is moved in place and put back.
        step: :math:`h`.

    Returns:
        Array in the shape of ``x``.

    Raises:
        TypeError: ``x`` is not float64; lower precision drowns the difference.
    """
    if x.dtype != np.float64:
        raise TypeError(f"x has dtype {x.dtype}; central differences need float64: x.astype(float)")
    gradient = np.zeros_like(x)
    for index in np.ndindex(x.shape):
        kept = x[index]
        x[index] = kept + step
        above = loss()
        x[index] = kept - step
        below = loss()
        x[index] = kept
        gradient[index] = (above - below) / (2 * step)
    return gradient


def check_backward(forward, backward, shapes, *, tolerance=1e-6, seed=0, **options):
    r"""Compare a backward with central differences at a random point.

    Every array of ``shapes`` and the upstream gradient ``dy`` are drawn from a normal
    distribution; the loss is :math:`L = \sum \mathrm{d}y \odot y`. The error of an entry
    is its absolute error divided by the largest entry of that argument's gradient (at
    least 1e-3, so that a gradient of zero can pass).

    Args:
        forward: ``forward(*arrays, **options)`` returns ``y, cache``.
        backward: ``backward(dy, cache)`` returns the gradients in the order of ``shapes``
            (one array, or a tuple).
        shapes: dictionary from the name of each array argument to its shape; at least two of
            every axis, since of one number the sum is the mean.
        tolerance: the largest relative error that passes.
        seed: of the random draw.
        **options: passed to ``forward``, such as ``eps=1e-5``.

    Returns:
        A :class:`GradcheckResult`; print it to see which argument is wrong, and where.

    Raises:
        ValueError: the backward returned another number of gradients, or another shape.
    """
    rng = np.random.default_rng(seed)
    arrays = {name: rng.normal(size=shape) for name, shape in shapes.items()}

    def forward_of_copies():  # what works in place must not change what it is compared with
        return forward(*(array.copy() for array in arrays.values()), **options)

    y, cache = forward_of_copies()
    dy = rng.normal(size=y.shape)
    gradients = backward(dy.copy(), cache)
    gradients = gradients if isinstance(gradients, tuple) else (gradients,)
    if len(gradients) != len(arrays):
        raise ValueError(
            f"backward returned {len(gradients)} gradients for {len(arrays)} arrays: "
            f"expected d{', d'.join(arrays)}"
        )
    worst = []
    for (name, array), analytic in zip(arrays.items(), gradients, strict=True):
        if np.shape(analytic) != array.shape:
            raise ValueError(
                f"d{name} has shape {np.shape(analytic)}; expected that of {name}, {array.shape}"
            )

        def loss():
            return float((dy * forward_of_copies()[0]).sum())

        numeric = numerical_gradient(loss, array)
        errors = np.abs(analytic - numeric) / max(np.abs(numeric).max(initial=0.0), 1e-3)
        if not errors.size:
            continue
        index = np.unravel_index(
            np.argmax(np.where(np.isnan(errors), np.inf, errors)), errors.shape
        )
        worst.append(
            ArgumentError(
                name,
                tuple(int(i) for i in index),
                float(np.asarray(analytic)[index]),
                float(numeric[index]),
                float(errors[index]),
            )
        )
    return GradcheckResult(tuple(worst), tolerance)


def assert_same_layer(layer, reference, shape, *, seed=0):
    """Assert that two layers are the same function: outputs, and gradients of everything.

    Parameters, input and upstream gradient are drawn from a normal distribution, and both
    layers get the same.

    Args:
        layer: a module; it is not changed.
        reference: a module whose ``state_dict`` has the same keys.
        shape: of the input.
        seed: of the random draw.

    Raises:
        AssertionError: an output or a gradient differs; the message names it.
        RuntimeError: the parameters have other names.
    """
    generator = torch.Generator().manual_seed(seed)
    layer, reference = copy.deepcopy(layer), copy.deepcopy(reference)
    with torch.no_grad():
        for parameter in reference.parameters():
            parameter.normal_(generator=generator)
    layer.load_state_dict(reference.state_dict(), strict=True)
    x, dy = torch.randn((2, *shape), generator=generator)
    seen = []
    for module in (layer, reference):
        leaf = x.clone().requires_grad_()
        y = module(leaf)
        named = {"x": leaf, **dict(module.named_parameters())}
        gradients = torch.autograd.grad(y, list(named.values()), dy)
        seen.append([("y", y), *zip((f"d{name}" for name in named), gradients, strict=True)])
    for (name, ours), (_, theirs) in zip(*seen, strict=True):
        torch.testing.assert_close(ours, theirs, msg=lambda text, name=name: f"{name}: {text}")
