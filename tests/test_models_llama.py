"""Llama: the past does not know the future, and the published weights tell their story letter by letter."""
import json
import os
import struct
from pathlib import Path

import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import no_grad
from tinygrad_edu.data import DataError, load_stories, parse_llama, parse_pieces
from tinygrad_edu.models.language.llama import Llama

IDS = np.random.default_rng(0).integers(11, size=(3, 7))
DATA = os.environ.get("TINYGRAD_EDU_DATA")


def packed(model, length=16):
    """The model's weights as such a file has them: each kind for all layers together."""
    header = struct.pack("<7i", 8, 6, 2, 4, 2, 11, length)
    state = {name: t.detach().numpy() for name, t in model.state_dict().items()}
    parts = ("norm1", "query", "key", "value", "leave", "norm2", "gate", "down", "up")
    arrays = [state["tokens.weight"], *(state[f"blocks.{i}.{part}.weight"] for part in parts for i in range(2)),
              state["norm.weight"], np.zeros(length * 2)]
    return header + b"".join(a.astype("<f4").tobytes() for a in arrays)


def small():
    return Llama(11, width=8, hidden=6, layers=2, heads=4, key_heads=2)


def test_a_later_token_changes_no_earlier_logit():
    model, changed = small().double(), IDS.copy()
    changed[:, 4] = (changed[:, 4] + 1) % 11
    before, after = model(IDS).data, model(changed).data
    np.testing.assert_allclose(before[:, :4], after[:, :4], rtol=0, atol=1e-12)
    assert (abs(before[:, 4:] - after[:, 4:]).max(axis=2) > 1e-9).all()


def test_every_weight_gets_a_gradient():
    model = small()
    model(IDS).sum().backward()
    assert all(p.grad is not None and p.grad.data.any() for p in model.parameters())


def test_sizes_that_do_not_divide_are_refused():
    with pytest.raises(ValueError, match="Llama: got width 8, 3 heads and 1 of keys"):
        Llama(11, width=8, heads=3, key_heads=1)


def test_a_file_gives_back_the_model():
    model = small()
    sizes, weights = parse_llama(packed(model), "small.bin")
    other = Llama(**sizes)
    other.load_state_dict(weights)
    np.testing.assert_array_equal(other(IDS).data, model(IDS).data)


def test_damaged_files_are_refused():
    good = packed(small())
    for bad, message in ((good[:20], "got 20 bytes"), (good[:-4], "expected .* for the sizes"),
                         (struct.pack("<i", 0) + good[4:], "expected positive ones")):
        with pytest.raises(DataError, match=message):
            parse_llama(bad, "bad.bin")
    pieces = struct.pack("<ifi", 3, 0.5, 3) + b"one" + struct.pack("<fi", 0.1, 1) + b"a"
    assert parse_pieces(pieces, "tokens") == [b"one", b"a"]
    for bad in (pieces[:-1], pieces[:-5], pieces[:17]):
        with pytest.raises(DataError, match="got token 1 cut off at byte 15"):
            parse_pieces(bad, "tokens")


@pytest.mark.skipif(not DATA, reason="TINYGRAD_EDU_DATA names no folder")
def test_the_published_weights_tell_the_published_story():
    """stories260K, always the likeliest token, 200 steps: every id, and with the tokens' text every letter."""
    expected = json.loads((Path(DATA) / "pretrained" / "EXPECTED.json").read_text(encoding="utf-8"))["stories260K.bin"]
    sizes, weights, pieces = load_stories()
    model = Llama(**sizes)
    model.load_state_dict(weights)
    ids = [1]
    with no_grad():
        for _ in range(200):
            ids.append(int(model(tg.Tensor(np.array([ids]))).data[0, -1].argmax()))
    assert ids[1:] == expected["greedy_ids"]
    text = b"".join(pieces[i] for i in ids[1:]).replace(b"<0x0A>", b"\n").decode()
    assert text.strip() == expected["text"].strip()
