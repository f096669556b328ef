"""Series: the best forecast is as good as promised, and nothing beats it."""
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_edu.data import series


def error_of_linear_forecast(x, lags):
    """Mean squared error of the best linear forecast from `lags` past values, fitted to the same series."""
    past = np.lib.stride_tricks.sliding_window_view(x.astype(np.float64), lags, axis=1)[:, :-1].reshape(-1, lags)
    after = x[:, lags:].reshape(-1).astype(np.float64)
    return np.mean((after - past @ np.linalg.lstsq(past, after, rcond=None)[0]) ** 2)


def test_sine_mixtures_follow_from_their_past():
    x = series.sine_mixtures(20, 200, waves=3)
    assert x.shape == (20, 200) and x.dtype == np.float32 and abs(x).max() <= 1
    assert max(error_of_linear_forecast(row[None], 6) for row in x) < 1e-4
    assert min(error_of_linear_forecast(row[None], 6) for row in series.sine_mixtures(20, 400, noise=0.3)) > 0.3 ** 2 * 0.7


def test_seasonal_has_the_promised_best_error():
    process = series.Seasonal((0.6, 0.3), noise=0.5)
    x = process.sample(200, 300)
    misses = (x[:, 2:] - process.best_forecast(x)) ** 2
    assert x.dtype == np.float32 and misses.mean() == pytest.approx(0.25, rel=4 * math.sqrt(2 / misses.size))
    u = x - process.season(300)
    assert error_of_linear_forecast(u, 2) == pytest.approx(0.25, rel=0.03)          # the fitted one finds nothing better
    variance = 0.25 * (1 - 0.3) / ((1 + 0.3) * (1 - 0.6 - 0.3) * (1 + 0.6 - 0.3))   # of AR(2) in closed form
    assert u.var() == pytest.approx(variance, rel=0.1)


def test_random_walk():
    x = series.random_walks(3000, 100, noise=2.0)
    assert (x[:, 0] == 0).all() and np.diff(x).std() == pytest.approx(2, rel=0.01)
    assert x[:, -1].var() == pytest.approx(4 * 99, rel=0.12)


def test_garch():
    r, sigma = series.garch(300, 1000)
    assert np.mean(r.astype(np.float64) ** 2) == pytest.approx(0.05 / (1 - 0.95), rel=0.15)
    e = (r / sigma).astype(np.float64)
    assert abs(e.mean()) < 0.01 and e.var() == pytest.approx(1, abs=0.02) and np.mean(e ** 4) == pytest.approx(3, abs=0.1)
    assert np.mean((r / r.std()) ** 4) > 3.5                                        # heavy tails, from normal noise
    recursion = 0.05 + 0.15 * r[:, :-1] ** 2 + 0.8 * sigma[:, :-1] ** 2
    assert np.allclose(sigma[:, 1:] ** 2, recursion, rtol=1e-4)


@given(st.integers(2, 30))
def test_adding_problem(steps):
    x, y = series.adding_problem(300, steps)
    assert x.shape == (300, steps, 2) and y.shape == (300,) and x.dtype == y.dtype == np.float32
    assert (x[..., 1].sum(axis=1) == 2).all() and (x[:, :steps // 2, 1].sum(axis=1) == 1).all()
    assert np.allclose((x[..., 0] * x[..., 1]).sum(axis=1), y, atol=1e-6)


def test_adding_problem_baseline():
    y = series.adding_problem(20_000, 10)[1]
    assert np.mean((y - 1) ** 2) == pytest.approx(1 / 6, rel=0.04)


@given(half=st.integers(0, 12), kinds=st.integers(1, 4))
def test_brackets_are_well_nested(half, kinds):
    tokens, depth = series.brackets(20, 2 * half, kinds)
    for row, levels in zip(tokens, depth):
        stack = []
        for token, level in zip(row, levels):
            if token < kinds:
                stack.append(token)
            else:
                assert stack.pop() == token - kinds
            assert len(stack) == level
        assert not stack
    assert half == 0 or kinds == 1 or len(np.unique(tokens)) > 2


@pytest.mark.parametrize("call", [lambda: series.Seasonal((0.8, 0.3)), lambda: series.garch(1, 5, alpha=0.5, beta=0.5),
                                  lambda: series.adding_problem(1, 1), lambda: series.brackets(1, 3)])
def test_refuses(call):
    with pytest.raises(ValueError, match="got .* expected"):
        call()
