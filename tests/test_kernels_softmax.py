"""Softmax and its logarithm: every face is the definition, and PyTorch agrees."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F
from tinygrad_edu.kernels import softmax
from kernel_faces import CLOSE, FACES, draw_array, equals_definition

BOTH = pytest.mark.parametrize("name", ["softmax", "log_softmax"])


@BOTH
@given(st.integers(0, 3), st.integers(1, 20), st.integers(1, 2), st.sampled_from([-1, 1, 2]))
def test_it_equals_its_definition(name, M, D, E, axis):
    equals_definition(lambda x: getattr(F, name)(x, axis), 3 * draw_array(0, M, D, E))


@BOTH
@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("axis", [0, -1])
def test_it_equals_pytorch(name, face, axis):
    torch = pytest.importorskip("torch")
    x, gy = draw_array(0, 5, 4, 17), draw_array(1, 5, 4, 17)
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    with tg.kernel_face(face):
        y = getattr(F, name)(ours, axis)
        y.backward(gy)
    t = getattr(torch, name)(theirs, axis)
    t.backward(torch.tensor(gy))
    np.testing.assert_allclose(y.data, t.detach().numpy(), **CLOSE)
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), **CLOSE)


@BOTH
@pytest.mark.parametrize("face", FACES)
def test_far_out_and_at_minus_infinity(name, face):
    x = Tensor(np.array([[1e4, 0, -1e4], [-np.inf, 0, 0]], "float32"), requires_grad=True)
    with tg.kernel_face(face), np.errstate(divide="ignore"):
        y = getattr(F, name)(x)
        y.backward(np.ones((2, 3), "float32"))
        expected = np.array([[1, 0, 0], [0, 0.5, 0.5]])
        np.testing.assert_allclose(y.data if name == "softmax" else np.exp(y.data), expected, atol=1e-7)
    assert y.dtype == x.grad.dtype == np.float32 and np.isfinite(x.grad.data).all()


@BOTH
@pytest.mark.parametrize("face", FACES)
def test_a_view_is_read_and_left_alone(name, face):
    x, gy = (draw_array(i, 6, 9).astype("float32") for i in (0, 1))
    leaf, cotangent = Tensor(x.T[::2], requires_grad=True), Tensor(gy.T[::2])
    before = leaf.data.copy(), cotangent.data.copy()
    with tg.kernel_face(face):
        y = getattr(F, name)(leaf)
        (gx,) = tg.grad(y, [leaf], cotangent)
    np.testing.assert_allclose(y.data, getattr(F, name)(before[0].astype("float64")), rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(leaf.data, before[0])
    np.testing.assert_array_equal(cotangent.data, before[1])
    assert y.dtype == gx.dtype == np.float32 and not np.shares_memory(gx.data, cotangent.data)


@BOTH
def test_blocks_and_a_shift_change_nothing(name, monkeypatch):
    function, x = getattr(F, name), draw_array(0, 7, 11)
    with tg.kernel_face("arrays"):
        y = function(x)
        monkeypatch.setattr(softmax, "_BLOCK", 1)
        np.testing.assert_allclose(function(x), y, rtol=1e-14)
        np.testing.assert_allclose(function(x + 100), y, rtol=1e-11)


def test_everybody_calls_the_kernel():
    assert tg.softmax is F.softmax is Tensor.softmax and tg.log_softmax is F.log_softmax is Tensor.log_softmax
