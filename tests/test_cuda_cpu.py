"""The stand-in for a GPU finds what is wrong in a kernel: planted faults, and the ways to call one wrongly."""
import numpy as np
import pytest

from tinygrad_edu.kernels.cuda.launch import source
from tinygrad_edu.testing import cuda_cpu

pytestmark = pytest.mark.skipif(not cuda_cpu.can_compile(), reason="needs g++")

EXCHANGE = "__shfl_xor_sync(0xffffffff, v, 1)"
M, D, THREADS, EPS = 3, 100, 64, np.float32(1e-5)


def layer_norm(code=None, seed=1, shared=0):
    """The largest error of y in one launch of the forward kernel."""
    x = np.random.default_rng(0).standard_normal((M, D), np.float32)
    w, b, y, mu, r = np.ones(D, "f"), np.zeros(D, "f"), np.full((M, D), np.nan, "f"), np.zeros(M, "f"), np.zeros(M, "f")
    kernel = cuda_cpu.RawModule(code=code or source("layer_norm")).get_function("layer_norm_forward")
    kernel((M,), (THREADS,), (x, w, b, EPS, np.int32(D), y, mu, r), seed=seed)
    error = np.abs(y - (x - x.mean(axis=1, keepdims=True)) / x.std(axis=1, keepdims=True)).max()
    return np.inf if np.isnan(error) else error


def planted(before, after):
    code = source("layer_norm")
    assert before in code
    return code.replace(before, after, 1)


def test_the_kernel_is_right_before_anything_is_planted():
    assert max(layer_norm(seed=seed) for seed in range(4)) < 1e-4


@pytest.mark.parametrize("before, after", [
    ("parts[warp] = v;\n    __syncthreads();", "parts[warp] = v;"),                                     # read too early
    ("    __syncthreads();                            // nobody", "    // nobody"),                     # overwritten too early
    ("parts[lane] : 0", "parts[lane + 1] : 0"),                                                         # never written: NaN
    ("float total = 0;", "float total = x[D];"),                                                        # next row, or guard
], ids=["missing barrier", "missing barrier between two uses", "shared memory nobody wrote", "read beyond the array"])
def test_a_wrong_answer_shows_with_one_schedule_or_another(before, after):
    code = planted(before, after)
    assert max(layer_norm(code, seed) for seed in range(6)) > 1e-3


@pytest.mark.parametrize("before, after, says", [
    ("mus[row] = mu;", "mus[row] = mu; __syncthreads();", "__syncthreads that not every thread"),
    ("    v = warp_sum(v);", "    v = warp_sum(v);\n    if (warp == 0)\n __syncthreads();", "two different barriers"),
    ("    v = warp_sum(v);", "    if (lane < 16) v = warp_sum(v);", "exchange that not every thread"),
    ("    v = warp_sum(v);", "    if (lane < 16)\n v = EXCHANGE;\n else\n v = EXCHANGE;".replace("EXCHANGE", EXCHANGE),
     "two different barriers"),
    ("__shfl_xor_sync(0xffffffff", "__shfl_xor_sync(0xffff", "mask"),
    ("    long long row", "    if (threadIdx.x == 40) return;\n    long long row", "not every thread"),
], ids=["barrier in a branch", "one warp more often", "half a warp", "two exchanges", "mask", "a thread left early"])
def test_threads_that_wait_in_vain_are_an_error(before, after, says):
    with pytest.raises(RuntimeError, match=f"layer_norm_forward: .*{says}"):
        layer_norm(planted(before, after))


@pytest.mark.parametrize("before, after", [("mus[row] = mu", "mus[row + 3] = mu"), ("rs[row] = r", "rs[-1] = r")])
def test_a_write_outside_of_an_array_is_an_error(before, after):
    with pytest.raises(IndexError, match="wrote outside of argument [67]"):
        layer_norm(planted(before, after))


SHARED = """
extern "C" __global__ void fill(float* x, int n) {
    extern __shared__ float room[];
    for (int i = threadIdx.x; i < n; i += blockDim.x) room[i] = i;
    __syncthreads();
    x[threadIdx.x] = room[n - 1 - threadIdx.x];
}
"""


def test_a_write_behind_the_shared_memory_is_an_error():
    fill, x = cuda_cpu.RawModule(code=SHARED).get_function("fill"), np.zeros(32, "f")
    fill((1,), (32,), (x, np.int32(40)), shared_mem=160)
    np.testing.assert_array_equal(x, 39 - np.arange(32))
    with pytest.raises(RuntimeError, match="behind the end of the shared memory"):
        fill((1,), (32,), (x, np.int32(40)), shared_mem=156)


def test_a_kernel_that_does_not_compile_shows_the_compilers_words():
    with pytest.raises(SyntaxError, match="layer_norm.cu:[0-9]+:[0-9]+: error: .z. was not declared"):
        layer_norm(planted("y[d] =", "z[d] ="))


def test_a_kernel_that_is_not_there():
    with pytest.raises(AttributeError, match="no kernel 'drain'"):
        cuda_cpu.RawModule(code=SHARED).get_function("drain")


X, N = np.zeros(32, np.float32), np.int32(32)


@pytest.mark.parametrize("grid, block, arguments, shared, error, says", [
    ((1,), (32,), (X,), 0, TypeError, "got 1 arguments, expected 2"),
    ((1,), (32,), (X, 32), 0, TypeError, "argument 1 is to be a NumPy scalar of int32, got int"),
    ((1,), (32,), (X, np.int64(32)), 0, TypeError, "got int64"),
    ((1,), (32,), (X, np.float32(32)), 0, TypeError, "got float32"),
    ((1,), (32,), (X.astype("float64"), N), 0, TypeError, "argument 0 is to be an array of float32, got ndarray float64"),
    ((1,), (32,), (np.zeros((32, 2), "f")[:, 0], N), 0, ValueError, "not contiguous"),
    ((0,), (32,), (X, N), 0, ValueError, "at least one block"),
    ((1,), (33,), (X, N), 0, ValueError, "whole warps"),
    ((1,), (2048,), (X, N), 0, ValueError, "at most 1024"),
    ((1,), (32,), (X, N), 1 << 16, ValueError, "got 65536 bytes of shared memory"),
])
def test_a_wrong_call_is_refused(grid, block, arguments, shared, error, says):
    with pytest.raises(error, match=says):
        cuda_cpu.RawModule(code=SHARED).get_function("fill")(grid, block, arguments, shared_mem=shared)


def test_two_arguments_in_one_memory_are_refused():
    adam = cuda_cpu.RawModule(code=source("adam")).get_function("adam")
    w, g = np.zeros(8, "f"), np.zeros(8, "f")
    with pytest.raises(ValueError, match="argument 11 is written, and shares its memory"):
        adam((1,), (32,), (g, np.int32(8), *[np.float32(1)] * 9, w, w, w))
