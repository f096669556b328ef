"""REINFORCE. R. J. Williams 1992, Simple statistical gradient-following algorithms for connectionist reinforcement learning.

A network gives each action a probability, and nobody can tell it which one was right; there is only what it earned. But by

    grad E[R] = sum_a R(a) grad p(a) = sum_a p(a) R(a) grad ln p(a) = E[R grad ln p(a)]

the gradient of the mean is a mean, and whoever acts can estimate it: make what was done likelier, in proportion to what it
earned. R need not be differentiable, or even known. Anything that does not depend on the action may be taken from R, since
E[grad ln p] = 0; so may all that was earned before the action. Both leave the mean as it is and take noise away.
"""
import numpy as np

from ...autograd import no_grad
from ...distributions import Categorical
from ...nn import Module, Tanh
from ...tensor import Tensor
from ..foundations.mlp import MLP


class Policy(Module):
    """Observations (.., features) -> the distribution of an action, a Categorical over (.., actions)."""

    def __init__(self, features, actions, hidden=32):
        self.layers = MLP(features, hidden, actions, activation=Tanh)

    def forward(self, observations):
        return Categorical(self.layers(observations))

    def act(self, observations):
        """An action drawn for each observation, an array of integers (..)."""
        with no_grad():
            return self(Tensor(observations)).sample().numpy()


def rewards_to_go(rewards, gamma):
    """G_t = r_t + gamma r_(t+1) + gamma^2 r_(t+2) + ..:  (T, ..) -> (T, ..)"""
    sums = np.zeros_like(rewards)
    later = 0.0
    for t in reversed(range(len(rewards))):
        sums[t] = later = rewards[t] + gamma * later
    return sums


def policy_loss(log_probs, weights, episodes=1):
    """-sum of weight ln p(action), over the episodes: its gradient is minus the estimate of grad E[R].  (M,), (M,) -> ()"""
    return -(log_probs * Tensor(weights)).sum() / episodes
