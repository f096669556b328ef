"""Diffusion: every closed form against the chain it sums up, the bound against a case whose answer is known."""
import math

import numpy as np
import pytest

from devices import assert_same_on_a_device
import tinygrad_edu as tg
from tinygrad_edu import Tensor, backend, nn
from tinygrad_edu.models.generative.ddpm import DDPM, Schedule, cosine_schedule, linear_schedule
from tinygrad_edu.models.generative.unet import PointDenoiser, UNet, sinusoidal

SCHEDULES = [linear_schedule(50), cosine_schedule(50), Schedule(np.array([0.1, 0.5, 0.2, 0.9]))]


class GaussianNoise(nn.Module):
    """The best guess of the noise when the data is N(0, deviation^2): E[noise | x_t] is linear in x_t."""

    def __init__(self, schedule, deviation, v=None):
        self.schedule, self.deviation, self.v = schedule, deviation, v

    def forward(self, x, t):
        a = self.schedule.alpha_bar[t].astype("float32").reshape(-1, *(1,) * (x.ndim - 1))
        guess = x * Tensor(np.sqrt(1 - a) / (a * self.deviation ** 2 + 1 - a))
        return guess if self.v is None else tg.concatenate([guess, 0 * guess + Tensor(self.v(t))], axis=1)


# ---------------------------------------------------------------- the way there

@pytest.mark.parametrize("schedule", SCHEDULES)
def test_closed_form_is_the_chain_of_steps(schedule):
    mean, variance = 1.0, 0.0
    for t in range(1, schedule.T + 1):
        mean, variance = math.sqrt(1 - schedule.beta[t]) * mean, (1 - schedule.beta[t]) * variance + schedule.beta[t]
        assert mean == pytest.approx(math.sqrt(schedule.alpha_bar[t]), abs=1e-12)
        assert variance == pytest.approx(1 - schedule.alpha_bar[t], abs=1e-12)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_posterior_is_bayes_rule(schedule):
    """q(x_s | x_t, x_0) from the product of the densities q(x_s | x_0) q(x_t | x_s): precisions add."""
    x0, x = 0.7, -0.4
    for t, s in [(2, 1), (schedule.T, schedule.T // 2), (schedule.T, schedule.T - 1)]:
        a_s, share = schedule.alpha_bar[s], schedule.alpha_bar[t] / schedule.alpha_bar[s]
        precision = 1 / (1 - a_s) + share / (1 - share)
        mean = (math.sqrt(a_s) * x0 / (1 - a_s) + math.sqrt(share) * x / (1 - share)) / precision
        a, b = schedule.posterior_weights(t, s)
        assert schedule.posterior_variance(t, s) == pytest.approx(1 / precision, rel=1e-9)
        assert a * x0 + b * x == pytest.approx(mean, rel=1e-9)


@pytest.mark.parametrize("make", [linear_schedule, cosine_schedule])
def test_schedules_destroy_everything_and_never_turn_back(make):
    schedule = make(100)
    assert np.all(np.diff(schedule.alpha_bar) < 0)
    assert schedule.alpha_bar[0] == 1 and schedule.alpha_bar[-1] < 1e-4
    assert np.all(np.diff(schedule.log_snr()) < 0)


def test_cosine_schedule_is_its_formula():
    schedule, f = cosine_schedule(200), lambda u: math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2
    for t in (1, 50, 100, 150):
        assert schedule.alpha_bar[t] == pytest.approx(f(t / 200) / f(0), rel=1e-10)


def test_q_sample_has_the_promised_mean_and_variance():
    tg.manual_seed(0)
    schedule = linear_schedule(50)
    model = DDPM(None, schedule, (1,))
    n, t = 200_000, 20
    draws = model.q_sample(tg.full((n, 1), 2.0), np.full(n, t), tg.randn(n, 1)).numpy()
    assert draws.mean() == pytest.approx(2 * math.sqrt(schedule.alpha_bar[t]), abs=0.01)
    assert draws.var() == pytest.approx(1 - schedule.alpha_bar[t], rel=0.02)


# ---------------------------------------------------------------- the bound

def test_bound_is_the_entropy_where_the_model_is_perfect():
    """For data N(0, 1), q(x_{t-1} | x_t) is a Gaussian with variance beta_t: no bound can be tighter than ln sqrt(2 pi e)."""
    tg.manual_seed(1)
    schedule = linear_schedule(30)
    x0 = tg.randn(20_000, 1)
    entropy = 0.5 * math.log(2 * math.pi * math.e)
    tight = DDPM(GaussianNoise(schedule, 1.0), schedule, (1,), "large").bound(x0).sum()
    loose = DDPM(GaussianNoise(schedule, 1.0), schedule, (1,), "small").bound(x0).sum()
    assert tight == pytest.approx(entropy, abs=0.03)
    assert loose > tight + 0.1


def test_learned_variance_moves_between_small_and_large():
    schedule = cosine_schedule(20)
    t, s, v = np.array([1, 2, 10, 20]), np.array([0, 1, 9, 19]), tg.ones(4, 1)
    model = DDPM(None, schedule, (1,), "learned")
    large = DDPM(None, schedule, (1,), "large").log_variance(None, t, s).numpy()
    small = DDPM(None, schedule, (1,), "small").log_variance(None, t, s).numpy()
    np.testing.assert_allclose(model.log_variance(v, t, s).numpy(), large, rtol=1e-6)
    np.testing.assert_allclose(model.log_variance(-v, t, s).numpy(), small, rtol=1e-6)
    assert (small <= large + 1e-6).all()


def test_decoder_of_discrete_data_sums_to_one():
    model = DDPM(None, cosine_schedule(10), (1,), levels=17)
    values = Tensor(np.linspace(-1, 1, 17, dtype=np.float32).reshape(17, 1))
    for mean, log_variance in [(0.0, -4.0), (0.9, -2.0), (-1.3, 0.0)]:
        cost = model._decoder_cost(values, tg.full((17, 1), mean), tg.full((17, 1), log_variance)).numpy()
        assert np.exp(-cost).sum() == pytest.approx(1, abs=1e-5)


def test_hybrid_loss_leaves_the_mean_to_the_simple_loss():
    """The gradient of the bound must reach the variance channel only."""
    class Two(nn.Module):
        def __init__(self):
            self.noise, self.v = nn.Parameter(np.full((1, 1), 0.3, np.float32)), nn.Parameter(np.zeros((1, 1), np.float32))
        def forward(self, x, t):
            return tg.concatenate([0 * x + self.noise, 0 * x + self.v], axis=1)

    model, gradients = DDPM(Two(), cosine_schedule(20), (1,), "learned"), []
    for weight in (0.0, 1.0):
        tg.manual_seed(2)
        model.zero_grad()
        model.loss(Tensor(np.ones((64, 1), np.float32)), hybrid=weight).backward()
        gradients.append((model.network.noise.grad.item(), model.network.v.grad.item()))
    assert gradients[0][0] == pytest.approx(gradients[1][0], rel=1e-6) and gradients[0][0] != 0
    assert gradients[0][1] == 0 and abs(gradients[1][1]) > 1e-3


# ---------------------------------------------------------------- the way back

def test_x0_from_noise_undoes_q_sample():
    tg.manual_seed(0)
    model, t = DDPM(None, cosine_schedule(50), (2, 3, 3)), np.array([1, 10, 25, 40])
    x0, noise = tg.randn(4, 2, 3, 3), tg.randn(4, 2, 3, 3)
    back = model.x0_from_noise(model.q_sample(x0, t, noise), t, noise)
    np.testing.assert_allclose(back.numpy(), x0.numpy(), atol=1e-4)


@pytest.mark.parametrize("t, s", [(20, 19), (20, 10), (2, 1), (5, 0)])
def test_ddim_with_eta_1_is_a_ddpm_step(t, s):
    tg.manual_seed(0)
    schedule = linear_schedule(30)
    model = DDPM(GaussianNoise(schedule, 0.5), schedule, (2,), "small")
    x, noise = tg.randn(10, 2), tg.randn(10, 2)
    np.testing.assert_allclose(model.ddim_step(x, t, s, 1.0, noise).numpy(), model.p_sample(x, t, s, noise).numpy(), atol=2e-6)


def test_samplers_reach_the_data_when_the_network_is_perfect():
    tg.manual_seed(0)
    schedule = cosine_schedule(100)
    model = DDPM(GaussianNoise(schedule, 0.5), schedule, (1,), "large")
    assert model.sample(20_000).numpy().std() == pytest.approx(0.5, rel=0.05)
    assert model.ddim_sample(tg.randn(20_000, 1), 100).numpy().std() == pytest.approx(0.5, rel=0.05)


def test_ddim_is_a_function_of_its_noise():
    tg.manual_seed(0)
    model = DDPM(PointDenoiser(), cosine_schedule(50), (2,))
    x = tg.randn(7, 2)
    assert np.array_equal(model.ddim_sample(x, 10).numpy(), model.ddim_sample(x, 10).numpy())
    assert not np.array_equal(model.ddim_sample(x, 10, eta=1.0).numpy(), model.ddim_sample(x, 10, eta=1.0).numpy())


def test_times_go_down_from_T_to_0():
    model = DDPM(None, cosine_schedule(50), (2,))
    for steps in (1, 7, 50, None):
        pairs = model.times(steps)
        assert len(pairs) == (steps or 50) and pairs[0][0] == 50 and pairs[-1][1] == 0
        assert all(t > s for t, s in pairs) and all(a[1] == b[0] for a, b in zip(pairs, pairs[1:]))


def test_guesses_are_cut_to_the_limit():
    model = DDPM(None, cosine_schedule(50), (1,), limit=1)
    assert abs(model.x0_from_noise(tg.full((3, 1), 5.0), np.array([1, 20, 49]), tg.zeros(3, 1)).numpy()).max() == 1


def test_betas_outside_0_to_1_are_refused():
    with pytest.raises(ValueError, match="expected 0 < beta < 1"):
        linear_schedule(20)


def test_an_unknown_variance_is_named():
    with pytest.raises(ValueError, match="got variance 'medium'"):
        DDPM(None, cosine_schedule(10), (1,), "medium")


# ---------------------------------------------------------------- the network

def test_sinusoidal_is_sines_and_cosines():
    rows = sinusoidal(np.array([0, 3]), 4).numpy()
    np.testing.assert_allclose(rows[0], [0, 0, 1, 1], atol=1e-7)
    np.testing.assert_allclose(rows[1], [math.sin(3), math.sin(0.003), math.cos(3), math.cos(0.003)], atol=1e-6)


@pytest.mark.parametrize("widths", [(8,), (8, 16), (8, 12, 16)])
@pytest.mark.parametrize("skips", [True, False])
def test_unet_keeps_the_size_and_every_parameter_learns(widths, skips):
    tg.manual_seed(0)
    network = UNet(channels=2, out_channels=4, widths=widths, skips=skips)
    y = network(tg.randn(3, 2, 8, 8), np.array([1, 5, 9]))
    assert y.shape == (3, 4, 8, 8)
    (y * tg.randn(*y.shape)).sum().backward()
    assert all(np.abs(p.grad.numpy()).max() > 0 for p in network.parameters())


def test_unet_knows_the_time_unless_told_not_to():
    tg.manual_seed(0)
    x = tg.randn(2, 1, 8, 8)
    for time in (True, False):
        network = UNet(widths=(8, 16), time=time)
        early, late = (network(x, np.array([t, t])).detach().numpy() for t in (1, 90))
        assert np.array_equal(early, late) is not time


def test_point_denoiser_knows_the_time_unless_told_not_to():
    tg.manual_seed(0)
    x = tg.randn(5, 2)
    for time in (True, False):
        network = PointDenoiser(time=time)
        early, late = (network(x, np.full(5, t)).detach().numpy() for t in (1, 90))
        assert np.array_equal(early, late) is not time


def test_only_the_skips_lead_around_the_smallest_picture():
    tg.manual_seed(0)
    for skips in (True, False):
        network, x = UNet(widths=(8, 16), skips=skips), tg.randn(1, 1, 8, 8, requires_grad=True)
        network.middle = lambda h, time: 0 * h                          # nothing comes through the middle
        network(x, np.array([3])).sum().backward()
        assert bool(x.grad.numpy().any()) is skips


def test_a_learned_variance_network_trains():
    tg.manual_seed(0)
    model = DDPM(PointDenoiser(out_features=4, width=32), cosine_schedule(50), (2,), "learned")
    optimizer, x0, losses = tg.optim.Adam(model.parameters(), lr=3e-3), tg.randn(256, 2) * 0.1 + 1, []
    for _ in range(60):
        loss = model.loss(x0)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert np.mean(losses[-10:]) < 0.7 * np.mean(losses[:5])


def train_and_draw():
    tg.manual_seed(3)
    model = DDPM(UNet(out_channels=2, widths=(8, 8)), cosine_schedule(8), (1, 4, 4), "learned", limit=1, levels=17)
    optimizer = tg.optim.Adam(model.parameters())
    loss = model.loss(tg.randn(4, 1, 4, 4))
    loss.backward()
    optimizer.step()
    drawn = model.sample(2), model.ddim_sample(tg.randn(2, 1, 4, 4), 4, eta=0.5)
    return [loss.detach().numpy(), model.bound(tg.randn(4, 1, 4, 4)), *(x.numpy() for x in drawn)]


def test_runs_on_a_device_as_on_the_host():
    assert_same_on_a_device(train_and_draw, rtol=1e-5, atol=1e-6)
