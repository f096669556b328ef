"""Floor 0: which face of a kernel runs. The answers are the same, the way to them is not.

    reference   the composition of primitives that defines it: formulas, differentiable to any order
    arrays      NumPy or CuPy calls on whole arrays: the one to step through
    loops       plain Python loops over single numbers, for tiny inputs: the algorithm with nothing hidden
    compiled    the same loops compiled by numba (the extra `fast`), or on a GPU hand-written CUDA, wherever that is
                measurably faster than the arrays; the default, and `arrays` where there is no numba

`TINYGRAD_EDU_KERNELS=reference python ...` chooses for a process, `with kernel_face("loops"):` for a block.
"""
import contextlib
import functools
import importlib.util
import os
import types

FACES = ("reference", "arrays", "loops", "compiled")

# Sums may be regrouped, which is what lets a processor add eight numbers at once; NaN and infinity keep their meaning.
_FAST_MATH = {"reassoc", "contract", "arcp", "nsz", "afn"}


def has_numba():
    """Is numba installed?"""
    return importlib.util.find_spec("numba") is not None


def checked(name):
    """`name` if it is a face, and can be had."""
    if name not in FACES:
        raise ValueError(f"kernel face: got {name!r}, expected one of {', '.join(FACES)}")
    return name


def _first():
    if os.environ.get("TINYGRAD_EDU_REFERENCE", "0") not in ("", "0"):
        return "reference"
    return checked(os.environ.get("TINYGRAD_EDU_KERNELS") or "compiled")


current = _first()
can_compile = has_numba()


@contextlib.contextmanager
def kernel_face(name):
    """Inside the `with` block kernels run this face: "reference", "arrays", "loops" or "compiled".

    A kernel without that face runs its arrays; so does "compiled" where numba is not installed.
    """
    global current
    before, current = current, checked(name)
    try:
        yield
    finally:
        current = before


def reference_only(enabled=True):
    """Inside the `with` block every kernel runs its definition, so the whole library steps through as formulas."""
    return kernel_face("reference" if enabled else "compiled")


def loops_wanted(worth_compiling):
    """Is a kernel to run its loops now? `worth_compiling`: compiled, they beat the arrays."""
    return current == "loops" or (current == "compiled" and worth_compiling and can_compile)


def compiled(function):
    """`function`, one of plain loops over numbers: compiled by numba, or itself for the face "loops".

    The compiled function lets go of Python's lock, so threads can share its work like that of NumPy's functions.
    """
    return function if current == "loops" else _compile(function)


@functools.cache
def _compile(function):
    """Compiled on the first call with each dtype, and kept on disk for the next process."""
    import numba
    return numba.njit(nogil=True, cache=True, fastmath=_FAST_MATH, error_model="numpy")(_linked(function))


def _linked(function):
    """A copy of `function` that calls compiled copies of what stands in its own file or in one beside it."""
    import numba
    names, package = dict(function.__globals__), function.__module__.rpartition(".")[0]
    for name in function.__code__.co_names:
        called = names.get(name)
        ours = isinstance(called, types.FunctionType) and called.__module__.rpartition(".")[0] == package
        if ours and called is not function:
            names[name] = numba.njit(fastmath=_FAST_MATH, error_model="numpy")(_linked(called))
    copy = types.FunctionType(function.__code__, names, function.__name__, function.__defaults__)
    copy.__module__, copy.__qualname__ = function.__module__, function.__qualname__
    return copy
