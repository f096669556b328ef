"""LeNet and ResNet: sizes, counts, and what a block is that adds nothing."""
import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu.models.vision.lenet import LeNet
from tinygrad_edu.models.vision.resnet import BasicBlock, ResNet


@pytest.mark.parametrize("size, kernel, channels", [(28, 5, 1), (8, 3, 1), (32, 5, 3)])
def test_lenet_takes_every_size_that_four_divides(size, kernel, channels):
    model, x = LeNet(size, channels, 7, kernel=kernel), tg.randn(2, channels, size, size)
    first, second = model.features(x)
    assert first.shape == (2, 6, size, size) and second.shape == (2, 16, size // 2, size // 2)
    assert model(x).shape == (2, 7)
    with pytest.raises(ValueError, match="LeNet: got size 30, expected a multiple of 4"):
        LeNet(30)


def test_lenet_counts_its_parameters():
    assert LeNet().num_parameters() == 6 * 26 + 16 * (6 * 25 + 1) + 120 * (16 * 49 + 1) + 84 * 121 + 10 * 85


@pytest.mark.parametrize("blocks, parameters", [(3, 269_722), (5, 464_154), (18, 1_727_962)])
def test_resnets_have_the_published_size(blocks, parameters):
    """ResNet-20, -32 and -110: 0.27, 0.46 and 1.7 million in the paper's table 6."""
    model = ResNet(blocks)
    assert model.num_parameters() == parameters
    assert sum(p.ndim > 1 for p in model.parameters()) == 6 * blocks + 2


@pytest.mark.parametrize("stride, out, option", [(1, 4, "A"), (2, 6, "A"), (2, 7, "A"), (2, 6, "B"), (1, 6, "B")])
def test_a_block_that_adds_nothing_passes_its_input_on(stride, out, option):
    block, x = BasicBlock(4, out, stride, option), abs(tg.randn(2, 4, 7, 6))
    block.bn2.weight.data[...] = 0
    y = block(x)
    assert y.shape == (2, out, -(-7 // stride), 6 // stride)
    if option == "A":
        before = (out - 4) // 2
        np.testing.assert_array_equal(y.data[:, before : before + 4], x.data[:, :, ::stride, ::stride])
        assert not y.data[:, :before].any() and not y.data[:, before + 4 :].any()


def test_another_shortcut_is_refused():
    with pytest.raises(ValueError, match="ResNet: got option 'C', expected 'A' or 'B'"):
        ResNet(option="C")
