"""A scene as a grid of voxels, after Neural Volumes: Lombardi, Simon, Saragih, Schwartz, Lehrmann & Sheikh 2019,
arXiv:1906.07751.

The direct way to store fog: density and colour at every point of a grid, between them the mean of the eight corners of a
cell, each weighted by how near it is. Fast, because nothing is computed; but twice as fine is eight times as large. Left
out: the decoder that makes the grid from a code, and the warp that moves its voxels to where they are needed.
"""
import numpy as np

from ...backend import generator, to_device
from ...functional import embedding
from ...nn import Module, Parameter
from .volume import fog


def corners(points, cells):
    """The cell that each point (M, 3) lies in: its two places along each axis, integers (M, 3, 2) in 0..cells, and the
    weights of its eight corners, (M, 8).

    [-1, 1]^3 is cut into cells^3 cells; what lies outside counts as on the border.
    """
    at = np.clip((points + 1) / 2, 0, 1) * points.dtype.type(cells)             # (M, 3)
    low = np.minimum(at.astype(np.int64), cells - 1)
    share = at - low.astype(points.dtype)                                       # how far towards the upper place
    return np.stack([low, low + 1], axis=-1), each_corner(np.multiply, np.stack([1 - share, share], axis=-1))


def each_corner(combine, axes):
    """Numbers of the two places along each axis (M, 3, 2), combined at the eight corners: (M, 8)."""
    x, y, z = axes[:, 0, :, None, None], axes[:, 1, None, :, None], axes[:, 2, None, None, :]
    return combine(combine(x, y), z).reshape(-1, 8)                             # (M, 2, 2, 2) flattened


def grid_rows(places, side):
    """The row of each corner in a table of all side^3 points of a grid, (M, 8), from the places along each axis (M, 3, 2)."""
    return each_corner(np.add, places * np.array([[side ** 2], [side], [1]]))


def weighted_rows(values, ids, weights):
    """The sum over the eight corners of their weight times their row of `values` (V, F): ids and weights (.., 8) -> (.., F).

    Its gradient adds weight times gy to the row of each corner: a scatter-add.
    """
    ids, weights = to_device(ids, values.device), to_device(weights[..., None], values.device)
    return (embedding(ids, values) * weights).sum(axis=-2)


class VoxelGrid(Module):
    """Points (M, 3) in [-1, 1] -> density (M,) and colour (M, 3), from four numbers at each of resolution^3 points."""

    def __init__(self, resolution):
        if resolution < 2:
            raise ValueError(f"VoxelGrid: got resolution {resolution}, expected at least 2 points a side")
        self.values = Parameter(0.01 * generator().standard_normal((resolution ** 3, 4)).astype("float32"))
        self.resolution = resolution

    def forward(self, points, directions=None):
        places, weights = corners(points, self.resolution - 1)
        return fog(weighted_rows(self.values, grid_rows(places, self.resolution), weights))
