"""Losses: (n, ..) predictions and targets -> a number, or one for each with reduction="none". Shapes must be equal.

Cross-entropy and binary cross-entropy with logits are kernels.
"""
from ..kernels.cross_entropy import reduce
from ..ops import absolute, square, take_along_axis
from ..ops.elementwise import array_of


def mse_loss(input, target, reduction="mean"):
    """(input - target)^2. The shapes must be equal: (n, 1) against (n,) would broadcast to n x n differences."""
    _same_shape("mse_loss", input, target)
    return reduce(square(input - target), reduction)


def l1_loss(input, target, reduction="mean"):
    """|input - target|, equal shapes."""
    _same_shape("l1_loss", input, target)
    return reduce(absolute(input - target), reduction)


def nll_loss(log_probabilities, targets, reduction="mean"):
    """-log_probabilities[n, targets[n]]: (N, K) and integer (N,)."""
    ids = array_of(targets)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"nll_loss: targets must be integer class indices, got {ids.dtype}")
    if tuple(ids.shape) != tuple(log_probabilities.shape[:1]):
        raise ValueError(f"nll_loss: got targets of shape {ids.shape}, expected {log_probabilities.shape[:1]}")
    return reduce(-take_along_axis(log_probabilities, ids[:, None], axis=1).reshape(-1), reduction)


def _same_shape(caller, input, target):
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(f"{caller}: input has shape {tuple(input.shape)}, target {tuple(target.shape)}; they must be equal, "
                         "for broadcasting would compare every element with every other")
