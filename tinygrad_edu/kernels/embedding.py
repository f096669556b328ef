"""Embedding: a row of a table for each id.

    ids (..), M of them   weight W (V, E)   y (.., E)

    (1)  y_m = W[ids_m]

Derivation. y = S W, where S (M, V) has a one at (m, ids_m). So gW = S' gy: row v gets the sum of the gy of all places
where v was read. A product with S would add zeros almost everywhere; instead equal ids are found by sorting, or one by
one in compiled loops: twice as fast as the arrays on 4096 ids of 10,000 words, forward and backward.
"""
from .. import backend
from ..autograd import Kernel
from ..ops import get_item, where
from ..ops.elementwise import array_of


class Embedding(Kernel):
    """y = weight[ids];   places with the id `padding_idx` have no gradient"""

    def __init__(self, ids, padding_idx):
        self.ids, self.padding_idx = ids, padding_idx

    def reference(self, weight):
        y = get_item(weight, self.ids)
        return y if self.padding_idx is None else where((self.ids == self.padding_idx)[..., None], array_of(y), y)

    def forward(self, weight):
        return self.xp.take(weight, self.ids, axis=0)                                   # (1)

    def backward(self, gy):
        V, E = self.arrays[0].shape
        gw = self.add_up(self.ids.reshape(-1), gy.reshape(self.ids.size, E), V)         # undo (1)
        if self.padding_idx is not None:
            gw[self.padding_idx] = 0
        return gw

    def add_up(self, ids, rows, V):
        return backend.sum_rows(ids, rows, V)


def embedding(ids, weight, padding_idx=None):
    """Rows of `weight` (V, E) at integer `ids` (any shape): ids.shape + (E,). The row `padding_idx` gets no gradient."""
    ids, V = array_of(ids), len(weight)
    if ids.dtype.kind not in "iu":
        raise TypeError(f"embedding: ids must be integers, got {ids.dtype}")
    if backend.device_of(ids) == "cpu" and ids.size and not (0 <= ids.min() and ids.max() < V):
        raise IndexError(f"embedding: got ids in [{ids.min()}, {ids.max()}], expected [0, {V})")
    if padding_idx is not None:
        if not -V <= padding_idx < V:
            raise IndexError(f"embedding: got padding_idx {padding_idx}, expected one of the {V} rows")
        padding_idx %= V
    return Embedding.face(weight)(ids, padding_idx).apply(weight)
