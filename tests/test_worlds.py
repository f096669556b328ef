"""Worlds: exact values are what acting earns, and mechanics keeps its energy."""
import math

import numpy as np
import pytest

from tinygrad_edu.data.worlds import Bandit, CartPole, GridWorld


def test_bandit():
    bandit = Bandit(means=[0.0, 2.0, 1.5])
    assert bandit.regret([1, 0, 2, 1]).tolist() == [0, 2, 2.5, 2.5]
    pulls = [bandit.pull(1) for _ in range(4000)]
    assert np.mean(pulls) == pytest.approx(2, abs=4 / math.sqrt(4000)) and np.std(pulls) == pytest.approx(1, abs=0.05)
    assert np.mean(bandit.pull(np.full(4000, 2))) == pytest.approx(1.5, abs=4 / math.sqrt(4000))
    assert Bandit(5).means.shape == (5,)


def test_grid_world_by_hand():
    world = GridWorld(("S.G",), slip=0.0, step_reward=0.0)
    values, q = world.best(gamma=0.9)
    assert values == pytest.approx([0.9, 1, 0]) and q[0] == pytest.approx([0.81, 0.9, 0.81, 0.81])
    assert world.reset() == 0
    assert [world.step(action) for action in (3, 1, 1)] == [(0, 0.0, False), (1, 0.0, False), (2, 1.0, True)]


def test_grid_world_is_a_markov_chain():
    world = GridWorld()
    sums = world.transition.sum(axis=2)
    assert np.allclose(sums[~world.ends], 1) and (sums[world.ends] == 0).all() and world.transition.min() >= 0
    walls = np.array([cell == "#" for cell in "".join(world.rows)])
    assert world.transition[~walls][:, :, walls].sum() == 0


def test_draws_follow_the_transitions():
    world, n = GridWorld(slip=0.3), 4000
    for state, action in ((world.start, 0), (10, 1), (world.width - 1, 2)):
        counts = np.bincount(world.draw(np.full(n, state), np.full(n, action)), minlength=world.states)
        p = world.transition[state, action]
        assert (abs(counts / n - p) <= 4.5 * np.sqrt(p * (1 - p) / n)).all()


def test_best_values_solve_bellman_and_nothing_is_better():
    world, rng = GridWorld(slip=0.2), np.random.default_rng(0)
    values, q = world.best(0.95)
    assert np.allclose(q, world.reward + 0.95 * world.transition @ values, atol=1e-12) and np.allclose(values, q.max(axis=1))
    iterated = np.zeros(world.states)
    for _ in range(600):
        iterated = (world.reward + 0.95 * world.transition @ iterated).max(axis=1)
    assert np.allclose(iterated, values, atol=1e-9)                          # value iteration says the same
    for _ in range(20):
        assert (world.evaluate(rng.dirichlet(np.ones(4), world.states), 0.95) <= values + 1e-12).all()


def test_values_are_what_acting_earns():
    world = GridWorld(slip=0.3)
    _, q = world.best(0.9)
    earned = []
    for _ in range(500):
        state, total, discount, done = world.reset(), 0.0, 1.0, False
        while not done:
            state, reward, done = world.step(int(q[state].argmax()))
            total, discount = total + discount * reward, 0.9 * discount
        earned.append(total)
    assert abs(np.mean(earned) - q[world.start].max()) < 4 * np.std(earned) / math.sqrt(500)


@pytest.mark.parametrize("rows", [("S.", "."), ("..",), ("SS",), ("S?",)])
def test_grid_world_refuses(rows):
    with pytest.raises(ValueError, match="got rows .* expected"):
        GridWorld(rows)


def test_the_pole_keeps_its_energy():
    """Without a push, kinetic and potential energy are constant; Euler's error shrinks with the step."""
    world = CartPole()

    def energy(state):
        _, v, angle, w = state
        m, M, l = world.pole, world.cart, world.half
        tip = 0.5 * m * (v ** 2 + 2 * v * l * w * math.cos(angle) + l ** 2 * w ** 2) + 0.5 * (m * (2 * l) ** 2 / 12) * w ** 2
        return 0.5 * M * v ** 2 + tip + m * world.gravity * l * math.cos(angle)

    drift = []
    for steps in (1000, 10_000):
        state = np.array([0.0, 0.1, 0.5, 0.0])
        start = energy(state)
        for _ in range(steps):
            state = state + world.rates(state, 0.0) / steps
        drift.append(abs(energy(state) - start))
    assert drift[1] < 1e-3 and drift[0] / drift[1] == pytest.approx(10, rel=0.2)


def play(policy, episodes):
    world, lengths = CartPole(), []
    for _ in range(episodes):
        state, done = world.reset(), False
        while not done:
            state, reward, done = world.step(policy(state))
            assert reward == 1 and state.dtype == np.float32 and state.shape == (4,)
        lengths.append(world.steps)
    return lengths


def test_a_simple_controller_balances_the_pole():
    assert play(lambda state: int(state @ [0.1, 0.5, 3, 1] > 0), 5) == [500] * 5
    assert max(play(lambda state: 1, 20)) < 20
    with pytest.raises(ValueError, match="got action 2"):
        world = CartPole()
        world.reset()
        world.step(2)


def test_many_carts_roll_as_each_would_alone():
    many, alone = CartPole(3), CartPole()
    start, actions = many.reset(), np.random.default_rng(0).integers(2, size=(60, 3))
    assert start.shape == (3, 4)
    ends = []
    for cart in range(3):
        alone.reset()
        alone.state, done, t = many.state[cart].copy(), False, 0
        path = []
        while not done and t < 60:
            state, _, done = alone.step(actions[t, cart])
            path.append(state)
            t += 1
        ends.append(path)
    for t in range(60):
        states, rewards, done = many.step(actions[t])
        for cart, path in enumerate(ends):
            np.testing.assert_array_equal(states[cart], path[min(t, len(path) - 1)])        # it stands still after its end
            assert rewards[cart] == (t < len(path)) and done[cart] == (t >= len(path) - 1 and len(path) < 60)
    with pytest.raises(ValueError, match=r"got action 1, expected 0 or 1 for each of \(3,\) carts"):
        many.step(1)
