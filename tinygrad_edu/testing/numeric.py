"""Floor 3: derivatives by differences, the independent witness against which every backward is held.

A function f of several arrays is looked at along a line, phi(t) = <u, f(x + t v)>, with a random cotangent u and a
random direction v. Two evaluations give one central difference whatever the size of x. Its error is h^2 (truncation)
plus 1e-16 / h (rounding): a V over the step h. Richardson's extrapolation removes the h^2; the step is the one where
two extrapolations agree best.
"""
import dataclasses

import numpy as np

from .. import backend
from ..autograd import grad
from ..tensor import Tensor

STEPS = 1e-2 * 0.25 ** np.arange(10)                        # 1e-2 .. 4e-8
_ROUND = np.finfo(np.float64).eps


class Problem:
    """A function and the point where it is checked.

    inputs    the arguments: float64 arrays (the operands), anything else as given (constants)
    floats    positions of the operands among them;  names: what to call each argument in a message
    """

    def __init__(self, function, inputs, names=None, caller="gradcheck"):
        self.function, self.caller = function, caller
        self.label = getattr(function, "__name__", type(function).__name__)
        self.names = names or [f"operand {i}" for i in range(len(inputs))]
        self.inputs = [_plain(x, name, caller) for x, name in zip(inputs, self.names)]
        self.floats = [i for i, x in enumerate(self.inputs) if _is_operand(x)]
        if not self.floats:
            types = ", ".join(type(x).__name__ for x in inputs)
            raise TypeError(f"{caller}: got inputs ({types}), expected at least one float64 operand")

    def operands(self):
        return [self.inputs[i] for i in self.floats]

    def run(self, arrays, requires_grad=False):
        """The operands as leaves around `arrays`, and the float outputs of the function of them."""
        xs = [Tensor._wrap(np.asarray(a)) for a in arrays]
        arguments = list(self.inputs)
        for i, x in zip(self.floats, xs):
            x.requires_grad = requires_grad
            arguments[i] = x
        answer = self.function(*arguments)
        ys = answer if isinstance(answer, (tuple, list)) else (answer,)
        for y in ys:
            if not isinstance(y, Tensor):
                raise TypeError(f"{self.caller}: {self.label} must return a Tensor or a tuple of them, "
                                f"got {type(y).__name__}; a function that leaves the graph has no gradient")
        return xs, [y for y in ys if y.dtype.kind == "f"]

    def along(self, directions, cotangents):
        """phi(t) = <u, f(x + t v)> as a function of t."""
        def phi(t):
            arrays = [x + t * v if t else x for x, v in zip(self.operands(), directions)]
            return float(sum(np.sum(u * y.data) for u, y in zip(cotangents, self.run(arrays)[1])))
        return phi

    def size(self, cotangents):
        """The size of the terms of phi: what its rounding errors are relative to."""
        return float(sum(np.sum(abs(u * y.data)) for u, y in zip(cotangents, self.run(self.operands())[1])))


def _plain(x, name, caller):
    """`x` as a float64 array if it is a float, else as it came."""
    kind = getattr(x, "dtype", None)
    if isinstance(x, float) and not isinstance(x, np.generic):
        return np.asarray(x)
    if kind is None or kind.kind != "f":
        return x
    if kind != np.float64:
        raise TypeError(f"{caller}: {name} is {kind}, expected float64: differences in {kind} have only "
                        f"{np.finfo(kind).precision // 2} good digits; pass it as .astype('float64')")
    return backend.to_numpy(x.data if isinstance(x, Tensor) else x)


def _is_operand(x):
    return isinstance(x, np.ndarray) and x.dtype == np.float64


# ---------------------------------------------------------------- one derivative along a line

@dataclasses.dataclass
class Slope:
    """phi'(0) with an estimate of its error, whether phi has a kink or a jump at 0 (one-sided slopes differ), and how large
    phi gets nearby, which counts where phi(0) happens to be 0."""
    value: float
    error: float
    kinked: bool
    size: float


def slope(phi, size):
    """phi'(0) by central differences over many steps, extrapolated; `size`: the size of the terms that phi sums."""
    with np.errstate(all="ignore"):
        ups, downs, here = np.array([phi(h) for h in STEPS]), np.array([phi(-h) for h in STEPS]), phi(0.0)
        central = (ups - downs) / (2 * STEPS)
        extrapolated = (16 * central[1:] - central[:-1]) / 15               # the steps shrink by 4, so h^2 by 16
        reach = np.fmax(size, np.fmax(abs(ups), abs(downs)))
        errors = abs(np.diff(extrapolated)) + _ROUND * reach[2:] / STEPS[2:]    # of truncation, and of rounding
        best = int(np.argmin(np.where(np.isfinite(errors), errors, np.inf)))
        kinked = _kinked(ups[-3:], downs[-3:], here, abs(central[-1]), size)
    return Slope(float(extrapolated[best + 1]), float(errors[best]), kinked, float(reach[2]))


def _kinked(ups, downs, here, slope_size, size):
    """At the three smallest steps: a gap between the one-sided slopes, or a jump of phi, that does not shrink."""
    steps = STEPS[-3:]
    bends, rises = abs(ups + downs - 2 * here), abs(ups - downs)        # smooth: ~ h^2 and ~ h
    if not np.isfinite(bends).all():
        return True
    noise = 1e3 * _ROUND * size
    kink = _stays(bends / steps) and bends[-1] / steps[-1] > 1e-5 * slope_size + noise / steps[-1]
    jump = any(_stays(change) and change[-1] > 1e-6 * size for change in (bends, rises))
    return bool(kink or jump)


def _stays(values):
    """Does a positive sequence neither grow nor shrink?"""
    return all(0.7 * a < b < 1.5 * a for a, b in zip(values, values[1:]))


# ---------------------------------------------------------------- element by element

def elements(problem, operand, cotangents, places):
    """The slope of phi in each of `places` (flat indices) of one operand, as a list of Slopes."""
    size = problem.size(cotangents)
    slopes = []
    for place in places:
        directions = [np.zeros(x.shape) for x in problem.operands()]
        directions[operand].reshape(-1)[place] = 1
        slopes.append(slope(problem.along(directions, cotangents), size))
    return slopes


def numerical_gradient(function, *inputs, operand=0, cotangents=None):
    """d<u, f(inputs)> / d(float operand number `operand`), element by element by extrapolated central differences.

    `cotangents`: u, one array for each float output; None for ones, which gives the gradient of the sum.
    """
    problem = Problem(function, inputs, caller="numerical_gradient")
    if cotangents is None:
        cotangents = [np.ones(y.shape) for y in problem.run(problem.operands())[1]]
    x = problem.operands()[operand]
    slopes = elements(problem, operand, cotangents, range(x.size))
    return np.array([s.value for s in slopes]).reshape(x.shape)


def derivative_errors(function, x, steps, seed=0):
    """The V: |central difference - gradient| / |gradient| along one random direction of x, for each step size h.

    Left of the minimum rounding (1e-16 / h) rules, right of it truncation (h^2): it lies near h = (1e-16)^(1/3) = 6e-6.
    """
    rng = np.random.default_rng(seed)
    problem = Problem(function, (x,), caller="derivative_errors")
    (leaf,), (y,) = problem.run(problem.operands(), requires_grad=True)
    u, v = rng.standard_normal(y.shape), rng.standard_normal(leaf.shape)
    (g,) = grad(y, leaf, Tensor(u, device="cpu"))
    exact, phi = np.sum(g.data * v), problem.along([v], [u])
    return np.array([abs((phi(h) - phi(-h)) / (2 * h) - exact) / abs(exact) for h in steps])
