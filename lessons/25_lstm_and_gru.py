"""Lesson 25: LSTM and GRU

The recurrent network of lesson 24 adds two numbers that lie ten steps apart, and cannot if they lie a hundred apart. What a
step does to its state, the gradient must undo on its way back, a hundred times: times 0.9 a hundred times is 0.00003.

So do nothing to the state. Keep a second one, c, that is not multiplied by a matrix and not bent, only added to: then the
gradient comes back as it left. What to add, what to forget and what to tell are left to gates, numbers from 0 to 1 that are
learned. You will write both cells in a few lines and hold them against the library's, in value, gradient and double gradient;
watch gates open at two numbers out of a hundred and stay shut for the rest; see the same cell learn later when it starts out
forgetful; put one network on another; and read a sequence from both ends. Expected: squared error below 0.02 where guessing has
0.167.

Papers: Hochreiter & Schmidhuber 1997; Gers, Schmidhuber & Cummins 2000 (the forget gate); Cho et al. 2014, arXiv:1406.1078;
Schuster & Paliwal 1997 (both ways); Tallec & Ollivier 2018, arXiv:1804.11188 (where to start the gates).
"""
# %%
import math

import numpy as np

from tinygrad_edu import Tensor, functional as F, grad, nn, no_grad, optim, split
from tinygrad_edu.data import load_names, series
from tinygrad_edu.distributions import Categorical
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.metrics import bigram_nats, running_mean
from tinygrad_edu.ops import stack
from tinygrad_edu.viz import panels, plot_curves

lesson = Lesson("25_lstm_and_gru", real_data="first names")
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## Two cells
#
# From the input x and the last output h, four times: a matrix, and a bend. Three are gates, i (let in), f (keep) and o
# (tell); g is what is new. Then
#
#     c <- f c + i g          the memory: kept, and added to
#     h <- o tanh(c)          what the world is told of it
#
# The GRU does with one state and two gates: z says how much of h stays, and what does not stay is replaced by n. (What is
# kept and what is let in add up to 1, so one gate does the work of i and f.) r says how much of h the proposal n sees.

# %%
def lstm_cell(x, h, c, W, U, b):
    """x (N, I), h and c (N, D), W (4D, I), U (4D, D), b (4D,): the new h and c, and the gates i, f, o on the way."""
    i, f, g, o = split(x @ W.T + h @ U.T + b, 4, axis=1)            # (N, D) each
    i, f, g, o = F.sigmoid(i), F.sigmoid(f), F.tanh(g), F.sigmoid(o)
    c = f * c + i * g
    return o * F.tanh(c), c, (i, f, o)

def gru_cell(x, h, W, U, b, bh):
    """The same with W (3D, I), U (3D, D), b and bh (3D,): the new h."""
    (rx, zx, nx), (rh, zh, nh) = split(x @ W.T + b, 3, axis=1), split(h @ U.T + bh, 3, axis=1)
    r, z = F.sigmoid(rx + rh), F.sigmoid(zx + zh)
    return (1 - z) * F.tanh(nx + r * nh) + z * h

def by_lstm_cells(x, h, c, *weights):
    outputs = []
    for xt in x:
        h, c, _ = lstm_cell(xt, h, c, *weights)
        outputs.append(h)
    return stack(outputs), h, c

def by_gru_cells(x, h, *weights):
    outputs = []
    for xt in x:
        h = gru_cell(xt, h, *weights)
        outputs.append(h)
    return stack(outputs), h

# %% [markdown]
# The library runs a whole sequence in one kernel: the products W x of all steps at once, no new arrays inside the loop, and a
# backward pass written by hand. Is it the same function? Its answers, the gradient of a random mixture of them, and the
# gradient of a random mixture of these gradients, all three against the lines above.

# %%
def three_orders(function, arrays):
    """Values, gradients and double gradients of one function at one place, each as one long row."""
    draw = np.random.default_rng(lesson.seed)                       # the same mixtures for both functions
    inputs = [Tensor(a, requires_grad=True) for a in arrays]
    mixture = lambda tensors: sum((t * Tensor(draw.standard_normal(t.shape))).sum() for t in tensors)
    values = function(*inputs)
    first = grad(mixture(values), inputs, create_graph=True)
    second = grad(mixture(first), inputs)
    return [np.concatenate([t.detach().numpy().ravel() for t in order]) for order in (values, first, second)]

T, N, I, D = 7, 3, 4, 5
def drawn(*shapes):
    return [rng.standard_normal(shape) for shape in shapes]

lstm_inputs = drawn((T, N, I), (N, D), (N, D), (4 * D, I), (4 * D, D), (4 * D,))
gru_inputs = drawn((T, N, I), (N, D), (3 * D, I), (3 * D, D), (3 * D,), (3 * D,))
for name, row, kernel, cells, arrays in (("LSTM", "G07", F.lstm, by_lstm_cells, lstm_inputs),
                                         ("GRU", "G08", F.gru, by_gru_cells, gru_inputs)):
    pairs = zip(three_orders(kernel, arrays), three_orders(cells, arrays))
    for order, (ours, naive) in zip(("value", "gradient", "double gradient"), pairs):
        lesson.claim(f"{name}: kernel against cells, {order}", np.abs(ours - naive).max(), "<=", 1e-10, row=row, kind="E",
                     oracle=0)

lstm, gru = nn.LSTM(I, D), nn.GRU(I, D)
lesson.claim("GRU: its recurrent weights, the LSTM's are 1", gru.weight_hh_l0.size / lstm.weight_hh_l0.size, "==", 0.75,
             row="G08", kind="E", baseline=1)

# %% [markdown]
# ## How long does it remember?
#
# With all matrices 0 nothing is learned yet, and every gate is the sigmoid of its bias. Then dc_T / dc_0 is f^T exactly. A
# gate that starts at one half, as it does if nobody thinks of it, passes 2^-100 of a gradient back through a hundred steps:
# the old problem again. With f = 1 - 1/t about a third of it (1/e) is left after t steps, and that is a bias of ln(t - 1). We
# do not know which t is needed, so each unit draws its own, evenly from 2 to T; and the more it keeps, the less it lets in:
# its input gate starts with a bias of -ln(t - 1).

# %%
def kept(bias, steps):
    """dc_T / dc_0 of an LSTM of one unit without any weights."""
    c = Tensor(np.ones((1, 1)), requires_grad=True)
    x, h, zeros = (Tensor(np.zeros(shape)) for shape in ((steps, 1, 1), (1, 1), (4, 1)))
    last = F.lstm(x, h, c, zeros, zeros, Tensor(np.array([0.0, bias, 0.0, 0.0])))[2]
    return grad(last.sum(), c)[0].item()

for t in (2, 10, 100):
    bias = math.log(t - 1)
    print(f"  forget gate 1 - 1/{t:<3} (bias {bias:.2f}): of a gradient, 100 steps back arrive {kept(bias, 100):.2g}")
lesson.claim("gradient left after 100 steps over (1 - 1/100)^100", kept(math.log(99), 100) / 0.99 ** 100, "in",
             (1 - 1e-10, 1 + 1e-10), row="G07", kind="E", baseline=kept(0.0, 100) / 0.99 ** 100, oracle=1)

# %% [markdown]
# ## Adding two numbers
#
# A hundred random numbers in a row, two of them marked, one in each half. After the last: what is the sum of the two? Whoever
# always says 1 has a squared error of 1/6. New sequences in every step, so there is nothing to learn by heart.
#
# Four networks, one loop, as many steps for each: an LSTM and a GRU that start out with a long memory; the same LSTM, but with
# all gates starting near one half; and the plain network, with twice the units, so that it has as many weights. Start and step
# size were chosen by trial on the first three seeds; the plain network's, a tenth of theirs, was not tuned. 600 steps left the
# LSTM at 0.025 on seed 0, so all four now have 1000.

# %%
T = 100

def remember(cell, longest):
    """Start the gates of an LSTM or a GRU so that each unit keeps what it has for a time drawn from 2 .. longest."""
    D = cell.hidden_size
    bias = Tensor(np.log(rng.uniform(1, longest - 1, D)).astype("float32")).data
    cell.bias_ih_l0.data[D : 2 * D] = bias                          # f of an LSTM, z of a GRU
    if isinstance(cell, nn.LSTM):
        cell.bias_ih_l0.data[:D] = -bias                            # i
    return cell

class LastAnswer(nn.Module):
    """One number (N,), read from the last h of a recurrent network over x (T, N, I)."""

    def __init__(self, cell):
        self.cell, self.leave = cell, nn.Linear(cell.hidden_size, 1)

    def forward(self, x):
        return self.leave(self.cell(x)[0][-1])[:, 0]

def sequences(n):
    x, y = series.adding_problem(n, T)
    return Tensor(x.swapaxes(0, 1).copy()), Tensor(y)               # (T, N, 2), (N,)

def train(model, draw, loss_of, steps, lr):
    """Adam with clipped gradients; the step size falls over the second half. `draw()` gives x and y. Returns the losses."""
    optimizer, losses = optim.Adam(model.parameters(), lr=lr), []
    for step in lesson.progress(range(steps), "training"):
        optimizer.param_groups[0]["lr"] = lr * min(1, 2 * (1 - step / steps))
        x, y = draw()
        loss = loss_of(model(x), y)
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses

test_x, test_y = sequences(lesson.pick(2000, 50))
adders = {
    "LSTM": (remember(nn.LSTM(2, 32), T), 0.02),
    "GRU": (remember(nn.GRU(2, 32), T), 0.02),
    "LSTM, forgetful": (nn.LSTM(2, 32), 0.02),
    "RNN": (nn.RNN(2, 66), 0.002),
}
curves, error = {}, {}
for name, (cell, lr) in adders.items():
    model = LastAnswer(cell)
    curves[name] = train(model, lambda: sequences(32), F.mse_loss, lesson.pick(1000, 6), lr)
    with no_grad():
        error[name] = F.mse_loss(model(test_x), test_y).item()
    print(f"  {name:<16} {sum(p.size for p in model.parameters())} weights   squared error {error[name]:.4f}")

guess = ((test_y.numpy() - 1) ** 2).mean()
lesson.claim("adding problem, T = 100: LSTM", error["LSTM"], "<", 0.02, row="G07", kind="C", baseline=guess, oracle=0)
lesson.claim("adding problem, T = 100: GRU", error["GRU"], "<", 0.03, row="G08", kind="C", baseline=guess, oracle=0)
lesson.claim("the same for the plain network", error["RNN"], ">=", 0.15, row="G07", kind="C", baseline=guess)

# %% [markdown]
# We expected the forgetful LSTM to fail like the plain network, and promised so. It is not unable: on two seeds of five it had
# learned to add after the 1000 steps (errors 0.002 and 0.001); on the three others it still guessed. A gate that can be opened
# may be opened in the end, but whoever starts it open need not wait for luck. What the plain network lacks is the gate.

# %% [markdown]
# ## One on another
#
# The outputs of one network can be the inputs of a second. Brackets in two kinds, ( [ ] ) ( ): after each, how many are open?
# One layer of 32 GRU units against two of 19, which have fewer weights together; and 64 plain units against twice 39.
#
# The course expected two layers to win, and here they do not. After 300 steps chance decided (on five seeds the plain pair won
# three times, the GRUs twice). After these 800 one layer is nearly perfect: two plain layers made 0.7 to 2.7 times its errors,
# two GRU layers more on four seeds of five, up to 28 times. So nothing is promised but that the stack is what it says. Why?
# A recurrent layer is deep already, in time: what a second layer could make of its state, it can make itself one step later,
# and counting needs no more than that.

# %%
LENGTH = 40
CLASSES = LENGTH // 2 + 1                                           # depths 0 .. 20

class EachAnswer(nn.Module):
    """Logits of `classes` at each step: (T, N, I) -> (T, N, classes)."""

    def __init__(self, cell, classes):
        self.cell, self.leave = cell, nn.Linear(cell.hidden_size * (1 + cell.bidirectional), classes)

    def forward(self, x):
        return self.leave(self.cell(x)[0])

def nested(n):
    tokens, depth = series.brackets(n, LENGTH)
    return F.one_hot(Tensor(tokens.T.copy()), 4).astype("float32"), Tensor(depth.T.copy())          # (T, N, 4), (T, N)

def nats(logits, labels):
    return F.cross_entropy(logits.reshape(-1, logits.shape[-1]), labels.reshape(-1))

def share_right(model, x, y):
    with no_grad():
        return (model(x).numpy().argmax(axis=-1) == y.numpy()).mean()

counters = {
    "RNN, one layer": (nn.RNN(4, 64), 0.005),
    "RNN, two layers": (nn.RNN(4, 39, num_layers=2), 0.005),
    "GRU, one layer": (nn.GRU(4, 32), 0.01),
    "GRU, two layers": (nn.GRU(4, 19, num_layers=2), 0.01),
}
test_nested, depth_curves, right = nested(lesson.pick(500, 20)), {}, {}
for name, (cell, lr) in counters.items():
    model = EachAnswer(cell, CLASSES)
    depth_curves[name] = train(model, lambda: nested(32), nats, lesson.pick(800, 3), lr)
    right[name] = share_right(model, *test_nested)
    print(f"  {name:<16} {sum(p.size for p in model.parameters())} weights   depth right {right[name]:.3f}")

errors = {name: (1 - share) / (1 - right[f"{name[:3]}, one layer"]) for name, share in right.items()}
print(f"  errors of two layers, if one's are 1: RNN {errors['RNN, two layers']:.2f}, GRU {errors['GRU, two layers']:.2f}")
def layer_by_layer(cell, x):
    """The outputs of stacked GRUs, from our own cells."""
    for layer in range(cell.num_layers):
        weights = [getattr(cell, f"{name}_l{layer}") for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]
        x, _ = by_gru_cells(x, Tensor(np.zeros((x.shape[1], cell.hidden_size))), *weights)
    return x

with no_grad():
    stacked, x = counters["GRU, two layers"][0].double(), test_nested[0][:, :20].astype("float64")
    gap = np.abs(layer_by_layer(stacked, x).numpy() - stacked(x)[0].numpy()).max()
lesson.claim("two GRU layers against our cells, one on another", gap, "<=", 1e-10, row="G09", kind="E", oracle=0)

# %% [markdown]
# ## From both ends
#
# A state knows what was, not what comes. Some questions are about what comes: "a" or "an"? That depends on the next word. The
# smallest such task: coins in a row, is the next one the same as this one? (The last coin has no next one and is not asked.)
# Who reads forwards only is right half of the time, whatever the cell. Let a second one read backwards, and put the two
# outputs side by side: one has just seen this coin, the other the next one too. Two ways of 16 units against one of 24, with
# more weights.

# %%
def coins(n, steps=20):
    x = rng.integers(0, 2, (steps, n))
    same = (x[1:] == x[:-1]).astype("int64")                        # (T - 1, N)
    return Tensor((2 * x - 1)[:, :, None].astype("float32")), Tensor(same)

class AskedBeforeTheLast(EachAnswer):
    def forward(self, x):
        return super().forward(x)[:-1]

tellers = {"forwards": nn.LSTM(1, 24), "both ways": nn.LSTM(1, 16, bidirectional=True)}
test_coins, coin_curves = coins(500), {}
for name, cell in tellers.items():
    model = AskedBeforeTheLast(cell, 2)
    coin_curves[name] = train(model, lambda: coins(32), nats, lesson.pick(300, 3), lr=0.02)
    right[name] = share_right(model, *test_coins)
lesson.claim("is the next coin the same? both ways", right["both ways"], ">=", 0.99, row="G10", kind="O", baseline=0.5,
             oracle=1)
lesson.claim("the same, forwards only", right["forwards"], "<=", 0.6, row="G10", kind="O", baseline=0.5, oracle=0.5)

# %% [markdown]
# ## Names
#
# `--data FOLDER` reads 29,494 different first names and lets a GRU guess each next letter; a name begins and ends with a dot. A
# tenth of them is kept for the end. Counting which letter follows which, with one count added to each pair, needs 2.45 nats:
# that is all that can be known from one letter. What a GRU gains on that, it has from remembering the letters before: it needs
# 2.00 (seed 0).

# %%
LETTERS = ".abcdefghijklmnopqrstuvwxyz"

def as_numbers(words):
    """Names in columns: their letters with a dot before (16, N), and what comes next; -100 stands where nothing is asked."""
    table = np.full((17, len(words)), -100)
    for column, word in zip(table.T, words):
        column[: len(word) + 2] = [LETTERS.index(letter) for letter in f".{word}."]
    return np.where(table[:-1] < 0, 0, table[:-1]), table[1:]

def pairs(ids, nexts):
    return ids[nexts >= 0], nexts[nexts >= 0]

def one_hot(ids):
    return F.one_hot(Tensor(ids), len(LETTERS)).astype("float32")

def invent(model, n=12):
    """n names of the network's own: each letter that it draws is what it reads next."""
    ids, h, written = np.zeros((1, n), np.int64), None, []
    with no_grad():
        for _ in range(16):
            h_of_each, h = model.cell(one_hot(ids), h)
            ids = Categorical(model.leave(h_of_each)).sample().numpy()
            written.append(ids[0])
    return ["".join(LETTERS[i] for i in letters).partition(".")[0] for letters in np.array(written).T]

if lesson.data is not None:
    names = sorted(set(load_names(lesson.data)))
    rng.shuffle(names)
    held_out = len(names) // 10
    (test_ids, test_nexts), (ids, nexts) = as_numbers(names[:held_out]), as_numbers(names[held_out:])

    def some(n=128):
        which = rng.integers(0, ids.shape[1], n)
        return one_hot(ids[:, which]), Tensor(nexts[:, which])

    speller = EachAnswer(nn.GRU(len(LETTERS), 128), len(LETTERS))
    train(speller, some, nats, lesson.pick(1500, 5), lr=0.005)
    with no_grad():
        price = nats(speller(one_hot(test_ids)), Tensor(test_nexts)).item()
    print("  " + " ".join(invent(speller)))
    lesson.claim("names: nats a letter, held out", price, "<", 2.4546, row="G08", kind="O",
                 baseline=bigram_nats(pairs(ids, nexts), pairs(test_ids, test_nexts), len(LETTERS)))

# %% [markdown]
# ## Gates over time
#
# Our own cell, with the weights that the library's has learned, tells what its gates do. One sequence of a hundred numbers;
# triangles show where the two marked ones are. See where the input gates open, and where the memory changes.

# %%
def watch(cell, x):
    """Input gate, forget gate and memory over one sequence x (T, 1, I): (T, D) each."""
    weights = cell.weight_ih_l0, cell.weight_hh_l0, cell.bias_ih_l0 + cell.bias_hh_l0
    h = c = Tensor(np.zeros((1, cell.hidden_size), "float32"))
    seen = []
    with no_grad():
        for xt in x:
            h, c, (i, f, _) = lstm_cell(xt, h, c, *weights)
            seen.append([t.numpy()[0] for t in (i, f, c)])
    return np.array(seen).swapaxes(0, 1)                            # (3, T, D)

let_in, keep, memory = watch(adders["LSTM"][0], test_x[:, :1])
marked = np.flatnonzero(test_x.numpy()[:, 0, 1])
rest = np.setdiff1d(np.arange(T), marked)
print(f"  mean input gate: {let_in[marked].mean():.3f} at the two marked steps, {let_in[rest].mean():.3f} at the others; "
      f"mean forget gate {keep.mean():.3f}")

if lesson.draws:
    figure, axes = panels(2, 3, size=(16, 7.6))
    for panel, title, group, what in ((axes[0, 0], "Adding two numbers out of a hundred", curves, "squared error"),
                                      (axes[1, 1], "Depth of brackets", depth_curves, "nats"),
                                      (axes[1, 2], "Is the next coin the same?", coin_curves, "nats")):
        plot_curves({name: running_mean(losses, 20) for name, losses in group.items()}, "step", what, "y", title, panel)
    axes[0, 0].set_ylim(top=4)                                      # room for the legend above the curves
    axes[0, 0].legend(frameon=False, fontsize=9, loc="upper right", ncols=2)
    order = np.argsort(-let_in[marked].mean(axis=0))
    for panel, title, values, limit in ((axes[0, 1], "Input gates", let_in, (0, 1)), (axes[0, 2], "Forget gates", keep, (0, 1)),
                                        (axes[1, 0], "Memory", memory, (-np.abs(memory).max(), np.abs(memory).max()))):
        image = panel.imshow(values[:, order].T, aspect="auto", vmin=limit[0], vmax=limit[1], interpolation="nearest",
                             cmap="viridis" if limit[0] == 0 else "RdBu_r")
        panel.plot(marked, [-1.5, -1.5], "v", color="#bd1f01", clip_on=False)
        panel.set_title(title, loc="left", fontsize=11, pad=12)
        panel.set(xlabel="step", ylabel="unit", ylim=(len(order) - 0.5, -0.5))
        panel.grid(False)
        figure.colorbar(image, ax=panel, pad=0.02).outline.set_visible(False)
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Start all units of the LSTM with one long memory, a bias of 4, instead of drawing their times. How many steps does it need?
# - How far can you go? T = 400, with `remember(.., 400)` and with `remember(.., 100)`.
# - Hold the forgetful LSTM's forget gates at one half for good. Is it now only slow, or unable?
# - Add brackets spelled with three letters, a bracket open if their number of a's is odd. Does depth help a GRU now?
# - Lesson 26 lets such a network write, one letter after another.
