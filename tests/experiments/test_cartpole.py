"""The cart and its pole are Gymnasium's; the actor and critic learns, copy by copy, in pairs."""

import math
from functools import partial

import gymnasium
import numpy as np
import pytest
import torch
from torch.testing import assert_close

from norms.experiments import cartpole
from norms.experiments.cartpole import moved, practise
from norms.experiments.models import MLP
from norms.experiments.training import seeded

net = partial(MLP, depth=1, width=8, inputs=4, classes=3, activation="tanh")
short = {"updates": 6, "carts": 3, "steps": 8, "every": 2}


@pytest.mark.parametrize("seed", range(4))
def test_the_cart_moves_as_gymnasiums(seed):
    theirs = gymnasium.make("CartPole-v1").unwrapped
    draw = np.random.default_rng(seed)
    theirs.reset(seed=seed)
    theirs.state = draw.uniform(-1, 1, 4) * (2, 3, 0.2, 3)
    mine = torch.tensor(theirs.state)
    for action in draw.integers(2, size=20):
        theirs.step(action)
        theirs.steps_beyond_terminated = None  # it goes on beyond the end, too
        mine = moved(mine, torch.tensor(bool(action)))
        assert_close(mine, torch.tensor(theirs.state).to(mine), rtol=1e-10, atol=1e-12)


def test_an_episode_ends_where_gymnasiums_does():
    theirs = gymnasium.make("CartPole-v1")
    limits = (theirs.unwrapped.x_threshold, theirs.unwrapped.theta_threshold_radians)
    assert limits == cartpole.LIMITS
    assert theirs.spec.max_episode_steps == cartpole.LONGEST


def constant(logit, value=0.0):
    """A net of two copies that always answers the same."""

    class Net(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.out = torch.nn.Parameter(torch.tensor([0.0, logit, value]).expand(2, 1, 3).clone())

        def forward(self, x):
            return self.out.expand(2, x.shape[1], 3)

    return Net()


def test_lengths_are_those_of_the_episodes():
    """Pushed to one side always, the pole falls after 8 to 12 steps, as in Gymnasium."""
    how = {"learning_rates": [1e-9], "seeds": [0, 1], "updates": 4, "every": 2, "carts": 16}
    seen = practise(lambda _seeds: constant(50.0), **how)
    assert seen.steps == [2, 4]
    assert seen.lengths.shape == (2, 1, 2)
    assert ((seen.lengths > 8) & (seen.lengths < 11)).all()


def test_the_returns_are_discounted_to_the_end_of_the_episode(monkeypatch):
    """By hand: the rewards to the fall; from the last state on its value, if the pole still stands."""
    kept = {}
    loss = cartpole._loss

    def spy(model, state, right, returned):
        kept.setdefault("first", (state, right, returned))
        return loss(model, state, right, returned)

    monkeypatch.setattr(cartpole, "_loss", spy)
    practise(lambda _seeds: constant(50.0, 2.0), learning_rates=[0.1], seeds=[0, 1], updates=1,
             carts=2, steps=12, discount=0.5, every=1)  # fmt: skip
    state, right, returned = (part.unflatten(1, (12, 2)) for part in kept["first"])
    assert right.all()
    assert state[:, 0].abs().max() <= 0.05
    for copy in range(2):
        for cart in range(2):
            later = 2.0 * 10
            for t in reversed(range(12)):
                after = moved(state[copy, t, cart], torch.tensor(True))
                fell = after[0].abs() > 2.4 or after[2].abs() > 12 * math.pi / 180
                later = 1 + 0.5 * (0 if fell else later)
                assert returned[copy, t, cart].item() == pytest.approx(later, rel=1e-5)
                if t < 11 and not fell:
                    assert_close(state[copy, t + 1, cart], after)
                if t < 11 and fell:
                    assert state[copy, t + 1, cart].abs().max() <= 0.05
    assert not torch.equal(state[0], state[1])


def test_copies_are_paired_by_seed_and_do_not_mix():
    build = partial(seeded, net, norm="none")
    both = practise(build, learning_rates=[0.01, 0.03], seeds=[4, 5], **short)
    alone = practise(build, learning_rates=[0.03], seeds=[5], **short)
    assert_close(both.lengths[:, 1, 1], alone.lengths[:, 0, 0], equal_nan=True)
    assert both.learning_rates == [0.01, 0.03]
    assert both.steps == [2, 4, 6]


def test_the_loss_by_hand():
    model, state = constant(0.5, 0.7), torch.zeros(2, 5, 4)
    right = torch.tensor([[1, 0, 1, 1, 0]] * 2).bool()
    returned = torch.tensor([[1.0, 4.0, 2.0, 8.0, 5.0]] * 2)
    logs = torch.tensor([0.0, 0.5]).log_softmax(0)
    advantage = returned[0] - 7
    advantage = (advantage - advantage.mean()) / (advantage.std() + 1e-6)
    actor = -(advantage * logs[right[0].int()]).mean()
    critic = ((returned[0] - 7) ** 2).mean() / 200
    entropy = -(logs.exp() * logs).sum()
    expected = actor + critic - 0.01 * entropy
    found = cartpole._loss(model, state, right, returned)
    assert_close(found, expected.expand(2))
    gradient = torch.autograd.grad(found[0], model.out)[0][0, 0]
    by_value = -0.01 * (returned[0] - 7).mean() * 10  # the advantage is a constant to it
    assert gradient[2].item() == pytest.approx(by_value.item(), rel=1e-5)


def test_the_actors_loss_does_not_move_the_critic():
    slope = torch.tensor(0.3, requires_grad=True)

    def model(x):  # a value that differs from state to state
        place = x[:, :, 0, 0, 0]
        return torch.stack([0 * place, 0.5 + 0 * place, slope * place], -1)

    state, right = torch.randn(2, 5, 4), torch.tensor([[1, 0, 1, 1, 0]] * 2).bool()
    returned = torch.tensor([[1.0, 4.0, 2.0, 8.0, 5.0]] * 2)
    found = torch.autograd.grad(cartpole._loss(model, state, right, returned).sum(), slope)[0]
    error = returned - 10 * slope * state[..., 0]
    critic = torch.autograd.grad(0.005 * error.square().mean(1).sum(), slope)[0]
    assert_close(found, critic)


def test_the_descent_is_torchs_adam():
    start = torch.randn(2, 3, 4)
    ours = torch.nn.Parameter(start.clone())
    theirs = [torch.nn.Parameter(start[k].clone()) for k in range(2)]
    descent = cartpole._Adam([ours], [0.1, 0.02], 1)
    adams = [torch.optim.Adam([p], rate) for p, rate in zip(theirs, (0.1, 0.02), strict=True)]
    for _ in range(4):
        gradient = torch.randn(2, 3, 4)
        descent([gradient])
        for p, adam, g in zip(theirs, adams, gradient, strict=True):
            p.grad = g
            adam.step()
    assert_close(ours.detach(), torch.stack([p.detach() for p in theirs]))


def test_batch_norm_acts_by_its_running_statistics_and_learns_from_the_batch():
    modes = []

    class Watched(torch.nn.Module):
        def __init__(self, seeds):
            super().__init__()
            self.net = net("batch", seeds=seeds)

        def forward(self, x):
            modes.append((self.training, x.shape[1]))
            return self.net(x)

    practise(Watched, learning_rates=[0.01], seeds=[0], updates=1, carts=3, steps=5, every=1)
    assert modes == [(False, 3)] * 6 + [(True, 15)]


def test_an_actor_learns_to_keep_the_pole_up():
    """Twice as long as at first, in every copy."""
    build = partial(seeded, partial(net, width=32), norm="none")
    how = {"learning_rates": [0.01], "seeds": [0, 1], "updates": 60, "every": 20}
    seen = practise(build, **how).lengths
    assert (seen[-1] > 1.5 * seen[0]).all()
