"""Multi-head attention: several attentions side by side, each in its own projection of queries, keys and values."""
import math

from .. import functional as F
from ..creation import zeros
from ..ops import split
from .linear import Linear, uniform
from .module import Module, Parameter


class MultiheadAttention(Module):
    """y = heads side by side @ W_out' + b_out, where head i = attention(q W_i', k W_i', v W_i').

    query (T, N, E), key and value (S, N, E) -> (T, N, E), or (N, T, E) and (N, S, E) with batch_first; E = embed_dim.
    PyTorch's also returns the weights; here they are never made. in_proj_weight (3E, E) holds the projections of query,
    key and value, starting as U(-sqrt(6 / 4E), ..) (Xavier); biases start at 0. Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, embed_dim, num_heads, bias=True, batch_first=False):
        if embed_dim % num_heads:
            raise ValueError(f"MultiheadAttention: got embed_dim = {embed_dim}, expected a multiple of {num_heads}")
        self.in_proj_weight = uniform(math.sqrt(6 / (4 * embed_dim)), 3 * embed_dim, embed_dim)
        self.in_proj_bias = Parameter(zeros(3 * embed_dim)) if bias else None
        self.out_proj = Linear(embed_dim, embed_dim, bias)
        if bias:
            self.out_proj.bias = Parameter(zeros(embed_dim))
        self.num_heads, self.batch_first = num_heads, batch_first

    def forward(self, query, key=None, value=None, mask=None, causal=False, bias=None):
        """key None: the query; value None: the key. mask (True: may look) and bias broadcast to (N, heads, T, S)."""
        if query.ndim != 3:
            raise ValueError(f"MultiheadAttention: got a query of shape {query.shape}, expected 3 axes")
        key = query if key is None else key
        value = key if value is None else value
        q, k, v = map(self._by_head, self._project(query, key, value))              # (N, heads, T or S, E / heads)
        y = F.scaled_dot_product_attention(q, k, v, mask, causal, bias)
        y = y.transpose(0, 2, 1, 3) if self.batch_first else y.transpose(2, 0, 1, 3)
        return self.out_proj(y.flatten(2))

    def _project(self, query, key, value):
        if query is key is value:                           # one product for all three
            return split(F.linear(query, self.in_proj_weight, self.in_proj_bias), 3, axis=-1)
        weights = split(self.in_proj_weight, 3)
        biases = [None] * 3 if self.in_proj_bias is None else split(self.in_proj_bias, 3)
        return map(F.linear, (query, key, value), weights, biases)

    def _by_head(self, x):
        x = x.reshape(*x.shape[:2], self.num_heads, x.shape[2] // self.num_heads)
        return x.transpose(0, 2, 1, 3) if self.batch_first else x.transpose(1, 2, 0, 3)

    def extra_repr(self):
        facts = f"{self.in_proj_weight.shape[1]}, {self.num_heads}" + (", batch_first=True" if self.batch_first else "")
        return facts + ("" if self.in_proj_bias is not None else ", bias=False")
