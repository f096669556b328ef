"""Convolutions as modules: the sizes, the tensors, the initialization in words. The mathematics is F's."""
import math

from .. import functional as F
from .linear import uniform
from .module import Module

PADDING_MODES = ("zeros", "reflect", "replicate", "circular")


class _Convolution(Module):
    """What the four layers below have in common: a weight for `axes` axes, and how it moves over them."""

    def _make(self, in_channels, out_channels, kernel_size, stride, dilation, groups):
        """The kernel's size on each axis, once the channels have been found to fit the groups."""
        if in_channels % groups or out_channels % groups:
            raise ValueError(f"{type(self).__name__}: {in_channels} and {out_channels} channels cannot be cut into "
                             f"{groups} groups")
        self.in_channels, self.out_channels, self.kernel_size = in_channels, out_channels, self._each(kernel_size)
        self.stride, self.dilation, self.groups = stride, dilation, groups
        return self.kernel_size

    def _each(self, value):
        """One int for each axis."""
        return (value,) * self.axes if isinstance(value, int) else tuple(value)

    def extra_repr(self):
        facts = f"{self.in_channels}, {self.out_channels}, kernel_size={self.kernel_size}"
        for name, default in (("stride", 1), ("padding", 0), ("output_padding", 0), ("dilation", 1), ("groups", 1),
                              ("padding_mode", "zeros")):
            value = getattr(self, name, default)
            facts += "" if value == default else f", {name}={value!r}"
        return facts + ("" if self.bias is not None else ", bias=False")


# ---------------------------------------------------------------- convolutions

class _Conv(_Convolution):
    """Weight (O, C/groups, *kernel) and bias start as U(-1/sqrt(fan_in), ..), fan_in = C/groups times the kernel's size.

    padding: an int, one for each axis, "valid" (none) or "same" (as many outputs as inputs, for stride 1). padding_mode
    zeros, reflect, replicate or circular says what stands in the border: F.pad.
    """

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, dilation=1, groups=1, bias=True,
                 padding_mode="zeros"):
        kernel = self._make(in_channels, out_channels, kernel_size, stride, dilation, groups)
        bound = 1 / math.sqrt(in_channels // groups * math.prod(kernel))
        self.weight = uniform(bound, out_channels, in_channels // groups, *kernel)
        self.bias = uniform(bound, out_channels) if bias else None
        self.padding, self.padding_mode = padding, padding_mode
        self.border, self.zeros = self._border()

    def _border(self):
        """How to pad with F.pad, () if there is no need to, and how many zeros the kernel itself shall add."""
        name = type(self).__name__
        if self.padding_mode not in PADDING_MODES:
            raise ValueError(f"{name}: got padding_mode {self.padding_mode!r}, expected one of {', '.join(PADDING_MODES)}")
        if self.padding not in ("same", "valid") and isinstance(self.padding, str):
            raise ValueError(f"{name}: got padding {self.padding!r}, expected numbers, 'same' or 'valid'")
        if self.padding == "same" and self._each(self.stride) != self._each(1):
            raise ValueError(f"{name}: got padding 'same' with stride {self.stride}, expected stride 1")

        if self.padding == "same":
            reach = [d * (k - 1) for d, k in zip(self._each(self.dilation), self.kernel_size)]
            sides = [(r // 2, r - r // 2) for r in reach]
        else:
            sides = [(p, p) for p in self._each(0 if self.padding == "valid" else self.padding)]
        none, before = self._each(0), tuple(side[0] for side in sides)
        if self.padding_mode == "zeros" and all(a == b for a, b in sides):
            return (), before if self.axes > 1 else before[0]
        return sum(reversed(sides), ()), none if self.axes > 1 else 0

    def forward(self, x):
        if self.border:
            x = F.pad(x, self.border, "constant" if self.padding_mode == "zeros" else self.padding_mode)
        return type(self).function(x, self.weight, self.bias, self.stride, self.zeros, self.dilation, self.groups)


class Conv1d(_Conv):
    """Convolution of sequences: (N, C, T) -> (N, O, OT)."""
    axes, function = 1, F.conv1d


class Conv2d(_Conv):
    """Convolution of images: (N, C, H, W) -> (N, O, OH, OW)."""
    axes, function = 2, F.conv2d


# ---------------------------------------------------------------- and their adjoints

class _ConvTranspose(_Convolution):
    """Weight (C, O/groups, *kernel) and bias start as U(-1/sqrt(fan_in), ..), fan_in = O/groups times the kernel's size."""

    def __init__(self, in_channels, out_channels, kernel_size, stride=1, padding=0, output_padding=0, groups=1, bias=True,
                 dilation=1):
        kernel = self._make(in_channels, out_channels, kernel_size, stride, dilation, groups)
        bound = 1 / math.sqrt(out_channels // groups * math.prod(kernel))
        self.weight = uniform(bound, in_channels, out_channels // groups, *kernel)
        self.bias = uniform(bound, out_channels) if bias else None
        self.padding, self.output_padding = padding, output_padding

    def forward(self, x):
        return type(self).function(x, self.weight, self.bias, self.stride, self.padding, self.output_padding, self.groups,
                                   self.dilation)


class ConvTranspose1d(_ConvTranspose):
    """The adjoint of a convolution of sequences: (N, C, T) -> (N, O, OT)."""
    axes, function = 1, F.conv_transpose1d


class ConvTranspose2d(_ConvTranspose):
    """The adjoint of a convolution of images: (N, C, H, W) -> (N, O, OH, OW)."""
    axes, function = 2, F.conv_transpose2d
