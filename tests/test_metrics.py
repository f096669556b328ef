"""The metrics on cases whose answer is known, against slow definitions, and on the digits."""
import math

import numpy as np
import pytest
from hypothesis import given, strategies as st

from tinygrad_edu import metrics
from tinygrad_edu.data import load_digits
from tinygrad_edu.tensor import Tensor


def points(seed, n, d=3, scale=1.0):
    return np.random.default_rng(seed).normal(size=(n, d)) * scale


# ---------------------------------------------------------------- accuracy, entropy

def test_accuracy_by_hand():
    logits = np.array([[0, 2, 1], [5, 1, 1], [0, 0, 9], [1, 0, 0]], np.float32)
    assert metrics.accuracy(logits, np.array([1, 0, 2, 2])) == 0.75
    assert metrics.accuracy(Tensor(logits), Tensor(np.array([1, 0, 2, 2]))) == 0.75


@pytest.mark.parametrize("logits, labels", [(np.zeros(3), np.zeros(3)), (np.zeros((3, 2)), np.zeros((3, 1))),
                                            (np.zeros((3, 2)), np.zeros(4)), (np.zeros((0, 2)), np.zeros(0))])
def test_accuracy_refuses(logits, labels):
    with pytest.raises(ValueError, match="got .* expected"):
        metrics.accuracy(logits, labels)


def test_running_mean_by_hand():
    assert metrics.running_mean([1, 2, 6, 3], 2).tolist() == [1.5, 4, 4.5]
    assert metrics.running_mean([1.0, 2.0], 2).tolist() == [1.5] and metrics.running_mean([1.0, 2.0], 3).tolist() == [1, 2]
    assert metrics.running_mean([], 3).tolist() == []
    with pytest.raises(ValueError, match=r"running_mean: got shape \(2, 2\) and n 1, expected \(N,\) and at least 1"):
        metrics.running_mean(np.eye(2), 1)
    with pytest.raises(ValueError, match="got shape .* and n 0"):
        metrics.running_mean([1.0], 0)


def test_recall_by_hand():
    scores = np.array([[3, 1, 2, 0], [1, 0, 3, 2], [0, 1, 2, 3]], np.float32)
    assert [metrics.recall_at_k(scores, k) for k in (1, 2, 3, 4, 9)] == pytest.approx([1 / 3, 2 / 3, 2 / 3, 1, 1])
    assert metrics.recall_at_k(Tensor(scores), 1, np.array([0, 2, 3])) == 1
    assert metrics.recall_at_k(scores, labels=[3, 1, 0]) == 0


@given(n=st.integers(1, 8), k=st.integers(1, 9), seed=st.integers(0, 99))
def test_recall_where_scores_are_equal_is_that_of_a_lot(n, k, seed):
    assert metrics.recall_at_k(np.zeros((n, 8)), k) == pytest.approx(min(k / 8, 1))
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 3, (n, 8)), rng.integers(0, 8, n)
    drawn = np.mean([np.argsort(rng.random((n, 8)) - scores, axis=1)[:, :k] == labels[:, None] for _ in range(400)], axis=0)
    assert metrics.recall_at_k(scores, k, labels) == pytest.approx(drawn.sum(axis=1).mean(), abs=0.15)


@pytest.mark.parametrize("scores, k, labels", [(np.zeros(3), 1, None), (np.zeros((3, 2)), 1, None), (np.zeros((0, 2)), 1, None),
                                               (np.eye(2), 0, None), (np.eye(2), 1, [0]), (np.eye(2), 1, [0, -1])])
def test_recall_refuses(scores, k, labels):
    with pytest.raises(ValueError, match="got .* expected"):
        metrics.recall_at_k(scores, k, labels)


def test_class_entropy_by_hand():
    assert metrics.class_entropy(np.arange(10).repeat(3), 10) == pytest.approx(math.log(10), abs=1e-12)
    assert math.copysign(1, metrics.class_entropy([4, 4, 4], 10)) == 1 and metrics.class_entropy([4, 4, 4], 10) == 0
    quarter = 0.75 * math.log(4 / 3) + 0.25 * math.log(4)
    assert metrics.class_entropy([0, 0, 0, 1], 2) == pytest.approx(quarter, abs=1e-12)


@pytest.mark.parametrize("labels", [np.array([], int), np.array([0, 10]), np.array([-1])])
def test_class_entropy_refuses(labels):
    with pytest.raises(ValueError, match="got .* expected"):
        metrics.class_entropy(labels, 10)


def test_calibration_error_by_hand():
    p = np.array([[0.8, 0.2], [0.8, 0.2], [0.3, 0.7], [0.0, 1.0]])
    assert metrics.calibration_error(p, [0, 1, 1, 1], bins=10) == pytest.approx((abs(0.2 - 0.8) + 0.3 + 0) / 4)
    assert metrics.calibration_error(Tensor(p), np.array([0, 0, 1, 1]), bins=1) == pytest.approx(1 - 3.3 / 4)
    assert metrics.calibration_error(np.eye(3), [0, 1, 2]) == 0 and metrics.calibration_error(np.eye(3), [1, 2, 0]) == 1


def test_calibration_error_of_the_truth_is_small():
    rng = np.random.default_rng(0)
    p = rng.dirichlet(np.ones(4), 40_000)
    labels = (p.cumsum(axis=1) < rng.random((40_000, 1))).sum(axis=1)
    sharpened = p ** 3 / (p ** 3).sum(axis=1, keepdims=True)
    assert metrics.calibration_error(p, labels) < 0.015 < 0.15 < metrics.calibration_error(sharpened, labels)


@pytest.mark.parametrize("p, labels, bins", [(np.ones((2, 2)), [0, 1], 5), (np.eye(2), [0], 5), (np.eye(2), [0, 1], 0),
                                             (np.ones(2) / 2, [0, 1], 5), (np.ones((0, 2)), [], 5)])
def test_calibration_error_refuses(p, labels, bins):
    with pytest.raises(ValueError, match="got .* expected"):
        metrics.calibration_error(p, labels, bins)



def test_bigram_nats_by_hand():
    """0 is followed by 1 three times, by 0 never: with one more each, p(1 | 0) = 4 / 5. Nothing is known of 1: 1 / 2 each."""
    pairs = np.array([0, 0, 0]), np.array([1, 1, 1])
    assert metrics.bigram_nats(pairs, ([0], [1]), 2) == pytest.approx(-math.log(4 / 5))
    assert metrics.bigram_nats(pairs, (Tensor(np.array([0, 1])), np.array([0, 1])), 2) == pytest.approx(math.log(10) / 2)


@pytest.mark.parametrize("pairs, asked", [(([0], [0, 1]), ([0], [0])), (([0], [0]), ([0, 1], [0])), (([0], [0]), ([], []))])
def test_bigram_nats_refuses(pairs, asked):
    with pytest.raises(ValueError, match="bigram_nats: got .* expected pairs"):
        metrics.bigram_nats(pairs, asked, 2)

# ---------------------------------------------------------------- neighbours

def test_knn_by_hand():
    train, labels = np.array([[0.0], [1.0], [2.0], [10.0]]), np.array([7, 7, 3, 3])
    assert metrics.knn_classify(train, labels, [[1.4], [9.0], [1.6]]).tolist() == [7, 3, 3]
    assert metrics.knn_classify(train, labels, [[1.6]], k=3).tolist() == [7]
    assert metrics.knn_classify(train, labels, [[1.6]], k=2).tolist() == [3]             # one vote each: 2.0 is nearer
    assert metrics.knn_classify(train, labels, np.zeros((0, 1))).shape == (0,)


@given(seed=st.integers(0, 999), k=st.integers(1, 9))
def test_knn_equals_its_definition(seed, k):
    train, test, labels = points(seed, 30), points(seed + 1, 6), np.random.default_rng(seed).integers(0, 3, 30)
    expected = []
    for x in test:
        voters = labels[np.argsort(((train - x) ** 2).sum(axis=1))[:k]].tolist()
        expected.append(max(voters, key=voters.count))               # max keeps the first, the nearest
    assert metrics.knn_classify(train, labels, test, k).tolist() == expected


def test_knn_of_all_different_labels_is_the_nearest():
    train, test = points(0, 2000), points(1, 20)
    answer = metrics.knn_classify(train, np.arange(2000), test, k=500)
    assert np.array_equal(answer, metrics.knn_classify(train, np.arange(2000), test))


@pytest.mark.parametrize("k, labels", [(0, np.zeros(4)), (5, np.zeros(4)), (1, np.zeros(3))])
def test_knn_refuses(k, labels):
    with pytest.raises(ValueError, match="got .* expected"):
        metrics.knn_classify(np.zeros((4, 2)), labels, np.zeros((1, 2)), k)


def test_knn_on_the_digits():
    (train, labels), (test, test_labels) = load_digits("train"), load_digits("test")
    correct = metrics.knn_classify(train, labels, test) == test_labels
    assert correct.sum() == 356                                                          # 0.989


@given(seed=st.integers(0, 999), offset=st.sampled_from([0.0, 1e8]))
def test_nearest_distance_equals_its_definition(seed, offset):
    samples, references = points(seed, 7) + offset, points(seed + 1, 11) + offset
    expected = np.linalg.norm(samples[:, None] - references, axis=2).min(axis=1)
    assert np.allclose(metrics.nearest_distance(samples, references), expected, rtol=1e-9, atol=0)


def test_nearest_distance_finds_copies_exactly():
    references = points(0, 50, 64).reshape(50, 8, 8)
    samples = np.concatenate([references[[7, 3]], references[:1] + 1])
    distance = metrics.nearest_distance(Tensor(samples), references)
    assert distance[:2].tolist() == [0, 0] and distance[2] == pytest.approx(8, rel=1e-12)
    with pytest.raises(ValueError, match="no references"):
        metrics.nearest_distance(samples, references[:0])
    with pytest.raises(ValueError, match="sizes 64 and 32"):
        metrics.nearest_distance(samples, references[:, :4])


# ---------------------------------------------------------------- the two-sample test

def test_two_sample_extremes():
    cloud = points(0, 40)
    assert metrics.two_sample_1nn(cloud, cloud + 100) == 1                               # told apart always
    assert metrics.two_sample_1nn(cloud, cloud) == 0                                     # memorised: always fooled
    assert metrics.two_sample_1nn(np.zeros((5, 2)), np.zeros((5, 2))) == pytest.approx(4 / 9)    # all tied


@given(st.integers(0, 999))
def test_two_sample_equals_its_definition(seed):
    real, fake = points(seed, 12), points(seed + 1, 12, scale=1.5)
    both = np.concatenate([real, fake])
    right = 0
    for i, x in enumerate(both):
        distance = np.linalg.norm(both - x, axis=1)
        distance[i] = np.inf
        right += (distance.argmin() < 12) == (i < 12)
    assert metrics.two_sample_1nn(real, fake) == pytest.approx(right / 24, abs=1e-12)


def test_blocks_change_nothing(monkeypatch):
    real, fake = points(0, 50), points(1, 50)
    labels = np.arange(50) % 4
    whole = metrics.two_sample_1nn(real, fake), metrics.nearest_distance(real, fake)
    answer = metrics.knn_classify(real, labels, fake, 5)
    monkeypatch.setattr(metrics, "BLOCK", 350)                                           # 3 rows or 7 at a time
    assert metrics.two_sample_1nn(real, fake) == whole[0]
    assert np.allclose(metrics.nearest_distance(real, fake), whole[1], rtol=1e-12)
    assert np.array_equal(metrics.knn_classify(real, labels, fake, 5), answer)


@pytest.mark.parametrize("real, fake", [((5, 2), (4, 2)), ((5, 2), (5, 3)), ((0, 2), (0, 2))])
def test_two_sample_refuses(real, fake):
    with pytest.raises(ValueError, match="got .* expected"):
        metrics.two_sample_1nn(np.zeros(real), np.zeros(fake))


def test_two_sample_on_the_digits():
    """Real against real is a coin toss; a Gaussian with the right mean and covariance is found out."""
    train, test = load_digits("train")[0].reshape(-1, 64), load_digits("test")[0].reshape(-1, 64)
    rng = np.random.default_rng(0)
    gaussian = rng.multivariate_normal(train.mean(axis=0), np.cov(train.T.astype(np.float64)), size=1437, method="svd")

    same = [metrics.two_sample_1nn(test, train[rng.permutation(1437)[:360]]) for _ in range(5)]
    assert abs(np.mean(same) - 0.5) < 0.03            # 720 tosses each: deviation 0.019, of the mean of 5 about 0.01
    assert metrics.two_sample_1nn(test, gaussian[:360]) == pytest.approx(0.83, abs=0.03)
    assert metrics.two_sample_1nn(test, gaussian[:360].clip(0, 1)) == pytest.approx(0.91, abs=0.03)
    assert metrics.two_sample_1nn(train, gaussian.clip(0, 1)) == pytest.approx(0.94, abs=0.02)


# ---------------------------------------------------------------- psnr

def test_psnr_by_hand():
    image = np.zeros((4, 4), np.uint8)
    assert metrics.psnr(image, image + 1, peak=255) == pytest.approx(20 * math.log10(255), abs=1e-12)
    assert metrics.psnr(np.full((2, 2), 0.5), np.full((2, 2), 0.6)) == pytest.approx(20, abs=1e-9)
    assert metrics.psnr(Tensor(image), image) == math.inf
    with pytest.raises(ValueError, match="got .* expected"):
        metrics.psnr(image, image[:2])


# ---------------------------------------------------------------- distributions: distance in one dimension, modes

def test_wasserstein_1d_by_hand():
    a = points(0, 500, 1)[:, 0]
    assert metrics.wasserstein_1d(a, a[::-1]) == 0
    assert metrics.wasserstein_1d(a, a + 3) == pytest.approx(3)                # a shift moves everything by the same
    assert metrics.wasserstein_1d([0, 1, 2], Tensor([5, 3, 4])) == pytest.approx(3)
    with pytest.raises(ValueError, match=r"got shapes \(2,\) and \(3,\)"):
        metrics.wasserstein_1d([0, 1], [0, 1, 2])


def test_modes_covered_by_hand():
    centres = np.array([[0.0, 0], [10, 0], [0, 10]])
    samples = np.concatenate([centres[[0] * 50], centres[[1] * 49] + [0, 0.9], [[10, 1.1]], centres[2:], [[5, 5.0]] * 9])
    modes, good = metrics.modes_covered(samples, centres, radius=1.0)
    assert modes == 2 and good == pytest.approx(100 / 110)                     # one sample is not enough for the third
    assert metrics.modes_covered(samples, centres, radius=1.0, least=0.0)[0] == 3
    assert metrics.modes_covered(samples + 100, centres, radius=1.0) == (0, 0.0)
    with pytest.raises(ValueError, match="got 0 samples, 3 centres"):
        metrics.modes_covered(samples[:0], centres, radius=1.0)
