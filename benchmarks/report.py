"""The tables: what was measured as lines of Markdown, for the terminal and between the markers of benchmarks/README.md."""
import json
import math
import statistics

from .notes import COMPILED_TARGETS, MEAN_TARGETS, TARGETS, WHY
from .peers import NUMPY_PEERS

FACES, _NOISY = ("arrays", "compiled"), 0.2


def markdown(heads, lines):
    """A table whose columns line up, the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(heads, *lines)]
    rule = ["-" * widths[0], *("-" * (w - 1) + ":" for w in widths[1:])]
    return [f"| {' | '.join([first.ljust(widths[0]), *map(str.rjust, others, widths[1:])])} |"
            for first, *others in (heads, rule, *lines)]


# ---------------------------------------------------------------- workloads

def ratios(rows):
    """Our time / theirs, with the geometric means."""
    faces = [face for face in FACES if any(face in row["ms"] for row in rows)]
    columns = [(f"{face} / {other}", [row["ratios"].get(f"{face}/{other}") for row in rows])
               for other in ("torch", "reference") for face in faces]
    peers = [best_peer(row) for row in rows]
    columns += [(f"{face} / peer", [row["ratios"].get(f"{face}/{peer}") for row, peer in zip(rows, peers)])
                for face in faces]
    columns += [(f"{face} / jax", [row["ratios"].get(f"{face}/jax") for row in rows]) for face in faces[-1:]]
    columns = [(head, cells) for head, cells in columns if any(cells)]

    table = {"workload": [row["name"] for row in rows] + ["**geometric mean**"]}
    table |= {head: [*map(_ratio, cells), _mean(cells)] for head, cells in columns}
    if "arrays / torch" in table:
        table["target"] = [*map(target, rows), _mean_target(columns)]
    if any(peers):
        table["best peer"] = [*(peer or "" for peer in peers), ""]
    lines = list(zip(*table.values()))
    return markdown(list(table), lines if len(rows) > 1 else lines[:-1])


def _ratio(cell):
    """The ratio; where the rounds disagree by more than a fifth, by how much."""
    if cell is None:
        return ""
    ratio, spread = cell
    return (f"(spread {spread:.0%}) " if spread > _NOISY else "") + f"{ratio:.2f}"


def _mean(cells):
    return f"**{geometric_mean(ratio for ratio, _ in filter(None, cells)):.2f}**"


def geometric_mean(values):
    return math.exp(statistics.fmean(map(math.log, values)))


def best_peer(row):
    """The NumPy framework with the shortest time, or None."""
    return min((who for who in NUMPY_PEERS if who in row["ms"]), key=row["ms"].get, default=None)


def target(row):
    """What the arrays, and the compiled loops, were to reach, and whether they miss it."""
    numbers = [f"{TARGETS[row['name']]:.2f}"]
    if row["name"] in COMPILED_TARGETS:
        numbers.append(f"compiled {COMPILED_TARGETS[row['name']]:.2f}")
    return ", ".join(numbers) + (" missed" if misses(row) else "")


def misses(row):
    """[(face, its ratio to torch, its target)] of the targets that a row does not reach."""
    goals = [("arrays", TARGETS[row["name"]]), ("compiled", COMPILED_TARGETS.get(row["name"], math.inf))]
    return [(face, row["ratios"][f"{face}/torch"][0], goal) for face, goal in goals
            if row["ratios"].get(f"{face}/torch", [0])[0] > goal]


def _mean_target(columns):
    reached = [head.split(" / ")[0] for head, _ in columns if head.endswith(" / torch")]
    return ", ".join(f"{face} {MEAN_TARGETS[face]:.2f}" for face in reached)


def ahead(rows):
    """How far we are ahead of the best NumPy peers, in a sentence."""
    found = {face: [row["ratios"][f"{face}/{peer}"][0] for row in rows
                    if (peer := best_peer(row)) and f"{face}/{peer}" in row["ratios"]] for face in FACES}
    parts = [f"{1 / geometric_mean(values):.1f} times ({face})" for face, values in found.items() if values]
    count = len(found["arrays"])
    return [f"Ahead of the best NumPy framework in the geometric mean of {count} rows: {', '.join(parts)}."] if parts else []


def times(rows):
    """Milliseconds of everybody, and the peak memory."""
    who = list(dict.fromkeys(who for row in rows for who in row["ms"]))
    weighed = list(dict.fromkeys(who for row in rows for who in row["mb"]))
    lines = [[row["name"], *(f"{row['ms'][w]:.3g}" if w in row["ms"] else "" for w in who),
              *(f"{row['mb'][w]:.2f}" if w in row["mb"] else "" for w in weighed)] for row in rows]
    return markdown(["workload", *(f"{w} ms" for w in who), *(f"{w} MB" for w in weighed)], lines)


def why(rows):
    """A line for every row that misses its target: by how much, and what its time is made of."""
    return [f"- {row['name']}: {face} {ratio:.2f}, aim {goal:.2f}. {WHY.get(row['name'], 'Not yet explained.')}"
            for row in rows for face, ratio, goal in misses(row)]


# ---------------------------------------------------------------- growth, overhead, lessons

def growth(rows):
    lines = [[row["name"], f"{row['sizes'][0]} to {row['sizes'][-1]}", f"{row['ms'][0]:.3g} to {row['ms'][-1]:.3g}",
              f"{row['exponent']:.2f}", f"{row['expected']}", f"{row['residual']:.0%}"] for row in rows]
    return markdown(["what grows", "from, to", "ms", "exponent", "expected", "typical miss"], lines)


def overhead(rows):
    who = list(dict.fromkeys(who for row in rows for who in row["us"]))
    who = sorted(who, key=lambda w: not w.endswith("forward"))
    lines = [[row["name"], *(f"{row['us'][w]:.2f}" for w in who)] for row in rows]
    return markdown(["microseconds", *who], lines)


def lessons(ledger):
    """Median over the seeds of what each lesson took in full."""
    seconds = {name: statistics.median(entry["seconds"]) for name, entry in ledger.items()}
    lines = [[name, f"{value:.1f}"] for name, value in seconds.items()]
    return markdown(["lesson", "seconds"], [*lines, ["**all**", f"**{sum(seconds.values()):.0f}**"]])


# ---------------------------------------------------------------- the README

def with_tables(text, folder):
    """benchmarks/README.md with what the newest complete runs say between its markers."""
    sections = {}
    for kind in ("all", "growth", "overhead"):
        path = newest(folder, kind)
        if path:
            run = json.loads(path.read_text(encoding="utf-8"))
            rows = run["rows"]
            if kind == "all":
                sections |= dict(ratios=[*ratios(rows), "", *ahead(rows), facts(run)], times=times(rows), why=why(rows))
            else:
                sections[kind] = [*{"growth": growth, "overhead": overhead}[kind](rows), "", facts(run)]
    ledger = folder.parent / "lessons" / "ledger.json"
    if ledger.exists():
        sections["lessons"] = lessons(json.loads(ledger.read_text(encoding="utf-8")))

    for name, lines in sections.items():
        begin, end = f"<!-- {name}:begin -->", f"<!-- {name}:end -->"
        before, rest = text.split(begin)
        text = "\n".join([before + begin, *lines, end + rest.split(end)[1]])
    return text


def facts(run):
    machine = ", ".join(f"{name} {value}" for name, value in run["machine"].items() if name != "system")
    return f"{run['date'][:10]}, threads: {run['threads']}, rounds: {run['rounds']}; {machine}."


def newest(folder, kind):
    """The newest run of all workloads, of "growth" or of "overhead", or None."""
    return max((folder / "results").glob(f"*_{kind}.json"), default=None)
