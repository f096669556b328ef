"""Coloured shapes: what the reader finds is what was drawn."""
import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_edu import backend
from tinygrad_edu.data import shapes
from tinygrad_edu.data.shapes import (Shape, caption, draw_shapes, kind_map, random_shapes, read_caption, read_shapes,
                                       shape_box, shape_mask)


def same(found, drawn):
    """Equal but for the radius, which is within half a pixel."""
    assert [(s.kind, s.color, s.x, s.y, s.large) for s in found] == [(s.kind, s.color, s.x, s.y, s.large) for s in drawn]
    assert all(abs(a.radius - b.radius) <= 0.5 for a, b in zip(found, drawn))


@given(seed=st.integers(0, 9999), size=st.integers(16, 40), objects=st.integers(0, 1))
def test_the_reader_inverts_the_painter(seed, size, objects):
    backend.manual_seed(seed)
    scenes = random_shapes(5, size, objects)
    for scene, image in zip(scenes, draw_shapes(scenes, size)):
        same(read_shapes(image), scene)


@given(st.integers(0, 9999))
def test_it_also_inverts_several_shapes(seed):
    backend.manual_seed(seed)
    scenes = random_shapes(3, 32, objects=(2, 5))
    for scene, image in zip(scenes, draw_shapes(scenes)):
        found = read_shapes(image)
        same(found, scene)
        assert caption(found) == caption(scene)
        masks = [shape_mask(s) for s in scene]
        assert np.sum(masks, axis=0).max() == 1                                             # they do not overlap
        assert np.array_equal(np.any(masks, axis=0), (image != np.float32(shapes.GROUND)).any(axis=0))
        kinds = [1 + shapes.SHAPE_KINDS.index(s.kind) for s in scene]
        assert np.array_equal(kind_map([scene])[0], np.tensordot(kinds, masks, 1))
        assert [shape_box(shape_mask(s)) for s in found] == [shape_box(mask) for mask in masks]


@pytest.mark.parametrize("kind", shapes.SHAPE_KINDS)
@pytest.mark.parametrize("color", shapes.SHAPE_COLORS)
def test_every_kind_in_every_colour_at_every_radius(kind, color):
    for radius in np.concatenate([np.arange(*shapes.SMALL, 0.05), np.arange(*shapes.LARGE, 0.05)]):
        for x in (8, 8.5):
            drawn = [Shape(kind, color, x, 8, radius)]
            same(read_shapes(draw_shapes([drawn], 16)[0]), drawn)


def test_noise_does_not_disturb_the_reader():
    scenes = random_shapes(100, 32, objects=2)
    images = draw_shapes(scenes) + 0.05 * np.random.default_rng(0).standard_normal((100, 3, 32, 32))
    for scene, image in zip(scenes, images):
        same(read_shapes(image), scene)


def test_masks_and_boxes_by_hand():
    square = Shape("square", "red", 4.0, 5.0, 2.5)
    assert shape_box(shape_mask(square, 10)) == (1, 2, 7, 8) and shape_mask(square, 10).sum() == 36
    assert shape_mask(Shape("cross", "red", 4.5, 4.5, 3.0), 9).sum() == 7 * 3 + 4 * 3
    circle = shape_mask(Shape("circle", "red", 32.0, 32.0, 30.0), 64).sum()
    assert circle == pytest.approx(np.pi * 900, rel=0.01)
    triangle = shape_mask(Shape("triangle", "red", 32.0, 32.0, 30.0), 64)
    assert triangle.sum() == pytest.approx(60 * 60 / 2 + 60, rel=0.01) and (np.diff(triangle.sum(axis=1)[3:62]) >= 0).all()


def test_captions_by_hand():
    scene = [Shape("circle", "red", 5, 5, 5.0), Shape("cross", "blue", 16, 16, 3.0), Shape("square", "white", 30, 16, 3.0)]
    assert caption(scene) == ("a large red circle at the top left and a small blue cross in the middle and "
                              "a small white square at the right")
    assert caption([]) == "nothing" and read_shapes(draw_shapes([[]])[0]) == []


@given(seed=st.integers(0, 9999), size=st.integers(16, 40), objects=st.integers(0, 1))
def test_captions_read_back_say_the_same(seed, size, objects):
    backend.manual_seed(seed)
    for scene in random_shapes(10, size, objects) + random_shapes(5, 32, (2, 5)) * (size == 32):
        read = read_caption(caption(scene, size), size)
        assert caption(read, size) == caption(scene, size)
        assert [(s.kind, s.color, s.large) for s in read] == [(s.kind, s.color, s.large) for s in scene]


def test_every_caption_can_be_drawn_and_read_back():
    """432 captions of one shape: the picture of what was read is read as what was said."""
    corners = ("top left", "top", "top right", "left", "right", "bottom left", "bottom", "bottom right")
    texts = [f"a {how} {color} {kind} {place}" for how in ("small", "large") for color in shapes.SHAPE_COLORS
             for kind in shapes.SHAPE_KINDS for place in (*(f"at the {corner}" for corner in corners), "in the middle")]
    scenes = [read_caption(text) for text in texts]
    assert [caption(read_shapes(image)) for image in draw_shapes(scenes)] == texts
    assert read_caption(" and ".join(texts[:3])) == [shape for scene in scenes[:3] for shape in scene]


@pytest.mark.parametrize("text", [
    "", "a dog", "a large red circle", "a large red circle at the top left ", "a huge red circle in the middle",
    "nothing and nothing", "a large red circle in the middle and", "a red large circle in the middle",
    "a large red circle at the left top"])
def test_what_no_caption_says_is_refused(text):
    with pytest.raises(ValueError, match="read_caption: got .* expected words as"):
        read_caption(text)


def test_factors_are_drawn_evenly():
    scenes = [scene[0] for scene in random_shapes(4000, 32)]
    for values, count in (([s.kind for s in scenes], 4), ([s.color for s in scenes], 6), ([s.large for s in scenes], 2)):
        shares = np.unique(values, return_counts=True)[1] / 4000
        assert len(shares) == count and abs(shares - 1 / count).max() < 4 * np.sqrt(1 / count / 4000)
    image = draw_shapes([[scenes[0]]])
    assert image.dtype == np.float32 and image.shape == (1, 3, 32, 32)


@pytest.mark.parametrize("call", [
    lambda: random_shapes(1, 12), lambda: random_shapes(1, 32, -1), lambda: random_shapes(1, 16, 9),
    lambda: shape_mask(Shape("star", "red", 1, 1, 1)), lambda: read_shapes(np.zeros((16, 16)))])
def test_refuses(call):
    with pytest.raises(ValueError, match="got .* expected"):
        call()
