"""The face of attention that launches its CUDA kernels: all keys or the causal ones, as many key heads as query heads."""
import math

from .. import attention
from .launch import all_float32, launch

_THREADS = 128


class Attention(attention.Attention):
    """Saves y and L, like the arrays; nothing of the size T x S is in memory at any time."""

    def forward(self, *inputs):
        if not self._fits(*inputs):
            return super().forward(*inputs)
        q, k, v = inputs = tuple(map(self.xp.ascontiguousarray, inputs))
        y, L = self.xp.empty(q.shape, q.dtype), self.xp.empty((*q.shape[:-1], 1), q.dtype)
        self._launch("attention_forward", q, q, k, v, *self._sizes(q, k), y, L)
        self.save(*inputs, y, L)
        return y

    def backward(self, gy):
        *inputs, y, L = self.saved
        if not self._fits(*inputs):
            return super().backward(gy)
        (q, k, v), gy = inputs, self.xp.ascontiguousarray(gy)
        (gq, gk, gv), delta = (self.xp.empty(x.shape, x.dtype) for x in inputs), self.xp.empty(L.shape, L.dtype)
        sizes = self._sizes(q, k)
        self._launch("attention_backward_queries", q, q, k, v, y, L, gy, *sizes, gq, delta)
        self._launch("attention_backward_keys", k, q, k, v, L, delta, gy, *sizes, gk, gv)
        return gq, gk, gv

    def _fits(self, q, k, v, *bias):
        plain = self.mask is None and not self.window and not self.groups and not bias
        alike = k.shape == v.shape and q.shape[:-2] == k.shape[:-2] and q.shape[-1] <= 128
        return plain and alike and all_float32(q, k, v)

    def _sizes(self, q, k):
        return q.shape[-2], k.shape[-2], q.shape[-1], float(self.scale), self.causal

    def _launch(self, function, x, *arguments):
        """With a block for each ROWS rows of x, of every head."""
        D = next(D for D in (32, 64, 128) if x.shape[-1] <= D)
        blocks = math.prod(x.shape[:-2]) * -(-x.shape[-2] // (_THREADS * 32 // D))
        launch("attention", function, blocks, _THREADS, *arguments, options=(f"-DD={D}",))


attention.Attention.cuda = Attention
