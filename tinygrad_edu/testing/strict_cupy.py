"""A stand-in for CuPy where there is no GPU: NumPy underneath, CuPy's refusals on top.

Its arrays are opaque. They refuse to meet host arrays, to be converted without being asked, and names or keywords that CuPy
does not have (cupy_names.txt, read off the real package). CUDA kernels run on the CPU, where there is g++. Results are arrays, never scalars. Where CuPy's answer is
undefined (two different values written to one place) there is an error. Whatever makes the host wait for the device is
counted in `syncs`, whatever goes up from host memory in `uploads`.

`python -m tinygrad_edu.testing.strict_cupy`, where CuPy can be imported, writes cupy_names.txt anew.
"""
import contextlib
import importlib.machinery
import inspect
import operator
import pathlib
import sys
import types

import numpy as np

from .. import backend
from . import cuda_cpu

NAMES_FILE = pathlib.Path(__file__).with_name("cupy_names.txt")
ADDS = {"add": "ilfdeILQ", "maximum": "ilfdILQ", "minimum": "ilfdILQ", "subtract": "iI"}   # dtypes of each `ufunc.at`
SYNCING = {"nonzero", "ndarray.nonzero", "unique", "array_equal", "allclose"}              # these look at values
counts = {"syncs": 0, "uploads": 0}


# ---------------------------------------------------------------- down into NumPy and up again

def lower(x, caller):
    """The NumPy value inside an argument; host arrays are refused."""
    if isinstance(x, ndarray):
        return x._host
    if isinstance(x, np.ndarray):
        raise TypeError(f"cupy.{caller}: got a numpy.ndarray, expected a cupy.ndarray (move it with cupy.asarray)")
    return type(x)(lower(i, caller) for i in x) if type(x) in (list, tuple) else x

def wrap(x):
    """NumPy's answer as CuPy would give it: arrays, 0-d ones too."""
    if isinstance(x, (np.ndarray, np.generic)):
        return ndarray._around(np.asarray(x))
    if hasattr(x, "_fields"):
        return type(x)(*map(wrap, x))
    return type(x)(map(wrap, x)) if type(x) in (list, tuple) else x

def function(name, numpys, keywords):
    """The CuPy function `name`, which computes with NumPy's."""
    is_ufunc = isinstance(numpys, np.ufunc)

    def call(*arguments, **options):
        if unknown := set(options) - keywords if keywords is not None else ():
            raise TypeError(f"cupy.{name}: got an unexpected keyword argument {sorted(unknown)[0]!r}")
        if is_ufunc and any(isinstance(a, (list, tuple)) for a in arguments):
            raise TypeError(f"cupy.{name}: got a list, expected arrays or numbers")
        if name == "linalg.solve" and arguments[0].shape[:-1] != arguments[1].shape[:-1]:
            raise ValueError(f"cupy.{name}: got shapes {[a.shape for a in arguments]}, expected equal batches")
        counts["syncs"] += name in SYNCING
        answer = numpys(*[lower(a, name) for a in arguments], **{k: lower(v, name) for k, v in options.items()})
        return wrap(answer) if options.get("out") is None else options["out"]

    def at(array, index, values):
        if array.dtype.char not in ADDS.get(name, ""):
            raise TypeError(f"cupy.{name}.at: does not support {array.dtype}")
        numpys.at(array._host, plain_index(index), lower(values, name))

    if is_ufunc:
        call.at = at
    return call

def plain_index(index):
    """An index of NumPy's. A mask costs a synchronisation, for its size; a host array a silent upload: refused."""
    if isinstance(index, tuple):
        return tuple(map(plain_index, index))
    if isinstance(index, (list, np.ndarray, np.bool_)):
        raise TypeError(f"cupy.ndarray: indexed with a {type(index).__name__} of the host, expected a cupy.ndarray")
    if isinstance(index, ndarray) and index.dtype == bool:
        counts["syncs"] += 1
    return lower(index, "__getitem__")


# ---------------------------------------------------------------- the array

class ndarray:
    __slots__ = ("_host",)
    __hash__ = None

    @classmethod
    def _around(cls, host):
        if host.dtype.kind not in "biufc" or host.dtype.itemsize > 16:
            raise ValueError(f"cupy.ndarray: unsupported dtype {host.dtype}")
        self = cls.__new__(cls)
        self._host = host
        return self

    def __array__(self, *_, **__):
        raise TypeError("Implicit conversion to a NumPy array is not allowed. Please use `.get()`.")

    def __array_ufunc__(self, ufunc, method, *inputs, **options):
        if method == "__call__" and any(isinstance(i, np.generic) for i in inputs):
            return function(ufunc.__name__, ufunc, set())(*inputs, **options)           # a NumPy scalar times an array
        raise TypeError(f"numpy.{ufunc.__name__} was called on a cupy.ndarray, expected cupy.{ufunc.__name__}")

    def __array_function__(self, numpys, *_):
        raise TypeError(f"numpy.{numpys.__name__} was called on a cupy.ndarray, expected cupy.{numpys.__name__}")

    def __getitem__(self, index):
        return wrap(np.asarray(self._host[plain_index(index)]))

    def __setitem__(self, index, value):
        index, value = plain_index(index), lower(value, "__setitem__")
        places = np.arange(self._host.size).reshape(self._host.shape)[index]
        self._host[index] = value
        if not np.array_equal(self._host[index], np.broadcast_to(value, places.shape).astype(self.dtype), equal_nan=True):
            raise IndexError("cupy.ndarray: two values were written to one place; which one stays is undefined")

    def __len__(self):
        return len(self._host)

    def __iter__(self):
        return map(wrap, self._host)

    def __repr__(self):
        return repr(self.get())


def looked_at(name):
    def method(self, *arguments):
        counts["syncs"] += 1
        return getattr(self._host, name)(*arguments)
    return method

def method(name, keywords):
    def call(self, *arguments, **options):
        return function(f"ndarray.{name}", getattr(self._host, name), keywords)(*arguments, **options)
    return call

def operation(name):
    """An operator: arrays of the device and numbers only; what declines NumPy's ufuncs (a Tensor) is asked instead."""
    def call(self, other):
        if isinstance(other, ndarray):
            other = other._host
        elif getattr(other, "__array_ufunc__", self) is None:
            return NotImplemented
        elif not isinstance(other, (int, float, complex, np.generic)):
            raise TypeError(f"cupy.ndarray.{name}: got {type(other)}, expected a cupy.ndarray or a number")
        answer = getattr(self._host, name)(other)
        return self if name.startswith("__i") else wrap(answer)
    return call


for _name in "add sub mul truediv floordiv mod pow matmul and or xor lshift rshift".split():
    for _side in ("", "r", "i"):
        setattr(ndarray, f"__{_side}{_name}__", operation(f"__{_side}{_name}__"))
for _name in ("__lt__", "__le__", "__gt__", "__ge__", "__eq__", "__ne__"):
    setattr(ndarray, _name, operation(_name))
for _name in ("__neg__", "__pos__", "__abs__", "__invert__"):
    setattr(ndarray, _name, lambda self, unary=getattr(operator, _name): wrap(unary(self._host)))
for _name in ("__bool__", "__int__", "__float__", "__index__", "__complex__", "item", "tolist"):
    setattr(ndarray, _name, looked_at(_name))
ndarray.get = looked_at("copy")
for _name in ("shape", "dtype", "ndim", "size", "nbytes", "itemsize", "strides", "flags"):
    setattr(ndarray, _name, property(operator.attrgetter(f"_host.{_name}")))
for _name in ("T", "mT", "real", "imag"):
    setattr(ndarray, _name, property(lambda self, get=operator.attrgetter(f"_host.{_name}"): wrap(get(self))))
ndarray.base = property(lambda self: self._host)        # leads to the same owner from every view


# ---------------------------------------------------------------- the module

def read_names():
    """{name: set of keywords, or None where any may be given} of everything that CuPy has."""
    lines = [line.split() for line in NAMES_FILE.read_text().splitlines() if line[0] != "#"]
    return {name: None if keywords == ["*"] else set(keywords) for name, *keywords in lines}

def module():
    """A new module `cupy`."""
    lib, linalg, tricks = package("cupy"), package("cupy.linalg"), package("cupy.lib.stride_tricks")
    lib.linalg, lib.lib = linalg, package("cupy.lib", stride_tricks=tricks)
    homes = {"": (lib, np), "linalg": (linalg, np.linalg), "lib.stride_tricks": (tricks, np.lib.stride_tricks)}
    for name, keywords in read_names().items():
        part, _, short = name.rpartition(".")
        home, numpys = homes.get(part, (None, None))
        if part == "ndarray" and hasattr(np.ndarray, short) and not hasattr(ndarray, short):
            setattr(ndarray, short, method(short, keywords))
        elif hasattr(numpys, short):
            found = getattr(numpys, short)
            plain = isinstance(found, type) or not callable(found)
            setattr(home, short, found if plain else function(name, found, keywords))
    lib.ndarray, lib.array, lib.asarray, lib.RawModule = ndarray, upload, upload_if_needed, RawModule
    lib.__version__ = "14.2.0"
    lib.cuda = types.SimpleNamespace(
        is_available=lambda: True, nvrtc=types.SimpleNamespace(getVersion=lambda: (12, 9)),
        runtime=types.SimpleNamespace(getDeviceProperties=lambda i: {"name": b"a strict stand-in"}))
    return lib

def package(name, **members):
    """A module that importlib finds by name."""
    made = types.ModuleType(name)
    made.__spec__ = importlib.machinery.ModuleSpec(name, None)
    vars(made).update(members)
    return made

def upload(x, dtype=None, copy=True):
    """cupy.array: the one way in for host arrays."""
    counts["uploads"] += not isinstance(x, ndarray)
    return ndarray._around(np.array(x._host if isinstance(x, ndarray) else x, dtype=dtype))

def upload_if_needed(x, dtype=None):
    return x if isinstance(x, ndarray) and dtype in (None, x.dtype) else upload(x, dtype)

class RawModule(cuda_cpu.RawModule):
    """Kernels written in CUDA C, run on the CPU."""

    def get_function(self, name):
        kernel = super().get_function(name)

        def call(grid, block, args, *, shared_mem=0):
            kernel(grid, block, [lower(a, "RawKernel") for a in args], shared_mem=shared_mem)
        return call

@contextlib.contextmanager
def installed(backend, lib):
    """Inside the `with` block `import cupy` finds `lib` (None: nothing); the backend has forgotten it before and after."""
    before, device = sys.modules.get("cupy"), backend._device
    sys.modules["cupy"], backend._cupy = lib, None
    counts.update(syncs=0, uploads=0)
    try:
        yield lib
    finally:
        backend._cupy, backend._device = None, device
        sys.modules.pop("cupy") if before is None else sys.modules.update(cupy=before)


@contextlib.contextmanager
def strict_cupy():
    """Inside the `with` block device "cuda" is a stand-in; gives `counts`: "syncs" and "uploads" since its beginning."""
    with installed(backend, module()):
        yield counts


# ---------------------------------------------------------------- reading the real package

def write_names():
    """List every public name of the installed CuPy, with the keywords it takes (`*`: any, or unknown)."""
    import cupy
    import cupy.lib.stride_tricks
    homes = {"": cupy, "linalg.": cupy.linalg, "fft.": cupy.fft, "lib.stride_tricks.": cupy.lib.stride_tricks,
             "ndarray.": cupy.ndarray}
    lines = [f"# CuPy {cupy.__version__}: every public name, and the keywords it takes (*: any, or unknown)"]
    for prefix, home in homes.items():
        for name in sorted(dir(home)):
            if name[0] != "_" and not inspect.ismodule(getattr(home, name)):
                lines.append(f"{prefix}{name} {keywords_of(getattr(home, name), getattr(cupy, name, None))}".strip())
    NAMES_FILE.write_text("\n".join(lines) + "\n")

def keywords_of(found, namesake):
    """Methods do not tell theirs: then those of the function of the same name."""
    if type(found).__name__ == "ufunc":
        return "out dtype casting"
    try:
        parameters = inspect.signature(found).parameters.values()
    except (TypeError, ValueError):
        return "*" if namesake in (None, found) else keywords_of(namesake, None)
    return "*" if any(p.kind is p.VAR_KEYWORD for p in parameters) else " ".join(p.name for p in parameters)


if __name__ == "__main__":
    write_names()
