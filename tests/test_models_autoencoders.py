"""PCA and the autoencoder: laws in closed form."""
import math

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, manual_seed, nn, optim
from tinygrad_edu.models.generative.autoencoder import Autoencoder
from tinygrad_edu.models.generative.pca import PCA


def skewed(n=200, D=6, seed=0):
    """Points (n, D), float64, of a Gaussian with different spreads in rotated directions and a mean that is not 0."""
    rng = np.random.default_rng(seed)
    scales = 3.0 * 0.6 ** np.arange(D)
    rotation, mean = np.linalg.qr(rng.standard_normal((D, D)))[0], rng.standard_normal(D)
    return (rng.standard_normal((n, D)) * scales) @ rotation + mean


# ---------------------------------------------------------------- PCA

@pytest.mark.parametrize("k", [1, 3, 6])
def test_pca_is_the_singular_value_decomposition(k):
    x = skewed()
    pca = PCA(k).fit(x)
    _, singular, directions = np.linalg.svd(x - x.mean(axis=0), full_matrices=False)
    V, W = pca.components.numpy(), directions[:k]
    np.testing.assert_allclose(V @ V.T, np.eye(k), atol=1e-12)
    np.testing.assert_allclose(V.T @ V, W.T @ W, atol=1e-10)
    np.testing.assert_allclose(pca.eigenvalues.numpy(), singular ** 2 / len(x), rtol=1e-10)


@pytest.mark.parametrize("k", [1, 3, 6])
def test_pca_misses_exactly_the_discarded_eigenvalues(k):
    x = skewed()
    pca = PCA(k).fit(x)
    missed = ((pca.decode(pca.encode(x)).numpy() - x) ** 2).sum(axis=1).mean()
    assert missed == pytest.approx(pca.eigenvalues.numpy()[k:].sum(), abs=1e-12)
    assert pca.explained_variance() == pytest.approx(1 - missed / x.var(axis=0).sum())


def test_pca_no_other_plane_is_closer():
    x, rng = skewed(), np.random.default_rng(1)
    pca = PCA(2).fit(x)
    centered = x - x.mean(axis=0)
    best = ((centered - centered @ pca.components.numpy().T @ pca.components.numpy()) ** 2).sum()
    for size in (0.01, 0.1, 1.0):
        Q = np.linalg.qr(pca.components.numpy().T + size * rng.standard_normal((6, 2)))[0]
        assert ((centered - centered @ Q @ Q.T) ** 2).sum() > best


def test_pca_codes_are_uncorrelated_and_a_code_survives_the_round_trip():
    x = skewed()
    pca = PCA(3).fit(x)
    z = pca.encode(x).numpy()
    np.testing.assert_allclose(z.T @ z / len(x), np.diag(pca.eigenvalues.numpy()[:3]), atol=1e-10)
    np.testing.assert_allclose(pca.encode(pca.decode(z)).numpy(), z, atol=1e-12)


def test_pca_log_prob_is_the_gaussian_it_says_and_draws_come_from_it():
    x = skewed()
    pca = PCA(2).fit(x)
    V, kept, sigma2 = pca.components.numpy(), pca.eigenvalues.numpy()[:2], pca.noise_variance
    W = V.T * np.sqrt(kept - sigma2)                                        # Tipping & Bishop, equation 7
    covariance = W @ W.T + sigma2 * np.eye(6)
    centered = x - x.mean(axis=0)
    quadratic = np.einsum("ni,ij,nj->n", centered, np.linalg.inv(covariance), centered)
    expected = -0.5 * (quadratic + np.linalg.slogdet(covariance)[1] + 6 * math.log(2 * math.pi))
    np.testing.assert_allclose(pca.log_prob(x).numpy(), expected, rtol=1e-9)

    manual_seed(0)
    n = 40_000
    drawn = pca.sample(n, noise=True).numpy()
    error = np.sqrt((covariance ** 2 + np.outer(np.diag(covariance), np.diag(covariance))) / n)     # 1 SE
    assert (np.abs(np.cov(drawn.T, bias=True) - covariance) < 5 * error).all()
    np.testing.assert_allclose(drawn.mean(axis=0), x.mean(axis=0), atol=5 * math.sqrt(covariance.max() / n))


def test_pca_draws_without_noise_lie_in_the_plane():
    pca = PCA(2).fit(skewed())
    drawn = pca.sample(100)
    np.testing.assert_allclose(pca.decode(pca.encode(drawn)).numpy(), drawn.numpy(), atol=1e-12)
    assert np.ptp(pca.encode(drawn).numpy(), axis=0).min() > 1


def test_pca_with_all_directions_is_the_full_covariance():
    x = skewed()
    pca = PCA(6).fit(x)
    V = pca.components.numpy()
    np.testing.assert_allclose((V.T * pca.eigenvalues.numpy()) @ V, np.cov(x.T, bias=True), atol=1e-12)
    assert pca.noise_variance == 0 and pca.explained_variance() == 1
    with pytest.raises(ValueError, match="smaller k"):
        pca.log_prob(x)


def test_pca_refuses_what_it_cannot_fit():
    for k, x in ((7, skewed()), (0, skewed()), (1, np.zeros(3)), (1, np.zeros((0, 3)))):
        with pytest.raises(ValueError, match="expected"):
            PCA(k).fit(x)


def test_pca_keeps_float32_and_passes_gradients():
    x = Tensor(skewed().astype("float32"), requires_grad=True)
    pca = PCA(2).fit(x)
    assert not pca.mean.requires_grad
    shadow = pca.decode(pca.encode(x))
    assert shadow.dtype == pca.log_prob(x).dtype == pca.sample(3, noise=True).dtype == np.float32

    v = np.random.default_rng(2).standard_normal(x.shape).astype("float32")
    (shadow * Tensor(v)).sum().backward()
    V = pca.components.numpy()
    np.testing.assert_allclose(x.grad.numpy(), v @ V.T @ V, atol=1e-5)      # a projection is its own adjoint


def test_pca_equals_scikit_learn():
    reference = pytest.importorskip("sklearn.decomposition").PCA(3, svd_solver="full")
    x = skewed()
    pca = PCA(3).fit(x)
    projected = reference.fit(x).inverse_transform(reference.transform(x))
    np.testing.assert_allclose(pca.decode(pca.encode(x)).numpy(), projected, atol=1e-10)
    assert pca.explained_variance() == pytest.approx(reference.explained_variance_ratio_.sum(), abs=1e-10)


# ---------------------------------------------------------------- autoencoder

def test_autoencoder_mirrors_its_layers():
    model = Autoencoder(features=7, hidden=(6, 5), latent=2)
    shapes = [p.shape for name, p in model.named_parameters() if name.endswith("weight")]
    assert shapes == [(6, 7), (5, 6), (2, 5), (5, 2), (6, 5), (7, 6)]
    x = tg.randn(3, 7)
    assert model.encode(x).shape == (3, 2) and model(x).shape == (3, 7)
    np.testing.assert_array_equal(model(x).detach().numpy(), model.decode(model.encode(x)).detach().numpy())


def test_autoencoder_loss_is_the_squared_error_per_number():
    model, x = Autoencoder(features=7, hidden=(6,), latent=2), tg.randn(3, 7)
    expected = ((model(x).detach().numpy() - x.numpy()) ** 2).mean()
    assert model.reconstruction_loss(x).item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("hidden, activation", [((), nn.ReLU), ((5,), nn.Identity)])
def test_autoencoder_without_bends_is_affine(hidden, activation):
    model = Autoencoder(features=7, hidden=hidden, latent=2, activation=activation)
    a, b = tg.randn(4, 7), tg.randn(4, 7)
    middle = model((a + b) * 0.5).detach().numpy()
    np.testing.assert_allclose(middle, 0.5 * (model(a) + model(b)).detach().numpy(), atol=1e-5)


def test_autoencoder_passes_nothing_around_its_code():
    manual_seed(0)
    model, x = Autoencoder(features=7, hidden=(16,), latent=2, activation=nn.Tanh), tg.randn(1, 7)
    x.requires_grad_()
    y = model(x)
    J = np.concatenate([tg.grad(y[0, i], [x], retain_graph=True)[0].numpy() for i in range(7)])      # (7, 7)
    assert np.linalg.matrix_rank(J, tol=1e-5) == 2


def test_linear_autoencoder_descends_to_pca():
    manual_seed(0)
    x = skewed()
    pca, centered = PCA(2).fit(x), Tensor((x - x.mean(axis=0)).astype("float32"))
    model = Autoencoder(features=6, hidden=(), latent=2)
    optimizer = optim.SGD(model.parameters(), lr=0.02, momentum=0.9)
    for _ in range(500):
        loss = model.reconstruction_loss(centered) * 6
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    V = pca.components.numpy()
    Q = np.linalg.qr(model.decoder.layers[0].weight.detach().numpy())[0]
    assert np.linalg.norm(Q - V.T @ (V @ Q), ord=2) < 1e-3                  # sine of the largest principal angle
    assert loss.item() == pytest.approx(pca.eigenvalues.numpy()[2:].sum(), rel=1e-4)
