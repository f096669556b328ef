"""Indexing: reading from chosen places, and its adjoint, adding to chosen places. Each is the other's backward.

A place that is read twice gets the sum of both gradients.
"""
from .. import backend
from ..autograd import Function, sum_to
from .elementwise import array_of, constant, where
from .shape import axis_of, broadcast_to


# ---------------------------------------------------------------- adjoint pair 1: x[index] and "add at index"

class GetItem(Function):
    """y = x[index], NumPy's basic and advanced indexing;   backward: add gy at those places of zeros"""
    def __init__(self, index):
        self.index = index
    def forward(self, x):
        self.shape = x.shape
        return x[self.index]
    def backward(self, gy):
        return AddAt(self.index, self.shape).apply(gy)

class AddAt(Function):
    """y = zeros(shape); y[index] += x, repeated places add up;   backward: read gy[index]"""
    def __init__(self, index, shape):
        self.index, self.shape = index, shape
    def forward(self, x):
        if backend.is_array(self.index) and self.index.dtype.kind in "iu":
            return backend.sum_rows(self.index.reshape(-1), x.reshape((self.index.size,) + self.shape[1:]), self.shape[0])
        y = self.xp.zeros(self.shape, dtype=x.dtype)
        if is_basic(self.index):
            y[self.index] = x                           # slices never repeat a place
        else:
            self.xp.add.at(y, self.index, x)
        return y
    def backward(self, gy):
        return gy[self.index]

class SetItem(Function):
    """y = a copy of x with y[index] = v;   backward: gy without those places to x, gy[index] to v"""
    def __init__(self, index):
        self.index = index
    def forward(self, x, v):
        y = self.xp.array(x)
        if is_basic(self.index):
            y[self.index] = v
        else:                                           # of several writes to one place the last one counts, on a GPU too
            order = self.xp.arange(y[self.index].size).reshape(y[self.index].shape)
            last = self.xp.zeros(x.shape, dtype=order.dtype)
            self.xp.maximum.at(last, self.index, order)
            y[self.index] = self.xp.broadcast_to(self.xp.asarray(v), order.shape).reshape(-1)[last[self.index]]
            self.save(last[self.index] == order)
        self.v_shape = getattr(v, "shape", ())
        return y
    def backward(self, gy):
        gv = gy[self.index]
        if self.saved:
            gv = gv * self.saved[0]
        return set_item(gy, self.index, 0.0), sum_to(gv, self.v_shape)


# ---------------------------------------------------------------- adjoint pair 2: along one axis

class TakeAlongAxis(Function):
    """y[.., i, ..] = x[.., index[.., i, ..], ..];   backward: add gy at those places of zeros"""
    def __init__(self, index, axis):
        self.index, self.axis = index, axis
    def forward(self, x):
        self.shape = x.shape
        return self.xp.take_along_axis(x, self.index, axis=self.axis)
    def backward(self, gy):
        return AddAlongAxis(self.index, self.axis, self.shape).apply(gy)

class AddAlongAxis(Function):
    """y = zeros(shape); y[.., index[.., i, ..], ..] += x[.., i, ..];   backward: take gy along the axis"""
    def __init__(self, index, axis, shape):
        self.index, self.axis, self.shape = index, axis, shape
    def forward(self, x):
        places = []
        for i, n in enumerate(self.index.shape):
            ones = [1] * x.ndim
            ones[i] = n
            places.append(self.index if i == self.axis % x.ndim else self.xp.arange(n).reshape(ones))
        y = self.xp.zeros(self.shape, dtype=x.dtype)
        self.xp.add.at(y, tuple(places), x)
        return y
    def backward(self, gy):
        return take_along_axis(gy, self.index, self.axis)


# ---------------------------------------------------------------- the functions

def get_item(x, index):
    """x[index]: ints, slices, None, Ellipsis, integer arrays, bool masks."""
    return GetItem(_plain(index, x)).apply(x)

def set_item(x, index, value):
    """A copy of x with x[index] = value."""
    return SetItem(_plain(index, x)).apply(x, value)

def scatter_add(x, index, values):
    """x with `values` added at `index`; places that occur several times in the index add up."""
    index = _plain(index, x)
    return x + AddAt(index, x.shape).apply(broadcast_to(values, array_of(x)[index].shape))

def take_along_axis(x, index, axis):
    """x read along `axis` at integer places `index` (same number of axes as x), as numpy.take_along_axis."""
    return TakeAlongAxis(array_of(index), axis).apply(x)

gather = take_along_axis

def tril(x, k=0):
    """The lower triangle of the last two axes, zeros above diagonal k."""
    return where(_triangle(x, k), x, 0.0)

def triu(x, k=0):
    """The upper triangle of the last two axes, zeros below diagonal k."""
    return where(_triangle(x, k - 1), 0.0, x)

def diagonal(x):
    """The diagonal of the last two axes: (.., N, N) -> (.., N)."""
    i = backend.array_module(array_of(x)).arange(min(x.shape[-2:]))
    return get_item(x, (Ellipsis, i, i))

def sort(x, axis=-1):
    """x in ascending order along `axis`; the gradient follows the values."""
    return take_along_axis(x, argsort(x, axis), axis)

def topk(x, k, axis=-1):
    """The k largest values along `axis`, largest first, and their places (a constant of ints)."""
    axis = axis_of(x, axis, "topk")
    if not 0 <= k <= x.shape[axis]:
        raise ValueError(f"topk: got k = {k}, the axis has length {x.shape[axis]}")
    places = argsort(-x, axis)
    places = places[(slice(None),) * axis + (slice(k),)]
    return take_along_axis(x, places, axis), places


# ---------------------------------------------------------------- values without a gradient

def argsort(x, axis=-1):
    """The places that sort x along `axis`, equal values in their old order."""
    return constant(x, lambda data: backend.array_module(data).argsort(data, axis=axis, kind="stable"))

def one_hot(ids, classes, dtype="float32"):
    """1 at the given class and 0 elsewhere: ids.shape + (classes,)."""
    data = array_of(ids)
    if data.dtype.kind not in "iu":
        raise TypeError(f"one_hot: ids must be integers, got {data.dtype}")
    if data.size and not (0 <= int(data.min()) and int(data.max()) < classes):
        raise ValueError(f"one_hot: got ids in [{int(data.min())}, {int(data.max())}], expected [0, {classes})")
    return constant(ids, lambda i: (i[..., None] == backend.array_module(i).arange(classes)).astype(dtype))

def is_basic(index):
    """Ints, slices, None and Ellipsis: an index that names no place twice."""
    parts = index if isinstance(index, tuple) else (index,)
    return all(p is None or p is Ellipsis or isinstance(p, slice) or (isinstance(p, int) and not isinstance(p, bool))
               for p in parts)

def _plain(index, x):
    """An index of arrays: Tensors opened, lists made arrays where x lies."""
    if isinstance(index, tuple):
        return tuple(_plain(i, x) for i in index)
    if isinstance(index, list):
        return backend.to_device(index, backend.device_of(array_of(x)))
    return array_of(index)

def _triangle(x, k):
    xp = backend.array_module(array_of(x))
    return xp.arange(x.shape[-1]) <= xp.arange(x.shape[-2])[:, None] + k
