"""Lesson 13: Convolution and the convolutional network

The networks of lessons 05 to 12 do not know that a picture is a picture. They get a list of numbers; shuffle the pixels of all
pictures in the same way, and they learn exactly as well. So what they learn about a stroke on the left says nothing about the
same stroke on the right: move a digit by a single pixel, and half of their answers are wrong.

A convolution knows two things about pictures: what belongs together is near, and a thing is the same thing wherever it is. You
will see it written as loops, as one matrix product and as a product of waves, all equal; find the direction of an edge with
eighteen numbers that nobody trained; then let a network find its own filters and look at what it found.

Papers: Gabor 1946; Sobel & Feldman 1968; Fukushima 1980; LeCun et al. 1989 and 1998 (published, LeNet-5: 0.95 % error on
MNIST).
"""
# %%
import hashlib
import itertools
import math

import numpy as np

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F, nn, no_grad, optim
from tinygrad_edu.data import DataError, batches, check_bytes, load_digits, load_fashion_mnist, load_mnist
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import accuracy, knn_classify
from tinygrad_edu.models.foundations.mlp import MLP
from tinygrad_edu.models.vision.lenet import LeNet
from tinygrad_edu.viz import panels, plot_curves, show_grid

lesson = Lesson("13_convolution_and_cnn", real_data="MNIST and Fashion-MNIST")
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## Seven loops
#
# A small kernel of weights lies on the picture, weights and pixels are multiplied and added up: one number. Then the kernel
# moves on by `stride` pixels. `padding` puts zeros around the picture, `dilation` spreads the kernel out, `groups` let each
# output channel see only its share of the input channels.

# %%
def by_loops(x, weight, stride, padding, dilation, groups):
    (N, C, H, W), (O, I, KH, KW) = x.shape, weight.shape
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    OH, OW = ((n + 2 * padding - dilation * (k - 1) - 1) // stride + 1 for n, k in ((H, KH), (W, KW)))
    y = np.zeros((N, O, OH, OW))
    for n, o, oh, ow, i, kh, kw in itertools.product(*map(range, (N, O, OH, OW, I, KH, KW))):
        c = o // (O // groups) * I + i                      # input channel i of the group that o belongs to
        y[n, o, oh, ow] += weight[o, i, kh, kw] * x[n, c, oh * stride + kh * dilation, ow * stride + kw * dilation]
    return y

# %% [markdown]
# ## One matrix product
#
# Every window of the picture as a column of a matrix, every kernel as a row of another: now a convolution is a matrix product,
# which is what machines do best. `unfold` lists the windows. (The library's kernel is this product too, but never writes
# the list down: kernels/convolution.py says how.)

# %%
def by_product(x, weight, stride, padding, dilation, groups):
    x = tg.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    windows = tg.unfold(x, weight.shape[2:], (stride, stride), (dilation, dilation))       # (N, C, KH, KW, OH, OW)
    N, C, *_, OH, OW = windows.shape
    columns = np.reshape(windows, (N, groups, -1, OH * OW))                                # (N, G, C/G KH KW, OH OW)
    return (weight.reshape(groups, len(weight) // groups, -1) @ columns).reshape(N, -1, OH, OW)

# %% [markdown]
# ## A product of waves
#
# Shift a wave and it stays the same wave, only later. A convolution adds up shifted copies, so it can do nothing to a wave but
# make it larger or smaller, sooner or later: multiply it by one complex number. Take picture and kernel apart into waves (the
# Fourier transform), multiply, and put the waves together again. (With the conjugate, because the kernel is not flipped.)

# %%
def by_waves(x, weight, stride, padding, dilation, groups):
    x = np.pad(x, [(0, 0), (0, 0), (padding, padding), (padding, padding)])
    (N, C, H, W), (O, I, KH, KW) = x.shape, weight.shape
    spread = np.zeros((O, I, H, W))
    spread[:, :, : dilation * KH : dilation, : dilation * KW : dilation] = weight
    X, K = np.fft.fft2(x).reshape(N, groups, 1, I, H, W), np.fft.fft2(spread).reshape(groups, -1, I, H, W)
    y = np.fft.ifft2((X * K.conj()).sum(axis=3)).real.reshape(N, O, H, W)                   # windows may run over the edge ..
    return y[:, :, : H - dilation * (KH - 1) : stride, : W - dilation * (KW - 1) : stride]  # .. these do not

# %% [markdown]
# Three programs, one function, for every combination of options, also where the stride does not divide. And the way back: the
# transposed convolution is the adjoint of the convolution, <conv(x), u> = <x, conv'(u)>, so it is what carries gradients back.

# %%
apart = dict.fromkeys(("loops", "one product", "waves"), 0.0)
adjoint, combinations = 0.0, list(itertools.product((1, 2, 3), (0, 1, 2), (1, 2), (1, 2, 4)))
for stride, padding, dilation, groups in combinations:
    x, weight = rng.standard_normal((2, 4, 7, 6)), rng.standard_normal((4, 4 // groups, 3, 2))
    options = dict(stride=stride, padding=padding, dilation=dilation, groups=groups)
    y = F.conv2d(x, weight, **options)
    for name, function in zip(apart, (by_loops, by_product, by_waves)):
        apart[name] = max(apart[name], np.abs(function(x, weight, **options) - y).max())

    u = rng.standard_normal(y.shape)
    rest = tuple((n + 2 * padding - dilation * (k - 1) - 1) % stride for n, k in zip(x.shape[2:], weight.shape[2:]))
    back = F.conv_transpose2d(u, weight, output_padding=rest, **options)
    adjoint = max(adjoint, abs((y * u).sum() - (x * back).sum()) / np.abs(y * u).sum())

for name, error in apart.items():
    lesson.claim(f"convolution: {name} against the library", error, "<=", 1e-10, row="E01", kind="E")
lesson.claim("convolution: combinations of options compared", len(combinations), "==", 54, row="E01", kind="S")
lesson.claim("<conv(x), u> - <x, transposed conv(u)>, relative", adjoint, "<=", 1e-10, row="E01", kind="E")

# %% [markdown]
# After a convolution a network usually takes the largest number of each small window and forgets where it was (max-pooling).
# Only that number gets a gradient. If several are largest, there is no one derivative; this library lets them share equally,
# which is the middle of what is possible and treats a flat picture fairly.

# %%
tied = Tensor([[[[1.0, 3.0, 2.0, 2.0], [3.0, 0.0, 2.0, 2.0]]]], requires_grad=True)
F.max_pool2d(tied, 2).sum().backward()
shares = np.array([[0, 0.5, 0.25, 0.25], [0.5, 0, 0.25, 0.25]])
unfair = np.abs(tied.grad.numpy()[0, 0] - shares).max()
lesson.claim("max-pool: ties share the gradient equally, error", unfair, "==", 0, row="E01", kind="E")

# %% [markdown]
# ## A filter made by hand
#
# Brightness that grows from left to right: right neighbour minus left neighbour. Sobel also averages over three lines, 1 2 1,
# so that the answer depends less on how the edge lies to the grid. The same filter turned by 90 degrees answers for up and
# down, and the two answers are the arrow across the edge. The picture is drawn, not photographed: a bright disc, whose edge
# has every direction, and we know which where. (One filter more, without the averaging, misses the degree.)

# %%
row, line = np.mgrid[:64, :64] - 31.5
distance, direction = np.hypot(line, row) - 20, np.arctan2(-row, -line)     # brightness grows inwards
disc = 1 / (1 + np.exp(distance))
sobel = np.outer([1, 2, 1], [-1, 0, 1]) / 8
plain = np.outer([0, 1, 0], [-1, 0, 1]) / 2

def worst_angle(kernel):
    """Degrees by which the direction of the edge is missed at worst, and the two answers (2, 64, 64)."""
    answers = F.conv2d(disc[None, None], np.stack([kernel, kernel.T])[:, None], padding=1)[0]
    found = np.arctan2(answers[1], answers[0])[np.abs(distance) < 1]
    error = np.degrees(found - direction[np.abs(distance) < 1])
    return np.abs((error + 180) % 360 - 180).max(), answers

sobel_error, edges = worst_angle(sobel)
lesson.claim("Sobel: direction of a known edge, worst error in degrees", sobel_error, "<=", 1, row="E02", kind="O",
             baseline=worst_angle(plain)[0], oracle=0)

# %% [markdown]
# ## A network that finds its own filters
#
# Digits again, in a frame of two dark pixels, so that a digit can be moved without losing anything. Three networks. The MLP of
# lesson 05. LeNet: two convolutions with pooling, then an ordinary network, which still knows roughly where things are. And
# one that never asks where: three convolutions, then of each map the strongest answer, wherever it lies. Its convolutions
# make a moved picture into a moved map (they are *equivariant*), and the largest number of a moved map is the same number
# (*invariant*).

# %%
class Anywhere(nn.Module):
    """Three convolutions, the strongest answer of each map, one linear layer: (N, 1, H, W) -> (N, 10)."""

    def __init__(self):
        self.conv1 = nn.Conv2d(1, 16, 5, padding=2, bias=False)
        self.conv2, self.conv3 = nn.Conv2d(16, 32, 3, padding=1), nn.Conv2d(32, 64, 3, padding=1)
        self.dropout, self.leave = nn.Dropout(0.4), nn.Linear(64, 10)
        self.conv1.weight.data *= 0.1       # nearly nothing at first: what will be seen in the filters was learned

    def maps(self, x):
        first = F.relu(self.conv1(x))                                       # (N, 16, H, W)
        return first, F.relu(self.conv3(F.relu(self.conv2(first))))         # (N, 64, H, W)

    def forward(self, x):
        return self.leave(self.dropout(self.maps(x)[1].max(axis=(2, 3))))

def train(model, x, y, epochs, lr, weight_decay=0.3, batch_size=32):
    """AdamW, its lr falling to 0; much decay, so that weights that nothing holds up fade."""
    optimizer = optim.AdamW(model.parameters(), lr=lr, weight_decay=weight_decay)
    steps, step = epochs * -(-len(x) // batch_size), 0
    model.train()
    for _ in lesson.progress(range(epochs), type(model).__name__):
        for inputs, labels in batches(x, y, batch_size=batch_size):
            optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
            loss = F.cross_entropy(model(inputs), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    return model.eval()

def score(model, x, y):
    with no_grad():
        return accuracy(np.concatenate([model(Tensor(part)).numpy() for part in np.array_split(x, -(-len(x) // 500))]), y)

def framed(images):
    return np.pad(images, [(0, 0), (2, 2), (2, 2)])[:, None]                # (N, 1, 12, 12)

(images, labels), (test_images, test_labels) = load_digits("train"), load_digits("test")
images, labels = images[: lesson.pick(None, 200)], labels[: lesson.pick(None, 200)]
x, test_x = framed(images), framed(test_images)
networks = {
    "MLP": (nn.Sequential(nn.Flatten(), MLP(144, 512, 10)), 20, 2e-3),
    "LeNet": (LeNet(12, widths=(16, 32), hidden=(64, 32)), 12, 3e-3),
    "anywhere": (Anywhere(), 30, 5e-3),
}
moves = {0: [(0, 0)], 1: [(0, 1), (0, -1), (1, 0), (-1, 0)], 2: [(0, 2), (0, -2), (2, 0), (-2, 0)]}
right = {}
for name, (model, epochs, lr) in networks.items():
    train(model, x, labels, lesson.pick(epochs, 1), lr)
    right[name] = [np.mean([score(model, np.roll(test_x, move, (2, 3)), test_labels) for move in moves[n]]) for n in moves]
    print(f"  {name:<10} right: {right[name][0]:.3f}   moved by 1 pixel {right[name][1]:.3f}   by 2 {right[name][2]:.3f}")

neighbour = (knn_classify(images, labels, test_images) == test_labels).mean()
cost = {name: values[0] - values[1] for name, values in right.items()}
by_mlp = {name: value / cost["MLP"] for name, value in cost.items()}        # in units of what the MLP pays
lesson.claim("digits: test accuracy, anywhere", right["anywhere"][0], ">=", 0.98, row="E03", kind="O", baseline=0.964,
             oracle=neighbour)
lesson.claim("one pixel to the side: cost, the MLP's is 1", by_mlp["anywhere"], "<=", 1 / 3, row="E03", kind="O",
             baseline=by_mlp["LeNet"], oracle=0)
lesson.claim("the same for LeNet, which still knows where", by_mlp["LeNet"], ">", 1 / 3, row="E03", kind="C", baseline=1)

# %% [markdown]
# The beginning of this lesson said that the MLP does not know what a picture is. Shuffle the pixels, and the columns of its
# first matrix in the same way: the same answers. So for every MLP that reads digits there is one, just as likely to be found,
# that reads shuffled digits.

# %%
order, mlp = rng.permutation(144), networks["MLP"][0]
with no_grad():
    answers = mlp(Tensor(test_x)).numpy()
    columns = mlp.parameters()[0]                                           # (512, 144)
    columns.data[...] = columns.data[:, order]
    shuffled = mlp(Tensor(test_x.reshape(-1, 144)[:, order])).numpy()
change = np.abs(shuffled - answers).max() / np.abs(answers).max()
lesson.claim("MLP: pixels and weights shuffled, change of answers", change, "<=", 1e-5, row="E03", kind="E")

# %% [markdown]
# ## What did it find?
#
# Hubel and Wiesel (1959) found cells in the eye's cortex that answer to a bar or an edge of one direction at one place. A Gabor
# function draws such a cell: a wave of one direction under a bell,
#
#     exp(-(u^2 + r^2 v^2) / (2 s^2)) cos(2 pi u / length + phase),      (u, v) the place seen from the bell's, turned.
#
# Nobody told our network. How well does the best of some Gabors fit each of its 16 filters, as a correlation? Filters of random
# numbers say what is found where nothing is: with so many Gabors to choose from, quite a bit.

# %%
def gabors(size):
    """Gabors of 12 directions, 4 lengths, 2 widths, 2 ratios, 8 phases, 9 places: (M, size, size), mean 0 and length 1."""
    row, line = np.mgrid[:size, :size] - (size - 1) / 2
    turns, phases = np.arange(12) * math.pi / 12, np.arange(8) * math.pi / 8
    waves = []
    for dy, dx, angle, s, r in itertools.product((-1, 0, 1), (-1, 0, 1), turns, (1, 2), (0.5, 1)):
        u = (line - dx) * math.cos(angle) + (row - dy) * math.sin(angle)
        v = (row - dy) * math.cos(angle) - (line - dx) * math.sin(angle)
        bell = np.exp(-(u ** 2 + (r * v) ** 2) / (2 * s ** 2))
        waves += [bell * np.cos(2 * math.pi * u / length + phase) for length in (3, 4, 6, 8) for phase in phases]
    return unit(np.array(waves))

def unit(filters):
    """(M, K, K), each less its mean and divided by its length."""
    filters = filters - filters.mean(axis=(1, 2), keepdims=True)
    return filters / np.sqrt((filters ** 2).sum(axis=(1, 2), keepdims=True))

def closest(filters):
    """For each filter (16, 5, 5) its correlation with the Gabor that fits best, up to the sign, and that Gabor."""
    waves = gabors(filters.shape[1])
    fit = unit(filters).reshape(len(filters), -1) @ waves.reshape(len(waves), -1).T        # (16, M)
    best = np.abs(fit).argmax(axis=1)
    fit = fit[np.arange(len(fit)), best]
    return np.abs(fit), waves[best] * np.sign(fit)[:, None, None]

learned = networks["anywhere"][0]
filters = learned.conv1.weight.detach().numpy()[:, 0]
correlation, wave = closest(filters)
chance, _ = closest(rng.standard_normal((300, 5, 5)))
lesson.claim("learned filters: median correlation with a Gabor", np.median(correlation), ">=", 0.7, row="E02", kind="O",
             baseline=np.median(chance), oracle=1)

# %% [markdown]
# ## The real thing
#
# The digits above come with the library. MNIST (1998) and Fashion-MNIST (2017) do not: `--data FOLDER` says where they lie, and
# a file that is not byte for byte the published one is refused. The same loop and LeNet, a little wider, read MNIST after one
# pass over its 60,000 pictures, and clothes after two.

# %%
published = b"as published"
try:
    check_bytes(b"as publishef", "a file with one wrong bit", len(published), hashlib.sha256(published).hexdigest())
    refused = False
except DataError:
    refused = True
lesson.claim("a file with one wrong bit is refused", refused, "==", True, row="X06", kind="E")

def real(load, epochs):
    """Test accuracy of LeNet after some passes over a real set."""
    (x, y), (test_x, test_y) = load("train", lesson.data), load("test", lesson.data)
    mean, deviation = x.mean(), x.std()
    model = train(LeNet(widths=(16, 32)), (x[:, None] - mean) / deviation, y, lesson.pick(epochs, 1), lr=2e-3, weight_decay=0.0,
                  batch_size=64)
    return score(model, (test_x[:, None] - mean) / deviation, test_y)

if lesson.data is not None:
    lesson.claim("MNIST: LeNet after one epoch", real(load_mnist, 1), ">=", 0.985, row="X06", kind="O", oracle=0.9905)
    lesson.claim("Fashion-MNIST: LeNet after two epochs", real(load_fashion_mnist, 2), ">=", 0.88, row="X06", kind="O")

# %%
if lesson.draws:
    figure, axes = panels(2, 2, size=(14, 8.4))
    strength, angle = np.hypot(*edges), np.arctan2(edges[1], edges[0])
    wheel = np.stack([(1 + np.cos(angle + shift)) / 2 for shift in (0, 2 * math.pi / 3, 4 * math.pi / 3)], axis=-1)
    grey = [np.repeat((part - part.min())[..., None] / np.ptp(part), 3, axis=-1) for part in (disc, *edges)]
    show_grid(np.array([*grey, wheel * (strength / strength.max())[..., None]]), columns=2, axes=axes[0, 0],
              titles=["disc", "left to right", "top to bottom", "direction as colour"], title="An edge of every direction")
    plot_curves({name: (list(moves), values) for name, values in right.items()}, "pixels moved", "test accuracy",
                axes=axes[0, 1], title="A digit is moved, the network was not told")
    axes[0, 1].set_xticks(list(moves))
    order = np.argsort(-correlation)
    show_grid({"learned": unit(filters)[order[:8]], "Gabor": wave[order[:8]], " learned": unit(filters)[order[8:]],
               " Gabor": wave[order[8:]]}, axes=axes[1, 0], title="Filters of the first layer, best fit first")
    with no_grad():
        first, last = (maps.numpy()[0] for maps in learned.maps(Tensor(test_x[:1])))
    loudest = np.argsort(-last.max(axis=(1, 2)))[:8]
    show_grid({"picture": test_x[0] / test_x.max(), "first layer": first[order[:8]] / first.max(),
               "last layer": last[loudest] / last.max()}, axes=axes[1, 1], title="Where each filter answers to a digit")
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Leave out the line that makes the first filters small. Do they still look like Gabors, and does the network read as well?
# - Move the digits by half a pixel (the mean of two neighbours). Which network minds?
# - LeNet with 1, 2, 4 times as many channels: which of the three networks needs its size?
