"""The lesson runner and the claims ledger, on throwaway lessons."""
import configparser
import json
import subprocess
import sys
from pathlib import Path

import pytest

from lessons import report
from lessons.__main__ import main
from tinygrad_edu import backend

ROOT = Path(__file__).resolve().parents[1]
README = "\n".join(f"<!-- {name}:begin --><!-- {name}:end -->" for name in ("size", "primitives", "kernels", "lessons"))


def script(name, *lines):
    """Source of a small lesson around the given lines."""
    head = [f'"""Lesson {name[:2]}: {name[3:]} in words      Somebody 1999"""',
            "from tinygrad_edu.lesson import Lesson", f"lesson = Lesson({name!r})"]
    return "\n".join([*head, *lines, "lesson.finish()", ""])


@pytest.fixture
def course(tmp_path, monkeypatch):
    """A checkout in small: lessons, README, an empty engine. Calling it with a name and lines adds a lesson."""
    folder = tmp_path / "lessons"
    folder.mkdir()
    (tmp_path / "README.md").write_text(README)
    for name in report.ENGINE:
        path = tmp_path / "tinygrad_edu" / name
        path.parent.mkdir(exist_ok=True)
        path.touch() if name.endswith(".py") else path.mkdir()
    monkeypatch.setenv("TINYGRAD_EDU_OUT", str(tmp_path / "out"))
    monkeypatch.setattr(sys, "argv", ["lesson"])

    def add(name, *lines):
        (folder / f"{name}.py").write_text(script(name, *lines))

    add.folder, add.out, add.readme = folder, tmp_path / "out", tmp_path / "README.md"
    return add


# ---------------------------------------------------------------- the runner

def test_a_missed_claim_exits_with_1(course):
    course("01_good", "lesson.claim('a', 1, '<=', 1, kind='E')")
    course("02_bad", "lesson.claim('a', 2, '<=', 1, kind='C')")
    assert main(["1"], course.folder) == 0
    assert main(["bad"], course.folder) == 1
    assert main(["bad", "--fast"], course.folder) == 0      # comparative: not judged
    assert json.loads((course.out / "02_bad.json").read_text())["claims"][0]["met"] is None


@pytest.mark.parametrize("query, name", [("7", "07_gan"), ("07", "07_gan"), ("gan", "07_gan"), ("07_gan", "07_gan"),
                                         ("wgan", "09_wgan_gp"), ("dc", "08_dcgan")])
def test_lessons_are_found_by_number_name_or_part(course, capsys, query, name):
    for stem in ("07_gan", "08_dcgan", "09_wgan_gp"):
        course(stem)
    assert main([query], course.folder) == 0
    assert f"{name}: 0 of 0 claims met" in capsys.readouterr().out


@pytest.mark.parametrize("query, message", [("cgan", "'cgan' is ambiguous: 08_dcgan, 10_cgan_too"),
                                            ("vae", "no lesson or command is called 'vae'"),
                                            ("7", "no lesson or command is called '7'")])
def test_unknown_and_ambiguous_names_are_one_line_and_2(course, capsys, query, message):
    course("08_dcgan")
    course("10_cgan_too")
    assert main([query], course.folder) == 2
    error = capsys.readouterr().err
    assert message in error and error.count("\n") == 1


def test_list_and_usage(course, capsys):
    course("01_good")
    assert main(["list"], course.folder) == 0
    assert capsys.readouterr().out == "  01  good in words\n"
    assert main([], course.folder) == 0
    assert capsys.readouterr().out.startswith("usage: ")


def test_devices(capsys):
    assert main(["devices"]) == 0
    assert capsys.readouterr().out == backend.describe_devices() + "\n"


def test_all_runs_every_lesson_and_says_what_was_missed(course, capfd):
    course("01_good", "lesson.claim('a', 1, '<=', 1, kind='E')")
    assert main(["all"], course.folder) == 0
    course("02_bad", "lesson.claim('a', float('nan'), '<=', 1, kind='S')")
    course("03_broken", "1 / 0")
    course.out.joinpath("03_broken.json").write_text("{}")  # an older run's record must not be taken for this one's
    assert main(["all", "--fast"], course.folder) == 1
    table = capfd.readouterr().out.splitlines()[-3:]
    assert [line.split()[:4] for line in table[:2]] == [["01_good", "1", "of", "1"], ["02_bad", "0", "of", "1"]]
    assert table[2].split() == ["03_broken", "did", "not", "finish"]


def test_all_refuses_a_wrong_option_before_it_starts(course):
    course("01_good")
    with pytest.raises(SystemExit) as end:
        main(["all", "--quick"], course.folder)
    assert end.value.code == 2 and not course.out.exists()


# ---------------------------------------------------------------- the ledger

SEEDED = ("lesson.claim('error', 0.1 + lesson.seed, '<=', 1.5, row='A01', kind='O', baseline=3.0)",
          "lesson.claim('shape', lesson.seed, 'in', (0, 9), kind='S')")


def test_ledger_keeps_every_seed_and_writes_the_readme(course):
    course("01_seeded", *SEEDED)
    assert main(["ledger", "--seeds", "0", "1", "2"], course.folder) == 1       # seed 2 misses
    entry = json.loads((course.folder / "ledger.json").read_text())["01_seeded"]
    assert (entry["title"], entry["seeds"], len(entry["seconds"])) == ("seeded in words", [0, 1, 2], 3)
    error, shape = entry["claims"]
    assert error == dict(name="error", row="A01", kind="O", comparison="<=", value=[0.1, 1.1, 2.1], bound=[1.5] * 3,
                         baseline=[3.0] * 3, oracle=[None] * 3, met=[True, True, False])
    assert shape["bound"] == [[0, 9]] * 3
    row = course.readme.read_text().split("<!-- lessons:begin -->")[1]
    assert "[seeded in words](lessons/01_seeded.py) | 1 of 2, 3 seeds |" in row
    assert "error: 1.1 (\\<= 1.5), baseline 3" in row


def test_ledger_of_one_lesson_leaves_the_others(course):
    course("01_seeded", *SEEDED)
    course("02_other", *SEEDED)
    assert main(["ledger", "--seeds", "0"], course.folder) == 0
    before = json.loads((course.folder / "ledger.json").read_text())
    assert main(["ledger", "other", "--seeds", "1"], course.folder) == 0
    after = json.loads((course.folder / "ledger.json").read_text())
    assert after["01_seeded"] == before["01_seeded"] and after["02_other"]["seeds"] == [1]


def test_the_time_can_be_taken_again_without_the_claims(course):
    course("01_seeded", *SEEDED)
    with pytest.raises(ValueError, match="01_seeded: the ledger has no entry with these claims"):
        main(["ledger", "--time"], course.folder)
    main(["ledger", "--seeds", "0", "1"], course.folder)
    path = course.folder / "ledger.json"
    before = json.loads(path.read_text())["01_seeded"]
    path.write_text(path.read_text().replace(json.dumps(before["seconds"]), "[1000.0, 1000.0]"))
    assert main(["ledger", "--time"], course.folder) == 0
    after = json.loads(path.read_text())["01_seeded"]
    assert len(after["seconds"]) == 1 and after["seconds"][0] < 1000
    assert after | {"seconds": before["seconds"]} == before


def test_a_lesson_that_does_not_finish_leaves_its_entry(course, capfd):
    course("01_seeded", *SEEDED)
    main(["ledger", "--seeds", "0"], course.folder)
    before = (course.folder / "ledger.json").read_text()
    course("01_seeded", "1 / 0")
    assert main(["ledger", "--seeds", "0"], course.folder) == 1
    assert (course.folder / "ledger.json").read_text() == before
    assert "01_seeded: did not finish on every seed" in capfd.readouterr().err


def test_claims_that_differ_between_seeds_are_an_error(course):
    course("01_seeded", "lesson.claim(f'error {lesson.seed}', 1, '<=', 1, kind='E')")
    with pytest.raises(ValueError, match="different claims on different seeds"):
        main(["ledger", "--seeds", "0", "1"], course.folder)


def test_ledger_needs_a_checkout(course, capsys):
    course("01_seeded", *SEEDED)
    course.readme.unlink()
    assert main(["ledger"], course.folder) == 2 and main(["readme"], course.folder) == 2
    assert capsys.readouterr().err.count("no README.md") == 2


# ---------------------------------------------------------------- counting and listing the source

def test_code_lines():
    text = ('"""doc\n\nstring"""\nimport x  # why\n\n# comment\n'
            'def f():\n    """doc"""\n    y = """a\n\n    b"""\n    return y\n')
    assert report.code_lines(text) == 6


def test_functions_are_found_through_their_bases(tmp_path):
    ops = tmp_path / "tinygrad_edu" / "ops"
    ops.mkdir(parents=True)
    (ops / "a.py").write_text('class Abs(Elementwise):\n    """y = |x|\n\n    more"""\n\nclass Helper:\n    pass\n')
    (ops / "b.py").write_text('import a\n\nclass Deep(a.Abs):\n    """y = x_1 * x_2"""\n')
    table = report.primitive_table(tmp_path).splitlines()
    assert table[2:] == [r"| [Abs](tinygrad_edu/ops/a.py#L1) | y = \|x\| |",
                         r"| [Deep](tinygrad_edu/ops/b.py#L3) | y = x\_1 \* x\_2 |"]


def test_kernels_are_listed_with_their_faces(tmp_path):
    kernels = tmp_path / "tinygrad_edu" / "kernels"
    (kernels / "loops").mkdir(parents=True)
    (kernels / "a.py").write_text('class Base(Kernel):\n    pass\n\nclass Norm(Base):\n    """y = x"""\n'
                                  '    def reference(self, x):\n        return x\n')
    (kernels / "loops" / "a.py").write_text('class Norm(a.Norm):\n    pass\n')
    assert report.kernel_table(tmp_path).splitlines()[2:] == [
        "| [Norm](tinygrad_edu/kernels/a.py#L4) | y = x | [loops](tinygrad_edu/kernels/loops/a.py#L1) |"]


# ---------------------------------------------------------------- packaging

def test_every_package_is_listed():
    config = configparser.ConfigParser()
    config.read(ROOT / "setup.cfg")
    listed = set(config["options"]["packages"].split()) - {"tinygrad_edu.lessons"}
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "tinygrad_edu").rglob("*.py")}
    assert {".".join(folder.parts) for folder in folders} <= listed
    assert all((ROOT / name.replace(".", "/")).is_dir() for name in listed)


@pytest.mark.parametrize("module", ["lessons", "tinygrad_edu"])
def test_the_runner_starts_from_a_checkout(module):
    process = subprocess.run([sys.executable, "-m", module, "list"], cwd=ROOT, capture_output=True, text=True)
    lessons = sorted(path.name[:2] for path in (ROOT / "lessons").glob("[0-9]*.py"))
    assert process.returncode == 0 and [line.split()[0] for line in process.stdout.splitlines()] == lessons
