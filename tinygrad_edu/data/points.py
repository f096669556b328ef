"""Small problems whose answer is known: two for the perceptron, which can solve only one, and one for linear regression."""
import numpy as np

from .. import backend


def xor():
    """The four corners of the unit square, float32 (4, 2), and whether the coordinates differ, int64 (4,)."""
    return np.array([[0, 0], [0, 1], [1, 0], [1, 1]], np.float32), np.array([0, 1, 1, 0])


def separable(n, margin=0.1):
    """Points in [-1, 1]^2 that a line through the origin separates with room to spare.

    Returns points float32 (n, 2), labels -1 or +1 int64 (n,) and the unit vector w float64 (2,) of the true separator:
    label * (w . point) >= margin for every point. `margin` in (0, 1).
    """
    if not 0 < margin < 1:
        raise ValueError(f"separable: got margin {margin}, expected a number between 0 and 1")
    angle = backend.generator().uniform(0, 2 * np.pi)
    w = np.array([np.cos(angle), np.sin(angle)])

    points = np.empty((0, 2), np.float32)
    while len(points) < n:                                              # draw again until enough lie outside the margin
        drawn = backend.generator().uniform(-1, 1, (max(n, 64), 2)).astype(np.float32)
        points = np.concatenate([points, drawn[abs(drawn @ w) >= margin]])[:n]
    return points, np.where(points @ w > 0, 1, -1), w


def sparse_linear(n, features, nonzero, noise=0.1):
    """Linear regression in which only some features count: y = x w + noise e with x and e standard normal.

    Returns x float64 (n, features), y float64 (n,) and w float64 (features,), of which `nonzero` entries at random places
    are 1..2 or -2..-1 and the others 0.
    """
    if not 0 <= nonzero <= features:
        raise ValueError(f"sparse_linear: got {nonzero} nonzero of {features} features, expected no more than there are")
    rng = backend.generator()
    w = np.zeros(features)
    w[rng.permutation(features)[:nonzero]] = rng.uniform(1, 2, nonzero) * rng.choice([-1, 1], nonzero)
    x = rng.standard_normal((n, features))
    return x, x @ w + noise * rng.standard_normal(n), w
