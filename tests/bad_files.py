"""For tests of loaders: where the real files are, and what a refusal must look like."""
import os
from pathlib import Path

import pytest

from tinygrad_edu.data import DataError

REAL = os.environ.get("TINYGRAD_EDU_DATA")


def needs(folder):
    """Skip a test where TINYGRAD_EDU_DATA has no such folder."""
    return pytest.mark.skipif(not REAL or not (Path(REAL) / folder).is_dir(), reason=f"TINYGRAD_EDU_DATA has no {folder}")


def refused(function, *arguments, words):
    """`function` raises a DataError of one line that says got, expected and `words`; returns the line."""
    with pytest.raises(DataError) as error:
        function(*arguments)
    line = str(error.value)
    assert "\n" not in line and "got" in line and "expected" in line and words in line, line
    return line
