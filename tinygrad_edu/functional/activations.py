"""Activations: functions of one number, applied to each. GELU, SiLU, softmax and log-softmax are kernels."""
from ..ops import absolute, clip, exp, expm1, log, relu, sigmoid, split, tanh, where
from ..ops.elementwise import array_of, constant

# The two numbers for which selu maps mean 0 and variance 1 to themselves; lesson 06 solves for them.
SELU_ALPHA, SELU_SCALE = 1.6732632423543772848170429916717, 1.0507009873554804934193349852946


# ---------------------------------------------------------------- two straight lines

def leaky_relu(x, negative_slope=0.01):
    """x where x > 0, else negative_slope x. Maas et al. 2013."""
    return where(array_of(x) > 0, x, negative_slope * x)


def prelu(x, weight):
    """x where x > 0, else weight x, the slope learned: weight (1,), or (C,) for x (N, C, ..). He et al. 2015, 1502.01852."""
    channels = x.shape[1] if x.ndim > 1 else 1
    if tuple(weight.shape) not in ((1,), (channels,)):
        raise ValueError(f"prelu: weight has shape {tuple(weight.shape)}, expected (1,) or ({channels},) for x {tuple(x.shape)}")
    if x.ndim > 1:
        weight = weight.reshape((-1,) + (1,) * (x.ndim - 2))
    return where(array_of(x) > 0, x, weight * x)


def relu6(x):
    """min(max(x, 0), 6)"""
    return clip(x, 0, 6)


def hardtanh(x, min_val=-1.0, max_val=1.0):
    """x between min_val and max_val, the nearer of the two outside."""
    return clip(x, min_val, max_val)


def hardsigmoid(x):
    """0 up to -3, 1 from 3 on, a straight line between."""
    return clip(x + 3, 0, 6) / 6


def hardswish(x):
    """x hardsigmoid(x): swish without an exponential. Howard et al. 2019, arXiv:1905.02244."""
    return x * hardsigmoid(x)


# ---------------------------------------------------------------- a line and an exponential

def elu(x, alpha=1.0):
    """x where x > 0, else alpha (e^x - 1). Clevert et al. 2015, arXiv:1511.07289."""
    positive = array_of(x) > 0
    return where(positive, x, alpha * expm1(where(positive, 0.0, x)))           # no overflow on the side not taken


def selu(x):
    """s elu(x, a), with s and a such that N(0, 1) keeps its mean and variance. Klambauer et al. 2017, arXiv:1706.02515."""
    return SELU_SCALE * elu(x, SELU_ALPHA)


# ---------------------------------------------------------------- smooth

def softplus(x, beta=1.0, threshold=20.0):
    """ln(1 + e^(beta x)) / beta, a smooth relu; x itself where beta x > threshold."""
    t = x if beta == 1 else beta * x
    values = array_of(t)
    small = exp(where(values > 0, -t, t))                                       # e^-|t| cannot overflow
    whole = 1 + small
    s, w = (constant(part, lambda data: data) for part in (small, whole))
    lost = s - (w - 1)                                                          # to rounding, all of it for small < 1e-8
    y = relu(t) + (log(whole) + lost / w)                                       # log1p, three times as fast
    return where(values > threshold, x, y if beta == 1 else y / beta)


def logsigmoid(x):
    """ln sigmoid(x), without underflow: -softplus(-x)."""
    return -softplus(-x, threshold=40.0)                                        # there the two are equal in every dtype


def mish(x):
    """x tanh(softplus(x)). Misra 2019, arXiv:1908.08681."""
    return x * tanh(softplus(x))


def swish(x, beta=1.0):
    """x sigmoid(beta x), beta a number or a Tensor: x/2 at 0, silu at 1, relu at infinity. Ramachandran 2017, 1710.05941."""
    return x * sigmoid(beta * x)


def softsign(x):
    """x / (1 + |x|)"""
    return x / (1 + absolute(x))


def glu(x, axis=-1):
    """a sigmoid(b), a and b the halves of x along an axis. Dauphin et al. 2016, arXiv:1612.08083."""
    if x.ndim == 0 or x.shape[axis] % 2:
        raise ValueError(f"glu: got x of shape {tuple(x.shape)}, expected an even length along axis {axis}")
    a, b = split(x, 2, axis)
    return a * sigmoid(b)
