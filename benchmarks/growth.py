"""How cost grows: one size of a workload is varied, and a straight line laid through log time over log size.

Its slope is the exponent, to be held against the one that counting operations promises. Small sizes are left out, where a
fixed price per call would flatten the line. `python -m benchmarks.growth NAME ROUNDS THREADS` prints a line of JSON.
"""
import json
import math
import statistics
import sys
from typing import Callable, NamedTuple

import numpy as np

import tinygrad_edu as tg

from .measure import take_turns
from .workloads import attention, both_ways, conv, lstm, normal, several, tiny_ops

_TURN = 0.03        # seconds of work on one size before the next


class Sweep(NamedTuple):
    build: Callable     # size -> run
    sizes: tuple
    expected: int       # the exponent that counting operations gives


def layers(batch, width, depth):
    """tanh(x W), `depth` times, forward and backward."""
    def network(x, *weights):
        for w in weights:
            x = tg.tanh(x @ w)
        return x

    return both_ways(tg, network, *several((batch, width), *[(width, width)] * depth))


def windowed_attention(length, window=128):
    """Every query looks at the last `window` keys."""
    arrays = (normal(1, 4, length, 32, seed=i) for i in range(3))
    return both_ways(tg, lambda *xs: tg.functional.scaled_dot_product_attention(*xs, window=window), *arrays)


def matmul(width):
    return both_ways(tg, lambda x, w: x @ w, normal(width, width), normal(width, width, seed=1))


SWEEPS = {
    "layers: batch": Sweep(lambda n: layers(n, 256, 3), (256, 384, 512, 768, 1024, 1536, 2048), 1),
    "layers: depth": Sweep(lambda n: layers(256, 128, n), (4, 6, 8, 12, 16, 24, 32), 1),
    "tape: operations on 4 x 4": Sweep(lambda n: tiny_ops(tg, n, 4), (100, 200, 400, 800, 1600, 3200), 1),
    "convolution 3 x 3: image side": Sweep(
        lambda n: conv(tg, (4, 16, n, n), (16, 16, 3, 3), padding=1), (32, 48, 64, 96, 128, 192), 2),
    "attention: length": Sweep(lambda n: attention(tg, (1, 2, n, 32)), (512, 768, 1024, 1536, 2048, 3072), 2),
    "attention, window of 128: length": Sweep(windowed_attention, (1024, 1536, 2048, 3072, 4096), 1),
    "lstm: length": Sweep(lambda n: lstm(tg, 16, n, 64, 64), (16, 32, 64, 128, 256), 1),
    "matrix product: width": Sweep(matmul, (256, 384, 512, 768, 1024), 3),
}


def main():
    name, rounds, threads = sys.argv[1:]
    tg.set_threads(int(threads))
    print(json.dumps(dict(name=name, **measure(SWEEPS[name], int(rounds)))))


def measure(sweep, rounds, turn=_TURN):
    """{"sizes", "ms", "exponent", "residual", "expected"}"""
    runs = {str(n): sweep.build(n) for n in sweep.sizes}
    for run in runs.values():
        run()
    seconds = take_turns(runs, rounds, turn)
    ms = [statistics.median(times.values()) * 1e3 for times in seconds.values()]
    exponent, residual = fit(sweep.sizes, ms)
    return dict(sizes=sweep.sizes, ms=[round(x, 4) for x in ms], exponent=round(exponent, 3),
                residual=round(residual, 3), expected=sweep.expected)


def fit(sizes, times):
    """(p, r): times = constant * sizes**p in the sense of least squares of the logs, and r, the typical miss, a part of 1."""
    x, y = np.log(sizes), np.log(times)
    line = np.polyfit(x, y, 1)
    miss = y - np.polyval(line, x)
    return float(line[0]), math.expm1(math.sqrt(np.mean(miss * miss)))


if __name__ == "__main__":
    main()
