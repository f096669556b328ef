"""Lesson 06: Activations and depth

In lesson 05 one hidden layer bent the line. If one is good, are thirty better? Stacked as they come, thirty layers learn nothing
at all: not because they cannot express the answer, but because no gradient arrives at the first of them. What a gradient loses
or gains in one layer is a number that can be computed beforehand. Raised to the power 30 it is a death sentence, unless it is 1.

You will predict that number for sigmoid, tanh and ReLU with three kinds of random weights and measure it; see which of these
thirty-layer networks learn to read digits; and derive the two constants of SELU, which holds its activations at mean 0 and
variance 1 with no outside help. Then two smooth relatives of ReLU, GELU and Swish, whose dip Newton's method finds.

Papers: Bengio, Simard & Frasconi 1994; Glorot & Bengio 2010; He et al. 2015, arXiv:1502.01852; Klambauer et al. 2017,
1706.02515; Hendrycks & Gimpel 2016, 1606.08415; Ramachandran, Zoph & Le 2017, 1710.05941 (published: Swish +0.9 % top-1 on
Mobile NASNet-A); Krizhevsky et al. 2012 (published: ReLU reaches 25 % training error six times as fast as tanh).
"""
# %%
import math

import numpy as np

from tinygrad_edu import Tensor, functional as F, no_grad, optim, randn
from tinygrad_edu.autograd import grad
from tinygrad_edu.backend import ignore_float_errors
from tinygrad_edu.data import batches, load_digits
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import accuracy
from tinygrad_edu.nn import SELU, Linear, ReLU, Sequential, Sigmoid, Tanh, init
from tinygrad_edu.testing import gradcheck
from tinygrad_edu.viz import panels, plot_curves

lesson = Lesson("06_activations_and_depth")
DEPTH = 30

# %% [markdown]
# ## What one layer does to a gradient
#
# A layer computes a = W h with h = f(a of the layer below). Let the weights be drawn with mean 0 and variance v, and let n
# numbers come in. Each a adds up n independent terms, so it is close to normal with variance
#
#     q_new = n v E[f(sqrt(q) z)^2],          z from N(0, 1), q the variance one layer below.
#
# On the way back the gradient is multiplied by W' and then, element by element, by f'(a). The same argument gives its length:
#
#     |gradient below|^2 = n v E[f'(sqrt(q) z)^2] |gradient above|^2.
#
# The square root of that factor is the gain. Its logarithm is the slope of a line: log(gradient norm) over depth.
# ReLU: f' is 1 for half of all z, so the gain is sqrt(n v / 2). Sigmoid: f' is at most 1/4.

# %%
z = np.linspace(-8, 8, 40001)
weight_of_z = np.exp(-z ** 2 / 2) / np.exp(-z ** 2 / 2).sum()

def predicted_log_gains(f, n, v, q):
    """ln(gain) of each layer, from the first to the last but one: two integrals a layer, as sums over a fine grid."""
    gains = []
    for _ in range(DEPTH - 1):
        a = Tensor(math.sqrt(q) * z, requires_grad=True)                        # float64, as z is
        h = f(a)
        h.sum().backward()
        gains.append(0.5 * math.log(n * v * (weight_of_z * a.grad.numpy() ** 2).sum()))
        q = n * v * (weight_of_z * h.detach().numpy() ** 2).sum()
    return np.array(gains)

def deep(activation, fill, *sizes):
    """Linear layers of these sizes, their weights drawn by `fill`, biases 0, the activation after all but the last."""
    layers = []
    for inputs, outputs in zip(sizes, sizes[1:]):
        linear = Linear(inputs, outputs)
        fill(linear.weight), init.zeros_(linear.bias)
        layers += [linear, activation()]
    return Sequential(*layers[:-1])

# %% [markdown]
# Now measure. A hook on each linear layer keeps the gradient of what the layer puts out; a random vector at the top stands
# for whatever the loss may send down.

# %%
def length(gradient):
    """|gradient|, squared and added up in float64: some of these lengths have 31 digits, their squares 62."""
    return np.linalg.norm(gradient.numpy().astype(np.float64))

def gradient_norms(net, x):
    """|gradient| of the output of each linear layer, first layer first."""
    kept = []
    handles = [layer.register_forward_hook(lambda module, inputs, output: kept.append(output.retain_grad()))
               for layer in net if isinstance(layer, Linear)]
    y = net(x)
    y.backward(randn(*y.shape).data)
    for handle in handles:
        handle.remove()
    return np.array([length(output.grad) for output in kept])

WIDTH = lesson.pick(512, 128)
xavier, he = init.xavier_normal_, lambda weight: init.kaiming_normal_(weight, nonlinearity="relu")
nets = {
    "ReLU, N(0, 1)": (ReLU, F.relu, init.normal_, 1.0),
    "ReLU, Xavier": (ReLU, F.relu, xavier, 1 / WIDTH),
    "ReLU, He": (ReLU, F.relu, he, 2 / WIDTH),
    "tanh, N(0, 1)": (Tanh, F.tanh, init.normal_, 1.0),
    "tanh, Xavier": (Tanh, F.tanh, xavier, 1 / WIDTH),
    "sigmoid, Xavier": (Sigmoid, F.sigmoid, xavier, 1 / WIDTH),
}
x, depth = randn(lesson.pick(128, 64), WIDTH), np.arange(1, DEPTH + 1)
norms, lines = {}, {}
print("gain of a layer      measured   predicted     30 layers")
for name, (activation, f, fill, v) in nets.items():
    norms[name] = gradient_norms(deep(activation, fill, *[WIDTH] * (DEPTH + 1)), x)
    log_gains = predicted_log_gains(f, WIDTH, v, WIDTH * v)
    lines[name] = norms[name][-1] * np.exp(np.append(np.cumsum(log_gains[::-1])[::-1], 0.0))
    measured = -np.polyfit(depth, np.log(norms[name]), 1)[0]
    predicted = -np.polyfit(depth, np.log(lines[name]), 1)[0]
    nets[name] += (measured - predicted,)
    print(f"  {name:<17} {math.exp(measured):9.3f} {math.exp(predicted):11.3f} {norms[name][0] / norms[name][-1]:13.1e}")

errors = {name: abs(net[-1]) for name, net in nets.items()}
for rule in ("N(0, 1)", "Xavier", "He"):
    lesson.claim(f"log gain a layer, measured - predicted, {rule}", max(e for n, e in errors.items() if n.endswith(rule)),
                 "<=", 0.05, row="A17", kind="C", oracle=0.0)

# Weights from N(0, 1) blow the gradient up, Xavier's are right for tanh but halve ReLU's squares layer by layer. He's rule is
# nothing but n v / 2 = 1. No rule helps the sigmoid much: v would have to be 16 / n, and then it saturates.

# %% [markdown]
# ## Which of them learn?
#
# Thirty layers of 64 read the digits of lesson 05, in the same loop. One look before training: the gradient of the loss in the
# first layer's weights beside that in the last layer's. For ReLU this ratio is near 1 under every rule: what the gradient loses
# on its way down, the activations lose on their way up, and a weight's gradient is the product of the two. Then it is all of
# them that are too large or too small.

# %%
(images, labels), (test_images, test_labels) = load_digits("train"), load_digits("test")
images, test_images = ((p.reshape(-1, 64) - 0.305) / 0.376 for p in (images, test_images))      # mean 0, variance 1

def first_to_last(net):
    F.cross_entropy(net(Tensor(images)), labels).backward()
    first, last = (length(layer.weight.grad) for layer in (net[0], net[-1]))
    net.zero_grad()
    return first / last

def dead_share(net):
    """How many hidden units of a ReLU network are 0 for every training picture: no gradient will ever wake them."""
    shares = []
    handles = [layer.register_forward_hook(lambda module, inputs, output: shares.append(
        (output.data.max(axis=0) == 0).mean().item())) for layer in net if isinstance(layer, ReLU)]
    with no_grad():
        net(Tensor(images))
    for handle in handles:
        handle.remove()
    return np.mean(shares)

def train(net, epochs, lr=1e-3):
    """Adam on the cross-entropy; returns the loss of every step."""
    optimizer, losses = optim.Adam(net.parameters(), lr=lr), []
    for _ in lesson.progress(range(epochs), "training"):
        for inputs, targets in batches(images, labels, batch_size=64):
            loss = F.cross_entropy(net(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses

def test_accuracy(net):
    with no_grad():
        return accuracy(net(Tensor(test_images)), test_labels)

sizes, epochs = [64] * DEPTH + [10], lesson.pick(12, 1)
contest = {"sigmoid, Xavier": (Sigmoid, xavier), "ReLU, N(0, 1)": (ReLU, init.normal_), "ReLU, Xavier": (ReLU, xavier),
           "tanh, Xavier": (Tanh, xavier), "ReLU, He": (ReLU, he), "SELU, LeCun": (SELU, init.lecun_normal_)}
ratios, scores, curves = {}, {}, {}
print("thirty layers        first / last gradient    test accuracy")
with ignore_float_errors():                                 # one of them overflows, which is the point
    for name, (activation, fill) in contest.items():
        net = deep(activation, fill, *sizes)
        ratios[name] = first_to_last(net)
        dead_before = dead_share(net) if activation is ReLU else None
        curves[name] = train(net, epochs)
        scores[name] = test_accuracy(net)
        dead = "" if dead_before is None else f"   dead units {dead_before:.1%}, after training {dead_share(net):.1%}"
        print(f"  {name:<17} {ratios[name]:16.1e} {scores[name]:20.3f}{dead}")

lesson.claim("30 layers of sigmoid: first / last gradient", ratios["sigmoid, Xavier"], "<", 1e-6, row="A13", kind="C",
             baseline=ratios["ReLU, He"])
lesson.claim("30 layers of ReLU with He: first / last gradient", ratios["ReLU, He"], "in", (0.05, 20), row="A13", kind="C",
             baseline=ratios["sigmoid, Xavier"])
lesson.claim("30 layers of ReLU with He: test accuracy", scores["ReLU, He"], ">=", 0.85, row="A13", kind="C",
             baseline=scores["sigmoid, Xavier"])

# %% [markdown]
# ## A curve that normalizes itself
#
# ReLU with He keeps the square, but not the mean: nothing negative ever leaves it. Look for a curve that maps N(0, 1) to mean 0
# and variance 1. Take a line s x on the right and s a (e^x - 1) on the left, with z from N(0, 1), and ask for
#
#     E[f(z)] = s (1 / sqrt(2 pi) + a (sqrt(e) P(-1) - 1/2)) = 0          P the normal distribution function
#     E[f(z)^2] = s^2 (1/2 + a^2 (e^2 P(-2) - 2 sqrt(e) P(-1) + 1/2)) = 1
#
# Two equations, two unknowns, and the first has only one of them in it.

# %%
def P(x):
    return math.erfc(-x / math.sqrt(2)) / 2

a = 1 / math.sqrt(2 * math.pi) / (0.5 - math.exp(0.5) * P(-1))
s = (0.5 + a ** 2 * (math.exp(2) * P(-2) - 2 * math.exp(0.5) * P(-1) + 0.5)) ** -0.5
print(f"SELU: a = {a:.10f}, s = {s:.10f}")
by_hand = np.where(z > 0, s * z, s * a * np.expm1(z))
lesson.claim("SELU by hand and the library's, greatest difference", abs(by_hand - F.selu(z)).max(), "<=", 1e-12, row="A16", kind="E")

def statistics(activation, fill, width):
    """Mean and variance of the activations after each of thirty layers, for inputs from N(0, 1): (30, 2)."""
    found = []
    net = deep(activation, fill, *[width] * (DEPTH + 1), width)
    for layer in net:
        if isinstance(layer, activation):
            layer.register_forward_hook(lambda module, inputs, output: found.append(
                (output.mean().item(), output.var().item())))
    with no_grad():
        net(randn(lesson.pick(512, 128), width))
    return np.array(found)

width = lesson.pick(512, 256)
spread = {"SELU, LeCun": statistics(SELU, init.lecun_normal_, width), "tanh, Xavier": statistics(Tanh, xavier, width),
          "ReLU, He": statistics(ReLU, he, width), "ReLU, Xavier": statistics(ReLU, xavier, width)}
away = {name: (abs(values[:, 0]).max(), abs(values[:, 1] - 1).max()) for name, values in spread.items()}
print("furthest from N(0, 1)     mean   variance")
for name, (mean, variance) in away.items():
    print(f"  {name:<17} {mean:12.3f} {variance:10.3f}")
others = [max(mean / 0.1, variance / 0.2) for name, (mean, variance) in away.items() if not name.startswith("SELU")]
lesson.claim("SELU: |mean| after any of 30 layers", away["SELU, LeCun"][0], "<=", 0.1, row="A16", kind="O", oracle=0.0,
             baseline=away["ReLU, He"][0])
lesson.claim("SELU: |variance - 1| after any of 30 layers", away["SELU, LeCun"][1], "<=", 0.2, row="A16", kind="O", oracle=0.0,
             baseline=away["tanh, Xavier"][1])
lesson.claim("tanh, ReLU: by which factor the best misses these bounds", min(others), ">", 1, row="A16", kind="O")

# %% [markdown]
# ## Smooth relatives of ReLU
#
# GELU asks how probable it is that a standard normal number lies below x, and lets so much of x through: x P(x). P has no
# closed form, so its paper offers a tanh that is close to it.

# %%
grid = np.linspace(-10, 10, 200001)
lesson.claim("GELU: exact and tanh form, greatest difference", abs(F.gelu(grid) - F.gelu(grid, "tanh")).max(), "<", 5e-4,
             row="A14", kind="E")
lesson.claim("GELU: its gradient against differences, relative error", gradcheck(F.gelu, randn(50, dtype="float64"), order=2).error,
             "<", 1e-7, row="A14", kind="E")

# %% [markdown]
# Swish, x sigmoid(beta x), was found by a search over formulas. Like GELU it dips below 0 before it rises: it is not
# monotone. Where is the bottom? Where its derivative is 0. Lesson 04 gives us the derivative of the derivative, so Newton's
# method can look for it: x - f'(x) / f''(x). And the larger beta, the sharper the corner: all that swish differs from relu is
# shrunk by beta, for swish_beta(x) = swish_1(beta x) / beta.

# %%
x = Tensor(np.array([-1.0]), requires_grad=True)
for _ in range(8):
    (slope,) = grad(F.swish(x), x, create_graph=True)
    (curvature,) = grad(slope, x)
    x = Tensor(x.data - slope.data / curvature.data, requires_grad=True)
bottom, depth_of_dip = x.item(), -F.swish(x).item()
print(f"swish has its bottom at x = {bottom:.9f}, {depth_of_dip:.9f} below 0")
lesson.claim("Swish: place of its minimum, by Newton", bottom, "in", (-1.2785, -1.2784), row="A15", kind="E", oracle=-1.278465)
gaps = [beta * abs(F.swish(grid, beta) - F.relu(grid)).max() for beta in (1, 10, 100, 1000)]
lesson.claim("Swish, beta to 1000: beta |swish - relu| - its dip, worst", max(abs(gap - depth_of_dip) for gap in gaps), "<=",
             1e-4, row="A15", kind="E")

# %%
def draw_norms(axes):
    for i, name in enumerate(norms):
        axes.plot(depth, norms[name] / norms[name][-1], ".", color=f"C{i}", markersize=4)
        axes.plot(depth, lines[name] / lines[name][-1], color=f"C{i}", linewidth=1.2, label=name)
    axes.set(yscale="log", xlabel="layer", ylabel="gradient norm / that of the last layer", ylim=(1e-22, 1e46))
    axes.set_title("The way back through 30 layers: dots measured, lines predicted", loc="left", fontsize=11)
    axes.legend(frameon=False, fontsize=8, ncols=2, loc="upper right")

def smooth(losses):
    """The mean of each epoch's losses; what overflowed is not drawn."""
    per_epoch = math.ceil(len(images) / 64)
    return [np.mean(losses[i : i + per_epoch]) for i in range(0, len(losses), per_epoch)]

if lesson.draws:
    figure, axes = panels(2, 2, size=(13, 9))
    near = np.linspace(-4, 4, 400)
    shapes = {"sigmoid": F.sigmoid, "tanh": F.tanh, "ReLU": F.relu, "SELU": F.selu, "GELU": F.gelu, "Swish": F.swish}
    plot_curves({name: (near, f(near)) for name, f in shapes.items()}, xlabel="x", axes=axes[0, 0], title="Six activations")
    axes[0, 0].set_ylim(-2, 4)
    slopes = {}
    for name, f in shapes.items():
        t = Tensor(near, requires_grad=True)
        f(t).sum().backward()
        slopes[name] = (near, t.grad)
    plot_curves(slopes, xlabel="x", axes=axes[0, 1], title="Their derivatives: what the gradient is multiplied by")
    draw_norms(axes[1, 0])
    plot_curves({name: smooth(losses) for name, losses in curves.items() if name != "ReLU, N(0, 1)"}, xlabel="epoch",
                ylabel="training loss", axes=axes[1, 1], title="Which of them learn to read digits")
    axes[1, 1].axhline(math.log(10), color="0.2", linewidth=0.8, linestyle=":")
    axes[1, 1].text(0, math.log(10) - 0.08, "guessing", fontsize=9)
    axes[1, 1].legend(frameon=False, fontsize=9, loc="upper right", bbox_to_anchor=(1.0, 0.93))
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Give the sigmoid network weights of variance 16 / n. What does `predicted_log_gains` say about layers 2, 3, 4?
# - Start the search of Newton's method at x = 0.5. Where does it go, and what is there? (Lesson 04.)
# - Set `lr=0.1` in `train` for ReLU with He and watch the share of dead units. Does LeakyReLU have any?
