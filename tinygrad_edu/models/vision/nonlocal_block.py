"""The non-local block: Wang, Girshick, Gupta & He 2017, "Non-local neural networks", arXiv:1711.07971.

A convolution sees its neighbours; whoever wants to see the whole picture needs many. Here every place asks every other, in one
layer: attention (lesson 29) with the pixels as words, added to what was there. The last convolution starts at 0, so at first
the block adds nothing and can be put into a trained network without disturbing it. This is the paper's "embedded Gaussian",
without a factor before the scores. Left out: time, pooled keys, the other three ways to compare.
"""
from ... import functional as F
from ...nn import Conv2d, Module, init


class NonLocalBlock(Module):
    """x + w_z(y), y = softmax(theta(x) phi(x)') g(x) over all H W places: (N, C, H, W) -> (N, C, H, W).

    Four convolutions with kernel 1; between them `inner` channels, half of C if not given. w_z starts at 0.
    """

    def __init__(self, channels, inner=None):
        inner = inner or max(1, channels // 2)
        self.theta, self.phi, self.g = (Conv2d(channels, inner, 1) for _ in range(3))
        self.w_z = Conv2d(inner, channels, 1)
        init.zeros_(self.w_z.weight)
        init.zeros_(self.w_z.bias)

    def forward(self, x):
        queries, keys, values = (part(x).flatten(2).swapaxes(1, 2) for part in (self.theta, self.phi, self.g))  # (N, HW, inner)
        y = F.scaled_dot_product_attention(queries, keys, values, scale=1.0)
        return x + self.w_z(y.swapaxes(1, 2).reshape(len(x), -1, *x.shape[2:]))
