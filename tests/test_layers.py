"""Every public layer against PyTorch's of the same name: state names, values, gradients, and the state after training.

`python tests/test_layers.py` prints the table. A layer without a row here must be compared with torch.nn in another test.
"""
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F, nn

CLOSE = dict(rtol=1e-10, atol=1e-10)
SINGLE = {"Hardsigmoid": dict(rtol=1e-7)}       # PyTorch's backward multiplies by a float32 of 1/6, in float64 too
SEQUENCES, IMAGES = (3, 4, 7), (2, 4, 6, 5)

# name: how to make it from either nn, and the shape of its input
LAYERS = {
    "Linear": (lambda m: m.Linear(5, 3), (4, 5)),
    "Linear, no bias": (lambda m: m.Linear(5, 3, bias=False), (2, 4, 5)),
    "Conv1d": (lambda m: m.Conv1d(4, 6, 3, 2, 1, 2, 2), SEQUENCES),
    "Conv1d, same, no bias": (lambda m: m.Conv1d(4, 6, 4, padding="same", dilation=2, bias=False), SEQUENCES),
    "Conv1d, valid": (lambda m: m.Conv1d(4, 6, (3,), padding="valid"), SEQUENCES),
    "Conv1d, circular": (lambda m: m.Conv1d(4, 2, 5, padding=2, padding_mode="circular"), SEQUENCES),
    "Conv2d": (lambda m: m.Conv2d(4, 6, (3, 2), stride=2, padding=1, groups=2), IMAGES),
    "Conv2d, same": (lambda m: m.Conv2d(4, 3, (3, 4), padding="same"), IMAGES),
    "Conv2d, valid": (lambda m: m.Conv2d(4, 3, 2, padding="valid"), IMAGES),
    "Conv2d, zeros": (lambda m: m.Conv2d(4, 3, 3, padding=(2, 1), padding_mode="zeros"), IMAGES),
    "Conv2d, reflect": (lambda m: m.Conv2d(4, 3, 3, padding=(2, 1), padding_mode="reflect"), IMAGES),
    "Conv2d, replicate": (lambda m: m.Conv2d(4, 3, 3, 2, (2, 1), padding_mode="replicate"), IMAGES),
    "Conv2d, circular, same": (lambda m: m.Conv2d(4, 3, (4, 3), 1, "same", padding_mode="circular"), IMAGES),
    "ConvTranspose1d": (lambda m: m.ConvTranspose1d(4, 6, 3, 2, 1, 1, 2, False), SEQUENCES),
    "ConvTranspose2d": (lambda m: m.ConvTranspose2d(4, 6, (3, 2), stride=2, padding=1, output_padding=(1, 0)), IMAGES),
    "LayerNorm": (lambda m: m.LayerNorm((4, 3)), (5, 4, 3)),
    "LayerNorm, no bias": (lambda m: m.LayerNorm(3, bias=False), (5, 4, 3)),
    "LayerNorm, plain": (lambda m: m.LayerNorm(3, elementwise_affine=False), (5, 4, 3)),
    "RMSNorm": (lambda m: m.RMSNorm((4, 3)), (5, 4, 3)),
    "RMSNorm, plain": (lambda m: m.RMSNorm(3, 1e-3, False), (5, 4, 3)),
    "GroupNorm": (lambda m: m.GroupNorm(2, 4), SEQUENCES),
    "GroupNorm, plain": (lambda m: m.GroupNorm(2, 4, affine=False), IMAGES),
    "InstanceNorm1d": (lambda m: m.InstanceNorm1d(4, affine=True), SEQUENCES),
    "InstanceNorm1d, tracking": (lambda m: m.InstanceNorm1d(4, track_running_stats=True), SEQUENCES),
    "InstanceNorm2d": (lambda m: m.InstanceNorm2d(4), IMAGES),
    "InstanceNorm2d, tracking": (lambda m: m.InstanceNorm2d(4, 1e-3, 0.3, True, True), IMAGES),
    "BatchNorm1d": (lambda m: m.BatchNorm1d(5), (8, 5)),
    "BatchNorm1d, sequences": (lambda m: m.BatchNorm1d(4, momentum=0.3), SEQUENCES),
    "BatchNorm1d, plain mean": (lambda m: m.BatchNorm1d(5, momentum=None), (8, 5)),
    "BatchNorm2d": (lambda m: m.BatchNorm2d(4), IMAGES),
    "BatchNorm2d, plain": (lambda m: m.BatchNorm2d(4, affine=False), IMAGES),
    "BatchNorm2d, no statistics": (lambda m: m.BatchNorm2d(4, track_running_stats=False), IMAGES),
    "MaxPool1d": (lambda m: m.MaxPool1d(3, 2, 1), SEQUENCES),
    "MaxPool2d": (lambda m: m.MaxPool2d((2, 3), ceil_mode=True), IMAGES),
    "AvgPool1d": (lambda m: m.AvgPool1d(3, 2, 1), SEQUENCES),
    "AvgPool2d": (lambda m: m.AvgPool2d(3, 2, 1, count_include_pad=False), IMAGES),
    "AdaptiveMaxPool1d": (lambda m: m.AdaptiveMaxPool1d(3), SEQUENCES),
    "AdaptiveMaxPool2d": (lambda m: m.AdaptiveMaxPool2d((4, 2)), IMAGES),
    "AdaptiveAvgPool1d": (lambda m: m.AdaptiveAvgPool1d(3), SEQUENCES),
    "AdaptiveAvgPool2d": (lambda m: m.AdaptiveAvgPool2d((4, 2)), IMAGES),
    "Identity": (lambda m: m.Identity(), (3, 4)),
    "Flatten": (lambda m: m.Flatten(), (2, 3, 4)),
    "Flatten, some": (lambda m: m.Flatten(1, 2), IMAGES),
    "Unflatten": (lambda m: m.Unflatten(1, (2, 2)), IMAGES),
    "Upsample": (lambda m: m.Upsample(scale_factor=2), IMAGES),
    "PixelShuffle": (lambda m: m.PixelShuffle(2), (2, 12, 2, 3)),
    "PixelUnshuffle": (lambda m: m.PixelUnshuffle(3), (2, 2, 6, 3)),
    "ZeroPad1d": (lambda m: m.ZeroPad1d((1, 3)), SEQUENCES),
    "ZeroPad2d": (lambda m: m.ZeroPad2d((1, 0, 2, 3)), IMAGES),
    "ReflectionPad1d": (lambda m: m.ReflectionPad1d(2), SEQUENCES),
    "ReflectionPad2d": (lambda m: m.ReflectionPad2d((1, 0, 2, 3)), IMAGES),
    "ReplicationPad1d": (lambda m: m.ReplicationPad1d((0, 2)), SEQUENCES),
    "ReplicationPad2d": (lambda m: m.ReplicationPad2d(3), IMAGES),
    "Dropout": (lambda m: m.Dropout(0.0), (3, 4)),
    "Dropout1d": (lambda m: m.Dropout1d(0.0), SEQUENCES),
    "Dropout2d": (lambda m: m.Dropout2d(0.0), IMAGES),
    "AlphaDropout": (lambda m: m.AlphaDropout(0.0), (3, 4)),
    "ReLU": (lambda m: m.ReLU(), (3, 4)),
    "ReLU6": (lambda m: m.ReLU6(), (3, 40)),
    "LeakyReLU": (lambda m: m.LeakyReLU(0.2), (3, 4)),
    "PReLU": (lambda m: m.PReLU(), (3, 4)),
    "PReLU, channels": (lambda m: m.PReLU(4, init=0.5), IMAGES),
    "ELU": (lambda m: m.ELU(1.5), (3, 4)),
    "SELU": (lambda m: m.SELU(), (3, 4)),
    "Tanh": (lambda m: m.Tanh(), (3, 4)),
    "Hardtanh": (lambda m: m.Hardtanh(-0.5, 2.0), (3, 40)),
    "Softsign": (lambda m: m.Softsign(), (3, 4)),
    "Sigmoid": (lambda m: m.Sigmoid(), (3, 4)),
    "Hardsigmoid": (lambda m: m.Hardsigmoid(), (3, 40)),
    "LogSigmoid": (lambda m: m.LogSigmoid(), (3, 40)),
    "SiLU": (lambda m: m.SiLU(), (3, 4)),
    "Hardswish": (lambda m: m.Hardswish(), (3, 40)),
    "GELU": (lambda m: m.GELU(), (3, 4)),
    "GELU, tanh": (lambda m: m.GELU("tanh"), (3, 4)),
    "Softplus": (lambda m: m.Softplus(), (3, 4)),
    "Softplus, threshold": (lambda m: m.Softplus(2.0, 1.0), (3, 40)),
    "Mish": (lambda m: m.Mish(), (3, 4)),
    "GLU": (lambda m: m.GLU(1), IMAGES),
    "Softmax": (lambda m: m.Softmax(1), IMAGES),
    "LogSoftmax": (lambda m: m.LogSoftmax(-1), IMAGES),
    "Sequential": (lambda m: m.Sequential(m.Linear(5, 4), m.Tanh(), m.Linear(4, 2)), (3, 5)),
}
NOT_IN_PYTORCH = {"Swish"}                                          # compared with its formula in test_activations.py
NOT_LAYERS = {"Module", "Parameter", "ModuleList", "ModuleDict", "ParameterList"}
COMPARED_BELOW = {"Bilinear", "Embedding"}


def random_weights(module, seed=2):
    """Scales of 1 and shifts of 0 would hide what is not multiplied or added."""
    rng = np.random.default_rng(seed)
    for p in module.parameters():
        p.data = rng.standard_normal(p.shape)
    return module


def check_states(torch, ours, theirs):
    """The same names in the same order, the same values and dtypes; and PyTorch takes our state."""
    state, own = theirs.state_dict(), ours.state_dict()
    assert list(own) == list(state)
    for name, value in state.items():
        np.testing.assert_allclose(own[name].data, value.numpy(), **CLOSE, err_msg=name)
        assert own[name].dtype == value.numpy().dtype
    theirs.load_state_dict({name: torch.tensor(value.data) for name, value in own.items()})


def check_layer(torch, name):
    make, shape = LAYERS[name]
    theirs, ours = make(torch.nn).double(), random_weights(make(nn).double())
    theirs.load_state_dict({k: torch.tensor(v.data) for k, v in ours.state_dict().items()})
    for step, training in enumerate((True, True, True, False)):     # three steps of running statistics, then use them
        ours.train(training), theirs.train(training)
        x = np.random.default_rng(step).standard_normal(shape) * (3 if shape[-1] == 40 else 1)
        mine, yours = Tensor(x, requires_grad=True), torch.tensor(x, requires_grad=True)
        y, t = ours(mine), theirs(yours)
        np.testing.assert_allclose(y.data, t.detach().numpy(), **CLOSE)
        gy = np.random.default_rng(9).standard_normal(y.shape)
        ours.zero_grad(), theirs.zero_grad()
        y.backward(gy), t.backward(torch.tensor(gy))
        np.testing.assert_allclose(mine.grad.data, yours.grad.numpy(), **SINGLE.get(name, CLOSE))
        for p, q in zip(ours.parameters(), theirs.parameters()):
            np.testing.assert_allclose(p.grad.data, q.grad.numpy(), **CLOSE)
    check_states(torch, ours, theirs)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")
@pytest.mark.parametrize("name", LAYERS)
def test_layer_equals_pytorch(name):
    check_layer(pytest.importorskip("torch"), name)


def test_every_public_layer_is_compared():
    layers = {name for name, thing in vars(nn).items() if isinstance(thing, type) and issubclass(thing, nn.Module)}
    rows = {name.split(",")[0] for name in LAYERS} | NOT_IN_PYTORCH | NOT_LAYERS | COMPARED_BELOW
    tests = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_*.py"))
    missing = [name for name in layers - rows if f"torch.nn.{name}(" not in tests and f'"{name}"' not in tests]
    assert not missing, f"compare these with torch.nn: {sorted(missing)}"
    assert rows <= layers | NOT_LAYERS, f"these rows have no layer: {sorted(rows - layers)}"


# ---------------------------------------------------------------- more than one input, ids, noise

def test_bilinear_equals_pytorch():
    torch = pytest.importorskip("torch")
    theirs, ours = torch.nn.Bilinear(3, 4, 2).double(), nn.Bilinear(3, 4, 2).double()
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    x, z = np.random.default_rng(0).standard_normal((5, 3)), np.random.default_rng(1).standard_normal((5, 4))
    y, t = ours(Tensor(x), Tensor(z)), theirs(torch.tensor(x), torch.tensor(z))
    np.testing.assert_allclose(y.data, t.detach().numpy(), **CLOSE)
    y.sum().backward(), t.sum().backward()
    np.testing.assert_allclose(ours.weight.grad.data, theirs.weight.grad.numpy(), **CLOSE)


@pytest.mark.parametrize("padding_idx", [None, 1])
def test_embedding_equals_pytorch(padding_idx):
    torch = pytest.importorskip("torch")
    theirs, ours = torch.nn.Embedding(5, 3, padding_idx).double(), nn.Embedding(5, 3, padding_idx).double()
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    ids, gy = np.array([[1, 1], [4, 0]]), np.random.default_rng(0).standard_normal((2, 2, 3))
    y, t = ours(Tensor(ids)), theirs(torch.tensor(ids))
    np.testing.assert_allclose(y.data, t.detach().numpy(), **CLOSE)
    y.backward(gy), t.backward(torch.tensor(gy))
    np.testing.assert_allclose(ours.weight.grad.data, theirs.weight.grad.numpy(), **CLOSE)


@pytest.mark.parametrize("layer, shape", [(nn.Dropout1d(0.3), (40, 50, 3)), (nn.Dropout2d(0.3), (40, 50, 3, 2))])
def test_channel_dropout_drops_whole_channels(layer, shape):
    y = layer(tg.ones(*shape)).data.reshape(2000, -1)
    assert (y == y[:, :1]).all() and set(np.unique(y)) == {0.0, np.float32(1 / 0.7)}
    assert abs((y[:, 0] == 0).mean() - 0.3) < 5 * np.sqrt(0.3 * 0.7 / 2000)
    x = tg.randn(*shape)
    assert layer.eval()(x) is x


def test_alpha_dropout_keeps_mean_and_variance():
    x = tg.randn(100_000)
    y = nn.AlphaDropout(0.2)(x).data
    values, counts = np.unique(y, return_counts=True)
    dropped = y == values[counts.argmax()]
    assert abs(dropped.mean() - 0.2) < 0.01 and abs(y.mean()) < 0.02 and abs(y.var() - 1) < 0.03
    kept = np.polyfit(x.data[~dropped], y[~dropped], 1)                         # a x + b with PyTorch's a and b
    a = ((1 - 0.2) * (1 + 0.2 * 1.7580993408473766 ** 2)) ** -0.5
    np.testing.assert_allclose(kept, [a, 0.2 * 1.7580993408473766 * a], rtol=1e-4)
    assert nn.AlphaDropout(0.2).eval()(x) is x


@pytest.mark.parametrize("call, error", [
    (lambda: nn.Conv2d(4, 6, 3, groups=5), "Conv2d: 4 and 6 channels cannot be cut into 5 groups"),
    (lambda: nn.Conv1d(4, 6, 3, padding="full"), "Conv1d: got padding 'full', expected numbers, 'same' or 'valid'"),
    (lambda: nn.Conv1d(4, 6, 3, 2, padding="same"), "Conv1d: got padding 'same' with stride 2, expected stride 1"),
    (lambda: nn.Conv2d(4, 6, 3, padding_mode="mirror"), "Conv2d: got padding_mode 'mirror', expected one of zeros, reflect"),
    (lambda: nn.BatchNorm2d(3)(tg.ones(2, 4, 3, 3)), "BatchNorm: got 4 channels"),
    (lambda: nn.BatchNorm1d(3, track_running_stats=False).eval()(tg.ones(1, 3)), "got 1 value .* expected at least 2"),
    (lambda: nn.InstanceNorm1d(3)(tg.ones(2, 3, 1)), "InstanceNorm: got 1 value .* expected at least 2"),
    (lambda: nn.GroupNorm(2, 4)(tg.ones(2, 6, 3)), "GroupNorm: got 6 channels"),
    (lambda: F.prelu(tg.ones(2, 3), tg.ones(2)), r"prelu: weight has shape \(2,\), expected \(1,\) or \(3,\)"),
    (lambda: F.glu(tg.ones(2, 3)), r"glu: got x of shape \(2, 3\), expected an even length"),
    (lambda: F.pad(tg.ones(2, 3), (1, 1, 1)), r"pad: got pad = \(1, 1, 1\), expected"),
    (lambda: F.pad(tg.ones(2, 3), (-1, 1)), r"pad: got pad = \(-1, 1\), expected .* all >= 0"),
    (lambda: F.pixel_shuffle(tg.ones(2, 3, 2, 2), 2), "pixel_shuffle: got x of shape"),
    (lambda: F.pixel_unshuffle(tg.ones(2, 3, 2, 3), 2), "pixel_unshuffle: got x of shape"),
    (lambda: F.bilinear(tg.ones(2, 3), tg.ones(2, 4), tg.ones(1, 4, 3)), r"bilinear: got inputs \(2, 3\) and \(2, 4\)"),
    (lambda: F.dropout2d(tg.ones(2, 3)), "dropout2d: got x of shape .* expected 4 axes"),
    (lambda: F.alpha_dropout(tg.ones(2, 3), 1.0), "alpha_dropout: got p = 1.0"),
])
def test_errors_say_got_and_expected(call, error):
    with pytest.raises(ValueError, match=error):
        call()


def table():
    """One line a row, then how many are equal."""
    import torch
    equal = 0
    for name in LAYERS:
        try:
            check_layer(torch, name)
            verdict = "equal"
            equal += 1
        except AssertionError as error:
            verdict = "DIFFERS: " + " ".join(str(error).split())[:90]
        print(f"{name:<28} {verdict}")
    print(f"layers against PyTorch {torch.__version__}, values, gradients and states: {equal} of {len(LAYERS)} equal")
    return equal == len(LAYERS)


if __name__ == "__main__":
    sys.exit(not table())
