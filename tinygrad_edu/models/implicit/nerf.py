"""NeRF: Mildenhall, Srinivasan, Tancik, Barron, Ramamoorthi & Ng 2020, "NeRF: Representing scenes as neural radiance fields
for view synthesis", arXiv:2003.08934.

A scene as a network: a point in space goes in, the density and the colour of the fog there come out. Photographs from known
places are all it is trained on, through volume rendering (`volume.py`). It works because each coordinate is given as sines
of many frequencies; a network of x, y and z themselves learns what is smooth and blurs the rest. Colour may depend on the
direction of view, density may not. Left out: the second network, which looks again where the first one found something, and
the skip connection.
"""
import math

import numpy as np

from ... import ops
from ...backend import array_module, to_device
from ...nn import Linear, Module, init
from .volume import fog


def positional_encoding(x, levels):
    """An array x (M, D), then sin and cos of 2^l pi x for l = 0 .. levels - 1: (M, D (1 + 2 levels))."""
    frequencies = math.pi * 2.0 ** np.arange(levels)
    xp = array_module(x)
    angles = (x[:, None] * xp.asarray(frequencies[:, None], x.dtype)).reshape(len(x), levels * x.shape[1])
    return ops.concatenate([x, ops.sin(angles), ops.cos(angles)], axis=1)


class NeRF(Module):
    """Points (M, inputs) in [-1, 1], and directions (M, 3) if `view_levels` is given -> density (M,) and colour (M, 3).

    `levels` and `view_levels` are the octaves of the encodings; 0 leaves the coordinates as they are. `depth` hidden layers.
    """

    def __init__(self, levels=5, width=64, depth=3, inputs=3, view_levels=None):
        sizes = [inputs * (1 + 2 * levels)] + [width] * depth
        self.layers = [Linear(a, b) for a, b in zip(sizes, sizes[1:])]
        for layer in self.layers:
            init.kaiming_uniform_(layer.weight, nonlinearity="relu")        # keeps the size of the signal
            init.zeros_(layer.bias)
        self.levels, self.view_levels = levels, view_levels
        self.view = None if view_levels is None else Linear(3 * (1 + 2 * view_levels), width)
        self.head, self.color = Linear(width, 1), Linear(width, 3)

    def forward(self, points, directions=None):
        device = self.head.weight.device
        h = positional_encoding(to_device(points, device), self.levels)
        for layer in self.layers:
            h = ops.relu(layer(h))                                              # (M, width)
        density = self.head(h)                                                  # (M, 1): where, not from where
        if self.view is not None:
            h = ops.relu(h + self.view(positional_encoding(to_device(directions, device), self.view_levels)))
        return fog(ops.concatenate([density, self.color(h)], axis=1))
