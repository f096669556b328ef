"""Frameworks on NumPy that may be installed beside ours, each behind PyTorch's names as far as it has the operations.

    mygrad     its layers and losses, the rest in its NumPy functions
    dezero     its functions, layers and Adam
    autograd   NumPy code under `autograd.numpy`: it has no layers
    jax        the same code under `jax.numpy`, compiled by jax.jit: no NumPy framework, but what a compiler makes of it

None is a dependency. What a peer does not offer is not timed: nothing is built for it that its own users would not write,
and nothing is slowed down. Where PyTorch's function is not in its API, it is written in its operations as a user would.
"""
import functools
import importlib.util
import warnings
from importlib import metadata

NUMPY_PEERS = ("mygrad", "dezero", "autograd")
PEERS = (*NUMPY_PEERS, "jax")


class NotOffered(AttributeError):
    """The peer cannot run this workload."""


@functools.cache
def load(name):
    """The peer as a library for workloads.py, or None where it cannot be imported."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")         # of old packages about newer NumPys
            return importlib.import_module(f".with_{name}", __name__).LIBRARY
    except (ImportError, AttributeError):
        return None


def versions():
    """{peer: version} of those that are installed."""
    return {name: metadata.version(name) for name in PEERS if importlib.util.find_spec(name)}


def build(name, workload, sizes):
    """The peer's run of a workload, or None if it is not installed or does not offer it."""
    library = load(name)
    if library is None:
        return None
    own = getattr(library, f"build_{workload.build.__name__}", None)
    try:
        return own(**sizes) if own else workload.build(library, **sizes)
    except NotOffered:
        return None
