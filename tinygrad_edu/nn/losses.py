"""Losses as modules: nn.MSELoss()(input, target) is F.mse_loss(input, target). A loss keeps its options, nothing is learned.

What a loss means, its shapes and its paper stand with the function of the same name in `functional`.
"""
from .. import functional as F
from ..tensor import Tensor
from .module import Module


class Loss(Module):
    """Base of the losses: they print their reduction, "mean", "sum" or "none"."""

    def __init__(self, reduction="mean"):
        self.reduction = reduction

    def extra_repr(self):
        return f"reduction={self.reduction!r}"


# ---------------------------------------------------------------- distances between numbers

class MSELoss(Loss):
    """F.mse_loss"""
    def forward(self, input, target):
        return F.mse_loss(input, target, self.reduction)


class L1Loss(Loss):
    """F.l1_loss"""
    def forward(self, input, target):
        return F.l1_loss(input, target, self.reduction)


class SmoothL1Loss(Loss):
    """F.smooth_l1_loss"""
    def __init__(self, reduction="mean", beta=1.0):
        self.reduction, self.beta = reduction, beta
    def forward(self, input, target):
        return F.smooth_l1_loss(input, target, self.reduction, self.beta)


class HuberLoss(Loss):
    """F.huber_loss"""
    def __init__(self, reduction="mean", delta=1.0):
        self.reduction, self.delta = reduction, delta
    def forward(self, input, target):
        return F.huber_loss(input, target, self.reduction, self.delta)


# ---------------------------------------------------------------- likelihoods

class GaussianNLLLoss(Loss):
    """F.gaussian_nll_loss"""
    def __init__(self, full=False, eps=1e-6, reduction="mean"):
        self.full, self.eps, self.reduction = full, eps, reduction
    def forward(self, input, target, var):
        return F.gaussian_nll_loss(input, target, var, self.full, self.eps, self.reduction)


class PoissonNLLLoss(Loss):
    """F.poisson_nll_loss"""
    def __init__(self, log_input=True, full=False, eps=1e-8, reduction="mean"):
        self.log_input, self.full, self.eps, self.reduction = log_input, full, eps, reduction
    def forward(self, input, target):
        return F.poisson_nll_loss(input, target, self.log_input, self.full, self.eps, self.reduction)


class KLDivLoss(Loss):
    """F.kl_div; reduction may be "batchmean" too."""
    def __init__(self, reduction="mean", log_target=False):
        self.reduction, self.log_target = reduction, log_target
    def forward(self, input, target):
        return F.kl_div(input, target, self.reduction, self.log_target)


# ---------------------------------------------------------------- classes

class CrossEntropyLoss(Loss):
    """F.cross_entropy"""
    def __init__(self, weight=None, ignore_index=-100, reduction="mean", label_smoothing=0.0):
        self.weight, self.ignore_index, self.reduction = _buffer(weight), ignore_index, reduction
        self.label_smoothing = label_smoothing
    def forward(self, input, target):
        return F.cross_entropy(input, target, self.weight, self.ignore_index, self.reduction, self.label_smoothing)


class NLLLoss(Loss):
    """F.nll_loss"""
    def __init__(self, weight=None, ignore_index=-100, reduction="mean"):
        self.weight, self.ignore_index, self.reduction = _buffer(weight), ignore_index, reduction
    def forward(self, input, target):
        return F.nll_loss(input, target, self.weight, self.ignore_index, self.reduction)


class BCELoss(Loss):
    """F.binary_cross_entropy"""
    def __init__(self, weight=None, reduction="mean"):
        self.weight, self.reduction = _buffer(weight), reduction
    def forward(self, input, target):
        return F.binary_cross_entropy(input, target, self.weight, self.reduction)


class BCEWithLogitsLoss(Loss):
    """F.binary_cross_entropy_with_logits"""
    def __init__(self, weight=None, reduction="mean", pos_weight=None):
        self.weight, self.reduction, self.pos_weight = _buffer(weight), reduction, _buffer(pos_weight)
    def forward(self, input, target):
        return F.binary_cross_entropy_with_logits(input, target, self.weight, self.reduction, self.pos_weight)


class CTCLoss(Loss):
    """F.ctc_loss"""
    def __init__(self, blank=0, reduction="mean", zero_infinity=False):
        self.blank, self.reduction, self.zero_infinity = blank, reduction, zero_infinity
    def forward(self, log_probs, targets, input_lengths, target_lengths):
        return F.ctc_loss(log_probs, targets, input_lengths, target_lengths, self.blank, self.reduction, self.zero_infinity)


# ---------------------------------------------------------------- margins

class SoftMarginLoss(Loss):
    """F.soft_margin_loss"""
    def forward(self, input, target):
        return F.soft_margin_loss(input, target, self.reduction)


class MultiMarginLoss(Loss):
    """F.multi_margin_loss"""
    def __init__(self, p=1, margin=1.0, weight=None, reduction="mean"):
        self.p, self.margin, self.weight, self.reduction = p, margin, _buffer(weight), reduction
    def forward(self, input, target):
        return F.multi_margin_loss(input, target, self.p, self.margin, self.weight, self.reduction)


class MarginRankingLoss(Loss):
    """F.margin_ranking_loss"""
    def __init__(self, margin=0.0, reduction="mean"):
        self.margin, self.reduction = margin, reduction
    def forward(self, input1, input2, target):
        return F.margin_ranking_loss(input1, input2, target, self.margin, self.reduction)


class HingeEmbeddingLoss(Loss):
    """F.hinge_embedding_loss"""
    def __init__(self, margin=1.0, reduction="mean"):
        self.margin, self.reduction = margin, reduction
    def forward(self, input, target):
        return F.hinge_embedding_loss(input, target, self.margin, self.reduction)


class CosineEmbeddingLoss(Loss):
    """F.cosine_embedding_loss"""
    def __init__(self, margin=0.0, reduction="mean"):
        self.margin, self.reduction = margin, reduction
    def forward(self, input1, input2, target):
        return F.cosine_embedding_loss(input1, input2, target, self.margin, self.reduction)


class TripletMarginLoss(Loss):
    """F.triplet_margin_loss"""
    def __init__(self, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction="mean"):
        self.margin, self.p, self.eps, self.swap, self.reduction = margin, p, eps, swap, reduction
    def forward(self, anchor, positive, negative):
        return F.triplet_margin_loss(anchor, positive, negative, self.margin, self.p, self.eps, self.swap, self.reduction)


def _buffer(weight):
    """`weight` as a Tensor, so that it moves with the module, or None."""
    return None if weight is None else Tensor(weight)
