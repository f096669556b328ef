"""The conditional GAN. M. Mirza, S. Osindero 2014, Conditional Generative Adversarial Nets, arXiv:1411.1784.

A GAN draws what it likes. To order a picture of class y, tell both players y: the generator gets it beside its noise, and the
discriminator beside the picture, so that its question becomes "is this a real picture of a y?". A perfect 3 is a fake, if a 7
was ordered. Here, as for the paper's digits, both players are multilayer perceptrons and y is a one-hot vector.
Left out: maxout and dropout, separate first layers for the two inputs, and the paper's second half, tags for photographs.
Building block: foundations/mlp.
"""
from ...creation import randn
from ...nn import LeakyReLU, Module
from ...ops import concatenate, one_hot, tanh
from ..foundations.mlp import MLP


class Generator(Module):
    """Noise (N, latent), standard normal, and labels (N,) -> pictures (N, features) in [-1, 1]."""

    def __init__(self, features=64, classes=10, hidden=(128, 256), latent=32):
        self.network = MLP(latent + classes, *hidden, features)
        self.latent, self.classes = latent, classes

    def forward(self, z, labels):
        return tanh(self.network(concatenate([z, one_hot(labels, self.classes)], axis=1)))

    def sample(self, labels):
        """One new picture for each of `labels` (N,): (N, features), in the graph of the parameters."""
        return self(randn(len(labels), self.latent), labels)


class Discriminator(Module):
    """Pictures (N, features) and labels (N,) -> one logit each (N,): above 0 for a real picture of this class."""

    def __init__(self, features=64, classes=10, hidden=(256, 128)):
        self.network = MLP(features + classes, *hidden, 1, activation=LeakyReLU)
        self.classes = classes

    def forward(self, x, labels):
        return self.network(concatenate([x, one_hot(labels, self.classes)], axis=1))[:, 0]
