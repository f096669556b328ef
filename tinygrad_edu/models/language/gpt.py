"""GPT: Radford, Narasimhan, Salimans & Sutskever 2018, "Improving language understanding by generative pre-training"; in the
form of Radford et al. 2019, "Language models are unsupervised multitask learners"; at scale: Brown et al. 2020,
arXiv:2005.14165.

A text is a sequence of tokens, and p(text) is the product of p(next token | all before it). One network gives all these
factors at once: every place may look at itself and at what lies before it (causal attention), never ahead. It looks, then
thinks about what it saw (a hidden layer on each place), and repeats this a few times; each time it adds to what it has. The
matrix that reads a token also writes it: the logit of a token is how well its embedding fits the place. Left out: the byte-pair
tokens of the original (ids come in, ids go out) and its fine-tuning.
"""
from ... import backend, functional as F
from ...autograd import no_grad
from ...creation import arange
from ...nn import Dropout, Embedding, LayerNorm, Linear, Module, init
from ...ops import argmax, concatenate, split, topk, where
from ...tensor import Tensor, as_tensor


class Memory:
    """What a block keeps of the tokens it has read: keys and values (N, heads, S, E / heads). Sampling needs each only once."""

    def __init__(self):
        self.keys = self.values = None

    def __len__(self):
        return 0 if self.keys is None else self.keys.shape[2]

    def extend(self, keys, values):
        """Take in those of new tokens; gives all."""
        if len(self):
            keys, values = concatenate([self.keys, keys], axis=2), concatenate([self.values, values], axis=2)
        self.keys, self.values = keys, values
        return keys, values


class SelfAttention(Module):
    """Every place looks where the mask (T, S) is True; without one at itself and at all before it: (N, T, E) -> (N, T, E)."""

    def __init__(self, width, heads):
        self.heads = heads
        self.enter, self.leave = Linear(width, 3 * width), Linear(width, width)

    def forward(self, x, memory=None, mask=None):
        N, T, E = x.shape
        q, k, v = (part.reshape(N, T, self.heads, -1).swapaxes(1, 2) for part in split(self.enter(x), 3, axis=-1))
        if memory is not None:
            k, v = memory.extend(k, v)                                      # (N, heads, S, E / heads)
        S = k.shape[2]
        if mask is None and S > T:
            mask = arange(S, device=x.device) <= arange(S - T, S, device=x.device)[:, None]
        y = F.scaled_dot_product_attention(q, k, v, mask, causal=mask is None)      # (N, heads, T, E / heads)
        return self.leave(y.swapaxes(1, 2).reshape(N, T, E))


class Block(Module):
    """Look, then think; each adds to x: (N, T, E) -> (N, T, E)."""

    def __init__(self, width, heads, dropout):
        self.norm1, self.attention = LayerNorm(width), SelfAttention(width, heads)
        self.norm2, self.enter, self.leave = LayerNorm(width), Linear(width, 4 * width), Linear(4 * width, width)
        self.dropout = Dropout(dropout)

    def forward(self, x, memory=None, mask=None):
        x = x + self.dropout(self.attention(self.norm1(x), memory, mask))
        h = F.gelu(self.enter(self.norm2(x)))                               # (N, T, 4 E)
        return x + self.dropout(self.leave(h))


class GPT(Module):
    """Token ids (N, T), T <= `length` -> the logits of each next token (N, T, vocabulary).

    Matrices start as N(0, 0.02^2), those that add to x smaller by sqrt(2 layers), so that the sum of all stays of one size.
    """

    def __init__(self, vocabulary, length, width=64, layers=2, heads=4, dropout=0.0):
        if width % heads:
            raise ValueError(f"GPT: got width {width}, expected a multiple of {heads} heads")
        self.length = length
        self.tokens, self.places = Embedding(vocabulary, width), Embedding(length, width)
        self.dropout = Dropout(dropout)
        self.blocks = [Block(width, heads, dropout) for _ in range(layers)]
        self.norm = LayerNorm(width)
        self._start()

    def _start(self):
        for name, p in self.named_parameters():
            if p.ndim == 2:
                init.normal_(p, std=0.02 / (2 * len(self.blocks)) ** 0.5 if "leave" in name else 0.02)
            elif "norm" not in name:
                init.zeros_(p)

    def forward(self, ids, memories=None, mask=None):
        """memories: a Memory for each block; then ids (N, T) are the tokens that follow those remembered.

        mask (T, S), True where place t may look at place s, instead of "not ahead": with no future hidden it is an encoder,
        with only the future of the second part hidden an encoder and a decoder in one.
        """
        first, T = len(memories[0]) if memories else 0, ids.shape[1]
        if first + T > self.length:
            raise ValueError(f"GPT: got {first + T} tokens, expected at most {self.length}")
        x = self.dropout(self.tokens(ids) + self.places(arange(first, first + T, device=self.places.weight.device)))
        for i, block in enumerate(self.blocks):
            x = block(x, memories[i] if memories else None, mask)                 # (N, T, E)
        return F.linear(self.norm(x), self.tokens.weight)

    def new_memories(self):
        """A Memory for each block, empty."""
        return [Memory() for _ in self.blocks]

    def generate(self, ids, steps, temperature=1.0, top_k=None):
        """ids (N, T) and `steps` tokens more, each drawn from p(next | before) to the power 1 / temperature (0: the likeliest
        one), of the `top_k` likeliest if given: (N, T + steps). When `length` is reached the older half is forgotten.
        """
        ids, memories = as_tensor(ids), self.new_memories()
        new = ids[:, -self.length:]
        with no_grad():
            for _ in range(steps):
                if len(memories[0]) + new.shape[1] > self.length:
                    new, memories = ids[:, -max(1, self.length // 2):], self.new_memories()
                new = draw(self(new, memories)[:, -1], temperature, top_k)[:, None]     # (N, 1)
                ids = concatenate([ids, new], axis=1)
        return ids


def draw(logits, temperature=1.0, top_k=None):
    """One id from each row of logits (N, K). The largest of logits + Gumbel noise is a draw from their softmax."""
    if top_k is not None:
        logits = where(logits >= topk(logits, top_k)[0][:, -1:], logits, float("-inf"))
    if temperature == 0:
        return argmax(logits, axis=1)
    noise = backend.generator().gumbel(size=logits.shape).astype(logits.dtype)
    return argmax(logits / temperature + Tensor(noise, device=logits.device), axis=1)
