"""Convolution, one multiplication at a time: seven loops, and in each map another of the three factors is the sum.

    x (N, G C, H, W)   w (G O, C, KH, KW)   y (N, G O, OH, OW)   s t stride, p q padding, d e dilation: down and across
    here C and O count the channels of one group
"""
import numpy as np

from .. import convolution


def correlate(x, w, b, s, t, p, q, d, e, y):
    N, H, W = x.shape[0], x.shape[2], x.shape[3]
    outs, C, KH, KW = w.shape
    O = outs * C // x.shape[1]
    for n in range(N):
        for o in range(outs):
            for i in range(y.shape[2]):
                for j in range(y.shape[3]):
                    total = b[o]
                    for c in range(C):
                        for k in range(KH):
                            for m in range(KW):
                                u, v = i * s + k * d - p, j * t + m * e - q
                                if 0 <= u < H and 0 <= v < W:
                                    total += w[o, c, k, m] * x[n, o // O * C + c, u, v]
                    y[n, o, i, j] = total


def spread(gy, w, s, t, p, q, d, e, gx):
    N, H, W = gx.shape[0], gx.shape[2], gx.shape[3]
    outs, C, KH, KW = w.shape
    O = outs * C // gx.shape[1]
    for n in range(N):
        for o in range(outs):
            for i in range(gy.shape[2]):
                for j in range(gy.shape[3]):
                    for c in range(C):
                        for k in range(KH):
                            for m in range(KW):
                                u, v = i * s + k * d - p, j * t + m * e - q
                                if 0 <= u < H and 0 <= v < W:
                                    gx[n, o // O * C + c, u, v] += w[o, c, k, m] * gy[n, o, i, j]


def weight_gradient(x, gy, s, t, p, q, d, e, gw):
    N, H, W = x.shape[0], x.shape[2], x.shape[3]
    outs, C, KH, KW = gw.shape
    O = outs * C // x.shape[1]
    for o in range(outs):
        for n in range(N):
            for i in range(gy.shape[2]):
                for j in range(gy.shape[3]):
                    for c in range(C):
                        for k in range(KH):
                            for m in range(KW):
                                u, v = i * s + k * d - p, j * t + m * e - q
                                if 0 <= u < H and 0 <= v < W:
                                    gw[o, c, k, m] += x[n, o // O * C + c, u, v] * gy[n, o, i, j]


class _Loops:
    """The face that runs these loops. Compiled, they take 4 times as long as the arrays for a depthwise 3x3 kernel on images of
    64 x 32 x 32, and 14 to 36 times as long for 16 channels of 16 x 16: the arrays let BLAS multiply.
    """
    worth_compiling = False

    def correlate(self, x, weight, bias, out):
        y = np.empty((len(x), len(weight), *out), x.dtype)
        correlate(x, weight, bias, *self._steps(), y)
        return y

    def spread(self, gy, weight, size):
        gx = np.zeros((len(gy), weight.shape[1] * self.groups, *size), gy.dtype)
        spread(gy, weight, *self._steps(), gx)
        return gx

    def weight_gradient(self, x, gy, weight):
        gw = np.zeros_like(weight)
        weight_gradient(x, gy, *self._steps(), gw)
        return gw

    def _steps(self):
        """s, t, p, q, d, e"""
        return [step for steps in self._two_axes() for step in steps]


class Conv2d(_Loops, convolution.Conv2d):
    pass


class ConvTranspose2d(_Loops, convolution.ConvTranspose2d):
    pass


convolution.Conv2d.loops, convolution.ConvTranspose2d.loops = Conv2d, ConvTranspose2d
