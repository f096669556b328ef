"""Weight norm and spectral norm: equal to PyTorch's parametrizations, step by step, and what each of them promises."""
import copy

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, nn, optim
from tinygrad_edu.testing import gradcheck
from test_layers import CLOSE, check_states

CASES = {
    "weight_norm, Linear": ("weight_norm", lambda m: m.Linear(4, 3), {}, (5, 4)),
    "weight_norm, of all": ("weight_norm", lambda m: m.Linear(4, 3), dict(dim=None), (5, 4)),
    "weight_norm, inputs": ("weight_norm", lambda m: m.Conv1d(4, 3, 2), dict(dim=1), (5, 4, 6)),
    "weight_norm, Conv2d": ("weight_norm", lambda m: m.Conv2d(2, 3, 3, bias=False), {}, (2, 2, 5, 4)),
    "spectral_norm, Linear": ("spectral_norm", lambda m: m.Linear(4, 3), {}, (5, 4)),
    "spectral_norm, 3 steps": ("spectral_norm", lambda m: m.Conv2d(2, 3, 3), dict(n_power_iterations=3), (2, 2, 5, 4)),
    "spectral_norm, transposed": ("spectral_norm", lambda m: m.ConvTranspose2d(2, 3, 2), {}, (2, 2, 3, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_parametrizations_equal_pytorchs(name):
    torch = pytest.importorskip("torch")
    function, make, options, shape = CASES[name]
    theirs = getattr(torch.nn.utils.parametrizations, function)(make(torch.nn).double(), **options)
    ours = getattr(nn, function)(make(nn).double(), **options)
    ours.load_state_dict({k: v.numpy() for k, v in theirs.state_dict().items()})
    for step, training in enumerate((True, True, False)):
        ours.train(training), theirs.train(training)
        x = np.random.default_rng(step).standard_normal(shape)
        y, t = ours(Tensor(x)), theirs(torch.tensor(x))
        np.testing.assert_allclose(y.data, t.detach().numpy(), **CLOSE)
        gy = np.random.default_rng(9).standard_normal(y.shape)
        ours.zero_grad(), theirs.zero_grad()
        y.backward(gy), t.backward(torch.tensor(gy))
        gradients = {name: p.grad.data for name, p in ours.named_parameters()}
        assert list(gradients) == [name for name, _ in theirs.named_parameters()]
        for name, q in theirs.named_parameters():
            np.testing.assert_allclose(gradients[name], q.grad.numpy(), **CLOSE)
    check_states(torch, ours, theirs)


def test_weight_norm_changes_nothing_at_first_and_then_separates_length_and_direction():
    layer, x = nn.Linear(5, 3), tg.randn(4, 5)
    before = layer(x).data
    assert nn.weight_norm(layer) is layer and "weight" not in vars(layer)
    np.testing.assert_allclose(layer(x).data, before, rtol=1e-5, atol=1e-6)
    learned = layer.parametrizations["weight"]
    learned.original1.data *= 7                                             # a longer v is the same direction
    np.testing.assert_allclose(layer(x).data, before, rtol=1e-5, atol=1e-6)
    layer(x).square().sum().backward()
    np.testing.assert_allclose((learned.original1.grad * learned.original1).sum(axis=1).data, 0, atol=1e-4)
    assert "bias" in dict(layer.named_parameters()) and layer.num_parameters() == 15 + 3 + 3


def test_spectral_norm_brings_the_largest_singular_value_to_1():
    layer = nn.spectral_norm(nn.Linear(20, 30))
    for _ in range(100):
        weight = layer.weight
    assert np.linalg.svd(weight.data, compute_uv=False)[0] == pytest.approx(1, abs=1e-4)
    layer.eval()
    np.testing.assert_array_equal(layer.weight.data, layer.weight.data)
    before = layer.state_dict()
    layer(tg.randn(2, 20))
    assert all((before[name].data == value.data).all() for name, value in layer.state_dict().items())


def test_their_gradients_to_second_order():
    rng = np.random.default_rng(0)
    for wrap in (nn.weight_norm, nn.spectral_norm):
        layer = wrap(nn.Linear(3, 2).double()).eval()
        learned = list(layer.parametrizations["weight"].named_parameters())[-1][0]

        def forward(x, v):
            setattr(layer.parametrizations["weight"], learned, v)
            return layer(x).tanh()

        gradcheck(forward, rng.standard_normal((4, 3)), rng.standard_normal((2, 3)), order=2)


def test_training_and_copies_work():
    net = nn.Sequential(nn.weight_norm(nn.Linear(3, 8)), nn.Tanh(), nn.spectral_norm(nn.Linear(8, 1)))
    x, y, optimizer = tg.randn(64, 3), tg.randn(64, 1), optim.Adam(net.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss = (net(x) - y).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    twin = copy.deepcopy(net.eval())
    np.testing.assert_array_equal(twin(x).data, net(x).data)
    twin[0].parametrizations["weight"].original0.data[...] = 0
    assert abs(net[0].weight.data).max() > 0


def test_taking_it_away_leaves_a_plain_layer():
    layer, x = nn.spectral_norm(nn.Linear(3, 2)).eval(), tg.randn(4, 3)
    before = layer(x).data
    assert nn.remove_parametrizations(layer) is layer and isinstance(layer.weight, nn.Parameter)
    np.testing.assert_array_equal(layer(x).data, before)
    assert sorted(layer.state_dict()) == ["bias", "weight"]
    with pytest.raises(ValueError, match="Linear has no parametrized 'weight'"):
        nn.remove_parametrizations(layer)


def test_what_is_no_parameter_is_refused():
    for name in ("nothing", "in_features"):
        with pytest.raises(ValueError, match=f"Linear has no Parameter '{name}'"):
            nn.weight_norm(nn.Linear(2, 2), name)
    with pytest.raises(ValueError, match="or it is parametrized already"):
        nn.spectral_norm(nn.weight_norm(nn.Linear(2, 2)))
