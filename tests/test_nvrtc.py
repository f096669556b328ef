"""Every CUDA source compiles for the GPUs of three generations, and nothing in it needs more than registers."""
import concurrent.futures

import nvrtc
import pytest

from tinygrad_edu import threads
from tinygrad_edu.kernels.cuda import launch

pytestmark = pytest.mark.skipif(nvrtc.library() is None, reason="needs nvidia-cuda-nvrtc-cu12")
ARCHITECTURES = ["sm_75", "sm_80", "sm_90"]
VARIANTS = [(path.stem, define) for path in sorted(launch._FOLDER.glob("*.cu"))
            for define in ([f"-DD={D}" for D in (32, 64, 128)] if path.stem == "attention" else [""])]


@pytest.fixture(scope="module")
def compiled():
    """{(name, define, architecture): future of its functions}: all at once, a compiler on every core."""
    with concurrent.futures.ThreadPoolExecutor(threads.thread_count()) as pool:
        return {(name, define, arch): pool.submit(nvrtc.compile, launch.source(name), arch, ["--std=c++14", *define.split()])
                for name, define in VARIANTS for arch in ARCHITECTURES}         # the standard that CuPy asks for


@pytest.mark.parametrize("arch", ARCHITECTURES)
@pytest.mark.parametrize("name, define", VARIANTS)
def test_it_compiles_and_stays_in_registers(name, define, arch, compiled):
    functions = compiled[name, define, arch].result()
    assert len(functions) == launch.source(name).count("__global__ void")
    for f in functions:
        assert f.in_registers, f"{name}.cu {define} on {arch}: {f}"


SPILLS = """
extern "C" __global__ void good(float* x) { x[threadIdx.x] += 1; }

extern "C" __global__ void bad(float* x, int n) {
    float row[200];
    for (int i = 0; i < 200; i++) row[i] = x[i];
    for (int i = 0; i < n; i++) row[i * 7 % 200] += row[i * 3 % 200];
    x[0] = row[n];
}

extern "C" __global__ void __launch_bounds__(1024) crowded(float* x, int n) {
    float row[100];
#pragma unroll
    for (int i = 0; i < 100; i++) row[i] = x[i * 1024 + threadIdx.x];
    for (int k = 0; k < n; k++)
#pragma unroll
        for (int i = 0; i < 100; i++) row[i] += row[(i + 1) % 100] * row[(i + 7) % 100];
#pragma unroll
    for (int i = 0; i < 100; i++) x[i * 1024 + threadIdx.x] = row[i];
}
"""


@pytest.mark.parametrize("arch", ARCHITECTURES)
def test_what_does_not_fit_is_found(arch):
    found = {f.name: f for f in nvrtc.compile(SPILLS, arch)}
    assert found["good"].in_registers
    assert found["bad"].stack_frame == 800
    assert found["crowded"].spill_stores > 0 and found["crowded"].registers == 64


def test_a_mistake_is_named_with_its_line():
    wrong = launch.source("layer_norm").replace("y[d] =", "z[d] =")
    with pytest.raises(SyntaxError, match=r'layer_norm.cu\(\d+\): error: identifier "z" is undefined'):
        nvrtc.compile(wrong, "sm_80")
