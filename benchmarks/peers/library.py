"""What the peers share: PyTorch's names over a NumPy-like namespace.

Numbers are np.float32: mygrad would make float64 of everything that meets a Python float.
"""
import functools
import math

import numpy

from . import NotOffered, modules


class Library:
    """A peer. `np` is its NumPy; a subclass adds or replaces what it does better, and says how gradients are taken."""
    __name__ = "peer"
    np = None
    Module, ModuleList, Sequential = modules.Module, modules.ModuleList, modules.Sequential

    def __init__(self):
        self.functional = self.nn = self.optim = self       # F.relu, nn.Linear and lib.tanh are all looked up here
        for layer in (modules.Linear, modules.Embedding, modules.Conv2d, modules.LayerNorm, modules.GroupNorm):
            setattr(self, layer.__name__, functools.partial(layer, self))
        self.Tanh, self.ReLU, self.SiLU = (lambda: self.tanh), (lambda: self.relu), (lambda: self.silu)

    def __getattr__(self, name):
        raise NotOffered(name)

    def tensor(self, array, requires_grad=False):
        return numpy.array(array)

    def arange(self, count):
        return numpy.arange(count)

    # ------------------------------------------------------------ functions, as a user writes them in NumPy

    def tanh(self, x):
        return self.np.tanh(x)

    def sin(self, x):
        return self.np.sin(x)

    def cos(self, x):
        return self.np.cos(x)

    def relu(self, x):
        return self.np.maximum(x, numpy.float32(0))

    def silu(self, x):
        return x * self.sigmoid(x)

    def linear(self, x, weight, bias=None):
        y = self.np.matmul(x, weight)
        return y if bias is None else y + bias

    def embedding(self, ids, weight):
        return weight[ids]

    def mse_loss(self, input, target):
        difference = input - target
        return self.np.mean(difference * difference)

    def cross_entropy(self, logits, targets):
        correct = logits[numpy.arange(len(targets)), targets]
        return self.np.mean(self.logsumexp(logits) - correct)

    def layer_norm(self, x, shape, weight, bias):
        return self.standardize(x, -1) * weight + bias

    def batch_norm(self, x, weight, bias):
        return self.standardize(x, (0, 2, 3)) * weight[:, None, None] + bias[:, None, None]

    def group_norm(self, x, groups, weight, bias):
        y = self.standardize(x.reshape(len(x), groups, -1), -1).reshape(*x.shape)
        return y * weight[:, None, None] + bias[:, None, None]

    def standardize(self, x, axis):
        centered = x - self.np.mean(x, axis=axis, keepdims=True)
        variance = self.np.mean(centered * centered, axis=axis, keepdims=True)
        return centered / self.np.sqrt(variance + numpy.float32(1e-5))

    def gelu(self, x):
        return numpy.float32(0.5) * x * (numpy.float32(1) + self.erf(x * numpy.float32(math.sqrt(0.5))))

    def scaled_dot_product_attention(self, q, k, v, causal):
        T, E = q.shape[-2:]
        scores = self.np.matmul(q * numpy.float32(1 / math.sqrt(E)), self.np.swapaxes(k, -1, -2))
        future = numpy.triu(numpy.full((T, T), -1e9, "float32"), 1)
        return self.np.matmul(self.softmax(scores + future), v)

    def softmax(self, x):
        return self.np.exp(x - self.logsumexp(x)[..., None])

    def max_pool2d(self, x, size):
        N, C, H, W = x.shape
        return self.np.max(x.reshape(N, C, H // size, size, W // size, size), axis=(3, 5))

    def avg_pool2d(self, x, size):
        N, C, H, W = x.shape
        return self.np.mean(x.reshape(N, C, H // size, size, W // size, size), axis=(3, 5))

    def interpolate(self, x, scale_factor):
        return self.np.repeat(self.np.repeat(x, scale_factor, axis=2), scale_factor, axis=3)

    def cat(self, tensors, dim):
        return self.np.concatenate(tensors, axis=dim)

    def lstm(self, x, h, c, weight_x, weight_h, bias):
        hs, projected = [], self.np.matmul(x, weight_x.T) + bias            # (T, N, 4 H)
        for t in range(len(x)):
            i, f, g, o = self.cut(projected[t] + self.np.matmul(h, weight_h.T), 4)
            c = self.sigmoid(f) * c + self.sigmoid(i) * self.tanh(g)
            h = self.sigmoid(o) * self.tanh(c)
            hs.append(h)
        return [self.np.stack(hs)]

    def gru(self, x, h, weight_x, weight_h, bias_x, bias_h):
        hs, projected = [], self.np.matmul(x, weight_x.T) + bias_x          # (T, N, 3 H)
        for t in range(len(x)):
            rx, zx, nx = self.cut(projected[t], 3)
            rh, zh, nh = self.cut(self.np.matmul(h, weight_h.T) + bias_h, 3)
            r, z = self.sigmoid(rx + rh), self.sigmoid(zx + zh)
            n = self.tanh(nx + r * nh)
            h = n + z * (h - n)
            hs.append(h)
        return [self.np.stack(hs)]

    def cut(self, x, parts):
        """x (N, parts H) -> parts arrays (N, H)"""
        width = x.shape[1] // parts
        return [x[:, i * width:(i + 1) * width] for i in range(parts)]


def adam(parameters, gradients, state, lr=1e-4, b1=0.9, b2=0.999, eps=1e-8):
    """A step on lists of NumPy arrays, in place, for peers without an optimizer."""
    state["t"] = t = state.get("t", 0) + 1
    moments = state.setdefault("moments", [(numpy.zeros_like(p), numpy.zeros_like(p)) for p in parameters])
    for p, g, (m, v) in zip(parameters, gradients, moments):
        m += (1 - b1) * (g - m)
        v += (1 - b2) * (g * g - v)
        p -= lr / (1 - b1**t) * m / (numpy.sqrt(v / (1 - b2**t)) + eps)
