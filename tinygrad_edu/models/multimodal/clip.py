"""CLIP: Radford, Kim, Hallacy, Ramesh, Goh, Agarwal, Sastry, Askell, Mishkin, Clark, Krueger & Sutskever 2021, "Learning
transferable visual models from natural language supervision", arXiv:2103.00020.

One network turns a picture into a point on a sphere, another turns a sentence into a point on the same sphere. In a batch of
N pictures and their captions, N pairs belong together and N^2 - N do not; the loss asks of each picture which of the N
captions is its own, and of each caption which picture (F.info_nce_loss). How sharply to ask is learned too. Afterwards a class
is a sentence: nobody has to train a classifier for it. As in the paper, the picture's network is convolutional, with attention
in place of the mean over pixels, and the sentence's is a Transformer whose last word speaks for all. Left out: the deep ResNets
and Vision Transformers, byte-pair tokens (ids of words come in).
"""
import math

from ... import functional as F
from ...creation import arange, full, randn
from ...nn import (BatchNorm2d, Conv2d, Embedding, LayerNorm, Linear, Module, MultiheadAttention, Parameter, ReLU, Sequential,
                   TransformerEncoderLayer, init)
from ...ops import clip, concatenate, exp


class AttentionPool(Module):
    """What one look gathers from all places, the mean of them asking: (N, C, H, W) -> (N, C), H W = `places`."""

    def __init__(self, places, channels, heads):
        self.positions = Parameter(randn(places + 1, channels) / channels ** 0.5)
        self.attention = MultiheadAttention(channels, heads, batch_first=True)

    def forward(self, x):
        x = x.flatten(2).swapaxes(1, 2)                                     # (N, HW, C)
        x = concatenate([x.mean(axis=1, keepdims=True), x], axis=1) + self.positions
        return self.attention(x[:, :1], x)[:, 0]


class ImageEncoder(Module):
    """Pictures (N, 3, size, size) -> (N, embed). Convolutions of stride 2, 2 and 1, then a look at (size / 4)^2 places."""

    def __init__(self, size, embed, widths=(16, 32, 64), heads=4):
        if size % 4:
            raise ValueError(f"ImageEncoder: got size {size}, expected a multiple of 4")
        layers = []
        for before, after, stride in zip((3, *widths), widths, (2, 2, 1)):
            layers += [Conv2d(before, after, 3, stride, padding=1, bias=False), BatchNorm2d(after), ReLU()]
        self.convolutions = Sequential(*layers)
        self.pool = AttentionPool((size // 4) ** 2, widths[-1], heads)
        self.project = Linear(widths[-1], embed, bias=False)

    def forward(self, x):
        return self.project(self.pool(self.convolutions(x)))


class TextEncoder(Module):
    """Word ids (N, T), T <= length, each row ended and filled up with `end` -> (N, embed): what the first `end` has read.

    Every word sees itself and those before it, so what stands after the end changes nothing.
    """

    def __init__(self, vocabulary, length, end, embed, width=64, layers=2, heads=4):
        self.end = end
        self.tokens, self.places = Embedding(vocabulary, width), Embedding(length, width)
        self.blocks = [TransformerEncoderLayer(width, heads, 4 * width, dropout=0.0, activation="gelu", batch_first=True,
                                               norm_first=True) for _ in range(layers)]
        self.norm, self.project = LayerNorm(width), Linear(width, embed, bias=False)

    def forward(self, ids):
        N, T = ids.shape
        device = self.places.weight.device
        x = self.tokens(ids) + self.places(arange(T, device=device))        # (N, T, width)
        for block in self.blocks:
            x = block(x, is_causal=True)
        last = x[arange(N, device=device), (ids == self.end).argmax(axis=1)]
        return self.project(self.norm(last))


class CLIP(Module):
    """Two encoders with one sphere; `logit_scale` is learned, the logarithm of 1 / temperature."""

    def __init__(self, image_encoder, text_encoder, temperature=0.07):
        self.image_encoder, self.text_encoder = image_encoder, text_encoder
        self.logit_scale = Parameter(full((), -math.log(temperature)))

    def temperature(self):
        return exp(-self.logit_scale)

    def encode_image(self, images):
        """Points on the sphere (N, embed)."""
        return F.normalize(self.image_encoder(images))

    def encode_text(self, ids):
        """Points on the sphere (N, embed)."""
        return F.normalize(self.text_encoder(ids))

    def loss(self, images, ids):
        """Which caption belongs to the picture, which picture to the caption; picture i and caption i do."""
        return F.info_nce_loss(self.image_encoder(images), self.text_encoder(ids), self.temperature(), symmetric=True)

    def clip_scale(self, largest=100.0):
        """After each step: logits of more than `largest` times the cosine made the paper's training unstable."""
        self.logit_scale.data = clip(self.logit_scale, high=math.log(largest)).data
