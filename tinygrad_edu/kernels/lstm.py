"""The long short-term memory over a whole sequence: a state c that is kept, added to and read through gates.

    T, N, I, D, x, h, W, U, b and H as in recurrent.py, with G = 4 gates   c (N, D) the first cell   C[t] (D, N) before step t
    i lets in, f keeps (forgets), g is what is new, o lets out; s = sigmoid

    (1)  Z[t] = W x[t] + b                                                      for all steps at once
    (2)  i, f, o = s(..), g = tanh(..) of Z[t] + U H[t]                         the four gates, (D, N) each
    (3)  C[t + 1] = f C[t] + i g
    (4)  H[t + 1] = o tanh(C[t + 1])
    (5)  the answer: all H after a step, then H[last] and C[last]

Derivation. Back through time run dh = dL/dH[t + 1] and dc = dL/dC[t + 1]. With s' = s (1 - s) and tanh' = 1 - tanh^2
    from (4)    do = dh tanh(c) o (1 - o)       dc += dh o (1 - tanh(c)^2),  c = C[t + 1]
    from (3)    di = dc g i (1 - i)             df = dc C[t] f (1 - f)       dg = dc i (1 - g^2)
    then for the step before                    dc <- dc f                   dh <- U' (di, df, dg, do)
What multiplies dh and dc on the right is known after the forward pass: these factors are computed for all steps at once,
and the loop only multiplies. The gradients of W, U and b are one product each after it, as in recurrent.py.

Hochreiter & Schmidhuber 1997; the forget gate: Gers, Schmidhuber & Cummins 2000. Of the 32 ms that forward and backward of
N = 32, T = I = 64, D = 128 take, 19 are matrix products and 4 the tanh.
"""
from .recurrent import Recurrent, check, columns, cut, linear, masked, pack, sigmoid_in_place, steps
from ..ops import sigmoid, tanh


class LSTM(Recurrent):
    """c' = f c + i g and h' = o tanh(c'), gates i, f, g, o of W x + U h + b"""

    def reference(self, x, h, c, w, u, b):
        D, H, C = h.shape[1], [h], [c]
        for xt in steps(x):
            gates = linear(xt, w) + b + linear(H[-1], u)                                # (N, 4D)
            i, f, g, o = (gates[:, k * D : (k + 1) * D] for k in range(4))
            C.append(sigmoid(f) * C[-1] + sigmoid(i) * tanh(g))
            H.append(sigmoid(o) * tanh(C[-1]))
        return pack(self.last, H, C)

    def forward(self, x, h, c, w, u, b):
        T, (N, D), xp = len(x), h.shape, self.xp
        Z, H, C = self.project(x, w, b), self.states(T, h), self.states(T, c)           # (1)
        tanh_C, uh, ig = xp.empty_like(C[1:]), xp.empty_like(Z[0]), xp.empty_like(C[0])

        for t, z in enumerate(Z):
            xp.matmul(u, H[t], out=uh)                                                  # (2)
            z += uh
            i, f, g, o = z.reshape(4, D, N)
            sigmoid_in_place(z[: 2 * D], xp)                                            # i and f
            xp.tanh(g, out=g)
            sigmoid_in_place(o, xp)

            xp.multiply(f, C[t], out=C[t + 1])                                          # (3)
            xp.multiply(i, g, out=ig)
            C[t + 1] += ig
            xp.tanh(C[t + 1], out=tanh_C[t])                                            # (4)
            xp.multiply(o, tanh_C[t], out=H[t + 1])

        self.save(x, w, u, H, C, tanh_C, Z.reshape(T, 4, D, N))
        return self.answer(H, C)                                                        # (5)

    def backward(self, gy):
        x, w, u, H, C, tanh_C, Z = self.saved
        xp, f, (T, _, D, N) = self.xp, Z[:, 1], Z.shape
        gH, gC = self.undo_answer(gy, T)                                                # undo (5)
        gZ, dc_by_dh = self._factors(Z, C, tanh_C)
        dh, dc, more = (xp.zeros_like(H[0]) for _ in range(3))

        for t in reversed(range(T)):
            dh += gH[t + 1]
            xp.multiply(dh, dc_by_dh[t], out=more)                                      # undo (4)
            dc += more
            dc += gC[t + 1]
            gZ[t, 3] *= dh                                                              # do
            gZ[t, :3] *= dc                                                             # undo (3): di, df, dg
            dc *= f[t]
            xp.matmul(u.T, gZ[t].reshape(4 * D, N), out=dh)                             # undo (2)

        gZ = columns(gZ.reshape(T, 4 * D, N))
        gx, gw, gu, gb = self.weight_gradients(gZ, gZ, x, H, w)                         # undo (1)
        return gx, (dh + gH[0]).T, (dc + gC[0]).T, gw, gu, gb

    def _factors(self, Z, C, tanh_C):
        """Of all steps: what dc (for i, f, g) and dh (for o) are multiplied by (T, 4, D, N), and o (1 - tanh(c)^2)."""
        factors, dc_by_dh = self.xp.empty_like(Z), self.xp.empty_like(tanh_C)
        for block in self.blocks(Z):
            i, f, g, o = (Z[block, k] for k in range(4))
            c, tanh_c, out = C[:-1][block], tanh_C[block], factors[block]
            out[:, 0] = g * i * (1 - i)
            out[:, 1] = c * f * (1 - f)
            out[:, 2] = i * (1 - g * g)
            out[:, 3] = tanh_c * o * (1 - o)
            dc_by_dh[block] = o * (1 - tanh_c * tanh_c)
        return factors, dc_by_dh


def lstm(x, h, c, weight_ih, weight_hh, bias=None, lengths=None):
    """A long short-term memory: gives all h (T, N, D), the last h and the last c (N, D).

    x (T, N, I), h and c (N, D) the initial states, weight_ih (4D, I), weight_hh (4D, D), bias (4D,), gates in the order
    i, f, g, o (bias: the sum of PyTorch's two). lengths (N,): integers, a sequence shorter than T keeps its states from its
    end on, and its outputs there are 0.
    """
    bias = check("lstm", 4, x, [h, c], weight_ih, weight_hh, bias)
    x, last, there = cut("lstm", x, lengths)
    y = LSTM.face(x)(last).apply(x, h, c, weight_ih, weight_hh, bias)
    return masked(y[:-2], there), y[-2], y[-1]
