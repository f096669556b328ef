"""The law of floors, held by parsing the imports: a file imports only from its own floor and the floors below.

`python tests/test_structure.py` prints how long files and functions are; those are targets to write towards, not laws.
"""
import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = "tinygrad_edu"
FLOORS = {
    0: ("backend", "faces", "files", "threads"),
    1: ("autograd", "tensor", "creation"),
    2: ("ops",),
    3: ("kernels", "functional", "testing", "memory", "profiler"),
    4: ("nn", "optim", "distributions", "data", "metrics", "amp"),
    5: ("models", "viz", "io", "lesson", "bughunt"),
    6: ("__init__", "__main__", "lessons"),
}
FLOOR_OF = {name: floor for floor, names in FLOORS.items() for name in names}
WHOLE_PACKAGE = 5                       # from this floor on, `import tinygrad_edu as tg` is an import from below
# Models that other models may import.
BUILDING_BLOCKS = {"decisions.reinforce", "foundations.mlp", "generative.flow", "generative.unet", "implicit.nerf",
                   "implicit.volume", "implicit.voxels"}


def sources(folder):
    return sorted(path for path in (ROOT / folder).rglob("*.py") if "__pycache__" not in path.parts)


def module_name(path):
    """tinygrad_edu/ops/shape.py -> "tinygrad_edu.ops.shape"; the __init__.py of a folder is the folder."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" and len(parts) > 1 else parts)


def parse(path):
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def is_module(name):
    path = ROOT.joinpath(*name.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


def imports_of(path, tree=None):
    """[(full module name, line)] of every import in the file, relative ones resolved, wherever in the file they stand."""
    here = module_name(path)
    package = here if path.name == "__init__.py" else here.rpartition(".")[0]
    found = []
    for node in ast.walk(tree or parse(path)):
        if isinstance(node, ast.Import):
            found += [(alias.name, node.lineno) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(above + ([node.module] if node.module else []))
            for alias in node.names:                # `from . import backend` names a module, `from .tensor import Tensor` a thing
                full = f"{base}.{alias.name}"
                found.append((full if base.split(".")[0] == PACKAGE and is_module(full) else base, node.lineno))
    return found


def top_name(module):
    """The entry of FLOORS that a module of the package belongs to."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else "__init__"


def at(path, line):
    return f"{path.relative_to(ROOT)}:{line}"


PACKAGE_FILES, LESSON_FILES = sources(PACKAGE), sources("lessons")
ids = {"ids": lambda path: str(path.relative_to(ROOT))}


# ---------------------------------------------------------------- floors

def test_every_file_has_a_floor():
    homeless = {top_name(module_name(path)) for path in PACKAGE_FILES} - set(FLOOR_OF)
    assert not homeless, f"give these a floor in FLOORS: {sorted(homeless)}"


@pytest.mark.parametrize("path", PACKAGE_FILES, **ids)
def test_imports_come_from_the_same_floor_or_below(path):
    own = FLOOR_OF[top_name(module_name(path))]
    for module, line in imports_of(path):
        if module.split(".")[0] != PACKAGE:
            continue
        floor = WHOLE_PACKAGE - 1 if module == PACKAGE and own >= WHOLE_PACKAGE else FLOOR_OF[top_name(module)]
        assert floor <= own, f"{at(path, line)}: floor {own} imports {module} from floor {floor}"


def test_no_part_imports_itself_round_a_circle():
    graph = {name: set() for name in FLOOR_OF}
    for path in PACKAGE_FILES:
        own = top_name(module_name(path))
        parts = {top_name(module) for module, _ in imports_of(path) if module.split(".")[0] == PACKAGE}
        graph[own] |= parts - {own}
    while graph:
        free = [part for part, needs in graph.items() if not needs & set(graph)]
        assert free, f"these import each other: {sorted(graph)}"
        for part in free:
            del graph[part]


@pytest.mark.parametrize("path", [p for p in PACKAGE_FILES if "models" in p.parts], **ids)
def test_models_do_not_import_each_other(path):
    if path.name == "__init__.py":
        return
    for module, line in imports_of(path):
        if module.startswith(f"{PACKAGE}.models."):
            other = module.removeprefix(f"{PACKAGE}.models.")
            assert other in BUILDING_BLOCKS, f"{at(path, line)}: imports the model {other}, which is no building block"


@pytest.mark.parametrize("path", PACKAGE_FILES + LESSON_FILES, **ids)
def test_nothing_imports_a_lesson(path):
    for module, line in imports_of(path):
        name = module.rpartition(".")[2]
        in_lessons = module.split(".")[0] == "lessons" or module.startswith(f"{PACKAGE}.lessons")
        machinery = path.name in ("__main__.py", "report.py") and name in ("lessons", "report", "__main__")
        assert machinery or not in_lessons, f"{at(path, line)}: imports {module}"


# ---------------------------------------------------------------- who may name what

def mentions_of_cupy(tree):
    """Lines that import CuPy or could: import statements, and the string "cupy" as a value."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
            names = [node.value]
        elif isinstance(node, ast.Name):
            names = [node.id]
        else:
            continue
        if any(name.split(".")[0] == "cupy" for name in names):
            yield node.lineno


@pytest.mark.parametrize("path", PACKAGE_FILES + LESSON_FILES, **ids)
def test_only_the_backend_and_its_stand_in_say_cupy(path):
    lines = list(mentions_of_cupy(parse(path)))
    assert path.name in ("backend.py", "strict_cupy.py") or not lines, f"cupy is named in {[at(path, line) for line in lines]}"


def test_the_backend_is_where_cupy_is_named():
    assert len(list(mentions_of_cupy(parse(ROOT / PACKAGE / "backend.py")))) >= 3


@pytest.mark.parametrize("path", PACKAGE_FILES + LESSON_FILES, **ids)
def test_matplotlib_and_graphviz_are_imported_where_they_are_used(path):
    tree = parse(path)
    drawing = [line for module, line in imports_of(path, tree) if module.split(".")[0] in ("matplotlib", "graphviz", "pygraphviz")]
    if drawing:
        assert "viz" in path.parts or path in LESSON_FILES, f"{at(path, drawing[0])}: only viz/ and lessons draw"
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)]
    outside = [line for line in drawing if not any(f.lineno < line <= f.end_lineno for f in functions)]
    assert not outside, f"{at(path, outside[0])}: import it inside the function that draws"


@pytest.mark.parametrize("path", PACKAGE_FILES, **ids)
def test_errors_are_raised_not_asserted_and_never_swallowed(path):
    for node in ast.walk(parse(path)):
        assert not isinstance(node, ast.Assert), f"{at(path, node.lineno)}: raise an error with a message instead of assert"
        assert not (isinstance(node, ast.ExceptHandler) and node.type is None), f"{at(path, node.lineno)}: bare except"


@pytest.mark.parametrize("name", ["autograd", "tensor"])
def test_no_recursion_in_the_engine(name):
    functions = {node.name: node for node in ast.walk(parse(ROOT / PACKAGE / f"{name}.py")) if isinstance(node, ast.FunctionDef)}
    calls = {caller: {called(node) for node in ast.walk(body) if isinstance(node, ast.Call)} & set(functions)
             for caller, body in functions.items()}
    while calls:
        leaves = [f for f, called_by_f in calls.items() if not called_by_f & set(calls)]
        assert leaves, f"{name}.py: these functions call each other: {sorted(calls)}"
        for f in leaves:
            del calls[f]


def called(call):
    """The name of the function in f(..), self.f(..) and super().f(..); a node's own methods are another object's."""
    f = call.func
    if isinstance(f, ast.Name):
        return f.id
    own = isinstance(f, ast.Attribute) and isinstance(f.value, ast.Name) and f.value.id in ("self", "cls")
    return f.attr if own else None


# ---------------------------------------------------------------- the report

def report():
    """Lines by floor, and what is longer than the house likes: files over 250 lines, functions over 25."""
    totals = dict.fromkeys(FLOORS, 0)
    for path in PACKAGE_FILES + LESSON_FILES:
        lines = path.read_text(encoding="utf-8").splitlines()
        floor = 6 if path in LESSON_FILES else FLOOR_OF[top_name(module_name(path))]
        totals[floor] += len(lines)
        if len(lines) > 250:
            print(f"{len(lines):5d} lines  {path.relative_to(ROOT)}")
        for node in ast.walk(parse(path)):
            if isinstance(node, ast.FunctionDef) and node.end_lineno - node.lineno + 1 > 25:
                print(f"{node.end_lineno - node.lineno + 1:5d} lines  {at(path, node.lineno)} {node.name}")
    for floor, count in totals.items():
        print(f"floor {floor}: {count:5d} lines  {', '.join(FLOORS[floor])}")
    print(f"floors 0-3: {sum(totals[floor] for floor in range(4))} lines")


if __name__ == "__main__":
    report()
