"""Fair timing of one workload in a process of its own: `python -m benchmarks.measure NAME ROUNDS THREADS [--kernel]`.

The contestants take turns, so that a busy moment of the machine hits all of them, and only their ratio is believed.
Prints one line of JSON, for `python -m benchmarks` to read.
"""
import gc
import json
import os
import statistics
import sys
import tempfile
import time
import tracemalloc

import numpy as np

import tinygrad_edu as tg

from .workloads import WORKLOADS

_TURN = 0.1         # seconds of work before the other's turn, but at least three calls
_REST = 0.03        # seconds between turns, in which the threads of the one before stop waiting for work


def main():
    name, rounds, threads, *kernel = sys.argv[1:]
    torch = load_torch(int(threads))
    workload = WORKLOADS[name]
    contestants = {"ours": workload.build(tg, **workload.sizes)}
    if kernel:
        contestants["reference"] = definition(workload.build(tg, **workload.sizes))
    if torch:
        contestants["torch"] = workload.build(torch, **workload.sizes)
    print(json.dumps(dict(name=name, **measure(contestants, int(rounds)))))


def load_torch(threads):
    """torch, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(threads)
    return torch


def definition(run):
    """`run`, in which every kernel runs the composition that defines it."""
    def run_reference():
        with tg.reference_only():
            return run()
    return run_reference


# ---------------------------------------------------------------- what is measured

def measure(contestants, rounds):
    """Milliseconds and peak MB of each, and the ratios of ours to the others with their spread over the rounds."""
    compare_values(contestants)
    seconds = take_turns(contestants, rounds)
    result = {f"{who}_ms": round(statistics.median(times) * 1e3, 4) for who, times in seconds.items()}
    result |= {f"{who}_mb": round(peak_bytes(who, run) / 1e6, 3) for who, run in contestants.items()}

    for other in contestants.keys() - {"ours"}:
        ratios = [ours / theirs for ours, theirs in zip(seconds["ours"], seconds[other])]
        middle = statistics.median(ratios)
        result[f"ratio_to_{other}"] = round(middle, 3)
        result[f"spread_to_{other}"] = round((max(ratios) - min(ratios)) / middle, 3)
    return result


def compare_values(contestants):
    """All compute the same: values and gradients of the first run, values of the next two, after the optimizer.

    To 1e-3 of each number plus 1e-4 of the largest in its array, or 1e-6 of the largest of all, for some gradients are
    nothing but rounding.
    """
    for step in range(3):
        answers = {who: [to_numpy(x) for x in run()][: 1 if step else None] for who, run in contestants.items()}
        for who, theirs in answers.items():
            largest = max(np.abs(b).max(initial=0.0) for b in theirs)
            for i, (a, b) in enumerate(zip(answers["ours"], theirs, strict=True)):
                slack = max(1e-4 * np.abs(b).max(initial=0.0), 1e-6 * largest)
                if a.shape != b.shape or not (np.abs(a - b) <= slack + 1e-3 * np.abs(b)).all():
                    raise ValueError(f"result {i} of run {step}: ours, {a.shape} {a.ravel()[:3]}.., "
                                     f"is not {who}'s, {b.shape} {b.ravel()[:3]}..")


def to_numpy(x):
    return np.array(x.detach().numpy())


def take_turns(contestants, rounds, turn=_TURN):
    """{name: [median seconds of one call in each round]}"""
    times = {who: [] for who in contestants}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for who, run in contestants.items():
                time.sleep(_REST)
                run()
                times[who].append(statistics.median(calls(run, turn)))
    finally:
        gc.enable()
    return times


def calls(run, turn):
    """Seconds of each of as many calls as fit into `turn` seconds, three at least."""
    durations, end = [], time.perf_counter() + turn
    while len(durations) < 3 or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        durations.append(time.perf_counter() - start)
    return durations


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
