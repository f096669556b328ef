"""python -m benchmarks [NAME ...]: time the workloads named, or all, beside PyTorch and other NumPy frameworks.

    python -m benchmarks                      every workload, about six minutes
    python -m benchmarks gelu lstm            two of them
    python -m benchmarks --kernel layer_norm  a kernel's faces and the composition that defines it
    python -m benchmarks growth               how cost grows with batch, length, side, depth and width
    python -m benchmarks overhead             the price of one operation on a 4 x 4 matrix
    python -m benchmarks table                write the tables of benchmarks/README.md from the newest complete runs

Only ratios are worth comparing: the times belong to this machine and this minute.
"""
import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

from tqdm import tqdm

from . import growth, overhead, peers, report
from .workloads import WORKLOADS

FOLDER = Path(__file__).resolve().parent
_COMMANDS = ("growth", "overhead", "table")
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS", "NPROC")


def main():
    arguments = parse()
    if arguments.names == ["table"]:
        readme = FOLDER / "README.md"
        write(readme, report.with_tables(readme.read_text(encoding="utf-8"), FOLDER))
        print("benchmarks/README.md is written")
        return

    which, lines, rows = run(arguments)
    print("\n".join(lines))
    if not arguments.kernel:
        print(f"\n{keep(which, rows, arguments)}")


def run(arguments):
    """(name of the run, lines to print, rows of numbers)"""
    numbers = (arguments.rounds, arguments.threads)
    if arguments.names == ["growth"]:
        rows = [run_alone("growth", sweep, *numbers) for sweep in tqdm(growth.SWEEPS, disable=None)]
        return "growth", report.growth(rows), rows
    if arguments.names == ["overhead"]:
        rows = [run_alone("overhead", operation, *numbers) for operation in tqdm(overhead.OPERATIONS, disable=None)]
        return "overhead", report.overhead(rows), rows

    kernel = ["--kernel"] if arguments.kernel else []
    names = [arguments.kernel] if kernel else arguments.names or list(WORKLOADS)
    rows = [run_alone("measure", name, *numbers, *kernel) for name in tqdm(names, disable=None)]
    which = "all" if names == list(WORKLOADS) else "_".join(names)
    return which, [*report.ratios(rows), "", *report.times(rows)], rows


def parse():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time the library beside others.",
                                     epilog="workloads: " + " ".join(WORKLOADS))
    parser.add_argument("names", nargs="*", metavar="NAME",
                        help="workloads; all if none is named; or one of `growth`, `overhead`, `table`")
    parser.add_argument("--kernel", metavar="NAME", help="compare the faces of the kernels in one workload")
    parser.add_argument("--threads", type=int, default=2, help="of each library (default 2)")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each (default 9; of other frameworks a third)")
    arguments = parser.parse_args()
    unknown = [n for n in arguments.names + [arguments.kernel] if n not in WORKLOADS and n is not None]
    if unknown and not (len(arguments.names) == 1 and arguments.names[0] in _COMMANDS):
        parser.error(f"got {' '.join(unknown)}, expected some of {' '.join(WORKLOADS)}, or one of {' '.join(_COMMANDS)}")
    if arguments.kernel and arguments.names:
        parser.error("--kernel NAME stands alone")
    if min(arguments.threads, arguments.rounds) < 1:
        parser.error("--threads and --rounds must be at least 1")
    return arguments


def run_alone(module, name, rounds, threads, *options):
    """The row that benchmarks.MODULE measures in a fresh process with a fixed number of threads."""
    command = [sys.executable, "-m", f"benchmarks.{module}", name, str(rounds), str(threads), *options]
    environment = os.environ | dict.fromkeys(_THREAD_SETTINGS, str(threads))
    done = subprocess.run(command, cwd=FOLDER.parent, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}: the measurement failed\n{done.stderr}")
    return next(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))


# ---------------------------------------------------------------- the results

def keep(which, rows, arguments):
    """benchmarks/results/DATE_WHICH.json: "all", "growth", "overhead", or the names of some workloads; its path."""
    now = datetime.datetime.now()
    record = dict(date=now.isoformat(timespec="seconds"), threads=arguments.threads, rounds=arguments.rounds,
                  machine=machine(), rows=rows)
    path = FOLDER / "results" / f"{now.date()}_{which}.json"
    path.parent.mkdir(exist_ok=True)
    write(path, json.dumps(record, indent=1) + "\n")
    return path


def write(path, text):
    """Replace a file as a whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def machine():
    """What the numbers depend on."""
    versions = {name: version(name) for name in ("numpy", "torch", "numba")} | peers.versions()
    return dict(processor=processor(), cores=os.cpu_count(), system=platform.platform(),
                python=platform.python_version(), **versions)


def version(name):
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return "not installed"


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


if __name__ == "__main__":
    main()
