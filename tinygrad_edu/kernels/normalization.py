"""Normalization: subtract the mean, divide by the standard deviation. Layer, group, instance and batch norm differ only
in the axes over which the two are taken, so one kernel serves them all; scale and shift are ordinary products and sums.

    n numbers are normalized together; mean(.) is over them; eps keeps the root away from 0

    (1)  mu = mean(x)      (2)  v = mean((x - mu)^2)      (3)  r = 1 / sqrt(v + eps)      (4)  y = (x - mu) r

Derivation. y depends on x_i directly, through mu and through r. With g = dL/dy:
    dL/dr = sum g (x - mu),  dr/dv = -r^3 / 2,  dv/dx_i = 2 (x_i - mu) / n,  dmu/dx_i = 1 / n, which together give
    gx = r (g  -  mean(g)  -  y mean(g y))
          direct  through mu  through r
In words: the part of g along the constant vector and the part along y are taken out, for y does not change when x is
shifted or scaled. That is why a gradient of all ones gives 0, and why checking with it shows nothing.

Ioffe & Szegedy 2015 (arXiv:1502.03167), Ba et al. 2016 (1607.06450), Wu & He 2018 (1803.08494).
"""
import math

from ..autograd import Kernel
from ..ops import mean, sqrt, square


class Standardize(Kernel):
    """y = (x - mean(x)) / sqrt(var(x) + eps) over the axes"""

    def __init__(self, axes, eps):
        self.axes, self.eps = axes, eps

    def reference(self, x):
        centred = x - mean(x, self.axes, keepdims=True)
        return centred / sqrt(mean(square(centred), self.axes, keepdims=True) + self.eps)

    def forward(self, x):
        y = x - x.mean(axis=self.axes, keepdims=True)                           # (1)
        v = (y * y).mean(axis=self.axes, keepdims=True)                         # (2)
        r = 1 / self.xp.sqrt(v + self.eps)                                      # (3)
        y *= r                                                                  # (4)
        self.save(y, r)
        return y

    def backward(self, g):
        y, r = self.saved
        through_r = y * (g * y).mean(axis=self.axes, keepdims=True)
        gx = g - g.mean(axis=self.axes, keepdims=True)
        gx -= through_r
        gx *= r
        return gx


def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Normalize each sample over its last axes, whose shape is `normalized_shape`; weight and bias have that shape."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    if tuple(x.shape[x.ndim - len(shape):]) != shape:
        raise ValueError(f"layer_norm: normalized_shape is {shape}, the last axes of x have {x.shape[x.ndim - len(shape):]}")
    _check_affine("layer_norm", weight, bias, shape)
    y = Standardize(tuple(range(x.ndim - len(shape), x.ndim)), eps).apply(x)
    return _affine(y, weight, bias, shape)


def group_norm(x, groups, weight=None, bias=None, eps=1e-5):
    """Normalize x (N, C, ...) over each of `groups` equal runs of channels; weight and bias (C,)."""
    N, C = x.shape[:2]
    if C % groups:
        raise ValueError(f"group_norm: {C} channels cannot be cut into {groups} groups")
    _check_affine("group_norm", weight, bias, (C,))
    x_groups = x.reshape(N, groups, C // groups * math.prod(x.shape[2:]))
    y = Standardize((2,), eps).apply(x_groups).reshape(x.shape)
    return _affine(y, weight, bias, (C,) + (1,) * (x.ndim - 2))


def instance_norm(x, weight=None, bias=None, eps=1e-5):
    """Normalize every channel of every sample of x (N, C, ...) by itself; weight and bias (C,)."""
    return group_norm(x, x.shape[1], weight, bias, eps)


def batch_norm(x, weight=None, bias=None, mean=None, variance=None, eps=1e-5):
    """Normalize every channel of x (N, C, ...) over the batch, or by the given `mean` and `variance` (C,), as constants."""
    shape = (x.shape[1],) + (1,) * (x.ndim - 2)
    _check_affine("batch_norm", weight, bias, (x.shape[1],))
    if mean is None:
        y = Standardize((0, *range(2, x.ndim)), eps).apply(x)
    else:
        y = (x - mean.reshape(shape)) / sqrt(variance.reshape(shape) + eps)
    return _affine(y, weight, bias, shape)


def _affine(y, weight, bias, shape):
    if weight is not None:
        y = y * weight.reshape(shape)
    return y if bias is None else y + bias.reshape(shape)


def _check_affine(caller, weight, bias, shape):
    for name, value in (("weight", weight), ("bias", bias)):
        if value is not None and tuple(value.shape) != shape:
            raise ValueError(f"{caller}: {name} has shape {tuple(value.shape)}, expected {shape}")
