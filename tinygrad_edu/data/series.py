"""Series whose best forecast is known, and two tests of memory.

Every forecasting problem gives series float32 (n, steps) and says how small the expected squared error of a forecast one step
ahead can be. All draws are from backend.generator().
"""
import math

import numpy as np

from .. import backend


# ---------------------------------------------------------------- forecasting

def sine_mixtures(n, steps, waves=3, noise=0.0):
    """Sums of `waves` sines with periods 4..40 steps, random phases and amplitudes that sum to 1, plus white noise.

    Best squared error: noise^2, for 2 `waves` past values of such a sum determine the next one.
    """
    rng, t = backend.generator(), np.arange(steps)
    period, phase = rng.uniform(4, 40, (n, waves, 1)), rng.uniform(0, 2 * math.pi, (n, waves, 1))
    amplitude = rng.dirichlet(np.ones(waves), n)[:, :, None]
    clean = (amplitude * np.sin(2 * math.pi * t / period + phase)).sum(axis=1)              # (n, steps)
    return (clean + noise * rng.standard_normal((n, steps))).astype(np.float32)


class Seasonal:
    """x_t = season_t + u_t with an autoregression u_t = sum_k a_k u_(t-k) + noise e_t, e standard normal.

    `coefficients` a_1..a_p of a stationary autoregression; the season is `amplitude` sin(2 pi t / period), the same in every
    series. Best squared error: noise^2, by `best_forecast`.
    """

    def __init__(self, coefficients=(0.6, 0.3), noise=0.5, period=12, amplitude=2.0):
        self.coefficients, self.noise = np.asarray(coefficients, np.float64), noise
        self.period, self.amplitude = period, amplitude
        companion = np.eye(len(self.coefficients), k=-1)
        companion[0] = self.coefficients
        if abs(np.linalg.eigvals(companion)).max() >= 1:
            raise ValueError(f"Seasonal: got coefficients {tuple(coefficients)}, expected a stationary autoregression")

    def season(self, steps):
        return self.amplitude * np.sin(2 * math.pi * np.arange(steps) / self.period)

    def sample(self, n, steps, burn_in=500):
        """Series float32 (n, steps), after `burn_in` steps for the start to be forgotten."""
        p = len(self.coefficients)
        e = self.noise * backend.generator().standard_normal((n, burn_in + steps))
        u = np.zeros((n, p + burn_in + steps))
        for t in range(burn_in + steps):
            u[:, p + t] = u[:, t:p + t] @ self.coefficients[::-1] + e[:, t]
        return (u[:, -steps:] + self.season(steps)).astype(np.float32)

    def best_forecast(self, series):
        """E[x_t | all before] for t = p..steps-1: float64 (n, steps - p)."""
        p, steps = len(self.coefficients), series.shape[1]
        u = series - self.season(steps)
        forecast = sum(a * u[:, p - k - 1:steps - k - 1] for k, a in enumerate(self.coefficients))
        return forecast + self.season(steps)[p:]


def random_walks(n, steps, noise=1.0):
    """x_t = x_(t-1) + noise e_t from x_0 = 0. Best squared error: noise^2, by repeating the last value."""
    rises = noise * backend.generator().standard_normal((n, steps))
    rises[:, 0] = 0
    return rises.cumsum(axis=1).astype(np.float32)


def garch(n, steps, omega=0.05, alpha=0.15, beta=0.8):
    """Returns r_t = sigma_t e_t with sigma_t^2 = omega + alpha r_(t-1)^2 + beta sigma_(t-1)^2: calm and nervous times.

    Gives r and sigma, float32 (n, steps) each. r cannot be forecast, best squared error omega / (1 - alpha - beta); r^2 can,
    and its best forecast is sigma^2. Bollerslev 1986.
    """
    if not (omega > 0 and alpha >= 0 and beta >= 0 and alpha + beta < 1):
        raise ValueError(f"garch: got omega {omega}, alpha {alpha}, beta {beta}, expected positive ones, alpha + beta below 1")
    e = backend.generator().standard_normal((n, 200 + steps))
    r, variance = np.zeros((2, n, 200 + steps))
    variance[:, 0] = omega / (1 - alpha - beta)
    r[:, 0] = np.sqrt(variance[:, 0]) * e[:, 0]
    for t in range(1, 200 + steps):
        variance[:, t] = omega + alpha * r[:, t - 1] ** 2 + beta * variance[:, t - 1]
        r[:, t] = np.sqrt(variance[:, t]) * e[:, t]
    return r[:, 200:].astype(np.float32), np.sqrt(variance[:, 200:]).astype(np.float32)


# ---------------------------------------------------------------- memory

def adding_problem(n, steps):
    """Add the two marked numbers: x float32 (n, steps, 2), y float32 (n,).

    x[..., 0] is uniform on 0..1, x[..., 1] is 1 at two places, one in each half, and else 0. Who always answers 1 has the
    squared error 1/6; who remembers has 0. Hochreiter & Schmidhuber 1997.
    """
    if steps < 2:
        raise ValueError(f"adding_problem: got {steps} steps, expected at least 2")
    rng = backend.generator()
    numbers, marks, half = rng.random((n, steps)), np.zeros((n, steps)), steps // 2
    marks[np.arange(n), rng.integers(0, half, n)] = 1
    marks[np.arange(n), rng.integers(half, steps, n)] = 1
    return np.stack([numbers, marks], axis=2).astype(np.float32), (numbers * marks).sum(axis=1).astype(np.float32)


def brackets(n, steps, kinds=2):
    """Well-nested brackets of some kinds: tokens and depth, int64 (n, steps) each, all closed at the end; `steps` is even.

    Token k < kinds opens, kinds + k closes; depth counts what is open after the token. While both are possible, opening
    and closing are equally likely, so an opening one and a lone closing one cannot be known; its kind always can.
    """
    if steps % 2:
        raise ValueError(f"brackets: got {steps} steps, expected an even number")
    tokens, depth = np.zeros((2, n, steps), np.int64)
    for row in range(n):
        stack = []
        for t in range(steps):
            must_open, must_close = not stack, len(stack) == steps - t
            if must_open or (not must_close and backend.generator().random() < 0.5):
                stack.append(int(backend.generator().integers(kinds)))
                tokens[row, t] = stack[-1]
            else:
                tokens[row, t] = kinds + stack.pop()
            depth[row, t] = len(stack)
    return tokens, depth
