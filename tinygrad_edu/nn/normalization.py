"""Normalizations as modules: scale, shift and, for some, running statistics. The mathematics is F's."""
from .. import autograd, functional as F
from ..creation import ones, zeros
from ..kernels.batch_norm import batch_statistics
from ..ops.elementwise import array_of
from .module import Module, Parameter


# ---------------------------------------------------------------- over each sample

class LayerNorm(Module):
    """Normalize over the last axes, then scale (starts at 1) and shift (starts at 0)."""

    def __init__(self, normalized_shape, eps=1e-5, elementwise_affine=True, bias=True):
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.weight = Parameter(ones(normalized_shape)) if elementwise_affine else None
        self.bias = Parameter(zeros(normalized_shape)) if elementwise_affine and bias else None
        self.eps = eps

    def forward(self, x):
        return F.layer_norm(x, self.normalized_shape, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}"


class RMSNorm(Module):
    """Divide by the root mean square over the last axes, then scale (starts at 1). eps: by default that of x's dtype."""

    def __init__(self, normalized_shape, eps=None, elementwise_affine=True):
        self.normalized_shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
        self.weight = Parameter(ones(normalized_shape)) if elementwise_affine else None
        self.eps = eps

    def forward(self, x):
        return F.rms_norm(x, self.normalized_shape, self.weight, self.eps)

    def extra_repr(self):
        return f"{self.normalized_shape}"


class GroupNorm(Module):
    """Normalize (N, C, ..) over groups of channels, then scale (starts at 1) and shift (starts at 0) each channel."""

    def __init__(self, num_groups, num_channels, eps=1e-5, affine=True):
        if num_channels % num_groups:
            raise ValueError(f"GroupNorm: {num_channels} channels cannot be cut into {num_groups} groups")
        self.weight = Parameter(ones(num_channels)) if affine else None
        self.bias = Parameter(zeros(num_channels)) if affine else None
        self.num_groups, self.num_channels, self.eps = num_groups, num_channels, eps

    def forward(self, x):
        if x.ndim > 1 and x.shape[1] != self.num_channels:
            raise ValueError(f"GroupNorm: got {x.shape[1]} channels (shape {x.shape}), expected {self.num_channels}")
        return F.group_norm(x, self.num_groups, self.weight, self.bias, self.eps)

    def extra_repr(self):
        return f"{self.num_groups}, {self.num_channels}"


# ---------------------------------------------------------------- with running statistics

class _Running(Module):
    """Batch norm and instance norm: a scale and a shift (`affine`), and running averages (`track_running_stats`).

    new average = (1 - momentum) old + momentum batch, of the mean and of the unbiased variance. Training normalizes by the
    batch's own statistics, evaluation by the averages, or by the batch's own if none are kept.
    """

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=True, track_running_stats=True):
        self.weight = Parameter(ones(num_features)) if affine else None
        self.bias = Parameter(zeros(num_features)) if affine else None
        if track_running_stats:
            self.running_mean, self.running_var = zeros(num_features), ones(num_features)
            self.num_batches_tracked = zeros((), dtype="int64")
        self.num_features, self.eps, self.momentum = num_features, eps, momentum
        self.affine, self.track_running_stats = affine, track_running_stats

    def forward(self, x):
        if x.ndim > 1 and x.shape[1] != self.num_features:
            raise ValueError(f"{self.family}: got {x.shape[1]} channels (shape {x.shape}), expected {self.num_features}")
        if self.track_running_stats and not self.training:
            return F.batch_norm(x, self.weight, self.bias, self.running_mean, self.running_var, self.eps)
        n = self._count(x)
        if n < 2:
            raise ValueError(f"{self.family}: got {n} value for each channel (shape {x.shape}), expected at least 2")
        if self.track_running_stats:
            self._update_statistics(x, n)
        return type(self).function(x, self.weight, self.bias, eps=self.eps)

    def _average(self, mean, variance, momentum):
        for running, batch in ((self.running_mean, mean), (self.running_var, variance)):
            running.data[...] = (1 - momentum) * running.data + momentum * batch
            autograd.mark_written(running.data)

    def extra_repr(self):
        facts = f"{self.num_features}"
        for name, default in (("eps", 1e-5), ("momentum", 0.1), ("affine", self.affine_default),
                              ("track_running_stats", self.affine_default)):
            facts += "" if getattr(self, name) == default else f", {name}={getattr(self, name)}"
        return facts


class BatchNorm(_Running):
    """Normalize each channel of (N, C) or (N, C, ..) over the batch, then scale (starts at 1) and shift (starts at 0).

    momentum=None: the running statistics are the plain mean over all batches so far, num_batches_tracked of them.
    Ioffe & Szegedy 2015, arXiv:1502.03167.
    """
    family, function, affine_default = "BatchNorm", F.batch_norm, True

    def _count(self, x):
        return x.size // x.shape[1]

    def _update_statistics(self, x, n):
        mean, variance = batch_statistics(x)
        self.num_batches_tracked.data[...] += 1
        momentum = 1 / self.num_batches_tracked.data if self.momentum is None else self.momentum
        self._average(mean, variance * (n / (n - 1)), momentum)


class BatchNorm1d(BatchNorm):
    """Batch norm of (N, C) or (N, C, T)."""


class BatchNorm2d(BatchNorm):
    """Batch norm of (N, C, H, W)."""


class InstanceNorm(_Running):
    """Normalize each channel of each sample of (N, C, ..); running statistics, if kept, are means over the samples.

    Ulyanov et al. 2016, arXiv:1607.08022.
    """
    family, function, affine_default = "InstanceNorm", F.instance_norm, False

    def __init__(self, num_features, eps=1e-5, momentum=0.1, affine=False, track_running_stats=False):
        super().__init__(num_features, eps, momentum, affine, track_running_stats)

    def _count(self, x):
        return x.size // (x.shape[0] * x.shape[1])

    def _update_statistics(self, x, n):
        N, C = x.shape[:2]
        mean, variance = (v.reshape(N, C).mean(axis=0) for v in batch_statistics(array_of(x).reshape(1, N * C, n)))
        self._average(mean, variance * (n / (n - 1)), self.momentum or 0.0)     # PyTorch keeps no count here


class InstanceNorm1d(InstanceNorm):
    """Instance norm of (N, C, T)."""


class InstanceNorm2d(InstanceNorm):
    """Instance norm of (N, C, H, W)."""
