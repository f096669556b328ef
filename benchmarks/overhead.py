"""The price of an operation: forward, and forward with backward, on 4 x 4 matrices, where the arithmetic is next to nothing.

Beside the two libraries stands NumPy by hand: the same forward and backward without any graph, which no library on NumPy
can undercut. `python -m benchmarks.overhead OPERATION ROUNDS THREADS` prints a line of JSON.
"""
import json
import statistics
import sys

import numpy as np

import tinygrad_edu as tg

from .measure import load_torch, take_turns
from .workloads import normal

LENGTH, _TURN = 100, 0.03       # operations in a chain; seconds of work before the other's turn

# name: (z, y -> next z;   z, next z, y, gradient of next z -> gradients of z and y, the latter None if it has none)
OPERATIONS = {
    "x + y": (lambda lib, z, y: z + y, lambda z, new, y, g: (g, g)),
    "x * y": (lambda lib, z, y: z * y, lambda z, new, y, g: (g * y, g * z)),
    "x @ y": (lambda lib, z, y: z @ y, lambda z, new, y, g: (g @ y.T, z.T @ g)),
    "tanh(x)": (lambda lib, z, y: lib.tanh(z), lambda z, new, y, g: (g * (1 - new * new), None)),
}


def main():
    name, rounds, threads = sys.argv[1:]
    tg.set_threads(int(threads))
    print(json.dumps(dict(name=name, us=measure(name, int(rounds), load_torch(int(threads))))))


def measure(name, rounds, torch=None, turn=_TURN):
    """{"ours forward": microseconds an operation, ..}"""
    x, y, gy = normal(4, 4), rotation(), normal(4, 4, seed=1)
    runs = {}
    for who, library in (("numpy", np), ("ours", tg), ("torch", torch)):
        if library:
            chain = by_hand if library is np else on_tape
            runs[f"{who} forward"], runs[f"{who} both"] = chain(library, OPERATIONS[name], x, y, gy)
    seconds = take_turns(runs, rounds, turn)
    return {who: round(statistics.median(times.values()) / LENGTH * 1e6, 3) for who, times in seconds.items()}


def rotation():
    """Whatever is multiplied with it again and again neither vanishes nor explodes."""
    q, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((4, 4)))
    return q.astype("float32")


def on_tape(lib, operation, x, y, gy, length=LENGTH):
    """(forward, forward and backward) of a chain of operations in a library; the second returns value and gradients."""
    function, _ = operation
    x, y, gy = lib.tensor(x, requires_grad=True), lib.tensor(y, requires_grad=True), lib.tensor(gy)

    def forward():
        z = x
        for _ in range(length):
            z = function(lib, z, y)
        return z

    def both():
        x.grad = y.grad = None
        z = forward()
        z.backward(gy)
        return z, x.grad, y.grad

    return forward, both


def by_hand(lib, operation, x, y, gy, length=LENGTH):
    """The same on arrays, with nothing written down but what backward needs."""
    function, backward = operation

    def forward():
        zs = [x]
        for _ in range(length):
            zs.append(function(lib, zs[-1], y))
        return zs

    def both():
        zs, g, total = forward(), gy, None
        for i in range(length, 0, -1):
            g, part = backward(zs[i - 1], zs[i], y, g)
            total = part if total is None else total + part
        return zs[-1], g, total

    return forward, both


if __name__ == "__main__":
    main()
