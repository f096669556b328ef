"""Attention equals its definition and PyTorch, cut into any blocks, and makes no T x T array; so does its module."""
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from kernel_faces import CLOSE, FACES, draw_array, equals_definition
from tinygrad_edu import Tensor, functional as F, nn, threads
from tinygrad_edu.kernels import attention
from tinygrad_edu.testing import gradcheck

attend = F.scaled_dot_product_attention


@pytest.fixture(params=[(1, 1), (7, 2), (1 << 17, 64)], ids=["one row", "blocks", "whole"])
def blocks(request, monkeypatch):
    """The sizes of a block: one score, a few that divide nothing, everything at once."""
    monkeypatch.setitem(attention._SCORES, "cpu", request.param[0])
    monkeypatch.setattr(attention, "_ROWS", request.param[1])


LEADS = {       # the axes before the last two of query, key, value and answer; N samples, H heads
    "none": lambda N, H: ((), (), (), ()),
    "equal": lambda N, H: ((N, H), (N, H), (N, H), (N, H)),
    "grouped": lambda N, H: ((N, 3 * H), (N, H), (N, H), (N, 3 * H)),
    "one key": lambda N, H: ((N, H), (), (), (N, H)),
    "one query": lambda N, H: ((), (H,), (H,), (H,)),
    "many values": lambda N, H: ((H,), (H,), (N, 1), (N, H)),
    "crossed": lambda N, H: ((N, 1), (1, H), (H,), (N, H)),
}

@st.composite
def attentions(draw, heads):
    """Shapes of query, key, value and bias (or None), and the options."""
    T, S, E, V = (draw(st.integers(1, most)) for most in (6, 6, 3, 2))
    q, k, v, lead = LEADS[heads](draw(st.sampled_from([1, 2, 0])), draw(st.integers(1, 3)))
    few = [lead, lead[1:], lead[:-1] + (1,) if lead else ()]
    spread = st.tuples(st.sampled_from(few), st.sampled_from([(T, S), (1, S), (T, 1)])).map(lambda s: s[0] + s[1])
    options = {"causal": draw(st.booleans()), "window": draw(st.sampled_from([None, 1, 2, 4])),
               "scale": draw(st.sampled_from([None, 0.3]))}
    if draw(st.booleans()):
        share = draw(st.sampled_from([0, 0.4, 0.8]))
        options["mask"] = np.random.default_rng(draw(st.integers(0, 99))).random(draw(spread)) < share
    return (q + (T, E), k + (S, E), v + (S, V), draw(st.none() | spread)), options


def drawn(shapes):
    return [draw_array(3 + i, *shape) for i, shape in enumerate(shapes) if shape is not None]


def with_bias(options):
    """attend(query, key, value) or attend(query, key, value, bias), with these options."""
    return lambda q, k, v, bias=None: attend(q, k, v, bias=bias, **options)


@pytest.mark.parametrize("heads", LEADS)
@given(data=st.data(), block=st.sampled_from([(1, 1), (7, 2), (1 << 17, 64)]))
def test_attention_equals_its_definition(data, block, heads):
    shapes, options = data.draw(attentions(heads))
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(attention._SCORES, "cpu", block[0])
        patch.setattr(attention, "_ROWS", block[1])
        equals_definition(with_bias(options), *drawn(shapes))


MASK = np.random.default_rng(0).random((3, 7, 5)) < 0.5
MASK[:, :, 0] = True                    # what PyTorch answers to a query without keys has changed over time


@pytest.mark.parametrize("ours, theirs, shapes", [
    ({}, {}, [(2, 3, 7, 4), (2, 3, 5, 4), (2, 3, 5, 6)]),
    ({"causal": True, "scale": 0.7}, {"is_causal": True, "scale": 0.7}, [(2, 3, 7, 4), (2, 3, 5, 4), (2, 3, 5, 6)]),
    ({"causal": True}, {"is_causal": True}, [(5, 4), (7, 4), (7, 4)]),
    ({"mask": MASK}, {"attn_mask": MASK}, [(2, 3, 7, 4), (2, 3, 5, 4), (2, 3, 5, 4)]),
    ({}, {}, [(2, 3, 7, 4), (2, 3, 5, 4), (2, 3, 5, 4), (3, 7, 5)]),
    ({"causal": True}, {"is_causal": True, "enable_gqa": True}, [(2, 6, 7, 4), (2, 3, 7, 4), (2, 3, 7, 5)]),
], ids=["cross", "causal, scaled", "causal, more keys", "mask", "bias", "grouped"])
def test_attention_equals_pytorch(ours, theirs, shapes, blocks):
    torch = pytest.importorskip("torch")
    theirs = {name: torch.tensor(v) if name == "attn_mask" else v for name, v in theirs.items()}
    xs, ts = ([make(a, requires_grad=True) for a in drawn(shapes)] for make in (Tensor, torch.tensor))
    y, t = with_bias(ours)(*xs), torch.nn.functional.scaled_dot_product_attention(*ts, **theirs)
    np.testing.assert_allclose(y.data, t.detach().numpy(), **CLOSE)

    gy = draw_array(99, *y.shape)
    y.backward(gy), t.backward(torch.tensor(gy))
    for x, right in zip(xs, ts):
        np.testing.assert_allclose(x.grad.data, right.grad.numpy(), **CLOSE)


# ---------------------------------------------------------------- laws

def test_queries_that_may_look_nowhere_give_zeros_and_no_gradient(blocks):
    mask = np.ones((5, 6), bool)
    mask[2] = mask[4] = False
    q, k, v = (Tensor(a, requires_grad=True) for a in drawn([(5, 3), (6, 3), (6, 2)]))
    y = attend(q, k, v, mask)
    y.sum().backward()
    assert (y.data[[2, 4]] == 0).all() and (q.grad.data[[2, 4]] == 0).all() and (y.data[[0, 1, 3]] != 0).all()
    late = attend(*drawn([(5, 3), (2, 3), (2, 2)]), window=1)       # from the third query on every key is too long ago
    assert (late[2:] == 0).all() and (late[:2] != 0).all()


@pytest.mark.parametrize("window", [None, 1, 3])
def test_the_future_and_what_is_too_long_ago_have_no_gradient(window, blocks):
    T, q = 8, draw_array(0, 8, 3)
    for t in range(T):
        k, v = (Tensor(draw_array(i, T, 3), requires_grad=True) for i in (1, 2))
        attend(q, k, v, causal=True, window=window)[t].sum().backward()
        seen = np.arange(T) <= t if window is None else (np.arange(T) <= t) & (np.arange(T) > t - window)
        assert ((abs(v.grad.data).sum(1) > 0) == seen).all()
        assert (k.grad.data[~seen] == 0).all()


def test_the_order_of_the_keys_does_not_matter(blocks):
    q, k, v = drawn([(2, 5, 3), (2, 9, 3), (2, 9, 4)])
    order = np.random.default_rng(0).permutation(9)
    np.testing.assert_allclose(attend(q, k[:, order], v[:, order]), attend(q, k, v), **CLOSE)


def test_huge_scores_stay_finite(blocks):
    q, k = np.array([[1e4, 0], [-1e4, 0]]), np.array([[1e4, 1], [0, 1], [-1e4, 1]])
    with np.errstate(over="raise", invalid="raise"):
        np.testing.assert_allclose(attend(q, k, np.eye(3)), [[1, 0, 0], [0, 0, 1]], atol=1e-12)


@pytest.mark.parametrize("S", [1, 8, 9, 13, 18, 33])
def test_the_largest_score_is_found_wherever_it_is(S):
    for place in range(S):
        k = np.where(np.arange(S) == place, 1e4, 0.0)[:, None]
        with np.errstate(over="raise", invalid="raise"):
            np.testing.assert_array_equal(attend(np.ones((1, 1)), k, np.eye(S)), [np.arange(S) == place])


def test_a_learned_slope_of_the_bias_gets_its_gradient(blocks):
    """ALiBi: the further away, the lower the score, by a slope for each head. Press et al. 2021, arXiv:2108.12409."""
    distance = np.arange(6) - np.arange(6)[:, None]

    def alibi(q, k, v, slope):
        return attend(q, k, v, causal=True, bias=slope.reshape(2, 1, 1) * Tensor(distance, dtype=slope.dtype))

    gradcheck(alibi, *drawn([(2, 6, 3), (2, 6, 3), (2, 6, 2), (2,)]), order=2)


def test_a_wide_bias_widens_the_answer_and_not_the_gradients():
    q, k, v, bias = (Tensor(a, requires_grad=True, dtype=dtype) for a, dtype in
                     zip(drawn([(4, 2), (4, 2), (4, 2), (4, 4)]), ("float32", "float32", "float32", "float64")))
    for reference in (False, True):
        with tg.reference_only(reference):
            y = attend(q, k, v, bias=bias)
            gradients = tg.grad(y.sum(), (q, k, v, bias))
        assert y.dtype == np.float64 and [g.dtype.name for g in gradients] == ["float32"] * 3 + ["float64"]


@pytest.mark.usefixtures("on_arrays")
def test_a_bias_that_is_a_constant_costs_no_gradient():
    q, k, v, bias = drawn([(4, 2), (4, 2), (4, 2), (4, 4)])
    y = attend(Tensor(q, requires_grad=True), Tensor(k), Tensor(v), bias=Tensor(bias))
    assert y.creator.backward(np.ones(y.shape))[3] is None


@given(st.lists(st.integers(0, 4), max_size=3), st.integers(0, 12))
def test_blocks_of_heads_cover_every_head_once(lead, heads):
    count = np.zeros(lead, int)
    for block in attention._head_blocks(tuple(lead), heads):
        assert count[block].size <= max(1, heads)
        count[block] += 1
    assert (count == 1).all()


# ---------------------------------------------------------------- memory

def peak_of(run):
    tracemalloc.start()
    run()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak


@pytest.mark.usefixtures("on_arrays")
@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("options", [{}, {"causal": True}, {"window": 100}], ids=str)
def test_memory_grows_with_t_not_with_its_square(options, count, monkeypatch):
    """Forward and backward of T = 4096: everything together takes a sixteenth of one T x T array for each thread at most."""
    T = 4096
    monkeypatch.setattr(threads, "_count", count)
    q, k, v = (Tensor(draw_array(i, T, 4).astype("float32"), requires_grad=True) for i in range(3))
    peak = peak_of(lambda: attend(q, k, v, **options).sum().backward())
    assert peak < count * T * T * 4 / 16
    assert all(x.grad.dtype == np.float32 for x in (q, k, v))


@pytest.mark.parametrize("window", [1, 16, 300])
@pytest.mark.parametrize("T", [64, 512, 4096])
def test_a_window_costs_t_times_the_window(T, window):
    """Scores that are computed, counted: no more than twice the window for each query, or those of a small block."""
    kernel, q = attention.Attention(None, True, window, 1.0, None), np.empty((2, T, 1))
    blocks, _ = kernel._blocks((2,), q, q)
    per_head = sum((rows.stop - rows.start) * (keys.stop - keys.start) * np.empty(2)[heads].size
                   for heads, rows, keys in blocks) / 2
    assert per_head <= T * min(T, window + max(window, attention._ROWS))


# ---------------------------------------------------------------- threads

@pytest.mark.parametrize("heads", LEADS)
@given(data=st.data())
def test_threads_share_the_work_and_change_nothing(data, heads):
    """Each adds into gradients of its own, so what several of them share, a key or a bias, gets all that belongs to it."""
    shapes, options = data.draw(attentions(heads))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "_WORTH_SHARING", 0)
        patch.setattr(threads, "_count", 3)
        patch.setitem(attention._SCORES, "cpu", 7)
        patch.setattr(attention, "_ROWS", 2)
        equals_definition(with_bias(options), *drawn(shapes))


@given(st.lists(st.integers(1, 4), max_size=2).map(tuple), st.integers(1, 40), st.integers(1, 40), st.booleans())
def test_blocks_cover_every_score_once_that_a_query_may_see(lead, T, S, causal):
    kernel = attention.Attention(None, causal, None, 1.0, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threads, "_count", 2)
        patch.setitem(attention._SCORES, "cpu", 40)
        patch.setattr(attention, "_ROWS", 3)
        blocks, _ = kernel._blocks(lead, np.empty((*lead, T, 1)), np.empty((*lead, S, 1)))
    count = np.zeros((*lead, T, S), int)
    for heads, rows, keys in blocks:
        count[(*heads, rows, keys)] += 1
    seen = np.tril(np.ones((T, S), bool)) if causal else np.ones((T, S), bool)
    assert count.max() == 1 and (count[..., seen] == 1).all()


# ---------------------------------------------------------------- narrow numbers

@pytest.mark.parametrize("dtype, tolerance", [("float32", 1e-5), ("float16", 1e-2)])
@pytest.mark.parametrize("face", FACES + ["reference"])
def test_a_dtype_stays_what_it_is_and_hidden_scores_are_finite(face, dtype, tolerance):
    """The mask's lowest number is the dtype's own: -1e30 would be -infinity in float16, and its differences NaN."""
    mask = np.random.default_rng(0).random((2, 5, 6)) < 0.5
    mask[0, 3] = False
    arrays = drawn([(2, 5, 3), (2, 6, 3), (2, 6, 2), (2, 5, 6)])
    answers = []
    for wanted in ("float64", dtype):
        xs = [Tensor(a.astype(wanted), requires_grad=True) for a in arrays]
        with tg.kernel_face(face):
            y = with_bias(dict(mask=mask, window=4))(*xs)
            y.backward(np.ones(y.shape, wanted))
        answers.append([y.data, *(x.grad.data for x in xs)])
    for wide, narrow in zip(*answers):
        assert narrow.dtype == dtype
        np.testing.assert_allclose(narrow, wide, rtol=tolerance, atol=tolerance)


# ---------------------------------------------------------------- wrong arguments

@pytest.mark.parametrize("shapes, options, says", [
    ([(3, 4), (5, 3), (5, 4)], {}, "got query (3, 4), key (5, 3), value (5, 4)"),
    ([(3, 4), (5, 4), (6, 4)], {}, "expected (.., T, E), (.., S, E) and (.., S, V)"),
    ([(4,), (5, 4), (5, 4)], {}, "got query (4,)"),
    ([(5, 3, 4), (2, 3, 4), (2, 3, 4)], {}, "got 5 query heads, 2 key heads and 2 value"),
    ([(4, 3, 4), (2, 3, 4), (4, 3, 4)], {}, "got 4 query heads, 2 key heads and 4 value"),
    ([(3, 4)] * 3, {"mask": np.zeros((3, 3))}, "got a mask of float64, expected bool"),
    ([(3, 4), (5, 4), (5, 4)], {"mask": np.ones((5, 3), bool)}, "got a mask of shape (5, 3), expected one that"),
    ([(4, 3, 4), (2, 5, 4), (2, 5, 4)], {"bias": np.ones((2, 1, 5))}, "got a bias of shape (2, 1, 5)"),
    ([(3, 4)] * 3, {"window": 0}, "got window = 0, expected at least 1"),
])
def test_errors_say_got_and_expected(shapes, options, says):
    with pytest.raises((ValueError, TypeError)) as caught:
        attend(*drawn(shapes), **options)
    assert says in str(caught.value) and "\n" not in str(caught.value)


# ---------------------------------------------------------------- the module

def twins(**options):
    """Ours and PyTorch's, float64, with the same weights."""
    torch = pytest.importorskip("torch")
    theirs, ours = torch.nn.MultiheadAttention(6, 3, **options).double(), nn.MultiheadAttention(6, 3, **options).double()
    state = {name: t.detach().numpy() + 0.1 * draw_array(5, *t.shape) for name, t in theirs.state_dict().items()}
    assert list(ours.state_dict()) == list(state)
    ours.load_state_dict(state)
    theirs.load_state_dict({name: torch.tensor(a) for name, a in state.items()})
    return torch, ours, theirs


@pytest.mark.parametrize("cross", [False, True])
@pytest.mark.parametrize("options", [{}, {"batch_first": True}, {"bias": False}], ids=str)
def test_multihead_attention_equals_pytorch(options, cross):
    torch, ours, theirs = twins(**options)
    T, S = (3, 5) if cross else (4, 4)
    shapes = [(2, n, 6) if options.get("batch_first") else (n, 2, 6) for n in (T, S, S)]
    mask = np.tril(np.ones((T, S), bool))
    arrays = drawn(shapes) if cross else drawn(shapes)[:1]
    xs, ts = ([make(a, requires_grad=True) for a in arrays] for make in (Tensor, torch.tensor))
    y, (t, _) = ours(*xs, mask=mask), theirs(*(ts if cross else ts * 3), attn_mask=torch.tensor(~mask))
    np.testing.assert_allclose(y.data, t.detach().numpy(), **CLOSE)
    np.testing.assert_allclose(ours(*xs, causal=True).data, y.data, **CLOSE)

    gy = draw_array(9, *y.shape)
    y.backward(gy), t.backward(torch.tensor(gy))
    for x, right in zip(xs + ours.parameters(), ts + list(theirs.parameters())):
        np.testing.assert_allclose(x.grad.data, right.grad.numpy(), **CLOSE)


def test_multihead_attention_starts_as_pytorchs():
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    ours, theirs = nn.MultiheadAttention(128, 4), torch.nn.MultiheadAttention(128, 4)
    for p, q in zip(ours.parameters(), theirs.parameters()):
        assert p.data.dtype == np.float32 and p.shape == tuple(q.shape)
        assert p.data.std() == pytest.approx(q.std().item(), rel=0.05)
        assert abs(p.data).max() == pytest.approx(abs(q).max().item(), rel=0.02)
    assert "(out_proj): Linear(128, 128)" in repr(ours) and "128, 4" in repr(ours)


def test_multihead_attention_refuses_what_does_not_fit():
    with pytest.raises(ValueError, match="got embed_dim = 6, expected a multiple of 4"):
        nn.MultiheadAttention(6, 4)
    with pytest.raises(ValueError, match=r"got a query of shape \(4, 6\), expected 3 axes"):
        nn.MultiheadAttention(6, 3)(tg.ones(4, 6))
