"""Floor 3: compositions. Activations, losses and layers as functions, in PyTorch's names; plain Python over primitives.

The kernels appear here too, so that `F.` is the one place to look: F.conv2d, F.layer_norm, F.cross_entropy.
"""
from . import backend
from .kernels import cuda, loops  # noqa: F401  further faces of the kernels: CUDA, and plain loops
from .kernels.activations import gelu, silu
from .kernels.adaptive_pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_max_pool1d, adaptive_max_pool2d
from .kernels.attention import scaled_dot_product_attention
from .kernels.binary_cross_entropy import binary_cross_entropy_with_logits
from .kernels.convolution import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from .kernels.cross_entropy import cross_entropy, reduce
from .kernels.embedding import embedding
from .kernels.gru import gru
from .kernels.interpolation import interpolate, upsample_nearest2d
from .kernels.lstm import lstm
from .kernels.normalization import batch_norm, group_norm, instance_norm, layer_norm, rms_norm
from .kernels.pooling import avg_pool1d, avg_pool2d, max_pool1d, max_pool2d
from .kernels.recurrent import rnn
from .kernels.roi_align import roi_align
from .kernels.rotary import alibi_bias, rotary_embedding
from .kernels.softmax import log_softmax, softmax
from .ops import (absolute, exp, logaddexp, maximum, minimum, one_hot, relu, sigmoid, sqrt, square, sum, swapaxes,
                  take_along_axis, tanh, where)
from .ops.elementwise import array_of

__all__ = ["adaptive_avg_pool1d", "adaptive_avg_pool2d", "adaptive_max_pool1d", "adaptive_max_pool2d", "alibi_bias",
           "avg_pool1d", "avg_pool2d", "batch_norm", "binary_cross_entropy_with_logits", "conv1d", "conv2d",
           "conv_transpose1d", "conv_transpose2d", "cross_entropy", "dropout", "elu", "embedding", "gelu", "group_norm",
           "gru", "instance_norm", "interpolate", "l1_loss", "layer_norm", "leaky_relu", "linear", "log_softmax", "lstm",
           "max_pool1d", "max_pool2d", "mse_loss", "nll_loss", "normalize", "one_hot", "relu", "rms_norm", "rnn", "roi_align",
           "rotary_embedding", "scaled_dot_product_attention", "sigmoid", "silu", "softmax", "softplus", "tanh",
           "upsample_nearest2d"]


# ---------------------------------------------------------------- activations

def leaky_relu(x, negative_slope=0.01):
    """x where x > 0, else negative_slope x."""
    return where(array_of(x) > 0, x, negative_slope * x)

def elu(x, alpha=1.0):
    """x where x > 0, else alpha (e^x - 1). Clevert et al. 2015, arXiv:1511.07289."""
    return where(array_of(x) > 0, x, alpha * (exp(minimum(x, 0.0)) - 1))

def softplus(x):
    """ln(1 + e^x), a smooth relu."""
    return logaddexp(x, 0.0)


# ---------------------------------------------------------------- layers

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


# ---------------------------------------------------------------- losses

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
