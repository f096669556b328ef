"""Floor 1: reverse-mode differentiation. What an operation is, and how gradients flow back through many of them.

A Function is both the operation and the node of the graph. `Exp().apply(x)` computes on arrays, and the Tensor it returns
remembers the node (`creator`), which remembers where its inputs came from (`sources`): other nodes, and leaves. References
point only backwards in time, so a graph that nobody holds is freed at once, without the garbage collector.

Nodes carry a birth number. A node is always younger than everything it was computed from, so visiting nodes youngest
first is a topological order: the whole reverse pass is "seed, visit, ask the node, add what it answers".

`backward` of every Function is written once, with operators and library functions that take arrays and Tensors alike.
Called with arrays it is fast; called with Tensors (`create_graph=True`) it builds the graph of the gradient itself.
"""
import contextlib
import dis
import itertools
import linecache
import operator
import os
import sys

import numpy as np

from . import backend, faces
from .tensor import Tensor

_clock = itertools.count()      # births of nodes and writes into arrays are numbered by one clock
_writes = {}                    # id of a memory owner -> time of the last in-place write into it
_last_write = -1                # the newest of those times
_grad_enabled = True
_anomaly = False
_autocast = None                # amp.py: applies an operation to inputs in the float type that it shall work in
_profiler = None                # profiler.py: runs forward and backward with a clock beside them
_birth = operator.attrgetter("birth")
_NUMBERS = (float, int)         # constants that any array takes as they are
_PACKAGE = os.path.dirname(os.path.abspath(__file__))


# ---------------------------------------------------------------- an operation

class Function:
    """One operation and, once applied to Tensors, one node of the graph.

    A subclass gives `forward(*arrays) -> array` and `backward(gy) -> gradient, or a tuple with one for each input`, each of
    exactly that input's shape (None where there is none). `forward` may `save` its inputs, its output, and constants that
    are not floats (masks, indices); `backward` finds them in `self.saved`. Parameters go to the constructor.
    """
    broadcasts = False          # Elementwise: the engine sums gradients back to the shapes of the inputs
    reference = None            # Kernel: the composition that defines it
    xp = np                     # the library of the arrays: numpy or cupy
    sources = arrays = saved = ()       # of each input: the node that made it, or the leaf, or None for a constant; its values
    retained = None             # weak reference to the output, if its gradient was asked for by retain_grad()

    def apply(self, *inputs):
        """Arrays in, array out. With a Tensor among the inputs: Tensor out, and one more node in the graph."""
        if _autocast is not None:
            return _autocast(self, inputs)
        if self.reference is not None and faces.current == "reference":
            return self.reference(*inputs)

        arrays, sources, kind, tracked, constants = [], [], None, False, False
        for x in inputs:
            if isinstance(x, Tensor):
                arrays.append(x.data)
                if x.requires_grad:
                    tracked = True
                    sources.append(x.creator or x)
                else:
                    sources.append(None)
                if x.kind is not kind:
                    kind = x.kind if kind is None or issubclass(x.kind, kind) else kind
            else:
                arrays.append(x)
                sources.append(None)
                constants = constants or type(x) not in _NUMBERS
        if constants and kind is not None:
            arrays = _plain_constants(inputs)
        if backend.uses_cupy():
            self.xp = next((backend.array_module(a) for a in arrays if backend.is_array(a)), np)

        try:
            data = self.forward(*arrays) if _profiler is None else _profiler.forward(self, arrays)
        except ValueError as error:
            raise ValueError(f"{self.name}: got shapes {_shapes(arrays)}: {error}") from error
        if kind is None:
            return data
        if type(data) is not np.ndarray:
            data = self._as_array(data)

        y = kind.__new__(kind)
        y.data, y.grad = data, None
        if tracked and _grad_enabled:
            self.sources, self.arrays, self.out, self.birth = sources, arrays, data, next(_clock)
            caller = sys._getframe(2)
            self.made_at = caller.f_code, caller.f_lasti
            y.requires_grad, y.creator = True, self
        else:
            y.requires_grad, y.creator = False, None
        if _anomaly:
            _check_forward(self, data, arrays)
        return y

    def save(self, *values):
        """Keep `values` for backward: inputs, the output, and constants that are not floats."""
        self.saved = values

    def needs(self, i):
        """Will the gradient of input `i` be used? Lets a costly backward skip it."""
        return self.sources[i] is not None

    @property
    def inputs(self):
        """What it was applied to, as Tensors and numbers; None once freed. In-place writes since then do not show here."""
        return None if self.sources is None else tuple(map(_tensor_of, self.sources, self.arrays))

    def differentiable_backward(self, gy):
        """`backward` on Tensors: each saved array is replaced by the Tensor it came from, so the result has a graph."""
        arrays = self.saved
        self.saved = tuple(self._lift(v) for v in arrays)
        try:
            return self.backward(gy)
        finally:
            self.saved = arrays

    def _lift(self, v):
        """The Tensor that the saved array `v` came from; masks, indices and Python numbers stay as they are."""
        owners = {source for source, array in zip(self.sources, self.arrays) if array is v}
        if len(owners) == 1:
            return _tensor_of(owners.pop(), v)
        if owners:
            raise RuntimeError(f"{self.name}: two inputs share one array, so its derivative is ambiguous; copy one of them")
        if v is self.out:
            return _tensor_of(self, v)
        if getattr(v, "dtype", None) is not None and v.dtype.kind == "f":
            raise RuntimeError(f"{self.name}: saved a float array that is neither an input nor the output, so it cannot be "
                               "differentiated again; save inputs or the output, or make it a Kernel with a reference")
        return v

    def release(self):
        """Forget inputs and saved arrays; a second visit is then an error."""
        self.sources, self.arrays, self.saved, self.out = None, (), (), None

    def _as_array(self, data):
        """NumPy answers 0-d results as scalars: make them arrays, among the saved values too."""
        array = self.xp.asarray(data)
        self.saved = tuple(array if v is data else v for v in self.saved)
        return array

    @property
    def name(self):
        return type(self).__name__

    def __repr__(self):
        if not self.sources:
            return f"<{self.name}>" if self.sources == () else f"<{self.name}, freed>"
        return f"<{self.name} {_shapes(self.arrays)} -> {self.out.shape}, made at {self.where()}>"

    def where(self):
        """"file:line: source text" of the call that made this node."""
        code, instruction = self.made_at
        line = [line for start, line in dis.findlinestarts(code) if start <= instruction][-1]
        return f"{os.path.basename(code.co_filename)}:{line}: {linecache.getline(code.co_filename, line).strip()}"


class Elementwise(Function):
    """A function of broadcast inputs: backward answers in the broadcast shape, the engine sums it back."""
    broadcasts = True


class Kernel(Function):
    """A hand-written pair on arrays, and `reference`, the composition that defines it.

    `backward` may save whatever it likes. Its own derivative is never written: it is the reference's.

    This class works on arrays. Other faces of the same kernel, plain loops or CUDA, are subclasses with another forward and
    backward; the public function asks `face(x)` which class is to work on x.
    """
    loops = cuda = None             # those subclasses, set in kernels/loops and kernels/cuda
    worth_compiling = False         # of loops: compiled, are they at least 1.5 times as fast as the arrays?

    @classmethod
    def face(cls, x):
        """The class that is to work on x, an array or Tensor: this one, or another face of it. See faces.py."""
        data = x.data if isinstance(x, Tensor) else x
        if not isinstance(data, np.ndarray):
            return cls.cuda if cls.cuda is not None and faces.current == "compiled" and data.dtype == np.float32 else cls
        if cls.loops is not None and data.dtype.itemsize >= 4 and faces.loops_wanted(cls.loops.worth_compiling):
            return cls.loops
        return cls

    def reference(self, *inputs):
        raise NotImplementedError(f"{self.name}: a Kernel needs a reference")

    def differentiable_backward(self, gy):
        xs = [Identity().apply(x) if self.needs(i) else x for i, x in enumerate(self.inputs)]
        targets = [x for i, x in enumerate(xs) if self.needs(i)]
        gradients = run_backward([self.reference(*xs)], [gy], targets, retain_graph=True, create_graph=True)
        return tuple(gradients.get(_key(x)) if self.needs(i) else None for i, x in enumerate(xs))


class Identity(Function):
    """y = x, as a node of its own"""
    def forward(self, x):
        return x[...]
    def backward(self, gy):
        return gy


def _tensor_of(source, array):
    """`array` as a Tensor of the graph: the output of a node, or the leaf itself, or a constant. Numbers stay numbers."""
    if isinstance(source, Tensor) or not backend.is_array(array):
        return array if source is None else source
    x = Tensor._wrap(array)
    x.requires_grad, x.creator = source is not None, source
    return x


# ---------------------------------------------------------------- the reverse pass

def run_backward(outputs, gradients, targets=None, retain_graph=False, create_graph=False):
    """Push `gradients` from `outputs` back through the graph, youngest node first.

    Returns {key: gradient}: for `targets` if given (nothing else is computed), else for every leaf that was reached. The
    key of a Tensor is the node that made it, or the leaf itself. Gradients are arrays, or Tensors under `create_graph`.
    """
    pending, ours, found = {}, set(), {}        # ours: keys whose buffer this walk has made and may add into
    for y, gy in zip(outputs, gradients):
        key = _key(y)
        pending[key] = pending[key] + gy if key in pending else gy
    nodes, wanted = _schedule(outputs, targets)
    target_keys = () if targets is None else {_key(x) for x in targets}

    with set_grad_enabled(create_graph):
        for node in nodes:
            gy = pending.pop(node, None)
            if gy is None:
                continue
            if node in target_keys:
                found[node] = gy
            if wanted is not None and not any(source in wanted for source in node.sources):
                continue
            if node.retained is not None and targets is None:
                _retain(node, gy)
            if node.birth < _last_write:
                _check_unchanged(node)
            backward = node.differentiable_backward if create_graph else node.backward
            gxs = backward(gy) if _profiler is None and _autocast is None else _special_backward(node, backward, gy)
            if type(gxs) is not tuple:
                gxs = (gxs,)
            if len(gxs) != len(node.sources):
                raise RuntimeError(f"{node.name}: backward gave {len(gxs)} gradients for {len(node.sources)} inputs")

            for key, x, gx in zip(node.sources, node.arrays, gxs):
                if gx is None or key is None:
                    continue
                if gx.shape != x.shape or gx.dtype is not x.dtype:
                    gx = _fit(gx, x, node, gy)
                if wanted is not None and key not in wanted:
                    continue
                if key not in pending:
                    pending[key] = gx
                    if not create_graph and isinstance(key, Tensor) and _is_borrowed(gx, gy, gxs, node):
                        pending[key] = gx.copy()
                elif key in ours:
                    pending[key] += gx
                else:
                    pending[key] = pending[key] + gx
                    if not create_graph:
                        ours.add(key)
            if _anomaly:
                _check_backward(node, gy, gxs)
            if not retain_graph:
                node.release()
    found.update((key, g) for key, g in pending.items() if isinstance(key, Tensor))
    return found


def _key(x):
    return x.creator or x


def _schedule(outputs, targets):
    """The nodes that lead to `outputs`, youngest first, and the set of keys from which a target can be reached."""
    oldest = -1 if targets is None or any(x.creator is None for x in targets) else min(x.creator.birth for x in targets)
    stack = [y.creator for y in outputs if y.creator is not None]
    seen = set(stack)
    while stack:
        node = stack.pop()
        if node.sources is None:
            raise RuntimeError(f"{node.name}: this part of the graph was freed by an earlier backward; "
                               "pass retain_graph=True there, or compute the output again")
        for source in node.sources:
            if isinstance(source, Function) and source.birth >= oldest and source not in seen:
                seen.add(source)
                stack.append(source)
    nodes = sorted(seen, key=_birth, reverse=True)
    if targets is None:
        return nodes, None

    wanted = {_key(x) for x in targets}
    for node in reversed(nodes):
        if any(source in wanted for source in node.sources):
            wanted.add(node)
    return nodes, wanted


def _fit(gx, x, node, gy):
    """`gx` in the shape and dtype of the input `x`; anything but the sum of a broadcast is a mistake in the backward."""
    if gx.shape != x.shape:
        if not node.broadcasts:
            raise RuntimeError(f"{node.name}: backward gave a gradient of shape {gx.shape}, its input has {x.shape}")
        gx = sum_to(gx, x.shape)
    if gx.dtype != x.dtype:
        if gy.dtype == x.dtype:
            raise RuntimeError(f"{node.name}: backward gave {gx.dtype} for an input of {x.dtype}")
        gx = gx.astype(x.dtype)         # the operation itself had promoted a narrower input
    return gx


def sum_to(g, shape):
    """The adjoint of broadcasting: sum `g` over the axes that broadcasting `shape` to `g.shape` had stretched."""
    if g.shape == shape:
        return g
    lead = g.ndim - len(shape)
    stretched = tuple(i + lead for i, n in enumerate(shape) if n == 1 and g.shape[i + lead] != 1)
    axes = tuple(range(lead)) + stretched
    return g.sum(axis=axes, keepdims=True).reshape(shape)


def _is_borrowed(gx, gy, gxs, node):
    """Might somebody else hold the memory of `gx`, or does it repeat numbers? Then a leaf must not keep it as its gradient."""
    if gx is gy or sum(g is gx for g in gxs) > 1:
        return True
    if getattr(gx, "base", None) is None:
        return False
    owner, others = _owner(gx), [gy, *(g for g in gxs if g is not gx and g is not None), *node.arrays, *node.saved]
    whole = owner.size == gx.size and (gx.flags.c_contiguous or gx.flags.f_contiguous)       # a new array, reshaped
    return not (whole and getattr(gx.flags, "writeable", True)) or any(owner is _owner(other) for other in others)


def _special_backward(node, backward, gy):
    """backward(gy) with the profiler's clock beside it; and without autocast, for it works in the types that forward chose."""
    global _autocast
    before, _autocast = _autocast, None
    try:
        return backward(gy) if _profiler is None else _profiler.backward(node, backward, gy)
    finally:
        _autocast = before


def _retain(node, gy):
    y = node.retained()
    if y is not None:
        _add_to_grad(y, gy)


def _add_to_grad(x, g):
    g = g if isinstance(g, Tensor) else Tensor._wrap(backend.array_module(x.data).asarray(g))
    x.grad = g if x.grad is None else x.grad + g


# ---------------------------------------------------------------- the two ways to ask for gradients

def backward(y, gradient=None, retain_graph=None, create_graph=False):
    """Add dy/dx, weighted by `gradient` (shape of y; 1 for a scalar y), to `x.grad` of every leaf x that made y."""
    _require_graph(y, "backward")
    gy = _cotangent(y, gradient, create_graph, "backward")
    leaves = run_backward([y], [gy], None, create_graph if retain_graph is None else retain_graph, create_graph)
    with set_grad_enabled(create_graph):
        for x, g in leaves.items():
            _add_to_grad(x, g)


def grad(outputs, inputs, grad_outputs=None, retain_graph=None, create_graph=False, allow_unused=False):
    """The gradients of `outputs` (one Tensor or several; their sum) with respect to `inputs`, as a tuple of Tensors.

    No `.grad` is touched. With `create_graph=True` the answers can be differentiated again. An input that the outputs do
    not depend on is an error, or None with `allow_unused=True`.
    """
    outputs = (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)
    inputs = (inputs,) if isinstance(inputs, Tensor) else tuple(inputs)
    given = grad_outputs if isinstance(grad_outputs, (tuple, list)) else (grad_outputs,) * len(outputs)
    for y in outputs:
        _require_graph(y, "grad")
    gys = [_cotangent(y, g, create_graph, "grad") for y, g in zip(outputs, given)]
    found = run_backward(outputs, gys, inputs, create_graph if retain_graph is None else retain_graph, create_graph)

    answers = []
    for i, x in enumerate(inputs):
        g = found.get(_key(x))
        if g is None and not allow_unused:
            raise RuntimeError(f"grad: the outputs do not depend on input {i} (shape {x.shape}), or it does not require "
                               "grad; pass allow_unused=True to get None for it")
        answers.append(g if g is None or isinstance(g, Tensor) else Tensor._wrap(backend.array_module(x.data).asarray(g)))
    return tuple(answers)


def jacobian(function, x):
    """d function(x) / dx at a Tensor or array x, (*output, *input): one backward pass for each number of the output."""
    x = Tensor(x).detach().requires_grad_()
    with enable_grad():
        y = function(x)
        if not y.requires_grad:
            raise RuntimeError("jacobian: the function's output does not depend on its input")
        rows = [grad(entry, x, retain_graph=True, allow_unused=True)[0] for entry in y.flatten()]
    xp = backend.array_module(x.data)
    return Tensor._wrap(xp.stack([xp.zeros_like(x.data) if row is None else row.data for row in rows]).reshape(y.shape + x.shape))


def _require_graph(y, caller):
    if not y.requires_grad:
        raise RuntimeError(f"{caller}: this tensor does not depend on any tensor with requires_grad=True")


def _cotangent(y, gradient, create_graph, caller):
    """The gradient to start from, what was given or 1 for a scalar: an array, or a Tensor under `create_graph`."""
    if gradient is None:
        if y.data.size != 1:
            raise RuntimeError(f"{caller}: the output has shape {y.shape}, expected a scalar; reduce it to one "
                               "(.sum(), .mean()) or pass the gradient to start from")
        one = backend.array_module(y.data).ones_like(y.data)
        return Tensor._wrap(one) if create_graph else one
    if not isinstance(gradient, Tensor):
        gradient = Tensor(gradient, dtype=y.dtype, device=y.device)
    if gradient.shape != y.shape:
        raise ValueError(f"{caller}: the gradient has shape {gradient.shape}, the output has {y.shape}")
    if create_graph:
        return gradient
    return gradient.data if y.creator is not None else gradient.data.copy()     # a leaf keeps it as its own gradient


# ---------------------------------------------------------------- modes

@contextlib.contextmanager
def set_grad_enabled(enabled):
    """Record operations in the graph (True) or not (False) inside the `with` block."""
    global _grad_enabled
    before, _grad_enabled = _grad_enabled, enabled
    try:
        yield
    finally:
        _grad_enabled = before


def no_grad():
    """`with no_grad():` computes without building a graph; also a decorator, `@no_grad()`."""
    return set_grad_enabled(False)


def enable_grad():
    """`with enable_grad():` records again inside a `no_grad()` block."""
    return set_grad_enabled(True)


def is_grad_enabled():
    return _grad_enabled


@contextlib.contextmanager
def detect_anomaly(enabled=True):
    """Inside the `with` block the first NaN or infinity, forward or backward, raises and names the line that made it."""
    global _anomaly
    before, _anomaly = _anomaly, enabled
    try:
        yield
    finally:
        _anomaly = before


# ---------------------------------------------------------------- guards

def mark_written(array):
    """Tell the engine that `array` was changed in place: graphs that saved it before must not be walked any more."""
    global _last_write
    _writes[id(_owner(array))] = _last_write = next(_clock)


def _owner(array):
    while getattr(array, "base", None) is not None:
        array = array.base
    return array


def _check_unchanged(node):
    for v in node.saved:
        if _writes.get(id(_owner(v)), -1) > node.birth:
            raise RuntimeError(f"{node.name}, made at {node.where()}: an array that its gradient needs was changed in place "
                               "since (an optimizer step between forward and backward?); run forward again")


def _plain_constants(inputs):
    """The arrays of `inputs`, constants on the device of the Tensors among them; NumPy's scalars become Python numbers, which
    do not widen a dtype."""
    device = next(x.device for x in inputs if isinstance(x, Tensor))
    inputs = [x.item() if isinstance(x, np.generic) else x for x in inputs]
    inputs = [x if isinstance(x, (int, float, Tensor)) else Tensor(x, device=device) for x in inputs]
    return [x.data if isinstance(x, Tensor) else x for x in inputs]


def _shapes(values):
    return ", ".join(str(getattr(v, "shape", v)) for v in values)


def _check_forward(node, data, arrays):
    xp, values = node.xp, [a for a in arrays if not isinstance(a, int)]
    node.made_at = _user_line()
    if data.dtype.kind != "f" or xp.isfinite(data).all():
        return
    born_nan = xp.isnan(data).any() and not any(xp.isnan(a).any() for a in values)
    if born_nan or all(xp.isfinite(a).all() for a in values):
        raise FloatingPointError(f"{node.name}: the first {'NaN' if born_nan else 'infinity'} appeared at {node.where()}")


def _check_backward(node, gy, gxs):
    arrays = [g.data if isinstance(g, Tensor) else g for g in (gy, *gxs) if g is not None]
    gy, *gxs = arrays
    if node.xp.isfinite(gy).all() and not all(node.xp.isfinite(g).all() for g in gxs):
        raise FloatingPointError(f"{node.name}: its backward gave the first NaN or infinity; made at {node.where()}")


def _user_line():
    """The nearest caller outside the package, as (code, instruction)."""
    frame = sys._getframe(1)
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PACKAGE):
        frame = frame.f_back
    return frame.f_code, frame.f_lasti


Tensor.backward = backward
