"""Layers that learn nothing and move or repeat numbers."""
from .. import functional as F
from .module import Module


class Flatten(Module):
    """(N, ..) -> (N, everything else)"""

    def forward(self, x):
        return x.flatten(1)


class Upsample(Module):
    """(N, C, T) or (N, C, H, W) to the given size, or scale_factor times as large: F.interpolate."""

    def __init__(self, size=None, scale_factor=None, mode="nearest", align_corners=False):
        self.size, self.scale_factor, self.mode, self.align_corners = size, scale_factor, mode, align_corners

    def forward(self, x):
        return F.interpolate(x, self.size, self.scale_factor, self.mode, self.align_corners)

    def extra_repr(self):
        size = f"scale_factor={self.scale_factor}" if self.size is None else f"size={self.size}"
        return f"{size}, mode={self.mode!r}"
