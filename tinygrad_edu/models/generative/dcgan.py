"""The deep convolutional GAN. A. Radford, L. Metz, S. Chintala 2015, Unsupervised Representation Learning with Deep
Convolutional Generative Adversarial Networks, arXiv:1511.06434.

A generator turns noise into pictures, a discriminator says of a picture whether it is real, and each is trained on the other's
mistakes. With convolutions this was known to fail; the paper's recipe made it work. No pooling: the generator grows its maps by
transposed convolutions of stride 2, the discriminator shrinks them by convolutions of stride 2. Batch norm in both, but not
where pictures come out or go in. ReLU in the generator, tanh at its end; leaky ReLU in the discriminator. Weights begin small,
N(0, 0.02^2). Left out: 64 x 64 pictures (four doublings) and the features that the discriminator learns.
"""
from ...creation import randn
from ...nn import BatchNorm2d, Conv2d, ConvTranspose2d, LeakyReLU, Module, ReLU, Sequential, Tanh, init


class Generator(Module):
    """Noise (N, latent), standard normal -> pictures (N, channels, side, side) in [-1, 1], side = 2^(len(widths) + 1).

    `widths`: the channels of its maps of 2 x 2, 4 x 4, .. `norm`: with batch norm, as in the paper.
    """

    def __init__(self, latent=32, widths=(64, 32), channels=1, norm=True):
        layers = [ConvTranspose2d(latent, widths[0], 2)]                                    # (N, widths[0], 2, 2)
        for wider, width in zip(widths, (*widths[1:], channels)):
            layers += [BatchNorm2d(wider)] * norm + [ReLU()]
            layers += [ConvTranspose2d(wider, width, 4, stride=2, padding=1)]               # twice the side
        self.layers = start_small(Sequential(*layers, Tanh()))
        self.latent = latent

    def forward(self, z):
        return self.layers(z[:, :, None, None])

    def sample(self, n):
        """n new pictures (n, channels, side, side), in the graph of the parameters."""
        return self(randn(n, self.latent))


class Discriminator(Module):
    """Pictures (N, channels, side, side) in [-1, 1] -> one logit each (N,): above 0 for real. The generator's mirror image."""

    def __init__(self, widths=(32, 64), channels=1, norm=True):
        layers = [Conv2d(channels, widths[0], 4, stride=2, padding=1), LeakyReLU(0.2)]      # half the side
        for narrower, width in zip(widths, widths[1:]):
            layers += [Conv2d(narrower, width, 4, stride=2, padding=1)] + [BatchNorm2d(width)] * norm + [LeakyReLU(0.2)]
        self.layers = start_small(Sequential(*layers, Conv2d(widths[-1], 1, 2)))            # (N, 1, 1, 1)

    def forward(self, x):
        return self.layers(x)[:, 0, 0, 0]


def start_small(network):
    """The paper's initialization: weights of convolutions from N(0, 0.02^2), those of batch norms from N(1, 0.02^2)."""
    for layer in network:
        if hasattr(layer, "weight"):
            init.normal_(layer.weight, mean=1.0 if isinstance(layer, BatchNorm2d) else 0.0, std=0.02)
    return network
