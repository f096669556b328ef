"""python -m benchmarks [NAME ...]: time the workloads named, or all, beside PyTorch; print and keep the numbers.

    python -m benchmarks                      every workload, about four minutes
    python -m benchmarks gelu lstm            two of them
    python -m benchmarks --kernel layer_norm  a kernel against the composition that defines it
    python -m benchmarks table                write the table of benchmarks/README.md from the newest complete run

Only ratios are worth comparing: the times belong to this machine and this minute.
"""
import argparse
import datetime
import json
import math
import os
import platform
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import numpy as np
from tqdm import tqdm

from .workloads import WORKLOADS

FOLDER = Path(__file__).resolve().parent
BEGIN, END = "<!-- table:begin -->", "<!-- table:end -->"
_THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")      # read once, on import


def main():
    arguments = parse()
    if arguments.names == ["table"]:
        path, readme = newest(), FOLDER / "README.md"
        write(readme, with_table(readme.read_text(encoding="utf-8"), path))
        print(f"benchmarks/README.md, from {path.name}")
        return

    names = [arguments.kernel] if arguments.kernel else arguments.names or list(WORKLOADS)
    rows = [run_alone(name, arguments.rounds, arguments.threads, bool(arguments.kernel))
            for name in tqdm(names, disable=None)]
    print("\n".join(table(rows)))
    if not arguments.kernel:
        print(f"\n{keep(names, rows, arguments)}")


def parse():
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description="Time the library beside PyTorch.",
                                     epilog="workloads: " + " ".join(WORKLOADS))
    parser.add_argument("names", nargs="*", metavar="NAME", help="workloads; all if none is named; or `table`")
    parser.add_argument("--kernel", metavar="NAME", help="compare the workload with its kernels' definitions too")
    parser.add_argument("--threads", type=int, default=2, help="of each library (default 2)")
    parser.add_argument("--rounds", type=int, default=7, help="turns of each (default 7)")
    arguments = parser.parse_args()
    unknown = [n for n in arguments.names + [arguments.kernel] if n not in WORKLOADS and n is not None]
    if unknown and arguments.names != ["table"]:
        parser.error(f"got {' '.join(unknown)}, expected some of {' '.join(WORKLOADS)}")
    if arguments.kernel and arguments.names:
        parser.error("--kernel NAME stands alone")
    if min(arguments.threads, arguments.rounds) < 1:
        parser.error("--threads and --rounds must be at least 1")
    return arguments


def run_alone(name, rounds, threads, kernel=False):
    """The numbers of one workload, measured in a fresh process with a fixed number of threads."""
    command = [sys.executable, "-m", "benchmarks.measure", name, str(rounds), str(threads)] + ["--kernel"] * kernel
    environment = os.environ | dict.fromkeys(_THREAD_SETTINGS, str(threads))
    done = subprocess.run(command, cwd=FOLDER.parent, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{name}: the measurement failed\n{done.stderr}")
    return next(json.loads(line) for line in done.stdout.splitlines() if line.startswith("{"))


# ---------------------------------------------------------------- the table

def table(rows):
    """The lines of a Markdown table: times, ratio, spread and peak memory, and the geometric mean of the ratios."""
    others = [who for who in ("reference", "torch") if any(f"ratio_to_{who}" in row for row in rows)]
    who = ["ours", *others]
    heads = ["workload", *(f"{w} ms" for w in who), *(f"ours / {w}" for w in others), *(f"{w} MB" for w in who)]
    lines = [[row["name"], *(f"{row[f'{w}_ms']:.3g}" for w in who), *(_ratio(row, w) for w in others),
              *(f"{row[f'{w}_mb']:.2f}" for w in who)] for row in rows]
    if others and len(rows) > 1:
        means = [f"**{geometric_mean(row[f'ratio_to_{w}'] for row in rows):.2f}**" for w in others]
        lines.append(["**geometric mean**", *[""] * len(who), *means, *[""] * len(who)])

    widths = [max(map(len, column)) for column in zip(heads, *lines)]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    return [f"| {' | '.join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])])} |"
            for first, *others in (heads, rule, *lines)]


def _ratio(row, other):
    """The ratio; where the rounds disagree by more than a fifth, by how much."""
    spread = row[f"spread_to_{other}"]
    return (f"(spread {spread:.0%}) " if spread > 0.2 else "") + f"{row[f'ratio_to_{other}']:.2f}"


def geometric_mean(values):
    logs = [math.log(v) for v in values]
    return math.exp(sum(logs) / len(logs))


def with_table(text, path):
    """`text` with the table of the run in `path` between the two markers."""
    run = json.loads(path.read_text(encoding="utf-8"))
    machine = ", ".join(f"{name} {value}" for name, value in run["machine"].items() if name != "system")
    facts = f"{run['date'][:10]}, threads: {run['threads']}, rounds: {run['rounds']}; {machine}."
    before, rest = text.split(BEGIN)
    return "\n".join([before + BEGIN, *table(run["rows"]), "", facts, END + rest.split(END)[1]])


# ---------------------------------------------------------------- the results

def keep(names, rows, arguments):
    """benchmarks/results/DATE_all.json, or DATE_NAMES.json for some of the workloads; returns its path."""
    now = datetime.datetime.now()
    record = dict(date=now.isoformat(timespec="seconds"), threads=arguments.threads, rounds=arguments.rounds,
                  machine=machine(), rows=rows)
    which = "all" if names == list(WORKLOADS) else "_".join(names)
    path = FOLDER / "results" / f"{now.date()}_{which}.json"
    path.parent.mkdir(exist_ok=True)
    write(path, json.dumps(record, indent=1) + "\n")
    return path


def newest():
    """The newest run of all workloads."""
    paths = sorted((FOLDER / "results").glob("*_all.json"))
    if not paths:
        raise SystemExit("table: found no benchmarks/results/DATE_all.json; `python -m benchmarks` writes it")
    return paths[-1]


def write(path, text):
    """Replace a file as a whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def machine():
    """What the numbers depend on."""
    try:
        torch = metadata.version("torch")
    except metadata.PackageNotFoundError:
        torch = "not installed"
    return dict(processor=processor(), cores=os.cpu_count(), system=platform.platform(),
                python=platform.python_version(), numpy=np.__version__, torch=torch)


def processor():
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    models = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return models[0] if models else platform.processor()


if __name__ == "__main__":
    main()
