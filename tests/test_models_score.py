"""Score models: the exact score against differences, the loss in closed form, samplers and likelihood where they are known."""
import math

import numpy as np
import pytest

from devices import assert_same_on_a_device
import tinygrad_edu as tg
from tinygrad_edu import Tensor, backend, data, optim
from tinygrad_edu.models.generative.score import (MixtureScore, ScoreNetwork, VPSDE, denoising_loss, langevin, log_uniform,
                                                  runge_kutta)

MIXTURE = data.Mixture([[0.0, -1.0], [2.0, -0.5], [-0.8, 0.4]], 0.3, weights=[1, 2, 5])        # with mean 0
CLOUD = data.Mixture([[0.5, -0.2]], 0.5)                                # one Gaussian


@pytest.fixture(autouse=True)
def seed():
    backend.manual_seed(0)


# ---------------------------------------------------------------- densities with weights and noise

def test_weights_of_a_mixture():
    assert MIXTURE.weights.tolist() == [1 / 8, 2 / 8, 5 / 8]
    share = np.bincount(MIXTURE.labelled(40_000)[1]) / 40_000
    np.testing.assert_allclose(share, MIXTURE.weights, atol=0.01)
    for wrong in ([1, 2], [1, 0, 1], [1, -1, 3]):
        with pytest.raises(ValueError, match="expected 3 positive numbers"):
            data.Mixture(MIXTURE.centres, 0.3, wrong)


@pytest.mark.parametrize("density", [MIXTURE, data.TwoMoons(), data.SwissRoll()])
def test_noised_is_the_density_of_noised_samples(density):
    """In boxes, the share of samples with noise put on by hand against the integral of the wider density."""
    n, sigma, before = 40_000, 0.4, density.sigma
    noised = density.noised(sigma)
    points = density.sample(n, np.float64) + sigma * np.random.default_rng(0).standard_normal((n, 2))
    edges = np.linspace(-3, 3, 5)
    middle = -3 + (np.arange(4 * 30) + 0.5) * 6 / 120
    grid = np.stack(np.meshgrid(middle, middle, indexing="ij"), axis=-1).reshape(-1, 2)
    mass = np.exp(noised.log_density(grid)).reshape(4, 30, 4, 30).sum(axis=(1, 3)) * 0.05 ** 2
    share = np.histogram2d(*points.T, bins=(edges, edges))[0] / n
    np.testing.assert_allclose(share, mass, atol=0.012)
    drawn = np.histogram2d(*noised.sample(n).T, bins=(edges, edges))[0] / n
    np.testing.assert_allclose(drawn, mass, atol=0.012)
    assert density.sigma == before


# ---------------------------------------------------------------- scores

@pytest.mark.parametrize("sigma", [0.05, 0.5, 3.0])
def test_mixture_score_is_the_gradient_of_the_log_density(sigma):
    density, h = MIXTURE.noised(sigma), 1e-5
    x = density.sample(50, np.float64)
    differences = [(density.log_density(x + h * e) - density.log_density(x - h * e)) / (2 * h) for e in np.eye(2)]
    np.testing.assert_allclose(MixtureScore(MIXTURE)(Tensor(x), sigma).numpy(), np.stack(differences, axis=1), atol=1e-6)


@pytest.mark.parametrize("score", [MixtureScore(MIXTURE), ScoreNetwork(width=16)])
def test_one_sigma_for_all_or_one_for_each(score):
    x = tg.randn(5, 2)
    one, each = (score(x, sigma).detach().numpy() for sigma in (0.7, np.full(5, 0.7)))
    np.testing.assert_allclose(one, each, rtol=1e-5, atol=1e-6)
    assert one.dtype == np.float32


def test_network_begins_as_a_gaussian_where_noise_is_all_there_is():
    x = 50 * tg.randn(100, 2)
    np.testing.assert_allclose(ScoreNetwork(deviation=2.0)(x, 50.0).detach().numpy(), -x.numpy() / (4 + 2500), atol=2e-3)


def test_denoising_loss_by_hand():
    x0, noise = tg.randn(6, 2, dtype="float64"), tg.randn(6, 2, dtype="float64")
    sigma = np.linspace(0.1, 2, 6)
    x = x0.numpy() + sigma[:, None] * noise.numpy()
    score = MixtureScore(MIXTURE)
    expected = np.mean([0.5 * ((sigma[i] * score(Tensor(x[i : i + 1]), sigma[i]).numpy() + noise.numpy()[i]) ** 2).sum()
                        for i in range(6)])
    assert denoising_loss(score, x0, sigma, noise).item() == pytest.approx(expected, rel=1e-12)


def test_denoising_loss_is_least_for_the_exact_score():
    """Of a Gaussian N(m, v): the loss of -k (x - m) is known, and least at k = 1 / (v + sigma^2)."""
    x0, sigma = Tensor(CLOUD.sample(200_000)), 0.8
    best = 1 / (0.25 + sigma ** 2)
    for k in (0.5 * best, best, 2 * best):
        loss = denoising_loss(lambda x, s: -k * (x - Tensor(CLOUD.centres, dtype="float32")), x0, sigma).item()
        a = 1 - k * sigma ** 2                                          # sigma score + noise = a noise - k sigma (x_0 - m)
        assert loss == pytest.approx(a * a + k * k * sigma ** 2 * 0.25, rel=0.02)


def test_log_uniform():
    levels = log_uniform(20_000, 0.01, 10)
    assert 0.01 <= levels.min() and levels.max() <= 10
    assert np.log10(levels).mean() == pytest.approx(-0.5, abs=0.03)


def test_a_network_learns_a_score():
    network, exact = ScoreNetwork(width=32, deviation=1.2), MixtureScore(MIXTURE)
    optimizer = optim.Adam(network.parameters(), lr=5e-3)
    for _ in range(150):
        loss = denoising_loss(network, Tensor(MIXTURE.sample(256)), log_uniform(256, 0.1, 3))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    x = Tensor(MIXTURE.noised(0.5).sample(1000))
    learned, truth = network(x, 0.5).detach().numpy(), exact(x, 0.5).numpy()
    assert ((learned - truth) ** 2).sum() < 0.1 * (truth ** 2).sum()


# ---------------------------------------------------------------- drawing, and the likelihood

def test_langevin_keeps_a_gaussian():
    """Each step of x <- (1 - h/w) x + sqrt(2h) noise leaves the variance w / (1 - h / (2w)), w = v + sigma^2."""
    x = langevin(MixtureScore(CLOUD), tg.randn(20_000, 2), [0.5], steps=40, step=0.4).numpy()
    h, w = 0.4 * 0.25, 0.5
    np.testing.assert_allclose(x.mean(axis=0), CLOUD.centres[0], atol=0.02)
    np.testing.assert_allclose(x.var(axis=0), w / (1 - h / (2 * w)), rtol=0.03)


def test_runge_kutta_is_of_order_four():
    errors = []
    for steps in (5, 10):
        *_, end = runge_kutta(lambda x, t: -2 * t * x, tg.ones(1, 1, dtype="float64"), np.linspace(0, 1, steps + 1))
        errors.append(abs(end.item() - math.exp(-1)))
    assert 12 < errors[0] / errors[1] < 20


def test_time_and_sigma_are_inverse():
    sde = VPSDE(None)
    for sigma in (1e-4, 0.02, 1.0, 15.0):
        assert sde.sigma(sde.time(sigma)) == pytest.approx(sigma, rel=1e-7)
    times = sde.times(10)
    assert len(times) == 11 and times[-1] == 1 and np.all(np.diff(times) > 0)
    assert sde.sigma(times[0]) == pytest.approx(sde.sigma_min)


def test_scale_is_what_the_equation_does_to_the_mean():
    """d mean/dt = -beta mean / 2 and d variance/dt = beta (1 - variance), in many small steps."""
    sde, n = VPSDE(None), 20_000
    mean, variance = 1.0, 0.0
    for t in (np.arange(n) + 0.5) / n:
        mean, variance = mean - 0.5 * sde.beta(t) * mean / n, variance + sde.beta(t) * (1 - variance) / n
    assert mean == pytest.approx(sde.scale(1.0), rel=1e-2)
    assert sde.scale(0.3) ** 2 * (1 + sde.sigma(0.3) ** 2) == pytest.approx(1, rel=1e-12)


@pytest.mark.parametrize("density", [MIXTURE, CLOUD])
def test_log_prob_of_the_exact_score(density):
    """The prior is N(0, I), the truth at t = 1 has a mean of 0.007 of the data's: hence the tolerance."""
    sde = VPSDE(MixtureScore(density))
    x = density.sample(100, np.float64)
    np.testing.assert_allclose(sde.log_prob(Tensor(x), 60).numpy(), density.noised(sde.sigma_min).log_density(x), atol=0.01)


def test_log_prob_counts_the_dimensions():
    """Three coordinates, independent: N(0, 4 + sigma_min^2) each."""
    x, v = tg.randn(5, 3, dtype="float64"), 4 + 0.02 ** 2
    found = VPSDE(lambda x, sigma: -x / (4 + sigma ** 2)).log_prob(x, 60).numpy()
    expected = (-0.5 * x.numpy() ** 2 / v - 0.5 * math.log(2 * math.pi * v)).sum(axis=1)
    np.testing.assert_allclose(found, expected, atol=2e-3)


def test_sde_and_flow_reach_the_data():
    sde, n = VPSDE(MixtureScore(MIXTURE)), 4000
    for points in (sde.sample(tg.randn(n, 2), 200), sde.flow(tg.randn(n, 2), 30)[-1]):
        nearest = ((points.numpy()[:, None] - MIXTURE.centres) ** 2).sum(axis=2).argmin(axis=1)
        expected = ((MIXTURE.sample(40_000)[:, None] - MIXTURE.centres) ** 2).sum(axis=2).argmin(axis=1)
        np.testing.assert_allclose(np.bincount(nearest) / n, np.bincount(expected) / 40_000, atol=0.03)


def train_and_draw():
    tg.manual_seed(3)
    network = ScoreNetwork(width=16)
    optimizer = optim.Adam(network.parameters())
    loss = denoising_loss(network, tg.randn(8, 2), log_uniform(8, 0.1, 3))
    loss.backward()
    optimizer.step()
    sde, x = VPSDE(network), tg.randn(4, 2)
    results = [loss.detach(), langevin(network, x, [1.0, 0.5], 2), sde.sample(x, 4), sde.flow(x, 3)[-1], sde.log_prob(x, 3),
               MixtureScore(MIXTURE)(x, 0.3)]
    return [result.numpy() for result in results]


def test_runs_on_a_device_as_on_the_host():
    assert_same_on_a_device(train_and_draw, rtol=1e-4, atol=1e-5)
