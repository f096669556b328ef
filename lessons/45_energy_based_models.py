"""Lesson 45: Energy-based models: any network is a density, up to a constant

A flow (lessons 42 to 44) has a likelihood because every layer of it is invertible, and is paid for in freedom: no layer may do
as it likes. What if the network may be anything, takes x, and returns one number E(x), low where data is likely? Then
p(x) = exp(-E(x)) / Z is a density. The price is Z, a sum over all x there could be.

You will see that drawing needs no Z, only the slope of E; that learning needs no Z, only draws; how close a draw that stops
early comes to the gradient it stands for; what keeps such a training from running away, by leaving it out; and a small machine
of 1986, whose Z can be counted out, so that everything above can be checked on it. Expected: its digits cost 20 nats each
(independent pixels 25.3).

Papers: Hinton 2002, Training products of experts by minimizing contrastive divergence; Roberts & Tweedie 1996 (MALA);
Salakhutdinov & Murray 2008, On the quantitative analysis of deep belief networks (AIS); Du & Mordatch 2019, arXiv:1903.08689
(published, at full scale: Inception score 6.02, FID 40.6 on CIFAR-10); Grathwohl et al. 2019, 1912.03263 (JEM).
"""
# %%
import math

import numpy as np

from tinygrad_edu import Tensor, backend, functional as F, grad, no_grad, optim, randn
from tinygrad_edu.data import TwoMoons, batches, binarize, load_digits
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import two_sample_1nn
from tinygrad_edu.models.foundations.mlp import MLP
from tinygrad_edu.models.generative.ebm import (Energy, JointEnergy, ReplayBuffer, contrastive_loss, grid, langevin,
                                                log_partition, mala)
from tinygrad_edu.models.generative.rbm import RBM
from tinygrad_edu.viz import density2d, panels, plot_curves, show_grid

lesson = Lesson("45_energy_based_models")
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## Drawing without Z
#
# Two points can be compared without Z: p(y) / p(x) = exp(E(x) - E(y)). And the slope of ln p is -dE/dx: Z is a constant and
# has none. Langevin's walk goes down the slope and is shaken,
#
#     x <- x - h dE/dx + sqrt(2 h) z,           z standard normal,
#
# and for h -> 0 its points end up distributed as p. For a Gaussian, E = x P x / 2, we can say what happens at finite h: a step
# is x <- (I - h P) x + sqrt(2 h) z, so the covariance C of the points goes to C = (I - hP) C (I - hP) + 2 h I, solved by
#
#     C = (I - h P / 2)^-1 P^-1:      too wide, by a factor that goes to 1 with h.

# %%
covariance = np.array([[1.5, 0.8], [0.8, 1.0]])
P, centre = np.linalg.inv(covariance), np.array([1.0, -2.0])

def bowl(x):
    """The energy of N(centre, covariance)."""
    off = x - Tensor(centre, dtype=x.dtype)
    return 0.5 * ((off @ Tensor(P, dtype=x.dtype)) * off).sum(axis=1)

def biased(h):
    return np.linalg.inv(np.eye(2) - h * P / 2) @ covariance

worst = 0.0
for h in (0.05, 0.2, 0.4):
    C = np.zeros((2, 2))
    for _ in range(2000):
        C = (np.eye(2) - h * P) @ C @ (np.eye(2) - h * P) + 2 * h * np.eye(2)
    worst = max(worst, np.abs(C - biased(h)).max())
lesson.claim("Langevin's covariance: formula against iteration", worst, "<=", 1e-10, row="O02", kind="E", oracle=0)

# %% [markdown]
# Now walk. MALA puts a judge at the end of each step: accept y with probability min(1, p(y) q(x|y) / (p(x) q(y|x))), else stay.
# Whatever flows from x to y then flows back as often, and p stays as it is, at any h; a large h only means more refusals.
# Without the shaking, the ablation, all points roll into the one hole.

# %%
def relative(wrong):
    return np.linalg.norm(wrong - covariance) / np.linalg.norm(covariance)

def covariance_error(x):
    return relative(np.cov(x.numpy().T))

n = lesson.pick(10_000, 200)
start, walks, errors = randn(n, 2), lesson.pick(300, 5), {}
for h in (0.4, 0.2, 0.1, 0.05):
    x = langevin(bowl, start, math.ceil(walks * 0.05 / h) + walks // 5, h)
    errors[h] = covariance_error(x)
    print(f"Langevin, step {h}: covariance off by {errors[h]:.3f}, by the formula {relative(biased(h)):.3f}")
off = np.linalg.norm(x.numpy().mean(axis=0) - centre) / np.linalg.norm(centre)
judged, accepted = mala(bowl, start, walks // 3 + 2, 0.4)
rolled = langevin(bowl, start, walks // 3 + 2, 0.2, noise=0.0)
print(f"MALA, step 0.4: {100 * accepted:.0f} % of the steps accepted, covariance off by {covariance_error(judged):.3f}")
lesson.claim("Langevin, step 0.05: mean, relative error", off, "<=", 0.05, row="O02", kind="O",
             baseline=np.linalg.norm(start.numpy().mean(axis=0) - centre) / np.linalg.norm(centre), oracle=0)
lesson.claim("Langevin, step 0.05: covariance, relative error", errors[0.05], "<=", 0.05, row="O02", kind="O",
             baseline=covariance_error(rolled), oracle=relative(biased(0.05)))
lesson.claim("Langevin: error at step 0.4 over error at step 0.05", errors[0.4] / errors[0.05], ">=", 3, row="O02", kind="O",
             baseline=1)
lesson.claim("MALA, step 0.4: covariance, relative error", covariance_error(judged), "<=", 0.05, row="O02", kind="O",
             baseline=errors[0.4], oracle=0)
lesson.claim("MALA, step 0.4: share accepted, unjudged steps are 1", accepted, "in", (0.5, 0.99), row="O02", kind="O",
             baseline=1)

# %% [markdown]
# ## Learning without Z
#
# -ln p(data) = E(data) + ln Z, and the derivative of ln Z by a weight is an average again:
#
#     d ln Z / dw = (1 / Z) d/dw sum_x exp(-E(x)) = -sum_x p(x) dE(x)/dw
#     d(-ln p(data)) / dw = mean over the data of dE/dw - mean over the model's draws of dE/dw.
#
# Energy down where the data is, up where the model believes it is. When both agree nothing moves. The draws come from walks
# that never have the time to arrive. Contrastive divergence starts them at the data and takes a few steps; Du & Mordatch keep
# the ends in a buffer and walk on from there in the next round. We use the buffer, and MALA for the walk.

# %%
moons = TwoMoons(noise=0.1)
BOX, steps, walk, step = 4.0, lesson.pick(400, 10), lesson.pick(10, 2), 0.01

def births(n):
    """Where chains begin: evenly on a square of side 8."""
    return backend.generator().uniform(-BOX, BOX, (n, 2)).astype("float32")

def direction(loss, net):
    return np.concatenate([p.numpy().ravel() for p in grad(loss, net.parameters())])

points, cell = grid(6.0, lesson.pick(200, 60))                          # the plane is small: here Z can be had

def compare(net, data, chains=lesson.pick(1024, 50), long=lesson.pick(200, 2)):
    """Cosines with the exact gradient of -ln p of gradients whose draws are: births; a step from the data; `long` steps."""
    with no_grad():
        p = np.exp(-net(points).numpy() - log_partition(net, points, cell)) * cell
    down = direction(net(data).mean(), net)
    exact = down - direction((Tensor(p) * net(points)).sum(), net)
    near = Tensor(moons.sample(chains))
    draws = {"births": Tensor(births(chains)), "CD-1": mala(net, near, 1, step)[0], "long": mala(net, near, long, step)[0]}
    found = {name: down - direction(net(x).mean(), net) for name, x in draws.items()}
    return {name: g @ exact / np.linalg.norm(g) / np.linalg.norm(exact) for name, g in found.items()}, np.linalg.norm(exact)

net, buffer = Energy(2, (64, 64), width=1.5), ReplayBuffer(512, births, reborn=0.02)
optimizer, cosines = optim.Adam(net.parameters(), lr=0.015), {}
for i in lesson.progress(range(steps), "two moons"):
    optimizer.param_groups[0]["lr"] = 0.015 * (1 + math.cos(math.pi * i / steps)) / 2
    drawn, _ = mala(net, buffer.draw(256), walk, step)                  # walk on from where the chains ended
    buffer.keep(drawn)
    loss = contrastive_loss(net, Tensor(moons.sample(256)), drawn)      # mean E(data) - mean E(drawn)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    if i + 1 in (steps // 10, steps // 2, steps):
        cosines[i + 1] = compare(net, Tensor(moons.sample(lesson.pick(10_000, 100))))
for i, (found, length) in cosines.items():
    print(f"after {i} steps: exact gradient {length:.2f} long; cosines with it: "
          + ", ".join(f"{name} {value:.2f}" for name, value in found.items()))
early = cosines[steps // 10][0]
lesson.claim("contrastive gradient, 200 steps from the data: cosine", early["long"], ">=", 0.9, row="O03", kind="C",
             baseline=early["births"], oracle=1)
lesson.claim("the same with 1 step: cosine lost", early["long"] - early["CD-1"], ">", 0, row="O03", kind="C", baseline=0)

# %% [markdown]
# The ablation is in the lines above: energies pushed up where nobody believes in data, at the births, give a gradient that does
# not point the way. They also say where the approximation ends. The claim is made after a tenth of the training, when there is
# much to learn; as the exact gradient shrinks, what is left of it drowns in the error of draws that stopped early.
#
# What has been learned is a density. It integrates to 1 on a grid that was not used for Z, and tells the data from noise. It is
# not yet the right one: it costs about half a nat more than the truth, where the flow of lesson 42 costs a fiftieth.

# %%
test, noise = moons.sample(lesson.pick(3000, 200)), births(lesson.pick(3000, 200))
log_z = log_partition(net, points, cell)
finer, fine_cell = grid(8.0, lesson.pick(300, 100))
with no_grad():
    total = np.exp(-net(finer).numpy() - log_z).sum() * fine_cell
    low, high = net(Tensor(test)).numpy(), net(Tensor(noise)).numpy()
truth, learned = -moons.log_density(test).mean(), low.mean() + log_z
print(f"two moons, nats a point: truth {truth:.3f}, learned {learned:.3f}")

def auc(low, high):
    """The share of pairs in which the datum has the lower energy."""
    return (low[:, None] < high).mean()

with no_grad():
    untrained = Energy(2, (64, 64), width=1.5)
    before = auc(untrained(Tensor(test)).numpy(), untrained(Tensor(noise)).numpy())
lesson.claim("exp(-E) / Z: integral over another grid, minus 1", abs(total - 1), "<=", 1e-2, row="O01", kind="E", oracle=0)
lesson.claim("energy of data below energy of noise: AUC", auc(low, high), ">=", 0.95, row="O01", kind="O", baseline=before,
             oracle=auc(-moons.log_density(test), -moons.log_density(noise)))

# %% [markdown]
# ## Digits, and what keeps them from running away
#
# 64 pixels, no grid. Only the *difference* of energies is asked for, so both may sink together; a steep energy throws the walk
# far out, where the energy is steeper still. Five things hold it: alpha E^2 in the loss; a limit on the length of the gradient;
# a bowl under the energy; chains that go on; a little noise on the data. The second run leaves them out and has all else equal:
# the optimizer, SGD with momentum, and the steps. (Adam divides by the size of the gradient and so is a stabiliser, too: in its
# place nothing overflowed in 150 steps, the energies only sank, to -5 or to -600, depending on the step of the walk. And the
# learning rate is 0.2 because with 0.1 one seed of five lasted 135 of the 150 steps.)

# %%
digits, test_digits = (2 * load_digits(split)[0].reshape(-1, 64) - 1 for split in ("train", "test"))

def grey(n):
    return backend.generator().uniform(-1, 1, (n, 64)).astype("float32")

def train_digits(held, steps):
    """(buffer, [[mean E of data, of draws] after each step]); stops at the first number that is not finite."""
    net = Energy(64, (128, 128), width=4.0 if held else 1e4)
    buffer = ReplayBuffer(512, grey, reborn=0.05 if held else 1.0)
    optimizer, trace = optim.SGD(net.parameters(), lr=0.2, momentum=0.9), []
    stream = (batch for _ in range(steps) for batch in batches(digits, batch_size=64, drop_last=True))
    for _, data in zip(lesson.progress(range(steps), "digits"), stream):
        data = data + 0.1 * randn(*data.shape) if held else data
        drawn = langevin(net, buffer.draw(64), 20, 0.1, noise=0.02)     # colder than the model: see `langevin`
        loss = contrastive_loss(net, data, drawn, alpha=0.1 if held else 0.0)
        with no_grad():
            trace.append([net(data).mean().item(), net(drawn).mean().item()])
        if not np.isfinite(trace[-1]).all():
            break
        buffer.keep(drawn)
        optimizer.zero_grad()
        loss.backward()
        if held:
            optim.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
    return buffer, np.array(trace)

steps = lesson.pick(150, 3)
buffer, held = train_digits(True, steps)
with np.errstate(all="ignore"):                                         # it is going to overflow
    _, loose = train_digits(False, steps)
largest = np.abs(held).max() if len(held) == steps else math.inf
lesson.claim("digits, stabilisers on: largest mean energy", largest, "<=", 100, row="O03", kind="O",
             baseline=np.abs(loose[np.isfinite(loose).all(axis=1)]).max())
lesson.claim("digits, stabilisers off: steps until not finite", len(loose), "<", steps, row="O03", kind="C", baseline=len(held))
real, n = test_digits, min(360, len(buffer.points))
told = {name: two_sample_1nn(real[:n], fake) for name, fake in (("the buffer", buffer.points[:n]), ("noise", grey(n)))}
print("a neighbour tells from real digits: " + ", ".join(f"{name} {value:.2f}" for name, value in told.items()))

# %% [markdown]
# ## A classifier is an energy
#
# Logits f(x)_k, taken as ln p(x, k) + ln Z, make a density of x: E(x) = -ln sum_k exp f(x)_k (JEM). The classifier does not
# notice: p(k|x) = p(x, k) / p(x) is its softmax. So a classifier can be trained to draw as well, with the loss above on E.

# %%
classifier, x = MLP(64, 32, 10), Tensor(digits[:50])
with no_grad():
    conditional = np.exp(classifier(x).numpy() + JointEnergy(classifier)(x).numpy()[:, None])
    apart = np.abs(conditional - F.softmax(classifier(x)).numpy()).max()
lesson.claim("joint energy: p(x, k) / p(x) against the softmax", apart, "<=", 1e-5, row="O04", kind="E", oracle=0)

# %% [markdown]
# ## The restricted Boltzmann machine
#
# Black and white pixels v and 12 hidden switches h, E(v, h) = -b v - c h - v W h. Given v, all h are independent, and the other
# way round: drawing is throwing coins, in turns. Summing over v for each of the 2^12 = 4,096 states of h gives Z exactly, hence
# the exact likelihood and its exact gradient. Training does not use that: it takes one turn from the data, CD-1.

# %%
train_v, test_v = (binarize(load_digits(split)[0]).reshape(-1, 64) for split in ("train", "test"))
mean = (train_v.sum(axis=0) + 1) / (len(train_v) + 2)
independent = -(test_v * np.log(mean) + (1 - test_v) * np.log(1 - mean)).sum(axis=1).mean()

rbm = RBM(64, 12, visible_bias=np.log(mean / (1 - mean)).astype("float32"))
optimizer, epochs = optim.SGD(rbm.parameters(), lr=0.1, momentum=0.5), lesson.pick(120, 2)
for epoch in lesson.progress(range(epochs), "RBM"):
    optimizer.param_groups[0]["lr"] = 0.1 * (1 - epoch / epochs) + 0.005
    for v in batches(train_v, batch_size=64):
        rbm.set_gradient(rbm.statistics(v), rbm.statistics(rbm.gibbs(v, k=1)))
        optimizer.step()

log_z = rbm.log_partition()
with no_grad():
    nats = rbm(Tensor(test_v)).mean().item() + log_z                    # mean F(v) + ln Z
lesson.claim("RBM on binarised digits: exact nats, test", nats, "<=", 20.49, row="O04", kind="O", baseline=independent)

# %% [markdown]
# (20.49 is what a mixture of ten independent-pixel models, one for each class, costs.)
#
# Without enumeration, Z is estimated by annealed importance sampling: walk from a machine whose Z is known (W = 0) to this
# one, in a thousand small steps, and multiply up by how much each step changes the weight of where the walk is. The ablation
# takes one single step, which is plain importance sampling. It knows nothing of where this machine's weight is.

# %%
estimate, plain = rbm.ais(500, lesson.pick(1000, 200)), rbm.ais(500, 1)
lesson.claim("AIS: ln Z minus the exact one", abs(estimate - log_z), "<=", 0.05, row="O04", kind="E",
             baseline=abs(plain - log_z), oracle=0)

# %% [markdown]
# And the bias of CD-k. At the weights that CD-1 found, the averages of v h, v and h after k turns from the data, against the
# model's exact ones. (With 28,740 chains they are uncertain by about 0.05 in this norm: that is where the fall must end.)

# %%
exact, v, bias, turns = rbm.exact_statistics(), Tensor(np.tile(train_v, (lesson.pick(20, 1), 1))), {}, 0
for k in (1, 2, 5, 10, 25):
    v, turns = rbm.gibbs(v, k - turns), k
    bias[k] = math.sqrt(sum(((a - b) ** 2).sum().item() for a, b in zip(rbm.statistics(v), exact)))
print("bias of CD-k:", ", ".join(f"k = {k}: {b:.3f}" for k, b in bias.items()))
lesson.claim("CD-k: bias of k = 5 over that of k = 1", bias[5] / bias[1], "<", 1, row="O04", kind="C", baseline=1)
lesson.claim("CD-k: bias of k = 25 over that of k = 5", bias[25] / bias[5], "<", 1, row="O04", kind="C", baseline=1)

# %% [markdown]
# ## The figure
#
# Above: the density learned from two moons, with chains on their way from their births; how the covariance of Langevin's points
# depends on the step; energies with and without the stabilisers. Below: digits from the buffer; the RBM's twelve columns of W;
# its draws after 500 turns; the bias of CD-k.

# %%
if lesson.draws:
    figure, axes = panels(2, 4, size=(17, 7.6))
    density2d(lambda p: -net(Tensor(p)) - log_partition(net, points, cell), (-2, 3, -2, 2.5), resolution=lesson.pick(200, 40),
              title="two moons: exp(-E) / Z, and chains", axes=axes[0, 0])
    chain = [Tensor(births(6))]
    for _ in range(lesson.pick(40, 3)):
        chain.append(mala(net, chain[-1], 2, step)[0])
    axes[0, 0].plot(*np.stack([x.numpy() for x in chain]).transpose(2, 0, 1), color="white", lw=0.7)
    wide = np.linspace(0.02, 0.45, 30)
    plot_curves({"measured": (list(errors), list(errors.values())),
                 "formula": (wide, [relative(biased(h)) for h in wide])},
                "step h", "covariance, relative error", title="Langevin's bias", axes=axes[0, 1])
    titles = "digits, stabilisers on", f"stabilisers off: the end after {len(loose)} steps"
    for panel, trace, title in zip(axes[0, 2:], (held, loose), titles):
        plot_curves({"data": trace[:, 0], "draws": trace[:, 1]}, "step", "mean energy", title=title, axes=panel)
    axes[0, 3].set_yscale("symlog", linthresh=1000)
    axes[0, 3].set_yticks([-1e3, 0, *np.logspace(9, 36, 4)])
    axes[0, 3].set_ylim(-1e6, None)
    show_grid(buffer.points[:48].reshape(-1, 8, 8), columns=8, limits=(-1, 1), title="digits in the buffer", axes=axes[1, 0])
    show_grid(rbm.weight.detach().numpy().T.reshape(-1, 8, 8), columns=4, title="RBM: what each hidden unit likes",
              axes=axes[1, 1])
    drawn = rbm.gibbs(Tensor(rng.integers(0, 2, (48, 64)).astype("float32")), lesson.pick(500, 5))
    show_grid(drawn.reshape(-1, 8, 8), columns=8, title="RBM: draws", axes=axes[1, 2])
    plot_curves({"CD-k": (list(bias), list(bias.values()))}, "k", "bias of the averages", "xy",
                title="a longer chain, a smaller bias", axes=axes[1, 3])
    axes[1, 3].set_xticks(list(bias), [str(k) for k in bias])
    axes[1, 3].minorticks_off()
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Train the moons with Langevin in the place of MALA, at the same step. Whose density is wider, and why?
# - Leave out one stabiliser at a time. Which one does the work?
# - Train the RBM with CD-10, or with its exact gradient. How many nats did CD-1 lose?
# - Lesson 51 learns the slope of ln p itself, and needs no draws while it learns.
