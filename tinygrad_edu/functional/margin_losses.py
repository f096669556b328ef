"""Losses with a margin: right is not enough, be right by some distance. And the critics of the Wasserstein GAN, who want it all.

Targets are 1 and -1 where an answer is a number, classes where it is a row of scores.
"""
from .. import backend
from ..kernels.cross_entropy import reduce
from ..ops import logaddexp, power, relu, take_along_axis, where
from ..ops.elementwise import array_of
from .losses import class_weights, classes_of, floats_like, same_shape


def hinge_loss(input, target, reduction="mean"):
    """max(0, 1 - target input), target 1 or -1: the loss of support vector machines. Cortes & Vapnik 1995."""
    same_shape("hinge_loss", input=input, target=target)
    target = floats_like(input, target)
    return reduce(relu(1 - target * input), reduction)


def soft_margin_loss(input, target, reduction="mean"):
    """ln(1 + e^(-target input)), target 1 or -1: binary cross-entropy for the other way to say no."""
    same_shape("soft_margin_loss", input=input, target=target)
    target = floats_like(input, target)
    return reduce(logaddexp(-target * input, 0.0), reduction)


def multi_margin_loss(input, target, p=1, margin=1.0, weight=None, reduction="mean"):
    """sum over the wrong classes k of max(0, margin - input[target] + input[k])^p / K: input (N, K), target (N,) integers.

    weight (K,): the right class's multiplies the loss. Crammer & Singer 2001.
    """
    ids, K = classes_of("multi_margin_loss", input, target), input.shape[1]
    excess = relu(margin - take_along_axis(input, ids[:, None], axis=1) + input)            # (N, K)
    wrong = backend.array_module(ids).arange(K) != ids[:, None]
    losses = where(wrong, power(excess, p), 0.0).sum(axis=1) / K
    if weight is not None:
        losses = losses * class_weights("multi_margin_loss", input, weight)[ids]
    return reduce(losses, reduction)


def margin_ranking_loss(input1, input2, target, margin=0.0, reduction="mean"):
    """max(0, margin - target (input1 - input2)): target 1 if input1 should be larger, -1 if input2."""
    same_shape("margin_ranking_loss", input1=input1, input2=input2, target=target)
    return reduce(relu(margin - floats_like(input1, target) * (input1 - input2)), reduction)


def hinge_embedding_loss(input, target, margin=1.0, reduction="mean"):
    """input, a distance, where target is 1; max(0, margin - input) where it is -1."""
    same_shape("hinge_embedding_loss", input=input, target=target)
    return reduce(where(array_of(target) > 0, input, relu(margin - input)), reduction)


# ---------------------------------------------------------------- critics

def wasserstein_critic_loss(real, fake):
    """mean critic(fake) - mean critic(real): less is better; for the best 1-Lipschitz critic, -W1. arXiv:1701.07875."""
    return fake.mean() - real.mean()


def wasserstein_generator_loss(fake):
    """-mean critic(fake)"""
    return -fake.mean()
