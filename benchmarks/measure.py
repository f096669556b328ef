"""Fair timing of one workload in a process of its own: `python -m benchmarks.measure NAME ROUNDS THREADS [--kernel]`.

The contestants take short turns, so that a busy moment of the machine hits all of them, and only their ratios are
believed. Prints one line of JSON, for `python -m benchmarks` to read.
"""
import gc
import json
import math
import os
import statistics
import sys
import tempfile
import time
import tracemalloc

import numpy as np

import tinygrad_edu as tg
from tinygrad_edu import faces

from . import peers
from .workloads import WORKLOADS

_TURN = 0.06        # seconds of work before the next one's turn, but at least one call
_LONGEST_REST = 0.5 # seconds between turns
_SELDOM = 3         # peers take part in every third round only: how far ahead we are needs fewer digits


def main():
    name, rounds, threads, *kernel = sys.argv[1:]
    contestants = build(name, int(threads), bool(kernel))
    print(json.dumps(dict(name=name, **measure(contestants, int(rounds)))))


def build(name, threads, kernel=False, tiny=False):
    """{name: run}: our faces, torch and the peers, or with `kernel` our faces with the definition and torch."""
    tg.set_threads(threads)
    torch, workload = load_torch(threads), WORKLOADS[name]
    sizes = workload.tiny if tiny else workload.sizes
    contestants = {face: on_face(face, workload.build(tg, **sizes)) for face in our_faces()}
    if kernel:
        contestants["reference"] = on_face("reference", workload.build(tg, **sizes))
    if torch:
        contestants["torch"] = workload.build(torch, **sizes)
    if not kernel:
        contestants |= {who: run for who in peers.PEERS if (run := peers.build(who, workload, sizes))}
    return contestants


def our_faces():
    """"loops" are for tiny inputs, and "reference" is another question."""
    return ["arrays", "compiled"] if faces.has_numba() else ["arrays"]


def on_face(face, run):
    """`run`, in which every kernel runs its `face`."""
    def run_on_face():
        with tg.kernel_face(face):
            return run()
    return run_on_face


def load_torch(threads):
    """torch, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    return torch


# ---------------------------------------------------------------- what is measured

def measure(contestants, rounds):
    """{"ms", "mb": {who: number}, "ratios": {"ours/theirs": [median over the rounds, spread]}}

    spread: how far the quartiles of the rounds lie apart, as a part of the median.
    """
    compare_values(contestants, steps=2)        # and compile, and fill the caches
    seconds = take_turns(contestants, rounds)
    ours, others = [w for w in contestants if w in faces.FACES], [w for w in contestants if w != "arrays"]
    pairs = [(a, b) for a in ours for b in others if a != b and a != "reference" and b != "compiled"]
    return dict(
        ms={who: round(statistics.median(times.values()) * 1e3, 4) for who, times in seconds.items()},
        mb={who: round(peak_bytes(who, run) / 1e6, 3) for who, run in contestants.items() if who not in peers.PEERS},
        ratios={f"{a}/{b}": middle_and_spread(seconds[a], seconds[b]) for a, b in pairs})


def middle_and_spread(ours, theirs):
    """Of the ratios of two {round: seconds}, in the rounds that both took part in."""
    ratios = [ours[i] / theirs[i] for i in ours.keys() & theirs.keys()]
    low, middle, high = np.quantile(ratios, [0.25, 0.5, 0.75])
    return [round(float(middle), 3), round(float((high - low) / middle), 3)]


def compare_values(contestants, steps=3):
    """All compute the same: values and gradients of the first run, values of the next ones, after the optimizer.

    To 1e-3 of each number plus 1e-4 of the largest in its array, or 1e-6 of the largest of all, for some gradients are
    nothing but rounding.
    """
    first, *_ = contestants
    for step in range(steps):
        answers = {who: [to_numpy(x) for x in run()[: 1 if step else None]] for who, run in contestants.items()}
        for who, theirs in answers.items():
            largest = max(np.abs(b).max(initial=0.0) for b in theirs)
            for i, (a, b) in enumerate(zip(answers[first], theirs, strict=True)):
                slack = max(1e-4 * np.abs(b).max(initial=0.0), 1e-6 * largest)
                if a.shape != b.shape or not (np.abs(a - b) <= slack + 1e-3 * np.abs(b)).all():
                    raise ValueError(f"result {i} of run {step}: {first}, {a.shape} {a.ravel()[:3]}.., "
                                     f"is not {who}'s, {b.shape} {b.ravel()[:3]}..")


def to_numpy(x):
    """Of a tensor, a peer's array, or a function that puts the array together."""
    x = x() if callable(x) else x
    return np.array(x.detach().numpy() if hasattr(x, "detach") else x)


def take_turns(contestants, rounds, turn=_TURN):
    """{name: {round: median seconds of one call}}. Every round another contestant begins."""
    times = {who: {} for who in contestants}
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        for i in range(rounds):
            names = [who for who in contestants if who not in peers.PEERS or i % _SELDOM == 0]
            for who in names[i % len(names):] + names[:i % len(names)]:
                gc.collect()
                rest()
                times[who][i] = statistics.median(calls(contestants[who], turn))
    finally:
        gc.enable()
        gc.unfreeze()
    return times


def rest(nap=0.01):
    """Sleep until no thread of this process works any more.

    After a matrix product the threads of OpenBLAS and OpenMP wait for the next one at full speed, some for 30 ms and more:
    whoever comes next would have half of the machine, and seem to be twice as slow.
    """
    end, busy = time.perf_counter() + _LONGEST_REST, math.inf
    while busy > nap / 20 and time.perf_counter() < end:
        before = time.process_time()
        time.sleep(nap)
        busy = time.process_time() - before


def calls(run, turn):
    """Seconds of each of as many calls as fit into `turn` seconds; with three or more, the first only warms up."""
    durations, end = [], time.perf_counter() + turn
    while not durations or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        durations.append(time.perf_counter() - start)
    return durations[1:] if len(durations) > 2 else durations


# ---------------------------------------------------------------- memory

def peak_bytes(who, run):
    """The most bytes of new arrays that were alive at one moment of a run; the scratch memory of BLAS is in neither."""
    gc.collect()
    return _torch_peak(run) if who == "torch" else _numpy_peak(run)


def _numpy_peak(run):
    tracemalloc.start()
    try:
        run()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _torch_peak(run):
    """The allocations that PyTorch's profiler saw, added up in order."""
    from torch.profiler import ProfilerActivity, profile
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "trace.json")
        profiler.export_chrome_trace(path)
        with open(path, encoding="utf-8") as file:
            events = json.load(file)["traceEvents"]

    now = most = 0
    for event in sorted((e for e in events if e.get("name") == "[memory]"), key=lambda e: e["ts"]):
        now += event["args"]["Bytes"]
        most = max(most, now)
    return most


if __name__ == "__main__":
    main()
