"""Minibatches: an epoch is one pass over the data in random order, a few rows at a time."""
import numpy as np

from .. import backend
from ..tensor import Tensor


def batches(*arrays, batch_size, shuffle=True, drop_last=False, seed=None):
    """Walk once over `arrays`, which share their first axis: yields a Tensor (batch, ...), for several arrays a tuple.

    The order is drawn when batches() is called, from the library's generator, or from a new one if `seed` is given. The
    last batch may be smaller; drop_last=True leaves it out. Integer arrays stay integer. Raises ValueError.
    """
    arrays = [backend.to_numpy(array.data if isinstance(array, Tensor) else array) for array in arrays]
    if not arrays or any(array.ndim == 0 for array in arrays):
        raise ValueError(f"batches: got shapes {[array.shape for array in arrays]}, expected arrays with a first axis")
    if len({len(array) for array in arrays}) > 1:
        raise ValueError(f"batches: got arrays of {[len(array) for array in arrays]} rows, expected equal numbers")
    if batch_size < 1:
        raise ValueError(f"batches: got batch_size {batch_size}, expected at least 1")

    rows = len(arrays[0])
    generator = backend.generator() if seed is None else np.random.default_rng(seed)
    order = generator.permutation(rows) if shuffle else np.arange(rows)
    return _walk(arrays, chunks(order, batch_size, drop_last))


def chunks(order, batch_size, drop_last=False):
    """`order` cut into pieces of `batch_size`; the last may be smaller, drop_last=True leaves such a one out."""
    end = len(order) - len(order) % batch_size if drop_last else len(order)
    return [order[start:start + batch_size] for start in range(0, end, batch_size)]


def _walk(arrays, pieces):
    for chosen in pieces:
        batch = tuple(Tensor(array[chosen]) for array in arrays)        # a copy: never aliases the data
        yield batch if len(batch) > 1 else batch[0]
