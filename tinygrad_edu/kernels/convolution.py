"""Convolution of images (in the sense of deep learning: a correlation, the kernel is not flipped).

    N images   C input channels   O output channels   G groups   H W input (padded already)   KH KW kernel   OH OW output
    s t stride   d e dilation, down and across

    (1)  P[h, n ow, kw c] = x[n, c, h, ow t + kw e]         every pixel with its right neighbours, as one row of KW C/G
    (2)  Y = sum over kh of P[kh d + oh s] @ W[kh]          W[kh] = weight as (KW C/G, O), one product for each line of it
    (3)  y[n, o, oh, ow] = Y[oh, n ow, o] + bias[o]

The textbook's im2col copies every window whole, each pixel KH KW times. Windows that differ only by kh need no copies of
their own: in P they are the same rows, some lines further down. So each pixel is copied KW times and read in place KH times.
For that the line h comes first in P, and the channels last, where the KW C/G numbers of a row lie next to each other.

Derivation. (2) is a sum of matrix products, so gW[kh] = P[kh d + oh s]' gY, and gP receives gY W[kh]' at the lines that
were read. (1) copies x, some of it several times, so its adjoint adds each entry of gP to the pixel that it was read from.

Only x is saved; P is quickly remade. Work goes on in blocks of a few images, so that P stays in the cache.
"""
from .. import backend
from ..autograd import Kernel
from ..ops import einsum, expand_dims, pad, unfold
from ..ops.elementwise import constant
from ..ops.window import pair

_BLOCK = 1 << 16        # numbers in P for one block of images: 256 KiB of float32, so that P and Y stay in the L2 cache


class Conv2d(Kernel):
    """y[n, o, oh, ow] = bias[o] + sum over c, kh, kw of weight[o, c, kh, kw] x[n, c, oh s + kh d, ow t + kw e]"""

    def __init__(self, stride, dilation, groups):
        self.stride, self.dilation, self.groups = stride, dilation, groups

    def reference(self, x, weight, bias):
        (N, C), (O, _, KH, KW), G = x.shape[:2], weight.shape, self.groups
        windows = unfold(x, (KH, KW), self.stride, self.dilation)                       # (N, C, KH, KW, OH, OW)
        OH, OW = windows.shape[-2:]
        windows = windows.reshape(N, G, C // G, KH, KW, OH, OW)
        y = einsum("ngcklhw,gockl->ngohw", windows, weight.reshape(G, O // G, C // G, KH, KW))
        return y.reshape(N, O, OH, OW) + bias.reshape(O, 1, 1)

    def forward(self, x, weight, bias):
        self.save(x, weight, bias)
        (N, O), (OH, OW) = (x.shape[0], weight.shape[0]), self._output_size(x, weight)
        w = self._weight_lines(weight)                                                  # (KH, G, KW C/G, O/G)
        y = self.xp.empty((N, O, OH, OW), x.dtype)

        for block in self._blocks(x, OW, w):
            P = self._neighbours(x[block], OW, w)                                       # (1)  (G, H, n OW, KW C/G)
            Y = sum(self._lines(P, kh, OH) @ w[kh] for kh in range(len(w)))             # (2)  (G, OH n OW, O/G)
            Y = Y.transpose(1, 0, 2).reshape(OH, -1, OW, O) + bias                      # (3)
            y[block] = Y.transpose(1, 3, 0, 2)
        return y

    def backward(self, gy):
        x, weight, bias = self.saved
        C, (O, _, KH, KW), G = x.shape[1], weight.shape, self.groups
        OH, OW = gy.shape[2:]
        w = self._weight_lines(weight)
        gw, gx = self.xp.zeros_like(w), self.xp.zeros_like(x) if self.needs(0) else None

        for block in self._blocks(x, OW, w):
            gY = gy[block].transpose(2, 0, 3, 1).reshape(-1, G, O // G).transpose(1, 0, 2)      # undo (3)
            P = self._neighbours(x[block], OW, w)
            for kh in range(KH):                                                        # undo (2): gW = P' gY
                gw[kh] += self._lines(P, kh, OH).transpose(0, 2, 1) @ gY
            if gx is not None:
                gP = self.xp.zeros_like(P)
                for kh in range(KH):                                                    # undo (2): gP = gY W'
                    lines = self._line_slice(gP, kh, OH)
                    lines += (gY @ w[kh].transpose(0, 2, 1)).reshape(lines.shape)
                self._add_neighbours(gx[block], gP, KW)                                 # undo (1)

        gweight = gw.reshape(KH, G, KW, C // G, O // G).transpose(1, 4, 3, 0, 2).reshape(weight.shape)
        return gx, gweight, gy.sum(axis=(0, 2, 3)) if self.needs(2) else None

    # ------------------------------------------------------------ pieces

    def _output_size(self, x, weight):
        sizes = zip(x.shape[2:], weight.shape[2:], self.stride, self.dilation)
        return tuple((n - d * (k - 1) - 1) // s + 1 for n, k, s, d in sizes)

    def _weight_lines(self, weight):
        """weight (O, C/G, KH, KW) as one matrix for each of its lines: (KH, G, KW C/G, O/G)."""
        (O, C, KH, KW), G = weight.shape, self.groups                                   # here C counts one group
        w = weight.reshape(G, O // G, C, KH, KW).transpose(3, 0, 4, 2, 1)
        return self.xp.ascontiguousarray(w).reshape(KH, G, KW * C, O // G)

    def _blocks(self, x, OW, w):
        return backend.blocks(x, x.shape[2] * OW * w.shape[2] * self.groups, _BLOCK)

    def _neighbours(self, x, OW, w):
        """Every pixel that starts a window, with its KW neighbours: x (n, C, H, W) -> P (G, H, n OW, KW C/G)."""
        (n, C, H), G, t, e = x.shape[:3], self.groups, self.stride[1], self.dilation[1]
        KW = w.shape[2] * G // C
        x = self.xp.ascontiguousarray(x.transpose(2, 0, 3, 1))                          # (H, n, W, C)
        sh, sn, sw, sc = x.strides
        rows = self.xp.lib.stride_tricks.as_strided(x, (G, H, n, OW, KW, C // G), (C // G * sc, sh, sn, t * sw, e * sw, sc))
        return rows.reshape(G, H, n * OW, KW * C // G)                                  # the one copy

    def _line_slice(self, P, kh, OH):
        """The lines kh d + oh s of P."""
        first = kh * self.dilation[0]
        return P[:, first : first + (OH - 1) * self.stride[0] + 1 : self.stride[0]]

    def _lines(self, P, kh, OH):
        """The same lines as one matrix (G, OH n OW, KW C/G): without a copy for stride 1."""
        return self._line_slice(P, kh, OH).reshape(P.shape[0], -1, P.shape[3])

    def _add_neighbours(self, gx, gP, KW):
        """The adjoint of `_neighbours`: add every entry of gP to the pixel of gx (n, C, H, W) that it was read from."""
        (n, C, H, W), G, t, e = gx.shape, self.groups, self.stride[1], self.dilation[1]
        gP = gP.reshape(G, H, n, -1, KW, C // G)
        OW, total = gP.shape[3], self.xp.zeros((H, n, W, G, C // G), gx.dtype)
        for kw in range(KW):
            total[:, :, kw * e : kw * e + (OW - 1) * t + 1 : t] += gP[:, :, :, :, kw].transpose(1, 2, 3, 0, 4)
        gx += total.reshape(H, n, W, C).transpose(1, 3, 0, 2)


def conv2d(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """Convolve images x (N, C, H, W) with weight (O, C / groups, KH, KW), bias (O,): (N, O, OH, OW).

    stride, padding, dilation: an int or a pair. padding adds zeros on both sides. OH = (H + 2 padding - dilation (KH - 1)
    - 1) // stride + 1. LeCun et al. 1989, Backpropagation applied to handwritten zip code recognition.
    """
    stride, padding, dilation = pair(stride), pair(padding), pair(dilation)
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
