"""Pooling as modules: the sizes; the mathematics is F's."""
from .. import functional as F
from .module import Module


class _Pool(Module):
    """Windows of kernel_size, side by side unless stride is given."""

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False):
        self.kernel_size, self.stride = kernel_size, kernel_size if stride is None else stride
        self.padding, self.ceil_mode = padding, ceil_mode

    def extra_repr(self):
        return f"kernel_size={self.kernel_size}, stride={self.stride}, padding={self.padding}"


class MaxPool1d(_Pool):
    """The largest number of every window of (N, C, T)."""
    def forward(self, x):
        return F.max_pool1d(x, self.kernel_size, self.stride, self.padding, ceil_mode=self.ceil_mode)


class MaxPool2d(_Pool):
    """The largest number of every window of (N, C, H, W)."""
    def forward(self, x):
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding, ceil_mode=self.ceil_mode)


class AvgPool1d(_Pool):
    """The mean of every window of (N, C, T); without count_include_pad padding does not count."""

    def __init__(self, kernel_size, stride=None, padding=0, ceil_mode=False, count_include_pad=True):
        super().__init__(kernel_size, stride, padding, ceil_mode)
        self.count_include_pad = count_include_pad

    def forward(self, x):
        return F.avg_pool1d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class AvgPool2d(AvgPool1d):
    """The mean of every window of (N, C, H, W); without count_include_pad padding does not count."""
    def forward(self, x):
        return F.avg_pool2d(x, self.kernel_size, self.stride, self.padding, self.ceil_mode, self.count_include_pad)


class _Adaptive(Module):
    """As many equal bins as output_size says."""

    def __init__(self, output_size):
        self.output_size = output_size

    def extra_repr(self):
        return f"output_size={self.output_size}"


class AdaptiveMaxPool1d(_Adaptive):
    """The largest number of each bin of (N, C, T)."""
    def forward(self, x):
        return F.adaptive_max_pool1d(x, self.output_size)


class AdaptiveMaxPool2d(_Adaptive):
    """The largest number of each bin of (N, C, H, W)."""
    def forward(self, x):
        return F.adaptive_max_pool2d(x, self.output_size)


class AdaptiveAvgPool1d(_Adaptive):
    """The mean of each bin of (N, C, T)."""
    def forward(self, x):
        return F.adaptive_avg_pool1d(x, self.output_size)


class AdaptiveAvgPool2d(_Adaptive):
    """The mean of each bin of (N, C, H, W)."""
    def forward(self, x):
        return F.adaptive_avg_pool2d(x, self.output_size)
