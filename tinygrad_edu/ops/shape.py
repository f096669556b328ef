"""Shapes: operations that move or repeat values without computing anything. Each backward moves the gradient back.

Adjoint pairs: broadcast and sum, pad and slice, flip and flip, a transposition and its inverse.
"""
from .. import backend
from ..autograd import Function, sum_to
from ..tensor import Tensor


# ---------------------------------------------------------------- primitives

class Reshape(Function):
    """The same values in another shape;   backward: reshape back"""
    def __init__(self, shape):
        self.shape = shape
    def forward(self, x):
        self.x_shape = x.shape
        return x.reshape(self.shape)
    def backward(self, gy):
        return gy.reshape(self.x_shape)

class Transpose(Function):
    """y[i_axes] = x[i]: the axes in another order;   backward: the inverse order"""
    def __init__(self, axes):
        self.axes = axes
    def forward(self, x):
        return x.transpose(self.axes)
    def backward(self, gy):
        return gy.transpose(tuple(sorted(range(len(self.axes)), key=self.axes.__getitem__)))

class BroadcastTo(Function):
    """x repeated along axes of length 1 and new leading axes;   backward: sum over the repetitions"""
    def __init__(self, shape):
        self.shape = shape
    def forward(self, x):
        self.x_shape = x.shape
        return self.xp.broadcast_to(x, self.shape)
    def backward(self, gy):
        return sum_to(gy, self.x_shape)

class Concatenate(Function):
    """Inputs side by side along an axis;   backward: cut the gradient where they meet"""
    def __init__(self, axis):
        self.axis = axis
    def forward(self, *xs):
        self.lengths = [x.shape[self.axis] for x in xs]
        return self.xp.concatenate(xs, axis=self.axis)
    def backward(self, gy):
        pieces, start = [], 0
        for n in self.lengths:
            pieces.append(gy[along(gy, self.axis, slice(start, start + n))])
            start += n
        return tuple(pieces)

class Pad(Function):
    """x with `widths[i] = (before, after)` constants around axis i;   backward: slice the middle out"""
    def __init__(self, widths, value):
        self.widths, self.value = widths, value
    def forward(self, x):
        shape = tuple(n + before + after for n, (before, after) in zip(x.shape, self.widths))
        self.middle = tuple(slice(before, before + n) for n, (before, _) in zip(x.shape, self.widths))
        y = self.xp.full(shape, self.value, dtype=x.dtype)
        y[self.middle] = x
        return y
    def backward(self, gy):
        return gy[self.middle]

class Flip(Function):
    """x backwards along the axes;   backward: flip again"""
    def __init__(self, axes):
        self.axes = axes
    def forward(self, x):
        return self.xp.flip(x, self.axes)
    def backward(self, gy):
        return flip(gy, self.axes)

class Roll(Function):
    """x shifted around an axis, what leaves at one end enters at the other;   backward: shift the other way"""
    def __init__(self, shift, axis):
        self.shift, self.axis = shift, axis
    def forward(self, x):
        return self.xp.roll(x, self.shift, self.axis)
    def backward(self, gy):
        return roll(gy, -self.shift, self.axis)


# ---------------------------------------------------------------- the functions

def reshape(x, *shape):
    """x in `shape` (ints or one tuple); one -1 is worked out."""
    return Reshape(shape[0] if len(shape) == 1 and not isinstance(shape[0], int) else shape).apply(x)

def transpose(x, *axes):
    """x with its axes in the order `axes` (ints or one tuple); without axes: reversed."""
    if len(axes) == 1 and not isinstance(axes[0], int):
        axes = axes[0]
    axes = tuple(a % x.ndim for a in axes) if axes else tuple(reversed(range(x.ndim)))
    if len(axes) != x.ndim:
        raise ValueError(f"transpose: got axes {axes}, expected an order of the {x.ndim} axes of shape {x.shape}")
    return Transpose(axes).apply(x)

def swapaxes(x, a, b):
    """x with axes a and b exchanged."""
    a, b, axes = axis_of(x, a, "swapaxes"), axis_of(x, b, "swapaxes"), list(range(x.ndim))
    axes[a], axes[b] = axes[b], axes[a]
    return Transpose(tuple(axes)).apply(x)

def moveaxis(x, source, destination):
    """x with one axis moved to another place."""
    source, destination = axis_of(x, source, "moveaxis"), axis_of(x, destination, "moveaxis")
    axes = [i for i in range(x.ndim) if i != source]
    axes.insert(destination, source)
    return Transpose(tuple(axes)).apply(x)

def expand_dims(x, axis):
    """x with a new axis of length 1 at position `axis` of the result."""
    if not -x.ndim - 1 <= axis <= x.ndim:
        raise ValueError(f"expand_dims: got axis {axis}, expected a place from {-x.ndim - 1} to {x.ndim} in shape {tuple(x.shape)}")
    axis = axis % (x.ndim + 1)
    return Reshape(x.shape[:axis] + (1,) + x.shape[axis:]).apply(x)

def squeeze(x, axis=None):
    """x without its axes of length 1, or without just `axis`."""
    axes = [i for i, n in enumerate(x.shape) if n == 1] if axis is None else [axis_of(x, axis, "squeeze")]
    if axis is not None and x.shape[axis] != 1:
        raise ValueError(f"squeeze: axis {axis} has length {x.shape[axis]}, expected 1")
    return Reshape(tuple(n for i, n in enumerate(x.shape) if i not in axes)).apply(x)

def flatten(x, start_axis=0):
    """x with the axes from `start_axis` on merged into one."""
    lead = x.shape[:start_axis]
    size = 1
    for n in x.shape[start_axis:]:
        size *= n
    return Reshape(lead + (size,)).apply(x)

def broadcast_to(x, shape):
    """x repeated (as a view) to `shape` by NumPy's broadcasting rules."""
    return BroadcastTo(tuple(shape)).apply(x)

def concatenate(xs, axis=0):
    """Join arrays or tensors along an existing axis."""
    return Concatenate(axis).apply(*xs)

def stack(xs, axis=0):
    """Join equally shaped arrays or tensors along a new axis."""
    return Concatenate(axis).apply(*[expand_dims(x, axis) for x in xs])

def split(x, sections, axis=0):
    """A list of pieces of x along `axis`: `sections` equal ones (an int) or of the lengths given (a list)."""
    n = x.shape[axis_of(x, axis, "split")]
    lengths = [n // sections] * sections if isinstance(sections, int) else list(sections)
    if sum(lengths) != n:
        raise ValueError(f"split: axis {axis} has length {n}, the pieces add up to {sum(lengths)}")
    starts = [sum(lengths[:i]) for i in range(len(lengths))]
    return [x[along(x, axis, slice(s, s + m))] for s, m in zip(starts, lengths)]

def pad(x, widths, mode="constant", value=0.0):
    """x with a border. `widths`: a pair (before, after) for each axis. Modes: constant, reflect, replicate, circular."""
    widths = tuple((int(before), int(after)) for before, after in widths)
    if len(widths) != x.ndim:
        raise ValueError(f"pad: got {len(widths)} pairs of widths, expected {x.ndim}, one for each axis")
    if mode == "constant":
        return Pad(widths, value).apply(x)
    for axis, (before, after) in enumerate(widths):
        if before or after:
            x = x[along(x, axis, _border(mode, x, axis, before, after))]
    return x

def _border(mode, x, axis, before, after):
    """Which element of an axis each place of the padded axis repeats."""
    n, xp = x.shape[axis], backend.array_module(x.data if isinstance(x, Tensor) else x)
    i = xp.arange(-before, n + after)
    if mode == "replicate":
        return xp.clip(i, 0, n - 1)
    if mode == "circular":
        return i % n
    if mode != "reflect":
        raise ValueError(f"pad: got mode {mode!r}, expected constant, reflect, replicate or circular")
    if max(before, after) >= n:
        raise ValueError(f"pad: reflect needs widths below the axis length {n}, got {(before, after)}")
    i = abs(i)
    return xp.where(i < n, i, 2 * (n - 1) - i)

def flip(x, axis=None):
    """x backwards along `axis` (an int, a tuple, or None for all)."""
    return Flip(axis).apply(x)

def roll(x, shift, axis):
    """x shifted by `shift` places around `axis`."""
    return Roll(shift, axis).apply(x)

def repeat(x, times, axis):
    """Each element of x `times` times in a row along `axis`: a a b b."""
    axis = axis_of(x, axis, "repeat")
    lead, n, rest = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    return broadcast_to(expand_dims(x, axis + 1), lead + (n, times) + rest).reshape(lead + (n * times,) + rest)

def tile(x, times, axis):
    """The whole of x `times` times after itself along `axis`: a b a b."""
    axis = axis_of(x, axis, "tile")
    lead, n, rest = x.shape[:axis], x.shape[axis], x.shape[axis + 1 :]
    return broadcast_to(expand_dims(x, axis), lead + (times, n) + rest).reshape(lead + (n * times,) + rest)

def axis_of(x, axis, caller):
    """`axis` counted from the front; an error that names the caller if x has no such axis."""
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(f"{caller}: got axis {axis}, expected one from {-x.ndim} to {x.ndim - 1} of shape {tuple(x.shape)}")
    return axis % x.ndim

def along(x, axis, index):
    """The index that takes `index` along one axis and everything along the others."""
    return (slice(None),) * (axis % x.ndim) + (index,)
