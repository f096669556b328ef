"""Layers as functions of their weights."""
from .. import backend
from ..ops import maximum, sqrt, square, sum, swapaxes
from ..ops.elementwise import array_of


def linear(x, weight, bias=None):
    """x W' + bias: x (.., in), weight (out, in), bias (out,) -> (.., out)."""
    if x.shape[-1] != weight.shape[-1]:
        raise ValueError(f"linear: x has {x.shape[-1]} features, weight {weight.shape} expects {weight.shape[-1]}")
    y = x @ swapaxes(weight, 0, 1)
    return y if bias is None else y + bias


def dropout(x, p=0.5, training=True, mask=None):
    """Each number set to 0 with probability p, the others divided by 1 - p so that the mean stays; x itself in evaluation.

    mask: which numbers to keep, an array of bools; drawn here if it is not given. Srivastava et al. 2014.
    """
    if not 0 <= p < 1:
        raise ValueError(f"dropout: got p = {p}, expected 0 <= p < 1")
    if not training or p == 0:
        return x
    if mask is None:
        kept = backend.generator().random(x.shape, dtype="float32") >= p
        mask = backend.to_device(kept, backend.device_of(array_of(x)))
    return x * (array_of(mask) * array_of(x).dtype.type(1 / (1 - p)))


def normalize(x, axis=-1, eps=1e-12):
    """x divided by its Euclidean length along `axis`."""
    return x / maximum(sqrt(sum(square(x), axis, keepdims=True)), eps)
