"""Multi-head attention: several attentions side by side, each in its own projection of queries, keys and values."""
import math

from .. import functional as F
from ..creation import eye, zeros
from ..ops import split
from ..ops.elementwise import array_of
from .linear import Linear, uniform
from .module import Module, Parameter


class MultiheadAttention(Module):
    """y = heads side by side @ W_out' + b_out, where head i = attention(q W_i', k W_i', v W_i').

    query (T, N, E), key (S, N, kdim) and value (S, N, vdim) -> (T, N, E), or (N, T, E) and so on with batch_first;
    E = embed_dim = kdim = vdim if these are not given. In training, each weight is dropped with probability `dropout`.
    in_proj_weight (3E, E) holds the projections of query, key and value; with another kdim or vdim they are three tensors,
    q_proj_weight, k_proj_weight and v_proj_weight. All start as U(-sqrt(6 / (rows + columns)), ..) (Xavier); biases start
    at 0. Vaswani et al. 2017, arXiv:1706.03762.
    """

    def __init__(self, embed_dim, num_heads, dropout=0.0, bias=True, kdim=None, vdim=None, batch_first=False):
        E, kdim, vdim = embed_dim, kdim or embed_dim, vdim or embed_dim
        if E % num_heads:
            raise ValueError(f"MultiheadAttention: got embed_dim = {E}, expected a multiple of {num_heads}")
        if kdim == vdim == E:
            self.in_proj_weight = _xavier(3 * E, E)
        else:
            self.q_proj_weight, self.k_proj_weight, self.v_proj_weight = _xavier(E, E), _xavier(E, kdim), _xavier(E, vdim)
        self.in_proj_bias = Parameter(zeros(3 * E)) if bias else None
        self.out_proj = Linear(E, E, bias)
        if bias:
            self.out_proj.bias = Parameter(zeros(E))
        self.embed_dim, self.num_heads, self.dropout, self.batch_first = E, num_heads, dropout, batch_first

    def forward(self, query, key=None, value=None, mask=None, causal=False, bias=None, key_padding_mask=None, attn_mask=None,
                need_weights=False, average_attn_weights=True):
        """key None: the query; value None: the key. Returns y; with need_weights y and the weights (N, T, S), averaged over
        the heads, or (N, heads, T, S) of each.

        As in F.scaled_dot_product_attention: mask (True: may look) and bias (added to the scores) broadcast to
        (N, heads, T, S); causal: query t sees keys s <= t. As in PyTorch, the other way round: key_padding_mask (N, S), True
        hides a key; attn_mask (T, S) or (N heads, T, S), True hides, floats are added to the scores.
        """
        if query.ndim != 3:
            raise ValueError(f"MultiheadAttention: got a query of shape {query.shape}, expected 3 axes")
        key = query if key is None else key
        value = key if value is None else value
        q, k, v = map(self._by_head, self._project(query, key, value))              # (N, heads, T or S, E / heads)
        mask, bias = self._combine(mask, bias, key_padding_mask, attn_mask)

        if need_weights or (self.dropout and self.training):
            units = eye(k.shape[2], dtype=k.dtype, device=k.device)
            weights = F.scaled_dot_product_attention(q, k, units, mask, causal, bias)      # read from unit vectors (.., T, S)
            weights = F.dropout(weights, self.dropout, self.training)
            y = weights @ v
        else:
            y = F.scaled_dot_product_attention(q, k, v, mask, causal, bias)             # the weights are never made
        y = y.transpose(0, 2, 1, 3) if self.batch_first else y.transpose(2, 0, 1, 3)
        y = self.out_proj(y.flatten(2))
        if need_weights:
            return y, weights.mean(axis=1) if average_attn_weights else weights
        return y

    def _combine(self, mask, bias, key_padding_mask, attn_mask):
        """One mask (True: may look) and one bias, of ours and PyTorch's."""
        hidden = []
        if key_padding_mask is not None:
            hidden.append(_hides("key_padding_mask", key_padding_mask)[:, None, None])      # (N, 1, 1, S)
        if attn_mask is not None:
            if attn_mask.ndim == 3:
                attn_mask = attn_mask.reshape(-1, self.num_heads, *attn_mask.shape[1:])     # (N, heads, T, S)
            if attn_mask.dtype.kind == "f":
                bias = attn_mask if bias is None else bias + attn_mask
            else:
                hidden.append(_hides("attn_mask", attn_mask))
        for hides in hidden:
            mask = ~hides if mask is None else array_of(mask) & ~hides
        return mask, bias

    def _project(self, query, key, value):
        E, b = self.embed_dim, self.in_proj_bias
        if not hasattr(self, "in_proj_weight"):
            weights = self.q_proj_weight, self.k_proj_weight, self.v_proj_weight
        elif query is key is value:                         # one product for all three
            return split(F.linear(query, self.in_proj_weight, b), 3, axis=-1)
        else:
            weights = split(self.in_proj_weight, 3)
        biases = [None] * 3 if b is None else (b[:E], b[E : 2 * E], b[2 * E :])
        return map(F.linear, (query, key, value), weights, biases)

    def _by_head(self, x):
        x = x.reshape(*x.shape[:2], self.num_heads, x.shape[2] // self.num_heads)
        return x.transpose(0, 2, 1, 3) if self.batch_first else x.transpose(1, 2, 0, 3)

    def extra_repr(self):
        facts = f"{self.embed_dim}, {self.num_heads}" + (f", dropout={self.dropout}" if self.dropout else "")
        facts += ", batch_first=True" if self.batch_first else ""
        return facts + ("" if self.in_proj_bias is not None else ", bias=False")


def _xavier(rows, columns):
    return uniform(math.sqrt(6 / (rows + columns)), rows, columns)


def _hides(name, mask):
    mask = array_of(mask)
    if mask.dtype != bool:
        raise TypeError(f"MultiheadAttention: got a {name} of {mask.dtype}, expected bool, True where a key is hidden")
    return mask
