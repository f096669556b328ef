"""Convolution of images (in the sense of deep learning: a correlation, the kernel is not flipped).

    N images   C input channels   O output channels   G groups   H W input   KH KW kernel   OH OW output
    s stride   d dilation   x is padded already   K = KH KW C/G, the size of one window

    (1)  rows[n oh ow, kh kw c] = x[n, c, oh s + kh d, ow s + kw d]        every window as one row, (M, K), M = N OH OW
    (2)  y = rows @ W                                                      W = weight as (K, O)
    (3)  y + bias, as (N, O, OH, OW)

Derivation. (2) is a matrix product, so gW = rows' gy and grows = gy W'. (1) copies x, some of it several times, so its
adjoint adds each entry of grows back to the pixel it was read from. With G groups all this happens G times side by side.

Pixels are stored channels last while we work: then the KW C/G numbers of a window's line lie next to each other and (1)
copies runs instead of single numbers. Nothing but x is saved: rows would be KH KW times as large, and is quickly remade.
Work goes on in blocks of a few images, so that rows stays in the cache.
"""
from .. import backend
from ..autograd import Kernel
from ..ops import einsum, expand_dims, pad, unfold
from ..ops.elementwise import constant

_BLOCK = 1 << 18        # numbers in the rows of one block: 1 MiB of float32, what a core's L2 cache holds


class Conv2d(Kernel):
    """y[n, o, oh, ow] = bias[o] + sum over c, kh, kw of weight[o, c, kh, kw] x[n, c, oh s + kh d, ow s + kw d]"""

    def __init__(self, stride, dilation, groups):
        self.stride, self.dilation, self.groups = stride, dilation, groups

    def reference(self, x, weight, bias):
        N, C, H, W = x.shape
        O, _, KH, KW = weight.shape
        G = self.groups
        windows = unfold(x, (KH, KW), self.stride, self.dilation)                           # (N, C, KH, KW, OH, OW)
        OH, OW = windows.shape[-2:]
        windows = windows.reshape(N, G, C // G, KH, KW, OH, OW)
        y = einsum("ngcklhw,gockl->ngohw", windows, weight.reshape(G, O // G, C // G, KH, KW))
        return y.reshape(N, O, OH, OW) + bias.reshape(O, 1, 1)

    def forward(self, x, weight, bias):
        xp = self.xp
        self.save(x, weight, bias)
        (N, C, H, W), O = x.shape, weight.shape[0]
        OH, OW = self._output_size(x, weight)
        w = self._weight_as_columns(weight)                                                 # (G, K, O/G)
        x = xp.ascontiguousarray(x.transpose(0, 2, 3, 1))                                   # (N, H, W, C)
        y = xp.empty((N, O, OH, OW), x.dtype)

        for block in self._blocks(N, OH * OW * w.shape[1] * self.groups):
            rows = self._rows(x[block], weight, OH, OW)                                     # (1)  (G, M, K)
            out = rows @ w                                                                  # (2)  (G, M, O/G)
            out = out.transpose(1, 0, 2).reshape(-1, OH, OW, O) + bias                      # (3)
            y[block] = out.transpose(0, 3, 1, 2)
        return y

    def backward(self, gy):
        xp = self.xp
        x, weight, bias = self.saved
        (N, C, H, W), (O, _, KH, KW), G = x.shape, weight.shape, self.groups
        OH, OW = gy.shape[2:]
        w = self._weight_as_columns(weight)
        x = xp.ascontiguousarray(x.transpose(0, 2, 3, 1))
        gx = xp.zeros(x.shape, x.dtype) if self.needs(0) else None
        gw = xp.zeros(w.shape, w.dtype)

        for block in self._blocks(N, OH * OW * w.shape[1] * G):
            gout = gy[block].transpose(0, 2, 3, 1).reshape(-1, G, O // G).transpose(1, 0, 2)    # undo (3)
            rows = self._rows(x[block], weight, OH, OW)
            gw += rows.transpose(0, 2, 1) @ gout                                            # undo (2): gW = rows' gy
            if gx is not None:
                grows = gout @ w.transpose(0, 2, 1)                                         # undo (2): grows = gy W'
                self._add_rows_back(gx[block], grows, weight)                               # undo (1)

        gweight = gw.reshape(G, KH, KW, C // G, O // G).transpose(0, 4, 3, 1, 2).reshape(weight.shape)
        gbias = gy.sum(axis=(0, 2, 3)) if self.needs(2) else None
        return None if gx is None else gx.transpose(0, 3, 1, 2), gweight, gbias

    # ------------------------------------------------------------ pieces

    def _output_size(self, x, weight):
        sizes = zip(x.shape[2:], weight.shape[2:], self.stride, self.dilation)
        return tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in sizes)

    def _weight_as_columns(self, weight):
        O, C, KH, KW = weight.shape                                                         # here C counts one group
        w = weight.reshape(self.groups, O // self.groups, C, KH, KW).transpose(0, 3, 4, 2, 1)
        return self.xp.ascontiguousarray(w).reshape(self.groups, KH * KW * C, O // self.groups)

    def _blocks(self, N, numbers_per_image):
        images = max(1, _BLOCK // max(1, numbers_per_image))
        return [slice(i, i + images) for i in range(0, N, images)]

    def _rows(self, x, weight, OH, OW):
        """Every window of x (n, H, W, C) as one row: (G, n OH OW, K)."""
        n, G, (KH, KW) = x.shape[0], self.groups, weight.shape[2:]
        sn, sh, sw, sc = x.strides
        (s, t), (d, e), Cg = self.stride, self.dilation, x.shape[3] // self.groups
        windows = self.xp.lib.stride_tricks.as_strided(x, (G, n, OH, OW, KH, KW, Cg),
                                                       (Cg * sc, sn, s * sh, t * sw, d * sh, e * sw, sc))
        return windows.reshape(G, n * OH * OW, KH * KW * Cg)                                # the one copy

    def _add_rows_back(self, gx, grows, weight):
        """The adjoint of `_rows`: add every entry of grows (G, n OH OW, K) to the pixel of gx (n, H, W, C) it came from."""
        n, G, (KH, KW) = gx.shape[0], self.groups, weight.shape[2:]
        OH, OW = self._output_size(gx.transpose(0, 3, 1, 2), weight)
        (s, t), (d, e) = self.stride, self.dilation
        grows = grows.reshape(G, n, OH, OW, KH, KW, -1).transpose(4, 5, 1, 2, 3, 0, 6)      # (KH, KW, n, OH, OW, G, C/G)
        for kh in range(KH):
            for kw in range(KW):
                target = gx[:, kh * d : kh * d + (OH - 1) * s + 1 : s, kw * e : kw * e + (OW - 1) * t + 1 : t]
                target += grows[kh, kw].reshape(n, OH, OW, -1)


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Convolve images x (N, C, H, W) with weight (O, C / groups, KH, KW), bias (O,): (N, O, OH, OW).

    stride, padding, dilation: an int or a pair. padding adds zeros on both sides. OH = (H + 2 padding - dilation (KH - 1)
    - 1) // stride + 1. LeCun et al. 1989, Backpropagation applied to handwritten zip code recognition.
    """
    stride, padding, dilation = _pair(stride), _pair(padding), _pair(dilation)
    _check(x, weight, bias, padding, dilation, groups)
    if any(padding):
        x = pad(x, ((0, 0), (0, 0), (padding[0], padding[0]), (padding[1], padding[1])))
    if bias is None:
        bias = constant(weight, lambda w: backend.array_module(w).zeros(w.shape[0], w.dtype))
    return Conv2d(stride, dilation, groups).apply(x, weight, bias)


def conv1d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Convolve sequences x (N, C, T) with weight (O, C / groups, K), bias (O,): images of height 1. Gives (N, O, OT)."""
    if x.ndim != 3 or weight.ndim != 3:
        raise ValueError(f"conv1d: got x {x.shape} and weight {weight.shape}, expected (N, C, T) and (O, C / groups, K)")
    y = conv2d(expand_dims(x, 2), expand_dims(weight, 2), bias, (1, stride), (0, padding), (1, dilation), groups)
    return y.reshape(y.shape[:2] + y.shape[3:])


def _pair(value):
    return (value, value) if isinstance(value, int) else tuple(value)


def _check(x, weight, bias, padding, dilation, groups):
    if x.ndim != 4 or weight.ndim != 4:
        raise ValueError(f"conv2d: got x {x.shape} and weight {weight.shape}, expected (N, C, H, W) and (O, C / groups, KH, KW)")
    if x.shape[1] != weight.shape[1] * groups or weight.shape[0] % groups:
        raise ValueError(f"conv2d: x has {x.shape[1]} channels, weight {weight.shape} with {groups} groups expects "
                         f"{weight.shape[1] * groups}, and outputs divisible by {groups}")
    if bias is not None and tuple(bias.shape) != (weight.shape[0],):
        raise ValueError(f"conv2d: bias has shape {bias.shape}, expected ({weight.shape[0]},)")
    for n, p, k, d in zip(x.shape[2:], padding, weight.shape[2:], dilation):
        if n + 2 * p < d * (k - 1) + 1:
            raise ValueError(f"conv2d: the kernel reaches over {d * (k - 1) + 1} pixels, the padded input has {n + 2 * p}")
