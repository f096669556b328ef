"""Diffusion: destroy pictures with a little noise at a time, and learn to undo one step.

Ho, Jain & Abbeel 2020, Denoising diffusion probabilistic models, arXiv:2006.11239 (DDPM). Nichol & Dhariwal 2021, 2102.09672
(cosine schedule, learned variance). Song, Meng & Ermon 2020, 2010.02502 (DDIM, fewer steps).

    beta_t       noise added in step t = 1..T;  t = 0 is the data, so beta_0 = 0
    alpha_bar_t  = product of 1 - beta up to t: the share of the data's variance that is left, alpha_bar_0 = 1

    q(x_t | x_{t-1}) = N(sqrt(1 - beta_t) x_{t-1}, beta_t)         and so, at once,
    q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, 1 - alpha_bar_t)

The way back, q(x_s | x_t) for s < t, is not known, but with x_0 given it is a Gaussian in closed form. The network guesses
the noise in x_t, hence x_0, hence that Gaussian. A learned model needs no second network, no adversary, no invertible layers:
its loss is a regression. All times here are integers (NumPy arrays), and every formula takes a step from any t to any s < t.
"""
import math

import numpy as np

from ... import backend
from ...autograd import no_grad
from ...creation import randn
from ...nn import Module
from ...ops import clip, erf, exp, log, maximum, square, where
from ...tensor import Tensor


# ---------------------------------------------------------------- how fast to destroy

class Schedule:
    """The noise of every step. `betas` (T,) in (0, 1); `beta` and `alpha_bar` (T + 1,) float64, index 0 being the data."""

    def __init__(self, betas):
        if not (np.min(betas) > 0 and np.max(betas) < 1):
            raise ValueError(f"Schedule: got betas from {np.min(betas):.3g} to {np.max(betas):.3g}, expected 0 < beta < 1")
        self.T = len(betas)
        self.beta = np.concatenate([[0.0], betas])
        self.alpha_bar = np.cumprod(1 - self.beta)

    def step_variance(self, t, s):
        """The noise added between s and t: beta_{t|s} = 1 - alpha_bar_t / alpha_bar_s."""
        return 1 - self.alpha_bar[t] / self.alpha_bar[s]

    def posterior_variance(self, t, s):
        """The variance of q(x_s | x_t, x_0): beta_{t|s} (1 - alpha_bar_s) / (1 - alpha_bar_t); 0 for s = 0."""
        return self.step_variance(t, s) * (1 - self.alpha_bar[s]) / (1 - self.alpha_bar[t])

    def posterior_weights(self, t, s):
        """The mean of q(x_s | x_t, x_0) is a x_0 + b x_t: (a, b)."""
        a = np.sqrt(self.alpha_bar[s]) * self.step_variance(t, s) / (1 - self.alpha_bar[t])
        b = np.sqrt(self.alpha_bar[t] / self.alpha_bar[s]) * (1 - self.alpha_bar[s]) / (1 - self.alpha_bar[t])
        return a, b

    def log_snr(self):
        """ln(alpha_bar / (1 - alpha_bar)) at t = 1..T."""
        return np.log(self.alpha_bar[1:] / (1 - self.alpha_bar[1:]))


def linear_schedule(T):
    """beta rising from 1e-4 to 0.02 for the paper's T = 1000, scaled so that other T destroy equally much."""
    return Schedule(np.linspace(1e-4, 0.02, T) * (1000 / T))


def cosine_schedule(T, s=0.008):
    """alpha_bar_t = f(t) / f(0), f(t) = cos^2((t / T + s) / (1 + s) pi / 2), beta at most 0.999. Nichol & Dhariwal, eq. 17."""
    f = np.cos((np.arange(T + 1) / T + s) / (1 + s) * math.pi / 2) ** 2
    return Schedule(np.minimum(1 - f[1:] / f[:-1], 0.999))


# ---------------------------------------------------------------- the model

class DDPM(Module):
    """A chain of Gaussians p(x_s | x_t) from noise to data of `shape`, whose means come from `network(x_t, t)`.

    variance of p(x_{t-1} | x_t): "small", the posterior's; "large", beta_t; "learned", in between, as the network says: it
    then has twice the channels, noise first. `limit`: data lies in [-limit, limit], so guesses of x_0 are cut to that.
    `levels`: how many equally spaced values the data has in [-1, 1], for the bound of discrete data; None: continuous.
    """

    def __init__(self, network, schedule, shape, variance="small", limit=None, levels=None):
        if variance not in ("small", "large", "learned"):
            raise ValueError(f"DDPM: got variance {variance!r}, expected 'small', 'large' or 'learned'")
        self.network, self.schedule, self.shape = network, schedule, tuple(shape)
        self.variance, self.limit, self.levels = variance, limit, levels

    # ------------------------------------------------------------ the way there, in closed form

    def q_sample(self, x0, t, noise):
        """A draw of x_t given x_0: sqrt(alpha_bar_t) x_0 + sqrt(1 - alpha_bar_t) noise."""
        alpha_bar = self.schedule.alpha_bar[t]
        return self._each(np.sqrt(alpha_bar)) * x0 + self._each(np.sqrt(1 - alpha_bar)) * noise

    def q_posterior_mean(self, x0, x, t, s):
        """The mean of q(x_s | x_t = x, x_0)."""
        a, b = self.schedule.posterior_weights(t, s)
        return self._each(a) * x0 + self._each(b) * x

    # ------------------------------------------------------------ the way back, learned

    def predict(self, x, t):
        """The network's guess of the noise in x_t, and its wish v for the variance (None unless learned)."""
        out = self.network(x, t)
        C = self.shape[0]
        return (out[:, :C], out[:, C:]) if self.variance == "learned" else (out, None)

    def x0_from_noise(self, x, t, noise):
        """q_sample solved for x_0, cut to the limits of the data."""
        alpha_bar = self.schedule.alpha_bar[t]
        x0 = self._each(1 / np.sqrt(alpha_bar)) * x - self._each(np.sqrt(1 / alpha_bar - 1)) * noise
        return x0 if self.limit is None else clip(x0, -self.limit, self.limit)

    def log_variance(self, v, t, s):
        """ln of the variance of p(x_s | x_t): v = -1 stands for the small one, v = 1 for the large one.

        The small one is 0 for s = 0; as in the paper the next step's takes its place.
        """
        large = np.log(self.schedule.step_variance(t, s))
        small = np.log(self.schedule.posterior_variance(np.maximum(t, 2), np.maximum(s, 1)))
        if v is None:
            return self._each(large if self.variance == "large" else small)
        share = (v + 1) / 2
        return share * self._each(large) + (1 - share) * self._each(small)

    def p_mean_log_variance(self, x, t, s):
        """Mean and log variance of p(x_s | x_t = x)."""
        noise, v = self.predict(x, t)
        mean = self.q_posterior_mean(self.x0_from_noise(x, t, noise), x, t, s)
        return mean, self.log_variance(v, t, s)

    # ------------------------------------------------------------ losses

    def loss(self, x0, hybrid=0.001):
        """Mean squared error of the guessed noise at random times ("L_simple"); with a learned variance, plus `hybrid` times
        the bound in nats a dimension, whose gradient goes to the variance only ("L_hybrid").
        """
        t = backend.generator().integers(1, self.schedule.T + 1, len(x0))
        noise = randn(*x0.shape)
        x = self.q_sample(x0, t, noise)
        guess, v = self.predict(x, t)
        simple = square(guess - noise).mean()
        if v is None:
            return simple
        bound = self._bound_term(x0, x, t, guess.detach(), v).mean() * (self.schedule.T / math.prod(self.shape))
        return simple + hybrid * bound

    def bound_term(self, x0, t, noise):
        """Term t of the bound on -ln p(x_0), nats (N,): for t = 1 the cost of x_0 given x_1, else of x_{t-1} given x_t."""
        x = self.q_sample(x0, t, noise)
        return self._bound_term(x0, x, t, *self.predict(x, t))

    def _bound_term(self, x0, x, t, guess, v):
        s = t - 1
        mean, log_variance = self.q_posterior_mean(self.x0_from_noise(x, t, guess), x, t, s), self.log_variance(v, t, s)
        true_mean = self.q_posterior_mean(x0, x, t, s)
        true_log_variance = self._each(np.log(self.schedule.posterior_variance(np.maximum(t, 2), np.maximum(s, 1))))

        ratio = true_log_variance - log_variance
        kl = 0.5 * (exp(ratio) - 1 - ratio + square(true_mean - mean) * exp(-log_variance))
        first = self._each(t) == 1
        cost = where(first, self._decoder_cost(x0, mean, log_variance), kl)
        return cost.reshape(len(x0), -1).sum(axis=1)

    def _decoder_cost(self, x0, mean, log_variance):
        """-ln p(x_0 | x_1): of a density, or of the bin around x_0 if the data has `levels`; the outer bins are open."""
        if self.levels is None:
            return 0.5 * (square(x0 - mean) * exp(-log_variance) + log_variance + math.log(2 * math.pi))
        half, scale = 1 / (self.levels - 1), exp(-0.5 * log_variance) * math.sqrt(0.5)
        upper = where(x0 > 1 - half, 1.0, erf((x0 + half - mean) * scale))
        lower = where(x0 < -1 + half, -1.0, erf((x0 - half - mean) * scale))
        return -log(maximum(0.5 * (upper - lower), 1e-12))

    def prior_term(self, x0):
        """KL(q(x_T | x_0) || N(0, 1)), nats (N,): what is left of the data at the end."""
        a = float(self.schedule.alpha_bar[-1])
        return 0.5 * (a * square(x0) - a - math.log1p(-a)).reshape(len(x0), -1).sum(axis=1)

    @no_grad()
    def bound(self, x0):
        """The variational bound on -ln p(x_0): every term once with fresh noise, nats, (T + 1,), prior first, then t = 1..T."""
        terms = [self.prior_term(x0).mean().item()]
        for t in range(1, self.schedule.T + 1):
            terms.append(self.bound_term(x0, np.full(len(x0), t), randn(*x0.shape)).mean().item())
        return np.array(terms)

    # ------------------------------------------------------------ sampling

    def times(self, steps=None):
        """`steps` times from T to 0, evenly spaced (all T of them if None), as pairs (t, s) of a step."""
        times = np.rint(np.linspace(self.schedule.T, 0, (steps or self.schedule.T) + 1)).astype(int)
        return list(zip(times[:-1], times[1:]))

    @no_grad()
    def p_sample(self, x, t, s, noise):
        """One step back, a draw from p(x_s | x_t = x); the last one, s = 0, is its mean."""
        mean, log_variance = self.p_mean_log_variance(x, np.full(len(x), t), np.full(len(x), s))
        return mean if s == 0 else mean + exp(0.5 * log_variance) * noise

    @no_grad()
    def ddim_step(self, x, t, s, eta=0.0, noise=None):
        """One step back of DDIM: sqrt(alpha_bar_s) x_0 + sqrt(1 - alpha_bar_s - sigma^2) (noise in x) + sigma noise.

        sigma = eta * the posterior's standard deviation. eta = 1 is a DDPM step; eta = 0 adds no noise at all.
        """
        every = np.full(len(x), t)
        guess, _ = self.predict(x, every)
        x0 = self.x0_from_noise(x, every, guess)
        a, a_s = self.schedule.alpha_bar[t], self.schedule.alpha_bar[s]
        guess = (x - math.sqrt(a) * x0) * (1 / math.sqrt(1 - a))            # the noise that belongs to the cut x_0
        variance = eta ** 2 * self.schedule.posterior_variance(t, s)
        x = math.sqrt(a_s) * x0 + math.sqrt(1 - a_s - variance) * guess
        return x + math.sqrt(variance) * noise if variance > 0 else x

    def sample(self, n, steps=None):
        """n draws, (n, *shape): from noise through p_sample."""
        x = randn(n, *self.shape)
        for t, s in self.times(steps):
            x = self.p_sample(x, t, s, randn(*x.shape))
        return x

    def ddim_sample(self, x, steps, eta=0.0):
        """From the noise x (n, *shape) to data in a few steps of DDIM; with eta = 0 a function of x alone."""
        for t, s in self.times(steps):
            x = self.ddim_step(x, t, s, eta, randn(*x.shape) if eta else None)
        return x

    def _each(self, values):
        """One number for each sample, (N,) or a plain one, as a Tensor that broadcasts over their axes."""
        return Tensor(np.asarray(values, np.float32).reshape(-1, *(1,) * len(self.shape)))
