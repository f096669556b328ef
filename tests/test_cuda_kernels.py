"""Every CUDA kernel, run on the CPU with shuffled schedules, against the definition in float64."""
import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F, optim
from tinygrad_edu.kernels.cuda.launch import source, threads_for
from tinygrad_edu.testing import cuda_cpu

pytestmark = pytest.mark.skipif(not cuda_cpu.can_compile(), reason="needs g++")
seeds = pytest.mark.parametrize("seed", [0, 1, 2])
CLOSE = dict(rtol=2e-5, atol=2e-5)


def run(file, function, blocks, threads, *arguments, shared=0, options=(), seed=1):
    numbers = {int: np.int32, float: np.float32}
    kernel = cuda_cpu.RawModule(code=source(file), options=options).get_function(function)
    kernel((blocks,), (threads,), [numbers.get(type(a), lambda a: a)(a) for a in arguments], shared_mem=4 * shared, seed=seed)


def drawn(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def unknown(*shape):
    """Where an answer is to be written: NaN, so that what is not written shows."""
    return np.full(shape, np.nan, np.float32)


def definition(function, *arrays):
    """gy, a random direction; the value; and the gradients of function(*arrays), which float64 and the definition give."""
    with tg.kernel_face("reference"):
        xs = [Tensor(a.astype("float64"), requires_grad=True) for a in arrays]
        y = function(*xs)
        gy = drawn(99, *y.shape)
        gradients = tg.grad(y, xs, Tensor(gy.astype("float64")))
    return gy, [y.data, *(g.data for g in gradients)]


def agree(ours, theirs):
    for a, b in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(a, b, **CLOSE)


# ---------------------------------------------------------------- normalization

rows = pytest.mark.parametrize("M, D", [(7, 100), (1, 1), (3, 33), (2, 300), (5, 32)])


@seeds
@rows
def test_layer_norm(M, D, seed):
    x, w, b, threads, parts = drawn(0, M, D) + 3, drawn(1, D), drawn(2, D), threads_for(D), min(M, 3)
    y, mu, r, gx, gws, gbs = unknown(M, D), unknown(M), unknown(M), unknown(M, D), unknown(parts, D), unknown(parts, D)
    gy, expected = definition(lambda x, w, b: F.layer_norm(x, D, w, b, 1e-3), x, w, b)

    run("layer_norm", "layer_norm_forward", M, threads, x, w, b, 1e-3, D, y, mu, r, seed=seed)
    run("layer_norm", "layer_norm_backward", parts, threads, x, w, mu, r, gy, M, D, gx, gws, gbs, shared=2 * D, seed=seed)
    agree([y, gx, gws.sum(axis=0), gbs.sum(axis=0)], expected)


@seeds
@rows
def test_rms_norm(M, D, seed):
    x, w, threads, parts = drawn(0, M, D), drawn(1, D), threads_for(D), min(M, 3)
    y, r, gx, gws = unknown(M, D), unknown(M), unknown(M, D), unknown(parts, D)
    gy, expected = definition(lambda x, w: x / ((x * x).mean(axis=1, keepdims=True) + 1e-3) ** 0.5 * w, x, w)

    run("rms_norm", "rms_norm_forward", M, threads, x, w, 1e-3, D, y, r, seed=seed)
    run("rms_norm", "rms_norm_backward", parts, threads, x, w, r, gy, M, D, gx, gws, shared=D, seed=seed)
    agree([y, gx, gws.sum(axis=0)], expected)


@seeds
@pytest.mark.parametrize("N, C, L, G", [(2, 6, 35, 3), (3, 4, 1, 2), (1, 1, 7, 1), (2, 8, 50, 1), (2, 3, 40, 3)])
def test_group_norm(N, C, L, G, seed):
    x, w, b, threads = drawn(0, N, C, L) + 1, drawn(1, C), drawn(2, C), threads_for(C // G * L)
    y, mu, r, gx, gws, gbs = unknown(N, C, L), unknown(N, G), unknown(N, G), unknown(N, C, L), unknown(N, C), unknown(N, C)
    gy, expected = definition(lambda x, w, b: F.group_norm(x, G, w, b, 1e-3), x, w, b)

    run("group_norm", "group_norm_forward", N * G, threads, x, w, b, 1e-3, C, G, L, y, mu, r, seed=seed)
    run("group_norm", "group_norm_backward", N * G, threads, x, w, mu, r, gy, C, G, L, gx, gws, gbs, seed=seed)
    agree([y, gx, gws.sum(axis=0), gbs.sum(axis=0)], expected)


# ---------------------------------------------------------------- softmax

@seeds
@rows
@pytest.mark.parametrize("function", [F.softmax, F.log_softmax], ids=["softmax", "log_softmax"])
def test_softmax(function, M, D, seed):
    x, y, gx, name = 10 * drawn(0, M, D), unknown(M, D), unknown(M, D), function.__name__
    gy, expected = definition(function, x)
    run("softmax", f"{name}_forward", M, threads_for(D), x, D, y, seed=seed)
    run("softmax", f"{name}_backward", M, threads_for(D), y, gy, D, gx, seed=seed)
    agree([y, gx], expected)


def test_softmax_of_numbers_that_exp_cannot_take():
    x, y = np.array([[1000, 999, -np.inf], [-1000, -1000, -3e38]], np.float32), unknown(2, 3)
    run("softmax", "softmax_forward", 2, 32, x, 3, y)
    p = 1 / (1 + np.exp(-1))
    np.testing.assert_allclose(y, [[p, 1 - p, 0], [0.5, 0.5, 0]], rtol=1e-6)


@seeds
@rows
def test_cross_entropy(M, D, seed):
    x, t = 10 * drawn(0, M, D), np.random.default_rng(1).integers(0, D, M)
    y, top, total, gx, threads = unknown(M), unknown(M), unknown(M), unknown(M, D), threads_for(D)
    gy, expected = definition(lambda x: F.cross_entropy(x, t, reduction="none"), x)
    run("cross_entropy", "cross_entropy_forward", M, threads, x, t, D, y, top, total, seed=seed)
    run("cross_entropy", "cross_entropy_backward", M, threads, x, t, top, total, gy, D, gx, seed=seed)
    agree([y, gx], expected)


def test_cross_entropy_of_a_class_that_is_not_there():
    y, top, total = unknown(3), unknown(3), unknown(3)
    run("cross_entropy", "cross_entropy_forward", 3, 32, drawn(0, 3, 4), np.array([4, 1, -1]), 4, y, top, total)
    assert np.isnan(y[[0, 2]]).all() and y[1] > 0


# ---------------------------------------------------------------- attention

@seeds
@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("heads, T, S, E, D", [(2, 40, 40, 20, 32), (1, 1, 1, 1, 32), (1, 130, 70, 32, 32), (2, 70, 75, 64, 64),
                                               (1, 5, 33, 50, 64), (2, 35, 40, 128, 128)])
def test_attention(heads, T, S, E, D, causal, seed):
    q, k, v, scale, options = drawn(0, heads, T, E), drawn(1, heads, S, E), drawn(2, heads, S, E), E ** -0.5, (f"-DD={D}",)
    y, gq, gk, gv = (unknown(*x.shape) for x in (q, q, k, v))
    L, delta = unknown(heads, T), unknown(heads, T)
    gy, expected = definition(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, causal=causal), q, k, v)

    def launch(name, length, *arguments):
        blocks = heads * -(-length // (128 // (D // 32)))
        run("attention", name, blocks, 128, *arguments, options=options, seed=seed)

    sizes = T, S, E, scale, int(causal)
    launch("attention_forward", T, q, k, v, *sizes, y, L)
    launch("attention_backward_queries", T, q, k, v, y, L, gy, *sizes, gq, delta)
    launch("attention_backward_keys", S, q, k, v, L, delta, gy, *sizes, gk, gv)
    agree([y, gq, gk, gv], expected)


def test_attention_to_nothing_is_zero():
    q, k, y, L = drawn(0, 1, 3, 8), drawn(1, 1, 0, 8), unknown(1, 3, 8), unknown(1, 3)
    run("attention", "attention_forward", 1, 128, q, k, k, 3, 0, 8, 1.0, 0, y, L, options=("-DD=32",))
    assert (y == 0).all()


# ---------------------------------------------------------------- recurrent

def sigmoid(a):
    return 1 / (1 + (-a).exp())


@seeds
@pytest.mark.parametrize("D, N", [(5, 7), (1, 1), (20, 30)])
def test_lstm(D, N, seed):
    n, z, uh, c, gh, gc, dh, dc = D * N, drawn(0, 4, D, N), drawn(1, 4, D, N), *(drawn(i, D, N) for i in range(2, 7))

    def step(z, uh, c):
        i, f, g, o = ((z + uh)[k] for k in range(4))
        cell = sigmoid(f) * c + sigmoid(i) * g.tanh()
        return cell, sigmoid(o) * cell.tanh()

    zs, uhs, cs = (Tensor(a.astype("float64"), requires_grad=True) for a in (z, uh, c))
    states = step(zs, uhs, cs)
    g_z, g_c = tg.grad(states, (zs, cs), (Tensor((gc + dc).astype("float64")), Tensor((gh + dh).astype("float64"))))

    gates, c_new, tanh_c, h_new, gz = z.copy(), unknown(D, N), unknown(D, N), unknown(D, N), unknown(4, D, N)
    run("lstm", "lstm_forward", -(-n // 64), 64, uh, c, n, gates, c_new, tanh_c, h_new, seed=seed)
    run("lstm", "lstm_backward", -(-n // 64), 64, gates, c, tanh_c, gh, gc, dh, n, dc, gz, seed=seed)
    agree([c_new, h_new, gz, dc], [*(s.data for s in states), g_z.data, g_c.data])


@seeds
@pytest.mark.parametrize("D, N", [(5, 7), (1, 1), (20, 30)])
def test_gru(D, N, seed):
    n, z, uh, bh = D * N, drawn(0, 3, D, N), drawn(1, 3, D, N), drawn(2, 3, D)
    h, gh, dh = (drawn(i, D, N) for i in range(3, 6))

    def step(z, uh, h):
        r, update = sigmoid(z[0] + uh[0]), sigmoid(z[1] + uh[1])
        new = (z[2] + r * uh[2]).tanh()
        return new + update * (h - new)

    zs, uhs, hs = (Tensor(a.astype("float64"), requires_grad=True) for a in (z, uh, h))
    state = step(zs, uhs + bh[:, :, None], hs)
    g_z, g_uh, g_h = tg.grad(state, (zs, uhs, hs), Tensor((gh + dh).astype("float64")))

    gates, q, h_new, gz = z.copy(), unknown(D, N), unknown(D, N), unknown(4, D, N)
    run("gru", "gru_forward", -(-n // 64), 64, uh, bh, h, N, n, gates, q, h_new, seed=seed)
    run("gru", "gru_backward", -(-n // 64), 64, gates, q, h, gh, n, dh, gz, seed=seed)
    agree([h_new, gz[:3], gz[[0, 1, 3]], dh], [state.data, g_uh.data, g_z.data, g_h.data])


# ---------------------------------------------------------------- optimizer, embedding

@pytest.mark.parametrize("rule, l2, keep", [(optim.Adam, 0.0, 1.0), (optim.Adam, 0.1, 1.0), (optim.AdamW, 0.0, 1 - 0.01 * 0.1)])
@pytest.mark.parametrize("n", [1, 100])
def test_adam(n, rule, l2, keep):
    w, m, v = drawn(0, n), np.zeros(n, np.float32), np.zeros(n, np.float32)
    parameter = tg.nn.Parameter(w.astype("float64"))
    optimizer = rule([parameter], lr=0.01, weight_decay=0.1 if l2 or keep < 1 else 0.0)
    for t in range(1, 4):
        g = drawn(t, n)
        run("adam", "adam", -(-n // 64), 64, g, n, 0.01 / (1 - 0.9 ** t), (1 - 0.999 ** t) ** -0.5, 0.9, 1 - 0.9, 0.999,
            1 - 0.999, 1e-8, l2, keep, w, m, v, seed=t)
        parameter.grad = Tensor(g.astype("float64"))
        optimizer.step()
    agree([w], [parameter.data])


@seeds
@pytest.mark.parametrize("n, V, D", [(20, 5, 6), (1, 1, 1), (9, 4, 70)])
def test_embedding(n, V, D, seed):
    g, ids, gw = drawn(0, n, D), np.random.default_rng(1).integers(-V, V, n), np.ones((V, D), np.float32)
    run("embedding", "embedding_backward", n, threads_for(D), g, ids, V, D, gw, seed=seed)
    expected = np.ones((V, D))
    np.add.at(expected, ids, g)
    agree([gw], [expected])
