"""Initializers: moments, bounds and structure, with PyTorch's formulas beside them."""
import math

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import nn
from tinygrad_edu.nn import init

SHAPE = (160, 40, 3, 3)
FAN_IN, FAN_OUT = 40 * 9, 160 * 9


def drawn(fill, *shape, **options):
    tg.manual_seed(0)
    parameter = nn.Parameter(tg.zeros(*shape))
    assert fill(parameter, **options) is parameter and parameter.dtype == np.float32
    return parameter.data.astype(float)


def moments(values):
    """Mean, standard deviation, kurtosis."""
    z = (values - values.mean()) / values.std()
    return values.mean(), values.std(), (z ** 4).mean()


@pytest.mark.parametrize("fill, options, std", [
    (init.normal_, dict(mean=0.0, std=0.3), 0.3),
    (init.xavier_normal_, dict(gain=2.0), 2 * math.sqrt(2 / (FAN_IN + FAN_OUT))),
    (init.kaiming_normal_, {}, math.sqrt(2 / FAN_IN)),
    (init.kaiming_normal_, dict(mode="fan_out", nonlinearity="relu"), math.sqrt(2 / FAN_OUT)),
    (init.kaiming_normal_, dict(a=0.5), math.sqrt(2 / 1.25 / FAN_IN)),
    (init.kaiming_normal_, dict(nonlinearity="tanh"), 5 / 3 / math.sqrt(FAN_IN)),
    (init.lecun_normal_, {}, 1 / math.sqrt(FAN_IN)),
])
def test_normal_ones(fill, options, std):
    mean, found, kurtosis = moments(drawn(fill, *SHAPE, **options))             # 57,600 numbers
    assert abs(mean) < 5 * std / math.sqrt(57600) and found == pytest.approx(std, rel=5 / math.sqrt(2 * 57600))
    assert kurtosis == pytest.approx(3, abs=5 * math.sqrt(24 / 57600))


@pytest.mark.parametrize("fill, options, bound", [
    (init.uniform_, dict(a=-0.3, b=0.3), 0.3),
    (init.xavier_uniform_, dict(gain=2.0), 2 * math.sqrt(6 / (FAN_IN + FAN_OUT))),
    (init.kaiming_uniform_, {}, math.sqrt(6 / FAN_IN)),
    (init.kaiming_uniform_, dict(a=math.sqrt(5)), math.sqrt(1 / FAN_IN)),       # the default of PyTorch's layers
    (init.kaiming_uniform_, dict(mode="fan_out", nonlinearity="selu"), math.sqrt(3) * 0.75 / math.sqrt(FAN_OUT)),
])
def test_uniform_ones(fill, options, bound):
    values = drawn(fill, *SHAPE, **options)
    assert bound * 0.999 < abs(values).max() <= bound * (1 + 1e-6)
    assert moments(values)[1] == pytest.approx(bound / math.sqrt(3), rel=0.02)


def test_bounds_and_spreads_equal_pytorchs():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    theirs = torch.empty(*SHAPE)
    for name, options in (("xavier_uniform_", dict(gain=0.7)), ("kaiming_uniform_", dict(a=0.3, mode="fan_out")),
                          ("xavier_normal_", {}), ("kaiming_normal_", dict(nonlinearity="relu")),
                          ("trunc_normal_", dict(mean=0.5, std=2.0, a=-1.0, b=1.0)), ("normal_", dict(mean=1.0, std=2.0))):
        getattr(torch.nn.init, name)(theirs, **options)
        ours, other = drawn(getattr(init, name), *SHAPE, **options), theirs.double().numpy()
        np.testing.assert_allclose([ours.mean(), ours.std()], [other.mean(), other.std()], rtol=0.02,
                                   atol=7 * ours.std() / math.sqrt(ours.size), err_msg=name)
        if "uniform" in name or "trunc" in name:
            np.testing.assert_allclose([ours.min(), ours.max()], [other.min(), other.max()], rtol=1e-3, err_msg=name)


@pytest.mark.parametrize("nonlinearity, param", [("linear", None), ("conv2d", None), ("sigmoid", None), ("tanh", None),
                                                 ("relu", None), ("leaky_relu", None), ("leaky_relu", 0.3), ("selu", None)])
def test_gains_are_pytorchs(nonlinearity, param):
    torch = pytest.importorskip("torch")
    assert init.calculate_gain(nonlinearity, param) == torch.nn.init.calculate_gain(nonlinearity, param)


def test_truncated_normal_keeps_its_bounds():
    values = drawn(init.trunc_normal_, 300, 300, std=1.0, a=-0.5, b=2.0)
    assert -0.5 <= values.min() < -0.49 and 1.95 < values.max() <= 2.0
    below_zero = (math.erf(0.5 / math.sqrt(2)) / 2) / ((math.erf(0.5 / math.sqrt(2)) + math.erf(2 / math.sqrt(2))) / 2)
    assert (values < 0).mean() == pytest.approx(below_zero, abs=0.01)


@pytest.mark.parametrize("shape", [(20, 30), (30, 20), (8, 4, 3, 3), (1, 5)])
def test_orthogonal_keeps_lengths(shape):
    w = drawn(init.orthogonal_, *shape, gain=3.0).reshape(shape[0], -1)
    product = w @ w.T if len(w) <= w.shape[1] else w.T @ w
    np.testing.assert_allclose(product, 9 * np.eye(len(product)), atol=1e-5)


def test_orthogonal_is_fair():
    """Of all orthogonal matrices alike: the mean of an entry is 0, also on the diagonal, which a QR alone makes negative."""
    tg.manual_seed(0)
    diagonal = [init.orthogonal_(nn.Parameter(tg.zeros(3, 3))).data.diagonal() for _ in range(600)]
    assert abs(np.mean(diagonal)) < 5 * math.sqrt(1 / 3 / 1800) and np.var(diagonal) == pytest.approx(1 / 3, abs=0.05)


def test_sparse():
    values = drawn(init.sparse_, 10, 200, sparsity=0.33, std=0.5)
    assert ((values == 0).sum(axis=0) == 4).all()                               # a third of 10, rounded up, in each column
    assert values[values != 0].std() == pytest.approx(0.5, rel=0.1)
    assert 3 < (values == 0).sum(axis=1).std() < 12                             # and not always in the same rows


def test_constants_identities_and_diracs():
    assert (drawn(init.zeros_, 2, 3) == 0).all() and (drawn(init.ones_, 2, 3) == 1).all()
    assert (drawn(init.constant_, 2, 3, value=0.5) == 0.5).all()
    np.testing.assert_array_equal(drawn(init.eye_, 2, 3), np.eye(2, 3))
    for conv, x in ((nn.Conv2d(3, 4, 3, padding=1, bias=False), tg.randn(2, 3, 5, 6)),
                    (nn.Conv1d(3, 2, 5, padding=2, bias=False), tg.randn(2, 3, 7))):
        init.dirac_(conv.weight)
        k = min(conv.weight.shape[:2])
        np.testing.assert_array_equal(conv(x).data[:, :k], x.data[:, :k])
        assert (conv(x).data[:, k:] == 0).all()


def test_a_weight_in_a_graph_is_marked_as_written():
    layer, x = nn.Linear(2, 2), tg.ones(1, 2, requires_grad=True)
    y = layer(x).sum()
    init.zeros_(layer.weight)
    with pytest.raises(RuntimeError):
        y.backward()


@pytest.mark.parametrize("call, error", [
    (lambda: init.xavier_normal_(tg.zeros(3)), r"fans: got a tensor of shape \(3,\)"),
    (lambda: init.kaiming_normal_(tg.zeros(3, 3), mode="fan"), "got mode 'fan', expected 'fan_in' or 'fan_out'"),
    (lambda: init.calculate_gain("gelu"), "got 'gelu', expected one of linear"),
    (lambda: init.trunc_normal_(tg.zeros(3), a=7, b=8), "trunc_normal_: .* holds 1e-12 of"),
    (lambda: init.sparse_(tg.zeros(3), 0.1), "expected a matrix"),
    (lambda: init.eye_(tg.zeros(3)), "expected a matrix"),
    (lambda: init.dirac_(tg.zeros(3, 3)), r"dirac_: got a tensor of shape \(3, 3\)"),
])
def test_errors(call, error):
    with pytest.raises(ValueError, match=error):
        call()
