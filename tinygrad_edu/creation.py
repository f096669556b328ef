"""Floor 1: new tensors. Random ones are drawn on the host from the library's generator, then copied to the device."""
import numpy as np

from . import backend, tensor as tensor_module
from .tensor import Tensor


def tensor(data, requires_grad=False, dtype=None, device=None):
    """`Tensor(data, ...)`: a copy of `data` on the device."""
    return Tensor(data, requires_grad, dtype, device)


def zeros(*shape, dtype=None, requires_grad=False, device=None):
    """Zeros of `shape` (ints or one tuple)."""
    return full(_shape(shape), 0.0, dtype, requires_grad, device)


def ones(*shape, dtype=None, requires_grad=False, device=None):
    """Ones of `shape` (ints or one tuple)."""
    return full(_shape(shape), 1.0, dtype, requires_grad, device)


def full(shape, value, dtype=None, requires_grad=False, device=None):
    """`value` everywhere; float32 unless `dtype` says otherwise."""
    return Tensor(np.full(shape, value, dtype or tensor_module.default_dtype), requires_grad, device=device)


def zeros_like(x):
    """Zeros of x's shape, dtype and device."""
    return x._wrapped_like(backend.array_module(x.data).zeros_like(x.data))


def ones_like(x):
    """Ones of x's shape, dtype and device."""
    return x._wrapped_like(backend.array_module(x.data).ones_like(x.data))


def arange(*bounds, dtype=None, device=None):
    """arange(stop), arange(start, stop) or arange(start, stop, step); integers unless a bound is a float."""
    values = np.arange(*bounds)
    return Tensor(values, dtype=dtype or (tensor_module.default_dtype if values.dtype.kind == "f" else None), device=device)


def linspace(start, stop, count, dtype=None, device=None):
    """`count` evenly spaced values from start to stop, both included."""
    return Tensor(np.linspace(start, stop, count), dtype=dtype or tensor_module.default_dtype, device=device)


def eye(n, dtype=None, device=None):
    """The identity matrix (n, n)."""
    return Tensor(np.eye(n), dtype=dtype or tensor_module.default_dtype, device=device)


def rand(*shape, dtype=None, requires_grad=False, device=None):
    """Uniform on [0, 1)."""
    return _draw(backend.generator().random(_shape(shape)), dtype, requires_grad, device)


def randn(*shape, dtype=None, requires_grad=False, device=None):
    """Standard normal."""
    return _draw(backend.generator().standard_normal(_shape(shape)), dtype, requires_grad, device)


def randint(low, high, shape, device=None):
    """Integers from low to high - 1."""
    return Tensor(backend.generator().integers(low, high, shape), device=device)


def randperm(n, device=None):
    """The integers 0 .. n-1 in random order."""
    return Tensor(backend.generator().permutation(n), device=device)


def _draw(values, dtype, requires_grad, device):
    return Tensor(np.asarray(values), requires_grad, dtype or tensor_module.default_dtype, device)


def _shape(shape):
    return tuple(shape[0]) if len(shape) == 1 and not isinstance(shape[0], (int, np.integer)) else shape
