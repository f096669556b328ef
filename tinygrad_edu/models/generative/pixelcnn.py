"""PixelCNN. A. van den Oord, N. Kalchbrenner, K. Kavukcuoglu 2016, Pixel Recurrent Neural Networks, arXiv:1601.06759; A. van den
Oord et al. 2016, Conditional Image Generation with PixelCNN Decoders, arXiv:1606.05328.

MADE for pictures: pixels in reading order, and convolutions that look up and to the left only. A stack of masked 3 x 3
convolutions has a blind spot, for a path may go up and left, or up and right once for each row, but never far to the right and
then up. The gated network mends this with two stacks: one looks at all rows above, the other at the pixels to the left in the
own row and at the first stack. Its units are products tanh(a) sigmoid(b). Instead of masking kernels we cut them and shift the
picture, as Salimans et al. 2017 do (PixelCNN++, arXiv:1701.05517), whose mixture of logistics is in distributions.py. Left out:
colour channels that depend on each other, and conditioning on a label.
"""
from ... import functional as F
from ...autograd import no_grad
from ...creation import zeros
from ...nn import Conv2d, Module
from ...ops import relu, sigmoid, split, tanh


class MaskedConv2d(Conv2d):
    """A convolution that sees pixels before the own one in reading order; with `itself` the own one too. Odd kernels."""

    def __init__(self, in_channels, out_channels, kernel_size, itself):
        super().__init__(in_channels, out_channels, kernel_size, padding=kernel_size // 2)
        middle = kernel_size // 2
        self.mask = zeros(kernel_size, kernel_size)
        self.mask[:middle] = 1.0
        self.mask[middle, : middle + itself] = 1.0

    def forward(self, x):
        return F.conv2d(x, self.weight * self.mask, self.bias, padding=self.padding)


class PlainPixelCNN(Module):
    """Masked convolutions one after the other: x (N, 1, H, W) -> (N, outputs, H, W). It has the blind spot."""

    def __init__(self, channels=32, layers=5, outputs=1):
        self.first = MaskedConv2d(1, channels, 3, itself=False)
        self.middle = [MaskedConv2d(channels, channels, 3, itself=True) for _ in range(layers)]
        self.last = Conv2d(channels, outputs, 1)

    def forward(self, x):
        h = self.first(x)
        for layer in self.middle:
            h = h + layer(relu(h))
        return self.last(relu(h))


class PixelCNN(Module):
    """The gated network: x (N, 1, H, W) -> (N, outputs, H, W); an output sees exactly the pixels before it."""

    def __init__(self, channels=32, layers=5, outputs=1):
        self.above, self.left = Conv2d(1, channels, (2, 3)), Conv2d(1, channels, (1, 2))
        self.layers = [GatedLayer(channels) for _ in range(layers)]
        self.hidden, self.last = Conv2d(channels, channels, 1), Conv2d(channels, outputs, 1)

    def forward(self, x):
        x = x - 0.5
        v = look_up(self.above, F.pad(x, (0, 0, 1, 0))[:, :, :-1])          # v at row i: rows before i
        h = look_left(self.left, F.pad(x, (1, 0))[..., :-1]) + v            # h at column j: and columns before j
        for layer in self.layers:
            v, h = layer(v, h)
        return self.last(relu(self.hidden(relu(h))))


class GatedLayer(Module):
    """v (N, C, H, W) of what lies above, h of that and of what lies to the left -> the next v and h."""

    def __init__(self, channels):
        self.vertical, self.horizontal = Conv2d(channels, 2 * channels, (2, 3)), Conv2d(channels, 2 * channels, (1, 2))
        self.link, self.out = Conv2d(2 * channels, 2 * channels, 1), Conv2d(channels, channels, 1)

    def forward(self, v, h):
        above = look_up(self.vertical, v)
        left = look_left(self.horizontal, h) + self.link(above)
        return gate(above), h + self.out(gate(left))


def look_up(convolution, x):
    """A 2 x 3 convolution of the own row and the one above: with a row of zeros on top, and a column on either side."""
    return convolution(F.pad(x, (1, 1, 1, 0)))


def look_left(convolution, x):
    """A 1 x 2 convolution of the own pixel and the one to the left."""
    return convolution(F.pad(x, (1, 0)))


def gate(x):
    """tanh(a) sigmoid(b), a and b the two halves of the channels."""
    a, b = split(x, 2, axis=1)
    return tanh(a) * sigmoid(b)


def sample_pixels(network, distribution, n, height, width):
    """n pictures (n, 1, height, width), pixel after pixel in reading order, outside the graph.

    network: (n, 1, H, W) -> (n, outputs, H, W); distribution: outputs of one pixel (n, outputs) -> an object with sample() (n,).
    """
    x = zeros(n, 1, height, width)
    with no_grad():
        for i in range(height):
            for j in range(width):
                x[:, 0, i, j] = distribution(network(x)[:, :, i, j]).sample()
    return x
