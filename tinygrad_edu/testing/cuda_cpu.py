"""CUDA kernels where there is no GPU: CuPy's RawModule, played by g++ and a scheduler for the threads (cuda_cpu.h).

    module = RawModule(code=source)
    module.get_function("layer_norm_forward")((blocks,), (threads,), (x, w, np.float32(1e-5), y), seed=1)

takes NumPy arrays and is strict where a GPU is silent. Arguments must have the very types of the source, arrays be contiguous.
Each array lies between guard zones of NaN: to write there is an error, to read there shows. Shared memory starts as NaN.
`seed` shuffles blocks, warps and threads (0: in order), so a missing barrier shows with one seed or another. Threads change
only at barriers, though: that two of them add to one number without an atomic, nothing here will tell.
"""
import ctypes
import functools
import hashlib
import itertools
import pathlib
import re
import shutil
import subprocess
import tempfile

import numpy as np

HEADER = pathlib.Path(__file__).with_name("cuda_cpu.h")
DTYPES = {"f": np.dtype("float32"), "d": np.dtype("float64"), "i": np.dtype("int32"), "x": np.dtype("int64")}   # g++'s letters
SHARED_LIMIT, THREADS_LIMIT, GUARD = 48 << 10, 1024, 1 << 14                                # bytes, threads, bytes
KERNEL = re.compile(r'extern\s+"C"\s+__global__\s+void\s+(?:__launch_bounds__\([^)]*\)\s+)?(\w+)\s*\(')
DYNAMIC = re.compile(r"extern\s+__shared__\s+(\w+)\s+(\w+)\s*\[\s*\]\s*;")


def can_compile():
    """Is there a g++?"""
    return shutil.which("g++") is not None


class RawModule:
    """The kernels of one CUDA source. options: those of the form -DNAME=VALUE reach the compiler."""

    def __init__(self, *, code, options=()):
        self.library = compile(code, tuple(option for option in options if option.startswith("-D")))

    def get_function(self, name):
        return Function(self.library, name)


@functools.cache
def compile(code, defines=()):
    """The library made of a CUDA source. Compiled once in a process."""
    if not can_compile():
        raise RuntimeError("CUDA kernels run on the CPU by way of g++, which is not installed")
    body = DYNAMIC.sub(r"\1* \2 = (\1*)cpu::dynamic_shared.data();", code)
    launchers = "".join(f"LAUNCHABLE({name})\n" for name in KERNEL.findall(code))
    path = f"{_folder().name}/{hashlib.sha256(repr((code, defines)).encode()).hexdigest()[:16]}.so"
    _compiler(f'#include "{HEADER.name}"\n#line 1 "kernel.cu"\n{body}\n{launchers}',
              "-x", "c++", "-", "-shared", f"-I{_folder().name}", *defines, "-o", path)
    return ctypes.CDLL(path)


@functools.cache
def _folder():
    """A folder that lives as long as the process. In it the header, compiled once, which saves a third of the time."""
    folder = tempfile.TemporaryDirectory(prefix="cuda_cpu_")
    _compiler("", "-x", "c++-header", str(HEADER), "-o", f"{folder.name}/{HEADER.name}.gch")
    return folder


def _compiler(text, *options):
    done = subprocess.run(["g++", "-std=c++17", "-O1", "-fPIC", *options], input=text, capture_output=True, text=True)
    if done.returncode:
        raise SyntaxError(done.stderr)


class Function:
    """One kernel: function(grid, block, arguments), as CuPy's RawKernel."""

    def __init__(self, library, name):
        if not hasattr(library, f"{name}_launch"):
            raise AttributeError(f"the source has no kernel {name!r}")
        self.name, self._launch, argument = name, library[f"{name}_launch"], library[f"{name}_argument"]
        self._launch.restype = argument.restype = ctypes.c_char_p
        self.types = [t.decode() for t in itertools.takewhile(bool, map(argument, itertools.count()))]     # PKf: const float*

    def __call__(self, grid, block, args, *, shared_mem=0, seed=1):
        self._check(grid, block, args, shared_mem)
        values = [self._value(i, a) for i, a in enumerate(args)]
        slots = (ctypes.c_void_p * len(args))(*[v.slot for v in values])
        error = self._launch(_dim3(grid), _dim3(block), ctypes.c_size_t(shared_mem), seed, slots)
        if error:
            raise RuntimeError(f"{self.name}: {error.decode()}")
        for i, value in enumerate(values):
            if not value.untouched_around():
                raise IndexError(f"{self.name}: wrote outside of argument {i}")
            value.take_back()

    def _check(self, grid, block, args, shared_mem):
        if len(args) != len(self.types):
            raise TypeError(f"{self.name}: got {len(args)} arguments, expected {len(self.types)}")
        if min(*grid, *block, 1) < 1 or np.prod(block) > THREADS_LIMIT or np.prod(block) % 32:
            raise ValueError(f"{self.name}: got {grid} blocks of {block} threads, expected at least one block of at most "
                             f"{THREADS_LIMIT} threads, in whole warps of 32")
        if shared_mem > SHARED_LIMIT:
            raise ValueError(f"{self.name}: got {shared_mem} bytes of shared memory, expected at most {SHARED_LIMIT}")
        arrays = [(i, a) for i, a in enumerate(args) if isinstance(a, np.ndarray) and a.size]
        for i, a in arrays:
            if self.types[i][:2] != "PK" and any(np.may_share_memory(a, b) for j, b in arrays if j != i):
                raise ValueError(f"{self.name}: argument {i} is written, and shares its memory with another one")

    def _value(self, i, a):
        kind, dtype = self.types[i], DTYPES[self.types[i][-1]]
        is_array = kind[0] == "P"
        wanted = f"{self.name}: argument {i} is to be {'an array' if is_array else 'a NumPy scalar'} of {dtype}"
        if isinstance(a, np.ndarray) != is_array or getattr(a, "dtype", None) != dtype:
            raise TypeError(f"{wanted}, got {type(a).__name__} {getattr(a, 'dtype', '')}")
        if is_array and not a.flags.c_contiguous:
            raise ValueError(f"{wanted}, got one that is not contiguous")
        return _Guarded(a, written=kind[:2] != "PK") if is_array else _Scalar(a)


class _Scalar:
    def __init__(self, a):
        self.memory = np.array([a])
        self.slot = self.memory.ctypes.data

    def untouched_around(self):
        return True

    def take_back(self):
        pass


class _Guarded:
    """A copy of the array between guard zones, and the pointer to it."""

    def __init__(self, a, written):
        self.a, self.written = a, written
        self.memory = np.full(2 * GUARD + (a.nbytes + 15) // 16 * 16, 0xFF, np.uint8)              # NaN; as an index, -1
        self.inside = slice(GUARD, GUARD + a.nbytes)
        self.memory[self.inside] = a.reshape(-1).view(np.uint8)
        self.pointer = ctypes.c_void_p(self.memory.ctypes.data + GUARD)
        self.slot = ctypes.addressof(self.pointer)

    def untouched_around(self):
        return bool((self.memory[: GUARD] == 0xFF).all() and (self.memory[self.inside.stop :] == 0xFF).all())

    def take_back(self):
        if self.written:
            self.a.reshape(-1).view(np.uint8)[:] = self.memory[self.inside]


def _dim3(lengths):
    return (ctypes.c_uint * 3)(*(*lengths, 1, 1)[:3])
