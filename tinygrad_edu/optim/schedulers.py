"""Learning rate schedules: each is a function lr(t, base) of the number of steps t and of the lr that the group began with.

A scheduler sets every group's lr when it is made (t = 0) and at each `step()`, which you call after the optimizer's. Since
nothing but t is remembered, a schedule can be drawn, asked for any t, and resumed. Names and values are PyTorch's, with one
difference: two schedulers at once do not multiply, the later one sets the lr. Chain them with SequentialLR, or multiply in
LambdaLR.
"""
import math


class LRScheduler:
    """Base class. A subclass writes `lr(t, base)`; what differs between groups besides base goes into `lrs(t)`.

    last_epoch: the t before the first; to go on after t = 10, give 10, and groups with an "initial_lr".
    """

    def __init__(self, optimizer, last_epoch=-1):
        self.optimizer, self.last_epoch = optimizer, last_epoch
        for group in optimizer.param_groups:
            if last_epoch == -1:
                group.setdefault("initial_lr", group["lr"])
            elif "initial_lr" not in group:
                raise KeyError(f"{type(self).__name__}: last_epoch = {last_epoch} needs 'initial_lr' in every param group")
        self.base_lrs = [group["initial_lr"] for group in optimizer.param_groups]
        self.step()

    def step(self, epoch=None):
        """One step further, or to the step `epoch`, which need not be whole."""
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        for group, lr in zip(self.optimizer.param_groups, self.lrs(self.last_epoch), strict=True):
            group["lr"] = lr

    def lrs(self, t):
        """The lr of every group after t steps."""
        return [self.lr(t, base) for base in self.base_lrs]

    def lr(self, t, base):
        raise NotImplementedError(f"{type(self).__name__}: a schedule needs a function lr(t, base)")

    def get_last_lr(self):
        """The lr of every group as it is now."""
        return [group["lr"] for group in self.optimizer.param_groups]

    def state_dict(self):
        """What changes or depends on the optimizer: {"last_epoch": t, "base_lrs": [..]}."""
        return {"last_epoch": self.last_epoch, "base_lrs": list(self.base_lrs)}

    def load_state_dict(self, state):
        """Go to where the scheduler that gave `state` was, and set the lr that it had then."""
        _check_state(self, state)
        self.base_lrs = list(state["base_lrs"])
        self.step(state["last_epoch"])


# ---------------------------------------------------------------- falling

class LambdaLR(LRScheduler):
    """lr = base f(t), with your own function f, or a list of functions, one for each group."""

    def __init__(self, optimizer, lr_lambda, last_epoch=-1):
        several = isinstance(lr_lambda, (list, tuple))
        self.lr_lambdas = list(lr_lambda) if several else [lr_lambda] * len(optimizer.param_groups)
        if len(self.lr_lambdas) != len(optimizer.param_groups):
            raise ValueError(f"LambdaLR: got {len(lr_lambda)} functions, expected {len(optimizer.param_groups)}, one a group")
        super().__init__(optimizer, last_epoch)

    def lrs(self, t):
        return [base * f(t) for base, f in zip(self.base_lrs, self.lr_lambdas)]


class ConstantLR(LRScheduler):
    """lr = base factor for total_iters steps, then base."""

    def __init__(self, optimizer, factor=1 / 3, total_iters=5, last_epoch=-1):
        self.factor, self.total_iters = factor, total_iters
        super().__init__(optimizer, last_epoch)

    def lr(self, t, base):
        return base * self.factor if t < self.total_iters else base


class StepLR(LRScheduler):
    """lr = base gamma^floor(t / step_size): a fall every step_size steps."""

    def __init__(self, optimizer, step_size, gamma=0.1, last_epoch=-1):
        self.step_size, self.gamma = step_size, gamma
        super().__init__(optimizer, last_epoch)

    def lr(self, t, base):
        return base * self.gamma ** (t // self.step_size)


class MultiStepLR(LRScheduler):
    """lr = base gamma^k, where k of the milestones are reached: falls where you want them."""

    def __init__(self, optimizer, milestones, gamma=0.1, last_epoch=-1):
        self.milestones, self.gamma = sorted(milestones), gamma
        super().__init__(optimizer, last_epoch)

    def lr(self, t, base):
        return base * self.gamma ** sum(t >= milestone for milestone in self.milestones)


class ExponentialLR(LRScheduler):
    """lr = base gamma^t: the same share at every step."""

    def __init__(self, optimizer, gamma, last_epoch=-1):
        self.gamma = gamma
        super().__init__(optimizer, last_epoch)

    def lr(self, t, base):
        return base * self.gamma ** t


class PolynomialLR(LRScheduler):
    """lr = base (1 - t / total_iters)^power, then 0."""

    def __init__(self, optimizer, total_iters=5, power=1.0, last_epoch=-1):
        self.total_iters, self.power = total_iters, power
        super().__init__(optimizer, last_epoch)

    def lr(self, t, base):
        return base * (1 - t / self.total_iters) ** self.power if t < self.total_iters else 0.0


class CosineAnnealingLR(LRScheduler):
    """lr = eta_min + (base - eta_min) (1 + cos(pi t / T_max)) / 2: down in T_max steps, slowly at both ends, and up again.

    Loshchilov & Hutter 2016, arXiv:1608.03983.
    """

    def __init__(self, optimizer, T_max, eta_min=0.0, last_epoch=-1):
        self.T_max, self.eta_min = T_max, eta_min
        super().__init__(optimizer, last_epoch)

    def lr(self, t, base):
        return _cosine(base, self.eta_min, t / self.T_max)


class CosineAnnealingWarmRestarts(LRScheduler):
    """Down along a cosine in T_0 steps, a jump up, down in T_0 T_mult steps, a jump up, .. (SGDR).

    Loshchilov & Hutter 2016, arXiv:1608.03983.
    """

    def __init__(self, optimizer, T_0, T_mult=1, eta_min=0.0, last_epoch=-1):
        for name, value in (("T_0", T_0), ("T_mult", T_mult)):
            if value < 1 or not isinstance(value, int):
                raise ValueError(f"CosineAnnealingWarmRestarts: got {name} = {value}, expected a whole number, at least 1")
        self.T_0, self.T_mult, self.eta_min = T_0, T_mult, eta_min
        super().__init__(optimizer, last_epoch)

    def lr(self, t, base):
        T = self.T_0
        while t >= T:                           # t: steps since the last restart, T: steps until the next
            t, T = t - T, T * self.T_mult
        return _cosine(base, self.eta_min, t / T)


# ---------------------------------------------------------------- rising first

class LinearLR(LRScheduler):
    """Warm-up: from base start_factor to base end_factor in total_iters steps, then constant."""

    def __init__(self, optimizer, start_factor=1 / 3, end_factor=1.0, total_iters=5, last_epoch=-1):
        self.start_factor, self.end_factor, self.total_iters = start_factor, end_factor, total_iters
        super().__init__(optimizer, last_epoch)

    def lr(self, t, base):
        return base * (_linear(self.start_factor, self.end_factor,
                               t / self.total_iters) if t < self.total_iters else self.end_factor)


class NoamLR(LRScheduler):
    """lr = base d_model^-1/2 min(n^-1/2, n warmup_steps^-3/2), n = t + 1: up along a line, down along 1 / sqrt(n).

    The Transformer's schedule, whose base is 1. Vaswani et al. 2017, arXiv:1706.03762, section 5.3.
    """

    def __init__(self, optimizer, d_model, warmup_steps=4000, last_epoch=-1):
        self.d_model, self.warmup_steps = d_model, warmup_steps
        super().__init__(optimizer, last_epoch)

    def lr(self, t, base):
        n = t + 1
        return base * self.d_model ** -0.5 * min(n ** -0.5, n * self.warmup_steps ** -1.5)


class _Cycling(LRScheduler):
    """The two below also move the momentum (of Adam: beta_1), against the lr: long steps need less of it."""

    def __init__(self, optimizer, cycle_momentum, last_epoch):
        self.cycle_momentum = cycle_momentum
        if cycle_momentum and not {"momentum", "betas"} & set(optimizer.defaults):
            raise ValueError(f"{type(self).__name__}: {type(optimizer).__name__} has no momentum, use cycle_momentum=False")
        super().__init__(optimizer, last_epoch)

    def step(self, epoch=None):
        super().step(epoch)
        for group in self.optimizer.param_groups if self.cycle_momentum else ():
            momentum = self.momentum(self.last_epoch)
            group.update({"momentum": momentum} if "momentum" in group else {"betas": (momentum, *group["betas"][1:])})


class CyclicLR(_Cycling):
    """Up from base_lr to max_lr and down again, for ever. Smith 2015, arXiv:1506.01186.

    mode: "triangular"; "triangular2", half as high in every cycle; "exp_range", gamma^t as high. Or scale_fn, a function of the
    number of the cycle from 1 or of t, as scale_mode says, "cycle" or "iterations". base_lr, max_lr: numbers, or one a group.
    """

    def __init__(self, optimizer, base_lr, max_lr, step_size_up=2000, step_size_down=None, mode="triangular", gamma=1.0,
                 scale_fn=None, scale_mode="cycle", cycle_momentum=True, base_momentum=0.8, max_momentum=0.9, last_epoch=-1):
        modes = {"triangular": (lambda cycle: 1.0, "cycle"), "triangular2": (lambda cycle: 0.5 ** (cycle - 1), "cycle"),
                 "exp_range": (lambda t: gamma ** t, "iterations")}
        if mode not in modes and scale_fn is None:
            raise ValueError(f"CyclicLR: got mode {mode!r}, expected one of {list(modes)}")
        self.scale_fn, self.scale_mode = (scale_fn, scale_mode) if scale_fn else modes[mode]
        self.up, self.down = step_size_up, step_size_down or step_size_up
        self.max_lrs = _one_each(max_lr, optimizer, "CyclicLR: max_lr")
        self.base_momentum, self.max_momentum = base_momentum, max_momentum
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, _one_each(base_lr, optimizer, "CyclicLR: base_lr")):
                group["initial_lr"] = lr
        super().__init__(optimizer, cycle_momentum, last_epoch)

    def lrs(self, t):
        return [_linear(base, top, self.height(t)) for base, top in zip(self.base_lrs, self.max_lrs)]

    def momentum(self, t):
        return _linear(self.max_momentum, self.base_momentum, self.height(t))

    def height(self, t):
        """0 at the foot of the triangle, 1 at the top of the first."""
        cycle, t_in_cycle = 1 + t // (self.up + self.down), t % (self.up + self.down)
        rise = t_in_cycle / self.up if t_in_cycle <= self.up else (self.up + self.down - t_in_cycle) / self.down
        return rise * self.scale_fn(cycle if self.scale_mode == "cycle" else t)


class OneCycleLR(_Cycling):
    """One long cycle: up from max_lr / div_factor, down to 1 / final_div_factor of that. Smith & Topin 2017, arXiv:1708.07120.

    three_phase: first down to where it began, as fast as it came up, then to the end. Call step() after every batch; there are
    total_steps of them, or epochs * steps_per_epoch. max_lr: a number, or one for each group.
    """

    def __init__(self, optimizer, max_lr, total_steps=None, epochs=None, steps_per_epoch=None, pct_start=0.3,
                 anneal_strategy="cos", cycle_momentum=True, base_momentum=0.85, max_momentum=0.95, div_factor=25.0,
                 final_div_factor=1e4, three_phase=False, last_epoch=-1):
        if total_steps is None and (epochs is None or steps_per_epoch is None):
            raise ValueError("OneCycleLR: got no length, expected total_steps, or epochs and steps_per_epoch")
        if anneal_strategy not in ("cos", "linear"):
            raise ValueError(f"OneCycleLR: got anneal_strategy {anneal_strategy!r}, expected 'cos' or 'linear'")
        self.total_steps = epochs * steps_per_epoch if total_steps is None else total_steps
        self.anneal = _cosine if anneal_strategy == "cos" else _linear
        self.div_factor, self.final_div_factor = div_factor, final_div_factor

        peak, last, low, high = pct_start * self.total_steps - 1, self.total_steps - 1, base_momentum, max_momentum
        if three_phase:                         # (last step of a phase, its last lr in units of the first, its last momentum)
            self.phases = [(peak, div_factor, low), (2 * peak, 1, high), (last, 1 / final_div_factor, high)]
        else:
            self.phases = [(peak, div_factor, low), (last, 1 / final_div_factor, high)]
        self.phases.insert(0, (0, 1, high))
        if last_epoch == -1:
            for group, lr in zip(optimizer.param_groups, _one_each(max_lr, optimizer, "OneCycleLR: max_lr")):
                group["initial_lr"] = lr / div_factor
        super().__init__(optimizer, cycle_momentum, last_epoch)

    def lr(self, t, base):
        return base * self.between(t, 1)

    def momentum(self, t):
        return self.between(t, 2)

    def between(self, t, column):
        """The lr in units of the first (column 1) or the momentum (column 2) of step t, between the ends of its phase."""
        if t > self.total_steps:
            raise ValueError(f"OneCycleLR: got step {t}, expected at most total_steps = {self.total_steps}")
        i = next((i for i, phase in enumerate(self.phases) if i and t <= phase[0]), len(self.phases) - 1)
        start, end = self.phases[i - 1], self.phases[i]
        share = (t - start[0]) / (end[0] - start[0]) if end[0] > start[0] else 1.0
        return self.anneal(start[column], end[column], share)


# ---------------------------------------------------------------- one after the other, and by the result

class SequentialLR(LRScheduler):
    """Several schedules one after the other, from each milestone on the next one, which counts its steps from there.

    Warm-up and cosine: SequentialLR(optimizer, [LinearLR(optimizer, total_iters=5), CosineAnnealingLR(optimizer, 95)], [5]).
    """

    def __init__(self, optimizer, schedulers, milestones, last_epoch=-1):
        self.schedulers, self.milestones = list(schedulers), list(milestones)
        if len(self.schedulers) != len(self.milestones) + 1:
            raise ValueError(f"SequentialLR: got {len(self.milestones)} milestones for {len(self.schedulers)} schedulers, "
                             f"expected {len(self.schedulers) - 1}")
        if any(scheduler.optimizer is not optimizer for scheduler in self.schedulers):
            raise ValueError("SequentialLR: got a scheduler of another optimizer")
        if any(isinstance(scheduler, ReduceLROnPlateau) for scheduler in self.schedulers):
            raise ValueError("SequentialLR: got ReduceLROnPlateau, which needs its metric, expected functions of the step")
        super().__init__(optimizer, last_epoch)

    def step(self, epoch=None):
        self.last_epoch = self.last_epoch + 1 if epoch is None else epoch
        i = sum(self.last_epoch >= milestone for milestone in self.milestones)
        self.schedulers[i].step(self.last_epoch - (self.milestones[i - 1] if i else 0))

    def state_dict(self):
        """As of the others, and "schedulers", a list of theirs."""
        return {**super().state_dict(), "schedulers": [scheduler.state_dict() for scheduler in self.schedulers]}

    def load_state_dict(self, state):
        _check_state(self, state)
        for scheduler, inner in zip(self.schedulers, state["schedulers"]):
            _check_state(scheduler, inner)
        for scheduler, inner in zip(self.schedulers, state["schedulers"]):
            scheduler.load_state_dict(inner)
        super().load_state_dict(state)


class ReduceLROnPlateau(LRScheduler):
    """lr <- factor lr whenever the metric has not improved for more than `patience` steps: give it to step(metric).

    Improved, mode "min": below best (1 - threshold), or with threshold_mode "abs" below best - threshold; "max": above, with +.
    cooldown: steps after a fall that do not count. min_lr: a number, or one a group. A fall of less than eps is left out.
    """
    COUNTERS = ("last_epoch", "best", "num_bad_epochs", "cooldown_counter")

    def __init__(self, optimizer, mode="min", factor=0.1, patience=10, threshold=1e-4, threshold_mode="rel", cooldown=0,
                 min_lr=0.0, eps=1e-8):
        if mode not in ("min", "max") or threshold_mode not in ("rel", "abs"):
            raise ValueError(f"ReduceLROnPlateau: got mode {mode!r} and threshold_mode {threshold_mode!r}, "
                             "expected 'min' or 'max' and 'rel' or 'abs'")
        if not factor < 1:
            raise ValueError(f"ReduceLROnPlateau: got factor {factor}, expected less than 1")
        self.optimizer, self.sign, self.relative = optimizer, 1 if mode == "min" else -1, threshold_mode == "rel"
        self.factor, self.patience, self.threshold, self.cooldown, self.eps = factor, patience, threshold, cooldown, eps
        self.min_lrs = _one_each(min_lr, optimizer, "ReduceLROnPlateau: min_lr")
        self.last_epoch, self.best, self.num_bad_epochs, self.cooldown_counter = 0, self.sign * math.inf, 0, 0

    def step(self, metrics):
        """Take in the metric of one more epoch."""
        metric = float(metrics)
        self.last_epoch += 1
        if self.improves(metric):
            self.best, self.num_bad_epochs = metric, 0
        else:
            self.num_bad_epochs += 1
        if self.cooldown_counter > 0:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown_counter - 1, 0
        if self.num_bad_epochs > self.patience:
            self.cooldown_counter, self.num_bad_epochs = self.cooldown, 0
            for group, least in zip(self.optimizer.param_groups, self.min_lrs, strict=True):
                lower = max(group["lr"] * self.factor, least)
                group["lr"] = lower if group["lr"] - lower > self.eps else group["lr"]

    def improves(self, metric):
        """Is it better than the best, by the threshold?"""
        limit = self.best * (1 - self.sign * self.threshold) if self.relative else self.best - self.sign * self.threshold
        return self.sign * metric < self.sign * limit

    def state_dict(self):
        """The counters. The lr is in the optimizer's state."""
        return {name: getattr(self, name) for name in self.COUNTERS}

    def load_state_dict(self, state):
        _check_state(self, state)
        for name in self.COUNTERS:
            setattr(self, name, state[name])


# ---------------------------------------------------------------- helpers

def _linear(start, end, share):
    return start + (end - start) * share


def _cosine(start, end, share):
    return end + (start - end) * (1 + math.cos(math.pi * share)) / 2


def _one_each(value, optimizer, what):
    """A number as a list with one for each group; a list as it is."""
    groups = len(optimizer.param_groups)
    values = list(value) if isinstance(value, (list, tuple)) else [value] * groups
    if len(values) != groups:
        raise ValueError(f"{what}: got {len(values)} values, expected {groups}, one for each group")
    return values


def _check_state(scheduler, state):
    own = scheduler.state_dict()
    if set(state) != set(own) or any(len(state[name]) != len(own[name]) for name in own if isinstance(own[name], list)):
        raise ValueError(f"{type(scheduler).__name__}.load_state_dict: got {sorted(state)}, expected {sorted(own)}, "
                         "lists with one entry a group")
