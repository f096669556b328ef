"""MNIST and Fashion-MNIST, and the IDX format that they come in.

IDX (LeCun, Cortes, Burges 1998): two zero bytes, one byte for the type, one for the number of axes, then one big-endian
uint32 for each axis, then the numbers, big-endian, last axis fastest. A file may be compressed with gzip.
"""
import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from ..store import DataError, DataFile, check_split, read_checked

GZIP_MAGIC = b"\x1f\x8b"
IDX_TYPES = {code: np.dtype(name) for code, name in
             ((0x08, "u1"), (0x09, "i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8"))}

MNIST_ADDRESS = "https://ossci-datasets.s3.amazonaws.com/mnist/"
FASHION_ADDRESS = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/"

# (images, labels) of each split: size in bytes and sha256 of the .gz file
MNIST_SUMS = {
    "train": ((9912422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
              (28881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c")),
    "test": ((1648877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
             (4542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"))}
FASHION_SUMS = {
    "train": ((26421880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
              (29515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845")),
    "test": ((4422102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
             (5148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"))}


# ---------------------------------------------------------------- the format

def read_idx(path):
    """The array in an IDX file, plain or gzip, in native byte order. Raises DataError unless every byte fits."""
    return parse_idx(Path(path).read_bytes(), path)


def parse_idx(data, name):
    """The array in the bytes of an IDX file; `name` is for the error messages."""
    data = _decompress(data, name)
    if len(data) < 4 or data[:2] != b"\0\0" or data[2] not in IDX_TYPES:
        raise DataError(f"{name}: got magic {data[:4].hex() or 'nothing'}, expected 0000, a type code "
                        f"({', '.join(f'{code:02x}' for code in IDX_TYPES)}) and the number of axes")
    dtype, axes = IDX_TYPES[data[2]], data[3]

    start = 4 + 4 * axes
    if len(data) < start:
        raise DataError(f"{name}: got {len(data)} bytes, expected a header of {start} for {axes} axes")
    shape = tuple(int.from_bytes(data[i:i + 4], "big") for i in range(4, start, 4))
    expected = start + math.prod(shape) * dtype.itemsize
    if len(data) != expected:
        raise DataError(f"{name}: got {len(data)} bytes, expected {expected} for {dtype.name} of shape {shape}")

    try:
        array = np.frombuffer(data, dtype, offset=start).reshape(shape)
    except ValueError as error:                               # more axes than NumPy has, or an axis beyond its range
        raise DataError(f"{name}: got shape {shape}, expected one that NumPy can hold: {error}") from error
    return array.astype(dtype.newbyteorder("="))


def _decompress(data, name):
    if data[:2] != GZIP_MAGIC:
        return data
    try:
        return gzip.decompress(data)
    except (EOFError, OSError, zlib.error) as error:
        raise DataError(f"{name}: got damaged gzip data, expected a complete file: {error}") from error


# ---------------------------------------------------------------- the data sets

def load_mnist(split="train", folder=None, download=False):
    """Images float32 (N, 28, 28) in [0, 1] and labels int64 (N,); N is 60,000 for "train" and 10,000 for "test".

    LeCun, Bottou, Bengio, Haffner 1998. The .gz files are looked for in `folder`, else in TINYGRAD_EDU_DATA (there
    or in its subfolder "mnist"), then in ~/.cache/tinygrad_edu/mnist; download=True fetches a missing one there.
    """
    return _load_pair("mnist", MNIST_ADDRESS, MNIST_SUMS, split, folder, download)


def load_fashion_mnist(split="train", folder=None, download=False):
    """As load_mnist, with clothes for digits and the subfolder "fashion_mnist".

    Xiao, Rasul, Vollgraf 2017, arXiv:1708.07747. Classes 0..9: T-shirt, trouser, pullover, dress, coat, sandal, shirt,
    sneaker, bag, ankle boot.
    """
    return _load_pair("fashion_mnist", FASHION_ADDRESS, FASHION_SUMS, split, folder, download)


def _load_pair(name, address, sums, split, folder, download):
    check_split(name, split, sums)
    stem = {"train": "train", "test": "t10k"}[split]
    arrays = []
    for kind, (size, sha256) in zip(("images-idx3", "labels-idx1"), sums[split]):
        file_name = f"{stem}-{kind}-ubyte.gz"
        data, path = read_checked(DataFile(name, file_name, size, sha256, address + file_name), folder, download)
        arrays.append(parse_idx(data, path))

    images, labels = arrays
    _check_pair(name, images, labels)
    return images.astype(np.float32) / 255, labels.astype(np.int64)


def _check_pair(name, images, labels):
    if images.ndim != 3 or images.dtype != np.uint8 or labels.dtype != np.uint8 or labels.shape != images.shape[:1]:
        raise DataError(f"{name}: got images {images.dtype} {images.shape} and labels {labels.dtype} {labels.shape}, "
                        "expected uint8 (N, H, W) and uint8 (N,)")
    if labels.size and labels.max() > 9:
        raise DataError(f"{name}: got label {labels.max()}, expected 0..9")
