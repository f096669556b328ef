"""The Wasserstein GAN. M. Arjovsky, S. Chintala, L. Bottou 2017, Wasserstein GAN, arXiv:1701.07875; its gradient penalty:
I. Gulrajani et al. 2017, Improved Training of Wasserstein GANs, arXiv:1704.00028.

A critic f gives every point a number. If it is 1-Lipschitz, never steeper than 1, then E_real f - E_fake f is at most W1, the
distance that probability has to be moved, and the best critic reaches it. So the critic measures a distance, and the
generator, who follows its gradient, is told how to come nearer even where real and fake do not overlap.
How to keep f from getting steep? The first paper clips every weight to [-c, c]. The second asks for a gradient of length
1 at points between real and fake ones: the penalty is a function of a gradient, and training differentiates it again.
Left out: the convolutional networks of the papers. Building block: foundations/mlp.
"""
import numpy as np

from ... import autograd, backend
from ...creation import rand, randn
from ...nn import Module, ReLU
from ...ops import sqrt, square
from ..foundations.mlp import MLP


class Generator(Module):
    """Noise (N, latent), standard normal -> points (N, features)."""

    def __init__(self, features=2, hidden=(128, 128), latent=2):
        self.network = MLP(latent, *hidden, features)
        self.latent = latent

    def forward(self, z):
        return self.network(z)

    def sample(self, n):
        """n new points (n, features), in the graph of the parameters."""
        return self(randn(n, self.latent))


class Critic(Module):
    """Points (N, features) -> one number each (N,), in no particular unit; no batch norm, for the penalty is per point."""

    def __init__(self, features=2, hidden=(128, 128)):
        self.network = MLP(features, *hidden, 1, activation=ReLU)

    def forward(self, x):
        return self.network(x)[:, 0]


def gradient_lengths(critic, x):
    """|df/dx| at each row of x (N, features), as a function of the critic's parameters: (N,)."""
    x = x.detach().requires_grad_()
    (slope,) = autograd.grad(critic(x).sum(), [x], create_graph=True)               # rows do not see each other
    return sqrt(square(slope).sum(axis=1) + 1e-12)                                  # the root of 0 has no slope


def gradient_penalty(critic, real, fake):
    """(|df/dx| - 1)^2, the mean over points x drawn evenly from the lines between real and fake points, (N, features)."""
    if real.shape != fake.shape:
        raise ValueError(f"gradient_penalty: got real {real.shape} and fake {fake.shape}, expected equal shapes")
    t = rand(len(real), 1)
    return square(gradient_lengths(critic, t * real.detach() + (1 - t) * fake.detach()) - 1).mean()


def clip_weights(critic, c):
    """Clip every parameter to [-c, c], in place: what the first paper does after each step."""
    for p in critic.parameters():
        backend.array_module(p.data).clip(p.data, -c, c, out=p.data)
        autograd.mark_written(p.data)


def share_at_the_bound(critic, c):
    """Which share of the weights (not biases) lies at -c or c, to a thousandth of c."""
    weights = np.concatenate([abs(backend.to_numpy(p.data)).ravel() for p in critic.parameters() if p.ndim > 1])
    return float((weights >= 0.999 * c).mean())
