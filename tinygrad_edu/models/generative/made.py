"""MADE. M. Germain, K. Gregor, I. Murray, H. Larochelle 2015, Masked Autoencoder for Distribution Estimation, arXiv:1502.03509.

The chain rule writes any distribution as p(x) = p(x_1) p(x_2|x_1) p(x_3|x_1, x_2) .. One network can give all of the factors
at once if no path leads from a number to its own factor or to an earlier one. Number the inputs; give each hidden unit a
number m, of which it is said that it has seen the inputs up to m; and cut every weight that would make this untrue. So the
likelihood, exact, costs one pass, and a sample costs as many as there are numbers. Without hidden layers this is the fully
visible sigmoid belief network (Frey 1998). Left out: averages over several orders and masks.
"""
import numpy as np

from ... import functional as F
from ...autograd import no_grad
from ...creation import zeros
from ...distributions import Bernoulli
from ...nn import Dropout, Linear, Module, ReLU, Sequential
from ...tensor import Tensor


class MaskedLinear(Linear):
    """y = x (W * mask)' + b, mask (out, in) of zeros and ones."""

    def __init__(self, mask):
        super().__init__(mask.shape[1], mask.shape[0])
        self.mask = Tensor(mask.astype("float32"))

    def forward(self, x):
        return F.linear(x, self.weight * self.mask, self.bias)


class MADE(Module):
    """x (N, D) of zeros and ones -> logits (N, D); logit d depends on the inputs that come before d in `order`.

    order: a permutation of 0..D-1, by default 0, 1, 2, ..; hidden: sizes of the hidden layers; dropout: of hidden units.
    """

    def __init__(self, features=64, hidden=(256,), order=None, dropout=0.0):
        self.order = np.arange(features) if order is None else np.asarray(order)
        rank = np.argsort(self.order)                                       # rank[d]: how many come before input d
        layers, seen = [], rank                                             # a unit has seen the inputs of rank <= seen
        for size in hidden:
            units = np.arange(size) % max(1, features - 1)
            layers += [MaskedLinear(units[:, None] >= seen), ReLU(), Dropout(dropout)]
            seen = units
        self.layers = Sequential(*layers, MaskedLinear(rank[:, None] > seen))

    def forward(self, x):
        return self.layers(x)

    def log_prob(self, x):
        """ln p(x) in nats (N,), exact."""
        return Bernoulli(self(x)).log_prob(x).sum(axis=1)

    def sample(self, n):
        """n draws (n, D) of zeros and ones, outside the graph: one pass of the network for each of the D numbers."""
        x = zeros(n, len(self.order))
        with no_grad():
            for d in self.order:
                x[:, d] = Bernoulli(self(x)[:, d]).sample()
        return x
