"""Softmax: numbers x become positive numbers that add up to 1. And its logarithm, which must not be taken afterwards.

    M rows of D numbers x (M, D)

    (1)  t = x - max(x)      (2)  total = sum e^t      (3)  y = e^t / total,    or its logarithm  y = t - ln total

Taking out the largest number changes neither and lets nothing overflow: every e^t is at most 1, and total at least 1.

Derivation. d ln total / dx_i = e^(t_i) / total = p_i, the softmax. So for y = ln p:  dy_j / dx_i = [i = j] - p_i, which gives
    gx = gy - p sum(gy).
For y = p:  dy_j / dx_i = p_j ([i = j] - p_i), which gives
    gx = y (gy - sum(gy y)).

Work goes on in place, in blocks of rows, two threads sharing the rows. Only y is saved.

Forward and backward take, with two threads, of the time of the definition: 4096 x 128 0.55 (the logarithm 0.7), 8192 x 256
0.5 (0.5), 1024 x 5000 0.4 (0.45).
"""
import math

from .. import backend, ops
from ..autograd import Kernel
from ..ops.shape import axis_of
from ..tensor import Tensor
from ..threads import in_threads

_BLOCK = 1 << 17                # numbers of x in one block


class Softmax(Kernel):
    """y_i = e^(x_i) / sum e^(x_j) along an axis"""

    def __init__(self, axis):
        self.axis = axis

    def reference(self, x):
        return ops.softmax(x, self.axis)

    def forward(self, x):
        x = self.swap(x)
        y = self.xp.empty(x.shape, x.dtype)
        self.normalize(_rows(x), _rows(y))
        self.save(y)
        return self.swap(y)

    def backward(self, gy):
        (y,), gy = self.saved, self.swap(gy)
        gx = self.xp.empty(y.shape, y.dtype)
        self.undo(_rows(y), _rows(gy), _rows(gx))
        return self.swap(gx)

    def swap(self, x):
        """x with the axis last, or back in its place."""
        return x if self.axis == x.ndim - 1 else x.swapaxes(self.axis, -1)

    def normalize(self, x, y):
        D, xp = x.shape[1], self.xp
        ones = xp.ones((D, 1), x.dtype)

        def work(part):
            for i in backend.blocks(x[part], D, _BLOCK):
                xi, yi = x[part][i], y[part][i]
                xp.subtract(xi, xi.max(axis=1, keepdims=True), out=yi)                       # (1)
                xp.exp(yi, out=yi)
                yi /= yi.dot(ones)                                              # (2) and (3)

        in_threads(work, x, 8 * D)

    def undo(self, y, gy, gx):
        D, xp = y.shape[1], self.xp
        ones = xp.ones((D, 1), y.dtype)

        def work(part):
            for i in backend.blocks(y[part], D, _BLOCK):
                yi, gy_i, g = y[part][i], gy[part][i], gx[part][i]
                xp.multiply(gy_i, yi, out=g)
                xp.subtract(gy_i, g.dot(ones), out=g)
                g *= yi

        in_threads(work, y, 4 * D)


class LogSoftmax(Softmax):
    """y_i = x_i - ln sum e^(x_j) along an axis"""
    loops = cuda = None             # its own, not those of softmax

    def reference(self, x):
        return ops.log_softmax(x, self.axis)

    def normalize(self, x, y):
        D, xp = x.shape[1], self.xp
        ones = xp.ones((D, 1), x.dtype)

        def work(part):
            for i in backend.blocks(x[part], D, _BLOCK):
                xi, yi = x[part][i], y[part][i]
                xp.subtract(xi, xi.max(axis=1, keepdims=True), out=yi)                       # (1)
                yi -= xp.log(xp.exp(yi).dot(ones))                              # (2) and (3)

        in_threads(work, x, 8 * D)

    def undo(self, y, gy, gx):
        D, xp = y.shape[1], self.xp
        ones = xp.ones((D, 1), y.dtype)

        def work(part):
            for i in backend.blocks(y[part], D, _BLOCK):
                gy_i, g = gy[part][i], gx[part][i]
                xp.exp(y[part][i], out=g)                                       # p again
                g *= gy_i.dot(ones)
                xp.subtract(gy_i, g, out=g)

        in_threads(work, y, 8 * D)


def _rows(x):
    """(.., D) -> (M, D)"""
    return x.reshape(math.prod(x.shape[:-1]), x.shape[-1])


# ---------------------------------------------------------------- the functions

def softmax(x, axis=-1):
    """e^x over its sum along `axis`: positive numbers that add up to 1."""
    return Softmax.face(x)(axis_of(x, axis, "softmax")).apply(x)


def log_softmax(x, axis=-1):
    """ln softmax(x) without overflow and without ln 0."""
    return LogSoftmax.face(x)(axis_of(x, axis, "log_softmax")).apply(x)


Tensor.softmax, Tensor.log_softmax = softmax, log_softmax       # the methods, until here the definitions
