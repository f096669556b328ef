"""A table of a model: every layer, what comes out of it, how many numbers it learns, how many operations it takes."""
import math

from ..autograd import no_grad
from ..creation import zeros
from ..tensor import Tensor
from .attention import MultiheadAttention
from .convolution import Conv1d, Conv2d, ConvTranspose1d, ConvTranspose2d
from .linear import Linear
from .recurrent import Recurrent


def summary(model, *inputs):
    """Run `model` once on `inputs`, shapes or Tensors, and print one line for each module, its own parameters beside it.

    Returns the text. FLOPs: a multiplication counts 1 and an addition counts 1, so a sum of n products (with bias) counts 2 n. Counted are
    linear, convolution, attention and recurrent layers, which is nearly all; the rest has "-". A product that a model
    makes itself, outside a layer, is not seen.
    """
    inputs = [x if isinstance(x, Tensor) else zeros(*x) for x in inputs]
    rows, handles, was_training = [], [], [(module, module.training) for module in model.modules()]

    def note(name):
        return lambda module, arguments, output: rows.append((name, shape_of(output), flops(module, arguments, output)))

    try:
        handles += [module.register_forward_hook(note(name)) for name, module in model.named_modules()]
        with no_grad():
            model.eval()(*inputs)
    finally:
        for handle in handles:
            handle.remove()
        for module, training in was_training:
            module.training = training

    text = _table(model, rows)
    print(text)
    return text


def flops(module, inputs, output):
    """How many multiplications and additions this layer has made of `inputs`; 0 for kinds that are not counted."""
    if isinstance(module, (Linear, Conv1d, Conv2d)):
        return 2 * output.size * math.prod(module.weight.shape[1:])             # in, or C / groups times the kernel
    if isinstance(module, (ConvTranspose1d, ConvTranspose2d)):
        return 2 * inputs[0].size * math.prod(module.weight.shape[1:])          # each input stamps O / groups kernels
    if isinstance(module, MultiheadAttention):
        return _attention_flops(module, *inputs)
    if isinstance(module, Recurrent):
        x = inputs[0]                                                           # (T, N, I) or (N, T, I)
        weights = [p for name, p in module.named_parameters() if name.startswith("weight")]
        return 2 * x.shape[0] * x.shape[1] * sum(p.size for p in weights)
    return 0


def _attention_flops(module, query, key=None, *rest):
    """Three projections, all scores, all weighted sums. The projection on the way out is a layer of its own."""
    key = query if key is None else key
    time = 1 if module.batch_first else 0
    N, T, S, E = query.shape[1 - time], query.shape[time], key.shape[time], query.shape[2]
    return 2 * N * (T * E * E + 2 * S * E * E + 2 * T * S * E)


def shape_of(output):
    """The shape of what a module returns; of several things, that of the first."""
    return shape_of(output[0]) if isinstance(output, (tuple, list)) else tuple(output.shape)


def _table(model, rows):
    """Rows as text, in the order of the walk, indented by depth, with totals."""
    outputs = {name: shape for name, shape, _ in rows}
    counts = {name: sum(count for other, _, count in rows if other == name) for name in outputs}     # called twice: twice
    lines = [("layer", "output", "parameters", "FLOPs")]
    for name, module in model.named_modules():
        if name not in outputs:                             # a list of modules, which nobody calls
            continue
        depth, label = name.count(".") + 1 if name else 0, name.rpartition(".")[2]
        inside = {id(p) for child in module.children() for p in child.parameters()}
        own = sum(p.size for p in module.parameters() if id(p) not in inside)
        title = "  " * depth + type(module).__name__ + (f" ({label})" if label else "")
        lines.append((title, str(outputs[name]), _number(own), _number(counts[name])))
    lines.append(("total", "", _number(model.num_parameters()), _number(sum(counts.values()))))
    widths = [max(map(len, column)) for column in zip(*lines)]
    text = ["  ".join((a.ljust(widths[0]), b.ljust(widths[1]), c.rjust(widths[2]), d.rjust(widths[3]))) for a, b, c, d in lines]
    rule = "-" * len(text[0])
    return "\n".join([text[0], rule, *text[1:-1], rule, text[-1]])


def _number(n):
    return f"{n:,}" if n else "-"
