"""Volume rendering against sums written as loops, grids against what they interpolate, the inverted sphere against itself."""
import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_edu import Tensor, backend, no_grad
from tinygrad_edu.data.scenes import Balls, camera_rays, orbit
from tinygrad_edu.models.implicit.hash_grid import HashField, HashGrid, rows_of
from tinygrad_edu.models.implicit.nerf import NeRF, positional_encoding
from tinygrad_edu.models.implicit.nerf_plus_plus import NeRFPlusPlus, inverted_back, inverted_sphere
from tinygrad_edu.models.implicit.volume import even_edges, fog, places_in, points_at, render, span, weights_along
from tinygrad_edu.models.implicit.voxels import VoxelGrid, corners, each_corner
from tinygrad_edu.testing import gradcheck, strict_cupy

SEEDS = st.integers(0, 999)
FIELDS = {"NeRF": lambda: NeRF(width=8, depth=2), "NeRF with directions": lambda: NeRF(width=8, depth=2, view_levels=2),
          "voxels": lambda: VoxelGrid(5), "hash grid": lambda: HashField(levels=3, table=64, finest=16)}


def rays(n, seed=0, radius=0.5):
    """Origins within the sphere of `radius` and directions of length 1, float64 (n, 3)."""
    rng = np.random.default_rng(seed)
    origins, directions = rng.uniform(-1, 1, (n, 3)) * radius / 3 ** 0.5, rng.standard_normal((n, 3))
    return origins, directions / np.linalg.norm(directions, axis=1, keepdims=True)


# ---------------------------------------------------------------- volume rendering

@given(SEEDS)
def test_weights_are_the_definition(seed):
    rng = np.random.default_rng(seed)
    density, lengths = rng.exponential(3, (4, 6)), rng.random((4, 6))
    weights = weights_along(density, lengths)
    for w, sigma, d in zip(weights, density, lengths):
        left = 1.0
        for i in range(6):
            assert w[i] == pytest.approx(left * (1 - np.exp(-sigma[i] * d[i])), abs=1e-12)
            left *= np.exp(-sigma[i] * d[i])
        assert w.sum() == pytest.approx(1 - left)
    gradcheck(weights_along, density, lengths)


@given(st.floats(0, 20), st.floats(0.1, 5), st.integers(1, 40))
def test_constant_fog_has_its_transmittance_however_it_is_cut(sigma, far, pieces):
    _, lengths = places_in(even_edges(0.0, far, pieces))
    assert 1 - weights_along(np.full(lengths.shape, sigma), lengths).sum() == pytest.approx(np.exp(-sigma * far), abs=1e-12)


def exact_field(balls):
    return lambda points, directions: balls.fields(points)


def test_rendering_a_scene_whose_picture_is_known():
    balls = Balls([[0, 0, 0], [0.5, 0.1, 0.3]], [0.3, 0.2], [4, 9], [[1, 0.5, 0.1], [0.2, 0.4, 1]])
    origins, directions = camera_rays(orbit(3)[1], size=6, focal=14)
    colors, opacity = balls.render(origins, directions)
    errors = {}
    for pieces in (50, 500):
        t, lengths = places_in(even_edges(np.full(36, 3.0), 5.0, pieces), jitter=False)
        color, weights = render(exact_field(balls), points_at(origins, directions, t), lengths)
        errors[pieces] = abs(color - colors).max()
        assert weights.sum(axis=1) == pytest.approx(opacity, abs=2 / pieces * 9)
    assert errors[500] < 0.01 and errors[500] < errors[50]


@given(SEEDS)
def test_places_are_in_their_pieces(seed):
    backend.manual_seed(seed)
    edges = even_edges(np.array([1.0, 2.0]), np.array([2.0, 5.0]), 7)
    t, lengths = places_in(edges)
    assert ((edges[:, :-1] <= t) & (t <= edges[:, 1:])).all() and np.allclose(lengths.sum(axis=1), [1, 3])
    assert np.allclose(places_in(edges, jitter=False)[0], (edges[:, 1:] + edges[:, :-1]) / 2)


# ---------------------------------------------------------------- fields

def test_encoding_is_its_formula():
    x = np.array([[0.25, -0.5]])
    expected = [0.25, -0.5, *np.sin(np.pi * np.array([0.25, -0.5, 0.5, -1])), *np.cos(np.pi * np.array([0.25, -0.5, 0.5, -1]))]
    assert np.allclose(positional_encoding(x, 2), [expected]) and np.array_equal(positional_encoding(x, 0), x)
    assert positional_encoding(x.astype("float32"), 3).dtype == np.float32


def test_density_does_not_depend_on_the_view():
    model, points = NeRF(width=8, depth=2, view_levels=2), rays(20)[0].astype("float32")
    with no_grad():
        (density, color), (again, other) = (model(points, rays(20, seed)[1].astype("float32")) for seed in (1, 2))
    assert np.array_equal(density.numpy(), again.numpy()) and abs((color - other).numpy()).max() > 1e-3


@pytest.mark.parametrize("name", FIELDS)
def test_every_field_is_fog_and_every_parameter_learns(name):
    model = FIELDS[name]()
    points, directions = (a.astype("float32") for a in rays(50, radius=1.7))
    density, color = model(points, directions)
    assert density.shape == (50,) and color.shape == (50, 3) and density.dtype == color.dtype == np.float32
    assert (density.numpy() if not density.requires_grad else density.detach().numpy()).min() >= 0
    (density.sum() + color.sum()).backward()
    assert all(p.grad is not None and p.grad.numpy().any() for p in model.parameters())


@pytest.mark.parametrize("name", FIELDS)
def test_gradients_through_the_rendering(name):
    model, (origins, directions) = FIELDS[name]().double(), rays(3)
    t, lengths = places_in(even_edges(np.zeros(3), 1.0, 4))
    p = model.parameters()[0]

    def picture(values):
        p.data = values.data
        return render(lambda *at: model(*at), points_at(origins, directions, t), lengths, directions)[0]

    p.requires_grad = True
    color = picture(p)
    u = np.random.default_rng(0).standard_normal(color.shape)
    color.backward(Tensor(u))
    v, start = np.random.default_rng(1).standard_normal(p.shape), p.data.copy()
    ups = [float((picture(Tensor(start + h * v)).detach().numpy() * u).sum()) for h in (1e-5, -1e-5)]
    assert (p.grad.numpy() * v).sum() == pytest.approx((ups[0] - ups[1]) / 2e-5, rel=1e-5, abs=1e-8)


def test_fields_on_a_device_without_a_device():
    """The same fields under the strict stand-in for CuPy: nothing is mixed, nothing is converted by chance."""
    origins, directions = (a.astype("float32") for a in rays(4))
    t, lengths = places_in(even_edges(np.zeros(4), 1.0, 3))
    with strict_cupy.installed(backend, strict_cupy.module()):
        for make in FIELDS.values():
            model = make().to("cuda")
            color, _ = render(model, points_at(origins, directions, t), lengths, directions)
            color.sum().backward()
            assert color.device == "cuda" and all(p.grad is not None for p in model.parameters())


# ---------------------------------------------------------------- grids

@given(SEEDS, st.integers(1, 9))
def test_corners_carry_linear_functions(seed, cells):
    points = np.random.default_rng(seed).uniform(-1, 1, (30, 3))
    places, weights = corners(points, cells)
    assert places.min() >= 0 and places.max() <= cells and weights.min() >= 0 and np.allclose(weights.sum(axis=1), 1)
    slope = np.array([1.0, -2.0, 0.5])
    values = each_corner(np.add, (places * 2 / cells - 1) * slope[:, None])                     # linear at the corners
    assert np.allclose((values * weights).sum(axis=1), points @ slope)


def test_corners_at_the_border_and_beyond():
    places, weights = corners(np.array([[1.0, -1, 5], [-9, 1, 0]]), 4)
    assert places.max() == 4 and places.min() == 0
    assert np.allclose((each_corner(np.add, places * np.array([[1.0], [0], [0]])) * weights).sum(axis=1), [4, 0])


def test_voxels_are_read_where_they_are_and_cost_their_cube():
    model, i = VoxelGrid(4), np.indices((4, 4, 4)).reshape(3, -1).T
    density, color = model((i * 2 / 3 - 1).astype("float32"))
    expected = fog(model.values)
    assert np.allclose(density.detach().numpy(), expected[0].detach().numpy(), atol=1e-5)
    assert np.allclose(color.detach().numpy(), expected[1].detach().numpy(), atol=1e-5)
    assert VoxelGrid(6).num_parameters() == 8 * VoxelGrid(3).num_parameters() == 4 * 6 ** 3
    with pytest.raises(ValueError, match="got resolution 1, expected"):
        VoxelGrid(1)


def test_rows_of_the_hash_table():
    places = np.random.default_rng(0).integers(0, 50, (20, 3, 2))
    few, hashed = rows_of(places % 4, 3, 64), rows_of(places, 49, 64)
    for n in range(20):
        for c, (i, j, k) in enumerate(np.ndindex(2, 2, 2)):
            x, y, z = int(places[n, 0, i]), int(places[n, 1, j]), int(places[n, 2, k])
            assert few[n, c] == (x % 4) * 16 + (y % 4) * 4 + z % 4
            assert hashed[n, c] == (x ^ y * 2654435761 ^ z * 805459861) % 2 ** 32 % 64
    assert HashGrid(levels=4, coarsest=4, finest=32).cells == [4, 8, 16, 32]
    with pytest.raises(ValueError, match="got a table of 100 rows, expected a power of two"):
        HashGrid(table=100)


def test_gradient_of_the_table_is_a_scatter_add():
    grid, points = HashGrid(levels=2, features=3, table=16, finest=9).double(), rays(25, radius=1.0)[0]
    u = np.random.default_rng(1).standard_normal((25, 6))
    grid(points).backward(Tensor(u))
    ids, weights = grid.ids(points)
    expected = np.zeros(grid.values.shape)
    for n, l, c in np.ndindex(ids.shape):
        expected[ids[n, l, c]] += weights[n, l, c] * u[n, 3 * l:3 * l + 3]
    assert np.allclose(grid.values.grad.numpy(), expected, atol=1e-12)


# ---------------------------------------------------------------- without an end

@given(SEEDS, st.floats(0, 6))
def test_inverted_sphere_is_bounded_and_its_own_way_back(seed, log_distance):
    directions = rays(10, seed)[1]
    points = directions * 10 ** (log_distance * np.random.default_rng(seed).random((10, 1)))
    inverted = inverted_sphere(points)
    assert np.allclose(np.linalg.norm(inverted[:, :3], axis=1), 1)
    assert inverted[:, 3].min() > 0 and inverted[:, 3].max() <= 1 + 1e-12
    assert np.allclose(inverted_back(inverted), points, rtol=1e-12)


@given(SEEDS, st.floats(1, 1e4))
def test_rays_enter_and_leave_spheres_where_they_should(seed, radius):
    origins, directions = rays(10, seed)
    enter, leave = span(origins, directions, radius)
    assert (enter < 0).all() and (leave > 0).all()                      # from inside
    for t in (enter, leave):
        assert np.linalg.norm(origins + t[:, None] * directions, axis=1) == pytest.approx(radius, rel=1e-9)
    past = span(np.array([[2.0 * radius, 0, 0]]), np.array([[0, 1.0, 0]]), radius)
    assert past[0] == past[1]


def test_what_is_near_hides_what_is_far():
    model, (origins, directions) = NeRFPlusPlus(width=8, depth=2), [a.astype("float32") for a in rays(6)]
    color = model.render(origins, directions, 5)
    assert color.shape == (6, 3) and color.dtype == np.float32 and np.isfinite(color.detach().numpy()).all()
    color.sum().backward()
    assert all(p.grad.numpy().any() for p in model.parameters())
    model.inner.head.bias.data[...] = 1e3                               # a wall inside: the outer network is not seen
    model.zero_grad()
    model.render(origins, directions, 5).sum().backward()
    assert all(abs(p.grad.numpy()).max() < 1e-6 for p in model.outer.parameters())
