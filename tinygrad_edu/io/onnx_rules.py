"""How each operation is said in ONNX. A rule is a function of the writer and an instruction; it adds nodes to the file and
gives the name of what they make. `w.operand` names an input, `w.integers` a vector of integers. RULES, at the end: the table.
"""
import math

import numpy as np

from .. import backend
from ..autograd import Identity
from ..kernels import (activations, attention, convolution, embedding, gru, interpolation, lstm, normalization, pooling,
                       recurrent, softmax)
from ..kernels.group_norm import GroupNorm
from ..kernels.group_norm_silu import GroupNormSiLU
from ..ops import elementwise as e, indexing, linalg, reduction, shape
from .graph import Repeated, Times, text

_END = np.iinfo(np.int64).max           # of a slice: as far as it goes


def unsupported(step, reason):
    """The error that names an instruction, its line and its module."""
    return NotImplementedError(f"export_onnx: {step.kind.__name__} at {step.where} in {step.module or 'the model'}: {reason}")


# ---------------------------------------------------------------- rules: elementwise

UNARY = {Identity: "Identity", e.Negative: "Neg", e.Sqrt: "Sqrt", e.Exp: "Exp", e.Log: "Log", e.Sin: "Sin", e.Cos: "Cos",
         e.Arctan: "Atan", e.Tanh: "Tanh", e.Sigmoid: "Sigmoid", e.Erf: "Erf", e.Abs: "Abs", e.ReLU: "Relu"}
BINARY = {e.Add: "Add", e.Subtract: "Sub", e.Multiply: "Mul", e.Divide: "Div", e.Maximum: "Max", e.Minimum: "Min",
          e.PowerOf: "Pow", linalg.MatMul: "MatMul"}


def unary(w, step):
    return w.node(UNARY[step.kind], [w.operand(step.inputs[0], step.dtype)])


def binary(w, step):
    return w.node(BINARY[step.kind], [w.operand(x, step.dtype) for x in step.inputs])


def linear(w, step):
    """x W' + b; ONNX's Gemm, which does that at once, knows only matrices x."""
    x, weight, *bias = step.inputs
    if len(step.shape) == 2:
        return w.node("Gemm", [w.operand(part, step.dtype) for part in step.inputs], {"transB": 1})
    turned = w.node("Transpose", [w.operand(weight, step.dtype)], {"perm": [1, 0]})
    y = w.node("MatMul", [w.operand(x, step.dtype), turned])
    return w.node("Add", [y, w.operand(bias[0], step.dtype)]) if bias else y


def square(w, step):
    x = w.operand(step.inputs[0])
    return w.node("Mul", [x, x])


def power(w, step):
    return w.node("Pow", [w.operand(step.inputs[0]), w.operand(step.attributes["exponent"], step.dtype)])


def expm1(w, step):
    return w.node("Sub", [w.node("Exp", [w.operand(step.inputs[0])]), w.operand(1, step.dtype)])


def log1p(w, step):
    return w.node("Log", [w.node("Add", [w.operand(step.inputs[0]), w.operand(1, step.dtype)])])


def logaddexp(w, step):
    """max(a, b) + softplus(-|a - b|); of a number and 0 it is softplus itself."""
    a, b = (w.operand(x, step.dtype) for x in step.inputs)
    if step.inputs[1] == 0:
        return w.node("Softplus", [a])
    apart = w.node("Neg", [w.node("Abs", [w.node("Sub", [a, b])])])
    return w.node("Add", [w.node("Max", [a, b]), w.node("Softplus", [apart])])


def clip(w, step):
    low, high = step.attributes["low"], step.attributes["high"]
    bounds = [None if bound is None else w.operand(bound, step.dtype) for bound in (low, high)]
    return w.node("Clip", [w.operand(step.inputs[0]), *bounds])


def where(w, step):
    return w.node("Where", [w.operand(step.attributes["condition"]), *(w.operand(x, step.dtype) for x in step.inputs)])


def cast(w, step):
    return w.operand(step.inputs[0], step.dtype)


def gelu(w, step):
    return w.node("Gelu", [w.operand(step.inputs[0])], {"approximate": "tanh" if step.kind is activations.TanhGELU else "none"})


def silu(w, step):
    return times_sigmoid(w, w.operand(step.inputs[0]))


def times_sigmoid(w, x):
    return w.node("Mul", [x, w.node("Sigmoid", [x])])


# ---------------------------------------------------------------- rules: shapes, reductions, indexing

REDUCE = {reduction.Sum: "ReduceSum", reduction.Mean: "ReduceMean", reduction.Max: "ReduceMax",
          reduction.LogSumExp: "ReduceLogSumExp"}


def reshape(w, step):
    sizes = list(step.attributes["shape"])
    if sum(isinstance(n, Times) for n in sizes) == 1 and -1 not in sizes:
        sizes = [-1 if isinstance(n, Times) else n for n in sizes]
    return w.node("Reshape", [w.operand(step.inputs[0]), w.integers(sizes)])


def transpose(w, step):
    return w.node("Transpose", [w.operand(step.inputs[0])], {"perm": list(step.attributes["axes"])})


def broadcast(w, step):
    return w.node("Expand", [w.operand(step.inputs[0]), w.integers(step.attributes["shape"])])


def concatenate(w, step):
    return w.node("Concat", [w.operand(x, step.dtype) for x in step.inputs], {"axis": step.attributes["axis"]})


def pad(w, step):
    before, after = zip(*step.attributes["widths"])
    value = w.operand(step.attributes["value"], step.dtype)
    return w.node("Pad", [w.operand(step.inputs[0]), w.integers(before + after), value])


def flip(w, step):
    axis, n = step.attributes["axes"], len(step.shape)
    axes = list(range(n)) if axis is None else [a % n for a in (axis if isinstance(axis, tuple) else (axis,))]
    return slices(w, w.operand(step.inputs[0]), {a: slice(None, None, -1) for a in axes})


def roll(w, step):
    axis, n, x = step.attributes["axis"], step.shape[step.attributes["axis"]], w.operand(step.inputs[0])
    start = -step.attributes["shift"] % n
    return w.node("Concat", [slices(w, x, {axis: slice(start, None)}), slices(w, x, {axis: slice(start)})], {"axis": axis})


def reduce(w, step):
    axis = step.attributes["axis"]
    axes = [] if axis is None else [w.integers(axis if isinstance(axis, tuple) else (axis,))]
    return w.node(REDUCE[step.kind], [w.operand(step.inputs[0]), *axes], {"keepdims": int(step.attributes["keepdims"])})


def cumsum(w, step):
    return w.node("CumSum", [w.operand(step.inputs[0]), w.constant(np.array(step.attributes["axis"], np.int64))])


def get_item(w, step):
    """Slices first, then integers and one array of places, last the new axes; axis counts those of what is left so far."""
    index, x = step.attributes["index"], w.operand(step.inputs[0])
    index = index if isinstance(index, tuple) else (index,)
    named = sum(part is not None and part is not Ellipsis for part in index)
    rest = [slice(None)] * (len(w.shape_of(step.inputs[0])) - named)
    at = next((i for i, part in enumerate(index) if part is Ellipsis), len(index))
    index = [*index[:at], *rest, *index[at + 1:]]
    parts = [part for part in index if part is not None]
    x = slices(w, x, {axis: part for axis, part in enumerate(parts) if isinstance(part, slice)})

    places = [part for part in parts if not isinstance(part, (slice, int))]
    new_axes = len(parts) < len(index)
    if len(places) > 1 or places and new_axes or any(backend.is_array(p) and p.dtype == bool for p in places):
        raise unsupported(step, f"got the index {text(tuple(index))}, expected slices, integers, at most one array of integers")
    axis, new = 0, []
    for part in index:
        if part is None:
            new.append(axis)
        elif not isinstance(part, slice):
            place = np.array(part) if isinstance(part, int) else part
            x = w.node("Gather", [x, w.operand(place)], {"axis": axis})
        axis += not isinstance(part, int)
    return w.node("Unsqueeze", [x, w.integers(new)]) if new else x


def slices(w, x, by_axis):
    """x[start:stop:step] along the axes of a dict."""
    parts = [(axis, s.start, s.stop, s.step or 1) for axis, s in by_axis.items() if s != slice(None)]
    if not parts:
        return x
    axes, starts, stops, steps = zip(*parts)
    starts = [(0 if step > 0 else _END) if start is None else start for start, step in zip(starts, steps)]
    stops = [(_END if step > 0 else -_END) if stop is None else stop for stop, step in zip(stops, steps)]
    return w.node("Slice", [x, w.integers(starts), w.integers(stops), w.integers(axes), w.integers(steps)])


def take_along_axis(w, step):
    index = w.operand(step.attributes["index"])
    return w.node("GatherElements", [w.operand(step.inputs[0]), index], {"axis": step.attributes["axis"]})


def embed(w, step):
    return w.node("Gather", [w.operand(step.inputs[0]), w.operand(step.attributes["ids"])], {"axis": 0})


# ---------------------------------------------------------------- rules: kernels

def conv(w, step):
    a = step.attributes
    attributes = {"strides": a["stride"], "pads": a["padding"] * 2, "dilations": a["dilation"], "group": a["groups"]}
    if step.kind is convolution.ConvTranspose2d:
        return w.node("ConvTranspose", map(w.operand, step.inputs), attributes | {"output_padding": a["output_padding"]})
    return w.node("Conv", map(w.operand, step.inputs), attributes)


def pool(w, step):
    windows = (step.attributes["rows"], step.attributes["columns"])[4 - len(step.shape):]
    before, after = zip(*(window.widths for window in windows))
    attributes = {"kernel_shape": [window.kernel for window in windows], "strides": [window.stride for window in windows],
                  "pads": before + after}
    if step.kind is pooling.MaxPool2d:
        return w.node("MaxPool", [w.operand(step.inputs[0])], attributes)
    lengths = step.attributes["lengths"][4 - len(step.shape):]
    whole = all(set(n) == {window.kernel} for n, window in zip(lengths, windows))
    if not whole and any(n != window.lengths(False) for n, window in zip(lengths, windows)):
        raise unsupported(step, "ONNX counts the padding that ceil_mode adds, this library does not")
    return w.node("AveragePool", [w.operand(step.inputs[0])], attributes | {"count_include_pad": int(whole)})


def layer_norm(w, step):
    last = len(w.shape_of(step.inputs[1]))
    return w.node("LayerNormalization", map(w.operand, step.inputs), {"axis": -last, "epsilon": step.attributes["eps"]})


def group_norm(w, step):
    attributes = {"num_groups": step.attributes["groups"], "epsilon": step.attributes["eps"]}
    y = w.node("GroupNormalization", map(w.operand, step.inputs), attributes)
    return times_sigmoid(w, y) if step.kind is GroupNormSiLU else y


def soft_max(w, step):
    op = "Softmax" if step.kind is softmax.Softmax else "LogSoftmax"
    return w.node(op, [w.operand(step.inputs[0])], {"axis": step.attributes["axis"]})


def upsample(w, step):
    scales = w.constant(np.array([1, 1, step.attributes["s"], step.attributes["t"]], np.float32))
    attributes = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
    return w.node("Resize", [w.operand(step.inputs[0]), None, scales], attributes)


def attend(w, step):
    """softmax(scale q k' + bias) v, as in the definition; a query that may look nowhere gets zeros."""
    a, (q, k, v, *bias) = step.attributes, step.inputs
    if a["groups"]:
        raise unsupported(step, "groups of query heads have no rule here")
    axes, T, S = list(range(len(w.shape_of(k)))), w.shape_of(q)[-2], w.shape_of(k)[-2]
    turned = w.node("Transpose", [w.operand(k)], {"perm": axes[:-2] + axes[:-3:-1]})
    scores = w.node("Mul", [w.node("MatMul", [w.operand(q), turned]), w.operand(a["scale"], step.dtype)])
    if bias:
        scores = w.node("Add", [scores, w.operand(bias[0], step.dtype)])

    allowed = [] if a["mask"] is None else [w.operand(a["mask"])]
    if a["causal"]:
        t, s = np.arange(T)[:, None], np.arange(S)
        allowed.append(w.constant((s <= t) & (s > t - (a["window"] or math.inf))))
    if not allowed:
        return w.node("MatMul", [w.node("Softmax", [scores], {"axis": -1}), w.operand(v)])
    allowed = w.node("And", allowed) if len(allowed) == 2 else allowed[0]
    lowest = w.operand(float(np.finfo(step.dtype).min) / 2, step.dtype)
    weights = w.node("Softmax", [w.node("Where", [allowed, scores, lowest])], {"axis": -1})
    return w.node("MatMul", [w.node("Where", [allowed, weights, w.operand(0, step.dtype)]), w.operand(v)])


# ONNX's order of the gates, in numbers of ours: LSTM i, o, f, g of i, f, g, o; GRU z, r, n of r, z, n.
GATES = {lstm.LSTM: ("LSTM", (0, 3, 1, 2), {}), gru.GRU: ("GRU", (1, 0, 2), {"linear_before_reset": 1}),
         recurrent.RNN: ("RNN", (0,), {})}


def recurrence(w, step):
    """Our answer is all states and below them the last ones: ONNX's Y (T, 1, N, D) above Y_h and Y_c (1, N, D)."""
    op, order, attributes = GATES[step.kind]
    cells = 1 if step.kind is lstm.LSTM else 0
    x, h, *rest = step.inputs
    states, (weight, weight_h, *biases) = [h, *rest[:cells]], (w.array(part, step) for part in rest[cells:])
    D = weight_h.shape[1]
    gates = np.concatenate([np.arange(D) + D * k for k in order])
    biases += [np.zeros_like(biases[0])] * (2 - len(biases))
    weights = [w.constant(part[gates][None]) for part in (weight, weight_h)]
    bias = w.constant(np.concatenate([b[gates] for b in biases])[None])
    starts = [w.node("Unsqueeze", [w.operand(s), w.integers([0])]) for s in states]

    T, last = w.shape_of(x)[0], step.attributes["last"]
    whole = isinstance(last, Repeated) and (last.row == T).all() or backend.is_array(last) and (last == T).all()
    lengths = None if whole else w.node("Cast", [w.operand(last)], {"to": w.onnx.TensorProto.INT32})
    inputs = [w.operand(x), *weights, bias, lengths, *starts]
    Y, *finals = w.node(op, inputs, attributes | {"hidden_size": D}, outputs=2 + cells)
    return w.node("Concat", [w.node("Squeeze", [Y, w.integers([1])]), *finals], {"axis": 0})


RULES = {
    **dict.fromkeys(UNARY, unary), **dict.fromkeys(BINARY, binary), **dict.fromkeys(REDUCE, reduce),
    **dict.fromkeys(GATES, recurrence), linalg.Linear: linear,
    e.Square: square, e.Power: power, e.Expm1: expm1, e.Log1p: log1p, e.LogAddExp: logaddexp, e.Clip: clip, e.Where: where,
    e.Cast: cast, shape.Reshape: reshape, shape.Transpose: transpose,
    shape.BroadcastTo: broadcast, shape.Concatenate: concatenate, shape.Pad: pad, shape.Flip: flip, shape.Roll: roll,
    reduction.CumulativeSum: cumsum, indexing.GetItem: get_item, indexing.TakeAlongAxis: take_along_axis,
    activations.GELU: gelu, activations.TanhGELU: gelu, activations.SiLU: silu, embedding.Embedding: embed,
    convolution.Conv2d: conv, convolution.ConvTranspose2d: conv, pooling.MaxPool2d: pool, pooling.AvgPool2d: pool,
    normalization.LayerNorm: layer_norm, GroupNorm: group_norm, GroupNormSiLU: group_norm, softmax.Softmax: soft_max,
    softmax.LogSoftmax: soft_max, interpolation.Nearest: upsample, attention.Attention: attend,
}
