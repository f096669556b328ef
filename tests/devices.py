"""The same computation on the host and on the strict stand-in for CuPy."""
import numpy as np

import tinygrad_edu as tg
from tinygrad_edu import backend
from tinygrad_edu.testing import strict_cupy


def assert_same_on_a_device(compute, **tolerance):
    """compute() seeds itself and gives arrays: on device "cuda", played by the stand-in, the same ones."""
    host = compute()
    with strict_cupy.installed(backend, strict_cupy.module()):
        tg.set_default_device("cuda")
        for here, there in zip(host, compute(), strict=True):
            np.testing.assert_allclose(here, there, **tolerance)
