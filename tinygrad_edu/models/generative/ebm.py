"""Energy-based models: any network with one number out is a density, ln p(x) = -E(x) - ln Z, if only we knew Z.

G. Hinton 2002, Training products of experts by minimizing contrastive divergence. Y. Du, I. Mordatch 2019, Implicit generation
and generalization in energy-based models, arXiv:1903.08689. Grathwohl et al. 2019, Your classifier is secretly an energy based
model, 1912.03263 (JEM).

Z does not depend on x, so draws need only the slope of E (Langevin 1908; Roberts & Tweedie 1996 for MALA). And of the
likelihood's gradient, Z leaves an expectation:

    d/dw mean ln p(data) = -E_data dE/dw + E_model dE/dw

Push the energy down at the data and up at the model's own draws. Contrastive divergence draws with a short chain. Du &
Mordatch let the chains go on from step to step: a buffer keeps their ends. Building block: foundations/mlp.
"""
import math

from ... import backend
from ...autograd import enable_grad, grad, no_grad
from ...creation import randn
from ...data.paintings import pixel_centres
from ...nn import Module, SiLU
from ...ops import exp, logsumexp, minimum, square, where
from ...tensor import Tensor
from ..foundations.mlp import MLP


class Energy(Module):
    """x (N, features) -> E(x) = |x|^2 / (2 width^2) + network(x), (N,), smooth, for the draws follow its slope.

    Far away a network of this kind grows no faster than a straight line; the bowl does, so Z is finite whatever is learned.
    """

    def __init__(self, features=2, hidden=(128, 128), width=2.0):
        self.network, self.width = MLP(features, *hidden, 1, activation=SiLU), width

    def forward(self, x):
        return square(x).sum(axis=1) / (2 * self.width ** 2) + self.network(x)[:, 0]


class JointEnergy(Module):
    """A classifier's logits f(x) (N, K) as a density of x: E(x) = -ln sum_k exp f(x)_k.

    exp f(x)_k is the density of x and class k up to Z. Its softmax, the probability of the class, is what it was: softmax
    does not see a number added to all logits, and that number is what E is free to learn.
    """

    def __init__(self, classifier):
        self.classifier = classifier

    def forward(self, x):
        return -logsumexp(self.classifier(x), axis=1)


# ---------------------------------------------------------------- drawing

def energy_and_slope(energy, x):
    """E(x) (N,) and dE/dx (N, D), outside the graph."""
    with enable_grad():
        x = x.detach().requires_grad_()
        e = energy(x)
        (slope,) = grad(e.sum(), x)                                         # rows do not see each other
    return e.detach(), slope


@no_grad()
def langevin(energy, x, steps, step, noise=None):
    """`steps` times x <- x - step dE/dx + noise z, z standard normal.

    With noise = sqrt(2 step), the default, and steps small enough, the draws become those of exp(-E) / Z. Less noise is a
    lower temperature: pictures are usually drawn so, because it is faster, and then they are not draws of the model.
    """
    noise = math.sqrt(2 * step) if noise is None else noise
    for _ in range(steps):
        _, slope = energy_and_slope(energy, x)
        x = x - step * slope + noise * randn(*x.shape, dtype=x.dtype)
    return x


@no_grad()
def mala(energy, x, steps, step):
    """Langevin with a judge: (x, share of the proposals accepted). The draws are those of exp(-E) / Z at any step size.

    y is accepted with probability min(1, p(y) q(x|y) / p(x) q(y|x)), q(y|x) = N(y; x - step dE/dx, 2 step); else x stays.
    """
    def log_q(y, x, slope):
        return -square(y - x + step * slope).sum(axis=1) / (4 * step)

    accepted = 0.0
    e, slope = energy_and_slope(energy, x)
    for _ in range(steps):
        y = x - step * slope + math.sqrt(2 * step) * randn(*x.shape, dtype=x.dtype)
        new_e, new_slope = energy_and_slope(energy, y)
        log_ratio = e - new_e + log_q(x, y, new_slope) - log_q(y, x, slope)
        yes = Tensor(backend.generator().random(len(x)), dtype=x.dtype, device=x.device) < exp(minimum(log_ratio, 0.0))

        accepted += yes.astype(x.dtype).mean().item() / steps
        e, x, slope = where(yes, new_e, e), where(yes[:, None], y, x), where(yes[:, None], new_slope, slope)
    return x, accepted


class ReplayBuffer:
    """The ends of the chains so far, float32 (size, *shape) on the host. `birth(n)`: n new starting points, an array.

    A batch of starts is mostly old ends; a share `reborn` of them is new, so that chains stuck somewhere do not stay for ever.
    """

    def __init__(self, size, birth, reborn=0.05):
        self.points, self.birth, self.reborn = birth(size), birth, reborn

    def draw(self, n):
        """n starts (n, *shape), a Tensor; `keep` puts the ends back in their places."""
        rng = backend.generator()
        self.places = rng.choice(len(self.points), n, replace=False)
        start = self.points[self.places]
        new = rng.random(n) < self.reborn
        start[new] = self.birth(int(new.sum()))
        return Tensor(start)

    def keep(self, ends):
        self.points[self.places] = backend.to_numpy(ends.data)


# ---------------------------------------------------------------- learning

def contrastive_loss(energy, data, drawn, alpha=0.0):
    """mean E(data) - mean E(drawn) + alpha (mean E(data)^2 + mean E(drawn)^2); `drawn` is a constant.

    If it is drawn from the model, the first two have the gradient of -ln p(data). alpha holds the energies near 0: without it
    only their difference is asked for, and both may run away.
    """
    down, up = energy(data), energy(drawn.detach())
    return down.mean() - up.mean() + alpha * (square(down).mean() + square(up).mean())


@no_grad()
def log_partition(energy, points, cell):
    """ln Z = ln of the sum of exp(-E) over a grid of points (M, D), times the volume `cell` of one of its cells."""
    return logsumexp(-energy(points), axis=0).item() + math.log(cell)


def grid(box, resolution):
    """The middles of resolution^2 cells of [-box, box]^2, float32 (resolution^2, 2), and the area of a cell."""
    return Tensor(box * pixel_centres(resolution), dtype="float32"), (2 * box / resolution) ** 2
