"""Containers: modules in a row, in a list, in a dict."""
from .module import Module


class Sequential(Module):
    """Modules one after the other: Sequential(a, b)(x) = b(a(x))."""

    def __init__(self, *modules):
        self.__dict__.update({str(i): module for i, module in enumerate(modules)})

    def forward(self, x):
        for module in vars(self).values():
            if isinstance(module, Module):          # `training` is an attribute too
                x = module(x)
        return x

    def __len__(self):
        return len(self._list())

    def __iter__(self):
        return iter(self._list())

    def __getitem__(self, i):
        return Sequential(*self._list()[i]) if isinstance(i, slice) else self._list()[i]

    def _list(self):
        return [module for module in vars(self).values() if isinstance(module, Module)]


class Identity(Module):
    """x"""
    def forward(self, x):
        return x
