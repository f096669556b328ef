"""Every wrong backward is caught by name, and the library as it is passes the same checks."""
import os
import subprocess
import sys

import pytest

from tinygrad_edu.bughunt import __main__ as bughunt
from tinygrad_edu.bughunt.mutants import CHECKS, MUTANTS, caught_by, kill_table, planted

WATCHERS = {"order 1", "order 2", "adjoint", "engine", "law: mutation", "law: aliasing", "law: dtype"}


@pytest.mark.parametrize("name", CHECKS)
def test_the_right_library_passes(name):
    report = CHECKS[name].run()
    assert report.error < 1e-6 and report.kinks == [] and (report.adjoint, report.float32) == ("", "")


@pytest.mark.parametrize("name", MUTANTS)
def test_the_wrong_backward_is_caught(name):
    mutant = MUTANTS[name]
    before = getattr(mutant.owner, mutant.method)
    error = caught_by(mutant)
    assert error is not None, f"{name} survives {mutant.checks}"
    assert error.check in WATCHERS and error.cause
    assert getattr(mutant.owner, mutant.method) is before


@pytest.mark.parametrize("name", MUTANTS)
def test_each_named_check_sees_it(name):
    with planted(MUTANTS[name]):
        for check in MUTANTS[name].checks:
            with pytest.raises(AssertionError):
                CHECKS[check].run()


def test_the_kill_table():
    table = kill_table()
    print("\n" + table)
    rows = table.splitlines()[1:]
    assert len(rows) == len(MUTANTS) >= 90
    assert "SURVIVES" not in table
    assert all(watcher in table for watcher in WATCHERS), "each kind of check must be the first to see some mutant"
    assert {m.owner.__module__.rpartition(".")[2] for m in MUTANTS.values() if isinstance(m.owner, type)} == {
        "elementwise", "reduction", "shape", "indexing", "linalg", "window", "convolution", "cross_entropy", "batch_norm",
        "normalization", "softmax", "embedding", "pooling", "recurrent", "lstm", "gru", "attention", "group_norm_silu"}


# ---------------------------------------------------------------- the hunt

def _hunt(text, *arguments):
    environment = {**os.environ, "PYTHONPATH": os.getcwd()}
    return subprocess.run([sys.executable, "-m", "tinygrad_edu.bughunt", *arguments], input=text, env=environment,
                          capture_output=True, text=True, timeout=60)

def test_a_hunt_from_start_to_end():
    mutant = bughunt.hidden(3)
    done = _hunt(f"ops()\nhint()\nhint()\nguess('nothing')\nguess('{mutant.op.lower()}')\n", "--seed", "3")
    assert done.returncode == 0 and "Traceback" not in done.stderr
    assert "seed 3" in done.stderr and mutant.op in done.stdout and mutant.checks[0] in done.stdout
    assert "No, it is not nothing" in done.stdout and mutant.slip in done.stdout and "Well hunted" in done.stdout

def test_giving_up_is_polite():
    done = _hunt("", "--seed", "5")
    assert done.returncode == 0 and "Traceback" not in done.stderr and "--seed 5 hides the same bug" in done.stdout

def test_the_machine_solves(capsys):
    mutant = bughunt.hidden(11)
    before = getattr(mutant.owner, mutant.method)
    assert bughunt.main(["--seed", "11", "--solve"]) == 0
    text = capsys.readouterr().out
    assert mutant.slip in text and mutant.checks[0] in text
    assert getattr(mutant.owner, mutant.method) is before

def test_the_list(capsys):
    assert bughunt.main(["--list"]) == 0
    text = capsys.readouterr().out
    assert all(name in text for name in MUTANTS)
