"""Actor and critic. A. G. Barto, R. S. Sutton, C. W. Anderson 1983, Neuronlike adaptive elements that can solve difficult
learning control problems; Sutton, McAllester, Singh & Mansour 2000, Policy gradient methods for reinforcement learning with
function approximation.

What an action earned is mostly luck: where one stood, and what came after. A second network, the critic, learns what a state
is worth. Its value is what to subtract from what was earned; and after one step it can already say whether things look better
than before, by the surprise

    delta_t = r_t + gamma V(s_(t+1)) - V(s_t).

The surprises, each counted gamma lambda less per step, sum to an advantage (Schulman et al. 2016, arXiv:1506.02438). With
lambda = 1 all values between cancel: what was really earned, minus V(s_t), REINFORCE with a baseline, right on average and noisy.
With lambda = 0 one surprise is left: little noise, and as wrong as the critic. Left out: the eligibility traces of 1983.
"""
import numpy as np

from ...autograd import no_grad
from ...nn import Module, Tanh
from ...tensor import Tensor
from ..foundations.mlp import MLP
from .reinforce import rewards_to_go


class Critic(Module):
    """The value of a state: observations (.., features) -> (..)."""

    def __init__(self, features, hidden=32):
        self.layers = MLP(features, hidden, 1, activation=Tanh)

    def forward(self, observations):
        return self.layers(observations)[..., 0]

    def value(self, observations):
        """The same outside the graph, an array."""
        with no_grad():
            return self(Tensor(observations)).numpy()


def advantages(rewards, values, gamma, trust=1.0):
    """sum_k (gamma lambda)^k delta_(t+k), trust = lambda: rewards (T, ..) and values (T, ..) of the states -> (T, ..).

    The value after the last step is 0. So it must be after each end: set both to 0 there.
    """
    following = np.concatenate([values[1:], np.zeros_like(values[:1])])
    surprises = rewards + gamma * following - values
    return rewards_to_go(surprises, gamma * trust)
