"""Small worlds to act in, with the right answers where there are any: a bandit, a grid world, a pole on a cart.

reset() starts an episode and gives the first observation; step(action) gives (observation, reward, done). All draws are from
backend.generator().
"""
import math

import numpy as np

from .. import backend


class Bandit:
    """K arms; pulling arm k pays mean_k plus standard normal noise. `means` (K,), drawn from a standard normal if None."""

    def __init__(self, arms=10, means=None):
        self.means = backend.generator().standard_normal(arms) if means is None else np.asarray(means, np.float64)

    def pull(self, arms):
        """What one arm pays, or each of several, (N,) -> (N,)."""
        return self.means[arms] + backend.generator().standard_normal(np.shape(arms))

    def regret(self, arms):
        """What was lost, in expectation, by pulling these arms instead of the best one: (T,) -> the sums up to each time."""
        return np.cumsum(self.means.max() - self.means[np.asarray(arms)])


# ---------------------------------------------------------------- grid world

STEPS = ((-1, 0), (0, 1), (1, 0), (0, -1))      # actions 0..3: up, right, down, left
MAZE = (".........",
        ".##.#.##.",
        ".#..#..#.",
        ".#.##..#.",
        "S...x...G")


class GridWorld:
    """Walk from S to G. `rows`: strings of . free, # wall, x pit, S start, G goal.

    Every step pays -0.04, reaching the goal 1 and falling into a pit -1, both end the episode. With probability `slip` the
    step goes a quarter turn to the left or to the right of what was wanted, half of it each. A wall or the edge: stay.
    States are numbered along the rows. `transition` (S, A, S) and `reward` (S, A) are exact, and so is the best policy.
    """

    def __init__(self, rows=MAZE, slip=0.1, step_reward=-0.04):
        self.rows, self.slip, self.width = rows, slip, len(rows[0])
        cells = "".join(rows)
        if len({len(row) for row in rows}) > 1 or cells.count("S") != 1 or set(cells) - set(".#xSG"):
            raise ValueError(f"GridWorld: got rows {rows}, expected equally long ones of . # x G and one S")
        self.start, self.states = cells.index("S"), len(cells)
        self.ends = np.array([cell in "xG" for cell in cells])
        pays = np.array([{"G": 1.0, "x": -1.0}.get(cell, step_reward) for cell in cells])       # on arrival

        self.transition = np.zeros((self.states, 4, self.states))
        for state in range(self.states):
            for action in range(4):
                for turn, p in ((0, 1 - slip), (1, slip / 2), (-1, slip / 2)):
                    self.transition[state, action, self._arrive(state, (action + turn) % 4)] += p
        self.transition[self.ends] = 0                                      # nothing comes after the end
        self.pays, self.reward = pays, self.transition @ pays               # (S, A)

    def _arrive(self, state, action):
        row, column = state // self.width + STEPS[action][0], state % self.width + STEPS[action][1]
        inside = 0 <= row < len(self.rows) and 0 <= column < self.width and self.rows[row][column] != "#"
        return row * self.width + column if inside else state

    def reset(self):
        self.state = self.start
        return self.state

    def step(self, action):
        self.state = int(self.draw(np.array([self.state]), np.array([action]))[0])
        return self.state, float(self.pays[self.state]), bool(self.ends[self.state])

    def draw(self, states, actions):
        """Where these actions (N,) lead from these states (N,), one draw each: (N,). What it pays is `pays[there]`."""
        up_to = self.transition[states, actions].cumsum(axis=1)                 # (N, S)
        return (up_to > backend.generator().random((len(states), 1))).argmax(axis=1)

    def evaluate(self, policy, gamma=0.99):
        """The exact value of every state under `policy` (S, A), probabilities: V = (I - gamma P)^-1 r."""
        p = np.einsum("sa,sat->st", policy, self.transition)
        return np.linalg.solve(np.eye(self.states) - gamma * p, (policy * self.reward).sum(axis=1))

    def best(self, gamma=0.99):
        """(V, Q): the values (S,) and (S, A) of the best policy, by policy iteration, which ends with an exact answer."""
        policy = np.full((self.states, 4), 0.25)
        while True:
            q = self.reward + gamma * self.transition @ self.evaluate(policy, gamma)
            better = np.eye(4)[q.argmax(axis=1)]
            if (better == policy).all() or np.allclose((better * q).sum(1), (policy * q).sum(1), rtol=0, atol=1e-12):
                return q.max(axis=1), q
            policy = better


# ---------------------------------------------------------------- cart and pole

class CartPole:
    """Push a cart, left (0) or right (1), so that the pole on it stays up: 1 a step, at most 500 steps.

    Observation float32 (4,): position in metres, speed, angle in radians, angular speed. It ends beyond 2.4 m or 12 degrees.
    `carts`: so many at once, each on its own; then actions, rewards and ends are (carts,), observations (carts, 4). One that
    has come to its end stands still and earns 0 until the next reset.
    Barto, Sutton & Anderson 1983; a cart of 1 kg, a pole of 0.1 kg and 1 m, pushes of 10 N, Euler steps of 0.02 s.
    """
    gravity, cart, pole, half, force, dt = 9.8, 1.0, 0.1, 0.5, 10.0, 0.02

    def __init__(self, carts=None):
        self.shape = () if carts is None else (carts,)

    def reset(self):
        self.state, self.steps = backend.generator().uniform(-0.05, 0.05, (*self.shape, 4)), 0
        self.done = np.zeros(self.shape, bool)
        return self.state.astype(np.float32)

    def step(self, action):
        action = np.asarray(action)
        if action.shape != self.shape or not np.isin(action, (0, 1)).all():
            raise ValueError(f"CartPole: got action {action}, expected 0 or 1" + f" for each of {self.shape} carts" * bool(self.shape))
        alive, moved = ~self.done, self.state + self.dt * self.rates(self.state, np.where(action == 1, self.force, -self.force))
        self.state = np.where(alive[..., None], moved, self.state)
        self.steps += 1
        fallen = (abs(self.state[..., 0]) > 2.4) | (abs(self.state[..., 2]) > math.radians(12))
        self.done = self.done | fallen | (self.steps >= 500)
        return self.state.astype(np.float32), alive.astype(np.float64), self.done

    def rates(self, state, force):
        """d state / dt. The two equations of motion, solved for the accelerations."""
        _, speed, angle, turning = np.moveaxis(state, -1, 0)
        total, sin, cos = self.cart + self.pole, np.sin(angle), np.cos(angle)
        push = (force + self.pole * self.half * turning ** 2 * sin) / total
        twist = (self.gravity * sin - cos * push) / (self.half * (4 / 3 - self.pole * cos ** 2 / total))
        return np.stack([speed, push - self.pole * self.half * twist * cos / total, turning, twist], axis=-1)
