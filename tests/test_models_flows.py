"""Flows: each is a bijection, says the true ln |det| of its Jacobian, and its density sums to 1."""
import copy

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_edu import Tensor, manual_seed, no_grad
from tinygrad_edu.models.generative.flow import Flow, every_other
from tinygrad_edu.models.generative.glow import ActNorm, ConvCoupling, Glow, InvertibleConv, squeeze, unsqueeze
from tinygrad_edu.models.generative.nice import NICE, AdditiveCoupling, Scaling
from tinygrad_edu.models.generative.realnvp import AffineCoupling, RealNVP

BIJECTIONS = {
    "additive": (lambda: AdditiveCoupling(every_other(5, 0), (8,)), (5,)),
    "scaling": (lambda: Scaling(5), (5,)),
    "affine": (lambda: AffineCoupling(every_other(5, 1), (8,)), (5,)),
    "actnorm": (lambda: ActNorm(3), (3, 2, 3)),
    "1x1": (lambda: InvertibleConv(3), (3, 2, 3)),
    "conv coupling": (lambda: ConvCoupling(4, 6), (4, 2, 3)),
    "NICE": (lambda: NICE(5, 3, (8,)), (5,)),
    "RealNVP": (lambda: RealNVP(5, 3, (8,)), (5,)),
    "Glow": (lambda: Glow(1, 2, 1, 4), (1, 4, 4)),
    "Glow, colours": (lambda: Glow(3, 1, 2, 4), (3, 2, 4)),
}


def shaken(module, seed):
    """In float64, and away from the identity that many start as."""
    rng = np.random.default_rng(seed)
    for p in module.double().parameters():
        p.data += 0.2 * rng.standard_normal(p.shape)
    return module


@pytest.mark.parametrize("name", BIJECTIONS)
@given(seed=st.integers(0, 10_000))
def test_forwards_and_back_is_the_identity_and_log_det_is_true(name, seed):
    manual_seed(seed)
    make, shape = BIJECTIONS[name]
    module, x = shaken(make(), seed), np.random.default_rng(seed).standard_normal((2, *shape))
    with no_grad():
        z, log_det = module(Tensor(x))
        assert z.shape == x.shape
        np.testing.assert_allclose(module.inverse(z).numpy(), x, atol=1e-9)
        log_det = np.broadcast_to(log_det.numpy(), 2)
        for row in range(2):
            assert log_det[row] == pytest.approx(np.linalg.slogdet(numeric_jacobian(module, x[row]))[1], abs=1e-5)


def numeric_jacobian(module, x, h=1e-6):
    columns = []
    for i in range(x.size):
        step = np.zeros(x.size)
        step[i] = h
        there, back = (module(Tensor((x + sign * step.reshape(x.shape))[None]))[0].numpy().ravel() for sign in (1, -1))
        columns.append((there - back) / (2 * h))
    return np.stack(columns, axis=1)


def test_gradients_reach_every_parameter():
    for name in ("NICE", "RealNVP", "Glow"):
        make, shape = BIJECTIONS[name]
        flow = shaken(make(), 0)
        flow.log_prob(Tensor(np.random.default_rng(0).standard_normal((4, *shape)))).mean().backward()
        assert all(p.grad is not None and np.isfinite(p.grad.numpy()).all() for p in flow.parameters())


def test_couplings_of_nice_keep_the_volume():
    flow = shaken(NICE(4, 3), 1)
    _, log_det = flow(Tensor(np.ones((3, 4))))
    np.testing.assert_array_equal(log_det.detach().numpy(), [flow.layers[-1].log_scale.detach().numpy().sum()] * 3)
    assert not Flow(*flow.layers[:-1])(Tensor(np.ones((3, 4))))[1].numpy().any()


@pytest.mark.parametrize("name", ["NICE", "RealNVP"])
def test_the_density_of_the_plane_sums_to_one(name):
    flow = shaken({"NICE": NICE, "RealNVP": RealNVP}[name](2, 4, (8,)), 2)
    axis = np.linspace(-9, 9, 361)
    grid = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    with no_grad():
        assert np.exp(flow.log_prob(Tensor(grid)).numpy()).sum() * 0.05 ** 2 == pytest.approx(1, abs=1e-4)


def test_initialize_makes_mean_0_and_deviation_1_on_every_level():
    manual_seed(0)
    glow = Glow(1, 2, 2, 4)
    x = Tensor(np.random.default_rng(0).gamma(2.0, size=(300, 1, 8, 8)).astype("float32"))
    glow.initialize(x)
    inner = glow.layers[-1].flow
    with no_grad():
        h = squeeze(x)
        first = glow.layers[0](h)[0].numpy()
        for layer in glow.layers[:-1]:
            h, _ = layer(h)
        second = inner.layers[0](squeeze(Tensor(h.numpy()[:, :2])))[0].numpy()
    for y in (first, second):
        np.testing.assert_allclose(y.mean(axis=(0, 2, 3)), 0, atol=1e-4)
        np.testing.assert_allclose(y.std(axis=(0, 2, 3)), 1, atol=1e-4)


def test_squeeze_makes_channels_of_squares():
    x = np.arange(32.0).reshape(1, 2, 4, 4)
    y = squeeze(Tensor(x)).numpy()
    np.testing.assert_array_equal(y[0, :4, 0, 1], x[0, 0, :2, 2:].ravel())
    np.testing.assert_array_equal(unsqueeze(Tensor(y)).numpy(), x)
    with pytest.raises(ValueError, match="got a picture or level of 3 x 4"):
        squeeze(Tensor(np.zeros((1, 1, 3, 4))))


def test_samples_are_the_inverse_of_noise_and_colder_ones_lie_nearer():
    manual_seed(0)
    flow = shaken(RealNVP(2, 4), 0)
    manual_seed(1)
    x = flow.sample(500, (2,), temperature=0.5)
    manual_seed(1)
    with no_grad():
        z = flow(x)[0].numpy()
    assert x.shape == (500, 2) and not x.requires_grad and z.std() == pytest.approx(0.5, abs=0.05)


def test_a_mask_moves_the_other_half_only():
    layer = shaken(AffineCoupling(every_other(4, 0), (8,)), 0)
    x = Tensor(np.random.default_rng(0).standard_normal((3, 4)))
    with no_grad():
        z = layer(x)[0]
    np.testing.assert_array_equal(z.numpy()[:, ::2], x.numpy()[:, ::2])
    assert (z.numpy()[:, 1::2] != x.numpy()[:, 1::2]).all()
    assert "mask" in copy.deepcopy(layer).state_dict()
