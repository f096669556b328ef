"""Activations as modules."""
from .. import functional as F
from .module import Module


class ReLU(Module):
    """max(x, 0)"""
    def forward(self, x):
        return F.relu(x)

class LeakyReLU(Module):
    """x where x > 0, else negative_slope x"""
    def __init__(self, negative_slope=0.01):
        self.negative_slope = negative_slope
    def forward(self, x):
        return F.leaky_relu(x, self.negative_slope)

class Tanh(Module):
    """tanh(x)"""
    def forward(self, x):
        return F.tanh(x)

class Sigmoid(Module):
    """1 / (1 + e^-x)"""
    def forward(self, x):
        return F.sigmoid(x)

class SiLU(Module):
    """x sigmoid(x)"""
    def forward(self, x):
        return F.silu(x)

class GELU(Module):
    """x Phi(x)"""
    def forward(self, x):
        return F.gelu(x)

class Softplus(Module):
    """ln(1 + e^x)"""
    def forward(self, x):
        return F.softplus(x)
