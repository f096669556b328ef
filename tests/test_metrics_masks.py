"""Overlap of masks and of their rims, on cases whose answer is known and against a slow definition."""
import numpy as np
import pytest
from hypothesis import given, strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tinygrad_edu import functional as F
from tinygrad_edu.metrics import boundary_iou, mask_iou
from tinygrad_edu.tensor import Tensor


def square(side, top=2, left=2, size=24):
    mask = np.zeros((size, size), bool)
    mask[top : top + side, left : left + side] = True
    return mask


def pairs(shapes):
    return shapes.flatmap(lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape)))


def test_mask_iou_by_hand():
    assert mask_iou(square(4), square(4)) == 1 and mask_iou(square(4), ~square(4)) == 0
    assert mask_iou(square(4), square(8)) == 16 / 64
    assert mask_iou(Tensor(square(4)), square(4, left=4)) == 1 / 3
    assert mask_iou(square(0), square(0)) == 1 and mask_iou(square(0), square(1)) == 0
    assert mask_iou(np.stack([square(4), square(0)]), np.stack([square(4), square(4)])) == 16 / 32       # one set of pixels
    assert mask_iou(np.zeros((0, 3), bool), np.zeros((0, 3), bool)) == 1


@given(pairs(array_shapes(min_dims=1, max_dims=3, max_side=6)))
def test_mask_iou_and_dice_say_the_same(masks):
    a, b = masks
    iou = mask_iou(a, b)
    dice = 1 - F.dice_loss(a.reshape(1, -1).astype(float), b.reshape(1, -1).astype(float), eps=1e-12)
    assert dice == pytest.approx(2 * iou / (1 + iou), abs=1e-9)
    assert iou == mask_iou(b, a)


@pytest.mark.parametrize("side", [3, 7, 15])
def test_a_square_moved_by_one_pixel(side):
    """The rims share 2 (side - 1) pixels of 6 (side - 1): a third, however large the square is."""
    a, b = square(side), square(side, left=3)
    assert boundary_iou(a, b) == pytest.approx(1 / 3, abs=1e-12)
    assert mask_iou(a, b) == pytest.approx((side - 1) / (side + 1), abs=1e-12)


def test_a_wide_rim_is_the_whole_mask():
    a, b = square(8), square(8, top=4, left=5)
    assert boundary_iou(a, b, width=4) == mask_iou(a, b) != boundary_iou(a, b, width=3)
    assert boundary_iou(a, a[::-1] & False) == 0 and boundary_iou(a & False, a & False) == 1


@given(pairs(array_shapes(min_dims=2, max_dims=3, max_side=7)), st.integers(1, 3))
def test_rims_equal_their_definition(masks, width):
    def rim(mask):
        """A pixel belongs to it if some place within `width` of it is none of the mask's, beyond the edge included."""
        frame = np.pad(mask, [(0, 0)] * (mask.ndim - 2) + [(width, width)] * 2)
        windows = np.lib.stride_tricks.sliding_window_view(frame, (2 * width + 1, 2 * width + 1), axis=(-2, -1))
        return mask & ~windows.all(axis=(-2, -1))

    assert boundary_iou(*masks, width) == mask_iou(*map(rim, masks))


@pytest.mark.parametrize("function", [mask_iou, boundary_iou])
@pytest.mark.parametrize("a, b", [(square(4), square(4)[:-1]), (square(4).astype(int), square(4)),
                                  (square(4), square(4).astype(np.float32))])
def test_they_refuse(function, a, b):
    with pytest.raises(ValueError, match="got .* expected bools of one shape"):
        function(a, b)


def test_a_rim_needs_a_plane():
    for mask, width in ((square(4)[0], 1), (square(4), 0)):
        with pytest.raises(ValueError, match="boundary_iou: got masks .* expected"):
            boundary_iou(mask, mask, width)
