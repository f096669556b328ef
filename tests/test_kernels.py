"""Every kernel equals the composition that defines it: value, gradient and double gradient, on every shape drawn."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_edu import Tensor, functional as F
from tinygrad_edu.testing import gradcheck
from kernel_faces import CLOSE, draw_array, equals_definition


@st.composite
def convolutions(draw):
    """A convolution's shapes: strides that do not divide, even kernels, dilation, groups, one pixel, an empty batch."""
    kernel = [draw(st.integers(1, 4)), draw(st.integers(1, 3))]
    stride, dilation, padding = ([draw(st.integers(low, high)) for _ in range(2)] for low, high in ((1, 3), (1, 2), (0, 2)))
    size = [max(1, d * (k - 1) + 1 - 2 * p) + draw(st.integers(0, 4)) for k, d, p in zip(kernel, dilation, padding)]
    groups, c, o = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    x = (draw(st.integers(0, 3)), groups * c, *size)
    return x, (groups * o, c, *kernel), dict(stride=stride, padding=padding, dilation=dilation, groups=groups)


@given(convolutions(), st.booleans())
def test_convolution_equals_its_definition(geometry, with_bias):
    x, weight, options = geometry
    arrays = [draw_array(3, *x), draw_array(4, *weight)] + ([draw_array(5, weight[0])] if with_bias else [])
    equals_definition(lambda *xs: F.conv2d(*xs, **options), *arrays)


@given(convolutions())
def test_convolution_equals_pytorch(geometry):
    torch = pytest.importorskip("torch")
    x_shape, w_shape, options = geometry
    if x_shape[0] == 0:
        return                                              # PyTorch refuses some empty batches
    arrays = [draw_array(3, *x_shape), draw_array(4, *w_shape), draw_array(5, w_shape[0])]
    xs, ts = [Tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    y, t = F.conv2d(*xs, **options), torch.nn.functional.conv2d(*ts, **options)
    np.testing.assert_allclose(y.data, t.detach().numpy(), **CLOSE)
    gy = draw_array(6, *y.shape)
    y.backward(gy)
    t.backward(torch.tensor(gy))
    for ours, theirs in zip(xs, ts):
        np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), **CLOSE)


def test_convolution_works_in_blocks(monkeypatch):
    """Cutting the batch into blocks of one image changes nothing."""
    from tinygrad_edu.kernels import convolution
    x, w = draw_array(0, 5, 2, 6, 6), draw_array(1, 3, 2, 3, 3)
    whole = F.conv2d(x, w)
    monkeypatch.setattr(convolution, "_BLOCK", 1)
    np.testing.assert_array_equal(F.conv2d(x, w), whole)
    gradcheck(lambda x, w: F.conv2d(x, w, padding=1), x, w)


def test_convolution_of_sequences_equals_pytorch():
    torch = pytest.importorskip("torch")
    x, w, b = draw_array(0, 2, 4, 11), draw_array(1, 6, 2, 3), draw_array(2, 6)
    ours = F.conv1d(x, w, b, stride=2, padding=2, dilation=2, groups=2)
    theirs = torch.nn.functional.conv1d(*map(torch.tensor, (x, w, b)), stride=2, padding=2, dilation=2, groups=2)
    np.testing.assert_allclose(ours, theirs.numpy(), **CLOSE)


def test_convolution_skips_the_gradient_nobody_wants():
    x, w = Tensor(draw_array(0, 2, 3, 5, 5)), Tensor(draw_array(1, 4, 3, 3, 3), requires_grad=True)
    y = F.conv2d(x, w)
    gx, gw, gb = y.creator.backward(np.ones(y.shape))
    assert gx is None and gb is None and gw.shape == w.shape


@given(st.integers(0, 4), st.integers(1, 5))
def test_cross_entropy_equals_its_definition(N, K):
    targets = np.random.default_rng(7).integers(0, K, N)
    equals_definition(lambda x: F.cross_entropy(x, targets, reduction="none"), draw_array(0, N, K))


def test_cross_entropy_is_finite_far_out_and_its_gradient_is_p_minus_y():
    x = Tensor(np.array([[1e4, -1e4, 0.0], [-1e4, 1e4, 1e4]]), requires_grad=True)
    F.cross_entropy(x, np.array([0, 1]), reduction="sum").backward()
    np.testing.assert_allclose(x.grad.data, [[0, 0, 0], [0, -0.5, 0.5]], atol=1e-12)


def test_cross_entropy_of_maps_equals_pytorch():
    torch = pytest.importorskip("torch")
    x, targets = draw_array(0, 2, 5, 3, 4), np.random.default_rng(1).integers(0, 5, (2, 3, 4))
    for reduction in ("mean", "sum", "none"):
        ours = F.cross_entropy(Tensor(x), targets, reduction)
        theirs = torch.nn.functional.cross_entropy(torch.tensor(x), torch.tensor(targets), reduction=reduction)
        np.testing.assert_allclose(ours.data, theirs.numpy(), **CLOSE)


@st.composite
def poolings(draw):
    """Windows side by side, overlapping or apart, of one pixel or of all, with padding, on an empty batch too."""
    kernel, stride = ([draw(st.integers(1, 3)) for _ in range(2)] for _ in range(2))
    padding = [draw(st.integers(0, k // 2)) for k in kernel]
    size = [max(1, k - 2 * p) + draw(st.integers(0, 4)) for k, p in zip(kernel, padding)]
    return (draw(st.integers(0, 2)), draw(st.integers(1, 2)), *size), dict(kernel_size=kernel, stride=stride, padding=padding)


@given(poolings(), st.booleans())
def test_pooling_equals_its_definition_and_pytorch(geometry, ties):
    shape, options = geometry
    x = draw_array(0, *shape).round() if ties else draw_array(0, *shape)
    equals_definition(lambda x: F.max_pool2d(x, **options), x)
    equals_definition(lambda x: F.avg_pool2d(x, **options), x)
    torch = pytest.importorskip("torch")
    if shape[0]:
        for name in ("max_pool2d", "avg_pool2d"):
            theirs = getattr(torch.nn.functional, name)(torch.tensor(x), **options)
            np.testing.assert_allclose(getattr(F, name)(x, **options), theirs.numpy(), **CLOSE)


@given(st.integers(0, 3), st.integers(0, 4))
def test_gelu_equals_its_definition(N, D):
    equals_definition(F.gelu, 3 * draw_array(0, N, D))


def test_gelu_in_float32_is_as_exact_as_float32():
    x = np.linspace(-8, 8, 200_001).astype("float32")
    np.testing.assert_allclose(F.gelu(x), F.gelu(x.astype("float64")), rtol=3e-7, atol=3e-7)     # 8 is known to 5e-7
    wide, narrow = Tensor(x.astype("float64"), requires_grad=True), Tensor(x, requires_grad=True)
    F.gelu(wide).sum().backward(), F.gelu(narrow).sum().backward()
    np.testing.assert_allclose(narrow.grad.data, wide.grad.data, rtol=0, atol=5e-7)
