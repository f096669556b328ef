"""Embeddings of words and of positions."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import tinygrad_edu as tg
from kernel_faces import CLOSE, FACES, draw_array, equals_definition
from tinygrad_edu import Tensor, functional as F, nn
from tinygrad_edu.kernels.rotary import alibi_slopes
from tinygrad_edu.testing import gradcheck


# ---------------------------------------------------------------- words

def draw_ids(seed, V, *shape):
    return np.random.default_rng(seed).integers(0, V, shape)


@given(st.integers(1, 6), st.integers(0, 3), st.lists(st.integers(0, 4), max_size=2), st.booleans())
def test_embedding_equals_its_definition(V, E, shape, padded):
    ids = draw_ids(0, V, *shape)
    equals_definition(lambda w: F.embedding(ids, w, V - 1 if padded else None), draw_array(1, V, E))


@pytest.mark.parametrize("face", FACES)
@pytest.mark.parametrize("padding_idx", [None, 2, -1])
def test_embedding_equals_pytorch(face, padding_idx):
    torch = pytest.importorskip("torch")
    ids, w = draw_ids(0, 7, 5, 30), draw_array(1, 7, 3)                                     # every id about 20 times
    ours, theirs = Tensor(w, requires_grad=True), torch.tensor(w, requires_grad=True)
    with tg.kernel_face(face):
        y = F.embedding(ids, ours, padding_idx)
        y.backward(draw_array(2, *y.shape))
    t = torch.nn.functional.embedding(torch.tensor(ids), theirs, padding_idx)
    t.backward(torch.tensor(draw_array(2, *y.shape)))
    np.testing.assert_array_equal(y.data, t.detach().numpy())
    np.testing.assert_allclose(ours.grad.data, theirs.grad.numpy(), **CLOSE)


@pytest.mark.parametrize("face", FACES)
def test_float32_stays_float32_and_short_ids_will_do(face):
    w = Tensor(draw_array(0, 5, 4).astype("float32").T.copy().T, requires_grad=True)
    with tg.kernel_face(face):
        y = F.embedding(np.array([[4, 0], [4, 4]], "uint8"), w)
        y.sum().backward()
    assert y.dtype == w.grad.dtype == np.float32
    np.testing.assert_array_equal(w.grad.data[:, 0], [1, 0, 0, 0, 3])


def test_the_padding_row_starts_at_zero_and_stays_so():
    layer = nn.Embedding(4, 3, padding_idx=1)
    layer(Tensor(np.array([0, 1, 1, 3]))).sum().backward()
    np.testing.assert_array_equal(layer.weight.data[1], 0)
    np.testing.assert_array_equal(layer.weight.grad.data, np.array([1, 0, 0, 1.0])[:, None] * np.ones(3))
    assert repr(layer) == "Embedding(4, 3, padding_idx=1)"


def test_one_function_under_two_names():
    assert tg.embedding is F.embedding
    with pytest.raises(IndexError, match="embedding: got padding_idx 4, expected one of the 4 rows"):
        F.embedding(np.array([0]), np.zeros((4, 2)), 4)


# ---------------------------------------------------------------- positions

@given(st.integers(0, 3), st.integers(1, 4), st.integers(0, 3), st.booleans())
def test_turning_keeps_lengths_and_has_a_right_gradient(N, T, pairs, interleaved):
    x = draw_array(0, N, T, 2 * pairs)
    y = F.rotary_embedding(x, offset=3, interleaved=interleaved)
    np.testing.assert_allclose((y * y).sum(-1), (x * x).sum(-1), **CLOSE)
    equals_definition(lambda x: F.rotary_embedding(x, interleaved=interleaved), x)
    gradcheck(lambda x: F.rotary_embedding(x, offset=2, interleaved=interleaved), x, order=2)


@pytest.mark.parametrize("interleaved", [True, False])
def test_products_know_only_how_far_apart_two_places_are(interleaved):
    q, k = draw_array(0, 8), draw_array(1, 8)
    turned = [F.rotary_embedding(np.tile(v, (9, 1)), offset=offset, interleaved=interleaved) for v, offset in ((q, 0), (k, 4))]
    products = turned[0] @ turned[1].T                                                      # (9, 9)
    for distance in range(-8, 9):
        diagonal = np.diagonal(products, distance)
        np.testing.assert_allclose(diagonal, diagonal[0], **CLOSE)
    assert np.ptp(products[0]) > 0.1


def test_a_cache_and_given_positions():
    x = draw_array(0, 2, 6, 4)
    whole = F.rotary_embedding(x)
    np.testing.assert_allclose(F.rotary_embedding(x[:, 4:], offset=4), whole[:, 4:], **CLOSE)
    np.testing.assert_allclose(F.rotary_embedding(x[:, ::-1], np.arange(6)[::-1]), whole[:, ::-1], **CLOSE)
    np.testing.assert_allclose(F.rotary_embedding(x[:, :1], np.array([[0], [0]])), x[:, :1], **CLOSE)
    assert F.rotary_embedding(x.astype("float32")).dtype == np.float32


def test_alibi():
    np.testing.assert_allclose(alibi_slopes(8), 0.5 ** np.arange(1, 9))
    np.testing.assert_allclose(alibi_slopes(12), [*0.5 ** np.arange(1, 9), *0.5 ** np.arange(0.5, 4)])
    bias = F.alibi_bias(Tensor(np.zeros((5, 2, 2, 4), "float32")), Tensor(np.zeros((5, 2, 3, 4), "float32")))
    assert bias.dtype == np.float32 and bias.shape == (2, 2, 3)
    np.testing.assert_allclose(bias.data[0], -np.array([[1, 0, 1], [2, 1, 0]]) / 16)


def test_errors_say_got_and_expected():
    with pytest.raises(ValueError, match="rotary_embedding: got 3 features, expected an even number"):
        F.rotary_embedding(np.zeros((2, 3)))
    with pytest.raises(ValueError, match=r"rotary_embedding: got positions of shape \(3,\), x has 2 places"):
        F.rotary_embedding(np.zeros((2, 4)), np.arange(3))
    with pytest.raises(ValueError, match="alibi_slopes: got 0 heads, expected at least 1"):
        alibi_slopes(0)
