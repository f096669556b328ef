"""autograd: plain NumPy code, differentiated."""
import autograd
import autograd.numpy

from ..workloads import normal
from .library import Library, adam

try:
    from autograd.scipy import special          # needs scipy, which is not autograd's dependency
except ImportError:
    special = None


class Autograd(Library):
    np = autograd.numpy

    def both_ways(self, function, *arrays):
        gy = normal(*function(*arrays).shape, seed=1)

        def of_tuple(xs):
            return function(*xs)

        def run():
            vjp, y = autograd.make_vjp(of_tuple)(arrays)
            return [y, *vjp(gy)]

        return run

    def training(self, model, loss_of):
        parameters, state = [p.copy() for p in model.parameters()], {}

        def loss(values):
            model.set_parameters(values)
            return loss_of(model)

        loss(parameters)                # NotOffered here, not in the middle of a run
        value_and_grad = autograd.value_and_grad(loss)

        def run():
            value, gradients = value_and_grad(parameters)
            adam(parameters, gradients, state)
            return [value, *model.answers(gradients)]

        return run

    def cut(self, x, parts):
        return self.np.split(x, parts, axis=1)

    if special:
        def erf(self, x):
            return special.erf(x)

        def logsumexp(self, x):
            return special.logsumexp(x, axis=-1)

    def sigmoid(self, x):
        return 1 / (1 + self.np.exp(-x))


LIBRARY = Autograd()
