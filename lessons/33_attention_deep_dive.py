"""Lesson 33: Attention in depth: flash, sparse, RoPE, ALiBi

The Transformers of lessons 29 to 32 read short texts, and two things keep them from reading long ones. Everybody looks at
everybody, so a text twice as long needs four times the memory. And places have names: the model learns what place 7 means and
place 30, and when a text goes on at place 33, nobody has ever told it about 33.

Four ideas, each a few lines. Flash attention never writes the large matrix down and gives the same numbers. Sparse attention
looks at few places and still reaches all. RoPE turns queries and keys, so that only their distance counts. ALiBi just likes
near things better. You will check the first three to the last digits, then send them to work where the plain way fails.
Expected: an eighth of the memory or less; a copy that local attention cannot make at all; and a model that was trained on 32
letters and reads 128 better still (0.25 nats a letter, the truth is 0.22), where sines and cosines get lost (about 2).

Papers: Dao et al. 2022, arXiv:2205.14135; Milakov & Gimelshein 2018, arXiv:1805.02867; Child et al. 2019, arXiv:1904.10509; Su
et al. 2021, arXiv:2104.09864; Press, Smith & Lewis 2021, arXiv:2108.12409.
"""
# %%
import math
import tracemalloc

import numpy as np

import tinygrad_edu as tg
from tinygrad_edu import Tensor, functional as F, grad, nn, no_grad, optim, threads
from tinygrad_edu.data import text
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.models.language.gpt import Block, SelfAttention
from tinygrad_edu.ops import split
from tinygrad_edu.viz import panels, plot_curves, show_grid

lesson = Lesson("33_attention_deep_dive")
rng = np.random.default_rng(lesson.seed)

# %% [markdown]
# ## Flash: a softmax that never sees all of its numbers
#
# y = softmax(q k') v is a weighted mean of the values. A mean can be kept up while its numbers come in; the only difficulty is
# that exp needs the largest score taken off first, or it overflows, and the largest may still be to come. The way out: take off
# the largest so far. When a larger one appears, all sums so far are too large by exp(new - old), so shrink them by that.

# %%
def flash(q, k, v, size=64):
    """softmax(q k' / sqrt(E)) v (T, V), a block of keys at a time; and L (T, 1), the logarithm of the softmax's total."""
    top, total, y = np.full_like(q[:, :1], -np.inf), np.zeros_like(q[:, :1]), np.zeros((len(q), v.shape[1]), v.dtype)
    for i in range(0, len(k), size):
        s = q @ k[i : i + size].T / math.sqrt(q.shape[1])                   # (T, size)
        new = np.maximum(top, s.max(axis=1, keepdims=True))
        p, shrink = np.exp(s - new), np.exp(top - new)
        total = shrink * total + p.sum(axis=1, keepdims=True)
        y = shrink * y + p @ v[i : i + size]
        top = new
    return y / total, top + np.log(total)

# %% [markdown]
# And backwards? The weights w are gone, but with L they can be made again, a block at a time: w = exp(s - L). The softmax's
# derivative, gs = w (gw - sum of w gw), needs a sum over a whole row, and that is known too: sum of w gw = gy . y, because y
# is the mean of the values with these weights. So nothing large has to be remembered.

# %%
def flash_backward(q, k, v, y, L, gy, size=64):
    gq, gk, gv, scale = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v), 1 / math.sqrt(q.shape[1])
    mean = (gy * y).sum(axis=1, keepdims=True)
    for i in range(0, len(k), size):
        block = slice(i, i + size)
        w = np.exp(q @ k[block].T * scale - L)                              # (T, size)
        gs = w * (gy @ v[block].T - mean) * scale
        gv[block], gk[block] = w.T @ gy, gs.T @ q
        gq += gs @ k[block]
    return gq, gk, gv

def by_flash(q, k, v, gy):
    y, L = flash(q, k, v)
    return y, *flash_backward(q, k, v, y, L, gy)

def by_tensors(attention):
    """`attention` as a function of arrays that gives its value and its gradients."""
    def value_and_gradients(q, k, v, gy):
        inputs = [Tensor(x, requires_grad=True, device="cpu") for x in (q, k, v)]
        y = attention(*inputs)
        return [t.numpy() for t in (y.detach(), *grad(y, inputs, Tensor(gy, device="cpu")))]
    return value_and_gradients

def whole(q, k, v):
    """The formula as it stands, with all T x T scores."""
    return tg.softmax(q @ k.swapaxes(-1, -2) / math.sqrt(q.shape[-1])) @ v

def apart(these, those):
    return max(np.abs(a - b).max() for a, b in zip(these, those))

ways = {"all scores at once": by_tensors(whole), "flash, these lines": by_flash,
        "flash, the library": by_tensors(F.scaled_dot_product_attention)}
inputs = 3 * rng.standard_normal((4, 200, 16))                              # q, k, v, gy; 200 is no multiple of 64
right = ways["all scores at once"](*inputs)
for name in list(ways)[1:]:
    error = apart(ways[name](*inputs), right)
    lesson.claim(f"{name}: value and gradients, error", error, "<=", 1e-6, row="H11", kind="E")

# %% [markdown]
# What is it good for? We let Python count the bytes at the highest point of one forward and backward pass, of the kernel that
# calls NumPy (`kernel_face("arrays")`), whatever else is installed or chosen.

# %%
def peak(way, T):
    """MiB beyond the inputs, at the worst moment of a second run: the first may load code."""
    inputs = rng.standard_normal((4, T, 32)).astype("float32")
    way(*inputs)
    tracemalloc.start()
    way(*inputs)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return most / 2 ** 20

before, lengths = threads.thread_count(), [64, 128, 256, 512, 1024, *lesson.pick([2048], [])]
threads.set_threads(1)                                                      # each thread works on a block of its own
with tg.kernel_face("arrays"):
    memory = {name: [peak(way, T) for T in lengths] for name, way in ways.items()}
threads.set_threads(before)
at_1024 = {name: values[lengths.index(1024)] for name, values in memory.items()}
for name, most in at_1024.items():
    print(f"  {name:<20} {most:6.2f} MiB at T = 1024")
for name in list(ways)[1:]:
    lesson.claim(f"{name}: times less memory, T = 1024", at_1024["all scores at once"] / at_1024[name], ">=", 8, row="H11",
                 kind="S", baseline=1)

# %% [markdown]
# The memory of the formula grows with T^2, that of flash with T. It is also faster on real machines, though it computes every
# score twice: a block of scores stays in the fast memory next to the processor, and waiting for the slow one costs more than
# arithmetic.
#
# ## Sparse: two steps reach everywhere
#
# Flash saves memory, not work: there are still T^2 scores. Let place t look at the last r places and, before them, every r-th.
# That is at most r + T / r places, least for r = sqrt(T), and all places together look at no more than 2 T sqrt(T). Still each
# can reach every earlier one in two steps: some strides back, then at most r - 1 places.
#
# For T = r^2 we can count: the last r places would be r^3 scores, but the first r - 1 places have fewer behind them, which
# takes off r (r - 1) / 2; and the strides add 0 + 1 + .. + (r - 1) for each of r places in a row. In all r^3 + r (r - 1)^2 / 2.

# %%
def masks(T, r):
    """(local, local and strided), bool (T, T), True where place t may look at place s."""
    back = np.arange(T)[:, None] - np.arange(T)
    local = (back >= 0) & (back < r)
    return local, local | (back >= 0) & (back % r == 0)

wrong, shares = 0, []
for r in (4, 8, 16, 32):
    T = r * r
    count = masks(T, r)[1].sum()
    wrong += abs(count - (r ** 3 + r * (r - 1) ** 2 // 2))
    shares.append(count / T ** 1.5)
    print(f"  T = {T:5}: {count:6} of {T * (T + 1) // 2:6} scores")
local, sparse = masks(64, 8)
steps = np.linalg.matrix_power(sparse.astype(int), 2) > 0
lesson.claim("sparse: scores, counted - (r^3 + r (r - 1)^2 / 2)", wrong, "==", 0, row="H12", kind="E")
lesson.claim("sparse: scores / T^1.5, largest of four T", max(shares), "<=", 1.5, row="H12", kind="S",
             baseline=T * (T + 1) / 2 / T ** 1.5)
lesson.claim("sparse: earlier places out of reach in two steps", (np.tri(64) > steps).sum(), "==", 0, row="H12", kind="S",
             baseline=int((np.tri(64) > (np.linalg.matrix_power(local.astype(int), 2) > 0)).sum()))

# %% [markdown]
# A mask alone saves nothing: the library computes all scores of a block and then hides some. To save work, list for each place
# those that it looks at, and compute these scores only. The numbers are the same.

# %%
def by_list(q, k, v, mask):
    m = mask.sum(axis=1).max()
    places = np.argsort(~mask, axis=1, kind="stable")[:, :m]                # (T, m), those seen come first
    seen = Tensor(np.take_along_axis(mask, places, axis=1), device=q.device)
    s = (tg.expand_dims(q, 1) * k[places]).sum(axis=-1) / math.sqrt(q.shape[-1])        # (T, m), not (T, T)
    w = tg.softmax(tg.where(seen, s, -math.inf))
    return (tg.expand_dims(w, 2) * v[places]).sum(axis=1)                   # (T, V)

inputs = rng.standard_normal((4, 64, 16))
listed = by_tensors(lambda q, k, v: by_list(q, k, v, sparse))(*inputs)
masked, open_to_all = (by_tensors(lambda q, k, v: F.scaled_dot_product_attention(q, k, v, mask))(*inputs)
                       for mask in (sparse, np.tri(64, dtype=bool)))
lesson.claim("sparse: listed against masked, value and gradients", apart(listed, masked), "<=", 1e-6, row="H12", kind="E",
             baseline=apart(listed, open_to_all))

# %% [markdown]
# ## RoPE: only the distance counts
#
# Where is a word? Lessons 30 and 31 added a vector to each word that says its place. The score of two words is then
# <q + p_m, k + p_n>, and all four products mix. RoPE multiplies instead. Take the features in pairs and each pair as a complex
# number: at place m it is turned by the angle m theta, and of two turned numbers only the difference of the angles survives,
#
#     Re[(q e^(i m theta)) conj(k e^(i n theta))] = Re[q conj(k) e^(i (m - n) theta)].

# %%
def turned(x, base=10000.0):
    T, E = x.shape
    angles = np.arange(T)[:, None] * base ** (-np.arange(0, E, 2) / E)      # (T, E / 2), from fast to slow
    z = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * angles)
    return np.stack([z.real, z.imag], axis=-1).reshape(T, E)

def sinusoids(T, E, base=10000.0):
    angles = np.arange(T)[:, None] * base ** (-np.arange(0, E, 2) / E)
    return np.concatenate([np.sin(angles), np.cos(angles)], axis=1)         # (T, E)

def along(scores):
    """How much scores of one distance differ: the largest |s[m + 1, n + 1] - s[m, n]|."""
    return np.abs(scores[1:, 1:] - scores[:-1, :-1]).max()

E = 32
q, k = (np.repeat(rng.standard_normal((1, E)) / E ** 0.5, 128, axis=0) for _ in "qk")      # the same at each of 128 places
turns = F.rotary_embedding(q) @ F.rotary_embedding(k).T
added = (q + sinusoids(128, E)) @ (k + sinusoids(128, E)).T
lesson.claim("RoPE: these lines against the library", np.abs(turned(q) - F.rotary_embedding(q)).max(), "<=", 1e-12, row="H13",
             kind="E")
lesson.claim("RoPE: how scores of one distance differ", along(turns), "<=", 1e-12, row="H13", kind="E", baseline=along(added))

# %% [markdown]
# Which features make a pair? In the paper neighbours, in many programs feature i and feature i + E / 2. Weights trained with
# one do not fit the other, unless the channels are put in another order: first the even ones, then the odd. The scores do not
# notice, for the product of two vectors does not depend on the order of their features.

# %%
order = np.concatenate([np.arange(0, E, 2), np.arange(1, E, 2)])
x = rng.standard_normal((128, E))
difference = np.abs(F.rotary_embedding(x)[:, order] - F.rotary_embedding(x[:, order], interleaved=False)).max()
lesson.claim("RoPE: neighbours against halves, channels in order", difference, "==", 0.0, row="H13", kind="E",
             baseline=np.abs(F.rotary_embedding(x) - F.rotary_embedding(x, interleaved=False)).max())

# %% [markdown]
# ## ALiBi: near is better
#
# ALiBi does nothing to the words at all. From each score it takes the distance times a slope, one slope for each head: 1/4,
# 1/16, 1/64, 1/256 for four. One head looks at the last few words, another far back; and a distance never seen in training is
# a little worse than the largest seen, no more.

# %%
slopes, back = np.array([1 / 4, 1 / 16, 1 / 64, 1 / 256]), np.abs(np.arange(9)[:, None] - np.arange(9))
bias = F.alibi_bias(np.zeros((4, 9, E)), np.zeros((9, E)))                  # (4, 9, 9)
lesson.claim("ALiBi: - slope x distance against the library", np.abs(bias + slopes[:, None, None] * back).max(), "==", 0.0,
             row="H14", kind="E")

# %% [markdown]
# ## A reader
#
# One small Transformer, made of lesson 31's blocks, that is told places in one of three ways and may look where a mask lets it.

# %%
class Looking(SelfAttention):
    """Causal attention that knows where it is by "RoPE" or "ALiBi" (or not at all) and looks where `mask` is True."""

    def __init__(self, width, heads, places, mask):
        super().__init__(width, heads)
        self.places, self.mask = places, mask

    def forward(self, x, memory=None, mask=None):
        N, T, E = x.shape
        q, k, v = (part.reshape(N, T, self.heads, -1).swapaxes(1, 2) for part in split(self.enter(x), 3, axis=-1))
        if self.places == "RoPE":
            q, k = F.rotary_embedding(q), F.rotary_embedding(k)
        bias = F.alibi_bias(q, k) if self.places == "ALiBi" else None
        y = F.scaled_dot_product_attention(q, k, v, self.mask, causal=True, bias=bias)      # (N, heads, T, E / heads)
        return self.leave(y.swapaxes(1, 2).reshape(N, T, E))

class Reader(nn.Module):
    """Tokens (N, T) -> the logits of each next one, (N, T, vocabulary). Two blocks."""

    def __init__(self, vocabulary, places, mask=None, width=64, heads=4):
        self.places, self.tokens = places, nn.Embedding(vocabulary, width)
        self.blocks = [Block(width, heads, dropout=0.0) for _ in range(2)]
        for block in self.blocks:
            block.attention = Looking(width, heads, places, mask)
        self.norm, self.leave = nn.LayerNorm(width), nn.Linear(width, vocabulary)

    def forward(self, ids):
        x = self.tokens(ids)                                                # (N, T, E)
        if self.places == "sinusoids":
            x = x + Tensor(sinusoids(*x.shape[1:]).astype("float32"))
        for block in self.blocks:
            x = block(x)
        return self.leave(self.norm(x))

def nats(model, ids, first=0):
    """-ln p of each token that follows, from the `first` on: (N, T - first)."""
    logits = model(Tensor(ids[:, :-1]))[:, first:]
    return F.cross_entropy(logits.swapaxes(1, 2), Tensor(ids[:, first + 1:]), reduction="none")

def train(model, draw, steps, first=0, lr=3e-3):
    """AdamW; the step size rises for 30 steps and falls over the second half. Returns the losses."""
    optimizer, losses = optim.AdamW(model.parameters(), lr=lr, weight_decay=0.01), []
    for i in lesson.progress(range(steps), model.places):
        optimizer.param_groups[0]["lr"] = lr * min(1, (i + 1) / 30, 2 * (1 - i / steps))
        loss = nats(model, draw(), first).mean()
        optimizer.zero_grad()
        loss.backward()
        optim.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses

# %% [markdown]
# ## A long copy
#
# 73 random letters of an alphabet of eight, and then the same 73 again. Nothing but the first copy tells the second, 72 places
# back. T = 144, so r = 12: 72 is six strides. Local attention sees 11 places back in each of two blocks, 22 in all. It can only
# guess: ln 8 = 2.08 nats.

# %%
HALF, R, LETTERS = 73, 12, 8
local, sparse = masks(2 * HALF - 2, R)

def copies(n):
    return np.tile(rng.integers(LETTERS, size=(n, HALF)), (1, 2))[:, : 2 * HALF - 1]       # (n, 145)

copy_losses, copied = {}, {}
for name, mask in (("local", local), ("local and strided", sparse)):
    model = Reader(LETTERS, "RoPE", Tensor(mask))
    copy_losses[name] = train(model, lambda: copies(16), lesson.pick(120, 2), first=HALF - 1)
    with no_grad():
        copied[name] = nats(model, copies(lesson.pick(64, 4)), first=HALF - 1).mean().item()
    print(f"  copy, {name:<18} {copied[name]:.3f} nats a letter")
lesson.claim("long copy, local and strided: nats a letter", copied["local and strided"], "<=", 0.05, row="H12", kind="C",
             baseline=copied["local"], oracle=0)
lesson.claim("long copy, local only: nats a letter", copied["local"], ">=", 2.0, row="H12", kind="C", oracle=math.log(LETTERS))

# %% [markdown]
# ## Longer than ever before
#
# Sentences from a grammar, written letter by letter. The grammar says how likely each sentence is, so we know what this text
# costs one who knows all: about 0.22 nats a letter. We train on pieces of 32 letters and test on pieces of 128. A piece is cut
# anywhere and starts amid a sentence, so its first letters are harder: who can read on pays less a letter, not more.
#
# (Why not words? We tried them first. The losses rose by 37 % with sinusoids, by 8 % with RoPE, and fell by 1 % with ALiBi: the
# same order. But a word cannot be guessed well in any case, 0.99 nats, so not to understand costs less beside that.)

# %%
words, cost = [], 0.0
while len(words) < lesson.pick(30_000, 1_000):
    sentence, price = text.SENTENCES.sample()
    words += sentence
    cost += price
letters, ids = np.unique(list(" ".join(words) + " "), return_inverse=True)
truth, cut_at = cost / len(ids), 3 * len(ids) // 4

def pieces(ids, n, length):
    """n pieces of `length` letters and the one that follows."""
    return ids[rng.integers(len(ids) - length, size=n)[:, None] + np.arange(length + 1)]

test, by_place, rise = pieces(ids[cut_at:], lesson.pick(512, 8), 128), {}, {}
for places in ("sinusoids", "RoPE", "ALiBi"):
    model = Reader(len(letters), places)
    train(model, lambda: pieces(ids[:cut_at], 32, 32), lesson.pick(300, 2))
    with no_grad():
        by_place[places] = np.concatenate([nats(model, part).numpy() for part in np.array_split(test, 8)]).mean(axis=0)
    short, long = by_place[places][:32].mean(), by_place[places].mean()
    rise[places] = long / short - 1
    print(f"  {places:<10} {short:.3f} nats a letter at 32 letters, {long:.3f} at 128 ({rise[places]:+.0%}; truth {truth:.3f})")
lesson.claim("ALiBi, 32 letters in training, 128 now: loss rises by", rise["ALiBi"], "<=", 0.10, row="H14", kind="C",
             baseline=rise["sinusoids"])
lesson.claim("sinusoids: loss rises by", rise["sinusoids"], ">=", 0.5, row="H14", kind="C", baseline=rise["ALiBi"])
last = {places: values[96:].mean() / truth for places, values in by_place.items()}
lesson.claim("ALiBi, letters 97 to 128: times the truth", last["ALiBi"], "<=", 1.25, row="H14", kind="O",
             baseline=last["sinusoids"], oracle=1)

# %% [markdown]
# RoPE gets lost too, only later: that scores depend on the distance alone does not say what to make of a distance of 50, whose
# angles have not been seen in training. ALiBi has an answer to that, and it is "hardly anything". The price: a head that does
# have to look far back must do so against its slope.

# %%
if lesson.draws:
    figure, axes = panels(2, 2, size=(12, 8))
    show_grid(1 - np.stack([np.tri(64), *masks(64, 8)]), columns=3, axes=axes[0, 0],
              titles=["everybody", "local", "local and strided"], title="Who (down) looks at whom (across), 64 places")
    plot_curves({name: (lengths, values) for name, values in memory.items()}, "T", "MiB beyond the inputs", log="xy",
                title="Memory of one head, there and back", axes=axes[0, 1])
    axes[0, 1].set_xticks(lengths, lengths)
    axes[0, 1].minorticks_off()
    plot_curves({**copy_losses, "a guess": [math.log(LETTERS)] * len(copy_losses["local"])}, "step", "nats a letter",
                title="A copy from 72 places back", axes=axes[1, 0])
    curves = {places: (np.arange(4, 128, 8), values.reshape(16, 8).mean(axis=1)) for places, values in by_place.items()}
    plot_curves({**curves, "truth": ([4, 124], [truth, truth])}, "place in the text", "nats a letter",
                title="Trained on 32 letters (the line), reading on", axes=axes[1, 1])
    axes[1, 1].axvline(32, color="0.5", lw=1, ls=":")
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - Let the copy lie 77 places back: six strides and five places, so two blocks must work together. How many steps more?
# - Let the sinusoids of each training piece begin at a random place, so that in the end all 128 have been seen. Do they still
#   get lost?
# - Tell the reader nothing about places, `Reader(len(letters), None)`. Can it read at all? Can it read on?
# - Ask ALiBi, instead of RoPE, for the long copy. Can its scores say "72 places back, no more and no less"?
# - In `flash`, take off no largest score at all. From which size of q on does it fail, and how does it fail?
# - Lesson 34 cuts pictures into words and reads them with the same blocks.
