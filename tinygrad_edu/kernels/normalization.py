"""Normalization: subtract the mean, divide by the standard deviation. Layer, group, instance and batch norm differ only
in which numbers are normalized together, and in the scale and shift that follow.

    n numbers are normalized together; mean(.) is over them; eps keeps the root away from 0; w, b scale and shift

    (1)  mu = mean(x)    (2)  v = mean((x - mu)^2)    (3)  r = 1 / sqrt(v + eps)    (4)  h = (x - mu) r    (5)  y = w h + b

Derivation. h depends on x_i directly, through mu and through r. With g = dL/dh = w gy:
    dL/dr = sum g (x - mu),  dr/dv = -r^3 / 2,  dv/dx_i = 2 (x_i - mu) / n,  dmu/dx_i = 1 / n, which together give
    gx = r (g  -  mean(g)  -  h mean(g h))
          direct  through mu  through r
In words: the part of g along the constant vector and the part along h are taken out, for h does not change when x is
shifted or scaled. That is why a gradient of all ones gives 0, and why checking with it shows nothing.
From (5): gw = sum gy h and gb = sum gy, over all that share the scale.

LayerNorm works on rows, in blocks of rows that stay in the cache, two threads sharing the rows. Row sums are products with
a vector of ones, which BLAS does several times as fast as NumPy's sum along an axis. Only x, mu and r are saved; h is made again.

Ioffe & Szegedy 2015 (arXiv:1502.03167), Ba et al. 2016 (1607.06450), Wu & He 2018 (1803.08494).
"""
import math

from .. import backend
from ..autograd import Kernel
from ..ops import mean, sqrt, square
from ..ops.elementwise import constant
from ..threads import in_threads

_BLOCK = 1 << 17         # numbers of x in one block of rows; smaller ones cost more in calls than the cache gives back


class LayerNorm(Kernel):
    """y = w (x - mean(x)) / sqrt(var(x) + eps) + b over the last axes of x, those that w and b have"""

    def __init__(self, eps):
        self.eps = eps

    def reference(self, x, w, b):
        axes = tuple(range(-w.ndim, 0))
        centred = x - mean(x, axes, keepdims=True)
        return centred / sqrt(mean(square(centred), axes, keepdims=True) + self.eps) * w + b

    def forward(self, x, w, b):
        y = self.standardize(x.reshape(-1, w.size), w.reshape(-1), b.reshape(-1))       # (M, D), (D,), (D,)
        return y.reshape(x.shape)

    def backward(self, gy):
        gx, gw, gb = self.undo(gy.reshape(self.saved[0].shape))
        shape = gy.shape[gy.ndim - self.arrays[1].ndim:]
        return gx.reshape(gy.shape), gw.reshape(shape), gb.reshape(shape)

    def standardize(self, x, w, b):
        (M, D), xp = x.shape, self.xp
        y, mu, r = xp.empty_like(x), xp.empty((M, 1), x.dtype), xp.empty((M, 1), x.dtype)
        mean_of = xp.full((D, 1), 1 / D, x.dtype)

        def work(part):
            for i in backend.blocks(x[part], D, _BLOCK):
                xi, yi = x[part][i], y[part][i]
                mu_i = mu[part][i] = xi @ mean_of                                       # (1)
                xp.subtract(xi, mu_i, out=yi)
                r_i = r[part][i] = 1 / xp.sqrt(yi * yi @ mean_of + self.eps)            # (2) and (3)
                yi *= r_i                                                               # (4)
                yi *= w                                                                 # (5)
                yi += b

        in_threads(work, x, 6 * D)
        self.save(x, w, mu, r)
        return y

    def undo(self, gy):
        x, w, mu, r = self.saved
        D, xp = x.shape[1], self.xp
        gx, mean_of = xp.empty_like(x), xp.full((D, 1), 1 / D, x.dtype)

        def work(part):
            gw, gb = xp.zeros((1, D), x.dtype), xp.zeros((1, D), x.dtype)
            for i in backend.blocks(x[part], D, _BLOCK):
                r_i, gy_i, g = r[part][i], gy[part][i], gx[part][i]
                ones = xp.ones((1, len(gy_i)), x.dtype)
                h = x[part][i] - mu[part][i]                                            # (4) again
                h *= r_i
                xp.multiply(gy_i, h, out=g)
                gw += ones @ g                                                          # undo (5)
                gb += ones @ gy_i
                h *= g @ (w[:, None] / D)                   # through r:  h mean(w gy h)
                xp.multiply(gy_i, w, out=g)                                             # undo (4) to (1)
                h += g @ mean_of                            # through mu
                g -= h
                g *= r_i
            return gw, gb

        gws, gbs = zip(*in_threads(work, x, 9 * D))
        return gx, sum(gws)[0], sum(gbs)[0]


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
    weight, bias = (constant(x, lambda data: backend.array_module(data).full(shape, value, data.dtype)) if t is None else t
                    for t, value in ((weight, 1), (bias, 0)))
    return LayerNorm.face(x)(eps).apply(x, weight, bias)


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
