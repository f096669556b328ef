"""The workloads: what is timed. Each is one text for all libraries, since ours has PyTorch's names.

`build(lib, **sizes)`, lib being tinygrad_edu, torch or a peer's Library, prepares everything and returns a function `run`
without arguments: one forward and backward pass, or one training step with Adam. `run()` returns what it computed, value
first, so that all can be compared before they are timed. All numbers are drawn from fixed seeds, float32.
"""
from typing import Callable, NamedTuple

import numpy as np

from . import models
from .models import equal_weights, functional, is_peer, is_torch

_ONE_LAYER = (True, 1, 0.0, True, False, False)     # biases, layers, dropout, training, both ways, batch first


class Workload(NamedTuple):
    build: Callable
    sizes: dict         # what is timed
    tiny: dict          # the same in miniature, for the tests


# ---------------------------------------------------------------- the two kinds of run

def both_ways(lib, function, *arrays):
    """function(*tensors) forward, and backward from a fixed random gradient."""
    if is_peer(lib):
        return lib.both_ways(function, *arrays)
    xs = [lib.tensor(a, requires_grad=True) for a in arrays]
    gy = lib.tensor(normal(*function(*xs).shape, seed=1))

    def run():
        for x in xs:
            x.grad = None
        y = function(*xs)
        y.backward(gy)
        return [y, *(x.grad for x in xs)]

    return run


def training(lib, model, loss_of):
    """One step of Adam on loss_of(model)."""
    if is_peer(lib):
        return lib.training(model, loss_of)
    optimizer = lib.optim.Adam(model.parameters(), lr=1e-4)

    def run():
        loss = loss_of(model)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return [loss, *(p.grad for p in model.parameters())]

    return run


def normal(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape, dtype=np.float32)


def integers(high, *shape):
    return np.random.default_rng(2).integers(high, size=shape)


def several(*shapes):
    """Arrays of the given shapes; all but the first, the weights, are small."""
    return [normal(*shape, seed=3 + i) * (0.1 if i else 1) for i, shape in enumerate(shapes)]


# ---------------------------------------------------------------- functions

def tiny_ops(lib, length, size):
    """x * a, + b, tanh, again and again on a small matrix: the price of the graph itself."""
    def chain(x, a, b):
        for i in range(length):
            x = x * a if i % 3 == 0 else x + b if i % 3 == 1 else lib.tanh(x)
        return x

    return both_ways(lib, chain, *(normal(size, size, seed=i) for i in range(3)))


def conv(lib, x, weight, **options):
    F = functional(lib)
    return both_ways(lib, lambda *xs: F.conv2d(*xs, **options), *several(x, weight, weight[:1]))


def lstm(lib, batch, length, features, width):
    """All hidden states of a sequence; PyTorch's second bias is zero and gets no gradient."""
    arrays = several((length, batch, features), (4 * width, features), (4 * width, width), (4 * width,))
    h, c, zero = (lib.tensor(np.zeros(shape, "float32")) for shape in ((batch, width), (batch, width), 4 * width))
    if not is_torch(lib):
        return both_ways(lib, lambda x, w, u, b: lib.functional.lstm(x, h, c, w, u, b)[0], *arrays)
    return both_ways(lib, lambda x, w, u, b: lib.lstm(x, (h[None], c[None]), [w, u, b, zero], *_ONE_LAYER)[0], *arrays)


def gru(lib, batch, length, features, width):
    """All hidden states of a sequence; b is the bias of the input, d that of the hidden state."""
    arrays = several((length, batch, features), (3 * width, features), (3 * width, width), (3 * width,), (3 * width,))
    h = lib.tensor(np.zeros((batch, width), "float32"))
    if not is_torch(lib):
        return both_ways(lib, lambda x, w, u, b, d: lib.functional.gru(x, h, w, u, b, d)[0], *arrays)
    return both_ways(lib, lambda x, w, u, b, d: lib.gru(x, h[None], [w, u, b, d], *_ONE_LAYER)[0], *arrays)


def attention(lib, shape):
    F = functional(lib)
    causal = {"is_causal" if is_torch(lib) else "causal": True}
    arrays = (normal(*shape, seed=i) for i in range(3))
    return both_ways(lib, lambda *xs: F.scaled_dot_product_attention(*xs, **causal), *arrays)


def layer_norm(lib, rows, features):
    F, arrays = functional(lib), several((rows, features), (features,), (features,))
    return both_ways(lib, lambda x, w, b: F.layer_norm(x, (features,), w, b), *arrays)


def batch_norm(lib, shape):
    """With the statistics of the batch."""
    F, arrays = functional(lib), several(shape, shape[1:2], shape[1:2])
    if not is_torch(lib):
        return both_ways(lib, F.batch_norm, *arrays)
    return both_ways(lib, lambda x, w, b: F.batch_norm(x, None, None, w, b, training=True), *arrays)


def cross_entropy(lib, rows, classes):
    F, targets = functional(lib), lib.tensor(integers(classes, rows))
    return both_ways(lib, lambda x: F.cross_entropy(x, targets), normal(rows, classes))


def gelu(lib, size):
    return both_ways(lib, functional(lib).gelu, normal(size))


def elementwise(lib, rows, features):
    """tanh(x w + b) sigmoid(x)"""
    arrays = several((rows, features), (features,), (features,))
    return both_ways(lib, lambda x, w, b: lib.tanh(x * w + b) * lib.sigmoid(x), *arrays)


def max_pool(lib, shape):
    """All numbers differ, for ties share the gradient here, while PyTorch gives it to the first."""
    F, x = functional(lib), np.random.default_rng(0).permutation(np.prod(shape)).reshape(shape)
    return both_ways(lib, lambda x: F.max_pool2d(x, 2), x.astype("float32") / x.size)


def embedding(lib, words, features, count):
    F, ids = functional(lib), lib.tensor(integers(words, count))
    return both_ways(lib, lambda weight: F.embedding(ids, weight), normal(words, features))


def adam(lib, layers, width):
    """One step on given gradients: `layers` matrices and biases."""
    Adam, (arrays, gradients) = lib.optim.Adam, parameters_and_gradients(layers, width)
    parameters = [lib.tensor(a, requires_grad=True) for a in arrays]
    for p, g in zip(parameters, gradients):
        p.grad = lib.tensor(g)
    optimizer = Adam(parameters, lr=1e-3)

    def run():
        optimizer.step()
        return parameters

    return run


def parameters_and_gradients(layers, width):
    shapes = [shape for _ in range(layers) for shape in ((width, width), (width,))]
    return [[normal(*shape, seed=seed + i) for i, shape in enumerate(shapes)] for seed in (0, 100)]


# ---------------------------------------------------------------- training steps

def mlp(lib, widths, batch, activation):
    F = functional(lib)
    x, targets = lib.tensor(normal(batch, widths[0])), lib.tensor(integers(widths[-1], batch))
    model = equal_weights(lib, lambda lib: models.mlp(lib, widths, activation))
    return training(lib, model, lambda model: F.cross_entropy(model(x), targets))


def lenet(lib, batch, channels, size):
    F = functional(lib)
    x, targets = lib.tensor(normal(batch, 1, size, size)), lib.tensor(integers(10, batch))
    model = equal_weights(lib, lambda lib: models.lenet(lib, channels, size))
    return training(lib, model, lambda model: F.cross_entropy(model(x), targets))


def gpt(lib, batch, length, vocabulary, **sizes):
    F = functional(lib)
    ids, targets = (lib.tensor(integers(vocabulary, 2, batch, length)[i]) for i in range(2))
    model = equal_weights(lib, lambda lib: models.gpt(lib, length=length, vocabulary=vocabulary, **sizes))
    return training(lib, model, lambda model: F.cross_entropy(model(ids).reshape(-1, vocabulary), targets.reshape(-1)))


def unet(lib, batch, size, widths):
    """A step of a diffusion model: predict the noise in a noisy picture."""
    F = functional(lib)
    x, noise = (lib.tensor(normal(batch, 1, size, size, seed=i)) for i in range(2))
    t = lib.tensor(integers(1000, batch).astype("float32"))
    model = equal_weights(lib, lambda lib: models.unet(lib, widths))
    return training(lib, model, lambda model: F.mse_loss(model(x, t), noise))


_SEQUENCE = dict(batch=32, length=64, features=64, width=128)
_TINY_SEQUENCE = dict(batch=2, length=3, features=4, width=5)
_TINY_CONV = dict(x=(2, 3, 6, 6), weight=(4, 3, 3, 3), padding=1)

WORKLOADS = {
    "tiny_ops": Workload(tiny_ops, dict(length=100, size=4), dict(length=7, size=2)),
    "mlp_tiny": Workload(mlp, dict(widths=(2, 64, 64, 2), batch=64, activation="Tanh"),
                         dict(widths=(2, 3, 2), batch=4, activation="Tanh")),
    "mlp_mnist": Workload(mlp, dict(widths=(784, 512, 512, 10), batch=128, activation="ReLU"),
                          dict(widths=(5, 4, 3), batch=4, activation="ReLU")),
    "conv3x3": Workload(conv, dict(x=(32, 32, 32, 32), weight=(64, 32, 3, 3), padding=1), _TINY_CONV),
    "conv5x5": Workload(conv, dict(x=(128, 1, 28, 28), weight=(32, 1, 5, 5), padding=2),
                        dict(x=(2, 1, 6, 6), weight=(4, 1, 5, 5), padding=2)),
    "conv_stride2": Workload(conv, dict(x=(32, 64, 32, 32), weight=(128, 64, 3, 3), padding=1, stride=2),
                             dict(_TINY_CONV, stride=2)),
    "conv1x1": Workload(conv, dict(x=(32, 64, 32, 32), weight=(64, 64, 1, 1)),
                        dict(x=(2, 3, 4, 4), weight=(4, 3, 1, 1))),
    "lenet": Workload(lenet, dict(batch=64, channels=(16, 32), size=28), dict(batch=2, channels=(2, 3), size=8)),
    "lstm": Workload(lstm, _SEQUENCE, _TINY_SEQUENCE),
    "gru": Workload(gru, _SEQUENCE, _TINY_SEQUENCE),
    "attention_128": Workload(attention, dict(shape=(8, 4, 128, 32)), dict(shape=(2, 2, 5, 4))),
    "attention_1024": Workload(attention, dict(shape=(8, 4, 1024, 32)), dict(shape=(1, 2, 70, 4))),
    "layer_norm": Workload(layer_norm, dict(rows=4096, features=256), dict(rows=6, features=8)),
    "batch_norm2d": Workload(batch_norm, dict(shape=(32, 64, 16, 16)), dict(shape=(3, 4, 2, 2))),
    "cross_entropy_10": Workload(cross_entropy, dict(rows=4096, classes=10), dict(rows=6, classes=3)),
    "cross_entropy_5000": Workload(cross_entropy, dict(rows=1024, classes=5000), dict(rows=3, classes=50)),
    "gelu": Workload(gelu, dict(size=1 << 20), dict(size=9)),
    "elementwise": Workload(elementwise, dict(rows=4096, features=256), dict(rows=3, features=4)),
    "max_pool": Workload(max_pool, dict(shape=(64, 32, 28, 28)), dict(shape=(2, 3, 4, 4))),
    "embedding": Workload(embedding, dict(words=10000, features=128, count=4096), dict(words=5, features=3, count=9)),
    "adam": Workload(adam, dict(layers=16, width=256), dict(layers=2, width=3)),
    "gpt": Workload(gpt, dict(batch=8, length=128, vocabulary=256, layers=4, width=128, heads=4),
                    dict(batch=2, length=5, vocabulary=7, layers=1, width=8, heads=2)),
    "unet": Workload(unet, dict(batch=64, size=16, widths=(32, 64)), dict(batch=2, size=4, widths=(4, 8))),
}
