"""Scenes in space whose pictures are known exactly: balls of fog, and cameras around them.

Light that crosses fog of density sigma on a way of length d is kept with probability exp(-sigma d). Each ball has one density
and one colour, and balls do not meet, so the picture of every ray is a finite sum: no samples, no error.
"""
import numpy as np

from .. import backend


class Balls:
    """K balls of fog: `centres` (K, 3), `radii` (K,), `densities` (K,) in 1/length, `colors` (K, 3) in [0, 1]."""

    def __init__(self, centres, radii, densities, colors):
        self.centres, self.radii, self.densities, self.colors = (
            np.asarray(values, np.float64) for values in (centres, radii, densities, colors))
        apart = np.linalg.norm(self.centres[:, None] - self.centres, axis=2) - (self.radii[:, None] + self.radii)
        if (apart[~np.eye(len(self.radii), dtype=bool)] < 0).any() or (self.radii <= 0).any() or (self.densities < 0).any():
            raise ValueError(f"Balls: got {len(self.radii)} balls that meet or radii or densities below zero, expected neither")

    def fields(self, points):
        """Density (N,) and colour (N, 3) at `points` (N, 3); black where there is nothing."""
        inside = np.linalg.norm(np.asarray(points)[:, None] - self.centres, axis=2) < self.radii            # (N, K)
        return inside @ self.densities, inside @ self.colors

    def render(self, origins, directions):
        """What rays see: colour (N, 3) on black and opacity (N,). `origins`, `directions` (N, 3), directions of length 1.

        From the nearest ball to the farthest: colour += light left * (1 - exp(-sigma d)) * colour of the ball.
        """
        order, _, _, weight = self._stops(origins, directions)
        return (weight[:, :, None] * self.colors[order]).sum(axis=1), weight.sum(axis=1)

    def depth(self, origins, directions):
        """How far, on average, the light comes that rays see: (N,), NaN where they see none.

        In a ball from a to a + d it comes from a + m on average, m = 1 / sigma - d e^{-sigma d} / (1 - e^{-sigma d}).
        """
        order, enter, length, weight = self._stops(origins, directions)
        sigma = np.maximum(self.densities[order], 1e-12)
        thickness = np.maximum(sigma * length, 1e-12)
        inside = 1 / sigma - length * np.exp(-thickness) / -np.expm1(-thickness)
        seen = weight.sum(axis=1)
        return (weight * (enter + inside)).sum(axis=1) / np.where(seen > 0, seen, np.nan)

    def _stops(self, origins, directions):
        """Balls from the nearest to the farthest, (N, K): which, where the ray enters, how long it is in, what share it
        stops."""
        enter, leave = self._crossings(np.asarray(origins, np.float64), np.asarray(directions, np.float64))
        order = enter.argsort(axis=1)
        enter, length = (np.take_along_axis(a, order, axis=1) for a in (enter, leave - enter))
        thickness = self.densities[order] * length                                              # (N, K)
        before = np.cumsum(thickness, axis=1) - thickness
        return order, enter, length, np.exp(-before) * -np.expm1(-thickness)

    def _crossings(self, origins, directions):
        """Where rays o + t d, t >= 0, enter and leave each ball: t (N, K) twice, equal where they miss it."""
        to_centre = self.centres - origins[:, None]                                             # (N, K, 3)
        closest = (to_centre * directions[:, None]).sum(axis=2)
        half = np.sqrt(np.maximum(self.radii ** 2 - (to_centre ** 2).sum(axis=2) + closest ** 2, 0))
        return np.maximum(closest - half, 0), np.maximum(closest + half, 0)


def random_balls(count=4, spread=1.0):
    """`count` balls inside the sphere of radius `spread` about the origin, coloured brightly, rather dense."""
    rng, centres, radii = backend.generator(), [], []
    while len(radii) < count:
        radius, centre = spread * rng.uniform(0.15, 0.35), rng.uniform(-spread, spread, 3)
        if np.linalg.norm(centre) + radius <= spread and all(
                np.linalg.norm(centre - c) >= radius + r for c, r in zip(centres, radii)):
            centres.append(centre)
            radii.append(radius)
    return Balls(centres, radii, rng.uniform(3, 12, count) / spread, rng.uniform(0.2, 1, (count, 3)))


def surrounded(balls, count=12, nearest=2.0, farthest=20.0):
    """`balls` and around them `count` more, hardly transparent, `nearest`..`farthest` from the origin and larger the
    farther."""
    rng, centres, radii = backend.generator(), list(balls.centres), list(balls.radii)
    while len(radii) < len(balls.radii) + count:
        distance, direction = np.exp(rng.uniform(np.log(nearest), np.log(farthest))), rng.standard_normal(3)
        centre, radius = distance * direction / np.linalg.norm(direction), 0.3 * distance
        if all(np.linalg.norm(centre - c) >= radius + r for c, r in zip(centres, radii)):
            centres.append(centre)
            radii.append(radius)
    densities = np.concatenate([balls.densities, 10 / np.array(radii[-count:])])
    return Balls(centres, radii, densities, np.concatenate([balls.colors, rng.uniform(0.2, 1, (count, 3))]))


def orbit(n, distance=4.0, elevation=30.0):
    """Poses float64 (n, 4, 4), camera to world, of n cameras on a circle that look at the origin; z is up.

    `elevation` in degrees. As in NeRF, a camera's x points right, its y up, and it looks along its -z.
    """
    turn, up = 2 * np.pi * np.arange(n) / n, np.radians(elevation)
    back = np.stack([np.cos(turn) * np.cos(up), np.sin(turn) * np.cos(up), np.full(n, np.sin(up))], axis=1)
    right = np.stack([-np.sin(turn), np.cos(turn), np.zeros(n)], axis=1)
    poses = np.tile(np.eye(4), (n, 1, 1))
    poses[:, :3] = np.stack([right, np.cross(back, right), back, distance * back], axis=2)
    return poses


def camera_rays(pose, size, focal):
    """Origins and directions float64 (size^2, 3), of length 1, one ray a pixel, row by row; `focal` in pixels."""
    at = np.arange(size) + 0.5 - size / 2
    x, y = np.meshgrid(at / focal, -at / focal)
    directions = np.stack([x, y, -np.ones_like(x)], axis=2).reshape(-1, 3) @ pose[:3, :3].T
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.broadcast_to(pose[:3, 3], directions.shape), directions
