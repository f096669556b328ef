"""Floor 3: wrong backwards of ops/linalg.py, ops/window.py and of the kernels."""
import numpy as np

from ..kernels import batch_norm as B, convolution as C, cross_entropy as X, normalization as N, softmax as S
from ..ops import linalg as L, window as W
from ..ops.elementwise import sqrt, square
from ..ops.indexing import tril, triu
from ..ops.reduction import logsumexp, mean
from ..ops.shape import flip
from .mutants import check, normal, positive, wrong

_IDS = np.array([2, 0, 1, 2])


def _well_posed(a):
    """A A' + 3 I: symmetric, positive definite, far from singular."""
    return L.matmul(a, a.swapaxes(-1, -2)) + 3 * np.eye(a.shape[-1]).astype(a.dtype)

check("matmul", L.matmul, normal(3, 3), normal(3, 3))
check("matmul of a batch", L.matmul, normal(2, 3, 4), normal(2, 4, 2))
check("matmul with one matrix", L.matmul, normal(2, 3, 4), normal(4, 2))
check("matmul of a broadcast batch", L.matmul, normal(1, 3, 4), normal(2, 4, 2))
check("inverse", L.inverse, normal(3, 3) + 3 * np.eye(3))
check("slogdet", L.slogdet, normal(3, 3) + 3 * np.eye(3))
check("cholesky", lambda a: L.cholesky(_well_posed(a)), normal(3, 3))
check("solve", L.solve, normal(3, 3) + 3 * np.eye(3), normal(3, 2))
check("unfold", lambda x: W.unfold(x, (3,), (1,), (1,)), normal(2, 7))
check("unfold with holes", lambda x: W.unfold(x, (2,), (1,), (2,)), normal(2, 6))
check("unfold with a stride", lambda x: W.unfold(x, (2,), (2,), (1,)), normal(2, 6))
check("fold", lambda x: W.fold(x, (4,), (2,)), normal(2, 2, 3))
check("conv2d", lambda x, w, b: C.conv2d(x, w, b, stride=2, padding=1),
      normal(2, 2, 5, 4), normal(3, 2, 3, 2), normal(3))
check("conv2d in groups", lambda x, w: C.conv2d(x, w, groups=2), normal(2, 4, 3, 3), normal(4, 2, 2, 2))
check("cross_entropy", lambda x: X.cross_entropy(x, _IDS, reduction="none"), normal(4, 3))
check("softmax", S.softmax, normal(3, 4))
check("batch_norm", lambda x, w, b: B.batch_norm(x, w, b), normal(6, 3), positive(3), normal(3))
check("layer_norm", lambda x: N.layer_norm(x, 5), normal(3, 5))


# ---------------------------------------------------------------- matrices

@wrong(L.MatMul, "matmul")
def matmul_does_not_transpose_b(self, gy):
    """dA = dY B instead of dY B'."""
    a, b = self.saved
    return L.matmul(gy, b), L.matmul(a.swapaxes(-1, -2), gy)

@wrong(L.MatMul, "matmul")
def matmul_does_not_transpose_a(self, gy):
    """dB = A dY instead of A' dY."""
    a, b = self.saved
    return L.matmul(gy, b.swapaxes(-1, -2)), L.matmul(a, gy)

@wrong(L.MatMul, "matmul")
def matmul_swaps_the_factors(self, gy):
    """dB = dY A' instead of A' dY."""
    a, b = self.saved
    return L.matmul(gy, b.swapaxes(-1, -2)), L.matmul(gy, a.swapaxes(-1, -2))

@wrong(L.MatMul, "matmul of a broadcast batch")
def matmul_does_not_sum_its_batch(self, gy):
    """Missing sum over broadcast axis: one A served the whole batch."""
    a, b = self.saved
    return L.matmul(gy, b.swapaxes(-1, -2)), L.matmul(a.swapaxes(-1, -2), gy)

@wrong(L.MatMul, "matmul with one matrix")
def matmul_averages_over_the_batch(self, gy):
    """A mean over the batch for the shared matrix, where a sum belongs."""
    a, b = self.saved
    gb = L.matmul(a.swapaxes(-1, -2), gy)
    return L.matmul(gy, b.swapaxes(-1, -2)), gb.mean(axis=0) if gb.ndim > b.ndim else gb

@wrong(L.Inverse, "inverse")
def inverse_forgets_to_transpose(self, gy):
    """-Y dY Y instead of -Y' dY Y'."""
    (y,) = self.saved
    return -L.matmul(L.matmul(y, gy), y)

@wrong(L.Inverse, "inverse")
def inverse_has_no_minus(self, gy):
    """Sign."""
    (y,) = self.saved
    yt = y.swapaxes(-1, -2)
    return L.matmul(L.matmul(yt, gy), yt)

@wrong(L.LogAbsDet, "slogdet")
def slogdet_forgets_to_transpose(self, gy):
    """A^-1 instead of its transpose."""
    return gy.reshape(gy.shape + (1, 1)) * L.inverse(self.saved[0])

def _cholesky_backward(y, gy, half):
    inverse_y = L.inverse(y)
    s = L.matmul(L.matmul(inverse_y.swapaxes(-1, -2), half(L.matmul(y.swapaxes(-1, -2), gy))), inverse_y)
    return (s + s.swapaxes(-1, -2)) * 0.5

@wrong(L.Cholesky, "cholesky")
def cholesky_counts_the_whole_diagonal(self, gy):
    """P keeps the diagonal whole instead of half."""
    return _cholesky_backward(self.saved[0], gy, tril)

@wrong(L.Cholesky, "cholesky")
def cholesky_takes_the_upper_triangle(self, gy):
    """P is upper instead of lower."""
    return _cholesky_backward(self.saved[0], gy, lambda p: (triu(p) + triu(p, 1)) * 0.5)

@wrong(L.Solve, "solve")
def solve_does_not_transpose(self, gx):
    """dB = A^-1 dX instead of A'^-1 dX."""
    a, b, x = self.saved
    gb = L.solve(a, gx)
    return -L.matmul(gb, x.swapaxes(-1, -2)), gb

@wrong(L.Solve, "solve")
def solve_has_no_minus(self, gx):
    """Sign of dA."""
    a, b, x = self.saved
    gb = L.solve(a.swapaxes(-1, -2), gx)
    return L.matmul(gb, x.swapaxes(-1, -2)), gb


# ---------------------------------------------------------------- windows

@wrong(W.Unfold, "unfold")
def unfold_flips_the_kernel(self, gy):
    """Each gradient goes to the mirrored place of its window."""
    return W.Fold(self.size, self.kernel, self.stride, self.dilation).apply(flip(gy, -2))

@wrong(W.Unfold, "unfold with holes")
def unfold_forgets_the_dilation(self, gy):
    """Folds back without the holes."""
    return W.Fold(self.size, self.kernel, self.stride, (1,)).apply(gy)

@wrong(W.Unfold, "unfold with a stride")
def unfold_forgets_the_stride(self, gy):
    """Folds the windows back one place apart."""
    return W.Fold(self.size, self.kernel, (1,), self.dilation).apply(gy)

@wrong(W.Fold, "fold")
def fold_flips_the_kernel(self, gy):
    """Reads every window backwards."""
    return flip(W.Unfold(self.kernel, self.stride, self.dilation).apply(gy), -2)


# ---------------------------------------------------------------- kernels: by hand on arrays, so the slips are in place

_conv2d_backward = C.Conv2d.backward
_conv2d_reference = C.Conv2d.reference

@wrong(C.Conv2d, "conv2d")
def conv2d_flips_the_kernel(self, gy):
    """The gradient of the weight is mirrored, as if forward were a true convolution."""
    gx, gweight, gbias = _conv2d_backward(self, gy)
    return gx, np.ascontiguousarray(gweight[..., ::-1, ::-1]), gbias

@wrong(C.Conv2d, "conv2d")
def conv2d_averages_the_bias(self, gy):
    """A mean over batch and pixels for the bias, where a sum belongs."""
    gx, gweight, _ = _conv2d_backward(self, gy)
    return gx, gweight, gy.mean(axis=(0, 2, 3))

@wrong(C.Conv2d, "conv2d")
def conv2d_loses_overlaps(self, gy):
    """Where windows overlap the last one wins: = instead of +=."""
    _, gweight, gbias = _conv2d_backward(self, gy)
    (x, weight), (top, left) = self.saved, self.padding
    gx = np.pad(np.zeros_like(x), ((0, 0), (0, 0), (top, top), (left, left)))
    for h, w in np.ndindex(*gy.shape[2:]):
        corner = (..., slice(h * self.stride[0], None), slice(w * self.stride[1], None))
        gx[corner][..., : weight.shape[2], : weight.shape[3]] = np.einsum("no,ochw->nchw", gy[:, :, h, w], weight)
    return gx[..., top : gx.shape[2] - top, left : gx.shape[3] - left], gweight, gbias

@wrong(C.Conv2d, "conv2d in groups")
def conv2d_swaps_its_groups(self, gy):
    """The gradients of the groups' weights arrive in the wrong order."""
    gx, gweight, gbias = _conv2d_backward(self, gy)
    return gx, np.roll(gweight, gweight.shape[0] // self.groups, axis=0), gbias

@wrong(C.Conv2d, "conv2d", method="reference")
def conv2d_has_another_definition(self, x, weight, bias):
    """Right to first order: only the reference, which the double backward differentiates, mirrors the kernel."""
    return _conv2d_reference(self, x, flip(weight, -1), bias)

@wrong(X.CrossEntropy, "cross_entropy")
def cross_entropy_forgets_the_target(self, gy):
    """p instead of p - one_hot."""
    p = self.saved[0].copy()
    p[np.arange(len(p)), self.targets] += 1
    return p * gy[:, None]

@wrong(X.CrossEntropy, "cross_entropy")
def cross_entropy_writes_into_its_softmax(self, gy):
    """Multiplies what forward saved in place: right once."""
    (slope,) = self.saved
    slope *= gy[:, None]
    return slope.copy()

@wrong(X.CrossEntropy, "cross_entropy", method="reference")
def cross_entropy_has_another_definition(self, x):
    """Right to first order: the reference forgets the target's logit and a factor."""
    return 2 * logsumexp(x, axis=1)

@wrong(S.Softmax, "softmax")
def softmax_keeps_the_diagonal_only(self, gy):
    """y (1 - y) gy: the Jacobian's other entries -y_i y_j are missing."""
    (y,) = self.saved
    return gy * (y * (1 - y))

@wrong(S.Softmax, "softmax")
def softmax_takes_a_mean_for_the_sum(self, gy):
    """A cotangent of ones cannot show the term through the denominator alone, a random one does."""
    (y,) = self.saved
    return y * (gy - (gy * y).mean(axis=-1, keepdims=True))

@wrong(B.BatchNorm, "batch_norm")
def batch_norm_forgets_the_variance(self, gy):
    """The term through r is missing. A cotangent of ones hides it: h sums to zero."""
    return _gradients(self, gy, (0,), through_r=0)

@wrong(B.BatchNorm, "batch_norm")
def batch_norm_forgets_the_mean(self, gy):
    """The term through mu is missing."""
    return _gradients(self, gy, (0,), through_mu=0)

@wrong(N.LayerNorm, "layer_norm")
def layer_norm_is_wrong_by_float64(self, gy):
    """float64 from an np.float64 constant."""
    gx, gw, gb = _gradients(self, gy, (1,))
    return gx * np.float64(1), gw, gb

@wrong(N.LayerNorm, "layer_norm", method="reference")
def layer_norm_has_another_definition(self, x, w, b):
    """Right to first order: the reference, for the double backward, divides by n - 1."""
    centred = x - mean(x, -1, keepdims=True)
    return centred / sqrt(mean(square(centred), -1, keepdims=True) * 1.25 + self.eps) * w + b

def _gradients(self, gy, axes, through_mu=1, through_r=1):
    """The gradients of a normalization of x (M, D) over `axes`, with a scale for each column."""
    x, w, _ = self.arrays
    h = x - x.mean(axis=axes, keepdims=True)
    r = 1 / np.sqrt((h * h).mean(axis=axes, keepdims=True) + self.eps)
    h, g = h * r, gy * w
    gx = r * (g - through_mu * g.mean(axis=axes, keepdims=True) - through_r * h * (g * h).mean(axis=axes, keepdims=True))
    return gx, (gy * h).sum(axis=0), gy.sum(axis=0)
