"""Llama: Touvron et al. 2023, "Llama 2: open foundation and fine-tuned chat models", arXiv:2307.09288.

A GPT with five parts changed. The norms only divide by the size (RMSNorm); places are not added, they turn queries and keys
(RoPE); the hidden layer is gated by a second one (SwiGLU); several heads of queries share one of keys and values; there are no
biases.
The matrix that reads a token also writes it, as in the small published ones. Left out: a memory for sampling (see gpt.py).
"""
from ... import functional as F
from ...nn import Embedding, Linear, Module, RMSNorm


class Block(Module):
    """Look, then think; each adds to x: (N, T, E) -> (N, T, E)."""

    def __init__(self, width, hidden, heads, key_heads):
        self.size = size = width // heads
        self.norm1, self.norm2 = RMSNorm(width, eps=1e-5), RMSNorm(width, eps=1e-5)
        self.query, self.leave = Linear(width, width, bias=False), Linear(width, width, bias=False)
        self.key, self.value = Linear(width, key_heads * size, bias=False), Linear(width, key_heads * size, bias=False)
        self.gate, self.up = Linear(width, hidden, bias=False), Linear(width, hidden, bias=False)
        self.down = Linear(hidden, width, bias=False)

    def forward(self, x):
        N, T, E = x.shape
        h = self.norm1(x)
        q, k, v = (part(h).reshape(N, T, -1, self.size).swapaxes(1, 2) for part in (self.query, self.key, self.value))
        y = F.scaled_dot_product_attention(F.rotary_embedding(q), F.rotary_embedding(k), v, causal=True)
        x = x + self.leave(y.swapaxes(1, 2).reshape(N, T, E))               # y (N, heads, T, size)
        h = self.norm2(x)
        return x + self.down(F.silu(self.gate(h)) * self.up(h))


class Llama(Module):
    """Token ids (N, T) -> the logits of each next token (N, T, vocabulary)."""

    def __init__(self, vocabulary, width=64, hidden=172, layers=5, heads=8, key_heads=4):
        if width % heads or heads % key_heads:
            raise ValueError(f"Llama: got width {width}, {heads} heads and {key_heads} of keys, "
                             "expected each to divide the one before")
        self.tokens = Embedding(vocabulary, width)
        self.blocks = [Block(width, hidden, heads, key_heads) for _ in range(layers)]
        self.norm = RMSNorm(width, eps=1e-5)

    def forward(self, ids):
        x = self.tokens(ids)
        for block in self.blocks:
            x = block(x)                                                    # (N, T, E)
        return F.linear(self.norm(x), self.tokens.weight)
