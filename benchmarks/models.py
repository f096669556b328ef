"""The networks of the workloads, each as one text for all libraries: `lib` is tinygrad_edu, torch or a peer.

Only the U-Net has two: ours is the library's own, and its equal for the others stands here.
"""
import math

import numpy as np

import tinygrad_edu as tg
from tinygrad_edu.models.generative.unet import UNet


def is_torch(lib):
    return lib.__name__ == "torch"


def is_peer(lib):
    """A Library of benchmarks/peers, which takes its gradients in its own way."""
    return hasattr(lib, "both_ways")


def functional(lib):
    """F of any library."""
    return lib.nn.functional if is_torch(lib) else lib.functional


def equal_weights(lib, make):
    """make(lib), with the weights that ours draws from seed 0; names and shapes are the same in all."""
    tg.manual_seed(0)
    model = make(tg)
    if lib is tg:
        return model
    theirs = make(lib)
    theirs.load_state_dict({name: lib.tensor(value.numpy()) for name, value in model.state_dict().items()})
    return theirs


def mlp(lib, widths, activation):
    """Linear layers, `activation` ("Tanh", "ReLU") between them."""
    between = getattr(lib.nn, activation)
    layers = [layer for i, o in zip(widths, widths[1:]) for layer in (lib.nn.Linear(i, o), between())]
    return lib.nn.Sequential(*layers[:-1])


def lenet(lib, channels=(16, 32), size=28):
    """conv5 - pool - conv5 - pool - linear, for one-channel pictures of `size` x `size` and ten classes."""
    F = functional(lib)

    class LeNet(lib.nn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = lib.nn.Conv2d(1, channels[0], 5, padding=2)
            self.conv2 = lib.nn.Conv2d(channels[0], channels[1], 5, padding=2)
            self.leave = lib.nn.Linear(channels[1] * (size // 4) ** 2, 10)

        def forward(self, x):
            h = F.max_pool2d(F.relu(self.conv1(x)), 2)
            h = F.max_pool2d(F.relu(self.conv2(h)), 2)
            return self.leave(h.reshape(len(x), -1))

    return LeNet()


# ---------------------------------------------------------------- GPT

def gpt(lib, layers, width, heads, length, vocabulary):
    """A decoder-only Transformer, normalized before each half of a block: ids (N, T) -> logits (N, T, vocabulary)."""
    nn, F = lib.nn, functional(lib)
    causal, everywhere = {"is_causal" if is_torch(lib) else "causal": True}, lib.arange(length)

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
            self.query, self.key, self.value, self.project = (nn.Linear(width, width) for _ in range(4))
            self.enter, self.leave = nn.Linear(width, 4 * width), nn.Linear(4 * width, width)

        def forward(self, x):
            h = self.norm1(x)
            q, k, v = (f(h).reshape(*h.shape[:2], heads, -1).swapaxes(1, 2) for f in (self.query, self.key, self.value))
            y = F.scaled_dot_product_attention(q, k, v, **causal)                   # (N, heads, T, E)
            x = x + self.project(y.swapaxes(1, 2).reshape(*x.shape))
            return x + self.leave(F.gelu(self.enter(self.norm2(x))))

    class Gpt(nn.Module):
        def __init__(self):
            super().__init__()
            self.tokens, self.places = nn.Embedding(vocabulary, width), nn.Embedding(length, width)
            self.blocks = nn.Sequential(*(Block() for _ in range(layers)))
            self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, vocabulary, bias=False)

        def forward(self, ids):
            return self.head(self.norm(self.blocks(self.tokens(ids) + self.places(everywhere))))

    return Gpt()


# ---------------------------------------------------------------- the denoiser

def unet(lib, widths):
    return UNet(widths=widths) if lib is tg else equal_unet(lib, widths)


def equal_unet(lib, widths):
    """The U-Net of tinygrad_edu.models.generative.unet for the other libraries, with its names."""
    nn, F = lib.nn, functional(lib)

    class ResidualBlock(nn.Module):
        def __init__(self, channels, out_channels, time_features):
            super().__init__()
            self.norm1, self.norm2 = nn.GroupNorm(4, channels), nn.GroupNorm(4, out_channels)
            self.conv1 = nn.Conv2d(channels, out_channels, 3, padding=1)
            self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
            self.time = nn.Linear(time_features, out_channels)
            self.shortcut = nn.Conv2d(channels, out_channels, 1) if channels != out_channels else None

        def forward(self, x, time):
            h = self.conv1(F.silu(self.norm1(x))) + self.time(time)[:, :, None, None]
            return self.conv2(F.silu(self.norm2(h))) + (x if self.shortcut is None else self.shortcut(x))

    class EqualUNet(nn.Module):
        def __init__(self):
            super().__init__()
            features = 4 * widths[0]
            first, second = nn.Linear(widths[0], features), nn.Linear(features, features)
            self.time = nn.Sequential(first, nn.SiLU(), second, nn.SiLU())
            self.enter = nn.Conv2d(1, widths[0], 3, padding=1)
            self.down = nn.ModuleList(ResidualBlock(i, o, features) for i, o in zip(widths[:1] + widths, widths))
            self.middle = ResidualBlock(widths[-1], widths[-1], features)
            self.up = nn.ModuleList(ResidualBlock(i + o, o, features) for i, o in zip(widths[:0:-1], widths[-2::-1]))
            self.norm, self.leave = nn.GroupNorm(4, widths[0]), nn.Conv2d(widths[0], 1, 3, padding=1)
            half = widths[0] // 2
            self.frequencies = np.exp(np.arange(half, dtype="float32") * (-math.log(1000.0) / (half - 1)))

        def forward(self, x, t):
            angle = t[:, None] * lib.tensor(self.frequencies)
            time = self.time(lib.cat([lib.sin(angle), lib.cos(angle)], dim=1))
            h, across = self.down[0](self.enter(x), time), []
            for block in self.down[1:]:
                across.append(h)
                h = block(F.avg_pool2d(h, 2), time)
            h = self.middle(h, time)
            for block in self.up:
                h = block(lib.cat([F.interpolate(h, scale_factor=2), across.pop()], dim=1), time)
            return self.leave(F.silu(self.norm(h)))

    return EqualUNet()
