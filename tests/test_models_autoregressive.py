"""Autoregressive models: nothing sees itself or what comes later, and all probabilities add up to 1."""
import itertools

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_edu import Tensor, grad, manual_seed, no_grad
from tinygrad_edu.distributions import Bernoulli, DiscretizedLogisticMixture
from tinygrad_edu.models.generative.made import MADE
from tinygrad_edu.models.generative.pixelcnn import MaskedConv2d, PixelCNN, PlainPixelCNN, sample_pixels


def dependence(f, x):
    """|df/dx| (outputs, inputs) at x (1, ..)."""
    x = Tensor(x, requires_grad=True)
    y = f(x).flatten()
    rows = [grad(y[i], x, retain_graph=True, allow_unused=True)[0] for i in range(y.size)]
    return np.abs([np.zeros(x.size) if row is None else row.numpy().ravel() for row in rows])


@given(features=st.integers(1, 7), hidden=st.lists(st.integers(1, 9), max_size=2), seed=st.integers(0, 1000))
def test_made_is_strictly_triangular_in_its_order_and_sums_to_one(features, hidden, seed):
    manual_seed(seed)
    rng = np.random.default_rng(seed)
    order = rng.permutation(features)
    model = MADE(features, hidden, order).double()
    J = dependence(model, rng.standard_normal((1, features)))[order][:, order]
    assert not np.triu(J).any()

    states = np.array(list(itertools.product((0.0, 1.0), repeat=features)))
    with no_grad():
        assert np.exp(model.log_prob(Tensor(states)).numpy()).sum() == pytest.approx(1, abs=1e-10)


def test_every_earlier_input_is_seen_by_a_wide_made():
    manual_seed(0)
    model = MADE(6, (60, 60)).double()
    seen = sum(dependence(model, np.random.default_rng(i).standard_normal((1, 6))) for i in range(20))
    assert (seen[np.tril_indices(6, -1)] > 0).all()


def test_made_without_hidden_layers_is_a_logistic_regression_on_what_came_before():
    manual_seed(0)
    model = MADE(4, ()).double()
    layer, x = model.layers[0], np.array([[1.0, 0.0, 1.0, 1.0]])
    expected = [sum(layer.weight.data[d, k] * x[0, k] for k in range(d)) + layer.bias.data[d] for d in range(4)]
    np.testing.assert_allclose(model(Tensor(x)).detach().numpy()[0], expected, atol=1e-12)


def test_samples_have_the_probabilities_of_the_model():
    manual_seed(1)
    model = MADE(3, (8,), order=[2, 0, 1])
    for p in model.parameters():
        p.data *= 2
    draws = model.sample(20_000).numpy()
    assert set(np.unique(draws)) == {0.0, 1.0}
    states = np.array(list(itertools.product((0.0, 1.0), repeat=3)), "float32")
    with no_grad():
        expected = np.exp(model.log_prob(Tensor(states)).numpy())
    seen = np.bincount((draws @ [4, 2, 1]).astype(int), minlength=8) / len(draws)
    np.testing.assert_allclose(seen, expected, atol=4 * np.sqrt(0.25 / len(draws)))


@pytest.mark.parametrize("make, blind", [(lambda: PlainPixelCNN(6, 4), True), (lambda: PixelCNN(6, 4), False)])
def test_pixelcnn_sees_no_later_pixel_and_the_gated_one_all_before(make, blind):
    manual_seed(0)
    model = make().double()
    J = dependence(model, np.random.default_rng(0).random((1, 1, 5, 5)))
    assert not np.triu(J).any()
    missed = (J[np.tril_indices(25, -1)] == 0).sum()
    assert missed > 0 if blind else missed == 0


def test_a_masked_kernel_keeps_what_comes_before():
    mask = MaskedConv2d(1, 1, 3, itself=False).mask.numpy()
    np.testing.assert_array_equal(mask, [[1, 1, 1], [1, 0, 0], [0, 0, 0]])
    assert MaskedConv2d(1, 1, 3, itself=True).mask.numpy()[1, 1] == 1


def test_the_first_pixel_of_a_sample_has_the_models_probability():
    manual_seed(0)
    model = PixelCNN(6, 1)
    x = sample_pixels(model, lambda y: Bernoulli(y[:, 0]), 2000, 2, 3).numpy()
    with no_grad():
        p = Bernoulli(model(Tensor(np.zeros((1, 1, 2, 3), "float32")))[0, 0, 0, 0]).probs.item()
    assert x.shape == (2000, 1, 2, 3) and x[:, 0, 0, 0].mean() == pytest.approx(p, abs=0.04)


@given(levels=st.integers(2, 20), K=st.integers(1, 4), spread=st.floats(-3, 3), seed=st.integers(0, 1000))
def test_logistic_mixture_sums_to_one_and_equals_differences_of_sigmoids(levels, K, spread, seed):
    rng = np.random.default_rng(seed)
    logits, loc, log_scale = rng.standard_normal(K), rng.uniform(-2, levels + 2, K), rng.standard_normal(K) + spread
    every = np.arange(float(levels))
    mixture = DiscretizedLogisticMixture(*(Tensor(np.tile(v, (levels, 1))) for v in (logits, loc, log_scale)), levels)
    p = np.exp(mixture.log_prob(every).numpy())
    assert p.sum() == pytest.approx(1, abs=1e-10)

    F = lambda v: 1 / (1 + np.exp(-np.clip((v - loc) / np.exp(log_scale), -700, 700)))
    weight = np.exp(logits) / np.exp(logits).sum()
    naive = [(weight * ((F(l + 0.5) if l < levels - 1 else 1) - (F(l - 0.5) if l > 0 else 0))).sum() for l in range(levels)]
    np.testing.assert_allclose(p, naive, atol=1e-12)


def test_logistic_mixture_is_finite_far_from_its_bells_and_has_gradients():
    parameters = [Tensor(np.zeros((3, 2)), requires_grad=True), Tensor(np.full((3, 2), 300.0), requires_grad=True),
                  Tensor(np.full((3, 2), -2.0), requires_grad=True)]
    log_p = DiscretizedLogisticMixture(*parameters, 17).log_prob(np.array([0.0, 8.0, 16.0]))
    log_p.sum().backward()
    assert np.isfinite(log_p.detach().numpy()).all() and all(np.isfinite(t.grad.numpy()).all() for t in parameters)


def test_logistic_mixture_samples_have_its_probabilities():
    manual_seed(0)
    n, logits = 20_000, [[0.5, -0.5]]
    spread = lambda v: Tensor(np.repeat(np.array(v), n, axis=0))
    mixture = DiscretizedLogisticMixture(spread(logits), spread([[2.0, 12.0]]), spread([[0.3, 0.0]]), 17)
    draws = mixture.sample().numpy()
    few = DiscretizedLogisticMixture(*(Tensor(np.repeat(v, 17, axis=0)) for v in (logits, [[2.0, 12.0]], [[0.3, 0.0]])), 17)
    p = np.exp(few.log_prob(np.arange(17.0)).numpy())
    np.testing.assert_allclose(np.bincount(draws.astype(int), minlength=17) / n, p, atol=4 * np.sqrt(0.25 / n))
