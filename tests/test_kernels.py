"""Every kernel equals the composition that defines it: value, gradient and double gradient, on every shape drawn."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_edu import Tensor, functional as F
from kernel_faces import CLOSE, draw_array, equals_definition


@given(st.integers(0, 3), st.integers(1, 3), st.integers(1, 2), st.integers(2, 5), st.integers(1, 3))
def test_normalizations_equal_their_definition(N, groups, per_group, H, W):
    C = groups * per_group
    x, weight, bias = draw_array(0, N, C, H, W), draw_array(1, C), draw_array(2, C)
    equals_definition(lambda x, w, b: F.group_norm(x, groups, w, b), x, weight, bias)
    equals_definition(lambda x: F.layer_norm(x, (H, W)), x)
    if N:
        equals_definition(lambda x, w, b: F.batch_norm(x, w, b), x, weight, bias)


def test_normalizations_equal_pytorch():
    torch = pytest.importorskip("torch")
    TF, x, w, b = torch.nn.functional, draw_array(0, 3, 4, 5, 2), draw_array(1, 4), draw_array(2, 4)
    t, tw, tb = torch.tensor(x), torch.tensor(w), torch.tensor(b)
    w2, b2 = draw_array(3, 5, 2), draw_array(4, 5, 2)
    pairs = [(F.group_norm(x, 2, w, b), TF.group_norm(t, 2, tw, tb)),
             (F.instance_norm(x, w, b), TF.instance_norm(t, weight=tw, bias=tb)),
             (F.layer_norm(x, (5, 2), w2, b2), TF.layer_norm(t, (5, 2), torch.tensor(w2), torch.tensor(b2))),
             (F.batch_norm(x, w, b), TF.batch_norm(t, None, None, tw, tb, training=True))]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs.numpy(), **CLOSE)


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


@given(st.integers(0, 3), st.integers(0, 4))
def test_gelu_equals_its_definition(N, D):
    equals_definition(F.gelu, 3 * draw_array(0, N, D))


def test_gelu_in_float32_is_as_exact_as_float32():
    x = np.linspace(-8, 8, 200_001).astype("float32")
    np.testing.assert_allclose(F.gelu(x), F.gelu(x.astype("float64")), rtol=3e-7, atol=3e-7)     # 8 is known to 5e-7
    wide, narrow = Tensor(x.astype("float64"), requires_grad=True), Tensor(x, requires_grad=True)
    F.gelu(wide).sum().backward(), F.gelu(narrow).sum().backward()
    np.testing.assert_allclose(narrow.grad.data, wide.grad.data, rtol=0, atol=5e-7)
