"""Datasets. Whatever has len(d) and d[i] for i in 0..len-1 is one: a list, an array, or an object of these classes.

An item is a number, an array, or a tuple of such. A dataset that can give many items at once, already side by side, may
have a method `rows(ids)`; that is what makes arrays fast.
"""
import numpy as np

from .. import backend
from ..tensor import Tensor


class TensorDataset:
    """Arrays or Tensors with a common first axis. An item is a row of each, a tuple; of one array, the row alone."""

    def __init__(self, *arrays):
        self.arrays = [backend.to_numpy(array.data if isinstance(array, Tensor) else array) for array in arrays]
        shapes = [array.shape for array in self.arrays]
        if not shapes or () in shapes or len({shape[0] for shape in shapes}) > 1:
            raise ValueError(f"TensorDataset: got shapes {shapes}, expected arrays with equally many rows")

    def __len__(self):
        return len(self.arrays[0])

    def __getitem__(self, index):
        return self.rows(index)

    def rows(self, ids):
        """The rows `ids` of every array."""
        rows = tuple(array[ids] for array in self.arrays)
        return rows if len(rows) > 1 else rows[0]


class Subset:
    """The items `indices` of a dataset, in this order."""

    def __init__(self, dataset, indices):
        self.dataset, self.indices = dataset, np.asarray(indices, np.int64)
        if self.indices.ndim != 1 or not ((0 <= self.indices) & (self.indices < len(dataset))).all():
            raise ValueError(f"Subset: got indices of shape {self.indices.shape} in {self.indices.min(initial=0)}.."
                             f"{self.indices.max(initial=0)}, expected a list of numbers in 0..{len(dataset) - 1}")

    def __len__(self):
        return len(self.indices)

    def __getitem__(self, index):
        return self.dataset[int(self.indices[index])]

    def rows(self, ids):
        """The items `ids` of this subset side by side."""
        return side_by_side(self.dataset, self.indices[ids])


class ConcatDataset:
    """Datasets one after the other."""

    def __init__(self, datasets):
        self.datasets = list(datasets)
        self.ends = np.cumsum([len(dataset) for dataset in self.datasets])

    def __len__(self):
        return int(self.ends[-1]) if self.datasets else 0

    def __getitem__(self, index):
        if not -len(self) <= index < len(self):
            raise IndexError(f"ConcatDataset: got index {index}, expected one of {len(self)} items")
        index %= len(self)
        which = int(np.searchsorted(self.ends, index, side="right"))
        start = self.ends[which] - len(self.datasets[which])
        return self.datasets[which][int(index - start)]


def random_split(dataset, lengths, seed=None):
    """Random Subsets that share no item. `lengths`: numbers of items, whose sum is len(dataset), or shares, whose sum is 1.

    A share is rounded down, and what is left goes to the first ones, one item each. The order comes from the library's
    generator, or from a new one if `seed` is given.
    """
    total = len(dataset)
    if all(0 <= length <= 1 for length in lengths) and abs(sum(lengths) - 1) < 1e-9 and sum(lengths) != total:
        sizes = [int(length * total + 1e-9) for length in lengths]
        left = total - sum(sizes)
        sizes = [size + (i < left) for i, size in enumerate(sizes)]
    else:
        sizes = list(lengths)
    if sum(sizes) != total or min(sizes, default=0) < 0:
        raise ValueError(f"random_split: got lengths {list(lengths)}, expected numbers with sum {total} or shares with sum 1")

    generator = backend.generator() if seed is None else np.random.default_rng(seed)
    order, ends = generator.permutation(total), np.cumsum(sizes)
    return [Subset(dataset, order[end - size:end]) for size, end in zip(sizes, ends)]


def side_by_side(dataset, ids):
    """The items `ids` of any dataset as one batch: default_collate of them, all at once where the dataset can."""
    return dataset.rows(ids) if hasattr(dataset, "rows") else default_collate([dataset[int(i)] for i in ids])


def default_collate(items):
    """A list of items side by side: numbers and arrays of one shape become an array (n, ...), tuples a tuple of such.

    Python floats become float32, as in Tensor.
    """
    first = items[0]
    if isinstance(first, (tuple, list)):
        if len(lengths := {len(item) for item in items}) > 1:
            raise ValueError(f"default_collate: got tuples of lengths {sorted(lengths)}, expected one length")
        return tuple(default_collate(column) for column in zip(*items))

    arrays = [backend.to_numpy(item.data if isinstance(item, Tensor) else item) for item in items]
    shapes, dtype = {array.shape for array in arrays}, arrays[0].dtype
    if len(shapes) > 1 or dtype.kind not in "biuf":
        raise ValueError(f"default_collate: got {dtype} items of shapes {sorted(shapes)}, expected numbers of one shape; "
                         "pass a collate_fn for other items, for instance one that pads")
    batch = np.stack(arrays)
    return batch.astype(np.float32) if isinstance(first, float) else batch
