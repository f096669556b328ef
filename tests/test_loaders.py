"""Real formats: every byte accounted for, bad ones refused by name; the real files where TINYGRAD_EDU_DATA names them."""
import gzip
import hashlib
import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, strategies as st

from bad_files import needs, refused
from tinygrad_edu import data
from tinygrad_edu.data import DataError, MissingDataError
from tinygrad_edu.data.load import cifar10, packed, text


@pytest.fixture
def own_files(tmp_path, monkeypatch):
    """A function that puts bytes into a folder under a DataFile's name and makes their sum the expected one."""
    monkeypatch.delenv("TINYGRAD_EDU_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))

    def put(module, name, raw, key=None):
        table = vars(module)[name]
        file = replace(table if key is None else table[key], size=len(raw), sha256=hashlib.sha256(raw).hexdigest())
        monkeypatch.setattr(module, name, file if key is None else {**table, key: file})
        (tmp_path / file.name).write_bytes(raw)
        return tmp_path
    return put


def zipped(files):
    memory = io.BytesIO()
    with zipfile.ZipFile(memory, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return memory.getvalue()


def flip(raw, position):
    return raw[:position] + bytes([raw[position] ^ 1]) + raw[position + 1:]


# ---------------------------------------------------------------- CIFAR-10

def records(labels, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (len(labels), 3, 32, 32), np.uint8)
    return b"".join(bytes([label]) + picture.tobytes() for label, picture in zip(labels, pixels)), pixels


def tar(files, mode="w:gz"):
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode=mode) as archive:
        for name, content in files.items():
            entry = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    return memory.getvalue()


@given(labels=st.lists(st.integers(0, 9), min_size=1, max_size=4), seed=st.integers(0, 9))
def test_cifar10_round_trip(labels, seed):
    raw, pixels = records(labels, seed)
    images, found = data.parse_cifar10(raw, "memory")
    assert np.array_equal(images, pixels) and images.dtype == np.uint8 and images.flags.writeable
    assert found.tolist() == labels and found.dtype == np.int64


@pytest.mark.parametrize("raw, words", [
    (b"", "got 0 bytes"), (records([1, 2])[0][:-1], "got 6145 bytes"), (records([1])[0] + b"\0", "multiple of 3073"),
    (b"\1" + bytes(1024), "got 1025 bytes"), (records([3, 10])[0], "got label 10 in record 1")],
    ids=["empty", "truncated", "trailing", "one channel", "label"])
def test_bad_cifar10(tmp_path, raw, words):
    path = tmp_path / "data_batch_1.bin"
    path.write_bytes(raw)
    assert str(path) in refused(data.read_cifar10, path, words=words)


def test_cifar10_from_the_subset_and_from_the_archive(own_files):
    raw, pixels = records([4, 2, 9])
    folder = own_files(cifar10, "SUBSET", raw, "test")
    images, labels = data.load_cifar10("test", folder)
    assert np.array_equal(images, pixels.astype(np.float32) / 255) and images.dtype == np.float32
    assert labels.tolist() == [4, 2, 9]

    parts = [records([i], seed=i) for i in range(5)]
    names = cifar10.MEMBERS["train"] + cifar10.MEMBERS["test"]
    archive = tar(dict(zip(names, [part for part, _ in parts] + [records([7, 7])[0]])))
    own_files(cifar10, "ARCHIVE", archive)
    images, labels = data.load_cifar10("train", folder)
    assert labels.tolist() == [0, 1, 2, 3, 4]
    assert np.array_equal(images[4], parts[4][1][0].astype(np.float32) / 255)
    assert data.load_cifar10("test", folder)[1].tolist() == [7, 7]                      # the archive is the whole set


@pytest.mark.parametrize("raw, words", [
    (tar({"data_batch_1.bin": b""}), "no data_batch_2.bin"), (tar({}, "w"), "damaged archive"),
    (tar({"test_batch.bin": bytes(9000)})[:-30], "damaged archive"), (gzip.compress(bytes(100)), "damaged archive")],
    ids=["member missing", "no gzip", "truncated", "no tar"])
def test_bad_cifar10_archive(own_files, raw, words):
    folder = own_files(cifar10, "ARCHIVE", raw)
    refused(data.load_cifar10, "train", folder, words=words)


def test_cifar10_flipped_byte_and_missing_file(own_files):
    raw = records([1, 2])[0]
    folder = own_files(cifar10, "SUBSET", raw, "train")
    (folder / "data_batch_1.bin").write_bytes(flip(raw, 700))
    assert "data_batch_1.bin" in refused(data.load_cifar10, "train", folder, words="sha256")
    refused(data.load_cifar10, "valid", folder, words="'valid'")
    with pytest.raises(MissingDataError, match="download=True"):
        data.load_cifar10("test", folder)


@needs("cifar10_subset")
def test_real_cifar10():
    images, labels = data.load_cifar10("train")
    assert images.shape == (4000, 3, 32, 32) and labels[:10].tolist() == [6, 9, 9, 4, 1, 1, 2, 7, 8, 3]
    assert np.bincount(labels).tolist() == [396, 366, 420, 384, 422, 393, 414, 385, 407, 413]
    assert images.mean((0, 2, 3), np.float64) == pytest.approx([0.4916, 0.48176, 0.44466], abs=1e-5)
    assert images.std((0, 2, 3), np.float64) == pytest.approx([0.24711, 0.24397, 0.2625], abs=1e-5)
    images, labels = data.load_cifar10("test")
    assert images.shape == (1000, 3, 32, 32) and labels[:10].tolist() == [3, 8, 8, 0, 6, 6, 1, 6, 3, 1]
    assert np.bincount(labels).tolist() == [103, 89, 100, 103, 90, 86, 112, 102, 106, 109]


# ---------------------------------------------------------------- text

def test_read_text(tmp_path):
    (tmp_path / "a.txt").write_bytes("d\u00e9j\u00e0\r\nvu\n".encode())
    assert data.read_text(tmp_path / "a.txt") == "d\u00e9j\u00e0\r\nvu\n"
    (tmp_path / "a.txt").write_bytes("d\u00e9j\u00e0".encode("latin-1"))
    assert "a.txt" in refused(data.read_text, tmp_path / "a.txt", words="0xe9 at 1")


@given(st.lists(st.text(st.characters(exclude_characters="\n", codec="utf-8")).filter(str.strip), min_size=1))
def test_lines_and_pairs_round_trip(lines):
    assert data.parse_lines("\n".join(lines).encode(), "memory") == lines
    assert data.parse_lines("\n".join([*lines, ""]).encode(), "memory") == lines
    flat = [line.replace("\t", " ") for line in lines]
    raw = "\n".join(f"{line}\t{line[::-1]}" + "\tby me" * (len(line) % 2) for line in flat).encode()
    assert data.parse_pairs(raw, "memory") == [(line, line[::-1]) for line in flat]


@pytest.mark.parametrize("parse, raw, words", [
    (data.parse_lines, b"", "line 1"), (data.parse_lines, b"a\n\nb\n", "line 2"), (data.parse_lines, b"a\n\xff", "0xff at 2"),
    (data.parse_pairs, b"go\tva\nstop\n", "1 columns in line 2"), (data.parse_pairs, b"go\t\n", "line 1"),
    (data.parse_pairs, b"a\tb\tc\td\n", "4 columns"), (text.parse_recipe, "# Soup", "'# Soup'"),
    (text.parse_recipe, "---\ndate: 1\n---\ntext", "one title"), (text.parse_recipe, "---\ntitle: a\ntext", "'---"),
    (text.parse_recipe, "", "''")])
def test_bad_text(parse, raw, words):
    assert refused(parse, raw, "file.txt", words=words).startswith("file.txt: ")


def test_recipe():
    page = '---\ntitle: "Soup"\ndate: 2021\n---\n\nBoil. --- Eat.\n'
    assert text.parse_recipe(page, "soup.md") == ("Soup", "Boil. --- Eat.")


COOKED = {"content/a.md": "---\ntitle: A\n---\nb", "LICENSE.md": "free"}
LOADERS = {"SHAKESPEARE": (data.load_shakespeare, b"To be\n", "To be\n"),
           "NAMES": (data.load_names, b"ann\nbob", ["ann", "bob"]),
           "RECIPES": (data.load_recipes, zipped(COOKED), [("A", "b")]),
           "FRENCH": (data.load_french, zipped({"fra.txt": "Go.\tVa !\n"}), [("Go.", "Va !")])}


@pytest.mark.parametrize("name", LOADERS)
def test_text_sets(own_files, name):
    load, raw, expected = LOADERS[name]
    folder = own_files(text, name, raw)
    assert load(folder) == expected
    path = folder / vars(text)[name].name
    for wrong, words in ((flip(raw, 3), "sha256"), (raw[:-1], "bytes")):
        path.write_bytes(wrong)
        assert str(path) in refused(load, folder, words=words)
    path.unlink()
    with pytest.raises(MissingDataError) as error:
        load(folder)
    assert str(folder) in str(error.value) and vars(text)[name].address in str(error.value)


def test_moods(own_files):
    moods = {f"sentence_polarity/rt-polarity.{mood}": f"{mood} 1\n{mood} 2\n" for mood in ("neg", "pos")}
    folder = own_files(text, "POLARITY", zipped(moods))
    sentences, labels = data.load_polarity(folder)
    assert sentences == ["pos 1", "pos 2", "neg 1", "neg 2"] and labels.tolist() == [1, 1, 0, 0] and labels.dtype == np.int64
    own_files(text, "POLARITY", zipped({"sentence_polarity/rt-polarity.pos": "good"}))
    refused(data.load_polarity, folder, words="no sentence_polarity/rt-polarity.neg")

    own_files(text, "REVIEWS", zipped({"movie_reviews/neg/a.txt": "bad", "movie_reviews/pos/b.txt": b"caf\xe9", "README": ""}))
    reviews, labels = data.load_reviews(folder)
    assert reviews == ["caf\u00e9", "bad"] and labels.tolist() == [1, 0]


def test_bad_zip():
    raw = zipped({"a.txt": bytes(range(256)) * 4})
    for wrong in (b"", b"PK", raw[:-5], flip(raw, 60), b"\x1f\x8b" + raw):
        try:
            assert packed.unzip(wrong, "file.zip") == {"a.txt": bytes(range(256)) * 4}     # junk before a zip is allowed
        except DataError as error:
            assert str(error).startswith("file.zip: got a damaged zip file, expected")
    refused(packed.unzip, flip(raw, 60), "file.zip", words="damaged")


@given(cut=st.integers(0, 200), bit=st.integers(0, 7))
def test_unzip_never_fails_in_another_way(cut, bit):
    raw = bytearray(zipped({"a.txt": b"hello", "b/c.txt": bytes(50)}))
    raw[cut % len(raw)] ^= 1 << bit
    for wrong in (bytes(raw), bytes(raw[:cut])):
        try:
            packed.unzip(wrong, "junk")
        except DataError as error:
            assert str(error).startswith("junk: ")


@needs("tiny_shakespeare")
def test_real_shakespeare():
    play = data.load_shakespeare()
    assert len(play) == 1115394 and len(set(play)) == 65 and play.startswith("First Citizen:") and play.count("\n") == 40000
    counts = np.unique(list(play), return_counts=True)[1] / len(play)
    assert -(counts * np.log2(counts)).sum() == pytest.approx(4.7794, abs=1e-4)


@needs("names")
def test_real_names():
    names = data.load_names()
    assert len(names) == 32033 and names[:3] == ["emma", "olivia", "ava"] and {len(n) for n in names} == set(range(2, 16))
    assert set("".join(names)) == set("abcdefghijklmnopqrstuvwxyz")
    codes = np.array([[ord(c) - 96 for c in pair] for n in names for pair in zip(" " + n, n + " ")]).clip(0)   # blank: 0
    counts = np.zeros((27, 27))
    np.add.at(counts, tuple(codes.T), 1)
    model = (counts + 1) / (counts + 1).sum(axis=1, keepdims=True)
    assert counts.sum() == 228146 and -(counts * np.log(model)).sum() / counts.sum() == pytest.approx(2.4546, abs=1e-4)


@needs("recipes")
def test_real_recipes():
    recipes = data.load_recipes()
    assert len(recipes) == 384 and recipes[3][0] == "Aljotta"
    assert [sum(f"## {part}" in body for _, body in recipes) for part in ("Ingredients", "Directions")] == [384, 382]


@needs("fra_eng_subset")
def test_real_french():
    pairs = data.load_french()
    assert len(pairs) == 79778 and len({english for english, _ in pairs}) == 51885
    assert pairs[0] == ("Go.", "Va !") and pairs[-1][0] == "Please say hello to your wife."
    assert np.mean([len(french.split()) for _, french in pairs]) == pytest.approx(5.163, abs=1e-3)


@needs("sentence_polarity")
def test_real_polarity():
    sentences, labels = data.load_polarity()
    assert len(sentences) == 10662 and labels.tolist() == [1] * 5331 + [0] * 5331
    assert sentences[0].startswith("the rock is destined")


@needs("movie_reviews_subset")
def test_real_reviews():
    reviews, labels = data.load_reviews()
    assert len(reviews) == 500 and labels.sum() == 250 and sum(map(len, reviews)) == 1849322
