"""The benchmarks compare like with like, and their table says what was measured. No time is ever asserted."""
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
from benchmarks import __main__ as program, measure
from benchmarks.workloads import WORKLOADS

ROOT = Path(__file__).resolve().parents[1]
ROW = dict(name="gelu", ours_ms=1.5, torch_ms=1.0, ours_mb=8.0, torch_mb=4.0, ratio_to_torch=1.5, spread_to_torch=0.1)


@pytest.mark.parametrize("name", WORKLOADS)
def test_both_libraries_and_our_definitions_compute_the_same(name):
    torch, workload = pytest.importorskip("torch"), WORKLOADS[name]
    runs = {"ours": workload.build(tg, **workload.tiny), "torch": workload.build(torch, **workload.tiny),
            "reference": measure.definition(workload.build(tg, **workload.tiny))}
    measure.compare_values(runs)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_run_gives_values_and_finite_gradients_of_float32(name):
    answers = [measure.to_numpy(x) for x in WORKLOADS[name].build(tg, **WORKLOADS[name].tiny)()]
    assert len(answers) >= 2 and all(a.dtype == np.float32 and np.isfinite(a).all() for a in answers)
    assert all(a.any() for a in answers[:1])


@pytest.mark.parametrize("wrong", [[1.0, 2.01], [1.0, 2.0, 3.0], [1.0, math.nan]])
def test_different_values_are_not_timed(wrong):
    with pytest.raises(ValueError, match="result 0 of run 0"):
        measure.compare_values({"ours": lambda: [tg.tensor([1.0, 2.0])], "torch": lambda: [tg.tensor(wrong)]})


def test_training_that_drifts_apart_is_not_timed():
    """The second run sees what the optimizer did; a step of another size shows."""
    def run(step, w=np.ones(1)):
        w = w.copy()

        def once():
            w[...] -= step
            return [tg.tensor(w + step)]
        return once

    with pytest.raises(ValueError, match="of run 1"):
        measure.compare_values({"ours": run(0.1), "torch": run(0.2)})


def test_turns_alternate_and_give_one_number_a_round():
    order = []
    runs = {who: lambda who=who: order.append(who) for who in ("ours", "torch")}
    times = measure.take_turns(runs, rounds=2, turn=0.0)
    assert order == (["ours"] * 4 + ["torch"] * 4) * 2          # one call to warm up and three that count
    assert {who: len(t) for who, t in times.items()} == {"ours": 2, "torch": 2}


def test_the_peak_is_that_of_the_new_arrays():
    peak = measure.peak_bytes("ours", lambda: np.ones(250_000, "float32") + np.ones(250_000, "float32"))
    assert 3e6 <= peak < 3.1e6 or 2e6 <= peak < 2.1e6           # NumPy may write the sum into the first array


def test_pytorchs_peak_counts_the_same_arrays():
    torch = pytest.importorskip("torch")
    assert measure.peak_bytes("torch", lambda: torch.ones(250_000) + torch.ones(250_000)) == 3_000_000


# ---------------------------------------------------------------- the program

def test_a_workload_through_the_whole_path(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    monkeypatch.setattr(program, "FOLDER", tmp_path)
    run_alone = program.run_alone
    monkeypatch.setattr(program, "run_alone", lambda *arguments: in_checkout(monkeypatch, run_alone, *arguments))
    monkeypatch.setattr(sys, "argv", ["benchmarks", "tiny_ops", "--rounds", "1", "--threads", "1"])
    program.main()

    (path,) = tmp_path.glob("results/*_tiny_ops.json")
    run = json.loads(path.read_text(encoding="utf-8"))
    (row,) = run["rows"]
    assert (run["threads"], run["rounds"], row["name"]) == (1, 1, "tiny_ops")
    assert run["machine"]["numpy"] == np.__version__
    assert row["ours_ms"] > 0 and math.isclose(row["ratio_to_torch"], row["ours_ms"] / row["torch_ms"], rel_tol=0.01)
    assert f"{row['ratio_to_torch']:.2f}" in capsys.readouterr().out


def in_checkout(monkeypatch, run, *arguments):
    """run_alone starts its process in the checkout, wherever the results go."""
    with monkeypatch.context() as m:
        m.setattr(program, "FOLDER", ROOT / "benchmarks")
        return run(*arguments)


def test_an_unknown_name_says_which_there_are():
    done = subprocess.run([sys.executable, "-m", "benchmarks", "gelo"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "got gelo, expected some of tiny_ops" in done.stderr


def test_the_table_has_the_geometric_mean_and_names_what_scatters():
    noisy = dict(ROW, name="lstm", ratio_to_torch=6.0, spread_to_torch=0.35)
    lines = program.table([ROW, noisy])
    assert len({len(line) for line in lines}) == 1
    assert "| 1.50 |" in " ".join(lines[2].split()) and "spread" not in lines[2]
    assert "(spread 35%) 6.00" in lines[3] and "**3.00**" in lines[4]


def test_without_pytorch_the_table_has_our_times():
    lines = program.table([{k: v for k, v in ROW.items() if "torch" not in k}] * 2)
    assert len(lines) == 4 and "torch" not in lines[0]


def test_the_readme_shows_the_newest_complete_run():
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    path = program.newest()
    assert [row["name"] for row in json.loads(path.read_text(encoding="utf-8"))["rows"]] == list(WORKLOADS)
    assert program.with_table(text, path) == text
