"""dezero. Its last release asks for np.int, which NumPy has dropped: while it is imported there is one again."""
import numpy as np

np.int = int
try:
    import dezero
    import dezero.functions as F
    from dezero import layers, optimizers
finally:
    del np.int

from ..workloads import normal, parameters_and_gradients, several
from . import NotOffered
from .library import Library


class Target:
    """What its optimizers ask for: something that lists its parameters."""

    def __init__(self, parameters):
        self.params = lambda: parameters


class DeZero(Library):
    tanh, sigmoid, relu, linear = (staticmethod(f) for f in (F.tanh, F.sigmoid, F.relu, F.linear))

    def both_ways(self, function, *arrays):
        xs = [dezero.Variable(a) for a in arrays]
        gy = dezero.Variable(normal(*function(*xs).shape, seed=1))

        def run():
            for x in xs:
                x.cleargrad()
            y = function(*xs)
            y.grad = gy
            y.backward(retain_grad=False)
            return [y.data, *(x.grad.data for x in xs)]

        return run

    def training(self, model, loss_of):
        parameters = [dezero.Parameter(p) for p in model.parameters()]
        model.set_parameters(parameters)
        optimizer = optimizers.Adam(alpha=1e-4).setup(Target(parameters))
        loss_of(model)                  # NotOffered here, not in the middle of a run

        def run():
            loss = loss_of(model)
            for p in parameters:
                p.cleargrad()
            loss.backward()
            optimizer.update()
            return [loss.data, *model.answers([p.grad.data for p in parameters])]

        return run

    def build_adam(self, **sizes):
        parameters, gradients = parameters_and_gradients(**sizes)
        parameters = [dezero.Parameter(p) for p in parameters]
        for p, g in zip(parameters, gradients):
            p.grad = dezero.Variable(g)
        optimizer = optimizers.Adam(alpha=1e-3).setup(Target(parameters))

        def run():
            optimizer.update()
            return [p.data for p in parameters]

        return run

    def conv2d(self, x, weight, bias, stride=1, padding=0):
        return F.conv2d(x, weight, bias, stride, padding)

    def max_pool2d(self, x, size):
        return F.pooling(x, size, size)

    def batch_norm(self, x, weight, bias):
        mean, variance = np.zeros(x.shape[1], "float32"), np.ones(x.shape[1], "float32")
        return F.batch_nrom(x, weight, bias, mean, variance, eps=1e-5)

    def cross_entropy(self, logits, targets):
        return F.softmax_cross_entropy(logits, dezero.Variable(targets))

    def embedding(self, ids, weight):
        return F.embed_id(ids, weight)

    def build_lstm(self, batch, length, features, width):
        """Its layer is one time step with a product for every gate; the gradient enters through sum(h_t gy_t)."""
        x, weight_x, weight_h, bias = several((length, batch, features), (4 * width, features), (4 * width, width),
                                              (4 * width,))
        gy, layer, own = normal(length, batch, width, seed=1), layers.LSTM(width, in_size=features), {}
        for i, gate in enumerate("ifuo"):
            rows = slice(i * width, (i + 1) * width)
            own[gate] = x2, h2 = getattr(layer, f"x2{gate}"), getattr(layer, f"h2{gate}")
            x2.W.data, x2.b.data, h2.W.data = weight_x[rows].T.copy(), bias[rows].copy(), weight_h[rows].T.copy()
        steps, gys = [dezero.Variable(step) for step in x], [dezero.Variable(g) for g in gy]

        def run():
            layer.cleargrads()
            layer.reset_state()
            total, hs = 0, []
            for step, g in zip(steps, gys):
                step.cleargrad()
                hs.append(layer(step))
                total = total + F.sum(hs[-1] * g)
            total.backward()
            return [lambda: np.stack([h.data for h in hs]), lambda: np.stack([s.grad.data for s in steps]),
                    lambda: np.concatenate([x2.W.grad.data.T for x2, _ in own.values()]),
                    lambda: np.concatenate([h2.W.grad.data.T for _, h2 in own.values()]),
                    lambda: np.concatenate([x2.b.grad.data for x2, _ in own.values()])]

        return run

    def not_offered(self, *arguments, **options):
        raise NotOffered

    gelu = layer_norm = group_norm = lstm = gru = scaled_dot_product_attention = not_offered
    sin = cos = interpolate = avg_pool2d = not_offered


LIBRARY = DeZero()
