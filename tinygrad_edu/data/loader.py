"""The loader: batches of a dataset, shuffled, transformed, made ahead of time by a thread, and resumable.

Every batch is a function of three numbers, (seed, epoch, number in the epoch), for the order is drawn from the first two and
the transform draws from a generator made of all three. So nothing depends on who makes a batch or when, and three
numbers are all that a checkpoint must keep.
"""
import queue
import threading

import numpy as np

from .. import backend
from ..tensor import Tensor
from .batching import chunks
from .dataset import side_by_side


class DataLoader:
    """Batches of `dataset`, once through for every `for` loop: Tensors (n, ...), or tuples of Tensors.

    collate_fn: makes a batch of NumPy arrays from a list of items; whatever else it returns is handed on as it is.
    transform: called with the arrays of a batch, `transform(x)` or `transform(x, y)`, returns what to use instead; it may
    draw from backend.generator(). prefetch: how many batches a thread makes ahead, 0 for no thread. seed: drawn from the
    library's generator if None.

    state_dict() between two batches and load_state_dict() in another run: its next loop goes on with the next batch.
    """

    def __init__(self, dataset, batch_size=1, shuffle=False, drop_last=False, collate_fn=None, transform=None, seed=None,
                 prefetch=0):
        if batch_size < 1 or prefetch < 0:
            raise ValueError(f"DataLoader: got batch_size {batch_size} and prefetch {prefetch}, expected at least 1 and 0")
        self.dataset, self.batch_size, self.shuffle, self.drop_last = dataset, batch_size, shuffle, drop_last
        self.collate_fn, self.transform, self.prefetch = collate_fn, transform, prefetch
        self.seed = int(backend.generator().integers(1 << 32)) if seed is None else seed
        self.epoch, self.batch = 0, 0           # the next batch to be handed out
        self._next = (0, 0)                     # where the next loop starts

    def __len__(self):
        """Batches in an epoch."""
        full, rest = divmod(len(self.dataset), self.batch_size)
        return full + (rest > 0 and not self.drop_last)

    def state_dict(self):
        return {"seed": self.seed, "epoch": self.epoch, "batch": self.batch}

    def load_state_dict(self, state):
        self.seed, self.epoch, self.batch = state["seed"], state["epoch"], state["batch"]
        self._next = (self.epoch, self.batch)

    def __iter__(self):
        self.epoch, self.batch = self._next
        self._next = (self.epoch + 1, 0)
        return self._walk(self.epoch, self.batch)

    def _walk(self, epoch, start):
        jobs = [(epoch, number, ids) for number, ids in enumerate(self._pieces(epoch))][start:]
        for (_, number, _), batch in zip(jobs, self._made(jobs)):
            self.epoch, self.batch = epoch, number + 1
            yield _tensors(batch)
        self.epoch, self.batch = epoch + 1, 0

    def _pieces(self, epoch):
        rows = len(self.dataset)
        order = np.random.default_rng((self.seed, epoch)).permutation(rows) if self.shuffle else np.arange(rows)
        return chunks(order, self.batch_size, self.drop_last)

    def _made(self, jobs):
        return made_ahead(self._make, jobs, self.prefetch) if self.prefetch else map(self._make, jobs)

    def _make(self, job):
        epoch, number, ids = job
        with backend.drawing_from(np.random.default_rng((self.seed, epoch, number + 1))):
            if self.collate_fn is None:
                batch = side_by_side(self.dataset, ids)
            else:
                batch = self.collate_fn([self.dataset[int(i)] for i in ids])
            if self.transform is not None:
                batch = self.transform(*batch) if isinstance(batch, tuple) else self.transform(batch)
        return batch


def made_ahead(make, jobs, ahead):
    """Yield make(job) for every job in order; a thread is up to `ahead` of them in front.

    What `make` raises is raised here, with its traceback. The thread ends with this generator, also when the caller leaves
    the loop early.
    """
    room, done, left = threading.Semaphore(ahead), queue.SimpleQueue(), threading.Event()

    def work():
        for job in jobs:
            room.acquire()
            if left.is_set():
                return
            try:
                done.put((make(job), None))
            except BaseException as error:                  # the caller waits for an answer, whatever happens
                done.put((None, error))
                return

    thread = threading.Thread(target=work, daemon=True, name="tinygrad_edu DataLoader")
    thread.start()
    try:
        for _ in jobs:
            result, error = done.get()
            if error is not None:
                raise error
            room.release()
            yield result
    finally:
        left.set()
        room.release()
        thread.join()


def _tensors(batch):
    """Arrays as Tensors on the default device, also inside tuples, lists and dicts."""
    if isinstance(batch, np.ndarray):
        return Tensor(batch)
    if isinstance(batch, (tuple, list)):
        return type(batch)(_tensors(part) for part in batch)
    if isinstance(batch, dict):
        return {key: _tensors(part) for key, part in batch.items()}
    return batch
