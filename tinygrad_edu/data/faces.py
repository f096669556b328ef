"""Drawn faces: six attributes, there or not, eight factors that vary freely, and a reader that knows the answers.

Everybody's example for attributes are photographs of celebrities. A drawing replaces them with an advantage: from any
picture, also one that a model has made, `read_faces` reads the attributes back without having been trained.

The picture is [-1, 1]^2, x to the right and y downwards; a head is about 1.5 high. Tones: 0 is black, 1 is white.
"""
import numpy as np

from .. import backend
from ..tensor import Tensor

FACE_ATTRIBUTES = ("smile", "glasses", "hat", "beard", "long hair", "open eyes")
FACE_FACTORS = {                        # name: the values at 0 and at 1
    "shift right": (-0.05, 0.05), "shift down": (-0.03, 0.03), "head width": (0.46, 0.58), "mouth width": (0.22, 0.28),
    "eye distance": (0.19, 0.25), "skin tone": (0.68, 0.95), "hair tone": (0.02, 0.22), "background": (0.42, 0.54),
}
SMALLEST = 28                           # below, a mouth is too few pixels to be read


def random_faces(n, size=32):
    """n faces: images float32 (n, size, size) in [0, 1] and attributes int64 (n, 6), 0 or 1, all independent."""
    attributes = backend.generator().integers(0, 2, (n, len(FACE_ATTRIBUTES)))
    factors = backend.generator().random((n, len(FACE_FACTORS)))
    return draw_faces(attributes, factors, size), attributes


def draw_faces(attributes, factors, size=32):
    """The faces with `attributes` (N, 6), 0 or 1, and `factors` (N, 8), 0..1: float32 (N, size, size)."""
    attributes, factors = np.asarray(attributes), np.asarray(factors)
    if attributes.shape != (len(factors), len(FACE_ATTRIBUTES)) or factors.shape != (len(factors), len(FACE_FACTORS)):
        raise ValueError(f"draw_faces: got attributes {attributes.shape} and factors {factors.shape}, "
                         "expected (N, 6) and (N, 8)")
    if not np.isin(attributes, (0, 1)).all() or factors.min(initial=0) < 0 or factors.max(initial=1) > 1:
        raise ValueError("draw_faces: got values out of range, expected attributes 0 or 1 and factors 0..1")
    if size < SMALLEST:
        raise ValueError(f"draw_faces: got size {size}, expected at least {SMALLEST}")

    low, high = np.array(list(FACE_FACTORS.values())).T
    values = (low + factors * (high - low)).astype(np.float32)                     # (N, 8)
    blocks = [_draw(attributes[i:i + 512], values[i:i + 512], size) for i in range(0, max(len(values), 1), 512)]
    return np.concatenate(blocks)


# ---------------------------------------------------------------- drawing

class _Canvas:
    """Pictures (N, size, size) to paint shapes on. A shape is given by the distance to it, negative inside."""

    def __init__(self, background, size):
        self.size = size
        self.pixels = np.broadcast_to(background, (len(background), size, size)).copy()

    def paint(self, distance, tone, where=1.0):
        """Cover the inside of the shape with `tone`, in the pictures `where` it is 1; the border is one pixel soft."""
        cover = np.clip(0.5 - distance * (self.size / 2), 0, 1) * where
        self.pixels += cover * (tone - self.pixels)


def _ellipse(x, y, rx, ry):
    return (np.sqrt((x / rx) ** 2 + (y / ry) ** 2) - 1) * np.minimum(rx, ry)


def _box(x, y, half_width, half_height):
    return np.maximum(abs(x) - half_width, abs(y) - half_height)


def _draw(attributes, values, size):
    right, down, width, mouth, eyes, skin, hair, background = values.T[:, :, None, None]       # (N, 1, 1) each
    smile, glasses, hat, beard, long_hair, open_eyes = attributes.T[:, :, None, None].astype(np.float32)
    centers = (np.arange(size, dtype=np.float32) + 0.5) * (2 / size) - 1
    x, y = centers - right, centers[:, None] - down                                # (N, 1, size), (N, size, 1)
    canvas = _Canvas(background, size)

    # From the back to the front: hair, head, hat, and what is on the face.
    canvas.paint(_box(x, y - 0.22, width + 0.25, 0.58), hair, long_hair)
    canvas.paint(_ellipse(x, y + 0.02, width + 0.1, 0.72), hair)
    head = _ellipse(x, y - 0.06, width, 0.74)
    canvas.paint(np.maximum(head, -0.38 - y), skin)
    canvas.paint(np.maximum(head, 0.59 - y), hair, beard)
    canvas.paint(_box(x, y + 0.75, 0.5, 0.24), 1.0, hat)
    canvas.paint(_box(x, y + 0.54, 0.85, 0.07), 1.0, hat)
    _draw_features(canvas, x, y, mouth, eyes, skin, smile, glasses, open_eyes)
    return canvas.pixels


def _draw_features(canvas, x, y, mouth, eyes, skin, smile, glasses, open_eyes):
    eye = abs(x) - eyes                                                            # both eyes at once
    canvas.paint(_ellipse(eye, y + 0.08, 0.10, 0.11), 0.05, open_eyes)
    canvas.paint(_box(eye, y + 0.02, 0.12, 0.025), 0.05, 1 - open_eyes)
    ring = abs(_ellipse(eye, y + 0.08, 0.19, 0.2)) - 0.035
    bridge = _box(x, y + 0.08, 0.05, 0.035)
    canvas.paint(np.minimum(ring, bridge), 0.0, glasses)
    canvas.paint(_box(x, y - 0.16, 0.05, 0.025), 0.6 * skin)                        # nose

    bend = 0.16 * (2 * smile - 1)
    lips = abs(y - 0.4 + bend * ((x / mouth) ** 2 - 0.5)) - 0.035
    canvas.paint(np.maximum(lips, abs(x) - mouth), 0.1)


# ---------------------------------------------------------------- reading

def read_faces(images):
    """The attributes that pictures (N, size, size) show, int64 (N, 6), 0 or 1; without error where they were drawn."""
    return (face_scores(images) > 0).astype(np.int64)


def face_scores(images):
    """How surely pictures (N, size, size) show each attribute, (N, 6). Faces drawn 32 wide score <= -1 or >= 1."""
    images = _pictures(images)
    cheeks = np.maximum(_tone(images, (0.1, 0.3), (0.19, 0.25)), _tone(images, (0.1, 0.25), (0.2, 0.3)))
    skin = np.maximum(cheeks, 0.01)                                                # a black picture is no error
    smile = _dark_height(images, (0, 0.08), 0.85 * skin) - _dark_height(images, (0.16, 0.24), 0.85 * skin)
    glasses = _tone(images, (0, 0.05), (-0.16, 0.0)) / skin
    hat = _tone(images, (0, 0.4), (-0.95, -0.82))
    beard = _tone(images, (0, 0.15), (0.66, 0.71))
    long_hair = _tone(images, (0.58, 0.65), (0.5, 0.72))
    open_eyes = _tone(images, (0.18, 0.26), (-0.17, 0.01)) / skin
    return np.stack([smile / 0.04, (0.68 - glasses) / 0.14, (hat - 0.75) / 0.2, (0.45 - beard) / 0.16,
                     (0.335 - long_hair) / 0.08, (0.535 - open_eyes) / 0.14], axis=1)


def fit_faces(images, steps=6):
    """The drawn faces most like the pictures (N, size, size), float32 of that shape.

    Attributes are read. Factors are found by Gauss-Newton on the squared error, with derivatives by differences.
    """
    images = _pictures(images)
    attributes, size, K = read_faces(images), images.shape[1], len(FACE_FACTORS)
    factors, nudges = np.full((len(images), K), 0.5), 0.05 * np.eye(K)

    def drawn(factors):
        return draw_faces(attributes, factors, size).reshape(len(images), size * size)

    for _ in range(steps):
        now = drawn(factors)                                                       # (N, size size)
        inward = np.where(factors > 0.5, -1, 1)                                    # (N, K), stays within 0..1
        slopes = np.stack([drawn(factors + inward * nudge) - now for nudge in nudges], axis=1)      # (N, K, size size)
        slopes *= inward[:, :, None] / 0.05
        downhill = slopes @ (images.reshape(now.shape) - now)[:, :, None]          # (N, K, 1)
        step = np.linalg.solve(slopes @ slopes.swapaxes(1, 2) + 1e-3 * np.eye(K), downhill)
        factors = np.clip(factors + step[:, :, 0], 0, 1)
    return draw_faces(attributes, factors, size)


def _pictures(images):
    """Arrays or Tensors as float64 arrays (N, size, size)."""
    images = backend.to_numpy(images.data if isinstance(images, Tensor) else images).astype(np.float64)
    if images.ndim != 3 or images.shape[1] != images.shape[2] or images.shape[1] < SMALLEST:
        raise ValueError(f"faces: got shape {images.shape}, expected (N, size, size), size at least {SMALLEST}")
    return images


def _tone(images, xs, ys):
    """The mean tone (N,) of the pixels in the two boxes |x| in `xs`, y in `ys`; a pixel counts by its share inside."""
    edges = np.linspace(-1, 1, images.shape[1] + 1)
    weights = np.outer(_share(edges, *ys), _share(edges, *xs) + _share(edges, -xs[1], -xs[0]))
    return np.einsum("nij,ij->n", images, weights) / weights.sum()


def _share(edges, low, high):
    return np.clip(np.minimum(edges[1:], high) - np.maximum(edges[:-1], low), 0, None)


def _dark_height(images, xs, skin):
    """The mean y (N,) of what is darker than `skin` (N,) around the mouth, |x| in `xs`; the middle if nothing is."""
    heights = np.linspace(0.28, 0.52, 7)
    half = (heights[1] - heights[0]) / 2
    dark = np.stack([np.maximum(skin - _tone(images, xs, (y - half, y + half)), 0) for y in heights])         # (7, N)
    return (heights @ dark + 0.4 * 0.01) / (dark.sum(axis=0) + 0.01)
