"""The gated recurrent unit over a whole sequence: the state moves part of the way to a proposal.

    T, N, I, D, x, h, W, U, b and H as in recurrent.py, with G = 3 gates    b' (3D,) a second bias    s = sigmoid
    r how much of the state the proposal n sees, z how much of the state stays

    (1)  Z[t] = W x[t] + b                                                      for all steps at once
    (2)  r, z = s(Z[t] + U H[t] + b'), the first two thirds of its rows         (D, N) each
    (3)  q = U H[t] + b', the last third        n = tanh(Z[t] + r q)
    (4)  H[t + 1] = n + z (H[t] - n)
    (5)  the answer: all H after a step, then H[last]

Derivation. Back through time runs dh = dL/dH[t + 1]. With s' = s (1 - s), tanh' = 1 - tanh^2 and h = H[t]
    from (4)    dz = dh (h - n) z (1 - z)       dn = dh (1 - z) (1 - n^2)       of what is inside the sigmoid and the tanh
    from (3)    dq = dn r                       dr = dn q r (1 - r)
    then for the step before                    dh <- U' (dr, dz, dq) + dh z
What multiplies dh is known after the forward pass: these factors are computed for all steps at once, and the loop only
multiplies. W x meets (dr, dz, dn), but U h meets (dr, dz, dq): the gradients of W, U, b and b' are sums of one or the other.

Cho et al. 2014 (arXiv:1406.1078); the gate r outside of the product, as here and in PyTorch, lets U be one product.
"""
from .recurrent import Recurrent, check, columns, cut, linear, masked, pack, sigmoid_in_place, steps
from ..ops import sigmoid, tanh


class GRU(Recurrent):
    """h' = n + z (h - n), gates r, z and the proposal n = tanh(W x + b + r (U h + b'))"""

    def reference(self, x, h, w, u, b, bh):
        D, H = h.shape[1], [h]
        for xt in steps(x):
            from_x, from_h = linear(xt, w) + b, linear(H[-1], u) + bh                   # (N, 3D)
            r, z = (sigmoid(from_x[:, k * D : (k + 1) * D] + from_h[:, k * D : (k + 1) * D]) for k in range(2))
            n = tanh(from_x[:, 2 * D :] + r * from_h[:, 2 * D :])
            H.append(n + z * (H[-1] - n))
        return pack(self.last, H)

    def forward(self, x, h, w, u, b, bh):
        T, (N, D), xp = len(x), h.shape, self.xp
        Z, H, bh = self.project(x, w, b), self.states(T, h), bh[:, None]                # (1)
        Q, uh = xp.empty_like(H[1:]), xp.empty_like(Z[0])

        for t, gates in enumerate(Z):
            r, z, n = gates.reshape(3, D, N)
            new, rz = H[t + 1], gates[: 2 * D]
            xp.matmul(u, H[t], out=uh)                                                  # (2)
            uh += bh
            rz += uh[: 2 * D]
            sigmoid_in_place(rz, xp)

            Q[t] = uh[2 * D :]                                                          # (3)
            xp.multiply(r, Q[t], out=new)
            n += new
            xp.tanh(n, out=n)

            xp.subtract(H[t], n, out=new)                                               # (4)
            new *= z
            new += n

        self.save(x, w, u, H, Q, Z.reshape(T, 3, D, N))
        return self.answer(H)                                                           # (5)

    def backward(self, gy):
        x, w, u, H, Q, Z = self.saved
        xp, z, (T, _, D, N) = self.xp, Z[:, 1], Z.shape
        (gH,) = self.undo_answer(gy, T)                                                 # undo (5)
        gates = self._factors(Z, H, Q)
        dh, through_u = xp.zeros_like(H[0]), xp.empty_like(H[0])

        for t in reversed(range(T)):
            dh += gH[t + 1]
            gates[t] *= dh                                                              # undo (4) and (3): dr, dz, dq, dn
            xp.matmul(u.T, gates[t, :3].reshape(3 * D, N), out=through_u)               # undo (2)
            dh *= z[t]
            dh += through_u

        gates = columns(gates.reshape(T, 4 * D, N))
        gUh, gZ = gates[: 3 * D], xp.concatenate([gates[: 2 * D], gates[3 * D :]])
        gx, gw, gu, gb = self.weight_gradients(gZ, gUh, x, H, w)                        # undo (1)
        return gx, (dh + gH[0]).T, gw, gu, gb, gUh.sum(axis=1)

    def _factors(self, Z, H, Q):
        """Of all steps: what dh is multiplied by to give dr, dz, dq and dn (T, 4, D, N)."""
        factors = self.xp.empty((len(Z), 4) + Z.shape[2:], Z.dtype)
        for block in self.blocks(Z):
            (r, z, n), h, out = (Z[block, k] for k in range(3)), H[:-1][block], factors[block]
            out[:, 3] = (1 - z) * (1 - n * n)
            out[:, 2] = out[:, 3] * r
            out[:, 1] = (h - n) * z * (1 - z)
            out[:, 0] = out[:, 2] * Q[block] * (1 - r)
        return factors


def gru(x, h, weight_ih, weight_hh, bias_ih=None, bias_hh=None, lengths=None):
    """A gated recurrent unit: gives all h (T, N, D) and the last one (N, D).

    x (T, N, I), h (N, D) the initial state, weight_ih (3D, I), weight_hh (3D, D), biases (3D,), gates in the order
    r, z, n. The gate r multiplies U h + bias_hh, as in PyTorch, so the two biases differ. lengths (N,): integers, a sequence
    shorter than T keeps its state from its end on, and its outputs there are 0.
    """
    bias_ih = check("gru", 3, x, [h], weight_ih, weight_hh, bias_ih)
    bias_hh = check("gru", 3, x, [h], weight_ih, weight_hh, bias_hh)
    x, last, there = cut("gru", x, lengths)
    y = GRU.face(x)(last).apply(x, h, weight_ih, weight_hh, bias_ih, bias_hh)
    return masked(y[:-1], there), y[-1]
