"""ResNet for small pictures: He, Zhang, Ren & Sun 2015, "Deep residual learning for image recognition", arXiv:1512.03385.

A deeper network should do no worse than a shallow one: its extra layers need only do nothing. But doing nothing is hard to
learn for a stack of convolutions, and plain deep networks are worse even on their training data. So each block computes
what to add to its input, x + f(x): doing nothing is f = 0, and the gradient reaches every block undiminished through the sum.
This is the network of section 4.2: one convolution, three stages of n blocks, each stage half as large and twice as wide,
the mean over the picture, one linear layer; 6 n + 2 layers. Left out: bottleneck blocks and the wide stem for ImageNet.
"""
from ... import functional as F
from ...nn import BatchNorm2d, Conv2d, Linear, Module, Sequential, init
from ...ops import pad


class BasicBlock(Module):
    """relu(x + bn(conv(relu(bn(conv(x)))))): (N, C, H, W) -> (N, O, H / stride, W / stride).

    Where the shape changes, x crosses with every `stride`-th pixel and channels of zeros around its own (option "A", no
    weights), or through a convolution with kernel 1 (option "B"). `skip=False`: x does not cross, the block is a plain one.
    """

    def __init__(self, channels, out_channels, stride=1, option="A", skip=True):
        self.conv1 = Conv2d(channels, out_channels, 3, stride, padding=1, bias=False)
        self.bn1 = BatchNorm2d(out_channels)
        self.conv2 = Conv2d(out_channels, out_channels, 3, padding=1, bias=False)
        self.bn2 = BatchNorm2d(out_channels)
        self.stride, self.more, self.skip = stride, out_channels - channels, skip
        self.shortcut = None
        if skip and option == "B" and (stride > 1 or self.more):
            self.shortcut = Sequential(Conv2d(channels, out_channels, 1, stride, bias=False), BatchNorm2d(out_channels))

    def forward(self, x):
        h = F.relu(self.bn1(self.conv1(x)))                                 # (N, O, H / stride, W / stride)
        h = self.bn2(self.conv2(h))
        return F.relu(h + self.across(x) if self.skip else h)

    def across(self, x):
        """What is added: x itself where it fits."""
        if self.shortcut is not None:
            return self.shortcut(x)
        if self.stride > 1:
            x = x[:, :, ::self.stride, ::self.stride]
        return pad(x, [(0, 0), (self.more // 2, self.more - self.more // 2), (0, 0), (0, 0)]) if self.more else x


class ResNet(Module):
    """Pictures (N, channels, H, W) -> logits (N, classes), with 6 `blocks` + 2 layers: 3 for ResNet-20, 1 for ResNet-8.

    `widths`: the channels of the three stages. Convolutions start as N(0, 2 / fan_in) (He et al., arXiv:1502.01852).
    `skips=False`: the plain network of the same layers, which nothing passes around.
    """

    def __init__(self, blocks=3, classes=10, channels=3, widths=(16, 32, 64), option="A", skips=True):
        if option not in ("A", "B"):
            raise ValueError(f"ResNet: got option {option!r}, expected 'A' or 'B'")
        self.conv1 = Conv2d(channels, widths[0], 3, padding=1, bias=False)
        self.bn1 = BatchNorm2d(widths[0])
        for stage, (before, after) in enumerate(zip(widths[:1] + widths, widths), 1):
            first = BasicBlock(before, after, 1 if stage == 1 else 2, option, skips)
            setattr(self, f"layer{stage}", [first] + [BasicBlock(after, after, skip=skips) for _ in range(blocks - 1)])
        self.linear = Linear(widths[-1], classes)
        for p in self.parameters():
            if p.ndim == 4:
                init.kaiming_normal_(p, nonlinearity="relu")

    def forward(self, x):
        h = F.relu(self.bn1(self.conv1(x)))                                 # (N, widths[0], H, W)
        for block in self.layer1 + self.layer2 + self.layer3:
            h = block(h)                                                    # the last (N, widths[2], H / 4, W / 4)
        return self.linear(h.mean(axis=(2, 3)))
