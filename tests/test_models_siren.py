"""SIREN: its sines keep their size at any depth, and the slopes and curvatures of a network are the right ones."""
import math

import numpy as np
import pytest

from tinygrad_edu import Tensor, no_grad, ops
from tinygrad_edu.models.foundations.mlp import MLP
from tinygrad_edu.models.implicit.siren import Siren, gradient, laplacian
from tinygrad_edu.testing import gradcheck


def test_sines_have_the_derived_deviation():
    v = 0.5
    for _ in range(60):
        v = 1 - math.exp(-2 * v)                                    # the fixed point that the docstring derives
    assert v == pytest.approx(0.797, abs=1e-3) and math.sqrt(v / 2) == pytest.approx(0.631, abs=1e-3)
    places = Tensor(np.random.default_rng(0).uniform(-1, 1, (2000, 2)).astype("float32"))
    with no_grad():
        sines = Siren(width=256, depth=6).sines(places)
    assert [s.numpy().std() for s in sines[1:]] == pytest.approx([math.sqrt(v / 2)] * 5, abs=0.03)


def test_starting_weights_are_in_their_bounds():
    model = Siren(3, width=20, depth=2, omega=10.0)
    first, second, last = *model.layers, model.last
    assert abs(first.weight.detach().numpy()).max() <= 1 / 3 and abs(first.bias.detach().numpy()).max() <= math.pi / 10
    for layer in (second, last):
        assert 0.8 * math.sqrt(6 / 20) / 10 < abs(layer.weight.detach().numpy()).max() <= math.sqrt(6 / 20) / 10
        assert not layer.bias.detach().numpy().any()


def test_slope_and_curvature_of_known_functions():
    x = Tensor(np.random.default_rng(0).uniform(-1, 1, (7, 2)), requires_grad=True)
    y = ops.sin(3 * x[:, :1]) * x[:, 1:] ** 2                       # (7, 1)
    g = gradient(y, x)
    a, b = x.detach().numpy().T
    assert np.allclose(g.detach().numpy(), np.stack([3 * np.cos(3 * a) * b ** 2, 2 * np.sin(3 * a) * b], axis=1))
    assert np.allclose(laplacian(g, x).detach().numpy(), np.sin(3 * a) * (2 - 9 * b ** 2))
    y = x[:, :1] * 2                                                # straight: no curvature
    assert not laplacian(gradient(y, x), x).detach().numpy().any()


def test_relu_network_has_no_curvature():
    x = Tensor(np.random.default_rng(0).uniform(-1, 1, (9, 2)).astype("float32"), requires_grad=True)
    g = gradient(MLP(2, 8, 8, 1)(x), x)
    assert g.detach().numpy().any() and not laplacian(g, x).detach().numpy().any()


def test_loss_on_gradients_has_gradients_of_its_own():
    """What Poisson reconstruction trains: the weights' gradient of a loss on the slope."""
    model, x = Siren(width=4, depth=2, omega=3.0).double(), np.random.default_rng(0).uniform(-1, 1, (5, 2))

    def slope_loss(weight, bias):
        model.layers[1].weight, model.layers[1].bias = weight, bias
        places = Tensor(x, requires_grad=True)
        return (gradient(model(places), places) ** 2).sum()

    gradcheck(slope_loss, model.layers[1].weight.detach().numpy(), model.layers[1].bias.detach().numpy() + 0.1)
