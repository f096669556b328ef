"""The gradient of an embedding, one number at a time: ids (M,), rows (M, E), total some of the table's rows."""
import numpy as np

from ...faces import compiled
from ...threads import in_threads
from .. import embedding


def add_up(ids, rows, first, total):
    """Into the rows of the table from `first` on: each thread owns some of them, so that no two write to one."""
    M, E = rows.shape
    total[:] = 0
    for m in range(M):
        row = ids[m] - first
        if 0 <= row < len(total):
            for e in range(E):
                total[row, e] += rows[m, e]


class Embedding(embedding.Embedding):
    """The face that runs these loops."""
    worth_compiling = True

    def add_up(self, ids, rows, V):
        total = np.empty((V, rows.shape[1]), rows.dtype)
        in_threads(lambda i: compiled(add_up)(ids, rows, i.start, total[i]), total, rows.shape[1] + rows.size // max(1, V))
        return total


embedding.Embedding.loops = Embedding
