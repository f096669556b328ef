"""DenseNet for small pictures: Huang, Liu, van der Maaten & Weinberger 2016, "Densely connected convolutional networks",
arXiv:1608.06993.

A residual block adds to its input, so what was there is mixed with what is new. A dense layer writes next to it: its
input is every map that was made before it in the block, and it appends `growth` new ones. Nothing needs to be learned twice, so
layers can be narrow: after l layers k0 + k l channels. Between blocks a transition mixes, thins out and halves the maps.
Left out: the bottleneck in front of each layer (DenseNet-B) and dropout.
"""
from ... import functional as F
from ...nn import BatchNorm2d, Conv2d, Linear, Module, init
from ...ops import concatenate


class DenseLayer(Module):
    """x next to conv(relu(bn(x))): (N, C, H, W) -> (N, C + growth, H, W)."""

    def __init__(self, channels, growth):
        self.bn, self.conv = BatchNorm2d(channels), Conv2d(channels, growth, 3, padding=1, bias=False)

    def forward(self, x):
        return concatenate([x, self.conv(F.relu(self.bn(x)))], axis=1)


class Transition(Module):
    """(N, C, H, W) -> (N, O, H / 2, W / 2): batch norm, relu, a convolution with kernel 1, the mean of each 2 x 2 pixels."""

    def __init__(self, channels, out_channels):
        self.bn, self.conv = BatchNorm2d(channels), Conv2d(channels, out_channels, 1, bias=False)

    def forward(self, x):
        return F.avg_pool2d(self.conv(F.relu(self.bn(x))), 2)


class DenseNet(Module):
    """Pictures (N, channels, H, W) -> logits (N, classes): a convolution to `width` channels, blocks of `layers` dense layers.

    A transition between two blocks leaves the share `compression` of the channels (1: all, the plain DenseNet; 0.5:
    DenseNet-C). Convolutions start as N(0, 2 / fan_in).
    """

    def __init__(self, layers=(4, 4, 4), growth=12, classes=10, channels=3, width=16, compression=1.0):
        self.conv1 = Conv2d(channels, width, 3, padding=1, bias=False)
        self.blocks, self.transitions = [], []
        for count in layers:
            if self.blocks:
                self.transitions.append(Transition(width, int(width * compression)))
                width = int(width * compression)
            self.blocks.append([DenseLayer(width + i * growth, growth) for i in range(count)])
            width += count * growth                                         # k0 + k l
        self.bn, self.linear = BatchNorm2d(width), Linear(width, classes)
        for p in self.parameters():
            if p.ndim == 4:
                init.kaiming_normal_(p, nonlinearity="relu")

    def forward(self, x):
        h = self.conv1(x)
        for i, block in enumerate(self.blocks):
            h = self.transitions[i - 1](h) if i else h
            for layer in block:
                h = layer(h)
        return self.linear(F.relu(self.bn(h)).mean(axis=(2, 3)))
