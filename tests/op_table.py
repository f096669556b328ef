"""The table of operations: for every public function of `ops` and `functional` a row with an independent definition in NumPy
and the cases it is tried on. Every property in test_ops.py, and every device in test_cupy.py, runs over every row.

    row("tanh", np.tanh, unary())                               one more function is one more line
    row("log", np.log, unary(positive))                         its domain
    row("relu", lambda x: np.maximum(x, 0), unary(away=(0,)))   its kinks: nothing is drawn near them
    data("floor", np.floor, unary(away=(-1, 0, 1)))             its values are data, outside the graph

Function and oracle are called alike, function(*arrays, **options). They answer with an array or a tuple of arrays.
"""
import dataclasses
import math
from typing import Callable

import numpy as np
from hypothesis import strategies as st

import tinygrad_edu as tg
from tinygrad_edu import functional as F
from tinygrad_edu.ops.elementwise import array_of
from op_cases import (along, attentions, borders, broadcast, case, choices, classified, contractions, convolutions, cuts,
                      equal_shapes, folded, framed, images, indexed, integers, largest, larger_shapes, layers, an_axis, matrices,
                      neighbours, new_shapes, nonzero, of, places_along, pooled, positive, products, reductions, rounded,
                      sequences, shaped, shapes, shuffled, systems, thin, transposed_convolutions, unary, untied, windowed,
                      with_strange_values)


@dataclasses.dataclass(frozen=True)
class Row:
    """One way to call one public function.

    differentiable   False: the values are data, outside the graph
    narrows          True: its floats have another dtype than its operands
    syncs            True: on a device it has to look at values (the size of a mask, the range of ids)
    """
    name: str
    function: Callable
    oracle: Callable
    cases: st.SearchStrategy
    label: str = ""
    differentiable: bool = True
    narrows: bool = False
    syncs: bool = False

    def __str__(self):
        return self.name + (f", {self.label}" if self.label else "")


TABLE = []

def row(name, oracle, cases, function=None, **facts):
    """Add a row. `function`: how to call what the library calls `name`, if not directly."""
    TABLE.append(Row(name, function or getattr(tg, name, None) or getattr(F, name), oracle, cases, **facts))

def data(name, oracle, cases, function=None, **facts):
    """Add a row for a function without a gradient."""
    row(name, oracle, cases, function, differentiable=False, **facts)


# ---------------------------------------------------------------- elementwise

np_erf = np.vectorize(math.erf, otypes=[float])

row("add", np.add, broadcast())
row("subtract", np.subtract, broadcast())
row("multiply", np.multiply, broadcast())
row("divide", np.divide, broadcast((-2, 2), nonzero))
row("negative", np.negative, unary())
row("square", np.square, unary())
row("sqrt", np.sqrt, unary(positive))
row("power", np.power, broadcast(positive, (-2, 2)))
row("power", lambda x, b: x ** b, unary(positive, b=st.sampled_from([-2, -0.5, 0, 0.5, 1, 2, 3, 4.5])), label="number")
row("power", lambda x, b: x ** b, unary(b=st.sampled_from([0, 1, 2, 3])), label="of negatives")
row("power", lambda x, a: a ** x, unary(a=st.sampled_from([0.5, 2, 3])), lambda x, a: tg.power(a, x), label="of a number")
row("exp", np.exp, unary())
row("expm1", np.expm1, unary())
row("log", np.log, unary(positive))
row("log1p", np.log1p, unary((-0.6, 3)))
row("logaddexp", np.logaddexp, broadcast())
row("sin", np.sin, unary())
row("cos", np.cos, unary())
row("arctan", np.arctan, unary())
row("tanh", np.tanh, unary())
row("sigmoid", lambda x: 1 / (1 + np.exp(-x)), unary((-5, 5)))
row("erf", np_erf, unary((-5, 5)))
row("absolute", np.abs, unary(away=(0,)))
row("relu", lambda x: np.maximum(x, 0), unary(away=(0,)))
row("clip", lambda x, low, high: np.clip(x, low, high), unary(away=(-1, 0.5), low=st.sampled_from([-1, None]), high=0.5))
row("maximum", np.maximum, untied())
row("minimum", np.minimum, untied())
row("where", lambda a, b, condition: np.where(condition, a, b), choices(), lambda a, b, condition: tg.where(condition, a, b))
row("cast", lambda x, dtype: x.astype(dtype), unary(dtype="float64"), narrows=True)
data("cast", lambda x, dtype: x.astype(dtype), unary(dtype="int64"), label="to integers")

for name, oracle in (("sign", np.sign), ("floor", np.floor), ("round", np.rint)):
    data(name, oracle, unary(away=(-1.5, -1, -0.5, 0, 0.5, 1, 1.5)))
for name, oracle in (("isfinite", np.isfinite), ("isnan", np.isnan)):
    data(name, oracle, with_strange_values())
for name in ("equal", "not_equal", "less", "less_equal", "greater", "greater_equal"):
    data(name, getattr(np, name), rounded(broadcast()))


# ---------------------------------------------------------------- reductions

def np_softmax(x, axis=-1):
    return np.exp(x) / np.exp(x).sum(axis=axis, keepdims=True)

row("sum", np.sum, along())
row("mean", np.mean, along(least=1))
row("var", np.var, along(least=2, ddof=st.sampled_from([0, 1])))
row("std", np.std, along(least=2, ddof=st.sampled_from([0, 1]), distinct=True))
row("max", np.max, along(least=1, distinct=True))
row("min", np.min, along(least=1, distinct=True))
row("prod", np.prod, along())
row("cumsum", np.cumsum, along(single=True, keepdims=False))
row("cumprod", np.cumprod, along(single=True, keepdims=False))
row("logsumexp", lambda x, **options: np.log(np.exp(x).sum(**options)), along(least=1))
row("softmax", np_softmax, along(least=1, single=True, keepdims=False))
row("log_softmax", lambda x, axis: np.log(np_softmax(x, axis)), along(least=1, single=True, keepdims=False))
for name in ("argmax", "argmin"):
    data(name, getattr(np, name), along(least=1, single=True))
    data(name, getattr(np, name), shaped(empty=False), label="of all")
for name in ("any", "all"):
    data(name, lambda x, np_function=getattr(np, name), **options: np_function(x > 0, **options), along(),
         lambda x, tg_function=getattr(tg, name), **options: tg_function(x > 0, **options))


# ---------------------------------------------------------------- shapes

def np_split(x, sections, axis):
    return tuple(np.split(x, sections if isinstance(sections, int) else np.cumsum(sections)[:-1], axis))

def np_pad(x, widths, mode, value):
    name = {"constant": "constant", "reflect": "reflect", "replicate": "edge", "circular": "wrap"}[mode]
    return np.pad(x, widths, name, **({"constant_values": value} if mode == "constant" else {})) if x.ndim else x

def np_flatten(x, start_axis):
    return x.reshape(x.shape[:start_axis] + (math.prod(x.shape[start_axis:]),))

row("reshape", np.reshape, shaped(new_shapes), lambda x, shape: tg.reshape(x, shape))
row("transpose", np.transpose, unary())
row("transpose", np.transpose, shaped(lambda s: dict(axes=st.permutations(range(-len(s), 0))), min_axes=1),
    lambda x, axes: tg.transpose(x, axes), label="axes")
row("swapaxes", lambda x, a, b: np.swapaxes(x, a, b), shaped(lambda s: dict(a=an_axis(s), b=an_axis(s)), min_axes=1))
row("moveaxis", np.moveaxis, shaped(lambda s: dict(source=an_axis(s), destination=an_axis(s)), min_axes=1))
row("expand_dims", np.expand_dims, shaped(lambda s: dict(axis=st.integers(-len(s) - 1, len(s)))))
row("squeeze", np.squeeze, unary())
row("squeeze", np.squeeze, thin(), label="axis")
row("flatten", np_flatten, shaped(lambda s: dict(start_axis=st.integers(0, len(s)))))
row("broadcast_to", np.broadcast_to, shaped(larger_shapes))
row("concatenate", lambda *xs, axis: np.concatenate(xs, axis), neighbours(), lambda *xs, axis: tg.concatenate(xs, axis))
row("stack", lambda *xs, axis: np.stack(xs, axis), layers(), lambda *xs, axis: tg.stack(xs, axis))
row("split", np_split, cuts(), lambda x, **options: tuple(tg.split(x, **options)))
row("pad", np_pad, borders())
row("flip", np.flip, along(keepdims=False))
row("roll", np.roll, shaped(lambda s: dict(shift=st.integers(-5, 5), axis=an_axis(s)), min_axes=1))
row("repeat", lambda x, times, axis: np.repeat(x, times, axis),
    shaped(lambda s: dict(times=st.integers(0, 3), axis=an_axis(s)), min_axes=1))
row("tile", lambda x, times, axis: np.concatenate([x] * times, axis),
    shaped(lambda s: dict(times=st.integers(1, 3), axis=an_axis(s)), min_axes=1))


# ---------------------------------------------------------------- indexing

def np_set_item(x, value, index):
    y = x.copy()
    y[index] = value
    return y

def np_scatter_add(x, values, index):
    y = x.copy()
    np.add.at(y, index, values)
    return y

def np_topk(x, k, axis):
    places = np.flip(np.argsort(x, axis), axis).take(range(k), axis)
    return np.take_along_axis(x, places, axis), places

row("get_item", lambda x, index: x[index], indexed(), syncs=True)
row("set_item", np_set_item, indexed("broadcast"), lambda x, value, index: tg.set_item(x, index, value), syncs=True)
row("scatter_add", np_scatter_add, indexed("fit"), lambda x, values, index: tg.scatter_add(x, index, values), syncs=True)
for name in ("take_along_axis", "gather"):
    row(name, lambda x, index, axis: np.take_along_axis(x, index, axis), places_along())
row("tril", np.tril, shaped(lambda s: dict(k=st.integers(-2, 2)), min_axes=2))
row("triu", np.triu, shaped(lambda s: dict(k=st.integers(-2, 2)), min_axes=2))
row("diagonal", lambda x: np.diagonal(x, axis1=-2, axis2=-1), shaped(min_axes=2))
row("sort", np.sort, along(single=True, keepdims=False, distinct=True))
row("topk", np_topk, largest())
data("argsort", np.argsort, along(single=True, keepdims=False, distinct=True))
data("one_hot", lambda ids, classes: np.eye(classes, dtype="float32")[ids], case(integers(0, 4), classes=4), syncs=True)


# ---------------------------------------------------------------- linear algebra, windows

def symmetric(x):
    return x + x.swapaxes(-1, -2)

def rebuilt_svd(a):
    """The product of the factors and the singular values: what does not depend on the choice of signs."""
    u, s, vt = tg.svd(a)
    return (u * s[..., None, :]) @ vt, s

def rebuilt_eigh(a):
    w, v = tg.eigh(symmetric(a))
    return (v * w[..., None, :]) @ v.swapaxes(-1, -2), w

def rebuilt_qr(a):
    q, r = tg.qr(a)
    return q @ r, tg.tril(r, -1)

def np_unfold(x, kernel, stride, dilation):
    d, lead = len(kernel), x.shape[:-len(kernel)]
    out = [(n - r * (k - 1) - 1) // s + 1 for n, k, s, r in zip(x.shape[-d:], kernel, stride, dilation)]
    y = np.zeros(lead + tuple(kernel) + tuple(out))
    for k in np.ndindex(*kernel):
        for o in np.ndindex(*out):
            y[(...,) + k + o] = x[(...,) + tuple(np.multiply(o, stride) + np.multiply(k, dilation))]
    return y

def np_fold(x, size, kernel, stride, dilation):
    d = len(kernel)
    y = np.zeros(x.shape[:-2 * d] + tuple(size))
    for place in np.ndindex(*x.shape[-2 * d:]):
        k, o = place[:d], place[d:]
        y[(...,) + tuple(np.multiply(o, stride) + np.multiply(k, dilation))] += x[(...,) + place]
    return y

row("matmul", np.matmul, products())
row("outer", np.outer, st.tuples(st.integers(0, 3), st.integers(0, 3)).flatmap(lambda s: case(of(s[:1]), of(s[1:]))))
row("trace", lambda a: np.trace(a, axis1=-2, axis2=-1), shaped(min_axes=2))
row("einsum", lambda *xs, subscripts: np.einsum(subscripts, *xs), contractions(),
    lambda *xs, subscripts: tg.einsum(subscripts, *xs))
row("inverse", np.linalg.inv, matrices())
row("slogdet", np.linalg.slogdet, matrices())
row("cholesky", lambda a: np.linalg.cholesky(a @ a.swapaxes(-1, -2)), matrices(),
    lambda a: tg.cholesky(a @ a.swapaxes(-1, -2)))
row("solve", np.linalg.solve, systems())
row("solve_triangular", lambda a, b, lower: np.linalg.solve(np.tril(a) if lower else np.triu(a), b),
    systems(lower=st.booleans()))
data("svd", lambda a: (a, np.linalg.svd(a, compute_uv=False)), shaped(min_axes=2, empty=False), rebuilt_svd)
data("eigh", lambda a: (symmetric(a), np.linalg.eigvalsh(symmetric(a))), matrices(), rebuilt_eigh)
data("qr", lambda a: (a, 0 * a[..., : a.shape[-1], :]), shaped(min_axes=2, empty=False), rebuilt_qr)
row("unfold", np_unfold, windowed())
row("fold", np_fold, folded())


# ---------------------------------------------------------------- functional: activations and losses

def np_reduce(losses, reduction):
    return losses if reduction == "none" else getattr(np, reduction)(losses)

def np_nll(x, targets, reduction):
    picked = np.take_along_axis(x, np.expand_dims(targets, 1), 1).squeeze(1)
    return np_reduce(-picked, reduction)

def np_sigmoid(x):
    return 1 / (1 + np.exp(-x))

def np_weighted_cross_entropy(x, targets, reduction):
    """Of smoothed targets, class k weighing k + 1: none of them is ignored."""
    weight = np.arange(1, x.shape[1] + 1)
    q = 0.7 * np.eye(x.shape[1])[targets] + 0.3 / x.shape[1]
    losses = -(weight * q * np.log(np_softmax(x, 1))).sum(1)
    return losses.sum() / weight[targets].sum() if reduction == "mean" else np_reduce(losses, reduction)

def np_dropout(x, p):
    return np.where(np.random.default_rng(0).random(x.shape, "float32") >= p, x / (1 - p), 0)

def seeded_dropout(x, p):
    tg.manual_seed(0)
    return F.dropout(x, p)

def np_dropout_channels(x, p):
    kept = np.random.default_rng(0).random(x.shape[:2], "float32") >= p
    return np.where(kept.reshape(kept.shape + (1,) * (x.ndim - 2)), x / (1 - p), 0)

def np_alpha_dropout(x, p, low=-1.7580993408473766):
    """Dropped to `low`, then standardized again, for x from N(0, 1)."""
    dropped = np.where(np.random.default_rng(0).random(x.shape, "float32") >= p, x, low)
    return (dropped - p * low) / np.sqrt((1 - p) * (1 + p * low ** 2))

def seeded(name):
    def function(x, p):
        tg.manual_seed(0)
        return getattr(F, name)(x, p)
    return function

row("leaky_relu", lambda x, negative_slope: np.where(x > 0, x, negative_slope * x), unary(away=(0,), negative_slope=0.2))
row("elu", lambda x, alpha: np.where(x > 0, x, alpha * np.expm1(x)), unary(away=(0,), alpha=1.5))
row("selu", lambda x: 1.0507009873554805 * np.where(x > 0, x, 1.6732632423543772 * np.expm1(x)), unary(away=(0,)))
row("prelu", lambda x, w: np.where(x > 0, x, (w[:, None] if x.ndim == 3 else w) * x),
    st.integers(1, 3).flatmap(lambda n: case(of((2, 3, 2)[:n], away_from=(0,)), of((3,) if n > 1 else (1,)))))
row("softplus", lambda x: np.log1p(np.exp(x)), unary())
row("softplus", lambda x, beta, threshold: np.where(beta * x > threshold, x, np.log1p(np.exp(beta * x)) / beta),
    unary(away=(0.6, 0.75), beta=st.sampled_from([0.8, 1]), threshold=0.6), label="beta, threshold")
row("logsigmoid", lambda x: -np.log1p(np.exp(-x)), unary())
row("mish", lambda x: x * np.tanh(np.log1p(np.exp(x))), unary())
row("swish", lambda x, beta: x / (1 + np.exp(-beta * x)), broadcast(), label="beta with a gradient")
row("swish", lambda x, beta: x / (1 + np.exp(-beta * x)), unary(beta=st.sampled_from([0.5, 1, 3])))
row("softsign", lambda x: x / (1 + abs(x)), unary(away=(0,)))
row("relu6", lambda x: np.clip(x, 0, 6), unary((-3, 9), away=(0, 6)))
row("hardtanh", lambda x, min_val, max_val: np.clip(x, min_val, max_val), unary(away=(-1, 0.5), min_val=-1, max_val=0.5))
row("hardsigmoid", lambda x: np.clip(x / 6 + 0.5, 0, 1), unary((-5, 5), away=(-3, 3)))
row("hardswish", lambda x: x * np.clip(x / 6 + 0.5, 0, 1), unary((-5, 5), away=(-3, 3)))
row("glu", lambda x: x[..., :2] / (1 + np.exp(-x[..., 2:])), st.integers(0, 2).flatmap(lambda n: case(of((3, 2)[:n] + (4,)))))
row("silu", lambda x: x / (1 + np.exp(-x)), unary())
row("gelu", lambda x: x * (1 + np_erf(x / math.sqrt(2))) / 2, unary())
row("gelu", lambda x, approximate: x / 2 * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x ** 3))),
    unary(approximate="tanh"), label="tanh")
row("dropout", np_dropout, unary(p=0.5), seeded_dropout)
for d in (1, 2):
    row(f"dropout{d}d", np_dropout_channels, shaped(lambda s: dict(p=0.4), d + 2, d + 2), seeded(f"dropout{d}d"))
row("alpha_dropout", np_alpha_dropout, unary(p=0.2), seeded("alpha_dropout"))
row("normalize", lambda x, axis: x / np.sqrt((x * x).sum(axis, keepdims=True)),
    along(least=2, single=True, domain=positive, keepdims=False))
row("reduce", np_reduce, shaped(empty=False, options=lambda s: dict(reduction=reductions)))
row("mse_loss", lambda x, t, reduction: np_reduce((x - t) ** 2, reduction), equal_shapes(reduction=reductions))
row("l1_loss", lambda x, t: np.mean(abs(x - t)), untied(equal=True))
row("binary_cross_entropy_with_logits", lambda x, t, reduction: np_reduce(np.log1p(np.exp(x)) - x * t, reduction),
    equal_shapes(reduction=reductions))
row("binary_cross_entropy_with_logits", lambda x, t: np.mean(-3 * t * np.log(np_sigmoid(x)) - (1 - t) * np.log(np_sigmoid(-x))),
    equal_shapes(), lambda x, t: F.binary_cross_entropy_with_logits(x, t, pos_weight=3.0), label="pos_weight")
row("nll_loss", np_nll, classified(positions=True), lambda x, targets, reduction: F.nll_loss(x, targets, reduction=reduction))
row("cross_entropy", lambda x, **options: np_nll(np.log(np_softmax(x, 1)), **options), classified(positions=True),
    lambda x, targets, reduction: F.cross_entropy(x, targets, reduction=reduction))
row("cross_entropy", np_weighted_cross_entropy, classified(),
    lambda x, targets, reduction: F.cross_entropy(x, targets, reduction=reduction, label_smoothing=0.3, ignore_index=7,
                                                  weight=tg.arange(1, x.shape[1] + 1, dtype=x.dtype)),
    label="with every option")
row("cross_entropy", lambda x, q: -(q * np.log(np_softmax(x, 1))).sum(1).mean(),
    case(of((3, 4)), of((3, 4), positive)), lambda x, q: F.cross_entropy(x, q), label="of probabilities")


# ---------------------------------------------------------------- functional: layers

def np_convolution(x, weight, bias=None, stride=1, padding=0, dilation=1, groups=1):
    """For every group, an einsum over the windows."""
    d = x.ndim - 2
    stride, padding, dilation = (np.broadcast_to(v, d) for v in (stride, padding, dilation))
    x = np.pad(x, [(0, 0), (0, 0), *((p, p) for p in padding)])
    pieces = [np.einsum("nc" + "klm"[:d] + "xyz"[:d] + ",oc" + "klm"[:d] + "->no" + "xyz"[:d],
                        np_unfold(part, weight.shape[2:], stride, dilation), w)
              for part, w in zip(np.split(x, groups, 1), np.split(weight, groups, 0))]
    return np.concatenate(pieces, 1) + (0 if bias is None else bias.reshape((-1,) + (1,) * d))

def np_shuffle(x, r):
    """Channel (c, i, j) is every r-th pixel of channel c, from (i, j) on."""
    N, C, H, W = x.shape
    y = np.zeros((N, C // (r * r), H * r, W * r))
    for c, i, j in np.ndindex(C // (r * r), r, r):
        y[:, c, i::r, j::r] = x[:, (c * r + i) * r + j]
    return y

def np_conv_transpose(x, weight, bias=None, stride=1, padding=0, output_padding=0, groups=1, dilation=1):
    """Every pixel stamps its kernel on the output: the loop over the pixels, nothing cleverer."""
    d = x.ndim - 2
    stride, padding, extra, dilation = (np.broadcast_to(v, d) for v in (stride, padding, output_padding, dilation))
    kernel, (N, C), O = weight.shape[2:], x.shape[:2], weight.shape[1] * groups
    full = [(n - 1) * s + r * (k - 1) + 1 + e for n, s, r, k, e in zip(x.shape[2:], stride, dilation, kernel, extra)]
    y = np.zeros((N, O, *full))
    for place in np.ndindex(x.shape[2:]):
        stamp = tuple(slice(i * s, i * s + r * (k - 1) + 1, r) for i, s, r, k in zip(place, stride, dilation, kernel))
        pieces = [np.tensordot(part[(..., *place)], w, 1)
                  for part, w in zip(np.split(x, groups, 1), np.split(weight, groups, 0))]
        y[(slice(None), slice(None), *stamp)] += np.concatenate(pieces, 1)
    y = y[(slice(None), slice(None), *(slice(p, n - p) for p, n in zip(padding, full)))]
    return y + (0 if bias is None else bias.reshape((-1,) + (1,) * d))

def np_windows(x, kernel_size, stride):
    kernel = np.broadcast_to(kernel_size, 2)
    return np_unfold(x, tuple(kernel), np.broadcast_to(kernel if stride is None else stride, 2), (1, 1))

def np_standardize(x, axes):
    return (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)

def np_group_norm(x, weight, bias, groups):
    y = np_standardize(x.reshape(len(x), groups, -1), 2).reshape(x.shape)
    return y * weight[:, None, None] + bias[:, None, None]

def np_group_norm_silu(x, weight, bias, groups):
    u = np_group_norm(x, weight, bias, groups)
    return u / (1 + np.exp(-u))

def np_attention(query, key, value, bias=0.0, mask=True, causal=False):
    scores = query @ key.swapaxes(-1, -2) / math.sqrt(query.shape[-1]) + bias
    allowed = np.broadcast_to(np.tril(np.ones(scores.shape[-2:], bool)) if causal else mask, scores.shape)
    weights = np.where(allowed, np.exp(scores), 0)
    total = weights.sum(-1, keepdims=True)
    return weights / np.where(total > 0, total, 1) @ value

def np_lstm(x, h, c, weight_ih, weight_hh, bias):
    states = []
    for xt in x:
        i, f, g, o = np.split(xt @ weight_ih.T + h @ weight_hh.T + bias, 4, axis=1)
        i, f, o = (1 / (1 + np.exp(-a)) for a in (i, f, o))
        c = f * c + i * np.tanh(g)
        h = o * np.tanh(c)
        states.append(h)
    return np.stack(states), h, c

row("linear", lambda x, weight, bias: x @ weight.T + bias,
    st.integers(0, 2).flatmap(lambda n: case(of((2,) * n + (3,)), of((4, 3)), of((4,)))))
row("bilinear", lambda x, z, weight, bias: np.einsum("...i,oij,...j->...o", x, weight, z) + bias,
    st.integers(0, 2).flatmap(lambda n: case(of((2,) * n + (3,)), of((2,) * n + (2,)), of((4, 3, 2)), of((4,)))))
row("pad", lambda x, pad, mode, value: np_pad(x, list(zip(pad[::2], pad[1::2]))[::-1], mode, value), framed(), F.pad,
    label="in PyTorch's order")
row("pixel_shuffle", lambda x, r: np_shuffle(x, r), shuffled(), lambda x, r: F.pixel_shuffle(x, r))
row("pixel_unshuffle", lambda x, r: np.concatenate([x[:, c:c + 1, i::r, j::r] for c in range(x.shape[1]) for i in range(r)
                                                    for j in range(r)], 1), shuffled(back=True),
    lambda x, r: F.pixel_unshuffle(x, r))
row("linear", lambda x, weight: x @ weight.T, st.integers(0, 2).flatmap(lambda n: case(of((0,) * n + (3,)), of((4, 3)))),
    label="without a bias, and empty")
row("conv1d", np_convolution, convolutions(1))
row("conv2d", np_convolution, convolutions(2))
row("conv_transpose1d", np_conv_transpose, transposed_convolutions(1))
row("conv_transpose2d", np_conv_transpose, transposed_convolutions(2))
row("max_pool2d", lambda x, **options: np_windows(x, **options).max((2, 3)), pooled())
row("avg_pool2d", lambda x, **options: np_windows(x, **options).mean((2, 3)), pooled())
row("layer_norm", lambda x, weight, bias: np_standardize(x, -1) * weight + bias,
    st.integers(0, 2).flatmap(lambda n: case(of((2,) * n + (4,)), of((4,)), of((4,)))),
    lambda x, weight, bias: F.layer_norm(x, 4, weight, bias))
row("rms_norm", lambda x, weight: x / np.sqrt((x * x).mean(-1, keepdims=True) + 1e-5) * weight,
    st.integers(0, 2).flatmap(lambda n: case(of((2,) * n + (4,)), of((4,)))),
    lambda x, weight: F.rms_norm(x, 4, weight, 1e-5))
row("group_norm", np_group_norm, images(groups=st.sampled_from([1, 2, 4])),
    lambda x, weight, bias, groups: F.group_norm(x, groups, weight, bias))
row("group_norm_silu", np_group_norm_silu, images(groups=st.sampled_from([1, 2, 4])),
    lambda x, weight, bias, groups: F.group_norm_silu(x, groups, weight, bias))
row("instance_norm", lambda x, weight, bias: np_group_norm(x, weight, bias, 4), images())
row("batch_norm", lambda x, weight, bias: np_standardize(x, (0, 2, 3)) * weight[:, None, None] + bias[:, None, None],
    images())
row("batch_norm", lambda x, weight, bias: (x - 0.5) / 1.5 * weight[:, None, None] + bias[:, None, None], images(),
    lambda x, weight, bias: F.batch_norm(x, weight, bias, *(0 * array_of(bias) + v for v in (0.5, 2.25)), eps=0.0),
    label="given statistics")
row("scaled_dot_product_attention", np_attention, attentions())
row("lstm", np_lstm, sequences())


# ---------------------------------------------------------------- attention of grouped queries, with a bias, in a window

def np_grouped_attention(query, key, value, bias, window, scale):
    key, value = (np.repeat(x, len(query) // len(x), 0) for x in (key, value))
    t, s = np.ogrid[: query.shape[1], : key.shape[1]]
    return np_attention(query * scale * math.sqrt(query.shape[2]), key, value, bias, (s <= t) & (s > t - window))

row("scaled_dot_product_attention", np_grouped_attention,
    st.tuples(*[st.integers(1, 2)] * 2, *[st.integers(1, 3)] * 3).flatmap(
        lambda n: case(of((n[0] * n[1], n[2], n[4])), of((n[0], n[3], n[4])), of((n[0], n[3], 2)), of((n[0] * n[1], 1, n[3])),
                       window=st.integers(1, 3), scale=st.sampled_from((0.4, 1.0)))),
    lambda query, key, value, bias, **options: F.scaled_dot_product_attention(query, key, value, bias=bias, **options),
    label="grouped, in a window")


# ---------------------------------------------------------------- recurrent layers, and sequences of several lengths

def np_rnn(x, h, weight_ih, weight_hh, bias):
    states = []
    for xt in x:
        h = np.tanh(xt @ weight_ih.T + h @ weight_hh.T + bias)
        states.append(h)
    return np.stack(states), h

def np_gru(x, h, weight_ih, weight_hh, bias_ih, bias_hh):
    states = []
    for xt in x:
        (r, z, n), (hr, hz, hn) = np.split(xt @ weight_ih.T + bias_ih, 3, 1), np.split(h @ weight_hh.T + bias_hh, 3, 1)
        r, z = (1 / (1 + np.exp(-a)) for a in (r + hr, z + hz))
        h = (1 - z) * np.tanh(n + r * hn) + z * h
        states.append(h)
    return np.stack(states), h

def recurrent(gates, biases):
    """x (T, N, I), h (N, D), weight_ih (G D, I), weight_hh (G D, D), biases (G D,)."""
    def inputs(sizes):
        t, n, i, d = sizes
        shapes = [(t, n, i), (n, d), (gates * d, i), (gates * d, d)] + [(gates * d,)] * biases
        return case(*[of(shape, (-1, 1)) for shape in shapes])
    return st.tuples(*[st.integers(1, 3)] * 4).flatmap(inputs)

row("rnn", np_rnn, recurrent(1, 1))
row("gru", np_gru, recurrent(3, 2))

def np_lstm_of_lengths(*inputs, lengths):
    """Each sequence alone, cut to its length; zeros after it."""
    x, h, c, *weights = inputs
    outputs, h, c = np.zeros(x.shape[:2] + h.shape[1:]), h.copy(), c.copy()
    for n, length in enumerate(lengths):
        one = slice(n, n + 1)
        if length:
            outputs[:length, one], h[one], c[one] = np_lstm(x[:length, one], h[one], c[one], *weights)
    return outputs, h, c

row("lstm", np_lstm_of_lengths,
    st.tuples(*[st.integers(1, 3)] * 4).flatmap(
        lambda s: case(*[of(shape, (-1, 1)) for shape in ((*s[:2], s[2]), (s[1], s[3]), (s[1], s[3]), (4 * s[3], s[2]),
                                                          (4 * s[3], s[3]), (4 * s[3],))],
                       lengths=integers(0, s[0] + 1, (s[1],)))), label="of several lengths")


# ---------------------------------------------------------------- pooling in one dimension, bins, other grids

def np_line_windows(x, kernel_size, stride):
    return np_windows(x[:, :, None], (1, kernel_size), (1, stride or kernel_size))

def np_bins(x, output_size, function):
    """One axis after the other; for means and maxima that is the same as all at once."""
    for axis, n in zip(range(2, x.ndim), np.broadcast_to(output_size, x.ndim - 2)):
        size = x.shape[axis]
        bins = [x.take(range(i * size // n, -(-(i + 1) * size // n)), axis) for i in range(n)]
        x = np.stack([function(b, axis=axis) for b in bins], axis)
    return x

def np_interpolate(x, size, mode="nearest", align_corners=False):
    """np.interp along each axis."""
    for axis, new in zip(range(2, x.ndim), np.broadcast_to(size, x.ndim - 2)):
        n = x.shape[axis]
        if mode == "nearest":
            x = x.take(np.arange(new) * n // new, axis)
        else:
            places = np.linspace(0, n - 1, new) if align_corners else (np.arange(new) + 0.5) * n / new - 0.5
            x = np.apply_along_axis(lambda line: np.interp(places, np.arange(n), line), axis, x)
    return x

def np_bilinear(image, v, u):
    """One image (H, W) at the point (v, u), by the rules of RoIAlign."""
    H, W = image.shape
    if not (-1 <= v <= H and -1 <= u <= W):
        return 0.0
    v, u = min(max(v, 0), H - 1), min(max(u, 0), W - 1)
    i, j = min(int(v), max(H - 2, 0)), min(int(u), max(W - 2, 0))
    below, right = min(i + 1, H - 1), min(j + 1, W - 1)
    f, g = v - i, u - j
    return ((1 - f) * ((1 - g) * image[i, j] + g * image[i, right])
            + f * ((1 - g) * image[below, j] + g * image[below, right]))

def np_roi_align(x, boxes, output_size, spatial_scale=1.0, sampling_ratio=2, aligned=True):
    """Point by point."""
    (PH, PW), S = np.broadcast_to(output_size, 2), sampling_ratio
    y = np.zeros((len(boxes), x.shape[1], PH, PW))
    for k, (n, *corners) in enumerate(boxes):
        left, top, right, bottom = np.array(corners) * spatial_scale - (0.5 if aligned else 0)
        width, height = (max(length, 0 if aligned else 1) for length in (right - left, bottom - top))
        for c, i, j in np.ndindex(x.shape[1], PH, PW):
            y[k, c, i, j] = np.mean([np_bilinear(x[int(n), c], top + (i + (p + 0.5) / S) * height / PH,
                                                 left + (j + (q + 0.5) / S) * width / PW)
                                     for p, q in np.ndindex(S, S)])
    return y

def np_rotary(x, offset, base, interleaved):
    """As products with complex numbers."""
    E = x.shape[-1]
    a, b = (x[..., 0::2], x[..., 1::2]) if interleaved else (x[..., : E // 2], x[..., E // 2 :])
    z = (a + 1j * b) * np.exp(1j * np.outer(np.arange(x.shape[-2]) + offset, base ** (-np.arange(0, E, 2) / E)))
    return (np.stack((z.real, z.imag), -1).reshape(x.shape) if interleaved else np.concatenate((z.real, z.imag), -1))

def maps(d, **options):
    """(N, C, *size) without ties, and options."""
    return st.tuples(*[st.integers(1, 2)] * 2, *[st.integers(3, 5)] * d).flatmap(
        lambda s: case(of(s, distinct=True), **options))

for name, function in (("max", np.max), ("avg", np.mean)):
    row(f"{name}_pool1d", lambda x, function=function, **options: function(np_line_windows(x, **options), (2, 3)).squeeze(2),
        maps(1, kernel_size=st.integers(1, 3), stride=st.sampled_from([None, 1, 2])))
    for d in (1, 2):
        row(f"adaptive_{name}_pool{d}d", lambda x, output_size, function=function: np_bins(x, output_size, function),
            maps(d, output_size=st.integers(1, 5)))
row("upsample_nearest2d", lambda x, scale: np.kron(x, np.ones((1, 1, scale, scale))),
    shaped(lambda s: dict(scale=st.integers(1, 3)), min_axes=4, max_axes=4, empty=False))
row("interpolate", np_interpolate, maps(1, size=st.integers(1, 7)), label="nearest")
row("interpolate", np_interpolate, maps(1, size=st.integers(1, 7), mode="linear", align_corners=st.booleans()), label="linear")
row("interpolate", np_interpolate, maps(2, size=st.tuples(st.integers(1, 7), st.integers(1, 7)), mode="bilinear",
                                        align_corners=st.booleans()), label="bilinear")
boxes = st.tuples(integers(0, 2, (3, 1)), of((3, 2)), of((3, 2), (2.5, 5))).map(np.hstack)
row("roi_align", np_roi_align,
    case(of((2, 1, 4, 3)), boxes=boxes, output_size=st.sampled_from([1, (2, 3)]), spatial_scale=st.sampled_from([1.0, 0.7]),
         sampling_ratio=st.integers(1, 2), aligned=st.booleans()))
row("embedding", lambda weight, ids: weight[ids], case(of((4, 3)), ids=integers(0, 4).map(np.asarray)),
    lambda weight, ids: tg.embedding(ids, weight))
row("rotary_embedding", np_rotary, shapes(0, 2).flatmap(
    lambda s: case(of(s + (3, 4)), offset=st.integers(0, 5), base=st.sampled_from([10.0, 10000.0]), interleaved=st.booleans())))
data("alibi_bias", lambda query, key: -np.array([1 / 16, 1 / 256])[:, None, None]
     * abs(np.arange(len(key[0]))[-query.shape[1]:, None] - np.arange(len(key[0]))),
     st.integers(1, 3).flatmap(lambda t: case(of((2, t, 4)), of((2, 3, 4)))))


import op_table_losses  # noqa: E402,F401  the rows of the losses, in a file of their own
