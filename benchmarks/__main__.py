"""python -m benchmarks [NAME ...]: run the benchmarks named, or all; print a table and keep the numbers as JSON.

A benchmark is a module of this folder with `run()`, which gives rows {"case", "ours_us", "torch_us", "ratio"}, in
microseconds; the last two are None without PyTorch. One thread each.
"""
import os

for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(_name, "1")       # read once, when NumPy and PyTorch are loaded

import argparse
import datetime
import importlib
import json
import platform
from pathlib import Path

import numpy as np

FOLDER = Path(__file__).resolve().parent


def main():
    names = sorted({path.stem for path in FOLDER.glob("*.py")} - {"__init__", "__main__", "measure"})
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time the library beside PyTorch.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(names))
    chosen = parser.parse_args().names or names
    if not set(chosen) <= set(names):
        parser.error(f"got {' '.join(chosen)}, expected some of {' '.join(names)}")
    for name in chosen:
        rows = importlib.import_module(f"benchmarks.{name}").run()
        print_table(name, rows)
        print(f"  {write(name, rows)}\n")


def print_table(name, rows):
    print(f"{name}: microseconds, medians of alternating runs")
    print(f"  {'case':<36} {'ours':>8} {'torch':>8} {'ratio':>7}")
    for row in rows:
        theirs, ratio = (f"{row['torch_us']:.2f}", f"{row['ratio']:.2f}") if row["torch_us"] else ("-", "-")
        print(f"  {row['case']:<36} {row['ours_us']:8.2f} {theirs:>8} {ratio:>7}")


def write(name, rows):
    """benchmarks/results/DATE_NAME.json, replaced as a whole; returns its path."""
    now = datetime.datetime.now()
    record = dict(benchmark=name, date=now.isoformat(timespec="seconds"), machine=machine(), rows=rows)
    path = FOLDER / "results" / f"{now.date()}_{name}.json"
    path.parent.mkdir(exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    os.replace(temporary, path)
    return path


def machine():
    """What the numbers depend on."""
    return dict(processor=processor(), cores=os.cpu_count(), system=platform.platform(), numpy=np.__version__,
                python=platform.python_version(), threads=os.environ["OMP_NUM_THREADS"])


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


if __name__ == "__main__":
    main()
