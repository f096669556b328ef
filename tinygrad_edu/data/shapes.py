"""Coloured shapes on a dark ground: pictures that know their class, box, mask and caption, and a reader that knows them too.

They replace photographs with annotations. A pixel belongs to a shape or it does not, shapes do not touch, and
centres lie on the corners and middles of pixels; therefore `read_shapes` finds in a drawn picture exactly what was drawn.
It reads noisy and blurred pictures as well, also those that a model has made.

Coordinates are pixels from the top left corner of the picture, x to the right and y downwards: the first pixel covers 0..1.
"""
from dataclasses import dataclass, replace

import numpy as np

from .. import backend

SHAPE_KINDS = ("circle", "square", "triangle", "cross")
SHAPE_COLORS = {"red": (0.9, 0.1, 0.1), "green": (0.1, 0.8, 0.2), "blue": (0.2, 0.3, 1.0), "yellow": (1.0, 0.9, 0.1),
                "purple": (0.8, 0.2, 0.9), "white": (1.0, 1.0, 1.0)}
SMALL, LARGE = (3.0, 3.95), (5.0, 6.5)          # half the width in pixels; a circle of radius 2.5 would be a square
GROUND = 0.1                                    # the grey of the ground
GAP = 2                                         # pixels between two outlines, so one pixel at least stays free
OFF = (np.arange(-10, 12) + 0.5) * 0.05         # true minus visible half width, in steps that tell all circles apart


@dataclass(frozen=True)
class Shape:
    """One shape: a kind and a color, both by name, the centre (x, y) and half the width, in pixels."""
    kind: str
    color: str
    x: float
    y: float
    radius: float

    @property
    def large(self):
        return self.radius > (SMALL[1] + LARGE[0]) / 2


def random_shapes(n, size=32, objects=1):
    """n scenes, each a list of shapes, `objects` of them or a random number from..to if it is a pair. All else is independent.

    `size` of the pictures in pixels, at least 14; five shapes always fit into 32.
    """
    low, high = (objects, objects) if isinstance(objects, int) else objects
    if size < 2 * LARGE[1] + 1 or not 0 <= low <= high:
        raise ValueError(f"random_shapes: got size {size} and {objects} objects, expected at least 14 pixels and 0 objects")
    counts = backend.generator().integers(low, high + 1, n)
    return [_scene(size, count) for count in counts]


def draw_shapes(scenes, size=32):
    """The pictures float32 (N, 3, size, size) in [0, 1] of a list of scenes."""
    images = np.full((len(scenes), 3, size, size), GROUND, np.float32)
    for image, scene in zip(images, scenes):
        for shape in scene:
            image[:, shape_mask(shape, size)] = np.array(SHAPE_COLORS[shape.color], np.float32)[:, None]
    return images


def shape_mask(shape, size=32):
    """Which pixels a shape covers: bool (size, size)."""
    centres = np.arange(size) + 0.5
    dx, dy, r = abs(centres - shape.x), centres[:, None] - shape.y, shape.radius
    inside = {"circle": lambda: dx ** 2 + dy ** 2 <= r ** 2,
              "square": lambda: np.maximum(dx, abs(dy)) <= r,
              "triangle": lambda: (abs(dy) <= r) & (dx <= (dy + r) / 2 + 0.5) & (dx <= r),
              "cross": lambda: (np.maximum(dx, abs(dy)) <= r) & (np.minimum(dx, abs(dy)) <= r / 3)}
    if shape.kind not in inside:
        raise ValueError(f"shape_mask: got kind {shape.kind!r}, expected one of {SHAPE_KINDS}")
    return inside[shape.kind]()


def kind_map(scenes, size=32):
    """What each pixel belongs to, int64 (N, size, size): 0 the ground, 1.. the kinds in the order of SHAPE_KINDS."""
    kinds = np.zeros((len(scenes), size, size), np.int64)
    for pixels, scene in zip(kinds, scenes):
        for shape in scene:
            pixels[shape_mask(shape, size)] = 1 + SHAPE_KINDS.index(shape.kind)
    return kinds


def shape_box(mask):
    """The smallest box around a mask: (x from, y from, x to, y to), edges of pixels."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def caption(scene, size=32):
    """What is to be seen: "a large red circle at the top left and a small blue cross in the middle"."""
    return " and ".join(f"a {'large' if s.large else 'small'} {s.color} {s.kind} {_place(s, size)}" for s in scene) or "nothing"


def read_caption(text, size=32):
    """The way back: a scene of which `caption` says this text, each shape in the middle of its place, the smallest of its size.

    A caption does not say everything: a scene that is read back from it has other numbers, but the same words, and its shapes
    may lie on each other.
    """
    return [] if text == "nothing" else [_read_phrase(phrase, size) for phrase in text.split(" and ")]


def read_shapes(image):
    """The shapes in a picture (3, H, H), from the top down and then from left to right; the radius within half a pixel."""
    image = np.asarray(image, np.float64)
    if image.ndim != 3 or image.shape[0] != 3 or image.shape[1] != image.shape[2]:
        raise ValueError(f"read_shapes: got shape {image.shape}, expected (3, H, H)")
    palette = np.array([(GROUND,) * 3, *SHAPE_COLORS.values()])                             # the ground is colour 0
    nearest = ((image[None] - palette[:, :, None, None]) ** 2).sum(axis=1).argmin(axis=0)   # (H, H)
    found = [_recognize(piece, list(SHAPE_COLORS)[k - 1])
             for k in range(1, len(palette)) for piece in _connected(nearest == k)]
    return sorted((shape for shape in found if shape), key=lambda shape: (shape.y, shape.x))


# ---------------------------------------------------------------- making scenes

def _scene(size, count):
    """Shapes one by one where there is room; from the start again where there is none."""
    for _ in range(50):
        scene = []
        for _ in range(20 * count):
            shape = _random_shape(size)
            if all(max(abs(shape.x - s.x), abs(shape.y - s.y)) >= shape.radius + s.radius + GAP for s in scene):
                scene.append(shape)
            if len(scene) == count:
                break
        if len(scene) == count:
            return sorted(scene, key=lambda shape: (shape.y, shape.x))
    raise ValueError(f"random_shapes: got {count} objects for {size} x {size} pixels, expected fewer, they do not fit")


def _random_shape(size):
    rng = backend.generator()
    radius = rng.uniform(*(LARGE if rng.random() < 0.5 else SMALL))
    lowest, highest = int(np.ceil(2 * radius)), int(np.floor(2 * (size - radius)))
    x, y = rng.integers(lowest, highest + 1, 2) / 2                                         # corners or middles of pixels
    return Shape(str(rng.choice(SHAPE_KINDS)), str(rng.choice(list(SHAPE_COLORS))), float(x), float(y), float(radius))


def _place(shape, size):
    row, column = (min(int(3 * at / size), 2) for at in (shape.y, shape.x))
    words = [["top", "", "bottom"][row], ["left", "", "right"][column]]
    return "at the " + " ".join(word for word in words if word) if any(words) else "in the middle"


# ---------------------------------------------------------------- reading them

def _read_phrase(phrase, size):
    """"a large red circle at the top left" -> a Shape. What a caption would say in other words is no caption."""
    words = phrase.split()
    radius = (LARGE if "large" in words else SMALL)[0]
    x, y = (1 if after in words else -1 if before in words else 0 for before, after in (("left", "right"), ("top", "bottom")))
    x, y = (min(max(np.round((3 + 2 * side) * size / 3) / 2, np.ceil(2 * radius) / 2), size - radius) for side in (x, y))
    if len(words) > 3 and words[2] in SHAPE_COLORS and words[3] in SHAPE_KINDS:
        shape = Shape(words[3], words[2], float(x), float(y), radius)
        if caption([shape], size) == phrase:
            return shape
    raise ValueError(f"read_caption: got {phrase!r} for {size} pixels, expected words as `caption` has them")


def _connected(mask):
    """The connected pieces of a mask, each a mask of its own; pixels touch at their sides."""
    left, pieces = mask.copy(), []
    while left.any():
        piece = np.zeros_like(mask)
        stack = [tuple(np.argwhere(left)[0])]
        while stack:
            row, column = stack.pop()
            if 0 <= row < len(mask) and 0 <= column < len(mask) and left[row, column]:
                left[row, column], piece[row, column] = False, True
                stack += [(row - 1, column), (row + 1, column), (row, column - 1), (row, column + 1)]
        pieces.append(piece)
    return pieces


def _recognize(mask, color):
    """The shape whose mask is most like this one; None if it is too small to be one."""
    x1, y1, x2, y2 = shape_box(mask)
    half = max(x2 - x1, y2 - y1) / 2
    if half < 2:
        return None
    guesses = [Shape(kind, color, (x1 + x2) / 2, (y1 + y2) / 2, half + off) for kind in SHAPE_KINDS for off in OFF]
    overlaps = [_overlap(shape_mask(guess, len(mask)), mask) for guess in guesses]
    best = [guess for guess, overlap in zip(guesses, overlaps) if overlap == max(overlaps)]
    return replace(best[0], radius=float(np.mean([guess.radius for guess in best if guess.kind == best[0].kind])))


def _overlap(a, b):
    return (a & b).sum() / (a | b).sum()
