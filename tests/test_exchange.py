"""Weights go to PyTorch and come from it: LeNet, ResNet-20, LSTM, Transformer encoder, GPT; and a published checkpoint."""
import os
from pathlib import Path

import numpy as np
import pytest

from kernel_faces import CLOSE, draw_array
from tinygrad_edu import Tensor, no_grad, nn
from tinygrad_edu.data import load_cifar10
from tinygrad_edu.metrics import accuracy
from tinygrad_edu.models.language.gpt import GPT
from tinygrad_edu.models.vision.lenet import LeNet
from tinygrad_edu.models.vision.resnet import ResNet
from twins import arrays_of, assert_equal, flat, twins


def encoder(lib, **options):
    return lib.TransformerEncoder(lib.TransformerEncoderLayer(8, 2, 16, dropout=0.0, activation="gelu", batch_first=True), 2,
                                  lib.LayerNorm(8), **options)


def theirs(name, *arguments):
    """Makes a model of torch_models, which needs PyTorch."""
    def make(lib):
        import torch_models
        return getattr(torch_models, name)(*arguments)
    return make


MODELS = {
    "LeNet": (LeNet, theirs("LeNet"), [draw_array(0, 3, 1, 28, 28)]),
    "ResNet-20": (ResNet, theirs("ResNet", 3, "A"), [draw_array(0, 2, 3, 8, 8)]),
    "ResNet-8, option B": (lambda: ResNet(1, option="B"), theirs("ResNet", 1, "B"), [draw_array(0, 2, 3, 9, 8)]),
    "LSTM": (lambda: nn.LSTM(5, 6, 2, bidirectional=True), lambda lib: lib.LSTM(5, 6, 2, bidirectional=True),
             [draw_array(0, 7, 3, 5)]),
    "Transformer encoder": (lambda: encoder(nn), lambda lib: encoder(lib, enable_nested_tensor=False),
                            [draw_array(0, 3, 5, 8)]),
    "GPT": (lambda: GPT(11, 9, 8, 2, 2), theirs("GPT", 11, 9, 8, 2, 2), [np.random.default_rng(0).integers(11, size=(3, 9))]),
}


@pytest.mark.parametrize("name", MODELS)
def test_weights_come_from_pytorch(name):
    make_ours, make_theirs, inputs = MODELS[name]
    ours, other = twins(make_ours, make_theirs)
    for mode in (True, False):
        ours.train(mode), other.train(mode)
        assert_equal(ours, other, inputs)
    for key, t in arrays_of(other).items():                             # running statistics moved equally
        np.testing.assert_allclose(ours.state_dict()[key].data, t, err_msg=key, **CLOSE)


@pytest.mark.parametrize("name", MODELS)
def test_weights_go_to_pytorch(name):
    torch = pytest.importorskip("torch")
    make_ours, make_theirs, inputs = MODELS[name]
    ours, other = make_ours().double(), make_theirs(torch.nn).double()
    state = {key: torch.tensor(t.numpy()) for key, t in ours.state_dict().items()}
    other.load_state_dict(state)
    assert_equal(ours, other, inputs)


@pytest.mark.parametrize("name", MODELS)
def test_a_safetensors_file_of_pytorch_loads(name, tmp_path):
    torch = pytest.importorskip("torch")
    from safetensors.numpy import load_file
    from safetensors.torch import save_file

    make_ours, make_theirs, inputs = MODELS[name]
    other = make_theirs(torch.nn).eval()
    save_file(other.state_dict(), tmp_path / "model.safetensors")
    state = load_file(tmp_path / "model.safetensors")
    ours = make_ours().eval()
    ours.load_state_dict(state)
    inputs = [a.astype(np.float32) if a.dtype.kind == "f" else a for a in inputs]
    for y, t in zip(flat(ours(*map(Tensor, inputs))), flat(other(*map(torch.tensor, inputs))), strict=True):
        assert y.dtype == np.float32
        np.testing.assert_allclose(y.detach().numpy(), t.detach().numpy(), rtol=1e-4, atol=1e-5)


# ---------------------------------------------------------------- a published model

@pytest.mark.skipif("TINYGRAD_EDU_DATA" not in os.environ, reason="TINYGRAD_EDU_DATA names no folder")
def test_a_published_resnet20_reaches_its_accuracy():
    """Idelbayev's ResNet-20: 91.73 % of the 10,000 test images of CIFAR-10 as published, 915 of the first 1,000."""
    from safetensors.numpy import load_file

    model = ResNet()
    state = load_file(Path(os.environ["TINYGRAD_EDU_DATA"]) / "pretrained" / "resnet20_cifar10.safetensors")
    missing, unknown = model.load_state_dict(state, strict=False)
    assert not unknown and all(key.endswith("num_batches_tracked") for key in missing)     # the file leaves the counters out
    images, labels = load_cifar10("test")
    mean, deviation = (np.array(v, np.float32)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with no_grad():
        model.eval()
        logits = np.concatenate([model(Tensor((images[i : i + 100] - mean) / deviation)).numpy() for i in range(0, 1000, 100)])
    assert accuracy(logits, labels) == pytest.approx(0.915, abs=0.001)  # one image may fall to the other side by rounding
