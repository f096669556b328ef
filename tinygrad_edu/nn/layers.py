"""Layers with parameters: the sizes, the tensors with their shapes, the initialization in words. The mathematics is F's."""
import math

from .. import autograd, backend, functional as F
from ..creation import ones, zeros
from ..kernels.normalization import batch_statistics
from .module import Module, Parameter


def uniform(bound, *shape):
    """A Parameter drawn from U(-bound, bound)."""
    return Parameter(backend.generator().uniform(-bound, bound, shape).astype("float32"))


class Linear(Module):
    """y = x W' + b: (.., in) -> (.., out). W and b start as U(-1/sqrt(in), 1/sqrt(in))."""

    def __init__(self, in_features, out_features, bias=True):
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        self.weight = uniform(bound, out_features, in_features)
        self.bias = uniform(bound, out_features) if bias else None

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self):
        out_features, in_features = self.weight.shape
        return f"{in_features}, {out_features}" + ("" if self.bias is not None else ", bias=False")


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


class Embedding(Module):
    """A learned vector for each of `num_embeddings` ids: ids (..) -> (.., embedding_dim). Starts as N(0, 1).

    The row `padding_idx`, if given, starts as 0 and stays so.
    """

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None):
        self.weight = Parameter(backend.generator().standard_normal((num_embeddings, embedding_dim)).astype("float32"))
        self.padding_idx = padding_idx
        if padding_idx is not None:
            self.weight.data[padding_idx] = 0

    def forward(self, ids):
        return F.embedding(ids, self.weight, self.padding_idx)

    def extra_repr(self):
        facts = ", ".join(map(str, self.weight.shape))
        return facts if self.padding_idx is None else f"{facts}, padding_idx={self.padding_idx}"


class LayerNorm(Module):
    """Normalize over the last axes, then scale (starts at 1) and shift (starts at 0)."""

    def __init__(self, normalized_shape, eps=1e-5):
        self.weight, self.bias = Parameter(ones(normalized_shape)), Parameter(zeros(normalized_shape))
        self.eps = eps

    def forward(self, x):
        return F.layer_norm(x, self.weight.shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.weight.shape}"


class RMSNorm(Module):
    """Divide by the root mean square over the last axes, then scale (starts at 1). eps: by default that of x's dtype."""

    def __init__(self, normalized_shape, eps=None):
        self.weight, self.eps = Parameter(ones(normalized_shape)), eps

    def forward(self, x):
        return F.rms_norm(x, self.weight.shape, self.weight, self.eps)

    def extra_repr(self):
        return f"{self.weight.shape}"


class GroupNorm(Module):
    """Normalize (N, C, ..) over groups of channels, then scale (starts at 1) and shift (starts at 0) each channel."""

    def __init__(self, num_groups, num_channels, eps=1e-5):
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: {num_channels} channels cannot be cut into {num_groups} groups")
        self.weight, self.bias = Parameter(ones(num_channels)), Parameter(zeros(num_channels))
        self.num_groups, self.eps = num_groups, eps

    def forward(self, x):
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.num_groups}, {self.weight.size}"


class InstanceNorm(Module):
    """Normalize each channel of each sample; with `affine` then scale (starts at 1) and shift (starts at 0) each channel."""

    def __init__(self, num_features, eps=1e-5, affine=False):
        self.weight = Parameter(ones(num_features)) if affine else None
        self.bias = Parameter(zeros(num_features)) if affine else None
        self.num_features, self.eps = num_features, eps

    def forward(self, x):
        if x.shape[1] != self.num_features:
            raise ValueError(f"InstanceNorm: got {x.shape[1]} channels (shape {x.shape}), expected {self.num_features}")
        return F.instance_norm(x, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.num_features}" + (", affine=True" if self.weight is not None else "")


class InstanceNorm1d(InstanceNorm):
    """Instance norm of (N, C, T)."""


class InstanceNorm2d(InstanceNorm):
    """Instance norm of (N, C, H, W)."""


class BatchNorm(Module):
    """Normalize each channel of (N, C) or (N, C, ..) over the batch, then scale (starts at 1) and shift (starts at 0).

    Training uses the batch's statistics and keeps a running average of them, new = (1 - momentum) old + momentum batch;
    evaluation uses the averages. The running variance is the unbiased one, as in PyTorch.
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1):
        self.weight, self.bias = Parameter(ones(num_features)), Parameter(zeros(num_features))
        self.running_mean, self.running_var = zeros(num_features), ones(num_features)
        self.eps, self.momentum = eps, momentum

    def forward(self, x):
        if not self.training:
            return F.batch_norm(x, self.weight, self.bias, self.running_mean, self.running_var, self.eps)
        self._update_statistics(x)
        return F.batch_norm(x, self.weight, self.bias, eps=self.eps)

    def _update_statistics(self, x):
        n = x.size // x.shape[1]
        if n < 2:
            raise ValueError(f"BatchNorm: got {n} value for each channel (shape {x.shape}), expected at least 2 in training")
        mean, variance = batch_statistics(x)
        for running, batch in ((self.running_mean, mean), (self.running_var, variance * (n / (n - 1)))):
            running.data[...] = (1 - self.momentum) * running.data + self.momentum * batch
            autograd.mark_written(running.data)

    def extra_repr(self):
        return f"{self.weight.size}"


class BatchNorm1d(BatchNorm):
    """Batch norm of (N, C) or (N, C, T)."""


class BatchNorm2d(BatchNorm):
    """Batch norm of (N, C, H, W)."""


class Dropout(Module):
    """In training, each number is 0 with probability p and the others grow by 1 / (1 - p)."""

    def __init__(self, p=0.5):
        self.p = p

    def forward(self, x):
        return F.dropout(x, self.p, self.training)

    def extra_repr(self):
        return f"p={self.p}"


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


# ---------------------------------------------------------------- containers

class Sequential(Module):
    """Modules one after the other: Sequential(a, b)(x) = b(a(x))."""

    def __init__(self, *modules):
        self.__dict__.update({str(i): module for i, module in enumerate(modules)})

    def forward(self, x):
        for module in vars(self).values():
            if isinstance(module, Module):          # `training` is an attribute too
                x = module(x)
        return x

    def __len__(self):
        return len(self._list())

    def __iter__(self):
        return iter(self._list())

    def __getitem__(self, i):
        return Sequential(*self._list()[i]) if isinstance(i, slice) else self._list()[i]

    def _list(self):
        return [module for module in vars(self).values() if isinstance(module, Module)]


# ---------------------------------------------------------------- activations as modules

class ReLU(Module):
    """max(x, 0)"""
    def forward(self, x):
        return F.relu(x)

class LeakyReLU(Module):
    """x where x > 0, else negative_slope x"""
    def __init__(self, negative_slope=0.01):
        self.negative_slope = negative_slope
    def forward(self, x):
        return F.leaky_relu(x, self.negative_slope)

class Tanh(Module):
    """tanh(x)"""
    def forward(self, x):
        return F.tanh(x)

class Sigmoid(Module):
    """1 / (1 + e^-x)"""
    def forward(self, x):
        return F.sigmoid(x)

class SiLU(Module):
    """x sigmoid(x)"""
    def forward(self, x):
        return F.silu(x)

class GELU(Module):
    """x Phi(x)"""
    def forward(self, x):
        return F.gelu(x)

class Softplus(Module):
    """ln(1 + e^x)"""
    def forward(self, x):
        return F.softplus(x)

class Identity(Module):
    """x"""
    def forward(self, x):
        return x
