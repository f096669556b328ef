"""The gradient of an embedding, one number at a time: ids (M,), rows (M, E), total (V, E)."""
import numpy as np

from ...faces import compiled, prange
from ...threads import thread_count
from .. import embedding


def add_up(ids, rows, total, parts):
    M, E = rows.shape
    for part in prange(parts):                              # each part owns some rows of the table, so none is written by two
        first, end = part * len(total) // parts, (part + 1) * len(total) // parts
        total[first:end] = 0
        for m in range(M):
            if first <= ids[m] < end:
                for e in range(E):
                    total[ids[m], e] += rows[m, e]


class Embedding(embedding.Embedding):
    """The face that runs these loops."""
    worth_compiling = True

    def add_up(self, ids, rows, V):
        total = np.empty((V, rows.shape[1]), rows.dtype)
        compiled(add_up)(ids, rows, total, thread_count())
        return total


embedding.Embedding.loops = Embedding
