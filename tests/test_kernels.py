"""Every kernel equals the composition that defines it: value, gradient and double gradient, on every shape drawn."""
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tinygrad_edu import Tensor, functional as F
from kernel_faces import CLOSE, draw_array, equals_definition


@given(st.integers(0, 3), st.integers(1, 3), st.integers(1, 2), st.integers(2, 5), st.integers(1, 3))
def test_normalizations_equal_their_definition(N, groups, per_group, H, W):
    C = groups * per_group
    x, weight, bias = draw_array(0, N, C, H, W), draw_array(1, C), draw_array(2, C)
    equals_definition(lambda x, w, b: F.group_norm(x, groups, w, b), x, weight, bias)
    equals_definition(lambda x: F.layer_norm(x, (H, W)), x)
    if N:
        equals_definition(lambda x, w, b: F.batch_norm(x, w, b), x, weight, bias)


def test_normalizations_equal_pytorch():
    torch = pytest.importorskip("torch")
    TF, x, w, b = torch.nn.functional, draw_array(0, 3, 4, 5, 2), draw_array(1, 4), draw_array(2, 4)
    t, tw, tb = torch.tensor(x), torch.tensor(w), torch.tensor(b)
    w2, b2 = draw_array(3, 5, 2), draw_array(4, 5, 2)
    pairs = [(F.group_norm(x, 2, w, b), TF.group_norm(t, 2, tw, tb)),
             (F.instance_norm(x, w, b), TF.instance_norm(t, weight=tw, bias=tb)),
             (F.layer_norm(x, (5, 2), w2, b2), TF.layer_norm(t, (5, 2), torch.tensor(w2), torch.tensor(b2))),
             (F.batch_norm(x, w, b), TF.batch_norm(t, None, None, tw, tb, training=True))]
    for ours, theirs in pairs:
        np.testing.assert_allclose(ours, theirs.numpy(), **CLOSE)


