"""Find and run lessons: `python -m lessons` in a checkout, `tinygrad-edu` once installed."""
import argparse
import ast
import json
import os
import re
import runpy
import subprocess
import sys
import tempfile
from pathlib import Path

import tinygrad_edu.lesson
from tinygrad_edu import backend
from tinygrad_edu.lesson import output_folder, parse_options, tally

from . import report

FOLDER = Path(__file__).resolve().parent

USAGE = """usage: python -m lessons COMMAND      (installed: tinygrad-edu COMMAND)

  tour                             the first lesson
  NUMBER or NAME [options]         one lesson; options: --fast --seed N --device cpu|cuda --data PATH --no-figure
  list                             every lesson's number and title
  all [options]                    every lesson, each in its own process, and a closing table
  ledger [LESSON ...] [--seeds N ...]   run in full on the seeds (default 0 to 4), write ledger.json and the README
  ledger [LESSON ...] --time            run once, on an idle machine, and replace only the seconds
  readme                           rewrite the generated parts of README.md
  devices                          what tensors can live on here
"""


class UsageError(Exception):
    """The command line asks for something that is not there; the message is one line."""


# ---------------------------------------------------------------- finding

def find_lessons(folder):
    """The lesson scripts, in order."""
    return sorted(folder.glob("[0-9]*.py"))


def title(path):
    """First line of a lesson's docstring, without "Lesson NN" before it and the paper set far to the right of it."""
    first = (ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or "").partition("\n")[0]
    return re.split(r"\s{3,}", re.sub(r"^[#\s]*(Lesson \d+\W+)?", "", first))[0]


def find_lesson(query, folder):
    """The one lesson that `query` means: its number, its name, or a part of its name; the first that fits decides."""
    paths = find_lessons(folder)
    rules = (
        lambda stem: query.isdigit() and int(stem.partition("_")[0]) == int(query),
        lambda stem: query in (stem, stem.partition("_")[2]),
        lambda stem: query in stem,
    )
    for rule in rules:
        found = [path for path in paths if rule(path.stem)]
        if len(found) == 1:
            return found[0]
        if found:
            raise UsageError(f"{query!r} is ambiguous: " + ", ".join(path.stem for path in found))
    raise UsageError(f"no lesson or command is called {query!r}; `python -m lessons list` shows them all")


# ---------------------------------------------------------------- running

def run_here(path, options):
    """Run a lesson in this process, where a debugger can follow; returns its exit code."""
    sys.argv = [str(path), *options]
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as end:
        return end.code or 0
    return 0


def run_apart(path, options, out):
    """Run a lesson in a process of its own; returns the record that it left in `out`, None if it did not finish."""
    record = out / f"{path.stem}.json"
    record.unlink(missing_ok=True)
    root = str(Path(tinygrad_edu.lesson.__file__).parents[1])        # so that a checkout needs no installation
    search = os.pathsep.join(filter(None, [root, os.environ.get("PYTHONPATH")]))
    environment = os.environ | {"PYTHONPATH": search, "TINYGRAD_EDU_OUT": str(out.resolve())}

    subprocess.run([sys.executable, str(path), *options], env=environment)
    return json.loads(record.read_text(encoding="utf-8")) if record.exists() else None


def run_all(options, folder):
    """Run every lesson and print one table; 1 if a claim was missed or a lesson did not finish."""
    parse_options(options, "all")                                    # a typing error ends here, not in every lesson
    out = output_folder()
    records = {path.stem: run_apart(path, options, out) for path in find_lessons(folder)}

    print(f"\n{'lesson':<40} {'claims met':>12} {'seconds':>8}   figure")
    for name, record in records.items():
        if record is None:
            print(f"{name:<40} {'did not finish':>12}")
            continue
        met, judged = tally(record["claims"])
        figure = out / record["figure"] if record["figure"] else "-"
        print(f"{name:<40} {f'{met} of {judged}':>12} {record['seconds']:8.1f}   {figure}")
    return 0 if all(map(succeeded, records.values())) else 1


def succeeded(record):
    """True if a run finished and met every claim that was judged."""
    return record is not None and len(set(tally(record["claims"]))) == 1


def write_ledger(arguments, folder):
    """Run lessons in full on several seeds; the ledger is saved after each lesson, the README's table at the end."""
    parser = argparse.ArgumentParser(prog="ledger")
    parser.add_argument("lessons", nargs="*", metavar="LESSON")
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4], metavar="N")
    parser.add_argument("--time", action="store_true")
    options = parser.parse_args(arguments)
    paths = [find_lesson(query, folder) for query in options.lessons] or find_lessons(folder)
    report.require_readme(folder)

    clean = True
    for path in paths:
        with tempfile.TemporaryDirectory() as out:
            seeds = options.seeds[:1] if options.time else options.seeds
            runs = [run_apart(path, ["--seed", str(seed), "--no-figure"], Path(out)) for seed in seeds]
        clean = clean and all(map(succeeded, runs))
        if None in runs:
            print(f"{path.stem}: did not finish on every seed, its ledger entry stays as it was", file=sys.stderr)
        elif options.time:
            report.update_seconds(folder, path.stem, runs[0])
        else:
            report.update_ledger(folder, path.stem, title(path), runs)
    report.write_readme(folder)
    return 0 if clean else 1


# ---------------------------------------------------------------- the command line

def list_lessons(folder):
    """Print number and title of every lesson."""
    for path in find_lessons(folder):
        print(f"  {path.stem.partition('_')[0]}  {title(path)}")


def main(arguments=None, folder=FOLDER):
    """Run one command line; returns the exit code: 0, 1 for a missed claim, 2 for a wrong command."""
    command, *rest = (sys.argv[1:] if arguments is None else arguments) or ["usage"]
    try:
        if command in ("usage", "-h", "--help"):
            print(USAGE)
            list_lessons(folder)
        elif command == "list":
            list_lessons(folder)
        elif command == "devices":
            print(backend.describe_devices())
        elif command == "readme":
            report.write_readme(folder)
        elif command == "all":
            return run_all(rest, folder)
        elif command == "ledger":
            return write_ledger(rest, folder)
        else:
            return run_here(find_lesson(command, folder), rest)
    except (UsageError, report.NotACheckout) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
