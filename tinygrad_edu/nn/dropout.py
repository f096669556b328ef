"""Dropout as modules: noise in training, nothing in evaluation."""
from .. import functional as F
from .module import Module


class Dropout(Module):
    """In training, each number is 0 with probability p and the others grow by 1 / (1 - p)."""

    def __init__(self, p=0.5):
        self.p = p

    def forward(self, x):
        return F.dropout(x, self.p, self.training)

    def extra_repr(self):
        return f"p={self.p}"
