"""Module: a plain object whose parameters are found by walking its attributes. Names come out as `blocks.0.weight`."""
from .. import autograd, backend
from ..tensor import Tensor


class Parameter(Tensor):
    """A Tensor that a Module learns. What is computed from it is a plain Tensor."""
    __slots__ = ()

    def __init__(self, data, requires_grad=True, dtype=None, device=None):
        super().__init__(data, requires_grad, dtype, device)


class Transient(Tensor):
    """A buffer that state_dict leaves out, for what can be computed again, such as a table of positions."""
    __slots__ = ()


Parameter.kind = Transient.kind = Tensor


class Module:
    """Base of layers and models. A subclass sets Parameters, Tensors (buffers) and Modules as attributes, also in lists,
    tuples and dicts, and writes `forward`; calling the module calls it. No `super().__init__()` is needed.
    """
    training = True

    def __init_subclass__(cls):
        if "forward" in cls.__dict__:
            cls.__call__ = cls.forward          # a debugger steps from model(x) straight into forward

    def __getattr__(self, name):
        """Called for what is no attribute: a weight that `parametrize` took away and computes."""
        parametrizations = vars(self).get("parametrizations", {})
        if name in parametrizations:
            return parametrizations[name]()
        raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")

    # ------------------------------------------------------------ walking

    def named_tensors(self, prefix="", shared=False):
        """(name, Tensor) for every parameter and buffer, in the order of assignment; a shared one only once, unless asked."""
        yield from _tensors(self, prefix, seen=None if shared else set())

    def named_parameters(self):
        """(name, Parameter) pairs."""
        return ((name, t) for name, t in self.named_tensors() if isinstance(t, Parameter))

    def parameters(self):
        """All Parameters, as a list."""
        return [p for _, p in self.named_parameters()]

    def named_buffers(self):
        """(name, Tensor) pairs of what is kept but not learned, such as running statistics."""
        return ((name, t) for name, t in self.named_tensors() if not isinstance(t, Parameter))

    def buffers(self):
        """All buffers, as a list."""
        return [t for _, t in self.named_buffers()]

    def named_children(self):
        """(name, Module) of the modules directly inside; lists and dicts are looked through."""
        return list(_children(self))

    def children(self):
        """The modules directly inside, as a list."""
        return [child for _, child in _children(self)]

    def named_modules(self):
        """(name, Module) of this module, named "", and of all inside it, each once, a list."""
        return list(_modules(self, "", set()))

    def modules(self):
        """This module and all inside it, as a list."""
        return [module for _, module in self.named_modules()]

    def get_parameter(self, name):
        """The Parameter of this name, such as "blocks.0.weight"."""
        found = dict(self.named_tensors(shared=True)).get(name)
        if not isinstance(found, Parameter):
            raise AttributeError(f"get_parameter: {type(self).__name__} has no parameter {name!r}")
        return found

    def num_parameters(self):
        """How many numbers are learned."""
        return sum(p.size for p in self.parameters())

    # ------------------------------------------------------------ states

    def register_buffer(self, name, tensor, persistent=True):
        """Keep a Tensor that is not learned, as `self.name = tensor` does; not persistent: not part of state_dict."""
        setattr(self, name, tensor if persistent or tensor is None else Transient(tensor))

    def apply(self, function):
        """Call function(module) for every module inside, then for this one. Returns self."""
        for module in reversed(self.modules()):
            function(module)
        return self

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

    def double(self):
        """Cast every floating parameter and buffer to float64, for checks to many digits. Returns self."""
        return self._cast("float64")

    def float(self):
        """Cast every floating parameter and buffer to float32. Returns self."""
        return self._cast("float32")

    def _cast(self, dtype):
        for _, t in self.named_tensors():
            if t.dtype.kind == "f":
                t.data, t.grad = t.data.astype(dtype), None
        return self

    def state_dict(self):
        """{name: Tensor} of copies of every parameter and buffer. A shared one has the first of its names."""
        return {name: t.detach().copy() for name, t in self.named_tensors() if not isinstance(t, Transient)}

    def load_state_dict(self, state, strict=True):
        """Take over the values of `state`, a dict of Tensors or arrays. A wrong shape or name, and nothing is changed.

        strict=False: names may be missing on either side. Returns two lists of names, missing in `state` and unknown here.
        """
        own = {name: t for name, t in self.named_tensors() if not isinstance(t, Transient)}
        missing = sorted(own.keys() - state.keys())
        unknown = sorted(state.keys() - {name for name, _ in self.named_tensors(shared=True)})
        if strict and missing:
            raise KeyError(f"load_state_dict: the state lacks {', '.join(missing)}")
        if strict and unknown:
            raise KeyError(f"load_state_dict: the model has no {', '.join(unknown)}")
        for name in own.keys() & state.keys():
            if tuple(state[name].shape) != own[name].shape:
                raise ValueError(f"load_state_dict: {name} has shape {tuple(state[name].shape)}, expected {own[name].shape}")

        for name in own.keys() & state.keys():
            value, t = state[name], own[name]
            t.data[...] = backend.to_device(value.data if isinstance(value, Tensor) else value, t.device)
            autograd.mark_written(t.data)
        return missing, unknown

    # ------------------------------------------------------------ looking inside

    def register_forward_hook(self, hook):
        """Call hook(module, inputs, output) after every call of this module; what it returns, if not None, is the new output.

        `inputs` is the tuple of arguments. Returns a handle: handle.remove() ends it. Only this module changes its way: its
        class becomes one that also asks the hooks, and with the last hook it is its old self again.
        """
        if not isinstance(self, Hooked):
            self.hooks = {}
            self.__class__ = type(type(self).__name__, (Hooked, type(self)), {})
        handle = HookHandle(self)
        self.hooks[handle] = hook
        return handle

    # ------------------------------------------------------------ printing

    def extra_repr(self):
        """What a layer says about itself in print(model)."""
        return ""

    def __repr__(self):
        lines = [f"({name}): " + repr(child).replace("\n", "\n  ") for name, child in _children(self)]
        if not lines:
            return f"{type(self).__name__}({self.extra_repr()})"
        return f"{type(self).__name__}({self.extra_repr()}\n  " + "\n  ".join(lines) + "\n)"


class Hooked:
    """A module while it has hooks."""

    def __call__(self, *inputs, **options):
        output = self.forward(*inputs, **options)
        for hook in list(self.hooks.values()):
            changed = hook(self, inputs, output)
            output = output if changed is None else changed
        return output


class HookHandle:
    """What register_forward_hook returns."""

    def __init__(self, module):
        self.module = module

    def remove(self):
        """Stop calling the hook."""
        hooks = vars(self.module).get("hooks", {})
        hooks.pop(self, None)
        if not hooks and isinstance(self.module, Hooked):
            del self.module.hooks
            self.module.__class__ = type(self.module).__bases__[1]


# ---------------------------------------------------------------- the walk

def _members(value):
    """(name, value) pairs inside a module, list, tuple or dict."""
    if isinstance(value, Module):
        return vars(value).items()
    if isinstance(value, (list, tuple)):
        return ((str(i), v) for i, v in enumerate(value))
    return value.items() if isinstance(value, dict) else ()


def _tensors(value, prefix, seen):
    """(name, Tensor) of all inside; `seen`: the ids that were given already, None to give a Tensor under all its names."""
    for name, member in _members(value):
        if not isinstance(member, Tensor):
            yield from _tensors(member, f"{prefix}{name}.", seen)
        elif seen is None or id(member) not in seen:
            if seen is not None:
                seen.add(id(member))
            yield prefix + name, member


def _modules(module, name, seen):
    if id(module) not in seen:
        seen.add(id(module))
        yield name, module
        for inner, child in _children(module):
            yield from _modules(child, f"{name}.{inner}" if name else inner, seen)


def _children(value):
    """(name, module) of the modules directly inside; lists and dicts are looked through."""
    for name, member in _members(value):
        if isinstance(member, Module):
            yield name, member
        elif isinstance(member, (list, tuple, dict)):
            yield from ((f"{name}.{inner}", child) for inner, child in _children(member))
