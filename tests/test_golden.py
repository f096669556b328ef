"""Values and gradients made by PyTorch, frozen in a file, compared with ours. `python tests/test_golden.py` writes them anew.

golden.npz holds for each case NAME: NAME/input0.., NAME/output, NAME/cotangent u and NAME/gradient0.., the gradients of
<u, output>, all float64; and "training": a batch, the weights before and after 20 steps of Adam, and the loss at each step.
"""
import os
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F, optim

FILE = Path(__file__).resolve().parents[1] / "tinygrad_edu" / "data" / "files" / "golden.npz"


class Recorder:
    """Runs cases in PyTorch and keeps {name: array} in `values`."""

    def __init__(self, seed=0):
        self.rng, self.values = np.random.default_rng(seed), {}

    def normal(self, *shape, scale=1.0):
        import torch
        return torch.from_numpy(np.asarray(scale * self.rng.standard_normal(shape)))

    def classes(self, n, count):
        import torch
        return torch.from_numpy(self.rng.integers(0, count, n))

    def case(self, name, function, *inputs):
        """Output and gradients of a function of tensors, for a random cotangent."""
        leaves = [x.clone().requires_grad_() if x.is_floating_point() else x for x in inputs]
        y = function(*leaves)
        u = self.normal(*y.shape)
        y.backward(u)
        self.values.update({f"{name}/output": y.detach().numpy(), f"{name}/cotangent": u.numpy()})
        for i, x in enumerate(leaves):
            self.values[f"{name}/input{i}"] = x.detach().numpy()
            if x.grad is not None:
                self.values[f"{name}/gradient{i}"] = x.grad.numpy()


def record_functions(recorder):
    import torch
    import torch.nn.functional as F

    case, normal = recorder.case, recorder.normal
    case("matmul", torch.matmul, normal(2, 1, 3, 4), normal(3, 4, 2))
    case("logsumexp", lambda x: torch.logsumexp(x, dim=1), normal(3, 5, scale=3))
    case("cumprod", lambda x: torch.cumprod(x, dim=1), normal(2, 5))
    case("slogdet", lambda a: torch.linalg.slogdet(a)[1], normal(2, 3, 3))
    case("gelu", F.gelu, normal(3, 4, scale=2))
    case("silu", F.silu, normal(3, 4, scale=2))
    case("softplus", F.softplus, normal(3, 4, scale=2))
    case("log_softmax", lambda x: F.log_softmax(x, dim=-1), normal(3, 5, scale=3))
    case("cross_entropy", F.cross_entropy, normal(6, 4, scale=3), recorder.classes(6, 4))
    case("max_pool2d", lambda x: F.max_pool2d(x, 2), normal(1, 2, 4, 6))


def record_kernels(recorder):
    import torch
    import torch.nn.functional as F

    def lstm(x, h, c, weight_ih, weight_hh, bias):
        weights = dict(weight_ih_l0=weight_ih, weight_hh_l0=weight_hh, bias_ih_l0=bias, bias_hh_l0=torch.zeros_like(bias))
        return torch.func.functional_call(torch.nn.LSTM(3, 4), weights, (x, (h[None], c[None])))[0]

    case, normal = recorder.case, recorder.normal
    case("conv2d", lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1, dilation=(1, 2), groups=2),
         normal(2, 4, 5, 6), normal(4, 2, 3, 2), normal(4))
    case("layer_norm", lambda x, w, b: F.layer_norm(x, (5,), w, b), normal(3, 2, 5), normal(5), normal(5))
    case("batch_norm", lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), normal(4, 3, 2), normal(3), normal(3))
    case("group_norm", lambda x, w, b: F.group_norm(x, 2, w, b), normal(2, 4, 3), normal(4), normal(4))
    case("attention", lambda q, k, v: F.scaled_dot_product_attention(q, k, v, is_causal=True),
         normal(2, 4, 3), normal(2, 4, 3), normal(2, 4, 2))
    case("lstm", lstm, normal(4, 2, 3), normal(2, 4), normal(2, 4), normal(16, 3, scale=0.5), normal(16, 4, scale=0.5), normal(16))


def record_training(recorder, steps=20):
    import torch
    import torch.nn.functional as F

    normal, losses = recorder.normal, []
    x, targets = normal(16, 5), recorder.classes(16, 3)
    weights = [normal(8, 5, scale=0.5), normal(8, scale=0.5), normal(3, 8, scale=0.3), normal(3, scale=0.3)]
    recorder.values.update({f"training/start{i}": w.numpy().copy() for i, w in enumerate(weights)})

    W1, b1, W2, b2 = (w.requires_grad_() for w in weights)
    optimizer = torch.optim.Adam(weights, lr=0.05)
    for _ in range(steps):
        loss = F.cross_entropy(F.linear(torch.tanh(F.linear(x, W1, b1)), W2, b2), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    recorder.values.update({f"training/end{i}": w.detach().numpy() for i, w in enumerate(weights)})
    recorder.values.update({"training/x": x.numpy(), "training/targets": targets.numpy(), "training/losses": np.array(losses)})


def make_golden():
    """All golden values, {name: array}."""
    recorder = Recorder()
    record_functions(recorder)
    record_kernels(recorder)
    record_training(recorder)
    return recorder.values


def test_the_stored_values_are_pytorchs():
    pytest.importorskip("torch")
    made = make_golden()
    with np.load(FILE, allow_pickle=False) as stored:
        assert set(stored.files) == set(made)
        for name in stored.files:
            np.testing.assert_allclose(stored[name], made[name], rtol=1e-10, atol=1e-12, err_msg=name)


OURS = {
    "matmul": tg.matmul, "logsumexp": lambda x: tg.logsumexp(x, axis=1), "cumprod": lambda x: tg.cumprod(x, axis=1),
    "slogdet": lambda a: tg.slogdet(a)[1], "gelu": F.gelu, "silu": F.silu, "softplus": F.softplus,
    "log_softmax": F.log_softmax, "cross_entropy": F.cross_entropy, "max_pool2d": lambda x: F.max_pool2d(x, 2),
    "conv2d": lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1, dilation=(1, 2), groups=2),
    "layer_norm": lambda x, w, b: F.layer_norm(x, 5, w, b), "batch_norm": lambda x, w, b: F.batch_norm(x, w, b),
    "group_norm": lambda x, w, b: F.group_norm(x, 2, w, b),
    "attention": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, causal=True),
    "lstm": lambda *inputs: F.lstm(*inputs)[0],
}


@pytest.fixture(scope="module")
def golden():
    with np.load(FILE, allow_pickle=False) as stored:
        return dict(stored)


def numbered(golden, prefix):
    """golden[prefix + "0"], golden[prefix + "1"], ... while there are any."""
    names = sorted(name for name in golden if name.startswith(prefix))
    return [golden[name] for name in names]


def test_every_case_has_ours(golden):
    assert {name.split("/")[0] for name in golden} == {*OURS, "training"}


@pytest.mark.parametrize("name", OURS)
def test_value_and_gradients_equal_the_stored_ones(golden, name):
    inputs = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in numbered(golden, f"{name}/input")]
    y = OURS[name](*inputs)
    np.testing.assert_allclose(y.data, golden[f"{name}/output"], rtol=1e-10, atol=1e-12)
    y.backward(golden[f"{name}/cotangent"])
    for i, x in enumerate(inputs):
        if x.requires_grad:
            np.testing.assert_allclose(x.grad.data, golden[f"{name}/gradient{i}"], rtol=1e-10, atol=1e-12)


def test_training_follows_the_stored_path(golden):
    x, targets = Tensor(golden["training/x"]), Tensor(golden["training/targets"])
    W1, b1, W2, b2 = parameters = [Tensor(w, requires_grad=True) for w in numbered(golden, "training/start")]
    optimizer = optim.Adam(parameters, lr=0.05)
    for expected in golden["training/losses"]:
        loss = F.cross_entropy(F.linear(tg.tanh(F.linear(x, W1, b1)), W2, b2), targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        assert abs(loss.item() - expected) < 1e-10
    for p, end in zip(parameters, numbered(golden, "training/end")):
        np.testing.assert_allclose(p.data, end, rtol=1e-9, atol=1e-10)


def test_the_file_is_small():
    assert FILE.stat().st_size < 50_000


if __name__ == "__main__":
    temporary = FILE.with_name(".golden.npz")
    np.savez_compressed(temporary, **make_golden())
    os.replace(temporary, FILE)
    print(f"{FILE}: {FILE.stat().st_size} bytes")
