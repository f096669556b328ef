"""Balls of fog: the exact picture is the limit of the sum over samples, and cameras look where they should."""
import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_edu import backend
from tinygrad_edu.data.scenes import Balls, camera_rays, orbit, random_balls


def by_samples(balls, origin, direction, samples=20_000, far=8.0):
    """Volume rendering as NeRF does it: many short steps of constant density."""
    t = (np.arange(samples) + 0.5) * far / samples
    density, color = balls.fields(origin + t[:, None] * direction)
    kept = np.exp(-density * far / samples)
    left = np.concatenate([[1.0], np.cumprod(kept)])
    return ((left[:-1] * (1 - kept))[:, None] * color).sum(axis=0), 1 - left[-1]


def test_one_ball_by_hand():
    ball = Balls([[0, 0, 0]], [1.0], [2.0], [[1.0, 0.5, 0]])
    color, opacity = ball.render([[0, 0, 3], [0, 0, 3], [0, 0, 0], [0, 0, -3]], [[0, 0, -1], [1, 0, 0], [0, 0, 1], [0, 0, -1]])
    expected = [1 - np.exp(-4), 0, 1 - np.exp(-2), 0]                       # through, past, from inside, away
    assert opacity == pytest.approx(expected) and color == pytest.approx(np.outer(expected, [1, 0.5, 0]))


@given(st.integers(0, 999))
def test_exact_equals_many_samples(seed):
    backend.manual_seed(seed)
    balls = random_balls()
    origins, directions = camera_rays(orbit(5)[seed % 5], size=3, focal=8)
    colors, opacities = balls.render(origins, directions)
    for origin, direction, color, opacity in zip(origins, directions, colors, opacities):
        sampled = by_samples(balls, origin, direction)
        assert np.allclose(color, sampled[0], atol=0.01) and opacity == pytest.approx(sampled[1], abs=0.01)


def test_balls_stay_apart_and_inside():
    balls = random_balls(6, spread=2.0)
    assert (np.linalg.norm(balls.centres, axis=1) + balls.radii <= 2).all()
    points = np.random.default_rng(0).uniform(-2, 2, (5000, 3))
    density, color = balls.fields(points)
    assert set(np.unique(density)) <= {0.0, *balls.densities} and ((density > 0) == (color > 0).any(axis=1)).all()
    with pytest.raises(ValueError, match="got 2 balls .* expected"):
        Balls([[0, 0, 0], [1, 0, 0]], [0.6, 0.6], [1, 1], np.ones((2, 3)))


def test_cameras_look_at_the_origin():
    poses = orbit(7, distance=3.0, elevation=20)
    turns = poses[:, :3, :3]
    assert np.allclose(turns @ turns.transpose(0, 2, 1), np.eye(3)) and np.allclose(np.linalg.det(turns), 1)
    assert np.allclose(poses[:, :3, 3] - 3 * turns[:, :, 2], 0)             # going along -z for 3 leads to the origin
    assert (turns[:, 2, 1] > 0).all() and np.allclose(turns[:, 2, 0], 0)    # y up, x level
    origins, directions = camera_rays(poses[0], size=5, focal=10.0)
    assert np.allclose(directions[12], -turns[0][:, 2]) and np.allclose(np.linalg.norm(directions, axis=1), 1)
    assert directions[2, 2] > directions[22, 2] and np.allclose(origins, poses[0, :3, 3])       # the first row looks higher


def test_a_picture_has_the_ball_in_the_middle():
    ball = Balls([[0, 0, 0]], [0.5], [50.0], [[0, 1, 0]])
    opacity = ball.render(*camera_rays(orbit(3)[1], 21, focal=40))[1].reshape(21, 21)
    assert np.allclose(opacity, opacity[::-1]) and np.allclose(opacity, opacity[:, ::-1]) and opacity[10, 10] > 0.99
    assert (opacity > 0.5).sum() == pytest.approx(np.pi * (40 * 0.5 / 4) ** 2, rel=0.1)
