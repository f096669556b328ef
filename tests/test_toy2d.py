"""The toy densities: samples follow the stated density, densities have the stated entropy."""
import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_edu import backend, data
from tinygrad_edu.data import toy2d


@pytest.fixture(autouse=True)
def seed():
    backend.manual_seed(0)


def message(error):
    text = str(error.value)
    assert "\n" not in text and "got" in text and "expected" in text
    return text


TOYS = {"moons": data.TwoMoons, "eight": data.EightGaussians, "grid": data.Grid25, "circles": data.Circles,
        "spirals": data.TwoSpirals, "swiss": data.SwissRoll, "board": data.Checkerboard}


@pytest.mark.parametrize("make", TOYS.values(), ids=TOYS)
def test_toy_samples(make):
    density = make()
    points = density.sample(500)
    assert points.shape == (500, 2) and points.dtype == np.float32
    assert density.sample(3, np.float64).dtype == np.float64 and density.sample(0).shape == (0, 2)
    assert np.isfinite(density.log_density(points)).all() and density.log_density(points).dtype == np.float64

    backend.manual_seed(0)
    assert np.array_equal(density.sample(500), points)


@pytest.mark.parametrize("make", TOYS.values(), ids=TOYS)
def test_density_integrates_to_one_over_the_right_regions(make):
    """In each of 25 boxes the integral of the density equals the share of samples: it belongs to these samples."""
    density, samples = make(), make().sample(40_000, np.float64)
    edges = np.linspace(-5, 5, 6)
    steps = 200
    middle = -5 + (np.arange(5 * steps) + 0.5) * 2 / steps
    grid = np.stack(np.meshgrid(middle, middle, indexing="ij"), axis=-1).reshape(-1, 2)

    if isinstance(density, data.Checkerboard):
        fine = np.exp(density.log_density(grid))
    else:                                                       # only where the density is not negligible: faster
        fine = np.zeros(len(grid))
        near = _near(grid, samples)
        fine[near] = np.exp(density.log_density(grid[near]))
    mass = fine.reshape(5, steps, 5, steps).sum(axis=(1, 3)) * (2 / steps) ** 2
    share = np.histogram2d(*samples.T, bins=(edges, edges))[0] / len(samples)

    assert mass.sum() == pytest.approx(1, abs=2e-3)
    deviation = np.sqrt(mass * (1 - mass).clip(0) / len(samples))
    assert (abs(share - mass) <= 5 * deviation + 1e-3).all()


def _near(grid, samples):
    """Which grid points lie in or beside a cell of width 0.1 that holds a sample."""
    occupied = np.zeros((102, 102), bool)
    cell = np.floor(samples * 10).astype(int) + 51
    for dx in (-1, 0, 1):
        for dy in (-1, 0, 1):
            occupied[(cell[:, 0] + dx).clip(0, 101), (cell[:, 1] + dy).clip(0, 101)] = True
    at = np.floor(grid * 10).astype(int) + 51
    return occupied[at[:, 0].clip(0, 101), at[:, 1].clip(0, 101)]


@pytest.mark.parametrize("density, truth", [
    (data.TwoMoons(0.05), 0.289), (data.TwoMoons(0.1), 1.007),
    (data.EightGaussians(), np.log(8 * 2 * np.pi * np.e * 0.01)),
    (data.Grid25(), np.log(25 * 2 * np.pi * np.e * 0.0025)),
    (data.Circles(), 0.607), (data.TwoSpirals(), 1.889), (data.SwissRoll(), 1.637)])
def test_entropies_of_the_docstrings(density, truth):
    value, error = density.entropy()
    assert error < 0.01 and abs(value - truth) < 4 * error + 1e-3


def test_checkerboard_entropy_is_exact():
    value, error = data.Checkerboard().entropy()
    assert value == pytest.approx(np.log(8), abs=1e-12) and error == pytest.approx(0, abs=1e-12)


def test_checkerboard_squares_alternate():
    board = data.Checkerboard()
    middles = np.stack(np.meshgrid(np.arange(-3, 3) + 0.5, np.arange(-3, 3) + 0.5), axis=-1).reshape(-1, 2)
    inside = np.isfinite(board.log_density(middles))
    expected = [(abs(x) < 2) and (abs(y) < 2) and (int(np.floor(x) + np.floor(y)) % 2 == 0) for x, y in middles]
    assert inside.tolist() == expected and inside.sum() == 8


def test_mixture_density_by_hand():
    mixture = data.Mixture([[0, 0], [3, 0]], 0.5)

    def normal(x, y):
        return np.exp(-(x * x + y * y) / 0.5) / (2 * np.pi * 0.25)
    expected = np.log(0.5 * normal(1, 0.2) + 0.5 * normal(-2, 0.2))
    assert mixture.log_density([[1, 0.2]])[0] == pytest.approx(expected, abs=1e-12)

    far = mixture.log_density([[1e3, 0]])[0]                                            # finite: no underflow
    assert far == pytest.approx(-997 ** 2 / 0.5 - np.log(np.pi), rel=1e-12)


def test_circle_density_in_closed_form():
    """A noisy circle is exp(-(r^2 + R^2) / (2 s^2)) I0(r R / s^2) / (2 pi s^2)."""
    circle = data.Circles(radii=(1.0,), noise=0.3)
    r = np.linspace(0, 2.5, 30)
    exact = -(r * r + 1) / (2 * 0.09) + np.log(np.i0(r / 0.09)) - np.log(2 * np.pi * 0.09)
    assert np.allclose(circle.log_density(np.stack([0.6 * r, 0.8 * r], axis=1)), exact, atol=1e-6, rtol=0)


@pytest.mark.parametrize("make", [data.TwoMoons, data.TwoSpirals, data.SwissRoll, lambda: data.TwoMoons(0.01)])
def test_quadrature_has_converged(make, monkeypatch):
    density = make()
    monkeypatch.setattr(toy2d, "NODES", 4 * toy2d.NODES)
    finer = make()
    angle = backend.generator().uniform(0, 2 * np.pi, 300)
    near = density.centres[backend.generator().integers(len(density.centres), size=300)]
    for noises in (0, 3, 6):
        points = near + noises * density.sigma * np.stack([np.cos(angle), np.sin(angle)], axis=1)
        assert np.allclose(density.log_density(points), finer.log_density(points), atol=1e-8, rtol=0)


def test_moons_components_are_the_two_arcs():
    points, component = data.TwoMoons(0.01).labelled(2000)
    upper, lower = points[component == 0], points[component == 1]
    assert np.abs(np.hypot(*upper.T) - 1).max() < 0.06 and upper[:, 1].min() > -0.06
    assert np.abs(np.hypot(*(lower - [1, 0.5]).T) - 1).max() < 0.06 and lower[:, 1].max() < 0.56
    assert 900 < len(upper) < 1100


def test_toys_refuse_no_noise_and_wrong_points():
    for make, noise in ((data.TwoMoons, 0), (data.EightGaussians, -1), (data.SwissRoll, float("nan"))):
        with pytest.raises(ValueError) as error:
            make(noise)
        message(error)
    with pytest.raises(ValueError, match=r"\(5, 3\)") as error:
        data.TwoMoons().log_density(np.zeros((5, 3)))
    message(error)


def test_xor():
    points, labels = data.xor()
    assert (points[:, 0] != points[:, 1]).astype(int).tolist() == labels.tolist()
    assert len({tuple(p) for p in points.tolist()}) == 4


@given(n=st.integers(0, 300), margin=st.floats(0.01, 0.9), seed=st.integers(0, 99))
def test_separable_keeps_its_margin(n, margin, seed):
    backend.manual_seed(seed)
    points, labels, w = data.separable(n, margin)
    assert points.shape == (n, 2) and points.dtype == np.float32 and set(labels.tolist()) <= {-1, 1}
    assert np.linalg.norm(w) == pytest.approx(1, abs=1e-12)
    assert (labels * (points.astype(np.float64) @ w) >= margin - 1e-12).all()


@pytest.mark.parametrize("margin", [0, 1, -0.5, float("nan")])
def test_separable_refuses_an_impossible_margin(margin):
    with pytest.raises(ValueError, match="margin") as error:
        data.separable(5, margin)
    message(error)


def test_sparse_linear_is_what_it_says():
    x, y, w = data.sparse_linear(500, 40, 7, noise=0.0)
    assert x.shape == (500, 40) and np.count_nonzero(w) == 7 and np.allclose(x @ w, y)
    assert 1 <= abs(w[w != 0]).min() and abs(w).max() <= 2
    x, y, w = data.sparse_linear(20_000, 3, 0, noise=0.5)
    assert not w.any() and abs(y.std() - 0.5) < 4 * 0.5 / (2 * 20_000) ** 0.5
    with pytest.raises(ValueError, match="got 4 nonzero of 3"):
        data.sparse_linear(5, 3, 4)
