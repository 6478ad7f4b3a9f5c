"""Reinforcement learning in small: an actor and critic balances a pole on a cart, many copies at once.

The cart and its pole are those of Gymnasium's ``CartPole-v1``: the same forces, step and limits.
"""

import math
from dataclasses import dataclass

import torch

from norms.experiments.evaluation import undisturbed

__all__ = ["Practice", "moved", "practise"]

LIMITS = (2.4, 12 * math.pi / 180)  # of the place and of the angle
LONGEST = 500  # steps of an episode


def moved(state, right):
    r"""Push carts for a fiftieth of a second, with a force of 10 N.

    Args:
        state: (..., 4): place and speed of the cart, angle and angular speed of the pole.
        right: (...), bool: the direction.

    Returns:
        The state afterwards, (..., 4).

    References:
        Barto, Sutton and Anderson 1983, Neuronlike adaptive elements that can solve difficult
        learning control problems; Gymnasium, ``CartPole-v1``, with Euler's method.
    """
    gravity, cart, pole, half, force, seconds = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02
    _, speed, angle, turning = state.unbind(-1)
    sine, cosine = angle.sin(), angle.cos()
    push = torch.where(right, force, -force)
    common = (push + pole * half * turning**2 * sine) / (cart + pole)
    inertia = half * (4 / 3 - pole * cosine**2 / (cart + pole))
    turned = (gravity * sine - cosine * common) / inertia
    shoved = common - pole * half * turned * cosine / (cart + pole)
    return state + seconds * torch.stack([speed, shoved, turning, turned], -1)


@dataclass(frozen=True)
class Practice:
    """How long the poles stood.

    Attributes:
        steps: the number of updates after which the length was taken, K of them.
        lengths: mean length of the episodes that ended since the last time, (K, L, S); where none
            did, that of the time before.
        learning_rates: the L learning rates.
    """

    steps: list[int]
    lengths: torch.Tensor
    learning_rates: list[float]


def practise(
    build, *, learning_rates, seeds, updates=300, carts=8, steps=16, discount=0.99, every=20
):
    """Train actors and critics, one for each learning rate and seed, by Adam.

    A network answers a state with two logits and a value. Copies of a seed meet the same starts
    and the same chances, whatever ``build`` makes and whatever the learning rate. A network acts in
    evaluation mode and learns in training mode.

    Args:
        build: ``build(seeds)`` returns a module of copies from states (R, N, 1, 1, 4) to (R, N, 3).
        learning_rates: L numbers.
        seeds: S integers.
        updates: number of updates.
        carts: E, how many each copy has.
        steps: T, between two updates.
        discount: of later rewards; each step that the pole stands is a reward of 1.
        every: number of updates between two measurements.

    Returns:
        :class:`Practice`.

    References:
        Mnih et al. 2016, arXiv:1602.01783 (advantage actor-critic, here in step).
    """
    copies = [seed for _ in learning_rates for seed in seeds]
    model = build(copies)
    descent = _Adam(list(model.parameters()), learning_rates, len(seeds))
    chance = _Chance(seeds, len(learning_rates), carts)
    state, age = chance.starts(), torch.zeros(len(copies), carts)
    lengths, ended, total = [], torch.zeros(len(copies)), torch.zeros(len(copies))
    seen = torch.full((len(copies),), torch.nan)
    for update in range(1, updates + 1):
        states, rights, stops = [], [], []
        with undisturbed(model), torch.no_grad():
            model.eval()
            for _ in range(steps):
                logits = _answers(model, state)[0]
                right = chance.draws() < (logits[..., 1] - logits[..., 0]).sigmoid()
                states.append(state)
                state, age = moved(state, right), age + 1
                fell = (state[..., 0].abs() > LIMITS[0]) | (state[..., 2].abs() > LIMITS[1])
                stop = fell | (age >= LONGEST)
                ended, total = ended + stop.sum(1), total + (age * stop).sum(1)
                age = torch.where(stop, 0.0, age)
                state = torch.where(stop[..., None], chance.starts(), state)
                rights.append(right)
                stops.append(stop)
            later = _answers(model, state)[1]
        returns = []
        for stop in reversed(stops):
            later = 1 + discount * later * ~stop
            returns.append(later)
        batch = [torch.cat(part, 1) for part in (states, rights, returns[::-1])]
        descent(torch.autograd.grad(_loss(model, *batch).sum(), descent.parameters))
        if update % every == 0:
            seen = torch.where(ended > 0, total / ended, seen)
            lengths.append(seen.view(len(learning_rates), -1))
            ended, total = torch.zeros_like(ended), torch.zeros_like(total)
    at = list(range(every, updates + 1, every))
    return Practice(at, torch.stack(lengths), list(learning_rates))


def _answers(model, state):
    """Two logits (R, N, 2) and a value (R, N) for states (R, N, 4)."""
    size = torch.tensor([1.0, 1.0, 0.1, 1.0])  # a pole has fallen at an angle of 0.21
    answer = model((state / size)[:, :, None, None])
    return answer[..., :2], 10 * answer[..., 2]  # a pole that stands is worth 50 and more


def _loss(model, state, right, returned):
    """The loss of each copy, (R,): advantage times logarithm, half the value's error, entropy."""
    logits, value = _answers(model, state)
    logs = logits.log_softmax(-1)
    chosen = torch.where(right, logs[..., 1], logs[..., 0])
    advantage = (returned - value).detach()
    middle, width = advantage.mean(1, keepdim=True), advantage.std(1, keepdim=True)
    actor = (chosen * (advantage - middle) / (width + 1e-6)).mean(1)
    entropy = -(logs.exp() * logs).sum(-1).mean(1)
    return -actor + 0.005 * (returned - value).square().mean(1) - 0.01 * entropy


class _Chance:
    """Random numbers of each seed, the same for every learning rate."""

    def __init__(self, seeds, rates, carts):
        self.generators = [torch.Generator().manual_seed(int(seed)) for seed in seeds]
        self.rates, self.carts, self.left = rates, carts, []

    def draws(self):
        """Between 0 and 1, (R, E)."""
        return self._next()[..., 0]

    def starts(self):
        """States of carts that begin, (R, E, 4)."""
        return self._next()[..., 1:] * 0.1 - 0.05

    def _next(self):
        if not self.left:
            shape = (256, self.carts, 5)
            drawn = torch.stack([torch.rand(shape, generator=g) for g in self.generators], 1)
            self.left = list(drawn.repeat(1, self.rates, 1, 1))
        return self.left.pop()


class _Adam:
    """Adam with a learning rate for each copy."""

    def __init__(self, parameters, learning_rates, seeds):
        self.parameters, self.count = parameters, 0
        self.rates = torch.tensor(learning_rates).repeat_interleave(seeds)[:, None]
        self.first = [torch.zeros_like(p).reshape(len(self.rates), -1) for p in parameters]
        self.second = [torch.zeros_like(f) for f in self.first]

    @torch.no_grad()
    def __call__(self, gradients):
        self.count += 1
        unbias = [1 - decay**self.count for decay in (0.9, 0.999)]
        for p, g, first, second in zip(
            self.parameters, gradients, self.first, self.second, strict=True
        ):
            g = g.reshape(first.shape)
            first.lerp_(g, 0.1)
            second.lerp_(g * g, 0.001)
            step = first / unbias[0] / ((second / unbias[1]).sqrt() + 1e-8)
            p.sub_((self.rates * step).view(p.shape))
