"""The profiler counts what happened, exactly, and is gone when its block is left, however that happens."""
import json
import threading

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import autograd, functional as F, nn
from tinygrad_edu.memory import checkpoint
from tinygrad_edu.profiler import FLOPS, Profiler


def counts(profile):
    return {row.name: (row.forward_calls, row.backward_calls) for row in profile.rows()}


def by_name(profile):
    return {row.name: row for row in profile.rows()}


def test_every_operation_is_counted_once():
    layer, x = nn.Linear(4, 3), tg.ones(5, 4)
    with Profiler() as profile:
        tg.tanh(layer(x)).sum().backward()
    assert counts(profile) == {"Linear": (1, 1), "Tanh": (1, 1), "Sum": (1, 1)}
    rows = by_name(profile)
    assert rows["Linear"].flops == 2 * 5 * 4 * 3 * 2                # forward, and one gradient: x wants none
    assert rows["Tanh"].flops == 2 * 15
    assert rows["Tanh"].bytes == 4 * 15 * (2 + 3)                   # x, y;  gy, y, gx
    assert all(row.seconds > 0 for row in rows.values())


@pytest.mark.usefixtures("on_arrays")
def test_flops_of_the_kernels():
    image, weight = tg.ones(2, 4, 6, 6, requires_grad=True), tg.ones(8, 2, 3, 3, requires_grad=True)
    sequence, states = tg.ones(5, 2, 3), (tg.ones(2, 4), tg.ones(2, 4))
    q, k = tg.ones(2, 6, 4), tg.ones(2, 7, 4)
    with Profiler() as profile:
        F.conv2d(image, weight, groups=2).sum().backward()
        F.conv_transpose2d(tg.ones(2, 8, 4, 4), weight, groups=2)
        F.lstm(sequence, *states, tg.ones(16, 3), tg.ones(16, 4))
        F.gru(sequence, states[0], tg.ones(12, 3), tg.ones(12, 4))
        F.rnn(sequence, states[0], tg.ones(4, 3), tg.ones(4, 4))
        F.scaled_dot_product_attention(q, k, k)
    rows = by_name(profile)
    assert rows["Conv2d"].flops == 3 * 2 * (2 * 8 * 4 * 4) * (2 * 9)
    assert rows["ConvTranspose2d"].flops == 2 * (2 * 8 * 4 * 4) * (2 * 9)
    assert rows["LSTM"].flops == 2 * 5 * 2 * 16 * 7 and rows["GRU"].flops == 2 * 5 * 2 * 12 * 7
    assert rows["RNN"].flops == 2 * 5 * 2 * 4 * 7
    assert rows["Attention"].flops == 2 * 2 * 6 * 7 * (4 + 4)


def test_every_name_in_the_table_is_an_operation():
    def names(kind):
        return {kind.__name__}.union(*(names(sub) for sub in kind.__subclasses__()))
    assert set(FLOPS) <= names(autograd.Function)


@pytest.mark.usefixtures("on_arrays")
def test_the_convolution_is_on_top_of_a_convolutional_net():
    net = nn.Sequential(nn.Conv2d(3, 32, 3, padding=1), nn.ReLU(), nn.Conv2d(32, 32, 3, padding=1), nn.ReLU(), nn.Flatten(),
                        nn.Linear(32 * 16 * 16, 10))
    x, labels = tg.randn(32, 3, 16, 16), np.arange(32) % 10
    F.cross_entropy(net(x), labels).backward()                      # compiles, if anything does
    with Profiler() as profile:
        F.cross_entropy(net(x), labels).backward()
    assert profile.rows()[0].name == "Conv2d"


def test_parts_of_an_operation_are_not_counted_again():
    a, b = tg.ones(3, 3, requires_grad=True), tg.ones(3, 3, requires_grad=True)
    with Profiler() as profile:
        (a @ b).sum().backward()                                    # its backward multiplies matrices, too
        (g,) = autograd.grad((a @ b).sum(), a, create_graph=True)
    assert counts(profile)["MatMul"] == (2, 2)


def test_recomputed_operations_are_seen():
    x = tg.ones(3, requires_grad=True)
    with Profiler() as profile:
        checkpoint(lambda x: tg.tanh(tg.exp(x)), x).sum().backward()
    assert counts(profile)["Tanh"] == counts(profile)["Exp"] == (2, 1)
    assert "Recompute" not in counts(profile)


def test_nothing_is_recorded_outside_and_results_are_the_same():
    x = tg.ones(3, requires_grad=True)
    with Profiler() as profile:
        inside = tg.exp(x)
    assert autograd._profiler is None and tg.exp(x).tolist() == inside.tolist()
    assert "inside = tg.exp(x)" in str(inside.creator)              # the node knows the line that made it
    inside.sum().backward()
    assert counts(profile) == {"Exp": (1, 0)}


def test_nested_profilers_and_entering_twice():
    x = tg.ones(3)
    with Profiler() as outer:
        tg.exp(x)
        with Profiler() as inner:
            tg.tanh(x)
            with inner:
                tg.sin(x)
        tg.exp(x)
    with outer:
        tg.exp(x)
    assert counts(inner) == {"Tanh": (1, 0), "Sin": (1, 0)}
    assert counts(outer) == {"Exp": (3, 0), "Tanh": (1, 0), "Sin": (1, 0)}
    assert autograd._profiler is None and 0 < inner.seconds < outer.seconds


def test_exceptions_pass_and_the_profiler_goes():
    class Broken(autograd.Function):
        def forward(self, x):
            raise ValueError("no")

    profile = Profiler()
    with pytest.raises(ValueError, match="Broken: got shapes"):
        with profile:
            Broken().apply(tg.ones(2))
    assert autograd._profiler is None and profile.events == []
    with profile:
        tg.exp(tg.ones(2))
    assert counts(profile) == {"Exp": (1, 0)}


def test_threads_have_events_of_their_own():
    profile, x, start = Profiler(), tg.ones(3), threading.Barrier(4)

    def work():
        start.wait()                    # all four live at once, so no two have one number
        for _ in range(200):
            tg.exp(x)

    with profile:
        workers = [threading.Thread(target=work) for _ in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert counts(profile) == {"Exp": (800, 0)} and len({event.thread for event in profile.events}) == 4


def test_table():
    x = tg.ones(1000, requires_grad=True)
    with Profiler() as profile:
        tg.exp(tg.exp(x * 0.0)).sum().backward()
    lines = profile.table().splitlines()
    assert lines[0].split() == ["operation", "calls", "forward", "backward", "share", "MB", "MFLOP", "GFLOP/s"]
    assert len(lines) == 2 + 3 and lines[-1].startswith("in operations ")
    assert len(profile.table(limit=1).splitlines()) == 3
    assert Profiler().table().endswith("in operations 0.00 ms, in all 0.00 ms")


def test_the_trace_is_one_that_viewers_read(tmp_path):
    x = tg.ones(2, 3, requires_grad=True)
    with Profiler() as profile:
        tg.exp(x).sum().backward()
    profile.export_chrome_trace(tmp_path / "trace.json")
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    assert [(e["name"], e["cat"][0]) for e in events] == [("Exp", "f"), ("Sum", "f"), ("Sum", "b"), ("Exp", "b")]
    assert all(e["ph"] == "X" and e["dur"] > 0 and e["pid"] and e["tid"] for e in events)
    assert events[0]["ts"] == 0 and events[0]["args"] == {"shapes": "(2, 3)", "bytes": 48, "flops": 6}
    ends = [e["ts"] + e["dur"] for e in events]
    assert all(end <= after["ts"] for end, after in zip(ends, events[1:]))
    Profiler().export_chrome_trace(tmp_path / "empty.json")
    assert json.loads((tmp_path / "empty.json").read_text())["traceEvents"] == []
