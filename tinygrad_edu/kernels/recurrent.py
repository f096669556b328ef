"""Recurrent layers over a whole sequence: the plain network, and what it shares with lstm.py and gru.py.

    T steps   N sequences   I inputs   D hidden   x (T, N, I)   h (N, D) the first state   last[n] the steps of sequence n
    W (G D, I) weight_ih   U (G D, D) weight_hh   b (G D,) the bias, with G = 1 gates here, 4 in an LSTM, 3 in a GRU
    H[t] (D, N) the state before step t, so H[t + 1] is the one after it

    (1)  Z[t] = W x[t] + b                          for all steps at once
    (2)  H[t + 1] = tanh(Z[t] + U H[t])             one step after the other; or relu in place of tanh
    (3)  the answer: all states after a step, then of each sequence the state after its last step, H[last]

Derivation. Back through time runs dh = dL/dH[t + 1]: what reaches it from the answer, and from all later steps. By tanh' =
1 - tanh^2
    gZ[t] = dh (1 - H[t + 1]^2)         then for the step before        dh <- U' gZ[t]
(by relu' it is dh where H[t + 1] > 0).
What dh is multiplied by is known beforehand, so it is computed for all steps at once, and the loop only multiplies. After
it the gradients of the weights, sums over steps and sequences, are one product each:
    gW = sum_t gZ[t] x[t]'     gU = sum_t gZ[t] H[t]'     gb = sum_t gZ[t]     gx[t] = W' gZ[t]

Z (T, G D, N) and H (T + 1, D, N) hold sequences as columns: each gate is then one contiguous piece of Z[t], and the product
U H[t] of a tall matrix is faster than that of a wide one. The loops write into arrays made before them: no step allocates.

Steps beyond last[n] are computed like all others but reach no answer, so their gradients are exactly 0.

Elman 1990; with relu and U = I at the start: Le, Jaitly & Hinton 2015, arXiv:1504.00941.
"""
from .. import backend
from ..autograd import Kernel
from ..ops import concatenate, expand_dims, relu, stack, swapaxes, tanh, where
from ..ops.elementwise import array_of, constant

_BLOCK = 1 << 17        # numbers of Z in one block of steps, while the factors of dh are computed: they stay in the cache


class Recurrent(Kernel):
    """What all three have in common. `last` (N,): how many steps each sequence has."""

    def __init__(self, last):
        self.last = last

    def project(self, x, w, b):
        """(1)  (T, G D, N)"""
        Z = w @ x.transpose(0, 2, 1)
        Z += b[:, None]
        return Z

    def states(self, T, start):
        """Room for the states before and after each step, the first filled in: (T + 1, D, N)."""
        H = self.xp.empty((T + 1,) + start.T.shape, start.dtype)
        H[0] = start.T
        return H

    def answer(self, H, *cells):
        """(3)  (T + 1, N, D), or with the cells of an LSTM (T + 2, N, D)"""
        T, D, N = len(H) - 1, *H.shape[1:]
        y = self.xp.empty((T + 1 + len(cells), N, D), H.dtype)
        y[:T] = H[1:].transpose(0, 2, 1)
        for k, S in enumerate((H, *cells)):
            y[T + k] = S[self.last, :, self.xp.arange(N)]
        return y

    def undo_answer(self, gy, T):
        """What reaches H (and the cells) from the answer, as columns (T + 1, D, N)."""
        (_, N, D), xp = gy.shape, self.xp
        gH, *cells = gS = [xp.zeros((T + 1, D, N), gy.dtype) for _ in gy[T:]]
        gH[1:] = gy[:T].transpose(0, 2, 1)
        for g, final in zip(gS, gy[T:]):
            g[self.last, :, xp.arange(N)] += final
        return gS

    def weight_gradients(self, gZ, gUh, x, H, w):
        """gx, gW, gU, gb from the gradients of Z and of U H, both (G D, T N)."""
        gx = (gZ.T @ w).reshape(x.shape) if self.needs(0) else None
        gw, gu = gZ @ x.reshape(-1, x.shape[2]), gUh @ columns(H[:-1]).T
        return gx, gw, gu, gZ.sum(axis=1)

    def blocks(self, Z):
        """Slices of steps."""
        return backend.blocks(Z, Z[0].size, _BLOCK)


class RNN(Recurrent):
    """h' = tanh(W x + U h + b), or relu of it"""

    def __init__(self, last, nonlinearity="tanh"):
        super().__init__(last)
        self.relu = nonlinearity == "relu"

    def reference(self, x, h, w, u, b):
        H, bend = [h], relu if self.relu else tanh
        for xt in steps(x):
            H.append(bend(linear(xt, w) + b + linear(H[-1], u)))
        return pack(self.last, H)

    def forward(self, x, h, w, u, b):
        Z, H = self.project(x, w, b), self.states(len(x), h)                            # (1)
        for t, z in enumerate(Z):                                                       # (2)
            new = H[t + 1]
            self.xp.matmul(u, H[t], out=new)
            new += z
            if self.relu:
                self.xp.maximum(new, 0, out=new)
            else:
                self.xp.tanh(new, out=new)
        self.save(x, w, u, H)
        return self.answer(H)                                                           # (3)

    def backward(self, gy):
        x, w, u, H = self.saved
        (gH,) = self.undo_answer(gy, len(x))                                            # undo (3)
        gZ, dh = (H[1:] > 0).astype(H.dtype) if self.relu else 1 - H[1:] * H[1:], self.xp.zeros_like(H[0])
        for t in reversed(range(len(x))):                                               # undo (2)
            dh += gH[t + 1]
            gZ[t] *= dh
            self.xp.matmul(u.T, gZ[t], out=dh)
        gZ = columns(gZ)
        gx, gw, gu, gb = self.weight_gradients(gZ, gZ, x, H, w)                         # undo (1)
        return gx, (dh + gH[0]).T, gw, gu, gb


def rnn(x, h, weight_ih, weight_hh, bias=None, lengths=None, nonlinearity="tanh"):
    """Run h <- tanh(W x_t + U h + bias), or relu in place of tanh: gives all h (T, N, D) and the last one (N, D).

    x (T, N, I), h (N, D) the initial state, weight_ih (D, I), weight_hh (D, D), bias (D,). lengths (N,): integers, a
    sequence shorter than T keeps its state from its end on, and its outputs there are 0.
    """
    if nonlinearity not in ("tanh", "relu"):
        raise ValueError(f"rnn: got nonlinearity {nonlinearity!r}, expected 'tanh' or 'relu'")
    bias = check("rnn", 1, x, [h], weight_ih, weight_hh, bias)
    x, last, there = cut("rnn", x, lengths)
    y = RNN(last, nonlinearity).apply(x, h, weight_ih, weight_hh, bias)
    return masked(y[:-1], there), y[-1]


# ---------------------------------------------------------------- pieces of the kernels

def columns(S):
    """(T, D, N) -> (D, T N)"""
    return S.transpose(1, 0, 2).reshape(S.shape[1], -1)


def sigmoid_in_place(a, xp):
    """a <- 1 / (1 + exp(-a)), as (1 + tanh(a / 2)) / 2: one pass less, and no overflow."""
    a *= 0.5
    xp.tanh(a, out=a)
    a *= 0.5
    a += 0.5


def linear(x, weight):
    return x @ swapaxes(weight, 0, 1)


def steps(x):
    return (x[t] for t in range(len(x)))


def pack(last, *states):
    """(3) for lists of states (N, D)."""
    sequences = [stack(S) for S in states]                                              # (T + 1, N, D)
    n = backend.array_module(last).arange(len(last))
    return concatenate([sequences[0][1:], *[expand_dims(S[last, n], 0) for S in sequences]])


# ---------------------------------------------------------------- pieces of the public functions

def check(caller, gates, x, states, w, u, bias):
    """Refuse wrong shapes; the bias, zeros if there is none."""
    D = states[0].shape[-1]
    if x.ndim != 3 or not len(x) or any(tuple(s.shape) != (x.shape[1], D) for s in states):
        raise ValueError(f"{caller}: got x {tuple(x.shape)} and states {[tuple(s.shape) for s in states]}, "
                         "expected (T, N, I) with T > 0 and (N, D)")
    if tuple(w.shape) != (gates * D, x.shape[2]) or tuple(u.shape) != (gates * D, D):
        raise ValueError(f"{caller}: got weights {tuple(w.shape)} and {tuple(u.shape)}, "
                         f"expected {(gates * D, x.shape[2])} and {(gates * D, D)}")
    if bias is None:
        return constant(u, lambda a: backend.array_module(a).zeros(len(a), a.dtype))
    if tuple(bias.shape) != (gates * D,):
        raise ValueError(f"{caller}: got a bias of shape {tuple(bias.shape)}, expected ({gates * D},)")
    return bias


def cut(caller, x, lengths):
    """x with zeros beyond the lengths, the lengths, and where there is something (T, N, 1); None if all are whole."""
    (T, N, _), device = x.shape, backend.device_of(array_of(x))
    xp = backend.array_module(array_of(x))
    if lengths is None:
        return x, xp.full(N, T), None
    last = backend.to_device(array_of(lengths), device)
    if last.dtype.kind not in "iu" or tuple(last.shape) != (N,):
        raise ValueError(f"{caller}: got lengths {tuple(last.shape)} of {last.dtype}, expected ({N},) integers")
    if device == "cpu" and N and not (0 <= last.min() and last.max() <= T):
        raise ValueError(f"{caller}: got lengths in [{last.min()}, {last.max()}], expected [0, {T}]")
    there = (xp.arange(T)[:, None] < last)[:, :, None]
    return where(there, x, 0.0), last, there


def masked(states, there):
    """Zeros beyond the lengths."""
    return states if there is None else where(there, states, 0.0)
