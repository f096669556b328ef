"""A static graph: a list of instructions that is a function, made by `trace`. It can be read, run, and made shorter.

An instruction is one operation with its attributes. What depends on the batch size N is a symbol, so one list serves all sizes.
"""
import operator
from dataclasses import dataclass, replace

import numpy as np

from .. import backend
from ..autograd import Kernel, no_grad
from ..tensor import Tensor

COMPARISONS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}


# ---------------------------------------------------------------- what stands in an instruction

@dataclass(frozen=True)
class Value:
    """A value of the graph: an input, a constant, or what an instruction made."""
    name: str
    def __str__(self):
        return self.name

@dataclass(frozen=True)
class Times:
    """An integer: `count` times the batch size."""
    count: int
    def __str__(self):
        return "N" if self.count == 1 else f"{self.count} N"

@dataclass(frozen=True, eq=False)
class Repeated:
    """An array that is the same for all of the batch: `row`, with length 1 along `axis`, `count` times the batch size."""
    row: np.ndarray
    axis: int
    count: int
    def __str__(self):
        return f"{self.row.reshape(-1)[0]} .." if self.row.size else "[]"

@dataclass(frozen=True)
class Compared:
    """The bools `name > 0`, or another comparison with 0."""
    name: str
    comparison: str
    def __str__(self):
        return f"{self.name} {self.comparison} 0"


@dataclass(frozen=True)
class Instruction:
    """output = kind(*inputs; **attributes).

    kind: a subclass of Function. inputs: Values and numbers. shape and dtype: of the output. module: the name of the layer that
    asked for it, as in the state_dict; where: "file:line" of the call.
    """
    output: str
    kind: type
    attributes: dict
    inputs: tuple
    shape: tuple
    dtype: np.dtype
    module: str
    where: str

    def run(self, values, N):
        """The output: `values` has those of the graph by name, N is the batch size."""
        inputs = [values[x.name] if isinstance(x, Value) else filled(x, values, N) for x in self.inputs]
        kind = self.kind.face(inputs[0]) if issubclass(self.kind, Kernel) else self.kind
        function = kind.__new__(kind)
        vars(function).update({name: filled(x, values, N) for name, x in self.attributes.items()})
        return function.apply(*inputs)

    def __str__(self):
        """Attributes under the names of the constructor's arguments; what it worked out from them is left out, and None."""
        own = self.kind.__init__.__code__.co_varnames if self.attributes else ()
        shown = {name: value for name, value in self.attributes.items() if name in own and value is not None}
        attributes = ", ".join(f"{name}={text(value)}" for name, value in shown.items())
        arguments = ", ".join(map(text, self.inputs)) + (f"; {attributes}" if attributes else "")
        return f"{self.output} = {self.kind.__name__}({arguments})"


@dataclass(frozen=True)
class Graph:
    """A list of instructions that is a function. Call it with Tensors or arrays; gradients flow through it.

    inputs: {name: (shape, dtype)}. constants: {name: Tensor, or Repeated}, those of the model named as in its state_dict and
    shared with it. outputs: names; one output is returned as it is, several as a tuple.
    """
    inputs: dict
    constants: dict
    instructions: tuple
    outputs: tuple
    batch_axis: int

    def __call__(self, *inputs):
        N = self._check(inputs)
        values = {name: x if isinstance(x, Tensor) else Tensor(x) for name, x in zip(self.inputs, inputs)}
        values.update((name, Tensor(filled(c, {}, N)) if isinstance(c, Repeated) else c) for name, c in self.constants.items())
        for step in self.instructions:
            values[step.output] = step.run(values, N)
        outputs = tuple(values[name] for name in self.outputs)
        return outputs[0] if len(outputs) == 1 else outputs

    def _check(self, inputs):
        """The batch size, once all shapes have been found to fit."""
        if len(inputs) != len(self.inputs):
            raise ValueError(f"graph: got {len(inputs)} inputs, expected {len(self.inputs)}: {', '.join(self.inputs)}")
        first = tuple(inputs[0].shape)
        N = first[self.batch_axis] if self.batch_axis is not None and len(first) > self.batch_axis else None
        for (name, (shape, dtype)), x in zip(self.inputs.items(), inputs):
            if tuple(x.shape) != filled(shape, {}, N) or x.dtype != dtype:
                raise ValueError(f"graph: {name} is {x.dtype} {tuple(x.shape)}, expected {dtype} {text(shape)}")
        return N

    def __str__(self):
        """The listing: inputs, constants, then a line for each instruction with the shape that it makes and its layer."""
        lines = [f"{name}: {dtype} {text(shape)}" for name, (shape, dtype) in self.inputs.items()]
        for name, c in self.constants.items():
            c = c.row if isinstance(c, Repeated) else c.data
            lines.append(f"{name} = {c}" if not c.shape else f"{name}: constant {c.dtype} {text(tuple(c.shape))}")
        steps = [str(step) for step in self.instructions]
        wide = min(100, max(map(len, steps), default=0))
        lines += [f"{line:<{wide}}  {text(step.shape)}  {step.module}".rstrip() for line, step in zip(steps, self.instructions)]
        return "\n".join([*lines, f"return {', '.join(self.outputs)}"])


def filled(value, values, N):
    """An attribute with every Value, Times, Repeated and Compared in it replaced by the array or number that it stands for."""
    if isinstance(value, Value):
        return values[value.name].data
    if isinstance(value, Times):
        return value.count * N
    if isinstance(value, Repeated):
        return backend.array_module(value.row).repeat(value.row, value.count * N, axis=value.axis)
    if isinstance(value, Compared):
        return COMPARISONS[value.comparison](values[value.name].data, 0)
    if isinstance(value, slice):
        return slice(*(filled(v, values, N) for v in (value.start, value.stop, value.step)))
    if isinstance(value, (tuple, list)):
        return like(value, [filled(v, values, N) for v in value])
    return value


def text(value):
    """An attribute or a shape as the listing prints it."""
    if isinstance(value, slice):
        return ":".join("" if v is None else text(v) for v in (value.start, value.stop, value.step)).removesuffix(":")
    if hasattr(value, "_asdict"):
        return f"({', '.join(f'{name} {text(part)}' for name, part in value._asdict().items())})"
    if isinstance(value, tuple):
        return f"({', '.join(map(text, value))}{',' if len(value) == 1 else ''})"
    if value is Ellipsis:
        return "..."
    if isinstance(value, float):
        return f"{value:.6g}"
    return f"{value.dtype}{list(value.shape)}" if backend.is_array(value) else str(value)


def like(value, parts):
    """The parts as a tuple, named tuple or list, whichever `value` is."""
    return type(value)(*parts) if hasattr(value, "_asdict") else type(value)(parts)


# ---------------------------------------------------------------- shorter graphs with the same answers

def names_in(value):
    """The names of all values that an input or attribute mentions."""
    if isinstance(value, (Value, Compared)):
        return {value.name}
    if isinstance(value, slice):
        value = (value.start, value.stop, value.step)
    return set().union(*map(names_in, value)) if isinstance(value, (tuple, list)) else set()


def depends_on_batch(value):
    """Is there a Times or Repeated in an attribute?"""
    if isinstance(value, slice):
        value = (value.start, value.stop, value.step)
    if isinstance(value, (tuple, list)):
        return any(map(depends_on_batch, value))
    return isinstance(value, (Times, Repeated))


def fold_constants(graph):
    """The graph with everything computed already that needs no input. It has copies of the parameters: fold what is trained."""
    constants, steps = {name: c.copy() if isinstance(c, Tensor) else c for name, c in graph.constants.items()}, []
    for step in graph.instructions:
        parts = (*step.inputs, *step.attributes.values())
        ready = all(isinstance(constants.get(name), Tensor) for name in names_in(parts))
        if ready and not depends_on_batch(parts):
            with no_grad():
                constants[step.output] = step.run(constants, None).copy()
        else:
            steps.append(step)
    return replace(graph, constants=constants, instructions=tuple(steps))


def remove_dead_code(graph):
    """The graph without instructions and constants that no output needs."""
    needed, steps = set(graph.outputs), []
    for step in reversed(graph.instructions):
        if step.output in needed:
            needed |= names_in((*step.inputs, *step.attributes.values()))
            steps.insert(0, step)
    constants = {name: c for name, c in graph.constants.items() if name in needed}
    return replace(graph, constants=constants, instructions=tuple(steps))
