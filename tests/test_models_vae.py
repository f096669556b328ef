"""The VAE: its terms in closed form, its bound against exact likelihoods, its gradient through the draw."""
import itertools

import numpy as np
import pytest

from tinygrad_edu import Tensor, manual_seed, no_grad
from tinygrad_edu.distributions import Bernoulli
from tinygrad_edu.models.generative.vae import VAE

rng = np.random.default_rng(0)
x = (rng.random((6, 12)) < 0.4).astype("float32")


@pytest.fixture(autouse=True)
def seed():
    manual_seed(0)


def small(latent=2):
    model = VAE(features=12, hidden=(16,), latent=latent)
    for p in model.parameters():
        p.data *= 2                                             # far enough from zero for something to happen
    return model


def blind_decoder(model):
    """Make p(x|z) the same for every z, and return the probabilities of its pixels (12,)."""
    model.decoder.layers[-1].weight.data[...] = 0
    return Bernoulli(model.decoder.layers[-1].bias.detach()).probs.numpy()


def log_likelihood(probabilities):
    return np.log(np.where(x == 1, probabilities, 1 - probabilities)).sum(axis=1)               # (6,)


def exact_log_likelihood(model):
    """ln p(x) by summing over a fine grid of the plane of z."""
    axis = np.linspace(-6, 6, 241)
    z = np.array(list(itertools.product(axis, axis)), "float32")                                # (G, 2)
    logits = model.decode(Tensor(z)).detach().numpy().astype("float64")                         # (G, 12)
    log_p = -np.logaddexp(0, -logits) @ x.T - np.logaddexp(0, logits) @ (1 - x).T               # (G, 6)
    weight = -0.5 * (z.astype("float64") ** 2).sum(axis=1) - np.log(2 * np.pi) + 2 * np.log(axis[1] - axis[0])
    return np.logaddexp.reduce(log_p + weight[:, None], axis=0)


def test_shapes_and_names():
    model = VAE(features=12, hidden=(16, 8), latent=3)
    q = model.encode(Tensor(x))
    assert q.loc.shape == q.scale.shape == (6, 3) and (q.scale.detach().numpy() > 0).all()
    assert model.decode(q.loc).shape == (6, 12)
    assert model.log_weights(Tensor(x), 5).shape == (5, 6) and model.log_likelihood_bound(Tensor(x), 5).shape == (6,)
    assert [p.shape for p in model.decoder.parameters()][::2] == [(8, 3), (16, 8), (12, 16)]


def test_the_kl_is_the_closed_form():
    model = small()
    q = model.encode(Tensor(x))
    loc, scale = q.loc.detach().numpy(), q.scale.detach().numpy()
    expected = 0.5 * (loc ** 2 + scale ** 2 - 1 - np.log(scale ** 2)).sum(axis=1).mean()
    assert model.loss_terms(Tensor(x))[1].item() == pytest.approx(expected, rel=1e-5)


def test_elbo_is_minus_the_sum_of_the_terms():
    model = small()
    manual_seed(5)
    elbo = model.elbo(Tensor(x)).item()
    manual_seed(5)
    terms = model.loss_terms(Tensor(x))
    assert elbo == pytest.approx(-(terms[0] + terms[1]).item(), rel=1e-6)


def test_elbo_is_the_likelihood_minus_kl_if_the_decoder_ignores_z():
    model = small()
    log_p = log_likelihood(blind_decoder(model))
    reconstruction, kl = model.loss_terms(Tensor(x))
    assert reconstruction.item() == pytest.approx(-log_p.mean(), rel=1e-5)
    assert kl.item() > 0.1 and model.elbo(Tensor(x)).item() == pytest.approx(log_p.mean() - kl.item(), rel=1e-5)


def test_every_weight_is_the_likelihood_if_q_is_the_posterior():
    """With a decoder that ignores z the posterior is the prior; an encoder that answers with it loses nothing."""
    model = small()
    log_p = log_likelihood(blind_decoder(model))
    model.encoder.layers[-1].weight.data[...] = 0
    model.encoder.layers[-1].bias.data[...] = 0                 # loc 0, ln scale^2 0
    assert np.allclose(model.log_weights(Tensor(x), 4).detach().numpy(), log_p, atol=1e-4)
    assert np.allclose(model.log_likelihood_bound(Tensor(x), 4).detach().numpy(), log_p, atol=1e-4)


def test_bounds_rise_with_k_to_the_exact_likelihood():
    model = small()
    log_p = exact_log_likelihood(model)
    with no_grad():
        ladder = {k: np.array([model.log_likelihood_bound(Tensor(x), k).numpy() for _ in range(200)])
                  for k in (1, 4, 16)}
        close = model.log_likelihood_bound(Tensor(x), 100_000).numpy()
    means = {k: draws.mean(axis=0) for k, draws in ladder.items()}
    error = {k: draws.std(axis=0) / 200 ** 0.5 for k, draws in ladder.items()}

    for low, high in ((1, 4), (4, 16)):
        assert (means[high] - means[low] > -3 * np.hypot(error[high], error[low])).all()
        assert means[high].sum() - means[low].sum() > 3 * np.hypot(error[high], error[low]).sum()
    assert (means[16] < log_p + 3 * error[16]).all()
    assert np.allclose(close, log_p, atol=0.02)


def test_the_first_bound_is_the_elbo():
    model = small()
    with no_grad():
        bounds = np.array([model.log_likelihood_bound(Tensor(x), 1).numpy().mean() for _ in range(2000)])
        elbos = np.array([model.elbo(Tensor(x)).item() for _ in range(2000)])
    assert abs(bounds.mean() - elbos.mean()) < 4 * np.hypot(bounds.std(), elbos.std()) / 2000 ** 0.5


def test_the_gradient_goes_through_the_draw():
    """The encoder's gradient of the reconstruction equals a difference quotient under the same noise."""
    model = small()
    bias = model.encoder.layers[-1].bias

    def reconstruction(shift):
        bias.data[0] += shift
        manual_seed(3)
        value = model.loss_terms(Tensor(x))[0]
        bias.data[0] -= shift
        return value

    value = reconstruction(0.0)
    value.backward()
    slope = (reconstruction(1e-2) - reconstruction(-1e-2)).item() / 2e-2
    assert abs(slope) > 1e-3 and bias.grad.numpy()[0] == pytest.approx(slope, rel=0.02)


def test_samples_are_bits_with_the_probabilities_of_the_decoder():
    model = small()
    probabilities = blind_decoder(model)
    bits, means = model.sample(4000).numpy(), model.sample(5, mean=True).numpy()
    assert bits.shape == (4000, 12) and set(np.unique(bits)) == {0, 1} and bits.dtype == np.float32
    assert np.allclose(means, probabilities, atol=1e-6) and abs(bits.mean(axis=0) - probabilities).max() < 0.04
    assert not model.sample(1).requires_grad


def test_a_bound_needs_a_draw():
    with pytest.raises(ValueError, match="got k = 0 draws, expected at least 1"):
        small().log_likelihood_bound(Tensor(x), 0)
