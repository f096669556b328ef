"""Parametrizations: a weight that is not stored but computed, from others that are learned.

`weight_norm(layer)` and `spectral_norm(layer)` take the Parameter `weight` out of the layer and put a small module under
`parametrizations.weight` in its place, which holds what is learned now. The layer does not notice: it asks for self.weight,
finds no such attribute, and Module.__getattr__ calls that module. Names of states as in PyTorch's parametrizations.
"""
from .. import autograd, backend
from ..ops import sqrt, square, sum
from ..ops.elementwise import array_of
from ..tensor import Tensor
from .module import Module, Parameter


class WeightNorm(Module):
    """w = g v / |v|: the length g and the direction v are learned apart. The norm is over all axes but `dim`, None: over all.

    Salimans & Kingma 2016, arXiv:1602.07868. original0 is g, original1 is v.
    """

    def __init__(self, weight, dim):
        self.axes = None if dim is None else tuple(a for a in range(weight.ndim) if a != dim % weight.ndim)
        self.original0 = Parameter(self._norm(weight.detach()))
        self.original1 = Parameter(weight)

    def forward(self):
        g, v = self.original0, self.original1
        return v * (g / self._norm(v))

    def _norm(self, v):
        return sqrt(sum(square(v), self.axes, keepdims=self.axes is not None))


class SpectralNorm(Module):
    """w = v / sigma, sigma the largest singular value of v as a matrix: then |w x| <= |x|.

    sigma = u' v z with unit vectors u and z that power iteration keeps close to the singular ones: z <- v' u, u <- v z, as
    constants. Training does `n_power_iterations` of them each time the weight is used. Miyato et al. 2018, arXiv:1802.05957.
    """

    def __init__(self, weight, n_power_iterations, dim, eps):
        self.original = Parameter(weight)
        self.n_power_iterations, self.dim, self.eps = n_power_iterations, dim, eps
        rows, columns = self._matrix(weight).shape
        draw = backend.generator().standard_normal
        vectors = (Tensor(draw(n), dtype=weight.dtype, device=weight.device) for n in (rows, columns))
        setattr(self, "0", dict(zip(("_u", "_v"), vectors)))            # PyTorch's names: 0._u, 0._v
        self._iterate(15)

    def forward(self):
        if self.training:
            self._iterate(self.n_power_iterations)
        u, z = (vector.copy() for vector in getattr(self, "0").values())         # the next iteration writes into them
        return self.original / sum(u * (self._matrix(self.original) @ z))

    def _iterate(self, times):
        v = array_of(self._matrix(self.original.detach()))
        u, z = (vector.data for vector in getattr(self, "0").values())
        for _ in range(times):
            u[...] = _normalized(v @ z, self.eps)
            z[...] = _normalized(v.T @ u, self.eps)
            autograd.mark_written(u), autograd.mark_written(z)

    def _matrix(self, weight):
        """(weight.shape[dim], everything else)"""
        order = (self.dim, *(a for a in range(weight.ndim) if a != self.dim))
        return weight.transpose(order).flatten(1)


def weight_norm(module, name="weight", dim=0):
    """Learn the length and the direction of `module.name` apart: w = g v / |v| for each index of axis `dim`. Returns module."""
    return _replace(module, name, WeightNorm(_taken(module, name), dim))


def spectral_norm(module, name="weight", n_power_iterations=1, eps=1e-12, dim=None):
    """Divide `module.name` by its largest singular value, followed by power iteration. Returns module.

    dim: the axis of the outputs; by default 0, and 1 for transposed convolutions, whose weight is (C, O, ..).
    """
    if dim is None:
        dim = 1 if type(module).__name__.startswith("ConvTranspose") else 0
    return _replace(module, name, SpectralNorm(_taken(module, name), n_power_iterations, dim, eps))


def remove_parametrizations(module, name="weight"):
    """Store the weight again as what is computed now, a Parameter. Returns module."""
    if name not in vars(module).get("parametrizations", {}):
        raise ValueError(f"remove_parametrizations: {type(module).__name__} has no parametrized {name!r}")
    weight = getattr(module, name).detach().copy()
    del module.parametrizations[name]
    if not module.parametrizations:
        del module.parametrizations
    setattr(module, name, Parameter(weight))
    return module


def _taken(module, name):
    weight = vars(module).get(name)
    if not isinstance(weight, Parameter):
        raise ValueError(f"parametrize: {type(module).__name__} has no Parameter {name!r}, or it is parametrized already")
    return weight


def _replace(module, name, parametrization):
    delattr(module, name)
    vars(module).setdefault("parametrizations", {})[name] = parametrization
    return module


def _normalized(vector, eps):
    xp = backend.array_module(vector)
    return vector / xp.maximum(xp.sqrt((vector * vector).sum()), eps)
