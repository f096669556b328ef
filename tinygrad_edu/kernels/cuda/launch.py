"""How a CUDA kernel is started: its source, its block size, its launch."""
import functools
import pathlib

from ... import backend

_FOLDER = pathlib.Path(__file__).parent


@functools.cache
def source(name):
    """The text of NAME.cu with block.cuh in place of its include, so that it compiles without looking for files."""
    text, include = (_FOLDER / f"{name}.cu").read_text(), '#include "block.cuh"\n'
    before, found, after = text.partition(include)
    if not found:
        return text
    line = before.count("\n") + 2
    return f'{before}#line 1 "block.cuh"\n{(_FOLDER / "block.cuh").read_text()}#line {line} "{name}.cu"\n{after}'


def threads_for(n):
    """Threads of a block that passes over n numbers: whole warps, at most 256, so that several blocks share a processor."""
    return min(256, max(1, -(-n // 32)) * 32)


def all_float32(*arrays):
    """Do all arrays have the type that the kernels are written for?"""
    return all(a.dtype == "float32" for a in arrays)


def launch(name, function, blocks, threads, *arguments, **options):
    """Run `function` of NAME.cu; see backend.launch_cuda."""
    backend.launch_cuda(source(name), function, blocks, threads, *arguments, **options)


def launch_each(name, function, n, *arguments):
    """Run `function` of NAME.cu with one thread for each of n numbers."""
    launch(name, function, -(-n // 256), 256, *arguments)
