"""Lesson 52: Diffusion, one small step at a time, and then fewer and larger ones

Lesson 51 learned the score, the direction in which data gets denser, and followed it from noise to data. It left open how
much noise, how many levels of it, and how large a step is allowed. Diffusion models (2020) answer all three at once: destroy
the data in T steps so small that each can be undone by a Gaussian, and learn the Gaussians. Training is a regression: here is a
noisy picture, which noise was added?

You will see that T steps of destruction are one step; that the step back is known exactly if only the picture were known; why
the network is a U-Net and why it is told the time; a bound on the likelihood that beats the best fixed variance because the
network may choose its own; and a sampler (DDIM) that needs 20 steps where the chain took 200.

Papers: Ho, Jain & Abbeel 2020, arXiv:2006.11239 (published, at full scale: FID 3.17 on CIFAR-10); Nichol & Dhariwal 2021,
2102.09672 (2.94 bits/dim on CIFAR-10); Song, Meng & Ermon 2020, 2010.02502 (FID 6.84 in 20 steps).
"""
# %%
import math

import numpy as np

from tinygrad_edu import Tensor, no_grad, ones_like, optim, randn
from tinygrad_edu.data import TwoMoons, batches, load_digits
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import class_entropy, knn_classify, nearest_distance, two_sample_1nn
from tinygrad_edu.models.generative.ddpm import DDPM, cosine_schedule, linear_schedule
from tinygrad_edu.models.generative.unet import PointDenoiser, UNet
from tinygrad_edu.models.generative.vae import VAE
from tinygrad_edu.viz import panels, plot_curves, scatter2d, show_grid

lesson = Lesson("52_ddpm_and_ddim")
T = lesson.pick(200, 40)

train, train_labels = load_digits("train")                  # (1437, 8, 8), 17 grey levels 0, 1/16, .. 1
test, _ = load_digits("test")                               # (360, 8, 8)

def centred(images):
    """Pictures (N, 8, 8) in [0, 1] as (N, 1, 8, 8) in [-1, 1]: noise has mean 0, so should the data."""
    return (2 * images - 1)[:, None]

def pictures(x):
    """Back to (N, 8, 8) in [0, 1], cut and rounded to the 17 levels that a picture can have."""
    return np.rint(8 * (x.numpy()[:, 0].clip(-1, 1) + 1)) / 16

# %% [markdown]
# ## Destroying is easy
#
# One step shrinks the picture by sqrt(1 - beta_t) and adds noise of variance beta_t. A Gaussian of a Gaussian is a Gaussian, so
# t steps are one step: with alpha_bar_t, the product of the 1 - beta,
#
#     q(x_t | x_0) = N(sqrt(alpha_bar_t) x_0, 1 - alpha_bar_t).
#
# So we can train at any t without walking there. Let us walk all the same, and compare.

# %%
schedules = {"linear": linear_schedule(T), "cosine": cosine_schedule(T)}
walk, bayes = 0.0, 0.0
for schedule in schedules.values():
    mean, variance = 1.0, 0.0                               # of x_t, in units of x_0
    for t in range(1, T + 1):
        beta, a_s = schedule.beta[t], schedule.alpha_bar[t - 1]
        mean, variance = math.sqrt(1 - beta) * mean, (1 - beta) * variance + beta
        walk = max(walk, abs(mean - math.sqrt(schedule.alpha_bar[t])), abs(variance - (1 - schedule.alpha_bar[t])))

        # The step back, if x_0 is known: Bayes' rule multiplies two Gaussians in x_{t-1}, so their precisions add.
        if t > 1:
            precision = 1 / (1 - a_s) + (1 - beta) / beta
            weights = np.array([math.sqrt(a_s) / (1 - a_s), math.sqrt(1 - beta) / beta]) / precision    # of x_0 and x_t
            bayes = max(bayes, abs(1 / precision - schedule.posterior_variance(t, t - 1)),
                        np.abs(weights - schedule.posterior_weights(t, t - 1)).max())

lesson.claim("closed form against T single steps, mean and variance", walk, "<=", 1e-10, row="P02", kind="E")
lesson.claim("posterior q(x_{t-1} | x_t, x_0) against Bayes' rule", bayes, "<=", 1e-10, row="P02", kind="E")
for name, schedule in schedules.items():
    left = DDPM(None, schedule, (1, 8, 8)).prior_term(Tensor(centred(test))).numpy().max()
    lesson.claim(f"{name} schedule: nats of a picture left at T", left, "<", 1e-3, row="P02", kind="E")

# %% [markdown]
# ## How fast to destroy
#
# The linear schedule of 2020 has drowned a picture after half of its steps; the other half is spent on noise. The cosine
# schedule of 2021 spends its steps where signal and noise are about equal, which is where a picture takes shape (top right
# of the figure).

# %%
steepest = max(np.diff(schedule.alpha_bar).max() for schedule in schedules.values())
lesson.claim("schedules: largest change of alpha_bar in a step", steepest, "<", 0, row="P03", kind="E")
half, begin = (math.cos((u + 0.008) / 1.008 * math.pi / 2) ** 2 for u in (0.5, 0))
lesson.claim("cosine schedule: alpha_bar in the middle", schedules["cosine"].alpha_bar[T // 2], "in",
             (half / begin - 1e-12, half / begin + 1e-12), row="P03", kind="E", oracle=half / begin)

# %% [markdown]
# ## Learning the way back
#
# Of the true step back only x_0 is missing. The network looks at x_t and t and guesses the noise; less the noise, x_t is x_0.
# This is the whole of training, for points and for pictures:

# %%
def fit(model, stream, steps, lr, title):
    """`steps` steps of Adam, lr falling to 0 along a cosine; the model ends with the average of its late weights."""
    optimizer, ema = optim.Adam(model.parameters(), lr=lr), optim.EMA(model, decay=0.995)
    for step in lesson.progress(range(steps), title):
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        loss = model.loss(next(stream))                     # a random t for every x_0, noise, guess, squared error
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        ema.update()
    ema.swap()
    return model

def guess_errors(model, x0, times, noise):
    """Mean squared error of the guessed noise at each time, with the same pictures and the same noise for every model."""
    with no_grad():
        each_time = [np.full(len(x0), t) for t in times]
        guesses = [model.predict(model.q_sample(x0, t, noise), t)[0] for t in each_time]
    return np.array([((guess - noise) ** 2).mean().item() for guess in guesses])

# %% [markdown]
# ## Two moons
#
# In the plane we know the truth: the density, and the nats that no model can go below. A diffusion model has no density that
# we could evaluate, but the T Gaussians give an upper bound on -ln p, one term for each. If the bound is close to the truth, so
# is the model. Here the linear schedule is the better one: the last beta of the cosine is 0.999, and a bound counts an error in
# that one step 500-fold (pictures do not mind, because guesses of x_0 outside [-1, 1] are cut).

# %%
moons = TwoMoons(noise=0.1)
test_points = moons.sample(lesson.pick(10_000, 200))
truth = -moons.log_density(test_points).mean()
gaussian = 0.5 * np.linalg.slogdet(2 * math.pi * math.e * np.cov(test_points.T))[1]

def fresh_points():
    while True:
        yield Tensor(moons.sample(256))

plane = DDPM(PointDenoiser(), linear_schedule(lesson.pick(500, 40)), (2,), "large")
fit(plane, fresh_points(), lesson.pick(8_000, 50), lr=3e-3, title="two moons")
nats = plane.bound(Tensor(test_points)).sum()
lesson.claim("two moons: nats of the bound above the truth", nats - truth, "<=", 0.15, row="P05", kind="O",
             baseline=gaussian - truth, oracle=0)

# %% [markdown]
# ## Why a U-Net, and why tell it the time?
#
# Take one or the other away and train equally long. Without the connections across, every pixel's place must survive a
# picture of 2 x 2. Without the time, the network must find out from x_t alone how much of it is noise.
#
# The second is easier than it looks. A picture of a digit has black edges, and what is not black there is noise: its level can
# be read off. We expected a loss a fifth higher and measure about a tenth; the ratio is large only near t = T, where nearly
# everything is noise and the exact share is all that is left to guess (bottom middle of the figure), but the loss there is small.
# A point in the plane has no edges. There the same ablation costs more than a fourth.

# %%
def digits_model(variance="small", **options):
    network = UNet(out_channels=2 if variance == "learned" else 1, widths=(16, 32, 32), **options)
    return DDPM(network, schedules["cosine"], (1, 8, 8), variance, limit=1, levels=17)

def training_digits():
    while True:
        yield from batches(centred(train), batch_size=32, drop_last=True)

steps, times, judged = lesson.pick(350, 3), np.linspace(1, T, 20).astype(int), centred(test)[:lesson.pick(len(test), 30)]
noise = randn(len(judged), 1, 8, 8)
ablations = {"all of it": {}, "without skips": {"skips": False}, "without time": {"time": False}}
errors = {}
for name, options in ablations.items():
    model = fit(digits_model(**options), training_digits(), steps, lr=4e-3, title=name)
    errors[name] = guess_errors(model, Tensor(judged), times, noise)
    if name == "all of it":
        fixed = model                                       # comes back below

blind, seeing = (fit(DDPM(PointDenoiser(time=time), plane.schedule, (2,)), fresh_points(), lesson.pick(1_500, 3), lr=3e-3,
                     title="points, " + ("with" if time else "without") + " time") for time in (False, True))
point_times, point_noise = np.linspace(1, plane.schedule.T, 20).astype(int), randn(len(test_points), 2)
blind, seeing = (guess_errors(model, Tensor(test_points), point_times, point_noise).mean() for model in (blind, seeing))

whole = errors["all of it"].mean()
lesson.claim("digits without skips: loss, relative", errors["without skips"].mean() / whole, ">=", 1.2, row="P04", kind="C",
             baseline=1)
lesson.claim("points without time: loss, relative", blind / seeing, ">=", 1.2, row="P04", kind="C", baseline=1)
lesson.claim("digits without time: loss, relative", errors["without time"].mean() / whole, ">=", 1.04, row="P04", kind="C",
             baseline=1)

# %% [markdown]
# ## A variance of its own
#
# The variance of the step back lies between the posterior's, right if the data were one point, and beta_t, right if it were
# noise. Samples hardly care. The bound does: the network may now answer with a second channel that says where in between.
# Its loss is the old one plus a thousandth of the bound ("hybrid"). A bound in bits for each pixel needs pixels of 17 levels;
# the last Gaussian is cut into 17 bins. (Counting how often each pixel has each level gives 2.43 bits: corners that are
# always black cost a table nothing and a Gaussian something in every step. Diffusion earns its bits on larger pictures.)

# %%
some = Tensor(centred(test)[:lesson.pick(120, 4)])

def bits(model):
    return model.bound(some).sum() / 64 / math.log(2)

hybrid = fit(digits_model("learned"), training_digits(), steps, lr=4e-3, title="hybrid")
small = bits(fixed)
fixed.variance = "large"
large = bits(fixed)
fixed.variance = "small"
learned = bits(hybrid)
print(f"  bits per pixel: posterior variance {small:.3f}, beta {large:.3f}, learned {learned:.3f}")
# Seeds differ by a factor of four in what is saved (0.06 to 0.23 bits seen), so what is promised is the sign.
lesson.claim("hybrid: bits per pixel saved, best fixed variance", min(small, large) - learned, ">", 0, row="P06", kind="C",
             baseline=0)

# %% [markdown]
# ## Drawing digits
#
# One model, trained longer, and the chain back, written out: 200 times guess the noise, take a little of it away, and add a
# little new. Samples are judged against 360 pictures that no model has seen, by a neighbour who must tell them apart.

# %%
model = fit(digits_model(), training_digits(), lesson.pick(2_800, 3), lr=4e-3, title="DDPM")
n = lesson.pick(360, 20)
x, strip = randn(n, 1, 8, 8), {}
for t, s in lesson.progress(model.times(), "drawing"):
    if t in (T, 3 * T // 4, T // 2, 3 * T // 10, T // 5, T // 10, T // 20):
        strip[t] = x
    x = model.p_sample(x, t, s, randn(*x.shape))            # mean + deviation * noise
strip[0], samples, real = x, pictures(x), test[:n]

mean, covariance = train.reshape(-1, 64).mean(axis=0), np.cov(train.reshape(-1, 64).T) + 1e-6 * np.eye(64)
normal = 2 * (mean + randn(n, 64).numpy() @ np.linalg.cholesky(covariance).T) - 1
normal = pictures(Tensor(normal.reshape(n, 1, 8, 8)))
vae, flat = VAE(latent=8), train.reshape(-1, 64)
optimizer = optim.Adam(vae.parameters(), lr=2e-3)
for _ in lesson.progress(range(lesson.pick(100, 1)), "VAE"):
    for batch in batches(flat, batch_size=64):
        loss = -vae.elbo(batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
from_vae = pictures(2 * vae.sample(n, mean=True).reshape(n, 1, 8, 8) - 1)

score = {"other real digits": train[:n], "one Gaussian": normal, "VAE": from_vae, "DDPM": samples}
score = {name: two_sample_1nn(real, images) for name, images in score.items()}
print("  how often a neighbour tells them from real (0.5 is never better than a coin):",
      ", ".join(f"{name} {value:.3f}" for name, value in score.items()))
lesson.claim("digits: 1-NN two-sample accuracy, 360 of each", score["DDPM"], "<=", 0.70, row="P05", kind="O",
             baseline=score["one Gaussian"], oracle=score["other real digits"])

# Variety and memory: do the samples show all ten digits, and are they closer to the training set than new digits are?
labels = knn_classify(train, train_labels, samples)
lesson.claim("digits: entropy of the classes drawn, nats", class_entropy(labels, 10), ">=", 2.2, row="P05", kind="O",
             oracle=math.log(10))
copied = np.median(nearest_distance(samples, train)) / np.median(nearest_distance(real, train))
lesson.claim("digits: distance to the training set, relative to new digits", copied, ">=", 0.9, row="P05", kind="O", baseline=0,
             oracle=1)

# %% [markdown]
# ## Fewer, larger steps
#
# Nothing in training mentions the chain: the network only ever saw x_t, and many chains have the same x_t. DDIM takes those
# whose noise in each step is eta times the posterior's. With eta = 1 that is the chain above. With eta = 0 nothing is drawn
# after the first noise: a picture is a function of it, and a smooth one, so that large steps do.

# %%
start = randn(n, 1, 8, 8)
again = np.array_equal(model.ddim_sample(start, 20).numpy(), model.ddim_sample(start, 20).numpy())
lesson.claim("DDIM, eta = 0: same noise, same picture, bit for bit", again, "==", True, row="P07", kind="E")

apart, spread = 0.0, 0.0
for t in (T, 3 * T // 4, T // 2, T // 4, T // 10, 2):
    draw = model.ddim_step(start, t, t - 1, 1.0, noise[:n]).numpy()
    apart = max(apart, np.abs(draw - model.p_sample(start, t, t - 1, noise[:n]).numpy()).max())
    sigma = (model.ddim_step(start, t, t - 1, 1.0, ones_like(start)) - model.ddim_step(start, t, t - 1, 1.0, 0 * start)).numpy()
    spread = max(spread, np.abs(sigma ** 2 / model.schedule.posterior_variance(t, t - 1) - 1).max())
lesson.claim("DDIM, eta = 1: step against a DDPM step, same noise", apart, "<=", 1e-5, row="P07", kind="E")
lesson.claim("DDIM, eta = 1: variance against the posterior's, relative", spread, "<=", 1e-4, row="P07", kind="E")

start = randn(2 * n, 1, 8, 8)                               # two draws of n, for the score of one is uncertain by 5 %
drawn = {steps: pictures(model.ddim_sample(start, steps)) for steps in lesson.progress((5, 10, 20, T), "DDIM")}
fooled = {steps: 1 - np.mean([two_sample_1nn(real, half) for half in np.split(images, 2)]) for steps, images in drawn.items()}
print("  share of DDIM's pictures that the neighbour gets wrong (0.5 is perfect):",
      ", ".join(f"{steps} steps {value:.3f}" for steps, value in fooled.items()))
lesson.claim("DDIM: score of 20 steps, relative to 200", fooled[20] / fooled[T], ">=", 0.90, row="P07", kind="C",
             baseline=fooled[5] / fooled[T], oracle=1)

# %%
if lesson.draws:
    figure, axes = panels(2, 3, size=(15, 8.4))
    show_grid({f"t = {t}": images[:8] for t, images in strip.items()}, limits=(-1, 1), axes=axes[0, 0],
              title="The way back: every column becomes a digit")
    show_grid({"real": real[:8], "DDPM": samples[8:16], "": samples[16:24], " ": samples[24:32], "DDIM, 20 steps": drawn[20][:8],
               "VAE": from_vae[:8], "Gaussian": normal[:8]}, limits=(0, 1), axes=axes[0, 1], title="Invented digits")
    plot_curves({name: (np.arange(1, T + 1), schedule.log_snr()) for name, schedule in schedules.items()}, "t",
                "ln(signal / noise)", axes=axes[0, 2], title="Two schedules")
    axes[0, 2].set_ylim(-12, 10)
    scatter2d(plane.sample(2_000), axes=axes[1, 0], title="Two moons, drawn from noise")
    plot_curves({name: (times, error / errors["all of it"]) for name, error in errors.items()}, "t", "error, relative", "y",
                axes=axes[1, 1], title="Where the U-Net misses what was taken away")
    plot_curves({"DDIM": (list(fooled), list(fooled.values())), "DDPM, all steps": ([5, T], 2 * [1 - score["DDPM"]]),
                 "VAE": ([5, T], 2 * [1 - score["VAE"]]), "real digits": ([5, T], 2 * [1 - score["other real digits"]])},
                "steps", "share not told from real", "x", axes=axes[1, 2], title="Fewer steps")
    axes[1, 2].set_xticks(list(fooled), [str(steps) for steps in fooled])
    axes[1, 2].minorticks_off()
    axes[1, 2].legend(loc="upper left", bbox_to_anchor=(0.62, 0.88), frameon=False, fontsize=9)
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Let the network guess x_0 instead of the noise (and train on its squared error). Which times become more important?
# - Add two starting noises, divide by sqrt(2), and draw all three with eta = 0: DDIM has a latent space to walk in.
# - `limit=None` for the digits. Which step of the chain goes wrong, and why only with the cosine schedule?
