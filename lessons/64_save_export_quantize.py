"""Lesson 64: Save, export, quantize

Every model of the last sixty lessons died when its script ended. What must a file hold so that training goes on as if it had
never stopped? What, so that a program which has never heard of this library can run the model? And how few bits do for that?

You will stop a training in the middle and resume it to the last bit, write a network down as a list of operations that runs
without its source, hand it to another runtime, and round its weights to 256 levels, which it hardly notices, and to 15, which
it does, until it may practise with them. Expected: no more than a point lost with 8 bits and a file 3.8 times smaller; with 4
bits a file 7 times smaller, and what it costs won back by training.

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
from tinygrad_edu.io import (TraceError, convert, export_onnx, fold_batch_norm, fold_constants, import_onnx, load_checkpoint,
                             load_weights, prepare, remove_dead_code, save_checkpoint, save_weights, trace)
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
net = train(make_net(), lesson.pick(10, 2), 3e-3)
graph = trace(net, test_images[:3])
print("\n".join("    " + line for line in str(graph).splitlines()[-33:]))

# %% [markdown]
# `N` is the batch size: the tracer runs the network twice, with batches of 3 and of 4, and what grew by a third must be it.
#
# Half of the list never looks at the picture: it prepares weights. *Constant folding* does that once, now. What no output
# needs, *dead code*, goes as well. Neither may change an answer. We compare in float64, where rounding leaves room to see.

# %%
exact = copy.deepcopy(net)
for _, tensor in exact.named_tensors():
    tensor.data = tensor.data.astype("float64")
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

# A list cannot branch. A function that looks at its numbers to decide what to do has no list, and the tracer says so.
def undecided(x):
    return x.exp() if x.data.sum() > 0 else x.sin()

try:
    trace(undecided, np.array([[1.0, 0.1], [-2.0, 0.2], [-3.0, 3.9]]))
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
        self.words, self.attention, self.norm = nn.Embedding(20, 16), nn.MultiheadAttention(16, 4, batch_first=True), nn.LayerNorm(16)
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
    with no_grad():
        back = import_onnx(path)(test_images)
    lesson.claim("read back by us: difference", abs(back.data - net(Tensor(test_images)).data).max(), "<=", 1e-4, row="V02", kind="E")
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
points, nats = score(net)
difference = abs(folded(Tensor(test_images)).data - net(Tensor(test_images)).data).max()
lesson.claim("batch norm inside the convolution: difference", difference, "<=", 1e-3, row="V04", kind="E")

def file_size(model, name):
    save_weights(folder / name, model.state_dict())
    return (folder / name).stat().st_size

float_size = file_size(folded, "float.safetensors")
calibration = [images[:256]]
prepared = prepare(folded, calibration, bits=8)                         # still real numbers, but on the grid
small = convert(prepared)                                               # integers
with no_grad():
    gap = abs(prepared(Tensor(test_images)).data - small(Tensor(test_images)).data).max()
lesson.claim("8 bits: integers against numbers on their grid", gap, "<=", 1e-3, row="V04", kind="E")
lesson.claim("8 bits: points lost", points - score(small)[0], "<=", 1.0, row="V04", kind="C")
lesson.claim("8 bits: file, times smaller", float_size / file_size(small, "int8.safetensors"), ">=", 3.8, row="V04", kind="S", oracle=4)

again = convert(prepare(make_folded := copy.deepcopy(folded), calibration, bits=8))
again.load_state_dict(load_weights(folder / "int8.safetensors"))
lesson.claim("8 bits: read back from the file, difference", abs(again(Tensor(test_images)).data - small(Tensor(test_images)).data).max(), "==", 0, row="V04", kind="E")

# %% [markdown]
# ## 15 levels, and practice

# %%
rounded = prepare(folded, calibration, bits=4)
rounded_points, rounded_nats = score(rounded)
practised = train(copy.deepcopy(rounded), lesson.pick(6, 1), 1e-3)
control = train(copy.deepcopy(folded), lesson.pick(6, 1), 1e-3)
tiny = convert(practised)
print("points, nats:  float", points, nats, " 8 bits", score(small), " 4 bits", rounded_points, rounded_nats, " practised", score(practised), " float, trained on", score(control))
