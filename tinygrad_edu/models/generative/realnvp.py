"""RealNVP. L. Dinh, J. Sohl-Dickstein, S. Bengio 2016, Density estimation using Real NVP, arXiv:1605.08803.

NICE's coupling, but the half that moves is also stretched, by factors that the other half decides: z = x exp(s) + t. The
Jacobian stays triangular, and the logarithm of its determinant is simply the sum of s. So the flow may now thin out
probability at one place and not at another. Left out: the batch normalization between couplings; for pictures see glow.py.
"""
from ...creation import zeros
from ...nn import Module, Parameter
from ...ops import exp, split, tanh
from ..foundations.mlp import MLP
from .flow import Flow, every_other


class AffineCoupling(Module):
    """z = x exp(s) + t where mask is 0, with s and t computed from mask x. s = limit tanh(..), so that no factor explodes."""

    def __init__(self, mask, hidden):
        self.mask = mask
        self.network = MLP(len(mask), *hidden, 2 * len(mask))
        self.limit = Parameter(zeros(len(mask)))                    # 0 at first: then exp(s) = 1

    def scale_and_shift(self, x):
        """s and t (N, D), 0 where mask is 1; the same for x and for z."""
        s, t = split(self.network(self.mask * x), 2, axis=1)
        return (1 - self.mask) * self.limit * tanh(s), (1 - self.mask) * t

    def forward(self, x):
        s, t = self.scale_and_shift(x)
        return x * exp(s) + t, s.sum(axis=1)

    def inverse(self, z):
        s, t = self.scale_and_shift(z)
        return (z - t) * exp(-s)


class RealNVP(Flow):
    """x (N, D). `layers` couplings, in which even and odd coordinates take turns."""

    def __init__(self, features=2, layers=8, hidden=(64, 64)):
        super().__init__(*[AffineCoupling(every_other(features, i), hidden) for i in range(layers)])
