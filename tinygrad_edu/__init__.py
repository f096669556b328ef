"""tinygrad_edu: a deep-learning framework on NumPy and CuPy whose source is the textbook.

    backend     floor 0   arrays, devices, random numbers
    autograd    floor 1   what an operation is, and the reverse pass
    tensor      floor 1   an array that remembers where it came from
    ops         floor 2   the primitives: tables of derivatives
    functional  floor 3   activations, losses, layers as functions;  kernels: the hand-written ones
    nn, optim   floor 4   modules with parameters, and what trains them
    models      floor 5   one paper a file
"""
from .autograd import (Elementwise, Function, Kernel, detect_anomaly, enable_grad, grad, is_grad_enabled, jacobian,
                       no_grad, set_grad_enabled)
from .backend import DeviceError, default_device, describe_devices, manual_seed, set_default_device
from .creation import (arange, eye, full, linspace, ones, ones_like, rand, randint, randn, randperm, tensor, zeros,
                       zeros_like)
from .faces import kernel_face, reference_only
from .ops import *  # noqa: F401,F403  the functions listed in ops/__init__.py
from .functional import embedding
from .tensor import Tensor, as_tensor
from .threads import set_threads
from .kernels.softmax import log_softmax, softmax     # kernels, in place of their definitions in ops
from . import distributions, functional, nn, optim  # noqa: E402

__version__ = "0.1.0"
