"""The LSTM, one number at a time. The numbered steps are those of kernels/lstm.py; here a sequence is a row.

    x, gx (T, N, I)   gates (T, N, 4 D): i, f, g, o of each step, later their gradients   H, C, gH, gC (T + 1, N, D)
    w, gw (4 D, I)   u, gu (4 D, D)   b, gb (4 D,)   dh, dc (N, D): what runs back through time
"""
import math

import numpy as np

from .. import lstm


def forward(x, w, u, b, gates, H, C):
    T, N, I = x.shape
    D = H.shape[2]
    for n in range(N):
        for t in range(T):
            for k in range(4 * D):
                total = b[k]
                for j in range(I):                          # (1)
                    total += w[k, j] * x[t, n, j]
                for j in range(D):                          # (2)
                    total += u[k, j] * H[t, n, j]
                is_g = 2 * D <= k < 3 * D
                gates[t, n, k] = math.tanh(total) if is_g else (1 + math.tanh(total / 2)) / 2

            for d in range(D):
                i, f, g, o = gates[t, n, d], gates[t, n, D + d], gates[t, n, 2 * D + d], gates[t, n, 3 * D + d]
                C[t + 1, n, d] = f * C[t, n, d] + i * g     # (3)
                H[t + 1, n, d] = o * math.tanh(C[t + 1, n, d])                                  # (4)


def backward(x, w, u, gates, H, C, gH, gC, dh, dc, gx, gw, gu, gb):
    T, N, I = x.shape
    D = H.shape[2]
    for n in range(N):
        for t in range(T - 1, -1, -1):
            for d in range(D):
                i, f, g, o = gates[t, n, d], gates[t, n, D + d], gates[t, n, 2 * D + d], gates[t, n, 3 * D + d]
                tanh_c = math.tanh(C[t + 1, n, d])
                dh[n, d] += gH[t + 1, n, d]
                dc[n, d] += gC[t + 1, n, d] + dh[n, d] * o * (1 - tanh_c * tanh_c)              # undo (4)
                gates[t, n, d] = dc[n, d] * g * i * (1 - i)                                     # undo (3)
                gates[t, n, D + d] = dc[n, d] * C[t, n, d] * f * (1 - f)
                gates[t, n, 2 * D + d] = dc[n, d] * i * (1 - g * g)
                gates[t, n, 3 * D + d] = dh[n, d] * tanh_c * o * (1 - o)
                dc[n, d] *= f
                dh[n, d] = 0

            for k in range(4 * D):
                dz = gates[t, n, k]
                gb[k] += dz
                for j in range(D):                          # undo (2)
                    dh[n, j] += u[k, j] * dz
                    gu[k, j] += dz * H[t, n, j]
                for j in range(I):                          # undo (1)
                    gx[t, n, j] += w[k, j] * dz
                    gw[k, j] += dz * x[t, n, j]


class LSTM(lstm.LSTM):
    """The face that runs these loops. Never compiled: the products take most of the time, and BLAS is far better at them."""

    def forward(self, x, h, c, w, u, b):
        (T, N, _), D = x.shape, h.shape[1]
        gates, H, C = (np.empty(shape, x.dtype) for shape in ((T, N, 4 * D), (T + 1, N, D), (T + 1, N, D)))
        H[0], C[0] = h, c
        forward(x, w, u, b, gates, H, C)
        self.save(x, w, u, gates, H, C)
        n = np.arange(N)
        return np.concatenate([H[1:], H[self.last, n][None], C[self.last, n][None]])            # (5)

    def backward(self, gy):
        x, w, u, gates, H, C = self.saved
        T, n = len(x), np.arange(x.shape[1])
        gH, gC = np.zeros_like(H), np.zeros_like(C)
        gH[1:] = gy[:T]
        gH[self.last, n] += gy[T]                                                               # undo (5)
        gC[self.last, n] += gy[T + 1]
        dh, dc, gx, gw, gu, gb = (np.zeros_like(a) for a in (H[0], C[0], x, w, u, w[:, 0]))
        backward(x, w, u, gates.copy(), H, C, gH, gC, dh, dc, gx, gw, gu, gb)
        return gx, dh + gH[0], dc + gC[0], gw, gu, gb


lstm.LSTM.loops = LSTM
