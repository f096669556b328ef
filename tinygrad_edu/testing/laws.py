"""Floor 3: what every backward owes its neighbours, besides being right. All of it is watched node by node.

    no mutation     it writes neither into the cotangent nor into what forward saved nor into the inputs
    no aliasing     its answer does not lie in the memory of an input or a saved array: x.grad belongs to x alone
    dtype           float32 in, float32 out, in value and gradient
"""
import contextlib

import numpy as np

from ..autograd import grad
from ..tensor import Tensor
from .diagnose import GradientError

NARROW = np.dtype(np.float32)


@contextlib.contextmanager
def watched(outputs, caller):
    """Inside the `with` block every backward of the graph under `outputs` is checked against the laws as it runs."""
    nodes = reachable(outputs)
    for node in nodes:
        node.backward = _watch(node, node.backward, caller)         # on the instance: hides the class's until deleted
    try:
        yield
    finally:
        for node in nodes:
            vars(node).pop("backward", None)


def reachable(outputs):
    """The nodes of the graph under `outputs`, oldest first."""
    stack = [y.creator for y in outputs if y.creator is not None]
    seen = set(stack)
    while stack:
        for x in stack.pop().inputs:
            if isinstance(x, Tensor) and x.creator is not None and x.creator not in seen:
                seen.add(x.creator)
                stack.append(x.creator)
    return sorted(seen, key=lambda node: node.birth)


def _watch(node, backward, caller):
    def watched_backward(gy):
        held = {"the cotangent": gy, **{f"saved array {i}": a for i, a in enumerate(node.saved)},
                **{f"input {i}": x.data for i, x in enumerate(node.inputs) if isinstance(x, Tensor)}}
        held = {what: a for what, a in held.items() if isinstance(a, np.ndarray)}
        before = {what: a.copy() for what, a in held.items()}

        gxs = backward(gy)
        for what, a in held.items():
            if not np.array_equal(a, before[what], equal_nan=a.dtype.kind == "f"):
                _broken(caller, "mutation", f"writes into {what}", node)
        for i, gx in enumerate(gxs if type(gxs) is tuple else (gxs,)):
            _check_answer(node, i, gx, gy, held, caller)
        return gxs
    return watched_backward


def _check_answer(node, i, gx, gy, held, caller):
    if gx is None or i >= len(node.inputs) or not isinstance(node.inputs[i], Tensor):
        return
    for what, a in held.items():
        if what != "the cotangent" and np.may_share_memory(gx, a):
            _broken(caller, "aliasing", f"gives the memory of {what} as gradient of input {i}", node)
    expected = node.inputs[i].dtype
    if gx.dtype != expected and gy.dtype == expected:
        _broken(caller, "dtype", f"gives {gx.dtype} for input {i} of {expected}: an np.float64 constant inside?", node)


def _broken(caller, law, cause, node=None):
    where = f"the backward of {node!r} " if node is not None else ""
    raise GradientError(f"{caller}: {where}{cause}", check=f"law: {law}", cause=cause)


def check_memory(xs, before, gradients, cotangents, caller):
    """After backward: the operands are as they were, and each gradient is writable and shares memory with nothing."""
    for i, (x, old) in enumerate(zip(xs, before)):
        if not np.array_equal(x.data, old, equal_nan=True):
            _broken(caller, "mutation", f"operand {i} was changed by the forward or backward pass")
    arrays = [g.data for g in gradients if g is not None]
    for i, g in enumerate(arrays):
        if not g.flags.writeable:
            _broken(caller, "aliasing", f"gradient {i} cannot be written into: it is a view")
        check_own_memory([g], [x.data for x in xs] + cotangents + arrays[:i], caller)


def check_own_memory(gradients, others, caller):
    if any(np.may_share_memory(g, other) for g in gradients for other in others):
        _broken(caller, "aliasing", "a gradient lies in the memory of an operand, the cotangent or an earlier gradient")


# ---------------------------------------------------------------- the run in float32

def check_float32(problem, cotangents):
    """Run `problem` in float32: values and gradients must stay float32. Returns "" or why it could not be checked."""
    xs, ys = problem.run([x.astype(NARROW) for x in problem.operands()], requires_grad=True)
    for node in reachable(ys):
        excuse = _check_promotion(node, problem.caller)
        if excuse:
            return excuse
    for y in ys:
        if y.dtype != NARROW:
            _broken(problem.caller, "dtype", f"float32 operands give a value of {y.dtype}")
    kept = [(y, Tensor(u, dtype=NARROW, device="cpu")) for y, u in zip(ys, cotangents) if y.requires_grad]
    with watched(ys, problem.caller):
        gs = grad([y for y, _ in kept], xs, [u for _, u in kept], allow_unused=True)
    for i, g in enumerate(gs):
        if g is not None and g.dtype != NARROW:
            _broken(problem.caller, "dtype", f"operand {i} is float32, its gradient {g.dtype}")
    return ""


def _check_promotion(node, caller):
    """A node that widens by itself breaks the law; one that meets a float64 constant gives that as its excuse."""
    inputs = [x for x in node.inputs if isinstance(x, Tensor) and x.dtype.kind == "f"]
    wide = [x for x in inputs if x.dtype != NARROW]
    if node.out.dtype == NARROW:
        return ""
    if node.name == "Cast":
        return f"{node!r} changes the dtype on purpose"
    if not wide:
        _broken(caller, "dtype", f"the forward of {node.name} turns float32 into {node.out.dtype}")
    return f"{node!r} meets a constant of {wide[0].dtype}"
