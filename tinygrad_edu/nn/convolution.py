"""Convolutions as modules: the sizes, the tensors, the initialization in words. The mathematics is F's."""
import math

from .. import functional as F
from .linear import uniform
from .module import Module


class Conv2d(Module):
    """Convolution (N, C, H, W) -> (N, O, OH, OW). Weight and bias start as U(-1/sqrt(fan_in), ..), fan_in = C/groups K K."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True):
        kernel = (kernel_size, kernel_size) if isinstance(kernel_size, int) else tuple(kernel_size)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"Conv2d: {in_channels} and {out_channels} channels cannot be cut into {groups} groups")
        bound = 1 / math.sqrt(in_channels // groups * kernel[0] * kernel[1])
        self.weight = uniform(bound, out_channels, in_channels // groups, *kernel)
        self.bias = uniform(bound, out_channels) if bias else None
        self.stride, self.padding, self.dilation, self.groups = stride, padding, dilation, groups

    def forward(self, x):
        return F.conv2d(x, self.weight, self.bias, self.stride, self.padding, self.dilation, self.groups)

    def extra_repr(self):
        out_channels, in_channels, *kernel = self.weight.shape
        facts = f"{in_channels * self.groups}, {out_channels}, kernel_size={tuple(kernel)}"
        for name, default in (("stride", 1), ("padding", 0), ("dilation", 1), ("groups", 1)):
            facts += "" if getattr(self, name) == default else f", {name}={getattr(self, name)}"
        return facts + ("" if self.bias is not None else ", bias=False")


class _ConvTranspose(Module):
    """The two layers below. Weight (C, O/groups, *kernel) and bias start as U(-1/sqrt(fan_in), ..), fan_in = O/groups K K."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True,
                 dilation=1):
        kernel = (kernel_size,) * self.axes if isinstance(kernel_size, int) else tuple(kernel_size)
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{type(self).__name__}: {in_channels} and {out_channels} channels cannot be cut into "
                             f"{groups} groups")
        bound = 1 / math.sqrt(out_channels // groups * math.prod(kernel))
        self.weight = uniform(bound, in_channels, out_channels // groups, *kernel)
        self.bias = uniform(bound, out_channels) if bias else None
        self.stride, self.padding, self.output_padding = stride, padding, output_padding
        self.groups, self.dilation = groups, dilation

    def forward(self, x):
        return type(self).function(x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups,
                                   self.dilation)

    def extra_repr(self):
        in_channels, out_channels, *kernel = self.weight.shape
        facts = f"{in_channels}, {out_channels * self.groups}, kernel_size={tuple(kernel)}"
        for name, default in (("stride", 1), ("padding", 0), ("output_padding", 0), ("groups", 1), ("dilation", 1)):
            facts += "" if getattr(self, name) == default else f", {name}={getattr(self, name)}"
        return facts + ("" if self.bias is not None else ", bias=False")


class ConvTranspose1d(_ConvTranspose):
    """The adjoint of a convolution of sequences: (N, C, T) -> (N, O, OT)."""
    axes, function = 1, F.conv_transpose1d


class ConvTranspose2d(_ConvTranspose):
    """The adjoint of a convolution of images: (N, C, H, W) -> (N, O, OH, OW)."""
    axes, function = 2, F.conv_transpose2d
