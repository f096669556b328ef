"""Recurrent layers as modules: several layers one above the other, each in one direction or in both; and single steps."""
import math

from .. import backend, functional as F
from ..creation import zeros
from ..ops import concatenate, expand_dims, flip, squeeze, stack, swapaxes
from ..ops.elementwise import array_of
from .linear import uniform
from .module import Module

KINDS_OF_WEIGHT = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")


class Recurrent(Module):
    """What RNN, LSTM and GRU have in common. Parameters start as U(-1/sqrt(hidden_size), ..); names as in PyTorch:
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 for the first layer, .._l0_reverse for its way back.

    x (T, N, I), or (N, T, I) with batch_first, or (T, I) for one sequence; D = hidden_size, L = num_layers, twice as many if
    bidirectional. Every state is (L, N, D) and starts at 0 if not given. In training, each number between two layers is
    dropped with probability `dropout`. lengths (N,): how many steps each sequence has, T if not given; it does what
    PyTorch's packed sequences do: outputs beyond are 0, and the last state is that after the last step.
    """
    gates, number_of_states = 1, 1

    def __init__(self, input_size, hidden_size, num_layers=1, bias=True, batch_first=False, dropout=0.0, bidirectional=False):
        self.input_size, self.hidden_size, self.num_layers, self.bias = input_size, hidden_size, num_layers, bias
        self.batch_first, self.dropout, self.bidirectional = batch_first, dropout, bidirectional
        width = input_size
        for layer in range(num_layers):
            for way in self._ways(layer):
                _add_weights(self, width, f"_{way}")
            width = hidden_size * (1 + bidirectional)

    def forward(self, x, state=None, lengths=None):
        if x.ndim == 2:
            return self._one_sequence(x, state, lengths)
        x = swapaxes(x, 0, 1) if self.batch_first else x                                # (T, N, I)
        starts, finals = self._starts(x, state), []
        for layer in range(self.num_layers):
            x = F.dropout(x, self.dropout, self.training) if layer else x
            outputs = []
            for way in self._ways(layer):
                start = [s[len(finals)] for s in starts]
                backwards = way.endswith("reverse")
                y, *final = self._run(reverse(x, lengths) if backwards else x, start, _weights(self, f"_{way}"), lengths)
                outputs.append(reverse(y, lengths) if backwards else y)
                finals.append(final)
            x = concatenate(outputs, axis=2)                                            # (T, N, D or 2 D)
        states = tuple(stack(s) for s in zip(*finals))                                  # (L, N, D) each
        return swapaxes(x, 0, 1) if self.batch_first else x, states if len(states) > 1 else states[0]

    def _one_sequence(self, x, state, lengths):
        """x (T, I), states (L, D): the same without the axis of sequences."""
        if lengths is not None:
            raise ValueError(f"{type(self).__name__}: got lengths for one sequence {x.shape}, expected it cut to its length")
        batch = 0 if self.batch_first else 1
        state = state if state is None else tuple(expand_dims(s, 1) for s in _as_tuple(state))
        y, states = self(expand_dims(x, batch), state)
        states = tuple(squeeze(s, 1) for s in _as_tuple(states))
        return squeeze(y, batch), states if len(states) > 1 else states[0]

    def _ways(self, layer):
        return [f"l{layer}", f"l{layer}_reverse"] if self.bidirectional else [f"l{layer}"]

    def _starts(self, x, state):
        return _states_of(self, x, state, (self.num_layers * (1 + self.bidirectional), x.shape[1], self.hidden_size))

    def extra_repr(self):
        facts = f"{self.input_size}, {self.hidden_size}"
        for name, default in (("num_layers", 1), ("nonlinearity", "tanh"), ("bias", True), ("batch_first", False),
                              ("dropout", 0.0), ("bidirectional", False)):
            value = getattr(self, name, default)
            facts += "" if value == default else f", {name}={value!r}"
        return facts


class RNN(Recurrent):
    """h <- tanh(W x + b + U h + b'), or relu instead. Gives h of all steps, and the last h of every layer. Elman 1990."""

    def __init__(self, input_size, hidden_size, num_layers=1, nonlinearity="tanh", bias=True, batch_first=False, dropout=0.0,
                 bidirectional=False):
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, num_layers, bias, batch_first, dropout, bidirectional)

    def _run(self, x, start, weights, lengths=None):
        w, u, b, bh = weights
        return F.rnn(x, *start, w, u, b if b is None else b + bh, lengths, self.nonlinearity)


class LSTM(Recurrent):
    """Gates i, f, g, o; gives h of all steps, and the last (h, c) of every layer. Hochreiter & Schmidhuber 1997."""
    gates, number_of_states = 4, 2

    def _run(self, x, start, weights, lengths=None):
        w, u, b, bh = weights
        return F.lstm(x, *start, w, u, b if b is None else b + bh, lengths)


class GRU(Recurrent):
    """Gates r, z, n. Gives h of all steps of the last layer, and the last h of every layer. Cho et al. 2014."""
    gates = 3

    def _run(self, x, start, weights, lengths=None):
        return F.gru(x, *start, *weights, lengths)


# ---------------------------------------------------------------- one step at a time

class Cell(Module):
    """What RNNCell, LSTMCell and GRUCell have in common: one step of one layer, for a loop of one's own.

    x (N, I) and states (N, D), or (I,) and (D,), zero if not given. Parameters as above, named weight_ih, weight_hh, bias_ih,
    bias_hh.
    """

    def __init__(self, input_size, hidden_size, bias=True):
        self.input_size, self.hidden_size, self.bias = input_size, hidden_size, bias
        _add_weights(self, input_size)

    def forward(self, x, state=None):
        if x.ndim == 1:
            states = self(expand_dims(x, 0), state if state is None else tuple(expand_dims(s, 0) for s in _as_tuple(state)))
            return tuple(squeeze(s, 0) for s in states) if isinstance(states, tuple) else squeeze(states, 0)
        start = _states_of(self, x, state, (len(x), self.hidden_size))
        _, *states = self._run(expand_dims(x, 0), start, _weights(self))                # a sequence of one step
        return tuple(states) if len(states) > 1 else states[0]

    def extra_repr(self):
        facts = f"{self.input_size}, {self.hidden_size}" + ("" if self.bias else ", bias=False")
        return facts + (", nonlinearity='relu'" if getattr(self, "nonlinearity", "tanh") == "relu" else "")


class RNNCell(Cell):
    """h <- tanh(W x + b + U h + b'), or relu instead; gives h."""
    gates, number_of_states, _run = 1, 1, RNN._run

    def __init__(self, input_size, hidden_size, bias=True, nonlinearity="tanh"):
        self.nonlinearity = nonlinearity
        super().__init__(input_size, hidden_size, bias)


class LSTMCell(Cell):
    """One step of an LSTM: state (h, c) -> (h, c)."""
    gates, number_of_states, _run = 4, 2, LSTM._run


class GRUCell(Cell):
    """One step of a GRU; gives h."""
    gates, number_of_states, _run = 3, 1, GRU._run


# ---------------------------------------------------------------- pieces

def _add_weights(module, width, suffix=""):
    """The four tensors of one layer in one direction, for inputs of `width` numbers; two without bias."""
    rows, D = module.gates * module.hidden_size, module.hidden_size
    for name, shape in zip(KINDS_OF_WEIGHT, ((rows, width), (rows, D), (rows,), (rows,))):
        if module.bias or len(shape) == 2:
            setattr(module, name + suffix, uniform(1 / math.sqrt(D), *shape))


def _weights(module, suffix=""):
    """weight_ih, weight_hh, bias_ih, bias_hh; None for the biases of a layer without."""
    return [getattr(module, name + suffix, None) for name in KINDS_OF_WEIGHT]


def _as_tuple(state):
    return tuple(state) if isinstance(state, (tuple, list)) else (state,)


def _states_of(module, x, state, shape):
    """The states to start from, each of `shape`."""
    if state is None:
        return [zeros(shape, dtype=x.dtype, device=x.device)] * module.number_of_states
    states = _as_tuple(state)
    if [tuple(s.shape) for s in states] != [shape] * module.number_of_states:
        raise ValueError(f"{type(module).__name__}: got states of shapes {[tuple(s.shape) for s in states]}, "
                         f"expected {module.number_of_states} of {shape}")
    return states


def reverse(x, lengths=None):
    """x (T, N, ..) backwards in time; with lengths (N,) each sequence within its own, and what lies beyond stays."""
    if lengths is None:
        return flip(x, 0)
    xp = backend.array_module(array_of(x))
    lengths = backend.to_device(array_of(lengths), backend.device_of(array_of(x)))
    t = xp.arange(len(x))[:, None]                                                      # (T, 1)
    return x[xp.where(t < lengths, lengths - 1 - t, t), xp.arange(len(lengths))]
