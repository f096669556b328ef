"""Floor 4: mixed precision. Products of matrices in float16, sums and exponentials in float32, weights always in float32.

A float16 has 11 bits and lives between 6e-8 and 65504. Half as many bytes, and on a GPU products several times as fast; but
1 + 0.0004 is 1, sums stop growing at 2048, and gradients below 3e-8 are 0. Hence three precautions:

    which operation works in what      the table below. Sums, exponentials and losses get float32
    weights in float32                 a small step on a large weight must not be lost. Each use casts them; the gradient
                                       comes back through the cast as float32
    the loss times a large number      so that gradients do not underflow; they are divided by it before the step. Too large,
                                       and they overflow: that step is left out, and the number halved (GradScaler)

    with autocast():
        loss = F.cross_entropy(model(x), labels)
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()

Backward works in the types that forward chose; it may stand inside the block, where NumPy does not warn of the infinities that
overflow brings and that the scaler is there for. Micikevicius et al. 2017, arXiv:1710.03740.
"""
import contextlib
import sys

import numpy as np

from . import autograd, backend
from .nn import Parameter
from .ops import cast
from .tensor import Tensor

# What gets float16: what a GPU has special hardware for, and what the time goes into.
HALF = {"MatMul", "Linear", "Conv2d", "ConvTranspose2d", "RNN", "LSTM", "GRU", "Attention"}

# What gets float32: what is out of range soon (exp x from x = 11 on, x^2 from 256 on), what adds up many numbers, what is
# the difference of nearly equal ones.
FULL = {"Exp", "Expm1", "Log", "Log1p", "LogAddExp", "Power", "PowerOf", "Square",
        "Sum", "Mean", "CumulativeSum", "LogSumExp", "Softmax", "LogSoftmax", "LayerNorm", "RMSNorm", "GroupNorm", "GroupNormSiLU",
        "BatchNorm", "CrossEntropy", "BinaryCrossEntropy", "Inverse", "LogAbsDet", "Cholesky", "Solve"}

# All others take what comes: float16 stays float16, and float16 with float32 gives float32, as everywhere. With one exception:
# in an elementwise operation a Parameter, such as a bias, follows the float16 that it is combined with.


@contextlib.contextmanager
def autocast(dtype="float16", enabled=True):
    """Inside the `with` block operations on float32 Tensors work in the types of the table above. `enabled=False`: as usual.

    NumPy has no fast product of float16. On the CPU its operands are rounded to float16, multiplied in float32 and the result
    is rounded, which is also what a GPU does, only not faster. bfloat16 is refused: NumPy and CuPy have no such arrays.
    """
    if dtype not in ("float16", np.float16):
        raise ValueError(f"autocast: got dtype {dtype!r}, expected 'float16'; arrays of NumPy and CuPy have no bfloat16")
    before, autograd._autocast = autograd._autocast, _apply if enabled else None
    try:
        with backend.ignore_float_errors() if enabled else contextlib.nullcontext():
            yield
    finally:
        autograd._autocast = before


def _apply(function, inputs):
    """What Function.apply does under autocast: choose the type, cast the inputs, apply."""
    before, autograd._autocast = autograd._autocast, None
    try:
        floats = [x for x in inputs if isinstance(x, Tensor) and x.dtype.kind == "f"]
        on_host = all(x.device == "cpu" for x in floats)
        as_it_is = not floats or any(x.dtype == np.float64 for x in floats)
        if as_it_is:
            y = function.apply(*inputs)
        elif _is_in(HALF, function):
            narrow = [_to(np.float16, x) for x in inputs]
            wide = [_to(np.float32, x) for x in narrow] if on_host or _is_cuda(function) else narrow
            y = _to(np.float16, function.apply(*wide))
        elif _is_in(FULL, function):
            y = function.apply(*(_to(np.float32, x) for x in inputs))
        elif function.broadcasts and any(x.dtype == np.float16 for x in floats):
            y = function.apply(*(_to(np.float16, x) if isinstance(x, Parameter) else x for x in inputs))
        else:
            y = function.apply(*inputs)
    finally:
        autograd._autocast = before
    if isinstance(y, Tensor) and y.creator is not None:
        caller = sys._getframe(3)           # of the public function that called Function.apply
        y.creator.made_at = function.made_at = caller.f_code, caller.f_lasti
    return y


def _is_in(table, function):
    """Is this kind of operation named there, or one that it was made from (group norm, for group norm with SiLU)?"""
    return any(kind.__name__ in table for kind in type(function).__mro__)


def _to(dtype, x):
    """A float Tensor or array in another float type, through the graph; anything else, such as a number, as it is."""
    is_array = isinstance(x, Tensor) or backend.is_array(x)
    return cast(x, dtype) if is_array and x.dtype.kind == "f" and x.dtype != dtype else x


def _is_cuda(function):
    """Is it a hand-written CUDA kernel? These know float32 only."""
    return type(function).cuda is type(function) if isinstance(function, autograd.Kernel) else False


# ---------------------------------------------------------------- the scaler

class GradScaler:
    """Multiplies the loss by `scale` and divides the gradients by it; looks for the largest scale that does not overflow.

    A step whose gradients are not all finite is left out, and scale falls by `backoff_factor`; after `growth_interval` steps in
    a row without that, it grows by `growth_factor`. Names, defaults and the order of calls as in PyTorch.
    """

    def __init__(self, init_scale=65536.0, growth_factor=2.0, backoff_factor=0.5, growth_interval=2000, enabled=True):
        if not (init_scale > 0 and growth_factor > 1 and 0 < backoff_factor < 1):
            raise ValueError(f"GradScaler: got init_scale {init_scale}, growth_factor {growth_factor}, backoff_factor "
                             f"{backoff_factor}, expected > 0, > 1, and between 0 and 1")
        self.growth_factor, self.backoff_factor, self.growth_interval = growth_factor, backoff_factor, growth_interval
        self.enabled, self._scale, self._good_steps = enabled, float(init_scale), 0
        self._overflowed, self._stepped = {}, set()         # since the last update: {id of an optimizer: did it overflow?}

    def get_scale(self):
        """The scale as it is now; 1 if not enabled."""
        return self._scale if self.enabled else 1.0

    def scale(self, outputs):
        """A Tensor, or a list or tuple of Tensors, times the scale."""
        if not self.enabled:
            return outputs
        if isinstance(outputs, (list, tuple)):
            return type(outputs)(self.scale(y) for y in outputs)
        return outputs * self._scale

    def unscale_(self, optimizer):
        """Divide the gradients of the optimizer's parameters by the scale, for example to clip them before `step`."""
        if not self.enabled:
            return
        if id(optimizer) in self._overflowed:
            raise RuntimeError("unscale_: these gradients are unscaled already; call it once between update() and update()")
        gradients = [p.grad.data for group in optimizer.param_groups for p in group["params"] if p.grad is not None]
        if not gradients:
            raise RuntimeError("unscale_: no parameter has a gradient; call backward() on the scaled loss before")
        xp, overflowed = backend.array_module(gradients[0]), False
        for g in gradients:
            g *= 1 / self._scale
            overflowed |= ~xp.isfinite(g).all()
        self._overflowed[id(optimizer)] = bool(overflowed)

    def step(self, optimizer):
        """optimizer.step(), unless a gradient is infinite or NaN. Unscales the gradients if `unscale_` has not done so."""
        if not self.enabled:
            optimizer.step()
            return
        if id(optimizer) in self._stepped:
            raise RuntimeError("step: this optimizer has made its step already; call update() between steps")
        if id(optimizer) not in self._overflowed:
            self.unscale_(optimizer)
        self._stepped.add(id(optimizer))
        if not self._overflowed[id(optimizer)]:
            optimizer.step()

    def update(self, new_scale=None):
        """Set the scale for the next step, after all optimizers have made theirs."""
        if not self.enabled:
            return
        if new_scale is not None:
            self._scale = float(new_scale)
        elif not self._overflowed:
            raise RuntimeError("update: no gradients were looked at since the last update; call step() before")
        elif any(self._overflowed.values()):
            self._scale, self._good_steps = self._scale * self.backoff_factor, 0
        else:
            self._good_steps += 1
            if self._good_steps == self.growth_interval:
                self._scale, self._good_steps = self._scale * self.growth_factor, 0
        self._overflowed, self._stepped = {}, set()

    def state_dict(self):
        """{"scale", "growth_factor", "backoff_factor", "growth_interval", "_growth_tracker"}; empty if not enabled."""
        if not self.enabled:
            return {}
        return {"scale": self._scale, "growth_factor": self.growth_factor, "backoff_factor": self.backoff_factor,
                "growth_interval": self.growth_interval, "_growth_tracker": self._good_steps}

    def load_state_dict(self, state):
        """Go on where the scaler that gave `state` was."""
        if not self.enabled:
            return
        if set(state) != set(self.state_dict()):
            raise KeyError(f"GradScaler.load_state_dict: got {sorted(state)}, expected {sorted(self.state_dict())}")
        self._scale, self._good_steps = state["scale"], state["_growth_tracker"]
        self.growth_factor, self.backoff_factor = state["growth_factor"], state["backoff_factor"]
        self.growth_interval = state["growth_interval"]
