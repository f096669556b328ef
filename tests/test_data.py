"""The data: the right bytes or a clear refusal; batches that lose nothing."""
import gzip
import hashlib
import io
import os
import struct
import urllib.request
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings, strategies as st
from hypothesis.extra import numpy as hnp

from tinygrad_edu import backend, data
from tinygrad_edu.data import DataError, MissingDataError, digits, store
from tinygrad_edu.data.load import idx as idx_format
from tinygrad_edu.tensor import Tensor

REAL = os.environ.get("TINYGRAD_EDU_DATA")
needs_mnist = pytest.mark.skipif(not REAL or not (Path(REAL) / "mnist").is_dir(),
                                 reason="TINYGRAD_EDU_DATA has no mnist")
needs_fashion = pytest.mark.skipif(not REAL or not (Path(REAL) / "fashion_mnist").is_dir(),
                                   reason="TINYGRAD_EDU_DATA has no fashion_mnist")


@pytest.fixture(autouse=True)
def seed():
    backend.manual_seed(0)


def idx(array):
    """The IDX bytes of an array."""
    code = next(code for code, dtype in idx_format.IDX_TYPES.items() if dtype == array.dtype.newbyteorder(">"))
    header = bytes([0, 0, code, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


def message(error):
    text = str(error.value)
    assert "\n" not in text and "got" in text and "expected" in text
    return text


# ---------------------------------------------------------------- digits

def test_digits_split():
    images, labels = data.load_digits("train")
    test_images, test_labels = data.load_digits("test")
    all_images, all_labels = data.load_digits("all")

    assert images.shape == (1437, 8, 8) and test_images.shape == (360, 8, 8)
    assert images.dtype == np.float32 and labels.dtype == np.int64
    assert images.min() == 0 and images.max() == 1
    assert np.array_equal(all_images, np.concatenate([images, test_images]))
    assert np.array_equal(all_labels, np.concatenate([labels, test_labels]))
    assert np.bincount(all_labels).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_digits_hold_every_image_once():
    with np.load(digits.FILE, allow_pickle=False) as file:
        raw = sorted(zip(file["labels"].tolist(), map(bytes, file["images"])))
    images, labels = data.load_digits("all")
    assert sorted(zip(labels.tolist(), map(bytes, data.levels(images).astype(np.uint8)))) == raw


def test_digits_equal_scikit_learn():
    datasets = pytest.importorskip("sklearn.datasets")
    from sklearn.model_selection import train_test_split
    raw = datasets.load_digits()
    train, test, train_labels, test_labels = train_test_split(raw.images, raw.target, test_size=360, random_state=0)

    for split, (images, labels) in {"train": (train, train_labels), "test": (test, test_labels)}.items():
        ours = data.load_digits(split)
        assert np.array_equal(ours[0] * 16, images) and np.array_equal(ours[1], labels)


def test_digits_pca_errors_are_those_of_the_docstring():
    train, test = (data.load_digits(split)[0].reshape(-1, 64).astype(np.float64) for split in ("train", "test"))
    mean = train.mean(axis=0)
    directions = np.linalg.svd(train - mean, full_matrices=False)[2]
    errors = []
    for k in (2, 3, 8, 16, 32):
        lost = (test - mean) - (test - mean) @ directions[:k].T @ directions[:k]
        errors.append((lost * lost).mean())
    assert np.round(errors, 4).tolist() == [0.0546, 0.0460, 0.0253, 0.0120, 0.0027]


def test_levels_and_binarize():
    images = np.arange(17, dtype=np.float32) / 16
    assert data.levels(images).tolist() == list(range(17)) and data.levels(images).dtype == np.int64
    assert data.binarize(images).tolist() == [0.0] * 8 + [1.0] * 9 and data.binarize(images).dtype == np.float32


def test_digits_refuse_a_flipped_byte(tmp_path, monkeypatch):
    damaged = bytearray(digits.FILE.read_bytes())
    damaged[20_000] ^= 1
    monkeypatch.setattr(digits, "FILE", tmp_path / "digits.npz")
    digits.FILE.write_bytes(damaged)
    with pytest.raises(DataError, match="sha256") as error:
        data.load_digits()
    assert str(digits.FILE) in message(error)


def test_digits_unknown_split():
    with pytest.raises(DataError, match="'valid'") as error:
        data.load_digits("valid")
    message(error)


# ---------------------------------------------------------------- IDX

@settings(max_examples=60)
@given(array=hnp.arrays(st.sampled_from([np.uint8, np.int8, np.int16, np.int32, np.float32, np.float64]),
                        hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=5)), packed=st.booleans())
def test_idx_round_trip(array, packed):
    raw = idx(array)
    back = data.parse_idx(gzip.compress(raw) if packed else raw, "memory")
    assert back.dtype == array.dtype and back.shape == array.shape and back.tobytes() == array.tobytes()
    assert back.flags.writeable


@given(array=hnp.arrays(np.int16, hnp.array_shapes(max_dims=3, max_side=4)), extra=st.binary(min_size=1, max_size=5),
       cut=st.data())
def test_idx_accounts_for_every_byte(array, extra, cut):
    raw = idx(array)
    for wrong in (raw + extra, raw[:cut.draw(st.integers(0, len(raw) - 1))]):
        with pytest.raises(DataError) as error:
            data.parse_idx(wrong, "file.idx")
        assert message(error).startswith("file.idx: ")


@given(st.binary(max_size=40))
def test_idx_never_fails_in_another_way(junk):
    for raw in (junk, b"\0\0\x08" + junk, b"\x1f\x8b" + junk, gzip.compress(b"\0\0" + junk)):
        try:
            data.parse_idx(raw, "junk")
        except DataError as error:
            assert "\n" not in str(error)


def test_read_idx_from_files(tmp_path):
    array = np.arange(24, dtype=np.int32).reshape(2, 3, 4)
    (tmp_path / "plain").write_bytes(idx(array))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(idx(array)))
    assert np.array_equal(data.read_idx(tmp_path / "plain"), array)
    assert np.array_equal(data.read_idx(str(tmp_path / "packed.gz")), array)


BAD_IDX = {"empty": (b"", "nothing"), "magic": (b"\1\0\x08\1\0\0\0\0", "01000801"),
           "type": (b"\0\0\x0a\1\0\0\0\0", "00000a01"),
           "header": (b"\0\0\x08\3\0\0\0\1", "header of 16"), "short": (b"\0\0\x08\1\0\0\0\5abcd", "expected 13"),
           "trailing": (b"\0\0\x08\1\0\0\0\3abcd", "got 12 bytes, expected 11"),
           "huge": (b"\0\0\x0e\2\xff\xff\xff\xff\xff\xff\xff\xff", "expected 1475739525"),
           "axes": (b"\0\0\x08\x41" + b"\0\0\0\1" * 65 + b"a", "NumPy"),
           "gzip cut": (gzip.compress(bytes(range(200)))[:-20], "gzip"),
           "gzip crc": (gzip.compress(b"\0\0\x08\1\0\0\0\1a")[:-8] + bytes(8), "gzip"),
           "gzip stream": (gzip.compress(b"\0\0")[:10] + b"\xff" * 20, "gzip"),
           "gzip trailing": (gzip.compress(b"\0\0\x08\1\0\0\0\1a") + b"more", "gzip")}


@pytest.mark.parametrize("raw, words", BAD_IDX.values(), ids=BAD_IDX)
def test_bad_idx_bytes(tmp_path, raw, words):
    path = tmp_path / "bad-idx"
    path.write_bytes(raw)
    with pytest.raises(DataError) as error:
        data.read_idx(path)
    assert str(path) in message(error) and words in message(error)


# ---------------------------------------------------------------- finding, checking, downloading

@pytest.fixture
def small_mnist(tmp_path, monkeypatch):
    """A data set of five 28 x 28 images under MNIST's names; returns a function that writes the pair into a folder."""
    rng = np.random.default_rng(3)
    arrays = {"images": rng.integers(0, 256, (5, 28, 28), np.uint8), "labels": np.array([3, 1, 4, 1, 9], np.uint8)}
    monkeypatch.delenv("TINYGRAD_EDU_DATA", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    names = ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz")

    def write(folder, **changed):
        raw = [gzip.compress(idx({**arrays, **changed}[kind]), mtime=0) for kind in ("images", "labels")]
        sums = tuple((len(r), hashlib.sha256(r).hexdigest()) for r in raw)
        monkeypatch.setitem(idx_format.MNIST_SUMS, "test", sums)
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            for name, r in zip(names, raw):
                (folder / name).write_bytes(r)
        return dict(zip(names, raw))

    write.arrays, write.names, write.cache = arrays, names, tmp_path / "cache" / "tinygrad_edu" / "mnist"
    return write


def check_small(images, labels, write):
    assert np.array_equal(images, write.arrays["images"].astype(np.float32) / 255) and images.dtype == np.float32
    assert labels.tolist() == [3, 1, 4, 1, 9] and labels.dtype == np.int64


def test_found_in_folder_environment_and_cache(tmp_path, monkeypatch, small_mnist):
    small_mnist(tmp_path / "direct")
    check_small(*data.load_mnist("test", folder=tmp_path / "direct"), small_mnist)
    small_mnist(tmp_path / "parent" / "mnist")
    check_small(*data.load_mnist("test", folder=str(tmp_path / "parent")), small_mnist)

    with pytest.raises(MissingDataError):
        data.load_mnist("test")
    monkeypatch.setenv("TINYGRAD_EDU_DATA", str(tmp_path / "parent"))
    check_small(*data.load_mnist("test"), small_mnist)

    monkeypatch.delenv("TINYGRAD_EDU_DATA")
    small_mnist(small_mnist.cache)
    check_small(*data.load_mnist("test"), small_mnist)
    check_small(*data.load_mnist("test", folder=tmp_path / "empty"), small_mnist)       # not there: the cache


def test_missing_file_says_what_to_do(tmp_path, small_mnist):
    with pytest.raises(FileNotFoundError) as error:
        data.load_fashion_mnist("train", folder=tmp_path)
    text = str(error.value)
    assert isinstance(error.value, DataError) and "\n" not in text
    assert "train-images-idx3-ubyte.gz" in text and str(tmp_path / "fashion_mnist") in text
    assert idx_format.FASHION_ADDRESS + "train-images-idx3-ubyte.gz" in text


def test_flipped_byte_truncation_and_other_labels(tmp_path, small_mnist):
    raw = small_mnist(tmp_path)
    labels = tmp_path / small_mnist.names[1]
    flipped = bytearray(raw[labels.name])
    flipped[-9] ^= 4
    other = gzip.compress(idx(np.array([3, 1, 4, 9, 1], np.uint8)), mtime=0)

    for wrong, words in ((bytes(flipped), "sha256"), (raw[labels.name][:-3], "bytes"), (other, "got")):
        labels.write_bytes(wrong)
        with pytest.raises(DataError, match=words) as error:
            data.load_mnist("test", folder=tmp_path)
        assert str(labels) in message(error)


@pytest.mark.parametrize("changed", [
    {"labels": np.arange(4, dtype=np.uint8)}, {"labels": np.array([3, 1, 4, 1, 10], np.uint8)},
    {"labels": np.zeros((5, 1), np.uint8)}, {"images": np.zeros((5, 784), np.uint8)},
    {"labels": np.zeros(5, np.int32)}])
def test_images_and_labels_must_fit(tmp_path, small_mnist, changed):
    small_mnist(tmp_path, **changed)
    with pytest.raises(DataError) as error:
        data.load_mnist("test", folder=tmp_path)
    message(error)


def test_unknown_split():
    with pytest.raises(DataError, match="'t10k'") as error:
        data.load_mnist("t10k")
    message(error)


def test_download_is_checked_before_it_gets_its_name(small_mnist, monkeypatch):
    raw, asked = small_mnist(None), []

    def answer(address, timeout):
        asked.append(address)
        return io.BytesIO(raw[address.rsplit("/", 1)[1]])
    monkeypatch.setattr(urllib.request, "urlopen", answer)
    check_small(*data.load_mnist("test", download=True), small_mnist)
    check_small(*data.load_mnist("test", download=True), small_mnist)                   # now from the cache
    assert asked == [idx_format.MNIST_ADDRESS + name for name in small_mnist.names]
    assert sorted(p.name for p in small_mnist.cache.iterdir()) == sorted(small_mnist.names)


@pytest.mark.parametrize("change", [lambda raw: b"<html>" * 10_000, lambda raw: raw + b"0",
                                    lambda raw: raw[:-1], lambda raw: raw[:-1] + b"1"])
def test_wrong_download_leaves_nothing(small_mnist, monkeypatch, change):
    raw = small_mnist(None)[small_mnist.names[0]]
    monkeypatch.setattr(urllib.request, "urlopen", lambda address, timeout: io.BytesIO(change(raw)))
    with pytest.raises(DataError, match="https://") as error:
        data.load_mnist("test", download=True)
    message(error)
    assert list(small_mnist.cache.iterdir()) == []


def test_no_network(small_mnist, monkeypatch):
    small_mnist(None)

    def refuse(address, timeout):
        raise urllib.error.URLError("no route to host")
    monkeypatch.setattr(urllib.request, "urlopen", refuse)
    with pytest.raises(DataError, match="no route to host"):
        data.load_mnist("test", download=True)


def test_default_cache_folder(monkeypatch, tmp_path):
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr(Path, "home", lambda: tmp_path)
    assert store.cache_folder() == tmp_path / ".cache" / "tinygrad_edu"


@needs_mnist
def test_real_mnist():
    images, labels = data.load_mnist("train")
    assert images.shape == (60000, 28, 28) and images.dtype == np.float32 and images.max() == 1
    assert labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]
    assert images.mean(dtype=np.float64) == pytest.approx(0.13066, abs=1e-5)
    assert np.bincount(labels).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    images, labels = data.load_mnist("test")
    assert images.shape == (10000, 28, 28) and labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]


@needs_mnist
def test_real_mnist_with_one_flipped_byte(tmp_path):
    for name in ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"):
        (tmp_path / name).write_bytes((Path(REAL) / "mnist" / name).read_bytes())
    damaged = bytearray((tmp_path / name).read_bytes())
    damaged[2000] ^= 16
    (tmp_path / name).write_bytes(damaged)
    with pytest.raises(DataError, match="sha256"):
        data.load_mnist("test", folder=tmp_path)


@needs_fashion
def test_real_fashion_mnist():
    images, labels = data.load_fashion_mnist("test")
    assert images.shape == (10000, 28, 28) and labels[:10].tolist() == [9, 2, 1, 1, 6, 1, 4, 6, 5, 7]
    assert images.mean(dtype=np.float64) == pytest.approx(0.2868, abs=1e-4)
    images, labels = data.load_fashion_mnist("train")
    assert np.bincount(labels).tolist() == [6000] * 10 and labels[:5].tolist() == [9, 0, 0, 3, 0]


# ---------------------------------------------------------------- batches

@given(rows=st.integers(0, 40), batch_size=st.integers(1, 50), shuffle=st.booleans(), drop_last=st.booleans(),
       seed=st.none() | st.integers(0, 5))
def test_batches_give_every_item_once(rows, batch_size, shuffle, drop_last, seed):
    x, y = np.arange(rows * 3, dtype=np.float32).reshape(rows, 3), np.arange(rows)
    got = list(data.batches(x, y, batch_size=batch_size, shuffle=shuffle, drop_last=drop_last, seed=seed))

    sizes = [len(batch) for batch, _ in got]
    left = rows % batch_size
    assert sizes == [batch_size] * (rows // batch_size) + [left] * (left > 0 and not drop_last)
    assert all(isinstance(t, Tensor) for pair in got for t in pair)
    assert all(b.data.dtype == np.float32 and i.data.dtype == y.dtype for b, i in got)
    assert all(np.array_equal(b.data, x[i.data]) for b, i in got)                       # rows stay together

    seen = [int(i) for _, chosen in got for i in chosen.data]
    assert len(set(seen)) == len(seen) == sum(sizes)
    if not shuffle:
        assert seen == list(range(len(seen)))


def test_one_array_gives_tensors():
    (batch,) = data.batches(np.ones((3, 2)), batch_size=10)
    assert isinstance(batch, Tensor) and batch.shape == (3, 2) and batch.data.dtype == np.float64
    assert list(data.batches(np.zeros((0, 2)), batch_size=4)) == []


def walk(**settings):
    return np.concatenate([t.data for t in data.batches(np.arange(100), batch_size=7, **settings)]).tolist()


def test_order_comes_from_the_library_or_from_the_seed():
    first, second = walk(), walk()
    assert first != second and first != list(range(100))
    backend.manual_seed(0)
    assert walk() == first

    assert walk(seed=5) == walk(seed=5) != walk(seed=6)
    backend.manual_seed(0)
    walk(seed=5)                                                # leaves the library's generator alone
    assert walk() == first


def test_batches_do_not_alias_the_data():
    x = np.zeros((4, 2))
    (batch,) = data.batches(x, batch_size=4, shuffle=False)
    batch.data[...] = 1
    assert x.sum() == 0


def test_batches_take_tensors_and_lists():
    (x, y), = data.batches(Tensor(np.ones((2, 2), np.float32)), [4, 4], batch_size=2)
    assert x.shape == (2, 2) and y.data.tolist() == [4, 4]


@pytest.mark.parametrize("arrays, settings, words", [
    ((np.zeros(3), np.zeros(4)), {}, r"\[3, 4\]"), ((), {}, "shapes"), ((np.float64(1),), {}, "shapes"),
    ((np.zeros(3),), {"batch_size": 0}, "batch_size 0")])
def test_batches_refuse_at_once(arrays, settings, words):
    with pytest.raises(ValueError, match=words) as error:
        data.batches(*arrays, **{"batch_size": 2, **settings})
    message(error)
