"""NeRF++: Zhang, Riegler, Snavely & Koltun 2020, "Analyzing and improving neural radiance fields", arXiv:2010.07492.

A scene outdoors has no end, and a network that is told x / far sees all that is near in one corner. So space is cut at the
unit sphere. Inside, coordinates stay. Outside, a point r x' with |x'| = 1 is told as (x', 1/r), four numbers between -1 and
1 however far it is; equal steps of 1/r are fine near the sphere and coarse far away, as pictures are. Two networks, one
integral.
"""
import numpy as np

from ...nn import Module
from .nerf import NeRF
from .volume import even_edges, places_in, points_at, render, span


def inverted_sphere(points):
    """Points (.., 3) with r = |x| >= 1 as (x / r, 1 / r), (.., 4): a direction, and a number in (0, 1]."""
    r = np.linalg.norm(points, axis=-1, keepdims=True)
    return np.concatenate([points / r, 1 / r], axis=-1)


def inverted_back(inverted):
    """The points (.., 3) from (x / r, 1 / r)."""
    return inverted[..., :3] / inverted[..., 3:]


class NeRFPlusPlus(Module):
    """One NeRF within the unit sphere and one, of inverted points, beyond it. Cameras are inside."""

    def __init__(self, **options):
        self.inner, self.outer = NeRF(inputs=3, **options), NeRF(inputs=4, **options)

    def render(self, origins, directions, pieces, jitter=True):
        """Colours (R, 3), with `pieces` pieces inside the sphere and as many outside, equal in 1/r."""
        origin = np.zeros(len(origins))
        t, lengths = places_in(even_edges(origin, span(origins, directions)[1], pieces), jitter)
        near, weights = render(self.inner, points_at(origins, directions, t), lengths)

        inverse, lengths = places_in(even_edges(origin + 1, origin, pieces), jitter)           # 1/r falls from 1 to 0
        _, t = span(origins[:, None], directions[:, None], 1 / np.maximum(inverse, 1e-6))
        far, _ = render(self.outer, inverted_sphere(points_at(origins, directions, t)), -lengths)
        return near + (1 - weights.sum(axis=1, keepdims=True)) * far            # what is far shines through what is near
