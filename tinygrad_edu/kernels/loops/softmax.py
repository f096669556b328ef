"""Softmax and its logarithm, one number at a time. The numbered steps are those of kernels/softmax.py.

    M rows of D numbers   x, y, gy, gx (M, D)
"""
import math

from ...faces import compiled
from ...threads import in_threads
from .. import softmax


def forward(x, y):
    M, D = x.shape
    for m in range(M):
        top = x[m, 0]
        for d in range(1, D):
            top = max(top, x[m, d])

        total = x.dtype.type(0)
        for d in range(D):                                  # (1) and (2)
            y[m, d] = math.exp(x[m, d] - top)
            total += y[m, d]

        for d in range(D):                                  # (3)
            y[m, d] /= total


def backward(y, gy, gx):
    M, D = y.shape
    for m in range(M):
        total = y.dtype.type(0)
        for d in range(D):
            total += gy[m, d] * y[m, d]

        for d in range(D):
            gx[m, d] = y[m, d] * (gy[m, d] - total)


def log_forward(x, y):
    M, D = x.shape
    for m in range(M):
        top = x[m, 0]
        for d in range(1, D):
            top = max(top, x[m, d])

        total = x.dtype.type(0)
        for d in range(D):                                  # (1) and (2)
            total += math.exp(x[m, d] - top)

        for d in range(D):                                  # (3)
            y[m, d] = x[m, d] - top - math.log(total)


def log_backward(y, gy, gx):
    M, D = y.shape
    for m in range(M):
        total = y.dtype.type(0)
        for d in range(D):
            total += gy[m, d]

        for d in range(D):
            gx[m, d] = gy[m, d] - math.exp(y[m, d]) * total


class Softmax(softmax.Softmax):
    """The face that runs these loops. Compiled, 1.6 times as fast as the arrays on 4096 x 128, the same on 1024 x 5000."""
    worth_compiling = True

    def normalize(self, x, y):
        in_threads(lambda i: compiled(forward)(x[i], y[i]), x, 4 * x.shape[1])

    def undo(self, y, gy, gx):
        in_threads(lambda i: compiled(backward)(y[i], gy[i], gx[i]), y, 2 * y.shape[1])


class LogSoftmax(softmax.LogSoftmax):
    """The face that runs these loops, for tiny inputs: compiled they are no faster than NumPy's exponential."""

    def normalize(self, x, y):
        log_forward(x, y)

    def undo(self, y, gy, gx):
        log_backward(y, gy, gx)


softmax.Softmax.loops = Softmax
softmax.LogSoftmax.loops = LogSoftmax
