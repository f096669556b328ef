"""Lesson 64: Save, export, quantize

Every model of the last sixty lessons died when its script ended. What must a file hold so that training goes on as if it had
never stopped? What, so that a program which has never heard of this library can run the model? And how few bits do for that?

You will stop a training in the middle and resume it to the last bit, write a network down as a list of operations that runs
without its source, hand it to another runtime, and round its numbers to 256 levels, which it hardly notices, to 15, which
costs up to a point, and to 3, which ruins it, until it may practise with them. Expected: no more than a point lost with 8 bits
and a file 3.8 times smaller; with 4 bits and practice no more than a point and 7 times; with 2 bits most of the loss won back.

Papers: Jacob et al. 2017, arXiv:1712.05877 (integers for inference); Bengio, Leonard & Courville 2013, arXiv:1308.3432 (the
straight-through gradient).
"""
# %%
import ast
import copy
import importlib.util
import itertools
import sys
import tempfile
from pathlib import Path

import numpy as np

from tinygrad_edu import Tensor, functional as F, manual_seed, nn, no_grad, optim
from tinygrad_edu.data import batches, load_digits
from tinygrad_edu.io import (TraceError, convert, export_onnx, fake_quantize, fold_batch_norm, fold_constants, import_onnx,
                             load_checkpoint, load_weights, prepare, remove_dead_code, save_checkpoint, save_weights, trace)
from tinygrad_edu.io.quantize import weight_scale
from tinygrad_edu.lesson import Lesson
from tinygrad_edu.viz import panels

connections = []                    # Python reports every attempt to reach the network to its audit hooks
sys.addaudithook(lambda event, _: connections.append(event) if event in ("socket.connect", "socket.getaddrinfo") else None)

lesson = Lesson("64_save_export_quantize")
folder = Path(tempfile.mkdtemp())
(images, labels), (test_images, test_labels) = load_digits("train"), load_digits("test")
images, test_images = images[:, None], test_images[:, None]                             # (1437, 1, 8, 8), (360, 1, 8, 8)

def make_net():
    return nn.Sequential(nn.Conv2d(1, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(),
                         nn.Conv2d(64, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
                         nn.Flatten(), nn.Linear(256, 128), nn.ReLU(), nn.Linear(128, 10))

def step(net, optimizer, inputs, targets):
    loss = F.cross_entropy(net(inputs), targets)
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    return loss.item()

def train(net, epochs, lr):
    """Adam on the cross-entropy; the step size falls to 0 over the second half."""
    net.train()
    optimizer = optim.Adam(net.parameters(), lr=lr)
    for epoch in lesson.progress(range(epochs), "training"):
        optimizer.param_groups[0]["lr"] = lr * min(1, 2 * (1 - epoch / epochs))
        for inputs, targets in batches(images, labels, batch_size=64):
            step(net, optimizer, inputs, targets)
    return net.eval()

def furthest_answer(net, other):
    """The largest difference of two networks' answers to the test pictures."""
    with no_grad():
        return abs(net(Tensor(test_images)).data - other(Tensor(test_images)).data).max()

def score(net):
    """(points of 100, cross-entropy) on the test pictures."""
    with no_grad():
        logits = net(Tensor(test_images))
    return 100 * (logits.argmax(axis=1).numpy() == test_labels).mean(), F.cross_entropy(logits, test_labels).item()

# %% [markdown]
# ## Stop, and go on
#
# The next step of a training depends on more than the weights. Adam remembers two averages for every weight and how many
# steps it has made; batch norm its running statistics; and the order of the next pictures is still inside the random number
# generator. Leave one out and training goes on, but as another one. A checkpoint holds all of them. It is a safetensors
# file, numbers with names and a bit of text: nothing in it can be executed, as it can in a pickle. It is written beside the
# old one and then renamed, so a power cut leaves the one or the other, but never half of one.

# %%
def ten_steps(net, optimizer):
    return [step(net, optimizer, *batch) for batch in itertools.islice(batches(images, labels, batch_size=64), 10)]

def furthest(net, other):
    return max(abs(a.data - b.data).max() for a, b in zip(net.state_dict().values(), other.state_dict().values()))

net = make_net()
optimizer = optim.Adam(net.parameters(), lr=2e-3)
ten_steps(net, optimizer)
save_checkpoint(folder / "half.safetensors", model=net, optimizer=optimizer, step=10)
losses = ten_steps(net, optimizer)                                      # had we not stopped

manual_seed(lesson.seed + 999)                                          # another process: other weights, other order
resumed = make_net()
new_optimizer = optim.Adam(resumed.parameters(), lr=1.0)
steps_made = load_checkpoint(folder / "half.safetensors", model=resumed, optimizer=new_optimizer)["step"]
same_losses = ten_steps(resumed, new_optimizer) == losses
lesson.claim("resume: largest difference of any weight, 10 steps on", furthest(net, resumed), "==", 0, row="V01", kind="E")
lesson.claim("resume: all 10 losses equal to the last bit", int(same_losses and steps_made == 10), "==", 1, row="V01", kind="E")

# Without the idea: only the weights are saved, as many a script does.
manual_seed(lesson.seed + 999)
forgetful = make_net()
load_checkpoint(folder / "half.safetensors", rng=False, model=forgetful)
ten_steps(forgetful, optim.Adam(forgetful.parameters(), lr=2e-3))
lesson.claim("weights alone: largest difference of any weight", furthest(net, forgetful), ">", 1e-3, row="V01", kind="E",
             baseline=furthest(net, resumed))

# %% [markdown]
# ## A list of operations
#
# A Python function is an awkward thing to hand on: it needs this library, its version and its source. But what it *does* to
# a picture is a short list. We run the network once, and write down each operation with what goes in and what comes out:

# %%
net = train(make_net(), lesson.pick(8, 2), 3e-3)
graph = trace(net, test_images[:3])
print(f"    {len(graph.instructions)} instructions, among them")
print("\n".join("    " + str(instruction) for instruction in graph.instructions[:10]))

# %% [markdown]
# The batch size is none of the numbers in it: the tracer runs the network twice, with batches of 3 and of 4 pictures, and
# what grows by a third must be a batch size. The list says N there, and serves every batch.
#
# Half of the list never looks at the picture: it prepares weights. *Constant folding* does that once, now. What no output
# needs, *dead code*, goes as well. Neither may change an answer. We compare in float64, where rounding leaves room to see.

# %%
exact = copy.deepcopy(net).double()
unseen = test_images[100:117].astype("float64")                                         # another batch size, other pictures

def with_waste(x):
    unused = (x * x).sum()                                                              # noqa: F841  dead code
    return exact(x)

whole = trace(with_waste, unseen[:2])
short = remove_dead_code(fold_constants(whole))
eager = exact(Tensor(unseen)).data
lesson.claim("replayed list against the network", abs(whole(unseen).data - eager).max(), "<=", 1e-12, row="V03", kind="E")
lesson.claim("folded list against the network", abs(short(unseen).data - eager).max(), "<=", 1e-12, row="V03", kind="E")
lesson.claim("instructions after folding and removing", len(short.instructions), "<", len(whole.instructions), row="V03",
             kind="S", baseline=len(whole.instructions))

# A list cannot branch. This function looks at its numbers to decide what to do; the two runs part, and the tracer says so.
def undecided(x):
    return x.exp() if x.data.sum() > 0 else x.sin()

try:
    trace(undecided, np.array([[2.0, 0.1], [-1.0, 0.0], [-3.0, 2.1]]))
    refused = 0
except TraceError as error:
    refused = 1
    print(f"    {error}")
lesson.claim("a function that branches on its numbers is refused", refused, "==", 1, row="V03", kind="S")

# %% [markdown]
# ## In another program
#
# ONNX is such a list in a standard form, with a fixed stock of operators. Convolution, LSTM and layer norm are in it, and
# our kernels become theirs; what is not, like attention, is said with products and a softmax. Whoever runs the file, here
# onnxruntime, must come to our numbers, for other batch sizes than the one that was traced too.

# %%
class Words(nn.Module):
    """Word ids through an embedding, attention, layer norm and an LSTM."""

    def __init__(self):
        self.words, self.norm = nn.Embedding(20, 16), nn.LayerNorm(16)
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.memory, self.out = nn.LSTM(16, 12, batch_first=True), nn.Linear(12, 3)

    def forward(self, ids):
        x = self.words(ids)
        x = x + self.attention(self.norm(x), causal=True)
        return self.out(self.memory(x)[0][:, -1])

def other_program(path, x):
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    return session.run(None, {session.get_inputs()[0].name: x})[0]

ids = np.random.default_rng(lesson.seed).integers(0, 20, (9, 7))
if importlib.util.find_spec("onnx") and importlib.util.find_spec("onnxruntime"):
    for name, model, x in (("conv and batch norm", net, test_images[:9]), ("attention, layer norm, LSTM", Words(), ids)):
        path = export_onnx(model, folder / "net.onnx", x[:2])                           # checked by onnx before it is written
        difference = abs(other_program(path, x) - model(Tensor(x)).data).max()
        lesson.claim(f"{name}: onnxruntime against the network", difference, "<=", 1e-5, row="V02", kind="E")
    path = export_onnx(net, folder / "net.onnx", test_images[:2])
    lesson.claim("read back by us: difference", furthest_answer(import_onnx(path), net), "<=", 1e-4, row="V02", kind="E")
else:
    print("    ONNX is left out: pip install 'tinygrad-edu[onnx]'")

# %% [markdown]
# ## 256 levels
#
# A weight has 32 bits. How many does it need? Let the largest weight of each output channel be 127 steps away from 0, and
# round all others to whole steps: one byte each, and one scale s_o for the channel. Do the same with the numbers that go
# into a layer, once some pictures have shown how large they get: x = s (q - z). Then
#
#     y_o = sum_i w_oi x_i  =  s s_o  sum_i q_oi (q_i - z),
#
# and the sum, where all the work is, is one of small integers. A batch norm first goes into the convolution before it.

# %%
layers = list(net)
folded = nn.Sequential(*[fold_batch_norm(layer, layers[i + 1]) if isinstance(layer, nn.Conv2d) else layer
                         for i, layer in enumerate(layers) if not isinstance(layer, nn.BatchNorm2d)]).eval()
difference = furthest_answer(folded, net)
lesson.claim("batch norm inside the convolution: difference", difference, "<=", 1e-3, row="V04", kind="E")

def other_weights(model):
    other = copy.deepcopy(model)
    for p in other.parameters():
        p.data *= 0.5
    return other

def file_size(model, name):
    save_weights(folder / name, model.state_dict())
    return (folder / name).stat().st_size

float_size, (points, nats) = file_size(folded, "float.safetensors"), score(folded)
calibration = [images[:256]]
prepared = prepare(folded, calibration, bits=8)                         # still real numbers, but on the grid
small = convert(prepared)                                               # integers
small_points, small_nats = score(small)
largest = abs(folded(Tensor(test_images)).data).max()
lesson.claim("8 bits: integers against real numbers on their grid", furthest_answer(small, prepared) / largest, "<=", 0.02,
             row="V04", kind="E")
lesson.claim("8 bits: points lost", points - small_points, "<=", 1.0, row="V04", kind="C")
lesson.claim("8 bits: the file is times smaller", float_size / file_size(small, "int8.safetensors"), ">=", 3.8, row="V04",
             kind="S", oracle=4)

other = convert(prepare(other_weights(folded), calibration, bits=8))         # other weights, until it reads the file
other.load_state_dict(load_weights(folder / "int8.safetensors"))
lesson.claim("8 bits: read back from the file, difference", furthest_answer(other, small), "==", 0, row="V04", kind="E")

# The two sides of the first claim add up the same products, the one exactly, the other in float32. Where a number lies halfway
# between two levels, that decides which one it gets; so they agree to a step, not to the last bit.

# %% [markdown]
# ## 15 levels, 3 levels, and practice
#
# With 4 bits a weight has 15 levels and two of them share a byte; with 2 bits it is -1, 0 or 1. With a scale for each channel
# 4 bits still cost so little here that a lucky seed shows no loss to win back; 2 bits do not leave a usable network. But a
# network can learn to live with it, if it is trained while its numbers are rounded: whatever the rounding does to one weight,
# the others can make up for. There is one obstacle. The derivative of rounding is 0 almost everywhere, so no gradient would
# reach a weight. The *straight-through* gradient passes as if nothing had been rounded, and stops where a number had to be
# cut off at the end of the grid. It is wrong, on purpose, and works. In full, against the library's:

# %%
def rounded_to(x, scale, top):                                          # forward
    return np.clip(np.rint(x / scale), -top, top) * scale

def straight_through(gy, x, scale, top):                                # backward
    return gy * (abs(np.rint(x / scale)) <= top)

w = Tensor(np.random.default_rng(lesson.seed).standard_normal(1000), requires_grad=True)
y = fake_quantize(w, 0.25, 0, -7, 7)
y.backward(Tensor(w.data + 1))
off = abs(y.data - rounded_to(w.data, 0.25, 7)).max(), abs(w.grad.data - straight_through(w.data + 1, w.data, 0.25, 7)).max()
lesson.claim("rounding and its gradient, ours against the library's", max(off), "<=", 1e-12, row="V04", kind="E")

table = {8: ((small_points, small_nats), None)}
for bits in (4, 2):
    rounded = prepare(folded, calibration, bits)
    before = score(rounded)
    practised = train(rounded, lesson.pick(5, 1), 1e-3)                 # the same loop as ever
    table[bits] = before, score(practised)
    if bits == 4:
        tiny = convert(practised)
        tiny_points = score(tiny)[0]
further = score(train(copy.deepcopy(folded), lesson.pick(5, 1), 1e-3))  # what the practice alone is worth

print(f"    bits   rounded             practised           (points, nats); 32 bits {points:.1f} {nats:.4f}, "
      f"trained on {further[0]:.1f} {further[1]:.4f}")
for bits, scores in table.items():
    print(f"    {bits}   " + "".join(f"   {s[0]:6.1f} {s[1]:8.4f}  " if s else "" for s in scores))

lesson.claim("4 bits, practised: points lost", points - tiny_points, "<=", 1.0, row="V04", kind="C",
             baseline=points - table[4][0][0])
lesson.claim("4 bits: the file is times smaller", float_size / file_size(tiny, "int4.safetensors"), ">=", 7.0, row="V04",
             kind="S", oracle=8)
lesson.claim("2 bits: points won back by practice", table[2][1][0] - table[2][0][0], ">=", 10, row="V04", kind="C", baseline=0)

# %% [markdown]
# ## Anywhere
#
# All lessons run on a laptop without a network, and each is a notebook too: `# %%` opens a cell, `# %% [markdown]` one of
# text (`jupytext --to ipynb lessons/*.py` converts them all). This one has looked whether anything went online meanwhile.

# %%
def cells(source):
    """[(kind, text)] of a percent script; the docstring before the first mark is text as well."""
    found = [("markdown", [])]
    for line in source.splitlines():
        if line.startswith("# %%"):
            found.append(("markdown" if "[markdown]" in line else "code", []))
        else:
            found[-1][1].append(line)
    return [(kind, "\n".join(lines)) for kind, lines in found]

def is_notebook(source):
    (_, title), *rest = cells(source)
    code = [text for kind, text in rest if kind == "code"]
    prose = [line for kind, text in rest if kind == "markdown" for line in text.splitlines()]
    whole_cells = all(ast.parse(text) is not None for text in code)                     # a cell must stand on its own
    return bool(ast.get_docstring(ast.parse(title))) and whole_cells and all(line[:1] in ("", "#") for line in prose)

if not lesson.in_notebook:
    lessons = sorted(Path(__file__).parent.glob("[0-9][0-9]_*.py"))
    converted = sum(is_notebook(path.read_text(encoding="utf-8")) for path in lessons)
    lesson.claim("lessons that are notebooks", converted, "==", len(lessons), row="X10", kind="S")
lesson.claim("connections that this lesson asked for", len(connections), "==", 0, row="X10", kind="S")

# %%
if lesson.draws:
    figure, (left, middle, right) = panels(1, 3, size=(15.5, 5.2))
    left.set_axis_off()
    listed = remove_dead_code(fold_constants(graph)).instructions
    left.set_title(f"the list: of {len(graph.instructions)} instructions {len(listed)} are left", loc="left", fontsize=11)
    left.text(0, 0.98, "\n".join(str(step).partition(";")[0].rstrip(")") + ")" for step in listed), va="top",
              family="monospace", fontsize=9, linespacing=1.35, transform=left.transAxes)

    weights = folded[3].weight.data                                     # of the second convolution
    grid = weight_scale(weights, 4)
    middle.hist((weights / grid).ravel(), bins=120, range=(-7.5, 7.5), density=True, label="32 bits")
    levels, counts = np.unique(np.rint(weights / grid), return_counts=True)
    middle.bar(levels, counts / weights.size, width=0.16, color="#bd1f01", label="4 bits: 15 levels")
    middle.set(xlabel="weight / scale of its channel", ylabel="share of the weights")
    middle.set_title("the second convolution's weights", loc="left", fontsize=11)
    middle.legend(frameon=False, fontsize=9)

    right.plot(list(table), [scores[0][1] for scores in table.values()], "o-", label="rounded after training")
    right.plot([4, 2], [table[bits][1][1] for bits in (4, 2)], "s-", label="rounded in training")
    right.axhline(nats, color="#94a4a2", linestyle="--", label="32 bits")
    right.set(xlabel="bits", ylabel="test cross-entropy, nats", yscale="log", xlim=(8.5, 1.5), xticks=list(table))
    right.set_title("what bits cost", loc="left", fontsize=11)
    right.legend(frameon=False, fontsize=9)
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - One scale for a whole layer instead of one for each channel: how many points do 4 bits cost then?
# - Kill this script with `kill -9` while it saves, a hundred times. Is the checkpoint ever half of one?
# - Open net.onnx in a viewer such as Netron. Which of its nodes would a compiler join next?
