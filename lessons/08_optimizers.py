"""Lesson 08: Ways down

Lesson 07 said what to minimize, and until now somebody's optimizer did it: `optim.Adam(...)`, and a hope. Gradient descent is
one line, so why are there a dozen others? Each of them answers a complaint about the one before. This lesson makes the
complaints one after another, on landscapes small enough to know the answer, and then on digits.

You will see why one step size cannot suit a narrow valley, and that a ball with inertia needs a seventh of the steps there;
what Adam's first step is, and why it does not care whether you measure the loss in metres or in millimetres; that decaying
weights is not the same as adding their square to the loss; how a batch of 1,024 can be used at all; and a recurrent network
that one single gradient would destroy.

Papers: Polyak 1964; Kingma & Ba 2014, arXiv:1412.6980; Loshchilov & Hutter 2017, 1711.05101; You et al. 2019, 1904.00962
(published, at full scale: BERT in 76 minutes with batches of 32,768); Pascanu et al. 2012, 1211.5063.
"""
# %%
import math

import numpy as np

from tinygrad_edu import Tensor, backend, functional as F, grad, nn, no_grad, optim, tensor, zeros
from tinygrad_edu.data import batches, load_digits
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import accuracy
from tinygrad_edu.models.foundations.mlp import MLP
from tinygrad_edu.optim import lr_scheduler
from tinygrad_edu.viz import colors, panels, plot_curves

lesson = Lesson("08_optimizers")
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## Downhill in a narrow valley
#
# The simplest landscape with a problem is a bowl that is steeper one way than the other: f(w) = w' A w / 2, where A has the
# eigenvalues 1 and kappa. Its gradient is A w, so one step of descent is
#
#     w <- w - lr A w,    that is, along each axis of the bowl,    w_i <- (1 - lr lambda_i) w_i.
#
# The factor must stay between -1 and 1 on the *steepest* axis, so lr < 2 / lambda_max. And then the flattest axis shrinks only
# by 1 - lr lambda_min. All in all the distance shrinks by max |1 - lr lambda| in every step. At the best lr, 2 / (1 + kappa),
# that is (kappa - 1) / (kappa + 1): with kappa = 100, two per cent a step.

# %%
def bowl(kappa, angle=0.6):
    """f(w) = w' A w / 2 in the plane, the axes of A (eigenvalues 1 and kappa) turned by an angle."""
    cos, sin = math.cos(angle), math.sin(angle)

    def f(w):
        along, across = cos * w[0] + sin * w[1], cos * w[1] - sin * w[0]
        return 0.5 * (along * along + kappa * across * across)
    return f

def walk(f, start, rule, steps, **options):
    """The places (steps + 1, n) that an optimizer visits; the minimum of f is to be found."""
    w = nn.Parameter(np.array(start, np.float64))
    optimizer, places = rule([w], **options), [start]
    for _ in range(steps):
        loss = f(w)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        places.append(w.detach().numpy().copy())
    return np.array(places)

kappa, start = 100.0, (1.0, 2.0)
valley = bowl(kappa)
for name, lr in {"small": 0.5 / kappa, "best": 2 / (1 + kappa), "nearly too large": 1.9 / kappa,
                 "too large": 2.02 / kappa}.items():
    distance = np.linalg.norm(walk(valley, start, optim.SGD, 300, lr=lr), axis=1)
    rate = max(abs(1 - lr), abs(1 - lr * kappa))
    lesson.claim(f"bowl, lr {name}: shrinks a step, less the theory", abs(distance[-1] / distance[-2] - rate), "<=", 1e-9,
                 row="C01", kind="E", oracle=0)
    if name in ("nearly too large", "too large"):
        lesson.claim(f"bowl, lr {name}: distance after / before", distance[-1] / distance[0], "<" if rate < 1 else ">", 1,
                     row="C01", kind="E")

# %% [markdown]
# ## A guess of the gradient will do
#
# The loss of a data set is an average over its rows, and so is its gradient. The average over 32 rows drawn at random is a
# guess of it: right on average, and wrong by an amount that falls with the square root of the batch. Four times the rows cost
# four times as much and are only twice as good, which is why small steps by rough guesses ("stochastic" descent) win.

# %%
images, labels = load_digits("train")
images = images.reshape(-1, 64)
weight = tensor(rng.standard_normal((10, 64)) / 8, dtype=np.float64, requires_grad=True)
direction = rng.standard_normal((10, 64))
x64 = images.astype(np.float64)

def slope(rows):
    """The gradient of the loss on some rows, along a fixed direction."""
    (g,) = grad(F.cross_entropy(F.linear(Tensor(x64[rows]), weight), Tensor(labels[rows])), weight)
    return (g.numpy() * direction).sum()

tries = range(lesson.pick(1000, 100))
guesses = {size: [slope(rng.choice(len(images), size, replace=False)) for _ in tries] for size in (8, 32, 128)}
error = np.mean(guesses[32]) - slope(np.arange(len(images)))
lesson.claim("gradient of 32 rows, mean error in standard errors",
             abs(error) / (np.std(guesses[32]) / len(guesses[32]) ** 0.5), "<=", 3, row="C01", kind="O", oracle=0)
print("  spread of the gradient of 8, 32 and 128 rows: " + ", ".join(f"{np.std(g):.3f}" for g in guesses.values()))

# %% [markdown]
# ## Inertia
#
# Across the valley, successive gradients point to and fro; along it, they agree. So add them up: v <- mu v + g, w <- w - lr
# v, a heavy ball (momentum). What cancels, cancels; what agrees, gathers speed, up to 1 / (1 - mu) times as much. For the
# bowl, the best mu and lr are known (Polyak), and the distance then shrinks by (sqrt(kappa) - 1) / (sqrt(kappa) + 1): 18 per
# cent a step where descent alone had 2. A ball also leaves a saddle, where the ground is level, sooner: every bit of slope is
# kept.

# %%
root = math.sqrt(kappa)
best_ball = dict(lr=(2 / (root + 1)) ** 2, momentum=((root - 1) / (root + 1)) ** 2)

def steps_to(places, share=1e-6):
    """How many steps until the distance has fallen to that share of the first."""
    return int(np.argmax(np.linalg.norm(places, axis=1) <= share * np.linalg.norm(places[0])))

plain, ball = walk(valley, start, optim.SGD, 750, lr=2 / (1 + kappa)), walk(valley, start, optim.SGD, 750, **best_ball)
lesson.claim("bowl: steps to 1e-6, momentum / descent", steps_to(ball) / steps_to(plain), "<=", 1 / 3, row="C02", kind="O",
             baseline=1, oracle=math.log((root + 1) / (root - 1), (kappa + 1) / (kappa - 1)) ** -1)
print(f"  steps to a millionth of the distance: descent {steps_to(plain)}, momentum {steps_to(ball)}")

def saddle(w):
    """(x^2 - y^2) / 2 + y^4 / 4: level at 0, minima at y = 1 and y = -1."""
    x, y = w[0], w[1]
    return 0.5 * (x * x - y * y) + 0.25 * y ** 4

near = (1.0, 1e-4)
stuck, gone = walk(saddle, near, optim.SGD, 40, lr=0.1), walk(saddle, near, optim.SGD, 40, lr=0.1, momentum=0.9)
lesson.claim("saddle: |y| after 40 steps with momentum", abs(gone[-1, 1]), ">=", 0.5, row="C02", kind="O",
             baseline=abs(stuck[-1, 1]), oracle=1)

# %% [markdown]
# ## Every coordinate its own step: Adam
#
# Momentum has one lr for all coordinates still, and it must suit the steepest. But one can see how steep each coordinate is:
# from the size of its own gradients. Adagrad divides by the root of the sum of their squares, which only grows, so it stops too
# early; RMSprop divides by a running average; Adam (2014) does that to the momentum. Both averages start at 0 and are too small
# at first, by a factor that is known, 1 - b^t. These ten lines are all of it, and must be what the library does:

# %%
def adam_by_hand(gradient, w, steps, lr, b1=0.9, b2=0.999, eps=1e-8):
    m, v, places = np.zeros_like(w), np.zeros_like(w), [w]
    for t in range(1, steps + 1):
        g = gradient(w)
        m = b1 * m + (1 - b1) * g                           # where to: the gradient, averaged over about 10 steps
        v = b2 * v + (1 - b2) * g ** 2                      # how steep: its square, averaged over about 1000
        w = w - lr * (m / (1 - b1 ** t)) / (np.sqrt(v / (1 - b2 ** t)) + eps)
        places.append(w)
    return np.array(places)

def rosenbrock(w):
    x, y = w[0], w[1]
    return (1 - x) ** 2 + 100 * (y - x * x) ** 2

def rosenbrock_gradient(w):
    x, y = w
    return np.array([-2 * (1 - x) - 400 * x * (y - x * x), 200 * (y - x * x)])

begin = (-1.5, 2.0)
ours, by_hand = walk(rosenbrock, begin, optim.Adam, 20, lr=0.1), adam_by_hand(rosenbrock_gradient, np.array(begin), 20, lr=0.1)
lesson.claim("Adam: 20 steps, the library's less ours", np.abs(ours - by_hand).max(), "<=", 1e-10, row="C03", kind="E")

# Where PyTorch's Adam was after so many of the same steps, written down once.
GOLDEN = {1: (-1.400000000006452, 2.099999999980000), 2: (-1.371408817431990, 2.122083378335596),
          5: (-1.459462853668536, 2.011991697730856), 10: (-1.388395195329486, 2.045511359620846),
          20: (-1.380095887547172, 1.972826556865853)}
apart = max(np.abs(ours[t] - place).max() for t, place in GOLDEN.items())
lesson.claim("Adam: 20 steps, the library's less PyTorch's", apart, "<=", 1e-9, row="C03", kind="E")

# At t = 1 the corrected averages are g and g^2, so the step is lr g / |g|: every coordinate moves by lr, whatever its slope.
# And if the loss is measured in millimetres instead of metres, numerator and denominator grow alike. Descent is not so lucky.
# Its lr has a unit, weights squared over loss, and must be found anew.

# %%
g = rosenbrock_gradient(np.array(begin))
lesson.claim("Adam: first step, less -lr sign(g)", np.abs(ours[1] - ours[0] + 0.1 * np.sign(g)).max(), "<=", 1e-6, row="C03",
             kind="E")
longer = walk(lambda w: 1000 * rosenbrock(w), begin, optim.Adam, 20, lr=0.1)
mild = walk(rosenbrock, begin, optim.SGD, 3, lr=1e-3)
with backend.ignore_float_errors():
    wild = walk(lambda w: 1000 * rosenbrock(w), begin, optim.SGD, 3, lr=1e-3)
lesson.claim("Adam: the loss times 1000, places differ by", np.abs(longer - ours).max(), "<=", 1e-8, row="C03", kind="E",
             baseline=np.abs(wild - mild).max(), oracle=0)

# %% [markdown]
# ## Decay is not a penalty: AdamW
#
# Adding (decay / 2) |w|^2 to the loss adds decay w to the gradient. Under descent that is the same as shrinking w by
# 1 - lr decay in each step. Under Adam it is not: the addition goes through the division, too, and a weight whose gradients
# are large is hardly decayed at all. AdamW shrinks the weights outside. Two weights, of equal size, with gradients that only
# go to and fro, the second's a hundred times larger:

# %%
def one_step(rule, decay, w, gradients):
    """The weights after steps with these gradients."""
    p = nn.Parameter(np.array(w, np.float64))
    optimizer = rule([p], lr=1e-3, weight_decay=decay)
    for g in gradients:
        p.grad = tensor(g, dtype=np.float64)
        optimizer.step()
    return p.detach().numpy()

w, gradients = rng.standard_normal(50), rng.standard_normal((1, 50))
same = np.abs(one_step(optim.AdamW, 0.0, w, gradients) - one_step(optim.Adam, 0.0, w, gradients)).max()
lesson.claim("AdamW without decay, less Adam", same, "==", 0, row="C04", kind="E")
term = one_step(optim.AdamW, 0.3, w, gradients) - one_step(optim.Adam, 0.0, w, gradients)
lesson.claim("AdamW, less Adam, less -lr decay w", np.abs(term + 1e-3 * 0.3 * w).max(), "<=", 1e-15, row="C04", kind="E")

to_and_fro = [np.array([1.0, 100.0]) * (-1) ** t for t in range(1000)]
shrunk = {rule.__name__: one_step(rule, 0.5, np.ones(2), to_and_fro) for rule in (optim.Adam, optim.AdamW)}
print("  weights of 1 after 1,000 steps, small and large gradients: " +
      ", ".join(f"{name} {a:.3f} and {b:.3f}" for name, (a, b) in shrunk.items()))
lesson.claim("AdamW: size of the second weight over the first", shrunk["AdamW"][1] / shrunk["AdamW"][0], "in", (0.999, 1.001),
             row="C04", kind="E", baseline=shrunk["Adam"][1] / shrunk["Adam"][0], oracle=1)

# %% [markdown]
# ## Large batches: LAMB
#
# With many machines one would like large batches: few steps, each by a precise gradient. Fewer steps must be longer, and then
# some layer is the first that cannot bear it: one whose weights are small, and its gradients large. LAMB (2019) takes AdamW's
# step u and scales it layer by layer, by the trust ratio |w| / |u|. A layer then moves by the share lr of its own size.

# %%
def lamb_by_hand(w, g, lr, eps=1e-6, decay=0.01):
    """The first step, where the corrected averages are g and g^2."""
    u = g / (np.abs(g) + eps) + decay * w
    return w - lr * np.linalg.norm(w) / np.linalg.norm(u) * u

model = MLP(64, 32, 10).double()                            # to compare all digits
before = [p.detach().numpy().copy() for p in model.parameters()]
F.cross_entropy(model(Tensor(x64[:32])), Tensor(labels[:32])).backward()
optim.LAMB(model.parameters(), lr=0.02).step()
moved = [(w, p.grad.numpy(), p.detach().numpy()) for w, p in zip(before, model.parameters())]
error = max(np.abs(after - lamb_by_hand(w, g, 0.02)).max() for w, g, after in moved)
share = max(abs(np.linalg.norm(after - w) / np.linalg.norm(w) - 0.02) for w, g, after in moved)
lesson.claim("LAMB: a step, the library's less |w| / |u| by hand", error, "<=", 1e-12, row="C05", kind="E")
lesson.claim("LAMB: a layer moves by the share lr of itself, less lr", share, "<=", 1e-12, row="C05", kind="E")

# The digits again, with a deeper network. In all runs the network sees every picture equally often; in batches of 1,024 that
# is one step for every forty-five. All runs warm up over the first fifth of their steps and then fall to 0 along a line, and
# every optimizer has the best of four learning rates. One test picture is 0.3 points, and on some seeds LAMB stays a little more
# than one point below the small batches, so two are promised; SGD stays five and more below.

# %%
test_images, test_labels = load_digits("test")
test_images = Tensor(test_images.reshape(-1, 64))
epochs = lesson.pick(120, 2)

def train(rule, batch_size, **options):
    """(accuracy on the test set, loss at every step) of a network trained from the same start."""
    backend.manual_seed(lesson.seed)
    model, losses = MLP(64, 128, 128, 128, 128, 10), []
    optimizer, steps = rule(model.parameters(), **options), epochs * (len(images) // batch_size)
    warm = steps // 5
    phases = [lr_scheduler.LinearLR(optimizer, 0.1, total_iters=warm), lr_scheduler.PolynomialLR(optimizer, steps - warm)]
    scheduler = lr_scheduler.SequentialLR(optimizer, phases, [warm])
    for _ in lesson.progress(range(epochs), f"{rule.__name__}, batches of {batch_size}"):
        for x, y in batches(images, labels, batch_size=batch_size, drop_last=True):
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            scheduler.step()
            losses.append(loss.item())
    with no_grad():
        return accuracy(model(test_images), test_labels), losses

runs = {"SGD, batches of 32": train(optim.SGD, 32, lr=0.05, momentum=0.9)}
with backend.ignore_float_errors():
    for name, rule, grid, options in (("SGD", optim.SGD, (0.05, 0.1, 0.2, 0.4), dict(momentum=0.9)),
                                      ("LAMB", optim.LAMB, (0.02, 0.03, 0.045, 0.06), {})):
        each = [train(rule, 1024, lr=lr, **options) for lr in lesson.pick(grid, grid[:1])]
        print(f"  {name}, batches of 1,024, at lr {', '.join(map(str, grid))}: " + ", ".join(f"{a:.3f}" for a, _ in each))
        runs[f"{name}, batches of 1,024"] = max(each, key=lambda run: run[0])
small, large_sgd, large_lamb = (a for a, _ in runs.values())
lesson.claim("digits, batches of 1,024, LAMB: accuracy less small batches'", large_lamb - small, ">=", -0.02, row="C05",
             kind="C", baseline=large_sgd - small)
lesson.claim("digits, batches of 1,024, SGD: accuracy less small batches'", large_sgd - small, "<", -0.01, row="C05", kind="C")

# %% [markdown]
# ## One gradient too many: clipping
#
# A recurrent network multiplies by the same matrix at every time step, forwards and backwards. If that makes things a little
# larger, forty times makes them huge: most gradients are harmless, and one now and then is a cliff. The cure is to keep the
# direction and to limit the length: if the norm of all gradients together is more than c, scale them to c.
#
# The task: of forty random numbers two are marked; say their sum at the end. Answering 1 always gives an error of 1/6.

# %%
ps = [nn.Parameter(rng.standard_normal(shape)) for shape in ((3, 4), (5,))]
worst = 0.0
for c in (0.1, 1.0, 3.0, 10.0):
    for p in ps:
        p.grad = tensor(rng.standard_normal(p.shape), dtype=np.float64)
    norm = np.linalg.norm(np.concatenate([p.grad.numpy().ravel() for p in ps]))
    optim.clip_grad_norm_(ps, c)
    worst = max(worst, abs(np.linalg.norm(np.concatenate([p.grad.numpy().ravel() for p in ps])) - min(norm, c)))
lesson.claim("clipping: norm after, less min(norm, c)", worst, "<=", 1e-12, row="C06", kind="E", oracle=0)

def two_marked(n, T=40):
    """(T, n, 2) numbers and marks, and (n,) the sum of the marked ones."""
    numbers, marks, rows = rng.random((T, n)), np.zeros((T, n)), np.arange(n)
    marks[rng.integers(0, T // 2, n), rows] = marks[rng.integers(T // 2, T, n), rows] = 1
    return tensor(np.stack([numbers, marks], axis=2), dtype=np.float32), tensor((numbers * marks).sum(axis=0), dtype=np.float32)

def recurrent(limit, steps, units=32, lr=0.01):
    """The losses and the norms of the gradients of h <- relu(W x + U h + b), U starting at the identity."""
    backend.manual_seed(lesson.seed)
    read, carry, answer = nn.Linear(2, units), nn.Parameter(np.eye(units, dtype=np.float32)), nn.Linear(units, 1)
    ps, losses, norms = [carry, *read.parameters(), *answer.parameters()], [], []
    optimizer = optim.SGD(ps, lr=lr)
    for _ in lesson.progress(range(steps), f"RNN, norm at most {limit}"):
        x, y = two_marked(32)
        h = zeros(32, units)
        for x_t in x:
            h = F.relu(read(x_t) + h @ carry.T)             # (32, units)
        loss = F.mse_loss(answer(h)[:, 0], y)
        optimizer.zero_grad()
        loss.backward()
        norms.append(float(optim.clip_grad_norm_(ps, limit)))
        optimizer.step()
        losses.append(loss.item())
    return np.array(losses), np.array(norms)

with backend.ignore_float_errors():
    (free, free_norms), (clipped, norms) = (recurrent(limit, lesson.pick(500, 20)) for limit in (math.inf, 1.0))
print(f"  the first gradient's norm: {norms[0]:.0f}; unlimited, {np.argmin(np.isfinite(free))} steps have a loss")
lesson.claim("RNN without clipping: share of steps with a loss", np.isfinite(free).mean(), "<", 1, row="C06", kind="E")
lesson.claim("RNN with clipping: share of steps with a loss", np.isfinite(clipped).mean(), "==", 1, row="C06", kind="E",
             baseline=np.isfinite(free).mean())
lesson.claim("RNN with clipping: loss at the end", clipped[-20:].mean(), "<=", 0.22, row="C06", kind="C", baseline=clipped[0],
             oracle=1 / 6)

# %%
def contours(axes, f, box, title, levels):
    """Lines of equal height of f, lower ones lighter."""
    x, y = np.meshgrid(np.linspace(*box[:2], 200), np.linspace(*box[2:], 200))
    axes.contour(x, y, f((x, y)), levels=levels, colors="#b8c0c6", linewidths=0.7)
    axes.grid(False)
    axes.set_title(title, loc="left", fontsize=11)
    axes.set(xlim=box[:2], ylim=box[2:])

if lesson.draws:
    figure, ((first, second, third), (distances, digits, clipping)) = panels(2, 3, size=(14.5, 8.4))
    rules = {"descent": (optim.SGD, {}), "momentum": (optim.SGD, dict(momentum=0.9)), "RMSprop": (optim.RMSprop, {}),
             "Adam": (optim.Adam, {})}
    wide = bowl(20.0)
    landscapes = [              # panel, f, box, title, levels, start, minima, steps, lr of each rule
        (first, wide, (-2.4, 2.4, -2.3, 2.3), "a bowl, kappa = 20", np.geomspace(0.05, 60, 12), (-1.9, 1.8), [(0, 0)], 60,
         (0.09, 0.03, 0.1, 0.2)),
        (second, rosenbrock, (-1.8, 1.6, -0.7, 2.6), "Rosenbrock's valley", np.geomspace(0.3, 1500, 12), begin, [(1, 1)], 400,
         (0.0012, 0.0006, 0.02, 0.1)),
        (third, saddle, (-1.2, 1.2, -0.4, 1.5), "a saddle", np.linspace(-0.25, 0.9, 14), near, [(0, 1)], 40,
         (0.1, 0.1, 0.02, 0.1)),
    ]
    for axes, f, box, title, levels, start, minima, steps, rates in landscapes:
        contours(axes, f, box, f"{title}, {steps} steps", levels)
        for (name, (rule, options)), lr in zip(rules.items(), rates):
            places = walk(f, start, rule, steps, lr=lr, **options)
            (line,) = axes.plot(*places.T, linewidth=1.3, label=name, alpha=0.9)
            axes.plot(*places[-1], "o", color=line.get_color(), markersize=6, zorder=5)
        axes.plot(*start, "s", color="black", markersize=5)
        axes.plot(*np.array(minima).T, "*", color="black", markersize=11)
    first.legend(frameon=False, fontsize=9, loc="lower left")

    curves = {f"descent, {steps_to(plain)} steps": plain, f"momentum, {steps_to(ball)} steps": ball}
    plot_curves({name: np.linalg.norm(places, axis=1) for name, places in curves.items()}, xlabel="step", ylabel="distance",
                log="y", title="a bowl, kappa = 100, the best lr", axes=distances)
    distances.set_ylim(1e-8, 5)
    plot_curves({name: (np.linspace(0, epochs, len(losses)), losses) for name, (_, losses) in runs.items()}, xlabel="epoch",
                ylabel="loss", log="y", title="digits, each at its best lr", axes=digits)
    digits.lines[0].set(linewidth=0.6, alpha=0.6)
    digits.set_ylim(1e-4, 300)
    digits.legend(frameon=False, fontsize=9, loc="upper right")
    plot_curves({"loss": clipped, "norm of the gradient": norms}, xlabel="step", log="y",
                title="an RNN whose gradients are clipped to 1", axes=clipping)
    clipping.lines[1].set(linewidth=0.8, alpha=0.8)
    clipping.axhline(1, color="black", linewidth=0.6, alpha=0.5)
    clipping.plot(free_norms[np.isfinite(free_norms)], "x", color=colors(3)[2], label="the last without clipping")
    clipping.legend(frameon=False, fontsize=9)
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Which lr is best for momentum 0.9 in the bowl of kappa = 100? Compare with Polyak's.
# - Turn the bowl to angle 0. Adam now is much better than with angle 0.6. Why? (It knows the axes of w only.)
# - Lion keeps only the sign of its momentum. Put `optim.Lion` into the figure, with a tenth of Adam's lr.
# - All runs here let the lr fall, or it was chosen for us. Lesson 09 asks how it should go.
