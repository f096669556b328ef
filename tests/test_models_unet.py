"""The U-Net for segmentation: sizes, the paper's arithmetic, what passes where, and pictures that are moved."""
import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu.models.vision.unet import UNet


def test_sizes():
    model, x = UNet(3, 5, (4, 6, 8)), tg.randn(2, 3, 12, 8)
    assert model(x).shape == (2, 5, 12, 8)
    assert [m.shape for m in model.encoder(x)] == [(2, 4, 12, 8), (2, 6, 6, 4), (2, 8, 3, 2)]
    assert UNet(1, 2, (3,))(x[:, :1]).shape == (2, 2, 12, 8)


def test_without_padding_it_has_the_papers_sizes():
    """572 x 572 in, 388 x 388 out, figure 1 of the paper."""
    with tg.no_grad():
        assert UNet(1, 2, (1, 1, 1, 1, 1), padding=0)(tg.randn(1, 1, 572, 572)).shape == (1, 2, 388, 388)


@pytest.mark.parametrize("size, padding, met", [(30, 1, 15), (44, 0, 40), (42, 0, 15)])
def test_sides_must_stay_even(size, padding, met):
    model, x = UNet(1, 2, (2, 2, 2), padding), tg.randn(1, 1, size, size)
    if met % 2:
        with pytest.raises(ValueError, match=f"UNet: got pictures {size} x {size}, whose map of {met} x {met} .* expected"):
            model(x)
    else:
        assert model(x).shape[2:] == (4, 4)


@pytest.mark.parametrize("skips", [True, False])
def test_every_parameter_learns(skips):
    model = UNet(2, 4, (4, 6, 8), skips=skips)
    y = model(tg.randn(3, 2, 8, 8))
    (y * tg.randn(*y.shape)).sum().backward()
    assert all(np.abs(p.grad.numpy()).max() > 0 for p in model.parameters())


def test_only_the_skips_lead_around_the_smallest_map():
    for skips in (True, False):
        model, x = UNet(1, 2, (4, 6), skips=skips).eval(), tg.randn(1, 1, 8, 8, requires_grad=True)
        model.up[0].weight.data[...] = 0                                # nothing comes from below
        model(x).sum().backward()
        assert bool(x.grad.numpy().any()) is skips


def test_a_picture_moved_by_the_total_stride_moves_the_answer():
    model, x = UNet(1, 2, (4, 6, 8), padding=0).eval(), tg.randn(1, 1, 52, 52)
    with tg.no_grad():
        whole = model(x).numpy()                                        # (1, 2, 12, 12)
        for by, same in ((4, True), (1, False)):
            moved = model(x[:, :, by : by + 44, by : by + 44]).numpy()  # (1, 2, 4, 4)
            assert np.allclose(moved, whole[:, :, by : by + 4, by : by + 4], rtol=1e-4, atol=1e-5) is same
