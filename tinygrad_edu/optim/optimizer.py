"""What all optimizers share: parameter groups, state, and the loop. A subclass is one update rule.

Small arrays cost as much as the call, not the arithmetic, so all parameters of a group lie side by side in one flat buffer
and the rule runs once over it; each parameter's array is a view into that buffer. A parameter without a gradient is left
alone: then the rule runs over the views of the others. Large buffers are cut into blocks that stay in the cache, for a rule
passes over its arrays ten times, and threads share the blocks.
"""
from .. import autograd, backend
from ..tensor import Tensor
from ..threads import in_threads


class Optimizer:
    """Base class. `parameters`: Parameters, or dicts {"params": [...], option: value} for groups with their own options.

    A subclass names its state (`state_names`) and writes `update(w, g, state, t, options)`, which changes the arrays w and
    state[name] in place, element by element, and leaves g alone. t counts the steps of w from 1. Options are read at every
    step: `optimizer.param_groups[0]["lr"] = 0.01` acts at once. A rule that must see a parameter as a whole says
    elementwise = False.
    """
    state_names = ()
    elementwise = True

    def __init__(self, parameters, **options):
        groups = list(parameters)
        if not groups:
            raise ValueError(f"{type(self).__name__}: got no parameters")
        self.defaults, self.param_groups, self._buffers = options, [], []
        for group in groups if isinstance(groups[0], dict) else [{"params": groups}]:
            self.add_param_group(group)

    def add_param_group(self, group):
        """Train more parameters from now on: {"params": [...], option: value}, the other options as the optimizer began."""
        name = type(self).__name__
        if unknown := sorted(set(group) - {"params", "initial_lr"} - set(self.defaults)):
            raise ValueError(f"{name}: a group has the option {unknown[0]!r}, expected {sorted(self.defaults)}")
        parameters = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        known = {id(p) for g in self.param_groups for p in g["params"]}
        if len(known | {id(p) for p in parameters}) < len(known) + len(parameters):
            raise ValueError(f"{name}: got a parameter twice, expected each in one place of one group")
        group = {**self.defaults, **group, "params": parameters}
        self.check(group)

        self.param_groups.append(group)
        self._buffers += _buffers(group)

    def check(self, options):
        """Refuse options that no rule can work with."""
        for name, value in options.items():
            if name == "betas":
                fine, expected = all(0 <= b < 1 for b in value), "two numbers, 0 <= b < 1"
            else:
                fine, expected = name == "params" or 0 <= value < float("inf"), "0 or more"
            if not fine:
                raise ValueError(f"{type(self).__name__}: got {name} = {value}, expected {expected}")

    def zero_grad(self):
        """Forget the gradients of all parameters."""
        for group in self.param_groups:
            for p in group["params"]:
                p.grad = None

    def step(self):
        """Move every parameter that has a gradient by the update rule."""
        for buffer in self._buffers:
            buffer.attach()
            buffer.remember({name: self.start_of(name, buffer.options) for name in self.state_of(buffer.options)})
            for w, g, state, t in buffer.pieces(together=self.elementwise):
                self.update_all(w, g, state, t, buffer.options)
            autograd.mark_written(buffer.data)

    def state_of(self, options):
        """The names of the state that the rule needs under these options."""
        return self.state_names

    def start_of(self, name, options):
        """What this state is before the first step."""
        return 0.0

    def update_all(self, w, g, state, t, options):
        """`update`, block by block."""
        if not self.elementwise:
            self.update(w, g, state, t, options)
            return

        def work(part):
            for i in backend.blocks(w[part]):
                self.update(w[part][i], g[part][i], {name: s[part][i] for name, s in state.items()}, t, options)

        in_threads(work, w, 15)

    def update(self, w, g, state, t, options):
        raise NotImplementedError(f"{type(self).__name__}: an optimizer needs an update rule")

    def state_dict(self):
        """{"state": {index: {name: array, "t": steps}}, "param_groups": [{option: value, "params": indices}]}, all copies.

        Parameters are numbered through all groups. With it, training goes on bit for bit as if it had not stopped.
        """
        number = self._numbers()
        pieces = {number[id(p)]: piece for buffer in self._buffers for p, piece in zip(buffer.parameters, buffer.saved())}
        groups = [{**group, "params": [number[id(p)] for p in group["params"]]} for group in self.param_groups]
        return {"state": {i: pieces[i] for i in sorted(pieces)}, "param_groups": groups}

    def load_state_dict(self, state):
        """Take over what `state_dict` gave. Groups, names and shapes must match, or an error says what, and nothing changes."""
        number, name = self._numbers(), f"{type(self).__name__}.load_state_dict"
        sizes = [[len(group["params"]) for group in groups] for groups in (state["param_groups"], self.param_groups)]
        if sizes[0] != sizes[1] or set(state["state"]) != set(number.values()):
            raise ValueError(f"{name}: got groups of {sizes[0]} parameters and state of {len(state['state'])}, "
                             f"expected {sizes[1]} and {len(number)}")
        for saved in state["param_groups"]:
            if wrong := sorted((set(saved) - {"params", "initial_lr"}) ^ set(self.defaults)):
                raise ValueError(f"{name}: got a group with options {sorted(saved)}, which differ in {wrong[0]!r}")
            self.check(saved)
        loads = [(buffer, [state["state"][number[id(p)]] for p in buffer.parameters]) for buffer in self._buffers]
        for buffer, saved in loads:
            buffer.check(saved, self.state_names, name)

        for group, saved in zip(self.param_groups, state["param_groups"]):
            group.update({option: value for option, value in saved.items() if option != "params"})
        for buffer, saved in loads:
            buffer.load(saved)

    def _numbers(self):
        """{id of a parameter: its number}, counted through all groups."""
        return {id(p): i for i, p in enumerate(p for group in self.param_groups for p in group["params"])}


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

    def remember(self, starts):
        """Keep state of these names from now on, with these values at first."""
        for name, start in starts.items():
            if name not in self.state:
                self.state[name] = backend.array_module(self.data).full_like(self.data, start)

    def pieces(self, together):
        """(weights, gradients, state, t): all at once if every parameter has a gradient and the same age, else one by one."""
        ready = [i for i, p in enumerate(self.parameters) if p.grad is not None]
        for i in ready:
            self.t[i] += 1
        if together and len(ready) == len(self.parameters) and len(set(self.t)) == 1:
            gradients = [p.grad.data.reshape(-1) for p in self.parameters]
            g = gradients[0] if len(gradients) == 1 else backend.array_module(self.data).concatenate(gradients)
            yield self.data, g, self.state, self.t[0]
            return
        weights, states = self._cut(self.data), {name: self._cut(s) for name, s in self.state.items()}
        for i in ready:
            yield weights[i], self.parameters[i].grad.data.reshape(-1), {n: s[i] for n, s in states.items()}, self.t[i]

    def saved(self):
        """For each parameter a copy of its part of the state, in its shape, and its number of steps."""
        cuts = {name: self._cut(s) for name, s in self.state.items()}
        return [{**{name: cut[i].reshape(p.shape).copy() for name, cut in cuts.items()}, "t": self.t[i]}
                for i, p in enumerate(self.parameters)]

    def check(self, saved, names, caller):
        """Is `saved` what `saved()` could have given?"""
        for p, piece in zip(self.parameters, saved):
            if not set(piece) == set(saved[0]) <= {"t", *names} or "t" not in piece:
                raise ValueError(f"{caller}: got state named {sorted(piece)}, expected 't' and, all alike, "
                                 f"some of {list(names)}")
            for name in set(piece) - {"t"}:
                if tuple(piece[name].shape) != p.shape:
                    raise ValueError(f"{caller}: got {name} of shape {tuple(piece[name].shape)}, expected {p.shape}")

    def load(self, saved):
        """Take over copies of what `saved()` gave."""
        xp, device = backend.array_module(self.data), backend.device_of(self.data)
        self.t = [int(piece["t"]) for piece in saved]
        self.state = {name: xp.concatenate([backend.to_device(piece[name], device).reshape(-1) for piece in saved],
                                           dtype=self.data.dtype) for name in saved[0] if name != "t"}

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
