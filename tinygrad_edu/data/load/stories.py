"""A published language model of 260,000 weights that tells children's stories: its weights and its tokens.

Karpathy 2023, llama2.c and tinyllamas, MIT; trained on TinyStories, Eldan & Li 2023, arXiv:2305.07759.
"""
import math
import struct

import numpy as np

from ..store import DataError, DataFile, read_checked

HOME = "https://huggingface.co/karpathy/tinyllamas/resolve/main/stories260K/"
WEIGHTS = DataFile("pretrained", "stories260K.bin", 1056540,
                   "b0a507e7ad0f626624f17112325e66691f9076d622e1d3274d103d00299f2696", HOME + "stories260K.bin")
TOKENS = DataFile("pretrained", "tok512.bin", 6227, "037cb335abb25d1fa9e8ecae30ed2a3a8ace9302862ebcdc05d51a6bbb10c312",
                  HOME + "tok512.bin")


def parse_llama(data, name):
    """(sizes, weights): the arguments of models.language.llama.Llama, and its parameters {name: float32 array}.

    Seven int32, then the weights, each kind for all layers together; at the end cosines and sines, which are not read.
    """
    if len(data) < 28:
        raise DataError(f"{name}: got {len(data)} bytes, expected a header of 28")
    width, hidden, layers, heads, key_heads, vocabulary, length = sizes = struct.unpack("<7i", data[:28])
    if min(sizes) < 1 or width % heads:
        raise DataError(f"{name}: got the sizes {sizes}, expected positive ones and a width that the heads divide")
    keys = width // heads * key_heads
    by_layer = [("norm1", (width,)), ("query", (width, width)), ("key", (keys, width)), ("value", (keys, width)),
                ("leave", (width, width)), ("norm2", (width,)), ("gate", (hidden, width)), ("down", (width, hidden)),
                ("up", (hidden, width))]
    shapes = {"tokens.weight": (vocabulary, width)}
    shapes |= {f"blocks.{i}.{part}.weight": shape for part, shape in by_layer for i in range(layers)}
    shapes["norm.weight"] = (width,)
    expected = 28 + 4 * (sum(map(math.prod, shapes.values())) + length * (width // heads))
    if len(data) != expected:
        raise DataError(f"{name}: got {len(data)} bytes, expected {expected} for the sizes {sizes}")

    weights, at = {}, 28
    for key, shape in shapes.items():
        weights[key] = np.frombuffer(data, "<f4", math.prod(shape), at).reshape(shape).astype(np.float32)
        at += weights[key].nbytes
    return dict(vocabulary=vocabulary, width=width, hidden=hidden, layers=layers, heads=heads, key_heads=key_heads), weights


def parse_pieces(data, name):
    """What each token stands for, as bytes: int32 of the longest, then float32 score, int32 length and bytes of each."""
    pieces, at = [], 4
    while at < len(data):
        size = struct.unpack_from("<i", data, at + 4)[0] if at + 8 <= len(data) else len(data)
        if not 0 <= size <= len(data) - at - 8:
            raise DataError(f"{name}: got token {len(pieces)} cut off at byte {at}, expected it whole")
        pieces.append(data[at + 8 : at + 8 + size])
        at += 8 + size
    return pieces


def load_stories(folder=None, download=False):
    """(sizes, weights, pieces) of stories260K: see parse_llama and parse_pieces. A text begins with token 1."""
    return *parse_llama(*read_checked(WEIGHTS, folder, download)), parse_pieces(*read_checked(TOKENS, folder, download))
