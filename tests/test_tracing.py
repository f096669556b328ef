"""Tracing: the list of operations answers as the model does, on other numbers and other batch sizes, or refuses to be made."""
import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_edu as tg
from tinygrad_edu import Tensor, autograd, backend, functional as F, nn, ops
from tinygrad_edu.io import Graph, TraceError, fold_constants, remove_dead_code, trace


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


class Classifier(nn.Module):
    """Words through attention and an LSTM; half of what the LSTM answers is never used."""

    def __init__(self):
        self.words, self.attention = nn.Embedding(11, 6), nn.MultiheadAttention(6, 2, batch_first=True)
        self.memory, self.out = nn.LSTM(6, 5, 2, batch_first=True, bidirectional=True), nn.Linear(10, 3)

    def forward(self, ids):
        e = self.words(ids)
        e = e + self.attention(e, causal=True)
        return self.out(self.memory(e)[0][:, -1])


class Residual(nn.Module):
    """A skip, a norm and a gate."""

    def __init__(self):
        self.blocks = [{"norm": nn.LayerNorm(6), "up": nn.Linear(6, 12), "down": nn.Linear(6, 6)} for _ in range(2)]

    def forward(self, x):
        for block in self.blocks:
            a, b = ops.split(block["up"](block["norm"](x)), 2, axis=-1)
            x = x + block["down"](F.gelu(a) * b.sigmoid())
        return x, x.mean(axis=1)


IMAGE = (1, 8, 8)
NETS = {
    "MLP": (lambda: nn.Sequential(nn.Linear(6, 5), nn.Tanh(), nn.Linear(5, 2)), (6,)),
    "conv, batch norm, pool": (lambda: nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.LeakyReLU(), nn.MaxPool2d(2),
        nn.Conv2d(4, 6, 3, stride=2), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(), nn.Linear(6, 10)), IMAGE),
    "group norm, upsampling": (lambda: nn.Sequential(
        nn.ConvTranspose2d(1, 4, 2, 2), nn.GroupNorm(2, 4), nn.SiLU(), nn.Upsample(scale_factor=2),
        nn.AvgPool2d(3, 2, 1)), IMAGE),
    "residual, two outputs": (Residual, (6,)),
    "GRU": (lambda: nn.GRU(6, 4, batch_first=True), (5, 6)),
}


def outputs_of(y):
    return [t.data for t in y] if isinstance(y, tuple) else [y.data]


def check(graph, model, *inputs):
    for mine, eager in zip(outputs_of(graph(*inputs)), outputs_of(model(*map(Tensor, inputs))), strict=True):
        np.testing.assert_allclose(mine, eager, rtol=0, atol=1e-12)


@pytest.mark.parametrize("name", NETS)
def test_replay_equals_eager(name):
    make, shape = NETS[name]
    model = make().double()
    graph = trace(model, normal(3, *shape))
    short = remove_dead_code(fold_constants(graph))
    assert len(short.instructions) <= len(graph.instructions)
    model.eval()
    for N in (1, 2, 7):
        check(graph, model, normal(N, *shape, seed=N))
        check(short, model, normal(N, *shape, seed=N))


@pytest.mark.parametrize("face", ["reference", "arrays", "compiled"])
def test_words_through_attention_and_memory(face):
    model, rng = Classifier().double(), np.random.default_rng(0)
    with tg.kernel_face(face):
        graph = trace(model, rng.integers(0, 11, (3, 4)))
    short = remove_dead_code(fold_constants(graph))
    assert len(short.instructions) < len(graph.instructions)
    for N in (1, 5):
        ids = rng.integers(0, 11, (N, 4))
        check(graph, model, ids), check(short, model, ids)


def test_the_definitions_can_be_traced():
    model = nn.Sequential(nn.Linear(6, 6), nn.LayerNorm(6), nn.GELU()).double()
    whole, parts = trace(model, normal(3, 6)), trace(model, normal(3, 6), keeps=lambda kind: False)
    kinds = {step.kind.__name__ for step in parts.instructions}
    assert "LayerNorm" in str(whole) and {"Mean", "Sqrt", "Erf"} <= kinds and not {"LayerNorm", "GELU"} & kinds
    check(parts, model, normal(4, 6))
    with pytest.raises(TraceError, match="softmax|Subtract"):       # this definition takes a maximum out, which is no operation
        trace(lambda x: tg.softmax(x), normal(3, 6), keeps=lambda kind: False)


@given(N=st.integers(1, 5), other=st.integers(0, 6), shape=st.lists(st.integers(0, 3), min_size=1, max_size=3))
def test_shapes_that_hold_the_batch(N, other, shape):
    def model(x):
        y = x.reshape(-1, 1) * 2 + 1
        y = y.reshape(x.shape).swapaxes(0, 1) - ops.broadcast_to(x.sum(axis=0), (len(x), *x.shape[1:])).swapaxes(0, 1)
        return y, tg.zeros(len(x), 2, dtype=np.float64) + 1

    graph = trace(model, normal(N, *shape))
    if not 0 in shape:
        check(graph, model, normal(other, *shape, seed=1))


def test_the_batch_may_be_another_axis_or_none():
    model = nn.LSTM(6, 4).double()
    check(trace(model, normal(5, 3, 6), batch_axis=1), lambda x: (model(x)[0], *model(x)[1]), normal(5, 4, 6))
    fixed = trace(model, normal(5, 3, 6), batch_axis=None)
    check(fixed, lambda x: (model(x)[0], *model(x)[1]), normal(5, 3, 6, seed=2))
    with pytest.raises(ValueError, match=r"x is float64 \(5, 4, 6\), expected float64 \(5, 3, 6\)"):
        fixed(normal(5, 4, 6))


def test_two_inputs_and_their_names():
    model = nn.MultiheadAttention(4, 2, batch_first=True).double()
    graph = trace(model, normal(2, 3, 4), normal(2, 5, 4), names=["query", "key"])
    assert str(graph).startswith("query: float64 (N, 3, 4)\nkey: float64 (N, 5, 4)\n")
    check(graph, model, normal(6, 3, 4), normal(6, 5, 4, seed=1))


@pytest.mark.parametrize("name", ["leaky_relu", "elu", "selu", "softplus", "mish", "hardswish", "logsigmoid", "softsign", "relu6"])
def test_activations_are_written_as_what_they_compare(name):
    model = getattr(F, name)
    check(trace(model, normal(3, 4)), model, normal(5, 4, seed=1))


def test_the_listing():
    model = nn.Sequential(nn.Linear(3, 2), nn.LeakyReLU(0.1))
    assert str(trace(model, normal(4, 3).astype("float32"))).splitlines() == [
        "x: float32 (N, 3)",
        "0.weight: constant float32 (2, 3)",
        "0.bias: constant float32 (2,)",
        "%1 = Linear(x, 0.weight, 0.bias)      (N, 2)  0",
        "%2 = Multiply(0.1, %1)                (N, 2)  1",
        "%3 = Where(%1, %2; condition=%1 > 0)  (N, 2)  1",
        "return %3"]


def test_gradients_flow_through_the_graph_to_the_input_and_the_parameters():
    model, x = NETS["conv, batch norm, pool"][0]().double().eval(), Tensor(normal(2, *IMAGE), requires_grad=True)
    wanted = (x, *model.parameters())
    mine = tg.grad((trace(model, x)(x) ** 2).sum(), wanted)
    eager = tg.grad((model(x) ** 2).sum(), wanted)
    for a, b in zip(mine, eager):
        np.testing.assert_allclose(a.data, b.data, rtol=1e-12, atol=1e-12)


def test_a_trained_parameter_changes_the_graph_but_not_a_folded_one():
    model = nn.Linear(3, 2).double()
    graph, x = trace(model, normal(4, 3)), normal(4, 3, seed=1)
    folded, before = fold_constants(graph), model(Tensor(x)).data
    model.weight.data += 1
    check(graph, model, x)
    np.testing.assert_allclose(folded(x).data, before, rtol=0, atol=1e-12)


def test_folding_and_dead_code_on_a_known_graph():
    w = Tensor(normal(3))

    def model(x):
        unused = x.exp() * 2                        # noqa: F841
        return x * (w.exp() + 1).reshape(1, 3)

    graph = trace(model, normal(2, 3))
    assert [s.kind.__name__ for s in graph.instructions] == ["Exp", "Multiply", "Exp", "Add", "Reshape", "Multiply"]
    assert [s.kind.__name__ for s in remove_dead_code(graph).instructions] == ["Exp", "Add", "Reshape", "Multiply"]
    short = remove_dead_code(fold_constants(graph))
    assert [s.kind.__name__ for s in short.instructions] == ["Multiply"] and list(short.constants) == ["%5"]
    check(short, model, normal(5, 3))
    check(fold_constants(graph), model, normal(5, 3))


REFUSED = {
    "a maximum": (lambda x: x - backend.array_module(x.data).max(x.data), "Subtract at test_tracing.py"),
    "a mask": (lambda x: ops.where(x.data > 0.3, x, 0.0), "its condition"),
    "noise": (lambda x: F.dropout(x, 0.5), "Multiply at test_tracing.py:[0-9]+: input 1"),
    "a branch": (lambda x: x.exp() if x.data[0, 0] > 0 else x.sin(), "cannot branch"),
    "a loop over the batch": (lambda x: ops.concatenate([row * 2 for row in x]), "operations"),
    "one over the batch size": (lambda x: x * (1.0 / len(x)), "input 1 is not the same"),
    "no Tensor": (lambda x: x.shape, "returned"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_a_list_of_operations_cannot_hold_is_refused(name):
    model, message = REFUSED[name]
    x = np.array([[1.0, -1.0, 0.5], [0.25, 2.0, -3.0], [-0.1, 4.0, 1.0], [0.2, 0.6, -2.0]])
    with pytest.raises(TraceError, match=message):
        trace(model, x)


def test_a_condition_that_might_be_fixed_is_refused():
    with pytest.raises(TraceError, match="give examples of both signs"):
        trace(F.leaky_relu, abs(normal(3, 2)) + 1)


def test_wrong_inputs_are_named():
    graph = trace(nn.Linear(3, 2), normal(4, 3).astype("float32"))
    with pytest.raises(ValueError, match=r"x is float32 \(4, 5\), expected float32 \(N, 3\)|x is float32 \(4, 5\)"):
        graph(np.zeros((4, 5), "float32"))
    with pytest.raises(ValueError, match="got 2 inputs, expected 1: x"):
        graph(np.zeros((4, 3), "float32"), np.zeros((4, 3), "float32"))


def test_nothing_is_left_behind():
    apply, model = autograd.Function.apply, nn.Sequential(nn.Linear(3, 2), nn.Dropout())
    model[0].eval()
    with pytest.raises(TraceError):
        trace(lambda x: model(x).shape, normal(2, 3).astype("float32"))
    assert autograd.Function.apply is apply
    assert isinstance(trace(model, normal(2, 3).astype("float32")), Graph)
    assert autograd.Function.apply is apply and model.training and not model[0].training and model[1].training
