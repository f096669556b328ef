"""Floor 0: files that are either there or not, never half of them."""
import os
import time

_STALE = 600            # seconds without a write after which a temporary file belongs to nobody


def write_atomically(path, write):
    """Call `write(temporary path)`, then rename to `path`: a reader sees the old file or the whole new one.

    That holds for a killed process and for a power cut: the contents are on the disk before the name is. A killed process
    leaves a temporary file behind, `.stem.PID.suffix`; see `remove_leftovers`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.stem}.{os.getpid()}{path.suffix}")
    try:
        write(temporary)
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
        _sync_folder(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def remove_leftovers(path):
    """Remove what killed processes left when they wrote `path`: temporary files that nobody has written to lately."""
    for leftover in path.parent.glob(f".{path.stem}.*{path.suffix}"):
        pid = leftover.name[len(path.stem) + 2 : len(leftover.name) - len(path.suffix)]
        if pid.isdigit() and time.time() - leftover.stat().st_mtime > _STALE:
            leftover.unlink(missing_ok=True)


def _sync_folder(folder):
    """Let the disk know of a new name in the folder. Windows cannot open folders, and does not need to."""
    if hasattr(os, "O_DIRECTORY"):
        handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
