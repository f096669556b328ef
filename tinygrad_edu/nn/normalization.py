"""Normalizations as modules: scale, shift and, for batch norm, the running statistics. The mathematics is F's."""
from .. import autograd, functional as F
from ..creation import ones, zeros
from ..kernels.normalization import batch_statistics
from .module import Module, Parameter


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
