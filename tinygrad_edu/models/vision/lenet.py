"""LeNet: LeCun, Bottou, Bengio & Haffner 1998, "Gradient-based learning applied to document recognition".

A pixel says little; it is neighbours that form an edge, and an edge is an edge wherever it lies. So the first layer looks at
small windows, with the same weights at every place (convolution), and keeps of each 2 x 2 places only the strongest answer
(pooling); a second layer does the same with the answers of the first. What is left, a small stack of coarse maps, goes
through an ordinary network. Left out: the sparse table of connections between the two convolutions, the trained pooling,
tanh, and the radial basis functions at the end; and both convolutions pad, so that any size divisible by four fits.
"""
from ... import functional as F
from ...nn import Conv2d, Linear, Module


class LeNet(Module):
    """Pictures (N, channels, size, size), `size` a multiple of 4 -> logits (N, classes)."""

    def __init__(self, size=28, channels=1, classes=10, widths=(6, 16), kernel=5, hidden=(120, 84)):
        if size % 4:
            raise ValueError(f"LeNet: got size {size}, expected a multiple of 4")
        self.conv1 = Conv2d(channels, widths[0], kernel, padding=kernel // 2)
        self.conv2 = Conv2d(widths[0], widths[1], kernel, padding=kernel // 2)
        self.fc1 = Linear(widths[1] * (size // 4) ** 2, hidden[0])
        self.fc2 = Linear(hidden[0], hidden[1])
        self.fc3 = Linear(hidden[1], classes)

    def features(self, x):
        """The maps after each of the two convolutions: (N, widths[0], size, size) and (N, widths[1], size/2, size/2)."""
        first = F.relu(self.conv1(x))
        return first, F.relu(self.conv2(F.max_pool2d(first, 2)))

    def forward(self, x):
        _, maps = self.features(x)                                          # (N, widths[1], size/2, size/2)
        h = F.max_pool2d(maps, 2).flatten(1)                                # (N, widths[1] size/4 size/4)
        h = F.relu(self.fc2(F.relu(self.fc1(h))))
        return self.fc3(h)
