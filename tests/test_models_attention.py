"""The non-local block: attention over pixels, nothing at first, and every place sees every other."""
import numpy as np

import tinygrad_edu as tg
from kernel_faces import CLOSE, draw_array
from tinygrad_edu import Tensor
from tinygrad_edu.models.vision.nonlocal_block import NonLocalBlock
from tinygrad_edu.testing import gradcheck


def awake(channels=4, inner=None):
    tg.manual_seed(0)
    block = NonLocalBlock(channels, inner).double()
    block.w_z.weight.data = draw_array(3, *block.w_z.weight.shape)
    return block


def test_it_adds_nothing_at_first():
    x = tg.randn(2, 6, 5, 4)
    np.testing.assert_array_equal(NonLocalBlock(6)(x).data, x.data)


def test_it_is_attention_over_pixels():
    block, x = awake(4, inner=3), draw_array(1, 2, 4, 3, 5)
    pixels = x.reshape(2, 4, 15)
    theta, phi, g = (np.einsum("oc,ncp->nop", part.weight.data[:, :, 0, 0], pixels) + part.bias.data[:, None]
                     for part in (block.theta, block.phi, block.g))
    weights = np.exp(np.einsum("nop,noq->npq", theta, phi))
    y = np.einsum("npq,noq->nop", weights / weights.sum(axis=2, keepdims=True), g)
    z = np.einsum("co,nop->ncp", block.w_z.weight.data[:, :, 0, 0], y)
    np.testing.assert_allclose(block(Tensor(x)).data, x + z.reshape(x.shape), **CLOSE)


def test_every_place_sees_every_other_and_a_shuffled_picture_gives_a_shuffled_answer():
    block, x = awake(), Tensor(draw_array(1, 1, 4, 5, 6), requires_grad=True)
    y = block(x)
    assert tg.grad((y[0, :, 2, 3] * Tensor(draw_array(2, 4))).sum(), [x])[0].data.any(axis=1).all()
    order = np.random.default_rng(0).permutation(30)
    shuffled = x.data.reshape(1, 4, 30)[:, :, order].reshape(x.shape)
    np.testing.assert_allclose(block(Tensor(shuffled)).data, y.data.reshape(1, 4, 30)[:, :, order].reshape(x.shape), **CLOSE)


def test_its_gradients():
    gradcheck(awake(), draw_array(1, 2, 4, 3, 2), order=2)


def test_half_of_the_channels_and_at_least_one():
    assert [NonLocalBlock(c).theta.weight.shape[0] for c in (1, 2, 7)] == [1, 1, 3]
