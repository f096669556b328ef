"""Pooling equals its definition on every face, and PyTorch's in value and gradient."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from kernel_faces import CLOSE, FACES, draw_array, equals_definition
from tinygrad_edu import Tensor, functional as F, nn
from tinygrad_edu.kernels import pooling
from tinygrad_edu.testing import gradcheck

EVERY = ("max_pool1d", "avg_pool1d", "max_pool2d", "avg_pool2d")


@st.composite
def poolings(draw, d):
    """Windows side by side, overlapping or apart, of one pixel or of all, with padding, on an empty batch too."""
    kernel, stride = ([draw(st.integers(1, 3)) for _ in range(d)] for _ in range(2))
    padding = [draw(st.integers(0, k // 2)) for k in kernel]
    size = [max(1, k - 2 * p) + draw(st.integers(0, 4)) for k, p in zip(kernel, padding)]
    options = dict(kernel_size=kernel, stride=stride, padding=padding, ceil_mode=draw(st.booleans()))
    return (draw(st.integers(0, 2)), draw(st.integers(1, 2)), *size), options


def equals_pytorch(name, x, **options):
    """Value and gradient, for x without ties: PyTorch gives the gradient of all to the first."""
    torch = pytest.importorskip("torch")
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, t = getattr(F, name)(ours, **options), getattr(torch.nn.functional, name)(theirs, **options)
    np.testing.assert_allclose(y.data, t.detach().numpy(), **CLOSE)
    gy = draw_array(6, *y.shape)
    y.backward(gy)
    t.backward(torch.tensor(gy))
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), **CLOSE)


@pytest.mark.parametrize("name", EVERY)
@given(data=st.data(), ties=st.booleans(), padding_counts=st.booleans())
def test_pooling_equals_its_definition_and_pytorch(name, data, ties, padding_counts):
    shape, options = data.draw(poolings(int(name[-2])))
    if name.startswith("avg"):
        options["count_include_pad"] = padding_counts
    x = draw_array(0, *shape)
    equals_definition(lambda x: getattr(F, name)(x, **options), x.round() if ties else x)
    if shape[0]:
        equals_pytorch(name, x, **options)


@pytest.mark.parametrize("name", ["adaptive_max_pool", "adaptive_avg_pool"])
@given(shape=st.lists(st.integers(1, 7), min_size=1, max_size=2), bins=st.integers(1, 8), ties=st.booleans())
def test_adaptive_pooling_equals_its_definition_and_pytorch(name, shape, bins, ties):
    name, x = f"{name}{len(shape)}d", draw_array(0, 2, 2, *shape)
    equals_definition(lambda x: getattr(F, name)(x, bins), x.round() if ties else x)
    equals_pytorch(name, x, output_size=bins)
    equals_pytorch(name, x, output_size=[None] * (len(shape) - 1) + [bins])


def test_equal_pixels_share_the_gradient_of_their_window():
    for face in FACES + ["reference"]:
        for function in (F.max_pool2d, F.adaptive_max_pool2d):
            x = np.array([[1.0, 1, 0, 5], [1, 0, 0, 0], [0, 0, 2, 2], [0, 0, 2, 2]])
            x = Tensor(x.reshape(1, 1, 4, 4), requires_grad=True)
            with tg.kernel_face(face):
                function(x, 2).sum().backward()
            expected = [[1 / 3, 1 / 3, 0, 1], [1 / 3, 0, 0, 0], [1 / 4] * 4, [1 / 4] * 4]
            np.testing.assert_allclose(x.grad.data[0, 0], expected)


@pytest.mark.parametrize("name", EVERY)
def test_pooling_of_views_in_small_blocks(name, monkeypatch):
    """Cutting the maps into blocks of one changes nothing, nor does memory in another order."""
    x = draw_array(0, 5, 7, 3, 2).transpose(3, 2, 1, 0)                                     # (2, 3, 7, 5)
    x = x[:, :, 0] if name.endswith("1d") else x
    whole = getattr(F, name)(np.ascontiguousarray(x), 3, 2, 1)
    monkeypatch.setattr(pooling, "_BLOCK", 1)
    for face in FACES:
        with tg.kernel_face(face):
            np.testing.assert_allclose(getattr(F, name)(x, 3, 2, 1), whole, **CLOSE)
    with tg.kernel_face("arrays"):
        gradcheck(lambda x: getattr(F, name)(x, 3, 2, 1), np.array(x))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("face", FACES)
def test_float32_stays_float32(name, face):
    x = Tensor(draw_array(0, 2, 2, *[5] * int(name[-2])).astype("float32"), requires_grad=True)
    with tg.kernel_face(face):
        y = getattr(F, name)(x, 3, 2, 1, **({"count_include_pad": False} if name.startswith("avg") else {}))
        y.sum().backward()
    assert y.dtype == x.grad.dtype == np.float32


@pytest.mark.parametrize("face", FACES)
def test_not_a_number_is_the_largest(face):
    x = np.array([[[1.0, np.nan, 3.0, 2.0]]])
    with tg.kernel_face(face):
        np.testing.assert_array_equal(F.max_pool1d(x, 2), [[[np.nan, 3.0]]])


def test_modules_equal_pytorch():
    torch = pytest.importorskip("torch")
    x = draw_array(0, 2, 3, 9, 7)
    for name, arguments in (("MaxPool", (3, 2, 1)), ("AvgPool", (3, 2, 1)), ("AvgPool", (2, None, 1, False, False)),
                            ("AdaptiveMaxPool", (4,)), ("AdaptiveAvgPool", (4,))):
        for d, data in ((1, x[:, :, 0]), (2, x)):
            ours, theirs = (getattr(lib, f"{name}{d}d")(*arguments) for lib in (nn, torch.nn))
            np.testing.assert_allclose(ours(Tensor(data)).data, theirs(torch.tensor(data)).numpy(), **CLOSE)
    assert repr(nn.MaxPool2d(2)) == "MaxPool2d(kernel_size=2, stride=2, padding=0)"
    assert repr(nn.AdaptiveAvgPool1d(4)) == "AdaptiveAvgPool1d(output_size=4)"


@pytest.mark.parametrize("call, says", [
    (lambda x: F.max_pool2d(x[0], 2), r"max_pool2d: got x of shape \(1, 4, 4\), expected \(N, C, H, W\)"),
    (lambda x: F.avg_pool1d(x, 2), r"avg_pool1d: got x of shape .*, expected \(N, C, T\)"),
    (lambda x: F.max_pool2d(x, 2, padding=2), "got padding .2, 2., expected at most half the kernel"),
    (lambda x: F.max_pool2d(x, 5), "the window is .5, 5., x of shape .* is smaller"),
    (lambda x: F.adaptive_avg_pool2d(x, 0), "adaptive_avg_pool2d: got output_size 0, expected at least 1"),
])
def test_errors_say_got_and_expected(call, says):
    with pytest.raises(ValueError, match=says):
        call(np.zeros((1, 1, 4, 4)))
