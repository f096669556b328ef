"""What several formats share: files packed in a .zip, arrays packed in an .npz, and text in bytes."""
import io
import zipfile
import zlib

import numpy as np

from ..store import DataError

DAMAGE = (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, OSError, ValueError)


def unzip(data, name):
    """{path: bytes} of every file in the bytes of a .zip; each file's CRC-32 is checked on the way."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            return {entry.filename: archive.read(entry) for entry in archive.infolist() if not entry.is_dir()}
    except DAMAGE as error:
        raise DataError(f"{name}: got a damaged zip file, expected a complete one: {error}") from error


def unpack_arrays(data, name, expected):
    """The arrays of an .npz, no pickles. `expected`: {key: (dtype, shape)}, with letters for sizes that must agree."""
    try:
        with np.load(io.BytesIO(data), allow_pickle=False) as file:
            arrays = {key: file[key] for key in file.files}
    except (*DAMAGE, AttributeError, KeyError, SyntaxError) as error:
        raise DataError(f"{name}: got a damaged npz file, expected a complete one: {error}") from error

    sizes = {}
    for key, (dtype, shape) in expected.items():
        array = arrays.get(key)
        found = "nothing" if array is None else f"{array.dtype} {array.shape}"
        wanted = tuple(sizes.get(size, size) for size in shape)
        if array is None or array.dtype != dtype or array.ndim != len(shape) or any(
                size != number for size, number in zip(wanted, array.shape) if not isinstance(size, str)):
            raise DataError(f"{name}: got {found} as {key}, expected {np.dtype(dtype).name} {wanted}")
        sizes.update({size: number for size, number in zip(shape, array.shape) if isinstance(size, str)})
    return arrays


def member(files, path, name):
    """The bytes of one file of an unzipped archive."""
    if path not in files:
        raise DataError(f"{name}: got no {path} among its {len(files)} files, expected one")
    return files[path]


def decode(data, name, encoding="utf-8"):
    """The text in `data`."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise DataError(f"{name}: got byte {data[error.start]:#04x} at {error.start}, expected {encoding} text") from error
