"""The faces of LSTM and GRU that launch a CUDA kernel for each step, beside its one matrix product."""
from .. import gru, lstm
from ..recurrent import columns
from .launch import all_float32, launch_each


class LSTM(lstm.LSTM):
    """A step forward is two launches instead of ten, and a step backward as many."""

    def forward(self, x, h, c, w, u, b):
        T, (N, D), xp = len(x), h.shape, self.xp
        if not all_float32(x, h, c, w, u, b):
            return super().forward(x, h, c, w, u, b)
        Z, H, C = self.project(x, w, b), self.states(T, h), self.states(T, c)           # (1)
        tanh_C, uh = xp.empty_like(C[1:]), xp.empty_like(Z[0])
        for t in range(T):
            xp.matmul(u, H[t], out=uh)
            launch_each("lstm", "lstm_forward", D * N, uh, C[t], D * N, Z[t], C[t + 1], tanh_C[t], H[t + 1])      # (2) to (4)
        self.save(x, w, u, H, C, tanh_C, Z.reshape(T, 4, D, N))
        return self.answer(H, C)                                                        # (5)

    def backward(self, gy):
        if not all_float32(*self.arrays):
            return super().backward(gy)
        x, w, u, H, C, tanh_C, Z = self.saved
        xp, (T, _, D, N) = self.xp, Z.shape
        gH, gC = self.undo_answer(gy, T)                                                # undo (5)
        gZ, dh, dc = xp.empty_like(Z), xp.zeros_like(H[0]), xp.zeros_like(H[0])
        for t in reversed(range(T)):                                                    # undo (4) to (2)
            launch_each("lstm", "lstm_backward", D * N, Z[t], C[t], tanh_C[t], gH[t + 1], gC[t + 1], dh, D * N, dc, gZ[t])
            xp.matmul(u.T, gZ[t].reshape(4 * D, N), out=dh)
        gZ = columns(gZ.reshape(T, 4 * D, N))
        gx, gw, gu, gb = self.weight_gradients(gZ, gZ, x, H, w)                         # undo (1)
        return gx, (dh + gH[0]).T, (dc + gC[0]).T, gw, gu, gb


class GRU(gru.GRU):
    """A step forward is two launches instead of ten; a step backward three, for U' of it is added to the rest."""

    def forward(self, x, h, w, u, b, bh):
        T, (N, D), xp = len(x), h.shape, self.xp
        if not all_float32(x, h, w, u, b, bh):
            return super().forward(x, h, w, u, b, bh)
        Z, H, bh = self.project(x, w, b), self.states(T, h), xp.ascontiguousarray(bh)   # (1)
        Q, uh = xp.empty_like(H[1:]), xp.empty_like(Z[0])
        for t in range(T):
            xp.matmul(u, H[t], out=uh)
            launch_each("gru", "gru_forward", D * N, uh, bh, H[t], N, D * N, Z[t], Q[t], H[t + 1])      # (2) to (4)
        self.save(x, w, u, H, Q, Z.reshape(T, 3, D, N))
        return self.answer(H)                                                           # (5)

    def backward(self, gy):
        if not all_float32(*self.arrays):
            return super().backward(gy)
        x, w, u, H, Q, Z = self.saved
        xp, (T, _, D, N) = self.xp, Z.shape
        (gH,) = self.undo_answer(gy, T)                                                 # undo (5)
        gates, dh = xp.empty((T, 4, D, N), Z.dtype), xp.zeros_like(H[0])
        for t in reversed(range(T)):                                                    # undo (4) to (2)
            launch_each("gru", "gru_backward", D * N, Z[t], Q[t], H[t], gH[t + 1], D * N, dh, gates[t])
            dh += u.T @ gates[t, :3].reshape(3 * D, N)
        gates = columns(gates.reshape(T, 4 * D, N))
        gUh, gZ = gates[: 3 * D], xp.concatenate([gates[: 2 * D], gates[3 * D :]])
        gx, gw, gu, gb = self.weight_gradients(gZ, gUh, x, H, w)                        # undo (1)
        return gx, (dh + gH[0]).T, gw, gu, gb, gUh.sum(axis=1)


lstm.LSTM.cuda, gru.GRU.cuda = LSTM, GRU
