"""Lesson 00: The tour, from PCA to diffusion in two minutes

1,437 handwritten digits of 8 x 8 pixels. What do digits look like? Four answers, 122 years apart, all running on an engine
that you can read in an hour: a flat surface (PCA, 1901), a bent one (the autoencoder, 1986), a bent one with a density on it
(the variational autoencoder, 2013), and no surface at all but a way back from noise (diffusion, 2020).

Each model is asked the same three things. How well does it give back a picture it has never seen? Can a stranger tell the
pictures it invents from real ones? How fast does it invent them? You will see that the answers pull in different directions.
Do not try to understand the models here. Lessons 37, 38 and 52 build them; lesson 01 begins with a single multiplication.
"""
# %%
import time

import numpy as np

from tinygrad_edu import Tensor, no_grad, optim, randn
from tinygrad_edu.data import batches, load_digits
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import nearest_distance, two_sample_1nn
from tinygrad_edu.models.generative.autoencoder import Autoencoder
from tinygrad_edu.models.generative.ddpm import DDPM, cosine_schedule
from tinygrad_edu.models.generative.pca import PCA
from tinygrad_edu.models.generative.unet import UNet
from tinygrad_edu.models.generative.vae import VAE
from tinygrad_edu.viz import panels, show_grid

lesson = Lesson("00_tour")
latent = 8                                                  # numbers that a picture is squeezed into, where it is squeezed

train, _ = load_digits("train")                             # (1437, 8, 8), values 0..1
test, _ = load_digits("test")                               # (360, 8, 8)
flat_train, flat_test = train.reshape(-1, 64), test.reshape(-1, 64)

# %% [markdown]
# ## One training loop
#
# Whatever the model, learning is the same five lines: take some pictures, compute how wrong the model is (one number), ask the
# engine for the gradient of that number, take a small step against it. Averaging the weights over the last steps (EMA)
# costs one line more and calms the result.

# %%
def fit(model, loss, x, epochs, batch_size, lr):
    """Minimize `loss(batch)` over the data x; returns the seconds it took."""
    optimizer, ema = optim.Adam(model.parameters(), lr=lr), optim.EMA(model, decay=0.995)
    start, steps, step = time.perf_counter(), epochs * -(-len(x) // batch_size), 0
    for epoch in lesson.progress(range(epochs), type(model).__name__):
        for batch in batches(x, batch_size=batch_size):
            optimizer.param_groups[0]["lr"] = lr * min(1.0, 2 * (1 - step / steps))     # constant, then down to zero
            value = loss(batch)
            optimizer.zero_grad()
            value.backward()
            optimizer.step()
            ema.update()
            step += 1
    ema.swap()
    return time.perf_counter() - start

# %% [markdown]
# ## 1901: the best flat surface
#
# PCA needs no training: the eigenvectors of the covariance are the answer. As a generator it is one Gaussian.

# %%
start = time.perf_counter()
pca = PCA(latent).fit(flat_train)
seconds = {"PCA": time.perf_counter() - start}

# %% [markdown]
# ## 1986: let the surface bend
#
# An autoencoder must copy its input through a layer of 8 numbers. Nobody told it where on its surface the digits lie, so to
# draw from it we can only put a Gaussian over the codes it has used, and hope.

# %%
ae = Autoencoder(64, hidden=(256, 128), latent=latent)
seconds["autoencoder"] = fit(ae, ae.reconstruction_loss, flat_train, epochs=lesson.pick(200, 3), batch_size=64, lr=2e-3)
with no_grad():
    codes = ae.encode(Tensor(flat_train))
center, spread = codes.mean(axis=0), codes.std(axis=0)

# %% [markdown]
# ## 2013: pay for every code
#
# The VAE's encoder answers with a small cloud instead of a point, and every cloud pays for differing from N(0, 1). So the
# clouds fill the whole of N(0, 1), and a draw from N(0, 1) lands where digits are.

# %%
vae = VAE(64, hidden=(256, 128), latent=latent)
seconds["VAE"] = fit(vae, lambda x: sum(vae.loss_terms(x)), flat_train, epochs=lesson.pick(200, 3), batch_size=64, lr=2e-3)

# %% [markdown]
# ## 2020: the way back from noise
#
# No code, no surface. Noise is added to a picture in 200 small steps until nothing is left; a network learns to undo one step.
# Invention starts from pure noise and goes the whole way back. It is slow, and that is the price of looking so real.

# %%
ddpm = DDPM(UNet(widths=(32, 64)), cosine_schedule(200), shape=(1, 8, 8), limit=1.0)
pictures = 2 * train[:, None] - 1                           # (1437, 1, 8, 8), values -1..1
seconds["DDPM"] = fit(ddpm, ddpm.loss, pictures, epochs=lesson.pick(60, 1), batch_size=64, lr=2e-3)

# To give a picture back, walk DDIM's path (lesson 52), which adds no noise, from the picture up to noise and down again.
@no_grad()
def there_and_back(x, steps=50):
    x = Tensor(2 * x.reshape(-1, 1, 8, 8) - 1)
    for t, s in reversed(ddpm.times(steps)):
        x = ddpm.ddim_step(x, max(s, 1), t)
    return 0.5 * (ddpm.ddim_sample(x, steps) + 1)

# %% [markdown]
# ## The same questions for all

# %%
models = {
    "PCA": (lambda x: pca.decode(pca.encode(x)), lambda n: pca.sample(n)),
    "autoencoder": (lambda x: ae(Tensor(x)), lambda n: ae.decode(center + spread * randn(n, latent))),
    "VAE": (lambda x: vae.decode(vae.encode(Tensor(x)).loc).sigmoid(), lambda n: vae.sample(n, mean=True)),
    "DDPM": (there_and_back, lambda n: 0.5 * (ddpm.sample(n, steps=50) + 1)),
}
n = lesson.pick(360, 40)
real, held_out = flat_test[:n], flat_train[:n]
drawn, error, told, speed = {}, {}, {}, {}
for name, (reconstruct, sample) in models.items():
    with no_grad():
        error[name] = ((reconstruct(real).numpy().reshape(n, 64) - real) ** 2).mean()
        start = time.perf_counter()
        drawn[name] = sample(n).numpy().reshape(n, 64).clip(0, 1)
        speed[name] = n / (time.perf_counter() - start)
    told[name] = two_sample_1nn(real, drawn[name])

same = two_sample_1nn(real, held_out)
print(f"\n{'':13s}reconstruction   told from real   nearest training    samples     training")
print(f"{'':13s}error per pixel  (1-NN accuracy)  digit (distance)    a second    (seconds)")
for name in models:
    distance = np.median(nearest_distance(drawn[name], flat_train))
    print(f"{name:13s}{error[name]:15.4f}{told[name]:17.3f}{distance:19.3f}{speed[name]:12.0f}{seconds[name]:13.1f}")
distance = np.median(nearest_distance(real, flat_train))
print(f"{'real digits':13s}{'':15s}{same:17.3f}{distance:19.3f}\n")

# Read the columns. 0.5 in the second means that a stranger who may look up the most similar picture cannot tell; 1.0 that he
# always can. The third guards against cheating: a model that had learned the training digits by heart would come out at 0.
# DDPM gives a picture back almost unchanged, but it also keeps 64 numbers for it where the others keep 8.

# %%
lesson.claim("PCA: test error per pixel with 8 numbers", error["PCA"], "<=", lesson.pick(0.0258, 0.04), row="K01", kind="E", oracle=0.0253)
lesson.claim("bent beats flat: autoencoder's error / PCA's", error["autoencoder"] / error["PCA"], "<", 1, row="K03", kind="O", baseline=1.0)
lesson.claim("a density helps: 1-NN accuracy, VAE - autoencoder", told["VAE"] - told["autoencoder"], "<", 0, row="K04", kind="C")
lesson.claim("1-NN accuracy of DDPM's digits", told["DDPM"], "<=", 0.70, row="P05", kind="O", baseline=told["PCA"], oracle=same)
lesson.claim("no copies: DDPM's distance to training digits / that of real ones",
             np.median(nearest_distance(drawn["DDPM"], flat_train)) / distance, ">=", 0.8, row="P05", kind="C", oracle=1.0)

# %%
if lesson.draws:
    figure, axes = panels(1, 5, size=(15, 3.6))
    for panel, (name, images) in zip(axes, {"real digits": real, **drawn}.items()):
        title = name if name == "real digits" else f"{name}: told from real {told[name]:.0%}"
        show_grid(images[:36].reshape(-1, 8, 8), columns=6, limits=(0, 1), axes=panel, title=title)
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Where to go from here
#
# - Lesson 01 builds the engine's idea from nothing, with single numbers.
# - `python -m lessons list` shows all the lessons there are.
# - Change `latent` to 2 and run the tour again. Which of the four suffers, which does not notice?
