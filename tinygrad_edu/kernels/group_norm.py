"""Group and instance norm: normalize each run of channels of each sample. Equations, derivation and papers: normalization.py.

    x (N, C, ..) as B groups, each of K rows of S numbers; a row is a channel of one sample and has one scale and one shift

Group norm gathers K = C / groups channels of a sample, instance norm one channel; batch norm, in batch_norm.py, the same
channel of all K = N samples.
"""
import math

from .. import backend
from ..autograd import Kernel
from ..threads import in_threads
from .normalization import check_affine, filled, in_blocks, standardized


class GroupNorm(Kernel):
    """y = w (x - mean(x)) / sqrt(var(x) + eps) + b over `groups` equal runs of channels of x (N, C, ..); w and b (C,)"""

    def __init__(self, groups, eps):
        self.groups, self.eps = groups, eps

    def reference(self, x, w, b):
        groups = x.reshape(len(x), self.groups, math.prod(x.shape[1:]) // self.groups)
        shape = (-1,) + (1,) * (x.ndim - 2)
        return standardized(groups, 2, self.eps).reshape(x.shape) * w.reshape(shape) + b.reshape(shape)

    def forward(self, x, w, b):
        y = self.xp.empty(x.shape, x.dtype)
        self.standardize(self.rows(x), self.each_row(w, x), self.each_row(b, x), self.rows(y))
        return y

    def backward(self, gy):
        gx = self.xp.empty(gy.shape, gy.dtype)
        return gx, *map(self.each_channel, self.undo(self.rows(gy), self.rows(gx)))

    def rows(self, x):
        """x as B groups of K rows of S numbers, here (N groups, C / groups, ..)."""
        N, C = x.shape[:2]
        return x.reshape(N * self.groups, C // self.groups, math.prod(x.shape[2:]))

    def each_row(self, w, x):
        """The scale of each row, one number a channel: (C,) -> (B, K, 1) or (B, 1, 1)."""
        return self.xp.tile(w.reshape(self.groups, len(w) // self.groups, 1), (len(x), 1, 1))

    def each_channel(self, g):
        """The sum of g (B, K, 1) over the rows of each channel: (C,)."""
        return g.reshape(-1, self.arrays[1].size).sum(axis=0)

    def standardize(self, x, w, b, y):
        (B, K, S), xp = x.shape, self.xp
        mu, r = xp.empty((B, 1, 1), x.dtype), xp.empty((B, 1, 1), x.dtype)

        def work(part):
            for i in in_blocks(x[part]):
                yi = y[part][i]
                mu[part][i], v = moments(x[part][i], yi)                               # (1) and (2)
                r_i = r[part][i] = 1 / xp.sqrt(v + self.eps)                            # (3)
                yi *= r_i * w[part][i]                                                  # (4) and (5)
                yi += b[part][i]

        in_threads(work, x, 6 * K * S)
        self.save(x, w, mu, r)

    def undo(self, gy, gx):
        x, w, mu, r = self.saved[:4]
        (B, K, S), xp = x.shape, self.xp
        n = max(1, K * S)
        gw, gb = xp.empty_like(x[:, :, :1]), xp.empty_like(x[:, :, :1])

        def work(part):
            for i in in_blocks(x[part]):
                w_i, r_i, gy_i, g = w[part][i], r[part][i], gy[part][i], gx[part][i]
                h = x[part][i] - mu[part][i]                                            # (4) again, still without r
                xp.multiply(gy_i, h, out=g)
                gw_i = gw[part][i] = row_sums(g) * r_i                                  # undo (5)
                gb_i = gb[part][i] = row_sums(gy_i)
                h *= r_i * r_i * (w_i * gw_i).sum(axis=1, keepdims=True) / n            # through r:  r h mean(w gy h)
                h += r_i * (w_i * gb_i).sum(axis=1, keepdims=True) / n                  # through mu: r mean(w gy)
                xp.multiply(gy_i, r_i * w_i, out=g)                                     # undo (4) to (1)
                g -= h

        in_threads(work, x, 8 * K * S)
        return gw, gb


def moments(x, centred=None):
    """Mean and variance (B, 1, 1) of each x[i], x (B, K, S); `centred`, if given, becomes x - mean."""
    n, xp = max(1, math.prod(x.shape[1:])), backend.array_module(x)
    mu = row_sums(x).sum(axis=1, keepdims=True) / n
    centred = xp.subtract(x, mu, out=centred)
    return mu, row_sums(centred * centred).sum(axis=1, keepdims=True) / n


def row_sums(x):
    """x (B, K, S) summed over S: (B, K, 1)"""
    return x if x.shape[2] == 1 else x @ backend.array_module(x).ones((x.shape[2], 1), x.dtype)


def group_norm(x, num_groups, weight=None, bias=None, eps=1e-5):
    """Normalize x (N, C, ...) over each of `num_groups` equal runs of channels; weight and bias (C,)."""
    C = check_groups("group_norm", x, num_groups, weight, bias)
    return GroupNorm.face(x)(num_groups, eps).apply(x, filled(weight, x, (C,), 1), filled(bias, x, (C,), 0))


def instance_norm(x, weight=None, bias=None, eps=1e-5):
    """Normalize every channel of every sample of x (N, C, ...) by itself; weight and bias (C,)."""
    C = check_channels("instance_norm", x, weight, bias)
    return GroupNorm.face(x)(C, eps).apply(x, filled(weight, x, (C,), 1), filled(bias, x, (C,), 0))


def check_channels(caller, x, weight, bias):
    if x.ndim < 2:
        raise ValueError(f"{caller}: got x of shape {tuple(x.shape)}, expected (N, C, ..)")
    check_affine(caller, (x.shape[1],), weight=weight, bias=bias)
    return x.shape[1]


def check_groups(caller, x, num_groups, weight, bias):
    C = check_channels(caller, x, weight, bias)
    if num_groups < 1 or C % num_groups:
        raise ValueError(f"{caller}: {C} channels cannot be cut into {num_groups} groups")
    return C
