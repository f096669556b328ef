"""The restricted Boltzmann machine. P. Smolensky 1986; G. Hinton 2002, Training products of experts by minimizing contrastive
divergence (CD-k). Its constant by annealed importance sampling (AIS): R. Salakhutdinov, I. Murray 2008, On the quantitative
analysis of deep belief networks.

    p(v, h) = exp(b . v + c . h + v W h) / Z          v (D,) pixels, h (H,) hidden units, all of them 0 or 1

Between v and h everybody is connected, within them nobody, so given one the units of the other are independent, and a sum
over all h factorizes: p(v) = exp(-F(v)) / Z with the free energy F(v) = -b . v - sum_j softplus(c_j + (v W)_j). With few hidden
units Z can be had by a sum over all 2^H of them, and everything here be compared with the truth. The gradients need no
autograd: they are differences of two averages of v h.
"""
import math

import numpy as np

from ... import backend
from ...autograd import no_grad
from ...creation import randn
from ...distributions import Bernoulli
from ...functional import softplus
from ...nn import Module, Parameter
from ...ops import exp, logsumexp, sigmoid
from ...tensor import Tensor


class RBM(Module):
    """Pictures v (N, visible) of zeros and ones, hidden units h (N, hidden). `visible_bias`: where b starts, 0 if None."""

    def __init__(self, visible=64, hidden=12, visible_bias=None):
        self.weight = Parameter(0.05 * randn(visible, hidden).numpy())                      # W
        self.visible_bias = Parameter(np.zeros(visible, np.float32) if visible_bias is None else visible_bias)
        self.hidden_bias = Parameter(np.zeros(hidden, np.float32))

    def hidden_logits(self, v):
        """c + v W: the units h are 1 with the sigmoid of it, given v."""
        return v @ self.weight + self.hidden_bias

    def visible_logits(self, h):
        return h @ self.weight.T + self.visible_bias

    def free_energy(self, v):
        """F(v) (N,): -ln of the sum over all h of exp(b . v + c . h + v W h)."""
        return -(v @ self.visible_bias) - softplus(self.hidden_logits(v)).sum(axis=1)

    forward = free_energy

    @no_grad()
    def gibbs(self, v, k):
        """k times: draw h given v, then v given h."""
        for _ in range(k):
            h = Bernoulli(self.hidden_logits(v)).sample()
            v = Bernoulli(self.visible_logits(h)).sample()
        return v

    # ------------------------------------------------------------ the gradient, and its exact value

    @no_grad()
    def statistics(self, v, weights=None):
        """The averages (v h, v, h) over pictures v, each weighted by `weights` (N,), with h replaced by its mean given v."""
        h = sigmoid(self.hidden_logits(v))
        return averages(v, h, Tensor(np.full(len(v), 1 / len(v), np.float32)) if weights is None else weights)

    def set_gradient(self, positive, negative):
        """Gradient of -ln p(data): minus the averages over the data plus those over the model's draws."""
        for p, up, down in zip((self.weight, self.visible_bias, self.hidden_bias), positive, negative):
            p.grad = down - up

    @no_grad()
    def exact_statistics(self):
        """The averages (v h, v, h) under the model itself, by summing over all 2^hidden states of h."""
        h = all_states(self.weight.shape[1])                                                # (2^H, H)
        log_p = self._log_weight_of_hidden(h)
        return averages(sigmoid(self.visible_logits(h)), h, exp(log_p - logsumexp(log_p, axis=0)))

    def _log_weight_of_hidden(self, h):
        """ln of the sum over all v of exp(b . v + c . h + v W h): (N,)."""
        return h @ self.hidden_bias + softplus(self.visible_logits(h)).sum(axis=1)

    # ------------------------------------------------------------ Z

    @no_grad()
    def log_partition(self):
        """ln Z exactly, for at most 20 hidden units."""
        return logsumexp(self._log_weight_of_hidden(all_states(self.weight.shape[1])), axis=0).item()

    @no_grad()
    def ais(self, chains=500, temperatures=1000):
        """ln Z estimated, without enumeration. The chains walk from a model whose Z is known, W = 0 and c = 0, to this one.

        On the way W and c are multiplied by a rising beta; each chain collects ln of the ratio of the weights that two
        neighbouring betas give its v. The mean of the products of the ratios is Z / Z_start.
        """
        D, H = self.weight.shape
        start = softplus(self.visible_bias).sum().item() + H * math.log(2)                  # ln Z at beta = 0
        v = Bernoulli(Tensor(np.zeros((chains, 1), np.float32)) + self.visible_bias).sample()
        collected, betas = 0.0, np.linspace(0, 1, temperatures + 1)
        for before, beta in zip(betas, betas[1:]):
            logits = self.hidden_logits(v)
            collected = collected + (softplus(beta * logits) - softplus(before * logits)).sum(axis=1)
            h = Bernoulli(beta * logits).sample()
            v = Bernoulli(beta * (h @ self.weight.T) + self.visible_bias).sample()
        return start + logsumexp(collected, axis=0).item() - math.log(chains)


def averages(v, h, weights):
    """The means of v h (D, H), v (D,) and h (H,) over the rows of v (N, D) and h (N, H), each as heavy as `weights` (N,)."""
    return (v * weights[:, None]).T @ h, weights @ v, weights @ h


def all_states(units):
    """Every vector of `units` zeros and ones: float32 (2^units, units)."""
    if units > 20:
        raise ValueError(f"all_states: got {units} units, expected at most 20: there are 2^{units} states")
    return Tensor((np.arange(2 ** units)[:, None] >> np.arange(units) & 1).astype(np.float32))
