"""Convolution of images (in the sense of deep learning: a correlation, the kernel is not flipped), and its adjoint.

    N images   C input channels   O output channels   G groups   H W input   KH KW kernel   OH OW output
    s stride, p padding, d dilation: of lines and of columns

    y[n, o, oh, ow] = b[o] + sum over c, kh, kw of weight[o, c, kh, kw] x[n, c, oh s + kh d - p, ow s + kw d - p]

As a matrix product this needs every window of x as a column of a matrix P, which holds each pixel KH KW times. For s = 1:

    (1)  lines      for each channel, all lines of a few images end to end: line 0 of every image, line 1 of every image, ..
    (2)  P          its row (c, kh, kw) is channel c of (1), read from kh d lines and kw d pixels further on
    (3)  Y = W P    W = weight as (O, C KH KW)
    (4)  y = Y + b  cut into lines and images again

So (2) copies KH KW long runs, which takes a tenth of the time of (3). The price are columns of P whose window runs over the
end of a line; (4) drops them. They are few: zeros between two images serve as the padding of both.
For s > 1 entry kh of the kernel meets every s-th line only. So lines are sorted by their remainder modulo s, columns too, and
within each such phase everything is as for s = 1.

Derivation. Y = W P gives gW = gY P', and gP = W' gY would have to be added up over the windows that hold a pixel. Seen from
the pixel: entry kh met pixel u as part of output u - kh d, so gx[u] is the sum over o, kh, kw of weight[o, c, kh, kw] times
gy[o, u - kh d, ..]. That is (1) to (4) once more, of gy with the flipped kernel, for each phase of x by itself; nothing is
added up twice. But its P copies windows of all O channels, so where x has few (C at most a quarter of O) gP is the smaller one,
and adding its rows up on the lines of x takes a quarter to three quarters of the time.

The transposed convolution does to x what the gradient of a convolution does to gy. So both kernels are made of three maps:
`correlate`, `spread` and `weight_gradient` are what remains of the sum of gy[o] weight[o, c] x[c] without gy, x or weight.
Only x and weight are saved; P is made again, a few images or lines at a time. Two threads share the batch.
Measured on two cores, forward and backward, beside PyTorch with two threads: 1.4 to 1.8 times its time for 3x3 kernels on
images of 32 x 32 x 32, 0.7 to 0.9 for 5x5 on one channel, 1.3 to 1.6 for stride 2, 1 to 1.4 for 1x1.

LeCun et al. 1989, Backpropagation applied to handwritten zip code recognition; Zeiler et al. 2010, Deconvolutional networks.
"""
import itertools
import math
from typing import NamedTuple

from .. import backend
from ..autograd import Kernel
from ..ops import einsum, fold, pad, unfold
from ..ops.elementwise import constant
from ..ops.window import pair
from ..threads import in_threads

_BLOCK = 1 << 19        # numbers of P at a time: 2 MiB of float32, for which calls are few and the cache still near
_AS_IT_LIES = 256       # from so many pixels on, a 1x1 kernel takes images one by one, without (1), (2) and (4)


# ---------------------------------------------------------------- lines and windows

class Phase(NamedTuple):
    """Along one axis: kernel[entries], and the pixels that they meet, as one row of cells for a convolution of stride 1."""
    entries: slice
    count: int              # of entries
    apart: int              # cells from one entry to the next
    pixels: slice
    cells: slice            # where the pixels lie; the other cells are padding
    length: int             # of the row


def phases(n, k, out, s, p, d):
    """A convolution along an axis of n pixels as a sum of convolutions of stride 1, each on every s-th pixel."""
    step, found = s // math.gcd(s, d), []
    for i in range(min(step, k)):
        count, apart, first = len(range(i, k, step)), d * step // s, i * d - p      # entry i meets pixel `first` first
        length = out + (count - 1) * apart
        start = max(0, -(first // s))
        stop = max(start, min(length, -((first - n) // s)))
        pixels = slice(first + start * s, first + stop * s, s)
        found.append(Phase(slice(i, None, step), count, apart, pixels, slice(start, stop), length))
    return found


class Layout:
    """(1), (2) and (4) of one convolution: how n images lie in `lines` (channels, cells), cells = (lines, n, width)."""

    def __init__(self, size, kernel, out, stride, padding, dilation):
        down, across = (phases(*axis) for axis in zip(size, kernel, out, stride, padding, dilation))
        self.size, self.kernel, self.out, self.phases = size, kernel, out, [(a, b) for a in down for b in across]
        self.width = max(max(out[1], b.cells.stop, b.length - b.cells.start) for b in across)
        self.lead = max(a.length for a in down) - out[0], max(b.length for b in across) - out[1]
        self.as_it_lies = kernel == stride == (1, 1) and size == out and math.prod(size) >= _AS_IT_LIES

    def blocks(self, x, rows=None):
        """Slices of x (N, C, ..), a few images each: so many that `rows` rows, else those of P, fill a block."""
        numbers = (rows or x.shape[1] * math.prod(self.kernel)) * self.out[0] * self.width
        return backend.blocks(x, _BLOCK if self.as_it_lies else numbers, _BLOCK)

    def lines(self, x, xp):
        """(1)  x (n, C, H, W) -> for each phase (C, cells)"""
        (n, C), found = x.shape[:2], []
        if n == 1 and self.as_it_lies:
            return [x.reshape(C, -1)]
        for a, b in self.phases:
            count = a.length * n * self.width
            lines = xp.zeros((C, count + b.length), x.dtype)
            cells = lines[:, :count].reshape(C, a.length, n, self.width)
            cells[:, a.cells, :, b.cells] = x[:, :, a.pixels, b.pixels].transpose(1, 2, 0, 3)
            found.append(lines)
        return found

    def output_lines(self, gy, xp):
        """(1)  for gy (n, O, OH, OW): (O, cells), and how many cells of zeros lie before the first output"""
        (n, O), (OH, OW) = gy.shape[:2], self.out
        if n == 1 and self.as_it_lies:
            return gy.reshape(O, -1), 0
        before, count = self.lead[0] * n * self.width + self.lead[1], OH * n * self.width
        lines = xp.zeros((O, before + count + self.lead[0] * n * self.width), gy.dtype)
        lines[:, before : before + count].reshape(O, OH, n, -1)[..., :OW] = gy.transpose(1, 2, 0, 3)
        return lines, before

    def windows(self, lines, phase, n, start, count, xp):
        """(2)  for one phase: windows that start at cell `start` and the next ones, a view (C, KH, KW, count)"""
        (a, b), (row, cell) = phase, lines.strides
        strides = row, a.apart * n * self.width * cell, b.apart * cell, cell
        return xp.lib.stride_tricks.as_strided(lines[:, start:], (len(lines), a.count, b.count, count), strides)

    def unfold(self, lines, n, start, count, xp):
        """(2)  for all phases together: `count` columns of P, (C KH KW, count)"""
        if self.kernel == (1, 1):
            return lines[0][:, start : start + count]                       # no copy
        views = [self.windows(*both, n, start, count, xp) for both in zip(lines, self.phases)]
        if len(views) == 1:
            return views[0].reshape(-1, count)                              # the copy
        P = xp.empty((len(lines[0]), *self.kernel, count), views[0].dtype)
        for (a, b), view in zip(self.phases, views):
            P[:, a.entries, b.entries] = view
        return P.reshape(-1, count)


# ---------------------------------------------------------------- the three maps

class _Convolution(Kernel):
    """The three maps among x (N, C, H, W), weight (O, C/G, KH, KW) and y (N, O, OH, OW)."""

    def __init__(self, stride, padding, dilation, groups):
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def correlate(self, x, weight, bias, out):
        """y = W P + b"""
        N, O, (OH, OW), xp = len(x), len(weight), out, self.xp
        to, W = self._layout(x.shape[2:], weight, out), self._matrix(weight)                # W (G, O/G, C/G KH KW)
        y = xp.empty((N, O, OH, OW), x.dtype)

        def work(part):
            for block in to.blocks(x[part]):
                n, lines = len(y[part][block]), to.lines(x[part][block], xp)                # (1)
                Y = xp.empty((*W.shape[:2], OH * n * to.width), x.dtype)
                for i in self._columns(Y, W):
                    P = to.unfold(lines, n, i.start, Y[..., i].shape[2], xp)                # (2)
                    xp.matmul(W, self._grouped(P), out=Y[..., i])                           # (3)
                Y = Y.reshape(O, OH, n, -1)[..., :OW].transpose(2, 0, 1, 3)
                xp.add(Y, bias[:, None, None], out=y[part][block])                          # (4)

        in_threads(work, x, self._effort(weight, out))
        return y

    def spread(self, gy, weight, size):
        """gx: every output goes back to the pixels of its window; for each pixel, the sum over the windows that hold it."""
        (O, C, *_), out = weight.shape, gy.shape[2:]                                        # C of one group
        to = self._layout(size, weight, out)
        gx = self.xp.zeros((len(gy), self.groups * C, *size), gy.dtype)
        few = 4 * C * self.groups <= O and to.kernel != (1, 1)
        way = self._add_up if few else self._collect
        in_threads(lambda part: way(gy[part], weight, gx[part], to), gy, self._effort(weight, out))
        return gx

    def _collect(self, gy, weight, gx, to):
        """gx as a convolution of gy with the flipped kernel"""
        (O, C, *_), G, xp = weight.shape, self.groups, self.xp
        flipped = weight.reshape(G, O // G, C, *to.kernel).swapaxes(1, 2)
        Ws = [flipped[..., a.entries, b.entries][..., ::-1, ::-1].reshape(G, C, -1) for a, b in to.phases]
        for block in to.blocks(gy):
            n, (lines, before) = len(gy[block]), to.output_lines(gy[block], xp)                       # (1)
            line = n * to.width
            for (a, b), W in zip(to.phases, Ws):
                count = a.cells.stop - a.cells.start
                X = xp.empty((G, C, count * line), gy.dtype)
                first = before + (a.cells.start - (a.length - to.out[0])) * line - (b.length - to.out[1])
                for i in self._columns(X, W):
                    P = to.windows(lines, (a, b), n, first + i.start, X[..., i].shape[2], xp)         # (2)
                    xp.matmul(W, self._grouped(P), out=X[..., i])                                     # (3)
                X = X.reshape(G * C, count, n, to.width)[..., b.cells].transpose(2, 0, 1, 3)
                gx[block][:, :, a.pixels, b.pixels] = X                                               # (4)

    def _add_up(self, gy, weight, gx, to):
        """gx by adding the rows of gP = W' gY to the pixels of x that P copied: (1) to (3) backwards"""
        (O, C, *_), G, xp = weight.shape, self.groups, self.xp
        entries = weight.reshape(G, O // G, C, *to.kernel)
        for block in to.blocks(gy, max(O, G * C * math.prod(to.kernel))):
            n, (lines, before) = len(gy[block]), to.output_lines(gy[block], xp)
            line = n * to.width
            gY = self._grouped(lines[:, before : before + to.out[0] * line])
            for a, b in to.phases:
                X = xp.zeros((G, C, a.length * line + b.length), gy.dtype)                            # (1), as for x
                W = entries[..., a.entries, b.entries].reshape(G, O // G, -1)
                for i in self._columns(gY, W):
                    gP = (W.swapaxes(1, 2) @ gY[..., i]).reshape(G, C, a.count, b.count, -1)
                    for kh, kw in itertools.product(range(a.count), range(b.count)):
                        at = i.start + kh * a.apart * line + kw * b.apart
                        X[..., at : at + gP.shape[-1]] += gP[:, :, kh, kw]
                X = X[..., : a.length * line].reshape(G * C, a.length, n, to.width)[:, a.cells, :, b.cells]
                gx[block][:, :, a.pixels, b.pixels] = X.transpose(2, 0, 1, 3)

    def weight_gradient(self, x, gy, weight):
        """gW = gY P'; transposed, P gY', the product has its longer side first, and BLAS takes up to a third less time"""
        (OH, OW), xp = gy.shape[2:], self.xp
        to, W = self._layout(x.shape[2:], weight, (OH, OW)), self._matrix(weight)

        def work(part):
            gW = xp.zeros_like(W.swapaxes(1, 2))
            for block in to.blocks(x[part]):
                n, lines = len(x[part][block]), to.lines(x[part][block], xp)
                gY, before = to.output_lines(gy[part][block], xp)
                gY = self._grouped(gY[:, before : before + OH * n * to.width])
                for i in self._columns(gY, W):
                    P = to.unfold(lines, n, i.start, gY[..., i].shape[2], xp)
                    P, gYi = self._grouped(P), gY[..., i].swapaxes(1, 2)
                    gW += P @ gYi if self.groups > 1 else P[0].dot(gYi[0])              # dot: see threads.py
            return gW

        gW = sum(in_threads(work, x, self._effort(weight, (OH, OW))))
        return xp.ascontiguousarray(gW.swapaxes(1, 2)).reshape(weight.shape)

    def _layout(self, size, weight, out):
        return Layout(tuple(size), weight.shape[2:], tuple(out), *self._two_axes())

    def _two_axes(self):
        """stride, padding, dilation down and across; a sequence is an image of one line"""
        return [(plain,) * (2 - len(t)) + t for t, plain in ((self.stride, 1), (self.padding, 0), (self.dilation, 1))]

    def _matrix(self, weight):
        return weight.reshape(self.groups, len(weight) // self.groups, -1)

    def _grouped(self, P):
        """(.., count) -> (G, rows of one group, count)"""
        return P.reshape(self.groups, -1, P.shape[-1])

    def _columns(self, Y, W):
        """Slices of the last axis of Y = W P, so long that these columns of P fill a block."""
        return backend.blocks(Y.T, len(W) * W.shape[2], _BLOCK)

    def _effort(self, weight, out):
        """The work for one image, in the currency of `in_threads`: BLAS does 8 multiplications while NumPy does one."""
        return weight.size * math.prod(out) // 8


# ---------------------------------------------------------------- the two kernels

class Conv2d(_Convolution):
    """y[n, o, q] = bias[o] + sum over c, k of weight[o, c, k] x[n, c, q s + k d - p], over one axis or two"""

    def reference(self, x, weight, bias):
        N, O, G, kernel = len(x), len(weight), self.groups, weight.shape[2:]
        windows = unfold(pad(x, _borders(self.padding)), kernel, self.stride, self.dilation)         # (N, C, *kernel, *out)
        out, K = windows.shape[2 + len(kernel):], weight.size // O
        windows = windows.reshape(N, G, K, math.prod(out))
        y = einsum("ngkp,gok->ngop", windows, weight.reshape(G, O // G, K))
        return y.reshape(N, O, *out) + bias.reshape(O, *(1,) * len(out))

    def forward(self, x, weight, bias):
        self.save(x, weight)
        out = output_size(x.shape[2:], weight.shape[2:], self.stride, self.padding, self.dilation)
        y = self.correlate(_images(x), _images(weight), bias, (1, *out)[-2:])
        return y.reshape(*y.shape[:2], *out)

    def backward(self, gy):
        x, weight = map(_images, self.saved)
        gy = _images(gy)
        gx = _shaped(self.spread(gy, weight, x.shape[2:]), self.saved[0]) if self.needs(0) else None
        gweight = _shaped(self.weight_gradient(x, gy, weight), self.saved[1]) if self.needs(1) else None
        return gx, gweight, _channel_sums(gy) if self.needs(2) else None


class ConvTranspose2d(_Convolution):
    """y[n, o, q s + k d - p] += bias[o] + sum over c of weight[c, o, k] x[n, c, q]: Conv2d the other way round"""

    def __init__(self, stride, padding, output_padding, dilation, groups):
        super().__init__(stride, padding, dilation, groups)
        self.output_padding = output_padding

    def reference(self, x, weight, bias):
        (N, C, *size), (_, O, *kernel), G = x.shape, weight.shape, self.groups                       # O of one group
        windows = einsum("ngcp,gck->ngkp", x.reshape(N, G, C // G, math.prod(size)),
                         weight.reshape(G, C // G, O * math.prod(kernel)))
        windows = windows.reshape(N, G * O, *kernel, *size)
        reach = [(n - 1) * s + d * (k - 1) + 1 for n, s, d, k in zip(size, self.stride, self.dilation, kernel)]
        y = pad(fold(windows, reach, kernel, self.stride, self.dilation),
                ((0, 0), (0, 0), *((0, extra) for extra in self.output_padding)))
        inside = tuple(slice(p, n - p) for p, n in zip(self.padding, y.shape[2:]))
        return y[(..., *inside)] + bias.reshape(G * O, *(1,) * len(size))

    def forward(self, x, weight, bias):
        self.save(x, weight)
        geometry = x.shape[2:], weight.shape[2:], self.stride, self.padding, self.dilation, self.output_padding
        size = tuple((n - 1) * s - 2 * p + d * (k - 1) + extra + 1 for n, k, s, p, d, extra in zip(*geometry))
        y = self.spread(_images(x), _images(weight), (1, *size)[-2:])
        y += bias[:, None, None]
        return y.reshape(*y.shape[:2], *size)

    def backward(self, gy):
        x, weight = map(_images, self.saved)
        gy = _images(gy)
        no_bias = self.xp.zeros(len(weight), gy.dtype)
        gx = _shaped(self.correlate(gy, weight, no_bias, x.shape[2:]), self.saved[0]) if self.needs(0) else None
        gweight = _shaped(self.weight_gradient(gy, x, weight), self.saved[1]) if self.needs(1) else None
        return gx, gweight, _channel_sums(gy) if self.needs(2) else None


def _images(a):
    """A sequence (.., .., T) as an image of one line (.., .., 1, T); images stay."""
    return a[:, :, None] if a.ndim == 3 else a


def _shaped(a, like):
    """The way back. The engine would copy a view, so an image is returned as it is."""
    return a.reshape(like.shape) if a.ndim != like.ndim else a


def _channel_sums(gy):
    """gy (N, O, OH, OW) -> (O,)"""
    return sum(in_threads(lambda part: gy[part].sum(axis=(0, 2, 3)), gy, math.prod(gy.shape[1:])))


def _borders(padding):
    return ((0, 0), (0, 0), *((p, p) for p in padding))


def output_size(size, kernel, stride, padding, dilation):
    return tuple((n + 2 * p - d * (k - 1) - 1) // s + 1 for n, k, s, p, d in zip(size, kernel, stride, padding, dilation))


# ---------------------------------------------------------------- what users call

def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Convolve images x (N, C, H, W) with weight (O, C / groups, KH, KW), bias (O,): (N, O, OH, OW).

    stride, padding, dilation: an int or a pair. padding adds zeros on both sides. OH = (H + 2 padding - dilation (KH - 1)
    - 1) // stride + 1.
    """
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
    bias = _checked("conv2d", x, weight, bias, padding, dilation, groups)
    return Conv2d.face(x)(stride, padding, dilation, groups).apply(x, weight, bias)


def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Convolve sequences x (N, C, T) with weight (O, C / groups, K), bias (O,): (N, O, OT), OT as OH in `conv2d`."""
    bias = _checked("conv1d", x, weight, bias, (padding,), (dilation,), groups)
    return Conv2d.face(x)((stride,), (padding,), (dilation,), groups).apply(x, weight, bias)


def conv_transpose2d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The adjoint of `conv2d` in x: x (N, C, H, W), weight (C, O / groups, KH, KW), bias (O,) -> (N, O, OH, OW).

    OH = (H - 1) stride - 2 padding + dilation (KH - 1) + output_padding + 1; output_padding, less than stride or dilation, says
    which of the sizes that conv2d would bring to H is meant.
    """
    stride, padding, output_padding, dilation = pair(stride), pair(padding), pair(output_padding), pair(dilation)
    bias = _checked_transposed("conv_transpose2d", x, weight, bias, stride, padding, output_padding, dilation, groups)
    return ConvTranspose2d.face(x)(stride, padding, output_padding, dilation, groups).apply(x, weight, bias)


def conv_transpose1d(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """The adjoint of `conv1d` in x: x (N, C, T), weight (C, O / groups, K), bias (O,) -> (N, O, OT), OT as OH there."""
    geometry = (stride,), (padding,), (output_padding,), (dilation,)
    bias = _checked_transposed("conv_transpose1d", x, weight, bias, *geometry, groups)
    return ConvTranspose2d.face(x)(*geometry, groups).apply(x, weight, bias)


def _checked(caller, x, weight, bias, padding, dilation, groups):
    """The bias, zeros if there is none, once all shapes have been found to fit."""
    _check_axes(caller, x, weight, len(padding), "(O, C / groups, {})")
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ValueError(f"{caller}: x has {x.shape[1]} channels, weight {weight.shape} with {groups} groups expects "
                         f"{weight.shape[1] * groups}, and outputs divisible by {groups}")
    for n, p, k, d in zip(x.shape[2:], padding, weight.shape[2:], dilation):
        if n + 2 * p < d * (k - 1) + 1:
            raise ValueError(f"{caller}: the kernel reaches over {d * (k - 1) + 1} pixels, the padded input has {n + 2 * p}")
    return _bias(caller, weight, bias, weight.shape[0])


def _checked_transposed(caller, x, weight, bias, stride, padding, output_padding, dilation, groups):
    _check_axes(caller, x, weight, len(padding), "(C, O / groups, {})")
    if x.shape[1] != weight.shape[0] or x.shape[1] % groups:
        raise ValueError(f"{caller}: x has {x.shape[1]} channels, weight {weight.shape} expects {weight.shape[0]}, "
                         f"divisible by {groups} groups")
    for n, k, s, p, extra, d in zip(x.shape[2:], weight.shape[2:], stride, padding, output_padding, dilation):
        if not 0 <= extra < max(s, d):
            raise ValueError(f"{caller}: output_padding is {extra}, expected less than stride {s} or dilation {d}")
        if (n - 1) * s - 2 * p + d * (k - 1) + extra < 0:
            raise ValueError(f"{caller}: padding {p} leaves nothing of {(n - 1) * s + d * (k - 1) + extra + 1} outputs")
    return _bias(caller, weight, bias, weight.shape[1] * groups)


def _check_axes(caller, x, weight, axes, weight_shape):
    if x.ndim != axes + 2 or weight.ndim != axes + 2:
        pixels, kernel = ("T", "K") if axes == 1 else ("H, W", "KH, KW")
        raise ValueError(f"{caller}: got x {x.shape} and weight {weight.shape}, expected (N, C, {pixels}) and "
                         + weight_shape.format(kernel))


def _bias(caller, weight, bias, channels):
    if bias is None:
        return constant(weight, lambda w: backend.array_module(w).zeros(channels, w.dtype))
    if tuple(bias.shape) != (channels,):
        raise ValueError(f"{caller}: bias has shape {tuple(bias.shape)}, expected ({channels},)")
    return bias
