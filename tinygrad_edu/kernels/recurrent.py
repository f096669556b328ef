"""Recurrent layers over a whole sequence: the plain tanh network, the LSTM and the GRU.

    T steps   N sequences   I inputs   D hidden   G gates (1, 4, 3)   x (T, N, I)   H[t] C[t] the states before step t
    W (G D, I) weight_ih   U (G D, D) weight_hh   b its bias   s = sigmoid   last[n] the steps that sequence n has

    (1)  Z = W x + b                                                                  for all steps at once
    (2)  RNN   h' = tanh(Z + U h)
         LSTM  i, f, o = s(..), g = tanh(..) of Z + U h;   c' = f c + i g;   h' = o tanh(c')
         GRU   r, z = s(Z + U h);   n = tanh(Z + r (U h + bn));   h' = n + z (h - n)
    (3)  the answer: all h', then H[last] (and C[last]) of each sequence

Arrays are kept as columns, Z (T, G D, N) and H (T + 1, D, N): then each gate is one contiguous piece of Z[t], and the
tall product U H[t] is faster than the flat H[t]' U'. As s(a) = (1 + tanh(a / 2)) / 2, the rows of W, U and b that are
for a sigmoid are halved beforehand, and tanh serves all gates. The time loops write into arrays made before them.

Derivation. Through time run dh = dL/dh' and, in the LSTM, dc = dL/dc'. Every gradient of a gate is one of them times a
factor known after the forward pass. With s' = s (1 - s) and tanh' = 1 - tanh^2:
    LSTM  dc += dh o (1 - tanh(c')^2);   di = dc g i (1 - i),  df = dc c f (1 - f),  dg = dc i (1 - g^2),
          do = dh tanh(c') o (1 - o);    then dc <- dc f and dh <- U' (di, df, dg, do)
    GRU   with a = (1 - z)(1 - n^2) and q = U h + bn:  dn = dh a,  dr = dh a q r (1 - r),  dz = dh (h - n) z (1 - z);
          then dh <- U' (dr, dz, r dn) + z dh
So all factors are computed before the backward loop, which only multiplies, and afterwards the gradients of the
weights, sums over steps and sequences, are one product each.

Steps beyond last[n] are computed like all others but reach no answer, so their gradients are exactly 0.

Elman 1990; Hochreiter & Schmidhuber 1997; the forget gate: Gers et al. 2000; GRU: Cho et al. 2014, arXiv:1406.1078.
Measured gain, forward and backward, float32, N = 32, T = I = 64, D = 128, one thread: LSTM and GRU 2.2 to 2.4 times as
fast as their references; LSTM 1.8 to 2.0 times, GRU 0.63 to 0.69 times PyTorch's time.
"""
from .. import backend
from ..autograd import Kernel
from ..ops import concatenate, expand_dims, sigmoid, stack, swapaxes, tanh, where
from ..ops.elementwise import array_of, constant

_BLOCK = 1 << 17        # numbers of Z in one block of steps while the factors are computed: they stay in the L2 cache


class Recurrent(Kernel):
    """What the three have in common. `last` (N,): how many steps each sequence has."""

    def __init__(self, last):
        self.last = last

    def project(self, x, w, b):
        """(1) for all steps; the bias is the weight of one more input that is always 1."""
        xp = self.xp
        x1 = xp.concatenate([x, xp.ones(x.shape[:2] + (1,), x.dtype)], axis=2)          # (T, N, I + 1)
        return x1, xp.concatenate([w, b[:, None]], axis=1) @ x1.transpose(0, 2, 1)      # (T, G D, N)

    def states(self, T, start):
        """Room for the states before and after each step, the first filled in: (T + 1, D, N)."""
        H = self.xp.empty((T + 1,) + start.T.shape, start.dtype)
        H[0] = start.T
        return H

    def answer(self, H, *cells):
        """(3)  (T + 1 or T + 2, N, D)"""
        T, D, N = len(H) - 1, *H.shape[1:]
        y = self.xp.empty((T + 1 + len(cells), N, D), H.dtype)
        y[:T] = H[1:].transpose(0, 2, 1)
        for k, S in enumerate((H, *cells)):
            y[T + k] = S[self.last, :, self.xp.arange(N)]
        return y

    def undo_answer(self, gy, T):
        """The gradients that reach H (and C) from outside, as columns (T + 1, D, N)."""
        (_, N, D), xp = gy.shape, self.xp
        gH, *cells = gS = [xp.zeros((T + 1, D, N), gy.dtype) for _ in gy[T:]]
        gH[1:] = gy[:T].transpose(0, 2, 1)
        for g, final in zip(gS, gy[T:]):
            g[self.last, :, xp.arange(N)] += final
        return gS

    def weight_gradients(self, gZ, gUh, x1, H, w):
        """gx, gW, gU, gb from the gradients of Z and of U h, both (G D, T N)."""
        T, N, I = x1.shape
        rows = x1.reshape(T * N, I)
        gx = (gZ.T @ w).reshape(T, N, I - 1) if self.needs(0) else None
        gwb = gZ @ rows                                                                 # (G D, I + 1)
        return gx, gwb[:, :-1], gUh @ _columns(H[:-1]).T, gwb[:, -1]

    def blocks(self, Z):
        return backend.blocks(Z, Z[0].size, _BLOCK)


class RNN(Recurrent):
    """h' = tanh(W x + U h + b)"""

    def reference(self, x, h, w, u, b):
        H = [h]
        for xt in _steps(x):
            H.append(tanh(_linear(xt, w) + b + _linear(H[-1], u)))
        return _pack(self.last, H)

    def forward(self, x, h, w, u, b):
        x1, Z = self.project(x, w, b)                                                   # (1)
        H = self.states(len(x), h)
        for t, z in enumerate(Z):                                                       # (2)
            new = H[t + 1]
            self.xp.matmul(u, H[t], out=new)
            new += z
            self.xp.tanh(new, out=new)
        self.save(x1, w, u, H)
        return self.answer(H)                                                           # (3)

    def backward(self, gy):
        x1, w, u, H = self.saved
        (gH,) = self.undo_answer(gy, len(x1))                                           # undo (3)
        gZ = 1 - H[1:] * H[1:]
        dh = self.xp.zeros_like(H[0])
        for t in reversed(range(len(gZ))):                                              # undo (2)
            dh += gH[t + 1]
            gz = gZ[t]
            gz *= dh
            self.xp.matmul(u.T, gz, out=dh)
        gZ = _columns(gZ)
        gx, gw, gu, gb = self.weight_gradients(gZ, gZ, x1, H, w)                        # undo (1)
        return gx, (dh + gH[0]).T, gw, gu, gb


class LSTM(Recurrent):
    """c' = f c + i g and h' = o tanh(c'), gates i, f, g, o of W x + U h + b"""

    def reference(self, x, h, c, w, u, b):
        D, H, C = h.shape[1], [h], [c]
        for xt in _steps(x):
            gates = _linear(xt, w) + b + _linear(H[-1], u)                              # (N, 4D)
            i, f, g, o = (gates[:, k * D : (k + 1) * D] for k in range(4))
            C.append(sigmoid(f) * C[-1] + sigmoid(i) * tanh(g))
            H.append(sigmoid(o) * tanh(C[-1]))
        return _pack(self.last, H, C)

    def forward(self, x, h, c, w, u, b):
        (T, N, _), D, xp = x.shape, h.shape[1], self.xp
        half = xp.full((4 * D, 1), 0.5, w.dtype)
        half[2 * D : 3 * D] = 1
        x1, Z = self.project(x, w * half, b * half[:, 0])                               # (1)
        H, C, uh = self.states(T, h), self.states(T, c), xp.empty_like(Z[:1]).reshape(4 * D, N)
        tanh_C, halved = xp.empty_like(C[1:]), u * half

        for t, z in enumerate(Z):                                                       # (2)
            xp.matmul(halved, H[t], out=uh)
            z += uh
            xp.tanh(z, out=z)
            for gates in (z[: 2 * D], z[3 * D :]):
                gates *= 0.5
                gates += 0.5
            i, f, g, o = z[:D], z[D : 2 * D], z[2 * D : 3 * D], z[3 * D :]
            cell, ig = C[t + 1], uh[:D]
            xp.multiply(f, C[t], out=cell)
            xp.multiply(i, g, out=ig)
            cell += ig
            xp.tanh(cell, out=tanh_C[t])
            xp.multiply(o, tanh_C[t], out=H[t + 1])

        self.save(x1, w, u, H, C, tanh_C, Z.reshape(T, 4, D, N))
        return self.answer(H, C)                                                        # (3)

    def backward(self, gy):
        x1, w, u, H, C, tanh_C, Z = self.saved
        xp, f, (T, _, D, N) = self.xp, Z[:, 1], Z.shape
        gH, gC = self.undo_answer(gy, T)                                                # undo (3)
        gZ, from_h = self._factors(Z, C, tanh_C)
        dh, dc, more = (xp.zeros_like(H[0]) for _ in range(3))

        for t in reversed(range(T)):                                                    # undo (2)
            dh += gH[t + 1]
            xp.multiply(dh, from_h[t], out=more)
            dc += more
            dc += gC[t + 1]
            ifg, o = gZ[t, :3], gZ[t, 3]
            ifg *= dc
            o *= dh
            dc *= f[t]
            xp.matmul(u.T, gZ[t].reshape(4 * D, N), out=dh)

        gZ = _columns(gZ.reshape(T, 4 * D, N))
        gx, gw, gu, gb = self.weight_gradients(gZ, gZ, x1, H, w)                        # undo (1)
        return gx, (dh + gH[0]).T, (dc + gC[0]).T, gw, gu, gb

    def _factors(self, Z, C, tanh_C):
        """What dc (for i, f, g) and dh (for o) will be multiplied by (T, 4, D, N), and dh'/dc' = o (1 - tanh(c')^2)."""
        factors, from_h = self.xp.empty_like(Z), self.xp.empty_like(tanh_C)
        for block in self.blocks(Z):
            i, f, g, o = (Z[block, k] for k in range(4))
            c, tc, out = C[:-1][block], tanh_C[block], factors[block]
            out[:, 0] = g * i * (1 - i)
            out[:, 1] = c * f * (1 - f)
            out[:, 2] = i * (1 - g * g)
            out[:, 3] = tc * o * (1 - o)
            from_h[block] = o * (1 - tc * tc)
        return factors, from_h


class GRU(Recurrent):
    """h' = n + z (h - n), gates r, z and the proposal n = tanh(W x + b + r (U h + b'))"""

    def reference(self, x, h, w, u, b, bh):
        D, H = h.shape[1], [h]
        for xt in _steps(x):
            from_x, from_h = _linear(xt, w) + b, _linear(H[-1], u) + bh                 # (N, 3D)
            r, z = (sigmoid(from_x[:, k * D : (k + 1) * D] + from_h[:, k * D : (k + 1) * D]) for k in range(2))
            n = tanh(from_x[:, 2 * D :] + r * from_h[:, 2 * D :])
            H.append(n + z * (H[-1] - n))
        return _pack(self.last, H)

    def forward(self, x, h, w, u, b, bh):
        (T, N, _), D, xp = x.shape, h.shape[1], self.xp
        half = xp.full((3 * D, 1), 0.5, w.dtype)
        half[2 * D :] = 1
        bias, bn = b * half[:, 0], bh[2 * D :, None]
        bias[: 2 * D] += 0.5 * bh[: 2 * D]
        x1, Z = self.project(x, w * half, bias)                                         # (1)
        H, uh, halved = self.states(T, h), xp.empty_like(Z[:1]).reshape(3 * D, N), u * half
        Q = xp.empty_like(H[1:])

        for t, gates in enumerate(Z):                                                   # (2)
            xp.matmul(halved, H[t], out=uh)
            rz, n, r, z, new = gates[: 2 * D], gates[2 * D :], gates[:D], gates[D : 2 * D], H[t + 1]
            rz += uh[: 2 * D]
            xp.tanh(rz, out=rz)
            rz *= 0.5
            rz += 0.5
            xp.add(uh[2 * D :], bn, out=Q[t])
            xp.multiply(r, Q[t], out=new)
            n += new
            xp.tanh(n, out=n)
            xp.subtract(H[t], n, out=new)
            new *= z
            new += n

        self.save(x1, w, u, H, Q, Z.reshape(T, 3, D, N))
        return self.answer(H)                                                           # (3)

    def backward(self, gy):
        x1, w, u, H, Q, Z = self.saved
        xp, z, (T, _, D, N) = self.xp, Z[:, 1], Z.shape
        (gH,) = self.undo_answer(gy, T)                                                 # undo (3)
        gZ = self._factors(Z, H, Q)
        dh, through_u = xp.zeros_like(H[0]), xp.empty_like(H[0])

        for t in reversed(range(T)):                                                    # undo (2)
            dh += gH[t + 1]
            gates = gZ[t]
            gates *= dh
            xp.matmul(u.T, gates[:3].reshape(3 * D, N), out=through_u)
            dh *= z[t]
            dh += through_u

        gZ = _columns(gZ.reshape(T, 4 * D, N))
        gUh, gWx = gZ[: 3 * D], xp.concatenate([gZ[: 2 * D], gZ[3 * D :]])
        gx, gw, gu, gb = self.weight_gradients(gWx, gUh, x1, H, w)                      # undo (1)
        return gx, (dh + gH[0]).T, gw, gu, gb, gUh.sum(axis=1)

    def _factors(self, Z, H, Q):
        """What dh will be multiplied by to give the gradients of r, z, and n: of U h + b' in it, and of all of it."""
        factors = self.xp.empty((len(Z), 4) + Z.shape[2:], Z.dtype)
        for block in self.blocks(Z):
            (r, z, n), h, out = (Z[block, k] for k in range(3)), H[:-1][block], factors[block]
            a = (1 - z) * (1 - n * n)
            out[:, 3] = a
            out[:, 2] = a * r
            out[:, 1] = (h - n) * z * (1 - z)
            out[:, 0] = out[:, 2] * Q[block] * (1 - r)
        return factors


# ---------------------------------------------------------------- pieces

def _columns(S):
    """(T, D, N) -> (D, T N)"""
    return S.transpose(1, 0, 2).reshape(S.shape[1], -1)


def _linear(x, weight):
    return x @ swapaxes(weight, 0, 1)


def _steps(x):
    return (x[t] for t in range(len(x)))


def _pack(last, *states):
    """All states after the first, then those after `last` steps, of lists of (N, D)."""
    sequences = [stack(S) for S in states]                                              # (T + 1, N, D)
    n = backend.array_module(last).arange(len(last))
    return concatenate([sequences[0][1:], *[expand_dims(S[last, n], 0) for S in sequences]])


# ---------------------------------------------------------------- public functions

def rnn(x, h, weight_ih, weight_hh, bias=None, lengths=None):
    """Run h <- tanh(W x_t + U h + bias): gives all h (T, N, D) and the last one (N, D).

    x (T, N, I), h (N, D) the initial state, weight_ih (D, I), weight_hh (D, D), bias (D,). lengths (N,): integers, a
    sequence shorter than T keeps its state from its end on, and its outputs there are 0.
    """
    bias = _check("rnn", 1, x, [h], weight_ih, weight_hh, bias)
    x, last, there = _cut("rnn", x, lengths)
    y = RNN(last).apply(x, h, weight_ih, weight_hh, bias)
    return _masked(y[:-1], there), y[-1]


def lstm(x, h, c, weight_ih, weight_hh, bias=None, lengths=None):
    """A long short-term memory: gives all h (T, N, D), the last h and the last c (N, D).

    x (T, N, I), h and c (N, D) the initial states, weight_ih (4D, I), weight_hh (4D, D), bias (4D,), gates in the order
    i, f, g, o (bias: the sum of PyTorch's two). lengths: see rnn.
    """
    bias = _check("lstm", 4, x, [h, c], weight_ih, weight_hh, bias)
    x, last, there = _cut("lstm", x, lengths)
    y = LSTM(last).apply(x, h, c, weight_ih, weight_hh, bias)
    return _masked(y[:-2], there), y[-2], y[-1]


def gru(x, h, weight_ih, weight_hh, bias_ih=None, bias_hh=None, lengths=None):
    """A gated recurrent unit: gives all h (T, N, D) and the last one (N, D).

    x (T, N, I), h (N, D) the initial state, weight_ih (3D, I), weight_hh (3D, D), biases (3D,), gates in the order
    r, z, n. The gate r multiplies U h + bias_hh, as in PyTorch, so the two biases differ. lengths: see rnn.
    """
    bias_ih = _check("gru", 3, x, [h], weight_ih, weight_hh, bias_ih)
    bias_hh = _check("gru", 3, x, [h], weight_ih, weight_hh, bias_hh)
    x, last, there = _cut("gru", x, lengths)
    y = GRU(last).apply(x, h, weight_ih, weight_hh, bias_ih, bias_hh)
    return _masked(y[:-1], there), y[-1]


def _check(caller, gates, x, states, w, u, bias):
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


def _cut(caller, x, lengths):
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


def _masked(states, there):
    return states if there is None else where(there, states, 0.0)
