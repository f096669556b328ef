"""Losses that shape a space: not where a point lies, but how far it is from others.

The rows of (N, D) inputs are points; a loss is one number for each row, or their mean or sum.
"""
import math

from .. import backend
from ..kernels.cross_entropy import cross_entropy, reduce
from ..ops import absolute, concatenate, max, maximum, minimum, power, relu, sqrt, square, sum, where
from ..ops.elementwise import array_of
from .losses import same_shape


# ---------------------------------------------------------------- distance and similarity

def pairwise_distance(x1, x2, p=2.0, eps=1e-6, keepdims=False):
    """(sum |x1 - x2 + eps|^p)^(1 / p) over the last axis: row against row. eps keeps the gradient finite where they meet."""
    difference = absolute(x1 - x2 + eps)
    if p == math.inf:
        return max(difference, axis=-1, keepdims=keepdims)
    return power(sum(power(difference, p), axis=-1, keepdims=keepdims), 1 / p)


def cosine_similarity(x1, x2, axis=1, eps=1e-8):
    """The cosine of the angle between x1 and x2 along `axis`; lengths below eps count as eps."""
    return sum(_unit(x1, axis, eps) * _unit(x2, axis, eps), axis)


def _unit(x, axis=-1, eps=1e-8):
    """x over its length; the square is bounded, not the root, so that the gradient at 0 is finite."""
    return x / sqrt(maximum(sum(square(x), axis, keepdims=True), eps * eps))


# ---------------------------------------------------------------- pairs and triplets with a margin

def cosine_embedding_loss(input1, input2, target, margin=0.0, reduction="mean"):
    """1 - cos(input1, input2) where target is 1, max(0, cos - margin) where it is -1. Inputs (N, D), target (N,)."""
    _pairs("cosine_embedding_loss", input1, input2, target)
    cosine = cosine_similarity(input1, input2, axis=-1)
    return reduce(where(array_of(target) > 0, 1 - cosine, relu(cosine - margin)), reduction)


def contrastive_loss(input1, input2, target, margin=1.0, reduction="mean"):
    """d^2 / 2 where target is 1, max(0, margin - d)^2 / 2 where it is -1; d the distance of input1 and input2 (N, D).

    A spring pulls what belongs together; what does not is pushed away, but only up to the margin. Hadsell, Chopra &
    LeCun 2006.
    """
    _pairs("contrastive_loss", input1, input2, target)
    distance = pairwise_distance(input1, input2)
    return reduce(0.5 * square(where(array_of(target) > 0, distance, relu(margin - distance))), reduction)


def triplet_margin_loss(anchor, positive, negative, margin=1.0, p=2.0, eps=1e-6, swap=False, reduction="mean"):
    """max(0, d(anchor, positive) - d(anchor, negative) + margin): the friend shall be nearer than the stranger.

    swap: measure the stranger from whichever of anchor and positive it is nearer to (Balntas et al. 2016).
    Schroff, Kalenichenko & Philbin 2015, arXiv:1503.03832.
    """
    same_shape("triplet_margin_loss", anchor=anchor, positive=positive, negative=negative)
    near, far = pairwise_distance(anchor, positive, p, eps), pairwise_distance(anchor, negative, p, eps)
    if swap:
        far = minimum(far, pairwise_distance(positive, negative, p, eps))
    return reduce(relu(near - far + margin), reduction)


# ---------------------------------------------------------------- one friend among many strangers

def info_nce_loss(query, key, temperature=0.1, symmetric=False, reduction="mean"):
    """-ln softmax(cos(query_i, key_j) / temperature over j) at j = i: which of the N keys belongs to the query?

    query, key (N, D). symmetric: the mean of that and of the same question asked of the keys, as CLIP has it
    (arXiv:2103.00020). van den Oord et al. 2018, arXiv:1807.03748.
    """
    same_shape("info_nce_loss", query=query, key=key)
    logits = _unit(query) @ _unit(key).T / temperature                                      # (N, N)
    right = backend.array_module(array_of(query)).arange(query.shape[0])
    losses = cross_entropy(logits, right, reduction="none")
    if symmetric:
        losses = 0.5 * (losses + cross_entropy(logits.T, right, reduction="none"))
    return reduce(losses, reduction)


def nt_xent_loss(x1, x2, temperature=0.5, reduction="mean"):
    """SimCLR's loss of two views of N pictures: each of the 2 N points finds its twin among the 2 N - 1 others.

    x1, x2 (N, D), cosines over temperature as in info_nce_loss; 2 N losses. Chen et al. 2020, arXiv:2002.05709.
    """
    same_shape("nt_xent_loss", x1=x1, x2=x2)
    z, xp, N = _unit(concatenate([x1, x2])), backend.array_module(array_of(x1)), x1.shape[0]
    itself = xp.eye(2 * N, dtype=bool)
    logits = where(itself, -math.inf, z @ z.T / temperature)                                # (2N, 2N)
    return cross_entropy(logits, (xp.arange(2 * N) + N) % (2 * N), reduction=reduction)


def _pairs(caller, input1, input2, target):
    same_shape(caller, input1=input1, input2=input2)
    if len(input1.shape) != 2 or tuple(target.shape) != tuple(input1.shape[:1]):
        raise ValueError(f"{caller}: got inputs {tuple(input1.shape)} and target {tuple(target.shape)}, "
                         "expected (N, D) and (N,)")
