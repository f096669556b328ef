"""The claims ledger, and the parts of the README that are written from it and from the source itself."""
import ast
import io
import json
import re
import statistics
import tokenize

from tinygrad_edu.files import write_atomically
from tinygrad_edu.lesson import json_text, show

ENGINE = ("backend.py", "faces.py", "threads.py", "autograd.py", "tensor.py",            # floors 0 to 3
          "ops", "kernels", "functional", "testing")
PER_SEED = ("value", "bound", "baseline", "oracle", "met")


class NotACheckout(Exception):
    """Ledger and README belong to a checkout; an installed package has neither."""


def require_readme(folder):
    """The README beside the lessons' folder."""
    path = folder.parent / "README.md"
    if not path.exists():
        raise NotACheckout(f"no README.md in {folder.parent}: the ledger and the README are written in a checkout")
    return path


# ---------------------------------------------------------------- the ledger

def read_ledger(folder):
    """{lesson: {title, device, seeds, seconds, claims}}; per claim the lists of PER_SEED, in the order of `seeds`."""
    path = folder / "ledger.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}


def update_ledger(folder, name, title, runs):
    """Replace one lesson's entry by `runs`, its records, one for each seed."""
    names = [claim["name"] for claim in runs[0]["claims"]]
    if any([claim["name"] for claim in run["claims"]] != names for run in runs):
        raise ValueError(f"{name}: got different claims on different seeds, expected the same names in the same order")

    claims = []
    for same in zip(*(run["claims"] for run in runs)):
        fixed = {key: same[0][key] for key in ("name", "row", "kind", "comparison")}
        claims.append(fixed | {key: [claim[key] for claim in same] for key in PER_SEED})
    entry = dict(title=title, device=runs[0]["device"], seeds=[run["seed"] for run in runs],
                 seconds=[run["seconds"] for run in runs], claims=claims)

    save_ledger(folder, read_ledger(folder) | {name: entry})


def save_ledger(folder, ledger):
    """Write ledger.json, whole or not at all."""
    text = ledger_text(dict(sorted(ledger.items())))
    write_atomically(folder / "ledger.json", lambda temporary: temporary.write_text(text, encoding="utf-8"))


def update_seconds(folder, name, run):
    """Replace one lesson's seconds by those of `run`, a record of the same claims; what the seeds gave stays."""
    ledger = read_ledger(folder)
    names = [claim["name"] for claim in run["claims"]]
    if name not in ledger or [claim["name"] for claim in ledger[name]["claims"]] != names:
        raise ValueError(f"{name}: the ledger has no entry with these claims; run it on the seeds first")
    ledger[name]["seconds"] = [run["seconds"]]
    save_ledger(folder, ledger)


def ledger_text(ledger):
    """The ledger as JSON with one line for each claim, so that a change of one claim is a change of one line."""
    def entry_text(entry):
        lines = [f'  "{key}": {json_text(entry[key], None)}' for key in ("title", "device", "seeds", "seconds")]
        claims = ",\n".join("   " + json_text(claim, None) for claim in entry["claims"])
        return "{\n" + ",\n".join(lines) + ',\n  "claims": [\n' + claims + "\n  ]\n }"

    return "{\n" + ",\n".join(f' "{name}": {entry_text(entry)}' for name, entry in ledger.items()) + "\n}\n"


def middle(values):
    """The median over seeds of numbers, of pairs (element by element), or None where there is none."""
    if values[0] is None:
        return None
    if isinstance(values[0], list):
        return [middle(list(column)) for column in zip(*values)]
    return statistics.median_low([v if isinstance(v, int) else float(v) for v in values])


def lesson_table(folder):
    """A Markdown row for each lesson: title, claims met on every seed, median seconds, its first O or C claim."""
    rows = ["| | Lesson | Claims met | Time | For example (median over the seeds) |", "|---|---|---|---|---|"]
    ledger = read_ledger(folder)
    for path in sorted(folder.glob("[0-9]*.py")):
        entry = ledger.get(path.stem)
        if entry is None:
            rows.append(f"| {path.stem[:2]} | [{path.stem}](lessons/{path.name}) | not measured yet | | |")
            continue
        met = sum(all(claim["met"]) for claim in entry["claims"])
        seeds = len(entry["seeds"])
        rows.append(f"| {path.stem[:2]} | [{entry['title']}](lessons/{path.name}) | {met} of {len(entry['claims'])}, "
                    f"{seeds} seed{'s' * (seeds > 1)} | {statistics.median(entry['seconds']):.0f} s "
                    f"| {escape(example(entry['claims']))} |")
    return "\n".join(rows)


def example(claims):
    """The first claim against an oracle or a baseline, or the first claim, in words."""
    claim = next((claim for claim in claims if claim["kind"] in "OC"), claims[0] if claims else None)
    if claim is None:
        return ""
    text = f"{claim['name']}: {show(middle(claim['value']))} ({claim['comparison']} {show(middle(claim['bound']))})"
    beside = [f"{key} {show(middle(claim[key]))}" for key in ("baseline", "oracle") if claim[key][0] is not None]
    return ", ".join([text, *beside])


# ---------------------------------------------------------------- the source, counted and listed

def code_lines(text):
    """How many lines of a Python source hold code: not blank, not a comment, not a docstring."""
    layout = (tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER)
    lines = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in layout:
            lines.update(range(token.start[0], token.end[0] + 1))

    for node in ast.walk(ast.parse(text)):
        if isinstance(node, (ast.Module, ast.ClassDef, ast.FunctionDef)) and ast.get_docstring(node) is not None:
            lines.difference_update(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def engine_size(root):
    """The sentence about floors 0 to 3: code lines, and all lines of the same files."""
    package = root / "tinygrad_edu"
    files = [path for name in ENGINE for path in sorted((package / name).rglob("*.py")) or [package / name]]
    texts = [path.read_text(encoding="utf-8") for path in files if path.is_file()]
    every = sum(len(text.splitlines()) for text in texts)
    return f"{sum(map(code_lines, texts)):,} lines of code ({every:,} with docstrings, comments and blank lines)"


def function_classes(root, folder, any_base=False):
    """(name, docstring's first line, path, line, methods) of every Function in tinygrad_edu/`folder`, found by reading it.

    any_base: every class of the folder, also those whose base stands elsewhere.
    """
    known, found = {"Function", "Elementwise", "Kernel"}, []
    for path in sorted((root / "tinygrad_edu" / folder).glob("*.py")):
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.ClassDef):
                continue
            if any_base or known & {ast.unparse(base).split(".")[-1] for base in node.bases}:
                known.add(node.name)
                first = (ast.get_docstring(node) or "").partition("\n")[0]
                methods = {item.name for item in node.body if isinstance(item, ast.FunctionDef)}
                found.append((node.name, first, path.relative_to(root).as_posix(), node.lineno, methods))
    return found


def primitive_table(root):
    """A Markdown table of the primitives, each with a link to its line."""
    rows = [f"| [{name}]({path}#L{line}) | {escape(first)} |" for name, first, path, line, _ in function_classes(root, "ops")]
    return "\n".join(["| Primitive | |", "|---|---|", *rows])


def kernel_table(root):
    """The same of the kernels, those with a definition of their own, and links to their further faces."""
    others = {(name, folder): f"[{folder}]({path}#L{line})" for folder in ("loops", "cuda")
              for name, _, path, line, _ in function_classes(root, f"kernels/{folder}", any_base=True)}
    rows = ["| Kernel | | Further faces |", "|---|---|---|"]
    for name, first, path, line, methods in function_classes(root, "kernels"):
        if "reference" in methods:
            faces = ", ".join(others[name, folder] for folder in ("loops", "cuda") if (name, folder) in others)
            rows.append(f"| [{name}]({path}#L{line}) | {escape(first)} | {faces} |")
    return "\n".join(rows)


def escape(text):
    """`text` for a cell of a Markdown table: * _ < and | lose their meaning there."""
    return re.sub(r"([*_<|\\])", r"\\\1", re.sub(r"\s+", " ", text))


# ---------------------------------------------------------------- the README

def readme_text(folder):
    """The README as it should be: its own text, with the parts between the markers made anew."""
    text, root = require_readme(folder).read_text(encoding="utf-8"), folder.parent
    parts = {
        "size": engine_size(root),
        "primitives": "\n" + primitive_table(root) + "\n",
        "kernels": "\n" + kernel_table(root) + "\n",
        "lessons": "\n" + lesson_table(folder) + "\n",
    }
    for name, part in parts.items():
        text, count = re.subn(rf"(?s)(<!-- {name}:begin -->).*?(<!-- {name}:end -->)",
                              lambda match: match[1] + part + match[2], text)
        if count != 1:
            raise ValueError(f"README.md: got {count} blocks <!-- {name}:begin --> ... <!-- {name}:end -->, expected 1")
    return text


def write_readme(folder):
    """Rewrite the README's generated parts."""
    text = readme_text(folder)
    write_atomically(require_readme(folder), lambda temporary: temporary.write_text(text, encoding="utf-8"))
