"""Adam's update rule as one CUDA kernel, for the optimizers."""
import math

from ... import backend, faces
from .launch import all_float32, launch_each


def adam(w, g, state, t, options, l2=0.0, keep=1.0):
    """Change w and the state by one step, w and its moments being read and written once. False: nothing done, not for this.

    l2: how much of w is added to the gradient. keep: what w is multiplied by before the step, AdamW's decay.
    """
    if faces.current != "compiled" or backend.device_of(w) == "cpu" or not all_float32(w, g):
        return False
    b1, b2 = options["betas"]
    rate, root = options["lr"] / (1 - b1 ** t), 1 / math.sqrt(1 - b2 ** t)
    numbers = map(float, (rate, root, b1, 1 - b1, b2, 1 - b2, options["eps"], l2, keep))
    g = backend.array_module(g).ascontiguousarray(g)
    launch_each("adam", "adam", w.size, g, w.size, *numbers, w, state["m"], state["v"])
    return True
