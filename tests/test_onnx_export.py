"""ONNX export: files that onnx's checker accepts and that onnxruntime runs with our answers, for batches of any size."""
import numpy as np
import pytest

from tinygrad_edu import Tensor, functional as F, nn, no_grad, ops
from tinygrad_edu.io import export_onnx
from onnx_files import onnx, run


def check(model, path, *examples, sizes=(1, 5), batch_axis=0, **options):
    """Export with the examples, then compare on batches of other sizes and other numbers."""
    examples = [np.asarray(x, "float32" if np.asarray(x).dtype.kind == "f" else "int64") for x in examples]
    export_onnx(model, path, *examples, batch_axis=batch_axis, **options)
    if isinstance(model, nn.Module):
        model.eval()
    for N in sizes:
        inputs = examples if batch_axis is None else [np.repeat(x, N, batch_axis).take(np.arange(1, N + 1), batch_axis)
                                                      for x in examples]
        with no_grad():
            ours = model(*map(Tensor, inputs))
        theirs = run(path, *inputs)
        for a, b in zip(ours if isinstance(ours, tuple) else (ours,), theirs, strict=True):
            assert a.dtype == b.dtype
            np.testing.assert_allclose(a.data, b, rtol=1e-5, atol=1e-5)


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")


# ---------------------------------------------------------------- whole nets

class Words(nn.Module):
    """Word ids, a two-layer LSTM both ways, the last state."""

    def __init__(self, kind=nn.LSTM):
        self.words, self.memory, self.out = nn.Embedding(20, 8), kind(8, 6, 2, batch_first=True, bidirectional=True), nn.Linear(12, 3)

    def forward(self, ids):
        return self.out(self.memory(self.words(ids))[0][:, -1])


class Block(nn.Module):
    """A Transformer block, pre-norm, with learned positions."""

    def __init__(self, causal):
        self.positions = nn.Embedding(6, 8)
        self.norm1, self.norm2 = nn.LayerNorm(8), nn.LayerNorm(8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.mlp = nn.Sequential(nn.Linear(8, 16), nn.GELU(), nn.Linear(16, 8))
        self.causal = causal

    def forward(self, x):
        x = x + self.positions(np.arange(x.shape[1]))
        x = x + self.attention(self.norm1(x), causal=self.causal)
        return x + self.mlp(self.norm2(x))


def lenet():
    return nn.Sequential(nn.Conv2d(1, 6, 5, padding=2), nn.BatchNorm2d(6), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(6, 8, 3, stride=2, groups=2), nn.BatchNorm2d(8), nn.LeakyReLU(0.1), nn.AvgPool2d(2, 1, 1),
                         nn.Flatten(), nn.Dropout(), nn.Linear(128, 10))


def trained_statistics(model, x):
    """Run once in training, so that the averages of batch norm are not 0 and 1."""
    with no_grad():
        model.train()(Tensor(x))
    return model


NETS = {
    "LeNet with batch norm": (lambda: trained_statistics(lenet(), normal(8, 1, 14, 14)), (normal(3, 1, 14, 14),)),
    "MLP with layer norm": (lambda: nn.Sequential(nn.Linear(6, 8), nn.LayerNorm(8), nn.SiLU(), nn.Linear(8, 3)),
                            (normal(3, 6),)),
    "LSTM classifier": (Words, (np.arange(15).reshape(3, 5) % 20,)),
    "GRU classifier": (lambda: Words(nn.GRU), (np.arange(15).reshape(3, 5) % 20,)),
    "RNN classifier": (lambda: Words(nn.RNN), (np.arange(15).reshape(3, 5) % 20,)),
    "Transformer block": (lambda: Block(False), (normal(3, 6, 8),)),
    "causal Transformer block": (lambda: Block(True), (normal(3, 6, 8),)),
    "group norm, transposed convolution": (lambda: nn.Sequential(
        nn.ConvTranspose2d(2, 4, 3, 2, 1, 1), nn.GroupNorm(2, 4), nn.Upsample(scale_factor=2),
        nn.InstanceNorm2d(4, affine=True), nn.AdaptiveAvgPool2d(1), nn.Flatten()), (normal(3, 2, 4, 5),)),
    "sequences": (lambda: nn.Sequential(nn.ConvTranspose1d(2, 3, 3), nn.MaxPool1d(2, padding=1), nn.Softplus()),
                  (normal(3, 2, 8),)),
    "attention between two": (lambda: nn.MultiheadAttention(8, 2, batch_first=True),
                              (normal(3, 4, 8), normal(3, 5, 8, seed=1))),
    "RMS norm, as its definition": (lambda: nn.RMSNorm(6), (normal(3, 6),)),
}


@pytest.mark.parametrize("name", NETS)
def test_net_equals_onnxruntime(name, tmp_path):
    make, examples = NETS[name]
    check(make(), tmp_path / "net.onnx", *examples)


# ---------------------------------------------------------------- single rules

RULES = {
    "arithmetic": lambda x: (-x + 2) * x / (x * x + 1) - 3 * x,
    "powers": lambda x: ops.sqrt(abs(x) + 1) + x ** 2 + (abs(x) + 0.1) ** 1.5 + ops.power(abs(x) + 0.1, x),
    "exponentials": lambda x: ops.exp(x) + ops.expm1(x) + ops.log(abs(x) + 1) + ops.log1p(abs(x)) + ops.logaddexp(x, 2 * x),
    "curves": lambda x: ops.sin(x) + ops.cos(x) + ops.arctan(x) + ops.tanh(x) + ops.sigmoid(x) + ops.erf(x),
    "kinks": lambda x: F.relu(x) + ops.clip(x, -0.5, 0.7) + ops.clip(x, low=0.1) + ops.maximum(x, 0.3) + ops.minimum(x, 2 * x),
    "elu": F.elu,
    "softplus and mish": lambda x: F.softplus(x) + F.mish(x),
    "gelu of both kinds": lambda x: F.gelu(x) + F.gelu(x, approximate="tanh"),
    "group norm and SiLU": lambda x: F.group_norm_silu(x, 2),
    "linear": lambda x: F.linear(x, np.ones((2, 5)) + np.eye(2, 5)) + F.linear(x[:, 0], np.eye(2, 5), np.ones(2))[:, None],
    "a fixed mask": lambda x: ops.where(np.arange(5) % 2 == 0, x, 0.0),
    "softmax": lambda x: F.softmax(x, axis=1) + F.log_softmax(x),
    "reductions": lambda x: (x.sum(axis=1, keepdims=True) + x.mean(axis=(1, 2), keepdims=True) + x.max(axis=-1, keepdims=True)
                             + ops.logsumexp(x, axis=1, keepdims=True) + ops.var(x, axis=2, keepdims=True)),
    "running sums": lambda x: ops.cumsum(x, axis=1) + ops.cumsum(x),
    "a sum of everything": lambda x: x.sum(),
    "shapes": lambda x: ops.stack([x.reshape(-1, 20).reshape(len(x), 4, 5), x.swapaxes(1, 2).reshape(len(x), 4, 5)], axis=1),
    "the batch folded into another axis": lambda x: x.reshape(len(x) * 4, 5).reshape(-1, 4, 5).reshape(len(x), -1),
    "repeating": lambda x: (ops.broadcast_to(x.sum(axis=0), x.shape) + ops.repeat(x[:, :1], 4, axis=1)
                            + ops.tile(x[:, :2], 2, axis=1)),
    "borders": lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 1)), value=0.5),
    "mirrored borders": lambda x: ops.pad(x, ((0, 0), (1, 0), (2, 2)), "reflect"),
    "backwards and around": lambda x: ops.flip(x, 1) + ops.roll(x, 2, -1) + ops.flip(x, (1, 2)) + x[:, ::-1, ::-5],
    "parts": lambda x: x[:, 1] + x[:, -1, None, 2:3, None].reshape(-1, 1) + x[..., 0].sum(axis=1, keepdims=True),
    "chosen parts": lambda x: x[:, [2, 0]] + x[:, -1:, 1][:, :, None] + x[:, 1, [0, 3, 3, 1, 2]][:, None],
    "einsum": lambda x: ops.einsum("nij,nkj->nik", x, x * 2),
}


@pytest.mark.parametrize("name", RULES)
def test_rule_equals_onnxruntime(name, tmp_path):
    check(RULES[name], tmp_path / "rule.onnx", normal(3, 4, 5))


def test_a_graph_without_a_batch(tmp_path):
    places = np.array([[[2, 0, 1, 1, 3]]])
    check(lambda x: ops.take_along_axis(x, places, 1), tmp_path / "rule.onnx", normal(1, 4, 5), sizes=(1,), batch_axis=None)


def test_integers_meet_floats(tmp_path):
    check(lambda x, ids: x * ids + ids, tmp_path / "mixed.onnx", normal(3, 4), np.arange(12).reshape(3, 4))


# ---------------------------------------------------------------- the file

def test_names_versions_and_the_dynamic_axis(tmp_path):
    path = export_onnx(nn.Sequential(nn.Linear(3, 2), nn.Tanh()), tmp_path / "net.onnx", normal(4, 3), names=["pixels"],
                       output_names=["classes"])
    model = onnx.load(path)
    assert [o.version for o in model.opset_import] == [21] and model.ir_version == 10
    (x,), (y,) = model.graph.input, model.graph.output
    assert (x.name, y.name) == ("pixels", "classes")
    assert [d.dim_param or d.dim_value for d in x.type.tensor_type.shape.dim] == ["N", 3]
    assert [d.dim_param or d.dim_value for d in y.type.tensor_type.shape.dim] == ["N", 2]
    assert {c.name for c in model.graph.initializer} == {"0.weight", "0.bias"}
    assert [node.op_type for node in model.graph.node] == ["Gemm", "Tanh", "Identity"]


def test_kernels_keep_their_names(tmp_path):
    operators = {"Conv", "MaxPool", "LayerNormalization", "LSTM", "Gelu", "GroupNormalization"}

    class All(nn.Module):
        def __init__(self):
            self.conv, self.norm, self.memory = nn.Conv2d(1, 2, 3), nn.LayerNorm(3), nn.LSTM(3, 4)
            self.group, self.pool, self.gelu = nn.GroupNorm(1, 2), nn.MaxPool2d(2), nn.GELU()

        def forward(self, x):
            y = self.pool(self.group(self.gelu(self.conv(x))))              # (N, 2, 3, 3)
            return self.memory(self.norm(y[:, 0]).swapaxes(0, 1))[0]

    model = onnx.load(export_onnx(All(), tmp_path / "net.onnx", normal(2, 1, 8, 8)))
    assert operators <= {node.op_type for node in model.graph.node}
    check(All(), tmp_path / "net.onnx", normal(3, 1, 8, 8))


def test_an_operation_without_counterpart_is_named_and_nothing_is_written(tmp_path):
    class Odd(nn.Module):
        def __init__(self):
            self.first = nn.Linear(3, 3)
        def forward(self, x):
            return ops.inverse(self.first(x) @ x.swapaxes(-1, -2))

    with pytest.raises(NotImplementedError, match=r"export_onnx: Inverse at test_onnx_export.py:[0-9]+ in Odd: it has no ONNX"):
        export_onnx(Odd(), tmp_path / "odd.onnx", normal(2, 3, 3))
    assert list(tmp_path.iterdir()) == []


def test_an_older_file_survives_a_failed_export(tmp_path):
    path = export_onnx(nn.Linear(3, 2), tmp_path / "net.onnx", normal(4, 3))
    before = path.read_bytes()
    with pytest.raises(NotImplementedError):
        export_onnx(ops.inverse, path, normal(2, 3, 3))
    assert path.read_bytes() == before and [p.name for p in tmp_path.iterdir()] == ["net.onnx"]
