"""Initializers: each writes into a Parameter, in place, and returns it. The names end in _ as PyTorch's do.

The fan rule. A weight (out, in, *kernel) adds up fan_in = in * kernel numbers for each output, and each input has a part in
fan_out = out * kernel outputs. With independent weights of variance v and inputs of mean square q the outputs have variance
fan_in v q; on the way back gradients have fan_out v q. So a layer keeps the size of its inputs if v = 1 / fan_in, that of
its gradients if v = 1 / fan_out, and a nonlinearity after it changes q by a factor that `calculate_gain` undoes:

    lecun      v = 1 / fan_in                      for selu, and no nonlinearity
    xavier     v = gain^2 2 / (fan_in + fan_out)   a compromise of both ways: tanh, sigmoid
    kaiming    v = gain^2 / fan_in (or fan_out)    gain^2 = 2 for relu, which lets half of q through

A uniform distribution on [-b, b] has variance b^2 / 3. LeCun et al. 1998, Efficient backprop; Glorot & Bengio 2010; He et al.
2015, arXiv:1502.01852.
"""
import math

from .. import autograd, backend


# ---------------------------------------------------------------- without a fan

def constant_(tensor, value):
    """`value` everywhere."""
    tensor.data[...] = value
    autograd.mark_written(tensor.data)
    return tensor


def zeros_(tensor):
    """0 everywhere."""
    return constant_(tensor, 0)


def ones_(tensor):
    """1 everywhere."""
    return constant_(tensor, 1)


def uniform_(tensor, a=0.0, b=1.0):
    """Uniform on [a, b)."""
    return _write(tensor, backend.generator().uniform(a, b, tensor.shape))


def normal_(tensor, mean=0.0, std=1.0):
    """N(mean, std^2)"""
    return _write(tensor, mean + std * backend.generator().standard_normal(tensor.shape))


def trunc_normal_(tensor, mean=0.0, std=1.0, a=-2.0, b=2.0):
    """N(mean, std^2) given that it lies in [a, b]: what lies outside is drawn again."""
    low, high = (a - mean) / std, (b - mean) / std
    mass = (math.erf(high / math.sqrt(2)) - math.erf(low / math.sqrt(2))) / 2
    if mass < 1e-3:
        raise ValueError(f"trunc_normal_: [{a}, {b}] holds {mass:.1g} of N({mean}, {std}^2), expected at least 0.001 of it")
    z = backend.generator().standard_normal(tensor.shape)
    while (outside := (z < low) | (z > high)).any():
        z[outside] = backend.generator().standard_normal(outside.sum())
    return _write(tensor, mean + std * z)


# ---------------------------------------------------------------- by fan

def calculate_gain(nonlinearity, param=None):
    """How much larger weights must be for this nonlinearity to keep the size: sqrt(2) for relu, 5/3 for tanh, ..

    linear, conv1d, conv2d, sigmoid, tanh, relu, leaky_relu (param: its slope, 0.01), selu (PyTorch's 3/4).
    """
    slope = 0.01 if param is None else param
    gains = {"linear": 1.0, "conv1d": 1.0, "conv2d": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2),
             "leaky_relu": math.sqrt(2 / (1 + slope ** 2)), "selu": 0.75}
    if nonlinearity not in gains:
        raise ValueError(f"calculate_gain: got {nonlinearity!r}, expected one of {', '.join(gains)}")
    return gains[nonlinearity]


def xavier_uniform_(tensor, gain=1.0):
    """Uniform on [-b, b] with b = gain sqrt(6 / (fan_in + fan_out)). Glorot & Bengio 2010."""
    bound = gain * math.sqrt(6 / sum(fans(tensor)))
    return uniform_(tensor, -bound, bound)


def xavier_normal_(tensor, gain=1.0):
    """N(0, std^2) with std = gain sqrt(2 / (fan_in + fan_out)). Glorot & Bengio 2010."""
    return normal_(tensor, 0.0, gain * math.sqrt(2 / sum(fans(tensor))))


def kaiming_uniform_(tensor, a=0.0, mode="fan_in", nonlinearity="leaky_relu"):
    """Uniform on [-b, b] with b = gain sqrt(3 / fan). a: the slope of leaky_relu. He et al. 2015, arXiv:1502.01852."""
    bound = math.sqrt(3) * _kaiming_std(tensor, a, mode, nonlinearity)
    return uniform_(tensor, -bound, bound)


def kaiming_normal_(tensor, a=0.0, mode="fan_in", nonlinearity="leaky_relu"):
    """N(0, std^2) with std = gain / sqrt(fan). a: the slope of leaky_relu. He et al. 2015, arXiv:1502.01852."""
    return normal_(tensor, 0.0, _kaiming_std(tensor, a, mode, nonlinearity))


def lecun_normal_(tensor):
    """N(0, 1 / fan_in): with selu the fixed point stays. LeCun et al. 1998; Klambauer et al. 2017, arXiv:1706.02515."""
    return normal_(tensor, 0.0, 1 / math.sqrt(fans(tensor)[0]))


def fans(tensor):
    """(fan_in, fan_out) of a weight (out, in, *kernel)."""
    if tensor.ndim < 2:
        raise ValueError(f"fans: got a tensor of shape {tensor.shape}, expected (out, in, ..)")
    kernel = math.prod(tensor.shape[2:])
    return tensor.shape[1] * kernel, tensor.shape[0] * kernel


def _kaiming_std(tensor, a, mode, nonlinearity):
    if mode not in ("fan_in", "fan_out"):
        raise ValueError(f"kaiming: got mode {mode!r}, expected 'fan_in' or 'fan_out'")
    return calculate_gain(nonlinearity, a) / math.sqrt(fans(tensor)[mode == "fan_out"])


# ---------------------------------------------------------------- with a structure

def orthogonal_(tensor, gain=1.0):
    """(out, everything else) with orthonormal rows or, if there are more rows, columns: lengths stay exactly. Saxe 2013.

    The Q of a random matrix's QR, its signs such that every orthogonal matrix is equally likely. arXiv:1312.6120.
    """
    rows, columns = len(tensor), math.prod(tensor.shape[1:])
    draw = backend.generator().standard_normal((max(rows, columns), min(rows, columns)))
    xp = backend.array_module(draw)
    q, r = xp.linalg.qr(draw)
    q *= xp.sign(r.diagonal())
    return _write(tensor, gain * (q if rows >= columns else q.T).reshape(tensor.shape))


def sparse_(tensor, sparsity, std=0.01):
    """N(0, std^2), but in each column of the matrix a share `sparsity` (rounded up) is 0. Martens 2010."""
    if tensor.ndim != 2:
        raise ValueError(f"sparse_: got a tensor of shape {tensor.shape}, expected a matrix")
    values = std * backend.generator().standard_normal(tensor.shape)
    zeros = math.ceil(sparsity * len(tensor))
    for column in values.T:
        column[backend.generator().permutation(len(tensor))[:zeros]] = 0
    return _write(tensor, values)


def eye_(tensor):
    """The identity matrix: inputs pass through."""
    if tensor.ndim != 2:
        raise ValueError(f"eye_: got a tensor of shape {tensor.shape}, expected a matrix")
    return _with_ones(tensor, ())


def dirac_(tensor):
    """A convolution (out, in, *kernel) that lets its inputs through: 1 in the middle of the kernel from channel i to i."""
    if tensor.ndim < 3:
        raise ValueError(f"dirac_: got a tensor of shape {tensor.shape}, expected (out, in, *kernel)")
    return _with_ones(tensor, tuple(n // 2 for n in tensor.shape[2:]))


def _with_ones(tensor, middle):
    zeros_(tensor)
    for i in range(min(tensor.shape[:2])):
        tensor.data[(i, i, *middle)] = 1
    return tensor


def _write(tensor, values):
    """Numbers drawn on the host into the tensor, wherever it lies."""
    tensor.data[...] = backend.to_device(values.astype(tensor.dtype), tensor.device)
    autograd.mark_written(tensor.data)
    return tensor
