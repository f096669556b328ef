"""Softmax cross-entropy: the loss of a classifier that answers with unnormalized log-probabilities ("logits").

    N samples   K classes   x (N, K) logits   t (N,) the right classes   p = softmax(x)

    (1)  top = max_k x        (2)  e = exp(x - top)        (3)  s = sum_k e        (4)  y = ln s + top - x[t]

Derivation. y = -ln p[t] = ln(sum_k e^(x_k)) - x_t. The first term has the derivative p_k, the second 1 at k = t:
    gx = gy (p - one_hot(t)): push the right logit up by what is missing to 1, the others down by what they have.
Taking the largest logit out in (1) changes nothing, (4) puts it back, and nothing can overflow.
"""
from .. import backend
from ..autograd import Kernel
from ..ops import expand_dims, logsumexp, take_along_axis
from ..tensor import Tensor


class CrossEntropy(Kernel):
    """y[n] = -ln softmax(x[n])[t[n]]"""

    def __init__(self, targets):
        self.targets = targets

    def reference(self, x):
        return logsumexp(x, axis=1) - take_along_axis(x, expand_dims(self.targets, 1), axis=1).reshape(-1)

    def forward(self, x):
        xp, rows = self.xp, self.xp.arange(len(x))
        p, y = xp.empty_like(x), xp.empty(len(x), x.dtype)
        for block in backend.blocks(x, x.shape[1]):
            top = x[block].max(axis=1, keepdims=True)           # (1)
            e = xp.exp(x[block] - top)                          # (2)
            s = e.sum(axis=1, keepdims=True)                    # (3)
            y[block] = (xp.log(s) + top)[:, 0]                  # (4)
            p[block] = e / s
        self.save(p, rows)
        return y - x[rows, self.targets]

    def backward(self, gy):
        p, rows = self.saved
        gx = p * gy[:, None]
        gx[rows, self.targets] -= gy
        return gx


def cross_entropy(logits, targets, reduction="mean"):
    """-ln softmax(logits)[target], averaged over the samples.

    logits (N, K) or (N, K, ...), targets integer class indices (N,) or (N, ...). reduction: "mean", "sum" or "none".
    """
    ids = targets.data if isinstance(targets, Tensor) else targets
    if not backend.is_array(ids) or ids.dtype.kind not in "iu":
        raise TypeError(f"cross_entropy: targets must be integer class indices, got {getattr(ids, 'dtype', type(ids).__name__)}")
    if logits.ndim < 2 or tuple(ids.shape) != tuple(logits.shape[:1] + logits.shape[2:]):
        raise ValueError(f"cross_entropy: logits have shape {tuple(logits.shape)}, expected targets of shape "
                         f"{tuple(logits.shape[:1] + logits.shape[2:])}, got {tuple(ids.shape)}")
    shape = ids.shape
    if logits.ndim > 2:                                         # (N, K, ...) -> (N .., K)
        logits = logits.transpose(0, *range(2, logits.ndim), 1).reshape(-1, logits.shape[1])
        ids = ids.reshape(-1)
    _check_range(ids, logits.shape[1])
    return reduce(CrossEntropy.face(logits)(ids).apply(logits).reshape(shape), reduction)


def reduce(losses, reduction):
    """The mean, the sum, or all of the losses."""
    if reduction not in ("mean", "sum", "none"):
        raise ValueError(f"reduction: got {reduction!r}, expected 'mean', 'sum' or 'none'")
    return losses if reduction == "none" else losses.mean() if reduction == "mean" else losses.sum()


def _check_range(ids, classes):
    if backend.device_of(ids) == "cpu" and ids.size and not (0 <= ids.min() and ids.max() < classes):
        raise ValueError(f"cross_entropy: targets lie in [{ids.min()}, {ids.max()}], expected [0, {classes})")
