"""Lesson 12: The training loop and its tools

Batch norm (lesson 11) made a row of the batch depend on all others, so the batch is no longer a mere matter of speed. What if
it does not fit into memory? And a second question has been open since lesson 5: our loop trains, but blindly. Where does its
time go, what does it write down, and could its numbers be half as large?

You will see a batch taken in pieces without a trace, except where batch norm is watching; a training whose gradients all vanish
in 16 bits, and a single factor that brings them back; activations that are forgotten and computed again; and a table that says
what the time went into. Expected: gradients equal to 1e-6, accuracy in float16 within half a point of float32's.

Papers: Micikevicius et al. 2017, arXiv:1710.03740 (mixed precision); Chen et al. 2016, 1604.06174 (recomputation).
"""
# %%
import contextlib
import importlib.util
import io
import shutil
import tracemalloc

import numpy as np

from tinygrad_edu import Tensor, functional as F, kernel_face, manual_seed, nn, no_grad, optim
from tinygrad_edu.amp import GradScaler, autocast
from tinygrad_edu.data import batches, load_digits
from tinygrad_edu.io import SummaryWriter, read_curves, read_events
from tinygrad_edu.lesson import Lesson, output_folder
from tinygrad_edu.memory import accumulate, checkpoint
from tinygrad_edu.metrics import accuracy
from tinygrad_edu.profiler import Profiler
from tinygrad_edu.viz import panels, plot_curves

lesson = Lesson("12_training_loop_and_tools")
(images, labels), (test_images, test_labels) = load_digits("train"), load_digits("test")
images, test_images = images[:, None], test_images[:, None]                                 # (N, 1, 8, 8)

# %% [markdown]
# ## A batch that does not fit
#
# `backward()` adds to the gradients that are there. So a batch may come in pieces: forward and backward for each, and one step
# at the end. The loss of a batch of N rows is a mean, and so is that of a piece of n rows, which divided by n, not by N.
# So every piece counts n / N:
#
#     1/N sum over all rows  =  sum over pieces of  n/N  (1/n sum over the rows of the piece).
#
# Who forgets the factor takes a step k times too long, with k pieces. (Adam hides the mistake: it divides by the size of the
# gradient. Clipping and weight decay do not.)

# %%
def gradients(model, whole=True, parts=4, share=True):
    """The gradients of one batch of 64 digits, at once or in pieces."""
    model.zero_grad()
    x, y = Tensor(images[:64]), labels[:64]
    if whole:
        F.cross_entropy(model(x), y).backward()
    else:
        for rows in np.array_split(np.arange(64), parts):                                   # 4 x 16, or 22, 21, 21
            loss = F.cross_entropy(model(x[rows]), y[rows])
            (loss * (len(rows) / 64) if share else loss).backward()
    return np.concatenate([p.grad.data.reshape(-1) for p in model.parameters()])

def mlp(*norm):
    return nn.Sequential(nn.Flatten(), nn.Linear(64, 64), *norm, nn.Tanh(), nn.Linear(64, 10))

model = mlp()
whole, unscaled = gradients(model), gradients(model, whole=False, share=False)
times_too_long = np.linalg.norm(unscaled) / np.linalg.norm(whole)
worst = max(np.abs(gradients(model, whole=False, parts=k) - whole).max() for k in (1, 2, 3, 4, 64))
lesson.claim("1 to 64 pieces against one batch: gradient", worst, "<=", 1e-6, row="V06", kind="E",
             baseline=np.abs(unscaled - whole).max())
lesson.claim("4 pieces without the factor: gradient, times too long", times_too_long, "in", (3.999, 4.001), row="V06", kind="E",
             oracle=4)

model.zero_grad()
accumulate(lambda x, y: F.cross_entropy(model(Tensor(x)), y), images[:64], labels[:64], parts=3)    # the library's, in one call
by_library = np.concatenate([p.grad.data.reshape(-1) for p in model.parameters()])
apart = np.abs(by_library - gradients(model, whole=False, parts=3)).max()
lesson.claim("our five lines against the library's accumulate", apart, "<=", 1e-6, row="V06", kind="E")

# Batch norm in training looks at the rows around. Pieces have other rows around, so they have another gradient; once it uses
# its running statistics, all is well again. Group and layer norm never notice.

normed = mlp(nn.BatchNorm1d(64))
apart = np.abs(gradients(normed, whole=False) - gradients(normed)).max()
lesson.claim("with batch norm in training: the gradients differ", apart, ">=", 1e-3, row="V06", kind="E", baseline=worst)
normed.eval()
apart = np.abs(gradients(normed, whole=False) - gradients(normed)).max()
lesson.claim("with batch norm in evaluation", apart, "<=", 1e-6, row="V06", kind="E")

# %% [markdown]
# ## Activations that are forgotten
#
# Often not the rows take the memory, but what each layer keeps for backward. A piece of the network can be treated as one
# operation that keeps its input only and computes the rest again when backward comes by. With n layers in s pieces there are
# s inputs and, during backward, the n / s layers of one piece: least for s near sqrt(n), at the price of one more forward.

# %%
layers, wide = [nn.Linear(64, 64) for _ in range(36)], Tensor(np.tile(images.reshape(-1, 64), (lesson.pick(3, 1), 1)))

def deep_loss(pieces):
    """The loss of 36 layers; `pieces` of them are recomputed, none is with 0."""
    def piece(x, some):
        for layer in some:
            x = F.tanh(layer(x))
        return x

    x = wide
    for part in np.array_split(np.arange(36), max(pieces, 1)):
        some = [layers[i] for i in part]
        x = checkpoint(piece, x, some) if pieces else piece(x, some)
    return (x * x).mean()

def peak(pieces):
    """MB at the highest point of forward and backward, and the gradient of the first layer."""
    for layer in layers:
        layer.zero_grad()
    tracemalloc.start()
    deep_loss(pieces).backward()
    _, high = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return high / 1e6, layers[0].weight.grad.data

peaks = {pieces: peak(pieces) for pieces in lesson.pick((0, 1, 2, 3, 6, 12, 18, 36), (0, 2, 6))}
print("  pieces and MB: " + ", ".join(f"{pieces or 'all kept'} {high:.0f}" for pieces, (high, _) in peaks.items()))
lesson.claim("36 layers, 6 pieces recomputed: peak memory, relative", peaks[6][0] / peaks[0][0], "<=", 0.5, row="V06", kind="E",
             baseline=1)
apart = np.abs(peaks[6][1] - peaks[0][1]).max()
lesson.claim("recomputed or kept: largest difference of a gradient", apart, "==", 0, row="V06", kind="E")

# %% [markdown]
# ## Sixteen bits
#
# A float16 takes half the memory, and a GPU multiplies matrices of them several times as fast. It has 11 bits for the digits
# and 5 for the exponent, and so three weaknesses. Sums stop growing: 2048 + 1 is 2048. Small steps are lost: 1 - 0.0001 is 1.
# And whatever is below 3e-8 is nothing. The first is met by adding in float32, the second by keeping the weights in float32
# (`autocast` casts a copy for each product; the table in amp.py says which operation gets what).

# %%
half = np.float16
lesson.claim("4096 ones, added up one by one in float16", np.add.accumulate(np.ones(4096, half))[-1], "==", 2048, row="V05",
             kind="E", oracle=4096)
lesson.claim("1 - 0.0001 in float16", half(1) - half(0.0001), "==", 1.0, row="V05", kind="E", oracle=0.9999)

# %% [markdown]
# The third is the dangerous one, because of gradients. To see it, let us measure the loss in other units, say its millionth;
# Adam does not care how long a gradient is. The picture (bottom left) shows the sizes of the gradients in the network: shifted
# by a millionth they fall off the left edge of what 16 bits can hold. The cure is as simple as the disease: multiply the loss
# by 65536, divide the gradients by 65536 before the step. And if that overflows? Then leave out the step and halve the
# factor; if it did not for 2000 steps, double it. That is all that `GradScaler` does.

# %%
UNIT = 1e-6
runs = output_folder() / f"12_runs_seed{lesson.seed}"
shutil.rmtree(runs, ignore_errors=True)                     # a log that is there would be continued
has_tensorboard = importlib.util.find_spec("tensorboardX") is not None

def cnn():
    return nn.Sequential(nn.Conv2d(1, 16, 3, padding=1), nn.ReLU(), nn.Conv2d(16, 32, 3, padding=1), nn.ReLU(),
                         nn.MaxPool2d(2), nn.Flatten(), nn.Linear(32 * 4 * 4, 10))

def train(name, mixed, scaled):
    """The same start and the same batches each time. Returns the model and its accuracies after each epoch."""
    manual_seed(lesson.seed)
    epochs, logged = lesson.pick(10, 2), []
    model, scaler = cnn(), GradScaler(enabled=scaled)
    optimizer = optim.Adam(model.parameters(), lr=3e-3, eps=1e-16)
    scheduler = optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs)
    rows = lesson.pick(len(images), 128)
    with SummaryWriter(runs / name, tensorboard=has_tensorboard) as writer:
        for epoch in lesson.progress(range(1, epochs + 1), name):
            losses = []
            for x, y in batches(images[:rows], labels[:rows], batch_size=64):
                with autocast(enabled=mixed):
                    loss = F.cross_entropy(model(x), y)
                    optimizer.zero_grad()
                    scaler.scale(loss * UNIT).backward()
                    scaler.step(optimizer)
                    scaler.update()
                losses.append(loss.item())
            scheduler.step()
            with no_grad():
                logged.append(accuracy(model(Tensor(test_images)), test_labels))
            writer.log({"loss": np.mean(losses), "accuracy": logged[-1]}, epoch)
            writer.add_histogram("weights/first", model[0].weight, epoch)
        filters = model[0].weight.data.reshape(48, 3)                                       # 16 of 3 x 3, one below the other
        writer.add_image("filters", 0.5 + filters / (2 * np.abs(filters).max()), epochs, "HW")
        writer.add_hparams({"lr": 3e-3, "epochs": epochs, "mixed": mixed, "scaled": scaled}, {"final accuracy": logged[-1]})
    return model, logged

def lost(model, scale):
    """Of the numbers in the weights' gradients that are not 0 in float32: the share that is 0 in mixed precision."""
    x, y, answers = Tensor(images[:64]), labels[:64], []
    for mixed in (False, True):
        model.zero_grad()
        with autocast(enabled=mixed):
            (F.cross_entropy(model(x), y) * UNIT * (scale if mixed else 1.0)).backward()
        answers.append(np.concatenate([p.grad.data.reshape(-1) for p in model.parameters()]))
    full, narrow = answers
    return ((full != 0) & (narrow == 0)).sum() / (full != 0).sum()

full, in_float32 = train("float32", mixed=False, scaled=False)
_, unscaled = train("float16", mixed=True, scaled=False)
_, scaled = train("float16, scaled", mixed=True, scaled=True)

manual_seed(lesson.seed)
fresh = cnn()
shares = {scale: lost(fresh, scale) for scale in (1.0, 65536.0)}
print(f"  gradients that are not 0 in float32, and are 0 in float16: {shares[1.0]:.1%}, with scaling {shares[65536.0]:.1%}")
lesson.claim("float16 without scaling: share of gradients that vanish", shares[1.0], ">=", 0.5, row="V05", kind="C",
             baseline=shares[65536.0], oracle=0)
lesson.claim("float16 with scaling: share of gradients that vanish", shares[65536.0], "<=", 0.01, row="V05", kind="C",
             baseline=shares[1.0], oracle=0)
late = slice(-3, None)
difference = 100 * (np.mean(scaled[late]) - np.mean(in_float32[late]))
lesson.claim("float16 without scaling: accuracy lost, points", 100 * np.mean(in_float32[late]) - 100 * np.mean(unscaled[late]),
             ">=", 50, row="V05", kind="C", oracle=0)
lesson.claim("float16 with scaling: accuracy against float32, points", difference, "in", (-0.5, 0.5), row="V05", kind="C",
             baseline=100 * (np.mean(unscaled[late]) - np.mean(in_float32[late])), oracle=0)

# On a CPU the third run takes twice as long as the first: NumPy has no product of float16, so numbers are rounded back and
# forth. Here it is for understanding; with --device cuda products do run in 16 bits.

# %% [markdown]
# ## Writing it down
#
# The runs have logged themselves: one line of CSV for each epoch, written whole and at once, so that what was logged survives
# whatever comes after. With the extra `tensorboard` there are event files too, for `tensorboard --logdir lessons/out`. They are
# simple: length, checksum, data, checksum, over and over. Let us read back what we wrote, and then let a byte fall over.

# %%
logs = {run.name: read_curves(run / "scalars.csv") for run in sorted(runs.iterdir())}
apart = max(abs(a - b) for name, values in (("float32", in_float32), ("float16, scaled", scaled))
            for a, b in zip(logs[name]["accuracy"][1], values, strict=True))
lesson.claim("accuracies read back from the CSV: difference", apart, "==", 0, row="V07", kind="E")

if has_tensorboard:
    events = read_events(runs / "float32")
    logged = [event.value for event in events if event.tag == "accuracy"]
    apart = np.abs(np.array(logged) - in_float32).max()
    lesson.claim("accuracies read back from the event file: difference", apart, "<=", 1e-7, row="V07", kind="E")
    kinds = {event.kind for event in events}
    lesson.claim("kinds of values: scalars, histograms, pictures", len(kinds), "==", 3, row="V07", kind="E")
    (result,) = read_events(runs / "float32" / "hparams")
    lesson.claim("result beside the hyper-parameters: difference", abs(result.value - in_float32[-1]), "<=", 1e-7, row="V07",
                 kind="E")

    (path,) = (runs / "float32").glob("events.*")
    data = path.read_bytes()
    (runs / "damaged").write_bytes(data[:200] + bytes([data[200] ^ 1]) + data[201:])
    try:
        read_events(runs / "damaged")
        noticed = False
    except ValueError as error:
        noticed = "checksum" in str(error)
    lesson.claim("one flipped bit in the event file is noticed", noticed, "==", True, row="V07", kind="E")
else:
    print("  event files: not written; pip install 'tinygrad-edu[tensorboard]'")

# %% [markdown]
# ## Where the time goes
#
# Guesses about speed are usually wrong, so put a clock beside every operation. GFLOP/s say how well the arithmetic is used: the
# convolution is on top of the table not because it is slow, but because it does nearly all the work. What moves numbers
# without computing shows up in MB.

# %%
x, y = Tensor(images[:64]), labels[:64]
F.cross_entropy(full(x), y).backward()                      # the first time fills caches
with kernel_face("arrays"), Profiler() as profile:          # the kernels, even where their definitions were chosen to run
    for _ in range(5):
        full.zero_grad()
        F.cross_entropy(full(x), y).backward()
print(profile.table())
rows = profile.rows()
lesson.claim("the operation on top of the table is the convolution", rows[0].name == "Conv2d", "==", True, row="V08", kind="S")
lesson.claim("convolutions counted in five steps", rows[0].forward_calls, "==", 10, row="V08", kind="S", oracle=10)
profile.export_chrome_trace(runs / "trace.json")            # open it in chrome://tracing or ui.perfetto.dev

# %% [markdown]
# ## A bar that knows when to be silent
#
# `lesson.progress` draws a bar on a terminal. In a file, where each redraw would be one more line, it writes nothing.

# %%
class Terminal(io.StringIO):
    def isatty(self):
        return True

written = {}
for place in (io.StringIO, Terminal):
    with contextlib.redirect_stderr(place()) as output:
        for _ in lesson.progress(range(100), "bar"):
            pass
    written[place] = len(output.getvalue())
lesson.claim("progress bar: characters written to a file", written[io.StringIO], "==", 0, row="V09", kind="S",
             baseline=written[Terminal])
lesson.claim("progress bar: characters written to a terminal", written[Terminal], ">", 0, row="V09", kind="S")

# %%
if lesson.draws:
    figure, axes = panels(2, 2, size=(12, 8))
    top = rows[:6][::-1]
    names = [row.name for row in top]
    forward, backward = [200 * row.forward_seconds for row in top], [200 * row.backward_seconds for row in top]     # of one step
    axes[0, 0].barh(names, forward, label="forward")
    axes[0, 0].barh(names, backward, left=forward, label="backward")
    axes[0, 0].set(xlabel="milliseconds")
    axes[0, 0].set_title("Where the time of a step goes", loc="left", fontsize=11, pad=8)
    axes[0, 0].legend(frameon=False, fontsize=9, loc="lower right")

    order = ("float32", "float16", "float16, scaled")
    plot_curves({name: logs[name]["loss"] for name in order}, "epoch", "training loss, as logged", "y", axes=axes[0, 1],
                title="The same training in three kinds of numbers")
    axes[0, 1].lines[-1].set_linestyle("--")                # it lies on the first
    axes[0, 1].legend(frameon=False, fontsize=9)

    hidden = full[:2](x)
    hidden.retain_grad()
    F.cross_entropy(full[2:](hidden), y).backward()
    sizes = np.log2(np.abs(hidden.grad.data[hidden.grad.data != 0]))
    bins = np.arange(-60, 18)
    for name, shift in (("loss in millionths", np.log2(UNIT)), ("times 65536", np.log2(UNIT) + 16)):
        axes[1, 0].hist(sizes + shift, bins, alpha=0.7, label=name)
    axes[1, 0].axvspan(-60, -25, color="#94a4a2", alpha=0.25, linewidth=0)
    axes[1, 0].text(-59, axes[1, 0].get_ylim()[1] * 0.93, "0 in float16", fontsize=9)
    axes[1, 0].set(xlabel="log2 of the size", ylabel="numbers", xlim=(-60, 17))
    axes[1, 0].set_title("Gradients of the first layer's activations", loc="left", fontsize=11, pad=8)
    axes[1, 0].legend(frameon=False, fontsize=9, loc="upper right")

    some = [pieces for pieces in peaks if pieces]
    plot_curves({"recomputed": (some, [peaks[pieces][0] for pieces in some]),
                 "all kept": ([1, 36], 2 * [peaks[0][0]])}, "pieces", "peak memory, MB", "x", axes=axes[1, 1],
                title="Forgetting and computing again: 36 layers")
    axes[1, 1].set_xticks(some, [str(pieces) for pieces in some])
    axes[1, 1].minorticks_off()
    axes[1, 1].set_ylim(0)
    lesson.save(figure)

lesson.finish()

# %% [markdown]
# ## Things to try
#
# - `GradScaler(init_scale=2.0 ** 40)`: how many steps are left out until it has found its scale? Log `get_scale()`.
# - Profile the same step with `kernel_face("reference")`. Which operations appear, and what became of the convolution?
# - Twelve pieces of three layers each, and each piece a checkpoint of three more: what does the memory cost now, and the time?
