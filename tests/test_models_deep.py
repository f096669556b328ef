"""Plain, residual, highway and dense networks: counts, identities and what passes around a layer."""
import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu.models.vision.densenet import DenseLayer, DenseNet, Transition
from tinygrad_edu.models.vision.highway import Highway, HighwayLayer
from tinygrad_edu.models.vision.resnet import BasicBlock, ResNet


# ---------------------------------------------------------------- residual, and without the skip

def test_without_skips_the_same_layers_and_nothing_added():
    plain, residual = ResNet(2, 4, widths=(4, 6, 8), skips=False), ResNet(2, 4, widths=(4, 6, 8))
    assert list(plain.state_dict()) == list(residual.state_dict())
    block, x = BasicBlock(4, 4, skip=False), tg.randn(2, 4, 5, 5)
    block.bn2.weight.data[...] = 0
    assert not block(x).data.any()
    assert BasicBlock(4, 8, 2, "B", skip=False).shortcut is None


def test_a_residual_network_that_adds_nothing_is_its_first_layer():
    deep, x = ResNet(6, 4, widths=(4, 4, 4)), tg.randn(3, 3, 8, 8)
    for block in deep.layer1 + deep.layer2 + deep.layer3:
        block.bn2.weight.data[...] = 0
    stem = tg.functional.relu(deep.bn1(deep.conv1(x)))[:, :, ::4, ::4]
    np.testing.assert_array_equal(deep(x).data, deep.linear(stem.mean(axis=(2, 3))).data)


# ---------------------------------------------------------------- highway

def test_a_closed_gate_carries_and_an_open_one_computes():
    layer, x = HighwayLayer(6), tg.randn(5, 6)
    layer.gate.weight.data[...] = 0
    np.testing.assert_allclose(layer.transform(x).data, 1 / (1 + np.exp(2)), rtol=1e-6)
    for bias, expected in ((-200, x), (200, tg.relu(layer.linear(x)))):
        layer.gate.bias.data[...] = bias
        np.testing.assert_array_equal(layer(x).data, expected.data)


@pytest.mark.parametrize("gates, weights", [(True, 2 * 7 * 6 * 7), (False, 7 * 6 * 7)])
def test_highway_counts(gates, weights):
    model = Highway(5, 3, width=6, depth=7, gates=gates)
    y = model(tg.randn(4, 5))
    assert y.shape == (4, 3) and model.num_parameters() == 6 * 6 + weights + 7 * 3
    (y * tg.randn(4, 3)).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


# ---------------------------------------------------------------- dense

@pytest.mark.parametrize("width, growth, layers, compression",
                         [(16, 12, (4, 4, 4), 1.0), (5, 3, (1, 2), 0.5), (6, 2, (3,), 0.3)])
def test_dense_blocks_count_k0_plus_k_l(width, growth, layers, compression):
    model, h = DenseNet(layers, growth, 7, 2, width, compression), tg.randn(2, 2, 8, 8)
    assert model(h).shape == (2, 7)
    h = model.conv1(h)
    for i, block in enumerate(model.blocks):
        h = model.transitions[i - 1](h) if i else h
        k0 = h.shape[1]
        for l, layer in enumerate(block, 1):
            before, h = h, layer(h)
            assert h.shape == (2, k0 + growth * l, 8 >> i, 8 >> i)
            np.testing.assert_array_equal(h.data[:, : before.shape[1]], before.data)     # nothing is written over
    assert h.shape[1] == model.bn.weight.shape[0]


def test_densenet_has_the_published_size():
    """Table 2 of the paper: depth 40 and growth 12 has 1.0 million weights; 3 blocks of 12 layers, k0 = 16."""
    model = DenseNet((12, 12, 12))
    assert model.num_parameters() == 1_019_722
    assert sum(p.ndim > 1 for p in model.parameters()) == 40


def test_every_parameter_of_a_densenet_learns():
    model = DenseNet((2, 2), 3, 4, 1, 5)
    (model(tg.randn(6, 1, 8, 8)) * tg.randn(6, 4)).sum().backward()
    assert all(np.abs(p.grad.data).max() > 0 for p in model.parameters())


def test_transition_and_layer_by_hand():
    x = abs(tg.randn(1, 2, 2, 2))
    layer, transition = DenseLayer(2, 1).eval(), Transition(2, 1).eval()
    layer.conv.weight.data[...] = 0
    layer.conv.weight.data[0, 1, 1, 1] = 3
    transition.conv.weight.data[...] = 1
    scale = 1 / np.sqrt(1 + 1e-5)                                                              # batch norm before any batch
    np.testing.assert_allclose(layer(x).data[0, 2], 3 * scale * x.data[0, 1], rtol=1e-6)
    np.testing.assert_allclose(transition(x).data, 2 * scale * x.data.mean(keepdims=True), rtol=1e-6)
