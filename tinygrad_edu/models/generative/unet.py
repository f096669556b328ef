"""U-Net: an image in, an image out. Ronneberger, Fischer & Brox 2015, arXiv:1505.04597; as a denoiser Ho et al. 2020,
arXiv:2006.11239.

On the way down the picture shrinks and every pixel learns what lies around it; on the way up it grows again. What was seen on
the way down is carried across to the same size on the way up, so that the fine places of things need not pass through the
smallest picture. A denoiser must also know how much noise to expect: the time t, as a row of sines, is added in every block.
Left out: self-attention (the pictures here are 8 x 8, the convolutions see all of it) and dropout.
"""
import math

from ... import backend, functional as F
from ...nn import Conv2d, GroupNorm, Linear, Module, Sequential, SiLU
from ...ops import concatenate, cos, sin
from ...tensor import Tensor


def sinusoidal(t, features, longest=1000.0):
    """sin and cos of t w at features / 2 frequencies w from 1 down to 1 / longest: t (N,) -> (N, features).

    Near times get near rows, far ones get different rows. Vaswani et al. 2017, arXiv:1706.03762.
    """
    t = Tensor(t, dtype="float32")
    half = backend.array_module(t.data).arange(features // 2, dtype="float32")
    angle = t.reshape(-1, 1) * Tensor(half * (-math.log(longest) / (features // 2 - 1))).exp()
    return concatenate([sin(angle), cos(angle)], axis=1)


def time_mlp(features, width):
    """Two layers on top of the sines, so that a block can ask for any curve over t."""
    return Sequential(Linear(features, width), SiLU(), Linear(width, width), SiLU())


def normalized(norm, x):
    """silu(norm(x)), by the kernel that does both."""
    return F.group_norm_silu(x, norm.num_groups, norm.weight, norm.bias, norm.eps)


class ResidualBlock(Module):
    """x + conv(silu(norm(conv(silu(norm(x))) + time))): (N, C, H, W) -> (N, O, H, W); He et al. 2015, arXiv:1512.03385."""

    def __init__(self, channels, out_channels, time_features):
        self.norm1, self.norm2 = GroupNorm(4, channels), GroupNorm(4, out_channels)
        self.conv1 = Conv2d(channels, out_channels, 3, padding=1)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1)
        self.time = Linear(time_features, out_channels)
        self.shortcut = Conv2d(channels, out_channels, 1) if channels != out_channels else None

    def forward(self, x, time):
        h = self.conv1(normalized(self.norm1, x))                           # (N, O, H, W)
        h = h + self.time(time).reshape(len(x), -1, 1, 1)
        h = self.conv2(normalized(self.norm2, h))
        return h + (x if self.shortcut is None else self.shortcut(x))


class UNet(Module):
    """Images x (N, C, H, W) and times t (N,) -> (N, out_channels, H, W).

    widths: the channels at each size, from the full picture downwards; H and W are halved between two of them.
    `skips=False` and `time=False` leave out the connections across, or the knowledge of t.
    """

    def __init__(self, channels=1, out_channels=1, widths=(32, 64), skips=True, time=True):
        features = 4 * widths[0]
        self.skips, self.knows_time = skips, time
        self.time = time_mlp(widths[0], features)
        self.enter = Conv2d(channels, widths[0], 3, padding=1)
        self.down = [ResidualBlock(before, after, features) for before, after in zip(widths[:1] + widths, widths)]
        self.middle = ResidualBlock(widths[-1], widths[-1], features)
        self.up = [ResidualBlock(below + here if skips else below, here, features)
                   for below, here in zip(widths[:0:-1], widths[-2::-1])]
        self.norm, self.leave = GroupNorm(4, widths[0]), Conv2d(widths[0], out_channels, 3, padding=1)

    def forward(self, x, t):
        time = self.time(sinusoidal(t if self.knows_time else 0 * t, self.enter.weight.shape[0]))
        h, across = self.down[0](self.enter(x), time), []
        for block in self.down[1:]:
            across.append(h)
            h = block(F.avg_pool2d(h, 2), time)                             # half the size
        h = self.middle(h, time)

        for block in self.up:
            h, kept = F.upsample_nearest2d(h, 2), across.pop()              # twice the size
            h = block(concatenate([h, kept], axis=1) if self.skips else h, time)
        return self.leave(normalized(self.norm, h))


class PointDenoiser(Module):
    """The same for points instead of pictures: x (N, D) and t (N,) -> (N, out_features), an MLP that is told the time."""

    def __init__(self, features=2, out_features=2, width=64, layers=3, time=True):
        self.width, self.knows_time = width, time
        self.time = time_mlp(width, width)
        self.enter = Linear(features, width)
        self.hidden = [Linear(width, width) for _ in range(layers)]
        self.leave = Linear(width, out_features)

    def forward(self, x, t):
        time = self.time(sinusoidal(t if self.knows_time else 0 * t, self.width))       # (N, width)
        h = self.enter(x)
        for layer in self.hidden:
            h = h + layer(F.silu(h + time))
        return self.leave(F.silu(h))
