"""GELU and SiLU on every face: equal to their definitions and to PyTorch, exact in float32, in every memory layout."""
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F
from tinygrad_edu.kernels import activations
from tinygrad_edu.testing.strategies import layouts
from tinygrad_edu.threads import set_threads, thread_count
from kernel_faces import CLOSE, FACES, draw_array, equals_definition

CURVES = {"gelu": F.gelu, "gelu tanh": lambda x: F.gelu(x, "tanh"), "silu": F.silu}
every_curve = pytest.mark.parametrize("curve", CURVES.values(), ids=list(CURVES))
every_face = pytest.mark.parametrize("face", FACES)


def value_and_gradient(function, *arrays):
    """function(*arrays), and the gradient for the first array from a fixed random direction."""
    xs = [Tensor(a, requires_grad=True) for a in arrays]
    y = function(*xs)
    y.backward(draw_array(1, *y.shape).astype(y.dtype))
    return y.data, xs[0].grad.data


@every_curve
@given(st.lists(st.integers(0, 4), max_size=3), st.data())
def test_equal_to_the_definition(curve, shape, data):
    x = 3 * draw_array(0, *shape)
    equals_definition(curve, data.draw(layouts(x)) if x.ndim else x)


@every_curve
@given(st.lists(st.integers(0, 4), max_size=3), st.data())
def test_equal_to_the_definition_in_float32(curve, shape, data):
    x = (3 * np.asarray(draw_array(0, *shape))).astype("float32")
    equals_definition(curve, data.draw(layouts(x)) if x.ndim else x, rtol=2e-6, atol=5e-6)


@every_face
@pytest.mark.parametrize("name, limit", [("gelu", 5e-7), ("gelu tanh", 3e-6), ("silu", 1e-6)])
def test_in_float32_as_exact_as_float32(face, name, limit):
    x = np.linspace(-8, 8, 401 if face == "loops" else 200_001)
    wide, gwide = value_and_gradient(CURVES[name], x)
    with tg.kernel_face(face):
        y, gx = value_and_gradient(CURVES[name], x.astype("float32"))
    assert y.dtype == gx.dtype == np.float32
    np.testing.assert_allclose(y, wide, rtol=3e-7, atol=1e-6 if name == "silu" else 5e-7)    # 8 itself is known to 5e-7
    np.testing.assert_allclose(gx, gwide, rtol=limit, atol=limit)


def test_the_fitted_fraction_is_as_close_to_the_tail_as_promised():
    a, (k, p, q, r, s, t) = np.linspace(0, 40, 40_002), activations.TAIL
    phi = np.exp(-a * a / 2) / math.sqrt(2 * math.pi)
    tail = np.array([0.5 * math.erfc(v / math.sqrt(2)) for v in a])
    assert np.abs(phi / (k * a + p + q / (a + r + s / (a + t))) - tail).max() < 6.2e-8


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("face", FACES)
def test_where_the_fraction_divides_by_zero_or_overflows(face):
    x = np.array([-1e30, -3.75893259, 3.75893259, 1e30], "float32")       # a + t is 0, and a^2 infinite
    known = np.array([0, -3.207117e-4, 3.7586119, 1e30])
    some = slice(1, 3) if face == "loops" else slice(None)                # plain Python warns of an infinite a^2
    with tg.kernel_face(face):
        y, _ = value_and_gradient(F.gelu, x[some])
    np.testing.assert_allclose(y, known[some], rtol=1e-6, atol=2.5e-7)


@every_face
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@every_curve
def test_finite_far_out(face, dtype, curve):
    x = np.array([-1e4, -100, -89, 0, 89, 100, 1e4], dtype)
    with tg.kernel_face(face):
        y, gx = value_and_gradient(curve, x)
    np.testing.assert_allclose(y, np.maximum(x, 0), atol=1e-30)
    np.testing.assert_allclose(gx, draw_array(1, 7) * [0, 0, 0, 0.5, 1, 1, 1], rtol=1e-6, atol=1e-25)


@every_face
def test_equal_to_pytorch(face):
    torch = pytest.importorskip("torch")
    TF, x = torch.nn.functional, 3 * draw_array(0, 4, 5)
    pairs = (("gelu", TF.gelu), ("gelu tanh", lambda t: TF.gelu(t, approximate="tanh")), ("silu", TF.silu))
    for name, theirs in pairs:
        t = torch.tensor(x, requires_grad=True)
        theirs(t).backward(torch.tensor(draw_array(1, 4, 5)))
        with tg.kernel_face(face):
            y, gx = value_and_gradient(CURVES[name], x)
        np.testing.assert_allclose(y, theirs(t).detach().numpy(), **CLOSE)
        np.testing.assert_allclose(gx, t.grad.numpy(), **CLOSE)


@every_curve
def test_the_blocks_and_the_threads_meet_without_a_seam(curve):
    x = draw_array(0, 3 * (1 << 17) + 5).astype("float32")
    before = thread_count()
    try:
        set_threads(2)
        with tg.kernel_face("arrays"):
            y, gx = value_and_gradient(curve, x)
            pieces = [curve(piece) for piece in np.array_split(x, 40)]
    finally:
        set_threads(before)
    np.testing.assert_allclose(y, np.concatenate(pieces), rtol=1e-6)
    assert np.isfinite(gx).all()


def test_the_exponential_of_the_loops():
    """e^x to 3e-7 over all of float32, by plain arithmetic; outside it stands still."""
    from tinygrad_edu.kernels.loops.exponential import exp
    x = np.linspace(-87, 88, 4001).astype("float32")
    y = np.array([exp(v) for v in x])
    assert y.dtype == np.float32
    np.testing.assert_allclose(y, np.exp(x.astype("float64")), rtol=3e-7)
    assert exp(np.float32(-1e4)) == y[0] and exp(np.float32(1e4)) == y[-1] and exp(np.float32(0)) == 1


def test_dropout_takes_a_mask_and_folds_the_scale_into_it():
    x, mask = draw_array(0, 3, 4), draw_array(1, 3, 4) > 0
    equals_definition(lambda x: F.dropout(x, 0.25, mask=mask), x)
    np.testing.assert_allclose(F.dropout(x, 0.25, mask=mask), np.where(mask, x / 0.75, 0), **CLOSE)
    assert F.dropout(x, 0.25, training=False, mask=mask) is x
    y = F.dropout(tg.ones(10_000), 0.25)
    assert y.dtype == np.float32 and set(np.unique(y.data)) == {0, np.float32(4 / 3)} and abs(y.data.mean() - 1) < 0.03
