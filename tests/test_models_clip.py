"""CLIP: the loss is symmetric and what the paper's lines say, the end of a sentence is its end, the temperature has a floor."""
import math

import numpy as np
import pytest

import tinygrad_edu as tg
from kernel_faces import CLOSE
from tinygrad_edu import Tensor, functional as F
from tinygrad_edu.models.multimodal.clip import CLIP, AttentionPool, ImageEncoder, TextEncoder
from tinygrad_edu.testing import gradcheck

IDS = np.array([[1, 2, 3, 0, 0, 0], [4, 1, 0, 0, 0, 0], [2, 2, 4, 1, 3, 0]])
PICTURES = np.random.default_rng(0).random((3, 3, 8, 8))


def small():
    tg.manual_seed(0)
    image_encoder = ImageEncoder(8, 6, widths=(4, 4, 8), heads=2)
    return CLIP(image_encoder, TextEncoder(5, 6, 0, 6, width=8, layers=2, heads=2)).double().eval()


def test_points_lie_on_one_sphere():
    model = small()
    pictures, texts = model.encode_image(Tensor(PICTURES)), model.encode_text(Tensor(IDS))
    assert pictures.shape == texts.shape == (3, 6)
    for points in (pictures, texts):
        np.testing.assert_allclose(np.linalg.norm(points.data, axis=1), 1, **CLOSE)


def test_the_loss_by_hand():
    """Figure 3 of the paper: cosines over temperature, cross-entropy along rows and columns."""
    model = small()
    cosines = model.encode_image(Tensor(PICTURES)) @ model.encode_text(Tensor(IDS)).T
    logits, right = cosines.data * math.exp(model.logit_scale.item()), np.arange(3)
    rows, columns = (-np.log(np.exp(part).T[right, right] / np.exp(part).sum(axis=1)).mean() for part in (logits, logits.T))
    assert model.loss(Tensor(PICTURES), Tensor(IDS)).item() == pytest.approx((rows + columns) / 2, abs=1e-12)


def test_the_temperature_is_learned_and_has_a_floor():
    model = small()
    assert model.temperature().item() == pytest.approx(0.07)
    x, y = np.random.default_rng(1).standard_normal((2, 4, 5))
    gradcheck(lambda s: F.info_nce_loss(Tensor(x), Tensor(y), tg.exp(-s), symmetric=True), np.array(2.0), order=2)
    model.loss(Tensor(PICTURES), Tensor(IDS)).backward()
    assert model.logit_scale.grad.data != 0

    for start, end in ((3.0, 3.0), (5.0, math.log(100))):
        model.logit_scale.data = np.array(start)
        model.clip_scale()
        assert model.logit_scale.item() == pytest.approx(end) and model.logit_scale.requires_grad


def test_what_stands_after_the_end_changes_nothing():
    model, changed = small(), IDS.copy()
    changed[0, 4:], changed[1, 3:] = (3, 1), (1, 0, 2)
    np.testing.assert_array_equal(model.encode_text(Tensor(changed)).data, model.encode_text(Tensor(IDS)).data)
    np.testing.assert_allclose(model.encode_text(Tensor(IDS[1:2, :3])).data, model.encode_text(Tensor(IDS)).data[1:2], **CLOSE)


def test_every_word_and_its_place_count():
    """By gradient: places up to the end are read, those after it are not; two words exchanged are another sentence."""
    model = small()
    for row, length in ((0, 4), (1, 3), (2, 6)):
        y = (model.encode_text(Tensor(IDS))[row] * np.arange(6.0)).sum()
        gradient = tg.grad(y, [model.text_encoder.places.weight])[0].data
        np.testing.assert_array_equal(gradient.any(axis=1), np.arange(6) < length)
    exchanged = model.encode_text(Tensor(IDS[:1, [1, 0, 2, 3]])).data
    assert abs(exchanged - model.encode_text(Tensor(IDS[:1])).data).max() > 1e-6


def test_the_pool_looks_at_all_places_and_knows_where_they_are():
    pool = AttentionPool(6, 4, 2).double()
    x = Tensor(np.random.default_rng(2).standard_normal((2, 4, 2, 3)), requires_grad=True)
    y = pool(x)
    assert y.shape == (2, 4) and tg.grad((y * np.arange(4.0)).sum(), [x])[0].data.all()
    assert abs(pool(Tensor(x.data[..., ::-1].copy())).data - y.data).max() > 1e-6
    pool.positions.data = np.zeros_like(pool.positions.data)
    np.testing.assert_allclose(pool(Tensor(x.data[..., ::-1].copy())).data, pool(x).data, **CLOSE)


def test_pictures_of_another_size_are_refused():
    with pytest.raises(ValueError, match="ImageEncoder: got size 30, expected a multiple of 4"):
        ImageEncoder(30, 6)
