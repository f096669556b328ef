"""Modules: names and states. That every layer equals PyTorch's is in test_layers.py."""
import copy

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F, nn

CLOSE = dict(rtol=1e-10, atol=1e-10)


@pytest.mark.parametrize("name", ["Linear", "Conv2d", "ConvTranspose2d", "Embedding"])
def test_initial_weights_have_pytorchs_spread(name):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    make = {"Linear": lambda m: m.Linear(300, 1500), "Conv2d": lambda m: m.Conv2d(30, 1500, 3),
            "ConvTranspose2d": lambda m: m.ConvTranspose2d(30, 1500, 3), "Embedding": lambda m: m.Embedding(300, 40)}
    ours, theirs = make[name](nn), make[name](torch.nn)
    for p, q in zip(ours.parameters(), theirs.parameters()):
        assert p.data.dtype == np.float32 and p.shape == tuple(q.shape)
        assert p.data.std() == pytest.approx(q.std().item(), rel=0.06)          # 1,500 uniform numbers: 5 standard errors
        if name != "Embedding":
            assert abs(p.data).max() <= 1 / np.sqrt(ours.weight[0].size)


class Net(nn.Module):
    def __init__(self):
        self.stem = nn.Linear(2, 3)
        self.blocks = [nn.Linear(3, 3), {"inner": nn.LayerNorm(3)}]
        self.shared = self.stem
        self.scale = Tensor([2.0])

    def forward(self, x):
        return self.blocks[1]["inner"](self.blocks[0](self.stem(x))) * self.scale


def test_names_come_from_walking_the_attributes():
    net = Net()
    names = ["stem.weight", "stem.bias", "blocks.0.weight", "blocks.0.bias", "blocks.1.inner.weight", "blocks.1.inner.bias"]
    assert [name for name, _ in net.named_parameters()] == names
    assert [name for name, _ in net.named_buffers()] == ["scale"]
    assert net.num_parameters() == 9 + 12 + 6
    assert "(blocks.1.inner): LayerNorm((3,))" in repr(net) and "(stem): Linear(2, 3)" in repr(net)


def test_results_of_parameters_are_plain_tensors():
    layer = nn.Linear(2, 2)
    assert type(layer.weight * 2) is Tensor and type(layer(Tensor([[1.0, 2.0]]))) is Tensor


def test_state_dict_round_trip_and_independence():
    net, other = Net(), Net()
    state = net.state_dict()
    other.load_state_dict(state)
    x = tg.randn(4, 2)
    np.testing.assert_array_equal(net(x).data, other(x).data)
    state["stem.weight"].data[...] = 0
    assert abs(net.stem.weight.data).max() > 0 and abs(other.stem.weight.data).max() > 0


@pytest.mark.parametrize("spoil, error", [
    (lambda s: s.pop("scale"), "lacks scale"),
    (lambda s: s.update(extra=np.zeros(1)), "no extra"),
    (lambda s: s.update({"stem.bias": np.zeros(4)}), r"stem.bias has shape \(4,\), expected \(3,\)"),
])
def test_a_wrong_state_changes_nothing(spoil, error):
    net = Net()
    before, state = net.state_dict(), Net().state_dict()
    spoil(state)
    with pytest.raises((KeyError, ValueError), match=error):
        net.load_state_dict(state)
    for name, value in net.state_dict().items():
        np.testing.assert_array_equal(value.data, before[name].data)


def test_train_and_eval_reach_every_module():
    net = nn.Sequential(nn.Dropout(0.5), nn.Sequential(nn.Dropout(0.5)))
    x = tg.ones(1000)
    dropped = net(x).data
    assert set(np.unique(dropped)) == {0.0, 4.0} and 0.15 < (dropped > 0).mean() < 0.35
    np.testing.assert_array_equal(net.eval()(x).data, x.data)
    assert not net[1][0].training and net.train()[1][0].training


def test_double_and_float_cast_what_is_floating_and_nothing_else():
    layer = nn.BatchNorm1d(3)
    layer(tg.randn(4, 3)).sum().backward()
    types = [{t.dtype.name for t in layer.double().state_dict().values()}, {t.dtype.name for t in layer.float().state_dict().values()}]
    assert types == [{"float64", "int64"}, {"float32", "int64"}]
    assert layer.weight.grad is None and layer.weight.is_leaf and layer.weight.requires_grad


def test_deepcopy_is_independent():
    net = Net()
    twin = copy.deepcopy(net)
    twin.stem.weight.data[...] = 0
    assert abs(net.stem.weight.data).max() > 0 and type(twin.stem.weight) is nn.Parameter


def test_embedding_equals_one_hot_product():
    layer, ids = nn.Embedding(5, 3).double(), np.array([[1, 1], [4, 0]])
    y = layer(Tensor(ids))
    np.testing.assert_array_equal(y.data, F.one_hot(ids, 5, "float64") @ layer.weight.data)
    gy = np.random.default_rng(0).standard_normal(y.shape)
    y.backward(gy)
    np.testing.assert_allclose(layer.weight.grad.data, np.einsum("ijk,ije->ke", F.one_hot(ids, 5, "float64"), gy), **CLOSE)


def test_batch_norm_refuses_one_sample():
    with pytest.raises(ValueError, match="expected at least 2"):
        nn.BatchNorm1d(3)(tg.randn(1, 3))
