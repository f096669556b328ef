"""Sound, notes, boxes, masks, captions, views and prices: true formats read, wrong ones refused by name."""
import io
import json
import struct
import wave
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from bad_files import REAL, needs, refused
from tinygrad_edu import data
from tinygrad_edu.data import DataError
from tinygrad_edu.data.load import packed, scenes, sound, table

# ---------------------------------------------------------------- sound

def wav(samples, rate=8000, channels=1, width=2):
    memory = io.BytesIO()
    with wave.open(memory, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(width)
        file.setframerate(rate)
        file.writeframes(np.asarray(samples, f"<i{width}" if width > 1 else "u1").tobytes())
    return memory.getvalue()


@given(samples=st.lists(st.integers(-32768, 32767), max_size=20), channels=st.integers(1, 3), rate=st.integers(1, 96000))
def test_wav_round_trip(samples, channels, rate):
    samples = samples[:len(samples) // channels * channels]
    found, found_rate = data.parse_wav(wav(samples, rate, channels), "memory")
    assert found.dtype == np.float32 and found_rate == rate
    assert found.shape == ((len(samples),) if channels == 1 else (len(samples) // channels, channels))
    assert (found.ravel() * 32768).tolist() == samples


def test_wav_with_other_chunks(tmp_path):
    raw = wav([1, -2, 3])
    odd = b"LIST" + struct.pack("<I", 3) + b"abc\0"                        # a chunk of odd length, padded
    longer = raw[:4] + struct.pack("<I", len(raw) + len(odd) - 8) + raw[8:12] + odd + raw[12:]
    (tmp_path / "a.wav").write_bytes(longer)
    assert (data.read_wav(tmp_path / "a.wav")[0] * 32768).tolist() == [1, -2, 3]


RAW = wav([1, 2, 3, 4])
BAD_WAV = {"empty": (b"", "b''"), "no RIFF": (b"RIFX" + RAW[4:], "RIFX"), "no WAVE": (RAW[:8] + b"AVI " + RAW[12:], "AVI"),
           "truncated": (RAW[:-2], "got 50 bytes, expected 52"), "trailing": (RAW + b"0", "got 53 bytes"),
           "chunk too long": (RAW[:40] + struct.pack("<I", 99) + RAW[44:], "got 8 bytes in chunk b'data', expected 99"),
           "no data": (RAW[:36] + b"junk" + RAW[40:], "b'junk'"), "8 bits": (wav([1, 2], width=1), "8 bits"),
           "24 bits": (RAW[:34] + b"\x18" + RAW[35:], "24 bits"), "float": (RAW[:20] + b"\3" + RAW[21:], "format 3"),
           "no channels": (RAW[:22] + b"\0" + RAW[23:], "0 channels"), "frame": (RAW[:22] + b"\2" + RAW[23:], "2 channels"),
           "half a frame": (wav([1, 2, 3, 4])[:40] + struct.pack("<I", 7) + RAW[44:], "7 bytes")}


@pytest.mark.parametrize("raw, words", BAD_WAV.values(), ids=BAD_WAV)
def test_bad_wav(raw, words):
    refused(data.parse_wav, raw, "file.wav", words=words)


@given(position=st.integers(0, 51), bit=st.integers(0, 7), cut=st.integers(0, 52))
def test_wav_never_fails_in_another_way(position, bit, cut):
    raw = bytearray(RAW)
    raw[position] ^= 1 << bit
    for wrong in (bytes(raw), bytes(raw[:cut])):
        try:
            data.parse_wav(wrong, "file.wav")
        except DataError as error:
            assert str(error).startswith("file.wav: ")


@needs("fsdd_subset")
def test_real_spoken_digits():
    recordings, labels, speakers = data.load_spoken_digits("train")
    assert len(recordings) == 300 and np.bincount(labels).tolist() == [30] * 10
    assert sorted(set(speakers)) == ["george", "jackson", "lucas", "nicolas", "theo", "yweweler"]
    more, test_labels, _ = data.load_spoken_digits("test")
    assert len(more) == 60 and np.bincount(test_labels).tolist() == [6] * 10
    assert sum(map(len, recordings + more)) / 8000 == pytest.approx(158.4, abs=0.05)
    assert max(np.abs(recording).max() for recording in recordings + more) * 32768 == 27003


# ---------------------------------------------------------------- notes

def chorales(**changed):
    return json.dumps({"train": [[[60, 64], []]], "valid": [], "test": [[[43]]], **changed}).encode()


def test_chorales():
    assert data.parse_chorales(chorales(), "memory") == {"train": [[[60, 64], []]], "valid": [], "test": [[[43]]]}
    voices = data.parse_chorales(chorales(train=[[[60, -1], [61, 40]]], test=[]), "memory", voices=2)["train"][0]
    assert voices.tolist() == [[60, -1], [61, 40]] and voices.dtype == np.int64


@pytest.mark.parametrize("raw, voices, words", [
    (chorales()[:-1], None, "JSON"), (b"[]", None, "list"), (b"{}", None, "[]"), (chorales(train=[[[128]]]), None, "pitch 128"),
    (chorales(train=[[[-1]]]), None, "pitch -1"), (chorales(train=[[[60.5]]]), None, "pitch 60.5"), (b"\xff", None, "0xff"),
    (chorales(), 4, "2 voices in step 0"), (chorales(train=[[[60, 61], [60]]]), 2, "1 voices in step 1"),
    (chorales(train=[[5]]), None, "train 0"), (chorales(train=[[["a"]]]), None, "'a'"), (chorales(train=3), None, "int")])
def test_bad_chorales(raw, voices, words):
    refused(data.parse_chorales, raw, "file.json", voices, words=words)


@needs("jsb_chorales")
def test_real_chorales():
    quarters = {part: data.load_chorales(part) for part in ("train", "valid", "test")}
    assert {part: (len(p), sum(map(len, p))) for part, p in quarters.items()} == {
        "train": (229, 13807), "valid": (76, 4602), "test": (77, 4725)}
    pitches = [pitch for pieces in quarters.values() for piece in pieces for step in piece for pitch in step]
    assert (min(pitches), max(pitches)) == (43, 96)
    voices = data.load_chorales("train", separate_voices=True)
    assert len(voices) == 229 and sum(map(len, voices)) == 55228 and voices[0].shape[1] == 4

    def roll(pieces):
        rows = np.zeros((sum(map(len, pieces)), 88), bool)
        for row, step in zip(rows, (step for piece in pieces for step in piece)):
            row[[pitch - 21 for pitch in step]] = True
        return rows
    p = (roll(quarters["train"]).sum(axis=0) + 1) / (13807 + 2)
    nats = -np.where(roll(quarters["test"]), np.log(p), np.log(1 - p)).sum(axis=1).mean()
    assert nats == pytest.approx(11.06, abs=0.03)


# ---------------------------------------------------------------- pictures, boxes, masks

def picture(array, kind="PNG"):
    image = pytest.importorskip("PIL.Image")
    memory = io.BytesIO()
    image.fromarray(array).save(memory, kind)
    return memory.getvalue()


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_picture_round_trip(channels):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 7, channels), np.uint8)
    raw = picture(pixels[:, :, 0] if channels == 1 else pixels)
    assert np.array_equal(data.parse_picture(raw, "memory", channels), pixels)
    for wrong in {1, 3, 4} - {channels}:
        refused(data.parse_picture, raw, "file.png", wrong, words=f"got {channels} channels")
    for broken in (raw[:-20], raw[:-60], b"", b"junk", raw[:17] + b"\1" + raw[18:], raw[:60] + bytes([raw[60] ^ 1]) + raw[61:]):
        refused(data.parse_picture, broken, "file.png", channels, words="no whole picture")


def voc(boxes=((1, 2, 5, 6),), size=(10, 8)):
    objects = "".join(f"<object><name>RBC</name><bndbox><xmin>{a}</xmin><ymin>{b}</ymin><xmax>{c}</xmax><ymax>{d}</ymax>"
                      "</bndbox></object>" for a, b, c, d in boxes)
    return f"<annotation><size><width>{size[0]}</width><height>{size[1]}</height></size>{objects}</annotation>".encode()


def test_voc():
    found = data.parse_voc(voc(((1, 2, 5, 6), (0, 0, 10, 8))), "memory")
    assert found.boxes.tolist() == [[1, 2, 5, 6], [0, 0, 10, 8]] and found.boxes.dtype == np.float32
    assert (found.width, found.height, found.names) == (10, 8, ["RBC", "RBC"])
    assert data.parse_voc(voc(()), "memory").boxes.shape == (0, 4)


@pytest.mark.parametrize("raw, words", [
    (voc(((1, 2, 11, 6),)), "box 1, 2, 11, 6"), (voc(((1, 2, 5, 9),)), "inside 10 x 8"), (voc(((-1, 2, 5, 6),)), "box -1"),
    (voc(((5, 2, 5, 6),)), "box 5, 2, 5, 6"), (voc(((1, 2, "x", 6),)), "'x' as bndbox/xmax"), (voc()[:-3], "damaged XML"),
    (voc(size=("nan", 8)), "'nan' as size/width"), (b"", "damaged XML"), (b"<annotation/>", "None as size/width")])
def test_bad_voc(raw, words):
    refused(data.parse_voc, raw, "file.xml", words=words)


def nuclei(**changed):
    grey = np.dstack([np.full((4, 4, 3), 9, np.uint8), np.full((4, 4), 255, np.uint8)])
    first = np.zeros((4, 4), np.uint8)
    first[:2] = 255
    files = {"t/a/images/a.png": grey, "t/a/masks/1.png": first, "t/a/masks/2.png": 255 - first, **changed}
    return {path: picture(pixels) for path, pixels in files.items()}


def test_nuclei():
    images, masks = scenes.parse_nuclei(nuclei(), "memory")
    assert images.shape == (1, 4, 4) and np.allclose(images, 9 / 255) and masks[0].dtype == bool
    assert masks[0].sum(axis=(1, 2)).tolist() == [8, 8] and np.array_equal(masks[0][0], ~masks[0][1])


@pytest.mark.parametrize("changed, words", [
    ({"t/b/masks/1.png": np.zeros((4, 4), np.uint8)}, "which is missing"),
    ({"t/a/masks/3.png": np.ones((4, 4), np.uint8)}, "overlap"),
    ({"t/a/masks/3.png": np.zeros((3, 4), np.uint8)}, "(3, 4), (4, 4)"),
    ({"t/a/images/a.png": np.ones((4, 4), np.uint8)}, "1 channels"),
    ({"t/b/images/b.png": np.ones((4, 4, 4), np.uint8)}, "shapes []")])
def test_bad_nuclei(changed, words):
    refused(scenes.parse_nuclei, nuclei(**changed), "file", words=words)


@needs("bccd_subset")
def test_real_blood_cells():
    images, boxes, labels = data.load_blood_cells("test")
    assert images.shape == (40, 3, 480, 640) and images.dtype == np.float32 and 0 <= images.min() and images.max() <= 1
    assert np.bincount(np.concatenate(labels)).tolist() == [476, 39, 37] and len(boxes) == 40
    _, boxes, labels = data.load_blood_cells("train")
    assert np.bincount(np.concatenate(labels)).tolist() == [1438, 127, 136] and sum(map(len, boxes)) == 1701


@needs("nuclei_dsb2018_subset")
def test_real_nuclei():
    images, masks = data.load_nuclei()
    assert images.shape == (64, 256, 256) and sum(map(len, masks)) == 1486
    inside = np.stack([m.any(axis=0) for m in masks])
    assert inside.mean() == pytest.approx(0.064093, abs=1e-6)
    for part, grey in ((inside, 68.0428), (~inside, 8.2663)):                # the mean of the images' means
        assert 255 * np.mean([image[m].mean() for image, m in zip(images, part)]) == pytest.approx(grey, abs=1e-3)


# ---------------------------------------------------------------- npz, captions, views

def npz(**arrays):
    memory = io.BytesIO()
    np.savez_compressed(memory, **arrays)
    return memory.getvalue()


def view_arrays(**changed):
    return {"images": np.zeros((2, 3, 4, 3), np.uint8), "alpha": np.full((2, 3, 4), 255, np.uint8),
            "poses": np.stack([np.eye(4, dtype=np.float32)] * 2), "focal": np.float64(5), **changed}


def test_views():
    views = data.parse_views(npz(**view_arrays()), "memory")
    assert views.images.shape == (2, 3, 4, 3) and views.poses.shape == (2, 4, 4)
    assert views.alpha.max() == 1 and views.focal == 5.0


@pytest.mark.parametrize("changed, words", [
    ({"alpha": np.zeros((2, 3, 5), np.uint8)}, "uint8 (2, 3, 5) as alpha, expected uint8 (2, 3, 4)"),
    ({"images": np.zeros((2, 3, 4, 4), np.uint8)}, "(2, 3, 4, 4) as images"), ({"images": np.zeros((2, 3, 4, 3))}, "float64"),
    ({"poses": np.ones((2, 4, 4), np.float32)}, "off a rotation"), ({"focal": np.float64(-1)}, "focal length -1"),
    ({"poses": np.stack([np.eye(4, dtype=np.float32)] * 3)}, "(3, 4, 4) as poses"), ({"alpha": np.array([None])}, "damaged")])
def test_bad_views(changed, words):
    refused(data.parse_views, npz(**view_arrays(**changed)), "file.npz", words=words)


def test_bad_npz():
    raw, expected = npz(a=np.arange(9)), {"a": (np.int64, ("N",))}
    assert packed.unpack_arrays(raw, "memory", expected)["a"].tolist() == list(range(9))
    refused(packed.unpack_arrays, npz(b=np.arange(9)), "file.npz", expected, words="nothing as a")
    for wrong in (b"", raw[:-9], raw[:70] + b"\0\0" + raw[72:], b"\x93NUMPY" + raw):
        refused(packed.unpack_arrays, wrong, "file.npz", expected, words="damaged npz")


def test_emoji_names():
    head = b"codepoint\tcategory\tcaption\tkeywords\n"
    assert scenes.parse_emoji_names(head + b"1F\tfood\ta pear\tgreen,pear", "file") == [("food", "a pear", ["green", "pear"])]
    refused(scenes.parse_emoji_names, head + b"1F\tfood\tred apple", "file.tsv", words="3 columns in line 2")
    refused(scenes.parse_emoji_names, b"a\tb\n1\t2", "file.tsv", words="['a', 'b']")


@needs("emoji_captions")
def test_real_emoji():
    images, names = data.load_emoji()
    assert images.shape == (995, 3, 64, 64) and images.mean(dtype=np.float64) == pytest.approx(0.784715, abs=1e-5)
    counts = np.unique([category for category, _, _ in names], return_counts=True)[1]
    assert counts.tolist() == [137, 337, 206, 105, 210]             # nature, objects, people, places, symbols
    assert len({caption for _, caption, _ in names}) == 995 and names[0][1] == "double exclamation mark"


@needs("nerf_lego")
def test_real_lego():
    views = data.load_lego()
    assert views.images.shape == (100, 100, 100, 3) and views.focal == pytest.approx(138.8889, abs=1e-4)
    assert views.images.mean(dtype=np.float64) == pytest.approx(0.135083, abs=1e-6)
    assert views.alpha.mean(dtype=np.float64) == pytest.approx(0.303645, abs=1e-6)
    assert np.linalg.norm(views.poses[:, :3, 3], axis=1) == pytest.approx(np.full(100, 4.03113), abs=1e-4)


# ---------------------------------------------------------------- tables

HEAD = b"Date,AAPL.Open,AAPL.High,AAPL.Low,AAPL.Close,dn\n"


def test_prices():
    days, prices = data.parse_prices(HEAD + b"2015-02-17,2,4,1,3,0\r\n2015-02-18,3,3,3,3,0\r\n", "memory")
    assert prices.tolist() == [[2, 4, 1, 3], [3, 3, 3, 3]] and [day.day for day in days] == [17, 18]
    assert data.parse_csv(b'a,b\n"1,5",2\n', "memory") == {"a": ["1,5"], "b": ["2"]}


@pytest.mark.parametrize("raw, words", [
    (b"", "header []"), (b"a,a\n", "['a', 'a']"), (HEAD[5:], "['Date']"),
    (HEAD + b"2015-02-17,2,4,1,3\n", "5 columns in row 2"), (HEAD + b"2015-02-17,2,4,1,x,0\n", "'x'"),
    (HEAD + b"2015-02-17,2,4,1,nan,0\n", "nan"), (HEAD + b"17.2.15,2,4,1,3,0\n", "17.2.15"),
    (HEAD + b"2015-02-17,2,4,1,5,0\n", "[2.0, 4.0, 1.0, 5.0] on 2015-02-17"), (HEAD + b'"2015,1\n', "quotes"),
    (HEAD + b"2015-02-17,2,4,1,3,0\n" * 2, "rising")])
def test_bad_prices(raw, words):
    refused(data.parse_prices, raw, "file.csv", words=words)


@needs("apple_stock")
def test_real_apple():
    days, prices = data.load_apple()
    assert len(days) == len(prices) == 506 and (days[0].isoformat(), days[-1].isoformat()) == ("2015-02-17", "2017-02-16")
    close = prices[:, 3]
    assert (close.min(), close.max()) == (90.339996, 135.509995) and close.mean() == pytest.approx(112.9583, abs=1e-4)
    assert np.sqrt(np.mean(np.diff(close) ** 2)) == pytest.approx(1.6961, abs=1e-4)


# ---------------------------------------------------------------- one flipped byte

SETS = {"apple_stock": (table.APPLE, data.load_apple), "nerf_lego": (scenes.LEGO, data.load_lego),
        "fsdd_subset": (sound.FSDD, lambda f: data.load_spoken_digits("test", f)),
        "jsb_chorales": (sound.QUARTERS, lambda f: data.load_chorales("test", folder=f)),
        "bccd_subset": (scenes.BCCD, lambda f: data.load_blood_cells("test", f)),
        "nuclei_dsb2018_subset": (scenes.NUCLEI, data.load_nuclei), "emoji_captions": (scenes.EMOJI, data.load_emoji)}


@pytest.mark.parametrize("folder", SETS)
def test_one_flipped_byte_is_found(folder, tmp_path):
    if not REAL or not (Path(REAL) / folder).is_dir():
        pytest.skip(f"TINYGRAD_EDU_DATA has no {folder}")
    file, load = SETS[folder]
    raw = bytearray((Path(REAL) / folder / file.name).read_bytes())
    raw[len(raw) // 2] ^= 4
    (tmp_path / file.name).write_bytes(raw)
    with pytest.raises(DataError, match=f"{file.name}: got sha256 .* expected"):
        load(tmp_path)
