"""Layers that learn nothing and move, repeat or frame numbers."""
from .. import functional as F
from ..ops.shape import axis_of
from .module import Module


class Identity(Module):
    """x"""
    def forward(self, x):
        return x


class Flatten(Module):
    """(N, ..) -> (N, everything else), or the axes from start_axis to end_axis as one."""

    def __init__(self, start_axis=1, end_axis=-1):
        self.start_axis, self.end_axis = start_axis, end_axis

    def forward(self, x):
        if self.end_axis == -1:
            return x.flatten(self.start_axis)
        start, end = (axis_of(x, axis, "Flatten") for axis in (self.start_axis, self.end_axis))
        return x.reshape(x.shape[:start] + (-1,) + x.shape[end + 1:])


class Unflatten(Module):
    """One axis as several, of the lengths `sizes`; one of them may be -1."""

    def __init__(self, axis, sizes):
        self.axis, self.sizes = axis, tuple(sizes)

    def forward(self, x):
        axis = axis_of(x, self.axis, "Unflatten")
        return x.reshape(x.shape[:axis] + self.sizes + x.shape[axis + 1:])

    def extra_repr(self):
        return f"axis={self.axis}, sizes={self.sizes}"


class Upsample(Module):
    """(N, C, T) or (N, C, H, W) to the given size, or scale_factor times as large: F.interpolate."""

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=False):
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners

    def forward(self, x):
        return F.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self):
        size = f"scale_factor={self.scale_factor}" if self.size is None else f"size={self.size}"
        return f"{size}, mode={self.mode!r}"


class PixelShuffle(Module):
    """(N, C r r, H, W) -> (N, C, H r, W r) with r = upscale_factor."""

    def __init__(self, upscale_factor):
        self.upscale_factor = upscale_factor

    def forward(self, x):
        return F.pixel_shuffle(x, self.upscale_factor)

    def extra_repr(self):
        return f"{self.upscale_factor}"


class PixelUnshuffle(Module):
    """(N, C, H r, W r) -> (N, C r r, H, W) with r = downscale_factor."""

    def __init__(self, downscale_factor):
        self.downscale_factor = downscale_factor

    def forward(self, x):
        return F.pixel_unshuffle(x, self.downscale_factor)

    def extra_repr(self):
        return f"{self.downscale_factor}"


# ---------------------------------------------------------------- borders

class _Pad(Module):
    """`padding`: an int for all sides, or (before, after) of the last axis, then of the one before it."""

    def __init__(self, padding):
        self.padding = (padding,) * (2 * self.axes) if isinstance(padding, int) else tuple(padding)

    def forward(self, x):
        return F.pad(x, self.padding, self.mode)

    def extra_repr(self):
        return f"{self.padding}"


class ZeroPad1d(_Pad):
    """Zeros around (N, C, T)."""
    axes, mode = 1, "constant"


class ZeroPad2d(_Pad):
    """Zeros around (N, C, H, W)."""
    axes, mode = 2, "constant"


class ReflectionPad1d(_Pad):
    """The mirror image of (N, C, T) around it, the edge once."""
    axes, mode = 1, "reflect"


class ReflectionPad2d(_Pad):
    """The mirror image of (N, C, H, W) around it, the edge once."""
    axes, mode = 2, "reflect"


class ReplicationPad1d(_Pad):
    """The edge of (N, C, T) again and again."""
    axes, mode = 1, "replicate"


class ReplicationPad2d(_Pad):
    """The edge of (N, C, H, W) again and again."""
    axes, mode = 2, "replicate"
