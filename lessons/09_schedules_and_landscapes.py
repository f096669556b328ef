"""Lesson 09: How long a step, and on what ground

Lesson 08 left one number open, and it is the one that matters most: the learning rate. Too small and nothing happens, too large
and everything breaks; and the best one at the start of training is not the best at the end. Far from the minimum long steps
win. Close to it they jump over it, for ever: a minibatch gradient is noise plus slope, and the noise does not get smaller.

You will see the usual schedules against their formulas; a test of some seconds that finds a good rate without a search; rates
that go up again on purpose, and what can be had from the minima visited on the way; and a training that is finished in half
the steps. Then we look at the ground itself: a slice through the loss of a deep network, with shortcuts and without. Last, when
there is no theory left and one must search: why the nodes of a grid are the worst places to look.

Papers: Smith 2015, arXiv:1506.01186; Loshchilov & Hutter 2016, 1608.03983 (published, at full scale: 3.14 % error on
CIFAR-10 with an ensemble of snapshots); Smith & Topin 2017, 1708.07120; Li et al. 2018, 1712.09913; Bergstra & Bengio 2012.
"""
# %%
import numpy as np

from tinygrad_edu import Tensor, backend, functional as F, grad, nn, no_grad, optim, randn
from tinygrad_edu.data import batches, load_digits
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import accuracy
from tinygrad_edu.models.foundations.mlp import MLP
from tinygrad_edu.optim import lr_scheduler
from tinygrad_edu.viz import colors, panels, plot_curves

lesson = Lesson("09_schedules_and_landscapes")
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## A schedule is a function of time
#
# That is all a scheduler is: `lr(t)`, a function of the number of steps. `scheduler.step()` counts, and puts the answer into
# the optimizer. The four that you will meet most often: falls at fixed times; half a cosine, slow at both ends; a warm-up,
# because the first gradients of a fresh network cannot be trusted; and the Transformer's ("Noam"), which rises along a line
# and falls like 1 / sqrt(t). Each against its formula (and in the library's tests against PyTorch):

# %%
def rates(make, steps, lr=0.1):
    """The learning rates of a schedule, from the first step on. `make`: optimizer -> scheduler."""
    optimizer = optim.SGD([nn.Parameter([0.0])], lr=lr)
    scheduler, values = make(optimizer), []
    for _ in range(steps):
        values.append(optimizer.param_groups[0]["lr"])
        scheduler.step()
    return np.array(values)

t = np.arange(20)
SCHEDULES = {
    "step": (lambda o: lr_scheduler.StepLR(o, 5, 0.5), np.repeat([0.1, 0.05, 0.025, 0.0125], 5)),
    "cosine": (lambda o: lr_scheduler.CosineAnnealingLR(o, 20, 0.01), 0.01 + 0.045 * (1 + np.cos(np.pi * t / 20))),
    "warm-up": (lambda o: lr_scheduler.LinearLR(o, 0.2, total_iters=8), 0.1 * np.minimum(0.2 + 0.1 * t, 1)),
    "Noam": (lambda o: lr_scheduler.NoamLR(o, 64, 8), 0.1 / 8 * np.minimum((t + 1) ** -0.5, (t + 1) / 8 ** 1.5)),
}
for name, (make, formula) in SCHEDULES.items():
    lesson.claim(f"{name}: 20 values, less the formula", np.abs(rates(make, 20) - formula).max(), "<=", 1e-12, row="C07",
                 kind="E")
cosine = rates(SCHEDULES["cosine"][0], 21)
lesson.claim("cosine: its mean (trapezoids), less (first + last) / 2", abs((cosine[1:] + cosine[:-1]).mean() / 2 - 0.055),
             "<=", 1e-12, row="C07", kind="E")

# %% [markdown]
# ## Up and down again, and how to find the range
#
# Smith (2015) let the rate go up and down like a saw, because no single one is right and some in between will be. The turning
# points are exact: up for `step_size_up` steps, down for as many.

# %%
up = 12
wave = rates(lambda o: lr_scheduler.CyclicLR(o, 0.01, 0.07, up, cycle_momentum=False), 5 * 2 * up)
peaks = [t for t in range(1, len(wave) - 1) if wave[t] > max(wave[t - 1], wave[t + 1])]
lesson.claim("triangles: steps from peak to peak", max(np.diff(peaks)), "==", 2 * up, row="C08", kind="S")
lesson.claim("triangles: first peak", peaks[0], "==", up, row="C08", kind="S")
lesson.claim("triangles: height of the peaks, less max_lr", np.abs(wave[peaks] - 0.07).max(), "<=", 1e-15, row="C08", kind="S")

# But up to where? Smith's range test: start far too low, multiply the rate in every step, and watch. First nothing happens,
# then the loss falls, then it explodes. A good rate is half of the one at which it falls fastest. It costs 150 steps. Compare
# with the search that it replaces: seven rates, seven trainings, to the end.

# %%
images, labels = load_digits("train")
test_images, test_labels = load_digits("test")
images, test_images = images.reshape(-1, 64), Tensor(test_images.reshape(-1, 64))
PER_EPOCH = len(images) // 32                               # 44 steps an epoch

def new_model():
    backend.manual_seed(lesson.seed)                        # all runs start from the same weights
    return MLP(64, 128, 128, 10)

def endless(batch_size=32, noise=0.0):
    """Batches for ever; `noise`: deviation of what is added to the pixels, new every time."""
    while True:
        for x, y in batches(images, labels, batch_size=batch_size, drop_last=True):
            yield x + noise * randn(*x.shape), y

def step_of(model, optimizer, stream):
    """One step of training; returns the loss."""
    x, y = next(stream)
    loss = F.cross_entropy(model(x), y)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()

def probabilities(model):
    with no_grad():
        return F.softmax(model(test_images), axis=1).numpy()

def test_accuracy(model):
    with no_grad():
        return accuracy(model(test_images), test_labels)

def train(steps, lr, stream, schedule=None, every=None):
    """The losses of SGD with momentum, and {step: accuracy on the test set}. `schedule`: optimizer -> scheduler."""
    model, losses, looks = new_model(), [], {}
    optimizer = optim.SGD(model.parameters(), lr=lr, momentum=0.9)
    scheduler = schedule(optimizer) if schedule else None
    for step in lesson.progress(range(1, steps + 1), f"lr {lr}"):
        losses.append(step_of(model, optimizer, stream))
        if scheduler:
            scheduler.step()
        if every and step % every == 0:
            looks[step] = test_accuracy(model)
    return losses, looks

GRID = (0.001, 0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
with backend.ignore_float_errors():
    final = {lr: np.mean(train(lesson.pick(12 * PER_EPOCH, 4), lr, endless())[0][-PER_EPOCH:]) for lr in GRID}
    model = new_model()
    optimizer, stream = optim.SGD(model.parameters(), lr=1e-4, momentum=0.9), endless()
    lrs, losses = optim.lr_range_test(optimizer, lambda: step_of(model, optimizer, stream), 1e-4, 10, lesson.pick(150, 8))
picked = lrs[int(np.argmin(np.gradient(losses)))] / 2       # half of where the loss falls fastest

best = min(final, key=lambda lr: final[lr] if np.isfinite(final[lr]) else np.inf)
print("  training loss in the last epoch, lr by lr: " + ", ".join(f"{lr}: {loss:.4f}" for lr, loss in final.items()))
lesson.claim("range test: its lr / the best of seven", max(picked / best, best / picked), "<=", 3, row="C08", kind="C",
             oracle=1)

# %% [markdown]
# ## Warm restarts
#
# A cosine to 0 ends in some minimum. SGDR jumps up to the full rate again: the network leaves, and comes down somewhere else;
# each round may be T_mult times as long as the one before. What was found at the end of the rounds is not lost: copies of the
# weights, made at the low points, are an ensemble that cost one training ("snapshots", Huang et al. 2017, arXiv:1704.00109).

# %%
saw = rates(lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 10, 2), 160)
restarts = [t for t in range(1, len(saw)) if saw[t] > saw[t - 1]]
lesson.claim("SGDR: restarts, distance to 10, 30, 70, 150", np.abs(np.subtract(restarts, [10, 30, 70, 150])).max(), "==", 0,
             row="C09", kind="E")

rounds, length = lesson.pick(6, 2), lesson.pick(3 * PER_EPOCH, 4)
model, stream, snapshots, alone = new_model(), endless(), [], []
optimizer = optim.SGD(model.parameters(), lr=0.2, momentum=0.9)
scheduler = lr_scheduler.CosineAnnealingWarmRestarts(optimizer, length)
for step in lesson.progress(range(1, rounds * length + 1), "snapshots"):
    step_of(model, optimizer, stream)
    scheduler.step()
    if step % length == 0:
        snapshots.append(probabilities(model))
        alone.append(test_accuracy(model))

def nats(p):
    """Mean -log p of the true class."""
    return -np.log(p[np.arange(len(p)), test_labels]).mean()

together = np.mean(snapshots, axis=0)
accuracy_together = (together.argmax(axis=1) == test_labels).mean()
print("  snapshots: " + ", ".join(f"{a:.3f}" for a in alone) + f"; together {accuracy_together:.3f}")
lesson.claim("snapshots: accuracy of all together less the last one's", accuracy_together - alone[-1], ">=", 0, row="C09",
             kind="C", baseline=alone[-1])
lesson.claim("snapshots: nats of all together, over the last one's", nats(together) / nats(snapshots[-1]), "<", 1, row="C09",
             kind="C", baseline=1)

# %% [markdown]
# ## One cycle
#
# And what if there is only one round? Up to a rate that no constant training would survive, while the momentum goes down, and
# down to almost nothing at the end: the noise of the long steps does the exploring, the short ones at the end collect. It
# pays where there is much noise, so let us have batches of 8, and new noise on the pixels every time. A constant rate must
# now choose: the fast ones never settle, the ones that settle are slow.
#
# The ablation is the constant rate: how many steps until the test accuracy, averaged over the last 100 steps, is at the
# target, for the best rate of four? One cycle must be told its length, so we try some, with the same four rates for its peak,
# and ask for the shortest that ends at the target. If no constant rate gets there, we count the steps that it was given.
#
# Smith and Topin saw up to ten times fewer steps, on larger networks and pictures. On ours, seeds differ: between a third and
# two thirds of the steps are needed, so we promise only a quarter saved, not the half that we had hoped for.

# %%
TARGET, MOST, RATES = 0.96, lesson.pick(2400, 20), (0.003, 0.01, 0.03, 0.1)

def smooth(looks):
    """{step: mean accuracy of the last five looks}, 20 steps apart."""
    steps, values = list(looks), np.array(list(looks.values()))
    return {steps[i]: values[i - 4 : i + 1].mean() for i in range(4, len(steps))}

def one_cycle(steps, lr):
    return train(steps, lr, endless(8, 0.3), lambda o: lr_scheduler.OneCycleLR(o, lr, total_steps=steps), every=20)[1]

with backend.ignore_float_errors():
    constant = {lr: smooth(train(MOST, lr, endless(8, 0.3), every=20)[1]) for lr in RATES}
    cycles = {}
    for steps in lesson.pick((500, 600, 700, 800, 900, 1000), (20,)):
        cycles = max((one_cycle(steps, lr) for lr in RATES), key=lambda looks: looks[steps])
        if cycles[steps] >= TARGET:
            break
constant_steps = {lr: min((step for step, a in looks.items() if a >= TARGET), default=MOST) for lr, looks in constant.items()}
each = ", ".join(f"constant {lr}: {n}" for lr, n in constant_steps.items())
print(f"  steps to {TARGET:.0%}: {each}; one cycle: {steps}")
lesson.claim("one cycle: steps to 96 %, over the best constant rate's", steps / min(constant_steps.values()), "<=", 0.75,
             row="C10", kind="C", baseline=1)

# %% [markdown]
# ## The ground itself
#
# A network of 26 layers, most of them in pairs, once plain, once with a shortcut around each pair (lesson 15 is about these).
# Both are trained alike. How sharp is the place where they end? The Hessian H is too large to write down, but lesson 04 gave
# us H v for the price of two gradients: multiply a vector again and again, and it turns to the direction of the largest
# curvature.
#
# And a picture: the loss in a plane through the end point, spanned by two random directions. How far is one unit? A ReLU
# network does not change when one layer is doubled and the next halved, but a walk by fixed amounts would look twice as steep
# in the one. So each neuron's part of a direction gets the length of that neuron's weights: "filter normalisation" (Li et al.
# 2018).

# %%
class Deep(nn.Module):
    """Linear, `depth` pairs of layers, Linear. He initialization; with shortcuts a pair starts 1 / sqrt(depth) as large."""

    def __init__(self, depth, width, shortcuts):
        self.first, self.last, self.shortcuts = nn.Linear(64, width), nn.Linear(width, 10), shortcuts
        self.pairs = [[nn.Linear(width, width), nn.Linear(width, width)] for _ in range(depth)]
        for layer in [self.first, *sum(self.pairs, []), self.last]:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")
            nn.init.zeros_(layer.bias)
        for _, two in self.pairs if shortcuts else ():
            two.weight.data *= depth ** -0.5

    def forward(self, x):
        h = F.relu(self.first(x))
        for one, two in self.pairs:
            change = two(F.relu(one(h)))
            h = h + change if self.shortcuts else F.relu(change)
        return self.last(h)

def fit_deep(shortcuts):
    backend.manual_seed(lesson.seed)
    model = Deep(12, 32, shortcuts)
    optimizer = optim.Adam(model.parameters(), lr=2e-3)
    for _ in lesson.progress(range(lesson.pick(10, 1)), "deep"):
        for x, y in batches(images, labels, batch_size=64, drop_last=True):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optim.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
    return model

some, some_labels = Tensor(images[:512]), Tensor(labels[:512])
def loss_of(model):
    return F.cross_entropy(model(some), some_labels)

def sharpness(model, products):
    """The largest curvature: power iteration with Hessian-vector products."""
    ps = model.parameters()
    v = [Tensor(rng.standard_normal(p.shape), dtype=np.float32) for p in ps]
    for _ in range(products):
        norm = sum((a * a).sum() for a in v) ** 0.5
        v = [a / norm for a in v]
        gs = grad(loss_of(model), ps, create_graph=True)
        Hv = grad(sum((g * a).sum() for g, a in zip(gs, v)), ps)
        top, v = sum((a * h).sum() for a, h in zip(v, Hv)).item(), Hv
    return top

def random_direction(model):
    """One array for each parameter, each row as long as the neuron's weights; 0 for biases."""
    direction = []
    for p in model.parameters():
        d = rng.standard_normal(p.shape)
        weights = backend.to_numpy(p.data)
        lengths = np.linalg.norm(weights, axis=-1, keepdims=True) / np.linalg.norm(d, axis=-1, keepdims=True)
        direction.append(Tensor(d * lengths if p.ndim == 2 else 0 * d, dtype=np.float32).data)
    return direction

def landscape(model, size, reach=1.0):
    """The loss on a grid (size, size) around the weights, along two random directions."""
    ps, centre = model.parameters(), [p.data.copy() for p in model.parameters()]
    right, up, grid = random_direction(model), random_direction(model), np.linspace(-reach, reach, size)
    heights = np.zeros((size, size))
    for i, b in enumerate(grid):
        for j, a in enumerate(grid):
            for p, c, r, u in zip(ps, centre, right, up):
                p.data[...] = c + a * r + b * u
            with no_grad():
                heights[i, j] = loss_of(model).item()
    for p, c in zip(ps, centre):
        p.data[...] = c
    return heights

deep = {"plain": fit_deep(False), "with shortcuts": fit_deep(True)}
sharp = {name: sharpness(model, lesson.pick(20, 2)) for name, model in deep.items()}
ends = {name: test_accuracy(model) for name, model in deep.items()}
print("  26 layers: " + "; ".join(f"{name}: accuracy {ends[name]:.3f}, largest curvature {sharp[name]:.4g}" for name in deep))
lesson.claim("largest curvature, plain / with shortcuts", sharp["plain"] / sharp["with shortcuts"], ">", 1, row="C11", kind="C")

# The plain network did not get as far in the same steps, and this is why: where the ground is so steep, Adam's steps of
# lesson 08 throw it from wall to wall.

# %%
slices = {name: landscape(model, lesson.pick(25, 3)) for name, model in deep.items()}
centre = slices["plain"].shape[0] // 2
same = max(abs(slices[name][centre, centre] - loss_of(deep[name]).item()) for name in deep)
lesson.claim("slice: its middle is the loss, less the loss", same, "<=", 1e-6, row="C11", kind="E")

# %% [markdown]
# ## When one must search
#
# Four knobs, sixteen trainings: the learning rate, decay, momentum and label smoothing of a logistic regression. A grid tries
# two values of each. But as nearly always only one knob matters, and the grid has tried two values of it, eight times each.
# Sixteen random points try sixteen. To be fair, the grid's place is drawn at random, too, ten times.

# %%
few, few_labels = Tensor(images[:200]), Tensor(labels[:200])
held_out, held_labels = Tensor(images[200:600]), Tensor(labels[200:600])

def score(knobs):
    """Held-out loss after 20 steps; the knobs in [0, 1]."""
    model = nn.Linear(64, 10)
    nn.init.zeros_(model.weight)
    nn.init.zeros_(model.bias)
    optimizer = optim.SGD(model.parameters(), lr=10 ** (6 * knobs[0] - 4), weight_decay=10 ** (2 * knobs[1] - 7),
                          momentum=0.1 * knobs[2])
    for _ in range(20):
        loss = F.cross_entropy(model(few), few_labels, label_smoothing=0.02 * knobs[3])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with no_grad():
        return F.cross_entropy(model(held_out), held_labels).item()

corners = np.stack(np.meshgrid(*[[0, 0.5]] * 4), axis=-1).reshape(16, 4)
searches = []
for _ in lesson.progress(range(lesson.pick(10, 1)), "search"):
    grid_points, random_points = (corners + rng.random(4)) % 1, rng.random((16, 4))
    searches.append([min(map(score, points)) for points in (grid_points, random_points)])
by_grid, by_chance = np.median(searches, axis=0)
lesson.claim("search: best loss of 16, random / grid, medians of 10", by_chance / by_grid, "<", 1, row="C12", kind="C",
             baseline=1)

# %%
if lesson.draws:
    figure, axes = panels(2, 3, size=(14.5, 8.4))
    (lines, ranges, histories), (left, right, knobs) = axes
    shapes = {"step": lambda o: lr_scheduler.StepLR(o, 25, 0.4), "cosine": lambda o: lr_scheduler.CosineAnnealingLR(o, 100),
              "warm restarts": lambda o: lr_scheduler.CosineAnnealingWarmRestarts(o, 14, 2),
              "triangles, halved": lambda o: lr_scheduler.CyclicLR(o, 0.0, 0.1, 10, mode="triangular2", cycle_momentum=False),
              "one cycle": lambda o: lr_scheduler.OneCycleLR(o, 0.1, 100)}
    for i, (name, make) in enumerate(shapes.items()):           # one above the other
        curve = rates(make, 100)
        lines.plot(curve / 0.1 - 1.25 * i, color=colors(5)[i])
        lines.text(101, -1.25 * i, name, color=colors(5)[i], fontsize=9)
    lines.set(yticks=[], xlabel="step", xlim=(0, 135))
    lines.set_title("learning rates", loc="left", fontsize=11)

    ranges.semilogx(lrs, losses, label="range test: loss so far")
    ranges.semilogx(list(final), [min(loss, 4) if np.isfinite(loss) else np.nan for loss in final.values()], "o",
                    label="loss at the end, constant rates")
    ranges.axvline(picked, color=colors(3)[2], linewidth=1, label=f"picked: {picked:.2g}")
    ranges.set(xlabel="lr", ylim=(0, 4))
    ranges.set_title("where is the range?", loc="left", fontsize=11)
    ranges.legend(frameon=False, fontsize=9)

    curves = {f"constant {lr}": (list(looks), list(looks.values())) for lr, looks in constant.items()}
    curves[f"one cycle of {steps}"] = list(cycles), list(cycles.values())
    plot_curves(curves, xlabel="step", ylabel="test accuracy", title="one cycle against constant rates", axes=histories)
    histories.axhline(TARGET, color="black", linewidth=0.6, alpha=0.5)
    histories.set_ylim(0.4, 1)
    histories.legend(frameon=False, fontsize=9, loc="lower right")

    x, y = np.meshgrid(np.linspace(-1, 1, len(slices["plain"])), np.linspace(-1, 1, len(slices["plain"])))
    for k, (panel, (name, heights)) in enumerate(zip((left, right), slices.items())):
        panel.remove()
        surface = figure.add_subplot(2, 3, 4 + k, projection="3d")
        surface.plot_surface(x, y, np.log10(np.minimum(heights, 1e3)), cmap="viridis", linewidth=0.1, edgecolor="white",
                             rstride=1, cstride=1)
        surface.set(zlabel="log10 loss", xticks=(-1, 0, 1), yticks=(-1, 0, 1))
        surface.set_title(f"{name}: curvature {sharp[name]:.3g}", loc="left", fontsize=11)

    for points, marker, name in ((grid_points, "s", "grid"), (random_points, "o", "random")):
        knobs.plot(10 ** (6 * points[:, 0] - 4), points[:, 1], marker, markersize=6, label=name, alpha=0.8)
    knobs.set(xscale="log", xlabel="the knob that matters: lr", ylabel="one that does not")
    knobs.set_title(f"16 tries: best loss {by_grid:.3f} by grid, {by_chance:.3f} by chance", loc="left", fontsize=11)
    knobs.legend(frameon=False, fontsize=9)
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Give `CosineAnnealingWarmRestarts` T_mult = 2 for the snapshots. Are the later ones better, and is the ensemble?
# - Start the range test at 1e-6 with 1,000 steps. Does it pick another rate?
# - Draw the slice of a plain network with 5 pairs of layers. Where do the cliffs begin?
# - All this made the training loss small. On new pictures, small is not always good: lesson 10.
