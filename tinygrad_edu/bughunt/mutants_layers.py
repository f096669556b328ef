"""Floor 3: wrong backwards of what layers are made of: linear, embedding, pooling, recurrence, attention, fused norms."""
import numpy as np

from ..kernels import attention as A, embedding as E, gru as U, lstm as M, pooling as P, recurrent as R
from ..kernels.group_norm import GroupNorm
from ..kernels.group_norm_silu import GroupNormSiLU, group_norm_silu
from ..ops import linalg as L
from .mutants import check, normal, positive, wrong

_IDS = np.array([[1, 0], [1, 3]])

check("linear", lambda x, w, b: L.Linear().apply(x, w, b), normal(2, 3, 4), normal(2, 4), normal(2))
check("embedding", lambda weight: E.embedding(_IDS, weight), normal(4, 3))
check("max_pool2d", lambda x: P.max_pool2d(x, 2, 1), normal(1, 2, 4, 3))
check("avg_pool2d", lambda x: P.avg_pool2d(x, 2, 1), normal(1, 2, 3, 4))
check("rnn", lambda x, h, w, u, b: R.rnn(x, h, w, u, b)[0], normal(4, 2, 3), normal(2, 2), normal(2, 3), normal(2, 2), normal(2))
check("lstm", lambda x, h, c, w, u: M.lstm(x, h, c, w, u)[0],
      normal(3, 2, 2), normal(2, 2), positive(2, 2), normal(8, 2), normal(8, 2))
check("gru", lambda x, h, w, u, b, c: U.gru(x, h, w, u, b, c)[0],
      normal(3, 2, 2), normal(2, 2), normal(6, 2), normal(6, 2), normal(6), positive(6))
check("attention", A.scaled_dot_product_attention, normal(3, 2), normal(4, 2), normal(4, 3))
check("attention in groups", A.scaled_dot_product_attention, normal(4, 3, 2), normal(2, 3, 2), normal(2, 3, 2))
check("attention, causal", lambda q, k, v: A.scaled_dot_product_attention(q, k, v, causal=True),
      normal(3, 2), normal(3, 2), normal(3, 2))
check("group_norm_silu", lambda x, w, b: group_norm_silu(x, 2, w, b), normal(2, 4, 3), positive(4), normal(4))


# ---------------------------------------------------------------- linear, embedding

@wrong(L.Linear, "linear")
def linear_keeps_one_row_for_the_bias(self, gy):
    """The bias has the gradient of one row: the sum over the batch is missing."""
    x, w = self.saved
    rows = gy.reshape(-1, gy.shape[-1])
    return L.matmul(gy, w), L.matmul(rows.swapaxes(0, 1), x.reshape(-1, x.shape[-1])), rows[0]

@wrong(L.Linear, "linear")
def linear_averages_its_weight(self, gy):
    """A mean over the rows for the weight, where a sum belongs: the lr would depend on the batch."""
    x, w = self.saved
    rows = gy.reshape(-1, gy.shape[-1])
    return L.matmul(gy, w), L.matmul(rows.swapaxes(0, 1), x.reshape(-1, x.shape[-1])) / len(rows), rows.sum(axis=0)

@wrong(E.Embedding, "embedding")
def embedding_lets_the_last_win(self, gy):
    """An id that occurs twice keeps only one of its gradients: = instead of +=."""
    gw = np.zeros_like(self.arrays[0])
    gw[self.ids] = gy
    return gw


# ---------------------------------------------------------------- pooling

_avg_undo = P.AvgPool2d.undo

@wrong(P.AvgPool2d, "avg_pool2d", method="undo")
def avg_pool_forgets_to_divide(self, gy, gx):
    """The whole gradient to each pixel of a window, not its share."""
    _avg_undo(self, gy * self.pixels(gy), gx)

@wrong(P.MaxPool2d, "max_pool2d", method="undo")
def max_pool_spreads_its_gradient(self, gy, gx):
    """Every pixel of a window gets the same share, as in a mean."""
    gx[...] = 0
    for k, l in np.ndindex(2, 2):
        gx[:, k : k + gy.shape[1], l : l + gy.shape[2]] += gy / 4


# ---------------------------------------------------------------- recurrence

_rnn_backward, _lstm_backward, _gru_backward = R.RNN.backward, M.LSTM.backward, U.GRU.backward

@wrong(R.RNN, "rnn")
def rnn_does_not_look_back(self, gy):
    """Each step learns from its own output only: what later steps say is not carried back."""
    x, w, u, H = self.saved
    (gH,) = self.undo_answer(gy, len(x))
    gZ = R.columns((1 - H[1:] * H[1:]) * gH[1:])
    gx, gw, gu, gb = self.weight_gradients(gZ, gZ, x, H, w)
    return gx, (u.T @ ((1 - H[1] * H[1]) * gH[1])).T, gw, gu, gb

@wrong(R.RNN, "rnn")
def rnn_uses_the_state_after_the_step(self, gy):
    """dU = sum gZ[t] H[t + 1]' instead of H[t]': off by one."""
    x, w, u, H = self.saved
    (gH,), dh, gu = self.undo_answer(gy, len(x)), np.zeros_like(H[0]), np.zeros_like(u)
    for t in reversed(range(len(x))):
        gz = (1 - H[t + 1] ** 2) * (dh + gH[t + 1])
        gu += gz @ H[t + 1].T
        dh = u.T @ gz
    gx, gh, gw, _, gb = _rnn_backward(self, gy)
    return gx, gh, gw, gu, gb

@wrong(M.LSTM, "lstm")
def lstm_forgets_the_first_cell(self, gy):
    """The initial cell gets no gradient."""
    gx, gh, gc, *rest = _lstm_backward(self, gy)
    return gx, gh, np.zeros_like(gc), *rest

@wrong(M.LSTM, "lstm")
def lstm_swaps_input_and_forget_gate(self, gy):
    """The gradients of the gates i and f arrive in each other's rows of the weights."""
    gx, gh, gc, gw, gu, gb = _lstm_backward(self, gy)
    D = gh.shape[1]
    rows = np.r_[D : 2 * D, :D, 2 * D : 4 * D]
    return gx, gh, gc, gw[rows], gu[rows], gb[rows]

@wrong(U.GRU, "gru")
def gru_adds_its_biases(self, gy):
    """One gradient for both biases: that of U h + c stands inside the reset gate and has another."""
    *others, gb, gc = _gru_backward(self, gy)
    return *others, gb, gb


# ---------------------------------------------------------------- attention, fused norms

_attention_backward = A.Attention.backward

@wrong(A.Attention, "attention")
def attention_forgets_the_scale(self, gy):
    """gk = gs' q instead of scale gs' q."""
    gq, gk, *rest = _attention_backward(self, gy)
    return gq, gk / self.scale, *rest

@wrong(A.Attention, "attention")
def attention_forgets_the_softmax(self, gy):
    """gs = w gw: what the softmax takes away, w (sum w gw), is missing."""
    q, k, v = self.arrays[:3]
    s = self.scale * q @ k.T
    w = np.exp(s - s.max(axis=1, keepdims=True))
    w /= w.sum(axis=1, keepdims=True)
    gs = w * (gy @ v.T)
    return self.scale * gs @ k, self.scale * gs.T @ q, w.T @ gy

@wrong(A.Attention, "attention in groups")
def attention_averages_over_a_group(self, gy):
    """A mean over the query heads that share a key head, where a sum belongs."""
    gq, gk, gv, *rest = _attention_backward(self, gy)
    times = gq.shape[-3] // gk.shape[-3]
    return gq, gk / times, gv / times, *rest

@wrong(A.Attention, "attention, causal", method="reference")
def attention_looks_ahead_in_its_definition(self, query, key, value):
    """Right to first order: the reference, for the double backward, hides nothing."""
    return L.matmul(A.softmax(L.matmul(query, key.swapaxes(-1, -2)) * self.scale), value)

@wrong(GroupNormSiLU, "group_norm_silu", method="undo")
def group_norm_silu_forgets_the_slope(self, gy, gx):
    """The gradient passes SiLU as if that were the identity."""
    return GroupNorm.undo(self, gy, gx)
