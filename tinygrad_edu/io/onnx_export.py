"""ONNX export: a traced model as a file that other programs run.

    export_onnx(model, "digits.onnx", x)        # x: an example, (N, ..); the file takes any batch size

The model is traced, what needs no input is computed, and each instruction becomes the ONNX operator that means the same: a
kernel its own (Conv, LSTM, LayerNormalization), the rest the primitives. A kernel without a rule here is traced as its
definition. Weights keep their names of the state_dict. Operator set 21, ONNX 1.16 of 2024 (github.com/onnx/onnx, Operators.md).
"""
from pathlib import Path

import numpy as np

from .. import __name__ as PACKAGE, backend
from ..files import write_atomically
from ..tensor import Tensor
from .graph import Compared, Repeated, Times, Value, fold_constants, names_in, remove_dead_code
from .onnx_rules import RULES, unsupported
from .tracing import trace

OPSET, IR_VERSION = 21, 10


def export_onnx(model, path, *examples, batch_axis=0, names=None, output_names=None):
    """Write `model` as it evaluates to `path`, and return the path. The rest of the arguments as in `trace`.

    The file is checked by onnx before it gets its name. output_names: y, or y1, y2, .. if not given.
    """
    onnx = onnx_package()
    proto = to_onnx(model, *examples, batch_axis=batch_axis, names=names, output_names=output_names)
    onnx.checker.check_model(proto, full_check=True)
    write_atomically(Path(path), lambda temporary: temporary.write_bytes(proto.SerializeToString()))
    return Path(path)


def to_onnx(model, *examples, batch_axis=0, names=None, output_names=None):
    """The onnx.ModelProto of `model`; arguments as in `export_onnx`."""
    onnx = onnx_package()
    traced = trace(model, *examples, batch_axis=batch_axis, names=names, keeps=lambda kind: kind in RULES)
    graph = remove_dead_code(fold_constants(traced))
    writer = Writer(onnx, graph, _origins(traced))
    for step in graph.instructions:
        if step.kind not in RULES:
            raise unsupported(step, "it has no ONNX counterpart here")
        writer.names[step.output] = RULES[step.kind](writer, step)
        writer.dtypes[step.output] = step.dtype
    n = len(graph.outputs)
    return writer.model(output_names or (["y"] if n == 1 else [f"y{i + 1}" for i in range(n)]))


def onnx_package():
    """The package onnx, or an error that says how to get it."""
    try:
        import onnx
    except ImportError as error:
        raise ImportError("ONNX files need the package onnx: pip install 'tinygrad-edu[onnx]'") from error
    return onnx


def _origins(graph):
    """Of what was computed from constants alone, the first parameter in it and the last operation: "0.weight/Transpose"."""
    origins = {name: name for name in graph.constants}
    for step in graph.instructions:
        made_of = [origins.get(name) for name in sorted(names_in((*step.inputs, *step.attributes.values())))]
        if made_of and None not in made_of:
            origins[step.output] = f"{made_of[-1].partition('/')[0]}/{step.kind.__name__}"
    return origins


class Writer:
    """Collects nodes and initializers. names: value of the graph -> name in the file; dtypes: value -> its dtype."""

    def __init__(self, onnx, graph, origins):
        self.onnx, self.graph, self.nodes, self.initializers = onnx, graph, [], []
        self.names = {name: name for name in graph.inputs}
        self.dtypes = {name: dtype for name, (_, dtype) in graph.inputs.items()}
        self.used, self.batch_size = set(self.names), None
        for name, c in graph.constants.items():
            data = c.row if isinstance(c, Repeated) else c.data
            self.names[name], self.dtypes[name] = self.constant(data, origins.get(name, name)), data.dtype
            if isinstance(c, Repeated):
                self.names[name] = self.repeat(c, self.names[name])

    # ------------------------------------------------------------ what rules write

    def node(self, op, inputs, attributes=None, outputs=1):
        """Add an operator; the name of its output, or a list of names. An input None is left out."""
        made = [self.new("v") for _ in range(outputs)]
        inputs = ["" if x is None else x for x in inputs]
        self.nodes.append(self.onnx.helper.make_node(op, inputs, made, self.new(op), **(attributes or {})))
        return made[0] if outputs == 1 else made

    def constant(self, array, name="c"):
        """The name of an array in the file."""
        name = name if name not in self.used and name != "c" else self.new(name)
        self.used.add(name)
        array = np.asarray(backend.to_numpy(array), order="C")
        self.initializers.append(self.onnx.numpy_helper.from_array(array, name))
        return name

    def integers(self, values):
        """A vector of integers, some of them multiples of the batch size."""
        if not any(isinstance(v, Times) for v in values):
            return self.constant(np.array(values, np.int64))
        parts = [self.node("Mul", [self.batch(), self.constant(np.array([v.count]))]) if isinstance(v, Times)
                 else self.constant(np.array([v], np.int64)) for v in values]
        return self.node("Concat", parts, {"axis": 0})

    def batch(self):
        """The batch size, a vector of one integer."""
        if self.batch_size is None:
            axis = self.graph.batch_axis
            self.batch_size = self.node("Shape", [next(iter(self.graph.inputs))], {"start": axis, "end": axis + 1})
        return self.batch_size

    def repeat(self, repeated, name):
        sizes = list(repeated.row.shape)
        sizes[repeated.axis] = Times(repeated.count)
        return self.node("Expand", [name, self.integers(sizes)])

    # ------------------------------------------------------------ what rules read

    def operand(self, x, dtype=None):
        """The name of an input or attribute: a value, a number (then of `dtype`), an array or a comparison."""
        if isinstance(x, Compared):
            zero = self.constant(np.zeros((), self.dtypes[x.name]))
            op = {">": "Greater", ">=": "GreaterOrEqual", "<": "Less", "<=": "LessOrEqual"}[x.comparison]
            return self.node(op, [self.names[x.name], zero])
        if isinstance(x, Repeated):
            return self.repeat(x, self.constant(x.row))
        if isinstance(x, Times):
            return self.cast(self.node("Squeeze", [self.integers([x])]), np.dtype(np.int64), dtype)
        if not isinstance(x, Value):
            return self.constant(np.asarray(x, None if backend.is_array(x) else dtype))
        return self.cast(self.names[x.name], self.dtypes[x.name], dtype)

    def cast(self, name, dtype, wanted):
        if wanted is None or dtype == wanted:
            return name
        return self.node("Cast", [name], {"to": self.onnx.helper.np_dtype_to_tensor_dtype(np.dtype(wanted))})

    def array(self, x, step):
        """The numbers of a constant, for an operator that wants them in another order."""
        c = self.graph.constants.get(x.name) if isinstance(x, Value) else None
        if not isinstance(c, Tensor):
            raise unsupported(step, "its weights depend on the input, which the ONNX operator does not allow")
        return backend.to_numpy(c.data)

    def shape_of(self, x):
        """The shape of a value, of any kind, as in the instructions: integers and Times."""
        if x.name in self.graph.inputs:
            return self.graph.inputs[x.name][0]
        c = self.graph.constants.get(x.name)
        if isinstance(c, Repeated):
            return tuple(Times(c.count) if i == c.axis else n for i, n in enumerate(c.row.shape))
        return tuple(c.shape) if c is not None else next(s.shape for s in self.graph.instructions if s.output == x.name)

    def new(self, stem):
        name = f"{stem}{sum(1 for used in self.used if used.startswith(stem)) + 1}"
        while name in self.used:
            name += "_"
        self.used.add(name)
        return name

    # ------------------------------------------------------------ the file

    def model(self, output_names):
        helper, info = self.onnx.helper, self.onnx.helper.make_tensor_value_info
        for name, output in zip(output_names, self.graph.outputs):
            self.nodes.append(helper.make_node("Identity", [self.names[output]], [name], self.new("Identity")))
        kinds = {name: helper.np_dtype_to_tensor_dtype(dtype) for name, dtype in self.dtypes.items()}
        inputs = [info(name, kinds[name], list(map(dimension, shape))) for name, (shape, _) in self.graph.inputs.items()]
        outputs = [info(name, kinds[output], list(map(dimension, self.shape_of(Value(output)))))
                   for name, output in zip(output_names, self.graph.outputs)]
        read = {name for node in self.nodes for name in node.input}
        body = helper.make_graph(self.nodes, "traced", inputs, outputs, [c for c in self.initializers if c.name in read])
        return helper.make_model(body, producer_name=PACKAGE, ir_version=IR_VERSION,
                                 opset_imports=[helper.make_opsetid("", OPSET)])


def dimension(n):
    return str(n) if isinstance(n, Times) else n
