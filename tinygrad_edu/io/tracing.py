"""Tracing: run a model once, write down what it did, and run that list again without the model.

    graph = trace(model, x)         # x: an example, (N, ..)
    print(graph)                    # %1 = Conv2d(x, 0.weight, 0.bias; stride=(1, 1), ..)
    graph(other)                    # equal to model(other), for any batch size

The recorder stands in for `Function.apply` while trace() runs, and only then, so the engine pays nothing for it. Before each
operation it copies the operation's attributes, which at that moment are what its constructor was given (stride, axis, index):
that is how an instruction knows its arguments that are no tensors. Tensors are told apart by their arrays.

Not everything that a model computes is an operation: comparisons, argmax and plain array arithmetic leave only their results,
which look like constants. So the model runs twice, the second time on a batch that is one larger and holds other numbers, much
like the first ones. What is equal in both runs is a constant. An integer that grows in step with the batch is a multiple of
its size, an array that is the same for all of the batch is repeated. A condition that is equal to "x > 0" for an input x of
its `where` both times is that comparison (leaky_relu and its kind). Whatever else differs depends on the numbers in the input
in a way that the list cannot hold, and is an error that names the line.
"""
import contextlib
import os
import sys
from dataclasses import dataclass

from .. import backend, faces
from ..autograd import Function, Kernel, no_grad
from ..nn import Module
from ..ops.elementwise import Where
from ..tensor import Tensor
from .graph import COMPARISONS, Compared, Graph, Instruction, Repeated, Times, Value, like, text

_FLOORS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
_BELOW = tuple(os.path.join(_FLOORS, name) for name in ("autograd.py", "tensor.py", "ops", "functional", "kernels"))


class TraceError(ValueError):
    """A model that cannot be written down as a list of operations; the message names the line."""


# ---------------------------------------------------------------- recording one run

@dataclass
class Step:
    """One operation as it was seen; arrays are still arrays."""
    kind: type
    attributes: dict
    inputs: tuple
    output: object
    module: str
    where: str


class Recording:
    """One run of a model: its operations, and the names of all arrays seen. These are kept alive, so ids stay unique."""

    def __init__(self, model, inputs, keeps):
        self.keeps, self.steps, self.modules, self.names = keeps, [], {}, {}
        self.inputs = inputs
        if isinstance(model, Module):
            self.constants = dict(model.named_tensors())
            self.modules = {id(module): name or type(model).__name__ for name, module in model.named_modules()}
        else:
            self.constants = {}
        for name, x in (*self.constants.items(), *inputs.items()):
            self.names[id(x.data)] = name
        with self.standing_in(), no_grad():
            outputs = model(*inputs.values())
        self.outputs = list(_flat(outputs))

    @contextlib.contextmanager
    def standing_in(self):
        """Inside the `with` block every operation on Tensors is recorded."""
        apply = Function.apply

        def record(function, *inputs):
            if isinstance(function, Kernel) and not self.keeps(type(function)):
                return function.reference(*inputs)
            attributes = dict(vars(function))
            y = apply(function, *inputs)
            if isinstance(y, Tensor):
                self.steps.append(Step(type(function), attributes, inputs, y.data, *self.place()))
                self.names[id(y.data)] = f"%{len(self.steps)}"
            return y

        Function.apply = record
        try:
            yield
        finally:
            Function.apply = apply

    def place(self):
        """The name of the innermost module at work, and "file:line" of the nearest caller above the operations."""
        frame, where = sys._getframe(2), ""
        while frame is not None:
            if not where and not frame.f_code.co_filename.startswith(_BELOW):
                where = f"{os.path.basename(frame.f_code.co_filename)}:{frame.f_lineno}"
            module = self.modules.get(id(frame.f_locals.get("self")))
            if module is not None:
                return module, where
            frame = frame.f_back
        return "", where

    def name_of(self, x):
        return self.names.get(id(_array(x)))


def _array(x):
    return x.data if isinstance(x, Tensor) else x


def _flat(outputs):
    if isinstance(outputs, (tuple, list)):
        for output in outputs:
            yield from _flat(output)
    elif isinstance(outputs, Tensor):
        yield outputs
    else:
        raise TraceError(f"trace: the model returned {type(outputs).__name__}, expected Tensors")


# ---------------------------------------------------------------- two runs into one graph

def trace(model, *examples, batch_axis=0, names=None, keeps=None):
    """The Graph of what `model`, a Module or function of Tensors, does with the examples, arrays or Tensors.

    A Module is traced as it evaluates (`eval()`), for dropout and batch statistics are no functions of the input. batch_axis:
    which axis of every example is the batch; None: there is none, and all shapes are fixed. The examples should hold different
    numbers, or what depends on them cannot be seen. names: of the inputs; x, or x1, x2, .. if not given. keeps: a function of a
    Kernel class, whether it stays one instruction (all do if not given) or is traced as its definition.
    """
    first = [Tensor(_array(x)) for x in examples]
    names = names or (["x"] if len(first) == 1 else [f"x{i + 1}" for i in range(len(first))])
    second = [Tensor(_shuffled(x.data, batch_axis)) for x in first]
    keeps = keeps or (lambda kind: True)
    with faces.kernel_face("arrays"), _evaluating(model):               # a kernel is one instruction, whatever face is in use
        one, two = (Recording(model, dict(zip(names, xs)), keeps) for xs in (first, second))
    N = None if batch_axis is None else first[0].shape[batch_axis]
    return _Merge(one, two, N).graph(batch_axis)


@contextlib.contextmanager
def _evaluating(model):
    modules = model.modules() if isinstance(model, Module) else []
    modes = [module.training for module in modules]
    for module in modules:
        module.training = False
    try:
        yield
    finally:
        for module, mode in zip(modules, modes):
            module.training = mode


def _shuffled(x, batch_axis):
    """The numbers of x in reverse order, a little smaller if they are floats, and one more along the batch axis."""
    shape = list(x.shape)
    if batch_axis is not None and x.ndim > batch_axis:
        shape[batch_axis] += 1
    y = backend.array_module(x).resize(x.reshape(-1)[::-1], tuple(shape))
    return y * y.dtype.type(0.9) if y.dtype.kind == "f" else y


class Differs(Exception):
    """Two values have nothing in common that a graph could hold."""


class _Merge:
    """Puts the two recordings side by side. N: the batch size of the first, one less than that of the second."""

    def __init__(self, one, two, N):
        self.one, self.two, self.N, self.constants = one, two, N, {}

    def graph(self, batch_axis):
        one, two = self.one, self.two
        for a, b in zip(one.steps, two.steps):
            if a.kind is not b.kind or a.where != b.where:
                raise TraceError(f"trace: for one input the model goes on with {a.kind.__name__} at {a.where}, for another "
                                 f"with {b.kind.__name__} at {b.where}; a list of operations cannot branch")
        if len(one.steps) != len(two.steps):
            raise TraceError(f"trace: the model does {len(one.steps)} operations for one input, {len(two.steps)} for another")
        steps = tuple(self.instruction(f"%{i + 1}", *pair) for i, pair in enumerate(zip(one.steps, two.steps)))
        outputs = tuple(self.operand("the output", a, b, "the model") for a, b in zip(one.outputs, two.outputs))
        inputs = {name: (self.same(x.shape, two.inputs[name].shape), x.dtype) for name, x in one.inputs.items()}
        return Graph(inputs, self.constants, steps, tuple(x.name for x in outputs), batch_axis)

    def instruction(self, output, a, b):
        at = f"{a.kind.__name__} at {a.where}" + (f" in {a.module}" if a.module else "")
        inputs = tuple(self.operand(f"input {i}", x, y, at) for i, (x, y) in enumerate(zip(a.inputs, b.inputs)))
        attributes = {}
        for name, x in a.attributes.items():
            compared = self.comparison(a, b) if a.kind is Where else None
            try:
                attributes[name] = self.same(x, b.attributes[name])
            except Differs as reason:
                attributes[name] = compared or _refuse(at, f"its {name}", reason)
            if compared and isinstance(attributes[name], Repeated) and not any(map(has_both_signs, a.inputs)):
                raise TraceError(f"trace: {at}: its condition may be fixed, or be {compared}; give examples of both signs")
        return Instruction(output, a.kind, attributes, inputs, self.same(a.output.shape, b.output.shape), a.output.dtype,
                           a.module, a.where)

    def operand(self, what, a, b, at):
        """An input of an instruction: a number, or the Value that it is; an array that nothing made becomes a constant."""
        try:
            value = self.same(a, b)
        except Differs as reason:
            _refuse(at, what, reason)
        if isinstance(value, Value):
            if value.name in self.one.constants:
                self.constants[value.name] = self.one.constants[value.name]
            return value
        if not isinstance(value, Repeated) and not backend.is_array(value):
            return value
        name = f"c{len(self.constants.keys() - self.one.constants.keys()) + 1}"
        self.constants[name] = value if isinstance(value, Repeated) else Tensor(value)
        return Value(name)

    def same(self, a, b):
        """What a and b have in common: themselves if they are equal, else a Value, Times or Repeated."""
        a, b = _array(a), _array(b)
        name = self.one.name_of(a)
        if name is not None and name == self.two.name_of(b):
            return Value(name)
        if backend.is_array(a) and backend.is_array(b):
            return self.same_array(a, b)
        if type(a) is not type(b):
            raise Differs(f"{type(a).__name__} once, {type(b).__name__} the other time")
        if isinstance(a, slice):
            return slice(*(self.same(*pair) for pair in zip((a.start, a.stop, a.step), (b.start, b.stop, b.step))))
        if isinstance(a, (tuple, list)) and len(a) == len(b):
            return like(a, [self.same(*pair) for pair in zip(a, b)])
        if a == b or (a != a and b != b):
            return a
        if type(a) is int and self.N and a % self.N == 0 and b == a // self.N * (self.N + 1):
            return Times(a // self.N)
        raise Differs(f"{text(a)} once, {text(b)} the other time")

    def same_array(self, a, b):
        xp = backend.array_module(a)
        if a.shape == b.shape and a.dtype == b.dtype and xp.array_equal(a, b, equal_nan=a.dtype.kind == "f"):
            return a
        longer = [i for i, (m, n) in enumerate(zip(a.shape, b.shape)) if m != n]
        if a.ndim == b.ndim and len(longer) == 1 and self.N:
            axis, n = longer[0], a.shape[longer[0]]
            row, fits = xp.take(a, [0], axis), n % self.N == 0 and b.shape[axis] == n // self.N * (self.N + 1)
            if fits and (a == row).all() and (b == row).all():
                return Repeated(row, axis, n // self.N)
        raise Differs("it depends on the numbers in the input")

    def comparison(self, a, b):
        """The comparison of an input of a `where` with 0 that its condition is equal to in both runs, or None."""
        conditions = a.attributes["condition"], b.attributes["condition"]
        for x, y in zip(map(_array, a.inputs), map(_array, b.inputs)):
            known = self.one.name_of(x)
            for sign, compare in COMPARISONS.items():
                if known and all(backend.array_module(v).array_equal(compare(v, 0), c) for v, c in zip((x, y), conditions)):
                    return Compared(known, sign)
        return None


def has_both_signs(x):
    x = _array(x)
    return backend.is_array(x) and bool((x < 0).any() and (x > 0).any())


def _refuse(at, what, reason):
    raise TraceError(f"trace: {at}: {what} is not the same for two inputs ({reason}), so a list of operations cannot hold "
                     "it") from None
