"""jax on the processor: the same NumPy code, differentiated and compiled as a whole by jax.jit."""
import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")

import jax
from jax import lax, numpy

from ..workloads import normal, parameters_and_gradients
from .library import Library


class Jax(Library):
    np = numpy
    sigmoid, relu, erf = (staticmethod(f) for f in (jax.nn.sigmoid, jax.nn.relu, jax.scipy.special.erf))
    softmax = staticmethod(jax.nn.softmax)

    def tensor(self, array, requires_grad=False):
        return numpy.asarray(array)

    def logsumexp(self, x):
        return jax.scipy.special.logsumexp(x, axis=-1)

    def both_ways(self, function, *arrays):
        arrays = [numpy.asarray(a) for a in arrays]
        gy = normal(*jax.eval_shape(function, *arrays).shape, seed=1)

        @jax.jit
        def value_and_gradients(gy, *xs):
            y, vjp = jax.vjp(function, *xs)
            return [y, *vjp(gy)]

        return lambda: jax.block_until_ready(value_and_gradients(gy, *arrays))

    def training(self, model, loss_of):
        parameters = [numpy.asarray(p) for p in model.parameters()]
        state = first_state(parameters)

        def loss(values):
            model.set_parameters(values)
            return loss_of(model)

        @jax.jit
        def step(t, parameters, ms, vs):
            value, gradients = jax.value_and_grad(loss)(parameters)
            return value, gradients, adam(t, parameters, gradients, ms, vs)

        def run():
            nonlocal state
            value, gradients, state = jax.block_until_ready(step(*state))
            return [value, *model.answers(gradients)]

        return run

    def build_adam(self, **sizes):
        parameters, gradients = ([numpy.asarray(a) for a in arrays] for arrays in parameters_and_gradients(**sizes))
        state = first_state(parameters)
        step = jax.jit(lambda t, parameters, ms, vs: adam(t, parameters, gradients, ms, vs, lr=1e-3))

        def run():
            nonlocal state
            state = jax.block_until_ready(step(*state))
            return state[1]

        return run

    def conv2d(self, x, weight, bias, stride=1, padding=0):
        y = lax.conv_general_dilated(x, weight, (stride, stride), [(padding, padding)] * 2)
        return y + bias[:, None, None]

    def lstm(self, x, h, c, weight_x, weight_h, bias):
        def step(state, projected):
            h, c = state
            i, f, g, o = numpy.split(projected + h @ weight_h.T, 4, axis=1)
            c = self.sigmoid(f) * c + self.sigmoid(i) * numpy.tanh(g)
            h = self.sigmoid(o) * numpy.tanh(c)
            return (h, c), h

        return [lax.scan(step, (h, c), x @ weight_x.T + bias)[1]]

    def gru(self, x, h, weight_x, weight_h, bias_x, bias_h):
        def step(h, projected):
            (rx, zx, nx), (rh, zh, nh) = (numpy.split(a, 3, axis=1) for a in (projected, h @ weight_h.T + bias_h))
            r, z = self.sigmoid(rx + rh), self.sigmoid(zx + zh)
            n = numpy.tanh(nx + r * nh)
            h = n + z * (h - n)
            return h, h

        return [lax.scan(step, h, x @ weight_x.T + bias_x)[1]]


def first_state(parameters):
    return 0.0, parameters, *([numpy.zeros_like(p) for p in parameters] for _ in range(2))


def adam(t, parameters, gradients, ms, vs, lr=1e-4, b1=0.9, b2=0.999, eps=1e-8):
    t = t + 1
    ms = [b1 * m + (1 - b1) * g for m, g in zip(ms, gradients)]
    vs = [b2 * v + (1 - b2) * g * g for v, g in zip(vs, gradients)]
    parameters = [p - lr / (1 - b1**t) * m / (numpy.sqrt(v / (1 - b2**t)) + eps) for p, m, v in zip(parameters, ms, vs)]
    return t, parameters, ms, vs


LIBRARY = Jax()
