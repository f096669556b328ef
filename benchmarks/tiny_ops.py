"""What one operation costs when the arithmetic costs nothing: chains of x * a, + b, tanh on four float32 numbers.

This is the price of the graph itself. Target: 2 us for an operation forward, 6 us forward and backward, and a chain of
75 operations faster than PyTorch's.
"""
import numpy as np

import tinygrad_edu as tg

from .measure import alternate


def run():
    """Rows for chains of 75 and 100 operations: forward, and forward and backward; microseconds for one operation."""
    theirs = torch_chains()
    rows = []
    for length in (75, 100):
        for what in ("forward", "forward and backward"):
            contestants = {"ours": chains(length)[what]}
            if theirs is not None:
                contestants["torch"] = theirs(length)[what]
            seconds = alternate(contestants)
            ours, torch = (seconds[k] / length * 1e6 if k in seconds else None for k in ("ours", "torch"))
            rows.append(dict(case=f"{length} operations, {what}", length=length, ours_us=round(ours, 3),
                             torch_us=torch and round(torch, 3), ratio=torch and round(ours / torch, 3)))
    return rows


def chain(x, a, b, tanh, length):
    """`length` operations, one after the other."""
    y = x
    for i in range(length):
        y = y * a if i % 3 == 0 else y + b if i % 3 == 1 else tanh(y)
    return y


def chains(length):
    x, a, b = (tg.tensor(np.linspace(low, 1, 4), requires_grad=True, dtype="float32") for low in (-1.0, 0.5, 0.1))

    def forward():
        return chain(x, a, b, tg.tanh, length)

    def both():
        forward().sum().backward()
        x.grad = a.grad = b.grad = None

    return {"forward": forward, "forward and backward": both}


def torch_chains():
    """The same with PyTorch, as a function of the length; None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)

    def chains(length):
        x, a, b = (torch.linspace(low, 1, 4).requires_grad_() for low in (-1.0, 0.5, 0.1))

        def forward():
            return chain(x, a, b, torch.tanh, length)

        def both():
            forward().sum().backward()
            x.grad = a.grad = b.grad = None

        return {"forward": forward, "forward and backward": both}
    return chains
