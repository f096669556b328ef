"""Linear algebra: matrix products and factorizations of the last two axes; leading axes are batches and broadcast.

Derivatives after M. Giles 2008, Collected matrix derivative results for forward and reverse mode.
A' is the transpose of the last two axes.
"""
import math

from .. import backend
from ..autograd import Function, sum_to
from ..tensor import Tensor
from ..threads import product
from .elementwise import array_of, constant
from .indexing import diagonal, tril, triu
from .shape import broadcast_to


# ---------------------------------------------------------------- primitives

class MatMul(Function):
    """Y = A B;   dA = dY B',  dB = A' dY"""
    def forward(self, a, b):
        self.save(a, b)
        return _times(a, b)
    def backward(self, gy):
        a, b = self.saved
        ga = gb = None
        if self.needs(0):
            ga = sum_to(_times(gy, b.swapaxes(-1, -2)), a.shape)
        if self.needs(1) and b.ndim == 2 and a.ndim > 2:
            gb = product(_rows(a).swapaxes(0, 1), _rows(gy))
        elif self.needs(1):
            gb = sum_to(product(a.swapaxes(-1, -2), gy), b.shape)
        return ga, gb

class Linear(Function):
    """Y = X W' + b, rows of X times the matrix of a layer;   dX = dY W,  dW = dY' X,  db = sum of the rows of dY

    One node instead of three, and a dW in the order of W: a fifth of the training step of a small MLP.
    """
    def forward(self, x, w, b=None):
        self.save(x, w)
        y = _times(x, w.T)
        return y if b is None else y + b
    def backward(self, gy):
        x, w = self.saved
        rows = _rows(gy)
        gx = _times(gy, w) if self.needs(0) else None
        gw = product(rows.swapaxes(0, 1), _rows(x)) if self.needs(1) else None
        return (gx, gw, rows.sum(axis=0))[:len(self.sources)]

class Inverse(Function):
    """Y = A^-1;   dA = -Y' dY Y'"""
    def forward(self, a):
        y = self.xp.linalg.inv(a)
        self.save(y)
        return y
    def backward(self, gy):
        (y,) = self.saved
        yt = y.swapaxes(-1, -2)
        return -matmul(matmul(yt, gy), yt)

class LogAbsDet(Function):
    """y = ln |det A|;   dA = dy A^-1'"""
    def forward(self, a):
        self.save(a)
        return self.xp.linalg.slogdet(a)[1]
    def backward(self, gy):
        (a,) = self.saved
        return gy.reshape(gy.shape + (1, 1)) * inverse(a).swapaxes(-1, -2)

class Cholesky(Function):
    """A = L L', L lower;   dA = (S + S') / 2 with S = L^-1' P(L' dL) L^-1, P: lower triangle with half the diagonal"""
    def forward(self, a):
        y = self.xp.linalg.cholesky(a)
        self.save(y)
        return y
    def backward(self, gy):
        (y,) = self.saved
        product = matmul(y.swapaxes(-1, -2), gy)
        half = (tril(product) + tril(product, -1)) * 0.5
        inverse_y = inverse(y)
        s = matmul(matmul(inverse_y.swapaxes(-1, -2), half), inverse_y)
        return (s + s.swapaxes(-1, -2)) * 0.5

class Solve(Function):
    """X = A^-1 B;   dB = A'^-1 dX,  dA = -dB X'"""
    def forward(self, a, b):
        x = self.xp.linalg.solve(a, b)
        self.save(a, b, x)
        return x
    def backward(self, gx):
        a, b, x = self.saved
        gb = solve(a.swapaxes(-1, -2), gx)
        return -matmul(gb, x.swapaxes(-1, -2)), gb


# ---------------------------------------------------------------- the functions

def matmul(a, b):
    """Matrix product by NumPy's rules: 1-d operands are a row on the left and a column on the right, batches broadcast."""
    if a.ndim == 0 or b.ndim == 0:
        raise ValueError(f"matmul: got shapes {a.shape} and {b.shape}, expected at least one axis each")
    inner = b.shape[0] if b.ndim == 1 else b.shape[-2]
    if a.shape[-1] != inner:
        raise ValueError(f"matmul: got shapes {a.shape} and {b.shape}; the last axis of the first, {a.shape[-1]}, "
                         f"must equal the rows of the second, {inner}")
    if a.ndim > 1 and b.ndim > 1:
        return MatMul().apply(a, b)

    rows = a.reshape(1, -1) if a.ndim == 1 else a
    columns = b.reshape(-1, 1) if b.ndim == 1 else b
    y = MatMul().apply(rows, columns)
    kept = y.shape[:-2] + (() if a.ndim == 1 else y.shape[-2:-1]) + (() if b.ndim == 1 else y.shape[-1:])
    return y.reshape(kept)

def inverse(a):
    """A^-1 of square matrices (.., N, N)."""
    return Inverse().apply(_square(a, "inverse"))

def slogdet(a):
    """sign and ln |det A| of square matrices (.., N, N); the sign is a constant."""
    sign = constant(_square(a, "slogdet"), lambda data: backend.array_module(data).linalg.slogdet(data)[0])
    return sign, LogAbsDet().apply(a)

def cholesky(a):
    """L, lower triangular, with A = L L' for symmetric positive definite A (.., N, N)."""
    return Cholesky().apply(_square(a, "cholesky"))

def solve(a, b):
    """X with A X = B: A (.., N, N), B (.., N, K)."""
    return Solve().apply(*_same_batch(_square(a, "solve"), b))

def solve_triangular(a, b, lower=True):
    """X with A X = B, reading only the lower (or upper) triangle of A (.., N, N); B (.., N, K)."""
    a = _square(a, "solve_triangular")
    return solve(tril(a) if lower else triu(a), b)

def trace(a):
    """Sum of the diagonal of the last two axes."""
    return diagonal(a).sum(axis=-1)

def outer(a, b):
    """All products of two vectors: (N,), (M,) -> (N, M)."""
    return a.reshape(-1, 1) * b.reshape(1, -1)

def _times(a, b):
    """a @ b, arrays or Tensors; where b is a matrix, one large product instead of a batch of small ones."""
    if b.ndim == 2 and a.ndim != 2:
        return product(_rows(a), b).reshape(a.shape[:-1] + b.shape[-1:])
    return product(a, b)

def _rows(a):
    """a (.., K) as one matrix with K columns."""
    return a.reshape(math.prod(a.shape[:-1]), a.shape[-1])

def _same_batch(a, b):
    """a (.., N, N) and b (.., N, K) with equal leading axes: CuPy does not broadcast these."""
    if b.ndim < 2 or b.shape[-2] != a.shape[-1]:
        raise ValueError(f"solve: got shapes {a.shape} and {b.shape}, expected (.., N, N) and (.., N, K)")
    batch = backend.array_module(array_of(a)).broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return [x if x.shape[:-2] == batch else broadcast_to(x, batch + x.shape[-2:]) for x in (a, b)]

def _square(a, caller):
    if a.ndim < 2 or a.shape[-1] != a.shape[-2]:
        raise ValueError(f"{caller}: got shape {a.shape}, expected square matrices (.., N, N)")
    return a


# ---------------------------------------------------------------- factorizations as data, without a gradient

def svd(a):
    """U, s, V' with A = U diag(s) V', thin, as constants."""
    return _factors(a, lambda xp, data: xp.linalg.svd(data, full_matrices=False))

def eigh(a):
    """Eigenvalues, ascending, and eigenvectors (columns) of symmetric A, as constants."""
    return _factors(a, lambda xp, data: xp.linalg.eigh(data))

def qr(a):
    """Q, R with A = Q R, Q' Q = I, as constants."""
    return _factors(a, lambda xp, data: xp.linalg.qr(data))

def _factors(a, factorize):
    data = array_of(a)
    parts = factorize(backend.array_module(data), data)
    return tuple(a._wrapped_like(p) for p in parts) if isinstance(a, Tensor) else tuple(parts)


# ---------------------------------------------------------------- einsum: sums of products, by letters

def einsum(subscripts, *operands):
    """Einstein summation with an explicit or implied result, `...` allowed: einsum("bij,bjk->bik", a, b).

    Every pair of operands becomes one batched matrix product, so the work is BLAS's and the gradient matmul's.
    """
    inputs, output = _parse(subscripts, operands)
    terms = [_read_diagonals(letters, x) for letters, x in zip(inputs, operands)]
    size = _sizes(terms, subscripts)
    while len(terms) > 1:
        left, right, *rest = terms
        keep = set(output).union(*[letters for letters, _ in rest])
        terms = [_contract(left, right, keep, size)] + rest

    letters, x = _sum_out(*terms[0], set(output))
    if sorted(letters) != sorted(output):
        raise ValueError(f"einsum: the result of {subscripts!r} must name each of its letters once, from the operands")
    return x.transpose([letters.index(c) for c in output]) if len(output) > 1 else x

def _parse(subscripts, operands):
    """"...ij,jk" -> one string of letters for each operand and one for the result."""
    left, arrow, output = subscripts.replace(" ", "").partition("->")
    inputs = left.split(",")
    if len(inputs) != len(operands):
        raise ValueError(f"einsum: {subscripts!r} names {len(inputs)} operands, got {len(operands)}")
    hidden = [x.ndim - len(s.replace("...", "")) if "..." in s else 0 for s, x in zip(inputs, operands)]
    dots = "".join([c for c in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" if c not in subscripts][:max(hidden)])
    inputs = [s.replace("...", dots[len(dots) - n:]) for s, n in zip(inputs, hidden)]
    for s, x in zip(inputs, operands):
        if len(s) != x.ndim:
            raise ValueError(f"einsum: {subscripts!r} gives {len(s)} letters to an operand of shape {x.shape}")
    joined = "".join(inputs)
    implied = dots + "".join(sorted(c for c in set(joined) - set(dots) if joined.count(c) == 1))
    return inputs, output.replace("...", dots) if arrow else implied

def _read_diagonals(letters, x):
    """A letter that occurs twice in one operand reads its diagonal."""
    for c in set(letters):
        while letters.count(c) > 1:
            i, j = letters.index(c), letters.rindex(c)
            order = [k for k in range(x.ndim) if k not in (i, j)]
            letters, x = "".join(letters[k] for k in order) + c, diagonal(x.transpose(order + [i, j]))
    return letters, x

def _sizes(terms, subscripts):
    """The length that each letter stands for; an axis of length 1 is repeated."""
    size = {}
    for letters, x in terms:
        for c, n in zip(letters, x.shape):
            if size.setdefault(c, n) == 1:
                size[c] = n
            elif n not in (1, size[c]):
                raise ValueError(f"einsum: in {subscripts!r} the letter {c} stands for both {size[c]} and {n}")
    return size

def _sum_out(letters, x, keep):
    gone = tuple(i for i, c in enumerate(letters) if c not in keep)
    return "".join(c for c in letters if c in keep), x.sum(axis=gone) if gone else x

def _contract(left, right, keep, size):
    """One matrix product: shared letters that are still needed are the batch, the other shared ones are summed over."""
    la, a = _sum_out(*left, keep | set(right[0]))
    lb, b = _sum_out(*right, keep | set(left[0]))
    batch = [c for c in la if c in lb and c in keep]
    summed = [c for c in la if c in lb and c not in keep]
    rows, columns = [c for c in la if c not in lb], [c for c in lb if c not in la]

    product = matmul(_arrange(la, a, batch, rows, summed, size), _arrange(lb, b, batch, summed, columns, size))
    letters = batch + rows + columns
    return "".join(letters), product.reshape(tuple(size[c] for c in letters))

def _arrange(letters, x, batch, first, second, size):
    """x with its axes in the order batch, first, second, each group merged into one axis."""
    order = batch + first + second
    x = broadcast_to(x.transpose([letters.index(c) for c in order]), [size[c] for c in order])
    return x.reshape(tuple(math.prod(size[c] for c in group) for group in (batch, first, second)))
