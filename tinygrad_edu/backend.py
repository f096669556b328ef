"""Floor 0: the arrays underneath. NumPy always, CuPy when asked for; no other file says `cupy`.

Everything above works on "arrays": numpy.ndarray on the host, cupy.ndarray on a GPU. Code that must call a
function of the right library asks `xp = array_module(x)` and writes `xp.exp(x)`; the two libraries agree on names.

Random numbers are always drawn on the host by one NumPy generator and then copied to the device, so `manual_seed(s)`
gives the same initial weights, the same shuffles and the same noise on both.
"""
import ctypes
import functools
import importlib.util
import threading

import numpy as np

_cupy = None            # the module, once a CUDA device was asked for
_device = "cpu"         # where new tensors are made
_generator = np.random.default_rng(0)
_own = threading.local()        # .generator: what this thread draws from instead, inside `drawing_from`


class DeviceError(RuntimeError):
    """The requested device cannot be used; the message says what is missing and how to get it."""


# ---------------------------------------------------------------- devices

def default_device():
    """Name of the device on which new tensors are made: "cpu" or "cuda"."""
    return _device


def set_default_device(device):
    """Make new tensors on `device`, "cpu" or "cuda". Raises DeviceError if there is no such device here."""
    global _device
    if check_device(device) == "cuda":
        _load_cupy()
    _device = device


def check_device(device):
    if device not in ("cpu", "cuda"):
        raise DeviceError(f"unknown device: got {device!r}, expected 'cpu' or 'cuda'")
    return device


def _load_cupy():
    """Import CuPy and make sure that it can run; three things may be missing and each has its own message."""
    global _cupy
    if _cupy is not None:
        return _cupy
    if importlib.util.find_spec("cupy") is None:
        raise DeviceError("device 'cuda': CuPy is not installed; pip install 'tinygrad-edu[cuda13]' (NVIDIA driver "
                          ">= 580) or 'tinygrad-edu[cuda12]' (driver >= 525)")
    import cupy
    if not cupy.cuda.is_available():
        raise DeviceError(f"device 'cuda': CuPy {cupy.__version__} is installed but finds no usable GPU or driver; "
                          "check `nvidia-smi`, or use device 'cpu'")
    try:
        cupy.cuda.nvrtc.getVersion()
    except Exception as error:
        raise DeviceError("device 'cuda': CuPy finds no NVRTC, so it cannot compile kernels; "
                          "pip install 'cupy-cuda13x[ctk]' (or cupy-cuda12x[ctk])") from error
    _cupy = cupy
    return cupy


def describe_devices():
    """One line for each device: what it is, and if it cannot be used, why."""
    lines = [f"cpu   NumPy {np.__version__}"]
    try:
        cupy = _load_cupy()
        name = cupy.cuda.runtime.getDeviceProperties(0)["name"].decode()
        lines.append(f"cuda  CuPy {cupy.__version__} on {name}")
    except DeviceError as error:
        lines.append(f"cuda  not usable: {error}")
    return "\n".join(lines)


def device_of(array):
    """"cpu" or "cuda": where `array` lies."""
    return "cpu" if isinstance(array, np.ndarray) else "cuda"


# ---------------------------------------------------------------- arrays

def array_module(array):
    """The library that `array` belongs to: `numpy` or `cupy`."""
    return _cupy if _cupy is not None and isinstance(array, _cupy.ndarray) else np


def uses_cupy():
    """True once a CUDA device was asked for; until then every array is NumPy's."""
    return _cupy is not None


def is_array(value):
    """True for an array of either library (not for lists or Python numbers)."""
    return isinstance(value, np.ndarray) or (_cupy is not None and isinstance(value, _cupy.ndarray))


def is_float(dtype):
    """Is `dtype` (a dtype or anything that names one) a floating-point type?"""
    return np.dtype(dtype).kind == "f"


def to_device(array, device=None):
    """`array` (anything NumPy understands, or a device array) on `device`, copied only if it must move."""
    if (check_device(device) if device else _device) == "cuda":
        return _load_cupy().asarray(array)
    return to_numpy(array)


def to_numpy(array):
    """`array` as a numpy.ndarray; a copy if it comes from a device, itself if it is on the host."""
    if _cupy is not None and isinstance(array, _cupy.ndarray):
        return array.get()
    return np.asarray(array)


def sum_rows(ids, rows, length):
    """total (length, ..) with total[ids[i]] += rows[i] from zero, repeated ids add up: ids (n,) integers, rows (n, ..).

    NumPy's add.at goes element by element. Instead ids are sorted, and the distinct ones ordered by how often they occur: then
    a second row is added to the first few of them at once, a third to fewer, and so on. Ids that occur more often than that
    pays for get the sum of all their rows, one id at a time.
    """
    xp = array_module(rows)
    total = xp.zeros((length,) + rows.shape[1:], rows.dtype)
    if xp is not np:
        xp.add.at(total, ids, rows)
        return total
    ids = ids % max(length, 1)                              # -1 is the last row
    order = np.argsort(ids.astype(np.min_scalar_type(length)), kind="stable")       # short integers are sorted by their digits
    ids = ids[order]
    starts = np.flatnonzero(np.diff(ids, prepend=-1) != 0)
    counts = np.diff(starts, append=len(ids))
    most_first = np.argsort(-counts, kind="stable")
    starts, counts = starts[most_first], counts[most_first]

    sums = rows.take(order[starts], axis=0)                 # of each distinct id the first row
    often = np.count_nonzero(counts > 32)
    for i in range(often):
        sums[i] = rows.take(order[starts[i] : starts[i] + counts[i]], axis=0).sum(axis=0)
    for k in range(1, counts[often:].max(initial=0)):       # and the next one, of those that have one
        some = slice(often, np.count_nonzero(counts > k))
        sums[some] += rows.take(order[starts[some] + k], axis=0)
    total[ids[starts]] = sums
    return total


def blocks(array, numbers_each=1, numbers=1 << 17):
    """Slices that cut the first axis of `array`, `numbers_each` numbers an item, into runs of about `numbers` numbers.

    That much stays in a core's cache while a kernel passes over it several times. Half of it would stay better, but two
    threads hand Python's lock to each other at every call of NumPy (some 5 us), so calls must be few. A GPU is given a
    thousand times as much.
    """
    step = max(1, numbers * (1 if device_of(array) == "cpu" else 1024) // max(1, numbers_each))
    return [slice(i, i + step) for i in range(0, len(array), step)]


def launch_cuda(source, name, blocks, threads, *arguments, shared=0, options=()):
    """Run the kernel `name` of a CUDA source with `blocks` blocks of `threads` threads each; with no blocks, nothing happens.

    Arrays must lie on the GPU, contiguous. Python numbers go as int and float, which in CUDA are 32 bits long. shared: how
    many floats of shared memory a block gets. A source is compiled on its first use, and CuPy keeps the result on disk.
    """
    if blocks:
        numbers = {int: np.int32, bool: np.int32, float: np.float32}
        values = tuple(numbers[type(a)](a) if type(a) in numbers else a for a in arguments)
        _cuda_function(_cupy.RawModule, source, name, options)((blocks,), (threads,), values, shared_mem=4 * shared)


@functools.cache
def _cuda_function(raw_module, source, name, options):
    return raw_module(code=source, options=options).get_function(name)


def synchronize():
    """Wait until the GPU, if one is in use, has done all that it was asked to do: a clock is read after that."""
    if _cupy is not None:
        _cupy.cuda.get_current_stream().synchronize()


def ignore_float_errors():
    """A `with` block in which log(0) and the like give infinities and NaNs without NumPy's warning."""
    return np.errstate(divide="ignore", invalid="ignore", over="ignore")


# ---------------------------------------------------------------- the process

def keep_freed_memory():
    """Ask glibc to keep freed arrays for the next ones. False where there is no glibc.

    By default it returns large blocks to the system at once, and every array of the next training step is paid for with
    page faults: a third of the time of a small U-Net.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError, TypeError):
        return False
    M_TRIM_THRESHOLD, M_MMAP_THRESHOLD = -1, -3
    return bool(mallopt(M_MMAP_THRESHOLD, 1 << 25) and mallopt(M_TRIM_THRESHOLD, 1 << 30))


keep_freed_memory()


# ---------------------------------------------------------------- randomness

def manual_seed(seed):
    """Restart the library's random numbers: weights, shuffles, dropout masks and noise. `seed`: an int >= 0."""
    global _generator
    _generator = np.random.default_rng(seed)
    return _generator


def generator():
    """The numpy.random.Generator that everything in the library draws from."""
    return getattr(_own, "generator", None) or _generator


class drawing_from:
    """A `with` block in which this thread draws from `generator` instead: its numbers no longer depend on other draws."""

    def __init__(self, generator):
        self.generator = generator

    def __enter__(self):
        self.before, _own.generator = getattr(_own, "generator", None), self.generator

    def __exit__(self, *exception):
        _own.generator = self.before
