"""Compile CUDA C for a GPU that is not there: NVIDIA's run-time compiler needs neither a GPU nor a driver.

pip install nvidia-cuda-nvrtc-cu12
"""
import ctypes
import functools
import importlib.util
import pathlib
import re
from dataclasses import dataclass

_REPORT = re.compile(r"Function properties for (\w+)\W+ptxas\W+(\d+) bytes stack frame, (\d+) bytes spill stores, "
                     r"(\d+) bytes spill loads\W+ptxas\W+info\W+Used (\d+) registers")


@dataclass
class Function:
    """What one CUDA function needs of the machine. A stack frame is memory, hundreds of times as slow as registers."""
    name: str
    stack_frame: int
    spill_stores: int
    spill_loads: int
    registers: int

    @property
    def in_registers(self):
        return self.stack_frame == self.spill_stores == self.spill_loads == 0


@functools.cache
def library():
    """The library, or None where it is not installed."""
    spec = importlib.util.find_spec("nvidia")
    for root in spec.submodule_search_locations if spec else ():
        for path in sorted(pathlib.Path(root).glob("**/libnvrtc.so.*")):
            return ctypes.CDLL(str(path))
    return None


def compile(source, arch, options=()):
    """[Function, ..] of the source, compiled for `arch` ("sm_80"). SyntaxError with the compiler's words if it cannot be."""
    nvrtc, program = library(), ctypes.c_void_p()
    options = [f"--gpu-architecture={arch}", "--ptxas-options=-v", *options]
    words = (ctypes.c_char_p * len(options))(*[option.encode() for option in options])

    nvrtc.nvrtcCreateProgram(ctypes.byref(program), source.encode(), b"kernel.cu", 0, None, None)
    failed = nvrtc.nvrtcCompileProgram(program, len(options), words)
    size = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(size))
    log = ctypes.create_string_buffer(size.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))

    text = log.value.decode()
    if failed:
        raise SyntaxError(text)
    return [Function(name, *map(int, numbers)) for name, *numbers in _REPORT.findall(text)]
