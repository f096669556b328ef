"""Pictures that are functions of the plane: brightness, slope and curvature are known at every point, not only at pixels.

Photographs have edges, and about as much contrast in every octave of frequencies. A painting has both: waves whose lengths
are spread evenly over the octaves, and discs with a soft edge. Both can be differentiated with a pencil.

The picture is [-1, 1]^2, x to the right and y downwards; 0 is black, 1 is white.
"""
import numpy as np

from .. import backend


class Painting:
    """scale (sum of a cos(k . p + phase) + sum of h / (1 + exp((|p - c| - r) / softness))) + shift.

    `waves`: rows (kx, ky, phase, a); `discs`: rows (cx, cy, r, h). Scaled such that 256 x 256 pixels span 0..1.
    """

    def __init__(self, waves, discs, softness=0.04):
        self.waves, self.discs = np.asarray(waves, np.float64).reshape(-1, 4), np.asarray(discs, np.float64).reshape(-1, 4)
        if not softness > 0:
            raise ValueError(f"Painting: got softness {softness}, expected a positive number")
        self.softness, self.scale, self.shift = softness, 1.0, 0.0
        values = self.fields(pixel_centres(256))[0]
        low, high = values.min(), values.max()
        if low < high:
            self.scale, self.shift = 1 / (high - low), -low / (high - low)

    def fields(self, points):
        """Brightness (N,), its gradient (N, 2) and its Laplacian (N,) at `points` (N, 2), float64."""
        points = np.asarray(points, np.float64)
        parts = [self._waves(points), self._discs(points)]
        value, gradient, laplacian = (self.scale * (a + b) for a, b in zip(*parts))
        return value + self.shift, gradient, laplacian

    def draw(self, size):
        """The brightness at the centres of size x size pixels, float32 (size, size)."""
        return self.fields(pixel_centres(size))[0].reshape(size, size).astype(np.float32)

    def _waves(self, points):
        k, phase, a = self.waves[:, :2], self.waves[:, 2], self.waves[:, 3]
        angle = points @ k.T + phase                                            # (N, K)
        value = a * np.cos(angle)
        return value.sum(axis=1), -(a * np.sin(angle)) @ k, -value @ (k ** 2).sum(axis=1)

    def _discs(self, points):
        """s = 1 / (1 + e^u) with u = (|p - c| - r) / w:   s' = -s (1 - s) / w,  s'' = s (1 - s) (1 - 2 s) / w^2."""
        r, h, w = self.discs[:, 2], self.discs[:, 3], self.softness
        out = points[:, None] - self.discs[:, :2]                               # (N, K, 2)
        distance = np.maximum(np.linalg.norm(out, axis=2), 1e-9)                # the middle has no direction, and no slope
        s = (1 - np.tanh((distance - r) / (2 * w))) / 2                         # does not overflow
        first, second = -s * (1 - s) / w, s * (1 - s) * (1 - 2 * s) / w ** 2
        gradient = (h * first / distance)[:, :, None] * out
        return s @ h, gradient.sum(axis=1), (second + first / distance) @ h     # f'' + f' / distance, in the plane


def random_painting(waves=32, discs=5, lowest=3.0, highest=40.0, softness=0.04):
    """A painting of waves in random directions, `lowest`..`highest` radians per unit, as many in each octave, and random
    discs."""
    rng = backend.generator()
    frequency, direction = np.geomspace(lowest, highest, waves), rng.uniform(0, np.pi, waves)
    k = frequency * np.stack([np.cos(direction), np.sin(direction)])
    strength = np.full(waves, 0.5 * np.sqrt(2 / max(waves, 1)))                 # together a deviation of 0.5; a disc is 1 high
    some_waves = np.stack([*k, rng.uniform(0, 2 * np.pi, waves), strength], axis=1)
    some_discs = np.stack([*rng.uniform(-0.8, 0.8, (2, discs)), rng.uniform(0.15, 0.5, discs), rng.choice([-1.0, 1.0], discs)],
                          axis=1)
    return Painting(some_waves, some_discs, softness)


def pixel_centres(size):
    """The centres (x, y) of size x size pixels that fill [-1, 1]^2, row by row: float64 (size^2, 2)."""
    at = (np.arange(size) + 0.5) * 2 / size - 1
    return np.stack(np.meshgrid(at, at), axis=-1).reshape(-1, 2)
