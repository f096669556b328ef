"""Quantization: weights and activations as small integers. A model becomes 4 or 8 times smaller, and its sums become exact.

    r a real number   q an integer   s scale   z zero point        r = s (q - z)

    weights, symmetric, a scale for each output o:   s_o = max |w_o| / top,  top = 2^(bits - 1) - 1,  q = round(w / s_o),  z = 0
    activations, affine, one scale for each layer:   s = (high - low) / (2^bits - 1),  z = round(-low / s),  0 <= q < 2^bits

    (1)  y_o = sum_i w_oi x_i + b_o  =  s s_o sum_i q_oi (q_i - z)  + b_o

The sum in (1) is one of integers, kept in 32 bits. The range from `low` to `high` holds 0, so that 0 is an integer exactly:
what relu and padding make is not rounded. Three steps:

    prepared = prepare(model, batches, bits=8)      # ranges of the activations, measured on data; numbers rounded as in (1)
    ...                                             # train `prepared` further, if so few bits cost too much
    small = convert(prepared)                       # integers; 4-bit weights lie two to a byte

Between the first step and the last the model computes with real numbers that lie on the grid of the integers. So it answers
what the small model will answer, and it can be trained. Rounding has the derivative 0 almost everywhere, which teaches nothing;
the straight-through gradient takes it as 1 inside the range and as 0 beyond it.

Jacob et al. 2017, arXiv:1712.05877; the straight-through gradient: Bengio et al. 2013, arXiv:1308.3432.
"""
import copy
import math


from .. import backend, functional as F, ops
from ..autograd import Function, mark_written, no_grad
from ..nn import Conv2d, Linear, Module, Parameter
from ..ops.elementwise import array_of
from ..ops.window import pair
from ..tensor import Tensor

MOMENTUM = 0.05         # how much a training batch moves the range of the activations


# ---------------------------------------------------------------- numbers and grids

class Round(Function):
    """y = the nearest integer, halves to even;   dy/dx = 1, straight through, by decree"""
    def forward(self, x):
        return self.xp.rint(x)
    def backward(self, gy):
        return gy


def fake_quantize(x, scale, zero_point, low, high):
    """s (q - z) with q = round(x / s) + z limited to low .. high: x on the grid of the integers, as real numbers.

    The gradient is 1 where q was inside low .. high and 0 where it had to be limited. scale, zero_point: numbers or constants.
    """
    return (ops.clip(Round().apply(x / scale) + zero_point, low, high) - zero_point) * scale


def weight_scale(weight, bits):
    """The scale of each output of weight (O, ..), an array (O, 1, ..): its largest number becomes the largest integer."""
    xp, scale = backend.array_module(weight), abs(weight).reshape(len(weight), -1).max(axis=1) / top(bits)
    scale = xp.where(scale > xp.finfo(weight.dtype).tiny, scale, 1)             # an output of zeros, or as good as that
    return scale.astype(weight.dtype).reshape(-1, *(1,) * (weight.ndim - 1))


def activation_grid(low, high, bits):
    """(scale, zero point) with which 0 .. 2^bits - 1 reach from `low` to `high`, and over 0."""
    low, high = min(float(low), 0.0), max(float(high), 0.0)
    scale = (high - low) / (2 ** bits - 1) or 1.0
    return scale, round(-low / scale)


def top(bits):
    """The largest integer of a weight; the smallest is its negative."""
    return 2 ** (bits - 1) - 1


def pack_int4(q):
    """Integers -8 .. 7 of any shape as bytes, two in each, the first in the lower half: (half the count, rounded up,) uint8."""
    q = q.reshape(-1)
    if q.size and not (-8 <= q.min() and q.max() <= 7):
        raise ValueError(f"pack_int4: got integers in [{q.min()}, {q.max()}], expected [-8, 7]")
    halves = backend.array_module(q).zeros(q.size + q.size % 2, "uint8")
    halves[: q.size] = q & 15
    return halves[0::2] | halves[1::2] << 4


def unpack_int4(packed, shape):
    """What pack_int4 has packed, int8 in `shape`."""
    size = math.prod(shape)
    if packed.size != (size + 1) // 2:
        raise ValueError(f"unpack_int4: got {packed.size} bytes, expected {(size + 1) // 2} for shape {tuple(shape)}")
    halves = backend.array_module(packed).stack([packed & 15, packed >> 4], axis=1).reshape(-1)[:size]
    return ((halves ^ 8).astype("int8") - 8).reshape(shape)             # 8 .. 15 stand for -8 .. -1


# ---------------------------------------------------------------- layers

class FakeQuantized(Module):
    """A Linear or Conv2d whose weight and input are rounded to a grid. While it is `observing` it only measures the input."""

    def __init__(self, layer, bits):
        self.layer, self.bits, self.observing = layer, bits, True
        self.range = Tensor([0.0, 0.0], device=layer.weight.device)             # smallest and largest number of the input

    def forward(self, x):
        if self.observing or self.training:
            self._measure(array_of(x))
        if self.observing:
            return self.layer(x)
        x = fake_quantize(x, *self.grid(), 0, 2 ** self.bits - 1)
        return self._apply(x, fake_quantize(self.layer.weight, self.scale(), 0, -top(self.bits), top(self.bits)))

    def _measure(self, x):
        """While observing the extremes of all data; in training their moving average."""
        low, high = self.range.tolist()
        if self.observing:
            low, high = min(low, float(x.min())), max(high, float(x.max()))
        else:
            low, high = low + MOMENTUM * (float(x.min()) - low), high + MOMENTUM * (float(x.max()) - high)
        self.range.data[0], self.range.data[1] = low, high
        mark_written(self.range.data)

    def _apply(self, x, weight):
        if isinstance(self.layer, Linear):
            return F.linear(x, weight, self.layer.bias)
        stride, padding, dilation, groups = geometry(self.layer)
        return F.conv2d(x, weight, self.layer.bias, stride, padding, dilation, groups)

    def grid(self):
        """(scale, zero point) of the input."""
        return activation_grid(*self.range.tolist(), self.bits)

    def scale(self):
        """That of each output of the weight."""
        return weight_scale(self.layer.weight.data, self.bits)

    def integers(self):
        """The weight as integers, int8."""
        return backend.array_module(self.layer.weight.data).rint(self.layer.weight.data / self.scale()).astype("int8")

    def extra_repr(self):
        return f"bits={self.bits}"


class Quantized(Module):
    """(1) with integers: made of a FakeQuantized, for evaluation. Tensors: weight (int8, or packed), scale (O,), bias, grid."""

    def __init__(self, fake):
        layer, q = fake.layer, fake.integers()
        if q[0].size * top(fake.bits) * (2 ** fake.bits - 1) >= 2 ** 31:
            raise ValueError(f"convert: a sum of {q[0].size} products of {fake.bits} bits may not fit into 32 bits")
        self.bits, self.shape = fake.bits, q.shape
        self.weight = Tensor._wrap(pack_int4(q) if fake.bits <= 4 else q)
        self.scale = Tensor._wrap(fake.scale().reshape(-1))
        self.bias = None if layer.bias is None else layer.bias.detach().copy()
        self.grid = Tensor(fake.grid(), device=layer.weight.device)                         # scale, zero point
        self.convolves = isinstance(layer, Conv2d)
        if self.convolves:
            self.stride, self.padding, self.dilation, self.groups = geometry(layer)

    def forward(self, x):
        x, (scale, zero_point) = array_of(x), self.grid.tolist()
        xp = backend.array_module(x)
        q = xp.clip(xp.rint(x / x.dtype.type(scale)) + zero_point, 0, 2 ** self.bits - 1) - zero_point
        q, w = q.astype("int32"), self.integers().astype("int32")
        sums = self._convolve(q, w) if self.convolves else q @ w.T                          # int32
        shape = (-1, 1, 1) if self.convolves else (-1,)
        y = sums * (self.scale.data * self.scale.dtype.type(scale)).reshape(shape)
        y = y.astype(x.dtype) if self.bias is None else y.astype(x.dtype) + self.bias.data.reshape(shape)
        return Tensor._wrap(y)

    def _convolve(self, q, w):
        """q (N, C, H, W), w (O, C / G, KH, KW) -> (N, O, OH, OW): windows as columns, then a product of matrices."""
        (O, _, *kernel), G = w.shape, self.groups
        q = ops.pad(q, ((0, 0), (0, 0), *((p, p) for p in self.padding)))                   # the integer of 0 is 0 here
        windows = ops.unfold(q, kernel, self.stride, self.dilation)                         # (N, C, KH, KW, OH, OW)
        N, (OH, OW) = len(q), windows.shape[-2:]
        sums = w.reshape(G, O // G, -1) @ windows.reshape(N, G, w[0].size, OH * OW)         # (N, G, O / G, OH OW)
        return sums.reshape(N, O, OH, OW)

    def integers(self):
        """The weight, int8."""
        return unpack_int4(self.weight.data, self.shape) if self.bits <= 4 else self.weight.data

    def extra_repr(self):
        return f"{tuple(self.shape)}, bits={self.bits}"


def geometry(conv):
    """(stride, padding, dilation, groups) of a Conv2d, pairs; padding that is no border of zeros is refused."""
    if getattr(conv, "padding_mode", "zeros") != "zeros" or isinstance(conv.padding, str):
        raise ValueError(f"prepare: got a Conv2d with padding {conv.padding!r}, mode {conv.padding_mode!r}, expected zeros")
    return pair(conv.stride), pair(conv.padding), pair(conv.dilation), conv.groups


# ---------------------------------------------------------------- whole models

def prepare(model, batches, bits=8):
    """A copy of `model` whose Linear and Conv2d layers round weight and input to `bits` (2 .. 8). The ranges of their inputs
    are measured on `batches`, inputs of the model such as a few hundred training samples. Can be trained; see `convert`."""
    if not 2 <= bits <= 8:
        raise ValueError(f"prepare: got {bits} bits, expected 2 to 8")
    model = exchange(copy.deepcopy(model), lambda m: FakeQuantized(m, bits) if type(m) in (Linear, Conv2d) else None)
    layers = [m for m in model.modules() if isinstance(m, FakeQuantized)]
    if not layers:
        raise ValueError("prepare: the model has no Linear or Conv2d layer")

    model.eval()
    with no_grad():
        for x in batches:
            model(x if isinstance(x, Tensor) else Tensor(x))
    for layer in layers:
        layer.observing = False
    if not any(layer.range.data.any() for layer in layers):
        raise ValueError("prepare: got no batches, or only zeros; expected inputs to measure the activations on")
    return model


def convert(prepared):
    """A copy of a prepared model that computes with integers. `state_dict()` of it is what a small file holds."""
    return exchange(copy.deepcopy(prepared), lambda m: Quantized(m) if isinstance(m, FakeQuantized) else None).eval()


def fold_batch_norm(conv, norm):
    """One Conv2d that answers what `conv` and then `norm`, a BatchNorm2d in evaluation, answer: both only scale and shift."""
    scale = norm.weight.data / (norm.running_var.data + norm.eps) ** 0.5                    # (O,)
    bias = 0 if conv.bias is None else conv.bias.data
    both = copy.deepcopy(conv)
    both.weight = Parameter(conv.weight.data * scale[:, None, None, None])
    both.bias = Parameter((bias - norm.running_mean.data) * scale + norm.bias.data)
    return both


def exchange(value, other):
    """`value`, a module or a list, tuple or dict of them; each module m in it gives way to other(m), unless that is None."""
    if isinstance(value, Module):
        new = other(value)
        if new is None:
            vars(value).update({name: exchange(member, other) for name, member in vars(value).items()})
        return value if new is None else new
    if isinstance(value, (list, tuple)):
        return type(value)(exchange(member, other) for member in value)
    if isinstance(value, dict):
        return {key: exchange(member, other) for key, member in value.items()}
    return value
