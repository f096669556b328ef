"""Drawn faces: the reader knows every one of them, attributes and factors do what their names say."""
import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_edu import Tensor, backend
from tinygrad_edu.data import FACE_FACTORS, draw_faces, fit_faces, random_faces, read_faces
from tinygrad_edu.data.faces import face_scores

ALL = np.array([[code >> i & 1 for i in range(6)] for code in range(64)])           # every combination of attributes


def some_factors(n, seed):
    """Half of the factors at their extremes, where reading is hardest."""
    rng = np.random.default_rng(seed)
    inside, place = rng.random((n, len(FACE_FACTORS))), rng.random((n, len(FACE_FACTORS)))
    return np.where(place < 0.25, 0, np.where(place > 0.75, 1, inside))


@given(st.integers(28, 96), st.integers(0, 10 ** 6))
def test_the_reader_reads_what_was_drawn_at_every_size(size, seed):
    images = draw_faces(ALL, some_factors(64, seed), size)
    assert images.shape == (64, size, size) and images.dtype == np.float32
    assert images.min() >= 0 and images.max() <= 1
    assert np.array_equal(read_faces(images), ALL)


def test_drawn_faces_score_at_least_one():
    attributes = np.tile(ALL, (100, 1))
    scores = face_scores(draw_faces(attributes, some_factors(6400, 7)))
    assert (scores * (2 * attributes - 1)).min() >= 1


def test_fitting_finds_a_drawn_face_again_and_not_a_blend():
    attributes, factors = ALL, np.random.default_rng(0).random((2, 64, 8))
    a, b = draw_faces(attributes, factors[0]), draw_faces(attributes, factors[1])

    def missed(images):
        fit = fit_faces(images)
        assert fit.shape == images.shape and fit.dtype == np.float32
        return np.sqrt(((images - fit) ** 2).mean(axis=(1, 2)))

    assert np.median(missed(a)) < 1e-3 and missed(a).max() < 0.01
    assert np.median(missed((a + b) / 2)) > 0.03
    other = draw_faces(1 - attributes, factors[1])
    assert np.median(missed((a + other) / 2)) > 0.1


def test_random_faces_repeat_and_are_balanced():
    backend.manual_seed(3)
    images, attributes = random_faces(2000, size=28)
    backend.manual_seed(3)
    again = random_faces(2000, size=28)
    assert np.array_equal(images, again[0]) and np.array_equal(attributes, again[1])
    assert attributes.dtype == np.int64 and abs(attributes.mean(axis=0) - 0.5).max() < 0.06
    assert abs(np.corrcoef(attributes.T) - np.eye(6)).max() < 0.1
    assert random_faces(0)[0].shape == (0, 32, 32)


def test_each_factor_does_what_its_name_says():
    bare = np.zeros((1, 6), int)

    def change(name, measure):
        """What `measure` of the picture gains when the factor goes from 0 to 1, the others at one half."""
        ends = np.full((2, len(FACE_FACTORS)), 0.5)
        ends[:, list(FACE_FACTORS).index(name)] = 0, 1
        low, high = draw_faces(bare.repeat(2, axis=0), ends, 64)
        return measure(high) - measure(low)

    def span(mask):
        return np.ptp(np.flatnonzero(mask))

    # The picture is 2 wide and 64 pixels, so 0.1 is 3.2 pixels.
    assert 2 <= change("shift right", lambda p: np.flatnonzero(p[40] > 0.7).mean()) <= 4
    assert 1 <= change("shift down", lambda p: np.flatnonzero(p[:, 32] < 0.3)[0]) <= 3
    assert 6 <= change("head width", lambda p: span(p[40] > 0.7)) <= 9
    assert 2 <= change("mouth width", lambda p: span((p[40:48, 20:44] < 0.2).any(axis=0))) <= 5
    assert 2 <= change("eye distance", lambda p: span((p[30:33, 16:48] < 0.2).any(axis=0))) <= 5
    assert change("skin tone", lambda p: p[22, 32]) == pytest.approx(0.27, abs=1e-3)
    assert change("hair tone", lambda p: p[14, 32]) == pytest.approx(0.20, abs=1e-3)
    assert change("background", lambda p: p[63, 63]) == pytest.approx(0.12, abs=1e-3)


def test_the_reader_takes_tensors_and_pictures_of_nothing():
    images, attributes = random_faces(5)
    assert np.array_equal(read_faces(Tensor(images)), attributes)
    assert np.array_equal(fit_faces(Tensor(images)), fit_faces(images))
    assert np.isfinite(face_scores(np.zeros((1, 32, 32)))).all()
    assert read_faces(images[:0]).shape == (0, 6) and fit_faces(images[:0]).shape == (0, 32, 32)


@pytest.mark.parametrize("call", [
    lambda: draw_faces(np.zeros((2, 5), int), np.zeros((2, 8))),
    lambda: draw_faces(np.zeros((2, 6), int), np.zeros((3, 8))),
    lambda: draw_faces(np.full((1, 6), 2), np.zeros((1, 8))),
    lambda: draw_faces(np.zeros((1, 6), int), np.full((1, 8), 1.5)),
    lambda: random_faces(1, size=20),
    lambda: read_faces(np.zeros((2, 3, 32, 32))),
    lambda: read_faces(np.zeros((2, 20, 20))),
])
def test_errors_say_got_and_expected(call):
    with pytest.raises(ValueError) as error:
        call()
    assert "got" in str(error.value) and "expected" in str(error.value) and "\n" not in str(error.value)
