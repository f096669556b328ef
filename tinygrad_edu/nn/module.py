"""Module: a plain object whose parameters are found by walking its attributes. Names come out as `blocks.0.weight`."""
from .. import autograd, backend
from ..tensor import Tensor


class Parameter(Tensor):
    """A Tensor that a Module learns. What is computed from it is a plain Tensor."""
    __slots__ = ()

    def __init__(self, data, requires_grad=True, dtype=None, device=None):
        super().__init__(data, requires_grad, dtype, device)


Parameter.kind = Tensor


class Module:
    """Base of layers and models. A subclass sets Parameters, Tensors (buffers) and Modules as attributes, also in lists,
    tuples and dicts, and writes `forward`; calling the module calls it. No `super().__init__()` is needed.
    """
    training = True

    def __init_subclass__(cls):
        if "forward" in cls.__dict__:
            cls.__call__ = cls.forward          # a debugger steps from model(x) straight into forward

    # ------------------------------------------------------------ walking

    def named_tensors(self, prefix=""):
        """(name, Tensor) for every parameter and buffer, in the order of assignment; a shared one only once."""
        yield from _tensors(self, prefix, seen=set())

    def named_parameters(self):
        """(name, Parameter) pairs."""
        return ((name, t) for name, t in self.named_tensors() if isinstance(t, Parameter))

    def parameters(self):
        """All Parameters, as a list."""
        return [p for _, p in self.named_parameters()]

    def named_buffers(self):
        """(name, Tensor) pairs of what is kept but not learned, such as running statistics."""
        return ((name, t) for name, t in self.named_tensors() if not isinstance(t, Parameter))

    def modules(self):
        """This module and all inside it."""
        return list(_modules(self))

    def num_parameters(self):
        """How many numbers are learned."""
        return sum(p.size for p in self.parameters())

    # ------------------------------------------------------------ states

    def train(self, mode=True):
        """Switch to training behaviour (dropout, batch statistics). Returns self."""
        for module in self.modules():
            module.training = mode
        return self

    def eval(self):
        """Switch to evaluation behaviour. Returns self."""
        return self.train(False)

    def requires_grad_(self, requires_grad=True):
        """Freeze (False) or unfreeze every parameter. Returns self."""
        for p in self.parameters():
            p.requires_grad_(requires_grad)
        return self

    def zero_grad(self):
        """Forget all gradients."""
        for p in self.parameters():
            p.zero_grad()

    def to(self, device):
        """Move every parameter and buffer to `device`, "cpu" or "cuda". Returns self."""
        for _, t in self.named_tensors():
            t.data, t.grad = backend.to_device(t.data, device), None
        return self

    def state_dict(self):
        """{name: Tensor} of copies of every parameter and buffer."""
        return {name: t.detach().copy() for name, t in self.named_tensors()}

    def load_state_dict(self, state):
        """Take over the values of `state`. Names and shapes must match exactly, or nothing is changed."""
        own = dict(self.named_tensors())
        if missing := sorted(own.keys() - state.keys()):
            raise KeyError(f"load_state_dict: the state lacks {', '.join(missing)}")
        if unknown := sorted(state.keys() - own.keys()):
            raise KeyError(f"load_state_dict: the model has no {', '.join(unknown)}")
        for name, t in own.items():
            if tuple(state[name].shape) != t.shape:
                raise ValueError(f"load_state_dict: {name} has shape {tuple(state[name].shape)}, expected {t.shape}")

        for name, t in own.items():
            value = state[name]
            t.data[...] = backend.to_device(value.data if isinstance(value, Tensor) else value, t.device)
            autograd.mark_written(t.data)

    # ------------------------------------------------------------ printing

    def extra_repr(self):
        """What a layer says about itself in print(model)."""
        return ""

    def __repr__(self):
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in _children(self)]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return f"{type(self).__name__}({self.extra_repr()}\n  " + "\n  ".join(lines) + "\n)"


def _members(value):
    """(name, value) pairs inside a module, list, tuple or dict."""
    if isinstance(value, Module):
        return vars(value).items()
    if isinstance(value, (list, tuple)):
        return ((str(i), v) for i, v in enumerate(value))
    return value.items() if isinstance(value, dict) else ()


def _tensors(value, prefix, seen):
    for name, member in _members(value):
        if isinstance(member, Tensor):
            if id(member) not in seen:
                seen.add(id(member))
                yield prefix + name, member
        else:
            yield from _tensors(member, f"{prefix}{name}.", seen)


def _modules(value):
    if isinstance(value, Module):
        yield value
    for _, member in _members(value):
        yield from _modules(member)


def _children(value):
    """(name, module) of the modules directly inside; lists and dicts are looked through."""
    for name, member in _members(value):
        if isinstance(member, Module):
            yield name, member
        elif isinstance(member, (list, tuple, dict)):
            yield from ((f"{name}.{inner}", child) for inner, child in _children(member))
