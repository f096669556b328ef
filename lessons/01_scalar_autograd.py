"""Lesson 01: Scalar autograd, the chain rule as bookkeeping

Every lesson of this course makes a number small by changing other numbers, and for that it needs derivatives: of one result
with respect to thousands of inputs, through programs that nobody wants to differentiate with a pencil. How can a program know
its own derivative?

It remembers. Every number that is computed keeps a note of what it was computed from, and of the slope of that one step. The
chain rule says that slopes multiply along a path and that paths add up; all that is left is to walk the notes in the right
order. You will build this in thirty lines, see what the wrong order does, and find the same walk inside `Tensor`.

Papers: Linnainmaa 1970; Speelpenning 1980; Rumelhart, Hinton & Williams 1986; Baydin et al. 2018, arXiv:1502.05767.
"""
# %%
import itertools
import time

import numpy as np

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F
from tinygrad_edu.lesson import Lesson, output_folder
from tinygrad_edu.viz import draw_graph, graph_figure

lesson = Lesson("01_scalar_autograd")

# %% [markdown]
# ## A number that remembers
#
# For y = a b the slope towards a is b, and towards b it is a. Both are plain numbers at the moment when a and b meet, so we
# write them down right there, beside the two parents. A birth number says who was made before whom.

# %%
class Value:
    """A number, dy/d(itself), and the numbers it was made of, each with the slope of that step."""
    clock = itertools.count()

    def __init__(self, data, parents=()):
        self.data, self.grad = data, 0.0
        self.parents = parents                              # pairs (parent, d self / d parent)
        self.birth = next(Value.clock)

    def __add__(self, other):
        return Value(self.data + other.data, [(self, 1.0), (other, 1.0)])

    def __mul__(self, other):
        return Value(self.data * other.data, [(self, other.data), (other, self.data)])

    def ancestors(self):
        """Everything this number was made of, itself included, youngest first."""
        found, stack = {self}, [self]
        while stack:
            for parent, _ in stack.pop().parents:
                if parent not in found:
                    found.add(parent)
                    stack.append(parent)
        return sorted(found, key=lambda value: value.birth, reverse=True)

    def backward(self):
        self.grad = 1.0
        for value in self.ancestors():
            for parent, slope in value.parents:
                parent.grad += slope * value.grad

# %% [markdown]
# ## What the order is for
#
# The expression that decides: c and d are each used twice, so two messages travel to each of them.
#
#     c = a + b      d = a b      y = (c + d) + c d            at a = 2, b = 3
#
# With a pencil: dy/dc = 1 + d = 7 and dy/dd = 1 + c = 6, so dy/da = 7 * 1 + 6 * 3 = 25 and dy/db = 7 * 1 + 6 * 2 = 19.
#
# First the run without the idea: a recursive walk that hands a number's gradient on as soon as anything has arrived. When the
# second message comes, the first one, already passed on, is passed on again. Which wrong answer comes out depends on which
# branch is walked first.

# %%
def expression(a, b):
    c = a + b
    d = a * b
    return (c + d) + c * d

def pass_on(value, order):
    """The naive walk; `order` picks the branch to walk first."""
    for parent, slope in order(value.parents):
        parent.grad += slope * value.grad
    for parent, _ in order(value.parents):
        pass_on(parent, order)

def naive_gradient(order):
    a, b = Value(2.0), Value(3.0)
    y = expression(a, b)
    y.grad = 1.0
    pass_on(y, order)
    return a.grad

left_first, right_first = naive_gradient(list), naive_gradient(lambda parents: list(reversed(parents)))
print(f"dy/da by the naive walk: {left_first:g} with the left branch first, {right_first:g} with the right one. It is 25.")

a, b = Value(2.0), Value(3.0)
expression(a, b).backward()
lesson.claim("naive walk, right branch first: dy/da (wrong)", right_first, "==", 46.0, row="A03", kind="E", oracle=25.0)
lesson.claim("Value, youngest first: dy/da", a.grad, "==", 25.0, row="A03", kind="E", baseline=right_first, oracle=25.0)
lesson.claim("Value, youngest first: dy/db", b.grad, "==", 19.0, row="A03", kind="E", oracle=19.0)

# A number is younger than everything it was made of. Visited youngest first, it has heard from all who used it before its turn
# comes, and it is asked once. No other sorting is needed: the order in which things happened is a topological order.

# %% [markdown]
# ## Right, but slow
#
# The naive walk can be repaired differently: hand on only what has just arrived. That is the chain rule word for word, the sum
# over all paths, and it is right. But x = x + x, twenty times, has a million paths, and only twenty numbers.

# %%
def sum_over_paths(value, gradient):
    """The chain rule word for word. Returns how many calls it took."""
    value.grad += gradient
    return 1 + sum(sum_over_paths(parent, gradient * slope) for parent, slope in value.parents)

def doubled(x, times):
    for _ in range(times):
        x = x + x
    return x

depth = lesson.pick(16, fast=12)
x = Value(1.0)
calls = sum_over_paths(doubled(x, depth), 1.0)
by_paths, x = x.grad, Value(1.0)
y = doubled(x, depth)
y.backward()
print(f"x = x + x, {depth} times: {calls} calls along the paths, {len(y.ancestors())} visits youngest first")
lesson.claim("doubling: walk - sum over paths, dy/dx", abs(x.grad - by_paths), "==", 0.0, row="A03", kind="E")
lesson.claim("doubling: numbers visited, youngest first", len(y.ancestors()), "==", depth + 1, row="A03", kind="S",
             baseline=calls)

# %% [markdown]
# ## Ten thousand steps
#
# A network that is run over a long sequence, or a simulated trajectory, is a chain of many thousand steps. A recursive walk
# breaks at Python's limit of about a thousand. Ours has no recursion. The chain is y = x w w .. w, n times, so
# dy/dx = w^n and dy/dw = n x w^(n-1). From here on `Tensor`, the library's Value, must do everything that ours does.

# %%
def chain(x, w, steps):
    for _ in range(steps):
        x = x * w
    return x

steps, ratio = 10_000, 1.0001
x, w = Value(0.5), Value(ratio)
y = chain(x, w, steps)
y.grad = 1.0
try:
    pass_on(y, list)
    broke = False
except RecursionError:
    broke = True
lesson.claim("10,000 steps: the recursive walk breaks", broke, "==", True, row="A03", kind="E")

x, w = Value(0.5), Value(ratio)
chain(x, w, steps).backward()
tx, tw = Tensor(np.array(0.5), requires_grad=True), Tensor(np.array(ratio), requires_grad=True)
chain(tx, tw, steps).backward()
exact = np.array([ratio ** steps, steps * 0.5 * ratio ** (steps - 1)])
for name, gradients in (("Value", [x.grad, w.grad]), ("Tensor", [tx.grad.item(), tw.grad.item()])):
    lesson.claim(f"10,000 steps, {name}: relative error", np.max(abs(gradients / exact - 1)), "<=", 1e-10, row="A03", kind="E")

# %% [markdown]
# ## The same graph in the library
#
# A Tensor holds an array instead of one number, and a slope becomes a small program: the `backward` of the operation that made
# it. The rest is what you have just written; read `run_backward` in tinygrad_edu/autograd.py. Two things are worth knowing.
# Gradients of leaves *add up* over several calls of backward(), as `parent.grad +=` suggests. And a walk frees the graph behind
# it, unless it is told that there will be another one.

# %%
a, b = Tensor(2.0, requires_grad=True), Tensor(3.0, requires_grad=True)
y = expression(a, b)
y.backward(retain_graph=True)
lesson.claim("Tensor: dy/da", a.grad, "==", 25.0, row="A02", kind="E", baseline=right_first, oracle=25.0)
y.backward()
lesson.claim("Tensor: dy/da after a second backward()", a.grad, "==", 50.0, row="A02", kind="E", oracle=50.0)
try:
    y.backward()
    refused = False
except RuntimeError as error:
    refused = True
    print(f"a third time: {error}")
lesson.claim("Tensor: walking a freed graph is refused", refused, "==", True, row="A02", kind="E")

# %% [markdown]
# ## A picture of it
#
# Boxes are tensors with their value and gradient, ellipses are operations. `draw_graph` writes the text that Graphviz lays out,
# and the picture if Graphviz is here; `graph_figure` draws the same with matplotlib alone. Gradients of interior tensors are
# kept only on request: in a large network they would be most of the memory.

# %%
a, b = Tensor(2.0, requires_grad=True), Tensor(3.0, requires_grad=True)
c, d = (a + b).retain_grad(), (a * b).retain_grad()
left, right = (c + d).retain_grad(), (c * d).retain_grad()
y = (left + right).retain_grad()
y.backward(retain_graph=True)
names = dict(a=a, b=b, c=c, d=d, y=y) | {"c + d": left, "c d": right}

dot = draw_graph(y, output_folder() / "01_scalar_autograd_graph.svg" if lesson.draws else None, names=names).source
lesson.claim("DOT text: nodes, 7 tensors and 5 operations", dot.count("label="), "==", 7 + 5, row="A09", kind="S")
lesson.claim("DOT text: arrows, 2 into and 1 out of each operation", dot.count("->"), "==", 5 * 3, row="A09", kind="S")
shown = [f"{t.item():.3g}\\lgrad {t.grad.item():.3g}" in dot for t in names.values()]
lesson.claim("DOT text: tensors with value and gradient", sum(shown), "==", 7, row="A09", kind="S")
if lesson.draws:
    lesson.save(graph_figure(y, names=names))

# %% [markdown]
# ## A network by hand
#
# How people did it before: derive every gradient on paper, and program the result. N samples, two layers, cross-entropy:
#
#     Z = X W1' + b1      A = relu(Z)      L = A W2' + b2      P = softmax(L)      loss = -mean ln P[n, t_n]
#
# From the end backwards, one line for each line above, gM short for d loss / dM:
#
#     gL = (P - onehot(t)) / N        gW2 = gL' A,  gb2 = sum gL,  gA = gL W2
#     gZ = gA where Z > 0, else 0     gW1 = gZ' X,  gb1 = sum gZ
#
# Change the network, and you derive again. The tape reads off the same numbers from the forward pass alone.

# %%
rng = np.random.default_rng(lesson.seed)
N, D, H, K = 128, 64, 256, 10
X, t = rng.standard_normal((N, D)), rng.integers(0, K, N)
weights = [rng.standard_normal((H, D)) / 8, rng.standard_normal(H), rng.standard_normal((K, H)) / 16, rng.standard_normal(K)]

def by_hand(W1, b1, W2, b2):
    Z = X @ W1.T + b1                                       # (N, H)
    A = np.maximum(Z, 0)
    L = A @ W2.T + b2                                       # (N, K)
    P = np.exp(L - L.max(axis=1, keepdims=True))
    P /= P.sum(axis=1, keepdims=True)

    gL = (P - np.eye(K)[t]) / N
    gZ = gL @ W2 * (Z > 0)                                  # (N, H)
    return -np.log(P[np.arange(N), t]).mean(), [gZ.T @ X, gZ.sum(axis=0), gL.T @ A, gL.sum(axis=0)]

inputs, labels = Tensor(X), Tensor(t)
parameters = [Tensor(w, requires_grad=True) for w in weights]

def by_tape(W1, b1, W2, b2):
    hidden = F.relu(F.linear(inputs, W1, b1))
    return F.cross_entropy(F.linear(hidden, W2, b2), labels)

def difference(a, b):
    """The largest |a - b|, relative to the largest |b|."""
    return np.max(abs(a - b)) / np.max(abs(b))

value, gradients = by_hand(*weights)
loss = by_tape(*parameters)
loss.backward()
errors = [difference(loss.item(), value)] + [difference(p.grad.numpy(), g) for p, g in zip(parameters, gradients)]
lesson.claim("2-layer network: tape against pencil, relative", max(errors), "<=", 1e-10, row="A04", kind="E")

# What does it cost? Two matrix products backward for each one forward; the survey promises less than six evaluations for any
# program. Against that stand the differences (f(w + h) - f(w)) / h: one evaluation for each of 19,210 weights.

# %%
def timed(function):
    start = time.perf_counter()
    result = function()
    result.item()                                           # a device works on its own; wait until it has the answer
    return time.perf_counter() - start, result

def backward_once():
    loss.backward()
    return parameters[0].grad[0, 0]

ratios = []
for _ in range(lesson.pick(60, fast=10)):
    forward_seconds, loss = timed(lambda: by_tape(*parameters))
    ratios.append(timed(backward_once)[0] / forward_seconds)
lesson.claim("2-layer network: backward / forward time, median", np.median(ratios), "<=", 5.0, row="A02", kind="C",
             baseline=sum(w.size for w in weights))

# %% [markdown]
# ## Any program
#
# Is the engine right on programs that nobody has chosen? Draw 200 of them: a few arrays that broadcast against each other, and
# a dozen operations, each on results picked at random among all the earlier ones, so that some are used often and some never.
# Each program is a plain function, and the library's functions take arrays as well as Tensors. So it can be asked three ways:
#
# - **differences**: the gradient of a scalar <u, f(x)> against (f(x + h) - f(x - h)) / 2h, element by element;
# - **complex step**: for f made of smooth functions, J v = Im f(x + i h v) / h, where nothing is subtracted, so h may be 1e-30
#   and J v is exact to the last digit;
# - **the adjoint test**: <u, J v> must equal <J'u, v>. The left side comes from the complex step, which has never heard of
#   backward(), and the right side from the tape.

# %%
SMOOTH = [lambda p, q: p + q, lambda p, q: p - q, lambda p, q: p * q, lambda p, q: p / (2 + tg.sin(q)), lambda p, q: tg.tanh(p),
          lambda p, q: tg.sigmoid(p), lambda p, q: tg.cos(p), lambda p, q: tg.exp(tg.sin(p)), lambda p, q: p * q.mean(),
          lambda p, q: tg.sum(p, axis=0) / 3 + q, lambda p, q: p @ tg.swapaxes(q, 0, 1) @ p / 4]
SHAPES = [(3, 4), (1, 4), (3, 1)]

def random_program(steps=12):
    """A function of three arrays or Tensors, (3, 4), (1, 4) and (3, 1): its (3, 4) result in [-1, 1]."""
    plan = [(rng.choice(len(SMOOTH)), *rng.choice(3 + k, 2, replace=False)) for k in range(steps)]

    def program(*xs):
        made = [x + xs[0] / 2 for x in xs]                  # all (3, 4) from here on
        for op, i, j in plan:
            made.append(tg.sin(SMOOTH[op](made[i], made[j])))   # bounded, so that no program runs away
        return made[-1] * made[-2]
    return program

def central_differences(f, xs, u, h=1e-5):
    """d<u, f(xs)> / dxs, one element after the other."""
    slopes = [np.zeros(x.shape) for x in xs]
    for x, slope in zip(xs, slopes):
        for place in np.ndindex(x.shape):
            before = x[place]
            x[place] = before + h
            up = np.sum(u * f(*xs))
            x[place] = before - h
            slope[place] = (up - np.sum(u * f(*xs))) / (2 * h)
            x[place] = before
    return slopes

difference_errors, adjoint_errors = [], []
for _ in lesson.progress(range(200), "random programs"):
    f = random_program()
    xs, v = [rng.standard_normal(s) for s in SHAPES], [rng.standard_normal(s) for s in SHAPES]
    u = rng.standard_normal((3, 4))
    leaves = [Tensor(x, requires_grad=True) for x in xs]
    f(*leaves).backward(u)
    g = [leaf.grad.numpy() if leaf.grad is not None else np.zeros(leaf.shape) for leaf in leaves]       # J'u

    flat, slopes = (np.concatenate([a.ravel() for a in arrays]) for arrays in (g, central_differences(f, xs, u)))
    difference_errors.append(np.linalg.norm(flat - slopes) / np.linalg.norm(slopes))

    Jv = f(*[x + 1e-30j * direction for x, direction in zip(xs, v)]).imag / 1e-30
    left, right = u * Jv, np.concatenate([(a * b).ravel() for a, b in zip(g, v)])
    adjoint_errors.append(abs(left.sum() - right.sum()) / max(abs(left).sum(), abs(right).sum()))

lesson.claim("200 random programs: gradient against differences", np.max(difference_errors), "<", 1e-6, row="A02", kind="E")
lesson.claim("200 random programs: |<u, Jv> - <J'u, v>|", np.max(adjoint_errors), "<=", 1e-10, row="A02", kind="E")

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Give Value a `tanh`, train a neuron `(a * w + b).tanh()` with it, and draw the graph of one step.
# - In `backward`, sort oldest first. Which of the claims notice?
# - Make `slope` itself a Value instead of a number. What does `grad` then remember, and what is it good for? (Lesson 04.)
#
# One number at a time is slow: one pass of the network above would take five million Values. Lesson 02 puts arrays in their
# place.
