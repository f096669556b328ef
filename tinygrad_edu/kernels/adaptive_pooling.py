"""Pooling into as many bins as are asked for, whatever the size of the image.

    n pixels along an axis, `count` bins:   bin i goes from floor(i n / count) to ceil((i + 1) n / count)

Where count divides n these are windows side by side, the kernels of pooling.py. Elsewhere bins differ by a pixel in length
and some overlap by one: compositions, a mean as a product with a matrix along each axis, a maximum over gathered pixels.
"""
from .. import backend, ops
from ..ops.elementwise import array_of
from .interpolation import resample
from .pooling import ONE_ROW, AvgPool2d, MaxPool2d, Windows, check_axes, each


def adaptive_max_pool1d(x, output_size):
    """The largest number in each of `output_size` bins of x (N, C, T); as adaptive_max_pool2d."""
    return _adaptive_max("adaptive_max_pool1d", x, 1, output_size)


def adaptive_max_pool2d(x, output_size):
    """The largest number in each of output_size (an int or a pair) bins of x (N, C, H, W). None keeps an axis as it is."""
    return _adaptive_max("adaptive_max_pool2d", x, 2, output_size)


def adaptive_avg_pool1d(x, output_size):
    """The mean of each of `output_size` bins of x (N, C, T), bins as in adaptive_max_pool2d."""
    return _adaptive_avg("adaptive_avg_pool1d", x, 1, output_size)


def adaptive_avg_pool2d(x, output_size):
    """The mean of each of output_size (an int or a pair) bins of x (N, C, H, W), bins as in adaptive_max_pool2d."""
    return _adaptive_avg("adaptive_avg_pool2d", x, 2, output_size)


def _adaptive_max(caller, x, d, output_size):
    counts = _bins(caller, x, d, output_size)
    if all(n % count == 0 for n, count in zip(x.shape[2:], counts)):
        return MaxPool2d.face(x)(*_equal_bins(x, counts)).apply(x)
    H, W = (1,) * (2 - d) + tuple(x.shape[2:])
    (rows, in_row), (columns, in_column) = (_members(x, *axis) for axis in zip((H, W), (1,) * (2 - d) + counts))
    pixels = x.reshape((-1, H * W)).swapaxes(0, 1)                                          # (H W, N C)
    places = rows[:, :, None, None] * W + columns                                           # (OH, KH, OW, KW)
    inside = (in_row[:, :, None, None] & in_column)[..., None]
    y = ops.max(ops.where(inside, pixels[places], float("-inf")), axis=(1, 3))              # (OH, OW, N C)
    return ops.moveaxis(y, 2, 0).reshape(x.shape[:2] + counts)


def _adaptive_avg(caller, x, d, output_size):
    counts = _bins(caller, x, d, output_size)
    if max(counts) == 1:
        return ops.mean(x, axis=tuple(range(2, x.ndim)), keepdims=True)
    if all(n % count == 0 for n, count in zip(x.shape[2:], counts)):
        return AvgPool2d.face(x)(*_equal_bins(x, counts), True).apply(x)
    for axis, count in enumerate(counts, 2):
        places, inside = _members(x, x.shape[axis], count)
        weights = (places[..., None] == backend.array_module(places).arange(x.shape[axis])) & inside[..., None]
        x = resample(x, axis, weights.any(axis=1) / inside.sum(axis=1, keepdims=True))      # (count, n)
    return x


def _bins(caller, x, d, output_size):
    check_axes(caller, x, d)
    counts = tuple(n if count is None else count for n, count in zip(x.shape[2:], each(output_size, d)))
    if min(counts) < 1:
        raise ValueError(f"{caller}: got output_size {output_size}, expected at least 1")
    return counts


def _equal_bins(x, counts):
    sizes = zip(x.shape[2:], counts)
    return [ONE_ROW] * (4 - x.ndim) + [Windows(n, n // count, n // count, 0, count) for n, count in sizes]


def _members(x, n, count):
    """The pixels of each bin, (count, most pixels of a bin), and which of these places are really in it."""
    xp = backend.array_module(array_of(x))
    start, end = xp.arange(count) * n // count, -(-xp.arange(1, count + 1) * n // count)
    places = start[:, None] + xp.arange(-(-n // count) + 1)
    return xp.minimum(places, n - 1), places < end[:, None]
