"""Layers as functions of their weights."""
import math

from .. import backend, ops
from ..ops import einsum, maximum, sqrt, square, sum
from ..ops.elementwise import array_of
from ..ops.linalg import Linear
from .activations import SELU_ALPHA, SELU_SCALE


def linear(x, weight, bias=None):
    """x W' + bias: x (.., in), weight (out, in), bias (out,) -> (.., out)."""
    if x.shape[-1] != weight.shape[-1]:
        raise ValueError(f"linear: x has {x.shape[-1]} features, weight {weight.shape} expects {weight.shape[-1]}")
    if bias is None:
        return Linear().apply(x, weight)
    if tuple(bias.shape) != weight.shape[:1]:
        raise ValueError(f"linear: bias has shape {tuple(bias.shape)}, expected {tuple(weight.shape[:1])}")
    return Linear().apply(x, weight, bias)


def bilinear(x, z, weight, bias=None):
    """x' W_o z + bias_o for each output o: x (.., I), z (.., J), weight (O, I, J), bias (O,) -> (.., O)."""
    if x.shape != z.shape[:-1] + x.shape[-1:] or (x.shape[-1], z.shape[-1]) != tuple(weight.shape[1:]):
        raise ValueError(f"bilinear: got inputs {tuple(x.shape)} and {tuple(z.shape)}, weight {tuple(weight.shape)} expects "
                         f"(.., {weight.shape[1]}) and (.., {weight.shape[2]})")
    y = einsum("...i,oij,...j->...o", x, weight, z)
    return y if bias is None else y + bias


def normalize(x, axis=-1, eps=1e-12):
    """x divided by its Euclidean length along `axis`."""
    return x / sqrt(maximum(sum(square(x), axis, keepdims=True), eps * eps))       # the root of 0 would have slope infinity


# ---------------------------------------------------------------- dropout

def dropout(x, p=0.5, training=True, mask=None):
    """Each number set to 0 with probability p, the others divided by 1 - p so that the mean stays; x itself in evaluation.

    mask: which numbers to keep, an array of bools; drawn here if it is not given. Srivastava et al. 2014.
    """
    _check_probability("dropout", p)
    if not training or p == 0:
        return x
    mask = _kept(x, x.shape, p) if mask is None else array_of(mask)
    return x * (mask * array_of(x).dtype.type(1 / (1 - p)))


def dropout1d(x, p=0.5, training=True):
    """Whole channels of x (N, C, T) set to 0: neighbours in a map say much the same. Tompson et al. 2014, arXiv:1411.4280."""
    return _dropout_channels("dropout1d", x, 3, p, training)


def dropout2d(x, p=0.5, training=True):
    """Whole channels of x (N, C, H, W) set to 0: neighbours in a map say much the same. Tompson et al. 2014, 1411.4280."""
    return _dropout_channels("dropout2d", x, 4, p, training)


def alpha_dropout(x, p=0.5, training=True):
    """Dropout for selu: numbers are set to selu(-infinity), then all rescaled so that N(0, 1) keeps mean and variance.

    Klambauer et al. 2017, arXiv:1706.02515.
    """
    _check_probability("alpha_dropout", p)
    if not training or p == 0:
        return x
    low, kept = -SELU_ALPHA * SELU_SCALE, _kept(x, x.shape, p)
    a = 1 / math.sqrt((1 - p) * (1 + p * low * low))
    return ops.where(kept, x, low) * a - a * low * p


def _dropout_channels(caller, x, axes, p, training):
    if x.ndim != axes:
        raise ValueError(f"{caller}: got x of shape {tuple(x.shape)}, expected {axes} axes")
    _check_probability(caller, p)
    mask = _kept(x, x.shape[:2] + (1,) * (axes - 2), p) if training and p else None     # (N, C, 1, ..)
    return dropout(x, p, training, mask)


def _kept(x, shape, p):
    """Bools of this shape, True with probability 1 - p, where x lies."""
    kept = backend.generator().random(shape, dtype="float32") >= p
    return backend.to_device(kept, backend.device_of(array_of(x)))


def _check_probability(caller, p):
    if not 0 <= p < 1:
        raise ValueError(f"{caller}: got p = {p}, expected 0 <= p < 1")


# ---------------------------------------------------------------- borders and pixels

def pad(x, pad, mode="constant", value=0.0):
    """x with a border: pad = (before, after) of the last axis, then of the one before it, and so on, as PyTorch has it.

    Modes: constant (`value`), reflect (the edge is the mirror and stands once), replicate (the edge again and again),
    circular (what leaves at one end enters at the other).
    """
    if len(pad) % 2 or len(pad) > 2 * x.ndim or min(pad, default=0) < 0:
        raise ValueError(f"pad: got pad = {tuple(pad)}, expected (before, after, ..) from the last axis of {tuple(x.shape)} on, "
                         "all >= 0")
    pairs = [(pad[i], pad[i + 1]) for i in range(0, len(pad), 2)]
    return ops.pad(x, [(0, 0)] * (x.ndim - len(pairs)) + pairs[::-1], mode, value)


def pixel_shuffle(x, upscale_factor):
    """(N, C r r, H, W) -> (N, C, H r, W r): r r channels become a square of pixels. Shi et al. 2016, arXiv:1609.05158."""
    r = upscale_factor
    if x.ndim != 4 or x.shape[1] % (r * r):
        raise ValueError(f"pixel_shuffle: got x of shape {tuple(x.shape)}, expected (N, C {r} {r}, H, W)")
    N, C, H, W = x.shape
    x = x.reshape(N, C // (r * r), r, r, H, W).transpose(0, 1, 4, 2, 5, 3)      # (N, C, H, r, W, r)
    return x.reshape(N, C // (r * r), H * r, W * r)


def pixel_unshuffle(x, downscale_factor):
    """(N, C, H r, W r) -> (N, C r r, H, W), the way back."""
    r = downscale_factor
    if x.ndim != 4 or x.shape[2] % r or x.shape[3] % r:
        raise ValueError(f"pixel_unshuffle: got x of shape {tuple(x.shape)}, expected (N, C, H {r}, W {r})")
    N, C, H, W = x.shape
    x = x.reshape(N, C, H // r, r, W // r, r).transpose(0, 1, 3, 5, 2, 4)       # (N, C, r, r, H, W)
    return x.reshape(N, C * r * r, H // r, W // r)
