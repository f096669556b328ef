"""Layer and RMS norm, one number at a time. The numbered steps are those of kernels/normalization.py.

    M rows of D numbers   x, y, gy, gx (M, D)   w, b (D,)   mu, r (M,)   gw, gb (D,)
"""
import math

import numpy as np

from ...faces import compiled
from ...threads import in_threads
from .. import normalization


def forward(x, w, b, eps, y, mu, r):
    M, D = x.shape
    for m in range(M):
        total = x.dtype.type(0)
        for d in range(D):                                  # (1)
            total += x[m, d]
        mu[m] = total / D

        total = x.dtype.type(0)
        for d in range(D):                                  # (2)
            total += (x[m, d] - mu[m]) * (x[m, d] - mu[m])
        r[m] = 1 / math.sqrt(total / D + eps)               # (3)

        for d in range(D):                                  # (4) and (5)
            y[m, d] = (x[m, d] - mu[m]) * r[m] * w[d] + b[d]


def backward(x, w, mu, r, gy, gx, gw, gb):
    M, D = x.shape
    for m in range(M):
        through_mu, through_r = x.dtype.type(0), x.dtype.type(0)
        for d in range(D):
            h, g = (x[m, d] - mu[m]) * r[m], gy[m, d] * w[d]
            gw[d] += gy[m, d] * h                           # undo (5)
            gb[d] += gy[m, d]
            through_mu += g
            through_r += g * h

        for d in range(D):                                  # undo (4) to (1)
            h, g = (x[m, d] - mu[m]) * r[m], gy[m, d] * w[d]
            gx[m, d] = r[m] * (g - through_mu / D - h * through_r / D)


def rms_forward(x, w, eps, y, r):
    M, D = x.shape
    for m in range(M):
        total = x.dtype.type(0)
        for d in range(D):                                  # (2)
            total += x[m, d] * x[m, d]
        r[m] = 1 / math.sqrt(total / D + eps)               # (3)

        for d in range(D):                                  # (4) and (5)
            y[m, d] = x[m, d] * r[m] * w[d]


def rms_backward(x, w, r, gy, gx, gw):
    M, D = x.shape
    for m in range(M):
        through_r = x.dtype.type(0)
        for d in range(D):
            h = x[m, d] * r[m]
            gw[d] += gy[m, d] * h                           # undo (5)
            through_r += gy[m, d] * w[d] * h

        for d in range(D):                                  # undo (4) to (2)
            gx[m, d] = r[m] * (gy[m, d] * w[d] - x[m, d] * r[m] * through_r / D)


class LayerNorm(normalization.LayerNorm):
    """The face that runs these loops. Compiled, 4 times as fast as the arrays on 4096 x 256, forward and backward."""
    worth_compiling = True

    def standardize(self, x, w, b, y):
        mu, r = np.empty(len(x), x.dtype), np.empty(len(x), x.dtype)
        in_threads(lambda i: compiled(forward)(x[i], w, b, self.eps, y[i], mu[i], r[i]), x, 2 * x.shape[1])
        self.save(x, w, mu, r)

    def undo(self, gy, gx):
        x, w, mu, r = self.saved

        def work(i):
            gw, gb = np.zeros((2, x.shape[1]), x.dtype)
            compiled(backward)(x[i], w, mu[i], r[i], gy[i], gx[i], gw, gb)
            return gw, gb

        gws, gbs = zip(*in_threads(work, x, 3 * x.shape[1]))
        return sum(gws), sum(gbs)


class RMSNorm(normalization.RMSNorm):
    """The face that runs these loops."""
    worth_compiling = True

    def scale(self, x, w, y):
        r = np.empty(len(x), x.dtype)
        in_threads(lambda i: compiled(rms_forward)(x[i], w, self.eps, y[i], r[i]), x, 2 * x.shape[1])
        self.save(x, w, r)

    def undo(self, gy, gx):
        x, w, r = self.saved

        def work(i):
            gw = np.zeros(x.shape[1], x.dtype)
            compiled(rms_backward)(x[i], w, r[i], gy[i], gx[i], gw)
            return gw

        return sum(in_threads(work, x, 3 * x.shape[1]))


normalization.LayerNorm.loops = LayerNorm
normalization.RMSNorm.loops = RMSNorm
