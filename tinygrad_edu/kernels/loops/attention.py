"""Attention, one number at a time. The numbered steps are those of kernels/attention.py.

    M heads   q, gq (M, T, E)   k, gk (M, S, E)   v, gv (M, S, V)   y, gy (M, T, V)   L (M, T)
    bias, gbias (M, T, S): added to the scores, -infinity where a query may not look

One walk over the keys is enough, though the largest score is known only at its end: whenever a larger one turns up, what was
summed until then is scaled down to it. So no row of weights is ever stored (Milakov & Gimelshein 2018, arXiv:1805.02867).
"""
import math

import numpy as np

from ...autograd import sum_to
from .. import attention


def forward(q, k, v, bias, scale, y, L):
    M, T, E = q.shape
    S, V = v.shape[1:]
    for m in range(M):
        for t in range(T):
            top, total = -math.inf, q.dtype.type(0)         # of the keys until now
            for s in range(S):
                if bias[m, t, s] == -math.inf:
                    continue
                score = score_of(q[m, t], k[m, s], bias[m, t, s], scale)                        # (1)
                if score > top:
                    shrink = math.exp(top - score)          # the first time exp(-infinity), 0
                    total *= shrink
                    for d in range(V):
                        y[m, t, d] *= shrink
                    top = score
                p = math.exp(score - top)                                                       # (2)
                total += p
                for d in range(V):
                    y[m, t, d] += p * v[m, s, d]

            if total > 0:                                   # else there was no key to look at, and y stays 0
                for d in range(V):
                    y[m, t, d] /= total                                                         # (3)
                L[m, t] = top + math.log(total)                                                 # (4)


def backward(q, k, v, bias, scale, y, L, gy, gq, gk, gv, gbias):
    M, T, E = q.shape
    S, V = v.shape[1:]
    for m in range(M):
        for t in range(T):
            mean = q.dtype.type(0)                          # of gw, weighted by w
            for d in range(V):
                mean += gy[m, t, d] * y[m, t, d]

            for s in range(S):
                if bias[m, t, s] == -math.inf:
                    continue
                w = math.exp(score_of(q[m, t], k[m, s], bias[m, t, s], scale) - L[m, t])        # (1) and (2) again
                gw = q.dtype.type(0)
                for d in range(V):                                                              # undo (3)
                    gw += gy[m, t, d] * v[m, s, d]
                    gv[m, s, d] += w * gy[m, t, d]
                gs = w * (gw - mean)                                                            # undo (2)
                gbias[m, t, s] = gs
                for e in range(E):                                                              # undo (1)
                    gq[m, t, e] += scale * gs * k[m, s, e]
                    gk[m, s, e] += scale * gs * q[m, t, e]


def score_of(q, k, bias, scale):
    total = bias
    for e in range(len(q)):
        total += scale * q[e] * k[e]
    return total


class Attention(attention.Attention):
    """The face that runs these loops. Never compiled: seven products and an exponential a score, all faster on arrays."""

    def forward(self, *inputs):
        lead, (q, k, v, bias) = self._spread(inputs)
        y, L = np.zeros((*q.shape[:2], v.shape[2]), bias.dtype), np.zeros(q.shape[:2], bias.dtype)
        forward(q, k, v, bias, self.scale, y, L)
        self.save(*inputs, y, L)
        return self._join_groups(y.reshape(*lead, *y.shape[1:]))

    def backward(self, gy):
        *inputs, y, L = self.saved
        lead, spread = self._spread(inputs)
        gradients = [np.zeros_like(x) for x in spread]
        backward(*spread, self.scale, y, L, gy.reshape(y.shape), *gradients)
        return tuple(sum_to(g.reshape(*lead, *g.shape[1:]), grouped.shape).reshape(x.shape)
                     for g, grouped, x in zip(gradients, self._by_group(inputs), inputs))

    def _spread(self, inputs):
        """The leading axes, and query, key, value and bias, each with a copy of its own for all M heads."""
        q, k, v, *biases = self._by_group(inputs)
        lead = self._lead(q, k, v, *biases)
        bias = sum(biases, np.zeros((*lead, q.shape[-2], k.shape[-2]), np.result_type(*inputs)))
        allowed = self._allowed(bias)
        if allowed is not True:
            bias[~np.broadcast_to(*self._by_group([allowed]), bias.shape)] = -math.inf
        return lead, [np.broadcast_to(x, (*lead, *x.shape[-2:])).reshape(math.prod(lead), *x.shape[-2:])
                      for x in (q, k, v, bias)]


attention.Attention.loops = Attention
