"""Windows: unfold shows every patch under a sliding window, fold adds the patches back. An adjoint pair.

Both work on the last d axes, d = len(kernel): one for sequences, two for images. Nothing is padded here.
"""
import math

from ..autograd import Function


class Unfold(Function):
    """y[.., k, o] = x[.., o * stride + k * dilation], a view;   backward: fold, each x gets the sum over its windows"""
    def __init__(self, kernel, stride, dilation):
        self.kernel, self.stride, self.dilation = kernel, stride, dilation
    def forward(self, x):
        d = len(self.kernel)
        self.size = x.shape[-d:]
        out = window_counts(self.size, self.kernel, self.stride, self.dilation)
        steps = x.strides[-d:]
        shape = x.shape[:-d] + tuple(self.kernel) + out
        strides = (x.strides[:-d] + tuple(s * r for s, r in zip(steps, self.dilation))
                   + tuple(s * r for s, r in zip(steps, self.stride)))
        return self.xp.lib.stride_tricks.as_strided(x, shape, strides)
    def backward(self, gy):
        return Fold(self.size, self.kernel, self.stride, self.dilation).apply(gy)

class Fold(Function):
    """y[.., o * stride + k * dilation] += x[.., k, o];   backward: unfold"""
    def __init__(self, size, kernel, stride, dilation):
        self.size, self.kernel, self.stride, self.dilation = size, kernel, stride, dilation
    def forward(self, x):
        d = len(self.kernel)
        out = x.shape[-d:]
        y = self.xp.zeros(x.shape[: -2 * d] + tuple(self.size), dtype=x.dtype)
        for k in range(math.prod(self.kernel)):
            place = _unravel(k, self.kernel)                            # position inside the window
            target = tuple(slice(p * r, p * r + (o - 1) * s + 1 if o else 0, s)
                           for p, o, s, r in zip(place, out, self.stride, self.dilation))
            y[(Ellipsis,) + target] += x[(Ellipsis,) + place + (slice(None),) * d]
        return y
    def backward(self, gy):
        return Unfold(self.kernel, self.stride, self.dilation).apply(gy)


def unfold(x, kernel, stride=None, dilation=None):
    """Every window: (.., *size) -> (.., *kernel, *out), out = (size - dilation (kernel - 1) - 1) // stride + 1."""
    return Unfold(*_geometry(kernel, stride, dilation)).apply(x)

def fold(x, size, kernel, stride=None, dilation=None):
    """Add windows back where `unfold` found them: (.., *kernel, *out) -> (.., *size)."""
    geometry = _geometry(kernel, stride, dilation)
    d = len(geometry[0])
    expected = tuple(kernel) + window_counts(size, *geometry)
    if tuple(x.shape[-2 * d:]) != expected:
        raise ValueError(f"fold: got windows {tuple(x.shape[-2 * d:])}, expected kernel + counts {expected} for size {tuple(size)}")
    return Fold(tuple(size), *geometry).apply(x)

def window_counts(size, kernel, stride, dilation):
    """How many windows fit along each axis; an axis shorter than the window is an error."""
    reach = [r * (k - 1) + 1 for k, r in zip(kernel, dilation)]
    if any(n < w for n, w in zip(size, reach)):
        raise ValueError(f"unfold: the window reaches over {tuple(reach)}, the input has only {tuple(size)}")
    return tuple((n - w) // s + 1 for n, w, s in zip(size, reach, stride))

def pair(value):
    """(value, value) for an int, else the two numbers given."""
    return (value, value) if isinstance(value, int) else tuple(value)

def _geometry(kernel, stride, dilation):
    kernel = tuple(kernel)
    return kernel, tuple(stride or (1,) * len(kernel)), tuple(dilation or (1,) * len(kernel))

def _unravel(k, shape):
    place = []
    for n in reversed(shape):
        place.insert(0, k % n)
        k //= n
    return tuple(place)
