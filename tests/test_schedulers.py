"""Schedules: tables equal to PyTorch's to 1e-12, closed forms where it has none, restarts, momentum, resuming, bad input."""
import json
import math
import warnings

import numpy as np
import pytest

from tinygrad_edu import Tensor, nn, optim
from tinygrad_edu.optim import lr_scheduler

STEPS = 40


def warm_cosine(library, optimizer):
    return library.SequentialLR(optimizer, [library.LinearLR(optimizer, 0.1, total_iters=6),
                                            library.CosineAnnealingLR(optimizer, 20, 0.01),
                                            library.ExponentialLR(optimizer, 0.9)], [6, 26])


# A schedule as the test sees it: how to make it from a library's module and an optimizer. Every public one has an entry.
SCHEDULES = {
    "LambdaLR": lambda library, optimizer: library.LambdaLR(optimizer, lambda t: 1 / (1 + t)),
    "LambdaLR, one a group": lambda library, optimizer: library.LambdaLR(optimizer, [lambda t: 0.9 ** t, lambda t: 1 + t]),
    "ConstantLR": lambda library, optimizer: library.ConstantLR(optimizer, 0.25, 7),
    "StepLR": lambda library, optimizer: library.StepLR(optimizer, 6, 0.5),
    "MultiStepLR": lambda library, optimizer: library.MultiStepLR(optimizer, [17, 4, 30, 17], 0.3),
    "ExponentialLR": lambda library, optimizer: library.ExponentialLR(optimizer, 0.93),
    "PolynomialLR": lambda library, optimizer: library.PolynomialLR(optimizer, 30, 1.7),
    "CosineAnnealingLR": lambda library, optimizer: library.CosineAnnealingLR(optimizer, 25, 0.003),
    "CosineAnnealingWarmRestarts": lambda library, optimizer: library.CosineAnnealingWarmRestarts(optimizer, 4, 2, 0.003),
    "CosineAnnealingWarmRestarts, equal": lambda library, optimizer: library.CosineAnnealingWarmRestarts(optimizer, 7),
    "LinearLR": lambda library, optimizer: library.LinearLR(optimizer, 0.05, 0.8, 15),
    "CyclicLR": lambda library, optimizer: library.CyclicLR(optimizer, [0.1, 0.2], 0.9, 4, 6),
    "CyclicLR, triangular2": lambda library, optimizer: library.CyclicLR(optimizer, 0.1, [0.5, 0.7], 5, mode="triangular2"),
    "CyclicLR, exp_range": lambda library, optimizer: library.CyclicLR(optimizer, 0.1, 0.5, 5, mode="exp_range", gamma=0.95),
    "CyclicLR, own": lambda library, optimizer: library.CyclicLR(optimizer, 0.1, 0.5, 5, scale_fn=lambda t: 1 / (1 + t),
                                                                  scale_mode="iterations", cycle_momentum=False),
    "OneCycleLR": lambda library, optimizer: library.OneCycleLR(optimizer, [0.8, 0.4], STEPS),
    "OneCycleLR, lines": lambda library, optimizer: library.OneCycleLR(optimizer, 0.8, epochs=4, steps_per_epoch=10,
                                                                       pct_start=0.4, anneal_strategy="linear", div_factor=10),
    "OneCycleLR, three": lambda library, optimizer: library.OneCycleLR(optimizer, 0.8, STEPS, three_phase=True),
    "SequentialLR": warm_cosine,
}
METRICS = np.round(np.abs(np.random.default_rng(3).standard_normal(60)), 2) + np.linspace(1, 0.5, 60)
PLATEAUS = {
    "min": dict(patience=2), "max": dict(mode="max", patience=1, cooldown=3),
    "abs": dict(threshold_mode="abs", threshold=0.2, patience=3),
    "max abs": dict(mode="max", threshold_mode="abs", threshold=0.1, patience=4, factor=0.5),
    "floor": dict(patience=0, min_lr=[0.01, 0.02]), "eps": dict(patience=0, factor=0.5, eps=0.02),
}


def our_optimizer(name="SGD", **options):
    options = options or dict(momentum=0.9) if name == "SGD" else options
    return getattr(optim, name)([{"params": [nn.Parameter([1.0])]}, {"params": [nn.Parameter([2.0])], "lr": 0.05}], lr=0.3,
                                **options)


def their_optimizer(torch, name="SGD", **options):
    options = options or dict(momentum=0.9) if name == "SGD" else options
    groups = [{"params": [torch.nn.Parameter(torch.ones(1))]}, {"params": [torch.nn.Parameter(torch.ones(1))], "lr": 0.05}]
    return getattr(torch.optim, name)(groups, lr=0.3, **options)


def row(optimizer):
    """lr and momentum of every group."""
    return [(group["lr"], group["momentum"] if "momentum" in group else group["betas"][0]) for group in optimizer.param_groups]


def table(optimizer, scheduler, steps=STEPS):
    rows = [row(optimizer)]
    for _ in range(steps - 1):
        optimizer.step()
        scheduler.step()
        rows.append(row(optimizer))
    return rows


def equals_pytorch(name, rule):
    torch = pytest.importorskip("torch")
    ours, theirs = our_optimizer(rule), their_optimizer(torch, rule)
    mine = SCHEDULES[name](lr_scheduler, ours)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")                         # older PyTorch warns of its own step(0)
        golden = table(theirs, SCHEDULES[name](torch.optim.lr_scheduler, theirs))
    equal = np.allclose(table(ours, mine), golden, rtol=1e-12, atol=1e-15)
    return equal and mine.get_last_lr() == [lr for lr, _ in row(ours)] and mine.last_epoch == STEPS - 1


def plateau_equals_pytorch(name):
    torch = pytest.importorskip("torch")
    ours, theirs = our_optimizer(), their_optimizer(torch)
    mine = lr_scheduler.ReduceLROnPlateau(ours, **PLATEAUS[name])
    yours = torch.optim.lr_scheduler.ReduceLROnPlateau(theirs, **PLATEAUS[name])
    equal = []
    for metric in [*METRICS, float("nan"), *METRICS]:
        mine.step(Tensor(metric)), yours.step(metric)
        equal += [np.allclose(row(ours), row(theirs), rtol=1e-12, atol=0)]
        equal += [getattr(mine, counter) == getattr(yours, counter) for counter in mine.COUNTERS]
    return all(equal) and mine.get_last_lr() < [0.3, 0.05]


def noam_equals_its_closed_form():
    optimizer, n = our_optimizer(), np.arange(1, STEPS + 1)
    rows = np.array(table(optimizer, lr_scheduler.NoamLR(optimizer, d_model=512, warmup_steps=10)))
    expected = 512 ** -0.5 * np.where(n <= 10, n / 10 ** 1.5, n ** -0.5)
    return np.allclose(rows[:, :, 0], expected[:, None] * [0.3, 0.05], rtol=1e-12, atol=0) and np.argmax(rows[:, 0, 0]) == 9


@pytest.mark.parametrize("name", SCHEDULES)
@pytest.mark.parametrize("rule", ["SGD", "Adam"])
def test_table_equals_pytorch(name, rule):
    assert equals_pytorch(name, rule)


@pytest.mark.parametrize("name", PLATEAUS)
def test_plateau_equals_pytorch(name):
    assert plateau_equals_pytorch(name)


def test_every_schedule_has_a_table(capsys):
    rows = {"NoamLR": [noam_equals_its_closed_form()], "ReduceLROnPlateau": [plateau_equals_pytorch(name) for name in PLATEAUS]}
    for name in SCHEDULES:
        rows.setdefault(name.split(",")[0], []).append(equals_pytorch(name, "SGD"))
    with capsys.disabled():
        print(f"\n  schedules, tables of {STEPS} values: {sum(map(all, rows.values()))} of {len(rows)} equal", end="")
    public = {name for name, thing in vars(lr_scheduler).items() if isinstance(thing, type) and name[0] != "_"}
    assert rows.keys() == public - {"LRScheduler"} and all(map(all, rows.values()))


def test_restarts_fall_on_the_sums_of_the_periods():
    optimizer = our_optimizer()
    scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, T_0=3, T_mult=2)
    lrs = [lr for (lr, _), _ in table(optimizer, scheduler, 100)]
    assert [t for t in range(100) if lrs[t] == 0.3] == [0, 3, 9, 21, 45, 93]
    scheduler.step(3 + 6 / 4)                                   # a quarter of the second period
    assert optimizer.param_groups[0]["lr"] == pytest.approx(0.15 * (1 + math.cos(math.pi / 4)), rel=1e-14)


def test_resuming_equals_going_on():
    for name, make in SCHEDULES.items():
        ours, again = our_optimizer(), our_optimizer()
        scheduler, resumed = make(lr_scheduler, ours), make(lr_scheduler, again)
        table(ours, scheduler, 17)
        again.load_state_dict(ours.state_dict())
        resumed.load_state_dict(json.loads(json.dumps(scheduler.state_dict())))
        assert table(again, resumed, 15) == table(ours, scheduler, 15), name


def test_a_plateau_resumes():
    ours, again = our_optimizer(), our_optimizer()
    scheduler, resumed = (lr_scheduler.ReduceLROnPlateau(o, patience=2, cooldown=1) for o in (ours, again))
    for metric in METRICS[:23]:
        scheduler.step(metric)
    again.load_state_dict(ours.state_dict())
    resumed.load_state_dict(scheduler.state_dict())
    for metric in METRICS[23:]:
        scheduler.step(metric), resumed.step(metric)
        assert row(again) == row(ours) and resumed.state_dict() == scheduler.state_dict()


def test_going_on_from_a_step_without_a_state():
    optimizer = our_optimizer()
    table(optimizer, lr_scheduler.StepLR(optimizer, 3), 5)
    later = lr_scheduler.StepLR(optimizer, 3, last_epoch=4)
    assert later.last_epoch == 5 and later.get_last_lr() == pytest.approx([0.03, 0.005])
    with pytest.raises(KeyError, match="'initial_lr'"):
        lr_scheduler.StepLR(our_optimizer(), 3, last_epoch=4)


def test_errors_say_what_was_got_and_expected():
    optimizer, other = our_optimizer(), our_optimizer()
    step = lr_scheduler.StepLR(optimizer, 3)
    for message, wrong in {
        "2 functions|3 functions": lambda: lr_scheduler.LambdaLR(optimizer, [abs] * 3),
        "T_0 = 0": lambda: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 0),
        "T_mult = 1.5": lambda: lr_scheduler.CosineAnnealingWarmRestarts(optimizer, 2, 1.5),
        "mode 'square'": lambda: lr_scheduler.CyclicLR(optimizer, 0.1, 0.2, mode="square"),
        "got 3 values, expected 2": lambda: lr_scheduler.CyclicLR(optimizer, 0.1, [0.2] * 3),
        "no momentum": lambda: lr_scheduler.CyclicLR(optim.Adagrad([nn.Parameter([1.0])]), 0.1, 0.2),
        "no length": lambda: lr_scheduler.OneCycleLR(optimizer, 0.1, epochs=3),
        "'cosine'": lambda: lr_scheduler.OneCycleLR(optimizer, 0.1, 10, anneal_strategy="cosine"),
        "at most total_steps = 10": lambda: lr_scheduler.OneCycleLR(optimizer, 0.1, 10).step(11),
        "1 milestones for 1": lambda: lr_scheduler.SequentialLR(optimizer, [step], [3]),
        "another optimizer": lambda: lr_scheduler.SequentialLR(other, [step], []),
        "its metric": lambda: lr_scheduler.SequentialLR(optimizer, [lr_scheduler.ReduceLROnPlateau(optimizer)], []),
        "'low'": lambda: lr_scheduler.ReduceLROnPlateau(optimizer, mode="low"),
        "factor 1": lambda: lr_scheduler.ReduceLROnPlateau(optimizer, factor=1.0),
        "got .'last_epoch'., expected": lambda: step.load_state_dict({"last_epoch": 3}),
        "one entry a group": lambda: step.load_state_dict({"last_epoch": 3, "base_lrs": [0.1]}),
    }.items():
        with pytest.raises(ValueError, match=message):
            wrong()
    assert step.last_epoch == 0 and step.base_lrs == [0.3, 0.05]
