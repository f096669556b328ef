"""The faces of layer, RMS and group norm that launch their CUDA kernels."""
import math

from .. import group_norm, group_norm_silu, normalization
from .launch import all_float32, launch, threads_for

_SHARED = 12288         # floats of shared memory that a block can have on every GPU: 48 KiB
_PARTS = 512            # blocks that share the rows in backward, each with a sum of its own


class LayerNorm(normalization.LayerNorm):
    """Forward reads x and writes y, backward reads x and gy and writes gx: no other array of that size."""

    def forward(self, x, w, b):
        if not _fits(2 * w.size, x, w, b):
            return super().forward(x, w, b)
        (x, w, b), D, xp = map(self.xp.ascontiguousarray, (x, w, b)), w.size, self.xp
        M = math.prod(x.shape[:x.ndim - w.ndim])
        y, mu, r = xp.empty(x.shape, x.dtype), xp.empty(M, x.dtype), xp.empty(M, x.dtype)
        launch("layer_norm", "layer_norm_forward", M, threads_for(D), x, w, b, self.eps, D, y, mu, r)
        self.save(x, w, mu, r)
        return y

    def backward(self, gy):
        if not _fits(2 * self.arrays[1].size, *self.arrays):
            return super().backward(gy)
        (x, w, mu, r), gy, xp = self.saved, self.xp.ascontiguousarray(gy), self.xp
        M, D, parts = len(mu), w.size, min(len(mu), _PARTS)
        gx, gws, gbs = xp.empty(x.shape, x.dtype), xp.empty((parts, D), x.dtype), xp.empty((parts, D), x.dtype)
        launch("layer_norm", "layer_norm_backward", parts, threads_for(D), x, w, mu, r, gy, M, D, gx, gws, gbs, shared=2 * D)
        return gx, gws.sum(axis=0).reshape(w.shape), gbs.sum(axis=0).reshape(w.shape)


class RMSNorm(normalization.RMSNorm):
    """As layer norm."""

    def forward(self, x, w):
        if not _fits(w.size, x, w):
            return super().forward(x, w)
        (x, w), D, xp = map(self.xp.ascontiguousarray, (x, w)), w.size, self.xp
        M = math.prod(x.shape[:x.ndim - w.ndim])
        y, r = xp.empty(x.shape, x.dtype), xp.empty(M, x.dtype)
        launch("rms_norm", "rms_norm_forward", M, threads_for(D), x, w, self.eps, D, y, r)
        self.save(x, w, r)
        return y

    def backward(self, gy):
        if not _fits(self.arrays[1].size, *self.arrays):
            return super().backward(gy)
        (x, w, r), gy, xp = self.saved, self.xp.ascontiguousarray(gy), self.xp
        M, D, parts = len(r), w.size, min(len(r), _PARTS)
        gx, gws = xp.empty(x.shape, x.dtype), xp.empty((parts, D), x.dtype)
        launch("rms_norm", "rms_norm_backward", parts, threads_for(D), x, w, r, gy, M, D, gx, gws, shared=D)
        return gx, gws.sum(axis=0).reshape(w.shape)


class GroupNorm(group_norm.GroupNorm):
    """A group is read twice, once from the cache, and written once, in either direction."""

    def forward(self, x, w, b):
        if not all_float32(x, w, b):
            return super().forward(x, w, b)
        (x, w, b), xp = map(self.xp.ascontiguousarray, (x, w, b)), self.xp
        y, mu, r = xp.empty(x.shape, x.dtype), *(xp.empty(len(x) * self.groups, x.dtype) for _ in range(2))
        sizes, threads = self._sizes(x)
        launch("group_norm", "group_norm_forward", x.size and len(mu), threads, x, w, b, self.eps, *sizes, y, mu, r)
        self.save(x, w, mu, r)
        return y

    def backward(self, gy):
        if not all_float32(*self.arrays):
            return super().backward(gy)
        (x, w, mu, r), gy, xp = self.saved[:4], self.xp.ascontiguousarray(gy), self.xp
        gx, gws, gbs = xp.empty(x.shape, x.dtype), xp.zeros(x.shape[:2], x.dtype), xp.zeros(x.shape[:2], x.dtype)
        sizes, threads = self._sizes(x)
        launch("group_norm", "group_norm_backward", x.size and len(mu), threads, x, w, mu, r, gy, *sizes, gx, gws, gbs)
        return gx, gws.sum(axis=0), gbs.sum(axis=0)

    def _sizes(self, x):
        """C, G, L, and the threads that pass over one group."""
        C, L = x.shape[1], math.prod(x.shape[2:])
        return (C, self.groups, L), threads_for(C // self.groups * L)


class GroupNormSiLU(group_norm_silu.GroupNormSiLU, GroupNorm):
    """The kernels of group norm, and SiLU's curve on arrays."""

    def forward(self, x, w, b):
        u = super().forward(x, w, b)
        if not all_float32(x, w, b):
            return u                                # the arrays have gone all the way
        slope = self.xp.empty_like(u)
        self.walk(u.reshape(-1), u.reshape(-1), slope.reshape(-1))
        self.save(*self.saved, slope)
        return u

    def backward(self, gy):
        return super().backward(gy * self.saved[4] if all_float32(*self.arrays) else gy)


def _fits(shared, *arrays):
    return 0 < shared <= _SHARED and all_float32(*arrays)


normalization.LayerNorm.cuda, normalization.RMSNorm.cuda = LayerNorm, RMSNorm
group_norm.GroupNorm.cuda, group_norm_silu.GroupNormSiLU.cuda = GroupNorm, GroupNormSiLU
