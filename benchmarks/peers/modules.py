"""The peers' modules: arrays with PyTorch's names, and the calls of `lib`, the peer's Library, that use them."""
import numpy as np


class Module:
    def __call__(self, *inputs):
        return self.forward(*inputs)

    def each_parameter(self, prefix=""):
        """(name, module, attribute) of every parameter, in PyTorch's order."""
        for name, value in vars(self).items():
            if isinstance(value, Module):
                yield from value.each_parameter(f"{prefix}{name}.")
        for name in getattr(self, "names", ()):
            yield prefix + name, self, name

    def load_state_dict(self, state):
        for name, module, attribute in self.each_parameter():
            turned = isinstance(module, Linear) and attribute == "weight"
            setattr(module, attribute, np.ascontiguousarray(state[name].T) if turned else state[name])

    def parameters(self):
        return [getattr(module, name) for _, module, name in self.each_parameter()]

    def set_parameters(self, values):
        for (_, module, name), value in zip(self.each_parameter(), values, strict=True):
            setattr(module, name, value)

    def answers(self, gradients):
        """The gradients in PyTorch's layout: a linear layer's weight is (in, out) here, as NumPy code has it."""
        return [g.T if isinstance(module, Linear) and name == "weight" else g
                for g, (_, module, name) in zip(gradients, self.each_parameter(), strict=True)]


class Linear(Module):
    def __init__(self, lib, features, out, bias=True):
        self.lib, self.bias = lib, None
        self.names = ("weight", "bias") if bias else ("weight",)

    def forward(self, x):
        return self.lib.linear(x, self.weight, self.bias)


class Embedding(Module):
    names = ("weight",)

    def __init__(self, lib, words, features):
        self.lib = lib

    def forward(self, ids):
        return self.lib.embedding(ids, self.weight)


class Conv2d(Module):
    names = ("weight", "bias")

    def __init__(self, lib, channels, out_channels, size, padding=0):
        self.lib, self.padding = lib, padding
        lib.conv2d                      # NotOffered here, not in the middle of a run

    def forward(self, x):
        return self.lib.conv2d(x, self.weight, self.bias, padding=self.padding)


class LayerNorm(Module):
    names = ("weight", "bias")

    def __init__(self, lib, features):
        self.lib, self.features = lib, features

    def forward(self, x):
        return self.lib.layer_norm(x, self.features, self.weight, self.bias)


class GroupNorm(Module):
    names = ("weight", "bias")

    def __init__(self, lib, groups, channels):
        self.lib, self.groups = lib, groups

    def forward(self, x):
        return self.lib.group_norm(x, self.groups, self.weight, self.bias)


class ModuleList(Module):
    def __init__(self, modules):
        self.list = list(modules)

    def __iter__(self):
        return iter(self.list)

    def __getitem__(self, i):
        return self.list[i]

    def each_parameter(self, prefix=""):
        for i, module in enumerate(self.list):
            if isinstance(module, Module):
                yield from module.each_parameter(f"{prefix}{i}.")


class Sequential(ModuleList):
    def __init__(self, *modules):
        self.list = modules

    def forward(self, x):
        for module in self.list:
            x = module(x)
        return x
