"""Floor 4: probability distributions: draw from them, and ask for densities. Noise is drawn on the host.

`rsample` is differentiable in the parameters (the reparameterization trick: noise is drawn first, then transformed);
`sample` is a constant. log_prob, entropy and kl_divergence are in nats, elementwise unless stated.
"""
import math

from . import backend, functional as F
from .autograd import no_grad
from .creation import randn
from .kernels.softmax import log_softmax
from .ops import clip, exp, expm1, log, logsumexp, round, sigmoid, square, sum, take_along_axis, where
from .ops.elementwise import array_of
from .tensor import Tensor


class Normal:
    """N(loc, scale^2), independent in every element; loc and scale broadcast, scale > 0."""

    def __init__(self, loc, scale):
        self.loc, self.scale = loc, scale

    def rsample(self):
        """loc + scale * noise, one draw for each element."""
        spread = self.loc + self.scale
        noise = randn(spread.shape, dtype=spread.dtype, device=spread.device)
        return self.loc + self.scale * noise

    def sample(self):
        """One draw for each element, outside the graph."""
        with no_grad():
            return self.rsample()

    def log_prob(self, x):
        """-((x - loc) / scale)^2 / 2 - ln scale - ln(2 pi) / 2"""
        z = (x - self.loc) / self.scale
        return -0.5 * square(z) - _log(self.scale) - 0.5 * math.log(2 * math.pi)

    def entropy(self):
        """ln scale + ln(2 pi e) / 2"""
        return _log(self.scale) + 0.5 * math.log(2 * math.pi * math.e)


class Bernoulli:
    """1 with probability sigmoid(logits), else 0."""

    def __init__(self, logits):
        self.logits = logits

    @property
    def probs(self):
        return sigmoid(self.logits)

    def sample(self):
        """Zeros and ones, outside the graph."""
        uniform = backend.to_device(backend.generator().random(self.logits.shape), self.logits.device)
        return Tensor((uniform < self.probs.data).astype(self.logits.dtype))

    def log_prob(self, x):
        """x ln p + (1 - x) ln(1 - p), stable for any logits"""
        return -F.binary_cross_entropy_with_logits(self.logits, x, reduction="none")

    def entropy(self):
        """-p ln p - (1 - p) ln(1 - p)"""
        return F.softplus(self.logits) - self.logits * self.probs


class Categorical:
    """Class k with probability softmax(logits)[k], over the last axis."""

    def __init__(self, logits):
        self.logits = logits

    @property
    def probs(self):
        return F.softmax(self.logits)

    def sample(self):
        """One class for each row of logits, outside the graph: logits.shape[:-1] integers (the Gumbel-max trick)."""
        gumbel = backend.to_device(backend.generator().gumbel(size=self.logits.shape), self.logits.device)
        return Tensor((self.logits.data + gumbel).argmax(axis=-1))

    def log_prob(self, ids):
        """ln of the probability of integer classes `ids` (..)."""
        return take_along_axis(log_softmax(self.logits), ids[..., None], axis=-1).reshape(ids.shape)

    def entropy(self):
        """-sum p ln p over the last axis"""
        log_p = log_softmax(self.logits)
        return -sum(exp(log_p) * log_p, axis=-1)


class DiscretizedLogisticMixture:
    """Whole numbers 0..levels-1 from a mixture of K logistic distributions: real numbers, rounded, the outermost taking the tails.

    logits, loc, log_scale (.., K). P(l) = sum_k softmax(logits)_k (F((l + 1/2 - loc_k) / scale_k) - F((l - 1/2 - loc_k) / scale_k))
    with F = sigmoid, F = 0 below the lowest level and 1 above the highest. Salimans et al. 2017, arXiv:1701.05517.
    """

    def __init__(self, logits, loc, log_scale, levels):
        self.logits, self.loc, self.log_scale, self.levels = logits, loc, log_scale, levels

    def log_prob(self, x):
        """ln P(x) of whole numbers x (..). With b = a + 1 / scale: F(b) - F(a) = F(b) F(-a) (1 - exp(-1 / scale))."""
        x = array_of(x)[..., None]
        narrow = exp(-self.log_scale)
        a, b = (x - 0.5 - self.loc) * narrow, (x + 0.5 - self.loc) * narrow
        lowest, highest = x == 0, x == self.levels - 1
        log_p = (where(highest, 0.0, F.logsigmoid(b)) + where(lowest, 0.0, F.logsigmoid(-a))
                 + where(lowest | highest, 0.0, log(-expm1(-narrow))))
        return logsumexp(log_softmax(self.logits) + log_p, axis=-1)

    def sample(self):
        """One whole number for each row, outside the graph, as floats."""
        with no_grad():
            k = Categorical(self.logits).sample()[..., None]
            loc, log_scale = (take_along_axis(t, array_of(k), axis=-1)[..., 0] for t in (self.loc, self.log_scale))
            u = backend.to_device(backend.generator().uniform(1e-5, 1 - 1e-5, loc.shape), loc.device).astype(loc.dtype)
            logistic = loc + exp(log_scale) * (log(Tensor(u)) - log(Tensor(1 - u)))
            return clip(round(logistic), 0, self.levels - 1)


def kl_divergence(p, q):
    """KL(p || q), the nats lost by coding draws of p with q: both Normal, both Bernoulli or both Categorical."""
    if isinstance(p, Normal) and isinstance(q, Normal):
        ratio = p.scale / q.scale
        return 0.5 * (square(ratio) + square((p.loc - q.loc) / q.scale) - 1) - _log(ratio)
    if isinstance(p, Bernoulli) and isinstance(q, Bernoulli):
        return p.probs * (p.logits - q.logits) + F.softplus(q.logits) - F.softplus(p.logits)
    if isinstance(p, Categorical) and isinstance(q, Categorical):
        log_p, log_q = log_softmax(p.logits), log_softmax(q.logits)
        return sum(exp(log_p) * (log_p - log_q), axis=-1)
    raise TypeError(f"kl_divergence: no closed form for {type(p).__name__} and {type(q).__name__}")


def _log(x):
    return log(x) if isinstance(x, Tensor) else math.log(x)
