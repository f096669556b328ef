"""Lesson 37: From principal components to autoencoders

The models of lesson 36 saw 64 pixels as 64 quantities. But nobody who writes a 3 takes 64 decisions. Slant, width, how
round, how bold: a few numbers ought to say which 3 it is. Can they be found without being told what to look for?

Pass every picture through a layer too narrow for it, and ask for it back. If the machine is linear, the best answer has
been known since 1901 and needs no training; you will see gradient descent find the same one. Let it bend, and two
numbers say as much about a digit as six straight ones. Then draw new codes, and see that a good code is not yet
something to draw from. Expected: test error per pixel 0.055 for two straight numbers, 0.032 for two bent ones.

Papers: Pearson 1901; Baldi & Hornik 1989; Tipping & Bishop 1999; Hinton & Salakhutdinov 2006.
"""
# %%
import numpy as np

from tinygrad_edu import Tensor, functional as F, nn, no_grad, optim, randn
from tinygrad_edu.data import batches, load_digits
from tinygrad_edu.data.digits import binarize
from tinygrad_edu.distributions import Bernoulli
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import two_sample_1nn
from tinygrad_edu.models.generative.autoencoder import Autoencoder
from tinygrad_edu.models.generative.pca import PCA
from tinygrad_edu.models.generative.vae import VAE
from tinygrad_edu.viz import panels, plot_curves, scatter2d, show_grid

lesson = Lesson("37_pca_and_autoencoders")
(x, labels), (test, test_labels) = load_digits("train"), load_digits("test")
x, test = x.reshape(-1, 64), test.reshape(-1, 64)                                   # (1437, 64), (360, 64)

# %% [markdown]
# ## The closest flat surface
#
# Take a surface of k dimensions through the mean, with k orthonormal directions as the rows of V (k, 64). The code of a
# picture is z = V (x - mean), and its shadow on the surface is V' z + mean. The variance that the shadows keep is the
# trace of V C V', with C the covariance, and it is largest if V holds the eigenvectors of C with the k largest
# eigenvalues. What is missed is then exactly the sum of the other eigenvalues.

# %%
def mse(model, pictures):
    """Squared error per pixel of the reconstructions."""
    with no_grad():
        return F.mse_loss(model.decode(model.encode(Tensor(pictures))), Tensor(pictures)).item()

exact_x, exact_test = x.astype("float64"), test.astype("float64")
pca = {k: PCA(k).fit(exact_x) for k in (2, 3, 8, 16, 32)}
discarded = {k: model.eigenvalues[k:].sum().item() / 64 for k, model in pca.items()}

print("   k   variance kept   discarded, a pixel   train MSE   test MSE")
for k, model in pca.items():
    print(f"  {k:2d} {model.explained_variance():15.3f} {discarded[k]:20.6f}"
          f"{mse(model, exact_x):12.6f} {mse(model, exact_test):10.6f}")

# Another way to the same directions never forms the covariance: the singular value decomposition of the centered data.
_, singular, directions = np.linalg.svd(exact_x - exact_x.mean(axis=0), full_matrices=False)
V, W, eigenvalues = pca[8].components.numpy(), directions[:8], pca[8].eigenvalues.numpy()
lesson.claim("PCA, k = 8: its projection against the SVD's", np.abs(V.T @ V - W.T @ W).max(), "<=", 1e-10,
             row="K01", kind="E")
lesson.claim("PCA: eigenvalues against squared singular values / N",
             np.abs(eigenvalues - singular ** 2 / len(x)).max(), "<=", 1e-10, row="K01", kind="E")
lesson.claim("PCA, k = 8: train MSE against discarded eigenvalues", abs(mse(pca[8], exact_x) - discarded[8]),
             "<=", 1e-12, row="K01", kind="E")

# The oracle is scikit-learn's PCA on this split.
for k, oracle in {2: 0.05456, 8: 0.02530, 16: 0.01195}.items():
    lesson.claim(f"PCA, k = {k}: test MSE per pixel", mse(pca[k], exact_test), "in", (0.98 * oracle, 1.02 * oracle),
                 row="K01", kind="E", oracle=oracle)

# %% [markdown]
# ## A network finds it, too
#
# Two matrices, 64 -> 8 -> 64, and the squared error: no eigenvectors anywhere. Baldi and Hornik proved that its only
# minimum is PCA's surface, and that every other place without a slope is a saddle. The matrices themselves are not
# determined, for any A and A^-1 can slip in between, so we compare surfaces: the largest of the 8 angles between PCA's
# and the span of the decoder's columns. (The encoder's rows need not span it: three pixels are never inked, and the
# weights that read them get no gradient.)
#
# Finding the *surface* asks more than a small error. The 8th and 9th eigenvalue are 0.172 and 0.156, so trading one
# direction for the other costs next to nothing: Adam on minibatches stops 0.04 to 0.3 rad away. Hence plain descent
# with momentum, on all pictures at once. And the mean is subtracted first: its squared length is 10.4, the largest
# eigenvalue 0.7, and steps short enough for the one are too short for the others.

# %%
def largest_angle(columns, rows):
    """Largest principal angle, radians, between the span of columns (64, k) and that of orthonormal rows (k, 64)."""
    Q = np.linalg.qr(columns.astype("float64"))[0]
    outside = Q - rows.T @ (rows @ Q)                               # its norm is the sine, which small angles need
    return float(np.arcsin(min(1.0, np.linalg.norm(outside, ord=2))))

linear, centered = Autoencoder(64, hidden=(), latent=8), Tensor(x - x.mean(axis=0))
optimizer = optim.SGD(linear.parameters(), lr=0.1, momentum=0.9)
angles, excess = [], []
for step in lesson.progress(range(lesson.pick(1500, 1000)), "linear"):
    loss = linear.reconstruction_loss(centered)
    optimizer.zero_grad()
    (64 * loss).backward()                                          # the error of a picture, not of a pixel
    optimizer.step()
    if step % 10 == 9:
        angles.append(largest_angle(linear.decoder.layers[0].weight.detach().numpy(), V))
        excess.append(loss.item() / discarded[8] - 1)

close = int(np.argmax(np.array(excess) < 0.01))
print(f"  within 1 % of PCA's error after {10 * close + 10} steps, the surface still {angles[close]:.2f} rad away")
lesson.claim("linear autoencoder: largest angle to PCA's surface, rad", angles[-1], "<", 1e-2, row="K02", kind="E",
             baseline=angles[0])

# %% [markdown]
# ## Let it bend
#
# Digits do not lie on a flat surface: halfway between a slanted 1 and an upright 1 there is no 1, but two faint ones.
# So put hidden layers with a nonlinearity before and behind the narrow layer, here 256 and 128 units. First the same
# layers *without* the nonlinearity: matrices in a row are one matrix, so the depth alone should gain nothing.

# %%
def train(model, x, loss_of, epochs, lr=2e-3):
    """Adam on batches of 64; the step size falls to zero, so that the noise of the last batches averages out."""
    optimizer = optim.Adam(model.parameters(), lr=lr)
    for epoch in lesson.progress(range(epochs), type(model).__name__):
        optimizer.param_groups[0]["lr"] = lr * (1 - epoch / epochs)
        for batch in batches(x, batch_size=64):
            loss = loss_of(model, batch)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return model

epochs, hidden, error = lesson.pick(60, 2), (256, 128), Autoencoder.reconstruction_loss
straight = train(Autoencoder(64, hidden, latent=2, activation=nn.Identity), x, error, epochs)
deep = {k: train(Autoencoder(64, hidden, latent=k), x, error, epochs) for k in (2, 8)}

print(f"  test MSE, k = 2: PCA {mse(pca[2], test):.4f}, deep but straight {mse(straight, test):.4f},"
      f" deep {mse(deep[2], test):.4f}")
lesson.claim("deep autoencoder, k = 2: test MSE per pixel", mse(deep[2], test), "<=", 0.040, row="K03", kind="O",
             baseline=mse(pca[2], test))
lesson.claim("deep autoencoder, k = 8: test MSE per pixel", mse(deep[8], test), "<=", 0.0253, row="K03", kind="O",
             baseline=mse(pca[8], test))

# %% [markdown]
# ## A code is not a distribution
#
# If a few numbers say everything about a digit, draw such numbers and decode them: new digits! But what does the
# decoder make of a code that no picture has? Nothing in its training ever said. Let us try N(0, I), a Gaussian with the
# means and spreads of the codes, and one with their covariance (PCA again, as the density of Tipping and Bishop).
#
# Against them stands the model of the next lesson, with the same layers and the same number of steps. A VAE is this
# autoencoder with noise on the code and a toll on codes that are not spread like N(0, I).
#
# The judge asks one thing: does the nearest neighbour tell drawn from real? 0.5 means that it cannot, 1 that it always
# can (Lopez-Paz & Oquab 2017, arXiv:1610.06545). The score depends on the number of pictures, so every row below sees
# the 360 test pictures and 360 others, ten times. All are black and white, and the decoders give the logits of every
# pixel.

# %%
def nats(model, x):
    """-ln of the Bernoulli likelihood of a picture; the VAE's reconstruction term, without the noise."""
    return F.binary_cross_entropy_with_logits(model(x), x, reduction="sum") / len(x)

bits, test_bits, latent, draws = binarize(x), binarize(test), 8, 10
epochs = lesson.pick(100, 2)
autoencoder = train(Autoencoder(64, hidden, latent), bits, nats, epochs)
vae = train(VAE(64, hidden, latent), bits, lambda model, x: sum(model.loss_terms(x)), epochs)

with no_grad():
    codes, noise = autoencoder.encode(Tensor(bits)), randn(360 * draws, latent)         # (1437, 8), (3600, 8)
    center, spread = codes.mean(axis=0), codes.var(axis=0) ** 0.5
    logits = {"AE, N(0, I)": autoencoder.decode(noise),                                 # (3600, 64)
              "AE, spread": autoencoder.decode(center + spread * noise),
              "AE, covariance": autoencoder.decode(PCA(latent).fit(codes).sample(360 * draws)),
              "VAE, N(0, I)": vae.decode(noise)}
drawn = {name: Bernoulli(values).sample().numpy() for name, values in logits.items()}
drawn["one Gaussian of the pixels"] = PCA(64).fit(bits).sample(360 * draws).numpy() >= 0.5
drawn["real"] = np.concatenate([next(batches(bits, batch_size=360)).numpy() for _ in range(draws)])

scores = {name: np.mean([two_sample_1nn(test_bits, part) for part in sample.reshape(draws, 360, 64)])
          for name, sample in drawn.items()}
print(f"  {'drawn from':<32} 1-NN, mean of {draws}")
print("\n".join(f"  {name:<32} {score:.3f}" for name, score in scores.items()))

best = min(score for name, score in scores.items() if name.startswith("AE"))
reference = scores["VAE, N(0, I)"]
lesson.claim("1-NN score above the VAE's: autoencoder, N(0, I)", scores["AE, N(0, I)"] - reference, ">=", 0.14,
             row="K04", kind="C")
lesson.claim("1-NN score above the VAE's: autoencoder at its best", best - reference, ">=", 0.05, row="K04", kind="C")

# The codes lie in islands, and between the islands nobody asked the decoder anything. N(0, I) misses most of them; a
# Gaussian fitted to the codes does better, but no better than one Gaussian does with plain pixels, rounded. The VAE's
# digits are far from real, too, but its codes fill the space that they are drawn from. Lesson 38 derives the toll that
# makes them.

# %%
def show_planes(axes):
    """The two numbers of every training picture, by PCA and by the deep autoencoder, coloured by digit."""
    with no_grad():
        planes = {"PCA: two straight numbers": pca[2].encode(exact_x),
                  "Deep: two bent numbers": deep[2].encode(Tensor(x))}
    for panel, (title, plane) in zip(axes, planes.items()):
        scatter2d(plane, labels, title=title, axes=panel)
        panel.set(aspect="auto", xlabel="z1", ylabel="z2")
    axes[0].get_legend().remove()

def show_reconstructions(axes):
    """One test picture of each digit, and what is left of it behind 2 and behind 8 numbers."""
    chosen = test[[np.flatnonzero(test_labels == digit)[0] for digit in range(10)]]
    rows = {"test picture": chosen}
    with no_grad():
        for k in (2, 8):
            rows[f"PCA, {k}"] = pca[k].decode(pca[k].encode(chosen.astype("float64"))).numpy()
            rows[f"deep, {k}"] = deep[k](Tensor(chosen)).numpy()
    show_grid({name: row.reshape(-1, 8, 8) for name, row in rows.items()}, limits=(0, 1), axes=axes,
              title="Pictures behind 2 and 8 numbers")

def show_draws(axes):
    """The probability of every pixel for 20 drawn codes, and 20 real pictures, with their scores."""
    rows = {name: F.sigmoid(values) for name, values in logits.items()} | {"real": bits}
    rows = {f"{name}  {scores[name]:.2f}": row[:20].reshape(20, 8, 8) for name, row in rows.items()}
    show_grid(rows, limits=(0, 1), axes=axes,
              title="Drawn codes, decoded, and how often the nearest neighbour is right about them (0.5: by chance)")

if lesson.draws:
    figure, axes = panels(2, 3, size=(15, 7.8))
    show_planes(axes[0, :2])
    steps = 10 * np.arange(1, len(angles) + 1)
    curves = {"largest angle to PCA's surface, rad": (steps, angles), "error beyond PCA's, relative": (steps, excess)}
    plot_curves(curves, xlabel="step", log="y", title="Linear: the error is right before the surface", axes=axes[0, 2])
    show_reconstructions(axes[1, 0])
    for panel in axes[1, 1:]:
        panel.remove()
    show_draws(figure.add_subplot(axes[1, 1].get_gridspec()[1, 1:]))
    axes[0, 0].get_gridspec().set_height_ratios([1.25, 1])
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Train the last two models on grey pictures and judge `sigmoid(logits)`. Now the fitted Gaussian wins by a hair. What
#   does the nearest neighbour see in a VAE's pictures as long as nobody rounds them?
# - `PCA(k).fit(x).sample(360)` draws digits, too, and `noise=True` adds what the surface misses. Which k draws best?
# - Start the linear autoencoder with weights of zero. Where does it stay, and why is that no minimum?
