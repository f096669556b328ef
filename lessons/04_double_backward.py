"""Lesson 04: Double backward, the gradient of a gradient

Lesson 03 took five derivatives of one function, and nobody had written a formula for the second. Where did they come
from? And who needs them? Whoever wants to know how the slope itself changes: how far a step may go (curvature), in
which direction the valley bends (Newton), or what to do to a network to make its *gradient* smaller (the penalty of a
Wasserstein GAN, the adaptation of MAML, the force in an energy model). All of these contain a gradient, and are
themselves differentiated.

You will see sin turn into itself after four derivatives, curvature go through convolution, LSTM, attention and
normalization, Newton's method double its digits with every step where gradient descent takes tens of thousands, the
sharpest direction of a network found without its Hessian, and a penalty that does nothing at all because of one
forgotten argument.

Papers: Pearlmutter 1994 (exact products with the Hessian); Gulrajani et al. 2017, arXiv:1704.00028 (gradient penalty).
"""
# %%
import numpy as np

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F, grad, nn, optim, reference_only
from tinygrad_edu.data import batches, load_digits
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.viz import colors, panels, plot_curves

lesson = Lesson("04_double_backward")
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## A backward pass is a computation like any other
#
# Look at the backward of tanh in tinygrad_edu/ops/elementwise.py: `gy * (1 - y * y)`. It is written with operators that
# take arrays and Tensors alike. Called with arrays it gives numbers and is gone. Called with Tensors, which is all that
# `create_graph=True` does, every product and difference in it becomes a node of a graph, and the gradient knows where
# it came from. So it can be differentiated, by the same walk, as often as you like: nobody ever writes a second
# derivative.
#
# Kernels are the exception, and the rule. The backward of a convolution is written by hand on plain arrays, for speed.
# But each kernel carries its definition, plain Python over primitives, called `reference`, and under `create_graph`
# that is what is differentiated.

# %%
x = Tensor(rng.uniform(-3, 3, 100), requires_grad=True)
y = tg.sin(x)
for _ in range(4):
    (y,) = grad(y.sum(), x, create_graph=True)
error = (y - tg.sin(x)).detach().numpy()
lesson.claim("sin'''' - sin, largest of 100", np.max(abs(error)), "<=", 1e-14, row="A07", kind="E")

(g,) = grad(tg.sin(x).sum(), x)                             # no create_graph: numbers, without a past
try:
    grad(g.sum(), x)
    refused = False
except RuntimeError as error:
    refused = True
    print(f"  without create_graph: {error}")
lesson.claim("without create_graph: a second derivative is refused", refused, "==", True, row="A07", kind="E")

# %% [markdown]
# ## Curvature in one direction
#
# The second derivatives of f, with n inputs, form the Hessian H, n x n: for a network of a million weights, a matrix
# that nobody can store. But H v, its product with one direction v, is the gradient of the number <grad f, v>, and costs
# about as much as two gradients. Pearlmutter wrote this down in 1994; here it is two lines.

# %%
def hvp(f, xs, vs):
    """H v for the scalar f(*xs): the gradient of <grad f, v>."""
    gs = grad(f(*xs), xs, create_graph=True)
    return grad(sum((g * v).sum() for g, v in zip(gs, vs)), xs)

def gradient(f, xs):
    return grad(f(*xs), xs)

def leaves(*shapes):
    return [Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]

def dot(xs, ys):
    return sum(np.sum(x.numpy() * y.numpy()) for x, y in zip(xs, ys))

# Is it right? Two witnesses that know nothing of double backward. The gradient's own central difference along v must be
# H v; and mixed derivatives do not care about their order, so <u, H v> = <v, H u>. Through the four kinds of layer that
# this course leans on, each as a function of its input and all its weights. A third question is for the kernels: run as
# their definition, do they give the same?

# %%
LAYERS = {
    "conv2d": (lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1), leaves((2, 3, 6, 6), (4, 3, 3, 3), (4,))),
    "lstm": (lambda *xs: F.lstm(*xs)[0], leaves((5, 2, 3), (2, 4), (2, 4), (16, 3), (16, 4), (16,))),
    "attention": (F.scaled_dot_product_attention, leaves((2, 4, 3), (2, 5, 3), (2, 5, 3))),
    "layer_norm": (lambda x, w, b: F.layer_norm(x, 6, w, b), leaves((4, 6), (6,), (6,))),
}

def relative(xs, ys):
    """|xs - ys| / |ys|, over all of them together."""
    differences = [x - y for x, y in zip(xs, ys)]
    return np.sqrt(dot(differences, differences) / dot(ys, ys))

def difference_of_gradients(f, xs, vs, h=1e-5):
    up, down = (gradient(f, [Tensor(x.detach() + s * v, requires_grad=True) for x, v in zip(xs, vs)]) for s in (h, -h))
    return [(a - b) / (2 * h) for a, b in zip(up, down)]

for name, (layer, xs) in LAYERS.items():
    def f(*xs):
        return tg.exp(tg.tanh(layer(*xs))).sum()            # nothing linear, nothing symmetric
    vs, us = ([Tensor(rng.standard_normal(x.shape)) for x in xs] for _ in range(2))
    Hv, Hu = hvp(f, xs, vs), hvp(f, xs, us)
    with reference_only():
        by_definition = hvp(f, xs, vs)

    lesson.claim(f"{name}: H v against differences of the gradient", relative(Hv, difference_of_gradients(f, xs, vs)),
                 "<", 1e-5, row="A07", kind="E")
    asymmetry = abs(dot(us, Hv) - dot(vs, Hu)) / np.sqrt(dot(us, us) * dot(Hv, Hv))
    lesson.claim(f"{name}: <u, H v> - <v, H u>, relative", asymmetry, "<=", 1e-10, row="A07", kind="E")
    lesson.claim(f"{name}: H v of kernel and definition", relative(Hv, by_definition), "<=", 1e-10, row="A07", kind="E")

# %% [markdown]
# ## Newton: do not only ask where it goes down, ask where it ends
#
# Gradient descent knows the slope and guesses a step size. Newton fits a parabola, with the true curvature, and jumps
# to where its slope is zero: x <- x - H^-1 grad f. Close to a minimum the parabola is nearly right, and what is left of
# an error e after the step is proportional to e^2: the number of correct digits doubles.
#
# The playground is Rosenbrock's banana valley (1960), f = (1 - x)^2 + 100 (y - x^2)^2, from its classical start (-1.2,
# 1). The minimum lies at (1, 1), at the end of a narrow bent gorge: 2,500 times steeper across than along.
#
# The run without the idea is gradient descent, with the step size that serves it best.

# %%
def rosenbrock(x):
    return (1 - x[0]) ** 2 + 100 * (x[1] - x[0] ** 2) ** 2

def hessian(f, x):
    """Row by row: H e for every unit vector e."""
    return tg.stack([hvp(f, [x], [e])[0] for e in tg.eye(x.size, dtype=x.dtype)])

def newton_step(f, x):
    (g,) = grad(f(x), x)
    return Tensor(x.detach() - tg.solve(hessian(f, x), g[:, None])[:, 0], requires_grad=True)

def descent_step(f, x, lr):
    (g,) = grad(f(x), x)
    return Tensor(x.detach() - lr * g, requires_grad=True)

def path(step, start, steps):
    """The points that `step` visits, (steps + 1, 2)."""
    points = [Tensor(np.array(start), requires_grad=True)]
    for _ in range(steps):
        points.append(step(rosenbrock, points[-1]))
    return np.array([p.detach().numpy() for p in points])

def distance(points):
    return np.linalg.norm(points - 1, axis=-1)

start, steps = (-1.2, 1.0), 7
newton = path(newton_step, start, steps)
rates = (3e-4, 1e-3, 1.5e-3, 1.8e-3, 2e-3, 2.5e-3, 3e-3)
same_steps = min(distance(path(lambda f, x: descent_step(f, x, lr), start, steps)[-1]) for lr in rates)
descent = path(lambda f, x: descent_step(f, x, 1.8e-3), start, lesson.pick(20_000, fast=2000))

print("  step        f   distance of Newton   of gradient descent")
for k, (p, d) in enumerate(zip(newton, descent)):
    print(f"  {k:4} {rosenbrock(p):10.2g} {distance(p):18.1e} {distance(d):20.4f}")
print(f"  {len(descent) - 1:,}{distance(descent[-1]):50.1e}")
lesson.claim(f"Newton: distance to the minimum after {steps} steps", distance(newton[-1]), "<=", 1e-12, row="A07",
             kind="E", baseline=same_steps)

# On its way f rises to 1,400: Newton does not look for low places but for flat ones, and would be as content with a
# maximum. Close by it is in its element. Is the error really squared? e' = C e^2 means log e' = 2 log e + log C: put
# rings of starts around the minimum, make one step from each, take the worst of the ring, and fit the slope. (In this
# thin valley C is several hundred, so "close by" is 1e-4.)

# %%
angles = rng.uniform(0, 2 * np.pi) + np.linspace(0, 2 * np.pi, 16, endpoint=False)
ring = np.stack([np.cos(angles), np.sin(angles)], axis=1)   # (16, 2)

def order_of(step):
    """The exponent p in e' ~ e^p."""
    radii = np.logspace(-6, -4, 7)
    after = [max(distance(path(step, start, 1)[-1]) for start in 1 + r * ring) for r in radii]
    return np.polyfit(np.log(radii), np.log(after), 1)[0]

descent_order = order_of(lambda f, x: descent_step(f, x, 1e-3))
lesson.claim("Newton: order of convergence", order_of(newton_step), "in", (1.9, 2.1), row="A07", kind="E",
             baseline=descent_order, oracle=2.0)

# %% [markdown]
# ## The steepest direction, without the matrix
#
# Why does gradient descent fail for steps above 2e-3? Along the direction of largest curvature, lambda, one step
# multiplies the distance to the minimum by 1 - lr lambda. Beyond lr = 2 / lambda that is below -1: it jumps to the
# other side, and further away each time. So lambda is worth knowing; and to know it, products H v are enough. Power
# iteration: start anywhere, replace v by H v, normalize, repeat. The largest eigenvalue grows fastest, and soon v is
# its eigenvector.

# %%
def split_like(vector, xs):
    """One long vector as Tensors in the shapes of xs."""
    ends = np.cumsum([x.size for x in xs])
    return [Tensor(part.reshape(x.shape)) for part, x in zip(np.split(vector, ends[:-1]), xs)]

def joined(xs):
    return np.concatenate([x.numpy().ravel() for x in xs])

def top_eigenvalue(f, xs, most=2000):
    """The eigenvalue of H of largest size, and how many products H v it took."""
    v = rng.standard_normal(sum(x.size for x in xs))
    for products in range(1, most + 1):
        v /= np.linalg.norm(v)
        Hv = joined(hvp(f, xs, split_like(v, xs)))
        eigenvalue = v @ Hv                                 # Rayleigh's quotient
        if np.linalg.norm(Hv - eigenvalue * v) < 1e-5 * abs(eigenvalue):
            break
        v = Hv
    return eigenvalue, products

sharpest, _ = top_eigenvalue(rosenbrock, [Tensor(np.ones(2), requires_grad=True)])
exact = 501 + np.sqrt(501 ** 2 - 400)                       # H = [[802, -400], [-400, 200]]
lesson.claim("Rosenbrock at (1, 1): largest curvature - exact", abs(sharpest - exact), "<=", 1e-6, row="A07", kind="E")
nearby = (1.0 + 1e-4, 1.0)
for factor, comparison in ((0.99, "<"), (1.01, ">")):
    ends = path(lambda f, x: descent_step(f, x, factor * 2 / sharpest), nearby, 100)[[0, -1]]
    before, after = distance(ends)
    lesson.claim(f"step {factor} * 2 / lambda: distance after / before", after / before, comparison, 1.0, row="A07",
                 kind="E")

# The same for a network: convolution, group norm, tanh, pooling and a linear layer on 64 digits, 410 weights, after
# fifty steps of training. That is small enough to build the dense Hessian as well, product by product, and ask for all
# its eigenvalues.

# %%
images, labels = load_digits("train")
chosen = rng.choice(len(images), lesson.pick(64, fast=32), replace=False)
images, labels = Tensor(images[chosen].reshape(-1, 1, 8, 8), dtype=np.float64), Tensor(labels[chosen])

def network_loss(w, b, v, c):
    hidden = tg.tanh(F.group_norm(F.conv2d(images, w, b), 1))                       # (N, 4, 6, 6)
    return F.cross_entropy(F.linear(F.avg_pool2d(hidden, 2).reshape(len(images), -1), v, c), labels)

weights = [Tensor(rng.standard_normal(shape) * scale, requires_grad=True)
           for shape, scale in (((4, 1, 3, 3), 1 / 3), ((4,), 0.1), ((10, 36), 1 / 6), ((10,), 0.1))]
lr = 0.3
for _ in range(50):
    gs = gradient(network_loss, weights)
    weights = [Tensor(w.detach() - lr * g, requires_grad=True) for w, g in zip(weights, gs)]

n = sum(w.size for w in weights)
columns = lesson.progress(np.eye(n), "Hessian")
dense = np.array([joined(hvp(network_loss, weights, split_like(e, weights))) for e in columns])
lesson.claim("network: H - H', relative", np.max(abs(dense - dense.T)) / np.max(abs(dense)), "<=", 1e-10, row="A07",
             kind="E")

eigenvalue, products = top_eigenvalue(network_loss, weights)
spectrum = np.linalg.eigvalsh(dense)
largest = spectrum[np.argmax(abs(spectrum))]
print(f"  power iteration: {eigenvalue:.5f} after {products} products, the dense matrix took {n}; 2 / lr: {2 / lr:.2f}")
lesson.claim("network: top eigenvalue against the dense one, relative", abs(eigenvalue / largest - 1), "<=", 1e-6,
             row="A07", kind="E")

# Compare lambda with 2 / lr. Descent cannot stay where the curvature is much above it, and yet often drifts up to that
# border and lingers there: "the edge of stability" (Cohen et al. 2021, arXiv:2103.00065).

# %% [markdown]
# ## A loss that contains a gradient
#
# A Wasserstein critic D (lesson 48) has to score real samples high and fakes low, but its slope must not exceed 1, or
# the score means nothing. The gradient penalty says so literally, at points x between real and fake:
#
#     P = mean (|grad_x D(x)| - 1)^2
#
# To *learn* from P we need its gradient with respect to the weights of D: the derivative of a derivative. For a linear
# critic D(x) = w . x everything is known: grad_x D = w, and grad_w P = 2 (|w| - 1) w / |w|.

# %%
def penalty(critic, points, create_graph=True):
    """mean (|grad D| - 1)^2 over points (N, ..)."""
    points = Tensor(points, requires_grad=True)
    (g,) = grad(critic(points).sum(), points, create_graph=create_graph)            # D(x_n) depends on x_n alone
    norms = tg.sqrt(tg.square(g.reshape(len(points), -1)).sum(axis=1))              # (N,)
    return tg.square(norms - 1).mean()

(w,) = leaves((7,))
(g,) = grad(penalty(lambda points: points @ w, rng.standard_normal((16, 7))), w)
length = np.linalg.norm(w.detach().numpy())
analytic = 2 * (length - 1) * w.detach().numpy() / length
lesson.claim("penalty, linear critic: gradient - analytic", np.max(abs(g.numpy() - analytic)), "<=", 1e-8, row="N05",
             kind="E")

# Through convolution and normalization there is no formula, but there is lesson 03: a difference of two penalties,
# along a random direction of all the critic's weights. (Group norm, not batch norm: the penalty needs each score to
# depend on one sample only.)

# %%
points = rng.standard_normal((4, 2, 5, 5))

def conv_penalty(w1, b1, scale, shift, w2):
    def critic(x):
        hidden = tg.tanh(F.group_norm(F.conv2d(x, w1, b1, padding=1), 2, scale, shift))     # (4, 4, 5, 5)
        return F.conv2d(hidden, w2)                                                 # (4, 1, 1, 1)
    return penalty(critic, points)

ws = leaves((4, 2, 3, 3), (4,), (4,), (4,), (1, 4, 5, 5))
vs, h = [Tensor(rng.standard_normal(w.shape)) for w in ws], 1e-5
gs = gradient(conv_penalty, ws)
up, down = (conv_penalty(*[w.detach() + s * v for w, v in zip(ws, vs)]).item() for s in (h, -h))
error = abs((up - down) / (2 * h) - dot(gs, vs)) / np.sqrt(dot(gs, gs))
lesson.claim("penalty, conv + norm: gradient against differences", error, "<=", 1e-5, row="N05", kind="E")

# %% [markdown]
# ## The forgotten argument
#
# Now leave out `create_graph=True`. By itself the penalty would be refused, as above: it has no graph. But nobody
# trains on the penalty alone. The critic's loss has a graph, so the sum has one, backward() runs, the penalty is
# printed in every line, and it has no effect whatever.
#
# A critic for two clouds in the plane, trained three times from the same weights: with the penalty, without it, and
# with the penalty whose argument was forgotten. The clouds have one shape, a distance d apart, so the best critic is a
# slope s along the line between them: it gains d s and pays 10 (s - 1)^2. The bargain is struck at s = 1 + d / 20, a
# little above 1.

# %%
real, fake = (rng.standard_normal((500, 2), dtype=np.float32) / 2 + side for side in (1, -1))
between = real + rng.random((500, 1), dtype=np.float32) * (fake - real)             # on the lines between real and fake

def critic_loss(critic, x_real, x_fake, x_between, weight, create_graph):
    wasserstein = critic(x_fake).mean() - critic(x_real).mean()
    return wasserstein + weight * penalty(critic, x_between, create_graph) if weight else wasserstein

def train(weight, create_graph=True):
    """mean |grad D| between the clouds after each epoch."""
    critic.load_state_dict(initial)
    optimizer, norms = optim.Adam(critic.parameters(), lr=2e-3), []
    for _ in lesson.progress(range(lesson.pick(60, fast=5)), "critic"):
        for x_real, x_fake, x_between in batches(real, fake, between, batch_size=100, shuffle=False):
            loss = critic_loss(critic, x_real, x_fake, x_between, weight, create_graph)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        norms.append(slope(critic))
    return norms

def slope(critic):
    x = Tensor(between, requires_grad=True)
    (g,) = grad(critic(x).sum(), x)
    return np.linalg.norm(g.numpy(), axis=1).mean()

critic = nn.Sequential(nn.Linear(2, 32), nn.Tanh(), nn.Linear(32, 32), nn.Tanh(), nn.Linear(32, 1))
initial = critic.state_dict()
curves = {"with the penalty": train(10.0), "without": train(0.0),
          "create_graph forgotten": train(10.0, create_graph=False)}
penalized, unpenalized, forgotten = curves.values()
bargain = 1 + np.linalg.norm(real.mean(axis=0) - fake.mean(axis=0)) / 20
difference = np.max(abs(np.subtract(forgotten, unpenalized)))
lesson.claim("forgotten create_graph: slopes with - without penalty", difference, "==", 0.0, row="N05", kind="E")
lesson.claim("with the penalty: mean slope", penalized[-1], "in", (bargain - 0.05, bargain + 0.05), row="N05", kind="O",
             baseline=unpenalized[-1], oracle=bargain)

# %%
if lesson.draws:
    figure, (valley, errors, slopes) = panels(1, 3, size=(14.5, 4.2))
    xs, ys = np.meshgrid(np.linspace(-1.7, 1.7, 300), np.linspace(-3.6, 2.2, 300))
    valley.contourf(xs, ys, np.log10(rosenbrock((xs, ys))), levels=12, cmap="Greys", alpha=0.3)
    blue, orange, red = colors(3)
    valley.plot(*descent.T, color=orange, linewidth=2.5)
    valley.plot(*newton.T, "o-", color=blue, markersize=4)
    for k, (dx, dy) in enumerate(((-12, -4), (4, 5), (6, 2), (7, -8), (9, -10))):
        valley.annotate(str(k), newton[k], xytext=(dx, dy), textcoords="offset points", color=blue, zorder=6)
    valley.plot(1, 1, "*", color=red, markersize=12, zorder=5)
    valley.set(xlabel="x", ylabel="y")
    valley.grid(False)
    valley.set_title("Rosenbrock's valley", loc="left", fontsize=11)

    errors.plot(np.arange(1, len(descent)), distance(descent[1:]), color=orange,
                label=f"gradient descent, {len(descent) - 1:,} steps")
    errors.plot(np.arange(1, len(newton)), np.maximum(distance(newton[1:]), 1e-16), "o-", color=blue, markersize=4,
                label=f"Newton, {steps} steps")                 # a distance of 0 is drawn at 1e-16
    errors.loglog()
    errors.set(xlabel="step", ylabel="distance to the minimum")
    errors.set_title("digits double, or trickle in", loc="left", fontsize=11)
    errors.legend(frameon=False, fontsize=9, loc="lower right")

    plot_curves(curves, xlabel="epoch", ylabel="mean |grad D| between the clouds", axes=slopes)
    slopes.lines[-1].set(linestyle=(0, (3, 4)), linewidth=3)
    slopes.axhline(1, color="black", linewidth=0.6, alpha=0.5)
    slopes.set_title("a critic's slope, penalized towards 1", loc="left", fontsize=11)
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Start Newton at (0, 0.6). Print the eigenvalues of the Hessian there. What is wrong with the parabola? What helps?
# - `gradgradcheck` checks second derivatives only. Write a Function whose backward is right but detaches, and try it.
# - Train the critic with batch norm instead of nothing. What does the penalty then see, and why is that not |grad D|?
#
# We can differentiate anything now, as often as we like. Lesson 05 asks what is worth differentiating.
