"""Floor 3: where does the time go? A clock beside every operation, forward and backward.

    with Profiler() as profile:
        loss = F.cross_entropy(model(x), labels)
        loss.backward()
    print(profile.table())
    profile.export_chrome_trace("trace.json")           # for chrome://tracing or ui.perfetto.dev

The engine asks once for each operation whether a profiler is there; without one that is all. An operation that works with the
help of others is one event: the matrix products in the backward of a MatMul are part of that.

    bytes   of the arrays that the operation read and wrote, each counted once: what must pass through memory at least
    FLOPs   additions and multiplications by the formulas below: exact for products, one for each number of the result (or of
            the input, where that is reduced) for the rest; a backward costs as much for each input that wants a gradient
"""
import json
import math
import os
import threading
import time
from pathlib import Path
from typing import NamedTuple

from . import autograd, backend
from .files import write_atomically
from .memory import Recompute
from .tensor import Tensor

FLOPS = {
    "MatMul": lambda y, a, b: 2 * y.size * a.shape[-1],
    "Linear": lambda y, x, w, b=None: 2 * y.size * x.shape[-1],
    "Conv2d": lambda y, x, weight, bias: 2 * y.size * math.prod(weight.shape[1:]),
    "ConvTranspose2d": lambda y, x, weight, bias: 2 * x.size * math.prod(weight.shape[1:]),
    "Attention": lambda y, q, k, v, *bias: 2 * k.shape[-2] * (q.size + y.size),           # as if nothing were hidden
    "RNN": lambda y, x, h, w, u, b: 2 * x.shape[0] * x.shape[1] * (w.size + u.size),       # x (T, N, I)
    "LSTM": lambda y, x, h, c, w, u, b: 2 * x.shape[0] * x.shape[1] * (w.size + u.size),
    "GRU": lambda y, x, h, w, u, b, c: 2 * x.shape[0] * x.shape[1] * (w.size + u.size),
}
PRODUCTS = tuple(FLOPS)
FLOPS |= dict.fromkeys(("Sum", "Mean", "Max", "LogSumExp", "CrossEntropy", "MaxPool2d", "AvgPool2d"), lambda y, x, *_: x.size)
FLOPS |= dict.fromkeys(("Reshape", "Transpose", "BroadcastTo", "Concatenate", "Pad", "Flip", "Roll", "Unfold", "GetItem",
                        "SetItem", "TakeAlongAxis", "Embedding", "Nearest", "Identity", "Cast"), lambda y, *_: 0)    # they move


class Event(NamedTuple):
    """One operation, once. start, seconds: by the clock time.perf_counter."""
    name: str
    phase: str              # "forward" or "backward"
    start: float
    seconds: float
    bytes: int
    flops: int
    shapes: str             # of its inputs
    thread: int


class Row(NamedTuple):
    """All events of one kind of operation."""
    name: str
    forward_calls: int
    backward_calls: int
    forward_seconds: float
    backward_seconds: float
    bytes: int
    flops: int

    @property
    def seconds(self):
        return self.forward_seconds + self.backward_seconds


class Profiler:
    """Records every operation inside its `with` block, in `events`. Of nested ones the inner hands its events to the outer."""

    def __init__(self):
        self.events, self.seconds = [], 0.0             # seconds: spent in `with` blocks, in operations or between them
        self._here = threading.local()
        self._entered = []

    def __enter__(self):
        self._entered.append((autograd._profiler, len(self.events), time.perf_counter()))
        autograd._profiler = self
        return self

    def __exit__(self, *error):
        outer, first, start = self._entered.pop()
        autograd._profiler = outer
        if outer is not self:
            self.seconds += time.perf_counter() - start
            if outer is not None:
                outer.events += self.events[first:]

    # ------------------------------------------------------------ called by the engine

    def forward(self, node, arrays):
        return self._timed(node, "forward", node.forward, arrays, arrays, ())

    def backward(self, node, backward, gy):
        return self._timed(node, "backward", backward, (gy,), node.arrays, node.saved)

    def _timed(self, node, phase, run, given, inputs, saved):
        if getattr(self._here, "inside", False) or isinstance(node, Recompute):     # that one shows what it recomputes
            return run(*given)
        self._here.inside = True
        start = time.perf_counter()
        try:
            answers = run(*given)
            backend.synchronize()
            seconds = time.perf_counter() - start
        finally:
            self._here.inside = False
        read_or_written = {id(v): _nbytes(v) for v in (*given, *saved, *_as_tuple(answers))}
        self.events.append(Event(node.name, phase, start, seconds, sum(read_or_written.values()),
                                 _flops(node, phase, answers if phase == "forward" else node.out, inputs),
                                 autograd._shapes(inputs), threading.get_ident()))
        return answers

    # ------------------------------------------------------------ what it found

    def rows(self):
        """A Row for each kind of operation, the one that took longest first."""
        kinds = {}
        for event in self.events:
            kinds.setdefault(event.name, []).append(event)
        rows = []
        for name, events in kinds.items():
            forward, backward = ([e.seconds for e in events if e.phase == phase] for phase in ("forward", "backward"))
            rows.append(Row(name, len(forward), len(backward), sum(forward), sum(backward),
                            sum(e.bytes for e in events), sum(e.flops for e in events)))
        return sorted(rows, key=lambda row: row.seconds, reverse=True)

    def table(self, limit=None):
        """The rows as text, at most `limit` of them; times in milliseconds, MB of 10^6 bytes."""
        rows, total = self.rows(), sum(event.seconds for event in self.events)
        lines = [f"{'operation':<18} {'calls':>11} {'forward':>9} {'backward':>9} {'share':>6} {'MB':>9} {'MFLOP':>9} "
                 f"{'GFLOP/s':>8}"]
        for row in rows[:limit]:
            lines.append(f"{row.name:<18} {row.forward_calls:>5}+{row.backward_calls:<5} {1e3 * row.forward_seconds:>9.2f} "
                         f"{1e3 * row.backward_seconds:>9.2f} {row.seconds / total:>6.1%} {row.bytes / 1e6:>9.2f} "
                         f"{row.flops / 1e6:>9.2f} {row.flops / row.seconds / 1e9:>8.2f}")
        lines.append(f"in operations {1e3 * total:.2f} ms, in all {1e3 * self.seconds:.2f} ms")
        return "\n".join(lines)

    def export_chrome_trace(self, path):
        """Write the events as JSON that Chrome's and Perfetto's trace viewers show on a time line."""
        origin = min((event.start for event in self.events), default=0.0)
        trace = [dict(name=e.name, cat=e.phase, ph="X", ts=1e6 * (e.start - origin), dur=1e6 * e.seconds, pid=os.getpid(),
                      tid=e.thread, args=dict(shapes=e.shapes, bytes=e.bytes, flops=e.flops)) for e in self.events]
        text = json.dumps({"traceEvents": trace, "displayTimeUnit": "ms"})
        write_atomically(Path(path), lambda temporary: temporary.write_text(text, encoding="utf-8"))


def _flops(node, phase, y, inputs):
    count = int(FLOPS.get(node.name, lambda y, *_: y.size)(y, *inputs))
    if phase == "backward" and node.name in PRODUCTS:
        count *= sum(node.needs(i) for i in range(min(len(inputs), 2)))
    return count


def _as_tuple(answers):
    return answers if isinstance(answers, tuple) else (answers,)


def _nbytes(v):
    data = v.data if isinstance(v, Tensor) else v
    return data.nbytes if backend.is_array(data) else 0
