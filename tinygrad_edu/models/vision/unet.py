"""U-Net: a picture in, a class for every pixel out. Ronneberger, Fischer & Brox 2015, "U-Net: convolutional networks for
biomedical image segmentation", arXiv:1505.04597.

A classifier's maps shrink on the way, and what they say gets wiser and less exactly placed. The encoder is such a classifier;
the decoder doubles the maps again, step by step, and at each size is handed the encoder's map of that size, which still
knows where. So the smallest map need only say what is there.
Left out: the loss that weighs pixels between touching cells more. Put in: batch norm, and, with padding=1, maps that keep
their size; the paper pads nothing, crops what it carries across, and answers for the middle of the picture only.
The U-Net of diffusion models, with residual blocks that know the time, is models/generative/unet.py.
"""
from ... import functional as F
from ...nn import BatchNorm2d, Conv2d, ConvTranspose2d, Module, ReLU, Sequential
from ...ops import concatenate


def double_conv(channels, out_channels, padding):
    """(N, C, H, W) -> (N, O, H, W), or 4 less in H and W without padding: twice convolution, batch norm, relu."""
    return Sequential(Conv2d(channels, out_channels, 3, padding=padding, bias=False), BatchNorm2d(out_channels), ReLU(),
                      Conv2d(out_channels, out_channels, 3, padding=padding, bias=False), BatchNorm2d(out_channels), ReLU())


class Encoder(Module):
    """Pictures (N, channels, H, W) -> a list of maps, one for each of `widths`, each half as large as the one before."""

    def __init__(self, channels=3, widths=(16, 32, 64), padding=1):
        self.blocks = [double_conv(before, after, padding) for before, after in zip((channels,) + widths, widths)]

    def forward(self, x):
        maps = [self.blocks[0](x)]
        for block in self.blocks[1:]:
            if maps[-1].shape[2] % 2 or maps[-1].shape[3] % 2:
                raise ValueError(f"UNet: got pictures {x.shape[2]} x {x.shape[3]}, whose map of {maps[-1].shape[2]} x "
                                 f"{maps[-1].shape[3]} cannot be halved, expected even sides at every size")
            maps.append(block(F.max_pool2d(maps[-1], 2)))
        return maps


class UNet(Module):
    """Pictures (N, channels, H, W) -> logits (N, classes, H, W); with padding=0 smaller, of the middle.

    `skips=False` leaves out what is carried across: everything must pass the smallest map.
    """

    def __init__(self, channels=3, classes=2, widths=(16, 32, 64), padding=1, skips=True):
        self.skips = skips
        self.encoder = Encoder(channels, widths, padding)
        pairs = list(zip(widths[:0:-1], widths[-2::-1]))                    # (below, here), from the smallest map up
        self.up = [ConvTranspose2d(below, here, 2, stride=2) for below, here in pairs]
        self.blocks = [double_conv(2 * here if skips else here, here, padding) for _, here in pairs]
        self.leave = Conv2d(widths[0], classes, 1)

    def forward(self, x):
        *across, h = self.encoder(x)
        for up, block in zip(self.up, self.blocks):
            h, kept = up(h), across.pop()                                   # twice the size
            h = block(concatenate([middle(kept, h), h], axis=1) if self.skips else h)
        return self.leave(h)


def middle(kept, h):
    """The part of `kept` (N, C, H, W) that lies over h, which is as large or smaller."""
    top, left = ((kept.shape[axis] - h.shape[axis]) // 2 for axis in (2, 3))
    return kept[:, :, top : top + h.shape[2], left : left + h.shape[3]]
