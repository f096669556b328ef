"""Pictures changed in a given way: NumPy arrays (N, C, H, W), or one picture (C, H, W), floats in [0, 1].

The input is never changed, the result is a new array of the same dtype.
"""
import math

import numpy as np

GREY = np.array([0.299, 0.587, 0.114])[:, None, None]          # how bright red, green and blue look (ITU-R BT.601)


# ---------------------------------------------------------------- moving pixels

def horizontal_flip(images):
    """Left becomes right."""
    return pictures(images)[..., ::-1].copy()


def vertical_flip(images):
    """Top becomes bottom."""
    return pictures(images)[..., ::-1, :].copy()


def pad(images, pixels):
    """`pixels` zeros more on every side."""
    images = pictures(images)
    return np.pad(images, [(0, 0)] * (images.ndim - 2) + [(pixels, pixels)] * 2)


def crop(images, top, left, size):
    """The `size` x `size` pixels whose corner is at row `top` and column `left`: integers, or arrays (N,)."""
    images, top, left = pictures(images), np.asarray(top), np.asarray(left)
    height, width = images.shape[-2:]
    for name, first, side in (("top", top, height), ("left", left, width)):
        if not ((0 <= first) & (first <= side - size)).all():
            raise ValueError(f"crop: got {name} {first.min()}..{first.max()} for {size} of {side} pixels, "
                             f"expected 0..{side - size}")
    rows, columns = (np.broadcast_to(first, images.shape[:-3])[..., None] + np.arange(size) for first in (top, left))
    images = np.take_along_axis(images, rows[..., None, :, None], axis=-2)                  # (.., C, size, W)
    return np.take_along_axis(images, columns[..., None, None, :], axis=-1)                 # (.., C, size, size)


def center_crop(images, size):
    """The middle `size` x `size` pixels."""
    height, width = pictures(images).shape[-2:]
    return crop(images, (height - size) // 2, (width - size) // 2, size)


def resize(images, size):
    """To `size` x `size` pixels: linear interpolation, and an average over what shrinks into one pixel."""
    images = pictures(images, floats=True)
    down, across = (_resize_matrix(old, size).astype(images.dtype) for old in images.shape[-2:])
    return down @ images @ across.T


def rotate(images, degrees):
    """Turned counter-clockwise about the middle, black where nothing was. `degrees`: a number, or an array (N,)."""
    return warp(images, turn(degrees))


def turn(degrees):
    """(.., 2, 2): where, as (row, column), the pixels of a picture turned counter-clockwise come from."""
    cos, sin = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return np.stack([np.stack([cos, sin], -1), np.stack([-sin, cos], -1)], -2)


def warp(images, matrix, shift=(0.0, 0.0)):
    """The pixel at p, measured as (row, column) from the middle, is what was at matrix (p - shift); black outside.

    `matrix` (2, 2) or (N, 2, 2), `shift` (2,) or (N, 2); values between pixels are interpolated linearly.
    """
    images = pictures(images, floats=True)
    height, width = images.shape[-2:]
    middle = np.array([(height - 1) / 2, (width - 1) / 2])
    grid = np.indices((height, width)).reshape(2, -1) - middle[:, None]                     # (2, H W)
    source = np.asarray(matrix) @ (grid - np.asarray(shift)[..., None])                     # (.., 2, H W)
    y, x = source[..., 0, :] + middle[0], source[..., 1, :] + middle[1]

    flat, total = images.reshape(*images.shape[:-2], height * width), 0
    for row, column in ((np.floor(y) + down, np.floor(x) + right) for down in (0, 1) for right in (0, 1)):
        inside = (0 <= row) & (row < height) & (0 <= column) & (column < width)
        weight = (1 - abs(y - row)) * (1 - abs(x - column)) * inside
        place = np.where(inside, row * width + column, 0).astype(np.int64)
        place, weight = (np.broadcast_to(a, images.shape[:-3] + (height * width,))[..., None, :] for a in (place, weight))
        total = total + np.take_along_axis(flat, place, axis=-1) * weight.astype(images.dtype)
    return total.reshape(images.shape)


def _resize_matrix(old, new):
    """(new, old): each new pixel is an average of old ones, their weights a triangle as wide as the larger pixel."""
    scale = old / new
    centre = (np.arange(new) + 0.5) * scale
    weight = np.maximum(0, 1 - abs(np.arange(old) + 0.5 - centre[:, None]) / max(scale, 1))
    return weight / weight.sum(axis=1, keepdims=True)


# ---------------------------------------------------------------- changing values

def normalize(images, mean, std):
    """(x - mean) / std for each channel: numbers, or sequences of C numbers."""
    mean, std = _channels(images, mean), _channels(images, std)
    if not (std > 0).all():
        raise ValueError(f"normalize: got std {std.ravel().tolist()}, expected positive numbers")
    return (pictures(images, floats=True) - mean) / std


def denormalize(images, mean, std):
    """x std + mean: undoes normalize."""
    return pictures(images, floats=True) * _channels(images, std) + _channels(images, mean)


def adjust_brightness(images, factor):
    """`factor` x. A factor is a number, or an array (N,); values are cut to [0, 1]."""
    return _blend(images, 0.0, factor)


def adjust_contrast(images, factor):
    """Away from the mean brightness of the picture (factor > 1) or towards it."""
    return _blend(images, grey(images).mean(axis=(-2, -1), keepdims=True), factor)


def adjust_saturation(images, factor):
    """Away from the grey picture (factor > 1) or towards it."""
    return _blend(images, grey(images), factor)


def grey(images):
    """The brightness of each pixel, (.., 1, H, W); C is 1 or 3."""
    images = pictures(images, floats=True)
    if images.shape[-3] == 1:
        return images
    if images.shape[-3] != 3:
        raise ValueError(f"grey: got {images.shape[-3]} channels, expected 1 or 3")
    return (images * GREY.astype(images.dtype)).sum(axis=-3, keepdims=True)


def gaussian_blur(images, sigma):
    """Weighted averages with a Gaussian of `sigma` pixels in both directions; mirrored at the edge, so the sum stays."""
    images = pictures(images, floats=True)
    if not sigma > 0:
        raise ValueError(f"gaussian_blur: got sigma {sigma}, expected a positive number")
    down, across = (_blur_matrix(size, sigma).astype(images.dtype) for size in images.shape[-2:])
    return down @ images @ across.T


def _blur_matrix(size, sigma):
    """(size, size), symmetric, rows sum to 1. A pixel beyond the edge is the one as far on this side of it."""
    reach = math.ceil(5 * sigma)
    weight = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    place = (np.arange(size)[:, None] + np.arange(-reach, reach + 1)) % (2 * size)          # the mirrored row repeats
    place = np.minimum(place, 2 * size - 1 - place)
    matrix = np.zeros((size, size))
    np.add.at(matrix, (np.arange(size)[:, None], place), weight / weight.sum())
    return matrix


def _blend(images, other, factor):
    images = pictures(images, floats=True)
    factor = np.asarray(factor, images.dtype)[..., None, None, None]
    return np.clip(factor * images + (1 - factor) * other, 0, 1).astype(images.dtype)


# ---------------------------------------------------------------- shared

def pictures(images, floats=False):
    images = np.asarray(images)
    if images.ndim not in (3, 4) or (floats and images.dtype.kind != "f"):
        raise ValueError(f"transforms: got {images.dtype} {images.shape}, expected {'floats' if floats else 'an array'} "
                         "(N, C, H, W) or (C, H, W)")
    return images


def _channels(images, values):
    images, values = pictures(images, floats=True), np.atleast_1d(values)
    if values.shape not in ((1,), (images.shape[-3],)):
        raise ValueError(f"normalize: got {values.size} numbers for {images.shape[-3]} channels, expected one for each or one")
    return values.astype(images.dtype)[:, None, None]
