"""Activations: functions of one number, applied to each. GELU, SiLU, softmax and log-softmax are kernels."""
from ..ops import exp, logaddexp, minimum, where
from ..ops.elementwise import array_of


def leaky_relu(x, negative_slope=0.01):
    """x where x > 0, else negative_slope x."""
    return where(array_of(x) > 0, x, negative_slope * x)


def elu(x, alpha=1.0):
    """x where x > 0, else alpha (e^x - 1). Clevert et al. 2015, arXiv:1511.07289."""
    return where(array_of(x) > 0, x, alpha * (exp(minimum(x, 0.0)) - 1))


def softplus(x):
    """ln(1 + e^x), a smooth relu."""
    return logaddexp(x, 0.0)
