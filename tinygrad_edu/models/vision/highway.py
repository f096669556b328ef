"""Highway networks: Srivastava, Greff & Schmidhuber 2015, "Highway networks", arXiv:1505.00387.

The LSTM keeps what it knows by a gate (lesson 25). Here a layer of an ordinary deep network gets one: t(x) between 0 and 1
says for each feature how much of it is computed anew, and 1 - t(x) of it is carried through unchanged. The gates start with a
bias below 0, nearly closed; so a deep network begins as nearly nothing at all, and opens the layers that it needs.
Left out: the convolutional version.
"""
from ... import functional as F
from ...nn import Linear, Module, ReLU, Sequential, init


class HighwayLayer(Module):
    """t relu(W x + b) + (1 - t) x with t = sigmoid(W' x + b'): (N, D) -> (N, D). b' starts at `gate_bias`."""

    def __init__(self, features, gate_bias=-2.0):
        self.linear, self.gate = he_linear(features, features), Linear(features, features)
        init.constant_(self.gate.bias, gate_bias)

    def transform(self, x):
        """t, how much of each feature is computed anew."""
        return F.sigmoid(self.gate(x))

    def forward(self, x):
        t = self.transform(x)
        return t * F.relu(self.linear(x)) + (1 - t) * x


class Highway(Module):
    """(N, in_features) -> logits (N, classes): one linear layer, `depth` highway layers of `width`, one linear layer.

    `gates=False`: plain layers relu(W x + b) instead.
    """

    def __init__(self, in_features, classes, width=50, depth=50, gate_bias=-2.0, gates=True):
        self.enter = he_linear(in_features, width)
        self.layers = [HighwayLayer(width, gate_bias) if gates else Sequential(he_linear(width, width), ReLU())
                       for _ in range(depth)]
        self.leave = Linear(width, classes)

    def forward(self, x):
        h = F.relu(self.enter(x))
        for layer in self.layers:
            h = layer(h)
        return self.leave(h)


def he_linear(in_features, out_features):
    """A linear layer before a relu: weights N(0, 2 / fan_in), biases 0."""
    layer = Linear(in_features, out_features)
    init.kaiming_normal_(layer.weight, nonlinearity="relu")
    init.zeros_(layer.bias)
    return layer
