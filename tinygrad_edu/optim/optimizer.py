"""What all optimizers share: parameter groups, state, and the loop. A subclass is one update rule.

Small arrays cost as much as the call, not the arithmetic, so all parameters of a group lie side by side in one flat buffer
and the rule runs once over it; each parameter's array is a view into that buffer. A parameter without a gradient is left
alone: then the rule runs over the views of the others. Large buffers are cut into blocks that stay in the cache, for a rule
passes over its arrays ten times, and threads share the blocks.
"""
from .. import autograd, backend
from ..threads import in_threads


class Optimizer:
    """Base class. `parameters`: Parameters, or dicts {"params": [...], option: value} for groups with their own options.

    A subclass names its state (`state_names`) and writes `update(w, g, state, t, options)`, which changes the arrays w and
    state[name] in place, element by element, and leaves g alone. t counts the steps of w from 1. Options are read at every step:
    `optimizer.param_groups[0]["lr"] = 0.01` acts at once.
    """
    state_names = ()

    def __init__(self, parameters, **options):
        groups = list(parameters)
        if not groups:
            raise ValueError(f"{type(self).__name__}: got no parameters")
        if not isinstance(groups[0], dict):
            groups = [{"params": groups}]
        for group in groups:
            if unknown := sorted(set(group) - {"params"} - set(options)):
                raise ValueError(f"{type(self).__name__}: a group has the option {unknown[0]!r}, expected {sorted(options)}")
            if not group.get("lr", options["lr"]) >= 0:
                raise ValueError(f"{type(self).__name__}: got lr = {group.get('lr', options['lr'])}, expected 0 or more")
        self.param_groups = [{**options, **group, "params": list(group["params"])} for group in groups]
        self._buffers = [buffer for group in self.param_groups for buffer in _buffers(group)]

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def step(self):
        """Move every parameter that has a gradient by the update rule."""
        for buffer in self._buffers:
            buffer.attach()
            buffer.remember(self.state_of(buffer.options))
            for w, g, state, t in buffer.pieces():
                self.update_all(w, g, state, t, buffer.options)
            autograd.mark_written(buffer.data)

    def state_of(self, options):
        """The names of the state that the rule needs under these options."""
        return self.state_names

    def update_all(self, w, g, state, t, options):
        """`update`, block by block."""
        def work(part):
            for i in backend.blocks(w[part]):
                self.update(w[part][i], g[part][i], {name: s[part][i] for name, s in state.items()}, t, options)

        in_threads(work, w, 15)

    def update(self, w, g, state, t, options):
        raise NotImplementedError(f"{type(self).__name__}: an optimizer needs an update rule")


class _Buffer:
    """Parameters of one dtype in one flat array, with their state in equally long ones."""

    def __init__(self, parameters, options):
        self.parameters, self.options, self.views = parameters, options, [None] * len(parameters)
        self.state, self.t = {}, [0] * len(parameters)
        self.attach()

    def attach(self):
        """Make every parameter a view of the flat array (again, if somebody gave it another array)."""
        if all(p.data is view for p, view in zip(self.parameters, self.views)):
            return
        xp = backend.array_module(self.parameters[0].data)
        self.data = xp.concatenate([p.data.reshape(-1) for p in self.parameters])
        for i, (p, piece) in enumerate(zip(self.parameters, self._cut(self.data))):
            p.data = self.views[i] = piece.reshape(p.shape)

    def remember(self, names):
        """Keep state of these names from now on, zero at first."""
        for name in names:
            if name not in self.state:
                self.state[name] = backend.array_module(self.data).zeros_like(self.data)

    def pieces(self):
        """(weights, gradients, state, t): all at once if every parameter has a gradient and the same age, else one by one."""
        ready = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        for i in ready:
            self.t[i] += 1
        if len(ready) == len(self.parameters) and len(set(self.t)) == 1:
            gradients = [p.grad.data.reshape(-1) for p in self.parameters]
            g = gradients[0] if len(gradients) == 1 else backend.array_module(self.data).concatenate(gradients)
            yield self.data, g, self.state, self.t[0]
            return
        weights, states = self._cut(self.data), {name: self._cut(s) for name, s in self.state.items()}
        for i in ready:
            yield weights[i], self.parameters[i].grad.data.reshape(-1), {n: s[i] for n, s in states.items()}, self.t[i]

    def _cut(self, flat):
        pieces, start = [], 0
        for p in self.parameters:
            pieces.append(flat[start : start + p.size])
            start += p.size
        return pieces


def _buffers(group):
    """One buffer for each dtype that occurs in the group."""
    kinds = {}
    for p in group["params"]:
        kinds.setdefault(str(p.dtype), []).append(p)
    return [_Buffer(parameters, group) for parameters in kinds.values()]
