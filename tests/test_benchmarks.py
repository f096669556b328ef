"""The benchmarks compare like with like, and their tables say what was measured. No time is ever asserted."""
import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
from benchmarks import __main__ as program, growth, measure, notes, overhead, peers, report
from benchmarks.peers.library import Library
from benchmarks.workloads import WORKLOADS
from tinygrad_edu import faces

ROOT = Path(__file__).resolve().parents[1]
ROW = dict(name="gelu", ms=dict(arrays=1.5, compiled=1.2, torch=1.0, mygrad=6.0, autograd=7.0),
           mb=dict(arrays=8.0, compiled=8.0, torch=4.0),
           ratios={"arrays/torch": [1.5, 0.1], "compiled/torch": [1.2, 0.1], "arrays/mygrad": [0.25, 0.1],
                   "compiled/mygrad": [0.2, 0.1], "arrays/autograd": [0.21, 0.1], "compiled/autograd": [0.17, 0.1]})


# ---------------------------------------------------------------- the contestants

@pytest.mark.filterwarnings("ignore")           # of other frameworks, where they are installed
@pytest.mark.parametrize("name", WORKLOADS)
def test_all_that_are_installed_compute_the_same(name):
    contestants = measure.build(name, threads=1, tiny=True) | measure.build(name, threads=1, kernel=True, tiny=True)
    assert list(contestants)[0] == "arrays" and "reference" in contestants
    assert ("compiled" in contestants) == faces.has_numba()
    measure.compare_values(contestants)


@pytest.mark.parametrize("name", WORKLOADS)
def test_a_run_gives_values_and_finite_gradients_of_float32(name):
    answers = [measure.to_numpy(x) for x in WORKLOADS[name].build(tg, **WORKLOADS[name].tiny)()]
    assert len(answers) >= 2 and all(a.dtype == np.float32 and np.isfinite(a).all() for a in answers)
    assert all(a.any() for a in answers[:1])


def test_a_face_is_chosen_for_each_run():
    before = faces.current
    assert measure.on_face("loops", lambda: faces.current)() == "loops" and faces.current == before


def test_without_pytorch_and_numba_the_arrays_run_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(faces, "has_numba", lambda: False)
    monkeypatch.setattr(peers, "load", lambda name: None)
    assert list(measure.build("gelu", threads=1, tiny=True)) == ["arrays"]


class OnNumPy(Library):
    """What the peers share, on NumPy itself: values without gradients."""
    np = np

    def both_ways(self, function, *arrays):
        y = function(*arrays)
        return lambda: [y]

    def training(self, model, loss_of):
        return self.both_ways(loss_of, model)

    def sigmoid(self, x):
        return 1 / (1 + np.exp(-x))

    def logsumexp(self, x):
        return np.log(np.exp(x).sum(axis=-1))

    def erf(self, x):
        return np.vectorize(math.erf, otypes=["float32"])(x)


@pytest.mark.parametrize("name", WORKLOADS)
def test_what_the_peers_share_computes_our_values(name, monkeypatch):
    monkeypatch.setattr(peers, "load", lambda name: OnNumPy())
    theirs = peers.build("numpy", WORKLOADS[name], WORKLOADS[name].tiny)
    if theirs is None:
        assert name.startswith(("conv", "lenet", "unet", "adam"))
        return
    value, *_ = WORKLOADS[name].build(tg, **WORKLOADS[name].tiny)()
    np.testing.assert_allclose(theirs()[0], measure.to_numpy(value), rtol=1e-4, atol=1e-5)


def test_the_peers_adam_is_ours():
    arrays, gradients = [np.ones((2, 3), "float32")], [np.full((2, 3), 0.5, "float32")]
    ours = tg.tensor(arrays[0].copy(), requires_grad=True)
    ours.grad = tg.tensor(gradients[0])
    optimizer, state = tg.optim.Adam([ours], lr=1e-2), {}
    for _ in range(3):
        optimizer.step()
        peers.library.adam(arrays, gradients, state, lr=1e-2)
    np.testing.assert_allclose(arrays[0], measure.to_numpy(ours), rtol=1e-6)


def test_a_peer_that_cannot_be_imported_is_left_out(monkeypatch):
    monkeypatch.setattr(peers.importlib, "import_module", lambda *names: (_ for _ in ()).throw(ImportError))
    assert peers.load.__wrapped__("mygrad") is None
    assert set(peers.versions()) <= set(peers.PEERS)


# ---------------------------------------------------------------- measuring

@pytest.mark.parametrize("wrong", [[1.0, 2.01], [1.0, 2.0, 3.0], [1.0, math.nan]])
def test_different_values_are_not_timed(wrong):
    with pytest.raises(ValueError, match="result 0 of run 0"):
        measure.compare_values({"arrays": lambda: [tg.tensor([1.0, 2.0])], "torch": lambda: [tg.tensor(wrong)]})


def test_training_that_drifts_apart_is_not_timed():
    """The second run sees what the optimizer did; a step of another size shows."""
    def run(step, w=np.ones(1)):
        w = w.copy()

        def once():
            w[...] -= step
            return [tg.tensor(w + step)]
        return once

    with pytest.raises(ValueError, match="of run 1"):
        measure.compare_values({"arrays": run(0.1), "torch": run(0.2)}, steps=2)


def test_every_round_another_begins_and_peers_come_seldom(monkeypatch):
    order = []
    monkeypatch.setattr(measure, "_LONGEST_REST", 0.0)
    runs = {who: lambda who=who: order.append(who) for who in ("arrays", "torch", "mygrad")}
    times = measure.take_turns(runs, rounds=4, turn=0.0)
    assert order == ["arrays", "torch", "mygrad", "torch", "arrays", "arrays", "torch", "arrays", "torch", "mygrad"]
    assert {who: list(t) for who, t in times.items()} == {"arrays": [0, 1, 2, 3], "torch": [0, 1, 2, 3], "mygrad": [0, 3]}


def test_the_first_of_many_calls_only_warms_up():
    assert len(measure.calls(lambda: None, turn=0.0)) == 0 + 1
    made = []
    durations = measure.calls(lambda: made.append(0), turn=1e-3)
    assert len(durations) == len(made) - 1


def test_the_ratio_is_the_median_over_common_rounds():
    ours, theirs = {0: 2.0, 1: 50.0, 2: 4.0, 3: 6.0}, {0: 1.0, 2: 2.0, 3: 2.0}
    assert measure.middle_and_spread(ours, theirs) == [2.0, 0.25]


def test_what_a_row_holds(monkeypatch):
    monkeypatch.setattr(measure, "_LONGEST_REST", 0.0)
    run = WORKLOADS["gelu"].build(tg, **WORKLOADS["gelu"].tiny)
    row = measure.measure(dict.fromkeys(["arrays", "compiled", "reference", "mygrad"], run), rounds=1)
    assert set(row["ms"]) == {"arrays", "compiled", "reference", "mygrad"} and set(row["mb"]) == set(row["ms"]) - {"mygrad"}
    assert set(row["ratios"]) == {f"{a}/{b}" for a in ("arrays", "compiled") for b in ("reference", "mygrad")}


def test_the_peak_is_that_of_the_new_arrays():
    peak = measure.peak_bytes("arrays", lambda: np.ones(250_000, "float32") + np.ones(250_000, "float32"))
    assert 3e6 <= peak < 3.1e6 or 2e6 <= peak < 2.1e6           # NumPy may write the sum into the first array


def test_pytorchs_peak_counts_the_same_arrays():
    torch = pytest.importorskip("torch")
    assert measure.peak_bytes("torch", lambda: torch.ones(250_000) + torch.ones(250_000)) == 3_000_000


# ---------------------------------------------------------------- growth and overhead

@pytest.mark.parametrize("power", [0, 1, 2.5])
def test_the_fit_finds_the_exponent(power):
    sizes = [10, 20, 40, 80]
    assert growth.fit(sizes, [3e-3 * n**power for n in sizes]) == pytest.approx((power, 0), abs=1e-6)
    exponent, residual = growth.fit(sizes, [n**power * factor for n, factor in zip(sizes, (1.1, 0.9, 0.9, 1.1))])
    assert exponent == pytest.approx(power) and 0.05 < residual < 0.15


@pytest.mark.parametrize("name", growth.SWEEPS)
def test_every_sweep_runs_at_its_smallest_sizes(name, monkeypatch):
    monkeypatch.setattr(measure, "_LONGEST_REST", 0.0)
    build, sizes, expected = growth.SWEEPS[name]
    assert list(sizes) == sorted(sizes) and len(sizes) >= 5 and sizes[-1] >= 4 * sizes[0]
    row = growth.measure(growth.Sweep(build, (4, 8), expected), rounds=1, turn=0.0)
    assert len(row["ms"]) == 2 and math.isfinite(row["exponent"])


@pytest.mark.parametrize("name", overhead.OPERATIONS)
def test_numpy_by_hand_computes_our_gradients(name):
    x, y, gy = np.arange(16.0).reshape(4, 4) / 16, overhead.rotation().astype("float64"), np.ones((4, 4))
    _, ours = overhead.on_tape(tg, overhead.OPERATIONS[name], x, y, gy, length=3)
    _, hand = overhead.by_hand(np, overhead.OPERATIONS[name], x, y, gy, length=3)
    for a, b in zip(ours(), hand(), strict=True):
        assert (a is None) == (b is None)
        if a is not None:
            np.testing.assert_allclose(measure.to_numpy(a), b, rtol=1e-12)


def test_the_overhead_of_an_operation(monkeypatch):
    monkeypatch.setattr(measure, "_LONGEST_REST", 0.0)
    us = overhead.measure("x + y", rounds=1, turn=0.0)
    assert set(us) == {f"{who} {way}" for who in ("numpy", "ours") for way in ("forward", "both")}
    assert all(value > 0 for value in us.values())


# ---------------------------------------------------------------- the program

def in_checkout(monkeypatch, tmp_path):
    """run_alone starts its process in the checkout, wherever the results go."""
    run_alone = program.run_alone

    def run(*arguments):
        with monkeypatch.context() as m:
            m.setattr(program, "FOLDER", ROOT / "benchmarks")
            return run_alone(*arguments)

    monkeypatch.setattr(program, "run_alone", run)
    monkeypatch.setattr(program, "FOLDER", tmp_path)


def test_a_workload_through_the_whole_path(tmp_path, monkeypatch, capsys):
    pytest.importorskip("torch")
    in_checkout(monkeypatch, tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmarks", "tiny_ops", "--rounds", "1", "--threads", "1"])
    program.main()

    (path,) = tmp_path.glob("results/*_tiny_ops.json")
    run = json.loads(path.read_text(encoding="utf-8"))
    (row,) = run["rows"]
    assert (run["threads"], run["rounds"], row["name"]) == (1, 1, "tiny_ops")
    assert run["machine"]["numpy"] == np.__version__
    ratio, _ = row["ratios"]["arrays/torch"]
    assert row["ms"]["arrays"] > 0 and math.isclose(ratio, row["ms"]["arrays"] / row["ms"]["torch"], rel_tol=0.01)
    assert f"{ratio:.2f}" in capsys.readouterr().out


@pytest.mark.parametrize("command, only", [("growth", growth.SWEEPS), ("overhead", overhead.OPERATIONS)])
def test_the_other_commands(command, only, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(program, "FOLDER", tmp_path)
    rows = {"growth": dict(sizes=[1, 2], ms=[0.5, 1.0], exponent=1.02, residual=0.03, expected=1),
            "overhead": dict(us={"ours both": 4.5, "ours forward": 1.5})}
    monkeypatch.setattr(program, "run_alone", lambda module, name, *numbers: dict(name=name, **rows[module]))
    monkeypatch.setattr(sys, "argv", ["benchmarks", command])
    program.main()
    (path,) = tmp_path.glob(f"results/*_{command}.json")
    assert [row["name"] for row in json.loads(path.read_text(encoding="utf-8"))["rows"]] == list(only)
    assert {"growth": "1.02", "overhead": "4.50"}[command] in capsys.readouterr().out


def test_a_measurement_in_a_process_of_its_own():
    row = program.run_alone("overhead", "x + y", 1, 1)
    assert row["name"] == "x + y" and row["us"]["ours both"] > 0


def test_an_unknown_name_says_which_there_are():
    done = subprocess.run([sys.executable, "-m", "benchmarks", "gelo"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 2 and "got gelo, expected some of tiny_ops" in done.stderr


# ---------------------------------------------------------------- the tables

def test_the_table_has_geometric_means_and_names_what_scatters():
    noisy = dict(ROW, name="lstm", ratios=ROW["ratios"] | {"arrays/torch": [6.0, 0.35]})
    lines = report.ratios([ROW, noisy])
    assert len({len(line) for line in lines}) == 1
    assert "| 1.50 |" in " ".join(lines[2].split()) and "spread" not in lines[2]
    assert "(spread 35%) 6.00" in lines[3] and "**3.00**" in lines[4] and "**1.20**" in lines[4]


def test_the_best_peer_is_the_fastest_numpy_framework():
    row = dict(ROW, ms=ROW["ms"] | dict(jax=0.1), ratios=ROW["ratios"] | {"compiled/jax": [12.0, 0.0]})
    assert report.best_peer(row) == "mygrad" and report.best_peer(dict(ms=dict(arrays=1.0))) is None
    heads, _, line = report.ratios([row])
    assert "0.25" in line and "0.20" in line and "12.00" in line and "mygrad" in line and "compiled / jax" in heads
    assert report.ahead([row]) == ["Ahead of the best NumPy framework in the geometric mean of 1 rows: "
                                   "4.0 times (arrays), 5.0 times (compiled)."]


def test_without_others_the_table_has_our_times():
    row = dict(name="gelu", ms=dict(arrays=1.5), mb=dict(arrays=8.0), ratios={})
    assert report.ratios([row, row])[0] == "| workload           |" and report.ahead([row]) == []
    assert "| gelu     |       1.5 |      8.00 |" in report.times([row])


def test_a_missed_target_says_so_and_why(monkeypatch):
    monkeypatch.setitem(notes.TARGETS, "gelu", 1.4)
    monkeypatch.setitem(notes.WHY, "gelu", "tanh.")
    assert "1.40 missed" in report.ratios([ROW])[2]
    assert report.why([ROW]) == ["- gelu: arrays 1.50, aim 1.40. tanh."]
    assert report.why([dict(ROW, ratios={"arrays/torch": [1.3, 0.0]})]) == []


def test_every_workload_has_a_target():
    assert list(notes.TARGETS) == list(WORKLOADS) and set(notes.WHY) <= set(WORKLOADS)


def test_lessons_are_told_by_their_median():
    lines = report.lessons({"00_tour": dict(seconds=[3.0, 1.0, 2.0]), "01_next": dict(seconds=[0.5])})
    assert "| 00_tour |     2.0 |" in lines and "**2**" in lines[-1]


def test_the_readme_shows_the_newest_complete_runs():
    text = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    assert report.with_tables(text, ROOT / "benchmarks") == text, "python -m benchmarks table writes it anew"
    path = report.newest(ROOT / "benchmarks", "all")
    if path:
        assert [row["name"] for row in json.loads(path.read_text(encoding="utf-8"))["rows"]] == list(WORKLOADS)


def test_tables_are_written_between_their_markers(tmp_path):
    names = ("ratios", "why", "times", "growth", "overhead", "lessons")
    text = "\n".join(f"{name}\n<!-- {name}:begin -->\nold\n<!-- {name}:end -->" for name in names)
    folder = tmp_path / "benchmarks"
    (folder / "results").mkdir(parents=True)
    for day, ratio in (("2026-01-02", 1.5), ("2026-01-10", 2.5)):
        row = dict(ROW, ratios=ROW["ratios"] | {"arrays/torch": [ratio, 0.0]})
        run = dict(date=f"{day}T00:00:00", threads=2, rounds=3, machine=dict(processor="P", system="S"), rows=[row])
        (folder / "results" / f"{day}_all.json").write_text(json.dumps(run), encoding="utf-8")
    new = report.with_tables(text, folder)
    assert "2.50" in new and "1.50" not in new.split("why")[0] and "2026-01-10, threads: 2, rounds: 3; processor P." in new
    assert new.count("old") == 3 and report.with_tables(new, folder) == new       # no growth, overhead, lessons there
