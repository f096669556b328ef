"""Lesson 62: SIREN, a picture as a network of sines

Every network so far was given a picture as pixels, or made one. Pixels are a choice: who asks what lies between two of
them, how steep the brightness is there, or how it bends, gets an answer that depends on the grid. Here the network *is* the
picture. A place (x, y) goes in, any place, and its brightness comes out; the pixels are only what it is trained on.

With the ReLU of the last sixty lessons that fails, and you will see by how much. Replace max(0, .) by a sine, start the
weights in the right way, and the same number of weights draws the picture, with the right slopes and the right curvature,
which nobody showed it. So it can be trained on slopes alone, on a picture's pixels to answer for places between them, or on
the outline of a shape to know everywhere how far the outline is.

Expected: 46 dB where ReLU has 21; slopes 12 % off the truth, a little better than the differences of pixels; 63 dB from
slopes alone.

Paper: Sitzmann, Martel, Bergman, Lindell & Wetzstein 2020, arXiv:2006.09661.
"""
# %%
import copy
import math

import numpy as np

from tinygrad_edu import Tensor, functional as F, nn, no_grad, optim
from tinygrad_edu.data.paintings import pixel_centres, random_painting
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import psnr
from tinygrad_edu.models.foundations.mlp import MLP
from tinygrad_edu.models.implicit.siren import Siren, gradient, laplacian
from tinygrad_edu.viz import panels, plot_curves, show_grid

lesson = Lesson("62_siren")
rng = np.random.default_rng(lesson.seed)
SIZE, OMEGA, WIDTH = 64, 15.0, 64

# %% [markdown]
# ## A picture whose slopes are known
#
# A photograph would do, but nobody knows its true slopes. So the picture is painted: waves whose lengths are spread evenly
# over the octaves, as the contrast of photographs is, and discs with soft edges. (How much of either was chosen by looking:
# enough fine detail that a ReLU network cannot draw it.) Brightness, gradient and Laplacian (the sum of the second
# derivatives in x and in y) have formulas, at every place. The network is shown 64 x 64 numbers.

# %%
painting = random_painting()
places = pixel_centres(SIZE).astype(np.float32)                             # (4096, 2), from -1 to 1
picture = painting.draw(SIZE)                                               # (64, 64), from 0 to 1
_, true_gradient, true_laplacian = painting.fields(places)                  # (4096, 2) and (4096,)

x, brightness = Tensor(places), Tensor(picture.reshape(-1, 1))

def fit(model, loss, steps, lr, title):
    """Adam on loss(model), lr falling to 0 in a straight line; returns the model and its losses."""
    optimizer, losses = optim.Adam(model.parameters(), lr=lr), []
    for step in lesson.progress(range(steps), title):
        optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
        value = loss(model)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        losses.append(value.item())
    return model, losses

def brightness_loss(model):
    return F.mse_loss(model(x), brightness)

def drawn(model, size=SIZE):
    """The network asked at the centres of size x size pixels: (size, size)."""
    with no_grad():
        return model(Tensor(pixel_centres(size).astype(np.float32))).numpy().reshape(size, size)

# %% [markdown]
# ## Four networks, equally large, equally long
#
# Three hidden layers of 64, one number out. A ReLU network is a sheet with folds: flat between them. To draw fine detail it
# needs folds at the right places, and moving one fold changes everything behind it. What a network of sines does depends on
# where it starts: once as SIREN says, twice as every other network in this course starts, with omega = 1 and with SIREN's
# 15. (The learning rate is the better one of 0.003 and 0.01 for ReLU, 0.002 for sines.)
#
# One result looks wrong: sines with large omega and the ordinary start hit every pixel best of all. Keep an eye on them.

# %%
def started_as_usual(omega, width=WIDTH, depth=3):
    """The same network of sines with the start of nn.Linear, U(-1/sqrt(fan_in), 1/sqrt(fan_in)) for weights and biases."""
    model = Siren(width=width, depth=depth, omega=omega)
    model.layers = [nn.Linear(layer.in_features, width) for layer in model.layers]
    model.last = nn.Linear(width, 1)
    return model

steps = lesson.pick(300, 5)
contest = {
    "ReLU": (MLP(2, WIDTH, WIDTH, WIDTH, 1), 1e-2),
    "sines, calm start": (started_as_usual(1.0), 2e-3),
    "sines, wild start": (started_as_usual(OMEGA), 2e-3),
    "SIREN": (Siren(width=WIDTH, omega=OMEGA), 2e-3),
}
nets, curves, quality = {}, {}, {}
for name, (model, lr) in contest.items():
    nets[name], losses = fit(model, brightness_loss, steps, lr, name)
    curves[name] = -10 * np.log10(losses)
    quality[name] = psnr(drawn(model), picture)
    print(f"  {name:<18} {model.num_parameters()} weights, {steps} steps: {quality[name]:.1f} dB")
flat = psnr(np.full_like(picture, picture.mean()), picture)                 # one grey everywhere
siren, relu = nets["SIREN"], nets["ReLU"]
lesson.claim("SIREN: picture, PSNR in dB", quality["SIREN"], ">=", 35, row="U02", kind="C", baseline=quality["ReLU"])
lesson.claim("ReLU, equally large and long: PSNR in dB", quality["ReLU"], "<=", 25, row="U02", kind="C", baseline=flat)

# %% [markdown]
# ## Why it must start so
#
# Let the arguments of one layer's sines be roughly normal with variance v. The mean square of the sines is then (1 -
# e^{-2v}) / 2. The next layer's arguments are sums of n such sines times weights, times omega. With weights from U(-c, c),
# of variance c^2 / 3, their variance is n omega^2 c^2 / 3 times the mean square. Choose c = sqrt(6 / n) / omega: the
# variance becomes 1 - e^{-2v}. Repeat, and whatever v was, it goes to the one v that stays, v = 1 - e^{-2v} = 0.797; the
# sines to a deviation of sqrt(v / 2) = 0.631. No layer is calmer or wilder than the one before, at any depth. (The paper
# says 1 and 0.707, taking the sines' arguments as so large that all phases are equally likely. They are not quite.)
#
# With an ordinary start and omega = 1 the variance falls to a third in every layer: what is left after eight is the biases.
# With omega = 15 it is 37: sines of several turns of sines of several turns, and neighbouring pixels have nothing to do
# with each other. Such a network has a switch of its own for each pixel. It can learn any 4096 numbers by heart, and has no
# idea of a picture.

# %%
v = 1.0
for _ in range(50):
    v = 1 - math.exp(-2 * v)
deep = {"SIREN": Siren(width=256, depth=8, omega=OMEGA), "calm": started_as_usual(1.0, 256, 8),
        "wild": started_as_usual(OMEGA, 256, 8)}
line = Tensor(np.stack([np.linspace(-1, 1, 1000), np.zeros(1000)], axis=1).astype(np.float32))      # a pixel is 16 places
deviation, jump = {}, {}
with no_grad():
    for name, model in deep.items():
        sines = [s.numpy() for s in model.sines(line)]
        deviation[name] = [s.std() for s in sines]
        jump[name] = [np.sqrt(np.mean((s[16:] - s[:-16]) ** 2)) / s.std() for s in sines]      # sqrt 2 = 1.41: unrelated
        print(f"  {name:<6} deviation of the sines of layers 1, 2, 4, 8:", *(f"{deviation[name][i]:.3f}" for i in (0, 1, 3, 7)),
              f"  change to the next pixel, in layer 8: {jump[name][7]:.2f} deviations")
derived = math.sqrt(v / 2)
lesson.claim("SIREN, 8 layers: deviation of the last sines - derived", abs(deviation["SIREN"][7] - derived), "<=", 0.02,
             row="U02", kind="O", baseline=abs(deviation["calm"][7] - derived), oracle=0)

# %% [markdown]
# ## Slopes that nobody showed it
#
# The slope of the drawn picture is the gradient of the answer with respect to the *place*, and lesson 04 can differentiate
# that again: gradient, then Laplacian. First, are these derivatives right? Differences of the network itself, in float64,
# are the witness. Then, are they the picture's? The formulas are. The folded sheet has slopes, but its second derivative is
# 0 wherever it has one; and what learned by heart is found out.

# %%
def slopes(model, at):
    """Gradient (N, 2) and Laplacian (N,) of what the model draws, as arrays."""
    at = Tensor(at, requires_grad=True)
    g = gradient(model(at), at)
    return g.detach().numpy(), laplacian(g, at).detach().numpy()

def relative(a, b):
    return np.sqrt(np.sum((a - b) ** 2) / np.sum(b ** 2))

some, h = rng.uniform(-1, 1, (200, 2)), 1e-4
exact = copy.deepcopy(siren).double()
g, curvature = slopes(exact, some)
with no_grad():
    up, down = ([exact(Tensor(some + s * h * e)).numpy()[:, 0] for e in np.eye(2)] for s in (1, -1))
    here = exact(Tensor(some)).numpy()[:, 0]
differences = np.stack([(a - b) / (2 * h) for a, b in zip(up, down)], axis=1)
second_differences = sum(a - 2 * here + b for a, b in zip(up, down)) / h ** 2
lesson.claim("SIREN: gradient against differences, relative", relative(g, differences), "<=", 1e-5, row="U02", kind="E")
lesson.claim("SIREN: Laplacian against differences, relative", relative(curvature, second_differences), "<=", 1e-4, row="U02",
             kind="E")

(g, curvature), (relu_g, relu_curvature) = slopes(siren, places), slopes(relu, places)
wild_g, wild_curvature = slopes(nets["sines, wild start"], places)
by_pixels = np.stack(np.gradient(picture.astype(np.float64), 2 / SIZE)[::-1], axis=-1).reshape(-1, 2)
print(f"  gradient off the truth: SIREN {relative(g, true_gradient):.3f}, differences of pixels "
      f"{relative(by_pixels, true_gradient):.3f}")
lesson.claim("SIREN: gradient, relative error", relative(g, true_gradient), "<=", 0.2, row="U02", kind="O",
             baseline=relative(relu_g, true_gradient), oracle=0)
lesson.claim("sines, wild start: gradient, relative error", relative(wild_g, true_gradient), ">=", 1, row="U02", kind="C",
             baseline=relative(g, true_gradient))
lesson.claim("SIREN: Laplacian, relative error", relative(curvature, true_laplacian), "<=", 0.5, row="U02", kind="O",
             baseline=relative(relu_curvature, true_laplacian), oracle=0)
lesson.claim("ReLU: largest second derivative", np.abs(relu_curvature).max(), "==", 0, row="U02", kind="S")

# %% [markdown]
# ## A picture from its slopes alone
#
# Now show the network no brightness at all, only how steep the picture is at each pixel, and in which direction. The loss
# contains a gradient, training differentiates it once more. (Finding a picture whose slopes are given is Poisson's
# equation.) What the slopes do not say is the mean brightness: it is added afterwards.

# %%
target = Tensor(true_gradient.astype(np.float32))
variance = float((true_gradient ** 2).mean())

def slope_loss(model):
    at = Tensor(places, requires_grad=True)
    return ((gradient(model(at), at) - target) ** 2).mean() / variance

def from_slopes(model, lr, title):
    model, _ = fit(model, slope_loss, lesson.pick(200, 3), lr, title)
    image = drawn(model)
    return image - image.mean() + picture.mean()

poisson = from_slopes(Siren(width=WIDTH, omega=OMEGA), 2e-3, "from slopes, SIREN")
poisson_relu = from_slopes(MLP(2, WIDTH, WIDTH, WIDTH, 1), 1e-2, "from slopes, ReLU")
lesson.claim("picture from its slopes alone: PSNR in dB", psnr(poisson, picture), ">=", 50, row="U02", kind="C",
             baseline=psnr(poisson_relu, picture))

# %% [markdown]
# ## Between the pixels
#
# Train on 32 x 32 pixels and ask at 64 x 64 places. Nothing in the data says what happens between two pixels: the network's
# taste does, and omega is its taste. Too small, and it cannot draw the picture; too large, and it swings between the
# pixels. So omega is chosen on another painting, then used on a new one. The usual way to get more pixels is the baseline:
# straight lines from pixel to pixel.

# %%
def enlarge(painting, omega):
    """What a SIREN trained on 32 x 32 pixels answers at 64 x 64, and its PSNR."""
    few, known = Tensor(pixel_centres(32).astype(np.float32)), Tensor(painting.draw(32).reshape(-1, 1))
    model, _ = fit(Siren(width=WIDTH, omega=omega), lambda model: F.mse_loss(model(few), known), lesson.pick(300, 3), 2e-3,
                   f"omega {omega}")
    return drawn(model), psnr(drawn(model), painting.draw(SIZE))

def enlarged_straight(painting):
    return F.interpolate(Tensor(painting.draw(32)[None, None]), scale_factor=2, mode="bilinear").numpy()[0, 0]

another, omegas = random_painting(), lesson.pick((5.0, 10.0, 15.0, 20.0, 30.0), (15.0,))
tastes = [enlarge(another, omega)[1] for omega in omegas]
best = omegas[int(np.argmax(tastes))]
few, straight = painting.draw(32), enlarged_straight(painting)
larger, larger_quality = enlarge(painting, best)
bilinear = psnr(straight, picture)
print(f"  omega {best:.0f}, best on the other one, enlarges this one to {larger_quality:.1f} dB, bilinear to {bilinear:.1f}")
lesson.claim("32 x 32 asked at 64 x 64: dB above bilinear", larger_quality - bilinear, ">=", 0, row="U01", kind="C", baseline=0)
too_wild = tastes[-1] - psnr(enlarged_straight(another), another.draw(SIZE))
lesson.claim("omega = 30, on the other painting: dB above bilinear", too_wild, "<=", 0, row="U01", kind="C", baseline=0)

# %% [markdown]
# ## How far is the outline?
#
# A signed distance says of each place how far the nearest outline is, negative inside. Given: points on the outline, and
# the direction that leads out. Wanted: the distance everywhere. Where the answer is a distance, its slope is 1: who walks
# away from the outline by 1 is farther by 1 (the eikonal equation, |grad f| = 1). So the loss asks for f = 0 and the right
# direction on the outline, and for a slope of 1 anywhere. Once without that last term.
#
# Slope 1 has more than one solution: away from a circle f may rise, fold, and fall again, with slope 1, to an outline that is
# not there. Such a ghost lies where the sines happen to be below 0 at the start (in all of the 14 runs below), and no point
# of the outline is near to object. So f starts at 1: all is outside, and the discs are dug out. (Of 72 runs from 0, 14 ended
# with a ghost; these, and no others, were off by more than 0.02. Of 32 from 1, with other seeds than the claim's, none had
# one, and the worst was off by 0.018. The paper adds a term, exp(-100 |f|) away from the outline. It forbids to be 0 there but
# not to be below: with weight 1 there were 7 ghosts in 16 runs; with 10 none, but a median error of 0.019 in place of 0.013.)

# %%
DISCS = np.array([[-0.4, -0.35, 0.4], [0.45, 0.4, 0.3], [0.45, -0.35, 0.2]])                         # x, y, radius

def true_distance(p):
    """To the nearest of the three circles, negative inside."""
    return (np.linalg.norm(p[:, None] - DISCS[:, :2], axis=2) - DISCS[:, 2]).min(axis=1)

def outline(n):
    """n points on the circles, and the directions out of them: (n, 2) each."""
    disc = DISCS[rng.choice(len(DISCS), n, p=DISCS[:, 2] / DISCS[:, 2].sum())]
    angle = rng.uniform(0, 2 * math.pi, n)
    out = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (disc[:, :2] + disc[:, 2:] * out).astype(np.float32), out.astype(np.float32)

def distance_loss(eikonal):
    def loss(model):
        on, out = outline(400)
        anywhere = rng.uniform(-1, 1, (600, 2)).astype(np.float32)
        at = Tensor(np.concatenate([on, anywhere]), requires_grad=True)
        f = model(at)                                                       # (1000, 1)
        slope = gradient(f, at)                                             # (1000, 2)
        steepness = ((slope ** 2).sum(axis=1) + 1e-6) ** 0.5
        outside_in = ((slope[:400] - Tensor(out)) ** 2).sum(axis=1).mean()
        return 100 * (f[:400] ** 2).mean() + 3 * outside_in + eikonal * ((steepness - 1) ** 2).mean()
    return loss

distances, everywhere = {}, pixel_centres(SIZE)
for name, eikonal in {"without": 0.0, "with |grad f| = 1": 10.0}.items():
    model = Siren(width=WIDTH, omega=3.0)
    nn.init.constant_(model.last.bias, 1.0)                                # at the start all is outside
    fit(model, distance_loss(eikonal), lesson.pick(500, 3), 2e-3, f"distance, {name}")
    distances[name] = drawn(model)
truth = true_distance(everywhere).reshape(SIZE, SIZE)
off = {name: np.abs(f - truth).mean() for name, f in distances.items()}
lesson.claim("distance to an outline: mean error", off["with |grad f| = 1"], "<=", 0.02, row="U02", kind="O",
             baseline=off["without"], oracle=0)

# %%
if lesson.draws:
    figure, axes = panels(2, 4, size=(19, 9))
    show_grid([picture, *(drawn(nets[name]) for name in ("ReLU", "sines, wild start", "SIREN"))], columns=2, limits=(0, 1),
              titles=["the picture", "ReLU", "sines, wild start", "SIREN"], title="Four networks, one size", axes=axes[0, 0])
    plot_curves(curves, "step", "PSNR (dB)", axes=axes[0, 1], title="Training on 4096 pixels")

    def strength(g):
        return np.hypot(*g.T).reshape(SIZE, SIZE)

    show_grid([strength(a) for a in (true_gradient, relu_g, wild_g, g)], columns=2, limits=(0, strength(true_gradient).max()),
              titles=["the picture", "ReLU", "sines, wild start", "SIREN"], title="How steep it is", axes=axes[0, 2])
    reach = 0.6 * np.abs(true_laplacian).max()
    show_grid([c.reshape(SIZE, SIZE) for c in (true_laplacian, relu_curvature, wild_curvature, curvature)], columns=2,
              limits=(-reach, reach),
              titles=["the picture", "ReLU", "sines, wild start", "SIREN"], title="How it bends (Laplacian)", axes=axes[0, 3])
    shown = strength(true_gradient)
    show_grid([picture, shown / shown.max(), poisson_relu, poisson], columns=2, limits=(0, 1),
              titles=["the picture", "what was shown: slopes", "ReLU", "SIREN"],
              title="From slopes alone", axes=axes[1, 0])
    near = slice(16, 48)
    pixels = few.repeat(2, 0).repeat(2, 1)
    show_grid([image[near, near] for image in (pixels, straight, larger, picture)], columns=2, limits=(0, 1),
              titles=["the pixels given", "bilinear", f"SIREN, omega {best:.0f}", "the truth"],
              title="Between the pixels", axes=axes[1, 1])
    plot_curves({"32 x 32 asked at 64 x 64": (omegas, tastes)}, "omega", "PSNR (dB)", axes=axes[1, 2],
                title="Taste, on another painting")
    for name, f in distances.items():
        color, style = ("#bd1f01", "dashed") if name == "without" else ("#3f90da", "solid")
        axes[1, 3].contour(f, levels=(-0.2, 0, 0.2, 0.4), colors=color, linestyles=style, extent=(-1, 1, -1, 1), linewidths=1.2)
        axes[1, 3].plot([], [], color=color, linestyle=style, label=name)
    axes[1, 3].contour(truth, levels=(-0.2, 0, 0.2, 0.4), colors="#94a4a2", linestyles="solid", extent=(-1, 1, -1, 1),
                       linewidths=3, alpha=0.5)
    axes[1, 3].plot([], [], color="#94a4a2", linewidth=3, alpha=0.5, label="true")
    axes[1, 3].set(aspect="equal", xlabel="x", ylabel="y")
    axes[1, 3].set_title("Lines of equal distance", loc="left", fontsize=11, pad=8)
    axes[1, 3].legend(frameon=False, fontsize=9, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Train on curvature alone: a loss on `laplacian`. Two more derivatives, so what is left undetermined now?
# - omega = 60 for the picture of 64 x 64. The pixels are fitted as well as before. What is between them?
# - A line drawing of yours as `outline`, without the directions. Which side will the network call inside?
# - Lesson 63 does the same in space: a scene as a network, of which only photographs are known.
