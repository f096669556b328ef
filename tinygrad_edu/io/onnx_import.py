"""ONNX import: a published file as a Module that runs on the library's functions, so it can be stepped through and trained.

    model = import_onnx("mnist-8.onnx", any_batch=True)
    logits = model(images)

A file is a list of nodes: an operator, names of what goes in and of what comes out. OPERATORS has a function for each operator
known here, in terms of F and ops; the older forms of an operator (axes as an attribute instead of an input) are read too.
"""
import math
from dataclasses import dataclass
from pathlib import Path

from .. import functional as F, ops
from ..creation import ones_like
from ..nn import Module, Parameter
from ..ops.elementwise import array_of
from ..tensor import Tensor, as_tensor
from .onnx_export import onnx_package


@dataclass(frozen=True)
class Node:
    """outputs = operator(*inputs, **attributes), as names; an input that is left out is ""."""
    operator: str
    inputs: tuple
    outputs: tuple
    attributes: dict


class OnnxModel(Module):
    """An imported graph. weights: {name: Parameter}, integers as plain Tensors; input_names and output_names as in the file."""

    def __init__(self, graph, opset, any_batch):
        from onnx import helper, numpy_helper

        self.opset, self.any_batch = opset, any_batch
        values = {tensor.name: numpy_helper.to_array(tensor) for tensor in graph.initializer}
        self.nodes = [Node(node.op_type, tuple(node.input), tuple(node.output),
                           {a.name: helper.get_attribute_value(a) for a in node.attribute}) for node in graph.node]
        for node in self.nodes:
            if node.operator == "Constant":
                values[node.outputs[0]] = numpy_helper.to_array(node.attributes["value"])
        self.weights = {name: (Parameter if array.dtype.kind == "f" else Tensor)(array) for name, array in values.items()}
        self.nodes = [node for node in self.nodes if node.operator != "Constant"]
        self.input_names = [x.name for x in graph.input if x.name not in values]
        self.output_names = [y.name for y in graph.output]

    def forward(self, *inputs):
        if len(inputs) != len(self.input_names):
            raise ValueError(f"OnnxModel: got {len(inputs)} inputs, expected {', '.join(self.input_names)}")
        values = self.weights | dict(zip(self.input_names, map(as_tensor, inputs)))
        for node in self.nodes:
            y = OPERATORS[node.operator](Attributes(node, self), *[values[name] if name else None for name in node.inputs])
            values[node.outputs[0]] = y
        outputs = tuple(values[name] for name in self.output_names)
        return outputs[0] if len(outputs) == 1 else outputs


class Attributes:
    """The attributes of a node, with defaults, and what its operator has to know of the file."""

    def __init__(self, node, model):
        self.values, self.opset, self.any_batch = node.attributes, model.opset, model.any_batch

    def get(self, name, default=None):
        value = self.values.get(name, default)
        return value.decode() if isinstance(value, bytes) else value

    def axes(self, given):
        """From an input, or in older files an attribute; None if in neither."""
        axes = self.values.get("axes") if given is None else given.tolist()
        return None if axes is None else tuple(axes)


def import_onnx(path, any_batch=False):
    """The file at `path` as an OnnxModel.

    any_batch: many published files are made for one sample at a time; with True a Reshape to (1, ..) keeps the batch instead.
    """
    onnx = onnx_package()
    try:
        proto = onnx.load_model_from_string(Path(path).read_bytes())
        onnx.checker.check_model(proto)
    except (onnx.checker.ValidationError, ValueError) as error:
        raise ValueError(f"import_onnx: {path} is no valid ONNX file ({str(error).splitlines()[0]})") from error
    except Exception as error:                      # protobuf's own class, which moves between its versions
        if type(error).__name__ != "DecodeError":
            raise
        raise ValueError(f"import_onnx: {path} is no ONNX file") from error
    unknown = sorted({node.op_type for node in proto.graph.node} - OPERATORS.keys() - {"Constant"})
    if unknown:
        raise NotImplementedError(f"import_onnx: {path} has the operators {', '.join(unknown)}, which have no counterpart here")
    opset = next(entry.version for entry in proto.opset_import if entry.domain in ("", "ai.onnx"))
    return OnnxModel(proto.graph, opset, any_batch)


# ---------------------------------------------------------------- windows

def window(a, x, kernel, value=0.0):
    """x with the border that auto_pad or pads asks for, and stride and dilation, a number for each axis."""
    d = len(kernel)
    stride, dilation = a.get("strides", [1] * d), a.get("dilations", [1] * d)
    reach = [step * (k - 1) + 1 for step, k in zip(dilation, kernel)]
    auto, pads = a.get("auto_pad", "NOTSET"), a.get("pads", [0] * (2 * d))
    if auto in ("SAME_UPPER", "SAME_LOWER"):        # as many windows as pixels / stride; an odd pixel at the end, or before
        total = [max(0, (math.ceil(n / s) - 1) * s + r - n) for n, s, r in zip(x.shape[2:], stride, reach)]
        small, large = [t // 2 for t in total], [t - t // 2 for t in total]
        pads = small + large if auto == "SAME_UPPER" else large + small
    if any(pads):
        x = ops.pad(x, ((0, 0), (0, 0), *zip(pads[:d], pads[d:])), value=value)
    return x, tuple(stride), tuple(dilation)


def conv(a, x, weight, bias=None):
    x, stride, dilation = window(a, x, weight.shape[2:])
    if weight.ndim == 3:
        return F.conv1d(x, weight, bias, stride[0], 0, dilation[0], a.get("group", 1))
    return F.conv2d(x, weight, bias, stride, 0, dilation, a.get("group", 1))


def max_pool(a, x):
    kernel = a.get("kernel_shape")
    x, stride, dilation = window(a, x, kernel, -math.inf)
    _no_dilation("MaxPool", dilation)
    pool = F.max_pool1d if len(kernel) == 1 else F.max_pool2d
    return pool(x, tuple(kernel), stride, ceil_mode=bool(a.get("ceil_mode", 0)))


def average_pool(a, x):
    kernel = a.get("kernel_shape")
    padded, stride, dilation = window(a, x, kernel)
    _no_dilation("AveragePool", dilation)
    pool, ceil = F.avg_pool1d if len(kernel) == 1 else F.avg_pool2d, bool(a.get("ceil_mode", 0))
    y = pool(padded, tuple(kernel), stride, ceil_mode=ceil)
    if padded is x or a.get("count_include_pad", 0):
        return y
    inside, _, _ = window(a, ones_like(x), kernel)              # 1 in the image, 0 in the border
    return y / pool(inside, tuple(kernel), stride, ceil_mode=ceil)


def _no_dilation(operator, dilation):
    if set(dilation) != {1}:
        raise NotImplementedError(f"import_onnx: {operator} with dilations {dilation} has no counterpart here")


# ---------------------------------------------------------------- norms and products

def batch_norm(a, x, scale, bias, mean, variance):
    return F.batch_norm(x, scale, bias, mean, variance, a.get("epsilon", 1e-5))


def layer_norm(a, x, scale, bias=None):
    axis = a.get("axis", -1) % x.ndim
    return F.layer_norm(x, x.shape[axis:], scale.reshape(x.shape[axis:]), bias, a.get("epsilon", 1e-5))


def gemm(a, x, weight, bias=None):
    x = x.T if a.get("transA", 0) else x
    y = (x @ (weight.T if a.get("transB", 0) else weight)) * a.get("alpha", 1.0)
    return y if bias is None else y + bias * a.get("beta", 1.0)


def soft_max(a, x):
    if a.opset >= 13:
        return F.softmax(x, a.get("axis", -1))
    axis = a.get("axis", 1) % x.ndim                # older files: over all axes from this one on
    return F.softmax(x.reshape(*x.shape[:axis], -1), -1).reshape(x.shape)


# ---------------------------------------------------------------- shapes

def reshape(a, x, shape):
    shape = [x.shape[i] if n == 0 and not a.get("allowzero", 0) else n for i, n in enumerate(shape.tolist())]
    if a.any_batch and shape[0] == 1 and -1 not in shape and math.prod(shape) != x.size:
        shape[0] = -1
    return x.reshape(tuple(shape))


def flatten(a, x):
    axis = a.get("axis", 1)
    return x.reshape(math.prod(x.shape[:axis]), -1)


def squeeze(a, x, axes=None):
    axes = a.axes(axes)
    gone = [i for i, n in enumerate(x.shape) if n == 1] if axes is None else [axis % x.ndim for axis in axes]
    return x.reshape(tuple(n for i, n in enumerate(x.shape) if i not in gone))


def unsqueeze(a, x, axes=None):
    axes = a.axes(axes)
    for axis in sorted(axis % (x.ndim + len(axes)) for axis in axes):
        x = ops.expand_dims(x, axis)
    return x


def slices(a, x, starts=None, ends=None, axes=None, steps=None):
    starts, ends = a.get("starts") or starts.tolist(), a.get("ends") or ends.tolist()
    axes = a.axes(axes) or range(len(starts))
    steps = [1] * len(starts) if steps is None else steps.tolist()
    index = [slice(None)] * x.ndim
    for axis, start, end, step in zip(axes, starts, ends, steps):
        index[axis] = slice(start, None if step < 0 and end < -x.shape[axis] else end, step)
    return x[tuple(index)]


def gather(a, x, ids):
    axis = a.get("axis", 0) % x.ndim
    return x[(slice(None),) * axis + (array_of(ids),)]


def reduced(function):
    """The operator of a reduction: mean, sum or max over its axes."""
    def reduce(a, x, axes=None):
        return function(x, a.axes(axes), keepdims=bool(a.get("keepdims", 1)))
    return reduce


def cast(a, x):
    from onnx import helper
    return ops.cast(x, helper.tensor_dtype_to_np_dtype(a.get("to")))


OPERATORS = {
    "Add": lambda a, x, y: x + y, "Sub": lambda a, x, y: x - y, "Mul": lambda a, x, y: x * y, "Div": lambda a, x, y: x / y,
    "Neg": lambda a, x: -x, "Abs": lambda a, x: abs(x), "Sqrt": lambda a, x: ops.sqrt(x), "Exp": lambda a, x: ops.exp(x),
    "Log": lambda a, x: ops.log(x), "Erf": lambda a, x: ops.erf(x), "Pow": lambda a, x, y: ops.power(x, _number(y)),
    "Tanh": lambda a, x: ops.tanh(x), "Sigmoid": lambda a, x: ops.sigmoid(x), "Relu": lambda a, x: F.relu(x),
    "LeakyRelu": lambda a, x: F.leaky_relu(x, a.get("alpha", 0.01)), "Softplus": lambda a, x: F.softplus(x),
    "Gelu": lambda a, x: F.gelu(x, a.get("approximate", "none")),
    "Clip": lambda a, x, low=None, high=None: ops.clip(x, a.get("min", _number(low)), a.get("max", _number(high))),
    "Where": lambda a, condition, x, y: ops.where(condition, x, y), "Greater": lambda a, x, y: x > y,
    "MatMul": lambda a, x, y: x @ y, "Gemm": gemm, "Conv": conv, "MaxPool": max_pool, "AveragePool": average_pool,
    "GlobalAveragePool": lambda a, x: x.mean(axis=tuple(range(2, x.ndim)), keepdims=True),
    "BatchNormalization": batch_norm, "LayerNormalization": layer_norm, "Softmax": soft_max,
    "ReduceMean": reduced(ops.mean), "ReduceSum": reduced(ops.sum), "ReduceMax": reduced(ops.max),
    "Reshape": reshape, "Flatten": flatten, "Squeeze": squeeze, "Unsqueeze": unsqueeze, "Slice": slices, "Gather": gather,
    "Transpose": lambda a, x: x.transpose(*a.get("perm", ())), "Concat": lambda a, *xs: ops.concatenate(xs, a.get("axis")),
    "Cast": cast, "Identity": lambda a, x: x, "Dropout": lambda a, x, *rest: x,
}


def _number(x):
    """A Tensor of one element as a Python number; None stays, and an exponent that is an array."""
    return x.item() if x is not None and x.size == 1 else x
