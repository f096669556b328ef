"""The 8x8 handwritten digits: 1,797 images with 17 grey levels, small enough to ship with the library.

E. Alpaydin, C. Kaynak, Optical Recognition of Handwritten Digits, UCI Machine Learning Repository 1998,
doi 10.24432/C50P49, CC BY 4.0 (see files/ATTRIBUTION.md).
"""
from io import BytesIO
from pathlib import Path

import numpy as np

from .store import check_bytes, check_split

FILE = Path(__file__).parent / "files" / "digits.npz"
SIZE = 45394
SHA256 = "b2dab7b501728c22e9119ad76740b2e17c77a231e42d1e592380d90886f1a05e"
TEST = 360


def load_digits(split="train"):
    """Images float32 (N, 8, 8) in [0, 1], that is pixel / 16, and labels int64 (N,).

    `split`: "train" (1,437), "test" (360) or "all" (1,797, train first). The split is fixed: of one permutation by
    NumPy's legacy generator with seed 0, whose stream never changes, the first 360 are the test set, as scikit-learn's
    train_test_split(test_size=360, random_state=0) has it.
    Every number that the lessons quote for the digits refers to this split.

    Simple models: accuracy of 1-NN 0.989, of logistic regression 0.964; test MSE per pixel of PCA with
    k = 2, 3, 8, 16, 32 components 0.0546, 0.0460, 0.0253, 0.0120, 0.0027, and 1-NN on k = 2, 3, 8, 16 of them 0.531,
    0.675, 0.947, 0.989. Independent pixels: 25.29 nats an image when binarized, 2.434 bits a pixel for the 17 levels.
    """
    images, labels = _read()
    order = np.random.RandomState(0).permutation(len(images))
    rows = {"train": order[TEST:], "test": order[:TEST], "all": np.concatenate([order[TEST:], order[:TEST]])}
    check_split("load_digits", split, rows)
    chosen = rows[split]
    return images[chosen].astype(np.float32) / 16, labels[chosen].astype(np.int64)


def binarize(images):
    """0/1 float32 images: 1 where the pixel is 8 or more of 16, that is where the image is 0.5 or more."""
    return (images >= 0.5).astype(np.float32)


def levels(images):
    """The grey levels 0..16 as int64, for models of discrete pixels."""
    return np.rint(images * 16).astype(np.int64)


def _read():
    data = FILE.read_bytes()
    check_bytes(data, FILE, SIZE, SHA256)
    with np.load(BytesIO(data), allow_pickle=False) as file:
        return file["images"], file["labels"]
