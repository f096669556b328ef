"""Volume rendering: what a ray sees that goes through glowing fog. Kajiya & Von Herzen 1984; Max 1995.

Fog of density sigma stops a share sigma dt of the light on a way dt, so e^{-sigma d} of it is left after a way d. A ray is
cut into pieces, and in each piece density sigma_i and colour c_i are taken as constant:

    T_i = exp(-sum_{j < i} sigma_j d_j)             light left when piece i begins
    w_i = T_i (1 - exp(-sigma_i d_i))               share of it that piece i stops: this much of its colour is seen
    colour = sum_i w_i c_i,    opacity = sum_i w_i = 1 - T_end,    depth = sum_i w_i t_i / opacity

All of it can be differentiated, so photographs can train the fog. A building block: R rays, S pieces a ray. Rays and places
are arrays on the host, where random numbers are drawn; a field takes them to where its parameters are.
"""
import numpy as np

from ... import backend, ops
from ...functional import softplus
from ...ops.elementwise import array_of


def weights_along(density, lengths):
    """w (R, S) of pieces with `density` (R, S) and `lengths` (R, S): T_i (1 - e^{-sigma_i d_i}) = T_i - T_{i+1}."""
    thickness = density * lengths
    after = ops.cumsum(thickness, axis=1)
    return ops.exp(thickness - after) - ops.exp(-after)


def render(field, points, lengths, directions=None):
    """Colour (R, 3) of each ray and the weights (R, S) of its pieces.

    field(points (M, D), directions (M, 3) or None) gives density (M,) and colour (M, 3). `points` (R, S, D): one in each piece;
    `lengths` (R, S); `directions` (R, 3), for fields whose colour depends on it.
    """
    R, S, D = points.shape
    if directions is not None:
        directions = directions.repeat(S, axis=0)                               # (R S, 3)
    density, color = field(points.reshape(R * S, D), directions)
    lengths = backend.to_device(lengths.astype(density.dtype), backend.device_of(array_of(density)))
    weights = weights_along(density.reshape(R, S), lengths)
    return (weights.reshape(R, S, 1) * color.reshape(R, S, 3)).sum(axis=1), weights


def fog(raw, unit=10.0):
    """Density (M,) and colour (M, 3) from four numbers (M, 4) of any size. Near 0 it is thin grey fog, density 0.05 `unit`."""
    return unit * softplus(raw[:, 0] - 3), ops.sigmoid(raw[:, 1:])


# ---------------------------------------------------------------- where to look

def span(origins, directions, radius=1.0):
    """t (..) where rays enter and leave the sphere of `radius` about the origin; where they miss it, they leave as they enter.

    Directions have length 1. A ray from inside enters behind itself.
    """
    closest = -(origins * directions).sum(axis=-1)
    half = np.sqrt(np.maximum(radius ** 2 - (origins ** 2).sum(axis=-1) + closest ** 2, 0))
    return closest - half, closest + half


def even_edges(near, far, pieces):
    """Edges (R, pieces + 1) that cut near..far, numbers or (R,), into equal pieces."""
    share = np.linspace(0, 1, pieces + 1)
    near, far = np.atleast_1d(near)[:, None], np.atleast_1d(far)[:, None]
    return near + (far - near) * share


def places_in(edges, jitter=True):
    """A place in each piece, (R, S), random (stratified sampling) or in the middle, and the lengths of the pieces, (R, S)."""
    lengths = np.diff(edges, axis=1)
    share = backend.generator().random(lengths.shape) if jitter else 0.5
    return edges[:, :-1] + share * lengths, lengths


def points_at(origins, directions, t):
    """The points o + t d (R, S, 3) of rays (R, 3) at t (R, S)."""
    return (origins[:, None] + t[:, :, None] * directions[:, None]).astype(origins.dtype)
