"""Lesson 11: Normalization

Lesson 06 put the activations of every layer on the right scale, once, before the first step. Nothing holds them there. As the
weights learn, each layer finds its inputs shifted and stretched by all the layers below, and the remedy so far was patience: a
small learning rate (lessons 08 and 09), small weights (lesson 10). Normalization puts the scale back inside every layer and every
step. Its variants differ in one thing only: over which numbers mean and variance are taken.

You will see fifteen layers train at ten times the learning rate that destroys them without it; why the backward pass of a
normalized layer is orthogonal to two directions; batch norm vanish into the convolution before it; batch norm break down with
batches of two, where group norm does not mind; and what RMSNorm saves by leaving the mean alone.

Papers: Ioffe & Szegedy 2015, arXiv:1502.03167 (published: 14 times fewer steps; 4.82 % top-5 error, an ensemble); Ba, Kiros & Hinton
2016, 1607.06450; Ulyanov, Vedaldi & Lempitsky 2016, 1607.08022; Wu & He 2018, 1803.08494 (published: at batch 2, 10.6 % lower
error than batch norm); Zhang & Sennrich 2019, 1910.07467 (published: 7-64 % less time).
"""
# %%
import math
import time

import numpy as np

from tinygrad_edu import Tensor, functional as F, no_grad, optim, randn
from tinygrad_edu.autograd import grad
from tinygrad_edu.backend import ignore_float_errors, to_numpy
from tinygrad_edu.data import batches, load_digits
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import accuracy, running_mean
from tinygrad_edu.nn import (AdaptiveAvgPool2d, BatchNorm1d, BatchNorm2d, Conv2d, Flatten, GroupNorm, InstanceNorm2d, Linear,
                             ReLU, Sequential, init)
from tinygrad_edu.viz import panels, plot_curves

lesson = Lesson("11_normalization")
(images, labels), (test_images, test_labels) = load_digits("train"), load_digits("test")        # (1437, 8, 8), (360, 8, 8)

# %% [markdown]
# ## Batch normalization in five lines
#
# Take one feature and look at its values over the batch. Subtract their mean, divide by their standard deviation. What the
# layer would like them to be instead, it may learn: a scale and a shift. In evaluation there is no batch, so running averages
# of the training batches' statistics serve; then the layer is a fixed line, a x + b, for each feature.

# %%
def batch_norm_by_hand(x, scale, shift, eps=1e-5):
    """x (N, C, H, W), one scale and one shift for each channel."""
    mean = x.mean(axis=(0, 2, 3), keepdims=True)                                # (1, C, 1, 1)
    variance = (x - mean).square().mean(axis=(0, 2, 3), keepdims=True)
    return (x - mean) / (variance + eps).sqrt() * scale.reshape(1, -1, 1, 1) + shift.reshape(1, -1, 1, 1)

def difference(a, b):
    """The greatest difference of two arrays or Tensors."""
    return abs(a - b).max().item()

x = 3 + 5 * randn(16, 6, 8, 8, dtype="float64")
scale, shift = randn(6, dtype="float64"), randn(6, dtype="float64")
lesson.claim("batch norm by hand and the library's, difference", difference(batch_norm_by_hand(x, scale, shift),
             F.batch_norm(x, scale, shift)), "<=", 1e-12, row="D07", kind="E")
y = F.batch_norm(x, eps=1e-12)
lesson.claim("batch norm: largest |mean| or |variance - 1| of a channel", max(abs(y.mean(axis=(0, 2, 3))).max().item(),
             abs(y.var(axis=(0, 2, 3)) - 1).max().item()), "<=", 1e-6, row="D07", kind="E", baseline=abs(x.var() - 1).item())

# %% [markdown]
# ## Ten times the learning rate
#
# Fifteen layers, He's weights, plain gradient descent. First without normalization, at a learning rate that suits it and at
# ten times that; then with a batch norm after every linear layer, at the large one. Without it, what one step does to layer 3
# is multiplied by every layer above. With it, a layer whose weights grow by a factor gives the same output as before: the
# normalization divides the factor out, and the gradient with it. Large weights slow themselves down.

# %%
def deep(norm, depth=15, width=64):
    """`depth` linear layers, each followed by norm(width) if there is one, and ReLU; then ten answers."""
    layers = [Flatten()]
    for _ in range(depth):
        linear = Linear(64 if len(layers) == 1 else width, width)
        init.kaiming_normal_(linear.weight, nonlinearity="relu"), init.zeros_(linear.bias)
        layers += [linear] + ([norm(width)] if norm else []) + [ReLU()]
    return Sequential(*layers, Linear(width, 10))

def train(net, data, targets, epochs, batch_size, lr):
    """Plain gradient descent on the cross-entropy; returns the loss of every step."""
    optimizer, losses = optim.SGD(net.parameters(), lr=lr), []
    for _ in lesson.progress(range(epochs), "training"):
        for inputs, classes in batches(data, targets, batch_size=batch_size, drop_last=True):
            loss = F.cross_entropy(net(inputs), classes)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    return losses

def test_accuracy(net, data):
    with no_grad():
        return accuracy(net.eval()(Tensor(data)), test_labels)

def preactivations(net):
    """What every ReLU of `net` is given for the training digits, normalized as in training: a list of (1437, width)."""
    found = []
    handles = [layer.register_forward_hook(lambda module, inputs, output: found.append(to_numpy(inputs[0].data)))
               for layer in net if isinstance(layer, ReLU)]
    with no_grad():
        net.train()(Tensor(images))
    for handle in handles:
        handle.remove()
    return found

pixels, test_pixels = ((p[:, None] - 0.305) / 0.376 for p in (images, test_images))         # (N, 1, 8, 8), mean 0, variance 1
epochs, small, large = lesson.pick(15, 1), 0.05, 0.5
plain, hasty, normalized = deep(None), deep(None), deep(BatchNorm1d)
before = preactivations(plain)
with ignore_float_errors():                                                     # one of them diverges, which is the point
    runs = {f"none, rate {small}": train(plain, pixels, labels, epochs, 64, small),
            f"none, rate {large}": train(hasty, pixels, labels, epochs, 64, large),
            f"batch norm, rate {large}": train(normalized, pixels, labels, epochs, 64, large)}
    after = {"none": preactivations(plain), "batch norm": preactivations(normalized)}
    scores = [test_accuracy(net, test_pixels) for net in (plain, hasty, normalized)]
for name, score in zip(runs, scores):
    print(f"  {name:<22} loss {np.mean(runs[name][-10:]):8.3g}   test accuracy {score:.3f}")
lesson.claim("15 layers at 10 x the rate: test accuracy with batch norm", scores[2], ">=", 0.9, row="D07", kind="C",
             baseline=scores[1])
lesson.claim("15 layers at 10 x the rate: test accuracy without", scores[1], "<=", 0.2, row="D07", kind="C", baseline=scores[0])

# %% [markdown]
# ## Folded away
#
# In evaluation batch norm is a line for each channel, and the convolution before it is linear. A line after a linear map is
# a linear map: multiply the kernel by scale / sqrt(variance + eps), put the rest into the bias, and the layer is gone.

# %%
def fold(conv, norm):
    """The convolution that does what `conv` and then `norm`, in evaluation, do."""
    folded = Conv2d(conv.in_channels, conv.out_channels, conv.kernel_size, padding=conv.padding)
    factor = norm.weight.detach() / (norm.running_var + norm.eps).sqrt()                        # (O,)
    folded.weight.data = (conv.weight.detach() * factor.reshape(-1, 1, 1, 1)).data
    folded.bias.data = ((conv.bias.detach() - norm.running_mean) * factor + norm.bias.detach()).data
    return folded

pair = Sequential(Conv2d(1, 8, 3, padding=1), BatchNorm2d(8))
optimizer = optim.SGD(pair.parameters(), lr=0.1)
for inputs in batches(pixels, batch_size=64):
    loss = (pair(inputs) - 1).square().mean()                                   # any loss: the scales shall not stay 1
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
pair.double()                                                                   # to see more than rounding
with no_grad():
    x = Tensor(test_pixels.astype("float64"))
    lesson.claim("convolution with batch norm folded in, difference", difference(pair.eval()(x), fold(*pair)(x)), "<=", 1e-6,
                 row="D07", kind="E", baseline=difference(pair(x), pair[0](x)))

# %% [markdown]
# ## Each sample for itself
#
# Layer norm takes mean and variance over the features of one sample. No other sample is involved, training and evaluation
# are the same, and a sequence may be as long as it likes: that is why Transformers use it. Multiply a sample by c > 0, add d
# to all its features, and the output does not move. Then the derivative in these two directions must be 0: the gradient is
# orthogonal to (1, .., 1) and to the input's own direction, x_hat. In formulas, with g the gradient from above,
#
#     gradient = (g - mean(g) - x_hat mean(g x_hat)) / sigma:        both projections have been taken out.

# %%
x, c, d = randn(32, 50, dtype="float64", requires_grad=True), Tensor(np.array([[0.2], [7.0]] * 16)), 10 * randn(32, 1, dtype="float64")
y = F.layer_norm(x, 50, eps=1e-12)
lesson.claim("layer norm of c x + d against that of x, difference", difference(F.layer_norm(c * x + d, 50, eps=1e-12), y),
             "<=", 1e-6, row="D08", kind="E", baseline=difference(c * x + d, x))
(gradient,) = grad(y, x, randn(32, 50, dtype="float64"))
length = gradient.square().sum(axis=1).sqrt()
shares = [abs((gradient * v).sum(axis=1) / length / math.sqrt(50)).max().item() for v in (np.ones(50), y.detach())]
lesson.claim("its gradient: cosine with (1, .., 1) or x_hat, largest", max(shares), "<=", 1e-6, row="D08", kind="E")

# %% [markdown]
# ## Groups of channels
#
# For pictures there is a scale between the two. Group norm takes the statistics of each picture over a group of channels and
# all its pixels. One group is layer norm over everything; as many groups as channels is instance norm, which knows only one
# channel of one picture. Instance norm forgets the contrast and the brightness of a picture, which is what painters of style want.

# %%
x = randn(4, 6, 5, 5, dtype="float64")
lesson.claim("group norm, 1 group, against layer norm, difference", difference(F.group_norm(x, 1), F.layer_norm(x, (6, 5, 5))),
             "<=", 1e-12, row="D09", kind="E")
lesson.claim("group norm, C groups, against instance norm, difference", difference(F.group_norm(x, 6), F.instance_norm(x)),
             "<=", 1e-12, row="D09", kind="E")
shown = images[:8, None].astype("float64")                                      # (8, 1, 8, 8)
contrast, light = np.random.default_rng(lesson.seed).uniform((0.1, 0.0), (1.0, 0.5), (8, 2)).T.reshape(2, 8, 1, 1, 1)
restyled = contrast * shown + light
stylized = InstanceNorm2d(1, eps=1e-12)
lesson.claim("instance norm: another contrast in each picture, difference", difference(stylized(Tensor(restyled)),
             stylized(Tensor(shown))), "<=", 1e-6, row="D10", kind="E", baseline=difference(restyled, shown))

# %% [markdown]
# ## A batch of two
#
# Large pictures leave room for one or two in memory. Then batch norm's mean and variance are those of two pictures, a
# different pair in every step: noise, and in evaluation the averages do not fit. In the linear layers above it would be worse
# still: two numbers, normalized, are -1 and 1 whatever they were. Group norm does not look at the batch at all.

# %%
def conv_net(norm):
    """Three convolutions, 8 x 8 -> 8 x 8 -> 4 x 4 -> 2 x 2, norm(channels) after each, the mean of the pixels, ten answers."""
    layers = []
    for C, O, stride in ((1, 16, 1), (16, 32, 2), (32, 64, 2)):
        layers += [Conv2d(C, O, 3, stride, padding=1, bias=False), norm(O), ReLU()]
    return Sequential(*layers, AdaptiveAvgPool2d(1), Flatten(), Linear(64, 10))

two = F.batch_norm(Tensor([[0.3, -5.0], [0.31, 90.0]]), eps=1e-12).numpy()
print(f"batch norm of the pairs (0.3, 0.31) and (-5, 90): {two[:, 0].round(3)} and {two[:, 1].round(3)}")
some = lesson.pick(700, 60)
pairs, pair_scores = {}, {}
for name, norm in {"batch norm": BatchNorm2d, "group norm": lambda channels: GroupNorm(4, channels)}.items():
    net = conv_net(norm)
    pairs[name] = train(net, pixels[:some], labels[:some], lesson.pick(4, 1), 2, 0.02)
    pair_scores[name] = test_accuracy(net, test_pixels)
    print(f"  batch 2, {name}: loss {np.mean(pairs[name][-200:]):.3f}, test accuracy {pair_scores[name]:.3f}")
lesson.claim("batch 2: training loss at the end, group norm / batch norm",
             np.mean(pairs["group norm"][-200:]) / np.mean(pairs["batch norm"][-200:]), "<=", 0.5, row="D09", kind="C")

# In evaluation batch norm is saved: its running averages are over hundreds of pairs, and good. On pictures as easy as these it
# reads as many right as group norm, after training that saw everything through a haze.

# %% [markdown]
# ## Without the mean
#
# RMSNorm divides by the root mean square and does not subtract the mean first: one statistic less on the way up, one less on
# the way back. On inputs whose mean is 0 it is layer norm.

# %%
x = randn(32, 50, dtype="float64")
centred = x - x.mean(axis=1, keepdims=True)
lesson.claim("RMSNorm and layer norm of inputs of mean 0, difference", difference(F.rms_norm(centred, 50, eps=1e-5),
             F.layer_norm(centred, 50)), "<=", 1e-12, row="D11", kind="E", baseline=difference(F.rms_norm(x, 50), F.layer_norm(x, 50)))

def seconds(norm, x, g):
    start = time.perf_counter()
    norm(x).backward(g)
    x.zero_grad()
    return time.perf_counter() - start

x, weight, bias = (randn(*shape, requires_grad=True) for shape in ((256, 512), (512,), (512,)))
g = randn(256, 512).data
both = [(seconds(lambda x: F.layer_norm(x, 512, weight, bias), x, g), seconds(lambda x: F.rms_norm(x, 512, weight), x, g))
        for _ in range(lesson.pick(300, 10))]                                    # in turn, so that both meet the same neighbours
layer_time, rms_time = np.median(both, axis=0)
print(f"forward and backward of 256 x 512: layer norm {1000 * layer_time:.2f} ms, RMSNorm {1000 * rms_time:.2f} ms")
lesson.claim("RMSNorm: share of layer norm's time", rms_time / layer_time, "<", 1, row="D11", kind="C")

# %%
def draw_histograms(axes, layers, title):
    """The preactivations of every second layer, one histogram above the other."""
    bins = np.linspace(-6, 6, 121)
    for i, values in enumerate(layers[::2]):
        heights = np.histogram(values, bins, density=True)[0]
        heights = heights / max(heights.max(), 1e-9)
        axes.fill_between((bins[1:] + bins[:-1]) / 2, i, i + 0.9 * heights, color=f"C{i}", alpha=0.7, linewidth=0)
    axes.set(yticks=np.arange(8) + 0.3, yticklabels=range(1, 16, 2), ylabel="layer", xlim=(-6, 6), xlabel="input of ReLU")
    axes.set_title(title, loc="left", fontsize=11)

def drawable(losses, n):
    """The mean of n in a row; what is above 3, or no number any more, is drawn at 3."""
    return running_mean(np.minimum(np.nan_to_num(losses, nan=3.0, posinf=3.0), 3.0), n)

if lesson.draws:
    figure, axes = panels(2, 3, size=(14, 8))
    draw_histograms(axes[0, 0], before, "No normalization, before training")
    draw_histograms(axes[0, 1], after["none"], "No normalization, trained")
    draw_histograms(axes[0, 2], after["batch norm"], "Batch norm, trained")
    plot_curves({name: drawable(losses, 20) for name, losses in runs.items()}, xlabel="step", ylabel="training loss",
                axes=axes[1, 0], title="Fifteen layers")
    axes[1, 0].set_ylim(0, 3.1)
    plot_curves({name: drawable(losses, min(200, len(losses))) for name, losses in pairs.items()}, xlabel="step",
                axes=axes[1, 1], ylabel="training loss", title="Batches of two")
    axes[1, 1].set_ylim(0, 2.5)
    rows = [np.hstack(pictures[:, 0]) for pictures in (shown, restyled, stylized(Tensor(restyled)).numpy() / 4 + 0.3)]
    axes[1, 2].imshow(np.vstack(rows), cmap="gray", vmin=0, vmax=1)
    axes[1, 2].set(yticks=[3.5, 11.5, 19.5], yticklabels=["digits", "restyled", "instance norm"], xticks=[])
    axes[1, 2].grid(False)
    axes[1, 2].set_title("Contrast and light, forgotten", loc="left", fontsize=11)
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Replace `BatchNorm1d` in the fifteen layers by `LayerNorm`. Does the large learning rate still work? Ten times larger still?
# - Train with batch norm at batch 2 and evaluate with `net.train()`. Is it the training that fails, or the running averages?
# - Multiply all weights below a batch norm by 10. What happens to the output, and to the gradient of the weights?
