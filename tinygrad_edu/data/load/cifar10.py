"""CIFAR-10 and its binary format: small colour photographs of ten things.

A file is a row of records without a header. A record is one byte for the label and 3,072 for the picture: 1,024 red ones,
1,024 green, 1,024 blue, each 32 rows of 32 pixels. Krizhevsky 2009, Learning multiple layers of features from tiny images.
"""
import io
import tarfile
import zlib
from pathlib import Path

import numpy as np

from ..store import DataError, DataFile, check_split, find_file, read_checked

CIFAR10_CLASSES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")
SHAPE = (3, 32, 32)
RECORD = 1 + 3 * 32 * 32

ADDRESS = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
ARCHIVE = DataFile("cifar10", "cifar-10-binary.tar.gz", 170052171,
                   "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd", ADDRESS)
MEMBERS = {"train": [f"data_batch_{i}.bin" for i in range(1, 6)], "test": ["test_batch.bin"]}
SUBSET = {"train": DataFile("cifar10_subset", "data_batch_1.bin", 12292000,
                            "0993cf8b8e43bc207603aef9787006995746513f5e3fa5a52e06d1b069926330", ADDRESS, derived=True),
          "test": DataFile("cifar10_subset", "test_batch.bin", 3073000,
                           "8314c96d7cd65618193bab23acdd5d4c4af15bf6dd00a1781d55beedf3be1ef5", ADDRESS, derived=True)}


def load_cifar10(split="train", folder=None, download=False):
    """Images float32 (N, 3, 32, 32) in [0, 1] and labels int64 (N,), classes in the order of CIFAR10_CLASSES.

    The whole set, N = 50,000 ("train") or 10,000 ("test"), where the published archive is found in the folder "cifar10";
    else its first 4,000 and 1,000 pictures from the folder "cifar10_subset". download=True fetches the archive, 170 MB.
    """
    check_split("cifar10", split, SUBSET)
    if find_file(ARCHIVE, folder) is None and find_file(SUBSET[split], folder) is not None:
        images, labels = parse_cifar10(*read_checked(SUBSET[split], folder))
    else:
        images, labels = _parse_archive(*read_checked(ARCHIVE, folder, download), MEMBERS[split])
    return images.astype(np.float32) / 255, labels


def read_cifar10(path):
    """Images uint8 (N, 3, 32, 32) and labels int64 (N,) of one .bin file. Raises DataError unless every byte fits."""
    return parse_cifar10(Path(path).read_bytes(), path)


def parse_cifar10(data, name):
    """As read_cifar10, from the bytes of a file; `name` is for the error messages."""
    if not data or len(data) % RECORD:
        raise DataError(f"{name}: got {len(data)} bytes, expected a multiple of {RECORD}: a label and 3 x 32 x 32 pixels")
    records = np.frombuffer(data, np.uint8).reshape(-1, RECORD)
    labels, pixels = records[:, 0], records[:, 1:]
    if labels.max() > 9:
        raise DataError(f"{name}: got label {labels.max()} in record {labels.argmax()}, expected 0..9")
    return pixels.reshape(-1, *SHAPE).copy(), labels.astype(np.int64)


def _parse_archive(data, name, members):
    """The images and labels of several files of a .tar.gz, one after the other."""
    try:
        with tarfile.open(fileobj=io.BytesIO(data), mode="r:gz") as archive:
            files = {Path(entry.name).name: archive.extractfile(entry).read() for entry in archive if entry.isfile()}
    except (tarfile.TarError, EOFError, OSError, zlib.error) as error:
        raise DataError(f"{name}: got a damaged archive, expected a complete .tar.gz: {error}") from error
    if missing := sorted(set(members) - set(files)):
        raise DataError(f"{name}: got no {missing[0]} in the archive, expected {len(members)} files such as this")

    parts = [parse_cifar10(files[member], f"{name}/{member}") for member in members]
    images, labels = zip(*parts)
    return np.concatenate(images), np.concatenate(labels)
