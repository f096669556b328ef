"""Transforms that draw what to do: for each picture of a batch anew, from backend.generator().

Called with pictures as NumPy arrays (N, C, H, W), or one picture (C, H, W), floats in [0, 1]; MixUp and CutMix blend the
pictures of a batch and their labels too. What is done once it is drawn are the functions of pictures.py.

    augment = Compose([RandomAffine(degrees=10, translate=0.1), Cutout(4)])
    loader = DataLoader(TensorDataset(x, y), 64, shuffle=True, transform=lambda x, y: (augment(x), y))
"""
import math

import numpy as np

from .. import backend
from .pictures import adjust_brightness, adjust_contrast, adjust_saturation, crop, horizontal_flip, pad, pictures, turn, warp


class Compose:
    """One transform after the other: any functions of pictures."""

    def __init__(self, transforms):
        self.transforms = list(transforms)

    def __call__(self, images):
        for transform in self.transforms:
            images = transform(images)
        return images


class RandomHorizontalFlip:
    """horizontal_flip with probability p."""

    def __init__(self, p=0.5):
        self.p = p

    def __call__(self, images):
        flipped = horizontal_flip(images)
        chosen = backend.generator().random(flipped.shape[:-3]) < self.p
        return np.where(chosen[..., None, None, None], flipped, images)


class RandomCrop:
    """A `size` x `size` piece from anywhere, after padding with zeros."""

    def __init__(self, size, padding=0):
        self.size, self.padding = size, padding

    def __call__(self, images):
        images = pad(images, self.padding)
        top, left = (backend.generator().integers(0, max(side - self.size, 0) + 1, images.shape[:-3])
                     for side in images.shape[-2:])
        return crop(images, top, left, self.size)


class RandomAffine:
    """Turned by up to `degrees` either way, moved by up to the share `translate` of its size, scaled by scale[0]..scale[1]."""

    def __init__(self, degrees, translate=0.0, scale=(1.0, 1.0)):
        self.degrees, self.translate, self.scale = degrees, translate, scale

    def __call__(self, images):
        batch = pictures(images).shape[:-3]
        angle, scale = _uniform(-self.degrees, self.degrees, batch), _uniform(*self.scale, batch)
        shift = _uniform(-self.translate, self.translate, batch + (2,)) * images.shape[-2:]
        return warp(images, turn(angle) / scale[..., None, None], shift)


class ColorJitter:
    """Brightness, contrast and saturation, each changed by a factor in 1 - value .. 1 + value."""

    def __init__(self, brightness=0.0, contrast=0.0, saturation=0.0):
        self.changes = [(adjust_brightness, brightness), (adjust_contrast, contrast), (adjust_saturation, saturation)]

    def __call__(self, images):
        for adjust, amount in self.changes:
            images = adjust(images, _uniform(max(0, 1 - amount), 1 + amount, images.shape[:-3]))
        return images


class Cutout:
    """A black square of `size` pixels, its middle anywhere in the picture. DeVries & Taylor 2017, arXiv:1708.04552."""

    def __init__(self, size):
        self.size = size

    def __call__(self, images):
        rows, columns = (self._covered(side, pictures(images).shape[:-3]) for side in images.shape[-2:])
        return np.where((rows[..., :, None] & columns[..., None, :])[..., None, :, :], images.dtype.type(0), images)

    def _covered(self, side, batch):
        first = backend.generator().integers(0, side, batch + (1,)) - self.size // 2
        return (first <= np.arange(side)) & (np.arange(side) < first + self.size)           # (.., side)


# ---------------------------------------------------------------- blending pictures and labels

class MixUp:
    """lam x_i + (1 - lam) x_j and the same of the labels, lam ~ Beta(alpha, alpha). Zhang et al. 2017, arXiv:1710.09412.

    Called with pictures (N, ...) and labels, integers (N,) or shares (N, K); returns shares (N, num_classes) as labels.
    """

    def __init__(self, num_classes, alpha=1.0):
        self.num_classes, self.alpha = num_classes, alpha

    def __call__(self, images, labels):
        shares, images = one_hot(labels, self.num_classes), np.asarray(images)
        other = backend.generator().permutation(len(images))
        lam = images.dtype.type(backend.generator().beta(self.alpha, self.alpha))
        return lam * images + (1 - lam) * images[other], lam * shares + (1 - lam) * shares[other]


class CutMix:
    """A box of picture j pasted into picture i; labels are mixed by area. Yun et al. 2019, arXiv:1905.04899.

    Called as MixUp is, with pictures (N, C, H, W).
    """

    def __init__(self, num_classes, alpha=1.0):
        self.num_classes, self.alpha = num_classes, alpha

    def __call__(self, images, labels):
        shares, (height, width) = one_hot(labels, self.num_classes), pictures(images).shape[-2:]
        other = backend.generator().permutation(len(images))
        side = math.sqrt(1 - backend.generator().beta(self.alpha, self.alpha))
        y, x = backend.generator().random(2) * (height, width)                              # the middle of the box
        rows, columns = (slice(round(max(0, at - side * size / 2)), round(min(size, at + side * size / 2)))
                         for at, size in ((y, height), (x, width)))

        mixed = images.copy()
        mixed[..., rows, columns] = images[other][..., rows, columns]
        pasted = np.float32((rows.stop - rows.start) * (columns.stop - columns.start) / (height * width))
        return mixed, (1 - pasted) * shares + pasted * shares[other]


def one_hot(labels, num_classes):
    """float32 (N, num_classes) with a 1 at each label, integers (N,); shares (N, num_classes) stay what they are."""
    labels = np.asarray(labels)
    if labels.ndim == 2 and labels.shape[1] == num_classes and labels.dtype.kind == "f":
        return labels
    if labels.ndim != 1 or labels.dtype.kind not in "iu" or not ((0 <= labels) & (labels < num_classes)).all():
        raise ValueError(f"one_hot: got labels {labels.dtype} {labels.shape}, expected integers (N,) in 0..{num_classes - 1} "
                         f"or shares (N, {num_classes})")
    return np.eye(num_classes, dtype=np.float32)[labels]


def _uniform(low, high, shape):
    return backend.generator().uniform(low, high, shape)
