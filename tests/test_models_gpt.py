"""GPT: the past does not know the future, memory changes nothing, sampling draws what it says."""
import numpy as np
import pytest

import tinygrad_edu as tg
from kernel_faces import CLOSE
from tinygrad_edu import Tensor, functional as F, no_grad
from tinygrad_edu.models.language.gpt import GPT, draw

IDS = np.random.default_rng(0).integers(11, size=(3, 9))


def small():
    return GPT(vocabulary=11, length=9, width=8, layers=2, heads=2).double()


def test_no_logit_depends_on_a_later_place():
    """By gradient: place s enters at s and nowhere else, so the logits at t must not depend on places beyond t."""
    model = small()
    for t in range(9):
        gradient = tg.grad(model(IDS)[:, t].sum(), [model.places.weight])[0].data
        assert not gradient[t + 1 :].any() and gradient[: t + 1].any(axis=1).all()


MASKS = {"decoder": np.tri(9, dtype=bool), "encoder": np.ones((9, 9), bool),
         "encoder and decoder": np.tri(9, dtype=bool) | (np.arange(9) < 4)}


@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_a_mask_says_who_sees_whom(mask):
    """By gradient, as above; two blocks deep, for each of these masks a path of two looks is a look."""
    model = small()
    for t in range(9):
        gradient = tg.grad(model(IDS, mask=mask)[:, t].sum(), [model.places.weight])[0].data
        np.testing.assert_array_equal(gradient.any(axis=1), mask[t])


def test_the_mask_of_a_decoder_is_what_no_mask_means():
    model = small()
    np.testing.assert_allclose(model(IDS, mask=MASKS["decoder"]).data, model(IDS).data, **CLOSE)


def test_a_later_token_changes_no_earlier_logit():
    model, changed = small(), IDS.copy()
    changed[:, 5] = (changed[:, 5] + 1) % 11
    before, after = model(IDS).data, model(changed).data
    np.testing.assert_array_equal(before[:, :5], after[:, :5])
    assert (abs(before[:, 5:] - after[:, 5:]).max(axis=2) > 1e-6).all()


@pytest.mark.parametrize("cuts", [[9], [1] * 9, [4, 1, 3, 1]], ids=str)
def test_logits_with_memory_equal_those_without(cuts):
    model = small()
    memories, start, logits = model.new_memories(), 0, []
    for n in cuts:
        logits.append(model(Tensor(IDS[:, start : start + n]), memories).data)
        start += n
    np.testing.assert_allclose(np.concatenate(logits, axis=1), model(IDS).data, **CLOSE)
    with pytest.raises(ValueError, match="got 10 tokens, expected at most 9"):
        model(IDS[:, :1], memories)


def test_greedy_sampling_is_the_likeliest_token_again_and_again():
    model, ids = small(), IDS[:, :2]
    model.tokens.weight.data *= 20                              # at 0.02 all tokens are about equally likely
    for _ in range(7):
        ids = np.concatenate([ids, model(ids).data[:, -1].argmax(axis=1)[:, None]], axis=1)
    np.testing.assert_array_equal(model.generate(IDS[:, :2], 7, temperature=0).data, ids)


def test_sampling_goes_on_beyond_the_length_with_the_newer_half():
    model = small()
    model.tokens.weight.data *= 20
    ids = model.generate(IDS, 1, temperature=0).data            # nine tokens are read, the tenth is still free
    assert ids.shape == (3, 10)
    ids = model.generate(IDS, 12, temperature=0).data
    assert ids.shape == (3, 21) and ids.dtype == IDS.dtype
    np.testing.assert_array_equal(ids[:, 10], model(ids[:, 6:10]).data[:, -1].argmax(axis=1))


def test_sampling_leaves_no_graph_and_repeats_with_the_seed():
    model = small()
    drawn = []
    for seed in (0, 0, 1):
        tg.manual_seed(seed)
        drawn.append(model.generate(IDS, 5))
    assert drawn[0].creator is None and (drawn[0].data == drawn[1].data).all() and (drawn[0].data != drawn[2].data).any()


@pytest.mark.parametrize("temperature, top_k", [(1.0, None), (0.5, None), (2.0, 2)])
def test_draws_come_as_often_as_their_probability(temperature, top_k):
    logits = np.array([0.0, 1.0, -1.0, 0.5], np.float32)
    p = np.exp(logits / temperature)
    p[np.argsort(-logits)[top_k or 4 :]] = 0
    p /= p.sum()
    n = 20_000
    counts = np.bincount(draw(Tensor(np.tile(logits, (n, 1))), temperature, top_k).data, minlength=4)
    assert (abs(counts / n - p) <= 4.5 * np.sqrt(p * (1 - p) / n)).all()


def test_the_start_is_nearly_uniform():
    model = GPT(11, 9, width=64, layers=4)
    with no_grad():
        loss = F.cross_entropy(model(IDS).reshape(-1, 11), np.random.default_rng(1).integers(11, size=27))
    assert loss.item() == pytest.approx(np.log(11), rel=0.05)


def test_gpt_counts_its_parameters_and_refuses_heads_that_do_not_fit():
    assert GPT(11, 9, width=64, layers=4).num_parameters() == (11 + 9) * 64 + 4 * (12 * 64 * 64 + 13 * 64) + 2 * 64
    with pytest.raises(ValueError, match="got width 6, expected a multiple of 4 heads"):
        GPT(11, 9, width=6)
