"""The update rules, in order of increasing complexity: w weights, g gradient, t the number of the step, lr the step size.

Read downwards, each rule answers a complaint about the one above it.
"""
import math

from .. import backend
from .fused import fused_adam
from .optimizer import Optimizer


class SGD(Optimizer):
    """w <- w - lr g: downhill. With momentum mu, a heavy ball: v <- mu v + g, w <- w - lr v (Polyak 1964).

    nesterov looks ahead: the step is g + mu v. weight_decay adds weight_decay * w to g.
    """
    state_names = ("v",)

    def __init__(self, parameters, lr=1e-3, momentum=0.0, nesterov=False, weight_decay=0.0):
        super().__init__(parameters, lr=lr, momentum=momentum, nesterov=nesterov, weight_decay=weight_decay)

    def state_of(self, options):
        return self.state_names if options["momentum"] else ()

    def update(self, w, g, state, t, options):
        mu = options["momentum"]
        g = _decayed(g, w, options)
        if mu:
            v = state["v"]
            v *= mu
            v += g
            g = g + mu * v if options["nesterov"] else v
        w -= options["lr"] * g


class RMSprop(Optimizer):
    """Steps of equal size in every coordinate: s <- alpha s + (1 - alpha) g^2, w <- w - lr g / (sqrt(s) + eps).

    Tieleman & Hinton 2012, lecture 6.5.
    """
    state_names = ("s",)

    def __init__(self, parameters, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay)

    def update(self, w, g, state, t, options):
        s, alpha = state["s"], options["alpha"]
        g = _decayed(g, w, options)
        s *= alpha
        s += (1 - alpha) * g * g
        w -= options["lr"] * g / (backend.array_module(w).sqrt(s) + options["eps"])


class Adam(Optimizer):
    """Momentum and RMSprop together, both corrected for starting at zero. Kingma & Ba 2014, arXiv:1412.6980.

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,   w <- w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)
    """
    state_names = ("m", "v")

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def update(self, w, g, state, t, options):
        m, v, (b1, b2) = state["m"], state["v"], options["betas"]
        g = _decayed(g, w, options)
        m *= b1
        m += (1 - b1) * g
        v *= b2
        v += (1 - b2) * g * g
        root = backend.array_module(w).sqrt(v)
        root /= math.sqrt(1 - b2 ** t)
        root += options["eps"]
        w -= options["lr"] / (1 - b1 ** t) * m / root

    def update_all(self, w, g, state, t, options):
        if not fused_adam(w, g, state, t, options):
            super().update_all(w, g, state, t, options)


class AdamW(Adam):
    """Adam whose weight decay acts on the weights, not on the gradient: w <- w - lr weight_decay w, then Adam.

    Loshchilov & Hutter 2017, arXiv:1711.05101.
    """

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2):
        super().__init__(parameters, lr, betas, eps, weight_decay)

    def update_all(self, w, g, state, t, options):
        w *= 1 - options["lr"] * options["weight_decay"]
        super().update_all(w, g, state, t, {**options, "weight_decay": 0.0})


def _decayed(g, w, options):
    return g + options["weight_decay"] * w if options["weight_decay"] else g
