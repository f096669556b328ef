"""The device path without a device: the op table and whole training steps on a strict stand-in for CuPy (strict_cupy.py).

With a GPU, `pytest -m gpu` runs the same table on the real one.
"""
import ast
import contextlib
import pathlib
import types

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_edu.testing import cuda_cpu, strict_cupy
import tinygrad_edu as tg
from op_table import TABLE
from tinygrad_edu.testing.strict_cupy import counts, installed
from tinygrad_edu import DeviceError, Tensor, backend, functional as F, nn, optim

ROOT = pathlib.Path(tg.__file__).parent
every_row = pytest.mark.parametrize("row", TABLE, ids=str)


@pytest.fixture
def stand_in():
    """CUDA is the default device, played by the stand-in; without g++ it cannot run the kernels written in CUDA C."""
    without = contextlib.nullcontext() if cuda_cpu.can_compile() else tg.kernel_face("arrays")
    with installed(backend, strict_cupy.module()) as cupy, without:
        tg.set_default_device("cuda")
        yield cupy

@pytest.fixture(scope="session")
def real_cupy():
    cupy = pytest.importorskip("cupy")
    if not cupy.cuda.is_available():
        pytest.skip("no CUDA device here")
    return cupy


# ---------------------------------------------------------------- the op table

def moved(value, cupy):
    """Options with their arrays on the device."""
    if isinstance(value, (np.ndarray, np.bool_)):
        return cupy.asarray(value)
    if isinstance(value, dict):
        return {k: moved(v, cupy) for k, v in value.items()}
    return type(value)(moved(v, cupy) for v in value) if type(value) in (list, tuple) else value

def answers(y):
    return tuple(y) if isinstance(y, (tuple, list)) else (y,)

def derivatives(row, arrays, options):
    """Values, gradients (without and with a graph of their own) and double gradients, on the default device."""
    rng = np.random.default_rng(0)
    xs = [Tensor(a, requires_grad=row.differentiable) for a in arrays]
    ys = answers(row.function(*xs, **options))
    if not row.differentiable:
        return [y.data for y in ys]

    kept = [y for y in ys if y.requires_grad]
    us = [Tensor(rng.standard_normal(y.shape), requires_grad=True, dtype=y.dtype) for y in kept]
    gs = tg.grad(kept, xs, us, retain_graph=True, allow_unused=True)
    graphs = tg.grad(kept, xs, us, create_graph=True, allow_unused=True)
    scalar = sum((g * Tensor(rng.standard_normal(g.shape))).sum() for g in graphs if g is not None)
    ggs = tg.grad(scalar, [*xs, *us], allow_unused=True)
    return [y.data for y in ys] + [g.data for g in (*gs, *graphs, *ggs) if g is not None]

def check_on_device(row, case, cupy, tolerance):
    """Everything as on the CPU, all of it on the device. Returns how many synchronisations it took."""
    arrays, options = case
    tg.set_default_device("cpu")
    expected = derivatives(row, arrays, options)
    tg.set_default_device("cuda")
    on_device = [cupy.asarray(a) for a in arrays], moved(options, cupy)

    counts["syncs"] = 0
    plain = answers(row.function(*on_device[0], **on_device[1]))
    found = derivatives(row, arrays, on_device[1])
    syncs = counts["syncs"]
    tg.set_default_device("cpu")
    assert all(isinstance(a, cupy.ndarray) for a in (*plain, *found)) and len(found) == len(expected)
    for a, right in zip((*plain, *found), (*expected[: len(plain)], *expected)):
        assert a.shape == right.shape and a.dtype == right.dtype
        np.testing.assert_allclose(a.get(), right, rtol=tolerance, atol=tolerance)
    return syncs

@every_row
@given(st.data())
def test_the_table_on_the_stand_in(row, data):
    """Forward, backward and double backward equal NumPy's; no host array is met, and nothing waits for the device."""
    with installed(backend, strict_cupy.module()) as cupy:
        syncs = check_on_device(row, data.draw(row.cases), cupy, 1e-12)
    assert row.syncs or syncs == 0

@pytest.mark.gpu
@every_row
@given(data=st.data())
def test_the_table_on_a_gpu(real_cupy, row, data):
    check_on_device(row, data.draw(row.cases), real_cupy, 1e-9)

@pytest.mark.gpu
def test_every_name_listed_is_in_the_real_package(real_cupy):
    gone = [n for n in strict_cupy.read_names() if not hasattr(real_cupy, n.partition(".")[0])]
    assert not gone, "write cupy_names.txt anew: python -m tinygrad_edu.testing.strict_cupy"


# ---------------------------------------------------------------- training

class Small(nn.Module):
    """A convolutional classifier with one of each kind of layer."""

    def __init__(self):
        self.first = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU(), nn.Dropout(0.1))
        self.second = nn.Sequential(nn.Conv2d(4, 4, 3, stride=2, groups=2), nn.GroupNorm(2, 4), nn.SiLU())
        self.last = nn.Linear(16, 3)

    def forward(self, x):
        x = self.second(F.max_pool2d(self.first(x), 2))             # (N, 4, 2, 2)
        return self.last(x.flatten(1))


class Sequence(nn.Module):
    """Embedding, attention, normalization and a recurrent layer."""

    def __init__(self):
        self.embedding, self.norm = nn.Embedding(5, 6), nn.LayerNorm(6)
        self.weights = [nn.Parameter(0.3 * tg.randn(*s)) for s in ((12, 6), (12, 3), (12,))]
        self.last = nn.Linear(3, 5)

    def forward(self, ids):                                         # (N, T)
        x = self.norm(self.embedding(ids))
        x = x + F.scaled_dot_product_attention(x, x, x, causal=True)
        h = tg.zeros(len(ids), 3)
        states, _, _ = F.lstm(x.swapaxes(0, 1), h, h, *self.weights)
        return self.last(states[-1])


def multilayer():
    return nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 3))

def train(model, x, targets, make_optimizer, steps=4, between=lambda: None):
    """The loss of every step, as 0-d arrays that nobody has looked at yet. `between` is called before each step."""
    optimizer, losses = make_optimizer(model.parameters()), []
    for _ in range(steps):
        between()
        loss = F.cross_entropy(model(x), targets)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.data)
    return losses

def adam(parameters):
    return optim.Adam(parameters, lr=0.01)

def heavy_ball(parameters):
    return optim.SGD(parameters, lr=0.1, momentum=0.9, weight_decay=1e-3)

SETUPS = {"mlp": (multilayer, lambda rng: rng.standard_normal((6, 4)).astype("float32"), adam),
          "convolution": (Small, lambda rng: rng.standard_normal((6, 1, 10, 10)).astype("float32"), heavy_ball),
          "sequence": (Sequence, lambda rng: rng.integers(0, 5, (6, 4)), adam)}

def losses_of(name, device=None, between=lambda: None):
    """Seed, build, train. `device` None: all is made on the default device, else it is moved there."""
    make_model, make_data, make_optimizer = SETUPS[name]
    rng = np.random.default_rng(1)
    tg.manual_seed(3)
    model, x, targets = make_model(), Tensor(make_data(rng)), Tensor(rng.integers(0, 3, 6))
    if device:
        model, x, targets = model.to(device), x.to(device), targets.to(device)
    return train(model, x, targets, make_optimizer, between=between)

@pytest.mark.parametrize("name", SETUPS)
def test_training_never_waits_for_the_device(name, stand_in):
    seen = []
    device = losses_of(name, between=lambda: seen.append(dict(counts)))
    assert counts["syncs"] == 0
    uploads = np.diff([counted["uploads"] for counted in seen])
    assert len(set(uploads)) == 1 and uploads[0] <= 1               # each step alike: the mask of dropout, the first state

    tg.set_default_device("cpu")
    host = losses_of(name)
    assert host[-1] < host[0]
    np.testing.assert_allclose([a.get() for a in device], host, rtol=1e-6)

@pytest.mark.parametrize("name", ["mlp", "convolution"])
def test_a_model_can_be_moved(name, stand_in):
    """`to("cuda")` is enough: the default device may stay the CPU."""
    tg.set_default_device("cpu")
    host, device = losses_of(name), losses_of(name, "cuda")
    assert all(isinstance(a, stand_in.ndarray) for a in device)
    np.testing.assert_allclose([a.get() for a in device], host, rtol=1e-6)

@pytest.mark.gpu
@pytest.mark.parametrize("name", SETUPS)
def test_training_on_a_gpu_follows_the_cpu(name, real_cupy):
    host = losses_of(name)
    tg.set_default_device("cuda")
    device = [float(a) for a in losses_of(name)]
    tg.set_default_device("cpu")
    np.testing.assert_allclose(device, host, rtol=1e-4)


# ---------------------------------------------------------------- randomness

def drawn():
    """Weights, noise, shuffles and masks after one seed, as host arrays."""
    tg.manual_seed(7)
    tensors = [p for p in multilayer().parameters()] + [tg.randn(2, 3), tg.rand(4), tg.randperm(9), tg.randint(0, 5, (6,)),
                                                        F.dropout(tg.ones(20), 0.5)]
    return [backend.to_numpy(t.data) for t in tensors]

def test_one_seed_gives_the_same_numbers_on_both_devices(stand_in):
    device = drawn()
    tg.set_default_device("cpu")
    host = drawn()
    for a, b in zip(device, host):
        np.testing.assert_array_equal(a, b)
    tg.manual_seed(8)
    assert not np.array_equal(host[0], multilayer().parameters()[0].data)


# ---------------------------------------------------------------- moving, looking, and what is missing

def test_tensors_move_and_print(stand_in):
    x = tg.tensor([[1.0, 2.0]])
    assert (x.device, x.to("cpu").device, x.to("cpu").to("cuda").device) == ("cuda", "cpu", "cuda")
    assert x.to("cuda") is x and "device=cuda" in repr(x)
    np.testing.assert_array_equal(x.numpy(), [[1, 2]])
    counts["syncs"] = 0
    assert x.sum().item() == 3 and counts["syncs"] == 1

def test_lists_index_tensors_wherever_they_are(stand_in):
    x = tg.tensor([1.0, 2.0, 3.0], requires_grad=True)
    x[[0, 2, 2]].sum().backward()
    np.testing.assert_array_equal(x.grad.numpy(), [1, 0, 2])
    host = Tensor(np.arange(3.0), device="cpu")
    np.testing.assert_array_equal(host[[0, 2]].numpy(), [0, 2])

def test_tensors_of_two_devices_do_not_mix(stand_in):
    with pytest.raises(TypeError, match="numpy.ndarray"):
        tg.tensor([1.0]) + Tensor([1.0], device="cpu")

def test_the_version_counter_works_on_the_device(stand_in):
    w = nn.Parameter([1.0, 2.0])
    y = (w * w).sum()
    optimizer = optim.SGD([w], lr=0.1)
    w.grad = tg.ones(2)
    optimizer.step()
    z = (w * w).sum()
    optimizer.step()
    with pytest.raises(RuntimeError, match="changed in place"):
        z.backward()
    y.backward()

def without_cupy():
    return None

def without_gpu():
    return strict_cupy.package("cupy", __version__="14.2.0", cuda=types.SimpleNamespace(is_available=lambda: False))

def without_nvrtc():
    def fail():
        raise OSError("libnvrtc.so.12: cannot open shared object file")
    cuda = types.SimpleNamespace(is_available=lambda: True, nvrtc=types.SimpleNamespace(getVersion=fail))
    return strict_cupy.package("cupy", __version__="14.2.0", cuda=cuda)

@pytest.mark.parametrize("make, says", [
    (without_cupy, ("CuPy is not installed", "pip install 'tinygrad-edu[cuda")),
    (without_gpu, ("CuPy 14.2.0 is installed", "no usable GPU or driver", "nvidia-smi")),
    (without_nvrtc, ("no NVRTC", "pip install 'cupy-cuda")),
], ids=["no CuPy", "no GPU", "no NVRTC"])
def test_three_things_may_be_missing_and_each_has_its_message(make, says):
    with installed(backend, make()):
        with pytest.raises(DeviceError) as caught:
            tg.set_default_device("cuda")
        assert tg.default_device() == "cpu" and not backend.uses_cupy()
        assert "not usable" in tg.describe_devices()
    message = str(caught.value)
    assert "\n" not in message and message.startswith("device 'cuda'")
    for words in says:
        assert words in message

def test_an_unknown_device_is_named():
    with pytest.raises(DeviceError, match="got 'gpu', expected 'cpu' or 'cuda'"):
        tg.set_default_device("gpu")

def test_a_usable_device_is_described(stand_in):
    assert tg.describe_devices().splitlines()[1] == "cuda  CuPy 14.2.0 on a strict stand-in"


# ---------------------------------------------------------------- the stand-in is strict

HOST = np.arange(3.0)

@pytest.mark.parametrize("misuse", [
    lambda cupy, x: x + HOST, lambda cupy, x: HOST + x, lambda cupy, x: np.exp(x), lambda cupy, x: np.concatenate([x, x]),
    lambda cupy, x: np.asarray(x), lambda cupy, x: cupy.exp(HOST), lambda cupy, x: cupy.exp([1.0, 2.0]),
    lambda cupy, x: cupy.concatenate([x, HOST]), lambda cupy, x: x[np.array([0, 1])], lambda cupy, x: x[[0, 1]],
    lambda cupy, x: x.__setitem__(0, HOST[:1]), lambda cupy, x: cupy.sum(x, where=x > 0), lambda cupy, x: x.sum(initial=1.0),
    lambda cupy, x: cupy.add.at(x.astype("int16"), cupy.array([0]), 1), lambda cupy, x: cupy.array(["a"]),
    lambda cupy, x: x.__iadd__(HOST), lambda cupy, x: {x: 1},
    lambda cupy, x: cupy.linalg.solve(cupy.zeros((2, 3, 3)), cupy.zeros((3, 1))),
])
def test_misuse_is_refused(misuse, stand_in):
    with pytest.raises((TypeError, ValueError)):
        misuse(stand_in, stand_in.asarray(HOST))

def test_names_that_cupy_lacks_are_missing(stand_in):
    for name in ("geomspace", "insert", "vecdot", "nditer", "errstate", "longdouble"):
        assert hasattr(np, name) and not hasattr(stand_in, name)

def test_results_are_arrays_and_looking_is_counted(stand_in):
    x = stand_in.asarray(HOST)
    for y in (x.sum(), x[0], stand_in.max(x), 2.0 * x[1], np.float64(2) * x[1]):
        assert isinstance(y, stand_in.ndarray) and y.shape == ()
    assert counts == {"syncs": 0, "uploads": 1}
    bool(x[0]), float(x[0]), x[0].item(), x.get(), x.tolist(), x[x > 1]
    assert counts["syncs"] == 6

def test_two_values_for_one_place_are_an_error(stand_in):
    x, i = stand_in.zeros(3), stand_in.array([0, 0])
    x[i] = stand_in.array([5.0, 5.0])
    with pytest.raises(IndexError, match="undefined"):
        x[i] = stand_in.array([1.0, 2.0])


# ---------------------------------------------------------------- lint: what is named exists in CuPy

def attribute_chain(node):
    """`self.xp.linalg.inv` -> ["self", "xp", "linalg", "inv"]; [] if it does not start with a name."""
    parts = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return [node.id, *reversed(parts)] if isinstance(node, ast.Name) else []

def names_after_xp(tree):
    """(line, "linalg.inv") for every use of the array library, `.at` and the like left off."""
    for node in ast.walk(tree):
        chain = attribute_chain(node)
        if "xp" in chain[:-1]:
            yield node.lineno, ".".join(chain[chain.index("xp") + 1 :])

@pytest.mark.parametrize("path", sorted(ROOT.rglob("*.py")), ids=lambda p: str(p.relative_to(ROOT)))
def test_what_is_named_exists_in_cupy(path):
    known = set(strict_cupy.read_names())
    prefixes = {name.rsplit(".", 1)[0] for name in known if "." in name} | {"lib"}
    for line, name in names_after_xp(ast.parse(path.read_text())):
        assert {name, name.removesuffix(".at")} & (known | prefixes), f"{path.name}:{line}: CuPy has no {name}"

NEUTRAL = []
for _part in ("ops", "kernels", "functional", "nn", "optim"):
    NEUTRAL += [p for p in sorted((ROOT / _part).rglob("*.py")) if "loops" not in p.parts]      # loops: the host only

@pytest.mark.parametrize("path", NEUTRAL, ids=lambda p: str(p.relative_to(ROOT)))
def test_neutral_files_do_not_know_numpy(path):
    """They reach the array library as `xp`, so that they run on either."""
    for node in ast.walk(ast.parse(path.read_text())):
        imported = [a.name for a in node.names] if isinstance(node, ast.Import) else [getattr(node, "module", None) or ""]
        assert not any(name.split(".")[0] == "numpy" for name in imported), f"{path.name}:{node.lineno}: imports numpy"

def test_the_lint_finds_what_it_looks_for():
    found = list(names_after_xp(ast.parse("self.xp.linalg.inv(x)\nxp.add.at(y, i, v)\nnode.xp.geomspace(1, 2, 3)")))
    assert {(1, "linalg.inv"), (2, "add.at"), (3, "geomspace")} <= set(found)
    assert "geomspace" not in strict_cupy.read_names()
