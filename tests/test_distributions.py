"""Distributions: densities equal PyTorch's, samples have the moments, KL equals its Monte-Carlo estimate."""
import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, distributions as D
from tinygrad_edu.testing import gradcheck

RNG = np.random.default_rng(0)
LOC, SCALE, LOGITS = RNG.standard_normal((3, 4)), RNG.uniform(0.5, 2, (3, 4)), RNG.standard_normal((3, 4))
OTHER_LOC, OTHER_SCALE, OTHER_LOGITS = RNG.standard_normal((3, 4)), RNG.uniform(0.5, 2, (3, 4)), RNG.standard_normal((3, 4))


def pairs():
    torch = pytest.importorskip("torch")
    T, TD = torch.tensor, torch.distributions
    return [
        (D.Normal(Tensor(LOC), Tensor(SCALE)), TD.Normal(T(LOC), T(SCALE)), RNG.standard_normal((3, 4))),
        (D.Bernoulli(Tensor(LOGITS)), TD.Bernoulli(logits=T(LOGITS)), (RNG.random((3, 4)) < 0.5).astype(float)),
        (D.Categorical(Tensor(LOGITS)), TD.Categorical(logits=T(LOGITS)), RNG.integers(0, 4, 3)),
    ]


def test_log_prob_and_entropy_equal_pytorch():
    torch = pytest.importorskip("torch")
    for ours, theirs, x in pairs():
        np.testing.assert_allclose(ours.log_prob(Tensor(x)).data, theirs.log_prob(torch.tensor(x)).numpy(), rtol=1e-12, atol=1e-12)
        np.testing.assert_allclose(ours.entropy().data, theirs.entropy().numpy(), rtol=1e-12, atol=1e-12)


def test_kl_equals_pytorch_and_is_zero_on_itself():
    torch = pytest.importorskip("torch")
    others = [(D.Normal(Tensor(OTHER_LOC), Tensor(OTHER_SCALE)), (OTHER_LOC, OTHER_SCALE)), (D.Bernoulli(Tensor(OTHER_LOGITS)), (OTHER_LOGITS,)),
              (D.Categorical(Tensor(OTHER_LOGITS)), (OTHER_LOGITS,))]
    for (p, theirs, _), (q, parameters) in zip(pairs(), others):
        tensors = [torch.tensor(v) for v in parameters]
        their_q = type(theirs)(*tensors) if len(tensors) == 2 else type(theirs)(logits=tensors[0])
        np.testing.assert_allclose(D.kl_divergence(p, q).data, torch.distributions.kl_divergence(theirs, their_q).numpy(), rtol=1e-10, atol=1e-12)
        assert (D.kl_divergence(p, q).data >= 0).all() and abs(D.kl_divergence(p, p).data).max() < 1e-12
    with pytest.raises(TypeError, match="Normal and Bernoulli"):
        D.kl_divergence(pairs()[0][0], others[1][0])


def test_sample_moments_are_within_five_standard_errors():
    tg.manual_seed(1)
    n = 40_000
    normal = D.Normal(tg.full((n,), 2.0), tg.full((n,), 3.0)).sample().data
    assert abs(normal.mean() - 2) < 5 * 3 / n ** 0.5 and abs(normal.std() - 3) < 5 * 3 / (2 * n) ** 0.5
    coin = D.Bernoulli(tg.full((n,), -1.0)).sample().data
    p = 1 / (1 + np.e)
    assert set(np.unique(coin)) == {0.0, 1.0} and abs(coin.mean() - p) < 5 * (p * (1 - p) / n) ** 0.5
    faces = D.Categorical(Tensor(np.log([[0.1, 0.2, 0.7]]).repeat(n, axis=0))).sample().data
    for k, q in enumerate((0.1, 0.2, 0.7)):
        assert abs((faces == k).mean() - q) < 5 * (q * (1 - q) / n) ** 0.5


def test_rsample_is_differentiable_and_sample_is_not():
    loc, scale = Tensor(LOC, requires_grad=True), Tensor(SCALE, requires_grad=True)

    def draw(loc, scale):
        tg.manual_seed(3)
        return D.Normal(loc, scale).rsample()

    gradcheck(draw, LOC, SCALE)
    assert not D.Normal(loc, scale).sample().requires_grad
