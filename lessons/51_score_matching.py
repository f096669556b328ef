"""Lesson 51: Score matching: learn which way the data gets denser

An energy-based model (lesson 45) knows its density up to a constant Z, and pays for Z in every training step with a chain of
draws from itself. But the constant has no slope. What if we learn the slope of ln p, the score, and nothing else?

You will see that the score can be learned from noisy points alone, without knowing it anywhere: two losses, one of which
nobody can compute, have the same gradient to the last digit. A learned score comes within a tenth of the exact one; followed
uphill from noise it draws data, but only if many levels of noise are learned; as the drift of an equation in time it draws
data without noise and gives the likelihood back, within a few hundredths of a nat. Two densities in the plane, of which we know
everything, are the judges.

Papers: Hyvarinen 2005, Estimation of non-normalized statistical models by score matching; Vincent 2011, A connection between
score matching and denoising autoencoders; Song & Ermon 2019, arXiv:1907.05600 (published, at full scale: FID 25.3 on
CIFAR-10); Song et al. 2021, 2011.13456 (FID 2.20).
"""
# %%
import math

import numpy as np

from tinygrad_edu import Tensor, grad, no_grad, optim, randn
from tinygrad_edu.data import Mixture, SwissRoll
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import two_sample_1nn
from tinygrad_edu.models.foundations.mlp import MLP
from tinygrad_edu.models.generative.score import MixtureScore, ScoreNetwork, VPSDE, denoising_loss, langevin, log_uniform
from tinygrad_edu.nn import SiLU
from tinygrad_edu.viz import arrows2d, density2d, panels, plot_curves, scatter2d

lesson = Lesson("51_score_matching")
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## A regression whose answers nobody has
#
# The score is s(x) = grad ln p(x). If we had it at the data we would regress on it, E |s_net(x) - s(x)|^2 / 2. We do not.
# Vincent's trick: put noise on every point, x = x0 + sigma noise. *Given x0*, the density of x is a Gaussian, and its score is
# (x0 - x) / sigma^2: an arrow back to where the point came from. Many x0 may lie behind one x, and the arrows disagree. Their
# mean over the x0 behind x is
#
#     E[grad ln q(x|x0) | x] = sum_x0 q(x0|x) grad q(x|x0) / q(x|x0) = sum_x0 p(x0) grad q(x|x0) / q(x) = grad ln q(x),
#
# the score of the noised data. A squared error finds the mean of its answers. So regressing on the arrows (denoising score
# matching) and on the score (explicit score matching) differ by the variance of the arrows, in which there is no weight of the
# network. Three points on a line and their noise are simple enough to have both losses as sums over a fine grid:

# %%
atoms, chance, sigma = np.array([-1.0, 0.5, 2.0]), np.array([0.5, 0.3, 0.2]), 0.5
x = np.linspace(-5, 6, 1000)[:, None]                                       # (1000, 1)
joint = chance * np.exp(-0.5 * ((x - atoms) / sigma) ** 2)                  # p(x0, x) up to a factor: (1000, 3)
joint, arrows = joint / joint.sum(), (atoms - x) / sigma ** 2
marginal = joint.sum(axis=1, keepdims=True)                                 # p(x)
score = (joint * arrows).sum(axis=1, keepdims=True) / marginal              # its score

def losses(net):
    s = net(Tensor(x))                                                      # (1000, 1)
    denoising, explicit = 0.5 * (joint * (s - arrows) ** 2).sum(), 0.5 * (marginal * (s - score) ** 2).sum()
    return denoising, explicit

def gradient(loss, net):
    """d loss / d weights, one long vector."""
    return np.concatenate([p.numpy().ravel() for p in grad(loss, net.parameters(), retain_graph=True)])

constants, gap = [], 0.0
for _ in range(3):                                                          # three networks with weights of no meaning
    net = MLP(1, 16, 16, 1, activation=SiLU).double()
    denoising, explicit = losses(net)
    g, h = gradient(denoising, net), gradient(explicit, net)
    gap = max(gap, np.linalg.norm(g - h) / np.linalg.norm(h))
    constants.append(denoising.item() - explicit.item())
variance = 0.5 * (joint * (arrows - score) ** 2).sum()
lesson.claim("both losses: gradients apart, relative", gap, "<=", 1e-12, row="P01", kind="E", oracle=0)
lesson.claim("both losses: difference minus the arrows' variance", np.abs(np.array(constants) - variance).max(), "<=", 1e-12,
             row="P01", kind="E", oracle=0)

# %% [markdown]
# ## Two densities that we know
#
# Three clouds, of which one holds six points in ten and one a single one; and a rolled-up sheet. Both are mixtures of
# Gaussians, so with noise put on they are wider mixtures, and the score of a mixture is a formula: every centre pulls, as
# strongly as it is likely to be where x came from. That is our oracle, at every level of noise. First: is it right?

# %%
clouds = Mixture([[-1.0, -0.5], [1.75, 0.25], [0.75, 2.25]], 0.3, weights=[6, 3, 1])          # with mean 0
roll = SwissRoll(noise=0.1)
exact = {clouds: MixtureScore(clouds), roll: MixtureScore(roll)}

noised, h = clouds.noised(0.3), 1e-5
x = noised.sample(200, "float64")
differences = [(noised.log_density(x + h * e) - noised.log_density(x - h * e)) / (2 * h) for e in np.eye(2)]     # (2, 200)
off = np.abs(exact[clouds](Tensor(x), 0.3).numpy().T - differences).max()
lesson.claim("oracle: score of the clouds against differences of ln p", off, "<=", 1e-6, row="P01", kind="E", oracle=0)

# %% [markdown]
# In the plane, and with the library's loss, sums over all x are out of reach; batches must do. For a batch of noised points we
# take the gradient of both losses, and the difference, along one direction in the space of all weights, must be 0 up to its
# standard error. The score of the *clean* data is not what is learned: that difference is many standard errors.

# %%
net, sigma, differences = ScoreNetwork(width=32), 0.5, {"noised": [], "clean": []}
direction = None
for _ in range(lesson.pick(200, 20)):
    x0, noise = Tensor(clouds.sample(256)), randn(256, 2)
    x, denoising = x0 + sigma * noise, gradient(denoising_loss(net, x0, sigma, noise), net)
    for name, level in (("noised", sigma), ("clean", 0.0)):
        answers = exact[clouds](x, level)
        explicit = gradient(0.5 * sigma ** 2 * ((net(x, sigma) - answers) ** 2).sum(axis=1).mean(), net)
        direction = explicit / np.linalg.norm(explicit) if direction is None else direction
        differences[name].append(direction @ (denoising - explicit))
errors = {name: abs(np.mean(d)) / (np.std(d, ddof=1) / math.sqrt(len(d))) for name, d in differences.items()}
lesson.claim("library's loss and the exact score: gradients apart, SE", errors["noised"], "<=", 3, row="P01", kind="O",
             baseline=errors["clean"], oracle=0)

# %% [markdown]
# ## Learning it at all levels
#
# Where there is no data nothing is learned, so the score of nearly clean data is learned in small islands only. With more noise
# the islands grow together. So one network learns the score of every amount of noise, from 0.3 of what the data has by itself
# to so much that the data is a speck in it. The levels are drawn evenly in ln sigma, and every one counts alike, which is what
# the weight sigma^2 in the loss is for. (Three clouds, because on a ring of eight the likelihood below was off by 0.04 to 0.07
# nats: a score with more bends needs more steps than this lesson has.)
#
# The ablation learns one level, sigma = 0.1, with the same network.

# %%
def equation(score, density):
    """From 0.3 of the density's own width to 10: beyond, there is nothing to see but noise."""
    return VPSDE(score, sigma_min=0.3 * density.sigma, beta_max=9.0)

def fit(density, low, high, steps, title, lr=1e-2):
    """Adam, the step size falling along a cosine; the network ends with the average of its late weights."""
    net = ScoreNetwork(width=64, deviation=float(density.sample(5000).std()))
    optimizer, ema = optim.Adam(net.parameters(), lr=lr), optim.EMA(net, decay=0.998)
    for step in lesson.progress(range(steps), title):
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        x0, sigma = density.sample(512).reshape(8, 64, 2), log_uniform(64, low, high)          # 8 points at each of 64 levels
        loss = denoising_loss(net, Tensor(x0), sigma)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update()
    ema.swap()
    return net

LOWEST, HIGHEST = 0.3 * clouds.sigma, equation(None, clouds).sigma(1.0)
learned = {density: fit(density, 0.3 * density.sigma, HIGHEST, lesson.pick(steps, 10), title)
           for density, steps, title in ((clouds, 2000, "clouds"), (roll, 2000, "swiss roll"))}
one_level = fit(clouds, 0.1, 0.1, lesson.pick(500, 10), "one level")

def relative_error(net, density, levels, spread=0.0, n=lesson.pick(4000, 100)):
    """|net - score| / |score|, root of the means of squares over points with noise (and `spread` more), weighted by sigma^2."""
    wrong = whole = 0.0
    with no_grad():
        for sigma in levels:
            x = Tensor(density.noised(math.hypot(sigma, spread)).sample(n))
            truth = exact[density](x, sigma)
            wrong += sigma ** 2 * ((net(x, sigma) - truth) ** 2).sum().item()
            whole += sigma ** 2 * (truth ** 2).sum().item()
    return math.sqrt(wrong / whole)

def gaussian_score(density):
    """That of one round Gaussian with the density's variance: what the network starts from."""
    v = float(density.sample(5000).var())
    return lambda x, sigma: -x / (v + sigma ** 2)

names = {clouds: "clouds", roll: "swiss roll"}
for density, name in names.items():
    levels = np.geomspace(0.3 * density.sigma, HIGHEST, 12)
    error, baseline = (relative_error(score, density, levels) for score in (learned[density], gaussian_score(density)))
    lesson.claim(f"{name}: error of the learned score, all levels", error, "<=", 0.10, row="P01", kind="O", baseline=baseline,
                 oracle=0)
near, far = (relative_error(one_level, clouds, [0.1], spread) for spread in (0.0, 2.0))
print(f"one level learned: error {near:.3f} among the data, {far:.3f} where there are few")
lesson.claim("one level learned: error away from the data over near", far / near, ">=", 2, row="P01", kind="C", baseline=1)

# %% [markdown]
# ## Uphill with noise
#
# Langevin (1908): x <- x + h score(x) + sqrt(2 h) noise. Uphill, but shaken, and the shaking is so measured that the points end
# up distributed as p. With *one* level this fails twice. Between clouds the walk never crosses in our lifetime, so how many
# points end in a cloud depends on where they started, not on how likely it is: even the exact score gets that wrong. And a
# learned score was never told about the places where the walk begins. Annealing, level by level from wide to narrow, mends
# both: wide levels have no valleys, and each level begins where it has seen data.

# %%
count = lesson.pick(2000, 50)
real, start, ladder, walks = clouds.sample(count), 10 * randn(count, 2), np.geomspace(10, LOWEST, 20), lesson.pick(40, 2)

def shares(points):
    """The share of points nearest to each cloud."""
    return np.bincount(((points[:, None] - clouds.centres) ** 2).sum(axis=2).argmin(axis=1), minlength=3) / len(points)

def misplaced(points):
    """The share of points that would have to change clouds."""
    return 0.5 * np.abs(shares(points) - clouds.weights).sum()

annealed = langevin(learned[clouds], start, ladder, walks, step=0.2).numpy()
alone_exact = langevin(exact[clouds], start, [0.1], 10 * walks, step=0.5).numpy()
alone = langevin(one_level, start, [0.1], 10 * walks, step=0.5).numpy()
for name, points in (("annealed", annealed), ("one level, exact score", alone_exact)):
    print(f"shares of the clouds, {name}: {', '.join(f'{share:.2f}' for share in shares(points))} (truth 0.6, 0.3, 0.1)")
lesson.claim("Langevin, annealed: points in the wrong cloud", misplaced(annealed), "<=", 0.05, row="P01", kind="O",
             baseline=misplaced(alone_exact), oracle=0)
lesson.claim("Langevin, one level, exact score: in the wrong cloud", misplaced(alone_exact), ">=", 0.15, row="P01", kind="C",
             baseline=misplaced(annealed))

# %% [markdown]
# Are the points, taken one by one, like data? Ask of each whether its nearest neighbour is drawn or real: 0.5 is a coin, 1
# is never mistaken. One Gaussian with the right mean and covariance is found out. The learned score of one level is not, or
# hardly: its points lie where points should, and that there are too many in one cloud is nothing that neighbours notice. One
# number does not judge a generator.

# %%
def one_gaussian(points):
    return rng.multivariate_normal(points.mean(axis=0), np.cov(points.T), len(points))

print(f"one level, learned: {misplaced(alone):.2f} in the wrong cloud, yet 1-NN accuracy {two_sample_1nn(real, alone):.3f}")
lesson.claim("Langevin, annealed: 1-NN two-sample accuracy", two_sample_1nn(real, annealed), "<=", 0.55, row="P01", kind="O",
             baseline=two_sample_1nn(real, one_gaussian(real)), oracle=two_sample_1nn(real, clouds.sample(count)))

# %% [markdown]
# ## An equation in time
#
# Let the number of levels grow without end: noise comes as a stream, dx = -beta x / 2 dt + sqrt(beta) dw, t from 0 to 1, which
# shrinks x while it adds noise so that the variance stays near 1. Anderson (1982) turned such equations around; the way back
# needs the score, and nothing else. And there is an ODE, without any noise, whose points have the same density at every t:
#
#     dx/dt = -beta (x + score(x, t)) / 2.
#
# Density flows along it like a liquid: d ln p / dt = -div (dx/dt), lesson 42's formula for steps without length. So a score
# gives a likelihood. Is it the right one? First with the exact score, which leaves only the solver to blame:

# %%
steps, few = lesson.pick(30, 10), lesson.pick(2000, 20)
test = {density: density.sample(few, "float64") for density in names}
truth = {density: density.log_density(points) for density, points in test.items()}

oracle, some = equation(exact[clouds], clouds), clouds.sample(500, "float64")
off = oracle.log_prob(Tensor(some), 30).numpy() - clouds.noised(oracle.sigma_min).log_density(some)
lesson.claim("ODE with the exact score: mean ln p minus the truth", abs(off.mean()), "<=", 0.005, row="P01", kind="E", oracle=0)

def gaussian_nats(density):
    """Nats that one Gaussian with any covariance costs beyond the truth."""
    return 0.5 * np.linalg.slogdet(2 * math.pi * math.e * np.cov(test[density].T))[1] + truth[density].mean()

for density, name in names.items():
    found = equation(learned[density], density).log_prob(Tensor(test[density], dtype="float32"), steps).numpy()
    off = found - truth[density]
    print(f"{name}: ln p {truth[density].mean():.3f}, ODE {found.mean():.3f}, at one point off by {np.abs(off).mean():.3f}")
    lesson.claim(f"{name}: ODE likelihood, nats off the truth", abs(off.mean()), "<=", 0.05, row="P01", kind="O",
                 baseline=gaussian_nats(density), oracle=0)

# %% [markdown]
# And it draws: with noise, by the equation turned around, or without, by the ODE, where a point of data is a function of a
# point of noise. We judge the roll, whose turns are 0.9 apart and 0.1 thick.

# %%
sde, noise, real = equation(learned[roll], roll), randn(count, 2), roll.sample(count)
paths = sde.flow(noise, steps)
drawn = {"reverse SDE": sde.sample(noise, lesson.pick(150, 10)), "ODE": paths[-1]}
for name, points in drawn.items():
    lesson.claim(f"swiss roll, {name}: 1-NN two-sample accuracy", two_sample_1nn(real, points), "<=", 0.55, row="P01", kind="O",
                 baseline=two_sample_1nn(real, one_gaussian(real)), oracle=two_sample_1nn(real, roll.sample(count)))

# %% [markdown]
# ## The figure
#
# Above: the score of the clouds with noise 0.3, exact and learned, one arrow a place (dark: steep); the network that learned
# one level only, asked at that level also where it hardly saw data; how wrong each is, level by level. Below: points of noise
# carried to the roll by the ODE, the density of the roll that the learned score implies, and the clouds as annealed Langevin
# and as Langevin on one level with the exact score draw them: the same clouds, with the wrong number of points.

# %%
if lesson.draws:
    figure, axes = panels(2, 4, size=(17, 8))
    box = (-2.5, 3.5, -2, 4)
    fields = {"score with noise 0.3, exact": (exact[clouds], 0.3), "learned": (learned[clouds], 0.3),
              "one level learned (0.1)": (one_level, 0.1)}
    for panel, (title, (field, sigma)) in zip(axes[0], fields.items()):
        arrows2d(lambda p: field(Tensor(p), sigma), box, title=title, axes=panel)
        panel.scatter(*clouds.sample(200).T, s=2, color="#bd1f01")
    compared = {"clouds": (learned[clouds], clouds), "swiss roll": (learned[roll], roll),
                "clouds, one Gaussian": (gaussian_score(clouds), clouds)}
    curves = {}
    for name, (score, density) in compared.items():
        levels = np.geomspace(0.3 * density.sigma, HIGHEST, lesson.pick(14, 3))
        curves[name] = levels, [relative_error(score, density, [sigma]) for sigma in levels]
    plot_curves(curves, "noise sigma", "error of the score, relative", "xy", title="how wrong, level by level", axes=axes[0, 3])

    way = np.stack([p.numpy() for p in paths])[:, :40]                                          # (steps + 1, 40, 2)
    scatter2d(roll.sample(1000), title="from noise to the roll", axes=axes[1, 0])
    axes[1, 0].plot(*way.transpose(2, 0, 1), color="#717581", lw=0.8)
    axes[1, 0].scatter(*way[-1].T, s=14, color="#bd1f01", zorder=3)
    axes[1, 0].set(xlim=(-3, 3), ylim=(-3, 3))
    density2d(lambda p: sde.log_prob(Tensor(p), lesson.pick(20, 2)), (-2.5, 2.5, -2.5, 2.5), resolution=lesson.pick(60, 5),
              title="density of the roll, by the ODE", axes=axes[1, 1])
    for panel, points, title in zip(axes[1, 2:], (annealed, alone_exact), ("Langevin, annealed", "one level, exact score")):
        scatter2d(points, title=f"{title}: " + ", ".join(f"{share:.2f}" for share in shares(points)), axes=panel)
        panel.set(xlim=box[:2], ylim=box[2:])
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Train with the weight 1 instead of sigma^2. Which levels does the network forget, and what does that do to the samples?
# - Start annealed Langevin at sigma = 1 instead of 10. Does the share of the likely clouds survive?
# - Take the score of a trained VAE's or flow's ln p by autograd, and walk with it.
# - Lesson 52 fixes the levels, undoes them one by one, and grows this to pictures.
