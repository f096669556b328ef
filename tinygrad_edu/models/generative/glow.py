"""Glow. D. P. Kingma, P. Dhariwal 2018, Glow: Generative Flow with Invertible 1x1 Convolutions, arXiv:1807.03039.

RealNVP for pictures, with two new bijections. Which channels a coupling moves is no longer fixed: an invertible matrix,
learned, mixes the channels of every pixel before it (a 1x1 convolution). And a scale and shift of each channel, set once
from data so that what comes out has mean 0 and variance 1, replaces batch normalization. After some steps one half of the
channels is done, and only the other goes on at half the size: coarse things are decided last. Left out: the LU form of the
matrix, which pays for many channels, and the learned prior of each level.
"""
import numpy as np

from ... import backend, functional as F
from ...creation import zeros
from ...nn import Conv2d, Module, Parameter, ReLU, Sequential
from ...ops import concatenate, exp, inverse, log, sigmoid, slogdet, split
from .flow import Flow


class ActNorm(Module):
    """z = exp(s) (x + b), s and b for each channel; `initialize` chooses them so that z has mean 0 and variance 1."""

    def __init__(self, channels):
        self.log_scale, self.bias = Parameter(zeros(channels, 1, 1)), Parameter(zeros(channels, 1, 1))

    def initialize(self, x):
        axes = (0, 2, 3)
        self.bias.copy_(-x.mean(axis=axes).reshape(-1, 1, 1))
        self.log_scale.copy_(-log(x.std(axis=axes) + 1e-6).reshape(-1, 1, 1))

    def forward(self, x):
        return (x + self.bias) * exp(self.log_scale), self.log_scale.sum() * (x.shape[2] * x.shape[3])

    def inverse(self, z):
        return z * exp(-self.log_scale) - self.bias


class InvertibleConv(Module):
    """z = W x at every pixel, W (C, C) a random rotation at first. ln |det| = H W ln |det W|."""

    def __init__(self, channels):
        rotation, _ = np.linalg.qr(backend.generator().standard_normal((channels, channels)))
        self.weight = Parameter(rotation, dtype="float32")

    def forward(self, x):
        return F.conv2d(x, self.weight[:, :, None, None]), slogdet(self.weight)[1] * (x.shape[2] * x.shape[3])

    def inverse(self, z):
        return F.conv2d(z, inverse(self.weight)[:, :, None, None])


class ConvCoupling(Module):
    """The second half of the channels is scaled and shifted by what a small network sees in the first."""

    def __init__(self, channels, hidden):
        self.network = Sequential(Conv2d(channels // 2, hidden, 3, padding=1), ReLU(), Conv2d(hidden, hidden, 1), ReLU(),
                                  Conv2d(hidden, channels, 3, padding=1))
        for p in (self.network[-1].weight, self.network[-1].bias):
            p.data[...] = 0                                         # at first the same scale for all, and no shift

    def log_scale_and_shift(self, kept):
        """(N, C / 2, H, W) each; the scale lies between 0 and 1, as in the paper's code."""
        raw, shift = split(self.network(kept), 2, axis=1)
        return log(sigmoid(raw + 2)), shift

    def forward(self, x):
        kept, moved = split(x, 2, axis=1)
        log_scale, shift = self.log_scale_and_shift(kept)
        z = concatenate([kept, (moved + shift) * exp(log_scale)], axis=1)
        return z, log_scale.flatten(1).sum(axis=1)

    def inverse(self, z):
        kept, moved = split(z, 2, axis=1)
        log_scale, shift = self.log_scale_and_shift(kept)
        return concatenate([kept, moved * exp(-log_scale) - shift], axis=1)


class OnHalf(Module):
    """The first half of the channels goes through another flow, the second is done. So levels lie within levels."""

    def __init__(self, flow):
        self.flow = flow

    def initialize(self, x):
        self.flow.initialize(split(x, 2, axis=1)[0])

    def forward(self, x):
        on, done = split(x, 2, axis=1)
        z, log_det = self.flow(on)
        return concatenate([z, done], axis=1), log_det

    def inverse(self, z):
        on, done = split(z, 2, axis=1)
        return concatenate([self.flow.inverse(on), done], axis=1)


class Glow(Flow):
    """Pictures (N, C, H, W), H and W multiples of 2^levels.

    Each level halves the picture's sides, takes `steps` times an actnorm, a 1x1 convolution and a coupling, and hands half
    of its channels to the rest of the levels.
    """

    def __init__(self, channels=1, levels=2, steps=4, hidden=32):
        layers = []
        for _ in range(steps):
            layers += [ActNorm(4 * channels), InvertibleConv(4 * channels), ConvCoupling(4 * channels, hidden)]
        if levels > 1:
            layers.append(OnHalf(Glow(2 * channels, levels - 1, steps, hidden)))
        super().__init__(*layers)

    def initialize(self, x):
        super().initialize(squeeze(x))

    def forward(self, x):
        z, log_det = super().forward(squeeze(x))
        return unsqueeze(z), log_det

    def inverse(self, z):
        return unsqueeze(super().inverse(squeeze(z)))


def squeeze(x):
    """(N, C, H, W) -> (N, 4 C, H / 2, W / 2): each square of 2 x 2 pixels becomes four channels. A permutation."""
    H, W = x.shape[2:]
    if H % 2 or W % 2:
        raise ValueError(f"Glow: got a picture or level of {H} x {W}, expected sides that each level can halve")
    return F.pixel_unshuffle(x, 2)


def unsqueeze(z):
    """The other way."""
    return F.pixel_shuffle(z, 2)
