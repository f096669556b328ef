"""Lesson 42: Normalizing flows: NICE, RealNVP, Glow

So far a likelihood cost us something. The VAE of lesson 38 only bounds it, and the autoregressive models of lessons 40 and 41
have it exactly but draw one number after the other. Can a model have both, the exact likelihood in one pass and a sample in
one pass? It can if it is a bijection: data on one side, plain Gaussian noise on the other, and nothing lost between.

You will check the one formula that this rests on against brute force, see what goes wrong without its second term, bend a
Gaussian into two moons to within a few hundredths of a nat of the truth, and price handwritten digits in bits. Expected: moons
near 1.03 nats (truth 1.01, a Gaussian 1.92), digits near 2.6 bits a pixel (a Gaussian 3.0, a mixture of ten 2.7).

Papers: Dinh, Krueger & Bengio 2014, arXiv:1410.8516; Dinh, Sohl-Dickstein & Bengio 2016, arXiv:1605.08803; Kingma &
Dhariwal 2018, arXiv:1807.03039.
"""
# %%
import math

import numpy as np

from tinygrad_edu import Tensor, jacobian, no_grad, optim
from tinygrad_edu.data import TwoMoons, levels, load_digits
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.models.generative.flow import Flow, every_other
from tinygrad_edu.models.generative.glow import Glow, InvertibleConv, squeeze
from tinygrad_edu.models.generative.nice import NICE
from tinygrad_edu.models.generative.realnvp import AffineCoupling, RealNVP
from tinygrad_edu.nn import Module
from tinygrad_edu.viz import density2d, panels, show_grid

lesson = Lesson("42_nice_realnvp_glow")
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## What stretches, thins out
#
# Take a rubber band with ink on it and pull: where it is stretched three times, the ink is a third as dense. In D dimensions
# a map f turns a small box around x into a small parallelepiped, whose volume is |det J| times as large, J = df/dx. So if z = f(x)
# and z has the density p(z), then x has the density p(z) |det J|, or in logarithms
#
#     ln p(x) = ln p(f(x)) + ln |det J(x)|.
#
# The determinant of a D x D matrix costs D^3. The coupling layer makes it free. It leaves half of x alone and changes the
# other half by something computed from the first:
#
#     z1 = x1                                        J = | I        0      |      ln |det J| = sum of s
#     z2 = x2 exp(s(x1)) + t(x1)                         | ...  diag exp(s) |
#
# Backwards: x2 = (z2 - t(z1)) exp(-s(z1)). The networks s and t are never inverted, so they may be anything. NICE has s = 0.
#
# That is all of the mathematics. We ask the library's three flows for it, at random weights and in float64, and compare with
# the determinant of the whole Jacobian, one row of it from each backward pass.

# %%
def shaken(flow):
    """The flow in float64, moved away from where it starts."""
    for p in flow.double().parameters():
        p.data += 0.1 * rng.standard_normal(p.shape)
    return flow

def brute(flow, x):
    """ln |det dz/dx| at one point x (1, ..), from the whole (D, D) matrix."""
    J = jacobian(lambda x: flow(x)[0], x).numpy()                                       # (1, .., 1, ..)
    return np.linalg.slogdet(J.reshape(x.size, x.size))[1]

flows = {"NICE": (NICE(6), (6,)), "RealNVP": (RealNVP(6, layers=4), (6,)), "Glow": (Glow(steps=2, hidden=8), (1, 8, 8))}
determinants, inverses = [], []
for flow, shape in flows.values():
    x = Tensor(rng.standard_normal((5, *shape)))
    with no_grad():
        z, log_det = shaken(flow)(x)
        inverses.append(np.abs((flow.inverse(z) - x).numpy()).max())
    determinants.append(np.abs(log_det.numpy() - [brute(flow, x[i : i + 1]) for i in range(5)]).max())
lesson.claim("ln |det| of three flows against the whole Jacobian", max(determinants), "<=", 1e-8, row="M01", kind="E")
lesson.claim("three flows forwards and back again: error", max(inverses), "<=", 1e-10, row="M02", kind="E")

couplings = Flow(*flows["NICE"][0].layers[:-1])                 # without the scaling at the end
volume = couplings(Tensor(rng.standard_normal((5, 6))))[1].abs().max()
lesson.claim("NICE's couplings: |ln |det||", volume, "==", 0.0, row="M02", kind="E")

# %% [markdown]
# ## Two moons
#
# Maximum likelihood, and nothing else: no bound, no critic, no noise schedule. The data are drawn afresh for every step, so
# there is nothing to overfit.

# %%
moons = TwoMoons(noise=0.1)
test = Tensor(moons.sample(5000))
truth = -moons.log_density(test.numpy()).mean()
steps = lesson.pick(1500, 30)

def train(flow, draw, steps, loss, lr=2e-3):
    """Adam; the step size rises for 50 steps and falls over the second half. Returns the losses."""
    optimizer, losses = optim.Adam(flow.parameters(), lr=lr), []
    for i in lesson.progress(range(steps), "training"):
        optimizer.param_groups[0]["lr"] = lr * min(1, (i + 1) / 50, 2 * (1 - i / steps))
        value = loss(flow, Tensor(draw()))
        optimizer.zero_grad()
        value.backward()
        optim.clip_grad_norm_(flow.parameters(), 50.0)
        optimizer.step()
        losses.append(value.item())
    return losses

def nats(flow, x):
    """-ln p(x), the mean over the batch."""
    return -flow.log_prob(x).mean()

def nats_on(flow, x):
    with no_grad():
        return nats(flow, x).item()

nice, realnvp = NICE(layers=8), RealNVP(layers=8)
for flow in (nice, realnvp):
    train(flow, lambda: moons.sample(256), steps, nats)

x = moons.sample(20_000, "float64")                             # the baseline: one Gaussian with any covariance
covariance = np.cov(x.T)
gaussian = 0.5 * np.linalg.slogdet(2 * math.pi * math.e * covariance)[1]
score = nats_on(realnvp, test)
print(f"two moons, nats a point: truth {truth:.3f}, RealNVP {score:.3f}, NICE {nats_on(nice, test):.3f}, Gaussian {gaussian:.3f}")
lesson.claim("RealNVP on two moons: nats a point", score, "<=", 1.21, row="M03", kind="O", baseline=gaussian, oracle=truth)
lesson.claim("RealNVP minus the truth: within a tenth of a nat", score - truth, "in", (-0.02, 0.1), row="M03", kind="O",
             baseline=gaussian - truth, oracle=0)
with no_grad():
    z, _ = realnvp(test)
    back = np.abs((realnvp.inverse(z) - test).numpy()).max()
lesson.claim("the trained RealNVP in float32, there and back", back, "<=", 1e-5, row="M03", kind="E")

# %% [markdown]
# A density must integrate to 1, whatever the network has learned; the formula promises it, and a grid can check it. The grid
# must be wide enough to hold what little lies far from the moons, and fine enough for their edges.

# %%
def integral(flow, box=6.0, resolution=lesson.pick(700, 120)):
    """The sum of p(x) over a grid on [-box, box]^2, times the area of a cell."""
    axis = np.linspace(-box, box, resolution, dtype="float32")
    with no_grad():
        columns = [flow.log_prob(Tensor(np.stack([np.full_like(axis, a), axis], axis=1))).numpy() for a in axis]
    return float(np.exp(np.array(columns, "float64")).sum() * (axis[1] - axis[0]) ** 2)

mass = integral(realnvp)
lesson.claim("the trained density, summed over the plane", mass, "in", (1 - 1e-3, 1 + 1e-3), row="M01", kind="E")

# %% [markdown]
# ## Without the second term
#
# Suppose we forget ln |det J| and only push f(x) to where the Gaussian is high. The loss falls towards ln 2 pi = 1.84, and not
# because the model gets better: all points are squeezed together at 0. The cheapest way to place z well is to throw x away.

# %%
def only_the_base(flow, x):
    return -flow.base.log_prob(flow(x)[0]).sum(axis=1).mean()

forgetful = RealNVP(layers=8)
train(forgetful, lambda: moons.sample(256), lesson.pick(400, 30), only_the_base)
with no_grad():
    spread = forgetful(test)[0].numpy().std()
told, meant = only_the_base(forgetful, test).item(), nats_on(forgetful, test)
print(f"without ln |det|: its loss says {told:.3f} (noise itself has {math.log(2 * math.pi * math.e):.3f}), z has deviation {spread:.3f}, "
      f"the true price is {meant:.1f} nats")
lesson.claim("without ln |det|: nats a point", meant, ">", gaussian, row="M01", kind="C", baseline=score)

# %% [markdown]
# And without taking turns? If the same half stays in every coupling, it goes through untouched: its distribution must be N(0, 1)
# to begin with, and no depth can help.

# %%
stuck = Flow(*[AffineCoupling(every_other(2, 0), (64, 64)) for _ in range(8)])
train(stuck, lambda: moons.sample(256), lesson.pick(1000, 30), nats)
with no_grad():
    untouched = np.abs((stuck(test)[0] - test).numpy()[:, 0]).max()
lesson.claim("no turns: how far the first coordinate moves", untouched, "==", 0.0, row="M03", kind="S")
lesson.claim("no turns: nats a point beyond RealNVP's", nats_on(stuck, test) - score, ">=", 0.3, row="M03", kind="C",
             baseline=0)

# %% [markdown]
# ## Glow: digits
#
# A density needs real numbers, but pixels are whole numbers, and a density can be infinite at a whole number. So we add noise
# from [0, 1) to each of the 17 levels (dequantization): the density's integral over a unit cell is then a probability for the
# level, and -ln p is an upper bound on the nats that the discrete pictures cost (Jensen; Theis, van den Oord & Bethge 2015,
# arXiv:1511.01844). Divided by 64 ln 2 it is in bits a pixel.
#
# Glow's two new layers first: the 1x1 convolution, whose matrix meets each of the H W pixels, and the actnorm, which is set
# from the first batch.

# %%
mixing = shaken(InvertibleConv(4))
x = Tensor(rng.standard_normal((1, 4, 3, 3)))
expected = 9 * np.linalg.slogdet(mixing.weight.detach().numpy())[1]
lesson.claim("1x1 convolution: H W ln |det W| against all of J", abs(expected - brute(mixing, x)), "<=", 1e-10, row="M04", kind="E")
lesson.claim("1x1 convolution: what the layer says", abs(mixing(x)[1].item() - expected), "<=", 1e-10, row="M04", kind="E")

train_levels, test_levels = (levels(load_digits(split)[0]).reshape(-1, 1, 8, 8) for split in ("train", "test"))
WIDTH = 4.0                                                     # pixels fill [-2, 2): about as wide as z

def dequantize(levels):
    """(N, 1, 8, 8) whole numbers 0..16 -> float32 in [-2, 2)."""
    return ((levels + rng.random(levels.shape)) / 17 * WIDTH - WIDTH / 2).astype("float32")

def bits(nats):
    """Bits a pixel from nats a picture: a cell is WIDTH / 17 wide."""
    return (nats / 64 - math.log(WIDTH / 17)) / math.log(2)

glow = Glow(steps=4, hidden=32)
first = Tensor(dequantize(train_levels[:512]))
glow.initialize(first)
with no_grad():
    after = glow.layers[0](squeeze(first))[0].numpy()           # (512, 4, 4, 4)
lesson.claim("actnorm after its first batch: |mean|", np.abs(after.mean(axis=(0, 2, 3))).max(), "<=", 1e-4, row="M04", kind="E")
lesson.claim("actnorm after its first batch: |deviation - 1|", np.abs(after.std(axis=(0, 2, 3)) - 1).max(), "<=", 1e-4,
             row="M04", kind="E")

# %% [markdown]
# For comparison, the same flow without the mixing: its matrices are the identity and stay so. Then half of the channels of
# each level are never changed but by a scale.

# %%
class Unmixed(Module):
    """In the place of InvertibleConv: nothing."""

    def forward(self, x):
        return x, 0.0

    def inverse(self, z):
        return z

def without_mixing(flow):
    """`flow` with its 1x1 convolutions taken out, on every level."""
    for i, layer in enumerate(flow.layers):
        if isinstance(layer, InvertibleConv):
            flow.layers[i] = Unmixed()
        elif hasattr(layer, "flow"):
            without_mixing(layer.flow)
    return flow

unmixed = without_mixing(Glow(steps=4, hidden=32))
unmixed.initialize(first)
curves = {}
for name, flow in (("Glow", glow), ("without the 1x1 convolutions", unmixed)):
    draw = lambda: dequantize(train_levels[rng.integers(len(train_levels), size=64)])
    curves[name] = [bits(n) for n in train(flow, draw, lesson.pick(600, 6), nats)]

def bits_on(flow, levels, draws=4):
    """Bits a pixel on whole-numbered pictures, averaged over draws of the noise."""
    return bits(np.mean([nats_on(flow, Tensor(dequantize(levels))) for _ in range(draws)]))

x = np.concatenate([dequantize(train_levels) for _ in range(20)]).reshape(-1, 64).astype("float64")
mean, covariance = x.mean(axis=0), np.cov(x.T)
off = dequantize(test_levels).reshape(-1, 64) - mean
gaussian_bits = bits(0.5 * (np.einsum("ni,ij,nj->n", off, np.linalg.inv(covariance), off).mean()
                            + np.linalg.slogdet(2 * math.pi * covariance)[1]))
glow_bits, unmixed_bits = bits_on(glow, test_levels), bits_on(unmixed, test_levels)
lesson.claim("Glow on digits: bits a pixel, test", glow_bits, "<", 2.71, row="M04", kind="O", baseline=gaussian_bits)
lesson.claim("without the 1x1 convolutions: bits more", unmixed_bits - glow_bits, ">=", 0.1, row="M04", kind="C",
             baseline=0)

# %% [markdown]
# The bound 2.71 is a mixture of ten Gaussians, measured on such digits. A word of caution: a histogram of each pixel's 17
# levels, all pixels independent, costs 2.43 bits, less than any of these Gaussians, because many pixels are 0 in every
# picture and whole numbers can say so for nothing. A density pays for the noise in [0, 1) at each of them.
#
# ## What the flow does
#
# Left to right: a grid of noise carried to the moons, the density learned, NICE's density of the same moons (no place can be
# denser than exp(sum of its scales) / 2 pi), and the sad end of the flow that forgot its second term. Both keep a thread between
# the moons: a bijection cannot tear its Gaussian apart. Below: digits, those that Glow draws at temperature 0.7, with and
# without its 1x1 convolutions, and four digits walking to four others along straight lines in z.

# %%
if lesson.draws:
    figure, axes = panels(2, 4, size=(15, 7.2))
    (grid, density, flat, lost), below = axes
    box, lines = (-1.7, 2.7, -1.3, 1.8), np.linspace(-2.2, 2.2, 23)
    fine = np.linspace(-2.2, 2.2, 200)
    for fixed in lines:
        for points in (np.stack([np.full_like(fine, fixed), fine], axis=1), np.stack([fine, np.full_like(fine, fixed)], axis=1)):
            with no_grad():
                grid.plot(*realnvp.inverse(Tensor(points.astype("float32"))).numpy().T, color="#3f90da", lw=0.6)
    grid.set_title("a grid of z, carried to x", loc="left", fontsize=11)
    grid.set(xlim=box[:2], ylim=box[2:])
    density2d(lambda p: realnvp.log_prob(Tensor(p)), box, title=f"RealNVP, {score:.2f} nats", axes=density)
    density2d(lambda p: nice.log_prob(Tensor(p)), box, title=f"NICE, {nats_on(nice, test):.2f} nats", axes=flat)
    with no_grad():
        lost.scatter(*forgetful(test)[0].numpy()[:2000].T, s=3, color="#bd1f01")
    lost.set_title("z without ln |det|: all at 0", loc="left", fontsize=11)
    lost.set(xlim=(-2, 2), ylim=(-2, 2))

    show_grid(train_levels[:32, 0], columns=8, title="digits", axes=below[0])
    show_grid(glow.sample(32, (1, 8, 8), temperature=0.7), columns=8, title="Glow", axes=below[1], limits=(-2, 2))
    show_grid(unmixed.sample(32, (1, 8, 8), temperature=0.7), columns=8, title="without 1x1 convolutions", axes=below[2],
              limits=(-2, 2))
    with no_grad():
        z, _ = glow(Tensor(dequantize(test_levels[:8])))
        share = np.linspace(0, 1, 8, dtype="float32").reshape(1, 8, 1, 1, 1)
        walk = z.numpy()[:4, None] * (1 - share) + z.numpy()[4:, None] * share                  # (4, 8, 1, 8, 8)
        pictures = glow.inverse(Tensor(walk.reshape(-1, 1, 8, 8)))
    show_grid(pictures, columns=8, title="from one digit to another, straight in z", axes=below[3], limits=(-2, 2))
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Give NICE twice the layers. Its couplings cannot thin out; what do they do instead? Draw its grid.
# - Draw Glow's digits at temperature 1 and 0.3. What is lost at either end?
# - Train RealNVP on the checkerboard of `tinygrad_edu.data`, whose edges are sharp. How many couplings until you see eight
#   squares? (Its true entropy is ln 8 = 2.079 nats.)
# - Lesson 43 lets every coordinate depend on all before it, not just on one half, and pays with sampling speed.
