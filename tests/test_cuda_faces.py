"""The CUDA faces of the kernels, from the public function to the gradients, on the stand-in for CuPy or on a real GPU."""
import numpy as np
import pytest
from kernel_faces import all_orders, draw_array

import tinygrad_edu as tg
from tinygrad_edu import Tensor, backend, functional as F, optim
from tinygrad_edu.testing import cuda_cpu, strict_cupy


@pytest.fixture(autouse=True)
def compiled_faces():
    """Those are the CUDA faces on a GPU, whatever TINYGRAD_EDU_KERNELS chooses."""
    with tg.kernel_face("compiled"):
        yield


needs_compiler = pytest.mark.skipif(not cuda_cpu.can_compile(), reason="needs g++")


def attention(**options):
    return lambda q, k, v: F.scaled_dot_product_attention(q, k, v, **options)


def targets(N, K, *places):
    return Tensor(np.random.default_rng(9).integers(0, K, (N, *places)))


def lstm_shapes(T, N, I, D):
    return [(T, N, I), (N, D), (N, D), (4 * D, I), (4 * D, D), (4 * D,)]


def gru_shapes(T, N, I, D):
    return [(T, N, I), (N, D), (3 * D, I), (3 * D, D), (3 * D,), (3 * D,)]


# What goes to a CUDA kernel: (function, shapes of its arguments).
CASES = {
    "layer norm": (lambda x, w, b: F.layer_norm(x, 40, w, b), [(3, 2, 40), (40,), (40,)]),
    "layer norm over two axes, no rows": (lambda x: F.layer_norm(x, (2, 3)), [(0, 2, 3)]),
    "layer norm of rows in another order": (lambda x: F.layer_norm(x.swapaxes(0, 1), 5), [(5, 33)]),
    "attention": (attention(), [(2, 3, 37, 20), (2, 3, 33, 20), (2, 3, 33, 20)]),
    "causal attention": (attention(causal=True), [(2, 65, 40)] * 3),
    "attention, large heads, no batch": (attention(causal=True, scale=0.1), [(33, 100)] * 3),
    "attention, empty batch": (attention(), [(0, 3, 4)] * 3),
    "cross-entropy": (lambda x: F.cross_entropy(x, targets(5, 40)), [(5, 40)]),
    "cross-entropy of pixels": (lambda x: F.cross_entropy(x, targets(2, 7, 3, 2), reduction="none"), [(2, 7, 3, 2)]),
    "cross-entropy, empty batch": (lambda x: F.cross_entropy(x, targets(0, 3), reduction="sum"), [(0, 3)]),
    "embedding": (lambda w: F.embedding(targets(4, 5, 3), w), [(5, 40)]),
    "embedding with padding": (lambda w: F.embedding(targets(20, 5), w, padding_idx=2), [(5, 3)]),
    "lstm": (lambda *a: F.lstm(*a)[0], lstm_shapes(3, 5, 4, 6)),
    "lstm, one step of one": (lambda *a: F.lstm(*a)[2], lstm_shapes(1, 1, 1, 1)),
    "gru": (lambda *a: F.gru(*a)[0], gru_shapes(3, 5, 4, 6)),
    "gru, sequences of different lengths": (lambda *a: F.gru(*a, lengths=targets(3, 4))[1], gru_shapes(3, 3, 2, 20)),
    "rms norm": (lambda x, w: F.rms_norm(x, 40, w), [(3, 2, 40), (40,)]),
    "rms norm over two axes": (lambda x: F.rms_norm(x, (5, 7)), [(3, 5, 7)]),
    "group norm": (lambda x, w, b: F.group_norm(x, 3, w, b), [(2, 6, 5, 7), (6,), (6,)]),
    "group norm, one pixel, no samples": (lambda x: F.group_norm(x, 2), [(0, 4)]),
    "group norm and silu": (lambda x, w, b: F.group_norm_silu(x, 3, w, b), [(2, 6, 5, 7), (6,), (6,)]),
    "instance norm of another order": (lambda x: F.instance_norm(x.swapaxes(0, 1)), [(3, 2, 33)]),
    "softmax": (F.softmax, [(3, 40)]),
    "softmax along the first axis": (lambda x: F.softmax(x, 0), [(7, 2, 3)]),
    "log-softmax": (F.log_softmax, [(3, 300)]),
}

# What a CUDA kernel does not take and leaves to the arrays.
LEFT = {
    "layer norm, rows too long": (lambda x: F.layer_norm(x, 6145), [(2, 6145)]),
    "attention, heads too large": (attention(), [(2, 3, 130)] * 3),
    "attention, values of another size": (attention(), [(2, 3, 4), (2, 3, 4), (2, 3, 5)]),
    "attention, shared keys": (attention(), [(4, 3, 4), (2, 3, 4), (2, 3, 4)]),
    "attention in a window": (attention(window=2), [(2, 5, 4)] * 3),
    "attention, keys for the whole batch": (attention(), [(2, 3, 4), (3, 4), (3, 4)]),
}


@pytest.fixture
def stand_in():
    with strict_cupy.strict_cupy():
        tg.set_default_device("cuda")
        yield


@pytest.fixture
def gpu():
    if not pytest.importorskip("cupy").cuda.is_available():
        pytest.skip("no CUDA device here")
    tg.set_default_device("cuda")
    yield
    tg.set_default_device("cpu")


def equals_definition(function, shapes):
    """Value, gradients and double gradients in float32 on the device, against the definition in float64 on the host."""
    arrays = [draw_array(i, *shape).astype("float32") for i, shape in enumerate(shapes)]
    strict_cupy.counts["syncs"] = 0
    found = all_orders("compiled", function, arrays)
    assert strict_cupy.counts["syncs"] == 0
    tg.set_default_device("cpu")
    expected = all_orders("reference", function, [a.astype("float64") for a in arrays])
    for a, right in zip(found, expected, strict=True):
        assert a.dtype == np.float32
        np.testing.assert_allclose(backend.to_numpy(a), right, rtol=1e-4, atol=1e-4)


@needs_compiler
@pytest.mark.parametrize("function, shapes", [*CASES.values(), *LEFT.values()], ids=[*CASES, *LEFT])
def test_on_the_stand_in(function, shapes, stand_in):
    equals_definition(function, shapes)


@pytest.fixture
def launched(monkeypatch):
    """The names of the CUDA kernels that ran."""
    names, call = [], cuda_cpu.Function.__call__
    monkeypatch.setattr(cuda_cpu.Function, "__call__", lambda self, *a, **o: names.append(self.name) or call(self, *a, **o))
    return names


def run_both_ways(function, shapes, dtype="float32"):
    y = function(*[Tensor(draw_array(i, *shape), dtype=dtype, requires_grad=True) for i, shape in enumerate(shapes)])
    y.backward(tg.ones(*y.shape, dtype=dtype))


@needs_compiler
@pytest.mark.parametrize("name", [*CASES, *LEFT])
def test_what_is_launched_and_what_is_left_to_the_arrays(name, stand_in, launched):
    function, shapes = {**CASES, **LEFT}[name]
    run_both_ways(function, shapes)
    assert bool(launched) == (name in CASES and 0 not in shapes[0]), launched
    launched.clear()
    run_both_ways(function, shapes, "float64")
    with tg.kernel_face("arrays"):
        run_both_ways(function, shapes)
    assert not launched


@pytest.mark.gpu
@pytest.mark.parametrize("function, shapes", [*CASES.values(), *LEFT.values()], ids=[*CASES, *LEFT])
def test_on_a_gpu(function, shapes, gpu):
    equals_definition(function, shapes)


@needs_compiler
@pytest.mark.parametrize("rule", [optim.Adam, optim.AdamW])
def test_adam_on_the_stand_in(rule, stand_in, launched):
    follows_the_host(rule)
    assert launched == ["adam"] * 3


@pytest.mark.gpu
@pytest.mark.parametrize("rule", [optim.Adam, optim.AdamW])
def test_adam_on_a_gpu(rule, gpu):
    follows_the_host(rule)


def follows_the_host(rule):
    """Three steps of an optimizer in float32 on the device, and in float64 on the host."""
    weights = {}
    for device, dtype in (("cuda", "float32"), ("cpu", "float64")):
        tg.set_default_device(device)
        w = tg.nn.Parameter(draw_array(0, 5, 60).astype(dtype))
        optimizer = rule([w], lr=0.01, weight_decay=0.1)
        for i in range(3):
            w.grad = Tensor(draw_array(i, 5, 60).astype(dtype))
            optimizer.step()
        weights[device] = backend.to_numpy(w.data)
    np.testing.assert_allclose(weights["cuda"], weights["cpu"], rtol=1e-5, atol=1e-6)
