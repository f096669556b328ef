"""Every public function of ops and functional, over the table of operations; then the cases that a table cannot say."""
import inspect
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

import tinygrad_edu as tg
from op_cases import EINSUMS
from op_table import TABLE, np_erf
from tinygrad_edu import Tensor, functional as F, ops
from tinygrad_edu.testing import adjoint_test, gradcheck

EXACT = dict(rtol=1e-12, atol=1e-12)
every_row = pytest.mark.parametrize("row", TABLE, ids=str)
differentiable_rows = pytest.mark.parametrize("row", [r for r in TABLE if r.differentiable], ids=str)


class Marked(Tensor):
    """A user's own kind of Tensor."""
    __slots__ = ()


def answers(y):
    """One answer or several, as a tuple."""
    return tuple(y) if isinstance(y, (tuple, list)) else (y,)

def plain(y):
    return [a.data if isinstance(a, Tensor) else a for a in answers(y)]

def draw(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)

def leaf(values):
    return Tensor(np.array(values, dtype=np.float64), requires_grad=True)


# ---------------------------------------------------------------- the table is complete

def test_every_function_of_ops_has_a_row():
    assert set(ops.__all__) <= {r.name for r in TABLE}

def test_every_function_of_functional_has_a_row():
    homes = ("tinygrad_edu.functional", "tinygrad_edu.kernels")
    public = {n for n, f in vars(F).items() if inspect.isfunction(f) and f.__module__.startswith(homes) and n[0] != "_"}
    assert len(public) > 20 and public <= {r.name for r in TABLE}

def test_every_row_belongs_to_a_function():
    assert {r.name for r in TABLE} <= set(ops.__all__) | set(vars(F))


# ---------------------------------------------------------------- what holds for every row

@every_row
@given(st.data())
def test_values(row, data):
    """Equal to NumPy's to 1e-12, in shape and dtype too; arrays give arrays, Tensors give Tensors; nothing is written."""
    arrays, options = data.draw(row.cases)
    before = [a.copy() for a in arrays]
    expected = answers(row.oracle(*arrays, **options))

    ys = answers(row.function(*arrays, **options))
    ts = answers(row.function(*map(Tensor, arrays), **options))
    assert len(ys) == len(ts) == len(expected)
    for y, t, right in zip(ys, ts, expected):
        assert isinstance(y, (np.ndarray, np.generic)) and isinstance(t, Tensor)
        assert y.shape == t.shape == np.shape(right) and y.dtype == t.dtype == np.asarray(right).dtype
        np.testing.assert_allclose(y, right, **EXACT)
        np.testing.assert_allclose(t.data, y, **EXACT)
    for a, old in zip(arrays, before):
        np.testing.assert_array_equal(a, old)

@differentiable_rows
@given(st.data())
def test_gradients(row, data):
    """First and second order, by differences and by duality; no mutation, no aliasing, float32 kept."""
    arrays, options = data.draw(row.cases)
    report = gradcheck(lambda *xs: row.function(*xs, **options), *arrays, order=2)
    assert report.kinks == [] and report.adjoint == "" and (row.narrows or report.float32 == "")

@every_row
@given(st.data())
def test_float32_stays_float32(row, data):
    arrays, options = data.draw(row.cases)
    narrow = [a.astype("float32") if a.dtype == "float64" else a for a in arrays]
    for y, t, wide in zip(plain(row.function(*narrow, **options)), plain(row.function(*map(Tensor, narrow), **options)),
                          answers(row.oracle(*arrays, **options))):
        kept = wide.dtype if wide.dtype.kind != "f" or row.narrows else np.dtype("float32")
        assert y.dtype == t.dtype == kept
        np.testing.assert_allclose(y, wide, rtol=1e-3, atol=1e-3)

@pytest.mark.parametrize("row", [r for r in TABLE if hasattr(F, r.name)], ids=str)
@given(st.data())
def test_values_of_the_references(row, data):
    """The same, with every kernel computed by its definition."""
    arrays, options = data.draw(row.cases)
    with tg.reference_only():
        ys = plain(row.function(*map(Tensor, arrays), **options))
    for y, right in zip(ys, answers(row.oracle(*arrays, **options))):
        np.testing.assert_allclose(y, right, **EXACT)

@every_row
@given(st.data())
def test_a_subclass_survives(row, data):
    arrays, options = data.draw(row.cases)
    ys = answers(row.function(*map(Marked, arrays), **options))
    assert all(type(y) is Marked for y in ys)

@pytest.mark.parametrize("row", [r for r in TABLE if not r.differentiable], ids=str)
@given(st.data())
def test_data_stays_outside_the_graph(row, data):
    arrays, options = data.draw(row.cases)
    xs = [Tensor(a, requires_grad=a.dtype.kind == "f") for a in arrays]
    assert not any(y.requires_grad for y in answers(row.function(*xs, **options)))


# ---------------------------------------------------------------- ties, zeros, repeated places: known answers

def gradient(function, x, gy=None):
    x = leaf(x)
    function(x).backward(gy)
    return x.grad.data

def test_ties_share_the_gradient_equally():
    np.testing.assert_array_equal(gradient(tg.max, [1, 3, 3, 2]), [0, 0.5, 0.5, 0])
    np.testing.assert_array_equal(gradient(tg.min, [[1, 1], [1, 5]]), [[1 / 3, 1 / 3], [1 / 3, 0]])
    np.testing.assert_array_equal(gradient(lambda x: tg.max(x, axis=0), [[1, 2], [1, 0]], [4, 8]), [[2, 8], [2, 0]])
    a, b = leaf([1, 2, 3]), leaf([1, 5, 0])
    tg.maximum(a, b).backward([4, 4, 4])
    np.testing.assert_array_equal([a.grad.data, b.grad.data], [[2, 0, 4], [2, 4, 0]])
    a.grad = b.grad = None
    tg.minimum(a, b).backward([4, 4, 4])
    np.testing.assert_array_equal([a.grad.data, b.grad.data], [[2, 4, 0], [2, 0, 4]])

def test_kinks_are_as_their_docstrings_say():
    np.testing.assert_array_equal(gradient(lambda x: tg.relu(x).sum(), [-1, 0, 1]), [0, 0, 1])
    np.testing.assert_array_equal(gradient(lambda x: tg.absolute(x).sum(), [-1, 0, 1]), [-1, 0, 1])
    np.testing.assert_array_equal(gradient(lambda x: tg.clip(x, -1, 1).sum(), [-2, -1, 0, 1, 2]), [0, 1, 1, 1, 0])
    np.testing.assert_array_equal(gradient(lambda x: tg.power(x, 0).sum(), [0, 2]), [0, 0])
    np.testing.assert_array_equal(gradient(lambda x: tg.power(x, 1).sum(), [0, 2]), [1, 1])

def test_powers_of_zero_are_limits():
    a, b = leaf([0, 0, 2]), leaf([2, 0, 0])
    tg.power(a, b).sum().backward()
    np.testing.assert_array_equal(a.grad.data, [0, 0, 0])
    np.testing.assert_allclose(b.grad.data, [0, 0, math.log(2)])

@pytest.mark.parametrize("x", [[2, 0, 3], [0, 0, 3], [0, 0, 0], [0], [5, 0, 2, 0, 1]], ids=str)
def test_products_with_zeros_to_second_order(x):
    x = np.array(x, dtype=np.float64)
    np.testing.assert_allclose(tg.cumprod(x), np.cumprod(x))
    others = [np.prod(np.delete(x, i)) for i in range(len(x))]
    np.testing.assert_allclose(gradient(tg.prod, x), others)
    gradcheck(lambda x: tg.prod(x) + x.sum(), x, order=2)           # plus x: differences of a plain 0 have no size
    gradcheck(lambda x: tg.cumprod(x) + x, x, order=2)

def test_places_read_twice_get_both_gradients():
    i = np.array([0, 2, 0, 0])
    np.testing.assert_array_equal(gradient(lambda x: x[i], [5, 6, 7], [1, 2, 3, 4]), [8, 0, 2])
    np.testing.assert_array_equal(gradient(lambda x: x[[1, 1, -1]].sum(), [5, 6, 7]), [0, 2, 1])
    np.testing.assert_array_equal(gradient(lambda x: x[Tensor(i)].sum(), [5, 6, 7]), [3, 0, 1])
    weight = leaf(np.ones((3, 2)))
    F.embedding(np.array([[2, 2], [0, 2]]), weight).sum().backward()
    np.testing.assert_array_equal(weight.grad.data, [[1, 1], [0, 0], [3, 3]])

def test_of_several_writes_to_one_place_the_last_counts():
    x, v = leaf([1, 2, 3]), leaf([10, 20, 30])
    y = tg.set_item(x, np.array([0, 0, 2]), v)
    y.backward([1, 10, 100])
    np.testing.assert_array_equal(y.data, [20, 2, 30])
    np.testing.assert_array_equal(x.grad.data, [0, 10, 0])
    np.testing.assert_array_equal(v.grad.data, [0, 1, 100])

def test_equal_values_are_sorted_in_their_old_order():
    x = leaf([2, 1, 2, 1, 2])
    np.testing.assert_array_equal(tg.argsort(x).data, [1, 3, 0, 2, 4])
    values, places = tg.topk(x, 2)
    np.testing.assert_array_equal(places.data, [0, 2])
    values.backward([3, 4])
    np.testing.assert_array_equal(x.grad.data, [3, 0, 4, 0, 0])
    np.testing.assert_array_equal(gradient(tg.sort, [2, 1, 2, 1], [1, 2, 3, 4]), [3, 1, 4, 2])

def test_reductions_of_nothing():
    np.testing.assert_array_equal(tg.sum(np.zeros((0, 2)), axis=0), [0, 0])
    np.testing.assert_array_equal(tg.prod(np.zeros((2, 0)), axis=1), [1, 1])
    assert tg.logsumexp(np.full(3, -np.inf)) == -np.inf

def test_far_out_nothing_overflows():
    far = np.array([-1e4, 0.0, 1e4])
    with np.errstate(over="raise", invalid="raise"):
        np.testing.assert_allclose(tg.sigmoid(far), [0, 0.5, 1])
        np.testing.assert_allclose(tg.logsumexp(far), 1e4)
        np.testing.assert_allclose(tg.softmax(far), [0, 0, 1])
        np.testing.assert_allclose(tg.log_softmax(far), [-2e4, -1e4, 0])
        np.testing.assert_allclose(F.softplus(far), [0, math.log(2), 1e4])
        np.testing.assert_allclose(tg.erf(far), [-1, 0, 1])
        loss = F.binary_cross_entropy_with_logits(far, np.array([0.0, 1, 1]), reduction="sum")
        np.testing.assert_allclose(loss, math.log(2))

def test_erf_equals_the_c_library():
    x = np.concatenate([np.linspace(-7, 7, 4001), [0.5, -0.5, 4, -4, 6, np.nextafter(0.5, 1), 1e-300, 0.0]])
    np.testing.assert_allclose(tg.erf(x), np_erf(x), rtol=1e-15, atol=0)

def test_casts_between_floats_pass_the_gradient():
    x = leaf([1.5, 2.5])
    y = tg.cast(x, "float32")
    (y * y).sum().backward()
    assert y.dtype == np.float32 and x.grad.dtype == np.float64
    np.testing.assert_array_equal(x.grad.data, [3, 5])


# ---------------------------------------------------------------- linear algebra

@pytest.mark.parametrize("subscripts", EINSUMS)
def test_einsum(subscripts):
    """Every form on generic lengths, `...` standing for two axes; value against NumPy, gradient to second order."""
    length = dict(zip("abcdhijklst", ((2,), (3,), (2,), (4,), (2,), (3,), (2,), (3,), (2,), (3,), (2,)))) | {".": (2, 3)}
    terms = subscripts.split("->")[0].replace("...", ".").split(",")
    xs = [draw(n, *sum((length[c] for c in term), ())) for n, term in enumerate(terms)]
    np.testing.assert_allclose(tg.einsum(subscripts, *xs), np.einsum(subscripts, *xs), **EXACT)
    gradcheck(lambda *xs: tg.einsum(subscripts, *xs), *xs, order=2)

def test_einsum_repeats_axes_of_length_one():
    a, b = draw(0, 2, 1, 3), draw(1, 4, 3)
    np.testing.assert_allclose(tg.einsum("...ij,...kj->...ik", a, b), np.einsum("...ij,...kj->...ik", a, b), **EXACT)
    np.testing.assert_allclose(tg.einsum("ij,ij->ij", a[0], b), a[0] * b, **EXACT)

@pytest.mark.parametrize("a, b", [
    ((3,), (3,)), ((2, 3), (3,)), ((3,), (3, 4)), ((2, 3), (3, 4)), ((5, 2, 3), (3,)), ((3,), (5, 3, 4)),
    ((5, 2, 3), (3, 4)), ((2, 3), (5, 3, 4)), ((5, 2, 3), (5, 3, 4)), ((1, 2, 3), (5, 3, 4)), ((5, 2, 3), (1, 3, 4)),
    ((6, 1, 2, 3), (5, 3, 4)), ((6, 1, 2, 3), (1, 5, 3, 4)), ((0, 3), (3, 4)), ((2, 0), (0, 4)), ((0, 2, 3), (3, 4)),
    ((0, 2, 3), (0, 3, 4)), ((0,), (0,)),
], ids=str)
def test_matmul_by_every_rule(a, b):
    a, b = draw(0, *a), draw(1, *b)
    y = tg.matmul(a, b)
    assert np.shape(y) == np.shape(a @ b)
    np.testing.assert_allclose(y, a @ b, **EXACT)
    np.testing.assert_array_equal((Tensor(a) @ Tensor(b)).data, y)
    gradcheck(tg.matmul, a, b, order=2)

def test_slogdet_knows_the_sign():
    a = np.array([[0.0, 2], [3, 0]])
    sign, logdet = tg.slogdet(Tensor(a))
    assert sign.item() == -1 and logdet.item() == pytest.approx(math.log(6))

def test_factors_are_what_they_are_called():
    a = draw(0, 2, 4, 3)
    u, s, vt = tg.svd(a)
    q, r = tg.qr(a)
    w, v = tg.eigh(a.swapaxes(-1, -2) @ a)
    for basis in (u, vt.swapaxes(-1, -2), q, v):
        np.testing.assert_allclose(basis.swapaxes(-1, -2) @ basis, np.broadcast_to(np.eye(3), (2, 3, 3)), atol=1e-12)
    assert (np.diff(s) <= 0).all() and (np.diff(w) >= 0).all()
    np.testing.assert_array_equal(r, np.triu(r))


# ---------------------------------------------------------------- windows and borders

@pytest.mark.parametrize("size, kernel, stride, dilation", [
    ((7,), (3,), (1,), (1,)), ((7,), (2,), (3,), (2,)), ((5, 6), (3, 2), (1, 1), (1, 1)), ((5, 6), (2, 3), (2, 1), (1, 2)),
    ((4, 4), (4, 4), (1, 1), (1, 1)), ((4, 5, 6), (2, 2, 2), (1, 2, 3), (2, 1, 1))], ids=str)
def test_unfold_and_fold_are_adjoint(size, kernel, stride, dilation):
    out = tg.unfold(np.zeros((2,) + size), kernel, stride, dilation).shape
    adjoint_test(lambda x: tg.unfold(x, kernel, stride, dilation), lambda y: tg.fold(y, size, kernel, stride, dilation),
                 (2,) + size, out)

@pytest.mark.parametrize("mode, numpys", [("constant", "constant"), ("reflect", "reflect"), ("replicate", "edge"),
                                          ("circular", "wrap")])
def test_pad_modes(mode, numpys):
    x, widths = draw(0, 3, 4), ((2, 1), (0, 3))
    np.testing.assert_array_equal(tg.pad(x, widths, mode), np.pad(x, widths, numpys))
    gradcheck(lambda x: tg.pad(x, widths, mode), x, order=2)
    if mode == "circular":
        np.testing.assert_array_equal(tg.pad(x, ((7, 5), (0, 9)), mode), np.pad(x, ((7, 5), (0, 9)), numpys))


# ---------------------------------------------------------------- PyTorch as a second oracle

def against_pytorch(ours, theirs, *arrays):
    """Value and first gradient, on one random cotangent."""
    torch = pytest.importorskip("torch")
    xs, ts = [leaf(a) for a in arrays], [torch.tensor(a, requires_grad=True) for a in arrays]
    y, t = ours(*xs), theirs(torch)(*ts)
    np.testing.assert_allclose(y.data, t.detach().numpy(), **EXACT)
    gy = draw(99, *y.shape)
    y.backward(gy)
    t.backward(torch.tensor(gy))
    for x, right in zip(xs, ts):
        np.testing.assert_allclose(x.grad.data, right.grad.numpy(), **EXACT)

def _torch_unfold(torch):
    return lambda x: torch.nn.functional.unfold(x, (2, 3), dilation=(2, 1), stride=(1, 2))

def _torch_fold(torch):
    return lambda x: torch.nn.functional.fold(x, (5, 7), (2, 3), dilation=(2, 1), stride=(1, 2))

@pytest.mark.parametrize("ours, theirs, shapes", [
    (lambda x: tg.unfold(x, (2, 3), (1, 2), (2, 1)).reshape(2, 18, -1), _torch_unfold, [(2, 3, 5, 7)]),
    (lambda x: tg.fold(x.reshape(2, 3, 2, 3, 3, 3), (5, 7), (2, 3), (1, 2), (2, 1)), _torch_fold, [(2, 18, 9)]),
    (lambda x: tg.logsumexp(x, (0, 2)), lambda torch: lambda x: torch.logsumexp(x, (0, 2)), [(2, 3, 4)]),
    (lambda x: tg.cumprod(x, 1), lambda torch: lambda x: torch.cumprod(x, 1), [(3, 7)]),
    (lambda x: tg.cumsum(x, 0), lambda torch: lambda x: torch.cumsum(x, 0), [(4, 3)]),
    (lambda x: tg.std(x, 0, ddof=1), lambda torch: lambda x: torch.std(x, 0), [(5, 3)]),
    (tg.logaddexp, lambda torch: torch.logaddexp, [(3, 4), (4,)]),
    (tg.inverse, lambda torch: torch.linalg.inv, [(2, 3, 3)]),
    (lambda a: tg.slogdet(a)[1], lambda torch: lambda a: torch.linalg.slogdet(a)[1], [(2, 3, 3)]),
    (tg.solve, lambda torch: torch.linalg.solve, [(2, 3, 3), (3, 2)]),
    (tg.sort, lambda torch: lambda x: torch.sort(x)[0], [(3, 5)]),
    (lambda x: tg.max(x, 0), lambda torch: lambda x: torch.amax(x, 0), [(5, 3)]),
    (lambda q, k, v: F.scaled_dot_product_attention(q, k, v, causal=True),
     lambda torch: lambda q, k, v: torch.nn.functional.scaled_dot_product_attention(q, k, v, is_causal=True),
     [(2, 4, 3)] * 3),
    (lambda x: F.gelu(x), lambda torch: torch.nn.functional.gelu, [(20,)]),
    (lambda x: F.max_pool2d(x, 3, 2), lambda torch: lambda x: torch.nn.functional.max_pool2d(x, 3, 2), [(2, 3, 7, 8)]),
    (lambda x: F.normalize(x), lambda torch: lambda x: torch.nn.functional.normalize(x, dim=-1), [(4, 3)]),
], ids=("unfold", "fold", "logsumexp", "cumprod", "cumsum", "std", "logaddexp", "inverse", "slogdet", "solve", "sort", "max",
        "attention", "gelu", "max_pool2d", "normalize"))
def test_equals_pytorch(ours, theirs, shapes):
    against_pytorch(ours, theirs, *[draw(i, *s) for i, s in enumerate(shapes)])


# ---------------------------------------------------------------- wrong arguments are named in one line

A = np.zeros((2, 3))

@pytest.mark.parametrize("wrong, says", [
    (lambda: Tensor(A) + np.zeros((2, 4)), ("Add", "(2, 3)", "(2, 4)")),
    (lambda: tg.matmul(A, A), ("matmul", "(2, 3) and (2, 3)", "must equal")),
    (lambda: tg.matmul(A, np.float64(2)), ("matmul", "(2, 3) and ()", "expected")),
    (lambda: tg.inverse(A), ("inverse", "got shape (2, 3)", "expected square")),
    (lambda: tg.cholesky(A), ("cholesky", "got shape (2, 3)", "expected square")),
    (lambda: tg.slogdet(A), ("slogdet", "got shape (2, 3)", "expected square")),
    (lambda: tg.solve(A, A), ("solve", "got shape (2, 3)", "expected square")),
    (lambda: tg.solve(np.eye(2), np.ones(2)), ("solve", "got shapes (2, 2) and (2,)", "expected (.., N, N) and (.., N, K)")),
    (lambda: tg.transpose(A, 0), ("transpose", "got axes (0,)", "expected an order of the 2 axes")),
    (lambda: tg.reshape(Tensor(A), (4, 2)), ("Reshape", "(2, 3)", "(4,2)")),
    (lambda: tg.squeeze(A, 1), ("squeeze", "length 3", "expected 1")),
    (lambda: tg.split(A, 2, axis=1), ("split", "length 3", "add up to 2")),
    (lambda: tg.pad(A, ((1, 1),)), ("pad", "got 1 pairs", "expected 2")),
    (lambda: tg.pad(A, ((2, 0), (0, 0)), "reflect"), ("pad", "below the axis length 2", "(2, 0)")),
    (lambda: tg.pad(A, ((2, 0), (0, 0)), "mirror"), ("pad", "got mode 'mirror'", "expected constant")),
    (lambda: tg.concatenate([Tensor(A), Tensor(A.T)]), ("Concatenate", "(2, 3), (3, 2)")),
    (lambda: tg.broadcast_to(Tensor(A), (2, 4)), ("BroadcastTo", "(2, 3)", "(2,4)")),
    (lambda: tg.topk(A, 4), ("topk", "got k = 4", "length 3")),
    (lambda: tg.one_hot(np.array([0, 3]), 3), ("one_hot", "got ids in [0, 3]", "expected [0, 3)")),
    (lambda: tg.one_hot(A, 3), ("one_hot", "must be integers", "got float64")),
    (lambda: tg.embedding(A, A), ("embedding", "must be integers", "got float64")),
    (lambda: tg.einsum("ij,jk", A, A), ("einsum", "letter j", "both 3 and 2")),
    (lambda: tg.einsum("ij,jk", A), ("einsum", "names 2 operands", "got 1")),
    (lambda: tg.einsum("ijk", A), ("einsum", "3 letters", "shape (2, 3)")),
    (lambda: tg.einsum("ij->ix", A), ("einsum", "'ij->ix'")),
    (lambda: tg.unfold(A, (4,)), ("unfold", "reaches over (4,)", "only (3,)")),
    (lambda: tg.fold(A, (7,), (2,)), ("fold", "got windows (2, 3)", "expected kernel + counts (2, 6)")),
    (lambda: F.linear(A, A.T), ("linear", "x has 3 features", "expects 2")),
    (lambda: F.mse_loss(A, A[:, :1]), ("mse_loss", "(2, 3)", "(2, 1)")),
    (lambda: F.cross_entropy(A, np.array([0, 3])), ("cross_entropy", "[0, 3]", "expected [0, 3)")),
    (lambda: F.cross_entropy(A, np.array([0, 1, 2])), ("cross_entropy", "(2, 3)", "got (3,)")),
    (lambda: F.nll_loss(A, np.array([0])), ("nll_loss", "got targets of shape (1,)", "expected (2,)")),
    (lambda: F.layer_norm(A, 2), ("layer_norm", "normalized_shape is (2,)", "(3,)")),
    (lambda: F.conv2d(A, A), ("conv2d", "got x (2, 3)", "expected (N, C, H, W)")),
    (lambda: F.conv2d(np.zeros((1, 3, 2, 2)), np.zeros((1, 2, 1, 1))), ("conv2d", "has 3 channels", "expects 2")),
    (lambda: F.dropout(A, 1.0), ("dropout", "got p = 1.0", "expected 0 <= p < 1")),
], ids=lambda value: value[0] if isinstance(value, tuple) else "")
def test_errors_say_got_and_expected(wrong, says):
    with pytest.raises((ValueError, TypeError)) as caught:
        wrong()
    message = str(caught.value)
    assert "\n" not in message and len(message) < 250
    for words in says:
        assert words in message, f"{words!r} is not in {message!r}"
