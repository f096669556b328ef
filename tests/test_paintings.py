"""Paintings: slope and curvature by hand against differences, and what is promised about the range."""
import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_edu import backend
from tinygrad_edu.data.paintings import Painting, pixel_centres, random_painting


def central(function, points, h):
    """The derivative of `function`, (N,) or (N, D), along x and along y by differences: a pair."""
    return [(function(points + h * e) - function(points - h * e)) / (2 * h) for e in np.eye(2)]


@given(st.integers(0, 999))
def test_slope_and_curvature_against_differences(seed):
    backend.manual_seed(seed)
    painting, points = random_painting(waves=5, discs=3), np.random.default_rng(seed).uniform(-1, 1, (50, 2))
    _, gradient, laplacian = painting.fields(points)
    slopes = central(lambda p: painting.fields(p)[0], points, 1e-6)
    curvatures = central(lambda p: painting.fields(p)[1], points, 1e-6)
    assert np.allclose(np.stack(slopes, axis=1), gradient, rtol=1e-6, atol=1e-6)
    assert np.allclose(curvatures[0][:, 0] + curvatures[1][:, 1], laplacian, rtol=1e-5, atol=1e-4)


def test_one_wave_and_one_disc_by_hand():
    wave = Painting([[np.pi, 0, 0, 1]], [])                         # cos(pi x), from -1 to 1
    value, gradient, laplacian = wave.fields([[0, 0], [0.5, 0.3], [1, 0]])
    assert value == pytest.approx([1, 0.5, 0], abs=1e-3) and laplacian == pytest.approx(-np.pi ** 2 * (value - 0.5), abs=1e-2)
    assert gradient[:, 0] == pytest.approx([0, -np.pi / 2, 0], abs=1e-3) and not gradient[:, 1].any()
    disc = Painting([], [[0, 0, 0.5, 1]], softness=0.01)
    value, gradient, _ = disc.fields([[0, 0], [0.5, 0], [0, -0.9]])
    assert value == pytest.approx([1, 0.5, 0], abs=0.02)
    assert gradient[1] == pytest.approx([-25, 0], abs=1) and not gradient[0].any()


def test_pictures():
    picture = random_painting().draw(256)
    assert picture.shape == (256, 256) and picture.dtype == np.float32
    assert picture.min() == pytest.approx(0, abs=1e-6) and picture.max() == pytest.approx(1, abs=1e-6)
    assert pixel_centres(2).tolist() == [[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]]
    backend.manual_seed(3)
    first = random_painting().draw(8)
    backend.manual_seed(3)
    assert np.array_equal(first, random_painting().draw(8))
    assert Painting([], []).draw(3).tolist() == [[0.0] * 3] * 3        # nothing on it
    with pytest.raises(ValueError, match="got softness 0, expected"):
        Painting([], [], softness=0)
