"""Normalizing flows: a density made of bijections. E. Tabak, E. Vanden-Eijnden 2010; D. Rezende, S. Mohamed 2015,
Variational Inference with Normalizing Flows, arXiv:1505.05770.

Let z = f(x) with f invertible and differentiable. If z has the density p(z), then x has the density

    ln p(x) = ln p(z) + ln |det dz/dx|,

for what f stretches, it thins out. Of a chain of bijections the logarithms add up. So a flow is learned by maximum
likelihood, with no bound and no critic, and sampled by drawing z and going backwards. The art, left to the other files, is
to find bijections whose determinant is cheap.

A bijection here is a Module with `forward(x)`, which gives z, of the same shape, and ln |det dz/dx| (N,), and
with `inverse(z)`. One that sets itself up from data has `initialize(x)` as well.
"""
from ...autograd import no_grad
from ...creation import randn, zeros
from ...distributions import Normal
from ...nn import Module


class Flow(Module):
    """Bijections one after the other, from data x (N, ..) to z ~ N(0, I). A Flow is a bijection too."""

    def __init__(self, *layers):
        self.layers = list(layers)
        self.base = Normal(0.0, 1.0)

    def forward(self, x):
        total = 0.0
        for layer in self.layers:
            x, log_det = layer(x)
            total = total + log_det
        return x, total

    def inverse(self, z):
        for layer in reversed(self.layers):
            z = layer.inverse(z)
        return z

    def initialize(self, x):
        """Let every layer set itself up from the data as it arrives there. Call it once, with a large batch."""
        with no_grad():
            for layer in self.layers:
                if hasattr(layer, "initialize"):
                    layer.initialize(x)
                x, _ = layer(x)

    def log_prob(self, x):
        """ln p(x) in nats: (N, ..) -> (N,)."""
        z, log_det = self(x)
        return self.base.log_prob(z).flatten(1).sum(axis=1) + log_det

    def sample(self, n, shape, temperature=1.0):
        """n draws (n, *shape), outside the graph. A temperature below 1 draws z nearer to 0."""
        with no_grad():
            return self.inverse(temperature * randn(n, *shape))


def every_other(features, first):
    """(D,): 1 0 1 0 .. or, if `first` is odd, 0 1 0 1 .."""
    mask = zeros(features)
    mask[first % 2::2] = 1.0
    return mask
