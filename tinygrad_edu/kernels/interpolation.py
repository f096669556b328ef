"""Interpolation: an image on a finer or coarser grid.

    x (N, C, T) or (N, C, H, W)   along an axis of n pixels, n' new ones;  new pixel i lies at p_i on the old axis

    nearest   y_i = x[floor(i n / n')]
    linear    p_i = (i + 1/2) n / n' - 1/2, the centres of the pixels, or with align_corners i (n - 1) / (n' - 1);
              y_i = (1 - f) x[k] + f x[k + 1]  with k = floor(p_i), f = p_i - k; beyond the border its pixel goes on

Both are linear in x and go one axis at a time: linear is a product with an (n', n) matrix that has two numbers in a row,
nearest reads rows. These are compositions, which need no backward. Only nearest by whole factors, which every U-Net
does, has a kernel.

    (1)  l[.., j t + b] = x[.., j]   for b < t     repeat along lines        (2)  y[.., i s + a, :] = l[.., i, :]   for a < s

Derivation. Every pixel is copied s t times, so its gradient is the sum over its copies: (2), then (1) the other way.
On 64 x 32 x 16 x 16, twice as large, 10 times as fast as the definition, which sums along axes of length 2.
"""
from .. import backend, ops
from ..autograd import Kernel
from ..ops.elementwise import array_of
from ..threads import in_threads

_BLOCK = 1 << 18            # numbers of y in one block of maps


class Nearest(Kernel):
    """Every pixel of x (N, C, H, W) as a block of s x t equal ones"""

    def __init__(self, s, t):
        self.s, self.t = s, t

    def reference(self, x):
        return ops.repeat(ops.repeat(x, self.s, 2), self.t, 3)

    def shapes(self, x):
        """Of the maps of x and of y, the s lines of each pixel along an axis of their own."""
        N, C, H, W = x.shape
        return (N * C, H, W), (N * C, H, self.s, W * self.t)

    def forward(self, x):
        (M, H, W), y_shape = self.shapes(x)
        y = self.xp.empty(x.shape[:2] + (H * self.s, W * self.t), x.dtype)
        xs, ys = x.reshape(M, H, W), y.reshape(y_shape)

        def work(part):
            for i in backend.blocks(ys[part], H * W * self.s * self.t, _BLOCK):
                lines = self.xp.empty(xs[part][i].shape[:2] + (W * self.t,), x.dtype)
                for b in range(self.t):                                             # (1)
                    lines[:, :, b :: self.t] = xs[part][i]
                ys[part][i] = lines[:, :, None]                                     # (2)

        in_threads(work, ys, 2 * H * W * self.s * self.t)
        return y

    def backward(self, gy):
        x = self.arrays[0]
        (M, H, W), y_shape = self.shapes(x)
        gx = self.xp.empty(x.shape, gy.dtype)
        gxs, gys = gx.reshape(M, H, W), gy.reshape(y_shape)

        def work(part):
            for i in backend.blocks(gys[part], H * W * self.s * self.t, _BLOCK):
                lines = sum(gys[part][i][:, :, a] for a in range(self.s))           # undo (2)
                gxs[part][i] = sum(lines[:, :, b :: self.t] for b in range(self.t))         # undo (1)

        in_threads(work, gys, 2 * H * W * self.s * self.t)
        return gx


def upsample_nearest2d(x, scale):
    """Every pixel of x (N, C, H, W) as a block of scale x scale equal ones."""
    if x.ndim != 4:
        raise ValueError(f"upsample_nearest2d: got x of shape {tuple(x.shape)}, expected (N, C, H, W)")
    return Nearest(scale, scale).apply(x)


def interpolate(x, size=None, scale_factor=None, mode="nearest", align_corners=False):
    """x (N, C, T) or (N, C, H, W) with another number of pixels along its last axes.

    size, scale_factor: one of the two, a number or one for each axis; a scaled axis has floor(n scale_factor) pixels.
    mode: "nearest", or "linear" for (N, C, T), "bilinear" for (N, C, H, W). align_corners: the outer pixels stay where they
    are, instead of the outer edges of the outer pixels.
    """
    d, linear = x.ndim - 2, {1: "linear", 2: "bilinear"}
    if d not in linear or mode not in ("nearest", linear[d]):
        raise ValueError(f"interpolate: got mode {mode!r} for x of shape {tuple(x.shape)}, expected 'nearest', "
                         "'linear' for (N, C, T) or 'bilinear' for (N, C, H, W)")
    if (size is None) == (scale_factor is None):
        raise ValueError(f"interpolate: got size {size} and scale_factor {scale_factor}, expected one of the two")
    sizes, steps = _grid(x.shape[2:], size, scale_factor)
    if mode == "nearest":
        return _nearest(x, sizes, steps)
    for axis, (size, step) in enumerate(zip(sizes, steps), 2):
        x = resample(x, axis, _linear_weights(x, x.shape[axis], size, step, align_corners))
    return x


def resample(x, axis, weights):
    """weights (new, n) times x along `axis`, which has n pixels."""
    return ops.swapaxes(ops.swapaxes(x, axis, -1) @ weights.astype(x.dtype).T, axis, -1)


def _grid(old, size, scale_factor):
    """How many new pixels each axis has, and how many old ones are from one to the next."""
    if size is not None:
        sizes = (size,) * len(old) if isinstance(size, int) else tuple(size)
        steps = [n / max(new, 1) for n, new in zip(old, sizes)]
    else:
        factors = (scale_factor,) * len(old) if isinstance(scale_factor, (int, float)) else tuple(scale_factor)
        sizes, steps = tuple(int(n * factor) for n, factor in zip(old, factors)), [1 / factor for factor in factors]
    if min(sizes) < 1:
        raise ValueError(f"interpolate: got size {sizes}, expected at least 1")
    return sizes, steps


def _nearest(x, sizes, steps):
    if x.ndim == 4 and all(new % n == 0 and new * step == n for n, new, step in zip(x.shape[2:], sizes, steps)):
        return Nearest(*(new // n for n, new in zip(x.shape[2:], sizes))).apply(x)
    xp = backend.array_module(array_of(x))
    for axis, (new, step) in enumerate(zip(sizes, steps), 2):
        places = xp.floor(xp.arange(new, dtype="float32") * step).astype("int64")          # float32 as in PyTorch
        x = ops.moveaxis(ops.moveaxis(x, axis, 0)[xp.minimum(places, x.shape[axis] - 1)], 0, axis)
    return x


def _linear_weights(x, n, new, step, align_corners):
    """(new, n): how much of every old pixel is in each new one."""
    xp = backend.array_module(array_of(x))
    if align_corners:
        places = xp.arange(new) * ((n - 1) / max(new - 1, 1))
    else:
        places = xp.clip((xp.arange(new) + 0.5) * step - 0.5, 0, n - 1)
    return xp.maximum(0, 1 - abs(places[:, None] - xp.arange(n)))
