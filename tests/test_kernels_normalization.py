"""Normalizations: every face is the definition, PyTorch agrees, and the laws of their mathematics hold."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F, nn
from tinygrad_edu.kernels import batch_norm, normalization
from kernel_faces import CLOSE, FACES, draw_array, equals_definition

sizes = st.integers(1, 3)


@given(st.integers(0, 3), sizes, sizes, st.integers(1, 4), st.integers(1, 3))
def test_norms_of_channels_equal_their_definition(N, groups, per_group, H, W):
    C = groups * per_group
    x, w, b = draw_array(0, N, C, H, W), draw_array(1, C), draw_array(2, C)
    equals_definition(lambda x, w, b: F.group_norm(x, groups, w, b), x, w, b)
    equals_definition(lambda x, w, b: F.group_norm_silu(x, groups, w, b), x, w, b)
    equals_definition(F.instance_norm, x, w, b)
    if N:
        equals_definition(F.batch_norm, x, w, b)
        equals_definition(F.batch_norm, x[:, :, 0, 0], w, b)


@given(st.integers(0, 3), sizes, sizes, st.integers(1, 4), st.integers(1, 3))
def test_the_loops_of_group_norm_and_silu_equal_their_definition(N, groups, per_group, H, W):
    C = groups * per_group
    arrays = (a.astype("float32") for a in (draw_array(0, N, C, H, W), draw_array(1, C), draw_array(2, C)))
    equals_definition(lambda x, w, b: F.group_norm_silu(x, groups, w, b, 0.1), *arrays, rtol=1e-5, atol=3e-5)


@given(st.integers(0, 3), sizes, sizes)
def test_norms_of_rows_equal_their_definition(M, H, W):
    x, w, b = draw_array(0, 2, M, H, W), draw_array(1, H, W), draw_array(2, H, W)
    equals_definition(lambda x, w, b: F.layer_norm(x, (H, W), w, b), x, w, b)
    equals_definition(lambda x, w: F.rms_norm(x, (H, W), w), x, w)
    equals_definition(lambda x, w: F.rms_norm(x, W, w, 1e-3), x, w[0])
    equals_definition(lambda x: F.layer_norm(x, W), x)


def group_norm_silu(F):
    """Of any library; PyTorch has only its two halves."""
    return getattr(F, "group_norm_silu", lambda *arguments: F.silu(F.group_norm(*arguments)))


NORMS = {
    "layer_norm": lambda F, x, w, b: F.layer_norm(x, (4,), w, b),
    "rms_norm": lambda F, x, w, b: F.rms_norm(x, (4,), w),
    "group_norm": lambda F, x, w, b: F.group_norm(x, 2, w, b),
    "group_norm_silu": lambda F, x, w, b: group_norm_silu(F)(x, 2, w, b),
    "instance_norm": lambda F, x, w, b: F.instance_norm(x, weight=w, bias=b),
    "batch_norm": lambda F, x, w, b: F.batch_norm(x, w, b) if F is tg.functional else F.batch_norm(x, None, None, w, b, True),
}


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", NORMS)
def test_norms_equal_pytorch(name, face):
    torch = pytest.importorskip("torch")
    arrays = draw_array(0, 3, 4, 5, 4), draw_array(1, 4), draw_array(2, 4)
    xs, ts = [Tensor(a, requires_grad=True) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    gy = draw_array(3, *arrays[0].shape)
    with tg.kernel_face(face):
        y, t = NORMS[name](F, *xs), NORMS[name](torch.nn.functional, *ts)
        y.backward(gy)
    t.backward(torch.tensor(gy))
    np.testing.assert_allclose(y.data, t.detach().numpy(), **CLOSE)
    for ours, theirs in list(zip(xs, ts))[:2 if name == "rms_norm" else 3]:
        np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), **CLOSE)


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", NORMS)
def test_views_in_float32_give_float32_and_stay_as_they_are(name, face):
    x = Tensor(draw_array(0, 4, 5, 4, 3).astype("float32").transpose(3, 0, 1, 2), requires_grad=True)
    w, b = (Tensor(draw_array(i, 8).astype("float32")[::2], requires_grad=True) for i in (1, 2))
    gy = Tensor(draw_array(3, 4, 4, 5, 3).astype("float32").transpose(3, 0, 2, 1))
    before = [t.data.copy() for t in (x, w, b, gy)]
    with tg.kernel_face(face):
        y = NORMS[name](F, x, w, b)
        gxs = tg.grad(y, [x, w, b], gy, allow_unused=True)
    wide = NORMS[name](F, *(a.astype("float64") for a in before[:3]))
    assert y.dtype == np.float32 and all(g is None or g.dtype == np.float32 for g in gxs)
    np.testing.assert_allclose(y.data, wide, rtol=1e-5, atol=1e-5)
    for t, array in zip((x, w, b, gy), before):
        np.testing.assert_array_equal(t.data, array)
    assert not any(np.shares_memory(g.data, gy.data) for g in gxs if g is not None)


@pytest.mark.parametrize("face", [face for face in FACES if face != "loops"])      # those add one number after the other
@pytest.mark.parametrize("name", NORMS)
def test_a_large_mean_costs_no_more_digits_than_the_definition(name, face):
    x, w, b = draw_array(0, 8, 4, 16, 4) + 1e3, np.ones(4), np.zeros(4)
    exact = NORMS[name](F, x.astype("float32").astype("float64"), w, b)
    narrow = [a.astype("float32") for a in (x, w, b)]
    with tg.kernel_face("reference"):
        allowed = abs(NORMS[name](F, *narrow) - exact).max()
    with tg.kernel_face(face):
        assert abs(NORMS[name](F, *narrow) - exact).max() <= 2 * allowed + 1e-6


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("name", NORMS)
def test_constant_rows_are_finite(name, face):
    x = Tensor(np.full((2, 4, 3, 4), 7.0), requires_grad=True)
    with tg.kernel_face(face):
        y = NORMS[name](F, x, np.ones(4), np.full(4, 0.5))
        y.backward(draw_array(0, 2, 4, 3, 4))
    assert np.isfinite(x.grad.data).all()
    expected = {"rms_norm": 1, "group_norm_silu": 0.5 / (1 + np.exp(-0.5))}.get(name, 0.5)
    np.testing.assert_allclose(y.data, expected, atol=1e-6)


def test_blocks_change_nothing(monkeypatch):
    arrays = draw_array(0, 7, 4, 3, 4), draw_array(1, 4), draw_array(2, 4)
    with tg.kernel_face("arrays"):
        whole = [NORMS[name](F, *arrays) for name in NORMS]
        monkeypatch.setattr(normalization, "_BLOCK", 1)
        for name, y in zip(NORMS, whole):
            np.testing.assert_allclose(NORMS[name](F, *arrays), y, rtol=1e-13, atol=1e-13)
            used = arrays[:2] if name == "rms_norm" else arrays
            equals_definition(lambda x, w, b=None: NORMS[name](F, x, w, b), *used)


# ---------------------------------------------------------------- laws

def test_group_norm_lies_between_layer_and_instance_norm():
    x = draw_array(0, 3, 4, 5, 2)
    np.testing.assert_allclose(F.group_norm(x, 1), F.layer_norm(x, (4, 5, 2)), rtol=0, atol=1e-12)
    np.testing.assert_allclose(F.group_norm(x, 4), F.instance_norm(x), rtol=0, atol=1e-12)


def test_rms_norm_is_layer_norm_where_the_mean_is_zero():
    x = draw_array(0, 5, 8)
    x -= x.mean(axis=1, keepdims=True)
    np.testing.assert_allclose(F.rms_norm(x, 8, eps=1e-5), F.layer_norm(x, 8), rtol=0, atol=1e-12)


def test_layer_norm_ignores_shift_and_scale_so_its_gradient_is_orthogonal_to_both():
    x = Tensor(draw_array(0, 5, 8), requires_grad=True)
    y = F.layer_norm(x, 8, eps=0.0)
    np.testing.assert_allclose(F.layer_norm(3 * x.data + 7, 8, eps=0.0), y.data, rtol=0, atol=1e-12)
    y.backward(draw_array(1, 5, 8))
    np.testing.assert_allclose(x.grad.data.sum(axis=1), 0, atol=1e-12)
    np.testing.assert_allclose((x.grad.data * y.data).sum(axis=1), 0, atol=1e-12)


def test_instance_norm_removes_the_contrast_of_an_image():
    x = draw_array(0, 2, 3, 4, 4)
    contrast = np.array([0.5, 3.0]).reshape(2, 1, 1, 1)
    np.testing.assert_allclose(F.instance_norm(contrast * x, eps=0.0), F.instance_norm(x, eps=0.0), atol=1e-12)


def test_batch_norm_gives_mean_0_and_variance_1_and_given_statistics_the_same():
    x = draw_array(0, 6, 3, 4, 4)
    y = F.batch_norm(x, eps=0.0)
    np.testing.assert_allclose(y.mean((0, 2, 3)), 0, atol=1e-12)
    np.testing.assert_allclose(y.var((0, 2, 3)), 1, atol=1e-12)
    np.testing.assert_allclose(F.batch_norm(x, mean=x.mean((0, 2, 3)), variance=x.var((0, 2, 3)), eps=0.0), y, atol=1e-12)


@given(sizes, sizes, st.integers(1, 5))
def test_batch_statistics_are_mean_and_variance(N, C, S):
    x = draw_array(0, N, C, S)
    mean, variance = batch_norm.batch_statistics(Tensor(x))
    np.testing.assert_allclose(mean, x.mean((0, 2)), **CLOSE)
    np.testing.assert_allclose(variance, x.var((0, 2)), **CLOSE)


def test_the_running_statistics_are_those_of_pytorch():
    torch = pytest.importorskip("torch")
    ours, theirs = nn.BatchNorm2d(3), torch.nn.BatchNorm2d(3)
    for seed in range(3):
        x = (2 + draw_array(seed, 4, 3, 5, 2)).astype("float32")
        ours(Tensor(x)), theirs(torch.tensor(x))
    np.testing.assert_allclose(ours.running_mean.data, theirs.running_mean.numpy(), rtol=1e-5)
    np.testing.assert_allclose(ours.running_var.data, theirs.running_var.numpy(), rtol=1e-5)


@pytest.mark.parametrize("call, message", [
    (lambda x: F.rms_norm(x, 5), r"rms_norm: normalized_shape is \(5,\), the last axes of x have \(4,\)"),
    (lambda x: F.rms_norm(x, 4, np.ones(3)), r"rms_norm: weight has shape \(3,\), expected \(4,\)"),
    (lambda x: F.batch_norm(x, np.ones(2)), r"batch_norm: weight has shape \(2,\), expected \(3,\)"),
    (lambda x: F.batch_norm(x[0, 0]), r"batch_norm: got x of shape \(4,\), expected \(N, C, \.\.\)"),
    (lambda x: F.group_norm(x, 2), "group_norm: 3 channels cannot be cut into 2 groups"),
    (lambda x: F.group_norm_silu(x, 0), "group_norm_silu: 3 channels cannot be cut into 0 groups"),
    (lambda x: nn.InstanceNorm1d(5)(Tensor(x)), "InstanceNorm: got 3 channels"),
])
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call(draw_array(0, 2, 3, 4))
