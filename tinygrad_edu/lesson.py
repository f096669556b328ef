"""Floor 5: what a lesson script needs around its own training loop: options, claims, a figure, a closing line.

    lesson = Lesson("05_perceptron_to_mlp")                  # reads --fast --seed --device --data --no-figure
    epochs = lesson.pick(60, fast=2)
    for epoch in lesson.progress(range(epochs), "MLP"): ...
    lesson.claim("two moons, test accuracy", accuracy, ">=", 0.97, row="A12", kind="O", baseline=0.88)
    lesson.save(figure)
    lesson.finish()

A claim is a promise with a bound. Its kind says when it is judged: E (exact) and S (structural) always, O (against an
oracle) and C (comparative) need the full training and are not judged under --fast. NaN meets no claim.
"""
import argparse
import json
import math
import os
import sys
import time
from pathlib import Path

from tqdm import tqdm

from tinygrad_edu import backend, threads
from tinygrad_edu.files import write_atomically

COMPARISONS = {
    "<=": lambda value, bound: value <= bound,
    ">=": lambda value, bound: value >= bound,
    "<": lambda value, bound: value < bound,
    ">": lambda value, bound: value > bound,
    "==": lambda value, bound: value == bound,
    "in": lambda value, bound: bound[0] <= value <= bound[1],
}
KINDS = {"E": "exact", "O": "oracle", "C": "comparative", "S": "structural"}


# ---------------------------------------------------------------- files and options

def output_folder():
    """Where figures and records go: $TINYGRAD_EDU_OUT, else lessons/out in a checkout, else ./lessons_out."""
    if os.environ.get("TINYGRAD_EDU_OUT"):
        return Path(os.environ["TINYGRAD_EDU_OUT"])
    root = Path(__file__).resolve().parents[1]
    in_checkout = (root / "setup.cfg").exists() and os.access(root / "lessons", os.W_OK)
    return root / "lessons" / "out" if in_checkout else Path("lessons_out")


def parse_options(arguments, name="lesson"):
    """The options that every lesson understands; a wrong one prints the usage and exits with 2."""
    parser = argparse.ArgumentParser(prog=name)
    parser.add_argument("--fast", action="store_true", help="a few seconds: judge only exact and structural claims")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--data", type=Path, metavar="PATH", help="the real data set, where the lesson has one")
    parser.add_argument("--no-figure", action="store_true", help="do not write the picture")
    options = parser.parse_args(arguments)
    if options.seed < 0:
        parser.error(f"--seed: got {options.seed}, expected 0 or more")
    return options


# ---------------------------------------------------------------- numbers

def plain(value):
    """A Python number (for a pair: a list of two) from a number, or an array or Tensor of one element."""
    if value is None:
        return None
    if isinstance(value, (tuple, list)):
        return [plain(v) for v in value]
    value = value.item() if hasattr(value, "item") else value
    return value if isinstance(value, int) else float(value)


def show(value):
    """A number as a claim line and the README print it: four digits, whole numbers in full, pairs as [low, high]."""
    if value is None:
        return ""
    if isinstance(value, list):
        return "[" + ", ".join(show(v) for v in value) + "]"
    return str(value) if isinstance(value, int) else f"{value:.4g}"


def tally(claims):
    """(claims met, claims judged) of a run's record."""
    judged = [claim["met"] for claim in claims if claim["met"] is not None]
    return sum(judged), len(judged)


# ---------------------------------------------------------------- the lesson

class Lesson:
    """One run of the lesson `name`, its file's name without .py. Sets the seed and the default device.

    Public: `name`, `fast`, `seed`, `device`, `data` (a Path or None). In a notebook sys.argv belongs to the kernel, so
    every option keeps its default there. `real_data`: what --data may point to, for a lesson that has such a set.
    """

    def __init__(self, name, real_data=None):
        self.started = time.perf_counter()
        self.name = Path(name).stem
        self.in_notebook = "ipykernel" in sys.modules
        options = parse_options([] if self.in_notebook else sys.argv[1:], self.name)
        if options.data is not None and real_data is None:
            print(f"{self.name}: --data: this lesson has no real data set, it runs on what comes with the library", file=sys.stderr)
            sys.exit(2)
        self.fast, self.seed, self.device, self.data = options.fast, options.seed, options.device, options.data
        self.draws = not options.no_figure
        self.figure = None
        self.claims = {}

        os.environ.setdefault("MPLBACKEND", "Agg")          # no window needed; a notebook has chosen its own by now
        threads.set_blas_threads(1)
        backend.manual_seed(self.seed)
        try:
            backend.set_default_device(self.device)
        except backend.DeviceError as error:
            print(f"{self.name}: {error}", file=sys.stderr)
            sys.exit(2)

    def pick(self, default, fast):
        """`default`, or `fast` under --fast."""
        return fast if self.fast else default

    def progress(self, iterable, title):
        """`iterable` with a progress bar, silent where the output is not a terminal."""
        return tqdm(iterable, title, disable=None, leave=False)

    def claim(self, name, value, comparison, bound, *, kind, row="", baseline=None, oracle=None):
        """Judge `value comparison bound`, print it as one line and keep it for the record.

        `comparison`: <= >= < > == or "in", whose bound is a pair. `row`: the claim's row in the course's table.
        `baseline` and `oracle` are printed beside it: what the simple method reaches, what is the best possible.
        """
        if comparison not in COMPARISONS:
            raise ValueError(f"claim {name!r}: got comparison {comparison!r}, expected one of {list(COMPARISONS)}")
        if kind not in KINDS:
            raise ValueError(f"claim {name!r}: got kind {kind!r}, expected one of {list(KINDS)}")
        if name in self.claims and not self.in_notebook:
            raise ValueError(f"claim {name!r}: got this name twice, expected one claim of a name in a lesson")

        value, bound, baseline, oracle = plain(value), plain(bound), plain(baseline), plain(oracle)
        judged = kind in "ES" or not self.fast
        met = COMPARISONS[comparison](value, bound) if judged else None
        self.claims[name] = dict(name=name, row=row, kind=kind, value=value, comparison=comparison, bound=bound,
                                 baseline=baseline, oracle=oracle, met=met)
        print(claim_line(self.claims[name]), flush=True)

    def save(self, figure):
        """Write a matplotlib figure to the output folder as NAME.png, unless --no-figure was given."""
        if not self.draws:
            return
        path = output_folder() / f"{self.name}.png"
        write_atomically(path, lambda temporary: figure.savefig(temporary, dpi=120, bbox_inches="tight"))
        self.figure = path.name
        print(f"  figure  {path}")

    def finish(self):
        """Print the closing line, write the run's record as JSON, and exit with 1 if a judged claim was missed."""
        met, judged = tally(self.claims.values())
        seconds = time.perf_counter() - self.started
        aside = f" ({len(self.claims) - judged} not judged in --fast)" if judged < len(self.claims) else ""
        print(f"{self.name}: {met} of {judged} claims met{aside}, {seconds:.1f} s")

        record = dict(lesson=self.name, seed=self.seed, fast=self.fast, device=self.device, seconds=round(seconds, 2),
                      figure=self.figure, claims=list(self.claims.values()))
        write_atomically(output_folder() / f"{self.name}.json",
                         lambda temporary: temporary.write_text(json_text(record) + "\n", encoding="utf-8"))
        if met < judged and not self.in_notebook:
            sys.exit(1)


def claim_line(claim):
    """One aligned line: mark, name, value, comparison, bound, then baseline, oracle, kind and row."""
    mark = {True: "met", False: "MISSED", None: "-"}[claim["met"]]
    promise = f"{claim['comparison']:>2} {show(claim['bound'])}"
    line = f"  {mark:<7} {claim['name']:<52} {show(claim['value']):>10} {promise:<13}"
    notes = [f"{key} {show(claim[key])}" for key in ("baseline", "oracle") if claim[key] is not None]
    notes.append(f"{claim['kind']} {claim['row']}".strip())
    if claim["met"] is None:
        notes.append("not judged in --fast")
    return line + "  " + "   ".join(notes)


def json_text(value, indent=1):
    """`value` as strict JSON, which has no NaN or infinity: these become the strings "nan", "inf" and "-inf"."""
    def strict(v):
        if isinstance(v, dict):
            return {key: strict(item) for key, item in v.items()}
        if isinstance(v, (list, tuple)):
            return [strict(item) for item in v]
        return v if not isinstance(v, float) or math.isfinite(v) else str(v)

    return json.dumps(strict(value), indent=indent, allow_nan=False)
