"""Acting: Bellman's equation, moves that teach a table, unbiased gradients, advantages between two known ends."""
import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F, grad
from tinygrad_edu.data.worlds import GridWorld
from tinygrad_edu.models.decisions.actor_critic import Critic, advantages
from tinygrad_edu.models.decisions.q_learning import QTable
from tinygrad_edu.models.decisions.reinforce import Policy, policy_loss, rewards_to_go
from tinygrad_edu.models.decisions.value_iteration import greedy, look_ahead, value_iteration

RNG = np.random.default_rng(0)


# ---------------------------------------------------------------- tables

@pytest.mark.parametrize("gamma", [0.5, 0.9, 0.99])
def test_value_iteration_comes_closer_by_gamma_a_round(gamma):
    """In any world, from any guess; and V* + 1 keeps to the bound exactly where nothing ends."""
    P, r = RNG.dirichlet(np.ones(6), (6, 3)), RNG.standard_normal((6, 3))
    best = value_iteration(np.zeros(6), P, r, gamma, 4000)[-1]
    np.testing.assert_allclose(look_ahead(best, P, r, gamma).max(axis=1), best, atol=1e-10)
    for guess, slack in ((10 * RNG.standard_normal(6), 1), (best + 1, 1e-10)):
        errors = abs(value_iteration(guess, P, r, gamma, 20) - best).max(axis=1)
        promised = gamma ** np.arange(21) * errors[0]
        assert errors.shape == (21,) and (errors <= promised + 1e-9).all() and (errors >= promised * (1 - slack) - 1e-9).all()


def test_value_iteration_finds_the_best_policy():
    world = GridWorld(slip=0.2)
    values, q = world.best(0.9)
    found = value_iteration(np.zeros(world.states), world.transition, world.reward, 0.9, 300)[-1]
    np.testing.assert_allclose(found, values, atol=1e-10)
    policy = greedy(look_ahead(found, world.transition, world.reward, 0.9))
    np.testing.assert_allclose(world.evaluate(policy, 0.9), values, atol=1e-10)


def test_a_move_of_q_learning_by_hand():
    table = QTable(3, 2, gamma=0.5, decay=1.0)
    table.values[1] = 2, 4
    table.learn(0, 1, reward=1.0, arrival=1, ended=False)
    assert table.values[0].tolist() == [0, 3]                               # the first visit believes its target, 1 + 0.5 * 4
    table.learn(0, 1, reward=1.0, arrival=1, ended=True)
    assert table.values[0].tolist() == [0, 2] and table.visits[0].tolist() == [0, 2]        # then half of it, and 1 + nothing
    table.learn(np.array([2, 2]), np.array([0, 1]), np.array([1.0, -1.0]), np.array([1, 1]), np.array([False, True]))
    assert table.values[2].tolist() == [3, -1]


def test_q_learning_where_nothing_is_left_to_chance():
    """Without noise every target, in the end, is the truth: S . G, with the values that can be done by hand."""
    world, table = GridWorld(("S.G",), slip=0.0, step_reward=0.0), QTable(3, 4, gamma=0.9)
    for _ in range(600):
        states, actions = RNG.integers(2, size=8), RNG.integers(4, size=8)
        arrivals = world.draw(states, actions)
        table.learn(states, actions, world.pays[arrivals], arrivals, world.ends[arrivals])
    np.testing.assert_allclose(table.values[:2], world.best(0.9)[1][:2], atol=0.02)


# ---------------------------------------------------------------- gradients

def test_rewards_to_go():
    rewards = RNG.standard_normal((5, 3))
    by_hand = [sum(0.9 ** (k - t) * rewards[k] for k in range(t, 5)) for t in range(5)]
    np.testing.assert_allclose(rewards_to_go(rewards, 0.9), by_hand, rtol=1e-12)
    assert rewards_to_go(np.zeros((0, 3)), 0.9).shape == (0, 3)


@pytest.mark.parametrize("b", [0.0, 3.0])
def test_the_mean_of_the_estimates_is_the_gradient(b):
    """Two moves one after another, every pair of actions: no draw, so the identity is exact. The pay depends on both."""
    pay, logits = RNG.standard_normal((2, 3, 3)), Tensor(RNG.standard_normal((2, 3)), requires_grad=True)
    p = F.softmax(logits)                                                   # of the first move and of the second
    mean = (p[0] * (Tensor(pay[0, :, 0]) + Tensor(pay[1]) @ p[1])).sum()
    exact = grad(mean, logits)[0].numpy()
    expected = np.zeros((2, 3))
    for i in range(3):
        for j in range(3):
            weights = rewards_to_go(np.array([pay[0, i, 0], pay[1, i, j]]), 1.0) - b
            log_probs = F.log_softmax(logits)[np.arange(2), np.array([i, j])]
            expected -= (p[0, i] * p[1, j]).item() * grad(policy_loss(log_probs, weights), logits)[0].numpy()
    np.testing.assert_allclose(expected, exact, atol=1e-12)


def test_a_policy_acts_as_it_says():
    tg.manual_seed(0)
    policy, x = Policy(4, 3), np.tile(RNG.standard_normal(4).astype("float32"), (20_000, 1))
    actions = policy.act(x)
    p = policy(Tensor(x[:1])).probs.detach().numpy()[0]
    assert actions.shape == (20_000,) and actions.dtype.kind == "i"
    assert (abs(np.bincount(actions, minlength=3) / 20_000 - p) <= 4.5 * np.sqrt(p * (1 - p) / 20_000)).all()
    log_probs = policy(Tensor(x[:5])).log_prob(Tensor(actions[:5]))
    np.testing.assert_allclose(log_probs.detach().numpy(), np.log(p)[actions[:5]], rtol=1e-4)


# ---------------------------------------------------------------- the critic

def test_advantages_between_their_two_ends():
    rewards, values = RNG.standard_normal((6, 2)), RNG.standard_normal((6, 2))
    np.testing.assert_allclose(advantages(rewards, values, 0.9), rewards_to_go(rewards, 0.9) - values, rtol=1e-10)
    surprise = rewards + 0.9 * np.vstack([values[1:], np.zeros((1, 2))]) - values
    np.testing.assert_allclose(advantages(rewards, values, 0.9, trust=0.0), surprise, rtol=1e-12)
    between = advantages(rewards, values, 0.9, trust=0.5)
    np.testing.assert_allclose(between[4], surprise[4] + 0.45 * surprise[5], rtol=1e-12)


def test_a_critic_that_knows_is_never_surprised():
    rewards = np.ones((50, 1))
    np.testing.assert_allclose(advantages(rewards, rewards_to_go(rewards, 0.9), 0.9, trust=0.7), 0, atol=1e-12)


def test_a_critic_gives_one_number_a_state():
    critic, x = Critic(4), RNG.standard_normal((5, 2, 4)).astype("float32")
    assert critic(Tensor(x)).shape == (5, 2) and critic(Tensor(x)).creator is not None
    np.testing.assert_allclose(critic.value(x), critic(Tensor(x)).detach().numpy())
