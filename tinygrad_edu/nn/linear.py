"""Layers that are a product with a learned matrix: the sizes, the tensors, the initialization in words."""
import math

from .. import backend, functional as F
from .module import Module, Parameter


def uniform(bound, *shape):
    """A Parameter drawn from U(-bound, bound)."""
    return Parameter(backend.generator().uniform(-bound, bound, shape).astype("float32"))


class Linear(Module):
    """y = x W' + b: (.., in) -> (.., out). W and b start as U(-1/sqrt(in), 1/sqrt(in))."""

    def __init__(self, in_features, out_features, bias=True):
        bound = 1 / math.sqrt(in_features) if in_features else 0.0
        self.weight = uniform(bound, out_features, in_features)
        self.bias = uniform(bound, out_features) if bias else None
        self.in_features, self.out_features = in_features, out_features

    def forward(self, x):
        return F.linear(x, self.weight, self.bias)

    def extra_repr(self):
        return f"{self.in_features}, {self.out_features}" + ("" if self.bias is not None else ", bias=False")


class Bilinear(Module):
    """y_o = x' W_o z + b_o: (.., I) and (.., J) -> (.., O). W (O, I, J) and b start as U(-1/sqrt(I), 1/sqrt(I))."""

    def __init__(self, in1_features, in2_features, out_features, bias=True):
        bound = 1 / math.sqrt(in1_features)
        self.weight = uniform(bound, out_features, in1_features, in2_features)
        self.bias = uniform(bound, out_features) if bias else None

    def forward(self, x, z):
        return F.bilinear(x, z, self.weight, self.bias)

    def extra_repr(self):
        out_features, in1_features, in2_features = self.weight.shape
        return f"{in1_features}, {in2_features}, {out_features}" + ("" if self.bias is not None else ", bias=False")


class Embedding(Module):
    """A learned vector for each of `num_embeddings` ids: ids (..) -> (.., embedding_dim). Starts as N(0, 1).

    The row `padding_idx`, if given, starts as 0 and stays so.
    """

    def __init__(self, num_embeddings, embedding_dim, padding_idx=None):
        self.weight = Parameter(backend.generator().standard_normal((num_embeddings, embedding_dim)).astype("float32"))
        self.padding_idx = padding_idx
        if padding_idx is not None:
            self.weight.data[padding_idx] = 0

    def forward(self, ids):
        return F.embedding(ids, self.weight, self.padding_idx)

    def extra_repr(self):
        facts = ", ".join(map(str, self.weight.shape))
        return facts if self.padding_idx is None else f"{facts}, padding_idx={self.padding_idx}"
