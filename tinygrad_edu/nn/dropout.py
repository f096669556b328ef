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


class Dropout1d(Dropout):
    """Whole channels of (N, C, T) together."""
    def forward(self, x):
        return F.dropout1d(x, self.p, self.training)


class Dropout2d(Dropout):
    """Whole channels of (N, C, H, W) together."""
    def forward(self, x):
        return F.dropout2d(x, self.p, self.training)


class AlphaDropout(Dropout):
    """For SELU: a dropped number is what selu gives far to the left, and N(0, 1) keeps its mean and variance."""
    def forward(self, x):
        return F.alpha_dropout(x, self.p, self.training)
