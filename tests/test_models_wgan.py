"""The Wasserstein GAN: the penalty in closed form and through double backward, clipping, the bound on W1."""
import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F, optim
from tinygrad_edu.metrics import wasserstein_1d
from tinygrad_edu.models.generative.wgan import (Critic, Generator, clip_weights, gradient_lengths, gradient_penalty,
                                                 share_at_the_bound)
from tinygrad_edu.testing import gradcheck


def test_the_penalty_of_a_plane_is_known():
    """f(x) = w . x is equally steep everywhere: (|w| - 1)^2, with the derivative 2 (|w| - 1) w / |w|."""
    w = Tensor(np.array([3.0, 4.0]), requires_grad=True)
    real, fake = tg.randn(7, 2, dtype="float64"), tg.randn(7, 2, dtype="float64")
    np.testing.assert_allclose(gradient_lengths(lambda x: x @ w, real).detach().numpy(), 5, rtol=1e-12)
    penalty = gradient_penalty(lambda x: x @ w, real, fake)
    penalty.backward()
    np.testing.assert_allclose(penalty.item(), 16, rtol=1e-12)
    np.testing.assert_allclose(w.grad.data, [8 * 3 / 5, 8 * 4 / 5], rtol=1e-12)


def test_the_gradient_of_the_penalty_is_right():
    """Of |grad|^2 with a bend in it, against differences."""
    x = tg.randn(5, 2, dtype="float64")
    gradcheck(lambda w, v: gradient_lengths(lambda x: F.tanh(x @ w) @ v, x), np.random.default_rng(0).standard_normal((2, 4)),
              np.random.default_rng(1).standard_normal(4))


def test_points_are_between_real_and_fake():
    seen = []
    def critic(x):
        seen.append(x.detach().numpy())
        return (x * x).sum(axis=1)
    gradient_penalty(critic, tg.zeros(200, 2), tg.ones(200, 2))
    np.testing.assert_allclose(seen[0][:, 0], seen[0][:, 1])                   # on the diagonal from (0, 0) to (1, 1)
    assert 0 <= seen[0].min() < 0.1 and 0.9 < seen[0].max() <= 1 and abs(seen[0].mean() - 0.5) < 0.1
    with pytest.raises(ValueError, match=r"got real \(3, 2\) and fake \(4, 2\)"):
        gradient_penalty(critic, tg.zeros(3, 2), tg.zeros(4, 2))


def test_clipping():
    critic = Critic(hidden=(8,))
    clip_weights(critic, 0.01)
    assert max(abs(p.data).max() for p in critic.parameters()) == np.float32(0.01)
    assert 0.9 < share_at_the_bound(critic, 0.01) <= 1 and share_at_the_bound(critic, 0.1) == 0


def test_a_trained_critic_measures_w1():
    """Between two clouds on a line, 2 apart, a critic with a penalty finds W1 and no more."""
    tg.manual_seed(0)
    critic, rng = Critic(1, (32,)), np.random.default_rng(0)
    a, b = rng.standard_normal((2, 256)).astype("float32")
    b = 0.5 * b + 2
    optimizer, real, fake = optim.Adam(critic.parameters(), lr=5e-3), Tensor(a[:, None]), Tensor(b[:, None])
    for _ in range(200):
        loss = F.wasserstein_critic_loss(critic(real), critic(fake)) + 10 * gradient_penalty(critic, real, fake)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    estimate = -F.wasserstein_critic_loss(critic(real), critic(fake)).item()
    assert estimate == pytest.approx(wasserstein_1d(a, b), rel=0.15)


def test_shapes():
    assert Critic()(Generator(latent=3).sample(5)).shape == (5,)
