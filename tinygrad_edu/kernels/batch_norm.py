"""Batch norm: normalize each channel over the whole batch. Equations, derivation and papers: normalization.py.

The rows of group_norm.py, gathered in another way: a group is one channel of all samples.
"""
import math

from .. import backend
from ..ops import sqrt
from ..ops.elementwise import array_of
from ..threads import in_threads
from .group_norm import GroupNorm, check_channels, moments
from .normalization import filled, in_blocks, standardized


class BatchNorm(GroupNorm):
    """y = w (x - mean(x)) / sqrt(var(x) + eps) + b over the batch, for each channel of x (N, C, ..); w and b (C,)"""
    loops = cuda = None             # its own, not those of group norm

    def __init__(self, eps):
        self.eps = eps

    def reference(self, x, w, b):
        shape = (-1,) + (1,) * (x.ndim - 2)
        return standardized(x, (0, *range(2, x.ndim)), self.eps) * w.reshape(shape) + b.reshape(shape)

    def rows(self, x):
        N, C = x.shape[:2]
        return x.reshape(N, C, math.prod(x.shape[2:])).swapaxes(0, 1)                   # (C, N, ..)

    def each_row(self, w, x):
        return w[:, None, None]

    def each_channel(self, g):
        return g.sum(axis=(1, 2))


def batch_norm(x, weight=None, bias=None, mean=None, variance=None, eps=1e-5):
    """Normalize every channel of x (N, C, ...) over the batch, or by the given `mean` and `variance` (C,), as constants."""
    C = check_channels("batch_norm", x, weight, bias)
    weight, bias = filled(weight, x, (C,), 1), filled(bias, x, (C,), 0)
    if mean is None:
        return BatchNorm.face(x)(eps).apply(x, weight, bias)
    shape = (C,) + (1,) * (x.ndim - 2)
    scale = weight / sqrt(variance + eps)
    return (x - mean.reshape(shape)) * scale.reshape(shape) + bias.reshape(shape)


def batch_statistics(x):
    """Mean and variance (C,) of every channel of x (N, C, ...), which batch_norm normalizes by: arrays, constants."""
    data = BatchNorm(0).rows(array_of(x))
    xp, K, S = backend.array_module(data), *data.shape[1:]

    def work(part):
        block_moments = [moments(data[part][i]) for i in in_blocks(data[part])]
        return [xp.concatenate(values).reshape(-1) for values in zip(*block_moments)]

    means, variances = zip(*in_threads(work, data, 4 * K * S))
    return xp.concatenate(means), xp.concatenate(variances)
