"""Score-based models: learn the direction in which the data gets denser, and follow it from noise to data.

P. Vincent 2011, A connection between score matching and denoising autoencoders (the loss). Y. Song, S. Ermon 2019, Generative
modeling by estimating gradients of the data distribution, arXiv:1907.05600 (many noise levels, annealed Langevin). Y. Song et
al. 2021, Score-based generative modeling through stochastic differential equations, 2011.13456 (the SDE and its ODE).

    score(x, sigma) = grad_x ln p_sigma(x)      p_sigma: the density of x_0 + sigma noise, x_0 from the data

A score needs no normalizing constant, for the gradient of a constant is 0. What is called `score` below is any function with
these two arguments: points x (N, D) and sigma, a number or one for each point (N,). The exact score of a mixture can
therefore take the place of the learned one. Left out: pictures, and the predictor-corrector sampler. Building block:
generative/unet, whose denoiser of points is the network.
"""
import math

import numpy as np

from ... import backend
from ...autograd import enable_grad, grad, no_grad
from ...creation import randn
from ...functional import softmax
from ...nn import Module
from ...ops import concatenate, square, stack
from ...tensor import Tensor
from .unet import PointDenoiser


def column(values, x):
    """A number, or one for each row of x (N,), as a Tensor (1 or N, 1) of x's type that broadcasts over the rows."""
    return Tensor(np.reshape(values, (-1, 1)), dtype=x.dtype, device=x.device)


# ---------------------------------------------------------------- two scores: learned, and known

class ScoreNetwork(Module):
    """score(x, sigma) = -x / (v + sigma^2) + (s / (sigma sqrt(v + sigma^2))) network, v = s^2.

    The first term is the score of one Gaussian with the variance v of the data (`deviation`: s, of one coordinate), right
    when sigma is large; the network learns the rest, and all that it sees and says is about 1 in size (Karras et al. 2022,
    arXiv:2206.00364).
    """

    def __init__(self, features=2, width=128, layers=3, deviation=1.0):
        self.network, self.deviation = PointDenoiser(features, features, width, layers), deviation

    def forward(self, x, sigma):
        sigma = np.reshape(sigma, -1)
        total = np.sqrt(self.deviation ** 2 + sigma ** 2)                       # the deviation of x
        rest = self.network(column(1 / total, x) * x, 3 * np.log(sigma))       # (N, D)
        return column(self.deviation / (sigma * total), x) * rest - column(1 / total ** 2, x) * x


class MixtureScore(Module):
    """The exact score of a mixture of round Gaussians, as data.toy2d has them: sum_k r_k (c_k - x) / (sigma_k^2 + sigma^2).

    r_k: the probability that x came from centre k. The data's own sigma_k is the same for all k.
    """

    def __init__(self, mixture):
        self.centres, self.log_weights, self.variance = mixture.centres, np.log(mixture.weights), mixture.sigma ** 2

    def forward(self, x, sigma):
        centres = Tensor(self.centres, dtype=x.dtype, device=x.device)                          # (K, D)
        constant = Tensor(-0.5 * (self.centres ** 2).sum(axis=1), dtype=x.dtype, device=x.device)
        narrow = column(1 / (self.variance + np.square(sigma)), x)
        log_weights = Tensor(self.log_weights, dtype=x.dtype, device=x.device)
        r = softmax(narrow * (x @ centres.T + constant) + log_weights)                          # (N, K); |x|^2 cancels
        return narrow * (r @ centres - x)


# ---------------------------------------------------------------- learning it

def denoising_loss(score, x0, sigma, noise=None):
    """The mean over the batch of |sigma score(x0 + sigma noise, sigma) + noise|^2 / 2: Vincent's denoising score matching.

    -noise / sigma is the score of x given x0. Its mean over all x0 that may lie behind x is the score of x, and the mean is
    what a squared error finds. The weight sigma^2 makes every level count alike. `noise`: standard normal, drawn if None.
    """
    noise = randn(*x0.shape) if noise is None else noise
    level = column(sigma, x0)
    return 0.5 * square(level * score(x0 + level * noise, sigma) + noise).sum(axis=-1).mean()


def log_uniform(n, low, high):
    """n noise levels between low and high, uniform in the logarithm: float64 (n,)."""
    return np.exp(backend.generator().uniform(math.log(low), math.log(high), n))


# ---------------------------------------------------------------- drawing, first way: Langevin

@no_grad()
def langevin(score, x, levels, steps, step=0.1):
    """At each sigma of `levels`, `steps` times: x <- x + h score(x, sigma) + sqrt(2 h) noise, h = step sigma^2.

    Repeated for ever with a small h this draws from p_sigma. Levels that fall from wide to narrow are annealed Langevin
    dynamics: each level starts where the one before, a little wider, ended.
    """
    for sigma in levels:
        h = step * sigma ** 2
        for _ in range(steps):
            x = x + h * score(x, sigma) + math.sqrt(2 * h) * randn(*x.shape)
    return x


# ---------------------------------------------------------------- second way: an equation in time

class VPSDE:
    """dx = -beta(t) x / 2 dt + sqrt(beta(t)) dw from data at t = 0 to N(0, I) at t = 1 ("variance preserving").

    beta rises from beta_min to beta_max, by default as in the paper. At t, x is scale(t) (x_0 + sigma(t) noise) with
    scale^2 (1 + sigma^2) = 1, so one score for all sigma serves every t. Everything starts at the small time where sigma is
    `sigma_min`.
    """

    def __init__(self, score, sigma_min=0.02, beta_min=0.1, beta_max=20.0):
        self.score_of_sigma, self.sigma_min, self.beta_min, self.slope = score, sigma_min, beta_min, beta_max - beta_min

    def beta(self, t):
        return self.beta_min + self.slope * t

    def scale(self, t):
        """exp(-(integral of beta from 0 to t) / 2)"""
        return math.exp(-0.5 * (self.beta_min + 0.5 * self.slope * t) * t)

    def sigma(self, t):
        return math.sqrt(1 / self.scale(t) ** 2 - 1)

    def time(self, sigma):
        """The t at which sigma(t) = sigma: ln(1 + sigma^2) = beta_min t + slope t^2 / 2, solved for t."""
        area = math.log1p(sigma ** 2)
        return 2 * area / (self.beta_min + math.sqrt(self.beta_min ** 2 + 2 * self.slope * area))

    def times(self, steps):
        """`steps` + 1 times from sigma_min's to 1, evenly spaced in ln sigma."""
        levels = np.geomspace(self.sigma_min, self.sigma(1.0), steps + 1)
        return [self.time(sigma) for sigma in levels[:-1]] + [1.0]

    def score(self, x, t):
        """grad_x ln p_t(x), by the chain rule through x / scale."""
        a = self.scale(t)
        return (1 / a) * self.score_of_sigma((1 / a) * x, self.sigma(t))

    # ------------------------------------------------------------ back with noise, back and forth without

    @no_grad()
    def sample(self, x, steps):
        """From x at t = 1, standard normal (N, D), to data by the reverse SDE (Anderson 1982), in Euler steps:

        dx = -beta (x / 2 + score) dt + sqrt(beta) dw, time running backwards.
        """
        times = self.times(steps)[::-1]
        for t, s in zip(times, times[1:]):
            area = self.beta(t) * (t - s)
            x = x + area * (0.5 * x + self.score(x, t)) + math.sqrt(area) * randn(*x.shape)
        return (1 / self.scale(times[-1])) * x

    def velocity(self, x, t):
        """dx/dt = -beta (x + score) / 2: the probability-flow ODE. Without noise, but with the SDE's density at every t."""
        return (-0.5 * self.beta(t)) * (x + self.score(x, t))

    @no_grad()
    def flow(self, x, steps):
        """From x at t = 1 to data along the ODE: a list of all `steps` + 1 points on the way, the first x, the last data."""
        times = self.times(steps)[::-1]
        *way, end = runge_kutta(self.velocity, x, times)
        return way + [(1 / self.scale(times[-1])) * end]

    @no_grad()
    def log_prob(self, x, steps):
        """ln p_sigma_min at x (N, D), nats (N,): along the ODE d ln p / dt = -div velocity, and p at t = 1 is N(0, I)."""
        N, D = x.shape
        times = self.times(steps)
        a = self.scale(times[0])
        start = concatenate([a * x, 0 * x[:, :1]], axis=1)                      # the last column adds up the divergence
        *_, end = runge_kutta(self._velocity_and_divergence, start, times)
        return D * math.log(a) - 0.5 * (square(end[:, :D]).sum(axis=1) + D * math.log(2 * math.pi)) + end[:, D]

    def _velocity_and_divergence(self, state, t):
        """(N, D + 1): the velocity, and the sum of d velocity_i / d x_i, one backward pass for each i."""
        D = state.shape[1] - 1
        with enable_grad():
            x = state[:, :D].detach().requires_grad_()
            v = self.velocity(x, t)
            rows = [grad(v[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(D)]
        return concatenate([v.detach(), stack(rows, axis=1).sum(axis=1, keepdims=True)], axis=1)


def runge_kutta(f, x, times):
    """dx/dt = f(x, t) from times[0] on: yields x at every one of `times`. The classical method of order 4, four f a step."""
    yield x
    for t, s in zip(times, times[1:]):
        h = s - t
        k1 = f(x, t)
        k2 = f(x + (0.5 * h) * k1, t + 0.5 * h)
        k3 = f(x + (0.5 * h) * k2, t + 0.5 * h)
        k4 = f(x + h * k3, s)
        x = x + (h / 6) * (k1 + 2 * k2 + 2 * k3 + k4)
        yield x
