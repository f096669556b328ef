"""Fair timing: the contestants take turns, so a busy moment of the machine hits all of them, and medians forget it."""
import gc
import statistics
import time


def alternate(contestants, rounds=300, warmup=20):
    """Median seconds of one call for each of {name: function}, in `rounds` rounds of one call each."""
    for run in contestants.values():
        for _ in range(warmup):
            run()
    times = {name: [] for name in contestants}
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, run in contestants.items():
                start = time.perf_counter()
                run()
                times[name].append(time.perf_counter() - start)
    finally:
        gc.enable()
    return {name: statistics.median(values) for name, values in times.items()}
