"""Real data, a flat loop: what a first network must reach. Minutes long, so only on request: pytest -m deep."""
import os

import numpy as np
import pytest

from tinygrad_edu import Tensor, functional as F, no_grad, optim
from tinygrad_edu.data import batches, load_fashion_mnist, load_mnist
from tinygrad_edu.metrics import accuracy
from tinygrad_edu.models.vision.lenet import LeNet


@pytest.mark.deep
@pytest.mark.skipif("TINYGRAD_EDU_DATA" not in os.environ, reason="TINYGRAD_EDU_DATA names no folder")
@pytest.mark.parametrize("load, epochs, floor", [(load_mnist, 1, 0.985), (load_fashion_mnist, 2, 0.88)])
def test_lenet_learns_real_pictures(load, epochs, floor):
    (images, labels), (test_images, test_labels) = load("train"), load("test")
    mean, deviation = images.mean(), images.std()
    model, lr, steps = LeNet(widths=(16, 32)), 2e-3, epochs * len(images) // 64
    optimizer, step = optim.Adam(model.parameters(), lr=lr), 0
    for _ in range(epochs):
        for x, y in batches((images[:, None] - mean) / deviation, labels, batch_size=64, drop_last=True):
            optimizer.param_groups[0]["lr"] = lr * (1 - step / steps)
            loss = F.cross_entropy(model(x), y)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            step += 1
    with no_grad():
        parts = np.array_split((test_images[:, None] - mean) / deviation, 20)
        logits = np.concatenate([model(Tensor(part)).numpy() for part in parts])
    assert accuracy(logits, test_labels) >= floor
