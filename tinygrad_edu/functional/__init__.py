"""Floor 3: activations, losses and layers as functions, in PyTorch's names. Plain Python over primitives.

The kernels appear here too, so that `F.` is the one place to look: F.conv2d, F.layer_norm, F.cross_entropy.
"""
from ..kernels import cuda, loops  # noqa: F401  further faces of the kernels: CUDA, and plain loops
from ..kernels.activations import gelu, silu
from ..kernels.adaptive_pooling import adaptive_avg_pool1d, adaptive_avg_pool2d, adaptive_max_pool1d, adaptive_max_pool2d
from ..kernels.attention import scaled_dot_product_attention
from ..kernels.batch_norm import batch_norm
from ..kernels.binary_cross_entropy import binary_cross_entropy_with_logits
from ..kernels.convolution import conv1d, conv2d, conv_transpose1d, conv_transpose2d
from ..kernels.cross_entropy import cross_entropy, reduce
from ..kernels.embedding import embedding
from ..kernels.group_norm import group_norm, instance_norm
from ..kernels.group_norm_silu import group_norm_silu
from ..kernels.gru import gru
from ..kernels.interpolation import interpolate, upsample_nearest2d
from ..kernels.lstm import lstm
from ..kernels.normalization import layer_norm, rms_norm
from ..kernels.pooling import avg_pool1d, avg_pool2d, max_pool1d, max_pool2d
from ..kernels.recurrent import rnn
from ..kernels.roi_align import roi_align
from ..kernels.rotary import alibi_bias, rotary_embedding
from ..kernels.softmax import log_softmax, softmax
from ..ops import one_hot, relu, sigmoid, tanh
from .activations import (elu, glu, hardsigmoid, hardswish, hardtanh, leaky_relu, logsigmoid, mish, prelu, relu6, selu,
                          softplus, softsign, swish)
from .ctc import ctc_loss
from .layers import (alpha_dropout, bilinear, dropout, dropout1d, dropout2d, linear, normalize, pad, pixel_shuffle,
                     pixel_unshuffle)
from .losses import (binary_cross_entropy, dice_loss, focal_loss, gaussian_nll_loss, huber_loss, kl_div, l1_loss, mse_loss,
                     nll_loss, poisson_nll_loss, sigmoid_focal_loss, smooth_l1_loss)
from .margin_losses import (hinge_embedding_loss, hinge_loss, margin_ranking_loss, multi_margin_loss, soft_margin_loss,
                            wasserstein_critic_loss, wasserstein_generator_loss)
from .metric_losses import (contrastive_loss, cosine_embedding_loss, cosine_similarity, info_nce_loss, nt_xent_loss,
                            pairwise_distance, triplet_margin_loss)

__all__ = [name for name, thing in vars().items() if callable(thing)]
