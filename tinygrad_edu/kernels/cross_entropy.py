"""Softmax cross-entropy: the loss of a classifier that answers with unnormalized log-probabilities ("logits").

    M samples   K classes   x (M, K) logits   t (M,) the right classes   p = softmax(x)

    (1)  top = max_k x        (2)  e = exp(x - top)        (3)  s = sum_k e        (4)  y = ln s + (top - x[t])

Derivation. y = -ln p[t] = ln(sum_k e^(x_k)) - x_t. The first term has the derivative p_k, the second 1 at k = t:
    gx = gy (p - one_hot(t)): push the right logit up by what is missing to 1, the others down by what they have.
Taking the largest logit out in (1) changes nothing, (4) puts it back, and nothing can overflow.

p is e / s, so forward saves p - one_hot(t), and backward is one product. Blocks of rows stay in the cache, two threads share
them. In short rows NumPy's maximum costs more than all the rest: where all logits of a block lie close together, the
largest of all of them will do. The loops save only top and s, and make p again.
Forward and backward take half the time of the composition on 1024 x 256.
"""
from .. import backend
from ..autograd import Kernel
from ..ops import expand_dims, logsumexp, squeeze, take_along_axis, where
from ..ops.elementwise import array_of
from ..threads import in_threads
from .softmax import log_softmax

_SHORT = 64             # rows of fewer numbers share one maximum
_CLOSE = 40             # if their range is smaller: e^-40 is still an ordinary float32, and 40 is known to 2e-6


class CrossEntropy(Kernel):
    """y[n] = -ln softmax(x[n])[t[n]],  x (N, K, ..), t (N, ..)"""

    def __init__(self, targets):
        self.targets = targets

    def reference(self, x):
        return logsumexp(x, axis=1) - squeeze(take_along_axis(x, expand_dims(self.targets, 1), axis=1), 1)

    def forward(self, x):
        if x.ndim == 2:
            return self.losses(x, self.targets)
        rows = self.xp.moveaxis(x, 1, -1).reshape(-1, x.shape[1])               # (N, K, ..) -> (M, K)
        return self.losses(rows, self.targets.reshape(-1)).reshape(self.targets.shape)

    def backward(self, gy):
        if gy.ndim == 1:
            return self.undo(gy)
        gx = self.undo(gy.reshape(-1))                                          # (M, K)
        return self.xp.ascontiguousarray(self.xp.moveaxis(gx.reshape(*gy.shape, gx.shape[1]), -1, 1))

    def losses(self, x, t):
        (M, K), xp = x.shape, self.xp
        p, ones = xp.empty((M, K), x.dtype), xp.ones((K, 1), x.dtype)
        log_s, tops = xp.empty((M, 1), x.dtype), xp.empty((M, 1), x.dtype)

        def work(part):
            for i in backend.blocks(x[part], K):
                xi, e = x[part][i], p[part][i]
                top = tops[part][i] = largest(xi)                               # (1)
                xp.subtract(xi, top, out=e)                                     # (2)
                xp.exp(e, out=e)
                s = e.dot(ones)                                                 # (3)
                xp.log(s, out=log_s[part][i])
                e /= s

        in_threads(work, x, 5 * K)
        right = xp.arange(0, M * K, K) + t                                      # the place of each x[n, t[n]]
        p.reshape(-1)[right] -= 1
        self.save(p)
        return log_s[:, 0] + (tops[:, 0] - x.reshape(-1)[right])                # (4)

    def undo(self, gy):
        (slope,) = self.saved
        gx = self.xp.empty_like(slope)
        in_threads(lambda part: self.xp.multiply(slope[part], gy[part, None], out=gx[part]), gx, 2 * gx.shape[1])
        return gx


def largest(x):
    """For each row of x (M, K) a number that is not much smaller than its largest: (M, 1), or one for all."""
    short = 1 < x.shape[1] < _SHORT and x.dtype.itemsize > 2 and backend.device_of(x) == "cpu"
    if short and x.max() - x.min() < _CLOSE:
        return x.max()
    return x.max(axis=1, keepdims=True)


def cross_entropy(input, target, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
    """-ln softmax(input)[target], averaged over the samples.

    input (N, K) or (N, K, ..); target the right classes, integers (N, ..), or their probabilities, floats of input's shape.
    weight (K,) makes some classes count more: a mean over classes is then a weighted one. Samples whose target is
    `ignore_index` do not count at all. label_smoothing takes that share of the probability from the right class and
    spreads it evenly over all K (Szegedy et al. 2015, arXiv:1512.00567). reduction: "mean", "sum" or "none".
    """
    ids, weight = array_of(target), None if weight is None else array_of(weight).astype(input.dtype)
    _check(input, ids, weight, label_smoothing)
    if ids.dtype.kind == "f":
        target = (1 - label_smoothing) * target + label_smoothing / input.shape[1] if label_smoothing else target
        return reduce(_against(input, target, weight), reduction)

    if _all_in_range(ids, input.shape[1], ignore_index) and weight is None and not label_smoothing:
        return reduce(CrossEntropy.face(input)(ids).apply(input), reduction)

    counts = ids != ignore_index
    ids = ids * counts
    losses = CrossEntropy.face(input)(ids).apply(input)
    shares = counts.astype(input.dtype)
    if weight is not None:
        shares *= weight[ids]
        losses = losses * weight[ids]
    if label_smoothing:
        losses = (1 - label_smoothing) * losses + label_smoothing * _against(input, 1 / input.shape[1], weight)
    losses = where(counts, losses, 0.0)
    if reduction != "mean":
        return reduce(losses, reduction)
    with backend.ignore_float_errors():                         # if no sample counts, the mean is no number
        return losses.sum() * (1 / shares.sum())


def _against(input, q, weight):
    """-sum_k weight_k q_k ln softmax(input)_k: the loss against probabilities q."""
    if weight is not None:
        q = q * weight.reshape(-1, *[1] * (input.ndim - 2))
    return -(log_softmax(input, axis=1) * q).sum(axis=1)


def reduce(losses, reduction):
    """The mean, the sum, or all of the losses."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction: got {reduction!r}, expected 'mean', 'sum' or 'none'")
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


def _check(input, ids, weight, label_smoothing):
    shape = tuple(input.shape)
    if not backend.is_array(ids) or ids.dtype.kind not in "iu" and tuple(ids.shape) != shape:
        raise TypeError("cross_entropy: targets must be integer class indices, got "
                        f"{getattr(ids, 'dtype', type(ids).__name__)}")
    expected = shape if ids.dtype.kind == "f" else shape[:1] + shape[2:]
    if len(shape) < 2 or tuple(ids.shape) != expected:
        raise ValueError(f"cross_entropy: input has shape {shape}, expected targets of shape {expected}, "
                         f"got {tuple(ids.shape)}")
    if weight is not None and tuple(weight.shape) != shape[1:2]:
        raise ValueError(f"cross_entropy: weight has shape {tuple(weight.shape)}, expected {shape[1:2]}")
    if not 0 <= label_smoothing <= 1:
        raise ValueError(f"cross_entropy: got label_smoothing = {label_smoothing}, expected 0 to 1")


def _all_in_range(ids, classes, ignore_index):
    """Is every sample's class one of those that count? An error if it is no class at all. On a device nobody looks: False."""
    if backend.device_of(ids) != "cpu":
        return False
    low, high = ids.min(initial=0), ids.max(initial=0)
    if 0 <= low and high < classes:
        return not 0 <= ignore_index < classes
    wrong = (ids != ignore_index) & ((ids < 0) | (ids >= classes))
    if wrong.any():
        raise ValueError(f"cross_entropy: targets lie in [{ids.min()}, {ids.max()}], expected [0, {classes})")
    return False
