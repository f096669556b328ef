"""Smooth relatives of relu: each number times a gate between 0 and 1, which the number itself opens.

    Phi(x) normal distribution function   phi(x) = e^(-x^2 / 2) / sqrt(2 pi), its density   s(x) = 1 / (1 + e^-x)

    GELU     (1)  y = x Phi(x)     (2)  dy/dx = Phi + x phi
    SiLU     (1)  y = x s(x)       (2)  dy/dx = s + x s (1 - s) = s + y (1 - s)
    TanhGELU (1)  y = x s(u),  u = sqrt(8 / pi) (x + 0.044715 x^3)     (2)  dy/dx = s + y (1 - s) u'

Phi has no closed form and NumPy has no erf. For float32 the tail beyond |x| comes from a polynomial, 26.2.17 in Abramowitz &
Stegun 1964, that needs no exponential but the one in phi; its error is below 8e-8:

    tail = Phi(-|x|) = phi (b1 t + .. + b5 t^5),  t = 1 / (1 + p |x|);     x Phi = (x + |x|) / 2 - |x| tail

TanhGELU is the paper's own approximation, and s(u) = (1 + tanh(u / 2)) / 2.

Everything that the slope needs is at hand in the forward pass, so forward saves the slope, and backward is one product. The
passes run over blocks that stay in the cache, two threads sharing the blocks. The loops save nothing but x and make the
slope again: there e^x costs no more than reading a number from memory. On a million numbers the arrays are 2 to 4 times as
fast as the compositions, forward and backward.

Hendrycks & Gimpel 2016, Gaussian error linear units, arXiv:1606.08415; Elfwing et al. 2017 (SiLU), arXiv:1702.03118.
"""
import math

from .. import backend
from ..autograd import Kernel
from ..ops import erf, sigmoid, tanh
from ..ops.elementwise import erf_values
from ..threads import in_threads

TAIL_P, TAIL_B = 0.2316419, (1.330274429, -1.821255978, 1.781477937, -0.356563782, 0.319381530)     # highest power first
ROOT = math.sqrt(8 / math.pi)
CUBE = 0.044715


class Activation(Kernel):
    """y = f(x), number by number. A subclass writes f and its slope into two arrays: `curve(x, y, slope)`."""

    def forward(self, x):
        y, slope = self.xp.empty(x.shape, x.dtype), self.xp.empty(x.shape, x.dtype)
        self.walk(x.reshape(-1), y.reshape(-1), slope.reshape(-1))
        self.save(slope)
        return y

    def backward(self, gy):
        (slope,) = self.saved
        return gy * slope

    def walk(self, x, y, slope):
        """`curve`, block by block."""
        def work(part):
            for i in backend.blocks(x[part]):
                self.curve(x[part][i], y[part][i], slope[part][i])

        in_threads(work, x, 10)


class GELU(Activation):
    """y = x Phi(x);   dy/dx = Phi(x) + x phi(x)"""

    def reference(self, x):
        return 0.5 * x * (1 + erf(x * math.sqrt(0.5)))

    def curve(self, x, y, slope):
        xp, a = self.xp, abs(x)
        phi = a * a
        phi *= -0.5
        xp.exp(phi, out=phi)
        phi *= 1 / math.sqrt(2 * math.pi)
        tail = self.tail(a, phi)

        xp.add(x, a, out=y)                                 # (1)  (x + |x|) / 2 - |x| tail
        y *= 0.5
        y -= xp.multiply(a, tail, out=slope)
        phi *= a                                            # (2)  tail - |x| phi where x < 0, what is left to 1 where x > 0
        phi -= tail
        phi += 0.5
        xp.copysign(phi, x, out=slope)
        slope += 0.5

    def tail(self, a, phi):
        """Phi(-a) for a >= 0."""
        if a.dtype.itemsize > 4:
            return 0.5 - 0.5 * erf_values(self.xp, a * math.sqrt(0.5))
        t = TAIL_P * a
        t += 1
        self.xp.divide(1, t, out=t)
        tail = TAIL_B[0] * t
        for b in TAIL_B[1:]:                                # Horner's rule
            tail += b
            tail *= t
        tail *= phi
        return tail


class SiLU(Activation):
    """y = x s(x);   dy/dx = s + y (1 - s),  s the sigmoid"""

    def reference(self, x):
        return x * sigmoid(x)

    def curve(self, x, y, slope):
        s = sigmoid_values(self.xp, x)
        self.xp.multiply(x, s, out=y)                       # (1)
        self.xp.subtract(1, s, out=slope)                   # (2)
        slope *= y
        slope += s


class TanhGELU(Activation):
    """y = x s(u),  u = sqrt(8 / pi) (x + 0.044715 x^3);   dy/dx = s + y (1 - s) u'"""

    def reference(self, x):
        return 0.5 * x * (1 + tanh(ROOT / 2 * (x + CUBE * x * x * x)))

    def curve(self, x, y, slope):
        xp = self.xp
        u = x * x
        du = 3 * ROOT * CUBE * u
        du += ROOT
        u *= ROOT * CUBE
        u += ROOT
        u *= x
        s = sigmoid_values(xp, u)
        xp.multiply(x, s, out=y)                            # (1)
        xp.subtract(1, s, out=slope)                        # (2)
        slope *= y
        slope *= du
        slope += s


def sigmoid_values(xp, x):
    """1 / (1 + e^-x) in four passes over one new array. Where e^-x overflows it is infinite, and the answer 0."""
    s = -x
    with backend.ignore_float_errors():
        xp.exp(s, out=s)
    s += 1
    return xp.divide(1, s, out=s)


def gelu(x, approximate="none"):
    """x Phi(x), Phi the normal distribution function; approximate="tanh" is the paper's other curve, within 5e-4 of it."""
    if approximate not in ("none", "tanh"):
        raise ValueError(f"gelu: got approximate = {approximate!r}, expected 'none' or 'tanh'")
    kernel = TanhGELU if approximate == "tanh" else GELU
    return kernel.face(x)().apply(x)


def silu(x):
    """x sigmoid(x), also called swish."""
    return SiLU.face(x)().apply(x)
