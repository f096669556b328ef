"""Containers: modules in a row, in a list, in a dict. Plain lists and dicts as attributes of a module do as well."""
from .module import Module, Parameter


class _Numbered(Module):
    """Members in order, as attributes of the names "0", "1", ..; `kind` says what counts as one."""
    kind = Module

    def append(self, member):
        """Put one more at the end. Returns self."""
        setattr(self, str(len(self)), member)
        return self

    def extend(self, members):
        """Put several more at the end. Returns self."""
        for member in members:
            self.append(member)
        return self

    def __len__(self):
        return len(self._list())

    def __iter__(self):
        return iter(self._list())

    def __getitem__(self, i):
        members = self._list()[i]
        return type(self)(*members) if isinstance(self, Sequential) and isinstance(i, slice) else members

    def _list(self):
        return [member for member in vars(self).values() if isinstance(member, self.kind)]


class Sequential(_Numbered):
    """Modules one after the other: Sequential(a, b)(x) = b(a(x)). A dict as the only argument gives them names."""

    def __init__(self, *modules):
        named = modules[0] if len(modules) == 1 and isinstance(modules[0], dict) else {}
        self.extend(() if named else modules)
        for name, module in named.items():
            setattr(self, name, module)

    def forward(self, x):
        for module in vars(self).values():
            if isinstance(module, Module):          # `training` is an attribute too
                x = module(x)
        return x


class ModuleList(_Numbered):
    """A list of modules; a slice is a plain list. It computes nothing: call its members."""

    def __init__(self, modules=()):
        self.extend(modules)


class ParameterList(_Numbered):
    """A list of Parameters."""
    kind = Parameter

    def __init__(self, parameters=()):
        self.extend(parameters)


class ModuleDict(Module):
    """Modules by name. It computes nothing: call its members."""

    def __init__(self, modules=()):
        for name, module in dict(modules).items():
            self[name] = module

    def __setitem__(self, name, module):
        if hasattr(type(self), name):
            raise KeyError(f"ModuleDict: got the name {name!r}, which is a word of every module")
        setattr(self, name, module)

    def __getitem__(self, name):
        return dict(self.items())[name]

    def __len__(self):
        return len(self.keys())

    def __iter__(self):
        return iter(self.keys())

    def __contains__(self, name):
        return name in self.keys()

    def keys(self):
        """The names, in the order in which they came."""
        return [name for name, _ in self.items()]

    def values(self):
        """The modules."""
        return [module for _, module in self.items()]

    def items(self):
        """(name, module) pairs."""
        return [(name, member) for name, member in vars(self).items() if isinstance(member, Module)]
