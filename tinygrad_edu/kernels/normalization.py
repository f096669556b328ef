"""Normalization: subtract the mean, divide by the standard deviation, scale and shift. Layer, group, instance and batch
norm differ in which numbers are normalized together and which share a scale; RMS norm leaves the mean alone.

    n numbers are normalized together; mean(.) is over them; eps keeps the root away from 0; w, b scale and shift

    (1)  mu = mean(x)    (2)  v = mean((x - mu)^2)    (3)  r = 1 / sqrt(v + eps)    (4)  h = (x - mu) r    (5)  y = w h + b

Derivation. h depends on x_i directly, through mu and through r. With g = dL/dh = w gy:
    dL/dr = sum g (x - mu),  dr/dv = -r^3 / 2,  dv/dx_i = 2 (x_i - mu) / n,  dmu/dx_i = 1 / n, which together give
    gx = r (g  -  mean(g)  -  h mean(g h))
          direct  through mu  through r
In words: the part of g along the constant vector and the part along h are taken out, for h does not change when x is
shifted or scaled. That is why a gradient of all ones gives 0, and why checking with it shows nothing.
From (5): gw = sum gy h and gb = sum gy, over all that share the scale. RMS norm has mu = 0, and no term through mu.

Layouts. Layer and RMS norm, in this file: M rows of D numbers, a scale for each column. Group, instance and batch norm have a
scale for each channel instead: see group_norm.py and batch_norm.py.

Speed. Work goes on in blocks that stay in the cache, two threads sharing them. Sums along rows are products with a vector of
ones, which BLAS does several times as fast as NumPy's sum; where they are few, as `dot` (see threads.py). Only x, mu and r
are saved; h is made again.

Ioffe & Szegedy 2015 (arXiv:1502.03167), Ba et al. 2016 (1607.06450), Wu & He 2018 (1803.08494), Ulyanov et al. 2016
(1607.08022), Zhang & Sennrich 2019 (1910.07467).
"""
import math

from .. import backend
from ..autograd import Kernel
from ..ops import mean, sqrt, square
from ..ops.elementwise import array_of, constant
from ..threads import in_threads

_BLOCK = 1 << 18         # numbers of x in one block; smaller ones cost more in calls than the cache gives back


class LayerNorm(Kernel):
    """y = w (x - mean(x)) / sqrt(var(x) + eps) + b over the last axes of x, those that w and b have"""

    def __init__(self, eps):
        self.eps = eps

    def reference(self, x, w, b):
        return standardized(x, tuple(range(-w.ndim, 0)), self.eps) * w + b

    def forward(self, x, w, b):
        y, rows = self.xp.empty(x.shape, x.dtype), (-1, max(1, w.size))
        self.standardize(x.reshape(rows), w.reshape(-1), b.reshape(-1), y.reshape(rows))            # (M, D), (D,), (D,), (M, D)
        return y

    def backward(self, gy):
        x, w = self.saved[:2]
        gx = self.xp.empty(gy.shape, x.dtype)
        gw, gb = self.undo(gy.reshape(x.shape), gx.reshape(x.shape))
        return gx, gw.reshape(self.arrays[1].shape), gb.reshape(self.arrays[1].shape)

    def standardize(self, x, w, b, y):
        (M, D), xp = x.shape, self.xp
        mu, r, mean_of = xp.empty((M, 1), x.dtype), xp.empty((M, 1), x.dtype), xp.full((D, 1), 1 / D, x.dtype)

        def work(part):
            for i in in_blocks(x[part]):
                xi, yi = x[part][i], y[part][i]
                mu_i = mu[part][i] = xi @ mean_of                                       # (1)
                xp.subtract(xi, mu_i, out=yi)
                r_i = r[part][i] = 1 / xp.sqrt(yi * yi @ mean_of + self.eps)            # (2) and (3)
                yi *= r_i                                                               # (4)
                yi *= w                                                                 # (5)
                yi += b

        in_threads(work, x, 6 * D)
        self.save(x, w, mu, r)

    def undo(self, gy, gx):
        x, w, mu, r = self.saved
        D, xp, w_mean = x.shape[1], self.xp, w[:, None] / len(w)

        def work(part):
            gw, gb = xp.zeros((1, D), x.dtype), xp.zeros((1, D), x.dtype)
            for i in in_blocks(x[part]):
                r_i, gy_i, g = r[part][i], gy[part][i], gx[part][i]
                h = x[part][i] - mu[part][i]                                            # (4) again, still without r
                xp.multiply(gy_i, h, out=g)
                gw += r_i.T.dot(g)                                                      # undo (5)
                gb += xp.ones((1, len(g)), x.dtype).dot(gy_i)
                h *= r_i * r_i * r_i * (g @ w_mean)         # through r:  r h mean(w gy h)
                h += r_i * (gy_i @ w_mean)                  # through mu: r mean(w gy)
                xp.multiply(gy_i, w, out=g)                                             # undo (4) to (1)
                g *= r_i
                g -= h
            return gw, gb

        gws, gbs = zip(*in_threads(work, x, 9 * D))
        return sum(gws), sum(gbs)


class RMSNorm(Kernel):
    """y = w x / sqrt(mean(x^2) + eps) over the last axes of x, those that w has"""

    def __init__(self, eps):
        self.eps = eps

    def reference(self, x, w):
        return x / sqrt(mean(square(x), tuple(range(-w.ndim, 0)), keepdims=True) + self.eps) * w

    def forward(self, x, w):
        y, rows = self.xp.empty(x.shape, x.dtype), (-1, max(1, w.size))
        self.scale(x.reshape(rows), w.reshape(-1), y.reshape(rows))                     # (M, D), (D,), (M, D)
        return y

    def backward(self, gy):
        x = self.saved[0]
        gx = self.xp.empty(gy.shape, x.dtype)
        gw = self.undo(gy.reshape(x.shape), gx.reshape(x.shape))
        return gx, gw.reshape(self.arrays[1].shape)

    def scale(self, x, w, y):
        (M, D), xp = x.shape, self.xp
        r, mean_of = xp.empty((M, 1), x.dtype), xp.full((D, 1), 1 / D, x.dtype)

        def work(part):
            for i in in_blocks(x[part]):
                xi, yi = x[part][i], y[part][i]
                xp.multiply(xi, xi, out=yi)
                r_i = r[part][i] = 1 / xp.sqrt(yi @ mean_of + self.eps)                 # (2) and (3)
                xp.multiply(xi, r_i, out=yi)                                            # (4)
                yi *= w                                                                 # (5)

        in_threads(work, x, 4 * D)
        self.save(x, w, r)

    def undo(self, gy, gx):
        x, w, r = self.saved
        D, xp, w_mean = x.shape[1], self.xp, w[:, None] / len(w)

        def work(part):
            gw = xp.zeros((1, D), x.dtype)
            for i in in_blocks(x[part]):
                xi, r_i, gy_i, g = x[part][i], r[part][i], gy[part][i], gx[part][i]
                xp.multiply(gy_i, xi, out=g)
                gw += r_i.T.dot(g)                                                      # undo (5)
                through_r = xi * (r_i * r_i * r_i * (g @ w_mean))                       # r h mean(w gy h)
                xp.multiply(gy_i, w, out=g)                                             # undo (4) to (2)
                g *= r_i
                g -= through_r
            return gw

        return sum(in_threads(work, x, 7 * D))


def in_blocks(x):
    """Slices that cut the first axis of x into runs that stay in the cache."""
    return backend.blocks(x, math.prod(x.shape[1:]), _BLOCK)


def standardized(x, axes, eps):
    """(1) to (4) as a composition."""
    centred = x - mean(x, axes, keepdims=True)
    return centred / sqrt(mean(square(centred), axes, keepdims=True) + eps)


# ---------------------------------------------------------------- the functions

def layer_norm(x, normalized_shape, weight=None, bias=None, eps=1e-5):
    """Normalize each sample over its last axes, whose shape is `normalized_shape`; weight and bias have that shape."""
    shape = _check_last_axes("layer_norm", x, normalized_shape, weight=weight, bias=bias)
    return LayerNorm.face(x)(eps).apply(x, filled(weight, x, shape, 1), filled(bias, x, shape, 0))


def rms_norm(x, normalized_shape, weight=None, eps=None):
    """Divide each sample by its root mean square over the last axes, `normalized_shape`, and scale it by weight.

    eps: by default the distance from 1 to the next number of x's dtype.
    """
    shape = _check_last_axes("rms_norm", x, normalized_shape, weight=weight)
    eps = float(backend.array_module(array_of(x)).finfo(x.dtype).eps) if eps is None else eps
    return RMSNorm.face(x)(eps).apply(x, filled(weight, x, shape, 1))


def filled(value, x, shape, number):
    """`value`, or an array full of `number` where there is none."""
    if value is not None:
        return value
    return constant(x, lambda data: backend.array_module(data).full(shape, number, data.dtype))


def _check_last_axes(caller, x, normalized_shape, **affine):
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    last = tuple(x.shape[max(0, x.ndim - len(shape)):])
    if last != shape:
        raise ValueError(f"{caller}: normalized_shape is {shape}, the last axes of x have {last}")
    check_affine(caller, shape, **affine)
    return shape


def check_affine(caller, shape, **affine):
    """Weight and bias, where there are any, must have the given shape."""
    for name, value in affine.items():
        if value is not None and tuple(value.shape) != shape:
            raise ValueError(f"{caller}: {name} has shape {tuple(value.shape)}, expected {shape}")
