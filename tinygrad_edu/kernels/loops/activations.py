"""GELU and SiLU, one number at a time, for float32. The numbered steps are those of kernels/activations.py.

    x, y, gy, gx (n,)   s the sigmoid   Phi, phi the normal distribution and its density
"""
import math

import numpy as np

from ...faces import compiled
from ...threads import in_threads
from .. import activations
from .exponential import exp

ZERO, HALF, ONE, THREE = map(np.float32, (0, 0.5, 1, 3))
PER_ROOT_2PI, ROOT, CUBE = map(np.float32, (1 / math.sqrt(2 * math.pi), activations.ROOT, activations.CUBE))
K, P, Q, R, S, T = map(np.float32, activations.TAIL)


def normal(x):
    """Phi(x) and phi(x)."""
    phi = PER_ROOT_2PI * exp(-HALF * x * x)
    a = abs(x)
    tail = phi / (K * a + P + Q * (a + T) / ((a + R) * (a + T) + S))        # a + T may be 0, the sum below it is never
    return ONE - tail if x > ZERO else tail, phi


def sigmoid(x):
    return ONE / (ONE + exp(-x))


def gelu(x, y):
    for i in range(len(x)):
        Phi, phi = normal(x[i])
        y[i] = x[i] * Phi                                                       # (1)


def gelu_backward(x, gy, gx):
    for i in range(len(x)):
        Phi, phi = normal(x[i])
        gx[i] = gy[i] * (Phi + x[i] * phi)                                      # (2)


def silu(x, y):
    for i in range(len(x)):
        y[i] = x[i] * sigmoid(x[i])                                             # (1)


def silu_backward(x, gy, gx):
    for i in range(len(x)):
        s = sigmoid(x[i])
        gx[i] = gy[i] * (s + x[i] * s * (ONE - s))                              # (2)


def tanh_gelu(x, y):
    for i in range(len(x)):
        y[i] = x[i] * sigmoid(ROOT * (x[i] + CUBE * x[i] * x[i] * x[i]))        # (1)


def tanh_gelu_backward(x, gy, gx):
    for i in range(len(x)):
        s = sigmoid(ROOT * (x[i] + CUBE * x[i] * x[i] * x[i]))
        du = ROOT * (ONE + THREE * CUBE * x[i] * x[i])
        gx[i] = gy[i] * (s + x[i] * s * (ONE - s) * du)                         # (2)


class Loops:
    """Runs a pair of these loops. float64, for which e^x would need more terms, keeps to the arrays."""
    worth_compiling = True

    def forward(self, x):
        if x.dtype != np.float32:
            return super().forward(x)
        y, flat = np.empty(x.shape, x.dtype), x.reshape(-1)
        out = y.reshape(-1)
        in_threads(lambda i: compiled(self.pair[0])(flat[i], out[i]), flat, 4)
        self.save(x)
        return y

    def backward(self, gy):
        if gy.dtype != np.float32:
            return super().backward(gy)
        gx = np.empty(gy.shape, gy.dtype)
        x, gy, out = self.saved[0].reshape(-1), gy.reshape(-1), gx.reshape(-1)
        in_threads(lambda i: compiled(self.pair[1])(x[i], gy[i], out[i]), x, 4)
        return gx


class GELU(Loops, activations.GELU):
    """Compiled, 6 times as fast as the arrays on a million numbers, forward and backward."""
    pair = gelu, gelu_backward


class SiLU(Loops, activations.SiLU):
    """Compiled, 3.5 times as fast as the arrays."""
    pair = silu, silu_backward


class TanhGELU(Loops, activations.TanhGELU):
    """Compiled, 4 times as fast as the arrays."""
    pair = tanh_gelu, tanh_gelu_backward


activations.GELU.loops, activations.SiLU.loops, activations.TanhGELU.loops = GELU, SiLU, TanhGELU
