"""SIREN: Sitzmann, Martel, Bergman, Lindell & Wetzstein 2020, "Implicit neural representations with periodic activation
functions", arXiv:2006.09661.

A picture as a network: a place (x, y) goes in, its brightness comes out. With ReLU such a network is a folded sheet, blurred
where the picture is fine, and its second derivative is 0. With sin(omega (W x + b)) in place of relu(W x + b) it draws fine
detail, and its derivatives are networks of sines again. omega sets the finest detail that it starts with; the weights must
start so that no layer's sines get all calm or all wild (see `Siren`). Left out: hypernetworks, video, sound.
"""
import math

from ... import ops
from ...autograd import grad
from ...functional import linear
from ...nn import Linear, Module, init


class Siren(Module):
    """Places (N, in_features) -> answers (N, out_features): `depth` layers of `width` sines, and a last layer without.

    W of the first layer is U(-1/in, 1/in), its phases omega b are U(-pi, pi). All other W are U(-c, c), c = sqrt(6/fan_in)
    / omega.

    Why sqrt 6. Let the omega (W x)_i of a layer have variance v, roughly normal. Their sines have mean square (1 - e^{-2v})
    / 2, and the next layer sums fan_in of them, times omega^2 c^2 / 3 = 2 / fan_in: the variance is 1 - e^{-2v}. Whatever v
    was, it moves towards v = 1 - e^{-2v}, that is 0.797, and the sines towards a deviation of sqrt(v / 2) = 0.631, in any
    depth.
    """

    def __init__(self, in_features=2, width=64, depth=3, out_features=1, omega=30.0):
        sizes = [in_features] + [width] * depth
        self.layers = [Linear(a, b) for a, b in zip(sizes, sizes[1:])]
        self.last = Linear(width, out_features)
        self.omega = omega
        for layer in self.layers + [self.last]:
            bound = math.sqrt(6 / layer.in_features) / omega
            init.uniform_(layer.weight, -bound, bound)
            init.zeros_(layer.bias)
        init.uniform_(self.layers[0].weight, -1 / in_features, 1 / in_features)
        init.uniform_(self.layers[0].bias, -math.pi / omega, math.pi / omega)

    def sines(self, x):
        """What each layer of sines answers, a list of (N, width)."""
        answers = []
        for layer in self.layers:
            x = ops.sin(linear(x, self.omega * layer.weight, self.omega * layer.bias))          # (N, width)
            answers.append(x)
        return answers

    def forward(self, x):
        return self.last(self.sines(x)[-1])


def gradient(y, x):
    """dy/dx of answers y (N, 1) to places x (N, D) that require grad: (N, D), and it can be differentiated again.

    Each answer depends on its own place only, so the gradient of the sum has each place's own in its row.
    """
    return grad(y.sum(), x, create_graph=True)[0]


def laplacian(g, x):
    """The sum of the second derivatives in each direction, from the gradient g (N, D) at places x: (N,)."""
    total = 0
    for i in range(x.shape[1]):
        slope = g[:, i] + 0 * x[:, i]               # a folded sheet's slope does not depend on the place: its derivative is 0
        total = total + grad(slope.sum(), x, create_graph=True)[0][:, i]
    return total
