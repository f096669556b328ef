"""Attention: every query looks at all keys and takes the mean of the values, weighted by how well query and key agree.

    T queries q (.., T, E)   S keys k (.., S, E)   S values v (.., S, V)   scale = 1 / sqrt(E)

    (1)  s = scale q k' + bias,  -infinity where a query may not look                           (T, S)
    (2)  top = max_s s       p = exp(s - top)       total = sum_s p
    (3)  y = p v / total     (4)  L = top + ln total                                            (T, V), (T, 1)

Derivation. With the weights w = exp(s - L), y = w v. So gv = w' gy and gw = gy v'. The softmax answers
    gs = w (gw - sum_s w gw),  where sum_s w gw = gy . y, for y is that mean of the values.
(1) is a product and a sum: gq = scale gs k, gk = scale gs' q, gbias = gs.

The matrix s is T x S, for long sequences by far the largest array. It is never whole: work goes on in blocks of queries
(with all keys that they may see) and of heads, so that s stays in the cache. Only y and L are saved; backward makes w
again, block by block. What lies wholly in the future of a block, or before its window, is not computed at all.

Vaswani et al. 2017 (arXiv:1706.03762); without the T x S matrix: Dao et al. 2022 (2205.14135); grouped queries: Ainslie
et al. 2023 (2305.13245). Forward and backward of 8 x 4 heads, E = 32, causal, two threads: 1.1 to 1.6 times PyTorch's time at
T = 128 and at T = 1024. Peak memory of one head, T = 4096: 3.3 MiB a thread; one T x T array would take 64.
"""
import math

from .. import backend
from ..autograd import Kernel, sum_to
from ..ops import repeat, softmax, swapaxes, where
from ..ops.elementwise import array_of
from ..threads import in_threads, thread_count

_SCORES = {"cpu": 1 << 17, "cuda": 1 << 26}     # scores in one block: 512 KiB of float32 on the host, for the cache
_ROWS = 64                                      # but at least so many queries, for the products


class Attention(Kernel):
    """y[t] = sum over s of w[t, s] v[s],   w[t] = softmax(scale q[t] k' + bias[t])"""

    def __init__(self, mask, causal, window, scale, groups):
        self.mask, self.causal, self.window, self.scale = mask, causal, window, scale
        self.groups = groups            # number of key heads, if each serves a group of query heads; else None

    def reference(self, query, key, value, bias=0.0):
        if self.groups:
            times = query.shape[-3] // self.groups
            key, value = repeat(key, times, -3), repeat(value, times, -3)
        scores = query @ swapaxes(key, -1, -2) * self.scale + bias                  # (.., T, S)
        allowed = self._allowed(array_of(scores))
        if allowed is True:
            return softmax(scores) @ value
        weights = softmax(where(allowed, scores, _lowest(array_of(scores))))
        return where(allowed, weights, 0.0) @ value

    def forward(self, *inputs):
        q, k, v, *bias = self._by_group(inputs)
        lead, dtype = self._lead(q, k, v, *bias), self.xp.result_type(*inputs)
        y = self.xp.zeros((*lead, q.shape[-2], v.shape[-1]), dtype)
        L = self.xp.zeros((*self._lead(q, k, *bias), q.shape[-2], 1), dtype)
        blocks, numbers = self._blocks(lead, q, k)

        def work(part):
            for heads, rows, keys in blocks[part]:
                p = self._scores(q, k, bias, heads, rows, keys)                     # (1)
                top = self.xp.maximum(p.max(axis=-1, keepdims=True), _lowest(p))    # (2), finite even if all are hidden
                p -= top
                self.xp.exp(p, out=p)
                total = p @ self.xp.ones((p.shape[-1], 1), p.dtype)                 # p.sum, but faster
                total += total == 0                                                 # who may look nowhere: y = 0 / 1
                y[(*heads, rows)] = p @ _part(v, heads, keys) / total               # (3)
                _part(L, heads, rows)[...] = top + self.xp.log(total)               # (4)

        in_threads(work, self.xp.arange(len(blocks)), numbers)
        self.save(*inputs, y, L)
        return self._join_groups(y)

    def backward(self, gy):
        *inputs, y, L = self.saved
        q, k, v, *bias = self._by_group(inputs)
        gy, (blocks, numbers) = gy.reshape(y.shape), self._blocks(y.shape[:-2], q, k)

        def work(part):
            gradients = [self.xp.zeros_like(x) for i, x in enumerate(inputs) if i < 3 or self.needs(i)]
            gq, gk, gv, *gbias = self._by_group(gradients)
            for heads, rows, keys in blocks[part]:
                w = self._scores(q, k, bias, heads, rows, keys)                     # (1) and (2) again
                w -= _part(L, heads, rows)
                self.xp.exp(w, out=w)
                g = gy[(*heads, rows)]
                gs = g @ _part(v, heads, keys).swapaxes(-1, -2)                     # undo (3): gw, and gv
                _add(_part(gv, heads, keys), w.swapaxes(-1, -2) @ g)
                gs -= (g * y[(*heads, rows)]).sum(axis=-1, keepdims=True)           # undo (2)
                gs *= w
                _add(_part(gq, heads, rows), gs @ _part(k, heads, keys))            # undo (1)
                _add(_part(gk, heads, keys), gs.swapaxes(-1, -2) @ _part(q, heads, rows))
                for gb in gbias:
                    _add(_part(gb, heads, rows, keys), gs)
            return gradients

        # Several heads, and all rows, may share keys, so each thread sums its blocks into gradients of its own.
        threads = in_threads(work, self.xp.arange(len(blocks)), numbers)
        gq, gk, gv, *gbias = [sum(others, first) for first, *others in zip(*threads)]
        gq *= self.scale
        gk *= self.scale
        return gq, gk, gv, *(gbias or [None] * len(bias))

    # ------------------------------------------------------------ who may look where

    def _allowed(self, scores):
        """For the definition, the whole matrix; True: everybody may look everywhere."""
        xp = backend.array_module(scores)
        t, s = xp.arange(scores.shape[-2])[:, None], xp.arange(scores.shape[-1])
        allowed = True if self.mask is None else self.mask
        if self.causal:
            allowed = allowed & (s <= t)
        if self.window:
            allowed = allowed & (s > t - self.window)
        return allowed

    def _blocks(self, lead, q, k):
        """[(heads, rows, keys), ..], slices: blocks of queries, each with all keys that one of its queries may see; and how
        many numbers the work on one of them passes over."""
        T, S, H, most = q.shape[-2], k.shape[-2], math.prod(lead), _SCORES[backend.device_of(q)]
        threads = thread_count() if H * T * S >= most else 1
        n_rows = max(1, min(T, max(_ROWS, most // max(1, S))))
        if self.causal:                                     # many queries in a block: many keys that only the last may see
            n_rows = min(n_rows, max(_ROWS, min(T // 8, self.window or T)))

        blocks = []
        for start in range(0, T, n_rows):
            stop = min(start + n_rows, T)
            first = max(0, start + 1 - self.window) if self.window else 0
            last = min(stop, S) if self.causal else S
            if first < last:
                heads = _head_blocks(lead, min(most // (n_rows * (last - first)), -(-H // threads)))
                blocks += [(h, slice(start, stop), slice(first, last)) for h in heads]
        dealt = [block for i in range(threads) for block in blocks[i::threads]]         # early and late queries for each
        return dealt, 4 * H * T * S // max(1, len(blocks))

    def _scores(self, q, k, bias, heads, rows, keys):
        """(1) for one block."""
        s = (_part(q, heads, rows) * self.scale) @ _part(k, heads, keys).swapaxes(-1, -2)
        for b in bias:
            s = s + _part(b, heads, rows, keys)
        if self.mask is not None:
            s = s + self._penalty(~_part(*self._by_group([self.mask]), heads, rows, keys), s)

        t, key = self.xp.arange(rows.start, rows.stop)[:, None], self.xp.arange(keys.start, keys.stop)
        if self.causal and (n := keys.stop - rows.start - 1) > 0:                   # the last n keys: somebody's future
            s[..., -n:] += self._penalty(key[-n:] > t, s)
        if self.window and (n := rows.stop - self.window - keys.start) > 0:         # the first n: too old for somebody
            s[..., :n] += self._penalty(key[:n] <= t - self.window, s)
        return s

    def _penalty(self, hidden, s):
        return self.xp.where(hidden, float("-inf"), 0.0).astype(s.dtype)

    # ------------------------------------------------------------ heads

    def _by_group(self, arrays):
        """With grouped queries (.., H, A, B) as (.., groups, H / groups, A, B): a key head broadcasts to its group."""
        if not self.groups:
            return arrays
        return [x if x.ndim < 3 else self._split_heads(x) for x in arrays]

    def _split_heads(self, x):
        n = min(x.shape[-3], self.groups)                   # 1: the same for all heads
        return x.reshape(*x.shape[:-3], n, x.shape[-3] // n, *x.shape[-2:])

    def _join_groups(self, y):
        return y.reshape(*y.shape[:-4], y.shape[-4] * y.shape[-3], *y.shape[-2:]) if self.groups else y

    def _lead(self, *arrays):
        """The axes before the last two, broadcast."""
        masks = [] if self.mask is None else self._by_group([self.mask])
        return self.xp.broadcast_shapes(*[x.shape[:-2] for x in (*arrays, *masks)])


def _head_blocks(lead, heads):
    """The leading axes as tuples of slices, each with at most `heads` heads (but at least one)."""
    if not lead:
        yield ()
        return
    step = max(1, heads // max(1, math.prod(lead[1:])))
    for i in range(0, lead[0], step):
        for rest in _head_blocks(lead[1:], heads):
            yield (slice(i, i + step), *rest)


def _part(x, heads, rows, columns=slice(None)):
    """The part of x that broadcasts to a block: axes of length 1 serve every block."""
    place = (*heads, rows, columns)[-x.ndim:] if x.ndim else ()
    return x[(..., *[part if n > 1 else slice(None) for part, n in zip(place, x.shape)])]


def _lowest(scores):
    """A number below all scores, finite: its difference to any of them is no overflow either."""
    return float(backend.array_module(scores).finfo(scores.dtype).min) / 2


def _add(target, g):
    target += sum_to(g, target.shape)


def scaled_dot_product_attention(query, key, value, mask=None, causal=False, bias=None, window=None, scale=None):
    """softmax(scale Q K' + bias) V: query (.., T, E), key (.., S, E), value (.., S, V) -> (.., T, V).

    mask (bool, broadcast to (.., T, S)): True where a query may look. causal: query t sees keys s <= t. window: it sees
    the last `window` of those. bias (broadcast to (.., T, S)): added to the scores, as ALiBi does. scale: 1 / sqrt(E).
    A query that may look nowhere gets zeros. Leading axes broadcast; if key and value have fewer heads (axis -3) than
    the query, each of theirs serves a group of query heads.
    """
    mask = None if mask is None else array_of(mask)
    groups = _check(query, key, value, mask, bias, window)
    scale = 1 / math.sqrt(query.shape[-1]) if scale is None else scale
    inputs = (query, key, value) if bias is None else (query, key, value, bias)
    return Attention.face(query)(mask, causal or window is not None, window, scale, groups).apply(*inputs)


def _check(query, key, value, mask, bias, window):
    """The number of key heads if each serves a group of query heads, else None."""
    q, k, v = (tuple(x.shape) for x in (query, key, value))
    if min(map(len, (q, k, v))) < 2 or q[-1] != k[-1] or k[-2] != v[-2]:
        raise ValueError(f"scaled_dot_product_attention: got query {q}, key {k}, value {v}, "
                         "expected (.., T, E), (.., S, E) and (.., S, V)")
    if mask is not None and mask.dtype != bool:
        raise TypeError(f"scaled_dot_product_attention: got a mask of {mask.dtype}, expected bool, True where a query "
                        "may look; what is added to the scores is `bias`")
    if window is not None and window < 1:
        raise ValueError(f"scaled_dot_product_attention: got window = {window}, expected at least 1")

    H, heads, value_heads = (s[-3] if len(s) > 2 else 1 for s in (q, k, v))
    groups = heads if 1 < heads < H else None
    if groups and (H % heads or value_heads != heads):
        raise ValueError(f"scaled_dot_product_attention: got {H} query heads, {heads} key heads and {value_heads} "
                         "value heads, expected as many values as keys, and a multiple of that for queries")
    full = (H, q[-2], k[-2]) if groups else (q[-2], k[-2])
    for name, x in (("mask", mask), ("bias", bias)):
        if x is not None and any(n not in (1, right) for n, right in zip(x.shape[::-1], full[::-1])):
            raise ValueError(f"scaled_dot_product_attention: got a {name} of shape {tuple(x.shape)}, expected one that "
                             f"broadcasts to {full}")
    return groups
