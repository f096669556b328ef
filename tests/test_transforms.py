"""Pictures changed: pairs that undo each other, sums that stay, other libraries' answers, and draws that repeat."""
import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_edu import backend
from tinygrad_edu.data import DataLoader, TensorDataset, pictures as P, transforms as T

SHAPES = st.sampled_from([(1, 6, 6), (3, 5, 8), (2, 1, 6, 6), (4, 3, 7, 5), (0, 1, 4, 4)])
ALL = [T.RandomHorizontalFlip(), T.RandomCrop(4, padding=1), T.RandomAffine(20, 0.2, (0.8, 1.2)), T.ColorJitter(0.5, 0.5, 0.5),
       T.Cutout(3), T.Compose([P.vertical_flip, lambda x: P.gaussian_blur(x, 1.0), lambda x: P.resize(x, 4)])]


def draw(shape, seed=0, dtype=np.float64):
    return np.random.default_rng(seed).random(shape).astype(dtype)


def smooth(side, n=3):
    """Pictures (n, 1, side, side) of low waves: what lies between two pixels is near their average."""
    y, x = np.indices((side, side)) / side
    waves = [0.5 + 0.25 * np.sin(4 * x + k) + 0.25 * np.cos(3 * y - k) for k in range(n)]
    return np.stack(waves)[:, None]


def disc(side, radius):
    y, x = np.indices((side, side)) - (side - 1) / 2
    return y ** 2 + x ** 2 <= radius ** 2


# ---------------------------------------------------------------- pairs that undo each other

@given(SHAPES)
def test_flips_twice_are_nothing(shape):
    x = draw(shape)
    for flip in (P.horizontal_flip, P.vertical_flip):
        assert np.array_equal(flip(flip(x)), x)
        assert sorted(flip(x).ravel()) == sorted(x.ravel())
    assert x.size == 0 or not np.array_equal(P.horizontal_flip(x), x)


@given(st.sampled_from([(1, 5, 5), (2, 3, 8, 8)]), st.integers(-4, 5))
def test_quarter_turns_are_exact(shape, quarters):
    x = draw(shape)
    turned = P.rotate(x, 90 * quarters)
    assert np.allclose(turned, np.rot90(x, quarters, axes=(-2, -1)), atol=1e-12)
    for _ in range(3):
        x = P.rotate(x, 90)
    assert np.allclose(P.rotate(x, 90), draw(shape), atol=1e-12)


@given(st.floats(-180, 180))
def test_rotate_and_back_on_the_inner_disc(degrees):
    x = smooth(33)
    back = P.rotate(P.rotate(x, degrees), -degrees)
    assert abs(back - x)[..., disc(33, 14)].max() < 2e-3                   # interpolated twice: h^2 times the curvature


def test_each_picture_may_have_its_own_angle():
    x = draw((3, 2, 6, 6))
    turned = P.rotate(x, np.array([0, 30, 90]))
    for picture, angle, result in zip(x, (0, 30, 90), turned):
        assert np.allclose(result, P.rotate(picture, angle), atol=1e-12)


def test_warp_shifts_by_whole_and_half_pixels():
    x = draw((1, 4, 4))
    down = P.warp(x, np.eye(2), (1, 0))
    assert np.allclose(down[0, 1:], x[0, :-1]) and (down[0, 0] == 0).all()
    half = P.warp(x, np.eye(2), (0, -0.5))
    assert np.allclose(half[0, :, :-1], (x[0, :, 1:] + x[0, :, :-1]) / 2) and np.allclose(half[0, :, -1], x[0, :, -1] / 2)


@given(SHAPES, st.integers(0, 3))
def test_pad_and_crop_undo_each_other(shape, pixels):
    x = draw(shape)[..., :5, :5]
    padded = P.pad(x, pixels)
    assert padded.sum() == pytest.approx(x.sum()) and padded.shape[-1] == x.shape[-1] + 2 * pixels
    if x.shape[-2] == 5:
        assert np.array_equal(P.crop(padded, pixels, pixels, 5), x) and np.array_equal(P.center_crop(padded, 5), x)


def test_crops_with_corners_of_their_own():
    x = draw((2, 3, 6, 7))
    pieces = P.crop(x, np.array([0, 2]), np.array([4, 1]), 3)
    assert np.array_equal(pieces[0], x[0, :, 0:3, 4:7]) and np.array_equal(pieces[1], x[1, :, 2:5, 1:4])
    for top, left in ((4, 0), (0, 5), (-1, 0)):
        with pytest.raises(ValueError, match="crop: got .* expected"):
            P.crop(x, top, left, 3)


@given(SHAPES)
def test_normalize_and_back(shape):
    x = draw(shape)
    mean, std = np.arange(shape[-3]) / 7, 0.5 + np.arange(shape[-3])
    assert np.allclose(P.denormalize(P.normalize(x, mean, std), mean, std), x, atol=1e-12)
    y = P.normalize(x, mean, std)
    assert np.allclose(y[..., -1, :, :], (x[..., -1, :, :] - mean[-1]) / std[-1]) and np.array_equal(P.normalize(x, 0, 1), x)


def test_normalize_with_its_own_statistics():
    x = draw((50, 3, 4, 4))
    y = P.normalize(x, x.mean((0, 2, 3)), x.std((0, 2, 3)))
    assert np.allclose(y.mean((0, 2, 3)), 0, atol=1e-12) and np.allclose(y.std((0, 2, 3)), 1)


# ---------------------------------------------------------------- sums that stay, and known answers

@given(SHAPES, st.floats(0.2, 12))
def test_blur_keeps_the_sum_and_constants(shape, sigma):
    x = draw(shape)
    blurred = P.gaussian_blur(x, sigma)
    assert np.allclose(blurred.sum((-2, -1)), x.sum((-2, -1))) and np.allclose(P.gaussian_blur(np.ones(shape), sigma), 1)
    assert blurred.size == 0 or blurred.std() < x.std()


def test_blur_of_a_point_is_a_gaussian():
    x = np.zeros((1, 41, 41))
    x[0, 20, 20] = 1
    y = np.indices((41, 41)) - 20
    expected = np.exp(-(y ** 2).sum(axis=0) / 8) / (8 * np.pi)
    assert np.allclose(P.gaussian_blur(x, 2.0)[0], expected, atol=1e-6)
    twice = P.gaussian_blur(P.gaussian_blur(x, 2.0), 2.0)                       # variances add
    assert np.allclose(twice, P.gaussian_blur(x, 8 ** 0.5), atol=1e-4)


@pytest.mark.parametrize("size", [3, 5, 8, 16])
def test_resize_equals_pillow(size):
    image = pytest.importorskip("PIL.Image")
    x = draw((1, 8, 12), dtype=np.float32)
    theirs = np.asarray(image.fromarray(x[0]).resize((size, size), image.Resampling.BILINEAR))
    assert np.allclose(P.resize(x, size)[0], theirs, atol=1e-6)


@given(SHAPES, st.integers(1, 9))
def test_resize_keeps_constants_and_its_own_size(shape, size):
    assert np.allclose(P.resize(np.full(shape, 0.3), size), 0.3)
    square = draw(shape)[..., :4, :4]
    assert np.allclose(P.resize(square, square.shape[-1]), square) or square.shape[-2] != square.shape[-1]


def test_colours_by_hand():
    x = np.array([[0.2, 0.6], [0.4, 0.4], [0.8, 0.0]]).reshape(3, 1, 2)
    grey = np.array([0.299 * 0.2 + 0.587 * 0.4 + 0.114 * 0.8, 0.299 * 0.6 + 0.587 * 0.4])
    assert np.allclose(P.grey(x)[0, 0], grey)
    assert np.allclose(P.adjust_brightness(x, 2), [[[0.4, 1]], [[0.8, 0.8]], [[1, 0]]])
    assert np.allclose(P.adjust_saturation(x, 0), np.broadcast_to(grey, (3, 1, 2)))
    assert np.allclose(P.adjust_contrast(x, 0), grey.mean()) and np.allclose(P.grey(P.adjust_saturation(x, 0.5)), P.grey(x))
    for adjust in (P.adjust_brightness, P.adjust_contrast, P.adjust_saturation):
        assert np.allclose(adjust(x, 1), x)
        assert np.allclose(adjust(np.stack([x, x]), np.array([1, 0.5]))[1], adjust(x, 0.5))


@pytest.mark.parametrize("function, arguments", [
    (P.horizontal_flip, (np.zeros((4, 4)),)), (P.rotate, (np.zeros((1, 4, 4), np.uint8), 10)),
    (P.gaussian_blur, (np.zeros((1, 4, 4)), 0)), (P.normalize, (np.zeros((3, 4, 4)), [0, 0], 1)),
    (P.normalize, (np.zeros((3, 4, 4)), 0, 0)), (P.grey, (np.zeros((2, 4, 4)),)), (T.Cutout(2), (np.zeros(4),)),
    (T.one_hot, (np.array([0, 3]), 3)), (T.one_hot, (np.array([0.0, 1.0]), 3)), (T.one_hot, (np.ones((2, 4)), 3)),
    (T.RandomCrop(5), (np.zeros((1, 4, 4)),))])
def test_refuses(function, arguments):
    with pytest.raises(ValueError, match="got .* expected"):
        function(*arguments)


# ---------------------------------------------------------------- what is drawn

@pytest.mark.parametrize("transform", ALL)
@pytest.mark.parametrize("shape", [(3, 6, 6), (5, 1, 6, 6), (0, 3, 6, 6)])
def test_transforms_keep_their_manners(transform, shape):
    """No change of the input, the same dtype, in [0, 1], new for every call, the same after the same seed."""
    x = draw(shape, dtype=np.float32)
    before = x.copy()
    backend.manual_seed(1)
    y = transform(x)
    backend.manual_seed(1)
    assert np.array_equal(transform(x), y) and np.array_equal(x, before) and not np.shares_memory(x, y)
    assert y.dtype == np.float32 and y.shape[:-2] == shape[:-2] and 0 <= y.min(initial=0) and y.max(initial=1) <= 1 + 1e-6


@pytest.mark.parametrize("transform", ALL[:-1])
def test_each_picture_is_drawn_for_itself(transform):
    y = transform(np.repeat(draw((1, 3, 8, 8)), 40, axis=0))
    assert len({picture.tobytes() for picture in y}) > 1


def test_random_flip_flips_p_of_them():
    x = draw((2000, 1, 1, 2))
    share = (T.RandomHorizontalFlip(0.3)(x)[:, 0, 0, 0] != x[:, 0, 0, 0]).mean()
    assert abs(share - 0.3) < 4 * (0.3 * 0.7 / 2000) ** 0.5
    assert np.array_equal(T.RandomHorizontalFlip(0)(x), x)


def test_random_crop_reaches_every_corner():
    x = draw((500, 1, 3, 3))
    pieces = T.RandomCrop(3, padding=1)(x)
    expected = {(top, left): P.pad(x, 1)[:, :, top:top + 3, left:left + 3] for top in range(3) for left in range(3)}
    hits = {corner: np.all(pieces == piece, axis=(1, 2, 3)) for corner, piece in expected.items()}
    assert np.sum(list(hits.values()), axis=0).tolist() == [1] * 500 and min(hit.sum() for hit in hits.values()) > 20


def test_affine_stays_within_its_range():
    x = np.zeros((400, 1, 21, 21))
    x[:, :, 10, 10] = 1                                                         # a point in the middle
    moved = T.RandomAffine(degrees=180, translate=0.1)(x)
    at = np.argwhere(moved == moved.max((1, 2, 3), keepdims=True))[:, 2:]
    assert np.abs(at - 10).max() == 2 and len(np.unique(at, axis=0)) > 20       # 0.1 of 21 pixels
    assert np.array_equal(T.RandomAffine(degrees=0)(x), x)


def test_cutout_is_one_square():
    y = T.Cutout(3)(np.ones((300, 2, 8, 8)))
    holes = 1 - y[:, 0]
    assert np.array_equal(y[:, 0], y[:, 1])
    sides = [holes.any(axis=axis).sum(axis=1) for axis in (1, 2)]
    assert np.array_equal(holes.sum((1, 2)), sides[0] * sides[1]) and {*sides[0], *sides[1]} == {2, 3}      # cut at the edge
    assert (holes.sum(0) > 0).all()                                             # reaches every pixel


# ---------------------------------------------------------------- mixing

@given(n=st.integers(1, 9), seed=st.integers(0, 99), mix=st.sampled_from([T.MixUp(4), T.CutMix(4), T.MixUp(4, 0.2)]))
def test_mixed_labels_sum_to_one_and_say_what_was_mixed(n, seed, mix):
    backend.manual_seed(seed)
    labels = np.random.default_rng(seed).integers(0, 4, n)
    x = np.repeat(np.eye(4, dtype=np.float32)[labels], 36, axis=1).reshape(n, 4, 6, 6)      # picture k: channel k is 1
    mixed, shares = mix(x, labels)
    assert mixed.dtype == shares.dtype == np.float32
    assert np.allclose(shares.sum(axis=1), 1, atol=1e-6) and shares.min() >= 0
    assert np.allclose(mixed.mean((2, 3)), shares, atol=1e-6)                   # so labels are mixed as the pictures are


def test_cutmix_pastes_one_box():
    backend.manual_seed(3)
    x = np.arange(4.0).reshape(4, 1, 1, 1) * np.ones((1, 1, 10, 10))
    mixed, shares = T.CutMix(4)(x, np.arange(4))
    pasted = mixed != x
    sides = pasted[0, 0].any(axis=0).sum() * pasted[0, 0].any(axis=1).sum() if pasted.any() else 0
    assert np.all(pasted.sum((1, 2, 3))[pasted.any((1, 2, 3))] == sides) and sides > 0
    assert shares.max(axis=1) == pytest.approx(np.where(pasted.any((1, 2, 3)), max(sides, 100 - sides) / 100, 1), abs=1e-6)


def test_mixing_takes_shares_too():
    x, y = T.MixUp(3)(draw((5, 2)), T.one_hot(np.array([0, 1, 2, 0, 1]), 3))
    assert x.shape == (5, 2) and y.shape == (5, 3)
    again = T.CutMix(3)(draw((5, 1, 4, 4)), y)[1]
    assert np.allclose(again.sum(axis=1), 1, atol=1e-6)


def test_in_a_loader():
    augment = T.Compose([T.RandomCrop(8, 1), T.Cutout(3)])
    mix = T.MixUp(10)
    data = TensorDataset(draw((20, 1, 8, 8), dtype=np.float32), np.arange(20) % 10)
    runs = [[(x.data.tobytes(), y.data.tobytes()) for x, y in DataLoader(data, 8, seed=2, prefetch=prefetch,
             transform=lambda x, y: mix(augment(x), y))] for prefetch in (0, 2)]
    assert runs[0] == runs[1] and len(runs[0]) == 3
