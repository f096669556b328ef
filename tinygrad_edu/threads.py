"""Floor 0: work shared among threads. No other file of the library touches threads.

NumPy lets go of Python's lock while it computes, so two threads that each work on half of a batch really run side by
side. One exception: `a @ b` keeps the lock if its result has 500 numbers or fewer, however long its sums are. Kernels write
such products of matrices as a.dot(b), which lets go of it.

Handing work over costs about 0.04 ms, so only large arrays are shared; of a matrix product the caller takes more than half,
for a helper begins late. Where work is many short calls instead of one long one, that gains nothing. Meanwhile BLAS
must use one thread a caller: its own threads and ours would fight for the same cores.

How many threads: TINYGRAD_EDU_THREADS or OMP_NUM_THREADS if set, one for each rank of an MPI run, else the number of
cores that this process may use.
"""
import contextlib
import ctypes
import functools
import os
import pathlib
import queue
import threading

import numpy as np

_WORTH_SHARING = 1 << 19        # numbers passed over, about 0.1 ms; less is done faster alone
_AHEAD = 1 << 17                # numbers passed over until a helper has started
_LARGE_PRODUCT = 1 << 18        # multiplications: OpenBLAS uses several threads for more
_inside = threading.local()     # .busy: this thread is working on its part already
_count = None


def thread_count():
    """How many threads share the work of a kernel."""
    global _count
    if _count is None:
        _count = _first_count()
    return _count


def set_threads(count):
    """Share work among `count` threads, at least 1."""
    global _count
    if count < 1:
        raise ValueError(f"set_threads: got {count}, expected at least 1")
    _count = int(count)


def _first_count():
    if any(int(os.environ.get(name) or 1) > 1 for name in ("OMPI_COMM_WORLD_SIZE", "PMI_SIZE")):
        return 1
    for name in ("TINYGRAD_EDU_THREADS", "OMP_NUM_THREADS"):
        if os.environ.get(name, "").isdigit():
            return max(1, int(os.environ[name]))
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def in_threads(work, array, numbers_each=1, ahead=0):
    """[work(slice), ..] for slices that cut the first axis of `array` among the threads: the answers, in their order.

    numbers_each: how many numbers the work passes over for each item of that axis, all passes together; it decides
    whether sharing is worth it. ahead: how many of them the caller does before all share the rest equally. Arrays on a GPU
    are never cut: `work` is called once, with all of it.
    """
    length = len(array)
    count = min(thread_count(), length)
    if count < 2 or length * numbers_each < _WORTH_SHARING or not isinstance(array, np.ndarray) or _busy():
        return [work(slice(0, length))]

    head = min(ahead // max(1, numbers_each), length - count)
    edges, answers = [0, *(head + (length - head) * i // count for i in range(1, count + 1))], queue.SimpleQueue()
    first, *others = [slice(a, b) for a, b in zip(edges, edges[1:])]
    with blas_threads(1):
        for place, part in enumerate(others):
            _helper(place).put((work, part, place + 1, answers))
        try:
            results = {0: _alone(work, first)}
        finally:
            found = [answers.get() for _ in others]     # Ctrl-C too waits until nobody writes into the arrays any more
    for place, result, error in found:
        if error is not None:
            raise error
        results[place] = result
    return [results[place] for place in range(count)]


def _alone(work, part):
    """Work on a part in this thread; what it calls is not shared again."""
    _inside.busy = True
    try:
        return work(part)
    finally:
        _inside.busy = False


def _busy():
    return getattr(_inside, "busy", False)


@functools.cache
def _helper(place):
    """The queue of tasks of one more thread."""
    tasks = queue.SimpleQueue()
    threading.Thread(target=_help, args=(tasks,), daemon=True, name=f"tinygrad_edu {place}").start()
    return tasks


def _help(tasks):
    while True:
        work, part, place, answers = tasks.get()
        try:
            answer = place, _alone(work, part), None
        except BaseException as error:
            answer = place, None, error
        answers.put(answer)
        del work, part, answers, answer                 # an idle thread must not keep arrays alive


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_helper.cache_clear)     # threads do not survive a fork


def each(function, x):
    """function(x) for a function of NumPy's that costs as much as e^x does; a large array is shared among threads."""
    if type(x) is not np.ndarray or 3 * x.size < _WORTH_SHARING or not x.flags.c_contiguous or x.dtype.kind != "f":
        return function(x)
    y = np.empty_like(x)
    numbers, answers = x.reshape(-1), y.reshape(-1)
    in_threads(lambda part: function(numbers[part], out=answers[part]), numbers, 3)
    return y


def product(a, b):
    """a @ b of arrays or Tensors, a large product of two matrices shared among our threads, cut along its longer side.

    OpenBLAS would share it among its own, which then go on spinning for a while, on the cores that ours need next.
    """
    if a.ndim != 2 or b.ndim != 2 or a.size * b.shape[1] <= _LARGE_PRODUCT or not isinstance(a, np.ndarray):
        return a @ b
    y = np.empty((len(a), b.shape[1]), np.result_type(a, b))
    with blas_threads(1):
        if len(a) >= b.shape[1]:
            in_threads(lambda rows: np.matmul(a[rows], b, out=y[rows]), a, b.size // 8, _AHEAD)
        else:
            in_threads(lambda columns: np.matmul(a, b[:, columns], out=y[:, columns]), b.T, a.size // 8, _AHEAD)
    return y


# ---------------------------------------------------------------- BLAS

def set_blas_threads(count):
    """Let NumPy's matrix products use `count` threads. False where NumPy does not come with OpenBLAS.

    Lessons use one: for products as small as theirs two are no faster, and ten times as slow if another program is busy.
    """
    if _openblas() is None:
        return False
    set_count, _ = _openblas()
    set_count(count)
    return True


@contextlib.contextmanager
def blas_threads(count):
    """Inside the `with` block NumPy's matrix products use `count` threads."""
    if _openblas() is None:
        yield
        return
    set_count, get_count = _openblas()
    before = get_count()
    set_count(count)
    try:
        yield
    finally:
        set_count(before)


@functools.cache
def _openblas():
    """OpenBLAS's functions (set, get) for its number of threads, or None."""
    for path in pathlib.Path(np.__file__).parents[1].glob("numpy.libs/*openblas*"):
        library = ctypes.CDLL(str(path))
        for prefix, suffix in (("scipy_openblas", "64_"), ("openblas", "64_"), ("openblas", "")):
            if hasattr(library, f"{prefix}_set_num_threads{suffix}"):
                return tuple(getattr(library, f"{prefix}_{verb}_num_threads{suffix}") for verb in ("set", "get"))
    return None
