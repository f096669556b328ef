"""What a Module offers beside calling it: containers, buffers, the walk, hooks, states that do not quite fit."""
import copy

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, nn


class Block(nn.Module):
    def __init__(self):
        self.first, self.rest = nn.Linear(3, 3), nn.ModuleList([nn.Linear(3, 2), nn.Tanh()])
        self.register_buffer("scale", tg.ones(2))
        self.register_buffer("table", tg.zeros(4), persistent=False)
        self.register_buffer("nothing", None)

    def forward(self, x):
        x = self.first(x)
        for layer in self.rest:
            x = layer(x)
        return x * self.scale


def test_names_of_containers_equal_pytorchs():
    torch = pytest.importorskip("torch")

    def make(m, dictionary):
        net = m.ModuleDict({"a": m.Sequential(dictionary({"fc": m.Linear(2, 3), "act": m.Tanh()})),
                            "b": m.ModuleList([m.Linear(2, 2)]).append(m.Sequential(m.Linear(1, 1)).append(m.Linear(1, 2)))})
        net["c"] = m.Linear(1, 1)
        return net

    from collections import OrderedDict
    assert list(make(nn, dict).state_dict()) == list(make(torch.nn, OrderedDict).state_dict())
    assert list(nn.ParameterList([nn.Parameter([1.0])]).state_dict()) == list(
        torch.nn.ParameterList([torch.nn.Parameter(torch.ones(1))]).state_dict())


def test_containers_behave_as_lists_and_dicts():
    layers = [nn.Linear(2, 2), nn.Tanh(), nn.Linear(2, 1)]
    row, numbered, named = nn.Sequential(*layers), nn.ModuleList(layers), nn.ModuleDict({"one": layers[0], "two": layers[1]})
    assert len(row) == len(numbered) == 3 and list(row) == list(numbered) == layers and row[-1] is layers[2]
    assert isinstance(row[:2], nn.Sequential) and list(row[:2]) == layers[:2] and numbered[1:] == layers[1:]
    assert list(named) == ["one", "two"] and "one" in named and "three" not in named and named["two"] is layers[1]
    assert len(named) == 2 and list(named.values()) == layers[:2] and dict(named.items()) == {"one": layers[0], "two": layers[1]}
    x = tg.randn(4, 2)
    np.testing.assert_array_equal(nn.Sequential({"a": layers[0], "b": layers[1]})(x).data, row[:2](x).data)
    assert list(nn.ParameterList().append(layers[0].weight).extend([layers[0].bias])) == layers[0].parameters()
    assert nn.Sequential()(x) is x and len(nn.ModuleDict()) == 0
    with pytest.raises(KeyError, match="got the name 'train'"):
        named["train"] = nn.Tanh()


def test_the_walk():
    net = Block()
    assert [name for name, _ in net.named_modules()] == ["", "first", "rest", "rest.0", "rest.1"]
    assert net.children() == [net.first, net.rest] and [name for name, _ in net.named_children()] == ["first", "rest"]
    assert net.get_parameter("rest.0.bias") is net.rest[0].bias
    for wrong in ("scale", "rest.7.bias"):
        with pytest.raises(AttributeError, match=f"has no parameter '{wrong}'"):
            net.get_parameter(wrong)
    seen = []
    assert net.apply(seen.append) is net and seen == list(reversed(net.modules()))
    with pytest.raises(AttributeError, match="Block has no attribute 'last'"):
        net.last


def test_a_shared_module_is_walked_once_and_known_by_both_names():
    net = Block()
    net.again = net.first
    assert len(net.modules()) == 5 and "again.weight" not in net.state_dict()
    state = Block().state_dict()
    state["again.weight"], state["again.bias"] = state["first.weight"], state["first.bias"]      # as PyTorch writes it
    net.load_state_dict(state)
    np.testing.assert_array_equal(net.again.weight.data, state["first.weight"].data)


def test_buffers():
    net = Block()
    assert [name for name, _ in net.named_buffers()] == ["scale", "table"] and net.nothing is None
    assert net.buffers()[0] is net.scale and "scale" in net.state_dict() and "table" not in net.state_dict()
    assert type(net.table * 2) is Tensor
    net.load_state_dict(Block().state_dict())


def test_a_state_that_does_not_fit_may_be_loaded_in_part():
    net, state = Block(), Block().state_dict()
    del state["scale"]
    state["extra"] = np.zeros(3)
    with pytest.raises(KeyError, match="lacks scale"):
        net.load_state_dict(state)
    assert net.load_state_dict(state, strict=False) == (["scale"], ["extra"])
    np.testing.assert_array_equal(net.first.weight.data, state["first.weight"].data)
    state["first.bias"] = np.zeros(5)
    with pytest.raises(ValueError, match="first.bias has shape"):
        net.load_state_dict(state, strict=False)


def test_hooks_see_what_goes_in_and_out_and_leave_no_trace():
    net, x, seen = Block(), tg.randn(5, 3), []
    plain, cls = net(x), type(net.first)
    handles = [net.first.register_forward_hook(lambda module, inputs, output: seen.append((module, inputs, output))),
               net.first.register_forward_hook(lambda module, inputs, output: output * 0)]
    assert isinstance(net.first, nn.Linear) and "(first): Linear(3, 3)" in repr(net) and type(net.rest[0]) is nn.Linear
    y = net(x)
    (module, inputs, output), = seen
    assert module is net.first and inputs == (x,) and output.shape == (5, 3)
    np.testing.assert_array_equal(y.data, net.rest[1](net.rest[0](output * 0)).data)
    twin = copy.deepcopy(net)
    handles[0].remove()
    net(x)
    assert len(seen) == 1
    handles[1].remove(), handles[1].remove()
    assert type(net.first) is cls and list(vars(net.first)) == list(vars(Block().first))
    np.testing.assert_array_equal(net(x).data, plain.data)
    twin(x)
    assert len(seen) == 2                                   # the copy has hooks of its own


def test_a_hook_in_a_row_of_layers_keeps_gradients_and_states():
    net, kept = nn.Sequential(nn.Linear(3, 3), nn.ReLU(), nn.Linear(3, 1)), []
    names = list(net.state_dict())
    handle = net[1].register_forward_hook(lambda module, inputs, output: kept.append(output.retain_grad()))
    net(tg.randn(4, 3)).sum().backward()
    np.testing.assert_allclose(kept[0].grad.data, np.tile(net[2].weight.data, (4, 1)))
    assert list(net.state_dict()) == names and len(net) == 3
    handle.remove()
