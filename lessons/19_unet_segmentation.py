"""Lesson 19: A class for every pixel

All networks so far answered with one word for a whole picture, and lesson 18 showed on how little that word may rest. What if
we ask about every pixel: to what does this one belong? Then the network must know two things that pull against each
other. What it is: for that it has to look at a large part of the picture, and the maps of a classifier shrink to see more. And
where it ends, to the pixel: for that nothing may shrink.

The U-Net (2015) shrinks and grows again, and hands each map of the way down across to the way up. You will see what a pixel
alone can know; how the maps grow; a network with and without the connections across, with equally many weights; what a picture
that is moved does to the answer; and what it is worth if the way down has learned to name things before.
Expected: mask IoU above 0.9, and a rim that is far worse without the connections. With `--data`: nuclei of cells.

Papers: Ronneberger, Fischer & Brox 2015, arXiv:1505.04597 (published: IoU 0.92 and 0.78 on two cell tracking sets); Cheng et
al. 2021, 2103.16562 (boundary IoU); Otsu 1979.
"""
# %%
import numpy as np

from tinygrad_edu import Tensor, functional as F, nn, no_grad, optim
from tinygrad_edu.data import batches, load_nuclei
from tinygrad_edu.data.shapes import SHAPE_KINDS, draw_shapes, kind_map, random_shapes
from tinygrad_edu.data.transforms import crop
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import accuracy, boundary_iou, mask_iou
from tinygrad_edu.models.vision.unet import Encoder, UNet
from tinygrad_edu.viz import colors, panels, plot_curves, show_grid

lesson = Lesson("19_unet_segmentation", real_data="the nuclei of the Data Science Bowl 2018")
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## The task
#
# One to three shapes on a dark ground, with noise. For each pixel five answers are possible: ground, circle, square, triangle,
# cross. The colour of a pixel tells whether it belongs to a shape, nearly; but red things come in four kinds.

# %%
def pictures(n, size=32, objects=(1, 3)):
    """Pictures (n, 3, size, size) and for each pixel 0, the ground, or 1 .. 4, its kind: (n, size, size)."""
    scenes = random_shapes(n, size, objects)
    clean = draw_shapes(scenes, size)
    return clean + 0.15 * rng.standard_normal(clean.shape, np.float32), kind_map(scenes, size)

x, kinds = pictures(lesson.pick(2_000, 48))
test_x, test_kinds = pictures(lesson.pick(250, 8))

# %% [markdown]
# ## How good is a mask?
#
# Counting right pixels will not do: nine in ten are ground, and a network that sees nothing is right about these. So compare
# sets: the pixels in both masks over the pixels in either, "intersection over union". The Dice score counts the same pixels
# in another way, 2 both / (one + other) = 2 IoU / (1 + IoU), so they rank masks alike; 1 - Dice can serve as a loss.
#
# A large mask forgives a wrong rim. A square of side s moved by one pixel has IoU (s - 1) / (s + 1), nearly 1 for a large one.
# The *boundary* IoU compares the rims only. Each square's rim has 4 (s - 1) pixels and they share 2 (s - 1): 1/3 for every s.

# %%
side = 15
square, moved = np.zeros((2, 24, 24), bool)
square[2 : 2 + side, 2 : 2 + side] = moved[2 : 2 + side, 3 : 3 + side] = True
iou = mask_iou(square, moved)
lesson.claim("IoU of a square moved by one pixel, minus (s - 1) / (s + 1)", abs(iou - (side - 1) / (side + 1)), "<=", 1e-12,
             row="F01", kind="E")
lesson.claim("its boundary IoU, minus 1/3", abs(boundary_iou(square, moved) - 1 / 3), "<=", 1e-12, row="F01", kind="E")
dice = 1 - F.dice_loss(square[None].astype(float), moved[None].astype(float))
lesson.claim("Dice from its own formula, minus 2 IoU / (1 + IoU)", abs(dice - 2 * iou / (1 + iou)), "<=", 1e-9, row="F01",
             kind="E")

# %% [markdown]
# ## Growing
#
# On the way down pooling keeps one of four pixels. On the way up each pixel becomes a square of four: the pixel's
# channels times one matrix for each corner of the square. That is all a transposed convolution with kernel 2 and stride 2 does;
# it is the adjoint of the convolution that reads such squares (lesson 13).

# %%
def grown(maps, weight, bias):
    """(N, C, H, W) -> (N, O, 2H, 2W), weight (C, O, 2, 2)."""
    N, C, H, W = maps.shape
    squares = np.einsum("nchw,cokl->nohkwl", maps, weight)                  # (N, O, H, 2, W, 2)
    return squares.reshape(N, -1, 2 * H, 2 * W) + bias[:, None, None]

maps, weight, bias = rng.standard_normal((2, 5, 4, 3)), rng.standard_normal((5, 7, 2, 2)), rng.standard_normal(7)
apart = np.abs(grown(maps, weight, bias) - F.conv_transpose2d(maps, weight, bias, stride=2)).max()
lesson.claim("growing by hand and the library's, difference", apart, "<=", 1e-12, row="F01", kind="E")

# %% [markdown]
# The network of the paper puts no border around its maps: each convolution with kernel 3 costs a pixel on every side. So the
# map that is carried across is larger than the one it meets and is cropped, and of 572 pixels 388 get an answer. (Ours
# pads, because small pictures have no pixel to lose.)

# %%
with no_grad():
    answered = UNet(1, 2, (1, 1, 1, 1, 1), padding=0)(Tensor(rng.standard_normal((1, 1, 572, 572), np.float32))).shape[2]
lesson.claim("unpadded, 5 sizes: of 572 pixels a side get an answer", answered, "==", 388, row="F01", kind="S", oracle=388)

# %% [markdown]
# ## Training
#
# The loop of every lesson: cross-entropy, only with a target for each pixel, which the loss does not mind. The learning rate
# stays for one half of the steps and then falls to 0. Every 20 steps we look at the mask IoU of pictures that are not trained
# on, the mean over the four kinds. The ground gets a quarter of the weight: with nine in ten pixels it drowns the rest, and
# for hundreds of steps nothing is learned but where it is (we tried; some seeds never got beyond).
#
# Three networks. One sees a pixel at a time: kernels of 1. The U-Net. And a U-Net without the connections across, a little
# wider, so that it has no fewer weights: what it knows about the rim must come through a map of 8 x 8.

# %%
WEIGHTS = Tensor([0.25, 1.0, 1.0, 1.0, 1.0])

def train(model, stream, steps, lr=4e-3, weight=None, watch=None):
    """Adam; returns what `watch` sees every 20 steps and at the end."""
    optimizer, seen = optim.Adam(model.parameters(), lr=lr), []
    for step in lesson.progress(range(steps), type(model).__name__):
        if watch and step % 20 == 0:
            seen.append(watch(model))
        optimizer.param_groups[0]["lr"] = lr * min(1, 2 * (1 - step / steps))
        inputs, targets = next(stream)
        loss = F.cross_entropy(model.train()(inputs), targets, weight)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return seen + [watch(model)] if watch else seen

def endless(*arrays, batch_size=16):
    while True:
        yield from batches(*arrays, batch_size=batch_size)

def answers(model, x, at_once=50):
    """The class of each pixel, (N, H, W)."""
    with no_grad():
        parts = [model.eval()(Tensor(x[i : i + at_once])).argmax(axis=1).numpy() for i in range(0, len(x), at_once)]
    return np.concatenate(parts)

def score(measure, found, truth):
    """Mean over the kinds of shapes."""
    return np.mean([measure(found == k, truth == k) for k in range(1, 1 + len(SHAPE_KINDS))])

look_x, look_kinds = pictures(lesson.pick(50, 4))
def watch(model):
    return score(mask_iou, answers(model, look_x), look_kinds)

steps, widths = lesson.pick(300, 2), (12, 24, 48)
networks = {"one pixel": nn.Sequential(nn.Conv2d(3, 48, 1), nn.ReLU(), nn.Conv2d(48, 5, 1)),
            "without skips": UNet(3, 5, (13, 26, 52), skips=False), "U-Net": UNet(3, 5, widths)}
curves, found = {}, {}
for name, model in networks.items():
    many = lesson.pick(100, 2) if name == "one pixel" else steps
    curves[name] = train(model, endless(x, kinds), many, weight=WEIGHTS, watch=watch)
    found[name] = answers(model, test_x)
masks, rims = ({name: score(measure, each, test_kinds) for name, each in found.items()} for measure in (mask_iou, boundary_iou))
print("                  weights   mask IoU   boundary IoU")
for name, model in networks.items():
    print(f"  {name:<13} {model.num_parameters():9d} {masks[name]:10.3f} {rims[name]:14.3f}")

lesson.claim("shapes: mask IoU", masks["U-Net"], ">=", 0.90, row="F01", kind="O", baseline=masks["one pixel"], oracle=1)
lesson.claim("without skips: points of boundary IoU lost", 100 * (rims["U-Net"] - rims["without skips"]), ">=", 5, row="F01",
             kind="C", baseline=0)
weights = {name: model.num_parameters() for name, model in networks.items()}
lesson.claim("without skips: weights, the U-Net's are 1", weights["without skips"] / weights["U-Net"], ">=", 1, row="F01",
             kind="S")

# %% [markdown]
# ## A picture that is moved
#
# Every part of the network does the same at every place, so moving the picture should move the answer. Convolutions keep this
# promise for every step, pooling only for steps of two: a move by one pixel puts other pixels together. With two poolings the
# promise holds for every fourth pixel, exactly, and nearly for the others. At the border padding would disturb it; so the
# trained weights go into a network that pads nothing. (A larger picture is no trouble either.)

# %%
model = networks["U-Net"]
unpadded = UNet(3, 5, widths, padding=0)
unpadded.load_state_dict(model.state_dict())
large = Tensor(pictures(1, 64, objects=5)[0])
with no_grad():
    whole = unpadded.eval()(large).numpy()                                  # (1, 5, 24, 24), its size less 40
    change = [np.abs(unpadded(large[:, :, :, by : by + 52]).numpy() - whole[..., by : by + 12]).max() / np.abs(whole).max()
              for by in range(9)]
lesson.claim("moved by 4 or 8 pixels: change of the logits, relative", max(change[4], change[8]), "<=", 1e-5, row="F01",
             kind="E", baseline=min(change[1:4] + change[5:8]))

# %% [markdown]
# ## An encoder that has been to school
#
# Masks are dear: somebody has to draw them. Names are cheap, and here they are free. So let the encoder first learn to name:
# small pictures with one shape each, one word as the answer, the strongest answer of each of the smallest maps (lesson 13).
# Then it becomes the way down of a new U-Net, and everything learns on as before, for 100 steps. Does it get as far as a new
# U-Net does in 200? (The school itself takes 1000 steps, on pictures a quarter as large. They are not counted: they need no
# masks.)
#
# Few steps are a lottery: some runs find a kind of shape late or never. So there are three runs of each, and their mean counts.
# On five seeds the 15 runs after school all came to 0.88 to 0.96; the 15 without school, given 200 steps, to 0.33 to 0.95.
# (School was 250 steps at first, with 60 against 120 after it, and won on two seeds of five. With 1000 and one run it won on
# four. Of three runs the median was tried first: on one seed it was 0.04 below, for it forgives one run that got stuck.)

# %%
class Namer(nn.Module):
    """Pictures (N, 3, H, W) of one shape -> logits of its kind (N, 4)."""

    def __init__(self, widths):
        self.encoder = Encoder(3, widths)
        self.leave = nn.Linear(widths[-1], len(SHAPE_KINDS))

    def forward(self, x):
        return self.leave(self.encoder(x)[-1].max(axis=(2, 3)))

namer = Namer(widths)
(small_x, small_kinds), (new_x, new_kinds) = pictures(lesson.pick(4_000, 40), 16, 1), pictures(lesson.pick(200, 10), 16, 1)
train(namer, endless(small_x, small_kinds.max(axis=(1, 2)) - 1, batch_size=32), lesson.pick(1_000, 2))
with no_grad():
    named = accuracy(namer.eval()(Tensor(new_x)), new_kinds.max(axis=(1, 2)) - 1)

few = lesson.pick(100, 2)
reached = {}
for name, many, schooled in (("no school", few, False), ("no school, twice the steps", 2 * few, False), ("school", few, True)):
    runs = []
    for _ in range(lesson.pick(3, 1)):
        model = UNet(3, 5, widths)
        if schooled:
            model.encoder.load_state_dict(namer.encoder.state_dict())
        curves[name] = train(model, endless(x, kinds), many, weight=WEIGHTS, watch=watch)
        runs.append(score(mask_iou, answers(model, test_x), test_kinds))
    reached[name] = np.mean(runs)
    print(f"  {name:<27} {many:4d} steps   mask IoU " + ", ".join(f"{run:.3f}" for run in sorted(runs)))

print(f"  the encoder from school names {named:.3f} of new shapes")
twice = reached["no school, twice the steps"]
lesson.claim("school, 100 steps: IoU above 200 without", reached["school"] - twice, ">=", 0, row="F02", kind="C",
             baseline=reached["no school"] - twice)

# %% [markdown]
# ## The real thing
#
# 64 photographs of stained nuclei, 256 x 256, each with its masks (`--data FOLDER`). Nuclei glow, so a threshold finds most of
# them. Otsu's rule chooses it for each picture: the one that leaves the least variance within the two groups, that is, the most
# between them. 48 pictures are for training, in crops of 64 x 64, turned over in both directions at random; 16, whole, for
# testing. Each is brought to mean 0 and variance 1, for some glow a hundred times as bright as others. On the 16 the threshold
# has a mean IoU of 0.77, the U-Net 0.83 (seed 0).

# %%
def otsu(image):
    """The level, of 256, between the two groups of pixels whose means are furthest apart, weighed by their sizes."""
    share = np.bincount(np.rint(255 * image).astype(int).ravel(), minlength=256) / image.size
    below, mean_below = share.cumsum(), (share * np.arange(256)).cumsum()   # of the pixels up to each level
    with np.errstate(divide="ignore", invalid="ignore"):
        between = (mean_below[-1] * below - mean_below) ** 2 / (below * (1 - below))
    return np.nanargmax(between) / 255

def nuclei_crops(images, truth, batch_size=8, size=64):
    while True:
        chosen = rng.integers(0, len(images), batch_size)
        top, left = rng.integers(0, images.shape[-1] - size + 1, (2, batch_size))
        inputs, targets = (crop(each[chosen], top, left, size) for each in (images, truth))
        turn = (slice(None), slice(None), slice(None, None, rng.choice((-1, 1))), slice(None, None, rng.choice((-1, 1))))
        yield Tensor(inputs[turn].copy()), targets[turn][:, 0].astype(int)

if lesson.data is not None:
    images, separate = load_nuclei(lesson.data)
    truth = np.stack([each.any(axis=0) for each in separate])               # (64, 256, 256)
    normal = (images - images.mean(axis=(1, 2), keepdims=True)) / images.std(axis=(1, 2), keepdims=True)
    order = np.random.default_rng(0).permutation(len(images))               # the same split for every seed
    learn, test = order[:48], order[48:]
    biologist = UNet(1, 2, widths)
    train(biologist, nuclei_crops(normal[learn, None], truth[learn, None]), lesson.pick(300, 2))

    nuclei = {"Otsu": np.stack([images[i] > otsu(images[i]) for i in test]),
              "U-Net": answers(biologist, normal[test, None], at_once=4) == 1}
    ious = {name: np.array([mask_iou(*pair) for pair in zip(each, truth[test])]) for name, each in nuclei.items()}
    lesson.claim("nuclei: mean IoU of 16 new pictures", ious["U-Net"].mean(), ">=", 0.79, row="F01", kind="O",
                 baseline=ious["Otsu"].mean())

# %%
if lesson.draws:
    palette = np.array([[0.1, 0.1, 0.1]] + [[int(c[i : i + 2], 16) / 255 for i in (1, 3, 5)] for c in colors(4)])
    columns = 2 if lesson.data is None else 3
    figure, axes = panels(2, columns, size=(6.5 * columns, 9))
    rows = {"picture": test_x[:8].transpose(0, 2, 3, 1), "truth": palette[test_kinds[:8]]}
    show_grid(rows | {name: palette[each[:8]] for name, each in found.items()}, axes=axes[0, 0],
              title="To what does each pixel belong?")
    del curves["no school"]                                                 # twice the steps show more
    plot_curves({name: (20 * np.arange(len(curve)), curve) for name, curve in curves.items()}, "step", "mask IoU",
                axes=axes[0, 1], title="What is carried across, and what was learned before")
    at = np.arange(len(found))
    for shift, (label, values) in zip((-0.2, 0.2), {"mask": masks, "boundary": rims}.items()):
        axes[1, 0].bar(at + shift, [values[name] for name in found], 0.38, label=label)
    axes[1, 0].set(xticks=at, xticklabels=list(found), ylabel="IoU", ylim=(0, 1.15))
    axes[1, 0].legend(frameon=False, ncols=2, loc="upper left", fontsize=9)
    axes[1, 0].set_title("The rim suffers most", loc="left", fontsize=11)
    plot_curves({"change": np.maximum(change, 1e-9)}, "pixels that the picture is moved", "change of the logits, relative", "y",
                axes=axes[1, 1], title="Every fourth pixel the answer moves along")
    if lesson.data is not None:
        show_grid({"photograph": normal[test[:5]].clip(-1, 3), "truth": 4 * truth[test[:5]] - 1} |
                  {name: 4 * each[:5] - 1 for name, each in nuclei.items()}, axes=axes[0, 2], title="Nuclei never seen before")
        order = np.argsort(ious["Otsu"])
        plot_curves({name: values[order] for name, values in ious.items()}, "picture", "mask IoU", axes=axes[1, 2],
                    title="Each of the 16, the hardest for Otsu first")
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Leave out one of the two connections only. Which one does the rim need, and which one the kinds?
# - Freeze the taught encoder and train the way up alone; or let school ask for the mean of each map, not for its strongest
#   answer, so that every place must know. Does school then win for every seed?
# - Train with `F.dice_loss` on the softmax instead of the cross-entropy. Which kind gains?
