"""The floor under everything: devices, blocks, rows that collect, and what it asks of the process."""
import glob
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import example, given, strategies as st

from tinygrad_edu import backend


@given(st.integers(0, 50), st.integers(0, 20), st.integers(1, 100))
def test_blocks_cut_everything_once(count, each, numbers):
    x = np.arange(count)
    pieces = [x[block] for block in backend.blocks(x, each, numbers)]
    assert sum(map(len, pieces)) == count and all(len(p) * max(each, 1) <= max(numbers, each) for p in pieces)
    np.testing.assert_array_equal(np.concatenate([x[:0], *pieces]), x)


@given(st.lists(st.integers(-5, 4), max_size=200), st.sampled_from([(), (3,), (2, 3)]))
@example(40 * [0] + 33 * [1, -5] + [2, 2, 3], (3,))         # more often than one by one pays for
def test_sum_rows_equals_add_at(ids, shape):
    ids, total = np.array(ids, dtype=np.int64), np.zeros((5, *shape))
    rows = np.random.default_rng(0).standard_normal((len(ids), *shape))
    np.add.at(total, ids, rows)
    np.testing.assert_allclose(backend.sum_rows(ids, rows, 5), total, rtol=1e-12, atol=1e-12)


def test_manual_seed_repeats():
    draws = []
    for _ in range(2):
        backend.manual_seed(5)
        draws.append(backend.generator().random(3))
    np.testing.assert_array_equal(*draws)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc and the wheels of Linux")
def test_the_process_is_set_up_where_it_can_be():
    code = "from tinygrad_edu import backend, threads; print(threads.set_blas_threads(1), backend.keep_freed_memory())"
    root = pathlib.Path(backend.__file__).parents[1]
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=root, check=True)
    blas, memory = run.stdout.split()
    assert blas == str(bool(glob.glob(str(pathlib.Path(np.__file__).parents[1] / "numpy.libs" / "*openblas*"))))
    assert memory in ("True", "False")


def test_a_wrong_device_is_named():
    with pytest.raises(backend.DeviceError, match="unknown device: got 'tpu', expected 'cpu' or 'cuda'"):
        backend.set_default_device("tpu")
