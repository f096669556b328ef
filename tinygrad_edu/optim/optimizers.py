"""The update rules, in order of increasing complexity: w weights, g gradient, t the number of the step, lr the step size.

Read downwards, each rule answers a complaint about one above it.
"""
import math

from .. import backend
from .fused import fused_adam
from .optimizer import Optimizer


class SGD(Optimizer):
    """w <- w - lr g: downhill. With momentum mu, a heavy ball: v <- mu v + (1 - dampening) g, w <- w - lr v (Polyak 1964).

    v begins as g. nesterov looks ahead: the step is g + mu v. weight_decay adds weight_decay * w to g. maximize: uphill.
    """
    state_names = ("v",)

    def __init__(self, parameters, lr=1e-3, momentum=0.0, dampening=0.0, weight_decay=0.0, nesterov=False, *, maximize=False):
        if nesterov and (not momentum or dampening):
            raise ValueError(f"SGD: nesterov got momentum {momentum} and dampening {dampening}, expected the first only")
        super().__init__(parameters, lr=lr, momentum=momentum, dampening=dampening, weight_decay=weight_decay,
                         nesterov=nesterov, maximize=maximize)

    def state_of(self, options):
        return self.state_names if options["momentum"] else ()

    def update(self, w, g, state, t, options):
        mu = options["momentum"]
        g = _decayed(-g if options["maximize"] else g, w, options)
        if mu:
            v = state["v"]
            v *= mu
            v += g if t == 1 else (1 - options["dampening"]) * g
            g = g + mu * v if options["nesterov"] else v
        w -= options["lr"] * g


class Adagrad(Optimizer):
    """"One lr cannot suit all coordinates": s <- s + g^2, w <- w - lr g / (sqrt(s) + eps); rare features take long steps.

    lr_decay: lr is divided by 1 + (t - 1) lr_decay. Duchi, Hazan & Singer 2011.
    """
    state_names = ("s",)

    def __init__(self, parameters, lr=1e-2, lr_decay=0.0, weight_decay=0.0, initial_accumulator_value=0.0, eps=1e-10):
        super().__init__(parameters, lr=lr, lr_decay=lr_decay, weight_decay=weight_decay,
                         initial_accumulator_value=initial_accumulator_value, eps=eps)

    def start_of(self, name, options):
        return options["initial_accumulator_value"]

    def update(self, w, g, state, t, options):
        s = state["s"]
        g = _decayed(g, w, options)
        s += g * g
        w -= options["lr"] / (1 + (t - 1) * options["lr_decay"]) * g / (backend.array_module(w).sqrt(s) + options["eps"])


class RMSprop(Optimizer):
    """"Adagrad only slows down": average instead of adding. s <- alpha s + (1 - alpha) g^2, w <- w - lr g / (sqrt(s) + eps).

    centered: s less the square of the averaged g, the variance. momentum mu: v <- mu v + g / (sqrt(s) + eps), w <- w - lr v.
    Tieleman & Hinton 2012, lecture 6.5.
    """
    state_names = ("s", "mean", "v")

    def __init__(self, parameters, lr=1e-2, alpha=0.99, eps=1e-8, weight_decay=0.0, momentum=0.0, centered=False):
        super().__init__(parameters, lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum,
                         centered=centered)

    def state_of(self, options):
        return ("s",) + ("mean",) * bool(options["centered"]) + ("v",) * bool(options["momentum"])

    def update(self, w, g, state, t, options):
        s, alpha = state["s"], options["alpha"]
        g = _decayed(g, w, options)
        _average(s, alpha, g * g)
        if options["centered"]:
            _average(state["mean"], alpha, g)
            s = s - state["mean"] * state["mean"]
        step = g / (backend.array_module(w).sqrt(s) + options["eps"])
        if options["momentum"]:
            state["v"] *= options["momentum"]
            state["v"] += step
            step = state["v"]
        w -= options["lr"] * step


class Adadelta(Optimizer):
    """"A step should have the unit of w, and no lr": d = sqrt(D + eps) / sqrt(s + eps) g, with D an average of d^2.

    s <- rho s + (1 - rho) g^2,   w <- w - lr d.   Zeiler 2012, arXiv:1212.5701.
    """
    state_names = ("s", "D")

    def __init__(self, parameters, lr=1.0, rho=0.9, eps=1e-6, weight_decay=0.0):
        super().__init__(parameters, lr=lr, rho=rho, eps=eps, weight_decay=weight_decay)

    def update(self, w, g, state, t, options):
        s, D, rho, eps, xp = state["s"], state["D"], options["rho"], options["eps"], backend.array_module(w)
        g = _decayed(g, w, options)
        _average(s, rho, g * g)
        d = xp.sqrt(D + eps) / xp.sqrt(s + eps) * g
        _average(D, rho, d * d)
        w -= options["lr"] * d


class Adam(Optimizer):
    """Momentum and RMSprop together, both corrected for starting at zero. Kingma & Ba 2014, arXiv:1412.6980.

    m <- b1 m + (1 - b1) g,   v <- b2 v + (1 - b2) g^2,   w <- w - lr (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + eps)

    amsgrad: the largest v so far instead of v, so that steps cannot grow again. Reddi et al. 2018, arXiv:1904.09237.
    """
    state_names = ("m", "v", "v_max")

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, amsgrad=False):
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, amsgrad=amsgrad)

    def state_of(self, options):
        return self.state_names if options["amsgrad"] else self.state_names[:2]

    def update(self, w, g, state, t, options):
        (b1, b2), xp = options["betas"], backend.array_module(w)
        m, v = _moments(_decayed(g, w, options), state, options)
        if options["amsgrad"]:
            v = xp.maximum(state["v_max"], v, out=state["v_max"])
        root, c = xp.sqrt(v), math.sqrt(1 - b2 ** t)            # both sides of the last fraction times c: a pass less
        root += options["eps"] * c
        w -= options["lr"] * c / (1 - b1 ** t) * m / root

    def update_all(self, w, g, state, t, options):
        if options["amsgrad"] or not fused_adam(w, g, state, t, options):
            super().update_all(w, g, state, t, options)


class AdamW(Adam):
    """"Adam divides the decay by sqrt(v), too": let it act on the weights. w <- w - lr weight_decay w, then Adam without it.

    Loshchilov & Hutter 2017, arXiv:1711.05101.
    """

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=1e-2, amsgrad=False):
        super().__init__(parameters, lr, betas, eps, weight_decay, amsgrad)

    def update_all(self, w, g, state, t, options):
        w *= 1 - options["lr"] * options["weight_decay"]
        super().update_all(w, g, state, t, {**options, "weight_decay": 0.0})


class Adamax(Optimizer):
    """Adam in the limit of a higher norm: u <- max(b2 u, |g| + eps), w <- w - lr / (1 - b1^t) m / u. Its section 7.1."""
    state_names = ("m", "u")

    def __init__(self, parameters, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def update(self, w, g, state, t, options):
        m, u, (b1, b2), xp = state["m"], state["u"], options["betas"], backend.array_module(w)
        g = _decayed(g, w, options)
        _average(m, b1, g)
        u *= b2
        xp.maximum(u, abs(g) + options["eps"], out=u)
        w -= options["lr"] / (1 - b1 ** t) * m / u


class NAdam(Optimizer):
    """"Adam's momentum is Polyak's": take Nesterov's. mu_t = b1 (1 - 0.96^(t momentum_decay) / 2), M_t = mu_1 .. mu_t,

    w <- w - lr (mu_{t+1} m / (1 - M_{t+1}) + (1 - mu_t) g / (1 - M_t)) / (sqrt(v / (1 - b2^t)) + eps).   Dozat 2016.
    """
    state_names = ("m", "v", "M")               # M: one number, kept for every weight because their t may differ

    def __init__(self, parameters, lr=2e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0, momentum_decay=4e-3):
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay, momentum_decay=momentum_decay)

    def start_of(self, name, options):
        return 1.0 if name == "M" else 0.0

    def update(self, w, g, state, t, options):
        M, (b1, b2) = state["M"], options["betas"]
        g = _decayed(g, w, options)
        m, v = _moments(g, state, options)
        mu, mu_next = (b1 * (1 - 0.5 * 0.96 ** (n * options["momentum_decay"])) for n in (t, t + 1))
        M *= mu
        ahead = mu_next * m / (1 - M * mu_next) + (1 - mu) * g / (1 - M)
        w -= options["lr"] * ahead / (backend.array_module(w).sqrt(v / (1 - b2 ** t)) + options["eps"])


class RAdam(Optimizer):
    """"Adam's v is a guess from few g at first": rho counts them; up to 5 plain momentum, then Adam's step times some r < 1.

    rho_inf = 2 / (1 - b2) - 1,   rho = rho_inf - 2 t b2^t / (1 - b2^t).   Liu et al. 2019, arXiv:1908.03265.
    """
    state_names = ("m", "v")

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-8, weight_decay=0.0):
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def update(self, w, g, state, t, options):
        b1, b2 = options["betas"]
        m, v = _moments(_decayed(g, w, options), state, options)
        step = options["lr"] / (1 - b1 ** t) * m
        rho_inf = 2 / (1 - b2) - 1
        rho = rho_inf - 2 * t * b2 ** t / (1 - b2 ** t)
        if rho > 5:
            r = math.sqrt((rho - 4) * (rho - 2) * rho_inf / ((rho_inf - 4) * (rho_inf - 2) * rho))
            step *= r * math.sqrt(1 - b2 ** t) / (backend.array_module(w).sqrt(v) + options["eps"])
        w -= step


class LAMB(Optimizer):
    """"A large batch needs a large lr, which some layer cannot bear": let each layer move in proportion to its own norm.

    u = AdamW's step, decay included;   w <- w - lr (|w| / |u|) u for each parameter, the ratio being 1 where a norm is 0.
    You et al. 2019, arXiv:1904.00962.
    """
    state_names = ("m", "v")
    elementwise = False

    def __init__(self, parameters, lr=1e-3, betas=(0.9, 0.999), eps=1e-6, weight_decay=1e-2):
        super().__init__(parameters, lr=lr, betas=betas, eps=eps, weight_decay=weight_decay)

    def update(self, w, g, state, t, options):
        (b1, b2), xp = options["betas"], backend.array_module(w)
        m, v = _moments(g, state, options)
        u = m / (1 - b1 ** t) / (xp.sqrt(v / (1 - b2 ** t)) + options["eps"]) + options["weight_decay"] * w
        norm_w, norm_u = xp.sqrt((w * w).sum()), xp.sqrt((u * u).sum())
        trust = xp.where((norm_w > 0) & (norm_u > 0), norm_w / xp.where(norm_u > 0, norm_u, 1), 1)
        w -= options["lr"] * trust.astype(w.dtype) * u


class Lion(Optimizer):
    """"Adam needs two moments": the sign of one does. w <- w - lr (sign(b1 m + (1 - b1) g) + weight_decay w),

    then m <- b2 m + (1 - b2) g. All steps have one size, so lr is about a tenth of Adam's. Chen et al. 2023, arXiv:2302.06675.
    """
    state_names = ("m",)

    def __init__(self, parameters, lr=1e-4, betas=(0.9, 0.99), weight_decay=0.0):
        super().__init__(parameters, lr=lr, betas=betas, weight_decay=weight_decay)

    def update(self, w, g, state, t, options):
        m, (b1, b2) = state["m"], options["betas"]
        w *= 1 - options["lr"] * options["weight_decay"]
        w -= options["lr"] * backend.array_module(w).sign(b1 * m + (1 - b1) * g)
        _average(m, b2, g)


def _decayed(g, w, options):
    return g + options["weight_decay"] * w if options["weight_decay"] else g


def _average(average, b, x):
    """average <- b average + (1 - b) x"""
    average *= b
    average += (1 - b) * x


def _moments(g, state, options):
    """The averages m of g and v of g^2 after this step."""
    m, v, (b1, b2) = state["m"], state["v"], options["betas"]
    _average(m, b1, g)
    _average(v, b2, g * g)
    return m, v
