"""RoIAlign: each of K boxes of an image cut out and brought to one size, without rounding its edges to pixels.

    x (N, C, H, W)   K boxes, each in one of the N images   y (K, C, PH, PW): a box cut into PH x PW bins
    S x S points are spread evenly over every bin, and y is the mean of x at them, interpolated between the four pixels around

Interpolation between four pixels is interpolation along rows times interpolation along columns, and so is the mean over a
grid of points. So with a_k (PH, H), b_k (PW, W), how much of each row and each column of pixels is in each bin of box k,

    y_k = a_k x b_k'

two small matrix products, a composition. Pixel centres lie at whole coordinates; points more than a pixel outside of
the image count as 0, the others beyond the border take its value.

He et al. 2017, Mask R-CNN, arXiv:1703.06870.
"""
from .. import backend, ops
from ..ops.elementwise import array_of
from ..ops.window import pair


def roi_align(x, boxes, output_size, spatial_scale=1.0, sampling_ratio=2, aligned=True):
    """Boxes of x (N, C, H, W) as maps of one size, (K, C, PH, PW).

    boxes: (K, 5), each (image, left, top, right, bottom), or a list of N arrays (L, 4), the boxes of each image; a constant.
    output_size: PH, PW, or an int for both. spatial_scale: from the boxes' coordinates to x's.
    sampling_ratio: S, points along each side of a bin. aligned: pixel i covers i to i + 1 in the boxes' coordinates.
    """
    if x.ndim != 4:
        raise ValueError(f"roi_align: got x of shape {tuple(x.shape)}, expected (N, C, H, W)")
    if sampling_ratio < 1:
        raise ValueError(f"roi_align: got sampling_ratio {sampling_ratio}, expected at least 1")
    (PH, PW), boxes = pair(output_size), _with_images(x, boxes)
    image, corners = boxes[:, 0].astype("int64"), boxes[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)
    across, down = (_weights(corners[:, i], corners[:, i + 2], bins, n, sampling_ratio, aligned)
                    for i, bins, n in ((0, PW, x.shape[3]), (1, PH, x.shape[2])))
    cut = x[image] @ across[:, None].swapaxes(2, 3).astype(x.dtype)                     # (K, C, H, PW)
    return down[:, None].astype(x.dtype) @ cut                                          # (K, C, PH, PW)


def _weights(start, end, bins, n, S, aligned):
    """(K, bins, n): how much of each of n pixels is in each bin of the K boxes, from `start` to `end` (K,)."""
    xp = backend.array_module(start)
    length = end - start if aligned else xp.maximum(end - start, 1.0)                   # old rule: at least a pixel
    steps = (xp.arange(bins * S) + 0.5) / (bins * S)
    places = start[:, None] + length[:, None] * steps                                   # (K, bins S)
    counts = (places >= -1) & (places <= n)
    places = xp.clip(places, 0, n - 1)[..., None]
    weights = xp.maximum(0, 1 - abs(places - xp.arange(n))) * counts[..., None]          # (K, bins S, n)
    return weights.reshape(len(start), bins, S, n).mean(axis=2)


def _with_images(x, boxes):
    """The boxes as one array (K, 5) of float64."""
    xp = backend.array_module(array_of(x))
    if isinstance(boxes, (list, tuple)):
        if len(boxes) != len(x):
            raise ValueError(f"roi_align: got {len(boxes)} arrays of boxes, expected {len(x)}, one for each image")
        boxes = [xp.pad(array_of(b), ((0, 0), (1, 0)), constant_values=i) for i, b in enumerate(boxes)]
        boxes = xp.concatenate(boxes) if boxes else xp.zeros((0, 5))
    boxes = array_of(boxes)
    if boxes.ndim != 2 or boxes.shape[1] != 5:
        raise ValueError(f"roi_align: got boxes of shape {tuple(boxes.shape)}, expected (K, 5) or a list of (L, 4)")
    return boxes.astype("float64")
