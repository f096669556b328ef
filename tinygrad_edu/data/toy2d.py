"""Densities in the plane that know the truth about themselves.

Each has `sample(n)`, `log_density(points)` and `entropy()`. The expected loss of a model in nats is never below the
entropy, so a lesson that fits one can say how far from perfect it is. All but the checkerboard are mixtures of round
Gaussians,

    p(x) = sum_k w_k N(x; c_k, sigma^2 I).

A curve c(t) with noise, t uniform on [0, 1], is a mixture of infinitely many: p(x) is the integral of
N(x; c(t), sigma^2 I) over t, which Gauss-Legendre quadrature turns back into a finite sum with centres c(t_k).
"""
import copy
import math

import numpy as np

from .. import backend

BLOCK = 1 << 20            # at most so many pairs of a point and a centre at once: 8 MiB an array
NODES = 8                  # Gauss-Legendre nodes for each piece of curve no longer than the noise


class Plane:
    """A density in the plane. A subclass has draw(n) and log_density(points)."""

    def sample(self, n, dtype=np.float32):
        """Points (n, 2), drawn from the library's generator."""
        return self.labelled(n, dtype)[0]

    def labelled(self, n, dtype=np.float32):
        """Points (n, 2) and, as int64 (n,), which component each one comes from."""
        points, component = self.draw(n)
        return points.astype(dtype), component

    def entropy(self, n=20_000):
        """-E[log p] in nats, estimated from n samples, and the standard error of the estimate."""
        surprise = -self.log_density(self.sample(n, np.float64))
        return float(surprise.mean()), float(surprise.std() / math.sqrt(n))


# ---------------------------------------------------------------- mixtures of points

class Mixture(Plane):
    """Round Gaussians of standard deviation `sigma` at `centres` (K, 2), as likely as `weights` (K,) say; else all equally."""

    def __init__(self, centres, sigma, weights=None):
        self.centres, self.sigma = np.asarray(centres, np.float64), _positive("sigma", sigma)
        share = np.ones(len(self.centres)) if weights is None else np.asarray(weights, np.float64)
        if share.shape != self.centres.shape[:1] or not (share > 0).all():
            raise ValueError(f"toy2d: got weights {weights}, expected {len(self.centres)} positive numbers")
        self.weights = share / share.sum()

    def draw(self, n):
        even = (self.weights == self.weights[0]).all()
        component = backend.generator().choice(len(self.centres), n, p=None if even else self.weights)
        return self.centres[component] + _noise(n, self.sigma), component

    def log_density(self, points):
        """log p at `points` (N, 2): float64 (N,)."""
        return _mixture_log_density(points, self.centres, self.weights, self.sigma)

    def noised(self, sigma):
        """The density of a sample plus noise N(0, sigma^2 I): the same centres with more width. It can be drawn from, too."""
        wider = copy.copy(self)
        wider.sigma = math.hypot(self.sigma, sigma)
        return wider


class EightGaussians(Mixture):
    """Eight Gaussians on a ring of radius 2. Entropy log 8 + log(2 pi e sigma^2) = 0.312 nats at sigma 0.1."""

    def __init__(self, sigma=0.1):
        angle = np.arange(8) * math.pi / 4
        super().__init__(2 * np.stack([np.cos(angle), np.sin(angle)], axis=1), sigma)


class Grid25(Mixture):
    """Twenty-five Gaussians on a 5 x 5 grid with step 2. Entropy 0.065 nats at sigma 0.05, 1.452 at 0.1."""

    def __init__(self, sigma=0.05):
        axis = np.arange(-4.0, 5.0, 2.0)
        super().__init__(np.stack(np.meshgrid(axis, axis), axis=-1).reshape(25, 2), sigma)


# ---------------------------------------------------------------- noisy curves

class Curves(Mixture):
    """Points uniform in the parameter t of one of several curves, plus Gaussian noise of standard deviation `noise`.

    `curves`: smooth functions from t in [0, 1], shape (M,), to points (M, 2), all equally likely. The density is that of a
    mixture with its centres on the curves, by quadrature; exact to 1e-8 within six noises of the curve.
    """

    def __init__(self, curves, noise):
        self.curves = curves
        nodes, weights = zip(*(_quadrature(curve, _positive("noise", noise)) for curve in curves))
        super().__init__(np.concatenate(nodes), noise, np.concatenate(weights))                # (K, 2), (K,)

    def draw(self, n):
        component = backend.generator().integers(len(self.curves), size=n)
        t = backend.generator().random(n)
        on_curve = np.zeros((n, 2))
        for k, curve in enumerate(self.curves):
            on_curve[component == k] = curve(t[component == k])

        return on_curve + _noise(n, self.sigma), component


class TwoMoons(Curves):
    """Two interleaved half circles of radius 1. Entropy 0.289 nats at noise 0.05, 1.007 at 0.1 (both within 0.002)."""

    def __init__(self, noise=0.1):
        super().__init__([lambda t: _circle(math.pi * t),
                          lambda t: np.array([1.0, 0.5]) - _circle(math.pi * t)], noise)


class Circles(Curves):
    """Concentric circles, equally likely whatever their radius. Entropy 0.607 nats by default."""

    def __init__(self, radii=(0.5, 1.0), noise=0.05):
        super().__init__([lambda t, r=r: r * _circle(2 * math.pi * t) for r in radii], noise)


class TwoSpirals(Curves):
    """Two arms r = 2 t, half a turn apart, each with `turns` full turns: denser in the middle. Entropy 1.889 nats."""

    def __init__(self, noise=0.1, turns=1.5):
        super().__init__([lambda t: 2 * t[:, None] * _circle(2 * math.pi * turns * t),
                          lambda t: -2 * t[:, None] * _circle(2 * math.pi * turns * t)], noise)


class SwissRoll(Curves):
    """One spiral r = a / 7, the angle a uniform from 1.5 pi to 4.5 pi: a rolled-up sheet. Entropy 1.637 nats."""

    def __init__(self, noise=0.1):
        super().__init__([lambda t: _swiss(1.5 * math.pi * (1 + 2 * t))], noise)


def _swiss(angle):
    return angle[:, None] / 7 * _circle(angle)


def _circle(angle):
    return np.stack([np.cos(angle), np.sin(angle)], axis=1)            # (M, 2)


def _quadrature(curve, noise):
    """Nodes (K, 2) on the curve and weights (K,): Gauss-Legendre on pieces no longer than the noise."""
    corners = curve(np.linspace(0, 1, 10_001))
    fastest = 10_000 * np.linalg.norm(np.diff(corners, axis=0), axis=1).max()          # arc length per unit of t
    pieces = math.ceil(fastest / noise)

    x, w = np.polynomial.legendre.leggauss(NODES)                                      # on [-1, 1], weights sum to 2
    t = (np.arange(pieces)[:, None] + (x + 1) / 2) / pieces                            # (pieces, NODES)
    return curve(t.ravel()), np.tile(w / 2 / pieces, pieces)


# ---------------------------------------------------------------- uniform

class Checkerboard(Plane):
    """Uniform on the eight dark unit squares of a 4 x 4 board over [-2, 2]^2. Entropy log 8 = 2.079 nats exactly."""

    def draw(self, n):
        component = backend.generator().integers(8, size=n)
        row = component // 2                                            # two dark squares in each row
        corner = np.stack([2 * (component % 2) + row % 2, row], axis=1) - 2.0

        # multiples of 2^-20, at the middle of their steps: exact in float32, so rounding never moves one over an edge
        inside = (backend.generator().integers(1 << 20, size=(n, 2)) + 0.5) / (1 << 20)
        return corner + inside, component

    def log_density(self, points):
        """-log 8 on a dark square, -inf elsewhere: float64 (N,)."""
        cell = np.floor(_points(points)) + 2
        dark = ((cell >= 0) & (cell < 4)).all(axis=1) & (cell.sum(axis=1) % 2 == 0)
        return np.where(dark, -math.log(8), -np.inf)


# ---------------------------------------------------------------- shared

def _positive(name, value):
    if not value > 0:
        raise ValueError(f"toy2d: got {name} {value}, expected a positive number (without noise there is no density)")
    return float(value)


def _noise(n, sigma):
    return sigma * backend.generator().standard_normal((n, 2))


def _points(points):
    points = backend.to_numpy(points).astype(np.float64)
    if points.ndim != 2 or points.shape[1] != 2:
        raise ValueError(f"log_density: got points of shape {points.shape}, expected (N, 2)")
    return points


def _mixture_log_density(points, centres, weights, sigma):
    """log sum_k w_k N(x; c_k, sigma^2 I) for every row x of `points`, a block of rows at a time."""
    points = _points(points)
    log_weights = np.log(weights) - math.log(2 * math.pi * sigma * sigma)         # with the Gaussian's constant
    rows = max(1, BLOCK // len(centres))

    result = np.empty(len(points))
    for start in range(0, len(points), rows):
        x = points[start:start + rows, None]                                           # (B, 1, 2)
        distance = (x[..., 0] - centres[:, 0]) ** 2 + (x[..., 1] - centres[:, 1]) ** 2     # (B, K)
        exponent = log_weights - distance / (2 * sigma * sigma)
        largest = exponent.max(axis=1)
        result[start:start + rows] = largest + np.log(np.exp(exponent - largest[:, None]).sum(axis=1))
    return result
