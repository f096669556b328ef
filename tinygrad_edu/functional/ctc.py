"""Connectionist temporal classification: the loss of a sequence of labels when nobody says where in time they are.

    T steps   N sequences   C classes, one of them the blank "-"   S labels   L = 2 S + 1 places

A path says one class at each step; it reads as what is left when repetitions, then blanks, are dropped: "aa-b" and "a-bb"
both read "ab". The loss is -ln of the sum of the probabilities of all paths that read as the target. There are very
many, but they all walk along one row of places, "- a - b -", from one of the first two to one of the last two:

    alpha_t(s) = p_t(place s) (alpha_{t-1}(s) + alpha_{t-1}(s - 1) + alpha_{t-1}(s - 2)),

stay, go on, or skip the blank, which only leads from one label to a different one. All in logarithms. Its derivative
needs no second recursion: it is the backward pass of this one.  Graves, Fernandez, Gomez & Schmidhuber 2006.
"""
import math

from .. import backend
from ..kernels.cross_entropy import reduce
from ..ops import expand_dims, logaddexp, logsumexp, maximum, pad, squeeze, stack, take_along_axis, where
from ..ops.elementwise import array_of

_NEVER = -1e30          # ln 0, but finite: differences of infinities are no numbers


def ctc_loss(log_probs, targets, input_lengths, target_lengths, blank=0, reduction="mean", zero_infinity=False):
    """-ln P(targets | log_probs): log_probs (T, N, C) from log_softmax, targets (N, S) integers, lengths (N,) each.

    What lies beyond a sequence's own lengths does not count. "mean" divides each loss by its target's length first. Too
    few steps for the target: infinite, or 0 with zero_infinity; the gradient is 0.
    """
    (T, N, C), xp = log_probs.shape, backend.array_module(array_of(log_probs))
    targets, steps, labels = (xp.asarray(array_of(x)) for x in (targets, input_lengths, target_lengths))
    _check((T, N, C), targets, steps, labels, blank)

    places = xp.full((N, 2 * targets.shape[1] + 1), blank)                              # - a - b -
    places[:, 1::2] = xp.where(xp.arange(targets.shape[1]) < labels[:, None], targets, blank)
    skips = xp.zeros(places.shape, dtype=bool)
    skips[:, 2:] = (places[:, 2:] != blank) & (places[:, 2:] != places[:, :-2])

    alpha = xp.full(places.shape, _NEVER, dtype=log_probs.dtype)                        # before the first step: all at the
    alpha[:, 0] = 0                                                                     # first blank, which costs nothing
    log_probs = maximum(log_probs, _NEVER)
    for t in range(T):
        on, skip = (pad(alpha, ((0, 0), (k, 0)), value=_NEVER)[:, :places.shape[1]] for k in (1, 2))
        ways = stack([alpha, on, where(skips, skip, _NEVER)])                           # (3, N, L)
        reached = logsumexp(ways, axis=0) + take_along_axis(log_probs[t], places, axis=1)
        alpha = where((t < steps)[:, None], reached, alpha)

    last = expand_dims(2 * labels, 1)                                                   # the blank after the last label
    before = where((labels > 0)[:, None], take_along_axis(alpha, xp.maximum(last - 1, 0), axis=1), _NEVER)
    losses = -squeeze(logaddexp(take_along_axis(alpha, last, axis=1), before), 1)       # (N,)
    losses = where(array_of(losses) < -_NEVER / 2, losses, 0.0 if zero_infinity else math.inf)
    return reduce(losses / xp.maximum(labels, 1).astype(losses.dtype) if reduction == "mean" else losses, reduction)


def _check(shape, targets, steps, labels, blank):
    T, N, C = shape
    if targets.ndim != 2 or targets.shape[0] != N or steps.shape != (N,) or labels.shape != (N,):
        raise ValueError(f"ctc_loss: got targets {targets.shape} and lengths {steps.shape} and {labels.shape}, "
                         f"expected ({N}, S), ({N},) and ({N},)")
    if not 0 <= blank < C:
        raise ValueError(f"ctc_loss: got blank = {blank}, expected one of {C} classes")
    if backend.device_of(targets) == "cpu":
        for name, x, most in (("targets", targets, C - 1), ("input_lengths", steps, T),
                              ("target_lengths", labels, targets.shape[1])):
            if x.size and not (0 <= x.min() and x.max() <= most):
                raise ValueError(f"ctc_loss: got {name} in [{x.min()}, {x.max()}], expected [0, {most}]")
