"""Balls of fog: the exact picture is the limit of the sum over samples, and cameras look where they should."""
import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_edu import backend
from tinygrad_edu.data.scenes import Balls, camera_rays, orbit, random_balls, surrounded


def by_samples(balls, origin, direction, samples=20_000, far=8.0):
    """Volume rendering as NeRF does it: many short steps of constant density."""
    t = (np.arange(samples) + 0.5) * far / samples
    density, color = balls.fields(origin + t[:, None] * direction)
    kept = np.exp(-density * far / samples)
    left = np.concatenate([[1.0], np.cumprod(kept)])
    weight = left[:-1] * (1 - kept)
    return (weight[:, None] * color).sum(axis=0), 1 - left[-1], (weight * t).sum() / max(1 - left[-1], 1e-9)


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
    for origin, direction, color, opacity, depth in zip(origins, directions, *balls.render(origins, directions),
                                                        balls.depth(origins, directions)):
        sampled = by_samples(balls, origin, direction)
        assert np.allclose(color, sampled[0], atol=0.01) and opacity == pytest.approx(sampled[1], abs=0.01)
        assert np.isnan(depth) if opacity == 0 else opacity < 0.1 or depth == pytest.approx(sampled[2], abs=0.02)


def test_balls_stay_apart_and_inside():
    balls = random_balls(6, spread=2.0)
    assert (np.linalg.norm(balls.centres, axis=1) + balls.radii <= 2).all()
    points = np.random.default_rng(0).uniform(-2, 2, (5000, 3))
    density, color = balls.fields(points)
    assert set(np.unique(density)) <= {0.0, *balls.densities} and ((density > 0) == (color > 0).any(axis=1)).all()
    with pytest.raises(ValueError, match="got 2 balls .* expected"):
        Balls([[0, 0, 0], [1, 0, 0]], [0.6, 0.6], [1, 1], np.ones((2, 3)))


def test_depth_by_hand():
    ball = Balls([[0, 0, 0]], [1.0], [1e4], [[1, 1, 1]])                    # a wall: light comes from its surface
    assert ball.depth([[0, 0, 3]], [[0, 0, -1]]) == pytest.approx([2], abs=1e-3)
    thin = Balls([[0, 0, 0]], [1.0], [1e-6], [[1, 1, 1]])                   # hardly there: from everywhere in it alike
    assert thin.depth([[0, 0, 3], [0, 0, 3]], [[0, 0, -1], [1, 0, 0]]) == pytest.approx([3, np.nan], abs=1e-3, nan_ok=True)


def test_surrounded_scene():
    scene = surrounded(random_balls(3, spread=0.4), count=5, nearest=2, farthest=20)
    distance = np.linalg.norm(scene.centres, axis=1)
    assert len(distance) == 8 and (distance[:3] < 0.4).all() and ((distance[3:] >= 2) & (distance[3:] <= 20)).all()
    assert np.allclose(scene.radii[3:], 0.3 * distance[3:])


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
