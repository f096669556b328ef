"""Hypothesis profiles, and a watch over the library's global state: no test may leave it changed."""
import os

import pytest
from hypothesis import HealthCheck, settings

import tinygrad_edu as tg
from tinygrad_edu import autograd, backend, faces

# ci: the same few examples on every run; dev: new ones each time; deep: many.
COMMON = dict(deadline=None, print_blob=True, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("ci", derandomize=True, max_examples=10, database=None, **COMMON)
settings.register_profile("dev", max_examples=20, **COMMON)
settings.register_profile("deep", max_examples=300, **COMMON)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE") or ("ci" if os.environ.get("CI") == "true" else "dev"))


@pytest.fixture(autouse=True)
def nothing_leaks():
    """Every test starts from seed 0 and must leave the modes and the default device as it found them."""
    tg.manual_seed(0)
    before = _state()
    yield
    after = _state()
    (autograd._grad_enabled, faces.current, autograd._anomaly, autograd._autocast, autograd._profiler,
     backend._device) = before.values()
    leaked = [f"{name}: {before[name]} -> {after[name]}" for name in before if after[name] != before[name]]
    assert not leaked, f"the test changed the library's state: {', '.join(leaked)}"


def _state():
    return {"grad mode": autograd._grad_enabled, "kernel face": faces.current,
            "anomaly mode": autograd._anomaly, "autocast": autograd._autocast, "profiler": autograd._profiler,
            "default device": backend._device}


@pytest.fixture
def on_arrays():
    """The kernels' own code, whatever face TINYGRAD_EDU_KERNELS chooses."""
    with tg.kernel_face("arrays"):
        yield
