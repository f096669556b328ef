"""Energy-based models: samplers against a Gaussian, the loss against the likelihood, RBMs against enumeration."""
import math

import numpy as np
import pytest

from devices import assert_same_on_a_device
import tinygrad_edu as tg
from tinygrad_edu import Tensor, backend, functional as F, no_grad, optim
from tinygrad_edu.models.foundations.mlp import MLP
from tinygrad_edu.models.generative.ebm import (Energy, JointEnergy, ReplayBuffer, contrastive_loss, energy_and_slope, grid,
                                                langevin, log_partition, mala)
from tinygrad_edu.models.generative.rbm import RBM, all_states

PRECISION = np.array([[1.25, -0.75], [-0.75, 1.25]])                # eigenvalues 0.5 and 2
COVARIANCE = np.linalg.inv(PRECISION)


def bowl(x):
    """x P x / 2: the energy of a Gaussian."""
    return 0.5 * ((x @ Tensor(PRECISION, dtype=x.dtype)) * x).sum(axis=1)


@pytest.fixture(autouse=True)
def seed():
    backend.manual_seed(0)


# ---------------------------------------------------------------- samplers

def test_slope_is_outside_the_graph():
    energy = Energy(hidden=(8,))
    x = tg.randn(3, 2)
    with no_grad():
        e, slope = energy_and_slope(energy, x)
    assert not e.requires_grad and not slope.requires_grad and slope.shape == (3, 2)
    e, slope = energy_and_slope(bowl, tg.randn(4, 2, dtype="float64"))
    assert e.shape == (4,)
    x = tg.randn(4, 2, dtype="float64")
    np.testing.assert_allclose(energy_and_slope(bowl, x)[1].numpy(), x.numpy() @ PRECISION)


def test_langevin_has_the_bias_that_the_formula_says():
    """x <- (I - hP) x + sqrt(2h) z leaves the covariance C = (I - hP/2)^-1 P^-1, which is too wide."""
    h = 0.4
    x = langevin(bowl, tg.randn(20_000, 2), 60, h).numpy()
    expected = np.linalg.inv(np.eye(2) - h * PRECISION / 2) @ COVARIANCE
    np.testing.assert_allclose(np.cov(x.T), expected, atol=0.06)
    np.testing.assert_allclose(x.mean(axis=0), 0, atol=0.03)


def test_mala_has_no_bias_and_says_how_often_it_stayed():
    x, accepted = mala(bowl, tg.randn(20_000, 2), 60, 0.4)
    np.testing.assert_allclose(np.cov(x.numpy().T), COVARIANCE, atol=0.05)
    assert 0.5 < accepted < 0.99
    still, accepted = mala(bowl, tg.zeros(50, 2), 5, 1e4)                       # every proposal is absurd
    assert accepted == 0 and not still.numpy().any()
    assert mala(bowl, tg.randn(500, 2), 5, 1e-4)[1] > 0.99


def test_a_flat_energy_is_a_random_walk():
    x = langevin(lambda x: 0 * x.sum(axis=1), tg.zeros(20_000, 2), 5, 0.1).numpy()
    assert x.var() == pytest.approx(5 * 0.2, rel=0.03)
    assert not langevin(lambda x: 0 * x.sum(axis=1), tg.zeros(5, 2), 5, 0.1, noise=0.0).numpy().any()


def test_replay_buffer_keeps_ends_and_gives_births():
    buffer = ReplayBuffer(50, lambda n: np.zeros((n, 3), np.float32), reborn=0.0)
    start = buffer.draw(20)
    assert start.shape == (20, 3) and not start.numpy().any()
    buffer.keep(start + 1)
    assert buffer.points.sum() == 60 and (buffer.points.sum(axis=1) == 3).sum() == 20      # twenty different places
    buffer.reborn = 1.0
    assert not buffer.draw(50).numpy().any()
    buffer = ReplayBuffer(2000, lambda n: np.zeros((n, 1), np.float32), reborn=0.25)
    buffer.points[:] = 1
    assert buffer.draw(2000).numpy().mean() == pytest.approx(0.75, abs=0.04)


# ---------------------------------------------------------------- the loss

def test_grid_and_log_partition():
    points, cell = grid(6.0, 120)
    assert points.shape == (14400, 2) and cell == pytest.approx(0.01) and len(points) * cell == pytest.approx(144)
    exact = math.log(2 * math.pi) - 0.5 * np.linalg.slogdet(PRECISION)[1]
    assert log_partition(bowl, points, cell) == pytest.approx(exact, abs=1e-4)


def test_loss_with_draws_of_the_model_has_the_gradient_of_the_likelihood():
    """E = k |x|^2 / 2 in two dimensions: -ln p = k |x|^2 / 2 - ln k + ln 2 pi, so d/dk = |x|^2 / 2 - 1 / k."""
    k = Tensor(np.array(2.0), requires_grad=True)
    data, drawn = 0.5 * tg.randn(200_000, 2), math.sqrt(1 / 2) * tg.randn(200_000, 2)
    contrastive_loss(lambda x: 0.5 * k * (x * x).sum(axis=1), data, drawn).backward()
    assert k.grad.item() == pytest.approx(0.25 - 0.5, abs=0.01)


def test_alpha_holds_the_energies():
    x = tg.ones(4, 1)
    shift = Tensor(np.array([3.0]), requires_grad=True)
    contrastive_loss(lambda x: x[:, 0] + shift, x, x).backward()
    assert shift.grad.item() == 0                                               # without it nobody minds where 0 is
    shift.zero_grad()
    contrastive_loss(lambda x: x[:, 0] + shift, x, x, alpha=0.5).backward()
    assert shift.grad.item() == pytest.approx(0.5 * 2 * 2 * 4)


def test_joint_energy_is_the_classifier_summed_over_classes():
    classifier, x = MLP(2, 8, 3), tg.randn(5, 2)
    joint = -classifier(x)                                                      # the energy of x and class k
    p = F.softmax(classifier(x)).detach().numpy()
    np.testing.assert_allclose(np.exp((JointEnergy(classifier)(x)[:, None] - joint).detach().numpy()), p, rtol=1e-5)


# ---------------------------------------------------------------- the RBM

def small_rbm():
    rbm = RBM(5, 3)
    rng = np.random.default_rng(0)
    for p in rbm.parameters():
        p.data[...] = rng.standard_normal(p.shape)
    return rbm


def joint_table(rbm):
    """p(v, h) of every v (32) and h (8), by brute force in float64, and ln Z."""
    v, h = all_states(5).numpy().astype(float), all_states(3).numpy().astype(float)
    W, b, c = (p.detach().numpy().astype(float) for p in (rbm.weight, rbm.visible_bias, rbm.hidden_bias))
    log_p = (v @ b)[:, None] + h @ c + v @ W @ h.T
    log_z = np.log(np.exp(log_p).sum())
    return v, h, np.exp(log_p - log_z), log_z


def test_all_states():
    states = all_states(3).numpy()
    assert states.shape == (8, 3) and len(np.unique(states, axis=0)) == 8 and set(states.ravel()) == {0, 1}
    with pytest.raises(ValueError, match="got 21 units, expected at most 20"):
        all_states(21)


def test_free_energy_and_partition_against_brute_force():
    rbm = small_rbm()
    v, _, p, log_z = joint_table(rbm)
    assert rbm.log_partition() == pytest.approx(log_z, abs=1e-5)
    log_p = -rbm(Tensor(v, dtype="float32")).detach().numpy() - rbm.log_partition()
    np.testing.assert_allclose(np.exp(log_p), p.sum(axis=1), rtol=1e-4)
    assert np.exp(log_p).sum() == pytest.approx(1, abs=1e-5)


def test_exact_statistics_against_brute_force():
    rbm = small_rbm()
    v, h, p, _ = joint_table(rbm)
    vh, mean_v, mean_h = (s.numpy() for s in rbm.exact_statistics())
    np.testing.assert_allclose(vh, np.einsum("vh,vi,hj->ij", p, v, h), atol=1e-5)
    np.testing.assert_allclose(mean_v, p.sum(axis=1) @ v, atol=1e-5)
    np.testing.assert_allclose(mean_h, p.sum(axis=0) @ h, atol=1e-5)


def test_gradient_is_that_of_the_likelihood_by_autograd():
    """With Z as a sum over all v, autograd differentiates -ln p(data) itself."""
    rbm, data = small_rbm(), Tensor(np.random.default_rng(1).integers(0, 2, (7, 5)).astype("float32"))
    loss = rbm(data).mean() + tg.logsumexp(-rbm(all_states(5)), axis=0)
    loss.backward()
    expected = [p.grad.numpy().copy() for p in rbm.parameters()]
    rbm.set_gradient(rbm.statistics(data), rbm.exact_statistics())
    for p, g in zip(rbm.parameters(), expected):
        np.testing.assert_allclose(p.grad.numpy(), g, atol=1e-5)


def test_weighted_statistics():
    rbm = small_rbm()
    v = Tensor(np.eye(5, dtype="float32"))
    twice = rbm.statistics(Tensor(np.concatenate([np.eye(5), np.eye(5)[:1]]).astype("float32")))
    weighted = rbm.statistics(v, Tensor(np.array([2, 1, 1, 1, 1], np.float32) / 6))
    for a, b in zip(twice, weighted):
        np.testing.assert_allclose(a.numpy(), b.numpy(), atol=1e-6)


def test_gibbs_draws_from_the_model():
    rbm = small_rbm()
    v, _, p, _ = joint_table(rbm)
    drawn = rbm.gibbs(Tensor(np.zeros((20_000, 5), np.float32)), 30).numpy()
    share = np.bincount((drawn @ 2 ** np.arange(5)).astype(int), minlength=32) / 20_000
    np.testing.assert_allclose(share, p.sum(axis=1), atol=0.015)


def test_ais_estimates_the_partition():
    rbm = small_rbm()
    assert rbm.ais(chains=500, temperatures=200) == pytest.approx(rbm.log_partition(), abs=0.05)
    rbm.weight.data[...] = 0
    rbm.hidden_bias.data[...] = 0
    assert rbm.ais(chains=10, temperatures=3) == pytest.approx(rbm.log_partition(), abs=1e-4)       # nothing to walk


# ---------------------------------------------------------------- the device

def train_and_draw():
    tg.manual_seed(3)
    energy, data = Energy(hidden=(8,)), tg.randn(6, 2)
    buffer = ReplayBuffer(20, lambda n: backend.generator().uniform(-2, 2, (n, 2)).astype("float32"))
    optimizer = optim.Adam(energy.parameters())
    drawn = langevin(energy, buffer.draw(6), 3, 0.05)
    buffer.keep(drawn)
    loss = contrastive_loss(energy, data, drawn, 0.1)
    loss.backward()
    optimizer.step()
    judged, accepted = mala(energy, data, 3, 0.1)
    results = [loss.detach(), drawn, judged, tg.tensor([accepted, log_partition(energy, *grid(2.0, 10))])]

    rbm, v = RBM(4, 3), Tensor(backend.generator().integers(0, 2, (6, 4)).astype("float32"))
    optimizer = optim.SGD(rbm.parameters(), lr=0.1)
    rbm.set_gradient(rbm.statistics(v), rbm.statistics(rbm.gibbs(v, 2)))
    optimizer.step()
    results += [rbm.weight.detach(), *rbm.exact_statistics(), tg.tensor([rbm.log_partition(), rbm.ais(10, 5)])]
    return [result.numpy() for result in results]


def test_runs_on_a_device_as_on_the_host():
    assert_same_on_a_device(train_and_draw, rtol=1e-4, atol=1e-5)
