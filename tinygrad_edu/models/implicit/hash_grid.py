"""Instant neural graphics primitives: Mueller, Evans, Schied & Keller 2022, arXiv:2201.05989.

Grids of voxels from coarse to fine, each with a few learned numbers at its points, and a small network that reads the
numbers of all of them. A fine grid has too many points; so its points share the rows of a table, which row is said by a
hash of the coordinates. Collisions are not resolved: empty places have no gradient, so the places that matter win the row.
Only the rows near a point learn from it, so training needs few steps. Left out: half precision, and the grid of occupied
cells.
"""
import math

import numpy as np

from ...backend import generator
from ...nn import Linear, Module, Parameter, ReLU, Sequential, init
from .volume import fog
from .voxels import corners, each_corner, grid_rows, weighted_rows

PRIMES = np.array([[1], [2654435761], [805459861]], np.uint32)      # the paper's; 1 keeps neighbours along x side by side


def rows_of(places, cells, table):
    """The row for each corner, (M, 8), from the places along each axis, (M, 3, 2).

    One row for each point of the grid if there are enough, else (x p1 xor y p2 xor z p3) modulo `table`, a power of two.
    """
    if (cells + 1) ** 3 <= table:
        return grid_rows(places, cells + 1)
    mixed = each_corner(np.bitwise_xor, places.astype(np.uint32) * PRIMES)
    return (mixed & np.uint32(table - 1)).astype(np.int64)


class HashGrid(Module):
    """Points (M, 3) in [-1, 1] -> `levels` x `features` numbers (M, levels features).

    The levels have `coarsest` .. `finest` cells a side, each finer than the last by the same factor, and a table of `table`
    rows each.
    """

    def __init__(self, levels=6, features=2, table=1 << 13, coarsest=4, finest=48):
        if table & (table - 1):
            raise ValueError(f"HashGrid: got a table of {table} rows, expected a power of two")
        growth = (finest / coarsest) ** (1 / max(levels - 1, 1))
        self.cells = [math.floor(coarsest * growth ** l + 1e-6) for l in range(levels)]
        self.table = table
        self.values = Parameter(generator().uniform(-1e-2, 1e-2, (levels * table, features)).astype("float32"))

    def ids(self, points):
        """Rows of `values` (M, levels, 8) and their weights (M, levels, 8)."""
        found = [corners(points, cells) for cells in self.cells]
        rows = [rows_of(places, cells, self.table) for cells, (places, _) in zip(self.cells, found)]
        ids = [level * self.table + row for level, row in enumerate(rows)]
        return np.stack(ids, axis=1), np.stack([weights for _, weights in found], axis=1)

    def forward(self, points):
        ids, weights = self.ids(points)
        return weighted_rows(self.values, ids, weights).flatten(1)              # (M, levels features)


class HashField(Module):
    """Points (M, 3) in [-1, 1] -> density (M,) and colour (M, 3): a hash grid, and a network of one hidden layer."""

    def __init__(self, width=32, **grid):
        self.grid = HashGrid(**grid)
        features = len(self.grid.cells) * self.grid.values.shape[1]
        self.network = Sequential(Linear(features, width), ReLU(), Linear(width, 4))
        init.kaiming_uniform_(self.network[0].weight, nonlinearity="relu")

    def forward(self, points, directions=None):
        return fog(self.network(self.grid(points)))
