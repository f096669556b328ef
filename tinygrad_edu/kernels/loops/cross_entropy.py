"""Softmax cross-entropy, one number at a time, for float32. The numbered steps are those of kernels/cross_entropy.py.

    M samples of K classes   x, gx (M, K)   t (M,) classes   y, gy, tops, sums (M,)
"""
import math

import numpy as np

from ...faces import compiled
from ...threads import in_threads
from .. import cross_entropy
from .exponential import exp


def forward(x, t, y, tops, sums):
    M, K = x.shape
    for m in range(M):
        top = x[m, 0]
        for k in range(K):                                  # (1)
            top = max(top, x[m, k])

        s = x.dtype.type(0)
        for k in range(K):                                  # (2) and (3)
            s += exp(x[m, k] - top)

        tops[m], sums[m] = top, s
        y[m] = math.log(s) + (np.float64(top) - x[m, t[m]])    # (4)  in float64, where the order of the two does not matter


def backward(x, t, tops, sums, gy, gx):
    M, K = x.shape
    for m in range(M):
        for k in range(K):
            gx[m, k] = gy[m] / sums[m] * exp(x[m, k] - tops[m])
        gx[m, t[m]] -= gy[m]


class CrossEntropy(cross_entropy.CrossEntropy):
    """The face that runs these loops. float64, for which e^x would need more terms, keeps to the arrays.

    Compiled, 2.5 times as fast as the arrays on 1024 x 5000, forward and backward.
    """
    worth_compiling = True

    def losses(self, x, t):
        if x.dtype != np.float32:
            return super().losses(x, t)
        y, tops, sums = np.empty((3, len(x)), x.dtype)
        in_threads(lambda i: compiled(forward)(x[i], t[i], y[i], tops[i], sums[i]), x, 2 * x.shape[1])
        self.save(x, t, tops, sums)
        return y

    def undo(self, gy):
        if gy.dtype != np.float32:
            return super().undo(gy)
        (x, t, tops, sums), gx = self.saved, np.empty_like(self.saved[0])
        in_threads(lambda i: compiled(backward)(x[i], t[i], tops[i], sums[i], gy[i], gx[i]), x, 2 * x.shape[1])
        return gx


cross_entropy.CrossEntropy.loops = CrossEntropy
