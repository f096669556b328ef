"""A lesson's options, claims, figure and record: what is judged, what is written, what is refused."""
import json
import os
import sys
import types
from pathlib import Path

import numpy as np
import pytest

from tinygrad_edu import backend
from tinygrad_edu.files import write_atomically
from tinygrad_edu.lesson import Lesson, json_text, output_folder, show


@pytest.fixture
def out(tmp_path, monkeypatch):
    """The folder that lessons in this test write to; their command line is empty."""
    monkeypatch.setenv("TINYGRAD_EDU_OUT", str(tmp_path / "out"))
    monkeypatch.setattr(sys, "argv", ["lesson"])
    return tmp_path / "out"


@pytest.fixture
def lesson(out):
    """A lesson in this process, under default options."""
    return Lesson("05_here")


# ---------------------------------------------------------------- claims

@pytest.mark.parametrize("value, comparison, bound, met", [
    (1.0, "<=", 1.0, True), (1.1, "<=", 1.0, False), (1.0, ">=", 1.0, True), (0.9, ">=", 1.0, False),
    (1.0, "<", 1.0, False), (0.9, "<", 1.0, True), (1.0, ">", 1.0, False), (1.1, ">", 1.0, True),
    (3, "==", 3, True), (3, "==", 4, False), (True, "==", True, True), (False, "==", True, False),
    (0.5, "in", (0.5, 0.6), True), (0.6, "in", (0.5, 0.6), True), (0.4, "in", (0.5, 0.6), False),
    (0.7, "in", (0.5, 0.6), False),
])
def test_comparisons(lesson, value, comparison, bound, met):
    lesson.claim("a claim", value, comparison, bound, kind="E")
    assert lesson.claims["a claim"]["met"] is met


@pytest.mark.parametrize("comparison, bound", [("<=", 1.0), (">=", 1.0), ("<", 1.0), (">", 1.0), ("==", float("nan")),
                                               ("in", (float("-inf"), float("inf")))])
def test_nan_meets_no_claim(lesson, comparison, bound):
    lesson.claim("a claim", float("nan"), comparison, bound, kind="E")
    assert lesson.claims["a claim"]["met"] is False


def test_a_claim_line_says_everything(lesson, capsys):
    lesson.claim("test error", 0.05432, "<=", 0.0561, row="K01", kind="O", baseline=0.07, oracle=0.055)
    line = capsys.readouterr().out
    assert line.split() == ("met test error 0.05432 <= 0.0561 baseline 0.07 oracle 0.055 O K01").split()


def test_claims_take_arrays_of_one_element(lesson):
    lesson.claim("a claim", np.float32(2), "in", (np.array([1.0]), np.int64(3)), kind="E", oracle=np.array(2.0))
    record = lesson.claims["a claim"]
    assert (record["value"], record["bound"], record["oracle"], record["met"]) == (2.0, [1.0, 3], 2.0, True)
    assert json.loads(json_text(record)) == record


@pytest.mark.parametrize("wrong", [dict(comparison="=<"), dict(kind="X"), dict(name="first")])
def test_a_wrong_claim_is_an_error(lesson, wrong):
    lesson.claim("first", 1, "<=", 1, kind="E")
    words = dict(name="second", value=1, comparison="<=", bound=1, kind="E") | wrong
    with pytest.raises(ValueError, match="got .* expected"):
        lesson.claim(**words)


def test_fast_judges_exact_and_structural_claims_only(out, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lesson", "--fast"])
    lesson = Lesson("05_here")
    for kind in "EOCS":
        lesson.claim(f"claim {kind}", 1, "<=", 0, kind=kind)
    assert [claim["met"] for claim in lesson.claims.values()] == [False, None, None, False]
    assert capsys.readouterr().out.count("not judged in --fast") == 2
    assert (lesson.pick(60, fast=2), Lesson("05_here").fast) == (2, True)


@pytest.mark.parametrize("value, text", [(0.05432, "0.05432"), (0.123456, "0.1235"), (1e-12, "1e-12"), (12345, "12345"),
                                         (True, "True"), ([0.1, 2], "[0.1, 2]"), (None, ""), (float("nan"), "nan")])
def test_show(value, text):
    assert show(value) == text


# ---------------------------------------------------------------- one lesson

def test_options_seed_and_device(out, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["lesson", "--seed", "3", "--data", "faces", "--no-figure"])
    lesson = Lesson("05_here", real_data="faces")
    drawn = backend.generator().random()
    assert (lesson.seed, lesson.data, lesson.device) == (3, Path("faces"), "cpu")
    assert drawn == backend.manual_seed(3).random()
    lesson.save(None)                                       # --no-figure: nothing is written, nothing is touched
    assert not out.exists()


@pytest.mark.parametrize("arguments", [["--seed", "-1"], ["--seed", "x"], ["--device", "tpu"], ["--quick"], ["--data", "faces"]])
def test_wrong_options_exit_with_2(out, monkeypatch, arguments):
    monkeypatch.setattr(sys, "argv", ["lesson", *arguments])
    with pytest.raises(SystemExit) as end:
        Lesson("05_here")
    assert end.value.code == 2


def test_a_missing_device_is_one_line_and_2(out, monkeypatch, capsys):
    def refuse(device):
        raise backend.DeviceError(f"device {device!r}: none here")

    monkeypatch.setattr(sys, "argv", ["lesson", "--device", "cuda"])
    monkeypatch.setattr(backend, "set_default_device", refuse)
    with pytest.raises(SystemExit) as end:
        Lesson("05_here")
    assert (end.value.code, capsys.readouterr().err) == (2, "05_here: device 'cuda': none here\n")


def test_a_notebook_ignores_the_kernels_arguments_and_does_not_exit(out, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["ipykernel_launcher.py", "-f", "kernel.json"])
    monkeypatch.setitem(sys.modules, "ipykernel", types.ModuleType("ipykernel"))
    lesson = Lesson("05_here")
    for _ in range(2):                                      # a cell run twice keeps its last result
        lesson.claim("a claim", 2, "<=", 1, kind="E")
    lesson.finish()
    assert len(json.loads((out / "05_here.json").read_text())["claims"]) == 1


def test_figure_and_record(out, lesson):
    class Figure:
        def savefig(self, path, **options):
            assert path.suffix == ".png"
            path.write_bytes(b"picture")

    lesson.claim("infinite", float("inf"), ">=", 1, kind="S")
    lesson.save(Figure())
    lesson.finish()
    record = json.loads((out / "05_here.json").read_text())
    assert (out / record["figure"]).read_bytes() == b"picture"
    assert (record["lesson"], record["seed"], record["fast"], record["device"]) == ("05_here", 0, False, "cpu")
    assert record["claims"][0]["value"] == "inf" and record["claims"][0]["met"] is True
    assert sorted(path.name for path in out.iterdir()) == ["05_here.json", "05_here.png"]


def test_output_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("TINYGRAD_EDU_OUT", raising=False)
    monkeypatch.setattr("tinygrad_edu.lesson.__file__", str(tmp_path / "tinygrad_edu" / "lesson.py"))
    assert output_folder() == Path("lessons_out")           # no setup.cfg beside it: an installed package
    (tmp_path / "setup.cfg").touch()
    (tmp_path / "lessons").mkdir()
    assert output_folder() == tmp_path / "lessons" / "out"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert output_folder() == Path("lessons_out")
    monkeypatch.setenv("TINYGRAD_EDU_OUT", "elsewhere")
    assert output_folder() == Path("elsewhere")


def test_a_write_that_breaks_off_leaves_the_old_file(tmp_path, monkeypatch):
    path = tmp_path / "ledger.json"
    path.write_text("whole")

    def half(temporary):
        temporary.write_text("ha")
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_atomically(path, half)
    assert path.read_text() == "whole" and list(tmp_path.iterdir()) == [path]
