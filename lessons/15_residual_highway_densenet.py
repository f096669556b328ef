"""Lesson 15: Deep networks that are not worse

Lesson 14 made networks better by making them deeper. That ends soon: with thirty-six layers a plain network is worse than with
six, and not because it learned its pictures by heart; it is worse on the very pictures it is trained on. The weights start at
the right size (lesson 06), every layer is normalized (lesson 11), and still. Yet the deep network could do what the shallow
one does, if only its other layers did nothing. Doing nothing turns out to be hard to learn for a layer that computes
everything anew.

Three answers, all of 2015 and 2016, differ in what a layer does with its input. It may *add* to it (residual networks), *gate*
it (highway networks), or *write next to it* (dense networks). You will see a deep network that is exactly its first and last
layer; where the gradient goes in a plain one; how far a gate must be closed for fifty layers; and a dense network that reads
as well as a residual one of more than twice its weights. With `--data`: photographs, CIFAR-10.

Papers: He, Zhang, Ren & Sun 2015, arXiv:1512.03385 (published: CIFAR-10 error 8.75 % with 20 layers, 6.43 % with 110; 3.57 %
top-5 on ImageNet, an ensemble); Srivastava, Greff & Schmidhuber 2015, 1505.00387 (published: up to 900 layers trained); Huang,
Liu, van der Maaten & Weinberger 2016, 1608.06993 (published: CIFAR-10 error 3.46 %).
"""
# %%
import math

import numpy as np

from tinygrad_edu import Tensor, functional as F, no_grad, optim
from tinygrad_edu.data import batches, load_cifar10, load_digits
from tinygrad_edu.data.transforms import crop, pad
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import accuracy, running_mean
from tinygrad_edu.models.vision.densenet import DenseNet
from tinygrad_edu.models.vision.highway import Highway
from tinygrad_edu.models.vision.resnet import ResNet
from tinygrad_edu.viz import panels, plot_curves

lesson = Lesson("15_residual_highway_densenet", real_data="CIFAR-10")
rng = np.random.default_rng(lesson.seed)
(x, labels), (test_x, test_labels) = load_digits("train"), load_digits("test")
test_x, test_labels = test_x[: lesson.pick(None, 40)], test_labels[: lesson.pick(None, 40)]
x, test_x = ((images[:, None] - 0.305) / 0.376 for images in (x, test_x))       # (N, 1, 8, 8), mean 0, variance 1

# %% [markdown]
# ## One loop for all
#
# Gradient descent with momentum, as in all three papers; the learning rate falls to 0 along a cosine.

# %%
def train(model, stream, steps, lr=0.1, longest=math.inf):
    """Returns the loss of every step. Gradients longer than `longest` are cut to this length."""
    optimizer, losses = optim.SGD(model.parameters(), lr=lr, momentum=0.9, weight_decay=1e-4), []
    for step in lesson.progress(range(steps), type(model).__name__):
        optimizer.param_groups[0]["lr"] = lr * (1 + math.cos(math.pi * step / steps)) / 2
        inputs, targets = next(stream)
        loss = F.cross_entropy(model.train()(inputs), targets)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), longest)
        optimizer.step()
        losses.append(loss.item())
    return losses

def digits(batch_size=32, flat=False):
    while True:
        yield from batches(x.reshape(len(x), -1) if flat else x, labels, batch_size=batch_size, drop_last=True)

def score(model, x, labels, at_once=250):
    """Accuracy on pictures that were not trained on."""
    with no_grad():
        parts = [model.eval()(Tensor(x[i : i + at_once])).numpy() for i in range(0, len(x), at_once)]
    return accuracy(np.concatenate(parts), labels)

def ending(losses):
    """The mean of the last 20 losses."""
    return np.mean(losses[-20:])

# %% [markdown]
# ## Adding
#
# A residual block computes what to add to its input: x + f(x). If f is 0, the block does nothing, and 0 is the easiest thing
# to compute. The scale of its last batch norm decides how large f is; set it to 0, and the block *is* the identity (its input
# is not negative, so the relu after the sum does not mind). Do so everywhere, and a network of 38 layers is its first layer
# and its last one, to the bit. A plain block with the same scale passes nothing on at all.

# %%
WIDTHS = (8, 16, 32)

def silent(skips):
    """A network of 38 layers in which every block's scale is 0."""
    model = ResNet(6, 10, 1, WIDTHS, skips=skips)
    for block in model.layer1 + model.layer2 + model.layer3:
        block.bn2.weight.data[...] = 0
    return model

deep, plain, some = silent(skips=True), silent(skips=False), Tensor(test_x[:20])
with no_grad():
    first = F.relu(deep.bn1(deep.conv1(some)))                              # (20, 8, 8, 8)
    lesson.claim("block of scale 0: output - input", abs(deep.layer1[0](first) - first).max(), "==", 0, row="E06", kind="E",
                 baseline=abs(plain.layer1[0](first) - first).max())
    thinned = F.pad(first[:, :, ::4, ::4], (0, 0, 0, 0, 12, 12))            # (20, 32, 2, 2): every fourth pixel, zeros around
    shallow = deep.linear(thinned.mean(axis=(2, 3)))
    lesson.claim("38 layers of scale 0 - the first and the last layer", abs(deep(some) - shallow).max(), "==", 0, row="E06",
                 kind="E", baseline=abs(plain(some) - shallow).max())

# %% [markdown]
# Before any training: how large is the gradient of each convolution? In the plain network it grows on its way down from layer
# to layer (bottom left of the figure): a relu takes half of the variance away, and the batch norm after it divides by what
# is left, forward and backward. For wide layers the factor is sqrt(pi / (pi - 1)) = 1.21 a layer (Yang et al. 2019,
# arXiv:1902.08129), a thousand for 36; ours are narrow, and it is thirty to a hundred. No learning rate suits them all. In
# the residual network most of the gradient comes down through the sums.

# %%
def gradients(model):
    """The length of the gradient in each convolution of the blocks, the first divided by the last."""
    F.cross_entropy(model(Tensor(x[:200])), labels[:200]).backward()
    lengths = [math.sqrt((p.grad.data ** 2).sum()) for p in model.parameters() if p.ndim == 4][1:]
    model.zero_grad()
    return np.array(lengths) / lengths[-1]

DEPTHS, steps = (8, 20, 38), lesson.pick(150, 1)
losses, slopes, right, weights = {}, {}, {}, {}
print("  layers  network    loss at the end   test accuracy")
for depth in DEPTHS:
    for name, skips in (("plain", False), ("residual", True)):
        model = ResNet((depth - 2) // 6, 10, 1, WIDTHS, skips=skips)
        slopes[name, depth] = gradients(model)
        losses[name, depth] = train(model, digits(), steps)
        right[name, depth], weights[name, depth] = score(model, test_x, test_labels), model.num_parameters()
        print(f"  {depth:6d}  {name:<9} {ending(losses[name, depth]):16.4f} {right[name, depth]:15.3f}")

lesson.claim("plain, 38 layers: gradient of the first, the last's is 1", slopes["plain", 38][0], ">=", 20, row="E06", kind="C",
             baseline=slopes["residual", 38][0])
final = {key: ending(curve) for key, curve in losses.items()}
lesson.claim("38 layers: the plain network's loss, the residual's is 1", final["plain", 38] / final["residual", 38], ">=", 2,
             row="E06", kind="C", baseline=1)
lesson.claim("plain: the loss of 38 layers, that of 8 is 1", final["plain", 38] / final["plain", 8], ">=", 10, row="E06",
             kind="C", baseline=final["residual", 38] / final["residual", 8])

# %% [markdown]
# ## A gate
#
# The LSTM keeps what it knows by a gate, from one time to the next. The highway network, half a year before the residual
# one, does the same from one layer to the next: t(x), between 0 and 1, says for each feature how much of it is computed anew,
#
#     t relu(W x + b) + (1 - t) x,        t = sigmoid(W' x + b').
#
# Let b' start below 0, and the gates start nearly closed: with b' = -2 they carry 1 - sigmoid(-2) = 0.88 of the input through.

# %%
flat_test = test_x.reshape(-1, 64)

def openings(model):
    """The mean of t in each layer, over the test digits."""
    found, h = [], F.relu(model.enter(Tensor(flat_test)))
    for layer in model.layers:
        found.append(layer.transform(h).mean().item())
        h = layer(h)
    return np.array(found)

with no_grad():
    carried = {gate_bias: 1 - openings(Highway(64, 10, gate_bias=gate_bias)).mean() for gate_bias in (-2.0, 0.0)}
lesson.claim("gate bias -2: share carried at the start", carried[-2.0], ">=", 0.85, row="E07", kind="O", baseline=carried[0.0],
             oracle=1 - 1 / (1 + math.exp(2)))

# %% [markdown]
# Is that enough? For ten layers: of the input 0.88^10 = 28 % arrive at the top. For fifty it is 0.2 %, and what the layers put
# in its place has little to do with the input yet. If each of L layers carries 1 - 1/L, then (1 - 1/L)^L = 1/e arrives,
# however many there are; the bias for that is -ln(L - 1), -3.9 for fifty. (The paper, too, takes lower biases for deeper
# networks.) Gradients longer than 1 are cut to length 1, for all three, or some end in NaN.

# %%
biases = {"plain": None, "bias -2": -2.0, "bias -ln(L - 1)": -math.log(50 - 1)}
for name, gate_bias in biases.items():
    model = Highway(64, 10, width=50, depth=50, gates=False) if gate_bias is None else Highway(64, 10, 50, 50, gate_bias)
    losses[name, 50] = train(model, digits(64, flat=True), lesson.pick(200, 1), lr=0.05, longest=1.0)
    right[name, 50] = score(model, flat_test, test_labels)
    print(f"  {50:6d}  {name:<16} {ending(losses[name, 50]):9.4f} {right[name, 50]:15.3f}")

deepest = "bias -ln(L - 1)"
lesson.claim("50 highway layers: test accuracy", right[deepest, 50], ">=", 0.90, row="E07", kind="C",
             baseline=right["plain", 50])
lesson.claim("50 plain layers: loss, the highway's is 1", ending(losses["plain", 50]) / ending(losses[deepest, 50]), ">=", 2,
             row="E07", kind="C", baseline=1)
lesson.claim("50 highway layers of bias -2: the same", ending(losses["bias -2", 50]) / ending(losses[deepest, 50]), ">=", 2,
             row="E07", kind="C", baseline=1)

with no_grad():
    opened = openings(model)                                                # of the last one, which has learned

# %% [markdown]
# ## Writing next to it
#
# A sum mixes: what block 3 found is in the maps that block 9 reads, but so is all that came after it. A dense layer
# does not add its answer, it appends it. It reads every map that was made before it in its block, and makes `growth` = k new
# ones: k0 + k l channels after l layers. What was found once can be read by everybody, so nobody finds it again, and eight
# new maps a layer are enough. Here is the counting, layer by layer, and the old maps are still there, to the bit.

# %%
dense = DenseNet((3, 3, 3), growth=8, classes=10, channels=1, width=16, compression=0.5)
miscounted, lost = 0, 0.0
with no_grad():
    h = dense.conv1(some)
    for i, block in enumerate(dense.blocks):
        h = dense.transitions[i - 1](h) if i else h
        start = h
        for l, layer in enumerate(block, 1):
            h = layer(h)
            miscounted += h.shape[1] != start.shape[1] + 8 * l
        lost = max(lost, abs(h[:, : start.shape[1]] - start).max().item())
lesson.claim("DenseNet: layers without k0 + k l channels", miscounted, "==", 0, row="E08", kind="E")
lesson.claim("DenseNet: change of old maps through a block", lost, "==", 0, row="E08", kind="E")

# %% [markdown]
# Against the residual network of 20 layers. And is it the writing, or would any network of that size do? A residual network
# with five, ten and twenty channels instead of 8, 16 and 32 is about as large as the dense one.

# %%
thin = ResNet(3, 10, 1, (5, 10, 20))
sizes, accuracies = {"residual": weights["residual", 20]}, {"residual": right["residual", 20]}
for name, model in (("dense", dense), ("thin residual", thin)):
    train(model, digits(), steps)
    sizes[name], accuracies[name] = model.num_parameters(), score(model, test_x, test_labels)
for name in sizes:
    print(f"  {name:<14} {sizes[name]:7d} weights   test accuracy {accuracies[name]:.3f}")
more = {name: 100 * (value - accuracies["residual"]) for name, value in accuracies.items()}
lesson.claim("DenseNet: points of accuracy beyond the ResNet", more["dense"], ">=", -1, row="E08", kind="C",
             baseline=more["thin residual"])
lesson.claim("DenseNet: points of accuracy beyond the thin ResNet", more["dense"] - more["thin residual"], ">", 0, row="E08",
             kind="C", baseline=0)
lesson.claim("DenseNet: weights, the ResNet's are 1", sizes["dense"] / sizes["residual"], "<=", 0.5, row="E08", kind="S",
             baseline=1)

# %% [markdown]
# ## The real thing
#
# CIFAR-10: photographs of ten things, 32 x 32 (`--data FOLDER`; of the subset, 4,000 to learn from and 1,000 to be tested on).
# Logistic regression gets 36 % of them right; eight layers with skips got 57 % (seed 0). Four neighbouring pixels become four
# times as many channels of one (`pixel_unshuffle`): nothing is lost, and a quarter of the places is left to compute. Each
# picture is moved by up to two pixels and mirrored at random, so that 4,000 seem more.

# %%
def photographs(x, labels, batch_size=64):
    larger = pad(x, 2)
    while True:
        for chosen, targets in batches(np.arange(len(x)), labels, batch_size=batch_size, drop_last=True):
            top, left = rng.integers(0, 5, (2, batch_size))
            inputs = crop(larger[chosen.numpy()], top, left, 32)
            mirrored = rng.random(batch_size) < 0.5
            inputs[mirrored] = inputs[mirrored, :, :, ::-1]
            yield Tensor(F.pixel_unshuffle(inputs, 2)), targets             # (B, 12, 16, 16)

if lesson.data is not None:
    (photos, things), (new_photos, new_things) = load_cifar10("train", lesson.data), load_cifar10("test", lesson.data)
    mean, deviation = (f(photos, axis=(0, 2, 3), keepdims=True) for f in (np.mean, np.std))
    photos, new_photos = (photos - mean) / deviation, (new_photos - mean) / deviation
    reader = ResNet(1, 10, 12)
    train(reader, photographs(photos, things), lesson.pick(800, 1))
    lesson.claim("CIFAR-10: ResNet-8, test accuracy", score(reader, F.pixel_unshuffle(new_photos, 2), new_things), ">=", 0.50,
                 row="E06", kind="O", baseline=0.359)

# %%
if lesson.draws:
    figure, axes = panels(2, 3, size=(15, 8.4))
    plot_curves({name: (DEPTHS, [ending(losses[name, depth]) for depth in DEPTHS]) for name in ("plain", "residual")}, "layers",
                "training loss", "y", axes=axes[0, 0], title="Deeper is worse, unless something passes around")
    axes[0, 0].set_xticks(DEPTHS)
    shown = (("plain", 38), ("residual", 38), ("plain", 8))
    plot_curves({f"{name}, {depth}": running_mean(losses[name, depth], 10) for name, depth in shown}, "step", "training loss",
                axes=axes[0, 1], title="8 and 38 layers learn to read")
    layers = np.arange(1, 37)
    curves = {"plain": slopes["plain", 38], "residual": slopes["residual", 38], "1.21 a layer": 1.21 ** (36 - layers)}
    plot_curves({name: (layers, curve) for name, curve in curves.items()}, "layer", "gradient, the last layer's is 1", "y",
                axes=axes[1, 0], title="The gradient before training, 38 layers")
    plot_curves({name: running_mean(losses[name, 50], 10) for name in biases}, "step", "training loss", axes=axes[1, 1],
                title="Fifty layers without normalization")
    plot_curves({"at the start": np.full(50, 1 / 50), "after training": opened}, "layer", "share computed anew",
                axes=axes[0, 2], title="How far each gate has opened")
    for name in sizes:
        axes[1, 2].plot(sizes[name], accuracies[name], "o", markersize=9)
        axes[1, 2].annotate(name, (sizes[name], accuracies[name]), (0, -17 if name == "thin residual" else 9),
                            textcoords="offset points", ha="center")
    axes[1, 2].set(xlim=(0, 80_000), xticks=range(0, 80_001, 20_000), xlabel="weights", ylabel="test accuracy")
    axes[1, 2].margins(y=0.3)
    axes[1, 2].set_title("What is written down is not learned twice", loc="left", fontsize=11)
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Begin the 38 layers as the identity (`bn2.weight` 0) and train. Is it faster at the start, and at the end?
# - Give the plain network of 38 layers a tenth of the learning rate. Which layers learn now?
# - Let a trained dense layer forget: set its weights for the maps of one earlier layer to 0. Which layers are still read?
#
# Lesson 16 takes what such a network has learned to a task it was not trained for.
