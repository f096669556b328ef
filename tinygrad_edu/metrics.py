"""Floor 4: numbers that say how good an answer is. NumPy arrays or Tensors in, Python floats or NumPy arrays out.

Distances are Euclidean between whole items: every axis after the first is flattened. They are computed in blocks of
rows, so a few thousand images against a few thousand need some tens of megabytes.
"""
import math

import numpy as np

from . import backend
from .tensor import Tensor

BLOCK = 1 << 21            # at most so many distances at once: 16 MiB


# ---------------------------------------------------------------- classification

def accuracy(logits, labels):
    """Share of rows of `logits` (N, K) whose largest entry is at the label, `labels` (N,)."""
    logits, labels = _array(logits), _array(labels)
    if logits.ndim != 2 or labels.shape != logits.shape[:1] or not len(labels):
        raise ValueError(f"accuracy: got logits {logits.shape} and labels {labels.shape}, "
                         "expected (N, K) and (N,), not empty")
    return float((logits.argmax(axis=1) == labels).mean())


def calibration_error(probabilities, labels, bins=15):
    """How far confidence is from accuracy: 0 if of all answers given with 80 % confidence 80 % are right, and so on.

    `probabilities` (N, K), rows with sum 1, `labels` (N,). The answers are sorted by their confidence, the largest
    probability, into `bins` intervals of equal length; the error is sum_b share_b |accuracy_b - confidence_b|. Never below
    |accuracy - mean confidence|, and above 0 by chance alone where bins hold few. Guo et al. 2017, arXiv:1706.04599 (ECE).
    """
    p, labels = _array(probabilities).astype(np.float64), _array(labels)
    if p.ndim != 2 or labels.shape != p.shape[:1] or not len(labels) or bins < 1 or not np.allclose(p.sum(axis=1), 1, atol=1e-4):
        raise ValueError(f"calibration_error: got probabilities {p.shape}, labels {labels.shape} and {bins} bins, "
                         "expected (N, K) with sums of 1, (N,), not empty, and at least one bin")
    confidence, right = p.max(axis=1), p.argmax(axis=1) == labels
    bin = np.minimum((confidence * bins).astype(int), bins - 1)
    return float(abs(np.bincount(bin, right - confidence, minlength=bins)).sum() / len(labels))


def recall_at_k(scores, k=1, labels=None):
    """Share of rows of `scores` (N, M) whose entry at the label is among the k largest; labels (N,), by default 0..N-1.

    A search that asks N questions of M candidates, the larger score the better. Equal scores share their places, as if
    drawn by lot: a search that finds nothing (all scores equal) has k / M.
    """
    scores = _array(scores)
    labels = np.arange(len(scores)) if labels is None else _array(labels)
    if scores.ndim != 2 or labels.shape != scores.shape[:1] or not len(labels) or not 0 <= labels.min() <= labels.max() < \
            scores.shape[1] or k < 1:
        raise ValueError(f"recall_at_k: got scores {scores.shape}, labels {labels.shape} and k {k}, expected (N, M), (N,) with "
                         "values in 0..M-1, not empty, and k at least 1")
    own = scores[np.arange(len(labels)), labels][:, None]
    better, equal = (scores > own).sum(axis=1), (scores == own).sum(axis=1)
    return float(np.clip((k - better) / equal, 0, 1).mean())


def class_entropy(labels, classes):
    """Entropy in nats of the histogram of `labels`, integers in 0..classes-1: log(classes) if all are equally frequent.

    On the labels that a classifier gives to samples it measures variety: a generator that draws one class only has 0.
    """
    labels = _array(labels).ravel()
    if not len(labels) or labels.min() < 0 or labels.max() >= classes:
        raise ValueError(f"class_entropy: got labels {labels.min(initial=0)}..{labels.max(initial=-1)}, "
                         f"expected at least one, in 0..{classes - 1}")
    share = np.bincount(labels, minlength=classes) / len(labels)
    share = share[share > 0]                                                   # 0 log 0 = 0
    return float(-(share * np.log(share)).sum()) + 0.0                         # no negative zero


def bigram_nats(pairs, asked, symbols):
    """Mean -ln p(after | before) over `asked`, with p counted in `pairs` and one count added to each: what one symbol tells.

    Both are (before, after), two arrays of equally many integers in 0..symbols-1.
    """
    (before, after), (asked_before, asked_after) = ([_array(side) for side in both] for both in (pairs, asked))
    if before.shape != after.shape or asked_before.shape != asked_after.shape or not asked_before.size:
        raise ValueError(f"bigram_nats: got {before.shape} and {after.shape}, asked {asked_before.shape} and "
                         f"{asked_after.shape}, expected pairs, and at least one asked for")
    counts = np.ones((symbols, symbols))
    np.add.at(counts, (before, after), 1)
    log_p = np.log(counts / counts.sum(axis=1, keepdims=True))
    return float(-log_p[asked_before, asked_after].mean())


def knn_classify(train_x, train_y, test_x, k=1):
    """The label that most of the k nearest training items have, (M,); a tied vote goes to the class that is nearest."""
    train, test, labels = _items(train_x), _items(test_x), _array(train_y)
    if labels.shape != train.shape[:1] or not 1 <= k <= len(labels):
        raise ValueError(f"knn_classify: got {len(train)} items, labels {labels.shape} and k {k}, "
                         "expected one label an item and k between 1 and their number")
    classes, codes = np.unique(labels, return_inverse=True)

    answer = np.empty(len(test), labels.dtype)
    for start, distance in _distances(test, train):                            # (B, N)
        nearest = np.argpartition(distance, k - 1, axis=1)[:, :k]              # (B, k), in no order
        order = np.take_along_axis(distance, nearest, axis=1).argsort(axis=1, kind="stable")
        voters = codes[np.take_along_axis(nearest, order, axis=1)]             # (B, k), nearest first

        votes = (voters[:, :, None] == voters[:, None, :]).sum(axis=2)         # (B, k): how many agree with each voter
        first = votes.argmax(axis=1)                                           # the first of the most agreed
        answer[start:start + len(distance)] = classes[voters[np.arange(len(voters)), first]]
    return answer


# ---------------------------------------------------------------- masks

def mask_iou(mask, truth):
    """|both| / |either| of two sets of pixels, bools of one shape: 1 if they are equal (two empty ones too), 0 if disjoint.

    Of a stack of masks, the pixels of all of them are one set: a mean over pictures is the mean of calls.
    """
    mask, truth = _masks("mask_iou", mask, truth)
    either = (mask | truth).sum()
    return float((mask & truth).sum() / either) if either else 1.0


def boundary_iou(mask, truth, width=1):
    """mask_iou of the rims only: of the pixels (.., H, W) in a mask that are at most `width` from one outside of it.

    Neighbours are those with a side or a corner in common; outside of the picture counts as outside of the mask. The rim of
    a large thing is a small share of it, so this sees errors of a pixel that mask_iou does not. Cheng et al. 2021,
    arXiv:2103.16562.
    """
    mask, truth = _masks("boundary_iou", mask, truth)
    if mask.ndim < 2 or width < 1:
        raise ValueError(f"boundary_iou: got masks {mask.shape} and width {width}, expected (.., H, W) and at least 1")
    return mask_iou(mask & ~_eroded(mask, width), truth & ~_eroded(truth, width))


def _masks(caller, mask, truth):
    mask, truth = _array(mask), _array(truth)
    if mask.shape != truth.shape or mask.dtype != bool or truth.dtype != bool:
        raise ValueError(f"{caller}: got {mask.dtype} {mask.shape} and {truth.dtype} {truth.shape}, "
                         "expected bools of one shape")
    return mask, truth


def _eroded(mask, width):
    """The pixels whose square of `width` pixels in every direction lies within the mask; a square is a row of columns."""
    for axis in (-2, -1):
        size = mask.shape[axis]
        padded = np.pad(mask, [(width, width) if axis % mask.ndim == k else (0, 0) for k in range(mask.ndim)])
        mask = np.logical_and.reduce([padded.take(range(i, i + size), axis) for i in range(2 * width + 1)])
    return mask


# ---------------------------------------------------------------- samples against data

def two_sample_1nn(real, fake):
    """How well the nearest neighbour tells real from fake: 0.5 = not at all, 1 = always, leave-one-out accuracy.

    Every item of the union is classified by its nearest other item; equally near ones share the vote. Near 0 means that
    fake items lie on top of real ones: memorised. Both need the same number of items. Lopez-Paz, Oquab 2017,
    arXiv:1610.06545.

    On the digits, 360 against 360: real and real 0.50, one fitted Gaussian 0.83, the same clipped to [0, 1] 0.91; 1,437
    against 1,437: 0.87 and 0.94. More items see finer differences, so compare only scores of equal numbers.
    """
    real, fake = _items(real), _items(fake)
    if real.shape != fake.shape or not len(real):
        raise ValueError(f"two_sample_1nn: got {len(real)} real and {len(fake)} fake items "
                         f"of sizes {real.shape[1]} and {fake.shape[1]}, expected equal numbers and sizes, not empty")
    both = np.concatenate([real, fake])
    is_real = np.arange(len(both)) < len(real)

    right = 0.0
    for start, distance in _distances(both, both):                             # (B, 2N)
        rows = np.arange(len(distance))
        distance[rows, start + rows] = np.inf                                  # leave itself out
        nearest = distance == distance.min(axis=1, keepdims=True)
        same = nearest & (is_real == is_real[start + rows, None])
        right += (same.sum(axis=1) / nearest.sum(axis=1)).sum()
    return float(right / len(both))


def nearest_distance(samples, references):
    """Distance of each sample to its nearest reference, float64 (N,): 0 where a sample is a copy.

    To find out whether a model memorised, compare samples-to-training with held-out-to-training distances.
    """
    samples, references = _items(samples), _items(references)
    if not len(references):
        raise ValueError("nearest_distance: got no references, expected at least one")

    result = np.empty(len(samples))
    for start, distance in _distances(samples, references):
        block = slice(start, start + len(distance))
        nearest = references[distance.argmin(axis=1)]
        result[block] = np.linalg.norm(samples[block] - nearest, axis=1)       # again, now without cancellation
    return result


def wasserstein_1d(a, b):
    """W1 between two sets of numbers (N,), equally many: the mean distance after sorting both; exact for these sets."""
    a, b = _array(a).astype(np.float64), _array(b).astype(np.float64)
    if a.ndim != 1 or a.shape != b.shape or not a.size:
        raise ValueError(f"wasserstein_1d: got shapes {a.shape} and {b.shape}, expected equal shapes (N,), not empty")
    return float(abs(np.sort(a) - np.sort(b)).mean())


def modes_covered(samples, centres, radius, least=0.2):
    """(modes found, share of good samples): a sample (N, D) is good if its nearest centre (K, D) is within `radius`.

    A mode counts as found if it has at least `least` times its even share N / K of the good samples: one lucky draw is
    not enough.
    """
    samples, centres = _items(samples), _items(centres)
    if not len(samples) or not len(centres) or not radius > 0:
        raise ValueError(f"modes_covered: got {len(samples)} samples, {len(centres)} centres and radius {radius}, "
                         "expected at least one of each and a positive radius")
    found = np.zeros(len(centres))
    for _, distance in _distances(samples, centres):                           # (B, K)
        good = distance.min(axis=1) <= radius ** 2
        found += np.bincount(distance.argmin(axis=1)[good], minlength=len(centres))
    return int((found >= max(1, least * len(samples) / len(centres))).sum()), float(found.sum() / len(samples))


def psnr(image, reference, peak=1.0):
    """Peak signal-to-noise ratio 10 log10(peak^2 / MSE) in decibels; infinite for equal images."""
    image, reference = _array(image).astype(np.float64), _array(reference).astype(np.float64)
    if image.shape != reference.shape or not image.size:
        raise ValueError(f"psnr: got shapes {image.shape} and {reference.shape}, expected equal shapes, not empty")
    mse = float(((image - reference) ** 2).mean())
    return 10 * math.log10(peak * peak / mse) if mse > 0 else math.inf


# ---------------------------------------------------------------- curves

def running_mean(values, n):
    """The mean of each n numbers in a row, (N,) -> (N - n + 1,); the numbers themselves if there are fewer than n."""
    values = _array(values)
    if values.ndim != 1 or n < 1:
        raise ValueError(f"running_mean: got shape {values.shape} and n {n}, expected (N,) and at least 1")
    return np.convolve(values, np.ones(n) / n, "valid") if len(values) >= n else values


# ---------------------------------------------------------------- shared

def _array(value):
    return backend.to_numpy(value.data if isinstance(value, Tensor) else value)


def _items(value):
    """(N, ...) -> float64 (N, D)."""
    array = _array(value)
    if array.ndim < 1:
        raise ValueError("metrics: got a single number, expected items along the first axis")
    return array.reshape(len(array), math.prod(array.shape[1:])).astype(np.float64)


def _distances(rows, columns):
    """Yield (start, squared distances (B, M)) for blocks of `rows` (N, D) against all `columns` (M, D).

    |a - b|^2 = |a|^2 - 2 a.b + |b|^2 is one matrix product; moving the origin to a data point first keeps it accurate.
    """
    if rows.shape[1] != columns.shape[1]:
        raise ValueError(f"metrics: got items of sizes {rows.shape[1]} and {columns.shape[1]}, expected equal sizes")
    if not len(rows):
        return
    rows, columns = rows - columns[0], columns - columns[0]
    square = (columns * columns).sum(axis=1)                                   # (M,)

    size = max(1, BLOCK // len(columns))
    for start in range(0, len(rows), size):
        a = rows[start:start + size]                                           # (B, D)
        yield start, (a * a).sum(axis=1, keepdims=True) - 2 * a @ columns.T + square
