"""Losses: (N, ..) predictions and targets -> a number, or one for each with reduction="none". Shapes must be equal.

PyTorch's names, defaults and meanings, in order: distances between numbers, likelihoods, classes, masks.
Cross-entropy and binary cross-entropy with logits are kernels; margin_losses.py and metric_losses.py have the others.
"""
import math

from .. import backend
from ..kernels.binary_cross_entropy import binary_cross_entropy_with_logits
from ..kernels.cross_entropy import cross_entropy, reduce
from ..ops import (absolute, cast, exp, expand_dims, expm1, log, maximum, power, sigmoid, square, squeeze, take_along_axis,
                   where)
from ..ops.elementwise import array_of, constant

_TINY = 1e-30           # instead of 0 under a power
_SMALL = 1e-37          # what counts as 0 in a logarithm: 1 over it is still a float32


# ---------------------------------------------------------------- distances between numbers

def mse_loss(input, target, reduction="mean"):
    """(input - target)^2. The shapes must be equal: (n, 1) against (n,) would broadcast to n x n differences."""
    same_shape("mse_loss", input=input, target=target)
    return reduce(square(input - target), reduction)


def l1_loss(input, target, reduction="mean"):
    """|input - target|"""
    same_shape("l1_loss", input=input, target=target)
    return reduce(absolute(input - target), reduction)


def huber_loss(input, target, reduction="mean", delta=1.0):
    """d^2 / 2 where |d| < delta, else delta (|d| - delta / 2): far off, the gradient stops growing. Huber 1964."""
    same_shape("huber_loss", input=input, target=target)
    if not delta > 0:
        raise ValueError(f"huber_loss: got delta = {delta}, expected a positive number")
    return reduce(_huber(input - target, delta), reduction)


def smooth_l1_loss(input, target, reduction="mean", beta=1.0):
    """huber_loss over beta: |d| - beta / 2, round where |d| < beta; beta = 0 is l1_loss. Girshick 2015, arXiv:1504.08083."""
    same_shape("smooth_l1_loss", input=input, target=target)
    if not beta >= 0:
        raise ValueError(f"smooth_l1_loss: got beta = {beta}, expected 0 or more")
    if beta == 0:
        return l1_loss(input, target, reduction)
    return reduce(_huber(input - target, beta) / beta, reduction)


def _huber(d, delta):
    return where(absolute(array_of(d)) < delta, 0.5 * square(d), delta * (absolute(d) - 0.5 * delta))


# ---------------------------------------------------------------- likelihoods: nats for a number, a count, a distribution

def gaussian_nll_loss(input, target, var, full=False, eps=1e-6, reduction="mean"):
    """-ln N(target; input, var) without its constant ln(2 pi) / 2, which `full` adds.

    var (..) as input, or without its last axis, or with length 1 there; below eps it counts as eps, though the gradient
    passes. Nix & Weigend 1994.
    """
    same_shape("gaussian_nll_loss", input=input, target=target)
    shape = tuple(input.shape)
    if tuple(var.shape) == shape[:-1] != shape:
        var = expand_dims(var, -1)
    if tuple(var.shape) not in (shape, shape[:-1] + (1,)):
        raise ValueError(f"gaussian_nll_loss: got var of shape {tuple(var.shape)}, expected {shape}, {shape[:-1] + (1,)} "
                         f"or {shape[:-1]}")
    _in_domain("gaussian_nll_loss", "var", var, 0, math.inf)

    var = var + constant(var, lambda v: (eps - v) * (v < eps))
    losses = 0.5 * (log(var) + square(input - target) / var)
    return reduce(losses + 0.5 * math.log(2 * math.pi) if full else losses, reduction)


def poisson_nll_loss(input, target, log_input=True, full=False, eps=1e-8, reduction="mean"):
    """-ln Poisson(target; rate) without ln target!, which `full` adds by Stirling's formula for counts above 1.

    input is ln rate; with log_input=False the rate itself.
    """
    same_shape("poisson_nll_loss", input=input, target=target)
    target = floats_like(input, target)
    losses = exp(input) - target * input if log_input else input - target * log(input + eps)
    if full:
        n = where(array_of(target) > 1, target, 1.0)
        losses = losses + where(array_of(target) > 1, n * log(n) - n + 0.5 * log(2 * math.pi * n), 0.0)
    return reduce(losses, reduction)


def kl_div(input, target, reduction="mean", log_target=False):
    """target (ln target - input), 0 where target is 0: summed over the classes, KL(target || e^input).

    input: ln q, target: p, or ln p with log_target. "mean" divides by all numbers; "batchmean" only by N, which is what
    the mathematics means.
    """
    same_shape("kl_div", input=input, target=target)
    if log_target:
        losses = exp(target) * (target - input)
    else:
        losses = target * (log(where(array_of(target) > 0, target, 1.0)) - input)
    return reduce(losses, "sum") / input.shape[0] if reduction == "batchmean" else reduce(losses, reduction)


# ---------------------------------------------------------------- classes

def nll_loss(input, target, weight=None, ignore_index=-100, reduction="mean"):
    """-input[n, target[n]]: input (N, K, ..) log-probabilities, target (N, ..) the right classes, integers.

    weight (K,) makes some classes count more: the mean is then a weighted one. Samples whose target is `ignore_index` do
    not count at all.
    """
    ids = classes_of("nll_loss", input, target, ignore_index)
    counts = ids != ignore_index
    ids = ids * counts
    shares = counts.astype(input.dtype)
    if weight is not None:
        shares *= class_weights("nll_loss", input, weight)[ids]
    picked = squeeze(take_along_axis(input, expand_dims(ids, 1), axis=1), 1)
    losses = where(counts, picked, 0.0) * -shares
    if reduction != "mean":
        return reduce(losses, reduction)
    with backend.ignore_float_errors():                         # if no sample counts, the mean is no number
        return losses.sum() / shares.sum()


def binary_cross_entropy(input, target, weight=None, reduction="mean"):
    """-ln of the Bernoulli likelihood of `target` (0..1) under the probability `input`; ln 0 counts as -100.

    weight multiplies the losses and broadcasts to their shape. From logits, binary_cross_entropy_with_logits is exact.
    """
    same_shape("binary_cross_entropy", input=input, target=target)
    target = floats_like(input, target)
    _in_domain("binary_cross_entropy", "input", input, 0, 1)
    yes, no = (where(array_of(p) > _SMALL, log(maximum(p, _SMALL)), -100.0) for p in (input, 1 - input))
    losses = -(target * yes + (1 - target) * no)
    return reduce(losses if weight is None else losses * array_of(weight), reduction)


def focal_loss(input, target, gamma=2.0, weight=None, reduction="mean"):
    """(1 - p)^gamma (-ln p), p = softmax(input)[target]: what is known already hardly counts. gamma = 0 is cross-entropy.

    input (N, K, ..), target (N, ..) integers; weight (K,) multiplies the losses. Lin et al. 2017, arXiv:1708.02002.
    """
    ids = classes_of("focal_loss", input, target)
    losses = cross_entropy(input, ids, reduction="none")
    losses = power(maximum(-expm1(-losses), _TINY), gamma) * losses
    return reduce(losses if weight is None else losses * class_weights("focal_loss", input, weight)[ids], reduction)


def sigmoid_focal_loss(input, target, alpha=0.25, gamma=2.0, reduction="none"):
    """The focal loss of yes-or-no answers given as logits, target 0 or 1; yes weighs alpha, no 1 - alpha (alpha < 0: both 1).

    Names, defaults and meaning as in torchvision. Lin et al. 2017, arXiv:1708.02002.
    """
    same_shape("sigmoid_focal_loss", input=input, target=target)
    target = floats_like(input, target)
    losses = binary_cross_entropy_with_logits(input, target, reduction="none")
    miss = sigmoid(-input) * target + sigmoid(input) * (1 - target)             # the probability of the wrong answer
    losses = power(maximum(miss, _TINY), gamma) * losses
    return reduce(losses if alpha < 0 else losses * (alpha * target + (1 - alpha) * (1 - target)), reduction)


def dice_loss(input, target, eps=1e-8, reduction="mean"):
    """1 - 2 sum(p t) / (sum(p^2) + sum(t^2)), one loss for each sample: 0 for a perfect mask, 1 for a disjoint one.

    input p: probabilities (N, ..), target t: masks of 0 and 1; eps makes two empty masks equal. It counts only what is in
    either mask, however large the background. Milletari, Navab & Ahmadi 2016, arXiv:1606.04797.
    """
    same_shape("dice_loss", input=input, target=target)
    target = floats_like(input, target)
    p, t = (x.reshape(x.shape[0], -1) for x in (input, target))
    return reduce(1 - (2 * (p * t).sum(axis=1) + eps) / ((p * p).sum(axis=1) + (t * t).sum(axis=1) + eps), reduction)


# ---------------------------------------------------------------- shared

def same_shape(caller, **operands):
    """An error that names the operands and says why, unless all have one shape."""
    if len({tuple(x.shape) for x in operands.values()}) > 1:
        got = ", ".join(f"{name} {tuple(x.shape)}" for name, x in operands.items()).replace(" ", " has shape ", 1)
        raise ValueError(f"{caller}: {got}; they must be equal, for broadcasting would compare every element with every other")


def floats_like(input, target):
    """`target` as it is, or in input's type if it holds integers or bools: these would make float32 float64."""
    return target if target.dtype.kind == "f" else cast(target, input.dtype)


def _in_domain(caller, name, x, low, high):
    """An error if a number lies outside [low, high] or is NaN. On a device nobody looks: that would wait for it."""
    data = array_of(x)
    if backend.device_of(data) == "cpu" and data.size and not (low <= data.min() and data.max() <= high):
        raise ValueError(f"{caller}: got {name} in [{data.min():.4g}, {data.max():.4g}], expected [{low}, {high}]")


def classes_of(caller, input, target, ignore_index=None):
    """The array in `target`: integer classes of input's shape without axis 1. Their range is not looked at on a device."""
    ids, shape = array_of(target), tuple(input.shape)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"{caller}: targets must be integer class indices, got {ids.dtype}")
    if len(shape) < 2 or tuple(ids.shape) != shape[:1] + shape[2:]:
        raise ValueError(f"{caller}: input has shape {shape}, got targets of shape {tuple(ids.shape)}, "
                         f"expected {shape[:1] + shape[2:]}")
    if backend.device_of(ids) == "cpu" and ((ids != ignore_index) & ((ids < 0) | (ids >= shape[1]))).any():
        raise ValueError(f"{caller}: targets lie in [{ids.min()}, {ids.max()}], expected [0, {shape[1]})")
    return ids


def class_weights(caller, input, weight):
    """The array in `weight` (K,), in input's dtype."""
    weight = array_of(weight)
    if tuple(weight.shape) != tuple(input.shape[1:2]):
        raise ValueError(f"{caller}: weight has shape {tuple(weight.shape)}, expected {tuple(input.shape[1:2])}")
    return weight.astype(input.dtype)
