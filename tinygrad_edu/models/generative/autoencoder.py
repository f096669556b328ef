"""The autoencoder. D. Rumelhart, G. Hinton, R. Williams 1986, Learning internal representations by error propagation;
deep: G. Hinton, R. Salakhutdinov 2006, Reducing the dimensionality of data with neural networks, Science 313.

A network that must answer with its own input, through a layer too narrow to copy it: what passes is a code. Without
hidden layers it is linear, and then its best surface is PCA's (P. Baldi, K. Hornik 1989). With them the surface may
bend. Left out: the layerwise pretraining of 2006, which Adam and ReLU do without. Building block: foundations/mlp.
"""
from ...functional import mse_loss
from ...nn import Module, ReLU
from ..foundations.mlp import MLP


class Autoencoder(Module):
    """x (N, features) -> code (N, latent) -> (N, features).

    `hidden`: the sizes of the encoder's hidden layers, which the decoder has in reverse; () makes both linear.
    Autoencoder(64, (256, 128), 2) is 64-256-128-2-128-256-64. Neither code nor output is bent by the activation.
    """

    def __init__(self, features=64, hidden=(256,), latent=8, activation=ReLU):
        self.encoder = MLP(features, *hidden, latent, activation=activation)
        self.decoder = MLP(latent, *reversed(hidden), features, activation=activation)

    def encode(self, x):
        """The code of x (N, features): (N, latent)."""
        return self.encoder(x)

    def decode(self, z):
        """What the code z (N, latent) stands for: (N, features)."""
        return self.decoder(z)

    def forward(self, x):
        return self.decode(self.encode(x))

    def reconstruction_loss(self, x):
        """Mean squared error per number between x (N, features) and its reconstruction."""
        return mse_loss(self(x), x)
