"""Where data files live, and the proof that they are the right ones.

A file is looked for in the folder that the caller names, else in the one that TINYGRAD_EDU_DATA names, then in the
user's cache. Only `download=True` opens a connection. Wherever it came from, size and sha256 are checked first.
"""
import hashlib
import os
from dataclasses import dataclass
from pathlib import Path


class DataError(ValueError):
    """A data file is not what it should be; the message names the file, what was found and what was expected."""


class MissingDataError(DataError, FileNotFoundError):
    """A data file is nowhere to be found; the message says where to put it and where to get it."""


@dataclass(frozen=True)
class DataFile:
    """One file of a data set. `folder`: the subfolder of the set, such as "mnist"; `address`: where it is published.

    `derived`: the file is a part or a rework of what is published there, so a download would not be this file.
    """
    folder: str
    name: str
    size: int
    sha256: str
    address: str
    derived: bool = False


def find_file(file, folder=None):
    """The path of a DataFile on this machine, or None."""
    return next((path for path in _places(file, folder) if path.is_file()), None)


def read_checked(file, folder=None, download=False):
    """The bytes of a DataFile and the path they came from. Raises MissingDataError or DataError."""
    path = find_file(file, folder)
    if path is None and (file.derived or not download):
        source = f"it was made from {file.address})" if file.derived else f"get it from {file.address}) or pass download=True"
        raise MissingDataError(f"{file.name}: not found; put it into {_named_folder(folder) or cache_folder()}"
                               f"{os.sep}{file.folder} ({source}")
    if path is None:
        path = _download(file)

    data = path.read_bytes()
    check_bytes(data, path, file.size, file.sha256)
    return data, path


def check_bytes(data, name, size, sha256):
    """Raise DataError unless `data` has this many bytes and this sha256."""
    if len(data) != size:
        raise DataError(f"{name}: got {len(data)} bytes, expected {size}")
    found = hashlib.sha256(data).hexdigest()
    if found != sha256:
        raise DataError(f"{name}: got sha256 {found}, expected {sha256}")


def check_split(name, split, splits):
    """Raise DataError unless the data set `name` has the part `split`."""
    if split not in splits:
        raise DataError(f"{name}: got split {split!r}, expected one of {list(splits)}")


def cache_folder():
    """The user's cache: $XDG_CACHE_HOME/tinygrad_edu, else ~/.cache/tinygrad_edu."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tinygrad_edu"


def _named_folder(folder):
    named = folder or os.environ.get("TINYGRAD_EDU_DATA")
    return Path(named) if named else None


def _places(file, folder):
    named = _named_folder(folder)
    if named is not None:
        yield named / file.name
        yield named / file.folder / file.name
    yield cache_folder() / file.folder / file.name


def _download(file):
    """Fetch into the cache under a temporary name; the true name appears only after the check."""
    import urllib.request

    path = cache_folder() / file.folder / file.name
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        with urllib.request.urlopen(file.address, timeout=60) as answer:
            data = answer.read(file.size + 1)
    except OSError as error:
        raise DataError(f"{file.name}: download from {file.address} failed: {error}") from error
    check_bytes(data, file.address, file.size, file.sha256)

    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    temporary.write_bytes(data)
    os.replace(temporary, path)
    return path
