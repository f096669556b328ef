"""Lesson 40: Autoregressive models: MADE and PixelCNN

The VAE's likelihood is a bound (lessons 38 and 39), for it must guess what the code was. A model without a code need not guess. The
chain rule writes every distribution as a product, p(x) = p(x_1) p(x_2|x_1) p(x_3|x_1, x_2) .., and each factor is a classifier:
given all the pixels before, is this one black? Classifiers we can train. The only danger is that one of them sees its own answer.

You will prove by gradients that none does, and by adding up all 1,024 probabilities that the model is a distribution; see what an
autoencoder without masks makes of the same loss; find the blind spot of PixelCNN's first version; and pay for exactness when
sampling, one pass a pixel. Expected: binary digits near 17.8 nats (ten prototypes need 20.2, the VAE's bound was 18.4), grey ones
below the 2.43 bits a pixel of independent histograms.

Papers: Germain et al. 2015, arXiv:1502.03509; van den Oord et al. 2016, arXiv:1601.06759 and 1606.05328; Salimans et al. 2017,
arXiv:1701.05517.
"""
# %%
import itertools
import math
import time

import numpy as np

from tinygrad_edu import Tensor, grad, jacobian, no_grad, optim
from tinygrad_edu.data import batches, binarize, levels, load_digits
from tinygrad_edu.distributions import Bernoulli, DiscretizedLogisticMixture
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.models.foundations.mlp import MLP
from tinygrad_edu.models.generative.made import MADE
from tinygrad_edu.models.generative.pixelcnn import PixelCNN, PlainPixelCNN, sample_pixels
from tinygrad_edu.viz import panels, show_grid

lesson = Lesson("40_made_and_pixelcnn")
rng = np.random.default_rng(lesson.seed)
grey, grey_test = load_digits("train")[0], load_digits("test")[0]                       # (1437, 8, 8), (360, 8, 8)
x, test = binarize(grey), binarize(grey_test)

# %% [markdown]
# ## Cutting the wires
#
# An autoencoder answers with as many numbers as it is asked with. Let answer d be the logit of x_d = 1; it may then depend on
# x_1 .. x_{d-1} and on nothing else. Give each hidden unit a number m, and promise: it has seen inputs up to m and none beyond.
#
#     keep the weight from a unit of m to a unit of m'   if m <= m'          what it has seen, the next may see
#     keep the weight from a unit of m to output d       if m <  d           strictly: not the answer itself
#
# The promise passes from layer to layer, so no path leads from x_d to output d. Which input is called first does not matter:
# here the order is drawn at random.

# %%
def square(model, x):
    """The Jacobian of the logits (D, D), output by input, at one x (1, ..)."""
    J = jacobian(model, x).numpy()                                                      # (*output, *input)
    return J.reshape(x.size, x.size)

D, order = 10, rng.permutation(10)
small = MADE(D, hidden=(40, 40), order=order).double()
points = rng.standard_normal((20, 1, D))                                                # a ReLU may be off at one of them
J = np.max([np.abs(square(small, point)) for point in points], axis=0)[order][:, order]       # in the order of the model
lesson.claim("MADE: largest entry of dlogits/dx on or above the diagonal", np.triu(J).max(), "==", 0.0, row="L02", kind="E")
lesson.claim("MADE: entries below the diagonal that are 0", (J[np.tril_indices(D, -1)] == 0).sum(), "==", 0, row="L02", kind="S")

states = np.array(list(itertools.product((0.0, 1.0), repeat=D)))                        # (1024, 10): all there are
with no_grad():
    total = np.exp(small.log_prob(Tensor(states)).numpy()).sum()
lesson.claim("MADE: |sum of p(x) over all 1024 states - 1|", abs(total - 1), "<=", 1e-10, row="L02", kind="E")

# %% [markdown]
# ## Without the masks
#
# The same network with all wires in place is trained on the same loss, "the nats of each pixel, given by its logit". The loss goes
# to nothing: each pixel is told by itself. Is that the best model of digits ever made? Add up what it says of all states of ten
# pixels: a distribution sums to 1.

# %%
def train(model, nats, data, epochs, lr=2e-3):
    """AdamW on the mean of `nats`; the step size falls over the second half. The model is left with the average of its weights."""
    optimizer, average = optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01), optim.EMA(model, 0.995)
    data = data[: lesson.pick(len(data), 128)]
    for epoch in lesson.progress(range(epochs), "training"):
        optimizer.param_groups[0]["lr"] = lr * min(1, 2 * (1 - epoch / epochs))
        for batch in batches(data, batch_size=64):
            loss = nats(model, batch).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            average.update()
    average.swap()
    return model.eval()

def evaluate(model, nats, data):
    with no_grad():
        return nats(model, Tensor(data)).mean().item()

def nats_of_bits(model, x):
    """What the logits charge for x, nats a picture (N,)."""
    return -Bernoulli(model(x)).log_prob(x).flatten(1).sum(axis=1)

ten = x.reshape(-1, 64)[:, 24:34]                                                       # ten pixels from the middle
cheat = train(MLP(D, 40, 40, D), nats_of_bits, ten, lesson.pick(40, 5))
honest = train(MADE(D, hidden=(40, 40)), nats_of_bits, ten, lesson.pick(40, 5))
told = []
for model in (cheat, honest):
    with no_grad():
        told.append((evaluate(model, nats_of_bits, ten),
                     np.exp(-nats_of_bits(model.double(), Tensor(states)).numpy()).sum()))
print(f"ten pixels: unmasked, {told[0][0]:.2f} nats and a sum of {told[0][1]:.1f}; masked, {told[1][0]:.2f} nats and {told[1][1]:.4f}")
lesson.claim("unmasked: the sum over all states", told[0][1], ">=", 10, row="L02", kind="C", baseline=told[1][1])

# %% [markdown]
# ## Digits
#
# Three baselines in nats a test picture: independent pixels; MADE without a hidden layer, which is a logistic regression of each
# pixel on those before it (Frey 1998); and, from lesson 38, ten prototypes with 20.2. The last two are trained on 1,437 pictures
# only, so half of the hidden units are dropped at each step.

# %%
rate = (x.sum(axis=0) + 1) / (len(x) + 2)
independent = -(test * np.log(rate) + (1 - test) * np.log(1 - rate)).sum(axis=(1, 2)).mean()
flat, flat_test, epochs = x.reshape(-1, 64), test.reshape(-1, 64), lesson.pick(60, 2)
logistic = train(MADE(64, hidden=()), nats_of_bits, flat, epochs)
made = train(MADE(64, hidden=(512,), dropout=0.5), nats_of_bits, flat, epochs)
logistic_nats, made_nats = (evaluate(model, nats_of_bits, flat_test) for model in (logistic, made))
print(f"binary digits, nats: independent {independent:.2f}, logistic regressions {logistic_nats:.2f}, MADE {made_nats:.2f}")
lesson.claim("MADE on binary digits, test nats", made_nats, "<=", 18.4, row="L02", kind="O", baseline=independent, oracle=18.44)

# %% [markdown]
# The bill comes when sampling. All factors of a given picture are known at once, but to draw one, the second pixel must wait for
# the first: 64 passes. We count and time them.

# %%
class Counted(MADE):
    passes = 0

    def forward(self, x):
        self.passes += 1
        return super().forward(x)

counted = Counted(64, hidden=(2048,)).eval()
counted.sample(2)
lesson.claim("MADE: passes for a sample", counted.passes, "==", 64, row="L01", kind="S", baseline=1)

def seconds(f):
    start = time.perf_counter()
    f()
    return time.perf_counter() - start

thousand = Tensor(flat[:1000])
with no_grad():
    ratio = np.median([seconds(lambda: counted.sample(1000)) / seconds(lambda: counted(thousand))
                       for _ in range(lesson.pick(9, 1))])
lesson.claim("MADE: time of 1000 samples over that of one pass", ratio, "in", (64 * 0.7, 64 * 1.3), row="L01", kind="C", oracle=64)

# %% [markdown]
# ## PixelCNN, and what it cannot see
#
# For pictures, convolutions: the same question at every place. A 3 x 3 kernel whose last four weights are cut (five in the first
# layer, which must not see its own pixel) looks up and to the left. Stack them, and the view widens. But how? Ask the
# gradients of the logit in row 4, column 3: where do they go?

# %%
def view(model, row=4, column=3):
    """|d logit / dx| of one pixel (8, 8)."""
    x = Tensor(rng.random((1, 1, 8, 8)), requires_grad=True)
    return np.abs(grad(model(x)[0, 0, row, column], x)[0].numpy()[0, 0])

before = np.arange(64).reshape(8, 8) < 4 * 8 + 3                                        # what it may see
plain, gated = PlainPixelCNN(8, layers=7).double(), PixelCNN(8, layers=7).double()
views = {"plain": view(plain), "gated": view(gated)}
lesson.claim("PixelCNN: gradient to the own or later pixels", max(v[~before].max() for v in views.values()), "==", 0.0, row="L03",
             kind="E")
blind = {name: int((v[before] == 0).sum()) for name, v in views.items()}
lesson.claim("blind spot of the plain stack, pixels", blind["plain"], ">=", 1, row="L03", kind="S")
lesson.claim("blind spot of the gated network, pixels", blind["gated"], "==", 0, row="L03", kind="S", baseline=blind["plain"])
J = square(gated, rng.random((1, 1, 8, 8)))
lesson.claim("gated: all of dlogits/dx on or above the diagonal", np.abs(np.triu(J)).max(), "==", 0.0, row="L03", kind="E")

# %% [markdown]
# Eight layers deep, and the plain stack still does not see some pixels above it and to the right: each layer goes at most one column to
# the right for each row that it goes up. The gated network sends one stack straight up, which sees whole rows, and lets the
# other look along its own row only.

# %%
pixelcnn = train(PixelCNN(32, layers=4), nats_of_bits, x[:, None], lesson.pick(22, 1), lr=3e-3)
pixelcnn_nats = evaluate(pixelcnn, nats_of_bits, test[:, None])
lesson.claim("PixelCNN on binary digits, test nats", pixelcnn_nats, "<=", 18.4, row="L03", kind="O", baseline=independent, oracle=18.44)

# %% [markdown]
# ## Seventeen greys
#
# A softmax over 17 levels would not know that 7 lies between 6 and 8. A mixture of logistics does: a real number is drawn from one of
# five bell curves and rounded, so P(l) = F(l + 1/2) - F(l - 1/2) with F a mixture of sigmoids, and 0 and 16 take the tails. In ten
# naive lines, and then the library's, which works with logarithms and does not subtract nearly equal numbers:

# %%
def naive_mixture(weight, loc, scale):
    """P(0), .., P(16)"""
    F = lambda v: (weight / (1 + np.exp(-(v - loc) / scale))).sum()
    edges = [-math.inf, *np.arange(0.5, 16), math.inf]
    with np.errstate(over="ignore"):
        return np.array([F(high) - F(low) for low, high in zip(edges, edges[1:])])

K = 5
logits, loc, log_scale = rng.standard_normal(K), rng.uniform(0, 16, K), rng.uniform(-1, 1, K)
mixture = DiscretizedLogisticMixture(*(Tensor(np.tile(v, (17, 1))) for v in (logits, loc, log_scale)), levels=17)
p = np.exp(mixture.log_prob(np.arange(17.0)).numpy())
lesson.claim("logistic mixture: |sum over 17 levels - 1|", abs(p.sum() - 1), "<=", 1e-10, row="L04", kind="E")
naive = naive_mixture(np.exp(logits) / np.exp(logits).sum(), loc, np.exp(log_scale))
lesson.claim("logistic mixture: the library against the ten lines", np.abs(p - naive).max(), "<=", 1e-12, row="L04", kind="E")

def greys_of(outputs):
    """(.., 3 K) outputs of the network -> distributions of a pixel."""
    y = outputs.reshape(*outputs.shape[:-1], 3, outputs.shape[-1] // 3)
    return DiscretizedLogisticMixture(y[..., 0, :], 8 + 8 * y[..., 1, :], 1 + y[..., 2, :], levels=17)

def bits_of_greys(model, x):
    """Bits a pixel of pictures of whole numbers (N, 1, 8, 8): (N,)."""
    outputs = model(x / 16).transpose(0, 2, 3, 1)                                       # (N, 8, 8, 3 K)
    return -greys_of(outputs).log_prob(x[:, 0]).flatten(1).mean(axis=1) / math.log(2)

shades, shades_test = (levels(v)[:, None].astype("float32") for v in (grey, grey_test))
counts = 1 / 17 + np.stack([(shades[:, 0] == level).sum(axis=0) for level in range(17)])    # (17, 8, 8), a little of everything
histogram = -np.log2(np.take_along_axis(counts / counts.sum(axis=0), shades_test[:, 0].astype(int), axis=0)).mean()
painter = train(PixelCNN(24, layers=4, outputs=3 * K), bits_of_greys, shades, lesson.pick(12, 1), lr=3e-3)
painter_bits = evaluate(painter, bits_of_greys, shades_test)
lesson.claim("grey digits, bits a pixel", painter_bits, "<", 2.43, row="L04", kind="O", baseline=histogram)

# %%
if lesson.draws:
    def painted(seen):
        """(8, 8, 3): blue where seen, grey where not, red the pixel itself."""
        picture = np.where(seen[..., None], (0.25, 0.56, 0.85), (0.88, 0.88, 0.88))
        picture[4, 3] = 0.74, 0.12, 0.0
        return picture

    shown = lesson.pick(32, 8)
    figure, axes = panels(2, 3, size=(13, 6.4))
    show_grid(np.stack([painted(seen) for seen in (views["plain"] > 0, before, views["gated"] > 0)]), axes=axes[0, 0],
              titles=["plain", "may see", "gated"], title="what the red pixel's logit depends on")
    show_grid(x[:32], columns=8, title="digits", axes=axes[0, 1])
    show_grid(made.sample(32).reshape(-1, 8, 8), columns=8, title=f"MADE, {made_nats:.1f} nats", axes=axes[0, 2])
    drawn = sample_pixels(pixelcnn, lambda outputs: Bernoulli(outputs[:, 0]), shown, 8, 8)
    show_grid(drawn, columns=8, title=f"PixelCNN, {pixelcnn_nats:.1f} nats", axes=axes[1, 0])
    show_grid(shades[:32], columns=8, title="grey digits", axes=axes[1, 1])
    drawn = sample_pixels(lambda x: painter(x / 16), greys_of, shown, 8, 8)
    show_grid(drawn, columns=8, title=f"PixelCNN, five logistics, {painter_bits:.2f} bits a pixel", axes=axes[1, 2])
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Cover the lower half of a digit and let PixelCNN draw it from the upper half: start `sample_pixels` from there.
# - Train MADE with another order. Reading order is nothing special; how much do the nats change?
# - Train `PlainPixelCNN(32, layers=4)` as long as the gated one. What does the blind spot cost, in nats?
# - One logistic instead of five: set K = 1. Which pixels suffer? (Those that are either black or white, but not grey.)
# - Lesson 41 makes the view wider with holes in the kernels instead of depth, for sound with 16,000 numbers a second.

