"""NICE. L. Dinh, D. Krueger, Y. Bengio 2014, Non-linear Independent Components Estimation, arXiv:1410.8516.

Cut x in two. Leave the one half as it is and add to the other whatever a network makes of the first: to undo that, compute
the same again and subtract it. The network need not be invertible. The Jacobian is triangular with ones on its diagonal, so
the determinant is exactly 1: such a map moves probability about but never thins it. One free scale for each coordinate at
the end mends that. Left out: the paper's logistic prior.
"""
from ...creation import zeros
from ...nn import Module, Parameter
from ...ops import exp
from ..foundations.mlp import MLP
from .flow import Flow, every_other


class AdditiveCoupling(Module):
    """z = x + (1 - mask) m(mask x). mask (D,): 1 for coordinates that stay and are looked at, 0 for those that move."""

    def __init__(self, mask, hidden):
        self.mask = mask
        self.network = MLP(len(mask), *hidden, len(mask))

    def shift(self, x):
        """(1 - mask) m(mask x), the same for x and for z."""
        return (1 - self.mask) * self.network(self.mask * x)

    def forward(self, x):
        return x + self.shift(x), zeros(len(x), dtype=x.dtype, device=x.device)

    def inverse(self, z):
        return z - self.shift(z)


class Scaling(Module):
    """z = exp(s) x, one s for each of D coordinates, 0 at first."""

    def __init__(self, features):
        self.log_scale = Parameter(zeros(features))

    def forward(self, x):
        return x * exp(self.log_scale), self.log_scale.sum()

    def inverse(self, z):
        return z * exp(-self.log_scale)


class NICE(Flow):
    """x (N, D). `layers` couplings, in which even and odd coordinates take turns, then a scaling."""

    def __init__(self, features=2, layers=4, hidden=(64, 64)):
        super().__init__(*[AdditiveCoupling(every_other(features, i), hidden) for i in range(layers)], Scaling(features))
