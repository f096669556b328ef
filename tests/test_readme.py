"""The README tells the truth: its commands are those of CI, its code runs, its generated parts are fresh."""
import ast
import contextlib
import io
import re
import tokenize
from pathlib import Path

import pytest

from lessons import report
from lessons.__main__ import find_lesson

ROOT = Path(__file__).resolve().parents[1]
TEXT = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language):
    """The code blocks of one language."""
    return re.findall(rf"(?ms)^```{language}\n(.*?)^```$", TEXT)


def expected_output(comments, lines, statement, following):
    """Comment behind a statement's last line, and those on lines of their own right below it."""
    said = [comments[statement.end_lineno]] if statement.end_lineno in comments else []
    for number in range(statement.end_lineno + 1, following):
        if not lines[number - 1].startswith("#"):
            break
        said.append(comments[number])
    return said


def disagreements(source):
    """Run a block statement by statement; every statement that prints must print what the comments behind it say."""
    lines, body, names = source.splitlines(), ast.parse(source).body, {}
    comments = {token.start[0]: token.string[1:].strip() for token
                in tokenize.generate_tokens(io.StringIO(source).readline) if token.type == tokenize.COMMENT}
    starts = [statement.lineno for statement in body[1:]] + [len(lines) + 1]

    wrong = []
    for statement, following in zip(body, starts):
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            exec(compile(ast.Module([statement], []), "README.md", "exec"), names)
        said = [line.strip() for line in printed.getvalue().splitlines()]
        if said and said != expected_output(comments, lines, statement, following):
            wrong.append((ast.unparse(statement), said))
    return wrong


@pytest.mark.parametrize("source", blocks("python"), ids=lambda source: source.splitlines()[0])
def test_code_blocks_print_what_they_say(source):
    if "import torch" in source:
        pytest.importorskip("torch")
    assert disagreements(source) == []


def test_there_is_code_for_both_libraries():
    assert [("import torch" in source) for source in blocks("python")].count(True) == 1
    assert any("tinygrad_edu" in source and "print(" in source for source in blocks("python"))


def test_a_wrong_comment_is_noticed():
    assert disagreements("print(1)    # 1\n\nprint(2)\nx = 3  # no output\n") == [("print(2)", ["2"])]
    loop = "for i in range(2):\n    print(i)"
    assert disagreements(loop + "\n# 0\n# 1\n") == []
    assert disagreements(loop + "\n# 0\n# 2\n") == [(loop, ["0", "1"])]


def test_two_commands_set_everything_up():
    (commands,) = blocks("sh")
    first, second = commands.splitlines()
    name = re.search(r"-m lessons (\w+)$", first)[1]
    assert find_lesson(name, ROOT / "lessons").name.startswith("00_")
    assert second.endswith("-m pytest")


def test_ci_runs_the_test_command():
    """Both must install the same thing and start the tests in the same way; only the environment's place differs."""
    ci = (ROOT / ".ci" / "run").read_text(encoding="utf-8").splitlines()
    create, *steps = blocks("sh")[0].splitlines()[1].split(" && ")
    assert create == "python3 -m venv .venv"
    positions = [ci.index(step.replace(".venv/", '"$venv"/', 1)) for step in steps]
    assert positions == sorted(positions) and len(steps) == 2


def test_generated_parts_are_fresh():
    fresh = report.readme_text(ROOT / "lessons")
    assert TEXT == fresh, "README.md is stale: run `python -m lessons readme`"
