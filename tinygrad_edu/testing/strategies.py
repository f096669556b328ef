"""Floor 3: what to check on. Hypothesis strategies for shapes, arrays, layouts, axes, indices and window geometries.

    @given(arrays(shapes(), away_from=(0.0,)))
    def test_relu(x):
        gradcheck(relu, x)

Sizes are small on purpose: a mistake that shows at length 7 shows at length 3, and 0 and 1 are the interesting lengths.
"""
import dataclasses
import math

import numpy as np

try:
    from hypothesis import strategies as st
except ImportError as error:
    raise ImportError("tinygrad_edu.testing.strategies needs Hypothesis: pip install 'tinygrad-edu[test]'") from error

LENGTHS = (1, 2, 3, 4, 0)       # Hypothesis shrinks towards the first
CLEARANCE = 0.05                # how far from a kink values are drawn


# ---------------------------------------------------------------- shapes

def shapes(min_axes=0, max_axes=3, empty=True):
    """Shapes as tuples: 0-d included, and axes of length 0 unless `empty=False`."""
    length = st.sampled_from(LENGTHS if empty else LENGTHS[:-1])
    return st.lists(length, min_size=min_axes, max_size=max_axes).map(tuple)

@st.composite
def broadcastable_shapes(draw, n=2, max_axes=3, empty=True):
    """`n` shapes that broadcast together: each is the result with some axes 1 and some leading axes missing."""
    result = draw(shapes(0, max_axes, empty))
    answer = []
    for _ in range(n):
        shape = tuple(1 if draw(st.booleans()) else length for length in result)
        answer.append(shape[draw(st.integers(0, len(shape))):])
    answer[draw(st.integers(0, n - 1))] = result            # one of them has the shape of the result
    return tuple(answer)

def axes(ndim):
    """What a reduction accepts as `axis` for `ndim` axes: None, an int (negative too), a tuple of distinct axes."""
    if ndim == 0:
        return st.none()
    single = st.integers(-ndim, ndim - 1)
    several = st.lists(single, min_size=1, max_size=ndim, unique_by=lambda a: a % ndim).map(tuple)
    return st.none() | single | several


# ---------------------------------------------------------------- arrays

@st.composite
def arrays(draw, shape=None, domain=(-3.0, 3.0), away_from=(), dtype="float64", distinct=False):
    """Arrays of a shape (a tuple, a strategy, None for any) with values in `domain`, none near a value in `away_from`.

    Values come from a drawn seed: gradients want generic numbers, and Hypothesis shrinks the shape. `distinct`: all
    at least 0.01 apart, for functions with ties (max, sort).
    """
    shape = draw(shapes() if shape is None else shape if isinstance(shape, st.SearchStrategy) else st.just(shape))
    rng = np.random.default_rng(draw(st.integers(0, 2**16)))
    low, high = domain
    x = rng.uniform(low, high, shape)
    if distinct:
        grid = np.linspace(low, high, max(2 * math.prod(shape), 2), dtype=np.float64)
        x = rng.permutation(grid)[: math.prod(shape)].reshape(shape)
    for point in away_from:
        side = np.where((x >= point) & (point + CLEARANCE <= high) | (point - CLEARANCE < low), 1.0, -1.0)
        x = np.where(abs(x - point) < CLEARANCE, point + side * CLEARANCE * (1 + abs(x - point)), x)
    return np.asarray(x).astype(dtype)

@st.composite
def layouts(draw, array):
    """The values of `array` (or of what a strategy draws) in another memory layout: strided and reversed views."""
    x = draw(array) if isinstance(array, st.SearchStrategy) else np.asarray(array)
    kind = draw(st.sampled_from(("plain", "fortran", "strided", "reversed", "offset")))
    if kind == "plain" or x.ndim == 0:
        return x
    if kind == "fortran":
        return np.asfortranarray(x)
    if kind == "reversed":
        return np.ascontiguousarray(x[..., ::-1])[..., ::-1]
    room = np.zeros(x.shape[:-1] + (2 * x.shape[-1] + 1,), dtype=x.dtype)
    view = room[..., 1::2] if kind == "strided" else room[..., 1 : x.shape[-1] + 1]
    view[...] = x
    return view


# ---------------------------------------------------------------- indices

@st.composite
def index_expressions(draw, shape):
    """What may stand in x[...] for an x of `shape`: ints, slices with steps, None, Ellipsis, integer arrays with
    repetitions, bool masks. Mixed as NumPy allows; a mask stands alone."""
    if draw(st.integers(0, 5)) == 0:
        rng = np.random.default_rng(draw(st.integers(0, 2**16)))
        return rng.random(shape) < 0.5
    parts, size = [], draw(st.sampled_from((2, 3)))
    for n in shape[: draw(st.integers(0, len(shape)))]:
        parts.append(draw(_one_axis(n, size)))
    if draw(st.booleans()):
        parts.insert(draw(st.integers(0, len(parts))), None)
    if draw(st.booleans()):
        parts.append(Ellipsis)
    return parts[0] if len(parts) == 1 and draw(st.booleans()) else tuple(parts)

def _one_axis(n, size):
    """An index of one axis of length n; integer arrays all have `size` places, so that they broadcast together."""
    bound = st.none() | st.integers(-n - 1, n + 1)
    slices = st.builds(slice, bound, bound, st.sampled_from((None, 1, 2, -1, -2)))
    if n == 0:
        return slices
    places = st.lists(st.integers(-n, n - 1), min_size=size, max_size=size).map(np.array)
    return slices | st.integers(-n, n - 1) | places


# ---------------------------------------------------------------- convolutions

@dataclasses.dataclass(frozen=True)
class ConvGeometry:
    """A convolution: x (batch, channels, *size), weight (filters, channels / groups, *kernel)."""
    batch: int
    channels: int
    filters: int
    groups: int
    size: tuple
    kernel: tuple
    stride: tuple
    padding: tuple
    dilation: tuple

    @property
    def x_shape(self):
        return (self.batch, self.channels) + self.size

    @property
    def weight_shape(self):
        return (self.filters, self.channels // self.groups) + self.kernel

    @property
    def out_shape(self):
        reach = [r * (k - 1) + 1 for k, r in zip(self.kernel, self.dilation)]
        spatial = [(n + 2 * p - w) // s + 1 for n, p, w, s in zip(self.size, self.padding, reach, self.stride)]
        return (self.batch, self.filters) + tuple(spatial)

@st.composite
def conv_geometries(draw, d=2):
    """Geometries in `d` dimensions: even kernels, strides that do not divide, dilation, groups, down to one pixel."""
    groups = draw(st.sampled_from((1, 1, 2, 3)))
    kernel, stride, padding, dilation, size = [], [], [], [], []
    for _ in range(d):
        kernel.append(draw(st.integers(1, 3)))
        stride.append(draw(st.integers(1, 3)))
        dilation.append(draw(st.integers(1, 2)))
        padding.append(draw(st.integers(0, 2)))
        reach = dilation[-1] * (kernel[-1] - 1) + 1
        size.append(max(1, reach - 2 * padding[-1]) + draw(st.integers(0, 3)))
    batch, per_group, filters = (draw(st.integers(1, 2)) for _ in range(3))
    return ConvGeometry(batch, groups * per_group, groups * filters, groups,
                        tuple(size), tuple(kernel), tuple(stride), tuple(padding), tuple(dilation))
