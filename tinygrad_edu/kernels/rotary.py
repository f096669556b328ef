"""Positions inside attention: turn queries and keys by an angle that grows with their position, or add a bias.

    x (.., T, E): a query or key at each of T places   m (T,): their positions   theta_i = base^(-2 i / E), i = 0 .. E/2 - 1

Features are taken in pairs (a, b), and pair i of the vector at position m is turned by the angle m theta_i:

    (1)  a' = a cos(m theta_i) - b sin(m theta_i)        (2)  b' = a sin(m theta_i) + b cos(m theta_i)

A turn keeps lengths, and of two turned vectors <R_m q, R_n k> = <q, R_(n-m) k>: attention sees only how far apart two places
are. The backward of a turn is the turn back, so it is a primitive like those of ops.

Su et al. 2021, RoFormer, arXiv:2104.09864. ALiBi: Press et al. 2021, arXiv:2108.12409.
"""
from .. import backend
from ..autograd import Function
from ..ops.elementwise import array_of, constant


class Turn(Function):
    """y = every pair (a, b) of x turned by an angle;   backward: gy turned back"""

    def __init__(self, cos, sin, interleaved):
        self.cos, self.sin, self.interleaved = cos, sin, interleaved

    def pairs(self, x):
        """The a's and the b's, each (.., T, E/2)."""
        if self.interleaved:
            return x[..., 0::2], x[..., 1::2]
        half = x.shape[-1] // 2
        return x[..., :half], x[..., half:]

    def forward(self, x):
        y = self.xp.empty_like(x)
        (a, b), (ya, yb) = self.pairs(x), self.pairs(y)
        self.xp.subtract(a * self.cos, b * self.sin, out=ya)                            # (1)
        self.xp.add(a * self.sin, b * self.cos, out=yb)                                 # (2)
        return y

    def backward(self, gy):
        return Turn(self.cos, -self.sin, self.interleaved).apply(gy)


def rotary_embedding(x, positions=None, offset=0, base=10000.0, interleaved=True):
    """x (.., T, E), E even, with every pair of features turned by its position.

    positions: (T,) or (.., T), else offset, offset + 1, .. (offset: how many places a cache already holds).
    interleaved: pairs are neighbours, as in the paper; else feature i goes with i + E/2, as in GPT-NeoX.
    """
    T, E = x.shape[-2:]
    if E % 2:
        raise ValueError(f"rotary_embedding: got {E} features, expected an even number")
    xp = backend.array_module(array_of(x))
    positions = xp.arange(offset, offset + T) if positions is None else array_of(positions)
    if positions.shape[-1] != T:
        raise ValueError(f"rotary_embedding: got positions of shape {tuple(positions.shape)}, x has {T} places")
    angles = positions[..., None] * base ** (xp.arange(0, E, 2) / -E)                   # (.., T, E/2)
    return Turn(xp.cos(angles).astype(x.dtype), xp.sin(angles).astype(x.dtype), interleaved).apply(x)


def alibi_slopes(heads):
    """The slope of each head's bias: 2^(-8 i / heads) for i = 1 .. heads, if that is a power of 2.

    Otherwise those of the next smaller power of 2, and then every second one of twice as many.
    """
    if heads < 1:
        raise ValueError(f"alibi_slopes: got {heads} heads, expected at least 1")
    power = 1 << (heads.bit_length() - 1)
    more = [2 ** (-4 * i / power) for i in range(1, 2 * (heads - power), 2)]
    return [2 ** (-8 * i / power) for i in range(1, power + 1)] + more


def alibi_bias(query, key):
    """What ALiBi adds to the scores of query (.., h, T, E) and key (.., S, E): minus slope times distance, (h, T, S).

    A constant. The T queries stand at the last of the S places.
    """
    heads, T, S = query.shape[-3], query.shape[-2], key.shape[-2]

    def bias(data):
        xp = backend.array_module(data)
        distance = abs(xp.arange(S - T, S)[:, None] - xp.arange(S))                     # (T, S)
        return (xp.asarray(alibi_slopes(heads))[:, None, None] * -distance).astype(data.dtype)

    return constant(query, bias)
