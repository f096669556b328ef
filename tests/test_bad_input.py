"""Mistakes: each gets an error of one line that says what was got and what was expected, and changes nothing."""
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import backend, functional as F

ROOT = Path(__file__).resolve().parents[1]
X = np.arange(6.0).reshape(2, 3)
DeviceError = tg.DeviceError

# text of the mistake: (what is done to a leaf x of shape (2, 3), type of the error, what its message says)
MISTAKES = {
    # shapes
    "x + (4,)": (lambda x: x + np.ones(4), ValueError, r"Add: got shapes \(2, 3\), \(4,\)"),
    "where": (lambda x: tg.where(np.ones(4, bool), x, 0.0), ValueError, r"Where: got shapes .*\(4,\) \(2,3\)"),
    "x @ x": (lambda x: x @ x, ValueError, r"matmul: got shapes \(2, 3\) and \(2, 3\); .* 3, must equal .* 2"),
    "x @ number": (lambda x: x @ tg.tensor(1.0), ValueError, r"matmul: got shapes \(2, 3\) and \(\), expected at least one axis"),
    "einsum": (lambda x: tg.einsum("ij,jk->ik", x, x), ValueError, "einsum: .* the letter j stands for both 3 and 2"),
    "reshape": (lambda x: x.reshape((4, 2)), ValueError, r"Reshape: got shapes \(2, 3\): .* size 6 into shape \(4,2\)"),
    "reshape -1": (lambda x: x.reshape((-1, 4)), ValueError, r"Reshape: got shapes \(2, 3\)"),
    "broadcast_to": (lambda x: tg.broadcast_to(x, (2, 4)), ValueError, r"BroadcastTo: got shapes \(2, 3\)"),
    "concatenate": (lambda x: tg.concatenate([x, np.ones((2, 4))]), ValueError, r"Concatenate: got shapes \(2, 3\), \(2, 4\)"),
    "stack": (lambda x: tg.stack([x, np.ones((2, 4))]), ValueError, "Concatenate: got shapes"),
    "split": (lambda x: tg.split(x, 2, axis=1), ValueError, "split: axis 1 has length 3, the pieces add up to 2"),
    "pad": (lambda x: tg.pad(x, [(1, 1)]), ValueError, "pad: got 1 pairs of widths, expected 2"),
    "unfold": (lambda x: tg.unfold(x, (3, 3)), ValueError, r"the window reaches over \(3, 3\), the input has only \(2, 3\)"),
    "inverse": (tg.inverse, ValueError, r"inverse: got shape \(2, 3\), expected square matrices"),
    "topk": (lambda x: tg.topk(x, 9), ValueError, "topk: got k = 9, the axis has length 3"),
    "linear": (lambda x: F.linear(x, np.ones((5, 4))), ValueError, r"linear: x has 3 features, weight \(5, 4\) expects 4"),
    "layer_norm": (lambda x: F.layer_norm(x, (4,)), ValueError, r"layer_norm: normalized_shape is \(4,\), .* have \(3,\)"),
    "conv2d": (lambda x: F.conv2d(x.reshape((1, 2, 3, 1)), np.ones((4, 3, 1, 1))), ValueError, "conv2d: x has 2 channels"),
    "mse_loss": (lambda x: F.mse_loss(x, np.ones((2, 1))), ValueError, r"mse_loss: input has shape \(2, 3\), target \(2, 1\)"),
    # axes and places
    "sum": (lambda x: x.sum(axis=2), ValueError, "Sum: .* axis 2 is out of bounds"),
    "softmax": (lambda x: F.softmax(x, axis=5), ValueError, r"softmax: got axis 5, expected one from -2 to 1 of shape \(2, 3\)"),
    "argmax": (lambda x: tg.argmax(x, axis=5), ValueError, "axis 5 is out of bounds"),
    "transpose": (lambda x: x.transpose((0,)), ValueError, r"transpose: got axes \(0,\), expected an order of the 2 axes"),
    "squeeze": (lambda x: x.squeeze(1), ValueError, "squeeze: axis 1 has length 3, expected 1"),
    "index": (lambda x: x[5], IndexError, "index 5 is out of bounds for axis 0 with size 2"),
    "float index": (lambda x: x[1.5], IndexError, "only integers, slices"),
    "embedding": (lambda x: F.embedding(np.array([7]), x), IndexError, r"embedding: got ids in \[7, 7\], expected"),
    "one_hot": (lambda x: tg.one_hot(np.array([0, 3]), 3), ValueError, r"one_hot: got ids in \[0, 3\], expected \[0, 3\)"),
    "one_hot < 0": (lambda x: tg.one_hot(np.array([-1]), 3), ValueError, r"one_hot: got ids in \[-1, -1\]"),
    "class range": (lambda x: F.cross_entropy(x, np.array([0, 3])), ValueError, r"targets lie in \[0, 3\], expected \[0, 3\)"),
    "class count": (lambda x: F.cross_entropy(x, np.array([0])), ValueError, r"expected targets of shape \(2,\), got \(1,\)"),
    # kinds of numbers
    "float classes": (lambda x: F.cross_entropy(x, np.array([0.0, 1.0])), TypeError, "must be integer class indices, got float64"),
    "float tensor": (lambda x: F.cross_entropy(x, tg.tensor([0.0, 1.0])), TypeError, "must be integer class indices, got float32"),
    "nll_loss": (lambda x: F.nll_loss(x, np.array([0.0, 1.0])), TypeError, "must be integer class indices, got float64"),
    "float ids": (lambda x: F.embedding(np.array([1.0]), x), TypeError, "embedding: ids must be integers, got float64"),
    "float one_hot": (lambda x: tg.one_hot(np.array([0.0]), 3), TypeError, "one_hot: ids must be integers, got float64"),
    "ragged": (lambda x: tg.tensor([[1, 2], [3]]), ValueError, "expected numbers or equally long nested lists"),
    "objects": (lambda x: tg.tensor(np.array([None, "a"], object)), TypeError, "expected real numbers, got dtype object"),
    "text": (lambda x: x + "a", TypeError, "expected real numbers, got dtype <U1"),
    "complex": (lambda x: tg.tensor(1j), TypeError, "expected real numbers, got dtype complex128"),
    "integer leaf": (lambda x: tg.tensor([1], requires_grad=True), TypeError, "only float tensors have gradients, got int64"),
    "later": (lambda x: tg.tensor([1]).requires_grad_(), TypeError, "only float tensors have gradients, got int64"),
    # gradients
    "no scalar": (lambda x: (x * 2).backward(), RuntimeError, r"backward: the output has shape \(2, 3\), expected a scalar"),
    "grad of that": (lambda x: tg.grad(x * 2, x), RuntimeError, r"grad: the output has shape \(2, 3\), expected a scalar"),
    "cotangent": (lambda x: (x * 2).backward(np.ones(6)), ValueError, r"gradient has shape \(6,\), the output has \(2, 3\)"),
    "no graph": (lambda x: x.detach().sum().backward(), RuntimeError, "does not depend on any tensor with requires_grad=True"),
    "unused": (lambda x: tg.grad((x * 2).sum(), tg.ones(1, requires_grad=True)), RuntimeError, "pass allow_unused=True"),
    "twice": (lambda x: twice((x * x).sum()), RuntimeError, "freed by an earlier backward; pass retain_graph=True"),
    "unfreeze": (lambda x: (x * 2).requires_grad_(False), RuntimeError, "made by Multiply; use detach"),
    # writes into a tracked tensor
    "x += 1": (lambda x: x.add_(1), RuntimeError, "in-place write into a leaf that requires grad"),
    "x[0] = 1": (lambda x: x.__setitem__(0, 1.0), RuntimeError, "in-place write into a leaf that requires grad"),
    "larger": (lambda x: (x * 1).add_(np.ones((5, 2, 3))), ValueError, r"result has shape \(5, 2, 3\), the tensor has \(2, 3\)"),
    "wrong part": (lambda x: (x * 1).__setitem__(0, np.ones(7)), ValueError, r"SetItem: got shapes \(2, 3\), \(7,\)"),
    # out of the graph
    "item": (lambda x: x.item(), ValueError, r"item: the tensor has shape \(2, 3\), expected one element"),
    "if x": (bool, ValueError, r"truth value of a tensor of shape \(2, 3\) is ambiguous"),
    "numpy": (lambda x: x.numpy(), RuntimeError, r"requires grad; call .detach\(\).numpy\(\)"),
    # devices
    "device": (lambda x: tg.ones(2, device="gpu"), DeviceError, "unknown device: got 'gpu', expected 'cpu' or 'cuda'"),
    "to": (lambda x: x.to("tpu"), DeviceError, "unknown device: got 'tpu', expected 'cpu' or 'cuda'"),
    "default": (lambda x: tg.set_default_device(0), DeviceError, "unknown device: got 0, expected"),
}


def twice(y):
    y.backward()
    y.backward()


@pytest.mark.parametrize("text", MISTAKES)
def test_a_mistake_is_one_clear_line(text):
    do, error, says = MISTAKES[text]
    x = tg.tensor(X, requires_grad=True)
    with pytest.raises(error, match=says) as found:
        do(x)
    assert "\n" not in str(found.value) and len(str(found.value)) < 320


@pytest.mark.parametrize("text", [text for text in MISTAKES if text != "twice"])
def test_a_mistake_changes_nothing(text):
    do, error, _ = MISTAKES[text]
    x = tg.tensor(X, requires_grad=True)
    array = x.data
    with pytest.raises(error):
        do(x)
    assert x.data is array and np.array_equal(array, X) and x.grad is None and x.is_leaf and x.requires_grad
    assert tg.is_grad_enabled() and tg.default_device() == "cpu"
    (x * x).sum().backward()                                    # and everything still works
    assert np.array_equal(x.grad.data, 2 * X)


def test_the_second_backward_adds_nothing():
    x = tg.tensor(X, requires_grad=True)
    y = (x * x).sum()
    y.backward()
    with pytest.raises(RuntimeError, match="freed"):
        y.backward()
    assert np.array_equal(x.grad.data, 2 * X)


def test_a_backward_that_fails_halfway_leaves_no_gradient():
    x, w = tg.tensor(X, requires_grad=True), tg.tensor(X, requires_grad=True)
    y = (tg.exp(x * w) + w).sum()
    with tg.no_grad():
        w *= 2
    with pytest.raises(RuntimeError, match="changed in place"):
        y.backward()
    assert x.grad is None and w.grad is None and tg.is_grad_enabled()


# ---------------------------------------------------------------- a GPU that is not there

def usable_gpu():
    try:
        return backend._load_cupy() is not None
    except DeviceError:
        return False


@pytest.mark.skipif(usable_gpu(), reason="there is a GPU here")
def test_the_device_option_without_a_gpu_is_one_line_and_exit_code_2(tmp_path):
    run = subprocess.run([sys.executable, "-m", "lessons", "01", "--fast", "--device", "cuda"], cwd=ROOT, capture_output=True,
                         text=True, env=os.environ | {"TINYGRAD_EDU_OUT": str(tmp_path)})
    lines = [line for line in run.stderr.splitlines() if "device 'cuda'" in line]
    assert len(lines) == 1 and "Traceback" not in run.stderr and run.returncode == 2, run.stderr


def library(available, nvrtc):
    def version():
        if not nvrtc:
            raise RuntimeError("libnvrtc.so not found")

    cuda = SimpleNamespace(is_available=lambda: available, nvrtc=SimpleNamespace(getVersion=version))
    return SimpleNamespace(__version__="14.0", cuda=cuda)


@pytest.mark.parametrize("module, says", [
    (None, r"CuPy is not installed; pip install 'tinygrad-edu\[cuda13\]'"),
    (library(False, True), "CuPy 14.0 is installed but finds no usable GPU or driver; check `nvidia-smi`"),
    (library(True, False), r"CuPy finds no NVRTC, .* pip install 'cupy-cuda13x\[ctk\]'"),
])
def test_three_things_may_be_missing_and_each_has_its_line(monkeypatch, module, says):
    monkeypatch.setattr(backend, "_cupy", None)
    monkeypatch.setattr(backend.importlib.util, "find_spec", lambda name: module)
    if module is not None:
        monkeypatch.setitem(sys.modules, "cupy", module)
    for ask in (lambda: tg.ones(2, device="cuda"), lambda: tg.set_default_device("cuda"), lambda: tg.ones(2).to("cuda")):
        with pytest.raises(DeviceError, match="device 'cuda': " + says) as found:
            ask()
        assert "\n" not in str(found.value)
    assert tg.default_device() == "cpu" and not backend.uses_cupy()
    assert "cuda  not usable: device 'cuda'" in tg.describe_devices()
