"""Less memory: pieces of a batch and recomputed activations give the gradients of the whole, and the memory is measured."""
import tracemalloc

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, autograd, backend, functional as F, nn
from tinygrad_edu.memory import accumulate, checkpoint


def make(*shape, seed=0):
    return Tensor(np.random.default_rng(seed).standard_normal(shape), requires_grad=True)


# ---------------------------------------------------------------- a batch in pieces

@pytest.mark.parametrize("parts", [1, 2, 3, 7, 10])
def test_pieces_of_any_size_add_up_to_the_batch(parts):
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.LayerNorm(8), nn.Linear(8, 3))
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((10, 4)).astype("float32"), rng.integers(0, 3, 10)

    def loss(x, labels):
        return F.cross_entropy(model(Tensor(x)), labels)

    whole = loss(x, labels)
    whole.backward()
    expected = [p.grad.data for p in model.parameters()]
    model.zero_grad()
    assert accumulate(loss, x, labels, parts=parts) == pytest.approx(whole.item(), abs=1e-6)
    for p, g in zip(model.parameters(), expected):
        np.testing.assert_allclose(p.grad.data, g, atol=1e-6)


def test_batch_norm_is_the_exception():
    model, x = nn.Sequential(nn.BatchNorm1d(3), nn.Linear(3, 1)), make(12, 3)

    def loss(x):
        return ((model(x) - x[:, :1]) ** 2).mean()

    loss(x).backward()
    whole = model[1].weight.grad.data
    model.zero_grad()
    accumulate(loss, x, parts=4)
    assert np.abs(model[1].weight.grad.data - whole).max() > 1e-3


def test_accumulate_refuses_what_cannot_be_cut():
    for arrays, parts in ((([1], [1, 2]), 1), (([1, 2],), 3), (([1, 2],), 0)):
        with pytest.raises(ValueError, match=f"accumulate: got {parts} parts of arrays of"):
            accumulate(lambda *arrays: tg.ones(()), *map(np.array, arrays), parts=parts)


# ---------------------------------------------------------------- recomputing: the same numbers

w, b = make(3, 3, seed=1), make(3, seed=2)

def dropped(x):
    return F.dropout(tg.tanh(x @ w + b), 0.4) + x * 2.0

def of_two(x, y):
    return tg.exp(x * 0.3) @ y.T * b[0]

FUNCTIONS = {"dropout and weights": (dropped, 1), "two inputs": (of_two, 2), "the input itself": (lambda x: x, 1),
             "a weight alone": (lambda x: w, 1), "nested": (lambda x: checkpoint(dropped, checkpoint(dropped, x)), 1),
             "an input that is not used": (lambda x, y: x * 3.0, 2), "a part of a sum": (lambda x: x.sum() * w, 1)}


def gradients(apply, function, count, create_graph=False):
    """Value, gradients, and with create_graph the gradients of a function of the gradients. Weights are used outside, too."""
    tg.manual_seed(3)
    leaves = [make(3, 3, seed=5 + i) for i in range(count)]
    outside = [tg.sin(x) * w for x in leaves]
    y = apply(function, *outside) + b + sum(outside)
    targets = [*leaves, w, b]
    first = autograd.grad((y * y * 0.5).sum(), targets, create_graph=create_graph)
    if not create_graph:
        return y, *first
    return *first, *autograd.grad(sum((g * g * g).sum() for g in first), targets)


@pytest.mark.parametrize("name", FUNCTIONS)
@pytest.mark.parametrize("create_graph", [False, True])
def test_values_and_gradients_of_both_orders_are_the_same(name, create_graph):
    function, count = FUNCTIONS[name]
    expected = gradients(lambda function, *xs: function(*xs), function, count, create_graph)
    for a, b in zip(gradients(checkpoint, function, count, create_graph), expected, strict=True):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-12)


def test_backward_fills_the_gradients_of_weights():
    layer, x = nn.Linear(3, 3), tg.ones(2, 3)                       # no input requires grad
    checkpoint(layer, x).sum().backward()
    assert layer.weight.grad.tolist() == [[2.0] * 3] * 3 and layer.bias.grad.tolist() == [2.0] * 3
    assert x.grad is None


def test_a_tensor_of_the_graph_that_the_function_found_elsewhere():
    x, v = make(3), make(3, seed=1)
    hidden = x * v                                                  # depends on v, which the function also finds
    y = checkpoint(lambda x: x * hidden * v, x)
    np.testing.assert_allclose(autograd.grad(y.sum(), v)[0].data, (2 * x.data * x.data * v.data), rtol=1e-12)


def test_random_numbers_after_it_are_those_that_they_would_have_been():
    x = make(3, 3)
    tg.manual_seed(1)
    dropped(x)
    expected = tg.randn(2).tolist()
    tg.manual_seed(1)
    y = checkpoint(dropped, x)
    assert tg.randn(2).tolist() == expected
    state = backend.generator().bit_generator.state
    y.sum().backward()
    assert backend.generator().bit_generator.state == state


def test_arguments_that_are_no_tensors_and_no_grad():
    x = make(3)
    f = lambda x, p, training=True: F.dropout(x, p, training)       # noqa: E731
    assert checkpoint(f, x, 0.5, False) is not None
    np.testing.assert_array_equal(checkpoint(f, x, 0.0).data, x.data)
    with tg.no_grad():
        assert checkpoint(f, x, 0.5).creator is None
    assert not checkpoint(f, x.detach(), 0.5).requires_grad


def test_errors():
    x = make(3)
    with pytest.raises(TypeError, match="returned a tuple, expected one Tensor"):
        checkpoint(lambda x: (x, x), x)
    sizes = iter([3, 2])
    y = checkpoint(lambda x: x[: next(sizes)] * 1.0, x)
    with pytest.raises(RuntimeError, match=r"gave shape \(3,\) first and \(2,\) when called again"):
        y.sum().backward()
    y = checkpoint(dropped, make(3, 3))
    y.sum().backward()
    with pytest.raises(RuntimeError, match="freed by an earlier backward"):
        y.sum().backward()
    y = checkpoint(dropped, make(3, 3))
    w.data *= 1.0
    autograd.mark_written(w.data)
    with pytest.raises(RuntimeError, match="changed in place"):
        y.sum().backward()


def test_a_failing_recomputation_leaves_no_trace():
    calls = iter([False, True])

    def fails_the_second_time(x):
        if next(calls):
            raise KeyError("oh")
        return x * x

    x = make(3)
    y, state = checkpoint(fails_the_second_time, x * 2.0), backend.generator().bit_generator.state
    with pytest.raises(KeyError):
        y.sum().backward()
    assert backend.generator().bit_generator.state == state


# ---------------------------------------------------------------- recomputing: less memory

def peak(apply):
    """Bytes at the highest point of forward and backward through 64 layers in pieces of 8."""
    x = Tensor(np.ones((100, 1000), "float32"), requires_grad=True)

    def piece(x):
        for _ in range(8):
            x = tg.tanh(x)                                          # each keeps its result: 400 kB
        return x

    tracemalloc.start()
    try:
        y = x
        for _ in range(8):
            y = apply(piece, y)
        y.sum().backward()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_the_peak_falls_from_n_to_about_two_roots_of_n():
    plain, less = peak(lambda piece, x: piece(x)), peak(checkpoint)
    assert plain > 64 * 400_000
    assert less < 22 * 400_000                                      # 8 between pieces, 8 within one, and gradients
