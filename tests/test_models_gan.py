"""DCGAN and the conditional GAN: sizes, the paper's start, who sees whom, what a label is."""
import numpy as np
import pytest

import tinygrad_edu as tg
from tinygrad_edu import Tensor, grad
from tinygrad_edu.models.generative import cgan, dcgan


@pytest.mark.parametrize("widths, channels, norm", [((64, 32), 1, True), ((24, 16, 8), 3, True), ((8,), 2, True), ((6, 4), 1, False)])
def test_dcgan_doubles_and_halves(widths, channels, norm):
    generator = dcgan.Generator(5, widths, channels, norm)
    discriminator = dcgan.Discriminator(widths[::-1], channels, norm)
    pictures, side = generator.sample(3), 2 ** (len(widths) + 1)
    assert pictures.shape == (3, channels, side, side) and abs(pictures).max().item() <= 1
    logits = discriminator(pictures)
    assert logits.shape == (3,)
    logits.sum().backward()
    for player in (generator, discriminator):
        assert all(p.grad is not None for p in player.parameters())
        assert any("running" in name for name in player.state_dict()) == (norm and (player is generator or len(widths) > 1))


def test_dcgan_starts_as_the_paper_says():
    for player in (dcgan.Generator(), dcgan.Discriminator()):
        for name, p in player.named_parameters():
            if name.endswith("weight"):
                centre = 0 if p.ndim > 1 else 1
                assert abs(p.data.mean() - centre) < 0.02 and 0.01 < p.data.std() < 0.03


@pytest.mark.parametrize("norm", [True, False])
def test_only_batch_norm_lets_pictures_see_each_other(norm):
    x = tg.randn(4, 1, 8, 8, requires_grad=True)
    (slope,) = grad(dcgan.Discriminator(norm=norm)(x)[0], x)
    assert slope.numpy()[0].any() and slope.numpy()[1:].any() == norm


def test_a_label_is_a_bias_of_the_first_layer():
    generator, labels = cgan.Generator(features=6, classes=3, hidden=(7,), latent=4), np.array([2, 0, 1, 2])
    pictures, noise = generator.sample(labels), tg.randn(4, 4)
    assert pictures.shape == (4, 6) and abs(pictures).max().item() <= 1

    first, last = generator.network.layers[0], generator.network.layers[2]
    hidden = tg.relu(noise @ first.weight[:, :4].T + first.bias + first.weight[:, 4:].T[labels])
    np.testing.assert_allclose(generator(noise, labels).detach().numpy(), tg.tanh(last(hidden)).detach().numpy(), atol=1e-6)


def test_the_discriminator_reads_the_label():
    discriminator, x = cgan.Discriminator(features=6, classes=3, hidden=(7,)), tg.randn(2, 6)
    logits = [discriminator(x, Tensor([k, k])).detach().numpy() for k in range(3)]
    assert logits[0].shape == (2,) and not np.allclose(logits[0], logits[1]) and not np.allclose(logits[1], logits[2])
    with pytest.raises(ValueError, match=r"one_hot: got ids in \[0, 3\], expected \[0, 3\)"):
        discriminator(x, Tensor([0, 3]))
