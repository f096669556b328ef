"""Lesson 02: Tensors, broadcasting and backends

Lesson 01 differentiates any program, one number at a time. A small network multiplies ten million numbers for one loss, and at
a tenth of a microsecond of Python each that is a second, where the machine needs a thousandth of it. The remedy is old: let
one operation work on a whole array, and let somebody else write the loop.

That brings four questions, and this lesson answers them with measurements. Does a Tensor compute what the array would? What is
the derivative of broadcasting, that convenient habit of arrays to repeat themselves? What is gained at each step from Python's
loops to a written kernel? And what must a library refuse to do so that the same line runs on another machine, a GPU?

Papers: Iverson 1962, A Programming Language; van der Walt, Colbert & Varoquaux 2011, arXiv:1102.1523 (the NumPy array).
"""
# %%
import contextlib
import inspect
import itertools
import math
import time
import tracemalloc
from pathlib import Path

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F, optim
from tinygrad_edu.autograd import Function
from tinygrad_edu.data import batches, load_digits
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.models.foundations.mlp import MLP
from tinygrad_edu.testing.strict_cupy import strict_cupy
from tinygrad_edu.viz import colors, panels

lesson = Lesson("02_tensors_and_backends")
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## Where does a tensor live?
#
# A Tensor is an array (`.data`), and a note of where it came from. The array is NumPy's in main memory, or CuPy's on a GPU; two
# libraries with the same words. This is what is here, and why the rest is not:

# %%
print(tg.describe_devices())
lesson.claim("a new tensor lies on --device", Tensor([1.0, 2.0]).device == lesson.device, "==", True, row="V10", kind="E")

# %% [markdown]
# ## Every operation, beside NumPy
#
# The library borrows NumPy's names, so it can be tested by calling both. Each row is one call: with Tensors for `f` = the
# library, with arrays for `f` = NumPy. Shapes are drawn at random: no axes at all, axes of length 0, and pairs that broadcast
# are among them. (Twenty of about a hundred operations; tests/op_table.py has a row for every one, with its gradients.)

# %%
CALLS = [
    lambda f, x, y, m: f.exp(x) + f.sin(x) * f.cos(x) - f.tanh(x),
    lambda f, x, y, m: f.log1p(abs(x)) + f.sqrt(x * x),
    lambda f, x, y, m: x + y, lambda f, x, y, m: x - y, lambda f, x, y, m: x * y, lambda f, x, y, m: x / (1 + y * y),
    lambda f, x, y, m: f.maximum(x, y) - f.minimum(x, y),
    lambda f, x, y, m: f.where(x > 0, x, y),
    lambda f, x, y, m: f.sum(x) + f.prod(x),
    lambda f, x, y, m: f.mean(m, axis=0, keepdims=True) + f.var(m, axis=1, keepdims=True),
    lambda f, x, y, m: f.max(m, axis=1) - f.min(m, axis=1),
    lambda f, x, y, m: f.cumsum(m, axis=1) + f.cumprod(m, axis=0),
    lambda f, x, y, m: f.concatenate([m, f.flip(m, 0)], axis=0),
    lambda f, x, y, m: m[1:, ::2], lambda f, x, y, m: m[[0, 0, 2]],
    lambda f, x, y, m: f.matmul(m, m.T), lambda f, x, y, m: f.einsum("ij,kj->ik", m, m),
]

def draw_operands():
    """x and y broadcast, to x's shape, and may be empty or have no axes; m has two axes."""
    shape = tuple(rng.integers(0, 5, rng.integers(0, 5)))
    stretched = tuple(1 if rng.random() < 0.3 else n for n in shape)[rng.integers(0, len(shape) + 1):]
    return rng.uniform(-3, 3, shape), rng.uniform(-3, 3, stretched), rng.standard_normal(rng.integers(3, 6, 2))

def difference(ours, theirs):
    """The largest |ours - theirs|, relative where theirs is above 1; infinite if the shapes differ."""
    if isinstance(theirs, (tuple, list)):
        return np.max([difference(a, b) for a, b in zip(ours, theirs, strict=True)])
    ours, theirs = (ours.numpy() if isinstance(ours, Tensor) else ours) * 1.0, np.asarray(theirs) * 1.0
    if ours.shape != theirs.shape:
        return math.inf
    return np.max(abs(ours - theirs) / np.maximum(1, abs(theirs)), initial=0.0)

draws, worst = lesson.pick(200, fast=40), 0.0
for _ in range(draws):
    arrays = draw_operands()
    tensors = [Tensor(a) for a in arrays]
    worst = np.max([worst] + [difference(call(tg, *tensors), call(np, *arrays)) for call in CALLS])
lesson.claim(f"{len(CALLS)} expressions, {draws} draws of shapes: largest difference from NumPy", worst, "<=", 1e-12,
             row="A01", kind="E")

# %% [markdown]
# ## Broadcasting is a matrix, too
#
# (3, 1) + (4,) gives (3, 4): every array acts as if it were repeated along the axes that it lacks or that have length 1. To
# repeat is linear, y = B x with a tall matrix B of zeros and ones. So the chain rule needs B', and it is plain to see what that
# does: an entry that was handed to many places collects the gradients of all of them. *The gradient of repeating is summing.*
#
# A backward that forgets it returns a gradient of the result's shape. In this library that is an error:

# %%
class CarelessAdd(Function):
    """y = a + b, and a backward as if nothing had been stretched."""
    def forward(self, a, b):
        return a + b
    def backward(self, gy):
        return gy, gy

def careless_add(a, b):
    return CarelessAdd().apply(a, b)

def message(error_class, call):
    """What `call` is refused with; None if it is not refused."""
    try:
        call()
    except error_class as error:
        return str(error)

column, row = Tensor(rng.standard_normal((3, 1)), requires_grad=True), Tensor(rng.standard_normal(4), requires_grad=True)
careless = message(RuntimeError, careless_add(column, row).sum().backward)
print(f"without the sum: {careless}")
lesson.claim("a gradient of the stretched shape is refused", careless is not None, "==", True, row="A06", kind="E")

# The sum is written once, in the engine (`autograd.sum_to`, five lines), and every elementwise operation gets it. Is it B'?
# That is to say <B x, u> = <x, B'u> for all x and u. Of up to five axes, each of x and y may lack some, has length 1 in others,
# and the full length in the rest: 63 x 63 pairs of shapes, and we try them all. And more at random, where lengths may be 0.

# %%
def stretches(lengths):
    """All shapes that broadcast to `lengths`."""
    for missing in range(len(lengths) + 1):
        yield from itertools.product(*[(1, n) for n in lengths[missing:]])

def adjoint_error(*shapes):
    x, y = xy = [Tensor(rng.standard_normal(shape), requires_grad=True) for shape in shapes]
    z = x + y                                                               # B_x x + B_y y
    u = rng.standard_normal(z.shape)
    errors = []
    for a, ga in zip(xy, tg.grad(z, xy, u)):                                # ga = B'u
        a = a.detach().numpy()
        left, right = np.broadcast_to(a, z.shape) * u, a * ga.numpy()
        errors.append(abs(left.sum() - right.sum()) / max(abs(left).sum(), abs(right).sum(), 1e-300))
    return np.max(errors)

pairs = list(itertools.product(stretches((2, 3, 4, 2, 3)), repeat=2))
for _ in range(lesson.pick(1000, fast=200)):
    possible = list(stretches(tuple(rng.integers(0, 4, 5))))
    pairs += [[possible[i] for i in rng.integers(0, len(possible), 2)]]
worst = np.max([adjoint_error(*pair) for pair in lesson.progress(pairs, "broadcasting")])
lesson.claim(f"<Bx, u> = <x, B'u>, {len(pairs)} pairs of shapes", worst, "<=", 1e-12, row="A06", kind="E")

# %% [markdown]
# ## The one that bites
#
# Broadcasting turns a mistake into an answer. A model predicts a column (n, 1), the targets lie in a row (n,), and their
# difference is a table (n, n): every prediction is compared with every target. Nothing complains. The loss falls. And the best
# that the model can do is to answer the mean, whatever it is shown.

# %%
x = rng.standard_normal(64)
targets = 2 * x + 0.1 * rng.standard_normal(64)

def fitted_slope(loss_of, target):
    slope, offset = Tensor(np.zeros(1), requires_grad=True), Tensor(np.zeros(1), requires_grad=True)
    for _ in range(300):
        loss = loss_of(Tensor(x[:, None]) * slope + offset, target)         # (64, 1) against the target
        for p, g in zip((slope, offset), tg.grad(loss, (slope, offset))):
            p.data -= 0.1 * g.data
    return slope.item()

def squares(prediction, target):
    return ((prediction - target) ** 2).mean()

blind = fitted_slope(squares, Tensor(targets))
lesson.claim("slope fitted with (n, 1) - (n,): blind", abs(blind), "<=", 1e-6, row="A06", kind="E", oracle=2.0)
seeing = fitted_slope(F.mse_loss, Tensor(targets[:, None]))
lesson.claim("slope fitted with (n, 1) - (n, 1)", seeing, "in", (1.9, 2.1), row="A06", kind="E", baseline=blind, oracle=2.0)
refusal = message(ValueError, lambda: fitted_slope(F.mse_loss, Tensor(targets)))
print(f"the library's loss: {refusal}")
lesson.claim("mse_loss refuses (n, 1) against (n,)", refusal is not None, "==", True, row="A06", kind="E")

# %% [markdown]
# ## Four ways to write it
#
# A convolution slides a small window over images and weighs what it sees; cross-entropy is the loss of a classifier. Each comes
# in four versions that compute the same: value, and gradients for a given cotangent u.
#
# 1. **loops**: Python and lists of numbers. What the formula says, and the derivative beside it.
# 2. **arrays**: NumPy without a loop over pixels; forward and backward derived by hand.
# 3. **tape**: a Tensor expression of primitives; the tape knows the derivative.
# 4. **kernel**: the library's hand-written pair, which is held to version 3 in the tests.

# %%
def conv_loops(x, w, u):
    (N, C, H, W), (O, _, K, _), (_, _, OH, OW) = x.shape, w.shape, u.shape
    y, gx, gw = (np.zeros(a.shape).tolist() for a in (u, x, w))
    x, w, u = x.tolist(), w.tolist(), u.tolist()
    for n in range(N):
        for o in range(O):
            for i in range(OH):
                for j in range(OW):
                    g = u[n][o][i][j]
                    for c in range(C):
                        for k in range(K):
                            for l in range(K):
                                y[n][o][i][j] += x[n][c][i + k][j + l] * w[o][c][k][l]
                                gx[n][c][i + k][j + l] += g * w[o][c][k][l]
                                gw[o][c][k][l] += g * x[n][c][i + k][j + l]
    return np.array(y), np.array(gx), np.array(gw)

def conv_arrays(x, w, u):
    (K, L), (OH, OW) = w.shape[2:], u.shape[2:]
    windows = sliding_window_view(x, (K, L), axis=(2, 3))                   # (N, C, OH, OW, K, L)
    y = np.tensordot(windows, w, ((1, 4, 5), (1, 2, 3))).transpose(0, 3, 1, 2)
    gw = np.tensordot(u, windows, ((0, 2, 3), (0, 2, 3)))
    gx = np.zeros(x.shape)
    for k, l in np.ndindex(K, L):
        gx[:, :, k : k + OH, l : l + OW] += np.tensordot(u, w[:, :, k, l], (1, 0)).transpose(0, 3, 1, 2)
    return y, gx, gw

def conv_tape(x, w):
    windows = tg.unfold(x, w.shape[2:])                                     # (N, C, K, L, OH, OW)
    return tg.einsum("ncklij,ockl->noij", windows, w)

def conv_kernel(x, w):
    return F.conv2d(x, w)

def entropy_loops(x, t, u):
    y, gx = [], []
    for row, target, g in zip(x.tolist(), t.tolist(), u.tolist()):
        top = max(row)
        powers = [math.exp(v - top) for v in row]
        total = sum(powers)
        y.append(math.log(total) + top - row[target])
        gx.append([g * (power / total - (k == target)) for k, power in enumerate(powers)])
    return np.array(y), np.array(gx)

def entropy_arrays(x, t, u):
    rows = np.arange(len(x))
    p = np.exp(x - x.max(axis=1, keepdims=True))                            # (N, K)
    p /= p.sum(axis=1, keepdims=True)
    y = -np.log(p[rows, t])
    p[rows, t] -= 1
    return y, p * u[:, None]

def entropy_tape(x, t):
    return F.nll_loss(tg.log_softmax(x), t, reduction="none")

def entropy_kernel(x, t):
    return F.cross_entropy(x, t, reduction="none")

def taped(function):
    """A Tensor function in the form of the others: arrays in, value and gradients out."""
    def run(*arrays):
        *inputs, u = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
        y = function(*inputs)
        y.backward(u)
        return (y.detach().numpy(), *[x.grad.numpy() for x in inputs if x.requires_grad])
    return run

# Lines of code, time of value and gradients together, and the most main memory in use at once:

# %%
def lines(function):
    return sum(1 for line in inspect.getsource(function).splitlines()[1:] if line.strip())

def median_seconds(run, arrays, budget):
    """The median over as many runs as fit into `budget` seconds, three at least."""
    run(*arrays)
    seconds = []
    while len(seconds) < 3 or sum(seconds) < budget:
        start = time.perf_counter()
        run(*arrays)
        seconds.append(time.perf_counter() - start)
    return float(np.median(seconds))

def peak_bytes(run, arrays):
    tracemalloc.start()
    run(*arrays)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak

conv_inputs = rng.standard_normal((8, 3, 14, 14)), rng.standard_normal((8, 3, 3, 3)), rng.standard_normal((8, 8, 12, 12))
entropy_inputs = rng.standard_normal((512, 100)), rng.integers(0, 100, 512), rng.standard_normal(512)
TOPICS = {
    "convolution": (conv_inputs, dict(loops=conv_loops, arrays=conv_arrays, tape=conv_tape, kernel=conv_kernel)),
    "cross-entropy": (entropy_inputs,
                      dict(loops=entropy_loops, arrays=entropy_arrays, tape=entropy_tape, kernel=entropy_kernel)),
}
measured = {}
print(f"{'topic':<15} {'version':<8} {'lines':>5} {'ms':>9} {'times faster':>13} {'peak kB':>8}")
for topic, (arrays, versions) in TOPICS.items():
    answers, measured[topic] = {}, {}
    for name, function in versions.items():
        run = function if name in ("loops", "arrays") else taped(function)
        answers[name] = run(*arrays)
        seconds = measured[topic][name] = median_seconds(run, arrays, budget=lesson.pick(0.5, fast=0.05))
        print(f"{topic:<15} {name:<8} {lines(function):5d} {1e3 * seconds:9.3f} {measured[topic]['loops'] / seconds:13.1f} "
              f"{peak_bytes(run, arrays) / 1e3:8.0f}")
    worst = np.max([difference(answers[name], answers["loops"]) for name in versions])
    lesson.claim(f"{topic}: four versions, value and gradient", worst, "<=", 1e-12, row="A10", kind="E")

def times_faster(topic, version):
    return measured[topic]["loops"] / measured[topic][version]

lesson.claim("convolution: loops / arrays, time", times_faster("convolution", "arrays"), ">=", 30, row="A10", kind="C")
lesson.claim("convolution: loops / kernel, time", times_faster("convolution", "kernel"), ">=", 30, row="W05", kind="C")
lesson.claim("cross-entropy: loops / kernel, time", times_faster("cross-entropy", "kernel"), ">=", 20, row="W05", kind="C")

# The step from loops to arrays is worth a factor of a hundred, and costs a derivation. The tape gives the derivation back and
# keeps most of the speed. A kernel is one step more, taken only where it is measured to pay, in time or in memory.

# %% [markdown]
# ## The same line on another machine
#
# `--device cuda` changes the array library underneath and nothing else: every operation asks its own arrays for their library,
# and random numbers are always drawn on the host, so a seed means the same on both. Two things could still go wrong. A host
# array could meet a device array; CuPy refuses that, loudly. And a line could quietly ask the device for a number, as
# `float(x)` and `if x > 0` do. A GPU works through a queue of orders while Python runs ahead; each such question waits until
# the queue is empty, and copies. So a training step asks nothing.
#
# Where there is a GPU we train on both. Where there is none, a strict stand-in takes CuPy's place: NumPy underneath, but its
# arrays are opaque. They refuse to meet host arrays, they cannot be converted unasked, and they count every question.

# %%
images, digits = load_digits("train")
images = images.reshape(len(images), -1)                                    # (1437, 64)

def train(device, steps=25, ask=False):
    """The weights at the start, and the loss at every step. Nothing is read back from the device, unless we `ask`."""
    tg.manual_seed(lesson.seed)
    tg.set_default_device(device)
    model, losses = MLP(64, 32, 10), []
    start = list(model.state_dict().values())
    optimizer = optim.Adam(model.parameters(), lr=3e-3)
    for inputs, labels in itertools.islice(batches(images, digits, batch_size=50), steps):
        loss = F.cross_entropy(model(inputs), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item() if ask else loss.detach())
    tg.set_default_device(lesson.device)
    return start, losses

def to_host(tensors):
    return [t.numpy() for t in tensors]

def mix():
    return Tensor([0.0, 1.0], device="cuda").data + np.ones(2)

def questions():
    return stand_in["syncs"] if stand_in else 0

start, losses = map(to_host, train("cpu"))
with contextlib.nullcontext() if lesson.device == "cuda" else strict_cupy() as stand_in:
    other_start, other_losses = train("cuda")
    quiet = questions()
    train("cuda", ask=True)
    talkative = questions() - quiet
    other_start, other_losses = to_host(other_start), to_host(other_losses)
    mixed = message(TypeError, mix)

place = "stand-in" if stand_in else "GPU"
curve_error = np.max(abs(np.array(other_losses) / np.array(losses) - 1))
lesson.claim(f"host and {place}: first weights", difference(other_start, start), "==", 0.0, row="A08", kind="E")
lesson.claim(f"host and {place}: loss curve, relative", curve_error, "<=", 1e-4, row="A08", kind="E")
lesson.claim("host array + device array is refused", mixed is not None, "==", True, row="A08", kind="E")
if stand_in:
    lesson.claim(f"questions to the device in {len(losses)} steps", quiet, "==", 0, row="A08", kind="E", baseline=talkative)

# The baseline is the same loop with `loss.item()` in it, to print the loss at every step: one question each.

# %% [markdown]
# ## What an independent framework says
#
# All this agrees with itself. Does it agree with anybody else? Once, PyTorch was asked for the values and gradients of some
# functions on random numbers, and for twenty steps of Adam on a small network. Its answers are frozen in a file of 43 kB that
# comes with the library (tests/test_golden.py writes it, and compares them all), so nothing needs PyTorch any more.

# %%
GOLDEN_CASES = {
    "matmul": tg.matmul, "gelu": F.gelu, "log_softmax": F.log_softmax, "cross_entropy": F.cross_entropy,
    "conv2d": lambda x, w, b: F.conv2d(x, w, b, stride=2, padding=1, dilation=(1, 2), groups=2),
    "layer_norm": lambda x, w, b: F.layer_norm(x, 5, w, b),
    "attention": lambda q, k, v: F.scaled_dot_product_attention(q, k, v, causal=True),
    "lstm": lambda *inputs: F.lstm(*inputs)[0],
}

def numbered(prefix):
    """golden[prefix + "0"], golden[prefix + "1"], ... while there are any."""
    return [golden[f"{prefix}{i}"] for i in itertools.takewhile(lambda i: f"{prefix}{i}" in golden, itertools.count())]

with np.load(Path(tg.__file__).parent / "data" / "files" / "golden.npz", allow_pickle=False) as file:
    golden = dict(file)

errors = []
for name, function in GOLDEN_CASES.items():
    ours = taped(function)(*numbered(f"{name}/input"), golden[f"{name}/cotangent"])
    errors.append(difference(ours, (golden[f"{name}/output"], *numbered(f"{name}/gradient"))))
lesson.claim(f"PyTorch, {len(errors)} functions: value and gradient", np.max(errors), "<=", 1e-10, row="X01", kind="E")

x, targets = Tensor(golden["training/x"]), Tensor(golden["training/targets"])
W1, b1, W2, b2 = parameters = [Tensor(w, requires_grad=True) for w in numbered("training/start")]
optimizer, losses = optim.Adam(parameters, lr=0.05), []
for _ in golden["training/losses"]:
    loss = F.cross_entropy(F.linear(tg.tanh(F.linear(x, W1, b1)), W2, b2), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    losses.append(loss.item())
ours = [np.array(losses), *[p.detach() for p in parameters]]
error = difference(ours, [golden["training/losses"], *numbered("training/end")])
lesson.claim(f"PyTorch, {len(losses)} steps of Adam: losses and weights", error, "<=", 1e-9, row="X01", kind="E")

# %% [markdown]
# ## The picture
#
# Left: what broadcasting repeats (pale), and how the gradient comes back: what was repeated gets a sum. Right: the four ways.

# %%
def draw_table(axes, values, corner, title, color, pale=False):
    """A small table with its upper left corner at `corner`; pale (bool, of the same shape): cells that are only copies."""
    from matplotlib.patches import Rectangle

    (x, y), pale = corner, np.broadcast_to(pale, values.shape)
    axes.text(x, y + 0.25, title, fontsize=9)
    for (i, j), value in np.ndenumerate(values):
        cell = Rectangle((x + j, y - i - 1), 1, 1, facecolor=color, alpha=0.15 if pale[i, j] else 0.5, edgecolor="white")
        axes.add_patch(cell)
        axes.text(x + j + 0.5, y - i - 0.5, f"{value:g}", ha="center", va="center", fontsize=9, alpha=0.5 if pale[i, j] else 1)

def draw_broadcast(axes):
    blue, orange, green = "#3f90da", "#ffa90e", "#92dadd"
    a, b, u = np.array([[10], [20], [30]]), np.array([[1, 2, 3, 4]]), rng.integers(0, 5, (3, 4))
    i, j = np.indices(u.shape)
    draw_table(axes, a + 0 * u, (0, 9), "a (3, 1), repeated", blue, j > 0)
    draw_table(axes, b + 0 * u, (6, 9), "b (4,), repeated", orange, i > 0)
    draw_table(axes, a + b, (12, 9), "a + b (3, 4)", green)
    draw_table(axes, u.sum(axis=1, keepdims=True), (0, 4), "gradient of a: row sums", blue)
    draw_table(axes, u.sum(axis=0, keepdims=True), (6, 4), "gradient of b: column sums", orange)
    draw_table(axes, u, (12, 4), "a gradient of a + b", green)
    for x, y, sign in ((5, 7.5, "+"), (11, 7.5, "="), (11, 2.5, r"$\leftarrow$")):
        axes.text(x, y, sign, ha="center", va="center", fontsize=14)
    axes.set(xlim=(-0.2, 16.4), ylim=(0.5, 10), aspect="equal")
    axes.set_axis_off()

def draw_times(axes):
    places = {}
    for topic, color in zip(measured, colors(2)):
        for version, seconds in measured[topic].items():
            places[f"{topic}: {version}"] = place = -len(places)
            axes.barh(place, 1e3 * seconds, color=color, height=0.7)
            faster = times_faster(topic, version)
            axes.text(1.15e3 * seconds, place, f"{1e3 * seconds:.2f} ms" + (f", {faster:.0f} x" if version != "loops" else ""),
                      va="center", fontsize=9)
    axes.set(xscale="log", xlim=(0.05, 1.5e3), xlabel="milliseconds for value and gradients")
    axes.set_yticks(list(places.values()), list(places))
    axes.grid(False, axis="y")

if lesson.draws:
    figure, (left, right) = panels(1, 2, size=(13, 4.4))
    draw_broadcast(left)
    draw_times(right)
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Write `conv_loops` with NumPy arrays in place of lists: `x[n, c, i + k, j + l]`. Is it faster or slower than lists, and why?
# - Add `strides` to conv_arrays. How many of its eight lines change, and how many of conv_tape's two?
# - Take the sum out of `autograd.sum_to`'s callers and run lesson 01. Which claims notice?
#
# We have compared derivatives with other derivatives. Lesson 03 asks what to do when there is nothing to compare with.
