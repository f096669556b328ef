"""Activations as modules: one number in, one number out, here and there with a setting. The curves are F's."""
from .. import functional as F
from ..creation import full
from .module import Module, Parameter


class ReLU(Module):
    """max(x, 0)"""
    def forward(self, x):
        return F.relu(x)

class ReLU6(Module):
    """min(max(x, 0), 6)"""
    def forward(self, x):
        return F.relu6(x)

class LeakyReLU(Module):
    """x where x > 0, else negative_slope x"""
    def __init__(self, negative_slope=0.01):
        self.negative_slope = negative_slope
    def forward(self, x):
        return F.leaky_relu(x, self.negative_slope)
    def extra_repr(self):
        return f"{self.negative_slope}"

class PReLU(Module):
    """x where x > 0, else w x with a learned w, one for all channels of (N, C, ..) or `num_parameters` = C of them."""
    def __init__(self, num_parameters=1, init=0.25):
        self.weight = Parameter(full(num_parameters, init))
    def forward(self, x):
        return F.prelu(x, self.weight)
    def extra_repr(self):
        return f"{self.weight.size}"

class ELU(Module):
    """x where x > 0, else alpha (e^x - 1)"""
    def __init__(self, alpha=1.0):
        self.alpha = alpha
    def forward(self, x):
        return F.elu(x, self.alpha)
    def extra_repr(self):
        return f"{self.alpha}"

class SELU(Module):
    """ELU scaled so that N(0, 1) keeps mean and variance; its weights start as init.lecun_normal_"""
    def forward(self, x):
        return F.selu(x)

class Tanh(Module):
    """tanh(x)"""
    def forward(self, x):
        return F.tanh(x)

class Hardtanh(Module):
    """min(max(x, min_val), max_val)"""
    def __init__(self, min_val=-1.0, max_val=1.0):
        self.min_val, self.max_val = min_val, max_val
    def forward(self, x):
        return F.hardtanh(x, self.min_val, self.max_val)
    def extra_repr(self):
        return f"{self.min_val}, {self.max_val}"

class Softsign(Module):
    """x / (1 + |x|)"""
    def forward(self, x):
        return F.softsign(x)

class Sigmoid(Module):
    """1 / (1 + e^-x)"""
    def forward(self, x):
        return F.sigmoid(x)

class Hardsigmoid(Module):
    """min(max(x / 6 + 1 / 2, 0), 1)"""
    def forward(self, x):
        return F.hardsigmoid(x)

class LogSigmoid(Module):
    """ln sigmoid(x)"""
    def forward(self, x):
        return F.logsigmoid(x)

class SiLU(Module):
    """x sigmoid(x)"""
    def forward(self, x):
        return F.silu(x)

class Swish(Module):
    """x sigmoid(beta x), beta a number, learned if `learnable`. PyTorch has beta = 1 only, as SiLU."""
    def __init__(self, beta=1.0, learnable=False):
        self.beta = Parameter(full((), beta)) if learnable else beta
    def forward(self, x):
        return F.swish(x, self.beta)
    def extra_repr(self):
        return f"beta={float(self.beta):g}"

class Hardswish(Module):
    """x hardsigmoid(x)"""
    def forward(self, x):
        return F.hardswish(x)

class GELU(Module):
    """x Phi(x); approximate="tanh": the paper's other curve"""
    def __init__(self, approximate="none"):
        self.approximate = approximate
    def forward(self, x):
        return F.gelu(x, self.approximate)
    def extra_repr(self):
        return "" if self.approximate == "none" else f"approximate={self.approximate!r}"

class Softplus(Module):
    """ln(1 + e^(beta x)) / beta"""
    def __init__(self, beta=1.0, threshold=20.0):
        self.beta, self.threshold = beta, threshold
    def forward(self, x):
        return F.softplus(x, self.beta, self.threshold)
    def extra_repr(self):
        return f"beta={self.beta}"

class Mish(Module):
    """x tanh(softplus(x))"""
    def forward(self, x):
        return F.mish(x)


# ---------------------------------------------------------------- along an axis

class GLU(Module):
    """a sigmoid(b), a and b the halves of x along `axis`"""
    def __init__(self, axis=-1):
        self.axis = axis
    def forward(self, x):
        return F.glu(x, self.axis)
    def extra_repr(self):
        return f"axis={self.axis}"

class Softmax(Module):
    """e^x / sum of e^x along `axis`"""
    def __init__(self, axis=-1):
        self.axis = axis
    def forward(self, x):
        return F.softmax(x, self.axis)
    def extra_repr(self):
        return f"axis={self.axis}"

class LogSoftmax(Module):
    """x - ln of the sum of e^x along `axis`"""
    def __init__(self, axis=-1):
        self.axis = axis
    def forward(self, x):
        return F.log_softmax(x, self.axis)
    def extra_repr(self):
        return f"axis={self.axis}"
