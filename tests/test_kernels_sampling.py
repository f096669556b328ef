"""Interpolation and RoIAlign: definitions, PyTorch, and cases with known answers."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernel_faces import CLOSE, draw_array, equals_definition
from op_table import np_roi_align
from tinygrad_edu import Tensor, functional as F, nn
from tinygrad_edu.kernels import interpolation
from tinygrad_edu.testing import gradcheck

sizes = st.lists(st.integers(1, 6), min_size=1, max_size=2)


def equals_pytorch(x, **options):
    torch = pytest.importorskip("torch")
    theirs_options = {k: v for k, v in options.items() if k != "align_corners" or options["mode"] != "nearest"}
    ours, theirs = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
    y, t = F.interpolate(ours, **options), torch.nn.functional.interpolate(theirs, **theirs_options)
    np.testing.assert_allclose(y.data, t.detach().numpy(), **CLOSE)
    gy = draw_array(6, *y.shape)
    y.backward(gy)
    t.backward(torch.tensor(gy))
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), **CLOSE)


# ---------------------------------------------------------------- interpolation

@given(sizes, st.data(), st.booleans(), st.booleans())
def test_interpolation_equals_pytorch(size, data, linear, align_corners):
    x, mode = draw_array(0, 2, 2, *size), ("linear", "bilinear")[len(size) - 1] if linear else "nearest"
    new = data.draw(st.lists(st.integers(1, 9), min_size=len(size), max_size=len(size)))
    equals_pytorch(x, size=new, mode=mode, align_corners=align_corners)
    factor = data.draw(st.sampled_from((1, 2, 3.0) if mode == "nearest" else (1, 2, 1.5, 2.3)))
    equals_pytorch(x, scale_factor=factor, mode=mode, align_corners=align_corners)


@given(st.integers(0, 2), st.integers(1, 4), st.integers(1, 4), st.integers(1, 3))
def test_nearest_by_whole_factors_equals_its_definition(N, H, W, scale):
    equals_definition(lambda x: F.upsample_nearest2d(x, scale), draw_array(0, N, 2, H, W))
    equals_definition(lambda x: F.interpolate(x, (2 * H, 3 * W)), draw_array(0, N, 2, H, W))


def test_nearest_of_views_in_small_blocks(monkeypatch):
    x = draw_array(0, 3, 4, 3, 2).T                                                         # (2, 3, 4, 3)
    whole = F.upsample_nearest2d(x, 2)
    monkeypatch.setattr(interpolation, "_BLOCK", 1)
    np.testing.assert_array_equal(F.upsample_nearest2d(x, 2), whole)
    gradcheck(lambda x: F.upsample_nearest2d(x, 2), np.array(x), order=2)


def test_a_slope_stays_a_slope():
    """Linear interpolation is exact on a straight line; between the centres of the outer pixels without align_corners."""
    x = np.arange(5.0).reshape(1, 1, 5)
    np.testing.assert_allclose(F.interpolate(x, 9, mode="linear", align_corners=True)[0, 0], np.arange(9) / 2)
    np.testing.assert_allclose(F.interpolate(x, 10, mode="linear")[0, 0], np.clip(np.arange(10) / 2 - 0.25, 0, 4))


def test_upsample_as_a_module():
    x = Tensor(draw_array(0, 1, 2, 3, 3))
    np.testing.assert_array_equal(nn.Upsample(scale_factor=2)(x).data, F.upsample_nearest2d(x, 2).data)
    np.testing.assert_array_equal(nn.Upsample(5, mode="bilinear")(x).data, F.interpolate(x, 5, mode="bilinear").data)
    assert repr(nn.Upsample(scale_factor=2)) == "Upsample(scale_factor=2, mode='nearest')"


# ---------------------------------------------------------------- RoIAlign

def boxes_in(seed, K, N, high):
    rng = np.random.default_rng(seed)
    corner, size = rng.uniform(-2, high, (K, 2)), rng.uniform(0.1, high, (K, 2))
    return np.hstack([rng.integers(0, N, (K, 1)), corner, corner + size])


@given(st.integers(0, 4), st.integers(1, 6), st.integers(1, 6), st.integers(1, 3), st.booleans(), st.integers(0, 99))
def test_roi_align_equals_its_points_one_by_one(K, H, W, S, aligned, seed):
    x, boxes = draw_array(0, 2, 2, H, W), boxes_in(seed, K, 2, 6)
    options = dict(output_size=(2, 3), spatial_scale=0.8, sampling_ratio=S, aligned=aligned)
    np.testing.assert_allclose(F.roi_align(x, boxes, **options), np_roi_align(x, boxes, **options), **CLOSE)
    if K:
        gradcheck(lambda x: F.roi_align(x, boxes, **options), x, order=2)


def test_roi_align_is_exact_on_a_slope():
    """On x = a + b row + c column the mean over a bin is the value at its middle."""
    row, column = np.mgrid[:12, :12]
    x = (2 + 0.5 * row - 0.25 * column)[None, None]
    left, top, right, bottom = 1.3, 2.1, 9.7, 8.1
    y = F.roi_align(x, np.array([[0, left, top, right, bottom]]), (3, 4))
    rows = top - 0.5 + (np.arange(3) + 0.5) * (bottom - top) / 3
    columns = left - 0.5 + (np.arange(4) + 0.5) * (right - left) / 4
    np.testing.assert_allclose(y[0, 0], 2 + 0.5 * rows[:, None] - 0.25 * columns, **CLOSE)


def test_the_box_of_the_whole_image_gives_it_back():
    x = draw_array(0, 1, 2, 4, 4)
    np.testing.assert_allclose(F.roi_align(x, np.array([[0, 0, 0, 4, 4.0]]), 4, sampling_ratio=1), x, **CLOSE)


def test_boxes_as_a_list_and_in_float32():
    x, boxes = draw_array(0, 2, 1, 5, 5).astype("float32"), boxes_in(1, 5, 2, 4)
    boxes = boxes[np.argsort(boxes[:, 0], kind="stable")]
    listed = [boxes[boxes[:, 0] == n, 1:] for n in range(2)]
    y = F.roi_align(x, Tensor(boxes), 2)
    assert y.dtype == np.float32
    np.testing.assert_array_equal(y, F.roi_align(x, listed, 2))
    assert F.roi_align(x, [np.zeros((0, 4))] * 2, 2).shape == (0, 1, 2, 2)


@pytest.mark.parametrize("call, says", [
    (lambda x: F.interpolate(x, 2, mode="cubic"), "interpolate: got mode 'cubic' for x of shape .* expected 'nearest'"),
    (lambda x: F.interpolate(x), "interpolate: got size None and scale_factor None, expected one of the two"),
    (lambda x: F.interpolate(x, 0), "interpolate: got size .0, 0., expected at least 1"),
    (lambda x: F.upsample_nearest2d(x[0], 2), r"upsample_nearest2d: got x of shape .*, expected \(N, C, H, W\)"),
    (lambda x: F.roi_align(x[0], np.zeros((1, 5)), 2), r"roi_align: got x of shape .*, expected \(N, C, H, W\)"),
    (lambda x: F.roi_align(x, np.zeros((1, 4)), 2), r"roi_align: got boxes of shape \(1, 4\), expected \(K, 5\)"),
    (lambda x: F.roi_align(x, [], 2), "roi_align: got 0 arrays of boxes, expected 1"),
    (lambda x: F.roi_align(x, np.zeros((1, 5)), 2, sampling_ratio=0), "roi_align: got sampling_ratio 0, expected at least 1"),
])
def test_errors_say_got_and_expected(call, says):
    with pytest.raises(ValueError, match=says):
        call(np.zeros((1, 1, 3, 3)))
