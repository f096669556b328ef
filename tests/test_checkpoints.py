"""Checkpoints: training goes on bit for bit, a killed save loses nothing, a damaged or wrong file is refused by its name."""
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

import tinygrad_edu as tg
from tinygrad_edu import Tensor, backend, files, functional as F, io, nn, optim
from tinygrad_edu.data import batches

ROOT = Path(__file__).resolve().parents[1]
DATA = os.environ.get("TINYGRAD_EDU_DATA")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "run.safetensors"


def net():
    return nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Dropout(0.3), nn.Linear(16, 3))


# ---------------------------------------------------------------- training goes on

class Recurrent(nn.Module):
    def __init__(self):
        self.lstm, self.dropout, self.out = nn.LSTM(2, 8), nn.Dropout(0.3), nn.Linear(8, 3)

    def forward(self, x):                                           # (N, 6) as three steps of two numbers
        h, _ = self.lstm(x.reshape(-1, 3, 2).swapaxes(0, 1))
        return self.out(self.dropout(h[-1]))


def setup(network):
    """A run from the beginning: (model, all that is saved beside it)"""
    tg.manual_seed(7)
    model = network()
    optimizer = optim.Adam(model.parameters(), lr=0.01)
    scheduler, ema = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=30), optim.EMA(model, 0.9)
    return model, dict(optimizer=optimizer, scheduler=scheduler, ema=ema)


def steps(model, parts, count):
    """The next `count` steps on shuffled batches: every loss, and every number that there is at the end."""
    rng = np.random.default_rng(0)
    x, labels = rng.standard_normal((40, 6)).astype("float32"), rng.integers(0, 3, 40)
    losses = []
    while len(losses) < count:
        for inputs, targets in batches(x, labels, batch_size=8):
            loss = F.cross_entropy(model(inputs), targets)
            parts["optimizer"].zero_grad()
            loss.backward()
            parts["optimizer"].step()
            parts["scheduler"].step()
            parts["ema"].update()
            losses.append(loss.item())
    return losses, [t.tolist() for _, t in model.named_tensors()], parts["optimizer"].param_groups[0]["lr"], \
        [a.tolist() for a in parts["ema"].averages]


@pytest.mark.parametrize("network", [net, Recurrent])
def test_the_next_ten_steps_are_the_same_bit_for_bit(network, path):
    model, parts = setup(network)
    steps(model, parts, 10)
    io.save_checkpoint(path, model=model, step=10, **parts)
    expected = steps(model, parts, 10)

    again, its_parts = setup(network)
    tg.manual_seed(99)
    assert io.load_checkpoint(path, model=again, **its_parts) == {"step": 10}
    assert steps(again, its_parts, 10) == expected


@pytest.mark.parametrize("missing", ["optimizer", "scheduler", "ema", "rng"])
def test_every_part_matters(missing, path):
    model, parts = setup(net)
    steps(model, parts, 10)
    io.save_checkpoint(path, model=model, **parts)
    expected = steps(model, parts, 10)
    again, its_parts = setup(net)
    some = {name: part for name, part in its_parts.items() if name != missing}
    io.load_checkpoint(path, model=again, rng=missing != "rng", **some)
    assert steps(again, its_parts, 10) != expected


# ---------------------------------------------------------------- any tree comes back

class Part:
    """Anything with a state."""
    def __init__(self, state=None):
        self.state = state

    def state_dict(self):
        return self.state

    def load_state_dict(self, state):
        self.state = state


arrays = hnp.arrays(st.sampled_from(["float32", "float64", "float16", "int64", "int8", "uint16", "bool"]),
                    hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3), elements=st.integers(0, 1))
plain = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text()
keys = st.text() | st.integers() | st.booleans() | st.sampled_from(["$array", "a.b", "a"]) | st.tuples(st.integers())
trees = st.recursive(plain | arrays, lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner)
                     | st.dictionaries(keys, inner, max_size=3))


def same(a, b):
    if isinstance(a, np.ndarray):
        return isinstance(b, np.ndarray) and a.dtype == b.dtype and a.shape == b.shape and (a == b).all()
    if isinstance(a, (list, tuple)):
        return type(a) is type(b) and len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return type(b) is dict and same(list(a), list(b)) and same(list(a.values()), list(b.values()))
    return type(a) is type(b) and a == b


@given(trees)
def test_any_tree_of_values_comes_back(tmp_path_factory, tree):
    path = tmp_path_factory.mktemp("trees") / "x.safetensors"
    part = Part()
    io.save_checkpoint(path, part=Part(tree), value=tree)
    values = io.load_checkpoint(path, part=part)
    assert same(tree, values["value"]) and same(tree, part.state)


def test_tensors_views_and_strange_numbers(path):
    column = np.arange(6.0).reshape(2, 3)[:, 1]
    io.save_checkpoint(path, tensor=tg.ones(2), column=column, big=column.astype(">f8"), zero_d=np.array(2), count=np.int64(3),
                       odd=[float("inf"), float("-inf"), 2 ** 200, -0.0, 0.1], nan=float("nan"))
    values = io.load_checkpoint(path)
    assert type(values["tensor"]) is Tensor and values["tensor"].tolist() == [1, 1]
    assert values["column"].tolist() == values["big"].tolist() == [1, 4]
    assert values["zero_d"].shape == () and values["count"] == 3
    assert values["odd"] == [float("inf"), float("-inf"), 2 ** 200, -0.0, 0.1] and str(values["odd"][3]) == "-0.0"
    assert np.isnan(values["nan"])


@pytest.mark.parametrize("value, text", [({1, 2}, "extra.0 is a set"), (len, "extra.0 is a builtin_function_or_method"),
                                         (np.ones(1, complex), "array of complex128"), (np.array(["a"]), "array of <U1")])
def test_what_cannot_be_saved_is_named_and_nothing_is_written(path, value, text):
    with pytest.raises(TypeError, match=text):
        io.save_checkpoint(path, extra=[value])
    assert list(path.parent.iterdir()) == []


def test_random_numbers_go_on_unless_told_otherwise(path):
    io.save_checkpoint(path)
    expected = tg.randn(3).tolist()
    io.load_checkpoint(path, rng=False)
    assert tg.randn(3).tolist() != expected
    io.load_checkpoint(path)
    assert tg.randn(3).tolist() == expected


# ---------------------------------------------------------------- the wrong file

def test_the_wrong_part_is_refused_and_nothing_is_changed(path):
    io.save_checkpoint(path, first=net(), second=nn.Linear(2, 3), step=3)
    first, second, third = net(), nn.Linear(2, 4), net()
    before, draws = [t.tolist() for _, t in first.named_tensors()], backend.generator().bit_generator.state
    with pytest.raises(io.CheckpointError, match=r"run.safetensors: second: .*(weight|bias) has shape \(3,.*\), expected \(4,.*\)"):
        io.load_checkpoint(path, first=first, second=second)
    with pytest.raises(io.CheckpointError, match="second is of the class Linear, got Sequential"):
        io.load_checkpoint(path, first=first, second=third)
    with pytest.raises(io.CheckpointError, match="holds no state of 'third', only of"):
        io.load_checkpoint(path, first=first, third=second)
    with pytest.raises(io.CheckpointError, match="holds no state of 'step'"):
        io.load_checkpoint(path, step=first)
    assert [t.tolist() for _, t in first.named_tensors()] == before
    assert backend.generator().bit_generator.state == draws


def test_the_optimizer_of_another_model_is_refused_and_nothing_is_changed(path):
    model, other = nn.Linear(2, 3), nn.Linear(2, 3)
    model(tg.ones(1, 2)).sum().backward()
    optimizer = optim.Adam(model.parameters(), lr=0.1)
    optimizer.step()
    io.save_checkpoint(path, model=model, optimizer=optimizer)
    before = other.weight.tolist()
    for optimizer, text in ((optim.SGD(other.parameters()), "optimizer is of the class Adam, got SGD"),
                            (optim.Adam([other.weight], lr=0.5), r"optimizer: .* got groups of \[2\] .* expected \[1\]"),
                            (optim.Adam([nn.Parameter([1.0]), nn.Parameter([2.0])], lr=0.5), "optimizer: .*shape")):
        with pytest.raises(io.CheckpointError, match=text):
            io.load_checkpoint(path, model=other, optimizer=optimizer)
        assert other.weight.tolist() == before and optimizer.param_groups[0]["lr"] != 0.1


def test_a_generator_of_another_kind_is_refused_and_nothing_is_changed(path, monkeypatch):
    part = nn.Linear(2, 2)
    io.save_checkpoint(path, part=nn.Linear(2, 2))
    monkeypatch.setattr(backend, "_generator", np.random.Generator(np.random.MT19937(0)))
    before = part.weight.tolist()
    with pytest.raises(io.CheckpointError, match="rng"):
        io.load_checkpoint(path, part=part)
    assert part.weight.tolist() == before


# ---------------------------------------------------------------- the damaged file

@pytest.mark.parametrize("load", [io.load_checkpoint, io.load_weights])
def test_every_flipped_byte_is_noticed(load, path):
    """Each byte of a small file in turn, one bit of it."""
    io.save_checkpoint(path, model=nn.Linear(2, 1), note="x")
    whole = path.read_bytes()
    for i in range(len(whole)):
        path.write_bytes(whole[:i] + bytes([whole[i] ^ 1 << i % 8]) + whole[i + 1 :])
        with pytest.raises(io.CheckpointError, match="run.safetensors"):
            load(path)
    path.write_bytes(whole)
    load(path)


def test_a_truncated_or_foreign_file_is_refused(path):
    io.save_checkpoint(path, model=nn.Linear(20, 10))
    whole = path.read_bytes()
    for data in (b"", b"PK", whole[:7], whole[:100], whole[:-1], whole + b"\0", b"\x80\x04" + whole):
        path.write_bytes(data)
        with pytest.raises(io.CheckpointError, match="run.safetensors"):
            io.load_checkpoint(path)
        with pytest.raises(io.CheckpointError, match="run.safetensors"):
            io.load_weights(path)
    with pytest.raises(FileNotFoundError, match="nowhere"):
        io.load_checkpoint(path.with_name("nowhere"))


# ---------------------------------------------------------------- the killed save

def kill(folder, kills, *how):
    environment = os.environ | {"PYTHONPATH": str(ROOT), "OPENBLAS_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", ROOT / "tests" / "killed_saves.py", folder, str(kills), *how]
    output = subprocess.run(command, env=environment, timeout=120, check=True, capture_output=True, text=True).stdout
    return map(int, output.split())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill -9")
def test_fifty_kills_lose_nothing(tmp_path):
    survived, left = kill(tmp_path, 50)
    assert survived == 50
    assert left > 10                                                # or they would not have come during saves


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and kill -9")
def test_a_save_that_is_not_atomic_would_have_lost_something(tmp_path):
    survived, _ = kill(tmp_path, 20, "naive")
    assert survived < 20


def test_leftovers_are_ignored_and_removed_once_nobody_writes_them(path):
    fresh, stale, other = (path.with_name(name) for name in (".run.1.safetensors", ".run.2.safetensors", ".run.x.safetensors"))
    for leftover in (fresh, stale, other):
        leftover.write_bytes(b"half")
        os.utime(leftover, 2 * (time.time() - (files._STALE + 5 if leftover != fresh else 0),))
    io.save_checkpoint(path)
    io.load_checkpoint(path)
    assert sorted(p.name for p in path.parent.iterdir()) == [".run.1.safetensors", ".run.x.safetensors", "run.safetensors"]


def test_a_full_disk_keeps_the_previous_checkpoint(path, monkeypatch):
    io.save_checkpoint(path, step=1)

    def full(self, data):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        io.save_checkpoint(path, step=2)
    assert io.load_checkpoint(path) == {"step": 1}
    assert [p.name for p in path.parent.iterdir()] == ["run.safetensors"]


# ---------------------------------------------------------------- several checkpoints

def test_the_last_few_are_kept(path):
    assert io.latest_checkpoint(path) is None
    for step in (5, 10, 20, 100):
        written = io.save_checkpoint(path, step=step, keep=2)
        assert written == io.latest_checkpoint(path) and io.load_checkpoint(written)["step"] == step
    assert sorted(p.name for p in path.parent.iterdir()) == ["run-00000020.safetensors", "run-00000100.safetensors"]
    written = io.save_checkpoint(path, step=7, keep=1)              # gone back by hand: never remove what was just written
    assert written.exists()
    with pytest.raises(ValueError, match="got keep = 0, expected 1 or more"):
        io.save_checkpoint(path, keep=0)


# ---------------------------------------------------------------- weights for others

def test_weights_are_read_by_the_safetensors_library(path):
    import safetensors.numpy

    model = net()
    io.save_weights(path, model.state_dict())
    theirs = safetensors.numpy.load_file(path)
    assert sorted(theirs) == sorted(model.state_dict())
    for name, value in model.state_dict().items():
        np.testing.assert_array_equal(theirs[name], value.data, strict=True)

    safetensors.numpy.save_file(theirs, path)                       # and the other way round
    other = net()
    other.load_state_dict(io.load_weights(path))
    assert other[0].weight.tolist() == model[0].weight.tolist()
    with pytest.raises(io.CheckpointError, match="holds weights only"):
        io.load_checkpoint(path)


def test_weights_go_to_pytorch_and_come_back(path):
    torch = pytest.importorskip("torch")
    from safetensors.torch import load_file, save_file

    ours, theirs = nn.Linear(3, 2), torch.nn.Linear(3, 2)
    io.save_weights(path, ours.state_dict())
    theirs.load_state_dict(load_file(path))
    np.testing.assert_array_equal(theirs.weight.detach().numpy(), ours.weight.data)
    save_file(torch.nn.Linear(3, 2).state_dict(), path)
    ours.load_state_dict(io.load_weights(path))
    np.testing.assert_array_equal(ours.bias.data, load_file(path)["bias"].numpy())
    save_file({"x": torch.ones(2, dtype=torch.bfloat16)}, path)
    with pytest.raises(io.CheckpointError, match="type 'BF16', which NumPy does not have"):
        io.load_weights(path)


def test_weights_are_tensors_only(path):
    with pytest.raises(TypeError, match="lr is a float, expected a Tensor or an array"):
        io.save_weights(path, {"lr": 0.1})


@pytest.mark.skipif(not DATA, reason="TINYGRAD_EDU_DATA is not set")
def test_a_published_checkpoint_is_read():
    weights = io.load_weights(Path(DATA) / "pretrained" / "resnet20_cifar10.safetensors")
    assert len(weights) == 97 and all(np.isfinite(w.data).all() for w in weights.values())
