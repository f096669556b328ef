"""Q-learning. C. J. C. H. Watkins 1989, Learning from delayed rewards; Watkins & Dayan 1992, Q-learning.

Value iteration needs to know the world. Whoever only acts in it sees single moves: from s, by a, to t, for a reward r. Each is
a sample of the right side of Bellman's equation, r + gamma max_b Q(t, b), and Q(s, a) goes a little way towards it. The max is
over what could be done in t, not over what is done, so the moves may come from anybody, even from chance: Q becomes that of the
best policy, if every action is tried in every state for ever, and the steps shrink, but not too fast.
"""
import numpy as np


class QTable:
    """Q(s, a) for numbered states and actions, all 0 at first. The step size is visits^-decay, 0.5 < decay <= 1."""

    def __init__(self, states, actions, gamma, decay=0.7):
        self.gamma, self.decay = gamma, decay
        self.values, self.visits = np.zeros((states, actions)), np.zeros((states, actions))

    def learn(self, state, action, reward, arrival, ended):
        """One move, or many at once, arrays (N,): where several are of the same state and action, the last one counts."""
        target = reward + self.gamma * np.where(ended, 0, self.future(arrival))
        np.add.at(self.visits, (state, action), 1)
        rate = self.visits[state, action] ** -self.decay
        self.values[state, action] += rate * (target - self.values[state, action])

    def future(self, state):
        """What a state is worth: its best action's Q."""
        return self.values[state].max(axis=-1)
