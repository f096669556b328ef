"""Recurrent layers as modules: several layers one above the other, each in one direction or in both."""
import math

from .. import backend, functional as F
from ..creation import zeros
from ..ops import concatenate, flip, stack, swapaxes
from ..ops.elementwise import array_of
from .linear import uniform
from .module import Module


class Recurrent(Module):
    """What RNN, LSTM and GRU have in common. Parameters start as U(-1/sqrt(hidden_size), ..); names as in PyTorch:
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 for the first layer, .._l0_reverse for its way back.

    x (T, N, I), or (N, T, I) with batch_first; D = hidden_size, L = num_layers, twice as many if bidirectional. Every
    state is (L, N, D) and starts at 0 if not given. lengths (N,): how many steps each sequence has, T if not given.
    """
    gates, number_of_states = 1, 1

    def __init__(self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, bidirectional=False):
        self.input_size, self.hidden_size, self.num_layers = input_size, hidden_size, num_layers
        self.bias, self.batch_first, self.bidirectional = bias, batch_first, bidirectional
        rows, width, bound = self.gates * hidden_size, input_size, 1 / math.sqrt(hidden_size)
        for layer in range(num_layers):
            for way in self._ways(layer):
                setattr(self, f"weight_ih_{way}", uniform(bound, rows, width))
                setattr(self, f"weight_hh_{way}", uniform(bound, rows, hidden_size))
                if bias:
                    setattr(self, f"bias_ih_{way}", uniform(bound, rows))
                    setattr(self, f"bias_hh_{way}", uniform(bound, rows))
            width = hidden_size * (1 + bidirectional)

    def forward(self, x, state=None, lengths=None):
        x = swapaxes(x, 0, 1) if self.batch_first else x                                # (T, N, I)
        starts, finals = self._starts(x, state), []
        for layer in range(self.num_layers):
            outputs = []
            for way in self._ways(layer):
                start = [s[len(finals)] for s in starts]
                backwards = way.endswith("reverse")
                y, *final = self._run(reverse(x, lengths) if backwards else x, start, way, lengths)
                outputs.append(reverse(y, lengths) if backwards else y)
                finals.append(final)
            x = concatenate(outputs, axis=2)                                            # (T, N, D or 2 D)
        states = tuple(stack(s) for s in zip(*finals))                                  # (L, N, D) each
        return swapaxes(x, 0, 1) if self.batch_first else x, states if len(states) > 1 else states[0]

    def _ways(self, layer):
        return [f"l{layer}", f"l{layer}_reverse"] if self.bidirectional else [f"l{layer}"]

    def _starts(self, x, state):
        shape = (self.num_layers * (1 + self.bidirectional), x.shape[1], self.hidden_size)
        if state is None:
            return [zeros(shape, dtype=x.dtype, device=x.device)] * self.number_of_states
        states = state if isinstance(state, (tuple, list)) else (state,)
        if [tuple(s.shape) for s in states] != [shape] * self.number_of_states:
            raise ValueError(f"{type(self).__name__}: got states of shapes {[tuple(s.shape) for s in states]}, "
                             f"expected {self.number_of_states} of {shape}")
        return states

    def _weights(self, way):
        """weight_ih, weight_hh, bias_ih, bias_hh; None for the biases of a layer without."""
        return [getattr(self, f"{name}_{way}", None) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")]

    def extra_repr(self):
        facts = f"{self.input_size}, {self.hidden_size}"
        for name, default in (("num_layers", 1), ("bias", True), ("batch_first", False), ("bidirectional", False)):
            facts += "" if getattr(self, name) == default else f", {name}={getattr(self, name)}"
        return facts


class RNN(Recurrent):
    """h <- tanh(W x + b + U h + b'). Gives h of all steps, and the last h of every layer. Elman 1990."""

    def _run(self, x, start, way, lengths):
        w, u, b, bh = self._weights(way)
        return F.rnn(x, *start, w, u, b if b is None else b + bh, lengths)


class LSTM(Recurrent):
    """Gates i, f, g, o; gives h of all steps, and the last (h, c) of every layer. Hochreiter & Schmidhuber 1997."""
    gates, number_of_states = 4, 2

    def _run(self, x, start, way, lengths):
        w, u, b, bh = self._weights(way)
        return F.lstm(x, *start, w, u, b if b is None else b + bh, lengths)


class GRU(Recurrent):
    """Gates r, z, n. Gives h of all steps of the last layer, and the last h of every layer. Cho et al. 2014."""
    gates = 3

    def _run(self, x, start, way, lengths):
        return F.gru(x, *start, *self._weights(way), lengths)


def reverse(x, lengths=None):
    """x (T, N, ..) backwards in time; with lengths (N,) each sequence within its own, and what lies beyond stays."""
    if lengths is None:
        return flip(x, 0)
    xp = backend.array_module(array_of(x))
    lengths = backend.to_device(array_of(lengths), backend.device_of(array_of(x)))
    t = xp.arange(len(x))[:, None]                                                      # (T, 1)
    return x[xp.where(t < lengths, lengths - 1 - t, t), xp.arange(len(lengths))]
