"""Reductions: many values become one, so backward spreads one gradient over many.

`axis` is None (all axes), an int or a tuple of ints; `keepdims` as in NumPy. Sum and broadcast are an adjoint pair.
"""
import math

from .. import backend
from ..autograd import Function
from .elementwise import constant, exp, multiply, sqrt, square
from .shape import axis_of, broadcast_to, concatenate, flip


# ---------------------------------------------------------------- primitives

class Sum(Function):
    """y = sum x_i;   dy/dx_i = 1: the gradient is broadcast back"""
    def __init__(self, axis, keepdims):
        self.axis, self.keepdims = axis, keepdims
    def forward(self, x):
        self.shape = x.shape
        return x.sum(axis=self.axis, keepdims=self.keepdims)
    def backward(self, gy):
        return broadcast_to(gy.reshape(kept_shape(self.shape, self.axis)), self.shape)

class Mean(Function):
    """y = 1/n sum x_i;   dy/dx_i = 1/n"""
    def __init__(self, axis, keepdims):
        self.axis, self.keepdims = axis, keepdims
    def forward(self, x):
        self.shape = x.shape
        return x.mean(axis=self.axis, keepdims=self.keepdims)
    def backward(self, gy):
        return broadcast_to((gy / count(self.shape, self.axis)).reshape(kept_shape(self.shape, self.axis)), self.shape)

class Max(Function):
    """y = max x_i;   the gradient goes to the largest element, in equal shares if several tie"""
    def __init__(self, axis, keepdims):
        self.axis, self.keepdims = axis, keepdims
    def forward(self, x):
        self.kept = kept_shape(x.shape, self.axis)
        y = x.max(axis=self.axis, keepdims=self.keepdims)
        self.save(x == y.reshape(self.kept))
        return y
    def backward(self, gy):
        (largest,) = self.saved
        ties = largest.sum(axis=self.axis, keepdims=True).astype(gy.dtype)
        return gy.reshape(self.kept) / ties * largest

class CumulativeSum(Function):
    """y_i = x_1 + .. + x_i along an axis;   dx_i = gy_i + .. + gy_n: the same sum from the other end"""
    def __init__(self, axis):
        self.axis = axis
    def forward(self, x):
        return self.xp.cumsum(x, axis=self.axis)
    def backward(self, gy):
        return flip(cumsum(flip(gy, self.axis), self.axis), self.axis)

class LogSumExp(Function):
    """y = ln sum e^(x_i), the largest x taken out so that nothing overflows;   dy/dx_i = e^(x_i - y), the softmax"""
    def __init__(self, axis, keepdims):
        self.axis, self.keepdims = axis, keepdims
    def forward(self, x):
        top = x.max(axis=self.axis, keepdims=True)
        top = self.xp.where(self.xp.isfinite(top), top, 0)         # a row of -inf stays -inf, without inf - inf
        with backend.ignore_float_errors():
            y = self.xp.log(self.xp.exp(x - top).sum(axis=self.axis, keepdims=True)) + top
        self.kept = y.shape
        if not self.keepdims:
            y = y.reshape(reduced_shape(x.shape, self.axis))
        self.save(x, y)
        return y
    def backward(self, gy):
        x, y = self.saved
        y = y.reshape(self.kept)
        return gy.reshape(self.kept) * exp(x - y)


# ---------------------------------------------------------------- shapes of a reduction

def kept_shape(shape, axis):
    """`shape` with 1 in the reduced axes: what keepdims=True gives."""
    axes = range(len(shape)) if axis is None else [a % len(shape) for a in _axes(axis)]
    return tuple(1 if i in axes else n for i, n in enumerate(shape))

def reduced_shape(shape, axis):
    """`shape` without the reduced axes."""
    axes = range(len(shape)) if axis is None else [a % len(shape) for a in _axes(axis)]
    return tuple(n for i, n in enumerate(shape) if i not in axes)

def _axes(axis):
    return axis if isinstance(axis, tuple) else (axis,)

def count(shape, axis):
    """How many elements each result of a reduction is made of."""
    return math.prod(shape[a] for a in (range(len(shape)) if axis is None else _axes(axis)))


# ---------------------------------------------------------------- the functions

def sum(x, axis=None, keepdims=False):
    """Sum over `axis`."""
    return Sum(axis, keepdims).apply(x)

def mean(x, axis=None, keepdims=False):
    """Arithmetic mean over `axis`."""
    return Mean(axis, keepdims).apply(x)

def var(x, axis=None, keepdims=False, ddof=0):
    """Variance over `axis`: squared distances from the mean, summed, over n - ddof (NumPy's default ddof = 0)."""
    squares = square(x - mean(x, axis, keepdims=True))
    if not ddof:
        return mean(squares, axis, keepdims)
    return sum(squares, axis, keepdims) / (count(x.shape, axis) - ddof)

def std(x, axis=None, keepdims=False, ddof=0):
    """Standard deviation, the root of `var`; not differentiable where it is 0."""
    return sqrt(var(x, axis, keepdims, ddof))

def max(x, axis=None, keepdims=False):
    """Largest value over `axis`; ties share the gradient equally."""
    return Max(axis, keepdims).apply(x)

def min(x, axis=None, keepdims=False):
    """Smallest value over `axis`; ties share the gradient equally."""
    return -Max(axis, keepdims).apply(-x)

def cumsum(x, axis=-1):
    """Running sum along `axis`."""
    return CumulativeSum(axis).apply(x)

def logsumexp(x, axis=None, keepdims=False):
    """ln sum e^x over `axis`, without overflow."""
    return LogSumExp(axis, keepdims).apply(x)

def softmax(x, axis=-1):
    """e^x over its sum along `axis`: positive numbers that add up to 1. The largest x is taken out first, for precision."""
    x = x - constant(x, lambda data: data.max(axis=axis, keepdims=True))
    return exp(x - logsumexp(x, axis, keepdims=True))

def log_softmax(x, axis=-1):
    """ln softmax(x) without overflow and without ln 0."""
    return x - logsumexp(x, axis, keepdims=True)

def prod(x, axis=None, keepdims=False):
    """Product over `axis`, by halving: multiply one half by the other until one is left. Right at zeros, to any order."""
    axes = tuple(range(x.ndim)) if axis is None else tuple(axis_of(x, a, "prod") for a in _axes(axis))
    kept, reduced = kept_shape(x.shape, axes), reduced_shape(x.shape, axes)
    x = x.transpose(tuple(i for i in range(x.ndim) if i not in axes) + axes).reshape(reduced + (count(x.shape, axes),))
    if x.shape[-1] == 0:
        x = x.sum(axis=-1, keepdims=True) + 1               # the empty product
    while x.shape[-1] > 1:
        n = x.shape[-1]
        pairs = multiply(x[..., : n // 2], x[..., n // 2 : n // 2 * 2])
        x = pairs if n % 2 == 0 else concatenate([pairs, x[..., -1:]], axis=-1)
    return x.reshape(kept if keepdims else reduced)

def cumprod(x, axis=-1):
    """Running product along `axis`, by doubling: after step k each y_i holds the last 2^k factors. Right at zeros."""
    y, step = x.swapaxes(axis, -1), 1
    while step < y.shape[-1]:
        y = concatenate([y[..., :step], multiply(y[..., step:], y[..., :-step])], axis=-1)
        step *= 2
    return y.swapaxes(axis, -1)


# ---------------------------------------------------------------- values without a gradient

def argmax(x, axis=None, keepdims=False):
    """Index of the first largest value along `axis`, as a constant of ints."""
    return constant(x, lambda data: _keep(data.argmax(axis=axis), data.shape, axis, keepdims))

def argmin(x, axis=None, keepdims=False):
    """Index of the first smallest value along `axis`, as a constant of ints."""
    return constant(x, lambda data: _keep(data.argmin(axis=axis), data.shape, axis, keepdims))

def any(x, axis=None, keepdims=False):
    """Is any element along `axis` true?"""
    return constant(x, lambda data: data.any(axis=axis, keepdims=keepdims))

def all(x, axis=None, keepdims=False):
    """Are all elements along `axis` true?"""
    return constant(x, lambda data: data.all(axis=axis, keepdims=keepdims))

def _keep(index, shape, axis, keepdims):
    return index.reshape(kept_shape(shape, axis)) if keepdims else index
