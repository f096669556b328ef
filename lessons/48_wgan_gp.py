"""Lesson 48: Wasserstein GANs, whose critic measures a distance

The discriminator of lessons 46 and 47 answers one question, real or fake. Once it is sure, its answer no longer changes,
whether the fakes are near or far; so its loss says nothing about progress, and the generator follows a slope that fades.
Replace the question. Not "which is it?" but "how far would the fake points have to be moved to become the real ones?" That
distance, W1, knows near from far, and a network can measure it, if one thing is enforced: that it is nowhere steeper than 1.

You will see a distance found by sorting and the same distance found by a critic; three ways to treat its slope (no limit,
clipped weights, a penalty on the gradient) and what each does to the critic and to the generator that follows it; eight
clusters on a ring and twenty-five on a grid.

Papers: Arjovsky, Chintala & Bottou 2017, arXiv:1701.07875; Gulrajani et al. 2017, arXiv:1704.00028 (published, at full scale:
inception score 7.86 on CIFAR-10).
"""
# %%
import itertools
import math

import numpy as np

from tinygrad_edu import Tensor, functional as F, grad, no_grad, optim
from tinygrad_edu.data import EightGaussians, Grid25
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import modes_covered, wasserstein_1d
from tinygrad_edu.models.generative.wgan import (Critic, Generator, clip_weights, gradient_lengths, gradient_penalty,
                                                 share_at_the_bound)
from tinygrad_edu.viz import colors, panels

lesson = Lesson("48_wgan_gp")
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## Moving sand
#
# Two heaps of sand, n grains each. Every grain of one must travel to a place in the other; W1 is the mean way of a grain,
# for the best plan. On a line the best plan is known: sort both, and send the first to the first, the second to the second.
# (Two ways that cross can be uncrossed, and none gets longer.) With six grains we can try all 720 plans.

# %%
a, b = rng.standard_normal(6), 2 * rng.standard_normal(6) + 1
all_plans = [abs(a - np.array(plan)).mean() for plan in itertools.permutations(b)]
lesson.claim("W1 by sorting - the best of all 720 plans", abs(wasserstein_1d(a, b) - min(all_plans)), "<=", 1e-12, row="N04",
             kind="E", baseline=np.mean(all_plans) - min(all_plans))

# %% [markdown]
# What does the discriminator measure instead? At its best, the Jensen-Shannon divergence (lesson 46). Take two bells of
# deviation 1 and pull them apart. W1 is their distance. The divergence is ln 2 as soon as they hardly overlap, and stays there:
# at a distance of 8 its slope is less than a thousandth. A generator eight widths away from the data is told "wrong", and not
# in which direction "less wrong" lies.

# %%
def jensen_shannon(distance):
    """Between N(0, 1) and N(distance, 1), in nats: a sum over a fine grid."""
    x = np.linspace(-10, 20, 30_001)
    p, q = (np.exp(-(x - centre) ** 2 / 2) / math.sqrt(2 * math.pi) + 1e-300 for centre in (0, distance))
    return (p * np.log(2 * p / (p + q)) + q * np.log(2 * q / (p + q))).sum() / 2 * (x[1] - x[0])

slope = (jensen_shannon(8.01) - jensen_shannon(7.99)) / 0.02
lesson.claim("two bells 8 apart: slope of the JS divergence", slope, "<=", 1e-3, row="N04", kind="E", baseline=1.0)

# %% [markdown]
# ## A critic that measures
#
# A plan for n grains in the plane is a hard puzzle. But the distance can be had from the other side. Let f be any function
# that is nowhere steeper than 1. A grain that goes from y to x gains f(x) - f(y), which is at most |x - y|. On average over any
# plan, and so over the best:
#
#     E_real f - E_fake f  <=  W1              and if f is nowhere steeper than K:      E_real f - E_fake f  <=  K W1
#
# So every function gives a lower bound, and Kantorovich proved that the best one reaches W1. This is the critic: a network
# trained to make E_real f - E_fake f large. All depends on its steepness. Three ways:
#
# - no limit: f can be made steeper for ever, and the number grows for ever;
# - clip every weight to [-c, c] after each step: then f is steep by at most some K, which depends on c, width and depth, and
#   which nobody knows;
# - add 10 (|grad f| - 1)^2 to the loss, at points between real and fake ones, where the grains travel. Why 1 and not "at
#   most 1"? Along the best plan the best f rises with slope exactly 1: it would lose if it rose less.
#
# Twelve pairs of heaps, which differ in place, width and shape. Here W1 is known, so the critic can be examined.
# A distance must not depend on how long one looks, so each critic is read twice, after half of its steps and at the end.

# %%
def draw_pair(n=256):
    """One bell, and two other bells of another width somewhere to the right of it: two arrays (n,)."""
    width, place, gap = rng.uniform(0.3, 2), rng.uniform(0, 3), rng.uniform(0, 2)
    fake = width * rng.standard_normal(n) + place + gap * rng.choice([-1, 1], n)
    return rng.standard_normal(n).astype("float32"), fake.astype("float32")

def critic_loss(critic, real, fake, weight):
    """What the critic makes small: its estimate of W1, negative, plus `weight` times the penalty."""
    loss = F.wasserstein_critic_loss(critic(real), critic(fake))
    return loss + weight * gradient_penalty(critic, real, fake) if weight else loss

def measure(real, fake, weight=0.0, clip=None, steps=lesson.pick(240, 30)):
    """Train a critic between two sets of numbers: its estimate after half of the steps, and at the end, and the critic."""
    critic = Critic(1, (64, 64))
    optimizer, readings = optim.Adam(critic.parameters(), lr=5e-3, betas=(0.5, 0.9)), []
    real, fake = Tensor(real[:, None]), Tensor(fake[:, None])                           # (n, 1)
    for i in range(1, steps + 1):
        loss = critic_loss(critic, real, fake, weight * min(1, 3 * i / steps))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if clip:
            clip_weights(critic, clip)
        if 2 * i == steps or i == steps:
            readings.append(-critic_loss(critic, real, fake, 0).item())
    return *readings, critic

def steepness(critic, real, fake):
    """The largest |f(x) - f(y)| / |x - y| among all the points: it is that of two neighbours."""
    x = np.unique(np.concatenate([real, fake]))                                         # sorted
    with no_grad():
        rise = np.diff(critic(Tensor(x[:, None])).numpy().astype("float64"))
    return (abs(rise) / np.diff(x.astype("float64"))).max()

# The penalty begins at 0 and reaches its weight after a third of the steps. On a line there is only up and down: a critic
# that starts with slope -1 where it should be +1 would have to pass through 0, where the penalty is highest.

# %%
CLIP = 0.1
ways = {"no limit": {}, "clipped": dict(clip=CLIP), "penalty": dict(weight=10.0)}
pairs = [draw_pair() for _ in range(lesson.pick(12, 2))]
exact = np.array([wasserstein_1d(*pair) for pair in pairs])
measured = {name: list(zip(*[measure(*pair, **way) for pair in lesson.progress(pairs, name)])) for name, way in ways.items()}

def spearman(a, b):
    """The correlation of ranks: 1 if both put everything in the same order."""
    return np.corrcoef(np.argsort(np.argsort(a)), np.argsort(np.argsort(b)))[0, 1]

print("estimate / W1, the twelve pairs      median   smallest   largest   at the end / half way")
orders, lengthened, excess = {}, {}, []
for name, (half, end, critics) in measured.items():
    orders[name] = spearman(np.tile(exact, 2), half + end)                              # 24 readings
    lengthened[name] = np.median(np.divide(end, half))
    bounds = [estimate / steepness(critic, *pair) for estimate, critic, pair in zip(end, critics, pairs)]
    excess.append(max(bounds - exact))
    ratio = end / exact
    print(f"  {name:<32} {np.median(ratio):9.3f} {ratio.min():10.3f} {ratio.max():9.3f} {lengthened[name]:15.3f}")

lesson.claim("36 critics: estimate / steepness - W1, the largest", max(excess), "<=", 1e-4, row="N04", kind="E", oracle=0)
lesson.claim("clipped critic: Spearman with exact W1", orders["clipped"], ">=", 0.9, row="N04", kind="O",
             baseline=orders["no limit"], oracle=1)
lesson.claim("critic with penalty: Spearman with exact W1", orders["penalty"], ">=", 0.9, row="N06", kind="O",
             baseline=orders["no limit"], oracle=1)
lesson.claim("no limit: estimate when trained twice as long, relative", lengthened["no limit"], ">=", 2, row="N04", kind="C",
             baseline=lengthened["clipped"], oracle=1)

# %% [markdown]
# Without a limit the number is thousands of times too large, and five times larger when trained twice as long: it ranks
# heaps only as long as all are watched for the same time. The clipped critic puts them in the right order, in a unit of its
# own: there are three layers, so with a tenth of c it is hundreds of times smaller. The critic with a penalty measures in
# the unit of the line, a little too much: to be steeper by e wins e W1 and costs 10 e^2, so it settles at 1 + W1 / 20.
#
# And the inequality above holds for all 36: estimate / steepness is a lower bound, whatever the critic has learned.
#
# What does clipping do to a critic? It wants to be steep, and under a limit for each weight the steepest it can be is to have
# all of them at the limit. So that is where they go, and a network whose weights are nearly all +c or -c has few shapes left.

# %%
at_the_bound = [share_at_the_bound(critic, CLIP) for critic in measured["clipped"][2]]
fresh = Critic(1, (64, 64))
clip_weights(fresh, CLIP)
lesson.claim("clipping: share of weights at -c or c, twelve critics", np.mean(at_the_bound), ">=", 0.5, row="N04", kind="O",
             baseline=share_at_the_bound(fresh, CLIP))

# %% [markdown]
# ## The penalty is a function of a gradient
#
# So to train on it is to differentiate a gradient (lesson 04). For a plane f(x) = w . x all is known: the penalty is
# (|w| - 1)^2 wherever one looks, and its gradient 2 (|w| - 1) w / |w|.

# %%
w = Tensor(rng.standard_normal(5), requires_grad=True)
real, fake = (Tensor(rng.standard_normal((32, 5))) for _ in range(2))
penalty = gradient_penalty(lambda x: x @ w, real, fake)
(slope,) = grad(penalty, w)
length = np.linalg.norm(w.detach().numpy())
error = np.abs(slope.numpy() - 2 * (length - 1) * w.detach().numpy() / length).max()
lesson.claim("penalty of a plane: its value - (|w| - 1)^2", abs(penalty.item() - (length - 1) ** 2), "<=", 1e-8, row="N06",
             kind="E")
lesson.claim("penalty of a plane: gradient - the formula's", error, "<=", 1e-8, row="N05", kind="E")

# %% [markdown]
# ## A generator that follows
#
# It moves its points uphill on the critic, and because the critic's slope is 1 wherever sand has to travel, the advice is as
# clear far away as near by. The critic has to be good before it is asked. The papers give it five steps for each of the
# generator's; here it takes one, twice as long, which costs a third. Momentum is turned off (betas[0] = 0): yesterday's
# direction points at where the critic was. Points are divided by `scale`, so that the data have a deviation of about 1; the
# generator's weights are averaged over its last few hundred steps.
#
# And the weight of the penalty grows. A small one allows a steep critic, which teaches fast while far is still to go; a
# large one holds the slope at 1 when little is left to gain. (The papers: 10 for pictures and 0.1 for points like these, all
# the time. The sizes of steps and weights here were found by trying, on one seed. The ring was first given 1,500 steps, and
# with them 87 to 89 % of good samples on four seeds; it now gets 2,500.)

# %%
BATCH = 256

def train(data, scale, steps, weight=(0.0, 0.0), clip=None, hidden=(128, 128), lr=2e-3):
    """A generator and a critic of `data`, both in its units divided by `scale`; `weight` of the penalty at first, at last."""
    generator, critic = Generator(hidden=hidden), Critic(hidden=hidden)
    g_optimizer = optim.Adam(generator.parameters(), lr=lr, betas=(0.0, 0.99))
    c_optimizer = optim.Adam(critic.parameters(), lr=2 * lr, betas=(0.0, 0.99))
    average = optim.EMA(generator, decay=0.998)
    for i in lesson.progress(range(steps), type(data).__name__):
        rate = lr * min(1, 2 * (1 - i / steps))                                         # falls over the second half
        g_optimizer.param_groups[0]["lr"], c_optimizer.param_groups[0]["lr"] = rate, 2 * rate

        real, fake = Tensor(data.sample(BATCH) / scale), generator.sample(BATCH)        # (BATCH, 2)
        loss = critic_loss(critic, real, fake.detach(), weight[0] + (weight[1] - weight[0]) * i / steps)
        c_optimizer.zero_grad()
        loss.backward()
        c_optimizer.step()
        if clip:
            clip_weights(critic, clip)

        loss = F.wasserstein_generator_loss(critic(fake))
        g_optimizer.zero_grad()
        loss.backward()
        g_optimizer.step()
        average.update()
    average.swap()
    return generator, critic

def draw(generator, scale, n=lesson.pick(10_000, 500)):
    with no_grad():
        return generator.sample(n).numpy() * scale

def slopes(critic, data, scale, generator, n=2000):
    """The length of the critic's gradient at points between real and fake ones, (n,)."""
    t, real = rng.random((n, 1)).astype("float32"), data.sample(n) / scale
    return gradient_lengths(critic, Tensor(t * real + (1 - t) * draw(generator, 1, n))).detach().numpy()

# %% [markdown]
# ## Eight clusters on a ring
#
# A sample is good if it lies within four deviations of a cluster's centre (of real points 99.97 % do), and a cluster is
# found if it gets at least a fifth of its share.

# %%
def judge(points, data):
    """Clusters found, and the share of good points."""
    return modes_covered(points, data.centres, 4 * data.sigma)

ring, RING = EightGaussians(sigma=0.1), 1.5
generator, ring_critic = train(ring, RING, lesson.pick(2500, 4), weight=(0.1, 2.0))
on_ring = draw(generator, RING)
(found, good), slope = judge(on_ring, ring), slopes(ring_critic, ring, RING, generator).mean()
scattered, real_good = judge(rng.uniform(-3, 3, (10_000, 2)), ring), judge(ring.sample(10_000), ring)[1]
lesson.claim("ring, penalty: clusters found, of 8", found, ">=", 8, row="N06", kind="O", oracle=8)
lesson.claim("ring, penalty: good samples", good, ">=", 0.9, row="N06", kind="O", baseline=scattered[1], oracle=real_good)
lesson.claim("ring, penalty: mean slope of the critic", slope, "in", (0.9, 1.1), row="N06", kind="O", oracle=1)
ring_title = f"ring, penalty: {found} of 8, {good:.0%} good"

# %% [markdown]
# ## Twenty-five clusters on a grid, and three critics
#
# The harder case, with a deeper network and longer steps; and the three critics against each other, all else equal.

# %%
grid, GRID = Grid25(sigma=0.1), 2 * math.sqrt(2)
in_the_plane = {"no limit": {}, "clipped": dict(clip=CLIP), "penalty": dict(weight=(0.2, 0.5))}
on_grid, results, grid_critics = {}, {}, {}
print("25 on a grid: clusters, good samples, mean slope of the critic between real and fake")
for name, way in in_the_plane.items():
    generator, grid_critics[name] = train(grid, GRID, lesson.pick(3400, 4), hidden=(128, 128, 128), lr=3e-3, **way)
    on_grid[name] = draw(generator, GRID)
    results[name] = *judge(on_grid[name], grid), slopes(grid_critics[name], grid, GRID, generator).mean()
    print("  {:<10} {:2d} {:8.3f} {:10.3g}".format(name, *results[name]))

(found, good, slope), clipped, free = results["penalty"], results["clipped"], results["no limit"]
lesson.claim("grid, penalty: clusters found, of 25", found, ">=", 24, row="N06", kind="O", baseline=clipped[0], oracle=25)
lesson.claim("grid, penalty: good samples", good, ">=", 0.9, row="N06", kind="O", baseline=clipped[1],
             oracle=judge(grid.sample(10_000), grid)[1])
lesson.claim("grid, penalty: mean slope of the critic", slope, "in", (0.9, 1.1), row="N06", kind="O", baseline=free[2],
             oracle=1)

# %% [markdown]
# The clipped critic ends nearly flat: with narrow limits on every weight and bias its units can all be switched off, and
# nothing pulls them back. On the line the same c served well; nobody knows beforehand which c a network needs. The critic
# without limits is a gamble: on five seeds its generator found 14 to 25 clusters, with a third to four fifths of good samples.
# That it works at all is owed to Adam, who divides out how steep the advice was. But its slope is above 10,000, so its number
# means nothing.

# %%
def draw_critic(axes, critic, data, scale, title, box):
    """Its values as colours, and the clusters."""
    axis = np.linspace(-box, box, 160, dtype="float32")
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2) / np.float32(scale)
    with no_grad():
        values = critic(Tensor(points)).numpy().reshape(160, 160)
    axes.contourf(axis, axis, values, levels=24, cmap="viridis")
    axes.plot(*data.centres.T, "o", color="white", markersize=3)
    axes.set(aspect="equal")
    axes.grid(False)
    axes.set_title(title, loc="left", fontsize=11)

def draw_points(axes, points, data, title, box):
    axes.plot(*data.centres.T, "o", color=colors(3)[2], markersize=9, markerfacecolor="none", markeredgewidth=0.8)
    axes.plot(*points[:2500].T, ".", color=colors(1)[0], markersize=2, alpha=0.5)
    axes.set(xlim=(-box, box), ylim=(-box, box), aspect="equal")
    axes.set_title(title, loc="left", fontsize=11)

def draw_weights(axes, critics, title):
    """How often each weight occurs, of the twelve critics of each way; what lies outside is counted at the edge."""
    for name in ("clipped", "penalty"):
        matrices = [p.detach().numpy().ravel() for critic in critics[name][2] for p in critic.parameters() if p.ndim > 1]
        axes.hist(np.concatenate(matrices).clip(-0.3, 0.3), np.linspace(-0.305, 0.305, 62), histtype="step", linewidth=1.6,
                  density=True, label=name)
    axes.set(yscale="log", xlabel="weight", ylabel="density")
    axes.legend(frameon=False, fontsize=9, loc="upper right")
    axes.set_title(title, loc="left", fontsize=11)

if lesson.draws:
    figure, (above, below) = panels(2, 4, size=(16, 7.8))
    for name, mark in (("penalty", "o"), ("clipped", "s")):
        above[0].plot(exact, measured[name][1], mark, label=name)
    above[0].plot([0, exact.max()], [0, exact.max()], color="0.4", linewidth=0.8)
    above[0].set(xlabel="exact W1", ylabel="the critic's estimate")
    above[0].legend(frameon=False, fontsize=9)
    above[0].set_title("Twelve pairs of heaps", loc="left", fontsize=11)
    draw_weights(above[1], measured, "Weights of their critics")
    draw_points(above[2], on_ring, ring, ring_title, 3.2)
    draw_critic(above[3], ring_critic, ring, RING, "its critic", 3.2)
    for axes, (name, points) in zip(below, on_grid.items()):
        draw_points(axes, points, grid, "{}: {} of 25, {:.0%} good".format(name, *results[name][:2]), 5.2)
    draw_critic(below[3], grid_critics["penalty"], grid, GRID, "critic with penalty", 5.2)
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Clip at 0.01, as the paper did for its large networks, and at 1. What becomes of the unit, and of the generator?
# - Five critic steps for each of the generator's, at equal time. Which of the two has to be ahead?
# - Penalize only slopes above 1, max(0, |grad f| - 1)^2. Which pairs of heaps does the critic then measure better?
